/*
 * After the faults: every group has a leader within five election timeouts, as some
 * broker tells it (CLUS STATUS ALL; the broker-level group's is the controller).
 */
#ifndef KQ_TESTS_SIM_LEADERS_H
#define KQ_TESTS_SIM_LEADERS_H

#include <stdint.h>

/* All brokers serve, and nothing is in their way any more. Waits until every group is led;
 * one that was not in time fails the run, by name and with the time that it took. */
void leaders_judge(void);
/* The longest that the last call waited. */
int64_t leaders_took_ns(void);

#endif
