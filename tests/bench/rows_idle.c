/* Rows about what costs nothing: idle partitions, idle connections. */
#include "bench/bench.h"
#include "e2e/client.h"
#include "e2e/harness.h"
#include "e2e/probe.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

enum { IDLE_WATCH_MS = 10000, THOUSAND = 1000, CONNECTIONS = 10000, START_ROUNDS = 3, P99_US = 1500000 };

static const char *const target[] = {"bench"};

static void pass_ms(int ms)
{
    (void)poll(NULL, 0, ms); /* the measurement is that nothing happens meanwhile */
}

static void publish_one_each(const struct server *s, const char *topic, int count)
{
    struct client *c = client_open(s->port);
    for (int i = 0; i < count; i++)
        (void)client_ask(c, "PUBS %s {\"Body\":\"x\"}", topic);
    client_close(&c);
}

void rows_idle(void)
{
    struct row row = {.aim = "<= 6 MiB"};
    struct server redis = {.kind = SERVER_REDIS}, ours = {.kind = SERVER_OURS, .dir = temp_folder("ours")};
    server_start(&ours);
    if (have_redis()) {
        redis.dir = temp_folder("redis");
        server_start(&redis);
    }
    server_create(&ours, "ten", 10);
    publish_one_each(&ours, "ten", 20);
    pass_ms(1000); /* linger, marks: what follows a publish is over */
    int64_t ours_before = proc_switches(ours.pid), redis_before = redis.pid != 0 ? proc_switches(redis.pid) : 0;
    pass_ms(IDLE_WATCH_MS);
    int64_t wakes = proc_switches(ours.pid) - ours_before;
    int64_t redis_wakes = redis.pid != 0 ? proc_switches(redis.pid) - redis_before : 0;
    double rss_mib = (double)proc_rss_kib(ours.pid) / 1024;
    ROW_SET(row.what, "idle, 10 partitions: resident");
    ROW_SET(row.figure, "%.1f MiB, %lld threads", rss_mib, (long long)proc_threads(ours.pid));
    ROW_SET(row.peer, "%.1f MiB", redis.pid != 0 ? (double)proc_rss_kib(redis.pid) / 1024 : 0.0);
    row.verdict = verdict(rss_mib <= 6.0);
    table_add(&row);
    ROW_SET(row.what, "  the same: wake-ups of any thread in 10 s");
    ROW_SET(row.aim, "0");
    ROW_SET(row.figure, "%lld", (long long)wakes);
    ROW_SET(row.peer, "%lld", (long long)redis_wakes);
    row.verdict = verdict(wakes == 0);
    table_add(&row);
    server_stop(&ours);
    if (redis.pid != 0)
        server_stop(&redis);
}

/* ---- 1,000 idle partitions ---------------------------------------------------- */

static double start_us(struct server *s, int64_t *read_bytes)
{
    double us[START_ROUNDS];
    for (int i = 0; i < START_ROUNDS; i++) {
        server_start(s);
        us[i] = (double)daemon_ready_us(s->daemon);
        *read_bytes = proc_io_read_bytes(s->pid);
        server_stop(s);
    }
    return median(us, START_ROUNDS);
}

static void thousand_starts(struct server *full, struct server *empty)
{
    struct row row = {.aim = "<= 16 KiB a partition"};
    int64_t read_full = 0, read_empty = 0;
    double empty_us = start_us(empty, &read_empty);
    double full_us = start_us(full, &read_full);
    double kib = (double)(read_full - read_empty) / 1024 / THOUSAND;
    ROW_SET(row.what, "  the same: read by a clean start");
    ROW_SET(row.figure, "%.1f KiB a partition", kib);
    row.verdict = verdict(kib <= 16.0);
    table_add(&row);
    ROW_SET(row.what, "  the same: clean start, against an empty folder's");
    ROW_SET(row.aim, "<= 20 x the empty start");
    ROW_SET(row.figure, "%.1f ms, empty %.1f ms", full_us / 1000, empty_us / 1000);
    ROW_SET(row.ratio, "%.1f", full_us / empty_us);
    row.verdict = verdict(full_us <= 20 * empty_us);
    table_add(&row);
}

