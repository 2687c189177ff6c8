/* What a leader appends: folded publishes, the no-op that opens a term, a new log
 * start, a configuration. */
#include "partition/actor_internal.h"

#include "base/crc32c.h"

enum {
    /* Above this a body's checksum is combined from the batches' own, so that the
     * bytes are not read a second time; below it reading them is cheaper. */
    COMBINE_FROM_BYTES = 16 * 1024,
    TAKING_YOUNG_US = 5 * 1000 * 1000, /* longer than a client waits before it sends again */
};

/* An entry being folded. */
struct fold {
    struct iovec parts[PARTS_MAX];
    int part_count;
    uint32_t body_bytes;
    uint32_t body_crc;
    uint32_t record_count;
    int64_t next_off;
    int64_t max_time_ms;
    uint64_t idx;
};

static struct publish_request *publish_of(struct mail *mail)
{
    return CONTAINER_OF(mail, struct publish_request, mail);
}

static void finish_publish(struct actor *actor, struct publish_request *request, enum kq_err err, const char *text)
{
    if (text == NULL)
        request->fault = (struct fault){.err = err};
    else
        (void)fault_set(&request->fault, err, "%s", text);
    mail_list_append(&actor->finished, &request->mail);
}

static enum kq_err check_sizes(const struct actor *actor, struct publish_request *request)
{
    struct cursor at = cursor_over(request->batches, request->batches_bytes);
    uint64_t records = 0;
    while (cursor_left(&at) > 0) {
        struct batch_info info;
        const uint8_t *batch;
        if (batch_next(&at, &info, &batch) != KQ_OK || info.record_count < 1 ||
            info.record_count != info.last_offset_delta + 1)
            return fault_set(&request->fault, KQ_INVALID_RECORD, "a record batch is not well formed");
        if (info.producer_id >= 0 && (info.base_sequence < 0 || request->batch_count != 1))
            return fault_set(&request->fault, KQ_INVALID_RECORD, "a producer's batch must come alone with a sequence");
        int32_t limit = actor->options.limits.max_message_bytes;
        if (limit >= 0 && info.size_bytes > limit)
            return fault_set(&request->fault, KQ_TOO_LARGE, "message too large: %d bytes, max.message.bytes is %d",
                             (int)info.size_bytes, (int)limit);
        records += (uint64_t)info.record_count;
    }
    return records == request->record_count && records > 0
               ? KQ_OK
               : fault_set(&request->fault, KQ_INVALID_RECORD, "the record count does not agree with the batches");
}

/* False: the request was answered (or waits for its original); it adds nothing. */
static bool pass_producer(struct actor *actor, struct publish_request *request, const struct batch_info *info,
                          const struct fold *fold)
{
    int64_t base_off = -1;
    uint64_t idx = 0;
    switch (producers_judge(&actor->producers, info, &base_off, &idx)) {
    case PRODUCERS_DUPLICATE:
        request->base_off = base_off;
        request->wait_idx = idx;
        request->fault = (struct fault){.err = KQ_OK};
        mail_list_append(&actor->inflight, &request->mail);
        return false;
    case PRODUCERS_GAP:
        request->fault = (struct fault){.err = KQ_SEQUENCE_GAP};
        actor_doubt(actor, &request->mail);
        return false;
    case PRODUCERS_FENCED:
        request->fault = (struct fault){.err = KQ_PRODUCER_FENCED};
        actor_doubt(actor, &request->mail);
        return false;
    case PRODUCERS_NEXT:
        break;
    }
    enum kq_err err = producers_note(&actor->producers, info, fold->next_off, fold->idx, actor->now.wall_ms);
    if (err != KQ_OK)
        finish_publish(actor, request, err, NULL);
    else
        actor->producers_idx = fold->idx;
    return err == KQ_OK;
}

static void add_checksum(struct fold *fold, const uint8_t *batch, const struct batch_info *info)
{
    uint32_t size_bytes = (uint32_t)info->size_bytes;
    if (size_bytes < COMBINE_FROM_BYTES) {
        fold->body_crc = crc32c(fold->body_crc, batch, size_bytes);
        return;
    }
    fold->body_crc = crc32c(fold->body_crc, batch, BATCH_CRC_FROM);
    fold->body_crc = crc32c_combine(fold->body_crc, info->crc, size_bytes - BATCH_CRC_FROM);
}

