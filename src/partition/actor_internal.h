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
    RETENTION_TICK_MAX_S = 24 * 3600, /* age is looked at this often at the least */
};

enum wait_state { WAIT_WAITING, WAIT_CANCELLING, WAIT_DONE };

/* A log start on its way: wanted, then appended at idx, then committed. */
struct start_change {
    bool wanted;
    uint64_t idx; /* 0: not appended */
    int64_t off;
};

struct actor {
    uint32_t tag;
    struct actor_options options;
    struct log *log;
    struct raft raft;
    _Alignas(max_align_t) uint8_t raft_memory[RAFT_MEMORY_BYTES(1)]; /* one seat: the sole voter */
    struct producers producers;
    struct machine_now now;
    bool full_said;       /* the operator knows that the disk is full */
    struct fault failure; /* err KQ_OK: none */
    bool stopping;
    enum kq_err stop_reason;
    struct mail_list waiting;  /* publishes and calls not yet decided */
    struct mail_list inflight; /* decided; in the order of their wait_idx */
    struct mail_list finished; /* to be answered at the end of the turn */
    struct wait_request *waits;
    struct machine_note *notes; /* in the order of their wait_idx */
    struct machine_note **notes_end;
    uint64_t entries[ENTRIES_IN_FLIGHT_MAX]; /* idx of record entries in flight, oldest first */
    uint32_t entry_count;
    int jobs_out;
    bool noop_wanted;
    bool room_wanted;    /* an append waits for a keep job */
    bool impatient;      /* look at data mail even if it cannot be used: deadlines */
    bool machine_leads;  /* the machine was told that it leads */
    bool view_dirty;     /* segments came or went: show a new view */
    bool state_ahead;    /* the machine has applied what the log did not take: its state is not stored */
    bool committed_news; /* the commit moved in this turn */
    struct start_change start;
    int64_t retention_due_ms;   /* wall clock; INT64_MAX: when segments change */
    int64_t unflushed_since_us; /* interval flushing: when the oldest unflushed append was made; 0: none */
    uint64_t unflushed_bytes;   /* interval flushing */
    uint64_t machine_idx;       /* the last entry a machine proposed */
    struct buf records;         /* a machine's proposals of this turn */
    struct batch_maker records_maker;
    bool records_open;
    int64_t records_first_off;
};

struct machine_turn {
    struct actor *actor;
};

/* actor.c */
void actor_fail(struct actor *actor, enum kq_err err, const struct fault *fault);
void actor_raft_event(struct actor *actor, const struct raft_event *event);
/* Tells raft of an entry just appended, and keeps count of it. */
void actor_note_append(struct actor *actor, enum log_entry_type type, uint64_t idx, uint32_t body_bytes);
/* Room for an entry, or false: asked for, refused, or failed. *no_space: refused. */
bool actor_room(struct actor *actor, enum log_entry_type type, uint32_t body_bytes, bool *no_space);

/* actor_append.c */
void actor_fold_publishes(struct actor *actor);
void actor_append_noop(struct actor *actor);
void actor_append_start(struct actor *actor);

/* actor_machine.c */
void actor_decide_calls(struct actor *actor);
bool actor_machine_due(const struct actor *actor);
void actor_deliver_notes(struct actor *actor, uint64_t up_to_idx, enum kq_err err);

/* actor_state.c */
enum kq_err actor_replay(struct actor *actor, struct fault *fault);
void actor_encode_state(const struct actor *actor, struct buf *out);

#endif
