/*
 * What consensus asks of a log: which entries to send, one of them whole, where the
 * terms begin, and the newest state that stands at or below an index. All on the
 * owner's thread, over committed and uncommitted entries alike.
 *
 * Sizes and kinds come from the index rows, terms of sealed segments from their
 * footers; no body is read but the one that log_read copies. Terms never fall from
 * one entry to the next, so those of the active segment are found by halving.
 */
#include "log/log_impl.h"

#include "base/logger.h"
#include "base/require.h"

#include <stdlib.h>
#include <string.h>

/* ---- which entries to send ----------------------------------------------------------- */

/* Where the entry at idx, whose row is in s, ends; 0: it cannot be told. */
static uint64_t end_of(const struct log *log, struct segment *s, uint64_t idx)
{
    uint64_t end_idx = atomic_load_explicit(&s->end_idx, memory_order_relaxed);
    bool last = idx == log->last_idx && log->cut.kind == LOG_CUT_NONE; /* else the row of the one after it stands yet */
    if (s == log_active(log) ? last : idx + 1 == end_idx)
        return s == log_active(log) ? log->write_pos : s->end_pos;
    uint64_t next = segment_row(s, idx + 1).pos;
    if (next >= SEGMENT_HEAD_BYTES)
        return next;
    struct entry_head head; /* the one after it is damaged */
    const uint8_t *body;
    struct fault fault;
    if (segment_read(s, idx, false, &head, &body, &fault) != KQ_OK)
        return 0;
    return segment_row(s, idx).pos + ENTRY_HEAD_BYTES + (uint64_t)head.body_bytes;
}

enum kq_err log_plan(struct log *log, uint64_t first_idx, uint64_t last_idx, uint64_t limit_bytes,
                     struct log_range *range)
{
    TAG_CHECK(log, LOG_TAG);
    *range = (struct log_range){.first_idx = first_idx};
    if (first_idx < log_first_idx(log) || first_idx > log->last_idx || last_idx < first_idx)
        return KQ_NOT_FOUND;
    struct segment *s = NULL;
    for (uint64_t idx = first_idx; idx <= last_idx && idx <= log->last_idx; idx++) {
        if (s == NULL || idx >= atomic_load_explicit(&s->end_idx, memory_order_relaxed)) {
            s = log_segment_of(log, idx);
            enum kq_err err = segment_ready(s, NULL);
            if (err != KQ_OK)
                return idx == first_idx ? err : KQ_OK;
        }
        struct index_row row = segment_row(s, idx);
        uint64_t end = row.pos >= SEGMENT_HEAD_BYTES ? end_of(log, s, idx) : 0;
        if (end == 0)
            return idx == first_idx ? KQ_CORRUPT : KQ_OK;
        uint64_t size = end - row.pos;
        if (idx > first_idx && (row.term != range->term || range->bytes + size > limit_bytes))
            break;
        range->term = row.term;
        range->last_idx = idx;
        range->bytes += size;
        if (row.config)
            break;
    }
    return KQ_OK;
}

/* ---- one entry ------------------------------------------------------------------------- */

struct copy {
    uint8_t *to;
    const uint8_t *from;
    size_t size_bytes;
};

static void copy_body(void *context)
{
    const struct copy *c = context;
    memcpy(c->to, c->from, c->size_bytes);
}

