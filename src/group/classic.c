/*
 * The verbs of Kafka's classic protocol: join, sync, heartbeat, leave. Each looks, then
 * changes the round (classic_round.c).
 */
#include "group/classic.h"

#include "base/clock.h"
#include "base/require.h"
#include "group/classic_state.h"
#include "group/group_step.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- memory of an answer ------------------------------------------------------------------- */

struct classic_block {
    struct classic_block *next;
    max_align_t bytes[];
};

static void count(struct classic_call *call, int64_t bytes)
{
    if (call->memory == NULL)
        return;
    account_take(call->memory, bytes);
    call->counted_bytes += bytes;
}

void classic_park(struct classic_call *call)
{
    count(call, call->held_bytes);
}

void *classic_take(struct classic_call *call, size_t size_bytes)
{
    int64_t bytes = (int64_t)(sizeof(struct classic_block) + size_bytes + 1);
    bool room = call->memory == NULL || account_used(call->memory) + bytes <= 2 * call->memory->limit_bytes;
    struct classic_block *block = room ? calloc(1, (size_t)bytes) : NULL;
    if (block == NULL) {
        call->starved = true;
        return NULL;
    }
    count(call, bytes);
    block->next = call->blocks;
    call->blocks = block;
    return block->bytes;
}

struct slice classic_keep(struct classic_call *call, struct slice bytes)
{
    void *copy = slice_is_absent(bytes) ? NULL : classic_take(call, bytes.len);
    if (copy == NULL)
        return slice_of(NULL, 0);
    if (bytes.len > 0)
        memcpy(copy, bytes.data, bytes.len);
    return slice_of(copy, bytes.len);
}

void classic_call_fini(struct classic_call *call)
{
    for (struct classic_block *block = call->blocks, *next; block != NULL; block = next) {
        next = block->next;
        free(block);
    }
    call->blocks = NULL;
    if (call->counted_bytes != 0)
        (void)account_give(call->memory, call->counted_bytes);
    call->counted_bytes = 0;
    group_call_fini(&call->base);
}

/* ---- join -------------------------------------------------------------------------------------- */

/* Whoever asks for no more than before is let in: it is there already. */
static bool has_room_to_join(const struct step *step, const struct classic_call *call, const struct group *group)
{
    const struct classic_member *member =
        group == NULL || group->classic == NULL ? NULL : classic_find(group->classic, call->member_id);
    size_t bytes = classic_join_bytes(call);
    if (member != NULL && bytes <= classic_kept_bytes(member))
        return true;
    return classic_has_room(step->m->options.memory, sizeof *member + 2 * bytes + (size_t)call->held_bytes);
}

/* CLASSIC_OK, or why nobody can join so. */
static enum classic_answer check_join(const struct step *step, const struct classic_call *call,
                                      const struct group *group)
{
    if (call->protocol_count == 0 || call->protocol_count > CLASSIC_PROTOCOLS_MAX || call->protocol_type.len == 0)
        return CLASSIC_INCONSISTENT;
    size_t bytes = 0;
    for (uint32_t i = 0; i < call->protocol_count; i++)
        bytes += call->protocols[i].name.len + call->protocols[i].metadata.len;
    if (bytes > CLASSIC_METADATA_MAX_BYTES)
        return CLASSIC_TOO_LARGE;
    if (!has_room_to_join(step, call, group))
        return CLASSIC_FULL;
    if (group == NULL && call->member_id.len > 0)
        return CLASSIC_UNKNOWN_MEMBER;
    if (group == NULL)
        return step->m->groups.count >= GROUP_GROUPS_MAX ? CLASSIC_FULL : CLASSIC_OK;
    const struct classic *c = group->classic;
    if (group->claim_count > 0)
        return CLASSIC_INCONSISTENT; /* it has text subscriptions */
    if (c == NULL || c->member_count == 0)
        return CLASSIC_OK;
    if (c->protocol_type != NULL && !slice_equal_text(call->protocol_type, c->protocol_type))
        return CLASSIC_INCONSISTENT;
    for (uint32_t i = 0; i < call->protocol_count; i++) {
        bool all = true;
        for (const struct classic_member *member = c->first; member != NULL && all; member = member->next)
            all = member->gone || slice_equal_text(call->member_id, member->id) ||
                  classic_metadata(c, member, call->protocols[i].name).data != NULL;
        if (all)
            return CLASSIC_OK;
    }
    return CLASSIC_INCONSISTENT;
}

