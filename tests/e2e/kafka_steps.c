#include "e2e/kafka_steps.h"

#include "base/clock.h"
#include "base/crc32c.h"
#include "e2e/harness.h"
#include "log/batch.h"
#include "proto/kafka/api_metadata.h"
#include "proto/kafka/api_topics.h"

#include <stdlib.h>
#include <string.h>

enum { PARTS_MAX = 64, MUCH_BYTES = 16 * 1024 * 1024 };

void step_topic(struct kafka_caller *c, const char *name, int32_t partitions, int16_t replicas, const char *key,
                const char *value)
{
    struct kafka_create_topics_request_config config = {.name = slice_text(key == NULL ? "" : key),
                                                        .value = slice_text(value == NULL ? "" : value)};
    struct kafka_create_topics_request_topic topic = {
        .name = slice_text(name), .num_partitions = partitions, .replication_factor = replicas};
    topic.configs.at = &config;
    topic.configs.count = key != NULL;
    struct kafka_create_topics_request ask = {.timeout_ms = STEP_TIMEOUT_MS};
    ask.topics.at = &topic;
    ask.topics.count = 1;
    const struct kafka_create_topics_response *made = caller_ask(c, KAFKA_CREATE_TOPICS, 7, &ask);
    if (made->topics.count != 1 || made->topics.at[0].error_code != 0)
        harness_fail("a topic could not be made");
}

struct uuid step_topic_id(struct kafka_caller *c, const char *name)
{
    struct kafka_metadata_request_topic topic = {.name = slice_text(name)};
    struct kafka_metadata_request ask = {.topics = {.at = &topic, .count = 1}};
    const struct kafka_metadata_response *answer = caller_ask(c, KAFKA_METADATA, 12, &ask);
    if (answer->topics.count != 1 || answer->topics.at[0].error_code != 0)
        harness_fail("a topic is not there");
    return answer->topics.at[0].topic_id;
}

