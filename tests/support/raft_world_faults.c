/*
 * The world of raft_world.h under faults drawn from a seed: members come and go, disks
 * are lost and fail, links are cut, leaders stranded and paused, logs begin anew; then
 * calm weather, in which all must come right within its time.
 */
#include "support/raft_world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FAULTS_MS = 4000 };

#define MS INT64_C(1000)

/* ---- membership ------------------------------------------------------------------------ */

static int random_up(struct world *world)
{
    for (int tries = 0; tries < 20; tries++) {
        int n = (int)world_random(world, WORLD_NODES_MAX);
        if (world->nodes[n].up)
            return n;
    }
    return -1;
}

static uint32_t find_seat(const struct raft_seat *seats, uint32_t count, uint32_t broker_id)
{
    uint32_t at = 0;
    while (at < count && seats[at].member.broker_id != broker_id)
        at++;
    return at;
}

/* One random step from the leader's configuration: a member comes, goes, is swapped for
 * its new incarnation, is promoted or demoted; sometimes two such at once. */
void world_change_somehow(struct world *world)
{
    int leader = world_leader(world);
    if (leader < 0 || !raft_may_change(&world->nodes[leader].raft))
        return;
    const struct raft *raft = &world->nodes[leader].raft;
    struct raft_seat seats[WORLD_SEATS_MAX];
    uint32_t count = raft->config.count;
    memcpy(seats, raft->config.seats, count * sizeof seats[0]);
    for (uint32_t at = count; at > 0; at--) { /* those whose disk is gone do not come back */
        const struct raft_member *member = &seats[at - 1].member;
        if (!raft_member_equal(member, &world->nodes[member->broker_id - 1].self))
            seats[at - 1] = seats[--count];
    }
    uint32_t steps = 1 + (uint32_t)world_random(world, 3);
    for (uint32_t i = 0; i < steps; i++) {
        int n = (int)world_random(world, (uint64_t)world->options.brokers);
        uint32_t at = find_seat(seats, count, (uint32_t)n + 1);
        bool voter = world_chance(world, 700);
        uint32_t kind = voter ? RAFT_SEAT_VOTER : RAFT_SEAT_LEARNER;
        if (at == count) {
            bool seated = find_seat(raft->config.seats, raft->config.count, (uint32_t)n + 1) < raft->config.count;
            if (!world->nodes[n].exists || (!seated && world_chance(world, 300)))
                world_wipe(world, n);
            if (!world->nodes[n].exists)
                continue;
            seats[count++] = (struct raft_seat){.member = world->nodes[n].self, .kinds = kind};
        } else if (world_chance(world, 500)) {
            seats[at].kinds = kind;
        } else {
            seats[at] = seats[--count];
        }
    }
    uint32_t voters = 0;
    for (uint32_t i = 0; i < count; i++)
        voters += seats[i].kinds == RAFT_SEAT_VOTER ? 1 : 0;
    if (voters >= 2 || world_chance(world, 100))
        (void)world_change(world, leader, seats, count);
}

/* A change of members, in the middle of which somebody dies, or the leader is cut off. */
static void change_and_break(struct world *world)
{
    world_change_somehow(world);
    if (world_chance(world, 600))
        return;
    world_run_until(world, world->now_us + (int64_t)world_random(world, world_chance(world, 500) ? 3 * MS : 12 * MS));
    int n = world_chance(world, 700) ? world_leader(world) : random_up(world);
    if (n < 0)
        return;
    switch (world_random(world, 3)) {
    case 0:
        world_crash(world, n, (int64_t)world_random(world, (uint64_t)WORLD_ELECTION_US * 4));
        break;
    case 1:
        world_isolate(world, n, true);
        break;
    default: /* it hears what it waited for, and nobody hears of it */
        for (int i = 0; i < WORLD_NODES_MAX; i++)
            world_cut(world, n, i, true);
        break;
    }
}

