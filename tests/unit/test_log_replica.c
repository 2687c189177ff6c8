/*
 * What a replicated log is asked beside appending: ranges to send, single entries,
 * where terms begin, states at or below an index, and reading what is not committed.
 */
#include "support/log_mem_rig.h"

#include <errno.h>
#include <stdio.h>

/* Entries 1 .. n, of small segments; term t from idx 10 * (t - 1) + 1 on; a CONFIG at each idx that 7 divides. */
static void fill(uint64_t n)
{
    rig.options.segment_bytes = 4096;
    log_set_segment_bytes(rig.log, 4096);
    for (uint64_t idx = log_last_idx(rig.log) + 1; idx <= n; idx++) {
        static char state[32];
        (void)snprintf(state, sizeof state, "state at %llu", (unsigned long long)idx - 1);
        rig.roll_state = state;
        rig.roll_state_bytes = strlen(state) + 1;
        rig.term = (idx - 1) / 10 + 1;
        char text[] = "a configuration";
        struct iovec body = {text, sizeof text};
        struct log_entry e = {
            .type = LOG_ENTRY_CONFIG, .max_time_ms = -1, .body = &body, .body_count = 1, .body_bytes = sizeof text};
        enum kq_err err =
            idx % 7 == 0 ? log_rig_append_entry(&rig, &e) : log_rig_append(&rig, 2, 200, 1000 + (int64_t)idx);
        CU_ASSERT_EQUAL_FATAL(err, KQ_OK);
    }
    log_rig_flush(&rig);
}

static void check_plans(void)
{
    struct log *log = rig.log;
    uint64_t idx = 1;
    uint64_t total = 0;
    while (idx <= log_last_idx(log)) {
        struct log_range r;
        CU_ASSERT_EQUAL_FATAL(log_plan(log, idx, UINT64_MAX, 1500, &r), KQ_OK);
        CU_ASSERT_EQUAL(r.first_idx, idx);
        CU_ASSERT_TRUE_FATAL(r.last_idx >= idx);
        CU_ASSERT_TRUE(r.bytes <= 1500);
        uint64_t bytes = 0;
        for (; idx <= r.last_idx; idx++) {
            struct log_range one;
            CU_ASSERT_EQUAL(log_plan(log, idx, idx, 0, &one), KQ_OK);
            CU_ASSERT_EQUAL(one.last_idx, idx);
            CU_ASSERT_EQUAL(one.term, log_term_at(log, idx));
            CU_ASSERT_EQUAL(one.term, r.term);
            CU_ASSERT_TRUE(idx % 7 != 0 || idx == r.last_idx);
            bytes += one.bytes;
        }
        CU_ASSERT_EQUAL(bytes, r.bytes);
        total += bytes;
        struct log_range more;
        if (r.last_idx % 7 != 0 && r.last_idx < log_last_idx(log) && log_term_at(log, r.last_idx + 1) == r.term) {
            CU_ASSERT_EQUAL(log_plan(log, r.last_idx + 1, UINT64_MAX, 0, &more), KQ_OK);
            CU_ASSERT_TRUE(more.bytes + r.bytes > 1500);
        }
    }
    CU_ASSERT_EQUAL(total, log_size_bytes(log));
}

static void a_plan_is_of_one_term_of_the_bytes_allowed_and_ends_with_a_config(void)
{
    start();
    struct log_range r;
    CU_ASSERT_EQUAL(log_plan(rig.log, 1, 10, 100, &r), KQ_NOT_FOUND);
    fill(60);
    CU_ASSERT_EQUAL(log_plan(rig.log, 61, 70, 100, &r), KQ_NOT_FOUND);
    CU_ASSERT_EQUAL(log_plan(rig.log, 0, 70, 100, &r), KQ_NOT_FOUND);
    check_plans();
    done();
    CU_ASSERT_EQUAL(reopen(), KQ_OK); /* from a clean mark, then from a walk */
    check_plans();
    CU_ASSERT_EQUAL(log_rig_noop(&rig), KQ_OK);
    crash();
    CU_ASSERT_EQUAL(reopen(), KQ_OK);
    check_plans();
    done();
}

static void one_entry_is_read_whole_committed_or_not(void)
{
    start();
    fill(30);
    struct buf body;
    buf_init(&body, 1 << 20);
    struct log_slice s;
    for (uint64_t idx = 1; idx <= 30; idx++) {
        CU_ASSERT_EQUAL(log_read(rig.log, idx, &s, &body, &rig.fault), KQ_OK);
        CU_ASSERT_EQUAL(s.idx, idx);
        CU_ASSERT_EQUAL(s.term, (idx - 1) / 10 + 1);
        CU_ASSERT_EQUAL(s.type, idx % 7 == 0 ? LOG_ENTRY_CONFIG : LOG_ENTRY_RECORDS);
        CU_ASSERT_EQUAL(s.max_time_ms, idx % 7 == 0 ? -1 : 1000 + (int64_t)idx);
        CU_ASSERT_EQUAL(s.body_bytes, body.len);
        CU_ASSERT_PTR_EQUAL(s.body, body.data);
    }
    CU_ASSERT_EQUAL(log_read(rig.log, 31, &s, &body, &rig.fault), KQ_NOT_FOUND);
    CU_ASSERT_EQUAL(log_read(rig.log, 0, &s, &body, &rig.fault), KQ_NOT_FOUND);
    buf_fini(&body);
    done();
}

