/*
 * A claim says how many partitions of a topic a session wants. A subscription that
 * its owner gives back or lets expire lowers the claim; one that is revoked does
 * not, so that it may come back when a partition is free.
 *
 * What the leader alone knows (who is connected, when an id was last used) is set
 * beside the records and starts anew with each coordinator.
 */
#include "group/group_step.h"

#include "base/clock.h"
#include "base/logger.h"
#include "base/require.h"
#include "base/slice.h"
#include "group/assign.h"

#include <stdlib.h>

/* ---- proposing ------------------------------------------------------------------- */

void step_propose(struct step *step, const struct group_record *r)
{
    struct group_machine *m = step->m;
    buf_reset(&m->key);
    buf_reset(&m->value);
    group_record_encode(r, &m->key, &m->value);
    REQUIRE(!m->key.bad);
    REQUIRE(!m->value.bad);
    machine_propose(step->turn, slice_of(m->key.data, m->key.len),
                    r->gone ? slice_of(NULL, 0) : slice_of(m->value.data, m->value.len));
}

struct group_record step_record(const struct group_topic *t, enum group_record_type type)
{
    struct group_record r = {.type = type, .topic_id = t->id};
    memcpy(r.group, t->group->name, sizeof r.group);
    memcpy(r.topic, t->name, sizeof r.topic);
    return r;
}

/* 0: the claim ends, unless it holds something. May free the claim and its topic. */
void step_propose_wanted(struct step *step, const struct claim *c, uint32_t wanted)
{
    struct group_record r = step_record(c->topic, GROUP_RECORD_CLAIM);
    r.session = c->session->key;
    r.wanted = wanted;
    r.partition_count = c->topic->partition_count;
    r.gone = wanted == 0;
    step_propose(step, &r);
}

int64_t step_session_timeout_us(const struct group_machine *m)
{
    return atomic_load_explicit(m->options.session_timeout_us, memory_order_relaxed);
}

int64_t step_offsets_retention_us(const struct group_machine *m)
{
    return atomic_load_explicit(m->options.offsets_retention_us, memory_order_relaxed);
}

void step_due_at(struct group_machine *m, int64_t us)
{
    if (us < m->next_us)
        m->next_us = us;
}

/* ---- events ------------------------------------------------------------------------ */

struct note {
    struct machine_note note;
    void (*notify)(void *context, const struct group_event *event);
    void *context;
    struct group_event event;
    char topic[GROUP_NAME_MAX_BYTES + 1];
};

static void deliver(struct machine_note *base, enum kq_err err)
{
    struct note *note = CONTAINER_OF(base, struct note, note);
    if (err == KQ_OK)
        note->notify(note->context, &note->event);
    free(note);
}

/* An event about s for session, or NULL: it is not connected. Sent
 * after the record behind it was proposed. An event that finds no memory is left
 * out: its id says "unknown" or expires, as for a session that is not connected. */
static struct note *make_note(const struct step *step, enum group_event_kind kind, const struct session *session,
                              const struct subscription *s)
{
    if (session == NULL || !session->live)
        return NULL;
    struct note *note = calloc(1, sizeof *note);
    if (note == NULL) {
        SAY_WARNING("out of memory: a session is not told that a subscription of %s changed", s->topic->name);
        return NULL;
    }
    note->note.deliver = deliver;
    note->notify = step->m->options.notify;
    note->context = step->m->options.context;
    memcpy(note->topic, s->topic->name, sizeof note->topic);
    note->event =
        (struct group_event){.kind = kind, .session = session->key, .topic = note->topic, .partition = s->partition};
    struct subscription_id id = {step->m->options.coordinator, s->partition, s->secret};
    (void)subscription_id_format(&id, note->event.id);
    return note;
}

static void send_note(struct step *step, struct note *note)
{
    if (note != NULL)
        machine_note(step->turn, &note->note);
}

