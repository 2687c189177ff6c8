/* The cluster's metadata: topics and their settings, brokers, producer ids. Who holds what:
 * test_metadata_holders.c; replays: test_metadata_replay.c. */
#include "support/metadata_case.h"

/* ---- topics --------------------------------------------------------------------- */

static void a_topic_is_made_once_and_again_only_with_as_many_partitions(void)
{
    struct machine_turn *turn = actor_new(1);
    struct metadata_call call;
    CU_ASSERT_EQUAL(create(turn, "t", 3, 0, &call), KQ_OK);
    CU_ASSERT_FALSE(call.existed);
    struct uuid id = call.topic_id;
    CU_ASSERT_EQUAL(create(turn, "t", 3, 0, &call), KQ_OK);
    CU_ASSERT_TRUE(call.existed);
    CU_ASSERT_TRUE(uuid_equal(&call.topic_id, &id));
    CU_ASSERT_EQUAL(turn->proposed_count, 0);
    CU_ASSERT_EQUAL(create(turn, "t", 4, 0, &call), KQ_EXISTS);
    CU_ASSERT_EQUAL(metadata_topic_count(turn->metadata), 1);
    CU_ASSERT_EQUAL(metadata_topic_at(turn->metadata, 0)->replica_count, 1);
    actor_free(turn);
}

