/*
 * Bits that change on a disk, without a word. Only in what was synced long enough ago
 * that the replica itself has written down that it was (log/recover.h): what was just
 * flushed, and nothing says so yet, looks like a torn write to anybody. Sealed segments,
 * indexes, and of the clients' topics also segments that are not sealed: of the others
 * these are written so seldom that damage waits there for the next entry, and a broker
 * whose part of the metadata is damaged so stays down until somebody does something. A computer that runs has the old
 * bytes in its cache and finds the new ones after a loss of power.
 */
#ifndef KQ_TESTS_SIM_FLIPS_H
#define KQ_TESTS_SIM_FLIPS_H

#include "sim/brokers.h"

/* Changes a bit or a sector somewhere on the broker's disk, which runs or not. False:
 * nothing there can be touched. */
bool flips_do(struct sim_broker *broker, struct chance *chance);
/* Likewise in the segment that is not sealed of this topic's partition 0: what it cannot mend alone, and with
 * others can. */
bool flips_do_in_tail(struct sim_broker *broker, const char *topic, struct chance *chance);
/* It was done to this broker, in this run. */
bool flips_done_to(const struct sim_broker *broker);
/* Both slots of the hard state of the replica of partition 0: what it voted for is not known any more. The
 * broker must be down. False: there is none. */
bool flips_do_in_hard_state(struct sim_broker *broker, const char *topic, struct chance *chance);

#endif
