/*
 * Consensus: one replica of one Raft group, as a pure step function. No thread,
 * clock, socket, disk, logging or malloc in here; events with the time in them go
 * in, what to do comes out. It holds terms and indexes, never bytes. Random
 * numbers come from a generator inside, seeded by the owner, so that a run can be
 * replayed.
 *
 * How an owner drives it, for each turn of its mailbox:
 *   raft_step() with each event; act on *out in the order of its fields (save,
 *   truncate, accept, reset; each is to be done, or reported as DISK_FAILED);
 *   then raft_take_message() until it says no. Messages are made when they are
 *   taken, not when an event asks for one: a turn of many events gives one
 *   message a peer. Every message goes through raft_may_leave(), which says
 *   whether what it promises is durable yet; the owner holds it until then.
 *
 * Rules, with their source (numbers of Ongaro's thesis, or the bug that taught it):
 * - Term and vote are durable before anybody hears of them (3.8). Writes are not
 *   waited for: each message carries what must be durable before it leaves.
 * - A leader appends a no-op that opens its term and takes no proposal, read or
 *   change of membership before that is committed (6.4; KAFKA-12619). A sole voter
 *   has nobody to learn from: its proposals may follow the no-op at once.
 * - PreVote (9.6): asks for term + 1 and changes nothing at the voter. A refusal
 *   carries the voter's term, which the asker adopts (openraft 2026).
 * - CheckQuorum (6.2) and the voters' lease (4.2.3): a leader that no quorum spoke
 *   to for an election timeout steps down; a voter that hears a leader ignores
 *   votes, unless they come of a transfer; a stale leader is answered at the higher
 *   term (Cloudflare 2020: a half-partitioned leader stayed for six hours).
 * - Votes compare what is durable, on both sides (canonical PR 429: a candidate
 *   counted what its disk did not have); by term, then index (5.4.1).
 * - A vote outlives stepping down in the same term (NATS bf8ebe7dd).
 * - A leader counts itself only for what its own disk has (10.2.1), beside the
 *   sending; a commit may run ahead of the local disk (canonical d144504).
 * - A completion of a flush is fenced by (term, index) and by the number of cuts the
 *   log had seen when the flush began (etcd's ABA: cut, then the same entry again).
 * - A follower acknowledges prev + n, never its own last index (CCF), cuts its log
 *   only at a proven conflict above the commit (nebula 1303), and a beat's commit
 *   is capped to what the peer is known to match.
 * - On a mismatch both sides skip whole terms: at most one probe a term.
 * - Progress a peer: probe (one message a beat), replicate (a window in messages
 *   and bytes), reset (waits). A window that is full and all lost heals, because
 *   the answer to a beat prompts an empty append when nothing matched since the last
 *   beat (etcd 14633). match only grows,
 *   next > match, a refusal at or below match is stale (etcd PR 149).
 * - Membership by joint consensus (4.3): in force when appended, rolled back when
 *   cut; each half has its own majority (CCF counted the union); one change at a
 *   time, and none before the leader committed in its term (Ongaro 2015). Leaving
 *   the joint state is the leader's own doing. Learners are never counted and
 *   never campaign, but do vote when asked: they may have been promoted without
 *   knowing it (etcd campaign_learner_must_vote). One that an uncommitted change
 *   removes still campaigns: its log may be the longest (4.2.2).
 * - A member is a broker and an incarnation: a wiped disk is a new member. What is
 *   addressed to another incarnation is not for this one.
 * - Transfer (3.10): no proposals meanwhile, bring the target up to the last entry,
 *   tell it to campaign at once; given up after an election timeout.
 * - Reads (6.4): a ticket is a round of beats that began after the read came; it is
 *   good when a quorum answered that round or a later one (etcd 397).
 * - A follower that lacks what the leader no longer has jumps to the leader's log
 *   start. A jump to at most its own commit changes nothing (Redpanda 9c024b2e3f).
 * - After a failed write a replica neither votes nor leads nor counts (NATS
 *   860e23645); a leader's last word then is to name its best follower.
 * - commits_unflushed (flush = interval): what is in memory counts. A replica whose
 *   machine lost power then is `amnesiac`: it neither votes nor leads until it
 *   has what a leader, which committed in its own term, had committed: an append or a
 *   beat shows it that, and until then its owner must have nobody vouch for it, or its
 *   leader would rest (raft_is_idle). Replies name
 *   the boot they come from; the leader forgets what an earlier boot acknowledged.
 *   With no leader to be heard it asks who else may have forgotten; when those that
 *   have not are no majority, its owner may pardon it. What such an election lost
 *   another may still have, and know to be committed: it says `outlived`, and is to
 *   be made anew.
 * - The sole voter of a group counts everything that is durable in its log as
 *   committed at the start: no other majority exists that could decide otherwise.
 *   With nobody else to serve it leads when somebody wants to append, not by a timer.
 *
 * Terms of indexes: the core keeps runs (term, first index) of the newest part of
 * the log. Handing every term in with events would put the comparison of logs, the
 * most delicate decision of all, into the owner; an unbounded table would need
 * malloc. A log has a new run only where leaders changed, so RAFT_RUNS_MAX reach
 * back over as many elections. Below the oldest run kept the core does not guess:
 * terms of messages it sends are then left 0 for the owner to fill in from its log,
 * and for an append or a jump that begins below it reads `log_prev_term` and `log_same_idx`,
 * which the owner took from its log. Entries of one message are of one term.
 */
