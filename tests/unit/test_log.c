#include "base/crc32c.h"
#include "log/entry.h"
#include "support/log_mem_rig.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

static char top[64];
static char dir[128];

static void make_place(void)
{
    (void)snprintf(top, sizeof top, "/tmp/kq-test-log-XXXXXX");
    CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(top));
    (void)snprintf(dir, sizeof dir, "%s/t-0", top);
}

static void drop_place(void)
{
    DIR *d = opendir(dir);
    char path[512];
    for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL;) {
        (void)snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
        (void)unlink(path);
    }
    if (d != NULL)
        (void)closedir(d);
    (void)rmdir(dir);
    (void)rmdir(top);
}

static void what_is_appended_is_read_on_a_real_disk(void)
{
    struct log_rig r;
    make_place();
    log_rig_init(&r, io_posix(), dir);
    CU_ASSERT_EQUAL_FATAL(log_rig_open(&r), KQ_OK);
    CU_ASSERT_TRUE(r.report.created);
    CU_ASSERT_EQUAL(log_rig_noop(&r), KQ_OK);
    for (int i = 0; i < 500; i++)
        CU_ASSERT_EQUAL(log_rig_append(&r, 1 + i % 3, (size_t)(i * 7 % 900), 1000 + i), KQ_OK);
    log_rig_flush(&r);
    CU_ASSERT_EQUAL(r.failed, KQ_OK);
    CU_ASSERT_EQUAL(r.flushed_idx, 501);
    log_set_commit(r.log, 501);
    int64_t end = log_next_off(r.log);
    CU_ASSERT_EQUAL(log_rig_read(&r, 0), end);
    CU_ASSERT_EQUAL(log_rig_read(&r, 333), end);
    log_close(&r.log, NULL, 0);
    CU_ASSERT_EQUAL_FATAL(log_rig_open(&r), KQ_OK);
    CU_ASSERT_EQUAL(r.report.scanned_bytes, 0);
    CU_ASSERT_TRUE(r.report.segments > 2);
    CU_ASSERT_EQUAL(log_next_off(r.log), end);
    log_set_commit(r.log, 501);
    CU_ASSERT_EQUAL(log_rig_read(&r, 0), end);
    CU_ASSERT_EQUAL(log_rig_append(&r, 5, 100, 5000), KQ_OK);
    log_rig_flush(&r);
    log_set_commit(r.log, 502);
    CU_ASSERT_EQUAL(log_rig_read(&r, 0), end + 5);
    log_close(&r.log, NULL, 0);
    drop_place();
}

/* ---- in memory ------------------------------------------------------------------------- */

static void a_torn_tail_is_cut_and_appending_goes_on(void)
{
    start();
    append_many(5, 2, 100);
    uint64_t end = 4096 + log_size_bytes(rig.log);
    CU_ASSERT_EQUAL(log_rig_append(&rig, 1, 3000, 2000), KQ_OK);
    log_rig_flush(&rig); /* durable, but nobody knows: no later entry, no mark */
    crash();
    flip(FIRST_LOG, end + 500);
    CU_ASSERT_EQUAL_FATAL(reopen(), KQ_OK);
    CU_ASSERT_TRUE(rig.report.cut_bytes > 3000);
    CU_ASSERT_EQUAL(log_last_idx(rig.log), 5);
    CU_ASSERT_EQUAL(log_next_off(rig.log), 10);
    uint64_t size;
    const uint8_t *bytes = io_mem_bytes(mem, FIRST_LOG, &size);
    for (uint64_t i = end; i < size; i++)
        CU_ASSERT_FATAL(bytes[i] == 0);
    append_many(3, 2, 700);
    CU_ASSERT_EQUAL(log_rig_read(&rig, 0), 16);
    done();
}

static void damage_below_the_flushed_mark_stops_the_replica(void)
{
    start();
    append_many(5, 2, 100);
    append_many(5, 2, 100); /* these say that the first five are flushed */
    crash();
    flip(FIRST_LOG, 4096 + 200);
    uint64_t size = file_size(FIRST_LOG);
    uint8_t *before = malloc(size);
    memcpy(before, io_mem_bytes(mem, FIRST_LOG, &size), file_size(FIRST_LOG));
    CU_ASSERT_EQUAL(reopen(), KQ_CORRUPT);
    CU_ASSERT_PTR_NOT_NULL(strstr(rig.fault.text, FIRST_LOG));
    CU_ASSERT_PTR_NOT_NULL(strstr(rig.fault.text, "position 4096"));
    CU_ASSERT_PTR_NOT_NULL(strstr(rig.fault.text, "kafkaesque log repair"));
    CU_ASSERT_EQUAL_FATAL(size, file_size(FIRST_LOG));
    CU_ASSERT_EQUAL(memcmp(before, io_mem_bytes(mem, FIRST_LOG, &size), file_size(FIRST_LOG)), 0);
    free(before);
}

