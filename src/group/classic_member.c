/*
 * Members of a group of Kafka's classic protocol: their memory and their records.
 *
 * A replica that could not take a record in would differ from the others, so running out
 * of memory there stops the program (as in group_state.c).
 */
#include "group/classic_state.h"

#include "base/clock.h"
#include "base/require.h"
#include "group/group_step.h"
#include "proto/kafka/consumer_protocol.h"

#include <stdlib.h>

enum { HAS_INSTANCE = 1 };

/* ---- texts ------------------------------------------------------------------------------- */

static char *copy_text(struct slice text)
{
    char *copy = malloc(text.len + 1);
    REQUIRE(copy != NULL);
    if (text.len > 0)
        memcpy(copy, text.data, text.len);
    copy[text.len] = '\0';
    return copy;
}

void classic_set_text(char **to, struct slice text)
{
    char *copy = slice_is_absent(text) ? NULL : copy_text(text);
    free(*to);
    *to = copy;
}

/* ---- what is counted ---------------------------------------------------------------------- */

static void count(const struct classic *c, int64_t bytes)
{
    if (c->memory != NULL)
        account_take(c->memory, bytes);
}

bool classic_has_room(const struct account *memory, size_t bytes)
{
    return memory == NULL || account_used(memory) + (int64_t)bytes <= memory->limit_bytes;
}

size_t classic_join_bytes(const struct classic_call *call)
{
    size_t bytes = call->protocol_count * sizeof *call->protocols;
    for (uint32_t i = 0; i < call->protocol_count; i++)
        bytes += call->protocols[i].name.len + call->protocols[i].metadata.len;
    return bytes;
}

/* Where only its record is known, that has one of its protocols alone. */
size_t classic_kept_bytes(const struct classic_member *member)
{
    size_t bytes = member->protocol_count * sizeof *member->protocols;
    for (uint32_t i = 0; i < member->protocol_count; i++)
        bytes += member->protocols[i].name.len + member->protocols[i].metadata.len;
    return member->protocols != NULL ? bytes : (size_t)4 * member->recorded_bytes;
}

static void count_member(const struct classic *c, struct classic_member *member)
{
    size_t bytes = sizeof *member + member->recorded_bytes + strlen(member->id) + strlen(member->client_id) +
                   strlen(member->host) + (member->protocols != NULL ? classic_kept_bytes(member) : 0);
    count(c, (int64_t)bytes - member->counted_bytes);
    member->counted_bytes = (int64_t)bytes;
}

void classic_count_id(const struct classic *c, const struct classic_id *id, int sign)
{
    count(c, sign * (int64_t)(sizeof *id + strlen(id->id)));
}

static int64_t own_bytes(void)
{
    return (int64_t)(sizeof(struct group) + sizeof(struct classic));
}

/* ---- memory ------------------------------------------------------------------------------ */

struct classic *classic_make(struct group *group)
{
    if (group->classic != NULL)
        return group->classic;
    group->classic = calloc(1, sizeof *group->classic);
    REQUIRE(group->classic != NULL);
    group->classic->memory = group->memory;
    count(group->classic, own_bytes());
    map_init(&group->classic->by_id);
    group->classic->generation = group->generation;
    group->classic->round_due_us = CLOCK_NEVER;
    return group->classic;
}

static void free_member(const struct classic *c, struct classic_member *member)
{
    count(c, -member->counted_bytes);
    free(member->id);
    free(member->instance);
    free(member->client_id);
    free(member->host);
    free(member->recorded);
    free(member->protocols);
    free(member);
}

void classic_free(struct group *group)
{
    struct classic *c = group->classic;
    if (c == NULL)
        return;
    group->classic = NULL;
    for (struct classic_member *member = c->first, *next; member != NULL; member = next) {
        next = member->next;
        free_member(c, member);
    }
    for (struct classic_id *id = c->ids, *next; id != NULL; id = next) {
        next = id->next;
        classic_count_id(c, id, -1);
        free(id);
    }
    count(c, -own_bytes());
    map_fini(&c->by_id);
    free(c->recorded_type);
    free(c->recorded_protocol);
    free(c->recorded_leader);
    free(c->protocol_type);
    free(c->protocol);
    free(c->leader);
    free(c);
}

