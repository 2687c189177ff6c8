#include "support/group_rig.h"

#include "base/clock.h"
#include "base/crc32c.h"
#include "base/logger.h"
#include "base/require.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FILE_BYTES_MAX = 1 << 20, ELECTION_US = 200000, BEAT_US = 40000 };

/* On its way. */
struct wire {
    int64_t at_us;
    int from;
    int to;
    struct packet *packet; /* not NULL: old entries, read when they are sent */
    struct parcel *parcel;
};

/* ---- chance and failure ------------------------------------------------------------- */

uint64_t group_random(struct group *group, uint64_t below)
{
    uint64_t x = group->random;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    group->random = x;
    return below == 0 ? 0 : (x * UINT64_C(0x2545f4914f6cdd1d) >> 11) % below;
}

void group_fail(struct group *group, const char *format, ...)
{
    if (group->failed)
        return;
    group->failed = true;
    char text[GROUP_FAILURE_BYTES - 60];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    (void)snprintf(group->failure, sizeof group->failure, "seed %llu at %lld ms: %s", (unsigned long long)group->seed,
                   (long long)(group->now_us / 1000), text);
}

/* ---- packets into parcels -------------------------------------------------------------- */

struct own_parcel {
    struct parcel parcel; /* first */
    struct raft_config config;
    struct raft_seat seats[RAFT_SEATS_MAX];
    struct parcel_entry *rows; /* as made: the actor moves on in its own; bodies behind them */
    uint8_t *state;
};

static void release(struct parcel *parcel)
{
    struct own_parcel *own = (struct own_parcel *)(void *)parcel;
    free(own->state);
    free(own->rows);
    free(own);
}

static void make_rows(struct own_parcel *own, uint32_t count, size_t bytes, uint8_t **bodies)
{
    own->rows = calloc(1, count * sizeof *own->rows + bytes + 1);
    REQUIRE(own->rows != NULL);
    own->parcel.entries = own->rows;
    *bodies = (uint8_t *)(own->rows + count);
}

static int64_t max_time_of(const uint8_t *body, uint32_t bytes, enum log_entry_type type)
{
    int64_t max_ms = -1;
    struct cursor at = cursor_over(body, bytes);
    struct batch_info info;
    const uint8_t *batch;
    while (type == LOG_ENTRY_RECORDS && cursor_left(&at) > 0 && batch_next(&at, &info, &batch) == KQ_OK)
        max_ms = info.max_time_ms > max_ms ? info.max_time_ms : max_ms;
    return max_ms;
}

static void add_entry(struct own_parcel *own, uint32_t i, const struct parcel_entry *entry, uint8_t **bodies)
{
    memcpy(*bodies, entry->body, entry->body_bytes);
    own->rows[i] = *entry;
    own->rows[i].body = *bodies;
    *bodies += entry->body_bytes;
}

static void take_fresh(struct own_parcel *own, const struct packet *packet)
{
    size_t bytes = 0;
    for (uint32_t i = 0; i < packet->entry_count; i++)
        bytes += packet->entries[i]->body_bytes;
    uint8_t *bodies;
    make_rows(own, packet->entry_count, bytes, &bodies);
    for (uint32_t i = 0; i < packet->entry_count; i++) {
        const struct shared_entry *shared = packet->entries[i];
        REQUIRE(crc32c(0, shared->body, shared->body_bytes) == shared->body_crc);
        struct parcel_entry entry = {.type = shared->type,
                                     .term = shared->term,
                                     .idx = shared->idx,
                                     .first_off = shared->first_off,
                                     .record_count = shared->record_count,
                                     .max_time_ms = shared->max_time_ms,
                                     .body = shared->body,
                                     .body_bytes = shared->body_bytes,
                                     .body_crc = shared->body_crc};
        add_entry(own, i, &entry, &bodies);
    }
}