void rows_thousand(void)
{
    struct row row = {.aim = "<= 64 KiB each"};
    struct server empty = {.kind = SERVER_OURS, .dir = temp_folder("empty")};
    struct server full = {.kind = SERVER_OURS, .dir = temp_folder("full")};
    server_start(&empty);
    server_start(&full);
    server_create(&full, "thousand", THOUSAND);
    pass_ms(1000);
    double each = (double)(proc_anonymous_kib(full.pid) - proc_anonymous_kib(empty.pid)) / THOUSAND;
    double disk = (double)(folder_disk_bytes(full.dir) - folder_disk_bytes(empty.dir)) / 1024 / THOUSAND;
    int64_t before = proc_switches(full.pid);
    pass_ms(IDLE_WATCH_MS / 2);
    int64_t wakes = proc_switches(full.pid) - before;
    ROW_SET(row.what, "1,000 idle partitions: anonymous memory");
    ROW_SET(row.figure, "%.1f KiB each", each);
    row.verdict = verdict(each <= 64.0);
    table_add(&row);
    ROW_SET(row.what, "  the same: on disk");
    ROW_SET(row.aim, "<= 16 KiB each");
    ROW_SET(row.figure, "%.1f KiB each", disk);
    row.verdict = verdict(disk <= 16.0);
    table_add(&row);
    ROW_SET(row.what, "  the same: wake-ups of any thread in 5 s");
    ROW_SET(row.aim, "0");
    ROW_SET(row.figure, "%lld", (long long)wakes);
    row.verdict = verdict(wakes == 0);
    table_add(&row);
    server_stop(&empty);
    server_stop(&full);
    thousand_starts(&full, &empty);
}

/* ---- 10,000 idle connections --------------------------------------------------- */

static double p99_of_publisher(const struct server *s)
{
    struct load l = {.server = s, .targets = target, .target_count = 1, .payload_bytes = 100, .run_us = P99_US};
    return load_synchronous(&l).p99_us;
}

struct settle {
    pid_t pid;
    int64_t sockets;
};

static bool has_settled(void *arg)
{
    struct settle *s = arg;
    return proc_sockets(s->pid) <= s->sockets;
}

void rows_connections(void)
{
    enum { ROUNDS = 3 };
    struct row row = {.aim = "<= 4 KiB each"};
    struct server ours = {.kind = SERVER_OURS, .dir = temp_folder("ours"), .settings = {"connections.max=11000"}};
    unsigned most = raise_nofile(), count = most > CONNECTIONS + 500 ? CONNECTIONS : most > 1000 ? most - 500 : 500;
    double ratio[ROUNDS], with[ROUNDS], without[ROUNDS];
    int64_t each_kib_1000 = 0;
    struct client **idle = calloc(count, sizeof(*idle));
    server_start(&ours);
    server_create(&ours, "bench", 1);
    struct settle settle = {ours.pid, proc_sockets(ours.pid)};
    for (int i = 0; i < ROUNDS && idle != NULL; i++) {
        (void)wait_until(has_settled, &settle, REPLY_MS); /* the last crowd has left */
        without[i] = p99_of_publisher(&ours);
        int64_t before = proc_rss_kib(ours.pid);
        for (unsigned k = 0; k < count; k++)
            idle[k] = client_open(ours.port);
        (void)client_ask(idle[count - 1], "PING");
        if (i == 0)
            each_kib_1000 = (proc_rss_kib(ours.pid) - before) * 1000 / count;
        with[i] = p99_of_publisher(&ours);
        ratio[i] = with[i] / without[i];
        for (unsigned k = 0; k < count; k++)
            client_close(&idle[k]);
    }
    free(idle);
    ROW_SET(row.what, "%u idle connections: resident", count);
    ROW_SET(row.figure, "%.2f KiB each", (double)each_kib_1000 / 1000);
    row.verdict = verdict(each_kib_1000 <= 4000);
    table_add(&row);
    double r = median(ratio, ROUNDS);
    ROW_SET(row.what, "  the same: a publisher's p99 beside them");
    ROW_SET(row.aim, "<= 1.5 x without");
    ROW_SET(row.figure, "%.0f us, without %.0f us", median(with, ROUNDS), median(without, ROUNDS));
    ROW_SET(row.ratio, "%.2f", r);
    row.verdict = verdict(r <= 1.5);
    table_add(&row);
    server_stop(&ours);
}
