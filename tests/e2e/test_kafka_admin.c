/*
 * What administrators ask of a broker over the Kafka protocol: topics, partitions,
 * settings, log folders, leaders, producers; on real daemons, request by request.
 */
#include "base/clock.h"
#include "e2e/cluster_case.h"
#include "e2e/kafka_caller.h"
#include "log/batch.h"
#include "proto/kafka/api_cluster.h"
#include "proto/kafka/api_configs.h"
#include "proto/kafka/api_metadata.h"
#include "proto/kafka/api_produce.h"
#include "proto/kafka/api_producers.h"
#include "proto/kafka/api_topics.h"
#include "proto/kafka/error.h"

enum { TOPIC = 2, BROKER = 4, LOGGER = 8, SET = 0, DELETE = 1, APPEND = 2, SUBTRACT = 3, TIMEOUT_MS = 20000 };

#define LEN(list) ((int32_t)(sizeof(list) / sizeof((list)[0])))

static struct daemon *start(const char *dir)
{
    return daemon_start(&(struct daemon_spec){.dir = dir, .broker_id = 1});
}

static struct kafka_caller *call_daemon(struct daemon *d)
{
    return caller_open(daemon_kafka_port(d));
}

/* ---- steps ------------------------------------------------------------------------------------ */

static struct kafka_create_topics_request_topic topic_of(const char *name, int32_t partitions, int16_t replicas)
{
    return (struct kafka_create_topics_request_topic){
        .name = slice_text(name), .num_partitions = partitions, .replication_factor = replicas};
}

static const struct kafka_create_topics_response *
create(struct kafka_caller *c, struct kafka_create_topics_request_topic *topics, int32_t count, bool only_validate)
{
    struct kafka_create_topics_request ask = {.timeout_ms = TIMEOUT_MS, .validate_only = only_validate};
    ask.topics.at = topics;
    ask.topics.count = count;
    return caller_ask(c, KAFKA_CREATE_TOPICS, 7, &ask);
}

/* One topic with one setting (NULL: none); the error code. */
static int16_t create_one(struct kafka_caller *c, const char *name, int32_t partitions, int16_t replicas,
                          const char *key, const char *value)
{
    struct kafka_create_topics_request_topic topic = topic_of(name, partitions, replicas);
    struct kafka_create_topics_request_config config = {.name = slice_text(key == NULL ? "" : key)};
    config.value = slice_text(value == NULL ? "" : value);
    topic.configs.at = &config;
    topic.configs.count = key != NULL;
    return create(c, &topic, 1, false)->topics.at[0].error_code;
}

static int16_t grow(struct kafka_caller *c, const char *name, int32_t count, bool only_validate)
{
    struct kafka_create_partitions_request_topic topic = {.name = slice_text(name), .count = count};
    topic.assignments.count = -1;
    struct kafka_create_partitions_request ask = {.timeout_ms = TIMEOUT_MS, .validate_only = only_validate};
    ask.topics.at = &topic;
    ask.topics.count = 1;
    const struct kafka_create_partitions_response *answer = caller_ask(c, KAFKA_CREATE_PARTITIONS, 3, &ask);
    return answer->results.at[0].error_code;
}

static const struct kafka_metadata_response_topic *look(struct kafka_caller *c, const char *name)
{
    struct kafka_metadata_request_topic topic = {.name = slice_text(name)};
    struct kafka_metadata_request ask = {.allow_auto_topic_creation = false};
    ask.topics.at = &topic;
    ask.topics.count = 1;
    const struct kafka_metadata_response *answer = caller_ask(c, KAFKA_METADATA, 12, &ask);
    CU_ASSERT_EQUAL_FATAL(answer->topics.count, 1);
    return &answer->topics.at[0];
}

static const struct kafka_describe_configs_response_result *describe(struct kafka_caller *c, int8_t type,
                                                                     const char *name)
{
    struct kafka_describe_configs_request_resource resource = {.resource_type = type,
                                                               .resource_name = slice_text(name)};
    resource.configuration_keys.count = -1;
    struct kafka_describe_configs_request ask = {.include_synonyms = true, .include_documentation = true};
    ask.resources.at = &resource;
    ask.resources.count = 1;
    const struct kafka_describe_configs_response *answer = caller_ask(c, KAFKA_DESCRIBE_CONFIGS, 4, &ask);
    CU_ASSERT_EQUAL_FATAL(answer->results.count, 1);
    return &answer->results.at[0];
}

/* A setting of a topic is this, from that source. */
static void is_set(struct kafka_caller *c, const char *topic, const char *key, const char *value, int8_t source)
{
    const struct kafka_describe_configs_response_result *all = describe(c, TOPIC, topic);
    CU_ASSERT_EQUAL(all->error_code, KAFKA_ERR_NONE);
    for (int32_t i = 0; i < all->configs.count; i++) {
        const struct kafka_describe_configs_response_config *row = &all->configs.at[i];
        if (!slice_equal_text(row->name, key))
            continue;
        CU_ASSERT(slice_equal_text(row->value, value));
        CU_ASSERT_EQUAL(row->config_source, source);
        CU_ASSERT_EQUAL(row->synonyms.count, source == 1 ? 2 : 1);
        CU_ASSERT(row->documentation.len > 0);
        return;
    }
    CU_FAIL("the setting is not told");
}

