/*
 * The books of state. What a replica makes of its log (producers, configurations, the
 * machine, offsets, the log start) follows from the entries up to some point and from
 * nothing else: any two replicas that stand at the same point have the same, and so has
 * one that was restarted, filled again or cut back to it. After each turn of an actor what
 * it has is compared with what others had at that point, whichever way they came there.
 *
 * Also: a process never takes back its term, its vote, what is committed or its log start; nothing goes beyond what the
 * log has, a reader is given what is committed only, and who waits for a message is woken when one is committed.
 *
 * Stands in for functions of src/partition/actor.h and log_iter_next (--wrap).
 */
#ifndef KQ_TESTS_SIM_STATES_H
#define KQ_TESTS_SIM_STATES_H

#include <stdint.h>

/* For the last line of a run: states that were compared with another's. */
uint64_t states_compared(void);

#endif
