/*
 * The model world as it runs: disks, deaths and births, what tests ask of replicas, and
 * the loop over whatever is due next.
 */
#include "support/raft_world.h"

#include <stdlib.h>
#include <string.h>

/* ---- disk ------------------------------------------------------------------------------ */

/* A cut waits for the hard states that were handed out before it: what it cuts may be all
 * that tells of a term. How many of the first so many operations need not wait. */
static uint32_t ready_ops(const struct world_node *node, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        if ((node->ops[i].kind == OP_CUT || node->ops[i].kind == OP_RESET) &&
            node->ops[i].hard_version > node->hard.version)
            return i;
    return count;
}

static void apply_ops(struct world_node *node, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        world_apply(&node->disk, &node->ops[i]);
    memmove(node->ops, node->ops + count, (node->op_count - count) * sizeof node->ops[0]);
    node->op_count -= count;
}

static bool crashes_here(struct world *world, int n)
{
    world->persists++;
    bool crash = world->persists == world->options.crash_at_persist ||
                 world_chance(world, world->options.crash_per_persist_per_mille);
    if (crash)
        world_crash(world, n, (int64_t)world_random(world, (uint64_t)WORLD_ELECTION_US * 3));
    return crash;
}

static void flush_done(struct world *world, int n)
{
    struct world_node *node = &world->nodes[n];
    if (ready_ops(node, node->flush_ops) < node->flush_ops) {
        node->flush_done_us = world->now_us + 200;
        return;
    }
    if (crashes_here(world, n))
        return;
    apply_ops(node, node->flush_ops);
    node->flush_ops = 0;
    if (crashes_here(world, n))
        return;
    world_step(world, n,
               (struct raft_event){
                   .type = RAFT_EV_FLUSHED, .term = node->flush_term, .idx = node->flush_idx, .cuts = node->flush_cuts},
               NULL);
    world_turn(world, n);
}

static void hard_done(struct world *world, int n)
{
    struct world_node *node = &world->nodes[n];
    if (crashes_here(world, n))
        return;
    node->hard = node->hards[0];
    memmove(node->hards, node->hards + 1, (node->hard_count - 1) * sizeof node->hards[0]);
    node->hard_count--;
    if (crashes_here(world, n))
        return;
    world_step(world, n, (struct raft_event){.type = RAFT_EV_HARD_STATE, .version = node->hard.version}, NULL);
    world_turn(world, n);
}

/* ---- life and death --------------------------------------------------------------------- */

static void start_node(struct world *world, int n)
{
    struct world_node *node = &world->nodes[n];
    static struct raft_run runs[WORLD_LOG_MAX];
    uint32_t run_count = 0;
    node->log = node->disk;
    const struct world_log *log = &node->log;
    for (uint64_t i = log->base_idx + 1; i <= log->last_idx; i++)
        if (run_count == 0 || runs[run_count - 1].term != log->entries[i].term)
            runs[run_count++] = (struct raft_run){.term = log->entries[i].term, .first_idx = i};
    uint64_t conf_idx;
    struct world_conf *conf = &world->confs[world_conf_of(log, &conf_idx)];
    uint64_t before_idx = conf_idx > log->base_idx ? conf_idx - 1 : log->base_conf_idx;
    struct world_conf *before =
        &world->confs[conf_idx > log->base_idx ? world_conf_at(log, &before_idx) : log->base_conf];
    node->boots++;
    node->up = true;
    node->memory_at = 0;
    node->troubled_us = world->now_us;
    node->seen_led_term = 0;
    node->hands_over_us = 0;
    node->cuts = 0;
    node->seen_commit = 0;
    node->drain_us = RAFT_NEVER_US;
    uint64_t commit_idx = node->hard.commit_idx < log->last_idx ? node->hard.commit_idx : log->last_idx;
    struct raft_start start = {
        .self = node->self,
        .memory = node->memory[0],
        .memory_bytes = sizeof node->memory[0],
        .config = {.idx = conf_idx, .count = conf->count, .seats = conf->seats},
        .before = {.idx = before_idx, .count = before->count, .seats = before->seats},
        .commits_unflushed = world->options.interval,
        .amnesiac = node->amnesiac,
        .rank = world->options.steady ? 0 : (uint8_t)world_random(world, 3),
        .boot = world->options.interval ? node->boots : 0,
        .term = node->hard.term,
        .vote = node->hard.vote,
        .base_idx = log->base_idx,
        .base_term = log->base_term,
        .last_idx = log->last_idx,
        .last_term = world_term_at(log, log->last_idx),
        .runs = runs,
        .run_count = run_count,
        .runs_max = world->options.runs_max,
        .commit_idx = commit_idx > log->base_idx ? commit_idx : log->base_idx,
        .now_us = world->now_us,
        .seed = world_random(world, UINT64_MAX),
        .election_us = WORLD_ELECTION_US,
        .beat_us = WORLD_BEAT_US,
        .window_bytes = 20 * WORLD_ENTRY_BYTES,
        .message_bytes = 5 * WORLD_ENTRY_BYTES,
        .max_uncommitted_bytes = 60 * WORLD_ENTRY_BYTES,
    };
    raft_init(&node->raft, &start);
    world_trace(world, n, "starts, term %llu last %llu", (unsigned long long)node->raft.term,
                (unsigned long long)node->raft.last_idx);
    oracle_restarted(world, n);
}

