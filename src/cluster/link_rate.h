/*
 * How long to wait: before the next connect, and for tokens of the catch-up bound.
 * Step-shaped: time and randomness come as arguments.
 */
#ifndef KQ_CLUSTER_LINK_RATE_H
#define KQ_CLUSTER_LINK_RATE_H

#include <stdint.h>

enum {
    LINK_BACKOFF_MIN_US = 10 * 1000,
    LINK_BACKOFF_MAX_US = 1000 * 1000,
    LINK_BURST_US = 100 * 1000, /* of catch-up that was not sent may be sent later at once */
};

/* Connects that failed since the last that did not. */
struct link_backoff {
    uint32_t failed;
};

/* After a connect that failed: doubling from the least to the most, less up to a half of
 * it by chance, so that brokers do not knock in step. */
static inline int64_t link_backoff_us(struct link_backoff *backoff, uint64_t random)
{
    int64_t wait_us = LINK_BACKOFF_MAX_US;
    if (backoff->failed < 7)
        wait_us = (int64_t)LINK_BACKOFF_MIN_US << backoff->failed;
    if (wait_us > LINK_BACKOFF_MAX_US)
        wait_us = LINK_BACKOFF_MAX_US;
    backoff->failed++;
    return wait_us - (int64_t)(random % (uint64_t)(wait_us / 2));
}

/* A bucket that may be overdrawn once: who comes next waits for it. */
struct link_bucket {
    int64_t bytes; /* below zero: owed */
    int64_t filled_us;
};

/* 0: these bytes are taken. Else how long to wait before asking again. */
static inline int64_t link_bucket_take(struct link_bucket *bucket, int64_t rate_bytes, int64_t take_bytes,
                                       int64_t now_us)
{
    int64_t passed_us = now_us - bucket->filled_us;
    int64_t most = (int64_t)((double)rate_bytes * LINK_BURST_US / 1e6);
    bucket->filled_us = now_us;
    if (passed_us > 0) {
        double more = (double)rate_bytes * (double)passed_us / 1e6;
        bucket->bytes = (double)bucket->bytes + more > (double)most ? most : bucket->bytes + (int64_t)more;
    }
    if (bucket->bytes < 0)
        return (int64_t)((double)-bucket->bytes / (double)rate_bytes * 1e6) + 1;
    bucket->bytes -= take_bytes;
    return 0;
}

#endif