static void an_iterator_may_pass_the_commit_when_told_to(void)
{
    start();
    fill(30);
    log_set_commit(rig.log, 4);
    struct log_view *view = log_view_take(rig.log);
    struct log_iter it;
    struct log_slice s;
    CU_ASSERT_EQUAL(log_iter_seek_idx(&it, view, 3), KQ_OK);
    for (int i = 3; i <= 4; i++)
        CU_ASSERT_EQUAL(log_iter_next(&it, &s, &rig.fault), KQ_OK);
    CU_ASSERT_EQUAL(log_iter_next(&it, &s, &rig.fault), KQ_EOF);
    CU_ASSERT_EQUAL(log_iter_seek_uncommitted(&it, rig.log, view, 3), KQ_OK);
    for (uint64_t i = 3; i <= 30; i++) {
        CU_ASSERT_EQUAL(log_iter_next(&it, &s, &rig.fault), KQ_OK);
        CU_ASSERT_EQUAL(s.idx, i);
    }
    CU_ASSERT_EQUAL(log_iter_next(&it, &s, &rig.fault), KQ_EOF);
    CU_ASSERT_EQUAL(log_iter_seek_uncommitted(&it, rig.log, view, 31), KQ_OK);
    CU_ASSERT_EQUAL(log_iter_next(&it, &s, &rig.fault), KQ_EOF);
    CU_ASSERT_EQUAL(log_iter_seek_uncommitted(&it, rig.log, view, 32), KQ_OFFSET_OUT_OF_RANGE);
    log_view_drop(&view);
    done();
}

static void terms_are_known_as_runs(void)
{
    start();
    struct log_run runs[16];
    CU_ASSERT_EQUAL(log_term_runs(rig.log, runs, 16), 0);
    fill(57);
    CU_ASSERT_EQUAL(log_term_runs(rig.log, runs, 16), 6);
    for (uint64_t i = 0; i < 6; i++) {
        CU_ASSERT_EQUAL(runs[i].term, i + 1);
        CU_ASSERT_EQUAL(runs[i].first_idx, i * 10 + 1);
    }
    CU_ASSERT_EQUAL(log_term_runs(rig.log, runs, 2), 2);
    CU_ASSERT_EQUAL(runs[0].term, 5);
    CU_ASSERT_EQUAL(runs[1].first_idx, 51);
    for (uint64_t from = 0; from < 57; from++)
        for (uint64_t term = 1; term < 8; term++)
            for (uint64_t last = from; last < 62; last += 3) {
                uint64_t expected = from;
                while (expected < last && expected < 57 && expected / 10 + 1 == term)
                    expected++;
                CU_ASSERT_EQUAL(log_same_term_until(rig.log, from, term, last), expected);
            }
    done();
}

static void the_newest_state_at_or_below_an_index_is_found(void)
{
    start();
    fill(60);
    void *state;
    size_t size;
    uint64_t at_idx;
    log_set_commit(rig.log, 60);
    CU_ASSERT_EQUAL(log_store_snapshot(rig.log, 33, "state at 33", 12), KQ_OK);
    log_rig_run(&rig, LOG_LANE_KEEP);
    uint64_t before = 0;
    int found = 0;
    for (uint64_t max = 0; max <= 60; max++) {
        CU_ASSERT_EQUAL(log_stored_state_at(rig.log, max, &state, &size, &at_idx, &rig.fault), KQ_OK);
        CU_ASSERT_TRUE(at_idx <= max && at_idx >= before);
        CU_ASSERT_TRUE(max < 33 || at_idx >= 33);
        CU_ASSERT_TRUE(at_idx == before || at_idx == max);
        found += at_idx != before;
        before = at_idx;
        char expected[32];
        (void)snprintf(expected, sizeof expected, "state at %llu", (unsigned long long)at_idx);
        if (state != NULL)
            CU_ASSERT_STRING_EQUAL(state, expected);
        CU_ASSERT_EQUAL(state != NULL, at_idx != 0);
        free(state);
    }
    CU_ASSERT_TRUE(found > 3);
    done();
}

