/*
 * The power goes at every single io call of a scripted life of a log, for several
 * seeds of what survives. After each: it opens; what was flushed is there, in
 * order, byte for byte; nothing else is but a prefix of what was in flight; the
 * hard state is one that was given, and not older than the durable one; appending
 * goes on, and a clean close and start change nothing.
 */
#include "base/logger.h"
#include "support/io_mem.h"
#include "support/log_rig.h"
#include "support/unit.h"

#include <errno.h>
#include <stdio.h>

enum { ENTRIES_MAX = 400, LIVES = 3 };

/* What the outside knows: what it asked for and what it was told. */
struct known {
    struct log_rig rig;
    struct io_mem *mem;
    uint64_t term_of[ENTRIES_MAX]; /* as last appended at this idx */
    int64_t off_of[ENTRIES_MAX + 1];
    uint64_t appended_idx;
    uint64_t acked_idx;
    int64_t start_off;   /* as set; a start may have moved so far */
    uint64_t term_asked; /* of the hard state */
    uint64_t term_acked;
    bool noop_at[ENTRIES_MAX];
    uint64_t lag; /* not 0: jobs are out while appending goes on, by this chance */
    bool faulty;  /* a call may fail: what a close does is not told */
    char state[64];
};

/* ---- entries that can be made again for comparison ----------------------------------- */

static void make_body(struct buf *b, uint64_t idx, uint64_t term, int64_t off)
{
    static uint8_t value[16384];
    struct batch_maker m;
    int count = 1 + (int)(idx % 3);
    size_t size = (size_t)(idx * 2654435761u % (idx % 11 == 0 ? 12000 : 700));
    memset(value, (int)(idx * 31 + term), size);
    batch_begin(&m, b, (int64_t)(1000 + idx));
    for (int i = 0; i < count; i++)
        batch_add(&m, (int64_t)(1000 + idx), slice_of(NULL, 0), slice_of(value, size), NULL, slice_of(NULL, 0));
    batch_end(&m, -1, -1, -1);
    batch_place(b->data, off, (int32_t)term);
}

static uint64_t chance(struct known *k)
{
    k->lag = k->lag * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return k->lag >> 33;
}

/* With jobs that lag behind: appends, and lets a lane take a step now and then.
 * Whoever waits for room may give up and send something small instead. */
static enum kq_err append_lagging(struct known *k, struct log_entry *e)
{
    struct log *log = k->rig.log;
    enum kq_err err = KQ_AGAIN;
    for (int i = 0; i < 100 && err == KQ_AGAIN && k->rig.failed == KQ_OK; i++) {
        if (i > 0 && chance(k) % 8 == 0 && e->type == LOG_ENTRY_RECORDS) {
            k->noop_at[e->idx] = true;
            k->off_of[e->idx + 1] = e->first_off;
            *e = (struct log_entry){.type = LOG_ENTRY_NOOP,
                                    .max_time_ms = -1,
                                    .term = e->term,
                                    .idx = e->idx,
                                    .first_off = e->first_off,
                                    .old = e->old};
        }
        err = log_append(log, e);
        if (err == KQ_AGAIN || chance(k) % 2 == 0)
            log_rig_step(&k->rig, (enum log_lane)(chance(k) % 2));
    }
    return err;
}

