/*
 * Reading one partition through a subscription, by CONS (once, to the end) or by
 * TAIL (going on), over a connection of its own; after a lost connection it goes
 * on where it was.
 */
#ifndef KQ_CLIENT_READER_H
#define KQ_CLIENT_READER_H

#include "client/client.h"
#include "client/records.h"

enum { READER_FROM_DEFAULT = -1 }; /* the group's committed offset, else the log's start */

struct reader {
    char id[TEXT_ID_MAX_BYTES + 1];
    const char *topic; /* borrowed */
    bool tail;
    int64_t next_off;      /* what comes next; READER_FROM_DEFAULT until known */
    int64_t committed_off; /* told to the broker; -1: nothing */
    int64_t failing_us;    /* the caller's: since when it is refused again and again */
    int64_t refused_us;    /* the caller's: the last time */
    bool over;             /* CONS: all was read; TAIL: the subscription has ended */
    struct wire *wire;     /* NULL: not connected */
    size_t broker;         /* brokers->at when it connected */
    struct records *records;
    records_take *take; /* what is done with a record */
    void *context;
    struct reader *next; /* the caller's */
};

/* NULL: out of memory. id is copied. */
struct reader *reader_new(const char *topic, struct slice id, bool tail, int64_t from_off, records_take *take,
                          void *context);
void reader_free(struct reader **reader);

/* Connects where needed, to any of the brokers, and asks. */
enum kq_err reader_ask(struct reader *reader, struct brokers *brokers, int64_t deadline_us, struct fault *fault);

/* Takes what is there, without waiting. KQ_OK: something was taken, or it is over.
 * KQ_AGAIN: nothing now. KQ_EOF: the connection is gone, ask again. Anything else
 * is the broker's error, or what `take` said, and the connection is closed. */
enum kq_err reader_try_read(struct reader *reader, struct fault *fault);

/* The partition that a subscription id names ("coordinator-partition-secret"). */
bool reader_partition_of(const char *id, int64_t *partition);

#endif