enum kq_err log_read(struct log *log, uint64_t idx, struct log_slice *slice, struct buf *body, struct fault *fault)
{
    TAG_CHECK(log, LOG_TAG);
    buf_reset(body);
    struct segment *s = idx >= log_first_idx(log) ? log_segment_of(log, idx) : NULL;
    if (s == NULL)
        return KQ_NOT_FOUND;
    struct entry_head head;
    const uint8_t *data;
    enum kq_err err = segment_ready(s, fault);
    if (err == KQ_OK)
        err = segment_read(s, idx, false, &head, &data, fault);
    if (err != KQ_OK)
        return err;
    if ((head.flags & ENTRY_LOST) != 0)
        return fault_set(fault, KQ_CORRUPT, "%s: the body of entry %llu was given up by a repair", log->place->title,
                         (unsigned long long)idx);
    struct copy c = {.to = buf_reserve(body, head.body_bytes + 1u), .from = data, .size_bytes = head.body_bytes};
    if (c.to == NULL)
        return fault_set(fault, KQ_NO_MEMORY, "%s: copying entry %llu: out of memory", log->place->title,
                         (unsigned long long)idx);
    if (head.body_bytes > 0 && !io_guarded(data, head.body_bytes, copy_body, &c))
        return fault_set(fault, KQ_IO, "%s: entry %llu cannot be read: the disk reported an error", log->place->title,
                         (unsigned long long)idx);
    body->len += head.body_bytes;
    *slice = (struct log_slice){
        .type = head.type,
        .term = head.term,
        .idx = head.idx,
        .first_off = head.first_off,
        .record_count = head.record_count,
        .max_time_ms = entry_max_time(&head, body->data),
        .body_crc = head.body_crc,
        .body = body->data,
        .body_bytes = head.body_bytes,
    };
    return KQ_OK;
}

/* ---- terms ------------------------------------------------------------------------------- */

/* The entries of one segment that have one term. */
struct span {
    uint64_t term;
    uint64_t first_idx;
    uint64_t last_idx;
};

static bool span_by_rows(const struct log *log, struct segment *s, uint64_t idx, struct span *span)
{
    if (segment_ready(s, NULL) != KQ_OK)
        return false;
    span->term = segment_row(s, idx).term;
    uint64_t low = s->first_idx;
    span->first_idx = idx;
    while (low < span->first_idx) { /* the first of this term */
        uint64_t mid = low + (span->first_idx - low) / 2;
        if (segment_row(s, mid).term < span->term)
            low = mid + 1;
        else
            span->first_idx = mid;
    }
    uint64_t high = log->last_idx;
    span->last_idx = idx;
    while (span->last_idx < high) { /* the last */
        uint64_t mid = high - (high - span->last_idx) / 2;
        if (segment_row(s, mid).term > span->term)
            high = mid - 1;
        else
            span->last_idx = mid;
    }
    return true;
}

/* The span around idx, which is in s; false: the index cannot be read. */
static bool span_at(const struct log *log, struct segment *s, uint64_t idx, struct span *span)
{
    if (s == log_active(log))
        return span_by_rows(log, s, idx, span);
    uint32_t i = s->run_count - 1;
    while (i > 0 && s->runs[i].idx > idx)
        i--;
    span->term = s->runs[i].term;
    span->first_idx = s->runs[i].idx;
    span->last_idx =
        (i + 1 < s->run_count ? s->runs[i + 1].idx : atomic_load_explicit(&s->end_idx, memory_order_relaxed)) - 1;
    if (span->last_idx > log->last_idx)
        span->last_idx = log->last_idx;
    return true;
}

uint32_t log_term_runs(const struct log *log, struct log_run *runs, uint32_t max)
{
    uint32_t count = 0;
    uint64_t first_idx = log_first_idx(log);
    for (uint64_t idx = log->last_idx; idx >= first_idx && idx > 0;) { /* newest first */
        struct span span;
        struct segment *s = log_segment_of(log, idx);
        if (!span_at(log, s, idx, &span))
            break;
        if (count == 0 || runs[count - 1].term != span.term) {
            if (count == max)
                break;
            count++;
        }
        runs[count - 1] = (struct log_run){span.term, span.first_idx};
        idx = span.first_idx - 1;
    }
    if (count == 0 && max > 0 && log->last_idx >= first_idx) /* so much is always known */
        runs[count++] = (struct log_run){log->last_term, log->last_idx};
    for (uint32_t i = 0; i < count / 2; i++) {
        struct log_run other = runs[i];
        runs[i] = runs[count - 1 - i];
        runs[count - 1 - i] = other;
    }
    return count;
}

