/*
 * Cases of a client that uses librdkafka, and what they share. Each case runs in a process of
 * its own, which fail() ends: so nothing needs to be given back on a way out. All calls that
 * do not say otherwise fail the case when they cannot do what they are for.
 */
#ifndef KQ_TESTS_CLIENTS_LIBRDKAFKA_CASES_H
#define KQ_TESTS_CLIENTS_LIBRDKAFKA_CASES_H

#include <librdkafka/rdkafka.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { PATIENCE_MS = 30000, CASE_SECONDS = 90, NAME_BYTES = 128, NUMBER_BYTES = 64 };

struct one_case {
    const char *name;
    void (*run)(void);
    int brokers; /* 0: with one and with three; else with so many alone */
};
/* Each file's cases; the last has no name. */
extern const struct one_case record_cases[], offset_cases[], group_cases[], once_cases[], admin_cases[],
    admin_group_cases[], error_cases[];

/* ---- failing ------------------------------------------------------------------------ */

/* Prints why, and ends the case. */
void fail(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));
#define WANT(condition) ((condition) ? (void)0 : fail("%s:%d: not so: %s", __FILE_NAME__, __LINE__, #condition))
void want_int(int64_t wanted, int64_t got, const char *what);
void want_text(const char *wanted, const char *got, const char *what);
void want_ok(rd_kafka_resp_err_t err, const char *what);
#ifndef __FILE_NAME__ /* since GCC 12 and clang 9 */
#define __FILE_NAME__ __FILE__
#endif

/* ---- brokers ---------------------------------------------------------------------------- */

int64_t now_ms(void);
int brokers(void);
/* Runs $VARIABLE ARGUMENTS; what it printed, without the last newline; until the next call. */
const char *command(const char *variable, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* "rdk-NAME", made with so many partitions; until the next call but seven. */
const char *topic_new(const char *name, int partitions);

/* ---- clients ------------------------------------------------------------------------------ */

/* Options are "key=value key=value". */
rd_kafka_conf_t *conf_of(const char *options);
rd_kafka_t *client_of(rd_kafka_type_t type, rd_kafka_conf_t *conf);
rd_kafka_t *producer_of(const char *options);
/* Of partition 0 from this offset on (RD_KAFKA_OFFSET_BEGINNING, ...), which says where it ends. */
rd_kafka_t *reader_of(const char *topic, int64_t offset, const char *options);
/* Waits until all that was produced is acknowledged, then ends it. */
void producer_done(rd_kafka_t *producer);

/* Numbers as text, to partition 0; so long that even one alone is smaller when compressed. */
void send_number(rd_kafka_t *producer, const char *topic, int number);
void send_number_to(rd_kafka_t *producer, const char *topic, int partition, int number);
void send_numbers(const char *topic, int from, int to, const char *options);
/* The next message; NULL: the end of a partition. Freed by rd_kafka_message_destroy. */
rd_kafka_message_t *next_message(rd_kafka_t *consumer);
int number_in(const rd_kafka_message_t *m);
/* Partition 0 holds just these, in order. */
void want_numbers(const char *topic, int from, int to);
/* A list of one partition, with an offset. */
rd_kafka_topic_partition_list_t *place(const char *topic, int partition, int64_t offset);

/* ---- administration ---------------------------------------------------------------------------- */

/* A request under way: options and the queue that its answer comes to. */
struct asked {
    rd_kafka_t *client;
    rd_kafka_queue_t *queue;
    rd_kafka_AdminOptions_t *options;
};
struct asked ask_begin(void);
/* The answer, whose error as a whole must be `wanted`; the client is kept until the case ends. */
rd_kafka_event_t *ask_end(const struct asked *a, rd_kafka_resp_err_t wanted);

#endif
