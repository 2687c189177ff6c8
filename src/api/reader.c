/*
 * One step of a reader looks who leads (reader_step), begins what is to be done there,
 * and its answer ends the call or leads to another step a little later. At any time one
 * thread works on a reader: whoever began the call, then whoever brings the answer.
 */
#include "api/reader_impl.h"

#include "api/route.h"
#include "base/clock.h"
#include "base/require.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    RETRY_FIRST_US = 5 * 1000,
    RETRY_MAX_US = 200 * 1000,
};

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

void reader_set_place(struct reader *reader, enum reader_place place)
{
    (void)pthread_mutex_lock(&reader->lock);
    reader->place = place;
    (void)pthread_mutex_unlock(&reader->lock);
}

void reader_finish(struct reader *reader)
{
    reader_set_place(reader, READER_STILL);
    partition_drop(&reader->partition);
    reader->done(reader);
}

void reader_finish_ok(struct reader *reader)
{
    reader->fault = (struct fault){.err = KQ_OK};
    reader_finish(reader);
}

void reader_finish_err(struct reader *reader, enum kq_err err)
{
    (void)fault_set(&reader->fault, err, "%s", err_text(err));
    reader_finish(reader);
}

/* A wait that was cancelled has nothing new; anything else did not come about. */
void reader_finish_cancelled(struct reader *reader)
{
    if (reader->purpose == READER_WAITS)
        reader_finish_ok(reader);
    else
        reader_finish_err(reader, KQ_STOPPING);
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
void reader_try_later(struct reader *reader, const struct fault *fault)
{
    bool waits = reader->purpose == READER_WAITS;
    if (!may_help_to_retry(reader, fault)) {
        reader->fault = *fault;
        reader_finish(reader);
    } else if (waits || clock_mono_us() < reader->deadline_us) {
        if (fault->err == KQ_CORRUPT || fault->err == KQ_IO || fault->err == KQ_PARTITION_FAILED)
            reader->any = true;
        reader_wait_for_leader(reader);
    } else if (!reader->any) {
        reader->any = true; /* nobody leads: then from whoever is there */
        reader->deadline_us = clock_mono_us() + reader->broker->config->forward_timeout_us / 4;
        reader_wait_for_leader(reader);
    } else {
        reader->fault = *fault;
        reader_finish(reader);
    }
}

/* ---- waiting for a leader ------------------------------------------------------------------ */

static void leader_wait_fired(struct leader_wait *wait)
{
    struct reader *reader = CONTAINER_OF(wait, struct reader, leader_wait);
    reader_set_place(reader, READER_BEGINS);
    reader_step(reader);
}

void reader_wait_for_leader(struct reader *reader)
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
        reader_finish_cancelled(reader);
    else if (!begun)
        reader_finish_err(reader, KQ_STOPPING);
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
    /* What is committed comes here too, unless this replica follows nobody. */
    bool follows = here && (reader->alone || partition_leader(route->local, NULL) != 0);
    if (has_all || (reader->purpose == READER_WAITS && follows)) {
        route->kind = ROUTE_LOCAL;
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

static void step_here(struct reader *reader, struct partition *partition)
{
    switch (reader->purpose) {
    case READER_OPENS:
        if (reader->alone || reader->any)
            reader_open_here(reader, partition);
        else
            reader_confirm_here(reader, partition);
        return;
    case READER_PULLS:
        reader_open_here(reader, partition);
        return;
    case READER_WAITS:
        reader_wait_here(reader, partition, reader->fetch.end_off, reader_more_here);
        return;
    case READER_BOUNDS:
        reader_bounds_here(reader, partition);
        return;
    }
}

void reader_step(struct reader *reader)
{
    struct route route;
    struct fault fault = {0};
    struct image *image = cluster_image(reader->broker->cluster);
    struct image_topic *topic = image_find_id(image, &reader->topic_id);
    if (topic == NULL) {
        image_drop(&image);
        reader_finish_err(reader, KQ_UNKNOWN_TOPIC);
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
            reader_watch(reader, route.broker_id);
        else
            reader_pull(reader, route.broker_id);
        break;
    case ROUTE_NOBODY:
    case ROUTE_GONE:
        (void)route_fault(topic, reader->number, &route, &fault);
        if (route.kind == ROUTE_GONE && reader->purpose != READER_WAITS) {
            reader->fault = fault;
            reader_finish(reader);
        } else {
            fault.err = KQ_NO_LEADER;
            reader_try_later(reader, &fault);
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
        reader_wait_for_leader(reader);
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
        reader_finish_cancelled(mine);
}
