/* Topic and partition -> who serves it. On one broker that is always a partition
 * of its own; the struct leaves room for one that another broker leads. */
#ifndef KQ_API_ROUTE_H
#define KQ_API_ROUTE_H

#include "api/broker.h"

struct route {
    struct partition *local;   /* borrowed while the image is held; NULL: another broker leads it */
    uint32_t leader_broker_id; /* 0: none known */
};

/* Any thread. KQ_UNKNOWN_TOPIC; the fault may be NULL. Internal topics are as good
 * as unknown to users. */
enum kq_err route_topic(struct image *image, const char *name, size_t name_bytes, struct image_topic **topic,
                        struct fault *fault);
/* Any thread. KQ_BAD_PARTITIONS: there is no such partition. KQ_NO_LEADER: it is
 * there, and nobody serves it yet. */
enum kq_err route_partition(const struct image_topic *topic, uint32_t p, struct route *route, struct fault *fault);

#endif
