/*
 * What peers send: parcels in, and what they do to the log of a follower.
 *
 * Entries are fed to consensus one at a time, each when there is room for it in the log:
 * what raft accepts must be appended, so the room comes first. Where there is none yet
 * the parcel waits, and those with entries that come after it wait behind it; messages
 * without entries pass by, so that a slow disk does not look like a dead leader. A
 * conflict is cut first and alone, because only then it is known where room is needed.
 */
#include "partition/actor_internal.h"

#include "base/logger.h"

enum taken { TAKEN_ALL, TAKEN_PART, WAITS_FOR_ROOM };

static void parcel_gone(struct actor *actor, struct parcel *parcel)
{
    if (actor->options.env.parcel_gone != NULL)
        actor->options.env.parcel_gone(actor->options.env.context, parcel);
    else
        parcel->release(parcel);
}

/* ---- what raft wants done --------------------------------------------------------------- */

/* Those whose entries are gone are answered when it is known what stands there instead. */
static void cut_requests(struct actor *actor, uint64_t first_idx)
{
    struct mail_list kept = {0};
    struct mail *mail;
    while ((mail = mail_list_take(&actor->inflight)) != NULL)
        mail_list_append(actor_wait_idx(mail) >= first_idx ? &actor->cut : &kept, mail);
    actor->inflight = kept;
}

void actor_truncate(struct actor *actor, uint64_t first_idx)
{
    cut_requests(actor, first_idx);
    actor_tail_clear(actor);
    for (int i = 0; i < 2; i++)
        if (actor->starts[i].idx >= first_idx)
            actor->starts[i].idx = 0;
    log_set_commit(actor->log, actor->raft.commit_idx < first_idx ? actor->raft.commit_idx : first_idx - 1);
    struct fault fault = {0};
    enum kq_err err = log_truncate(actor->log, first_idx);
    if (err != KQ_OK) {
        (void)fault_set(&fault, err, "%s: cutting the log from entry %llu on: %s", actor->options.log.title,
                        (unsigned long long)first_idx, err_text(err));
        actor_fail(actor, err, &fault);
    }
    actor->room_wanted = true;
    if (actor->producers_idx < first_idx || actor->failure.err != KQ_OK)
        return;
    err = actor_restore_producers(actor, &fault);
    if (err != KQ_OK)
        actor_fail(actor, err, &fault);
}

static void append_parcel_entry(struct actor *actor, const struct parcel_entry *taken, bool old)
{
    union {
        const void *from;
        void *to;
    } borrowed = {.from = taken->body}; /* iovec has no const */
    struct iovec part = {.iov_base = borrowed.to, .iov_len = taken->body_bytes};
    struct log_entry entry = {.type = taken->type,
                              .term = taken->term,
                              .idx = taken->idx,
                              .first_off = taken->first_off,
                              .record_count = taken->record_count,
                              .max_time_ms = taken->max_time_ms,
                              .body = &part,
                              .body_count = taken->body_bytes > 0 ? 1 : 0,
                              .body_bytes = taken->body_bytes,
                              .has_body_crc = true,
                              .body_crc = taken->body_crc,
                              .old = old};
    if (!actor_log_append(actor, &entry))
        return;
    actor_note_entry(actor, taken->type, taken->idx, taken->body, taken->body_bytes);
    if (taken->type == LOG_ENTRY_RECORDS && actor->options.machine.ops == NULL)
        actor_note_producers(actor, taken->idx, taken->body, taken->body_bytes);
}

void actor_accept(struct actor *actor, const struct parcel *parcel, uint64_t first_idx, uint64_t last_idx)
{
    for (uint64_t idx = first_idx; idx <= last_idx && actor->failure.err == KQ_OK; idx++) {
        REQUIRE(idx > parcel->message.prev_idx && idx - parcel->message.prev_idx <= parcel->entry_count);
        append_parcel_entry(actor, &parcel->entries[idx - parcel->message.prev_idx - 1],
                            parcel->message.commit_idx >= idx);
    }
}

