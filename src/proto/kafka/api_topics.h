/*
 * CreateTopics (19), DeleteTopics (20), CreatePartitions (37), ElectLeaders (43).
 *
 * CreateTopics: partitions and replicas of -1 mean the broker's defaults. DeleteTopics: to
 * version 5 names, from 6 on names or ids.
 */
#ifndef KQ_PROTO_KAFKA_API_TOPICS_H
#define KQ_PROTO_KAFKA_API_TOPICS_H

#include "proto/kafka/shape.h"

struct kafka_create_topics_request_assignment {
    int32_t partition_index;
    KAFKA_ARRAY(int32_t) broker_ids;
};

struct kafka_create_topics_request_config {
    struct slice name;
    struct slice value;
};

struct kafka_create_topics_request_topic {
    struct slice name;
    int32_t num_partitions;
    int16_t replication_factor;
    KAFKA_ARRAY(struct kafka_create_topics_request_assignment) assignments;
    KAFKA_ARRAY(struct kafka_create_topics_request_config) configs;
};

struct kafka_create_topics_request {
    KAFKA_ARRAY(struct kafka_create_topics_request_topic) topics;
    int32_t timeout_ms;
    bool validate_only; /* v1 on */
};

extern const struct kafka_shape kafka_create_topics_request_assignment_shape;
extern const struct kafka_shape kafka_create_topics_request_config_shape;
extern const struct kafka_shape kafka_create_topics_request_topic_shape;
extern const struct kafka_shape kafka_create_topics_request_shape;

struct kafka_create_topics_response_config {
    struct slice name;    /* v5 on */
    struct slice value;   /* v5 on */
    bool read_only;       /* v5 on */
    int8_t config_source; /* v5 on */
    bool is_sensitive;    /* v5 on */
};

struct kafka_create_topics_response_topic {
    struct slice name;
    struct uuid topic_id; /* v7 on */
    int16_t error_code;
    struct slice error_message;                                      /* v1 on */
    int16_t topic_config_error_code;                                 /* tag 0, v5 on */
    int32_t num_partitions;                                          /* v5 on */
    int16_t replication_factor;                                      /* v5 on */
    KAFKA_ARRAY(struct kafka_create_topics_response_config) configs; /* v5 on */
};

struct kafka_create_topics_response {
    int32_t throttle_time_ms; /* v2 on */
    KAFKA_ARRAY(struct kafka_create_topics_response_topic) topics;
};

extern const struct kafka_shape kafka_create_topics_response_config_shape;
extern const struct kafka_shape kafka_create_topics_response_topic_shape;
extern const struct kafka_shape kafka_create_topics_response_shape;

struct kafka_delete_topics_request_topic {
    struct slice name;    /* v6 on */
    struct uuid topic_id; /* v6 on */
};

struct kafka_delete_topics_request {
    KAFKA_ARRAY(struct kafka_delete_topics_request_topic) topics; /* v6 on */
    KAFKA_ARRAY(struct slice) topic_names;                        /* to v5 */
    int32_t timeout_ms;
};

extern const struct kafka_shape kafka_delete_topics_request_topic_shape;
extern const struct kafka_shape kafka_delete_topics_request_shape;

struct kafka_delete_topics_response_result {
    struct slice name;
    struct uuid topic_id; /* v6 on */
    int16_t error_code;
    struct slice error_message; /* v5 on */
};

struct kafka_delete_topics_response {
    int32_t throttle_time_ms; /* v1 on */
    KAFKA_ARRAY(struct kafka_delete_topics_response_result) responses;
};

extern const struct kafka_shape kafka_delete_topics_response_result_shape;
extern const struct kafka_shape kafka_delete_topics_response_shape;

struct kafka_create_partitions_request_assignment {
    KAFKA_ARRAY(int32_t) broker_ids;
};

struct kafka_create_partitions_request_topic {
    struct slice name;
    int32_t count;
    KAFKA_ARRAY(struct kafka_create_partitions_request_assignment) assignments;
};

struct kafka_create_partitions_request {
    KAFKA_ARRAY(struct kafka_create_partitions_request_topic) topics;
    int32_t timeout_ms;
    bool validate_only;
};

extern const struct kafka_shape kafka_create_partitions_request_assignment_shape;
extern const struct kafka_shape kafka_create_partitions_request_topic_shape;
extern const struct kafka_shape kafka_create_partitions_request_shape;

struct kafka_create_partitions_response_result {
    struct slice name;
    int16_t error_code;
    struct slice error_message;
};

struct kafka_create_partitions_response {
    int32_t throttle_time_ms;
    KAFKA_ARRAY(struct kafka_create_partitions_response_result) results;
};

extern const struct kafka_shape kafka_create_partitions_response_result_shape;
extern const struct kafka_shape kafka_create_partitions_response_shape;

struct kafka_elect_leaders_request_topic {
    struct slice topic;
    KAFKA_ARRAY(int32_t) partitions;
};

struct kafka_elect_leaders_request {
    int8_t election_type; /* v1 on */
    KAFKA_ARRAY(struct kafka_elect_leaders_request_topic) topic_partitions;
    int32_t timeout_ms;
};

extern const struct kafka_shape kafka_elect_leaders_request_topic_shape;
extern const struct kafka_shape kafka_elect_leaders_request_shape;

struct kafka_elect_leaders_response_partition {
    int32_t partition_id;
    int16_t error_code;
    struct slice error_message;
};

struct kafka_elect_leaders_response_result {
    struct slice topic;
    KAFKA_ARRAY(struct kafka_elect_leaders_response_partition) partition_result;
};

struct kafka_elect_leaders_response {
    int32_t throttle_time_ms;
    int16_t error_code; /* v1 on */
    KAFKA_ARRAY(struct kafka_elect_leaders_response_result) replica_election_results;
};

extern const struct kafka_shape kafka_elect_leaders_response_partition_shape;
extern const struct kafka_shape kafka_elect_leaders_response_result_shape;
extern const struct kafka_shape kafka_elect_leaders_response_shape;

#endif
