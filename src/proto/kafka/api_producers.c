/* InitProducerId (22), DescribeProducers (61): idempotent producers. See the header. */
#include "proto/kafka/api_producers.h"

#include "proto/kafka/rows.h"

static const struct kafka_field init_producer_id_request_fields[] = {
    {FIELD(kafka_init_producer_id_request, transactional_id, STRING), NULLABLE(0)},
    {FIELD(kafka_init_producer_id_request, transaction_timeout_ms, INT32)},
    {FIELD(kafka_init_producer_id_request, producer_id, INT64), FROM(3), DEFAULT(-1)},
    {FIELD(kafka_init_producer_id_request, producer_epoch, INT16), FROM(3), DEFAULT(-1)},
};
SHAPE(kafka_init_producer_id_request, init_producer_id_request_fields);

static const struct kafka_field init_producer_id_response_fields[] = {
    {FIELD(kafka_init_producer_id_response, throttle_time_ms, INT32)},
    {FIELD(kafka_init_producer_id_response, error_code, INT16)},
    {FIELD(kafka_init_producer_id_response, producer_id, INT64), DEFAULT(-1)},
    {FIELD(kafka_init_producer_id_response, producer_epoch, INT16)},
};
SHAPE(kafka_init_producer_id_response, init_producer_id_response_fields);

static const struct kafka_field describe_producers_request_topic_fields[] = {
    {FIELD(kafka_describe_producers_request_topic, name, STRING)},
    {ARRAY(kafka_describe_producers_request_topic, partition_indexes, INT32)},
};
SHAPE(kafka_describe_producers_request_topic, describe_producers_request_topic_fields);

static const struct kafka_field describe_producers_request_fields[] = {
    {STRUCTS(kafka_describe_producers_request, topics, kafka_describe_producers_request_topic)},
};
SHAPE(kafka_describe_producers_request, describe_producers_request_fields);

static const struct kafka_field describe_producers_response_producer_fields[] = {
    {FIELD(kafka_describe_producers_response_producer, producer_id, INT64)},
    {FIELD(kafka_describe_producers_response_producer, producer_epoch, INT32)},
    {FIELD(kafka_describe_producers_response_producer, last_sequence, INT32), DEFAULT(-1)},
    {FIELD(kafka_describe_producers_response_producer, last_timestamp, INT64), DEFAULT(-1)},
    {FIELD(kafka_describe_producers_response_producer, coordinator_epoch, INT32)},
    {FIELD(kafka_describe_producers_response_producer, current_txn_start_offset, INT64), DEFAULT(-1)},
};
SHAPE(kafka_describe_producers_response_producer, describe_producers_response_producer_fields);

static const struct kafka_field describe_producers_response_partition_fields[] = {
    {FIELD(kafka_describe_producers_response_partition, partition_index, INT32)},
    {FIELD(kafka_describe_producers_response_partition, error_code, INT16)},
    {FIELD(kafka_describe_producers_response_partition, error_message, STRING), NULLABLE(0)},
    {STRUCTS(kafka_describe_producers_response_partition, active_producers,
             kafka_describe_producers_response_producer)},
};
SHAPE(kafka_describe_producers_response_partition, describe_producers_response_partition_fields);

static const struct kafka_field describe_producers_response_topic_fields[] = {
    {FIELD(kafka_describe_producers_response_topic, name, STRING)},
    {STRUCTS(kafka_describe_producers_response_topic, partitions, kafka_describe_producers_response_partition)},
};
SHAPE(kafka_describe_producers_response_topic, describe_producers_response_topic_fields);

static const struct kafka_field describe_producers_response_fields[] = {
    {FIELD(kafka_describe_producers_response, throttle_time_ms, INT32)},
    {STRUCTS(kafka_describe_producers_response, topics, kafka_describe_producers_response_topic)},
};
SHAPE(kafka_describe_producers_response, describe_producers_response_fields);
