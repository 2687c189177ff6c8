/* Rows about the leader that goes: until the next publish is acknowledged, beside etcd. */
#include "bench/bench.h"
#include "bench/outage.h"
#include "e2e/harness.h"
#include "e2e/network.h"

#include <stdio.h>

enum { TIMES = 20, TIMES_QUICK = 4 };

struct outages {
    double ms[TIMES];
    int count;
    bool broken;
};

static const char *const fault_names[] = {
    [TRIO_KILL] = "kill -9 of the leader", [TRIO_PAUSE] = "SIGSTOP of the leader", [TRIO_CUT] = "a cut of the leader"};

static void measure(struct trio *t, enum trio_fault fault, struct outages *o)
{
    int times = bench_quick() ? TIMES_QUICK : TIMES;
    for (o->count = 0; o->count < times && !o->broken; o->count++) {
        trio_wait_whole(t);
        int leader = trio_leader(t), through = (leader + 1 + o->count % 2) % TRIO;
        int64_t us = outage_us(t, leader, through, fault);
        o->ms[o->count] = (double)us / 1000;
        o->broken = us < 0;
        trio_mend(t, leader, fault);
    }
    trio_wait_whole(t);
}

static void show(enum trio_fault fault, struct outages *ours, struct outages *etcd)
{
    struct row row = {0};
    size_t n = (size_t)ours->count, m = (size_t)etcd->count;
    double our_median = median(ours->ms, n), median_etcd = median(etcd->ms, m);
    double most = fault == TRIO_KILL ? 0.5 : 1.0;
    ROW_SET(row.what, "%s, %d times: to the next acknowledged publish", fault_names[fault], ours->count);
    ROW_SET(row.aim, fault == TRIO_KILL ? "median <= half of etcd's" : "median < etcd's");
    ROW_SET(row.figure, "median %.0f ms, p90 %.0f, worst %.0f", our_median, percentile(ours->ms, n, 0.9),
            percentile(ours->ms, n, 1.0));
    if (m > 0) {
        ROW_SET(row.peer, "median %.0f ms, p90 %.0f, worst %.0f", median_etcd, percentile(etcd->ms, m, 0.9),
                percentile(etcd->ms, m, 1.0));
        ROW_SET(row.ratio, "%.2f", our_median / median_etcd);
    }
    row.verdict = ours->broken || etcd->broken ? ROW_BROKEN
                  : m == 0                     ? ROW_SHOWN
                                               : verdict(our_median <= most * median_etcd);
    table_add(&row);
}

void rows_failover(void)
{
    struct outages ours[3] = {0}, etcd[3] = {0};
    bool networks = network_possible();
    int faults = networks ? 3 : 2;
    struct trio t;
    if (!networks)
        fprintf(stderr, "bench: no network namespaces here (they need root), so no cut is measured\n");
    if (have_kind(SERVER_ETCD)) {
        trio_start(&t, SERVER_ETCD, networks, NULL);
        for (int f = 0; f < faults; f++)
            measure(&t, (enum trio_fault)f, &etcd[f]);
        trio_stop(&t);
    }
    trio_start(&t, SERVER_OURS, networks, NULL);
    for (int f = 0; f < faults; f++)
        measure(&t, (enum trio_fault)f, &ours[f]);
    trio_stop(&t);
    for (int f = 0; f < faults; f++)
        show((enum trio_fault)f, &ours[f], &etcd[f]);
}
