/*
 * Cutting logs: truncations and resets in lives drawn by seeds, with rolls, flushes,
 * snapshots, deletions and clean closes beside them, jobs out in any order; the power
 * goes at every single io call, and every call fails. What must hold after each: the
 * log opens and is one of those that were asked for and not yet reported durable to be
 * another, all of it and nothing else, byte for byte; what was flushed of it is there;
 * what is committed is in all of them; terms, stored states and the hard state fit;
 * appending goes on, and a clean close and start change nothing.
 */
#include "base/logger.h"
#include "support/log_life.h"
#include "support/unit.h"

#include <errno.h>
#include <stdio.h>

static struct io_mem *disk(void)
{
    static struct io_mem *mem;
    if (mem == NULL)
        mem = io_mem_new(128 * 1024);
    logger_set_level(LOGGER_ERROR);
    io_mem_wipe(mem);
    return mem;
}

static struct life k;

struct how {
    uint64_t cut_at; /* the power goes; 0: not */
    uint64_t second; /* and again while it recovers */
    uint64_t fail_at;
    uint64_t times;
    int error;
    bool lag;
    enum io_mem_mercy mercy;
    uint64_t seed;
};

/* One run; false: it failed (and said how). *calls: how many there were. */
static bool run(const struct how *h, uint64_t *calls)
{
    struct io_mem *mem = disk();
    life_begin(&k, mem, h->seed * 77 + 1, h->lag);
    if (h->error != 0) {
        k.faulty = true;
        io_mem_fail(mem, IO_MEM_ANY, h->fail_at, h->error, h->times);
    } else {
        io_mem_cut_at(mem, h->cut_at, h->mercy, h->seed + h->cut_at);
    }
    life_script(&k);
    *calls = io_mem_calls(mem);
    log_rig_drain(&k.rig);
    life_take_news(&k);
    log_close(&k.rig.log, NULL, 0);
    k.lag = false;
    k.faulty = false;
    io_mem_reboot(mem, h->mercy, h->seed + h->cut_at + h->fail_at);
    if (h->second != 0) {
        io_mem_cut_at(mem, h->second, h->mercy, h->seed + 1);
        (void)life_open(&k);
        log_close(&k.rig.log, NULL, 0);
        io_mem_reboot(mem, h->mercy, h->seed + 2);
    }
    bool fine = life_open(&k) && life_check(&k) && life_dies_again(&k, h->mercy, h->seed + h->cut_at + h->fail_at) &&
                life_go_on(&k);
    if (!fine)
        fprintf(
            stderr, "cut at %llu, again at %llu, call %llu fails with %d %llu times, lag %d, mercy %d, seed %llu: %s\n",
            (unsigned long long)h->cut_at, (unsigned long long)h->second, (unsigned long long)h->fail_at, h->error,
            (unsigned long long)h->times, (int)h->lag, (int)h->mercy, (unsigned long long)h->seed, k.rig.fault.text);
    log_close(&k.rig.log, NULL, 0);
    return fine;
}

/* The process is killed at call n and starts again, and then the power goes at once, or
 * while it starts: what it says is there is on the disk. */
static bool run_killed(uint64_t n, uint64_t second, uint64_t seed, uint64_t *calls)
{
    struct io_mem *mem = disk();
    life_begin(&k, mem, seed * 77 + 1, seed % 2 == 0);
    io_mem_cut_at(mem, n, IO_MEM_STILL_CACHED, n);
    life_script(&k);
    *calls = io_mem_calls(mem);
    log_rig_drain(&k.rig);
    life_take_news(&k);
    log_close(&k.rig.log, NULL, 0);
    k.lag = false;
    io_mem_reboot(mem, IO_MEM_STILL_CACHED, n);
    bool fine = true;
    if (second != 0)
        io_mem_cut_at(mem, second, n % 2 == 0 ? IO_MEM_ALL_LOST : IO_MEM_BY_CHANCE, n);
    if (life_open(&k))
        fine = second != 0 || life_check(&k);
    else
        fine = second != 0;
    if (fine && second == 0 && n % 3 == 0) { /* and goes on a little */
        life_append(&k);
        life_run_lane(&k, LOG_LANE_FLUSH);
    }
    if (!io_mem_is_cut(mem))
        io_mem_cut_at(mem, io_mem_calls(mem) + 1, IO_MEM_ALL_LOST, n);
    log_close(&k.rig.log, NULL, 0);
    io_mem_reboot(mem, IO_MEM_ALL_LOST, n);
    fine = fine && life_open(&k) && life_check(&k) && life_go_on(&k);
    if (!fine)
        fprintf(stderr, "killed at %llu, then %llu, seed %llu: %s\n", (unsigned long long)n, (unsigned long long)second,
                (unsigned long long)seed, k.rig.fault.text);
    log_close(&k.rig.log, NULL, 0);
    return fine;
}