static void go_down(struct world *world, int n, int64_t down_us, uint32_t ops, uint32_t hards)
{
    struct world_node *node = &world->nodes[n];
    node->amnesiac = node->raft.amnesiac;
    if (hards > 0)
        node->hard = node->hards[hards - 1];
    apply_ops(node, ready_ops(node, ops));
    world_trace(world, n, "crashes, disk has %llu", (unsigned long long)node->disk.last_idx);
    node->up = false;
    node->disk_failed = false;
    node->op_count = 0;
    node->flush_ops = 0;
    node->hard_count = 0;
    node->held_count = 0;
    node->read_count = 0;
    node->noop_wanted = false;
    node->leave_wanted = false;
    node->restart_us = world->now_us + down_us;
    node->paused_us = 0;
    node->doom_us = 0;
    node->supply_us = 0;
    memset(node->memory, 0xa5, sizeof node->memory);
    memset(&node->raft, 0xa5, sizeof node->raft);
}

/* Of what was on its way to the disk the first so many are there: often none. */
static uint32_t arrived(struct world *world, uint32_t count)
{
    return world->options.lose_all || world_chance(world, 300) ? 0 : (uint32_t)world_random(world, count + 1);
}

void world_crash(struct world *world, int n, int64_t down_us)
{
    struct world_node *node = &world->nodes[n];
    if (!node->up)
        return;
    uint32_t ops = node->op_count;
    if (!world->options.interval || node->disk_failed)
        ops = arrived(world, node->op_count);
    go_down(world, n, down_us, ops, arrived(world, node->hard_count));
}

void world_power_cut(struct world *world, int n, int64_t down_us)
{
    struct world_node *node = &world->nodes[n];
    if (!node->up)
        return;
    go_down(world, n, down_us, arrived(world, node->op_count), arrived(world, node->hard_count));
    node->amnesiac = world->options.interval;
    for (int i = 0; i < world->packet_top && !world->options.in_order; i++) { /* what it said last comes late */
        struct world_packet *packet = &world->packets[i];
        if (packet->used && raft_member_equal(&packet->message.from, &node->self) && world_chance(world, 500))
            packet->at_us += (int64_t)world_random(world, 2 * (uint64_t)WORLD_BEAT_US);
    }
}

void world_pause(struct world *world, int n, int64_t us)
{
    struct world_node *node = &world->nodes[n];
    if (node->up && node->paused_us == 0)
        node->paused_us = world->now_us + us;
    node->troubled_us = world->now_us;
}

void world_fail_disk(struct world *world, int n)
{
    struct world_node *node = &world->nodes[n];
    if (!node->up || node->disk_failed)
        return;
    node->disk_failed = true;
    world_step(world, n, (struct raft_event){.type = RAFT_EV_DISK_FAILED}, NULL);
    world_turn(world, n);
}

