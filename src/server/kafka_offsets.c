/*
 * ListOffsets, OffsetForLeaderEpoch, DeleteRecords: questions about a partition's offsets.
 *
 * The first is answered from the replica's view at once. The others are put to the
 * partitions' actors, all at once; the last to answer answers the client.
 */
#include "api/fetch.h"
#include "api/route.h"
#include "base/clock.h"
#include "base/require.h"
#include "proto/kafka/api_offsets.h"
#include "server/kafka_asking.h"

#include <sched.h>
#include <stdlib.h>

enum { TIME_LATEST = -1, TIME_EARLIEST = -2, TIME_MAX = -3, TIME_EARLIEST_LOCAL = -4, VIEW_TRIES = 100 };

/* ---- ListOffsets ----------------------------------------------------------------------------------- */

static enum kq_err find_time(struct log_view *view, int64_t time_ms, struct kafka_list_offsets_response_partition *to,
                             struct fault *fault)
{
    int64_t wanted_ms = time_ms;
    enum kq_err err = time_ms == TIME_MAX ? log_view_max_time(view, &wanted_ms, fault) : KQ_OK;
    if (err != KQ_OK)
        return err;
    if (time_ms == TIME_MAX && wanted_ms < 0) { /* nothing is in it */
        to->offset = to->timestamp = -1;
        return KQ_OK;
    }
    err = log_view_find_time(view, wanted_ms, &to->offset, &to->timestamp, fault);
    if (err == KQ_OK && to->timestamp < 0)
        to->offset = -1;
    return err;
}

static int16_t list_offset(struct partition *partition, int64_t time_ms,
                           struct kafka_list_offsets_response_partition *to)
{
    struct fault fault = {.err = KQ_AGAIN};
    for (int tries = 0; tries < VIEW_TRIES; tries++) {
        struct log_view *view = partition_view(partition);
        if (view == NULL)
            return KAFKA_ERR_NOT_LEADER_OR_FOLLOWER; /* it opens */
        enum kq_err err = KQ_OK;
        if (time_ms == TIME_LATEST)
            to->offset = log_view_high_watermark(view);
        else if (time_ms == TIME_EARLIEST || time_ms == TIME_EARLIEST_LOCAL)
            to->offset = log_view_start_off(view);
        else if (time_ms >= 0 || time_ms == TIME_MAX)
            err = find_time(view, time_ms, to, &fault);
        else
            to->offset = -1; /* nothing is stored elsewhere */
        log_view_drop(&view);
        if (err != KQ_AGAIN) {
            fault.err = err;
            return err == KQ_OK ? KAFKA_ERR_NONE : kafka_code(&fault);
        }
        (void)sched_yield(); /* segments came or went while it was taken */
    }
    return kafka_code(&fault);
}

static void list_partition(struct kafka_call *call, const struct image *image, struct slice topic,
                           const struct kafka_list_offsets_request_partition *asked,
                           struct kafka_list_offsets_response_partition *to)
{
    struct partition *partition = NULL;
    uint64_t term = 0;
    to->partition_index = asked->partition_index;
    to->timestamp = to->offset = -1;
    to->leader_epoch = -1;
    to->error_code =
        asking_find_leader(call, image, topic, asked->partition_index, asked->current_leader_epoch, &partition, &term);
    if (to->error_code == KAFKA_ERR_NONE)
        to->error_code = list_offset(partition, asked->timestamp, to);
    if (to->error_code == KAFKA_ERR_NONE && to->offset >= 0)
        to->leader_epoch = (int32_t)term;
}

void kafka_handle_list_offsets(struct kafka_call *call, struct worker *worker)
{
    (void)worker;
    const struct kafka_list_offsets_request *asked = call->body;
    struct kafka_list_offsets_response *answer = call->answer;
    struct image *image = cluster_image(call->broker->cluster);
    if (KAFKA_FILL(&call->arena, answer->topics, kafka_list_offsets_response_topic, asked->topics.count)) {
        for (int32_t t = 0; t < asked->topics.count; t++) {
            const struct kafka_list_offsets_request_topic *from = &asked->topics.at[t];
            struct kafka_list_offsets_response_topic *to = &answer->topics.at[t];
            to->name = from->name;
            if (!KAFKA_FILL(&call->arena, to->partitions, kafka_list_offsets_response_partition,
                            from->partitions.count))
                break;
            for (int32_t p = 0; p < from->partitions.count; p++)
                list_partition(call, image, from->name, &from->partitions.at[p], &to->partitions.at[p]);
        }
    }
    image_drop(&image);
    kafka_call_answered(call);
}

/* ---- OffsetForLeaderEpoch --------------------------------------------------------------------------------- */

static void epoch_fill(struct asking_one *one)
{
    struct kafka_offset_for_leader_epoch_response_partition *to = one->answer;
    const struct partition_ask *ask = &one->ask;
    if (ask->fault.err != KQ_OK) {
        to->error_code = kafka_code(&ask->fault);
    } else if (ask->epoch != 0) {
        to->leader_epoch = (int32_t)ask->epoch;
        to->end_offset = ask->off;
    }
}

