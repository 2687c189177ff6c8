/*
 * What a replicated log is asked beside appending: ranges to send, single entries,
 * where terms begin, states at or below an index, and reading what is not committed.
 */
#include "support/log_mem_rig.h"

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

static const struct unit_case cases[] = {
    {"a plan is of one term, of the bytes allowed, and ends with a CONFIG",
     a_plan_is_of_one_term_of_the_bytes_allowed_and_ends_with_a_config},
    {"one entry is read whole, committed or not", one_entry_is_read_whole_committed_or_not},
    {"an iterator may pass the commit when told to", an_iterator_may_pass_the_commit_when_told_to},
    {"terms are known as runs", terms_are_known_as_runs},
    {"the newest state at or below an index is found", the_newest_state_at_or_below_an_index_is_found},
    {"a replica may begin as member of nothing", a_replica_may_begin_as_member_of_nothing},
};
UNIT_MAIN("log replica", cases)