void classic_release(struct group *group)
{
    const struct classic *c = group->classic;
    if (c != NULL && c->first == NULL && c->ids == NULL && (group->kind != GROUP_KIND_CLASSIC || !group->has_record))
        classic_free(group);
}

static struct classic_member *find_any(const struct classic *c, struct slice id)
{
    return id.len == 0 ? NULL : map_get(&c->by_id, id.data, id.len);
}

struct classic_member *classic_find(const struct classic *c, struct slice id)
{
    struct classic_member *member = find_any(c, id);
    return member == NULL || member->gone ? NULL : member;
}

struct classic_member *classic_find_instance(const struct classic *c, struct slice instance)
{
    for (struct classic_member *member = c->first; member != NULL; member = member->next)
        if (!member->gone && member->instance != NULL && slice_equal_text(instance, member->instance))
            return member;
    return NULL;
}

static struct classic_member *add_member(struct classic *c, struct slice id)
{
    struct classic_member *member = calloc(1, sizeof *member);
    REQUIRE(member != NULL);
    member->id = copy_text(id);
    member->client_id = copy_text(slice_text(""));
    member->host = copy_text(slice_text(""));
    member->due_us = CLOCK_NEVER;
    member->prev = c->last;
    *(c->last != NULL ? &c->last->next : &c->first) = member;
    c->last = member;
    c->all_count++;
    c->member_count++;
    REQUIRE(map_put(&c->by_id, id.data, id.len, member, NULL));
    return member;
}

struct classic_member *classic_add(struct classic *c, const char *id, const struct classic_call *call)
{
    struct classic_member *member = add_member(c, slice_text(id));
    classic_set_text(&member->instance, call->instance);
    classic_set_text(&member->client_id, slice_is_absent(call->client_id) ? slice_text("") : call->client_id);
    classic_set_text(&member->host, slice_is_absent(call->host) ? slice_text("") : call->host);
    return member;
}

void classic_remove(struct classic *c, struct classic_member *member)
{
    REQUIRE(member->joins == NULL && member->syncs == NULL);
    *(member->prev != NULL ? &member->prev->next : &c->first) = member->next;
    *(member->next != NULL ? &member->next->prev : &c->last) = member->prev;
    c->all_count--;
    if (!member->gone)
        c->member_count--;
    REQUIRE(map_remove(&c->by_id, member->id, strlen(member->id)) == member);
    free_member(c, member);
}

/* ---- protocols ------------------------------------------------------------------------------ */

bool classic_set_protocols(struct classic *c, struct classic_member *member, const struct classic_call *call)
{
    struct classic_protocol *copy = malloc(classic_join_bytes(call) + 1);
    if (copy == NULL)
        return false;
    uint8_t *at = (uint8_t *)(copy + call->protocol_count);
    for (uint32_t i = 0; i < call->protocol_count; i++) {
        struct slice *to[2] = {&copy[i].name, &copy[i].metadata};
        const struct slice from[2] = {call->protocols[i].name, call->protocols[i].metadata};
        for (int k = 0; k < 2; k++) {
            if (from[k].len > 0)
                memcpy(at, from[k].data, from[k].len);
            *to[k] = slice_of(at, from[k].len);
            at += from[k].len;
        }
    }
    free(member->protocols);
    member->protocols = copy;
    member->protocol_count = call->protocol_count;
    member->session_ms = call->session_ms;
    member->rebalance_ms = call->rebalance_ms;
    count_member(c, member);
    return true;
}

struct slice classic_metadata(const struct classic *c, const struct classic_member *member, struct slice protocol)
{
    if (member->protocols == NULL)
        return c->recorded_protocol != NULL && slice_equal_text(protocol, c->recorded_protocol) ? member->metadata
                                                                                                : slice_of(NULL, 0);
    for (uint32_t i = 0; i < member->protocol_count; i++)
        if (slice_equal(member->protocols[i].name, protocol))
            return member->protocols[i].metadata;
    return slice_of(NULL, 0);
}

