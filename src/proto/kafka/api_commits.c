/* OffsetCommit (8), OffsetFetch (9), OffsetDelete (47): the offsets of a group. See the header. */
#include "proto/kafka/api_commits.h"

#include "proto/kafka/rows.h"

static const struct kafka_field offset_commit_request_partition_fields[] = {
    {FIELD(kafka_offset_commit_request_partition, partition_index, INT32)},
    {FIELD(kafka_offset_commit_request_partition, committed_offset, INT64)},
    {FIELD(kafka_offset_commit_request_partition, committed_leader_epoch, INT32), FROM(6), DEFAULT(-1)},
    {FIELD(kafka_offset_commit_request_partition, committed_metadata, STRING), NULLABLE(0)},
};
SHAPE(kafka_offset_commit_request_partition, offset_commit_request_partition_fields);

static const struct kafka_field offset_commit_request_topic_fields[] = {
    {FIELD(kafka_offset_commit_request_topic, name, STRING)},
    {STRUCTS(kafka_offset_commit_request_topic, partitions, kafka_offset_commit_request_partition)},
};
SHAPE(kafka_offset_commit_request_topic, offset_commit_request_topic_fields);

static const struct kafka_field offset_commit_request_fields[] = {
    {FIELD(kafka_offset_commit_request, group_id, STRING)},
    {FIELD(kafka_offset_commit_request, generation_id_or_member_epoch, INT32), FROM(1), DEFAULT(-1)},
    {FIELD(kafka_offset_commit_request, member_id, STRING), FROM(1)},
    {FIELD(kafka_offset_commit_request, group_instance_id, STRING), FROM(7), NULLABLE(7)},
    {FIELD(kafka_offset_commit_request, retention_time_ms, INT64), FROM(2), UNTIL(4), DEFAULT(-1)},
    {STRUCTS(kafka_offset_commit_request, topics, kafka_offset_commit_request_topic)},
};
SHAPE(kafka_offset_commit_request, offset_commit_request_fields);

static const struct kafka_field offset_commit_response_partition_fields[] = {
    {FIELD(kafka_offset_commit_response_partition, partition_index, INT32)},
    {FIELD(kafka_offset_commit_response_partition, error_code, INT16)},
};
SHAPE(kafka_offset_commit_response_partition, offset_commit_response_partition_fields);

static const struct kafka_field offset_commit_response_topic_fields[] = {
    {FIELD(kafka_offset_commit_response_topic, name, STRING)},
    {STRUCTS(kafka_offset_commit_response_topic, partitions, kafka_offset_commit_response_partition)},
};
SHAPE(kafka_offset_commit_response_topic, offset_commit_response_topic_fields);

static const struct kafka_field offset_commit_response_fields[] = {
    {FIELD(kafka_offset_commit_response, throttle_time_ms, INT32), FROM(3)},
    {STRUCTS(kafka_offset_commit_response, topics, kafka_offset_commit_response_topic)},
};
SHAPE(kafka_offset_commit_response, offset_commit_response_fields);

static const struct kafka_field offset_fetch_request_topic_fields[] = {
    {FIELD(kafka_offset_fetch_request_topic, name, STRING), UNTIL(7)},
    {ARRAY(kafka_offset_fetch_request_topic, partition_indexes, INT32), UNTIL(7)},
};
SHAPE(kafka_offset_fetch_request_topic, offset_fetch_request_topic_fields);

static const struct kafka_field offset_fetch_request_group_topic_fields[] = {
    {FIELD(kafka_offset_fetch_request_group_topic, name, STRING), FROM(8)},
    {ARRAY(kafka_offset_fetch_request_group_topic, partition_indexes, INT32), FROM(8)},
};
SHAPE(kafka_offset_fetch_request_group_topic, offset_fetch_request_group_topic_fields);

static const struct kafka_field offset_fetch_request_group_fields[] = {
    {FIELD(kafka_offset_fetch_request_group, group_id, STRING), FROM(8)},
    {FIELD(kafka_offset_fetch_request_group, member_id, STRING), FROM(9), NULLABLE(9)},
    {FIELD(kafka_offset_fetch_request_group, member_epoch, INT32), FROM(9), DEFAULT(-1)},
    {STRUCTS(kafka_offset_fetch_request_group, topics, kafka_offset_fetch_request_group_topic), FROM(8), NULLABLE(8)},
};
SHAPE(kafka_offset_fetch_request_group, offset_fetch_request_group_fields);

static const struct kafka_field offset_fetch_request_fields[] = {
    {FIELD(kafka_offset_fetch_request, group_id, STRING), UNTIL(7)},
    {STRUCTS(kafka_offset_fetch_request, topics, kafka_offset_fetch_request_topic), UNTIL(7), NULLABLE(2)},
    {STRUCTS(kafka_offset_fetch_request, groups, kafka_offset_fetch_request_group), FROM(8)},
    {FIELD(kafka_offset_fetch_request, require_stable, BOOL), FROM(7)},
};
SHAPE(kafka_offset_fetch_request, offset_fetch_request_fields);

