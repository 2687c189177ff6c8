/*
 * A call on its way to a coordinator: to the replica here if that leads, else to the
 * broker that does (ASK_GROUP); again, elsewhere, while none of them leads.
 */
#include "api/route.h"
#include "api/subscribe.h"
#include "base/clock.h"
#include "base/require.h"
#include "group/group_wire.h"

#include <string.h>

enum { RETRY_FIRST_US = 5 * 1000, RETRY_MAX_US = 200 * 1000 };

static void send_once(struct group_request *request);
static void local_done(struct machine_call *call);
static void send_remote(struct group_request *request, uint32_t broker_id);

/* What it does is seen afterwards. */
static bool changes_something(enum group_verb verb)
{
    return verb == GROUP_SUBSCRIBE || verb == GROUP_COMMIT || verb == GROUP_UNSUBSCRIBE;
}

/* Whatever a later try met, an earlier one may have been taken. */
static void finish(struct group_request *request)
{
    struct fault *fault = &request->call.call.fault;
    if (request->maybe && fault->err != KQ_OK && fault->err != KQ_OUTCOME_UNKNOWN) {
        struct fault met = *fault;
        (void)fault_set(fault, KQ_OUTCOME_UNKNOWN,
                        "outcome unknown: the group's coordinator was lost before it answered; after that: %.200s",
                        fault_text(&met));
    }
    buf_fini(&request->question);
    request->answered(request);
}

/* Sent twice, it does what it would have done once. */
static bool is_repeatable(enum group_verb verb)
{
    return verb != GROUP_SUBSCRIBE;
}

static void wait_fired(struct leader_wait *wait)
{
    struct group_request *request = CONTAINER_OF(wait, struct group_request, wait);
    image_drop(&request->image);
    request->image = cluster_image(request->broker->cluster);
    send_once(request);
}

/* Nobody coordinates, and none is to be expected: what is known to be committed is enough for
 * reading. False: no replica is there that could say. */
static bool peek(struct group_request *request, const struct image_topic *topic, struct partition *local)
{
    struct group_call *call = &request->call;
    if (call->verb != GROUP_RESOLVE && call->verb != GROUP_PEEK)
        return false;
    call->verb = GROUP_PEEK;
    call->call.anywhere = true;
    if (local != NULL) {
        call->call.done = local_done;
        partition_call(local, &call->call);
        return true;
    }
    uint32_t count;
    const uint32_t *replicas = image_replicas(topic, request->coordinator, &count);
    for (uint32_t i = 0; i < count; i++)
        if (links_is_alive(cluster_links(request->broker->cluster), replicas[i])) {
            send_remote(request, replicas[i]);
            return true;
        }
    return false;
}

/* Nobody took it; another leader may. */
static void try_later(struct group_request *request)
{
    struct fault *fault = &request->call.call.fault;
    int64_t now_us = clock_mono_us(), pause_us = RETRY_FIRST_US;
    if (atomic_load_explicit(&request->broker->stopping, memory_order_relaxed)) {
        (void)fault_set(fault, KQ_STOPPING, "%s", err_text(KQ_STOPPING));
        finish(request);
        return;
    }
    if (request->once || now_us >= request->deadline_us) {
        if (request->maybe)
            (void)fault_set(
                fault, KQ_OUTCOME_UNKNOWN,
                "outcome unknown: the group's coordinator was lost before it answered, and none leads since");
        else
            (void)fault_set(fault, KQ_NO_LEADER,
                            "no leader: the group's coordinator (partition %u of %s) has none now; try again",
                            request->coordinator, CLUSTER_OFFSETS_TOPIC);
        finish(request);
        return;
    }
    for (uint32_t i = 0; i < request->tries && pause_us < RETRY_MAX_US; i++)
        pause_us *= 2;
    request->tries++;
    int64_t due_us = now_us + pause_us < request->deadline_us ? now_us + pause_us : request->deadline_us;
    if (!leader_wait_begin(&request->broker->waits, &request->wait, due_us)) {
        (void)fault_set(fault, KQ_STOPPING, "%s", err_text(KQ_STOPPING));
        finish(request);
    }
}

