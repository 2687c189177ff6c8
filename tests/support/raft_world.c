/*
 * The model world's parts: chance, logs, network, and a replica's turn as an owner of the
 * consensus core would do it.
 */
#include "support/raft_world.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- chance, trace, failure -------------------------------------------------------- */

uint64_t world_random(struct world *world, uint64_t below)
{
    uint64_t x = world->random;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    world->random = x;
    return below == 0 ? 0 : (x * UINT64_C(0x2545f4914f6cdd1d) >> 11) % below;
}

int64_t world_takes(struct world *world, int64_t longest_us)
{
    return world->options.steady ? longest_us : (int64_t)world_random(world, (uint64_t)longest_us);
}

bool world_chance(struct world *world, uint32_t per_mille)
{
    return per_mille != 0 && world_random(world, 1000) < per_mille;
}

void world_trace(const struct world *world, int node, const char *format, ...)
{
    if (!world->trace)
        return;
    va_list args;
    va_start(args, format);
    (void)fprintf(stderr, "%9lld.%03lld n%d ", (long long)(world->now_us / 1000), (long long)(world->now_us % 1000),
                  node);
    (void)vfprintf(stderr, format, args);
    (void)fputc('\n', stderr);
    va_end(args);
}

static void show_node(const struct world *world, int n)
{
    const struct world_node *node = &world->nodes[n];
    if (!node->exists || !node->up) {
        world_trace(world, n, "%s", node->exists ? "is down" : "does not exist");
        return;
    }
    const struct raft *raft = &node->raft;
    world_trace(world, n,
                "incarnation %u role %d term %llu log %llu..%llu/%llu flushed %llu commit %llu config %llu%s%s",
                node->incarnation, (int)raft->role, (unsigned long long)raft->term, (unsigned long long)raft->base_idx,
                (unsigned long long)raft->last_idx, (unsigned long long)raft->last_term,
                (unsigned long long)raft->flushed_idx, (unsigned long long)raft->commit_idx,
                (unsigned long long)raft->config.idx, raft->failed ? " failed" : "", raft->amnesiac ? " amnesiac" : "");
    for (uint32_t i = 0; i < raft->config.count; i++)
        world_trace(world, n, "    seat n%u incarnation %u kinds %u", raft->config.seats[i].member.broker_id - 1,
                    raft->config.seats[i].member.incarnation.bytes[0], raft->config.seats[i].kinds);
}

void world_fail(struct world *world, int node, const char *format, ...)
{
    if (world->failed)
        return;
    world->failed = true;
    char text[300];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    (void)snprintf(world->failure, sizeof world->failure, "seed %llu at %lld us, node %d: %s",
                   (unsigned long long)world->options.seed, (long long)world->now_us, node, text);
    world_trace(world, node, "FAILED %s", text);
    for (int n = 0; world->trace && n < WORLD_NODES_MAX; n++)
        show_node(world, n);
}

/* ---- the model log ------------------------------------------------------------------- */

uint64_t world_term_at(const struct world_log *log, uint64_t idx)
{
    if (idx == log->base_idx)
        return log->base_term;
    return idx > log->base_idx && idx <= log->last_idx ? log->entries[idx].term : 0;
}

uint32_t world_conf_at(const struct world_log *log, uint64_t *idx)
{
    uint64_t conf_idx = *idx > log->base_idx ? log->entries[*idx].conf_idx : 0;
    if (conf_idx > log->base_idx) {
        *idx = conf_idx;
        return log->entries[conf_idx].conf;
    }
    *idx = log->base_conf_idx;
    return log->base_conf;
}

uint32_t world_conf_of(const struct world_log *log, uint64_t *idx)
{
    *idx = log->last_idx;
    return world_conf_at(log, idx);
}

