/*
 * What brokers ask each other about a partition's messages: the bodies of
 * ASK_PUBLISH, ASK_READ and ASK_WATCH and of their answers. Little-endian.
 *
 *    every question   le16 version = 1, le16 flags, 16 bytes topic id, le32 partition
 *    PUBLISH          le64 in_term, le32 wait_ms, le32 records, le32 batches; the batches
 *       answer        le64 base offset, le64 term, le64 log start
 *    READ             le64 offset, le64 end (-1: the high watermark of now), le32 bytes
 *       answer        le64 log start, le64 high watermark, le64 offset, le64 end; whole batches
 *    WATCH            le64 offset, le32 wait_ms
 *       answer        le64 log start, le64 high watermark
 *
 * Pure. A question comes from another broker: all of it is checked before any of it
 * is believed.
 */
#ifndef KQ_API_ASK_WIRE_H
#define KQ_API_ASK_WIRE_H

#include "base/bytes.h"
#include "base/err.h"
#include "partition/packet.h"

enum {
    ASK_WIRE_VERSION = 1,
    ASK_WIRE_HEAD_MAX_BYTES = 64, /* of any question or answer, without its batches */
    ASK_READ_MAX_BYTES = 256 * 1024,
    ASK_WAIT_MAX_MS = 60 * 60 * 1000,
};

struct ask_publish {
    struct group_id group;
    uint64_t in_term;
    uint32_t wait_ms; /* as long as it may take to be committed */
    uint32_t record_count;
    uint32_t batch_count;
    uint32_t head_bytes; /* decoding: where the batches begin */
};
struct ask_published {
    int64_t base_off;
    uint64_t term;
    int64_t log_start_off;
};

enum {
    ASK_READ_CONFIRM = 1, /* the leader alone answers, once a majority says that it still leads */
    ASK_READ_CLAMP = 2,   /* an offset below the log start means the log start */
};
struct ask_read {
    struct group_id group;
    uint16_t flags;
    int64_t off; /* -1: the log start */
    int64_t end_off;
    uint32_t max_bytes; /* of batches, but for the first, which comes whole; 0: the bounds alone */
};
struct ask_reading {
    int64_t start_off;
    int64_t high_watermark;
    int64_t off; /* where it begins: as asked, or the log start */
    int64_t end_off;
    uint32_t head_bytes; /* decoding: where the batches begin */
};

struct ask_watch {
    struct group_id group;
    int64_t off;
    uint32_t wait_ms;
};
struct ask_watched {
    int64_t start_off;
    int64_t high_watermark;
};

/* Write into head (ASK_WIRE_HEAD_MAX_BYTES); how many bytes. */
uint32_t ask_publish_encode(const struct ask_publish *ask, uint8_t *head);
uint32_t ask_published_encode(const struct ask_published *answer, uint8_t *head);
uint32_t ask_read_encode(const struct ask_read *ask, uint8_t *head);
uint32_t ask_reading_encode(const struct ask_reading *answer, uint8_t *head);
uint32_t ask_watch_encode(const struct ask_watch *ask, uint8_t *head);
uint32_t ask_watched_encode(const struct ask_watched *answer, uint8_t *head);

/* KQ_OK; KQ_BAD_VERSION; KQ_GARBAGE: no such question. */
enum kq_err ask_publish_decode(struct ask_publish *ask, const uint8_t *body, size_t body_bytes);
enum kq_err ask_published_decode(struct ask_published *answer, const uint8_t *body, size_t body_bytes);
enum kq_err ask_read_decode(struct ask_read *ask, const uint8_t *body, size_t body_bytes);
enum kq_err ask_reading_decode(struct ask_reading *answer, const uint8_t *body, size_t body_bytes);
enum kq_err ask_watch_decode(struct ask_watch *ask, const uint8_t *body, size_t body_bytes);
enum kq_err ask_watched_decode(struct ask_watched *answer, const uint8_t *body, size_t body_bytes);

#endif
