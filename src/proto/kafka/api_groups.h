/*
 * FindCoordinator (10), JoinGroup (11), Heartbeat (12), LeaveGroup (13), SyncGroup (14).
 *
 * What members of a group of the classic protocol say. FindCoordinator: to version 3 one key,
 * from 4 on an array of them. LeaveGroup: to version 2 one member, from 3 on an array.
 * Metadata and assignment are the members' own and pass through untouched.
 */
#ifndef KQ_PROTO_KAFKA_API_GROUPS_H
#define KQ_PROTO_KAFKA_API_GROUPS_H

#include "proto/kafka/shape.h"

struct kafka_find_coordinator_request {
    struct slice key;                           /* to v3 */
    int8_t key_type;                            /* v1 on */
    KAFKA_ARRAY(struct slice) coordinator_keys; /* v4 on */
};

extern const struct kafka_shape kafka_find_coordinator_request_shape;

struct kafka_find_coordinator_response_coordinator {
    struct slice key;           /* v4 on */
    int32_t node_id;            /* v4 on */
    struct slice host;          /* v4 on */
    int32_t port;               /* v4 on */
    int16_t error_code;         /* v4 on */
    struct slice error_message; /* v4 on */
};

struct kafka_find_coordinator_response {
    int32_t throttle_time_ms;                                                     /* v1 on */
    int16_t error_code;                                                           /* to v3 */
    struct slice error_message;                                                   /* v1 to v3 */
    int32_t node_id;                                                              /* to v3 */
    struct slice host;                                                            /* to v3 */
    int32_t port;                                                                 /* to v3 */
    KAFKA_ARRAY(struct kafka_find_coordinator_response_coordinator) coordinators; /* v4 on */
};

extern const struct kafka_shape kafka_find_coordinator_response_coordinator_shape;
extern const struct kafka_shape kafka_find_coordinator_response_shape;

struct kafka_join_group_request_protocol {
    struct slice name;
    struct slice metadata;
};

struct kafka_join_group_request {
    struct slice group_id;
    int32_t session_timeout_ms;
    int32_t rebalance_timeout_ms; /* v1 on */
    struct slice member_id;
    struct slice group_instance_id; /* v5 on */
    struct slice protocol_type;
    KAFKA_ARRAY(struct kafka_join_group_request_protocol) protocols;
    struct slice reason; /* v8 on */
};

extern const struct kafka_shape kafka_join_group_request_protocol_shape;
extern const struct kafka_shape kafka_join_group_request_shape;

struct kafka_join_group_response_member {
    struct slice member_id;
    struct slice group_instance_id; /* v5 on */
    struct slice metadata;
};

struct kafka_join_group_response {
    int32_t throttle_time_ms; /* v2 on */
    int16_t error_code;
    int32_t generation_id;
    struct slice protocol_type; /* v7 on */
    struct slice protocol_name;
    struct slice leader;
    bool skip_assignment; /* v9 on */
    struct slice member_id;
    KAFKA_ARRAY(struct kafka_join_group_response_member) members;
};

extern const struct kafka_shape kafka_join_group_response_member_shape;
extern const struct kafka_shape kafka_join_group_response_shape;

struct kafka_heartbeat_request {
    struct slice group_id;
    int32_t generation_id;
    struct slice member_id;
    struct slice group_instance_id; /* v3 on */
};

extern const struct kafka_shape kafka_heartbeat_request_shape;

struct kafka_heartbeat_response {
    int32_t throttle_time_ms; /* v1 on */
    int16_t error_code;
};

extern const struct kafka_shape kafka_heartbeat_response_shape;

struct kafka_leave_group_request_member {
    struct slice member_id;         /* v3 on */
    struct slice group_instance_id; /* v3 on */
    struct slice reason;            /* v5 on */
};

struct kafka_leave_group_request {
    struct slice group_id;
    struct slice member_id;                                       /* to v2 */
    KAFKA_ARRAY(struct kafka_leave_group_request_member) members; /* v3 on */
};

extern const struct kafka_shape kafka_leave_group_request_member_shape;
extern const struct kafka_shape kafka_leave_group_request_shape;

struct kafka_leave_group_response_member {
    struct slice member_id;         /* v3 on */
    struct slice group_instance_id; /* v3 on */
    int16_t error_code;             /* v3 on */
};

struct kafka_leave_group_response {
    int32_t throttle_time_ms; /* v1 on */
    int16_t error_code;
    KAFKA_ARRAY(struct kafka_leave_group_response_member) members; /* v3 on */
};

extern const struct kafka_shape kafka_leave_group_response_member_shape;
extern const struct kafka_shape kafka_leave_group_response_shape;

struct kafka_sync_group_request_assignment {
    struct slice member_id;
    struct slice assignment;
};

struct kafka_sync_group_request {
    struct slice group_id;
    int32_t generation_id;
    struct slice member_id;
    struct slice group_instance_id; /* v3 on */
    struct slice protocol_type;     /* v5 on */
    struct slice protocol_name;     /* v5 on */
    KAFKA_ARRAY(struct kafka_sync_group_request_assignment) assignments;
};

extern const struct kafka_shape kafka_sync_group_request_assignment_shape;
extern const struct kafka_shape kafka_sync_group_request_shape;

struct kafka_sync_group_response {
    int32_t throttle_time_ms; /* v1 on */
    int16_t error_code;
    struct slice protocol_type; /* v5 on */
    struct slice protocol_name; /* v5 on */
    struct slice assignment;
};

extern const struct kafka_shape kafka_sync_group_response_shape;

#endif
