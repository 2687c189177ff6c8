#include "api/offsets.h"

#include "api/fetch.h"
#include "api/route.h"

#include <string.h>

/* The end may only grow, so a check before the coordinator's is good enough. */
static enum kq_err check_off(struct broker *broker, const struct group_call *call, struct fault *fault)
{
    struct image *image = cluster_image(broker->cluster);
    struct image_topic *topic;
    struct route route;
    enum kq_err err = route_topic(image, call->topic, strlen(call->topic), &topic, fault);
    if (err == KQ_OK && route_check(topic, call->id.partition, NULL) != KQ_OK)
        err = fault_set(fault, KQ_UNKNOWN_SUBSCRIPTION, "%s", err_text(KQ_UNKNOWN_SUBSCRIPTION));
    int64_t start_off, end_off;
    if (err == KQ_OK)
        route_find(broker, topic, call->id.partition, &route);
    if (err == KQ_OK && route.local != NULL && fetch_bounds(route.local, &start_off, &end_off) && call->off > end_off)
        err = fault_set(fault, KQ_OFFSET_OUT_OF_RANGE, "offset %lld is beyond the end of the log, which is %lld",
                        (long long)call->off, (long long)end_off);
    image_drop(&image);
    return err;
}

void offset_commit(struct broker *broker, struct group_request *request)
{
    request->call.verb = GROUP_COMMIT;
    if (check_off(broker, &request->call, &request->call.call.fault) != KQ_OK)
        request->done(request);
    else
        group_request_send_to_id(broker, request);
}
