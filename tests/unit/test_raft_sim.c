/*
 * The consensus core in a model world (support/raft_world.h): seeds chosen at random
 * once and kept, and stories of what once broke somebody (support/raft_world_stories.c).
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

enum { SEEDS = 300, STORY_SEEDS = 4 };

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

static void say_on_abort(uint64_t seed)
{
    (void)snprintf(replay, sizeof replay, "\nreplay with RAFT_SEED=%" PRIu64 " RAFT_TRACE=1\n", seed);
    (void)signal(SIGABRT, on_abort);
}

static void end_world(struct world **world)
{
    if ((*world)->failed)
        (void)fprintf(stderr, "\n%s\n", (*world)->failure);
    CU_ASSERT_FALSE((*world)->failed);
    world_free(world);
}

/* ---- faults at random ----------------------------------------------------------------------- */

static uint64_t run_seed(uint64_t seed)
{
    say_on_abort(seed);
    struct world *world = world_play(seed);
    uint64_t commits = world->commits;
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

/* ---- stories -------------------------------------------------------------------------------- */

static void every_story_ends_well(void)
{
    uint32_t count;
    const struct world_story *stories = world_stories(&count);
    for (uint32_t i = 0; i < count; i++)
        for (uint64_t seed = 1; seed <= STORY_SEEDS; seed++) {
            say_on_abort(seed);
            struct world *world = world_tell(&stories[i], seed);
            if (world->failed)
                (void)fprintf(stderr, "\n%s\n", stories[i].name);
            end_world(&world);
        }
}

static void a_crash_at_any_persist_point_loses_nothing(void)
{
    for (uint64_t point = 1; point <= 150; point++) {
        struct world_options options = {.seed = 1000 + point % 3,
                                        .node_count = 3,
                                        .delay_us = 1000,
                                        .propose_every_us = 4 * MS,
                                        .crash_at_persist = point};
        say_on_abort(options.seed);
        struct world *world = world_new(&options);
        world_run_until(world, 6 * WORLD_ELECTION_US);
        world_move_start(world, (int)(point % 3), world->ledger.committed_idx / 2);
        world_run_until(world, 9 * WORLD_ELECTION_US);
        world_calm_down(world);
        end_world(&world);
    }
}

static const struct unit_case cases[] = {
    {"a crash at any persist point loses nothing", a_crash_at_any_persist_point_loses_nothing},
    {"every story ends well", every_story_ends_well},
    {"what is promised holds through random faults", what_is_promised_holds_through_random_faults},
};
UNIT_MAIN("raft in a model world", cases)
