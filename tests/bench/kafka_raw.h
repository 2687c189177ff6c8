/*
 * A Kafka client of the bench's own: frames that are made once and sent again and
 * again, answers of which only the error is looked at. It costs next to nothing, so
 * that the broker is what is measured. Main thread, one connection each.
 */
#ifndef KQ_TESTS_BENCH_KAFKA_RAW_H
#define KQ_TESTS_BENCH_KAFKA_RAW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct raw_load {
    int port;
    const char *topic; /* its partition 0 */
    size_t record_bytes;
    size_t batch_bytes; /* about; at least one record */
    unsigned in_flight; /* requests */
    int64_t run_us;     /* ends after this much time or that many bytes */
    uint64_t bytes;     /* 0: no such end */
};

struct raw_result {
    uint64_t records, requests;
    uint64_t bytes; /* of records' values; of a fetch: of batches */
    int64_t us;
    bool broken;
};

/* Produce with acks=all. */
struct raw_result raw_produce(const struct raw_load *load);

/* What such a load's batches are like. */
size_t raw_batch_bytes(const struct raw_load *load);
unsigned raw_batch_records(const struct raw_load *load);

/* Reads `bytes` of a topic that such a load has filled, from offset *off on, which it moves; from
 * the begin again at its end. One fetch at a time, of fetch_bytes at most. */
struct raw_result raw_fetch(const struct raw_load *load, int64_t *off, size_t fetch_bytes);

#endif
