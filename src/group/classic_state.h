/*
 * The state of a group with Kafka members, shared by classic*.c, and by group_state.c and
 * group_snapshot.c for its records. What is recorded changes in classic_apply_*() alone; what
 * is marked "leader's" lives in the coordinator's memory only.
 */
#ifndef KQ_GROUP_CLASSIC_STATE_H
#define KQ_GROUP_CLASSIC_STATE_H

#include "group/classic.h"
#include "group/group_state.h"

struct step;

enum { CLASSIC_SUBSCRIPTION_MAX_BYTES = 16 * 1024 * 1024 }; /* of a member, decoded: all that metadata has room for */

struct classic_member {
    struct classic_member *next, *prev; /* oldest first */
    char *id;
    char *instance; /* NULL: a dynamic member */
    char *client_id;
    char *host;
    int32_t session_ms;
    int32_t rebalance_ms;
    /* The value of its record as last applied; NULL: none. metadata and assignment lie in it. */
    uint8_t *recorded;
    uint32_t recorded_bytes;
    struct slice metadata;
    struct slice assignment;
    int64_t counted_bytes; /* in the account */
    /* Leader's. */
    bool gone;                          /* out of the group; its record goes with the next that is written */
    struct classic_protocol *protocols; /* as it joined; NULL: what was recorded */
    uint32_t protocol_count;
    struct classic_call *joins; /* waits for the round */
    struct classic_call *syncs; /* waits for the assignment */
    bool joined;                /* in this round */
    bool synced;                /* likewise, and asked for its assignment */
    int64_t due_us;             /* not heard of until then it is gone; nor does anybody wait for its join */
};

/* An id that was given out, and that nobody has joined with yet (KIP-394). */
struct classic_id {
    struct classic_id *next;
    int64_t due_us;
    char id[];
};

struct classic {
    struct account *memory; /* NULL: nothing is counted */
    struct classic_member *first, *last;
    struct map by_id;
    uint32_t all_count; /* in that list */
    /* As recorded; NULL: none. */
    char *recorded_type;
    char *recorded_protocol;
    char *recorded_leader;
    /* Leader's. */
    enum classic_state state;
    uint32_t member_count; /* of those that are not gone */
    uint32_t generation;
    char *protocol_type;
    char *protocol;
    char *leader;
    struct classic_id *ids;
    uint32_t id_count;
    bool first_round;      /* began with nobody: waits a little for others */
    int64_t round_due_us;  /* JOINING, SYNCING */
    int64_t round_most_us; /* of the first round: it is not put off beyond */
};

/* ---- classic_member.c: records and memory ---------------------------------------------- */

void classic_apply_group(struct group *group, const struct group_record *r);
void classic_apply_member(struct group *group, const struct group_record *r);
/* Adds to a GROUP record what is recorded of its Kafka members. */
void classic_name_record(const struct group *group, struct group_record *r);
void classic_release(struct group *group); /* frees group->classic if nothing is left of it */
void classic_free(struct group *group);
void classic_check(const struct group *group);
/* Leads, or no longer: calls that wait are answered, what was not recorded is forgotten, everybody has a full timeout
 * again. The group may be empty then: group_release() is the caller's. */
void classic_leads(struct group *group, bool leads, const struct machine_now *now);

struct classic *classic_make(struct group *group);
/* Not those that are gone. */
struct classic_member *classic_find(const struct classic *c, struct slice id);
struct classic_member *classic_find_instance(const struct classic *c, struct slice instance);
struct classic_member *classic_add(struct classic *c, const char *id, const struct classic_call *call);
/* Frees it; it must have no record and nobody waiting. */
void classic_remove(struct classic *c, struct classic_member *member);
void classic_set_text(char **to, struct slice text);
/* The metadata of a protocol; absent: the member does not know it. */
struct slice classic_metadata(const struct classic *c, const struct classic_member *member, struct slice protocol);
/* As it joins now. False: out of memory. */
bool classic_set_protocols(struct classic *c, struct classic_member *member, const struct classic_call *call);
/* Whether there is room for so much more. */
bool classic_has_room(const struct account *memory, size_t bytes);
/* What it keeps of this call, as it joins. */
size_t classic_join_bytes(const struct classic_call *call);
/* What it keeps by now of what it joined with; 0: it is nobody. */
size_t classic_kept_bytes(const struct classic_member *member);
void classic_count_id(const struct classic *c, const struct classic_id *id, int sign);
/* Whether it asks for what it asked for before. by_topics: consumers that want the same topics do,
 * whatever else has changed: what they own, what their assignor tells itself. */
bool classic_same_protocols(const struct classic *c, const struct classic_member *member,
                            const struct classic_call *call, bool by_topics);

/* ---- classic_round.c: on the leader, within a turn ---------------------------------------- */

/* Everybody is to join again (unless that is so already). */
void classic_begin_round(struct step *step, struct group *group);
/* Ends the round if all have joined. */
void classic_look_at_round(struct step *step, struct group *group);
/* The leader's assignment is known: it is recorded, and everybody told. */
void classic_settle(struct step *step, struct group *group, const struct classic_call *from_leader);
/* Out of the group; who waits with it is told so. */
void classic_leave(struct step *step, struct group *group, struct classic_member *member, enum classic_answer why);
/* The group's and its members' records as they stand. */
void classic_record(struct step *step, struct group *group, const struct classic_call *from_leader);
void classic_heard(struct step *step, struct classic_member *member);
void classic_expire(struct step *step, const char *name);
/* Fills and answers a join of this member. */
void classic_answer_join(struct step *step, struct group *group, struct classic_member *member, bool kept);
void classic_finish(struct step *step, struct classic_call *call, enum classic_answer answer, bool kept);

/* ---- classic.c ------------------------------------------------------------------------------- */

/* machine_ops.call. */
bool classic_call_verb(struct step *step, struct classic_call *call);
/* A copy in the call's memory; absent if there is none. */
struct slice classic_keep(struct classic_call *call, struct slice bytes);
void *classic_take(struct classic_call *call, size_t size_bytes); /* cleared; NULL: no memory, and starved */
/* The call waits, and what its caller keeps with it counts from now on. */
void classic_park(struct classic_call *call);

/* ---- classic_offsets.c ------------------------------------------------------------------------- */

void classic_commit(struct step *step, struct classic_call *call);
void classic_offsets(struct step *step, struct classic_call *call);
void classic_forget(struct step *step, struct classic_call *call);
void classic_look(struct step *step, struct classic_call *call);

#endif
