/*
 * Faults, by chance: computers that lose power or whose process dies (also in the
 * middle of a call of the disk), pauses, stops, disks that fail, fill up or stall,
 * clocks that jump and drift, links that are cut one way or both, slow, or lose; bits
 * that flip on one of the disks, and brokers that are away for long.
 */
#ifndef KQ_TESTS_SIM_NEMESIS_H
#define KQ_TESTS_SIM_NEMESIS_H

#include "sim/machine.h"

#include <stdbool.h>

/* hard: disks are wiped and operators give orders, too. */
void nemesis_new(struct node *harness, uint64_t seed, bool hard);
/* A fault every now and then, until nemesis_stop. */
void nemesis_start(void);
/* Ends all faults: links and disks are whole, every broker runs again. */
void nemesis_stop(void);

#endif
