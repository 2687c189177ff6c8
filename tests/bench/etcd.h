/*
 * etcd: its gRPC, by as much of HTTP/2 as a benchmark needs. A publish is a Put
 * of one key. Header fields are literals, so that nothing is compressed; of an
 * answer only the frames are looked at.
 */
#ifndef KQ_TESTS_BENCH_ETCD_H
#define KQ_TESTS_BENCH_ETCD_H

#include "e2e/client.h"

#include <stdint.h>

/* The preface and the settings of both sides. False: it is no HTTP/2. */
bool etcd_greet(struct client *c);
/* A Put on stream 1. */
size_t etcd_put_publish(char *out, const char *key, size_t size);
/* The same on the next stream. */
void etcd_next_stream(char *publish);
/* Ok: the call was answered with a message, not with an error. */
size_t etcd_take_reply(const char *in, size_t n, bool *ok);

struct etcd_status {
    uint64_t member, leader; /* leader 0: it knows of none */
};
/* Asks Maintenance.Status on a fresh connection. False: no answer. */
bool etcd_status(struct client *c, struct etcd_status *status);

#endif
