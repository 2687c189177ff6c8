/*
 * What once broke somebody, told in the world of raft_world.h: each story brings a group
 * into one kind of trouble, looks whether it fares as it should, and leaves it to
 * world_calm_down. The seed varies delays, sizes and who is who.
 */
#include "support/raft_world.h"

#define MS INT64_C(1000)

static void must(struct world *world, bool holds, const char *what)
{
    if (!holds)
        world_fail(world, -1, "%s", what);
}

static int leader_of(struct world *world)
{
    int leader = world_leader(world);
    must(world, leader >= 0, "there is no leader");
    return leader < 0 ? 0 : leader;
}

static struct world_options calm(uint64_t seed, int node_count)
{
    return (struct world_options){.seed = seed, .node_count = node_count, .delay_us = 1000, .propose_every_us = 4 * MS};
}

static void settle(struct world *world, int *leader)
{
    *leader = world_run_to_leader(world, world->now_us + 20 * WORLD_ELECTION_US);
    for (int i = 0; i < 500 && (i < 100 || !world_settled(world)); i++)
        world_run_until(world, world->now_us + 1 * MS);
    *leader = world_leader(world);
    if (*leader < 0 || !world_settled(world)) {
        world_fail(world, -1, "no leader at the start");
        *leader = 0;
    }
}

/* A world with a leader that serves, and something committed. */
static struct world *settled_world(uint64_t seed, int node_count, int *leader)
{
    struct world_options options = calm(seed, node_count);
    struct world *world = world_new(&options);
    settle(world, leader);
    return world;
}

/* From now on links keep order and dawdle no more, and what they held up has come. */
static void end_delays(struct world *world)
{
    world->options.in_order = true;
    world_run_until(world, world->now_us + 2 * WORLD_ELECTION_US);
}

/* This leader, in this term, was not unseated. */
static void must_lead_still(struct world *world, int leader, uint64_t term)
{
    must(world, world_leader(world) == leader && world->nodes[leader].raft.term == term,
         "a leader that serves is unseated");
}

/* ---- power and disks ------------------------------------------------------------------------ */

static struct world *all_lose_power_at_once(uint64_t seed)
{
    int leader;
    struct world *world = settled_world(seed, 5, &leader);
    for (int round = 0; round < 5 && !world->failed; round++) {
        world_run_until(world, world->now_us + (int64_t)world_random(world, 5 * (uint64_t)WORLD_ELECTION_US));
        for (int n = 0; n < 5; n++)
            world_crash(world, n, 10 * MS + (int64_t)world_random(world, 100 * MS));
    }
    return world;
}

/* A leader's last word is to name its best follower; the rest is silence. */
static struct world *disks_fail(uint64_t seed)
{
    int leader;
    struct world *world = settled_world(seed, 5, &leader);
    end_delays(world);
    world->options.propose_every_us = 0;
    world_run_until(world, world->now_us + WORLD_ELECTION_US);
    world_fail_disk(world, leader);
    world_run_until(world, world->now_us + 30 * MS);
    int next = leader_of(world);
    must(world, next != leader && raft_may_propose(&world->nodes[next].raft),
         "a leader whose disk fails does not hand over");
    world->options.propose_every_us = 4 * MS;
    world->propose_us = world->now_us;
    int other = (next + 1) % 5 != leader ? (next + 1) % 5 : (next + 2) % 5;
    world_fail_disk(world, other);
    uint64_t before_idx = world->ledger.committed_idx;
    uint64_t term = world->nodes[next].raft.term;
    world_run_until(world, world->now_us + 5 * WORLD_ELECTION_US);
    must_lead_still(world, next, term);
    must(world, world->ledger.committed_idx > before_idx + 50, "two failed disks of five stop the others");
    return world;
}

static struct world *a_slow_disk_leads_at_the_speed_of_the_others(uint64_t seed)
{
    int leader;
    struct world *world = settled_world(seed, 3, &leader);
    world->nodes[leader].disk_us = 60 * WORLD_ELECTION_US;
    uint64_t before_idx = world->ledger.committed_idx;
    bool ahead = false;
    for (int i = 0; i < 40 && !world->failed; i++) {
        world_run_until(world, world->now_us + 10 * MS);
        ahead = ahead || world->nodes[leader].raft.commit_idx > world->nodes[leader].raft.flushed_idx + 5;
    }
    must(world, ahead || world->nodes[leader].flush_done_us < world->now_us, "a leader waits for its own disk");
    must(world, world->ledger.committed_idx > before_idx + 50, "a leader's slow disk holds up the others");
    return world;
}

