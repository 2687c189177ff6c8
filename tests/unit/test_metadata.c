/* The cluster's metadata, driven without threads: this file is its actor. */
#include "base/require.h"
#include "base/slice.h"
#include "cluster/metadata_state.h"
#include "support/unit.h"

#include <stdio.h>

struct machine_turn {
    struct metadata *metadata;
    struct machine machine;
    struct buf records; /* u16 key length, key, u32 value length or 0xffffffff, value */
    size_t proposed_count;
    size_t changed_count;
};

void machine_propose(struct machine_turn *turn, struct slice key, struct slice value)
{
    buf_le16(&turn->records, (uint16_t)key.len);
    buf_put(&turn->records, key.data, key.len);
    buf_le32(&turn->records, slice_is_absent(value) ? 0xffffffff : (uint32_t)value.len);
    buf_put(&turn->records, value.data, value.len);
    REQUIRE(!turn->records.bad);
    turn->proposed_count++;
    struct record record = {.key = key, .value = value};
    turn->machine.ops->apply(turn->metadata, 0, &record);
}

static void changed(void *context, const struct metadata *metadata)
{
    (void)metadata;
    ((struct machine_turn *)context)->changed_count++;
}

static const struct machine_now now = {.mono_us = 1, .wall_ms = 1};

static struct machine_turn *actor_new(uint32_t broker_count)
{
    struct machine_turn *turn = calloc(1, sizeof *turn);
    CU_ASSERT_PTR_NOT_NULL_FATAL(turn);
    buf_init(&turn->records, 1u << 30);
    turn->metadata = metadata_new(&(struct metadata_options){.changed = changed, .context = turn});
    turn->machine = metadata_machine(turn->metadata);
    for (uint32_t i = 1; i <= broker_count; i++) {
        struct metadata_call call = {.verb = METADATA_REGISTER_BROKER,
                                     .cluster_id = {{7}},
                                     .broker = {.id = i, .host = "127.0.0.1", .port = 8080, .raft_port = 7070}};
        CU_ASSERT_TRUE(turn->machine.ops->call(turn->metadata, &call.call, turn, &now));
    }
    turn->machine.ops->committed(turn->metadata, &now);
    return turn;
}

static void actor_free(struct machine_turn *turn)
{
    metadata_free(&turn->metadata);
    buf_fini(&turn->records);
    free(turn);
}

static enum kq_err run(struct machine_turn *turn, struct metadata_call *call)
{
    turn->proposed_count = 0;
    CU_ASSERT_TRUE(turn->machine.ops->call(turn->metadata, &call->call, turn, &now));
    turn->machine.ops->committed(turn->metadata, &now);
    metadata_check(turn->metadata);
    CU_ASSERT_TRUE(call->call.fault.err == KQ_OK || turn->proposed_count == 0);
    return call->call.fault.err;
}

static uint32_t last_topic_id;

static enum kq_err create(struct machine_turn *turn, const char *name, uint32_t partitions, uint32_t replicas,
                          struct metadata_call *call)
{
    *call = (struct metadata_call){.verb = METADATA_CREATE_TOPIC,
                                   .topic = name,
                                   .partitions = partitions,
                                   .replicas = replicas,
                                   .limits = {.topics = 5, .topic_partitions = 100, .broker_partitions = 150}};
    put_le32(call->topic_id.bytes, ++last_topic_id);
    return run(turn, call);
}

static enum kq_err set(struct machine_turn *turn, const char *topic, const char *key, const char *value)
{
    struct topic_config_setting setting;
    struct fault fault;
    if (topic_config_setting(key, value == NULL ? TOPIC_CONFIG_UNSET : TOPIC_CONFIG_SET, value, &setting, &fault) !=
        KQ_OK)
        return KQ_INVALID;
    struct metadata_call call = {.verb = METADATA_SET_CONFIG, .topic = topic, .settings = &setting, .setting_count = 1};
    return run(turn, &call);
}

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

/* ---- who holds what ------------------------------------------------------------------ */

static enum kq_err order(struct machine_turn *turn, struct metadata_call *call)
{
    call->verb = METADATA_ORDER;
    call->call.fault = (struct fault){.err = KQ_OK};
    return run(turn, call);
}

