/*
 * A queue of jobs and the threads that run them: the flushers and the keeper.
 * A job is run once, by one thread, and may post itself again.
 *
 * Locking: the queue's own mutex, held for a few instructions; jobs run outside.
 */
#ifndef KQ_PARTITION_JOBS_H
#define KQ_PARTITION_JOBS_H

#include "base/err.h"

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

struct job {
    struct job *next;
    void (*run)(struct job *job);
};

enum job_rank { JOB_URGENT, JOB_BACKGROUND, JOB_RANK_COUNT };

struct job_queue;

/* Any thread. Starts thread_count threads named name; returns once they run.
 * handoffs is bumped for each thread woken. */
enum kq_err job_queue_start(struct job_queue **queue, const char *name, uint32_t thread_count, size_t stack_bytes,
                            _Atomic uint64_t *handoffs, struct fault *fault);
/* Any thread but the queue's own. What is queued is run first; then joins. */
void job_queue_stop(struct job_queue **queue);

/* Any thread. Urgent jobs go before background ones, each rank in order. */
void job_queue_post(struct job_queue *queue, struct job *job, enum job_rank rank);

/* A thread of this queue that posts a job and will be free in a moment may spare
 * the wake-up: it takes the job itself when it returns. True if the calling
 * thread belongs to the queue and the job was queued so. */
bool job_queue_try_post_own(struct job_queue *queue, struct job *job);

#endif
