/* Rows about three brokers among themselves: idle partitions, what a message costs them, a wiped folder. */
#include "bench/bench.h"
#include "bench/trio.h"
#include "e2e/client.h"
#include "e2e/fleet.h"
#include "e2e/harness.h"
#include "e2e/network.h"
#include "e2e/probe.h"

#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

enum { THOUSAND = 1000, FEW = 10, WATCH_MS = 10000, WATCH_QUICK_MS = 3000, MADE_MS = 120000 };
enum { COUNT_US = 1500000, IN_FLIGHT = 1000, P99_US = 3000000 };
enum { FILL_MESSAGES = 500000, FILL_QUICK = 100000, FILL_BODY = 1024, FILLED_MS = 300000, BOUND_MIB = 32 };

static const char *const target[] = {TRIO_TARGET};

static void pass_ms(int ms)
{
    (void)poll(NULL, 0, ms); /* the measurement is that nothing happens meanwhile */
}

/* ---- idle partitions --------------------------------------------------------------- */

struct idle {
    double core_percent; /* of the busiest broker */
    double packets;      /* between brokers, a second; -1: not seen */
    double messages;     /* as the brokers count them, beats too; -1: not counted */
};

static int64_t packets_of(const struct trio *t)
{
    int64_t sum = 0;
    for (int i = 0; t->networks && i < TRIO; i++)
        sum += network_packets(i + 1);
    return t->networks ? sum : -1;
}

static int64_t link_messages(const struct trio *t)
{
    int64_t messages = trio_counter(t, "Links.messages_out"), beats = trio_counter(t, "Links.beats_out");
    return messages < 0 || beats < 0 ? -1 : messages + beats;
}

/* Leaders are spread after a topic was made; idle is what comes when no raft message
 * was sent for two seconds. */
static void wait_idle(const struct trio *t)
{
    int64_t deadline = now_us() + (int64_t)MADE_MS * 1000, before = -1;
    for (;;) {
        int64_t sent = trio_counter(t, "Links.messages_out");
        if (sent < 0 || sent == before || now_us() > deadline)
            return;
        before = sent;
        pass_ms(2000);
    }
}

static struct idle watch_idle(const struct trio *t)
{
    int ms = bench_quick() ? WATCH_QUICK_MS : WATCH_MS;
    int64_t messages = link_messages(t), packets = packets_of(t), cpu[TRIO], begin = now_us();
    for (int i = 0; i < TRIO; i++)
        cpu[i] = proc_cpu_us(t->servers[i].pid);
    pass_ms(ms);
    struct idle idle = {0, -1, -1};
    double us = (double)(now_us() - begin);
    for (int i = 0; i < TRIO; i++) {
        double percent = 100.0 * (double)(proc_cpu_us(t->servers[i].pid) - cpu[i]) / us;
        idle.core_percent = percent > idle.core_percent ? percent : idle.core_percent;
    }
    if (packets >= 0)
        idle.packets = (double)(packets_of(t) - packets) * 1e6 / us;
    if (messages >= 0)
        idle.messages = (double)(link_messages(t) - messages) * 1e6 / us;
    return idle;
}

/* It may answer that it waits no longer; then the brokers are waited for. */
static void create_replicated(const struct trio *t, const char *topic, int partitions)
{
    char line[128];
    struct client *c = server_connect(&t->servers[0]);
    (void)snprintf(line, sizeof(line), "CRTP %s %d 3\n", topic, partitions);
    if (!client_send_text(c, line) || client_line(c, MADE_MS) == NULL)
        harness_fail("a topic could not be made");
    client_close(&c);
    if (!fleet_whole(t->fleet, TRIO, MADE_MS))
        harness_fail("the partitions of a topic have no leaders");
}

static void growth_row(const char *what, double few, double many)
{
    struct row row = {.aim = "do not grow with partitions"};
    ROW_SET(row.what, "  the same: %s a second", what);
    if (few < 0 || many < 0)
        ROW_SET(row.figure, "not counted");
    else {
        ROW_SET(row.figure, "%.1f, with %d partitions %.1f", many, FEW, few);
        ROW_SET(row.ratio, "%.2f", many / (few > 0 ? few : 1));
        row.verdict = verdict(many <= 1.2 * few + 1);
    }
    table_add(&row);
}

