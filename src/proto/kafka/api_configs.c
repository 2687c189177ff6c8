/* DescribeConfigs (32), AlterConfigs (33), IncrementalAlterConfigs (44). See the header. */
#include "proto/kafka/api_configs.h"

#include "proto/kafka/rows.h"

static const struct kafka_field describe_configs_request_resource_fields[] = {
    {FIELD(kafka_describe_configs_request_resource, resource_type, INT8)},
    {FIELD(kafka_describe_configs_request_resource, resource_name, STRING)},
    {ARRAY(kafka_describe_configs_request_resource, configuration_keys, STRING), NULLABLE(0)},
};
SHAPE(kafka_describe_configs_request_resource, describe_configs_request_resource_fields);

static const struct kafka_field describe_configs_request_fields[] = {
    {STRUCTS(kafka_describe_configs_request, resources, kafka_describe_configs_request_resource)},
    {FIELD(kafka_describe_configs_request, include_synonyms, BOOL), FROM(1)},
    {FIELD(kafka_describe_configs_request, include_documentation, BOOL), FROM(3)},
};
SHAPE(kafka_describe_configs_request, describe_configs_request_fields);

static const struct kafka_field describe_configs_response_synonym_fields[] = {
    {FIELD(kafka_describe_configs_response_synonym, name, STRING), FROM(1)},
    {FIELD(kafka_describe_configs_response_synonym, value, STRING), FROM(1), NULLABLE(1)},
    {FIELD(kafka_describe_configs_response_synonym, source, INT8), FROM(1)},
};
SHAPE(kafka_describe_configs_response_synonym, describe_configs_response_synonym_fields);

static const struct kafka_field describe_configs_response_config_fields[] = {
    {FIELD(kafka_describe_configs_response_config, name, STRING)},
    {FIELD(kafka_describe_configs_response_config, value, STRING), NULLABLE(0)},
    {FIELD(kafka_describe_configs_response_config, read_only, BOOL)},
    {FIELD(kafka_describe_configs_response_config, is_default, BOOL), UNTIL(0)},
    {FIELD(kafka_describe_configs_response_config, config_source, INT8), FROM(1), DEFAULT(-1)},
    {FIELD(kafka_describe_configs_response_config, is_sensitive, BOOL)},
    {STRUCTS(kafka_describe_configs_response_config, synonyms, kafka_describe_configs_response_synonym), FROM(1)},
    {FIELD(kafka_describe_configs_response_config, config_type, INT8), FROM(3)},
    {FIELD(kafka_describe_configs_response_config, documentation, STRING), FROM(3), NULLABLE(3)},
};
SHAPE(kafka_describe_configs_response_config, describe_configs_response_config_fields);

static const struct kafka_field describe_configs_response_result_fields[] = {
    {FIELD(kafka_describe_configs_response_result, error_code, INT16)},
    {FIELD(kafka_describe_configs_response_result, error_message, STRING), NULLABLE(0)},
    {FIELD(kafka_describe_configs_response_result, resource_type, INT8)},
    {FIELD(kafka_describe_configs_response_result, resource_name, STRING)},
    {STRUCTS(kafka_describe_configs_response_result, configs, kafka_describe_configs_response_config)},
};
SHAPE(kafka_describe_configs_response_result, describe_configs_response_result_fields);

static const struct kafka_field describe_configs_response_fields[] = {
    {FIELD(kafka_describe_configs_response, throttle_time_ms, INT32)},
    {STRUCTS(kafka_describe_configs_response, results, kafka_describe_configs_response_result)},
};
SHAPE(kafka_describe_configs_response, describe_configs_response_fields);

static const struct kafka_field alter_configs_request_config_fields[] = {
    {FIELD(kafka_alter_configs_request_config, name, STRING)},
    {FIELD(kafka_alter_configs_request_config, value, STRING), NULLABLE(0)},
};
SHAPE(kafka_alter_configs_request_config, alter_configs_request_config_fields);

