/*
 * Opening a replica's folder after whatever happened, and closing it well.
 *
 * With b the first entry that does not check out in the unsealed tail, and R the
 * largest flushed idx that this replica ever wrote down (in its mark, in the local
 * part of each entry, also of those found behind b):
 *   b > R    a torn tail: nothing in it was spoken of; it is cut
 *   b <= R   acknowledged data is damaged: KQ_CORRUPT, nothing is changed on disk
 * What stands after the cut is made zero, durably, before anything is appended, so
 * that no old entry can ever follow a new one.
 *
 * Sealed segments are trusted by their footer; their entries are checked when they
 * are read. A sealed segment always has a durable footer before the next segment
 * has its name (prepare.c), so only the last segment can be without one; where
 * another is (damage), its entries are walked instead.
 *
 * A mark that speaks of a cut (cut.c): open.c has deleted the segments behind the one
 * that is to be the last; there the entries from cut_idx on are torn tail, whatever
 * they say of what was flushed.
 *
 * A clean start reads the hard state and the page where the entries end, no more:
 * the mark of a clean close counts if the file has exactly the size that the close
 * gave it and holds nothing behind the mark. An append after a clean start grows
 * the file first (its tail has to be prepared anew), durably, so an old mark can
 * not pass for a new one.
 */
#include "log/recover.h"

#include "base/crc32c.h"
#include "base/logger.h"
#include "base/require.h"

#include <stdlib.h>
#include <string.h>

enum { ZERO_CHUNK_BYTES = 64 * 1024 };

static enum kq_err cannot(struct fault *fault, enum kq_err err, const char *doing, const char *path)
{
    return fault_set(fault, err, "%s %s: %s", doing, path, err_text(err));
}

/* ---- the last segment -------------------------------------------------------------------- */

static enum kq_err corrupt_tail(const struct log *log, const struct segment *s, const struct walk *w, uint64_t flushed,
                                struct fault *fault)
{
    return fault_set(fault, KQ_CORRUPT,
                     "%s/%0*lld.log position %llu: entry %llu does not check out, but entries up to %llu were "
                     "flushed and may be acknowledged; nothing was changed. `kafkaesque log check` shows more, "
                     "`kafkaesque log repair` would keep a copy, cut out what cannot be read and say what is lost",
                     log->place->dir, (int)SEGMENT_NAME_DIGITS, (long long)s->first_off, (unsigned long long)w->pos,
                     (unsigned long long)w->next_idx, (unsigned long long)flushed);
}

/* Zeros from `from` to `to`, durable. */
static enum kq_err cut(struct place *p, struct io_file *file, uint64_t from, uint64_t to)
{
    uint8_t *zeros = calloc(1, ZERO_CHUNK_BYTES);
    if (zeros == NULL)
        return KQ_NO_MEMORY;
    enum kq_err err = KQ_OK;
    while (err == KQ_OK && from < to) {
        size_t step = to - from < ZERO_CHUNK_BYTES ? (size_t)(to - from) : (size_t)ZERO_CHUNK_BYTES;
        err = io_write(p->io, file, zeros, step, from);
        from += step;
    }
    free(zeros);
    return err;
}

/* The numbers of the log's end, from the walk of the active segment. */
static void take_end(struct log *log, const struct walk *w, uint64_t file_bytes)
{
    log->last_idx = w->next_idx - 1;
    log->last_term = w->term;
    log->last_crc = w->crc;
    log->next_off = w->next_off;
    log->max_time_ms = w->max_time_ms;
    log->write_pos = w->pos;
    log->prepared_pos = file_bytes - file_bytes % PAGE_BYTES;
    if (log->prepared_pos < page_up(w->pos))
        log->prepared_pos = page_up(w->pos);
    log->active = true;
}

