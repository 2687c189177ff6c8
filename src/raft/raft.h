/*
 * Consensus: one replica of one Raft group, as a pure step function. No thread,
 * clock, random source, socket, disk, logging or malloc in here; events with
 * the time in them go in, what to do comes out. It holds terms and indexes,
 * never bytes.
 *
 * Groups of one voter are complete here: the voter opens a term by its own vote
 * when it has something to append, commits what its own disk has, and serves
 * what is committed from the start. Election among several, replication and
 * changes of membership add events and outputs to this same shape.
 *
 * Rules, with their source (numbers of Ongaro's thesis):
 * - Term and vote are durable before anybody may act on them (3.8). The owner is
 *   told a hard-state version and reports it durable.
 * - A leader appends a no-op that opens its term and takes no proposal before
 *   that is committed (6.4; KAFKA-12619).
 * - A leader counts itself only for what its own disk has (10.2.1), unless the
 *   group is told to commit what is in memory (flush = interval).
 * - A completion is fenced by (term, index): one from before a truncation or of
 *   an older term says nothing (etcd's append-response ABA).
 * - After a failed write a replica neither votes nor leads nor counts (NATS
 *   860e23645).
 * - The sole voter of a group may count everything that is durable in its log as
 *   committed: no other majority exists that could decide otherwise.
 */
#ifndef KQ_RAFT_RAFT_H
#define KQ_RAFT_RAFT_H

#include "base/uuid.h"

#include <stdbool.h>
#include <stdint.h>

enum raft_role { RAFT_FOLLOWER, RAFT_CANDIDATE, RAFT_LEADER };

struct raft_member {
    uint32_t broker_id;
    struct uuid incarnation;
};

struct raft {
    struct raft_member self;
    uint32_t voter_count;
    bool commits_unflushed; /* flush = interval */
    bool failed;
    enum raft_role role;
    uint64_t term;
    struct raft_member vote; /* broker_id 0: none */
    uint64_t hard_version;   /* of the latest term and vote handed out to be saved; 0: none since the start */
    uint64_t hard_durable;   /* the latest version known durable */
    uint64_t first_term;     /* a term made durable with the group's creation, not yet led; 0: none */
    uint64_t last_idx;
    uint64_t last_term;
    uint64_t flushed_idx;
    uint64_t commit_idx;
    uint64_t noop_idx; /* opens the present term; 0: not appended yet */
};

/* What the disk had at the start, all of it durable. */
struct raft_start {
    struct raft_member self;
    uint32_t voter_count; /* of the configuration in force; self is among them */
    bool commits_unflushed;
    uint64_t term;
    struct raft_member vote;
    uint64_t last_idx;
    uint64_t last_term;
    uint64_t commit_idx; /* the recorded hint */
    /* The group was created now, with `term` and a vote for itself durable. That
     * term was never led, so it may be, without another write. */
    bool created;
};

enum raft_event_type {
    RAFT_EV_WANT_LEAD,   /* somebody waits for an append */
    RAFT_EV_APPENDED,    /* the entry at idx, of term, is in the log, not yet durable */
    RAFT_EV_FLUSHED,     /* the log is durable up to idx, whose entry has this term */
    RAFT_EV_HARD_STATE,  /* this version of term and vote is durable */
    RAFT_EV_DISK_FAILED, /* nothing more can be made durable here */
};

struct raft_event {
    enum raft_event_type type;
    int64_t now_us;
    uint64_t term;
    uint64_t idx;
    uint64_t version;
};

struct raft_out {
    bool save_hard_state; /* make term and vote durable; the owner calls raft_saving() with its version */
    bool append_noop;     /* append a NOOP entry at last_idx + 1 in the present term, as soon as there is room */
    bool committed;       /* commit_idx moved */
    bool role_changed;
};

/* Owner's thread, all of them. raft lives in its owner's memory. */
void raft_init(struct raft *raft, const struct raft_start *start);
/* Feeds one event; *out is cleared first. */
void raft_step(struct raft *raft, const struct raft_event *event, struct raft_out *out);
/* The version under which the hard state of the last `save_hard_state` goes to disk. */
void raft_saving(struct raft *raft, uint64_t version);
/* This replica leads and its term's no-op is committed: proposals may be appended. */
bool raft_may_propose(const struct raft *raft);
/* What must hold after every step; aborts where it does not. */
void raft_check(const struct raft *raft);

#endif
