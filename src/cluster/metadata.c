/*
 * The controller's decisions: who is a broker, which producer ids are free; of topics
 * in metadata_topics.c, of who holds what in metadata_order.c. Each verb looks, then proposes records; a record is
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

/* ---- producer ids ---------------------------------------------------------------------- */

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
        metadata_create_topic(m, call, turn);
        break;
    case METADATA_DELETE_TOPIC:
        metadata_delete_topic(m, call, turn);
        break;
    case METADATA_SET_CONFIG:
        metadata_set_config(m, call, turn);
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
    case METADATA_ADD_PARTITIONS:
        metadata_add_partitions(m, call, turn);
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