static int16_t change(struct kafka_caller *c, int8_t type, const char *name, const char *key, int8_t op,
                      const char *value)
{
    struct kafka_incremental_alter_configs_request_config config = {.name = slice_text(key), .config_operation = op};
    if (value != NULL)
        config.value = slice_text(value);
    struct kafka_incremental_alter_configs_request_resource resource = {.resource_type = type,
                                                                        .resource_name = slice_text(name)};
    resource.configs.at = &config;
    resource.configs.count = 1;
    struct kafka_incremental_alter_configs_request ask = {.validate_only = false};
    ask.resources.at = &resource;
    ask.resources.count = 1;
    const struct kafka_incremental_alter_configs_response *answer =
        caller_ask(c, KAFKA_INCREMENTAL_ALTER_CONFIGS, 1, &ask);
    return answer->responses.at[0].error_code;
}

/* One record of that time into partition 0. */
static struct kafka_produce_response_partition produce(struct kafka_caller *c, const char *topic, int64_t time_ms,
                                                       int16_t acks, int64_t producer_id)
{
    struct buf batch;
    struct batch_maker maker;
    buf_init(&batch, 4096);
    batch_begin(&maker, &batch, time_ms);
    batch_add(&maker, time_ms, slice_text("key"), slice_text("value"), NULL, slice_of(NULL, 0));
    batch_end(&maker, producer_id, 0, producer_id < 0 ? -1 : 0);
    struct kafka_produce_request_partition partition = {.records = slice_of(batch.data, batch.len)};
    struct kafka_produce_request_topic data = {.name = slice_text(topic)};
    data.partition_data.at = &partition;
    data.partition_data.count = 1;
    struct kafka_produce_request ask = {.acks = acks, .timeout_ms = TIMEOUT_MS};
    ask.topic_data.at = &data;
    ask.topic_data.count = 1;
    const struct kafka_produce_response *answer = caller_ask(c, KAFKA_PRODUCE, 9, &ask);
    CU_ASSERT_EQUAL_FATAL(answer->responses.count, 1);
    buf_fini(&batch);
    return answer->responses.at[0].partition_responses.at[0];
}

/* ---- topics ---------------------------------------------------------------------------------------- */

static void topics_are_made_or_refused_each_for_itself(void)
{
    const char *dir = temp_folder("admin");
    struct daemon *d = start(dir);
    struct kafka_caller *c = call_daemon(d);
    struct kafka_create_topics_request_config unknown = {.name = slice_text("no.such"), .value = slice_text("1")};
    int32_t one[] = {1};
    struct kafka_create_topics_request_assignment assigned[] = {{.partition_index = 1}, {.partition_index = 0}};
    assigned[0].broker_ids.at = assigned[1].broker_ids.at = one;
    assigned[0].broker_ids.count = assigned[1].broker_ids.count = 1;
    struct kafka_create_topics_request_topic topics[] = {
        topic_of("a", 3, 1), topic_of("b", -1, -1), topic_of("no good", 1, 1), topic_of("__x", 1, 1),
        topic_of("c", 0, 1), topic_of("d", 1, 2),   topic_of("e", 1, 0),       topic_of("f", 1, 1),
        topic_of("b", 1, 1), topic_of("g", -1, -1), topic_of("h", 2, -1),      topic_of("i", -1, -1),
    };
    static const int16_t codes[] = {0, 0, 17, 17, 37, 38, 38, 40, 42, 0, 42, 39};
    int32_t nobody[] = {9};
    struct kafka_create_topics_request_assignment wrong = {.partition_index = 0};
    wrong.broker_ids.at = nobody;
    wrong.broker_ids.count = 1;
    topics[7].configs.at = &unknown;
    topics[7].configs.count = 1;
    topics[9].assignments.at = topics[10].assignments.at = assigned;
    topics[9].assignments.count = topics[10].assignments.count = 2;
    topics[11].assignments.at = &wrong;
    topics[11].assignments.count = 1;
    const struct kafka_create_topics_response *made = create(c, topics, LEN(topics), false);
    CU_ASSERT_EQUAL_FATAL(made->topics.count, LEN(topics));
    for (int32_t i = 0; i < LEN(topics); i++) {
        CU_ASSERT_EQUAL(made->topics.at[i].error_code, codes[i]);
        CU_ASSERT_EQUAL(slice_is_absent(made->topics.at[i].error_message), codes[i] == 0);
    }
    CU_ASSERT_EQUAL(made->topics.at[0].num_partitions, 3);
    CU_ASSERT_EQUAL(made->topics.at[1].num_partitions, 1);
    CU_ASSERT_EQUAL(made->topics.at[1].replication_factor, 1);
    CU_ASSERT_EQUAL(made->topics.at[9].num_partitions, 2);
    CU_ASSERT(made->topics.at[0].configs.count > 30);
    CU_ASSERT(!uuid_is_zero(&made->topics.at[0].topic_id));
    CU_ASSERT_EQUAL(create_one(c, "a", 3, 1, NULL, NULL), KAFKA_ERR_TOPIC_ALREADY_EXISTS);
    struct kafka_create_topics_request_topic tried = topic_of("tried", 2, 1);
    CU_ASSERT_EQUAL(create(c, &tried, 1, true)->topics.at[0].error_code, KAFKA_ERR_NONE);
    CU_ASSERT_EQUAL(look(c, "tried")->error_code, KAFKA_ERR_UNKNOWN_TOPIC_OR_PARTITION);
    caller_close(&c);
    daemon_end(&d);
}

