/* The actor's body, shared by actor*.c alone. */
#ifndef KQ_PARTITION_ACTOR_INTERNAL_H
#define KQ_PARTITION_ACTOR_INTERNAL_H

#include "base/clock.h"
#include "base/require.h"
#include "partition/actor.h"
#include "partition/producers.h"
#include "raft/raft.h"

#include <stdlib.h>
#include <string.h>

enum {
    ACTOR_TAG = 0x61637472,
    ENTRIES_IN_FLIGHT_MAX = 8,
    PARTS_MAX = 128,                  /* publishes folded into one entry */
    MACHINE_ROOM_BYTES = 56 * 1024,   /* room made before a machine's calls are decided; fits the first prepared step */
    MACHINE_TURN_BYTES = 16 * 1024,   /* proposals after which no further call is taken into the entry */
    MACHINE_BATCH_LIMIT = 64 << 20,   /* a bug's bound: one turn never proposes this much */
    REQUEST_TICK_US = 1000 * 1000,    /* how often deadlines of waiting requests are looked at */
    MACHINE_AGAIN_US = 100 * 1000,    /* a machine that is due and cannot go on is looked at again */
    RETENTION_TICK_MAX_S = 24 * 3600, /* age is looked at this often at the least */
    TAIL_BYTES_MAX = 4 << 20,         /* fresh entries kept for followers; the last one always is */
    PACKET_ENTRIES_MAX = 256,
    CATCH_UP_BYTES = 1 << 20, /* of one packet of old entries */
    CATCH_UP_ENTRIES = 512,   /* likewise: as many as a link puts into a frame */
    CATCH_UP_AHEAD = 4,       /* such packets on their way to a follower: it flushes one while others come */
    CATCH_UP_AT_LINK = 2,     /* of those, one being sent and the next */
    HELD_PACKETS_MAX = 64,    /* messages that wait for the disk; the oldest go first */
    PARCELS_MAX = 256,        /* that wait for room in the log */
    CAUGHT_UP_ENTRIES = 16,   /* a learner this near to the commit may vote */
};

enum wait_state { WAIT_WAITING, WAIT_CANCELLING, WAIT_DONE };

/* A log start that stands in the log at idx. idx 0: none. */
struct start_mark {
    uint64_t idx;
    int64_t off;
};

/* The newest entries as they were appended here, without a gap up to the log's end,
 * or none. A ring. */
struct tail {
    struct shared_entry **slots;
    uint32_t capacity; /* a power of two, or 0 */
    uint32_t first;
    uint32_t count;
    uint64_t bytes;
};

/* Old entries on their way to a follower: a few packets, so that it takes in and flushes some
 * while others are read and sent, and no link waits for a turn of the actor. */
struct catch_up {
    struct raft_member member;
    uint32_t out;                      /* packets that a link has */
    uint32_t count;                    /* packets that have not arrived, */
    uint64_t last_idx[CATCH_UP_AHEAD]; /* of each, the oldest first */
    bool broken;                       /* one was dropped: nothing is to follow it */
    int64_t until_us;                  /* waits so long to hear that they came */
};

/* A follower, as the leader saw it last (actor_watch.c). */
struct watched {
    struct raft_member member;
    uint64_t match;
    bool lacked;      /* as of the last look: looks are far apart where nothing happens */
    int64_t since_us; /* it has had this, and lacked something */
};

