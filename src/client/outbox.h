/*
 * What a publisher has sent and not yet seen acknowledged: the state machine
 * behind exactly-once publishing with PRID and PUBX. Pure: no socket, no clock.
 *
 * Each message has its partition's next sequence number, and at most OUTBOX_WINDOW
 * of a partition are between the oldest that is not acknowledged and the next,
 * since that is how far back a broker knows what it has seen. In a partition,
 * messages are always sent in order. After a failure that may be retried the
 * partition is held back until everything of it that is under way has been
 * answered; then what failed goes out again, in order. After a lost connection
 * everything unanswered goes out again. So a message is stored once, whatever
 * was lost: the broker recognises what it has.
 *
 * Replies come in the order of sending, which is all that the protocol promises
 * and all that is used here.
 */
#ifndef KQ_CLIENT_OUTBOX_H
#define KQ_CLIENT_OUTBOX_H

#include "base/bytes.h"
#include "base/err.h"

enum { OUTBOX_WINDOW = 5 };

struct outbox;

struct outbox_item {
    uint32_t partition;
    int32_t sequence;
    uint64_t number;   /* the caller's: the line of its input, from 1 */
    size_t body_bytes; /* the caller's, for its figures */
    size_t line_bytes;
    const uint8_t *line; /* the whole command with its line feed */
};

/* NULL: out of memory. topic is copied. */
struct outbox *outbox_new(const char *topic, uint32_t partition_count, int64_t producer_id, int16_t producer_epoch);
void outbox_free(struct outbox **box);

/* Whether a message for the partition may be added now. */
bool outbox_has_room(const struct outbox *box, uint32_t partition);
/* The next partition with room, round robin; partition_count: none has. */
uint32_t outbox_pick(struct outbox *box);
/* Adds a message; json is copied. Only when there is room. KQ_NO_MEMORY. */
enum kq_err outbox_add(struct outbox *box, uint32_t partition, uint64_t number, size_t body_bytes, const uint8_t *json,
                       size_t json_bytes);

/* The next message to send, marked as sent; NULL: nothing may be sent now.
 * Borrowed until its reply. */
const struct outbox_item *outbox_send(struct outbox *box);

enum outbox_verdict {
    OUTBOX_ACKNOWLEDGED,
    OUTBOX_RETRY,   /* it was not stored, and may be tried again */
    OUTBOX_UNKNOWN, /* whether it was stored is not known; trying again will tell */
    OUTBOX_REFUSE,  /* it failed for good */
};
/* The reply to the oldest sent message came. *item (may be NULL) is a copy of it,
 * without its line. What it came to: a refusal behind a failure of the same
 * partition is a retry, since it tells of the gap and not of the message. False:
 * nothing was sent that this could answer. */
bool outbox_reply(struct outbox *box, enum outbox_verdict said, enum outbox_verdict *verdict, struct outbox_item *item);

/* Messages that failed and wait for outbox_recover. */
size_t outbox_failed(const struct outbox *box);
/* Partitions of which nothing is under way send again what failed. */
void outbox_recover(struct outbox *box);
/* The connection is gone: everything unanswered is to be sent again. */
void outbox_disconnected(struct outbox *box);

/* Not acknowledged. */
size_t outbox_pending(const struct outbox *box);
/* Sent and not answered. */
size_t outbox_sent(const struct outbox *box);
/* Not acknowledged, and perhaps stored. */
size_t outbox_uncertain(const struct outbox *box);

/* Tests, after every step: REQUIREs that the state is consistent. */
void outbox_check(const struct outbox *box);

#endif
