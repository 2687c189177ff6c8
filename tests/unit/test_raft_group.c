/*
 * Rules of the consensus core for groups of several, one case each: a single replica
 * (broker 1) with its peers' messages written by hand.
 */
#include "raft/raft.h"
#include "support/unit.h"

#define MS INT64_C(1000)
enum { SEATS = 8 };

struct rig {
    struct raft raft;
    _Alignas(16) uint8_t memory[RAFT_MEMORY_BYTES(SEATS)];
    struct raft_seat seats[SEATS];
    struct raft_start start;
    int64_t now_us;
    uint64_t version;
    uint64_t cuts;
};

static struct rig rig;

static struct raft_member member(uint32_t broker_id)
{
    struct raft_member it = {.broker_id = broker_id};
    it.incarnation.bytes[0] = (uint8_t)broker_id;
    return it;
}

static struct raft_out feed(struct raft_event event)
{
    struct raft_out out;
    event.now_us = rig.now_us;
    raft_step(&rig.raft, &event, &out);
    if (out.save_hard_state)
        raft_saving(&rig.raft, ++rig.version);
    if (out.truncate || out.reset)
        rig.cuts++;
    return out;
}

static void saved(void)
{
    (void)feed((struct raft_event){.type = RAFT_EV_HARD_STATE, .version = rig.version});
}

static struct raft_out flushed(uint64_t idx)
{
    return feed((struct raft_event){
        .type = RAFT_EV_FLUSHED, .idx = idx, .term = raft_term_at(&rig.raft, idx), .cuts = rig.cuts});
}

/* A voter among `voters`, with a log of `last_idx` entries of this term. */
static void prepare(uint32_t voters, uint64_t term, uint64_t last_idx)
{
    rig = (struct rig){.now_us = 1};
    for (uint32_t i = 0; i < voters; i++)
        rig.seats[i] = (struct raft_seat){.member = member(i + 1), .kinds = RAFT_SEAT_VOTER};
    rig.start = (struct raft_start){.self = member(1),
                                    .memory = rig.memory,
                                    .memory_bytes = sizeof rig.memory,
                                    .config = {.count = voters, .seats = rig.seats},
                                    .term = term,
                                    .last_idx = last_idx,
                                    .last_term = last_idx > 0 ? term : 0,
                                    .seed = 7,
                                    .now_us = 1,
                                    .election_us = 500 * MS,
                                    .beat_us = 100 * MS};
}

static void begin(uint32_t voters, uint64_t term, uint64_t last_idx)
{
    prepare(voters, term, last_idx);
    static struct raft_run run;
    run = (struct raft_run){.term = term, .first_idx = 1};
    if (last_idx > 0) {
        rig.start.runs = &run;
        rig.start.run_count = 1;
    }
    raft_init(&rig.raft, &rig.start);
}

static struct raft_message from(uint32_t broker_id, enum raft_message_type type, uint64_t term)
{
    return (struct raft_message){.type = type, .from = member(broker_id), .to = member(1), .term = term};
}

static struct raft_out receive(struct raft_message message)
{
    return feed((struct raft_event){.type = RAFT_EV_MESSAGE, .message = &message});
}

static struct raft_out get_append(uint64_t term, uint64_t prev_idx, uint64_t prev_term, uint64_t last_idx,
                                  uint64_t entry_term, uint64_t commit_idx)
{
    struct raft_message message = from(2, RAFT_MSG_APPEND, term);
    message.prev_idx = prev_idx;
    message.prev_term = prev_term;
    message.last_idx = last_idx;
    message.entry_term = entry_term;
    message.commit_idx = commit_idx;
    return receive(message);
}

static struct raft_out get_match(uint32_t broker_id, uint64_t match_idx)
{
    struct raft_message message = from(broker_id, RAFT_MSG_APPEND_REPLY, rig.raft.term);
    message.match_idx = match_idx;
    return receive(message);
}

/* Takes messages until one of this type to this peer comes; appends are filled whole. */
static bool take(enum raft_message_type type, uint32_t to, struct raft_message *message)
{
    while (raft_take_message(&rig.raft, message)) {
        if (message->type == RAFT_MSG_APPEND && message->last_idx > message->prev_idx)
            raft_sent(&rig.raft, message, message->last_idx, 100);
        if (message->type == type && message->to.broker_id == to)
            return true;
    }
    return false;
}

static void take_all(void)
{
    struct raft_message message;
    (void)take(RAFT_MSG_TIMEOUT_NOW, 99, &message);
}

static struct raft_out append(uint32_t bytes)
{
    return feed((struct raft_event){
        .type = RAFT_EV_APPENDED, .idx = rig.raft.last_idx + 1, .term = rig.raft.term, .bytes = bytes});
}

static void campaign(void)
{
    rig.now_us = raft_deadline_us(&rig.raft);
    (void)feed((struct raft_event){.type = RAFT_EV_TICK});
    CU_ASSERT_EQUAL(rig.raft.role, RAFT_PRE_CANDIDATE);
}

static void grant(uint32_t broker_id, enum raft_message_type type, uint64_t term)
{
    struct raft_message message = from(broker_id, type, term);
    message.granted = true;
    (void)receive(message);
}

/* Elected by its peers 2.. up to a majority; the no-op appended, not durable. */
static void lead(uint32_t majority)
{
    campaign();
    for (uint32_t i = 2; i <= majority; i++)
        grant(i, RAFT_MSG_PREVOTE_REPLY, rig.raft.term + 1);
    CU_ASSERT_EQUAL(rig.raft.role, RAFT_CANDIDATE);
    saved();
    for (uint32_t i = 2; i <= majority; i++)
        grant(i, RAFT_MSG_VOTE_REPLY, rig.raft.term);
    CU_ASSERT_EQUAL(rig.raft.role, RAFT_LEADER);
    (void)append(0);
}

static void lead_and_serve(uint32_t voters)
{
    begin(voters, 1, 0);
    lead(voters / 2 + 1);
    (void)flushed(1);
    for (uint32_t i = 2; i <= voters; i++)
        (void)get_match(i, 1);
    CU_ASSERT_TRUE(raft_may_propose(&rig.raft));
    take_all();
}

/* ---- elections ------------------------------------------------------------------------ */

