/* ASK_READ and ASK_WATCH: messages of a partition here, for another broker's client. */
#include "api/ask_wire.h"
#include "api/fetch.h"
#include "api/serve.h"
#include "base/clock.h"
#include "base/require.h"
#include "cluster/links.h"

#include <stdlib.h>

/* ---- ASK_READ --------------------------------------------------------------------------- */

struct served_read {
    struct job job;
    struct broker *broker;
    struct asked *asked;
    struct ask_read question;
    struct partition *partition;
    struct partition_ask barrier;
};

static void served_read_free(struct served_read *served)
{
    partition_drop(&served->partition);
    free(served);
}

static void refuse_read(struct served_read *served, const struct fault *fault)
{
    ask_answer(served->asked, fault, NULL, 0);
    served_read_free(served);
}

/* Where it begins and ends. */
static enum kq_err find_bounds(const struct served_read *served, struct ask_reading *reading, struct fault *fault)
{
    const struct ask_read *question = &served->question;
    if (!fetch_bounds(served->partition, &reading->start_off, &reading->high_watermark))
        return fault_set(fault, KQ_NOT_LEADER, "%s", err_text(KQ_NOT_LEADER));
    reading->off = question->off;
    if (reading->off < 0 || ((question->flags & ASK_READ_CLAMP) != 0 && reading->off < reading->start_off))
        reading->off = reading->start_off;
    reading->end_off = question->end_off >= 0 ? question->end_off : reading->high_watermark;
    return KQ_OK;
}

/* A reader's thread: what is read may not be in memory. */
static void read_job(struct job *job)
{
    struct served_read *served = CONTAINER_OF(job, struct served_read, job);
    struct ask_reading reading = {0};
    struct fault fault = {0};
    struct fetch fetch = {0};
    struct buf batches;
    buf_init(&batches, SIZE_MAX / 2);
    enum kq_err err = find_bounds(served, &reading, &fault);
    if (err == KQ_OK)
        err = fetch_open(&fetch, served->partition, reading.off, &fault);
    if (err == KQ_OK && served->question.max_bytes > 0) {
        if (fetch.end_off > reading.end_off)
            fetch.end_off = reading.end_off;
        err = fetch_batches(&fetch, &batches, served->question.max_bytes, &fault);
    }
    if (fetch_is_open(&fetch))
        fetch_close(&fetch);
    if (err == KQ_OK || err == KQ_EOF) {
        uint8_t head[ASK_WIRE_HEAD_MAX_BYTES];
        struct iovec parts[2] = {{.iov_base = head, .iov_len = ask_reading_encode(&reading, head)},
                                 {.iov_base = batches.data, .iov_len = batches.len}};
        fault = (struct fault){.err = KQ_OK};
        ask_answer(served->asked, &fault, parts, 2);
        served_read_free(served);
    } else {
        refuse_read(served, &fault);
    }
    buf_fini(&batches);
}

/* An actor's turn. */
static void confirmed(struct partition_ask *ask)
{
    struct served_read *served = CONTAINER_OF(ask, struct served_read, barrier);
    if (ask->fault.err != KQ_OK)
        refuse_read(served, &ask->fault);
    else
        engine_post_read(served->broker->engine, &served->job);
}

void serve_read(void *context, struct asked *asked)
{
    struct broker *broker = context;
    struct served_read *served = calloc(1, sizeof(*served));
    enum kq_err err = served == NULL ? KQ_NO_MEMORY : KQ_OK;
    if (err == KQ_OK)
        err = ask_read_decode(&served->question, asked->body, asked->body_bytes);
    if (err == KQ_OK) {
        served->partition = serve_find(broker, &served->question.group);
        err = served->partition == NULL ? KQ_NOT_LEADER : KQ_OK;
    }
    if (err != KQ_OK) {
        serve_refuse(asked, err);
        free(served);
        return;
    }
    served->broker = broker;
    served->asked = asked;
    served->job.run = read_job;
    if ((served->question.flags & ASK_READ_CONFIRM) == 0) {
        engine_post_read(broker->engine, &served->job);
        return;
    }
    served->barrier =
        (struct partition_ask){.question = PARTITION_ASK_BARRIER, .deadline_us = asked->deadline_us, .done = confirmed};
    partition_ask(served->partition, &served->barrier);
}

/* ---- ASK_WATCH ----------------------------------------------------------------------------- */

struct served_watch {
    struct wait_request wait;
    struct engine_deadline deadline;
    struct job late;
    struct broker *broker;
    struct asked *asked;
    struct partition *partition;
    _Atomic int references; /* the wait, and who begins it */
};

/* The keeper: the deadline has fired, or will never. */
static void watch_ended(struct job *job)
{
    struct served_watch *served = CONTAINER_OF(job, struct served_watch, late);
    engine_cancel_deadline(served->broker->engine, &served->deadline);
    partition_drop(&served->partition);
    free(served);
}

static void watch_drop(struct served_watch *served)
{
    if (atomic_fetch_sub_explicit(&served->references, 1, memory_order_acq_rel) == 1)
        engine_post_work(served->broker->engine, &served->late);
}

/* An actor's turn. */
static void watch_done(struct wait_request *wait)
{
    struct served_watch *served = CONTAINER_OF(wait, struct served_watch, wait);
    struct ask_watched watched = {0};
    struct fault fault = {.err = wait->err == KQ_AGAIN ? KQ_OK : wait->err};
    uint8_t head[ASK_WIRE_HEAD_MAX_BYTES];
    if (fault.err == KQ_OK && !fetch_bounds(served->partition, &watched.start_off, &watched.high_watermark))
        (void)fault_set(&fault, KQ_NOT_LEADER, "%s", err_text(KQ_NOT_LEADER));
    struct iovec part = {.iov_base = head, .iov_len = ask_watched_encode(&watched, head)};
    ask_answer(served->asked, &fault, &part, 1);
    watch_drop(served);
}

/* The timer's thread. */
static void watch_fire(struct engine_deadline *deadline)
{
    struct served_watch *served = CONTAINER_OF(deadline, struct served_watch, deadline);
    partition_wait_cancel(served->partition, &served->wait);
}

void serve_watch(void *context, struct asked *asked)
{
    struct broker *broker = context;
    struct ask_watch question;
    struct partition *partition = NULL;
    enum kq_err err = ask_watch_decode(&question, asked->body, asked->body_bytes);
    if (err == KQ_OK) {
        partition = serve_find(broker, &question.group);
        err = partition == NULL ? KQ_NOT_LEADER : KQ_OK;
    }
    struct served_watch *served = err == KQ_OK ? calloc(1, sizeof(*served)) : NULL;
    if (served == NULL) {
        serve_refuse(asked, err == KQ_OK ? KQ_NO_MEMORY : err);
        partition_drop(&partition);
        return;
    }
    served->broker = broker;
    served->asked = asked;
    served->partition = partition;
    served->late.run = watch_ended;
    served->deadline.fire = watch_fire;
    served->wait = (struct wait_request){.done = watch_done, .off = question.off};
    atomic_init(&served->references, 2);
    partition_wait(partition, &served->wait);
    engine_set_deadline(broker->engine, &served->deadline, clock_mono_us() + (int64_t)question.wait_ms * 1000);
    watch_drop(served);
}
