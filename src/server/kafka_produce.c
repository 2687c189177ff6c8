/*
 * Produce and InitProducerId.
 *
 * The records stay where they were read: each partition's batch is handed to the replica
 * that leads it as it lies in the frame, which lives with the call. acks 1 is answered as
 * acks all: what a majority has. With acks 0 there is no answer; if something could not be
 * taken the connection is closed, so that the client notices.
 */
#include "api/produce.h"
#include "api/producer.h"
#include "api/route.h"
#include "base/clock.h"
#include "base/require.h"
#include "proto/kafka/api_produce.h"
#include "proto/kafka/api_producers.h"
#include "server/kafka_internal.h"

#include <stdlib.h>

enum { FIRST_WITH_ZSTD = 7, FIRST_WITH_LEADERS = 10, PRODUCE_WAIT_MAX_MS = 60 * 60 * 1000 };

struct producing;

struct produce_part {
    struct publish_request request;
    struct producing *producing;
    struct partition *partition; /* a reference while it is on its way */
    struct kafka_produce_response_partition *answer;
    int64_t append_time_ms; /* -1: the messages have their producer's */
};

struct producing {
    struct kafka_call *call;
    _Atomic uint32_t left; /* parts on their way, and one while they are sent */
    uint32_t part_count;
    struct produce_part parts[];
};

static void producing_fini(struct kafka_call *call)
{
    struct producing *producing = call->own;
    for (uint32_t i = 0; i < producing->part_count; i++)
        partition_drop(&producing->parts[i].partition);
}

/* ---- answering ---------------------------------------------------------------------------- */

static int16_t code_of_flaw(enum produce_flaw flaw)
{
    static const int16_t codes[] = {
        [PRODUCE_GOOD] = KAFKA_ERR_NONE,
        [PRODUCE_NOT_ONE_BATCH] = KAFKA_ERR_INVALID_RECORD,
        [PRODUCE_OLD_FORMAT] = KAFKA_ERR_INVALID_RECORD,
        [PRODUCE_TOO_LARGE] = KAFKA_ERR_MESSAGE_TOO_LARGE,
        [PRODUCE_BAD_CHECKSUM] = KAFKA_ERR_CORRUPT_MESSAGE,
        [PRODUCE_BAD_RECORD] = KAFKA_ERR_INVALID_RECORD,
        [PRODUCE_CONTROL] = KAFKA_ERR_INVALID_RECORD,
        [PRODUCE_TRANSACTIONAL] = KAFKA_ERR_INVALID_TXN_STATE,
        [PRODUCE_BAD_TIME] = KAFKA_ERR_INVALID_TIMESTAMP,
        [PRODUCE_NO_CODEC] = KAFKA_ERR_UNSUPPORTED_COMPRESSION_TYPE,
    };
    return codes[flaw];
}

static void answer_fault(struct kafka_call *call, struct kafka_produce_response_partition *answer, int16_t code,
                         const struct fault *fault)
{
    answer->error_code = code;
    answer->base_offset = -1;
    answer->log_append_time_ms = -1;
    answer->log_start_offset = -1;
    if (fault != NULL)
        answer->error_message = kafka_text(call, fault);
}

/* Newer clients go there at once (KIP-951). */
static void name_leader(struct kafka_produce_response_partition *answer, uint32_t broker_id, uint64_t term)
{
    answer->current_leader.leader_id = (int32_t)broker_id;
    answer->current_leader.leader_epoch = kafka_epoch_of(term);
}

static void answer_not_leader(struct kafka_call *call, struct kafka_produce_response_partition *answer,
                              const struct route *route)
{
    static const struct fault elsewhere = {.err = KQ_NOT_LEADER};
    answer_fault(call, answer, KAFKA_ERR_NOT_LEADER_OR_FOLLOWER, &elsewhere);
    if (route->kind == ROUTE_REMOTE)
        name_leader(answer, route->broker_id, route->term);
}

