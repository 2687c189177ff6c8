/* The table of APIs: keys, ranges and descriptions. Why a range begins or ends where it
 * does is said beside it; clients drop features in silence when a version that they look
 * for is not inside (an old librdkafka asks for Produce 0 before it compresses). */
#include "proto/kafka/api_cluster.h"
#include "proto/kafka/api_commits.h"
#include "proto/kafka/api_configs.h"
#include "proto/kafka/api_fetch.h"
#include "proto/kafka/api_groups.h"
#include "proto/kafka/api_groups_admin.h"
#include "proto/kafka/api_metadata.h"
#include "proto/kafka/api_offsets.h"
#include "proto/kafka/api_produce.h"
#include "proto/kafka/api_producers.h"
#include "proto/kafka/api_topics.h"
#include "proto/kafka/api_versions.h"
#include "proto/kafka/kafka.h"

#define API(number, title, stem, first_version, last_version, first_flexible)                                          \
    [number] = {.key = (number),                                                                                       \
                .name = (title),                                                                                       \
                .request = &kafka_##stem##_request_shape,                                                              \
                .response = &kafka_##stem##_response_shape,                                                            \
                .first = (first_version),                                                                              \
                .last = (last_version),                                                                                \
                .flexible_from = (first_flexible)

static const struct kafka_api apis[KAFKA_KEYS] =
    {
        /* From 12 on a producer takes the second protocol of transactions for granted. */
        API(KAFKA_PRODUCE, "Produce", produce, 0, 11, 9), .served_from = 3},
                              API(KAFKA_FETCH, "Fetch", fetch, 4, 16, 12)
}
, API(KAFKA_LIST_OFFSETS, "ListOffsets", list_offsets, 1, 8, 6)
}
, API(KAFKA_METADATA, "Metadata", metadata, 0, 12, 9)
}
, API(KAFKA_OFFSET_COMMIT, "OffsetCommit", offset_commit, 2, 9, 8)
}
, API(KAFKA_OFFSET_FETCH, "OffsetFetch", offset_fetch, 1, 9, 6)
}
, API(KAFKA_FIND_COORDINATOR, "FindCoordinator", find_coordinator, 0, 4, 3)
}
, API(KAFKA_JOIN_GROUP, "JoinGroup", join_group, 0, 9, 6)
}
, API(KAFKA_HEARTBEAT, "Heartbeat", heartbeat, 0, 4, 4)
}
, API(KAFKA_LEAVE_GROUP, "LeaveGroup", leave_group, 0, 5, 4)
}
, API(KAFKA_SYNC_GROUP, "SyncGroup", sync_group, 0, 5, 4)
}
, API(KAFKA_DESCRIBE_GROUPS, "DescribeGroups", describe_groups, 0, 5, 5)
}
, API(KAFKA_LIST_GROUPS, "ListGroups", list_groups, 0, 5, 3)
}
, API(KAFKA_API_VERSIONS, "ApiVersions", api_versions, 0, 4, 3)
}
, API(KAFKA_CREATE_TOPICS, "CreateTopics", create_topics, 0, 7, 5)
}
, API(KAFKA_DELETE_TOPICS, "DeleteTopics", delete_topics, 0, 6, 4)
}
, API(KAFKA_DELETE_RECORDS, "DeleteRecords", delete_records, 0, 2, 2)
}
, API(KAFKA_INIT_PRODUCER_ID, "InitProducerId", init_producer_id, 0, 5, 2)
}
, API(KAFKA_OFFSET_FOR_LEADER_EPOCH, "OffsetForLeaderEpoch", offset_for_leader_epoch, 2, 4, 4)
}
, API(KAFKA_DESCRIBE_CONFIGS, "DescribeConfigs", describe_configs, 0, 4, 4)
}
, API(KAFKA_ALTER_CONFIGS, "AlterConfigs", alter_configs, 0, 2, 2)
}
, API(KAFKA_DESCRIBE_LOG_DIRS, "DescribeLogDirs", describe_log_dirs, 1, 4, 2)
}
, API(KAFKA_CREATE_PARTITIONS, "CreatePartitions", create_partitions, 0, 3, 2)
}
, API(KAFKA_DELETE_GROUPS, "DeleteGroups", delete_groups, 0, 2, 2)
}
, API(KAFKA_ELECT_LEADERS, "ElectLeaders", elect_leaders, 0, 2, 2)
}
, API(KAFKA_INCREMENTAL_ALTER_CONFIGS, "IncrementalAlterConfigs", incremental_alter_configs, 0, 1, 1)
}
, API(KAFKA_OFFSET_DELETE, "OffsetDelete", offset_delete, 0, 0, KAFKA_NEVER_FLEXIBLE)
}
, API(KAFKA_DESCRIBE_QUORUM, "DescribeQuorum", describe_quorum, 0, 2, 0)
}
,
    /* Version 2 tells fenced brokers apart, which ours are never listed as. */
    API(KAFKA_DESCRIBE_CLUSTER, "DescribeCluster", describe_cluster, 0, 1, 0)
}
, API(KAFKA_DESCRIBE_PRODUCERS, "DescribeProducers", describe_producers, 0, 0, 0)
}
,
}
;

const struct kafka_api *kafka_api(int16_t key)
{
    return key >= 0 && key < KAFKA_KEYS && apis[key].name != NULL ? &apis[key] : NULL;
}

bool kafka_versions_fill(struct kafka_api_versions_response *answer, struct kafka_arena *arena, int16_t error_code,
                         bool (*works)(const struct kafka_api *api, void *context), void *context)
{
    kafka_defaults(&kafka_api_versions_response_shape, answer);
    answer->error_code = error_code;
    if (!KAFKA_FILL(arena, answer->api_keys, kafka_api_versions_response_range, KAFKA_KEYS))
        return false;
    answer->api_keys.count = 0;
    for (int key = 0; key < KAFKA_KEYS; key++) {
        const struct kafka_api *api = kafka_api((int16_t)key);
        if (api == NULL || !works(api, context))
            continue;
        struct kafka_api_versions_response_range *range = &answer->api_keys.at[answer->api_keys.count++];
        range->api_key = api->key;
        range->min_version = api->first;
        range->max_version = api->last;
    }
    return true;
}