static enum kq_err open_active_index(struct log *log, struct segment *s, const struct walk *w,
                                     struct log_report *report, struct fault *fault)
{
    struct place *p = log->place;
    char path[SEGMENT_PATH_BYTES];
    place_segment_path(p, s->first_off, "index", path);
    uint64_t count = w->rows.len / INDEX_ROW_BYTES;
    size_t fits = log_index_map_bytes(log->segment_bytes);
    s->index_map_bytes = (size_t)page_up((count + LOG_ROWS_AHEAD_MIN) * INDEX_ROW_BYTES);
    if (s->index_map_bytes < fits)
        s->index_map_bytes = fits;
    enum kq_err err = index_open_writable(p->io, path, count, s->index_map_bytes, &s->index);
    if (err != KQ_OK)
        return cannot(fault, err, "opening", path);
    uint32_t crc;
    if (count > 0 && (index_crc(&s->index, count, &crc) != KQ_OK || crc != crc32c(0, w->rows.data, w->rows.len))) {
        report->rebuilt_indexes++;
        memcpy(s->index.rows, w->rows.data, w->rows.len);
    }
    log->rows = page_up(count * INDEX_ROW_BYTES) / INDEX_ROW_BYTES;
    atomic_store_explicit(&s->ready, true, memory_order_release);
    return KQ_OK;
}

/* The first segment's head tells the term before it. Damaged, it is not known (0):
 * the entries themselves may still be read. */
static enum kq_err read_prev_term(struct segment *s, struct io_file *file, struct fault *fault)
{
    int64_t off = s->first_off;
    uint64_t idx = s->first_idx;
    uint8_t *block = malloc(SEGMENT_HEAD_BYTES);
    enum kq_err err = block != NULL ? io_read(s->place->io, file, block, SEGMENT_HEAD_BYTES, 0, NULL) : KQ_NO_MEMORY;
    if (err != KQ_OK || segment_head_decode(s, block) != KQ_OK || s->first_off != off || s->first_idx != idx)
        s->prev_term = 0;
    if (err == KQ_OK && s->prev_term == 0)
        segment_note_head(s);
    s->first_off = off;
    s->first_idx = idx;
    free(block);
    return err == KQ_OK || err == KQ_EOF ? KQ_OK : cannot(fault, err, "reading the first segment in", s->place->dir);
}

static enum kq_err open_sealed(struct log *log, struct segment *s, struct footer *f, struct fault *fault)
{
    if (f->first_off != s->first_off ||
        (log->segment_count > 0 && (f->first_idx != log->last_idx + 1 || f->first_off != log->next_off))) {
        enum kq_err err = fault_set(fault, KQ_CORRUPT,
                                    "%s: %0*lld.log does not follow the segment before it (entry %llu was expected, "
                                    "it begins with %llu): a file is missing or misplaced",
                                    log->place->title, (int)SEGMENT_NAME_DIGITS, (long long)s->first_off,
                                    (unsigned long long)log->last_idx + 1, (unsigned long long)f->first_idx);
        free(f->runs);
        return err;
    }
    s->first_idx = f->first_idx;
    enum kq_err err = log->segment_count == 0 && s->first_idx > 1 ? read_prev_term(s, s->file, fault) : KQ_OK;
    if (err != KQ_OK) {
        free(f->runs);
        return err;
    }
    log->last_idx = f->last_idx;
    log->last_term = f->runs[f->run_count - 1].term;
    log->last_crc = f->last_crc;
    log->next_off = f->end_off;
    segment_seal(s, f);
    log->active = false;
    return KQ_OK;
}

/* A footer is written all at once and not spoken of before it is durable: one that the
 * power cut off may have kept any part of it. */
static enum kq_err footer_is_whole(struct place *p, struct io_file *file, const struct footer *footer, bool *whole)
{
    void *state = NULL;
    enum kq_err err = footer_load_state(p->io, file, footer, &p->seed, &state);
    free(state);
    *whole = err == KQ_OK;
    return err == KQ_CORRUPT ? KQ_OK : err;
}

/* What stood in the head of the next segment. Of the first one it is known only where nothing
 * was ever before it: where its first entry is the first of all. */
static struct walk_before before_next(const struct log *log)
{
    if (log->segment_count == 0)
        return (struct walk_before){.first_idx = 1};
    return (struct walk_before){.first_idx = log->last_idx + 1,
                                .first_off = log->next_off,
                                .prev_term = log->last_term,
                                .prev_crc = log->last_crc};
}

