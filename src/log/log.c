/*
 * The log as its owner sees it: what is in it, and appending.
 *
 * An append writes whole pages into the prepared (zeroed) range: the bytes that
 * already stand in the first page again, as they are, then the entry, then zeros
 * to the end of the page. A page that the cache has dropped is therefore never
 * read back before it is written. It never writes past the prepared range, so
 * that neither the append nor the flush that follows meets a full disk or pays
 * for new blocks.
 */
#include "log/log_impl.h"

#include "base/crc32c.h"
#include "base/require.h"

#include <stdlib.h>
#include <string.h>

static const uint8_t zero_page[PAGE_BYTES];

/* ---- life ------------------------------------------------------------------------- */

size_t log_index_map_bytes(uint64_t segment_bytes)
{
    return (size_t)page_up((segment_bytes / ENTRY_HEAD_BYTES + LOG_ROWS_AHEAD_MIN) * INDEX_ROW_BYTES);
}

bool log_add_segment(struct log *log, struct segment *s)
{
    if (log->segment_count == log->segment_cap) {
        uint32_t cap = log->segment_cap == 0 ? 4 : 2 * log->segment_cap;
        struct segment **grown = realloc(log->segments, cap * sizeof(struct segment *));
        if (grown == NULL)
            return false;
        log->segments = grown;
        log->segment_cap = cap;
    }
    log->segments[log->segment_count++] = s;
    return true;
}

void log_free(struct log *log)
{
    log_view_forget(log);
    if (log->tip.segment != NULL)
        segment_drop(log->tip.segment);
    for (uint32_t i = 0; i < log->segment_count; i++)
        segment_drop(log->segments[i]);
    if (log->budget != NULL)
        (void)account_give(log->budget, (int64_t)log->budget_held);
    for (int i = 0; i < LOG_LANE_COUNT; i++)
        free(log->jobs[i]);
    free(log->segments);
    free(log->tail_page);
    free(log->roll_state);
    free(log->stored);
    free(log->snapshot);
    free(log->cut.state);
    heal_forget(&log->heal);
    (void)pthread_mutex_destroy(&log->tip_lock);
    if (log->place != NULL)
        place_drop(log->place);
    log->tag = TAG_DEAD;
    free(log);
}

void log_fail(struct log *log, const struct fault *fault)
{
    if (log->failed)
        return;
    log->failed = true;
    log->fault = *fault;
}

/* ---- what is in it ------------------------------------------------------------------ */

const struct log_hard_state *log_hard_state(const struct log *log)
{
    return &log->state;
}

uint64_t log_first_idx(const struct log *log)
{
    return log->segment_count > 0 && !log_is_resetting(log) ? log->segments[0]->first_idx : log->last_idx + 1;
}

uint64_t log_last_idx(const struct log *log)
{
    return log->last_idx;
}

uint64_t log_last_term(const struct log *log)
{
    return log->last_term;
}

uint64_t log_flushed_idx(const struct log *log)
{
    return log->flushed_idx;
}

int64_t log_unsealed_off(const struct log *log)
{
    const struct segment *s = log_active(log);
    return s == NULL ? log->next_off : s->first_off;
}

int64_t log_next_off(const struct log *log)
{
    return log->next_off;
}

int64_t log_start_off(const struct log *log)
{
    return log_is_resetting(log) ? log->cut.to.start_off
                                 : atomic_load_explicit(&log->place->start_off, memory_order_relaxed);
}

uint64_t log_size_bytes(const struct log *log)
{
    const struct segment *active = log_active(log);
    if (log_is_resetting(log))
        return 0;
    return log->sealed_bytes + (active != NULL ? log->write_pos - SEGMENT_HEAD_BYTES : 0);
}

struct segment *log_segment_of(const struct log *log, uint64_t idx)
{
    uint32_t low = 0;
    uint32_t high = log_is_resetting(log) ? 0 : log->segment_count;
    while (low < high) { /* the last one that begins at or before idx */
        uint32_t mid = low + (high - low) / 2;
        if (log->segments[mid]->first_idx <= idx)
            low = mid + 1;
        else
            high = mid;
    }
    return low > 0 && idx <= log->last_idx ? log->segments[low - 1] : NULL;
}

