/*
 * Rules of the consensus core for groups of several, one case each: the leader's side,
 * log-start jumps, reads, transfer, membership, idleness.
 */
#include "support/raft_rig.h"

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

static void what_a_peer_has_acknowledged_only_grows(void)
{
    lead_and_serve(3);
    (void)append(1);
    (void)get_match(2, 2);
    (void)get_match(2, 1); /* late, or twice */
    CU_ASSERT_EQUAL(rig.raft.peers[1].match, 2);
    CU_ASSERT_TRUE(flushed(2).committed);
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

static void a_jump_to_an_entry_that_the_log_has_keeps_what_follows(void)
{
    prepare(3, 4, 10);
    rig.start.commit_idx = 2;
    raft_init(&rig.raft, &rig.start); /* knows the term of 10 only */
    struct raft_message message = from(2, RAFT_MSG_RESET, 5);
    struct raft_config config = {.count = 3, .seats = rig.seats};
    message.prev_idx = 6;
    message.prev_term = 3;
    message.config = &config;
    struct raft_out out = feed((struct raft_event){.type = RAFT_EV_MESSAGE, .message = &message, .log_prev_term = 3});
    CU_ASSERT_FALSE(out.reset);
    CU_ASSERT_EQUAL(out.reply.match_idx, 6);
    CU_ASSERT_EQUAL(rig.raft.last_idx, 10); /* 7 to 10 may have been counted by a leader */
    message.prev_idx = 8;
    out = feed((struct raft_event){.type = RAFT_EV_MESSAGE, .message = &message, .log_prev_term = 2});
    CU_ASSERT_TRUE(out.reset);
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

static void nothing_is_read_or_proposed_before_the_no_op_commits(void)
{
    begin(3, 4, 10);
    lead(2);
    CU_ASSERT_FALSE(raft_may_propose(&rig.raft));
    CU_ASSERT_EQUAL(feed((struct raft_event){.type = RAFT_EV_READ}).read_ticket, 0);
    (void)flushed(11);
    (void)get_match(2, 11);
    CU_ASSERT_NOT_EQUAL(feed((struct raft_event){.type = RAFT_EV_READ}).read_ticket, 0);
    CU_ASSERT_TRUE(raft_may_propose(&rig.raft));
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
    for (unsigned ticks = 0; !ended && ticks < 1000; ticks++) {
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
    /* and does not stay if nobody takes over */
    for (unsigned ticks = 0; rig.raft.role == RAFT_LEADER && ticks < 1000; ticks++) {
        rig.now_us = raft_deadline_us(&rig.raft);
        (void)feed((struct raft_event){.type = RAFT_EV_TICK});
        (void)receive(from(2, RAFT_MSG_BEAT_REPLY, rig.raft.term));
        (void)receive(from(3, RAFT_MSG_BEAT_REPLY, rig.raft.term));
    }
    CU_ASSERT_EQUAL(rig.raft.role, RAFT_FOLLOWER);
    CU_ASSERT_EQUAL(raft_deadline_us(&rig.raft), RAFT_NEVER_US);
}

/* Its log may be the longest, and the half it was of cannot elect anybody else. */
static void one_that_an_uncommitted_change_removes_still_campaigns(void)
{
    begin(3, 4, 10);
    struct raft_seat seats[] = {{.member = member(2), .kinds = RAFT_SEAT_VOTER},
                                {.member = member(3), .kinds = RAFT_SEAT_VOTER}};
    struct raft_config config = {.idx = 11, .count = 2, .seats = seats};
    struct raft_message message = from(2, RAFT_MSG_APPEND, 4);
    message.prev_idx = 10;
    message.prev_term = 4;
    message.last_idx = 11;
    message.entry_term = 4;
    message.commit_idx = 10;
    (void)feed((struct raft_event){.type = RAFT_EV_MESSAGE, .message = &message, .config = &config});
    CU_ASSERT_NOT_EQUAL(raft_deadline_us(&rig.raft), RAFT_NEVER_US);
    message.prev_idx = 11;
    message.commit_idx = 11;
    (void)receive(message);
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
    CU_ASSERT_EQUAL(raft_deadline_us(&rig.raft), rig.now_us + rig.raft.beat_us);
    (void)feed((struct raft_event){.type = RAFT_EV_TICK});
    CU_ASSERT_EQUAL(rig.raft.role, RAFT_LEADER);
    struct raft_message message;
    CU_ASSERT_TRUE(take(RAFT_MSG_APPEND, 2, &message));
    CU_ASSERT_TRUE(take(RAFT_MSG_APPEND, 3, &message));
    CU_ASSERT_FALSE(raft_take_message(&rig.raft, &message)); /* no beats: the entry says as much */
    rig.now_us += rig.raft.beat_us;
    (void)feed((struct raft_event){.type = RAFT_EV_TICK});
    CU_ASSERT_TRUE(take(RAFT_MSG_BEAT, 2, &message));
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
    CU_ASSERT_TRUE(raft_deadline_us(&rig.raft) >= rig.now_us + rig.raft.beat_us);
    CU_ASSERT_TRUE(raft_deadline_us(&rig.raft) <= rig.now_us + rig.raft.beat_us + 500 * MS);
    CU_ASSERT_TRUE(receive(message).reply.granted); /* no lease keeps it to the silent one */
}

static const struct unit_case cases[] = {
    {"older terms commit only with an entry of the leader's own",
     older_terms_commit_only_with_an_entry_of_the_leaders_own},
    {"a majority commits while the leader's own disk is slow", a_majority_commits_while_the_leaders_own_disk_is_slow},
    {"one probe finds where a whole term parts", one_probe_finds_where_a_whole_term_parts},
    {"a refusal at or below what matched is of an older message",
     a_refusal_at_or_below_what_matched_is_of_an_older_message},
    {"an earlier boot's answers say nothing, and a new one begins afresh",
     an_earlier_boots_answers_say_nothing_and_a_new_one_begins_afresh},
    {"what a peer has acknowledged only grows", what_a_peer_has_acknowledged_only_grows},
    {"a window that is full and lost heals with the second beat",
     a_window_that_is_full_and_lost_heals_with_the_second_beat},
    {"a beat's commit is capped to what the peer has", a_beats_commit_is_capped_to_what_the_peer_has},
    {"answers of strangers and earlier lives are not counted", answers_of_strangers_and_earlier_lives_are_not_counted},
    {"uncommitted bytes are bounded", uncommitted_bytes_are_bounded},
    {"a peer behind the log start is offered a jump", a_peer_behind_the_log_start_is_offered_a_jump},
    {"a jump to an entry that the log has keeps what follows", a_jump_to_an_entry_that_the_log_has_keeps_what_follows},
    {"a jump is acknowledged when durable, and a stale one changes nothing",
     a_jump_is_acknowledged_when_durable_and_a_stale_one_changes_nothing},
    {"while a jump is under way votes compare with it", while_a_jump_is_under_way_votes_compare_with_it},
    {"a read waits for beats that left after it came", a_read_waits_for_beats_that_left_after_it_came},
    {"nothing is read or proposed before the no-op commits", nothing_is_read_or_proposed_before_the_no_op_commits},
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
    {"one that an uncommitted change removes still campaigns", one_that_an_uncommitted_change_removes_still_campaigns},
    {"no configuration is without a voter", no_configuration_is_without_a_voter},
    {"a group that is idle and vouched for has no clock", a_group_that_is_idle_and_vouched_for_has_no_clock},
    {"a follower whose leader is vouched for has no clock until that lapses",
     a_follower_whose_leader_is_vouched_for_has_no_clock_until_that_lapses},
};
UNIT_MAIN("raft as the leader", cases)