/* Broker ids as digits: "123". */
static void show(const struct metadata_replica *replicas, uint32_t count, char text[METADATA_REPLICAS_MAX + 1])
{
    for (uint32_t i = 0; i < count; i++)
        text[i] = (char)('0' + replicas[i].broker);
    text[count] = '\0';
}

static const char *target_of(struct machine_turn *turn, const char *topic, uint32_t p)
{
    static char text[METADATA_REPLICAS_MAX + 1];
    struct metadata_replica list[METADATA_REPLICAS_MAX] = {{0}};
    show(list, metadata_target(metadata_find_topic(turn->metadata, topic), p, list), text);
    return text;
}

static const char *present_of(struct machine_turn *turn, const char *topic, uint32_t p)
{
    static char text[METADATA_REPLICAS_MAX + 1];
    struct metadata_replica list[METADATA_REPLICAS_MAX] = {{0}};
    uint32_t count = metadata_present(metadata_find_topic(turn->metadata, topic), p, list);
    show(list, count, text);
    return text;
}

static void move(struct machine_turn *turn, const char *topic, const char *to, enum kq_err expected)
{
    struct metadata_call call = {.order = CLUSTER_MOVE, .topic = topic};
    for (; to[call.broker_count] != '\0'; call.broker_count++)
        call.brokers[call.broker_count] = (uint32_t)(to[call.broker_count] - '0');
    CU_ASSERT_EQUAL(order(turn, &call), expected);
}

/* The group's leader reports that the configuration is the target. */
static void settle(struct machine_turn *turn, const char *topic, uint32_t p)
{
    const struct metadata_topic *t = metadata_find_topic(turn->metadata, topic);
    struct metadata_call call = {.verb = METADATA_SETTLED, .topic_id = t->id, .partition = p};
    call.replica_count = metadata_target(t, p, call.replica);
    call.count = t->changed == NULL || t->changed[p] == NULL ? 0 : t->changed[p]->changes;
    CU_ASSERT_EQUAL(run(turn, &call), KQ_OK);
}

static void settle_all(struct machine_turn *turn)
{
    for (size_t i = 0; i < metadata_topic_count(turn->metadata); i++) {
        const struct metadata_topic *t = metadata_topic_at(turn->metadata, i);
        for (uint32_t p = 0; p < t->partition_count; p++)
            settle(turn, t->name, p);
    }
}

static struct uuid mix_at(struct machine_turn *turn, const char *topic, uint32_t broker)
{
    struct metadata_replica list[METADATA_REPLICAS_MAX] = {{0}};
    uint32_t count = metadata_target(metadata_find_topic(turn->metadata, topic), 0, list);
    for (uint32_t i = 0; i < count; i++)
        if (list[i].broker == broker)
            return list[i].mix;
    CU_FAIL("not a holder");
    return (struct uuid){{0}};
}

static void a_move_keeps_everybody_until_it_is_settled(void)
{
    struct machine_turn *turn = actor_new(5);
    struct metadata_call call;
    CU_ASSERT_EQUAL(create(turn, "t", 1, 3, &call), KQ_OK);
    move(turn, "t", "123", KQ_OK);
    settle_all(turn);
    move(turn, "t", "345", KQ_OK);
    CU_ASSERT_STRING_EQUAL(target_of(turn, "t", 0), "345");
    CU_ASSERT_STRING_EQUAL(present_of(turn, "t", 0), "123");
    move(turn, "t", "23", KQ_OK); /* thought better of: 4 and 5 may be members already */
    CU_ASSERT_STRING_EQUAL(target_of(turn, "t", 0), "23");
    CU_ASSERT_STRING_EQUAL(present_of(turn, "t", 0), "12345");
    struct metadata_call stale = {
        .verb = METADATA_SETTLED, .topic_id = call.topic_id, .replica = {{3, {{0}}}, {2, {{9}}}}, .replica_count = 2};
    CU_ASSERT_EQUAL(run(turn, &stale), KQ_OK);
    CU_ASSERT_EQUAL(turn->proposed_count, 0);
    struct metadata_call early = {.verb = METADATA_SETTLED, .topic_id = call.topic_id};
    const struct metadata_topic *t = metadata_find_topic(turn->metadata, "t");
    early.replica_count = metadata_target(t, 0, early.replica);
    early.count = t->changed[0]->changes - 1; /* the same was wanted before, and something else in between */
    CU_ASSERT_EQUAL(run(turn, &early), KQ_OK);
    CU_ASSERT_EQUAL(turn->proposed_count, 0);
    settle(turn, "t", 0);
    CU_ASSERT_STRING_EQUAL(present_of(turn, "t", 0), "23");
    move(turn, "t", "32", KQ_OK); /* another preferred leader: nothing is to be waited for */
    CU_ASSERT_STRING_EQUAL(present_of(turn, "t", 0), "32");
    actor_free(turn);
}