void world_wipe(struct world *world, int n)
{
    struct world_node *node = &world->nodes[n];
    if (world->incarnations + 1 >= WORLD_INCARNATIONS_MAX)
        return;
    if (node->up)
        go_down(world, n, 0, 0, 0);
    uint64_t boots = node->boots;
    *node = (struct world_node){.exists = true, .boots = boots, .disk_us = 2000, .drain_us = RAFT_NEVER_US};
    node->incarnation = ++world->incarnations;
    node->self = (struct raft_member){.broker_id = (uint32_t)n + 1};
    node->self.incarnation.bytes[0] = (uint8_t)node->incarnation;
    node->disk.base_conf = 1; /* the group's first: it does not name this incarnation */
    start_node(world, n);
}

void world_cut(struct world *world, int from, int to, bool cut)
{
    if (world->cut[from][to] != cut)
        world->cut_us[from][to] = world->now_us;
    world->cut[from][to] = cut;
}

void world_isolate(struct world *world, int node, bool cut)
{
    for (int i = 0; i < WORLD_NODES_MAX; i++) {
        world_cut(world, i, node, cut);
        world_cut(world, node, i, cut);
    }
}

void world_heal(struct world *world)
{
    for (int n = 0; n < WORLD_NODES_MAX; n++)
        world_isolate(world, n, false);
    world->options.lost_per_mille = 0;
    world->options.doubled_per_mille = 0;
    world->options.in_order = true;
    world->options.stale_per_mille = 0;
    world->options.start_per_mille = 0;
    world->options.change_per_mille = 0;
    for (int i = 0; i < world->packet_top; i++) /* what was delayed for long is lost */
        world->packets[i].used = world->packets[i].used && world->packets[i].at_us < world->now_us + WORLD_ELECTION_US;
    world->options.delay_us = 1000;
    world->options.crash_per_persist_per_mille = 0;
    world->options.crash_after_cut_per_mille = 0;
    world->options.unreadable_per_mille = 0;
    world->options.nothing_per_mille = 0;
    world->options.crash_at_persist = 0;
    for (int n = 0; n < WORLD_NODES_MAX && !world->failed; n++) {
        struct world_node *node = &world->nodes[n];
        if (!node->exists)
            continue;
        node->disk_us = 1000;
        node->flush_us = 0;
        if (node->flush_done_us > world->now_us + 1000)
            node->flush_done_us = world->now_us + 1000;
        if (node->paused_us != 0)
            node->troubled_us = world->now_us;
        node->paused_us = 0;
        if (node->up && node->disk_failed)
            world_crash(world, n, 0);
        if (!node->up)
            start_node(world, n);
    }
}

/* ---- what tests ask of replicas ------------------------------------------------------------ */

void world_feed(struct world *world, int n, struct raft_event event)
{
    if (world->failed || !world->nodes[n].up)
        return;
    world_step(world, n, event, NULL);
    world_turn(world, n);
}

bool world_propose(struct world *world, int n)
{
    struct world_node *node = &world->nodes[n];
    if (world->failed || !node->up || !raft_has_room(&node->raft, WORLD_ENTRY_BYTES))
        return false;
    oracle_proposes(world, n);
    if (!world_append_own(world, n, NULL))
        return false;
    world_turn(world, n);
    return true;
}

bool world_change(struct world *world, int n, const struct raft_seat *target, uint32_t count)
{
    struct world_node *node = &world->nodes[n];
    struct raft_seat seats[WORLD_SEATS_MAX];
    struct raft_config entry = {.seats = seats};
    if (world->failed || !node->up || !raft_may_change(&node->raft) ||
        !raft_make_change(&node->raft, target, count, &entry))
        return false;
    world_trace(world, n, "changes membership to %u seats", count);
    if (!world_append_own(world, n, &entry))
        return false;
    world_turn(world, n);
    return true;
}