/* A voter's disk is lost: only as long as a majority of each half keeps its own. */
static void wipe_somebody(struct world *world)
{
    int leader = world_leader(world);
    int n = (int)world_random(world, WORLD_NODES_MAX);
    if (leader < 0 || leader == n || !raft_may_change(&world->nodes[leader].raft) || !world->nodes[n].exists)
        return;
    const struct raft_config *config = &world->nodes[leader].raft.config;
    uint32_t voters = 0;
    uint32_t intact = 0;
    for (uint32_t i = 0; i < config->count; i++) {
        uint32_t at = config->seats[i].member.broker_id - 1;
        if (config->seats[i].kinds != RAFT_SEAT_VOTER)
            continue;
        voters++;
        /* Intact: has all that is committed, durably, and is not the one to go. */
        intact += raft_member_equal(&world->nodes[at].self, &config->seats[i].member) && (int)at != n &&
                          world->nodes[at].disk.last_idx >= world->ledger.committed_idx
                      ? 1
                      : 0;
    }
    if (2 * intact > voters)
        world_wipe(world, n);
}

/* ---- faults at random --------------------------------------------------------------------- */

struct mix {
    uint32_t membership;
    uint32_t crash;
    uint32_t cut;
    uint32_t start;
    uint32_t transfer;
    uint32_t disk;
    uint32_t power;
    uint32_t strand;
    uint32_t pause;
};

static void crash_something(struct world *world)
{
    int n = world_chance(world, 400) ? world_leader(world) : random_up(world);
    int64_t down_us = (int64_t)world_random(world, (uint64_t)WORLD_ELECTION_US * 4);
    if (world_chance(world, 60)) { /* all at once */
        for (int i = 0; i < WORLD_NODES_MAX; i++)
            world_crash(world, i, down_us + (int64_t)world_random(world, 20 * MS));
        return;
    }
    if (n < 0)
        return;
    bool led = n == world_leader(world);
    world_crash(world, n, down_us);
    for (int i = 0; led && i < WORLD_NODES_MAX; i++)
        if (world_chance(world, 500))
            world_feed(world, i, (struct raft_event){.type = RAFT_EV_LEADER_GONE});
}

static void cut_something(struct world *world)
{
    int n = world_chance(world, 400) ? world_leader(world) : (int)world_random(world, WORLD_NODES_MAX);
    if (n < 0)
        return;
    switch (world_random(world, 5)) {
    case 0:
        world_isolate(world, n, true);
        break;
    case 1: /* one way */
        for (int i = 0; i < WORLD_NODES_MAX; i++)
            world_cut(world, n, i, true);
        break;
    case 2:
        for (int i = 0; i < WORLD_NODES_MAX; i++)
            world_cut(world, i, n, true);
        break;
    case 3:
        world_cut(world, (int)world_random(world, WORLD_NODES_MAX), n, true);
        break;
    default: /* mends all */
        for (int i = 0; i < WORLD_NODES_MAX; i++)
            world_isolate(world, i, false);
        break;
    }
}

/* The leader and at most one other, alone among themselves long enough that the rest
 * elects another and the stranded log grows a tail nobody wants. */
static void strand_the_leader(struct world *world)
{
    int leader = world_leader(world);
    int other = (int)world_random(world, WORLD_NODES_MAX);
    if (leader < 0)
        return;
    if (world_chance(world, 500)) { /* so slow that they come back with a flush of that tail under way */
        world->nodes[leader].disk_us = 2 * WORLD_ELECTION_US;
        world->nodes[other].disk_us = 2 * WORLD_ELECTION_US;
    }
    for (int i = 0; i < WORLD_NODES_MAX; i++)
        if (i != leader && i != other) {
            world_cut(world, i, leader, true);
            world_cut(world, leader, i, true);
            world_cut(world, i, other, true);
            world_cut(world, other, i, true);
        }
    world_run_until(world, world->now_us + (int64_t)world_random(world, (uint64_t)WORLD_ELECTION_US * 3));
    if (world_chance(world, 500))
        world_crash(world, world_chance(world, 500) ? leader : other, 10 * MS);
    for (int i = 0; i < WORLD_NODES_MAX; i++)
        world_isolate(world, i, false);
}

/* A leader that stops in the middle of a read, or as it hands over, and wakes with one. */
static void pause_something(struct world *world)
{
    int leader = world_leader(world);
    int n = world_chance(world, 700) ? leader : random_up(world);
    if (n < 0)
        return;
    if (n == leader && world_chance(world, 400)) {
        int target = random_up(world);
        if (target >= 0)
            world_feed(world, leader,
                       (struct raft_event){.type = RAFT_EV_TRANSFER, .member = world->nodes[target].self});
    }
    world_read(world, n);
    world_run_until(world, world->now_us + (int64_t)world_random(world, 8 * MS));
    world_pause(world, n, (int64_t)world_random(world, (uint64_t)WORLD_ELECTION_US * 5));
}

