/*
 * What brokers tell their operator. A broker that calls something of its own damaged,
 * lost or impossible has damaged it itself, unless its disk has flipped bits or failed
 * calls: whatever else happens to brokers here, power cuts, full disks and lost frames
 * included, is what they must bear without such a word. Most bugs of storage heal
 * before anybody reads: the replica is filled again by the others. This is where they show.
 *
 * Stands in for logger_say (--wrap); the lines go into the trace.
 */
#ifndef KQ_TESTS_SIM_COMPLAINTS_H
#define KQ_TESTS_SIM_COMPLAINTS_H

#include "sim/machine.h"

/* A process begins: calls of its disk that failed before are no excuse any more. */
void complaints_boot(const struct node *node);
/* Its disk has flipped bits, or failed calls of the process that runs. */
bool complaints_has_bad_disk(const struct node *node);
/* Some broker's disk has flipped bits, or failed calls of the process that runs. */
bool complaints_are_excused(void);
/* A majority of this topic's disks (constant text) is exchanged: that a broker says so is in order. */
void complaints_expect_loss(const char *topic);
/* How often a broker said that a majority of a partition's replicas is lost for good. */
uint64_t complaints_of_loss(void);

#endif
