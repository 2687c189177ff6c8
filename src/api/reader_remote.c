/* A reader at another broker: pulls, and watches for what comes. */
#include "api/reader_impl.h"

#include "base/clock.h"
#include "base/require.h"

#include <stdlib.h>

enum {
    WATCH_MS = 20 * 1000, /* a TAIL asks again after it */
    WATCH_SLACK_US = 2 * 1000 * 1000,
};

static void ask_remote(struct broker *broker, struct reader_ask *ask, uint32_t broker_id, enum ask_verb verb,
                       uint32_t head_bytes)
{
    ask->part = (struct iovec){.iov_base = ask->head, .iov_len = head_bytes};
    ask->ask = (struct ask){
        .broker_id = broker_id,
        .verb = verb,
        .parts = &ask->part,
        .part_count = 1,
        .deadline_us = ask->deadline_us,
        .done = ask->done,
        .owner = ask,
    };
    links_ask(cluster_links(broker->cluster), &ask->ask);
}

/* The answer to a pull, or to a question for the bounds. */
static void pull_done(struct ask *asked)
{
    struct reader_ask *ask = asked->owner;
    struct reader *reader = atomic_load(&ask->reader);
    struct ask_reading reading = {0};
    struct fault fault = asked->fault;
    struct buf answer = asked->answer;
    free(ask);
    reader->ask = NULL;
    if (fault.err == KQ_OK && ask_reading_decode(&reading, answer.data, answer.len) != KQ_OK)
        (void)fault_set(&fault, KQ_GARBAGE, "another broker answered what cannot be read");
    if (fault.err == KQ_OK && reader->purpose == READER_PULLS && answer.len == reading.head_bytes)
        (void)fault_set(&fault, KQ_NOT_LEADER, "%s: what was committed is not there yet", reader->title);
    if (fault.err != KQ_OK) {
        buf_fini(&answer);
        reader_try_later(reader, &fault);
        return;
    }
    reader->start_off = reading.start_off;
    reader->high_watermark = reading.high_watermark;
    if (reader->purpose == READER_OPENS)
        fetch_open_remote(&reader->fetch, reader->title, reading.off, reading.end_off);
    if (reader->purpose != READER_BOUNDS)
        fetch_feed(&reader->fetch, &answer, reading.head_bytes);
    buf_fini(&answer);
    reader_finish_ok(reader);
}

void reader_pull(struct reader *reader, uint32_t broker_id)
{
    struct reader_ask *ask = reader_new_ask(reader);
    if (ask == NULL)
        return;
    if (reader->purpose == READER_PULLS && !reader->fetch.remote)
        fetch_make_remote(&reader->fetch, reader->title);
    bool opens = reader->purpose == READER_OPENS, pulls = reader->purpose == READER_PULLS;
    struct ask_read question = {
        .group = {.topic_id = reader->topic_id, .partition = reader->number},
        .flags = (uint16_t)((opens && !reader->any ? ASK_READ_CONFIRM : 0) | (reader->clamp ? ASK_READ_CLAMP : 0)),
        .off = opens   ? reader->off
               : pulls ? reader->fetch.next_off
                       : -1,
        .end_off = pulls ? reader->fetch.end_off : -1,
        .max_bytes = reader->purpose == READER_BOUNDS ? 0 : ASK_READ_MAX_BYTES,
    };
    ask->deadline_us = reader->deadline_us;
    ask->done = pull_done;
    ask_remote(reader->broker, ask, broker_id, ASK_READ, ask_read_encode(&question, ask->head));
}

/* Whoever takes the reader out of the ask ends the call. */
static void watch_done(struct ask *asked)
{
    struct reader_ask *ask = asked->owner;
    struct reader *reader = atomic_exchange(&ask->reader, NULL);
    struct ask_watched watched = {0};
    struct fault fault = asked->fault;
    if (fault.err == KQ_OK && ask_watched_decode(&watched, asked->answer.data, asked->answer.len) != KQ_OK)
        (void)fault_set(&fault, KQ_GARBAGE, "another broker answered what cannot be read");
    buf_fini(&asked->answer);
    if (reader != NULL) { /* who cancels may be looking at the ask */
        (void)pthread_mutex_lock(&reader->lock);
        reader->ask = NULL;
        reader->place = READER_BEGINS;
        (void)pthread_mutex_unlock(&reader->lock);
    }
    free(ask);
    if (reader == NULL)
        return;
    if (fault.err != KQ_OK) {
        reader_try_later(reader, &fault);
        return;
    }
    reader->tries = 0;
    reader->high_watermark = watched.high_watermark;
    if (watched.high_watermark > reader->fetch.end_off)
        reader->fetch.end_off = watched.high_watermark;
    reader_finish_ok(reader);
}

void reader_watch(struct reader *reader, uint32_t broker_id)
{
    struct reader_ask *ask = reader_new_ask(reader);
    if (ask == NULL)
        return;
    if (!reader->fetch.remote)
        fetch_make_remote(&reader->fetch, reader->title);
    struct ask_watch question = {.group = {.topic_id = reader->topic_id, .partition = reader->number},
                                 .off = reader->fetch.end_off,
                                 .wait_ms = WATCH_MS};
    uint32_t head_bytes = ask_watch_encode(&question, ask->head);
    struct broker *broker = reader->broker;
    ask->deadline_us = clock_mono_us() + (int64_t)WATCH_MS * 1000 + WATCH_SLACK_US;
    ask->done = watch_done;
    (void)pthread_mutex_lock(&reader->lock);
    bool cancelled = reader->cancelled;
    if (cancelled)
        reader->ask = NULL;
    else
        reader->place = READER_AT_WATCH;
    (void)pthread_mutex_unlock(&reader->lock);
    if (!cancelled) { /* it may be cancelled now; the ask is there until its own done */
        ask_remote(broker, ask, broker_id, ASK_WATCH, head_bytes);
        return;
    }
    free(ask);
    reader_finish_cancelled(reader);
}