static void epoch_ask(struct asking *asking, const struct image *image, struct slice topic,
                      const struct kafka_offset_for_leader_epoch_request_partition *asked,
                      struct kafka_offset_for_leader_epoch_response_partition *to)
{
    struct partition *partition = NULL;
    uint64_t term = 0;
    to->partition = asked->partition;
    to->leader_epoch = -1;
    to->end_offset = -1;
    to->error_code = asking_find_leader(asking->call, image, topic, asked->partition, asked->current_leader_epoch,
                                        &partition, &term);
    if (to->error_code != KAFKA_ERR_NONE || asked->leader_epoch < 0)
        return;
    struct partition_ask ask = {.question = PARTITION_ASK_EPOCH, .epoch = (uint64_t)asked->leader_epoch};
    asking_add(asking, partition, &ask, to);
}

void kafka_handle_offset_for_leader_epoch(struct kafka_call *call, struct worker *worker)
{
    (void)worker;
    const struct kafka_offset_for_leader_epoch_request *asked = call->body;
    struct kafka_offset_for_leader_epoch_response *answer = call->answer;
    size_t count = 0;
    for (int32_t t = 0; t < asked->topics.count; t++)
        count += (size_t)asked->topics.at[t].partitions.count;
    struct asking *asking = asking_new(call, count, epoch_fill);
    if (asking == NULL)
        return;
    struct image *image = cluster_image(call->broker->cluster);
    if (KAFKA_FILL(&call->arena, answer->topics, kafka_offset_for_leader_epoch_response_topic, asked->topics.count)) {
        for (int32_t t = 0; t < asked->topics.count; t++) {
            const struct kafka_offset_for_leader_epoch_request_topic *from = &asked->topics.at[t];
            struct kafka_offset_for_leader_epoch_response_topic *to = &answer->topics.at[t];
            to->topic = from->topic;
            if (!KAFKA_FILL(&call->arena, to->partitions, kafka_offset_for_leader_epoch_response_partition,
                            from->partitions.count))
                break;
            for (int32_t p = 0; p < from->partitions.count; p++)
                epoch_ask(asking, image, from->topic, &from->partitions.at[p], &to->partitions.at[p]);
        }
    }
    image_drop(&image);
    asking_send(asking);
}

/* ---- DeleteRecords ------------------------------------------------------------------------------------------- */

static void start_fill(struct asking_one *one)
{
    struct kafka_delete_records_response_partition *to = one->answer;
    if (one->ask.fault.err != KQ_OK)
        to->error_code = kafka_code(&one->ask.fault);
    else
        to->low_watermark = one->ask.off;
}

static void start_ask(struct asking *asking, const struct image *image, struct slice topic,
                      const struct kafka_delete_records_request_partition *asked, int64_t deadline_us,
                      struct kafka_delete_records_response_partition *to)
{
    struct partition *partition = NULL;
    uint64_t term = 0;
    to->partition_index = asked->partition_index;
    to->low_watermark = -1;
    to->error_code = asking_find_leader(asking->call, image, topic, asked->partition_index, -1, &partition, &term);
    if (to->error_code == KAFKA_ERR_NONE && asked->offset < -1)
        to->error_code = KAFKA_ERR_OFFSET_OUT_OF_RANGE;
    if (to->error_code != KAFKA_ERR_NONE)
        return;
    struct partition_ask ask = {.question = PARTITION_ASK_START, .off = asked->offset, .deadline_us = deadline_us};
    asking_add(asking, partition, &ask, to);
}

void kafka_handle_delete_records(struct kafka_call *call, struct worker *worker)
{
    (void)worker;
    const struct kafka_delete_records_request *asked = call->body;
    struct kafka_delete_records_response *answer = call->answer;
    size_t count = 0;
    for (int32_t t = 0; t < asked->topics.count; t++)
        count += (size_t)asked->topics.at[t].partitions.count;
    struct asking *asking = asking_new(call, count, start_fill);
    if (asking == NULL)
        return;
    int64_t deadline_us = clock_mono_us() + (int64_t)(asked->timeout_ms < 0 ? 0 : asked->timeout_ms) * 1000;
    struct image *image = cluster_image(call->broker->cluster);
    if (KAFKA_FILL(&call->arena, answer->topics, kafka_delete_records_response_topic, asked->topics.count)) {
        for (int32_t t = 0; t < asked->topics.count; t++) {
            const struct kafka_delete_records_request_topic *from = &asked->topics.at[t];
            struct kafka_delete_records_response_topic *to = &answer->topics.at[t];
            to->name = from->name;
            if (!KAFKA_FILL(&call->arena, to->partitions, kafka_delete_records_response_partition,
                            from->partitions.count))
                break;
            for (int32_t p = 0; p < from->partitions.count; p++)
                start_ask(asking, image, from->name, &from->partitions.at[p], deadline_us, &to->partitions.at[p]);
        }
    }
    image_drop(&image);
    asking_send(asking);
}
