/*
 * What lies on the disks when all is over: every replica checks out as the log tool
 * sees it, and the replicas of a partition hold the same entries up to what is
 * committed.
 */
#ifndef KQ_TESTS_SIM_REPLICAS_H
#define KQ_TESTS_SIM_REPLICAS_H

#include <stdbool.h>
#include <stdint.h>

/* All brokers are down, stopped in order. False: *why says what differs, and where. */
bool replicas_agree(const char **why);
/* Entries compared between two replicas, so far. */
uint64_t replicas_compared(void);

#endif