static void topics_are_deleted_by_name_or_id(void)
{
    struct daemon *d = start(temp_folder("delete"));
    struct kafka_caller *c = call_daemon(d);
    CU_ASSERT_EQUAL(create_one(c, "a", 1, 1, NULL, NULL), KAFKA_ERR_NONE);
    CU_ASSERT_EQUAL(create_one(c, "b", 1, 1, NULL, NULL), KAFKA_ERR_NONE);
    struct kafka_delete_topics_request_topic topics[] = {{.name = slice_text("a")},
                                                         {.topic_id = look(c, "b")->topic_id},
                                                         {.topic_id = {{5}}},
                                                         {.name = slice_text("z")},
                                                         {.name = slice_text("a")}};
    static const int16_t codes[] = {0, 0, 100, 3, 42};
    struct kafka_delete_topics_request ask = {.timeout_ms = TIMEOUT_MS};
    ask.topics.at = topics;
    ask.topics.count = LEN(topics);
    const struct kafka_delete_topics_response *gone = caller_ask(c, KAFKA_DELETE_TOPICS, 6, &ask);
    CU_ASSERT_EQUAL_FATAL(gone->responses.count, LEN(topics));
    for (int32_t i = 0; i < LEN(topics); i++)
        CU_ASSERT_EQUAL(gone->responses.at[i].error_code, codes[i]);
    CU_ASSERT(slice_equal_text(gone->responses.at[1].name, "b"));
    CU_ASSERT_EQUAL(look(c, "b")->error_code, KAFKA_ERR_UNKNOWN_TOPIC_OR_PARTITION);
    struct slice names[] = {slice_text("a")};
    ask = (struct kafka_delete_topics_request){.timeout_ms = TIMEOUT_MS};
    ask.topic_names.at = names;
    ask.topic_names.count = 1;
    gone = caller_ask(c, KAFKA_DELETE_TOPICS, 1, &ask);
    CU_ASSERT_EQUAL(gone->responses.at[0].error_code, KAFKA_ERR_UNKNOWN_TOPIC_OR_PARTITION);
    caller_close(&c);
    daemon_end(&d);
}

static void partitions_that_are_added_serve_and_stay(void)
{
    const char *dir = temp_folder("grow");
    struct daemon *d = start(dir);
    struct kafka_caller *c = call_daemon(d);
    struct client *text = client_open(daemon_port(d));
    CU_ASSERT_EQUAL(create_one(c, "t", 1, 1, "retention.ms", "86400000"), KAFKA_ERR_NONE);
    publish_range(text, "t", "before", 0, 20, 10);
    CU_ASSERT_EQUAL(grow(c, "t", 1, false), KAFKA_ERR_INVALID_PARTITIONS);
    CU_ASSERT_EQUAL(grow(c, "t", 1000000, false), KAFKA_ERR_INVALID_PARTITIONS);
    CU_ASSERT_EQUAL(grow(c, "u", 2, false), KAFKA_ERR_UNKNOWN_TOPIC_OR_PARTITION);
    CU_ASSERT_EQUAL(grow(c, "t", 4, true), KAFKA_ERR_NONE);
    CU_ASSERT_EQUAL(look(c, "t")->partitions.count, 1);
    CU_ASSERT_EQUAL(grow(c, "t", 4, false), KAFKA_ERR_NONE);
    CU_ASSERT_EQUAL(look(c, "t")->partitions.count, 4);
    publish_range(text, "t", "after", 0, 20, 10); /* without keys: in turn */
    CU_ASSERT_EQUAL(partition_end(text, "t", 0), 25);
    CU_ASSERT_EQUAL(partition_end(text, "t", 3), 5);
    char ids[8][ID_BYTES];
    CU_ASSERT_EQUAL(subscribe_many(text, "t", "group", 8, ids), 4);
    client_close(&text);
    caller_close(&c);
    daemon_kill(&d);
    d = start(dir);
    c = call_daemon(d);
    text = client_open(daemon_port(d));
    CU_ASSERT_EQUAL(look(c, "t")->partitions.count, 4);
    CU_ASSERT_EQUAL(partition_end(text, "t", 3), 5);
    is_set(c, "t", "retention.ms", "86400000", 1);
    client_close(&text);
    caller_close(&c);
    daemon_end(&d);
}

