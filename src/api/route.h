/* Topic and partition -> who leads it: a replica here, another broker, or nobody
 * that is known. */
#ifndef KQ_API_ROUTE_H
#define KQ_API_ROUTE_H

#include "api/broker.h"

enum route_kind {
    ROUTE_LOCAL,  /* the replica here leads */
    ROUTE_REMOTE, /* broker_id leads */
    ROUTE_NOBODY, /* nobody that is known: wait for one */
    ROUTE_GONE,   /* nobody, and a majority of those that hold it is known to be gone */
};

struct route {
    enum route_kind kind;
    struct partition *local; /* the replica here, whoever leads; borrowed while the image is held; NULL: none */
    uint32_t broker_id;      /* LOCAL, REMOTE: the leader */
    uint64_t term;           /* LOCAL, REMOTE: in which it leads, to bind publishes to; 0: to none */
    bool lost;               /* GONE: for good */
};

/* Any thread. KQ_UNKNOWN_TOPIC; the fault may be NULL. Internal topics are as good
 * as unknown to users. */
enum kq_err route_topic(struct image *image, const char *name, size_t name_bytes, struct image_topic **topic,
                        struct fault *fault);
/* Any thread. What to say of a topic that is not there after cluster_catch_up, which
 * ended so: KQ_UNKNOWN_TOPIC, or that it cannot be known. */
enum kq_err route_unknown(const char *name, const struct fault *caught_up, struct fault *fault);
/* Any thread. p is one of the topic's. Without a lock when the replica here leads. */
void route_find(struct broker *broker, const struct image_topic *topic, uint32_t p, struct route *route);
/* Any thread. KQ_BAD_PARTITIONS: there is no such partition. */
enum kq_err route_check(const struct image_topic *topic, uint32_t p, struct fault *fault);
/* Any thread. What to say of ROUTE_GONE: KQ_NOT_ENOUGH_REPLICAS; else, after waiting:
 * KQ_NO_LEADER. */
enum kq_err route_fault(const struct image_topic *topic, uint32_t p, const struct route *route, struct fault *fault);

#endif
