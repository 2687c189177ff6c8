/* Record batches that clients have made themselves: what is checked before they go to the
 * replica here that leads their partition. */
#ifndef KQ_API_PRODUCE_H
#define KQ_API_PRODUCE_H

#include "api/broker.h"
#include "log/batch.h"

enum produce_flaw {
    PRODUCE_GOOD,
    PRODUCE_NOT_ONE_BATCH, /* none, several, or bytes that are no batch */
    PRODUCE_OLD_FORMAT,    /* a message set from before record batches */
    PRODUCE_TOO_LARGE,     /* max.message.bytes */
    PRODUCE_BAD_CHECKSUM,
    PRODUCE_BAD_RECORD,    /* counts, offsets or sequence that cannot be */
    PRODUCE_CONTROL,       /* markers are the broker's */
    PRODUCE_TRANSACTIONAL, /* no transaction was begun */
    PRODUCE_BAD_TIME,      /* message.timestamp.before.max.ms, .after.max.ms, or a type that is the broker's to set */
    PRODUCE_NO_CODEC,      /* its compression is not one that this client may use */
};

/* Any thread. Judges the records of one partition, in Kafka's order of checks (UnifiedLog.
 * analyzeAndValidateRecords, LogValidator.validateBatch, ProducerAppendInfo); the checksum is
 * computed over all of them, and each record is looked at if they are not compressed. zstd: whether the client may use
 * it (Produce 7 on, KIP-110). now_ms: the wall clock, for times; those of a batch are judged by its header, the first
 * record's and the newest. *info is the batch's, if good; *fault (may be NULL) says what is wrong. */
enum produce_flaw produce_check(struct slice records, const struct partition_limits *limits, bool zstd, int64_t now_ms,
                                struct batch_info *info, struct fault *fault);

#endif
