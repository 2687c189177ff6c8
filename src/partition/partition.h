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
#include "partition/packet.h"

struct partition;

/* What a topic's configuration says to its partitions. -1: no limit. */
struct partition_limits {
    int64_t segment_bytes;
    int64_t retention_bytes;
    int64_t retention_ms;
    int64_t segment_ms;        /* a segment takes no more when its first record is older; 0: for that never */
    int32_t max_message_bytes; /* a batch, as Kafka counts it */
    /* What is looked at before a batch comes here, and by acks=all. */
    int32_t min_in_sync;   /* fewer replicas in sync: acks=all is refused; 0: never */
    bool log_append_time;  /* messages have the broker's time */
    int64_t before_max_ms; /* how far a producer's time may be behind the broker's, */
    int64_t after_max_ms;  /* and ahead of it */
};

/* What a replica says of its group when it changes: to be claimed on the links, and
 * for whoever looks for the leader. */
struct replica_news {
    struct group_id group;
    struct raft_member self; /* this replica */
    uint64_t term;
    bool leads;                /* this replica, with its no-op committed */
    struct raft_member leader; /* broker_id 0: not known */
    bool forgot;               /* flush = interval: it may, and has not been brought up: its leader must not rest */
    uint64_t commit_idx;
    uint64_t config_idx; /* of the newest committed configuration */
};

/* The way to the other brokers; upward calls. Token holder; none may block. */
struct partition_peers {
    void *context;
    /* Takes the packet: it goes to message.to.broker_id, or is dropped. */
    void (*send)(void *context, struct packet *packet);
    /* Once when it serves; then when term, leads, leader, forgot or config_idx are others than
     * last told; commit_idx alone is no news. */
    void (*tell)(void *context, struct partition *partition, const struct replica_news *news);
    /* Entries first_idx .. last_idx of a sealed segment here are damaged, or of the unsealed one before it is
     * open: others have them (partition_mend). Told again from time to time while it is so. May be NULL. */
    void (*damaged)(void *context, struct partition *partition, uint64_t first_idx, uint64_t last_idx);
    /* This replica leads; a member of its lacks what is committed and has taken nothing more
     * for so long. Told again every second while it is so. May be NULL. */
    void (*stalled)(void *context, struct partition *partition, const struct raft_member *member, int64_t stood_us);
};

enum { PARTITION_MEMBERS_MAX = 16 };

struct partition_options {
    struct engine *engine;
    const char *dir;   /* the replica's folder, "/data/topic-3"; copied */
    const char *title; /* "topic-3"; copied */
    struct uuid topic_id;
    uint32_t partition;
    struct uuid incarnation; /* of this replica, for a folder that is made now */
    /* The members that the group is founded with, for a folder that is made now; copied.
     * founder_count 0 and not `joins`: this replica alone. `joins`: it is no founder, and
     * belongs to nothing until a leader brings it the log. */
    const struct raft_member *founders;
    uint32_t founder_count;
    bool joins;
    bool alone;                          /* nobody else holds it: nobody is asked for what is damaged in its tail */
    const struct partition_peers *peers; /* borrowed while it runs; NULL: groups of one only */
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
    /* Not 0: only in this term; else KQ_NOT_LEADER. So a sender who retries keeps its order. */
    uint64_t in_term;
    /* Came over a link, and may have been given up by its sender meanwhile. Bound to no term it
     * is taken by a sole voter alone: whoever leads others may have led again since. */
    bool forwarded;
    /* Not appended while fewer replicas are in sync than the limits say: KQ_NOT_ENOUGH_REPLICAS. */
    bool wants_in_sync;
    /* the answer */
    struct fault fault; /* .err KQ_OK: committed as configured; KQ_NOT_LEADER: not appended */
    uint64_t term;      /* in which it was appended, or of the leader known when it was refused */
    int64_t base_off;   /* of the first record */
    int64_t log_start_off;
    uint64_t wait_idx; /* the partition's: answered when this is committed */
};

/* Any thread. Always takes the request. True: the mailbox is crowded, read no
 * more from this client before this request is done. Producer ids in the batches
 * are checked here: a duplicate is answered like its original. Batches with
 * producers are one to a request. */
bool partition_publish(struct partition *partition, struct publish_request *request);
/* A thread that is in no partition's turn and holds no lock. As partition_publish; if the
 * partition is idle and the batches are few, the turn that appends them is run here, which spares
 * waking the partition's thread: `done` of this and of other requests may run before it returns. */
bool partition_publish_and_turn(struct partition *partition, struct publish_request *request);

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

/* ---- replication (any thread) ------------------------------------------------------------ */

/* A message for this replica. False: not taken (stopped, or too much waits); the
 * caller's again, to be released: Raft repeats what matters. The caller is in no partition's
 * turn and holds no lock: for a small message to an idle partition it runs the turn itself. */