/* CRC-32 as gzip has it. */
static uint32_t crc32_of(const uint8_t *data, size_t size_bytes)
{
    uint32_t crc = ~0u;
    for (size_t i = 0; i < size_bytes; i++) {
        crc ^= data[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ ((crc & 1) != 0 ? 0xedb88320u : 0);
    }
    return ~crc;
}

/* Puts the batch's records into gzip's envelope, as one stored block. */
static void batch_gzip(struct buf *out)
{
    static const uint8_t head[10] = {0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3};
    size_t size_bytes = out->len - BATCH_HEADER_BYTES;
    uint8_t *plain = malloc(size_bytes);
    if (plain == NULL || size_bytes > UINT16_MAX)
        harness_fail("too much for one stored block");
    memcpy(plain, out->data + BATCH_HEADER_BYTES, size_bytes);
    out->len = BATCH_HEADER_BYTES;
    buf_put(out, head, sizeof(head));
    buf_u8(out, 1);
    buf_le16(out, (uint16_t)size_bytes);
    buf_le16(out, (uint16_t)~size_bytes);
    buf_put(out, plain, size_bytes);
    buf_le32(out, crc32_of(plain, size_bytes));
    buf_le32(out, (uint32_t)size_bytes);
    free(plain);
    put_be32(out->data + 8, (uint32_t)(out->len - 12));
    out->data[22] |= 1;
    put_be32(out->data + 17, crc32c(0, out->data + BATCH_CRC_FROM, out->len - BATCH_CRC_FROM));
}

static void batch_make(struct buf *out, const struct step_batch *batch)
{
    struct batch_maker maker;
    int64_t time_ms = batch->times_ms != NULL ? batch->times_ms[0]
                      : batch->time_ms != 0   ? batch->time_ms
                                              : clock_wall_ms();
    uint8_t *value = malloc(batch->value_bytes + 1);
    if (value == NULL)
        harness_fail("out of memory");
    memset(value, 'v', batch->value_bytes + 1);
    struct slice said = batch->value_bytes == 0 ? slice_text("value") : slice_of(value, batch->value_bytes);
    batch_begin(&maker, out, time_ms);
    for (int32_t i = 0; i == 0 || i < batch->records; i++)
        batch_add(&maker, batch->times_ms != NULL ? batch->times_ms[i] : time_ms + i, slice_text("key"), said, NULL,
                  slice_of(NULL, 0));
    bool numbered = batch->numbered;
    batch_end(&maker, numbered ? batch->producer_id : -1, batch->producer_epoch, numbered ? batch->sequence : -1);
    free(value);
    if (batch->gzip)
        batch_gzip(out);
}

int32_t step_send(struct kafka_caller *c, int16_t version, const struct step_batch *batch)
{
    struct buf out;
    buf_init(&out, MUCH_BYTES);
    batch_make(&out, batch);
    struct kafka_produce_request_partition partition = {.index = batch->partition,
                                                        .records = slice_of(out.data, out.len)};
    struct kafka_produce_request_topic data = {.name = slice_text(batch->topic)};
    data.partition_data.at = &partition;
    data.partition_data.count = 1;
    struct kafka_produce_request ask = {.acks = batch->silent      ? 0
                                                : batch->acks == 0 ? -1
                                                                   : batch->acks,
                                        .timeout_ms = STEP_TIMEOUT_MS};
    ask.topic_data.at = &data;
    ask.topic_data.count = 1;
    int32_t id = caller_send(c, KAFKA_PRODUCE, version, &ask);
    buf_fini(&out);
    return id;
}

struct kafka_produce_response_partition step_produced(struct kafka_caller *c, int16_t version, int32_t id)
{
    const struct kafka_produce_response *answer = caller_take(c, KAFKA_PRODUCE, version, id);
    if (answer->responses.count != 1 || answer->responses.at[0].partition_responses.count != 1)
        harness_fail("a produce is answered for other partitions");
    return answer->responses.at[0].partition_responses.at[0];
}

struct kafka_produce_response_partition step_produce(struct kafka_caller *c, const struct step_batch *batch)
{
    return step_produced(c, 9, step_send(c, 9, batch));
}

int32_t step_fetch_send(struct kafka_caller *c, const struct step_fetch *fetch)
{
    struct kafka_fetch_request_partition parts[PARTS_MAX];
    struct kafka_fetch_request_topic topic = {.topic_id = fetch->topic_id};
    struct kafka_fetch_request_forgotten gone = {.topic_id = fetch->topic_id};
    int32_t gone_partition = fetch->forgets - 1;
    struct kafka_fetch_request ask = {
        .replica_id = -1,
        .replica_state = {.replica_id = -1, .replica_epoch = -1},
        .max_wait_ms = fetch->wait_ms,
        .min_bytes = fetch->min_bytes,
        .max_bytes = fetch->max_bytes != 0 ? fetch->max_bytes : MUCH_BYTES,
        .session_id = fetch->session_id,
        .session_epoch = fetch->session_epoch,
    };
    for (int32_t i = 0; i < fetch->count && i < PARTS_MAX; i++)
        parts[i] = (struct kafka_fetch_request_partition){
            .partition = fetch->first + i,
            .current_leader_epoch = -1,
            .fetch_offset = fetch->offs != NULL ? fetch->offs[i] : 0,
            .last_fetched_epoch = -1,
            .log_start_offset = -1,
            .partition_max_bytes = fetch->part_max_bytes != 0 ? fetch->part_max_bytes : MUCH_BYTES,
        };
    if (fetch->topic != NULL)
        topic.topic = gone.topic = slice_text(fetch->topic);
    topic.partitions.at = parts;
    topic.partitions.count = fetch->count;
    ask.topics.at = &topic;
    ask.topics.count = fetch->count > 0;
    gone.partitions.at = &gone_partition;
    gone.partitions.count = 1;
    ask.forgotten_topics_data.at = &gone;
    ask.forgotten_topics_data.count = fetch->forgets != 0;
    return caller_send(c, KAFKA_FETCH, fetch->version == 0 ? 11 : fetch->version, &ask);
}

const struct kafka_fetch_response *step_fetched(struct kafka_caller *c, int16_t version, int32_t id)
{
    return caller_take(c, KAFKA_FETCH, version == 0 ? 11 : version, id);
}

const struct kafka_fetch_response *step_fetch(struct kafka_caller *c, const struct step_fetch *fetch)
{
    return step_fetched(c, fetch->version, step_fetch_send(c, fetch));
}

int32_t step_fetch_count(const struct kafka_fetch_response *answer)
{
    int32_t count = 0;
    for (int32_t t = 0; t < answer->responses.count; t++)
        count += answer->responses.at[t].partitions.count;
    return count;
}

const struct kafka_fetch_response_partition *step_fetch_at(const struct kafka_fetch_response *answer, int32_t i)
{
    for (int32_t t = 0; t < answer->responses.count; t++) {
        if (i < answer->responses.at[t].partitions.count)
            return &answer->responses.at[t].partitions.at[i];
        i -= answer->responses.at[t].partitions.count;
    }
    harness_fail("a fetch is answered for fewer partitions");
}
