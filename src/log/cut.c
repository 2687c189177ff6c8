/*
 * Cutting a log: entries at its end that another leader has others for (truncation),
 * or all of it, to begin anew where a leader's log begins (reset). The owner's side;
 * cut_run.c has the order of things on the disk.
 *
 * For the owner a cut is done at once: the ends of the log move, and only they. The
 * segments, and the end of the active one, stay as they are on the disk until a job
 * of the flush lane has cut them, alone: it begins when no keep job is out, and none
 * goes out before it is back. Nothing is appended meanwhile. So a job that was out
 * when the log was cut ends as ever, on the log as it was; the cut finds what it
 * left (a roll: one segment more). What a flush reports is fenced by the number of
 * cuts: one handed out before a cut is no news, as the cut's own job makes all that
 * stays durable and reports it.
 *
 * Readers: what is committed is never truncated, so entries that a view lends out
 * stay. But a view from before may show a segment that is gone or goes on with other
 * entries, under idxs that later are committed. So the place's generation grows when
 * segments have changed, before any commit that follows, and an older view answers
 * KQ_AGAIN.
 */
#include "log/log_impl.h"

#include "base/require.h"

#include <stdlib.h>
#include <string.h>

/* ---- as the owner sees it ---------------------------------------------------------------- */

uint64_t log_cuts(const struct log *log)
{
    return log->cuts;
}

/* Nothing of the old end waits for anything any more. */
static void forget_end(struct log *log)
{
    log->cuts++;
    log->want_roll = false;
    log->force_roll = false;
    log->has_roll_state = false;
    log->need_bytes = 0;
    log->no_space = false;
    log->mark_due_us = CLOCK_NEVER;
    heal_forget(&log->heal);
    (void)pthread_mutex_lock(&log->tip_lock);
    struct segment *before = log->tip.segment;
    log->tip.segment = NULL;
    log->tip.idx = 0;
    log->tip.term = 0;
    (void)pthread_mutex_unlock(&log->tip_lock);
    if (before != NULL)
        segment_drop(before);
}

static void forget_stored(struct log *log)
{
    free(log->stored);
    log->stored = NULL;
    log->stored_bytes = 0;
    log->stored_idx = log->kept_idx;
}

enum kq_err log_truncate(struct log *log, uint64_t from_idx)
{
    TAG_CHECK(log, LOG_TAG);
    REQUIRE(log->cut.kind != LOG_CUT_RESET); /* behind what it begins with there is nothing yet */
    REQUIRE(from_idx > atomic_load_explicit(&log->place->commit_idx, memory_order_relaxed));
    REQUIRE(from_idx >= log_first_idx(log) && from_idx <= log->last_idx);
    uint64_t last_idx = from_idx - 1;
    uint64_t last_term = log_term_at(log, last_idx);
    int64_t next_off = log_end_off_at(log, last_idx);
    if (next_off < 0 || (last_term == 0 && from_idx > log_first_idx(log))) {
        struct fault fault; /* its owner's numbers and these are to agree all the same */
        (void)fault_set(&fault, KQ_IO, "%s: the index cannot be read, so entries from %llu on cannot be cut",
                        log->place->title, (unsigned long long)from_idx);
        log_fail(log, &fault);
        next_off = next_off < 0 ? log->next_off : next_off;
    }
    log->last_idx = last_idx;
    log->last_term = last_term;
    log->next_off = next_off;
    if (log->flushed_idx > last_idx) {
        log->flushed_idx = last_idx;
        log->flushed_term = last_term;
    }
    if (log->marked_idx > last_idx)
        log->marked_idx = last_idx;
    if (log->stored_idx > last_idx)
        forget_stored(log);
    forget_end(log);
    log->cut.kind = LOG_CUT_TRUNCATE;
    log->cut.from_idx = from_idx;
    log->cut.begun = false; /* if one is out, this follows it */
    return log->failed ? log->fault.err : KQ_OK;
}