static void a_pre_vote_changes_nothing_at_the_voter(void)
{
    begin(3, 4, 10);
    struct raft_message message = from(2, RAFT_MSG_PREVOTE, 9);
    message.prev_idx = 10;
    message.prev_term = 4;
    int64_t deadline_us = raft_deadline_us(&rig.raft);
    struct raft_out out = receive(message);
    CU_ASSERT_TRUE(out.reply.granted);
    CU_ASSERT_EQUAL(out.reply.term, 9);
    CU_ASSERT_FALSE(out.save_hard_state);
    CU_ASSERT_EQUAL(rig.raft.term, 4);
    CU_ASSERT_EQUAL(rig.raft.vote.broker_id, 0);
    CU_ASSERT_EQUAL(raft_deadline_us(&rig.raft), deadline_us);
}

static void the_term_of_a_refused_pre_vote_is_taken_over(void)
{
    begin(3, 4, 10);
    campaign();
    (void)receive(from(2, RAFT_MSG_PREVOTE_REPLY, 8));
    CU_ASSERT_EQUAL(rig.raft.term, 8);
    CU_ASSERT_EQUAL(rig.raft.role, RAFT_FOLLOWER);
}

static void a_voter_that_hears_a_leader_ignores_votes_but_those_of_a_transfer(void)
{
    begin(3, 4, 10);
    (void)get_append(4, 10, 4, 10, 0, 0);
    struct raft_message message = from(3, RAFT_MSG_VOTE, 5);
    message.prev_idx = 10;
    message.prev_term = 4;
    rig.now_us += 400 * MS;
    struct raft_out out = receive(message);
    CU_ASSERT_FALSE(out.has_reply);
    CU_ASSERT_EQUAL(rig.raft.term, 4);
    message.forced = true;
    out = receive(message);
    CU_ASSERT_TRUE(out.reply.granted);
}

static void a_leader_of_an_old_term_is_answered_at_the_new_one(void)
{
    begin(3, 6, 10);
    struct raft_out out = receive(from(2, RAFT_MSG_BEAT, 5));
    CU_ASSERT_TRUE(out.has_reply);
    CU_ASSERT_EQUAL(out.reply.term, 6);
    begin(3, 1, 0);
    lead(2);
    (void)receive(from(3, RAFT_MSG_APPEND_REPLY, 7));
    CU_ASSERT_EQUAL(rig.raft.role, RAFT_FOLLOWER);
    CU_ASSERT_EQUAL(rig.raft.term, 7);
}

static void a_vote_leaves_when_it_is_durable_and_not_before(void)
{
    begin(3, 4, 10);
    struct raft_message message = from(2, RAFT_MSG_VOTE, 5);
    message.prev_idx = 10;
    message.prev_term = 4;
    struct raft_out out = receive(message);
    CU_ASSERT_TRUE(out.save_hard_state);
    CU_ASSERT_TRUE(out.reply.granted);
    CU_ASSERT_EQUAL(raft_may_leave(&rig.raft, &out.reply), RAFT_WAIT);
    saved();
    CU_ASSERT_EQUAL(raft_may_leave(&rig.raft, &out.reply), RAFT_LEAVE);
    message.from = member(3);
    CU_ASSERT_FALSE(receive(message).reply.granted);
}

static void a_candidate_claims_only_what_its_disk_has(void)
{
    begin(3, 4, 10);
    (void)get_append(4, 10, 4, 14, 4, 10);
    (void)feed((struct raft_event){.type = RAFT_EV_LEADER_GONE});
    campaign();
    struct raft_message message;
    CU_ASSERT_TRUE(take(RAFT_MSG_PREVOTE, 2, &message));
    CU_ASSERT_EQUAL(message.prev_idx, 10);
    CU_ASSERT_EQUAL(message.prev_term, 4);
}

static void votes_compare_terms_before_indexes(void)
{
    begin(3, 4, 10);
    struct raft_message message = from(2, RAFT_MSG_VOTE, 6);
    message.prev_idx = 30;
    message.prev_term = 3;
    CU_ASSERT_FALSE(receive(message).reply.granted);
    message.prev_idx = 9;
    message.prev_term = 4;
    CU_ASSERT_FALSE(receive(message).reply.granted);
    message.prev_idx = 1;
    message.prev_term = 5;
    CU_ASSERT_TRUE(receive(message).reply.granted);
}

static void a_leader_that_no_quorum_speaks_to_steps_down_and_keeps_its_vote(void)
{
    lead_and_serve(5);
    struct raft_message beat = from(2, RAFT_MSG_BEAT_REPLY, rig.raft.term);
    for (int i = 0; i < 20 && rig.raft.role == RAFT_LEADER; i++) {
        rig.now_us = raft_deadline_us(&rig.raft);
        (void)feed((struct raft_event){.type = RAFT_EV_TICK});
        if (rig.raft.role == RAFT_LEADER)
            (void)receive(beat); /* one of four is no quorum */
    }
    CU_ASSERT_EQUAL(rig.raft.role, RAFT_FOLLOWER);
    CU_ASSERT_TRUE(rig.now_us <= 2000 * MS);
    CU_ASSERT_EQUAL(rig.raft.vote.broker_id, 1);
}

static void the_death_of_the_leaders_process_starts_a_pre_vote_within_100_ms(void)
{
    begin(3, 4, 10);
    (void)get_append(4, 10, 4, 10, 0, 0);
    CU_ASSERT_TRUE(raft_deadline_us(&rig.raft) >= rig.now_us + 500 * MS);
    (void)feed((struct raft_event){.type = RAFT_EV_LEADER_GONE});
    CU_ASSERT_TRUE(raft_deadline_us(&rig.raft) >= rig.now_us + 20 * MS);
    CU_ASSERT_TRUE(raft_deadline_us(&rig.raft) <= rig.now_us + 105 * MS);
}

static void a_lower_rank_waits_and_one_that_may_never_lead_does_not_try(void)
{
    begin(3, 4, 10);
    (void)feed((struct raft_event){.type = RAFT_EV_RANK, .rank = 4});
    CU_ASSERT_TRUE(raft_deadline_us(&rig.raft) >= rig.now_us + 1500 * MS);
    campaign();
    rig.now_us = raft_deadline_us(&rig.raft);
    (void)feed((struct raft_event){.type = RAFT_EV_TICK});
    CU_ASSERT_TRUE(raft_deadline_us(&rig.raft) <= rig.now_us + 1250 * MS); /* the handicap wears off */
    (void)feed((struct raft_event){.type = RAFT_EV_RANK, .rank = RAFT_RANK_NEVER});
    CU_ASSERT_EQUAL(raft_deadline_us(&rig.raft), RAFT_NEVER_US);
}

