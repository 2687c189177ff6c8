/* The newest entries as they were appended, one copy for all followers: a ring without a
 * gap up to the log's end, bounded in bytes, given up as followers take them. */
#include "partition/actor_internal.h"

struct shared_entry *tail_at(const struct tail *tail, uint64_t idx)
{
    if (tail->count == 0)
        return NULL;
    uint64_t first_idx = tail->slots[tail->first]->idx;
    if (idx < first_idx || idx - first_idx >= tail->count)
        return NULL;
    return tail->slots[(tail->first + (uint32_t)(idx - first_idx)) & (tail->capacity - 1)];
}

static void tail_shift(struct tail *tail)
{
    struct shared_entry **slot = &tail->slots[tail->first];
    tail->bytes -= (*slot)->body_bytes;
    shared_entry_drop(slot);
    tail->first = (tail->first + 1) & (tail->capacity - 1);
    tail->count--;
}

static bool tail_grow(struct tail *tail)
{
    uint32_t capacity = tail->capacity == 0 ? 8 : 2 * tail->capacity;
    struct shared_entry **slots = calloc(capacity, sizeof(struct shared_entry *));
    if (slots == NULL)
        return false;
    for (uint32_t i = 0; i < tail->count; i++)
        slots[i] = tail->slots[(tail->first + i) & (tail->capacity - 1)];
    free(tail->slots);
    tail->slots = slots;
    tail->capacity = capacity;
    tail->first = 0;
    return true;
}

void actor_tail_clear(struct actor *actor)
{
    struct tail *tail = &actor->tail;
    while (tail->count > 0)
        tail_shift(tail);
    free(tail->slots);
    *tail = (struct tail){0};
}

/* Without memory for it the entry is read from the log again. */
void actor_tail_add(struct actor *actor, const struct log_entry *entry)
{
    struct tail *tail = &actor->tail;
    if (tail->count > 0 && tail_at(tail, entry->idx - 1) == NULL)
        actor_tail_clear(actor);
    struct shared_entry *shared = shared_entry_new(entry);
    if (shared == NULL || (tail->count == tail->capacity && !tail_grow(tail))) {
        shared_entry_drop(&shared);
        actor_tail_clear(actor);
        return;
    }
    tail->slots[(tail->first + tail->count) & (tail->capacity - 1)] = shared;
    tail->count++;
    tail->bytes += entry->body_bytes;
    while (tail->count > 1 && tail->bytes > TAIL_BYTES_MAX)
        tail_shift(tail);
}

void actor_tail_trim(struct actor *actor)
{
    struct tail *tail = &actor->tail;
    if (tail->count == 0)
        return;
    uint64_t least = UINT64_MAX;
    for (uint32_t i = 0; i < actor->raft.config.count; i++) {
        const struct raft_peer *peer = &actor->raft.peers[i];
        if (!raft_member_equal(&peer->member, &actor->raft.self) && peer->match < least)
            least = peer->match;
    }
    while (tail->count > 0 && tail->slots[tail->first]->idx <= least)
        tail_shift(tail);
}
