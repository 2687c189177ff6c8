/*
 * Jobs: what is due, running it, and taking in its result.
 *
 * log_next_job and log_job_done run on the owner's thread and move things between
 * the log and the job; log_job_run runs elsewhere and touches the job alone (and
 * log->tip under its lock). Anything that failed but for want of space fails the
 * log for good: after a failed sync the pages of the file are clean and a second
 * sync would lie.
 */
#include "log/log_impl.h"

#include "base/require.h"

#include <stdlib.h>
#include <string.h>

enum { STEP_FAST_US = 2000000, STEP_SLOW_US = 20000000, ROW_DENSITY_SAMPLE = 64 };

/* ---- what is due ---------------------------------------------------------------------- */

struct log_job *job_begin(struct log *log, enum log_lane lane, enum job_kind kind)
{
    struct log_job *job = log->jobs[lane];
    memset(job, 0, sizeof *job);
    job->log = log;
    job->lane = lane;
    job->kind = kind;
    job->out = true;
    job->place = log->place;
    job->budget = log->budget;
    job->cuts = log->cuts;
    job->have_spare = log->have_spare;
    job->spare_bytes = log->spare_bytes;
    return job;
}

void job_take_state(struct log *log, struct log_job *job)
{
    job->state = log->state;
    job->has_state = log->state_dirty;
    log->state_dirty = false;
    /* Of the log that the disk has: what is committed by a reset says nothing about that one. */
    uint64_t commit_idx = atomic_load_explicit(&log->place->commit_idx, memory_order_relaxed);
    if (log_is_resetting(log) && job->state.commit_idx > commit_idx)
        job->state.commit_idx = commit_idx;
}

static struct log_job *next_flush(struct log *log, int64_t now_us)
{
    bool cut_waits = log->cut.kind != LOG_CUT_NONE;
    if (cut_waits && !log_job_is_out(log, LOG_LANE_KEEP) && now_us >= log->cut.retry_us)
        return cut_begin(log);
    if (log->state_dirty || (log->last_idx > log->flushed_idx && !cut_waits)) {
        struct log_job *job = job_begin(log, LOG_LANE_FLUSH, JOB_FLUSH);
        flush_plan(log, job, now_us);
        job->sync_dir_first = log->state_dirty && log->dir_unsynced;
        if (log->state_dirty)
            log->dir_unsynced = false;
        job_take_state(log, job);
        return job;
    }
    if (cut_waits)
        return NULL;
    if (log->flushed_idx > log->marked_idx && log->mark_due_us == CLOCK_NEVER)
        log->mark_due_us = now_us + log->mark_delay_us;
    if (log->flushed_idx == log->marked_idx || now_us < log->mark_due_us)
        return NULL;
    struct log_job *job = job_begin(log, LOG_LANE_FLUSH, JOB_MARK);
    job->state = log->state;
    log_fill_mark(log, &job->mark);
    log->mark_due_us = CLOCK_NEVER;
    return job;
}

/* Rows to have for so many bytes more, from the sizes seen so far. */
static uint64_t rows_for(const struct log *log, uint64_t more_bytes)
{
    const struct segment *s = log_active(log);
    uint64_t used = s != NULL ? log->last_idx + 1 - s->first_idx : 0;
    uint64_t size = s != NULL ? log->write_pos - SEGMENT_HEAD_BYTES : 0;
    uint64_t average = used >= ROW_DENSITY_SAMPLE ? size / used : 512;
    if (average < ENTRY_HEAD_BYTES)
        average = ENTRY_HEAD_BYTES;
    uint64_t ahead = 2 * more_bytes / average;
    return ahead < LOG_ROWS_AHEAD_MIN ? LOG_ROWS_AHEAD_MIN : ahead;
}

/* The step grows while it is used up quickly, and shrinks again. */
static void adapt_step(struct log *log, int64_t now_us)
{
    int64_t since_us = now_us - log->step_us;
    uint64_t doubled = 2 * (uint64_t)log->step_bytes;
    if (log->step_us != 0 && since_us < STEP_FAST_US)
        log->step_bytes = doubled < log->prepare_max_bytes ? (uint32_t)doubled : log->prepare_max_bytes;
    else if (since_us > STEP_SLOW_US)
        log->step_bytes = log->prepare_min_bytes;
    log->step_us = now_us;
}

