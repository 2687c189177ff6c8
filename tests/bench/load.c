/* Publishing clients: one at a time with latencies, or windows over a poll loop. */
#include "bench/load.h"

#include "e2e/client.h"
#include "e2e/harness.h"
#include "e2e/probe.h"

#include "bench/bench.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { IN_BYTES = 64 << 10, SAMPLES_MAX = 1 << 20, EVENTS = 64 };

void pin_self(uint64_t cpus)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    for (size_t cpu = 0; cpu < 64; cpu++)
        if (cpus == 0 || (cpus >> cpu & 1) != 0)
            CPU_SET(cpu, &set);
    (void)sched_setaffinity(0, sizeof(set), &set);
}

struct load_result load_synchronous(const struct load *l)
{
    struct load_result r = {0};
    struct client *c = server_connect(l->server);
    int fd = client_fd(c);
    char *out = malloc(l->payload_bytes + 256);
    double *samples = calloc(SAMPLES_MAX, sizeof(*samples));
    char in[1024];
    if (out == NULL || samples == NULL)
        abort();
    size_t size = server_put_publish(l->server, out, l->targets[0], l->payload_bytes);
    int64_t begin = now_us(), cpu = proc_cpu_us(l->server->pid), t = begin;
    while (r.messages < SAMPLES_MAX && (l->messages == 0 || r.messages < l->messages) && t - begin < l->run_us) {
        size_t used = 0;
        bool ok = false;
        if (send(fd, out, size, MSG_NOSIGNAL) != (ssize_t)size)
            break;
        while (server_take_reply(l->server, in, used, &ok) == 0) {
            ssize_t n = recv(fd, in + used, sizeof(in) - used, 0);
            if (n <= 0)
                break;
            used += (size_t)n;
        }
        if (!ok) {
            fprintf(stderr, "unexpected reply: %.*s\n", (int)used, in);
            r.broken = true;
            break;
        }
        server_next_publish(l->server, out);
        int64_t after = now_us();
        samples[r.messages++] = (double)(after - t);
        t = after;
    }
    r.us = now_us() - begin;
    r.cpu_us = proc_cpu_us(l->server->pid) - cpu;
    r.broken = r.broken || r.messages == 0;
    r.p50_us = percentile(samples, r.messages, 0.50);
    r.p99_us = percentile(samples, r.messages, 0.99);
    free(samples);
    free(out);
    client_close(&c);
    return r;
}

/* One connection of load_window. Its out buffer holds in_flight equal messages,
 * so that topping up the window is one send from its begin. */
struct lane {
    struct client *c;
    char *out;
    size_t message_bytes;
    size_t owed_bytes; /* of messages begun, not yet taken by the socket */
    size_t out_pos;    /* where in the repeated pattern the next byte is */
    unsigned in_flight;
    char in[IN_BYTES];
    size_t in_used;
};

static void lane_open(struct lane *n, const struct load *l, unsigned i)
{
    n->c = server_connect(l->server);
    n->out = malloc((l->payload_bytes + 256) * l->in_flight);
    if (n->out == NULL)
        abort();
    const char *target = l->targets[i % l->target_count];
    n->message_bytes = server_put_publish(l->server, n->out, target, l->payload_bytes);
    for (unsigned k = 1; k < l->in_flight; k++)
        memcpy(n->out + k * n->message_bytes, n->out, n->message_bytes);
}

/* False: the connection broke. */
static bool lane_send(struct lane *n, const struct load *l)
{
    size_t pattern = n->message_bytes * l->in_flight;
    while (n->owed_bytes > 0) {
        size_t run = pattern - n->out_pos < n->owed_bytes ? pattern - n->out_pos : n->owed_bytes;
        ssize_t sent = send(client_fd(n->c), n->out + n->out_pos, run, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent < 0)
            return errno == EAGAIN || errno == EINTR;
        n->owed_bytes -= (size_t)sent;
        n->out_pos = (n->out_pos + (size_t)sent) % pattern;
    }
    return true;
}

/* Takes the replies that are there; -1: broken. */
static int lane_receive(struct lane *n, const struct server *s)
{
    ssize_t got = recv(client_fd(n->c), n->in + n->in_used, sizeof(n->in) - n->in_used, MSG_DONTWAIT);
    if (got <= 0)
        return got < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : -1;
    n->in_used += (size_t)got;
    int replies = 0;
    size_t at = 0, whole;
    bool ok = true;
    while ((whole = server_take_reply(s, n->in + at, n->in_used - at, &ok)) > 0) {
        if (!ok) {
            fprintf(stderr, "unexpected reply: %.*s\n", (int)whole, n->in + at);
            return -1;
        }
        at += whole;
        replies++;
    }
    memmove(n->in, n->in + at, n->in_used - at);
    n->in_used -= at;
    return replies;
}

static void lane_top_up(struct lane *n, const struct load *l, uint64_t *begun)
{
    while (n->in_flight < l->in_flight && (l->messages == 0 || *begun < l->messages)) {
        n->in_flight++;
        n->owed_bytes += n->message_bytes;
        (*begun)++;
    }
}

/* EPOLLOUT only while bytes are owed. */
static void lane_watch(struct lane *n, int epoll, int op)
{
    struct epoll_event e = {.events = n->owed_bytes > 0 ? EPOLLIN | EPOLLOUT : EPOLLIN, .data.ptr = n};
    (void)epoll_ctl(epoll, op, client_fd(n->c), &e);
}

struct load_result load_window(const struct load *l)
{
    struct load_result r = {0};
    struct epoll_event events[EVENTS];
    uint64_t begun = 0;
    struct lane *lanes = calloc(l->connections, sizeof(*lanes));
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    if (lanes == NULL || epoll < 0)
        abort();
    for (unsigned i = 0; i < l->connections; i++)
        lane_open(&lanes[i], l, i);
    int64_t cpu = proc_cpu_us(l->server->pid), begin = now_us();
    for (unsigned i = 0; i < l->connections; i++) {
        lane_top_up(&lanes[i], l, &begun);
        r.broken = r.broken || !lane_send(&lanes[i], l);
        lane_watch(&lanes[i], epoll, EPOLL_CTL_ADD);
    }
    while (!r.broken && (l->messages == 0 || r.messages < l->messages) && now_us() - begin < l->run_us) {
        int ready = epoll_wait(epoll, events, EVENTS, REPLY_MS);
        r.broken = ready <= 0;
        for (int i = 0; i < ready && !r.broken; i++) {
            struct lane *n = events[i].data.ptr;
            bool owed = n->owed_bytes > 0;
            int replies = lane_receive(n, l->server);
            r.broken = replies < 0;
            r.messages += replies > 0 ? (uint64_t)replies : 0;
            n->in_flight -= replies > 0 ? (unsigned)replies : 0;
            lane_top_up(n, l, &begun);
            r.broken = r.broken || !lane_send(n, l);
            if (owed != (n->owed_bytes > 0))
                lane_watch(n, epoll, EPOLL_CTL_MOD);
        }
    }
    r.us = now_us() - begin;
    r.cpu_us = proc_cpu_us(l->server->pid) - cpu;
    for (unsigned i = 0; i < l->connections; i++) {
        client_close(&lanes[i].c);
        free(lanes[i].out);
    }
    (void)close(epoll);
    free(lanes);
    return r;
}
