/*
 * What ends by itself: subscriptions that nobody uses, claims of sessions that
 * never came back, what groups had of deleted topics, offsets of groups without
 * members.
 */
#include "base/clock.h"
#include "base/require.h"
#include "group/classic_state.h"
#include "group/group_step.h"

/* Things that end in one turn; the rest in the next, so that no turn is long and no
 * entry large. */
enum { EXPIRE_A_TURN = 100 };

/* One pass over a topic. Counts down *left. False: the topic may be gone. */
static bool expire_topic(struct step *step, struct group_topic *t, uint32_t *left)
{
    if (t->doomed)
        return !step_drop_topic(step, t, left);
    int64_t timeout_us = step_session_timeout_us(step->m);
    for (struct claim *c = t->claims; c != NULL; c = c->next) {
        if (c->held_count == 0 && !c->session->live) {
            int64_t due_us = step_add_us(c->seen_us, timeout_us);
            if (due_us <= step->now->mono_us && *left > 0) {
                (*left)--;
                step_drop_claim(step, c);
                return false;
            }
            step_due_at(step->m, due_us);
        }
        for (struct subscription *s = c->held; s != NULL; s = s->next_held) {
            int64_t due_us = step_add_us(s->used_us, timeout_us);
            if (due_us <= step->now->mono_us && *left > 0) {
                (*left)--;
                step_give_back(step, s);
                return false;
            }
            step_due_at(step->m, due_us);
        }
    }
    return true;
}

/* When the offsets of a group without members are forgotten. */
static int64_t forget_at_us(const struct step *step, const struct group *group)
{
    int64_t retention_us = step_offsets_retention_us(step->m);
    if (step_has_members(group) || group->offset_count == 0 || retention_us < 0)
        return CLOCK_NEVER;
    int64_t since_ms = group->empty_since_ms;
    for (const struct group_topic *t = group->topics; t != NULL; t = t->next)
        for (uint32_t p = 0; p < t->slot_count; p++)
            if (t->slots[p].offset != NULL && t->slots[p].offset->time_ms > since_ms)
                since_ms = t->slots[p].offset->time_ms;
    if (since_ms > step->now->wall_ms)
        since_ms = step->now->wall_ms; /* the wall clock went back */
    return step_add_us(step->now->mono_us - (step->now->wall_ms - since_ms) * 1000, retention_us);
}

/* Expires what it may of the group, then gives what is free to who wants it. */
static struct group *expire_and_fill(struct step *step, const char *name, uint32_t *left)
{
    struct group *group;
    bool whole = false;
    while (!whole && (group = group_find(step->m, name)) != NULL) {
        whole = true;
        for (struct group_topic *t = group->topics, *next; t != NULL && whole; t = next) {
            next = t->next;
            whole = expire_topic(step, t, left);
        }
    }
    if (group == NULL)
        return NULL;
    for (struct group_topic *t = group->topics; t != NULL; t = t->next)
        step_fill(step, t);
    step_settle(step, name);
    return group_find(step->m, name);
}

/* The offsets of a group that nobody has used for the retention. */
static void forget_offsets(struct step *step, const char *name, uint32_t *left)
{
    struct group *group;
    while (*left > 0 && (group = group_find(step->m, name)) != NULL && group->offset_count > 0) {
        const struct group_topic *t = group->topics;
        while (t->offset_count == 0)
            t = t->next;
        (*left)--;
        step_drop_offset(step, t);
    }
    step_settle(step, name);
}

static void expire_group(struct step *step, const char *name, uint32_t *left)
{
    classic_expire(step, name);
    struct group *group = expire_and_fill(step, name, left);
    int64_t forget_us = group == NULL ? CLOCK_NEVER : forget_at_us(step, group);
    if (forget_us <= step->now->mono_us)
        forget_offsets(step, name, left);
    else
        step_due_at(step->m, forget_us);
}

void step_expire(struct step *step)
{
    struct group_machine *m = step->m;
    uint32_t left = EXPIRE_A_TURN;
    m->next_us = CLOCK_NEVER;
    m->last_timeout_us = step_session_timeout_us(m);
    m->last_retention_us = step_offsets_retention_us(m);
    struct map_walk w;
    for (map_walk_init(&w, &m->groups); map_walk_next(&w);) {
        char name[GROUP_NAME_MAX_BYTES + 1];
        memcpy(name, ((const struct group *)w.value)->name, sizeof name);
        expire_group(step, name, &left);
    }
    if (left == 0)
        m->next_us = step->now->mono_us;
}
