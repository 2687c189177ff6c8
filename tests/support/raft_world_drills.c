/*
 * Drills of the world of raft_world.h: calm weather, one thing that goes wrong or is asked
 * for, and what must come of it. A healthy leader is not disturbed, another one is there
 * in time, a transfer ends where it should, who was away is brought up to date.
 */
#include "support/raft_world.h"

#define MS INT64_C(1000)
#define ELECTION WORLD_ELECTION_US
#define IN_TIME (5 * 2 * WORLD_ELECTION_US) /* five timeouts, drawn between one and two */

static int64_t elections(struct world *world, uint32_t from, uint32_t to)
{
    return ((int64_t)from * ELECTION) + (int64_t)world_random(world, (uint64_t)(to - from) * (uint64_t)ELECTION);
}

/* Are the others a majority without this one? Those whose disk is gone do not come back, and
 * those that may have forgotten do not vote. */
static bool can_spare(const struct world *world, int leader, int without)
{
    uint64_t idx;
    const struct world_conf *conf = &world->confs[world_conf_of(&world->nodes[leader].log, &idx)];
    bool has[WORLD_SEATS_MAX];
    for (uint32_t i = 0; i < conf->count; i++) {
        int n = (int)conf->seats[i].member.broker_id - 1;
        has[i] = n != without && raft_member_equal(&world->nodes[n].self, &conf->seats[i].member) &&
                 !world->nodes[n].amnesiac;
    }
    return oracle_quorum(conf, has);
}

/* A voter beside the leader; -1: there is none. */
static int another_voter(struct world *world, int leader)
{
    const struct raft_config *config = &world->nodes[leader].raft.config;
    for (int tries = 0; tries < 40; tries++) {
        const struct raft_seat *seat = &config->seats[world_random(world, config->count)];
        int n = (int)seat->member.broker_id - 1;
        if (n != leader && (seat->kinds & RAFT_SEAT_VOTER) != 0 && !world->nodes[n].amnesiac &&
            raft_member_equal(&world->nodes[n].self, &seat->member))
            return n;
    }
    return -1;
}

/* Some of its links: to and from all, or the leader alone, or one way only. */
static void cut_links(struct world *world, int n, int leader)
{
    uint64_t shape = world_random(world, 6);
    for (int i = 0; i < WORLD_NODES_MAX; i++) {
        if (shape >= 3 && i != leader)
            continue;
        if (shape % 3 != 1)
            world_cut(world, i, n, true);
        if (shape % 3 != 2)
            world_cut(world, n, i, true);
    }
}

static void mend_links(struct world *world)
{
    for (int i = 0; i < WORLD_NODES_MAX; i++)
        world_isolate(world, i, false);
}

static void settles(struct world *world, const char *what)
{
    int64_t until_us = world->now_us + 60 * ELECTION;
    world->options.propose_every_us = 0;
    while (!world->failed && !world_settled(world) && world->now_us < until_us)
        world_run_until(world, world->now_us + 10 * MS);
    if (!world_settled(world))
        world_fail(world, -1, "not everybody has everything long after %s", what);
}

static int serves_in_time(struct world *world, const char *what)
{
    if (world->options.propose_every_us == 0)
        world->options.propose_every_us = 4 * MS; /* a sole voter leads when it is needed */
    int leader = world_run_to_leader(world, world->now_us + IN_TIME);
    if (leader < 0)
        world_fail(world, -1, "no leader within five election timeouts after %s", what);
    return leader;
}

static void still_leads(struct world *world, int leader, uint64_t term, const char *what)
{
    if (world_leader(world) != leader || world->nodes[leader].raft.term != term)
        world_fail(world, leader, "is disturbed by %s", what);
}

/* ---- drills ------------------------------------------------------------------------------- */

/* A follower without some of its links, or down, and back again. */
static void a_follower_is_away(struct world *world, int leader)
{
    uint64_t term = world->nodes[leader].raft.term;
    uint64_t committed_idx = world->ledger.committed_idx;
    int n = another_voter(world, leader);
    if (n < 0 || !can_spare(world, leader, n))
        return;
    if (world_chance(world, 200))
        world_crash(world, n, elections(world, 0, 6));
    else
        cut_links(world, n, leader);
    world_run_until(world, world->now_us + elections(world, 4, 8));
    still_leads(world, leader, term, "a follower that is away");
    if (world->options.propose_every_us != 0 && world->ledger.committed_idx < committed_idx + 20)
        world_fail(world, leader, "hardly commits while a follower is away");
    if (world_chance(world, 500)) /* it needs what is no longer there */
        for (int i = 0; i < WORLD_NODES_MAX; i++)
            if (world->nodes[i].up && i != n)
                world_move_start(world, i, world->nodes[i].raft.commit_idx);
    mend_links(world);
    world_run_until(world, world->now_us + elections(world, 4, 6));
    still_leads(world, leader, term, "a follower that comes back");
    settles(world, "a follower was away");
}

