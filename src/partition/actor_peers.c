/*
 * Packets to the other replicas. Consensus says what to send; here entries are found
 * for it, and what may not leave yet is held until the disk has what it promises.
 *
 * Entries come from three places: the tail (as they were appended, one copy for all
 * followers, never read back), the log through a view (committed ones, read by the
 * link when it sends them), and the log by copy (neither committed nor in the tail:
 * a new leader's few last ones).
 *
 * Of those through a view a few packets a follower are on their way at any time: they travel
 * on a connection of their own, and what follows them must not overtake them.
 */
#include "partition/actor_internal.h"

#include "base/logger.h"

/* ---- old entries on their way ------------------------------------------------------------ */

/* Nothing is on its way, or it is lost. */
static bool is_over(const struct actor *actor, const struct catch_up *catch_up)
{
    return catch_up->out == 0 && (catch_up->count == 0 || actor->now.mono_us >= catch_up->until_us);
}

static struct catch_up *catch_up_of(struct actor *actor, const struct raft_member *member, bool make)
{
    for (uint32_t i = 0; i < actor->catch_up_count; i++)
        if (raft_member_equal(&actor->catch_ups[i].member, member))
            return &actor->catch_ups[i];
    if (!make)
        return NULL;
    for (uint32_t i = 0; i < actor->catch_up_count; i++)
        if (is_over(actor, &actor->catch_ups[i])) {
            actor->catch_ups[i] = (struct catch_up){.member = *member};
            return &actor->catch_ups[i];
        }
    struct catch_up *grown = realloc(actor->catch_ups, (actor->catch_up_count + 1) * sizeof *grown);
    if (grown == NULL)
        return NULL;
    actor->catch_ups = grown;
    struct catch_up *fresh = &grown[actor->catch_up_count++];
    *fresh = (struct catch_up){.member = *member};
    return fresh;
}

static uint64_t match_of(const struct raft *raft, const struct raft_member *member)
{
    for (uint32_t i = 0; i < raft->config.count; i++)
        if (raft_member_equal(&raft->peers[i].member, member))
            return raft->peers[i].match;
    return 0;
}

enum path {
    PATH_FREE,     /* what went before is there, or lost */
    PATH_OLD_ONLY, /* a packet of old entries is on its way, and only such may follow it */
    PATH_TAKEN,
};

static void forget_arrived(struct catch_up *catch_up, uint64_t match_idx)
{
    uint32_t arrived = 0;
    while (arrived < catch_up->count && catch_up->last_idx[arrived] <= match_idx)
        arrived++;
    catch_up->count -= arrived;
    memmove(catch_up->last_idx, catch_up->last_idx + arrived, catch_up->count * sizeof catch_up->last_idx[0]);
}

/* What may be sent to this peer. */
static enum path path_to(struct actor *actor, const struct raft_member *member)
{
    struct catch_up *catch_up = catch_up_of(actor, member, false);
    if (catch_up == NULL)
        return PATH_FREE;
    forget_arrived(catch_up, match_of(&actor->raft, member));
    if (is_over(actor, catch_up)) {
        catch_up->count = 0;
        catch_up->broken = false;
        return PATH_FREE;
    }
    bool room = catch_up->out < CATCH_UP_AT_LINK && catch_up->count < CATCH_UP_AHEAD;
    return room && !catch_up->broken ? PATH_OLD_ONLY : PATH_TAKEN;
}

static void supply(struct actor *actor, const struct raft_member *member)
{
    struct raft_event event = {.type = RAFT_EV_SUPPLY, .now_us = actor->now.mono_us, .member = *member};
    actor_raft_event(actor, &event);
}

void actor_catch_up_left(struct actor *actor, const struct raft_member *member, bool sent)
{
    struct catch_up *catch_up = catch_up_of(actor, member, false);
    if (catch_up == NULL || catch_up->out == 0)
        return;
    catch_up->out--;
    catch_up->broken |= !sent;
    /* What was dropped may be dropped again: not before the next beat. */
    catch_up->until_us = actor->now.mono_us + (sent ? actor->raft.election_us : actor->raft.beat_us);
}

/* Those who have what they were sent, or most of it, get more on this turn. */
static void supply_those_who_arrived(struct actor *actor)
{
    for (uint32_t i = 0; i < actor->catch_up_count; i++) {
        struct raft_member member = actor->catch_ups[i].member;
        if ((actor->catch_ups[i].out > 0 || actor->catch_ups[i].count > 0) && path_to(actor, &member) != PATH_TAKEN)
            supply(actor, &member);
    }
}

/* ---- what an append carries ----------------------------------------------------------------- */

