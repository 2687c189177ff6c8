/*
 * What the programs that test groups of actors begin and end with: one group of the rig at
 * a time, `group`.
 */
#ifndef KQ_TESTS_SUPPORT_GROUP_CASE_H
#define KQ_TESTS_SUPPORT_GROUP_CASE_H

#include "support/group_rig.h"
#include "support/unit.h"

#include <stdio.h>

static struct group *group;

static inline void begin(int founders)
{
    group = group_new(7, founders);
}

static inline void end(void)
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

static inline int start_and_lead(void)
{
    group_start(group);
    int leader = group_wait_leader(group, 3000);
    CU_ASSERT_TRUE_FATAL(leader >= 0);
    return leader;
}

static inline void publish_some(int n, int count)
{
    for (int i = 0; i < count; i++) {
        (void)group_publish(group, n, 100 + (size_t)group_random(group, 900), -1, 0);
        group_run(group, 2);
    }
}

static inline uint32_t acknowledged(void)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < group->publish_count; i++)
        count += group->publishes[i].publish.done && group->publishes[i].publish.err == KQ_OK ? 1 : 0;
    return count;
}

static inline int other_than(int a, int b)
{
    for (int n = 0; n < 3; n++)
        if (n != a && n != b)
            return n;
    return -1;
}

static inline bool is_voter(int n, const struct partition_ask *ask)
{
    for (uint32_t i = 0; i < ask->member_count; i++)
        if (ask->members[i].member.broker_id == (uint32_t)n + 1 &&
            ask->members[i].member.incarnation.bytes[0] == group->nodes[n].incarnation)
            return ask->members[i].kinds == RAFT_SEAT_VOTER;
    return false;
}

static inline bool wait_target(int64_t ms)
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

#endif
