/* Fetch (1): records from offsets on, with long polls and sessions (KIP-227). See the header. */
#include "proto/kafka/api_fetch.h"

#include "proto/kafka/rows.h"

static const struct kafka_field fetch_request_replica_fields[] = {
    {FIELD(kafka_fetch_request_replica, replica_id, INT32), FROM(15), DEFAULT(-1)},
    {FIELD(kafka_fetch_request_replica, replica_epoch, INT64), FROM(15), DEFAULT(-1)},
};
SHAPE(kafka_fetch_request_replica, fetch_request_replica_fields);

static const struct kafka_field fetch_request_partition_fields[] = {
    {FIELD(kafka_fetch_request_partition, partition, INT32)},
    {FIELD(kafka_fetch_request_partition, current_leader_epoch, INT32), FROM(9), DEFAULT(-1)},
    {FIELD(kafka_fetch_request_partition, fetch_offset, INT64)},
    {FIELD(kafka_fetch_request_partition, last_fetched_epoch, INT32), FROM(12), DEFAULT(-1)},
    {FIELD(kafka_fetch_request_partition, log_start_offset, INT64), FROM(5), DEFAULT(-1)},
    {FIELD(kafka_fetch_request_partition, partition_max_bytes, INT32)},
};
SHAPE(kafka_fetch_request_partition, fetch_request_partition_fields);

static const struct kafka_field fetch_request_topic_fields[] = {
    {FIELD(kafka_fetch_request_topic, topic, STRING), UNTIL(12)},
    {FIELD(kafka_fetch_request_topic, topic_id, UUID), FROM(13)},
    {STRUCTS(kafka_fetch_request_topic, partitions, kafka_fetch_request_partition)},
};
SHAPE(kafka_fetch_request_topic, fetch_request_topic_fields);

static const struct kafka_field fetch_request_forgotten_fields[] = {
    {FIELD(kafka_fetch_request_forgotten, topic, STRING), FROM(7), UNTIL(12)},
    {FIELD(kafka_fetch_request_forgotten, topic_id, UUID), FROM(13)},
    {ARRAY(kafka_fetch_request_forgotten, partitions, INT32), FROM(7)},
};
SHAPE(kafka_fetch_request_forgotten, fetch_request_forgotten_fields);

static const struct kafka_field fetch_request_fields[] = {
    {FIELD(kafka_fetch_request, cluster_id, STRING), FROM(12), NULLABLE(12), TAG(0)},
    {FIELD(kafka_fetch_request, replica_id, INT32), UNTIL(14), DEFAULT(-1)},
    {STRUCT(kafka_fetch_request, replica_state, kafka_fetch_request_replica), FROM(15), TAG(1)},
    {FIELD(kafka_fetch_request, max_wait_ms, INT32)},
    {FIELD(kafka_fetch_request, min_bytes, INT32)},
    {FIELD(kafka_fetch_request, max_bytes, INT32), FROM(3), DEFAULT(INT32_MAX)},
    {FIELD(kafka_fetch_request, isolation_level, INT8), FROM(4)},
    {FIELD(kafka_fetch_request, session_id, INT32), FROM(7)},
    {FIELD(kafka_fetch_request, session_epoch, INT32), FROM(7), DEFAULT(-1)},
    {STRUCTS(kafka_fetch_request, topics, kafka_fetch_request_topic)},
    {STRUCTS(kafka_fetch_request, forgotten_topics_data, kafka_fetch_request_forgotten), FROM(7)},
    {FIELD(kafka_fetch_request, rack_id, STRING), FROM(11)},
};
SHAPE(kafka_fetch_request, fetch_request_fields);

static const struct kafka_field fetch_response_epoch_end_fields[] = {
    {FIELD(kafka_fetch_response_epoch_end, epoch, INT32), FROM(12), DEFAULT(-1)},
    {FIELD(kafka_fetch_response_epoch_end, end_offset, INT64), FROM(12), DEFAULT(-1)},
};
SHAPE(kafka_fetch_response_epoch_end, fetch_response_epoch_end_fields);

