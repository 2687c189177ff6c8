/*
 * Locking: one mutex for the queue, the stack of idle workers and the counts,
 * held for a few instructions; nothing else is locked inside it. A worker's slot
 * lives as long as the pool, so that signalling one that has left meanwhile does
 * no harm, and its condition may be signalled after the lock was let go.
 *
 * running counts the workers that neither wait for a job nor said that they
 * block. A post wakes an idle worker only while running < running_max; above
 * that the running ones take the job when they are done with theirs. Whoever
 * begins to block wakes another if jobs wait. Since no running worker waits for
 * anything but its own CPU time, every job is reached.
 */
#include "server/pool.h"

#include "base/logger.h"
#include "base/require.h"
#include "base/threads.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { POOL_TAG = 0x706f6f6c };

enum slot_state { SLOT_FREE, SLOT_ALIVE, SLOT_LEFT /* to be joined */ };

struct slot {
    struct worker worker;
    pthread_t thread;
    pthread_cond_t wake;
    enum slot_state state;
    bool woken;         /* taken off the idle stack by whoever woke it */
    struct slot *below; /* on the idle stack */
};

struct pool {
    uint32_t tag;
    pthread_mutex_t lock;
    pthread_cond_t all_left;
    struct pool_options options;
    struct pool_job *first;
    struct pool_job **last;
    _Atomic size_t queued;
    struct slot *idle; /* most recently idle first: its caches are warm */
    unsigned idle_count;
    unsigned alive;
    unsigned running;
    unsigned lingering;
    unsigned lingering_max;
    bool stopping;
    struct slot *slots; /* options.max of them */
};

static void *worker_main(void *argument);

/* Lock held. */
static struct slot *idle_pop(struct pool *pool)
{
    struct slot *slot = pool->idle;
    if (slot == NULL)
        return NULL;
    pool->idle = slot->below;
    pool->idle_count--;
    pool->running++;
    slot->woken = true;
    return slot;
}

/* Lock held. Whom to signal, or NULL. */
static struct slot *pool_waker(struct pool *pool)
{
    if (pool->first == NULL || pool->running >= pool->options.running_max)
        return NULL;
    return idle_pop(pool);
}

static void slot_signal(struct pool *pool, struct slot *slot)
{
    if (slot == NULL)
        return;
    (void)pthread_cond_signal(&slot->wake);
    if (pool->options.handoffs != NULL)
        atomic_fetch_add_explicit(pool->options.handoffs, 1, memory_order_relaxed);
}

void pool_post(struct pool *pool, struct pool_job *job)
{
    TAG_CHECK(pool, POOL_TAG);
    job->next = NULL;
    (void)pthread_mutex_lock(&pool->lock);
    *pool->last = job;
    pool->last = &job->next;
    atomic_fetch_add_explicit(&pool->queued, 1, memory_order_relaxed);
    struct slot *slot = pool_waker(pool);
    (void)pthread_mutex_unlock(&pool->lock);
    slot_signal(pool, slot);
}

bool pool_pressed(const struct pool *pool)
{
    return atomic_load_explicit(&pool->queued, memory_order_relaxed) != 0;
}

bool pool_linger_begin(struct pool *pool)
{
    if (pool_pressed(pool))
        return false;
    (void)pthread_mutex_lock(&pool->lock);
    bool may = pool->first == NULL && pool->idle_count > 0 && pool->lingering < pool->lingering_max && !pool->stopping;
    if (may) {
        pool->lingering++;
        pool->running--;
    }
    (void)pthread_mutex_unlock(&pool->lock);
    return may;
}

void pool_linger_end(struct pool *pool)
{
    (void)pthread_mutex_lock(&pool->lock);
    pool->lingering--;
    pool->running++;
    (void)pthread_mutex_unlock(&pool->lock);
}

void pool_block_begin(struct pool *pool)
{
    (void)pthread_mutex_lock(&pool->lock);
    pool->running--;
    struct slot *slot = pool_waker(pool);
    (void)pthread_mutex_unlock(&pool->lock);
    slot_signal(pool, slot);
}

void pool_block_end(struct pool *pool)
{
    (void)pthread_mutex_lock(&pool->lock);
    pool->running++;
    (void)pthread_mutex_unlock(&pool->lock);
}

unsigned pool_workers(struct pool *pool)
{
    (void)pthread_mutex_lock(&pool->lock);
    unsigned alive = pool->alive;
    (void)pthread_mutex_unlock(&pool->lock);
    return alive;
}

/* Lock held; let go while the thread is made. False: it could not be started. */
static bool pool_spawn(struct pool *pool)
{
    struct slot *slot = NULL;
    for (unsigned i = 0; i < pool->options.max && slot == NULL; i++)
        if (pool->slots[i].state != SLOT_ALIVE)
            slot = &pool->slots[i];
    REQUIRE(slot != NULL);
    bool join = slot->state == SLOT_LEFT;
    pthread_t old = slot->thread;
    slot->state = SLOT_ALIVE;
    slot->woken = true;
    pool->alive++;
    pool->running++;
    (void)pthread_mutex_unlock(&pool->lock);
    if (join)
        (void)pthread_join(old, NULL);
    struct fault fault;
    enum kq_err err = thread_start(&slot->thread, "worker", pool->options.stack_bytes, worker_main, slot, &fault);
    (void)pthread_mutex_lock(&pool->lock);
    if (err == KQ_OK)
        return true;
    SAY_WARNING("%s; %u workers go on", fault_text(&fault), pool->alive - 1);
    slot->state = SLOT_FREE;
    pool->alive--;
    pool->running--;
    return false;
}

static void worker_trim(struct worker *worker)
{
    free(worker->buffer);
    worker->buffer = NULL;
    if (worker->kept != NULL)
        worker->kept_free(worker->kept);
    worker->kept = NULL;
}