static bool same_topics(struct slice a, struct slice b)
{
    struct kafka_consumer_subscription x, y;
    struct kafka_arena arena;
    kafka_arena_init(&arena, 2 * CLASSIC_SUBSCRIPTION_MAX_BYTES);
    bool same = kafka_subscription_decode(a, &arena, &x) == KQ_OK &&
                kafka_subscription_decode(b, &arena, &y) == KQ_OK && x.topics.count == y.topics.count;
    for (int32_t i = 0; same && i < x.topics.count; i++)
        same = slice_equal(x.topics.at[i], y.topics.at[i]);
    kafka_arena_fini(&arena);
    return same;
}

bool classic_same_protocols(const struct classic *c, const struct classic_member *member,
                            const struct classic_call *call, bool by_topics)
{
    if (member->protocols != NULL && member->protocol_count != call->protocol_count)
        return false;
    for (uint32_t i = 0; i < call->protocol_count; i++) {
        const struct classic_protocol *p = &call->protocols[i];
        bool chosen = c->protocol != NULL && slice_equal_text(p->name, c->protocol);
        if (member->protocols == NULL && !chosen)
            continue; /* it was recorded with the one that was chosen */
        struct slice known = member->protocols == NULL ? member->metadata : member->protocols[i].metadata;
        if (member->protocols != NULL && !slice_equal(member->protocols[i].name, p->name))
            return false;
        if (!slice_equal(known, p->metadata) && !(by_topics && same_topics(known, p->metadata)))
            return false;
    }
    return true;
}

/* ---- records ----------------------------------------------------------------------------------- */

void classic_apply_group(struct group *group, const struct group_record *r)
{
    if (r->gone || r->kind != GROUP_KIND_CLASSIC) {
        if (group->classic != NULL) {
            classic_set_text(&group->classic->recorded_type, slice_of(NULL, 0));
            classic_set_text(&group->classic->recorded_protocol, slice_of(NULL, 0));
            classic_set_text(&group->classic->recorded_leader, slice_of(NULL, 0));
        }
        return;
    }
    struct classic *c = classic_make(group);
    classic_set_text(&c->recorded_type, r->protocol_type);
    classic_set_text(&c->recorded_protocol, r->protocol);
    classic_set_text(&c->recorded_leader, r->leader);
}

static struct slice take_text(struct cursor *c)
{
    size_t len = cursor_u8(c);
    const void *bytes = cursor_bytes(c, len);
    return bytes != NULL ? slice_of(bytes, len) : slice_text("");
}

static struct slice take_bytes(struct cursor *c)
{
    size_t len = cursor_le32(c);
    return slice_of(cursor_bytes(c, len), len);
}

static void read_recorded(const struct classic *c, struct classic_member *member)
{
    struct cursor in = cursor_over(member->recorded, member->recorded_bytes);
    uint8_t flags = cursor_u8(&in);
    struct slice instance = take_text(&in);
    classic_set_text(&member->instance, (flags & HAS_INSTANCE) != 0 ? instance : slice_of(NULL, 0));
    classic_set_text(&member->client_id, take_text(&in));
    classic_set_text(&member->host, take_text(&in));
    member->session_ms = (int32_t)cursor_le32(&in);
    member->rebalance_ms = (int32_t)cursor_le32(&in);
    member->metadata = take_bytes(&in);
    member->assignment = take_bytes(&in);
    count_member(c, member);
}

void classic_apply_member(struct group *group, const struct group_record *r)
{
    struct classic *c = r->gone ? group->classic : classic_make(group);
    struct classic_member *member = c == NULL ? NULL : find_any(c, r->member);
    if (r->gone) {
        if (member != NULL)
            classic_remove(c, member);
        return;
    }
    if (member == NULL)
        member = add_member(c, r->member);
    free(member->recorded);
    member->recorded = (uint8_t *)copy_text(r->body);
    member->recorded_bytes = (uint32_t)r->body.len;
    read_recorded(c, member);
}