static void make_id(const struct step *step, const struct classic_call *call, char id[CLASSIC_TEXT_MAX_BYTES + 1])
{
    struct uuid random;
    const uint8_t *b = random.bytes;
    int most = CLASSIC_TEXT_MAX_BYTES - 37;
    struct slice prefix = call->instance.len > 0 ? call->instance : call->client_id;
    int len = prefix.len < (size_t)most ? (int)prefix.len : most;
    step->m->options.random(step->m->options.context, random.bytes);
    (void)snprintf(id, CLASSIC_TEXT_MAX_BYTES + 1,
                   "%.*s-%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", len,
                   prefix.data == NULL ? "" : (const char *)prefix.data, b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7],
                   b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]);
}

/* Waits for the round to end. */
static bool wait_for_round(struct step *step, struct group *group, struct classic_member *member,
                           struct classic_call *call)
{
    if (member->joins != NULL) /* it has asked again: who asked before is not there any more */
        classic_finish(step, member->joins, CLASSIC_REBALANCING, true);
    member->joins = call;
    member->joined = true;
    classic_park(call);
    classic_heard(step, member);
    classic_begin_round(step, group);
    classic_look_at_round(step, group);
    return false;
}

/* Somebody who was not a member. */
static bool join_new(struct step *step, struct group *group, const char *id, struct classic_call *call)
{
    struct classic *c = group->classic;
    if (c->protocol_type == NULL || c->member_count == 0)
        classic_set_text(&c->protocol_type, call->protocol_type);
    struct classic_member *member = classic_add(c, id, call);
    if (!classic_set_protocols(c, member, call)) {
        classic_remove(c, member);
        group_release(step->m, group);
        call->base.call.fault.err = KQ_NO_MEMORY;
        return true;
    }
    return wait_for_round(step, group, member, call);
}

/* A static member that was restarted has a new id, and (if it asks for the same) its old place. */
static bool replace_static(struct step *step, struct group *group, struct classic_member *before,
                           struct classic_call *call)
{
    struct classic *c = group->classic;
    char id[CLASSIC_TEXT_MAX_BYTES + 1];
    bool same = c->state == CLASSIC_STABLE && classic_same_protocols(c, before, call, true);
    bool led = c->leader != NULL && strcmp(c->leader, before->id) == 0;
    make_id(step, call, id);
    struct slice kept = classic_keep(call, before->assignment);
    if (call->starved)
        return true;
    classic_leave(step, group, before, CLASSIC_FENCED_INSTANCE);
    if (!same)
        return join_new(step, group, id, call);
    struct classic_member *member = classic_add(c, id, call);
    if (!classic_set_protocols(c, member, call)) {
        classic_remove(c, member);
        call->base.call.fault.err = KQ_NO_MEMORY;
        return true;
    }
    member->assignment = kept; /* until it is recorded, a moment later */
    if (led)
        classic_set_text(&c->leader, slice_text(id));
    classic_record(step, group, NULL);
    classic_heard(step, member);
    call->skip = led && call->may_skip;
    member->joins = call;
    classic_answer_join(step, group, member, false);
    if (led && !call->may_skip) { /* it would compute anew, and nobody would ask for it */
        call->leader = slice_of("", 0);
        call->member_count = 0;
    }
    return true;
}

static bool join_without_id(struct step *step, struct group *group, struct classic_call *call)
{
    struct classic *c = group->classic;
    char id[CLASSIC_TEXT_MAX_BYTES + 1];
    struct classic_member *before = call->instance.len > 0 ? classic_find_instance(c, call->instance) : NULL;
    if (before != NULL)
        return replace_static(step, group, before, call);
    make_id(step, call, id);
    if (!call->needs_id || call->instance.len > 0)
        return join_new(step, group, id, call);
    size_t len = strlen(id);
    struct classic_id *given = calloc(1, sizeof *given + len + 1);
    if (given == NULL) {
        call->base.call.fault.err = KQ_NO_MEMORY;
        return true;
    }
    memcpy(given->id, id, len);
    given->due_us = step_add_us(step->now->mono_us, (int64_t)call->session_ms * 1000);
    given->next = c->ids;
    c->ids = given;
    c->id_count++;
    classic_count_id(c, given, 1);
    step_due_at(step->m, given->due_us);
    call->member_id = classic_keep(call, slice_text(id));
    classic_finish(step, call, CLASSIC_ID_REQUIRED, false);
    return true;
}