static void a_pause_writes_a_mark_that_guards_the_last_entry_too(void)
{
    start();
    append_many(5, 2, 100);
    uint64_t last = 4096 + log_size_bytes(rig.log) - 10;
    int64_t deadline = log_next_deadline_us(rig.log);
    CU_ASSERT_NOT_EQUAL(deadline, CLOCK_NEVER);
    rig.now_us = deadline;
    log_rig_flush(&rig);
    CU_ASSERT_EQUAL(log_next_deadline_us(rig.log), CLOCK_NEVER);
    crash();
    flip(FIRST_LOG, last);
    CU_ASSERT_EQUAL(reopen(), KQ_CORRUPT);
}

static void damage_in_a_sealed_segment_takes_only_its_range_out(void)
{
    start();
    append_many(60, 3, 1000);
    int64_t end = log_next_off(rig.log);
    crash();
    flip(FIRST_LOG, 4096 + 10 * 3300);
    CU_ASSERT_EQUAL_FATAL(reopen(), KQ_OK);
    CU_ASSERT_TRUE(rig.report.segments > 2);
    CU_ASSERT_EQUAL(log_rig_read(&rig, 0), -1);
    CU_ASSERT_PTR_NOT_NULL(strstr(rig.fault.text, "does not match its checksum"));
    CU_ASSERT_EQUAL(log_rig_read(&rig, 45), end);
    append_many(2, 1, 10);
    CU_ASSERT_EQUAL(log_rig_read(&rig, 45), end + 2);

    struct log_view *view = log_view_take(rig.log);
    uint64_t cursor = 0;
    bool round = false;
    int damaged = 0;
    for (int i = 0; i < 1000 && !round; i++) {
        struct fault fault;
        enum kq_err err = log_view_scrub(view, &cursor, 5000, &round, &fault);
        damaged += err == KQ_CORRUPT;
    }
    CU_ASSERT_TRUE(round);
    CU_ASSERT_EQUAL(damaged, 1);
    log_view_drop(&view);
    done();
}

static void a_damaged_head_of_a_segment_is_found_by_the_scrubber(void)
{
    start();
    append_many(60, 3, 1000);
    int64_t end = log_next_off(rig.log);
    crash();
    flip(FIRST_LOG, 44);
    CU_ASSERT_EQUAL_FATAL(reopen(), KQ_OK);
    CU_ASSERT_EQUAL(log_rig_read(&rig, 0), end);
    struct log_view *view = log_view_take(rig.log);
    for (int times = 0; times < 2; times++) { /* each time round */
        uint64_t cursor = 0;
        bool round = false;
        int damaged = 0;
        for (int i = 0; i < 1000 && !round; i++) {
            struct fault fault;
            if (log_view_scrub(view, &cursor, 5000, &round, &fault) != KQ_OK) {
                damaged++;
                CU_ASSERT_PTR_NOT_NULL(strstr(fault.text, "head does not match"));
            }
        }
        CU_ASSERT_TRUE(round);
        CU_ASSERT_EQUAL(damaged, 1);
    }
    log_view_drop(&view);
    done();
}

static void an_index_that_does_not_agree_is_built_anew(void)
{
    for (int how = 0; how < 3; how++) {
        start();
        append_many(60, 3, 1000);
        int64_t end = log_next_off(rig.log);
        if (how == 0)
            crash();
        else
            done();
        if (how < 2)
            io_mem_put(mem, FIRST_INDEX, "rubbish", 7);
        else
            flip(FIRST_INDEX, 40);
        CU_ASSERT_EQUAL_FATAL(reopen(), KQ_OK);
        CU_ASSERT_EQUAL(log_rig_read(&rig, 0), end);
        done();
    }
    start();
    append_many(5, 3, 1000);
    done();
    flip(FIRST_INDEX, 40); /* of the unsealed segment, closed cleanly */
    CU_ASSERT_EQUAL_FATAL(reopen(), KQ_OK);
    CU_ASSERT_EQUAL(log_rig_read(&rig, 0), 15);
    append_many(5, 3, 1000);
    CU_ASSERT_EQUAL(log_rig_read(&rig, 0), 30);
    done();
}

static void a_footer_that_does_not_check_out_costs_a_walk(void)
{
    start();
    append_many(60, 3, 1000);
    int64_t end = log_next_off(rig.log);
    crash();
    flip(FIRST_LOG, file_size(FIRST_LOG) - 5);
    CU_ASSERT_EQUAL_FATAL(reopen(), KQ_OK);
    CU_ASSERT_TRUE(rig.report.scanned_bytes > 60000);
    CU_ASSERT_EQUAL(log_rig_read(&rig, 0), end);
    CU_ASSERT_EQUAL(log_term_at(rig.log, 3), 1);
    done();
}

static void take_second(void *context, const char *path)
{
    size_t length = strlen(path);
    if (length > 4 && strcmp(path + length - 4, ".log") == 0 && strchr("0123456789", path[5]) != NULL &&
        strcmp(path, FIRST_LOG) != 0)
        (void)snprintf(context, 64, "%s", path);
}

/* As when the power goes while the first segment is sealed: the second has no name yet, and of
 * the footer the trailer is there and not all of the state. That is no damage: the segment is as
 * it was before. */