void world_move_start(struct world *world, int n, uint64_t idx)
{
    struct world_node *node = &world->nodes[n];
    if (world->failed || !node->up || node->disk_failed || idx > node->raft.commit_idx || idx <= node->log.base_idx)
        return;
    uint64_t conf_idx = idx;
    uint64_t term = world_term_at(&node->log, idx);
    uint32_t conf = world_conf_at(&node->log, &conf_idx);
    world_do_op(world, n,
                &(struct world_op){.kind = OP_START, .idx = idx, .term = term, .conf = conf, .conf_idx = conf_idx});
    world_step(world, n, (struct raft_event){.type = RAFT_EV_LOG_START, .idx = idx, .term = term}, NULL);
    world_turn(world, n);
}

void world_read(struct world *world, int n)
{
    world_feed(world, n, (struct raft_event){.type = RAFT_EV_READ});
}

int world_leader(const struct world *world)
{
    int leader = -1;
    for (int n = 0; n < WORLD_NODES_MAX; n++)
        if (world->nodes[n].up && world->nodes[n].raft.role == RAFT_LEADER &&
            (leader < 0 || world->nodes[n].raft.term > world->nodes[leader].raft.term))
            leader = n;
    return leader;
}

bool world_settled(const struct world *world)
{
    int leader = world_leader(world);
    if (leader < 0 || !raft_may_propose(&world->nodes[leader].raft))
        return false;
    const struct raft *raft = &world->nodes[leader].raft;
    if (raft_config_is_joint(&raft->config) || raft->config.idx > raft->commit_idx)
        return false;
    for (uint32_t i = 0; i < raft->config.count; i++) {
        const struct raft_member *member = &raft->config.seats[i].member;
        const struct world_node *node = &world->nodes[member->broker_id - 1];
        if (!raft_member_equal(&node->self, member))
            continue; /* wiped: this one will not come back */
        if (!node->up || node->raft.commit_idx < world->ledger.committed_idx || node->raft.leader.broker_id == 0)
            return false;
    }
    return true;
}

/* ---- the loop ----------------------------------------------------------------------------- */

/* What an owner says of its log and of the message, for an append. Sometimes its log cannot
 * be read there. */
static void ask_log(struct world *world, const struct world_node *node, const struct world_packet *packet,
                    struct raft_event *event, struct raft_config *config)
{
    const struct raft_message *message = &packet->message;
    uint64_t same = message->prev_idx;
    while (same < message->last_idx && same < node->log.last_idx && same >= node->log.base_idx &&
           node->log.entries[same + 1].term == message->entry_term)
        same++;
    event->log_prev_term =
        world_chance(world, world->options.unreadable_per_mille) ? 0 : world_term_at(&node->log, message->prev_idx);
    event->log_same_idx = same;
    for (uint64_t i = message->prev_idx + 1; i <= message->last_idx; i++) {
        uint32_t conf = packet->entries[i - message->prev_idx - 1].conf;
        if (conf == 0)
            continue;
        *config = (struct raft_config){.idx = i, .count = world->confs[conf].count, .seats = world->confs[conf].seats};
        event->config = config;
    }
}

static void deliver(struct world *world, int slot)
{
    struct world_packet packet = world->packets[slot];
    world->packets[slot].used = false;
    while (world->packet_top > 0 && !world->packets[world->packet_top - 1].used)
        world->packet_top--;
    struct world_node *node = &world->nodes[packet.to];
    if (!node->up)
        return;
    if (raft_member_equal(&packet.message.from, &world->nodes[packet.message.from.broker_id - 1].self))
        node->heard_us[packet.message.from.broker_id - 1] = world->now_us;
    struct raft_config config = {.idx = 0, .count = packet.conf.count, .seats = packet.conf.seats};
    struct raft_event event = {.type = RAFT_EV_MESSAGE, .message = &packet.message};
    if (packet.message.type == RAFT_MSG_RESET) {
        packet.message.config = &config;
        event.log_prev_term = world_term_at(&node->log, packet.message.prev_idx);
    }
    if (packet.message.type == RAFT_MSG_APPEND)
        ask_log(world, node, &packet, &event, &config);
    event.cut_alone = packet.message.type == RAFT_MSG_APPEND && world_chance(world, 300);
    if (world_step(world, packet.to, event, &packet) && !world->failed) {
        ask_log(world, node, &packet, &event, &config);
        event.cut_alone = false;
        (void)world_step(world, packet.to, event, &packet);
    }
    world_turn(world, packet.to);
}

