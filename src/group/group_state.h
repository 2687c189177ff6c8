/*
 * The state of a coordinator, shared by the files of this folder and nobody else.
 *
 *    group_machine
 *      groups: name -> group
 *                        classic: Kafka members (classic_state.h)
 *                        topics -> group_topic
 *                                    slots[partition] -> subscription, offset
 *                                    claims -> claim (what one session wants here)
 *      subscriptions: secret -> subscription
 *      sessions: (broker, id) -> session -> its claims, what it used last
 *
 * Replicated state changes in group_apply() alone. What is marked "leader's" lives
 * in the coordinator's memory only and starts anew with each coordinator.
 */
#ifndef KQ_GROUP_GROUP_STATE_H
#define KQ_GROUP_GROUP_STATE_H

#include "base/map.h"
#include "group/group.h"
#include "group/group_record.h"

/* A connection that owns or uses something. Freed when neither is left. */
struct session {
    struct group_session key;
    bool live;                 /* leader's: it has called and has not been closed */
    struct claim *claims;      /* by next_of_session */
    struct subscription *used; /* leader's: used last by it and owned by another; by next_used */
};

struct subscription {
    struct uuid secret;
    struct group_topic *topic;
    uint32_t partition;
    struct claim *claim; /* the owner */
    struct subscription *next_held, *prev_held;
    int64_t used_us;      /* leader's */
    struct session *user; /* leader's; NULL: its owner, or nobody yet */
    struct subscription *next_used, *prev_used;
};

struct offset {
    int64_t off;
    int64_t time_ms;
    int32_t leader_epoch; /* -1: not told */
    uint16_t metadata_bytes;
    uint8_t metadata[];
};

struct slot {
    struct subscription *subscription;
    struct offset *offset;
};

/* Exists while it wants or holds something. */
struct claim {
    struct group_topic *topic;
    struct session *session;
    uint32_t wanted;
    uint32_t held_count;
    struct subscription *held; /* by next_held */
    struct claim *next, *prev; /* of the topic */
    struct claim *next_of_session, *prev_of_session;
    int64_t seen_us; /* leader's: when the session last called */
};

/* Exists while it has a claim or an offset. */
struct group_topic {
    struct group *group;
    struct group_topic *next;
    struct uuid id;
    char name[GROUP_NAME_MAX_BYTES + 1];
    uint32_t partition_count; /* as claims say it; 0: not known */
    struct slot *slots;       /* as far as any was used */
    uint32_t slot_count;
    uint32_t subscription_count;
    uint32_t offset_count;
    struct claim *claims; /* oldest first */
    struct claim *last_claim;
    uint32_t claim_count;
    bool doomed; /* leader's: deleted; the next ticks drop what is here */
};

/* Exists while it has a record of its own or a topic. */
struct group {
    char name[GROUP_NAME_MAX_BYTES + 1];
    bool has_record;
    enum group_kind kind;
    uint32_t generation;
    int64_t empty_since_ms;
    struct group_topic *topics;
    uint32_t claim_count;
    uint32_t subscription_count;
    uint32_t offset_count;
    bool changed;            /* leader's: the assignment did, in this call */
    struct classic *classic; /* classic_state.h; NULL: no Kafka members */
    struct account *memory;  /* the machine's */
};

struct group_machine {
    uint32_t tag;
    struct group_options options;
    struct map groups;
    struct map subscriptions;
    struct map sessions;
    bool leads;
    int64_t next_us;         /* leader's: when something may be due; may be early */
    int64_t last_timeout_us; /* leader's: the configuration that next_us knows */
    int64_t last_retention_us;
    struct buf key; /* of the record being made */
    struct buf value;
};

enum { GROUP_TAG = 0x6b716770 };

/* ---- group_state.c: changes by record, and finding ------------------------------ */

void group_apply(struct group_machine *m, const struct group_record *r);
void group_clear(struct group_machine *m);

struct group *group_find(const struct group_machine *m, const char *name);
struct group_topic *group_find_topic(const struct group *group, const struct uuid *topic_id);
struct claim *group_find_claim(const struct group_topic *topic, const struct group_session *session);
struct subscription *group_find_subscription(const struct group_machine *m, const struct uuid *secret);
struct session *group_find_session(const struct group_machine *m, const struct group_session *key);
/* Leader's memory: the session, made if it is not known. */
struct session *group_make_session(struct group_machine *m, const struct group_session *key);
/* Frees it if nothing is left of it. */
void group_release(struct group_machine *m, struct group *group);
struct group *group_make(struct group_machine *m, const char *name);
/* Leader: members of the kind that Kafka clients are. */
bool group_has_classic(const struct group *group);
void group_session_release(struct group_machine *m, struct session *session); /* frees it if it has nothing */
/* Leader's memory: session (may be NULL) is who used it last, if it is not the owner. */
void group_set_user(struct group_machine *m, struct subscription *s, struct session *session);

/* ---- group_query.c ---------------------------------------------------------------- */

void group_answer_list(const struct group_machine *m, struct group_call *call);
void group_answer_describe(const struct group_machine *m, struct group_call *call, const struct machine_now *now);

/* ---- group_snapshot.c ------------------------------------------------------------- */

void group_snapshot(const void *machine, struct buf *out);
enum kq_err group_restore(void *machine, const void *bytes, size_t size_bytes, struct fault *fault);

#endif
