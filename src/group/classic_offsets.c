/* What Kafka clients commit and ask of a group: its offsets, its members, its end. */
#include "group/classic.h"

#include "base/require.h"
#include "group/classic_state.h"
#include "group/group_step.h"
#include "proto/kafka/consumer_protocol.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- commit ------------------------------------------------------------------------------------- */

/* Whether this client may commit; a group without members takes offsets from anybody (generation -1). */
static enum classic_answer may_commit(struct step *step, const struct classic_call *call, const struct group *group)
{
    const struct classic *c = group == NULL ? NULL : group->classic;
    bool nobody = call->generation < 0 && call->member_id.len == 0;
    if (group != NULL && group->claim_count > 0)
        return CLASSIC_INCONSISTENT;
    if (nobody)
        return c == NULL || c->member_count == 0 ? CLASSIC_OK : CLASSIC_UNKNOWN_MEMBER;
    if (c == NULL)
        return group == NULL ? CLASSIC_ILLEGAL_GENERATION : CLASSIC_UNKNOWN_MEMBER;
    struct classic_member *member = classic_find(c, call->member_id);
    if (call->instance.len > 0 &&
        (member == NULL || member->instance == NULL || !slice_equal_text(call->instance, member->instance)))
        return classic_find_instance(c, call->instance) != NULL ? CLASSIC_FENCED_INSTANCE : CLASSIC_UNKNOWN_MEMBER;
    if (member == NULL)
        return CLASSIC_UNKNOWN_MEMBER;
    if (call->generation != (int32_t)c->generation)
        return CLASSIC_ILLEGAL_GENERATION;
    classic_heard(step, member);
    return c->state == CLASSIC_SYNCING ? CLASSIC_REBALANCING : CLASSIC_OK;
}

static void commit_one(struct step *step, const struct classic_call *call, struct classic_offset *o)
{
    struct group_record r = {.type = GROUP_RECORD_OFFSET, .topic_id = o->topic_id};
    if (o->answer != CLASSIC_OK)
        return; /* the caller's word: no such topic, ... */
    if (o->metadata.len > GROUP_METADATA_MAX_BYTES) {
        o->answer = CLASSIC_TOO_LARGE;
        return;
    }
    (void)snprintf(r.group, sizeof r.group, "%s", call->base.group);
    REQUIRE(o->topic.len < sizeof r.topic);
    memcpy(r.topic, o->topic.data, o->topic.len);
    r.partition = o->partition;
    r.off = o->off;
    r.time_ms = step->now->wall_ms;
    r.leader_epoch = o->leader_epoch;
    r.metadata = o->metadata.data;
    r.metadata_bytes = (uint16_t)o->metadata.len;
    step_propose(step, &r);
}

void classic_commit(struct step *step, struct classic_call *call)
{
    struct group *group = group_find(step->m, call->base.group);
    call->answer = may_commit(step, call, group);
    if (call->answer == CLASSIC_OK && group == NULL && step->m->groups.count >= GROUP_GROUPS_MAX)
        call->answer = CLASSIC_FULL;
    for (uint32_t i = 0; i < call->offset_count; i++) {
        if (call->answer != CLASSIC_OK)
            call->offsets[i].answer = call->answer;
        else
            commit_one(step, call, &call->offsets[i]);
    }
    group = group_find(step->m, call->base.group);
    if (group == NULL || group->has_record || step_has_members(group) || group->offset_count == 0)
        return;
    /* Offsets without members: the group's own record says since when. */
    struct group_record r = {.type = GROUP_RECORD_GROUP, .kind = GROUP_KIND_NONE, .empty_since_ms = step->now->wall_ms};
    memcpy(r.group, group->name, sizeof r.group);
    r.generation = group->generation;
    step_propose(step, &r);
    if (step_offsets_retention_us(step->m) >= 0)
        step_due_at(step->m, step_add_us(step->now->mono_us, step_offsets_retention_us(step->m)));
}

/* ---- looking up ------------------------------------------------------------------------------------- */

