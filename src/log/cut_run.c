/*
 * Cutting a log on the disk.
 *
 * Entries that are cut may have been flushed, and recovery takes what is missing
 * below a flushed idx for damage; and what is cut must never come back behind other
 * entries. So, each step safe to be cut off after:
 *
 *   truncation
 *   1. the mark says so: the first idx that goes, the segment that becomes the last,
 *      and what is flushed of the entries before. From here on recovery does the rest;
 *      before it the log is as it was.
 *   2. the segments after that one are deleted, and the folder is synced
 *   3. in the last one everything behind the entries that stay is made zero, its
 *      footer, too, and it is synced: what stays is all durable
 *   4. the mark says what is flushed, and of no cut any more
 *
 *   reset
 *   1. reset.log (the head of the new first segment) and reset.snapshot (the state) are
 *      made and synced, and the folder
 *   2. the mark says so; before it the log is as it was
 *   3. all segments are deleted, reset.snapshot becomes the snapshot; the folder is synced
 *   4. reset.log gets its name, and the folder is synced: where there is no reset.log
 *      any more, nothing old is left to be deleted
 *   5. the mark as in 4 above
 *
 * Nothing is appended before the last step is durable, so that a mark that speaks of a
 * cut can not be about entries that came after it.
 */
#include "log/folder.h"
#include "log/log_impl.h"

#include <stdlib.h>
#include <string.h>

enum { ZERO_CHUNK_BYTES = 64 * 1024 };

static enum kq_err cannot(struct fault *fault, enum kq_err err, const char *doing, const char *path)
{
    return fault_set(fault, err, "%s %s: %s", doing, path, err_text(err));
}

static bool job_fail(struct log_job *job, enum kq_err err, const char *doing, const char *path)
{
    job->err = cannot(&job->fault, err, doing, path);
    return false;
}

/* ---- steps that recovery may have to do again ------------------------------------------------ */

static enum kq_err unlink_named(struct place *p, int64_t off, const char *suffix, char path[SEGMENT_PATH_BYTES])
{
    place_segment_path(p, off, suffix, path);
    enum kq_err err = err_from_errno(-p->io->ops->unlink(p->io, path));
    return err == KQ_NOT_FOUND ? KQ_OK : err;
}

/* The folder is not synced. */
static enum kq_err unlink_segments(struct place *p, const int64_t *offs, uint32_t count, struct fault *fault)
{
    char path[SEGMENT_PATH_BYTES];
    for (uint32_t i = count; i > 0; i--) { /* the newest first */
        enum kq_err err = unlink_named(p, offs[i - 1], "log", path);
        if (err == KQ_OK)
            err = unlink_named(p, offs[i - 1], "index", path);
        if (err != KQ_OK)
            return cannot(fault, err, "deleting", path);
    }
    return KQ_OK;
}

static enum kq_err sync_folder(struct place *p, struct fault *fault)
{
    enum kq_err err = place_sync_dir(p);
    return err == KQ_OK ? KQ_OK : cannot(fault, err, "syncing", p->dir);
}

enum kq_err cut_delete(struct place *p, const int64_t *offs, uint32_t count, struct fault *fault)
{
    enum kq_err err = unlink_segments(p, offs, count, fault);
    return err == KQ_OK ? sync_folder(p, fault) : err;
}

/* False: *err says why; KQ_OK there: it is not under its old name any more. */
static bool rename_found(struct place *p, const char *from_name, const char *to, enum kq_err *err, struct fault *fault)
{
    char from[SEGMENT_PATH_BYTES];
    place_path(p, from_name, from);
    *err = err_from_errno(-p->io->ops->rename(p->io, from, to));
    if (*err == KQ_NOT_FOUND)
        *err = KQ_OK;
    else if (*err != KQ_OK)
        (void)cannot(fault, *err, "naming", to);
    else
        return true;
    return false;
}

