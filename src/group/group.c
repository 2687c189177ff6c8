/*
 * The coordinator as a machine: its calls, and its place on a partition.
 *
 * Each verb looks, then proposes records; a record is applied at once
 * (group_apply), so the next line of the verb sees what it did.
 */
#include "base/clock.h"
#include "base/logger.h"
#include "base/require.h"
#include "group/assign.h"
#include "group/classic_state.h"
#include "group/group_step.h"

#include <stdio.h>
#include <stdlib.h>

/* The log of a coordinator between two snapshots. */
enum { SNAPSHOT_EVERY_BYTES = 4 * 1024 * 1024 };

/* ---- verbs ---------------------------------------------------------------------------------- */

static enum kq_err refuse_subscribe(const struct step *step, struct group_call *call, const struct group *group)
{
    struct fault *fault = &call->call.fault;
    size_t len = strlen(call->group);
    if (len == 0 || len > GROUP_NAME_MAX_BYTES)
        return fault_set(fault, KQ_INVALID, "the name of a consumer group has 1 to %d bytes; this one has %zu",
                         GROUP_NAME_MAX_BYTES, len);
    if (strlen(call->topic) > GROUP_NAME_MAX_BYTES)
        return fault_set(fault, KQ_BAD_TOPIC_NAME, "the name of a topic has at most %d bytes", GROUP_NAME_MAX_BYTES);
    if (call->partition_count == 0 || call->partition_count > GROUP_PARTITIONS_MAX || call->wanted == 0)
        return fault_set(fault, KQ_INVALID, "%u is not a valid value for partition number", call->wanted);
    if (group != NULL && group_has_classic(group))
        return fault_set(fault, KQ_GROUP_KIND,
                         "consumer group %s has Kafka members; subscribe with another group, or when they have left",
                         call->group);
    if (group == NULL && step->m->groups.count >= GROUP_GROUPS_MAX)
        return fault_set(fault, KQ_LIMIT, "too many consumer groups (%d in this coordinator); let unused ones expire",
                         GROUP_GROUPS_MAX);
    return KQ_OK;
}

/* A partition for who holds held_count of t, which may be NULL. False: none. */
static bool find_partition(const struct step *step, const struct group_topic *t, const struct claim *claim,
                           uint32_t partition_count, uint32_t *partition, struct farewell *farewell)
{
    *farewell = (struct farewell){NULL, NULL};
    if (assign_free_partition(t, partition_count, partition))
        return true;
    const struct subscription *given = assign_give_up(t, claim, claim == NULL ? 0 : claim->held_count);
    if (given == NULL)
        return false;
    step_make_farewell(step, given, farewell);
    *partition = given->partition;
    return true;
}

/* The claim of who subscribes, wanting call->wanted more. */
static struct claim *claim_more(struct step *step, const struct group_call *call, const struct claim *before)
{
    struct group_record r = {.type = GROUP_RECORD_CLAIM, .topic_id = call->topic_id, .session = call->session};
    (void)snprintf(r.group, sizeof r.group, "%s", call->group);
    (void)snprintf(r.topic, sizeof r.topic, "%s", call->topic);
    uint64_t wanted = (uint64_t)call->wanted + (before == NULL ? 0 : before->wanted);
    r.wanted = wanted < call->partition_count ? (uint32_t)wanted : call->partition_count;
    r.partition_count = call->partition_count;
    step_propose(step, &r);
    struct group_topic *t = group_find_topic(group_find(step->m, call->group), &call->topic_id);
    struct claim *claim = group_find_claim(t, &call->session);
    claim->seen_us = step->now->mono_us;
    return claim;
}

static void subscribe(struct step *step, struct group_call *call)
{
    REQUIRE(call->session.id != 0);
    const struct group *group = group_find(step->m, call->group);
    if (refuse_subscribe(step, call, group) != KQ_OK)
        return;
    struct group_topic *t = group == NULL ? NULL : group_find_topic(group, &call->topic_id);
    struct claim *claim = t == NULL ? NULL : group_find_claim(t, &call->session);
    uint32_t most = call->wanted < call->partition_count ? call->wanted : call->partition_count;
    call->ids = calloc(most, sizeof *call->ids);
    if (call->ids == NULL) {
        (void)fault_set(&call->call.fault, KQ_NO_MEMORY, "out of memory for %u subscriptions", most);
        return;
    }
    uint32_t partition;
    struct farewell farewell;
    if (!find_partition(step, t, claim, call->partition_count, &partition, &farewell)) {
        call->call.fault.err = KQ_ALL_ASSIGNED;
        return;
    }
    claim = claim_more(step, call, claim);
    do {
        const struct subscription *s = step_grant(step, claim->topic, &call->session, partition);
        step_send_farewell(step, &farewell);
        call->ids[call->id_count++] = (struct subscription_id){step->m->options.coordinator, partition, s->secret};
    } while (call->id_count < most &&
             find_partition(step, claim->topic, claim, call->partition_count, &partition, &farewell));
    step_revive(step, claim->session);
    step_settle(step, call->group);
}