void step_make_farewell(const struct step *step, const struct subscription *s, struct farewell *farewell)
{
    farewell->owner = make_note(step, GROUP_EVENT_REVOKED, s->claim->session, s);
    farewell->user = make_note(step, GROUP_EVENT_REVOKED, s->user, s);
}

void step_send_farewell(struct step *step, const struct farewell *farewell)
{
    send_note(step, farewell->owner);
    send_note(step, farewell->user);
}

/* ---- giving and taking ---------------------------------------------------------------- */

/* Takes the partition from whoever has it (who must have been told). */
struct subscription *step_grant(struct step *step, struct group_topic *t, const struct group_session *session,
                                uint32_t partition)
{
    struct group_record r = step_record(t, GROUP_RECORD_SUBSCRIPTION);
    r.partition = partition;
    r.session = *session;
    step->m->options.random(step->m->options.context, r.secret.bytes);
    step_propose(step, &r);
    struct subscription *s = t->slots[partition].subscription;
    s->used_us = step->now->mono_us;
    s->claim->seen_us = step->now->mono_us;
    t->group->changed = true;
    step_due_at(step->m, step_add_us(step->now->mono_us, step_session_timeout_us(step->m)));
    return s;
}

/* The owner gives it back or let it expire: it wants one less, and nothing at all
 * if that was its last and nobody is there. May free the topic. */
void step_give_back(struct step *step, struct subscription *s)
{
    struct claim *c = s->claim;
    uint32_t wanted = c->wanted > 0 ? c->wanted - 1 : 0;
    if (c->held_count == 1 && !c->session->live)
        wanted = 0;
    s->topic->group->changed = true;
    struct group_record r = step_record(s->topic, GROUP_RECORD_SUBSCRIPTION);
    r.partition = s->partition;
    r.gone = true;
    step_propose_wanted(step, c, wanted);
    step_propose(step, &r);
}

void step_fill(struct step *step, struct group_topic *t)
{
    uint32_t partition;
    struct claim *c;
    if (t->doomed)
        return;
    while ((c = assign_next_claimant(t)) != NULL && assign_free_partition(t, t->partition_count, &partition)) {
        struct session *session = c->session;
        const struct subscription *s = step_grant(step, t, &session->key, partition);
        send_note(step, make_note(step, GROUP_EVENT_ASSIGNED, session, s));
    }
}

bool step_has_members(const struct group *group)
{
    return group->claim_count > 0 || group_has_classic(group);
}

void step_settle(struct step *step, const char *name)
{
    struct group *group = group_find(step->m, name);
    if (group == NULL)
        return;
    if (group_has_classic(group)) { /* its record follows its rounds */
        group->changed = false;
        return;
    }
    bool members = step_has_members(group);
    bool empty = !members && group->offset_count == 0;
    if (!group->changed && !empty)
        return;
    group->changed = false;
    struct group_record r = {.type = GROUP_RECORD_GROUP, .gone = empty};
    memcpy(r.group, group->name, sizeof r.group);
    if (!empty) {
        r.kind = members ? GROUP_KIND_TEXT : GROUP_KIND_NONE;
        r.generation = group->generation + 1;
        r.empty_since_ms = members ? 0 : step->now->wall_ms;
        if (!members && step_offsets_retention_us(step->m) >= 0)
            step_due_at(step->m, step_add_us(step->now->mono_us, step_offsets_retention_us(step->m)));
    }
    step_propose(step, &r);
}

void step_fill_and_settle(struct step *step, const char *name, const struct uuid *topic_id)
{
    struct group *group = group_find(step->m, name);
    if (group == NULL)
        return;
    struct group_topic *t = group_find_topic(group, topic_id);
    if (t != NULL)
        step_fill(step, t);
    step_settle(step, name);
}

/* What of the topic has to be dropped one by one. */
static uint32_t count_items(const struct group_topic *t)
{
    uint32_t count = t->subscription_count + t->offset_count;
    for (const struct claim *c = t->claims; c != NULL; c = c->next)
        count += c->held_count == 0;
    return count;
}