static void a_broker_that_gets_a_replica_again_gets_another_one(void)
{
    struct machine_turn *turn = actor_new(4);
    struct metadata_call call;
    CU_ASSERT_EQUAL(create(turn, "t", 1, 3, &call), KQ_OK);
    move(turn, "t", "123", KQ_OK);
    settle_all(turn);
    struct uuid first = mix_at(turn, "t", 1);
    move(turn, "t", "234", KQ_OK);
    settle_all(turn);
    move(turn, "t", "123", KQ_OK);
    struct uuid again = mix_at(turn, "t", 1);
    CU_ASSERT_FALSE(uuid_equal(&first, &again));
    settle_all(turn);
    struct metadata_call lost = {.verb = METADATA_REPLACE,
                                 .topic_id = call.topic_id,
                                 .replica = {{.broker = 1, .mix = again}},
                                 .replica_count = 1};
    CU_ASSERT_EQUAL(run(turn, &lost), KQ_OK);
    struct uuid third = mix_at(turn, "t", 1);
    CU_ASSERT_FALSE(uuid_equal(&third, &again));
    CU_ASSERT_EQUAL(run(turn, &lost), KQ_OK); /* said twice */
    CU_ASSERT_EQUAL(turn->proposed_count, 0);
    struct uuid broker = {{1, 2, 3}};
    struct uuid member = replica_incarnation(&broker, &third);
    struct uuid back = replica_incarnation(&broker, &member);
    CU_ASSERT_TRUE(uuid_equal(&back, &third));
    CU_ASSERT_FALSE(uuid_equal(&member, &broker));
    actor_free(turn);
}

static void the_last_replica_is_never_taken_away(void)
{
    struct machine_turn *turn = actor_new(3);
    struct metadata_call call;
    CU_ASSERT_EQUAL(create(turn, "t", 1, 1, &call), KQ_OK);
    move(turn, "t", "2", KQ_OK);
    settle_all(turn);
    move(turn, "t", "", KQ_BAD_REPLICAS);
    move(turn, "t", "22", KQ_INVALID);
    move(turn, "t", "9", KQ_NOT_FOUND);
    struct metadata_call alone = {.verb = METADATA_REPLACE,
                                  .topic_id = call.topic_id,
                                  .replica = {{.broker = 2, .mix = mix_at(turn, "t", 2)}},
                                  .replica_count = 1};
    CU_ASSERT_EQUAL(run(turn, &alone), KQ_OK);
    CU_ASSERT_EQUAL(turn->proposed_count, 0);
    static const uint32_t alive[] = {1, 3};
    struct metadata_call remove = {.order = CLUSTER_REMOVE_BROKER, .broker = {.id = 2}, .alive = alive};
    remove.alive_count = 2; /* 2 is dead, and has the only copy */
    CU_ASSERT_EQUAL(order(turn, &remove), KQ_BAD_REPLICAS);
    struct metadata_call drain = {.order = CLUSTER_DRAIN_BROKER, .broker = {.id = 2}};
    CU_ASSERT_EQUAL(order(turn, &drain), KQ_OK); /* 2 lives, and can fill another */
    CU_ASSERT_STRING_NOT_EQUAL(target_of(turn, "t", 0), "2");
    CU_ASSERT_STRING_EQUAL(present_of(turn, "t", 0), "2");
    actor_free(turn);
}

