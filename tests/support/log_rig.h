/*
 * Drives a log on one thread for tests: opens it, appends batches of records,
 * runs its jobs inline, reads it back. Time is the rig's own.
 */
#ifndef KQ_TESTS_SUPPORT_LOG_RIG_H
#define KQ_TESTS_SUPPORT_LOG_RIG_H

#include "base/clock.h"
#include "log/log.h"

#include <stdlib.h>
#include <string.h>

struct log_rig {
    struct log *log;
    struct log_options options;
    struct log_report report;
    struct fault fault;
    enum kq_err failed; /* of a job, for good */
    uint64_t term;
    int64_t now_us;
    uint64_t flushed_idx; /* as told by log_job_done */
    uint64_t flushed_term;
    uint64_t flushed_cuts;
    uint64_t hard_state_version; /* likewise */
    const void *roll_state;
    size_t roll_state_bytes;
    struct log_job *out[LOG_LANE_COUNT]; /* handed out by log_rig_step */
    bool ran[LOG_LANE_COUNT];
    bool old; /* what is appended is filled in behind the others */
};

static inline void log_rig_init(struct log_rig *r, struct io *io, const char *dir)
{
    memset(r, 0, sizeof *r);
    r->options = (struct log_options){
        .io = io,
        .dir = dir,
        .title = "t-0",
        .segment_bytes = 64 * 1024,
        .prepare_min_bytes = 16 * 1024,
        .prepare_max_bytes = 64 * 1024,
        .mark_delay_us = 100000,
    };
    memset(r->options.topic_id.bytes, 7, UUID_BYTES);
    r->term = 1;
    r->now_us = 1000000;
}

static inline enum kq_err log_rig_open(struct log_rig *r)
{
    struct log_hard_state create = {.voter_count = 1};
    memset(create.incarnation.bytes, 9, UUID_BYTES);
    create.voters[0] = (struct log_voter){1, create.incarnation};
    r->failed = KQ_OK;
    memset(&r->fault, 0, sizeof r->fault);
    enum kq_err err = log_open(&r->log, &r->options, &create, &r->report, &r->fault);
    r->flushed_idx = err == KQ_OK ? log_last_idx(r->log) : 0;
    r->flushed_term = err == KQ_OK ? log_last_term(r->log) : 0;
    r->flushed_cuts = 0;
    return err;
}

/* Takes in what a job did. */
static inline enum kq_err log_rig_done(struct log_rig *r, struct log_job *job)
{
    struct log_done done;
    log_job_done(r->log, job, &done);
    if (done.err != KQ_OK && done.err != KQ_NO_SPACE) {
        r->failed = done.err;
        r->fault = done.fault;
    }
    if (done.flushed) {
        r->flushed_idx = done.flushed_idx;
        r->flushed_term = done.flushed_term;
        r->flushed_cuts = done.cuts;
    }
    if (done.hard_state_version != 0)
        r->hard_state_version = done.hard_state_version;
    return done.err;
}

static inline struct log_job *log_rig_next(struct log_rig *r, enum log_lane lane)
{
    if (log_wants_roll_state(r->log))
        log_roll_state(r->log, r->roll_state, r->roll_state_bytes);
    return log_next_job(r->log, lane, r->now_us);
}

/* One step of one lane: hand a job out, or run it, or take it in. */
static inline void log_rig_step(struct log_rig *r, enum log_lane lane)
{
    if (r->out[lane] == NULL) {
        r->out[lane] = log_rig_next(r, lane);
        r->ran[lane] = false;
    } else if (!r->ran[lane]) {
        log_job_run(r->out[lane]);
        r->ran[lane] = true;
    } else {
        struct log_job *job = r->out[lane];
        r->out[lane] = NULL;
        (void)log_rig_done(r, job);
    }
}

/* Nothing is out any more. */
static inline void log_rig_drain(struct log_rig *r)
{
    for (int lane = 0; lane < LOG_LANE_COUNT; lane++)
        while (r->out[lane] != NULL)
            log_rig_step(r, (enum log_lane)lane);
}