static void what_is_for_another_incarnation_is_not_for_this_one(void)
{
    begin(3, 4, 10);
    struct raft_message message = from(2, RAFT_MSG_VOTE, 5);
    message.prev_idx = 10;
    message.prev_term = 4;
    message.to.incarnation.bytes[5] = 1;
    struct raft_out out = receive(message);
    CU_ASSERT_TRUE(out.misdirected);
    CU_ASSERT_FALSE(out.has_reply);
    CU_ASSERT_EQUAL(rig.raft.term, 4);
}

static void one_that_may_have_forgotten_neither_votes_nor_campaigns_until_it_has_caught_up(void)
{
    prepare(3, 4, 10);
    rig.start.amnesiac = true;
    rig.start.commits_unflushed = true;
    rig.start.boot = 3;
    raft_init(&rig.raft, &rig.start);
    CU_ASSERT_EQUAL(raft_deadline_us(&rig.raft), RAFT_NEVER_US);
    struct raft_message vote = from(3, RAFT_MSG_VOTE, 5);
    vote.prev_idx = 99;
    vote.prev_term = 4;
    CU_ASSERT_FALSE(receive(vote).has_reply);
    struct raft_message message = from(2, RAFT_MSG_APPEND, 6);
    message.prev_idx = 10;
    message.prev_term = 4;
    message.last_idx = 12;
    message.entry_term = 6;
    message.commit_idx = 11;
    message.to_boot = 2; /* sent to its former life */
    (void)receive(message);
    CU_ASSERT_TRUE(rig.raft.amnesiac);
    message.to_boot = 3;
    message.prev_idx = 12;
    message.prev_term = 6;
    (void)receive(message);
    CU_ASSERT_FALSE(rig.raft.amnesiac);
}

static void after_a_failed_disk_a_leaders_last_word_names_its_best_follower(void)
{
    lead_and_serve(3);
    (void)append(1);
    (void)get_match(3, 2);
    struct raft_out out = feed((struct raft_event){.type = RAFT_EV_DISK_FAILED});
    CU_ASSERT_TRUE(out.role_changed);
    struct raft_message message;
    CU_ASSERT_TRUE(raft_take_message(&rig.raft, &message));
    CU_ASSERT_EQUAL(message.type, RAFT_MSG_TIMEOUT_NOW);
    CU_ASSERT_EQUAL(message.to.broker_id, 3);
    CU_ASSERT_EQUAL(raft_may_leave(&rig.raft, &message), RAFT_LEAVE);
    CU_ASSERT_FALSE(raft_take_message(&rig.raft, &message));
    CU_ASSERT_FALSE(receive(from(2, RAFT_MSG_VOTE, 9)).has_reply);
}

/* ---- following --------------------------------------------------------------------------- */

static void a_follower_acknowledges_what_it_compared_and_not_its_own_end(void)
{
    begin(3, 4, 10);
    struct raft_out out = get_append(4, 3, 4, 5, 4, 0);
    CU_ASSERT_FALSE(out.truncate);
    CU_ASSERT_FALSE(out.accept);
    CU_ASSERT_FALSE(out.reply.refused);
    CU_ASSERT_EQUAL(out.reply.match_idx, 5);
    CU_ASSERT_EQUAL(rig.raft.last_idx, 10);
}

static void an_acknowledgement_leaves_when_the_entry_is_durable(void)
{
    begin(3, 4, 10);
    struct raft_out out = get_append(4, 10, 4, 12, 4, 12);
    CU_ASSERT_EQUAL(out.accept_first, 11);
    CU_ASSERT_EQUAL(out.accept_last, 12);
    CU_ASSERT_EQUAL(rig.raft.commit_idx, 12); /* may run ahead of this disk */
    CU_ASSERT_EQUAL(raft_may_leave(&rig.raft, &out.reply), RAFT_WAIT);
    (void)flushed(11);
    CU_ASSERT_EQUAL(raft_may_leave(&rig.raft, &out.reply), RAFT_WAIT);
    (void)flushed(12);
    CU_ASSERT_EQUAL(raft_may_leave(&rig.raft, &out.reply), RAFT_LEAVE);
}

static void a_completion_from_before_a_cut_speaks_only_of_what_was_not_cut(void)
{
    begin(5, 4, 10);
    (void)get_append(4, 10, 4, 12, 4, 10);
    uint64_t began_at = rig.cuts; /* a flush of 11 and 12 begins */
    struct raft_out held = get_append(4, 12, 4, 13, 4, 10);
    struct raft_message other = from(3, RAFT_MSG_APPEND, 5);
    other.prev_idx = 10;
    other.prev_term = 4;
    other.last_idx = 11;
    other.entry_term = 5;
    struct raft_out out = receive(other);
    CU_ASSERT_TRUE(out.truncate);
    CU_ASSERT_EQUAL(out.truncate_idx, 11);
    saved();
    /* The same entries once more, of a third leader, who never saw those of term 5. */
    struct raft_message again = from(4, RAFT_MSG_APPEND, 6);
    again.prev_idx = 10;
    again.prev_term = 4;
    again.last_idx = 12;
    again.entry_term = 4;
    out = receive(again);
    CU_ASSERT_TRUE(out.truncate);
    saved();
    (void)feed((struct raft_event){.type = RAFT_EV_FLUSHED, .idx = 12, .term = 4, .cuts = began_at});
    CU_ASSERT_EQUAL(rig.raft.flushed_idx, 10);
    CU_ASSERT_EQUAL(raft_may_leave(&rig.raft, &out.reply), RAFT_WAIT);
    CU_ASSERT_EQUAL(raft_may_leave(&rig.raft, &held.reply), RAFT_DROP);
    (void)flushed(12);
    CU_ASSERT_EQUAL(raft_may_leave(&rig.raft, &out.reply), RAFT_LEAVE);
}

