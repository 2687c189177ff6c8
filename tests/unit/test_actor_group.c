/*
 * Groups of actors: elections, publishing, cuts, joining, catching up, beginning anew,
 * stopping, machines. Disks that fail and searches: test_actor_faults.c.
 */
#include "base/require.h"
#include "support/group_case.h"

static void a_publish_to_three_is_on_all_three(void)
{
    begin(3);
    int leader = start_and_lead();
    publish_some(leader, 50);
    CU_ASSERT_TRUE(group_wait_publishes(group, 3000));
    CU_ASSERT_EQUAL(acknowledged(), 50);
    CU_ASSERT_TRUE(group_wait_even(group, 3000));
    for (int n = 0; n < 3; n++)
        CU_ASSERT_EQUAL(log_view_high_watermark(group->nodes[n].pump.view), 50);
    end();
}

static void an_acknowledgement_commits_without_the_disk(void)
{
    begin(3);
    int leader = start_and_lead();
    group_run(group, 500);
    group->light_turns = 0;
    for (int i = 0; i < 10; i++) {
        struct group_publish *publish = group_publish(group, leader, 100, -1, 0);
        CU_ASSERT_TRUE(group_wait_publishes(group, 1000));
        CU_ASSERT_EQUAL(publish->publish.err, KQ_OK);
        group_run(group, 50);
    }
    CU_ASSERT_TRUE(group->light_turns >= 15); /* of 20; some come together with something else */
    end();
}

static void a_follower_refuses_and_says_the_term(void)
{
    begin(3);
    int leader = start_and_lead();
    group_run(group, 500);
    struct group_publish *publish = group_publish(group, (leader + 1) % 3, 100, -1, 0);
    CU_ASSERT_TRUE(group_wait_publishes(group, 100));
    CU_ASSERT_EQUAL(publish->publish.err, KQ_NOT_LEADER);
    CU_ASSERT_EQUAL(publish->publish.request.term, group->nodes[leader].news.term);
    struct group_publish *bound = group_publish(group, leader, 100, -1, 0);
    bound->publish.request.in_term = group->nodes[leader].news.term + 1;
    CU_ASSERT_TRUE(group_wait_publishes(group, 100));
    CU_ASSERT_EQUAL(bound->publish.err, KQ_NOT_LEADER);
    struct group_publish *forwarded = group_publish(group, leader, 100, -1, 0); /* to no term */
    forwarded->publish.request.forwarded = true;
    CU_ASSERT_TRUE(group_wait_publishes(group, 100));
    CU_ASSERT_EQUAL(forwarded->publish.err, KQ_NOT_LEADER);
    forwarded = group_publish(group, leader, 100, -1, 0);
    forwarded->publish.request.forwarded = true;
    forwarded->publish.request.in_term = group->nodes[leader].news.term;
    CU_ASSERT_TRUE(group_wait_publishes(group, 3000));
    CU_ASSERT_EQUAL(forwarded->publish.err, KQ_OK);
    end();
}

static void without_a_majority_nothing_is_acknowledged(void)
{
    begin(3);
    int leader = start_and_lead();
    publish_some(leader, 3);
    CU_ASSERT_TRUE(group_wait_publishes(group, 3000));
    for (int n = 0; n < 3; n++)
        if (n != leader)
            group_crash(group, n, IO_MEM_ALL_LOST);
    struct group_publish *publish = group_publish(group, leader, 100, -1, 0);
    struct group_publish *late;
    group_run(group, 1500);
    CU_ASSERT_TRUE(publish->publish.done);
    CU_ASSERT_EQUAL(publish->publish.err, KQ_OUTCOME_UNKNOWN);
    late = group_publish(group, leader, 100, -1, 0);
    group_run(group, 100); /* at once, not at its deadline: whoever sent it knows whether to wait */
    CU_ASSERT_TRUE(late->publish.done);
    CU_ASSERT_EQUAL(late->publish.err, KQ_NOT_LEADER);
    end();
}