/* Only while a majority remembers without it. */
bool world_may_cut_power(const struct world *world)
{
    int forgot = 1;
    for (int n = 0; n < WORLD_NODES_MAX; n++) {
        const struct world_node *node = &world->nodes[n];
        forgot +=
            node->exists && (node->amnesiac || (node->up && (node->raft.amnesiac || node->raft.pardoned))) ? 1 : 0;
    }
    return world->options.interval && 2 * (world->options.node_count - forgot) > world->options.node_count;
}

/* Soon after it cut its log: what was cut and what came in its place may both be on their way to the disk. */
static void doom(struct world *world, int n)
{
    int64_t down_us = (int64_t)world_random(world, 4000);
    world->nodes[n].doom_us = 0;
    if (world_may_cut_power(world))
        world_power_cut(world, n, down_us);
    else
        world_crash(world, n, down_us);
}

enum due {
    DUE_NOTHING,
    DUE_PACKET,
    DUE_FLUSH,
    DUE_HARD,
    DUE_TICK,
    DUE_DRAIN,
    DUE_START,
    DUE_WAKE,
    DUE_PROPOSE,
    DUE_DOOM,
    DUE_SUPPLY
};

struct next_due {
    enum due what;
    int64_t at_us;
    int which;
};

static void sooner(struct next_due *next, enum due what, int64_t at_us, int which)
{
    if (at_us < next->at_us)
        *next = (struct next_due){.what = what, .at_us = at_us, .which = which};
}

static struct next_due find_next(const struct world *world)
{
    struct next_due next = {.what = DUE_NOTHING, .at_us = INT64_MAX};
    for (int i = 0; i < world->packet_top; i++)
        if (world->packets[i].used && world->nodes[world->packets[i].to].paused_us == 0)
            sooner(&next, DUE_PACKET, world->packets[i].at_us, i);
    for (int n = 0; n < WORLD_NODES_MAX; n++) {
        const struct world_node *node = &world->nodes[n];
        if (!node->exists)
            continue;
        if (!node->up) {
            sooner(&next, DUE_START, node->restart_us, n);
            continue;
        }
        if (node->paused_us != 0) {
            sooner(&next, DUE_WAKE, node->paused_us, n);
            continue;
        }
        if (node->flush_ops != 0 && !node->disk_failed)
            sooner(&next, DUE_FLUSH, node->flush_done_us, n);
        if (node->hard_count > 0 && !node->disk_failed)
            sooner(&next, DUE_HARD, node->hards[0].done_us, n);
        sooner(&next, DUE_TICK, raft_deadline_us(&node->raft), n);
        sooner(&next, DUE_DRAIN, node->drain_us, n);
        if (node->doom_us != 0)
            sooner(&next, DUE_DOOM, node->doom_us, n);
        if (node->supply_us != 0)
            sooner(&next, DUE_SUPPLY, node->supply_us, n);
    }
    if (world->options.propose_every_us > 0)
        sooner(&next, DUE_PROPOSE, world->propose_us, -1);
    return next;
}

/* Retention that keeps next to nothing. */
static void give_up(struct world *world, int n)
{
    uint64_t keep = world_random(world, 4);
    if (world->nodes[n].up && world->nodes[n].raft.commit_idx > keep)
        world_move_start(world, n, world->nodes[n].raft.commit_idx - keep);
}