enum kq_err log_reset(struct log *log, const struct log_reset_to *to)
{
    TAG_CHECK(log, LOG_TAG);
    REQUIRE(to->prev_idx > atomic_load_explicit(&log->place->commit_idx, memory_order_relaxed));
    REQUIRE(to->prev_term > 0 && to->next_off >= to->start_off && to->start_off >= 0);
    REQUIRE(to->state_bytes <= LOG_STATE_BYTES_MAX);
    if (log->failed)
        return log->fault.err;
    void *state = malloc(to->state_bytes + 1);
    if (state == NULL)
        return KQ_NO_MEMORY;
    if (to->state_bytes > 0)
        memcpy(state, to->state, to->state_bytes);
    free(log->cut.state);
    log->cut = (struct pending_cut){.kind = LOG_CUT_RESET, .to = *to, .state = state};
    log->cut.to.state = state;
    log->cut.to.start_off = to->next_off; /* nothing below it can be read */
    log->last_idx = to->prev_idx;
    log->last_term = to->prev_term;
    log->next_off = to->next_off;
    log->flushed_idx = 0;
    log->flushed_term = 0;
    log->marked_idx = 0;
    forget_stored(log);
    forget_end(log);
    free(log->snapshot); /* older than where it begins */
    log->snapshot = NULL;
    log->snapshot_waits = false;
    return KQ_OK;
}

/* ---- the job -------------------------------------------------------------------------------- */

/* Which segments stay, and which of them is to be cut where. */
static bool plan_truncation(struct log *log, struct log_job *job)
{
    uint32_t keep = log->segment_count; /* the last of them that begins at or before the cut */
    while (keep > 1 && log->segments[keep - 1]->first_idx > log->cut.from_idx)
        keep--;
    job->whole = keep > 1 && log->segments[keep - 1]->first_idx == log->cut.from_idx;
    if (job->whole)
        keep--;
    struct segment *s = log->segments[keep - 1];
    REQUIRE(s != NULL);
    job->keep_count = keep;
    job->cut_idx = log->cut.from_idx;
    job->cut_term = log->last_term;
    job->doomed_count = log->segment_count - keep;
    job->doomed = calloc(job->doomed_count + 1u, sizeof *job->doomed);
    if (job->doomed == NULL)
        return false;
    for (uint32_t i = 0; i < job->doomed_count; i++)
        job->doomed[i] = log->segments[keep + i]->first_off;
    if (s == log_active(log)) {
        job->written_pos = page_up(log->write_pos) > log->dirty_pos ? page_up(log->write_pos) : log->dirty_pos;
    } else if (!job->whole) {
        job->next = segment_new(log->place, s->first_off, s->first_idx);
        if (job->next == NULL)
            return false;
        job->next->index_map_bytes = log_index_map_bytes(log->segment_bytes);
        size_t least = (size_t)page_up((job->cut_idx - s->first_idx + LOG_ROWS_AHEAD_MIN) * INDEX_ROW_BYTES);
        if (job->next->index_map_bytes < least)
            job->next->index_map_bytes = least;
    }
    job->segment = segment_hold(s);
    job->mark.segment_off = s->first_off;
    job->mark.segment_idx = s->first_idx;
    return true;
}

static bool plan_reset(struct log *log, struct log_job *job)
{
    job->to = log->cut.to;
    job->blob_bytes = job->to.state_bytes;
    job->blob = malloc(job->blob_bytes + 1);
    job->next = segment_new(log->place, job->to.next_off, job->to.prev_idx + 1);
    if (job->blob == NULL || job->next == NULL)
        return false;
    memcpy(job->blob, log->cut.state, job->blob_bytes);
    job->cut_idx = job->to.prev_idx + 1;
    job->cut_term = job->to.prev_term;
    job->next->prev_term = job->to.prev_term;
    job->next->index_map_bytes = log_index_map_bytes(log->segment_bytes);
    job->mark.segment_off = job->to.next_off;
    job->mark.segment_idx = job->cut_idx;
    job->mark.flushed_idx = job->to.prev_idx;
    job->mark.flushed_term = job->to.prev_term;
    job->mark.commit_idx = job->to.prev_idx;
    job->mark.start_off = job->to.start_off;
    return true;
}

/* Begun and not to be: as if it had never been handed out. */
static void give_back(struct log_job *job)
{
    if (job->next != NULL)
        segment_drop(job->next);
    free(job->doomed);
    free(job->blob);
    job->next = NULL;
    job->doomed = NULL;
    job->blob = NULL;
    job->out = false;
}