static void cut_power(struct world *world)
{
    if (!world_may_cut_power(world))
        return;
    int n = random_up(world);
    if (n < 0)
        return;
    int64_t down_us = (int64_t)world_random(world, world_chance(world, 400) ? 3 * MS : (uint64_t)WORLD_ELECTION_US);
    world_power_cut(world, n, down_us);
    int leader = world_leader(world);
    if (leader < 0 || leader == n || world_chance(world, 600))
        return;
    /* Whoever forgot has a leader for just so long. */
    world_run_until(world, world->now_us + down_us + (int64_t)world_random(world, 15 * MS));
    if (world_chance(world, 500))
        world_crash(world, leader, (int64_t)world_random(world, (uint64_t)WORLD_ELECTION_US * 4));
    else
        world_isolate(world, leader, true);
}

static void do_something(struct world *world, const struct mix *mix)
{
    int n = random_up(world);
    if (world_chance(world, mix->membership))
        change_and_break(world);
    if (world_chance(world, mix->membership / 8))
        wipe_somebody(world);
    if (world_chance(world, mix->crash))
        crash_something(world);
    if (world_chance(world, mix->cut))
        cut_something(world);
    if (world_chance(world, mix->power))
        cut_power(world);
    if (world_chance(world, mix->strand))
        strand_the_leader(world);
    if (world_chance(world, mix->pause))
        pause_something(world);
    if (n >= 0 && world_chance(world, mix->start))
        world_move_start(world, n,
                         world->nodes[n].log.base_idx +
                             world_random(world, world->nodes[n].raft.commit_idx - world->nodes[n].log.base_idx + 1));
    if (n >= 0 && world_chance(world, mix->disk))
        world_fail_disk(world, n);
    if (n >= 0 && world_chance(world, world->options.runs_max != 0 ? 300 : 100))
        world->nodes[n].disk_us = world_chance(world, 300)  ? 60 * MS
                                  : world->options.interval ? WORLD_INTERVAL_US
                                                            : 2 * MS;
    if (n >= 0 && world_chance(world, world->options.runs_max != 0 ? 150 : 30))
        world->nodes[n].flush_us = world_chance(world, 500) ? 4 * WORLD_ELECTION_US : 0;
    int leader = world_leader(world);
    n = random_up(world);
    if (leader >= 0 && n >= 0 && world_chance(world, mix->transfer))
        world_feed(world, leader, (struct raft_event){.type = RAFT_EV_TRANSFER, .member = world->nodes[n].self});
}

static uint32_t sometimes(struct world *world, uint32_t per_mille)
{
    return world_chance(world, 600) ? per_mille : 0;
}

/* After the faults: a leader within five election timeouts (drawn between one and two),
 * which stays; all that is committed everywhere. */
void world_calm_down(struct world *world)
{
    world_heal(world);
    int64_t healed_us = world->now_us;
    int leader = world_run_to_leader(world, healed_us + 5 * 2 * WORLD_ELECTION_US);
    if (leader < 0)
        world_fail(world, -1, "no leader within five election timeouts");
    while (!world->failed && !world_settled(world) && world->now_us < healed_us + 60 * WORLD_ELECTION_US)
        world_run_until(world, world->now_us + 10 * MS);
    if (!world_settled(world))
        world_fail(world, -1, "not everybody has everything long after the faults");
    world_run_until(world, world->now_us + 3 * WORLD_ELECTION_US); /* a leader that was cut off steps down late */
    leader = world_run_to_leader(world, world->now_us + 5 * 2 * WORLD_ELECTION_US);
    uint64_t term = leader >= 0 ? world->nodes[leader].raft.term : 0;
    uint64_t committed_idx = world->ledger.committed_idx;
    world->options.propose_every_us = 4 * MS;
    world_run_until(world, world->now_us + 4 * WORLD_ELECTION_US);
    if (!world->failed && (leader < 0 || world_leader(world) != leader || world->nodes[leader].raft.term != term))
        world_fail(world, leader, "leadership does not stay though nothing is wrong");
    if (world->ledger.committed_idx < committed_idx + 20)
        world_fail(world, leader, "commits only %llu entries in calm weather",
                   (unsigned long long)(world->ledger.committed_idx - committed_idx));
    world->options.propose_every_us = 0;
    const struct world_node *node = leader >= 0 ? &world->nodes[leader] : NULL;
    if (node != NULL && node->read_count > 0 && node->reads[0].at_us < world->now_us - 2 * WORLD_ELECTION_US)
        world_fail(world, leader, "does not answer a read in calm weather");
    for (int i = 0; i < 60 && !world->failed && !world_settled(world); i++)
        world_run_until(world, world->now_us + 10 * MS);
    oracle_final(world);
}