/* From an opening on the power goes at each call. */
static void every_call(struct how h, uint64_t second_of)
{
    uint64_t calls;
    h.cut_at = 0;
    bool fine = run(&h, &calls);
    CU_ASSERT_TRUE(fine);
    for (uint64_t n = 1; fine && n <= calls; n++) {
        uint64_t ignored;
        h.cut_at = n;
        h.second = second_of != 0 ? 1 + n * 7 % second_of : 0;
        fine = run(&h, &ignored);
        CU_ASSERT_TRUE(fine);
    }
}

static uint64_t seeds(void)
{
    const char *more = getenv("KQ_SEEDS");
    return more != NULL ? strtoull(more, NULL, 10) : 2;
}

static void nothing_unsynced_survives(void)
{
    for (uint64_t seed = 1; seed <= seeds(); seed++)
        every_call((struct how){.mercy = IO_MEM_ALL_LOST, .seed = seed}, 0);
}

static void everything_survives(void)
{
    for (uint64_t seed = 1; seed <= seeds(); seed++)
        every_call((struct how){.mercy = IO_MEM_ALL_KEPT, .seed = seed}, 0);
}

static void chance_decides_what_survives(void)
{
    for (uint64_t seed = 1; seed <= seeds(); seed++)
        every_call((struct how){.mercy = IO_MEM_BY_CHANCE, .seed = seed}, 0);
}

static void jobs_are_out_while_it_is_cut(void)
{
    for (uint64_t seed = 1; seed <= 2 * seeds(); seed++)
        every_call((struct how){.mercy = IO_MEM_BY_CHANCE, .seed = seed, .lag = true}, 0);
}

static void the_power_goes_again_during_recovery(void)
{
    for (uint64_t seed = 1; seed <= seeds(); seed++)
        every_call((struct how){.mercy = IO_MEM_BY_CHANCE, .seed = seed, .lag = seed % 2 == 0}, 50);
}

static void a_kill_and_then_the_power(void)
{
    for (uint64_t seed = 1; seed <= 2 * seeds(); seed++) {
        uint64_t calls;
        bool fine = run_killed(0, 0, seed, &calls);
        CU_ASSERT_TRUE(fine);
        for (uint64_t n = 1; fine && n <= calls; n++) {
            uint64_t ignored;
            fine = run_killed(n, 0, seed, &ignored) && run_killed(n, 1 + n * 7 % 40, seed, &ignored);
            CU_ASSERT_TRUE(fine);
        }
    }
}

static void every_call_fails(int error, uint64_t times)
{
    for (uint64_t seed = 1; seed <= (seeds() + 1) / 2; seed++) {
        struct how h = {.error = error, .times = times, .fail_at = 1000000, .seed = seed, .lag = seed % 2 == 0};
        uint64_t calls;
        bool fine = run(&h, &calls);
        CU_ASSERT_TRUE(fine);
        for (uint64_t n = 0; fine && n < calls; n++) {
            uint64_t ignored;
            h.fail_at = n;
            h.mercy = n % 2 == 0 ? IO_MEM_ALL_KEPT : IO_MEM_BY_CHANCE;
            fine = run(&h, &ignored);
            CU_ASSERT_TRUE(fine);
        }
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

static void many_lives_without_a_fault(void)
{
    memset(&k.seen, 0, sizeof k.seen);
    for (uint64_t seed = 1; seed <= 50 * seeds(); seed++) {
        struct how h = {.seed = seed, .lag = seed % 2 == 0, .mercy = IO_MEM_ALL_LOST};
        uint64_t ignored;
        bool fine = run(&h, &ignored);
        CU_ASSERT_TRUE(fine);
        if (!fine)
            return;
    }
    CU_ASSERT_TRUE(k.seen.inside > 50);
    CU_ASSERT_TRUE(k.seen.border > 50);
    CU_ASSERT_TRUE(k.seen.across > 50);
    CU_ASSERT_TRUE(k.seen.far > 50);
    CU_ASSERT_TRUE(k.seen.emptied > 10);
    CU_ASSERT_TRUE(k.seen.twice > 10);
    CU_ASSERT_TRUE(k.seen.resets > 50);
    CU_ASSERT_TRUE(k.seen.waited > 50);
}

static const struct unit_case cases[] = {
    {"many lives without a fault", many_lives_without_a_fault},
    {"nothing unsynced survives", nothing_unsynced_survives},
    {"everything survives", everything_survives},
    {"chance decides what survives", chance_decides_what_survives},
    {"jobs are out while it is cut", jobs_are_out_while_it_is_cut},
    {"the power goes again during recovery", the_power_goes_again_during_recovery},
    {"a kill, and then the power", a_kill_and_then_the_power},
    {"each call fails once", each_call_fails_once},
    {"all calls fail from one on", all_calls_fail_from_one_on},
};
UNIT_MAIN("log cut", cases)
