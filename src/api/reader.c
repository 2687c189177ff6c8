/*
 * One step of a reader looks who leads (reader_step), begins what is to be done there,
 * and its answer ends the call or leads to another step a little later. At any time one
 * thread works on a reader: whoever began the call, then whoever brings the answer.
 */
#include "api/reader.h"

#include "api/route.h"
#include "base/clock.h"
#include "base/require.h"
#include "cluster/links.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    RETRY_FIRST_US = 5 * 1000,
    RETRY_MAX_US = 200 * 1000,
    WATCH_MS = 20 * 1000, /* a TAIL asks again after it */
    WATCH_SLACK_US = 2 * 1000 * 1000,
};

/* A question to another broker, or to the replica here; on its own, since a watch that was
 * cancelled outlives its reader. */
struct reader_ask {
    struct ask ask;
    struct partition_ask barrier;
    struct iovec part;
    uint8_t head[ASK_WIRE_HEAD_MAX_BYTES];
    int64_t deadline_us;
    void (*done)(struct ask *ask);
    _Atomic(struct reader *) reader; /* NULL: cancelled */
};

static void reader_step(struct reader *reader);
static void wait_for_leader(struct reader *reader);

void reader_init(struct reader *reader)
{
    (void)pthread_mutex_init(&reader->lock, NULL);
}

void reader_fini(struct reader *reader)
{
    REQUIRE(reader->place == READER_STILL);
    if (fetch_is_open(&reader->fetch))
        fetch_close(&reader->fetch);
    partition_drop(&reader->partition);
    (void)pthread_mutex_destroy(&reader->lock);
}

static void set_place(struct reader *reader, int place)
{
    (void)pthread_mutex_lock(&reader->lock);
    reader->place = place;
    (void)pthread_mutex_unlock(&reader->lock);
}

static void finish(struct reader *reader)
{
    set_place(reader, READER_STILL);
    partition_drop(&reader->partition);
    reader->done(reader);
}

static void finish_ok(struct reader *reader)
{
    reader->fault = (struct fault){.err = KQ_OK};
    finish(reader);
}

static void finish_err(struct reader *reader, enum kq_err err)
{
    (void)fault_set(&reader->fault, err, "%s", err_text(err));
    finish(reader);
}

/* A wait that was cancelled has nothing new; anything else did not come about. */
static void finish_cancelled(struct reader *reader)
{
    if (reader->purpose == READER_WAITS)
        finish_ok(reader);
    else
        finish_err(reader, KQ_STOPPING);
}

/* Whether somebody else may do better. */
static bool may_help_to_retry(const struct reader *reader, const struct fault *fault)
{
    switch (fault->err) {
    case KQ_NOT_LEADER:
    case KQ_NO_LEADER:
    case KQ_TIMEOUT:
    case KQ_STOPPING:
    case KQ_AGAIN:
    case KQ_FULL:
    case KQ_LIMIT: /* of a link */
        return true;
    case KQ_CORRUPT:
    case KQ_IO:
    case KQ_PARTITION_FAILED:
        return !reader->alone;   /* others have it */
    case KQ_OFFSET_OUT_OF_RANGE: /* of a replica that lags */
        return reader->any;
    default:
        return false;
    }
}

/* Not now: another step a little later, or the end. */
static void try_later(struct reader *reader, const struct fault *fault)
{
    bool waits = reader->purpose == READER_WAITS;
    if (!may_help_to_retry(reader, fault)) {
        reader->fault = *fault;
        finish(reader);
    } else if (waits || clock_mono_us() < reader->deadline_us) {
        if (fault->err == KQ_CORRUPT || fault->err == KQ_IO || fault->err == KQ_PARTITION_FAILED)
            reader->any = true;
        wait_for_leader(reader);
    } else if (!reader->any) {
        reader->any = true; /* nobody leads: then from whoever is there */
        reader->deadline_us = clock_mono_us() + reader->broker->config->forward_timeout_us / 4;
        wait_for_leader(reader);
    } else {
        reader->fault = *fault;
        finish(reader);
    }
}

/* ---- waiting for a leader ------------------------------------------------------------------ */

static void leader_wait_fired(struct leader_wait *wait)
{
    struct reader *reader = CONTAINER_OF(wait, struct reader, leader_wait);
    set_place(reader, READER_BEGINS);
    reader_step(reader);
}