static void a_replica_may_begin_as_member_of_nothing(void)
{
    mem = mem == NULL ? io_mem_new(4 << 20) : mem;
    io_mem_wipe(mem);
    log_rig_init(&rig, io_mem_io(mem), "/t-0");
    struct log_hard_state create = {.voter_count = 0};
    memset(create.incarnation.bytes, 9, UUID_BYTES);
    CU_ASSERT_EQUAL_FATAL(log_open(&rig.log, &rig.options, &create, &rig.report, &rig.fault), KQ_OK);
    CU_ASSERT_EQUAL(log_rig_noop(&rig), KQ_OK);
    log_rig_flush(&rig);
    done();
    CU_ASSERT_EQUAL_FATAL(log_rig_open(&rig), KQ_OK);
    CU_ASSERT_EQUAL(log_hard_state(rig.log)->voter_count, 0);
    done();
}

/* ---- cutting ------------------------------------------------------------------------------ */

static void run_all(void)
{
    log_rig_flush(&rig);
    log_rig_run(&rig, LOG_LANE_KEEP);
    log_rig_flush(&rig);
    CU_ASSERT_EQUAL(rig.failed, KQ_OK);
}

/* Reads on to the commit; each entry must have the term that the log has now. */
static uint64_t read_on(struct log_iter *it, enum kq_err *err)
{
    struct log_slice s;
    uint64_t last_idx = 0;
    while ((*err = log_iter_next(it, &s, &rig.fault)) == KQ_OK) {
        CU_ASSERT_EQUAL(s.term, log_term_at(rig.log, s.idx));
        last_idx = s.idx;
    }
    return last_idx;
}

/* Views from before a cut from `from`, with `commit` committed. */
static void cut_under_views(uint64_t from, bool released)
{
    start();
    fill(60);
    log_set_commit(rig.log, from - 1);
    if (released) { /* sealed segments give way to others with nothing open */
        struct log_view *first = log_view_take(rig.log);
        struct log_iter it;
        enum kq_err err;
        CU_ASSERT_EQUAL(log_iter_seek_idx(&it, first, 1), KQ_OK);
        (void)read_on(&it, &err);
        log_view_drop(&first);
        for (int i = 0; i < 4; i++) {
            rig.now_us += 120000000;
            log_rig_run(&rig, LOG_LANE_KEEP);
        }
    }
    struct log_view *old = log_view_take(rig.log);
    struct log_iter it;
    struct log_iter fresh;
    struct log_slice lent;
    enum kq_err err;
    CU_ASSERT_EQUAL(log_iter_seek_idx(&it, old, from - 1), KQ_OK);
    CU_ASSERT_EQUAL(log_iter_next(&it, &lent, &rig.fault), KQ_OK);
    uint8_t *copy = malloc(lent.body_bytes);
    memcpy(copy, lent.body, lent.body_bytes);
    CU_ASSERT_EQUAL(log_truncate(rig.log, from), KQ_OK);
    CU_ASSERT_EQUAL(log_iter_next(&it, &lent, &rig.fault), KQ_EOF);
    run_all();
    rig.term = 20; /* others, more of them, in their place */
    for (int i = 0; i < 70; i++)
        CU_ASSERT_EQUAL(log_rig_append(&rig, 1 + i % 2, 150, 3000 + i), KQ_OK);
    run_all();
    log_set_commit(rig.log, log_last_idx(rig.log));
    CU_ASSERT_EQUAL(memcmp(copy, lent.body, lent.body_bytes), 0);
    (void)read_on(&it, &err);
    CU_ASSERT_TRUE(err == KQ_AGAIN || err == KQ_EOF);
    err = log_iter_seek_idx(&fresh, old, from > 3 ? from - 3 : 1);
    if (err == KQ_OK)
        (void)read_on(&fresh, &err);
    CU_ASSERT_TRUE(err == KQ_AGAIN || err == KQ_EOF);
    uint64_t cursor = 0;
    bool round = false;
    for (int i = 0; i < 50; i++) /* a scrubber that holds it finds no damage */
        CU_ASSERT_EQUAL(log_view_scrub(old, &cursor, 4000, &round, &rig.fault), KQ_OK);
    log_view_drop(&old);
    struct log_view *view = log_view_take(rig.log);
    CU_ASSERT_EQUAL(log_iter_seek_idx(&it, view, 1), KQ_OK);
    CU_ASSERT_EQUAL(read_on(&it, &err), log_last_idx(rig.log));
    CU_ASSERT_EQUAL(err, KQ_EOF);
    log_view_drop(&view);
    free(copy);
    done();
    CU_ASSERT_EQUAL(reopen(), KQ_OK);
    CU_ASSERT_EQUAL(log_last_idx(rig.log), from - 1 + 70);
    CU_ASSERT_EQUAL(log_term_at(rig.log, from - 1), (from - 2) / 10 + 1);
    done();
}

static void a_view_from_before_a_cut_shows_nothing_that_was_cut(void)
{
    for (uint64_t from = 2; from <= 60; from++) {
        cut_under_views(from, false);
        cut_under_views(from, true);
    }
}

