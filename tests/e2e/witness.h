/*
 * Witnesses: publishers and consumers of one topic that go on, each in a thread of
 * its own, while a test does things to the brokers of a fleet. They record all that
 * they asked and were told (support/history.h); at the end everything is read once
 * more at every broker that runs, and the checker judges.
 *
 *   publisher  PUBX through the client's own outbox, over all partitions, rate a
 *              second; leaves a broker that goes away or says nothing for the next
 *   plain      PUBS, one after the other, to one broker; an error that does not say
 *              `outcome unknown` promises that the message never appears
 *   tail       one a partition: TAIL, from broker to broker, without a gap
 *
 * Calls are for the main thread. What is found goes to CUnit.
 */
#ifndef KQ_TESTS_E2E_WITNESS_H
#define KQ_TESTS_E2E_WITNESS_H

#include "e2e/fleet.h"

struct witness;

struct witness_spec {
    const struct fleet *fleet;
    const char *topic; /* it exists; borrowed */
    int partitions;
    int publishers;
    int plain;
    int rate;   /* messages a second, of each */
    size_t pad; /* bytes that make a body longer */
};

/* What the publishers met. */
struct witness_account {
    int64_t acked;        /* publishers' and plain ones' */
    int64_t errors;       /* replies to publishers that were errors, and were retried */
    int64_t unknown;      /* of these: outcome unknown */
    int64_t left;         /* brokers that a publisher left: closed or silent */
    int64_t plain_failed; /* PUBS that were refused */
    int64_t plain_unknown;
    int64_t longest_us; /* between two acknowledgements of a publisher */
    int64_t tailed;     /* messages that the tails were shown */
};

struct witness *witness_begin(const struct witness_spec *spec);
/* That many more are acknowledged. False: not within wait_ms; it says what was last heard. */
bool witness_advances(struct witness *w, int more, int wait_ms);
/* True: for that long no more than `most` were acknowledged. */
bool witness_stands(struct witness *w, int most, int wait_ms);
struct witness_account witness_account(const struct witness *w);
/* What is under way is finished, for which the cluster must be whole enough; everything is
 * read again at each broker that runs, and judged. Frees *w. */
void witness_end(struct witness **w);

#endif
