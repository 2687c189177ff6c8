/*
 * An acknowledged message is on the disks of a majority of its replicas when the answer
 * arrives: durable there, as a power cut of all at that moment would leave it. So is one
 * that a consumer is shown before its publisher was answered.
 */
#ifndef KQ_TESTS_SIM_ACKS_H
#define KQ_TESTS_SIM_ACKS_H

#include <stdint.h>

/* Looks for some of them; for each one where a disk has failed calls of the process that runs. */
void acks_judge(unsigned topic, uint64_t value);
/* It is shown, and nobody was told yet that it is taken. */
void acks_judge_shown(unsigned topic, uint64_t value);

#endif
