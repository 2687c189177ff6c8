/* Rows about starting: empty, and after a kill with a large partition. */
#include "bench/bench.h"
#include "e2e/client.h"
#include "e2e/harness.h"
#include "e2e/probe.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { ROUNDS = 15, GIVE_UP_US = 20000000, FILL_US = 120000000, BODY = 64 << 10, MESSAGES = 16384 };

static const char *const target[] = {"bench"};

/* From fork to the acknowledgement of the first publish; connects as soon as
 * something listens. */
static double first_publish_us(struct server *s)
{
    char line[1024];
    size_t used = 0, reply_bytes = 0;
    int64_t begin = now_us();
    struct client *c = NULL;
    server_launch(s);
    while (c == NULL && now_us() - begin < GIVE_UP_US) {
        c = client_try_open(s->port, 0);
        if (c == NULL) {
            struct timespec moment = {0, 100000};
            (void)ppoll(NULL, 0, &moment, NULL);
        }
    }
    if (c == NULL)
        harness_fail("the server did not listen");
    if (s->kind == SERVER_OURS)
        used = (size_t)snprintf(line, sizeof(line), "CRTP bench 1\n");
    used += server_put_publish(s, line + used, "bench", 100);
    (void)client_send(c, line, used);
    const char *reply = client_line(c, REPLY_MS);
    if (reply != NULL && s->kind == SERVER_OURS && strcmp(reply, "Done") == 0)
        reply = client_line(c, REPLY_MS);
    reply_bytes = reply != NULL ? strlen(reply) : 0;
    if (reply_bytes == 0 || (reply[0] != 'D' && reply[0] != '$'))
        harness_fail(reply_bytes > 0 ? reply : "no reply to the first publish");
    double us = (double)(now_us() - begin);
    client_close(&c);
    server_stop(s);
    return us;
}

void rows_start(void)
{
    double ours_us[ROUNDS], redis_us[ROUNDS] = {0}, ratio[ROUNDS] = {0};
    struct row row = {.aim = "faster than redis-server"};
    for (int i = 0; i < ROUNDS; i++) {
        struct server ours = {.kind = SERVER_OURS, .dir = temp_folder("ours")};
        ours_us[i] = first_publish_us(&ours);
        if (!have_redis())
            continue;
        struct server redis = {.kind = SERVER_REDIS, .dir = temp_folder("redis")};
        redis_us[i] = first_publish_us(&redis);
        ratio[i] = ours_us[i] / redis_us[i];
    }
    double r = median(ratio, ROUNDS);
    ROW_SET(row.what, "start on an empty folder to the first acknowledged publish");
    ROW_SET(row.figure, "%.1f ms (with CRTP)", median(ours_us, ROUNDS) / 1000);
    ROW_SET(row.peer, "%.1f ms", median(redis_us, ROUNDS) / 1000);
    ROW_SET(row.ratio, "%.2f", r);
    row.verdict = have_redis() ? verdict(r < 1.0) : ROW_SHOWN;
    table_add(&row);
}

/* ---- after kill -9, 1 GiB ------------------------------------------------------- */

/* Lets the kernel forget the pages, so that what a start reads it reads from disk. */
static int forget_one(const char *path, const struct stat *st, int flag, struct FTW *walk)
{
    (void)st, (void)walk;
    int fd = flag == FTW_F ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0)
        return 0;
    (void)fdatasync(fd);
    (void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    (void)close(fd);
    return 0;
}

/* "read_bytes" of /proc/PID/io: what came from the disk, through mappings too. */
static int64_t disk_read_bytes(pid_t pid)
{
    char path[64], line[128];
    int64_t bytes = -1;
    (void)snprintf(path, sizeof(path), "/proc/%d/io", (int)pid);
    FILE *f = fopen(path, "re");
    while (f != NULL && fgets(line, sizeof(line), f) != NULL)
        (void)sscanf(line, "read_bytes: %ld", &bytes);
    if (f != NULL)
        (void)fclose(f);
    return bytes;
}

void rows_recovery(void)
{
    struct row row = {.aim = "<= a segment + 4 MiB"};
    struct server ours = {.kind = SERVER_OURS, .dir = temp_folder("gib")};
    struct load l = {.server = &ours, .targets = target, .target_count = 1, .payload_bytes = BODY, .connections = 1};
    server_start(&ours);
    server_create(&ours, "bench", 1);
    l.in_flight = 64;
    l.run_us = FILL_US;
    l.messages = MESSAGES;
    struct load_result filled = load_window(&l);
    if (filled.broken || filled.messages < MESSAGES)
        harness_fail("the large partition could not be filled");
    server_kill(&ours);
    (void)nftw(ours.dir, forget_one, 16, FTW_PHYS);
    server_start(&ours);
    int64_t called = proc_io_read_bytes(ours.pid), disk = disk_read_bytes(ours.pid);
    double ms = (double)daemon_ready_us(ours.daemon) / 1000;
    struct client *c = client_open(ours.port);
    const char *reply = client_ask(c, "PUBS bench {\"Body\":\"after\"}");
    bool works = strcmp(reply, "Done") == 0;
    client_close(&c);
    int64_t recovery = server_counter(&ours, "Counters.recovery_bytes");
    ROW_SET(row.what, "start after kill -9, a partition of 1 GiB: bytes read");
    ROW_SET(row.figure, "%.1f MiB by calls, %.1f from disk", (double)called / 1048576, (double)disk / 1048576);
    row.verdict = !works ? ROW_BROKEN : verdict(called <= (68 << 20) && disk <= (68 << 20));
    table_add(&row);
    row = (struct row){.verdict = ROW_SHOWN};
    ROW_SET(row.what, "  the same: until it serves");
    ROW_SET(row.figure, recovery < 0 ? "%.1f ms" : "%.1f ms, INFO: %lld bytes scanned", ms, (long long)recovery);
    table_add(&row);
    server_stop(&ours);
}