static void reset_to(uint64_t prev_idx, int64_t next_off, const char *state)
{
    struct log_reset_to to = {prev_idx, 9, next_off, next_off, state, strlen(state) + 1};
    CU_ASSERT_EQUAL(log_reset(rig.log, &to), KQ_OK);
}

static void a_reset_begins_anew_behind_another_entry(void)
{
    start();
    fill(60);
    log_set_commit(rig.log, 30);
    struct log_view *old = log_view_take(rig.log);
    struct log_iter it;
    struct log_slice lent;
    struct log_slice s;
    enum kq_err err;
    CU_ASSERT_EQUAL(log_iter_seek_idx(&it, old, 29), KQ_OK);
    CU_ASSERT_EQUAL(log_iter_next(&it, &lent, &rig.fault), KQ_OK);
    uint8_t *copy = malloc(lent.body_bytes);
    memcpy(copy, lent.body, lent.body_bytes);
    reset_to(100, 500, "state at 100");
    CU_ASSERT_EQUAL(log_first_idx(rig.log), 101);
    CU_ASSERT_EQUAL(log_last_idx(rig.log), 100);
    CU_ASSERT_EQUAL(log_last_term(rig.log), 9);
    CU_ASSERT_EQUAL(log_term_at(rig.log, 100), 9);
    CU_ASSERT_EQUAL(log_term_at(rig.log, 30), 0);
    CU_ASSERT_EQUAL(log_next_off(rig.log), 500);
    CU_ASSERT_EQUAL(log_flushed_idx(rig.log), 0);
    CU_ASSERT_EQUAL(log_size_bytes(rig.log), 0);
    log_set_commit(rig.log, 100);
    CU_ASSERT_EQUAL(log_iter_next(&it, &s, &rig.fault), KQ_OK); /* not yet for readers */
    CU_ASSERT_EQUAL(log_iter_next(&it, &s, &rig.fault), KQ_EOF);
    run_all();
    CU_ASSERT_EQUAL(rig.flushed_idx, 100);
    CU_ASSERT_EQUAL(rig.flushed_term, 9);
    CU_ASSERT_EQUAL(rig.flushed_cuts, 1);
    CU_ASSERT_EQUAL(log_iter_next(&it, &s, &rig.fault), KQ_AGAIN);
    CU_ASSERT_EQUAL(log_iter_seek(&it, old, 3), KQ_AGAIN);
    CU_ASSERT_EQUAL(memcmp(copy, lent.body, lent.body_bytes), 0);
    log_view_drop(&old);
    free(copy);
    struct log_view *view = log_view_take(rig.log);
    CU_ASSERT_EQUAL(log_view_high_watermark(view), 500);
    CU_ASSERT_EQUAL(log_view_start_off(view), 500);
    CU_ASSERT_EQUAL(log_iter_seek(&it, view, 3), KQ_OFFSET_OUT_OF_RANGE);
    CU_ASSERT_EQUAL(log_iter_seek(&it, view, 500), KQ_OK);
    CU_ASSERT_EQUAL(log_iter_next(&it, &s, &rig.fault), KQ_EOF);
    log_view_drop(&view);
    for (int i = 0; i < 3; i++) { /* at once, and after starts, with more entries each time */
        if (i > 0) {
            done();
            CU_ASSERT_EQUAL(reopen(), KQ_OK);
        }
        CU_ASSERT_EQUAL(log_first_idx(rig.log), 101);
        CU_ASSERT_EQUAL(log_term_at(rig.log, 100), 9);
        CU_ASSERT_EQUAL(log_start_off(rig.log), 500);
        void *state;
        size_t size;
        uint64_t at_idx;
        CU_ASSERT_EQUAL(log_stored_state_at(rig.log, 100, &state, &size, &at_idx, &rig.fault), KQ_OK);
        CU_ASSERT_EQUAL(at_idx, 100);
        CU_ASSERT_STRING_EQUAL(state, "state at 100");
        free(state);
        rig.term = 9;
        CU_ASSERT_EQUAL(log_rig_append(&rig, 2, 100, 5000), KQ_OK);
        run_all();
        log_set_commit(rig.log, log_last_idx(rig.log));
        view = log_view_take(rig.log);
        CU_ASSERT_EQUAL(log_iter_seek(&it, view, 500), KQ_OK);
        CU_ASSERT_EQUAL(read_on(&it, &err), log_last_idx(rig.log));
        log_view_drop(&view);
    }
    done();
}

static void a_log_may_begin_with_a_reset(void)
{
    for (int again = 0; again < 2; again++) {
        start();
        reset_to(70, 12, "state at 70");
        if (again != 0)
            reset_to(80, 15, "state at 80");
        run_all();
        uint64_t prev_idx = again != 0 ? 80 : 70;
        CU_ASSERT_EQUAL(rig.flushed_idx, prev_idx);
        rig.term = 9;
        CU_ASSERT_EQUAL(log_rig_noop(&rig), KQ_OK);
        run_all();
        crash();
        CU_ASSERT_EQUAL_FATAL(reopen(), KQ_OK);
        CU_ASSERT_EQUAL(log_first_idx(rig.log), prev_idx + 1);
        CU_ASSERT_EQUAL(log_last_idx(rig.log), prev_idx + 1);
        CU_ASSERT_EQUAL(log_term_at(rig.log, prev_idx), 9);
        CU_ASSERT_EQUAL(log_next_off(rig.log), again != 0 ? 15 : 12);
        CU_ASSERT_TRUE(log_hard_state(rig.log)->commit_idx >= prev_idx);
        done();
    }
}