/* Lock held. Waits until somebody wakes the worker. False: it was idle for long
 * and leaves. */
static bool worker_idle(struct pool *pool, struct slot *slot)
{
    slot->woken = false;
    slot->below = pool->idle;
    pool->idle = slot;
    pool->idle_count++;
    pool->running--;
    struct timespec until;
    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    int64_t due_ns = until.tv_nsec + pool->options.idle_us % 1000000 * 1000;
    until.tv_sec += (time_t)(pool->options.idle_us / 1000000 + due_ns / 1000000000);
    until.tv_nsec = (long)(due_ns % 1000000000);
    bool trimmed = false;
    while (!slot->woken) {
        int waited = trimmed ? pthread_cond_wait(&slot->wake, &pool->lock)
                             : pthread_cond_timedwait(&slot->wake, &pool->lock, &until);
        if (waited != ETIMEDOUT || slot->woken)
            continue;
        trimmed = true;
        worker_trim(&slot->worker);
        if (pool->alive <= pool->options.min)
            continue;
        struct slot **at = &pool->idle;
        while (*at != slot)
            at = &(*at)->below;
        *at = slot->below;
        pool->idle_count--;
        return false;
    }
    return true;
}

static struct pool_job *pool_take(struct pool *pool)
{
    struct pool_job *job = pool->first;
    if (job == NULL)
        return NULL;
    pool->first = job->next;
    if (pool->first == NULL)
        pool->last = &pool->first;
    atomic_fetch_sub_explicit(&pool->queued, 1, memory_order_relaxed);
    return job;
}

static void *worker_main(void *argument)
{
    struct slot *slot = argument;
    struct pool *pool = slot->worker.pool;
    bool counted = true; /* in pool->running */
    (void)pthread_mutex_lock(&pool->lock);
    for (;;) {
        struct pool_job *job = pool_take(pool);
        if (job == NULL && pool->stopping)
            break;
        if (job == NULL) {
            counted = worker_idle(pool, slot);
            if (!counted)
                break;
            continue;
        }
        if (pool->idle_count == 0 && pool->alive < pool->options.max && !pool->stopping)
            (void)pool_spawn(pool);
        (void)pthread_mutex_unlock(&pool->lock);
        if (slot->worker.buffer == NULL)
            slot->worker.buffer = malloc(WORKER_BUFFER_BYTES);
        job->run(job, &slot->worker);
        (void)pthread_mutex_lock(&pool->lock);
    }
    if (counted)
        pool->running--;
    worker_trim(&slot->worker);
    slot->state = SLOT_LEFT;
    pool->alive--;
    if (pool->alive == 0)
        (void)pthread_cond_signal(&pool->all_left);
    (void)pthread_mutex_unlock(&pool->lock);
    return NULL;
}

static void pool_init(struct pool *pool, const struct pool_options *options)
{
    pool->tag = POOL_TAG;
    pool->options = *options;
    pool->last = &pool->first;
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    pool->lingering_max = cores < 2 ? 1 : (unsigned)cores;
    if (pool->options.running_max == 0)
        pool->options.running_max = cores < 2 ? 2 : (unsigned)cores;
    (void)pthread_mutex_init(&pool->lock, NULL);
    (void)pthread_cond_init(&pool->all_left, NULL);
    pthread_condattr_t attributes;
    (void)pthread_condattr_init(&attributes);
    (void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    for (unsigned i = 0; i < options->max; i++) {
        pool->slots[i].worker.pool = pool;
        (void)pthread_cond_init(&pool->slots[i].wake, &attributes);
    }
    (void)pthread_condattr_destroy(&attributes);
}

enum kq_err pool_start(struct pool **out, const struct pool_options *options, struct fault *fault)
{
    REQUIRE(options->min >= 1);
    REQUIRE(options->min <= options->max);
    struct pool *pool = calloc(1, sizeof(*pool));
    struct slot *slots = calloc(options->max, sizeof(*slots));
    if (pool == NULL || slots == NULL) {
        free(pool);
        free(slots);
        return fault_set(fault, KQ_NO_MEMORY, "no memory for %u workers", options->max);
    }
    pool->slots = slots;
    pool_init(pool, options);
    *out = pool;
    bool started = true;
    (void)pthread_mutex_lock(&pool->lock);
    for (unsigned i = 0; i < options->min && started; i++)
        started = pool_spawn(pool);
    (void)pthread_mutex_unlock(&pool->lock);
    if (started)
        return KQ_OK;
    pool_stop(out);
    return fault_set(fault, KQ_LIMIT, "worker threads could not be started (TasksMax, ulimit -u)");
}

void pool_stop(struct pool **out)
{
    struct pool *pool = *out;
    if (pool == NULL)
        return;
    TAG_CHECK(pool, POOL_TAG);
    (void)pthread_mutex_lock(&pool->lock);
    pool->stopping = true;
    for (struct slot *slot = idle_pop(pool); slot != NULL; slot = idle_pop(pool))
        (void)pthread_cond_signal(&slot->wake);
    while (pool->alive > 0)
        (void)pthread_cond_wait(&pool->all_left, &pool->lock);
    REQUIRE(pool->first == NULL);
    (void)pthread_mutex_unlock(&pool->lock);
    for (unsigned i = 0; i < pool->options.max; i++) {
        if (pool->slots[i].state == SLOT_LEFT)
            (void)pthread_join(pool->slots[i].thread, NULL);
        (void)pthread_cond_destroy(&pool->slots[i].wake);
    }
    (void)pthread_cond_destroy(&pool->all_left);
    (void)pthread_mutex_destroy(&pool->lock);
    free(pool->slots);
    pool->tag = TAG_DEAD;
    free(pool);
    *out = NULL;
}