static void place_batches(struct fold *fold, struct publish_request *request, uint64_t term)
{
    struct cursor at = cursor_over(request->batches, request->batches_bytes);
    request->base_off = fold->next_off;
    while (cursor_left(&at) > 0) {
        struct batch_info info;
        const uint8_t *batch;
        uint8_t *start = request->batches + (at.at - request->batches);
        REQUIRE(batch_next(&at, &info, &batch) == KQ_OK);
        batch_place(start, fold->next_off, (int32_t)term);
        add_checksum(fold, start, &info);
        fold->next_off += info.record_count;
        fold->record_count += (uint32_t)info.record_count;
        if (info.max_time_ms > fold->max_time_ms)
            fold->max_time_ms = info.max_time_ms;
    }
    fold->parts[fold->part_count].iov_base = request->batches;
    fold->parts[fold->part_count].iov_len = request->batches_bytes;
    fold->part_count++;
    fold->body_bytes += request->batches_bytes;
}

/*
 * A producer that is not known here begins with sequence 0. One that does not was forgotten, and may go on
 * with any; or what it sent before was refused while nobody led, and comes again: then this batch, which it
 * sent right behind, must not be taken in its place. Those who come again do so soon; so in the first
 * moments of a term such a batch is refused as those before it were, and is sent again behind them. Only
 * those whose clients keep several on the way by themselves are asked for: the lanes of src/api have order.
 */
static bool comes_too_soon(struct actor *actor, const struct publish_request *request, const struct batch_info *info)
{
    if (actor->taking_term != actor->raft.term) {
        actor->taking_term = actor->raft.term;
        actor->taking_since_us = actor->now.mono_us;
    }
    return request->wants_in_sync && info->base_sequence != 0 &&
           actor->now.mono_us - actor->taking_since_us < TAKING_YOUNG_US &&
           !producers_know(&actor->producers, info->producer_id);
}

static void take_publish(struct actor *actor, struct fold *fold, struct publish_request *request)
{
    request->term = actor->raft.term;
    bool bound = request->in_term != 0 || (request->forwarded && !actor_is_alone(actor));
    if (bound && request->in_term != request->term) {
        finish_publish(actor, request, KQ_NOT_LEADER, "the leader has changed");
        return;
    }
    int32_t min_in_sync = actor->options.limits.min_in_sync;
    if (request->wants_in_sync && min_in_sync > 1 && !actor_has_in_sync(actor, min_in_sync)) {
        actor->taking_since_us = actor->now.mono_us; /* what was sent behind this may not overtake it */
        finish_publish(actor, request, KQ_NOT_ENOUGH_REPLICAS, "fewer replicas are in sync than min.insync.replicas");
        return;
    }
    if (check_sizes(actor, request) != KQ_OK) {
        mail_list_append(&actor->finished, &request->mail);
        return;
    }
    struct cursor at = cursor_over(request->batches, request->batches_bytes);
    struct batch_info info;
    const uint8_t *batch;
    REQUIRE(batch_next(&at, &info, &batch) == KQ_OK);
    if (info.producer_id >= 0 && comes_too_soon(actor, request, &info)) {
        finish_publish(actor, request, KQ_NOT_LEADER,
                       "leads since a moment ago; what the producer sent before is missing");
        return;
    }
    if (info.producer_id >= 0 && !pass_producer(actor, request, &info, fold))
        return;
    place_batches(fold, request, actor->raft.term);
    request->wait_idx = fold->idx;
    request->log_start_off = log_start_off(actor->log);
    request->fault = (struct fault){.err = KQ_OK};
    mail_list_append(&actor->inflight, &request->mail);
}

/* The bytes that the next entry may hold: what waits, up to the limit, and at
 * least the first publish whole. */
static uint32_t bytes_to_fold(const struct actor *actor, int *count)
{
    uint64_t sum = 0;
    *count = 0;
    for (struct mail *mail = actor->waiting.first; mail != NULL && *count < PARTS_MAX; mail = mail->next) {
        uint64_t more = publish_of(mail)->batches_bytes;
        if (*count > 0 && sum + more > actor->options.entry_max_bytes)
            break;
        sum += more;
        (*count)++;
    }
    return (uint32_t)sum;
}

bool actor_log_append(struct actor *actor, const struct log_entry *entry)
{
    enum kq_err err = log_append(actor->log, entry);
    if (err == KQ_OK)
        return true;
    struct fault fault;
    (void)fault_set(&fault, err, "%s: appending to the log failed: %s", actor->options.log.title, err_text(err));
    actor_fail(actor, err, &fault);
    return false;
}