static void the_next_leader_has_what_was_acknowledged(void)
{
    begin(3);
    for (int round = 0; round < 6; round++) {
        int leader = round == 0 ? start_and_lead() : group_wait_leader(group, 5000);
        CU_ASSERT_TRUE_FATAL(leader >= 0);
        publish_some(leader, 20);
        group_crash(group, leader, IO_MEM_ALL_LOST);
        CU_ASSERT_TRUE_FATAL(group_wait_leader(group, 5000) >= 0);
        publish_some(group_leader(group), 5);
        group_open(group, leader);
    }
    CU_ASSERT_TRUE(group_wait_publishes(group, 5000));
    CU_ASSERT_TRUE(acknowledged() >= 100);
    CU_ASSERT_TRUE(group_wait_even(group, 5000));
    end();
}

static void a_tail_that_nobody_else_has_is_cut(void)
{
    begin(3);
    int old = start_and_lead();
    publish_some(old, 5);
    CU_ASSERT_TRUE(group_wait_publishes(group, 1000));
    for (int n = 0; n < 3; n++)
        if (n != old)
            group->cut[old][n] = group->cut[n][old] = true;
    /* With a producer, so that its state is rolled back, too. */
    for (int i = 0; i < 4; i++)
        (void)group_publish(group, old, 300, 77, i);
    group_run(group, 2500);
    int fresh = group_leader(group);
    CU_ASSERT_TRUE_FATAL(fresh >= 0 && fresh != old);
    publish_some(fresh, 10);
    memset(group->cut, 0, sizeof group->cut);
    CU_ASSERT_TRUE(group_wait_publishes(group, 4000));
    CU_ASSERT_TRUE(group_wait_even(group, 4000));
    CU_ASSERT_TRUE(acknowledged() >= 15);
    int leader = group_leader(group);
    struct group_publish *again = group_publish(group, leader, 300, 77, 0); /* any sequence: it is not known */
    CU_ASSERT_TRUE(group_wait_publishes(group, 1000));
    CU_ASSERT_EQUAL(again->publish.err, KQ_OK);
    end();
}

static void what_was_replaced_by_something_committed_is_refused_for_certain(void)
{
    begin(3);
    group->links = true;
    int old = start_and_lead();
    publish_some(old, 5);
    CU_ASSERT_TRUE(group_wait_publishes(group, 1000));
    CU_ASSERT_TRUE(group_wait_even(group, 1000));
    for (int n = 0; n < 3; n++)
        if (n != old)
            group->cut[old][n] = group->cut[n][old] = true;
    struct group_publish *replaced = group_publish(group, old, 300, -1, 0);
    int fresh = old;
    for (int i = 0; i < 1000 && fresh == old; i++) {
        group_step(group);
        fresh = group_leader(group);
    }
    CU_ASSERT_TRUE_FATAL(fresh != old);
    publish_some(fresh, 5);
    CU_ASSERT_FALSE(replaced->publish.done);
    memset(group->cut, 0, sizeof group->cut);
    CU_ASSERT_TRUE(group_wait_publishes(group, 1000));
    CU_ASSERT_EQUAL(replaced->publish.err, KQ_NOT_LEADER);
    CU_ASSERT_EQUAL(replaced->publish.request.term, group->nodes[fresh].news.term);
    CU_ASSERT_EQUAL(acknowledged(), 10);
    end();
}

/* It was on its way to a majority when its leader was cut off. */
static void what_the_next_leader_has_is_acknowledged_by_the_old_one(void)
{
    begin(3);
    group->links = true;
    int old = start_and_lead();
    publish_some(old, 5);
    CU_ASSERT_TRUE(group_wait_even(group, 1000));
    for (int n = 0; n < 3; n++)
        group->cut[n][old] = n != old;
    struct group_publish *publish = group_publish(group, old, 300, -1, 0);
    int fresh = old;
    for (int i = 0; i < 1000 && fresh == old; i++) {
        group_step(group);
        fresh = group_leader(group);
    }
    CU_ASSERT_TRUE_FATAL(fresh != old);
    CU_ASSERT_FALSE(publish->publish.done);
    memset(group->cut, 0, sizeof group->cut);
    CU_ASSERT_TRUE(group_wait_publishes(group, 1000));
    CU_ASSERT_EQUAL(publish->publish.err, KQ_OK);
    CU_ASSERT_EQUAL(publish->publish.base_off, 5);
    end();
}