static void a_footer_that_the_power_tore_is_cut(void)
{
    static char state[3000];
    char second[64] = "";
    memset(state, 's', sizeof state);
    start();
    struct io *io = io_mem_io(mem);
    rig.roll_state = state;
    rig.roll_state_bytes = sizeof state;
    uint64_t end = 0;
    int64_t next_off = 0;
    for (; second[0] == '\0'; io_mem_each(mem, take_second, second)) {
        end = 4096 + log_size_bytes(rig.log);
        next_off = log_next_off(rig.log);
        append_many(1, 3, 1000);
    }
    crash();
    CU_ASSERT_EQUAL_FATAL(io->ops->unlink(io, second), 0);
    CU_ASSERT_EQUAL_FATAL(io->ops->sync_dir(io, "/t-0"), 0);
    CU_ASSERT_FATAL(file_size(FIRST_LOG) > end + sizeof state);
    flip(FIRST_LOG, end + 1000);
    CU_ASSERT_EQUAL_FATAL(reopen(), KQ_OK);
    CU_ASSERT_TRUE(rig.report.cut_bytes > sizeof state);
    size_t size;
    uint64_t at_idx;
    (void)log_stored_state(rig.log, &size, &at_idx);
    CU_ASSERT_EQUAL(size, 0);
    CU_ASSERT_EQUAL(log_next_off(rig.log), next_off);
    append_many(60, 3, 1000);
    crash();
    CU_ASSERT_EQUAL_FATAL(reopen(), KQ_OK);
    CU_ASSERT_EQUAL(log_rig_read(&rig, 0), next_off + 180);
    CU_ASSERT_PTR_NOT_NULL(log_stored_state(rig.log, &size, &at_idx));
    CU_ASSERT_EQUAL(size, sizeof state);
    done();
}

static void a_full_disk_refuses_and_then_goes_on(void)
{
    start();
    append_many(10, 1, 1000);
    io_mem_set_capacity(mem, 200 * 1024);
    enum kq_err err = KQ_OK;
    int more = 0;
    while (more < 1000 && (err = log_rig_append(&rig, 1, 1000, 5000)) == KQ_OK)
        more++;
    CU_ASSERT_EQUAL(err, KQ_NO_SPACE);
    CU_ASSERT_TRUE(more > 10 && more < 1000);
    log_rig_flush(&rig);
    CU_ASSERT_EQUAL(rig.failed, KQ_OK);
    log_set_commit(rig.log, log_last_idx(rig.log));
    CU_ASSERT_EQUAL(log_rig_read(&rig, 0), 10 + more);
    /* What retention needs to free the disk still fits. */
    CU_ASSERT_EQUAL(log_rig_noop(&rig), KQ_OK);
    log_rig_flush(&rig);
    log_set_commit(rig.log, log_last_idx(rig.log));
    CU_ASSERT_EQUAL(log_rig_append(&rig, 1, 1000, 5000), KQ_NO_SPACE);
    /* A restart on a full disk serves what is there. */
    done();
    CU_ASSERT_EQUAL_FATAL(reopen(), KQ_OK);
    CU_ASSERT_EQUAL(log_rig_read(&rig, 0), 10 + more);
    io_mem_set_capacity(mem, 0);
    (void)log_rig_append(&rig, 0 + 1, 1000, 5000);
    append_many(5, 1, 1000);
    done();
}

static void deleting_frees_a_full_disk(void)
{
    start();
    io_mem_set_capacity(mem, 400 * 1024);
    enum kq_err err;
    while ((err = log_rig_append(&rig, 1, 1000, 5000)) == KQ_OK)
        ;
    CU_ASSERT_EQUAL(err, KQ_NO_SPACE);
    log_rig_flush(&rig);
    CU_ASSERT_EQUAL(log_rig_noop(&rig), KQ_OK); /* the entry that moves the start */
    log_rig_flush(&rig);
    log_set_commit(rig.log, log_last_idx(rig.log));
    bool roll;
    int64_t next_ms;
    int64_t from = log_retention_start(rig.log, 100 * 1024, -1, 0, &roll, &next_ms);
    CU_ASSERT_TRUE(from > 0);
    log_set_start(rig.log, from);
    rig.now_us += 10000000;
    log_rig_run(&rig, LOG_LANE_KEEP);
    CU_ASSERT_TRUE(log_first_idx(rig.log) > 1);
    CU_ASSERT_FALSE(io_mem_exists(mem, FIRST_LOG));
    CU_ASSERT_FALSE(io_mem_exists(mem, FIRST_INDEX));
    append_many(20, 1, 1000);
    CU_ASSERT_EQUAL(log_rig_read(&rig, from), log_next_off(rig.log));
    done();
}

static char kept_state[] = "what a machine knows";

/* A bit of each state in a footer changes. */
static void spoil_state(void *context, const char *path)
{
    uint64_t size;
    const uint8_t *bytes = io_mem_bytes(mem, path, &size);
    const uint8_t *at = strstr(path, ".log") == NULL || bytes == NULL
                            ? NULL
                            : memmem(bytes, (size_t)size, kept_state, sizeof kept_state);
    if (at == NULL)
        return;
    io_mem_flip(mem, path, (uint64_t)(at - bytes), 1);
    (*(int *)context)++;
}