static struct world *tell_one_of_the_stories(uint64_t seed)
{
    uint32_t count;
    const struct world_story *stories = world_stories(&count);
    return world_tell(&stories[seed % count], seed);
}

struct world *world_play(uint64_t seed)
{
    if (seed % 8 == 6)
        return tell_one_of_the_stories(seed / 8);
    static const int sizes[] = {3, 5, 3, 4, 7, 5, 5, 2, 3, 5, 3, 1, 7, 3, 5, 2};
    struct world_options options = {.seed = seed,
                                    .node_count = sizes[seed % 16],
                                    .brokers = sizes[seed % 16] <= 3 && seed % 3 != 0 ? 4 : WORLD_NODES_MAX,
                                    .interval = seed % 5 == 4,
                                    .delay_us = 1000 + (int64_t)(seed * 7919 % 12) * 1000,
                                    .propose_every_us = 3 * MS,
                                    .runs_max = seed % 3 == 0 ? 1 + (uint32_t)(seed / 3 % 3) : 0};
    struct world *world = world_new(&options);
    world->options.lost_per_mille = sometimes(world, 50);
    world->options.doubled_per_mille = sometimes(world, 50);
    world->options.stale_per_mille = sometimes(world, 20);
    world->options.slow_turns_per_mille = sometimes(world, 200);
    world->options.crash_per_persist_per_mille = sometimes(world, 3);
    /* What is not in the short memory of terms is then refused, and found all the same. */
    world->options.unreadable_per_mille = options.runs_max != 0 && seed % 2 == 1 ? 1000 : 0;
    world->options.nothing_per_mille = sometimes(world, 30);
    struct mix mix = {.membership = options.interval ? 0 : sometimes(world, 250),
                      .crash = sometimes(world, 200),
                      .cut = sometimes(world, 200),
                      .start = sometimes(world, 200),
                      .transfer = sometimes(world, 150),
                      .disk = options.interval ? 0 : sometimes(world, 30),
                      .power = options.interval ? 300 : 0,
                      .strand = sometimes(world, 250),
                      .pause = sometimes(world, 200)};
    world->options.start_per_mille = world_chance(world, 300) ? 60 : 0;
    world->options.change_per_mille = mix.membership != 0 && world_chance(world, 300) ? 100 : 0;
    if (options.interval && seed % 2 == 0) /* power alone: those that forgot are brought up to date soon */
        mix = (struct mix){.power = 600, .crash = 30};
    if (seed % 4 == 1) { /* logs part, again and again */
        mix = (struct mix){.crash = 100, .strand = 900, .start = sometimes(world, 100)};
        world->options.crash_per_persist_per_mille = 0;
        world->options.change_per_mille = 0;
    }
    if (seed % 4 == 1 || options.interval) {
        mix.strand = 900;
        world->options.crash_after_cut_per_mille = sometimes(world, 400);
    }
    while (!world->failed && world->now_us < FAULTS_MS * MS) {
        world_run_until(world, world->now_us + (int64_t)world_random(world, 80 * MS));
        do_something(world, &mix);
    }
    if (!world->failed)
        world_calm_down(world);
    for (int i = 0; i < 2 && !world->failed; i++)
        world_drill(world);
    if (getenv("RAFT_VERBOSE") != NULL)
        (void)fprintf(stderr,
                      "seed %llu: %llu events, %llu commits, %llu elections, %llu cuts, %llu resets, %u incarnations\n",
                      (unsigned long long)seed, (unsigned long long)world->events, (unsigned long long)world->commits,
                      (unsigned long long)world->elections, (unsigned long long)world->cuts,
                      (unsigned long long)world->resets, world->incarnations);
    return world;
}
