/* Rows about publishing: one after the other, pipelined, and many at a time. */
#include "bench/bench.h"
#include "e2e/harness.h"

#include <stdio.h>
#include <string.h>

enum { SYNC_ROUNDS = 5, SYNC_ROUND_US = 700000, WINDOW_ROUNDS = 5, WINDOW_ROUND_US = 700000, MANY_ROUND_US = 1500000 };
enum { RAW_TIMES = 300, PING_TIMES = 500, MANY_CONNECTIONS = 64, MANY_PARTITIONS = 8 };

static const char *const one_target[] = {"bench"};
static const char *const eight_targets[] = {"s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7"};

static struct server fresh(enum server_kind kind, uint64_t cpus)
{
    struct server s = {.kind = kind, .dir = temp_folder(kind == SERVER_OURS ? "ours" : "redis"), .cpus = cpus};
    server_start(&s);
    return s;
}

/* ---- one synchronous publisher -------------------------------------------- */

struct sync_rounds {
    double ours[SYNC_ROUNDS], redis[SYNC_ROUNDS], limit[SYNC_ROUNDS], to_limit[SYNC_ROUNDS], to_redis[SYNC_ROUNDS];
    uint64_t messages;
    int64_t hand_offs;
    bool broken;
};

static void sync_round(struct sync_rounds *r, int i, const struct server *ours, const struct server *redis,
                       double hand_off_us)
{
    struct load l = {.server = ours, .targets = one_target, .target_count = 1, .payload_bytes = 100};
    l.run_us = SYNC_ROUND_US;
    r->limit[i] = raw_sync_us(ours->dir, RAW_TIMES) + raw_ping_us(PING_TIMES) + 2 * hand_off_us;
    struct load_result a = load_synchronous(&l);
    r->ours[i] = a.p50_us;
    r->messages += a.messages;
    r->broken = r->broken || a.broken;
    r->to_limit[i] = a.p50_us / r->limit[i];
    if (redis->pid == 0)
        return;
    l.server = redis;
    struct load_result b = load_synchronous(&l);
    r->redis[i] = b.p50_us;
    r->broken = r->broken || b.broken;
    r->to_redis[i] = a.p50_us / b.p50_us;
}

static void rows_sync(const char *where, uint64_t cpus, bool other_core)
{
    struct sync_rounds r = {0};
    struct row row = {0};
    struct server redis = {0}, ours = fresh(SERVER_OURS, cpus);
    if (have_redis())
        redis = fresh(SERVER_REDIS, cpus);
    double hand_off_us = raw_hand_off_us(other_core, 1000);
    server_create(&ours, "bench", 1);
    pin_self(cpus);
    int64_t before = server_counter(&ours, "Counters.handoffs");
    for (int i = 0; i < SYNC_ROUNDS; i++)
        sync_round(&r, i, &ours, &redis, hand_off_us);
    int64_t after = server_counter(&ours, "Counters.handoffs");
    pin_self(0);
    double ours_us = median(r.ours, SYNC_ROUNDS), to_limit = median(r.to_limit, SYNC_ROUNDS);
    ROW_SET(row.what, "one synchronous publisher, 100 B, %s: against the raw limit", where);
    ROW_SET(row.aim, "p50 <= 1.5 x raw (%.0f us)", median(r.limit, SYNC_ROUNDS));
    ROW_SET(row.figure, "p50 %.0f us", ours_us);
    ROW_SET(row.ratio, "%.2f", to_limit);
    row.verdict = r.broken ? ROW_BROKEN : verdict(to_limit <= 1.5);
    table_add(&row);
    double to_redis = median(r.to_redis, SYNC_ROUNDS);
    ROW_SET(row.what, "  the same, %s: against Redis", where);
    ROW_SET(row.aim, "p50 <= Redis's");
    ROW_SET(row.peer, "p50 %.0f us", median(r.redis, SYNC_ROUNDS));
    ROW_SET(row.ratio, "%.2f", to_redis);
    row.verdict = r.broken ? ROW_BROKEN : redis.pid == 0 ? ROW_SHOWN : verdict(to_redis <= 1.0);
    table_add(&row);
    row = (struct row){.aim = "2", .verdict = ROW_SHOWN};
    ROW_SET(row.what, "  the same, %s: hand-offs a publish", where);
    double each = (double)(after - before) / (double)(r.messages > 0 ? r.messages : 1);
    ROW_SET(row.figure, before < 0 ? "not counted" : "%.2f", each);
    row.verdict = before < 0 ? ROW_SHOWN : verdict(each <= 2.1);
    table_add(&row);
    server_stop(&ours);
    if (redis.pid != 0)
        server_stop(&redis);
}

void rows_sync_one_core(void)
{
    rows_sync("one core", 1, false);
}

void rows_sync_two_cores(void)
{
    rows_sync("two cores", 3, true);
}

/* ---- one pipelined connection ---------------------------------------------- */

struct pair_rounds {
    double ours[ROUNDS_MAX], redis[ROUNDS_MAX], rate_ratio[ROUNDS_MAX], cpu_ratio[ROUNDS_MAX];
    double ours_cpu[ROUNDS_MAX], redis_cpu[ROUNDS_MAX];
    uint64_t messages; /* ours */
    bool broken;
};

