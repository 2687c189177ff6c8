/*
 * How a record changes the state, the same on every replica. Records come in any
 * order that a cleaner may leave (a SUBSCRIPTION before its owner's CLAIM), so
 * each one makes what it needs, and whatever has nothing left goes by itself.
 *
 * Memory: a replica that could not take a record in would differ from the others,
 * so running out of it here stops the program.
 */
#include "group/classic_state.h"

#include "base/require.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- finding ------------------------------------------------------------------- */

enum { SESSION_KEY_BYTES = 12 };

static void session_key(const struct group_session *session, uint8_t key[SESSION_KEY_BYTES])
{
    put_le32(key, session->broker_id);
    put_le64(key + 4, session->id);
}

static bool same_session(const struct group_session *a, const struct group_session *b)
{
    return a->broker_id == b->broker_id && a->id == b->id;
}

struct group *group_find(const struct group_machine *m, const char *name)
{
    return map_get(&m->groups, name, strlen(name));
}

struct group_topic *group_find_topic(const struct group *group, const struct uuid *topic_id)
{
    struct group_topic *t = group->topics;
    while (t != NULL && !uuid_equal(&t->id, topic_id))
        t = t->next;
    return t;
}

struct session *group_find_session(const struct group_machine *m, const struct group_session *key)
{
    uint8_t bytes[SESSION_KEY_BYTES];
    session_key(key, bytes);
    return map_get(&m->sessions, bytes, sizeof bytes);
}

struct claim *group_find_claim(const struct group_topic *topic, const struct group_session *session)
{
    struct claim *c = topic->claims;
    while (c != NULL && !same_session(&c->session->key, session))
        c = c->next;
    return c;
}

struct subscription *group_find_subscription(const struct group_machine *m, const struct uuid *secret)
{
    return map_get(&m->subscriptions, secret->bytes, UUID_BYTES);
}

/* ---- making ---------------------------------------------------------------------- */

static void *make(size_t size_bytes)
{
    void *p = calloc(1, size_bytes);
    REQUIRE(p != NULL);
    return p;
}

static void put(struct map *map, const void *key, size_t key_bytes, void *value)
{
    void *old;
    REQUIRE(map_put(map, key, key_bytes, value, &old));
    REQUIRE(old == NULL);
}

struct session *group_make_session(struct group_machine *m, const struct group_session *key)
{
    struct session *session = group_find_session(m, key);
    if (session != NULL)
        return session;
    session = make(sizeof *session);
    session->key = *key;
    uint8_t bytes[SESSION_KEY_BYTES];
    session_key(key, bytes);
    put(&m->sessions, bytes, sizeof bytes, session);
    return session;
}

struct group *group_make(struct group_machine *m, const char *name)
{
    struct group *group = group_find(m, name);
    if (group != NULL)
        return group;
    group = make(sizeof *group);
    (void)snprintf(group->name, sizeof group->name, "%s", name);
    group->memory = m->options.memory;
    put(&m->groups, name, strlen(name), group);
    return group;
}

static struct group_topic *make_topic(struct group *group, const struct group_record *r)
{
    struct group_topic *t = group_find_topic(group, &r->topic_id);
    if (t != NULL)
        return t;
    t = make(sizeof *t);
    t->group = group;
    t->id = r->topic_id;
    (void)snprintf(t->name, sizeof t->name, "%s", r->topic);
    t->next = group->topics;
    group->topics = t;
    return t;
}

static struct slot *make_slot(struct group_topic *t, uint32_t partition)
{
    if (partition >= t->slot_count) {
        uint32_t count = t->slot_count < 4 ? 4 : t->slot_count * 2;
        if (count <= partition)
            count = partition + 1;
        struct slot *slots = realloc(t->slots, count * sizeof *slots);
        REQUIRE(slots != NULL);
        memset(slots + t->slot_count, 0, (count - t->slot_count) * sizeof *slots);
        t->slots = slots;
        t->slot_count = count;
    }
    return &t->slots[partition];
}

static struct claim *make_claim(struct group_machine *m, struct group_topic *t, const struct group_session *key)
{
    struct claim *c = group_find_claim(t, key);
    if (c != NULL)
        return c;
    c = make(sizeof *c);
    c->topic = t;
    c->session = group_make_session(m, key);
    c->prev = t->last_claim;
    if (c->prev != NULL)
        c->prev->next = c;
    else
        t->claims = c;
    t->last_claim = c;
    t->claim_count++;
    t->group->claim_count++;
    c->next_of_session = c->session->claims;
    if (c->next_of_session != NULL)
        c->next_of_session->prev_of_session = c;
    c->session->claims = c;
    return c;
}

/* ---- letting go of what has nothing left ---------------------------------------- */

void group_session_release(struct group_machine *m, struct session *session)
{
    if (session->claims != NULL || session->used != NULL)
        return;
    uint8_t bytes[SESSION_KEY_BYTES];
    session_key(&session->key, bytes);
    REQUIRE(map_remove(&m->sessions, bytes, sizeof bytes) == session);
    free(session);
}

