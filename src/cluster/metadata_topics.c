/*
 * The controller's decisions about topics: what may be made, where replicas go, settings,
 * partitions that are added.
 *
 * A topic's record lists who founded each of its partitions, with the incarnations of
 * that time. Partitions that are added later have founders of their own: rows of the same
 * list that hold from the first of them on, where a broker was not among the founders, or
 * has another incarnation by now.
 */
#include "cluster/metadata.h"

#include "base/require.h"
#include "cluster/metadata_state.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- settings ----------------------------------------------------------------------------- */

static void propose_settings(struct metadata *m, const struct metadata_topic *t, const struct metadata_call *call,
                             struct machine_turn *turn)
{
    struct topic_config before = t->config;
    struct topic_config after = call->replace ? (struct topic_config){.set = {false}} : before;
    struct metadata_record r = {.type = METADATA_RECORD_CONFIG, .topic_id = t->id};
    for (uint32_t i = 0; i < call->setting_count; i++)
        topic_config_apply(&after, &call->settings[i]);
    for (int i = 0; i < TOPIC_CONFIG_COUNT && !call->dry; i++) {
        if (after.set[i] == before.set[i] && (!after.set[i] || after.value[i] == before.value[i]))
            continue;
        r.config_key = (enum topic_config_key)i;
        r.gone = !after.set[i];
        r.config_value = after.value[i];
        metadata_propose(m, turn, &r);
    }
}

void metadata_set_config(struct metadata *m, struct metadata_call *call, struct machine_turn *turn)
{
    const struct metadata_topic *t = metadata_find_for_user(m, call);
    if (t != NULL)
        propose_settings(m, t, call, turn);
}

/* ---- who is to hold new partitions ---------------------------------------------------------- */

/* 0 and a fault: it cannot be. */
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

/* Of new partitions, whether they are placed or assigned. */
struct newcomers {
    struct metadata *m;
    struct metadata_call *call;
    struct place_load *loads;
    uint32_t first; /* partition */
    uint32_t count;
    uint32_t replica_count;
    uint32_t *replicas; /* [partition * replica_count + i], from `first` on */
};

static enum kq_err check_assigned(const struct newcomers *n)
{
    const struct metadata_call *call = n->call;
    struct fault *fault = &n->call->call.fault;
    if (n->replica_count == 0 || n->replica_count > METADATA_REPLICAS_MAX ||
        call->assigned_count != n->count * n->replica_count)
        return fault_set(fault, KQ_BAD_ASSIGNMENT, "each new partition must be given %u broker%s", n->replica_count,
                         n->replica_count == 1 ? "" : "s");
    for (uint32_t i = 0; i < call->assigned_count; i++) {
        uint32_t id = call->assigned[i];
        if (place_find(n->loads, n->m->broker_count, id) == NULL)
            return fault_set(fault, KQ_BAD_ASSIGNMENT, "there is no broker %u in this cluster", id);
        for (uint32_t k = i - i % n->replica_count; k < i; k++)
            if (call->assigned[k] == id)
                return fault_set(fault, KQ_BAD_ASSIGNMENT, "broker %u is given partition %u twice", id,
                                 n->first + i / n->replica_count);
    }
    return KQ_OK;
}

static void take_assigned(struct newcomers *n)
{
    REQUIRE(n->replica_count > 0);
    for (uint32_t i = 0; i < n->call->assigned_count; i++) {
        struct place_load *load = place_find(n->loads, n->m->broker_count, n->call->assigned[i]);
        n->replicas[i] = load->id;
        load->replicas++;
        load->leaders += i % n->replica_count == 0;
    }
}

/* Fills `replicas`; `taken` of the loads says whom it names. */
static enum kq_err settle_newcomers(struct newcomers *n)
{
    size_t brokers = n->m->broker_count;
    if (n->call->assigned != NULL) {
        if (check_assigned(n) != KQ_OK)
            return n->call->call.fault.err;
        take_assigned(n);
    }
    /* The first broker differs from topic to topic, so that leaders are spread. */
    for (uint32_t p = 0; p < n->count && n->call->assigned == NULL; p++)
        place_partition(n->loads, brokers, n->m->topic_count + n->first + p, n->replica_count,
                        n->replicas + (size_t)p * n->replica_count);
    for (size_t i = 0; i < brokers; i++)
        n->loads[i].taken = false;
    for (size_t i = 0; i < (size_t)n->count * n->replica_count; i++)
        place_find(n->loads, brokers, n->replicas[i])->taken = true;
    return KQ_OK;
}