static void append_fold(struct actor *actor, struct fold *fold)
{
    struct log_entry entry = {.type = LOG_ENTRY_RECORDS,
                              .term = actor->raft.term,
                              .idx = fold->idx,
                              .first_off = log_next_off(actor->log),
                              .record_count = fold->record_count,
                              .max_time_ms = fold->max_time_ms,
                              .body = fold->parts,
                              .body_count = fold->part_count,
                              .body_bytes = fold->body_bytes,
                              .has_body_crc = true,
                              .body_crc = fold->body_crc};
    if (!actor_log_append(actor, &entry))
        return;
    struct engine_counters *counters = actor->options.counters;
    (void)atomic_fetch_add_explicit(&counters->messages_in, fold->record_count, memory_order_relaxed);
    (void)atomic_fetch_add_explicit(&counters->batches_in, (uint64_t)fold->part_count, memory_order_relaxed);
    (void)atomic_fetch_add_explicit(&counters->bytes_in, fold->body_bytes, memory_order_relaxed);
    actor_note_append(actor, &entry, NULL);
}

static void refuse_publishes(struct actor *actor)
{
    struct mail *mail;
    while ((mail = mail_list_take(&actor->waiting)) != NULL)
        finish_publish(actor, publish_of(mail), KQ_NO_SPACE, NULL);
}

void actor_fold_publishes(struct actor *actor)
{
    while (actor->waiting.first != NULL && actor->entry_count < actor->options.unflushed_entries &&
           actor->failure.err == KQ_OK) {
        int count;
        uint32_t body_bytes = bytes_to_fold(actor, &count);
        bool no_space;
        if (!raft_has_room(&actor->raft, body_bytes))
            return; /* until followers have taken more */
        if (!actor_room(actor, LOG_ENTRY_RECORDS, body_bytes, &no_space)) {
            if (no_space)
                refuse_publishes(actor);
            return;
        }
        struct fold fold;
        fold.part_count = 0;
        fold.body_bytes = fold.body_crc = fold.record_count = 0;
        fold.next_off = log_next_off(actor->log);
        fold.max_time_ms = -1;
        fold.idx = log_last_idx(actor->log) + 1;
        for (; count > 0; count--)
            take_publish(actor, &fold, publish_of(mail_list_take(&actor->waiting)));
        if (fold.part_count > 0)
            append_fold(actor, &fold);
    }
}

/* An entry without records. False: no room yet, or the log has failed. */
static bool append_control(struct actor *actor, enum log_entry_type type, const void *body, uint32_t body_bytes,
                           struct raft_config *config)
{
    bool no_space;
    if (!actor_room(actor, type, body_bytes, &no_space))
        return false;
    union {
        const void *from;
        void *to;
    } borrowed = {.from = body}; /* iovec has no const */
    struct iovec part = {.iov_base = borrowed.to, .iov_len = body_bytes};
    struct log_entry entry = {.type = type,
                              .term = actor->raft.term,
                              .idx = log_last_idx(actor->log) + 1,
                              .first_off = log_next_off(actor->log),
                              .max_time_ms = -1,
                              .body = &part,
                              .body_count = body_bytes > 0 ? 1 : 0,
                              .body_bytes = body_bytes};
    if (!actor_log_append(actor, &entry))
        return false;
    if (config != NULL)
        config->idx = entry.idx;
    actor_note_append(actor, &entry, config);
    return true;
}

void actor_append_noop(struct actor *actor)
{
    actor->noop_wanted = !append_control(actor, LOG_ENTRY_NOOP, NULL, 0, NULL);
}

void actor_append_start(struct actor *actor)
{
    uint8_t body[8];
    put_le64(body, (uint64_t)actor->start_off);
    if (append_control(actor, LOG_ENTRY_LOG_START, body, sizeof body, NULL))
        actor->start_wanted = false;
}

bool actor_append_config(struct actor *actor, struct raft_config *config)
{
    struct buf body;
    buf_init(&body, UINT16_MAX);
    config_body_encode(config, &body);
    bool appended = !body.bad && append_control(actor, LOG_ENTRY_CONFIG, body.data, (uint32_t)body.len, config);
    buf_fini(&body);
    return appended;
}
