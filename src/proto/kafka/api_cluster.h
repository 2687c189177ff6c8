/*
 * DescribeLogDirs (35), DescribeQuorum (55), DescribeCluster (60).
 */
#ifndef KQ_PROTO_KAFKA_API_CLUSTER_H
#define KQ_PROTO_KAFKA_API_CLUSTER_H

#include "proto/kafka/shape.h"

struct kafka_describe_log_dirs_request_topic {
    struct slice topic;
    KAFKA_ARRAY(int32_t) partitions;
};

struct kafka_describe_log_dirs_request {
    KAFKA_ARRAY(struct kafka_describe_log_dirs_request_topic) topics;
};

extern const struct kafka_shape kafka_describe_log_dirs_request_topic_shape;
extern const struct kafka_shape kafka_describe_log_dirs_request_shape;

struct kafka_describe_log_dirs_response_partition {
    int32_t partition_index;
    int64_t partition_size;
    int64_t offset_lag;
    bool is_future_key;
};

struct kafka_describe_log_dirs_response_topic {
    struct slice name;
    KAFKA_ARRAY(struct kafka_describe_log_dirs_response_partition) partitions;
};

struct kafka_describe_log_dirs_response_result {
    int16_t error_code;
    struct slice log_dir;
    KAFKA_ARRAY(struct kafka_describe_log_dirs_response_topic) topics;
    int64_t total_bytes;  /* v4 on */
    int64_t usable_bytes; /* v4 on */
};

struct kafka_describe_log_dirs_response {
    int32_t throttle_time_ms;
    int16_t error_code; /* v3 on */
    KAFKA_ARRAY(struct kafka_describe_log_dirs_response_result) results;
};

extern const struct kafka_shape kafka_describe_log_dirs_response_partition_shape;
extern const struct kafka_shape kafka_describe_log_dirs_response_topic_shape;
extern const struct kafka_shape kafka_describe_log_dirs_response_result_shape;
extern const struct kafka_shape kafka_describe_log_dirs_response_shape;

struct kafka_describe_quorum_request_partition {
    int32_t partition_index;
};

struct kafka_describe_quorum_request_topic {
    struct slice topic_name;
    KAFKA_ARRAY(struct kafka_describe_quorum_request_partition) partitions;
};

struct kafka_describe_quorum_request {
    KAFKA_ARRAY(struct kafka_describe_quorum_request_topic) topics;
};

extern const struct kafka_shape kafka_describe_quorum_request_partition_shape;
extern const struct kafka_shape kafka_describe_quorum_request_topic_shape;
extern const struct kafka_shape kafka_describe_quorum_request_shape;

struct kafka_describe_quorum_response_replica {
    int32_t replica_id;
    struct uuid replica_directory_id; /* v2 on */
    int64_t log_end_offset;
    int64_t last_fetch_timestamp;     /* v1 on */
    int64_t last_caught_up_timestamp; /* v1 on */
};

struct kafka_describe_quorum_response_partition {
    int32_t partition_index;
    int16_t error_code;
    struct slice error_message; /* v2 on */
    int32_t leader_id;
    int32_t leader_epoch;
    int64_t high_watermark;
    KAFKA_ARRAY(struct kafka_describe_quorum_response_replica) current_voters;
    KAFKA_ARRAY(struct kafka_describe_quorum_response_replica) observers;
};

struct kafka_describe_quorum_response_topic {
    struct slice topic_name;
    KAFKA_ARRAY(struct kafka_describe_quorum_response_partition) partitions;
};

struct kafka_describe_quorum_response_listener {
    struct slice name; /* v2 on */
    struct slice host; /* v2 on */
    uint16_t port;     /* v2 on */
};

struct kafka_describe_quorum_response_node {
    int32_t node_id;                                                       /* v2 on */
    KAFKA_ARRAY(struct kafka_describe_quorum_response_listener) listeners; /* v2 on */
};

struct kafka_describe_quorum_response {
    int16_t error_code;
    struct slice error_message; /* v2 on */
    KAFKA_ARRAY(struct kafka_describe_quorum_response_topic) topics;
    KAFKA_ARRAY(struct kafka_describe_quorum_response_node) nodes; /* v2 on */
};

extern const struct kafka_shape kafka_describe_quorum_response_replica_shape;
extern const struct kafka_shape kafka_describe_quorum_response_partition_shape;
extern const struct kafka_shape kafka_describe_quorum_response_topic_shape;
extern const struct kafka_shape kafka_describe_quorum_response_listener_shape;
extern const struct kafka_shape kafka_describe_quorum_response_node_shape;
extern const struct kafka_shape kafka_describe_quorum_response_shape;

struct kafka_describe_cluster_request {
    bool include_cluster_authorized_operations;
    int8_t endpoint_type; /* v1 on */
};

extern const struct kafka_shape kafka_describe_cluster_request_shape;

struct kafka_describe_cluster_response_broker {
    int32_t broker_id;
    struct slice host;
    int32_t port;
    struct slice rack;
};

struct kafka_describe_cluster_response {
    int32_t throttle_time_ms;
    int16_t error_code;
    struct slice error_message;
    int8_t endpoint_type; /* v1 on */
    struct slice cluster_id;
    int32_t controller_id;
    KAFKA_ARRAY(struct kafka_describe_cluster_response_broker) brokers;
    int32_t cluster_authorized_operations;
};

extern const struct kafka_shape kafka_describe_cluster_response_broker_shape;
extern const struct kafka_shape kafka_describe_cluster_response_shape;

#endif
