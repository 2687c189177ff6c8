/* Counts of durations in buckets whose width is at most 1/32 of their value: what
 * percentiles need, in a fixed few kilobytes however many are counted. */
#ifndef KQ_CLIENT_HISTOGRAM_H
#define KQ_CLIENT_HISTOGRAM_H

#include <stdint.h>

enum { HISTOGRAM_BUCKETS = 64 * 32 };

struct histogram {
    uint64_t counts[HISTOGRAM_BUCKETS];
    uint64_t total;
    uint64_t most;
};

static inline unsigned histogram_bucket(uint64_t value)
{
    if (value < 64)
        return (unsigned)value;
    unsigned shift = 63U - (unsigned)__builtin_clzll(value) - 5U; /* keeps six bits */
    return shift * 32U + (unsigned)(value >> shift);
}

/* The greatest value that falls into the bucket. */
static inline uint64_t histogram_upper(unsigned bucket)
{
    if (bucket < 64)
        return bucket;
    unsigned shift = bucket / 32U - 1U;
    return ((uint64_t)(bucket % 32U + 33U) << shift) - 1U;
}

static inline void histogram_add(struct histogram *h, uint64_t value)
{
    h->counts[histogram_bucket(value)]++;
    h->total++;
    if (value > h->most)
        h->most = value;
}

/* The smallest value (to the bucket's width) that `fraction` of all do not exceed. */
static inline uint64_t histogram_percentile(const struct histogram *h, double fraction)
{
    uint64_t rank = (uint64_t)(fraction * (double)h->total + 0.5);
    uint64_t seen = 0;
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        seen += h->counts[i];
        if (seen >= rank && seen > 0)
            return histogram_upper(i) < h->most ? histogram_upper(i) : h->most;
    }
    return h->most;
}

#endif