static void names_numbers_and_limits_are_refused_with_nothing_made(void)
{
    struct machine_turn *turn = actor_new(1);
    struct metadata_call call;
    static const char *const names[] = {"", ".", "..", "a b", "a/b", "__x", "\xc3\xa4", "a\"", "a\n"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        CU_ASSERT_EQUAL(create(turn, names[i], 1, 0, &call), KQ_BAD_TOPIC_NAME);
    char name[TOPIC_NAME_MAX_BYTES + 2] = {0};
    memset(name, 'x', TOPIC_NAME_MAX_BYTES + 1);
    CU_ASSERT_EQUAL(create(turn, name, 1, 0, &call), KQ_BAD_TOPIC_NAME);
    name[TOPIC_NAME_MAX_BYTES] = '\0';
    CU_ASSERT_EQUAL(create(turn, name, 1, 0, &call), KQ_OK);
    CU_ASSERT_EQUAL(create(turn, "...", 1, 0, &call), KQ_OK);
    CU_ASSERT_EQUAL(create(turn, "t", 0, 0, &call), KQ_BAD_PARTITIONS);
    CU_ASSERT_EQUAL(create(turn, "t", 101, 0, &call), KQ_BAD_PARTITIONS);
    CU_ASSERT_EQUAL(create(turn, "t", 1, 2, &call), KQ_BAD_REPLICAS);
    CU_ASSERT_EQUAL(create(turn, "t", 100, 0, &call), KQ_OK);
    CU_ASSERT_EQUAL(create(turn, "u", 49, 0, &call), KQ_LIMIT); /* 102 are held, 150 may be */
    CU_ASSERT_EQUAL(create(turn, "u", 48, 0, &call), KQ_OK);
    CU_ASSERT_EQUAL(metadata_topic_count(turn->metadata), 4);
    actor_free(turn);
    turn = actor_new(1);
    for (char i = 'a'; i < 'f'; i++)
        CU_ASSERT_EQUAL(create(turn, (char[]){i, '\0'}, 1, 0, &call), KQ_OK);
    CU_ASSERT_EQUAL(create(turn, "f", 1, 0, &call), KQ_LIMIT);
    actor_free(turn);
}

static void replicas_are_spread_over_different_brokers(void)
{
    struct machine_turn *turn = actor_new(4);
    struct metadata_call call;
    CU_ASSERT_EQUAL(create(turn, "t", 8, 3, &call), KQ_OK);
    const struct metadata_topic *t = metadata_find_topic(turn->metadata, "t");
    uint32_t leads[5] = {0};
    for (uint32_t p = 0; p < 8; p++) {
        const uint32_t *r = t->replicas + (size_t)p * 3;
        CU_ASSERT_TRUE(r[0] != r[1] && r[1] != r[2] && r[0] != r[2]);
        leads[r[0]]++;
    }
    struct place_load *loads = place_loads(turn->metadata, NULL, 0);
    for (uint32_t i = 1; i <= 4; i++) {
        CU_ASSERT_EQUAL(leads[i], 2);
        CU_ASSERT_EQUAL(place_find(loads, 4, i)->replicas, 6);
    }
    free(loads);
    actor_free(turn);
}

static void the_brokers_own_topics_are_not_the_users(void)
{
    struct machine_turn *turn = actor_new(1);
    struct metadata_call call = {.verb = METADATA_CREATE_TOPIC,
                                 .topic = CLUSTER_OFFSETS_TOPIC,
                                 .partitions = 8,
                                 .internal = true,
                                 .topic_id = {{99}}};
    CU_ASSERT_EQUAL(run(turn, &call), KQ_OK);
    call.topic_id = (struct uuid){{98}};
    call.partitions = 16; /* the number is fixed when it is born */
    CU_ASSERT_EQUAL(run(turn, &call), KQ_OK);
    CU_ASSERT_TRUE(call.existed);
    struct metadata_call del = {.verb = METADATA_DELETE_TOPIC, .topic = CLUSTER_OFFSETS_TOPIC};
    CU_ASSERT_EQUAL(run(turn, &del), KQ_BAD_TOPIC_NAME);
    CU_ASSERT_EQUAL(set(turn, CLUSTER_OFFSETS_TOPIC, "retention.ms", "5"), KQ_BAD_TOPIC_NAME);
    actor_free(turn);
}

static void a_deleted_topic_is_gone_with_its_settings(void)
{
    struct machine_turn *turn = actor_new(1);
    struct metadata_call call;
    CU_ASSERT_EQUAL(create(turn, "t", 3, 0, &call), KQ_OK);
    struct uuid id = call.topic_id;
    CU_ASSERT_EQUAL(set(turn, "t", "retention.ms", "5"), KQ_OK);
    struct metadata_call del = {.verb = METADATA_DELETE_TOPIC, .topic = "t", .topic_id = {{250}}};
    CU_ASSERT_EQUAL(run(turn, &del), KQ_UNKNOWN_TOPIC);
    del.topic_id = (struct uuid){{0}};
    CU_ASSERT_EQUAL(run(turn, &del), KQ_OK);
    CU_ASSERT_TRUE(uuid_equal(&del.topic_id, &id));
    del.topic_id = (struct uuid){{0}};
    CU_ASSERT_EQUAL(run(turn, &del), KQ_UNKNOWN_TOPIC);
    CU_ASSERT_EQUAL(create(turn, "t", 4, 0, &call), KQ_OK);
    CU_ASSERT_FALSE(metadata_find_topic(turn->metadata, "t")->config.set[TOPIC_CONFIG_RETENTION_MS]);
    actor_free(turn);
}

static void settings_are_checked_and_go_over_the_defaults(void)
{
    struct machine_turn *turn = actor_new(1);
    struct metadata_call call;
    CU_ASSERT_EQUAL(set(turn, "t", "retention.ms", "5"), KQ_UNKNOWN_TOPIC);
    CU_ASSERT_EQUAL(create(turn, "t", 3, 0, &call), KQ_OK);
    static const char *const bad[][2] = {{"retention.ms", ""},   {"retention.ms", "-2"},
                                         {"retention.ms", "5s"}, {"retention.ms", "9999999999999999999"},
                                         {"segment.bytes", "1"}, {"max.message.bytes", "1e6"},
                                         {"retention", "5"},     {"", "5"}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        CU_ASSERT_EQUAL(set(turn, "t", bad[i][0], bad[i][1]), KQ_INVALID);
    CU_ASSERT_EQUAL(set(turn, "t", "nothing", NULL), KQ_INVALID);
    CU_ASSERT_EQUAL(set(turn, "t", "retention.ms", "-1"), KQ_OK);
    CU_ASSERT_EQUAL(set(turn, "t", "segment.bytes", "65536"), KQ_OK);
    size_t changes = turn->changed_count;
    CU_ASSERT_EQUAL(set(turn, "t", "segment.bytes", "65536"), KQ_OK);
    CU_ASSERT_EQUAL(turn->changed_count, changes);
    struct partition_limits defaults = {
        .segment_bytes = 1 << 20, .retention_bytes = 7, .retention_ms = 8, .max_message_bytes = 9};
    struct partition_limits limits = topic_config_limits(&metadata_find_topic(turn->metadata, "t")->config, &defaults);
    CU_ASSERT_EQUAL(limits.segment_bytes, 65536);
    CU_ASSERT_EQUAL(limits.retention_bytes, 7);
    CU_ASSERT_EQUAL(limits.retention_ms, -1);
    CU_ASSERT_EQUAL(set(turn, "t", "retention.ms", NULL), KQ_OK);
    limits = topic_config_limits(&metadata_find_topic(turn->metadata, "t")->config, &defaults);
    CU_ASSERT_EQUAL(limits.retention_ms, 8);
    actor_free(turn);
}

/* ---- brokers, producers ------------------------------------------------------------ */

static void a_broker_that_is_known_proposes_nothing_at_its_next_start(void)
{
    struct machine_turn *turn = actor_new(1);
    struct metadata_call call = {.verb = METADATA_REGISTER_BROKER,
                                 .cluster_id = {{8}},
                                 .broker = {.id = 1, .host = "127.0.0.1", .port = 8080, .raft_port = 7070}};
    CU_ASSERT_EQUAL(run(turn, &call), KQ_OK);
    CU_ASSERT_EQUAL(turn->proposed_count, 0);
    CU_ASSERT_EQUAL(metadata_cluster_id(turn->metadata).bytes[0], 7);
    call.broker.port = 8081;
    CU_ASSERT_EQUAL(run(turn, &call), KQ_OK);
    CU_ASSERT_EQUAL(turn->proposed_count, 1);
    CU_ASSERT_EQUAL(metadata_broker_count(turn->metadata), 1);
    CU_ASSERT_EQUAL(metadata_broker_at(turn->metadata, 0)->port, 8081);
    call.broker.kafka_port = 9092;
    memcpy(call.broker.kafka_host, "outside", sizeof "outside");
    CU_ASSERT_EQUAL(run(turn, &call), KQ_OK);
    CU_ASSERT_EQUAL(turn->proposed_count, 1);
    CU_ASSERT_EQUAL(run(turn, &call), KQ_OK);
    CU_ASSERT_EQUAL(turn->proposed_count, 0);
    CU_ASSERT_STRING_EQUAL(metadata_broker_at(turn->metadata, 0)->kafka_host, "outside");
    CU_ASSERT_EQUAL(metadata_broker_at(turn->metadata, 0)->kafka_port, 9092);
    actor_free(turn);
}

static void a_broker_written_before_it_spoke_kafka_is_read(void)
{
    static const uint8_t key[] = {2, 9, 0, 0, 0};
    static const uint8_t value[] = {1, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 'h', 1, 0, 2, 0};
    struct metadata_record r;
    CU_ASSERT_EQUAL(metadata_record_decode(&r, key, sizeof key, value, sizeof value), KQ_OK);
    CU_ASSERT_EQUAL(r.broker.id, 9);
    CU_ASSERT_EQUAL(r.broker.raft_port, 2);
    CU_ASSERT_EQUAL(r.broker.kafka_port, 0);
    uint8_t newer[sizeof value];
    memcpy(newer, value, sizeof value);
    newer[0] = 3;
    CU_ASSERT_EQUAL(metadata_record_decode(&r, key, sizeof key, newer, sizeof newer), KQ_BAD_VERSION);
}

static void no_producer_id_is_given_twice(void)
{
    struct machine_turn *turn = actor_new(1);
    int64_t last = -1;
    for (int i = 0; i < 5; i++) {
        struct metadata_call call = {.verb = METADATA_PRODUCER_BLOCK, .count = 1000};
        CU_ASSERT_EQUAL(run(turn, &call), KQ_OK);
        CU_ASSERT_TRUE(call.producer_id > last);
        last = call.producer_id + 999;
    }
    actor_free(turn);
}

static const struct unit_case cases[] = {
    {"a topic is made once, and again only with as many partitions",
     a_topic_is_made_once_and_again_only_with_as_many_partitions},
    {"names, numbers and limits are refused with nothing made", names_numbers_and_limits_are_refused_with_nothing_made},
    {"replicas are spread over different brokers", replicas_are_spread_over_different_brokers},
    {"the broker's own topics are not the users'", the_brokers_own_topics_are_not_the_users},
    {"a deleted topic is gone with its settings", a_deleted_topic_is_gone_with_its_settings},
    {"settings are checked and go over the defaults", settings_are_checked_and_go_over_the_defaults},
    {"a broker that is known proposes nothing at its next start",
     a_broker_that_is_known_proposes_nothing_at_its_next_start},
    {"a broker written before it spoke Kafka is read", a_broker_written_before_it_spoke_kafka_is_read},
    {"no producer id is given twice", no_producer_id_is_given_twice},
};

UNIT_MAIN("metadata", cases)
