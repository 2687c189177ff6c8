/*
 * The operator's orders: most are the metadata's to decide, wherever the controller is;
 * handing over leadership is asked of the leader.
 *
 *    body of ASK_TRANSFER: 16 topic id | u32 partition | u32 to (0: any). No answer but the error.
 *
 * A leader does not know whom its successor hears: with some links cut, one that hears it alone
 * could not lead, and the partition would stand still until it is led from here again. So the
 * broker `to` is asked first: told ASK_TRANSFER that names itself, it answers whether it hears a
 * majority of those that hold the partition.
 */
#include "cluster/cluster_state.h"

#include "base/clock.h"
#include "base/require.h"

#include <stdlib.h>

enum { TRANSFER_BODY_BYTES = UUID_BYTES + 8 };

/* ---- handing over ---------------------------------------------------------------------- */

/* Of the brokers that hold it now, and of those that are to. */
static enum kq_err hears_majority(struct cluster *c, const struct group_id *group, struct fault *fault)
{
    struct image *image = cluster_image(c);
    const struct image_topic *topic = image_find_id(image, &group->topic_id);
    enum kq_err err = KQ_OK;
    if (topic == NULL || group->partition >= image_topic_partitions(topic)) {
        err = KQ_UNKNOWN_TOPIC;
        *fault = (struct fault){.err = err};
    } else {
        struct image_holders holders = image_holders(topic, group->partition);
        uint32_t heard = links_alive_count(c->links, holders.brokers, holders.count);
        if (heard <= holders.count / 2)
            err = fault_set(fault, KQ_NOT_ENOUGH_REPLICAS,
                            "broker %u hears %u of the %u brokers that hold %.100s/%u, too few to lead it",
                            c->identity.broker_id, heard, holders.count, image_topic_name(topic), group->partition);
    }
    image_drop(&image);
    return err;
}

static void end_transfer(struct transfer *t, const struct fault *fault)
{
    t->fault = *fault;
    if (t->held != NULL)
        partition_drop(&t->held);
    t->done(t);
}

/* The actor's turn. */
static void local_done(struct partition_ask *ask)
{
    end_transfer(CONTAINER_OF(ask, struct transfer, local), &ask->fault);
}

static void remote_done(struct ask *ask)
{
    buf_fini(&ask->answer);
    end_transfer(ask->owner, &ask->fault);
}

static void ask_broker(struct transfer *t, uint32_t broker, void (*done)(struct ask *ask))
{
    memcpy(t->body, t->topic_id.bytes, UUID_BYTES);
    put_le32(t->body + UUID_BYTES, t->partition);
    put_le32(t->body + UUID_BYTES + 4, t->to);
    t->part = (struct iovec){.iov_base = t->body, .iov_len = TRANSFER_BODY_BYTES};
    t->ask = (struct ask){.broker_id = broker,
                          .verb = ASK_TRANSFER,
                          .parts = &t->part,
                          .part_count = 1,
                          .deadline_us = t->deadline_us,
                          .done = done,
                          .owner = t};
    links_ask(t->cluster->links, &t->ask);
}

static void hand_over(struct transfer *t)
{
    struct cluster *c = t->cluster;
    uint32_t leader = cluster_leader(c, &t->topic_id, t->partition, NULL);
    struct group_id group = {.topic_id = t->topic_id, .partition = t->partition};
    if (leader == 0) {
        struct fault fault;
        (void)fault_set(&fault, KQ_NO_LEADER, "nobody is known to lead the partition, so nobody can hand it over");
        end_transfer(t, &fault);
        return;
    }
    if (leader == c->identity.broker_id && (t->held = cluster_find_replica(c, &group)) != NULL) {
        t->local = (struct partition_ask){
            .question = PARTITION_ASK_TRANSFER, .to = t->to, .deadline_us = t->deadline_us, .done = local_done};
        partition_ask(t->held, &t->local);
        return;
    }
    ask_broker(t, leader, remote_done);
}

static void successor_said(struct ask *ask)
{
    struct transfer *t = ask->owner;
    struct fault fault = ask->fault;
    buf_fini(&ask->answer);
    if (fault.err == KQ_OK)
        hand_over(t);
    else
        end_transfer(t, &fault);
}