void group_release(struct group_machine *m, struct group *group)
{
    classic_release(group);
    if (group->has_record || group->topics != NULL || group->classic != NULL)
        return;
    REQUIRE(map_remove(&m->groups, group->name, strlen(group->name)) == group);
    free(group);
}

static void release_topic(struct group_topic *t)
{
    if (t->claim_count > 0 || t->offset_count > 0)
        return;
    REQUIRE(t->subscription_count == 0);
    struct group_topic **link = &t->group->topics;
    while (*link != t)
        link = &(*link)->next;
    *link = t->next;
    free(t->slots);
    free(t);
}

static void release_claim(struct group_machine *m, struct claim *c)
{
    if (c->wanted > 0 || c->held_count > 0)
        return;
    struct group_topic *t = c->topic;
    *(c->prev != NULL ? &c->prev->next : &t->claims) = c->next;
    *(c->next != NULL ? &c->next->prev : &t->last_claim) = c->prev;
    t->claim_count--;
    t->group->claim_count--;
    *(c->prev_of_session != NULL ? &c->prev_of_session->next_of_session : &c->session->claims) = c->next_of_session;
    if (c->next_of_session != NULL)
        c->next_of_session->prev_of_session = c->prev_of_session;
    group_session_release(m, c->session);
    free(c);
}

void group_set_user(struct group_machine *m, struct subscription *s, struct session *session)
{
    if (session == s->claim->session)
        session = NULL;
    struct session *before = s->user;
    if (before == session)
        return;
    if (before != NULL) {
        *(s->prev_used != NULL ? &s->prev_used->next_used : &before->used) = s->next_used;
        if (s->next_used != NULL)
            s->next_used->prev_used = s->prev_used;
        s->next_used = NULL;
        s->prev_used = NULL;
        s->user = NULL;
        group_session_release(m, before);
    }
    if (session != NULL) {
        s->user = session;
        s->next_used = session->used;
        if (s->next_used != NULL)
            s->next_used->prev_used = s;
        session->used = s;
    }
}

static void remove_subscription(struct group_machine *m, struct slot *slot)
{
    struct subscription *s = slot->subscription;
    if (s == NULL)
        return;
    slot->subscription = NULL;
    group_set_user(m, s, NULL);
    struct claim *c = s->claim;
    *(s->prev_held != NULL ? &s->prev_held->next_held : &c->held) = s->next_held;
    if (s->next_held != NULL)
        s->next_held->prev_held = s->prev_held;
    c->held_count--;
    s->topic->subscription_count--;
    s->topic->group->subscription_count--;
    REQUIRE(map_remove(&m->subscriptions, s->secret.bytes, UUID_BYTES) == s);
    free(s);
    release_claim(m, c);
}

static void remove_offset(struct group_topic *t, struct slot *slot)
{
    if (slot->offset == NULL)
        return;
    free(slot->offset);
    slot->offset = NULL;
    t->offset_count--;
    t->group->offset_count--;
}

/* ---- records ------------------------------------------------------------------------ */

static void apply_claim(struct group_machine *m, struct group_topic *t, const struct group_record *r)
{
    struct claim *c = r->gone ? group_find_claim(t, &r->session) : make_claim(m, t, &r->session);
    if (c == NULL)
        return;
    c->wanted = r->wanted;
    if (!r->gone)
        t->partition_count = r->partition_count;
    release_claim(m, c);
}

static void apply_subscription(struct group_machine *m, struct group_topic *t, const struct group_record *r)
{
    struct slot *slot = make_slot(t, r->partition);
    if (r->gone) {
        remove_subscription(m, slot);
        return;
    }
    struct claim *c = make_claim(m, t, &r->session);
    struct subscription *s = make(sizeof *s);
    *s = (struct subscription){.secret = r->secret, .topic = t, .partition = r->partition, .claim = c};
    s->next_held = c->held;
    if (s->next_held != NULL)
        s->next_held->prev_held = s;
    c->held = s;
    c->held_count++;
    remove_subscription(m, slot); /* after the new one is held, so that a claim of both stays */
    slot->subscription = s;
    t->subscription_count++;
    t->group->subscription_count++;
    put(&m->subscriptions, s->secret.bytes, UUID_BYTES, s);
}

static void apply_offset(struct group_topic *t, const struct group_record *r)
{
    struct slot *slot = make_slot(t, r->partition);
    remove_offset(t, slot);
    if (r->gone)
        return;
    struct offset *o = make(sizeof *o + r->metadata_bytes);
    o->off = r->off;
    o->time_ms = r->time_ms;
    o->leader_epoch = r->leader_epoch;
    o->metadata_bytes = r->metadata_bytes;
    if (r->metadata_bytes > 0)
        memcpy(o->metadata, r->metadata, r->metadata_bytes);
    slot->offset = o;
    t->offset_count++;
    t->group->offset_count++;
}

