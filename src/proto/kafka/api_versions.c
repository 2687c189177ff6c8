/* ApiVersions (18): what this broker speaks; a client's first request. See the header. */
#include "proto/kafka/api_versions.h"

#include "proto/kafka/rows.h"

static const struct kafka_field api_versions_request_fields[] = {
    {FIELD(kafka_api_versions_request, client_software_name, STRING), FROM(3)},
    {FIELD(kafka_api_versions_request, client_software_version, STRING), FROM(3)},
};
SHAPE(kafka_api_versions_request, api_versions_request_fields);

static const struct kafka_field api_versions_response_range_fields[] = {
    {FIELD(kafka_api_versions_response_range, api_key, INT16)},
    {FIELD(kafka_api_versions_response_range, min_version, INT16)},
    {FIELD(kafka_api_versions_response_range, max_version, INT16)},
};
SHAPE(kafka_api_versions_response_range, api_versions_response_range_fields);

static const struct kafka_field api_versions_response_feature_fields[] = {
    {FIELD(kafka_api_versions_response_feature, name, STRING), FROM(3)},
    {FIELD(kafka_api_versions_response_feature, min_version, INT16), FROM(3)},
    {FIELD(kafka_api_versions_response_feature, max_version, INT16), FROM(3)},
};
SHAPE(kafka_api_versions_response_feature, api_versions_response_feature_fields);

static const struct kafka_field api_versions_response_finalized_fields[] = {
    {FIELD(kafka_api_versions_response_finalized, name, STRING), FROM(3)},
    {FIELD(kafka_api_versions_response_finalized, max_version_level, INT16), FROM(3)},
    {FIELD(kafka_api_versions_response_finalized, min_version_level, INT16), FROM(3)},
};
SHAPE(kafka_api_versions_response_finalized, api_versions_response_finalized_fields);

static const struct kafka_field api_versions_response_fields[] = {
    {FIELD(kafka_api_versions_response, error_code, INT16)},
    {STRUCTS(kafka_api_versions_response, api_keys, kafka_api_versions_response_range)},
    {FIELD(kafka_api_versions_response, throttle_time_ms, INT32), FROM(1)},
    {STRUCTS(kafka_api_versions_response, supported_features, kafka_api_versions_response_feature), FROM(3), TAG(0)},
    {FIELD(kafka_api_versions_response, finalized_features_epoch, INT64), FROM(3), TAG(1), DEFAULT(-1)},
    {STRUCTS(kafka_api_versions_response, finalized_features, kafka_api_versions_response_finalized), FROM(3), TAG(2)},
    {FIELD(kafka_api_versions_response, zk_migration_ready, BOOL), FROM(3), TAG(3)},
};
SHAPE(kafka_api_versions_response, api_versions_response_fields);
