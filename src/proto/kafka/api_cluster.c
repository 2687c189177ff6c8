/* DescribeLogDirs (35), DescribeQuorum (55), DescribeCluster (60). See the header. */
#include "proto/kafka/api_cluster.h"

#include "proto/kafka/rows.h"

static const struct kafka_field describe_log_dirs_request_topic_fields[] = {
    {FIELD(kafka_describe_log_dirs_request_topic, topic, STRING)},
    {ARRAY(kafka_describe_log_dirs_request_topic, partitions, INT32)},
};
SHAPE(kafka_describe_log_dirs_request_topic, describe_log_dirs_request_topic_fields);

static const struct kafka_field describe_log_dirs_request_fields[] = {
    {STRUCTS(kafka_describe_log_dirs_request, topics, kafka_describe_log_dirs_request_topic), NULLABLE(0)},
};
SHAPE(kafka_describe_log_dirs_request, describe_log_dirs_request_fields);

static const struct kafka_field describe_log_dirs_response_partition_fields[] = {
    {FIELD(kafka_describe_log_dirs_response_partition, partition_index, INT32)},
    {FIELD(kafka_describe_log_dirs_response_partition, partition_size, INT64)},
    {FIELD(kafka_describe_log_dirs_response_partition, offset_lag, INT64)},
    {FIELD(kafka_describe_log_dirs_response_partition, is_future_key, BOOL)},
};
SHAPE(kafka_describe_log_dirs_response_partition, describe_log_dirs_response_partition_fields);

static const struct kafka_field describe_log_dirs_response_topic_fields[] = {
    {FIELD(kafka_describe_log_dirs_response_topic, name, STRING)},
    {STRUCTS(kafka_describe_log_dirs_response_topic, partitions, kafka_describe_log_dirs_response_partition)},
};
SHAPE(kafka_describe_log_dirs_response_topic, describe_log_dirs_response_topic_fields);

static const struct kafka_field describe_log_dirs_response_result_fields[] = {
    {FIELD(kafka_describe_log_dirs_response_result, error_code, INT16)},
    {FIELD(kafka_describe_log_dirs_response_result, log_dir, STRING)},
    {STRUCTS(kafka_describe_log_dirs_response_result, topics, kafka_describe_log_dirs_response_topic)},
    {FIELD(kafka_describe_log_dirs_response_result, total_bytes, INT64), FROM(4), DEFAULT(-1)},
    {FIELD(kafka_describe_log_dirs_response_result, usable_bytes, INT64), FROM(4), DEFAULT(-1)},
};
SHAPE(kafka_describe_log_dirs_response_result, describe_log_dirs_response_result_fields);

static const struct kafka_field describe_log_dirs_response_fields[] = {
    {FIELD(kafka_describe_log_dirs_response, throttle_time_ms, INT32)},
    {FIELD(kafka_describe_log_dirs_response, error_code, INT16), FROM(3)},
    {STRUCTS(kafka_describe_log_dirs_response, results, kafka_describe_log_dirs_response_result)},
};
SHAPE(kafka_describe_log_dirs_response, describe_log_dirs_response_fields);

static const struct kafka_field describe_quorum_request_partition_fields[] = {
    {FIELD(kafka_describe_quorum_request_partition, partition_index, INT32)},
};
SHAPE(kafka_describe_quorum_request_partition, describe_quorum_request_partition_fields);

static const struct kafka_field describe_quorum_request_topic_fields[] = {
    {FIELD(kafka_describe_quorum_request_topic, topic_name, STRING)},
    {STRUCTS(kafka_describe_quorum_request_topic, partitions, kafka_describe_quorum_request_partition)},
};
SHAPE(kafka_describe_quorum_request_topic, describe_quorum_request_topic_fields);

static const struct kafka_field describe_quorum_request_fields[] = {
    {STRUCTS(kafka_describe_quorum_request, topics, kafka_describe_quorum_request_topic)},
};
SHAPE(kafka_describe_quorum_request, describe_quorum_request_fields);

static const struct kafka_field describe_quorum_response_replica_fields[] = {
    {FIELD(kafka_describe_quorum_response_replica, replica_id, INT32)},
    {FIELD(kafka_describe_quorum_response_replica, replica_directory_id, UUID), FROM(2)},
    {FIELD(kafka_describe_quorum_response_replica, log_end_offset, INT64)},
    {FIELD(kafka_describe_quorum_response_replica, last_fetch_timestamp, INT64), FROM(1), DEFAULT(-1)},
    {FIELD(kafka_describe_quorum_response_replica, last_caught_up_timestamp, INT64), FROM(1), DEFAULT(-1)},
};
SHAPE(kafka_describe_quorum_response_replica, describe_quorum_response_replica_fields);