uint64_t log_term_at(const struct log *log, uint64_t idx)
{
    if (idx == log->last_idx && idx > 0)
        return log->last_term;
    if (log->segment_count > 0 && idx + 1 == log->segments[0]->first_idx && !log_is_resetting(log))
        return log->segments[0]->prev_term;
    struct segment *s = log_segment_of(log, idx);
    if (s == NULL)
        return 0;
    if (s == log_active(log))
        return segment_ready(s, NULL) == KQ_OK ? segment_row(s, idx).term : 0;
    uint32_t i = s->run_count - 1;
    while (i > 0 && s->runs[i].idx > idx)
        i--;
    return s->runs[i].term;
}

int64_t log_end_off_at(const struct log *log, uint64_t idx)
{
    if (idx >= log->last_idx)
        return log->next_off;
    if (idx + 1 == log_first_idx(log))
        return log->segments[0]->first_off;
    struct segment *s = log_segment_of(log, idx + 1);
    REQUIRE(s != NULL);
    if (idx + 1 == s->first_idx)
        return s->first_off;
    return segment_ready(s, NULL) == KQ_OK ? segment_row(s, idx + 1).first_off : -1;
}

const void *log_stored_state(const struct log *log, size_t *size_bytes, uint64_t *at_idx)
{
    *size_bytes = log->stored_bytes;
    *at_idx = log->stored_bytes > 0 ? log->stored_idx : 0;
    return log->stored;
}

/* ---- small setters -------------------------------------------------------------------- */

void log_set_segment_bytes(struct log *log, uint64_t segment_bytes)
{
    log->segment_bytes = segment_bytes;
}

uint64_t log_set_hard_state(struct log *log, const struct log_hard_state *state)
{
    uint64_t version = log->state.version + 1;
    if (log->state_dirty) /* the last one has not been written: this replaces it */
        version = log->state.version;
    log->state = *state;
    log->state.version = version;
    log->state.topic_id = log->place->topic_id;
    log->state.partition = log->place->partition;
    log->state_dirty = true;
    return version;
}

void log_set_commit(struct log *log, uint64_t commit_idx)
{
    struct place *p = log->place;
    REQUIRE(commit_idx <= log->last_idx);
    if (log_is_resetting(log)) /* what it begins behind is committed, and shown once it is durable */
        return;
    if (commit_idx <= atomic_load_explicit(&p->commit_idx, memory_order_relaxed))
        return;
    int64_t end_off = log_end_off_at(log, commit_idx);
    if (end_off < 0)
        return; /* its index cannot be read: nothing more is shown */
    atomic_store_explicit(&p->commit_idx, commit_idx, memory_order_release);
    atomic_store_explicit(&p->high_watermark, end_off, memory_order_release);
}

void log_set_start(struct log *log, int64_t start_off)
{
    REQUIRE(start_off <= log->next_off);
    if (start_off > log_start_off(log))
        atomic_store_explicit(&log->place->start_off, start_off, memory_order_release);
}

bool log_wants_roll_state(const struct log *log)
{
    return log->want_roll && log->active && !log->has_roll_state && !log_job_is_out(log, LOG_LANE_KEEP);
}

void log_roll_state(struct log *log, const void *state, size_t state_bytes)
{
    REQUIRE(state_bytes <= LOG_STATE_BYTES_MAX);
    free(log->roll_state);
    log->roll_state = NULL;
    log->roll_state_bytes = 0;
    log->has_roll_state = true;
    if (state_bytes == 0)
        return;
    log->roll_state = malloc(state_bytes);
    if (log->roll_state == NULL)
        return; /* sealed without a state: a start replays more */
    memcpy(log->roll_state, state, state_bytes);
    log->roll_state_bytes = state_bytes;
}

enum kq_err log_store_snapshot(struct log *log, uint64_t idx, const void *state, size_t state_bytes)
{
    REQUIRE(state_bytes <= LOG_STATE_BYTES_MAX);
    bool committed = idx <= atomic_load_explicit(&log->place->commit_idx, memory_order_relaxed);
    if (log_is_resetting(log) || !committed || log->snapshot_waits ||
        (log_job_is_out(log, LOG_LANE_KEEP) && log->jobs[LOG_LANE_KEEP]->kind == JOB_SNAPSHOT))
        return KQ_AGAIN;
    void *copy = malloc(state_bytes + 1);
    if (copy == NULL)
        return KQ_NO_MEMORY;
    memcpy(copy, state, state_bytes);
    log->snapshot = copy;
    log->snapshot_bytes = state_bytes;
    log->snapshot_idx = idx;
    log->snapshot_waits = true;
    return KQ_OK;
}