/* Of the segment that grows: no job may write there. */
static enum kq_err mend_head(struct segment *s, struct fault *fault)
{
    struct place *p = s->place;
    uint8_t *block = malloc(SEGMENT_HEAD_BYTES);
    if (block == NULL)
        return fault_set(fault, KQ_NO_MEMORY, "opening %s: out of memory", p->dir);
    segment_head_encode(s, block);
    enum kq_err err = io_write(p->io, s->file, block, SEGMENT_HEAD_BYTES, 0);
    if (err == KQ_OK)
        err = place_datasync(p, s->file);
    free(block);
    if (err != KQ_OK)
        return cannot(fault, err, "making anew a segment's head in", p->dir);
    SAY_WARNING("%s/%0*lld.log: the segment's head did not check out, and was made anew; all that follows it is there",
                p->dir, (int)SEGMENT_NAME_DIGITS, (long long)s->first_off);
    return KQ_OK;
}

/* Walks the last segment. KQ_CORRUPT: it does not have all that it must; gap: what others could fill of that. */
static enum kq_err walk_tail(struct log *log, struct segment *s, uint64_t file_bytes, const struct log_mark *mark,
                             struct walk *w, struct tail_gap *gap, struct fault *fault)
{
    bool cut_short = log_mark_is_set(mark) && mark->cut == LOG_CUT_TRUNCATE;
    const struct walk_before before = before_next(log);
    *gap = (struct tail_gap){.first_idx = 0};
    enum kq_err err = walk_segment(s, s->file, file_bytes, cut_short ? mark->cut_idx : UINT64_MAX, &before, w, fault);
    if (err == KQ_OK && s->first_idx != log->last_idx + 1 && log->segment_count > 0)
        err = fault_set(fault, KQ_CORRUPT, "%s: entries %llu to %llu are missing before %0*lld.log", log->place->title,
                        (unsigned long long)log->last_idx + 1, (unsigned long long)s->first_idx - 1,
                        (int)SEGMENT_NAME_DIGITS, (long long)s->first_off);
    if (err == KQ_OK && cut_short && mark->cut_idx < s->first_idx)
        err = fault_set(fault, KQ_CORRUPT, "%s: entries from %llu on were to be cut, but %0*lld.log begins with %llu",
                        log->place->title, (unsigned long long)mark->cut_idx, (int)SEGMENT_NAME_DIGITS,
                        (long long)s->first_off, (unsigned long long)s->first_idx);
    uint64_t flushed = w->flushed_idx;
    if (log_mark_is_set(mark) && mark->flushed_idx > flushed)
        flushed = mark->flushed_idx;
    if (cut_short && flushed >= mark->cut_idx)
        flushed = mark->cut_idx - 1;
    log->told_flushed_idx = flushed;
    if (err != KQ_OK || flushed < w->next_idx)
        return err;
    if (cut_short || !tail_find_gap(w, flushed, mark, gap))
        gap->first_idx = 0;
    return corrupt_tail(log, s, w, flushed, fault);
}

/* As walk_tail; what others have given in place of damage is taken first. */
static enum kq_err walk_and_mend_tail(struct log *log, struct segment *s, uint64_t file_bytes,
                                      const struct log_mark *mark, struct walk *w, struct log_report *report,
                                      struct fault *fault)
{
    struct tail_gap gap;
    struct fault misfit;
    report->scanned_bytes += file_bytes;
    enum kq_err err = walk_tail(log, s, file_bytes, mark, w, &gap, fault);
    if (err == KQ_CORRUPT && gap.first_idx > 0 && log->tail_count > 0) {
        enum kq_err mended = tail_mend(s, &gap, log->tail, log->tail_count, &misfit);
        if (mended == KQ_OK) {
            walk_fini(w);
            report->scanned_bytes += file_bytes;
            err = walk_tail(log, s, file_bytes, mark, w, &gap, fault);
        } else if (mended != KQ_INVALID) {
            err = mended;
            *fault = misfit;
        }
    }
    if (err == KQ_CORRUPT)
        report->tail = (struct log_damage){.first_idx = gap.first_idx, .last_idx = gap.last_idx};
    return err;
}

/* Without a clean mark every entry of the last segment is walked. Its footer, if
 * it has one, counts only if all entries before it are there, and all of itself: a seal
 * that the power cut off may have left some of it and not the entries. Without a footer
 * the segment is as before the seal: open, and the state that stood in it is made again
 * from an older one and the entries. */
