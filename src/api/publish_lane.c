#include "api/publish_lane.h"

#include "base/require.h"

#include <stddef.h>

void lane_init(struct lane *lane)
{
    *lane = (struct lane){.mode = LANE_DRAINS};
}

void lane_out_init(struct lane_out *out)
{
    *out = (struct lane_out){.wait_us = INT64_MAX};
    out->send_end = &out->send;
    out->decided_end = &out->decided;
}

void lane_add(struct lane *lane, struct lane_item *item, bool sent)
{
    item->sent = sent;
    item->next = NULL;
    item->prev = lane->last;
    if (lane->last != NULL)
        lane->last->next = item;
    else
        lane->first = item;
    lane->last = item;
    lane->count++;
    lane->sent += sent;
}

static void unlink_item(struct lane *lane, struct lane_item *item)
{
    REQUIRE(lane->count > 0);
    if (item->prev != NULL)
        item->prev->next = item->next;
    else
        lane->first = item->next;
    if (item->next != NULL)
        item->next->prev = item->prev;
    else
        lane->last = item->prev;
    lane->count--;
    item->next = item->prev = NULL;
}

struct lane_item *lane_release(struct lane *lane)
{
    struct lane_item *item = lane->first;
    REQUIRE(lane->mode == LANE_FLOWS && lane->sent == lane->count);
    if (item == NULL)
        return NULL;
    unlink_item(lane, item);
    lane->sent--;
    return item;
}

static void decide(struct lane *lane, struct lane_item *item, enum lane_verdict verdict, struct lane_out *out)
{
    REQUIRE(!item->sent);
    unlink_item(lane, item);
    item->verdict = verdict;
    item->out_next = NULL;
    *out->decided_end = item;
    out->decided_end = &item->out_next;
}

/* `taken` may be in the log: what was refused before it would come behind it. A
 * producer's goes on: its sequence says where it belongs. */
static void give_up_before(struct lane *lane, const struct lane_item *taken, struct lane_out *out)
{
    for (struct lane_item *item = lane->first, *next; item != taken; item = next) {
        next = item->next;
        if (!item->sent && !item->producer)
            decide(lane, item, LANE_OVERTAKEN, out);
    }
}

/* One that is undecided may be what is missing. */
static bool waits_before(const struct lane_item *item)
{
    for (const struct lane_item *before = item->prev; before != NULL; before = before->prev)
        if (before->producer)
            return true;
    return false;
}

static void try_later(struct lane *lane, int64_t now_us)
{
    if (lane->mode == LANE_DRAINS && lane->tries > 0)
        return; /* of the same round */
    int64_t pause_us = LANE_RETRY_FIRST_US;
    for (uint32_t i = 0; i < lane->tries && pause_us < LANE_RETRY_MAX_US; i++)
        pause_us *= 2;
    lane->tries++;
    lane->retry_us = now_us + (pause_us < LANE_RETRY_MAX_US ? pause_us : LANE_RETRY_MAX_US);
    lane->mode = LANE_DRAINS;
}

void lane_answer(struct lane *lane, struct lane_item *item, enum lane_outcome outcome, uint64_t term, int64_t now_us,
                 struct lane_out *out)
{
    REQUIRE(item->sent);
    REQUIRE(lane->sent > 0);
    item->sent = false;
    lane->sent--;
    if (outcome == LANE_GAP)
        outcome = waits_before(item) ? LANE_AGAIN : LANE_REFUSED;
    switch (outcome) {
    case LANE_TAKEN:
        give_up_before(lane, item, out);
        decide(lane, item, LANE_AS_ANSWERED, out);
        if (lane->mode == LANE_PROBES) {
            lane->mode = LANE_FLOWS;
            lane->term = term;
        }
        lane->tries = 0;
        return;
    case LANE_UNKNOWN:
        give_up_before(lane, item, out);
        decide(lane, item, LANE_AS_ANSWERED, out);
        lane->mode = LANE_DRAINS;
        return;
    case LANE_REFUSED:
        decide(lane, item, LANE_AS_ANSWERED, out);
        if (lane->mode == LANE_PROBES)
            lane->mode = LANE_DRAINS;
        return;
    case LANE_AGAIN_MAYBE:
        item->maybe = true;
        try_later(lane, now_us);
        return;
    case LANE_AGAIN:
        try_later(lane, now_us);
        return;
    case LANE_GAP:
        break;
    }
    REQUIRE(false);
}

static void expire(struct lane *lane, int64_t now_us, struct lane_out *out)
{
    for (struct lane_item *item = lane->first, *next; item != NULL; item = next) {
        next = item->next;
        if (!item->sent && item->deadline_us <= now_us)
            decide(lane, item, LANE_EXPIRED, out);
    }
}

static void send(struct lane *lane, struct lane_item *item, struct lane_out *out)
{
    REQUIRE(!item->sent);
    item->sent = true;
    item->out_next = NULL;
    lane->sent++;
    *out->send_end = item;
    out->send_end = &item->out_next;
}

static int64_t earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

bool lane_is_ready(const struct lane *lane)
{
    return lane->sent < lane->count ? lane->mode == LANE_FLOWS || lane->sent == 0 : lane->count == 0;
}

void lane_turn(struct lane *lane, enum lane_route route, uint32_t broker_id, uint64_t term, int64_t now_us,
               struct lane_out *out)
{
    expire(lane, now_us, out);
    out->empty = lane->count == 0;
    out->settled = lane->mode == LANE_FLOWS && lane->sent == lane->count;
    if (lane->sent == lane->count || (lane->sent > 0 && lane->mode != LANE_FLOWS))
        return; /* nothing is held, or what is on its way comes first */
    if (lane->mode == LANE_FLOWS) {
        out->broker_id = lane->broker_id;
        out->term = lane->term;
        for (struct lane_item *item = lane->first; item != NULL; item = item->next)
            if (!item->sent)
                send(lane, item, out);
        return;
    }
    if (route == LANE_NOBODY_EVER) {
        while (lane->first != NULL)
            decide(lane, lane->first, LANE_GONE, out);
        out->empty = true;
        return;
    }
    bool same = route == LANE_TO && broker_id == lane->broker_id && term == lane->term;
    if (route == LANE_NOBODY || (same && lane->tries > 0 && now_us < lane->retry_us)) {
        int64_t again_us = lane->retry_us > now_us ? lane->retry_us : now_us + LANE_RETRY_MAX_US;
        lane->mode = LANE_DRAINS;
        out->wait_us = earlier(again_us, lane->first->deadline_us);
        return;
    }
    lane->mode = LANE_PROBES;
    lane->broker_id = broker_id;
    lane->term = term;
    out->broker_id = broker_id;
    /* Bound to nothing if that leader has refused this term: a sole voter opens its next
     * one with an append, and what is sent alone needs no fence against the others. */
    out->term = same && lane->tries > 0 ? 0 : term;
    send(lane, lane->first, out);
}

void lane_check(const struct lane *lane)
{
    uint32_t count = 0, sent = 0;
    for (const struct lane_item *item = lane->first; item != NULL; item = item->next) {
        REQUIRE(item->next == NULL ? lane->last == item : item->next->prev == item);
        count++;
        sent += item->sent;
    }
    REQUIRE(count == lane->count);
    REQUIRE(sent == lane->sent);
    REQUIRE(lane->mode != LANE_PROBES || (sent == 1 && lane->first->sent));
}