bool partition_receive(struct partition *partition, struct parcel *parcel);
/* Beats of the leader's broker vouch for its leading this group in this term, or (on
 * false) no longer do. */
void partition_claim(struct partition *partition, const struct raft_member *leader, uint64_t term, bool on);
/* Leader: the link to this member's broker lives and its replica follows; or not. */
void partition_peer_link(struct partition *partition, const struct raft_member *member, bool on);
/* The process of this leader is known to be gone: campaign soon, not all at once. */
void partition_leader_gone(struct partition *partition, const struct raft_member *leader);
/* Its actor has not turned a mailbox with mail in it for limit_us, or is in one turn as long:
 * nobody may vouch for it. */
bool partition_is_stuck(struct partition *partition, int64_t now_us, int64_t limit_us);
/* Whom metadata wants as members (VOTER or LEARNER each; the preferred leader first, which
 * is also the replicas' rank). While this replica leads it brings that about: who comes is
 * a learner first, voters when they have caught up, then those leave that are not wanted;
 * one change at a time. */
void partition_set_target(struct partition *partition, const struct raft_seat *seats, uint32_t count);

/* Questions to a replica. Zeroed, then filled; the partition's until done. */
enum partition_question {
    PARTITION_ASK_TRANSFER, /* leader: hand over to broker `to` (0: the best). KQ_OK when another leads */
    PARTITION_ASK_BARRIER,  /* leader: confirmed by a majority to lead; off: the high watermark, to be read at least */
    PARTITION_ASK_MEMBERS,  /* any: members[], with match_idx and kinds if it leads */
    /* leader: where the records of term `epoch` and of those before it end (off), and the newest
     * of these terms that there is (epoch); 0: it is newer than any (KIP-320). */
    PARTITION_ASK_EPOCH,
    /* leader: the log is to start at `off` (-1: at the high watermark) or later. KQ_OK when that
     * is committed: off is where it starts. KQ_OFFSET_OUT_OF_RANGE: past the high watermark. */
    PARTITION_ASK_START,
    PARTITION_ASK_PRODUCERS, /* leader: producers[] that it remembers, who wrote longest ago first */
};
struct partition_member_row {
    struct raft_member member;
    uint32_t kinds; /* enum raft_seat_kind */
    uint64_t match_idx;
    int64_t end_off; /* of the records up to there; -1: not known */
    bool linked;
    bool in_sync; /* has all that is committed, or lacks no more than is on its way to it */
};
struct partition_producer_row {
    int64_t id;
    int64_t wrote_ms;
    int32_t last_sequence;
    int16_t epoch;
};
struct partition_ask {
    struct mail mail;
    enum partition_question question;
    uint32_t to;
    uint64_t epoch;
    int64_t deadline_us;
    void (*done)(struct partition_ask *ask);
    /* the answer */
    struct fault fault; /* KQ_NOT_LEADER, KQ_TIMEOUT, KQ_STOPPING, ... */
    int64_t off;
    uint64_t term;
    uint64_t last_idx;
    uint64_t commit_idx;
    struct raft_member leader;
    bool target_reached; /* the committed configuration is the target */
    struct partition_member_row members[PARTITION_MEMBERS_MAX];
    uint32_t member_count;
    struct partition_producer_row *producers; /* the asker frees it */
    uint32_t producer_count;
};
void partition_ask(struct partition *partition, struct partition_ask *ask);

/* Entries as a peer has them, in place of damaged ones that partition_peers.damaged told of.
 * Zeroed, then filled; the partition's until done. */
struct partition_mend {
    struct mail mail;
    const struct log_slice *entries; /* consecutive, all of the damage; body_crc as found with them there */
    uint32_t count;
    void (*done)(struct partition_mend *mend);
    struct fault fault; /* KQ_OK: they agree with what is here, and are written; else log_repair's answer; KQ_AGAIN:
                         * not needed any more */
};
void partition_mend(struct partition *partition, struct partition_mend *mend);

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
    uint32_t leader_id; /* the broker that leads, as far as this replica knows; 0: not known */
    int64_t log_start_off;
    int64_t high_watermark;
    uint64_t size_bytes;
};
/* Any thread. */
void partition_status(struct partition *partition, struct partition_status *status);
/* Any thread; no lock. The broker that leads, as far as this replica knows; 0: not
 * known (also while it opens, or stands still). *term (may be NULL): of the same moment, the term in which
 * it leads; whoever binds a publish to it is refused if it is older than what is true. */
uint32_t partition_leader(const struct partition *partition, uint64_t *term);
const char *partition_title(const struct partition *partition);
const char *partition_dir(const struct partition *partition);
struct group_id partition_group(const struct partition *partition);

#endif
