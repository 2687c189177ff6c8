/*
 * What the actor stores beside its entries, in footers, snapshots and the clean
 * mark, so that a start replays only what came after; and replaying.
 *
 * Little-endian: u8 version = 2, i64 log start offset, twice (u64 idx, i64 offset)
 * of log starts not yet committed (idx 0: none), twice (u64 idx, u32 size, config
 * body) the configuration in force and the one before (size 0: that of the
 * founders, which the hard state has), u32 size and the producers (producers.c),
 * u32 size and the machine's snapshot. Version 1, of groups of one: u8 1, i64 log
 * start offset, the producers, u32 size and the snapshot.
 *
 * A data partition's state stands at an appended entry, committed or not: producers
 * count what is uncommitted, too. What a machine has applied cannot be taken back out
 * of its snapshot, so a machine's state stands at a committed entry.
 */
#include "partition/actor_internal.h"

#include "base/logger.h"

enum { STATE_VERSION = 2 };

static const struct machine_ops *ops_of(const struct actor *actor)
{
    return actor->options.machine.ops;
}

/* ---- encoding --------------------------------------------------------------------------- */

/* As of an entry. */
struct picture {
    uint64_t idx;
    int64_t start_off;
    struct start_mark starts[2];
    const struct raft_config *config;
    const struct raft_config *before;
    uint64_t config_idx;
};

static void put_config(struct buf *out, const struct raft_config *config, uint64_t idx)
{
    buf_le64(out, idx);
    size_t size_at = out->len;
    buf_le32(out, 0);
    if (idx != 0)
        config_body_encode(config, out);
    if (!out->bad)
        put_le32(out->data + size_at, (uint32_t)(out->len - size_at - 4));
}

static void encode(const struct actor *actor, const struct picture *picture, struct buf *out)
{
    buf_u8(out, STATE_VERSION);
    buf_le64(out, (uint64_t)picture->start_off);
    for (int i = 0; i < 2; i++) {
        buf_le64(out, picture->starts[i].idx);
        buf_le64(out, (uint64_t)picture->starts[i].off);
    }
    put_config(out, picture->config, picture->config_idx);
    put_config(out, picture->before, picture->before->idx);
    size_t size_at = out->len;
    buf_le32(out, 0);
    producers_encode(&actor->producers, picture->idx, out);
    if (!out->bad)
        put_le32(out->data + size_at, (uint32_t)(out->len - size_at - 4));
    size_at = out->len;
    buf_le32(out, 0);
    if (ops_of(actor) != NULL)
        ops_of(actor)->snapshot(actor->options.machine.state, out);
    if (!out->bad)
        put_le32(out->data + size_at, (uint32_t)(out->len - size_at - 4));
}

void actor_encode_end(const struct actor *actor, struct buf *out)
{
    const struct raft *raft = &actor->raft;
    bool committed = actor_machine_settled(actor) && raft->commit_idx == raft->last_idx;
    bool sure = actor_is_alone(actor) && !actor->records_open && !actor->state_ahead; /* it commits what it has */
    if (ops_of(actor) != NULL && !committed && !sure)
        return;
    struct picture picture = {.idx = UINT64_MAX,
                              .start_off = log_start_off(actor->log),
                              .starts = {actor->starts[0], actor->starts[1]},
                              .config = &raft->config,
                              .before = &raft->before,
                              .config_idx = raft->config.idx};
    encode(actor, &picture, out);
}

void actor_encode_commit(const struct actor *actor, struct buf *out)
{
    const struct raft *raft = &actor->raft;
    const struct raft_config *config = raft->config.idx <= raft->commit_idx ? &raft->config : &raft->before;
    struct picture picture = {.idx = raft->commit_idx,
                              .start_off = log_start_off(actor->log),
                              .config = config,
                              .before = &raft->before,
                              .config_idx = config->idx};
    encode(actor, &picture, out);
}

void actor_encode_base(const struct actor *actor, uint64_t idx, const struct raft_config *config, struct buf *out)
{
    int64_t end_off = log_end_off_at(actor->log, idx);
    int64_t start_off = log_start_off(actor->log);
    const struct raft_config named = {.idx = idx, .count = config->count, .seats = config->seats};
    struct picture picture = {.idx = idx,
                              .start_off = start_off < end_off ? start_off : end_off,
                              .config = &named,
                              .before = &named,
                              .config_idx = idx};
    encode(actor, &picture, out);
}

