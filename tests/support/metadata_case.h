/*
 * The cluster's metadata, driven without threads: the program that includes this is its
 * actor, and keeps what the machine proposes.
 */
#ifndef KQ_TESTS_SUPPORT_METADATA_CASE_H
#define KQ_TESTS_SUPPORT_METADATA_CASE_H

#include "base/require.h"
#include "base/slice.h"
#include "cluster/metadata_state.h"
#include "support/unit.h"

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

static inline void changed(void *context, const struct metadata *metadata)
{
    (void)metadata;
    ((struct machine_turn *)context)->changed_count++;
}

static const struct machine_now now = {.mono_us = 1, .wall_ms = 1};

static inline struct machine_turn *actor_new(uint32_t broker_count)
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

static inline void actor_free(struct machine_turn *turn)
{
    metadata_free(&turn->metadata);
    buf_fini(&turn->records);
    free(turn);
}

static inline enum kq_err run(struct machine_turn *turn, struct metadata_call *call)
{
    turn->proposed_count = 0;
    CU_ASSERT_TRUE(turn->machine.ops->call(turn->metadata, &call->call, turn, &now));
    turn->machine.ops->committed(turn->metadata, &now);
    metadata_check(turn->metadata);
    CU_ASSERT_TRUE(call->call.fault.err == KQ_OK || turn->proposed_count == 0);
    return call->call.fault.err;
}

static uint32_t last_topic_id;

static inline enum kq_err create(struct machine_turn *turn, const char *name, uint32_t partitions, uint32_t replicas,
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

static inline enum kq_err set(struct machine_turn *turn, const char *topic, const char *key, const char *value)
{
    struct topic_config_setting setting;
    struct fault fault;
    if (topic_config_setting(key, value == NULL ? TOPIC_CONFIG_UNSET : TOPIC_CONFIG_SET, value, &setting, &fault) !=
        KQ_OK)
        return KQ_INVALID;
    struct metadata_call call = {.verb = METADATA_SET_CONFIG, .topic = topic, .settings = &setting, .setting_count = 1};
    return run(turn, &call);
}

/* ---- who holds what ------------------------------------------------------------------ */

static inline enum kq_err order(struct machine_turn *turn, struct metadata_call *call)
{
    call->verb = METADATA_ORDER;
    call->call.fault = (struct fault){.err = KQ_OK};
    return run(turn, call);
}

/* Broker ids as digits: "123". */
static inline void show(const struct metadata_replica *replicas, uint32_t count, char text[METADATA_REPLICAS_MAX + 1])
{
    for (uint32_t i = 0; i < count; i++)
        text[i] = (char)('0' + replicas[i].broker);
    text[count] = '\0';
}

static inline const char *target_of(struct machine_turn *turn, const char *topic, uint32_t p)
{
    static char text[METADATA_REPLICAS_MAX + 1];
    struct metadata_replica list[METADATA_REPLICAS_MAX] = {{0}};
    show(list, metadata_target(metadata_find_topic(turn->metadata, topic), p, list), text);
    return text;
}

static inline const char *present_of(struct machine_turn *turn, const char *topic, uint32_t p)
{
    static char text[METADATA_REPLICAS_MAX + 1];
    struct metadata_replica list[METADATA_REPLICAS_MAX] = {{0}};
    uint32_t count = metadata_present(metadata_find_topic(turn->metadata, topic), p, list);
    show(list, count, text);
    return text;
}

static inline void move(struct machine_turn *turn, const char *topic, const char *to, enum kq_err expected)
{
    struct metadata_call call = {.order = CLUSTER_MOVE, .topic = topic};
    for (; to[call.broker_count] != '\0'; call.broker_count++)
        call.brokers[call.broker_count] = (uint32_t)(to[call.broker_count] - '0');
    CU_ASSERT_EQUAL(order(turn, &call), expected);
}

/* The group's leader reports that the configuration is the target. */
static inline void settle(struct machine_turn *turn, const char *topic, uint32_t p)
{
    const struct metadata_topic *t = metadata_find_topic(turn->metadata, topic);
    struct metadata_call call = {.verb = METADATA_SETTLED, .topic_id = t->id, .partition = p};
    call.replica_count = metadata_target(t, p, call.replica);
    call.count = t->changed == NULL || t->changed[p] == NULL ? 0 : t->changed[p]->changes;
    CU_ASSERT_EQUAL(run(turn, &call), KQ_OK);
}

static inline void settle_all(struct machine_turn *turn)
{
    for (size_t i = 0; i < metadata_topic_count(turn->metadata); i++) {
        const struct metadata_topic *t = metadata_topic_at(turn->metadata, i);
        for (uint32_t p = 0; p < t->partition_count; p++)
            settle(turn, t->name, p);
    }
}

static inline struct uuid mix_at(struct machine_turn *turn, const char *topic, uint32_t broker)
{
    struct metadata_replica list[METADATA_REPLICAS_MAX] = {{0}};
    uint32_t count = metadata_target(metadata_find_topic(turn->metadata, topic), 0, list);
    for (uint32_t i = 0; i < count; i++)
        if (list[i].broker == broker)
            return list[i].mix;
    CU_FAIL("not a holder");
    return (struct uuid){{0}};
}

#endif
