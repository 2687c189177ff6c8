/* Rows about what Kafka clients cost the broker that wait, and about its memory. */
#include "bench/bench.h"
#include "bench/kafka_crowd.h"
#include "bench/kafka_raw.h"
#include "bench/kafka_site.h"
#include "e2e/harness.h"
#include "e2e/probe.h"

#include <stdio.h>

enum { BATCH_BYTES = 64 << 10, IN_FLIGHT = 32, FETCH_BYTES = 8 << 20, MIB = 1 << 20, KIB = 1024 };
enum { MEMBERS = 1000, POLLS = 5000, POLL_PARTITIONS = 10, HEARTBEATS = 3000, BURSTS = 5, PUBLISHES_US = 2000000 };
enum { MEMORY_STEPS = 10, MEMORY_STEPS_QUICK = 1, MEMORY_LIMIT_MIB = 32 };

static const char topic[] = "bench";

/* ---- memory ---------------------------------------------------------------------------------------- */

void rows_kafka_memory(void)
{
    struct kafka_site site;
    struct row row = {0};
    struct raw_load load = {.topic = topic, .record_bytes = 1024, .batch_bytes = BATCH_BYTES, .in_flight = IN_FLIGHT};
    int64_t off = 0, most_kib = 0, last_kib = 0;
    uint64_t read_bytes = 0;
    bool broken = false;
    int steps = bench_quick() ? MEMORY_STEPS_QUICK : MEMORY_STEPS;
    site_start_ours(&site, 1, NULL);
    site_create(&site, topic, 1);
    load.port = site.ports[0];
    load.bytes = (uint64_t)1000 * 1000 * 1000;
    for (int i = 0; i < steps && !broken; i++) {
        broken = raw_produce(&load).broken;
        struct raw_result got = raw_fetch(&load, &off, FETCH_BYTES);
        broken = broken || got.broken;
        read_bytes += got.bytes;
        last_kib = proc_anonymous_kib(site.pids[0]);
        most_kib = last_kib > most_kib ? last_kib : most_kib;
    }
    ROW_SET(row.what, "Kafka clients: resident after %d GB produced and consumed", steps);
    ROW_SET(row.aim, "<= %d MiB without mappings", MEMORY_LIMIT_MIB);
    ROW_SET(row.figure, "%.1f MiB, at most %.1f on the way", (double)last_kib / KIB, (double)most_kib / KIB);
    row.verdict = broken || read_bytes == 0 ? ROW_BROKEN : verdict(last_kib <= (int64_t)MEMORY_LIMIT_MIB * KIB);
    table_add(&row);
    site_stop(&site);
}

/* ---- a crowd ----------------------------------------------------------------------------------------- */

/* p99 of publishes one by one. */
static double publish_us(const struct kafka_site *site, bool *broken)
{
    static double samples[HEARTBEATS];
    size_t count = 0;
    struct raw_load load = {.port = site->ports[0], .topic = topic, .record_bytes = 100, .in_flight = 1};
    struct raw_result all = {0};
    for (int64_t begin = now_us(); count < HEARTBEATS && now_us() - begin < PUBLISHES_US; count++) {
        load.bytes = 1; /* one request on a connection of its own */
        all = raw_produce(&load);
        *broken = *broken || all.broken;
        samples[count] = (double)all.us;
    }
    return percentile(samples, count, 0.99);
}

static void group_rows(struct crowd_group *group, double join_us)
{
    static double one[HEARTBEATS];
    double bursts[BURSTS];
    struct row row = {.verdict = ROW_SHOWN};
    for (unsigned i = 0; i < HEARTBEATS; i++)
        one[i] = crowd_heartbeat_us(group, i % MEMBERS);
    for (int i = 0; i < BURSTS; i++)
        bursts[i] = crowd_heartbeats_us(group);
    ROW_SET(row.what, "%d consumers in one group, %d long polls beside: heartbeat", MEMBERS, POLLS);
    ROW_SET(row.figure, "p50 %.0f us, p99 %.0f us", percentile(one, HEARTBEATS, 0.5),
            percentile(one, HEARTBEATS, 0.99));
    table_add(&row);
    ROW_SET(row.what, "  the same: joined / all heartbeats at once");
    ROW_SET(row.figure, "%.1f s / %.1f ms", join_us / 1e6, median(bursts, BURSTS) / 1e3);
    table_add(&row);
}

void rows_kafka_crowd(void)
{
    struct kafka_site site;
    struct row row = {0};
    bool broken = false;
    site_start_ours(&site, 1, NULL);
    site_create(&site, topic, 1);
    site_create(&site, "idle", POLL_PARTITIONS);
    (void)publish_us(&site, &broken);
    double alone_us = publish_us(&site, &broken);
    int64_t threads = proc_threads(site.pids[0]), kib = proc_anonymous_kib(site.pids[0]);
    struct crowd_polls *polls = crowd_poll(site.ports[0], "idle", POLL_PARTITIONS, POLLS);
    double beside_us = publish_us(&site, &broken);
    double each_kib = (double)(proc_anonymous_kib(site.pids[0]) - kib) / POLLS;
    int64_t more = proc_threads(site.pids[0]) - threads;
    unsigned answered = crowd_answered(polls);
    ROW_SET(row.what, "%d long polls wait: threads more, polls answered", POLLS);
    ROW_SET(row.aim, "no worker held: 0, 0");
    ROW_SET(row.figure, "%lld, %u; %.1f KiB each", (long long)more, answered, each_kib);
    row.verdict = broken ? ROW_BROKEN : verdict(more <= 0 && answered == 0);
    table_add(&row);
    row = (struct row){0};
    ROW_SET(row.what, "  the same: p99 of connecting and publishing beside them");
    ROW_SET(row.aim, "<= 2 x without");
    ROW_SET(row.figure, "%.0f us, without %.0f us", beside_us, alone_us);
    ROW_SET(row.ratio, "%.2f", beside_us / alone_us);
    row.verdict = broken ? ROW_BROKEN : verdict(beside_us <= 2 * alone_us);
    table_add(&row);
    int64_t begin = now_us();
    struct crowd_group *group = crowd_join(site.ports[0], "bench", MEMBERS);
    group_rows(group, (double)(now_us() - begin));
    crowd_leave(&group);
    crowd_poll_end(&polls);
    site_stop(&site);
}