static bool comes_with_commit_above(const struct world *world, int n, uint64_t idx)
{
    for (int i = 0; i < world->packet_top; i++) {
        const struct world_packet *packet = &world->packets[i];
        if (packet->used && packet->to == n && packet->message.type == RAFT_MSG_BEAT &&
            packet->message.commit_idx > idx && packet->at_us > world->now_us + 100)
            return true;
    }
    return false;
}

/* Flushing by interval: a stranded tail is on a disk, another leader's entries in its place
 * are acknowledged from memory, and the power fails. What the leader says to the one that
 * acknowledged is not for the one that forgot. */
static struct world *the_power_fails_in_the_middle_of_an_overwrite(uint64_t seed)
{
    int first;
    struct world_options options = calm(seed, 5);
    options.interval = true;
    options.lose_all = true;
    options.delay_us = 5 * MS;
    struct world *world = world_new(&options);
    settle(world, &first);
    int slow = (first + 1) % 5;
    struct world_node *node = &world->nodes[slow];
    for (int i = 0; i < 5; i++) {
        world_cut(world, first, i, i != slow);
        world_cut(world, i, first, i != slow);
        world_cut(world, slow, i, i != first);
        world_cut(world, i, slow, i != first);
    }
    world_run_until(world, world->now_us + WORLD_ELECTION_US / 2);
    world_isolate(world, first, true);
    uint64_t last_idx = node->log.last_idx;
    for (int i = 0; i < 40 && !world->failed && world->ledger.committed_idx < last_idx + 10; i++)
        world_run_until(world, world->now_us + WORLD_ELECTION_US / 2);
    world_isolate(world, slow, false);
    world_isolate(world, first, true);
    node->disk_us = 4 * WORLD_ELECTION_US;
    for (int i = 0; i < 2000 && !world->failed && !comes_with_commit_above(world, slow, node->disk.last_idx); i++)
        world_run_until(world, world->now_us + 100);
    world_power_cut(world, slow, 50);
    world_run_until(world, world->now_us + WORLD_ELECTION_US);
    return world;
}

/* Flushing by interval, and the power fails for some when all is flushed. If they are a
 * majority they are pardoned; if not, they wait for one that remembers. */
static struct world *the_power_fails_for_some(uint64_t seed)
{
    int leader;
    struct world_options options = calm(seed, 3 + 2 * (int)(seed / 8 % 2));
    options.interval = true;
    struct world *world = world_new(&options);
    settle(world, &leader);
    end_delays(world);
    world->options.propose_every_us = 0;
    world_run_until(world, world->now_us + 2 * WORLD_ELECTION_US);
    int majority = options.node_count / 2 + 1;
    int lost = seed % 2 == 0 ? majority : majority - 1;
    bool others_are_away = seed % 4 == 1;
    for (int i = 0; i < options.node_count; i++) {
        int n = (leader + i) % options.node_count;
        if (i < lost)
            world_power_cut(world, n, 10 * MS);
        else if (others_are_away)
            world_crash(world, n, 20 * WORLD_ELECTION_US);
    }
    bool pardoned = lost == majority;
    world_run_until(world, world->now_us + (pardoned ? 20 : 15) * WORLD_ELECTION_US);
    if (pardoned || !others_are_away)
        must(world, world_leader(world) >= 0, "nobody leads long after the power failed");
    else
        must(world, world_leader(world) < 0, "those that may have forgotten lead while others remember");
    return world;
}

/* ---- elections -------------------------------------------------------------------------------- */

/* All begin in one instant, each message and write takes exactly as long as any other, and
 * nobody is preferred: only chance inside the replicas can part them. */
static struct world *in_step(uint64_t seed)
{
    struct world_options options = calm(seed, 3 + 2 * (int)(seed % 3));
    options.steady = true;
    options.delay_us = 300;
    struct world *world = world_new(&options);
    for (int round = 0; round < 4 && !world->failed; round++) {
        for (int n = 0; n < options.node_count; n++) {
            world->nodes[n].disk_us = 200;
            world_crash(world, n, 10 * MS);
        }
        must(world, world_run_to_leader(world, world->now_us + 10 * MS + 5 * 2 * WORLD_ELECTION_US) >= 0,
             "those that begin together elect nobody within five election timeouts");
        world_run_until(world, world->now_us + WORLD_ELECTION_US);
    }
    return world;
}

