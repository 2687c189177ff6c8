/*
 * Rounds: from the first who joins to the assignment that everybody has.
 *
 * The round is the leader's memory. What a stable group is (its generation, who is in it,
 * who reads what) is recorded when the leader's assignment comes, and told when the
 * records are committed; so a new coordinator goes on with the last stable group, whose
 * members it takes to be there until their time is up.
 */
#include "base/clock.h"
#include "base/require.h"
#include "group/classic_state.h"
#include "group/group_step.h"

#include <stdlib.h>

/* ---- answering ----------------------------------------------------------------------------- */

void classic_finish(struct step *step, struct classic_call *call, enum classic_answer answer, bool kept)
{
    call->answer = answer;
    if (call->starved)
        call->base.call.fault = (struct fault){.err = KQ_NO_MEMORY};
    if (kept)
        machine_answer(step->turn, &call->base.call);
}

static struct slice text_or_absent(const char *text)
{
    return text == NULL ? slice_of(NULL, 0) : slice_text(text);
}

/* What the leader learns of all. */
static void tell_members(const struct classic *c, struct classic_call *call)
{
    call->members = classic_take(call, c->member_count * sizeof *call->members);
    for (const struct classic_member *member = c->first; member != NULL && call->members != NULL;
         member = member->next) {
        if (member->gone)
            continue;
        struct classic_member_row *row = &call->members[call->member_count++];
        row->id = classic_keep(call, slice_text(member->id));
        row->instance = classic_keep(call, text_or_absent(member->instance));
        row->metadata = classic_keep(call, classic_metadata(c, member, text_or_absent(c->protocol)));
    }
}

void classic_answer_join(struct step *step, struct group *group, struct classic_member *member, bool kept)
{
    const struct classic *c = group->classic;
    struct classic_call *call = member->joins;
    member->joins = NULL;
    call->generation = (int32_t)c->generation;
    call->protocol_type = classic_keep(call, text_or_absent(c->protocol_type));
    call->protocol = classic_keep(call, text_or_absent(c->protocol));
    call->leader = classic_keep(call, text_or_absent(c->leader));
    call->member_id = classic_keep(call, slice_text(member->id));
    if (c->leader != NULL && strcmp(c->leader, member->id) == 0)
        tell_members(c, call);
    classic_finish(step, call, CLASSIC_OK, kept);
}

static void answer_sync(struct step *step, const struct classic *c, struct classic_member *member)
{
    struct classic_call *call = member->syncs;
    member->syncs = NULL;
    if (call == NULL)
        return;
    call->assignment = classic_keep(call, member->assignment);
    call->protocol_type = classic_keep(call, text_or_absent(c->protocol_type));
    call->protocol = classic_keep(call, text_or_absent(c->protocol));
    classic_finish(step, call, CLASSIC_OK, true);
}

void classic_heard(struct step *step, struct classic_member *member)
{
    member->due_us = step_add_us(step->now->mono_us, (int64_t)member->session_ms * 1000);
    step_due_at(step->m, member->due_us);
}

/* ---- records -------------------------------------------------------------------------------- */

static struct group_record record_of(const struct group *group, enum group_record_type type)
{
    struct group_record r = {.type = type};
    memcpy(r.group, group->name, sizeof r.group);
    return r;
}

/* What the leader has assigned to this member; what it had before if there is no leader's word. */
static struct slice assigned(const struct classic_member *member, const struct classic_call *from_leader)
{
    for (uint32_t i = 0; from_leader != NULL && i < from_leader->row_count; i++)
        if (slice_equal_text(from_leader->rows[i].id, member->id))
            return from_leader->rows[i].assignment;
    return from_leader != NULL ? slice_of("", 0) : member->assignment;
}

static void put_text(struct buf *out, const char *text)
{
    size_t len = text == NULL ? 0 : strlen(text);
    buf_u8(out, (uint8_t)len);
    buf_put(out, text, len);
}

static void put_bytes(struct buf *out, struct slice bytes)
{
    buf_le32(out, (uint32_t)bytes.len);
    buf_put(out, bytes.data, bytes.len);
}