static void a_flush_from_before_a_cut_is_no_news(void)
{
    start();
    fill(20);
    CU_ASSERT_EQUAL(log_rig_append(&rig, 1, 100, 1), KQ_OK);
    struct log_hard_state state = *log_hard_state(rig.log);
    state.term = 77;
    uint64_t version = log_set_hard_state(rig.log, &state);
    struct log_job *flush = log_next_job(rig.log, LOG_LANE_FLUSH, rig.now_us);
    CU_ASSERT_PTR_NOT_NULL_FATAL(flush);
    log_job_run(flush);
    CU_ASSERT_EQUAL(log_truncate(rig.log, 18), KQ_OK);
    struct log_done d;
    log_job_done(rig.log, flush, &d);
    CU_ASSERT_EQUAL(d.err, KQ_OK);
    CU_ASSERT_FALSE(d.flushed);
    CU_ASSERT_EQUAL(d.cuts, 0);
    CU_ASSERT_EQUAL(d.hard_state_version, version);
    CU_ASSERT_EQUAL(log_flushed_idx(rig.log), 17);
    struct log_job *cut = log_next_job(rig.log, LOG_LANE_FLUSH, rig.now_us);
    CU_ASSERT_PTR_NOT_NULL_FATAL(cut);
    log_job_run(cut);
    CU_ASSERT_EQUAL(log_truncate(rig.log, 12), KQ_OK); /* and again, while it runs */
    log_job_done(rig.log, cut, &d);
    CU_ASSERT_FALSE(d.flushed);
    CU_ASSERT_EQUAL(log_make_room(rig.log, LOG_ENTRY_NOOP, 0), KQ_AGAIN);
    CU_ASSERT_EQUAL(log_last_idx(rig.log), 11);
    struct log_range range; /* sizes are right meanwhile */
    CU_ASSERT_EQUAL(log_plan(rig.log, 11, 30, 1 << 20, &range), KQ_OK);
    CU_ASSERT_EQUAL(range.last_idx, 11);
    uint64_t bytes = range.bytes;
    cut = log_next_job(rig.log, LOG_LANE_FLUSH, rig.now_us);
    CU_ASSERT_PTR_NOT_NULL_FATAL(cut);
    log_job_run(cut);
    log_job_done(rig.log, cut, &d);
    CU_ASSERT_TRUE(d.flushed && d.space && d.view_changed);
    CU_ASSERT_EQUAL(d.flushed_idx, 11);
    CU_ASSERT_EQUAL(d.flushed_term, 2);
    CU_ASSERT_EQUAL(d.cuts, 2);
    CU_ASSERT_EQUAL(log_cuts(rig.log), 2);
    CU_ASSERT_EQUAL(log_plan(rig.log, 11, 30, 1 << 20, &range), KQ_OK);
    CU_ASSERT_EQUAL(range.bytes, bytes);
    done();
}

static void a_cut_waits_for_the_other_lane_and_a_vote_does_not(void)
{
    start();
    fill(20);
    log_force_roll(rig.log);
    CU_ASSERT_EQUAL(log_make_room(rig.log, LOG_ENTRY_NOOP, 0), KQ_AGAIN);
    struct log_job *roll = log_rig_next(&rig, LOG_LANE_KEEP);
    CU_ASSERT_PTR_NOT_NULL_FATAL(roll);
    CU_ASSERT_EQUAL(log_truncate(rig.log, 15), KQ_OK);
    CU_ASSERT_PTR_NULL(log_next_job(rig.log, LOG_LANE_FLUSH, rig.now_us));
    struct log_done d;
    log_job_run(roll);
    log_job_done(rig.log, roll, &d);
    CU_ASSERT_FALSE(d.flushed);
    CU_ASSERT_PTR_NULL(log_next_job(rig.log, LOG_LANE_KEEP, rig.now_us));
    run_all();
    CU_ASSERT_EQUAL(rig.flushed_idx, 14);
    done();
    start(); /* with a job out that is no roll: the vote goes, the cut waits */
    append_many(20, 1, 100);
    log_set_commit(rig.log, 3);
    CU_ASSERT_EQUAL(log_rig_append(&rig, 1, 10, 1), KQ_OK);
    CU_ASSERT_EQUAL(log_make_room(rig.log, LOG_ENTRY_RECORDS, 30000), KQ_AGAIN);
    struct log_job *keep = log_rig_next(&rig, LOG_LANE_KEEP);
    CU_ASSERT_PTR_NOT_NULL_FATAL(keep);
    CU_ASSERT_EQUAL(log_truncate(rig.log, 21), KQ_OK);
    struct log_hard_state state = *log_hard_state(rig.log);
    state.term = 78;
    uint64_t version = log_set_hard_state(rig.log, &state);
    struct log_job *flush = log_next_job(rig.log, LOG_LANE_FLUSH, rig.now_us);
    CU_ASSERT_PTR_NOT_NULL_FATAL(flush);
    log_job_run(flush);
    log_job_done(rig.log, flush, &d);
    CU_ASSERT_EQUAL(d.hard_state_version, version);
    CU_ASSERT_FALSE(d.flushed);
    CU_ASSERT_PTR_NULL(log_next_job(rig.log, LOG_LANE_FLUSH, rig.now_us));
    log_job_run(keep);
    log_job_done(rig.log, keep, &d);
    run_all();
    CU_ASSERT_EQUAL(rig.flushed_idx, 20);
    CU_ASSERT_EQUAL(log_rig_append(&rig, 1, 20000, 1), KQ_OK);
    done();
}

