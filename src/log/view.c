/*
 * Reading: views of the segments, held by whoever reads, on any thread.
 *
 * A view is immutable but for the numbers in struct place, which move on while it
 * is held. The log keeps one and gives references to it; when segments come or go
 * it makes another, and the old one lives until its last reader lets go.
 *
 * A row or an entry may be read if its idx is at or below the commit that this
 * thread has read (acquire): the owner stored the row and wrote the entry before
 * it released that commit.
 */
#include "log/log_impl.h"

#include "base/require.h"

#include <stdlib.h>

enum { VIEW_TAG = 0x71e371e3 };

/* ---- life -------------------------------------------------------------------------- */

static struct log_view *view_new(const struct log *log)
{
    struct log_view *v = malloc(sizeof *v + log->segment_count * sizeof(struct segment *));
    if (v == NULL)
        return NULL;
    v->tag = VIEW_TAG;
    atomic_init(&v->refs, 1);
    v->place = place_hold(log->place);
    v->generation = atomic_load_explicit(&v->place->generation, memory_order_relaxed);
    v->count = log->segment_count;
    for (uint32_t i = 0; i < v->count; i++)
        v->segments[i] = segment_hold(log->segments[i]);
    return v;
}

struct log_view *log_view_take(struct log *log)
{
    TAG_CHECK(log, LOG_TAG);
    if (log->view == NULL)
        log->view = view_new(log);
    return log->view != NULL ? log_view_hold(log->view) : NULL;
}

struct log_view *log_view_hold(struct log_view *view)
{
    TAG_CHECK(view, VIEW_TAG);
    (void)atomic_fetch_add_explicit(&view->refs, 1, memory_order_relaxed);
    return view;
}

