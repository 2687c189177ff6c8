/*
 * ListOffsets, OffsetForLeaderEpoch, DeleteRecords: questions about a partition's offsets.
 *
 * The first is answered from the replica's view at once. The others are put to the
 * partitions' actors, all at once; the last to answer answers the client.
 */
#include "api/fetch.h"
#include "api/find_time.h"
#include "api/route.h"
#include "base/clock.h"
#include "base/require.h"
#include "proto/kafka/api_offsets.h"
#include "server/kafka_asking.h"

#include <stdlib.h>

enum { TIME_LATEST = -1, TIME_EARLIEST = -2, TIME_MAX = -3, TIME_EARLIEST_LOCAL = -4 };

/* ---- ListOffsets ----------------------------------------------------------------------------------- */

static int16_t list_offset(struct partition *partition, int64_t time_ms,
                           struct kafka_list_offsets_response_partition *to)
{
    struct fault fault = {.err = KQ_OK};
    if (time_ms >= 0 || time_ms == TIME_MAX) {
        fault.err =
            find_time(partition, time_ms == TIME_MAX ? FIND_TIME_NEWEST : time_ms, &to->offset, &to->timestamp, &fault);
    } else if (time_ms == TIME_LATEST || time_ms == TIME_EARLIEST || time_ms == TIME_EARLIEST_LOCAL) {
        int64_t start_off, end_off;
        if (!fetch_bounds(partition, &start_off, &end_off))
            return KAFKA_ERR_NOT_LEADER_OR_FOLLOWER; /* it opens */
        to->offset = time_ms == TIME_LATEST ? end_off : start_off;
    }
    /* else: nothing is stored elsewhere */
    return fault.err == KQ_OK ? KAFKA_ERR_NONE : kafka_code(&fault);
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
