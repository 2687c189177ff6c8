/* Rows about reading, and about what a message costs in calls and copies. */
#include "bench/bench.h"
#include "e2e/harness.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { READ_ROUNDS = 9, FILL_US = 60000000, COPIES_PIPELINED = 20000, COPIES_SYNC = 500, STRACE_MESSAGES = 2000 };

static const char *const targets[] = {"small", "large"};

static void fill(const struct server *s, size_t target, size_t bytes, uint64_t messages)
{
    struct load l = {.server = s, .targets = targets + target, .target_count = 1, .payload_bytes = bytes};
    l.connections = 1;
    l.in_flight = 1000;
    l.run_us = FILL_US;
    l.messages = messages;
    struct load_result r = load_window(&l);
    if (r.broken || r.messages < messages)
        harness_fail("a partition could not be filled");
}

static double read_rate(const struct server *s, const char *target, size_t bytes, uint64_t messages, bool *broken)
{
    struct read_result r = server_read_all(s, target);
    if (r.broken || r.messages != messages) {
        fprintf(stderr, "read %llu messages of %s, there are %llu\n", (unsigned long long)r.messages, target,
                (unsigned long long)messages);
        *broken = true;
    }
    return (double)(r.messages * bytes) / (double)(r.us > 0 ? r.us : 1); /* bytes a us is MB a second */
}

static void consume_row(const struct server *ours, const struct server *redis, size_t target, size_t bytes,
                        uint64_t messages)
{
    double a[READ_ROUNDS], b[READ_ROUNDS] = {0}, ratio[READ_ROUNDS] = {0};
    struct row row = {0};
    bool broken = false;
    server_create(ours, targets[target], 1);
    fill(ours, target, bytes, messages);
    if (redis->pid != 0)
        fill(redis, target, bytes, messages);
    for (int i = 0; i < READ_ROUNDS; i++) {
        a[i] = read_rate(ours, targets[target], bytes, messages, &broken);
        if (redis->pid == 0)
            continue;
        b[i] = read_rate(redis, targets[target], bytes, messages, &broken);
        ratio[i] = a[i] / b[i];
    }
    double r = median(ratio, READ_ROUNDS);
    ROW_SET(row.what, "CONS of %llu messages of %zu B, payload", (unsigned long long)messages, bytes);
    ROW_SET(row.aim, ">= XREAD COUNT 1000");
    ROW_SET(row.figure, "%.0f MB/s", median(a, READ_ROUNDS));
    ROW_SET(row.peer, "%.0f MB/s", median(b, READ_ROUNDS));
    ROW_SET(row.ratio, "%.2f", r);
    row.verdict = broken ? ROW_BROKEN : redis->pid == 0 ? ROW_SHOWN : verdict(r >= 1.0);
    table_add(&row);
}

void rows_consume(void)
{
    struct server redis = {.kind = SERVER_REDIS}, ours = {.kind = SERVER_OURS, .dir = temp_folder("ours")};
    server_start(&ours);
    if (have_redis()) {
        redis.dir = temp_folder("redis");
        server_start(&redis);
    }
    consume_row(&ours, &redis, 0, 100, 300000);
    consume_row(&ours, &redis, 1, 1024, 100000);
    server_stop(&ours);
    if (redis.pid != 0)
        server_stop(&redis);
}

/* ---- what a message costs ---------------------------------------------------- */

/* The counters of INFO that are shown, a message. */
static const char *const counted[] = {"Counters.fsyncs", "Counters.handoffs", "Counters.bytes_copied",
                                      "Counters.bytes_written"};
enum { COUNTED = sizeof(counted) / sizeof(counted[0]) };

