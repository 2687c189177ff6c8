/*
 * The partition actor: a replica (raft + log), its producers' state, its machine
 * if it carries one, and the requests that wait. A step-shaped thing: mail and
 * the time go in by actor_turn(); jobs, answers and a new view come out through
 * the table of functions it was given. It knows no thread; whoever holds the
 * mailbox's token (or a test) runs it.
 *
 * A turn:
 *   1. control mail: a finished job moves `flushed`, raft moves `commit`
 *   2. data mail is folded: many publishes become one entry, appended by one
 *      write; a machine's calls are decided, and its records become one entry
 *   3. jobs that are due go out: a flush covers all that was appended
 *   4. answers whose entry is committed are given, last, so that the disk works
 *      meanwhile
 * At most `unflushed_entries` record entries are in flight; at that bound the
 * data lane waits and what gathers there becomes the next entry.
 *
 * It must never answer a publish before its entry is committed, show a reader
 * what is not, or go on after its log has failed.
 */
#ifndef KQ_PARTITION_ACTOR_H
#define KQ_PARTITION_ACTOR_H

#include "partition/partition.h"

struct actor;

struct actor_env {
    void *context;
    /* Runs the job elsewhere and posts its completion. alone: little else is to
     * be done on this turn. */
    void (*submit)(void *context, enum log_lane lane, struct log_job *job, bool alone);
    /* Takes the reference. */
    void (*show_view)(void *context, struct log_view *view);
};

struct actor_options {
    struct log_options log;
    uint32_t broker_id;
    struct uuid incarnation; /* for a folder that is made now */
    struct partition_limits limits;
    struct machine machine;
    bool flush_always;
    int64_t flush_interval_us;
    uint32_t flush_interval_bytes;
    uint32_t entry_max_bytes;
    uint32_t unflushed_entries;
    struct uuid boot_id; /* of the machine's present boot */
    struct engine_counters *counters;
    struct actor_env env;
};

/* A completion of a log job, as it comes back on the control lane. */
struct actor_job_mail {
    struct mail mail;
    struct log_job *job;
    enum log_lane lane;
};

/* Posted to stop: what waits is answered with reason. */
struct actor_stop_mail {
    struct mail mail;
    enum kq_err reason;
};

/* From malloc; the actor frees it. */
struct actor_configure_mail {
    struct mail mail;
    struct partition_limits limits;
};

/* Blocks on the disk. Opens or creates the replica and replays its machine. */
enum kq_err actor_open(struct actor **actor, const struct actor_options *options, const struct machine_now *now,
                       struct fault *fault);
/* Blocks. When actor_stopped(), or never opened fully. Closes the log cleanly. */
void actor_close(struct actor **actor);

/* One turn. Empties both lists. */
void actor_turn(struct actor *actor, struct mail_list *control, struct mail_list *data, const struct machine_now *now);
/* Whether data mail can be used now. */
bool actor_wants_data(const struct actor *actor);
/* When to send MAIL_TICK; CLOCK_NEVER: not. */
int64_t actor_deadline_us(const struct actor *actor);
/* Asked to stop, and nothing is in flight: nothing more will come out. */
bool actor_stopped(const struct actor *actor);

void actor_status(const struct actor *actor, struct partition_status *status);
/* What must hold between turns; aborts where it does not. */
void actor_check(const struct actor *actor);

/* Any thread. True: the caller has claimed to cancel the wait and must post its
 * MAIL_WAIT_CANCEL; done runs then. False: done runs, or has run, without it. */
bool actor_wait_claim_cancel(struct wait_request *wait);

/* Gives a data mail back with an error (also for a mailbox that was closed). */
void actor_refuse(struct mail *mail, enum kq_err err, const struct fault *fault);

#endif