/* A voter whose term ran ahead while nobody heard it: it must be let in again, though
 * the leader of the older term has a quorum without it. */
static struct world *one_that_is_stuck_in_a_newer_term_is_freed(uint64_t seed)
{
    int leader;
    struct world *world = settled_world(seed, 3, &leader);
    int stuck = (leader + 1) % 3;
    for (int i = 0; i < WORLD_NODES_MAX; i++)
        world_cut(world, stuck, i, true);
    struct raft_message message = {.type = RAFT_MSG_TIMEOUT_NOW,
                                   .from = world->nodes[leader].self,
                                   .to = world->nodes[stuck].self,
                                   .term = world->nodes[leader].raft.term};
    world_feed(world, stuck, (struct raft_event){.type = RAFT_EV_MESSAGE, .message = &message});
    world_run_until(world, world->now_us + 20 * MS);
    must(world, world->nodes[stuck].raft.term > world->nodes[leader].raft.term,
         "one that is told to campaign does not");
    return world;
}

static struct world *one_that_was_cut_off_comes_back_without_an_election(uint64_t seed)
{
    int leader;
    struct world *world = settled_world(seed, 3 + 2 * (int)(seed % 2), &leader);
    uint64_t term = world->nodes[leader].raft.term;
    int away = (leader + 1) % 3;
    world_isolate(world, away, true);
    world_run_until(world, world->now_us + 20 * WORLD_ELECTION_US);
    world_isolate(world, away, false);
    world_run_until(world, world->now_us + 10 * WORLD_ELECTION_US);
    must_lead_still(world, leader, term);
    return world;
}

/* November 2020: the links of the leader fail one by one and not those of the others, so
 * that some hear it and some do not. */
static struct world *five_are_partly_connected(uint64_t seed)
{
    int leader;
    struct world *world = settled_world(seed, 5, &leader);
    int lost = 1 + (int)(seed % 4);
    uint64_t before_idx = world->ledger.committed_idx;
    for (int i = 1; i <= lost; i++) {
        world_cut(world, leader, (leader + i) % 5, true);
        world_cut(world, (leader + i) % 5, leader, true);
    }
    uint64_t term = world->nodes[leader].raft.term;
    world_run_until(world, world->now_us + 10 * WORLD_ELECTION_US);
    must(world, world->ledger.committed_idx > before_idx + 100, "a group with a connected majority stands still");
    if (lost <= 2)
        must_lead_still(world, leader, term); /* it still has a quorum */
    else
        must(world, world_leader(world) != leader, "a leader without a quorum stays");
    return world;
}

/* It is heard by all and hears nobody: its campaigns must unseat no one. */
static struct world *a_deaf_follower(uint64_t seed)
{
    int leader;
    struct world *world = settled_world(seed, 3, &leader);
    uint64_t term = world->nodes[leader].raft.term;
    int deaf = (leader + 1) % 3;
    for (int i = 0; i < WORLD_NODES_MAX; i++)
        world_cut(world, i, deaf, true);
    world_run_until(world, world->now_us + 20 * WORLD_ELECTION_US);
    must_lead_still(world, leader, term);
    return world;
}

/* They would follow it for ever. */
static struct world *a_deaf_leader_makes_way(uint64_t seed)
{
    int leader;
    struct world *world = settled_world(seed, 3, &leader);
    for (int i = 0; i < WORLD_NODES_MAX; i++)
        world_cut(world, i, leader, true);
    uint64_t before_idx = world->ledger.committed_idx;
    world_run_until(world, world->now_us + 10 * WORLD_ELECTION_US);
    must(world, world->ledger.committed_idx > before_idx + 50, "nobody takes the place of a leader that hears nobody");
    must(world, world_leader(world) != leader, "a leader that hears nobody stays");
    return world;
}

/* With nobody to follow it, it must not go on for ever as if it led. */
static struct world *a_leader_alone_steps_down(uint64_t seed)
{
    int leader;
    struct world *world = settled_world(seed, 5, &leader);
    world_isolate(world, leader, true);
    world_run_until(world, world->now_us + 3 * WORLD_ELECTION_US);
    must(world, world->nodes[leader].raft.role != RAFT_LEADER, "a leader that is cut off still thinks that it leads");
    return world;
}

