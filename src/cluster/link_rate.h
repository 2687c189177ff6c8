/*
 * How long to wait: before the next connect, and for tokens of the catch-up bound.
 * Step-shaped: time and randomness come as arguments.
 *
 * The bound is on how fast a gap is closed, not on how fast it is kept from growing: a
 * follower may always be sent as much as is published meanwhile (link_growth), and only
 * what is more comes out of the bucket. Else one that fell behind a publisher that is
 * faster than the bound would stay behind for as long as that one goes on, and fall
 * further back. It costs publishers nothing new: had it kept up, it would be sent the same.
 */
#ifndef KQ_CLUSTER_LINK_RATE_H
#define KQ_CLUSTER_LINK_RATE_H

#include <stdint.h>

enum {
    LINK_BACKOFF_MIN_US = 10 * 1000,
    LINK_BACKOFF_MAX_US = 1000 * 1000,
    LINK_BURST_US = 100 * 1000, /* of catch-up that was not sent may be sent later at once */
    LINK_METER_US = 200 * 1000, /* how often a rate is looked at */
    LINK_METER_SHARE = 4,       /* and how much a look says of it */
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

/* A rate, from a count that only grows. */
struct link_meter {
    uint64_t count;
    int64_t looked_us; /* 0: never */
    int64_t rate_bytes;
};

/* The rate a second, smoothed over about a second. */
static inline int64_t link_meter_look(struct link_meter *meter, uint64_t count, int64_t now_us)
{
    int64_t passed_us = now_us - meter->looked_us;
    if (meter->looked_us != 0 && passed_us < LINK_METER_US)
        return meter->rate_bytes;
    if (meter->looked_us != 0) {
        int64_t rate_bytes = (int64_t)((double)(count - meter->count) * 1e6 / (double)passed_us);
        meter->rate_bytes += (rate_bytes - meter->rate_bytes) / LINK_METER_SHARE;
    }
    meter->looked_us = now_us;
    meter->count = count;
    return meter->rate_bytes;
}

/* What one follower may be sent for free, as much was published since it was sent the last. */
struct link_growth {
    int64_t bytes;
    int64_t filled_us;
};

/* As link_bucket_take(), of the bucket only what growth does not give. */
static inline int64_t link_growth_take(struct link_growth *growth, int64_t published_bytes, struct link_bucket *bucket,
                                       int64_t rate_bytes, int64_t take_bytes, int64_t now_us)
{
    int64_t passed_us = now_us - growth->filled_us < LINK_BURST_US ? now_us - growth->filled_us : LINK_BURST_US;
    int64_t most = (int64_t)((double)published_bytes * LINK_BURST_US / 1e6);
    growth->filled_us = now_us;
    growth->bytes += (int64_t)((double)published_bytes * (double)passed_us / 1e6);
    if (growth->bytes > most)
        growth->bytes = most;
    if (growth->bytes >= take_bytes) {
        growth->bytes -= take_bytes;
        return 0;
    }
    int64_t wait_us = link_bucket_take(bucket, rate_bytes, take_bytes - growth->bytes, now_us);
    if (wait_us == 0) {
        growth->bytes = 0;
        return 0;
    }
    int64_t lacking_us = LINK_BURST_US; /* until growth alone gives it */
    if (published_bytes > 0 && take_bytes <= most)
        lacking_us = (int64_t)((double)(take_bytes - growth->bytes) / (double)published_bytes * 1e6) + 1;
    return wait_us < lacking_us ? wait_us : lacking_us;
}

#endif