static void answer_part(struct kafka_call *call, struct produce_part *part)
{
    const struct publish_request *request = &part->request;
    if (request->fault.err == KQ_NOT_LEADER) { /* no longer; perhaps another is known already */
        uint64_t term = 0;
        uint32_t leader = partition_leader(part->partition, &term);
        answer_fault(call, part->answer, KAFKA_ERR_NOT_LEADER_OR_FOLLOWER, &request->fault);
        if (leader != 0 && leader != cluster_self(call->broker->cluster))
            name_leader(part->answer, leader, term);
        return;
    }
    if (request->fault.err != KQ_OK) {
        answer_fault(call, part->answer, kafka_code(&request->fault), &request->fault);
        return;
    }
    part->answer->base_offset = request->base_off;
    part->answer->log_append_time_ms = part->append_time_ms;
    part->answer->log_start_offset = request->log_start_off;
}

_Static_assert(sizeof(struct kafka_node) == sizeof(struct kafka_produce_response_node) &&
                   offsetof(struct kafka_node, port) == offsetof(struct kafka_produce_response_node, port),
               "nodes have one form");

/* Where the leaders are found that the answer names. */
static void answer_nodes(struct producing *producing)
{
    struct kafka_call *call = producing->call;
    struct kafka_produce_response *answer = call->answer;
    bool any = false;
    for (uint32_t i = 0; i < producing->part_count; i++)
        any |= producing->parts[i].answer->current_leader.leader_id > 0;
    if (!any || call->request.version < FIRST_WITH_LEADERS)
        return;
    struct image *image = cluster_image(call->broker->cluster);
    if (KAFKA_FILL(&call->arena, answer->node_endpoints, kafka_produce_response_node, image_broker_count(image))) {
        answer->node_endpoints.count = 0;
        for (uint32_t i = 0; i < producing->part_count; i++)
            kafka_add_node(call, image, producing->parts[i].answer->current_leader.leader_id,
                           (struct kafka_node *)(void *)answer->node_endpoints.at, &answer->node_endpoints.count);
    }
    image_drop(&image);
}

/* The last of those that are on their way: nobody else has the call in hand. */
static void producing_end(struct producing *producing)
{
    struct kafka_call *call = producing->call;
    const struct kafka_produce_response *answer = call->answer;
    for (uint32_t i = 0; i < producing->part_count; i++)
        if (producing->parts[i].partition != NULL)
            answer_part(call, &producing->parts[i]);
    answer_nodes(producing);
    for (int32_t t = 0; call->silent && t < answer->responses.count; t++)
        for (int32_t p = 0; p < answer->responses.at[t].partition_responses.count; p++)
            call->hang_up |= answer->responses.at[t].partition_responses.at[p].error_code != KAFKA_ERR_NONE;
    kafka_call_answered(call);
}

static void producing_less(struct producing *producing)
{
    if (atomic_fetch_sub_explicit(&producing->left, 1, memory_order_acq_rel) == 1)
        producing_end(producing);
}

/* The actor's turn. */
static void part_done(struct publish_request *request)
{
    producing_less(CONTAINER_OF(request, struct produce_part, request)->producing);
}

/* ---- sending ---------------------------------------------------------------------------------- */

/* Of a part that is not led here. Of one whose majority is gone a client learns what it waits for, if
 * it wanted a majority. */
static void answer_elsewhere(struct kafka_call *call, const struct image_topic *topic, struct produce_part *part,
                             const struct kafka_produce_request_partition *asked, const struct route *route)
{
    const struct kafka_produce_request *request = call->body;
    struct fault fault;
    if (route->kind != ROUTE_GONE || request->acks != -1) {
        answer_not_leader(call, part->answer, route);
        return;
    }
    (void)route_fault(topic, (uint32_t)asked->index, route, &fault);
    answer_fault(call, part->answer, KAFKA_ERR_NOT_ENOUGH_REPLICAS, &fault);
}

