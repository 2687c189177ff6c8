/* Many sessions, one publish at a time on each, over one epoll loop. */
#include "bench/outage.h"

#include "e2e/client.h"
#include "e2e/harness.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { EVERY_US = 5000, WARM_ACKS = 40, LIMIT_US = 60000000, SESSIONS_MAX = 16384, PAYLOAD = 100, EVENTS = 64 };

struct session {
    struct client *c;
    int64_t sent_us;
    bool waits;
    char out[PAYLOAD + 256];
    size_t size;
    char in[1024];
    size_t used;
    struct session *next_free;
};

struct crowd {
    const struct server *server;
    int epoll;
    struct session *list[SESSIONS_MAX];
    size_t count;
    struct session *free;
    uint64_t acks;
    int64_t broken_us; /* 0: not yet */
    int64_t over_us;   /* when the first that counts was acknowledged */
};

static struct session *session_new(struct crowd *w)
{
    struct session *s = calloc(1, sizeof(*s));
    if (s == NULL || w->count == SESSIONS_MAX)
        abort();
    s->c = server_connect(w->server);
    s->size = server_put_publish(w->server, s->out, TRIO_TARGET, PAYLOAD);
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = s};
    (void)epoll_ctl(w->epoll, EPOLL_CTL_ADD, client_fd(s->c), &e);
    w->list[w->count++] = s;
    return s;
}

static void publish_one(struct crowd *w)
{
    struct session *s = w->free;
    if (s != NULL)
        w->free = s->next_free;
    else
        s = session_new(w);
    s->sent_us = now_us();
    s->waits = true;
    if (send(client_fd(s->c), s->out, s->size, MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t)s->size)
        s->waits = false; /* never to be used again */
}

static void take_replies(struct crowd *w, struct session *s)
{
    bool ok = false;
    ssize_t n = recv(client_fd(s->c), s->in + s->used, sizeof(s->in) - s->used, MSG_DONTWAIT);
    if (n == 0 || (n < 0 && errno != EAGAIN)) {
        (void)epoll_ctl(w->epoll, EPOLL_CTL_DEL, client_fd(s->c), NULL);
        return;
    }
    s->used += n > 0 ? (size_t)n : 0;
    size_t whole = server_take_reply(w->server, s->in, s->used, &ok);
    if (whole == 0) {
        s->used = s->used == sizeof(s->in) ? 0 : s->used;
        return;
    }
    memmove(s->in, s->in + whole, s->used - whole);
    s->used -= whole;
    if (!s->waits)
        return;
    s->waits = false;
    server_next_publish(w->server, s->out);
    s->next_free = w->free;
    w->free = s;
    w->acks += ok;
    if (ok && w->broken_us != 0 && w->over_us == 0 && s->sent_us > w->broken_us)
        w->over_us = now_us();
}

/* Goes on until so many are acknowledged, or the outage is over. */
static void run_crowd(struct crowd *w, uint64_t acks)
{
    struct epoll_event events[EVENTS];
    int64_t begin = now_us(), next = begin;
    while (w->acks < acks && w->over_us == 0 && now_us() - begin < LIMIT_US) {
        if (now_us() >= next) {
            publish_one(w);
            next = now_us() + EVERY_US;
        }
        int64_t left_ms = (next - now_us() + 999) / 1000;
        int ready = epoll_wait(w->epoll, events, EVENTS, left_ms > 0 ? (int)left_ms : 0);
        for (int i = 0; i < ready; i++)
            take_replies(w, events[i].data.ptr);
    }
}

int64_t outage_us(struct trio *t, int victim, int through, enum trio_fault fault)
{
    struct crowd *w = calloc(1, sizeof(*w));
    if (w == NULL)
        abort();
    w->server = &t->servers[through];
    w->epoll = epoll_create1(EPOLL_CLOEXEC);
    run_crowd(w, WARM_ACKS);
    if (w->acks < WARM_ACKS)
        harness_fail("nothing is acknowledged before the break");
    int64_t begin = now_us();
    trio_break(t, victim, fault);
    w->broken_us = fault == TRIO_CUT ? now_us() : begin; /* a cable takes a command to cut */
    run_crowd(w, UINT64_MAX);
    int64_t us = w->over_us != 0 ? w->over_us - w->broken_us : -1;
    for (size_t i = 0; i < w->count; i++) {
        client_close(&w->list[i]->c);
        free(w->list[i]);
    }
    (void)close(w->epoll);
    free(w);
    return us;
}
