/*
 * Records out of CONS and TAIL replies, as the bytes come in. A reply can be as
 * long as a partition; what is held is one record and what yajl needs for one
 * string of it.
 *
 * It takes any line of the protocol: {"Ok":true,"Data":[record,...]}, a record
 * alone (TAIL), an event, Done, or an error.
 */
#ifndef KQ_CLIENT_RECORDS_H
#define KQ_CLIENT_RECORDS_H

#include "client/client.h"
#include "proto/text/reply.h"

struct records;

enum { RECORDS_ONE_MAX_BYTES = 256 * 1024 * 1024 };

/* Borrowed for the call. KQ_OK: go on; anything else ends the reading with it. */
typedef enum kq_err records_take(void *context, const struct reply_record *record);

/* NULL: out of memory. */
struct records *records_new(records_take *take, void *context);
void records_free(struct records **records);

enum records_line {
    RECORDS_REPLY, /* a whole {"Ok":...} was read */
    RECORDS_ONE,   /* a line with one record */
    RECORDS_EVENT, /* records_event() tells it */
    RECORDS_DONE,  /* Done */
};

/*
 * Eats bytes, at most to the end of a line; *used says how many. KQ_OK: a line
 * ended, *line says which. KQ_AGAIN: more bytes are needed. What the broker says
 * in an error, also in one that breaks off a reply, is the result, with its text in
 * *fault; the next line may follow then, except after KQ_GARBAGE and KQ_TOO_LARGE.
 */
enum kq_err records_feed(struct records *records, const uint8_t *bytes, size_t size_bytes, size_t *used,
                         enum records_line *line, struct fault *fault);

/* Of the last RECORDS_EVENT; borrowed until the next feed. */
struct records_event {
    char name[16];
    char id[129];
    int64_t partition;
};
const struct records_event *records_event(const struct records *records);

#endif
