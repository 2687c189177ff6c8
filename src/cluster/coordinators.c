/*
 * The group machines behind the partitions of __consumer_offsets: what they get
 * from the broker (ids nobody can guess, a way to its sessions), and telling them
 * which topics are gone.
 */
#include "cluster/cluster_state.h"

#include "base/fnv.h"
#include "base/require.h"

#include <stdlib.h>
#include <sys/random.h>

static void fill_random(void *context, uint8_t bytes[UUID_BYTES])
{
    (void)context;
    REQUIRE(getrandom(bytes, UUID_BYTES, 0) == UUID_BYTES); /* never short below 256 bytes */
}

static void notify(void *context, const struct group_event *event)
{
    const struct cluster *c = context;
    c->options.notify(c->options.context, event);
}

struct group_machine *coordinator_new(struct cluster *c, uint32_t number)
{
    return group_machine_new(&(struct group_options){.coordinator = number,
                                                     .session_timeout_us = &c->options.config->session_timeout_us,
                                                     .offsets_retention_us = &c->options.config->offsets_retention_us,
                                                     .join_delay_us = &c->options.config->join_delay_us,
                                                     .memory = &c->groups_memory,
                                                     .random = fill_random,
                                                     .notify = notify,
                                                     .context = c});
}

struct drop_topics {
    struct group_call call;
    struct cluster_request currency;
    struct cluster *cluster;
    struct partition *coordinator;
};

/* A coordinator's turn. The image has all that was committed when the cluster was caught up
 * with just before, so a topic that the coordinator knows and that is not here is gone. */
static bool topic_exists(void *context, const struct uuid *topic_id)
{
    struct cluster *c = context;
    (void)pthread_mutex_lock(&c->lock);
    const struct hosted *h = reconcile_find(c, topic_id);
    bool there = h != NULL && !h->gone;
    (void)pthread_mutex_unlock(&c->lock);
    if (there || h != NULL)
        return there;
    struct image *image = cluster_image(c);
    there = image_find_id(image, topic_id) != NULL;
    image_drop(&image);
    return there;
}

static void end_drop(struct drop_topics *drop)
{
    struct cluster *c = drop->cluster;
    partition_drop(&drop->coordinator);
    free(drop);
    cluster_call_end(c);
}

static void drop_topics_done(struct machine_call *call)
{
    end_drop(CONTAINER_OF(call, struct drop_topics, call.call));
}

/* Any thread. */
static void current_now(struct cluster_request *request)
{
    struct drop_topics *drop = CONTAINER_OF(request, struct drop_topics, currency);
    if (request->fault.err != KQ_OK) {
        end_drop(drop);
        return;
    }
    drop->call.verb = GROUP_DROP_TOPICS;
    drop->call.exists = topic_exists;
    drop->call.exists_context = drop->cluster;
    drop->call.call.done = drop_topics_done;
    partition_call(drop->coordinator, &drop->call.call);
}

/* Without memory, or a controller, it is left to the next time (a topic deleted, a start,
 * another leader). */
void coordinator_drop_topics(struct cluster *c, struct partition *coordinator)
{
    struct drop_topics *drop = calloc(1, sizeof *drop);
    (void)pthread_mutex_lock(&c->lock);
    bool begin = drop != NULL && cluster_call_begin(c);
    (void)pthread_mutex_unlock(&c->lock);
    if (!begin) {
        free(drop);
        return;
    }
    drop->cluster = c;
    drop->coordinator = partition_hold(coordinator);
    drop->currency.done = current_now;
    cluster_catch_up(c, &drop->currency);
}

void coordinator_drop_topics_everywhere(struct cluster *c)
{
    struct image *image = cluster_image(c);
    for (uint32_t i = 0; i < cluster_coordinator_count(image); i++) {
        struct partition *coordinator = cluster_coordinator_at(image, i);
        if (coordinator != NULL)
            coordinator_drop_topics(c, coordinator);
    }
    image_drop(&image);
}

static void broker_gone_told(struct machine_call *call)
{
    free(CONTAINER_OF(call, struct group_call, call));
}

/* Those here that do not lead refuse it: whoever leads next gives nothing to a session
 * that has not called. */
void coordinator_broker_gone_everywhere(struct cluster *c, uint32_t broker_id)
{
    struct image *image = cluster_image(c);
    for (uint32_t i = 0; i < cluster_coordinator_count(image); i++) {
        struct partition *coordinator = cluster_coordinator_at(image, i);
        struct group_call *call = coordinator == NULL ? NULL : calloc(1, sizeof *call);
        if (call == NULL)
            continue;
        call->verb = GROUP_BROKER_GONE;
        call->session.broker_id = broker_id;
        call->call.done = broker_gone_told;
        partition_call(coordinator, &call->call);
    }
    image_drop(&image);
}

/* ---- finding one ---------------------------------------------------------------- */

uint32_t cluster_coordinator_count(const struct image *image)
{
    const struct image_topic *topic = image_find(image, CLUSTER_OFFSETS_TOPIC, sizeof CLUSTER_OFFSETS_TOPIC - 1);
    return topic == NULL ? 0 : image_topic_partitions(topic);
}

struct partition *cluster_coordinator_at(const struct image *image, uint32_t coordinator)
{
    const struct image_topic *topic = image_find(image, CLUSTER_OFFSETS_TOPIC, sizeof CLUSTER_OFFSETS_TOPIC - 1);
    return topic == NULL ? NULL : image_partition(topic, coordinator);
}

struct partition *cluster_coordinator(const struct image *image, const char *group, size_t group_bytes,
                                      uint32_t *coordinator)
{
    uint32_t count = cluster_coordinator_count(image);
    if (count == 0)
        return NULL;
    uint32_t number = fnv_partition(group, group_bytes, count);
    if (coordinator != NULL)
        *coordinator = number;
    return cluster_coordinator_at(image, number);
}