/* It is no reason to stop: what needs the state is kept until a later one is there. */
static void a_segment_whose_state_is_damaged_goes_when_a_later_one_is_stored(void)
{
    bool roll;
    int64_t next_ms;
    int spoilt = 0;
    start();
    rig.roll_state = kept_state;
    rig.roll_state_bytes = sizeof kept_state;
    append_many(30, 1, 3000); /* some segments */
    rig.roll_state = NULL;
    rig.roll_state_bytes = 0;
    append_many(60, 1, 3000);
    io_mem_each(mem, spoil_state, &spoilt);
    CU_ASSERT_TRUE(spoilt > 0);
    log_set_start(rig.log, log_retention_start(rig.log, 30 * 1024, -1, 0, &roll, &next_ms));
    logger_set_level(LOGGER_ERROR - 1);
    rig.now_us += 10000000;
    log_rig_run(&rig, LOG_LANE_KEEP);
    CU_ASSERT_EQUAL(rig.failed, KQ_OK);
    uint64_t first_idx = log_first_idx(rig.log);
    CU_ASSERT_TRUE(first_idx < 31);
    rig.roll_state = kept_state;
    rig.roll_state_bytes = sizeof kept_state;
    append_many(30, 1, 3000);
    rig.now_us += 10000000;
    log_rig_run(&rig, LOG_LANE_KEEP);
    CU_ASSERT_EQUAL(rig.failed, KQ_OK);
    CU_ASSERT_TRUE(log_first_idx(rig.log) > first_idx + 20);
    crash();
    CU_ASSERT_EQUAL_FATAL(reopen(), KQ_OK);
    size_t state_bytes;
    uint64_t at_idx;
    CU_ASSERT_PTR_NOT_NULL(log_stored_state(rig.log, &state_bytes, &at_idx));
    CU_ASSERT_EQUAL(state_bytes, sizeof kept_state);
    done();
}

static void a_deletion_that_finds_no_space_is_undone(void)
{
    start();
    static char state[] = "state";
    bool roll;
    int64_t next_ms;
    rig.roll_state = state;
    rig.roll_state_bytes = sizeof state;
    append_many(30, 1, 3000); /* some segments */
    rig.roll_state = NULL;
    rig.roll_state_bytes = 0;
    append_many(60, 1, 3000);
    log_rig_flush(&rig);
    log_set_commit(rig.log, log_last_idx(rig.log));
    log_set_start(rig.log, log_retention_start(rig.log, 30 * 1024, -1, 0, &roll, &next_ms));
    /* Each deletion of a segment that has the newest state writes it as the snapshot first. */
    io_mem_fail(mem, IO_MEM_TRUNCATE, 0, ENOSPC, 0);
    rig.now_us += 10000000;
    log_rig_run(&rig, LOG_LANE_KEEP);
    CU_ASSERT_EQUAL(rig.failed, KQ_OK);
    CU_ASSERT_TRUE(log_first_idx(rig.log) < 31);
    uint64_t first_idx = log_first_idx(rig.log);
    done();
    io_mem_fail_not(mem);
    CU_ASSERT_EQUAL_FATAL(reopen(), KQ_OK); /* no hole */
    CU_ASSERT_EQUAL(log_first_idx(rig.log), first_idx);
    log_set_commit(rig.log, log_last_idx(rig.log));
    log_set_start(rig.log, log_retention_start(rig.log, 30 * 1024, -1, 0, &roll, &next_ms));
    rig.now_us += 10000000;
    log_rig_run(&rig, LOG_LANE_KEEP);
    CU_ASSERT_TRUE(log_first_idx(rig.log) > first_idx);
    CU_ASSERT_TRUE(io_mem_exists(mem, "/t-0/snapshot"));
    done();
}

static void a_roll_that_finds_no_space_is_undone(void)
{
    start();
    append_many(20, 1, 3000);
    done();
    CU_ASSERT_EQUAL_FATAL(reopen(), KQ_OK);
    static char big_state[40000]; /* so that the footer takes many pages */
    memset(big_state, 'x', sizeof big_state);
    rig.roll_state = big_state;
    rig.roll_state_bytes = sizeof big_state;
    io_mem_fail(mem, IO_MEM_WRITE, 1, ENOSPC, 1); /* not the head of the next, but the footer of this one */
    CU_ASSERT_EQUAL(log_rig_append(&rig, 1, 9000, 5000), KQ_NO_SPACE);
    io_mem_fail_not(mem);
    CU_ASSERT_EQUAL(log_rig_append(&rig, 1, 300, 5000), KQ_OK); /* goes where the big one did not fit */
    uint64_t end = 4096 + log_size_bytes(rig.log);
    uint64_t size;
    const uint8_t *bytes = io_mem_bytes(mem, FIRST_LOG, &size);
    for (uint64_t i = end; i < size; i++)
        CU_ASSERT_FATAL(bytes[i] == 0);
    log_rig_flush(&rig);
    crash();
    CU_ASSERT_EQUAL_FATAL(reopen(), KQ_OK);
    CU_ASSERT_EQUAL(log_rig_read(&rig, 0), 21);
    append_many(2, 1, 9000);
    CU_ASSERT_EQUAL(log_rig_read(&rig, 0), 23);
    done();
}

