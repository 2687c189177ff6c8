/* What an administrator does to topics: make, grow, configure, cut at the front, delete. */
#include "cases.h"

#include <stdio.h>
#include <time.h>

enum { ERROR_BYTES = 512 };

/* The error of the one topic that the answer is about. */
static rd_kafka_resp_err_t topic_error(const rd_kafka_topic_result_t **topics, size_t count)
{
    want_int(1, (int64_t)count, "topics in the answer");
    return rd_kafka_topic_result_error(topics[0]);
}

static rd_kafka_resp_err_t create(const char *name, int partitions, int replicas, const char *key, const char *value)
{
    char error[ERROR_BYTES];
    size_t count = 0;
    struct asked a = ask_begin();
    rd_kafka_NewTopic_t *topic = rd_kafka_NewTopic_new(name, partitions, replicas, error, sizeof(error));
    if (topic == NULL)
        fail("%s: %s", name, error);
    if (key != NULL)
        want_ok(rd_kafka_NewTopic_set_config(topic, key, value), key);
    rd_kafka_CreateTopics(a.client, &topic, 1, a.options, a.queue);
    const rd_kafka_topic_result_t **topics =
        rd_kafka_CreateTopics_result_topics(rd_kafka_event_CreateTopics_result(ask_end(&a, 0)), &count);
    return topic_error(topics, count);
}

static rd_kafka_resp_err_t grow(const char *name, size_t partitions)
{
    char error[ERROR_BYTES];
    size_t count = 0;
    struct asked a = ask_begin();
    rd_kafka_NewPartitions_t *more = rd_kafka_NewPartitions_new(name, partitions, error, sizeof(error));
    if (more == NULL)
        fail("%s: %s", name, error);
    rd_kafka_CreatePartitions(a.client, &more, 1, a.options, a.queue);
    const rd_kafka_topic_result_t **topics =
        rd_kafka_CreatePartitions_result_topics(rd_kafka_event_CreatePartitions_result(ask_end(&a, 0)), &count);
    return topic_error(topics, count);
}

static rd_kafka_resp_err_t drop(const char *name)
{
    size_t count = 0;
    struct asked a = ask_begin();
    rd_kafka_DeleteTopic_t *topic = rd_kafka_DeleteTopic_new(name);
    rd_kafka_DeleteTopics(a.client, &topic, 1, a.options, a.queue);
    const rd_kafka_topic_result_t **topics =
        rd_kafka_DeleteTopics_result_topics(rd_kafka_event_DeleteTopics_result(ask_end(&a, 0)), &count);
    return topic_error(topics, count);
}

/* -1: there is no such topic; -2: a broker that was started again is not seen yet. */
static int partitions_of(const char *name)
{
    const struct rd_kafka_metadata *all = NULL;
    rd_kafka_t *client = client_of(RD_KAFKA_PRODUCER, conf_of(""));
    int found = -1;
    want_ok(rd_kafka_metadata(client, 1, NULL, &all, PATIENCE_MS), "metadata");
    for (int i = 0; i < all->topic_cnt; i++)
        if (strcmp(all->topics[i].topic, name) == 0)
            found = all->topics[i].partition_cnt;
    if (all->broker_cnt != brokers())
        found = -2;
    rd_kafka_metadata_destroy(all);
    rd_kafka_destroy(client);
    return found;
}

/* Any broker may be asked, and learns of a change a moment after the one that took it. */
static void want_partitions(int wanted, const char *name)
{
    int got = partitions_of(name);
    for (int64_t until = now_ms() + PATIENCE_MS; got != wanted && now_ms() < until;)
        got = partitions_of(name);
    want_int(wanted, got, "partitions");
}

static void topics_are_made_grown_and_deleted(void)
{
    want_ok(create("rdk-admin", 2, brokers(), NULL, NULL), "create");
    want_partitions(2, "rdk-admin");
    want_int(RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS, create("rdk-admin", 2, brokers(), NULL, NULL), "again");
    want_ok(grow("rdk-admin", 5), "grow");
    want_partitions(5, "rdk-admin");
    want_int(RD_KAFKA_RESP_ERR_INVALID_PARTITIONS, grow("rdk-admin", 3), "shrink");
    want_ok(drop("rdk-admin"), "delete");
    want_partitions(-1, "rdk-admin");
    want_int(RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART, drop("rdk-admin"), "delete again");
    want_int(RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART, grow("rdk-admin", 9), "grow what is gone");
    want_ok(create("rdk-admin", 1, -1, NULL, NULL), "made anew");
    want_numbers("rdk-admin", 1, 0);
    want_ok(drop("rdk-admin"), "delete");
}

static void what_makes_no_topic(void)
{
    want_int(RD_KAFKA_RESP_ERR_INVALID_CONFIG, create("rdk-no", 1, 1, "no.such.key", "1"), "unknown key");
    want_int(RD_KAFKA_RESP_ERR_INVALID_CONFIG, create("rdk-no", 1, 1, "retention.ms", "soon"), "bad value");
    want_int(RD_KAFKA_RESP_ERR_INVALID_REPLICATION_FACTOR, create("rdk-no", 1, 9, NULL, NULL), "nine replicas");
    want_int(RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION, create("rdk no", 1, 1, NULL, NULL), "a blank in the name");
    want_partitions(-1, "rdk-no");
}

/* ---- settings -------------------------------------------------------------------------------- */