/* The leader without some of its links: it makes way, and answers no read that it must not. */
static void the_leader_is_away(struct world *world, int leader)
{
    uint64_t term = world->nodes[leader].raft.term;
    if (!can_spare(world, leader, leader))
        return;
    uint64_t shape = world_random(world, 3);
    for (int i = 0; i < WORLD_NODES_MAX; i++) {
        if (shape != 1)
            world_cut(world, i, leader, true);
        if (shape != 2)
            world_cut(world, leader, i, true);
    }
    int64_t until_us = world->now_us + IN_TIME;
    while (!world->failed && world->now_us < until_us &&
           (world_leader(world) == leader || world_leader(world) < 0 ||
            !raft_may_propose(&world->nodes[world_leader(world)].raft)))
        world_run_until(world, world->now_us + 5 * MS);
    if (world_leader(world) < 0 || world->nodes[world_leader(world)].raft.term <= term)
        world_fail(world, leader, "nobody leads in its place, though it is cut off");
    world_run_until(world, world->now_us + elections(world, 0, 4));
    mend_links(world);
    (void)serves_in_time(world, "a leader was cut off");
    settles(world, "a leader was cut off");
}

static void the_leader_hands_over(struct world *world, int leader)
{
    uint64_t term = world->nodes[leader].raft.term;
    int target = another_voter(world, leader);
    if (target < 0)
        return;
    bool slow = world_chance(world, 300);
    if (slow)
        world->nodes[target].disk_us = 2 * ELECTION;
    else
        settles(world, "nothing");
    world->options.propose_every_us = slow ? 4 * MS : 0;
    world_feed(world, leader, (struct raft_event){.type = RAFT_EV_TRANSFER, .member = world->nodes[target].self});
    world_run_until(world, world->now_us + (slow ? 6 * ELECTION : ELECTION / 2));
    if (slow) { /* it may come too late: then somebody else leads, if not who did */
        (void)serves_in_time(world, "a transfer to a slow one");
    } else if (world_leader(world) != target || world->nodes[target].raft.term != term + 1) {
        world_fail(world, target, "is not the leader it was asked to be");
    }
    world->nodes[target].disk_us = MS;
    world_run_until(world, world->now_us + (slow ? 3 * ELECTION : 0)); /* a flush begun slowly ends slowly */
    settles(world, "a transfer");
}

static void the_leader_dies(struct world *world, int leader)
{
    bool known = world_chance(world, 500);
    bool others = can_spare(world, leader, leader);
    uint64_t term = world->nodes[leader].raft.term;
    world_crash(world, leader, others ? elections(world, 4, 15) : elections(world, 0, 4));
    for (int i = 0; known && i < WORLD_NODES_MAX; i++)
        world_feed(world, i, (struct raft_event){.type = RAFT_EV_LEADER_GONE});
    if (!others)
        world_run_until(world, world->now_us + 4 * ELECTION);
    int next = serves_in_time(world, "the leader died");
    if (next >= 0 && world->nodes[next].raft.term <= term)
        world_fail(world, next, "leads a term that was led before");
    if (world_chance(world, 500) && next >= 0) {
        term = world->nodes[next].raft.term;
        world_run_until(world, world->now_us + 16 * ELECTION);
        still_leads(world, next, term, "a leader that comes back from the dead");
    } else {
        world_run_until(world, world->now_us + 16 * ELECTION);
    }
    settles(world, "the leader died");
}

/* One that is alone starts again, and members are to change before it has committed anything. */
static void the_only_one_is_asked_at_once(struct world *world)
{
    int n = world_leader(world);
    if (n < 0 || world->nodes[n].raft.config.count != 1)
        return;
    world->nodes[n].disk_us = 4 * MS;
    world_crash(world, n, MS);
    for (int i = 0; i < 200 && !world->failed; i++) {
        world_run_until(world, world->now_us + 100);
        world_feed(world, n, (struct raft_event){.type = RAFT_EV_WANT_LEAD});
        world_change_somehow(world);
    }
    world->nodes[n].disk_us = MS;
    (void)serves_in_time(world, "the only one started again");
    settles(world, "the only one started again");
}

/* The leader is to go, of few voters: in the middle of it, it falls silent. */
static void the_leader_is_removed(struct world *world, int leader)
{
    int other = another_voter(world, leader);
    if (other < 0 || !raft_may_change(&world->nodes[leader].raft))
        return;
    struct raft_seat seats[2] = {{.member = world->nodes[leader].self, .kinds = RAFT_SEAT_VOTER},
                                 {.member = world->nodes[other].self, .kinds = RAFT_SEAT_VOTER}};
    if (world_chance(world, 700)) {
        (void)world_change(world, leader, seats, 2);
        settles(world, "a change to two voters");
    }
    if (world->failed || world_leader(world) != leader || !raft_may_change(&world->nodes[leader].raft))
        return;
    (void)world_change(world, leader, seats + 1, 1);
    world_run_until(world, world->now_us + (int64_t)world_random(world, 8 * MS));
    if (world_chance(world, 300))
        world_crash(world, leader, elections(world, 0, 4));
    else
        cut_links(world, leader, other);
    world_run_until(world, world->now_us + elections(world, 0, 5));
    mend_links(world);
    (void)serves_in_time(world, "the leader was removed");
    settles(world, "the leader was removed");
    if (!world->failed)
        the_only_one_is_asked_at_once(world);
}

