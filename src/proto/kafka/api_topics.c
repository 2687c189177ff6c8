/* CreateTopics (19), DeleteTopics (20), CreatePartitions (37), ElectLeaders (43). See the header. */
#include "proto/kafka/api_topics.h"

#include "proto/kafka/rows.h"

static const struct kafka_field create_topics_request_assignment_fields[] = {
    {FIELD(kafka_create_topics_request_assignment, partition_index, INT32)},
    {ARRAY(kafka_create_topics_request_assignment, broker_ids, INT32)},
};
SHAPE(kafka_create_topics_request_assignment, create_topics_request_assignment_fields);

static const struct kafka_field create_topics_request_config_fields[] = {
    {FIELD(kafka_create_topics_request_config, name, STRING)},
    {FIELD(kafka_create_topics_request_config, value, STRING), NULLABLE(0)},
};
SHAPE(kafka_create_topics_request_config, create_topics_request_config_fields);

static const struct kafka_field create_topics_request_topic_fields[] = {
    {FIELD(kafka_create_topics_request_topic, name, STRING)},
    {FIELD(kafka_create_topics_request_topic, num_partitions, INT32)},
    {FIELD(kafka_create_topics_request_topic, replication_factor, INT16)},
    {STRUCTS(kafka_create_topics_request_topic, assignments, kafka_create_topics_request_assignment)},
    {STRUCTS(kafka_create_topics_request_topic, configs, kafka_create_topics_request_config)},
};
SHAPE(kafka_create_topics_request_topic, create_topics_request_topic_fields);

static const struct kafka_field create_topics_request_fields[] = {
    {STRUCTS(kafka_create_topics_request, topics, kafka_create_topics_request_topic)},
    {FIELD(kafka_create_topics_request, timeout_ms, INT32), DEFAULT(60000)},
    {FIELD(kafka_create_topics_request, validate_only, BOOL), FROM(1)},
};
SHAPE(kafka_create_topics_request, create_topics_request_fields);

static const struct kafka_field create_topics_response_config_fields[] = {
    {FIELD(kafka_create_topics_response_config, name, STRING), FROM(5)},
    {FIELD(kafka_create_topics_response_config, value, STRING), FROM(5), NULLABLE(5)},
    {FIELD(kafka_create_topics_response_config, read_only, BOOL), FROM(5)},
    {FIELD(kafka_create_topics_response_config, config_source, INT8), FROM(5), DEFAULT(-1)},
    {FIELD(kafka_create_topics_response_config, is_sensitive, BOOL), FROM(5)},
};
SHAPE(kafka_create_topics_response_config, create_topics_response_config_fields);

static const struct kafka_field create_topics_response_topic_fields[] = {
    {FIELD(kafka_create_topics_response_topic, name, STRING)},
    {FIELD(kafka_create_topics_response_topic, topic_id, UUID), FROM(7)},
    {FIELD(kafka_create_topics_response_topic, error_code, INT16)},
    {FIELD(kafka_create_topics_response_topic, error_message, STRING), FROM(1), NULLABLE(1)},
    {FIELD(kafka_create_topics_response_topic, topic_config_error_code, INT16), FROM(5), TAG(0)},
    {FIELD(kafka_create_topics_response_topic, num_partitions, INT32), FROM(5), DEFAULT(-1)},
    {FIELD(kafka_create_topics_response_topic, replication_factor, INT16), FROM(5), DEFAULT(-1)},
    {STRUCTS(kafka_create_topics_response_topic, configs, kafka_create_topics_response_config), FROM(5), NULLABLE(5)},
};
SHAPE(kafka_create_topics_response_topic, create_topics_response_topic_fields);

static const struct kafka_field create_topics_response_fields[] = {
    {FIELD(kafka_create_topics_response, throttle_time_ms, INT32), FROM(2)},
    {STRUCTS(kafka_create_topics_response, topics, kafka_create_topics_response_topic)},
};
SHAPE(kafka_create_topics_response, create_topics_response_fields);

static const struct kafka_field delete_topics_request_topic_fields[] = {
    {FIELD(kafka_delete_topics_request_topic, name, STRING), FROM(6), NULLABLE(6)},
    {FIELD(kafka_delete_topics_request_topic, topic_id, UUID), FROM(6)},
};
SHAPE(kafka_delete_topics_request_topic, delete_topics_request_topic_fields);

static const struct kafka_field delete_topics_request_fields[] = {
    {STRUCTS(kafka_delete_topics_request, topics, kafka_delete_topics_request_topic), FROM(6)},
    {ARRAY(kafka_delete_topics_request, topic_names, STRING), UNTIL(5)},
    {FIELD(kafka_delete_topics_request, timeout_ms, INT32)},
};
SHAPE(kafka_delete_topics_request, delete_topics_request_fields);

