#include "sim/session.h"

#include "base/require.h"
#include "sim/net.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

enum { ROOM_FIRST = 16 * 1024, LINE_MAX_BYTES = 64 * 1024 * 1024 };

int session_dial(unsigned broker, int port, int64_t timeout_ns)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    struct timeval span = {.tv_sec = timeout_ns / S_NS, .tv_usec = timeout_ns % S_NS / 1000};
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &span, sizeof span);
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &span, sizeof span);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    at.sin_addr.s_addr = htonl(net_address_of(broker_node(brokers_at(broker))));
    if (connect(fd, (struct sockaddr *)&at, sizeof at) == 0)
        return fd;
    (void)close(fd);
    return -1;
}

bool session_open(struct session *s, unsigned broker, int64_t timeout_ns)
{
    static uint32_t processes;
    REQUIRE(s->fd < 0);
    s->fd = session_dial(broker, BROKER_PORT, timeout_ns);
    if (s->fd < 0)
        return false;
    s->process = ++processes;
    s->broker = broker;
    s->have = s->taken = 0;
    return true;
}

void session_close(struct session *s)
{
    if (s->fd >= 0)
        (void)close(s->fd);
    s->fd = -1;
}

void session_fini(struct session *s)
{
    session_close(s);
    free(s->buffer);
    *s = (struct session){.fd = -1};
}

bool session_say(struct session *s, const char *line)
{
    if (s->fd < 0)
        return false;
    size_t bytes = strlen(line);
    char *all = malloc(bytes + 1);
    REQUIRE(all != NULL);
    memcpy(all, line, bytes);
    all[bytes++] = '\n';
    ssize_t sent = send(s->fd, all, bytes, MSG_NOSIGNAL);
    free(all);
    if (sent == (ssize_t)bytes)
        return true;
    session_close(s);
    return false;
}

/* More bytes behind those that are there. */
static bool fill(struct session *s)
{
    if (s->taken > 0) {
        memmove(s->buffer, s->buffer + s->taken, s->have - s->taken);
        s->have -= s->taken;
        s->taken = 0;
    }
    if (s->have == s->room) {
        s->room = s->room == 0 ? ROOM_FIRST : s->room * 2;
        REQUIRE(s->room <= LINE_MAX_BYTES);
        s->buffer = realloc(s->buffer, s->room);
        REQUIRE(s->buffer != NULL);
    }
    ssize_t got = recv(s->fd, s->buffer + s->have, s->room - s->have, 0);
    if (got <= 0)
        return false;
    s->have += (size_t)got;
    return true;
}

const char *session_hear(struct session *s)
{
    static const char event[] = "{\"Event\"";
    size_t seen = 0;
    while (s->fd >= 0) {
        char *end =
            s->have - s->taken > seen ? memchr(s->buffer + s->taken + seen, '\n', s->have - s->taken - seen) : NULL;
        if (end == NULL) {
            seen = s->have - s->taken;
            if (!fill(s))
                session_close(s);
            continue;
        }
        *end = '\0';
        const char *line = s->buffer + s->taken;
        s->taken = (size_t)(end - s->buffer) + 1;
        seen = 0;
        if (strncmp(line, event, sizeof event - 1) != 0)
            return line;
    }
    return NULL;
}

const char *session_ask(struct session *s, const char *line)
{
    return session_say(s, line) ? session_hear(s) : NULL;
}