static void a_drained_broker_gets_nothing_new_until_it_is_added(void)
{
    struct machine_turn *turn = actor_new(4);
    struct metadata_call call;
    CU_ASSERT_EQUAL(create(turn, "t", 8, 3, &call), KQ_OK);
    struct metadata_call drain = {.order = CLUSTER_DRAIN_BROKER, .broker = {.id = 3}};
    CU_ASSERT_EQUAL(order(turn, &drain), KQ_OK);
    CU_ASSERT_EQUAL(drain.count, 6);
    CU_ASSERT_EQUAL(create(turn, "u", 8, 3, &call), KQ_OK);
    CU_ASSERT_EQUAL(create(turn, "v", 1, 4, &call), KQ_BAD_REPLICAS);
    struct place_load *loads = place_loads(turn->metadata, NULL, 0);
    CU_ASSERT_EQUAL(place_find(loads, 4, 3)->replicas, 0);
    CU_ASSERT_EQUAL(place_find(loads, 4, 1)->replicas, 16);
    free(loads);
    struct metadata_call remove = {.order = CLUSTER_REMOVE_BROKER, .broker = {.id = 3}};
    CU_ASSERT_EQUAL(order(turn, &remove), KQ_INVALID); /* it still holds what moves */
    settle_all(turn);
    struct metadata_call add = {.order = CLUSTER_ADD_BROKER, .broker = {.id = 3}};
    CU_ASSERT_EQUAL(order(turn, &add), KQ_OK);
    loads = place_loads(turn->metadata, NULL, 0);
    for (uint32_t i = 1; i <= 4; i++) {
        CU_ASSERT_TRUE(place_find(loads, 4, i)->replicas >= 11 && place_find(loads, 4, i)->replicas <= 13);
        CU_ASSERT_TRUE(place_find(loads, 4, i)->leaders >= 3 && place_find(loads, 4, i)->leaders <= 5);
    }
    free(loads);
    actor_free(turn);
}

static void a_dead_broker_is_removed_and_its_replicas_go_elsewhere(void)
{
    struct machine_turn *turn = actor_new(4);
    struct metadata_call call;
    CU_ASSERT_EQUAL(create(turn, "t", 4, 3, &call), KQ_OK);
    static const uint32_t alive[] = {1, 2, 3};
    struct metadata_call remove = {
        .order = CLUSTER_REMOVE_BROKER, .broker = {.id = 4}, .alive = alive, .alive_count = 3};
    CU_ASSERT_EQUAL(order(turn, &remove), KQ_OK);
    CU_ASSERT_EQUAL(metadata_broker_count(turn->metadata), 3);
    for (uint32_t p = 0; p < 4; p++) {
        CU_ASSERT_EQUAL(strlen(target_of(turn, "t", p)), 3);
        CU_ASSERT_PTR_NULL(strchr(target_of(turn, "t", p), '4'));
    }
    CU_ASSERT_EQUAL(order(turn, &remove), KQ_NOT_FOUND);
    struct metadata_call again = {.verb = METADATA_REGISTER_BROKER, .broker = {.id = 4, .host = "h"}};
    CU_ASSERT_EQUAL(run(turn, &again), KQ_INVALID); /* as it was */
    again.broker.incarnation = (struct uuid){{9}};
    CU_ASSERT_EQUAL(run(turn, &again), KQ_OK);
    actor_free(turn);
}