/* False: it cannot be read (any more). */
static bool take_old(struct own_parcel *own, const struct packet *packet)
{
    uint32_t count = (uint32_t)(packet->message.last_idx - packet->message.prev_idx);
    struct log_slice *slices = calloc(count, sizeof *slices);
    REQUIRE(slices != NULL);
    struct log_iter it;
    struct fault fault = {0};
    size_t bytes = 0;
    uint32_t got = 0;
    enum kq_err err = log_iter_seek_idx(&it, packet->view, packet->message.prev_idx + 1);
    while (err == KQ_OK && got < count && (err = log_iter_next(&it, &slices[got], &fault)) == KQ_OK)
        bytes += slices[got++].body_bytes;
    uint8_t *bodies = NULL;
    if (got == count)
        make_rows(own, count, bytes, &bodies);
    for (uint32_t i = 0; i < count && got == count; i++) {
        struct parcel_entry entry = {.type = slices[i].type,
                                     .term = slices[i].term,
                                     .idx = slices[i].idx,
                                     .first_off = slices[i].first_off,
                                     .record_count = slices[i].record_count,
                                     .max_time_ms = max_time_of(slices[i].body, slices[i].body_bytes, slices[i].type),
                                     .body = slices[i].body,
                                     .body_bytes = slices[i].body_bytes,
                                     .body_crc = crc32c(0, slices[i].body, slices[i].body_bytes)};
        add_entry(own, i, &entry, &bodies);
    }
    free(slices);
    return got == count;
}

static struct parcel *make_parcel(const struct packet *packet)
{
    struct own_parcel *own = calloc(1, sizeof *own);
    REQUIRE(own != NULL);
    struct parcel *parcel = &own->parcel;
    parcel->mail.kind = MAIL_PARCEL;
    parcel->mail.size_bytes = packet->size_bytes;
    parcel->group = packet->group;
    parcel->message = packet->message;
    parcel->next_off = packet->next_off;
    parcel->start_off = packet->start_off;
    parcel->release = release;
    parcel->entry_count = (uint32_t)(packet->message.last_idx - packet->message.prev_idx);
    if (packet->message.type != RAFT_MSG_APPEND)
        parcel->entry_count = 0;
    if (packet->message.config != NULL) {
        own->config = (struct raft_config){.count = packet->message.config->count, .seats = own->seats};
        memcpy(own->seats, packet->message.config->seats, own->config.count * sizeof own->seats[0]);
        parcel->message.config = &own->config;
    }
    if (packet->state_bytes > 0) {
        own->state = malloc(packet->state_bytes);
        REQUIRE(own->state != NULL);
        memcpy(own->state, packet->state, packet->state_bytes);
        parcel->state = own->state;
        parcel->state_bytes = packet->state_bytes;
    }
    if (packet->view != NULL && !take_old(own, packet)) {
        release(parcel);
        return NULL;
    }
    if (packet->view == NULL && packet->entry_count > 0)
        take_fresh(own, packet);
    return parcel;
}

/* ---- the network ----------------------------------------------------------------------------- */

static void drop_packet(struct group *group, struct packet *packet, bool sent)
{
    group->old_at_links -= packet->view != NULL ? 1 : 0;
    if (packet->left != NULL)
        packet->left(packet, sent);
    packet_free(&packet);
}

static void put_wire(struct group *group, int from, int to, struct packet *packet, struct parcel *parcel)
{
    struct wire *wire = group->wire_count < GROUP_WIRE_MAX ? malloc(sizeof *wire) : NULL;
    REQUIRE(wire != NULL);
    *wire = (struct wire){.at_us = group->now_us + 100 + (int64_t)group_random(group, (uint64_t)group->delay_us),
                          .from = from,
                          .to = to,
                          .packet = packet,
                          .parcel = parcel};
    group->wires[group->wire_count++] = wire;
}

static bool chance(struct group *group, uint32_t per_mille)
{
    return per_mille != 0 && group_random(group, 1000) < per_mille;
}

