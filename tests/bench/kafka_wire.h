/*
 * The frames that the bench's own Kafka clients send, and where in the answers what they
 * look at lies: one topic, one partition, versions that every Kafka of today has.
 */
#ifndef KQ_TESTS_BENCH_KAFKA_WIRE_H
#define KQ_TESTS_BENCH_KAFKA_WIRE_H

#include "base/bytes.h"
#include "base/slice.h"

enum { WIRE_FRAME_MAX_BYTES = 64 << 20, WIRE_TIMEOUT_MS = 30000 };

/* Appends a batch of `records` equal records. */
void wire_put_batch(struct buf *out, struct slice value, unsigned records);

/* Each replaces what out holds. Produce with acks=all to partition 0. */
void wire_put_produce(struct buf *out, const char *topic, struct slice batch);
void wire_put_fetch(struct buf *out, const char *topic, int32_t partition, int64_t off, int32_t wait_ms,
                    size_t max_bytes);

/* Where from the begin of the answer's size on: the be16 error, behind which the answer to a
 * produce has the be64 base offset; and where the records of a fetch begin. */
size_t wire_produced_error_at(const char *topic);
size_t wire_fetched_error_at(const char *topic);
size_t wire_fetched_records_at(const char *topic);

#endif