static void an_unknown_term_is_never_a_match(void)
{
    prepare(3, 4, 10);
    rig.start.commit_idx = 2;
    raft_init(&rig.raft, &rig.start); /* of the terms only the last is known */
    CU_ASSERT_EQUAL(raft_term_at(&rig.raft, 6), 0);
    struct raft_message message = from(2, RAFT_MSG_APPEND, 5);
    message.prev_idx = 6;
    message.prev_term = 0;
    message.last_idx = 6;
    struct raft_out out =
        feed((struct raft_event){.type = RAFT_EV_MESSAGE, .message = &message, .log_prev_term = 0, .log_same_idx = 6});
    CU_ASSERT_TRUE(out.reply.refused);
    message.prev_term = 3;
    out =
        feed((struct raft_event){.type = RAFT_EV_MESSAGE, .message = &message, .log_prev_term = 3, .log_same_idx = 6});
    CU_ASSERT_FALSE(out.reply.refused); /* the owner's log knew */
    CU_ASSERT_EQUAL(out.reply.match_idx, 6);
}

static void a_beat_brings_the_commit_of_what_was_acknowledged(void)
{
    begin(3, 4, 10);
    struct raft_message message = from(2, RAFT_MSG_BEAT, 4);
    message.commit_idx = 7;
    CU_ASSERT_TRUE(receive(message).committed);
    CU_ASSERT_EQUAL(rig.raft.commit_idx, 7);
    message.commit_idx = 11;
    CU_ASSERT_TRUE(receive(message).violation);
    CU_ASSERT_EQUAL(rig.raft.commit_idx, 7);
}

static void the_commit_goes_no_further_than_what_was_compared(void)
{
    begin(3, 4, 10);
    CU_ASSERT_TRUE(get_append(5, 2, 4, 6, 4, 9).committed);
    CU_ASSERT_EQUAL(rig.raft.commit_idx, 6); /* 7 to 10 may yet be cut */
}

static void nothing_committed_is_ever_cut(void)
{
    begin(3, 4, 10);
    (void)get_append(4, 10, 4, 10, 0, 10);
    struct raft_message message = from(3, RAFT_MSG_APPEND, 5);
    message.prev_idx = 6;
    message.prev_term = 4;
    message.last_idx = 8;
    message.entry_term = 5;
    struct raft_out out = receive(message);
    CU_ASSERT_FALSE(out.truncate);
    CU_ASSERT_EQUAL(rig.raft.last_idx, 10);
}

/* ---- leading -------------------------------------------------------------------------------- */

static void older_terms_commit_only_with_an_entry_of_the_leaders_own(void)
{
    begin(3, 4, 10);
    campaign();
    grant(2, RAFT_MSG_PREVOTE_REPLY, 5);
    saved();
    grant(2, RAFT_MSG_VOTE_REPLY, 5);
    CU_ASSERT_FALSE(get_match(2, 10).committed);
    (void)append(0);
    CU_ASSERT_FALSE(get_match(3, 10).committed);
    CU_ASSERT_EQUAL(rig.raft.commit_idx, 0);
    (void)get_match(3, 11);
    CU_ASSERT_EQUAL(rig.raft.commit_idx, 0); /* two of three, but one is not durable here */
    CU_ASSERT_TRUE(flushed(11).committed);
    CU_ASSERT_EQUAL(rig.raft.commit_idx, 11);
}

static void a_majority_commits_while_the_leaders_own_disk_is_slow(void)
{
    lead_and_serve(3);
    (void)append(1);
    (void)get_match(2, 2);
    CU_ASSERT_EQUAL(rig.raft.commit_idx, 1);
    (void)get_match(3, 2);
    CU_ASSERT_EQUAL(rig.raft.commit_idx, 2);
    CU_ASSERT_EQUAL(rig.raft.flushed_idx, 1);
}

static void one_probe_finds_where_a_whole_term_parts(void)
{
    prepare(3, 9, 100);
    static const struct raft_run runs[] = {{1, 1}, {3, 20}, {9, 60}};
    rig.start.runs = runs;
    rig.start.run_count = 3;
    raft_init(&rig.raft, &rig.start);
    lead(2);
    struct raft_message message;
    CU_ASSERT_TRUE(take(RAFT_MSG_APPEND, 3, &message));
    CU_ASSERT_EQUAL(message.prev_idx, 100);
    struct raft_message refusal = from(3, RAFT_MSG_APPEND_REPLY, rig.raft.term);
    refusal.refused = true;
    refusal.prev_idx = 100;
    refusal.hint_idx = 80; /* its log has term 5 up to 80, which this one never had */
    refusal.hint_term = 5;
    (void)receive(refusal);
    CU_ASSERT_TRUE(take(RAFT_MSG_APPEND, 3, &message));
    CU_ASSERT_EQUAL(message.prev_idx, 59);
    CU_ASSERT_EQUAL(message.prev_term, 3);
    CU_ASSERT_FALSE(take(RAFT_MSG_APPEND, 3, &message)); /* and then it waits */
}

static void a_refusal_at_or_below_what_matched_is_of_an_older_message(void)
{
    lead_and_serve(3);
    (void)append(1);
    (void)get_match(2, 2);
    struct raft_message refusal = from(2, RAFT_MSG_APPEND_REPLY, rig.raft.term);
    refusal.refused = true;
    refusal.prev_idx = 1;
    (void)receive(refusal);
    (void)append(1);
    struct raft_message message;
    CU_ASSERT_TRUE(take(RAFT_MSG_APPEND, 2, &message));
    CU_ASSERT_EQUAL(message.prev_idx, 2);
    refusal.prev_idx = 2;
    (void)receive(refusal); /* and the window goes on */
    (void)append(1);
    CU_ASSERT_TRUE(take(RAFT_MSG_APPEND, 2, &message));
    CU_ASSERT_EQUAL(message.prev_idx, 3);
    refusal.prev_idx = 3; /* this one is true: 4 came before 3. It asks from the match on, whatever the hint. */
    refusal.hint_idx = 0;
    (void)receive(refusal);
    CU_ASSERT_TRUE(take(RAFT_MSG_APPEND, 2, &message));
    CU_ASSERT_EQUAL(message.prev_idx, 2);
}

