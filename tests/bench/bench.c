/* The table and its numbers; which rows run. */
#include "bench/bench.h"

#include "e2e/harness.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool broken;

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
    printf("%-66s | %-26s | %-34s | %-16s | %-6s | %s\n", what, aim, figure, peer, ratio, met);
    (void)fflush(stdout);
}

void table_add(const struct row *r)
{
    broken = broken || r->verdict == ROW_BROKEN;
    print_line(r->what, r->aim, r->figure, r->peer, r->ratio, verdict_text[r->verdict]);
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
};

int main(int argc, char **argv)
{
    const char *only = argc > 1 && argv[1][0] != '\0' ? argv[1] : NULL;
    size_t run = 0;
    (void)signal(SIGPIPE, SIG_IGN);
    if (access(daemon_binary(), X_OK) != 0)
        harness_fail("no daemon; build it first, or set KAFKAESQUED");
    if (!have_redis())
        fprintf(stderr, "bench: no redis-server here, so nothing is compared with it\n");
    print_line("what", "aim", "figure", "Redis", "ratio", "met");
    for (size_t i = 0; i < sizeof(benches) / sizeof(benches[0]); i++)
        if (only == NULL || strcmp(only, benches[i].name) == 0) {
            benches[i].run();
            run++;
        }
    if (run == 0)
        harness_fail("no such row; one of raw sync1 sync2 pipeline many consume copies idle thousand connections start "
                     "recovery");
    return broken ? 1 : 0;
}