static bool take_given_id(struct classic *c, struct slice id)
{
    for (struct classic_id **link = &c->ids; *link != NULL; link = &(*link)->next) {
        struct classic_id *given = *link;
        if (!slice_equal_text(id, given->id))
            continue;
        *link = given->next;
        c->id_count--;
        classic_count_id(c, given, -1);
        free(given);
        return true;
    }
    return false;
}

/* A member, again. */
static bool join_again(struct step *step, struct group *group, struct classic_member *member, struct classic_call *call)
{
    struct classic *c = group->classic;
    bool same = classic_same_protocols(c, member, call, false);
    bool leads = c->leader != NULL && strcmp(c->leader, member->id) == 0;
    if (!classic_set_protocols(c, member, call)) {
        call->base.call.fault.err = KQ_NO_MEMORY;
        return true;
    }
    /* Its answer was lost; or nothing has changed for a member that does not compute. */
    if (same && (c->state == CLASSIC_SYNCING || (c->state == CLASSIC_STABLE && !leads))) {
        classic_heard(step, member);
        member->joins = call;
        classic_answer_join(step, group, member, false);
        return true;
    }
    return wait_for_round(step, group, member, call);
}

/* Which member speaks; or why it may not. */
static enum classic_answer who_speaks(const struct group *group, struct slice id, struct slice instance,
                                      struct classic_member **member)
{
    const struct classic *c = group == NULL ? NULL : group->classic;
    *member = NULL;
    if (c == NULL)
        return CLASSIC_UNKNOWN_MEMBER;
    if (instance.len > 0) {
        *member = classic_find(c, id);
        if (*member != NULL && (*member)->instance != NULL && slice_equal_text(instance, (*member)->instance))
            return CLASSIC_OK;
        *member = NULL;
        return classic_find_instance(c, instance) != NULL ? CLASSIC_FENCED_INSTANCE : CLASSIC_UNKNOWN_MEMBER;
    }
    *member = classic_find(c, id);
    return *member == NULL ? CLASSIC_UNKNOWN_MEMBER : CLASSIC_OK;
}

static bool join(struct step *step, struct classic_call *call)
{
    struct group *group = group_find(step->m, call->base.group);
    struct classic_member *member = NULL;
    call->answer = check_join(step, call, group);
    if (call->answer != CLASSIC_OK)
        return true;
    if (group == NULL)
        group = group_make(step->m, call->base.group);
    struct classic *c = classic_make(group);
    if (call->member_id.len == 0) {
        if (c->member_count + c->id_count < CLASSIC_MEMBERS_MAX)
            return join_without_id(step, group, call);
        call->answer = CLASSIC_FULL;
        return true;
    }
    if (take_given_id(c, call->member_id)) {
        char id[CLASSIC_TEXT_MAX_BYTES + 1];
        memcpy(id, call->member_id.data, call->member_id.len);
        id[call->member_id.len] = '\0';
        return join_new(step, group, id, call);
    }
    call->answer = who_speaks(group, call->member_id, call->instance, &member);
    if (call->answer == CLASSIC_OK)
        return join_again(step, group, member, call);
    group_release(step->m, group);
    return true;
}

/* ---- sync, heartbeat, leave ------------------------------------------------------------------------ */

static bool fits(struct slice asked, const char *known)
{
    return slice_is_absent(asked) || (known != NULL && slice_equal_text(asked, known));
}

static enum classic_answer check_assignment(const struct step *step, const struct classic_call *call)
{
    size_t bytes = 0;
    for (uint32_t i = 0; i < call->row_count; i++) {
        if (call->rows[i].assignment.len > CLASSIC_METADATA_MAX_BYTES)
            return CLASSIC_TOO_LARGE;
        bytes += call->rows[i].assignment.len;
    }
    return classic_has_room(step->m->options.memory, bytes) ? CLASSIC_OK : CLASSIC_FULL;
}