/* The third hears both, and keeps to the one it follows. */
static struct world *two_that_do_not_hear_each_other_do_not_take_turns(uint64_t seed)
{
    int leader;
    struct world *world = settled_world(seed, 3, &leader);
    world->options.propose_every_us = 0;
    world_run_until(world, world->now_us + WORLD_ELECTION_US);
    uint64_t term = world->nodes[leader].raft.term;
    int other = (leader + 1) % 3;
    world_cut(world, leader, other, true);
    world_cut(world, other, leader, true);
    world_run_until(world, world->now_us + 20 * WORLD_ELECTION_US);
    must_lead_still(world, leader, term);
    return world;
}

/* ---- etcd's case of five ------------------------------------------------------------------------ */

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

/* All of the five but these hear each other. */
static void leave_all_but(struct world *world, int a, int b)
{
    for (int i = 0; i < 5; i++)
        for (int j = 0; j < 5; j++)
            world_cut(world, i, j, i == a || j == a || i == b || j == b);
}

/* The first appends two entries to the slow one alone, whose flush takes very long. */
static void begin_slow_flush(struct world *world, int first, int slow)
{
    struct world_node *node = &world->nodes[slow];
    leave_only(world, first, slow);
    node->disk_us = 1000 * WORLD_ELECTION_US;
    must(world, world_propose(world, first) && world_propose(world, first), "a leader takes no proposal");
    world_run_until(world, world->now_us + 5 * MS);
    node->flush_done_us = world->now_us + 1000 * WORLD_ELECTION_US;
    node->disk_us = 2 * MS;
}

/* The rest elects another, whose no-op reaches the slow one only. */
static int lead_second(struct world *world, int first, int slow)
{
    world_isolate(world, first, true);
    leave_all_but(world, first, slow);
    int second = first;
    while (!world->failed && (second == first || second < 0) && world->now_us < 60 * WORLD_ELECTION_US) {
        world_run_until(world, world->now_us + 50);
        second = world_leader(world);
    }
    leave_only(world, second, slow);
    world_run_until(world, world->now_us + WORLD_BEAT_US * 3);
    return second;
}

/* An entry is appended, cut for another leader's, and appended again for a third, all while
 * one flush is under way. Its completion says nothing of the entry that is there now: a
 * crash could still leave the second leader's. */
static struct world *the_same_entry_comes_again(uint64_t seed)
{
    int first;
    struct world *world = settled_world(seed, 5, &first);
    world->options.in_order = true;
    world->options.propose_every_us = 0;
    world_run_until(world, world->now_us + WORLD_ELECTION_US);
    int slow = (first + 1) % 5;
    struct world_node *node = &world->nodes[slow];
    uint64_t idx = node->log.last_idx + 2;
    begin_slow_flush(world, first, slow);
    must(world, node->log.last_idx == idx, "entries do not arrive");
    uint64_t term = node->raft.term;
    int second = lead_second(world, first, slow);
    must(world, node->log.last_idx == idx - 1, "a newer leader's entry takes no place");
    leave_only(world, second, second);
    leave_all_but(world, second, second);
    tell_to_campaign(world, first); /* in a term already used, and again */
    tell_to_campaign(world, first);
    world_run_until(world, world->now_us + WORLD_BEAT_US);
    must(world, node->log.last_idx >= idx && node->log.entries[idx].term == term,
         "the first leader does not come back");
    node->flush_done_us = world->now_us;
    world_run_until(world, world->now_us + 10);
    must(world, node->raft.flushed_idx < idx - 1, "a flush vouches for an entry that came again after a cut");
    if (seed % 2 == 0)
        world_crash(world, slow, 10 * MS);
    return world;
}

/* ---- handing over, removal ------------------------------------------------------------------- */

static struct world *leadership_moves_within_a_few_round_trips(uint64_t seed)
{
    int leader;
    struct world *world = settled_world(seed, 3, &leader);
    end_delays(world);
    for (int i = 0; i < 10 && !world->failed; i++) {
        int target = (leader_of(world) + 1) % 3;
        world_feed(world, leader_of(world),
                   (struct raft_event){.type = RAFT_EV_TRANSFER, .member = world->nodes[target].self});
        world_run_until(world, world->now_us + 25 * MS);
        must(world, world_leader(world) == target && raft_may_propose(&world->nodes[target].raft),
             "leadership is not handed over within a few round trips");
    }
    return world;
}

