/*
 * A state machine on top of a replicated log: the cluster's metadata, the
 * consumer groups. The partition actor runs it; its state changes through
 * records only.
 *
 * On the leader a change is applied at once when it is proposed, so that the
 * next call sees it, and is answered when it is committed; followers, and every
 * start, apply what is committed. So `apply` is called exactly once a record, in
 * order, everywhere. A leader that loses its place resets the machine, restores
 * the snapshot and replays the committed log.
 *
 * All functions of a machine run on the actor's turn: one at a time, and they
 * must not block. Time comes in with the call.
 */
#ifndef KQ_PARTITION_MACHINE_H
#define KQ_PARTITION_MACHINE_H

#include "base/bytes.h"
#include "base/err.h"
#include "log/batch.h"
#include "partition/mailbox.h"

struct machine_turn;

struct machine_now {
    int64_t mono_us;
    int64_t wall_ms;
};

/* A question to the machine, or a change asked of it. Embedded in the caller's
 * own struct; belongs to the actor from partition_call() until `done`. */
struct machine_call {
    struct mail mail;
    /* Runs on the actor's turn and must not block; the call is the caller's again. */
    void (*done)(struct machine_call *call);
    /* A question that any replica answers from what it knows to be committed, when nobody leads:
     * the machine proposes nothing and remembers nothing of it. */
    bool anywhere;
    struct fault fault; /* the answer: fault.err KQ_OK, or the error with its sentence (or none) */
    uint64_t wait_idx;  /* the actor's: answered when this is committed */
};

/* Something to tell a third party (an event for another session) once what was
 * proposed before it is committed. `deliver` gets it back with KQ_OK, or with
 * the error if it will never be committed here; it must not block. */
struct machine_note {
    struct machine_note *next;
    void (*deliver)(struct machine_note *note, enum kq_err err);
    uint64_t wait_idx; /* the actor's */
};

struct machine_ops {
    const char *name;
    /* True: take no call while something proposed is uncommitted (what the
     * machine shows to others is then always committed state). */
    bool serial;
    /* Leader only, but for calls that say `anywhere`. Decides; may propose and note. True: answered (call->fault is
     * set; it goes out when all that was proposed so far is committed). False: the
     * machine keeps the call and answers later by machine_answer(). */
    bool (*call)(void *machine, struct machine_call *call, struct machine_turn *turn, const struct machine_now *now);
    /* Whether this call could propose at all; those that cannot are served also
     * while the disk is full. NULL: every call may. */
    bool (*may_propose)(const struct machine_call *call);
    /* Every replica. One record; off is its offset. Must not fail: a record that
     * does not decode is skipped with a line in the log. */
    void (*apply)(void *machine, int64_t off, const struct record *record);
    /* Every replica. All that was applied is committed now. */
    void (*committed)(void *machine, const struct machine_now *now);
    /* Leader only; when deadline_us() has come. */
    void (*tick)(void *machine, struct machine_turn *turn, const struct machine_now *now);
    /* Leader only, after each turn; CLOCK_NEVER: none. */
    int64_t (*deadline_us)(const void *machine);
    /* This replica begins to lead (everything committed is applied), or no longer
     * does: calls kept must be answered KQ_NOT_LEADER then, through their done. */
    void (*leads)(void *machine, bool leads, const struct machine_now *now);
    /* Versioned bytes from which restore() makes the same state. */
    void (*snapshot)(const void *machine, struct buf *out);
    enum kq_err (*restore)(void *machine, const void *bytes, size_t size_bytes, struct fault *fault);
    /* Back to the empty state. */
    void (*reset)(void *machine);
};

struct machine {
    const struct machine_ops *ops;
    void *state;
    uint64_t snapshot_every_bytes; /* of log since the last one */
};

/* Within call() and tick(). The record is applied at once and goes into the next
 * entry. Key and value are copied. */
void machine_propose(struct machine_turn *turn, struct slice key, struct slice value);
/* Within call() and tick(). Takes the note. */
void machine_note(struct machine_turn *turn, struct machine_note *note);
/* Within call() and tick(). Answers a call that call() kept. */
void machine_answer(struct machine_turn *turn, struct machine_call *call);

#endif
