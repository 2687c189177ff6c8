/*
 * Chance, seeded: xorshift over splitmix. Each concern of the simulator (scheduler,
 * disk, network, clients, faults) draws from a stream of its own, so that a change
 * in one does not shift all others.
 */
#ifndef KQ_TESTS_SIM_CHANCE_H
#define KQ_TESTS_SIM_CHANCE_H

#include <stdbool.h>
#include <stdint.h>

struct chance {
    uint64_t state;
};

static inline uint64_t chance_roll(struct chance *c)
{
    c->state += UINT64_C(0x9e3779b97f4a7c15); /* splitmix64 */
    uint64_t z = c->state;
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static inline struct chance chance_of(uint64_t seed, uint64_t concern)
{
    struct chance c = {seed * UINT64_C(0x2545f4914f6cdd1d) ^ concern << 40};
    (void)chance_roll(&c);
    return c;
}

/* 0 .. below-1; 0 for below 0. */
static inline uint64_t chance_below(struct chance *c, uint64_t below)
{
    return below == 0 ? 0 : chance_roll(c) % below;
}

/* from .. to, both ends included; from, if to is less. */
static inline int64_t chance_between(struct chance *c, int64_t from, int64_t to)
{
    return to <= from ? from : from + (int64_t)chance_below(c, (uint64_t)(to - from) + 1);
}

/* True once in `in` times; never for 0. */
static inline bool chance_once_in(struct chance *c, uint64_t in)
{
    return in > 0 && chance_roll(c) % in == 0;
}

/* from .. to, spread over magnitudes: small values are as likely as large ones. */
static inline int64_t chance_magnitude(struct chance *c, int64_t from, int64_t to)
{
    unsigned doublings = 0;
    while (from + 1 <= to >> (doublings + 1))
        doublings++;
    int64_t top = (from + 1) << chance_below(c, doublings + 2);
    return chance_between(c, from, top < to ? top : to);
}

#endif
