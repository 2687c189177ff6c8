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

#endif