static void who_was_away_catches_up_from_the_log(void)
{
    begin(3);
    int leader = start_and_lead();
    int away = (leader + 1) % 3;
    group_crash(group, away, IO_MEM_ALL_LOST);
    for (int term = 0; term < 4; term++) { /* a packet is of one */
        publish_some(leader, 100);
        CU_ASSERT_TRUE(group_wait_publishes(group, 3000));
        /* The next leader has no tail of fresh entries. */
        group_crash(group, leader, IO_MEM_ALL_KEPT);
        group_open(group, leader);
        leader = group_wait_leader(group, 5000);
        CU_ASSERT_TRUE_FATAL(leader >= 0);
    }
    group_open(group, away);
    CU_ASSERT_TRUE(group_wait_even(group, 10000));
    CU_ASSERT_TRUE(group->catch_ups > 0);
    CU_ASSERT_EQUAL(group->old_at_links_most, 2); /* the link has the next when one has left */
    CU_ASSERT_EQUAL(acknowledged(), 400);
    end();
}

static void one_broker_grows_to_three_and_shrinks_again(void)
{
    begin(1);
    group_start(group);
    group_run(group, 100);
    publish_some(0, 20);
    group_open(group, 1);
    group_open(group, 2);
    group_set_target(group, 7);
    CU_ASSERT_TRUE(wait_target(5000));
    publish_some(0, 20);
    CU_ASSERT_TRUE(group_wait_publishes(group, 3000));
    CU_ASSERT_TRUE(group_wait_even(group, 3000));
    CU_ASSERT_EQUAL(acknowledged(), 40);
    /* The first one leaves; who remains leads. */
    group_set_target(group, 6);
    CU_ASSERT_TRUE(wait_target(8000));
    int leader = group_wait_leader(group, 3000);
    CU_ASSERT_TRUE_FATAL(leader == 1 || leader == 2);
    publish_some(leader, 10);
    CU_ASSERT_TRUE(group_wait_publishes(group, 3000));
    CU_ASSERT_EQUAL(acknowledged(), 50);
    end();
}

static void a_wiped_broker_joins_as_another_member(void)
{
    begin(3);
    int leader = start_and_lead();
    publish_some(leader, 30);
    int wiped = (leader + 1) % 3;
    group_crash(group, wiped, IO_MEM_ALL_LOST);
    group_wipe(group, wiped);
    group_open(group, wiped);
    group_set_target(group, 7);
    CU_ASSERT_TRUE(wait_target(10000));
    struct partition_ask ask = {.question = PARTITION_ASK_MEMBERS};
    group_ask(group, group_leader(group), &ask);
    CU_ASSERT_EQUAL(ask.member_count, 3);
    CU_ASSERT_TRUE(is_voter(wiped, &ask));
    CU_ASSERT_TRUE(group_wait_even(group, 5000));
    group_crash(group, other_than(wiped, group_leader(group)), IO_MEM_ALL_LOST);
    publish_some(group_leader(group), 10);
    CU_ASSERT_TRUE(group_wait_publishes(group, 5000));
    CU_ASSERT_TRUE(acknowledged() >= 40);
    end();
}

static void who_lacks_what_is_no_longer_kept_begins_anew(void)
{
    begin(3);
    int leader = start_and_lead();
    publish_some(leader, 5);
    CU_ASSERT_TRUE(group_wait_publishes(group, 2000));
    int away = (leader + 1) % 3;
    group_crash(group, away, IO_MEM_ALL_LOST);
    for (int n = 0; n < 3; n++) {
        if (!group->nodes[n].up)
            continue;
        struct actor_configure_mail *mail = calloc(1, sizeof *mail);
        REQUIRE(mail != NULL);
        mail->mail.kind = MAIL_CONFIGURE;
        mail->limits = group->nodes[n].pump.options.limits;
        mail->limits.retention_bytes = 32 * 1024;
        mail_list_append(&group->nodes[n].pump.control, &mail->mail);
    }
    publish_some(group_leader(group), 300);
    CU_ASSERT_TRUE(group_wait_publishes(group, 5000));
    group_run(group, 1000);
    CU_ASSERT_TRUE(log_view_start_off(group->nodes[group_leader(group)].pump.view) > 100);
    group_open(group, away);
    CU_ASSERT_TRUE(group_wait_even(group, 10000));
    CU_ASSERT_TRUE(group->resets > 0);
    publish_some(group_leader(group), 20);
    CU_ASSERT_TRUE(group_wait_publishes(group, 5000));
    CU_ASSERT_TRUE(group_wait_even(group, 5000));
    /* What begins anew survives a start. */
    group_crash(group, away, IO_MEM_ALL_LOST);
    group_open(group, away);
    CU_ASSERT_TRUE(group_wait_even(group, 5000));
    end();
}