/* ---- settings ---------------------------------------------------------------------------------------- */

static void settings_are_told_and_changed(void)
{
    struct daemon *d = start(temp_folder("settings"));
    struct kafka_caller *c = call_daemon(d);
    CU_ASSERT_EQUAL(create_one(c, "t", 1, 1, "cleanup.policy", "compact"), KAFKA_ERR_NONE);
    CU_ASSERT_EQUAL(describe(c, TOPIC, "t")->configs.count, 33);
    is_set(c, "t", "cleanup.policy", "compact", 1);
    is_set(c, "t", "retention.ms", "604800000", 5);
    is_set(c, "t", "min.cleanable.dirty.ratio", "0.5", 5);
    CU_ASSERT_EQUAL(change(c, TOPIC, "t", "cleanup.policy", APPEND, "delete"), KAFKA_ERR_NONE);
    is_set(c, "t", "cleanup.policy", "delete,compact", 1);
    CU_ASSERT_EQUAL(change(c, TOPIC, "t", "cleanup.policy", SUBTRACT, "compact"), KAFKA_ERR_NONE);
    is_set(c, "t", "cleanup.policy", "delete", 1);
    CU_ASSERT_EQUAL(change(c, TOPIC, "t", "cleanup.policy", DELETE, NULL), KAFKA_ERR_NONE);
    is_set(c, "t", "cleanup.policy", "delete", 5);
    CU_ASSERT_EQUAL(change(c, TOPIC, "t", "retention.ms", APPEND, "5"), KAFKA_ERR_INVALID_CONFIG);
    CU_ASSERT_EQUAL(change(c, TOPIC, "t", "retention.ms", SET, "never"), KAFKA_ERR_INVALID_CONFIG);
    CU_ASSERT_EQUAL(change(c, TOPIC, "t", "retention.ms", SET, NULL), KAFKA_ERR_INVALID_REQUEST);
    CU_ASSERT_EQUAL(change(c, TOPIC, "t", "retention.ms", 7, "5"), KAFKA_ERR_INVALID_REQUEST);
    CU_ASSERT_EQUAL(change(c, TOPIC, "t", "remote.storage.enable", SET, "true"), KAFKA_ERR_INVALID_CONFIG);
    CU_ASSERT_EQUAL(change(c, TOPIC, "t", "no.such", DELETE, NULL), KAFKA_ERR_INVALID_CONFIG);
    CU_ASSERT_EQUAL(change(c, TOPIC, "u", "retention.ms", SET, "5"), KAFKA_ERR_UNKNOWN_TOPIC_OR_PARTITION);
    CU_ASSERT_EQUAL(change(c, BROKER, "1", "log.retention.ms", SET, "5"), KAFKA_ERR_INVALID_REQUEST);
    CU_ASSERT_EQUAL(change(c, TOPIC, "t", "preallocate", SET, "true"), KAFKA_ERR_NONE);
    struct kafka_alter_configs_request_config config = {.name = slice_text("retention.bytes"),
                                                        .value = slice_text("1000")};
    struct kafka_alter_configs_request_resource resource = {.resource_type = TOPIC, .resource_name = slice_text("t")};
    resource.configs.at = &config;
    resource.configs.count = 1;
    struct kafka_alter_configs_request ask = {.validate_only = false};
    ask.resources.at = &resource;
    ask.resources.count = 1;
    const struct kafka_alter_configs_response *altered = caller_ask(c, KAFKA_ALTER_CONFIGS, 2, &ask);
    CU_ASSERT_EQUAL(altered->responses.at[0].error_code, KAFKA_ERR_NONE);
    is_set(c, "t", "retention.bytes", "1000", 1);
    is_set(c, "t", "preallocate", "false", 5); /* all that is not named goes back */
    CU_ASSERT_EQUAL(describe(c, TOPIC, "u")->error_code, KAFKA_ERR_UNKNOWN_TOPIC_OR_PARTITION);
    CU_ASSERT(describe(c, BROKER, "1")->configs.count > 40);
    CU_ASSERT_EQUAL(describe(c, BROKER, "2")->error_code, KAFKA_ERR_INVALID_REQUEST);
    CU_ASSERT_EQUAL(describe(c, LOGGER, "1")->error_code, KAFKA_ERR_INVALID_REQUEST);
    caller_close(&c);
    daemon_end(&d);
}

