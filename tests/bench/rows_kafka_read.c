/* Rows about Kafka clients that read: throughput, and the way from producer to consumer. */
#include "bench/bench.h"
#include "bench/kafka_latency.h"
#include "bench/kafka_raw.h"
#include "bench/kafka_site.h"
#include "e2e/harness.h"

#include <stdio.h>

enum { ROUNDS = 5, FILL_BYTES = 512 << 20, FILL_QUICK_BYTES = 128 << 20, BATCH_BYTES = 64 << 10, IN_FLIGHT = 32 };
enum { LATENCY_ROUNDS = 3, EVERY_US = 1000, RUN_US = 4000000, RUN_QUICK_US = 1500000 };

static const char topic[] = "bench";

/* ---- fetch ------------------------------------------------------------------------------------- */

enum who { OURS, APACHE, RAW, SIDES };

struct fetch_rounds {
    double rate[SIDES][ROUNDS]; /* MB/s */
    double cpu[SIDES][ROUNDS];  /* of who sends, seconds a GB */
    bool broken;
};

static void fetch_round(struct fetch_rounds *r, int i, enum who who, const struct kafka_site *site,
                        struct raw_load load, size_t fetch_bytes)
{
    int64_t off = 0, cpu = site_cpu_us(site);
    load.port = site->ports[0];
    struct raw_result got = raw_fetch(&load, &off, fetch_bytes);
    cpu = site_cpu_us(site) - cpu;
    r->broken = r->broken || got.broken || got.bytes == 0;
    r->rate[who][i] = (double)got.bytes / (double)got.us;
    r->cpu[who][i] = (double)cpu * 1e3 / (double)(got.bytes + (got.bytes == 0));
}

static void fetch_rows(struct fetch_rounds *r, size_t fetch_bytes, bool there)
{
    struct row row = {0};
    double rate[ROUNDS], cpu[ROUNDS];
    for (int i = 0; i < ROUNDS; i++) {
        rate[i] = r->rate[OURS][i] / r->rate[RAW][i];
        cpu[i] = r->cpu[OURS][i] / r->cpu[RAW][i];
    }
    double of_raw = median(rate, ROUNDS), cpu_of_raw = median(cpu, ROUNDS);
    ROW_SET(row.what, "Kafka fetch, warm, %zu MiB at a time", fetch_bytes >> 20);
    ROW_SET(row.aim, ">= 0.8 x writev (%.0f MB/s)", median(r->rate[RAW], ROUNDS));
    ROW_SET(row.figure, "%.0f MB/s", median(r->rate[OURS], ROUNDS));
    if (there)
        ROW_SET(row.peer, "%.0f MB/s", median(r->rate[APACHE], ROUNDS));
    ROW_SET(row.ratio, "%.2f", of_raw);
    row.verdict = r->broken ? ROW_BROKEN : verdict(of_raw >= 0.8);
    table_add(&row);
    ROW_SET(row.what, "  the same: CPU a GB");
    ROW_SET(row.aim, "<= 1.5 x writev's (%.2f s)", median(r->cpu[RAW], ROUNDS));
    ROW_SET(row.figure, "%.2f s", median(r->cpu[OURS], ROUNDS));
    if (there)
        ROW_SET(row.peer, "%.2f s", median(r->cpu[APACHE], ROUNDS));
    ROW_SET(row.ratio, "%.2f", cpu_of_raw);
    row.verdict = r->broken ? ROW_BROKEN : verdict(cpu_of_raw <= 1.5);
    table_add(&row);
}

