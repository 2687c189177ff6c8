/*
 * The consensus core in a model world (support/raft_world.h): seeds chosen at random
 * once and kept, and scenarios that once broke somebody.
 *
 *   RAFT_SEED=n       only this seed of the random runs
 *   RAFT_SEEDS=count  seeds 1..count instead of the fixed number
 *   RAFT_TRACE=1      every message on stderr
 */
#include "support/raft_world.h"
#include "support/unit.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

enum { SEEDS = 700, FAULTS_MS = 4000 };

#define MS INT64_C(1000)

/* ---- saying which seed it was -------------------------------------------------------- */

static char replay[80]; /* for the handler: what to say if the core aborts */

static void on_abort(int number)
{
    (void)number;
    ssize_t ignored = write(STDERR_FILENO, replay, strlen(replay));
    (void)ignored;
    (void)signal(SIGABRT, SIG_DFL);
    (void)raise(SIGABRT);
}

static struct world *new_world(const struct world_options *options)
{
    (void)snprintf(replay, sizeof replay, "\nreplay with RAFT_SEED=%" PRIu64 " RAFT_TRACE=1\n", options->seed);
    (void)signal(SIGABRT, on_abort);
    return world_new(options);
}

static void end_world(struct world **world)
{
    if ((*world)->failed)
        (void)fprintf(stderr, "\n%s\n", (*world)->failure);
    CU_ASSERT_FALSE((*world)->failed);
    world_free(world);
}

/* ---- membership ------------------------------------------------------------------------ */

static uint32_t find_seat(const struct raft_seat *seats, uint32_t count, uint32_t broker_id)
{
    uint32_t at = 0;
    while (at < count && seats[at].member.broker_id != broker_id)
        at++;
    return at;
}

/* One random step from the leader's configuration: a member comes, goes, is swapped for
 * its new incarnation, is promoted or demoted; sometimes two such at once. */
static void change_somehow(struct world *world)
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
        int n = (int)world_random(world, WORLD_NODES_MAX);
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

static int random_up(struct world *world)
{
    for (int tries = 0; tries < 20; tries++) {
        int n = (int)world_random(world, WORLD_NODES_MAX);
        if (world->nodes[n].up)
            return n;
    }
    return -1;
}

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

/* One at a time, and only while nobody else may have forgotten. */
static void cut_power(struct world *world)
{
    if (world->options.node_count < 3)
        return; /* a group of two has no majority without the one that forgot */
    for (int i = 0; i < WORLD_NODES_MAX; i++)
        if (world->nodes[i].exists &&
            (world->nodes[i].amnesiac || (world->nodes[i].up && world->nodes[i].raft.amnesiac)))
            return;
    int n = random_up(world);
    if (n >= 0)
        world_power_cut(world, n, (int64_t)world_random(world, (uint64_t)WORLD_ELECTION_US));
}

static void do_something(struct world *world, const struct mix *mix)
{
    int n = random_up(world);
    if (world_chance(world, mix->membership))
        change_somehow(world);
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
    if (n >= 0 && world_chance(world, 100))
        world->nodes[n].disk_us = world_chance(world, 300) ? 60 * MS : 2 * MS;
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
static void calm_down(struct world *world)
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
    for (int i = 0; i < 60 && !world->failed && !world_settled(world); i++)
        world_run_until(world, world->now_us + 10 * MS);
    oracle_final(world);
}