static const struct kafka_field fetch_response_leader_fields[] = {
    {FIELD(kafka_fetch_response_leader, leader_id, INT32), FROM(12), DEFAULT(-1)},
    {FIELD(kafka_fetch_response_leader, leader_epoch, INT32), FROM(12), DEFAULT(-1)},
};
SHAPE(kafka_fetch_response_leader, fetch_response_leader_fields);

static const struct kafka_field fetch_response_snapshot_fields[] = {
    {FIELD(kafka_fetch_response_snapshot, end_offset, INT64), DEFAULT(-1)},
    {FIELD(kafka_fetch_response_snapshot, epoch, INT32), DEFAULT(-1)},
};
SHAPE(kafka_fetch_response_snapshot, fetch_response_snapshot_fields);

static const struct kafka_field fetch_response_aborted_fields[] = {
    {FIELD(kafka_fetch_response_aborted, producer_id, INT64), FROM(4)},
    {FIELD(kafka_fetch_response_aborted, first_offset, INT64), FROM(4)},
};
SHAPE(kafka_fetch_response_aborted, fetch_response_aborted_fields);

static const struct kafka_field fetch_response_partition_fields[] = {
    {FIELD(kafka_fetch_response_partition, partition_index, INT32)},
    {FIELD(kafka_fetch_response_partition, error_code, INT16)},
    {FIELD(kafka_fetch_response_partition, high_watermark, INT64)},
    {FIELD(kafka_fetch_response_partition, last_stable_offset, INT64), FROM(4), DEFAULT(-1)},
    {FIELD(kafka_fetch_response_partition, log_start_offset, INT64), FROM(5), DEFAULT(-1)},
    {STRUCT(kafka_fetch_response_partition, diverging_epoch, kafka_fetch_response_epoch_end), FROM(12), TAG(0)},
    {STRUCT(kafka_fetch_response_partition, current_leader, kafka_fetch_response_leader), FROM(12), TAG(1)},
    {STRUCT(kafka_fetch_response_partition, snapshot_id, kafka_fetch_response_snapshot), FROM(12), TAG(2)},
    {STRUCTS(kafka_fetch_response_partition, aborted_transactions, kafka_fetch_response_aborted), FROM(4), NULLABLE(4)},
    {FIELD(kafka_fetch_response_partition, preferred_read_replica, INT32), FROM(11), DEFAULT(-1)},
    {FIELD(kafka_fetch_response_partition, records, RECORDS), NULLABLE(0)},
};
SHAPE(kafka_fetch_response_partition, fetch_response_partition_fields);

static const struct kafka_field fetch_response_topic_fields[] = {
    {FIELD(kafka_fetch_response_topic, topic, STRING), UNTIL(12)},
    {FIELD(kafka_fetch_response_topic, topic_id, UUID), FROM(13)},
    {STRUCTS(kafka_fetch_response_topic, partitions, kafka_fetch_response_partition)},
};
SHAPE(kafka_fetch_response_topic, fetch_response_topic_fields);

static const struct kafka_field fetch_response_node_fields[] = {
    {FIELD(kafka_fetch_response_node, node_id, INT32), FROM(16)},
    {FIELD(kafka_fetch_response_node, host, STRING), FROM(16)},
    {FIELD(kafka_fetch_response_node, port, INT32), FROM(16)},
    {FIELD(kafka_fetch_response_node, rack, STRING), FROM(16), NULLABLE(16)},
};
SHAPE(kafka_fetch_response_node, fetch_response_node_fields);

static const struct kafka_field fetch_response_fields[] = {
    {FIELD(kafka_fetch_response, throttle_time_ms, INT32), FROM(1)},
    {FIELD(kafka_fetch_response, error_code, INT16), FROM(7)},
    {FIELD(kafka_fetch_response, session_id, INT32), FROM(7)},
    {STRUCTS(kafka_fetch_response, responses, kafka_fetch_response_topic)},
    {STRUCTS(kafka_fetch_response, node_endpoints, kafka_fetch_response_node), FROM(16), TAG(0)},
};
SHAPE(kafka_fetch_response, fetch_response_fields);