static const struct kafka_field alter_configs_request_resource_fields[] = {
    {FIELD(kafka_alter_configs_request_resource, resource_type, INT8)},
    {FIELD(kafka_alter_configs_request_resource, resource_name, STRING)},
    {STRUCTS(kafka_alter_configs_request_resource, configs, kafka_alter_configs_request_config)},
};
SHAPE(kafka_alter_configs_request_resource, alter_configs_request_resource_fields);

static const struct kafka_field alter_configs_request_fields[] = {
    {STRUCTS(kafka_alter_configs_request, resources, kafka_alter_configs_request_resource)},
    {FIELD(kafka_alter_configs_request, validate_only, BOOL)},
};
SHAPE(kafka_alter_configs_request, alter_configs_request_fields);

static const struct kafka_field alter_configs_response_result_fields[] = {
    {FIELD(kafka_alter_configs_response_result, error_code, INT16)},
    {FIELD(kafka_alter_configs_response_result, error_message, STRING), NULLABLE(0)},
    {FIELD(kafka_alter_configs_response_result, resource_type, INT8)},
    {FIELD(kafka_alter_configs_response_result, resource_name, STRING)},
};
SHAPE(kafka_alter_configs_response_result, alter_configs_response_result_fields);

static const struct kafka_field alter_configs_response_fields[] = {
    {FIELD(kafka_alter_configs_response, throttle_time_ms, INT32)},
    {STRUCTS(kafka_alter_configs_response, responses, kafka_alter_configs_response_result)},
};
SHAPE(kafka_alter_configs_response, alter_configs_response_fields);

static const struct kafka_field incremental_alter_configs_request_config_fields[] = {
    {FIELD(kafka_incremental_alter_configs_request_config, name, STRING)},
    {FIELD(kafka_incremental_alter_configs_request_config, config_operation, INT8)},
    {FIELD(kafka_incremental_alter_configs_request_config, value, STRING), NULLABLE(0)},
};
SHAPE(kafka_incremental_alter_configs_request_config, incremental_alter_configs_request_config_fields);

static const struct kafka_field incremental_alter_configs_request_resource_fields[] = {
    {FIELD(kafka_incremental_alter_configs_request_resource, resource_type, INT8)},
    {FIELD(kafka_incremental_alter_configs_request_resource, resource_name, STRING)},
    {STRUCTS(kafka_incremental_alter_configs_request_resource, configs,
             kafka_incremental_alter_configs_request_config)},
};
SHAPE(kafka_incremental_alter_configs_request_resource, incremental_alter_configs_request_resource_fields);

static const struct kafka_field incremental_alter_configs_request_fields[] = {
    {STRUCTS(kafka_incremental_alter_configs_request, resources, kafka_incremental_alter_configs_request_resource)},
    {FIELD(kafka_incremental_alter_configs_request, validate_only, BOOL)},
};
SHAPE(kafka_incremental_alter_configs_request, incremental_alter_configs_request_fields);

static const struct kafka_field incremental_alter_configs_response_result_fields[] = {
    {FIELD(kafka_incremental_alter_configs_response_result, error_code, INT16)},
    {FIELD(kafka_incremental_alter_configs_response_result, error_message, STRING), NULLABLE(0)},
    {FIELD(kafka_incremental_alter_configs_response_result, resource_type, INT8)},
    {FIELD(kafka_incremental_alter_configs_response_result, resource_name, STRING)},
};
SHAPE(kafka_incremental_alter_configs_response_result, incremental_alter_configs_response_result_fields);

static const struct kafka_field incremental_alter_configs_response_fields[] = {
    {FIELD(kafka_incremental_alter_configs_response, throttle_time_ms, INT32)},
    {STRUCTS(kafka_incremental_alter_configs_response, responses, kafka_incremental_alter_configs_response_result)},
};
SHAPE(kafka_incremental_alter_configs_response, incremental_alter_configs_response_fields);
