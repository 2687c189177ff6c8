/*
 * A log that is filled in behind the others: space is reserved and not zeroed, a flush
 * lets others pass, and nothing of what a flush promises is less true.
 */
#include "support/log_mem_rig.h"

#include <errno.h>

enum { BIG = 300 * 1024, SLOW_US = 1000 * 1000, FAST_US = 100, LONG_US = 50 * 1000 };

static struct log_counters counters;

static void start_filling(uint64_t segment_bytes)
{
    start();
    done();
    counters = (struct log_counters){0};
    rig.options.counters = &counters;
    rig.options.segment_bytes = segment_bytes;
    rig.options.prepare_max_bytes = 1 << 20;
    CU_ASSERT_EQUAL_FATAL(reopen(), KQ_OK);
    rig.old = true;
    CU_ASSERT_EQUAL_FATAL(log_rig_append(&rig, 1, 100, 1), KQ_OK); /* the first space is asked for before it is known */
    log_rig_flush(&rig);
}

static uint64_t pieces_of(int64_t after_us)
{
    rig.now_us += after_us;
    uint64_t before = atomic_load(&counters.pieces);
    CU_ASSERT_EQUAL_FATAL(log_rig_append(&rig, 1, BIG, 2000), KQ_OK);
    log_rig_flush(&rig);
    CU_ASSERT_EQUAL(rig.failed, KQ_OK);
    CU_ASSERT_EQUAL(rig.flushed_idx, log_last_idx(rig.log));
    return atomic_load(&counters.pieces) - before;
}

static void what_is_filled_in_is_not_zeroed_ahead_and_outlives_the_power(void)
{
    start_filling(32 * 1024);
    uint64_t zeroed = atomic_load(&counters.zeroed_bytes);
    append_many(200, 2, 1000);
    CU_ASSERT_EQUAL(atomic_load(&counters.zeroed_bytes), zeroed);
    CU_ASSERT_TRUE(log_size_bytes(rig.log) > (uint64_t)10 * 32 * 1024);
    crash();
    CU_ASSERT_EQUAL_FATAL(reopen(), KQ_OK);
    CU_ASSERT_EQUAL(log_last_idx(rig.log), 201);
    CU_ASSERT_EQUAL(log_rig_read(&rig, 0), 401);
    /* Publishers come: their flushes are not to pay for space that was never written. */
    rig.old = false;
    append_many(60, 2, 1000);
    CU_ASSERT_TRUE(atomic_load(&counters.zeroed_bytes) > zeroed);
    crash();
    CU_ASSERT_EQUAL_FATAL(reopen(), KQ_OK);
    CU_ASSERT_EQUAL(log_rig_read(&rig, 0), 521);
    done();
}

static void what_comes_slowly_leaves_in_pieces(void)
{
    start_filling(4 << 20);
    uint64_t syncs = io_mem_calls_of(mem, IO_MEM_SYNC);
    uint64_t pieces = pieces_of(SLOW_US);
    CU_ASSERT_TRUE(pieces >= 3 && pieces <= 4); /* of 128 KiB */
    CU_ASSERT_EQUAL(io_mem_calls_of(mem, IO_MEM_SYNC), syncs + 1);
    CU_ASSERT_EQUAL(pieces_of(FAST_US), 0); /* nobody bounds it */
    CU_ASSERT_TRUE(pieces_of(LONG_US - 1) > 0);
    CU_ASSERT_EQUAL_FATAL(log_rig_append(&rig, 1, BIG, 2000), KQ_OK);
    struct log_job *job = log_rig_next(&rig, LOG_LANE_FLUSH);
    rig.now_us += LONG_US; /* a flush on a slow disk */
    log_job_run(job);
    (void)log_rig_done(&rig, job);
    log_rig_flush(&rig);
    CU_ASSERT_EQUAL(pieces_of(LONG_US - 1), 0); /* it has hardly a rest */
    pieces = pieces_of(SLOW_US);
    CU_ASSERT_TRUE(pieces >= 3 && pieces <= 4); /* only what is new */
    rig.old = false;
    CU_ASSERT_EQUAL(pieces_of(SLOW_US), 0); /* somebody waits for it */
    done();
}

static void an_error_of_a_piece_is_that_of_the_flush(void)
{
    start_filling(4 << 20);
    uint64_t syncs = io_mem_calls_of(mem, IO_MEM_SYNC);
    rig.now_us += SLOW_US;
    CU_ASSERT_EQUAL_FATAL(log_rig_append(&rig, 1, BIG, 2000), KQ_OK);
    io_mem_fail(mem, IO_MEM_WRITE_OUT, 1, EIO, 1);
    log_rig_flush(&rig);
    CU_ASSERT_EQUAL(rig.failed, KQ_IO);
    CU_ASSERT_EQUAL(rig.flushed_idx, 1);
    CU_ASSERT_EQUAL(log_flushed_idx(rig.log), 1);
    CU_ASSERT_EQUAL(io_mem_calls_of(mem, IO_MEM_SYNC), syncs); /* it would find the pages clean, and lie */
    CU_ASSERT_EQUAL(log_rig_append(&rig, 1, 100, 2000), KQ_IO);
    done();
}

static void a_full_disk_shows_before_anything_is_taken(void)
{
    start_filling(32 * 1024);
    io_mem_set_capacity(mem, 300 * 1024);
    enum kq_err err = KQ_OK;
    int more = 0;
    while (more < 1000 && (err = log_rig_append(&rig, 1, 1000, 5000)) == KQ_OK)
        more++;
    CU_ASSERT_EQUAL(err, KQ_NO_SPACE);
    CU_ASSERT_TRUE(more > 10 && more < 1000);
    log_rig_flush(&rig);
    CU_ASSERT_EQUAL(rig.failed, KQ_OK);
    crash();
    CU_ASSERT_EQUAL_FATAL(reopen(), KQ_OK);
    CU_ASSERT_EQUAL(log_rig_read(&rig, 0), 1 + more);
    io_mem_set_capacity(mem, 0);
    done();
}

static const struct unit_case cases[] = {
    {"what is filled in is not zeroed ahead and outlives the power",
     what_is_filled_in_is_not_zeroed_ahead_and_outlives_the_power},
    {"what comes slowly leaves in pieces", what_comes_slowly_leaves_in_pieces},
    {"an error of a piece is that of the flush", an_error_of_a_piece_is_that_of_the_flush},
    {"a full disk shows before anything is taken", a_full_disk_shows_before_anything_is_taken},
};
UNIT_MAIN("log, filled in", cases)