/* Of two logs of one replica, alike but for the first entry: the second entry of
 * one does not follow the first of the other. */
static void an_entry_of_another_past_does_not_follow(void)
{
    uint8_t second[512];
    uint64_t size;
    start();
    append_many(1, 1, 100);
    uint64_t pos = 4096 + log_size_bytes(rig.log);
    append_many(1, 1, 100);
    uint64_t length = 4096 + log_size_bytes(rig.log) - pos;
    CU_ASSERT_FATAL(length <= sizeof second);
    memcpy(second, io_mem_bytes(mem, FIRST_LOG, &size) + pos, length);
    done();
    start();
    CU_ASSERT_EQUAL(log_rig_append(&rig, 1, 100, 77), KQ_OK); /* another time */
    log_rig_flush(&rig);
    CU_ASSERT_EQUAL(4096 + log_size_bytes(rig.log), pos);
    crash();
    memcpy(io_mem_bytes(mem, FIRST_LOG, &size) + pos, second, length);
    make_durable(FIRST_LOG);
    CU_ASSERT_EQUAL_FATAL(reopen(), KQ_OK);
    CU_ASSERT_EQUAL(log_last_idx(rig.log), 1);
    CU_ASSERT_TRUE(rig.report.cut_bytes > 0);
    done();
}

static void a_failed_flush_is_never_tried_again(void)
{
    start();
    append_many(5, 1, 100);
    CU_ASSERT_EQUAL(log_rig_append(&rig, 1, 100, 2000), KQ_OK);
    io_mem_fail(mem, IO_MEM_SYNC, 0, EIO, 1);
    uint64_t syncs = io_mem_calls_of(mem, IO_MEM_SYNC);
    log_rig_flush(&rig);
    CU_ASSERT_EQUAL(rig.failed, KQ_IO);
    CU_ASSERT_PTR_NOT_NULL(strstr(rig.fault.text, FIRST_LOG));
    CU_ASSERT_EQUAL(io_mem_calls_of(mem, IO_MEM_SYNC), syncs + 1);
    CU_ASSERT_EQUAL(log_flushed_idx(rig.log), 5);
    CU_ASSERT_EQUAL(log_rig_append(&rig, 1, 100, 2000), KQ_IO);
    log_rig_flush(&rig);
    done();
    CU_ASSERT_EQUAL(io_mem_calls_of(mem, IO_MEM_SYNC), syncs + 1);
    /* The same machine, a new process: the cache still shows what the disk never got. */
    CU_ASSERT_EQUAL_FATAL(reopen(), KQ_OK);
    CU_ASSERT_EQUAL(log_last_idx(rig.log), 5);
    done();
}

static void short_reads_and_writes_are_made_whole(void)
{
    start();
    io_mem_short(mem, true);
    append_many(60, 3, 1000);
    int64_t end = log_next_off(rig.log);
    crash();
    CU_ASSERT_EQUAL_FATAL(reopen(), KQ_OK);
    CU_ASSERT_EQUAL(log_rig_read(&rig, 0), end);
    done();
    io_mem_short(mem, false);
}

static void a_folder_of_another_topic_is_refused(void)
{
    start();
    append_many(1, 1, 1);
    done();
    memset(rig.options.topic_id.bytes, 8, UUID_BYTES);
    CU_ASSERT_EQUAL(log_rig_open(&rig), KQ_INVALID);
    CU_ASSERT_PTR_NOT_NULL(strstr(rig.fault.text, "0707"));
}

static void a_folder_without_its_hard_state_is_refused(void)
{
    start();
    append_many(1, 1, 1);
    done();
    struct io *io = io_mem_io(mem);
    CU_ASSERT_EQUAL(io->ops->unlink(io, "/t-0/hard-state"), 0);
    CU_ASSERT_EQUAL(log_rig_open(&rig), KQ_CORRUPT);
    CU_ASSERT_PTR_NOT_NULL(strstr(rig.fault.text, "hard-state"));
}

static void a_newer_format_is_named_and_left_alone(void)
{
    start();
    append_many(1, 1, 1);
    crash();
    uint64_t size;
    uint8_t *bytes = io_mem_bytes(mem, FIRST_LOG, &size);
    struct entry_seed seed = entry_seed_make(&rig.options.topic_id, 0, &(struct uuid){{0}});
    put_le32(bytes + 8, 2);
    put_le32(bytes + 4, crc32c(seed.shared, bytes + 8, 120));
    make_durable(FIRST_LOG);
    CU_ASSERT_EQUAL(log_rig_open(&rig), KQ_BAD_VERSION);
    CU_ASSERT_PTR_NOT_NULL(strstr(rig.fault.text, ".log"));
}

static void an_entry_may_be_bigger_than_a_segment(void)
{
    start();
    append_many(2, 1, 100);
    append_many(1, 1, 300000);
    append_many(2, 1, 100);
    CU_ASSERT_EQUAL(log_rig_read(&rig, 0), 5);
    crash();
    CU_ASSERT_EQUAL_FATAL(reopen(), KQ_OK);
    CU_ASSERT_EQUAL(log_rig_read(&rig, 0), 5);
    append_many(2, 1, 100);
    CU_ASSERT_EQUAL(log_rig_read(&rig, 0), 7);
    done();
}

