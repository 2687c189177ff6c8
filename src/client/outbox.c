/*
 * Every message that is not acknowledged is in `all`, in the order of adding. A
 * partition's sequence numbers follow that order, so "in order within a
 * partition" is "in the order of `all`", also after failures. What was sent and
 * not answered is, in the order of sending, in a second list through the same
 * items.
 */
#include "client/outbox.h"

#include "base/require.h"

#include <stdio.h>
#include <stdlib.h>

enum state { UNSENT, SENT, FAILED };

struct item {
    struct outbox_item is;
    enum state state;
    bool uncertain;    /* it was under way when the connection went, or its outcome was unknown */
    struct item *next; /* in all */
    struct item *prev;
    struct item *sent_next;
    uint8_t bytes[];
};

struct lane { /* a partition */
    int32_t next_sequence;
    int32_t oldest_sequence; /* of those not acknowledged; next_sequence if none */
    uint32_t sent;
    bool broken; /* one failed: nothing new goes out */
};

struct outbox {
    char *topic;
    int64_t producer_id;
    int16_t producer_epoch;
    uint32_t lane_count;
    uint32_t robin;
    struct item *first;
    struct item *last;
    struct item *cursor; /* nothing before it is UNSENT; NULL: nothing is */
    struct item *sent_first;
    struct item *sent_last;
    size_t pending;
    size_t sent;
    size_t failed;
    struct lane lanes[];
};

struct outbox *outbox_new(const char *topic, uint32_t partition_count, int64_t producer_id, int16_t producer_epoch)
{
    REQUIRE(partition_count > 0);
    struct outbox *box = calloc(1, sizeof(*box) + partition_count * sizeof(struct lane));
    char *copy = strdup(topic);
    if (box == NULL || copy == NULL) {
        free(box);
        free(copy);
        return NULL;
    }
    box->topic = copy;
    box->producer_id = producer_id;
    box->producer_epoch = producer_epoch;
    box->lane_count = partition_count;
    return box;
}

void outbox_free(struct outbox **box)
{
    if (*box == NULL)
        return;
    for (struct item *item = (*box)->first; item != NULL;) {
        struct item *next = item->next;
        free(item);
        item = next;
    }
    free((*box)->topic);
    free(*box);
    *box = NULL;
}

/* ---- adding and sending ----------------------------------------------------------------- */

/* After INT32_MAX comes 0, as in Kafka. */
static int32_t sequence_after(int32_t sequence, uint32_t steps)
{
    return (int32_t)(((uint32_t)sequence + steps) & 0x7fffffffU);
}

static uint32_t window_used(const struct lane *lane)
{
    return ((uint32_t)lane->next_sequence - (uint32_t)lane->oldest_sequence) & 0x7fffffffU;
}

bool outbox_has_room(const struct outbox *box, uint32_t partition)
{
    REQUIRE(partition < box->lane_count);
    return window_used(&box->lanes[partition]) < OUTBOX_WINDOW;
}

uint32_t outbox_pick(struct outbox *box)
{
    for (uint32_t tried = 0; tried < box->lane_count; tried++) {
        uint32_t partition = box->robin;
        box->robin = (box->robin + 1) % box->lane_count;
        if (outbox_has_room(box, partition))
            return partition;
    }
    return box->lane_count;
}

enum kq_err outbox_add(struct outbox *box, uint32_t partition, uint64_t number, size_t body_bytes, const uint8_t *json,
                       size_t json_bytes)
{
    REQUIRE(outbox_has_room(box, partition));
    struct lane *lane = &box->lanes[partition];
    char head[400];
    int head_bytes = snprintf(head, sizeof(head), "PUBX %s %u %lld %d %d ", box->topic, partition,
                              (long long)box->producer_id, box->producer_epoch, lane->next_sequence);
    REQUIRE(head_bytes > 0 && (size_t)head_bytes < sizeof(head));
    size_t line_bytes = (size_t)head_bytes + json_bytes + 1;
    struct item *item = malloc(sizeof(*item) + line_bytes);
    if (item == NULL)
        return KQ_NO_MEMORY;
    *item = (struct item){.is = {.partition = partition,
                                 .sequence = lane->next_sequence,
                                 .number = number,
                                 .body_bytes = body_bytes,
                                 .line_bytes = line_bytes,
                                 .line = item->bytes},
                          .prev = box->last};
    memcpy(item->bytes, head, (size_t)head_bytes);
    memcpy(item->bytes + head_bytes, json, json_bytes);
    item->bytes[line_bytes - 1] = '\n';
    *(box->last == NULL ? &box->first : &box->last->next) = item;
    box->last = item;
    if (box->cursor == NULL)
        box->cursor = item;
    box->pending++;
    lane->next_sequence = sequence_after(lane->next_sequence, 1);
    return KQ_OK;
}

