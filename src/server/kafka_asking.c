#include "server/kafka_asking.h"

#include "api/route.h"
#include "base/require.h"

#include <stdlib.h>

int16_t asking_find_leader(struct kafka_call *call, const struct image *image, struct slice topic_name, int32_t p,
                           int32_t epoch, struct partition **partition, uint64_t *term)
{
    struct route route;
    const struct image_topic *topic = image_find(image, (const char *)topic_name.data, topic_name.len);
    if (topic == NULL || image_topic_internal(topic) || p < 0 || (uint32_t)p >= image_topic_partitions(topic))
        return KAFKA_ERR_UNKNOWN_TOPIC_OR_PARTITION;
    route_find(call->broker, topic, (uint32_t)p, &route);
    if (route.kind != ROUTE_LOCAL || route.local == NULL)
        return KAFKA_ERR_NOT_LEADER_OR_FOLLOWER;
    *partition = route.local;
    uint32_t leader = partition_leader(route.local, term);
    if (leader != 0 && leader != cluster_self(call->broker->cluster)) /* since it was looked for */
        return KAFKA_ERR_NOT_LEADER_OR_FOLLOWER;
    return kafka_check_epoch(epoch, *term);
}

static void asking_fini(struct kafka_call *call)
{
    struct asking *asking = call->own;
    for (uint32_t i = 0; i < asking->count; i++) {
        partition_drop(&asking->ones[i].partition);
        free(asking->ones[i].ask.producers);
    }
}

static void asking_less(struct asking *asking)
{
    if (atomic_fetch_sub_explicit(&asking->left, 1, memory_order_acq_rel) != 1)
        return;
    for (uint32_t i = 0; i < asking->count; i++)
        asking->fill(&asking->ones[i]);
    kafka_call_answered(asking->call);
}

/* The actor's turn. */
static void one_answered(struct partition_ask *ask)
{
    asking_less(CONTAINER_OF(ask, struct asking_one, ask)->asking);
}

struct asking *asking_new(struct kafka_call *call, size_t count, void (*fill)(struct asking_one *one))
{
    /* In the arena, whose limit bounds how many partitions one request can name. */
    struct asking *asking = kafka_arena_take(&call->arena, sizeof(*asking) + count * sizeof(asking->ones[0]));
    if (asking == NULL) {
        kafka_call_answered(call);
        return NULL;
    }
    memset(asking, 0, sizeof(*asking));
    asking->call = call;
    asking->fill = fill;
    atomic_init(&asking->left, 1);
    call->own = asking;
    call->fini = asking_fini;
    return asking;
}

void asking_add(struct asking *asking, struct partition *partition, const struct partition_ask *ask, void *answer)
{
    struct asking_one *one = &asking->ones[asking->count++];
    *one = (struct asking_one){.ask = *ask, .asking = asking, .partition = partition_hold(partition), .answer = answer};
    one->ask.done = one_answered;
}

void asking_send(struct asking *asking)
{
    atomic_fetch_add_explicit(&asking->left, asking->count, memory_order_relaxed);
    for (uint32_t i = 0; i < asking->count; i++)
        partition_ask(asking->ones[i].partition, &asking->ones[i].ask);
    asking_less(asking);
}
