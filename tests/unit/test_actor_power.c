/*
 * The power is cut at every single io call of a scripted run of a partition
 * (publish, roll, mark, retention by size and by age, delete, stop, start), with
 * several kinds of what survives; then the same calls fail one after another
 * with EIO and ENOSPC. After each: every acknowledged message is there, in
 * order, and nothing else but a prefix of what was in flight.
 *
 *   test_actor_power              ten chances at every call (make check)
 *   KQ_SEEDS=100 ...              a hundred
 */
#include "base/require.h"
#include "support/io_mem.h"
#include "support/pump.h"
#include "support/unit.h"

#include <errno.h>
#include <stdio.h>

enum {
    MESSAGES_MAX = 200,
    STEPS = 70,
    VALUE_BYTES_MAX = 5000,
    FILE_BYTES_MAX = 1 << 20,
    MORE = 3, /* published after a recovery */
};

struct run {
    struct io_mem *mem;
    struct pump pump;
    struct pump_publish publishes[MESSAGES_MAX];
    int submitted;
    int64_t shown_start_off; /* the highest log start that a reader could see */
    int64_t shown_end_off;   /* and high watermark */
    uint64_t random;
};

static struct run run;

static uint32_t chance(uint32_t below)
{
    run.random = run.random * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(run.random >> 33) % below;
}

/* Message i is always the same: its number, repeated to a length of its own. */
static size_t make_value(int i, char value[VALUE_BYTES_MAX])
{
    size_t size_bytes = 10 + (size_t)((unsigned)i * 2654435761u % 19) * (i % 7 == 0 ? 250 : 40);
    REQUIRE(size_bytes <= VALUE_BYTES_MAX);
    (void)memset(value, 'a' + i % 26, size_bytes);
    int n = snprintf(value, size_bytes, "%d.", i);
    value[n] = '.';
    return size_bytes;
}

static void submit(void)
{
    char value[VALUE_BYTES_MAX];
    REQUIRE(run.submitted < MESSAGES_MAX);
    size_t size_bytes = make_value(run.submitted, value);
    pump_publish(&run.pump, &run.publishes[run.submitted], value, size_bytes, run.submitted % 5 == 0 ? 9 : -1,
                 run.submitted / 5);
    run.submitted++;
}

static void look(void)
{
    if (run.pump.view == NULL)
        return;
    int64_t start_off = log_view_start_off(run.pump.view);
    int64_t end_off = log_view_high_watermark(run.pump.view);
    CU_ASSERT_TRUE(start_off >= run.shown_start_off);
    CU_ASSERT_TRUE(end_off >= run.shown_end_off);
    run.shown_start_off = start_off;
    run.shown_end_off = end_off;
}

static bool open_pump(void)
{
    struct fault fault = {0};
    enum kq_err err = pump_open(&run.pump, &fault);
    if (err != KQ_OK && !io_mem_is_cut(run.mem))
        (void)fprintf(stderr, "open: %s: %s\n", err_name(err), fault_text(&fault));
    return err == KQ_OK;
}

static void begin(void)
{
    io_mem_wipe(run.mem);
    run.submitted = 0;
    run.shown_start_off = run.shown_end_off = 0;
    run.random = 42;
    pump_init(&run.pump, io_mem_io(run.mem), "/test-0");
    run.pump.options.limits.retention_bytes = 20 * 1024;
    run.pump.options.limits.retention_ms = 60 * 1000;
    io_mem_calls_reset(run.mem);
}

/* One step of the script; false: the partition is gone (power, or a bad disk). */
static bool step(int number)
{
    switch (number % 10) {
    case 3: /* several in flight at once */
        submit();
        submit();
        pump_turn(&run.pump);
        submit();
        pump_settle(&run.pump);
        break;
    case 6: /* a mark is written when writing pauses */
        pump_advance(&run.pump, 200);
        pump_settle(&run.pump);
        break;
    case 9:
        if (number % 20 == 9) {
            pump_advance(&run.pump, 30 * 1000);
            pump_settle(&run.pump);
        } else { /* stop and start */
            pump_close(&run.pump);
            if (!open_pump())
                return false;
        }
        break;
    default:
        submit();
        if (chance(4) == 0) {
            pump_turn(&run.pump);
            submit();
        }
        pump_settle(&run.pump);
    }
    look();
    /* Once one is refused the numbers of the rest would not be their offsets. */
    const struct pump_publish *last = &run.publishes[run.submitted - 1];
    return !last->done || last->err == KQ_OK;
}

