/*
 * A client's connection that speaks Kafka's protocol, over the simulated sockets and with
 * the codec's own description, as session.h is for text. For fibers of the harness.
 */
#ifndef KQ_TESTS_SIM_TALK_H
#define KQ_TESTS_SIM_TALK_H

#include "proto/kafka/kafka.h"
#include "sim/brokers.h"

#include <stdbool.h>
#include <stdint.h>

struct talk {
    int fd;          /* below 0: not connected */
    unsigned broker; /* whom it talks to */
    int32_t asked, answered;
    uint8_t *frame; /* the last answer's */
    struct kafka_arena arena;
};

/* All zeros but fd -1 is closed. The timeout is that of each answer. */
bool talk_open(struct talk *t, unsigned broker, int64_t timeout_ns);
void talk_close(struct talk *t);
void talk_fini(struct talk *t);
/* body: a struct kafka_<api>_request. False: the connection is gone. */
bool talk_say(struct talk *t, enum kafka_key key, int16_t version, const void *body);
/* The answer to the oldest request that has none: a struct kafka_<api>_response, valid until
 * the next call. NULL: the connection is gone, or nothing came in time; it is closed then. */
const void *talk_hear(struct talk *t, enum kafka_key key, int16_t version);
/* Both. */
const void *talk_ask(struct talk *t, enum kafka_key key, int16_t version, const void *body);

#endif