static void wait_for_leader(struct reader *reader)
{
    int64_t pause_us = RETRY_FIRST_US;
    for (uint32_t i = 0; i < reader->tries && pause_us < RETRY_MAX_US; i++)
        pause_us *= 2;
    reader->tries++;
    reader->leader_wait =
        (struct leader_wait){.fire = leader_wait_fired, .topic_id = reader->topic_id, .partition = reader->number};
    (void)pthread_mutex_lock(&reader->lock);
    bool cancelled = reader->cancelled, begun = false;
    reader->place = READER_AT_LEADER_WAIT;
    if (!cancelled)
        begun = leader_wait_begin(&reader->broker->waits, &reader->leader_wait, clock_mono_us() + pause_us);
    (void)pthread_mutex_unlock(&reader->lock); /* if it has begun, the reader is no longer ours */
    if (cancelled)
        finish_cancelled(reader);
    else if (!begun)
        finish_err(reader, KQ_STOPPING);
}

/* ---- the replica here ------------------------------------------------------------------------- */

/* Waits at the partition for what passes off. The reader is not ours afterwards. It is
 * posted within the lock, so that nobody cancels what was not posted; should it be answered
 * right there (the partition has stopped), that is acted on behind the lock. */
static void wait_here(struct reader *reader, struct partition *partition, int64_t off,
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
        finish_cancelled(reader);
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
    set_place(reader, READER_BEGINS);
    return false;
}

static void opened_here(struct wait_request *wait)
{
    struct reader *reader = CONTAINER_OF(wait, struct reader, wait);
    if (!is_at_once(reader))
        reader_step(reader);
}

static void open_here(struct reader *reader, struct partition *partition)
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
        wait_here(reader, partition, -1, opened_here);
        return;
    }
    if (err == KQ_OK && goes_on && fetch.end_off < before.end_off) {
        fetch_close(&fetch); /* it lags behind what was promised to be shown */
        err = fault_set(&fault, KQ_NOT_LEADER, "%s lags behind: what was committed up to offset %lld is not here yet",
                        reader->title, (long long)before.end_off);
    }
    if (err != KQ_OK) {
        try_later(reader, &fault);
        return;
    }
    if (goes_on) {
        fetch.end_off = before.end_off;
        fetch_close(&reader->fetch);
    }
    reader->fetch = fetch;
    reader->high_watermark = fetch.end_off;
    finish_ok(reader);
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
        try_later(reader, &fault);
    else
        open_here(reader, partition);
    partition_drop(&partition);
}

static struct reader_ask *new_ask(struct reader *reader)
{
    struct reader_ask *ask = calloc(1, sizeof(*ask));
    if (ask == NULL) {
        finish_err(reader, KQ_NO_MEMORY);
        return NULL;
    }
    atomic_init(&ask->reader, reader);
    reader->ask = ask;
    return ask;
}

static void confirm_here(struct reader *reader, struct partition *partition)
{
    struct reader_ask *ask = new_ask(reader);
    if (ask == NULL)
        return;
    partition_drop(&reader->partition);
    reader->partition = partition_hold(partition);
    ask->barrier = (struct partition_ask){
        .question = PARTITION_ASK_BARRIER, .deadline_us = reader->deadline_us, .done = confirmed_here};
    partition_ask(partition, &ask->barrier);
}

static void more_here(struct wait_request *wait)
{
    struct reader *reader = CONTAINER_OF(wait, struct reader, wait);
    struct partition_status status;
    int64_t start_off, end_off;
    if (is_at_once(reader))
        return;
    if (wait->err == KQ_OK || wait->err == KQ_AGAIN) {
        if (fetch_bounds(reader->partition, &start_off, &end_off) && end_off > reader->fetch.end_off)
            reader->fetch.end_off = end_off;
        finish_ok(reader);
        return;
    }
    (void)fault_set(&reader->fault, wait->err, "%s", err_text(wait->err));
    partition_status(reader->partition, &status);
    if (wait->err == KQ_PARTITION_FAILED && status.state == PARTITION_FAILED)
        (void)fault_set(&reader->fault, wait->err, "%s", fault_text(&status.fault));
    if (wait->err == KQ_UNKNOWN_TOPIC || atomic_load_explicit(&reader->broker->stopping, memory_order_relaxed) ||
        !reader_elsewhere(reader))
        finish(reader);
}