/* Whether reset.log is still there. */
static enum kq_err is_unnamed(struct place *p, bool *unnamed, struct fault *fault)
{
    char path[SEGMENT_PATH_BYTES];
    struct io_file *file;
    place_path(p, RESET_LOG_NAME, path);
    enum kq_err err = io_open(p->io, path, 0, &file);
    *unnamed = err == KQ_OK;
    if (err == KQ_OK)
        io_close(p->io, &file);
    return err == KQ_OK || err == KQ_NOT_FOUND ? KQ_OK : cannot(fault, err, "opening", path);
}

enum kq_err cut_finish_reset(struct place *p, int64_t first_off, struct fault *fault)
{
    bool unnamed;
    enum kq_err err = is_unnamed(p, &unnamed, fault);
    if (err == KQ_OK && unnamed) {
        struct folder f;
        err = folder_list(p->io, p->dir, &f);
        if (err != KQ_OK)
            (void)cannot(fault, err, "listing", p->dir);
        else
            err = unlink_segments(p, f.logs.at, f.logs.count, fault);
        folder_fini(&f);
        char path[SEGMENT_PATH_BYTES];
        place_path(p, SNAPSHOT_NAME, path);
        if (err == KQ_OK)
            (void)rename_found(p, RESET_SNAPSHOT_NAME, path, &err, fault);
        if (err == KQ_OK)
            err = sync_folder(p, fault);
        place_segment_path(p, first_off, "index", path); /* one that stood alone */
        (void)p->io->ops->unlink(p->io, path);
        place_segment_path(p, first_off, "log", path);
        if (err == KQ_OK)
            (void)rename_found(p, RESET_LOG_NAME, path, &err, fault);
    }
    return err == KQ_OK ? sync_folder(p, fault) : err;
}

/* ---- truncation --------------------------------------------------------------------------------- */

/* Where the entries that stay end, and the checksum of the last of them. */
static bool find_end(struct log_job *job, struct io_file *file, const char *path)
{
    struct segment *s = job->segment;
    struct io *io = job->place->io;
    job->cut_pos = SEGMENT_HEAD_BYTES;
    job->cut_time_ms = -1;
    enum kq_err err;
    if (job->cut_idx == s->first_idx) { /* none stays */
        uint8_t *block = malloc(SEGMENT_HEAD_BYTES);
        struct segment *head = segment_new(job->place, s->first_off, s->first_idx);
        err = block != NULL && head != NULL ? io_read(io, file, block, SEGMENT_HEAD_BYTES, 0, NULL) : KQ_NO_MEMORY;
        if (err == KQ_OK)
            err = segment_head_decode(head, block);
        if (err == KQ_OK && head->first_idx != s->first_idx)
            err = KQ_CORRUPT;
        if (err == KQ_OK)
            job->cut_crc = head->prev_crc;
        if (head != NULL)
            segment_drop(head);
        free(block);
    } else {
        struct index_row row = segment_row(s, job->cut_idx - 1);
        uint8_t data[ENTRY_HEAD_BYTES];
        struct entry_head head;
        err = row.pos >= SEGMENT_HEAD_BYTES ? io_read(io, file, data, sizeof data, row.pos, NULL) : KQ_CORRUPT;
        if (err == KQ_OK)
            err = entry_decode(data, sizeof data, &job->place->seed, &head);
        if (err == KQ_OK && (head.idx != job->cut_idx - 1 || head.term != job->cut_term))
            err = KQ_CORRUPT;
        if (err == KQ_OK) {
            job->cut_pos = row.pos + ENTRY_HEAD_BYTES + (uint64_t)head.body_bytes;
            job->cut_crc = head.body_crc;
            job->cut_time_ms = row.max_time_ms;
        }
    }
    return err == KQ_OK || job_fail(job, err == KQ_EOF ? KQ_CORRUPT : err, "reading the entry before the cut in", path);
}