/* Runs one lane until nothing is due. */
static inline void log_rig_run(struct log_rig *r, enum log_lane lane)
{
    log_rig_drain(r);
    struct log_job *job;
    while ((job = log_rig_next(r, lane)) != NULL) {
        log_job_run(job);
        if (log_rig_done(r, job) == KQ_NO_SPACE)
            break;
    }
}

static inline void log_rig_flush(struct log_rig *r)
{
    log_rig_run(r, LOG_LANE_FLUSH);
}

/* Appends an entry, running keep jobs as it asks for them. */
static inline enum kq_err log_rig_append_entry(struct log_rig *r, struct log_entry *e)
{
    e->term = r->term;
    e->idx = log_last_idx(r->log) + 1;
    e->first_off = log_next_off(r->log);
    e->old = r->old;
    enum kq_err err = log_append(r->log, e);
    for (int i = 0; i < 4 && err == KQ_AGAIN && r->failed == KQ_OK; i++) {
        if (log_cuts(r->log) != r->flushed_cuts) /* a cut comes first */
            log_rig_run(r, LOG_LANE_FLUSH);
        log_rig_run(r, LOG_LANE_KEEP);
        err = log_append(r->log, e);
    }
    return err;
}

/* One batch of `count` records of value_bytes each, filled with a pattern that its
 * offset tells. */
static inline enum kq_err log_rig_append(struct log_rig *r, int count, size_t value_bytes, int64_t time_ms)
{
    struct buf b;
    struct batch_maker m;
    uint8_t *value = malloc(value_bytes + 1);
    buf_init(&b, 64 * 1024 * 1024);
    batch_begin(&m, &b, time_ms);
    int64_t off = log_next_off(r->log);
    for (int i = 0; i < count; i++) {
        memset(value, (int)(off + i) & 0xff, value_bytes);
        batch_add(&m, time_ms, slice_of(NULL, 0), slice_of(value, value_bytes), NULL, slice_of(NULL, 0));
    }
    batch_end(&m, -1, -1, -1);
    batch_place(b.data, off, (int32_t)r->term);
    struct iovec body = {b.data, b.len};
    struct log_entry e = {
        .type = LOG_ENTRY_RECORDS,
        .record_count = (uint32_t)count,
        .max_time_ms = time_ms,
        .body = &body,
        .body_count = 1,
        .body_bytes = (uint32_t)b.len,
    };
    enum kq_err err = log_rig_append_entry(r, &e);
    buf_fini(&b);
    free(value);
    return err;
}

static inline enum kq_err log_rig_noop(struct log_rig *r)
{
    struct log_entry e = {.type = LOG_ENTRY_NOOP, .max_time_ms = -1};
    return log_rig_append_entry(r, &e);
}

/* Reads every committed entry from `off` on; checks each record's pattern. Returns
 * the offset after the last record, or -1 with r->fault. */
static inline int64_t log_rig_read(struct log_rig *r, int64_t off)
{
    struct log_view *view = log_view_take(r->log);
    struct log_iter it;
    struct log_slice s;
    enum kq_err err = log_iter_seek(&it, view, off);
    int64_t next = off;
    while (err == KQ_OK && (err = log_iter_next(&it, &s, &r->fault)) == KQ_OK) {
        if (s.type != LOG_ENTRY_RECORDS)
            continue;
        struct cursor c = cursor_over(s.body, s.body_bytes);
        struct batch_info info;
        const uint8_t *batch;
        while (err == KQ_OK && cursor_left(&c) > 0) {
            struct record_walk w;
            struct record rec;
            err = batch_next(&c, &info, &batch);
            if (err != KQ_OK || !batch_crc_ok(batch, &info)) {
                err = KQ_CORRUPT;
                break;
            }
            record_walk_init(&w, batch, &info);
            while (record_walk_next(&w, &rec) == KQ_OK) {
                if (rec.off < next)
                    continue;
                if (rec.off != next || (rec.value.len > 0 && rec.value.data[0] != (uint8_t)rec.off))
                    err = KQ_INVALID;
                next = rec.off + 1;
            }
        }
    }
    log_view_drop(&view);
    return err == KQ_EOF ? next : -1;
}

#endif
