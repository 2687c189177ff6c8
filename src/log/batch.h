/*
 * Kafka's record batch v2 (magic 2): the unit that producers make, that the log
 * stores and that consumers get, byte for byte. Big-endian.
 *
 *    0  8  base offset            set by the broker
 *    8  4  length after this field
 *   12  4  partition leader epoch set by the broker (the Raft term)
 *   16  1  magic = 2
 *   17  4  CRC-32C of everything from byte 21 on
 *   21  2  attributes: 0-2 codec, 3 LogAppendTime, 4 transactional, 5 control
 *   23  4  last offset delta
 *   27  8  base timestamp (ms)
 *   35  8  max timestamp (ms)
 *   43  8  producer id, or -1
 *   51  2  producer epoch
 *   53  4  base sequence
 *   57  4  record count
 *   61  .. records
 *
 * A record: varint length, int8 attributes, varint timestamp delta, varint
 * offset delta, varint key length (-1: null), key, varint value length (-1:
 * null), value, varint header count, headers (varint key length, key, varint
 * value length, value); zig-zag varints.
 */
#ifndef KQ_LOG_BATCH_H
#define KQ_LOG_BATCH_H

#include "base/bytes.h"
#include "base/err.h"
#include "base/slice.h"

enum {
    BATCH_HEADER_BYTES = 61,
    BATCH_CRC_FROM = 21, /* the checksum covers from here to the end */
    BATCH_MAGIC = 2,
    BATCH_CODEC_MASK = 0x07,
    BATCH_LOG_APPEND_TIME = 0x08,
    BATCH_TRANSACTIONAL = 0x10,
    BATCH_CONTROL = 0x20,
    BATCH_RECORD_OVERHEAD_BYTES = 64, /* the most that a record adds to its key, value and one header */
};

struct batch_info {
    int64_t base_off;
    int32_t size_bytes; /* whole, header included */
    int32_t leader_epoch;
    uint32_t crc;
    uint16_t attributes;
    int32_t last_offset_delta;
    int64_t base_time_ms;
    int64_t max_time_ms;
    int64_t producer_id; /* -1: none */
    int16_t producer_epoch;
    int32_t base_sequence;
    int32_t record_count;
};

/* ---- making one --------------------------------------------------------------- */

/* A batch that grows at the end of a buffer. Records get offsets 0, 1, 2 ... */
struct batch_maker {
    struct buf *out;
    size_t start; /* where in out the batch begins */
    int64_t base_time_ms;
    int64_t max_time_ms;
    int32_t record_count;
    uint16_t attributes; /* 0 when begun; whoever makes the batch may set BATCH_LOG_APPEND_TIME */
};

/* Any thread. Begins a batch at the end of out (failure is in out->bad). */
void batch_begin(struct batch_maker *m, struct buf *out, int64_t time_ms);
/* header_name NULL: the record has no header. An absent slice is a null. */
void batch_add(struct batch_maker *m, int64_t time_ms, struct slice key, struct slice value, const char *header_name,
               struct slice header_value);
/* Fills in the batch's header and checksum. producer_id -1: no producer. */
void batch_end(struct batch_maker *m, int64_t producer_id, int16_t producer_epoch, int32_t base_sequence);

/* ---- reading one -------------------------------------------------------------- */

/* Any thread. The header at the start of c; moves c past the whole batch.
 * KQ_INVALID_RECORD: sizes or magic cannot be. Does not look at the checksum. */
enum kq_err batch_next(struct cursor *c, struct batch_info *info, const uint8_t **batch);
/* Any thread. Checks the batch's own checksum. */
bool batch_crc_ok(const uint8_t *batch, const struct batch_info *info);
/* Any thread. What the broker may set without touching the checksum. */
void batch_place(uint8_t *batch, int64_t base_off, int32_t leader_epoch);

/* Any thread. Gives all its records this time (LogAppendTime), and the batch its checksum anew. */
void batch_stamp(uint8_t *batch, struct batch_info *info, int64_t time_ms);

struct record {
    int64_t off;
    int64_t time_ms;
    struct slice key;
    struct slice value;
    int32_t header_count;
    struct cursor headers; /* over the encoded headers; record_header walks it */
};

struct record_walk {
    struct cursor at;
    struct batch_info info;
    int32_t done;
};

/* Any thread. Walks an uncompressed batch. */
void record_walk_init(struct record_walk *w, const uint8_t *batch, const struct batch_info *info);
/* Likewise over the records of a batch that was compressed, as they are when unpacked. */
void record_walk_over(struct record_walk *w, const uint8_t *records, size_t size_bytes, const struct batch_info *info);
/* KQ_EOF after the last; KQ_INVALID_RECORD: the bytes are no record. */
enum kq_err record_walk_next(struct record_walk *w, struct record *r);
/* Any thread. Of an uncompressed batch: whether all its records are well formed to their last header, and
 * their offsets follow each other. KQ_INVALID_RECORD: *bad is the first that is not. */
enum kq_err batch_check_records(const uint8_t *batch, const struct batch_info *info, int32_t *bad);
/* The next header of r; false: no more (or not well formed). */
bool record_header(struct record *r, struct slice *name, struct slice *value);
/* The value of the first header of that name that record_header has not yet walked
 * past; absent if there is none. */
struct slice record_header_named(struct record *r, const char *name);

#endif
