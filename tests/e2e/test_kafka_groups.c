/* The offsets of groups, request by request. */
#include "e2e/cluster_case.h"
#include "e2e/kafka_steps.h"
#include "proto/kafka/api_commits.h"
#include "proto/kafka/api_groups.h"
#include "proto/kafka/error.h"

static bool has_coordinator(void *caller)
{
    struct kafka_find_coordinator_request ask = {.key = slice_text("any")};
    const struct kafka_find_coordinator_response *answer = caller_ask(caller, KAFKA_FIND_COORDINATOR, 2, &ask);
    return answer->error_code == KAFKA_ERR_NONE;
}

/* Commits for t/0 as who is no member does; its error code. */
static int16_t commit(struct kafka_caller *c, const char *group, int64_t off, const char *metadata)
{
    struct kafka_offset_commit_request_partition partition = {
        .committed_offset = off, .committed_leader_epoch = -1, .committed_metadata = slice_text(metadata)};
    struct kafka_offset_commit_request_topic topic = {.name = slice_text("t")};
    topic.partitions.at = &partition;
    topic.partitions.count = 1;
    struct kafka_offset_commit_request ask = {
        .group_id = slice_text(group), .generation_id_or_member_epoch = -1, .member_id = slice_text("")};
    ask.topics.at = &topic;
    ask.topics.count = 1;
    const struct kafka_offset_commit_response *answer = caller_ask(c, KAFKA_OFFSET_COMMIT, 8, &ask);
    return answer->topics.at[0].partitions.at[0].error_code;
}

struct expected {
    struct kafka_caller *caller;
    const char *group;
    int64_t off;
    const char *metadata;
};

/* Whether that is committed now: a new coordinator may not have begun yet. */
static bool commits(void *arg)
{
    const struct expected *e = arg;
    int16_t code = commit(e->caller, e->group, e->off, e->metadata);
    CU_ASSERT(code == KAFKA_ERR_NONE || code == KAFKA_ERR_COORDINATOR_NOT_AVAILABLE ||
              code == KAFKA_ERR_COORDINATOR_LOAD_IN_PROGRESS || code == KAFKA_ERR_NOT_COORDINATOR);
    return code == KAFKA_ERR_NONE;
}

/* Whether that is committed for t/0. */
static bool is_committed(void *arg)
{
    const struct expected *e = arg;
    int32_t partition = 0;
    struct kafka_offset_fetch_request_topic topic = {.name = slice_text("t")};
    topic.partition_indexes.at = &partition;
    topic.partition_indexes.count = 1;
    struct kafka_offset_fetch_request ask = {.group_id = slice_text(e->group)};
    ask.topics.at = &topic;
    ask.topics.count = 1;
    const struct kafka_offset_fetch_response *answer = caller_ask(e->caller, KAFKA_OFFSET_FETCH, 7, &ask);
    if (answer->error_code != KAFKA_ERR_NONE)
        return false; /* it reads what it knows */
    const struct kafka_offset_fetch_response_partition *p = &answer->topics.at[0].partitions.at[0];
    return p->committed_offset == e->off && slice_equal_text(p->metadata, e->metadata);
}

/* -2 and -1 are the log's start and its end, as clients understand them that commit so (kafkajs). */
static void ends_of_the_log_are_committed_by_their_names(void)
{
    const char *dir = temp_folder("groups");
    struct daemon *d = daemon_start(&(struct daemon_spec){.dir = dir, .broker_id = 1});
    struct kafka_caller *c = caller_open(daemon_kafka_port(d));
    step_topic(c, "t", 1, 1, NULL, NULL);
    CU_ASSERT_FATAL(wait_until(has_coordinator, c, STEP_TIMEOUT_MS));
    struct expected start = {c, "start", -2, "from the start"}, end = {c, "end", -1, "from the end"};
    CU_ASSERT(wait_until(commits, &start, STEP_TIMEOUT_MS));
    CU_ASSERT(wait_until(commits, &end, STEP_TIMEOUT_MS));
    CU_ASSERT_EQUAL(commit(c, "end", -3, ""), KAFKA_ERR_OFFSET_OUT_OF_RANGE);
    for (int round = 0; round < 2; round++) { /* and the same from disk */
        start.caller = end.caller = c;
        CU_ASSERT(wait_until(is_committed, &start, STEP_TIMEOUT_MS));
        CU_ASSERT(wait_until(is_committed, &end, STEP_TIMEOUT_MS));
        caller_close(&c);
        daemon_end(&d);
        d = daemon_start(&(struct daemon_spec){.dir = dir, .broker_id = 1});
        c = caller_open(daemon_kafka_port(d));
        CU_ASSERT_FATAL(wait_until(has_coordinator, c, STEP_TIMEOUT_MS));
    }
    caller_close(&c);
    daemon_end(&d);
}

/* Whoever asks for a coordinator of transactions is not to ask again, and is told why. */
static void there_are_no_transactions(void)
{
    enum { TRANSACTION = 1, SHARE = 2 };
    struct daemon *d = daemon_fresh("transactions");
    struct kafka_caller *c = caller_open(daemon_kafka_port(d));
    struct kafka_find_coordinator_request ask = {.key = slice_text("mine"), .key_type = TRANSACTION};
    const struct kafka_find_coordinator_response *answer = caller_ask(c, KAFKA_FIND_COORDINATOR, 2, &ask);
    CU_ASSERT_EQUAL(answer->error_code, KAFKA_ERR_CLUSTER_AUTHORIZATION_FAILED);
    CU_ASSERT(answer->error_message.len > 0);
    CU_ASSERT_EQUAL(answer->node_id, -1);
    struct slice keys[] = {slice_text("mine"), slice_text("yours")};
    ask.coordinator_keys.at = keys;
    ask.coordinator_keys.count = 2;
    answer = caller_ask(c, KAFKA_FIND_COORDINATOR, 4, &ask);
    CU_ASSERT_EQUAL_FATAL(answer->coordinators.count, 2);
    for (int32_t i = 0; i < 2; i++) {
        CU_ASSERT_EQUAL(answer->coordinators.at[i].error_code, KAFKA_ERR_CLUSTER_AUTHORIZATION_FAILED);
        CU_ASSERT(slice_equal(answer->coordinators.at[i].key, keys[i]));
        CU_ASSERT(answer->coordinators.at[i].error_message.len > 0);
    }
    ask.key_type = SHARE;
    answer = caller_ask(c, KAFKA_FIND_COORDINATOR, 4, &ask);
    CU_ASSERT_EQUAL(answer->coordinators.at[0].error_code, KAFKA_ERR_INVALID_REQUEST);
    caller_close(&c);
    daemon_end(&d);
}

static const struct unit_case cases[] = {
    {"ends of the log are committed by their names", ends_of_the_log_are_committed_by_their_names},
    {"there are no transactions", there_are_no_transactions},
};

E2E_MAIN("kafka groups", cases)