struct log_job *cut_begin(struct log *log)
{
    struct log_job *job = job_begin(log, LOG_LANE_FLUSH, JOB_CUT);
    job->cut = log->cut.kind;
    log_fill_mark(log, &job->mark);
    job->mark.end_pos = 0; /* of the log as it will be, these are not known yet */
    job->mark.last_crc = 0;
    job->mark.max_time_ms = -1;
    bool planned = job->cut == LOG_CUT_RESET ? plan_reset(log, job) : plan_truncation(log, job);
    if (!planned) {
        give_back(job);
        return NULL; /* out of memory: asked again after the next turn */
    }
    job->sync_dir_first = log->dir_unsynced;
    log->dir_unsynced = false;
    job_take_state(log, job);
    job->mark.state_version = log->state.version;
    job->mark.cut = job->cut;
    job->mark.cut_idx = job->cut_idx;
    log->cut.begun = true;
    return job;
}

/* ---- taking in -------------------------------------------------------------------------------- */

static void drop_segments(struct log *log, uint32_t keep)
{
    while (log->segment_count > keep)
        segment_drop(log->segments[--log->segment_count]);
}

static void done_truncation(struct log *log, struct log_job *job)
{
    struct segment *s = job->segment;
    bool changed = job->doomed_count > 0 || job->next != NULL;
    drop_segments(log, job->keep_count);
    if (job->next != NULL) {
        segment_drop(log->segments[log->segment_count - 1]);
        log->segments[log->segment_count - 1] = job->next;
        job->next = NULL;
        log->prepared_pos = page_up(job->cut_pos);
        log->rows = job->rows;
    } else if (!job->whole) {
        if (job->file != NULL)
            s->file = job->file;
        job->file = NULL;
        segment_forget_checks(s, job->cut_idx);
    }
    log->active = !job->whole;
    log->write_pos = job->cut_pos;
    if (changed)
        (void)atomic_fetch_add_explicit(&log->place->generation, 1, memory_order_release);
}

/* False: out of memory; the log has failed. */
static bool done_reset(struct log *log, struct log_job *job)
{
    struct place *p = log->place;
    drop_segments(log, 0);
    log->active = false;
    if (!log_add_segment(log, job->next)) {
        struct fault fault;
        segment_drop(job->next);
        job->next = NULL;
        (void)fault_set(&fault, KQ_NO_MEMORY, "%s: out of memory while beginning anew", p->title);
        log_fail(log, &fault);
        return false;
    }
    job->next = NULL;
    log->active = true;
    log->write_pos = SEGMENT_HEAD_BYTES;
    log->prepared_pos = SEGMENT_HEAD_BYTES;
    log->rows = 0;
    log->kept_idx = job->to.prev_idx;
    log->stored_idx = log->kept_idx;
    free(log->stored);
    log->stored = job->blob;
    log->stored_bytes = job->blob_bytes;
    job->blob = NULL;
    /* First no older view is of use, then readers are shown the new numbers. */
    (void)atomic_fetch_add_explicit(&p->generation, 1, memory_order_release);
    atomic_store_explicit(&p->start_off, job->to.start_off, memory_order_release);
    atomic_store_explicit(&p->commit_idx, job->to.prev_idx, memory_order_release);
    atomic_store_explicit(&p->high_watermark, job->to.next_off, memory_order_release);
    return true;
}

void cut_done(struct log *log, struct log_job *job, struct log_done *done)
{
    log->have_spare = job->have_spare;
    log->spare_bytes = job->spare_bytes;
    if (job->undecided) { /* a full disk: nothing has changed there */
        segment_drop(job->next);
        job->next = NULL;
        if (job->cuts == log->cuts) {
            log->cut.begun = false;
            log->cut.retry_us = log->now_us + LOG_QUIET_US;
        }
        return;
    }
    if (job->cut == LOG_CUT_RESET && !done_reset(log, job)) {
        done->err = log->fault.err;
        done->fault = log->fault;
        return;
    }
    if (job->cut == LOG_CUT_TRUNCATE)
        done_truncation(log, job);
    log->last_crc = job->cut_crc;
    log->max_time_ms = job->cut_time_ms;
    log->dirty_pos = 0;
    log->tail_closed = false; /* the clean mark is gone */
    free(log->tail_page);
    log->tail_page = job->page;
    job->page = NULL;
    log_view_forget(log);
    done->space = true;
    done->view_changed = true;
    if (job->cuts != log->cuts) /* cut again since: the next job tells */
        return;
    free(log->cut.state);
    log->cut = (struct pending_cut){.kind = LOG_CUT_NONE};
    log->flushed_idx = log->last_idx;
    log->flushed_term = log->last_term;
    log->marked_idx = log->last_idx;
    done->flushed = true;
    done->flushed_idx = log->flushed_idx;
    done->flushed_term = log->flushed_term;
}
