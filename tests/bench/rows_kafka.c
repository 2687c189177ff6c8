/* Rows about Kafka clients: produce and fetch, beside Apache Kafka. */
#include "bench/bench.h"
#include "bench/kafka_raw.h"
#include "bench/kafka_rd.h"
#include "bench/kafka_site.h"
#include "e2e/harness.h"

#include <stdio.h>

enum { ROUNDS = 3, ROUND_US = 1500000, ROUND_QUICK_US = 500000, WARM_US = 12000000 };
enum { BATCH_BYTES = 64 << 10, IN_FLIGHT = 32, TOOL_RECORDS = 300000, TOOL_QUICK_RECORDS = 100000 };

static const char topic[] = "bench";
static const char *const always[] = {"flush=always", NULL};
static const char *const interval[] = {"flush=interval", NULL};

/* ---- produce -------------------------------------------------------------------------------- */

enum who { OURS_ALWAYS, OURS_INTERVAL, APACHE, SITES };

struct produce_rounds {
    double rate[SITES][ROUNDS]; /* MB/s */
    double cpu[SITES][ROUNDS];  /* seconds of all brokers a GB */
    bool broken;
};

struct client_kind {
    const char *name;
    struct raw_result (*produce)(const struct raw_load *load);
};

static void produce_round(struct produce_rounds *r, int i, enum who who, const struct kafka_site *site,
                          const struct client_kind *client, struct raw_load load)
{
    load.port = site_leader_port(site, topic, 0);
    int64_t cpu = site_cpu_us(site);
    struct raw_result got = client->produce(&load);
    cpu = site_cpu_us(site) - cpu;
    r->broken = r->broken || got.broken || got.bytes == 0;
    double bytes = (double)(got.bytes + (got.bytes == 0));
    r->rate[who][i] = bytes / (double)got.us;
    r->cpu[who][i] = (double)cpu * 1e3 / bytes;
}

static void produce_rows(struct produce_rounds *r, enum who who, const char *what, bool there)
{
    struct row row = {0};
    double ratio[ROUNDS], cpu_ratio[ROUNDS];
    for (int i = 0; i < ROUNDS; i++) {
        ratio[i] = there ? r->rate[who][i] / r->rate[APACHE][i] : 0;
        cpu_ratio[i] = there ? r->cpu[who][i] / r->cpu[APACHE][i] : 0;
    }
    double rate = median(ratio, ROUNDS), cpu = median(cpu_ratio, ROUNDS);
    ROW_SET(row.what, "%s, flush=%s", what, who == OURS_ALWAYS ? "always" : "interval");
    ROW_SET(row.aim, ">= Kafka's, which does not flush");
    ROW_SET(row.figure, "%.0f MB/s", median(r->rate[who], ROUNDS));
    if (there) {
        ROW_SET(row.peer, "%.0f MB/s", median(r->rate[APACHE], ROUNDS));
        ROW_SET(row.ratio, "%.2f", rate);
    }
    row.verdict = r->broken ? ROW_BROKEN : !there ? ROW_SHOWN : verdict(rate >= 1.0);
    table_add(&row);
    ROW_SET(row.what, "  the same: CPU of all brokers a GB");
    ROW_SET(row.aim, "<= a quarter of Kafka's");
    ROW_SET(row.figure, "%.2f s", median(r->cpu[who], ROUNDS));
    if (there) {
        ROW_SET(row.peer, "%.2f s", median(r->cpu[APACHE], ROUNDS));
        ROW_SET(row.ratio, "%.2f", cpu);
    }
    row.verdict = r->broken ? ROW_BROKEN : !there ? ROW_SHOWN : verdict(cpu <= 0.25);
    table_add(&row);
}

