#include "api/subscribe.h"

#include "api/route.h"
#include "base/require.h"

#include <stdlib.h>
#include <string.h>

static void finish(struct group_request *request, enum kq_err err)
{
    fault_set(&request->call.call.fault, err, "%s", err_text(err));
    request->done(request);
}

static void call_done(struct machine_call *call)
{
    struct group_request *request = CONTAINER_OF(call, struct group_request, call.call);
    request->done(request);
}

static void send_to(struct group_request *request, struct partition *coordinator,
                    void (*done)(struct machine_call *call))
{
    request->call.call.done = done;
    request->call.call.fault.err = KQ_OK;
    request->call.call.fault.text[0] = '\0';
    partition_call(coordinator, &request->call.call);
}

static void request_begin(struct broker *broker, struct group_request *request, enum group_verb verb)
{
    request->broker = broker;
    request->call.verb = verb;
    request->image = cluster_image(broker->cluster);
}

void group_request_fini(struct group_request *request)
{
    group_call_fini(&request->call);
    if (request->image != NULL)
        image_drop(&request->image);
}

/* ---- SUBSCRIBE: makes the offsets topic if this is the first group ------------------------ */

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
    const char *group = request->call.group;
    struct partition *coordinator = cluster_coordinator(request->image, group, strlen(group), NULL);
    if (coordinator == NULL)
        finish(request, KQ_COORDINATOR_LOADING);
    else
        send_to(request, coordinator, call_done);
}

void subscribe(struct broker *broker, struct group_request *request)
{
    request_begin(broker, request, GROUP_SUBSCRIBE);
    struct group_call *call = &request->call;
    struct image_topic *topic;
    enum kq_err err = route_topic(request->image, call->topic, strlen(call->topic), &topic, &call->call.fault);
    if (err != KQ_OK) {
        request->done(request);
        return;
    }
    call->topic_id = *image_topic_id(topic);
    call->partition_count = image_topic_partitions(topic);
    struct partition *coordinator = cluster_coordinator(request->image, call->group, strlen(call->group), NULL);
    if (coordinator != NULL) {
        send_to(request, coordinator, call_done);
        return;
    }
    request->ensure = (struct cluster_request){.done = offsets_topic_is_there};
    cluster_ensure_offsets_topic(broker->cluster, &request->ensure);
}

/* ---- by id, by group -------------------------------------------------------------------------- */

void group_request_send_to_id(struct broker *broker, struct group_request *request)
{
    request_begin(broker, request, request->call.verb);
    struct partition *coordinator = cluster_coordinator_at(request->image, request->call.id.coordinator);
    if (coordinator == NULL)
        finish(request, KQ_UNKNOWN_SUBSCRIPTION);
    else
        send_to(request, coordinator, call_done);
}

void group_request_send_to_group(struct broker *broker, struct group_request *request)
{
    request_begin(broker, request, request->call.verb);
    const char *group = request->call.group;
    struct partition *coordinator = cluster_coordinator(request->image, group, strlen(group), NULL);
    if (coordinator == NULL)
        finish(request, KQ_UNKNOWN_GROUP);
    else
        send_to(request, coordinator, call_done);
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

static void renew_next(struct group_request *request);

static void renew_done(struct machine_call *call)
{
    struct group_request *request = CONTAINER_OF(call, struct group_request, call.call);
    if (call->fault.err != KQ_OK) {
        request->done(request);
        return;
    }
    request->coordinator++;
    renew_next(request);
}

static void renew_next(struct group_request *request)
{
    struct partition *coordinator = cluster_coordinator_at(request->image, request->coordinator);
    if (coordinator != NULL) {
        send_to(request, coordinator, renew_done);
        return;
    }
    request->call.call.fault.err = KQ_OK;
    request->done(request);
}

void subscription_renew(struct broker *broker, struct group_request *request)
{
    request_begin(broker, request, GROUP_RENEW);
    request->coordinator = 0;
    renew_next(request);
}

/* ---- a session's end -------------------------------------------------------------------------------- */

static void closed_told(struct machine_call *call)
{
    struct group_call *group_call = CONTAINER_OF(call, struct group_call, call);
    group_call_fini(group_call);
    free(group_call);
}

void session_closed(struct broker *broker, const struct group_session *session)
{
    struct image *image = cluster_image(broker->cluster);
    uint32_t count = cluster_coordinator_count(image);
    for (uint32_t i = 0; i < count; i++) {
        struct partition *coordinator = cluster_coordinator_at(image, i);
        struct group_call *call = coordinator == NULL ? NULL : calloc(1, sizeof(*call));
        if (call == NULL)
            continue; /* its subscriptions expire by themselves */
        call->verb = GROUP_SESSION_CLOSED;
        call->session = *session;
        call->call.done = closed_told;
        partition_call(coordinator, &call->call);
    }
    image_drop(&image);
}
