/*
 * The error codes of the Kafka protocol: one table of names, numbers and whether a
 * client may try again as it is ("retriable" in Kafka's own sense: the exception that
 * its client makes of the code).
 */
#ifndef KQ_PROTO_KAFKA_ERROR_H
#define KQ_PROTO_KAFKA_ERROR_H

#include <stdbool.h>
#include <stdint.h>

enum { KAFKA_FATAL, KAFKA_RETRIABLE };

/* name, number, retriable */
#define KAFKA_ERROR_TABLE(X)                                                                                           \
    X(UNKNOWN_SERVER_ERROR, -1, KAFKA_FATAL)                                                                           \
    X(NONE, 0, KAFKA_FATAL)                                                                                            \
    X(OFFSET_OUT_OF_RANGE, 1, KAFKA_FATAL)                                                                             \
    X(CORRUPT_MESSAGE, 2, KAFKA_RETRIABLE)                                                                             \
    X(UNKNOWN_TOPIC_OR_PARTITION, 3, KAFKA_RETRIABLE)                                                                  \
    X(INVALID_FETCH_SIZE, 4, KAFKA_FATAL)                                                                              \
    X(LEADER_NOT_AVAILABLE, 5, KAFKA_RETRIABLE)                                                                        \
    X(NOT_LEADER_OR_FOLLOWER, 6, KAFKA_RETRIABLE)                                                                      \
    X(REQUEST_TIMED_OUT, 7, KAFKA_RETRIABLE)                                                                           \
    X(BROKER_NOT_AVAILABLE, 8, KAFKA_FATAL)                                                                            \
    X(REPLICA_NOT_AVAILABLE, 9, KAFKA_RETRIABLE)                                                                       \
    X(MESSAGE_TOO_LARGE, 10, KAFKA_FATAL)                                                                              \
    X(STALE_CONTROLLER_EPOCH, 11, KAFKA_FATAL)                                                                         \
    X(OFFSET_METADATA_TOO_LARGE, 12, KAFKA_FATAL)                                                                      \
    X(NETWORK_EXCEPTION, 13, KAFKA_RETRIABLE)                                                                          \
    X(COORDINATOR_LOAD_IN_PROGRESS, 14, KAFKA_RETRIABLE)                                                               \
    X(COORDINATOR_NOT_AVAILABLE, 15, KAFKA_RETRIABLE)                                                                  \
    X(NOT_COORDINATOR, 16, KAFKA_RETRIABLE)                                                                            \
    X(INVALID_TOPIC_EXCEPTION, 17, KAFKA_FATAL)                                                                        \
    X(RECORD_LIST_TOO_LARGE, 18, KAFKA_FATAL)                                                                          \
    X(NOT_ENOUGH_REPLICAS, 19, KAFKA_RETRIABLE)                                                                        \
    X(NOT_ENOUGH_REPLICAS_AFTER_APPEND, 20, KAFKA_RETRIABLE)                                                           \
    X(INVALID_REQUIRED_ACKS, 21, KAFKA_FATAL)                                                                          \
    X(ILLEGAL_GENERATION, 22, KAFKA_FATAL)                                                                             \
    X(INCONSISTENT_GROUP_PROTOCOL, 23, KAFKA_FATAL)                                                                    \
    X(INVALID_GROUP_ID, 24, KAFKA_FATAL)                                                                               \
    X(UNKNOWN_MEMBER_ID, 25, KAFKA_FATAL)                                                                              \
    X(INVALID_SESSION_TIMEOUT, 26, KAFKA_FATAL)                                                                        \
    X(REBALANCE_IN_PROGRESS, 27, KAFKA_FATAL)                                                                          \
    X(INVALID_COMMIT_OFFSET_SIZE, 28, KAFKA_FATAL)                                                                     \
    X(TOPIC_AUTHORIZATION_FAILED, 29, KAFKA_FATAL)                                                                     \
    X(GROUP_AUTHORIZATION_FAILED, 30, KAFKA_FATAL)                                                                     \
    X(CLUSTER_AUTHORIZATION_FAILED, 31, KAFKA_FATAL)                                                                   \
    X(INVALID_TIMESTAMP, 32, KAFKA_FATAL)                                                                              \
    X(UNSUPPORTED_SASL_MECHANISM, 33, KAFKA_FATAL)                                                                     \
    X(ILLEGAL_SASL_STATE, 34, KAFKA_FATAL)                                                                             \
    X(UNSUPPORTED_VERSION, 35, KAFKA_FATAL)                                                                            \
    X(TOPIC_ALREADY_EXISTS, 36, KAFKA_FATAL)                                                                           \
    X(INVALID_PARTITIONS, 37, KAFKA_FATAL)                                                                             \
    X(INVALID_REPLICATION_FACTOR, 38, KAFKA_FATAL)                                                                     \
    X(INVALID_REPLICA_ASSIGNMENT, 39, KAFKA_FATAL)                                                                     \
    X(INVALID_CONFIG, 40, KAFKA_FATAL)                                                                                 \
    X(NOT_CONTROLLER, 41, KAFKA_RETRIABLE)                                                                             \
    X(INVALID_REQUEST, 42, KAFKA_FATAL)                                                                                \
    X(UNSUPPORTED_FOR_MESSAGE_FORMAT, 43, KAFKA_FATAL)                                                                 \
    X(POLICY_VIOLATION, 44, KAFKA_FATAL)                                                                               \
    X(OUT_OF_ORDER_SEQUENCE_NUMBER, 45, KAFKA_FATAL)                                                                   \
    X(DUPLICATE_SEQUENCE_NUMBER, 46, KAFKA_FATAL)                                                                      \
    X(INVALID_PRODUCER_EPOCH, 47, KAFKA_FATAL)                                                                         \
    X(INVALID_TXN_STATE, 48, KAFKA_FATAL)                                                                              \
    X(INVALID_PRODUCER_ID_MAPPING, 49, KAFKA_FATAL)                                                                    \
    X(INVALID_TRANSACTION_TIMEOUT, 50, KAFKA_FATAL)                                                                    \
    X(CONCURRENT_TRANSACTIONS, 51, KAFKA_RETRIABLE)                                                                    \
    X(TRANSACTION_COORDINATOR_FENCED, 52, KAFKA_FATAL)                                                                 \
    X(TRANSACTIONAL_ID_AUTHORIZATION_FAILED, 53, KAFKA_FATAL)                                                          \
    X(SECURITY_DISABLED, 54, KAFKA_FATAL)                                                                              \
    X(OPERATION_NOT_ATTEMPTED, 55, KAFKA_FATAL)                                                                        \
    X(KAFKA_STORAGE_ERROR, 56, KAFKA_RETRIABLE)                                                                        \
    X(LOG_DIR_NOT_FOUND, 57, KAFKA_FATAL)                                                                              \
    X(SASL_AUTHENTICATION_FAILED, 58, KAFKA_FATAL)                                                                     \
    X(UNKNOWN_PRODUCER_ID, 59, KAFKA_FATAL)                                                                            \
    X(REASSIGNMENT_IN_PROGRESS, 60, KAFKA_FATAL)                                                                       \
    X(DELEGATION_TOKEN_AUTH_DISABLED, 61, KAFKA_FATAL)                                                                 \
    X(DELEGATION_TOKEN_NOT_FOUND, 62, KAFKA_FATAL)                                                                     \
    X(DELEGATION_TOKEN_OWNER_MISMATCH, 63, KAFKA_FATAL)                                                                \
    X(DELEGATION_TOKEN_REQUEST_NOT_ALLOWED, 64, KAFKA_FATAL)                                                           \
    X(DELEGATION_TOKEN_AUTHORIZATION_FAILED, 65, KAFKA_FATAL)                                                          \
    X(DELEGATION_TOKEN_EXPIRED, 66, KAFKA_FATAL)                                                                       \
    X(INVALID_PRINCIPAL_TYPE, 67, KAFKA_FATAL)                                                                         \
    X(NON_EMPTY_GROUP, 68, KAFKA_FATAL)                                                                                \
    X(GROUP_ID_NOT_FOUND, 69, KAFKA_FATAL)                                                                             \
    X(FETCH_SESSION_ID_NOT_FOUND, 70, KAFKA_RETRIABLE)                                                                 \
    X(INVALID_FETCH_SESSION_EPOCH, 71, KAFKA_RETRIABLE)                                                                \
    X(LISTENER_NOT_FOUND, 72, KAFKA_RETRIABLE)                                                                         \
    X(TOPIC_DELETION_DISABLED, 73, KAFKA_FATAL)                                                                        \
    X(FENCED_LEADER_EPOCH, 74, KAFKA_RETRIABLE)                                                                        \
    X(UNKNOWN_LEADER_EPOCH, 75, KAFKA_RETRIABLE)                                                                       \
    X(UNSUPPORTED_COMPRESSION_TYPE, 76, KAFKA_FATAL)                                                                   \
    X(STALE_BROKER_EPOCH, 77, KAFKA_FATAL)                                                                             \
    X(OFFSET_NOT_AVAILABLE, 78, KAFKA_RETRIABLE)                                                                       \
    X(MEMBER_ID_REQUIRED, 79, KAFKA_FATAL)                                                                             \
    X(PREFERRED_LEADER_NOT_AVAILABLE, 80, KAFKA_RETRIABLE)                                                             \
    X(GROUP_MAX_SIZE_REACHED, 81, KAFKA_FATAL)                                                                         \
    X(FENCED_INSTANCE_ID, 82, KAFKA_FATAL)                                                                             \
    X(ELIGIBLE_LEADERS_NOT_AVAILABLE, 83, KAFKA_RETRIABLE)                                                             \
    X(ELECTION_NOT_NEEDED, 84, KAFKA_RETRIABLE)                                                                        \
    X(NO_REASSIGNMENT_IN_PROGRESS, 85, KAFKA_FATAL)                                                                    \
    X(GROUP_SUBSCRIBED_TO_TOPIC, 86, KAFKA_FATAL)                                                                      \
    X(INVALID_RECORD, 87, KAFKA_FATAL)                                                                                 \
    X(UNSTABLE_OFFSET_COMMIT, 88, KAFKA_RETRIABLE)                                                                     \
    X(THROTTLING_QUOTA_EXCEEDED, 89, KAFKA_RETRIABLE)                                                                  \
    X(PRODUCER_FENCED, 90, KAFKA_FATAL)                                                                                \
    X(RESOURCE_NOT_FOUND, 91, KAFKA_FATAL)                                                                             \
    X(DUPLICATE_RESOURCE, 92, KAFKA_FATAL)                                                                             \
    X(UNACCEPTABLE_CREDENTIAL, 93, KAFKA_FATAL)                                                                        \
    X(INCONSISTENT_VOTER_SET, 94, KAFKA_FATAL)                                                                         \
    X(INVALID_UPDATE_VERSION, 95, KAFKA_FATAL)                                                                         \
    X(FEATURE_UPDATE_FAILED, 96, KAFKA_FATAL)                                                                          \
    X(PRINCIPAL_DESERIALIZATION_FAILURE, 97, KAFKA_FATAL)                                                              \
    X(SNAPSHOT_NOT_FOUND, 98, KAFKA_FATAL)                                                                             \
    X(POSITION_OUT_OF_RANGE, 99, KAFKA_FATAL)                                                                          \
    X(UNKNOWN_TOPIC_ID, 100, KAFKA_RETRIABLE)                                                                          \
    X(DUPLICATE_BROKER_REGISTRATION, 101, KAFKA_FATAL)                                                                 \
    X(BROKER_ID_NOT_REGISTERED, 102, KAFKA_FATAL)                                                                      \
    X(INCONSISTENT_TOPIC_ID, 103, KAFKA_RETRIABLE)                                                                     \
    X(INCONSISTENT_CLUSTER_ID, 104, KAFKA_FATAL)                                                                       \
    X(TRANSACTIONAL_ID_NOT_FOUND, 105, KAFKA_FATAL)                                                                    \
    X(FETCH_SESSION_TOPIC_ID_ERROR, 106, KAFKA_RETRIABLE)                                                              \
    X(INELIGIBLE_REPLICA, 107, KAFKA_FATAL)                                                                            \
    X(NEW_LEADER_ELECTED, 108, KAFKA_FATAL)                                                                            \
    X(OFFSET_MOVED_TO_TIERED_STORAGE, 109, KAFKA_FATAL)                                                                \
    X(FENCED_MEMBER_EPOCH, 110, KAFKA_FATAL)                                                                           \
    X(UNRELEASED_INSTANCE_ID, 111, KAFKA_FATAL)                                                                        \
    X(UNSUPPORTED_ASSIGNOR, 112, KAFKA_FATAL)                                                                          \
    X(STALE_MEMBER_EPOCH, 113, KAFKA_FATAL)                                                                            \
    X(MISMATCHED_ENDPOINT_TYPE, 114, KAFKA_FATAL)                                                                      \
    X(UNSUPPORTED_ENDPOINT_TYPE, 115, KAFKA_FATAL)                                                                     \
    X(UNKNOWN_CONTROLLER_ID, 116, KAFKA_FATAL)                                                                         \
    X(UNKNOWN_SUBSCRIPTION_ID, 117, KAFKA_FATAL)                                                                       \
    X(TELEMETRY_TOO_LARGE, 118, KAFKA_FATAL)                                                                           \
    X(INVALID_REGISTRATION, 119, KAFKA_FATAL)                                                                          \
    X(TRANSACTION_ABORTABLE, 120, KAFKA_FATAL)                                                                         \
    X(INVALID_RECORD_STATE, 121, KAFKA_FATAL)                                                                          \
    X(SHARE_SESSION_NOT_FOUND, 122, KAFKA_RETRIABLE)                                                                   \
    X(INVALID_SHARE_SESSION_EPOCH, 123, KAFKA_RETRIABLE)                                                               \
    X(FENCED_STATE_EPOCH, 124, KAFKA_FATAL)                                                                            \
    X(INVALID_VOTER_KEY, 125, KAFKA_FATAL)                                                                             \
    X(DUPLICATE_VOTER, 126, KAFKA_FATAL)                                                                               \
    X(VOTER_NOT_FOUND, 127, KAFKA_FATAL)                                                                               \
    X(INVALID_REGULAR_EXPRESSION, 128, KAFKA_FATAL)                                                                    \
    X(REBOOTSTRAP_REQUIRED, 129, KAFKA_FATAL)                                                                          \
    X(STREAMS_INVALID_TOPOLOGY, 130, KAFKA_FATAL)                                                                      \
    X(STREAMS_INVALID_TOPOLOGY_EPOCH, 131, KAFKA_FATAL)                                                                \
    X(STREAMS_TOPOLOGY_FENCED, 132, KAFKA_FATAL)                                                                       \
    X(SHARE_SESSION_LIMIT_REACHED, 133, KAFKA_RETRIABLE)

#define KAFKA_ERROR_ENUM(name, code, retriable) KAFKA_ERR_##name = (code),
enum kafka_error { KAFKA_ERROR_TABLE(KAFKA_ERROR_ENUM) KAFKA_ERR_END };
#undef KAFKA_ERROR_ENUM

/* Any thread. "NOT_LEADER_OR_FOLLOWER"; "UNKNOWN" for a number that is not in the table. */
const char *kafka_error_name(int16_t code);

/* Any thread. False for a number that is not in the table. */
bool kafka_error_retriable(int16_t code);

#endif