/* What is prepared of a new segment: no more than it can take. */
static uint64_t first_step(const struct log *log)
{
    uint64_t limit = page_up(log->segment_bytes);
    return log->step_bytes < limit ? log->step_bytes : limit;
}

static struct log_job *begin_roll(struct log *log, int64_t now_us)
{
    struct segment *next = segment_new(log->place, log->next_off, log->last_idx + 1);
    if (next == NULL)
        return NULL;
    next->prev_term = log->last_term;
    next->prev_crc = log->last_crc;
    next->index_map_bytes = log_index_map_bytes(log->segment_bytes);
    adapt_step(log, now_us);
    struct log_job *job = job_begin(log, LOG_LANE_KEEP, JOB_ROLL);
    job->next = next;
    job->need_bytes = log->need_bytes + LOG_CONTROL_RESERVE_BYTES;
    job->want_bytes = first_step(log);
    job->reserve = log->old;
    job->want_rows = rows_for(log, job->want_bytes);
    job->index_map_bytes = next->index_map_bytes;
    struct segment *old = log_active(log);
    if (old != NULL) {
        job->segment = segment_hold(old);
        job->rows = log->rows;
        job->footer = (struct footer){.first_idx = old->first_idx,
                                      .last_idx = log->last_idx,
                                      .first_off = old->first_off,
                                      .end_off = log->next_off,
                                      .max_time_ms = log->max_time_ms,
                                      .last_crc = log->last_crc,
                                      .end_pos = log->write_pos};
        job->blob = log->roll_state;
        job->blob_bytes = log->roll_state_bytes;
        log->roll_state = NULL;
        log->roll_state_bytes = 0;
        log->has_roll_state = false;
    }
    return job;
}

static struct log_job *begin_prepare(struct log *log, int64_t now_us)
{
    adapt_step(log, now_us);
    const struct segment *s = log_active(log);
    struct log_job *job = job_begin(log, LOG_LANE_KEEP, JOB_PREPARE);
    job->segment = segment_hold(log->segments[log->segment_count - 1]);
    job->prepared_pos = log->prepared_pos;
    job->rows = log->rows;
    uint64_t until = log->write_pos + log->need_bytes + LOG_CONTROL_RESERVE_BYTES;
    if (log->need_bytes > 0 && until > log->prepared_pos)
        job->need_bytes = until - log->prepared_pos;
    /* No more than the segment can still take. */
    uint64_t limit = page_up(log->segment_bytes + SEGMENT_HEAD_BYTES);
    job->want_bytes = log->step_bytes;
    job->reserve = log->old;
    if (log->prepared_pos + job->want_bytes > limit)
        job->want_bytes = limit > log->prepared_pos ? limit - log->prepared_pos : 0;
    job->want_rows = log->last_idx + 1 - s->first_idx + rows_for(log, log->step_bytes);
    uint64_t most = s->index_map_bytes / INDEX_ROW_BYTES;
    if (job->want_rows > most)
        job->want_rows = most;
    return job;
}

static bool wants_ahead(const struct log *log)
{
    const struct segment *s = log_active(log);
    if (s == NULL || log->prepared_pos >= log->segment_bytes + SEGMENT_HEAD_BYTES || s->file == NULL)
        return false;
    uint64_t rows_left = log->rows - (log->last_idx + 1 - s->first_idx);
    return log->prepared_pos - log->write_pos < log->step_bytes / 2 + LOG_CONTROL_RESERVE_BYTES ||
           rows_left < LOG_ROWS_AHEAD_MIN / 2;
}