static void append_kind(struct known *k, bool noop)
{
    struct log *log = k->rig.log;
    uint64_t idx = log_last_idx(log) + 1;
    struct buf b;
    buf_init(&b, 1 << 20);
    struct log_entry e = {.type = LOG_ENTRY_NOOP, .max_time_ms = -1};
    struct iovec body;
    k->noop_at[idx] = noop;
    if (!k->noop_at[idx]) {
        make_body(&b, idx, k->rig.term, log_next_off(log));
        body = (struct iovec){b.data, b.len};
        e = (struct log_entry){.type = LOG_ENTRY_RECORDS,
                               .record_count = (uint32_t)(1 + idx % 3),
                               .max_time_ms = (int64_t)(1000 + idx),
                               .body = &body,
                               .body_count = 1,
                               .body_bytes = (uint32_t)b.len};
    }
    CU_ASSERT_FATAL(idx < ENTRIES_MAX);
    uint64_t before = k->term_of[idx];
    int64_t off = log_next_off(log);
    k->term_of[idx] = k->rig.term;
    k->off_of[idx] = off;
    k->off_of[idx + 1] = off + (k->noop_at[idx] ? 0 : (int64_t)(1 + idx % 3));
    (void)snprintf(k->state, sizeof k->state, "state at %llu", (unsigned long long)idx - 1);
    k->rig.roll_state = k->state;
    k->rig.roll_state_bytes = strlen(k->state) + 1;
    e.term = k->rig.term;
    e.idx = idx;
    e.first_off = off;
    e.old = k->rig.old = idx / 20 % 2 == 1; /* space is zeroed, or reserved */
    enum kq_err err = k->lag != 0 ? append_lagging(k, &e) : log_rig_append_entry(&k->rig, &e);
    if (err == KQ_NO_SPACE || err == KQ_AGAIN) /* refused: it must never be seen */
        k->term_of[idx] = before;
    else
        k->appended_idx = idx; /* done, or perhaps */
    buf_fini(&b);
}

static void append(struct known *k)
{
    append_kind(k, log_last_idx(k->rig.log) % 7 == 0);
}

static void flush(struct known *k)
{
    if (k->lag != 0) {
        for (uint64_t i = chance(k) % 4; i > 0; i--)
            log_rig_step(&k->rig, LOG_LANE_FLUSH);
        if (k->rig.flushed_idx > k->acked_idx)
            k->acked_idx = k->rig.flushed_idx;
        return;
    }
    log_rig_flush(&k->rig);
    if (k->rig.flushed_idx > k->acked_idx)
        k->acked_idx = k->rig.flushed_idx;
}

static void vote(struct known *k)
{
    struct log_hard_state s = *log_hard_state(k->rig.log);
    s.term = ++k->term_asked;
    uint64_t version = log_set_hard_state(k->rig.log, &s);
    k->rig.hard_state_version = 0;
    flush(k);
    if (k->rig.hard_state_version >= version)
        k->term_acked = k->term_asked;
}

static bool open_it(struct known *k)
{
    return log_rig_open(&k->rig) == KQ_OK;
}

static bool cut(const struct known *k)
{
    return io_mem_is_cut(k->mem);
}

/* ---- the script ------------------------------------------------------------------------- */

static void close_it(struct known *k)
{
    char state[64];
    (void)snprintf(state, sizeof state, "state at %llu", (unsigned long long)k->appended_idx);
    log_rig_drain(&k->rig);
    log_close(&k->rig.log, state, strlen(state) + 1);
    if (!cut(k) && !k->faulty)
        k->acked_idx = k->appended_idx;
}

static void some_work(struct known *k, int appends)
{
    for (int i = 0; i < appends && !cut(k) && k->rig.failed == KQ_OK; i++) {
        append(k);
        if (i % 3 == 2)
            flush(k);
        if (i % 8 == 7) { /* a pause: space ahead, a mark */
            k->rig.now_us += 200000;
            log_rig_run(&k->rig, LOG_LANE_KEEP);
            flush(k);
            k->rig.now_us += 200000;
            flush(k);
        }
    }
    flush(k);
}

static void shrink(struct known *k)
{
    struct log *log = k->rig.log;
    if (cut(k) || k->acked_idx > log_last_idx(log))
        return;
    log_set_commit(log, k->acked_idx);
    bool rolls;
    int64_t next_ms;
    int64_t start = log_retention_start(log, 20000, -1, 0, &rolls, &next_ms);
    if (start > k->start_off)
        k->start_off = start;
    log_set_start(log, start);
    log_rig_run(&k->rig, LOG_LANE_KEEP);
}

static void snapshot(struct known *k)
{
    char state[64];
    if (cut(k) || k->acked_idx == 0)
        return;
    (void)snprintf(state, sizeof state, "state at %llu", (unsigned long long)k->acked_idx);
    log_rig_drain(&k->rig);
    log_set_commit(k->rig.log, k->acked_idx);
    CU_ASSERT_EQUAL(log_store_snapshot(k->rig.log, k->acked_idx, state, strlen(state) + 1), KQ_OK);
    log_rig_run(&k->rig, LOG_LANE_KEEP);
}

