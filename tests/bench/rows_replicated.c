/* Rows about publishing to three replicas, beside NATS JetStream R3 and etcd. */
#include "bench/bench.h"
#include "bench/trio.h"
#include "e2e/harness.h"

#include <stdio.h>

enum { ROUNDS = 5, ROUND_US = 1000000, ROUND_QUICK_US = 400000, IN_FLIGHT = 1000 };

static const char *const target[] = {TRIO_TARGET};

static int64_t round_us(void)
{
    return bench_quick() ? ROUND_QUICK_US : ROUND_US;
}

/* Starts it where it is installed; else its kind stays OURS and has no servers. */
static bool start_peer(struct trio *t, enum server_kind kind)
{
    *t = (struct trio){0};
    if (have_kind(kind))
        trio_start(t, kind, false, NULL);
    return t->servers[0].pid != 0;
}

static const struct server *leading(const struct trio *t)
{
    return &t->servers[trio_leader(t)];
}

/* ---- one synchronous publisher ------------------------------------------------- */

struct sync_rounds {
    double p50[ROUNDS], p99[ROUNDS];
    bool broken;
};

static void sync_round(struct sync_rounds *r, int i, const struct server *server)
{
    struct load l = {.server = server, .targets = target, .target_count = 1, .payload_bytes = 100};
    l.run_us = round_us();
    struct load_result a = load_synchronous(&l);
    r->p50[i] = a.p50_us;
    r->p99[i] = a.p99_us;
    r->broken = r->broken || a.broken;
}

static void sync_row(struct sync_rounds *ours, struct sync_rounds *peer, const char *name, double most, bool there)
{
    struct row row = {0};
    double ratio[ROUNDS];
    for (int i = 0; i < ROUNDS; i++)
        ratio[i] = there ? ours->p50[i] / peer->p50[i] : 0;
    double r = median(ratio, ROUNDS);
    ROW_SET(row.what, "three replicas, one synchronous publisher, 100 B: against %s", name);
    ROW_SET(row.aim, most < 1 ? "p50 < half of %s's" : "p50 < %s's", name);
    ROW_SET(row.figure, "p50 %.0f us, p99 %.0f us", median(ours->p50, ROUNDS), median(ours->p99, ROUNDS));
    if (there) {
        ROW_SET(row.peer, "p50 %.0f us, p99 %.0f us", median(peer->p50, ROUNDS), median(peer->p99, ROUNDS));
        ROW_SET(row.ratio, "%.2f", r);
    }
    row.verdict = ours->broken || peer->broken ? ROW_BROKEN : !there ? ROW_SHOWN : verdict(r < most);
    table_add(&row);
}

void rows_replicated_sync(void)
{
    struct trio ours, nats, etcd;
    struct sync_rounds o = {0}, n = {0}, e = {0};
    trio_start(&ours, SERVER_OURS, false, NULL);
    bool has_nats = start_peer(&nats, SERVER_NATS), has_etcd = start_peer(&etcd, SERVER_ETCD);
    for (int i = 0; i < ROUNDS; i++) {
        sync_round(&o, i, leading(&ours));
        if (has_nats)
            sync_round(&n, i, leading(&nats));
        if (has_etcd)
            sync_round(&e, i, leading(&etcd));
    }
    sync_row(&o, &n, "NATS", 1.0, has_nats);
    sync_row(&o, &e, "etcd", 0.5, has_etcd);
    trio_stop(&ours);
    if (has_nats)
        trio_stop(&nats);
    if (has_etcd)
        trio_stop(&etcd);
}

/* ---- one pipelined publisher ------------------------------------------------------- */

struct rates {
    double rate[ROUNDS], cpu_us[ROUNDS]; /* CPU of all three, a message */
    uint64_t messages;
    bool broken;
};

static void rate_round(struct rates *r, int i, const struct trio *t, size_t bytes)
{
    struct load l = {.server = leading(t), .targets = target, .target_count = 1, .payload_bytes = bytes};
    l.connections = 1;
    l.in_flight = IN_FLIGHT;
    l.run_us = round_us();
    int64_t cpu = trio_cpu_us(t);
    struct load_result a = load_window(&l);
    cpu = trio_cpu_us(t) - cpu;
    r->broken = r->broken || a.broken || a.messages == 0;
    r->messages += a.messages;
    r->rate[i] = (double)a.messages * 1e6 / (double)a.us;
    r->cpu_us[i] = (double)cpu / (double)(a.messages + (a.messages == 0));
}

static void rate_rows(struct rates *ours, struct rates *nats, size_t bytes, bool there)
{
    struct row row = {0};
    double ratio[ROUNDS], cpu_ratio[ROUNDS];
    for (int i = 0; i < ROUNDS; i++) {
        ratio[i] = there ? ours->rate[i] / nats->rate[i] : 0;
        cpu_ratio[i] = there ? ours->cpu_us[i] / nats->cpu_us[i] : 0;
    }
    double r = median(ratio, ROUNDS), c = median(cpu_ratio, ROUNDS);
    bool broken = ours->broken || nats->broken;
    ROW_SET(row.what, "three replicas, one connection, %d in flight, %zu B: messages", IN_FLIGHT, bytes);
    ROW_SET(row.aim, ">= 5 x NATS");
    ROW_SET(row.figure, "%.0f/s", median(ours->rate, ROUNDS));
    if (there) {
        ROW_SET(row.peer, "%.0f/s", median(nats->rate, ROUNDS));
        ROW_SET(row.ratio, "%.2f", r);
    }
    row.verdict = broken ? ROW_BROKEN : !there ? ROW_SHOWN : verdict(r >= 5.0);
    table_add(&row);
    ROW_SET(row.what, "  the same: CPU of all three servers a message");
    ROW_SET(row.aim, "<= a fifth of NATS's");
    ROW_SET(row.figure, "%.2f us", median(ours->cpu_us, ROUNDS));
    if (there) {
        ROW_SET(row.peer, "%.2f us", median(nats->cpu_us, ROUNDS));
        ROW_SET(row.ratio, "%.2f", c);
    }
    row.verdict = broken ? ROW_BROKEN : !there ? ROW_SHOWN : verdict(c <= 0.2);
    table_add(&row);
}

void rows_replicated_pipeline(void)
{
    static const size_t sizes[] = {1024, 100};
    struct trio ours, nats;
    trio_start(&ours, SERVER_OURS, false, NULL);
    bool there = start_peer(&nats, SERVER_NATS);
    for (size_t s = 0; s < 2; s++) {
        struct rates o = {0}, n = {0};
        for (int i = 0; i < ROUNDS; i++) {
            rate_round(&o, i, &ours, sizes[s]);
            if (there)
                rate_round(&n, i, &nats, sizes[s]);
        }
        rate_rows(&o, &n, sizes[s], there);
    }
    trio_stop(&ours);
    if (there)
        trio_stop(&nats);
}