/* The oldest segment leaves the log now; its files go with the job. */
static struct log_job *begin_delete(struct log *log)
{
    struct log_job *job = job_begin(log, LOG_LANE_KEEP, JOB_DELETE);
    struct segment *s = log->segments[0];
    uint64_t last_idx = atomic_load_explicit(&s->end_idx, memory_order_relaxed) - 1;
    job->segment = s;
    if (log_state_goes_with_first(log))
        job->blob_idx = last_idx;
    log->segments[1]->prev_term = log_term_at(log, last_idx);
    log->segment_count--;
    memmove(log->segments, log->segments + 1, log->segment_count * sizeof(struct segment *));
    log_view_forget(log);
    return job;
}

/* Sealing syncs the same file as a flush, and the system tells an error to one of
 * them only: the other would take lost pages for durable. So they go one by one. */
static bool is_out(const struct log *log, enum log_lane lane, enum job_kind kind)
{
    return log_job_is_out(log, lane) && log->jobs[lane]->kind == kind;
}

/* Whether a sealed segment is open and was not read since the last look. */
static bool has_unread(struct log *log)
{
    bool unread = false;
    uint32_t sealed = log->segment_count - (log->active ? 1 : 0);
    for (uint32_t i = 0; i < sealed; i++) {
        struct segment *s = log->segments[i];
        bool open = atomic_load_explicit(&s->ready, memory_order_acquire) && s->file == NULL;
        if (open && !atomic_exchange_explicit(&s->used, false, memory_order_relaxed))
            unread = true;
    }
    return unread;
}

/* Segments that nobody reads give way to others of the same content with nothing
 * open. Their mappings go when the last view that has them is dropped. */
static void release_unread(struct log *log)
{
    uint32_t sealed = log->segment_count - (log->active ? 1 : 0);
    for (uint32_t i = 0; i < sealed; i++) {
        struct segment *s = log->segments[i];
        if (!atomic_load_explicit(&s->ready, memory_order_acquire) || s->file != NULL ||
            atomic_load_explicit(&s->used, memory_order_relaxed))
            continue;
        struct segment *clone = segment_clone(s);
        if (clone == NULL)
            return;
        log->segments[i] = clone;
        segment_drop(s);
    }
    log_view_forget(log);
}

static struct log_job *next_keep(struct log *log, int64_t now_us)
{
    if (log->want_roll && is_out(log, LOG_LANE_FLUSH, JOB_FLUSH))
        return NULL;
    if (log->want_roll && (!log->active || log->has_roll_state))
        return begin_roll(log, now_us);
    if (log->need_bytes > 0 && !log->want_roll)
        return begin_prepare(log, now_us);
    if (log->want_roll || now_us < log->quiet_until_us)
        return NULL;
    if (log->snapshot_waits) {
        struct log_job *job = job_begin(log, LOG_LANE_KEEP, JOB_SNAPSHOT);
        job->blob = log->snapshot;
        job->blob_bytes = log->snapshot_bytes;
        job->blob_idx = log->snapshot_idx;
        log->snapshot = NULL;
        log->snapshot_waits = false;
        return job;
    }
    if (log->heal.first_idx > 0) {
        struct log_job *job = heal_begin(log);
        if (job != NULL)
            return job;
    }
    struct log_job *head = heal_head_begin(log);
    if (head != NULL)
        return head;
    if (log_deletable(log))
        return begin_delete(log);
    if (wants_ahead(log))
        return begin_prepare(log, now_us);
    const struct segment *s = log_active(log);
    if (s != NULL && s->file != NULL && !log->have_spare && log->write_pos > log->segment_bytes / 2) {
        struct log_job *job = job_begin(log, LOG_LANE_KEEP, JOB_SPARE);
        job->want_bytes = first_step(log);
        job->reserve = log->old;
        job->want_rows = rows_for(log, job->want_bytes);
        job->index_map_bytes = log_index_map_bytes(log->segment_bytes);
        return job;
    }
    if (now_us < log->release_us)
        return NULL;
    bool first = log->release_us == 0;
    log->release_us = now_us + LOG_RELEASE_US;
    return !first && has_unread(log) ? job_begin(log, LOG_LANE_KEEP, JOB_RELEASE) : NULL;
}