static void play(void)
{
    if (!open_pump())
        return;
    for (int i = 0; i < STEPS; i++)
        if (!step(i))
            return;
    pump_close(&run.pump);
}

/* Everything readable from start to end is message number off at off. */
static void check_content(const char *when)
{
    struct log_iter it;
    struct log_slice slice;
    struct fault fault = {0};
    char value[VALUE_BYTES_MAX];
    int64_t off = log_view_start_off(run.pump.view);
    int64_t end_off = log_view_high_watermark(run.pump.view);
    bool ok = log_iter_seek(&it, run.pump.view, off) == KQ_OK;
    enum kq_err err = KQ_OK;
    while (ok && (err = log_iter_next(&it, &slice, &fault)) == KQ_OK) {
        struct cursor at = cursor_over(slice.body, slice.body_bytes);
        while (ok && cursor_left(&at) > 0) {
            struct batch_info info;
            const uint8_t *batch;
            struct record_walk walk;
            struct record record;
            ok = slice.type == LOG_ENTRY_RECORDS ? batch_next(&at, &info, &batch) == KQ_OK : (at.at = at.end, false);
            if (slice.type != LOG_ENTRY_RECORDS) {
                ok = true;
                break;
            }
            ok = ok && batch_crc_ok(batch, &info);
            record_walk_init(&walk, batch, &info);
            while (ok && record_walk_next(&walk, &record) == KQ_OK) {
                if (record.off < off)
                    continue;
                size_t size_bytes = make_value((int)record.off, value);
                ok = record.off == off && record.value.len == size_bytes &&
                     memcmp(record.value.data, value, size_bytes) == 0;
                off++;
            }
        }
    }
    if (!ok || off != end_off || (err != KQ_EOF && err != KQ_OK))
        (void)fprintf(stderr, "%s: content ends at %lld of %lld: %s %s\n", when, (long long)off, (long long)end_off,
                      err_name(err), fault_text(&fault));
    CU_ASSERT_TRUE(ok);
    CU_ASSERT_EQUAL(off, end_off);
}

static int acknowledged_end(void)
{
    int end = 0;
    for (int i = 0; i < run.submitted; i++) {
        CU_ASSERT_TRUE(run.publishes[i].done);
        if (run.publishes[i].err == KQ_OK) {
            CU_ASSERT_EQUAL(run.publishes[i].base_off, i);
            end = i + 1;
        }
    }
    return end;
}

/* Opens again on what survived, and goes on from there. */
static void check_recovery(const char *when)
{
    int acknowledged = acknowledged_end();
    bool opened = open_pump();
    CU_ASSERT_TRUE(opened);
    if (!opened) {
        (void)fprintf(stderr, "%s: does not open\n", when);
        return;
    }
    int64_t end_off = log_view_high_watermark(run.pump.view);
    if (end_off < acknowledged || end_off > run.submitted)
        (void)fprintf(stderr, "%s: ends at %lld; acknowledged %d, submitted %d\n", when, (long long)end_off,
                      acknowledged, run.submitted);
    CU_ASSERT_TRUE(end_off >= acknowledged);
    CU_ASSERT_TRUE(end_off >= run.shown_end_off);
    CU_ASSERT_TRUE(end_off <= run.submitted);
    CU_ASSERT_TRUE(log_view_start_off(run.pump.view) >= run.shown_start_off);
    check_content(when);
    run.submitted = (int)end_off;
    for (int i = 0; i < MORE; i++) {
        char value[VALUE_BYTES_MAX];
        size_t size_bytes = make_value(run.submitted, value);
        struct pump_publish *publish = &run.publishes[run.submitted];
        pump_publish(&run.pump, publish, value, size_bytes, -1, 0);
        pump_settle(&run.pump);
        CU_ASSERT_TRUE(publish->done);
        CU_ASSERT_EQUAL(publish->err, KQ_OK);
        CU_ASSERT_EQUAL(publish->base_off, run.submitted);
        run.submitted++;
    }
    check_content(when);
    pump_close(&run.pump);
    CU_ASSERT_TRUE(open_pump());
    CU_ASSERT_EQUAL(log_view_high_watermark(run.pump.view), run.submitted);
    check_content(when);
    pump_close(&run.pump);
}

static uint64_t count_calls(void)
{
    begin();
    play();
    CU_ASSERT_EQUAL(acknowledged_end(), run.submitted);
    CU_ASSERT_TRUE(run.shown_start_off > 0); /* the script deletes something */
    return io_mem_calls(run.mem);
}