static uint64_t run_seed(uint64_t seed)
{
    static const int sizes[] = {3, 5, 3, 4, 7, 5, 5, 2};
    struct world_options options = {.seed = seed,
                                    .node_count = sizes[seed % 8],
                                    .interval = seed % 5 == 4,
                                    .delay_us = 1000 + (int64_t)(seed * 7919 % 12) * 1000,
                                    .propose_every_us = 3 * MS,
                                    .runs_max = seed % 3 == 0 ? 1 + (uint32_t)(seed / 3 % 3) : 0};
    struct world *world = new_world(&options);
    world->options.lost_per_mille = sometimes(world, 50);
    world->options.doubled_per_mille = sometimes(world, 50);
    world->options.slow_turns_per_mille = sometimes(world, 200);
    world->options.crash_per_persist_per_mille = sometimes(world, 3);
    struct mix mix = {.membership = options.interval ? 0 : sometimes(world, 250),
                      .crash = sometimes(world, 200),
                      .cut = sometimes(world, 200),
                      .start = sometimes(world, 200),
                      .transfer = sometimes(world, 150),
                      .disk = options.interval ? 0 : sometimes(world, 30),
                      .power = options.interval ? 150 : 0,
                      .strand = sometimes(world, 250),
                      .pause = sometimes(world, 200)};
    if (seed % 4 == 1) { /* logs part, again and again */
        mix = (struct mix){.crash = 100, .strand = 900, .start = sometimes(world, 100)};
        world->options.crash_per_persist_per_mille = 0;
    }
    while (!world->failed && world->now_us < FAULTS_MS * MS) {
        world_run_until(world, world->now_us + (int64_t)world_random(world, 80 * MS));
        do_something(world, &mix);
    }
    if (!world->failed)
        calm_down(world);
    uint64_t commits = world->commits;
    if (getenv("RAFT_VERBOSE") != NULL)
        (void)fprintf(stderr,
                      "seed %llu: %llu events, %llu commits, %llu elections, %llu cuts, %llu resets, %u incarnations\n",
                      (unsigned long long)seed, (unsigned long long)world->events, (unsigned long long)commits,
                      (unsigned long long)world->elections, (unsigned long long)world->cuts,
                      (unsigned long long)world->resets, world->incarnations);
    bool failed = world->failed;
    end_world(&world);
    return failed ? 0 : commits;
}

static void what_is_promised_holds_through_random_faults(void)
{
    const char *one = getenv("RAFT_SEED");
    const char *many = getenv("RAFT_SEEDS");
    if (one != NULL) {
        (void)run_seed(strtoull(one, NULL, 10));
        return;
    }
    uint64_t seeds = many != NULL ? strtoull(many, NULL, 10) : SEEDS;
    uint64_t commits = 0;
    uint64_t failures = 0;
    for (uint64_t seed = 1; seed <= seeds && failures < 3; seed++) {
        uint64_t of_seed = run_seed(seed);
        commits += of_seed;
        failures += of_seed == 0 ? 1 : 0;
    }
    CU_ASSERT_TRUE(commits > seeds * 100);
}

/* ---- scenarios ------------------------------------------------------------------------------ */

static struct world_options calm(uint64_t seed, int node_count)
{
    return (struct world_options){.seed = seed, .node_count = node_count, .delay_us = 1000, .propose_every_us = 4 * MS};
}

/* A world with a leader that serves, and something committed. */
static struct world *settled_world(uint64_t seed, int node_count, int *leader)
{
    struct world_options options = calm(seed, node_count);
    struct world *world = new_world(&options);
    *leader = world_run_to_leader(world, 20 * WORLD_ELECTION_US);
    for (int i = 0; i < 500 && (i < 100 || !world_settled(world)); i++)
        world_run_until(world, world->now_us + 1 * MS);
    if (*leader < 0 || !world_settled(world)) {
        world_fail(world, -1, "no leader at the start");
        *leader = 0;
    }
    return world;
}

static void a_crash_at_any_persist_point_loses_nothing(void)
{
    for (uint64_t point = 1; point <= 150; point++) {
        struct world_options options = calm(1000 + point % 3, 3);
        options.crash_at_persist = point;
        struct world *world = new_world(&options);
        world_run_until(world, 6 * WORLD_ELECTION_US);
        world_move_start(world, (int)(point % 3), world->ledger.committed_idx / 2);
        world_run_until(world, 9 * WORLD_ELECTION_US);
        calm_down(world);
        end_world(&world);
    }
}

static void all_lose_power_at_once_and_lose_nothing(void)
{
    int leader;
    struct world *world = settled_world(2001, 5, &leader);
    for (int round = 0; round < 10 && !world->failed; round++) {
        world_run_until(world, world->now_us + (int64_t)world_random(world, 5 * (uint64_t)WORLD_ELECTION_US));
        for (int n = 0; n < 5; n++)
            world_crash(world, n, 10 * MS + (int64_t)world_random(world, 100 * MS));
    }
    calm_down(world);
    end_world(&world);
}

/* A voter whose term ran ahead while nobody heard it: it must be let in again, though
 * the leader of the older term has a quorum without it. */