static void a_leader_that_stops_hands_over(void)
{
    begin(3);
    int leader = start_and_lead();
    publish_some(leader, 10);
    CU_ASSERT_TRUE(group_wait_publishes(group, 1000));
    int64_t before_us = group->now_us;
    group_stop(group, leader);
    int next = group_wait_leader(group, 1000);
    CU_ASSERT_TRUE_FATAL(next >= 0 && next != leader);
    CU_ASSERT_TRUE(group->now_us - before_us < 150 * 1000); /* no election timeout */
    publish_some(next, 10);
    CU_ASSERT_TRUE(group_wait_publishes(group, 1000));
    CU_ASSERT_EQUAL(acknowledged(), 20);
    end();
}

/* The others are stopped as well: there is nothing to wait for but what tells so. */
static void a_leader_without_heirs_stops_soon(void)
{
    begin(3);
    int leader = start_and_lead();
    publish_some(leader, 10);
    CU_ASSERT_TRUE(group_wait_publishes(group, 1000));
    group_run(group, 500);
    for (int n = 0; n < 3; n++)
        if (n != leader)
            group_stop(group, n);
    int64_t before_us = group->now_us;
    group_stop(group, leader);
    CU_ASSERT_TRUE(group->now_us - before_us < 400 * 1000);
    end();
}

static void leadership_moves_when_it_is_asked_to(void)
{
    begin(3);
    int leader = start_and_lead();
    publish_some(leader, 10);
    int next = (leader + 1) % 3;
    struct partition_ask ask = {.question = PARTITION_ASK_TRANSFER, .to = (uint32_t)next + 1};
    group_ask(group, leader, &ask);
    CU_ASSERT_EQUAL(ask.fault.err, KQ_OK);
    CU_ASSERT_EQUAL(ask.leader.broker_id, (uint32_t)next + 1);
    group_run(group, 100);
    CU_ASSERT_EQUAL(group_leader(group), next);
    struct partition_ask late = {.question = PARTITION_ASK_TRANSFER};
    group_ask(group, leader, &late);
    CU_ASSERT_EQUAL(late.fault.err, KQ_NOT_LEADER);
    end();
}

static void a_barrier_is_passed_by_a_true_leader_alone(void)
{
    begin(3);
    int leader = start_and_lead();
    publish_some(leader, 10);
    CU_ASSERT_TRUE(group_wait_publishes(group, 1000));
    struct partition_ask ask = {.question = PARTITION_ASK_BARRIER};
    group_ask(group, leader, &ask);
    CU_ASSERT_EQUAL(ask.fault.err, KQ_OK);
    CU_ASSERT_EQUAL(ask.off, 10);
    for (int n = 0; n < 3; n++)
        if (n != leader)
            group->cut[leader][n] = group->cut[n][leader] = true;
    struct partition_ask cut = {.question = PARTITION_ASK_BARRIER};
    group_ask(group, leader, &cut);
    CU_ASSERT_NOT_EQUAL(cut.fault.err, KQ_OK);
    end();
}

static void with_links_that_vouch_an_idle_group_has_no_timer(void)
{
    begin(3);
    group->links = true;
    int leader = start_and_lead();
    publish_some(leader, 10);
    group_run(group, 2000);
    CU_ASSERT_EQUAL(group_leader(group), leader);
    for (int n = 0; n < 3; n++)
        CU_ASSERT_TRUE(actor_deadline_us(group->nodes[n].pump.actor) > group->now_us + 1000000);
    group_crash(group, leader, IO_MEM_ALL_LOST);
    int64_t before_us = group->now_us;
    CU_ASSERT_TRUE(group_wait_leader(group, 3000) >= 0);
    CU_ASSERT_TRUE(group->now_us - before_us < 400 * 1000);
    end();
}