static void times_are_the_producers_or_the_brokers(void)
{
    struct daemon *d = start(temp_folder("times"));
    struct kafka_caller *c = call_daemon(d);
    int64_t now_ms = clock_wall_ms();
    CU_ASSERT_EQUAL(create_one(c, "t", 1, 1, "message.timestamp.before.max.ms", "60000"), KAFKA_ERR_NONE);
    CU_ASSERT_EQUAL(produce(c, "t", now_ms, -1, -1).error_code, KAFKA_ERR_NONE);
    CU_ASSERT_EQUAL(produce(c, "t", now_ms - 120000, -1, -1).error_code, KAFKA_ERR_INVALID_TIMESTAMP);
    CU_ASSERT_EQUAL(produce(c, "t", now_ms + 7200000, -1, -1).error_code, KAFKA_ERR_INVALID_TIMESTAMP);
    CU_ASSERT_EQUAL(produce(c, "t", now_ms, -1, -1).log_append_time_ms, -1);
    CU_ASSERT_EQUAL(change(c, TOPIC, "t", "message.timestamp.type", SET, "LogAppendTime"), KAFKA_ERR_NONE);
    struct kafka_produce_response_partition stamped = produce(c, "t", now_ms - 120000, -1, -1);
    CU_ASSERT_EQUAL(stamped.error_code, KAFKA_ERR_NONE);
    CU_ASSERT(stamped.log_append_time_ms >= now_ms);
    CU_ASSERT_EQUAL(change(c, TOPIC, "t", "max.message.bytes", SET, "1024"), KAFKA_ERR_NONE);
    CU_ASSERT_EQUAL(produce(c, "t", now_ms, -1, -1).error_code, KAFKA_ERR_NONE);
    caller_close(&c);
    daemon_end(&d);
}

/* ---- logs, producers, the quorum ------------------------------------------------------------------------ */

static void tools_see_logs_producers_and_the_quorum(void)
{
    struct daemon *d = start(temp_folder("tools"));
    struct kafka_caller *c = call_daemon(d);
    CU_ASSERT_EQUAL(create_one(c, "t", 2, 1, NULL, NULL), KAFKA_ERR_NONE);
    CU_ASSERT_EQUAL(produce(c, "t", clock_wall_ms(), -1, 4711).error_code, KAFKA_ERR_NONE);
    struct kafka_describe_log_dirs_request logs = {.topics = {.count = -1}};
    const struct kafka_describe_log_dirs_response *dirs = caller_ask(c, KAFKA_DESCRIBE_LOG_DIRS, 4, &logs);
    CU_ASSERT_EQUAL_FATAL(dirs->results.count, 1);
    CU_ASSERT_EQUAL_FATAL(dirs->results.at[0].topics.count, 1);
    CU_ASSERT_EQUAL_FATAL(dirs->results.at[0].topics.at[0].partitions.count, 2);
    CU_ASSERT(dirs->results.at[0].topics.at[0].partitions.at[0].partition_size > 61);
    CU_ASSERT(dirs->results.at[0].usable_bytes > 0);
    int32_t indexes[] = {0, 1, 2};
    struct kafka_describe_producers_request_topic topic = {.name = slice_text("t")};
    topic.partition_indexes.at = indexes;
    topic.partition_indexes.count = LEN(indexes);
    struct kafka_describe_producers_request who = {.topics = {.at = &topic, .count = 1}};
    const struct kafka_describe_producers_response *told = caller_ask(c, KAFKA_DESCRIBE_PRODUCERS, 0, &who);
    CU_ASSERT_EQUAL_FATAL(told->topics.at[0].partitions.at[0].active_producers.count, 1);
    CU_ASSERT_EQUAL(told->topics.at[0].partitions.at[0].active_producers.at[0].producer_id, 4711);
    CU_ASSERT_EQUAL(told->topics.at[0].partitions.at[0].active_producers.at[0].last_sequence, 0);
    CU_ASSERT_EQUAL(told->topics.at[0].partitions.at[1].active_producers.count, 0);
    CU_ASSERT_EQUAL(told->topics.at[0].partitions.at[2].error_code, KAFKA_ERR_UNKNOWN_TOPIC_OR_PARTITION);
    struct kafka_describe_quorum_request_partition zero = {.partition_index = 0};
    struct kafka_describe_quorum_request_topic metadata = {.topic_name = slice_text("__cluster_metadata")};
    metadata.partitions.at = &zero;
    metadata.partitions.count = 1;
    struct kafka_describe_quorum_request quorum = {.topics = {.at = &metadata, .count = 1}};
    const struct kafka_describe_quorum_response *q = caller_ask(c, KAFKA_DESCRIBE_QUORUM, 2, &quorum);
    CU_ASSERT_EQUAL_FATAL(q->topics.count, 1);
    CU_ASSERT_EQUAL(q->topics.at[0].partitions.at[0].leader_id, 1);
    CU_ASSERT_EQUAL_FATAL(q->topics.at[0].partitions.at[0].current_voters.count, 1);
    CU_ASSERT(q->topics.at[0].partitions.at[0].current_voters.at[0].log_end_offset >=
              q->topics.at[0].partitions.at[0].high_watermark);
    CU_ASSERT_EQUAL(q->nodes.count, 1);
    metadata.topic_name = slice_text("t");
    q = caller_ask(c, KAFKA_DESCRIBE_QUORUM, 2, &quorum);
    CU_ASSERT_EQUAL(q->error_code, KAFKA_ERR_INVALID_REQUEST);
    caller_close(&c);
    daemon_end(&d);
}