static void record_member(struct step *step, const struct group *group, const struct classic_member *member,
                          struct slice assignment)
{
    const struct classic *c = group->classic;
    struct group_record r = record_of(group, GROUP_RECORD_MEMBER);
    struct buf body;
    buf_init(&body, GROUP_RECORD_MAX_BYTES);
    buf_u8(&body, member->instance != NULL);
    put_text(&body, member->instance);
    put_text(&body, member->client_id);
    put_text(&body, member->host);
    buf_le32(&body, (uint32_t)member->session_ms);
    buf_le32(&body, (uint32_t)member->rebalance_ms);
    put_bytes(&body, classic_metadata(c, member, text_or_absent(c->protocol)));
    put_bytes(&body, assignment);
    REQUIRE(!body.bad);
    r.member = slice_text(member->id);
    r.body = slice_of(body.data, body.len);
    bool same = member->recorded != NULL && member->recorded_bytes == body.len &&
                memcmp(member->recorded, body.data, body.len) == 0;
    if (!same)
        step_propose(step, &r);
    buf_fini(&body);
}

/* Those that have left since the last record. */
static void record_gone(struct step *step, const struct group *group)
{
    for (struct classic_member *member = group->classic->first, *next; member != NULL; member = next) {
        next = member->next;
        if (!member->gone)
            continue;
        struct group_record r = record_of(group, GROUP_RECORD_MEMBER);
        char id[CLASSIC_TEXT_MAX_BYTES + 1];
        size_t len = strlen(member->id);
        REQUIRE(len < sizeof id);
        memcpy(id, member->id, len + 1);
        r.gone = true;
        r.member = slice_text(id);
        step_propose(step, &r); /* it goes with that */
    }
}

void classic_record(struct step *step, struct group *group, const struct classic_call *from_leader)
{
    struct classic *c = group->classic;
    record_gone(step, group);
    struct group_record r = record_of(group, GROUP_RECORD_GROUP);
    r.kind = GROUP_KIND_CLASSIC;
    r.generation = c->generation;
    r.protocol_type = text_or_absent(c->protocol_type);
    r.protocol = text_or_absent(c->protocol);
    r.leader = text_or_absent(c->leader);
    for (struct classic_member *member = c->first; member != NULL; member = member->next)
        record_member(step, group, member, assigned(member, from_leader));
    step_propose(step, &r); /* the metadata in the members' records is of the protocol that was chosen */
}

/* Nobody is left: offsets stay for their retention. */
static void become_empty(struct step *step, struct group *group)
{
    struct classic *c = group->classic;
    c->state = CLASSIC_EMPTY;
    c->round_due_us = CLOCK_NEVER;
    c->generation++;
    classic_set_text(&c->protocol, slice_of(NULL, 0));
    classic_set_text(&c->protocol_type, slice_of(NULL, 0));
    classic_set_text(&c->leader, slice_of(NULL, 0));
    if (!group->has_record && c->all_count == 0) {
        group_release(step->m, group);
        return;
    }
    struct group_record r = record_of(group, GROUP_RECORD_GROUP);
    r.kind = GROUP_KIND_NONE;
    r.generation = c->generation;
    r.empty_since_ms = step->now->wall_ms;
    record_gone(step, group);
    if (step_offsets_retention_us(step->m) >= 0)
        step_due_at(step->m, step_add_us(step->now->mono_us, step_offsets_retention_us(step->m)));
    step_propose(step, &r);
}

/* ---- a round ------------------------------------------------------------------------------------ */

static int64_t longest_rebalance_us(const struct classic *c)
{
    int64_t most_ms = 0;
    for (const struct classic_member *member = c->first; member != NULL; member = member->next)
        if (!member->gone && member->rebalance_ms > most_ms)
            most_ms = member->rebalance_ms;
    return most_ms * 1000;
}

static int64_t join_delay_us(const struct step *step)
{
    const _Atomic int64_t *delay_us = step->m->options.join_delay_us;
    return delay_us == NULL ? 0 : atomic_load_explicit(delay_us, memory_order_relaxed);
}