void world_apply(struct world_log *log, const struct world_op *op)
{
    uint32_t before;
    switch (op->kind) {
    case OP_APPEND:
        before = op->idx > log->base_idx + 1 ? log->entries[op->idx - 1].conf_idx : 0;
        log->entries[op->idx] = op->entry;
        log->entries[op->idx].conf_idx = op->entry.conf != 0 ? (uint32_t)op->idx : before;
        log->last_idx = op->idx;
        break;
    case OP_CUT:
        log->last_idx = op->idx - 1;
        break;
    case OP_RESET:
        log->base_idx = op->idx;
        log->base_term = op->term;
        log->base_conf = op->conf;
        log->base_conf_idx = op->conf_idx;
        log->last_idx = op->idx;
        break;
    case OP_START:
        log->base_idx = op->idx;
        log->base_term = op->term;
        log->base_conf = op->conf;
        log->base_conf_idx = op->conf_idx;
        break;
    }
}

void world_do_op(struct world *world, int n, const struct world_op *op)
{
    struct world_node *node = &world->nodes[n];
    if (op->kind == OP_CUT)
        oracle_removes(world, n, op->idx, node->log.last_idx);
    if (op->kind == OP_RESET)
        oracle_removes(world, n, op->idx + 1, node->log.last_idx);
    world_apply(&node->log, op);
    if (op->kind == OP_APPEND)
        oracle_appended(world, n, op->idx);
    if (node->op_count == WORLD_OPS_MAX) {
        world_fail(world, n, "the model disk's queue is full");
        return;
    }
    node->ops[node->op_count] = *op;
    node->ops[node->op_count++].hard_version = node->hard_version;
}

uint32_t world_new_conf(struct world *world, const struct raft_config *config)
{
    if (world->conf_count + 1 >= WORLD_CONFS_MAX || config->count > WORLD_SEATS_MAX) {
        world_fail(world, -1, "too many configurations");
        return world->conf_count;
    }
    struct world_conf *conf = &world->confs[++world->conf_count];
    conf->count = config->count;
    memcpy(conf->seats, config->seats, config->count * sizeof conf->seats[0]);
    return world->conf_count;
}

/* ---- network -------------------------------------------------------------------------- */

static void put_packet(struct world *world, const struct raft_message *message, const struct world_entry *entries,
                       bool late)
{
    int slot = 0;
    while (slot < WORLD_PACKETS_MAX && world->packets[slot].used)
        slot++;
    if (slot == WORLD_PACKETS_MAX)
        return; /* lost */
    if (slot >= world->packet_top)
        world->packet_top = slot + 1;
    struct world_packet *packet = &world->packets[slot];
    packet->used = true;
    packet->to = (int)message->to.broker_id - 1;
    packet->message = *message;
    packet->at_us = world->now_us + 100 + world_takes(world, world->options.delay_us);
    int64_t *last_at_us = &world->last_at_us[message->from.broker_id - 1][packet->to];
    if (world->options.in_order && packet->at_us <= *last_at_us)
        packet->at_us = *last_at_us + 1;
    *last_at_us = packet->at_us;
    if (!world->options.in_order && world_chance(world, message->type == RAFT_MSG_RESET ? 150 : 5))
        packet->at_us += (int64_t)world_random(world, (uint64_t)WORLD_ELECTION_US);
    if (late)
        packet->at_us = world->now_us + (int64_t)world_random(world, 4 * (uint64_t)WORLD_ELECTION_US);
    if (message->type == RAFT_MSG_APPEND)
        for (uint64_t i = 0; i < message->last_idx - message->prev_idx; i++)
            packet->entries[i] = entries[i];
    if (message->config != NULL) {
        packet->conf.count = message->config->count;
        memcpy(packet->conf.seats, message->config->seats, message->config->count * sizeof packet->conf.seats[0]);
    }
}

