/* The socket under every command of the client. */
#include "client/wire.h"

#include "base/clock.h"
#include "base/require.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { IN_BYTES = 256 * 1024, OUT_MAX_BYTES = 512 * 1024 * 1024, OUT_KEEP_BYTES = 1024 * 1024 };

struct wire {
    int fd;
    struct wire_address address;
    struct buf out;
    size_t out_sent; /* of out */
    uint8_t *in;
    size_t in_at; /* what was received and not eaten is [in_at, in_end) */
    size_t in_end;
};

enum kq_err wire_address_parse(const char *text, struct wire_address *address, struct fault *fault)
{
    const char *host = text;
    const char *colon = strrchr(text, ':');
    size_t host_bytes = colon == NULL ? strlen(text) : (size_t)(colon - text);
    if (text[0] == '[') {
        const char *bracket = strchr(text, ']');
        if (bracket == NULL || (bracket[1] != 0 && bracket[1] != ':'))
            return fault_set(fault, KQ_INVALID, "`%s` is no address; write [ADDRESS]:PORT", text);
        host = text + 1;
        host_bytes = (size_t)(bracket - host);
        colon = bracket[1] == ':' ? bracket + 1 : NULL;
    } else if (colon != NULL && strchr(text, ':') != colon) { /* an IPv6 address alone */
        host_bytes = strlen(text);
        colon = NULL;
    }
    if (host_bytes >= sizeof(address->host))
        return fault_set(fault, KQ_INVALID, "the host's name is longer than %d bytes", WIRE_HOST_BYTES - 1);
    if (host_bytes > 0) {
        memcpy(address->host, host, host_bytes);
        address->host[host_bytes] = 0;
    }
    if (colon == NULL)
        return KQ_OK;
    char *end = NULL;
    errno = 0;
    long port = strtol(colon + 1, &end, 10);
    if (errno != 0 || end == colon + 1 || *end != 0 || port < 1 || port > 65535)
        return fault_set(fault, KQ_INVALID, "`%s` is no port; it is a number from 1 to 65535", colon + 1);
    (void)snprintf(address->port, sizeof(address->port), "%ld", port);
    return KQ_OK;
}

/* ---- connecting ---------------------------------------------------------------------- */

static int wait_ms(int64_t deadline_us)
{
    int64_t left_us = deadline_us - clock_mono_us();
    if (left_us <= 0)
        return 0;
    return left_us / 1000 >= 3600000 ? 3600000 : (int)(left_us / 1000) + 1;
}

/* 0: connected; else the errno. */
static int connect_one(const struct addrinfo *at, int64_t deadline_us, int *fd)
{
    *fd = socket(at->ai_family, at->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, at->ai_protocol);
    if (*fd < 0)
        return errno;
    int error = connect(*fd, at->ai_addr, at->ai_addrlen) == 0 ? 0 : errno;
    if (error == EINPROGRESS) {
        struct pollfd wait = {.fd = *fd, .events = POLLOUT};
        int ready;
        do
            ready = poll(&wait, 1, wait_ms(deadline_us));
        while (ready < 0 && errno == EINTR && clock_mono_us() < deadline_us);
        socklen_t len = sizeof(error);
        if (ready <= 0)
            error = ETIMEDOUT;
        else if (getsockopt(*fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0)
            error = errno;
    }
    if (error != 0) {
        (void)close(*fd);
        *fd = -1;
    }
    return error;
}

static enum kq_err tell_connect(const struct wire_address *a, int error, struct fault *fault)
{
    if (error == ECONNREFUSED)
        return fault_set(
            fault, KQ_EOF,
            "cannot connect to %s port %s: connection refused. Is the daemon running there? Start it with "
            "`kafkaesqued`, or say where it is with --broker HOST:PORT, --host and --port, or KAFKAESQUE_ADDRESS",
            a->host, a->port);
    if (error == ETIMEDOUT)
        return fault_set(fault, KQ_EOF,
                         "cannot connect to %s port %s: nobody answered in time. Is the address right, and does a "
                         "firewall let it through?",
                         a->host, a->port);
    return fault_set(fault, KQ_EOF, "cannot connect to %s port %s: %s", a->host, a->port, strerror(error));
}

static enum kq_err wire_over(struct wire **wire, int fd, const struct wire_address *address)
{
    struct wire *w = calloc(1, sizeof(*w));
    uint8_t *in = malloc(IN_BYTES);
    if (w == NULL || in == NULL) {
        free(w);
        free(in);
        (void)close(fd);
        return KQ_NO_MEMORY;
    }
    int one = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    w->fd = fd;
    w->address = *address;
    w->in = in;
    buf_init(&w->out, OUT_MAX_BYTES);
    *wire = w;
    return KQ_OK;
}

enum kq_err wire_connect(struct wire **wire, const struct wire_address *address, int64_t deadline_us,
                         struct fault *fault)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct addrinfo *list = NULL;
    *wire = NULL;
    int code = getaddrinfo(address->host, address->port, &hints, &list);
    if (code != 0)
        return fault_set(fault, KQ_EOF, "cannot find the host %s: %s", address->host,
                         code == EAI_SYSTEM ? strerror(errno) : gai_strerror(code));
    int error = EADDRNOTAVAIL;
    int fd = -1;
    for (const struct addrinfo *at = list; at != NULL && fd < 0; at = at->ai_next)
        error = connect_one(at, deadline_us, &fd);
    freeaddrinfo(list);
    if (fd < 0)
        return tell_connect(address, error, fault);
    if (wire_over(wire, fd, address) != KQ_OK)
        return fault_set(fault, KQ_NO_MEMORY, "out of memory for a connection");
    return KQ_OK;
}