struct log_job *log_next_job(struct log *log, enum log_lane lane, int64_t now_us)
{
    TAG_CHECK(log, LOG_TAG);
    if (log->failed || log_job_is_out(log, lane))
        return NULL;
    if (lane == LOG_LANE_FLUSH && is_out(log, LOG_LANE_KEEP, JOB_ROLL))
        return NULL;
    if (lane == LOG_LANE_KEEP && log->cut.kind != LOG_CUT_NONE)
        return NULL; /* what a cut removes is not to change under it */
    if (log->segment_count == 0 && log->cut.kind == LOG_CUT_NONE && !log->state_dirty && !log->want_roll &&
        !log->snapshot_waits)
        return NULL; /* empty: nothing can be due */
    if (log->jobs[lane] == NULL)
        log->jobs[lane] = calloc(1, sizeof *log->jobs[lane]);
    if (log->jobs[lane] == NULL)
        return NULL; /* out of memory: asked again after the next turn */
    log->now_us = now_us;
    if (log->flush_ended)
        log->flush_over_us = now_us;
    log->flush_ended = false;
    return lane == LOG_LANE_FLUSH ? next_flush(log, now_us) : next_keep(log, now_us);
}

int64_t log_next_deadline_us(const struct log *log)
{
    if (log->failed)
        return CLOCK_NEVER;
    /* What another job is waited for is due when that one is done, which makes a turn. */
    bool mark_waits = log_job_is_out(log, LOG_LANE_FLUSH) || is_out(log, LOG_LANE_KEEP, JOB_ROLL);
    bool keep_waits = log_job_is_out(log, LOG_LANE_KEEP) || log->want_roll || log->cut.kind != LOG_CUT_NONE;
    int64_t due = mark_waits ? CLOCK_NEVER : log->mark_due_us;
    if (log->snapshot_waits && !keep_waits && log->quiet_until_us < due)
        due = log->quiet_until_us;
    if (log->cut.kind != LOG_CUT_NONE && !log->cut.begun && log->cut.retry_us > 0 && log->cut.retry_us < due)
        due = log->cut.retry_us;
    return due;
}

/* ---- running ---------------------------------------------------------------------------- */

bool job_save_state(struct log_job *job)
{
    struct place *p = job->place;
    if (job->sync_dir_first) { /* a crash may have left the file's name in memory only */
        job->err = place_sync_dir(p);
        if (job->err != KQ_OK) {
            (void)fault_set(&job->fault, job->err, "syncing %s: %s", p->dir, err_text(job->err));
            return false;
        }
    }
    if (job->has_state) {
        PLACE_COUNT(p, fsyncs, 1);
        job->err = hard_state_store(p->io, p->dir, &job->state, &job->fault);
        job->state_saved = job->err == KQ_OK;
    }
    return job->err == KQ_OK;
}

void log_job_run(struct log_job *job)
{
    struct place *p = job->place;
    switch (job->kind) {
    case JOB_FLUSH:
        job_run_flush(job);
        if (job->err == KQ_NO_SPACE) /* what is flushed has its space; if not, it is lost, and cannot be waited for */
            job->err = KQ_IO;
        break;
    case JOB_MARK:
        PLACE_COUNT(p, fsyncs, 1);
        job->err = hard_state_store_mark(p->io, p->dir, &job->state, &job->mark, &job->fault);
        break;
    case JOB_CUT:
        job_run_cut(job);
        if (job->err == KQ_NO_SPACE && !job->undecided) /* as above, and half done it cannot stay */
            job->err = KQ_IO;
        break;
    case JOB_ROLL:
        job_run_roll(job);
        break;
    case JOB_PREPARE:
        job_run_prepare(job);
        break;
    case JOB_SPARE:
        job_run_spare(job);
        break;
    case JOB_SNAPSHOT:
        job->err = snapshot_store(p, job->blob_idx, job->blob, job->blob_bytes, &job->fault);
        break;
    case JOB_DELETE:
        job_run_delete(job);
        break;
    case JOB_HEAL:
    case JOB_HEAL_HEAD:
        job_run_heal(job);
        break;
    case JOB_RELEASE: /* the work is the owner's, once it takes a new view */
        break;
    }
}

/* ---- taking in ---------------------------------------------------------------------------- */

