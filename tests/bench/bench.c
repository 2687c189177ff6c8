/* The table and its numbers; which rows run. */
#include "bench/bench.h"

#include "bench/kafka_rd.h"
#include "bench/kafka_site.h"
#include "bench/trio.h"
#include "e2e/harness.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool broken, quick;

void harness_fail(const char *why)
{
    (void)fflush(stdout);
    fprintf(stderr, "bench: %s\n", why);
    exit(1);
}

static const char *const verdict_text[] = {"", "yes", "NO", "BROKEN"};

static void print_line(const char *what, const char *aim, const char *figure, const char *peer, const char *ratio,
                       const char *met)
{
    printf("%-66s | %-26s | %-36s | %-36s | %-6s | %s\n", what, aim, figure, peer, ratio, met);
    (void)fflush(stdout);
}

void table_add(const struct row *r)
{
    broken = broken || r->verdict == ROW_BROKEN;
    print_line(r->what, r->aim, r->figure, r->peer, r->ratio, verdict_text[r->verdict]);
}

bool bench_quick(void)
{
    return quick;
}

enum row_verdict verdict(bool met)
{
    return met ? ROW_MET : ROW_MISSED;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

double percentile(double *values, size_t count, double fraction)
{
    if (count == 0)
        return 0;
    qsort(values, count, sizeof(*values), by_value);
    return values[(size_t)((double)(count - 1) * fraction)];
}

double median(double *values, size_t count)
{
    return percentile(values, count, 0.5);
}

static const struct {
    const char *name;
    void (*run)(void);
} benches[] = {
    {"raw", rows_raw},
    {"sync1", rows_sync_one_core},
    {"sync2", rows_sync_two_cores},
    {"pipeline", rows_pipeline},
    {"many", rows_many},
    {"consume", rows_consume},
    {"copies", rows_copies},
    {"idle", rows_idle},
    {"thousand", rows_thousand},
    {"connections", rows_connections},
    {"start", rows_start},
    {"recovery", rows_recovery},
    {"sync3", rows_replicated_sync},
    {"pipeline3", rows_replicated_pipeline},
    {"costs3", rows_costs_replicated},
    {"thousand3", rows_thousand_replicated},
    {"refill", rows_refill},
    {"failover", rows_failover},
    {"kafka", rows_kafka_produce},
    {"kafka3", rows_kafka_produce_three},
    {"kafkatool", rows_kafka_tool},
    {"fetch", rows_kafka_fetch},
    {"endtoend", rows_kafka_latency},
    {"crowd", rows_kafka_crowd},
    {"memory", rows_kafka_memory},
};

static void say_what_is_missing(void)
{
    static const struct {
        enum server_kind kind;
        const char *name;
    } peers[] = {{SERVER_REDIS, "redis-server"}, {SERVER_NATS, "nats-server"}, {SERVER_ETCD, "etcd-server"}};
    for (size_t i = 0; i < sizeof(peers) / sizeof(peers[0]); i++)
        if (!have_kind(peers[i].kind))
            fprintf(stderr, "bench: no %s here, so nothing is compared with it\n", peers[i].name);
    if (site_apache_version() == NULL)
        fprintf(stderr,
                "bench: no Apache Kafka here (tests/bench/kafka-peer.sh fetch), so nothing is compared with it\n");
    if (rd_version() == NULL)
        fprintf(stderr, "bench: no librdkafka here, so its rows are left out\n");
}

static void fail_naming_rows(void)
{
    fprintf(stderr, "bench: no such row; one of");
    for (size_t i = 0; i < sizeof(benches) / sizeof(benches[0]); i++)
        fprintf(stderr, " %s", benches[i].name);
    fprintf(stderr, "\n");
    exit(1);
}

/* bench [--quick] [ROW] */
int main(int argc, char **argv)
{
    const char *only = NULL;
    size_t run = 0;
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], "--quick") == 0)
            quick = true;
        else if (argv[i][0] != '\0')
            only = argv[i];
    (void)signal(SIGPIPE, SIG_IGN);
    if (access(daemon_binary(), X_OK) != 0)
        harness_fail("no daemon; build it first, or set KAFKAESQUED");
    say_what_is_missing();
    print_line("what", "aim", "figure", "peer", "ratio", "met");
    for (size_t i = 0; i < sizeof(benches) / sizeof(benches[0]); i++)
        if (only == NULL || strcmp(only, benches[i].name) == 0) {
            benches[i].run();
            run++;
        }
    if (run == 0)
        fail_naming_rows();
    return broken ? 1 : 0;
}
