/*
 * A session's flight: what comes back of its publishes, and its lanes.
 *
 * Locking: the owner's lock over everything that is linked from the flight; nothing
 * is sent while it is held. A lane is pumped by one thread at a time (`pumping`),
 * which lets go of the lock to send; whoever finds it being pumped leaves what is to
 * do to that thread. So what a lane sends leaves in order. A lane that is pumped or
 * that waits for a leader holds the flight's owner, once each.
 */
#include "api/publish.h"
#include "api/route.h"
#include "base/clock.h"
#include "base/require.h"

#include <stdlib.h>
#include <string.h>

struct publish_lane {
    struct publish_lane *next;
    struct publish_flight *flight;
    struct lane lane;
    struct uuid topic_id;
    uint32_t number;
    bool pumping;
    bool waiting;
    struct leader_wait wait;
};

/* ---- a flight -------------------------------------------------------------------------- */

void publish_flight_init(struct publish_flight *flight, struct broker *broker, const struct publish_flight_ops *ops)
{
    *flight = (struct publish_flight){.broker = broker, .ops = ops};
    flight->last = &flight->first;
}

static bool is_of(const struct publish_lane *lane, const struct publish_part *part)
{
    return lane->number == part->number && uuid_equal(&lane->topic_id, &part->topic_id);
}

static struct publish_lane *find_lane(const struct publish_flight *flight, const struct publish_part *part)
{
    struct publish_lane *lane = flight->lanes;
    while (lane != NULL && !is_of(lane, part))
        lane = lane->next;
    return lane;
}

static void lane_put(struct publish_lane *lane, struct publish_part *part, bool sent)
{
    part->lane = lane;
    lane_add(&lane->lane, &part->item, sent);
}

static void wait_fired(struct leader_wait *wait);

/* With all that is on its way to the part's partition. NULL: out of memory. */
static struct publish_lane *new_lane(struct publish_flight *flight, const struct publish_part *of)
{
    struct publish_lane *lane = calloc(1, sizeof(*lane));
    if (lane == NULL)
        return NULL;
    lane->flight = flight;
    lane->topic_id = of->topic_id;
    lane->number = of->number;
    lane->wait = (struct leader_wait){.fire = wait_fired, .topic_id = of->topic_id, .partition = of->number};
    lane_init(&lane->lane);
    for (struct publish_fold *fold = flight->first; fold != NULL; fold = fold->next)
        for (uint32_t i = 0; i < fold->part_count; i++)
            if (!fold->parts[i]->done && is_of(lane, fold->parts[i]))
                lane_put(lane, fold->parts[i], true);
    lane->next = flight->lanes;
    flight->lanes = lane;
    return lane;
}

/* What is sent now could overtake what went to a leader that is none any more: so a
 * change of leaders while something is on its way makes lanes at once. */
static void add_to_lanes(struct publish_flight *flight, struct publish_fold *fold, bool changed)
{
    for (uint32_t i = 0; i < fold->part_count; i++) {
        struct publish_part *part = fold->parts[i];
        struct publish_lane *lane = find_lane(flight, part);
        if (lane == NULL && changed)
            lane = new_lane(flight, part);
        if (lane == NULL)
            continue;
        part->held = true;
        lane_put(lane, part, false);
    }
}

void publish_flight_add(struct publish_flight *flight, struct publish_fold *fold)
{
    uint64_t changes = atomic_load_explicit(&flight->broker->leader_changes, memory_order_relaxed);
    if (flight->first == NULL) {
        flight->seen_changes = changes;
        flight->fence = NULL;
    }
    if (changes != flight->seen_changes && (flight->fence == NULL || flight->fence_changes != changes)) {
        flight->fence = CONTAINER_OF(flight->last, struct publish_fold, next);
        flight->fence_changes = changes;
    }
    if (flight->lanes != NULL || changes != flight->seen_changes)
        add_to_lanes(flight, fold, changes != flight->seen_changes);
    fold->next = NULL;
    *flight->last = fold;
    flight->last = &fold->next;
}

void publish_flight_remove(struct publish_flight *flight, struct publish_fold *fold)
{
    REQUIRE(flight->first == fold);
    if (flight->fence == fold) {
        flight->seen_changes = flight->fence_changes;
        flight->fence = NULL;
    }
    flight->first = fold->next;
    if (flight->first == NULL)
        flight->last = &flight->first;
}

/* ---- what an answer means --------------------------------------------------------------------- */