/* ---- decoding ------------------------------------------------------------------------------- */

struct stored {
    int64_t start_off;
    struct start_mark starts[2];
    struct raft_config config; /* count 0: not told */
    struct raft_config before;
    struct raft_seat seats[2][RAFT_SEATS_MAX];
    struct producers producers;
    const uint8_t *machine; /* borrowed from the state's bytes */
    uint32_t machine_bytes;
};

static enum kq_err bad_state(const struct actor *actor, enum kq_err err, struct fault *fault)
{
    return fault_set(fault, err, "%s: the state stored with the log cannot be used (%s); see `kafkaesque log check %s`",
                     actor->options.log.title, err_text(err), actor->options.log.dir);
}

static enum kq_err get_config(struct cursor *in, struct raft_config *config, struct raft_seat *seats)
{
    *config = (struct raft_config){.idx = cursor_le64(in), .seats = seats};
    uint32_t size_bytes = cursor_le32(in);
    const uint8_t *body = cursor_bytes(in, size_bytes);
    if (in->bad || size_bytes == 0)
        return in->bad ? KQ_CORRUPT : KQ_OK;
    return config_body_decode(body, size_bytes, config, RAFT_SEATS_MAX);
}

static enum kq_err get_replica(struct cursor *in, struct stored *stored)
{
    for (int i = 0; i < 2; i++) {
        stored->starts[i].idx = cursor_le64(in);
        stored->starts[i].off = (int64_t)cursor_le64(in);
    }
    enum kq_err err = get_config(in, &stored->config, stored->seats[0]);
    if (err == KQ_OK)
        err = get_config(in, &stored->before, stored->seats[1]);
    (void)cursor_le32(in); /* the size of what follows */
    return err;
}

/* *stored is to be given up by stored_fini(), whatever comes of it. */
static enum kq_err parse(const struct actor *actor, const void *bytes, size_t size_bytes, struct stored *stored,
                         struct fault *fault)
{
    struct cursor in = cursor_over(bytes, size_bytes);
    stored->config.count = stored->before.count = 0;
    stored->starts[0].idx = stored->starts[1].idx = 0;
    producers_init(&stored->producers);
    uint8_t version = cursor_u8(&in);
    if (!in.bad && (version < 1 || version > STATE_VERSION))
        return bad_state(actor, KQ_BAD_VERSION, fault);
    stored->start_off = (int64_t)cursor_le64(&in);
    enum kq_err err = version == 1 ? KQ_OK : get_replica(&in, stored);
    if (err == KQ_OK)
        err = producers_decode(&stored->producers, &in);
    if (err != KQ_OK)
        return bad_state(actor, err, fault);
    stored->machine_bytes = cursor_le32(&in);
    stored->machine = cursor_bytes(&in, stored->machine_bytes);
    if (in.bad || stored->start_off < 0)
        return bad_state(actor, KQ_CORRUPT, fault);
    return KQ_OK;
}

/* They are the actor's now. */
static void take_producers(struct actor *actor, struct stored *stored, uint64_t idx)
{
    producers_fini(&actor->producers);
    actor->producers = stored->producers;
    producers_init(&stored->producers);
    actor->producers_idx = idx;
}

static struct stored *stored_new(struct fault *fault, const struct actor *actor)
{
    struct stored *stored = malloc(sizeof *stored);
    if (stored == NULL)
        (void)fault_set(fault, KQ_NO_MEMORY, "%s: no memory to read the stored state", actor->options.log.title);
    else
        producers_init(&stored->producers);
    return stored;
}

static void stored_free(struct stored *stored)
{
    if (stored != NULL)
        producers_fini(&stored->producers);
    free(stored);
}

static enum kq_err restore_machine(struct actor *actor, const struct stored *stored, struct fault *fault)
{
    if (stored->machine_bytes == 0)
        return KQ_OK;
    return ops_of(actor)->restore(actor->options.machine.state, stored->machine, stored->machine_bytes, fault);
}