static void an_earlier_boots_answers_say_nothing_and_a_new_one_begins_afresh(void)
{
    lead_and_serve(3);
    struct raft_message message = from(2, RAFT_MSG_APPEND_REPLY, rig.raft.term);
    (void)append(1);
    (void)flushed(2);
    (void)append(1);
    (void)flushed(3);
    message.boot = 5;
    message.match_idx = 2;
    (void)receive(message);
    CU_ASSERT_EQUAL(rig.raft.commit_idx, 2);
    message.boot = 6;
    message.match_idx = 1;
    (void)receive(message);
    message.boot = 5;
    message.match_idx = 3;
    (void)receive(message);
    CU_ASSERT_EQUAL(rig.raft.commit_idx, 2);
    CU_ASSERT_EQUAL(rig.raft.peers[1].match, 1);
}

static void a_window_that_is_full_and_lost_heals_with_the_second_beat(void)
{
    lead_and_serve(3);
    struct raft_message message;
    int sent = 0;
    for (int i = 0; i < 40; i++) {
        (void)append(1);
        while (take(RAFT_MSG_APPEND, 2, &message))
            sent++;
    }
    CU_ASSERT_EQUAL(sent, RAFT_WINDOW_MESSAGES);
    for (int i = 0; i < 2; i++) { /* the first beat sees that something was under way, the second that nothing came */
        (void)receive(from(2, RAFT_MSG_BEAT_REPLY, rig.raft.term));
        CU_ASSERT_FALSE(take(RAFT_MSG_APPEND, 2, &message));
        rig.now_us = raft_deadline_us(&rig.raft);
        (void)feed((struct raft_event){.type = RAFT_EV_TICK});
    }
    (void)receive(from(2, RAFT_MSG_BEAT_REPLY, rig.raft.term));
    CU_ASSERT_TRUE(take(RAFT_MSG_APPEND, 2, &message));
    CU_ASSERT_EQUAL(message.last_idx, message.prev_idx); /* a question */
    struct raft_message refusal = from(2, RAFT_MSG_APPEND_REPLY, rig.raft.term);
    refusal.refused = true;
    refusal.prev_idx = message.prev_idx;
    refusal.hint_idx = 1;
    refusal.hint_term = rig.raft.term;
    (void)receive(refusal);
    CU_ASSERT_TRUE(take(RAFT_MSG_APPEND, 2, &message));
    CU_ASSERT_EQUAL(message.prev_idx, 1);
    CU_ASSERT_EQUAL(message.last_idx, 41);
}

static void a_beats_commit_is_capped_to_what_the_peer_has(void)
{
    lead_and_serve(3);
    (void)append(1);
    (void)flushed(2);
    (void)get_match(2, 2);
    CU_ASSERT_EQUAL(rig.raft.commit_idx, 2);
    rig.now_us = raft_deadline_us(&rig.raft);
    (void)feed((struct raft_event){.type = RAFT_EV_TICK});
    struct raft_message message;
    CU_ASSERT_TRUE(take(RAFT_MSG_BEAT, 3, &message));
    CU_ASSERT_EQUAL(message.commit_idx, 1);
}

static void answers_of_strangers_and_earlier_lives_are_not_counted(void)
{
    lead_and_serve(3);
    (void)append(1);
    (void)flushed(2);
    (void)get_match(7, 2);
    CU_ASSERT_EQUAL(rig.raft.commit_idx, 1);
    struct raft_message message = from(2, RAFT_MSG_APPEND_REPLY, rig.raft.term);
    message.from.incarnation.bytes[3] = 9; /* a wiped disk's new life */
    message.match_idx = 2;
    (void)receive(message);
    CU_ASSERT_EQUAL(rig.raft.commit_idx, 1);
}

static void uncommitted_bytes_are_bounded(void)
{
    lead_and_serve(3);
    rig.raft.max_uncommitted_bytes = 1000;
    CU_ASSERT_TRUE(raft_has_room(&rig.raft, 5000)); /* one is always taken */
    (void)append(600);
    CU_ASSERT_TRUE(raft_has_room(&rig.raft, 400));
    (void)append(300);
    CU_ASSERT_FALSE(raft_has_room(&rig.raft, 400));
    (void)flushed(3);
    (void)get_match(2, 2);
    CU_ASSERT_TRUE(raft_has_room(&rig.raft, 700));
    (void)get_match(2, 3);
    CU_ASSERT_TRUE(raft_has_room(&rig.raft, 1000));
}

static void a_peer_behind_the_log_start_is_offered_a_jump(void)
{
    lead_and_serve(3);
    for (int i = 0; i < 9; i++)
        (void)append(1);
    (void)flushed(10);
    (void)get_match(2, 10);
    take_all();
    (void)feed((struct raft_event){.type = RAFT_EV_LOG_START, .idx = 8, .term = rig.raft.term});
    struct raft_message refusal = from(3, RAFT_MSG_APPEND_REPLY, rig.raft.term);
    refusal.refused = true;
    refusal.prev_idx = 10;
    refusal.hint_idx = 1;
    (void)receive(refusal);
    struct raft_message message;
    CU_ASSERT_TRUE(take(RAFT_MSG_RESET, 3, &message));
    CU_ASSERT_EQUAL(message.prev_idx, 8);
    CU_ASSERT_PTR_NOT_NULL(message.config);
    CU_ASSERT_FALSE(take(RAFT_MSG_RESET, 3, &message));
    (void)get_match(3, 8);
    CU_ASSERT_TRUE(take(RAFT_MSG_APPEND, 3, &message));
    CU_ASSERT_EQUAL(message.prev_idx, 8);
}

static void a_jump_is_acknowledged_when_durable_and_a_stale_one_changes_nothing(void)
{
    begin(3, 4, 10);
    struct raft_message message = from(2, RAFT_MSG_RESET, 5);
    struct raft_config config = {.count = 3, .seats = rig.seats};
    message.prev_idx = 30;
    message.prev_term = 5;
    message.config = &config;
    struct raft_out out = receive(message);
    saved();
    CU_ASSERT_TRUE(out.reset);
    CU_ASSERT_EQUAL(rig.raft.last_idx, 30);
    CU_ASSERT_EQUAL(raft_may_leave(&rig.raft, &out.reply), RAFT_WAIT);
    (void)flushed(30);
    CU_ASSERT_EQUAL(raft_may_leave(&rig.raft, &out.reply), RAFT_LEAVE);
    prepare(3, 4, 10);
    rig.start.commit_idx = 8;
    raft_init(&rig.raft, &rig.start); /* knows the term of 10 only */
    message.term = 4;
    message.prev_idx = 5;
    message.prev_term = 4;
    out = receive(message);
    CU_ASSERT_FALSE(out.reset);
    CU_ASSERT_EQUAL(out.reply.match_idx, 8);
    CU_ASSERT_EQUAL(rig.raft.last_idx, 10);
}

