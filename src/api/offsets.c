#include "api/offsets.h"

#include "api/route.h"
#include "base/require.h"

#include <stdlib.h>
#include <string.h>

/* When the end has to be asked of another broker. */
struct end_asked {
    struct reader reader;
    struct group_request *request;
};

static bool is_beyond(struct group_request *request, int64_t end_off)
{
    if (request->call.off <= end_off)
        return false;
    (void)fault_set(&request->call.call.fault, KQ_OFFSET_OUT_OF_RANGE,
                    "offset %lld is beyond the end of the log, which is %lld", (long long)request->call.off,
                    (long long)end_off);
    return true;
}

static void end_known(struct reader *reader)
{
    struct end_asked *asked = CONTAINER_OF(reader, struct end_asked, reader);
    struct group_request *request = asked->request;
    struct broker *broker = reader->broker;
    struct fault fault = reader->fault;
    int64_t end_off = reader->high_watermark;
    reader_fini(reader);
    free(asked);
    if (fault.err != KQ_OK) {
        request->call.call.fault = fault;
        request->done(request);
    } else if (is_beyond(request, end_off)) {
        request->done(request);
    } else {
        group_request_send_to_id(broker, request);
    }
}

static void ask_end(struct broker *broker, struct group_request *request, const struct uuid *topic_id)
{
    struct end_asked *asked = calloc(1, sizeof(*asked));
    if (asked == NULL) {
        (void)fault_set(&request->call.call.fault, KQ_NO_MEMORY, "%s", err_text(KQ_NO_MEMORY));
        request->done(request);
        return;
    }
    asked->request = request;
    asked->reader = (struct reader){.broker = broker,
                                    .topic_id = *topic_id,
                                    .number = request->call.id.partition,
                                    .done = end_known,
                                    .strict = true};
    reader_init(&asked->reader);
    reader_bounds(&asked->reader);
}

/* The end may only grow, so a check before the coordinator's is good enough. */
static void check_and_commit(struct broker *broker, struct group_request *request)
{
    struct group_call *call = &request->call;
    struct image *image = cluster_image(broker->cluster);
    struct image_topic *topic;
    struct route route = {.kind = ROUTE_NOBODY};
    int64_t start_off, end_off = -1;
    enum kq_err err = route_topic(image, call->topic, strlen(call->topic), &topic, &call->call.fault);
    if (err == KQ_UNKNOWN_TOPIC && request->caught_up)
        err = route_unknown(call->topic, &request->ensure.fault, &call->call.fault);
    if (err == KQ_OK && route_check(topic, call->id.partition, NULL) != KQ_OK)
        err = fault_set(&call->call.fault, KQ_UNKNOWN_SUBSCRIPTION, "%s", err_text(KQ_UNKNOWN_SUBSCRIPTION));
    struct uuid topic_id = {{0}};
    bool known = false;
    if (err == KQ_OK) {
        topic_id = *image_topic_id(topic);
        route_find(broker, topic, call->id.partition, &route);
        known = route.local != NULL && fetch_bounds(route.local, &start_off, &end_off);
        if (known && call->off > end_off && route.kind == ROUTE_LOCAL)
            err = is_beyond(request, end_off) ? KQ_OFFSET_OUT_OF_RANGE : KQ_OK;
    }
    image_drop(&image);
    if (err != KQ_OK)
        request->done(request);
    else if (known && call->off <= end_off)
        group_request_send_to_id(broker, request);
    else
        ask_end(broker, request, &topic_id);
}

static void caught_up(struct cluster_request *ensure)
{
    struct group_request *request = CONTAINER_OF(ensure, struct group_request, ensure);
    check_and_commit(request->broker, request);
}

void offset_commit(struct broker *broker, struct group_request *request)
{
    request->call.verb = GROUP_COMMIT;
    request->broker = broker;
    struct image *image = cluster_image(broker->cluster);
    bool known = image_find(image, request->call.topic, strlen(request->call.topic)) != NULL;
    image_drop(&image);
    if (known) {
        check_and_commit(broker, request);
        return;
    }
    request->caught_up = true;
    request->ensure = (struct cluster_request){.done = caught_up};
    cluster_catch_up(broker->cluster, &request->ensure);
}