/* Flushing by interval: the power blinks, here and there, while much is on its way; often
 * there are just as many others as it takes. */
static void the_power_blinks(struct world *world, int leader)
{
    int count = world->options.node_count;
    int away = world_chance(world, 600) ? (count - 1) / 2 : 0;
    for (int i = leader + 1; away > 0; i++, away--)
        world_isolate(world, i % count, true);
    world->options.delay_us = 12 * MS;
    world->options.propose_every_us = 1 * MS;
    for (int i = 0; i < 8 && !world->failed; i++) {
        int n = (int)world_random(world, (uint64_t)count);
        if (world_may_cut_power(world) && (n != leader || world_chance(world, 100)))
            world_power_cut(world, n, (int64_t)world_random(world, 2 * MS));
        world_run_until(world, world->now_us + elections(world, 0, 1));
    }
    world->options.delay_us = MS;
    mend_links(world);
    (void)serves_in_time(world, "the power blinked");
    settles(world, "the power blinked");
}

static uint64_t latest_ack(struct world *world, int from, int64_t late_us)
{
    uint64_t idx = 0;
    for (int i = 0; i < world->packet_top; i++) {
        struct world_packet *packet = &world->packets[i];
        if (!packet->used || packet->message.type != RAFT_MSG_APPEND_REPLY ||
            !raft_member_equal(&packet->message.from, &world->nodes[from].self))
            continue;
        packet->at_us += late_us;
        idx = packet->message.match_idx > idx ? packet->message.match_idx : idx;
    }
    return idx;
}

/* Flushing by interval: one that is needed for every commit says that it has much, and its
 * power fails; what it said comes when it has said already that it has less. */
static void an_old_promise_comes_late(struct world *world, int leader)
{
    int count = world->options.node_count;
    int needed = (leader + 1) % count;
    if (!world_may_cut_power(world) || world->nodes[needed].amnesiac)
        return;
    for (int away = (count - 1) / 2, i = leader + 2; away > 0; i++, away--)
        world_isolate(world, i % count, true);
    world->options.propose_every_us = 0;
    world_run_until(world, world->now_us + ELECTION / 2);
    for (int i = 0; i < 18; i++)
        (void)world_propose(world, leader);
    uint64_t goal = world->nodes[leader].log.last_idx;
    for (int i = 0; i < 200 && !world->failed && latest_ack(world, needed, 60) < goal; i++)
        world_run_until(world, world->now_us + 50);
    (void)latest_ack(world, needed, 3 * MS + (int64_t)world_random(world, 3 * MS));
    world_power_cut(world, needed, 50);
    world_run_until(world, world->now_us + (int64_t)world_random(world, 3 * MS));
    if (world_chance(world, 500))
        world_cut(world, leader, needed, true);
    world_run_until(world, world->now_us + 10 * MS);
    mend_links(world);
    (void)serves_in_time(world, "an old promise came late");
    settles(world, "an old promise came late");
}

static void all_die(struct world *world)
{
    for (int i = 0; i < WORLD_NODES_MAX; i++)
        world_crash(world, i, (int64_t)world_random(world, 30 * MS));
    world_run_until(world, world->now_us + 30 * MS);
    (void)serves_in_time(world, "all died");
    settles(world, "all died");
}

static void members_change(struct world *world)
{
    for (int i = 0; i < 3 && !world->failed; i++) {
        world_change_somehow(world);
        world_run_until(world, world->now_us + (int64_t)world_random(world, 20 * MS));
        (void)serves_in_time(world, "a change of members");
        settles(world, "a change of members");
    }
}

void world_drill(struct world *world)
{
    int leader = world_leader(world);
    if (leader < 0 || world->failed)
        return;
    bool idle = world_chance(world, 400);
    world->options.propose_every_us = idle ? 0 : 4 * MS;
    uint64_t which = world_random(world, 8);
    if (world->options.interval && which >= 5) {
        for (int i = 0; which <= 6 && i < 3 && !world->failed && world_leader(world) >= 0; i++)
            an_old_promise_comes_late(world, world_leader(world));
        if (which > 6)
            the_power_blinks(world, leader);
        which = UINT64_MAX;
    }
    switch (which) {
    case 0:
    case 1:
        a_follower_is_away(world, leader);
        break;
    case 2:
        the_leader_is_away(world, leader);
        break;
    case 3:
        the_leader_hands_over(world, leader);
        break;
    case 4:
        the_leader_dies(world, leader);
        break;
    case 5:
        all_die(world);
        break;
    case 6:
        the_leader_is_removed(world, leader);
        break;
    case 7:
        members_change(world);
        break;
    default:
        break;
    }
    world->options.propose_every_us = 0;
    if (!world->failed)
        oracle_final(world);
}
