/* Metadata (3): brokers, topics, partitions and who leads them. See the header. */
#include "proto/kafka/api_metadata.h"

#include "proto/kafka/rows.h"

static const struct kafka_field metadata_request_topic_fields[] = {
    {FIELD(kafka_metadata_request_topic, topic_id, UUID), FROM(10)},
    {FIELD(kafka_metadata_request_topic, name, STRING), NULLABLE(10)},
};
SHAPE(kafka_metadata_request_topic, metadata_request_topic_fields);

static const struct kafka_field metadata_request_fields[] = {
    {STRUCTS(kafka_metadata_request, topics, kafka_metadata_request_topic), NULLABLE(1)},
    {FIELD(kafka_metadata_request, allow_auto_topic_creation, BOOL), FROM(4), DEFAULT(1)},
    {FIELD(kafka_metadata_request, include_cluster_authorized_operations, BOOL), FROM(8), UNTIL(10)},
    {FIELD(kafka_metadata_request, include_topic_authorized_operations, BOOL), FROM(8)},
};
SHAPE(kafka_metadata_request, metadata_request_fields);

static const struct kafka_field metadata_response_broker_fields[] = {
    {FIELD(kafka_metadata_response_broker, node_id, INT32)},
    {FIELD(kafka_metadata_response_broker, host, STRING)},
    {FIELD(kafka_metadata_response_broker, port, INT32)},
    {FIELD(kafka_metadata_response_broker, rack, STRING), FROM(1), NULLABLE(1)},
};
SHAPE(kafka_metadata_response_broker, metadata_response_broker_fields);

static const struct kafka_field metadata_response_partition_fields[] = {
    {FIELD(kafka_metadata_response_partition, error_code, INT16)},
    {FIELD(kafka_metadata_response_partition, partition_index, INT32)},
    {FIELD(kafka_metadata_response_partition, leader_id, INT32)},
    {FIELD(kafka_metadata_response_partition, leader_epoch, INT32), FROM(7), DEFAULT(-1)},
    {ARRAY(kafka_metadata_response_partition, replica_nodes, INT32)},
    {ARRAY(kafka_metadata_response_partition, isr_nodes, INT32)},
    {ARRAY(kafka_metadata_response_partition, offline_replicas, INT32), FROM(5)},
};
SHAPE(kafka_metadata_response_partition, metadata_response_partition_fields);

static const struct kafka_field metadata_response_topic_fields[] = {
    {FIELD(kafka_metadata_response_topic, error_code, INT16)},
    {FIELD(kafka_metadata_response_topic, name, STRING), NULLABLE(12)},
    {FIELD(kafka_metadata_response_topic, topic_id, UUID), FROM(10)},
    {FIELD(kafka_metadata_response_topic, is_internal, BOOL), FROM(1)},
    {STRUCTS(kafka_metadata_response_topic, partitions, kafka_metadata_response_partition)},
    {FIELD(kafka_metadata_response_topic, topic_authorized_operations, INT32), FROM(8), DEFAULT(INT32_MIN)},
};
SHAPE(kafka_metadata_response_topic, metadata_response_topic_fields);

static const struct kafka_field metadata_response_fields[] = {
    {FIELD(kafka_metadata_response, throttle_time_ms, INT32), FROM(3)},
    {STRUCTS(kafka_metadata_response, brokers, kafka_metadata_response_broker)},
    {FIELD(kafka_metadata_response, cluster_id, STRING), FROM(2), NULLABLE(2)},
    {FIELD(kafka_metadata_response, controller_id, INT32), FROM(1), DEFAULT(-1)},
    {STRUCTS(kafka_metadata_response, topics, kafka_metadata_response_topic)},
    {FIELD(kafka_metadata_response, cluster_authorized_operations, INT32), FROM(8), UNTIL(10), DEFAULT(INT32_MIN)},
};
SHAPE(kafka_metadata_response, metadata_response_fields);