/* What may survive of what was not synced, at each call. */
static unsigned chances_at_each_call(void)
{
    const char *given = getenv("KQ_SEEDS");
    return given != NULL ? (unsigned)strtoul(given, NULL, 10) : 10;
}

static void power_may_go_at_any_call(void)
{
    run.mem = io_mem_new(FILE_BYTES_MAX);
    uint64_t calls = count_calls();
    unsigned chances = chances_at_each_call();
    uint64_t cuts = 0;
    for (uint64_t call = 1; call <= calls; call++)
        for (unsigned seed = 0; seed < chances + 2; seed++) {
            enum io_mem_mercy mercy = seed == 0 ? IO_MEM_ALL_LOST : seed == 1 ? IO_MEM_ALL_KEPT : IO_MEM_BY_CHANCE;
            char when[80];
            (void)snprintf(when, sizeof when, "power cut at call %llu, chance %u", (unsigned long long)call, seed);
            begin();
            io_mem_cut_at(run.mem, call, mercy, call * 31 + seed);
            play();
            pump_abandon(&run.pump);
            io_mem_reboot(run.mem, mercy, call * 31 + seed);
            pump_init(&run.pump, io_mem_io(run.mem), "/test-0");
            check_recovery(when);
            cuts++;
        }
    (void)printf("%llu calls, %llu power cuts ", (unsigned long long)calls, (unsigned long long)cuts);
    io_mem_free(run.mem);
}

static void any_call_may_fail_and_what_was_acknowledged_stays(void)
{
    run.mem = io_mem_new(FILE_BYTES_MAX);
    uint64_t calls = count_calls();
    for (uint64_t call = 1; call <= calls; call++) {
        char when[80];
        (void)snprintf(when, sizeof when, "EIO at call %llu", (unsigned long long)call);
        begin();
        io_mem_fail(run.mem, IO_MEM_ANY, call, EIO, 1);
        play();
        pump_abandon(&run.pump);
        io_mem_fail_not(run.mem);
        io_mem_reboot(run.mem, IO_MEM_BY_CHANCE, call);
        pump_init(&run.pump, io_mem_io(run.mem), "/test-0");
        check_recovery(when);
    }
    io_mem_free(run.mem);
}

static void short_reads_and_writes_are_finished(void)
{
    run.mem = io_mem_new(FILE_BYTES_MAX);
    begin();
    io_mem_short(run.mem, true);
    play();
    CU_ASSERT_EQUAL(acknowledged_end(), run.submitted);
    check_recovery("short reads and writes");
    io_mem_short(run.mem, false);
    io_mem_free(run.mem);
}

static void a_full_disk_refuses_and_goes_on_when_there_is_room(void)
{
    run.mem = io_mem_new(FILE_BYTES_MAX);
    begin();
    run.pump.options.limits.retention_bytes = -1;
    run.pump.options.limits.retention_ms = -1;
    CU_ASSERT_TRUE_FATAL(open_pump());
    io_mem_set_capacity(run.mem, 64 * 1024);
    int refused = 0;
    while (refused == 0) {
        submit();
        pump_settle(&run.pump);
        struct pump_publish *last = &run.publishes[run.submitted - 1];
        CU_ASSERT_TRUE_FATAL(last->done);
        if (last->err != KQ_OK) {
            CU_ASSERT_EQUAL_FATAL(last->err, KQ_NO_SPACE);
            refused++;
        }
    }
    run.submitted--; /* refused for sure: the next has its number */
    CU_ASSERT_TRUE(run.submitted > 3);
    check_content("full");
    io_mem_set_capacity(run.mem, 0);
    for (int i = 0; i < 10; i++) {
        char value[VALUE_BYTES_MAX];
        size_t size_bytes = make_value(run.submitted, value);
        pump_publish(&run.pump, &run.publishes[run.submitted], value, size_bytes, -1, 0);
        pump_settle(&run.pump);
        CU_ASSERT_EQUAL(run.publishes[run.submitted].err, KQ_OK);
        run.submitted++;
    }
    check_content("room again");
    pump_close(&run.pump);
    check_recovery("after a full disk");
    io_mem_free(run.mem);
}

static const struct unit_case cases[] = {
    {"power may go at any call", power_may_go_at_any_call},
    {"any call may fail and what was acknowledged stays", any_call_may_fail_and_what_was_acknowledged_stays},
    {"short reads and writes are finished", short_reads_and_writes_are_finished},
    {"a full disk refuses and goes on when there is room", a_full_disk_refuses_and_goes_on_when_there_is_room},
};
UNIT_MAIN("actor and power", cases)
