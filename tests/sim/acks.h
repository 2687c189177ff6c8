/*
 * An acknowledged message is on the disks of a majority of its replicas when the answer
 * arrives: durable there, as a power cut of all at that moment would leave it.
 */
#ifndef KQ_TESTS_SIM_ACKS_H
#define KQ_TESTS_SIM_ACKS_H

#include <stdint.h>

/* Looks for some of them. */
void acks_judge(unsigned topic, uint64_t value);

#endif