void actor_reset(struct actor *actor, const struct parcel *parcel)
{
    const struct raft_message *message = &parcel->message;
    struct log_reset_to to = {.prev_idx = message->prev_idx,
                              .prev_term = message->prev_term,
                              .next_off = parcel->next_off,
                              .start_off = parcel->start_off,
                              .state = parcel->state,
                              .state_bytes = parcel->state_bytes};
    SAY_NOTICE("%s: the entries up to %llu are no longer kept by the leader: this replica begins anew behind them",
               actor->options.log.title, (unsigned long long)message->prev_idx);
    /* They may be among the entries that are jumped over. */
    struct fault unknown;
    (void)fault_set(&unknown, KQ_OUTCOME_UNKNOWN, "written, but another broker became the leader");
    actor_refuse_list(&actor->inflight, KQ_OUTCOME_UNKNOWN, &unknown);
    actor_refuse_list(&actor->cut, KQ_OUTCOME_UNKNOWN, &unknown);
    actor_tail_clear(actor);
    actor->starts[0].idx = actor->starts[1].idx = 0;
    struct fault fault = {0};
    enum kq_err err = log_reset(actor->log, &to);
    if (err != KQ_OK)
        (void)fault_set(&fault, err, "%s: beginning the log anew: %s", actor->options.log.title, err_text(err));
    else
        err = actor_take_state(actor, message->prev_idx, parcel->state, parcel->state_bytes, &fault);
    if (err != KQ_OK)
        actor_fail(actor, err, &fault);
    actor->room_wanted = true;
    actor->view_dirty = true;
}

/* ---- messages without entries ---------------------------------------------------------------- */

static bool seats_fit(struct actor *actor, const struct raft_config *config)
{
    return config == NULL || (config->count <= RAFT_SEATS_MAX && actor_seat_room(actor, config->count));
}

/* Whether the core knows the term at prev by itself; else the log is asked. */
static void ask_log(struct actor *actor, struct raft_event *event)
{
    const struct raft_message *message = event->message;
    if (message->prev_idx >= raft_runs_from(&actor->raft))
        return;
    event->log_prev_term = log_term_at(actor->log, message->prev_idx);
    if (message->type == RAFT_MSG_APPEND)
        event->log_same_idx =
            log_same_term_until(actor->log, message->prev_idx, message->entry_term, message->last_idx);
}

static void take_message(struct actor *actor, const struct parcel *parcel)
{
    struct raft_event event = {.type = RAFT_EV_MESSAGE, .now_us = actor->now.mono_us, .message = &parcel->message};
    bool again;
    if (!seats_fit(actor, parcel->message.config))
        return;
    if (parcel->message.type == RAFT_MSG_RESET &&
        (parcel->next_off < 0 || parcel->start_off < 0 || parcel->start_off > parcel->next_off ||
         parcel->message.config == NULL || parcel->message.prev_term > INT32_MAX))
        return;
    if (parcel->message.type == RAFT_MSG_APPEND || parcel->message.type == RAFT_MSG_RESET)
        ask_log(actor, &event);
    actor_step(actor, &event, parcel, &again, NULL);
}

/* ---- entries ------------------------------------------------------------------------------------ */

static bool is_whole(const struct parcel *parcel)
{
    const struct raft_message *message = &parcel->message;
    if (message->last_idx < message->prev_idx || message->last_idx - message->prev_idx != parcel->entry_count)
        return false;
    for (uint32_t i = 0; i < parcel->entry_count; i++) {
        const struct parcel_entry *entry = &parcel->entries[i];
        if (entry->idx != message->prev_idx + 1 + i || entry->term != message->entry_term || entry->term > INT32_MAX ||
            (entry->type == LOG_ENTRY_RECORDS) != (entry->record_count > 0))
            return false;
    }
    return true;
}

bool actor_entry_config(struct actor *actor, const void *body, uint32_t body_bytes, struct raft_config *config)
{
    return config_body_decode(body, body_bytes, config, RAFT_SEATS_MAX) == KQ_OK &&
           actor_seat_room(actor, config->count);
}

/* Whether raft will want this entry appended, if it wants it at all. Where the terms before
 * it differ it refuses; at the commit it does not look, as they cannot. */