static void one_that_is_stuck_in_a_newer_term_is_freed(void)
{
    int leader;
    struct world *world = settled_world(2002, 3, &leader);
    int stuck = (leader + 1) % 3;
    for (int i = 0; i < WORLD_NODES_MAX; i++)
        world_cut(world, stuck, i, true);
    struct raft_message message = {.type = RAFT_MSG_TIMEOUT_NOW,
                                   .from = world->nodes[leader].self,
                                   .to = world->nodes[stuck].self,
                                   .term = world->nodes[leader].raft.term};
    world_feed(world, stuck, (struct raft_event){.type = RAFT_EV_MESSAGE, .message = &message});
    world_run_until(world, world->now_us + 20 * MS);
    CU_ASSERT_TRUE(world->nodes[stuck].raft.term > world->nodes[leader].raft.term);
    calm_down(world);
    end_world(&world);
}

static void a_follower_that_was_cut_off_comes_back_without_an_election(void)
{
    int leader;
    struct world *world = settled_world(2003, 3, &leader);
    uint64_t term = world->nodes[leader].raft.term;
    int away = (leader + 1) % 3;
    world_isolate(world, away, true);
    world_run_until(world, world->now_us + 20 * WORLD_ELECTION_US);
    calm_down(world);
    CU_ASSERT_EQUAL(world_leader(world), leader);
    CU_ASSERT_EQUAL(world->nodes[leader].raft.term, term);
    end_world(&world);
}

/* November 2020: the links of the leader fail one by one and not those of the others, so
 * that some hear it and some do not. */
static void partly_connected_five_keep_or_find_a_leader(void)
{
    for (int lost = 1; lost <= 4; lost++) {
        int leader;
        struct world *world = settled_world(2010 + (uint64_t)lost, 5, &leader);
        uint64_t before_idx = world->ledger.committed_idx;
        for (int i = 1; i <= lost; i++) {
            world_cut(world, leader, (leader + i) % 5, true);
            world_cut(world, (leader + i) % 5, leader, true);
        }
        uint64_t term = world->nodes[leader].raft.term;
        world_run_until(world, world->now_us + 10 * WORLD_ELECTION_US);
        CU_ASSERT_TRUE(world->ledger.committed_idx > before_idx + 100);
        if (lost <= 2) {
            CU_ASSERT_EQUAL(world->nodes[leader].raft.term, term); /* it still has a quorum */
        } else {
            CU_ASSERT_NOT_EQUAL(world_leader(world), leader);
        }
        calm_down(world);
        end_world(&world);
    }
}

/* One that hears nobody is heard by all: its campaigns must unseat no one. */
static void one_that_hears_nobody_unseats_no_one(void)
{
    int leader;
    struct world *world = settled_world(2004, 3, &leader);
    uint64_t term = world->nodes[leader].raft.term;
    int deaf = (leader + 1) % 3;
    for (int i = 0; i < WORLD_NODES_MAX; i++)
        world_cut(world, i, deaf, true);
    world_run_until(world, world->now_us + 20 * WORLD_ELECTION_US);
    CU_ASSERT_EQUAL(world_leader(world), leader);
    CU_ASSERT_EQUAL(world->nodes[leader].raft.term, term);
    calm_down(world);
    end_world(&world);
}

static void tell_to_campaign(struct world *world, int n)
{
    struct raft_message message = {.type = RAFT_MSG_TIMEOUT_NOW,
                                   .from = world->nodes[(n + 1) % 5].self,
                                   .to = world->nodes[n].self,
                                   .term = world->nodes[n].raft.term};
    world_feed(world, n, (struct raft_event){.type = RAFT_EV_MESSAGE, .message = &message});
    world_run_until(world, world->now_us + 20 * MS);
}

/* Nothing passes but between these two, and what is on its way is lost. */
static void leave_only(struct world *world, int a, int b)
{
    for (int i = 0; i < WORLD_NODES_MAX; i++)
        for (int j = 0; j < WORLD_NODES_MAX; j++)
            world_cut(world, i, j, !((i == a && j == b) || (i == b && j == a)));
    for (int i = 0; i < WORLD_PACKETS_MAX; i++)
        world->packets[i].used = false;
}

/* etcd's case of five: an entry is appended, cut for another leader's, and appended again
 * for a third, all while one flush is under way. Its completion says nothing of the entry
 * that is there now: a crash could still leave the second leader's. */