static void a_vote_after_a_cut_flushes_nothing_that_was_cut(void)
{
    start();
    fill(20);
    CU_ASSERT_EQUAL(log_truncate(rig.log, 10), KQ_OK);
    run_all();
    struct log_hard_state state = *log_hard_state(rig.log);
    state.term = 78;
    (void)log_set_hard_state(rig.log, &state);
    run_all();
    CU_ASSERT_EQUAL(rig.flushed_idx, 9);
    CU_ASSERT_EQUAL(log_flushed_idx(rig.log), 9);
    done();
    CU_ASSERT_EQUAL_FATAL(log_rig_open(&rig), KQ_OK); /* a cut and nothing more, after a clean start */
    CU_ASSERT_EQUAL(log_truncate(rig.log, 8), KQ_OK);
    run_all();
    done();
    CU_ASSERT_EQUAL_FATAL(log_rig_open(&rig), KQ_OK);
    CU_ASSERT_EQUAL(rig.report.scanned_bytes, 0);
    CU_ASSERT_EQUAL(log_last_idx(rig.log), 7);
    done();
}

static void a_roll_from_before_a_reset_is_no_news(void)
{
    start();
    fill(20);
    CU_ASSERT_EQUAL(log_rig_append(&rig, 1, 10, 1), KQ_OK);
    log_force_roll(rig.log);
    CU_ASSERT_EQUAL(log_make_room(rig.log, LOG_ENTRY_NOOP, 0), KQ_AGAIN);
    struct log_job *roll = log_rig_next(&rig, LOG_LANE_KEEP);
    CU_ASSERT_PTR_NOT_NULL_FATAL(roll);
    reset_to(40, 77, "state at 40");
    struct log_done d;
    log_job_run(roll);
    log_job_done(rig.log, roll, &d);
    CU_ASSERT_EQUAL(d.err, KQ_OK);
    CU_ASSERT_FALSE(d.flushed);
    CU_ASSERT_EQUAL(log_flushed_idx(rig.log), 0);
    run_all();
    CU_ASSERT_EQUAL(log_flushed_idx(rig.log), 40);
    done();
}

static void times_of_what_was_cut_are_forgotten(void)
{
    for (int across = 0; across < 2; across++) {
        start();
        log_set_segment_bytes(rig.log, 8192);
        for (int i = 0; i < 4; i++)
            CU_ASSERT_EQUAL(log_rig_append(&rig, 1, 10, 1000 + i), KQ_OK);
        for (int i = 0; i < 4; i++)
            CU_ASSERT_EQUAL(log_rig_append(&rig, 1, across ? 4000 : 10, 9000 + i), KQ_OK);
        CU_ASSERT_EQUAL(log_truncate(rig.log, 5), KQ_OK);
        run_all();
        for (int i = 4; i < 8; i++)
            CU_ASSERT_EQUAL(log_rig_append(&rig, 1, 10, 1000 + i), KQ_OK);
        run_all();
        log_set_commit(rig.log, log_last_idx(rig.log));
        struct log_view *view = log_view_take(rig.log);
        for (int64_t i = 0; i < 8; i++) {
            int64_t off, found_ms;
            CU_ASSERT_EQUAL(log_view_find_time(view, 1000 + i, &off, &found_ms, &rig.fault), KQ_OK);
            CU_ASSERT_EQUAL(off, i);
        }
        log_view_drop(&view);
        done();
    }
}