/* ---- another broker ------------------------------------------------------------------------------- */

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
    struct ask_reading reading;
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
        try_later(reader, &fault);
        return;
    }
    reader->start_off = reading.start_off;
    reader->high_watermark = reading.high_watermark;
    if (reader->purpose == READER_OPENS)
        fetch_open_remote(&reader->fetch, reader->title, reading.off, reading.end_off);
    if (reader->purpose != READER_BOUNDS)
        fetch_feed(&reader->fetch, &answer, reading.head_bytes);
    buf_fini(&answer);
    finish_ok(reader);
}

static void pull(struct reader *reader, uint32_t broker_id)
{
    struct reader_ask *ask = new_ask(reader);
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
    struct ask_watched watched;
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
        try_later(reader, &fault);
        return;
    }
    reader->tries = 0;
    reader->high_watermark = watched.high_watermark;
    if (watched.high_watermark > reader->fetch.end_off)
        reader->fetch.end_off = watched.high_watermark;
    finish_ok(reader);
}

static void watch(struct reader *reader, uint32_t broker_id)
{
    struct reader_ask *ask = new_ask(reader);
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
    finish_cancelled(reader);
}

/* ---- a step ----------------------------------------------------------------------------------------- */

/* A replica of another broker that lives; each time another. 0: none. */
static uint32_t any_replica(struct reader *reader, const struct image_topic *topic)
{
    uint32_t count, self = cluster_self(reader->broker->cluster);
    const uint32_t *replicas = image_replicas(topic, reader->number, &count);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t broker_id = replicas[reader->turn++ % count];
        if (broker_id != self && links_is_alive(cluster_links(reader->broker->cluster), broker_id))
            return broker_id;
    }
    return 0;
}

/* Whoever is to be asked, whether it leads or not. */
static void find_source(struct reader *reader, const struct image_topic *topic, struct route *route)
{
    route_find(reader->broker, topic, reader->number, route);
    if (route->kind == ROUTE_GONE && reader->purpose != READER_WAITS)
        reader->any = true;
    bool here = route->local != NULL && !reader->avoid_here;
    if (route->kind == ROUTE_LOCAL && !here)
        reader->any = true; /* the leader is here, and cannot read it */
    int64_t start_off, end_off;
    bool has_all = here && reader->purpose == READER_PULLS && fetch_bounds(route->local, &start_off, &end_off) &&
                   start_off <= reader->fetch.next_off && end_off >= reader->fetch.end_off;
    if (has_all || (reader->purpose == READER_WAITS && here)) {
        route->kind = ROUTE_LOCAL; /* what is committed comes here too */
        return;
    }
    if (!reader->any || (route->kind == ROUTE_REMOTE && reader->tries == 0))
        return;
    route->broker_id = any_replica(reader, topic);
    if (here && (route->broker_id == 0 || reader->tries % 2 == 0))
        route->kind = ROUTE_LOCAL;
    else
        route->kind = route->broker_id == 0 ? ROUTE_GONE : ROUTE_REMOTE;
}

static void bounds_here(struct reader *reader, struct partition *partition)
{
    struct partition_status status;
    struct fault fault = {.err = KQ_NOT_LEADER};
    if (fetch_bounds(partition, &reader->start_off, &reader->high_watermark)) {
        finish_ok(reader);
        return;
    }
    partition_status(partition, &status);
    if (status.state == PARTITION_OPENING) {
        wait_here(reader, partition, -1, opened_here);
        return;
    }
    if (status.state == PARTITION_FAILED)
        (void)fault_set(&fault, KQ_PARTITION_FAILED, "%s: %s", reader->title, fault_text(&status.fault));
    try_later(reader, &fault);
}

static void step_here(struct reader *reader, struct partition *partition)
{
    switch (reader->purpose) {
    case READER_OPENS:
        if (reader->alone || reader->any)
            open_here(reader, partition);
        else
            confirm_here(reader, partition);
        return;
    case READER_PULLS:
        open_here(reader, partition);
        return;
    case READER_WAITS:
        wait_here(reader, partition, reader->fetch.end_off, more_here);
        return;
    case READER_BOUNDS:
        bounds_here(reader, partition);
        return;
    }
}