static void counters_row(const struct server *s, const char *what, const struct load *l, bool synchronous)
{
    int64_t before[COUNTED];
    struct row row = {.verdict = ROW_SHOWN};
    for (size_t i = 0; i < COUNTED; i++)
        before[i] = server_counter(s, counted[i]);
    struct load_result r = synchronous ? load_synchronous(l) : load_window(l);
    size_t used = 0;
    for (size_t i = 0; i < COUNTED && used < sizeof(row.figure); i++) {
        double each = (double)(server_counter(s, counted[i]) - before[i]) / (double)(r.messages > 0 ? r.messages : 1);
        const char *parted = i > 0 ? " / " : "";
        if (before[i] < 0)
            used += (size_t)snprintf(row.figure + used, sizeof(row.figure) - used, "%s-", parted);
        else
            used +=
                (size_t)snprintf(row.figure + used, sizeof(row.figure) - used, "%s%.*f", parted, i < 2 ? 2 : 0, each);
    }
    ROW_SET(row.what, "%s: fsyncs / hand-offs / B copied / B written", what);
    ROW_SET(row.aim, "a message, 100 B");
    row.verdict = r.broken ? ROW_BROKEN : ROW_SHOWN;
    table_add(&row);
}

/* Follows all threads with strace -c while the load runs; calls in all, or -1. */
static int64_t system_calls(const struct load *l, bool synchronous, uint64_t *messages)
{
    char pid[16], line[256];
    int said[2];
    const char *report = path_in(temp_folder("strace"), "calls");
    (void)snprintf(pid, sizeof(pid), "%d", (int)l->server->pid);
    if (access("/usr/bin/strace", X_OK) != 0 || pipe(said) != 0)
        return -1;
    pid_t tracer = fork();
    if (tracer == 0) {
        (void)dup2(said[1], STDERR_FILENO);
        (void)execl("/usr/bin/strace", "strace", "-f", "-c", "-o", report, "-p", pid, (char *)NULL);
        _exit(127);
    }
    (void)close(said[1]);
    (void)!read(said[0], line, sizeof(line)); /* "Process N attached" */
    struct load_result r = synchronous ? load_synchronous(l) : load_window(l);
    *messages = r.messages;
    (void)kill(tracer, SIGINT);
    (void)waitpid(tracer, NULL, 0);
    (void)close(said[0]);
    int64_t calls = -1;
    FILE *f = fopen(report, "re");
    while (f != NULL && fgets(line, sizeof(line), f) != NULL) {
        double share, seconds;
        long long each, count;
        if (strstr(line, "total") != NULL && sscanf(line, "%lf %lf %lld %lld", &share, &seconds, &each, &count) == 4)
            calls = count;
    }
    if (f != NULL)
        (void)fclose(f);
    return calls;
}

static void calls_row(const char *what, const struct load *ours, const struct load *redis, bool synchronous)
{
    struct row row = {.aim = "a message, 100 B", .verdict = ROW_SHOWN};
    uint64_t messages = 0;
    int64_t calls = system_calls(ours, synchronous, &messages);
    ROW_SET(row.what, "%s: system calls", what);
    ROW_SET(row.figure, calls < 0 || messages == 0 ? "no strace here" : "%.2f", (double)calls / (double)messages);
    if (redis->server->pid != 0) {
        calls = system_calls(redis, synchronous, &messages);
        ROW_SET(row.peer, calls < 0 || messages == 0 ? "-" : "%.2f", (double)calls / (double)messages);
    }
    table_add(&row);
}

void rows_copies(void)
{
    struct server redis = {.kind = SERVER_REDIS}, ours = {.kind = SERVER_OURS, .dir = temp_folder("ours")};
    struct load l = {.server = &ours, .targets = targets, .target_count = 1, .payload_bytes = 100, .connections = 1};
    server_start(&ours);
    server_create(&ours, targets[0], 1);
    if (have_redis()) {
        redis.dir = temp_folder("redis");
        server_start(&redis);
    }
    l.in_flight = 1000;
    l.run_us = FILL_US;
    l.messages = COPIES_PIPELINED;
    counters_row(&ours, "pipelined", &l, false);
    l.messages = COPIES_SYNC;
    counters_row(&ours, "synchronous", &l, true);
    l.messages = STRACE_MESSAGES;
    struct load peer = l;
    peer.server = &redis;
    calls_row("pipelined", &l, &peer, false);
    l.messages = peer.messages = COPIES_SYNC;
    calls_row("synchronous", &l, &peer, true);
    server_stop(&ours);
    if (redis.pid != 0)
        server_stop(&redis);
}
