/* A reader at the replica here: opening it, confirmed by a majority to lead or not; waiting
 * there; its ends. */
#include "api/reader_impl.h"

#include "base/clock.h"
#include "base/require.h"

#include <stdlib.h>

/* Waits at the partition for what passes off. The reader is not ours afterwards. It is
 * posted within the lock, so that nobody cancels what was not posted; should it be answered
 * right there (the partition has stopped), that is acted on behind the lock. */
void reader_wait_here(struct reader *reader, struct partition *partition, int64_t off,
                      void (*done)(struct wait_request *wait))
{
    if (reader->partition != partition)
        partition_drop(&reader->partition);
    if (reader->partition == NULL)
        reader->partition = partition_hold(partition);
    reader->wait = (struct wait_request){.done = done, .off = off};
    reader->answered_at_once = false;
    (void)pthread_mutex_lock(&reader->lock);
    bool cancelled = reader->cancelled;
    if (!cancelled) {
        reader->place = READER_AT_PARTITION;
        atomic_store_explicit(&reader->poster, (uintptr_t)pthread_self(), memory_order_relaxed);
        partition_wait(reader->partition, &reader->wait);
        atomic_store_explicit(&reader->poster, 0, memory_order_relaxed);
    }
    bool at_once = reader->answered_at_once;
    (void)pthread_mutex_unlock(&reader->lock);
    if (cancelled)
        reader_finish_cancelled(reader);
    else if (at_once)
        done(&reader->wait);
}

/* True: leave it to wait_here. Else the reader is ours, and can no longer be cancelled here. */
static bool is_at_once(struct reader *reader)
{
    if (atomic_load_explicit(&reader->poster, memory_order_relaxed) == (uintptr_t)pthread_self()) {
        reader->answered_at_once = true;
        return true;
    }
    reader_set_place(reader, READER_BEGINS);
    return false;
}

static void opened_here(struct wait_request *wait)
{
    struct reader *reader = CONTAINER_OF(wait, struct reader, wait);
    if (!is_at_once(reader))
        reader_step(reader);
}

void reader_open_here(struct reader *reader, struct partition *partition)
{
    struct fault fault = {0};
    int64_t off = reader->off, start_off, end_off;
    bool goes_on = reader->purpose == READER_PULLS;
    struct fetch before = reader->fetch;
    if (goes_on)
        off = before.next_off;
    else if (reader->clamp && fetch_bounds(partition, &start_off, &end_off) && off < start_off)
        off = start_off;
    struct fetch fetch;
    enum kq_err err = fetch_open(&fetch, partition, off, &fault);
    if (err == KQ_AGAIN) {
        reader_wait_here(reader, partition, -1, opened_here);
        return;
    }
    if (err == KQ_OK && goes_on && fetch.end_off < before.end_off) {
        fetch_close(&fetch); /* it lags behind what was promised to be shown */
        err = fault_set(&fault, KQ_NOT_LEADER, "%s lags behind: what was committed up to offset %lld is not here yet",
                        reader->title, (long long)before.end_off);
    }
    if (err != KQ_OK) {
        reader_try_later(reader, &fault);
        return;
    }
    if (goes_on) {
        fetch.end_off = before.end_off;
        fetch_close(&reader->fetch);
    }
    reader->fetch = fetch;
    reader->high_watermark = fetch.end_off;
    reader_finish_ok(reader);
}

/* An actor's turn. */
static void confirmed_here(struct partition_ask *barrier)
{
    struct reader_ask *ask = CONTAINER_OF(barrier, struct reader_ask, barrier);
    struct reader *reader = atomic_load(&ask->reader);
    struct fault fault = barrier->fault;
    struct partition *partition = reader->partition;
    free(ask);
    reader->ask = NULL;
    reader->partition = NULL;
    if (fault.err != KQ_OK)
        reader_try_later(reader, &fault);
    else
        reader_open_here(reader, partition);
    partition_drop(&partition);
}

struct reader_ask *reader_new_ask(struct reader *reader)
{
    struct reader_ask *ask = calloc(1, sizeof(*ask));
    if (ask == NULL) {
        reader_finish_err(reader, KQ_NO_MEMORY);
        return NULL;
    }
    atomic_init(&ask->reader, reader);
    reader->ask = ask;
    return ask;
}

void reader_confirm_here(struct reader *reader, struct partition *partition)
{
    struct reader_ask *ask = reader_new_ask(reader);
    if (ask == NULL)
        return;
    partition_drop(&reader->partition);
    reader->partition = partition_hold(partition);
    ask->barrier = (struct partition_ask){
        .question = PARTITION_ASK_BARRIER, .deadline_us = reader->deadline_us, .done = confirmed_here};
    partition_ask(partition, &ask->barrier);
}

void reader_more_here(struct wait_request *wait)
{
    struct reader *reader = CONTAINER_OF(wait, struct reader, wait);
    struct partition_status status;
    int64_t start_off, end_off;
    if (is_at_once(reader))
        return;
    if (wait->err == KQ_OK || wait->err == KQ_AGAIN) {
        if (fetch_bounds(reader->partition, &start_off, &end_off) && end_off > reader->fetch.end_off)
            reader->fetch.end_off = end_off;
        reader_finish_ok(reader);
        return;
    }
    (void)fault_set(&reader->fault, wait->err, "%s", err_text(wait->err));
    partition_status(reader->partition, &status);
    if (wait->err == KQ_PARTITION_FAILED && status.state == PARTITION_FAILED)
        (void)fault_set(&reader->fault, wait->err, "%s", fault_text(&status.fault));
    if (wait->err == KQ_UNKNOWN_TOPIC || atomic_load_explicit(&reader->broker->stopping, memory_order_relaxed) ||
        !reader_elsewhere(reader))
        reader_finish(reader);
}

void reader_bounds_here(struct reader *reader, struct partition *partition)
{
    struct partition_status status;
    struct fault fault = {.err = KQ_NOT_LEADER};
    if (fetch_bounds(partition, &reader->start_off, &reader->high_watermark)) {
        reader_finish_ok(reader);
        return;
    }
    partition_status(partition, &status);
    if (status.state == PARTITION_OPENING) {
        reader_wait_here(reader, partition, -1, opened_here);
        return;
    }
    if (status.state == PARTITION_FAILED)
        (void)fault_set(&fault, KQ_PARTITION_FAILED, "%s: %s", reader->title, fault_text(&status.fault));
    reader_try_later(reader, &fault);
}