static const struct kafka_field delete_topics_response_result_fields[] = {
    {FIELD(kafka_delete_topics_response_result, name, STRING), NULLABLE(6)},
    {FIELD(kafka_delete_topics_response_result, topic_id, UUID), FROM(6)},
    {FIELD(kafka_delete_topics_response_result, error_code, INT16)},
    {FIELD(kafka_delete_topics_response_result, error_message, STRING), FROM(5), NULLABLE(5)},
};
SHAPE(kafka_delete_topics_response_result, delete_topics_response_result_fields);

static const struct kafka_field delete_topics_response_fields[] = {
    {FIELD(kafka_delete_topics_response, throttle_time_ms, INT32), FROM(1)},
    {STRUCTS(kafka_delete_topics_response, responses, kafka_delete_topics_response_result)},
};
SHAPE(kafka_delete_topics_response, delete_topics_response_fields);

static const struct kafka_field create_partitions_request_assignment_fields[] = {
    {ARRAY(kafka_create_partitions_request_assignment, broker_ids, INT32)},
};
SHAPE(kafka_create_partitions_request_assignment, create_partitions_request_assignment_fields);

static const struct kafka_field create_partitions_request_topic_fields[] = {
    {FIELD(kafka_create_partitions_request_topic, name, STRING)},
    {FIELD(kafka_create_partitions_request_topic, count, INT32)},
    {STRUCTS(kafka_create_partitions_request_topic, assignments, kafka_create_partitions_request_assignment),
     NULLABLE(0)},
};
SHAPE(kafka_create_partitions_request_topic, create_partitions_request_topic_fields);

static const struct kafka_field create_partitions_request_fields[] = {
    {STRUCTS(kafka_create_partitions_request, topics, kafka_create_partitions_request_topic)},
    {FIELD(kafka_create_partitions_request, timeout_ms, INT32)},
    {FIELD(kafka_create_partitions_request, validate_only, BOOL)},
};
SHAPE(kafka_create_partitions_request, create_partitions_request_fields);

static const struct kafka_field create_partitions_response_result_fields[] = {
    {FIELD(kafka_create_partitions_response_result, name, STRING)},
    {FIELD(kafka_create_partitions_response_result, error_code, INT16)},
    {FIELD(kafka_create_partitions_response_result, error_message, STRING), NULLABLE(0)},
};
SHAPE(kafka_create_partitions_response_result, create_partitions_response_result_fields);

static const struct kafka_field create_partitions_response_fields[] = {
    {FIELD(kafka_create_partitions_response, throttle_time_ms, INT32)},
    {STRUCTS(kafka_create_partitions_response, results, kafka_create_partitions_response_result)},
};
SHAPE(kafka_create_partitions_response, create_partitions_response_fields);

static const struct kafka_field elect_leaders_request_topic_fields[] = {
    {FIELD(kafka_elect_leaders_request_topic, topic, STRING)},
    {ARRAY(kafka_elect_leaders_request_topic, partitions, INT32)},
};
SHAPE(kafka_elect_leaders_request_topic, elect_leaders_request_topic_fields);

static const struct kafka_field elect_leaders_request_fields[] = {
    {FIELD(kafka_elect_leaders_request, election_type, INT8), FROM(1)},
    {STRUCTS(kafka_elect_leaders_request, topic_partitions, kafka_elect_leaders_request_topic), NULLABLE(0)},
    {FIELD(kafka_elect_leaders_request, timeout_ms, INT32), DEFAULT(60000)},
};
SHAPE(kafka_elect_leaders_request, elect_leaders_request_fields);

static const struct kafka_field elect_leaders_response_partition_fields[] = {
    {FIELD(kafka_elect_leaders_response_partition, partition_id, INT32)},
    {FIELD(kafka_elect_leaders_response_partition, error_code, INT16)},
    {FIELD(kafka_elect_leaders_response_partition, error_message, STRING), NULLABLE(0)},
};
SHAPE(kafka_elect_leaders_response_partition, elect_leaders_response_partition_fields);

static const struct kafka_field elect_leaders_response_result_fields[] = {
    {FIELD(kafka_elect_leaders_response_result, topic, STRING)},
    {STRUCTS(kafka_elect_leaders_response_result, partition_result, kafka_elect_leaders_response_partition)},
};
SHAPE(kafka_elect_leaders_response_result, elect_leaders_response_result_fields);

static const struct kafka_field elect_leaders_response_fields[] = {
    {FIELD(kafka_elect_leaders_response, throttle_time_ms, INT32)},
    {FIELD(kafka_elect_leaders_response, error_code, INT16), FROM(1)},
    {STRUCTS(kafka_elect_leaders_response, replica_election_results, kafka_elect_leaders_response_result)},
};
SHAPE(kafka_elect_leaders_response, elect_leaders_response_fields);