struct actor {
    uint32_t tag;
    struct actor_options options;
    struct log *log;
    struct raft raft;
    _Alignas(max_align_t) uint8_t raft_memory[RAFT_MEMORY_BYTES(1)]; /* one seat: the sole voter */
    void *raft_more;                                                 /* NULL: raft_memory will do */
    struct producers producers;
    uint64_t producers_idx; /* the newest entry that they know of */
    struct machine_now now;
    bool full_said;       /* the operator knows that the disk is full */
    bool violation_said;  /* and that a peer does not keep to the protocol */
    struct fault failure; /* err KQ_OK: none */
    bool parting;         /* to stop once another leads */
    bool stopping;
    enum kq_err stop_reason;
    int64_t forgot_say_us;     /* amnesiac, and nobody leads: when it is said (again); 0: it is not so */
    int64_t heir_due_us;       /* parting: from then on it goes when no other voter is linked */
    int64_t stop_until_us;     /* parting, or stopping with something in flight: no longer than this */
    struct mail_list waiting;  /* publishes and calls not yet decided */
    struct mail_list inflight; /* decided; in the order of their wait_idx */
    struct mail_list cut;      /* were in flight; their entries were cut off the log */
    struct mail_list finished; /* to be answered at the end of the turn */
    struct wait_request *waits;
    struct machine_note *notes; /* in the order of their wait_idx */
    struct machine_note **notes_end;
    uint64_t entries[ENTRIES_IN_FLIGHT_MAX]; /* idx of record entries in flight, oldest first */
    uint32_t entry_count;
    int jobs_out;
    bool noop_wanted;
    bool leave_wanted;     /* the joint configuration is to be left */
    bool room_wanted;      /* an append waits for a keep job */
    bool impatient;        /* look at data mail even if it cannot be used: deadlines */
    bool machine_leads;    /* the machine was told that it leads */
    bool view_dirty;       /* segments came or went: show a new view */
    bool state_ahead;      /* the machine has applied what the log did not take: its state is not stored */
    bool committed_news;   /* the commit moved in this turn */
    bool led;              /* raft's role was leader after its last event */
    bool lost_lead;        /* in this turn */
    int64_t lost_until_us; /* what was in flight then is waited for so long */
    bool start_wanted;     /* the leader's: to be appended with start_off */
    int64_t start_off;
    struct start_mark starts[2]; /* uncommitted here: [1] the newest in the log; [0] the one before, which
                                  * cannot be cut any more, as the newest was appended after its commit */
    int64_t retention_due_ms;    /* wall clock; INT64_MAX: when segments change */
    int64_t segment_off;         /* of the unsealed segment, as seen last, */
    int64_t segment_since_ms;    /* and when its first record was written by this process; 0: none was */
    int64_t unflushed_since_us;  /* interval flushing: when the oldest unflushed append was made; 0: none */
    uint64_t unflushed_bytes;    /* interval flushing */
    uint64_t machine_idx;        /* the last entry that the machine has applied or proposed */
    uint64_t snapshot_bytes;     /* appended since the machine's state was stored */
    struct buf snapshot;         /* the machine's state at snapshot_idx, to be stored; empty: none */
    uint64_t snapshot_idx;
    struct buf records; /* a machine's proposals of this turn */
    struct batch_maker records_maker;
    bool records_open;
    int64_t records_first_off;

    struct tail tail;
    struct packet *held; /* wait for the disk, oldest first */
    struct packet **held_end;
    uint32_t held_count;
    struct mail_list parcels; /* entries that wait for room, in order */
    struct catch_up *catch_ups;
    uint32_t catch_up_count;
    struct watched *watched;
    uint32_t watched_count;
    int64_t watch_due_us;     /* not looked at before */
    uint64_t own_flushed_idx; /* as leader: of this replica's own log, and since when more is owed; 0: nothing is */
    int64_t own_flushed_us;
    bool damaged;          /* as of the last look */
    int64_t damage_due_us; /* not looked at before */
    uint64_t damage_from;  /* the next look begins here: what nobody can mend keeps nothing else from it */
    uint64_t boot_version; /* with interval flushing: the hard state that counts this start; 0: none */
    bool boot_durable;     /* nothing is said before */
    struct raft_seat *target;
    uint32_t target_count;
    struct mail_list asks;    /* that wait for an event */
    uint64_t reads_good;      /* tickets up to here are confirmed */
    uint64_t in_sync_term;    /* the term in which in-sync replicas were asked for last, */
    int64_t in_sync_since_us; /* and since when */
    uint64_t taking_term;     /* the term in which this leader was given a batch last, */
    int64_t taking_since_us;  /* and since when */
    struct mail_list doubted; /* refusals that wait for their ticket, which stands in wait_idx */
    bool transfer_ended;      /* in this turn */
    struct replica_news told;
    bool told_once;
};

struct machine_turn {
    struct actor *actor;
};

/* actor.c */
void actor_fail(struct actor *actor, enum kq_err err, const struct fault *fault);
/* Log starts that are committed count. */
void actor_take_starts(struct actor *actor);
void actor_show_view(struct actor *actor);
/* Commits that moved become visible, and free places for entries. */
void actor_settle(struct actor *actor);
/* Room for an entry, or false: asked for, refused, or failed. *no_space: refused. */
bool actor_room(struct actor *actor, enum log_entry_type type, uint32_t body_bytes, bool *no_space);

