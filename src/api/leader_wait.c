#include "api/leader_wait.h"

#include "base/clock.h"
#include "base/require.h"

#include <stddef.h>

/* Lock held. */
static void unlist(struct leader_waits *waits, struct leader_wait *wait)
{
    if (wait->prev != NULL)
        wait->prev->next = wait->next;
    else
        waits->first = wait->next;
    if (wait->next != NULL)
        wait->next->prev = wait->prev;
    wait->listed = false;
}

/* Lock held. */
static void arm(struct leader_waits *waits, int64_t due_us)
{
    if (due_us >= waits->armed_us)
        return;
    waits->armed_us = due_us;
    engine_set_deadline(waits->engine, &waits->deadline, due_us);
}

/* All that are due by then, as a list of their own; the others are armed anew. */
static struct leader_wait *take_due(struct leader_waits *waits, int64_t now_us)
{
    struct leader_wait *due = NULL;
    int64_t next_us = CLOCK_NEVER;
    (void)pthread_mutex_lock(&waits->lock);
    waits->armed_us = CLOCK_NEVER;
    for (struct leader_wait *wait = waits->first, *next; wait != NULL; wait = next) {
        next = wait->next;
        if (wait->due_us > now_us) {
            next_us = wait->due_us < next_us ? wait->due_us : next_us;
            continue;
        }
        unlist(waits, wait);
        wait->next = due;
        due = wait;
    }
    if (next_us != CLOCK_NEVER)
        arm(waits, next_us);
    (void)pthread_mutex_unlock(&waits->lock);
    return due;
}

static void fire_all(struct leader_wait *due)
{
    while (due != NULL) {
        struct leader_wait *wait = due;
        due = wait->next;
        wait->fire(wait); /* it may wait again, or be gone */
    }
}

/* The timer's thread. */
static void fire_due(struct engine_deadline *deadline)
{
    struct leader_waits *waits = CONTAINER_OF(deadline, struct leader_waits, deadline);
    fire_all(take_due(waits, clock_mono_us()));
}

void leader_waits_init(struct leader_waits *waits, struct engine *engine)
{
    *waits = (struct leader_waits){.engine = engine, .armed_us = CLOCK_NEVER};
    waits->deadline.fire = fire_due;
    (void)pthread_mutex_init(&waits->lock, NULL);
}

void leader_waits_stop(struct leader_waits *waits)
{
    (void)pthread_mutex_lock(&waits->lock);
    waits->stopped = true;
    (void)pthread_mutex_unlock(&waits->lock);
    engine_cancel_deadline(waits->engine, &waits->deadline);
    fire_all(take_due(waits, CLOCK_NEVER));
}

void leader_waits_fini(struct leader_waits *waits)
{
    REQUIRE(waits->first == NULL);
    (void)pthread_mutex_destroy(&waits->lock);
}

bool leader_wait_begin(struct leader_waits *waits, struct leader_wait *wait, int64_t due_us)
{
    REQUIRE(!wait->listed);
    (void)pthread_mutex_lock(&waits->lock);
    bool listed = !waits->stopped;
    if (listed) {
        wait->due_us = due_us;
        wait->prev = NULL;
        wait->next = waits->first;
        if (wait->next != NULL)
            wait->next->prev = wait;
        waits->first = wait;
        wait->listed = true;
        arm(waits, due_us);
    }
    (void)pthread_mutex_unlock(&waits->lock);
    return listed;
}

bool leader_wait_cancel(struct leader_waits *waits, struct leader_wait *wait)
{
    (void)pthread_mutex_lock(&waits->lock);
    bool listed = wait->listed;
    if (listed)
        unlist(waits, wait);
    (void)pthread_mutex_unlock(&waits->lock);
    return listed;
}

void leader_waits_changed(struct leader_waits *waits, const struct uuid *topic_id, uint32_t partition)
{
    (void)pthread_mutex_lock(&waits->lock);
    for (struct leader_wait *wait = waits->first; wait != NULL; wait = wait->next)
        if (wait->partition == partition && uuid_equal(&wait->topic_id, topic_id)) {
            wait->due_us = 0;
            arm(waits, 0);
        }
    (void)pthread_mutex_unlock(&waits->lock);
}
