/*
 * Groups of actors: elections, publishing, cuts, joining, catching up, beginning anew,
 * machines; then seeded searches in which brokers and links fail at random.
 *
 *   test_actor_group          a few seeds (make check)
 *   KQ_SEEDS=500 KQ_SEED=1 .. many, from one on
 */
#include "base/logger.h"
#include "base/require.h"
#include "support/group_rig.h"
#include "support/unit.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static struct group *group;

static void begin(int founders)
{
    group = group_new(7, founders);
}

static void end(void)
{
    if (!group->failed)
        group_check(group);
    if (group->failed) {
        (void)fprintf(stderr, "%s\n", group->failure);
        group_show(group);
    }
    CU_ASSERT_FALSE(group->failed);
    group_free(group);
}

static int start_and_lead(void)
{
    group_start(group);
    int leader = group_wait_leader(group, 3000);
    CU_ASSERT_TRUE_FATAL(leader >= 0);
    return leader;
}

static void publish_some(int n, int count)
{
    for (int i = 0; i < count; i++) {
        (void)group_publish(group, n, 100 + (size_t)group_random(group, 900), -1, 0);
        group_run(group, 2);
    }
}

static uint32_t acknowledged(void)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < group->publish_count; i++)
        count += group->publishes[i].publish.done && group->publishes[i].publish.err == KQ_OK ? 1 : 0;
    return count;
}

static int other_than(int a, int b)
{
    for (int n = 0; n < 3; n++)
        if (n != a && n != b)
            return n;
    return -1;
}

/* ---- directed --------------------------------------------------------------------------- */

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
    group_run(group, 6000);
    CU_ASSERT_TRUE(late->publish.done);
    CU_ASSERT_EQUAL(late->publish.err, KQ_NO_LEADER);
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
    publish_some(leader, 400);
    CU_ASSERT_TRUE(group_wait_publishes(group, 3000));
    /* The next leader has no tail of fresh entries. */
    group_crash(group, leader, IO_MEM_ALL_KEPT);
    group_open(group, leader);
    CU_ASSERT_TRUE(group_wait_leader(group, 5000) >= 0);
    group_open(group, away);
    CU_ASSERT_TRUE(group_wait_even(group, 10000));
    CU_ASSERT_TRUE(group->catch_ups > 0);
    CU_ASSERT_EQUAL(acknowledged(), 400);
    end();
}

static bool is_voter(int n, const struct partition_ask *ask)
{
    for (uint32_t i = 0; i < ask->member_count; i++)
        if (ask->members[i].member.broker_id == (uint32_t)n + 1 &&
            ask->members[i].member.incarnation.bytes[0] == group->nodes[n].incarnation)
            return ask->members[i].kinds == RAFT_SEAT_VOTER;
    return false;
}

