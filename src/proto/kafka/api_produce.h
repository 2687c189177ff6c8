/*
 * Produce (0): records to append, partition by partition.
 *
 * Versions 0 to 2 carry message formats before record batches; they are described so that
 * they can be answered, and refused. The records of a partition are one batch of format 2.
 * With acks 0 there is no answer.
 */
#ifndef KQ_PROTO_KAFKA_API_PRODUCE_H
#define KQ_PROTO_KAFKA_API_PRODUCE_H

#include "proto/kafka/shape.h"

struct kafka_produce_request_partition {
    int32_t index;
    struct slice records;
};

struct kafka_produce_request_topic {
    struct slice name;
    KAFKA_ARRAY(struct kafka_produce_request_partition) partition_data;
};

struct kafka_produce_request {
    struct slice transactional_id; /* v3 on */
    int16_t acks;
    int32_t timeout_ms;
    KAFKA_ARRAY(struct kafka_produce_request_topic) topic_data;
};

extern const struct kafka_shape kafka_produce_request_partition_shape;
extern const struct kafka_shape kafka_produce_request_topic_shape;
extern const struct kafka_shape kafka_produce_request_shape;

struct kafka_produce_response_record_error {
    int32_t batch_index;                    /* v8 on */
    struct slice batch_index_error_message; /* v8 on */
};

struct kafka_produce_response_leader {
    int32_t leader_id;    /* v10 on */
    int32_t leader_epoch; /* v10 on */
};

struct kafka_produce_response_partition {
    int32_t index;
    int16_t error_code;
    int64_t base_offset;
    int64_t log_append_time_ms;                                            /* v2 on */
    int64_t log_start_offset;                                              /* v5 on */
    KAFKA_ARRAY(struct kafka_produce_response_record_error) record_errors; /* v8 on */
    struct slice error_message;                                            /* v8 on */
    struct kafka_produce_response_leader current_leader;                   /* tag 0, v10 on */
};

struct kafka_produce_response_topic {
    struct slice name;
    KAFKA_ARRAY(struct kafka_produce_response_partition) partition_responses;
};

struct kafka_produce_response_node {
    int32_t node_id;   /* v10 on */
    struct slice host; /* v10 on */
    int32_t port;      /* v10 on */
    struct slice rack; /* v10 on */
};

struct kafka_produce_response {
    KAFKA_ARRAY(struct kafka_produce_response_topic) responses;
    int32_t throttle_time_ms;                                       /* v1 on */
    KAFKA_ARRAY(struct kafka_produce_response_node) node_endpoints; /* tag 0, v10 on */
};

extern const struct kafka_shape kafka_produce_response_record_error_shape;
extern const struct kafka_shape kafka_produce_response_leader_shape;
extern const struct kafka_shape kafka_produce_response_partition_shape;
extern const struct kafka_shape kafka_produce_response_topic_shape;
extern const struct kafka_shape kafka_produce_response_node_shape;
extern const struct kafka_shape kafka_produce_response_shape;

#endif
