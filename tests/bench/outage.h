/*
 * How long nobody's publish is acknowledged when a server of three breaks. A new
 * publish leaves every few milliseconds, on a session that waits for nothing
 * else, so that one that is stuck hides nothing.
 */
#ifndef KQ_TESTS_BENCH_OUTAGE_H
#define KQ_TESTS_BENCH_OUTAGE_H

#include "bench/trio.h"

/* Publishes through server `through`, breaks `victim` once that works, and goes on
 * until a publish that left after the break is acknowledged: microseconds from the
 * break to that; -1: never within a minute. */
int64_t outage_us(struct trio *t, int victim, int through, enum trio_fault fault);

#endif