/* ---- three brokers ------------------------------------------------------------------------------------------ */

static int16_t elect(struct kafka_caller *c, int8_t type)
{
    int32_t zero[] = {0};
    struct kafka_elect_leaders_request_topic topic = {.topic = slice_text("t")};
    topic.partitions.at = zero;
    topic.partitions.count = 1;
    struct kafka_elect_leaders_request ask = {.election_type = type, .timeout_ms = TIMEOUT_MS};
    ask.topic_partitions.at = &topic;
    ask.topic_partitions.count = 1;
    const struct kafka_elect_leaders_response *answer = caller_ask(c, KAFKA_ELECT_LEADERS, 2, &ask);
    CU_ASSERT_EQUAL_FATAL(answer->replica_election_results.count, 1);
    return answer->replica_election_results.at[0].partition_result.at[0].error_code;
}

/* The cluster brings preferred leaders back by itself, too. */
static bool elected_or_leads(int16_t code)
{
    return code == KAFKA_ERR_NONE || code == KAFKA_ERR_ELECTION_NOT_NEEDED;
}

struct heir {
    const struct fleet *fleet;
    int dead;
    int id;
};

/* Another broker leads and says that replicas are missing. */
static bool is_led_and_short(void *arg)
{
    struct heir *heir = arg;
    heir->id = fleet_leader(heir->fleet, another(heir->fleet, heir->dead), "t", 0, GO_ON_MS);
    if (heir->id == 0 || heir->id == heir->dead)
        return false;
    struct kafka_caller *c = caller_open(fleet_kafka_port(heir->fleet, heir->id));
    int16_t code = produce(c, "t", clock_wall_ms(), -1, -1).error_code;
    caller_close(&c);
    return code == KAFKA_ERR_NOT_ENOUGH_REPLICAS;
}

static void three_brokers_grow_refuse_and_elect(void)
{
    struct fleet *f = fleet_form(&(struct fleet_spec){.brokers = 3});
    struct kafka_caller *c = caller_open(fleet_kafka_port(f, 1));
    CU_ASSERT_EQUAL(create_one(c, "t", 1, 3, "min.insync.replicas", "3"), KAFKA_ERR_NONE);
    CU_ASSERT_EQUAL(grow(c, "t", 3, false), KAFKA_ERR_NONE);
    CU_ASSERT(fleet_whole(f, 3, WHOLE_MS));
    CU_ASSERT(leader_of(f, 1, 2) > 0);
    int leader = look(c, "t")->partitions.at[0].replica_nodes.at[0];
    CU_ASSERT(elected_or_leads(elect(c, 0)));
    CU_ASSERT_EQUAL(leader_of(f, leader, 0), leader);
    caller_close(&c);
    c = caller_open(fleet_kafka_port(f, leader));
    CU_ASSERT_EQUAL(elect(c, 0), KAFKA_ERR_ELECTION_NOT_NEEDED);
    CU_ASSERT_EQUAL(elect(c, 1), KAFKA_ERR_ELECTION_NOT_NEEDED);
    CU_ASSERT_EQUAL(produce(c, "t", clock_wall_ms(), -1, -1).error_code, KAFKA_ERR_NONE);
    caller_close(&c);
    fleet_kill(f, leader);
    struct heir heir = {.fleet = f, .dead = leader};
    CU_ASSERT_FATAL(wait_until(is_led_and_short, &heir, GO_ON_MS));
    c = caller_open(fleet_kafka_port(f, heir.id));
    CU_ASSERT_EQUAL(produce(c, "t", clock_wall_ms(), 1, -1).error_code, KAFKA_ERR_NONE);
    CU_ASSERT_EQUAL(elect(c, 0), KAFKA_ERR_PREFERRED_LEADER_NOT_AVAILABLE);
    fleet_start(f, leader);
    CU_ASSERT(fleet_whole(f, 3, WHOLE_MS));
    CU_ASSERT(elected_or_leads(elect(c, 0)));
    caller_close(&c);
    CU_ASSERT_EQUAL(leader_of(f, leader, 0), leader);
    fleet_end(&f);
}

struct survivor {
    const struct fleet *fleet;
    int id;
};