static void a_flush_begun_before_a_cut_does_not_vouch_for_the_same_entry_come_again(void)
{
    int first;
    struct world *world = settled_world(2016, 5, &first);
    world->options.in_order = true;
    world->options.propose_every_us = 0;
    world_run_until(world, world->now_us + WORLD_ELECTION_US);
    int slow = (first + 1) % 5;
    struct world_node *node = &world->nodes[slow];
    uint64_t idx = node->log.last_idx + 2;
    leave_only(world, first, slow);
    node->disk_us = 1000 * WORLD_ELECTION_US;
    CU_ASSERT_TRUE(world_propose(world, first) && world_propose(world, first));
    world_run_until(world, world->now_us + 5 * MS);
    CU_ASSERT_EQUAL(node->log.last_idx, idx);
    uint64_t term = node->raft.term;
    int64_t late_us = world->now_us + 1000 * WORLD_ELECTION_US;
    node->flush_done_us = late_us;
    node->disk_us = 2 * MS;
    world_isolate(world, first, true);
    for (int i = 0; i < 5; i++) /* the rest elects another */
        for (int j = 0; j < 5; j++)
            world_cut(world, i, j, i == first || j == first || i == slow || j == slow);
    int second = first;
    while (!world->failed && (second == first || second < 0) && world->now_us < 30 * WORLD_ELECTION_US) {
        world_run_until(world, world->now_us + 50);
        second = world_leader(world);
    }
    leave_only(world, second, slow); /* its no-op reaches the slow one only */
    world_run_until(world, world->now_us + WORLD_BEAT_US * 3);
    CU_ASSERT_EQUAL(node->log.last_idx, idx - 1);
    leave_only(world, second, second);
    for (int i = 0; i < 5; i++)
        for (int j = 0; j < 5; j++)
            world_cut(world, i, j, i == second || j == second);
    tell_to_campaign(world, first); /* in a term already used, and again */
    tell_to_campaign(world, first);
    world_run_until(world, world->now_us + WORLD_BEAT_US);
    CU_ASSERT_TRUE(node->log.last_idx >= idx);
    CU_ASSERT_EQUAL(node->log.entries[idx].term, term);
    CU_ASSERT_EQUAL(node->flush_done_us, late_us);
    node->flush_done_us = world->now_us;
    world_run_until(world, world->now_us + 10);
    CU_ASSERT_TRUE(node->raft.flushed_idx < idx - 1);
    calm_down(world);
    end_world(&world);
}

/* It is heard by all and hears nobody: they would follow it for ever. */
static void a_leader_that_hears_nobody_makes_way(void)
{
    int leader;
    struct world *world = settled_world(2009, 3, &leader);
    for (int i = 0; i < WORLD_NODES_MAX; i++)
        world_cut(world, i, leader, true);
    uint64_t before_idx = world->ledger.committed_idx;
    world_run_until(world, world->now_us + 10 * WORLD_ELECTION_US);
    CU_ASSERT_TRUE(world->ledger.committed_idx > before_idx + 50);
    CU_ASSERT_NOT_EQUAL(world_leader(world), leader);
    calm_down(world);
    end_world(&world);
}

/* The third hears both, and keeps to the one it follows. */
static void two_that_do_not_hear_each_other_do_not_take_turns(void)
{
    int leader;
    struct world *world = settled_world(2015, 3, &leader);
    world->options.propose_every_us = 0;
    world_run_until(world, world->now_us + WORLD_ELECTION_US);
    uint64_t term = world->nodes[leader].raft.term;
    int other = (leader + 1) % 3;
    world_cut(world, leader, other, true);
    world_cut(world, other, leader, true);
    world_run_until(world, world->now_us + 20 * WORLD_ELECTION_US);
    CU_ASSERT_EQUAL(world_leader(world), leader);
    CU_ASSERT_EQUAL(world->nodes[leader].raft.term, term);
    world->options.propose_every_us = 4 * MS;
    world->propose_us = world->now_us;
    calm_down(world);
    end_world(&world);
}

static void a_leader_with_a_slow_disk_commits_at_the_speed_of_the_others(void)
{
    int leader;
    struct world *world = settled_world(2005, 3, &leader);
    world->nodes[leader].disk_us = 60 * WORLD_ELECTION_US;
    uint64_t before_idx = world->ledger.committed_idx;
    bool ahead = false;
    for (int i = 0; i < 40 && !world->failed; i++) {
        world_run_until(world, world->now_us + 10 * MS);
        ahead = ahead || world->nodes[leader].raft.commit_idx > world->nodes[leader].raft.flushed_idx + 5;
    }
    CU_ASSERT_TRUE(ahead);
    CU_ASSERT_TRUE(world->ledger.committed_idx > before_idx + 50);
    calm_down(world);
    end_world(&world);
}

