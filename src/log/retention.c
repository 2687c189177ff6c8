/*
 * Retention's mechanics: where the log start would go, and deleting what lies
 * below it. Deciding is the leader's, through a LOG_START entry.
 *
 * Segments go oldest first, one at a time, and the folder is synced after each:
 * whatever a crash cuts off, what is left has no hole. The newest stored state
 * that is committed goes with no segment: if it lies in the footer of the one to be
 * deleted, it is written as the snapshot first. (A footer may have one of entries that
 * are not committed yet, and go with them.) So where segments have been deleted, the
 * oldest state that is left is of committed entries.
 */
#include "log/log_impl.h"

#include "base/logger.h"

#include <stdlib.h>

/* ---- where the start would go ------------------------------------------------------ */

static uint64_t entry_bytes(const struct log *log, const struct segment *s)
{
    return (s == log_active(log) ? log->write_pos : s->end_pos) - SEGMENT_HEAD_BYTES;
}

static int64_t newest_ms(const struct log *log, const struct segment *s)
{
    return s == log_active(log) ? log->max_time_ms : s->max_time_ms;
}

static int64_t end_off(const struct log *log, const struct segment *s)
{
    return s == log_active(log) ? log->next_off : s->end_off;
}

int64_t log_retention_start(const struct log *log, int64_t limit_bytes, int64_t keep_ms, int64_t now_ms, bool *roll,
                            int64_t *next_ms)
{
    int64_t start = log_start_off(log);
    int64_t committed = atomic_load_explicit(&log->place->high_watermark, memory_order_relaxed);
    uint64_t total = log_size_bytes(log);
    *roll = false;
    *next_ms = INT64_MAX;
    if (log->cut.kind != LOG_CUT_NONE)
        return start;
    for (uint32_t i = 0; i < log->segment_count; i++) {
        const struct segment *s = log->segments[i];
        int64_t end = end_off(log, s);
        int64_t newest = newest_ms(log, s);
        bool too_big = limit_bytes >= 0 && total > (uint64_t)limit_bytes;
        /* By size whole segments go, and only as many as leave at least the limit. */
        too_big = too_big && total - entry_bytes(log, s) >= (uint64_t)limit_bytes;
        bool too_old = keep_ms >= 0 && newest >= 0 && newest < now_ms - keep_ms;
        if ((!too_big && !too_old) || end > committed || end == s->first_off) {
            if (keep_ms >= 0 && newest >= 0 && !too_old)
                *next_ms = newest + keep_ms + 1;
            break;
        }
        if (s == log_active(log)) {
            *roll = too_old;
            if (!too_old)
                break;
        }
        total -= entry_bytes(log, s);
        if (end > start)
            start = end;
    }
    return start;
}

/* ---- deleting ------------------------------------------------------------------------ */

/* Whether a state of committed entries at or past idx is stored: what a start needs when
 * the entries up to idx are gone. */
static bool has_state_past(const struct log *log, uint64_t idx)
{
    uint64_t commit_idx = atomic_load_explicit(&log->place->commit_idx, memory_order_relaxed);
    bool has = log->kept_idx >= idx;
    for (uint32_t i = 0; i < log->segment_count && !has; i++) {
        const struct segment *s = log->segments[i];
        uint64_t end_idx = atomic_load_explicit(&s->end_idx, memory_order_relaxed);
        has = s->state_bytes > 0 && !s->state_bad && end_idx - 1 <= commit_idx;
    }
    return has;
}

bool log_deletable(const struct log *log)
{
    if (log->segment_count < 2)
        return false;
    const struct segment *s = log->segments[0];
    uint64_t last_idx = atomic_load_explicit(&s->end_idx, memory_order_relaxed) - 1;
    return s->end_off <= log_start_off(log) &&
           last_idx <= atomic_load_explicit(&log->place->commit_idx, memory_order_relaxed) &&
           ((!log->needs_state && !s->state_bad) || has_state_past(log, last_idx));
}

bool log_state_goes_with_first(const struct log *log)
{
    const struct segment *s = log->segments[0];
    uint64_t last_idx = atomic_load_explicit(&s->end_idx, memory_order_relaxed) - 1;
    if (s->state_bytes == 0 || log->kept_idx >= last_idx)
        return false;
    uint64_t commit_idx = atomic_load_explicit(&log->place->commit_idx, memory_order_relaxed);
    for (uint32_t i = 1; i < log->segment_count; i++) {
        const struct segment *later = log->segments[i];
        if (later->state_bytes > 0 && atomic_load_explicit(&later->end_idx, memory_order_relaxed) - 1 <= commit_idx)
            return false;
    }
    return true;
}

uint64_t log_committed_at_least(const struct log *log)
{
    uint64_t idx = log_first_idx(log) - 1;
    if (log->kept_idx >= idx)
        return log->kept_idx;
    for (uint32_t i = 0; i < log->segment_count && idx > 0; i++)
        if (log->segments[i]->state_bytes > 0)
            return atomic_load_explicit(&log->segments[i]->end_idx, memory_order_relaxed) - 1;
    return idx;
}

/* The state in the footer of the segment, stored as the snapshot. */
static enum kq_err save_state(struct log_job *job, const char *path)
{
    struct place *p = job->place;
    struct segment *s = job->segment;
    struct io_file *file;
    void *state = NULL;
    enum kq_err err = io_open(p->io, path, 0, &file);
    if (err == KQ_OK) {
        struct footer f = {.end_pos = s->end_pos, .state_bytes = s->state_bytes};
        err = footer_load_state(p->io, file, &f, &p->seed, &state);
        io_close(p->io, &file);
    }
    job->state_bad = err == KQ_CORRUPT || err == KQ_IO;
    if (job->state_bad) {
        SAY_WARNING("%s: the state stored in it cannot be read: %s; the segment is kept until a later one is stored",
                    path, err_text(err));
        return KQ_OK;
    }
    if (err != KQ_OK)
        return fault_set(&job->fault, err, "reading the state in %s: %s", path, err_text(err));
    err = snapshot_store(p, job->blob_idx, state, s->state_bytes, &job->fault);
    free(state);
    return err;
}

void job_run_delete(struct log_job *job)
{
    struct place *p = job->place;
    char path[SEGMENT_PATH_BYTES];
    place_segment_path(p, job->segment->first_off, "log", path);
    if (job->blob_idx > 0) {
        job->err = save_state(job, path);
        if (job->err == KQ_NO_SPACE && job->have_spare) { /* what is kept ahead gives way */
            spare_remove(p);
            job->have_spare = false;
            job->spare_bytes = 0;
            job->err = save_state(job, path);
        }
        if (job->err != KQ_OK || job->state_bad)
            return;
    }
    enum kq_err err = err_from_errno(-p->io->ops->unlink(p->io, path));
    if (err == KQ_OK || err == KQ_NOT_FOUND)
        err = place_sync_dir(p);
    if (err == KQ_NO_SPACE) /* it is gone, and cannot be the oldest again */
        err = KQ_IO;
    if (err == KQ_OK) {
        place_segment_path(p, job->segment->first_off, "index", path);
        (void)p->io->ops->unlink(p->io, path); /* a start removes an index that is alone */
    }
    if (err != KQ_OK)
        job->err = fault_set(&job->fault, err, "deleting %s: %s", path, err_text(err));
}
