/*
 * Publishing: consecutive messages are folded into one record batch and one
 * request a partition, and the answer of each message is found again.
 *
 * A fold is filled by one thread, sent once, and answered part by part on the
 * turns of the partitions' actors. It knows nothing of replies or connections.
 */
#ifndef KQ_API_PUBLISH_H
#define KQ_API_PUBLISH_H

#include "api/broker.h"
#include "log/batch.h"

struct publish_fold;

/* What goes to one partition. */
struct publish_part {
    struct publish_request request; /* request.fault is the answer */
    struct publish_fold *fold;
    struct partition *partition; /* a reference */
    struct buf batches;
    struct batch_maker maker;
    int32_t limit_bytes; /* of the batch */
    bool crowded;        /* the sender's: the partition has more than it can take */
    bool done;           /* the owner's, under its lock */
    bool counted;        /* the owner's, under its lock: as crowded */
};

struct publish_fold {
    struct publish_part **parts;
    uint16_t *part_of; /* a message's part; NULL while there is but one part */
    uint32_t part_count;
    uint32_t part_cap;
    uint32_t message_count;
    uint32_t message_cap; /* of part_of */
    uint32_t hint;        /* the part after the one used last: round robin finds its part at once */
    int64_t time_ms;
    int64_t deadline_us;
    /* Runs once for each part, on an actor's turn, on any thread (also within
     * publish_fold_send). */
    void (*part_done)(struct publish_part *part);
};

enum { PUBLISH_PARTS_MAX = 4096, PUBLISH_MESSAGES_MAX = 65536 };

struct publish_message {
    struct slice key;    /* absent or empty: no key */
    struct slice value;  /* absent: null */
    struct slice header; /* absent: no header; else the record header `Header` */
};

/* time_ms: wall clock; deadline_us: CLOCK_MONOTONIC. */
void publish_fold_init(struct publish_fold *fold, int64_t time_ms, int64_t deadline_us,
                       void (*part_done)(struct publish_part *part));
/* Not between publish_fold_send and the last part_done. */
void publish_fold_fini(struct publish_fold *fold);

/* Adds a message to the partition that its key, or else round robin, chooses.
 * expected_bytes: how much more is likely to come for this topic, to size memory.
 * KQ_FULL: the fold has to be sent first, then the message fits into a new one.
 * KQ_TOO_LARGE, KQ_NO_LEADER, KQ_NO_MEMORY: this message's answer. */
enum kq_err publish_fold_add(struct publish_fold *fold, struct image_topic *topic,
                             const struct publish_message *message, size_t expected_bytes, struct fault *fault);

/* One message of a producer to a partition that it chose, into an empty fold.
 * KQ_BAD_PARTITIONS and as publish_fold_add. */
struct publish_producer {
    uint32_t partition;
    int64_t id;
    int16_t epoch;
    int32_t sequence;
};
enum kq_err publish_fold_produce(struct publish_fold *fold, struct image_topic *topic,
                                 const struct publish_message *message, const struct publish_producer *producer,
                                 struct fault *fault);

/* Memory held until the last part is done, for accounts. */
size_t publish_fold_bytes(const struct publish_fold *fold);

/* Hands all parts to their partitions. The fold must stay until this has returned
 * and each part is done. Returns how many parts are marked crowded: the client is
 * not to be read before these are done. */
uint32_t publish_fold_send(struct publish_fold *fold);

/* The part that a message went to. */
static inline struct publish_part *publish_fold_part(const struct publish_fold *fold, uint32_t message)
{
    return fold->parts[fold->part_of == NULL ? 0 : fold->part_of[message]];
}

#endif
