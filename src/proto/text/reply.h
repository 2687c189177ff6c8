/*
 * Results -> reply lines. Every function appends to a struct buf, whose failure
 * (limit, memory) is looked at once by the caller. A reply is one line, whatever
 * the texts in it hold. Pure.
 */
#ifndef KQ_PROTO_TEXT_REPLY_H
#define KQ_PROTO_TEXT_REPLY_H

#include "base/err.h"
#include "base/json.h"
#include "proto/text/command.h"

/* `Done` */
void reply_done(struct buf *out);
/* `Error, text`. Control characters are escaped. */
void reply_error(struct buf *out, const char *text);
/* The fault's own text, else the sentence of err. For KQ_OUTCOME_UNKNOWN the line
 * begins `Error, outcome unknown: `, as the protocol promises. */
void reply_fault(struct buf *out, enum kq_err err, const struct fault *fault);

/* `{"Ok":true,"Data":` ... `}`. Between them one JSON value through j. */
void reply_data_begin(struct json *j, struct buf *out);
void reply_data_end(struct json *j);

/* HELP: all commands, or (about != TEXT_NONE) one. */
void reply_help(struct buf *out, enum text_verb about);
/* PRID: {"Ok":true,"Data":{"Id":7,"Epoch":0}} */
void reply_producer(struct buf *out, int64_t producer_id, int16_t producer_epoch);

/* ---- records ------------------------------------------------------------------- */

/* A record as CONS and TAIL show it. header and key with data NULL show as "";
 * body with data NULL shows as null. What is no UTF-8 comes as HeaderBase64,
 * KeyBase64, BodyBase64 in the member's place. */
struct reply_record {
    struct slice header;
    struct slice key;
    struct slice body;
    int64_t offset;
    int64_t timestamp_ms;
};

/* {"Header":"..","Body":"..","Key":"..","Offset":0,"Timestamp":1700000000000} */
void reply_record_object(struct buf *out, const struct reply_record *record);

/* CONS: begin, any number of records (first is true for the first), then end or
 * fail. The pieces may be in different bufs; only their order matters. */
void reply_records_begin(struct buf *out);
void reply_records_add(struct buf *out, const struct reply_record *record, bool first);
void reply_records_end(struct buf *out);
/* Reading broke off: `],"Error":"text"}`. */
void reply_records_fail(struct buf *out, const char *text);
/* TAIL: the object and a line feed. */
void reply_tail_record(struct buf *out, const struct reply_record *record);

/* ---- events: lines of their own between replies --------------------------------- */

/* {"Event":"revoked","Topic":"..","Partition":1,"Id":".."} */
void reply_event_revoked(struct buf *out, struct slice topic, int32_t partition, struct slice id);
void reply_event_assigned(struct buf *out, struct slice topic, int32_t partition, struct slice id);

#endif