static void apply_group(struct group *group, const struct group_record *r)
{
    classic_apply_group(group, r);
    group->has_record = !r->gone;
    group->kind = r->kind;
    group->generation = r->generation;
    group->empty_since_ms = r->empty_since_ms;
}

void group_apply(struct group_machine *m, const struct group_record *r)
{
    struct group *group = r->gone ? group_find(m, r->group) : group_make(m, r->group);
    if (group == NULL)
        return;
    if (r->type == GROUP_RECORD_GROUP) {
        apply_group(group, r);
        group_release(m, group);
        return;
    }
    if (r->type == GROUP_RECORD_MEMBER) {
        classic_apply_member(group, r);
        group_release(m, group);
        return;
    }
    struct group_topic *t = r->gone ? group_find_topic(group, &r->topic_id) : make_topic(group, r);
    if (t == NULL)
        return;
    if (r->type == GROUP_RECORD_CLAIM)
        apply_claim(m, t, r);
    else if (r->type == GROUP_RECORD_SUBSCRIPTION)
        apply_subscription(m, t, r);
    else
        apply_offset(t, r);
    release_topic(t);
    group_release(m, group);
}

void group_clear(struct group_machine *m)
{
    struct map_walk w;
    for (map_walk_init(&w, &m->groups); map_walk_next(&w);) {
        struct group *group = w.value;
        while (group->topics != NULL) {
            struct group_topic *t = group->topics;
            group->topics = t->next;
            for (uint32_t p = 0; p < t->slot_count; p++) {
                free(t->slots[p].subscription);
                free(t->slots[p].offset);
            }
            for (struct claim *c = t->claims, *next; c != NULL; c = next) {
                next = c->next;
                free(c);
            }
            free(t->slots);
            free(t);
        }
        classic_free(group);
        free(group);
    }
    for (map_walk_init(&w, &m->sessions); map_walk_next(&w);)
        free(w.value);
    map_fini(&m->groups);
    map_fini(&m->sessions);
    map_fini(&m->subscriptions);
}

/* ---- the invariants ------------------------------------------------------------------ */

static void check_topic(const struct group_machine *m, const struct group_topic *t)
{
    uint32_t held = 0;
    uint32_t offsets = 0;
    uint32_t held_by_claims = 0;
    uint32_t claims = 0;
    for (uint32_t p = 0; p < t->slot_count; p++) {
        const struct subscription *s = t->slots[p].subscription;
        offsets += t->slots[p].offset != NULL;
        if (s == NULL)
            continue;
        held++;
        REQUIRE(s->partition == p);
        REQUIRE(s->topic == t);
        REQUIRE(s->claim->topic == t);
        REQUIRE(group_find_subscription(m, &s->secret) == s);
        REQUIRE(s->user == NULL || s->user->live);
        REQUIRE(s->user != s->claim->session);
    }
    for (const struct claim *c = t->claims; c != NULL; c = c->next) {
        uint32_t n = 0;
        for (const struct subscription *s = c->held; s != NULL; s = s->next_held, n++)
            REQUIRE(s->claim == c);
        REQUIRE(n == c->held_count);
        REQUIRE(c->held_count > 0 || c->wanted > 0);
        REQUIRE(!m->leads || c->held_count <= c->wanted);
        REQUIRE(group_find_session(m, &c->session->key) == c->session);
        held_by_claims += n;
        claims++;
    }
    REQUIRE(held == t->subscription_count);
    REQUIRE(held == held_by_claims);
    REQUIRE(offsets == t->offset_count);
    REQUIRE(claims == t->claim_count);
    REQUIRE(claims > 0 || offsets > 0);
}

void group_machine_check(const struct group_machine *m)
{
    TAG_CHECK(m, GROUP_TAG);
    size_t subscriptions = 0;
    struct map_walk w;
    for (map_walk_init(&w, &m->groups); map_walk_next(&w);) {
        const struct group *group = w.value;
        uint32_t held = 0;
        uint32_t offsets = 0;
        uint32_t claims = 0;
        for (const struct group_topic *t = group->topics; t != NULL; t = t->next) {
            check_topic(m, t);
            REQUIRE(t->group == group);
            held += t->subscription_count;
            offsets += t->offset_count;
            claims += t->claim_count;
        }
        REQUIRE(held == group->subscription_count);
        REQUIRE(offsets == group->offset_count);
        REQUIRE(claims == group->claim_count);
        REQUIRE(group->has_record || group->topics != NULL || group->classic != NULL);
        classic_check(group);
        REQUIRE(!group->changed);
        subscriptions += held;
    }
    REQUIRE(subscriptions == m->subscriptions.count);
    for (map_walk_init(&w, &m->sessions); map_walk_next(&w);) {
        const struct session *session = w.value;
        REQUIRE(session->claims != NULL || session->used != NULL);
        for (const struct claim *c = session->claims; c != NULL; c = c->next_of_session)
            REQUIRE(c->session == session);
        for (const struct subscription *s = session->used; s != NULL; s = s->next_used)
            REQUIRE(s->user == session);
    }
}