void classic_begin_round(struct step *step, struct group *group)
{
    struct classic *c = group->classic;
    int64_t now_us = step->now->mono_us;
    if (c->state == CLASSIC_JOINING) {
        /* Somebody new in a first round: a little longer, for those that come with it. */
        int64_t later_us = step_add_us(now_us, join_delay_us(step));
        if (c->first_round && join_delay_us(step) > 0)
            c->round_due_us = later_us < c->round_most_us ? later_us : c->round_most_us;
        step_due_at(step->m, c->round_due_us);
        return;
    }
    c->first_round = c->state == CLASSIC_EMPTY && join_delay_us(step) > 0;
    c->state = CLASSIC_JOINING;
    c->round_most_us = step_add_us(now_us, longest_rebalance_us(c));
    c->round_due_us = c->first_round ? step_add_us(now_us, join_delay_us(step)) : c->round_most_us;
    step_due_at(step->m, c->round_due_us);
    for (struct classic_member *member = c->first; member != NULL; member = member->next) {
        struct classic_call *syncs = member->syncs;
        member->syncs = NULL;
        member->joined = member->joins != NULL;
        member->synced = false;
        if (syncs != NULL)
            classic_finish(step, syncs, CLASSIC_REBALANCING, true);
    }
}

/* How many members know it, or 0 if one does not. */
static uint32_t votes_for(const struct classic *c, struct slice protocol)
{
    uint32_t votes = 0;
    for (const struct classic_member *member = c->first; member != NULL; member = member->next) {
        if (member->gone)
            continue;
        if (classic_metadata(c, member, protocol).data == NULL)
            return 0;
        votes++;
    }
    return votes;
}

/* The protocol that all know and most like best. */
static struct slice choose_protocol(const struct classic *c, const struct classic_member *asked)
{
    struct slice best = slice_of(NULL, 0);
    uint32_t most = 0;
    for (uint32_t i = 0; i < asked->protocol_count; i++) {
        struct slice candidate = asked->protocols[i].name;
        uint32_t votes = 0;
        if (votes_for(c, candidate) == 0)
            continue;
        for (const struct classic_member *member = c->first; member != NULL; member = member->next) {
            uint32_t k = 0;
            while (!member->gone && k < member->protocol_count && votes_for(c, member->protocols[k].name) == 0)
                k++;
            votes += !member->gone && k < member->protocol_count && slice_equal(member->protocols[k].name, candidate);
        }
        if (best.data == NULL || votes > most) {
            best = candidate;
            most = votes;
        }
    }
    return best;
}

/* Those that have not come again. A static member may be away: its place is kept until its session ends. */
static void drop_absent(struct step *step, struct group *group)
{
    struct classic *c = group->classic;
    for (struct classic_member *member = c->first, *next; member != NULL; member = next) {
        next = member->next;
        if (!member->gone && !member->joined && member->instance == NULL)
            classic_leave(step, group, member, CLASSIC_UNKNOWN_MEMBER);
    }
}

static void end_joining(struct step *step, struct group *group)
{
    struct classic *c = group->classic;
    drop_absent(step, group);
    const struct classic_member *first = c->first, *chooses = NULL;
    for (; first != NULL; first = first->next)
        if (!first->gone && first->joined && chooses == NULL)
            chooses = first;
    if (c->member_count == 0) {
        become_empty(step, group);
        return;
    }
    if (chooses == NULL) { /* static members alone, all away: until they come, or their sessions end */
        c->round_due_us = step_add_us(step->now->mono_us, longest_rebalance_us(c));
        step_due_at(step->m, c->round_due_us);
        return;
    }
    c->generation++;
    c->state = CLASSIC_SYNCING;
    c->first_round = false;
    c->round_due_us = step_add_us(step->now->mono_us, longest_rebalance_us(c));
    step_due_at(step->m, c->round_due_us);
    struct slice chosen = choose_protocol(c, chooses);
    classic_set_text(&c->protocol, chosen.data == NULL ? slice_text("") : chosen);
    const struct classic_member *leader = c->leader == NULL ? NULL : classic_find(c, slice_text(c->leader));
    if (leader == NULL || !leader->joined)
        classic_set_text(&c->leader, slice_text(chooses->id));
    for (struct classic_member *member = c->first; member != NULL; member = member->next) {
        if (member->gone || member->joins == NULL)
            continue;
        classic_heard(step, member);
        classic_answer_join(step, group, member, true);
    }
}