static void a_segment_without_an_entry_is_found_again(void)
{
    start();
    append_many(2, 1, 100);
    log_force_roll(rig.log);
    CU_ASSERT_EQUAL(log_make_room(rig.log, LOG_ENTRY_RECORDS, 1), KQ_AGAIN);
    log_rig_run(&rig, LOG_LANE_KEEP);
    CU_ASSERT_TRUE(io_mem_exists(mem, "/t-0/00000000000000000002.log"));
    crash();
    CU_ASSERT_EQUAL_FATAL(reopen(), KQ_OK);
    CU_ASSERT_EQUAL(log_rig_read(&rig, 0), 2);
    done(); /* cleanly */
    CU_ASSERT_EQUAL_FATAL(reopen(), KQ_OK);
    CU_ASSERT_EQUAL(log_rig_read(&rig, 0), 2);
    append_many(2, 1, 100);
    CU_ASSERT_EQUAL(log_rig_read(&rig, 0), 4);
    done();
}

static void a_segment_without_a_record_never_rolls(void)
{
    start();
    for (int i = 0; i < 600; i++) {
        log_force_roll(rig.log);
        CU_ASSERT_EQUAL_FATAL(log_rig_noop(&rig), KQ_OK);
    }
    append_many(2, 1, 100);
    log_force_roll(rig.log);
    append_many(2, 1, 100);
    CU_ASSERT_TRUE(io_mem_exists(mem, "/t-0/00000000000000000002.log"));
    CU_ASSERT_EQUAL(log_rig_read(&rig, 0), 4);
    crash();
    CU_ASSERT_EQUAL_FATAL(reopen(), KQ_OK);
    CU_ASSERT_EQUAL(rig.report.segments, 2);
    CU_ASSERT_EQUAL(log_last_idx(rig.log), 604);
    done();
}

static void retention_goes_by_size_and_by_age(void)
{
    start();
    append_many(100, 1, 3000); /* times 1000 to 1099 */
    uint64_t total = log_size_bytes(rig.log);
    bool roll;
    int64_t next_ms;
    CU_ASSERT_EQUAL(log_retention_start(rig.log, -1, -1, 1 << 30, &roll, &next_ms), 0);
    CU_ASSERT_EQUAL(next_ms, INT64_MAX);
    CU_ASSERT_EQUAL(log_retention_start(rig.log, (int64_t)total, -1, 0, &roll, &next_ms), 0);
    int64_t by_size = log_retention_start(rig.log, (int64_t)total / 2, -1, 0, &roll, &next_ms);
    CU_ASSERT_TRUE(by_size > 20 && by_size <= 50);
    CU_ASSERT_FALSE(roll);
    CU_ASSERT_EQUAL(log_retention_start(rig.log, -1, 1000, 1000, &roll, &next_ms), 0);
    CU_ASSERT_TRUE(next_ms > 2000 && next_ms < 2100);
    int64_t by_age = log_retention_start(rig.log, -1, 1000, next_ms, &roll, &next_ms);
    CU_ASSERT_TRUE(by_age > 0 && by_age < 100);
    CU_ASSERT_FALSE(roll);
    CU_ASSERT_EQUAL(log_retention_start(rig.log, -1, 1000, 5000, &roll, &next_ms), 100);
    CU_ASSERT_TRUE(roll);
    done();
}

static void a_state_outlives_the_segment_it_was_stored_in(void)
{
    start();
    rig.roll_state = "state one";
    rig.roll_state_bytes = 10;
    append_many(25, 1, 3000);
    uint64_t first_of_last = 0;
    rig.roll_state = NULL;
    rig.roll_state_bytes = 0;
    append_many(60, 1, 3000);
    log_set_start(rig.log, log_next_off(rig.log));
    log_rig_run(&rig, LOG_LANE_KEEP);
    first_of_last = log_first_idx(rig.log);
    CU_ASSERT_TRUE(first_of_last > 40);
    CU_ASSERT_TRUE(io_mem_exists(mem, "/t-0/snapshot"));
    crash();
    CU_ASSERT_EQUAL_FATAL(reopen(), KQ_OK);
    size_t size;
    uint64_t at_idx;
    const void *state = log_stored_state(rig.log, &size, &at_idx);
    CU_ASSERT_EQUAL_FATAL(size, 10);
    CU_ASSERT_STRING_EQUAL(state, "state one");
    CU_ASSERT_TRUE(at_idx > 0 && at_idx < 30);
    CU_ASSERT_EQUAL(log_term_at(rig.log, first_of_last - 1), 1);
    done();
}