static void tell_offset(struct classic_call *call, const struct group_topic *t, uint32_t p, struct classic_offset *to)
{
    const struct offset *o = t == NULL || p >= t->slot_count ? NULL : t->slots[p].offset;
    to->off = o == NULL ? -1 : o->off;
    to->leader_epoch = o == NULL ? -1 : o->leader_epoch;
    to->metadata = o == NULL ? slice_of("", 0) : classic_keep(call, slice_of(o->metadata, o->metadata_bytes));
}

static int by_topic_and_partition(const void *a, const void *b)
{
    const struct classic_offset *x = a, *y = b;
    int order = strcmp((const char *)x->topic.data, (const char *)y->topic.data);
    return order != 0 ? order : (x->partition > y->partition) - (x->partition < y->partition);
}

static void list_offsets(struct classic_call *call, const struct group *group)
{
    call->offset_count = 0;
    call->offsets = classic_take(call, group->offset_count * sizeof *call->offsets);
    if (call->offsets == NULL) {
        call->base.call.fault.err = KQ_NO_MEMORY;
        return;
    }
    for (const struct group_topic *t = group->topics; t != NULL; t = t->next) {
        struct slice name = t->doomed ? slice_of(NULL, 0) : classic_keep(call, slice_text(t->name));
        for (uint32_t p = 0; p < t->slot_count && name.data != NULL; p++) {
            if (t->slots[p].offset == NULL)
                continue;
            struct classic_offset *to = &call->offsets[call->offset_count++];
            *to = (struct classic_offset){.topic_id = t->id, .topic = name, .partition = p};
            tell_offset(call, t, p, to);
        }
    }
    qsort(call->offsets, call->offset_count, sizeof *call->offsets, by_topic_and_partition);
}

void classic_offsets(struct step *step, struct classic_call *call)
{
    const struct group *group = group_find(step->m, call->base.group);
    if (call->all) {
        call->offset_count = 0;
        if (group != NULL)
            list_offsets(call, group);
        return;
    }
    for (uint32_t i = 0; i < call->offset_count; i++) {
        struct classic_offset *to = &call->offsets[i];
        tell_offset(call, group == NULL ? NULL : group_find_topic(group, &to->topic_id), to->partition, to);
    }
}

/* ---- forgetting ---------------------------------------------------------------------------------------- */

static void forget_offset(struct step *step, const struct group_topic *t, uint32_t p)
{
    struct group_record r = step_record(t, GROUP_RECORD_OFFSET);
    r.partition = p;
    r.gone = true;
    step_propose(step, &r);
}

static void forget_group(struct step *step, struct classic_call *call)
{
    struct group *group;
    while ((group = group_find(step->m, call->base.group)) != NULL && group->offset_count > 0) {
        const struct group_topic *t = group->topics;
        while (t->offset_count == 0)
            t = t->next;
        step_drop_offset(step, t);
    }
    step_settle(step, call->base.group);
}

/* The offsets of a topic (NULL: of all) stay: somebody reads it. */
static void keep_offsets(struct classic_call *call, const struct slice *topic)
{
    for (uint32_t i = 0; i < call->offset_count; i++)
        if (call->offsets[i].answer == CLASSIC_OK && (topic == NULL || slice_equal(*topic, call->offsets[i].topic)))
            call->offsets[i].answer = CLASSIC_SUBSCRIBED;
}

/* What the member wants, as it has said. Where that cannot be read: all topics, as in Kafka. */
static void keep_what_member_reads(struct classic_call *call, const struct classic *c,
                                   const struct classic_member *member)
{
    struct kafka_consumer_subscription wants;
    struct kafka_arena arena;
    kafka_arena_init(&arena, CLASSIC_SUBSCRIPTION_MAX_BYTES);
    struct slice metadata =
        c->protocol == NULL ? slice_of(NULL, 0) : classic_metadata(c, member, slice_text(c->protocol));
    if (slice_is_absent(metadata) && member->protocol_count > 0)
        metadata = member->protocols[0].metadata; /* no round has ended yet */
    if (kafka_subscription_decode(metadata, &arena, &wants) == KQ_OK)
        for (int32_t i = 0; i < wants.topics.count; i++)
            keep_offsets(call, &wants.topics.at[i]);
    else
        keep_offsets(call, NULL);
    kafka_arena_fini(&arena);
}