/* Takes the packet. */
static void send_packet(void *context, struct packet *packet)
{
    struct group_node *node = context;
    struct group *group = node->group;
    int to = (int)packet->message.to.broker_id - 1;
    REQUIRE(to >= 0 && to < GROUP_NODES_MAX && to != node->number);
    group->resets += packet->message.type == RAFT_MSG_RESET ? 1 : 0;
    group->catch_ups += packet->view != NULL ? 1 : 0;
    group->old_at_links += packet->view != NULL ? 1 : 0;
    if (group->old_at_links > group->old_at_links_most)
        group->old_at_links_most = group->old_at_links;
    if (!node->up || group->cut[node->number][to] || chance(group, group->lost_per_mille)) {
        drop_packet(group, packet, false);
        return;
    }
    if (packet->view != NULL) {
        put_wire(group, node->number, to, packet, NULL);
        return;
    }
    put_wire(group, node->number, to, NULL, make_parcel(packet));
    if (chance(group, group->doubled_per_mille))
        put_wire(group, node->number, to, NULL, make_parcel(packet));
    drop_packet(group, packet, true);
}

/* As a link's receiver does, which must not touch a disk. */
static bool take_lightly(struct group_node *node, struct parcel *parcel)
{
    struct pump *pump = &node->pump;
    struct group *group = node->group;
    if (pump->control.first != NULL || pump->data.first != NULL || !actor_is_light(pump->actor, parcel))
        return false;
    uint64_t calls = io_mem_calls(node->mem);
    pump->now.wall_ms += (group->now_us - pump->now.mono_us) / 1000;
    pump->now.mono_us = group->now_us;
    actor_light_turn(pump->actor, parcel, &pump->now);
    if (io_mem_calls(node->mem) != calls)
        group_fail(group, "node %d: a light turn touched the disk", node->number);
    group->light_turns++;
    return true;
}

static void deliver(struct group *group, struct wire *wire)
{
    struct parcel *parcel = wire->parcel;
    if (wire->packet != NULL) {
        parcel = make_parcel(wire->packet);
        drop_packet(group, wire->packet, parcel != NULL);
    }
    struct group_node *to = &group->nodes[wire->to];
    bool arrives = parcel != NULL && to->up && !group->cut[wire->from][wire->to];
    if (!arrives && parcel != NULL)
        release(parcel);
    if (arrives && !take_lightly(to, parcel))
        mail_list_append(&to->pump.control, &parcel->mail);
    free(wire);
}

void group_deliver(struct group *group)
{
    for (int i = 0; i < group->wire_count;) {
        struct wire *wire = group->wires[i];
        if (wire->at_us > group->now_us) {
            i++;
            continue;
        }
        group->wires[i] = group->wires[--group->wire_count];
        deliver(group, wire);
    }
}

static void post_news(struct group_node *node, enum actor_peer_news news, const struct raft_member *member,
                      uint64_t term, bool on)
{
    struct actor_peer_mail *mail = calloc(1, sizeof *mail);
    REQUIRE(mail != NULL);
    mail->mail.kind = MAIL_PEER;
    mail->news = news;
    mail->member = *member;
    mail->term = term;
    mail->on = on;
    mail_list_append(&node->pump.control, &mail->mail);
}

/* left_context: the member's node and incarnation are in the packet; the sender's here. */
static void packet_left(struct packet *packet, bool sent)
{
    struct group_node *node = packet->left_context;
    packet->left = NULL;
    if (node->up && node->pump.actor != NULL)
        post_news(node, ACTOR_PEER_SENT, &packet->message.to, 0, sent);
}

static void note_damage(void *context, uint64_t first_idx, uint64_t last_idx)
{
    struct group_node *node = context;
    node->damage_first = first_idx;
    node->damage_last = last_idx;
}

static bool watch_packet(void *context, struct packet *packet)
{
    packet->left = packet_left;
    packet->left_context = context;
    return true;
}

/* ---- what a replica says ----------------------------------------------------------------------- */

static uint32_t name_of(const struct raft_member *member)
{
    return member->broker_id | (uint32_t)member->incarnation.bytes[0] << 8;
}

static void note_news(void *context, const struct replica_news *news)
{
    struct group_node *node = context;
    struct group *group = node->group;
    node->news = *news;
    if (!news->leads)
        return;
    REQUIRE(news->term < GROUP_TERMS_MAX);
    uint32_t *leader = &group->leaders[news->term];
    if (*leader != 0 && *leader != name_of(&news->self))
        group_fail(group, "two leaders in term %llu", (unsigned long long)news->term);
    *leader = name_of(&news->self);
}