void log_fill_mark(const struct log *log, struct log_mark *mark)
{
    const struct segment *active = log_active(log);
    *mark = (struct log_mark){
        .state_version = log->state_dirty ? log->state.version - 1 : log->state.version,
        .flushed_term = log->flushed_term,
        .flushed_idx = log->flushed_idx,
        .commit_idx = atomic_load_explicit(&log->place->commit_idx, memory_order_relaxed),
        .next_off = log->next_off,
        .start_off = log_start_off(log),
        .segment_off = -1,
    };
    if (active == NULL)
        return;
    mark->segment_off = active->first_off;
    mark->segment_idx = active->first_idx;
    mark->end_pos = log->write_pos;
    mark->last_crc = log->last_crc;
    mark->max_time_ms = log->max_time_ms;
}

/* ---- appending -------------------------------------------------------------------------- */

/* Rows that the mapping of the active index can still take. */
static uint64_t rows_left(const struct log *log)
{
    const struct segment *s = log_active(log);
    return s->index_map_bytes / INDEX_ROW_BYTES - (log->last_idx + 1 - s->first_idx);
}

/* A segment without a record never rolls: the next one would have its name. */
static bool has_record(const struct log *log)
{
    return log->next_off > log_active(log)->first_off;
}

void log_force_roll(struct log *log)
{
    log->force_roll = log->active && log->cut.kind == LOG_CUT_NONE && has_record(log);
}

/* Whether an entry fits where it should go; if not, what is wanted is noted. */
static bool has_place(struct log *log, enum log_entry_type type, uint64_t size_bytes)
{
    const struct segment *s = log_active(log);
    if (log_job_is_out(log, LOG_LANE_KEEP) && log->jobs[LOG_LANE_KEEP]->kind == JOB_ROLL)
        return false; /* the segment is being sealed: not even what is small enough may slip in */
    uint64_t limit = log->segment_bytes + SEGMENT_HEAD_BYTES;
    bool full = s == NULL ||
                (has_record(log) && (log->force_roll || log->write_pos + size_bytes > limit || rows_left(log) == 0));
    uint64_t reserve = type == LOG_ENTRY_RECORDS ? LOG_CONTROL_RESERVE_BYTES : 0;
    bool row = s != NULL && log->last_idx + 1 - s->first_idx < log->rows;
    bool space = s != NULL && !log->tail_closed && log->write_pos + size_bytes + reserve <= log->prepared_pos;
    if (s != NULL && row && space && (!full || (log->no_space && reserve == 0))) {
        log->want_roll = false; /* whoever wanted it has given up */
        log->need_bytes = 0;
        return true;
    }
    log->want_roll = full;
    log->need_bytes = size_bytes;
    return false;
}

/* The last bytes of the tail page's prefix and the entry, from `skip` on, become
 * the new tail page. */
static void keep_tail(struct log *log, const uint8_t *head, const struct log_entry *entry, uint64_t skip)
{
    size_t prefix = (size_t)(log->write_pos % PAGE_BYTES);
    uint8_t *out = log->tail_page;
    if (skip < prefix) { /* still the same page */
        out += prefix;
        skip = 0;
    } else {
        skip -= prefix;
    }
    for (int i = -1; i < entry->body_count; i++) {
        const uint8_t *part = i < 0 ? head : entry->body[i].iov_base;
        size_t size = i < 0 ? ENTRY_HEAD_BYTES : entry->body[i].iov_len;
        if (skip >= size) {
            skip -= size;
            continue;
        }
        memcpy(out, part + skip, size - skip);
        out += size - skip;
        PLACE_COUNT(log->place, copied_bytes, size - skip);
        skip = 0;
    }
}

/* Zeros from the page after write_pos up to `end`. */
static enum kq_err zero_pages(struct log *log, struct segment *s, uint64_t end)
{
    enum kq_err err = KQ_OK;
    for (uint64_t pos = page_up(log->write_pos); err == KQ_OK && pos < end; pos += PAGE_BYTES)
        err = io_write(log->place->io, s->file, zero_page, PAGE_BYTES, pos);
    return err;
}