static void post(struct world *world, int from, const struct raft_message *message, const struct world_entry *entries)
{
    oracle_leaves(world, from, message);
    world->messages++;
    world->appends += message->type == RAFT_MSG_APPEND ? 1 : 0;
    int to = (int)message->to.broker_id - 1;
    world_trace(world, from, "-> n%d type %d term %llu prev %llu/%llu last %llu match %llu commit %llu%s%s", to,
                (int)message->type, (unsigned long long)message->term, (unsigned long long)message->prev_idx,
                (unsigned long long)message->prev_term, (unsigned long long)message->last_idx,
                (unsigned long long)message->match_idx, (unsigned long long)message->commit_idx,
                message->refused ? " refused" : "", message->granted ? " granted" : "");
    if (world->cut[from][to] || world_chance(world, world->options.lost_per_mille))
        return;
    put_packet(world, message, entries, false);
    if (world_chance(world, world->options.doubled_per_mille))
        put_packet(world, message, entries, false);
    if (!world->options.in_order && world_chance(world, world->options.stale_per_mille))
        put_packet(world, message, entries, true);
}

static void hold_or_post(struct world *world, int n, const struct raft_message *message,
                         const struct world_entry *entries)
{
    struct world_node *node = &world->nodes[n];
    switch (raft_may_leave(&node->raft, message)) {
    case RAFT_DROP:
        break;
    case RAFT_LEAVE:
        post(world, n, message, entries);
        break;
    case RAFT_WAIT:
        if (node->held_count == WORLD_HELD_MAX || message->type == RAFT_MSG_RESET)
            break;
        node->held[node->held_count] = *message;
        if (message->type == RAFT_MSG_APPEND)
            memcpy(node->held_entries[node->held_count], entries, sizeof node->held_entries[0]);
        node->held_count++;
        break;
    }
}

static void release_held(struct world *world, int n)
{
    struct world_node *node = &world->nodes[n];
    uint32_t kept = 0;
    for (uint32_t i = 0; i < node->held_count; i++) {
        switch (raft_may_leave(&node->raft, &node->held[i])) {
        case RAFT_DROP:
            break;
        case RAFT_LEAVE:
            post(world, n, &node->held[i], node->held_entries[i]);
            break;
        case RAFT_WAIT:
            node->held[kept] = node->held[i];
            if (kept != i)
                memcpy(node->held_entries[kept], node->held_entries[i], sizeof node->held_entries[0]);
            kept++;
            break;
        }
    }
    node->held_count = kept;
}

/* ---- a replica's turn ------------------------------------------------------------------ */

static void save_hard(struct world *world, int n)
{
    struct world_node *node = &world->nodes[n];
    uint64_t version = ++node->hard_version;
    raft_saving(&node->raft, version);
    if (node->disk_failed)
        return;
    if (node->hard_count == WORLD_HARDS_MAX) {
        world_fail(world, n, "too many hard states in a short time");
        return;
    }
    /* The hint outruns neither what is durable nor a cut on its way to the disk. */
    uint64_t sure_idx = node->raft.flushed_idx < node->raft.commit_idx ? node->raft.flushed_idx : node->raft.commit_idx;
    int64_t after = node->hard_count > 0 ? node->hards[node->hard_count - 1].done_us : world->now_us;
    node->hards[node->hard_count++] = (struct world_hard){.version = version,
                                                          .term = node->raft.term,
                                                          .vote = node->raft.vote,
                                                          .commit_idx = sure_idx,
                                                          .done_us = after + 50 + world_takes(world, node->disk_us)};
}

