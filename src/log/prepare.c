/*
 * Space ahead of need, and the change from one segment to the next: the bodies of
 * the keep jobs that make files.
 *
 * A step is zeroed through io->zero before anything is appended into it, so that no
 * publisher's flush pays for space that was never written; what a follower is filled
 * with comes in large pieces, where that is little, and zeros would be every byte a
 * second time: for that a step is only reserved (struct log_entry, old). Steps
 * double with the append rate (job.c asks for them); what is prepared and unused
 * in a data directory stays within the smaller of the budget and 2 % of what is
 * free: beyond that a step shrinks to what a waiting append needs.
 *
 * The roll, in this order, each step safe to be cut off after:
 *   1. the next pair is made as `spare.log` and `spare.index` (perhaps long ago),
 *      the head of the log file is written, and it is made durable;
 *   2. the old log file is cut after its entries, the footer is written there, and
 *      it is made durable; its index is cut to its rows;
 *   3. spare.index, then spare.log get their names, and the folder is synced.
 * So a log file under its name always has a durable head, and all segments but
 * the last are sealed and durable. A full disk shows in 1 as a rule, with nothing
 * changed; the cut of 2 only drops zeros that nobody has mapped a use for: readers
 * never look past the entries.
 */
#include "log/log_impl.h"

#include "base/require.h"

#include <stdlib.h>

enum { FREE_SHARE = 50, RUNS_GROW = 16 };

static enum kq_err job_fail(struct log_job *job, enum kq_err err, const char *doing, const char *path)
{
    job->err = fault_set(&job->fault, err, "%s %s: %s", doing, path, err_text(err));
    return err;
}

/* How much of want may be prepared now; at least need (both whole pages). */
static uint64_t grant(const struct log_job *job, uint64_t want, uint64_t need)
{
    if (job->budget == NULL || want <= need)
        return want > need ? want : need;
    uint64_t free_bytes = 0;
    if (job->place->io->ops->space(job->place->io, job->place->dir, &free_bytes) != 0)
        return need;
    int64_t limit = (int64_t)(free_bytes / FREE_SHARE);
    if (limit > job->budget->limit_bytes)
        limit = job->budget->limit_bytes;
    return account_used(job->budget) + (int64_t)want <= limit ? want : need;
}

static void take(struct log_job *job, uint64_t bytes)
{
    job->taken_bytes = bytes;
    if (job->budget != NULL)
        account_take(job->budget, (int64_t)bytes);
    PLACE_COUNT(job->place, prepared_bytes, bytes);
}

/* Zeros, durably; or space for them alone, which whoever flushes then pays a little for. */
static enum kq_err make_space(struct log_job *job, struct io_file *file, uint64_t pos, uint64_t size_bytes)
{
    if (job->reserve)
        return err_from_errno(-job->place->io->ops->allocate(job->place->io, file, pos, size_bytes));
    PLACE_COUNT(job->place, fsyncs, 1);
    PLACE_COUNT(job->place, zeroed_bytes, size_bytes);
    return err_from_errno(-job->place->io->ops->zero(job->place->io, file, pos, size_bytes));
}

void spare_remove(struct place *place)
{
    char path[SEGMENT_PATH_BYTES];
    place_path(place, SPARE_LOG_NAME, path);
    (void)place->io->ops->unlink(place->io, path);
    place_path(place, SPARE_INDEX_NAME, path);
    (void)place->io->ops->unlink(place->io, path);
}

/* ---- more space at the end of the active segment ---------------------------------- */

static enum kq_err open_active(struct log_job *job, struct io_file **file)
{
    struct segment *s = job->segment;
    *file = s->file;
    if (*file == NULL)
        *file = job->file;
    if (*file == NULL) { /* the first append after a clean start */
        char path[SEGMENT_PATH_BYTES];
        place_segment_path(job->place, s->first_off, "log", path);
        enum kq_err err = io_open(job->place->io, path, IO_WRITE, &job->file);
        if (err != KQ_OK)
            return job_fail(job, err, "opening", path);
        *file = job->file;
    }
    job->err = segment_ready(s, &job->fault);
    return job->err;
}