struct cargo {
    struct shared_entry *entries[PACKET_ENTRIES_MAX];
    uint32_t count;
    struct log_view *view;
    uint64_t last_idx;
    uint32_t bytes;
};

static void drop_cargo(struct cargo *cargo)
{
    for (uint32_t i = 0; i < cargo->count; i++)
        shared_entry_drop(&cargo->entries[i]);
    if (cargo->view != NULL)
        log_view_drop(&cargo->view);
}

/* Takes the reference. */
static void load_entry(struct cargo *cargo, struct shared_entry *entry)
{
    cargo->entries[cargo->count++] = entry;
    cargo->last_idx = entry->idx;
    cargo->bytes += entry->body_bytes;
}

static bool has_place(const struct cargo *cargo, const struct raft_message *message, uint32_t body_bytes)
{
    if (cargo->count == 0)
        return true;
    return cargo->count < PACKET_ENTRIES_MAX && cargo->last_idx < message->last_idx &&
           cargo->entries[cargo->count - 1]->type != LOG_ENTRY_CONFIG &&
           (uint64_t)cargo->bytes + body_bytes <= message->limit_bytes;
}

static void load_fresh(struct actor *actor, struct raft_message *message, struct cargo *cargo)
{
    struct shared_entry *entry;
    while ((entry = tail_at(&actor->tail, cargo->last_idx + 1)) != NULL &&
           has_place(cargo, message, entry->body_bytes)) {
        if (message->entry_term == 0)
            message->entry_term = entry->term;
        if (entry->term != message->entry_term)
            break;
        load_entry(cargo, shared_entry_hold(entry));
    }
}

static void say_unreadable(struct actor *actor, uint64_t idx, const struct fault *fault)
{
    if (actor->violation_said)
        return;
    actor->violation_said = true;
    SAY_ERROR("%s: entry %llu cannot be read for a follower: %s", actor->options.log.title, (unsigned long long)idx,
              fault_text(fault));
}

static void load_copies(struct actor *actor, struct raft_message *message, struct cargo *cargo)
{
    struct buf body;
    buf_init(&body, UINT32_MAX);
    while (cargo->last_idx < message->last_idx) {
        struct log_slice slice;
        struct fault fault = {0};
        enum kq_err err = log_read(actor->log, cargo->last_idx + 1, &slice, &body, &fault);
        if (err != KQ_OK) {
            say_unreadable(actor, cargo->last_idx + 1, &fault);
            break;
        }
        if (message->entry_term == 0)
            message->entry_term = slice.term;
        if (slice.term != message->entry_term || !has_place(cargo, message, slice.body_bytes))
            break;
        struct iovec part = {.iov_base = body.data, .iov_len = slice.body_bytes};
        struct log_entry entry = {.type = slice.type,
                                  .term = slice.term,
                                  .idx = slice.idx,
                                  .first_off = slice.first_off,
                                  .record_count = slice.record_count,
                                  .max_time_ms = slice.max_time_ms,
                                  .body = &part,
                                  .body_count = slice.body_bytes > 0 ? 1 : 0,
                                  .body_bytes = slice.body_bytes};
        struct shared_entry *shared = shared_entry_new(&entry);
        if (shared == NULL)
            break;
        load_entry(cargo, shared);
    }
    buf_fini(&body);
}

static void load_view(struct actor *actor, struct raft_message *message, struct cargo *cargo)
{
    uint64_t first_idx = message->prev_idx + 1;
    uint64_t last_idx = message->last_idx < actor->raft.commit_idx ? message->last_idx : actor->raft.commit_idx;
    if (last_idx > message->prev_idx + CATCH_UP_ENTRIES)
        last_idx = message->prev_idx + CATCH_UP_ENTRIES;
    uint64_t limit_bytes = message->limit_bytes < CATCH_UP_BYTES ? message->limit_bytes : CATCH_UP_BYTES;
    struct log_range range;
    if (log_plan(actor->log, first_idx, last_idx, limit_bytes, &range) != KQ_OK ||
        (message->entry_term != 0 && range.term != message->entry_term))
        return;
    struct catch_up *catch_up = catch_up_of(actor, &message->to, true);
    cargo->view = catch_up != NULL ? log_view_take(actor->log) : NULL;
    if (cargo->view == NULL)
        return;
    message->entry_term = range.term;
    cargo->last_idx = range.last_idx;
    cargo->bytes = range.bytes < UINT32_MAX ? (uint32_t)range.bytes : UINT32_MAX;
    REQUIRE(catch_up->count < CATCH_UP_AHEAD);
    catch_up->out++;
    catch_up->last_idx[catch_up->count++] = range.last_idx;
}