static void take_out(struct world *world, int n, const struct raft_out *out, const struct world_packet *packet)
{
    struct world_node *node = &world->nodes[n];
    if (out->violation)
        world_fail(world, n, "says that a message breaks the protocol");
    if (out->save_hard_state)
        save_hard(world, n);
    if (out->truncate) {
        node->cuts++;
        world->cuts++;
        world_do_op(world, n, &(struct world_op){.kind = OP_CUT, .idx = out->truncate_idx});
        if (world_chance(world, world->options.crash_after_cut_per_mille))
            node->doom_us = world->now_us + 1 + (int64_t)world_random(world, 10000);
    }
    if (out->accept)
        for (uint64_t i = out->accept_first; i <= out->accept_last && !world->failed; i++)
            world_do_op(world, n,
                        &(struct world_op){
                            .kind = OP_APPEND, .idx = i, .entry = packet->entries[i - packet->message.prev_idx - 1]});
    if (out->reset) {
        node->cuts++;
        world->resets++;
        uint32_t conf = world_new_conf(world, packet->message.config);
        world_do_op(world, n,
                    &(struct world_op){.kind = OP_RESET,
                                       .idx = packet->message.prev_idx,
                                       .term = packet->message.prev_term,
                                       .conf = conf,
                                       .conf_idx = packet->message.prev_idx});
    }
    if (out->role_changed) {
        world_trace(world, n, "role %d term %llu last %llu commit %llu", (int)node->raft.role,
                    (unsigned long long)node->raft.term, (unsigned long long)node->raft.last_idx,
                    (unsigned long long)node->raft.commit_idx);
        node->read_count = 0;
        node->leave_wanted = false;
        node->noop_wanted = false;
    }
    node->noop_wanted = node->noop_wanted || out->append_noop;
    node->leave_wanted = node->leave_wanted || out->leave_joint;
    if (out->transfer_ended || node->raft.role != RAFT_LEADER)
        node->hands_over_us = 0;
    if (out->reads_good != 0)
        oracle_reads(world, n, out->reads_good);
    if (out->has_reply)
        hold_or_post(world, n, &out->reply, NULL);
}

bool world_step(struct world *world, int n, struct raft_event event, const struct world_packet *packet)
{
    struct world_node *node = &world->nodes[n];
    struct raft_out out;
    event.now_us = world->now_us;
    bool failed = node->raft.failed;
    raft_step(&node->raft, &event, &out);
    if (failed)
        oracle_silent(world, n, &out);
    if (event.type == RAFT_EV_READ && out.read_ticket != 0 && node->read_count < WORLD_READS_MAX) {
        node->reads[node->read_count++] = (struct world_read){.ticket = out.read_ticket,
                                                              .read_idx = out.read_idx,
                                                              .must_idx = world->ledger.committed_idx,
                                                              .at_us = world->now_us};
    }
    if (event.type == RAFT_EV_TRANSFER && node->raft.role == RAFT_LEADER)
        node->hands_over_us = world->now_us + node->raft.election_us;
    if (event.type == RAFT_EV_MESSAGE && event.message->type == RAFT_MSG_VOTE && out.has_reply && out.reply.granted)
        oracle_grants(world, n, event.message);
    take_out(world, n, &out, packet);
    if (out.may_pardon) {
        oracle_pardons(world, n);
        world_step(world, n, (struct raft_event){.type = RAFT_EV_PARDON}, NULL);
    }
    oracle_after_event(world, n);
    return out.again;
}

bool world_append_own(struct world *world, int n, const struct raft_config *config)
{
    struct world_node *node = &world->nodes[n];
    uint64_t idx = node->log.last_idx + 1;
    if (node->disk_failed || idx + 64 >= WORLD_LOG_MAX)
        return false;
    if (config != NULL)
        oracle_reconfigures(world, n, config);
    struct world_entry entry = {.term = node->raft.term,
                                .content = ++world->contents,
                                .conf = config != NULL ? world_new_conf(world, config) : 0};
    world_do_op(world, n, &(struct world_op){.kind = OP_APPEND, .idx = idx, .entry = entry});
    struct raft_config named = {0};
    if (config != NULL) {
        named = *config;
        named.idx = idx;
    }
    world_step(world, n,
               (struct raft_event){.type = RAFT_EV_APPENDED,
                                   .term = entry.term,
                                   .idx = idx,
                                   .bytes = WORLD_ENTRY_BYTES,
                                   .config = config != NULL ? &named : NULL},
               NULL);
    return true;
}

