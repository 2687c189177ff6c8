/*
 * The worker pool: a queue of jobs and an elastic set of threads that run them.
 *
 * About one worker a core runs at a time; what is posted meanwhile waits in the
 * queue and is taken without another wake-up. A worker that is about to block (it
 * lingers on a socket, or reads a file that may not be in memory) says so, and
 * another may run in its place. One worker is kept idle while there may be more,
 * so that nobody who posts has to start a thread.
 */
#ifndef KQ_SERVER_POOL_H
#define KQ_SERVER_POOL_H

#include "base/err.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pool;

enum { WORKER_BUFFER_BYTES = 256 * 1024 };

/* What a worker lends to the job it runs. */
struct worker {
    struct pool *pool;
    uint8_t *buffer; /* WORKER_BUFFER_BYTES; contents are the job's only while it runs; NULL: out of memory */
    /* What jobs keep from one to the next, made by the first that wants it; given
     * back when the worker is idle for long. */
    void *kept;
    void (*kept_free)(void *kept);
};

/* Embedded in what is to be served; the poster keeps it alive until it has run. */
struct pool_job {
    struct pool_job *next;
    void (*run)(struct pool_job *job, struct worker *worker);
};

struct pool_options {
    unsigned min;
    unsigned max;
    unsigned running_max; /* at a time; 0: one a core, at least two */
    size_t stack_bytes;
    int64_t idle_us;            /* idle for this long: buffers are freed, workers above min leave */
    _Atomic uint64_t *handoffs; /* wake-ups are counted here; may be NULL */
};

/* The main thread. Returns when the first min workers run. */
enum kq_err pool_start(struct pool **pool, const struct pool_options *options, struct fault *fault);
/* The main thread. Runs what is queued, joins all workers. *pool becomes NULL. */
void pool_stop(struct pool **pool);

/* Any thread; never blocks for long, never refuses. */
void pool_post(struct pool *pool, struct pool_job *job);
/* Any thread. Jobs wait in the queue. */
bool pool_pressed(const struct pool *pool);

/* A worker. True: it may block on its connection for a moment, because another
 * worker is idle and nothing is queued; pool_linger_end must follow. */
bool pool_linger_begin(struct pool *pool);
void pool_linger_end(struct pool *pool);
/* A worker, around what may block on a disk. */
void pool_block_begin(struct pool *pool);
void pool_block_end(struct pool *pool);

/* Any thread; for INFO and tests. */
unsigned pool_workers(struct pool *pool);

#endif
