#include "daemon/notify.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { MESSAGE_BYTES = 512 };

bool notify_send(const char *format, ...)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    if (path == NULL || (path[0] != '/' && path[0] != '@') || strlen(path) >= sizeof to.sun_path)
        return false;
    size_t path_len = strlen(path);
    memcpy(to.sun_path, path, path_len);
    if (path[0] == '@') /* the abstract namespace */
        to.sun_path[0] = '\0';
    char text[MESSAGE_BYTES];
    va_list args;
    va_start(args, format);
    int len = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (len < 0)
        return false;
    size_t text_len = (size_t)len < sizeof text ? (size_t)len : sizeof text - 1;
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return false;
    socklen_t to_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + path_len);
    ssize_t sent = sendto(fd, text, text_len, MSG_NOSIGNAL, (const struct sockaddr *)&to, to_len);
    (void)close(fd);
    return sent == (ssize_t)text_len;
}

/* A whole number in the environment, or -1. */
static int64_t number_in(const char *name)
{
    const char *text = getenv(name);
    char *end = NULL;
    long long number = text != NULL ? strtoll(text, &end, 10) : -1;
    return text == NULL || end == text || *end != '\0' ? -1 : number;
}

int64_t notify_watchdog_us(void)
{
    int64_t pid = number_in("WATCHDOG_PID");
    int64_t period_us = number_in("WATCHDOG_USEC");
    if (period_us <= 0 || (pid >= 0 && pid != getpid()))
        return 0;
    return period_us / 2;
}

bool notify_stderr_is_journal(void)
{
    const char *stream = getenv("JOURNAL_STREAM");
    struct stat st;
    char own[64];
    if (stream == NULL || fstat(STDERR_FILENO, &st) != 0)
        return false;
    (void)snprintf(own, sizeof own, "%llu:%llu", (unsigned long long)st.st_dev, (unsigned long long)st.st_ino);
    return strcmp(stream, own) == 0;
}
