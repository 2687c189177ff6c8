/*
 * InitProducerId (22), DescribeProducers (61): idempotent producers.
 */
#ifndef KQ_PROTO_KAFKA_API_PRODUCERS_H
#define KQ_PROTO_KAFKA_API_PRODUCERS_H

#include "proto/kafka/shape.h"

struct kafka_init_producer_id_request {
    struct slice transactional_id;
    int32_t transaction_timeout_ms;
    int64_t producer_id;    /* v3 on */
    int16_t producer_epoch; /* v3 on */
};

extern const struct kafka_shape kafka_init_producer_id_request_shape;

struct kafka_init_producer_id_response {
    int32_t throttle_time_ms;
    int16_t error_code;
    int64_t producer_id;
    int16_t producer_epoch;
};

extern const struct kafka_shape kafka_init_producer_id_response_shape;

struct kafka_describe_producers_request_topic {
    struct slice name;
    KAFKA_ARRAY(int32_t) partition_indexes;
};

struct kafka_describe_producers_request {
    KAFKA_ARRAY(struct kafka_describe_producers_request_topic) topics;
};

extern const struct kafka_shape kafka_describe_producers_request_topic_shape;
extern const struct kafka_shape kafka_describe_producers_request_shape;

struct kafka_describe_producers_response_producer {
    int64_t producer_id;
    int32_t producer_epoch;
    int32_t last_sequence;
    int64_t last_timestamp;
    int32_t coordinator_epoch;
    int64_t current_txn_start_offset;
};

struct kafka_describe_producers_response_partition {
    int32_t partition_index;
    int16_t error_code;
    struct slice error_message;
    KAFKA_ARRAY(struct kafka_describe_producers_response_producer) active_producers;
};

struct kafka_describe_producers_response_topic {
    struct slice name;
    KAFKA_ARRAY(struct kafka_describe_producers_response_partition) partitions;
};

struct kafka_describe_producers_response {
    int32_t throttle_time_ms;
    KAFKA_ARRAY(struct kafka_describe_producers_response_topic) topics;
};

extern const struct kafka_shape kafka_describe_producers_response_producer_shape;
extern const struct kafka_shape kafka_describe_producers_response_partition_shape;
extern const struct kafka_shape kafka_describe_producers_response_topic_shape;
extern const struct kafka_shape kafka_describe_producers_response_shape;

#endif
