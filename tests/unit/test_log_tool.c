#include "log/tool.h"
#include "support/log_mem_rig.h"

#include <stdio.h>

static char said[65536];

static void hear(void *context, const char *line)
{
    (void)context;
    size_t used = strlen(said);
    (void)snprintf(said + used, sizeof said - used, "%s\n", line);
}

static const struct tool_out ear = {.line = hear};

static enum kq_err check_with_tool(struct tool_counts *counts)
{
    said[0] = '\0';
    return tool_check(io_mem_io(mem), "/t-0", &ear, counts, &rig.fault);
}

static enum kq_err repair_with_tool(struct tool_counts *counts)
{
    said[0] = '\0';
    return tool_repair(io_mem_io(mem), "/t-0", &ear, counts, &rig.fault);
}

static void the_tool_finds_nothing_wrong_with_a_good_log(void)
{
    struct tool_counts counts;
    start();
    append_many(60, 3, 1000);
    crash();
    CU_ASSERT_EQUAL(check_with_tool(&counts), KQ_OK);
    CU_ASSERT_EQUAL(counts.replicas, 1);
    CU_ASSERT_EQUAL(counts.entries, 60);
    CU_ASSERT_EQUAL(counts.records, 180);
    CU_ASSERT_EQUAL(counts.damaged, 0);
    CU_ASSERT_EQUAL(counts.torn_bytes, 0);
    said[0] = '\0';
    CU_ASSERT_EQUAL(tool_dump(io_mem_io(mem), "/", 100, true, 2, &ear, &counts, &rig.fault), KQ_OK);
    CU_ASSERT_PTR_NOT_NULL(strstr(said, "entry 34 term 1 records offset 99 count 3"));
    CU_ASSERT_PTR_NOT_NULL(strstr(said, "offset 100 time 1033 key null value \"ddd"));
    CU_ASSERT_PTR_NULL(strstr(said, "entry 36"));
    CU_ASSERT_EQUAL(tool_check(io_mem_io(mem), "/nowhere", &ear, &counts, &rig.fault), KQ_NOT_FOUND);
}

/* pos in the first file is broken; `lost` records are gone, the rest is read. */
static void mend_and_read(uint64_t pos, uint64_t damaged, uint64_t lost, bool in_last)
{
    struct tool_counts counts;
    flip(FIRST_LOG, pos);
    CU_ASSERT_EQUAL(check_with_tool(&counts), KQ_OK);
    CU_ASSERT_EQUAL(counts.damaged, damaged);
    CU_ASSERT_EQUAL(counts.lost_records, lost);
    if (in_last)
        CU_ASSERT_EQUAL(reopen(), KQ_CORRUPT);
    CU_ASSERT_EQUAL(repair_with_tool(&counts), KQ_OK);
    CU_ASSERT_EQUAL(counts.repaired, damaged);
    CU_ASSERT_EQUAL(counts.unrepaired, 0);
    CU_ASSERT_EQUAL(counts.lost_records, lost);
    CU_ASSERT_TRUE(io_mem_exists(mem, FIRST_LOG ".aside"));
    CU_ASSERT_EQUAL(check_with_tool(&counts), KQ_OK);
    CU_ASSERT_EQUAL(counts.damaged, 0);
    if (counts.damaged != 0)
        fprintf(stderr, "%s", said);
}

/* Like log_rig_read, but offsets may be missing; how many records there are. */
static int64_t count_readable(void)
{
    struct log_view *view = log_view_take(rig.log);
    struct log_iter it;
    struct log_slice s;
    int64_t count = 0;
    enum kq_err err = log_iter_seek(&it, view, 0);
    while (err == KQ_OK && (err = log_iter_next(&it, &s, &rig.fault)) == KQ_OK)
        count += s.body_bytes > 0 ? s.record_count : 0;
    log_view_drop(&view);
    return err == KQ_EOF ? count : -1;
}

static void the_tool_cuts_damage_out_and_says_what_is_lost(void)
{
    /* In a sealed file: a body; a head; the head of the file. */
    static const uint64_t places[] = {4096 + 72 + 500, 4096 + 20, 100};
    for (int i = 0; i < 3; i++) {
        start();
        append_many(60, 3, 1000);
        crash();
        mend_and_read(places[i], 1, i < 2 ? 3 : 0, false);
        CU_ASSERT_EQUAL_FATAL(reopen(), KQ_OK);
        CU_ASSERT_EQUAL(count_readable(), i < 2 ? 177 : 180);
        append_many(3, 1, 100);
        done();
    }
    /* In the unsealed file, with good entries behind. */
    for (int i = 0; i < 3; i++) {
        start();
        append_many(5, 3, 1000);
        append_many(5, 3, 1000);
        crash();
        mend_and_read(places[i], 1, i < 2 ? 3 : 0, i < 2); /* a start makes the head anew by itself */
        CU_ASSERT_EQUAL_FATAL(reopen(), KQ_OK);
        CU_ASSERT_EQUAL(count_readable(), i < 2 ? 27 : 30);
        append_many(3, 1, 100);
        crash();
        CU_ASSERT_EQUAL_FATAL(reopen(), KQ_OK);
        CU_ASSERT_EQUAL(count_readable(), i < 2 ? 30 : 33);
        done();
    }
}