/* The account holds what is prepared and unused, no more and no less. */
static void settle_budget(struct log *log)
{
    uint64_t held = log->have_spare ? log->spare_bytes : 0;
    if (log->active)
        held += log->prepared_pos - log->write_pos;
    if (log->budget != NULL && held > log->budget_held)
        account_take(log->budget, (int64_t)(held - log->budget_held));
    else if (log->budget != NULL)
        (void)account_give(log->budget, (int64_t)(log->budget_held - held));
    log->budget_held = held;
}

static void done_flush(struct log *log, struct log_job *job, struct log_done *done)
{
    bool of_now = job->cuts == log->cuts; /* else what it made durable may be cut: that comes with the cut's job */
    if (job->kind == JOB_MARK) {          /* without space for it there is no mark: it is only a help */
        if (of_now)
            log->marked_idx = job->mark.flushed_idx;
        return;
    }
    log->flush_ended = true;
    if (job->state_saved)
        done->hard_state_version = job->state.version;
    if (job->kind == JOB_CUT) {
        cut_done(log, job, done);
        settle_budget(log);
    } else if (of_now && job->flushed_idx > log->flushed_idx) {
        log->flushed_idx = job->flushed_idx;
        log->flushed_term = job->flushed_term;
        done->flushed = true;
        done->flushed_idx = job->flushed_idx;
        done->flushed_term = job->flushed_term;
    }
}

/* The old segment stays the active one, without what was prepared. */
static void undo_roll(struct log *log, struct log_job *job)
{
    segment_drop(job->next);
    if (!job->trimmed)
        return;
    log->dirty_pos = page_up(job->prepared_pos);
    log->prepared_pos = page_up(log->write_pos);
}

static void done_roll(struct log *log, struct log_job *job, struct log_done *done)
{
    struct segment *old = job->segment;
    if (old != NULL)
        segment_seal(old, &job->footer);
    if (log->tail_page == NULL)
        log->tail_page = calloc(1, PAGE_BYTES);
    if (log->tail_page == NULL || !log_add_segment(log, job->next)) {
        struct fault fault;
        (void)fault_set(&fault, KQ_NO_MEMORY, "%s: out of memory while rolling", log->place->title);
        segment_drop(job->next);
        log->active = false;
        log_fail(log, &fault);
        return;
    }
    if (old != NULL && job->cuts == log->cuts && log->last_idx > log->flushed_idx) { /* the seal made it durable */
        log->flushed_idx = log->last_idx;
        log->flushed_term = log->last_term;
        done->flushed = true;
        done->flushed_idx = log->flushed_idx;
        done->flushed_term = log->flushed_term;
    }
    log->active = true;
    log->tail_closed = false;
    log->write_pos = SEGMENT_HEAD_BYTES;
    log->prepared_pos = SEGMENT_HEAD_BYTES + job->spare_bytes;
    log->dirty_pos = 0;
    log->sent_pos = 0;
    log->rows = job->rows;
    log->max_time_ms = -1;
    log->want_roll = false;
    log->force_roll = false;
    log->need_bytes = 0;
    log->dir_unsynced = false;
    log_view_forget(log);
    done->space = true;
    done->view_changed = true;
}

/* The state that goes with it was not kept, as the disk is full or as it cannot be read: it is the oldest segment
 * still. False: out of memory; the log has failed, or a start would find a hole. */
static bool undo_delete(struct log *log, struct log_job *job)
{
    struct segment *s = job->segment;
    if (!log_add_segment(log, s)) {
        struct fault fault;
        (void)fault_set(&fault, KQ_NO_MEMORY, "%s: out of memory while deleting", log->place->title);
        log_fail(log, &fault);
        return false;
    }
    job->segment = NULL;
    memmove(log->segments + 1, log->segments, (log->segment_count - 1) * sizeof(struct segment *));
    log->segments[0] = s;
    log_view_forget(log);
    return true;
}