/* Returns false when the power has gone. */
static void script(struct known *k)
{
    for (int life = 0; life < LIVES && !cut(k); life++) {
        if (!open_it(k))
            return;
        k->rig.term++;
        some_work(k, 20);
        if (life == 0)
            vote(k);
        shrink(k);
        some_work(k, 5);
        if (life == 1)
            snapshot(k);
        log_force_roll(k->rig.log);
        some_work(k, 3);
        vote(k);
        close_it(k);
    }
    for (int life = 0; life < 2 && !cut(k); life++) { /* short ones, that end in the page they began in */
        if (!open_it(k))
            return;
        k->rig.term++;
        append_kind(k, true);
        flush(k);
        if (life == 1)
            vote(k);
        close_it(k);
    }
}

/* ---- what must hold ----------------------------------------------------------------------- */

static void check_entries(struct known *k)
{
    struct log *log = k->rig.log;
    struct log_view *view = log_view_take(log);
    struct log_iter it;
    struct log_slice s;
    struct buf b;
    buf_init(&b, 1 << 20);
    enum kq_err err = log_iter_seek_idx(&it, view, log_first_idx(log));
    uint64_t idx = log_first_idx(log);
    while (err == KQ_OK && (err = log_iter_next(&it, &s, &k->rig.fault)) == KQ_OK) {
        CU_ASSERT_EQUAL(s.idx, idx);
        CU_ASSERT_EQUAL(s.term, k->term_of[idx]);
        CU_ASSERT_EQUAL(s.first_off, k->off_of[idx]);
        CU_ASSERT_EQUAL(log_term_at(log, idx), s.term);
        buf_reset(&b);
        if (!k->noop_at[idx])
            make_body(&b, idx, s.term, s.first_off);
        CU_ASSERT_EQUAL(s.body_bytes, b.len);
        CU_ASSERT_TRUE(s.body_bytes == b.len && (b.len == 0 || memcmp(s.body, b.data, b.len) == 0));
        idx++;
    }
    CU_ASSERT_EQUAL(err, KQ_EOF);
    CU_ASSERT_EQUAL(idx, log_last_idx(log) + 1);
    if (err != KQ_EOF)
        fprintf(stderr, "entry %llu: %s %s\n", (unsigned long long)idx, err_name(err), k->rig.fault.text);
    buf_fini(&b);
    log_view_drop(&view);
}

static void check_stored_state(struct known *k)
{
    size_t size;
    uint64_t at_idx;
    const char *state = log_stored_state(k->rig.log, &size, &at_idx);
    if (size > 0) {
        char expected[64];
        (void)snprintf(expected, sizeof expected, "state at %llu", (unsigned long long)at_idx);
        CU_ASSERT_EQUAL(size, strlen(expected) + 1);
        CU_ASSERT_STRING_EQUAL(state, expected);
    }
    CU_ASSERT_TRUE(at_idx + 1 >= log_first_idx(k->rig.log));
    CU_ASSERT_TRUE(at_idx <= log_last_idx(k->rig.log));
}

static bool check(struct known *k)
{
    struct log *log = k->rig.log;
    unsigned before = CU_get_number_of_failures();
    uint64_t last = log_last_idx(log);
    CU_ASSERT_TRUE(last >= k->acked_idx);
    CU_ASSERT_TRUE(last <= k->appended_idx);
    CU_ASSERT_EQUAL(log_next_off(log), last == 0 ? 0 : k->off_of[last + 1]);
    CU_ASSERT_TRUE(log_hard_state(log)->term >= k->term_acked);
    CU_ASSERT_TRUE(log_hard_state(log)->term <= k->term_asked);
    CU_ASSERT_TRUE(last == 0 || log_first_idx(log) > last || k->off_of[log_first_idx(log)] <= k->start_off);
    log_set_commit(log, last);
    check_entries(k);
    return CU_get_number_of_failures() == before;
}

/* What is found is what is now known; then life goes on. */
static bool go_on(struct known *k)
{
    k->appended_idx = k->acked_idx = log_last_idx(k->rig.log);
    k->term_acked = k->term_asked = log_hard_state(k->rig.log)->term;
    k->rig.term += 10;
    some_work(k, 4);
    if (k->rig.failed != KQ_OK || k->acked_idx != k->appended_idx || !check(k))
        return false;
    close_it(k);
    if (!open_it(k))
        return false;
    bool clean = k->rig.report.scanned_bytes == 0 && k->rig.report.cut_bytes == 0;
    check_stored_state(k);
    bool fine = clean && check(k);
    k->rig.term++;
    some_work(k, 2);
    fine = fine && check(k);
    log_close(&k->rig.log, NULL, 0);
    return fine;
}

