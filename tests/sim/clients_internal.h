/* Between clients.c, members.c and those that speak Kafka's protocol. */
#ifndef KQ_TESTS_SIM_CLIENTS_INTERNAL_H
#define KQ_TESTS_SIM_CLIENTS_INTERNAL_H

#include "sim/clients.h"
#include "sim/session.h"

enum { CLIENT_LINE_BYTES = 12 * 1024 };

/* One client; a fiber. */
struct client {
    unsigned number;
    struct chance chance;
    struct session session;
    char line[CLIENT_LINE_BYTES];
};

/* A partition as the history's key. */
static inline uint32_t client_key(unsigned topic, unsigned partition)
{
    return topic * CLIENTS_PARTITIONS_MAX + partition;
}

/* Time of the history. */
static inline int64_t client_now(void)
{
    return machine_now_ns();
}

/* A connection to some broker; waits a moment when there is none. */
bool client_connected(struct client *c);
/* As the protocol promises: what is neither Done nor unknown has not happened. */
enum history_outcome client_outcome(const char *reply);
/* For the trace. */
static inline const char *client_shown(const char *reply)
{
    return reply == NULL ? "no answer" : reply;
}
/* Its publisher has no answer yet. */
bool client_waits_for(uint64_t value);
/* A new message of this operation to a partition: its number, and the history's send of it. */
uint64_t client_sends(uint32_t op, unsigned topic, uint32_t key, uint32_t *send);
/* What became of a message is known, or its sender waits no more. */
void client_sent(unsigned topic, uint64_t value, enum history_outcome outcome);
/* A message: its number, and often something behind it. */
size_t client_body(struct client *c, char *into, size_t bytes, uint64_t value);
/* No more is to be published. */
bool client_enough(void);
int64_t client_timeout_ns(void);
/* The number behind a name in a JSON text. */
bool client_number_in(const char *text, const char *name, int64_t *number);
bool clients_stopping(void);
void client_free(struct client *c);

/* Fibers of clients that speak Kafka's protocol. */
void *kafka_producer_main(void *argument);
void *kafka_member_main(void *argument);

/* The fiber of a member of groups. */
void *member_main(void *argument);
/* Reads all partitions of a topic from the start, under a group of its own. False: not in time. */
bool member_read_topic(struct client *c, unsigned topic, unsigned round, int64_t until_ns);
/* Asks for what the topic's group has committed. */
void member_read_committed(struct client *c, unsigned topic, int64_t until_ns);

#endif
