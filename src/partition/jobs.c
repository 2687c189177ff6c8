#include "partition/jobs.h"

#include "base/require.h"
#include "base/threads.h"

#include <pthread.h>
#include <stdlib.h>

struct rank_list {
    struct job *first;
    struct job **last;
};

/* A thread of the queue. */
struct hand {
    struct job_queue *queue;
    pthread_t thread;
    pthread_cond_t wake;
    bool woken;
    struct hand *below; /* of those that wait */
};

struct job_queue {
    pthread_mutex_t lock;
    struct rank_list ranks[JOB_RANK_COUNT];
    struct hand *waiting; /* who came last is woken first: what it used is in the caches yet */
    bool stopping;
    _Atomic uint64_t *handoffs;
    uint32_t thread_count;
    struct hand hands[];
};

/* Which queue the running thread serves: lets a job spare a wake-up, decides
 * nothing else. */
static _Thread_local struct job_queue *own_queue;

static void list_append(struct rank_list *list, struct job *job)
{
    job->next = NULL;
    *list->last = job;
    list->last = &job->next;
}

static struct job *list_take(struct rank_list *list)
{
    struct job *job = list->first;
    if (job == NULL)
        return NULL;
    list->first = job->next;
    if (list->first == NULL)
        list->last = &list->first;
    job->next = NULL;
    return job;
}

static struct job *take_next(struct job_queue *queue)
{
    struct job *job = list_take(&queue->ranks[JOB_URGENT]);
    return job != NULL ? job : list_take(&queue->ranks[JOB_BACKGROUND]);
}

static void *queue_thread(void *argument)
{
    struct hand *hand = argument;
    struct job_queue *queue = hand->queue;
    own_queue = queue;
    (void)pthread_mutex_lock(&queue->lock);
    for (;;) {
        struct job *job = take_next(queue);
        if (job != NULL) {
            (void)pthread_mutex_unlock(&queue->lock);
            job->run(job);
            (void)pthread_mutex_lock(&queue->lock);
            continue;
        }
        if (queue->stopping)
            break;
        hand->woken = false;
        hand->below = queue->waiting;
        queue->waiting = hand;
        while (!hand->woken)
            (void)pthread_cond_wait(&hand->wake, &queue->lock);
    }
    (void)pthread_mutex_unlock(&queue->lock);
    return NULL;
}

/* With the lock held: the waiting thread that is to be signalled after unlocking, or NULL.
 * A thread that is awake looks at the queue again before it waits. */
static struct hand *claim_waiting(struct job_queue *queue)
{
    struct hand *hand = queue->waiting;
    if (hand == NULL)
        return NULL;
    queue->waiting = hand->below;
    hand->woken = true;
    return hand;
}

void job_queue_post(struct job_queue *queue, struct job *job, enum job_rank rank)
{
    (void)pthread_mutex_lock(&queue->lock);
    list_append(&queue->ranks[rank], job);
    struct hand *hand = claim_waiting(queue);
    (void)pthread_mutex_unlock(&queue->lock);
    if (hand != NULL) {
        (void)atomic_fetch_add_explicit(queue->handoffs, 1, memory_order_relaxed);
        (void)pthread_cond_signal(&hand->wake);
    }
}

bool job_queue_try_post_own(struct job_queue *queue, struct job *job)
{
    if (own_queue != queue)
        return false;
    (void)pthread_mutex_lock(&queue->lock);
    bool alone = queue->ranks[JOB_URGENT].first == NULL;
    if (alone)
        list_append(&queue->ranks[JOB_URGENT], job);
    (void)pthread_mutex_unlock(&queue->lock);
    return alone;
}

enum kq_err job_queue_start(struct job_queue **queue, const char *name, uint32_t thread_count, size_t stack_bytes,
                            _Atomic uint64_t *handoffs, struct fault *fault)
{
    REQUIRE(thread_count > 0);
    struct job_queue *q = calloc(1, sizeof *q + thread_count * sizeof q->hands[0]);
    if (q == NULL)
        return fault_set(fault, KQ_NO_MEMORY, "no memory for the %s threads", name);
    (void)pthread_mutex_init(&q->lock, NULL);
    for (int rank = 0; rank < JOB_RANK_COUNT; rank++)
        q->ranks[rank].last = &q->ranks[rank].first;
    q->handoffs = handoffs;
    *queue = q;
    for (; q->thread_count < thread_count; q->thread_count++) {
        struct hand *hand = &q->hands[q->thread_count];
        hand->queue = q;
        (void)pthread_cond_init(&hand->wake, NULL);
        enum kq_err err = thread_start(&hand->thread, name, stack_bytes, queue_thread, hand, fault);
        if (err != KQ_OK) {
            (void)pthread_cond_destroy(&hand->wake);
            job_queue_stop(queue);
            return err;
        }
    }
    return KQ_OK;
}

void job_queue_stop(struct job_queue **queue)
{
    struct job_queue *q = *queue;
    if (q == NULL)
        return;
    REQUIRE(own_queue != q);
    (void)pthread_mutex_lock(&q->lock);
    q->stopping = true;
    for (struct hand *hand = claim_waiting(q); hand != NULL; hand = claim_waiting(q))
        (void)pthread_cond_signal(&hand->wake);
    (void)pthread_mutex_unlock(&q->lock);
    for (uint32_t i = 0; i < q->thread_count; i++) {
        (void)pthread_join(q->hands[i].thread, NULL);
        (void)pthread_cond_destroy(&q->hands[i].wake);
    }
    (void)pthread_mutex_destroy(&q->lock);
    free(q);
    *queue = NULL;
}
