/*
 * Fetch (1): records from offsets on, with long polls and sessions (KIP-227).
 *
 * From version 13 on a topic is named by its id instead of its name (KIP-516); from 15 on the
 * replica's id moved into a tagged field. Brokers' own fields (replica state, snapshot id) are
 * decoded and of no use to a client. An answer's records should be empty, not null.
 */
#ifndef KQ_PROTO_KAFKA_API_FETCH_H
#define KQ_PROTO_KAFKA_API_FETCH_H

#include "proto/kafka/shape.h"

struct kafka_fetch_request_replica {
    int32_t replica_id;    /* v15 on */
    int64_t replica_epoch; /* v15 on */
};

struct kafka_fetch_request_partition {
    int32_t partition;
    int32_t current_leader_epoch; /* v9 on */
    int64_t fetch_offset;
    int32_t last_fetched_epoch; /* v12 on */
    int64_t log_start_offset;   /* v5 on */
    int32_t partition_max_bytes;
};

struct kafka_fetch_request_topic {
    struct slice topic;   /* to v12 */
    struct uuid topic_id; /* v13 on */
    KAFKA_ARRAY(struct kafka_fetch_request_partition) partitions;
};

struct kafka_fetch_request_forgotten {
    struct slice topic;              /* v7 to v12 */
    struct uuid topic_id;            /* v13 on */
    KAFKA_ARRAY(int32_t) partitions; /* v7 on */
};

struct kafka_fetch_request {
    struct slice cluster_id;                          /* tag 0, v12 on */
    int32_t replica_id;                               /* to v14 */
    struct kafka_fetch_request_replica replica_state; /* tag 1, v15 on */
    int32_t max_wait_ms;
    int32_t min_bytes;
    int32_t max_bytes;
    int8_t isolation_level;
    int32_t session_id;    /* v7 on */
    int32_t session_epoch; /* v7 on */
    KAFKA_ARRAY(struct kafka_fetch_request_topic) topics;
    KAFKA_ARRAY(struct kafka_fetch_request_forgotten) forgotten_topics_data; /* v7 on */
    struct slice rack_id;                                                    /* v11 on */
};

extern const struct kafka_shape kafka_fetch_request_replica_shape;
extern const struct kafka_shape kafka_fetch_request_partition_shape;
extern const struct kafka_shape kafka_fetch_request_topic_shape;
extern const struct kafka_shape kafka_fetch_request_forgotten_shape;
extern const struct kafka_shape kafka_fetch_request_shape;

struct kafka_fetch_response_epoch_end {
    int32_t epoch;      /* v12 on */
    int64_t end_offset; /* v12 on */
};

struct kafka_fetch_response_leader {
    int32_t leader_id;    /* v12 on */
    int32_t leader_epoch; /* v12 on */
};

struct kafka_fetch_response_snapshot {
    int64_t end_offset;
    int32_t epoch;
};

struct kafka_fetch_response_aborted {
    int64_t producer_id;
    int64_t first_offset;
};

struct kafka_fetch_response_partition {
    int32_t partition_index;
    int16_t error_code;
    int64_t high_watermark;
    int64_t last_stable_offset;
    int64_t log_start_offset;                              /* v5 on */
    struct kafka_fetch_response_epoch_end diverging_epoch; /* tag 0, v12 on */
    struct kafka_fetch_response_leader current_leader;     /* tag 1, v12 on */
    struct kafka_fetch_response_snapshot snapshot_id;      /* tag 2, v12 on */
    KAFKA_ARRAY(struct kafka_fetch_response_aborted) aborted_transactions;
    int32_t preferred_read_replica; /* v11 on */
    struct slice records;
};

struct kafka_fetch_response_topic {
    struct slice topic;   /* to v12 */
    struct uuid topic_id; /* v13 on */
    KAFKA_ARRAY(struct kafka_fetch_response_partition) partitions;
};

struct kafka_fetch_response_node {
    int32_t node_id;   /* v16 on */
    struct slice host; /* v16 on */
    int32_t port;      /* v16 on */
    struct slice rack; /* v16 on */
};

struct kafka_fetch_response {
    int32_t throttle_time_ms;
    int16_t error_code; /* v7 on */
    int32_t session_id; /* v7 on */
    KAFKA_ARRAY(struct kafka_fetch_response_topic) responses;
    KAFKA_ARRAY(struct kafka_fetch_response_node) node_endpoints; /* tag 0, v16 on */
};

extern const struct kafka_shape kafka_fetch_response_epoch_end_shape;
extern const struct kafka_shape kafka_fetch_response_leader_shape;
extern const struct kafka_shape kafka_fetch_response_snapshot_shape;
extern const struct kafka_shape kafka_fetch_response_aborted_shape;
extern const struct kafka_shape kafka_fetch_response_partition_shape;
extern const struct kafka_shape kafka_fetch_response_topic_shape;
extern const struct kafka_shape kafka_fetch_response_node_shape;
extern const struct kafka_shape kafka_fetch_response_shape;

#endif
