/*
 * The controller's decisions: what may be created, where replicas go, which
 * producer ids are free. Each verb looks, then proposes records; a record is
 * applied at once (metadata_apply).
 */
#include "cluster/metadata.h"

#include "base/clock.h"
#include "base/logger.h"
#include "base/require.h"
#include "base/slice.h"
#include "cluster/metadata_state.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* The metadata's log between two snapshots. */
enum { SNAPSHOT_EVERY_BYTES = 4 * 1024 * 1024, KEY_BYTES = 1024 };

void metadata_propose(struct metadata *m, struct machine_turn *turn, const struct metadata_record *r)
{
    buf_reset(&m->key);
    buf_reset(&m->value);
    metadata_record_encode(r, &m->key, &m->value);
    REQUIRE(!m->key.bad);
    REQUIRE(!m->value.bad);
    machine_propose(turn, slice_of(m->key.data, m->key.len),
                    r->gone ? slice_of(NULL, 0) : slice_of(m->value.data, m->value.len));
}

/* ---- topic names ------------------------------------------------------------------- */

static bool name_byte_ok(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
           c == '-';
}

enum kq_err cluster_check_topic_name(const char *name, size_t name_bytes, struct fault *fault)
{
    if (name_bytes == 0)
        return fault_set(fault, KQ_BAD_TOPIC_NAME, "topic name is required field");
    bool ok = name_bytes <= TOPIC_NAME_MAX_BYTES && !(name_bytes == 1 && name[0] == '.') &&
              !(name_bytes == 2 && name[0] == '.' && name[1] == '.');
    for (size_t i = 0; i < name_bytes && ok; i++)
        ok = name_byte_ok(name[i]);
    if (!ok)
        return fault_set(
            fault, KQ_BAD_TOPIC_NAME,
            "topic name is not valid: 1 to %d of the characters A-Z a-z 0-9 . _ - are wanted, and not . or "
            ".. alone",
            TOPIC_NAME_MAX_BYTES);
    if (name_bytes >= 2 && name[0] == '_' && name[1] == '_')
        return fault_set(fault, KQ_BAD_TOPIC_NAME,
                         "topic name is not valid: names that begin with __ are the broker's own");
    return KQ_OK;
}

enum kq_err cluster_check_topic_config(const char *key, const char *value, struct fault *fault)
{
    enum topic_config_key ignored;
    int64_t number;
    return topic_config_parse(key, value, &ignored, &number, fault);
}

/* ---- brokers -------------------------------------------------------------------------- */

static bool lives(const struct metadata_call *call, uint32_t broker_id)
{
    for (size_t i = 0; i < call->alive_count; i++)
        if (call->alive[i] == broker_id)
            return true;
    return false;
}

/* The cluster's id, and its founders: so that all of them are known at once. */
static void begin_cluster(struct metadata *m, const struct metadata_call *call, struct machine_turn *turn)
{
    metadata_propose(m, turn,
                     &(struct metadata_record){.type = METADATA_RECORD_CLUSTER, .cluster_id = call->cluster_id});
    for (uint32_t i = 0; call->founding != NULL && i < call->founding->count; i++) {
        const struct form_member *f = &call->founding->members[i];
        if (f->broker_id == call->broker.id || f->host[0] == '\0')
            continue;
        struct metadata_record r = {
            .type = METADATA_RECORD_BROKER,
            .broker = {.id = f->broker_id, .incarnation = f->incarnation, .port = f->port, .raft_port = f->raft_port}};
        (void)snprintf(r.broker.host, sizeof r.broker.host, "%s", f->host);
        metadata_propose(m, turn, &r);
    }
}

static bool same_address(const struct metadata_broker *a, const struct metadata_broker *b)
{
    return strcmp(a->host, b->host) == 0 && a->port == b->port && a->raft_port == b->raft_port &&
           strcmp(a->kafka_host, b->kafka_host) == 0 && a->kafka_port == b->kafka_port;
}