/* Fills an append with entries, as an owner does. */
static void send_append(struct world *world, int n, struct raft_message *message)
{
    struct world_node *node = &world->nodes[n];
    struct world_entry entries[WORLD_BATCH_MAX];
    const struct world_log *log = &node->log;
    if (message->prev_idx < log->base_idx || message->last_idx > log->last_idx) {
        world_fail(world, n, "asks for entries that the log does not have");
        return;
    }
    uint64_t idx = message->prev_idx;
    uint32_t bytes = 0;
    bool nothing = world_chance(world, world->options.nothing_per_mille);
    if (nothing && message->last_idx > idx && world_chance(world, 500)) {
        node->supply_us = world->now_us + 1 + (int64_t)world_random(world, (uint64_t)WORLD_BEAT_US);
        node->supply_to = message->to;
    }
    while (!nothing && idx < message->last_idx && idx - message->prev_idx < WORLD_BATCH_MAX) {
        const struct world_entry *entry = &log->entries[idx + 1];
        if (message->entry_term == 0)
            message->entry_term = entry->term;
        if (entry->term != message->entry_term || (bytes > 0 && bytes + WORLD_ENTRY_BYTES > message->limit_bytes))
            break;
        entries[idx - message->prev_idx] = *entry;
        bytes += WORLD_ENTRY_BYTES;
        idx++;
        if (entry->conf != 0)
            break;
    }
    if (message->last_idx > message->prev_idx) {
        raft_sent(&node->raft, message, idx, bytes);
        if (idx == message->prev_idx)
            return;
    }
    message->last_idx = idx;
    hold_or_post(world, n, message, entries);
}

static void start_flush(struct world *world, int n)
{
    struct world_node *node = &world->nodes[n];
    if (node->flush_ops != 0 || node->op_count == 0 || node->disk_failed)
        return;
    node->flush_ops = node->op_count;
    node->flush_idx = node->log.last_idx;
    node->flush_term = world_term_at(&node->log, node->log.last_idx);
    node->flush_cuts = node->cuts;
    node->flush_done_us = world->now_us + 50 + world_takes(world, node->disk_us);
    if (node->flush_us != 0)
        node->flush_done_us += (int64_t)world_random(world, (uint64_t)node->flush_us);
    if (world->options.interval && !world->options.steady)
        node->flush_done_us += (int64_t)world_random(world, 2 * WORLD_BEAT_US);
}

void world_end_turn(struct world *world, int n)
{
    struct world_node *node = &world->nodes[n];
    node->drain_us = RAFT_NEVER_US;
    if (node->noop_wanted && node->raft.role == RAFT_LEADER && world_append_own(world, n, NULL))
        node->noop_wanted = false;
    if (node->leave_wanted && node->raft.role == RAFT_LEADER) {
        struct raft_seat seats[WORLD_SEATS_MAX];
        struct raft_config entry = {.seats = seats};
        raft_make_leave(&node->raft, &entry);
        if (world_append_own(world, n, &entry))
            node->leave_wanted = false;
    }
    struct raft_message message;
    while (!world->failed && raft_take_message(&node->raft, &message)) {
        if (message.prev_idx != 0 && message.prev_term == 0)
            message.prev_term = world_term_at(&node->log, message.prev_idx);
        if (message.type == RAFT_MSG_APPEND)
            send_append(world, n, &message);
        else
            hold_or_post(world, n, &message, NULL);
    }
    release_held(world, n);
    start_flush(world, n);
    oracle_after_event(world, n);
}

/* As an owner does that needs room for more members. */
static void move_seats(struct world *world, int n)
{
    struct world_node *node = &world->nodes[n];
    int to = 1 - node->memory_at;
    void *old = raft_grow(&node->raft, node->memory[to], sizeof node->memory[to]);
    if (old != node->memory[node->memory_at])
        world_fail(world, n, "gives back memory that is not its own");
    memset(node->memory[node->memory_at], 0xa5, sizeof node->memory[0]);
    node->memory_at = to;
}

/* A turn takes what came; sometimes it goes on for a while before it sends. */
void world_turn(struct world *world, int n)
{
    struct world_node *node = &world->nodes[n];
    if (world->failed || !node->up)
        return;
    release_held(world, n);
    if (world_chance(world, 2))
        move_seats(world, n);
    if (world_chance(world, world->options.slow_turns_per_mille)) {
        if (node->drain_us == RAFT_NEVER_US)
            node->drain_us = world->now_us + (int64_t)world_random(world, 3000);
        return;
    }
    world_end_turn(world, n);
}