void job_run_prepare(struct log_job *job)
{
    struct io_file *file;
    char path[SEGMENT_PATH_BYTES];
    place_segment_path(job->place, job->segment->first_off, "log", path);
    if (open_active(job, &file) != KQ_OK)
        return;
    uint64_t need = page_up(job->need_bytes);
    uint64_t step = grant(job, page_up(job->want_bytes), need);
    enum kq_err err = step > 0 ? make_space(job, file, job->prepared_pos, step) : KQ_OK;
    if (err == KQ_NO_SPACE && need > 0 && need < step) {
        spare_remove(job->place);
        job->have_spare = false;
        step = need;
        err = make_space(job, file, job->prepared_pos, step);
    }
    if (err != KQ_OK) {
        (void)job_fail(job, err, "preparing space in", path);
        return;
    }
    job->prepared_pos += step;
    take(job, step);
    place_segment_path(job->place, job->segment->first_off, "index", path);
    err = index_allocate(job->place->io, path, job->rows, job->want_rows, &job->rows);
    if (err != KQ_OK)
        (void)job_fail(job, err, "preparing space in", path);
}

/* ---- the next pair ------------------------------------------------------------------ */

/* spare.log with a head (unless head is NULL) and prepared space, durable. */
static enum kq_err make_spare_log(struct log_job *job, const uint8_t *head, uint64_t need, struct io_file **file)
{
    struct place *p = job->place;
    char path[SEGMENT_PATH_BYTES];
    place_path(p, SPARE_LOG_NAME, path);
    enum kq_err err = io_open(p->io, path, IO_WRITE | IO_CREATE, file);
    if (err == KQ_OK && head != NULL)
        err = io_write(p->io, *file, head, SEGMENT_HEAD_BYTES, 0);
    uint64_t from = head != NULL ? SEGMENT_HEAD_BYTES : 0;
    uint64_t step = grant(job, page_up(job->want_bytes), need);
    if (err == KQ_OK)
        err = make_space(job, *file, from, SEGMENT_HEAD_BYTES - from + step);
    if (err == KQ_NO_SPACE && *file != NULL && need > 0 && need < step) {
        step = need;
        err = make_space(job, *file, from, SEGMENT_HEAD_BYTES - from + step);
    }
    if (err == KQ_OK && head != NULL && job->reserve)
        err = place_datasync(p, *file);
    if (err != KQ_OK)
        return job_fail(job, err, "preparing", path);
    job->spare_bytes = step;
    take(job, step);
    return KQ_OK;
}

static enum kq_err open_spare_index(struct log_job *job, struct index *index)
{
    char path[SEGMENT_PATH_BYTES];
    place_path(job->place, SPARE_INDEX_NAME, path);
    enum kq_err err = index_open_writable(job->place->io, path, job->want_rows, job->index_map_bytes, index);
    job->rows = page_up(job->want_rows * INDEX_ROW_BYTES) / INDEX_ROW_BYTES;
    return err == KQ_OK ? KQ_OK : job_fail(job, err, "preparing", path);
}

void job_run_spare(struct log_job *job)
{
    struct io_file *file = NULL;
    struct index index = {0};
    enum kq_err err = make_spare_log(job, NULL, 0, &file);
    if (err == KQ_OK)
        err = open_spare_index(job, &index);
    io_close(job->place->io, &file);
    index_close(job->place->io, &index);
    job->have_spare = err == KQ_OK;
    if (err == KQ_NO_SPACE)
        spare_remove(job->place);
}

/* Step 1 of the roll. On KQ_OK job->next has its file, index and a durable head. */
static enum kq_err make_next(struct log_job *job)
{
    struct place *p = job->place;
    struct segment *s = job->next;
    uint8_t *head = malloc(SEGMENT_HEAD_BYTES);
    if (head == NULL)
        return job_fail(job, KQ_NO_MEMORY, "rolling in", p->dir);
    segment_head_encode(s, head);
    enum kq_err err;
    uint64_t need = page_up(job->need_bytes);
    if (job->have_spare && job->spare_bytes >= need) {
        char path[SEGMENT_PATH_BYTES];
        place_path(p, SPARE_LOG_NAME, path);
        err = io_open(p->io, path, IO_WRITE, &s->file);
        if (err == KQ_OK)
            err = io_write(p->io, s->file, head, SEGMENT_HEAD_BYTES, 0);
        if (err == KQ_OK)
            err = place_datasync(p, s->file);
        if (err != KQ_OK)
            (void)job_fail(job, err, "writing", path);
    } else {
        err = make_spare_log(job, head, need, &s->file);
    }
    free(head);
    if (err == KQ_OK)
        err = open_spare_index(job, &s->index);
    if (err == KQ_NO_SPACE) {
        spare_remove(p);
        job->have_spare = false;
    }
    return err;
}

