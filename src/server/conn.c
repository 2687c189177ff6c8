/*
 * The states of a connection, and who may move them. Always under its lock.
 *
 *   IDLE     armed for input at the acceptor; no worker knows it.
 *   PARKED   nobody reads it: its session waits for answers, memory, or for its
 *            output to drain (then it is armed for writability).
 *   QUEUED   in the pool's queue, with a reference.
 *   HELD     one worker runs it (and may linger on its socket).
 *   CLOSING  all is sent and the sending side shut; input is thrown away by the
 *            acceptor until the client closes too, so that no reset overtakes
 *            the last reply.
 *   DEAD     out of epoll; the socket closes with the last reference, so that no
 *            thread ever sends to a number that is somebody else's by then.
 *
 *   IDLE, PARKED -> IDLE, PARKED, QUEUED, CLOSING, DEAD   conn_place(), by
 *            whoever changed what it decides by: the acceptor (an event, a
 *            deadline), a completion (conn_answered), a worker that lets go.
 *   QUEUED -> HELD       the worker that took the job.
 *   HELD -> PARKED       that worker, followed by conn_place().
 *   CLOSING -> DEAD      the acceptor.
 * Whoever finds QUEUED or HELD leaves what it wants in a flag (doomed, ending,
 * eof); the worker looks at them before it lets go. So there is at most one
 * worker, and no change is lost: it is made under the lock, and the worker's last
 * look is under the lock too.
 *
 * Sending: any thread may, one at a time (`sending`); it lets the lock go for the
 * system call. Others append meanwhile, and the sender looks again before it
 * clears the flag. EPOLLONESHOT arms input only in IDLE, writability only while
 * something waits, and the client's end (EPOLLRDHUP) only while a request waits for
 * something else, so that who is gone holds neither; a worker's linger is a blocking recv(2) bounded by
 * SO_RCVTIMEO.
 */
#include "server/conn_internal.h"

#include "base/clock.h"
#include "base/require.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- life -------------------------------------------------------------------------- */

void conn_home_init(struct conn_home *home)
{
    (void)pthread_mutex_init(&home->lock, NULL);
    account_init(&home->memory, home->config->memory_max_bytes);
    home->last_starved = &home->starved;
}

void conn_home_fini(struct conn_home *home)
{
    REQUIRE(home->all == NULL);
    REQUIRE(home->dead == NULL);
    REQUIRE(home->starved == NULL);
    REQUIRE(home->privileged == NULL);
    (void)pthread_mutex_destroy(&home->lock);
}

