/*
 * DescribeGroups (15), ListGroups (16), DeleteGroups (42): groups as administrators see them.
 */
#ifndef KQ_PROTO_KAFKA_API_GROUPS_ADMIN_H
#define KQ_PROTO_KAFKA_API_GROUPS_ADMIN_H

#include "proto/kafka/shape.h"

struct kafka_describe_groups_request {
    KAFKA_ARRAY(struct slice) groups;
    bool include_authorized_operations; /* v3 on */
};

extern const struct kafka_shape kafka_describe_groups_request_shape;

struct kafka_describe_groups_response_member {
    struct slice member_id;
    struct slice group_instance_id; /* v4 on */
    struct slice client_id;
    struct slice client_host;
    struct slice member_metadata;
    struct slice member_assignment;
};

struct kafka_describe_groups_response_group {
    int16_t error_code;
    struct slice group_id;
    struct slice group_state;
    struct slice protocol_type;
    struct slice protocol_data;
    KAFKA_ARRAY(struct kafka_describe_groups_response_member) members;
    int32_t authorized_operations; /* v3 on */
};

struct kafka_describe_groups_response {
    int32_t throttle_time_ms; /* v1 on */
    KAFKA_ARRAY(struct kafka_describe_groups_response_group) groups;
};

extern const struct kafka_shape kafka_describe_groups_response_member_shape;
extern const struct kafka_shape kafka_describe_groups_response_group_shape;
extern const struct kafka_shape kafka_describe_groups_response_shape;

struct kafka_list_groups_request {
    KAFKA_ARRAY(struct slice) states_filter; /* v4 on */
    KAFKA_ARRAY(struct slice) types_filter;  /* v5 on */
};

extern const struct kafka_shape kafka_list_groups_request_shape;

struct kafka_list_groups_response_group {
    struct slice group_id;
    struct slice protocol_type;
    struct slice group_state; /* v4 on */
    struct slice group_type;  /* v5 on */
};

struct kafka_list_groups_response {
    int32_t throttle_time_ms; /* v1 on */
    int16_t error_code;
    KAFKA_ARRAY(struct kafka_list_groups_response_group) groups;
};

extern const struct kafka_shape kafka_list_groups_response_group_shape;
extern const struct kafka_shape kafka_list_groups_response_shape;

struct kafka_delete_groups_request {
    KAFKA_ARRAY(struct slice) groups_names;
};

extern const struct kafka_shape kafka_delete_groups_request_shape;

struct kafka_delete_groups_response_result {
    struct slice group_id;
    int16_t error_code;
};

struct kafka_delete_groups_response {
    int32_t throttle_time_ms;
    KAFKA_ARRAY(struct kafka_delete_groups_response_result) results;
};

extern const struct kafka_shape kafka_delete_groups_response_result_shape;
extern const struct kafka_shape kafka_delete_groups_response_shape;

#endif