static void register_broker(struct metadata *m, struct metadata_call *call, struct machine_turn *turn)
{
    if (uuid_is_zero(&m->cluster_id))
        begin_cluster(m, call, turn);
    const struct metadata_broker *known = metadata_find_broker(m, call->broker.id);
    if (metadata_is_removed(m, call->broker.id, &call->broker.incarnation)) {
        (void)fault_set(&call->call.fault, KQ_INVALID,
                        "broker %u was removed from the cluster; to join it again, start it in an empty data folder",
                        call->broker.id);
        return;
    }
    bool same = known != NULL && uuid_equal(&known->incarnation, &call->broker.incarnation);
    if (same && same_address(known, &call->broker))
        return;
    if (known == NULL && m->broker_count >= METADATA_BROKERS_MAX) {
        (void)fault_set(&call->call.fault, KQ_LIMIT, "the cluster has %d brokers already", METADATA_BROKERS_MAX);
        return;
    }
    /* At one address only one can live, however short ago the other was heard. */
    bool in_its_place =
        known != NULL && strcmp(known->host, call->broker.host) == 0 && known->raft_port == call->broker.raft_port;
    if (known != NULL && !same && !in_its_place && lives(call, known->id)) {
        (void)fault_set(&call->call.fault, KQ_EXISTS,
                        "the cluster has a broker %u, which lives at %.100s:%u; start this one with another "
                        "--broker-id",
                        known->id, known->host, known->port);
        return;
    }
    metadata_propose(m, turn, &(struct metadata_record){.type = METADATA_RECORD_BROKER, .broker = call->broker});
}

/* ---- topics ---------------------------------------------------------------------------- */

/* How many replicas each partition gets; 0 and a fault: it cannot be. */
static uint32_t replicas_for(const struct metadata *m, struct metadata_call *call, const struct place_load *loads)
{
    uint32_t brokers = place_eligible(loads, m->broker_count, true);
    uint32_t living = place_eligible(loads, m->broker_count, false);
    if (brokers == 0) {
        (void)fault_set(&call->call.fault, KQ_NOT_ENOUGH_REPLICAS,
                        m->broker_count == 0 ? "no broker is registered yet; try again"
                                             : "every broker is being drained; add one");
        return 0;
    }
    uint32_t replicas = call->replicas;
    if (replicas == 0)
        replicas = brokers < METADATA_DEFAULT_REPLICAS ? brokers : METADATA_DEFAULT_REPLICAS;
    if (replicas > brokers || replicas > METADATA_REPLICAS_MAX) {
        (void)fault_set(&call->call.fault, KQ_BAD_REPLICAS,
                        "%u replicas cannot be had: the cluster has %u broker%s (and a partition at most %d replicas)",
                        replicas, brokers, brokers == 1 ? "" : "s", METADATA_REPLICAS_MAX);
        return 0;
    }
    if (living * 2 <= replicas) { /* without a majority it would have no leader */
        (void)fault_set(
            &call->call.fault, KQ_NOT_ENOUGH_REPLICAS,
            "%u replicas are wanted and %u broker%s can be reached; start the others, or take fewer replicas", replicas,
            living, living == 1 ? "" : "s");
        return 0;
    }
    return replicas;
}

static enum kq_err check_room(const struct metadata *m, struct metadata_call *call, const struct place_load *loads)
{
    struct fault *fault = &call->call.fault;
    if (call->internal)
        return KQ_OK;
    if (m->topic_count - m->internal_count >= call->limits.topics)
        return fault_set(fault, KQ_LIMIT, "there are %u topics already, which is topics.max; delete some or raise it",
                         call->limits.topics);
    for (size_t i = 0; i < m->broker_count; i++)
        if (loads[i].taken && loads[i].replicas > call->limits.broker_partitions)
            return fault_set(fault, KQ_LIMIT,
                             "broker %u would hold %u partitions with this topic, and partitions.max is %u",
                             loads[i].id, loads[i].replicas, call->limits.broker_partitions);
    return KQ_OK;
}

static void list_founders(const struct metadata *m, const struct place_load *loads, struct metadata_record *r,
                          struct metadata_founder *founders)
{
    r->founders = founders;
    for (size_t i = 0; i < m->broker_count; i++)
        if (loads[i].taken)
            founders[r->founder_count++] =
                (struct metadata_founder){.broker = loads[i].id, .incarnation = m->brokers[i]->incarnation};
}

static void propose_topic(struct metadata *m, struct metadata_call *call, struct place_load *loads,
                          struct machine_turn *turn)
{
    uint32_t replica_count = replicas_for(m, call, loads);
    if (replica_count == 0)
        return;
    uint32_t *replicas = calloc((size_t)call->partitions * replica_count, sizeof *replicas);
    struct metadata_founder *founders = calloc(m->broker_count, sizeof *founders);
    if (replicas == NULL || founders == NULL) {
        (void)fault_set(&call->call.fault, KQ_NO_MEMORY, "out of memory for %u partitions", call->partitions);
        goto out;
    }
    /* The first broker differs from topic to topic, so that leaders are spread. */
    for (uint32_t p = 0; p < call->partitions; p++)
        place_partition(loads, m->broker_count, m->topic_count + p, replica_count,
                        replicas + (size_t)p * replica_count);
    for (size_t i = 0; i < m->broker_count; i++)
        loads[i].taken = false;
    for (size_t i = 0; i < (size_t)call->partitions * replica_count; i++)
        place_find(loads, m->broker_count, replicas[i])->taken = true;
    if (check_room(m, call, loads) != KQ_OK)
        goto out;
    struct metadata_record r = {.type = METADATA_RECORD_TOPIC,
                                .topic_id = call->topic_id,
                                .internal = call->internal,
                                .partition_count = call->partitions,
                                .replica_count = replica_count,
                                .desired_count = replica_count,
                                .replicas = replicas};
    list_founders(m, loads, &r, founders);
    (void)snprintf(r.topic, sizeof r.topic, "%s", call->topic);
    metadata_propose(m, turn, &r);
out:
    free(replicas);
    free(founders);
}

