/*
 * Threads: everything but acceptor_stop, and connection_gone (which runs on
 * whatever thread drops a connection's last reference), is the acceptor's own.
 * acceptor->lock guards what the two share: the number of connections an
 * address has.
 *
 * At the limit of open files accept(2) fails and would fail again at once, so
 * the listeners are taken out of epoll until a connection closes. That happens
 * some files before the limit: the logs of those who are connected need them.
 */
#include "server/acceptor.h"

#include "base/clock.h"
#include "base/logger.h"
#include "base/map.h"
#include "base/require.h"
#include "base/threads.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    ACCEPTOR_TAG = 0x61636370,
    EVENTS = 256,
    ACCEPTS_A_TURN = 64,
    BACKLOG = 1024,
    KEEPALIVE_IDLE_S = 60,
    KEEPALIVE_INTERVAL_S = 15,
    KEEPALIVE_COUNT = 4,
    PAUSE_RETRY_US = 1000 * 1000, /* others may have closed files meanwhile */
    SPARE_FILES_PART = 8,         /* of the limit of open files are left to the logs, ... */
    SPARE_FILES_MIN = 16,
    SPARE_FILES_MAX = 256,
};

struct listener {
    int fd;
    const struct conn_front *front;
};

struct acceptor {
    uint32_t tag;
    struct conn_home *home;
    struct listener listeners[ACCEPTOR_LISTENERS_MAX];
    size_t listener_count;
    pthread_t thread;
    bool started;
    _Atomic int64_t stop_by_us; /* 0: runs on */
    bool closed;                /* listeners are */
    int last_fd;                /* accepting pauses with this one */
    bool paused;
    int64_t paused_us;
    int64_t ticked_us;
    pthread_mutex_t lock;
    struct map addresses; /* address -> struct address_count */
    struct epoll_event events[EVENTS];
};

struct address_count {
    int64_t connections;
};

/* ---- limits ------------------------------------------------------------------------ */

static const void *address_key(const struct sockaddr_storage *peer, size_t *size_bytes)
{
    if (peer->ss_family == AF_INET6) {
        *size_bytes = sizeof(struct in6_addr);
        return &((const struct sockaddr_in6 *)(const void *)peer)->sin6_addr;
    }
    *size_bytes = sizeof(struct in_addr);
    return &((const struct sockaddr_in *)(const void *)peer)->sin_addr;
}

/* How many connections this address has with one more (or less); -1: no memory. */
static int64_t address_add(struct acceptor *acceptor, const struct sockaddr_storage *peer, int by)
{
    size_t key_bytes;
    const void *key = address_key(peer, &key_bytes);
    int64_t now = -1;
    (void)pthread_mutex_lock(&acceptor->lock);
    struct address_count *entry = map_get(&acceptor->addresses, key, key_bytes);
    if (entry == NULL && by > 0) {
        entry = calloc(1, sizeof(*entry));
        if (entry != NULL && !map_put(&acceptor->addresses, key, key_bytes, entry, NULL)) {
            free(entry);
            entry = NULL;
        }
    }
    if (entry != NULL) {
        now = entry->connections += by;
        if (now == 0) {
            (void)map_remove(&acceptor->addresses, key, key_bytes);
            free(entry);
        }
    }
    (void)pthread_mutex_unlock(&acceptor->lock);
    return now;
}

static struct acceptor *acceptor_of(struct conn_home *home)
{
    struct acceptor *acceptor = home->acceptor;
    TAG_CHECK(acceptor, ACCEPTOR_TAG);
    return acceptor;
}

static void connection_gone(struct conn_home *home, const struct sockaddr_storage *peer)
{
    (void)address_add(acceptor_of(home), peer, -1);
    int64_t left = atomic_fetch_sub_explicit(&home->counters.connections, 1, memory_order_acq_rel) - 1;
    REQUIRE(left >= 0);
    if (atomic_load_explicit(&home->accept_paused, memory_order_acquire))
        conn_wake_acceptor(home);
}

