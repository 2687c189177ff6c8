#include "api/route.h"

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

enum kq_err route_partition(const struct image_topic *topic, uint32_t p, struct route *route, struct fault *fault)
{
    *route = (struct route){0};
    if (p >= image_topic_partitions(topic))
        return fault_set(fault, KQ_BAD_PARTITIONS, "topic %s has no partition %u: they go from 0 to %u",
                         image_topic_name(topic), p, image_topic_partitions(topic) - 1);
    route->local = image_partition(topic, p);
    if (route->local == NULL)
        return fault_set(fault, KQ_NO_LEADER, "no leader yet: partition %u of topic %s is being made; try again", p,
                         image_topic_name(topic));
    uint32_t count;
    route->leader_broker_id = image_replicas(topic, p, &count)[0];
    return KQ_OK;
}