static void begin(struct known *k, struct io_mem *mem)
{
    memset(k, 0, sizeof *k);
    k->mem = mem;
    log_rig_init(&k->rig, io_mem_io(mem), "/t-0");
    k->rig.options.segment_bytes = 16 * 1024;
    k->rig.options.prepare_min_bytes = 4096;
    k->rig.options.prepare_max_bytes = 16 * 1024;
}

/* One run; false: it failed (and said how). *calls: how many there were. */
static bool run(uint64_t cut_at, uint64_t second_cut, bool lag, enum io_mem_mercy mercy, uint64_t seed, uint64_t *calls)
{
    static struct io_mem *mem;
    static struct known k;
    if (mem == NULL) {
        mem = io_mem_new(512 * 1024);
        logger_set_level(LOGGER_ERROR);
    }
    io_mem_wipe(mem);
    begin(&k, mem);
    k.lag = lag ? seed / 1000 + 1 : 0; /* the same for every cut of a seed */
    io_mem_cut_at(mem, cut_at, mercy, seed);
    script(&k);
    *calls = io_mem_calls(mem);
    log_rig_drain(&k.rig);
    k.lag = 0;
    log_close(&k.rig.log, NULL, 0);
    io_mem_reboot(mem, mercy, seed);
    if (second_cut != 0) { /* and again while it recovers */
        io_mem_cut_at(mem, second_cut, mercy, seed + 1);
        (void)open_it(&k);
        log_close(&k.rig.log, NULL, 0);
        io_mem_reboot(mem, mercy, seed + 2);
    }
    bool fine = open_it(&k);
    if (fine) {
        check_stored_state(&k);
        fine = check(&k);
        fine = go_on(&k) && fine;
    }
    if (!fine)
        fprintf(stderr, "cut at %llu, again at %llu, lag %d, mercy %d, seed %llu: %s\n", (unsigned long long)cut_at,
                (unsigned long long)second_cut, (int)lag, (int)mercy, (unsigned long long)seed, k.rig.fault.text);
    log_close(&k.rig.log, NULL, 0);
    return fine;
}

static void every_call(uint64_t second_cut_of, bool lag, enum io_mem_mercy mercy, uint64_t seed)
{
    uint64_t calls;
    CU_ASSERT_TRUE(run(0, 0, lag, mercy, seed * 1000, &calls));
    for (uint64_t n = 1; n <= calls; n++) {
        uint64_t ignored;
        bool fine = run(n, second_cut_of != 0 ? 1 + n * 7 % second_cut_of : 0, lag, mercy, seed * 1000 + n, &ignored);
        CU_ASSERT_TRUE(fine);
        if (!fine)
            return;
    }
}

static void nothing_unsynced_survives(void)
{
    every_call(0, false, IO_MEM_ALL_LOST, 1);
}

static void everything_survives(void)
{
    every_call(0, false, IO_MEM_ALL_KEPT, 1);
}

/* Call n fails, once or for ever; the process ends; what the cache held and the
 * disk never got is gone. */
static bool run_failing(uint64_t n, int error, uint64_t times, uint64_t *calls)
{
    static struct io_mem *mem;
    static struct known k;
    if (mem == NULL)
        mem = io_mem_new(512 * 1024);
    io_mem_wipe(mem);
    begin(&k, mem);
    k.faulty = true;
    io_mem_fail(mem, IO_MEM_ANY, n, error, times);
    script(&k);
    *calls = io_mem_calls(mem);
    log_rig_drain(&k.rig);
    k.lag = 0;
    log_close(&k.rig.log, NULL, 0);
    io_mem_reboot(mem, n % 2 == 0 ? IO_MEM_ALL_KEPT : IO_MEM_BY_CHANCE, n);
    k.faulty = false;
    bool fine = open_it(&k);
    if (fine) {
        check_stored_state(&k);
        fine = check(&k);
        fine = go_on(&k) && fine;
    }
    if (!fine)
        fprintf(stderr, "call %llu fails with %d, %llu times: %s\n", (unsigned long long)n, error,
                (unsigned long long)times, k.rig.fault.text);
    log_close(&k.rig.log, NULL, 0);
    return fine;
}

