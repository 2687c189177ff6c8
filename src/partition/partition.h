/*
 * A hosted partition: an actor with a thread and a mailbox of its own, whose
 * replica is raft + log. Everything other layers do with a partition goes
 * through this header; nothing here waits for it.
 *
 * Requests are embedded in the caller's own structs and belong to the partition
 * from the call until their `done` runs: on the actor's turn, on whatever thread
 * runs it. `done` must not block, and must not call back into the same partition
 * except to post.
 */
#ifndef KQ_PARTITION_PARTITION_H
#define KQ_PARTITION_PARTITION_H

#include "base/err.h"
#include "base/uuid.h"
#include "log/log.h"
#include "partition/engine.h"
#include "partition/machine.h"
#include "partition/mailbox.h"

struct partition;

/* What a topic's configuration says to its partitions. -1: no limit. */
struct partition_limits {
    int64_t segment_bytes;
    int64_t retention_bytes;
    int64_t retention_ms;
    int32_t max_message_bytes; /* a batch, as Kafka counts it */
};

struct partition_options {
    struct engine *engine;
    const char *dir;   /* the replica's folder, "/data/topic-3"; copied */
    const char *title; /* "topic-3"; copied */
    struct uuid topic_id;
    uint32_t partition;
    struct uuid incarnation; /* of this replica, for a folder that is made now */
    struct partition_limits limits;
    struct machine machine; /* ops NULL: a data partition */
    /* Once, on the partition's thread, when it serves or has failed to open
     * (fault->err, with the sentence that tells the operator what to do). */
    void (*ready)(void *context, struct partition *partition, const struct fault *fault);
    void *context;
};

/* ---- life (any thread) -------------------------------------------------------- */

/* Starts the thread; it opens the log itself. Requests may be posted at once and
 * wait for it. Gives one reference. */
enum kq_err partition_start(struct partition **partition, const struct partition_options *options);
struct partition *partition_hold(struct partition *partition);
void partition_drop(struct partition **partition);
/* Begins to stop: what waits is answered with `reason` (KQ_STOPPING,
 * KQ_UNKNOWN_TOPIC), what is appended is flushed and answered, the log is closed
 * cleanly. stopped(context, partition) runs then, on the keeper's thread, after
 * the partition's thread was joined; it may block on the disk. Once only. */
void partition_stop(struct partition *partition, enum kq_err reason,
                    void (*stopped)(void *context, struct partition *partition), void *context);

/* ---- publishing ------------------------------------------------------------------ */

struct publish_request {
    struct mail mail;
    void (*done)(struct publish_request *request);
    uint8_t *batches; /* whole v2 batches, back to back; the requester's memory, changed in place (batch_place) */
    uint32_t batches_bytes;
    uint32_t record_count;
    uint32_t batch_count;
    int64_t deadline_us; /* CLOCK_MONOTONIC */
    /* the answer */
    struct fault fault; /* .err KQ_OK: committed as configured */
    int64_t base_off;   /* of the first record */
    int64_t log_start_off;
    uint64_t wait_idx; /* the partition's: answered when this is committed */
};

/* Any thread. Always takes the request. True: the mailbox is crowded, read no
 * more from this client before this request is done. Producer ids in the batches
 * are checked here: a duplicate is answered like its original. Batches with
 * producers are one to a request. */
bool partition_publish(struct partition *partition, struct publish_request *request);

/* ---- reading ------------------------------------------------------------------------ */

/* Any thread. The present view with a reference for the caller, or NULL while the
 * partition opens or when it has failed (partition_status says which). */
struct log_view *partition_view(struct partition *partition);

/* Told once when the high watermark passes off, or the partition stops (KQ_STOPPING
 * and the like), or after partition_wait_cancel (KQ_AGAIN). Zeroed, then filled. */
struct wait_request {
    struct mail mail;
    void (*done)(struct wait_request *request);
    int64_t off;
    enum kq_err err;
    struct wait_request *next; /* the partition's, as all below */
    struct mail cancel;
    _Atomic int state;
};
void partition_wait(struct partition *partition, struct wait_request *request);
/* Any thread, at most once a request, and only if its done is not known to have
 * run: the caller's own lock sees to that the memory is still there. done runs
 * exactly once all the same. */
void partition_wait_cancel(struct partition *partition, struct wait_request *request);

/* ---- machines, limits, state --------------------------------------------------------- */

/* Any thread. A call to the partition's machine. */
void partition_call(struct partition *partition, struct machine_call *call);

/* Any thread. New limits; takes effect on the next turn. */
void partition_configure(struct partition *partition, const struct partition_limits *limits);

enum partition_state { PARTITION_OPENING, PARTITION_SERVING, PARTITION_FAILED, PARTITION_STOPPED };

struct partition_status {
    enum partition_state state;
    struct fault fault; /* FAILED: why, where, what to do */
    uint64_t term;
    bool leads;
    int64_t log_start_off;
    int64_t high_watermark;
    uint64_t size_bytes;
};
/* Any thread. */
void partition_status(struct partition *partition, struct partition_status *status);
const char *partition_title(const struct partition *partition);
const char *partition_dir(const struct partition *partition);

#endif
