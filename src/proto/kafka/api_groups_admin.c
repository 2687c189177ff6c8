/* DescribeGroups (15), ListGroups (16), DeleteGroups (42): groups as administrators see them. See the header. */
#include "proto/kafka/api_groups_admin.h"

#include "proto/kafka/rows.h"

static const struct kafka_field describe_groups_request_fields[] = {
    {ARRAY(kafka_describe_groups_request, groups, STRING)},
    {FIELD(kafka_describe_groups_request, include_authorized_operations, BOOL), FROM(3)},
};
SHAPE(kafka_describe_groups_request, describe_groups_request_fields);

static const struct kafka_field describe_groups_response_member_fields[] = {
    {FIELD(kafka_describe_groups_response_member, member_id, STRING)},
    {FIELD(kafka_describe_groups_response_member, group_instance_id, STRING), FROM(4), NULLABLE(4)},
    {FIELD(kafka_describe_groups_response_member, client_id, STRING)},
    {FIELD(kafka_describe_groups_response_member, client_host, STRING)},
    {FIELD(kafka_describe_groups_response_member, member_metadata, BYTES)},
    {FIELD(kafka_describe_groups_response_member, member_assignment, BYTES)},
};
SHAPE(kafka_describe_groups_response_member, describe_groups_response_member_fields);

static const struct kafka_field describe_groups_response_group_fields[] = {
    {FIELD(kafka_describe_groups_response_group, error_code, INT16)},
    {FIELD(kafka_describe_groups_response_group, group_id, STRING)},
    {FIELD(kafka_describe_groups_response_group, group_state, STRING)},
    {FIELD(kafka_describe_groups_response_group, protocol_type, STRING)},
    {FIELD(kafka_describe_groups_response_group, protocol_data, STRING)},
    {STRUCTS(kafka_describe_groups_response_group, members, kafka_describe_groups_response_member)},
    {FIELD(kafka_describe_groups_response_group, authorized_operations, INT32), FROM(3), DEFAULT(INT32_MIN)},
};
SHAPE(kafka_describe_groups_response_group, describe_groups_response_group_fields);

static const struct kafka_field describe_groups_response_fields[] = {
    {FIELD(kafka_describe_groups_response, throttle_time_ms, INT32), FROM(1)},
    {STRUCTS(kafka_describe_groups_response, groups, kafka_describe_groups_response_group)},
};
SHAPE(kafka_describe_groups_response, describe_groups_response_fields);

static const struct kafka_field list_groups_request_fields[] = {
    {ARRAY(kafka_list_groups_request, states_filter, STRING), FROM(4)},
    {ARRAY(kafka_list_groups_request, types_filter, STRING), FROM(5)},
};
SHAPE(kafka_list_groups_request, list_groups_request_fields);

static const struct kafka_field list_groups_response_group_fields[] = {
    {FIELD(kafka_list_groups_response_group, group_id, STRING)},
    {FIELD(kafka_list_groups_response_group, protocol_type, STRING)},
    {FIELD(kafka_list_groups_response_group, group_state, STRING), FROM(4)},
    {FIELD(kafka_list_groups_response_group, group_type, STRING), FROM(5)},
};
SHAPE(kafka_list_groups_response_group, list_groups_response_group_fields);

static const struct kafka_field list_groups_response_fields[] = {
    {FIELD(kafka_list_groups_response, throttle_time_ms, INT32), FROM(1)},
    {FIELD(kafka_list_groups_response, error_code, INT16)},
    {STRUCTS(kafka_list_groups_response, groups, kafka_list_groups_response_group)},
};
SHAPE(kafka_list_groups_response, list_groups_response_fields);

static const struct kafka_field delete_groups_request_fields[] = {
    {ARRAY(kafka_delete_groups_request, groups_names, STRING)},
};
SHAPE(kafka_delete_groups_request, delete_groups_request_fields);

static const struct kafka_field delete_groups_response_result_fields[] = {
    {FIELD(kafka_delete_groups_response_result, group_id, STRING)},
    {FIELD(kafka_delete_groups_response_result, error_code, INT16)},
};
SHAPE(kafka_delete_groups_response_result, delete_groups_response_result_fields);

static const struct kafka_field delete_groups_response_fields[] = {
    {FIELD(kafka_delete_groups_response, throttle_time_ms, INT32)},
    {STRUCTS(kafka_delete_groups_response, results, kafka_delete_groups_response_result)},
};
SHAPE(kafka_delete_groups_response, delete_groups_response_fields);