static void one_that_stands_still_is_given_to_another_broker(void)
{
    struct machine_turn *turn = actor_new(4);
    struct metadata_call call;
    CU_ASSERT_EQUAL(create(turn, "t", 1, 3, &call), KQ_OK);
    char before[8];
    (void)snprintf(before, sizeof before, "%s", target_of(turn, "t", 0));
    static const uint32_t alive[] = {1, 2, 3, 4};
    struct metadata_call rehouse = {.verb = METADATA_REHOUSE,
                                    .topic_id = metadata_find_topic(turn->metadata, "t")->id,
                                    .replica_count = 1,
                                    .replica = {{.broker = (uint32_t)(before[1] - '0'), .mix = {{7}}}},
                                    .alive = alive,
                                    .alive_count = 4};
    CU_ASSERT_EQUAL(run(turn, &rehouse), KQ_OK);
    CU_ASSERT_EQUAL(rehouse.count, 0); /* of another name: it was replaced already */
    rehouse.replica[0].mix = (struct uuid){{0}};
    rehouse.alive_count = 3;
    bool four_is_spare = strchr(before, '4') == NULL;
    CU_ASSERT_EQUAL(run(turn, &rehouse), KQ_OK);
    CU_ASSERT_EQUAL(rehouse.count, four_is_spare ? 0 : 1); /* nobody else lives */
    rehouse.alive_count = 4;
    CU_ASSERT_EQUAL(run(turn, &rehouse), KQ_OK);
    CU_ASSERT_EQUAL(strlen(target_of(turn, "t", 0)), 3);
    CU_ASSERT_PTR_NULL(strchr(target_of(turn, "t", 0), before[1]));
    CU_ASSERT_EQUAL(run(turn, &rehouse), KQ_OK);
    CU_ASSERT_EQUAL(rehouse.count, 0); /* once */
    actor_free(turn);
}

static void topics_are_made_where_a_majority_lives(void)
{
    struct machine_turn *turn = actor_new(3);
    static const uint32_t alive[] = {1, 3};
    struct metadata_call call = {.verb = METADATA_CREATE_TOPIC,
                                 .topic = "t",
                                 .partitions = 2,
                                 .replicas = 3,
                                 .topic_id = {{1}},
                                 .alive = alive,
                                 .alive_count = 2,
                                 .limits = {.topics = 5, .topic_partitions = 100, .broker_partitions = 150}};
    CU_ASSERT_EQUAL(run(turn, &call), KQ_OK);
    CU_ASSERT_EQUAL(target_of(turn, "t", 0)[2], '2'); /* the dead one last */
    CU_ASSERT_EQUAL(run(turn, &call), KQ_OK);         /* asked again with the same id */
    CU_ASSERT_FALSE(call.existed);
    call.topic = "u";
    call.topic_id = (struct uuid){{2}};
    call.alive_count = 1;
    CU_ASSERT_EQUAL(run(turn, &call), KQ_NOT_ENOUGH_REPLICAS);
    call.replicas = 1;
    CU_ASSERT_EQUAL(run(turn, &call), KQ_OK);
    CU_ASSERT_STRING_EQUAL(target_of(turn, "u", 0), "1");
    actor_free(turn);
}

static void the_brokers_own_topics_grow(void)
{
    struct machine_turn *turn = actor_new(1);
    struct metadata_call call = {.verb = METADATA_CREATE_TOPIC,
                                 .topic = CLUSTER_OFFSETS_TOPIC,
                                 .partitions = 6,
                                 .internal = true,
                                 .topic_id = {{99}}};
    CU_ASSERT_EQUAL(run(turn, &call), KQ_OK);
    for (uint32_t id = 2; id <= 4; id++) {
        struct metadata_call joins = {.verb = METADATA_REGISTER_BROKER,
                                      .broker = {.id = id, .host = "h", .incarnation = {{(uint8_t)id}}}};
        CU_ASSERT_EQUAL(run(turn, &joins), KQ_OK);
        struct metadata_call grow = {.verb = METADATA_GROW};
        CU_ASSERT_EQUAL(run(turn, &grow), KQ_OK);
        CU_ASSERT_EQUAL(turn->proposed_count > 0, id < 4);
        CU_ASSERT_EQUAL(strlen(target_of(turn, CLUSTER_OFFSETS_TOPIC, 3)), id < 3 ? id : 3);
    }
    struct place_load *loads = place_loads(turn->metadata, NULL, 0);
    for (uint32_t id = 1; id <= 3; id++)
        CU_ASSERT_EQUAL(place_find(loads, 4, id)->leaders, 2);
    free(loads);
    actor_free(turn);
}