/* What was read before the cut says nothing of what stands there now. */
static void what_stands_where_was_cut_is_checked_again(void)
{
    start();
    fill(5);
    struct buf body;
    struct log_slice s;
    buf_init(&body, 1 << 20);
    CU_ASSERT_EQUAL(log_read(rig.log, 5, &s, &body, &rig.fault), KQ_OK);
    CU_ASSERT_EQUAL(log_truncate(rig.log, 5), KQ_OK);
    run_all();
    CU_ASSERT_EQUAL(log_rig_append(&rig, 2, 200, 1000), KQ_OK);
    run_all();
    uint64_t size;
    uint8_t *bytes = io_mem_bytes(mem, FIRST_LOG, &size);
    uint64_t end = size;
    while (bytes[end - 1] == 0)
        end--;
    bytes[end - 20] ^= 1;
    CU_ASSERT_EQUAL(log_read(rig.log, 5, &s, &body, &rig.fault), KQ_CORRUPT);
    CU_ASSERT_EQUAL(log_read(rig.log, 4, &s, &body, &rig.fault), KQ_OK);
    buf_fini(&body);
    done();
}

static void a_state_that_stands_above_a_cut_is_not_told(void)
{
    start();
    fill(60);
    log_set_commit(rig.log, 20);
    crash();
    CU_ASSERT_EQUAL_FATAL(log_rig_open(&rig), KQ_OK);
    size_t size;
    uint64_t at_idx;
    CU_ASSERT_PTR_NOT_NULL(log_stored_state(rig.log, &size, &at_idx));
    CU_ASSERT_TRUE(at_idx > 30);
    CU_ASSERT_EQUAL(log_truncate(rig.log, 30), KQ_OK);
    (void)log_stored_state(rig.log, &size, &at_idx);
    CU_ASSERT_TRUE(at_idx < 30);
    run_all();
    (void)log_stored_state(rig.log, &size, &at_idx);
    CU_ASSERT_TRUE(at_idx < 30);
    done();
}

/* A close keeps no state of entries that may be cut after the next start. */
static void a_close_keeps_states_of_committed_entries_only(void)
{
    for (int committed = 0; committed < 2; committed++) {
        start();
        log_set_segment_bytes(rig.log, 3 << 20);
        for (int i = 0; i < 150; i++)
            CU_ASSERT_EQUAL(log_rig_append(&rig, 1, 10000, 1), KQ_OK);
        run_all();
        log_set_commit(rig.log, committed != 0 ? 150 : 149);
        log_close(&rig.log, "state at 150", 13);
        CU_ASSERT_EQUAL(io_mem_exists(mem, "/t-0/snapshot"), committed != 0);
        CU_ASSERT_EQUAL_FATAL(log_rig_open(&rig), KQ_OK);
        done();
    }
}

/* The disk is cut, and nobody has been told yet. */
static void a_scrubber_sees_no_damage_in_what_is_being_cut(void)
{
    start();
    fill(60);
    log_set_commit(rig.log, 5);
    struct log_view *view = log_view_take(rig.log);
    CU_ASSERT_EQUAL(log_truncate(rig.log, 10), KQ_OK);
    struct log_job *cut = log_next_job(rig.log, LOG_LANE_FLUSH, rig.now_us);
    CU_ASSERT_PTR_NOT_NULL_FATAL(cut);
    log_job_run(cut);
    uint64_t cursor = 0;
    bool round = false;
    while (!round)
        CU_ASSERT_EQUAL_FATAL(log_view_scrub(view, &cursor, 4000, &round, &rig.fault), KQ_OK);
    struct log_done d;
    log_job_done(rig.log, cut, &d);
    CU_ASSERT_TRUE(d.flushed);
    log_view_drop(&view);
    done();
}

static void configurations_are_known_after_a_crash(void)
{
    start();
    char text[] = "a configuration";
    struct iovec body = {text, sizeof text};
    struct log_entry e = {
        .type = LOG_ENTRY_CONFIG, .max_time_ms = -1, .body = &body, .body_count = 1, .body_bytes = sizeof text};
    for (int i = 0; i < 3; i++) {
        CU_ASSERT_EQUAL(log_rig_append(&rig, 1, 50, 1), KQ_OK);
        CU_ASSERT_EQUAL(log_rig_append_entry(&rig, &e), KQ_OK);
    }
    run_all();
    crash();
    CU_ASSERT_EQUAL(io_mem_io(mem)->ops->unlink(io_mem_io(mem), FIRST_INDEX), 0);
    CU_ASSERT_EQUAL_FATAL(reopen(), KQ_OK);
    struct log_range range;
    CU_ASSERT_EQUAL(log_plan(rig.log, 1, 6, 1 << 20, &range), KQ_OK);
    CU_ASSERT_EQUAL(range.last_idx, 2);
    CU_ASSERT_EQUAL(log_plan(rig.log, 3, 6, 1 << 20, &range), KQ_OK);
    CU_ASSERT_EQUAL(range.last_idx, 4);
    done();
}

