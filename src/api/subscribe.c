#include "api/subscribe.h"

#include "api/route.h"
#include "base/fnv.h"
#include "base/require.h"

#include <stdlib.h>
#include <string.h>

static void finish(struct group_request *request, enum kq_err err)
{
    fault_set(&request->call.call.fault, err, "%s", err_text(err));
    request->done(request);
}

static void answered(struct group_request *request)
{
    request->done(request);
}

void group_request_fini(struct group_request *request)
{
    group_call_fini(&request->call);
    if (request->image != NULL)
        image_drop(&request->image);
}

/* This broker may not know yet what is committed: asked once, before it says no. */
static void catch_up(struct group_request *request, void (*then)(struct cluster_request *ensure))
{
    request->caught_up = true;
    image_drop(&request->image);
    request->ensure = (struct cluster_request){.done = then};
    cluster_catch_up(request->broker->cluster, &request->ensure);
}

/* ---- SUBSCRIBE: makes the offsets topic if this is the first group ------------------------ */

static void subscribe_go_on(struct group_request *request);

static void topic_caught_up(struct cluster_request *ensure)
{
    struct group_request *request = CONTAINER_OF(ensure, struct group_request, ensure);
    request->image = cluster_image(request->broker->cluster);
    subscribe_go_on(request);
}

static void send_to_groups(struct group_request *request, uint32_t count)
{
    const char *group = request->call.group;
    group_send(request, fnv_partition(group, strlen(group), count), answered);
}

static void offsets_topic_is_there(struct cluster_request *ensure)
{
    struct group_request *request = CONTAINER_OF(ensure, struct group_request, ensure);
    if (ensure->fault.err != KQ_OK) {
        request->call.call.fault = ensure->fault;
        request->done(request);
        return;
    }
    image_drop(&request->image);
    request->image = cluster_image(request->broker->cluster);
    uint32_t count = cluster_coordinator_count(request->image);
    if (count > 0)
        send_to_groups(request, count);
    else if (!request->caught_up)
        catch_up(request, topic_caught_up); /* made by another broker, of which this one has yet to hear */
    else
        finish(request, KQ_COORDINATOR_LOADING);
}

static void subscribe_go_on(struct group_request *request)
{
    struct group_call *call = &request->call;
    struct image_topic *topic;
    enum kq_err err = route_topic(request->image, call->topic, strlen(call->topic), &topic, &call->call.fault);
    if (err == KQ_UNKNOWN_TOPIC && !request->caught_up) {
        catch_up(request, topic_caught_up);
        return;
    }
    if (err == KQ_UNKNOWN_TOPIC)
        (void)route_unknown(call->topic, &request->ensure.fault, &call->call.fault);
    if (err != KQ_OK) {
        request->done(request);
        return;
    }
    call->topic_id = *image_topic_id(topic);
    call->partition_count = image_topic_partitions(topic);
    uint32_t count = cluster_coordinator_count(request->image);
    if (count > 0) {
        send_to_groups(request, count);
        return;
    }
    request->ensure = (struct cluster_request){.done = offsets_topic_is_there};
    cluster_ensure_offsets_topic(request->broker->cluster, &request->ensure);
}

void subscribe(struct broker *broker, struct group_request *request)
{
    group_request_begin(broker, request, GROUP_SUBSCRIBE);
    subscribe_go_on(request);
}

/* ---- by id, by group -------------------------------------------------------------------------- */

static void id_caught_up(struct cluster_request *ensure)
{
    struct group_request *request = CONTAINER_OF(ensure, struct group_request, ensure);
    group_request_send_to_id(request->broker, request);
}

void group_request_send_to_id(struct broker *broker, struct group_request *request)
{
    group_request_begin(broker, request, request->call.verb);
    uint32_t count = cluster_coordinator_count(request->image);
    if (request->call.id.coordinator < count)
        group_send(request, request->call.id.coordinator, answered);
    else if (count == 0 && !request->caught_up)
        catch_up(request, id_caught_up);
    else
        finish(request, KQ_UNKNOWN_SUBSCRIPTION);
}

static void group_caught_up(struct cluster_request *ensure)
{
    struct group_request *request = CONTAINER_OF(ensure, struct group_request, ensure);
    group_request_send_to_group(request->broker, request);
}

void group_request_send_to_group(struct broker *broker, struct group_request *request)
{
    group_request_begin(broker, request, request->call.verb);
    uint32_t count = cluster_coordinator_count(request->image);
    if (count > 0)
        send_to_groups(request, count);
    else if (!request->caught_up)
        catch_up(request, group_caught_up);
    else
        finish(request, KQ_UNKNOWN_GROUP);
}

void subscription_resolve(struct broker *broker, struct group_request *request)
{
    request->call.verb = GROUP_RESOLVE;
    group_request_send_to_id(broker, request);
}

void subscription_end(struct broker *broker, struct group_request *request)
{
    request->call.verb = GROUP_UNSUBSCRIBE;
    group_request_send_to_id(broker, request);
}

/* ---- all coordinators, one after the other -------------------------------------------------------- */

static void renew_answered(struct group_request *request)
{
    uint32_t next = request->coordinator + 1;
    if (next < cluster_coordinator_count(request->image)) {
        group_send(request, next, renew_answered);
        return;
    }
    request->call.call.fault = (struct fault){.err = KQ_OK};
    request->done(request);
}

void subscription_renew(struct broker *broker, struct group_request *request)
{
    group_request_begin(broker, request, GROUP_RENEW);
    request->once = true; /* a coordinator that leads from now on gives everyone a full timeout */
    if (cluster_coordinator_count(request->image) > 0)
        group_send(request, 0, renew_answered);
    else
        request->done(request);
}

/* ---- a session's end -------------------------------------------------------------------------------- */

static void closed_told(struct group_request *request)
{
    group_request_fini(request);
    free(request);
}

void session_closed(struct broker *broker, const struct group_session *session)
{
    struct image *image = cluster_image(broker->cluster);
    uint32_t count = cluster_coordinator_count(image);
    image_drop(&image);
    for (uint32_t i = 0; i < count; i++) {
        struct group_request *request = calloc(1, sizeof(*request));
        if (request == NULL)
            return; /* its subscriptions expire by themselves */
        request->call.session = *session;
        group_request_begin(broker, request, GROUP_SESSION_CLOSED);
        group_send(request, i, closed_told);
    }
}