/* ---- replaying --------------------------------------------------------------------------------- */

/* What of each entry is wanted. */
struct replay {
    struct actor *actor;
    struct raft_config *config; /* NULL: configurations and log starts are not wanted */
    struct raft_config *before;
    bool producers;
    bool machine;
};

static void apply_batch(struct actor *actor, const uint8_t *batch, const struct batch_info *info)
{
    struct record_walk walk;
    struct record record;
    record_walk_init(&walk, batch, info);
    while (record_walk_next(&walk, &record) == KQ_OK)
        ops_of(actor)->apply(actor->options.machine.state, record.off, &record);
}

static enum kq_err replay_records(const struct replay *replay, const struct log_slice *slice, struct fault *fault)
{
    struct actor *actor = replay->actor;
    struct cursor at = cursor_over(slice->body, slice->body_bytes);
    while (cursor_left(&at) > 0) {
        struct batch_info info;
        const uint8_t *batch;
        if (batch_next(&at, &info, &batch) != KQ_OK)
            return fault_set(fault, KQ_CORRUPT, "%s: entry %llu holds bytes that are no record batch",
                             actor->options.log.title, (unsigned long long)slice->idx);
        if (replay->producers && info.producer_id >= 0) {
            enum kq_err err = producers_note(&actor->producers, &info, info.base_off, slice->idx, actor->now.wall_ms);
            if (err != KQ_OK)
                return fault_set(fault, err, "%s: no memory for producers' state", actor->options.log.title);
            actor->producers_idx = slice->idx;
        }
        if (replay->machine)
            apply_batch(actor, batch, &info);
    }
    return KQ_OK;
}

void actor_note_producers(struct actor *actor, uint64_t idx, const void *body, uint32_t body_bytes)
{
    const struct replay replay = {.actor = actor, .producers = true};
    const struct log_slice slice = {.type = LOG_ENTRY_RECORDS, .idx = idx, .body = body, .body_bytes = body_bytes};
    struct fault fault = {0};
    if (replay_records(&replay, &slice, &fault) != KQ_OK)
        SAY_WARNING("%s", fault_text(&fault)); /* a publish that is sent again may be stored twice */
}

static enum kq_err replay_config(const struct replay *replay, const struct log_slice *slice, struct fault *fault)
{
    struct raft_config *config = replay->config;
    struct raft_seat *seats = replay->before->seats;
    if (slice->idx <= config->idx)
        return KQ_OK;
    *replay->before = *config;
    *config = (struct raft_config){.idx = slice->idx, .seats = seats};
    enum kq_err err = config_body_decode(slice->body, slice->body_bytes, config, RAFT_SEATS_MAX);
    return err == KQ_OK ? KQ_OK
                        : fault_set(fault, err, "%s: entry %llu holds no configuration that can be read: %s",
                                    replay->actor->options.log.title, (unsigned long long)slice->idx, err_text(err));
}