const struct outbox_item *outbox_send(struct outbox *box)
{
    while (box->cursor != NULL && box->cursor->state != UNSENT)
        box->cursor = box->cursor->next;
    struct item *item = box->cursor;
    while (item != NULL && (item->state != UNSENT || box->lanes[item->is.partition].broken))
        item = item->next;
    if (item == NULL)
        return NULL;
    item->state = SENT;
    item->sent_next = NULL;
    *(box->sent_last == NULL ? &box->sent_first : &box->sent_last->sent_next) = item;
    box->sent_last = item;
    box->sent++;
    box->lanes[item->is.partition].sent++;
    return &item->is;
}

/* ---- replies -------------------------------------------------------------------------------- */

static void remove_item(struct outbox *box, struct item *item)
{
    struct lane *lane = &box->lanes[item->is.partition];
    bool was_oldest = lane->oldest_sequence == item->is.sequence;
    *(item->prev == NULL ? &box->first : &item->prev->next) = item->next;
    *(item->next == NULL ? &box->last : &item->next->prev) = item->prev;
    if (box->cursor == item)
        box->cursor = item->next;
    box->pending--;
    if (!was_oldest)
        return;
    /* Those behind it may be acknowledged already: look for the next that is not.
     * It is within the window, and what is under way is short. */
    struct item *next = item->next;
    while (next != NULL && next->is.partition != item->is.partition)
        next = next->next;
    lane->oldest_sequence = next == NULL ? lane->next_sequence : next->is.sequence;
}

bool outbox_reply(struct outbox *box, enum outbox_verdict said, enum outbox_verdict *verdict, struct outbox_item *item)
{
    struct item *oldest = box->sent_first;
    if (oldest == NULL)
        return false;
    struct lane *lane = &box->lanes[oldest->is.partition];
    box->sent_first = oldest->sent_next;
    if (box->sent_first == NULL)
        box->sent_last = NULL;
    box->sent--;
    lane->sent--;
    if (said == OUTBOX_REFUSE && lane->broken)
        said = OUTBOX_RETRY;
    *verdict = said;
    if (item != NULL) {
        *item = oldest->is;
        item->line = NULL;
    }
    if (said == OUTBOX_RETRY || said == OUTBOX_UNKNOWN) {
        oldest->state = FAILED;
        oldest->uncertain = oldest->uncertain || said == OUTBOX_UNKNOWN;
        lane->broken = true;
        box->failed++;
        return true;
    }
    remove_item(box, oldest);
    free(oldest);
    return true;
}

size_t outbox_failed(const struct outbox *box)
{
    return box->failed;
}

void outbox_recover(struct outbox *box)
{
    for (struct item *item = box->first; item != NULL && box->failed > 0; item = item->next) {
        if (item->state != FAILED || box->lanes[item->is.partition].sent > 0)
            continue;
        item->state = UNSENT;
        box->failed--;
    }
    for (uint32_t i = 0; i < box->lane_count; i++)
        if (box->lanes[i].sent == 0)
            box->lanes[i].broken = false;
    box->cursor = box->first;
}

void outbox_disconnected(struct outbox *box)
{
    for (struct item *item = box->first; item != NULL; item = item->next) {
        item->uncertain = item->uncertain || item->state == SENT;
        item->state = UNSENT;
    }
    for (uint32_t i = 0; i < box->lane_count; i++) {
        box->lanes[i].sent = 0;
        box->lanes[i].broken = false;
    }
    box->sent_first = NULL;
    box->sent_last = NULL;
    box->sent = 0;
    box->failed = 0;
    box->cursor = box->first;
}

size_t outbox_pending(const struct outbox *box)
{
    return box->pending;
}

size_t outbox_sent(const struct outbox *box)
{
    return box->sent;
}

size_t outbox_uncertain(const struct outbox *box)
{
    size_t count = 0;
    for (const struct item *item = box->first; item != NULL; item = item->next)
        count += item->uncertain || item->state == SENT;
    return count;
}

void outbox_check(const struct outbox *box)
{
    size_t pending = 0;
    size_t counts[3] = {0, 0, 0};
    bool cursor_seen = false;
    for (const struct item *item = box->first; item != NULL; item = item->next) {
        const struct lane *lane = &box->lanes[item->is.partition];
        REQUIRE(item->next == NULL || item->next->prev == item);
        REQUIRE(item->next != NULL || box->last == item);
        REQUIRE((((uint32_t)lane->next_sequence - (uint32_t)item->is.sequence) & 0x7fffffffU) <= OUTBOX_WINDOW);
        REQUIRE(item->state != FAILED || lane->broken);
        cursor_seen = cursor_seen || item == box->cursor;
        REQUIRE(item->state != UNSENT || cursor_seen);
        counts[item->state]++;
        pending++;
    }
    REQUIRE(pending == box->pending);
    REQUIRE(counts[SENT] == box->sent);
    REQUIRE(counts[FAILED] == box->failed);
    size_t sent = 0;
    for (const struct item *item = box->sent_first; item != NULL; item = item->sent_next) {
        REQUIRE(item->state == SENT);
        sent++;
    }
    REQUIRE(sent == box->sent);
}