/* Says why and closes. The socket has room for a line, and nobody waits for it. */
static void refuse(struct acceptor *acceptor, const struct conn_front *front, int fd, const char *line)
{
    uint8_t waste[1024];
    if (front->protocol->lines)
        (void)send(fd, line, strlen(line), MSG_DONTWAIT | MSG_NOSIGNAL);
    (void)shutdown(fd, SHUT_WR);
    while (recv(fd, waste, sizeof(waste), MSG_DONTWAIT) > 0)
        continue; /* what is left unread would become a reset */
    (void)close(fd);
    atomic_fetch_add_explicit(&acceptor->home->counters.refused, 1, memory_order_relaxed);
}

/* ---- accepting ----------------------------------------------------------------------- */

static void socket_options(const struct conn_home *home, int fd)
{
    int on = 1, idle_s = KEEPALIVE_IDLE_S, interval_s = KEEPALIVE_INTERVAL_S, probes = KEEPALIVE_COUNT;
    int64_t linger_us = home->config->worker_linger_us;
    struct timeval wait = {.tv_sec = linger_us / 1000000, .tv_usec = linger_us % 1000000};
    if (linger_us == 0)
        wait.tv_usec = 1; /* 0 would mean for ever */
    /* Failing here costs comfort, not correctness. */
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof(idle_s));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval_s, sizeof(interval_s));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof(probes));
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
}

static void welcome(struct acceptor *acceptor, const struct conn_front *front, int fd,
                    const struct sockaddr_storage *peer)
{
    struct conn_home *home = acceptor->home;
    int64_t max = atomic_load_explicit(&home->config->connections_max, memory_order_relaxed);
    int64_t address_max = atomic_load_explicit(&home->config->connections_per_address_max, memory_order_relaxed);
    char line[160];
    if (atomic_load_explicit(&home->counters.connections, memory_order_relaxed) >= max) {
        (void)snprintf(line, sizeof(line), "Error, too many connections: connections.max is %lld\n", (long long)max);
        SAY_WARNING("a connection was refused: there are %lld, as many as connections.max", (long long)max);
        refuse(acceptor, front, fd, line);
        return;
    }
    int64_t of_address = address_add(acceptor, peer, 1);
    if (address_max > 0 && of_address > address_max) {
        (void)address_add(acceptor, peer, -1);
        (void)snprintf(line, sizeof(line),
                       "Error, too many connections from your address: connections.per.address.max is %lld\n",
                       (long long)address_max);
        refuse(acceptor, front, fd, line);
        return;
    }
    socket_options(home, fd);
    if (conn_open(home, front, fd, peer, connection_gone) == NULL)
        (void)address_add(acceptor, peer, -1);
    else
        atomic_fetch_add_explicit(&home->counters.accepted, 1, memory_order_relaxed);
}

/* Lets the listeners be seen by epoll, or not. */
static void listeners_arm(struct acceptor *acceptor, bool on)
{
    for (size_t i = 0; i < acceptor->listener_count; i++) {
        struct epoll_event event = {.events = on ? EPOLLIN : 0, .data.ptr = &acceptor->listeners[i]};
        (void)epoll_ctl(acceptor->home->epoll_fd, EPOLL_CTL_MOD, acceptor->listeners[i].fd, &event);
    }
}

static void accept_pause(struct acceptor *acceptor, int error)
{
    SAY_WARNING("accepting pauses until a connection closes: %s (LimitNOFILE, ulimit -n; connections.max %lld)",
                strerror(error), (long long)atomic_load(&acceptor->home->config->connections_max));
    acceptor->paused = true;
    acceptor->paused_us = clock_mono_us();
    listeners_arm(acceptor, false);
    atomic_store_explicit(&acceptor->home->accept_paused, true, memory_order_release);
}

/* If there is a file for a client again. */
static void accept_resume(struct acceptor *acceptor)
{
    acceptor->paused_us = clock_mono_us();
    int fd = fcntl(acceptor->home->wake_fd, F_DUPFD_CLOEXEC, 0); /* the lowest free number */
    if (fd >= 0)
        (void)close(fd);
    if (fd < 0 || fd > acceptor->last_fd)
        return;
    acceptor->paused = false;
    atomic_store_explicit(&acceptor->home->accept_paused, false, memory_order_release);
    listeners_arm(acceptor, true);
}

