/*
 * From the producer to the consumer: one client publishes single records at a steady rate,
 * another waits for them in long polls; one thread, two connections to the leader.
 */
#ifndef KQ_TESTS_BENCH_KAFKA_LATENCY_H
#define KQ_TESTS_BENCH_KAFKA_LATENCY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct latency_load {
    int port;
    const char *topic; /* its partition 0 */
    size_t record_bytes;
    int64_t every_us;
    int64_t run_us;
};

struct latency_result {
    double p50_us, p99_us; /* from when a record was due to when the consumer had it */
    size_t records;
    bool broken;
};

struct latency_result latency_run(const struct latency_load *load);

#endif
