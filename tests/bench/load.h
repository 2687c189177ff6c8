/*
 * The clients: the same code drives both servers. One thread, blocking sockets
 * or one poll loop, and as little work a message as can be, so that the server
 * is what is measured.
 */
#ifndef KQ_TESTS_BENCH_LOAD_H
#define KQ_TESTS_BENCH_LOAD_H

#include "bench/server.h"

struct load {
    const struct server *server;
    const char *const *targets; /* connection i publishes to targets[i % target_count] */
    size_t target_count;
    size_t payload_bytes;
    unsigned connections;
    unsigned in_flight; /* a connection */
    int64_t run_us;     /* ends after this much time or that many messages */
    uint64_t messages;  /* 0: no such end */
};

struct load_result {
    uint64_t messages;
    int64_t us;
    int64_t cpu_us; /* the server's */
    double p50_us, p99_us;
    bool broken;
};

/* One connection, one in flight: latencies. */
struct load_result load_synchronous(const struct load *l);
/* Any number of connections and in flight: rates. p50 and p99 are not set. Not for
 * etcd, whose publishes on one connection differ. */
struct load_result load_window(const struct load *l);

/* Pins the calling thread; 0: all cores. */
void pin_self(uint64_t cpus);

#endif