/* Offsets of topics that members read are not forgotten. Members of another kind than consumers
 * read who knows what: then none is. */
static void keep_what_is_read(struct classic_call *call, const struct group *group)
{
    const struct classic *c = group->classic;
    for (const struct group_topic *t = group->topics; t != NULL; t = t->next) {
        const struct slice name = slice_text(t->name);
        if (t->claim_count > 0)
            keep_offsets(call, &name);
    }
    if (c == NULL || c->member_count == 0)
        return;
    if (c->protocol_type != NULL && strcmp(c->protocol_type, "consumer") != 0) {
        call->answer = CLASSIC_NOT_EMPTY;
        return;
    }
    for (const struct classic_member *member = c->first; member != NULL; member = member->next)
        if (!member->gone)
            keep_what_member_reads(call, c, member);
}

void classic_forget(struct step *step, struct classic_call *call)
{
    struct group *group = group_find(step->m, call->base.group);
    if (group == NULL)
        call->answer = CLASSIC_UNKNOWN_GROUP;
    else if (call->all && step_has_members(group))
        call->answer = CLASSIC_NOT_EMPTY;
    else if (!call->all)
        keep_what_is_read(call, group);
    if (call->answer != CLASSIC_OK)
        return;
    if (call->all) {
        forget_group(step, call);
        return;
    }
    for (uint32_t i = 0; i < call->offset_count; i++) {
        const struct classic_offset *o = &call->offsets[i];
        group = group_find(step->m, call->base.group);
        const struct group_topic *t = group == NULL ? NULL : group_find_topic(group, &o->topic_id);
        if (o->answer == CLASSIC_OK && t != NULL && o->partition < t->slot_count &&
            t->slots[o->partition].offset != NULL)
            forget_offset(step, t, o->partition);
    }
    step_settle(step, call->base.group);
}

/* ---- looking --------------------------------------------------------------------------------------------- */

static void look_at_member(struct classic_call *call, const struct classic *c, const struct classic_member *member,
                           struct classic_member_row *row)
{
    struct slice chosen = c->protocol == NULL ? slice_of(NULL, 0) : slice_text(c->protocol);
    bool stable = c->state == CLASSIC_STABLE;
    row->id = classic_keep(call, slice_text(member->id));
    row->instance = member->instance == NULL ? slice_of(NULL, 0) : classic_keep(call, slice_text(member->instance));
    row->client_id = classic_keep(call, slice_text(member->client_id));
    row->host = classic_keep(call, slice_text(member->host));
    row->metadata = stable ? classic_keep(call, classic_metadata(c, member, chosen)) : slice_of("", 0);
    row->assignment = stable ? classic_keep(call, member->assignment) : slice_of("", 0);
}

void classic_look(struct step *step, struct classic_call *call)
{
    const struct group *group = group_find(step->m, call->base.group);
    if (group == NULL) {
        call->answer = CLASSIC_UNKNOWN_GROUP;
        return;
    }
    const struct classic *c = group->classic;
    call->base.kind = group_has_classic(group) ? GROUP_KIND_CLASSIC : group->kind;
    call->state = c == NULL ? CLASSIC_EMPTY : c->state;
    if (c == NULL)
        return;
    call->protocol_type = classic_keep(call, slice_text(c->protocol_type == NULL ? "" : c->protocol_type));
    if (c->state == CLASSIC_STABLE)
        call->protocol = classic_keep(call, slice_text(c->protocol == NULL ? "" : c->protocol));
    call->members = classic_take(call, c->member_count * sizeof *call->members);
    for (const struct classic_member *member = c->first; member != NULL && call->members != NULL; member = member->next)
        if (!member->gone)
            look_at_member(call, c, member, &call->members[call->member_count++]);
}
