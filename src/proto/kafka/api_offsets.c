/* ListOffsets (2), DeleteRecords (21), OffsetForLeaderEpoch (23): questions about offsets. See the header. */
#include "proto/kafka/api_offsets.h"

#include "proto/kafka/rows.h"

static const struct kafka_field list_offsets_request_partition_fields[] = {
    {FIELD(kafka_list_offsets_request_partition, partition_index, INT32)},
    {FIELD(kafka_list_offsets_request_partition, current_leader_epoch, INT32), FROM(4), DEFAULT(-1)},
    {FIELD(kafka_list_offsets_request_partition, timestamp, INT64)},
};
SHAPE(kafka_list_offsets_request_partition, list_offsets_request_partition_fields);

static const struct kafka_field list_offsets_request_topic_fields[] = {
    {FIELD(kafka_list_offsets_request_topic, name, STRING)},
    {STRUCTS(kafka_list_offsets_request_topic, partitions, kafka_list_offsets_request_partition)},
};
SHAPE(kafka_list_offsets_request_topic, list_offsets_request_topic_fields);

static const struct kafka_field list_offsets_request_fields[] = {
    {FIELD(kafka_list_offsets_request, replica_id, INT32)},
    {FIELD(kafka_list_offsets_request, isolation_level, INT8), FROM(2)},
    {STRUCTS(kafka_list_offsets_request, topics, kafka_list_offsets_request_topic)},
};
SHAPE(kafka_list_offsets_request, list_offsets_request_fields);

static const struct kafka_field list_offsets_response_partition_fields[] = {
    {FIELD(kafka_list_offsets_response_partition, partition_index, INT32)},
    {FIELD(kafka_list_offsets_response_partition, error_code, INT16)},
    {FIELD(kafka_list_offsets_response_partition, timestamp, INT64), FROM(1), DEFAULT(-1)},
    {FIELD(kafka_list_offsets_response_partition, offset, INT64), FROM(1), DEFAULT(-1)},
    {FIELD(kafka_list_offsets_response_partition, leader_epoch, INT32), FROM(4), DEFAULT(-1)},
};
SHAPE(kafka_list_offsets_response_partition, list_offsets_response_partition_fields);

static const struct kafka_field list_offsets_response_topic_fields[] = {
    {FIELD(kafka_list_offsets_response_topic, name, STRING)},
    {STRUCTS(kafka_list_offsets_response_topic, partitions, kafka_list_offsets_response_partition)},
};
SHAPE(kafka_list_offsets_response_topic, list_offsets_response_topic_fields);

static const struct kafka_field list_offsets_response_fields[] = {
    {FIELD(kafka_list_offsets_response, throttle_time_ms, INT32), FROM(2)},
    {STRUCTS(kafka_list_offsets_response, topics, kafka_list_offsets_response_topic)},
};
SHAPE(kafka_list_offsets_response, list_offsets_response_fields);

static const struct kafka_field delete_records_request_partition_fields[] = {
    {FIELD(kafka_delete_records_request_partition, partition_index, INT32)},
    {FIELD(kafka_delete_records_request_partition, offset, INT64)},
};
SHAPE(kafka_delete_records_request_partition, delete_records_request_partition_fields);

static const struct kafka_field delete_records_request_topic_fields[] = {
    {FIELD(kafka_delete_records_request_topic, name, STRING)},
    {STRUCTS(kafka_delete_records_request_topic, partitions, kafka_delete_records_request_partition)},
};
SHAPE(kafka_delete_records_request_topic, delete_records_request_topic_fields);

static const struct kafka_field delete_records_request_fields[] = {
    {STRUCTS(kafka_delete_records_request, topics, kafka_delete_records_request_topic)},
    {FIELD(kafka_delete_records_request, timeout_ms, INT32)},
};
SHAPE(kafka_delete_records_request, delete_records_request_fields);