/* ---- reads, transfer, membership, idleness ------------------------------------------------------ */

static void while_a_jump_is_under_way_votes_compare_with_it(void)
{
    begin(3, 4, 10);
    struct raft_message message = from(2, RAFT_MSG_RESET, 5);
    struct raft_config config = {.count = 3, .seats = rig.seats};
    message.prev_idx = 30;
    message.prev_term = 5;
    message.config = &config;
    (void)receive(message);
    (void)feed((struct raft_event){.type = RAFT_EV_LEADER_GONE});
    CU_ASSERT_EQUAL(raft_deadline_us(&rig.raft), RAFT_NEVER_US); /* nor does it campaign */
    struct raft_message vote = from(3, RAFT_MSG_VOTE, 6);
    vote.prev_idx = 29;
    vote.prev_term = 5;
    CU_ASSERT_FALSE(receive(vote).reply.granted);
    vote.term = 7;
    vote.prev_idx = 30;
    CU_ASSERT_TRUE(receive(vote).reply.granted);
}

static void a_read_waits_for_beats_that_left_after_it_came(void)
{
    lead_and_serve(3);
    uint64_t first = feed((struct raft_event){.type = RAFT_EV_READ}).read_ticket;
    CU_ASSERT_EQUAL(feed((struct raft_event){.type = RAFT_EV_READ}).read_ticket, first); /* of the same turn */
    struct raft_message message;
    CU_ASSERT_TRUE(take(RAFT_MSG_BEAT, 2, &message));
    CU_ASSERT_EQUAL(message.round, first);
    uint64_t second = feed((struct raft_event){.type = RAFT_EV_READ}).read_ticket;
    CU_ASSERT_EQUAL(second, first + 1);
    struct raft_message reply = from(2, RAFT_MSG_BEAT_REPLY, rig.raft.term);
    reply.round = first;
    CU_ASSERT_EQUAL(receive(reply).reads_good, first);
    CU_ASSERT_TRUE(take(RAFT_MSG_BEAT, 2, &message));
    reply.round = message.round;
    CU_ASSERT_EQUAL(receive(reply).reads_good, second);
}

static void no_read_is_taken_before_the_no_op_commits(void)
{
    begin(3, 4, 10);
    lead(2);
    CU_ASSERT_EQUAL(feed((struct raft_event){.type = RAFT_EV_READ}).read_ticket, 0);
    (void)flushed(11);
    (void)get_match(2, 11);
    CU_ASSERT_NOT_EQUAL(feed((struct raft_event){.type = RAFT_EV_READ}).read_ticket, 0);
}

static void leadership_is_handed_to_one_that_has_everything_or_kept(void)
{
    lead_and_serve(3);
    (void)append(1);
    (void)feed((struct raft_event){.type = RAFT_EV_TRANSFER, .member = member(3)});
    CU_ASSERT_FALSE(raft_may_propose(&rig.raft));
    struct raft_message message;
    CU_ASSERT_FALSE(take(RAFT_MSG_TIMEOUT_NOW, 3, &message));
    (void)get_match(3, 2);
    CU_ASSERT_TRUE(take(RAFT_MSG_TIMEOUT_NOW, 3, &message));
    bool ended = false;
    while (!ended && rig.now_us < 5000 * MS) {
        rig.now_us = raft_deadline_us(&rig.raft);
        ended = feed((struct raft_event){.type = RAFT_EV_TICK}).transfer_ended;
        (void)receive(from(2, RAFT_MSG_BEAT_REPLY, rig.raft.term));
    }
    CU_ASSERT_TRUE(ended);
    CU_ASSERT_TRUE(raft_may_propose(&rig.raft));
}

static void the_target_of_a_transfer_campaigns_at_once_past_the_lease(void)
{
    begin(3, 4, 10);
    (void)get_append(4, 10, 4, 10, 0, 0);
    (void)receive(from(2, RAFT_MSG_TIMEOUT_NOW, 4));
    CU_ASSERT_EQUAL(rig.raft.role, RAFT_CANDIDATE);
    struct raft_message message;
    CU_ASSERT_TRUE(take(RAFT_MSG_VOTE, 3, &message));
    CU_ASSERT_TRUE(message.forced);
}

static struct raft_out append_config(const struct raft_config *config)
{
    return feed((struct raft_event){
        .type = RAFT_EV_APPENDED, .idx = rig.raft.last_idx + 1, .term = rig.raft.term, .config = config});
}

static void a_joint_configuration_needs_a_majority_of_each_half(void)
{
    lead_and_serve(3);
    struct raft_seat target[] = {{.member = member(1), .kinds = RAFT_SEAT_VOTER},
                                 {.member = member(4), .kinds = RAFT_SEAT_VOTER},
                                 {.member = member(5), .kinds = RAFT_SEAT_VOTER}};
    struct raft_seat seats[SEATS];
    struct raft_config entry = {.seats = seats};
    CU_ASSERT_TRUE(raft_make_change(&rig.raft, target, 3, &entry));
    CU_ASSERT_EQUAL(entry.count, 5);
    (void)append_config(&entry);
    CU_ASSERT_FALSE(raft_may_change(&rig.raft));
    (void)flushed(2);
    (void)get_match(2, 2);
    (void)get_match(3, 2);
    CU_ASSERT_EQUAL(rig.raft.commit_idx, 1); /* four of five, and none of the new */
    struct raft_out out = get_match(4, 2);
    CU_ASSERT_EQUAL(rig.raft.commit_idx, 2);
    CU_ASSERT_TRUE(out.leave_joint);
    raft_make_leave(&rig.raft, &entry);
    CU_ASSERT_EQUAL(entry.count, 3);
    (void)append_config(&entry);
    (void)flushed(3);
    (void)get_match(2, 3);
    CU_ASSERT_EQUAL(rig.raft.commit_idx, 2); /* gone, not counted */
    (void)get_match(5, 3);
    CU_ASSERT_EQUAL(rig.raft.commit_idx, 3);
    CU_ASSERT_TRUE(raft_may_change(&rig.raft));
}