static void leadership_moves_within_a_few_round_trips(void)
{
    int leader;
    struct world *world = settled_world(2006, 3, &leader);
    world->options.in_order = true;
    for (int i = 0; i < 20 && !world->failed; i++) {
        int target = (world_leader(world) + 1) % 3;
        world_feed(world, world_leader(world),
                   (struct raft_event){.type = RAFT_EV_TRANSFER, .member = world->nodes[target].self});
        world_run_until(world, world->now_us + 25 * MS);
        CU_ASSERT_EQUAL(world_leader(world), target);
        CU_ASSERT_TRUE(raft_may_propose(&world->nodes[target].raft));
    }
    calm_down(world);
    end_world(&world);
}

/* A leader that is removed, and the rest goes on at once. */
static void removing_the_leader_stops_nobody_for_long(void)
{
    int leader;
    struct world *world = settled_world(2007, 5, &leader);
    world->options.in_order = true;
    struct raft_seat target[4];
    uint32_t count = 0;
    for (int n = 0; n < 5; n++)
        if (n != leader)
            target[count++] = (struct raft_seat){.member = world->nodes[n].self, .kinds = RAFT_SEAT_VOTER};
    CU_ASSERT_TRUE(world_change(world, leader, target, count));
    while (!world->failed && world->nodes[leader].raft.role == RAFT_LEADER && world->now_us < 20 * WORLD_ELECTION_US)
        world_run_until(world, world->now_us + 1 * MS);
    CU_ASSERT_TRUE(world_run_to_leader(world, world->now_us + 40 * MS) >= 0);
    calm_down(world);
    CU_ASSERT_EQUAL(world->nodes[world_leader(world)].raft.config.count, 4);
    end_world(&world);
}

/* Budgets of calm weather: one append a follower an entry; when nothing is appended,
 * beats and their answers. */
static void messages_keep_to_their_budget(void)
{
    int leader;
    struct world *world = settled_world(2008, 3, &leader);
    world->options.in_order = true;
    world_run_until(world, world->now_us + 2 * WORLD_ELECTION_US);
    uint64_t appends = world->appends;
    uint64_t commits = world->commits;
    world_run_until(world, world->now_us + 20 * WORLD_ELECTION_US);
    CU_ASSERT_TRUE(world->commits - commits > 300);
    CU_ASSERT_TRUE(world->appends - appends <= (world->commits - commits) * 2 + 20);
    world->options.propose_every_us = 0;
    world_run_until(world, world->now_us + 2 * WORLD_ELECTION_US);
    uint64_t messages = world->messages;
    uint64_t beats = (uint64_t)(20 * WORLD_ELECTION_US / WORLD_BEAT_US) * 2 * 2;
    world_run_until(world, world->now_us + 20 * WORLD_ELECTION_US);
    CU_ASSERT_TRUE(world->messages - messages <= beats + 10);
    world->options.propose_every_us = 4 * MS;
    calm_down(world);
    end_world(&world);
}

static const struct unit_case cases[] = {
    {"a crash at any persist point loses nothing", a_crash_at_any_persist_point_loses_nothing},
    {"all lose power at once and lose nothing", all_lose_power_at_once_and_lose_nothing},
    {"one that is stuck in a newer term is freed", one_that_is_stuck_in_a_newer_term_is_freed},
    {"a follower that was cut off comes back without an election",
     a_follower_that_was_cut_off_comes_back_without_an_election},
    {"partly connected five keep or find a leader", partly_connected_five_keep_or_find_a_leader},
    {"one that hears nobody unseats no one", one_that_hears_nobody_unseats_no_one},
    {"a flush begun before a cut does not vouch for the same entry come again",
     a_flush_begun_before_a_cut_does_not_vouch_for_the_same_entry_come_again},
    {"a leader that hears nobody makes way", a_leader_that_hears_nobody_makes_way},
    {"two that do not hear each other do not take turns", two_that_do_not_hear_each_other_do_not_take_turns},
    {"a leader with a slow disk commits at the speed of the others",
     a_leader_with_a_slow_disk_commits_at_the_speed_of_the_others},
    {"leadership moves within a few round trips", leadership_moves_within_a_few_round_trips},
    {"removing the leader stops nobody for long", removing_the_leader_stops_nobody_for_long},
    {"messages keep to their budget", messages_keep_to_their_budget},
    {"what is promised holds through random faults", what_is_promised_holds_through_random_faults},
};
UNIT_MAIN("raft in a model world", cases)