static void load(struct actor *actor, struct raft_message *message, struct cargo *cargo)
{
    enum path path = path_to(actor, &message->to);
    uint64_t first_idx = message->prev_idx + 1;
    bool fresh = tail_at(&actor->tail, first_idx) != NULL;
    if (path == PATH_TAKEN)
        return;
    if (!fresh && first_idx <= actor->raft.commit_idx)
        load_view(actor, message, cargo);
    else if (path == PATH_FREE && fresh)
        load_fresh(actor, message, cargo);
    else if (path == PATH_FREE)
        load_copies(actor, message, cargo);
}

/* ---- packets ----------------------------------------------------------------------------------- */

static struct packet *new_packet(const struct actor *actor, const struct raft_message *message, uint32_t entry_count)
{
    uint32_t seats = message->config != NULL ? message->config->count : 0;
    size_t entries_bytes = entry_count * sizeof(struct shared_entry *);
    struct packet *packet = calloc(1, sizeof *packet + entries_bytes + seats * sizeof(struct raft_seat));
    if (packet == NULL)
        return NULL;
    packet->group =
        (struct group_id){.topic_id = actor->options.log.topic_id, .partition = actor->options.log.partition};
    packet->message = *message;
    packet->entries = (struct shared_entry **)(void *)(packet + 1);
    packet->size_bytes = (uint32_t)sizeof *packet;
    packet->machine = actor->options.machine.ops != NULL;
    if (message->config == NULL)
        return packet;
    packet->config = (struct raft_config){.idx = message->config->idx,
                                          .count = seats,
                                          .seats = (struct raft_seat *)(void *)(packet->entries + entry_count)};
    for (uint32_t i = 0; i < seats; i++)
        packet->config.seats[i] = message->config->seats[i];
    packet->message.config = &packet->config;
    return packet;
}

static void let_go(struct packet **packet)
{
    struct packet *p = *packet;
    *packet = NULL;
    if (p->left != NULL)
        p->left(p, false);
    packet_free(&p);
}

static void send(struct actor *actor, struct packet *packet)
{
    bool own = packet->message.to.broker_id == actor->raft.self.broker_id; /* of a disk that this broker lost */
    if (actor->options.env.send == NULL || !actor->boot_durable || own)
        let_go(&packet);
    else
        actor->options.env.send(actor->options.env.context, packet);
}

static void hold(struct actor *actor, struct packet *packet)
{
    if (actor->held_count == HELD_PACKETS_MAX) {
        struct packet *oldest = actor->held;
        actor->held = oldest->next;
        actor->held_count--;
        let_go(&oldest);
    }
    if (actor->held == NULL)
        actor->held_end = &actor->held;
    packet->next = NULL;
    *actor->held_end = packet;
    actor->held_end = &packet->next;
    actor->held_count++;
}

static void send_or_hold(struct actor *actor, struct packet *packet)
{
    switch (raft_may_leave(&actor->raft, &packet->message)) {
    case RAFT_LEAVE:
        send(actor, packet);
        break;
    case RAFT_WAIT:
        hold(actor, packet);
        break;
    case RAFT_DROP:
        let_go(&packet);
        break;
    }
}

static void release_held(struct actor *actor)
{
    struct packet *packet = actor->held;
    actor->held = NULL;
    actor->held_count = 0;
    while (packet != NULL) {
        struct packet *next = packet->next;
        packet->next = NULL;
        send_or_hold(actor, packet);
        packet = next;
    }
}

void actor_reply(struct actor *actor, const struct raft_message *message)
{
    if (raft_may_leave(&actor->raft, message) == RAFT_DROP)
        return;
    struct packet *packet = new_packet(actor, message, 0);
    if (packet != NULL)
        send_or_hold(actor, packet);
}

/* Where a follower is to begin, and what is to be known there. A machine's state stands
 * where it was stored last, which may be later than the log begins here; the records of
 * a data partition are all wanted. */
static bool fill_reset(struct actor *actor, struct packet *packet)
{
    struct raft_message *message = &packet->message;
    struct fault fault = {0};
    if (actor->options.machine.ops != NULL) {
        void *state = NULL;
        size_t state_bytes = 0;
        uint64_t at_idx = 0;
        if (log_stored_state_at(actor->log, actor->raft.commit_idx, &state, &state_bytes, &at_idx, &fault) != KQ_OK)
            return false;
        packet->state = state;
        packet->state_bytes = (uint32_t)state_bytes;
        if (state == NULL || at_idx < message->prev_idx)
            return false;
        message->prev_idx = at_idx;
        message->prev_term = log_term_at(actor->log, at_idx);
    } else {
        struct buf state;
        size_t state_bytes = 0;
        buf_init(&state, UINT32_MAX);
        actor_encode_base(actor, message->prev_idx, message->config, &state);
        packet->state = buf_give(&state, &state_bytes);
        packet->state_bytes = (uint32_t)state_bytes;
        if (packet->state == NULL)
            return false;
    }
    packet->next_off = log_end_off_at(actor->log, message->prev_idx);
    packet->start_off = log_start_off(actor->log) < packet->next_off ? log_start_off(actor->log) : packet->next_off;
    packet->size_bytes += packet->state_bytes;
    return message->prev_term != 0 && packet->next_off >= 0;
}

