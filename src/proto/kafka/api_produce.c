/* Produce (0): records to append, partition by partition. See the header. */
#include "proto/kafka/api_produce.h"

#include "proto/kafka/rows.h"

static const struct kafka_field produce_request_partition_fields[] = {
    {FIELD(kafka_produce_request_partition, index, INT32)},
    {FIELD(kafka_produce_request_partition, records, RECORDS), NULLABLE(0)},
};
SHAPE(kafka_produce_request_partition, produce_request_partition_fields);

static const struct kafka_field produce_request_topic_fields[] = {
    {FIELD(kafka_produce_request_topic, name, STRING)},
    {STRUCTS(kafka_produce_request_topic, partition_data, kafka_produce_request_partition)},
};
SHAPE(kafka_produce_request_topic, produce_request_topic_fields);

static const struct kafka_field produce_request_fields[] = {
    {FIELD(kafka_produce_request, transactional_id, STRING), FROM(3), NULLABLE(3)},
    {FIELD(kafka_produce_request, acks, INT16)},
    {FIELD(kafka_produce_request, timeout_ms, INT32)},
    {STRUCTS(kafka_produce_request, topic_data, kafka_produce_request_topic)},
};
SHAPE(kafka_produce_request, produce_request_fields);

static const struct kafka_field produce_response_record_error_fields[] = {
    {FIELD(kafka_produce_response_record_error, batch_index, INT32), FROM(8)},
    {FIELD(kafka_produce_response_record_error, batch_index_error_message, STRING), FROM(8), NULLABLE(8)},
};
SHAPE(kafka_produce_response_record_error, produce_response_record_error_fields);

static const struct kafka_field produce_response_leader_fields[] = {
    {FIELD(kafka_produce_response_leader, leader_id, INT32), FROM(10), DEFAULT(-1)},
    {FIELD(kafka_produce_response_leader, leader_epoch, INT32), FROM(10), DEFAULT(-1)},
};
SHAPE(kafka_produce_response_leader, produce_response_leader_fields);

static const struct kafka_field produce_response_partition_fields[] = {
    {FIELD(kafka_produce_response_partition, index, INT32)},
    {FIELD(kafka_produce_response_partition, error_code, INT16)},
    {FIELD(kafka_produce_response_partition, base_offset, INT64)},
    {FIELD(kafka_produce_response_partition, log_append_time_ms, INT64), FROM(2), DEFAULT(-1)},
    {FIELD(kafka_produce_response_partition, log_start_offset, INT64), FROM(5), DEFAULT(-1)},
    {STRUCTS(kafka_produce_response_partition, record_errors, kafka_produce_response_record_error), FROM(8)},
    {FIELD(kafka_produce_response_partition, error_message, STRING), FROM(8), NULLABLE(8)},
    {STRUCT(kafka_produce_response_partition, current_leader, kafka_produce_response_leader), FROM(10), TAG(0)},
};
SHAPE(kafka_produce_response_partition, produce_response_partition_fields);

static const struct kafka_field produce_response_topic_fields[] = {
    {FIELD(kafka_produce_response_topic, name, STRING)},
    {STRUCTS(kafka_produce_response_topic, partition_responses, kafka_produce_response_partition)},
};
SHAPE(kafka_produce_response_topic, produce_response_topic_fields);

static const struct kafka_field produce_response_node_fields[] = {
    {FIELD(kafka_produce_response_node, node_id, INT32), FROM(10)},
    {FIELD(kafka_produce_response_node, host, STRING), FROM(10)},
    {FIELD(kafka_produce_response_node, port, INT32), FROM(10)},
    {FIELD(kafka_produce_response_node, rack, STRING), FROM(10), NULLABLE(10)},
};
SHAPE(kafka_produce_response_node, produce_response_node_fields);

static const struct kafka_field produce_response_fields[] = {
    {STRUCTS(kafka_produce_response, responses, kafka_produce_response_topic)},
    {FIELD(kafka_produce_response, throttle_time_ms, INT32), FROM(1)},
    {STRUCTS(kafka_produce_response, node_endpoints, kafka_produce_response_node), FROM(10), TAG(0)},
};
SHAPE(kafka_produce_response, produce_response_fields);