#ifndef KQ_RAFT_RAFT_H
#define KQ_RAFT_RAFT_H

#include "base/uuid.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    RAFT_VOTERS_MAX = 16,      /* of each half of a configuration */
    RAFT_SEATS_MAX = 128,      /* members of a configuration, learners included */
    RAFT_RUNS_MAX = 32,        /* terms remembered */
    RAFT_WINDOW_MESSAGES = 16, /* appends on their way to one peer */
    RAFT_RANK_NEVER = 255,     /* not ready to lead: never campaigns by its own clock */
};

#define RAFT_NEVER_US INT64_MAX

enum raft_role { RAFT_FOLLOWER, RAFT_PRE_CANDIDATE, RAFT_CANDIDATE, RAFT_LEADER };

struct raft_member {
    uint32_t broker_id; /* 0: nobody */
    struct uuid incarnation;
};

/* What a member is in a configuration. */
enum raft_seat_kind {
    RAFT_SEAT_VOTER = 1,   /* of the configuration, or of the new half of a joint one */
    RAFT_SEAT_OLD = 2,     /* voter of the old half; its presence makes it joint */
    RAFT_SEAT_LEARNER = 4, /* gets the log, is not counted */
};

struct raft_seat {
    struct raft_member member;
    uint32_t kinds;
};

struct raft_config {
    uint64_t idx; /* of its entry; 0: the group's first */
    uint32_t count;
    struct raft_seat *seats;
};

struct raft_run {
    uint64_t term;
    uint64_t first_idx;
};

/* ---- messages ------------------------------------------------------------------- */

enum raft_message_type {
    RAFT_MSG_PREVOTE = 1,
    RAFT_MSG_PREVOTE_REPLY,
    RAFT_MSG_VOTE,
    RAFT_MSG_VOTE_REPLY,
    RAFT_MSG_APPEND, /* may be empty: a question about prev */
    RAFT_MSG_APPEND_REPLY,
    RAFT_MSG_BEAT,
    RAFT_MSG_BEAT_REPLY,
    RAFT_MSG_RESET, /* jump to my log start; answered by APPEND_REPLY */
    RAFT_MSG_TIMEOUT_NOW,
    RAFT_MSG_FORGOT,       /* from one that may have forgotten: who else? round, boot */
    RAFT_MSG_FORGOT_REPLY, /* I, too; round, to_boot of the question */
};

struct raft_message {
    enum raft_message_type type;
    struct raft_member from;
    struct raft_member to;
    uint64_t term;       /* asked for, in PREVOTE and a grant of it; else the sender's */
    uint64_t prev_idx;   /* APPEND: before the entries. VOTE: last durable. RESET: the last one gone. Refusal: echoed */
    uint64_t prev_term;  /* of prev_idx; 0 with an idx: not known to the core, the sending owner fills it in */
    uint64_t last_idx;   /* APPEND: the last entry; prev_idx: none. BEAT: all that the leader has committed */
    uint64_t entry_term; /* APPEND: of all its entries; as prev_term */
    uint64_t commit_idx; /* APPEND, BEAT: to be taken over. Replies: the follower's own */
    uint64_t match_idx;  /* APPEND_REPLY: everything to here is as the leader has it */
    uint64_t hint_idx;   /* refusal: nothing above can match */
    uint64_t hint_term;
    uint64_t round;                   /* BEAT and its reply */
    uint64_t boot;                    /* of the sender */
    uint64_t to_boot;                 /* of the receiver, as far as the sender knows */
    bool granted;                     /* votes */
    bool forced;                      /* VOTE: by transfer, the lease does not hold it up */
    bool refused;                     /* APPEND_REPLY */
    const struct raft_config *config; /* RESET: borrowed; the newest committed one */

