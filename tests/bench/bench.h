/*
 * One table: what is measured, the aim, our figure, the peer's, the ratio, and
 * whether the aim is met. Rows are printed as they are done.
 *
 * The peer is Redis Streams with appendfsync always; of three replicas NATS
 * JetStream and etcd. It is driven by the same client code through the same
 * windows, in rounds that take turns with ours, so that a slow minute of the
 * machine hits both. No absolute time is a pass mark, and an
 * aim that is missed is no failure of the program: only something broken is.
 */
#ifndef KQ_TESTS_BENCH_BENCH_H
#define KQ_TESTS_BENCH_BENCH_H

#include "bench/load.h"
#include "bench/server.h"

enum { ROUNDS_MAX = 16 };

/* ---- the table ----------------------------------------------------------- */

enum row_verdict { ROW_SHOWN, ROW_MET, ROW_MISSED, ROW_BROKEN };
struct row {
    char what[80];
    char aim[56];
    char figure[64];
    char peer[48];
    char ratio[24];
    enum row_verdict verdict;
};
/* Prints it and remembers whether anything broke. */
void table_add(const struct row *r);
/* Formats into one of the row's members. */
#define ROW_SET(member, ...) ((void)snprintf((member), sizeof(member), __VA_ARGS__))

enum row_verdict verdict(bool met);

/* Fewer and shorter rounds were asked for. */
bool bench_quick(void);

/* ---- numbers ------------------------------------------------------------- */

/* Sorts values. */
double median(double *values, size_t count);
double percentile(double *values, size_t count, double fraction);

/* ---- raw limits, of the machine as it is now ------------------------------ */

/* p50 in us: pwrite of 4 KiB and fdatasync in a zeroed file in dir. */
double raw_sync_us(const char *dir, int times);
/* p50 in us: 128 bytes there and 8 back over loopback TCP. */
double raw_ping_us(int times);
/* p50 in us of waking another thread; on the same core, or on the other. */
double raw_hand_off_us(bool other_core, int times);
/* MiB a second: writes of 1 MiB into a new file in dir, each with fdatasync; and over
 * one loopback connection. */
double raw_write_mib(const char *dir);
double raw_loopback_mib(void);
/* Seconds of processor time to write a GB into a file of the page cache. On a virtual machine that
 * has given free memory back to its host it is several times what it is otherwise. */
double raw_page_cache_s_per_gb(const char *dir);
/* Touches as much memory as some rows need (5 GiB, or half of what is to be had) and gives it back. A virtual
 * machine may get memory from its host at the first touch only, which costs whoever comes first 10 us a page. */
void raw_touch_memory(void);
/* A file of that size in dir; and what sending it from a mapping costs the sender, over one
 * loopback connection, with writev of 1 MiB. */
struct raw_stream {
    double mb_per_s, cpu_s_per_gb;
};
const char *raw_stream_file(const char *dir, uint64_t size);
struct raw_stream raw_stream_mapped(const char *path);

/* ---- the rows ------------------------------------------------------------ */

void rows_raw(void);
void rows_sync_one_core(void);
void rows_sync_two_cores(void);
void rows_pipeline(void);
void rows_many(void);
void rows_consume(void);
void rows_copies(void);
void rows_idle(void);
void rows_thousand(void);
void rows_connections(void);
void rows_start(void);
void rows_recovery(void);
/* Three brokers. */
void rows_replicated_sync(void);
void rows_replicated_pipeline(void);
void rows_failover(void);
void rows_thousand_replicated(void);
void rows_costs_replicated(void);
void rows_refill(void);
/* Kafka clients. */
void rows_kafka_produce(void);
void rows_kafka_produce_three(void);
void rows_kafka_tool(void);
void rows_kafka_fetch(void);
void rows_kafka_latency(void);
void rows_kafka_crowd(void);
void rows_kafka_memory(void);

#endif