static const struct kafka_field offset_fetch_response_partition_fields[] = {
    {FIELD(kafka_offset_fetch_response_partition, partition_index, INT32), UNTIL(7)},
    {FIELD(kafka_offset_fetch_response_partition, committed_offset, INT64), UNTIL(7)},
    {FIELD(kafka_offset_fetch_response_partition, committed_leader_epoch, INT32), FROM(5), UNTIL(7), DEFAULT(-1)},
    {FIELD(kafka_offset_fetch_response_partition, metadata, STRING), UNTIL(7), NULLABLE(0)},
    {FIELD(kafka_offset_fetch_response_partition, error_code, INT16), UNTIL(7)},
};
SHAPE(kafka_offset_fetch_response_partition, offset_fetch_response_partition_fields);

static const struct kafka_field offset_fetch_response_topic_fields[] = {
    {FIELD(kafka_offset_fetch_response_topic, name, STRING), UNTIL(7)},
    {STRUCTS(kafka_offset_fetch_response_topic, partitions, kafka_offset_fetch_response_partition), UNTIL(7)},
};
SHAPE(kafka_offset_fetch_response_topic, offset_fetch_response_topic_fields);

static const struct kafka_field offset_fetch_response_group_partition_fields[] = {
    {FIELD(kafka_offset_fetch_response_group_partition, partition_index, INT32), FROM(8)},
    {FIELD(kafka_offset_fetch_response_group_partition, committed_offset, INT64), FROM(8)},
    {FIELD(kafka_offset_fetch_response_group_partition, committed_leader_epoch, INT32), FROM(8), DEFAULT(-1)},
    {FIELD(kafka_offset_fetch_response_group_partition, metadata, STRING), FROM(8), NULLABLE(8)},
    {FIELD(kafka_offset_fetch_response_group_partition, error_code, INT16), FROM(8)},
};
SHAPE(kafka_offset_fetch_response_group_partition, offset_fetch_response_group_partition_fields);

static const struct kafka_field offset_fetch_response_group_topic_fields[] = {
    {FIELD(kafka_offset_fetch_response_group_topic, name, STRING), FROM(8)},
    {STRUCTS(kafka_offset_fetch_response_group_topic, partitions, kafka_offset_fetch_response_group_partition),
     FROM(8)},
};
SHAPE(kafka_offset_fetch_response_group_topic, offset_fetch_response_group_topic_fields);

static const struct kafka_field offset_fetch_response_group_fields[] = {
    {FIELD(kafka_offset_fetch_response_group, group_id, STRING), FROM(8)},
    {STRUCTS(kafka_offset_fetch_response_group, topics, kafka_offset_fetch_response_group_topic), FROM(8)},
    {FIELD(kafka_offset_fetch_response_group, error_code, INT16), FROM(8)},
};
SHAPE(kafka_offset_fetch_response_group, offset_fetch_response_group_fields);

static const struct kafka_field offset_fetch_response_fields[] = {
    {FIELD(kafka_offset_fetch_response, throttle_time_ms, INT32), FROM(3)},
    {STRUCTS(kafka_offset_fetch_response, topics, kafka_offset_fetch_response_topic), UNTIL(7)},
    {FIELD(kafka_offset_fetch_response, error_code, INT16), FROM(2), UNTIL(7)},
    {STRUCTS(kafka_offset_fetch_response, groups, kafka_offset_fetch_response_group), FROM(8)},
};
SHAPE(kafka_offset_fetch_response, offset_fetch_response_fields);

static const struct kafka_field offset_delete_request_partition_fields[] = {
    {FIELD(kafka_offset_delete_request_partition, partition_index, INT32)},
};
SHAPE(kafka_offset_delete_request_partition, offset_delete_request_partition_fields);

static const struct kafka_field offset_delete_request_topic_fields[] = {
    {FIELD(kafka_offset_delete_request_topic, name, STRING)},
    {STRUCTS(kafka_offset_delete_request_topic, partitions, kafka_offset_delete_request_partition)},
};
SHAPE(kafka_offset_delete_request_topic, offset_delete_request_topic_fields);

static const struct kafka_field offset_delete_request_fields[] = {
    {FIELD(kafka_offset_delete_request, group_id, STRING)},
    {STRUCTS(kafka_offset_delete_request, topics, kafka_offset_delete_request_topic)},
};
SHAPE(kafka_offset_delete_request, offset_delete_request_fields);

static const struct kafka_field offset_delete_response_partition_fields[] = {
    {FIELD(kafka_offset_delete_response_partition, partition_index, INT32)},
    {FIELD(kafka_offset_delete_response_partition, error_code, INT16)},
};
SHAPE(kafka_offset_delete_response_partition, offset_delete_response_partition_fields);

static const struct kafka_field offset_delete_response_topic_fields[] = {
    {FIELD(kafka_offset_delete_response_topic, name, STRING)},
    {STRUCTS(kafka_offset_delete_response_topic, partitions, kafka_offset_delete_response_partition)},
};
SHAPE(kafka_offset_delete_response_topic, offset_delete_response_topic_fields);

static const struct kafka_field offset_delete_response_fields[] = {
    {FIELD(kafka_offset_delete_response, error_code, INT16)},
    {FIELD(kafka_offset_delete_response, throttle_time_ms, INT32)},
    {STRUCTS(kafka_offset_delete_response, topics, kafka_offset_delete_response_topic)},
};
SHAPE(kafka_offset_delete_response, offset_delete_response_fields);