static void accept_some(struct acceptor *acceptor, const struct listener *listener)
{
    for (int i = 0; i < ACCEPTS_A_TURN; i++) {
        struct sockaddr_storage peer;
        socklen_t peer_bytes = sizeof(peer);
        memset(&peer, 0, sizeof(peer));
        int fd = accept4(listener->fd, (struct sockaddr *)&peer, &peer_bytes, SOCK_CLOEXEC);
        if (fd >= 0) {
            welcome(acceptor, listener->front, fd, &peer);
            if (fd <= acceptor->last_fd)
                continue;
            accept_pause(acceptor, EMFILE);
            return;
        } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            accept_pause(acceptor, errno);
            return;
        } else if (errno != ECONNABORTED && errno != EINTR) {
            return;
        }
    }
}

/* ---- the thread ----------------------------------------------------------------------- */

static void check_deadlines(struct acceptor *acceptor, int64_t now_us)
{
    struct conn_home *home = acceptor->home;
    if (now_us - acceptor->ticked_us < (int64_t)ACCEPTOR_TICK_MS * 1000)
        return;
    acceptor->ticked_us = now_us;
    struct conn *batch[64];
    struct conn *at = NULL;
    /* Connections join at the front; those seen stay behind `at`, which is kept by its reference. */
    for (;;) {
        size_t count = 0;
        (void)pthread_mutex_lock(&home->lock);
        struct conn *conn = at == NULL ? home->watched : conn_next_watched(at);
        for (; conn != NULL && count < sizeof(batch) / sizeof(batch[0]); conn = conn_next_watched(conn))
            batch[count++] = conn_hold(conn);
        (void)pthread_mutex_unlock(&home->lock);
        if (at != NULL)
            conn_drop(at);
        at = NULL;
        for (size_t i = 0; i < count; i++) {
            bool stays = conn_check_deadlines(batch[i], now_us);
            if (stays && i + 1 == count && count == sizeof(batch) / sizeof(batch[0]))
                at = batch[i];
            else
                conn_drop(batch[i]);
        }
        if (at == NULL)
            return;
    }
}

static void collect_all(struct conn_home *home, struct conn ***all, size_t *count)
{
    *count = 0;
    (void)pthread_mutex_lock(&home->lock);
    size_t total = 0;
    for (struct conn *conn = home->all; conn != NULL; conn = conn_next(conn))
        total++;
    *all = malloc((total + 1) * sizeof(**all));
    for (struct conn *conn = home->all; conn != NULL && *all != NULL; conn = conn_next(conn))
        (*all)[(*count)++] = conn_hold(conn);
    (void)pthread_mutex_unlock(&home->lock);
}

static void for_all(struct conn_home *home, void (*what)(struct conn *conn))
{
    struct conn **all;
    size_t count;
    collect_all(home, &all, &count);
    for (size_t i = 0; i < count; i++) {
        what(all[i]);
        conn_drop(all[i]);
    }
    free(all);
}

static void stop_listening(struct acceptor *acceptor)
{
    for (size_t i = 0; i < acceptor->listener_count; i++)
        (void)close(acceptor->listeners[i].fd);
    acceptor->listener_count = 0;
    acceptor->closed = true;
    acceptor->paused = false;
    for_all(acceptor->home, conn_stop_reading);
}

static void look_around(struct acceptor *acceptor)
{
    struct conn_home *home = acceptor->home;
    uint64_t told;
    ssize_t got = read(home->wake_fd, &told, sizeof(told));
    (void)got;
    atomic_store_explicit(&home->woken, false, memory_order_release);
    conn_feed_starved(home);
    if (acceptor->paused)
        accept_resume(acceptor);
}

/* False: all connections are gone, or the time to wait for them is over. */
static bool acceptor_goes_on(struct acceptor *acceptor)
{
    int64_t stop_by_us = atomic_load_explicit(&acceptor->stop_by_us, memory_order_acquire);
    if (stop_by_us == 0)
        return true;
    if (!acceptor->closed)
        stop_listening(acceptor);
    struct conn_home *home = acceptor->home;
    (void)pthread_mutex_lock(&home->lock);
    bool none = home->all == NULL;
    (void)pthread_mutex_unlock(&home->lock);
    return !none && clock_mono_us() < stop_by_us;
}