static enum kq_err recover_tail(struct log *log, struct segment *s, uint64_t file_bytes, const struct log_mark *mark,
                                struct footer *footer, struct log_report *report, struct fault *fault)
{
    struct place *p = log->place;
    struct walk w;
    enum kq_err err = walk_and_mend_tail(log, s, file_bytes, mark, &w, report, fault);
    bool sealed = footer->runs != NULL && footer->end_pos == w.pos && footer->last_idx + 1 == w.next_idx;
    if (err == KQ_OK && sealed) {
        if ((err = footer_is_whole(p, s->file, footer, &sealed)) != KQ_OK)
            (void)cannot(fault, err, "reading the end of the last segment in", p->dir);
        log->cut_state = !sealed;
    }
    if (err == KQ_OK && sealed) {
        if (w.head_bad)
            segment_note_head(s);
        walk_fini(&w);
        return open_sealed(log, s, footer, fault);
    }
    free(footer->runs);
    footer->runs = NULL;
    if (err == KQ_OK && w.nonzero_end > w.pos) {
        report->cut_bytes += w.nonzero_end - w.pos;
        err = cut(p, s->file, w.pos, w.nonzero_end);
        if (err == KQ_OK)
            err = place_datasync(p, s->file);
        if (err != KQ_OK)
            (void)cannot(fault, err, "cutting the torn tail in", p->dir);
    }
    if (err == KQ_OK && w.head_bad)
        err = mend_head(s, fault);
    if (err == KQ_OK) {
        take_end(log, &w, file_bytes);
        err = open_active_index(log, s, &w, report, fault);
    }
    walk_fini(&w);
    return err;
}

/* Whether the mark of a clean close tells all about this last segment. */
static bool take_clean(struct log *log, struct segment *s, uint64_t file_bytes, const struct log_mark *mark)
{
    if (!mark->clean || mark->segment_off != s->first_off || file_bytes != page_up(mark->end_pos) ||
        mark->end_pos < SEGMENT_HEAD_BYTES || mark->flushed_idx + 1 < mark->segment_idx || mark->segment_idx == 0 ||
        mark->next_off < s->first_off ||
        (mark->end_pos - SEGMENT_HEAD_BYTES) / ENTRY_HEAD_BYTES < mark->flushed_idx + 1 - mark->segment_idx ||
        (log->segment_count > 0 && mark->segment_idx != log->last_idx + 1))
        return false;
    size_t behind = (size_t)(file_bytes - mark->end_pos);
    uint8_t *page = malloc(PAGE_BYTES);
    bool zero = page != NULL && io_read(log->place->io, s->file, page, behind, mark->end_pos, NULL) == KQ_OK;
    for (size_t i = 0; zero && i < behind; i++)
        zero = page[i] == 0;
    free(page);
    if (!zero)
        return false;
    PLACE_COUNT(log->place, recovery_read_bytes, behind);
    s->first_idx = mark->segment_idx;
    struct fault fault;
    if (log->segment_count == 0 && s->first_idx > 1 && read_prev_term(s, s->file, &fault) != KQ_OK)
        return false;
    uint64_t prev_term = log->segment_count == 0 ? s->prev_term : log->last_term;
    s->check_rows = mark->flushed_idx + 1 - mark->segment_idx;
    s->index_crc = mark->index_crc;
    s->end_pos = mark->end_pos;
    size_t fits = log_index_map_bytes(log->segment_bytes);
    s->index_map_bytes = (size_t)page_up((s->check_rows + LOG_ROWS_AHEAD_MIN) * INDEX_ROW_BYTES);
    if (s->index_map_bytes < fits)
        s->index_map_bytes = fits;
    s->prev_term = prev_term;
    log->last_idx = mark->flushed_idx;
    log->last_term = mark->flushed_term;
    log->last_crc = mark->last_crc;
    log->next_off = mark->next_off;
    log->max_time_ms = mark->max_time_ms;
    log->write_pos = mark->end_pos;
    log->prepared_pos = page_up(mark->end_pos);
    log->rows = page_up(s->check_rows * INDEX_ROW_BYTES) / INDEX_ROW_BYTES;
    log->active = true;
    log->marked_idx = log->last_idx;
    log->told_flushed_idx = log->last_idx;
    log->tail_closed = true;
    io_close(log->place->io, &s->file); /* opened again by the first append's job */
    return true;
}

/* ---- sealed segments ----------------------------------------------------------------------- */

