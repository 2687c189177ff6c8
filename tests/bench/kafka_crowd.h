/*
 * Many connections of Kafka clients that wait most of the time: the members of a group, and
 * consumers in long polls. Main thread; fails through harness_fail.
 */
#ifndef KQ_TESTS_BENCH_KAFKA_CROWD_H
#define KQ_TESTS_BENCH_KAFKA_CROWD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- members of one group ---------------------------------------------------------------------- */

struct crowd_group;

/* `count` clients join the group at the broker on that port, get their assignments and stay. */
struct crowd_group *crowd_join(int port, const char *group, unsigned count);
/* One heartbeat of the member, answered; microseconds. */
double crowd_heartbeat_us(struct crowd_group *g, unsigned member);
/* All members send one at the same moment; until the last is answered. */
double crowd_heartbeats_us(struct crowd_group *g);
void crowd_leave(struct crowd_group **g);

/* ---- long polls ---------------------------------------------------------------------------------- */

struct crowd_polls;

/* `count` clients wait for records of a topic that has none, on as many partitions in turn. */
struct crowd_polls *crowd_poll(int port, const char *topic, unsigned partitions, unsigned count);
/* How many have been answered, or cut off. */
unsigned crowd_answered(const struct crowd_polls *p);
void crowd_poll_end(struct crowd_polls **p);

#endif