static int acceptor_wait_ms(struct acceptor *acceptor)
{
    (void)pthread_mutex_lock(&acceptor->home->lock);
    bool watched = acceptor->home->watched != NULL;
    (void)pthread_mutex_unlock(&acceptor->home->lock);
    if (watched || acceptor->closed)
        return ACCEPTOR_TICK_MS;
    return acceptor->paused ? PAUSE_RETRY_US / 1000 : -1;
}

static void *acceptor_main(void *argument)
{
    struct acceptor *acceptor = argument;
    struct conn_home *home = acceptor->home;
    while (acceptor_goes_on(acceptor)) {
        int wait_ms = acceptor_wait_ms(acceptor);
        int ready = epoll_wait(home->epoll_fd, acceptor->events, EVENTS, wait_ms);
        atomic_fetch_add_explicit(&home->counters.polls, 1, memory_order_relaxed);
        for (int i = 0; i < ready; i++) {
            void *what = acceptor->events[i].data.ptr;
            struct listener *first = acceptor->listeners, *end = acceptor->listeners + ACCEPTOR_LISTENERS_MAX;
            if (what == acceptor)
                look_around(acceptor);
            else if ((struct listener *)what >= first && (struct listener *)what < end)
                accept_some(acceptor, what);
            else
                conn_event(what, acceptor->events[i].events);
        }
        conn_drop_dead(home);
        if (wait_ms >= 0) {
            int64_t now_us = clock_mono_us();
            check_deadlines(acceptor, now_us);
            if (acceptor->paused && now_us - acceptor->paused_us > PAUSE_RETRY_US)
                accept_resume(acceptor);
        }
    }
    /* Whatever is left ends now; the pool, which runs on, lets go of what it holds. */
    for (bool none = false; !none;) {
        for_all(home, conn_abort);
        conn_drop_dead(home);
        (void)pthread_mutex_lock(&home->lock);
        none = home->all == NULL;
        (void)pthread_mutex_unlock(&home->lock);
        if (!none)
            (void)epoll_wait(home->epoll_fd, acceptor->events, EVENTS, 1);
    }
    conn_drop_dead(home);
    conn_forget_starved(home);
    return NULL;
}

/* The number of the last file that a client may have. */
static int last_client_fd(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur > INT_MAX)
        return INT_MAX;
    int most = (int)limit.rlim_cur, spare = most / SPARE_FILES_PART;
    spare = spare < SPARE_FILES_MIN ? SPARE_FILES_MIN : spare;
    spare = spare > SPARE_FILES_MAX ? SPARE_FILES_MAX : spare;
    return most - spare;
}

/* ---- life ------------------------------------------------------------------------------ */

static int listen_on(const struct addrinfo *address, uint16_t port)
{
    struct sockaddr_storage at;
    memcpy(&at, address->ai_addr, address->ai_addrlen);
    if (at.ss_family == AF_INET6)
        ((struct sockaddr_in6 *)(void *)&at)->sin6_port = htons(port);
    else
        ((struct sockaddr_in *)(void *)&at)->sin_port = htons(port);
    int fd = socket(at.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -1;
    int on = 1;
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (at.ss_family == AF_INET6)
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
    if (bind(fd, (struct sockaddr *)&at, address->ai_addrlen) == 0 && listen(fd, BACKLOG) == 0)
        return fd;
    int error = errno;
    (void)close(fd);
    errno = error;
    return -1;
}

static uint16_t port_of(int fd)
{
    struct sockaddr_storage at;
    socklen_t at_bytes = sizeof(at);
    memset(&at, 0, sizeof(at));
    if (getsockname(fd, (struct sockaddr *)&at, &at_bytes) != 0)
        return 0;
    return ntohs(at.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)(void *)&at)->sin6_port
                                          : ((struct sockaddr_in *)(void *)&at)->sin_port);
}

/* Adds it to those that are polled; the descriptor is the acceptor's from now on. */
static bool listener_add(struct acceptor *acceptor, const struct conn_front *front, int fd)
{
    struct listener *listener = &acceptor->listeners[acceptor->listener_count++];
    *listener = (struct listener){.fd = fd, .front = front};
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = listener};
    return epoll_ctl(acceptor->home->epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0;
}