/* Answers at once, or leaves the part ready to be sent. */
static void part_begin(struct kafka_call *call, struct image_topic *topic, struct produce_part *part,
                       const struct kafka_produce_request_partition *asked)
{
    struct batch_info info;
    struct fault fault;
    struct route route;
    if (asked->index < 0 || (uint32_t)asked->index >= image_topic_partitions(topic)) {
        answer_fault(call, part->answer, KAFKA_ERR_UNKNOWN_TOPIC_OR_PARTITION, NULL);
        return;
    }
    const struct partition_limits *limits = image_topic_limits(topic);
    int64_t now_ms = clock_wall_ms();
    enum produce_flaw flaw =
        produce_check(asked->records, limits, call->request.version >= FIRST_WITH_ZSTD, now_ms, &info, &fault);
    if (flaw != PRODUCE_GOOD) {
        answer_fault(call, part->answer, code_of_flaw(flaw), &fault);
        return;
    }
    route_find(call->broker, topic, (uint32_t)asked->index, &route);
    if (route.kind != ROUTE_LOCAL || route.local == NULL) {
        answer_elsewhere(call, topic, part, asked, &route);
        return;
    }
    const struct kafka_produce_request *request = call->body;
    int64_t wait_ms = request->timeout_ms < 0 ? 0 : request->timeout_ms;
    if (wait_ms > PRODUCE_WAIT_MAX_MS)
        wait_ms = PRODUCE_WAIT_MAX_MS;
    uint8_t *batch = (uint8_t *)(uintptr_t)asked->records.data; /* in the frame, which is the call's */
    part->append_time_ms = limits->log_append_time ? now_ms : -1;
    if (limits->log_append_time)
        batch_stamp(batch, &info, now_ms);
    part->partition = partition_hold(route.local);
    part->request = (struct publish_request){
        .done = part_done,
        .batches = batch,
        .wants_in_sync = request->acks == -1,
        .batches_bytes = (uint32_t)asked->records.len,
        .record_count = (uint32_t)info.record_count,
        .batch_count = 1,
        .deadline_us = clock_mono_us() + wait_ms * 1000,
    };
}

static int16_t topic_code(const struct image_topic *topic)
{
    if (topic == NULL)
        return KAFKA_ERR_UNKNOWN_TOPIC_OR_PARTITION;
    return image_topic_internal(topic) ? KAFKA_ERR_INVALID_TOPIC_EXCEPTION : KAFKA_ERR_NONE;
}

/* Fills the answer with what is known at once, and the parts that are to be sent. False: no room. */
static bool producing_fill(struct kafka_call *call, struct producing *producing, const struct image *image,
                           int16_t refused)
{
    const struct kafka_produce_request *asked = call->body;
    struct kafka_produce_response *answer = call->answer;
    if (!KAFKA_FILL(&call->arena, answer->responses, kafka_produce_response_topic, asked->topic_data.count))
        return false;
    for (int32_t t = 0; t < asked->topic_data.count; t++) {
        const struct kafka_produce_request_topic *from = &asked->topic_data.at[t];
        struct kafka_produce_response_topic *to = &answer->responses.at[t];
        to->name = from->name;
        if (!KAFKA_FILL(&call->arena, to->partition_responses, kafka_produce_response_partition,
                        from->partition_data.count))
            return false;
        struct image_topic *topic = image_find(image, (const char *)from->name.data, from->name.len);
        int16_t code = refused != KAFKA_ERR_NONE ? refused : topic_code(topic);
        for (int32_t p = 0; p < from->partition_data.count; p++) {
            struct produce_part *part = &producing->parts[producing->part_count++];
            part->producing = producing;
            part->answer = &to->partition_responses.at[p];
            part->answer->index = from->partition_data.at[p].index;
            if (code != KAFKA_ERR_NONE)
                answer_fault(call, part->answer, code, NULL);
            else
                part_begin(call, topic, part, &from->partition_data.at[p]);
        }
    }
    return true;
}