/* ---- the seal ----------------------------------------------------------------------- */

struct run_walk {
    const struct segment *s;
    uint64_t count;
    struct footer *footer;
    bool no_memory;
};

static void collect_runs(void *context)
{
    struct run_walk *w = context;
    struct footer *f = w->footer;
    for (uint64_t i = 0; i < w->count; i++) {
        uint64_t term = index_row_get(w->s->index.rows, i).term;
        if (f->run_count > 0 && f->runs[f->run_count - 1].term == term)
            continue;
        if (f->run_count % RUNS_GROW == 0) {
            struct term_run *grown = realloc(f->runs, (f->run_count + RUNS_GROW) * sizeof *grown);
            if (grown == NULL) {
                w->no_memory = true;
                return;
            }
            f->runs = grown;
        }
        f->runs[f->run_count++] = (struct term_run){term, w->s->first_idx + i};
    }
}

/* Steps 2. */
static enum kq_err seal(struct log_job *job)
{
    struct place *p = job->place;
    struct segment *s = job->segment;
    struct footer *f = &job->footer;
    char path[SEGMENT_PATH_BYTES];
    place_segment_path(p, s->first_off, "log", path);
    struct io_file *file;
    enum kq_err err = open_active(job, &file);
    if (err != KQ_OK)
        return err;
    struct run_walk w = {.s = s, .count = f->last_idx - f->first_idx + 1, .footer = f};
    if (!io_guarded(s->index.rows, s->index.mapped_bytes, collect_runs, &w) ||
        index_crc(&s->index, w.count, &f->index_crc) != KQ_OK)
        return job_fail(job, KQ_IO, "reading the index of", path);
    struct buf out;
    buf_init(&out, (size_t)LOG_STATE_BYTES_MAX * 2);
    f->state_bytes = job->blob_bytes;
    f->state_pos = 0;
    footer_encode(&out, f, job->blob, &p->seed);
    if (out.bad || w.no_memory) {
        buf_fini(&out);
        return job_fail(job, KQ_NO_MEMORY, "sealing", path);
    }
    job->trimmed = true;
    err = err_from_errno(-p->io->ops->truncate(p->io, file, f->end_pos + out.len));
    if (err == KQ_OK)
        err = io_write(p->io, file, out.data, out.len, f->end_pos);
    f->state_pos = f->end_pos + 12;
    job->prepared_pos = f->end_pos + out.len;
    buf_fini(&out);
    if (err == KQ_OK)
        err = place_datasync(p, file);
    if (err != KQ_OK)
        return job_fail(job, err, "sealing", path);
    place_segment_path(p, s->first_off, "index", path);
    err = index_trim(p->io, path, w.count);
    return err == KQ_OK ? KQ_OK : job_fail(job, err, "trimming", path);
}

static enum kq_err name_spare(struct log_job *job, const char *spare, const char *suffix)
{
    char from[SEGMENT_PATH_BYTES];
    char to[SEGMENT_PATH_BYTES];
    place_path(job->place, spare, from);
    place_segment_path(job->place, job->next->first_off, suffix, to);
    enum kq_err err = err_from_errno(-job->place->io->ops->rename(job->place->io, from, to));
    return err == KQ_OK ? KQ_OK : job_fail(job, err, "naming", to);
}

void job_run_roll(struct log_job *job)
{
    struct place *p = job->place;
    enum kq_err err = make_next(job);
    bool made = err == KQ_OK;
    if (err == KQ_OK && job->segment != NULL)
        err = seal(job);
    if (err == KQ_OK)
        err = name_spare(job, SPARE_INDEX_NAME, "index");
    if (err == KQ_OK)
        err = name_spare(job, SPARE_LOG_NAME, "log");
    if (err == KQ_OK) {
        job->have_spare = false;
        err = place_sync_dir(p);
        if (err == KQ_NO_SPACE) /* the old one may already be no longer the last: it cannot be gone on with */
            err = KQ_IO;
        if (err != KQ_OK)
            (void)job_fail(job, err, "syncing", p->dir);
    } else if (made) {
        job->have_spare = true; /* it waits for the next try */
    }
    if (err != KQ_OK) {
        io_close(p->io, &job->next->file);
        index_close(p->io, &job->next->index);
        return;
    }
    atomic_store_explicit(&job->next->ready, true, memory_order_release);
}
