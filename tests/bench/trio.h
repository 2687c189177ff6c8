/*
 * Three servers that replicate: three brokers of ours, NATS with a JetStream
 * stream of three replicas on disk, or three members of etcd, each with its
 * defaults but for what makes them comparable. One of a kind at a time is enough.
 *
 * Where a call waits it waits for what it names, up to a deadline, and then
 * ends the benchmark through harness_fail.
 */
#ifndef KQ_TESTS_BENCH_TRIO_H
#define KQ_TESTS_BENCH_TRIO_H

#include "bench/server.h"

enum { TRIO = 3 };
#define TRIO_TARGET "bench" /* what publishes go to */

struct fleet;

struct trio {
    enum server_kind kind; /* OURS, NATS or ETCD */
    struct server servers[TRIO];
    int raft_ports[TRIO];
    struct fleet *fleet; /* ours */
    bool networks;
};

/* False: not installed here. */
bool have_kind(enum server_kind kind);

/* Starts three of the kind, with the target ready for publishes; networks: each
 * in a place of network.h. Ours: with these settings. */
void trio_start(struct trio *t, enum server_kind kind, bool networks, const char *const *settings);
void trio_stop(struct trio *t);

/* Which leads the target (0 to 2), once all agree. */
int trio_leader(const struct trio *t);
/* Waits until all three take part and hold everything. */
void trio_wait_whole(const struct trio *t);

enum trio_fault { TRIO_KILL, TRIO_PAUSE, TRIO_CUT };
/* Does it to one; and undoes it, which returns when that one runs again. */
void trio_break(struct trio *t, int i, enum trio_fault fault);
void trio_mend(struct trio *t, int i, enum trio_fault fault);

/* CPU time that the three have used. */
int64_t trio_cpu_us(const struct trio *t);
/* The sum of a counter of ours. */
int64_t trio_counter(const struct trio *t, const char *name);

#endif