uint64_t log_same_term_until(const struct log *log, uint64_t idx, uint64_t term, uint64_t last_idx)
{
    uint64_t end = last_idx < log->last_idx ? last_idx : log->last_idx;
    while (idx < end) {
        struct span span;
        struct segment *s = log_segment_of(log, idx + 1);
        if (s == NULL || !span_at(log, s, idx + 1, &span) || span.term != term)
            break;
        idx = span.last_idx < end ? span.last_idx : end;
    }
    return idx;
}

/* ---- stored states ------------------------------------------------------------------------ */

/* The state in the footer of a sealed segment. */
static enum kq_err footer_state(const struct log *log, const struct segment *s, void **state)
{
    struct place *p = log->place;
    char path[SEGMENT_PATH_BYTES];
    place_segment_path(p, s->first_off, "log", path);
    struct io_file *file;
    enum kq_err err = io_open(p->io, path, 0, &file);
    if (err != KQ_OK)
        return err;
    struct footer footer = {.end_pos = s->end_pos, .state_bytes = s->state_bytes};
    err = footer_load_state(p->io, file, &footer, &p->seed, state);
    io_close(p->io, &file);
    return err;
}

/* What cannot be read now may be read later; what does not check out never will. */
static enum kq_err pass_over(const struct log *log, uint64_t idx, enum kq_err err, struct fault *fault)
{
    if (err == KQ_NO_MEMORY || err == KQ_IO)
        return fault_set(fault, err, "%s: reading the state stored at entry %llu: %s", log->place->title,
                         (unsigned long long)idx, err_text(err));
    SAY_WARNING("%s: the state stored at entry %llu cannot be used: %s; an older one is taken", log->place->title,
                (unsigned long long)idx, err_text(err));
    return KQ_OK;
}

/* The one that comes with a reset; all others are as good as gone. */
static enum kq_err reset_state(const struct log *log, uint64_t max_idx, void **state, size_t *size_bytes,
                               uint64_t *at_idx, struct fault *fault)
{
    const struct log_reset_to *to = &log->cut.to;
    if (to->prev_idx > max_idx || to->state_bytes == 0)
        return KQ_OK;
    *state = malloc(to->state_bytes);
    if (*state == NULL)
        return fault_set(fault, KQ_NO_MEMORY, "%s: copying a state: out of memory", log->place->title);
    memcpy(*state, to->state, to->state_bytes);
    *size_bytes = to->state_bytes;
    *at_idx = to->prev_idx;
    return KQ_OK;
}

enum kq_err log_stored_state_at(const struct log *log, uint64_t max_idx, void **state, size_t *size_bytes,
                                uint64_t *at_idx, struct fault *fault)
{
    *state = NULL;
    *size_bytes = 0;
    *at_idx = 0;
    if (log_is_resetting(log))
        return reset_state(log, max_idx, state, size_bytes, at_idx, fault);
    uint64_t kept_idx = log->kept_idx <= max_idx ? log->kept_idx : 0;
    for (uint32_t i = log->segment_count; i > 0; i--) {
        const struct segment *s = log->segments[i - 1];
        uint64_t end_idx = atomic_load_explicit(&s->end_idx, memory_order_relaxed);
        if (end_idx == SEGMENT_END_OPEN || s->state_bytes == 0 || end_idx - 1 > max_idx || end_idx - 1 > log->last_idx)
            continue;
        if (end_idx - 1 <= kept_idx)
            break;
        enum kq_err err = footer_state(log, s, state);
        if (err == KQ_OK) {
            *size_bytes = s->state_bytes;
            *at_idx = end_idx - 1;
            return KQ_OK;
        }
        err = pass_over(log, end_idx - 1, err, fault);
        if (err != KQ_OK)
            return err;
    }
    if (kept_idx == 0)
        return KQ_OK;
    enum kq_err err = snapshot_load(log->place, at_idx, state, size_bytes, fault);
    if (err == KQ_OK && *size_bytes > 0 && *at_idx <= max_idx)
        return KQ_OK;
    free(*state);
    *state = NULL;
    *size_bytes = 0;
    *at_idx = 0;
    return err == KQ_OK ? KQ_OK : pass_over(log, kept_idx, err, fault);
}
