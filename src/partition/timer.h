/*
 * The timer's thread: a heap of deadlines, and one sleep until the earliest.
 * It posts only what is due; with no deadline it sleeps for ever.
 *
 * Locking: the timer's own mutex; `fire` runs outside it.
 */
#ifndef KQ_PARTITION_TIMER_H
#define KQ_PARTITION_TIMER_H

#include "base/err.h"
#include "partition/engine.h"

struct timer;

enum kq_err timer_start(struct timer **timer, size_t stack_bytes, _Atomic uint64_t *handoffs, struct fault *fault);
void timer_stop(struct timer **timer);
/* Any thread; see engine_set_deadline. */
void timer_set(struct timer *timer, struct engine_deadline *deadline, int64_t due_us);
/* Any thread; see engine_cancel_deadline. Takes it back and waits for a fire under way, so
 * that the deadline's memory may go. */
void timer_cancel(struct timer *timer, struct engine_deadline *deadline);

#endif