static void create_topic(struct metadata *m, struct metadata_call *call, struct machine_turn *turn)
{
    struct fault *fault = &call->call.fault;
    if (!call->internal && cluster_check_topic_name(call->topic, strlen(call->topic), fault) != KQ_OK)
        return;
    uint32_t most = call->limits.topic_partitions;
    if (most > METADATA_PARTITIONS_MAX)
        most = METADATA_PARTITIONS_MAX;
    if (call->partitions == 0 || (!call->internal && call->partitions > most)) {
        (void)fault_set(fault, KQ_BAD_PARTITIONS, "please try again with correct Partition number (1 to %u)", most);
        return;
    }
    const struct metadata_topic *known = metadata_find_topic(m, call->topic);
    if (known != NULL && known->partition_count != call->partitions && !call->internal) {
        (void)fault_set(fault, KQ_EXISTS, "topic %.100s exists with %u partition%s", call->topic,
                        known->partition_count, known->partition_count == 1 ? "" : "s");
        return;
    }
    if (known != NULL) {
        call->existed = !uuid_equal(&call->topic_id, &known->id); /* equal: asked again */
        call->topic_id = known->id;
        return;
    }
    REQUIRE(!uuid_is_zero(&call->topic_id));
    struct place_load *loads = place_loads(m, call->alive, call->alive_count);
    if (loads == NULL)
        (void)fault_set(fault, KQ_NO_MEMORY, "out of memory");
    else
        propose_topic(m, call, loads, turn);
    free(loads);
}

const struct metadata_topic *metadata_find_for_user(const struct metadata *m, struct metadata_call *call)
{
    struct fault *fault = &call->call.fault;
    const struct metadata_topic *t = metadata_find_topic(m, call->topic);
    if (t == NULL || (!uuid_is_zero(&call->topic_id) && !uuid_equal(&call->topic_id, &t->id))) {
        fault->err = KQ_UNKNOWN_TOPIC;
        return NULL;
    }
    if (t->internal && !call->internal) {
        (void)fault_set(fault, KQ_BAD_TOPIC_NAME, "topic %.100s is the broker's own", call->topic);
        return NULL;
    }
    return t;
}

static void delete_topic(struct metadata *m, struct metadata_call *call, struct machine_turn *turn)
{
    const struct metadata_topic *t = metadata_find_for_user(m, call);
    if (t == NULL)
        return;
    call->topic_id = t->id;
    struct metadata_record r = {.type = METADATA_RECORD_CONFIG, .gone = true, .topic_id = t->id};
    for (int i = 0; i < TOPIC_CONFIG_COUNT; i++)
        if (t->config.set[i]) {
            r.config_key = (enum topic_config_key)i;
            metadata_propose(m, turn, &r);
        }
    metadata_propose(
        m, turn, &(struct metadata_record){.type = METADATA_RECORD_TOPIC, .gone = true, .topic_id = call->topic_id});
}

static void set_config(struct metadata *m, struct metadata_call *call, struct machine_turn *turn)
{
    const struct metadata_topic *t = metadata_find_for_user(m, call);
    if (t == NULL)
        return;
    struct metadata_record r = {.type = METADATA_RECORD_CONFIG, .topic_id = t->id, .gone = call->value == NULL};
    bool unset = call->value == NULL && topic_config_find(call->key, &r.config_key);
    if (!unset && topic_config_parse(call->key, call->value == NULL ? "" : call->value, &r.config_key, &r.config_value,
                                     &call->call.fault) != KQ_OK)
        return;
    bool is_set = t->config.set[r.config_key];
    if (r.gone ? is_set : !is_set || t->config.value[r.config_key] != r.config_value)
        metadata_propose(m, turn, &r);
}

static void producer_block(struct metadata *m, struct metadata_call *call, struct machine_turn *turn)
{
    REQUIRE(call->count > 0);
    if (m->next_producer_id > INT64_MAX - (uint64_t)call->count) {
        (void)fault_set(&call->call.fault, KQ_LIMIT, "no producer id is left");
        return;
    }
    call->producer_id = (int64_t)m->next_producer_id;
    metadata_propose(m, turn,
                     &(struct metadata_record){.type = METADATA_RECORD_PRODUCERS,
                                               .next_producer_id = m->next_producer_id + call->count});
}