static bool is_next(const struct actor *actor, const struct raft_message *message)
{
    const struct raft *raft = &actor->raft;
    return message->term >= raft->term && message->prev_idx == raft->last_idx &&
           (message->prev_term == raft->last_term || message->prev_idx <= raft->commit_idx);
}

/* The first entry of the parcel. *done: there is nothing more to be had of it. */
static enum taken take_entry(struct actor *actor, struct parcel *parcel, struct raft_message *reply, bool *done)
{
    const struct parcel_entry *entry = &parcel->entries[0];
    struct raft_message message = parcel->message;
    message.last_idx = entry->idx;
    *done = true;
    if (is_next(actor, &message)) {
        bool no_space;
        if (entry->first_off != log_next_off(actor->log)) {
            SAY_ERROR("%s: broker %u sent entry %llu for offset %lld; here it would be %lld. It is not taken",
                      actor->options.log.title, (unsigned)message.from.broker_id, (unsigned long long)entry->idx,
                      (long long)entry->first_off, (long long)log_next_off(actor->log));
            return TAKEN_PART;
        }
        if (!actor_room(actor, entry->type, entry->body_bytes, &no_space))
            return no_space || actor->failure.err != KQ_OK ? TAKEN_PART : WAITS_FOR_ROOM;
    }
    struct raft_seat seats[RAFT_SEATS_MAX];
    struct raft_config config = {.idx = entry->idx, .seats = seats};
    if (entry->type == LOG_ENTRY_CONFIG && !actor_entry_config(actor, entry->body, entry->body_bytes, &config))
        return TAKEN_PART;
    struct raft_event event = {.type = RAFT_EV_MESSAGE,
                               .now_us = actor->now.mono_us,
                               .message = &message,
                               .cut_alone = true,
                               .config = entry->type == LOG_ENTRY_CONFIG ? &config : NULL};
    ask_log(actor, &event);
    struct raft_message answer = {0};
    bool again;
    actor_step(actor, &event, parcel, &again, &answer);
    *done = actor->failure.err != KQ_OK;
    if (again)
        return TAKEN_PART;
    if (answer.type != 0)
        *reply = answer;
    if (answer.type != RAFT_MSG_APPEND_REPLY || answer.refused) {
        *done = true;
        return TAKEN_PART;
    }
    parcel->message.prev_idx = entry->idx;
    parcel->message.prev_term = entry->term;
    parcel->entries++;
    parcel->entry_count--;
    return TAKEN_ALL;
}

/* False: it waits for room. */
static bool take_entries(struct actor *actor, struct parcel *parcel)
{
    struct raft_message reply = {0};
    bool waits = false;
    bool done = false;
    while (parcel->entry_count > 0 && !done && !waits)
        waits = take_entry(actor, parcel, &reply, &done) == WAITS_FOR_ROOM;
    if (reply.type != 0)
        actor_reply(actor, &reply); /* the last acknowledges all before it */
    return !waits;
}

void actor_take_parcels(struct actor *actor)
{
    while (actor->parcels.first != NULL && actor->failure.err == KQ_OK) {
        struct parcel *parcel = CONTAINER_OF(actor->parcels.first, struct parcel, mail);
        if (!take_entries(actor, parcel))
            return;
        (void)mail_list_take(&actor->parcels);
        parcel_gone(actor, parcel);
    }
}

void actor_take_parcel(struct actor *actor, struct parcel *parcel)
{
    if (actor->failure.err != KQ_OK) {
        parcel_gone(actor, parcel);
    } else if (parcel->message.type != RAFT_MSG_APPEND || parcel->message.last_idx == parcel->message.prev_idx) {
        take_message(actor, parcel);
        parcel_gone(actor, parcel);
    } else if (!is_whole(parcel) || actor->parcels.count >= PARCELS_MAX) {
        parcel_gone(actor, parcel);
    } else {
        mail_list_append(&actor->parcels, &parcel->mail);
        if (actor->parcels.count == 1)
            actor_take_parcels(actor);
    }
}

void actor_drop_parcels(struct actor *actor)
{
    struct mail *mail;
    while ((mail = mail_list_take(&actor->parcels)) != NULL)
        parcel_gone(actor, CONTAINER_OF(mail, struct parcel, mail));
}
