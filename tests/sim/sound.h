/*
 * What a replica's mark on a disk says was flushed is there, as if the power went now and
 * nothing were lucky: a start takes what it lacks of that for damage. So are the entries up to
 * the one that a stored state stands at. And who a broker is stays the same while its disk does.
 */
#ifndef KQ_TESTS_SIM_SOUND_H
#define KQ_TESTS_SIM_SOUND_H

#include "sim/brokers.h"

/* All replicas of the broker, when it dies; one, when its hard state or mark became durable. */
void sound_judge(struct sim_broker *broker, const char *when);
void sound_judge_replica(struct sim_broker *broker, const char *hard_state_path, const char *when);

#endif
