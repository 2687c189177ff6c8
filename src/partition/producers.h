/*
 * What a partition remembers of idempotent producers, so that a batch sent twice
 * is stored once: for each producer id its epoch and its last five batches
 * (KIP-98; the five are Kafka's max.in.flight.requests.per.connection).
 *
 * It stands as of the log's end, uncommitted batches included, and is rebuilt
 * from the batches' headers on top of the state stored in footers and snapshots.
 * A producer that has not written for PRODUCERS_EXPIRE_MS, or is the oldest of
 * more than PRODUCERS_MAX, is forgotten; its next batch is taken with any
 * sequence (from Kafka clients not in a term's first moments: see comes_too_soon).
 */
#ifndef KQ_PARTITION_PRODUCERS_H
#define KQ_PARTITION_PRODUCERS_H

#include "base/bytes.h"
#include "base/err.h"
#include "base/map.h"
#include "log/batch.h"

enum { PRODUCERS_MAX = 10000, PRODUCERS_BATCHES = 5 };
#define PRODUCERS_EXPIRE_MS ((int64_t)24 * 60 * 60 * 1000)

struct producer;

struct producers {
    struct map by_id;
    struct producer *oldest; /* by last write */
    struct producer *newest;
};

void producers_init(struct producers *producers);
void producers_fini(struct producers *producers);

enum producers_verdict {
    PRODUCERS_NEXT,      /* to be appended */
    PRODUCERS_DUPLICATE, /* stored already: *base_off, *idx say where */
    PRODUCERS_GAP,       /* KQ_SEQUENCE_GAP */
    PRODUCERS_FENCED,    /* KQ_PRODUCER_FENCED */
};

/* Owner's thread. Judges a batch with a producer id before it is appended. */
enum producers_verdict producers_judge(const struct producers *producers, const struct batch_info *batch,
                                       int64_t *base_off, uint64_t *idx);

/* Owner's thread. Whether it has written here, and was not forgotten. */
bool producers_know(const struct producers *producers, int64_t id);

/* Owner's thread. Remembers a batch that was appended at base_off in entry idx.
 * KQ_NO_MEMORY: nothing changed (the caller must not append then). */
enum kq_err producers_note(struct producers *producers, const struct batch_info *batch, int64_t base_off, uint64_t idx,
                           int64_t now_ms);

/* Owner's thread. All of them, who wrote longest ago first. NULL and *count 0: there are none; NULL and
 * more: out of memory. The caller frees it. */
struct partition_producer_row;
struct partition_producer_row *producers_list(const struct producers *producers, uint32_t *count);

/* What came in entries up to idx (UINT64_MAX: all). Versioned; at most PRODUCERS_MAX
 * times about 200 bytes. */
void producers_encode(const struct producers *producers, uint64_t idx, struct buf *out);
/* Into an empty table. KQ_CORRUPT, KQ_BAD_VERSION, KQ_NO_MEMORY. */
enum kq_err producers_decode(struct producers *producers, struct cursor *in);

#endif
