/*
 * The threads that all partitions of a broker share: flushers (datasync), the
 * keeper (preparing, rolling, deleting, joining stopped partitions, scrubbing),
 * deputies (turns of partitions whose own thread is away with a flush),
 * readers (what other brokers ask to be read) and the timer. They pump jobs and deadlines; they decide nothing.
 */
#ifndef KQ_PARTITION_ENGINE_H
#define KQ_PARTITION_ENGINE_H

#include "base/err.h"
#include "log/log.h"
#include "partition/jobs.h"

#include <stdatomic.h>

struct engine;

struct engine_options {
    struct io *io;
    const char *data_dir; /* copied */
    uint32_t broker_id;
    struct uuid boot_id; /* of the machine's present boot (/proc/sys/kernel/random/boot_id) */
    uint32_t flusher_count;
    size_t stack_bytes;         /* of every thread started below here */
    uint64_t mailbox_bytes;     /* a partition's data lane */
    uint32_t entry_max_bytes;   /* what one turn folds into an entry */
    uint32_t unflushed_entries; /* at most this many; beyond it the data lane waits */
    uint32_t prepare_min_bytes;
    uint32_t prepare_max_bytes;
    int64_t prepare_budget_bytes;
    int64_t mark_delay_us;
    bool flush_always; /* false: interval */
    int64_t flush_interval_us;
    uint32_t flush_interval_bytes;
    int64_t scrub_interval_us; /* 0: never */
    int64_t election_us;       /* election.timeout; 0: raft's default */
    int64_t beat_us;           /* beat.interval; 0: raft's default */
};

/* Bumped relaxed; for INFO and the bench. */
struct engine_counters {
    struct log_counters log;
    _Atomic uint64_t handoffs; /* one thread woke another */
    _Atomic uint64_t turns;
    _Atomic uint64_t slow_turns;  /* longer than 10 ms */
    _Atomic uint64_t messages_in; /* records appended */
    _Atomic uint64_t batches_in;
    _Atomic uint64_t bytes_in; /* of records appended, by this broker as the leader */
    _Atomic uint64_t entries;
};

enum kq_err engine_start(struct engine **engine, const struct engine_options *options, struct fault *fault);
/* After all partitions have stopped. Joins its threads. */
void engine_stop(struct engine **engine);
struct engine_counters *engine_counters(struct engine *engine);
struct io *engine_io(struct engine *engine);
const struct engine_options *engine_options(const struct engine *engine);

/* Any thread. Whether a thread that has others to serve (a worker) may run an actor's turn now: one at a time, so that
 * a disk that hangs under a write holds one of them and no more. True: engine_lent_end() follows. */
bool engine_lent_begin(struct engine *engine);
void engine_lent_end(struct engine *engine);

/* The actor's own thread, which would run a job of its log that blocks. True: a thread is kept for its deputy; when the
 * thread has come back and the deputy has ended, engine_deputy_free(). False: as many are away as there are deputies.
 */
bool engine_deputy_book(struct engine *engine);
void engine_deputy_free(struct engine *engine);
/* Any thread. Runs it on a deputy's thread; one that was booked. */
void engine_post_deputy(struct engine *engine, struct job *job);

/* Background work for the keeper's thread: run(job) is called once, after the
 * logs' own jobs, and may block for some milliseconds; it may post itself again
 * for the next piece. */
/* Any thread. */
void engine_post_work(struct engine *engine, struct job *work);

/* Any thread. A read that may have to wait for the disk, as long as that takes: on a reader's
 * thread, so that segments are prepared and partitions stopped meanwhile. What is posted is run,
 * also after the partitions have stopped. */
void engine_post_read(struct engine *engine, struct job *read);

/* A deadline on the timer's thread: fire(deadline) runs there once when it has
 * come, must not block, and may set it again. Zeroed, then set. */
struct engine_deadline {
    void (*fire)(struct engine_deadline *deadline);
    int64_t due_us; /* the timer's */
    uint32_t place; /* the timer's: 0 when not set */
};
/* Any thread. Sets or moves it. CLOCK_NEVER takes it back; one that fires just
 * now may still fire. */
void engine_set_deadline(struct engine *engine, struct engine_deadline *deadline, int64_t due_us);
/* Any thread; the timer's only in this deadline's own fire. Takes it back and waits for a
 * fire under way elsewhere, so that the deadline's memory may go. */
void engine_cancel_deadline(struct engine *engine, struct engine_deadline *deadline);

/* ---- for partition.c -------------------------------------------------------------- */

/* Any thread. A log's job, to the flushers or to the keeper. spare_wakeup: the
 * caller is free in a moment; if it is a flusher itself it will take the job. */
void engine_post_flush(struct engine *engine, struct job *job, bool spare_wakeup);
void engine_post_keep(struct engine *engine, struct job *job);
struct account *engine_prepare_budget(struct engine *engine);

#endif