static void answered(struct group_request *request, bool lost)
{
    struct group_call *call = &request->call;
    struct fault *fault = &call->call.fault;
    if (lost || fault->err == KQ_OUTCOME_UNKNOWN) {
        if (!is_repeatable(call->verb)) {
            (void)fault_set(fault, KQ_OUTCOME_UNKNOWN,
                            "outcome unknown: the group's coordinator was lost before it answered; what it may have "
                            "given expires when it is not used");
            finish(request);
            return;
        }
        request->maybe = changes_something(call->verb);
        try_later(request);
        return;
    }
    switch (fault->err) {
    case KQ_NOT_LEADER:
    case KQ_NO_LEADER:
    case KQ_STOPPING:
    case KQ_AGAIN:
    case KQ_FULL:
    case KQ_LIMIT: /* of a link */
    case KQ_COORDINATOR_LOADING:
        try_later(request);
        return;
    case KQ_UNKNOWN_SUBSCRIPTION: /* the earlier attempt has ended it */
        if (call->verb == GROUP_UNSUBSCRIBE && request->maybe)
            *fault = (struct fault){.err = KQ_OK};
        if (call->verb == GROUP_PEEK)
            (void)fault_set(fault, KQ_NOT_ENOUGH_REPLICAS,
                            "not enough replicas: the group's coordinator has no majority, and the subscription is not "
                            "known where it was looked for; try again");
        break;
    default:
        break;
    }
    finish(request);
}

static void local_done(struct machine_call *call)
{
    answered(CONTAINER_OF(call, struct group_request, call.call), false);
}

static void remote_done(struct ask *ask)
{
    struct group_request *request = ask->owner;
    struct fault *fault = &request->call.call.fault;
    bool lost = ask->fault.err != KQ_OK && ask->maybe_delivered;
    *fault = ask->fault;
    if (fault->err == KQ_OK) {
        enum kq_err err = group_wire_answered(&request->call, ask->answer.data, ask->answer.len);
        if (err != KQ_OK)
            (void)fault_set(fault, err, "broker %u: %s", ask->broker_id, err_text(err));
    }
    buf_fini(&ask->answer);
    answered(request, lost);
}

static void send_remote(struct group_request *request, uint32_t broker_id)
{
    buf_fini(&request->question);
    buf_init(&request->question, GROUP_WIRE_QUESTION_MAX_BYTES);
    group_wire_ask(&request->call, request->coordinator, &request->question);
    if (request->question.bad) {
        (void)fault_set(&request->call.call.fault, KQ_NO_MEMORY, "%s", err_text(KQ_NO_MEMORY));
        finish(request);
        return;
    }
    request->part = (struct iovec){.iov_base = request->question.data, .iov_len = request->question.len};
    request->ask = (struct ask){
        .broker_id = broker_id,
        .verb = ASK_GROUP,
        .parts = &request->part,
        .part_count = 1,
        .deadline_us = request->deadline_us,
        .done = remote_done,
        .owner = request,
    };
    links_ask(cluster_links(request->broker->cluster), &request->ask);
}

static void send_once(struct group_request *request)
{
    struct route route;
    struct fault *fault = &request->call.call.fault;
    struct image_topic *topic = image_find(request->image, CLUSTER_OFFSETS_TOPIC, sizeof(CLUSTER_OFFSETS_TOPIC) - 1);
    if (topic == NULL || request->coordinator >= image_topic_partitions(topic)) {
        (void)fault_set(fault, KQ_COORDINATOR_LOADING, "%s", err_text(KQ_COORDINATOR_LOADING));
        finish(request);
        return;
    }
    request->wait.topic_id = *image_topic_id(topic);
    request->wait.partition = request->coordinator;
    *fault = (struct fault){.err = KQ_OK};
    group_call_fini(&request->call); /* what an earlier try was given, and nobody took over */
    route_find(request->broker, topic, request->coordinator, &route);
    switch (route.kind) {
    case ROUTE_LOCAL:
        request->call.call.done = local_done;
        partition_call(route.local, &request->call.call);
        return;
    case ROUTE_REMOTE:
        send_remote(request, route.broker_id);
        return;
    case ROUTE_NOBODY:
        try_later(request);
        return;
    case ROUTE_GONE:
        if (peek(request, topic, route.local))
            return;
        (void)route_fault(topic, request->coordinator, &route, fault);
        finish(request);
        return;
    }
}

void group_request_begin(struct broker *broker, struct group_request *request, enum group_verb verb)
{
    request->broker = broker;
    request->call.verb = verb;
    request->image = cluster_image(broker->cluster);
}

void group_send(struct group_request *request, uint32_t coordinator, void (*done)(struct group_request *request))
{
    int64_t patience_us = request->patience_us;
    if (patience_us == 0)
        patience_us = request->broker->config->forward_timeout_us;
    request->coordinator = coordinator;
    request->answered = done;
    request->deadline_us = clock_mono_us() + patience_us;
    request->tries = 0;
    request->maybe = false;
    request->wait = (struct leader_wait){.fire = wait_fired};
    send_once(request);
}