    /* Outgoing APPEND, for the sender only: how much fits (a first entry may exceed it). */
    uint32_t limit_bytes;
    /* What must be durable before it leaves; raft_may_leave() reads it. */
    uint64_t own_term;
    uint64_t need_hard;
    uint64_t need_idx;
    uint64_t need_cuts;
};

/* ---- events and what comes of them ------------------------------------------------- */

enum raft_event_type {
    RAFT_EV_WANT_LEAD,   /* somebody waits for an append; only a sole voter listens */
    RAFT_EV_APPENDED,    /* the leader's entry at idx, of term, is in the log, not yet durable */
    RAFT_EV_FLUSHED,     /* the log is durable up to idx, whose entry has this term */
    RAFT_EV_HARD_STATE,  /* this version of term and vote is durable */
    RAFT_EV_DISK_FAILED, /* nothing more can be made durable here */
    RAFT_EV_MESSAGE,     /* from a peer */
    RAFT_EV_TICK,        /* raft_deadline_us() has come */
    RAFT_EV_TRANSFER,    /* hand leadership to member */
    RAFT_EV_READ,        /* out: read_ticket and read_idx */
    RAFT_EV_LOG_START,   /* entries up to idx (of term) are no longer kept here */
    RAFT_EV_LEADER_GONE, /* its process is known to be dead: campaign soon (once more, if nobody answered yet) */
    RAFT_EV_CLAIM,       /* `on`: beats of brokers vouch for the leader of this term: member; the timer sleeps */
    RAFT_EV_PEER_LINK,   /* `on`: beats of brokers vouch for this follower: member */
    RAFT_EV_RANK,        /* this replica's place among candidates: 0 first, RAFT_RANK_NEVER */
    RAFT_EV_PARDON,      /* those that have not forgotten are no majority: vote all the same; messages may be gone */
    RAFT_EV_SUPPLY,      /* what could not be had for this member (raft_sent) may be had now: ask again */
};

struct raft_event {
    enum raft_event_type type;
    int64_t now_us;
    uint64_t term;
    uint64_t idx;
    uint64_t version; /* HARD_STATE */
    uint64_t cuts;    /* FLUSHED: truncations and resets the log had seen when the flush began */
    uint32_t bytes;   /* APPENDED: of the entry, for the bounds */
    uint32_t rank;    /* RANK */
    bool on;          /* CLAIM, PEER_LINK */
    /* APPEND messages: where entries must be cut, only cut them and say `again`. For an owner who
     * must find room at the end of what is left, before it can promise to take entries. */
    bool cut_alone;
    struct raft_member member;          /* TRANSFER, CLAIM, PEER_LINK, SUPPLY */
    const struct raft_message *message; /* MESSAGE; borrowed */
    /* APPENDED, and APPEND messages with a CONFIG entry (at most one): its content, with its idx. */
    const struct raft_config *config;
    /* APPEND and RESET messages whose prev_idx is below the oldest run (raft_runs_from()), from
     * the owner's log: the term it has at prev_idx (0: none), and for an APPEND the last index to
     * which its entries after prev_idx are all of the message's entry_term (prev_idx: not one).
     * Else not read. */
    uint64_t log_prev_term;
    uint64_t log_same_idx;
};

struct raft_out {
    bool save_hard_state; /* make term and vote durable; the owner calls raft_saving() with its version */
    /* Remove the entries from truncate_idx on; not durable before the hard states handed out so
     * far are: they may be all that tells of a term. So, too, for reset. */
    bool truncate;
    bool again;       /* the message was to cut alone: nothing of it is answered or taken; feed it again */
    bool accept;      /* append the message's entries accept_first .. accept_last */
    bool reset;       /* drop the whole log, begin anew after the message's prev_idx, prev_term; FLUSHED when durable */
    bool append_noop; /* append a NOOP entry at last_idx + 1 in the present term, as soon as there is room */
    bool leave_joint; /* append the CONFIG of raft_make_leave(), as soon as there is room */
    bool committed;   /* commit_idx moved */
    bool role_changed; /* reads and transfers begun before are void */
    bool config_changed;
    bool transfer_ended; /* given up, or led by another now */
    bool may_pardon;     /* enough others may have forgotten, too: nobody leads without a PARDON */
    bool has_reply;
    bool violation;   /* the message breaks the protocol and was ignored; a peer is broken */
    bool outlived;    /* with commits_unflushed: the leader has other entries where this log is committed */
    bool misdirected; /* it was for another incarnation */
    uint64_t truncate_idx;
    uint64_t accept_first;
    uint64_t accept_last;
    uint64_t read_ticket; /* READ: 0, not now */
    uint64_t read_idx;    /* to be applied before the read is answered */
    uint64_t reads_good;  /* all tickets up to here are good; 0: no news */
    struct raft_message reply;
};