void log_view_drop(struct log_view **view)
{
    struct log_view *v = *view;
    *view = NULL;
    if (v == NULL)
        return;
    TAG_CHECK(v, VIEW_TAG);
    if (atomic_fetch_sub_explicit(&v->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (uint32_t i = 0; i < v->count; i++)
        segment_drop(v->segments[i]);
    place_drop(v->place);
    v->tag = TAG_DEAD;
    free(v);
}

void log_view_forget(struct log *log)
{
    log_view_drop(&log->view);
    log->sealed_bytes = 0;
    for (uint32_t i = 0; i < log->segment_count; i++)
        if (log->segments[i] != log_active(log))
            log->sealed_bytes += log->segments[i]->end_pos - SEGMENT_HEAD_BYTES;
}

/* ---- numbers ------------------------------------------------------------------------- */

int64_t log_view_high_watermark(const struct log_view *view)
{
    return atomic_load_explicit(&view->place->high_watermark, memory_order_acquire);
}

int64_t log_view_start_off(const struct log_view *view)
{
    return atomic_load_explicit(&view->place->start_off, memory_order_acquire);
}

bool log_view_has_damage(const struct log_view *view)
{
    return atomic_load_explicit(&view->place->damage_count, memory_order_relaxed) > 0;
}

static uint64_t commit_of(const struct log_view *view)
{
    return atomic_load_explicit(&view->place->commit_idx, memory_order_acquire);
}

/* After the commit was read: entries up to it may be in segments that this view does
 * not have, and what its own hold above an older commit was cut. */
static bool is_outdated(const struct log_view *view)
{
    return atomic_load_explicit(&view->place->generation, memory_order_acquire) != view->generation;
}

/* The idx after the last committed one in s. */
static uint64_t readable_end(const struct segment *s, uint64_t commit_idx)
{
    uint64_t end = atomic_load_explicit(&s->end_idx, memory_order_acquire);
    return end <= commit_idx ? end : commit_idx + 1;
}

/* ---- seeking -------------------------------------------------------------------------- */

enum kq_err log_iter_seek(struct log_iter *it, struct log_view *view, int64_t off)
{
    TAG_CHECK(view, VIEW_TAG);
    int64_t high = log_view_high_watermark(view);
    uint64_t commit_idx = commit_of(view);
    *it = (struct log_iter){.view = view};
    if (is_outdated(view))
        return KQ_AGAIN;
    if (off < log_view_start_off(view) || off > high)
        return KQ_OFFSET_OUT_OF_RANGE;
    uint32_t i = view->count;
    while (i > 0 && view->segments[i - 1]->first_off > off)
        i--;
    if (i == 0) { /* nothing is in it yet, or what is asked came or went since */
        it->idx = 1;
        return view->count == 0 && commit_idx == 0 ? KQ_OK : KQ_AGAIN;
    }
    struct segment *s = view->segments[i - 1];
    uint64_t end = readable_end(s, commit_idx);
    if (i == view->count && end <= commit_idx && off >= s->end_off)
        return KQ_AGAIN; /* in a segment that this view does not have */
    it->segment = i - 1;
    it->idx = s->first_idx;
    if (end <= s->first_idx)
        return KQ_OK;
    enum kq_err err = segment_ready(s, NULL);
    if (err != KQ_OK)
        return err == KQ_NOT_FOUND ? KQ_AGAIN : err;
    uint64_t low = s->first_idx; /* the last row that begins at or before off */
    while (end - low > 1) {
        uint64_t mid = low + (end - low) / 2;
        if (segment_row(s, mid).first_off <= off)
            low = mid;
        else
            end = mid;
    }
    it->idx = low;
    return KQ_OK;
}

enum kq_err log_iter_seek_idx(struct log_iter *it, struct log_view *view, uint64_t idx)
{
    TAG_CHECK(view, VIEW_TAG);
    *it = (struct log_iter){.view = view, .idx = idx};
    if (is_outdated(view))
        return KQ_AGAIN;
    uint32_t i = view->count;
    while (i > 0 && view->segments[i - 1]->first_idx > idx)
        i--;
    if (i == 0)
        return view->count == 0 && idx == commit_of(view) + 1 ? KQ_OK : KQ_OFFSET_OUT_OF_RANGE;
    it->segment = i - 1;
    return idx <= commit_of(view) + 1 ? KQ_OK : KQ_OFFSET_OUT_OF_RANGE;
}

enum kq_err log_iter_seek_uncommitted(struct log_iter *it, const struct log *log, struct log_view *view, uint64_t idx)
{
    if (idx < log_first_idx(log) || idx > log_last_idx(log) + 1)
        return KQ_OFFSET_OUT_OF_RANGE;
    if (log_iter_seek_idx(it, view, idx) == KQ_AGAIN)
        return KQ_AGAIN;
    it->end_idx = log_last_idx(log);
    return KQ_OK;
}

enum kq_err log_iter_next(struct log_iter *it, struct log_slice *slice, struct fault *fault)
{
    struct log_view *view = it->view;
    if (it->idx > (it->end_idx != 0 ? it->end_idx : commit_of(view)))
        return KQ_EOF;
    if (view->count == 0 || is_outdated(view))
        return KQ_AGAIN;
    struct segment *s = view->segments[it->segment];
    while (it->idx >= atomic_load_explicit(&s->end_idx, memory_order_acquire)) {
        if (it->segment + 1 == view->count)
            return KQ_AGAIN;
        s = view->segments[++it->segment];
    }
    enum kq_err err = segment_ready(s, fault);
    struct entry_head head;
    const uint8_t *body;
    if (err == KQ_OK)
        err = segment_read(s, it->idx, false, &head, &body, fault);
    if (err != KQ_OK)
        return err == KQ_NOT_FOUND || is_outdated(view) ? KQ_AGAIN : err; /* deleted before this view opened it */
    *slice = (struct log_slice){
        .type = head.type,
        .term = head.term,
        .idx = head.idx,
        .first_off = head.first_off,
        .record_count = head.record_count,
        .max_time_ms = -1,
        .body_crc = head.body_crc,
        .body = body,
        .body_bytes = head.body_bytes,
    };
    it->idx++;
    return KQ_OK;
}

/* ---- by time --------------------------------------------------------------------------- */

struct find {
    const struct entry_head *head;
    const uint8_t *body;
    int64_t time_ms;
    int64_t off;
    int64_t found_ms;
    bool found;
};

/* The first record at or after time_ms among the batches of one entry. */
static void find_in_body(void *context)
{
    struct find *f = context;
    struct cursor c = cursor_over(f->body, f->head->body_bytes);
    struct batch_info info;
    const uint8_t *batch;
    while (!f->found && cursor_left(&c) > 0 && batch_next(&c, &info, &batch) == KQ_OK) {
        if (info.max_time_ms < f->time_ms)
            continue;
        f->found = true;
        f->off = info.base_off; /* of a compressed batch: as near as can be told */
        f->found_ms = info.max_time_ms;
        if ((info.attributes & BATCH_CODEC_MASK) != 0)
            break;
        struct record_walk w;
        struct record r;
        record_walk_init(&w, batch, &info);
        while (record_walk_next(&w, &r) == KQ_OK) {
            if (r.time_ms < f->time_ms)
                continue;
            f->off = r.off;
            f->found_ms = r.time_ms;
            break;
        }
    }
}

enum kq_err log_view_max_time(struct log_view *view, int64_t *max_ms, struct fault *fault)
{
    uint64_t commit_idx = commit_of(view);
    *max_ms = -1;
    if (is_outdated(view))
        return KQ_AGAIN;
    for (uint32_t i = 0; i < view->count; i++) {
        struct segment *s = view->segments[i];
        uint64_t end = readable_end(s, commit_idx);
        if (end <= s->first_idx)
            continue;
        enum kq_err err = segment_ready(s, fault);
        if (err != KQ_OK)
            return err == KQ_NOT_FOUND ? KQ_AGAIN : err;
        int64_t here_ms = segment_row(s, end - 1).max_time_ms;
        if (here_ms > *max_ms)
            *max_ms = here_ms;
    }
    return KQ_OK;
}

enum kq_err log_view_find_time(struct log_view *view, int64_t time_ms, int64_t *off, int64_t *found_ms,
                               struct fault *fault)
{
    *found_ms = -1;
    *off = log_view_high_watermark(view);
    int64_t start = log_view_start_off(view);
    uint64_t commit_idx = commit_of(view);
    if (is_outdated(view))
        return KQ_AGAIN;
    for (uint32_t i = 0; i < view->count; i++) {
        struct segment *s = view->segments[i];
        uint64_t end = readable_end(s, commit_idx);
        bool sealed = atomic_load_explicit(&s->end_idx, memory_order_acquire) != SEGMENT_END_OPEN;
        if (end <= s->first_idx || (sealed && (s->max_time_ms < time_ms || s->end_off <= start)))
            continue;
        enum kq_err err = segment_ready(s, fault);
        if (err != KQ_OK)
            return err == KQ_NOT_FOUND ? KQ_AGAIN : err;
        if (segment_row(s, end - 1).max_time_ms < time_ms)
            continue;
        uint64_t low = s->first_idx; /* the first row that has reached the time */
        uint64_t high = end - 1;
        while (low < high) {
            uint64_t mid = low + (high - low) / 2;
            if (segment_row(s, mid).max_time_ms >= time_ms)
                high = mid;
            else
                low = mid + 1;
        }
        struct entry_head head;
        const uint8_t *body;
        err = segment_read(s, low, false, &head, &body, fault);
        if (err != KQ_OK)
            return err == KQ_NOT_FOUND ? KQ_AGAIN : err;
        struct find find = {.head = &head, .body = body, .time_ms = time_ms};
        if (!io_guarded(body, head.body_bytes, find_in_body, &find))
            return fault_set(fault, KQ_IO, "%s: entry %llu cannot be read: the disk reported an error",
                             view->place->title, (unsigned long long)low);
        if (find.found) {
            *off = find.off < start ? start : find.off;
            *found_ms = find.found_ms;
            return KQ_OK;
        }
    }
    return KQ_OK;
}

/* ---- the scrubber ------------------------------------------------------------------------ */

enum kq_err log_view_scrub(struct log_view *view, uint64_t *cursor, uint64_t limit_bytes, bool *done,
                           struct fault *fault)
{
    uint64_t seen = 0;
    uint64_t commit_idx = commit_of(view);
    *done = false;
    if (is_outdated(view))
        return KQ_OK;
    for (uint32_t i = 0; i < view->count; i++) {
        struct segment *s = view->segments[i];
        uint64_t end = readable_end(s, commit_idx); /* what is not committed may be cut any time */
        if (atomic_load_explicit(&s->end_idx, memory_order_acquire) == SEGMENT_END_OPEN || end <= *cursor)
            continue;
        if (*cursor < s->first_idx)
            *cursor = s->first_idx;
        enum kq_err err = segment_ready(s, fault);
        if (err != KQ_OK) /* the whole segment is out of service, or deleted meanwhile */
            *cursor = end;
        enum kq_err head_err = err == KQ_OK && *cursor == s->first_idx ? segment_check_head(s, fault) : KQ_OK;
        while (err == KQ_OK && *cursor < end && segment_is_forgotten(s, *cursor, log_view_start_off(view)))
            (*cursor)++;
        while (err == KQ_OK && *cursor < end && seen < limit_bytes) {
            struct entry_head head = {0};
            const uint8_t *body;
            err = segment_read(s, (*cursor)++, true, &head, &body, fault);
            seen += ENTRY_HEAD_BYTES + head.body_bytes;
            PLACE_COUNT(view->place, scrubbed_bytes, ENTRY_HEAD_BYTES + head.body_bytes);
        }
        err = err == KQ_OK ? head_err : err;
        if (err != KQ_OK && is_outdated(view)) /* its files are gone, or others bear their names */
            return KQ_OK;
        if (err == KQ_NOT_FOUND) {
            *cursor = end;
            continue;
        }
        if (err != KQ_OK || seen >= limit_bytes)
            return err;
    }
    *done = true;
    *cursor = 0;
    return KQ_OK;
}
