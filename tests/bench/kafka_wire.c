/* Frames through the broker's own codec, which makes them once. */
#include "bench/kafka_wire.h"

#include "base/clock.h"
#include "e2e/harness.h"
#include "log/batch.h"
#include "proto/kafka/api_fetch.h"
#include "proto/kafka/api_produce.h"
#include "proto/kafka/kafka.h"

enum { PRODUCE_VERSION = 7, FETCH_VERSION = 11 };

static const struct slice absent;

void wire_put_batch(struct buf *out, struct slice value, unsigned records)
{
    struct batch_maker maker;
    int64_t now_ms = clock_wall_ms();
    batch_begin(&maker, out, now_ms);
    for (; records > 0; records--)
        batch_add(&maker, now_ms, absent, value, NULL, absent);
    batch_end(&maker, -1, -1, -1);
}

void wire_put_produce(struct buf *out, const char *topic, struct slice batch)
{
    struct kafka_produce_request_partition partition = {.records = batch};
    struct kafka_produce_request_topic to = {.name = slice_text(topic)};
    struct kafka_produce_request body = {.acks = -1, .timeout_ms = WIRE_TIMEOUT_MS};
    to.partition_data.at = &partition;
    to.partition_data.count = 1;
    body.topic_data.at = &to;
    body.topic_data.count = 1;
    buf_reset(out);
    kafka_request_put(out, kafka_api(KAFKA_PRODUCE), PRODUCE_VERSION, 1, slice_text("bench"), &body);
    if (out->bad)
        harness_fail("out of memory");
}

void wire_put_fetch(struct buf *out, const char *topic, int32_t number, int64_t off, int32_t wait_ms, size_t max_bytes)
{
    struct kafka_fetch_request_partition partition = {.partition = number,
                                                      .current_leader_epoch = -1,
                                                      .fetch_offset = off,
                                                      .log_start_offset = -1,
                                                      .partition_max_bytes = (int32_t)max_bytes};
    struct kafka_fetch_request_topic from = {.topic = slice_text(topic)};
    struct kafka_fetch_request body = {.replica_id = -1,
                                       .max_wait_ms = wait_ms,
                                       .min_bytes = 1,
                                       .max_bytes = (int32_t)max_bytes,
                                       .session_epoch = -1,
                                       .rack_id = slice_text("")};
    from.partitions.at = &partition;
    from.partitions.count = 1;
    body.topics.at = &from;
    body.topics.count = 1;
    buf_reset(out);
    kafka_request_put(out, kafka_api(KAFKA_FETCH), FETCH_VERSION, 1, slice_text("bench"), &body);
    if (out->bad)
        harness_fail("out of memory");
}

size_t wire_produced_error_at(const char *topic)
{
    return 4 + 4 + 4 + 2 + strlen(topic) + 4 + 4; /* size, correlation id, topics, name, partitions, index */
}

size_t wire_fetched_error_at(const char *topic)
{
    /* size, correlation id, throttle time, error, session, topics, name, partitions, index */
    return 4 + 4 + 4 + 2 + 4 + 4 + 2 + strlen(topic) + 4 + 4;
}

size_t wire_fetched_records_at(const char *topic)
{
    /* error, high watermark, last stable offset, log start, aborted, preferred replica, size */
    return wire_fetched_error_at(topic) + 2 + 8 + 8 + 8 + 4 + 4 + 4;
}