static void every_call_fails(int error, uint64_t times)
{
    uint64_t calls = 1;
    uint64_t ignored;
    CU_ASSERT_TRUE(run_failing(1000000, error, times, &calls));
    for (uint64_t n = 0; n < calls; n++) {
        bool fine = run_failing(n, error, times, &ignored);
        CU_ASSERT_TRUE(fine);
        if (!fine)
            return;
    }
}

static void each_call_fails_once(void)
{
    every_call_fails(EIO, 1);
    every_call_fails(ENOSPC, 1);
}

static void all_calls_fail_from_one_on(void)
{
    every_call_fails(EIO, 0);
    every_call_fails(ENOSPC, 0);
}

/* The process is killed at call n and starts again; what it then says is there,
 * is there after the power went at once. */
static bool run_killed(uint64_t n, uint64_t *calls)
{
    static struct io_mem *mem;
    static struct known k;
    if (mem == NULL)
        mem = io_mem_new(512 * 1024);
    io_mem_wipe(mem);
    begin(&k, mem);
    io_mem_cut_at(mem, n, IO_MEM_STILL_CACHED, n);
    script(&k);
    *calls = io_mem_calls(mem);
    log_close(&k.rig.log, NULL, 0);
    io_mem_reboot(mem, IO_MEM_STILL_CACHED, n);
    bool fine = open_it(&k) && check(&k);
    if (fine) {
        k.acked_idx = log_last_idx(k.rig.log);
        k.term_acked = log_hard_state(k.rig.log)->term;
        if (n % 2 == 0) { /* and a vote: its name in the folder must last, too */
            vote(&k);
            k.term_asked = k.term_acked;
        }
    }
    io_mem_cut_at(mem, io_mem_calls(mem) + 1, IO_MEM_ALL_LOST, n);
    log_close(&k.rig.log, NULL, 0);
    io_mem_reboot(mem, IO_MEM_ALL_LOST, n);
    fine = fine && open_it(&k) && check(&k) && go_on(&k);
    if (!fine)
        fprintf(stderr, "killed at %llu: %s\n", (unsigned long long)n, k.rig.fault.text);
    log_close(&k.rig.log, NULL, 0);
    return fine;
}

static void a_kill_and_then_the_power(void)
{
    uint64_t calls;
    uint64_t ignored;
    CU_ASSERT_TRUE(run_killed(0, &calls));
    for (uint64_t n = 1; n <= calls; n++) {
        bool fine = run_killed(n, &ignored);
        CU_ASSERT_TRUE(fine);
        if (!fine)
            return;
    }
}

static uint64_t seeds(void)
{
    const char *more = getenv("KQ_SEEDS");
    return more != NULL ? strtoull(more, NULL, 10) : 6;
}

static void chance_decides_what_survives(void)
{
    for (uint64_t seed = 1; seed <= seeds(); seed++)
        every_call(0, false, IO_MEM_BY_CHANCE, seed);
}

static void jobs_are_out_while_appending_goes_on(void)
{
    for (uint64_t seed = 1; seed <= seeds(); seed++)
        every_call(0, true, IO_MEM_BY_CHANCE, seed);
}

static void the_power_goes_again_during_recovery(void)
{
    for (uint64_t seed = 1; seed <= seeds(); seed++)
        every_call(40, false, IO_MEM_BY_CHANCE, seed);
}

static const struct unit_case cases[] = {
    {"nothing unsynced survives", nothing_unsynced_survives},
    {"everything survives", everything_survives},
    {"chance decides what survives", chance_decides_what_survives},
    {"jobs are out while appending goes on", jobs_are_out_while_appending_goes_on},
    {"the power goes again during recovery", the_power_goes_again_during_recovery},
    {"a kill, and then the power", a_kill_and_then_the_power},
    {"each call fails once", each_call_fails_once},
    {"all calls fail from one on", all_calls_fail_from_one_on},
};
UNIT_MAIN("log power", cases)
