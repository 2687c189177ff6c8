#include "group/assign.h"

bool assign_free_partition(const struct group_topic *topic, uint32_t partition_count, uint32_t *partition)
{
    if (topic != NULL && topic->subscription_count >= partition_count)
        return false;
    for (uint32_t p = 0; p < partition_count; p++)
        if (topic == NULL || p >= topic->slot_count || topic->slots[p].subscription == NULL) {
            *partition = p;
            return true;
        }
    return false;
}

static bool gives_before(const struct claim *a, const struct claim *b)
{
    if (a->held_count != b->held_count)
        return a->held_count > b->held_count;
    if (a->session->live != b->session->live)
        return !a->session->live;
    return a->seen_us < b->seen_us;
}

struct subscription *assign_give_up(const struct group_topic *topic, const struct claim *except, uint32_t held_count)
{
    const struct claim *giver = NULL;
    for (const struct claim *c = topic->claims; c != NULL; c = c->next)
        if (c != except && (giver == NULL || gives_before(c, giver)))
            giver = c;
    if (giver == NULL || giver->held_count < held_count + ASSIGN_GIVE_UP_DIFFERENCE)
        return NULL;
    struct subscription *given = NULL;
    for (struct subscription *s = giver->held; s != NULL; s = s->next_held)
        if (given == NULL || s->used_us < given->used_us ||
            (s->used_us == given->used_us && s->partition > given->partition))
            given = s;
    return given;
}

struct claim *assign_next_claimant(const struct group_topic *topic)
{
    struct claim *best = NULL;
    for (struct claim *c = topic->claims; c != NULL; c = c->next)
        if (c->session->live && c->held_count < c->wanted && (best == NULL || c->held_count < best->held_count))
            best = c;
    return best;
}