static void produce_with(const struct kafka_site *sites, const struct client_kind *client, size_t record_bytes)
{
    struct produce_rounds r = {0};
    char what[80];
    struct raw_load load = {.topic = topic, .record_bytes = record_bytes, .batch_bytes = BATCH_BYTES};
    load.in_flight = IN_FLIGHT;
    load.run_us = bench_quick() ? ROUND_QUICK_US : ROUND_US;
    bool there = sites[APACHE].pids[0] != 0;
    raw_touch_memory();
    for (int i = 0; i < ROUNDS; i++)
        for (int who = 0; who < SITES; who++)
            if (sites[who].pids[0] != 0)
                produce_round(&r, i, (enum who)who, &sites[who], client, load);
    (void)snprintf(what, sizeof(what), "Kafka produce, %d broker%s, %zu B, %s", sites[OURS_ALWAYS].count,
                   sites[OURS_ALWAYS].count > 1 ? "s" : "", record_bytes, client->name);
    produce_rows(&r, OURS_ALWAYS, what, there);
    produce_rows(&r, OURS_INTERVAL, what, there);
}

/* A virtual machine is as fast as it gets only after a while. */
static void warm_up(const struct kafka_site *site)
{
    struct raw_load load = {.topic = topic, .record_bytes = 1024, .batch_bytes = BATCH_BYTES, .in_flight = IN_FLIGHT};
    load.port = site_leader_port(site, topic, 0);
    load.run_us = bench_quick() ? WARM_US / 3 : WARM_US;
    (void)(rd_version() != NULL ? rd_produce(&load) : raw_produce(&load));
}

static void produce_brokers(int count)
{
    static const size_t sizes[] = {1024, 100};
    struct kafka_site sites[SITES];
    site_start_ours(&sites[OURS_ALWAYS], count, always);
    site_start_ours(&sites[OURS_INTERVAL], count, interval);
    bool there = site_start_apache(&sites[APACHE], count);
    for (int who = 0; who < (there ? SITES : APACHE); who++)
        site_create(&sites[who], topic, 1);
    if (there)
        warm_up(&sites[APACHE]);
    double cache_s = raw_page_cache_s_per_gb(sites[OURS_ALWAYS].dirs[0]);
    for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
        struct client_kind raw = {"raw", raw_produce};
        struct client_kind rd = {"librdkafka", rd_produce};
        produce_with(sites, &raw, sizes[s]);
        if (rd_version() != NULL)
            produce_with(sites, &rd, sizes[s]);
    }
    struct row row = {.what = "raw: CPU of writing a GB into the page cache, before / after"};
    ROW_SET(row.figure, "%.2f / %.2f s", cache_s, raw_page_cache_s_per_gb(sites[OURS_ALWAYS].dirs[0]));
    table_add(&row);
    for (int who = 0; who < SITES; who++)
        site_stop(&sites[who]);
}

void rows_kafka_produce(void)
{
    produce_brokers(1);
}

void rows_kafka_produce_three(void)
{
    produce_brokers(3);
}

/* ---- Kafka's own tools ------------------------------------------------------------------------ */

enum { TOOL_RECORD_BYTES = 1024 };
static const char tool_topic[] = "tool"; /* what warms the virtual machine is not in it */

struct tool_result {
    double mb_per_s, cpu_s_per_gb;
};

/* Runs `org.apache.kafka.tools.<arguments>` against a site and gives the last line it prints in which `format`
 * finds its two figures: how many records, and the rate in what the tool takes for a megabyte (1,048,576 bytes). */
static struct tool_result run_tool(const struct kafka_site *site, const char *arguments, unsigned records,
                                   bool (*reads)(const char *line, unsigned *records, double *mib_per_s))
{
    char command[1024], line[512];
    double mib_per_s = 0;
    unsigned done = 0;
    (void)snprintf(command, sizeof(command), "'%s' tool org.apache.kafka.tools.%s 2>/dev/null", site_script(),
                   arguments);
    int64_t cpu = site_cpu_us(site);
    FILE *f = popen(command, "re");
    if (f == NULL)
        harness_fail("Kafka's tool does not start");
    while (fgets(line, sizeof(line), f) != NULL)
        (void)reads(line, &done, &mib_per_s);
    if (pclose(f) != 0 || done < records)
        harness_fail("one of Kafka's tools fails");
    cpu = site_cpu_us(site) - cpu;
    return (struct tool_result){mib_per_s * (1 << 20) / 1e6, (double)cpu * 1e3 / ((double)done * TOOL_RECORD_BYTES)};
}