/* Prepared space that was none, as a copying file system may have it: part of the
 * entry may stand in the file. Before it is called refused it is made zero,
 * durably, so that no start ever finds it. */
static enum kq_err take_back(struct log *log, struct segment *s, uint64_t size_bytes)
{
    size_t prefix = (size_t)(log->write_pos % PAGE_BYTES);
    memset(log->tail_page + prefix, 0, PAGE_BYTES - prefix);
    enum kq_err err = io_write(log->place->io, s->file, log->tail_page, PAGE_BYTES, log->write_pos - prefix);
    if (err == KQ_OK)
        err = zero_pages(log, s, page_up(log->write_pos + size_bytes));
    return err == KQ_OK ? place_datasync(log->place, s->file) : err;
}

enum { APPEND_PARTS = 16 };

/* pwritev of whole pages: prefix, head, body, zeros. */
static enum kq_err write_pages(struct log *log, struct segment *s, uint8_t *head, const struct log_entry *entry,
                               uint64_t size_bytes)
{
    struct iovec few[APPEND_PARTS];
    struct iovec *parts = few;
    if (entry->body_count + 3 > APPEND_PARTS) {
        parts = malloc((size_t)(entry->body_count + 3) * sizeof *parts);
        if (parts == NULL)
            return KQ_NO_MEMORY;
    }
    size_t prefix = (size_t)(log->write_pos % PAGE_BYTES);
    uint64_t end = log->write_pos + size_bytes;
    union {
        const void *in;
        void *out;
    } zeros = {.in = zero_page};
    int count = 0;
    parts[count++] = (struct iovec){log->tail_page, prefix};
    parts[count++] = (struct iovec){head, ENTRY_HEAD_BYTES};
    for (int i = 0; i < entry->body_count; i++)
        parts[count++] = entry->body[i];
    parts[count++] = (struct iovec){zeros.out, (size_t)(page_up(end) - end)};
    enum kq_err err = io_writev(log->place->io, s->file, parts, count, log->write_pos - prefix);
    if (parts != few)
        free(parts);
    return err;
}

struct row_store {
    uint8_t *rows;
    uint64_t number;
    struct index_row row;
};

static void store_row(void *context)
{
    const struct row_store *r = context;
    index_row_put(r->rows, r->number, &r->row);
}

static enum kq_err refuse(struct log *log, enum kq_err err, const char *what)
{
    char path[SEGMENT_PATH_BYTES];
    struct fault fault;
    place_segment_path(log->place, log_active(log)->first_off, what, path);
    (void)fault_set(&fault, err, "writing %s: %s; the replica stops", path, err_text(err));
    log_fail(log, &fault);
    return err;
}

static uint32_t body_crc(const struct log *log, const struct log_entry *entry)
{
    uint32_t plain = entry->body_crc;
    if (!entry->has_body_crc) {
        plain = 0;
        for (int i = 0; i < entry->body_count; i++)
            plain = crc32c(plain, entry->body[i].iov_base, entry->body[i].iov_len);
    }
    return entry_body_crc(&log->place->seed, entry->term, entry->idx, plain, entry->body_bytes);
}

/* The entry stands in the file: now it counts. */
static enum kq_err take_in(struct log *log, struct segment *s, const struct log_entry *entry, uint32_t crc,
                           uint64_t size_bytes)
{
    struct row_store r = {.rows = s->index.rows, .number = entry->idx - s->first_idx};
    if (entry->max_time_ms > log->max_time_ms)
        log->max_time_ms = entry->max_time_ms;
    r.row = (struct index_row){entry->first_off, log->max_time_ms, (uint32_t)log->write_pos, (uint32_t)entry->term,
                               entry->type == LOG_ENTRY_CONFIG};
    if (!io_guarded(s->index.rows, s->index.mapped_bytes, store_row, &r))
        return refuse(log, KQ_IO, "index");
    log->write_pos += size_bytes;
    log->old = entry->old;
    log->last_idx = entry->idx;
    log->last_term = entry->term;
    log->last_crc = crc;
    log->next_off += entry->record_count;
    log->no_space = false;
    log->has_roll_state = false; /* one that was given for a roll that never began is old now */
    log->mark_due_us = CLOCK_NEVER;
    uint64_t give = size_bytes < log->budget_held ? size_bytes : log->budget_held;
    log->budget_held -= give;
    if (log->budget != NULL && give > 0)
        (void)account_give(log->budget, (int64_t)give);
    free(log->stored);
    log->stored = NULL;
    log->stored_bytes = 0;
    (void)pthread_mutex_lock(&log->tip_lock);
    struct segment *before = log->tip.segment;
    if (before != s)
        log->tip.segment = segment_hold(s);
    log->tip.idx = entry->idx;
    log->tip.term = entry->term;
    log->tip.end_pos = log->write_pos;
    (void)pthread_mutex_unlock(&log->tip_lock);
    if (before != NULL && before != s)
        segment_drop(before);
    PLACE_COUNT(log->place, writes, 1);
    PLACE_COUNT(log->place, written_bytes, size_bytes);
    return KQ_OK;
}

