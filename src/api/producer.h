/* Producer ids for exactly-once publishing. */
#ifndef KQ_API_PRODUCER_H
#define KQ_API_PRODUCER_H

#include "api/broker.h"

/* PRID: request->done is set; the answer is request->producer_id, with epoch 0.
 * See cluster.h for who owns the request when. */
static inline void producer_id_next(struct broker *broker, struct cluster_request *request)
{
    cluster_next_producer_id(broker->cluster, request);
}

/* Any thread. KQ_INVALID: the id was never given to anybody. */
static inline enum kq_err producer_id_check(struct broker *broker, int64_t id, struct fault *fault)
{
    struct image *image = cluster_image(broker->cluster);
    bool given = cluster_producer_id_given(broker->cluster, image, id);
    image_drop(&image);
    if (given)
        return KQ_OK;
    return fault_set(fault, KQ_INVALID, "producer id %lld was never given; PRID gives one", (long long)id);
}

#endif