static void vouch(struct group *group, int from, bool on)
{
    const struct replica_news *news = &group->nodes[from].news;
    for (int n = 0; n < GROUP_NODES_MAX; n++) {
        struct group_node *node = &group->nodes[n];
        if (n == from || !node->up)
            continue;
        post_news(node, on ? ACTOR_PEER_CLAIM : ACTOR_PEER_LEADER_GONE, &news->self, news->term, on);
        if (on && node->pump.actor != NULL)
            post_news(&group->nodes[from], ACTOR_PEER_LINK, &node->news.self, 0, true);
    }
}

/* ---- the machine ---------------------------------------------------------------------------------- */

static struct group *present; /* one at a time */

/* What a replica that does not lead applies is committed: it is the same everywhere. */
static void note_chain(const struct toy *toy)
{
    REQUIRE(toy->count <= GROUP_CALLS_MAX);
    if (present->chains[toy->count] == 0)
        present->chains[toy->count] = toy->chain;
    else if (present->chains[toy->count] != toy->chain)
        group_fail(present, "another state after %llu records", (unsigned long long)toy->count);
}

static bool toy_decide(void *machine, struct machine_call *base, struct machine_turn *turn,
                       const struct machine_now *now)
{
    struct toy *toy = machine;
    struct toy_call *call = (struct toy_call *)(void *)base;
    (void)now;
    REQUIRE(toy->leads);
    machine_propose(turn, slice_of("k", 1), slice_of(&call->number, sizeof call->number));
    call->count_after = toy->count;
    call->chain_after = toy->chain;
    return true;
}

static void toy_apply(void *machine, int64_t off, const struct record *record)
{
    struct toy *toy = machine;
    uint64_t number;
    REQUIRE(record->value.len == sizeof number);
    REQUIRE((uint64_t)off == toy->count);
    memcpy(&number, record->value.data, sizeof number);
    toy->count++;
    toy->chain = toy->chain * UINT64_C(6364136223846793005) + number + 1;
    if (!toy->leads)
        note_chain(toy);
}

static void toy_leads(void *machine, bool leads, const struct machine_now *now)
{
    struct toy *toy = machine;
    (void)now;
    toy->leads = leads;
}

static void toy_snapshot(const void *machine, struct buf *out)
{
    const struct toy *toy = machine;
    buf_le64(out, toy->count);
    buf_le64(out, toy->chain);
}

static enum kq_err toy_restore(void *machine, const void *bytes, size_t size_bytes, struct fault *fault)
{
    struct toy *toy = machine;
    (void)fault;
    REQUIRE(size_bytes == 16);
    toy->count = get_le64(bytes);
    toy->chain = get_le64((const uint8_t *)bytes + 8);
    return KQ_OK;
}

static void toy_reset(void *machine)
{
    struct toy *toy = machine;
    *toy = (struct toy){0};
}

static const struct machine_ops toy_ops = {.name = "toy",
                                           .call = toy_decide,
                                           .apply = toy_apply,
                                           .leads = toy_leads,
                                           .snapshot = toy_snapshot,
                                           .restore = toy_restore,
                                           .reset = toy_reset};
static const struct machine_ops serial_toy_ops = {.name = "serial toy",
                                                  .serial = true,
                                                  .call = toy_decide,
                                                  .apply = toy_apply,
                                                  .leads = toy_leads,
                                                  .snapshot = toy_snapshot,
                                                  .restore = toy_restore,
                                                  .reset = toy_reset};

/* ---- life ------------------------------------------------------------------------------------------ */

static struct raft_member member_of(const struct group *group, int n)
{
    return (struct raft_member){.broker_id = (uint32_t)n + 1, .incarnation = {{group->nodes[n].incarnation}}};
}