/* ---- the machine --------------------------------------------------------------------------- */

static bool metadata_call_verb(void *machine, struct machine_call *base, struct machine_turn *turn,
                               const struct machine_now *now)
{
    struct metadata *m = machine;
    TAG_CHECK(m, METADATA_TAG);
    (void)now;
    struct metadata_call *call = CONTAINER_OF(base, struct metadata_call, call);
    call->call.fault = (struct fault){.err = KQ_OK};
    switch (call->verb) {
    case METADATA_REGISTER_BROKER:
        register_broker(m, call, turn);
        break;
    case METADATA_CREATE_TOPIC:
        create_topic(m, call, turn);
        break;
    case METADATA_DELETE_TOPIC:
        delete_topic(m, call, turn);
        break;
    case METADATA_SET_CONFIG:
        set_config(m, call, turn);
        break;
    case METADATA_PRODUCER_BLOCK:
        producer_block(m, call, turn);
        break;
    case METADATA_ORDER:
        metadata_order(m, call, turn);
        break;
    case METADATA_SETTLED:
        metadata_settled(m, call, turn);
        break;
    case METADATA_REPLACE:
        metadata_replace(m, call, turn);
        break;
    case METADATA_OWN:
        metadata_own(m, call, turn);
        break;
    case METADATA_GROW:
        metadata_grow(m, call, turn);
        break;
    case METADATA_REHOUSE:
        metadata_rehouse(m, call, turn);
        break;
    case METADATA_VERB_COUNT:
        REQUIRE(false);
    }
    return true;
}

static void metadata_apply_record(void *machine, int64_t off, const struct record *record)
{
    struct metadata *m = machine;
    TAG_CHECK(m, METADATA_TAG);
    m->next_off = (uint64_t)off + 1;
    struct metadata_record r;
    enum kq_err err =
        metadata_record_decode(&r, record->key.data, record->key.len, record->value.data, record->value.len);
    if (err != KQ_OK) {
        SAY_ERROR("__cluster_metadata-0: the record at offset %" PRId64 " is skipped: %s; was it written by a newer "
                  "version?",
                  off, err_text(err));
        return;
    }
    metadata_apply(m, &r);
}

static void metadata_committed(void *machine, const struct machine_now *now)
{
    struct metadata *m = machine;
    TAG_CHECK(m, METADATA_TAG);
    (void)now;
    if (m->told_version == m->version)
        return;
    m->told_version = m->version;
    if (m->options.changed != NULL)
        m->options.changed(m->options.context, m);
}

static void metadata_tick(void *machine, struct machine_turn *turn, const struct machine_now *now)
{
    (void)machine;
    (void)turn;
    (void)now;
}

static int64_t metadata_deadline_us(const void *machine)
{
    (void)machine;
    return CLOCK_NEVER;
}

static void metadata_leads(void *machine, bool leads, const struct machine_now *now)
{
    (void)machine;
    (void)leads;
    (void)now;
}

static void metadata_reset(void *machine)
{
    struct metadata *m = machine;
    TAG_CHECK(m, METADATA_TAG);
    metadata_clear(m);
}

static const struct machine_ops ops = {
    .name = "metadata",
    .serial = true,
    .call = metadata_call_verb,
    .apply = metadata_apply_record,
    .committed = metadata_committed,
    .tick = metadata_tick,
    .deadline_us = metadata_deadline_us,
    .leads = metadata_leads,
    .snapshot = metadata_snapshot,
    .restore = metadata_restore,
    .reset = metadata_reset,
};

struct metadata *metadata_new(const struct metadata_options *options)
{
    struct metadata *m = calloc(1, sizeof *m);
    if (m == NULL)
        return NULL;
    m->tag = METADATA_TAG;
    m->options = *options;
    map_init(&m->by_name);
    map_init(&m->by_id);
    buf_init(&m->key, KEY_BYTES);
    buf_init(&m->value, METADATA_RECORD_BYTES);
    return m;
}

void metadata_free(struct metadata **metadata)
{
    struct metadata *m = *metadata;
    if (m == NULL)
        return;
    TAG_CHECK(m, METADATA_TAG);
    metadata_clear(m);
    buf_fini(&m->key);
    buf_fini(&m->value);
    m->tag = TAG_DEAD;
    free(m);
    *metadata = NULL;
}

struct machine metadata_machine(struct metadata *metadata)
{
    return (struct machine){.ops = &ops, .state = metadata, .snapshot_every_bytes = SNAPSHOT_EVERY_BYTES};
}
