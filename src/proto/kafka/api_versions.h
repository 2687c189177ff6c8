/*
 * ApiVersions (18): what this broker speaks; a client's first request.
 *
 * Its answers have the header of version 0 in every version (frame.c), and a request in a
 * version that is not ours is answered in version 0.
 */
#ifndef KQ_PROTO_KAFKA_API_VERSIONS_H
#define KQ_PROTO_KAFKA_API_VERSIONS_H

#include "proto/kafka/shape.h"

struct kafka_api_versions_request {
    struct slice client_software_name;    /* v3 on */
    struct slice client_software_version; /* v3 on */
};

extern const struct kafka_shape kafka_api_versions_request_shape;

struct kafka_api_versions_response_range {
    int16_t api_key;
    int16_t min_version;
    int16_t max_version;
};

struct kafka_api_versions_response_feature {
    struct slice name;   /* v3 on */
    int16_t min_version; /* v3 on */
    int16_t max_version; /* v3 on */
};

struct kafka_api_versions_response_finalized {
    struct slice name;         /* v3 on */
    int16_t max_version_level; /* v3 on */
    int16_t min_version_level; /* v3 on */
};

struct kafka_api_versions_response {
    int16_t error_code;
    KAFKA_ARRAY(struct kafka_api_versions_response_range) api_keys;
    int32_t throttle_time_ms;                                                     /* v1 on */
    KAFKA_ARRAY(struct kafka_api_versions_response_feature) supported_features;   /* tag 0, v3 on */
    int64_t finalized_features_epoch;                                             /* tag 1, v3 on */
    KAFKA_ARRAY(struct kafka_api_versions_response_finalized) finalized_features; /* tag 2, v3 on */
    bool zk_migration_ready;                                                      /* tag 3, v3 on */
};

extern const struct kafka_shape kafka_api_versions_response_range_shape;
extern const struct kafka_shape kafka_api_versions_response_feature_shape;
extern const struct kafka_shape kafka_api_versions_response_finalized_shape;
extern const struct kafka_shape kafka_api_versions_response_shape;

#endif