static enum kq_err replay_entry(const struct replay *replay, const struct log_slice *slice, struct fault *fault)
{
    struct actor *actor = replay->actor;
    if (slice->type == LOG_ENTRY_RECORDS)
        return replay->producers || replay->machine ? replay_records(replay, slice, fault) : KQ_OK;
    if (replay->config == NULL)
        return KQ_OK;
    if (slice->type == LOG_ENTRY_CONFIG)
        return replay_config(replay, slice, fault);
    if (slice->type == LOG_ENTRY_LOG_START && slice->body_bytes == 8) {
        actor->starts[0] = actor->starts[1];
        actor->starts[1] = (struct start_mark){.idx = slice->idx, .off = (int64_t)get_le64(slice->body)};
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
static enum kq_err replay_copied(const struct replay *replay, struct log_slice *slice, struct buf *body,
                                 struct fault *fault)
{
    const char *title = replay->actor->options.log.title;
    buf_reset(body);
    struct body_copy copy = {.to = buf_reserve(body, slice->body_bytes), .slice = slice};
    if (slice->body_bytes > 0 && copy.to == NULL)
        return fault_set(fault, KQ_NO_MEMORY, "%s: no memory to replay the log", title);
    if (slice->body_bytes > 0 && !io_guarded(slice->body, slice->body_bytes, copy_body, &copy))
        return fault_set(fault, KQ_IO, "%s: reading entry %llu of the log: %s", title, (unsigned long long)slice->idx,
                         err_text(KQ_IO));
    slice->body = copy.to;
    return replay_entry(replay, slice, fault);
}

static enum kq_err walk(const struct replay *replay, uint64_t from_idx, uint64_t last_idx, struct fault *fault)
{
    struct actor *actor = replay->actor;
    if (from_idx > last_idx)
        return KQ_OK;
    struct log_view *view = log_view_take(actor->log);
    if (view == NULL)
        return fault_set(fault, KQ_NO_MEMORY, "%s: no memory to replay the log", actor->options.log.title);
    struct log_iter it;
    struct buf body;
    buf_init(&body, UINT32_MAX);
    enum kq_err err = log_iter_seek_uncommitted(&it, actor->log, view, from_idx);
    for (uint64_t idx = from_idx; err == KQ_OK && idx <= last_idx; idx++) {
        struct log_slice slice;
        err = log_iter_next(&it, &slice, fault);
        if (err == KQ_OK)
            err = replay_copied(replay, &slice, &body, fault);
    }
    buf_fini(&body);
    log_view_drop(&view);
    if (err != KQ_OK && fault->err == KQ_OK)
        return fault_set(fault, err, "%s: replaying the log from entry %llu: %s", actor->options.log.title,
                         (unsigned long long)from_idx, err_text(err));
    return err;
}

/* The log begins after the newest state that can be used. Producers' state is
 * made good by their next batches; a machine's cannot be guessed. */
static enum kq_err miss_state(const struct actor *actor, struct fault *fault)
{
    if (ops_of(actor) != NULL)
        return fault_set(fault, KQ_CORRUPT,
                         "%s: the state stored with the log is missing or damaged, and the log no longer begins at the "
                         "beginning; restore %s from a backup, or see `kafkaesque log check`",
                         actor->options.log.title, actor->options.log.dir);
    SAY_WARNING("%s: what was known of exactly-once producers is lost: a publish sent again after this start may be "
                "stored twice",
                actor->options.log.title);
    return KQ_OK;
}

/* ---- at the start --------------------------------------------------------------------------------- */

static void founders_config(const struct actor *actor, struct raft_config *config)
{
    const struct log_hard_state *state = log_hard_state(actor->log);
    config->idx = 0;
    config->count = state->voter_count;
    for (uint32_t i = 0; i < state->voter_count; i++)
        config->seats[i] = (struct raft_seat){
            .member = {.broker_id = state->voters[i].broker_id, .incarnation = state->voters[i].incarnation},
            .kinds = RAFT_SEAT_VOTER};
}

static void copy_config(struct raft_config *to, const struct raft_config *from)
{
    if (from->count == 0)
        return; /* the founders' stays */
    to->idx = from->idx;
    to->count = from->count;
    memcpy(to->seats, from->seats, from->count * sizeof(struct raft_seat));
}

static enum kq_err load_newest(struct actor *actor, struct stored *stored, struct replay *replay, uint64_t *at_idx,
                               struct fault *fault)
{
    size_t state_bytes;
    const void *state = log_stored_state(actor->log, &state_bytes, at_idx);
    if (state == NULL || state_bytes == 0) {
        *at_idx = 0;
        return KQ_OK;
    }
    enum kq_err err = parse(actor, state, state_bytes, stored, fault);
    if (err != KQ_OK)
        return err;
    take_producers(actor, stored, *at_idx);
    copy_config(replay->config, &stored->config);
    copy_config(replay->before, &stored->before);
    actor->starts[0] = stored->starts[0];
    actor->starts[1] = stored->starts[1];
    if (stored->start_off > log_next_off(actor->log))
        return bad_state(actor, KQ_CORRUPT, fault);
    if (stored->start_off > log_start_off(actor->log))
        log_set_start(actor->log, stored->start_off);
    return KQ_OK;
}

enum kq_err actor_load(struct actor *actor, struct raft_config *config, struct raft_config *before, struct fault *fault)
{
    struct replay replay = {.actor = actor, .config = config, .before = before, .producers = ops_of(actor) == NULL};
    founders_config(actor, config);
    founders_config(actor, before);
    struct stored *stored = stored_new(fault, actor);
    if (stored == NULL)
        return KQ_NO_MEMORY;
    uint64_t state_idx;
    enum kq_err err = load_newest(actor, stored, &replay, &state_idx, fault);
    stored_free(stored);
    uint64_t from_idx = state_idx + 1;
    if (err == KQ_OK && from_idx < log_first_idx(actor->log)) {
        err = miss_state(actor, fault);
        from_idx = log_first_idx(actor->log);
    }
    if (err != KQ_OK)
        return err;
    return walk(&replay, from_idx, log_last_idx(actor->log), fault);
}

/* ---- the machine and the producers, again --------------------------------------------------------------- */

enum kq_err actor_restore_machine(struct actor *actor, struct fault *fault)
{
    void *state = NULL;
    size_t state_bytes = 0;
    uint64_t at_idx = 0;
    log_set_commit(actor->log, actor->raft.commit_idx);
    ops_of(actor)->reset(actor->options.machine.state);
    enum kq_err err = log_stored_state_at(actor->log, actor->raft.commit_idx, &state, &state_bytes, &at_idx, fault);
    if (err != KQ_OK)
        return err;
    struct stored *stored = stored_new(fault, actor);
    err = stored == NULL ? KQ_NO_MEMORY : KQ_OK;
    if (err == KQ_OK && state != NULL)
        err = parse(actor, state, state_bytes, stored, fault);
    if (err == KQ_OK && state != NULL)
        err = restore_machine(actor, stored, fault);
    stored_free(stored);
    free(state);
    actor->machine_idx = at_idx;
    if (err == KQ_OK && at_idx + 1 < log_first_idx(actor->log))
        err = miss_state(actor, fault);
    return err == KQ_OK ? actor_apply_committed(actor, fault) : err;
}

enum kq_err actor_apply_committed(struct actor *actor, struct fault *fault)
{
    const struct replay replay = {.actor = actor, .machine = true};
    enum kq_err err = walk(&replay, actor->machine_idx + 1, actor->raft.commit_idx, fault);
    if (err == KQ_OK && actor->machine_idx < actor->raft.commit_idx)
        actor->machine_idx = actor->raft.commit_idx;
    return err;
}

enum kq_err actor_restore_producers(struct actor *actor, struct fault *fault)
{
    void *state = NULL;
    size_t state_bytes = 0;
    uint64_t at_idx = 0;
    uint64_t last_idx = log_last_idx(actor->log);
    producers_fini(&actor->producers);
    actor->producers_idx = 0;
    enum kq_err err = log_stored_state_at(actor->log, last_idx, &state, &state_bytes, &at_idx, fault);
    if (err != KQ_OK)
        return err;
    struct stored *stored = stored_new(fault, actor);
    err = stored == NULL ? KQ_NO_MEMORY : KQ_OK;
    if (err == KQ_OK && state != NULL)
        err = parse(actor, state, state_bytes, stored, fault);
    if (err == KQ_OK && state != NULL)
        take_producers(actor, stored, at_idx);
    stored_free(stored);
    free(state);
    const struct replay replay = {.actor = actor, .producers = true};
    uint64_t from_idx = at_idx + 1 > log_first_idx(actor->log) ? at_idx + 1 : log_first_idx(actor->log);
    return err == KQ_OK ? walk(&replay, from_idx, last_idx, fault) : err;
}

enum kq_err actor_take_state(struct actor *actor, uint64_t idx, const void *state, size_t state_bytes,
                             struct fault *fault)
{
    struct stored *stored = stored_new(fault, actor);
    if (stored == NULL)
        return KQ_NO_MEMORY;
    enum kq_err err = parse(actor, state, state_bytes, stored, fault);
    if (err == KQ_OK)
        take_producers(actor, stored, idx);
    if (err == KQ_OK && ops_of(actor) != NULL) {
        ops_of(actor)->reset(actor->options.machine.state);
        err = restore_machine(actor, stored, fault);
        actor->machine_idx = idx;
    }
    stored_free(stored);
    return err;
}
