/* Whom a Kafka client in the simulator talks to: leaders and coordinators, as brokers tell. */
#ifndef KQ_TESTS_SIM_KAFKA_ROUTE_H
#define KQ_TESTS_SIM_KAFKA_ROUTE_H

#include "sim/clients_internal.h"
#include "sim/talk.h"

/* Asks some broker who leads, and connects to that one if it is not connected to it. False: not
 * this time; it has waited a moment. */
bool kafka_to_leader(struct client *c, struct talk *t, unsigned topic, unsigned partition);
/* Likewise to a group's coordinator. */
bool kafka_to_coordinator(struct client *c, struct talk *t, const char *group);
struct slice kafka_topic_name(unsigned topic);

#endif