void transfer_begin(struct cluster *c, struct transfer *t)
{
    struct group_id group = {.topic_id = t->topic_id, .partition = t->partition};
    struct fault fault;
    t->held = NULL;
    t->cluster = c;
    if (t->to == 0 || (t->to == c->identity.broker_id && hears_majority(c, &group, &fault) == KQ_OK))
        hand_over(t);
    else if (t->to == c->identity.broker_id)
        end_transfer(t, &fault);
    else
        ask_broker(t, t->to, successor_said);
}

struct served_transfer {
    struct partition_ask ask;
    struct partition *partition;
    struct asked *asked;
};

static void served_done(struct partition_ask *ask)
{
    struct served_transfer *s = CONTAINER_OF(ask, struct served_transfer, ask);
    ask_answer(s->asked, &ask->fault, NULL, 0);
    partition_drop(&s->partition);
    free(s);
}

void orders_serve_transfer(void *context, struct asked *asked)
{
    struct cluster *c = context;
    struct fault fault = {.err = KQ_OK};
    struct cursor body = cursor_over(asked->body, asked->body_bytes);
    struct group_id group = {.partition = 0};
    cursor_copy(&body, group.topic_id.bytes, UUID_BYTES);
    group.partition = cursor_le32(&body);
    uint32_t to = cursor_le32(&body);
    struct served_transfer *s = calloc(1, sizeof *s);
    if (body.bad || cursor_left(&body) != 0)
        fault.err = KQ_GARBAGE;
    else if (s == NULL)
        fault.err = KQ_NO_MEMORY;
    else if (to == c->identity.broker_id) {
        free(s);
        (void)hears_majority(c, &group, &fault);
        ask_answer(asked, &fault, NULL, 0);
        return;
    } else if ((s->partition = cluster_find_replica(c, &group)) == NULL)
        fault.err = KQ_NOT_LEADER;
    if (fault.err != KQ_OK) {
        ask_answer(asked, &fault, NULL, 0);
        free(s);
        return;
    }
    s->asked = asked;
    s->ask = (struct partition_ask){
        .question = PARTITION_ASK_TRANSFER, .to = to, .deadline_us = asked->deadline_us, .done = served_done};
    partition_ask(s->partition, &s->ask);
}

/* ---- orders -------------------------------------------------------------------------------- */

struct running_order {
    struct cluster *cluster;
    struct cluster_order *order;
    struct controller_call call;
    struct transfer transfer;
    struct cluster_request seen;
    char topic[TOPIC_NAME_MAX_BYTES + 1];
};

static void end_order(struct running_order *r, const struct fault *fault)
{
    struct cluster *c = r->cluster;
    struct cluster_order *order = r->order;
    order->fault = *fault;
    free(r);
    order->done(order);
    cluster_call_end(c);
}

/* Taken in any case; if this broker does not know more by now, it will. */
static void order_is_seen(struct cluster_request *request)
{
    end_order(CONTAINER_OF(request, struct running_order, seen), &(struct fault){.err = KQ_OK});
}

/* Whoever gave the order looks next what it does: here it is known, before it is answered. */
static void call_done(struct controller_call *call)
{
    struct running_order *r = CONTAINER_OF(call, struct running_order, call);
    struct fault fault = call->call.call.fault;
    if (fault.err != KQ_OK || r->order->verb == CLUSTER_REMOVE_BROKER) { /* perhaps this one: it hears no more */
        end_order(r, &fault);
        return;
    }
    r->seen = (struct cluster_request){.done = order_is_seen};
    cluster_catch_up(r->cluster, &r->seen);
}

static void transfer_done(struct transfer *transfer)
{
    struct fault fault = transfer->fault;
    end_order(transfer->owner, &fault);
}

static enum kq_err check_transfer(const struct cluster_order *order, const struct image_topic *topic,
                                  struct fault *fault)
{
    if (topic == NULL) {
        *fault = (struct fault){.err = KQ_UNKNOWN_TOPIC};
        return fault->err;
    }
    if (order->partition >= image_topic_partitions(topic))
        return fault_set(fault, KQ_INVALID, "topic %.100s has partitions 0 to %u only", order->topic,
                         image_topic_partitions(topic) - 1);
    uint32_t count;
    const uint32_t *replicas = image_replicas(topic, order->partition, &count);
    bool holds = order->broker == 0;
    for (uint32_t i = 0; i < count; i++)
        holds |= replicas[i] == order->broker;
    if (!holds)
        return fault_set(fault, KQ_INVALID, "broker %u holds no replica of %.100s/%u; only those that do can lead it",
                         order->broker, order->topic, order->partition);
    if (count == 1)
        return order->broker != 0 ? KQ_OK
                                  : fault_set(fault, KQ_INVALID, "%.100s/%u has one replica: nobody else can lead it",
                                              order->topic, order->partition);
    return KQ_OK;
}

