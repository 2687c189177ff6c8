/*
 * What else the product asks of the system: clocks, sleeping, random bytes, the
 * boot id, limits, its disk, and its log lines, which go into the trace. Files of
 * the real disk are reached through to the real calls (only the harness has any).
 */
#include "base/require.h"
#include "log/io.h"
#include "sim/disk.h"
#include "sim/machine.h"
#include "sim/trace.h"
#include "sim/wrap.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/types.h>
#include <time.h>

int __wrap_clock_gettime(clockid_t clock, struct timespec *now);
int __real_clock_gettime(clockid_t clock, struct timespec *now);
time_t __wrap_time(time_t *now);
int __wrap_nanosleep(const struct timespec *span, struct timespec *left);
int __wrap_usleep(useconds_t us);
ssize_t __wrap_getrandom(void *into, size_t bytes, unsigned flags);
int __wrap_getrlimit(int what, struct rlimit *limit);
int __real_getrlimit(int what, struct rlimit *limit);
int __wrap_open(const char *path, int flags, ...);
int __real_open(const char *path, int flags, ...);
struct io *__wrap_io_posix(void);

int __wrap_clock_gettime(clockid_t clock, struct timespec *now)
{
    const struct node *node = machine_node();
    if (node == NULL)
        return __real_clock_gettime(clock, now);
    REQUIRE(clock == CLOCK_MONOTONIC || clock == CLOCK_REALTIME);
    int64_t ns = node_mono_ns(node) + (clock == CLOCK_REALTIME ? node->wall_ns : 0);
    fiber_point();
    now->tv_sec = ns / S_NS;
    now->tv_nsec = ns % S_NS;
    return 0;
}

time_t __wrap_time(time_t *now)
{
    struct timespec at;
    (void)__wrap_clock_gettime(CLOCK_REALTIME, &at);
    if (now != NULL)
        *now = at.tv_sec;
    return at.tv_sec;
}

int __wrap_nanosleep(const struct timespec *span, struct timespec *left)
{
    (void)left;
    fiber_sleep((int64_t)span->tv_sec * S_NS + span->tv_nsec);
    return 0;
}

int __wrap_usleep(useconds_t us)
{
    fiber_sleep((int64_t)us * 1000);
    return 0;
}

/* No point: pthread_once, which is the real one, may stand around it. */
ssize_t __wrap_getrandom(void *into, size_t bytes, unsigned flags)
{
    (void)flags;
    static struct chance chance;
    if (chance.state == 0)
        chance = chance_of(machine_seed(), 7);
    uint8_t *at = into;
    for (size_t i = 0; i < bytes; i++)
        at[i] = (uint8_t)chance_roll(&chance);
    return (ssize_t)bytes;
}

int __wrap_getrlimit(int what, struct rlimit *limit)
{
    if (machine_node() == NULL || what != RLIMIT_NOFILE)
        return __real_getrlimit(what, limit);
    limit->rlim_cur = limit->rlim_max = RLIM_INFINITY;
    return 0;
}

int __wrap_open(const char *path, int flags, ...)
{
    va_list arguments;
    va_start(arguments, flags);
    mode_t mode = (flags & O_CREAT) != 0 ? va_arg(arguments, mode_t) : 0;
    va_end(arguments);
    const struct node *node = machine_node();
    if (node == NULL)
        return __real_open(path, flags, mode);
    if (strcmp(path, "/proc/sys/kernel/random/boot_id") != 0) {
        errno = ENOENT; /* a simulated computer has its io table, and no other files */
        return -1;
    }
    char text[64];
    size_t len = 0;
    for (int i = 0; i < 16; i++)
        len += (size_t)snprintf(text + len, sizeof text - len, "%02x%s", node->boot_id[i],
                                i == 3 || i == 5 || i == 7 || i == 9 ? "-" : "");
    text[len++] = '\n';
    return socket_text_open(text, len);
}

struct io *__wrap_io_posix(void)
{
    REQUIRE(machine_node() != NULL);
    return disk_io(machine_node()->disk);
}

/* A line of a broker's log: "<6>text". */
void wrap_log_line(const char *data, size_t bytes)
{
    while (bytes > 0 && data[bytes - 1] == '\n')
        bytes--;
    trace_say(TRACE_BROKER, "%s: %.*s", machine_node()->name, (int)bytes, data);
}