static void a_learner_is_not_counted_and_does_not_campaign_but_votes(void)
{
    lead_and_serve(3);
    struct raft_seat target[] = {{.member = member(1), .kinds = RAFT_SEAT_VOTER},
                                 {.member = member(2), .kinds = RAFT_SEAT_VOTER},
                                 {.member = member(3), .kinds = RAFT_SEAT_VOTER},
                                 {.member = member(4), .kinds = RAFT_SEAT_LEARNER}};
    struct raft_seat seats[SEATS];
    struct raft_config entry = {.seats = seats};
    CU_ASSERT_TRUE(raft_make_change(&rig.raft, target, 4, &entry));
    CU_ASSERT_FALSE(raft_config_is_joint(&entry));
    (void)append_config(&entry);
    (void)flushed(2);
    (void)get_match(4, 2);
    CU_ASSERT_EQUAL(rig.raft.commit_idx, 1);
    prepare(3, 4, 10);
    rig.seats[0].kinds = RAFT_SEAT_LEARNER;
    raft_init(&rig.raft, &rig.start);
    CU_ASSERT_EQUAL(raft_deadline_us(&rig.raft), RAFT_NEVER_US);
    struct raft_message message = from(2, RAFT_MSG_VOTE, 5);
    message.prev_idx = 10;
    message.prev_term = 4;
    CU_ASSERT_TRUE(receive(message).reply.granted);
}

static void a_configuration_that_is_cut_gives_way_to_the_one_before(void)
{
    begin(3, 4, 10);
    struct raft_seat seats[] = {{.member = member(1), .kinds = RAFT_SEAT_VOTER},
                                {.member = member(2), .kinds = RAFT_SEAT_VOTER}};
    struct raft_config config = {.idx = 11, .count = 2, .seats = seats};
    struct raft_message message = from(2, RAFT_MSG_APPEND, 4);
    message.prev_idx = 10;
    message.prev_term = 4;
    message.last_idx = 11;
    message.entry_term = 4;
    struct raft_out out = feed((struct raft_event){.type = RAFT_EV_MESSAGE, .message = &message, .config = &config});
    CU_ASSERT_TRUE(out.config_changed);
    CU_ASSERT_EQUAL(rig.raft.config.count, 2);
    struct raft_message other = from(3, RAFT_MSG_APPEND, 5);
    other.prev_idx = 10;
    other.prev_term = 4;
    other.last_idx = 11;
    other.entry_term = 5;
    CU_ASSERT_TRUE(receive(other).config_changed);
    CU_ASSERT_EQUAL(rig.raft.config.count, 3);
    CU_ASSERT_EQUAL(rig.raft.config.idx, 0);
}

static void a_leader_that_is_removed_hands_over_once_that_is_committed(void)
{
    lead_and_serve(3);
    struct raft_seat target[] = {{.member = member(2), .kinds = RAFT_SEAT_VOTER},
                                 {.member = member(3), .kinds = RAFT_SEAT_VOTER}};
    struct raft_seat seats[SEATS];
    struct raft_config entry = {.seats = seats};
    CU_ASSERT_TRUE(raft_make_change(&rig.raft, target, 2, &entry));
    (void)append_config(&entry);
    (void)flushed(2);
    (void)get_match(2, 2);
    (void)get_match(3, 2);
    raft_make_leave(&rig.raft, &entry);
    (void)append_config(&entry);
    (void)flushed(3);
    (void)get_match(2, 3);
    CU_ASSERT_EQUAL(rig.raft.role, RAFT_LEADER);
    (void)get_match(3, 3);
    CU_ASSERT_EQUAL(rig.raft.commit_idx, 3);
    CU_ASSERT_FALSE(raft_may_propose(&rig.raft));
    struct raft_message message;
    CU_ASSERT_TRUE(raft_take_message(&rig.raft, &message));
    CU_ASSERT_EQUAL(message.type, RAFT_MSG_TIMEOUT_NOW);
    while (rig.raft.role == RAFT_LEADER && rig.now_us < 5000 * MS) { /* and does not stay if nobody takes over */
        rig.now_us = raft_deadline_us(&rig.raft);
        (void)feed((struct raft_event){.type = RAFT_EV_TICK});
        (void)receive(from(2, RAFT_MSG_BEAT_REPLY, rig.raft.term));
        (void)receive(from(3, RAFT_MSG_BEAT_REPLY, rig.raft.term));
    }
    CU_ASSERT_EQUAL(rig.raft.role, RAFT_FOLLOWER);
    CU_ASSERT_EQUAL(raft_deadline_us(&rig.raft), RAFT_NEVER_US);
}

static void no_configuration_is_without_a_voter(void)
{
    lead_and_serve(3);
    struct raft_seat seats[SEATS];
    struct raft_config entry = {.seats = seats};
    struct raft_seat target[] = {{.member = member(2), .kinds = RAFT_SEAT_LEARNER}};
    CU_ASSERT_FALSE(raft_make_change(&rig.raft, target, 1, &entry));
    CU_ASSERT_FALSE(raft_make_change(&rig.raft, target, 0, &entry));
}

static void a_group_that_is_idle_and_vouched_for_has_no_clock(void)
{
    lead_and_serve(3);
    for (uint32_t i = 2; i <= 3; i++) {
        (void)feed((struct raft_event){.type = RAFT_EV_PEER_LINK, .member = member(i), .on = true});
        struct raft_message message = from(i, RAFT_MSG_BEAT_REPLY, rig.raft.term);
        CU_ASSERT_NOT_EQUAL(raft_deadline_us(&rig.raft), RAFT_NEVER_US);
        message.commit_idx = 1;
        (void)receive(message);
    }
    CU_ASSERT_EQUAL(raft_deadline_us(&rig.raft), RAFT_NEVER_US);
    rig.now_us += 60000 * MS;
    (void)append(1);
    CU_ASSERT_NOT_EQUAL(raft_deadline_us(&rig.raft), RAFT_NEVER_US);
    (void)feed((struct raft_event){.type = RAFT_EV_TICK});
    CU_ASSERT_EQUAL(rig.raft.role, RAFT_LEADER);
}