enum kq_err acceptor_listen(struct acceptor *acceptor, const struct conn_front *front, const char *host, uint16_t *port,
                            struct fault *fault)
{
    REQUIRE(!acceptor->started);
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    struct addrinfo *found = NULL;
    int failed = getaddrinfo(host, NULL, &hints, &found);
    if (failed != 0)
        return fault_set(fault, KQ_INVALID, "cannot listen on host %s: %s", host, gai_strerror(failed));
    enum kq_err err = KQ_OK;
    for (struct addrinfo *at = found; at != NULL && acceptor->listener_count < ACCEPTOR_LISTENERS_MAX;
         at = at->ai_next) {
        int fd = listen_on(at, *port);
        if (fd < 0 || !listener_add(acceptor, front, fd)) {
            err = fault_set(fault, err_from_errno(errno), "cannot listen on %s port %u: %s", host, (unsigned)*port,
                            strerror(errno));
            break;
        }
        if (*port == 0)
            *port = port_of(fd);
    }
    freeaddrinfo(found);
    return err;
}

static enum kq_err acceptor_poll(struct acceptor *acceptor, struct fault *fault)
{
    struct conn_home *home = acceptor->home;
    home->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    home->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = acceptor};
    bool ok = home->epoll_fd >= 0 && home->wake_fd >= 0 &&
              epoll_ctl(home->epoll_fd, EPOLL_CTL_ADD, home->wake_fd, &event) == 0;
    if (!ok)
        return fault_set(fault, err_from_errno(errno), "epoll cannot be set up: %s", strerror(errno));
    return KQ_OK;
}

enum kq_err acceptor_open(struct acceptor **out, struct conn_home *home, struct fault *fault)
{
    struct acceptor *acceptor = calloc(1, sizeof(*acceptor));
    if (acceptor == NULL)
        return fault_set(fault, KQ_NO_MEMORY, "no memory for the acceptor");
    acceptor->tag = ACCEPTOR_TAG;
    acceptor->home = home;
    acceptor->last_fd = last_client_fd();
    home->acceptor = acceptor;
    home->epoll_fd = home->wake_fd = -1;
    (void)pthread_mutex_init(&acceptor->lock, NULL);
    map_init(&acceptor->addresses);
    *out = acceptor;
    enum kq_err err = acceptor_poll(acceptor, fault);
    if (err != KQ_OK)
        acceptor_close(out);
    return err;
}

enum kq_err acceptor_start(struct acceptor *acceptor, size_t stack_bytes, struct fault *fault)
{
    enum kq_err err = thread_start(&acceptor->thread, "acceptor", stack_bytes, acceptor_main, acceptor, fault);
    if (err != KQ_OK)
        return err;
    acceptor->started = true;
    return KQ_OK;
}

void acceptor_stop(struct acceptor *acceptor, int64_t timeout_us)
{
    TAG_CHECK(acceptor, ACCEPTOR_TAG);
    if (!acceptor->started)
        return;
    atomic_store_explicit(&acceptor->home->stopping, true, memory_order_relaxed);
    atomic_store_explicit(&acceptor->stop_by_us, clock_mono_us() + timeout_us, memory_order_release);
    uint64_t one = 1;
    ssize_t written = write(acceptor->home->wake_fd, &one, sizeof(one));
    REQUIRE(written == (ssize_t)sizeof(one));
    (void)pthread_join(acceptor->thread, NULL);
    acceptor->started = false;
}

void acceptor_close(struct acceptor **out)
{
    struct acceptor *acceptor = *out;
    if (acceptor == NULL)
        return;
    TAG_CHECK(acceptor, ACCEPTOR_TAG);
    REQUIRE(!acceptor->started);
    for (size_t i = 0; i < acceptor->listener_count; i++)
        (void)close(acceptor->listeners[i].fd);
    if (acceptor->home->epoll_fd >= 0)
        (void)close(acceptor->home->epoll_fd);
    if (acceptor->home->wake_fd >= 0)
        (void)close(acceptor->home->wake_fd);
    REQUIRE(acceptor->addresses.count == 0);
    map_fini(&acceptor->addresses);
    (void)pthread_mutex_destroy(&acceptor->lock);
    acceptor->tag = TAG_DEAD;
    free(acceptor);
    *out = NULL;
}