/* Step 3: zeros, durable. */
static bool clear_end(struct log_job *job, struct io_file *file, const char *path)
{
    struct io *io = job->place->io;
    uint64_t end = job->next != NULL ? page_up(job->cut_pos) : job->written_pos;
    uint8_t *zeros = calloc(1, ZERO_CHUNK_BYTES);
    enum kq_err err = zeros != NULL ? KQ_OK : KQ_NO_MEMORY;
    for (uint64_t pos = job->cut_pos; err == KQ_OK && pos < end;) {
        size_t step = end - pos < ZERO_CHUNK_BYTES ? (size_t)(end - pos) : (size_t)ZERO_CHUNK_BYTES;
        err = io_write(io, file, zeros, step, pos);
        pos += step;
    }
    free(zeros);
    /* Of a sealed one the rest is cut off: nobody reads there, and it grows again as zeros. */
    if (err == KQ_OK && job->next != NULL)
        err = err_from_errno(-io->ops->truncate(io, file, end));
    if (err == KQ_OK)
        err = place_datasync(job->place, file);
    return err == KQ_OK || job_fail(job, err, "cutting", path);
}

struct row_copy {
    const struct segment *s;
    uint8_t *rows;
    uint64_t count;
};

/* The rows that stay. A lost one gets its term, as terms are looked for by halving. */
static void copy_rows(void *context)
{
    const struct row_copy *c = context;
    uint32_t run = 0;
    for (uint64_t i = 0; i < c->count; i++) {
        struct index_row row = index_row_get(c->s->index.rows, i);
        while (run + 1 < c->s->run_count && c->s->runs[run + 1].idx <= c->s->first_idx + i)
            run++;
        row.term = (uint32_t)c->s->runs[run].term;
        index_row_put(c->rows, i, &row);
    }
}

/* The sealed segment's index, to be written again. */
static bool open_index_anew(struct log_job *job)
{
    struct segment *next = job->next;
    char path[SEGMENT_PATH_BYTES];
    place_segment_path(job->place, next->first_off, "index", path);
    uint64_t count = job->cut_idx - next->first_idx;
    enum kq_err err = index_open_writable(job->place->io, path, count, next->index_map_bytes, &next->index);
    if (err != KQ_OK)
        return job_fail(job, err, "opening", path);
    struct row_copy c = {job->segment, next->index.rows, count};
    if (!io_guarded(next->index.rows, next->index.mapped_bytes, copy_rows, &c))
        return job_fail(job, KQ_IO, "writing", path);
    job->rows = page_up(count * INDEX_ROW_BYTES) / INDEX_ROW_BYTES;
    atomic_store_explicit(&next->ready, true, memory_order_release);
    return true;
}

static bool cut_inside(struct log_job *job)
{
    struct segment *s = job->segment;
    char path[SEGMENT_PATH_BYTES];
    place_segment_path(job->place, s->first_off, "log", path);
    job->err = segment_ready(s, &job->fault);
    if (job->err != KQ_OK)
        return false;
    struct io_file *file = s->file;
    if (job->next != NULL || file == NULL) {
        enum kq_err err = io_open(job->place->io, path, IO_WRITE, &job->file);
        if (err != KQ_OK)
            return job_fail(job, err, "opening", path);
        file = job->file;
    }
    if (!find_end(job, file, path) || !clear_end(job, file, path))
        return false;
    size_t prefix = (size_t)(job->cut_pos % PAGE_BYTES);
    enum kq_err err = io_read(job->place->io, file, job->page, prefix, job->cut_pos - prefix, NULL);
    if (err != KQ_OK)
        return job_fail(job, err, "reading", path);
    if (job->next == NULL)
        return true;
    job->next->prev_term = s->prev_term;
    job->next->prev_crc = s->prev_crc;
    job->next->file = job->file;
    job->file = NULL;
    return open_index_anew(job);
}

static bool store_mark(struct log_job *job)
{
    struct place *p = job->place;
    PLACE_COUNT(p, fsyncs, 1);
    job->err = hard_state_store_mark(p->io, p->dir, &job->state, &job->mark, &job->fault);
    return job->err == KQ_OK;
}