static void send_append(struct actor *actor, struct raft_message *message)
{
    struct cargo cargo;
    cargo.count = 0;
    cargo.view = NULL;
    cargo.bytes = 0;
    cargo.last_idx = message->prev_idx;
    bool wanted = message->last_idx > message->prev_idx;
    if (wanted) {
        if (message->prev_idx == 0 || message->prev_term != 0)
            load(actor, message, &cargo);
        raft_sent(&actor->raft, message, cargo.last_idx, cargo.bytes);
        if (cargo.last_idx == message->prev_idx)
            return;
    }
    message->last_idx = cargo.last_idx;
    struct packet *packet = new_packet(actor, message, cargo.count);
    if (packet == NULL) { /* as if the network had lost it */
        if (cargo.view != NULL)
            actor_catch_up_left(actor, &message->to, false);
        drop_cargo(&cargo);
        return;
    }
    memcpy(packet->entries, cargo.entries, cargo.count * sizeof cargo.entries[0]);
    packet->entry_count = cargo.count;
    packet->view = cargo.view;
    packet->size_bytes += cargo.bytes;
    if (packet->view != NULL && !actor->options.env.watch(actor->options.env.context, packet)) {
        actor_catch_up_left(actor, &message->to, false);
        let_go(&packet);
        return;
    }
    send_or_hold(actor, packet);
}

static void send_message(struct actor *actor, struct raft_message *message)
{
    if (message->prev_idx != 0 && message->prev_term == 0)
        message->prev_term = log_term_at(actor->log, message->prev_idx);
    if (message->type == RAFT_MSG_APPEND) {
        send_append(actor, message);
        return;
    }
    struct packet *packet = new_packet(actor, message, 0);
    if (packet == NULL)
        return;
    if (message->type == RAFT_MSG_RESET && !fill_reset(actor, packet)) {
        let_go(&packet);
        return;
    }
    send_or_hold(actor, packet);
}

void actor_send_messages(struct actor *actor)
{
    if (actor->held != NULL)
        release_held(actor);
    if (actor->raft.role == RAFT_LEADER && actor->catch_up_count > 0)
        supply_those_who_arrived(actor);
    struct raft_message message;
    while (raft_take_message(&actor->raft, &message))
        send_message(actor, &message);
    if (actor->tail.count > 0)
        actor_tail_trim(actor);
}

bool actor_catch_up_waits(const struct actor *actor, const struct raft_member *member)
{
    for (uint32_t i = 0; i < actor->catch_up_count; i++)
        if (actor->catch_ups[i].out > 0 && raft_member_equal(&actor->catch_ups[i].member, member))
            return true;
    return false;
}

void actor_peers_fini(struct actor *actor)
{
    actor_watch_forget(actor);
    while (actor->held != NULL) {
        struct packet *packet = actor->held;
        actor->held = packet->next;
        let_go(&packet);
    }
    actor->held_count = 0;
    actor_tail_clear(actor);
    free(actor->catch_ups);
    actor->catch_ups = NULL;
    actor->catch_up_count = 0;
}

/* ---- what others should know ---------------------------------------------------------------------- */

static uint64_t committed_config_idx(const struct raft *raft)
{
    return raft->config.idx <= raft->commit_idx ? raft->config.idx : raft->before.idx;
}

void actor_tell(struct actor *actor)
{
    if (actor->options.env.tell == NULL)
        return;
    const struct raft *raft = &actor->raft;
    bool leads = actor_leads(actor);
    struct replica_news news = {
        .group = {.topic_id = actor->options.log.topic_id, .partition = actor->options.log.partition},
        .self = raft->self,
        .term = raft->term,
        .leads = leads,
        .leader = leads ? raft->self : raft->leader,
        .forgot = raft->amnesiac || raft->pardoned,
        .commit_idx = raft->commit_idx,
        .config_idx = committed_config_idx(raft),
    };
    const struct replica_news *told = &actor->told;
    if (actor->told_once && told->term == news.term && told->leads == news.leads &&
        raft_member_equal(&told->leader, &news.leader) && told->forgot == news.forgot &&
        told->config_idx == news.config_idx)
        return;
    actor->told = news;
    actor->told_once = true;
    actor->options.env.tell(actor->options.env.context, &news);
}