struct group *group_new(uint64_t seed, int founders)
{
    struct group *group = calloc(1, sizeof *group);
    REQUIRE(group != NULL);
    present = group;
    logger_set_level(LOGGER_ERROR);
    group->seed = seed;
    group->random = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
    group->founders = founders;
    group->retention_bytes = -1;
    group->delay_us = 1500;
    group->disk_us = 2000;
    group->now_us = 1000000;
    for (int n = 0; n < GROUP_NODES_MAX; n++) {
        group->nodes[n].group = group;
        group->nodes[n].number = n;
        group->nodes[n].incarnation = (uint8_t)(n + 1);
        group->nodes[n].joins = n >= founders;
        (void)snprintf(group->nodes[n].title, sizeof group->nodes[n].title, "node-%d", n);
    }
    return group;
}

void group_open(struct group *group, int n)
{
    struct group_node *node = &group->nodes[n];
    struct raft_member founders[GROUP_NODES_MAX];
    if (node->mem == NULL)
        node->mem = io_mem_new(FILE_BYTES_MAX);
    struct pump *pump = &node->pump;
    pump_init(pump, io_mem_io(node->mem), "/test-0");
    pump->now.mono_us = group->now_us;
    pump->now.wall_ms += group->now_us / 1000;
    struct actor_options *o = &pump->options;
    o->log.title = node->title;
    o->broker_id = (uint32_t)n + 1;
    o->incarnation = member_of(group, n).incarnation;
    for (int i = 0; i < group->founders; i++)
        founders[i] = (struct raft_member){.broker_id = (uint32_t)i + 1, .incarnation = {{(uint8_t)(i + 1)}}};
    o->founders = founders;
    o->founder_count = node->joins ? 0 : (uint32_t)group->founders;
    o->joins = node->joins;
    o->limits.retention_bytes = group->retention_bytes;
    o->seed = group_random(group, UINT64_MAX >> 11);
    o->election_us = ELECTION_US;
    o->beat_us = BEAT_US;
    o->env.send = send_packet;
    o->env.tell = note_news;
    o->env.watch = watch_packet;
    o->env.damaged = note_damage;
    o->flush_always = !group->interval;
    o->flush_interval_us = 20000;
    o->flush_interval_bytes = 64 * 1024;
    o->boot_id = (struct uuid){{(uint8_t)(1 + node->power_cuts % 250)}};
    if (group->machine) {
        o->log.segment_bytes = 64 * 1024; /* a machine's turn makes room for 56 KiB */
        o->limits.segment_bytes = 64 * 1024;
        o->machine = (struct machine){
            .ops = group->serial ? &serial_toy_ops : &toy_ops, .state = &node->toy, .snapshot_every_bytes = 8 * 1024};
    }
    struct fault fault = {0};
    enum kq_err err = pump_open(pump, &fault);
    if (err != KQ_OK) {
        group_fail(group, "node %d does not open: %s: %s", n, err_name(err), fault_text(&fault));
        return;
    }
    node->exists = true;
    node->up = true;
    node->armed_us = CLOCK_NEVER;
    node->checked_idx = 0;
    node->shown_end_off = 0;
    node->news = (struct replica_news){.self = member_of(group, n)};
    for (int lane = 0; lane < LOG_LANE_COUNT; lane++)
        node->job_at_us[lane] = 0;
    if (group->target_count > 0)
        group_set_target(group, 0);
    for (int other = 0; other < GROUP_NODES_MAX; other++)
        if (group->links && other != n && group->nodes[other].up && group->nodes[other].news.leads)
            vouch(group, other, true);
}

void group_start(struct group *group)
{
    for (int n = 0; n < group->founders; n++)
        group_open(group, n);
}

static void free_control(struct group_node *node)
{
    struct mail *mail;
    while ((mail = mail_list_take(&node->pump.control)) != NULL)
        actor_refuse(mail, KQ_STOPPING, NULL);
    while ((mail = mail_list_take(&node->pump.data)) != NULL)
        actor_refuse(mail, KQ_STOPPING, NULL);
}

