/*
 * Brokers of the model: each a computer with a disk, on which the daemon's own
 * service runs (src/daemon/service.c and all below it). Here they are started,
 * stopped, killed, cut from power, paused, and brought back.
 */
#ifndef KQ_TESTS_SIM_BROKERS_H
#define KQ_TESTS_SIM_BROKERS_H

#include "sim/machine.h"

#include <stdbool.h>
#include <stdint.h>

enum { BROKERS_MAX = 9, BROKER_PORT = 8080, BROKER_RAFT_PORT = 7070, BROKER_KAFKA_PORT = 9092, BROKER_SCRUB_S = 10 };

enum broker_death {
    DEATH_KILL,  /* kill -9: the page cache lives, the kernel closes the sockets */
    DEATH_POWER, /* nothing lives but what was synced, and by chance some more */
};

struct sim_broker;

/* count brokers, numbers 1 to count, all down. */
void brokers_new(unsigned count, uint64_t seed);
unsigned brokers_count(void);
struct sim_broker *brokers_at(unsigned number);
unsigned broker_number(const struct sim_broker *broker);
struct node *broker_node(const struct sim_broker *broker);

/* Any fiber of the harness. It is down; it becomes serving, or fails, by itself. */
void broker_boot(struct sim_broker *broker);
/* Its process runs and has said that it serves. */
bool broker_serves(const struct sim_broker *broker);
bool broker_is_up(const struct sim_broker *broker);
/* As SIGTERM. Waits until it is down. */
void broker_shut(struct sim_broker *broker);
void broker_die(struct sim_broker *broker, enum broker_death death);
/* It dies at a call of its disk, after `skip` more that change something. */
void broker_die_at_call(struct sim_broker *broker, uint64_t skip, enum broker_death death);
/* Likewise, of those alone that change a folder, cut a file or write a hard state. */
void broker_die_at_rare_call(struct sim_broker *broker, uint64_t skip, enum broker_death death);
/* Not any more. */
void broker_die_at_no_call(struct sim_broker *broker);
/* Its disk is as new; it is down. */
void broker_wipe(struct sim_broker *broker);
/* The last start that failed, as said; "" when none did. */
const char *broker_failure(const struct sim_broker *broker);

#endif