/* ---- the state ---------------------------------------------------------------------- */

struct raft_peer;

struct raft {
    struct raft_member self;
    struct raft_member leader;   /* broker_id 0: not known */
    struct raft_member vote;     /* broker_id 0: none */
    struct raft_member transfer; /* the leader hands over to; broker_id 0: to nobody */
    struct raft_member farewell; /* told to campaign as this disk fails */
    enum raft_role role;
    bool commits_unflushed; /* flush = interval */
    bool failed;
    bool amnesiac;
    bool pardoned;     /* was amnesiac and may vote all the same; it still says what it was, if asked */
    bool claimed;      /* the leader is vouched for */
    bool hard_unsaved; /* a save was asked for and has no version yet */
    bool self_vote;    /* counted: it is durable */
    bool forced;       /* this candidacy comes of a transfer */
    bool leaving;      /* leave_joint was asked for */
    bool transfer_told;
    uint8_t rank;
    uint8_t missed; /* own elections since a leader was heard */
    uint64_t boot;
    uint64_t term;
    uint64_t hard_version;     /* of the latest term and vote handed out to be saved; 0: none since the start */
    uint64_t hard_durable;     /* the latest version known durable */
    uint64_t hard_seq;         /* saves asked for */
    uint64_t hard_durable_seq; /* of them, known durable */
    uint64_t first_term;       /* a term made durable with the group's creation, not yet led; 0: none */
    uint64_t base_idx;         /* the last entry no longer in the log; 0: none */
    uint64_t base_term;
    uint64_t last_idx;
    uint64_t last_term;
    uint64_t flushed_idx;
    uint64_t commit_idx;
    uint64_t noop_idx;    /* opens the present term; 0: not appended yet */
    uint64_t cuts;        /* truncations and resets since the start */
    uint64_t cut_low_idx; /* the lowest of them since a flush of the present log was reported */
    uint64_t flush_cuts;  /* of the newest flush reported */
    uint64_t round;       /* newest read round */
    uint64_t round_sent;
    uint64_t round_good;
    uint64_t old_bytes; /* uncommitted, up to old_idx; those after it are new_bytes */
    uint64_t new_bytes;
    uint64_t old_idx;
    uint64_t max_uncommitted_bytes;
    uint32_t window_bytes;
    uint32_t message_bytes;
    int64_t election_us;
    int64_t beat_us;
    int64_t now_us;
    int64_t heard_us; /* from the leader */
    int64_t election_at_us;
    int64_t beat_at_us;
    int64_t transfer_until_us;
    uint64_t random;
    uint32_t capacity; /* seats that the owner's memory has */
    uint32_t run_count;
    uint32_t runs_max;
    struct raft_config config; /* in force: the newest in the log */
    struct raft_config before; /* the one before: back in force when the newest is cut */
    struct raft_peer *peers;   /* progress; seat for seat of config */
    struct raft_run runs[RAFT_RUNS_MAX];
};

struct raft_peer {
    struct raft_member member;
    uint8_t state; /* enum raft_progress */
    uint8_t vote;
    uint8_t owes;
    uint8_t window_first;
    uint8_t window_count;
    bool paused;  /* probe: one is out. reset: the offer is out */
    bool stalled; /* the owner had nothing to send; asked again with the next beat */
    bool nudge;   /* ask about prev even though the window is full */
    bool stuck;   /* nothing more matched between two beats */
    bool linked;
    bool forgot; /* as it said in this round of asking */
    uint32_t window_used_bytes;
    uint64_t match;
    uint64_t beat_match; /* match at the last beat */
    uint64_t next;
    uint64_t commit;
    uint64_t round;
    uint64_t boot;
    int64_t heard_us;
    int64_t sent_us; /* the reset offer */
    uint64_t window_idx[RAFT_WINDOW_MESSAGES];
    uint32_t window_size[RAFT_WINDOW_MESSAGES];
};

/* Memory that the owner gives for a group of up to this many seats. */
#define RAFT_MEMORY_BYTES(seats) ((seats) * (sizeof(struct raft_peer) + 2 * sizeof(struct raft_seat)))