/* The subscription that the call names, or NULL and its fault. */
static struct subscription *resolve(const struct step *step, struct group_call *call)
{
    struct subscription *s = group_find_subscription(step->m, &call->id.secret);
    if (s == NULL || s->topic->doomed || call->id.coordinator != step->m->options.coordinator ||
        call->id.partition != s->partition || strcmp(call->topic, s->topic->name) != 0) {
        call->call.fault.err = KQ_UNKNOWN_SUBSCRIPTION;
        return NULL;
    }
    const struct offset *o = s->topic->slots[s->partition].offset;
    call->topic_id = s->topic->id;
    call->partition = s->partition;
    call->committed_off = o == NULL ? -1 : o->off;
    memcpy(call->group_name, s->topic->group->name, sizeof call->group_name);
    return s;
}

static void commit(struct step *step, struct group_call *call)
{
    size_t metadata_bytes = call->metadata == NULL ? 0 : strlen(call->metadata);
    if (call->off < 0 || metadata_bytes > GROUP_METADATA_MAX_BYTES) {
        (void)fault_set(&call->call.fault, KQ_INVALID, "an offset from 0 and at most %d bytes of metadata are wanted",
                        GROUP_METADATA_MAX_BYTES);
        return;
    }
    struct subscription *s = resolve(step, call);
    if (s == NULL)
        return;
    step_use(step, s, &call->session);
    struct group_record r = step_record(s->topic, GROUP_RECORD_OFFSET);
    r.partition = s->partition;
    r.off = call->off;
    r.time_ms = step->now->wall_ms;
    r.metadata = (const uint8_t *)call->metadata;
    r.metadata_bytes = (uint16_t)metadata_bytes;
    step_propose(step, &r);
    call->committed_off = call->off;
}

static void unsubscribe(struct step *step, struct group_call *call)
{
    struct subscription *s = resolve(step, call);
    if (s == NULL)
        return;
    struct session *session = group_find_session(step->m, &call->session);
    if (session != NULL)
        step_revive(step, session);
    step_give_back(step, s);
    step_fill_and_settle(step, call->group_name, &call->topic_id);
}

/* Marks them; the next ticks do the rest, in pieces. */
static void drop_topics(struct step *step, const struct group_call *call)
{
    struct map_walk w;
    for (map_walk_init(&w, &step->m->groups); map_walk_next(&w);)
        for (struct group_topic *t = ((struct group *)w.value)->topics; t != NULL; t = t->next)
            if (!call->exists(call->exists_context, &t->id)) {
                t->doomed = true;
                step_due_at(step->m, step->now->mono_us);
            }
}

static bool group_call_verb(void *machine, struct machine_call *base, struct machine_turn *turn,
                            const struct machine_now *now)
{
    struct group_machine *m = machine;
    TAG_CHECK(m, GROUP_TAG);
    struct group_call *call = CONTAINER_OF(base, struct group_call, call);
    struct step step = {.m = m, .turn = turn, .now = now};
    call->call.fault = (struct fault){.err = KQ_OK};
    call->committed_off = -1;
    if (step_session_timeout_us(m) != m->last_timeout_us || step_offsets_retention_us(m) != m->last_retention_us)
        step_due_at(m, now->mono_us); /* the configuration changed */
    switch (call->verb) {
    case GROUP_SUBSCRIBE:
        subscribe(&step, call);
        break;
    case GROUP_RESOLVE: {
        struct subscription *s = resolve(&step, call);
        if (s != NULL)
            step_use(&step, s, &call->session);
        break;
    }
    case GROUP_PEEK:
        (void)resolve(&step, call);
        break;
    case GROUP_RENEW:
        step_renew(&step, &call->session);
        break;
    case GROUP_COMMIT:
        commit(&step, call);
        break;
    case GROUP_UNSUBSCRIBE:
        unsubscribe(&step, call);
        break;
    case GROUP_SESSION_CLOSED:
        step_session_closed(&step, &call->session);
        break;
    case GROUP_BROKER_GONE:
        step_broker_gone(&step, call->session.broker_id);
        break;
    case GROUP_LIST:
        group_answer_list(m, call);
        break;
    case GROUP_DESCRIBE:
        group_answer_describe(m, call, now);
        break;
    case GROUP_DROP_TOPICS:
        drop_topics(&step, call);
        break;
    case GROUP_JOIN:
    case GROUP_SYNC:
    case GROUP_HEARTBEAT:
    case GROUP_LEAVE:
    case GROUP_COMMIT_ALL:
    case GROUP_OFFSETS:
    case GROUP_FORGET:
    case GROUP_LOOK:
        return classic_call_verb(&step, CONTAINER_OF(call, struct classic_call, base));
    }
    return true;
}