static int16_t refuse_whole(const struct kafka_call *call)
{
    const struct kafka_produce_request *asked = call->body;
    if (call->request.version < call->request.api->served_from)
        return KAFKA_ERR_UNSUPPORTED_VERSION;
    if (!slice_is_absent(asked->transactional_id))
        return KAFKA_ERR_INVALID_TXN_STATE;
    if (asked->acks < -1 || asked->acks > 1)
        return KAFKA_ERR_INVALID_REQUIRED_ACKS;
    return KAFKA_ERR_NONE;
}

void kafka_handle_produce(struct kafka_call *call, struct worker *worker)
{
    (void)worker;
    const struct kafka_produce_request *asked = call->body;
    size_t count = 0;
    for (int32_t t = 0; t < asked->topic_data.count; t++)
        count += (size_t)asked->topic_data.at[t].partition_data.count;
    size_t size_bytes = sizeof(struct producing) + count * sizeof(struct produce_part);
    struct producing *producing = kafka_arena_take(&call->arena, size_bytes);
    call->silent = asked->acks == 0;
    if (producing == NULL) {
        call->hang_up = true;
        kafka_call_answered(call);
        return;
    }
    memset(producing, 0, size_bytes);
    producing->call = call;
    call->own = producing;
    call->fini = producing_fini;
    struct image *image = cluster_image(call->broker->cluster);
    call->hang_up = !producing_fill(call, producing, image, refuse_whole(call));
    image_drop(&image);
    (void)kafka_call_counts(call);
    atomic_store_explicit(&producing->left, 1, memory_order_relaxed);
    bool crowded = false;
    for (uint32_t i = 0; i < producing->part_count && !call->hang_up; i++) {
        struct produce_part *part = &producing->parts[i];
        if (part->partition == NULL)
            continue;
        atomic_fetch_add_explicit(&producing->left, 1, memory_order_relaxed);
        crowded |= partition_publish(part->partition, &part->request);
    }
    if (crowded)
        kafka_call_crowds(call);
    producing_less(producing);
}

/* ---- InitProducerId ------------------------------------------------------------------------------ */

struct initing {
    struct kafka_call *call;
    struct cluster_request request;
};

static void initing_fini(struct kafka_call *call)
{
    free(call->own);
}

/* Any thread. */
static void id_given(struct cluster_request *request)
{
    struct kafka_call *call = CONTAINER_OF(request, struct initing, request)->call;
    struct kafka_init_producer_id_response *answer = call->answer;
    answer->producer_id = request->fault.err == KQ_OK ? request->producer_id : -1;
    answer->producer_epoch = request->fault.err == KQ_OK ? 0 : -1;
    if (request->fault.err != KQ_OK)
        answer->error_code = KAFKA_ERR_COORDINATOR_NOT_AVAILABLE; /* clients try again */
    kafka_call_answered(call);
}

/* A producer that asks to go on with an id of its own gets a new one: with a new id its
 * sequences begin anew everywhere, which is what raising the epoch is for (KIP-360). */
void kafka_handle_init_producer_id(struct kafka_call *call, struct worker *worker)
{
    (void)worker;
    const struct kafka_init_producer_id_request *asked = call->body;
    struct kafka_init_producer_id_response *answer = call->answer;
    struct initing *initing = calloc(1, sizeof(*initing));
    call->own = initing;
    call->fini = initing_fini;
    if (initing == NULL || !slice_is_absent(asked->transactional_id)) {
        answer->error_code = initing == NULL ? KAFKA_ERR_COORDINATOR_NOT_AVAILABLE : KAFKA_ERR_INVALID_REQUEST;
        answer->producer_id = -1;
        answer->producer_epoch = -1;
        kafka_call_answered(call);
        return;
    }
    initing->call = call;
    initing->request.done = id_given;
    producer_id_next(call->broker, &initing->request);
}