static bool lacks_a_majority(void *arg)
{
    const struct survivor *s = arg;
    struct kafka_caller *c = caller_open(fleet_kafka_port(s->fleet, s->id));
    int16_t all = produce(c, "t", clock_wall_ms(), -1, -1).error_code;
    int16_t one = produce(c, "t", clock_wall_ms(), 1, -1).error_code;
    caller_close(&c);
    return all == KAFKA_ERR_NOT_ENOUGH_REPLICAS && one == KAFKA_ERR_NOT_LEADER_OR_FOLLOWER;
}

static void a_producer_is_told_that_a_majority_is_gone(void)
{
    struct fleet *f = fleet_with_topic(3, 1, NULL, false);
    struct survivor s = {.fleet = f, .id = leader_of(f, 1, 0)};
    for (int id = 1; id <= 3; id++)
        if (id != s.id)
            fleet_kill(f, id);
    CU_ASSERT(wait_until(lacks_a_majority, &s, GO_ON_MS));
    fleet_start_all(f);
    CU_ASSERT_FATAL(fleet_whole(f, 3, WHOLE_MS));
    struct kafka_caller *c = caller_open(fleet_kafka_port(f, leader_of(f, 1, 0)));
    CU_ASSERT_EQUAL(produce(c, "t", clock_wall_ms(), -1, -1).error_code, KAFKA_ERR_NONE);
    caller_close(&c);
    fleet_end(&f);
}

/* The controller alone knows what each voter has; whoever is asked asks it. */
static bool quorum_is_told_by(struct kafka_caller *c, int32_t *leader)
{
    struct kafka_describe_quorum_request_partition zero = {0};
    struct kafka_describe_quorum_request_topic metadata = {.topic_name = slice_text("__cluster_metadata")};
    metadata.partitions.at = &zero;
    metadata.partitions.count = 1;
    struct kafka_describe_quorum_request ask = {.topics = {.at = &metadata, .count = 1}};
    const struct kafka_describe_quorum_response *answer = caller_ask(c, KAFKA_DESCRIBE_QUORUM, 2, &ask);
    CU_ASSERT_EQUAL_FATAL(answer->topics.count, 1);
    const struct kafka_describe_quorum_response_partition *p = &answer->topics.at[0].partitions.at[0];
    bool whole = p->error_code == KAFKA_ERR_NONE && p->current_voters.count == 3;
    for (int32_t i = 0; i < p->current_voters.count; i++)
        whole &= p->current_voters.at[i].log_end_offset >= p->high_watermark &&
                 p->current_voters.at[i].last_caught_up_timestamp > 0;
    *leader = p->leader_id;
    CU_ASSERT(p->leader_epoch > 0 && p->high_watermark > 0);
    return whole;
}

static bool every_broker_tells_the_quorum(void *fleet)
{
    bool whole = true;
    int32_t leaders[4];
    for (int id = 1; id <= 3; id++) {
        struct kafka_caller *c = caller_open(fleet_kafka_port(fleet, id));
        whole &= quorum_is_told_by(c, &leaders[id]);
        caller_close(&c);
    }
    return whole && leaders[1] > 0 && leaders[1] == leaders[2] && leaders[1] == leaders[3];
}

static void any_broker_describes_the_quorum(void)
{
    struct fleet *f = fleet_form(&(struct fleet_spec){.brokers = 3});
    CU_ASSERT(wait_until(every_broker_tells_the_quorum, f, GO_ON_MS));
    fleet_end(&f);
}

/* What is added is held by those that are there, as what they are now. */
static void brokers_that_were_wiped_or_away_hold_new_partitions(void)
{
    struct fleet *f = fleet_form(&(struct fleet_spec){.brokers = 3});
    struct kafka_caller *c = caller_open(fleet_kafka_port(f, 1));
    CU_ASSERT_EQUAL(create_one(c, "t", 1, 3, NULL, NULL), KAFKA_ERR_NONE);
    CU_ASSERT_FATAL(fleet_whole(f, 3, WHOLE_MS));
    fleet_kill(f, 3);
    fleet_wipe(f, 3);
    fleet_start(f, 3);
    CU_ASSERT_FATAL(fleet_whole(f, 3, WHOLE_MS));
    CU_ASSERT_EQUAL(grow(c, "t", 3, false), KAFKA_ERR_NONE);
    CU_ASSERT(fleet_whole(f, 3, WHOLE_MS));
    fleet_kill(f, 2);
    CU_ASSERT_EQUAL(grow(c, "t", 6, false), KAFKA_ERR_NONE);
    struct client *text = fleet_client(f, 3);
    publish_range(text, "t", "message", 0, 60, 10);
    client_close(&text);
    fleet_start(f, 2);
    CU_ASSERT(fleet_whole(f, 3, WHOLE_MS));
    text = fleet_client(f, 2);
    for (int p = 0; p < 6; p++)
        CU_ASSERT_EQUAL(partition_end(text, "t", p), 10);
    client_close(&text);
    caller_close(&c);
    fleet_end(&f);
}

/* A leader's term is not known everywhere as soon as it leads; -1 says so, and 0 would be an epoch
 * that is over, for which clients are refused later on. */
