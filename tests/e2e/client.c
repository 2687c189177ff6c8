/* The line client: one growing buffer of what came in and was not yet taken. */
#include "e2e/client.h"

#include "e2e/harness.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { READ_BYTES = 256 << 10, EVENTS_MAX = 64, ASK_BYTES = 64 << 10 };

struct client {
    int fd;
    bool closed;
    char *in;
    size_t start, end, size;
    size_t searched; /* no LF in [start, searched) */
    size_t line_bytes;
    char *events[EVENTS_MAX];
    size_t event_count;
    char *event_taken;
};

struct client *client_try_open(int port, int receive_bytes)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return NULL;
    if (receive_bytes > 0)
        (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive_bytes, sizeof(receive_bytes));
    int on = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (connect(fd, (struct sockaddr *)&to, sizeof(to)) != 0) {
        int why = errno;
        (void)close(fd);
        errno = why;
        return NULL;
    }
    struct client *c = calloc(1, sizeof(*c));
    if (c == NULL) {
        (void)close(fd);
        return NULL;
    }
    c->fd = fd;
    return c;
}

/* A socket stays in the network it was made in. */
struct client *client_try_open_in(const char *network, int port)
{
    if (network == NULL)
        return client_try_open(port, 0);
    int home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC), there = open(network, O_RDONLY | O_CLOEXEC);
    if (home < 0 || there < 0 || setns(there, CLONE_NEWNET) != 0)
        harness_fail("cannot enter the network of a broker");
    struct client *c = client_try_open(port, 0);
    int why = errno;
    if (setns(home, CLONE_NEWNET) != 0)
        harness_fail("cannot leave the network of a broker");
    (void)close(home);
    (void)close(there);
    errno = why;
    return c;
}

struct client *client_open(int port)
{
    return client_open_in(NULL, port);
}

struct client *client_open_in(const char *network, int port)
{
    struct client *c = client_try_open_in(network, port);
    if (c == NULL) {
        perror("connect");
        harness_fail("cannot connect to the daemon");
    }
    return c;
}

void client_close(struct client **c)
{
    if (*c == NULL)
        return;
    (void)close((*c)->fd);
    for (size_t i = 0; i < (*c)->event_count; i++)
        free((*c)->events[i]);
    free((*c)->event_taken);
    free((*c)->in);
    free(*c);
    *c = NULL;
}

int client_fd(const struct client *c)
{
    return c->fd;
}

/* False: nothing came before the deadline. Looks at least once. */
static bool wait_input(struct client *c, int64_t deadline_us)
{
    int64_t left_us = deadline_us - now_us();
    struct pollfd ready = {.fd = c->fd, .events = POLLIN};
    return poll(&ready, 1, left_us <= 0 ? 0 : (int)(left_us / 1000) + 1) > 0;
}

/* Takes in what is there, without waiting. */
static void take_in(struct client *c)
{
    if (c->end + READ_BYTES > c->size) {
        if (c->start > 0) {
            memmove(c->in, c->in + c->start, c->end - c->start);
            c->searched -= c->start;
            c->end -= c->start;
            c->start = 0;
        }
        if (c->end + READ_BYTES > c->size) {
            size_t size = 2 * (c->size + READ_BYTES);
            char *in = realloc(c->in, size);
            if (in == NULL)
                abort();
            c->in = in;
            c->size = size;
        }
    }
    ssize_t n = recv(c->fd, c->in + c->end, READ_BYTES - 1, MSG_DONTWAIT);
    if (n > 0)
        c->end += (size_t)n;
    else if (n == 0 || (errno != EAGAIN && errno != EINTR))
        c->closed = true;
}

