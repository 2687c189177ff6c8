#include "partition/timer.h"

#include "base/clock.h"
#include "base/require.h"
#include "base/threads.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>

struct timer {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct engine_deadline **heap; /* from 1; the earliest first; deadline->place is its index */
    uint32_t count;
    uint32_t cap;
    bool stopping;
    pthread_cond_t fired;
    struct engine_deadline *firing;
    int64_t sleeping_until_us; /* what the thread waits for now */
    _Atomic uint64_t *handoffs;
    pthread_t thread;
};

static void put(struct timer *timer, uint32_t place, struct engine_deadline *deadline)
{
    timer->heap[place] = deadline;
    deadline->place = place;
}

static void sift_up(struct timer *timer, uint32_t place, struct engine_deadline *deadline)
{
    while (place > 1 && timer->heap[place / 2]->due_us > deadline->due_us) {
        put(timer, place, timer->heap[place / 2]);
        place /= 2;
    }
    put(timer, place, deadline);
}

static void sift_down(struct timer *timer, uint32_t place, struct engine_deadline *deadline)
{
    for (;;) {
        uint32_t child = place * 2;
        if (child > timer->count)
            break;
        if (child < timer->count && timer->heap[child + 1]->due_us < timer->heap[child]->due_us)
            child++;
        if (timer->heap[child]->due_us >= deadline->due_us)
            break;
        put(timer, place, timer->heap[child]);
        place = child;
    }
    put(timer, place, deadline);
}

static void heap_remove(struct timer *timer, struct engine_deadline *deadline)
{
    uint32_t place = deadline->place;
    struct engine_deadline *last = timer->heap[timer->count--];
    deadline->place = 0;
    if (last == deadline)
        return;
    if (place > 1 && timer->heap[place / 2]->due_us > last->due_us)
        sift_up(timer, place, last);
    else
        sift_down(timer, place, last);
}

static void heap_add(struct timer *timer, struct engine_deadline *deadline)
{
    if (timer->count + 1 >= timer->cap) {
        uint32_t cap = timer->cap == 0 ? 64 : timer->cap * 2;
        struct engine_deadline **heap = realloc(timer->heap, cap * sizeof(struct engine_deadline *));
        REQUIRE(heap != NULL); /* 8 bytes a partition; without timers nothing can be promised */
        timer->heap = heap;
        timer->cap = cap;
    }
    sift_up(timer, ++timer->count, deadline);
}

void timer_set(struct timer *timer, struct engine_deadline *deadline, int64_t due_us)
{
    (void)pthread_mutex_lock(&timer->lock);
    if (deadline->place != 0)
        heap_remove(timer, deadline);
    bool wake = false;
    if (due_us != CLOCK_NEVER) {
        deadline->due_us = due_us;
        heap_add(timer, deadline);
        wake = due_us < timer->sleeping_until_us;
        if (wake)
            timer->sleeping_until_us = due_us;
    }
    (void)pthread_mutex_unlock(&timer->lock);
    if (wake) {
        (void)atomic_fetch_add_explicit(timer->handoffs, 1, memory_order_relaxed);
        (void)pthread_cond_signal(&timer->wake);
    }
}

void timer_cancel(struct timer *timer, struct engine_deadline *deadline)
{
    (void)pthread_mutex_lock(&timer->lock);
    bool fires_here = pthread_equal(pthread_self(), timer->thread) != 0;
    while (timer->firing == deadline && !fires_here)
        (void)pthread_cond_wait(&timer->fired, &timer->lock);
    if (deadline->place != 0)
        heap_remove(timer, deadline);
    (void)pthread_mutex_unlock(&timer->lock);
}

static void sleep_until(struct timer *timer, int64_t due_us)
{
    timer->sleeping_until_us = due_us;
    if (due_us == CLOCK_NEVER) {
        (void)pthread_cond_wait(&timer->wake, &timer->lock);
    } else {
        struct timespec until = {.tv_sec = due_us / 1000000, .tv_nsec = due_us % 1000000 * 1000};
        (void)pthread_cond_timedwait(&timer->wake, &timer->lock, &until);
    }
    timer->sleeping_until_us = INT64_MIN; /* awake: nobody needs to signal */
}

static void *timer_thread(void *argument)
{
    struct timer *timer = argument;
    (void)pthread_mutex_lock(&timer->lock);
    while (!timer->stopping) {
        struct engine_deadline *first = timer->count > 0 ? timer->heap[1] : NULL;
        if (first == NULL || first->due_us > clock_mono_us()) {
            sleep_until(timer, first == NULL ? CLOCK_NEVER : first->due_us);
            continue;
        }
        heap_remove(timer, first);
        timer->firing = first;
        (void)pthread_mutex_unlock(&timer->lock);
        first->fire(first);
        (void)pthread_mutex_lock(&timer->lock);
        timer->firing = NULL;
        (void)pthread_cond_broadcast(&timer->fired);
    }
    (void)pthread_mutex_unlock(&timer->lock);
    return NULL;
}

enum kq_err timer_start(struct timer **timer, size_t stack_bytes, _Atomic uint64_t *handoffs, struct fault *fault)
{
    struct timer *t = calloc(1, sizeof *t);
    if (t == NULL)
        return fault_set(fault, KQ_NO_MEMORY, "no memory for the timer");
    t->handoffs = handoffs;
    t->sleeping_until_us = INT64_MIN;
    (void)pthread_mutex_init(&t->lock, NULL);
    pthread_condattr_t attributes;
    (void)pthread_condattr_init(&attributes);
    (void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&t->wake, &attributes);
    (void)pthread_cond_init(&t->fired, NULL);
    (void)pthread_condattr_destroy(&attributes);
    enum kq_err err = thread_start(&t->thread, "timer", stack_bytes, timer_thread, t, fault);
    if (err != KQ_OK) {
        free(t);
        return err;
    }
    *timer = t;
    return KQ_OK;
}

void timer_stop(struct timer **timer)
{
    struct timer *t = *timer;
    if (t == NULL)
        return;
    (void)pthread_mutex_lock(&t->lock);
    t->stopping = true;
    (void)pthread_cond_signal(&t->wake);
    (void)pthread_mutex_unlock(&t->lock);
    (void)pthread_join(t->thread, NULL);
    (void)pthread_cond_destroy(&t->wake);
    (void)pthread_cond_destroy(&t->fired);
    (void)pthread_mutex_destroy(&t->lock);
    free(t->heap);
    free(t);
    *timer = NULL;
}