static bool group_may_propose(const struct machine_call *base)
{
    const struct group_call *call = (const struct group_call *)(const void *)base; /* its first member */
    switch (call->verb) {
    case GROUP_SUBSCRIBE:
    case GROUP_COMMIT:
    case GROUP_UNSUBSCRIBE:
    case GROUP_JOIN:
    case GROUP_SYNC:
    case GROUP_LEAVE:
    case GROUP_COMMIT_ALL:
    case GROUP_FORGET:
        return true;
    case GROUP_HEARTBEAT:
    case GROUP_OFFSETS:
    case GROUP_LOOK:
    case GROUP_RESOLVE:
    case GROUP_PEEK:
    case GROUP_RENEW:
    case GROUP_SESSION_CLOSED:
    case GROUP_BROKER_GONE:
    case GROUP_LIST:
    case GROUP_DESCRIBE:
    case GROUP_DROP_TOPICS:
        break;
    }
    return false;
}

static void group_tick(void *machine, struct machine_turn *turn, const struct machine_now *now)
{
    struct group_machine *m = machine;
    TAG_CHECK(m, GROUP_TAG);
    struct step step = {.m = m, .turn = turn, .now = now};
    step_expire(&step);
}

static int64_t group_deadline_us(const void *machine)
{
    const struct group_machine *m = machine;
    return m->next_us;
}

/* ---- the machine ------------------------------------------------------------------------------ */

static void group_apply_record(void *machine, int64_t off, const struct record *record)
{
    struct group_machine *m = machine;
    TAG_CHECK(m, GROUP_TAG);
    struct group_record r;
    enum kq_err err = group_record_decode(&r, record->key.data, record->key.len, record->value.data, record->value.len);
    if (err != KQ_OK) {
        SAY_ERROR("__consumer_offsets-%u: the record at offset %lld is skipped: %s; was it written by a newer version?",
                  m->options.coordinator, (long long)off, err_text(err));
        return;
    }
    group_apply(m, &r);
}

static void group_committed(void *machine, const struct machine_now *now)
{
    (void)machine;
    (void)now;
}

/* Everyone has a full timeout again, and is not known to be connected. */
static void group_leads(void *machine, bool leads, const struct machine_now *now)
{
    struct group_machine *m = machine;
    TAG_CHECK(m, GROUP_TAG);
    m->leads = leads;
    m->next_us = CLOCK_NEVER;
    struct map_walk w;
    for (map_walk_init(&w, &m->groups); map_walk_next(&w);) {
        classic_leads(w.value, leads, now);
        group_release(m, w.value);
    }
    if (!leads)
        return;
    for (map_walk_init(&w, &m->subscriptions); map_walk_next(&w);) {
        struct subscription *s = w.value;
        s->used_us = now->mono_us;
        group_set_user(m, s, NULL);
    }
    for (map_walk_init(&w, &m->sessions); map_walk_next(&w);) {
        struct session *session = w.value;
        session->live = false;
        for (struct claim *c = session->claims; c != NULL; c = c->next_of_session)
            c->seen_us = now->mono_us;
    }
    if (m->groups.count > 0)
        m->next_us = now->mono_us; /* the first tick finds out what is due when */
}

static void group_reset(void *machine)
{
    struct group_machine *m = machine;
    TAG_CHECK(m, GROUP_TAG);
    group_clear(m);
    map_init(&m->groups);
    map_init(&m->subscriptions);
    map_init(&m->sessions);
    m->leads = false;
    m->next_us = CLOCK_NEVER;
}

static const struct machine_ops ops = {
    .name = "group",
    .serial = false,
    .call = group_call_verb,
    .may_propose = group_may_propose,
    .apply = group_apply_record,
    .committed = group_committed,
    .tick = group_tick,
    .deadline_us = group_deadline_us,
    .leads = group_leads,
    .snapshot = group_snapshot,
    .restore = group_restore,
    .reset = group_reset,
};

struct group_machine *group_machine_new(const struct group_options *options)
{
    struct group_machine *m = calloc(1, sizeof *m);
    if (m == NULL)
        return NULL;
    m->tag = GROUP_TAG;
    m->options = *options;
    map_init(&m->groups);
    map_init(&m->subscriptions);
    map_init(&m->sessions);
    buf_init(&m->key, GROUP_RECORD_MAX_BYTES);
    buf_init(&m->value, GROUP_RECORD_MAX_BYTES);
    m->next_us = CLOCK_NEVER;
    return m;
}

void group_machine_free(struct group_machine **machine)
{
    struct group_machine *m = *machine;
    if (m == NULL)
        return;
    TAG_CHECK(m, GROUP_TAG);
    group_clear(m);
    buf_fini(&m->key);
    buf_fini(&m->value);
    m->tag = TAG_DEAD;
    free(m);
    *machine = NULL;
}

struct machine group_machine_ops(struct group_machine *machine)
{
    return (struct machine){.ops = &ops, .state = machine, .snapshot_every_bytes = SNAPSHOT_EVERY_BYTES};
}
