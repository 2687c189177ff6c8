/*
 * OffsetCommit (8), OffsetFetch (9), OffsetDelete (47): the offsets of a group.
 *
 * OffsetFetch: to version 7 one group (group_id, topics), from 8 on an array of groups; topics
 * null asks for all. A committed offset of -1 says that there is none. OffsetCommit 0 and 1 and
 * OffsetFetch 0 (ZooKeeper's times) are not described.
 */
#ifndef KQ_PROTO_KAFKA_API_COMMITS_H
#define KQ_PROTO_KAFKA_API_COMMITS_H

#include "proto/kafka/shape.h"

struct kafka_offset_commit_request_partition {
    int32_t partition_index;
    int64_t committed_offset;
    int32_t committed_leader_epoch; /* v6 on */
    struct slice committed_metadata;
};

struct kafka_offset_commit_request_topic {
    struct slice name;
    KAFKA_ARRAY(struct kafka_offset_commit_request_partition) partitions;
};

struct kafka_offset_commit_request {
    struct slice group_id;
    int32_t generation_id_or_member_epoch;
    struct slice member_id;
    struct slice group_instance_id; /* v7 on */
    int64_t retention_time_ms;      /* to v4 */
    KAFKA_ARRAY(struct kafka_offset_commit_request_topic) topics;
};

extern const struct kafka_shape kafka_offset_commit_request_partition_shape;
extern const struct kafka_shape kafka_offset_commit_request_topic_shape;
extern const struct kafka_shape kafka_offset_commit_request_shape;

struct kafka_offset_commit_response_partition {
    int32_t partition_index;
    int16_t error_code;
};

struct kafka_offset_commit_response_topic {
    struct slice name;
    KAFKA_ARRAY(struct kafka_offset_commit_response_partition) partitions;
};

struct kafka_offset_commit_response {
    int32_t throttle_time_ms; /* v3 on */
    KAFKA_ARRAY(struct kafka_offset_commit_response_topic) topics;
};

extern const struct kafka_shape kafka_offset_commit_response_partition_shape;
extern const struct kafka_shape kafka_offset_commit_response_topic_shape;
extern const struct kafka_shape kafka_offset_commit_response_shape;

struct kafka_offset_fetch_request_topic {
    struct slice name;                      /* to v7 */
    KAFKA_ARRAY(int32_t) partition_indexes; /* to v7 */
};

struct kafka_offset_fetch_request_group_topic {
    struct slice name;                      /* v8 on */
    KAFKA_ARRAY(int32_t) partition_indexes; /* v8 on */
};

struct kafka_offset_fetch_request_group {
    struct slice group_id;                                             /* v8 on */
    struct slice member_id;                                            /* v9 on */
    int32_t member_epoch;                                              /* v9 on */
    KAFKA_ARRAY(struct kafka_offset_fetch_request_group_topic) topics; /* v8 on */
};

struct kafka_offset_fetch_request {
    struct slice group_id;                                       /* to v7 */
    KAFKA_ARRAY(struct kafka_offset_fetch_request_topic) topics; /* to v7 */
    KAFKA_ARRAY(struct kafka_offset_fetch_request_group) groups; /* v8 on */
    bool require_stable;                                         /* v7 on */
};

extern const struct kafka_shape kafka_offset_fetch_request_topic_shape;
extern const struct kafka_shape kafka_offset_fetch_request_group_topic_shape;
extern const struct kafka_shape kafka_offset_fetch_request_group_shape;
extern const struct kafka_shape kafka_offset_fetch_request_shape;

struct kafka_offset_fetch_response_partition {
    int32_t partition_index;        /* to v7 */
    int64_t committed_offset;       /* to v7 */
    int32_t committed_leader_epoch; /* v5 to v7 */
    struct slice metadata;          /* to v7 */
    int16_t error_code;             /* to v7 */
};

struct kafka_offset_fetch_response_topic {
    struct slice name;                                                    /* to v7 */
    KAFKA_ARRAY(struct kafka_offset_fetch_response_partition) partitions; /* to v7 */
};

struct kafka_offset_fetch_response_group_partition {
    int32_t partition_index;        /* v8 on */
    int64_t committed_offset;       /* v8 on */
    int32_t committed_leader_epoch; /* v8 on */
    struct slice metadata;          /* v8 on */
    int16_t error_code;             /* v8 on */
};

struct kafka_offset_fetch_response_group_topic {
    struct slice name;                                                          /* v8 on */
    KAFKA_ARRAY(struct kafka_offset_fetch_response_group_partition) partitions; /* v8 on */
};

struct kafka_offset_fetch_response_group {
    struct slice group_id;                                              /* v8 on */
    KAFKA_ARRAY(struct kafka_offset_fetch_response_group_topic) topics; /* v8 on */
    int16_t error_code;                                                 /* v8 on */
};

struct kafka_offset_fetch_response {
    int32_t throttle_time_ms;                                     /* v3 on */
    KAFKA_ARRAY(struct kafka_offset_fetch_response_topic) topics; /* to v7 */
    int16_t error_code;                                           /* v2 to v7 */
    KAFKA_ARRAY(struct kafka_offset_fetch_response_group) groups; /* v8 on */
};

extern const struct kafka_shape kafka_offset_fetch_response_partition_shape;
extern const struct kafka_shape kafka_offset_fetch_response_topic_shape;
extern const struct kafka_shape kafka_offset_fetch_response_group_partition_shape;
extern const struct kafka_shape kafka_offset_fetch_response_group_topic_shape;
extern const struct kafka_shape kafka_offset_fetch_response_group_shape;
extern const struct kafka_shape kafka_offset_fetch_response_shape;

struct kafka_offset_delete_request_partition {
    int32_t partition_index;
};

struct kafka_offset_delete_request_topic {
    struct slice name;
    KAFKA_ARRAY(struct kafka_offset_delete_request_partition) partitions;
};

struct kafka_offset_delete_request {
    struct slice group_id;
    KAFKA_ARRAY(struct kafka_offset_delete_request_topic) topics;
};

extern const struct kafka_shape kafka_offset_delete_request_partition_shape;
extern const struct kafka_shape kafka_offset_delete_request_topic_shape;
extern const struct kafka_shape kafka_offset_delete_request_shape;

struct kafka_offset_delete_response_partition {
    int32_t partition_index;
    int16_t error_code;
};

struct kafka_offset_delete_response_topic {
    struct slice name;
    KAFKA_ARRAY(struct kafka_offset_delete_response_partition) partitions;
};

struct kafka_offset_delete_response {
    int16_t error_code;
    int32_t throttle_time_ms;
    KAFKA_ARRAY(struct kafka_offset_delete_response_topic) topics;
};

extern const struct kafka_shape kafka_offset_delete_response_partition_shape;
extern const struct kafka_shape kafka_offset_delete_response_topic_shape;
extern const struct kafka_shape kafka_offset_delete_response_shape;

#endif