void rows_thousand_replicated(void)
{
    struct row row = {.aim = "< 2 % of a core each"};
    struct trio t;
    trio_start(&t, SERVER_OURS, network_possible(), NULL);
    create_replicated(&t, "few", FEW);
    wait_idle(&t);
    struct idle few = watch_idle(&t);
    create_replicated(&t, "thousand", THOUSAND);
    wait_idle(&t);
    struct idle many = watch_idle(&t);
    ROW_SET(row.what, "%d idle partitions, three replicas: the busiest broker", THOUSAND);
    ROW_SET(row.figure, "%.2f %%, with %d partitions %.2f %%", many.core_percent, FEW, few.core_percent);
    row.verdict = verdict(many.core_percent < 2.0);
    table_add(&row);
    growth_row("messages between brokers", few.messages, many.messages);
    growth_row("packets between brokers", few.packets, many.packets);
    trio_stop(&t);
}

/* ---- what a message costs the brokers -------------------------------------------------- */

struct costs {
    int64_t messages, entries, fsyncs, sent, writes, handoffs, switches;
};

static struct costs read_costs(const struct trio *t, const struct server *leader)
{
    int64_t switches = 0;
    for (int i = 0; i < TRIO; i++)
        switches += proc_switches(t->servers[i].pid);
    return (struct costs){.messages = server_counter(leader, "Counters.messages_in"),
                          .entries = server_counter(leader, "Counters.entries"),
                          .fsyncs = trio_counter(t, "Counters.fsyncs"),
                          .sent = server_counter(leader, "Links.messages_out"),
                          .writes = trio_counter(t, "Links.writes"),
                          .handoffs = trio_counter(t, "Counters.handoffs") + trio_counter(t, "Links.wakes"),
                          .switches = switches};
}

static void cost_rows(const char *how, const struct costs *a, const struct costs *b)
{
    struct row row = {.aim = "2: one a follower"};
    double messages = (double)(b->messages - a->messages), entries = (double)(b->entries - a->entries);
    double sent = (double)(b->sent - a->sent) / entries, fsyncs = (double)(b->fsyncs - a->fsyncs);
    ROW_SET(row.what, "%s: messages that the leader sends an entry", how);
    ROW_SET(row.figure, a->sent < 0 ? "not counted" : "%.2f, %.1f publishes an entry", sent, messages / entries);
    row.verdict = a->sent < 0 ? ROW_SHOWN : verdict(sent <= 2.1);
    table_add(&row);
    ROW_SET(row.what, "  the same: fsyncs an entry, a broker");
    ROW_SET(row.aim, "<= 1");
    ROW_SET(row.figure, "%.2f", fsyncs / entries / TRIO);
    row.verdict = verdict(fsyncs / entries / TRIO <= 1.05);
    table_add(&row);
    row = (struct row){.aim = "a message, all three brokers", .verdict = ROW_SHOWN};
    ROW_SET(row.what, "  the same: fsyncs / hand-offs / writes to links / context switches");
    ROW_SET(row.figure, "%.3f / %.3f / %.3f / %.3f", fsyncs / messages, (double)(b->handoffs - a->handoffs) / messages,
            (double)(b->writes - a->writes) / messages, (double)(b->switches - a->switches) / messages);
    table_add(&row);
}

void rows_costs_replicated(void)
{
    struct trio t;
    trio_start(&t, SERVER_OURS, false, NULL);
    const struct server *leader = &t.servers[trio_leader(&t)];
    struct load l = {.server = leader, .targets = target, .target_count = 1, .payload_bytes = 100, .run_us = COUNT_US};
    l.connections = 1;
    l.in_flight = IN_FLIGHT;
    struct costs before = read_costs(&t, leader);
    (void)load_synchronous(&l);
    struct costs between = read_costs(&t, leader);
    (void)load_window(&l);
    struct costs after = read_costs(&t, leader);
    cost_rows("three replicas, synchronous", &before, &between);
    cost_rows("three replicas, pipelined", &between, &after);
    trio_stop(&t);
}

/* ---- a wiped broker ------------------------------------------------------------------------ */

