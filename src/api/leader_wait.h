/*
 * Who waits for a partition to have a leader: told when one is known, and by the
 * timer at the latest when its own time has come.
 *
 * Locking: a mutex of its own, held for a few instructions; may be taken inside any
 * lock of whoever waits. `fire` runs outside of it, on the timer's thread.
 */
#ifndef KQ_API_LEADER_WAIT_H
#define KQ_API_LEADER_WAIT_H

#include "base/uuid.h"
#include "partition/engine.h"

#include <pthread.h>

struct leader_wait {
    void (*fire)(struct leader_wait *wait); /* once; must not block */
    struct uuid topic_id;
    uint32_t partition;
    int64_t due_us; /* CLOCK_MONOTONIC */
    /* leader_waits' */
    struct leader_wait *next, *prev;
    bool listed;
};

struct leader_waits {
    struct engine *engine;
    struct engine_deadline deadline;
    pthread_mutex_t lock;
    struct leader_wait *first;
    int64_t armed_us;
    bool stopped;
};

void leader_waits_init(struct leader_waits *waits, struct engine *engine);
/* Main thread. Fires all that wait; afterwards nobody can wait. */
void leader_waits_stop(struct leader_waits *waits);
void leader_waits_fini(struct leader_waits *waits);

/* Any thread. False: stopped, fire will not run. */
bool leader_wait_begin(struct leader_waits *waits, struct leader_wait *wait, int64_t due_us);
/* Any thread. True: taken back. False: fire runs, or has run. */
bool leader_wait_cancel(struct leader_waits *waits, struct leader_wait *wait);
/* Any thread; never calls out. */
void leader_waits_changed(struct leader_waits *waits, const struct uuid *topic_id, uint32_t partition);

#endif
