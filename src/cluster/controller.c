/*
 * What the controller does by itself: the broker's own topics grow to three replicas as
 * brokers join, and preferred leaders lead again some time after they are back. What is
 * to be done is decided from the image and from who leads and lives; nothing is kept but
 * what is under way.
 */
#include "cluster/cluster_state.h"

#include "base/clock.h"
#include "base/require.h"

#include <stdlib.h>

enum {
    SETTLE_US = 5 * 1000 * 1000, /* a broker that came back catches up first */
    TRANSFER_US = 3 * 1000 * 1000,
    GROW_US = 5 * 1000 * 1000,
    NEXT_US = 200 * 1000,
    TRANSFERS_MAX = 16, /* under way at a time */
};

void controller_peer_changed(struct cluster *c, bool alive)
{
    if (alive)
        atomic_store(&c->duties.came_us, clock_mono_us());
}

/* ---- growing ------------------------------------------------------------------------------- */

static void grown(struct controller_call *call)
{
    struct cluster *c = CONTAINER_OF(call, struct cluster, duties.growth);
    (void)pthread_mutex_lock(&c->lock);
    c->duties.growing = false;
    (void)pthread_mutex_unlock(&c->lock);
    cluster_call_end(c);
}

static bool must_grow(struct cluster *c, const struct image *image)
{
    uint32_t could = 0;
    for (size_t i = 0; i < image_broker_count(image); i++) {
        const struct image_broker *b = image_broker_at(image, i);
        could += !b->draining && links_is_alive(c->links, b->id);
    }
    for (size_t i = 0; i < image_topic_count(image); i++) {
        const struct image_topic *t = image_topic_at(image, i);
        uint32_t desired = image_topic_desired_replicas(t);
        if (image_topic_internal(t) && desired < METADATA_DEFAULT_REPLICAS && desired < could)
            return true;
    }
    return false;
}

static void grow(struct cluster *c, const struct image *image, int64_t now_us)
{
    if (!must_grow(c, image))
        return;
    (void)pthread_mutex_lock(&c->lock);
    bool begin = !c->duties.growing && cluster_call_begin(c);
    c->duties.growing |= begin;
    (void)pthread_mutex_unlock(&c->lock);
    if (!begin)
        return;
    c->duties.growth =
        (struct controller_call){.call = {.verb = METADATA_GROW}, .done = grown, .deadline_us = now_us + GROW_US};
    calls_begin(c, &c->duties.growth);
}

/* ---- leaders ----------------------------------------------------------------------------------- */

static void transferred(struct transfer *transfer)
{
    struct cluster *c = transfer->owner;
    if (transfer->fault.err == KQ_OK)
        atomic_store(&c->duties.transferred, true);
    atomic_fetch_sub(&c->duties.transfers, 1);
    free(transfer);
    cluster_call_end(c);
}

/* Asks the leader of p to hand over to the preferred one. */
static void prefer(struct cluster *c, const struct image_topic *topic, uint32_t p, uint32_t to, int64_t now_us)
{
    struct transfer *t = calloc(1, sizeof *t);
    (void)pthread_mutex_lock(&c->lock);
    bool begin = t != NULL && cluster_call_begin(c);
    (void)pthread_mutex_unlock(&c->lock);
    if (!begin) {
        free(t);
        return;
    }
    t->done = transferred;
    t->owner = c;
    t->topic_id = *image_topic_id(topic);
    t->partition = p;
    t->to = to;
    t->deadline_us = now_us + TRANSFER_US;
    atomic_fetch_add(&c->duties.transfers, 1);
    transfer_begin(c, t);
}

static bool is_preferred(struct cluster *c, const struct image_topic *topic, uint32_t p)
{
    struct image_holders holders = image_holders(topic, p);
    uint32_t leader = cluster_leader(c, image_topic_id(topic), p, NULL);
    return leader == 0 || leader == holders.brokers[0] || holders.moving ||
           !links_is_alive(c->links, holders.brokers[0]);
}

/* Goes on where it stopped the last time, so that those that cannot be handed over do not
 * keep the others waiting. */
static void balance(struct cluster *c, const struct image *image, int64_t now_us)
{
    uint64_t place = 0;
    for (size_t i = 0; i < image_topic_count(image); i++) {
        const struct image_topic *topic = image_topic_at(image, i);
        for (uint32_t p = 0; p < image_topic_partitions(topic); p++, place++) {
            if (place < c->duties.balanced_to || is_preferred(c, topic, p))
                continue;
            if (atomic_load(&c->duties.transfers) >= TRANSFERS_MAX) {
                c->duties.balanced_to = place;
                return;
            }
            uint32_t count;
            prefer(c, topic, p, image_replicas(topic, p, &count)[0], now_us);
        }
    }
    c->duties.balanced_to = 0;
}

int64_t controller_turn(struct cluster *c, const struct image *image, int64_t now_us)
{
    if (cluster_controller(c) != c->identity.broker_id)
        return CLOCK_NEVER;
    grow(c, image, now_us);
    int64_t due_us = atomic_load(&c->duties.came_us) + SETTLE_US;
    int64_t pause_us = atomic_load(&c->duties.transferred) ? NEXT_US : SETTLE_US; /* while it succeeds */
    if (due_us < c->duties.balanced_us + pause_us)
        due_us = c->duties.balanced_us + pause_us;
    if (now_us < due_us)
        return due_us;
    c->duties.balanced_us = now_us;
    atomic_store(&c->duties.transferred, false);
    balance(c, image, now_us);
    return now_us + NEXT_US;
}
