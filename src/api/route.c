#include "api/route.h"

#include "base/require.h"
#include "cluster/links.h"

#include <stdio.h>

enum kq_err route_topic(struct image *image, const char *name, size_t name_bytes, struct image_topic **topic,
                        struct fault *fault)
{
    *topic = image_find(image, name, name_bytes);
    if (*topic == NULL)
        return fault_set(fault, KQ_UNKNOWN_TOPIC, "%s", err_text(KQ_UNKNOWN_TOPIC));
    if (image_topic_internal(*topic))
        return fault_set(fault, KQ_BAD_TOPIC_NAME, "topic name begins with __: it is the broker's own");
    return KQ_OK;
}

enum kq_err route_unknown(const char *name, const struct fault *caught_up, struct fault *fault)
{
    if (caught_up->err == KQ_OK)
        return fault_set(fault, KQ_UNKNOWN_TOPIC, "%s", err_text(KQ_UNKNOWN_TOPIC));
    return fault_set(fault, caught_up->err, "whether there is a topic %.100s cannot be told now: %s; try again", name,
                     fault_text(caught_up));
}

enum kq_err route_check(const struct image_topic *topic, uint32_t p, struct fault *fault)
{
    if (p >= image_topic_partitions(topic))
        return fault_set(fault, KQ_BAD_PARTITIONS, "topic %s has no partition %u: they go from 0 to %u",
                         image_topic_name(topic), p, image_topic_partitions(topic) - 1);
    return KQ_OK;
}

void route_find(struct broker *broker, const struct image_topic *topic, uint32_t p, struct route *route)
{
    uint32_t self = cluster_self(broker->cluster), count;
    const uint32_t *replicas = image_replicas(topic, p, &count);
    bool alone = count == 1 && replicas[0] == self;
    *route = (struct route){.local = image_partition(topic, p)};
    /* A sole voter opens its term with its first append: nothing is bound to the one before. */
    route->broker_id = route->local == NULL ? 0 : partition_leader(route->local, alone ? NULL : &route->term);
    if (route->broker_id != self)
        route->broker_id = cluster_leader(broker->cluster, image_topic_id(topic), p, &route->term);
    bool elsewhere = route->broker_id != 0 && route->broker_id != self;
    if (elsewhere && !links_is_alive(cluster_links(broker->cluster), route->broker_id))
        route->broker_id = 0; /* it is not heard any more: another will lead */
    if (route->broker_id == 0 && alone && route->local != NULL)
        route->broker_id = self; /* it opens: what is posted waits for that */
    if (route->broker_id == self && route->local == NULL)
        route->broker_id = 0;
    route->lost = route->broker_id == 0 && cluster_is_lost(broker->cluster, image_topic_id(topic), p);
    if (route->broker_id == self)
        route->kind = ROUTE_LOCAL;
    else if (route->broker_id != 0)
        route->kind = ROUTE_REMOTE;
    else if (route->lost || !cluster_majority_alive(broker->cluster, topic, p))
        route->kind = ROUTE_GONE;
    else
        route->kind = ROUTE_NOBODY;
    if (alone && route->kind == ROUTE_LOCAL)
        route->term = 0;
}

enum kq_err route_fault(const struct image_topic *topic, uint32_t p, const struct route *route, struct fault *fault)
{
    uint32_t count;
    const uint32_t *replicas = image_replicas(topic, p, &count);
    char brokers[128] = "";
    for (uint32_t i = 0, at = 0; i < count && at + 16 < sizeof(brokers); i++)
        at += (uint32_t)snprintf(brokers + at, sizeof(brokers) - at, "%s%u", i == 0 ? "" : ", ", replicas[i]);
    if (route->lost)
        return fault_set(
            fault, KQ_NOT_ENOUGH_REPLICAS,
            "not enough replicas: of partition %u of topic %s (on brokers %s) a majority of the replicas "
            "is lost for good; what is left is read, and `kafkaesque cluster status` says what can be done",
            p, image_topic_name(topic), brokers);
    if (route->kind == ROUTE_GONE)
        return fault_set(fault, KQ_NOT_ENOUGH_REPLICAS,
                         "not enough replicas: partition %u of topic %s is on broker%s %s, and %s; try again", p,
                         image_topic_name(topic), count == 1 ? "" : "s", brokers,
                         count == 1 ? "that is not alive" : "a majority of these is not alive");
    return fault_set(fault, KQ_NO_LEADER,
                     "no leader: partition %u of topic %s (on broker%s %s) has none now; try again", p,
                     image_topic_name(topic), count == 1 ? "" : "s", brokers);
}