static bool may_help_to_retry(const struct publish_part *part, enum kq_err err)
{
    switch (err) {
    case KQ_NOT_LEADER:
    case KQ_NO_LEADER:
    case KQ_STOPPING:
    case KQ_AGAIN:
    case KQ_FULL:
    case KQ_LIMIT: /* of a link */
        return true;
    case KQ_PARTITION_FAILED: /* another replica will lead */
        return !part->alone;
    default:
        return false;
    }
}

static enum lane_outcome outcome_of(struct publish_part *part)
{
    struct fault *fault = &part->request.fault;
    enum kq_err err = fault->err;
    if (err == KQ_OK)
        return LANE_TAKEN;
    if (part->lost || err == KQ_OUTCOME_UNKNOWN) {
        if (err != KQ_OUTCOME_UNKNOWN)
            (void)fault_set(fault, KQ_OUTCOME_UNKNOWN,
                            "outcome unknown: the broker that leads partition %u was lost before it answered",
                            part->number);
        return part->item.producer ? LANE_AGAIN_MAYBE : LANE_UNKNOWN;
    }
    if (err == KQ_SEQUENCE_GAP && part->item.producer)
        return LANE_GAP;
    return may_help_to_retry(part, err) ? LANE_AGAIN : LANE_REFUSED;
}

/* A leader says so, which would know of an earlier attempt. */
static bool is_sure(enum kq_err err)
{
    return err == KQ_OK || err == KQ_SEQUENCE_GAP || err == KQ_PRODUCER_FENCED;
}

/* Lock held. gone: what to say of what nobody took; NULL: there is none of that. */
static void settle(struct publish_flight *flight, struct lane_item *decided, const struct fault *gone)
{
    for (struct lane_item *item = decided, *next; item != NULL; item = next) {
        next = item->out_next;
        struct publish_part *part = CONTAINER_OF(item, struct publish_part, item);
        struct fault *fault = &part->request.fault;
        part->lane = NULL;
        REQUIRE(gone != NULL || item->verdict == LANE_AS_ANSWERED || item->verdict == LANE_OVERTAKEN);
        if (item->verdict == LANE_AS_ANSWERED && item->maybe && !is_sure(fault->err))
            item->verdict = LANE_EXPIRED;
        if (item->verdict == LANE_OVERTAKEN)
            (void)fault_set(fault, KQ_NOT_LEADER,
                            "not taken: the leader of partition %u changed, and a later message was taken first; "
                            "publish it again",
                            part->number);
        else if (item->verdict != LANE_AS_ANSWERED && item->maybe)
            (void)fault_set(fault, KQ_OUTCOME_UNKNOWN,
                            "outcome unknown: it was sent, and no leader of partition %u could tell since",
                            part->number);
        else if (item->verdict != LANE_AS_ANSWERED && gone != NULL)
            *fault = *gone;
        part->done = true;
        flight->ops->decided(part);
    }
}

/* ---- pumping ------------------------------------------------------------------------------------- */

/* Where the lane's partition is led now, and what to say if nowhere. */
static enum lane_route find_leader(struct publish_lane *lane, struct image *image, struct route *route,
                                   struct fault *gone)
{
    struct broker *broker = lane->flight->broker;
    struct image_topic *topic = image_find_id(image, &lane->topic_id);
    *route = (struct route){.kind = ROUTE_GONE};
    if (atomic_load_explicit(&broker->stopping, memory_order_relaxed)) {
        (void)fault_set(gone, KQ_STOPPING, "%s", err_text(KQ_STOPPING));
        return LANE_NOBODY_EVER;
    }
    if (topic == NULL) {
        (void)fault_set(gone, KQ_UNKNOWN_TOPIC, "%s", err_text(KQ_UNKNOWN_TOPIC));
        return LANE_NOBODY_EVER;
    }
    route_find(broker, topic, lane->number, route);
    (void)route_fault(topic, lane->number, route, gone);
    if (route->kind == ROUTE_GONE)
        return LANE_NOBODY_EVER;
    return route->kind == ROUTE_NOBODY ? LANE_NOBODY : LANE_TO;
}

static void unlist(struct publish_lane *lane)
{
    struct publish_lane **at = &lane->flight->lanes;
    while (*at != lane)
        at = &(*at)->next;
    *at = lane->next;
}

static void send_all(const struct lane_out *out, struct route *route, uint32_t self)
{
    /* What flows goes where the first went, whoever may lead by now: bound to its term it
     * is refused if that is over. */
    route->broker_id = out->broker_id;
    route->kind = out->broker_id == self ? ROUTE_LOCAL : ROUTE_REMOTE;
    for (struct lane_item *item = out->send, *next; item != NULL; item = next) {
        next = item->out_next; /* once sent it may be gone */
        (void)publish_part_send(CONTAINER_OF(item, struct publish_part, item), route, out->term, false);
    }
}