static void another_incarnation_replaces_a_dead_one_only(void)
{
    struct machine_turn *turn = actor_new(3);
    struct metadata_call call;
    CU_ASSERT_EQUAL(create(turn, "t", 1, 3, &call), KQ_OK);
    uint64_t version = metadata_find_topic(turn->metadata, "t")->version;
    static const uint32_t alive[] = {1, 2};
    struct metadata_call twin = {.verb = METADATA_REGISTER_BROKER,
                                 .broker = {.id = 2, .host = "h", .incarnation = {{5}}},
                                 .alive = alive,
                                 .alive_count = 2};
    CU_ASSERT_EQUAL(run(turn, &twin), KQ_EXISTS);
    twin.broker.id = 3;
    CU_ASSERT_EQUAL(run(turn, &twin), KQ_OK);
    CU_ASSERT_TRUE(metadata_find_topic(turn->metadata, "t")->version > version);
    actor_free(turn);
}

static void the_first_registration_makes_all_founders_known(void)
{
    struct machine_turn *turn = actor_new(0);
    struct founding founding = {.cluster_id = {{1}}, .metadata_id = {{2}}, .count = 3};
    for (uint32_t i = 0; i < 3; i++)
        founding.members[i] =
            (struct form_member){.broker_id = i + 1, .incarnation = {{(uint8_t)(i + 1)}}, .host = "h", .port = 1};
    struct metadata_call call = {.verb = METADATA_REGISTER_BROKER,
                                 .cluster_id = {{1}},
                                 .founding = &founding,
                                 .broker = {.id = 2, .host = "elsewhere", .incarnation = {{2}}}};
    CU_ASSERT_EQUAL(run(turn, &call), KQ_OK);
    CU_ASSERT_EQUAL(metadata_broker_count(turn->metadata), 3);
    CU_ASSERT_STRING_EQUAL(metadata_broker_at(turn->metadata, 1)->host, "elsewhere");
    CU_ASSERT_STRING_EQUAL(metadata_broker_at(turn->metadata, 2)->host, "h");
    actor_free(turn);
}

/* ---- replay --------------------------------------------------------------------------- */

static void take_snapshot(struct metadata *m, struct buf *out)
{
    buf_init(out, 1u << 30);
    metadata_machine(m).ops->snapshot(m, out);
    CU_ASSERT_FALSE_FATAL(out->bad);
}

static void replay(struct metadata *m, const struct buf *records, size_t from)
{
    struct cursor c = cursor_over(records->data + from, records->len - from);
    while (cursor_left(&c) > 0) {
        struct record record = {0};
        size_t key_bytes = cursor_le16(&c);
        record.key = slice_of(cursor_bytes(&c, key_bytes), key_bytes);
        size_t value_bytes = cursor_le32(&c);
        if (value_bytes != 0xffffffff)
            record.value = slice_of(cursor_bytes(&c, value_bytes), value_bytes);
        REQUIRE(!c.bad);
        metadata_machine(m).ops->apply(m, 0, &record);
    }
    metadata_check(m);
}

static void check_replay(struct machine_turn *turn, const struct buf *snapshot, size_t mark)
{
    struct buf at_end;
    take_snapshot(turn->metadata, &at_end);
    for (int with_snapshot = 0; with_snapshot < 2; with_snapshot++) {
        struct metadata *m = metadata_new(&(struct metadata_options){NULL, NULL});
        struct fault fault;
        if (with_snapshot)
            CU_ASSERT_EQUAL_FATAL(metadata_machine(m).ops->restore(m, snapshot->data, snapshot->len, &fault), KQ_OK);
        replay(m, &turn->records, with_snapshot ? mark : 0);
        struct buf again;
        take_snapshot(m, &again);
        CU_ASSERT_EQUAL_FATAL(again.len, at_end.len);
        CU_ASSERT_EQUAL_FATAL(memcmp(again.data, at_end.data, at_end.len), 0);
        buf_fini(&again);
        metadata_machine(m).ops->reset(m);
        metadata_check(m);
        replay(m, &turn->records, 0);
        metadata_free(&m);
    }
    buf_fini(&at_end);
}