static bool wait_target(int64_t ms)
{
    int64_t end_us = group->now_us + ms * 1000;
    while (group->now_us < end_us && !group->failed) {
        group_run(group, 50);
        int leader = group_leader(group);
        if (leader < 0)
            continue;
        struct partition_ask ask = {.question = PARTITION_ASK_MEMBERS};
        group_ask(group, leader, &ask);
        if (ask.fault.err == KQ_OK && ask.target_reached)
            return true;
    }
    return false;
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

static void all_lose_power_at_once(void)
{
    begin(3);
    for (int round = 0; round < 5; round++) {
        if (round == 0)
            (void)start_and_lead();
        int leader = group_wait_leader(group, 5000);
        CU_ASSERT_TRUE_FATAL(leader >= 0);
        publish_some(leader, 30);
        (void)group_publish(group, leader, 3000, -1, 0);
        group_run(group, (int64_t)group_random(group, 4));
        for (int n = 0; n < 3; n++)
            group_crash(group, n, round % 2 == 0 ? IO_MEM_ALL_LOST : IO_MEM_BY_CHANCE);
        for (int n = 0; n < 3; n++)
            group_open(group, n);
    }
    CU_ASSERT_TRUE(group_wait_even(group, 5000));
    CU_ASSERT_TRUE(acknowledged() >= 140);
    end();
}

/* Bytes in the middle of a file, on the disk, too. */
static void spoil(int n, const char *path)
{
    uint64_t size_bytes;
    uint8_t *bytes = io_mem_bytes(group->nodes[n].mem, path, &size_bytes);
    CU_ASSERT_TRUE_FATAL(bytes != NULL && size_bytes > 9000);
    uint8_t *copy = malloc(size_bytes);
    REQUIRE(copy != NULL);
    memcpy(copy, bytes, size_bytes);
    memset(copy + 8500, 0x55, 40);
    io_mem_put(group->nodes[n].mem, path, copy, size_bytes);
    free(copy);
}

static enum kq_err read_all(int n, int64_t *end_off)
{
    struct log_view *view = group->nodes[n].pump.view;
    struct log_iter it;
    struct log_slice slice;
    struct fault fault = {0};
    enum kq_err err = log_iter_seek(&it, view, 0);
    *end_off = 0;
    while (err == KQ_OK && (err = log_iter_next(&it, &slice, &fault)) == KQ_OK)
        *end_off = slice.first_off + slice.record_count;
    return err;
}

static void damaged_entries_come_back_from_another_broker(void)
{
    begin(3);
    int leader = start_and_lead();
    publish_some(leader, 120);
    CU_ASSERT_TRUE(group_wait_publishes(group, 3000));
    CU_ASSERT_TRUE(group_wait_even(group, 3000));
    int n = (leader + 1) % 3;
    group_crash(group, n, IO_MEM_ALL_KEPT);
    spoil(n, "/test-0/00000000000000000000.log");
    group->nodes[n].blind = true; /* the rig does not read what is damaged */
    group_open(group, n);
    group_run(group, 500);
    int64_t end_off;
    CU_ASSERT_EQUAL(read_all(n, &end_off), KQ_CORRUPT);
    CU_ASSERT_TRUE(end_off < 120);
    group_run(group, 3000);
    CU_ASSERT_TRUE_FATAL(group->nodes[n].damage_first > 0);
    group->nodes[n].damage_last--; /* not all */
    if (group->nodes[n].damage_last >= group->nodes[n].damage_first)
        CU_ASSERT_NOT_EQUAL(group_mend(group, n, leader), KQ_OK);
    group_run(group, 7000);
    CU_ASSERT_TRUE_FATAL(group->nodes[n].damage_first > 0); /* told again */
    CU_ASSERT_EQUAL(group_mend(group, n, leader), KQ_OK);
    group_run(group, 500);
    CU_ASSERT_EQUAL(read_all(n, &end_off), KQ_EOF);
    CU_ASSERT_EQUAL(end_off, 120);
    end();
}

static void a_leader_whose_disk_fails_is_replaced(void)
{
    begin(3);
    int leader = start_and_lead();
    publish_some(leader, 10);
    CU_ASSERT_TRUE(group_wait_publishes(group, 1000));
    group->nodes[leader].failed = true; /* as expected */
    io_mem_fail(group->nodes[leader].mem, IO_MEM_SYNC, 0, EIO, 0);
    struct group_publish *publish = group_publish(group, leader, 100, -1, 0);
    int64_t before_us = group->now_us;
    group_run(group, 20);
    int next = group_wait_leader(group, 1000);
    CU_ASSERT_TRUE_FATAL(next >= 0 && next != leader);
    CU_ASSERT_TRUE(group->now_us - before_us < 500 * 1000);
    CU_ASSERT_TRUE(publish->publish.done);
    CU_ASSERT_TRUE(publish->publish.err == KQ_OUTCOME_UNKNOWN || publish->publish.err == KQ_OK);
    struct partition_status status;
    actor_status(group->nodes[leader].pump.actor, &status);
    CU_ASSERT_EQUAL(status.state, PARTITION_FAILED);
    publish_some(next, 10);
    CU_ASSERT_TRUE(group_wait_publishes(group, 1000));
    CU_ASSERT_TRUE(acknowledged() >= 20);
    io_mem_fail_not(group->nodes[leader].mem);
    group_crash(group, leader, IO_MEM_ALL_LOST);
    group_open(group, leader);
    CU_ASSERT_TRUE(group_wait_even(group, 3000));
    end();
}

static void a_follower_with_a_full_disk_falls_behind_and_comes_back(void)
{
    begin(3);
    int leader = start_and_lead();
    publish_some(leader, 10);
    CU_ASSERT_TRUE(group_wait_even(group, 1000));
    int full = (leader + 1) % 3;
    io_mem_set_capacity(group->nodes[full].mem, 64 * 1024);
    publish_some(leader, 200);
    CU_ASSERT_TRUE(group_wait_publishes(group, 3000));
    CU_ASSERT_EQUAL(acknowledged(), 210);
    CU_ASSERT_EQUAL(group_leader(group), leader);
    CU_ASSERT_TRUE(log_view_high_watermark(group->nodes[full].pump.view) < 150);
    io_mem_set_capacity(group->nodes[full].mem, 0);
    CU_ASSERT_TRUE(group_wait_even(group, 5000));
    end();
}

static void with_interval_flushing_one_that_forgot_catches_up_first(void)
{
    begin(3);
    group->interval = true;
    (void)start_and_lead();
    for (int round = 0; round < 8; round++) {
        int leader = group_wait_leader(group, 5000);
        CU_ASSERT_TRUE_FATAL(leader >= 0);
        publish_some(leader, 20);
        int n = (int)group_random(group, 3);
        group_crash(group, n, IO_MEM_ALL_LOST);
        group_run(group, (int64_t)group_random(group, 300));
        group_open(group, n);
        CU_ASSERT_TRUE(group_is_amnesiac(group, n));
        CU_ASSERT_TRUE(group_wait_even(group, 5000));
        CU_ASSERT_FALSE(group_is_amnesiac(group, n));
    }
    CU_ASSERT_TRUE(group_wait_publishes(group, 5000));
    CU_ASSERT_TRUE(acknowledged() >= 120);
    end();
}

/* The other one that is left remembers, and would do; it is not there. */
static void with_interval_flushing_one_that_waits_in_vain_says_so(void)
{
    static const char path[] = "test_actor_group.log.tmp";
    char said[4096] = "";
    struct fault fault;
    (void)remove(path);
    begin(3);
    group->interval = true;
    int leader = start_and_lead();
    publish_some(leader, 5);
    group_run(group, 200);
    for (int n = 0; n < 3; n++)
        group_crash(group, n, IO_MEM_ALL_LOST);
    CU_ASSERT_EQUAL_FATAL(logger_open(path, LOGGER_WARNING, false, &fault), KQ_OK);
    group_open(group, 1);
    group_run(group, 40 * 1000);
    logger_close();
    CU_ASSERT_TRUE(group_leader(group) < 0);
    FILE *file = fopen(path, "r");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    said[fread(said, 1, sizeof said - 1, file)] = '\0';
    (void)fclose(file);
    (void)remove(path);
    CU_ASSERT_PTR_NOT_NULL(strstr(said, "waits for a leader among the brokers that may have it (1, 3)"));
    group_free(group);
}

static void with_interval_flushing_all_may_forget_and_go_on(void)
{
    begin(3);
    group->interval = true;
    int leader = start_and_lead();
    publish_some(leader, 20);
    group_run(group, 200);
    (void)group_publish(group, leader, 100, -1, 0);
    group_run(group, 6);
    for (int n = 0; n < 3; n++)
        group_crash(group, n, IO_MEM_ALL_LOST);
    memset(group->ledger, 0, sizeof group->ledger); /* what was committed in the last interval may be gone */
    group_open(group, 0);
    group_run(group, 3000);
    CU_ASSERT_TRUE(group_leader(group) < 0); /* nobody knows yet of the others */
    group_open(group, 1);
    leader = group_wait_leader(group, 5000);
    CU_ASSERT_TRUE_FATAL(leader >= 0);
    group_open(group, 2);
    CU_ASSERT_TRUE(group_wait_even(group, 5000));
    CU_ASSERT_TRUE(log_view_high_watermark(group->nodes[leader].pump.view) >= 20);
    group_free(group);
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

/* ---- searching ------------------------------------------------------------------------------ */

enum { SEARCH_NODES = 5 };

static bool churn;     /* members come and go */
static int wiped = -1; /* is no member yet since its disk was lost */

static bool is_target(int n)
{
    for (uint32_t i = 0; i < group->target_count; i++)
        if (group->target[i].member.broker_id == (uint32_t)n + 1)
            return true;
    return group->target_count == 0 && n < group->founders;
}

static bool target_is_reached(void)
{
    int leader = group_leader(group);
    if (leader < 0)
        return false;
    struct partition_ask ask = {.question = PARTITION_ASK_MEMBERS};
    group_ask(group, leader, &ask);
    return ask.fault.err == KQ_OK && ask.target_reached;
}

/* Others are wanted; who is new has a broker. Not while somebody's disk is lost: what is
 * left is needed then. */
static void want_others(void)
{
    unsigned voters = 0;
    if (!target_is_reached())
        return;
    for (int n = 0; n < SEARCH_NODES; n++)
        if (group->interval && is_target(n) && (!group->nodes[n].up || group_is_amnesiac(group, n)))
            return; /* who has forgotten must hear a leader before he is needed in another half */
    wiped = -1;
    for (unsigned count = 1 + (unsigned)group_random(group, 2) * 2; count > 0; count--)
        voters |= 1u << group_random(group, SEARCH_NODES);
    group_set_target(group, voters);
    for (int n = 0; n < SEARCH_NODES; n++)
        if (voters & 1u << n && !group->nodes[n].up)
            group_open(group, n);
}

static void lose_a_disk(void)
{
    int n = (int)group_random(group, SEARCH_NODES);
    if (wiped >= 0 && !target_is_reached())
        return;
    wiped = -1;
    int members = 0;
    int up = 0;
    for (int i = 0; i < SEARCH_NODES; i++) {
        members += is_target(i) ? 1 : 0;
        up += is_target(i) && group->nodes[i].up ? 1 : 0;
    }
    if (!is_target(n) || members < 3 || up < members || !target_is_reached())
        return;
    for (int i = 0; i < SEARCH_NODES; i++)
        if (group_is_amnesiac(group, i))
            return;
    wiped = n;
    group_crash(group, n, IO_MEM_ALL_LOST);
    group_wipe(group, n);
    group_open(group, n);
    unsigned voters = 0;
    for (int i = 0; i < SEARCH_NODES; i++)
        voters |= is_target(i) ? 1u << i : 0;
    group_set_target(group, voters);
}

/* With interval flushing the power may go for one at a time, and only while all others
 * remember; else the process alone is killed. */
static enum io_mem_mercy some_mercy(void)
{
    if (!group->interval)
        return (enum io_mem_mercy)group_random(group, 4);
    int members = 0;
    for (int i = 0; i < SEARCH_NODES; i++) {
        members += is_target(i) ? 1 : 0;
        if (is_target(i) && (!group->nodes[i].up || group_is_amnesiac(group, i)))
            return IO_MEM_STILL_CACHED;
    }
    return members >= 3 && wiped < 0 && target_is_reached() ? IO_MEM_ALL_LOST : IO_MEM_STILL_CACHED;
}

static void trouble(void)
{
    int n = (int)group_random(group, SEARCH_NODES);
    int m = (int)group_random(group, SEARCH_NODES);
    switch (group_random(group, churn ? 12 : 9)) {
    case 0:
    case 1:
        group_crash(group, n, some_mercy());
        break;
    case 2:
        if (n != m)
            group->cut[n][m] = true;
        break;
    case 3:
        if (n != m)
            group->cut[n][m] = group->cut[m][n] = true;
        break;
    case 4:
        memset(group->cut, 0, sizeof group->cut);
        break;
    case 5:
        for (int i = 0; i < SEARCH_NODES && group_random(group, 8) == 0; i++)
            group_crash(group, i, some_mercy());
        break;
    case 6:
        if (group->nodes[n].up && group_random(group, 2) == 0)
            group_stop(group, n);
        break;
    case 10:
        want_others();
        break;
    case 11:
        lose_a_disk();
        break;
    default:
        if (!group->nodes[n].up && (group->nodes[n].exists || is_target(n)))
            group_open(group, n);
        break;
    }
}

static int32_t sequences[4];
static struct group_publish *last[4];

/* A producer goes on with the next sequence only when the last was acknowledged, and sends
 * again what it does not know of; of that the judge allows one copy. */
static void publish_in_sequence(int n)
{
    unsigned p = (unsigned)group_random(group, 4);
    if (last[p] != NULL && !last[p]->publish.done)
        return;
    bool good = last[p] == NULL || last[p]->publish.err == KQ_OK;
    if (good)
        last[p] = group_publish(group, n, 200, 100 + (int64_t)p, sequences[p]++);
    else
        group_publish_again(group, n, last[p], 100 + (int64_t)p, sequences[p] - 1);
}

static void some_load(void)
{
    int n = group_leader(group);
    if (n < 0 || group_random(group, 20) == 0)
        n = (int)group_random(group, SEARCH_NODES);
    if (!group->nodes[n].up)
        return;
    if (group->machine)
        (void)group_call(group, n);
    else if (group_random(group, 4) == 0)
        publish_in_sequence(n);
    else
        (void)group_publish(group, n, (size_t)group_random(group, group_random(group, 10) == 0 ? 6000 : 400), -1, 0);
}

static void let_it_heal(void)
{
    memset(group->cut, 0, sizeof group->cut);
    group->lost_per_mille = 0;
    for (int n = 0; n < SEARCH_NODES && !group->failed; n++)
        if (!group->nodes[n].up && group->nodes[n].exists)
            group_open(group, n);
    if (!group->failed && group_wait_leader(group, 10000) < 0)
        group_fail(group, "no leader after all has healed");
    if (!group->failed && !group_wait_publishes(group, 60000))
        group_fail(group, "not all is answered");
    if (!group->failed && group->target_count > 0 && !wait_target(20000))
        group_fail(group, "the members are not those that are wanted");
    if (!group->failed && !group_wait_even(group, 10000))
        group_fail(group, "the replicas do not become even");
}

static void search(uint64_t seed)
{
    static const int founders[] = {3, 3, 3, 1, 2, 5};
    group = group_new(seed, founders[seed % 6]);
    group->interval = group_random(group, 4) == 0;
    group->machine = group_random(group, 4) == 0;
    group->serial = group_random(group, 2) == 0;
    group->links = group_random(group, 2) == 0;
    group->lost_per_mille = (uint32_t)group_random(group, 3) * 30;
    group->doubled_per_mille = (uint32_t)group_random(group, 3) * 20;
    group->delay_us = 300 + (int64_t)group_random(group, 4000);
    group->disk_us = 200 + (int64_t)group_random(group, 6000);
    group->retention_bytes = group_random(group, 2) == 0 ? 40 * 1024 : -1;
    churn = group_random(group, 2) == 0;
    wiped = -1;
    memset(sequences, 0, sizeof sequences);
    memset(last, 0, sizeof last);
    group_start(group);
    if (churn)
        group_set_target(group, (1u << group->founders) - 1);
    for (int i = 0; i < 1200 && !group->failed; i++) {
        if (group->publish_count + group->call_count < 3000)
            for (uint64_t k = group_random(group, 4); k > 0; k--)
                some_load();
        if (group_random(group, 25) == 0)
            trouble();
        group_run(group, 1 + (int64_t)group_random(group, 12));
    }
    let_it_heal();
    end();
}

static void seeded_searches_find_nothing(void)
{
    const char *seeds = getenv("KQ_SEEDS");
    const char *first = getenv("KQ_SEED");
    uint64_t count = seeds != NULL ? strtoull(seeds, NULL, 10) : 30;
    uint64_t from = first != NULL ? strtoull(first, NULL, 10) : 1;
    for (uint64_t seed = from; seed < from + count; seed++)
        search(seed);
}

static const struct unit_case cases[] = {
    {"a publish to three is on all three", a_publish_to_three_is_on_all_three},
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
    {"all lose power at once", all_lose_power_at_once},
    {"a leader whose disk fails is replaced", a_leader_whose_disk_fails_is_replaced},
    {"a follower with a full disk falls behind and comes back",
     a_follower_with_a_full_disk_falls_behind_and_comes_back},
    {"damaged entries come back from another broker", damaged_entries_come_back_from_another_broker},
    {"with interval flushing one that forgot catches up first",
     with_interval_flushing_one_that_forgot_catches_up_first},
    {"with interval flushing one that waits in vain says so", with_interval_flushing_one_that_waits_in_vain_says_so},
    {"with interval flushing all may forget and go on", with_interval_flushing_all_may_forget_and_go_on},
    {"a machine goes through changes of leaders", a_machine_goes_through_changes_of_leaders},
    {"a serial machine goes through changes of leaders", a_serial_machine_goes_through_changes_of_leaders},
    {"a machine is brought by its snapshot", a_machine_is_brought_by_its_snapshot},
    {"seeded searches find nothing", seeded_searches_find_nothing},
};
UNIT_MAIN("actor group", cases)
