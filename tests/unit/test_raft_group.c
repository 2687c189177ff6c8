/*
 * Rules of the consensus core for groups of several, one case each: elections, and the
 * follower's side of replication.
 */
#include "support/raft_rig.h"

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

static void who_asked_for_votes_in_vain_asks_soon_again_when_told(void)
{
    begin(3, 4, 10);
    rig.now_us = raft_deadline_us(&rig.raft);
    (void)feed((struct raft_event){.type = RAFT_EV_TICK});
    CU_ASSERT_EQUAL(rig.raft.role, RAFT_PRE_CANDIDATE);
    (void)feed((struct raft_event){.type = RAFT_EV_LEADER_GONE});
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

/* A new leader does not know the boot of whom it addresses: the no-op brings nobody up, and no
 * append comes behind it. Its beats do. */
static void who_may_have_forgotten_is_brought_up_by_beats(void)
{
    prepare(3, 4, 10);
    rig.start.amnesiac = true;
    rig.start.commits_unflushed = true;
    rig.start.boot = 3;
    raft_init(&rig.raft, &rig.start);
    struct raft_message noop = from(2, RAFT_MSG_APPEND, 6);
    noop.prev_idx = 10;
    noop.prev_term = 4;
    noop.last_idx = 11;
    noop.entry_term = 6;
    struct raft_out out = receive(noop);
    CU_ASSERT_EQUAL(out.reply.match_idx, 11);
    struct raft_message beat = from(2, RAFT_MSG_BEAT, 6);
    beat.commit_idx = 11; /* of what the leader has committed all that this boot has acknowledged, which is less */
    beat.last_idx = 12;
    beat.to_boot = 3;
    (void)receive(beat);
    CU_ASSERT_TRUE(rig.raft.amnesiac);
    CU_ASSERT_EQUAL(rig.raft.commit_idx, 11);
    beat.last_idx = 11;
    beat.to_boot = 2; /* sent to its former life */
    (void)receive(beat);
    CU_ASSERT_TRUE(rig.raft.amnesiac);
    beat.to_boot = 3;
    (void)receive(beat);
    CU_ASSERT_FALSE(rig.raft.amnesiac);
}

static void those_that_may_have_forgotten_ask_each_other(void)
{
    prepare(3, 4, 10);
    rig.start.amnesiac = true;
    rig.start.commits_unflushed = true;
    rig.start.boot = 3;
    raft_init(&rig.raft, &rig.start);
    struct raft_message message;
    rig.now_us = raft_deadline_us(&rig.raft);
    (void)feed((struct raft_event){.type = RAFT_EV_TICK});
    CU_ASSERT_EQUAL(rig.raft.role, RAFT_FOLLOWER);
    CU_ASSERT_TRUE_FATAL(raft_take_message(&rig.raft, &message));
    CU_ASSERT_EQUAL(message.type, RAFT_MSG_FORGOT);
    struct raft_message reply = from(2, RAFT_MSG_FORGOT_REPLY, 4);
    reply.to_boot = 2; /* of its former life */
    reply.round = message.round;
    CU_ASSERT_FALSE(receive(reply).may_pardon);
    reply.to_boot = 3;
    reply.round = message.round - 1;
    CU_ASSERT_FALSE(receive(reply).may_pardon);
    reply.round = message.round;
    CU_ASSERT_TRUE(receive(reply).may_pardon);
    struct raft_message ask = from(3, RAFT_MSG_FORGOT, 9);
    ask.boot = 7;
    struct raft_out out = receive(ask);
    CU_ASSERT_TRUE(out.has_reply);
    CU_ASSERT_EQUAL(out.reply.type, RAFT_MSG_FORGOT_REPLY);
    CU_ASSERT_EQUAL(out.reply.to_boot, 7);
    (void)feed((struct raft_event){.type = RAFT_EV_PARDON});
    CU_ASSERT_TRUE(receive(ask).has_reply); /* it may vote now, and had forgotten all the same */
    CU_ASSERT_EQUAL(rig.raft.term, 4);      /* no such message is of a term */
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

static void a_log_that_outlived_what_the_others_lost_is_given_up(void)
{
    begin(3, 4, 10);
    rig.start.commits_unflushed = true;
    raft_init(&rig.raft, &rig.start);
    CU_ASSERT_TRUE(get_append(4, 8, 4, 10, 4, 10).committed);
    CU_ASSERT_EQUAL(rig.raft.commit_idx, 10);
    struct raft_out out = get_append(6, 8, 4, 12, 6, 8); /* of a leader that lost 9 and 10 */
    CU_ASSERT_TRUE(out.outlived);
    CU_ASSERT_FALSE(out.has_reply || out.truncate || out.accept);
    out = get_append(6, 9, 6, 9, 0, 9);
    CU_ASSERT_TRUE(out.outlived);
    CU_ASSERT_FALSE(out.has_reply);
    out = get_append(6, 8, 4, 10, 4, 8); /* what came late, and agrees */
    CU_ASSERT_FALSE(out.outlived);
    CU_ASSERT_EQUAL(out.reply.match_idx, 10);
    begin(3, 4, 10); /* flushed, nothing can be lost so: the leader breaks the rules */
    CU_ASSERT_TRUE(get_append(4, 8, 4, 10, 4, 10).committed);
    CU_ASSERT_FALSE(get_append(6, 8, 4, 12, 6, 8).outlived);
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

/* Its log gives up, in the middle of a pre-vote, what is committed and not yet durable here. */
static void one_whose_log_begins_past_what_is_durable_does_not_campaign(void)
{
    begin(3, 4, 10);
    (void)get_append(4, 10, 4, 12, 4, 12);
    campaign();
    (void)feed((struct raft_event){.type = RAFT_EV_LOG_START, .idx = 12, .term = 4});
    grant(3, RAFT_MSG_PREVOTE_REPLY, 5);
    CU_ASSERT_EQUAL(rig.raft.role, RAFT_FOLLOWER);
    CU_ASSERT_EQUAL(rig.raft.term, 4);
    (void)flushed(12);
    campaign();
    grant(3, RAFT_MSG_PREVOTE_REPLY, 5);
    CU_ASSERT_EQUAL(rig.raft.role, RAFT_CANDIDATE);
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
    {"who asked for votes in vain asks soon again when told", who_asked_for_votes_in_vain_asks_soon_again_when_told},
    {"a lower rank waits, and one that may never lead does not try",
     a_lower_rank_waits_and_one_that_may_never_lead_does_not_try},
    {"what is for another incarnation is not for this one", what_is_for_another_incarnation_is_not_for_this_one},
    {"one that may have forgotten neither votes nor campaigns until it has caught up",
     one_that_may_have_forgotten_neither_votes_nor_campaigns_until_it_has_caught_up},
    {"who may have forgotten is brought up by beats", who_may_have_forgotten_is_brought_up_by_beats},
    {"those that may have forgotten ask each other", those_that_may_have_forgotten_ask_each_other},
    {"after a failed disk a leader's last word names its best follower",
     after_a_failed_disk_a_leaders_last_word_names_its_best_follower},
    {"a follower acknowledges what it compared, and not its own end",
     a_follower_acknowledges_what_it_compared_and_not_its_own_end},
    {"an acknowledgement leaves when the entry is durable", an_acknowledgement_leaves_when_the_entry_is_durable},
    {"a completion from before a cut speaks only of what was not cut",
     a_completion_from_before_a_cut_speaks_only_of_what_was_not_cut},
    {"an unknown term is never a match", an_unknown_term_is_never_a_match},
    {"a beat brings the commit of what was acknowledged", a_beat_brings_the_commit_of_what_was_acknowledged},
    {"a log that outlived what the others lost is given up", a_log_that_outlived_what_the_others_lost_is_given_up},
    {"the commit goes no further than what was compared", the_commit_goes_no_further_than_what_was_compared},
    {"one whose log begins past what is durable does not campaign",
     one_whose_log_begins_past_what_is_durable_does_not_campaign},
    {"nothing committed is ever cut", nothing_committed_is_ever_cut},
};
UNIT_MAIN("raft in a group", cases)
