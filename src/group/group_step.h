/*
 * What the verbs of a coordinator and its tick are made of: proposing records,
 * giving and taking partitions, knowing sessions. On the leader, within a turn.
 *
 * A record is applied at once, so whatever a step_ function may remove is gone
 * when it returns; each says what that can be.
 */
#ifndef KQ_GROUP_GROUP_STEP_H
#define KQ_GROUP_GROUP_STEP_H

#include "base/clock.h"
#include "group/group_state.h"

struct step {
    struct group_machine *m;
    struct machine_turn *turn;
    const struct machine_now *now;
};

/* ---- records --------------------------------------------------------------------- */

void step_propose(struct step *step, const struct group_record *r);
/* A record's beginning: group, topic. */
struct group_record step_record(const struct group_topic *t, enum group_record_type type);

/* ---- times ------------------------------------------------------------------------ */

/* CLOCK_NEVER where it would overflow. Here, so that who knows members needs no turn. */
static inline int64_t step_add_us(int64_t a, int64_t b)
{
    int64_t sum;
    return __builtin_add_overflow(a, b, &sum) ? CLOCK_NEVER : sum;
}
int64_t step_session_timeout_us(const struct group_machine *m);
int64_t step_offsets_retention_us(const struct group_machine *m);
void step_due_at(struct group_machine *m, int64_t us); /* the next tick comes by then */

/* ---- giving and taking --------------------------------------------------------------- */

/* Who is to be told that a subscription is revoked: made before its record is
 * proposed, sent after. */
struct farewell {
    struct note *owner;
    struct note *user;
};
void step_make_farewell(const struct step *step, const struct subscription *s, struct farewell *farewell);
void step_send_farewell(struct step *step, const struct farewell *farewell);

/* The partition goes to session, which has a claim; also from whoever had it. */
struct subscription *step_grant(struct step *step, struct group_topic *t, const struct group_session *session,
                                uint32_t partition);
/* The owner gives s back or lets it expire: it wants one less, and nothing at all
 * if that was its last and nobody is there. s is gone, its claim and topic may be. */
void step_give_back(struct step *step, struct subscription *s);
/* The claim wants so many now; 0 ends it when it holds nothing. */
void step_propose_wanted(struct step *step, const struct claim *c, uint32_t wanted);
/* Ends a claim that holds nothing. Its session, topic and group may be gone. */
void step_drop_claim(struct step *step, struct claim *c);
/* Forgets one offset of a topic that has some. The topic may be gone. */
void step_drop_offset(struct step *step, const struct group_topic *t);
/* Drops everything of the topic, with events, as far as *left goes, which it counts
 * down. True: the topic is gone, its group may be. */
bool step_drop_topic(struct step *step, struct group_topic *t, uint32_t *left);
/* Free partitions to the members that asked for more. */
void step_fill(struct step *step, struct group_topic *t);
/* After something was freed: what is free goes to who asked for more, then the
 * group's own record follows. By name and id, since either may be gone, or go. */
void step_fill_and_settle(struct step *step, const char *group, const struct uuid *topic_id);
/* The group's own record, if its assignment changed in this turn. It may be gone. */
void step_settle(struct step *step, const char *group);
bool step_has_members(const struct group *group);

/* claim.seen_us of a session that is closed: long ago. */
#define STEP_NEVER_SEEN_US (INT64_MIN / 2)

/* ---- sessions --------------------------------------------------------------------------- */

/* These change the leader's memory alone, so that they work on a full disk too;
 * what has to follow is left to the next tick. */

/* The session has called: it lives. If that was not known (after a change of
 * coordinator) the next tick gives it what is free. */
void step_revive(struct step *step, struct session *session);
/* The session has used s. */
void step_use(struct step *step, struct subscription *s, const struct group_session *key);
void step_renew(struct step *step, const struct group_session *key);
void step_session_closed(struct step *step, const struct group_session *key);
/* All sessions of a broker. */
void step_broker_gone(struct step *step, uint32_t broker_id);

/* ---- group_expire.c ------------------------------------------------------------------------ */

void step_expire(struct step *step);

#endif