static void a_view_outlives_its_segments(void)
{
    start();
    append_many(60, 1, 3000);
    struct log_view *view = log_view_take(rig.log);
    struct log_iter it;
    struct log_slice slice;
    CU_ASSERT_EQUAL(log_iter_seek(&it, view, 0), KQ_OK);
    CU_ASSERT_EQUAL(log_iter_next(&it, &slice, &rig.fault), KQ_OK);
    const uint8_t *body = slice.body;
    uint32_t crc = crc32c(0, body, slice.body_bytes);
    append_many(60, 1, 3000);
    log_set_start(rig.log, 70);
    log_rig_run(&rig, LOG_LANE_KEEP);
    CU_ASSERT_TRUE(log_first_idx(rig.log) > 20);
    CU_ASSERT_EQUAL(crc32c(0, body, slice.body_bytes), crc);
    CU_ASSERT_EQUAL(log_iter_seek(&it, view, 10), KQ_OFFSET_OUT_OF_RANGE);
    CU_ASSERT_EQUAL(log_iter_seek(&it, view, 119), KQ_AGAIN);
    log_view_drop(&view);
    CU_ASSERT_EQUAL(log_rig_read(&rig, 70), 120);
    done();
}

static void segments_that_nobody_reads_are_let_go(void)
{
    start();
    append_many(60, 1, 3000);
    done();
    CU_ASSERT_EQUAL_FATAL(reopen(), KQ_OK);
    rig.now_us += 1000000;
    log_rig_run(&rig, LOG_LANE_KEEP);
    CU_ASSERT_EQUAL(log_rig_read(&rig, 0), 60);
    uint64_t opens = io_mem_calls_of(mem, IO_MEM_OPEN);
    for (int i = 0; i < 3; i++) { /* read in each minute: they stay */
        CU_ASSERT_EQUAL(log_rig_read(&rig, 0), 60);
        rig.now_us += 61000000;
        log_rig_run(&rig, LOG_LANE_KEEP);
    }
    CU_ASSERT_EQUAL(io_mem_calls_of(mem, IO_MEM_OPEN), opens);
    rig.now_us += 61000000;
    log_rig_run(&rig, LOG_LANE_KEEP);
    CU_ASSERT_EQUAL(log_rig_read(&rig, 0), 60);
    CU_ASSERT_TRUE(io_mem_calls_of(mem, IO_MEM_OPEN) >= opens + 4);
    done();
}

static void an_offset_is_found_by_time(void)
{
    start();
    for (int i = 0; i < 100; i++)
        CU_ASSERT_EQUAL(log_rig_append(&rig, 2, 1500, 10000 + 10 * (i ^ 1)), KQ_OK); /* not quite in order */
    log_rig_flush(&rig);
    struct log_view *view = log_view_take(rig.log);
    int64_t off, found_ms;
    CU_ASSERT_EQUAL(log_view_find_time(view, 0, &off, &found_ms, &rig.fault), KQ_OK);
    CU_ASSERT_EQUAL(off, 0); /* nothing is committed */
    log_set_commit(rig.log, 100);
    CU_ASSERT_EQUAL(log_view_find_time(view, 0, &off, &found_ms, &rig.fault), KQ_OK);
    CU_ASSERT_EQUAL(off, 0);
    CU_ASSERT_EQUAL(log_view_find_time(view, 10011, &off, &found_ms, &rig.fault), KQ_OK);
    CU_ASSERT_EQUAL(off, 4); /* entry 3 has time 10030, entry 4 10020 */
    CU_ASSERT_EQUAL(log_view_find_time(view, 10991, &off, &found_ms, &rig.fault), KQ_OK);
    CU_ASSERT_EQUAL(off, 200);
    log_view_drop(&view);
    done();
}

static void an_empty_replica_costs_little(void)
{
    start();
    CU_ASSERT_EQUAL(file_size("/t-0/hard-state"), 8192);
    done();
    io_mem_calls_reset(mem);
    CU_ASSERT_EQUAL_FATAL(reopen(), KQ_OK);
    CU_ASSERT_TRUE(io_mem_calls(mem) <= 4); /* list, open, two reads to the end of the file */
    CU_ASSERT_EQUAL(io_mem_calls_of(mem, IO_MEM_SYNC), 0);
    CU_ASSERT_PTR_NULL(log_next_job(rig.log, LOG_LANE_FLUSH, 1));
    CU_ASSERT_PTR_NULL(log_next_job(rig.log, LOG_LANE_KEEP, 1));
    CU_ASSERT_EQUAL(log_next_deadline_us(rig.log), CLOCK_NEVER);
    done();
    CU_ASSERT_EQUAL(file_size("/t-0/hard-state"), 8192);
}

static void a_clean_start_reads_no_entries(void)
{
    struct log_counters counters = {0};
    start();
    append_many(10, 1, 1000);
    done();
    rig.options.counters = &counters;
    io_mem_calls_reset(mem);
    CU_ASSERT_EQUAL_FATAL(log_rig_open(&rig), KQ_OK);
    CU_ASSERT_TRUE(atomic_load(&counters.recovery_read_bytes) <= 16384);
    CU_ASSERT_EQUAL(io_mem_calls_of(mem, IO_MEM_MAP), 0);
    CU_ASSERT_EQUAL(io_mem_calls_of(mem, IO_MEM_SYNC), 0);
    CU_ASSERT_EQUAL(log_last_idx(rig.log), 10);
    done();
}