/* A segment before the last one whose footer does not check out. */
static enum kq_err walk_sealed(struct segment *s, uint64_t file_bytes, const struct walk_before *before,
                               struct footer *f, struct log_report *report, struct fault *fault)
{
    struct walk w;
    enum kq_err err = walk_segment(s, s->file, file_bytes, UINT64_MAX, before, &w, fault);
    if (err == KQ_OK && w.head_bad)
        segment_note_head(s);
    if (err == KQ_OK) {
        SAY_WARNING("%s/%0*lld.log: its footer does not check out; its entries were walked instead", s->place->dir,
                    (int)SEGMENT_NAME_DIGITS, (long long)s->first_off);
        report->scanned_bytes += file_bytes;
        *f = (struct footer){.first_idx = s->first_idx,
                             .last_idx = w.next_idx - 1,
                             .first_off = s->first_off,
                             .end_off = w.next_off,
                             .max_time_ms = w.max_time_ms,
                             .last_crc = w.crc,
                             .end_pos = w.pos,
                             .run_count = (uint32_t)(w.runs.len / sizeof(struct term_run))};
        f->index_crc = crc32c(0, w.rows.data, w.rows.len);
        size_t size;
        f->runs = (struct term_run *)(void *)buf_give(&w.runs, &size);
        if (f->runs == NULL)
            err = fault_set(fault, KQ_CORRUPT, "%s/%0*lld.log: neither its footer nor any entry checks out",
                            s->place->dir, (int)SEGMENT_NAME_DIGITS, (long long)s->first_off);
    }
    walk_fini(&w);
    return err;
}

/* One segment, in order; leaves its file open only if it is the last. */
static enum kq_err open_segment(struct log *log, struct segment *s, bool last, const struct log_mark *mark,
                                struct log_report *report, struct fault *fault)
{
    struct place *p = log->place;
    char path[SEGMENT_PATH_BYTES];
    place_segment_path(p, s->first_off, "log", path);
    enum kq_err err = io_open(p->io, path, last ? IO_WRITE : 0, &s->file);
    uint64_t file_bytes = 0;
    if (err == KQ_OK)
        err = err_from_errno(-p->io->ops->size(p->io, s->file, &file_bytes));
    if (err != KQ_OK)
        return cannot(fault, err, "opening", path);
    if (last && log_mark_is_set(mark) && take_clean(log, s, file_bytes, mark))
        return KQ_OK;
    if (last) { /* what only a dead process's cache holds is written now, and then read from the disk */
        err = place_datasync(p, s->file);
        if (err == KQ_OK)
            (void)p->io->ops->forget(p->io, s->file);
        else
            return cannot(fault, err, "syncing", path);
    }
    struct footer f;
    const struct walk_before before = before_next(log);
    err = footer_load(p->io, s->file, file_bytes, &p->seed, &f);
    if (last && (err == KQ_OK || err == KQ_NOT_FOUND))
        return recover_tail(log, s, file_bytes, mark, &f, report, fault);
    if (err == KQ_NOT_FOUND)
        err = walk_sealed(s, file_bytes, &before, &f, report, fault);
    else if (err != KQ_OK)
        (void)cannot(fault, err, "reading", path);
    if (err == KQ_OK)
        err = open_sealed(log, s, &f, fault);
    if (!last)
        io_close(p->io, &s->file);
    return err;
}

enum kq_err log_recover_segments(struct log *log, const struct folder *f, const struct log_mark *mark,
                                 struct log_report *report, struct fault *fault)
{
    for (uint32_t i = 0; i < f->logs.count; i++) {
        struct segment *s = segment_new(log->place, f->logs.at[i], 0);
        if (s == NULL)
            return fault_set(fault, KQ_NO_MEMORY, "opening %s: out of memory", log->place->dir);
        enum kq_err err = open_segment(log, s, i + 1 == f->logs.count, mark, report, fault);
        if (err == KQ_OK && !log_add_segment(log, s))
            err = fault_set(fault, KQ_NO_MEMORY, "opening %s: out of memory", log->place->dir);
        if (err != KQ_OK) {
            log->active = false;
            segment_drop(s);
            return err;
        }
    }
    report->segments = f->logs.count;
    uint64_t flushed = log_mark_is_set(mark) ? mark->flushed_idx : 0;
    if (flushed > log->last_idx)
        return fault_set(
            fault, KQ_CORRUPT, "%s: entries up to %llu were flushed, but %s ends with entry %llu: a file is missing",
            log->place->title, (unsigned long long)flushed, log->place->dir, (unsigned long long)log->last_idx);
    return KQ_OK;
}