static void machine_through_changes(bool serial)
{
    begin(3);
    group->machine = true;
    group->serial = serial;
    for (int round = 0; round < 8; round++) {
        int leader = round == 0 ? start_and_lead() : group_wait_leader(group, 5000);
        CU_ASSERT_TRUE_FATAL(leader >= 0);
        for (int i = 0; i < 40; i++) {
            (void)group_call(group, leader);
            if (i % 3 == 0)
                group_run(group, 1);
        }
        if (round % 3 == 1)
            for (int n = 0; n < 3; n++)
                if (n != leader)
                    group->cut[leader][n] = group->cut[n][leader] = true;
        if (round % 3 == 0)
            group_crash(group, leader, IO_MEM_ALL_LOST);
        group_run(group, 1500);
        memset(group->cut, 0, sizeof group->cut);
        if (!group->nodes[leader].up)
            group_open(group, leader);
    }
    CU_ASSERT_TRUE(group_wait_publishes(group, 5000));
    CU_ASSERT_TRUE(group_wait_even(group, 5000));
    uint32_t good = 0;
    for (uint32_t i = 0; i < group->call_count; i++)
        good += group->calls[i].err == KQ_OK ? 1 : 0;
    CU_ASSERT_TRUE(good >= 60);
    end();
}

static void a_machine_goes_through_changes_of_leaders(void)
{
    machine_through_changes(false);
}

static void a_serial_machine_goes_through_changes_of_leaders(void)
{
    machine_through_changes(true);
}

static void a_machine_is_brought_by_its_snapshot(void)
{
    begin(3);
    group->machine = true;
    int leader = start_and_lead();
    int away = (leader + 1) % 3;
    group_crash(group, away, IO_MEM_ALL_LOST);
    for (int i = 0; i < 3500; i++) {
        (void)group_call(group, leader);
        if (i % 2 == 0)
            group_run(group, 3);
    }
    CU_ASSERT_TRUE(group_wait_publishes(group, 5000));
    group_run(group, 1000);
    group_open(group, away);
    CU_ASSERT_TRUE(group_wait_even(group, 8000));
    CU_ASSERT_TRUE(group->resets > 0);
    CU_ASSERT_EQUAL(group->nodes[away].toy.count, group->nodes[leader].toy.count);
    group_crash(group, away, IO_MEM_ALL_LOST);
    group_open(group, away);
    CU_ASSERT_TRUE(group_wait_even(group, 8000));
    end();
}

static const struct unit_case cases[] = {
    {"a publish to three is on all three", a_publish_to_three_is_on_all_three},
    {"an acknowledgement commits without the disk", an_acknowledgement_commits_without_the_disk},
    {"a follower refuses and says the term", a_follower_refuses_and_says_the_term},
    {"without a majority nothing is acknowledged", without_a_majority_nothing_is_acknowledged},
    {"the next leader has what was acknowledged", the_next_leader_has_what_was_acknowledged},
    {"a tail that nobody else has is cut", a_tail_that_nobody_else_has_is_cut},
    {"what was replaced by something committed is refused for certain",
     what_was_replaced_by_something_committed_is_refused_for_certain},
    {"what the next leader has is acknowledged by the old one",
     what_the_next_leader_has_is_acknowledged_by_the_old_one},
    {"who was away catches up from the log", who_was_away_catches_up_from_the_log},
    {"one broker grows to three and shrinks again", one_broker_grows_to_three_and_shrinks_again},
    {"a wiped broker joins as another member", a_wiped_broker_joins_as_another_member},
    {"who lacks what is no longer kept begins anew", who_lacks_what_is_no_longer_kept_begins_anew},
    {"a leader that stops hands over", a_leader_that_stops_hands_over},
    {"a leader without heirs stops soon", a_leader_without_heirs_stops_soon},
    {"leadership moves when it is asked to", leadership_moves_when_it_is_asked_to},
    {"a barrier is passed by a true leader alone", a_barrier_is_passed_by_a_true_leader_alone},
    {"with links that vouch an idle group has no timer", with_links_that_vouch_an_idle_group_has_no_timer},
    {"a machine goes through changes of leaders", a_machine_goes_through_changes_of_leaders},
    {"a serial machine goes through changes of leaders", a_serial_machine_goes_through_changes_of_leaders},
    {"a machine is brought by its snapshot", a_machine_is_brought_by_its_snapshot},
};
UNIT_MAIN("actor group", cases)