static void what_does_not_belong_is_left_alone_and_leftovers_go(void)
{
    start();
    append_many(3, 1, 100);
    done();
    io_mem_put(mem, "/t-0/notes.txt", "mine", 4);
    io_mem_put(mem, "/t-0/spare.log", "x", 1);
    io_mem_put(mem, "/t-0/snapshot.new", "x", 1);
    io_mem_put(mem, "/t-0/00000000000000000077.index", "x", 1);
    io_mem_put(mem, "/t-0/0000000000000000007x.log", "x", 1);
    CU_ASSERT_EQUAL_FATAL(reopen(), KQ_OK);
    CU_ASSERT_TRUE(io_mem_exists(mem, "/t-0/notes.txt"));
    CU_ASSERT_TRUE(io_mem_exists(mem, "/t-0/0000000000000000007x.log"));
    CU_ASSERT_FALSE(io_mem_exists(mem, "/t-0/spare.log"));
    CU_ASSERT_FALSE(io_mem_exists(mem, "/t-0/snapshot.new"));
    CU_ASSERT_FALSE(io_mem_exists(mem, "/t-0/00000000000000000077.index"));
    CU_ASSERT_EQUAL(log_rig_read(&rig, 0), 3);
    done();
}

static void the_budget_is_given_back(void)
{
    struct account budget;
    account_init(&budget, 1 << 20);
    if (mem == NULL)
        mem = io_mem_new(4 << 20);
    io_mem_wipe(mem);
    log_rig_init(&rig, io_mem_io(mem), "/t-0");
    rig.options.prepare_budget = &budget;
    CU_ASSERT_EQUAL_FATAL(log_rig_open(&rig), KQ_OK);
    for (int i = 0; i < 200; i++) {
        CU_ASSERT_EQUAL(log_rig_append(&rig, 1, 1000, 1), KQ_OK);
        log_rig_run(&rig, LOG_LANE_KEEP);
        CU_ASSERT_TRUE(account_used(&budget) >= 0);
        CU_ASSERT_TRUE(account_used(&budget) <= 256 * 1024);
    }
    CU_ASSERT_TRUE(account_used(&budget) > 0);
    log_rig_flush(&rig);
    done();
    CU_ASSERT_EQUAL(account_used(&budget), 0);
    CU_ASSERT_FALSE(io_mem_exists(mem, "/t-0/spare.log"));
}

static const struct unit_case cases[] = {
    {"a segment whose state is damaged goes when a later one is stored",
     a_segment_whose_state_is_damaged_goes_when_a_later_one_is_stored},
    {"what is appended is read on a real disk", what_is_appended_is_read_on_a_real_disk},
    {"a torn tail is cut and appending goes on", a_torn_tail_is_cut_and_appending_goes_on},
    {"damage below the flushed mark stops the replica", damage_below_the_flushed_mark_stops_the_replica},
    {"a pause writes a mark that guards the last entry too", a_pause_writes_a_mark_that_guards_the_last_entry_too},
    {"damage in a sealed segment takes only its range out", damage_in_a_sealed_segment_takes_only_its_range_out},
    {"a damaged head of a segment is found by the scrubber", a_damaged_head_of_a_segment_is_found_by_the_scrubber},
    {"an index that does not agree is built anew", an_index_that_does_not_agree_is_built_anew},
    {"a footer that does not check out costs a walk", a_footer_that_does_not_check_out_costs_a_walk},
    {"a footer that the power tore is cut", a_footer_that_the_power_tore_is_cut},
    {"a full disk refuses and then goes on", a_full_disk_refuses_and_then_goes_on},
    {"deleting frees a full disk", deleting_frees_a_full_disk},
    {"a deletion that finds no space is undone", a_deletion_that_finds_no_space_is_undone},
    {"a roll that finds no space is undone", a_roll_that_finds_no_space_is_undone},
    {"an entry of another past does not follow", an_entry_of_another_past_does_not_follow},
    {"a failed flush is never tried again", a_failed_flush_is_never_tried_again},
    {"short reads and writes are made whole", short_reads_and_writes_are_made_whole},
    {"a folder of another topic is refused", a_folder_of_another_topic_is_refused},
    {"a folder without its hard state is refused", a_folder_without_its_hard_state_is_refused},
    {"a newer format is named and left alone", a_newer_format_is_named_and_left_alone},
    {"an entry may be bigger than a segment", an_entry_may_be_bigger_than_a_segment},
    {"a segment without an entry is found again", a_segment_without_an_entry_is_found_again},
    {"a segment without a record never rolls", a_segment_without_a_record_never_rolls},
    {"retention goes by size and by age", retention_goes_by_size_and_by_age},
    {"a state outlives the segment it was stored in", a_state_outlives_the_segment_it_was_stored_in},
    {"a view outlives its segments", a_view_outlives_its_segments},
    {"segments that nobody reads are let go", segments_that_nobody_reads_are_let_go},
    {"an offset is found by time", an_offset_is_found_by_time},
    {"an empty replica costs little", an_empty_replica_costs_little},
    {"a clean start reads no entries", a_clean_start_reads_no_entries},
    {"what does not belong is left alone and leftovers go", what_does_not_belong_is_left_alone_and_leftovers_go},
    {"the budget is given back", the_budget_is_given_back},
};
UNIT_MAIN("log", cases)