void classic_name_record(const struct group *group, struct group_record *r)
{
    const struct classic *c = group->classic;
    if (c == NULL || group->kind != GROUP_KIND_CLASSIC)
        return;
    r->protocol_type = slice_text(c->recorded_type == NULL ? "" : c->recorded_type);
    r->protocol = slice_text(c->recorded_protocol == NULL ? "" : c->recorded_protocol);
    r->leader = slice_text(c->recorded_leader == NULL ? "" : c->recorded_leader);
}

/* ---- who leads -------------------------------------------------------------------------------------- */

static void refuse(struct classic_call **kept)
{
    struct classic_call *call = *kept;
    *kept = NULL;
    if (call == NULL)
        return;
    call->base.call.fault = (struct fault){.err = KQ_NOT_LEADER};
    call->base.call.done(&call->base.call);
}

/* What a reign knew and did not record ends with it. Who had not been recorded joins again as somebody else: if it
 * stayed, the next round here would wait for it until its session ends. */
static void forget_the_reign(struct classic *c)
{
    for (struct classic_member *member = c->first, *next; member != NULL; member = next) {
        next = member->next;
        refuse(&member->joins);
        refuse(&member->syncs);
        if (member->recorded == NULL) {
            classic_remove(c, member);
            continue;
        }
        c->member_count += member->gone;
        member->gone = member->joined = member->synced = false;
        free(member->protocols);
        member->protocols = NULL;
        member->protocol_count = 0;
        read_recorded(c, member);
    }
    for (struct classic_id *id = c->ids, *next; id != NULL; id = next) {
        next = id->next;
        classic_count_id(c, id, -1);
        free(id);
    }
    c->ids = NULL;
    c->id_count = 0;
}

void classic_leads(struct group *group, bool leads, const struct machine_now *now)
{
    struct classic *c = group->classic;
    if (c == NULL)
        return;
    forget_the_reign(c);
    for (struct classic_member *member = c->first; member != NULL; member = member->next)
        member->due_us = step_add_us(now->mono_us, (int64_t)member->session_ms * 1000);
    if (!leads)
        return;
    c->state = c->member_count > 0 ? CLASSIC_STABLE : CLASSIC_EMPTY;
    c->generation = group->generation;
    classic_set_text(&c->protocol_type, c->recorded_type == NULL ? slice_of(NULL, 0) : slice_text(c->recorded_type));
    classic_set_text(&c->protocol, c->recorded_protocol == NULL ? slice_of(NULL, 0) : slice_text(c->recorded_protocol));
    classic_set_text(&c->leader, c->recorded_leader == NULL ? slice_of(NULL, 0) : slice_text(c->recorded_leader));
}

bool group_has_classic(const struct group *group)
{
    return group->classic != NULL && (group->classic->member_count > 0 || group->classic->ids != NULL);
}

/* ---- the invariants ------------------------------------------------------------------------------------- */

void classic_check(const struct group *group)
{
    const struct classic *c = group->classic;
    if (c == NULL)
        return;
    uint32_t all = 0, present = 0, ids = 0;
    for (const struct classic_member *member = c->first; member != NULL; member = member->next) {
        all++;
        present += !member->gone;
        REQUIRE(find_any(c, slice_text(member->id)) == member);
        REQUIRE(member->joins == NULL || (c->state == CLASSIC_JOINING && member->joined && !member->gone));
        REQUIRE(member->syncs == NULL || (c->state == CLASSIC_SYNCING && !member->gone));
        REQUIRE(!member->gone || member->recorded != NULL);
        REQUIRE(member->recorded != NULL || member->protocols != NULL);
    }
    for (const struct classic_id *id = c->ids; id != NULL; id = id->next)
        ids++;
    REQUIRE(all == c->all_count && present == c->member_count && ids == c->id_count);
    REQUIRE(c->all_count == c->by_id.count);
    REQUIRE(present == 0 || group->claim_count == 0);
}
