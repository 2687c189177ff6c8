/*
 * Publishing through librdkafka, which is loaded while the program runs: nothing of it is
 * needed to build. Main thread.
 */
#ifndef KQ_TESTS_BENCH_KAFKA_RD_H
#define KQ_TESTS_BENCH_KAFKA_RD_H

#include "bench/kafka_raw.h"

/* Its version, or NULL: it is not installed. */
const char *rd_version(void);

/* Records with acks=all to any partition of load->topic, for load->run_us, and until all are
 * acknowledged. batch_bytes and in_flight are the library's own. Only if there is a version. */
struct raw_result rd_produce(const struct raw_load *load);

#endif
