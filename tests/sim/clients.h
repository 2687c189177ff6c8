/*
 * What clients do all the while, and the history of it, for the judge of
 * tests/support/checker.h: publishers (PUBS with and without keys, pipelined, and
 * PUBX, sent again until it is answered), and members of groups that read, commit,
 * come and go.
 */
#ifndef KQ_TESTS_SIM_CLIENTS_H
#define KQ_TESTS_SIM_CLIENTS_H

#include "sim/machine.h"
#include "support/history.h"

#include <stdbool.h>
#include <stdint.h>

enum { CLIENTS_TOPICS_MAX = 4, CLIENTS_PARTITIONS_MAX = 8 };

struct clients_plan {
    unsigned topics;
    unsigned partitions[CLIENTS_TOPICS_MAX];
    unsigned replicas; /* 0: as the broker chooses */
    unsigned publishers, producers, members;
    unsigned kafka_producers, kafka_members; /* none, unless clients_speak_kafka() */
    uint64_t publishes_max;                  /* of all together */
};

/* Draws a plan; node is the clients' computer. */
void clients_new(struct node *node, uint64_t seed);
struct clients_plan *clients_plan(void);
/* Before they start: some that speak Kafka's protocol are among them. */
void clients_speak_kafka(void);
struct history *clients_history(void);
/* Creates the topics, however often it must ask. False: not within the time. */
bool clients_make_topics(int64_t within_ns);
void clients_start(void);
/* Asks all to end what they do, and waits for them. */
void clients_stop(void);
/* Publishes once to every partition, of whatever broker takes it. The longest that one
 * of them took; below 0: not all within the time. */
int64_t clients_probe(int64_t within_ns);
/* Publishes so many large messages to each partition of a topic, one after the other. False: not within the time. */
bool clients_pour(unsigned topic, unsigned count, int64_t within_ns);
/* Reads all of a topic from the start, as somebody new. False: not within the time. */
bool clients_read_topic(unsigned topic, int64_t within_ns);
/* Asks a broker one thing, over a connection of its own. NULL: no answer in time. The
 * answer is the caller's (free(3)). */
char *clients_ask(unsigned broker, const char *line, int64_t timeout_ns);
/* Reads everything from the start, from any broker. False: not within the time; *why says what was missed. */
bool clients_read_all(int64_t within_ns, const char **why);
/* flush = interval, and the power failed for a majority: what was acknowledged in this time may be lost. */
void clients_may_have_lost(int64_t from_ns, int64_t to_ns);
bool clients_lost(void);
/* Into the history: where the messages lie whose entries were seen to be committed (places.h). */
void clients_tell_places(void);
uint64_t clients_published(void);
uint64_t clients_acknowledged(void);

#endif