static void reader_step(struct reader *reader)
{
    struct route route;
    struct fault fault = {0};
    struct image *image = cluster_image(reader->broker->cluster);
    struct image_topic *topic = image_find_id(image, &reader->topic_id);
    if (topic == NULL) {
        image_drop(&image);
        finish_err(reader, KQ_UNKNOWN_TOPIC);
        return;
    }
    uint32_t count;
    (void)image_replicas(topic, reader->number, &count);
    reader->alone = count == 1;
    if (reader->title[0] == '\0')
        (void)snprintf(reader->title, sizeof(reader->title), "%s-%u", image_topic_name(topic), reader->number);
    find_source(reader, topic, &route);
    if (reader->purpose == READER_BOUNDS && route.local != NULL && !reader->strict)
        route.kind = ROUTE_LOCAL;
    switch (route.kind) {
    case ROUTE_LOCAL:
        step_here(reader, route.local);
        break;
    case ROUTE_REMOTE:
        if (reader->purpose == READER_WAITS)
            watch(reader, route.broker_id);
        else
            pull(reader, route.broker_id);
        break;
    case ROUTE_NOBODY:
    case ROUTE_GONE:
        (void)route_fault(topic, reader->number, route.kind, &fault);
        if (route.kind == ROUTE_GONE && reader->purpose != READER_WAITS) {
            reader->fault = fault;
            finish(reader);
        } else {
            fault.err = KQ_NO_LEADER;
            try_later(reader, &fault);
        }
        break;
    }
    image_drop(&image);
}

/* ---- calls ----------------------------------------------------------------------------------------------- */

static void begin(struct reader *reader, enum reader_purpose purpose)
{
    reader->purpose = purpose;
    reader->tries = 0;
    reader->any = false;
    reader->deadline_us = clock_mono_us() + reader->broker->config->forward_timeout_us;
    (void)pthread_mutex_lock(&reader->lock);
    REQUIRE(reader->place == READER_STILL);
    reader->place = READER_BEGINS;
    if (purpose != READER_WAITS)
        reader->cancelled = false;
    (void)pthread_mutex_unlock(&reader->lock);
    reader_step(reader);
}

void reader_open(struct reader *reader, int64_t off, bool clamp)
{
    reader->off = off;
    reader->clamp = clamp || off < 0;
    begin(reader, READER_OPENS);
}

void reader_more(struct reader *reader)
{
    begin(reader, READER_PULLS);
}

void reader_wait(struct reader *reader)
{
    begin(reader, READER_WAITS);
}

void reader_bounds(struct reader *reader)
{
    begin(reader, READER_BOUNDS);
}

bool reader_elsewhere(struct reader *reader)
{
    struct image *image = cluster_image(reader->broker->cluster);
    struct image_topic *topic = image_find_id(image, &reader->topic_id);
    bool there = topic != NULL && !reader->avoid_here && any_replica(reader, topic) != 0;
    image_drop(&image);
    if (!there)
        return false;
    reader->avoid_here = true;
    if (!reader->fetch.remote)
        fetch_make_remote(&reader->fetch, reader->title);
    if (reader->place == READER_STILL)
        begin(reader, READER_PULLS);
    else
        wait_for_leader(reader);
    return true;
}

void reader_cancel(struct reader *reader)
{
    struct reader *mine = NULL;
    (void)pthread_mutex_lock(&reader->lock);
    reader->cancelled = true;
    switch (reader->place) {
    case READER_AT_PARTITION:
        partition_wait_cancel(reader->partition, &reader->wait);
        break;
    case READER_AT_LEADER_WAIT:
        mine = leader_wait_cancel(&reader->broker->waits, &reader->leader_wait) ? reader : NULL;
        break;
    case READER_AT_WATCH:
        mine = atomic_exchange(&reader->ask->reader, NULL);
        if (mine != NULL)
            reader->ask = NULL;
        break;
    case READER_STILL:
    case READER_BEGINS:
        break;
    }
    (void)pthread_mutex_unlock(&reader->lock);
    if (mine != NULL)
        finish_cancelled(mine);
}
