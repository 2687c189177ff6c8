/*
 * A Kafka client that says exactly what a test wants it to: one request, one answer, any
 * API in any version, through the codec's own description. Main thread; what it is
 * answered lives until the next call. Fails as harness.h does.
 */
#ifndef KQ_TESTS_E2E_KAFKA_CALLER_H
#define KQ_TESTS_E2E_KAFKA_CALLER_H

#include "proto/kafka/kafka.h"

struct kafka_caller;

struct kafka_caller *caller_open(int port);
void caller_close(struct kafka_caller **caller);

/* body: a struct kafka_<api>_request. Gives the struct kafka_<api>_response. */
const void *caller_ask(struct kafka_caller *caller, enum kafka_key key, int16_t version, const void *body);

/* The same in two halves, for requests that overlap: answers are taken in the order of the
 * requests (those that are answered), and each has to be one to the request of that id. */
int32_t caller_send(struct kafka_caller *caller, enum kafka_key key, int16_t version, const void *body);
const void *caller_take(struct kafka_caller *caller, enum kafka_key key, int16_t version, int32_t id);
/* The frame of a request, in out; its id. Sent by caller_give, in any pieces. */
int32_t caller_frame(struct kafka_caller *caller, enum kafka_key key, int16_t version, const void *body,
                     struct buf *out);
void caller_give(struct kafka_caller *caller, const uint8_t *from, size_t size_bytes);
struct client *caller_client(struct kafka_caller *caller);

#endif