static bool sync(struct step *step, struct classic_call *call)
{
    struct group *group = group_find(step->m, call->base.group);
    struct classic_member *member;
    call->answer = who_speaks(group, call->member_id, call->instance, &member);
    if (call->answer != CLASSIC_OK)
        return true;
    struct classic *c = group->classic;
    if (call->generation != (int32_t)c->generation)
        call->answer = CLASSIC_ILLEGAL_GENERATION;
    else if (!fits(call->protocol_type, c->protocol_type) || !fits(call->protocol, c->protocol))
        call->answer = CLASSIC_INCONSISTENT;
    else if (c->state == CLASSIC_JOINING)
        call->answer = CLASSIC_REBALANCING;
    if (call->answer != CLASSIC_OK)
        return true;
    classic_heard(step, member);
    if (c->state == CLASSIC_STABLE) {
        call->assignment = classic_keep(call, member->assignment);
        call->protocol_type = classic_keep(call, slice_text(c->protocol_type == NULL ? "" : c->protocol_type));
        call->protocol = classic_keep(call, slice_text(c->protocol == NULL ? "" : c->protocol));
        return true;
    }
    bool leads = c->leader != NULL && strcmp(c->leader, member->id) == 0;
    call->answer = leads ? check_assignment(step, call) : CLASSIC_OK;
    if (call->answer != CLASSIC_OK)
        return true;
    if (member->syncs != NULL)
        classic_finish(step, member->syncs, CLASSIC_REBALANCING, true);
    member->syncs = call;
    member->synced = true;
    classic_park(call);
    if (leads)
        classic_settle(step, group, call);
    return false;
}

static void heartbeat(struct step *step, struct classic_call *call)
{
    const struct group *group = group_find(step->m, call->base.group);
    struct classic_member *member;
    call->answer = who_speaks(group, call->member_id, call->instance, &member);
    if (call->answer != CLASSIC_OK)
        return;
    if (call->generation != (int32_t)group->classic->generation) {
        call->answer = CLASSIC_ILLEGAL_GENERATION;
        return;
    }
    classic_heard(step, member);
    if (group->classic->state == CLASSIC_JOINING)
        call->answer = CLASSIC_REBALANCING;
}

static enum classic_answer leave_one(struct step *step, struct group *group, const struct classic_member_row *row)
{
    struct classic *c = group == NULL ? NULL : group->classic;
    struct classic_member *member = NULL;
    if (c == NULL)
        return CLASSIC_UNKNOWN_MEMBER;
    if (row->id.len == 0 && row->instance.len > 0) /* an administrator removes a static member */
        member = classic_find_instance(c, row->instance);
    else if (row->instance.len == 0 && take_given_id(c, row->id))
        return CLASSIC_OK;
    enum classic_answer answer = member != NULL ? CLASSIC_OK : who_speaks(group, row->id, row->instance, &member);
    if (answer == CLASSIC_OK)
        classic_leave(step, group, member, CLASSIC_UNKNOWN_MEMBER);
    return answer;
}

static void leave(struct step *step, struct classic_call *call)
{
    struct group *group = group_find(step->m, call->base.group);
    bool left = false;
    call->row_answers = classic_take(call, call->row_count * sizeof *call->row_answers);
    if (call->row_answers == NULL) {
        call->base.call.fault.err = KQ_NO_MEMORY;
        return;
    }
    for (uint32_t i = 0; i < call->row_count; i++) {
        call->row_answers[i] = leave_one(step, group, &call->rows[i]);
        left |= call->row_answers[i] == CLASSIC_OK;
    }
    if (!left)
        return;
    if (group->classic->member_count > 0 && group->classic->state != CLASSIC_JOINING)
        classic_begin_round(step, group);
    classic_expire(step, call->base.group); /* the round may be at its end, the group empty */
}

static bool run_verb(struct step *step, struct classic_call *call)
{
    switch (call->base.verb) {
    case GROUP_JOIN:
        return join(step, call);
    case GROUP_SYNC:
        return sync(step, call);
    case GROUP_HEARTBEAT:
        heartbeat(step, call);
        return true;
    case GROUP_LEAVE:
        leave(step, call);
        return true;
    case GROUP_COMMIT_ALL:
        classic_commit(step, call);
        return true;
    case GROUP_OFFSETS:
        classic_offsets(step, call);
        return true;
    case GROUP_FORGET:
        classic_forget(step, call);
        return true;
    case GROUP_LOOK:
        classic_look(step, call);
        return true;
    default:
        break;
    }
    REQUIRE(false);
    return true;
}

bool classic_call_verb(struct step *step, struct classic_call *call)
{
    enum group_verb verb = call->base.verb;
    call->answer = CLASSIC_OK;
    if (verb == GROUP_JOIN || verb == GROUP_SYNC || verb == GROUP_OFFSETS || verb == GROUP_LOOK)
        call->memory = step->m->options.memory; /* the others' answers are no larger than what they ask */
    bool answered = run_verb(step, call);
    if (answered && call->starved)
        call->base.call.fault = (struct fault){.err = KQ_NO_MEMORY};
    return answered;
}