static void epochs_that_are_not_known_are_not_told(void)
{
    struct fleet *f = fleet_form(&(struct fleet_spec){.brokers = 3});
    struct kafka_caller *c[] = {caller_open(fleet_kafka_port(f, 1)), caller_open(fleet_kafka_port(f, 2))};
    for (int i = 0; i < 10; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "t%d", i);
        CU_ASSERT_EQUAL(create_one(c[0], name, 6, 1, NULL, NULL), KAFKA_ERR_NONE);
        for (int asked = 0; asked < 2; asked++) {
            const struct kafka_metadata_response_topic *topic = look(c[asked], name);
            for (int32_t p = 0; p < topic->partitions.count; p++)
                CU_ASSERT_NOT_EQUAL(topic->partitions.at[p].leader_epoch, 0);
        }
    }
    caller_close(&c[0]);
    caller_close(&c[1]);
    fleet_end(&f);
}

/* Whoever is told of a leader that is replaced a moment later loses its first requests. */
static void new_partitions_are_led_by_whom_they_prefer(void)
{
    enum { TOPICS = 5, PARTITIONS = 6, BY_CHANCE = 3 };
    struct fleet *f = fleet_form(&(struct fleet_spec){.brokers = 3});
    struct kafka_caller *c = caller_open(fleet_kafka_port(f, 1));
    int preferred = 0;
    for (int i = 0; i < TOPICS; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "t%d", i);
        CU_ASSERT_EQUAL(create_one(c, name, PARTITIONS, 3, NULL, NULL), KAFKA_ERR_NONE);
        const struct kafka_metadata_response_topic *topic = look(c, name);
        for (int32_t p = 0; p < topic->partitions.count; p++)
            preferred += topic->partitions.at[p].leader_id == topic->partitions.at[p].replica_nodes.at[0];
    }
    (void)printf("(%d of %d) ", preferred, TOPICS * PARTITIONS);
    CU_ASSERT(preferred >= TOPICS * PARTITIONS - BY_CHANCE); /* on a machine that lets one wait for long */
    /* One that is gone is not waited for. */
    fleet_kill(f, 3);
    CU_ASSERT_EQUAL(create_one(c, "t", PARTITIONS, 3, NULL, NULL), KAFKA_ERR_NONE);
    caller_close(&c);
    fleet_drop(&f);
}

static bool knows_that_one_is_silent(void *context)
{
    const struct kafka_metadata_response_topic *topic = look(context, "t");
    return topic->partitions.count == 1 && topic->partitions.at[0].offline_replicas.count == 1;
}

/* Clients close their connections to brokers that are not listed, whatever they wait for on them. */
static void a_broker_that_is_kept_waiting_stays_listed(void)
{
    struct fleet *f = fleet_form(&(struct fleet_spec){.brokers = 3});
    CU_ASSERT_FATAL(fleet_whole(f, 3, WHOLE_MS));
    struct kafka_caller *c = caller_open(fleet_kafka_port(f, 1));
    CU_ASSERT_EQUAL(create_one(c, "t", 1, 3, NULL, NULL), KAFKA_ERR_NONE);
    fleet_pause(f, 3);
    CU_ASSERT_FATAL(wait_until(knows_that_one_is_silent, c, GO_ON_MS));
    struct kafka_metadata_request none = {.topics = {.count = 0}};
    const struct kafka_metadata_response *answer = caller_ask(c, KAFKA_METADATA, 12, &none);
    CU_ASSERT_EQUAL(answer->brokers.count, 3);
    fleet_resume(f, 3);
    caller_close(&c);
    fleet_end(&f);
}

static const struct unit_case cases[] = {
    {"topics are made or refused, each for itself", topics_are_made_or_refused_each_for_itself},
    {"topics are deleted by name or id", topics_are_deleted_by_name_or_id},
    {"partitions that are added serve and stay", partitions_that_are_added_serve_and_stay},
    {"settings are told and changed", settings_are_told_and_changed},
    {"times are the producer's or the broker's", times_are_the_producers_or_the_brokers},
    {"tools see logs, producers and the quorum", tools_see_logs_producers_and_the_quorum},
    {"a producer is told that a majority is gone", a_producer_is_told_that_a_majority_is_gone},
    {"brokers that were wiped or away hold new partitions", brokers_that_were_wiped_or_away_hold_new_partitions},
    {"any broker describes the quorum", any_broker_describes_the_quorum},
    {"epochs that are not known are not told", epochs_that_are_not_known_are_not_told},
    {"three brokers grow, refuse and elect", three_brokers_grow_refuse_and_elect},
    {"new partitions are led by whom they prefer", new_partitions_are_led_by_whom_they_prefer},
    {"a broker that is kept waiting stays listed", a_broker_that_is_kept_waiting_stays_listed},
};

E2E_MAIN("kafka admin", cases)
