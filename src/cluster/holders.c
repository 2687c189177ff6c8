#include "cluster/holders.h"

#include "base/require.h"

#include <stdlib.h>

void holders_drop(struct holders *h)
{
    if (h == NULL)
        return;
    uint32_t before = atomic_fetch_sub_explicit(&h->references, 1, memory_order_acq_rel);
    REQUIRE(before > 0);
    if (before > 1)
        return;
    free(h->founders);
    free(h->first);
    free(h->wanted);
    free(h->moving);
    free(h->changes);
    free(h->brokers);
    free(h->mixes);
    free(h);
}

struct holders *holders_hold(struct holders *h)
{
    (void)atomic_fetch_add_explicit(&h->references, 1, memory_order_relaxed);
    return h;
}

/* The last row of the broker that is not for later partitions. */
static const struct uuid *founder_incarnation(const struct metadata_topic *from, uint32_t broker, size_t p)
{
    const struct uuid *found = NULL;
    for (uint32_t i = 0; i < from->founder_count; i++)
        if (from->founders[i].broker == broker && from->founders[i].from <= p)
            found = &from->founders[i].incarnation;
    return found;
}

static void list_founders(struct holders *h, const struct metadata_topic *from)
{
    static const struct uuid unknown; /* of nobody: such a founder is never found here */
    for (size_t i = 0; i < (size_t)h->partition_count * h->founder_replicas; i++) {
        const struct uuid *incarnation = founder_incarnation(from, from->replicas[i], i / h->founder_replicas);
        h->founders[i] = (struct raft_member){.broker_id = from->replicas[i],
                                              .incarnation = incarnation == NULL ? unknown : *incarnation};
    }
}

/* The brokers of p: the wanted ones, then those that are to leave. */
static void list_holders(struct holders *h, const struct metadata_topic *from, uint32_t p)
{
    struct metadata_replica target[METADATA_REPLICAS_MAX];
    struct metadata_replica present[METADATA_REPLICAS_MAX];
    uint32_t target_count = metadata_target(from, p, target);
    uint32_t present_count = metadata_present(from, p, present);
    uint32_t at = h->first[p];
    for (uint32_t i = 0; i < target_count; i++, at++) {
        h->brokers[at] = target[i].broker;
        h->mixes[at] = target[i].mix;
    }
    for (uint32_t i = 0; i < present_count; i++) {
        bool stays = false;
        for (uint32_t k = 0; k < target_count; k++)
            stays |= target[k].broker == present[i].broker;
        if (stays)
            continue;
        h->brokers[at] = present[i].broker;
        h->mixes[at++] = present[i].mix;
    }
    h->first[p + 1] = at;
    h->wanted[p] = (uint8_t)target_count;
    h->changes[p] = from->changed != NULL && from->changed[p] != NULL ? from->changed[p]->changes : 0;
    h->moving[p] = from->changed != NULL && from->changed[p] != NULL && from->changed[p]->wanted_count > 0;
}

static size_t most_holders(const struct metadata_topic *from)
{
    size_t most = 0;
    for (uint32_t p = 0; p < from->partition_count; p++) {
        const struct metadata_partition *changed = from->changed == NULL ? NULL : from->changed[p];
        most += changed == NULL ? from->replica_count : changed->present_count + changed->wanted_count;
    }
    return most;
}

struct holders *holders_make(const struct metadata_topic *from)
{
    struct holders *h = calloc(1, sizeof *h);
    if (h == NULL)
        return NULL;
    atomic_init(&h->references, 1);
    h->partition_count = from->partition_count;
    h->founder_replicas = from->founder_count == 0 ? 0 : from->replica_count;
    size_t most = most_holders(from);
    h->founders = calloc((size_t)h->partition_count * h->founder_replicas + 1, sizeof *h->founders);
    h->first = calloc((size_t)h->partition_count + 1, sizeof *h->first);
    h->wanted = calloc(h->partition_count, sizeof *h->wanted);
    h->moving = calloc(h->partition_count, sizeof *h->moving);
    h->changes = calloc(h->partition_count, sizeof *h->changes);
    h->brokers = calloc(most, sizeof *h->brokers);
    h->mixes = calloc(most, sizeof *h->mixes);
    if (h->founders == NULL || h->first == NULL || h->wanted == NULL || h->moving == NULL || h->changes == NULL ||
        h->brokers == NULL || h->mixes == NULL) {
        holders_drop(h);
        return NULL;
    }
    list_founders(h, from);
    for (uint32_t p = 0; p < h->partition_count; p++)
        list_holders(h, from, p);
    return h;
}
