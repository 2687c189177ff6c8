/*
 * DescribeConfigs (32), AlterConfigs (33), IncrementalAlterConfigs (44).
 *
 * Resource types: 2 topic, 4 broker, 8 broker logger, 32 group. Operations: 0 set, 1 delete,
 * 2 append, 3 subtract.
 */
#ifndef KQ_PROTO_KAFKA_API_CONFIGS_H
#define KQ_PROTO_KAFKA_API_CONFIGS_H

#include "proto/kafka/shape.h"

struct kafka_describe_configs_request_resource {
    int8_t resource_type;
    struct slice resource_name;
    KAFKA_ARRAY(struct slice) configuration_keys;
};

struct kafka_describe_configs_request {
    KAFKA_ARRAY(struct kafka_describe_configs_request_resource) resources;
    bool include_synonyms;      /* v1 on */
    bool include_documentation; /* v3 on */
};

extern const struct kafka_shape kafka_describe_configs_request_resource_shape;
extern const struct kafka_shape kafka_describe_configs_request_shape;

struct kafka_describe_configs_response_synonym {
    struct slice name;  /* v1 on */
    struct slice value; /* v1 on */
    int8_t source;      /* v1 on */
};

struct kafka_describe_configs_response_config {
    struct slice name;
    struct slice value;
    bool read_only;
    bool is_default;      /* to v0 */
    int8_t config_source; /* v1 on */
    bool is_sensitive;
    KAFKA_ARRAY(struct kafka_describe_configs_response_synonym) synonyms; /* v1 on */
    int8_t config_type;                                                   /* v3 on */
    struct slice documentation;                                           /* v3 on */
};

struct kafka_describe_configs_response_result {
    int16_t error_code;
    struct slice error_message;
    int8_t resource_type;
    struct slice resource_name;
    KAFKA_ARRAY(struct kafka_describe_configs_response_config) configs;
};

struct kafka_describe_configs_response {
    int32_t throttle_time_ms;
    KAFKA_ARRAY(struct kafka_describe_configs_response_result) results;
};

extern const struct kafka_shape kafka_describe_configs_response_synonym_shape;
extern const struct kafka_shape kafka_describe_configs_response_config_shape;
extern const struct kafka_shape kafka_describe_configs_response_result_shape;
extern const struct kafka_shape kafka_describe_configs_response_shape;

struct kafka_alter_configs_request_config {
    struct slice name;
    struct slice value;
};

struct kafka_alter_configs_request_resource {
    int8_t resource_type;
    struct slice resource_name;
    KAFKA_ARRAY(struct kafka_alter_configs_request_config) configs;
};

struct kafka_alter_configs_request {
    KAFKA_ARRAY(struct kafka_alter_configs_request_resource) resources;
    bool validate_only;
};

extern const struct kafka_shape kafka_alter_configs_request_config_shape;
extern const struct kafka_shape kafka_alter_configs_request_resource_shape;
extern const struct kafka_shape kafka_alter_configs_request_shape;

struct kafka_alter_configs_response_result {
    int16_t error_code;
    struct slice error_message;
    int8_t resource_type;
    struct slice resource_name;
};

struct kafka_alter_configs_response {
    int32_t throttle_time_ms;
    KAFKA_ARRAY(struct kafka_alter_configs_response_result) responses;
};

extern const struct kafka_shape kafka_alter_configs_response_result_shape;
extern const struct kafka_shape kafka_alter_configs_response_shape;

struct kafka_incremental_alter_configs_request_config {
    struct slice name;
    int8_t config_operation;
    struct slice value;
};

struct kafka_incremental_alter_configs_request_resource {
    int8_t resource_type;
    struct slice resource_name;
    KAFKA_ARRAY(struct kafka_incremental_alter_configs_request_config) configs;
};

struct kafka_incremental_alter_configs_request {
    KAFKA_ARRAY(struct kafka_incremental_alter_configs_request_resource) resources;
    bool validate_only;
};

extern const struct kafka_shape kafka_incremental_alter_configs_request_config_shape;
extern const struct kafka_shape kafka_incremental_alter_configs_request_resource_shape;
extern const struct kafka_shape kafka_incremental_alter_configs_request_shape;

struct kafka_incremental_alter_configs_response_result {
    int16_t error_code;
    struct slice error_message;
    int8_t resource_type;
    struct slice resource_name;
};

struct kafka_incremental_alter_configs_response {
    int32_t throttle_time_ms;
    KAFKA_ARRAY(struct kafka_incremental_alter_configs_response_result) responses;
};

extern const struct kafka_shape kafka_incremental_alter_configs_response_result_shape;
extern const struct kafka_shape kafka_incremental_alter_configs_response_shape;

#endif