/* How many replicas the partitions of a new topic, or more of one, get. */
static uint32_t replicas_wanted(const struct metadata *m, struct metadata_call *call, const struct place_load *loads)
{
    return call->assigned != NULL ? call->replicas : replicas_for(m, call, loads);
}

static enum kq_err check_room(const struct metadata *m, struct metadata_call *call, const struct place_load *loads,
                              bool one_more)
{
    struct fault *fault = &call->call.fault;
    if (call->internal)
        return KQ_OK;
    if (one_more && m->topic_count - m->internal_count >= call->limits.topics)
        return fault_set(fault, KQ_LIMIT, "there are %u topics already, which is topics.max; delete some or raise it",
                         call->limits.topics);
    for (size_t i = 0; i < m->broker_count; i++)
        if (loads[i].taken && loads[i].replicas > call->limits.broker_partitions)
            return fault_set(fault, KQ_LIMIT, "broker %u would hold %u partitions then, and partitions.max is %u",
                             loads[i].id, loads[i].replicas, call->limits.broker_partitions);
    return KQ_OK;
}

/* ---- creating ------------------------------------------------------------------------------- */

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
    struct newcomers n = {.m = m, .call = call, .loads = loads, .count = call->partitions};
    n.replica_count = replicas_wanted(m, call, loads);
    if (call->call.fault.err != KQ_OK)
        return;
    n.replicas = calloc((size_t)n.count * n.replica_count + 1, sizeof *n.replicas);
    struct metadata_founder *founders = calloc(m->broker_count + 1, sizeof *founders);
    if (n.replicas == NULL || founders == NULL) {
        (void)fault_set(&call->call.fault, KQ_NO_MEMORY, "out of memory for %u partitions", call->partitions);
        goto out;
    }
    if (settle_newcomers(&n) != KQ_OK || check_room(m, call, loads, true) != KQ_OK)
        goto out;
    call->replicas = n.replica_count;
    if (call->dry)
        goto out;
    struct metadata_record r = {.type = METADATA_RECORD_TOPIC,
                                .topic_id = call->topic_id,
                                .internal = call->internal,
                                .partition_count = call->partitions,
                                .replica_count = n.replica_count,
                                .desired_count = n.replica_count,
                                .replicas = n.replicas};
    list_founders(m, loads, &r, founders);
    (void)snprintf(r.topic, sizeof r.topic, "%s", call->topic);
    metadata_propose(m, turn, &r);
    propose_settings(m, metadata_find_id(m, &call->topic_id), call, turn);
out:
    free(n.replicas);
    free(founders);
}

