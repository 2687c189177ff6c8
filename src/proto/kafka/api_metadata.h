/*
 * Metadata (3): brokers, topics, partitions and who leads them.
 *
 * Topics null asks for all (version 0: an empty array does). From 10 on topics have ids; only
 * version 12 may be asked by id. The answer's authorized operations are INT32_MIN when unknown.
 */
#ifndef KQ_PROTO_KAFKA_API_METADATA_H
#define KQ_PROTO_KAFKA_API_METADATA_H

#include "proto/kafka/shape.h"

struct kafka_metadata_request_topic {
    struct uuid topic_id; /* v10 on */
    struct slice name;
};

struct kafka_metadata_request {
    KAFKA_ARRAY(struct kafka_metadata_request_topic) topics;
    bool allow_auto_topic_creation;             /* v4 on */
    bool include_cluster_authorized_operations; /* v8 to v10 */
    bool include_topic_authorized_operations;   /* v8 on */
};

extern const struct kafka_shape kafka_metadata_request_topic_shape;
extern const struct kafka_shape kafka_metadata_request_shape;

struct kafka_metadata_response_broker {
    int32_t node_id;
    struct slice host;
    int32_t port;
    struct slice rack; /* v1 on */
};

struct kafka_metadata_response_partition {
    int16_t error_code;
    int32_t partition_index;
    int32_t leader_id;
    int32_t leader_epoch; /* v7 on */
    KAFKA_ARRAY(int32_t) replica_nodes;
    KAFKA_ARRAY(int32_t) isr_nodes;
    KAFKA_ARRAY(int32_t) offline_replicas; /* v5 on */
};

struct kafka_metadata_response_topic {
    int16_t error_code;
    struct slice name;
    struct uuid topic_id; /* v10 on */
    bool is_internal;     /* v1 on */
    KAFKA_ARRAY(struct kafka_metadata_response_partition) partitions;
    int32_t topic_authorized_operations; /* v8 on */
};

struct kafka_metadata_response {
    int32_t throttle_time_ms; /* v3 on */
    KAFKA_ARRAY(struct kafka_metadata_response_broker) brokers;
    struct slice cluster_id; /* v2 on */
    int32_t controller_id;   /* v1 on */
    KAFKA_ARRAY(struct kafka_metadata_response_topic) topics;
    int32_t cluster_authorized_operations; /* v8 to v10 */
};

extern const struct kafka_shape kafka_metadata_response_broker_shape;
extern const struct kafka_shape kafka_metadata_response_partition_shape;
extern const struct kafka_shape kafka_metadata_response_topic_shape;
extern const struct kafka_shape kafka_metadata_response_shape;

#endif
