/*
 * What the actor stores beside its entries, in footers, snapshots and the clean
 * mark: so that a start replays only what came after.
 *
 * Little-endian: u8 version = 1, i64 log start offset, the producers
 * (producers.c), u32 size of the machine's snapshot, the snapshot.
 */
#include "partition/actor_internal.h"

#include "base/logger.h"

enum { STATE_VERSION = 1 };

void actor_encode_state(const struct actor *actor, struct buf *out)
{
    /* As of the last append: a log start that is appended and not yet committed
     * counts, since its entry will not be replayed after this state. */
    int64_t start_off = log_start_off(actor->log);
    if (actor->start.idx != 0 && actor->start.off > start_off)
        start_off = actor->start.off;
    buf_u8(out, STATE_VERSION);
    buf_le64(out, (uint64_t)start_off);
    producers_encode(&actor->producers, out);
    size_t size_at = out->len;
    buf_le32(out, 0);
    if (actor->options.machine.ops != NULL)
        actor->options.machine.ops->snapshot(actor->options.machine.state, out);
    if (!out->bad)
        put_le32(out->data + size_at, (uint32_t)(out->len - size_at - 4));
}

static enum kq_err bad_state(const struct actor *actor, enum kq_err err, struct fault *fault)
{
    return fault_set(fault, err, "%s: the state stored with the log cannot be used (%s); see `kafkaesque log check %s`",
                     actor->options.log.title, err_text(err), actor->options.log.dir);
}

static enum kq_err decode_state(struct actor *actor, const void *bytes, size_t size_bytes, struct fault *fault)
{
    struct cursor in = cursor_over(bytes, size_bytes);
    uint8_t version = cursor_u8(&in);
    if (!in.bad && version != STATE_VERSION)
        return bad_state(actor, KQ_BAD_VERSION, fault);
    int64_t start_off = (int64_t)cursor_le64(&in);
    enum kq_err err = producers_decode(&actor->producers, &in);
    if (err != KQ_OK)
        return bad_state(actor, err, fault);
    uint32_t machine_bytes = cursor_le32(&in);
    const uint8_t *machine = cursor_bytes(&in, machine_bytes);
    if (in.bad || start_off < 0 || start_off > log_next_off(actor->log))
        return bad_state(actor, KQ_CORRUPT, fault);
    if (actor->options.machine.ops != NULL && machine_bytes > 0) {
        err = actor->options.machine.ops->restore(actor->options.machine.state, machine, machine_bytes, fault);
        if (err != KQ_OK)
            return err;
    }
    if (start_off > log_start_off(actor->log))
        log_set_start(actor->log, start_off);
    return KQ_OK;
}

static void apply_batch(struct actor *actor, const uint8_t *batch, const struct batch_info *info)
{
    const struct machine_ops *ops = actor->options.machine.ops;
    struct record_walk walk;
    struct record record;
    record_walk_init(&walk, batch, info);
    while (record_walk_next(&walk, &record) == KQ_OK)
        ops->apply(actor->options.machine.state, record.off, &record);
}

static enum kq_err replay_records(struct actor *actor, const struct log_slice *slice, struct fault *fault)
{
    struct cursor at = cursor_over(slice->body, slice->body_bytes);
    while (cursor_left(&at) > 0) {
        struct batch_info info;
        const uint8_t *batch;
        if (batch_next(&at, &info, &batch) != KQ_OK)
            return fault_set(fault, KQ_CORRUPT, "%s: entry %llu holds bytes that are no record batch",
                             actor->options.log.title, (unsigned long long)slice->idx);
        if (info.producer_id >= 0) {
            enum kq_err err = producers_note(&actor->producers, &info, info.base_off, slice->idx, actor->now.wall_ms);
            if (err != KQ_OK)
                return fault_set(fault, err, "%s: no memory for producers' state", actor->options.log.title);
        }
        if (actor->options.machine.ops != NULL)
            apply_batch(actor, batch, &info);
    }
    return KQ_OK;
}

static enum kq_err replay_entry(struct actor *actor, const struct log_slice *slice, struct fault *fault)
{
    if (slice->type == LOG_ENTRY_RECORDS)
        return replay_records(actor, slice, fault);
    if (slice->type == LOG_ENTRY_LOG_START && slice->body_bytes == 8) {
        int64_t start_off = (int64_t)get_le64(slice->body);
        if (start_off > log_start_off(actor->log) && start_off <= log_next_off(actor->log))
            log_set_start(actor->log, start_off);
    }
    return KQ_OK;
}

struct body_copy {
    uint8_t *to;
    const struct log_slice *slice;
};

static void copy_body(void *context)
{
    const struct body_copy *copy = context;
    memcpy(copy->to, copy->slice->body, copy->slice->body_bytes);
}

/* The entry is replayed from a copy: a disk that fails under the mapping must not
 * end in the middle of a machine's change. */
static enum kq_err replay_copied(struct actor *actor, struct log_slice *slice, struct buf *body, struct fault *fault)
{
    buf_reset(body);
    struct body_copy copy = {.to = buf_reserve(body, slice->body_bytes), .slice = slice};
    if (slice->body_bytes > 0 && copy.to == NULL)
        return fault_set(fault, KQ_NO_MEMORY, "%s: no memory to replay the log", actor->options.log.title);
    if (slice->body_bytes > 0 && !io_guarded(slice->body, slice->body_bytes, copy_body, &copy))
        return fault_set(fault, KQ_IO, "%s: reading entry %llu of the log: %s", actor->options.log.title,
                         (unsigned long long)slice->idx, err_text(KQ_IO));
    slice->body = copy.to;
    return replay_entry(actor, slice, fault);
}

/* The log begins after the newest state that can be used. Producers' state is
 * made good by their next batches; a machine's cannot be guessed. */
static enum kq_err miss_state(const struct actor *actor, struct fault *fault)
{
    if (actor->options.machine.ops != NULL)
        return fault_set(fault, KQ_CORRUPT,
                         "%s: the state stored with the log is missing or damaged, and the log no longer begins at the "
                         "beginning; restore %s from a backup, or see `kafkaesque log check`",
                         actor->options.log.title, actor->options.log.dir);
    SAY_WARNING("%s: what was known of exactly-once producers is lost: a publish sent again after this start may be "
                "stored twice",
                actor->options.log.title);
    return KQ_OK;
}

enum kq_err actor_replay(struct actor *actor, struct fault *fault)
{
    size_t state_bytes;
    uint64_t state_idx;
    const void *state = log_stored_state(actor->log, &state_bytes, &state_idx);
    if (state != NULL && state_bytes > 0) {
        enum kq_err err = decode_state(actor, state, state_bytes, fault);
        if (err != KQ_OK)
            return err;
    } else {
        state_idx = 0;
    }
    uint64_t from_idx = state_idx + 1;
    if (from_idx < log_first_idx(actor->log)) {
        enum kq_err err = miss_state(actor, fault);
        if (err != KQ_OK)
            return err;
        from_idx = log_first_idx(actor->log);
    }
    if (from_idx > log_last_idx(actor->log))
        return KQ_OK;
    struct log_view *view = log_view_take(actor->log);
    struct log_iter it;
    struct buf body;
    buf_init(&body, UINT32_MAX);
    enum kq_err err = log_iter_seek_idx(&it, view, from_idx);
    while (err == KQ_OK) {
        struct log_slice slice;
        err = log_iter_next(&it, &slice, fault);
        if (err == KQ_OK)
            err = replay_copied(actor, &slice, &body, fault);
    }
    buf_fini(&body);
    log_view_drop(&view);
    return err == KQ_EOF ? KQ_OK : err;
}