static void a_reset_on_a_full_disk_is_tried_again(void)
{
    start();
    fill(20);
    log_set_commit(rig.log, 3);
    reset_to(40, 77, "state at 40");
    io_mem_fail(mem, IO_MEM_WRITE, 0, ENOSPC, 0);
    struct log_job *job = log_next_job(rig.log, LOG_LANE_FLUSH, rig.now_us);
    CU_ASSERT_PTR_NOT_NULL_FATAL(job);
    struct log_done d;
    log_job_run(job);
    log_job_done(rig.log, job, &d);
    CU_ASSERT_EQUAL(d.err, KQ_NO_SPACE);
    CU_ASSERT_FALSE(d.flushed);
    CU_ASSERT_PTR_NULL(log_next_job(rig.log, LOG_LANE_FLUSH, rig.now_us));
    CU_ASSERT_TRUE(log_next_deadline_us(rig.log) > rig.now_us && log_next_deadline_us(rig.log) < CLOCK_NEVER);
    io_mem_fail_not(mem);
    rig.now_us = log_next_deadline_us(rig.log);
    run_all();
    CU_ASSERT_EQUAL(rig.flushed_idx, 40);
    rig.term = 9;
    CU_ASSERT_EQUAL(log_rig_noop(&rig), KQ_OK);
    done();
    CU_ASSERT_EQUAL(reopen(), KQ_OK);
    CU_ASSERT_EQUAL(log_first_idx(rig.log), 41);
    done();
}

static void stop_process(void)
{
    io_mem_cut_at(mem, io_mem_calls(mem) + 1, IO_MEM_STILL_CACHED, 1);
    log_close(&rig.log, NULL, 0);
    io_mem_reboot(mem, IO_MEM_STILL_CACHED, 1);
}

/* The log was closed cleanly and has not grown since, but the term has: what the next
 * start finds of it may be in the cache alone, and must not be lost once it was told. */
static void a_term_that_only_the_cache_has_is_made_durable_by_the_next_start(void)
{
    start();
    append_many(5, 1, 100);
    done();
    CU_ASSERT_EQUAL_FATAL(reopen(), KQ_OK);
    struct log_hard_state state = *log_hard_state(rig.log);
    state.term = 9;
    (void)log_set_hard_state(rig.log, &state);
    io_mem_fail(mem, IO_MEM_SYNC, 0, EIO, 1);
    log_rig_flush(&rig);
    CU_ASSERT_EQUAL(rig.failed, KQ_IO);
    stop_process();
    CU_ASSERT_EQUAL_FATAL(reopen(), KQ_OK);
    uint64_t told = log_hard_state(rig.log)->term;
    crash();
    CU_ASSERT_EQUAL_FATAL(reopen(), KQ_OK);
    CU_ASSERT_EQUAL(log_hard_state(rig.log)->term, told);
    CU_ASSERT_EQUAL(log_rig_read(&rig, 0), 5);
    done();
}

static const struct unit_case cases[] = {
    {"a view from before a cut shows nothing that was cut", a_view_from_before_a_cut_shows_nothing_that_was_cut},
    {"a reset begins anew behind another entry", a_reset_begins_anew_behind_another_entry},
    {"a log may begin with a reset", a_log_may_begin_with_a_reset},
    {"a flush from before a cut is no news", a_flush_from_before_a_cut_is_no_news},
    {"a cut waits for the other lane, and a vote does not", a_cut_waits_for_the_other_lane_and_a_vote_does_not},
    {"a vote after a cut flushes nothing that was cut", a_vote_after_a_cut_flushes_nothing_that_was_cut},
    {"a roll from before a reset is no news", a_roll_from_before_a_reset_is_no_news},
    {"times of what was cut are forgotten", times_of_what_was_cut_are_forgotten},
    {"what stands where was cut is checked again", what_stands_where_was_cut_is_checked_again},
    {"a state that stands above a cut is not told", a_state_that_stands_above_a_cut_is_not_told},
    {"a close keeps states of committed entries only", a_close_keeps_states_of_committed_entries_only},
    {"a scrubber sees no damage in what is being cut", a_scrubber_sees_no_damage_in_what_is_being_cut},
    {"configurations are known after a crash", configurations_are_known_after_a_crash},
    {"a reset on a full disk is tried again", a_reset_on_a_full_disk_is_tried_again},
    {"a plan is of one term, of the bytes allowed, and ends with a CONFIG",
     a_plan_is_of_one_term_of_the_bytes_allowed_and_ends_with_a_config},
    {"one entry is read whole, committed or not", one_entry_is_read_whole_committed_or_not},
    {"an iterator may pass the commit when told to", an_iterator_may_pass_the_commit_when_told_to},
    {"terms are known as runs", terms_are_known_as_runs},
    {"the newest state at or below an index is found", the_newest_state_at_or_below_an_index_is_found},
    {"a replica may begin as member of nothing", a_replica_may_begin_as_member_of_nothing},
    {"a term that only the cache has is made durable by the next start",
     a_term_that_only_the_cache_has_is_made_durable_by_the_next_start},
};
UNIT_MAIN("log replica", cases)