void wire_close(struct wire **wire)
{
    if (*wire == NULL)
        return;
    (void)close((*wire)->fd);
    buf_fini(&(*wire)->out);
    free((*wire)->in);
    free(*wire);
    *wire = NULL;
}

int wire_fd(const struct wire *wire)
{
    return wire->fd;
}

/* ---- out ------------------------------------------------------------------------------- */

static enum kq_err tell_gone(const struct wire *w, int error, struct fault *fault)
{
    return fault_set(fault, KQ_EOF, "the connection to %s port %s is gone: %s", w->address.host, w->address.port,
                     error == 0 ? "the broker closed it" : strerror(error));
}

struct buf *wire_out(struct wire *wire)
{
    return &wire->out;
}

size_t wire_unsent(const struct wire *wire)
{
    return wire->out.len - wire->out_sent;
}

enum kq_err wire_try_flush(struct wire *w, struct fault *fault)
{
    if (w->out.bad)
        return fault_set(fault, KQ_NO_MEMORY, "out of memory for what is to be sent");
    while (wire_unsent(w) > 0) {
        ssize_t sent = send(w->fd, w->out.data + w->out_sent, wire_unsent(w), MSG_NOSIGNAL);
        if (sent >= 0)
            w->out_sent += (size_t)sent;
        else if (errno == EAGAIN || errno == EWOULDBLOCK)
            break;
        else if (errno != EINTR)
            return tell_gone(w, errno, fault);
    }
    if (wire_unsent(w) > 0 && w->out_sent < OUT_KEEP_BYTES)
        return KQ_OK;
    size_t left = wire_unsent(w);
    if (left > 0)
        memmove(w->out.data, w->out.data + w->out_sent, left);
    w->out.len = left;
    w->out_sent = 0;
    return KQ_OK;
}

/* ---- in --------------------------------------------------------------------------------- */

enum kq_err wire_try_fill(struct wire *w, struct fault *fault)
{
    if (w->in_at > 0) {
        memmove(w->in, w->in + w->in_at, w->in_end - w->in_at);
        w->in_end -= w->in_at;
        w->in_at = 0;
    }
    if (w->in_end == IN_BYTES)
        return KQ_OK; /* eat first */
    for (;;) {
        ssize_t got = recv(w->fd, w->in + w->in_end, IN_BYTES - w->in_end, 0);
        if (got > 0) {
            w->in_end += (size_t)got;
            return KQ_OK;
        }
        if (got == 0)
            return tell_gone(w, 0, fault);
        if (errno == EAGAIN || errno == EWOULDBLOCK)
            return KQ_AGAIN;
        if (errno != EINTR)
            return tell_gone(w, errno, fault);
    }
}

const uint8_t *wire_in(const struct wire *w, size_t *size_bytes)
{
    *size_bytes = w->in_end - w->in_at;
    return w->in + w->in_at;
}

void wire_eat(struct wire *w, size_t size_bytes)
{
    REQUIRE(size_bytes <= w->in_end - w->in_at);
    w->in_at += size_bytes;
}

enum kq_err wire_wait(struct wire *w, int64_t deadline_us, struct fault *fault)
{
    for (;;) {
        enum kq_err err = wire_try_flush(w, fault);
        if (err == KQ_OK)
            err = wire_try_fill(w, fault);
        if (err != KQ_AGAIN)
            return err;
        struct pollfd wait = {.fd = w->fd, .events = (short)(POLLIN | (wire_unsent(w) > 0 ? POLLOUT : 0))};
        int ready = poll(&wait, 1, wait_ms(deadline_us));
        if (ready < 0 && errno == EINTR)
            return KQ_AGAIN;
        if (ready == 0 && clock_mono_us() >= deadline_us)
            return fault_set(fault, KQ_TIMEOUT, "no answer from %s port %s in time", w->address.host, w->address.port);
    }
}

enum kq_err wire_line(struct wire *w, struct buf *line, int64_t deadline_us, struct fault *fault)
{
    buf_reset(line);
    for (;;) {
        size_t got = 0;
        const uint8_t *in = wire_in(w, &got);
        const uint8_t *feed = got == 0 ? NULL : memchr(in, '\n', got);
        size_t take = feed == NULL ? got : (size_t)(feed - in);
        buf_put(line, in, take);
        wire_eat(w, feed == NULL ? take : take + 1);
        if (line->bad || line->len > WIRE_LINE_MAX_BYTES)
            return fault_set(fault, KQ_TOO_LARGE, "the broker's reply is longer than %d bytes", WIRE_LINE_MAX_BYTES);
        if (feed != NULL)
            return KQ_OK;
        enum kq_err err = wire_wait(w, deadline_us, fault);
        if (err != KQ_OK && err != KQ_AGAIN)
            return err;
    }
}