static const struct kafka_field describe_quorum_response_partition_fields[] = {
    {FIELD(kafka_describe_quorum_response_partition, partition_index, INT32)},
    {FIELD(kafka_describe_quorum_response_partition, error_code, INT16)},
    {FIELD(kafka_describe_quorum_response_partition, error_message, STRING), FROM(2), NULLABLE(2)},
    {FIELD(kafka_describe_quorum_response_partition, leader_id, INT32)},
    {FIELD(kafka_describe_quorum_response_partition, leader_epoch, INT32)},
    {FIELD(kafka_describe_quorum_response_partition, high_watermark, INT64)},
    {STRUCTS(kafka_describe_quorum_response_partition, current_voters, kafka_describe_quorum_response_replica)},
    {STRUCTS(kafka_describe_quorum_response_partition, observers, kafka_describe_quorum_response_replica)},
};
SHAPE(kafka_describe_quorum_response_partition, describe_quorum_response_partition_fields);

static const struct kafka_field describe_quorum_response_topic_fields[] = {
    {FIELD(kafka_describe_quorum_response_topic, topic_name, STRING)},
    {STRUCTS(kafka_describe_quorum_response_topic, partitions, kafka_describe_quorum_response_partition)},
};
SHAPE(kafka_describe_quorum_response_topic, describe_quorum_response_topic_fields);

static const struct kafka_field describe_quorum_response_listener_fields[] = {
    {FIELD(kafka_describe_quorum_response_listener, name, STRING), FROM(2)},
    {FIELD(kafka_describe_quorum_response_listener, host, STRING), FROM(2)},
    {FIELD(kafka_describe_quorum_response_listener, port, UINT16), FROM(2)},
};
SHAPE(kafka_describe_quorum_response_listener, describe_quorum_response_listener_fields);

static const struct kafka_field describe_quorum_response_node_fields[] = {
    {FIELD(kafka_describe_quorum_response_node, node_id, INT32), FROM(2)},
    {STRUCTS(kafka_describe_quorum_response_node, listeners, kafka_describe_quorum_response_listener), FROM(2)},
};
SHAPE(kafka_describe_quorum_response_node, describe_quorum_response_node_fields);

static const struct kafka_field describe_quorum_response_fields[] = {
    {FIELD(kafka_describe_quorum_response, error_code, INT16)},
    {FIELD(kafka_describe_quorum_response, error_message, STRING), FROM(2), NULLABLE(2)},
    {STRUCTS(kafka_describe_quorum_response, topics, kafka_describe_quorum_response_topic)},
    {STRUCTS(kafka_describe_quorum_response, nodes, kafka_describe_quorum_response_node), FROM(2)},
};
SHAPE(kafka_describe_quorum_response, describe_quorum_response_fields);

static const struct kafka_field describe_cluster_request_fields[] = {
    {FIELD(kafka_describe_cluster_request, include_cluster_authorized_operations, BOOL)},
    {FIELD(kafka_describe_cluster_request, endpoint_type, INT8), FROM(1), DEFAULT(1)},
};
SHAPE(kafka_describe_cluster_request, describe_cluster_request_fields);

static const struct kafka_field describe_cluster_response_broker_fields[] = {
    {FIELD(kafka_describe_cluster_response_broker, broker_id, INT32)},
    {FIELD(kafka_describe_cluster_response_broker, host, STRING)},
    {FIELD(kafka_describe_cluster_response_broker, port, INT32)},
    {FIELD(kafka_describe_cluster_response_broker, rack, STRING), NULLABLE(0)},
};
SHAPE(kafka_describe_cluster_response_broker, describe_cluster_response_broker_fields);

static const struct kafka_field describe_cluster_response_fields[] = {
    {FIELD(kafka_describe_cluster_response, throttle_time_ms, INT32)},
    {FIELD(kafka_describe_cluster_response, error_code, INT16)},
    {FIELD(kafka_describe_cluster_response, error_message, STRING), NULLABLE(0)},
    {FIELD(kafka_describe_cluster_response, endpoint_type, INT8), FROM(1), DEFAULT(1)},
    {FIELD(kafka_describe_cluster_response, cluster_id, STRING)},
    {FIELD(kafka_describe_cluster_response, controller_id, INT32), DEFAULT(-1)},
    {STRUCTS(kafka_describe_cluster_response, brokers, kafka_describe_cluster_response_broker)},
    {FIELD(kafka_describe_cluster_response, cluster_authorized_operations, INT32), DEFAULT(INT32_MIN)},
};
SHAPE(kafka_describe_cluster_response, describe_cluster_response_fields);
