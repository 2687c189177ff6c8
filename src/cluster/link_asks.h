/*
 * The questions on their way to one broker: waiting to be sent, or waiting for their
 * answer. Step-shaped: no thread, no lock; the owner calls it on one thread at a
 * time, and completes what comes out (calls done) when it holds no lock.
 *
 * A question is in exactly one place: queued, being written, sent, or out. While it is
 * being written its memory must stay, so whatever becomes of it meanwhile is kept
 * until link_asks_written().
 */
#ifndef KQ_CLUSTER_LINK_ASKS_H
#define KQ_CLUSTER_LINK_ASKS_H

#include "cluster/links.h"

enum {
    LINK_ASKS_MAX = 65536,  /* to one broker at a time */
    LINK_ASKS_SLOTS = 1024, /* of the table; a power of two */
};

enum link_ask_state { LINK_ASK_QUEUED, LINK_ASK_WRITING, LINK_ASK_SENT, LINK_ASK_OVER };

struct link_asks {
    struct ask *first; /* queued */
    struct ask **last;
    struct ask *slots[LINK_ASKS_SLOTS]; /* WRITING, SENT and, until written, OVER */
    uint32_t count;
    uint64_t number; /* last given */
};

void link_asks_init(struct link_asks *asks);
/* False: too many; the caller completes it with KQ_LIMIT. */
bool link_asks_add(struct link_asks *asks, struct ask *ask);
/* The next one to write, with its number; NULL: none. */
struct ask *link_asks_take(struct link_asks *asks);
/* It has been written, or not (then with what is known of it: maybe_delivered). True: it
 * is over, complete it. */
bool link_asks_written(struct link_asks *asks, struct ask *ask, bool ok);

/* The question of this number, to be filled with its answer and then handed to
 * link_asks_answered(); NULL: not known (any more). */
struct ask *link_asks_find(struct link_asks *asks, uint64_t number);
/* True: complete it. */
bool link_asks_answered(struct link_asks *asks, struct ask *ask);

/* All that were sent (all: also those queued) end with err, in a list by `next`. */
struct ask *link_asks_fail(struct link_asks *asks, bool all, enum kq_err err, const char *text);
/* Those whose deadline has come. */
struct ask *link_asks_expire(struct link_asks *asks, int64_t now_us);

#endif
