/*
 * The order of a session's publishes to one partition, once something went wrong.
 *
 * As long as nothing fails, publishes are sent as they come and a lane does not
 * exist. When one is refused in a way that may be retried (its leader has moved), a
 * lane takes in all that the session has on its way to that partition, and from then
 * on:
 *   - what comes later is held back;
 *   - nothing is sent again before all that is on its way is decided;
 *   - then the first alone is sent to the leader, and only when it is taken do the
 *     others follow, bound to the term in which it was taken.
 * So a retry never overtakes what was read before it. Should one that was sent later
 * have been taken although an earlier one was refused, the earlier one is given up
 * with a definite error: it could only come out of order.
 *
 * One whose outcome is unknown is never sent again, unless it carries a producer id;
 * that is kept in mind (`maybe`), and it is never called "failed" afterwards.
 *
 * Step-shaped: an event and the time go in, what to do comes out. No memory, lock,
 * clock or socket of its own; the caller's lock holds it together.
 */
#ifndef KQ_API_PUBLISH_LANE_H
#define KQ_API_PUBLISH_LANE_H

#include <stdbool.h>
#include <stdint.h>

enum { LANE_RETRY_FIRST_US = 5 * 1000, LANE_RETRY_MAX_US = 200 * 1000 };

/* What becomes of one that leaves the lane. */
enum lane_verdict {
    LANE_AS_ANSWERED, /* as the partition said */
    LANE_OVERTAKEN,   /* definite: a later one was taken first */
    LANE_EXPIRED,     /* no leader took it in time */
    LANE_GONE,        /* no leader, and none to be expected: as the route says */
};

/* A publish. Embedded; the lane's while it is in. */
struct lane_item {
    struct lane_item *next, *prev;
    struct lane_item *out_next; /* of a list in lane_out */
    int64_t deadline_us;
    bool producer; /* sent again without harm */
    bool sent;     /* on its way */
    bool maybe;    /* an earlier attempt may have been taken */
    enum lane_verdict verdict;
};

enum lane_mode {
    LANE_DRAINS, /* nothing is sent until all that is on its way is decided */
    LANE_PROBES, /* the first is on its way, alone */
    LANE_FLOWS,  /* sent as they come, in `term` to `broker_id` */
};

struct lane {
    struct lane_item *first, *last;
    uint32_t count;
    uint32_t sent;
    enum lane_mode mode;
    uint32_t broker_id; /* where the last went */
    uint64_t term;
    uint32_t tries; /* refused one after the other */
    int64_t retry_us;
};

enum lane_outcome {
    LANE_TAKEN,       /* committed, in a term */
    LANE_REFUSED,     /* never taken, and it would not help to send it again */
    LANE_UNKNOWN,     /* perhaps taken; no producer */
    LANE_AGAIN,       /* not taken: may be sent again */
    LANE_AGAIN_MAYBE, /* a producer's, perhaps taken: is sent again */
    LANE_GAP,         /* a producer's: one before it is missing */
};

struct lane_out {
    struct lane_item *send, **send_end; /* in order, to broker_id, bound to term (0: to none) */
    struct lane_item *decided, **decided_end;
    uint32_t broker_id;
    uint64_t term;
    int64_t wait_us; /* not INT64_MAX: come again then, or when another leads */
    bool empty;
    bool settled; /* all that is in it is on its way, in one term: it is needed no longer */
};
void lane_out_init(struct lane_out *out);

void lane_init(struct lane *lane);
/* At the end. sent: it is on its way already (when the lane is made). */
void lane_add(struct lane *lane, struct lane_item *item, bool sent);
/* Lets go of the first; NULL: there is none. For a lane that is settled. */
struct lane_item *lane_release(struct lane *lane);
/* What was sent is answered. term: of LANE_TAKEN. Then lane_turn. */
void lane_answer(struct lane *lane, struct lane_item *item, enum lane_outcome outcome, uint64_t term, int64_t now_us,
                 struct lane_out *out);
/* Who leads: */
enum lane_route { LANE_TO, LANE_NOBODY, LANE_NOBODY_EVER };
/* What is to be sent, decided or waited for now. Those in out->send count as sent. */
void lane_turn(struct lane *lane, enum lane_route route, uint32_t broker_id, uint64_t term, int64_t now_us,
               struct lane_out *out);
/* Whether lane_turn could do anything at all now but for time. */
bool lane_is_ready(const struct lane *lane);

/* Tests, after every step. */
void lane_check(const struct lane *lane);

#endif