static enum kq_err add(struct machine_turn *turn, uint32_t partitions, const uint32_t *assigned, uint32_t count)
{
    struct metadata_call call = {.verb = METADATA_ADD_PARTITIONS, .topic = "t", .partitions = partitions};
    call.limits = (struct metadata_limits){.topic_partitions = 9, .broker_partitions = 150};
    call.assigned = assigned;
    call.assigned_count = count;
    return run(turn, &call);
}

static void partitions_that_are_added_have_founders_of_their_own(void)
{
    struct machine_turn *turn = actor_new(2);
    struct metadata_call call;
    struct metadata_replica replicas[METADATA_REPLICAS_MAX];
    CU_ASSERT_EQUAL(create(turn, "t", 2, 2, &call), KQ_OK);
    call =
        (struct metadata_call){.order = CLUSTER_MOVE, .topic = "t", .partition = 1, .brokers = {1}, .broker_count = 1};
    CU_ASSERT_EQUAL(order(turn, &call), KQ_OK);
    struct metadata_call again = {.verb = METADATA_REGISTER_BROKER,
                                  .broker = {.id = 2, .host = "127.0.0.1", .raft_port = 7070, .incarnation = {{9}}}};
    CU_ASSERT_EQUAL(run(turn, &again), KQ_OK); /* with an empty folder, since the topic was made */
    CU_ASSERT_EQUAL(add(turn, 4, NULL, 0), KQ_OK);
    const struct metadata_topic *t = metadata_find_topic(turn->metadata, "t");
    CU_ASSERT_EQUAL(t->partition_count, 4);
    CU_ASSERT_EQUAL(metadata_target(t, 1, replicas), 1); /* what was ordered before holds on */
    CU_ASSERT_EQUAL(metadata_target(t, 3, replicas), 2);
    CU_ASSERT_EQUAL_FATAL(t->founder_count, 3);
    CU_ASSERT_EQUAL(t->founders[2].broker, 2);
    CU_ASSERT_EQUAL(t->founders[2].from, 2);
    CU_ASSERT_EQUAL(t->founders[2].incarnation.bytes[0], 9);
    CU_ASSERT_EQUAL(add(turn, 4, NULL, 0), KQ_OK);
    CU_ASSERT_EQUAL(turn->proposed_count, 0);
    CU_ASSERT_EQUAL(add(turn, 3, NULL, 0), KQ_BAD_PARTITIONS);
    CU_ASSERT_EQUAL(add(turn, 10, NULL, 0), KQ_BAD_PARTITIONS);
    CU_ASSERT_EQUAL(add(turn, 5, (const uint32_t[]){2, 2}, 2), KQ_BAD_ASSIGNMENT);
    CU_ASSERT_EQUAL(add(turn, 5, (const uint32_t[]){2, 7}, 2), KQ_BAD_ASSIGNMENT);
    CU_ASSERT_EQUAL(add(turn, 5, (const uint32_t[]){2}, 1), KQ_BAD_ASSIGNMENT);
    CU_ASSERT_EQUAL(add(turn, 5, (const uint32_t[]){2, 1}, 2), KQ_OK);
    t = metadata_find_topic(turn->metadata, "t");
    CU_ASSERT_EQUAL(metadata_target(t, 4, replicas), 2);
    CU_ASSERT_EQUAL(replicas[0].broker, 2);
    CU_ASSERT_EQUAL(t->founder_count, 3); /* nobody is another since */
    struct buf snapshot;
    take_snapshot(turn->metadata, &snapshot);
    check_replay(turn, &snapshot, turn->records.len);
    buf_fini(&snapshot);
    actor_free(turn);
}