/* The actor meets a dead disk and goes down with it. */
static void bury(struct group *group, struct group_node *node)
{
    struct pump *pump = &node->pump;
    pump->stop = (struct actor_stop_mail){.mail = {.kind = MAIL_STOP}, .reason = KQ_UNKNOWN_TOPIC};
    mail_list_append(&pump->control, &pump->stop.mail);
    for (int i = 0; i < 50 && !actor_stopped(pump->actor); i++) {
        pump_settle(pump);
        pump->now.mono_us += ELECTION_US;
    }
    REQUIRE(actor_stopped(pump->actor));
    actor_close(&pump->actor);
    if (pump->view != NULL)
        log_view_drop(&pump->view);
    free_control(node);
    /* What it still had to send holds views of its files. */
    for (int i = 0; i < group->wire_count;) {
        struct wire *wire = group->wires[i];
        if (wire->from != node->number || wire->packet == NULL) {
            i++;
            continue;
        }
        group->wires[i] = group->wires[--group->wire_count];
        drop_packet(group, wire->packet, false);
        free(wire);
    }
}

void group_crash(struct group *group, int n, enum io_mem_mercy mercy)
{
    struct group_node *node = &group->nodes[n];
    if (!node->up)
        return;
    node->up = false; /* nothing it says from here on is heard */
    uint64_t seed = group_random(group, 1 << 30);
    io_mem_cut_at(node->mem, io_mem_calls(node->mem) + 1, mercy, seed);
    bury(group, node);
    io_mem_reboot(node->mem, mercy, seed);
    node->power_cuts += mercy == IO_MEM_STILL_CACHED ? 0 : 1;
    if (group->links)
        vouch(group, n, false);
    node->news.leads = false;
}

void group_stop(struct group *group, int n)
{
    struct group_node *node = &group->nodes[n];
    struct pump *pump = &node->pump;
    pump->stop = (struct actor_stop_mail){.mail = {.kind = MAIL_STOP}, .reason = KQ_STOPPING};
    mail_list_append(&pump->control, &pump->stop.mail);
    for (int i = 0; i < 5000 && !actor_stopped(pump->actor); i++)
        group_step(group);
    if (!actor_stopped(pump->actor))
        group_fail(group, "node %d does not stop", n);
    node->up = false;
    bury(group, node);
    if (group->links)
        vouch(group, n, false);
    node->news.leads = false;
}

void group_wipe(struct group *group, int n)
{
    struct group_node *node = &group->nodes[n];
    REQUIRE(!node->up);
    io_mem_wipe(node->mem);
    node->incarnation = (uint8_t)(node->incarnation + GROUP_NODES_MAX);
    node->joins = true;
    node->toy = (struct toy){0};
}

void group_set_target(struct group *group, unsigned voters)
{
    if (voters != 0) {
        group->target_count = 0;
        for (int n = 0; n < GROUP_NODES_MAX; n++)
            if (voters & 1u << n)
                group->target[group->target_count++] =
                    (struct raft_seat){.member = member_of(group, n), .kinds = RAFT_SEAT_VOTER};
    }
    for (int n = 0; n < GROUP_NODES_MAX; n++) {
        struct group_node *node = &group->nodes[n];
        if (!node->up)
            continue;
        struct actor_peer_mail *mail = calloc(1, sizeof *mail + group->target_count * sizeof(struct raft_seat));
        REQUIRE(mail != NULL);
        mail->mail.kind = MAIL_PEER;
        mail->news = ACTOR_PEER_TARGET;
        mail->seat_count = group->target_count;
        memcpy(mail->seats, group->target, group->target_count * sizeof(struct raft_seat));
        mail_list_append(&node->pump.control, &mail->mail);
    }
}

void group_free(struct group *group)
{
    for (int n = 0; n < GROUP_NODES_MAX; n++)
        if (group->nodes[n].up)
            group_crash(group, n, IO_MEM_ALL_KEPT);
    for (int i = 0; i < group->wire_count; i++) {
        if (group->wires[i]->parcel != NULL)
            release(group->wires[i]->parcel);
        if (group->wires[i]->packet != NULL)
            drop_packet(group, group->wires[i]->packet, false);
        free(group->wires[i]);
    }
    for (int n = 0; n < GROUP_NODES_MAX; n++)
        if (group->nodes[n].mem != NULL)
            io_mem_free(group->nodes[n].mem);
    free(group);
}