static void run_transfer(struct running_order *r)
{
    struct cluster *c = r->cluster;
    const struct cluster_order *order = r->order;
    struct image *image = cluster_image(c);
    const struct image_topic *topic = image_find(image, r->topic, strlen(r->topic));
    struct fault fault = {.err = KQ_OK};
    bool ok = check_transfer(order, topic, &fault) == KQ_OK;
    if (ok) {
        r->transfer = (struct transfer){.done = transfer_done,
                                        .owner = r,
                                        .topic_id = *image_topic_id(topic),
                                        .partition = order->partition,
                                        .to = order->broker,
                                        .deadline_us = r->call.deadline_us};
        ok = order->broker == 0 || cluster_leader(c, image_topic_id(topic), order->partition, NULL) != order->broker;
        if (!ok)
            fault.err = KQ_OK; /* it leads already */
    }
    image_drop(&image);
    if (ok)
        transfer_begin(c, &r->transfer);
    else
        end_order(r, &fault);
}

static bool holds_any(const struct image *image, uint32_t broker)
{
    for (size_t i = 0; i < image_topic_count(image); i++)
        for (uint32_t p = 0; p < image_topic_partitions(image_topic_at(image, i)); p++) {
            struct image_holders holders = image_holders(image_topic_at(image, i), p);
            for (uint32_t k = 0; k < holders.count; k++)
                if (holders.brokers[k] == broker)
                    return true;
        }
    return false;
}

/* The controller may not hear a broker that lives; then who was asked may. */
static bool may_be_removed(const struct running_order *r, struct fault *fault)
{
    uint32_t id = r->order->broker;
    struct image *image = cluster_image(r->cluster);
    bool lives = links_is_alive(r->cluster->links, id) && holds_any(image, id);
    image_drop(&image);
    if (lives)
        (void)fault_set(fault, KQ_INVALID,
                        "broker %u lives and still holds replicas; drain it first, and wait until it is empty", id);
    return !lives;
}

static void run_order(struct running_order *r)
{
    const struct cluster_order *order = r->order;
    struct metadata_call *call = &r->call.call;
    call->verb = METADATA_ORDER;
    call->order = order->verb;
    call->broker.id = order->broker;
    call->topic = r->topic;
    call->partition = order->partition;
    call->broker_count = order->broker_count;
    memcpy(call->brokers, order->brokers, order->broker_count * sizeof *order->brokers);
    r->call.done = call_done;
    calls_begin(r->cluster, &r->call);
}

void cluster_order(struct cluster *cluster, struct cluster_order *order)
{
    TAG_CHECK(cluster, CLUSTER_TAG);
    REQUIRE(order->broker_count <= METADATA_REPLICAS_MAX);
    order->fault = (struct fault){.err = KQ_OK};
    struct running_order *r = calloc(1, sizeof *r);
    (void)pthread_mutex_lock(&cluster->lock);
    bool begin = r != NULL && cluster_call_begin(cluster);
    (void)pthread_mutex_unlock(&cluster->lock);
    if (!begin) {
        order->fault.err = r == NULL ? KQ_NO_MEMORY : KQ_STOPPING;
        free(r);
        order->done(order);
        return;
    }
    r->cluster = cluster;
    r->order = order;
    r->call.deadline_us =
        clock_mono_us() + atomic_load_explicit(&cluster->options.config->publish_timeout_us, memory_order_relaxed);
    size_t len = order->topic == NULL ? 0 : strlen(order->topic);
    if (len > TOPIC_NAME_MAX_BYTES) {
        end_order(r, &(struct fault){.err = KQ_UNKNOWN_TOPIC});
        return;
    }
    memcpy(r->topic, order->topic == NULL ? "" : order->topic, len);
    struct fault fault = {.err = KQ_OK};
    if (order->verb == CLUSTER_TRANSFER)
        run_transfer(r);
    else if (order->verb == CLUSTER_REMOVE_BROKER && !may_be_removed(r, &fault))
        end_order(r, &fault);
    else
        run_order(r);
}