/* A leader that is removed, and the rest goes on at once. */
static struct world *removing_the_leader_stops_nobody_for_long(uint64_t seed)
{
    int leader;
    struct world *world = settled_world(seed, 5, &leader);
    end_delays(world);
    struct raft_seat target[4];
    uint32_t count = 0;
    for (int n = 0; n < 5; n++)
        if (n != leader)
            target[count++] = (struct raft_seat){.member = world->nodes[n].self, .kinds = RAFT_SEAT_VOTER};
    must(world, world_change(world, leader, target, count), "a leader takes no change of membership");
    int64_t until_us = world->now_us + 5 * WORLD_ELECTION_US;
    while (!world->failed && world->nodes[leader].raft.role == RAFT_LEADER && world->now_us < until_us)
        world_run_until(world, world->now_us + 1 * MS);
    must(world, world->nodes[leader].raft.role != RAFT_LEADER, "a leader that was removed stays");
    must(world, world_run_to_leader(world, world->now_us + 40 * MS) >= 0, "nobody follows a leader that was removed");
    world_run_until(world, world->now_us + WORLD_ELECTION_US);
    must(world, world->nodes[leader_of(world)].raft.config.count == 4, "the removed one is still counted");
    return world;
}

/* ---- budgets ------------------------------------------------------------------------------------- */

/* Calm weather: one append a follower an entry; when nothing is appended, beats and their answers. */
static struct world *messages_keep_to_their_budget(uint64_t seed)
{
    int leader;
    struct world *world = settled_world(seed, 3, &leader);
    end_delays(world);
    uint64_t appends = world->appends;
    uint64_t commits = world->commits;
    world_run_until(world, world->now_us + 20 * WORLD_ELECTION_US);
    must(world, world->commits - commits > 300, "too little is committed in calm weather");
    must(world, world->appends - appends <= (world->commits - commits) * 2 + 20, "entries are sent more than once");
    world->options.propose_every_us = 0;
    world_run_until(world, world->now_us + 2 * WORLD_ELECTION_US);
    uint64_t messages = world->messages;
    uint64_t beats = (uint64_t)(20 * WORLD_ELECTION_US / WORLD_BEAT_US) * 2 * 2;
    world_run_until(world, world->now_us + 20 * WORLD_ELECTION_US);
    must(world, world->messages - messages <= beats + 10, "an idle group talks too much");
    return world;
}

/* ---- all of them ----------------------------------------------------------------------------------- */

const struct world_story *world_stories(uint32_t *count)
{
    static const struct world_story stories[] = {
        {"all lose power at once", all_lose_power_at_once},
        {"disks fail", disks_fail},
        {"a slow disk leads at the speed of the others", a_slow_disk_leads_at_the_speed_of_the_others},
        {"the power fails in the middle of an overwrite", the_power_fails_in_the_middle_of_an_overwrite},
        {"the power fails for some", the_power_fails_for_some},
        {"in step", in_step},
        {"one that is stuck in a newer term is freed", one_that_is_stuck_in_a_newer_term_is_freed},
        {"one that was cut off comes back without an election", one_that_was_cut_off_comes_back_without_an_election},
        {"five are partly connected", five_are_partly_connected},
        {"a deaf follower", a_deaf_follower},
        {"a deaf leader makes way", a_deaf_leader_makes_way},
        {"a leader alone steps down", a_leader_alone_steps_down},
        {"two that do not hear each other do not take turns", two_that_do_not_hear_each_other_do_not_take_turns},
        {"the same entry comes again", the_same_entry_comes_again},
        {"leadership moves within a few round trips", leadership_moves_within_a_few_round_trips},
        {"removing the leader stops nobody for long", removing_the_leader_stops_nobody_for_long},
        {"messages keep to their budget", messages_keep_to_their_budget},
    };
    *count = sizeof stories / sizeof stories[0];
    return stories;
}

struct world *world_tell(const struct world_story *story, uint64_t seed)
{
    struct world *world = story->play(seed);
    if (!world->failed && world->options.propose_every_us == 0)
        world->propose_us = world->now_us;
    if (!world->failed)
        world_calm_down(world);
    return world;
}