void classic_look_at_round(struct step *step, struct group *group)
{
    struct classic *c = group->classic;
    if (c->state != CLASSIC_JOINING || c->first_round || c->ids != NULL)
        return;
    for (const struct classic_member *member = c->first; member != NULL; member = member->next)
        if (!member->gone && !member->joined)
            return;
    end_joining(step, group);
}

void classic_settle(struct step *step, struct group *group, const struct classic_call *from_leader)
{
    struct classic *c = group->classic;
    REQUIRE(c->state == CLASSIC_SYNCING);
    classic_record(step, group, from_leader);
    c->state = CLASSIC_STABLE;
    c->round_due_us = CLOCK_NEVER;
    for (struct classic_member *member = c->first; member != NULL; member = member->next)
        answer_sync(step, c, member);
}

void classic_leave(struct step *step, struct group *group, struct classic_member *member, enum classic_answer why)
{
    struct classic *c = group->classic;
    struct classic_call *joins = member->joins, *syncs = member->syncs;
    member->joins = member->syncs = NULL;
    if (joins != NULL)
        classic_finish(step, joins, why, true);
    if (syncs != NULL)
        classic_finish(step, syncs, why, true);
    if (member->recorded == NULL) {
        classic_remove(c, member);
        return;
    }
    member->gone = true;
    member->joined = false;
    c->member_count--;
}

/* ---- time ------------------------------------------------------------------------------------------- */

static void expire_ids(struct step *step, struct classic *c)
{
    for (struct classic_id **link = &c->ids; *link != NULL;) {
        struct classic_id *id = *link;
        if (id->due_us > step->now->mono_us) {
            step_due_at(step->m, id->due_us);
            link = &id->next;
            continue;
        }
        *link = id->next;
        c->id_count--;
        classic_count_id(c, id, -1);
        free(id);
    }
}

static bool is_abandoned(const struct classic_call *call)
{
    return call->abandoned != NULL && atomic_load_explicit(call->abandoned, memory_order_relaxed);
}

/* True: somebody went. */
static bool expire_members(struct step *step, struct group *group)
{
    struct classic *c = group->classic;
    bool went = false;
    for (struct classic_member *member = c->first, *next; member != NULL; member = next) {
        next = member->next;
        bool late = c->state == CLASSIC_SYNCING && !member->synced && c->round_due_us <= step->now->mono_us;
        if (member->gone)
            continue;
        if (member->joins != NULL && !is_abandoned(member->joins) && member->due_us <= step->now->mono_us)
            classic_heard(step, member); /* its client is there */
        if (member->due_us > step->now->mono_us && !late) {
            step_due_at(step->m, member->due_us);
            continue;
        }
        classic_leave(step, group, member, CLASSIC_UNKNOWN_MEMBER);
        went = true;
    }
    return went;
}

void classic_expire(struct step *step, const char *name)
{
    struct group *group = group_find(step->m, name);
    if (group == NULL || group->classic == NULL)
        return;
    struct classic *c = group->classic;
    int64_t now_us = step->now->mono_us;
    expire_ids(step, c);
    bool went = expire_members(step, group);
    if (c->member_count == 0) {
        if (c->ids == NULL && c->state != CLASSIC_EMPTY)
            become_empty(step, group);
        else
            group_release(step->m, group);
        return;
    }
    if (went && c->state != CLASSIC_JOINING)
        classic_begin_round(step, group);
    if (c->state == CLASSIC_SYNCING && c->round_due_us <= now_us) { /* the leader has not said */
        classic_begin_round(step, group);
    } else if (c->state == CLASSIC_JOINING && c->round_due_us <= now_us) {
        c->first_round = false;
        end_joining(step, group);
    } else {
        classic_look_at_round(step, group);
    }
    group = group_find(step->m, name);
    if (group != NULL && group->classic != NULL && group->classic->state != CLASSIC_STABLE)
        step_due_at(step->m, group->classic->round_due_us);
}
