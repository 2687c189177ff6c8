#include "api/serve.h"

#include "api/ask_wire.h"
#include "base/clock.h"
#include "base/require.h"
#include "cluster/links.h"
#include "group/group_wire.h"

#include <stdlib.h>

enum { EVENT_TIMEOUT_US = 5 * 1000 * 1000 };

struct partition *serve_find(struct broker *broker, const struct group_id *group)
{
    struct image *image = cluster_image(broker->cluster);
    struct image_topic *topic = image_find_id(image, &group->topic_id);
    struct partition *partition = topic == NULL ? NULL : image_partition(topic, group->partition);
    if (partition != NULL)
        partition = partition_hold(partition);
    image_drop(&image);
    return partition;
}

void serve_refuse(struct asked *asked, enum kq_err err)
{
    struct fault fault;
    (void)fault_set(&fault, err, "%s", err_text(err));
    ask_answer(asked, &fault, NULL, 0);
}

/* ---- ASK_PUBLISH -------------------------------------------------------------------------- */

struct served_publish {
    struct publish_request request;
    struct asked *asked;
    struct partition *partition;
};

/* An actor's turn. */
static void publish_done(struct publish_request *request)
{
    struct served_publish *served = CONTAINER_OF(request, struct served_publish, request);
    struct ask_published answer = {
        .base_off = request->base_off, .term = request->term, .log_start_off = request->log_start_off};
    uint8_t head[ASK_WIRE_HEAD_MAX_BYTES];
    struct iovec part = {.iov_base = head, .iov_len = ask_published_encode(&answer, head)};
    ask_answer(served->asked, &request->fault, &part, 1);
    partition_drop(&served->partition);
    free(served);
}

/* Receiver thread. */
static void serve_publish(void *context, struct asked *asked)
{
    struct ask_publish question;
    enum kq_err err = ask_publish_decode(&question, asked->body, asked->body_bytes);
    if (err != KQ_OK) {
        serve_refuse(asked, err);
        return;
    }
    struct partition *partition = serve_find(context, &question.group);
    struct served_publish *served = partition == NULL ? NULL : calloc(1, sizeof(*served));
    if (served == NULL) {
        serve_refuse(asked, partition == NULL ? KQ_NOT_LEADER : KQ_NO_MEMORY);
        partition_drop(&partition);
        return;
    }
    served->asked = asked;
    served->partition = partition;
    served->request = (struct publish_request){
        .done = publish_done,
        .batches = asked->body + question.head_bytes,
        .batches_bytes = (uint32_t)(asked->body_bytes - question.head_bytes),
        .record_count = question.record_count,
        .batch_count = question.batch_count,
        .deadline_us = clock_mono_us() + (int64_t)question.wait_ms * 1000,
        .in_term = question.in_term,
        .forwarded = true,
    };
    /* A crowded mailbox holds nobody back here: what a broker may have under way is
     * bounded by the memory that its own clients may take. */
    (void)partition_publish(partition, &served->request);
}

/* ---- ASK_GROUP ------------------------------------------------------------------------------- */

struct served_group {
    struct group_asked question;
    struct asked *asked;
    struct partition *partition;
};

static void served_group_free(struct served_group *served)
{
    group_call_fini(&served->question.call);
    partition_drop(&served->partition);
    free(served);
}

/* An actor's turn. */
static void group_done(struct machine_call *call)
{
    struct served_group *served = CONTAINER_OF(call, struct served_group, question.call.call);
    struct fault fault = call->fault;
    struct buf answer;
    buf_init(&answer, GROUP_WIRE_ANSWER_MAX_BYTES);
    if (fault.err == KQ_OK)
        group_wire_answer(&served->question.call, &answer);
    if (answer.bad)
        (void)fault_set(&fault, KQ_LIMIT, "the coordinator's answer is too large to be sent to another broker");
    struct iovec part = {.iov_base = answer.data, .iov_len = answer.len};
    ask_answer(served->asked, &fault, &part, fault.err == KQ_OK ? 1 : 0);
    buf_fini(&answer);
    served_group_free(served);
}

/* Receiver thread. */
static void serve_group(void *context, struct asked *asked)
{
    struct broker *broker = context;
    struct served_group *served = calloc(1, sizeof(*served));
    enum kq_err err = served == NULL ? KQ_NO_MEMORY : KQ_OK;
    if (err == KQ_OK)
        err = group_wire_asked(&served->question, asked->body, asked->body_bytes);
    if (err != KQ_OK) {
        serve_refuse(asked, err);
        free(served);
        return;
    }
    struct image *image = cluster_image(broker->cluster);
    struct partition *coordinator = cluster_coordinator_at(image, served->question.coordinator);
    if (coordinator != NULL)
        served->partition = partition_hold(coordinator);
    image_drop(&image);
    if (coordinator == NULL) {
        serve_refuse(asked, KQ_NOT_LEADER);
        served_group_free(served);
        return;
    }
    served->asked = asked;
    served->question.call.call.done = group_done;
    served->question.call.call.anywhere = served->question.call.verb == GROUP_PEEK;
    partition_call(served->partition, &served->question.call.call);
}

/* ---- ASK_EVENT ---------------------------------------------------------------------------------- */

struct event_ask {
    struct ask ask;
    struct buf question;
    struct iovec part;
};

static void event_told(struct ask *ask)
{
    struct event_ask *event = ask->owner;
    buf_fini(&ask->answer);
    buf_fini(&event->question);
    free(event);
}

void serve_tell(struct broker *broker, const struct group_event *event)
{
    struct event_ask *ask = calloc(1, sizeof(*ask));
    if (ask == NULL)
        return;
    buf_init(&ask->question, GROUP_WIRE_EVENT_MAX_BYTES);
    group_wire_event(event, &ask->question);
    if (ask->question.bad) {
        buf_fini(&ask->question);
        free(ask);
        return;
    }
    ask->part = (struct iovec){.iov_base = ask->question.data, .iov_len = ask->question.len};
    ask->ask = (struct ask){
        .broker_id = event->session.broker_id,
        .verb = ASK_EVENT,
        .parts = &ask->part,
        .part_count = 1,
        .deadline_us = clock_mono_us() + EVENT_TIMEOUT_US,
        .done = event_told,
        .owner = ask,
    };
    links_ask(cluster_links(broker->cluster), &ask->ask);
}

/* Receiver thread. */
static void serve_event(void *context, struct asked *asked)
{
    struct broker *broker = context;
    struct group_event event;
    char topic[GROUP_NAME_MAX_BYTES + 1];
    struct fault fault = {0};
    fault.err = group_wire_event_decode(&event, topic, asked->body, asked->body_bytes);
    if (fault.err == KQ_OK && event.session.broker_id == (uint32_t)broker->config->broker_id && broker->event != NULL)
        broker->event(broker->event_context, &event);
    ask_answer(asked, &fault, NULL, 0);
}

/* ---- all -------------------------------------------------------------------------------------------- */

void serve_start(struct broker *broker)
{
    struct links *links = cluster_links(broker->cluster);
    links_serve(links, ASK_PUBLISH, serve_publish, broker);
    links_serve(links, ASK_READ, serve_read, broker);
    links_serve(links, ASK_WATCH, serve_watch, broker);
    links_serve(links, ASK_GROUP, serve_group, broker);
    links_serve(links, ASK_EVENT, serve_event, broker);
}