static void done_delete(struct log *log, struct log_job *job, struct log_done *done)
{
    bool stays = job->err == KQ_NO_SPACE || job->state_bad;
    job->segment->state_bad |= job->state_bad;
    if (stays && !undo_delete(log, job)) {
        done->err = log->fault.err;
        done->fault = log->fault;
    }
    if (!stays && job->blob_idx > log->kept_idx)
        log->kept_idx = job->blob_idx;
    done->view_changed = true;
}

static void done_keep(struct log *log, struct log_job *job, struct log_done *done)
{
    log->have_spare = job->have_spare;
    log->spare_bytes = job->spare_bytes;
    log->budget_held += job->taken_bytes;
    bool full = job->err == KQ_NO_SPACE;
    if (full)
        log->quiet_until_us = log->now_us + LOG_QUIET_US;
    if (full && (log->want_roll || log->need_bytes > 0)) {
        log->no_space = true;
        done->space = true;
    }
    if (job->file != NULL) { /* opened for the active segment */
        REQUIRE(job->segment->file == NULL);
        job->segment->file = job->file;
        if ((job->kind == JOB_PREPARE || full) && log_load_tail(log, &done->fault) != KQ_OK) {
            done->err = done->fault.err;
            log_fail(log, &done->fault);
        }
    }
    switch (job->kind) {
    case JOB_ROLL:
        if (full)
            undo_roll(log, job);
        else
            done_roll(log, job, done);
        break;
    case JOB_PREPARE:
        if (job->need_bytes == 0 && job->prepared_pos == log->prepared_pos) /* the budget gives nothing ahead of need */
            log->quiet_until_us = log->now_us + LOG_QUIET_US;
        log->prepared_pos = job->prepared_pos;
        log->rows = job->rows;
        if (!full) {
            log->tail_closed = false;
            log->need_bytes = 0;
            done->space = true;
        }
        break;
    case JOB_SNAPSHOT:
        if (full) { /* later */
            log->snapshot = job->blob;
            log->snapshot_bytes = job->blob_bytes;
            log->snapshot_idx = job->blob_idx;
            log->snapshot_waits = true;
            job->blob = NULL;
        } else {
            log->kept_idx = job->blob_idx;
        }
        break;
    case JOB_DELETE:
        done_delete(log, job, done);
        break;
    case JOB_HEAL:
    case JOB_HEAL_HEAD:
        heal_done(log, job, done);
        break;
    case JOB_RELEASE:
        release_unread(log);
        done->view_changed = true;
        break;
    case JOB_SPARE:
    case JOB_FLUSH:
    case JOB_MARK:
    case JOB_CUT:
        break;
    }
}

/* A sealed segment's descriptor goes once no flush can be using it. */
static void close_sealed(struct log *log)
{
    if (log_job_is_out(log, LOG_LANE_FLUSH))
        return;
    uint32_t count = log->segment_count - (log->active ? 1 : 0);
    for (uint32_t i = count; i > 0 && log->segments[i - 1]->file != NULL; i--)
        io_close(log->place->io, &log->segments[i - 1]->file);
}

static void let_go(struct log_job *job)
{
    if (job->segment != NULL)
        segment_drop(job->segment);
    free(job->blob);
    free(job->footer.runs);
    free(job->page);
    free(job->doomed);
    heal_forget(&job->heal);
    job->page = NULL;
    job->doomed = NULL;
    job->segment = NULL;
    job->blob = NULL;
    job->footer.runs = NULL;
}

void log_job_done(struct log *log, struct log_job *job, struct log_done *done)
{
    TAG_CHECK(log, LOG_TAG);
    REQUIRE(job->out);
    memset(done, 0, sizeof *done);
    job->out = false;
    done->err = job->err;
    done->fault = job->fault;
    done->cuts = job->cuts;
    if (job->err != KQ_OK && job->err != KQ_NO_SPACE) {
        if (job->next != NULL)
            segment_drop(job->next);
        if (job->file != NULL)
            io_close(log->place->io, &job->file);
        log_fail(log, &job->fault);
    } else if (job->lane == LOG_LANE_FLUSH) {
        done_flush(log, job, done);
    } else {
        done_keep(log, job, done);
        settle_budget(log);
    }
    let_go(job);
    close_sealed(log);
}