bool client_send(struct client *c, const void *bytes, size_t size)
{
    int64_t deadline = now_us() + (int64_t)REPLY_MS * 1000;
    for (size_t done = 0; done < size;) {
        struct pollfd ready = {.fd = c->fd, .events = (short)(c->closed ? POLLOUT : POLLIN | POLLOUT)};
        if (now_us() > deadline || poll(&ready, 1, REPLY_MS) <= 0)
            return false;
        if ((ready.revents & POLLIN) != 0)
            take_in(c);
        if ((ready.revents & (POLLERR | POLLHUP)) != 0)
            return false;
        if ((ready.revents & POLLOUT) == 0)
            continue;
        ssize_t n = send(c->fd, (const char *)bytes + done, size - done, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN && errno != EINTR)
            return false;
        if (n > 0) {
            done += (size_t)n;
            deadline = now_us() + (int64_t)REPLY_MS * 1000;
        }
    }
    return true;
}

bool client_send_text(struct client *c, const char *text)
{
    return client_send(c, text, strlen(text));
}

const char *client_line(struct client *c, int wait_ms)
{
    int64_t deadline = now_us() + (int64_t)wait_ms * 1000;
    for (;;) {
        char *lf = c->end > c->searched ? memchr(c->in + c->searched, '\n', c->end - c->searched) : NULL;
        if (lf != NULL) {
            char *line = c->in + c->start;
            c->line_bytes = (size_t)(lf - line);
            *lf = '\0';
            if (c->line_bytes > 0 && lf[-1] == '\r') {
                lf[-1] = '\0';
                c->line_bytes--;
            }
            c->start = c->searched = (size_t)(lf + 1 - c->in);
            return line;
        }
        c->searched = c->end;
        if (c->closed || !wait_input(c, deadline))
            return NULL;
        take_in(c);
    }
}

size_t client_line_bytes(const struct client *c)
{
    return c->line_bytes;
}

static bool is_event(const char *line)
{
    return strncmp(line, "{\"Event\":", 9) == 0;
}

static void keep_event(struct client *c, const char *line)
{
    if (c->event_count == EVENTS_MAX)
        harness_fail("more events than a test may bring about");
    c->events[c->event_count++] = strdup(line);
}

const char *client_reply(struct client *c)
{
    const char *line = client_line(c, REPLY_MS);
    while (line != NULL && is_event(line)) {
        keep_event(c, line);
        line = client_line(c, REPLY_MS);
    }
    return line != NULL ? line : "(no reply)";
}

const char *client_ask(struct client *c, const char *format, ...)
{
    char stack[ASK_BYTES];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(stack, sizeof(stack) - 1, format, args);
    va_end(args);
    if (n < 0 || (size_t)n >= sizeof(stack) - 1)
        harness_fail("a line too long for client_ask");
    stack[n] = '\n';
    if (!client_send(c, stack, (size_t)n + 1))
        return "(not taken)";
    return client_reply(c);
}

const char *client_event(struct client *c, int wait_ms)
{
    if (c->event_count == 0) {
        const char *line = client_line(c, wait_ms);
        if (line == NULL)
            return NULL;
        if (!is_event(line)) { /* give it back as it was */
            char *end = c->in + c->start - 1;
            *end = '\n';
            c->start = c->searched = (size_t)(line - c->in);
            return NULL;
        }
        keep_event(c, line);
    }
    free(c->event_taken);
    c->event_taken = c->events[0];
    c->event_count--;
    memmove(c->events, c->events + 1, c->event_count * sizeof(c->events[0]));
    return c->event_taken;
}

bool client_ends(struct client *c, int wait_ms)
{
    int64_t deadline = now_us() + (int64_t)wait_ms * 1000;
    while (!c->closed && c->start == c->end) {
        if (!wait_input(c, deadline))
            return false;
        take_in(c);
    }
    return c->closed && c->start == c->end;
}

bool client_quiet(struct client *c, int wait_ms)
{
    struct pollfd ready = {.fd = c->fd, .events = POLLIN};
    return c->start == c->end && !c->closed && poll(&ready, 1, wait_ms) == 0;
}

bool client_closed(const struct client *c)
{
    return c->closed;
}
