/*
 * Producer ids come from the metadata in blocks of CLUSTER_PRODUCER_BLOCK; the
 * rest of a block is lost at a restart, so that no id is ever given twice.
 */
#include "cluster/cluster_state.h"

#include "base/clock.h"
#include "base/require.h"

/* Lock held. Serves the first who waits from the block. NULL: nobody, or it is used up. */
static struct cluster_request *serve_one(struct cluster *c)
{
    struct cluster_request *request = c->producer_waiting;
    if (request == NULL || c->producer_next == c->producer_end)
        return NULL;
    c->producer_waiting = request->next;
    if (c->producer_waiting == NULL)
        c->producer_waiting_end = &c->producer_waiting;
    request->producer_id = c->producer_next++;
    return request;
}

/* Answers whom it can; asks for a block if somebody is left. */
static void go_on(struct cluster *c)
{
    for (;;) {
        (void)pthread_mutex_lock(&c->lock);
        struct cluster_request *request = serve_one(c);
        bool ask = request == NULL && c->producer_waiting != NULL && !c->producer_calling && !c->stopping;
        c->producer_calling |= ask;
        (void)pthread_mutex_unlock(&c->lock);
        if (request != NULL) {
            request->done(request);
            continue;
        }
        if (ask) {
            c->producer_call = (struct controller_call){
                .call = {.verb = METADATA_PRODUCER_BLOCK, .count = CLUSTER_PRODUCER_BLOCK},
                .done = producer_ids_block_done,
                .deadline_us = clock_mono_us() +
                               atomic_load_explicit(&c->options.config->publish_timeout_us, memory_order_relaxed)};
            calls_begin(c, &c->producer_call);
        }
        return;
    }
}

static void refuse_all(struct cluster_request *first, const struct fault *fault)
{
    for (struct cluster_request *request = first, *next; request != NULL; request = next) {
        next = request->next;
        request->fault = *fault;
        request->done(request);
    }
}

/* Lock held. Everybody who waits, to be told an error. */
static struct cluster_request *take_all(struct cluster *c)
{
    struct cluster_request *first = c->producer_waiting;
    c->producer_waiting = NULL;
    c->producer_waiting_end = &c->producer_waiting;
    return first;
}

/* Any thread. */
void producer_ids_block_done(struct controller_call *control)
{
    struct cluster *c = CONTAINER_OF(control, struct cluster, producer_call);
    const struct metadata_call *call = &control->call;
    struct fault fault = call->call.fault;
    struct cluster_request *refused = NULL;
    (void)pthread_mutex_lock(&c->lock);
    c->producer_calling = false;
    if (fault.err == KQ_OK) {
        REQUIRE(c->producer_next == c->producer_end);
        c->producer_next = call->producer_id;
        c->producer_end = call->producer_id + CLUSTER_PRODUCER_BLOCK;
    } else
        refused = take_all(c);
    (void)pthread_mutex_unlock(&c->lock);
    refuse_all(refused, &fault);
    go_on(c);
}

void cluster_next_producer_id(struct cluster *cluster, struct cluster_request *request)
{
    TAG_CHECK(cluster, CLUSTER_TAG);
    request->fault = (struct fault){.err = KQ_OK};
    request->next = NULL;
    (void)pthread_mutex_lock(&cluster->lock);
    bool stopping = cluster->stopping;
    if (!stopping) {
        *cluster->producer_waiting_end = request;
        cluster->producer_waiting_end = &request->next;
    }
    (void)pthread_mutex_unlock(&cluster->lock);
    if (stopping) {
        request->fault.err = KQ_STOPPING;
        request->done(request);
        return;
    }
    go_on(cluster);
}

bool cluster_producer_id_given(struct cluster *cluster, const struct image *image, int64_t id)
{
    (void)pthread_mutex_lock(&cluster->lock);
    bool waits = id >= cluster->producer_next && id < cluster->producer_end;
    (void)pthread_mutex_unlock(&cluster->lock);
    return id >= 0 && id < image_producer_ids_end(image) && !waits;
}

void producer_ids_stop(struct cluster *c)
{
    (void)pthread_mutex_lock(&c->lock);
    REQUIRE(c->stopping);
    struct cluster_request *refused = take_all(c);
    (void)pthread_mutex_unlock(&c->lock);
    struct fault fault = {.err = KQ_STOPPING};
    refuse_all(refused, &fault);
}