enum pumped { PUMPED_SENT, PUMPED_IDLE, PUMPED_WAITS, PUMPED_OVER };

/* Lock held. */
static enum pumped lane_next(struct publish_lane *lane, enum lane_route to, const struct route *route,
                             const struct fault *gone, struct lane_out *out)
{
    struct publish_flight *flight = lane->flight;
    lane_turn(&lane->lane, to, route->broker_id, route->term, clock_mono_us(), out);
    settle(flight, out->decided, gone);
    if (out->send != NULL)
        return PUMPED_SENT;
    lane->pumping = false;
    if (out->empty || (out->settled && flight->fence == NULL)) { /* else it would soon be made again */
        struct lane_item *item;
        while (!out->empty && (item = lane_release(&lane->lane)) != NULL)
            CONTAINER_OF(item, struct publish_part, item)->lane = NULL;
        unlist(lane);
        return PUMPED_OVER;
    }
    if (out->wait_us == CLOCK_NEVER)
        return PUMPED_IDLE;
    lane->waiting = leader_wait_begin(&flight->broker->waits, &lane->wait, out->wait_us);
    lane->pumping = !lane->waiting; /* the broker stops: then nobody will ever lead */
    return lane->waiting ? PUMPED_WAITS : PUMPED_SENT;
}

/* No lock held; pumping is set, and the flight is held for it. */
static void pump(struct publish_lane *lane)
{
    struct publish_flight *flight = lane->flight;
    enum pumped pumped;
    do {
        struct lane_out out;
        struct route route;
        struct fault gone;
        lane_out_init(&out);
        struct image *image = cluster_image(flight->broker->cluster);
        enum lane_route to = find_leader(lane, image, &route, &gone);
        flight->ops->lock(flight);
        pumped = lane_next(lane, to, &route, &gone, &out);
        flight->ops->finish(flight);
        if (pumped == PUMPED_SENT)
            send_all(&out, &route, cluster_self(flight->broker->cluster));
        else if (pumped == PUMPED_OVER)
            free(lane);
        image_drop(&image);
    } while (pumped == PUMPED_SENT);
    if (pumped != PUMPED_WAITS) /* else it is held for the wait */
        flight->ops->drop(flight);
}

/* Lock held. True: the caller pumps. */
static bool begin_pump(struct publish_lane *lane)
{
    if (lane->pumping || lane->waiting || !lane_is_ready(&lane->lane))
        return false;
    lane->pumping = true;
    lane->flight->ops->hold(lane->flight);
    return true;
}

/* The timer's thread. */
static void wait_fired(struct leader_wait *wait)
{
    struct publish_lane *lane = CONTAINER_OF(wait, struct publish_lane, wait);
    struct publish_flight *flight = lane->flight;
    flight->ops->lock(flight);
    REQUIRE(!lane->pumping);
    lane->waiting = false;
    lane->pumping = true;
    flight->ops->finish(flight);
    pump(lane); /* lets go of what the wait held */
}

void publish_flight_pump(struct publish_flight *flight)
{
    for (bool more = true; more;) {
        flight->ops->lock(flight);
        struct publish_lane *lane = flight->lanes;
        while (lane != NULL && !begin_pump(lane))
            lane = lane->next;
        more = lane != NULL;
        flight->ops->finish(flight);
        if (more)
            pump(lane);
    }
}

/* ---- answers ---------------------------------------------------------------------------------------- */

void publish_part_answered(struct publish_part *part)
{
    struct publish_flight *flight = part->fold->flight;
    const struct publish_flight_ops *ops = flight->ops;
    enum lane_outcome outcome = outcome_of(part);
    ops->lock(flight);
    struct publish_lane *lane = part->lane;
    bool again = outcome == LANE_AGAIN || outcome == LANE_AGAIN_MAYBE;
    if (lane == NULL && again)
        lane = new_lane(flight, part);
    if (lane == NULL) {
        part->done = true;
        ops->decided(part);
        ops->finish(flight);
        return;
    }
    struct lane_out out;
    lane_out_init(&out);
    lane_answer(&lane->lane, &part->item, outcome, part->request.term, clock_mono_us(), &out);
    settle(flight, out.decided, NULL);
    bool pumps = begin_pump(lane);
    ops->finish(flight);
    if (pumps)
        pump(lane);
}
