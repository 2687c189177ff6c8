/*
 * What kind of world a seed has, beside faults and timing: how the brokers are
 * configured. Drawn once, before anything runs, from a stream of its own, so that a
 * kind more changes nothing else of a seed.
 */
#ifndef KQ_TESTS_SIM_VARIANT_H
#define KQ_TESTS_SIM_VARIANT_H

#include <stdbool.h>
#include <stdint.h>

struct variant {
    int64_t retention_bytes; /* -1: segments are never deleted for their size */
    int64_t retention_ms;    /* -1: nor for their age */
    bool flush_interval;     /* acknowledged when a majority has it in memory */
    bool power_of_many;      /* with it: the power may fail for more than one before all is flushed again */
    bool small_machines;     /* metadata and groups store their state, and begin segments, after some KiB */
};

struct actor_options;

/* Once, before the brokers are made. */
void variant_draw(uint64_t seed, bool flush_interval, bool alone);
/* In its place, for a story that is about one kind. */
void variant_deletes(uint64_t seed);
void variant_flushes_late(void);
/* Beside either. What 4 MiB of log would bring, a run would never see. */
void variant_draw_machines(uint64_t seed);
/* An actor that is opened has the sizes of this world. */
void variant_size(struct actor_options *options);
const struct variant *variant(void);
/* The log start moves in this world: what lies below it is gone in order. */
bool variant_forgets(void);

#endif
