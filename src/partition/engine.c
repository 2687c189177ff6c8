/* The order of start and stop: flushers, deputies, keeper, timer, readers; stopped the other way
 * round, so that nothing is posted to a queue that has gone. */
#include "partition/engine.h"

#include "base/require.h"
#include "base/threads.h"
#include "partition/timer.h"

#include <stdlib.h>
#include <string.h>

enum { ENGINE_TAG = 0x656e6769, READERS = 2, DEPUTIES = 4 };

struct engine {
    uint32_t tag;
    struct engine_options options;
    char *data_dir;
    struct engine_counters counters;
    struct account prepare_budget;
    struct job_queue *flushers;
    struct job_queue *deputies;
    struct job_queue *keeper;
    struct timer *timer;
    struct job patience; /* the keeper's first */
    struct job_queue *readers;
    _Atomic bool lent;              /* a worker runs a turn */
    _Atomic uint32_t deputies_free; /* threads that nobody has booked */
};

bool engine_lent_begin(struct engine *engine)
{
    return !atomic_load_explicit(&engine->lent, memory_order_relaxed) &&
           !atomic_exchange_explicit(&engine->lent, true, memory_order_relaxed);
}

void engine_lent_end(struct engine *engine)
{
    atomic_store_explicit(&engine->lent, false, memory_order_relaxed);
}

bool engine_deputy_book(struct engine *engine)
{
    uint32_t unbooked = atomic_load_explicit(&engine->deputies_free, memory_order_relaxed);
    while (unbooked > 0)
        if (atomic_compare_exchange_weak_explicit(&engine->deputies_free, &unbooked, unbooked - 1, memory_order_relaxed,
                                                  memory_order_relaxed))
            return true;
    return false;
}

void engine_deputy_free(struct engine *engine)
{
    (void)atomic_fetch_add_explicit(&engine->deputies_free, 1, memory_order_relaxed);
}

/* What the keeper does nobody waits for. */
static void run_patience(struct job *job)
{
    (void)job;
    thread_be_patient();
}

enum kq_err engine_start(struct engine **engine, const struct engine_options *options, struct fault *fault)
{
    struct engine *e = calloc(1, sizeof *e);
    if (e == NULL || (e->data_dir = strdup(options->data_dir)) == NULL) {
        free(e);
        return fault_set(fault, KQ_NO_MEMORY, "no memory to start");
    }
    e->tag = ENGINE_TAG;
    e->options = *options;
    e->options.data_dir = e->data_dir;
    atomic_init(&e->deputies_free, DEPUTIES);
    account_init(&e->prepare_budget, options->prepare_budget_bytes);
    _Atomic uint64_t *handoffs = &e->counters.handoffs;
    *engine = e;
    enum kq_err err =
        job_queue_start(&e->flushers, "flusher", options->flusher_count, options->stack_bytes, handoffs, fault);
    if (err == KQ_OK)
        err = job_queue_start(&e->deputies, "deputy", DEPUTIES, options->stack_bytes, handoffs, fault);
    if (err == KQ_OK)
        err = job_queue_start(&e->keeper, "keeper", 1, options->stack_bytes, handoffs, fault);
    if (err == KQ_OK) {
        e->patience.run = run_patience;
        job_queue_post(e->keeper, &e->patience, JOB_URGENT);
    }
    if (err == KQ_OK)
        err = timer_start(&e->timer, options->stack_bytes, handoffs, fault);
    if (err == KQ_OK)
        err = job_queue_start(&e->readers, "reader", READERS, options->stack_bytes, handoffs, fault);
    if (err != KQ_OK)
        engine_stop(engine);
    return err;
}

void engine_stop(struct engine **engine)
{
    struct engine *e = *engine;
    if (e == NULL)
        return;
    TAG_CHECK(e, ENGINE_TAG);
    job_queue_stop(&e->readers);
    timer_stop(&e->timer);
    job_queue_stop(&e->keeper);
    job_queue_stop(&e->deputies);
    job_queue_stop(&e->flushers);
    e->tag = TAG_DEAD;
    free(e->data_dir);
    free(e);
    *engine = NULL;
}

struct engine_counters *engine_counters(struct engine *engine)
{
    return &engine->counters;
}

struct io *engine_io(struct engine *engine)
{
    return engine->options.io;
}

const struct engine_options *engine_options(const struct engine *engine)
{
    return &engine->options;
}

struct account *engine_prepare_budget(struct engine *engine)
{
    return &engine->prepare_budget;
}

void engine_post_work(struct engine *engine, struct job *work)
{
    job_queue_post(engine->keeper, work, JOB_BACKGROUND);
}

void engine_post_read(struct engine *engine, struct job *read)
{
    job_queue_post(engine->readers, read, JOB_URGENT);
}

void engine_post_keep(struct engine *engine, struct job *job)
{
    job_queue_post(engine->keeper, job, JOB_URGENT);
}

void engine_post_deputy(struct engine *engine, struct job *job)
{
    job_queue_post(engine->deputies, job, JOB_URGENT);
}

void engine_post_flush(struct engine *engine, struct job *job, bool spare_wakeup)
{
    if (spare_wakeup && job_queue_try_post_own(engine->flushers, job))
        return;
    job_queue_post(engine->flushers, job, JOB_URGENT);
}

void engine_set_deadline(struct engine *engine, struct engine_deadline *deadline, int64_t due_us)
{
    timer_set(engine->timer, deadline, due_us);
}

void engine_cancel_deadline(struct engine *engine, struct engine_deadline *deadline)
{
    timer_cancel(engine->timer, deadline);
}