void rows_kafka_fetch(void)
{
    static const size_t sizes[] = {1 << 20, 8 << 20};
    struct kafka_site sites[2];
    struct raw_load load = {.topic = topic, .record_bytes = 1024, .batch_bytes = BATCH_BYTES, .in_flight = IN_FLIGHT};
    load.bytes = bench_quick() ? FILL_QUICK_BYTES : FILL_BYTES;
    site_start_ours(&sites[OURS], 1, NULL);
    bool there = site_start_apache(&sites[APACHE], 1);
    const char *file = raw_stream_file(temp_folder("raw"), load.bytes);
    for (int who = 0; who < (there ? 2 : 1); who++) {
        site_create(&sites[who], topic, 1);
        load.port = sites[who].ports[0];
        if (raw_produce(&load).broken)
            harness_fail("a topic could not be filled");
    }
    for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
        struct fetch_rounds r = {0};
        for (int i = -1; i < ROUNDS; i++) { /* the first one warms */
            int to = i < 0 ? 0 : i;
            struct raw_stream raw = raw_stream_mapped(file);
            r.rate[RAW][to] = raw.mb_per_s;
            r.cpu[RAW][to] = raw.cpu_s_per_gb;
            fetch_round(&r, to, OURS, &sites[OURS], load, sizes[s]);
            if (there)
                fetch_round(&r, to, APACHE, &sites[APACHE], load, sizes[s]);
        }
        fetch_rows(&r, sizes[s], there);
    }
    site_stop(&sites[OURS]);
    site_stop(&sites[APACHE]);
}

/* ---- from the producer to the consumer ------------------------------------------------------------ */

enum trio_who { ALWAYS, INTERVAL, PEER, TRIOS };

struct latency_rounds {
    double p50[TRIOS][LATENCY_ROUNDS], p99[TRIOS][LATENCY_ROUNDS];
    bool broken;
};

static void latency_rows(struct latency_rounds *r, enum trio_who who, bool there)
{
    struct row row = {0};
    double p50 = median(r->p50[who], LATENCY_ROUNDS), p99 = median(r->p99[who], LATENCY_ROUNDS);
    double peer50 = median(r->p50[PEER], LATENCY_ROUNDS), peer99 = median(r->p99[PEER], LATENCY_ROUNDS);
    ROW_SET(row.what, "Kafka end to end, 3 brokers, 1,000/s, 100 B, flush=%s", who == ALWAYS ? "always" : "interval");
    ROW_SET(row.aim, "p50 and p99 < Kafka's");
    ROW_SET(row.figure, "p50 %.0f us, p99 %.0f us", p50, p99);
    if (there) {
        ROW_SET(row.peer, "p50 %.0f us, p99 %.0f us", peer50, peer99);
        ROW_SET(row.ratio, "%.2f, %.2f", p50 / peer50, p99 / peer99);
    }
    row.verdict = r->broken ? ROW_BROKEN : !there ? ROW_SHOWN : verdict(p50 < peer50 && p99 < peer99);
    table_add(&row);
}

void rows_kafka_latency(void)
{
    static const char *const settings[][2] = {{"flush=always", NULL}, {"flush=interval", NULL}};
    struct kafka_site sites[TRIOS];
    struct latency_rounds r = {0};
    struct latency_load load = {.topic = topic, .record_bytes = 100, .every_us = EVERY_US};
    load.run_us = bench_quick() ? RUN_QUICK_US : RUN_US;
    site_start_ours(&sites[ALWAYS], 3, settings[0]);
    site_start_ours(&sites[INTERVAL], 3, settings[1]);
    bool there = site_start_apache(&sites[PEER], 3);
    int trios = there ? TRIOS : PEER;
    for (int who = 0; who < trios; who++)
        site_create(&sites[who], topic, 1);
    for (int i = -2; i < LATENCY_ROUNDS; i++) /* the first ones warm: a virtual machine needs that */
        for (int who = 0; who < trios; who++) {
            int to = i < 0 ? 0 : i;
            load.port = site_leader_port(&sites[who], topic, 0);
            struct latency_result got = latency_run(&load);
            r.p50[who][to] = got.p50_us;
            r.p99[who][to] = got.p99_us;
            /* What does not arrive at the peer is missing from its figures. */
            r.broken = r.broken || (i >= 0 && who != PEER && got.broken);
        }
    latency_rows(&r, ALWAYS, there);
    latency_rows(&r, INTERVAL, there);
    for (int who = 0; who < TRIOS; who++)
        site_stop(&sites[who]);
}