/* Copies the setting's value; false: it is not in the answer. */
static bool setting(rd_kafka_ResourceType_t type, const char *name, const char *key, char *value, size_t cap)
{
    size_t count = 0;
    struct asked a = ask_begin();
    rd_kafka_ConfigResource_t *about = rd_kafka_ConfigResource_new(type, name);
    rd_kafka_DescribeConfigs(a.client, &about, 1, a.options, a.queue);
    const rd_kafka_ConfigResource_t **found =
        rd_kafka_DescribeConfigs_result_resources(rd_kafka_event_DescribeConfigs_result(ask_end(&a, 0)), &count);
    want_int(1, (int64_t)count, "resources");
    want_ok(rd_kafka_ConfigResource_error(found[0]), "describe");
    size_t entries = 0;
    const rd_kafka_ConfigEntry_t **entry = rd_kafka_ConfigResource_configs(found[0], &entries);
    for (size_t i = 0; i < entries; i++)
        if (strcmp(rd_kafka_ConfigEntry_name(entry[i]), key) == 0) {
            const char *text = rd_kafka_ConfigEntry_value(entry[i]);
            (void)snprintf(value, cap, "%s", text != NULL ? text : "");
            return true;
        }
    return false;
}

static void settings_are_told_and_changed(void)
{
    char value[NAME_BYTES] = "", id[16];
    want_ok(create("rdk-config", 1, -1, "retention.ms", "3600000"), "create");
    WANT(setting(RD_KAFKA_RESOURCE_TOPIC, "rdk-config", "retention.ms", value, sizeof(value)));
    want_text("3600000", value, "as made");
    struct asked a = ask_begin();
    size_t count = 0;
    rd_kafka_ConfigResource_t *change = rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, "rdk-config");
    want_ok(rd_kafka_ConfigResource_set_config(change, "retention.ms", "7200000"), "set");
    want_ok(rd_kafka_ConfigResource_set_config(change, "unclean.leader.election.enable", "true"), "set");
    rd_kafka_AlterConfigs(a.client, &change, 1, a.options, a.queue);
    const rd_kafka_ConfigResource_t **changed =
        rd_kafka_AlterConfigs_result_resources(rd_kafka_event_AlterConfigs_result(ask_end(&a, 0)), &count);
    want_int(1, (int64_t)count, "resources");
    want_ok(rd_kafka_ConfigResource_error(changed[0]), "alter");
    WANT(setting(RD_KAFKA_RESOURCE_TOPIC, "rdk-config", "retention.ms", value, sizeof(value)));
    want_text("7200000", value, "as changed");
    WANT(setting(RD_KAFKA_RESOURCE_TOPIC, "rdk-config", "unclean.leader.election.enable", value, sizeof(value)));
    want_text("true", value, "what is kept and does nothing");
    (void)snprintf(id, sizeof(id), "%d", brokers());
    WANT(setting(RD_KAFKA_RESOURCE_BROKER, id, "message.max.bytes", value, sizeof(value)));
}

static void the_broker_may_set_the_time(void)
{
    want_ok(create("rdk-append", 1, -1, "message.timestamp.type", "LogAppendTime"), "create");
    rd_kafka_t *producer = producer_of("compression.codec=gzip");
    want_ok(rd_kafka_producev(producer, RD_KAFKA_V_TOPIC("rdk-append"), RD_KAFKA_V_TIMESTAMP(1000),
                              RD_KAFKA_V_VALUE("x", 1), RD_KAFKA_V_END),
            "produce");
    producer_done(producer);
    rd_kafka_t *reader = reader_of("rdk-append", 0, "");
    rd_kafka_message_t *m = next_message(reader);
    rd_kafka_timestamp_type_t type = RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
    WANT(m != NULL);
    int64_t age_ms = (int64_t)time(NULL) * 1000 - rd_kafka_message_timestamp(m, &type);
    want_int(RD_KAFKA_TIMESTAMP_LOG_APPEND_TIME, type, "type of time");
    WANT(age_ms > -60000 && age_ms < 60000);
    rd_kafka_message_destroy(m);
    rd_kafka_destroy(reader);
}

/* ---- records ------------------------------------------------------------------------------------ */

static void records_are_deleted(void)
{
    const char *topic = topic_new("cut", 1);
    send_numbers(topic, 0, 99, "batch.num.messages=10");
    struct asked a = ask_begin();
    rd_kafka_topic_partition_list_t *before = place(topic, 0, 70);
    rd_kafka_DeleteRecords_t *cut = rd_kafka_DeleteRecords_new(before);
    rd_kafka_DeleteRecords(a.client, &cut, 1, a.options, a.queue);
    const rd_kafka_topic_partition_list_t *low =
        rd_kafka_DeleteRecords_result_offsets(rd_kafka_event_DeleteRecords_result(ask_end(&a, 0)));
    want_int(1, low->cnt, "partitions");
    want_ok(low->elems[0].err, "delete records");
    want_int(70, low->elems[0].offset, "what it begins with");
    rd_kafka_t *reader = reader_of(topic, 5, "auto.offset.reset=earliest");
    rd_kafka_message_t *m = next_message(reader);
    WANT(m != NULL);
    want_int(70, number_in(m), "the first that is left");
    want_int(70, m->offset, "its offset");
    rd_kafka_message_destroy(m);
    rd_kafka_destroy(reader);
}

const struct one_case admin_cases[] = {
    {"topics are made, grown and deleted", topics_are_made_grown_and_deleted, 0},
    {"what makes no topic", what_makes_no_topic, 0},
    {"settings are told and changed", settings_are_told_and_changed, 0},
    {"the broker may set the time", the_broker_may_set_the_time, 0},
    {"records are deleted", records_are_deleted, 0},
    {NULL, NULL, 0},
};
