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

enum { SEEDS = 700, FAULTS_MS = 5000 };

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

static struct world_options calm(uint64_t seed, int node_count)
{
    return (struct world_options){.seed = seed, .node_count = node_count, .delay_us = 1000, .propose_every_us = 4 * MS};
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
    static const int sizes[] = {3, 5, 3, 4, 7, 3, 5, 2};
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
                      .power = options.interval ? 150 : 0};
    while (!world->failed && world->now_us < FAULTS_MS * MS) {
        world_run_until(world, world->now_us + (int64_t)world_random(world, 80 * MS));
        do_something(world, &mix);
    }
    if (!world->failed)
        calm_down(world);
    uint64_t commits = world->commits;
    if (getenv("RAFT_VERBOSE") != NULL)
        (void)fprintf(stderr, "seed %llu: %llu events, %llu commits, %llu elections, %u incarnations\n",
                      (unsigned long long)seed, (unsigned long long)world->events, (unsigned long long)commits,
                      (unsigned long long)world->elections, world->incarnations);
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

static const struct unit_case cases[] = {
    {"what is promised holds through random faults", what_is_promised_holds_through_random_faults},
};
UNIT_MAIN("raft in a model world", cases)
