/*
 * A log's life drawn by a seed: appends, flushes, rolls, truncations, resets, snapshots,
 * deletions, clean closes, jobs out in any order; and what it may be found to be when it is
 * opened again: one of those that were asked for and not yet reported durable to be
 * another, all of it and nothing else.
 */
#ifndef KQ_TESTS_SUPPORT_LOG_LIFE_H
#define KQ_TESTS_SUPPORT_LOG_LIFE_H

#include "support/io_mem.h"
#include "support/log_rig.h"

enum { LIFE_IDX_MAX = 600, LIFE_VERSIONS_MAX = 24, LIFE_TEXT_BYTES = 64 };

/* One log that the disk may hold. */
struct life_version {
    uint64_t base_idx; /* it begins behind this */
    uint64_t base_term;
    uint64_t appended_idx;
    uint64_t acked_idx;
    uint64_t commit_idx;
    int64_t start_off; /* entries that end before it may be deleted */
    uint64_t term_of[LIFE_IDX_MAX];
    int64_t off_of[LIFE_IDX_MAX + 1];
    bool noop_at[LIFE_IDX_MAX];
};

struct life {
    struct log_rig rig;
    struct io_mem *mem;
    struct life_version v[LIFE_VERSIONS_MAX]; /* the last one is what the owner sees */
    int count;
    uint64_t hard_asked;
    uint64_t hard_acked;
    uint64_t random;
    bool lag;
    bool faulty;
    char roll_state[LIFE_TEXT_BYTES];
    struct { /* how often, over all runs without a cut */
        uint64_t inside, border, across, far, emptied, twice, resets, waited;
    } seen;
};

/* An empty disk before a life; lag: jobs are given back later. */
void life_begin(struct life *k, struct io_mem *mem, uint64_t seed, bool lag);
/* Opens what is on the disk. False: that failed (k->rig.fault). */
bool life_open(struct life *k);
/* The life itself, until it is over or something fails. */
void life_script(struct life *k);
/* Steps of it: an entry, a job of one lane, what the log has reported. */
void life_append(struct life *k);
void life_run_lane(struct life *k, enum log_lane lane);
void life_take_news(struct life *k);
/* What was opened is one of the versions, which becomes the only one. */
bool life_check(struct life *k);
/* Appends, closes, opens, and finds the same. */
bool life_go_on(struct life *k);
/* The power goes right after more was appended and flushed, cut or not. */
bool life_dies_again(struct life *k, enum io_mem_mercy mercy, uint64_t seed);

#endif