bool actor_start_pending(const struct actor *actor);
bool actor_has_inflight(const struct actor *actor);

/* actor_jobs.c */
void actor_take_job(struct actor *actor, struct actor_job_mail *mail);
void actor_submit_jobs(struct actor *actor);
/* Entries that are no longer here: who needs one of them has to begin anew. */
void actor_note_log_start(struct actor *actor);

/* actor_answer.c */
uint64_t actor_wait_idx(const struct mail *mail);
void actor_refuse_list(struct mail_list *list, enum kq_err err, const struct fault *fault);
/* As actor_refuse_list; a publish is told the term, too. */
void actor_refuse_waiting(struct actor *actor, enum kq_err err, const struct fault *fault);
void actor_refuse_publishes(struct actor *actor, enum kq_err err); /* of those that wait */
void actor_expire(struct actor *actor);
void actor_finish_committed(struct actor *actor);
void actor_answer_finished(struct actor *actor);
/* Nothing that is on its way can be promised any more. */
void actor_answer_failure(struct actor *actor);
void actor_take_wait(struct actor *actor, struct wait_request *wait);
void actor_cancel_wait(struct actor *actor, struct wait_request *wait);
void actor_wake_waits(struct actor *actor, enum kq_err reason);

/* actor_open.c */
/* Memory for a group of so many seats; false: none to be had. */
bool actor_seat_room(struct actor *actor, uint32_t seats);

/* actor_raft.c */
/* Stands in the hard state for the boot id of a replica that may have forgotten. */
extern const struct uuid actor_forgot_boot;
/* parcel: what the event's message came with, or NULL. *again: the message is to be fed
 * again (event->cut_alone); it may be NULL. */
void actor_step(struct actor *actor, const struct raft_event *event, const struct parcel *parcel, bool *again,
                struct raft_message *reply);
void actor_save_hard_state(struct actor *actor);
/* Without a message. */
void actor_raft_event(struct actor *actor, const struct raft_event *event);
/* Tells raft of an entry just appended, and keeps count of it. */
void actor_note_append(struct actor *actor, const struct log_entry *entry, const struct raft_config *config);
/* Of any entry that came into the log, own or not. */
void actor_note_entry(struct actor *actor, enum log_entry_type type, uint64_t idx, const void *body,
                      uint32_t body_bytes);
/* When the lead was lost the machine goes back to what is committed; what was in flight is
 * answered as far as it is decided. */
void actor_settle_loss(struct actor *actor);
int64_t actor_lost_deadline_us(const struct actor *actor);
/* The sole member of its group. */
bool actor_is_alone(const struct actor *actor);
/* It leads, or could without asking anybody as soon as somebody wants an append. */
bool actor_leads(const struct actor *actor);
bool actor_may_propose(const struct actor *actor);
/* Leader: whether as many of its group keep pace with it, itself included. A term that is young
 * takes everybody to be so: it has not heard of them yet. */
bool actor_has_in_sync(struct actor *actor, int32_t count);
void actor_stop_machine(struct actor *actor);

/* actor_doubt.c */
/* The mail's fault is set; it is answered when that is certain. Its wait_idx is used. */
void actor_doubt(struct actor *actor, struct mail *mail);
void actor_look_at_doubts(struct actor *actor);
void actor_drop_doubts(struct actor *actor, enum kq_err err);

/* actor_append.c */
void actor_fold_publishes(struct actor *actor);
/* False: the log has failed, and the actor with it. */
bool actor_log_append(struct actor *actor, const struct log_entry *entry);
void actor_append_noop(struct actor *actor);
void actor_append_start(struct actor *actor);
/* False: no room yet, or the log has failed. */
bool actor_append_config(struct actor *actor, struct raft_config *config);

/* actor_machine.c */
/* One that says `anywhere`, at a replica whose machine does not lead. */
void actor_answer_call_here(struct actor *actor, struct machine_call *call);
void actor_decide_calls(struct actor *actor);
bool actor_machine_due(const struct actor *actor);
void actor_deliver_notes(struct actor *actor, uint64_t up_to_idx, enum kq_err err);
void actor_begin_to_lead(struct actor *actor);
void actor_bring_machine_up(struct actor *actor);
/* All that was applied is committed. */
bool actor_machine_settled(const struct actor *actor);

