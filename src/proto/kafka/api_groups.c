/* FindCoordinator (10), JoinGroup (11), Heartbeat (12), LeaveGroup (13), SyncGroup (14). See the header. */
#include "proto/kafka/api_groups.h"

#include "proto/kafka/rows.h"

static const struct kafka_field find_coordinator_request_fields[] = {
    {FIELD(kafka_find_coordinator_request, key, STRING), UNTIL(3)},
    {FIELD(kafka_find_coordinator_request, key_type, INT8), FROM(1)},
    {ARRAY(kafka_find_coordinator_request, coordinator_keys, STRING), FROM(4)},
};
SHAPE(kafka_find_coordinator_request, find_coordinator_request_fields);

static const struct kafka_field find_coordinator_response_coordinator_fields[] = {
    {FIELD(kafka_find_coordinator_response_coordinator, key, STRING), FROM(4)},
    {FIELD(kafka_find_coordinator_response_coordinator, node_id, INT32), FROM(4)},
    {FIELD(kafka_find_coordinator_response_coordinator, host, STRING), FROM(4)},
    {FIELD(kafka_find_coordinator_response_coordinator, port, INT32), FROM(4)},
    {FIELD(kafka_find_coordinator_response_coordinator, error_code, INT16), FROM(4)},
    {FIELD(kafka_find_coordinator_response_coordinator, error_message, STRING), FROM(4), NULLABLE(4)},
};
SHAPE(kafka_find_coordinator_response_coordinator, find_coordinator_response_coordinator_fields);

static const struct kafka_field find_coordinator_response_fields[] = {
    {FIELD(kafka_find_coordinator_response, throttle_time_ms, INT32), FROM(1)},
    {FIELD(kafka_find_coordinator_response, error_code, INT16), UNTIL(3)},
    {FIELD(kafka_find_coordinator_response, error_message, STRING), FROM(1), UNTIL(3), NULLABLE(1)},
    {FIELD(kafka_find_coordinator_response, node_id, INT32), UNTIL(3)},
    {FIELD(kafka_find_coordinator_response, host, STRING), UNTIL(3)},
    {FIELD(kafka_find_coordinator_response, port, INT32), UNTIL(3)},
    {STRUCTS(kafka_find_coordinator_response, coordinators, kafka_find_coordinator_response_coordinator), FROM(4)},
};
SHAPE(kafka_find_coordinator_response, find_coordinator_response_fields);

static const struct kafka_field join_group_request_protocol_fields[] = {
    {FIELD(kafka_join_group_request_protocol, name, STRING)},
    {FIELD(kafka_join_group_request_protocol, metadata, BYTES)},
};
SHAPE(kafka_join_group_request_protocol, join_group_request_protocol_fields);

static const struct kafka_field join_group_request_fields[] = {
    {FIELD(kafka_join_group_request, group_id, STRING)},
    {FIELD(kafka_join_group_request, session_timeout_ms, INT32)},
    {FIELD(kafka_join_group_request, rebalance_timeout_ms, INT32), FROM(1), DEFAULT(-1)},
    {FIELD(kafka_join_group_request, member_id, STRING)},
    {FIELD(kafka_join_group_request, group_instance_id, STRING), FROM(5), NULLABLE(5)},
    {FIELD(kafka_join_group_request, protocol_type, STRING)},
    {STRUCTS(kafka_join_group_request, protocols, kafka_join_group_request_protocol)},
    {FIELD(kafka_join_group_request, reason, STRING), FROM(8), NULLABLE(8)},
};
SHAPE(kafka_join_group_request, join_group_request_fields);

static const struct kafka_field join_group_response_member_fields[] = {
    {FIELD(kafka_join_group_response_member, member_id, STRING)},
    {FIELD(kafka_join_group_response_member, group_instance_id, STRING), FROM(5), NULLABLE(5)},
    {FIELD(kafka_join_group_response_member, metadata, BYTES)},
};
SHAPE(kafka_join_group_response_member, join_group_response_member_fields);

static const struct kafka_field join_group_response_fields[] = {
    {FIELD(kafka_join_group_response, throttle_time_ms, INT32), FROM(2)},
    {FIELD(kafka_join_group_response, error_code, INT16)},
    {FIELD(kafka_join_group_response, generation_id, INT32), DEFAULT(-1)},
    {FIELD(kafka_join_group_response, protocol_type, STRING), FROM(7), NULLABLE(7)},
    {FIELD(kafka_join_group_response, protocol_name, STRING), NULLABLE(7)},
    {FIELD(kafka_join_group_response, leader, STRING)},
    {FIELD(kafka_join_group_response, skip_assignment, BOOL), FROM(9)},
    {FIELD(kafka_join_group_response, member_id, STRING)},
    {STRUCTS(kafka_join_group_response, members, kafka_join_group_response_member)},
};
SHAPE(kafka_join_group_response, join_group_response_fields);

