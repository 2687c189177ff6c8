/*
 * The coordinator of groups without threads: an actor of a few lines, which applies what is
 * proposed at once, keeps all records, and notes what sessions are told.
 */
#ifndef KQ_TESTS_SUPPORT_TURN_RIG_H
#define KQ_TESTS_SUPPORT_TURN_RIG_H

#include "base/bytes.h"
#include "group/group_state.h"

enum { TURN_TOLD_MAX = 200000, TURN_TIMEOUT_US = 300 * 1000000, TURN_RETENTION_US = 1000 * 1000000 };

struct machine_turn {
    struct machine machine;
    struct group_machine *group;
    struct machine_now now;
    struct buf records; /* u16 key length, key, u16 value length or 0xffff, value */
    struct machine_note *notes;
    struct machine_note **last_note;
    size_t proposed_count; /* in this turn */
    size_t most_proposed;  /* in any turn so far */
};

/* What sessions were told: a subscription, or that it is revoked. */
struct turn_told {
    struct group_session session;
    char id[SUBSCRIPTION_ID_TEXT_BYTES];
    char topic[64];
    bool over; /* given back or revoked: it must never work again */
};
extern struct turn_told turn_told[TURN_TOLD_MAX];
extern size_t turn_told_count;
extern size_t turn_revoked_events;
extern size_t turn_assigned_events;

/* By chance, the same after each turn_new(). */
uint32_t turn_below(uint32_t n);
struct turn_told *turn_find_told(const char *id);
struct group_machine *turn_new_group(void);
/* A coordinator that leads, at a fixed time; nothing was told yet. */
struct machine_turn *turn_new(void);
void turn_free(struct machine_turn *turn);
/* A call, and what follows of it; its error. */
enum kq_err turn_run(struct machine_turn *turn, struct group_call *call);
/* Moves the clocks; ticks as an actor would. */
void turn_pass(struct machine_turn *turn, int64_t us);
struct group_session turn_session(uint64_t id);
struct uuid turn_topic_uuid(uint8_t n);
/* One topic "t" of so many partitions, in group "g". */
enum kq_err turn_subscribe(struct machine_turn *turn, uint64_t who, uint32_t partitions, uint32_t wanted,
                           uint32_t *got);
/* A call that names a subscription. */
enum kq_err turn_with_id(struct machine_turn *turn, enum group_verb verb, uint64_t who, const char *topic,
                         const char *id, int64_t off, struct group_call *call);
/* Of group_call.exists: all topics but the one that context points to. */
bool turn_is_not(void *context, const struct uuid *topic_id);
bool turn_id_works(const struct machine_turn *turn, const char *id);

#endif