static void a_random_life_replays_to_the_same_state(void)
{
    struct machine_turn *turn = actor_new(3);
    uint64_t state = 7;
    struct buf snapshot;
    take_snapshot(turn->metadata, &snapshot);
    size_t mark = turn->records.len;
    for (int step = 0; step < 3000; step++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        uint32_t r = (uint32_t)(state >> 33);
        const char *name = (const char *[]){"a", "b", "c", "dd", "ee", "ab"}[r % 6];
        struct metadata_call call;
        if (r / 6 % 4 == 0)
            (void)create(turn, name, 1 + r / 24 % 3, r / 72 % 3, &call);
        else if (r / 6 % 4 == 1) {
            call = (struct metadata_call){.verb = METADATA_DELETE_TOPIC, .topic = name};
            (void)run(turn, &call);
        } else if (r / 6 % 4 == 2)
            (void)set(turn, name, r / 24 % 2 == 0 ? "retention.ms" : "retention.bytes",
                      r / 48 % 3 == 0   ? NULL
                      : r / 48 % 3 == 1 ? "100"
                                        : "-1");
        else if (r / 24 % 3 == 0) {
            call = (struct metadata_call){.verb = METADATA_PRODUCER_BLOCK, .count = 1000};
            (void)run(turn, &call);
        } else if (r / 24 % 3 == 1) {
            call = (struct metadata_call){.order = (enum cluster_order_verb)(r / 72 % 3), /* add, drain, remove */
                                          .broker = {.id = 1 + r / 216 % 3}};
            (void)order(turn, &call);
            struct metadata_call joins = {.verb = METADATA_REGISTER_BROKER,
                                          .broker = {.id = call.broker.id, .host = "h", .incarnation = {{(uint8_t)r}}},
                                          .alive = &call.broker_count, /* nobody */
                                          .alive_count = 1};
            (void)run(turn, &joins);
        } else if (r / 72 % 4 == 1) {
            call =
                (struct metadata_call){.verb = METADATA_ADD_PARTITIONS, .topic = name, .partitions = 1 + r / 288 % 9};
            call.limits = (struct metadata_limits){.topic_partitions = 100, .broker_partitions = 150};
            (void)run(turn, &call);
        } else if (r / 72 % 2 == 0) {
            call = (struct metadata_call){.order = CLUSTER_REBALANCE};
            (void)order(turn, &call);
        } else
            settle_all(turn);
        if (step % 100 == 0)
            check_replay(turn, &snapshot, mark);
        if (step % 130 == 0) {
            buf_fini(&snapshot);
            take_snapshot(turn->metadata, &snapshot);
            mark = turn->records.len;
        }
    }
    buf_fini(&snapshot);
    actor_free(turn);
}

static void a_damaged_snapshot_is_refused(void)
{
    struct machine_turn *turn = actor_new(2);
    struct metadata_call call;
    CU_ASSERT_EQUAL(create(turn, "t", 3, 2, &call), KQ_OK);
    CU_ASSERT_EQUAL(set(turn, "t", "retention.ms", "5"), KQ_OK);
    struct buf snapshot;
    take_snapshot(turn->metadata, &snapshot);
    for (size_t n = 0; n < snapshot.len; n++) {
        struct metadata *m = metadata_new(&(struct metadata_options){NULL, NULL});
        struct fault fault;
        CU_ASSERT_EQUAL(metadata_machine(m).ops->restore(m, snapshot.data, n, &fault), KQ_CORRUPT);
        metadata_free(&m);
    }
    buf_fini(&snapshot);
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
    {"a move keeps everybody until it is settled", a_move_keeps_everybody_until_it_is_settled},
    {"a broker that gets a replica again gets another one", a_broker_that_gets_a_replica_again_gets_another_one},
    {"the last replica is never taken away", the_last_replica_is_never_taken_away},
    {"a drained broker gets nothing new until it is added", a_drained_broker_gets_nothing_new_until_it_is_added},
    {"a dead broker is removed, and its replicas go elsewhere", a_dead_broker_is_removed_and_its_replicas_go_elsewhere},
    {"topics are made where a majority lives", topics_are_made_where_a_majority_lives},
    {"the broker's own topics grow", the_brokers_own_topics_grow},
    {"one that stands still is given to another broker", one_that_stands_still_is_given_to_another_broker},
    {"another incarnation replaces a dead one only", another_incarnation_replaces_a_dead_one_only},
    {"the first registration makes all founders known", the_first_registration_makes_all_founders_known},
    {"partitions that are added have founders of their own", partitions_that_are_added_have_founders_of_their_own},
    {"a random life replays to the same state", a_random_life_replays_to_the_same_state},
    {"a damaged snapshot is refused", a_damaged_snapshot_is_refused},
};

UNIT_MAIN("metadata", cases)