static const struct kafka_field heartbeat_request_fields[] = {
    {FIELD(kafka_heartbeat_request, group_id, STRING)},
    {FIELD(kafka_heartbeat_request, generation_id, INT32)},
    {FIELD(kafka_heartbeat_request, member_id, STRING)},
    {FIELD(kafka_heartbeat_request, group_instance_id, STRING), FROM(3), NULLABLE(3)},
};
SHAPE(kafka_heartbeat_request, heartbeat_request_fields);

static const struct kafka_field heartbeat_response_fields[] = {
    {FIELD(kafka_heartbeat_response, throttle_time_ms, INT32), FROM(1)},
    {FIELD(kafka_heartbeat_response, error_code, INT16)},
};
SHAPE(kafka_heartbeat_response, heartbeat_response_fields);

static const struct kafka_field leave_group_request_member_fields[] = {
    {FIELD(kafka_leave_group_request_member, member_id, STRING), FROM(3)},
    {FIELD(kafka_leave_group_request_member, group_instance_id, STRING), FROM(3), NULLABLE(3)},
    {FIELD(kafka_leave_group_request_member, reason, STRING), FROM(5), NULLABLE(5)},
};
SHAPE(kafka_leave_group_request_member, leave_group_request_member_fields);

static const struct kafka_field leave_group_request_fields[] = {
    {FIELD(kafka_leave_group_request, group_id, STRING)},
    {FIELD(kafka_leave_group_request, member_id, STRING), UNTIL(2)},
    {STRUCTS(kafka_leave_group_request, members, kafka_leave_group_request_member), FROM(3)},
};
SHAPE(kafka_leave_group_request, leave_group_request_fields);

static const struct kafka_field leave_group_response_member_fields[] = {
    {FIELD(kafka_leave_group_response_member, member_id, STRING), FROM(3)},
    {FIELD(kafka_leave_group_response_member, group_instance_id, STRING), FROM(3), NULLABLE(3)},
    {FIELD(kafka_leave_group_response_member, error_code, INT16), FROM(3)},
};
SHAPE(kafka_leave_group_response_member, leave_group_response_member_fields);

static const struct kafka_field leave_group_response_fields[] = {
    {FIELD(kafka_leave_group_response, throttle_time_ms, INT32), FROM(1)},
    {FIELD(kafka_leave_group_response, error_code, INT16)},
    {STRUCTS(kafka_leave_group_response, members, kafka_leave_group_response_member), FROM(3)},
};
SHAPE(kafka_leave_group_response, leave_group_response_fields);

static const struct kafka_field sync_group_request_assignment_fields[] = {
    {FIELD(kafka_sync_group_request_assignment, member_id, STRING)},
    {FIELD(kafka_sync_group_request_assignment, assignment, BYTES)},
};
SHAPE(kafka_sync_group_request_assignment, sync_group_request_assignment_fields);

static const struct kafka_field sync_group_request_fields[] = {
    {FIELD(kafka_sync_group_request, group_id, STRING)},
    {FIELD(kafka_sync_group_request, generation_id, INT32)},
    {FIELD(kafka_sync_group_request, member_id, STRING)},
    {FIELD(kafka_sync_group_request, group_instance_id, STRING), FROM(3), NULLABLE(3)},
    {FIELD(kafka_sync_group_request, protocol_type, STRING), FROM(5), NULLABLE(5)},
    {FIELD(kafka_sync_group_request, protocol_name, STRING), FROM(5), NULLABLE(5)},
    {STRUCTS(kafka_sync_group_request, assignments, kafka_sync_group_request_assignment)},
};
SHAPE(kafka_sync_group_request, sync_group_request_fields);

static const struct kafka_field sync_group_response_fields[] = {
    {FIELD(kafka_sync_group_response, throttle_time_ms, INT32), FROM(1)},
    {FIELD(kafka_sync_group_response, error_code, INT16)},
    {FIELD(kafka_sync_group_response, protocol_type, STRING), FROM(5), NULLABLE(5)},
    {FIELD(kafka_sync_group_response, protocol_name, STRING), FROM(5), NULLABLE(5)},
    {FIELD(kafka_sync_group_response, assignment, BYTES)},
};
SHAPE(kafka_sync_group_response, sync_group_response_fields);
