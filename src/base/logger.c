#include "base/logger.h"

#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { LINE_BYTES = 1024, PATH_BYTES = 1024 };

/* The lock serialises reopening against writing; a line is one write(2). */
static struct {
    pthread_mutex_t lock;
    _Atomic int level;
    int fd;
    bool journald;
    char path[PATH_BYTES];
} logger = {.lock = PTHREAD_MUTEX_INITIALIZER, .level = LOGGER_INFO, .fd = STDERR_FILENO};

static const struct {
    const char *name;
    enum logger_level level;
} level_names[] = {
    {"error", LOGGER_ERROR}, {"warning", LOGGER_WARNING}, {"notice", LOGGER_NOTICE},
    {"info", LOGGER_INFO},   {"debug", LOGGER_DEBUG},
};
enum { LEVEL_COUNT = sizeof level_names / sizeof level_names[0] };

static const char *level_name(enum logger_level level)
{
    for (int i = 0; i < LEVEL_COUNT; i++)
        if (level_names[i].level == level)
            return level_names[i].name;
    return "?";
}

bool logger_parse_level(const char *text, enum logger_level *level)
{
    for (int i = 0; i < LEVEL_COUNT; i++)
        if (strcmp(text, level_names[i].name) == 0) {
            *level = level_names[i].level;
            return true;
        }
    return false;
}

static int open_file(const char *path, struct fault *fault)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
    if (fd < 0)
        (void)fault_set(fault, err_from_errno(errno), "cannot open the log file %s: %s", path, strerror(errno));
    return fd;
}

enum kq_err logger_open(const char *path, enum logger_level level, bool journald, struct fault *fault)
{
    logger_set_level(level);
    logger.journald = journald;
    if (path == NULL)
        return KQ_OK;
    if (strlen(path) >= sizeof logger.path)
        return fault_set(fault, KQ_INVALID, "the log file's path is longer than %zu bytes", sizeof logger.path - 1);
    int fd = open_file(path, fault);
    if (fd < 0)
        return fault != NULL ? fault->err : KQ_IO;
    (void)snprintf(logger.path, sizeof logger.path, "%s", path);
    logger.fd = fd;
    logger.journald = false;
    return KQ_OK;
}

enum kq_err logger_reopen(struct fault *fault)
{
    if (logger.path[0] == '\0')
        return KQ_OK;
    int fd = open_file(logger.path, fault);
    if (fd < 0)
        return fault != NULL ? fault->err : KQ_IO;
    (void)pthread_mutex_lock(&logger.lock);
    int old = logger.fd;
    logger.fd = fd;
    (void)pthread_mutex_unlock(&logger.lock);
    (void)close(old);
    return KQ_OK;
}

void logger_set_level(enum logger_level level)
{
    atomic_store_explicit(&logger.level, (int)level, memory_order_relaxed);
}

enum logger_level logger_get_level(void)
{
    return (enum logger_level)atomic_load_explicit(&logger.level, memory_order_relaxed);
}

void logger_close(void)
{
    (void)pthread_mutex_lock(&logger.lock);
    if (logger.fd != STDERR_FILENO)
        (void)close(logger.fd);
    logger.fd = STDERR_FILENO;
    logger.path[0] = '\0';
    (void)pthread_mutex_unlock(&logger.lock);
}

/* True: say it; *left_out is how many lines of this site went unsaid before. */
static bool site_allows(struct logger_site *site, uint32_t *left_out)
{
    int64_t now_ms = clock_mono_us() / 1000;
    int64_t window_ms = atomic_load_explicit(&site->window_ms, memory_order_relaxed);
    *left_out = 0;
    if (window_ms == 0 || now_ms - window_ms >= LOGGER_WINDOW_MS) {
        atomic_store_explicit(&site->window_ms, now_ms, memory_order_relaxed);
        atomic_store_explicit(&site->said, 1, memory_order_relaxed);
        *left_out = atomic_exchange_explicit(&site->left_out, 0, memory_order_relaxed);
        return true;
    }
    if (atomic_fetch_add_explicit(&site->said, 1, memory_order_relaxed) < LOGGER_BURST)
        return true;
    (void)atomic_fetch_add_explicit(&site->left_out, 1, memory_order_relaxed);
    return false;
}

static size_t write_prefix(char *line, size_t cap, enum logger_level level)
{
    int n;
    if (logger.journald) {
        n = snprintf(line, cap, "<%d>", (int)level);
    } else {
        time_t now = (time_t)(clock_wall_ms() / 1000);
        struct tm parts;
        char when[32] = "";
        if (gmtime_r(&now, &parts) != NULL)
            (void)strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", &parts);
        n = snprintf(line, cap, "%s %s: ", when, level_name(level));
    }
    return n < 0 ? 0 : (size_t)n;
}

void logger_say(struct logger_site *site, enum logger_level level, const char *format, ...)
{
    uint32_t left_out;
    if (!site_allows(site, &left_out))
        return;
    char line[LINE_BYTES];
    size_t len = write_prefix(line, sizeof line, level);
    va_list args;
    va_start(args, format);
    int n = vsnprintf(line + len, sizeof line - len - 1, format, args);
    va_end(args);
    if (n > 0)
        len += (size_t)n < sizeof line - len - 1 ? (size_t)n : sizeof line - len - 2;
    for (size_t i = 0; i < len; i++)
        if (line[i] == '\n' || line[i] == '\r')
            line[i] = ' ';
    if (left_out > 0 && len < sizeof line - 48) {
        n = snprintf(line + len, sizeof line - len - 1, " (%u more like this were left out)", left_out);
        len += n > 0 ? (size_t)n : 0;
    }
    line[len++] = '\n';
    (void)pthread_mutex_lock(&logger.lock);
    ssize_t written = write(logger.fd, line, len);
    (void)pthread_mutex_unlock(&logger.lock);
    (void)written; /* there is nowhere left to complain */
}