static void fill(const struct trio *t)
{
    struct load l = {.server = &t->servers[trio_leader(t)], .targets = target, .target_count = 1};
    l.payload_bytes = FILL_BODY;
    l.connections = 1;
    l.in_flight = IN_FLIGHT;
    l.messages = bench_quick() ? FILL_QUICK : FILL_MESSAGES;
    l.run_us = (int64_t)FILLED_MS * 1000;
    struct load_result r = load_window(&l);
    if (r.broken || r.messages < l.messages)
        harness_fail("the partition could not be filled");
}

/* Empties a follower and starts it: MiB a second until it has everything again. */
static double refill_mib(struct trio *t)
{
    int id = (trio_leader(t) + 1) % TRIO + 1;
    double mib = (double)folder_disk_bytes(fleet_dir(t->fleet, id)) / 1048576;
    fleet_kill(t->fleet, id);
    fleet_wipe(t->fleet, id);
    int64_t begin = now_us();
    fleet_start(t->fleet, id);
    t->servers[id - 1].pid = fleet_pid(t->fleet, id);
    if (!fleet_whole(t->fleet, TRIO, FILLED_MS))
        harness_fail("a wiped broker was not filled again");
    return mib * 1e6 / (double)(now_us() - begin);
}

/* Publishes one by one beside a refill. */
struct beside {
    const struct server *server;
    int64_t run_us;
    struct load_result result;
};

static void *publish_beside(void *arg)
{
    struct beside *b = arg;
    struct load l = {.server = b->server, .targets = target, .target_count = 1, .payload_bytes = 100};
    l.run_us = b->run_us;
    b->result = load_synchronous(&l);
    return NULL;
}

static void refill_beside_publisher(struct trio *t)
{
    struct row row = {0};
    pthread_t thread;
    struct beside alone = {.server = &t->servers[trio_leader(t)], .run_us = P99_US}, b = alone;
    (void)publish_beside(&alone);
    double mib_filled = (double)(bench_quick() ? FILL_QUICK : FILL_MESSAGES) * FILL_BODY / 1048576;
    b.run_us = (int64_t)(mib_filled / BOUND_MIB * 1e6); /* as long as it takes at its bound */
    if (pthread_create(&thread, NULL, publish_beside, &b) != 0)
        harness_fail("no thread");
    double mib = refill_mib(t);
    (void)pthread_join(thread, NULL);
    double ratio = b.result.p99_us / alone.result.p99_us;
    ROW_SET(row.what, "  the same, beside a publisher");
    ROW_SET(row.aim, "its bound, %d MiB/s", BOUND_MIB);
    ROW_SET(row.figure, "%.0f MiB/s", mib);
    ROW_SET(row.ratio, "%.2f", mib / BOUND_MIB);
    row.verdict = verdict(mib >= 0.8 * BOUND_MIB && mib <= 1.2 * BOUND_MIB);
    table_add(&row);
    ROW_SET(row.what, "  the same: the publisher's p99");
    ROW_SET(row.aim, "<= 2 x without");
    ROW_SET(row.figure, "%.0f us, without %.0f us", b.result.p99_us, alone.result.p99_us);
    ROW_SET(row.ratio, "%.2f", ratio);
    row.verdict = b.result.broken ? ROW_BROKEN : verdict(ratio <= 2.0);
    table_add(&row);
}

void rows_refill(void)
{
    struct row row = {0};
    struct trio t;
    trio_start(&t, SERVER_OURS, false, NULL);
    fill(&t);
    trio_wait_whole(&t);
    double write = raw_write_mib(temp_folder("raw")), loopback = raw_loopback_mib();
    double limit = write < loopback / 3 ? write : loopback / 3;
    double mib = refill_mib(&t);
    ROW_SET(row.what, "a wiped broker, nobody publishes: refilled");
    ROW_SET(row.aim, ">= half of raw (%.0f MiB/s)", limit);
    ROW_SET(row.figure, "%.0f MiB/s; raw write %.0f, loopback %.0f", mib, write, loopback);
    ROW_SET(row.ratio, "%.2f", mib / limit);
    row.verdict = verdict(mib >= 0.5 * limit);
    table_add(&row);
    refill_beside_publisher(&t);
    trio_stop(&t);
}