/* "N records sent, R records/sec (M MB/sec), ..." */
static bool reads_produced(const char *line, unsigned *records, double *mib_per_s)
{
    return sscanf(line, "%u records sent, %*f records/sec (%lf MB/sec)", records, mib_per_s) == 2;
}

/* "start, end, MB, MB/s, records, records/s, ms until it had partitions, ms it fetched, MB/s of those ms, records/s":
 * the last but one, as a group's first round waits for others. */
static bool reads_consumed(const char *line, unsigned *records, double *mib_per_s)
{
    return sscanf(line, "%*[^,], %*[^,], %*f, %*f, %u, %*f, %*d, %*d, %lf,", records, mib_per_s) == 2;
}

static struct tool_result tool_produce(const struct kafka_site *site, unsigned records)
{
    char arguments[512];
    (void)snprintf(arguments, sizeof(arguments),
                   "ProducerPerformance --topic %s --num-records %u --record-size %d --throughput -1 "
                   "--producer-props bootstrap.servers=127.0.0.1:%d acks=all",
                   tool_topic, records, (int)TOOL_RECORD_BYTES, site->ports[0]);
    return run_tool(site, arguments, records, reads_produced);
}

static struct tool_result tool_consume(const struct kafka_site *site, unsigned records)
{
    char arguments[512];
    (void)snprintf(
        arguments, sizeof(arguments),
        "ConsumerPerformance --topic %s --num-records %u --timeout 60000 --hide-header --bootstrap-server 127.0.0.1:%d",
        tool_topic, records, site->ports[0]);
    return run_tool(site, arguments, records, reads_consumed);
}

static void tool_row(const char *what, double rate[2][ROUNDS], double cpu[2][ROUNDS], size_t rounds)
{
    struct row row = {.verdict = ROW_SHOWN};
    double r[2], c[2];
    for (int i = 0; i < 2; i++) {
        r[i] = median(rate[i], rounds);
        c[i] = median(cpu[i], rounds);
    }
    ROW_SET(row.what, "%s", what);
    ROW_SET(row.figure, "%.0f MB/s, CPU %.2f s a GB", r[0], c[0]);
    ROW_SET(row.peer, "%.0f MB/s, CPU %.2f s a GB", r[1], c[1]);
    ROW_SET(row.ratio, "%.2f, %.2f", r[0] / r[1], c[0] / c[1]);
    table_add(&row);
}

void rows_kafka_tool(void)
{
    struct kafka_site sites[2];
    double rate[2][ROUNDS], cpu[2][ROUNDS];
    unsigned records = bench_quick() ? TOOL_QUICK_RECORDS : TOOL_RECORDS;
    site_start_ours(&sites[0], 1, always);
    if (!site_start_apache(&sites[1], 1)) {
        site_stop(&sites[0]);
        return;
    }
    for (int i = 0; i < 2; i++)
        site_create(&sites[i], tool_topic, 1);
    site_create(&sites[1], topic, 1);
    warm_up(&sites[1]);
    for (int i = 0; i < 2; i++) {
        struct tool_result got = tool_produce(&sites[i], records);
        rate[i][0] = got.mb_per_s;
        cpu[i][0] = got.cpu_s_per_gb;
    }
    tool_row("Kafka's ProducerPerformance, 1024 B, acks=all, flush=always", rate, cpu, 1);
    for (int round = 0; round < ROUNDS; round++)
        for (int i = 0; i < 2; i++) {
            struct tool_result got = tool_consume(&sites[i], records);
            rate[i][round] = got.mb_per_s;
            cpu[i][round] = got.cpu_s_per_gb;
        }
    tool_row("Kafka's ConsumerPerformance, 1024 B, while it fetches", rate, cpu, ROUNDS);
    for (int i = 0; i < 2; i++)
        site_stop(&sites[i]);
}
