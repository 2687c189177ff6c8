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

enum { SEEDS = 700 };

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

static struct world *new_world(const struct world_options *options)
{
    say_on_abort(options->seed);
    return world_new(options);
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
        world_calm_down(world);
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
    world_calm_down(world);
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
    world_calm_down(world);
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
    world_calm_down(world);
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
        world_calm_down(world);
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
    world_calm_down(world);
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
    world_calm_down(world);
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
    world_calm_down(world);
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
    world_calm_down(world);
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
    world_calm_down(world);
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
    world_calm_down(world);
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
    world_calm_down(world);
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
    world_calm_down(world);
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