static void propose_somewhere(struct world *world)
{
    world->propose_us = world->now_us + 1 + (int64_t)world_random(world, 2 * (uint64_t)world->options.propose_every_us);
    if (world_chance(world, world->options.change_per_mille))
        world_change_somehow(world);
    for (int n = 0; n < WORLD_NODES_MAX; n++) {
        if (world->nodes[n].paused_us != 0)
            continue;
        world_feed(world, n, (struct raft_event){.type = RAFT_EV_WANT_LEAD});
        if (world->nodes[n].up && world->nodes[n].raft.role == RAFT_LEADER) {
            (void)world_propose(world, n);
            if (world_chance(world, 300))
                world_read(world, n);
        }
        if (world_chance(world, world->options.start_per_mille))
            give_up(world, n);
    }
}

static void happen(struct world *world, const struct next_due *next)
{
    if (next->at_us > world->now_us)
        world->now_us = next->at_us;
    world->events++;
    switch (next->what) {
    case DUE_NOTHING:
        break;
    case DUE_PACKET:
        deliver(world, next->which);
        break;
    case DUE_FLUSH:
        flush_done(world, next->which);
        break;
    case DUE_HARD:
        hard_done(world, next->which);
        break;
    case DUE_TICK:
        world_step(world, next->which, (struct raft_event){.type = RAFT_EV_TICK}, NULL);
        world_turn(world, next->which);
        if (raft_deadline_us(&world->nodes[next->which].raft) <= world->now_us)
            world_fail(world, next->which, "its deadline does not move on");
        break;
    case DUE_DRAIN:
        world_end_turn(world, next->which);
        break;
    case DUE_START:
        start_node(world, next->which);
        break;
    case DUE_WAKE:
        world->nodes[next->which].paused_us = 0;
        world->nodes[next->which].troubled_us = world->now_us;
        world_read(world, next->which);
        break;
    case DUE_PROPOSE:
        propose_somewhere(world);
        break;
    case DUE_DOOM:
        doom(world, next->which);
        break;
    case DUE_SUPPLY:
        world->nodes[next->which].supply_us = 0;
        world_feed(world, next->which,
                   (struct raft_event){.type = RAFT_EV_SUPPLY, .member = world->nodes[next->which].supply_to});
        break;
    }
}

void world_run_until(struct world *world, int64_t us)
{
    while (!world->failed) {
        struct next_due next = find_next(world);
        if (next.at_us > us)
            break;
        happen(world, &next);
    }
    if (us > world->now_us)
        world->now_us = us;
}

int world_run_to_leader(struct world *world, int64_t until_us)
{
    while (!world->failed) {
        int leader = world_leader(world);
        if (leader >= 0 && raft_may_propose(&world->nodes[leader].raft))
            return leader;
        struct next_due next = find_next(world);
        if (next.at_us > until_us)
            break;
        happen(world, &next);
    }
    return -1;
}

struct world *world_new(const struct world_options *options)
{
    struct world *world = calloc(1, sizeof *world);
    if (world == NULL)
        abort();
    world->options = *options;
    if (world->options.brokers == 0)
        world->options.brokers = WORLD_NODES_MAX;
    world->random = (options->seed + 1) * UINT64_C(0x9e3779b97f4a7c15) | 1;
    world->trace = getenv("RAFT_TRACE") != NULL;
    world->incarnations = 0;
    struct raft_seat seats[WORLD_SEATS_MAX];
    for (int n = 0; n < options->node_count; n++) {
        struct world_node *node = &world->nodes[n];
        node->exists = true;
        node->disk_us = options->interval ? WORLD_INTERVAL_US : 2000;
        node->incarnation = ++world->incarnations;
        node->self = (struct raft_member){.broker_id = (uint32_t)n + 1};
        node->self.incarnation.bytes[0] = (uint8_t)node->incarnation;
        node->disk.base_conf = 1;
        seats[n] = (struct raft_seat){.member = node->self, .kinds = RAFT_SEAT_VOTER};
    }
    (void)world_new_conf(world, &(struct raft_config){.count = (uint32_t)options->node_count, .seats = seats});
    for (int n = 0; n < options->node_count; n++)
        start_node(world, n);
    return world;
}

void world_free(struct world **world)
{
    free(*world);
    *world = NULL;
}