static void the_tool_cuts_off_a_damaged_end(void)
{
    for (int body = 0; body < 2; body++) {
        start();
        append_many(9, 3, 1000);
        uint64_t last = 4096 + log_size_bytes(rig.log);
        append_many(1, 3, 1000);
        rig.now_us = log_next_deadline_us(rig.log);
        log_rig_flush(&rig); /* the mark: all ten are flushed */
        crash();
        mend_and_read(last + (body ? 500 : 30), 1, 3, true);
        CU_ASSERT_EQUAL_FATAL(reopen(), KQ_OK);
        CU_ASSERT_EQUAL(log_last_idx(rig.log), body ? 10 : 9);
        CU_ASSERT_EQUAL(log_next_off(rig.log), body ? 30 : 27);
        CU_ASSERT_EQUAL(count_readable(), 27);
        append_many(3, 1, 100);
        done();
    }
}

static void the_tool_calls_a_torn_tail_torn(void)
{
    struct tool_counts counts;
    start();
    append_many(5, 2, 100);
    uint64_t end = 4096 + log_size_bytes(rig.log);
    CU_ASSERT_EQUAL(log_rig_append(&rig, 1, 3000, 2000), KQ_OK);
    log_rig_flush(&rig);
    crash();
    flip(FIRST_LOG, end + 500);
    CU_ASSERT_EQUAL(check_with_tool(&counts), KQ_OK);
    CU_ASSERT_EQUAL(counts.damaged, 0);
    CU_ASSERT_TRUE(counts.torn_bytes > 3000);
    CU_ASSERT_EQUAL_FATAL(reopen(), KQ_OK);
    CU_ASSERT_EQUAL(log_last_idx(rig.log), 5);
    done();
}

/* A power cut leaves any part of what was not flushed: the tool says what a start will do, though good heads
 * follow, and a repair leaves it to the start. */
static void what_was_not_flushed_is_torn_whatever_follows(void)
{
    for (int head = 0; head < 2; head++) {
        struct tool_counts counts;
        start();
        append_many(5, 3, 1000);
        append_many(1, 1, 100); /* which says that those before it are flushed */
        uint64_t end = 4096 + log_size_bytes(rig.log);
        for (int i = 0; i < 3; i++)
            CU_ASSERT_EQUAL(log_rig_append(&rig, 3, 1000, 1), KQ_OK);
        io_mem_cut_at(mem, io_mem_calls(mem) + 1, IO_MEM_STILL_CACHED, 1); /* and all of it was written */
        log_close(&rig.log, NULL, 0);
        io_mem_reboot(mem, IO_MEM_STILL_CACHED, 1);
        flip(FIRST_LOG, end + (head ? 30 : 500));
        CU_ASSERT_EQUAL(check_with_tool(&counts), KQ_OK);
        CU_ASSERT_EQUAL(counts.damaged, 0);
        CU_ASSERT_TRUE(counts.torn_bytes > 9000);
        CU_ASSERT_PTR_NOT_NULL(strstr(said, "entries from 7 on, above what is known to be flushed (6)"));
        CU_ASSERT_EQUAL(repair_with_tool(&counts), KQ_OK);
        CU_ASSERT_EQUAL(counts.repaired, 0);
        CU_ASSERT_EQUAL_FATAL(reopen(), KQ_OK);
        CU_ASSERT_EQUAL(log_last_idx(rig.log), 6);
        done();
        CU_ASSERT_EQUAL(check_with_tool(&counts), KQ_OK);
        CU_ASSERT_EQUAL(counts.torn_bytes, 0);
    }
}

static const struct unit_case cases[] = {
    {"what was not flushed is torn, whatever follows", what_was_not_flushed_is_torn_whatever_follows},
    {"the tool finds nothing wrong with a good log", the_tool_finds_nothing_wrong_with_a_good_log},
    {"the tool cuts damage out and says what is lost", the_tool_cuts_damage_out_and_says_what_is_lost},
    {"the tool cuts off a damaged end", the_tool_cuts_off_a_damaged_end},
    {"the tool calls a torn tail torn", the_tool_calls_a_torn_tail_torn},
};
UNIT_MAIN("log tool", cases)