/* Rounds that take turns; the load's server is set for each. */
static void run_pair(struct pair_rounds *r, int rounds, struct load ours, struct load redis)
{
    for (int i = 0; i < rounds; i++) {
        struct load_result a = load_window(&ours);
        r->broken = r->broken || a.broken || a.messages == 0;
        r->messages += a.messages;
        r->ours[i] = (double)a.messages * 1e6 / (double)a.us;
        r->ours_cpu[i] = (double)a.cpu_us / (double)(a.messages + (a.messages == 0));
        if (redis.server->pid == 0)
            continue;
        struct load_result b = load_window(&redis);
        r->broken = r->broken || b.broken || b.messages == 0;
        r->redis[i] = (double)b.messages * 1e6 / (double)b.us;
        r->redis_cpu[i] = (double)b.cpu_us / (double)(b.messages + (b.messages == 0));
        r->rate_ratio[i] = r->ours[i] / r->redis[i];
        r->cpu_ratio[i] = r->ours_cpu[i] / r->redis_cpu[i];
    }
}

static void pipeline_rows(const struct server *ours, const struct server *redis, unsigned in_flight, size_t bytes)
{
    struct pair_rounds r = {0};
    struct row row = {0};
    struct load l = {.server = ours, .targets = one_target, .target_count = 1, .payload_bytes = bytes};
    l.connections = 1;
    l.in_flight = in_flight;
    l.run_us = WINDOW_ROUND_US;
    struct load peer = l;
    peer.server = redis;
    run_pair(&r, WINDOW_ROUNDS, l, peer);
    double ratio = median(r.rate_ratio, WINDOW_ROUNDS), cpu_ratio = median(r.cpu_ratio, WINDOW_ROUNDS);
    ROW_SET(row.what, "one connection, %u in flight, %zu B: messages a second", in_flight, bytes);
    ROW_SET(row.aim, ">= 3 x Redis");
    ROW_SET(row.figure, "%.0f/s", median(r.ours, WINDOW_ROUNDS));
    ROW_SET(row.peer, "%.0f/s", median(r.redis, WINDOW_ROUNDS));
    ROW_SET(row.ratio, "%.2f", ratio);
    row.verdict = r.broken ? ROW_BROKEN : redis->pid == 0 ? ROW_SHOWN : verdict(ratio >= 3.0);
    table_add(&row);
    ROW_SET(row.what, "  the same: broker CPU a message");
    ROW_SET(row.aim, "<= 0.5 x Redis");
    ROW_SET(row.figure, "%.2f us", median(r.ours_cpu, WINDOW_ROUNDS));
    ROW_SET(row.peer, "%.2f us", median(r.redis_cpu, WINDOW_ROUNDS));
    ROW_SET(row.ratio, "%.2f", cpu_ratio);
    row.verdict = r.broken ? ROW_BROKEN : redis->pid == 0 ? ROW_SHOWN : verdict(cpu_ratio <= 0.5);
    table_add(&row);
}

void rows_pipeline(void)
{
    static const unsigned windows[] = {100, 1000};
    static const size_t sizes[] = {100, 1024};
    struct server redis = {0}, ours = fresh(SERVER_OURS, 0);
    if (have_redis())
        redis = fresh(SERVER_REDIS, 0);
    server_create(&ours, "bench", 1);
    for (size_t w = 0; w < 2; w++)
        for (size_t s = 0; s < 2; s++)
            pipeline_rows(&ours, &redis, windows[w], sizes[s]);
    server_stop(&ours);
    if (redis.pid != 0)
        server_stop(&redis);
}

/* ---- many synchronous publishers -------------------------------------------- */

void rows_many(void)
{
    struct pair_rounds r = {0};
    struct row row = {0};
    struct server redis = {0}, ours = fresh(SERVER_OURS, 0);
    if (have_redis())
        redis = fresh(SERVER_REDIS, 0);
    server_create(&ours, "bench", MANY_PARTITIONS);
    struct load l = {.server = &ours, .targets = one_target, .target_count = 1, .payload_bytes = 100};
    l.connections = MANY_CONNECTIONS;
    l.in_flight = 1;
    l.run_us = MANY_ROUND_US;
    struct load peer = l;
    peer.server = &redis;
    peer.targets = eight_targets;
    peer.target_count = MANY_PARTITIONS;
    int64_t before = server_counter(&ours, "Counters.fsyncs");
    run_pair(&r, WINDOW_ROUNDS, l, peer);
    int64_t after = server_counter(&ours, "Counters.fsyncs");
    double ratio = median(r.rate_ratio, WINDOW_ROUNDS);
    ROW_SET(row.what, "%d synchronous publishers, %d partitions, 100 B", MANY_CONNECTIONS, MANY_PARTITIONS);
    ROW_SET(row.aim, ">= Redis, the same clients");
    ROW_SET(row.figure, "%.0f/s", median(r.ours, WINDOW_ROUNDS));
    ROW_SET(row.peer, "%.0f/s", median(r.redis, WINDOW_ROUNDS));
    ROW_SET(row.ratio, "%.2f", ratio);
    row.verdict = r.broken ? ROW_BROKEN : redis.pid == 0 ? ROW_SHOWN : verdict(ratio >= 1.0);
    table_add(&row);
    row = (struct row){.verdict = ROW_SHOWN};
    double each = (double)(after - before) / (double)(r.messages > 0 ? r.messages : 1);
    ROW_SET(row.what, "  the same: fsyncs a message");
    ROW_SET(row.aim, "<= 0.25");
    ROW_SET(row.figure, before < 0 ? "not counted" : "%.3f", each);
    row.verdict = before < 0 ? ROW_SHOWN : verdict(each <= 0.25);
    table_add(&row);
    server_stop(&ours);
    if (redis.pid != 0)
        server_stop(&redis);
}