static void a_follower_whose_leader_is_vouched_for_has_no_clock_until_that_lapses(void)
{
    begin(3, 4, 10);
    (void)feed((struct raft_event){.type = RAFT_EV_CLAIM, .on = true, .term = 4, .member = member(2)});
    CU_ASSERT_EQUAL(raft_deadline_us(&rig.raft), RAFT_NEVER_US);
    rig.now_us += 60000 * MS;
    struct raft_message message = from(3, RAFT_MSG_PREVOTE, 5);
    message.prev_idx = 10;
    message.prev_term = 4;
    CU_ASSERT_FALSE(receive(message).has_reply);
    (void)feed((struct raft_event){.type = RAFT_EV_CLAIM, .on = false, .term = 4, .member = member(2)});
    CU_ASSERT_TRUE(raft_deadline_us(&rig.raft) >= rig.now_us + 500 * MS);
    CU_ASSERT_TRUE(raft_deadline_us(&rig.raft) <= rig.now_us + 1000 * MS);
}

static const struct unit_case cases[] = {
    {"a pre-vote changes nothing at the voter", a_pre_vote_changes_nothing_at_the_voter},
    {"the term of a refused pre-vote is taken over", the_term_of_a_refused_pre_vote_is_taken_over},
    {"a voter that hears a leader ignores votes, but those of a transfer",
     a_voter_that_hears_a_leader_ignores_votes_but_those_of_a_transfer},
    {"a leader of an old term is answered at the new one", a_leader_of_an_old_term_is_answered_at_the_new_one},
    {"a vote leaves when it is durable and not before", a_vote_leaves_when_it_is_durable_and_not_before},
    {"a candidate claims only what its disk has", a_candidate_claims_only_what_its_disk_has},
    {"votes compare terms before indexes", votes_compare_terms_before_indexes},
    {"a leader that no quorum speaks to steps down and keeps its vote",
     a_leader_that_no_quorum_speaks_to_steps_down_and_keeps_its_vote},
    {"the death of the leader's process starts a pre-vote within 100 ms",
     the_death_of_the_leaders_process_starts_a_pre_vote_within_100_ms},
    {"a lower rank waits, and one that may never lead does not try",
     a_lower_rank_waits_and_one_that_may_never_lead_does_not_try},
    {"what is for another incarnation is not for this one", what_is_for_another_incarnation_is_not_for_this_one},
    {"one that may have forgotten neither votes nor campaigns until it has caught up",
     one_that_may_have_forgotten_neither_votes_nor_campaigns_until_it_has_caught_up},
    {"after a failed disk a leader's last word names its best follower",
     after_a_failed_disk_a_leaders_last_word_names_its_best_follower},
    {"a follower acknowledges what it compared, and not its own end",
     a_follower_acknowledges_what_it_compared_and_not_its_own_end},
    {"an acknowledgement leaves when the entry is durable", an_acknowledgement_leaves_when_the_entry_is_durable},
    {"a completion from before a cut speaks only of what was not cut",
     a_completion_from_before_a_cut_speaks_only_of_what_was_not_cut},
    {"an unknown term is never a match", an_unknown_term_is_never_a_match},
    {"a beat brings the commit of what was acknowledged", a_beat_brings_the_commit_of_what_was_acknowledged},
    {"the commit goes no further than what was compared", the_commit_goes_no_further_than_what_was_compared},
    {"nothing committed is ever cut", nothing_committed_is_ever_cut},
    {"older terms commit only with an entry of the leader's own",
     older_terms_commit_only_with_an_entry_of_the_leaders_own},
    {"a majority commits while the leader's own disk is slow", a_majority_commits_while_the_leaders_own_disk_is_slow},
    {"one probe finds where a whole term parts", one_probe_finds_where_a_whole_term_parts},
    {"a refusal at or below what matched is of an older message",
     a_refusal_at_or_below_what_matched_is_of_an_older_message},
    {"an earlier boot's answers say nothing, and a new one begins afresh",
     an_earlier_boots_answers_say_nothing_and_a_new_one_begins_afresh},
    {"a window that is full and lost heals with the second beat",
     a_window_that_is_full_and_lost_heals_with_the_second_beat},
    {"a beat's commit is capped to what the peer has", a_beats_commit_is_capped_to_what_the_peer_has},
    {"answers of strangers and earlier lives are not counted", answers_of_strangers_and_earlier_lives_are_not_counted},
    {"uncommitted bytes are bounded", uncommitted_bytes_are_bounded},
    {"a peer behind the log start is offered a jump", a_peer_behind_the_log_start_is_offered_a_jump},
    {"a jump is acknowledged when durable, and a stale one changes nothing",
     a_jump_is_acknowledged_when_durable_and_a_stale_one_changes_nothing},
    {"while a jump is under way votes compare with it", while_a_jump_is_under_way_votes_compare_with_it},
    {"a read waits for beats that left after it came", a_read_waits_for_beats_that_left_after_it_came},
    {"no read is taken before the no-op commits", no_read_is_taken_before_the_no_op_commits},
    {"leadership is handed to one that has everything, or kept",
     leadership_is_handed_to_one_that_has_everything_or_kept},
    {"the target of a transfer campaigns at once, past the lease",
     the_target_of_a_transfer_campaigns_at_once_past_the_lease},
    {"a joint configuration needs a majority of each half", a_joint_configuration_needs_a_majority_of_each_half},
    {"a learner is not counted and does not campaign, but votes",
     a_learner_is_not_counted_and_does_not_campaign_but_votes},
    {"a configuration that is cut gives way to the one before",
     a_configuration_that_is_cut_gives_way_to_the_one_before},
    {"a leader that is removed hands over once that is committed",
     a_leader_that_is_removed_hands_over_once_that_is_committed},
    {"no configuration is without a voter", no_configuration_is_without_a_voter},
    {"a group that is idle and vouched for has no clock", a_group_that_is_idle_and_vouched_for_has_no_clock},
    {"a follower whose leader is vouched for has no clock until that lapses",
     a_follower_whose_leader_is_vouched_for_has_no_clock_until_that_lapses},
};
UNIT_MAIN("raft in a group", cases)
