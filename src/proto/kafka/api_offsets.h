/*
 * ListOffsets (2), DeleteRecords (21), OffsetForLeaderEpoch (23): questions about offsets.
 *
 * ListOffsets timestamps below 0: -1 latest, -2 earliest, -3 of the largest timestamp (v7),
 * -4 earliest local (v8). ListOffsets 0 and OffsetForLeaderEpoch 0 and 1 are not described.
 */
#ifndef KQ_PROTO_KAFKA_API_OFFSETS_H
#define KQ_PROTO_KAFKA_API_OFFSETS_H

#include "proto/kafka/shape.h"

struct kafka_list_offsets_request_partition {
    int32_t partition_index;
    int32_t current_leader_epoch; /* v4 on */
    int64_t timestamp;
};

struct kafka_list_offsets_request_topic {
    struct slice name;
    KAFKA_ARRAY(struct kafka_list_offsets_request_partition) partitions;
};

struct kafka_list_offsets_request {
    int32_t replica_id;
    int8_t isolation_level; /* v2 on */
    KAFKA_ARRAY(struct kafka_list_offsets_request_topic) topics;
};

extern const struct kafka_shape kafka_list_offsets_request_partition_shape;
extern const struct kafka_shape kafka_list_offsets_request_topic_shape;
extern const struct kafka_shape kafka_list_offsets_request_shape;

struct kafka_list_offsets_response_partition {
    int32_t partition_index;
    int16_t error_code;
    int64_t timestamp;
    int64_t offset;
    int32_t leader_epoch; /* v4 on */
};

struct kafka_list_offsets_response_topic {
    struct slice name;
    KAFKA_ARRAY(struct kafka_list_offsets_response_partition) partitions;
};

struct kafka_list_offsets_response {
    int32_t throttle_time_ms; /* v2 on */
    KAFKA_ARRAY(struct kafka_list_offsets_response_topic) topics;
};

extern const struct kafka_shape kafka_list_offsets_response_partition_shape;
extern const struct kafka_shape kafka_list_offsets_response_topic_shape;
extern const struct kafka_shape kafka_list_offsets_response_shape;

struct kafka_delete_records_request_partition {
    int32_t partition_index;
    int64_t offset;
};

struct kafka_delete_records_request_topic {
    struct slice name;
    KAFKA_ARRAY(struct kafka_delete_records_request_partition) partitions;
};

struct kafka_delete_records_request {
    KAFKA_ARRAY(struct kafka_delete_records_request_topic) topics;
    int32_t timeout_ms;
};

extern const struct kafka_shape kafka_delete_records_request_partition_shape;
extern const struct kafka_shape kafka_delete_records_request_topic_shape;
extern const struct kafka_shape kafka_delete_records_request_shape;

struct kafka_delete_records_response_partition {
    int32_t partition_index;
    int64_t low_watermark;
    int16_t error_code;
};

struct kafka_delete_records_response_topic {
    struct slice name;
    KAFKA_ARRAY(struct kafka_delete_records_response_partition) partitions;
};

struct kafka_delete_records_response {
    int32_t throttle_time_ms;
    KAFKA_ARRAY(struct kafka_delete_records_response_topic) topics;
};

extern const struct kafka_shape kafka_delete_records_response_partition_shape;
extern const struct kafka_shape kafka_delete_records_response_topic_shape;
extern const struct kafka_shape kafka_delete_records_response_shape;

struct kafka_offset_for_leader_epoch_request_partition {
    int32_t partition;
    int32_t current_leader_epoch;
    int32_t leader_epoch;
};

struct kafka_offset_for_leader_epoch_request_topic {
    struct slice topic;
    KAFKA_ARRAY(struct kafka_offset_for_leader_epoch_request_partition) partitions;
};

struct kafka_offset_for_leader_epoch_request {
    int32_t replica_id; /* v3 on */
    KAFKA_ARRAY(struct kafka_offset_for_leader_epoch_request_topic) topics;
};

extern const struct kafka_shape kafka_offset_for_leader_epoch_request_partition_shape;
extern const struct kafka_shape kafka_offset_for_leader_epoch_request_topic_shape;
extern const struct kafka_shape kafka_offset_for_leader_epoch_request_shape;

struct kafka_offset_for_leader_epoch_response_partition {
    int16_t error_code;
    int32_t partition;
    int32_t leader_epoch;
    int64_t end_offset;
};

struct kafka_offset_for_leader_epoch_response_topic {
    struct slice topic;
    KAFKA_ARRAY(struct kafka_offset_for_leader_epoch_response_partition) partitions;
};

struct kafka_offset_for_leader_epoch_response {
    int32_t throttle_time_ms;
    KAFKA_ARRAY(struct kafka_offset_for_leader_epoch_response_topic) topics;
};

extern const struct kafka_shape kafka_offset_for_leader_epoch_response_partition_shape;
extern const struct kafka_shape kafka_offset_for_leader_epoch_response_topic_shape;
extern const struct kafka_shape kafka_offset_for_leader_epoch_response_shape;

#endif