/* actor_peers.c */
/* Queues a reply, or drops it. */
void actor_reply(struct actor *actor, const struct raft_message *message);
/* All that raft has to say, and what waited for the disk. */
void actor_send_messages(struct actor *actor);
/* A packet of old entries left, or was dropped. */
void actor_catch_up_left(struct actor *actor, const struct raft_member *member, bool sent);
/* A packet of old entries for it waits in a link. */
bool actor_catch_up_waits(const struct actor *actor, const struct raft_member *member);
void actor_peers_fini(struct actor *actor);
void actor_tell(struct actor *actor);

/* actor_tail.c */
/* Borrowed; NULL: not there. */
struct shared_entry *tail_at(const struct tail *tail, uint64_t idx);
void actor_tail_add(struct actor *actor, const struct log_entry *entry);
void actor_tail_clear(struct actor *actor);
/* What every follower has is no longer needed. */
void actor_tail_trim(struct actor *actor);

/* actor_follow.c */
/* Takes the parcel. */
void actor_take_parcel(struct actor *actor, struct parcel *parcel);
/* Those that waited for room. */
void actor_take_parcels(struct actor *actor);
void actor_drop_parcels(struct actor *actor);
/* What raft wants done to the log, in this order. */
void actor_truncate(struct actor *actor, uint64_t first_idx);
void actor_accept(struct actor *actor, const struct parcel *parcel, uint64_t first_idx, uint64_t last_idx);
void actor_reset(struct actor *actor, const struct parcel *parcel);
bool actor_entry_config(struct actor *actor, const void *body, uint32_t body_bytes, struct raft_config *config);

/* actor_members.c */
void actor_take_peer(struct actor *actor, struct actor_peer_mail *mail);
void actor_take_ask(struct actor *actor, struct partition_ask *ask);
/* Those that can be answered are. */
void actor_look_at_asks(struct actor *actor);
/* The leader's, nothing else of this kind pending: a log start that was asked for is to be appended. */
void actor_want_asked_start(struct actor *actor);
/* What was confirmed before says nothing of a new reign. */
void actor_forget_tickets(struct actor *actor);
void actor_refuse_asks(struct actor *actor, enum kq_err err, const struct fault *fault);
int64_t actor_asks_deadline_us(const struct actor *actor);
void actor_drive_members(struct actor *actor);
/* Begins to hand over before a stop; false: there is nobody, or nothing to hand over. */
bool actor_part(struct actor *actor);

/* actor_watch.c */
void actor_watch(struct actor *actor);
void actor_watch_forget(struct actor *actor);
int64_t actor_watch_deadline_us(const struct actor *actor);

/* actor_mend.c */
void actor_look_at_damage(struct actor *actor);
int64_t actor_damage_deadline_us(const struct actor *actor);
void actor_take_mend(struct actor *actor, struct partition_mend *mend);
void actor_note_mended(struct actor *actor, const struct log_done *done);

/* actor_state.c */
/* What stands in the log and beside it: configurations, log starts, producers. Before raft starts. */
enum kq_err actor_load(struct actor *actor, struct raft_config *config, struct raft_config *before,
                       struct fault *fault);
/* The machine as of the commit, from the newest state stored at or below it. */
enum kq_err actor_restore_machine(struct actor *actor, struct fault *fault);
/* Producers' state as of the log's end, after a cut. */
enum kq_err actor_restore_producers(struct actor *actor, struct fault *fault);
/* Committed entries that the machine has not applied. */
enum kq_err actor_apply_committed(struct actor *actor, struct fault *fault);
/* From a RESET. */
enum kq_err actor_take_state(struct actor *actor, uint64_t idx, const void *state, size_t state_bytes,
                             struct fault *fault);
void actor_note_producers(struct actor *actor, uint64_t idx, const void *body, uint32_t body_bytes);
/* As of the last append: for a footer or a clean stop. Leaves out empty if there is none
 * that could be used. */
void actor_encode_end(const struct actor *actor, struct buf *out);
/* As of the commit, which the machine has to stand at. */
void actor_encode_commit(const struct actor *actor, struct buf *out);
/* For a follower that begins after idx. Data partitions. */
void actor_encode_base(const struct actor *actor, uint64_t idx, const struct raft_config *config, struct buf *out);

#endif
