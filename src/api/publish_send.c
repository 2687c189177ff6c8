/*
 * Sending a part to whoever leads its partition: a replica here, or another broker
 * (ASK_PUBLISH). What comes back goes to publish_flight.c.
 */
#include "api/ask_wire.h"
#include "api/publish.h"
#include "api/route.h"
#include "base/clock.h"
#include "base/require.h"
#include "cluster/links.h"

#include <stdlib.h>

/* The leader answers at the deadline; then its answer has to come here. */
enum { ANSWER_SLACK_US = 500 * 1000 };

struct publish_remote {
    struct ask ask;
    struct publish_part *part;
    struct iovec parts[2];
    uint8_t head[ASK_WIRE_HEAD_MAX_BYTES];
};

/* Any thread. */
static void remote_done(struct ask *ask)
{
    struct publish_remote *remote = ask->owner;
    struct publish_part *part = remote->part;
    struct ask_published answer;
    part->request.fault = ask->fault;
    part->lost = ask->fault.err != KQ_OK && ask->maybe_delivered;
    if (ask->fault.err == KQ_OK) {
        if (ask_published_decode(&answer, ask->answer.data, ask->answer.len) == KQ_OK) {
            part->request.base_off = answer.base_off;
            part->request.term = answer.term;
            part->request.log_start_off = answer.log_start_off;
        } else {
            part->lost = true;
            fault_set(&part->request.fault, KQ_GARBAGE, "broker %u answered what cannot be read", ask->broker_id);
        }
    }
    buf_fini(&ask->answer);
    free(remote);
    publish_part_answered(part);
}

static uint32_t wait_ms_until(int64_t deadline_us)
{
    int64_t left_ms = (deadline_us - clock_mono_us()) / 1000;
    return left_ms < 1 ? 1 : left_ms > ASK_WAIT_MAX_MS ? ASK_WAIT_MAX_MS : (uint32_t)left_ms;
}

static void send_remote(struct publish_part *part, const struct route *route, uint64_t in_term)
{
    const struct publish_request *request = &part->request;
    struct publish_remote *remote = calloc(1, sizeof(*remote));
    if (remote == NULL) {
        fault_set(&part->request.fault, KQ_NO_MEMORY, "%s", err_text(KQ_NO_MEMORY));
        publish_part_answered(part);
        return;
    }
    remote->part = part;
    struct ask_publish question = {
        .group = {.topic_id = part->topic_id, .partition = part->number},
        .in_term = in_term,
        .wait_ms = wait_ms_until(request->deadline_us),
        .record_count = request->record_count,
        .batch_count = request->batch_count,
    };
    remote->parts[0] = (struct iovec){.iov_base = remote->head, .iov_len = ask_publish_encode(&question, remote->head)};
    remote->parts[1] = (struct iovec){.iov_base = request->batches, .iov_len = request->batches_bytes};
    remote->ask = (struct ask){
        .broker_id = route->broker_id,
        .verb = ASK_PUBLISH,
        .parts = remote->parts,
        .part_count = 2,
        .deadline_us = request->deadline_us + ANSWER_SLACK_US,
        .done = remote_done,
        .owner = remote,
    };
    links_ask(cluster_links(part->fold->flight->broker->cluster), &remote->ask);
}

bool publish_part_send(struct publish_part *part, const struct route *route, uint64_t in_term, bool and_turn)
{
    part->lost = false;
    if (route->kind == ROUTE_REMOTE) {
        send_remote(part, route, in_term);
        return false;
    }
    REQUIRE(route->kind == ROUTE_LOCAL);
    if (part->partition == NULL && route->local != NULL) /* it was started after the fold was filled */
        part->partition = partition_hold(route->local);
    if (part->partition == NULL) {
        part->request.fault = (struct fault){.err = KQ_NOT_LEADER};
        publish_part_answered(part);
        return false;
    }
    part->request.in_term = in_term;
    return and_turn ? partition_publish_and_turn(part->partition, &part->request)
                    : partition_publish(part->partition, &part->request);
}

/* The first attempt. Turns of several partitions go on side by side, on their own threads. */
static bool send_first(struct publish_part *part)
{
    struct route route;
    struct image_topic *topic = part->topic;
    part->topic = NULL;
    route_find(part->fold->flight->broker, topic, part->number, &route);
    if (route.kind == ROUTE_LOCAL || route.kind == ROUTE_REMOTE)
        return publish_part_send(part, &route, route.term, part->fold->part_count == 1);
    (void)route_fault(topic, part->number, &route, &part->request.fault);
    publish_part_answered(part);
    return false;
}

uint32_t publish_fold_send(struct publish_fold *fold)
{
    uint32_t crowded = 0, count = fold->part_count;
    bool held = false;
    REQUIRE(count > 0);
    for (uint32_t i = 0; i < count; i++) {
        struct publish_part *part = fold->parts[i];
        if (part->held) {
            held = true;
        } else if (send_first(part)) {
            part->crowded = true;
            crowded++;
        }
    }
    if (held)
        publish_flight_pump(fold->flight);
    return crowded;
}
