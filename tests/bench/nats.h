/* NATS: its text on the wire, its three servers' configuration, its streams. */
#ifndef KQ_TESTS_BENCH_NATS_H
#define KQ_TESTS_BENCH_NATS_H

#include "e2e/client.h"

/* CONNECT, and the inbox that acknowledgements come to. False: it is no NATS. */
bool nats_greet(struct client *c);
size_t nats_put_publish(char *out, const char *target, size_t size);
size_t nats_take_reply(const char *in, size_t n, bool *ok);

/* Asks the JetStream API; the JSON of the answer, or NULL within wait_ms. */
const char *nats_ask(struct client *c, const char *api, const char *json, int wait_ms);

#endif
