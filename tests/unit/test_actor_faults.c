/*
 * Groups of actors whose disks lose, spoil, fail and fill up; then seeded searches in which
 * brokers and links fail at random.
 *
 *   test_actor_faults         a few seeds (make check)
 *   KQ_SEEDS=500 KQ_SEED=1 .. many, from one on
 */
#include "base/logger.h"
#include "base/require.h"
#include "support/group_case.h"

#include <errno.h>
#include <stdlib.h>

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

/* Nothing is written, so no flush is owed; and there is no room for the next entry. */
static void a_leader_whose_disk_makes_no_room_hands_over(void)
{
    begin(3);
    int leader = start_and_lead();
    publish_some(leader, 10);
    CU_ASSERT_TRUE(group_wait_even(group, 1000));
    group->nodes[leader].job_at_us[LOG_LANE_KEEP] = INT64_MAX; /* it does not come back */
    publish_some(leader, 2000);
    int64_t until_us = group->now_us + 10 * 1000 * 1000;
    while (group_leader(group) == leader && group->now_us < until_us)
        group_run(group, 100);
    int next = group_wait_leader(group, 3000);
    CU_ASSERT_TRUE_FATAL(next >= 0 && next != leader);
    uint64_t before = acknowledged();
    publish_some(next, 10);
    CU_ASSERT_TRUE(group_wait_publishes(group, 3000));
    CU_ASSERT_TRUE(acknowledged() >= before + 10);
    group->nodes[leader].job_at_us[LOG_LANE_KEEP] = 0;
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
    static const char path[] = "test_actor_faults.log.tmp";
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
    {"all lose power at once", all_lose_power_at_once},
    {"a leader whose disk fails is replaced", a_leader_whose_disk_fails_is_replaced},
    {"a leader whose disk makes no room hands over", a_leader_whose_disk_makes_no_room_hands_over},
    {"a follower with a full disk falls behind and comes back",
     a_follower_with_a_full_disk_falls_behind_and_comes_back},
    {"damaged entries come back from another broker", damaged_entries_come_back_from_another_broker},
    {"with interval flushing one that forgot catches up first",
     with_interval_flushing_one_that_forgot_catches_up_first},
    {"with interval flushing one that waits in vain says so", with_interval_flushing_one_that_waits_in_vain_says_so},
    {"with interval flushing all may forget and go on", with_interval_flushing_all_may_forget_and_go_on},
    {"seeded searches find nothing", seeded_searches_find_nothing},
};
UNIT_MAIN("actor faults", cases)
