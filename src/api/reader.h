/*
 * Where a client's reading gets its messages: from the partition's leader, here or on
 * another broker (so that what was acknowledged to anybody is seen); elsewhere when the
 * leader moves; and from any replica, up to what it knows to be committed, when nobody
 * leads and none is to be expected.
 *
 * Each call begins something and ends in done(), once, on any thread; until then the
 * reader is not touched but by reader_cancel(). Between calls it is a fetch.
 */
#ifndef KQ_API_READER_H
#define KQ_API_READER_H

#include "api/ask_wire.h"
#include "api/fetch.h"

#include <pthread.h>

struct reader_ask;

enum reader_place { READER_STILL, READER_BEGINS, READER_AT_PARTITION, READER_AT_LEADER_WAIT, READER_AT_WATCH };
enum reader_purpose { READER_OPENS, READER_PULLS, READER_WAITS, READER_BOUNDS };

struct reader {
    /* Set before reader_init. */
    struct broker *broker;
    struct uuid topic_id;
    uint32_t number; /* of the partition */
    bool strict;     /* READER_BOUNDS: not of a replica here that does not lead */
    /* Must not block; may be called before the call that began it returns. */
    void (*done)(struct reader *reader);
    void *owner;
    /* The answer of each call. */
    struct fault fault;
    int64_t start_off;      /* of READER_BOUNDS */
    int64_t high_watermark; /* of READER_BOUNDS, and as last heard */
    struct fetch fetch;     /* open after reader_open */

    /* The reader's. */
    enum reader_purpose purpose;
    int64_t off;
    bool clamp;
    bool alone;      /* there is one replica */
    bool any;        /* nobody leads: any replica will do */
    bool avoid_here; /* what is asked for cannot be read from the replica here */
    uint32_t tries;
    uint32_t turn; /* which of the replicas is asked next */
    int64_t deadline_us;
    char title[TOPIC_NAME_MAX_BYTES + 16];
    struct partition *partition; /* waited at: a reference */
    struct wait_request wait;
    struct leader_wait leader_wait;
    struct reader_ask *ask;
    pthread_mutex_t lock; /* over what follows: between who begins a wait and who cancels it */
    enum reader_place place;
    bool cancelled;
    bool answered_at_once;
    _Atomic uintptr_t poster; /* the thread that posts a wait just now; 0: none */
};

void reader_init(struct reader *reader);
/* Not between a call and its done. */
void reader_fini(struct reader *reader);

/* From off (-1: the log start; clamp: from there too if off is below it) to the end that a
 * majority confirms now. KQ_OFFSET_OUT_OF_RANGE names both ends; KQ_UNKNOWN_TOPIC; what a
 * failed partition says; KQ_NOT_ENOUGH_REPLICAS: no replica of it is to be reached. */
void reader_open(struct reader *reader, int64_t off, bool clamp);
/* fetch_some said KQ_AGAIN: the next pull. */
void reader_more(struct reader *reader);
/* fetch_some failed here: goes on from another replica. False: there is none. */
bool reader_elsewhere(struct reader *reader);
/* Until there is something behind fetch.end_off, which then is moved; or until it is
 * cancelled (KQ_OK, and nothing new). */
void reader_wait(struct reader *reader);
/* Any thread but one within a call of this reader. Ends a reader_wait soon. */
void reader_cancel(struct reader *reader);
/* Log start and high watermark, as the leader has them (a replica here is believed, as it
 * is asked for what people look at). */
void reader_bounds(struct reader *reader);

#endif