/* What the disk had at the start, all of it durable. */
struct raft_start {
    struct raft_member self;
    void *memory; /* aligned for any object; borrowed as long as the raft lives */
    size_t memory_bytes;
    /* The newest configuration in the log (or the group's first), and the one before it
     * (count 0: none). count 0: self is the sole voter; with `joins`, self is no founder and
     * learns, without anyone to vote for, until a leader brings it a configuration. Only
     * such a first one may have no voter. */
    struct raft_config config;
    struct raft_config before;
    bool joins;
    bool commits_unflushed;
    bool amnesiac;
    uint8_t rank;
    uint64_t boot; /* grows from start to start of this incarnation; 0 where flushing is always */
    uint64_t term;
    struct raft_member vote;
    uint64_t base_idx; /* the last entry no longer in the log */
    uint64_t base_term;
    uint64_t last_idx;
    uint64_t last_term;
    const struct raft_run *runs; /* of the log, oldest first; NULL: only last_term is known */
    uint32_t run_count;
    uint32_t runs_max; /* 0: RAFT_RUNS_MAX */
    /* The recorded hint. What the disk has up to it must be what was committed: it was recorded
     * when that was durable, or no cut was on its way to the disk. */
    uint64_t commit_idx;
    /* The group was created now, with `term` and a vote for itself durable. That
     * term was never led, so it may be, without another write. Sole voters only. */
    bool created;
    int64_t now_us;
    uint64_t seed;
    /* 0: the defaults of raft.c */
    int64_t election_us;
    int64_t beat_us;
    uint32_t window_bytes;
    uint32_t message_bytes;
    uint64_t max_uncommitted_bytes;
};

/* ---- calls: the owner's thread, all of them. raft lives in its owner's memory. ------- */

void raft_init(struct raft *raft, const struct raft_start *start);
/* Feeds one event; *out is cleared first. */
void raft_step(struct raft *raft, const struct raft_event *event, struct raft_out *out);
/* The version under which the hard state of the last `save_hard_state` goes to disk. */
void raft_saving(struct raft *raft, uint64_t version);
/* When to feed RAFT_EV_TICK; RAFT_NEVER_US: not by time. */
int64_t raft_deadline_us(const struct raft *raft);

/* The next message to a peer; false: none. Where prev_idx is set and prev_term is not, the
 * owner's log says it. After an APPEND with last_idx > prev_idx the
 * owner fills it with entries from prev_idx + 1 on, to at most last_idx and limit_bytes,
 * of one term, ending at the first CONFIG, and says with raft_sent() what it took
 * (last_idx = prev_idx: nothing could be had; then it is not sent). */
bool raft_take_message(struct raft *raft, struct raft_message *message);
void raft_sent(struct raft *raft, const struct raft_message *message, uint64_t last_idx, uint32_t bytes);

enum raft_leave { RAFT_LEAVE, RAFT_WAIT, RAFT_DROP };
/* May this message (a reply or a taken one) leave now? WAIT: what it promises is not
 * durable; ask again after FLUSHED and HARD_STATE events. DROP: it no longer holds. */
enum raft_leave raft_may_leave(const struct raft *raft, const struct raft_message *message);

/* This replica leads, its term's no-op is committed, and it is not handing over:
 * proposals may be appended. A sole voter need not wait for its no-op to commit: both
 * are committed by the same flush. */
bool raft_may_propose(const struct raft *raft);
/* And there is room for one of this size under max_uncommitted_bytes. */
bool raft_has_room(const struct raft *raft, uint32_t bytes);
/* The last change of membership is finished, and another may be appended. */
bool raft_may_change(const struct raft *raft);
/* The CONFIG entry that begins a change to these seats (VOTER or LEARNER each), joint if
 * voters change. entry->seats has room for raft->capacity. False: the target is not a
 * configuration (no voter, a seat twice), or is too large together with the present one. */
bool raft_make_change(const struct raft *raft, const struct raft_seat *target, uint32_t count,
                      struct raft_config *entry);
/* The CONFIG entry that ends the joint state; for out->leave_joint. */
void raft_make_leave(const struct raft *raft, struct raft_config *entry);
bool raft_config_is_joint(const struct raft_config *config);
/* Every follower has the last entry and knows that it is committed: with links that
 * vouch for all of them no clock runs. */
bool raft_is_idle(const struct raft *raft);
/* The first index whose term the core knows by itself. */
uint64_t raft_runs_from(const struct raft *raft);
/* Term at idx as far as the core knows; 0: not known. */
uint64_t raft_term_at(const struct raft *raft, uint64_t idx);
/* Moves the members into memory of the owner's for more seats, aligned for any object and
 * borrowed from now on. Gives the memory that they had before back. */
void *raft_grow(struct raft *raft, void *memory, size_t memory_bytes);
/* What must hold after every step; aborts where it does not. */
void raft_check(const struct raft *raft);

bool raft_member_equal(const struct raft_member *a, const struct raft_member *b);

#endif