static bool truncate(struct log_job *job)
{
    if (!store_mark(job))
        return false;
    if (job->doomed_count > 0) {
        job->err = cut_delete(job->place, job->doomed, job->doomed_count, &job->fault);
        if (job->err != KQ_OK)
            return false;
    }
    if (job->whole) {
        job->cut_pos = job->segment->end_pos;
        job->cut_crc = job->segment->last_crc;
        job->cut_time_ms = job->segment->max_time_ms;
    } else if (!cut_inside(job)) {
        return false;
    }
    job->mark.flushed_idx = job->cut_idx - 1;
    job->mark.flushed_term = job->cut_term;
    job->mark.end_pos = job->cut_pos;
    job->mark.last_crc = job->cut_crc;
    return true;
}

/* ---- reset ---------------------------------------------------------------------------------------- */

/* Step 1. */
static enum kq_err make_reset_files(struct log_job *job)
{
    struct place *p = job->place;
    char path[SEGMENT_PATH_BYTES];
    place_path(p, RESET_LOG_NAME, path);
    segment_head_encode(job->next, job->page);
    struct io_file *file;
    enum kq_err err = io_open(p->io, path, IO_WRITE | IO_CREATE, &file);
    if (err == KQ_OK) {
        err = err_from_errno(-p->io->ops->truncate(p->io, file, 0));
        if (err == KQ_OK)
            err = io_write(p->io, file, job->page, SEGMENT_HEAD_BYTES, 0);
        if (err == KQ_OK)
            err = place_datasync(p, file);
        io_close(p->io, &file);
    }
    memset(job->page, 0, PAGE_BYTES);
    if (err != KQ_OK)
        return cannot(&job->fault, err, "writing", path);
    PLACE_COUNT(p, fsyncs, 1);
    err = snapshot_write(p, RESET_SNAPSHOT_NAME, job->to.prev_idx, job->blob, job->blob_bytes, &job->fault);
    return err == KQ_OK ? sync_folder(p, &job->fault) : err;
}

static bool reset(struct log_job *job)
{
    struct place *p = job->place;
    job->err = make_reset_files(job);
    if (job->err == KQ_NO_SPACE && job->have_spare) { /* what is kept ahead gives way */
        spare_remove(p);
        job->have_spare = false;
        job->spare_bytes = 0;
        job->err = make_reset_files(job);
    }
    job->undecided = job->err == KQ_NO_SPACE;
    char path[SEGMENT_PATH_BYTES];
    if (job->undecided) {
        place_path(p, RESET_LOG_NAME, path);
        (void)p->io->ops->unlink(p->io, path);
    }
    if (job->err != KQ_OK || !store_mark(job))
        return false;
    job->err = cut_finish_reset(p, job->next->first_off, &job->fault);
    if (job->err != KQ_OK)
        return false;
    place_segment_path(p, job->next->first_off, "log", path);
    enum kq_err err = io_open(p->io, path, IO_WRITE, &job->next->file);
    if (err != KQ_OK)
        return job_fail(job, err, "opening", path);
    place_segment_path(p, job->next->first_off, "index", path);
    err = index_open_writable(p->io, path, 0, job->next->index_map_bytes, &job->next->index);
    if (err != KQ_OK)
        return job_fail(job, err, "opening", path);
    atomic_store_explicit(&job->next->ready, true, memory_order_release);
    job->cut_pos = SEGMENT_HEAD_BYTES;
    job->cut_time_ms = -1;
    job->mark.end_pos = job->cut_pos;
    return true;
}

void job_run_cut(struct log_job *job)
{
    if (!job_save_state(job))
        return;
    job->page = calloc(1, PAGE_BYTES);
    if (job->page == NULL) {
        (void)job_fail(job, KQ_NO_MEMORY, "cutting", job->place->dir);
        return;
    }
    bool cut = job->cut == LOG_CUT_RESET ? reset(job) : truncate(job);
    job->mark.cut = LOG_CUT_NONE;
    job->mark.cut_idx = 0;
    if (cut)
        (void)store_mark(job);
}