enum kq_err log_make_room(struct log *log, enum log_entry_type type, uint32_t body_bytes)
{
    TAG_CHECK(log, LOG_TAG);
    if (log->failed)
        return log->fault.err;
    if (body_bytes > ENTRY_BODY_BYTES_MAX)
        return KQ_TOO_LARGE;
    if (log->cut.kind != LOG_CUT_NONE)
        return KQ_AGAIN;
    if (log->active && !has_record(log) && rows_left(log) == 0)
        return KQ_LIMIT; /* as many control entries as a segment has rows, and not one record */
    if (has_place(log, type, ENTRY_HEAD_BYTES + (uint64_t)body_bytes))
        return KQ_OK;
    bool full = log->no_space;
    log->no_space = false;
    if (!full)
        return KQ_AGAIN;
    log->need_bytes = 0; /* refused: nothing waits; the next one asks anew */
    log->want_roll = false;
    return KQ_NO_SPACE;
}

enum kq_err log_append(struct log *log, const struct log_entry *entry)
{
    REQUIRE(entry->idx == log->last_idx + 1);
    REQUIRE(entry->first_off == log->next_off);
    if (entry->term > INT32_MAX || entry->term < log->last_term)
        return KQ_INVALID; /* a term is also the batches' leader epoch */
    uint64_t size = ENTRY_HEAD_BYTES + (uint64_t)entry->body_bytes;
    enum kq_err room = log_make_room(log, entry->type, entry->body_bytes);
    if (room != KQ_OK)
        return room;
    struct segment *s = log_active(log);
    struct entry_head head = {
        .flushed_idx = log->flushed_idx,
        .type = entry->type,
        .body_crc = body_crc(log, entry),
        .body_bytes = entry->body_bytes,
        .record_count = entry->record_count,
        .term = entry->term,
        .idx = entry->idx,
        .first_off = entry->first_off,
        .prev_crc = log->last_crc,
    };
    uint8_t encoded[ENTRY_HEAD_BYTES];
    entry_encode(encoded, &head, &log->place->seed);
    enum kq_err err = zero_pages(log, s, log->dirty_pos);
    if (err == KQ_OK) {
        log->dirty_pos = 0;
        err = write_pages(log, s, encoded, entry, size);
    }
    if (err == KQ_NO_MEMORY)
        return err;
    if (err == KQ_NO_SPACE && take_back(log, s, size) == KQ_OK)
        return err;
    if (err != KQ_OK)
        return refuse(log, err == KQ_NO_SPACE ? KQ_IO : err, "log");
    uint64_t end = log->write_pos + size;
    uint64_t prefix = log->write_pos % PAGE_BYTES;
    keep_tail(log, encoded, entry, prefix + size - end % PAGE_BYTES);
    return take_in(log, s, entry, head.body_crc, size);
}

enum kq_err log_load_tail(struct log *log, struct fault *fault)
{
    struct segment *s = log_active(log);
    if (log->tail_page == NULL)
        log->tail_page = calloc(1, PAGE_BYTES);
    if (log->tail_page == NULL)
        return fault_set(fault, KQ_NO_MEMORY, "out of memory");
    size_t prefix = (size_t)(log->write_pos % PAGE_BYTES);
    enum kq_err err = io_read(log->place->io, s->file, log->tail_page, prefix, log->write_pos - prefix, NULL);
    return err == KQ_OK
               ? KQ_OK
               : fault_set(fault, err, "reading the end of a segment in %s: %s", log->place->dir, err_text(err));
}