void metadata_create_topic(struct metadata *m, struct metadata_call *call, struct machine_turn *turn)
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
    if (known != NULL && call->exclusive && !uuid_equal(&call->topic_id, &known->id)) {
        (void)fault_set(fault, KQ_EXISTS, "topic %.100s exists already", call->topic);
        return;
    }
    if (known != NULL && known->partition_count != call->partitions && !call->internal) {
        (void)fault_set(fault, KQ_EXISTS, "topic %.100s exists with %u partition%s", call->topic,
                        known->partition_count, known->partition_count == 1 ? "" : "s");
        return;
    }
    if (known != NULL) {
        call->existed = !uuid_equal(&call->topic_id, &known->id); /* equal: asked again */
        call->topic_id = known->id;
        propose_settings(m, known, call, turn);
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

void metadata_delete_topic(struct metadata *m, struct metadata_call *call, struct machine_turn *turn)
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

/* ---- more partitions -------------------------------------------------------------------------- */

/* The last row of the broker, which holds for new partitions. */
static const struct metadata_founder *last_row(const struct metadata_founder *rows, uint32_t count, uint32_t broker)
{
    for (uint32_t i = count; i-- > 0;)
        if (rows[i].broker == broker)
            return &rows[i];
    return NULL;
}

/* The topic's founders and those that its new partitions need; NULL: no memory, or too many. */
static struct metadata_founder *more_founders(const struct newcomers *n, const struct metadata_topic *t,
                                              uint32_t *count)
{
    struct metadata_founder *rows = calloc(t->founder_count + n->m->broker_count + 1, sizeof *rows);
    if (rows == NULL)
        return NULL;
    *count = t->founder_count;
    memcpy(rows, t->founders, t->founder_count * sizeof *rows);
    for (size_t i = 0; i < n->m->broker_count && t->founder_count > 0; i++) {
        const struct metadata_broker *broker = n->m->brokers[i];
        const struct metadata_founder *known = last_row(rows, *count, broker->id);
        if (n->loads[i].taken && (known == NULL || !uuid_equal(&known->incarnation, &broker->incarnation)))
            rows[(*count)++] =
                (struct metadata_founder){.broker = broker->id, .incarnation = broker->incarnation, .from = n->first};
    }
    if (*count <= METADATA_FOUNDERS_MAX)
        return rows;
    free(rows);
    return NULL;
}

static void propose_more(const struct newcomers *n, const struct metadata_topic *t, struct machine_turn *turn)
{
    size_t had = (size_t)t->partition_count * t->replica_count;
    size_t more = (size_t)n->count * n->replica_count;
    uint32_t *all = calloc(had + more, sizeof *all);
    uint32_t founder_count = 0;
    struct metadata_founder *founders = more_founders(n, t, &founder_count);
    if (all == NULL || founders == NULL) {
        (void)fault_set(&n->call->call.fault, KQ_LIMIT,
                        "topic %.100s cannot have more partitions: memory is out, or they were added too often",
                        t->name);
    } else {
        memcpy(all, t->replicas, had * sizeof *all);
        memcpy(all + had, n->replicas, more * sizeof *all);
        struct metadata_record r = {.type = METADATA_RECORD_TOPIC,
                                    .topic_id = t->id,
                                    .internal = t->internal,
                                    .partition_count = t->partition_count + n->count,
                                    .replica_count = t->replica_count,
                                    .desired_count = t->desired_count,
                                    .replicas = all,
                                    .founder_count = founder_count,
                                    .founders = founders};
        memcpy(r.topic, t->name, sizeof r.topic);
        metadata_propose(n->m, turn, &r);
    }
    free(all);
    free(founders);
}

static void add_partitions(struct metadata *m, const struct metadata_topic *t, struct metadata_call *call,
                           struct place_load *loads, struct machine_turn *turn)
{
    struct newcomers n = {.m = m,
                          .call = call,
                          .loads = loads,
                          .first = t->partition_count,
                          .count = call->partitions - t->partition_count};
    call->replicas = t->replica_count;
    n.replica_count = replicas_wanted(m, call, loads);
    if (call->call.fault.err != KQ_OK)
        return;
    n.replicas = calloc((size_t)n.count * n.replica_count + 1, sizeof *n.replicas);
    if (n.replicas == NULL)
        (void)fault_set(&call->call.fault, KQ_NO_MEMORY, "out of memory for %u partitions", n.count);
    else if (settle_newcomers(&n) == KQ_OK && check_room(m, call, loads, false) == KQ_OK && !call->dry)
        propose_more(&n, t, turn);
    free(n.replicas);
}

void metadata_add_partitions(struct metadata *m, struct metadata_call *call, struct machine_turn *turn)
{
    struct fault *fault = &call->call.fault;
    const struct metadata_topic *t = metadata_find_for_user(m, call);
    if (t == NULL)
        return;
    uint32_t most = call->limits.topic_partitions;
    if (most > METADATA_PARTITIONS_MAX)
        most = METADATA_PARTITIONS_MAX;
    call->topic_id = t->id;
    call->count = t->partition_count;
    if (call->partitions == t->partition_count)
        return;
    if (call->partitions < t->partition_count || call->partitions > most) {
        (void)fault_set(fault, KQ_BAD_PARTITIONS,
                        call->partitions > most
                            ? "topic %.100s has %u partitions, and may have up to %u"
                            : "topic %.100s has %u partitions; they can only become more (up to %u)",
                        t->name, t->partition_count, most);
        return;
    }
    struct place_load *loads = place_loads(m, call->alive, call->alive_count);
    if (loads == NULL)
        (void)fault_set(fault, KQ_NO_MEMORY, "out of memory");
    else
        add_partitions(m, t, call, loads, turn);
    free(loads);
}
