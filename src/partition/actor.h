/*
 * The partition actor: a replica (raft + log), its producers' state, its machine
 * if it carries one, and the requests that wait. A step-shaped thing: mail and
 * the time go in by actor_turn(); jobs, packets, answers and a new view come out
 * through the table of functions it was given. It knows no thread; whoever holds
 * the mailbox's token (or a test) runs it.
 *
 * A turn:
 *   1. control mail: a finished job moves `flushed`, a peer's parcel brings entries
 *      or acknowledges them, raft moves `commit`
 *   2. data mail is folded: many publishes become one entry, appended by one
 *      write; a machine's calls are decided, and its records become one entry
 *   3. packets leave for the followers, then jobs that are due go out: the leader's
 *      flush runs beside the sending; a flush covers all that was appended
 *   4. answers whose entry is committed are given, last, so that the disk works
 *      meanwhile
 * At most `unflushed_entries` record entries are in flight; at that bound the
 * data lane waits and what gathers there becomes the next entry.
 *
 * The rooms: actor.c (the turn), actor_open.c (life), actor_raft.c (what consensus
 * decides), actor_append.c (the leader's entries), actor_follow.c (the leader's
 * entries as a follower takes them), actor_peers.c (packets out), actor_members.c
 * (who belongs to the group, questions), actor_light.c (a turn that touches no disk), actor_watch.c (who stands still),
 * actor_mend.c, actor_machine.c, actor_state.c (what is stored beside the entries), actor_answer.c (requests),
 * actor_jobs.c, actor_tail.c.
 *
 * It must never answer a publish before its entry is committed, show a reader
 * what is not, let a message leave before what it promises is durable, or go on
 * after its log has failed.
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
    /* Those below: NULL in a group of one. */
    /* Takes the packet; it may be dropped. */
    void (*send)(void *context, struct packet *packet);
    void (*tell)(void *context, const struct replica_news *news);
    /* A packet of old entries, before it is sent: sees to that ACTOR_PEER_SENT comes when
     * it has left or was dropped. False: no memory. */
    bool (*watch)(void *context, struct packet *packet);
    /* Entries of a sealed segment cannot be read here: others have them. */
    void (*damaged)(void *context, uint64_t first_idx, uint64_t last_idx);
    /* A member lacks what is committed and has taken nothing more for so long; told again
     * every second while it is so. Leader. */
    void (*stalled)(void *context, const struct raft_member *member, int64_t stood_us);
    /* This parcel is used up; the function releases it. */
    void (*parcel_gone)(void *context, struct parcel *parcel);
};

struct actor_options {
    struct log_options log;
    uint32_t broker_id;
    struct uuid incarnation; /* for a folder that is made now */
    /* As in partition_options: for a folder that is made now; borrowed while it opens. */
    const struct raft_member *founders;
    uint32_t founder_count;
    bool joins;
    uint64_t seed;       /* of raft's random numbers */
    int64_t election_us; /* 0: raft's defaults */
    int64_t beat_us;
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
    struct log_damage *damaged_tail; /* as log_report.tail; may be NULL */
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

/* News for a replica; MAIL_PEER. From malloc; the actor frees it. */
enum actor_peer_news {
    ACTOR_PEER_CLAIM,       /* `on`, term: the beats of member's broker vouch for its leading */
    ACTOR_PEER_LINK,        /* `on`: the link to member lives and it follows */
    ACTOR_PEER_LEADER_GONE, /* member's process */
    ACTOR_PEER_SENT,        /* `on`: a packet of old entries left for member; else it was dropped */
    ACTOR_PEER_TARGET,      /* seats */
};
struct actor_peer_mail {
    struct mail mail;
    enum actor_peer_news news;
    bool on;
    uint64_t term;
    struct raft_member member;
    uint32_t seat_count;
    struct raft_seat seats[];
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
/* Whether a turn for this parcel alone, a follower's acknowledgement, touches no disk and waits for nothing;
 * then a thread that must not do so may run it. */
bool actor_is_light(const struct actor *actor, const struct parcel *parcel);
/* Takes the parcel. */
void actor_light_turn(struct actor *actor, struct parcel *parcel, const struct machine_now *now);
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