static void drop_subscription(struct step *step, struct subscription *s)
{
    struct group_record r = step_record(s->topic, GROUP_RECORD_SUBSCRIPTION);
    r.partition = s->partition;
    r.gone = true;
    struct farewell farewell;
    step_make_farewell(step, s, &farewell);
    if (s->claim->held_count == 1)
        step_propose_wanted(step, s->claim, 0); /* the claim ends with its last */
    step_propose(step, &r);
    step_send_farewell(step, &farewell);
}

void step_drop_offset(struct step *step, const struct group_topic *t)
{
    uint32_t p = 0;
    while (t->slots[p].offset == NULL)
        p++;
    struct group_record r = step_record(t, GROUP_RECORD_OFFSET);
    r.partition = p;
    r.gone = true;
    step_propose(step, &r);
}

bool step_drop_topic(struct step *step, struct group_topic *t, uint32_t *left)
{
    t->group->changed = true;
    for (uint32_t items = count_items(t); items > 0; items--) {
        if (*left == 0)
            return false;
        (*left)--;
        if (t->claims == NULL)
            step_drop_offset(step, t);
        else if (t->claims->held != NULL)
            drop_subscription(step, t->claims->held);
        else
            step_propose_wanted(step, t->claims, 0);
    }
    return true;
}

/* ---- sessions ---------------------------------------------------------------------------- */

void step_revive(struct step *step, struct session *session)
{
    if (session->live)
        return;
    session->live = true;
    for (struct claim *c = session->claims; c != NULL; c = c->next_of_session) {
        c->seen_us = step->now->mono_us;
        step_due_at(step->m, step->now->mono_us);
    }
}

void step_use(struct step *step, struct subscription *s, const struct group_session *key)
{
    s->used_us = step->now->mono_us;
    if (key->id == 0)
        return;
    struct session *session = group_make_session(step->m, key);
    step_revive(step, session);
    group_set_user(step->m, s, session);
    if (s->user == NULL)
        s->claim->seen_us = step->now->mono_us;
}

void step_renew(struct step *step, const struct group_session *key)
{
    struct session *session = group_find_session(step->m, key);
    if (session == NULL)
        return;
    int64_t now_us = step->now->mono_us;
    for (struct claim *c = session->claims; c != NULL; c = c->next_of_session) {
        c->seen_us = now_us;
        for (struct subscription *s = c->held; s != NULL; s = s->next_held)
            s->used_us = now_us;
    }
    for (struct subscription *s = session->used; s != NULL; s = s->next_used)
        s->used_us = now_us;
    step_revive(step, session);
}

void step_drop_claim(struct step *step, struct claim *c)
{
    REQUIRE(c->held_count == 0);
    char name[GROUP_NAME_MAX_BYTES + 1];
    memcpy(name, c->topic->group->name, sizeof name);
    c->topic->group->changed = true;
    step_propose_wanted(step, c, 0);
    step_settle(step, name);
}

void step_session_closed(struct step *step, const struct group_session *key)
{
    struct session *session = group_find_session(step->m, key);
    if (session == NULL)
        return;
    session->live = false;
    for (struct claim *c = session->claims; c != NULL; c = c->next_of_session)
        if (c->held_count == 0) {
            c->seen_us = STEP_NEVER_SEEN_US;
            step_due_at(step->m, step->now->mono_us);
        }
    bool has_claims = session->claims != NULL;
    while (session->used != NULL) {
        bool last = session->used->next_used == NULL && !has_claims;
        group_set_user(step->m, session->used, NULL);
        if (last)
            return; /* the session went with it */
    }
}

void step_broker_gone(struct step *step, uint32_t broker_id)
{
    struct map_walk w;
    for (map_walk_init(&w, &step->m->sessions); map_walk_next(&w);) {
        struct group_session key = ((const struct session *)w.value)->key;
        if (key.broker_id == broker_id)
            step_session_closed(step, &key); /* no session goes but this one */
    }
}