static const struct kafka_field delete_records_response_partition_fields[] = {
    {FIELD(kafka_delete_records_response_partition, partition_index, INT32)},
    {FIELD(kafka_delete_records_response_partition, low_watermark, INT64)},
    {FIELD(kafka_delete_records_response_partition, error_code, INT16)},
};
SHAPE(kafka_delete_records_response_partition, delete_records_response_partition_fields);

static const struct kafka_field delete_records_response_topic_fields[] = {
    {FIELD(kafka_delete_records_response_topic, name, STRING)},
    {STRUCTS(kafka_delete_records_response_topic, partitions, kafka_delete_records_response_partition)},
};
SHAPE(kafka_delete_records_response_topic, delete_records_response_topic_fields);

static const struct kafka_field delete_records_response_fields[] = {
    {FIELD(kafka_delete_records_response, throttle_time_ms, INT32)},
    {STRUCTS(kafka_delete_records_response, topics, kafka_delete_records_response_topic)},
};
SHAPE(kafka_delete_records_response, delete_records_response_fields);

static const struct kafka_field offset_for_leader_epoch_request_partition_fields[] = {
    {FIELD(kafka_offset_for_leader_epoch_request_partition, partition, INT32)},
    {FIELD(kafka_offset_for_leader_epoch_request_partition, current_leader_epoch, INT32), FROM(2), DEFAULT(-1)},
    {FIELD(kafka_offset_for_leader_epoch_request_partition, leader_epoch, INT32)},
};
SHAPE(kafka_offset_for_leader_epoch_request_partition, offset_for_leader_epoch_request_partition_fields);

static const struct kafka_field offset_for_leader_epoch_request_topic_fields[] = {
    {FIELD(kafka_offset_for_leader_epoch_request_topic, topic, STRING)},
    {STRUCTS(kafka_offset_for_leader_epoch_request_topic, partitions, kafka_offset_for_leader_epoch_request_partition)},
};
SHAPE(kafka_offset_for_leader_epoch_request_topic, offset_for_leader_epoch_request_topic_fields);

static const struct kafka_field offset_for_leader_epoch_request_fields[] = {
    {FIELD(kafka_offset_for_leader_epoch_request, replica_id, INT32), FROM(3), DEFAULT(-2)},
    {STRUCTS(kafka_offset_for_leader_epoch_request, topics, kafka_offset_for_leader_epoch_request_topic)},
};
SHAPE(kafka_offset_for_leader_epoch_request, offset_for_leader_epoch_request_fields);

static const struct kafka_field offset_for_leader_epoch_response_partition_fields[] = {
    {FIELD(kafka_offset_for_leader_epoch_response_partition, error_code, INT16)},
    {FIELD(kafka_offset_for_leader_epoch_response_partition, partition, INT32)},
    {FIELD(kafka_offset_for_leader_epoch_response_partition, leader_epoch, INT32), FROM(1), DEFAULT(-1)},
    {FIELD(kafka_offset_for_leader_epoch_response_partition, end_offset, INT64), DEFAULT(-1)},
};
SHAPE(kafka_offset_for_leader_epoch_response_partition, offset_for_leader_epoch_response_partition_fields);

static const struct kafka_field offset_for_leader_epoch_response_topic_fields[] = {
    {FIELD(kafka_offset_for_leader_epoch_response_topic, topic, STRING)},
    {STRUCTS(kafka_offset_for_leader_epoch_response_topic, partitions,
             kafka_offset_for_leader_epoch_response_partition)},
};
SHAPE(kafka_offset_for_leader_epoch_response_topic, offset_for_leader_epoch_response_topic_fields);

static const struct kafka_field offset_for_leader_epoch_response_fields[] = {
    {FIELD(kafka_offset_for_leader_epoch_response, throttle_time_ms, INT32), FROM(2)},
    {STRUCTS(kafka_offset_for_leader_epoch_response, topics, kafka_offset_for_leader_epoch_response_topic)},
};
SHAPE(kafka_offset_for_leader_epoch_response, offset_for_leader_epoch_response_fields);