struct conn *conn_open(struct conn_home *home, const struct conn_front *front, int fd,
                       const struct sockaddr_storage *peer,
                       void (*gone)(struct conn_home *home, const struct sockaddr_storage *peer))
{
    struct conn *conn = calloc(1, sizeof(*conn) + front->protocol->session_bytes);
    if (conn == NULL) {
        (void)close(fd);
        return NULL;
    }
    conn->tag = CONN_TAG;
    atomic_init(&conn->refs, 1);
    conn->fd = fd;
    conn->home = home;
    conn->front = front;
    conn->gone = gone;
    conn->peer = *peer;
    conn->state = CONN_PARKED;
    conn->serve_job.run = conn_serve;
    conn->flush_job.run = conn_flush_job;
    (void)pthread_mutex_init(&conn->lock, NULL);
    front->protocol->open(conn->session, conn);
    (void)pthread_mutex_lock(&home->lock);
    conn->next = home->all;
    if (conn->next != NULL)
        conn->next->prev = conn;
    home->all = conn;
    (void)pthread_mutex_unlock(&home->lock);
    atomic_fetch_add_explicit(&home->counters.connections, 1, memory_order_relaxed);
    struct epoll_event event = {.events = EPOLLONESHOT, .data.ptr = conn};
    conn_lock(conn);
    if (epoll_ctl(home->epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0)
        conn->doomed = true;
    conn_place(conn);
    conn_unlock(conn);
    return conn;
}

struct conn *conn_hold(struct conn *conn)
{
    TAG_CHECK(conn, CONN_TAG);
    atomic_fetch_add_explicit(&conn->refs, 1, memory_order_relaxed);
    return conn;
}

void conn_drop(struct conn *conn)
{
    TAG_CHECK(conn, CONN_TAG);
    if (atomic_fetch_sub_explicit(&conn->refs, 1, memory_order_acq_rel) != 1)
        return;
    REQUIRE(conn->state == CONN_DEAD);
    REQUIRE(!conn->watched);
    REQUIRE(conn->accounted_in_bytes + conn->accounted_out_bytes == 0);
    struct conn_home *home = conn->home;
    conn->front->protocol->fini(conn->session);
    (void)close(conn->fd);
    struct sockaddr_storage peer = conn->peer;
    void (*gone)(struct conn_home *, const struct sockaddr_storage *) = conn->gone;
    (void)pthread_mutex_destroy(&conn->lock);
    conn->tag = TAG_DEAD;
    free(conn);
    gone(home, &peer);
}

void conn_lock(struct conn *conn)
{
    TAG_CHECK(conn, CONN_TAG);
    (void)pthread_mutex_lock(&conn->lock);
}

void conn_unlock(struct conn *conn)
{
    (void)pthread_mutex_unlock(&conn->lock);
}

struct conn_home *conn_home_of(struct conn *conn)
{
    return conn->home;
}

void *conn_context(struct conn *conn)
{
    return conn->front->context;
}

int conn_fd(const struct conn *conn)
{
    return conn->fd;
}

void *conn_session(struct conn *conn)
{
    return conn->session;
}

struct conn *conn_next(const struct conn *conn)
{
    return conn->next;
}

struct conn *conn_next_watched(const struct conn *conn)
{
    return conn->next_watched;
}

/* The acceptor. */
static void conn_cancel(struct conn *conn)
{
    if (conn->cancelled)
        return;
    conn->cancelled = true;
    conn->front->protocol->cancel(conn->session);
}

/* Lock held; nobody holds the connection and it is not queued. The registry's
 * reference is dropped by the acceptor when it has looked at all the events it
 * has fetched: one of them may name this connection. */
void conn_bury(struct conn *conn)
{
    struct conn_home *home = conn->home;
    if (conn->state == CONN_DEAD)
        return;
    conn->state = CONN_DEAD;
    (void)epoll_ctl(home->epoll_fd, EPOLL_CTL_DEL, conn->fd, NULL);
    (void)shutdown(conn->fd, SHUT_RDWR);
    if (!conn->sending)
        output_clear(&conn->out);
    free(conn->in);
    conn->in = NULL;
    conn->in_off = conn->in_len = conn->in_cap = 0;
    conn_account_input(conn);
    conn_account(conn);
    if (conn->watched)
        conn_unwatch(conn);
    conn_unprivilege(conn);
    (void)pthread_mutex_lock(&home->lock);
    if (conn->prev != NULL)
        conn->prev->next = conn->next;
    else
        home->all = conn->next;
    if (conn->next != NULL)
        conn->next->prev = conn->prev;
    conn->next = home->dead;
    home->dead = conn;
    (void)pthread_mutex_unlock(&home->lock);
    conn_wake_acceptor(home);
}

void conn_drop_dead(struct conn_home *home)
{
    (void)pthread_mutex_lock(&home->lock);
    struct conn *conn = home->dead;
    home->dead = NULL;
    (void)pthread_mutex_unlock(&home->lock);
    while (conn != NULL) {
        struct conn *next = conn->next;
        conn_cancel(conn);
        conn_drop(conn);
        conn = next;
    }
}

/* ---- who is next ----------------------------------------------------------------------- */

/* Lock held. All is delivered. */
static void conn_close(struct conn *conn)
{
    int unread = 0;
    bool stopping = atomic_load_explicit(&conn->home->stopping, memory_order_relaxed);
    if (conn->eof && stopping && ioctl(conn->fd, FIONREAD, &unread) != 0)
        unread = 0;
    if (conn->peer_gone || (conn->eof && unread == 0)) {
        conn_bury(conn); /* nothing is left unread, so no reset will follow */
        return;
    }
    (void)shutdown(conn->fd, SHUT_WR);
    conn->state = CONN_CLOSING;
    conn->closing_us = clock_mono_us();
    conn_watch(conn);
    conn_arm(conn);
}

/* Lock held. See the head of the file. */
void conn_place(struct conn *conn)
{
    if (conn->state != CONN_IDLE && conn->state != CONN_PARKED)
        return;
    const struct conn_protocol *protocol = conn->front->protocol;
    size_t output_bytes = conn->out.pending_bytes;
    if (conn->doomed) {
        conn_bury(conn);
        return;
    }
    if (!conn->mid_line && protocol->settled(conn->session))
        conn_unprivilege(conn);
    bool ready = protocol->ready(conn->session) && output_bytes <= CONN_OUTPUT_HIGH_BYTES && !conn->ending;
    bool starves = ready && conn_starves(conn) && conn_starve(conn);
    bool input = conn->in_len > 0 && conn->blocked;
    if (protocol->has_work(conn->session, output_bytes) || (ready && !starves && input)) {
        conn->state = CONN_QUEUED;
        pool_post(conn->home->pool, &conn_hold(conn)->serve_job);
        return;
    }
    bool no_more = conn->ending || (conn->eof && !input);
    if (no_more && output_bytes == 0 && !conn->sending && protocol->settled(conn->session)) {
        conn_close(conn);
        return;
    }
    conn->state = ready && !starves && !conn->eof ? CONN_IDLE : CONN_PARKED;
    if (conn->mid_line)
        conn_watch(conn);
    conn_arm(conn);
}

/* Lock held, let go and taken again. Nobody will ask for more: what waits for long ends. */
static void conn_hung_up(struct conn *conn)
{
    conn->hung_up = true;
    conn_unlock(conn);
    conn->front->protocol->hangup(conn->session);
    conn_lock(conn);
}

void conn_event(struct conn *conn, uint32_t events)
{
    conn_lock(conn);
    conn->armed = 0;
    if (conn->state == CONN_CLOSING) {
        uint8_t waste[16 * 1024];
        ssize_t got = recv(conn->fd, waste, sizeof(waste), MSG_DONTWAIT);
        if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR))
            conn_bury(conn);
        else
            conn_arm(conn);
    } else if ((events & (EPOLLERR | EPOLLHUP)) != 0 && (events & EPOLLIN) == 0) {
        conn->doomed = conn->peer_gone = true;
        conn_place(conn);
    } else if (conn->state == CONN_IDLE && (events & EPOLLIN) != 0) {
        conn->state = CONN_QUEUED;
        pool_post(conn->home->pool, &conn_hold(conn)->serve_job);
    } else if ((conn->state == CONN_IDLE || conn->state == CONN_PARKED) && conn->out.pending_bytes > 0) {
        conn->state = CONN_QUEUED; /* a worker sends, and goes on with what waited for room */
        pool_post(conn->home->pool, &conn_hold(conn)->serve_job);
    } else {
        if (conn->state == CONN_PARKED && (events & EPOLLRDHUP) != 0)
            conn_hung_up(conn);
        conn_flush(conn);
        conn_place(conn);
    }
    conn_unlock(conn);
}

void conn_stop_reading(struct conn *conn)
{
    conn_cancel(conn);
    conn_lock(conn);
    conn->eof = true;
    if (conn->state == CONN_HELD)
        (void)shutdown(conn->fd, SHUT_RD); /* ends a linger */
    conn_flush(conn);
    conn_place(conn);
    conn_unlock(conn);
}

void conn_abort(struct conn *conn)
{
    conn_lock(conn);
    conn->doomed = conn->peer_gone = true;
    (void)shutdown(conn->fd, SHUT_RDWR);
    if (conn->state == CONN_CLOSING)
        conn_bury(conn);
    conn_place(conn);
    conn_unlock(conn);
}
