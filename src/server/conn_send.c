/* A connection's output: any thread may send, one at a time; see conn.c. */
#include "server/conn_internal.h"

#include "base/clock.h"
#include "base/require.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>

enum {
    SEND_PIECES = 16,
    DONE_SENDS = 4,             /* direct sends by completions of one thread ... */
    DONE_SENDS_WINDOW_US = 200, /* ... in this time; a turn of an actor is about that long */
};

/* Lock held. */
void conn_arm(struct conn *conn)
{
    if (conn->state == CONN_DEAD)
        return;
    uint32_t wanted = conn->state == CONN_IDLE || conn->state == CONN_CLOSING ? EPOLLIN : 0;
    if (conn->out.pending_bytes > 0 && !conn->sending && !conn->flush_queued)
        wanted |= EPOLLOUT;
    const struct conn_protocol *protocol = conn->front->protocol;
    if (conn->state == CONN_PARKED && !conn->eof && !conn->hung_up && protocol->waits != NULL &&
        protocol->waits(conn->session))
        wanted |= EPOLLRDHUP;
    if ((wanted & ~conn->armed) == 0)
        return; /* an event too many does no harm */
    struct epoll_event event = {.events = wanted | EPOLLONESHOT, .data.ptr = conn};
    conn_count(&conn->home->counters.polls, 1);
    if (epoll_ctl(conn->home->epoll_fd, EPOLL_CTL_MOD, conn->fd, &event) != 0)
        conn->doomed = true;
    conn->armed = wanted;
}

/* Lock held. What went out, or the end of it. */
static void conn_sent(struct conn *conn, ssize_t sent, int error)
{
    if (sent > 0) {
        output_sent(&conn->out, (size_t)sent);
        conn->sent_bytes += (uint64_t)sent;
        conn_count(&conn->home->counters.sent_bytes, (uint64_t)sent);
    } else if (error != EAGAIN && error != EWOULDBLOCK && error != EINTR) {
        conn->doomed = true;
        conn->peer_gone = true;
    }
    if (conn->state == CONN_DEAD || conn->peer_gone)
        output_clear(&conn->out);
    conn_account(conn);
    if (conn->out.pending_bytes == 0) {
        conn->output_began_us = 0;
    } else if (conn->output_began_us == 0) {
        conn->output_began_us = conn->drain_since_us = clock_mono_us();
        conn->drained_bytes = 0;
    }
}

/* Lock held, let go and taken again. Returns when all is sent, or the socket is
 * full, or somebody else is at it. */
void conn_send(struct conn *conn)
{
    if (conn->sending)
        return;
    conn->sending = true;
    while (conn->out.pending_bytes > 0 && !conn->peer_gone && conn->state != CONN_DEAD) {
        struct iovec pieces[SEND_PIECES];
        struct msghdr message = {.msg_iov = pieces};
        message.msg_iovlen = (size_t)output_front(&conn->out, pieces, SEND_PIECES);
        size_t offered = 0;
        for (size_t i = 0; i < message.msg_iovlen; i++)
            offered += pieces[i].iov_len;
        conn_unlock(conn);
        ssize_t sent = sendmsg(conn->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
        int error = errno;
        conn_count(&conn->home->counters.sends, 1);
        conn_lock(conn);
        conn_sent(conn, sent, error);
        if (sent < (ssize_t)offered && !(sent < 0 && error == EINTR))
            break;
    }
    conn->sending = false;
    if (conn->state == CONN_DEAD)
        output_clear(&conn->out);
    conn_account(conn);
    if (conn->out.pending_bytes > 0)
        conn_watch(conn);
    conn_arm(conn);
}

void conn_flush(struct conn *conn)
{
    if (conn->out.pending_bytes > 0)
        conn_send(conn);
}

void conn_flush_job(struct pool_job *job, struct worker *worker)
{
    (void)worker;
    struct conn *conn = CONTAINER_OF(job, struct conn, flush_job);
    conn_lock(conn);
    conn->flush_queued = false;
    conn_flush(conn);
    conn_place(conn);
    conn_unlock(conn);
    conn_drop(conn);
}

/* A completion runs on the turn of an actor that others wait for: the first few
 * answers of a turn are sent right there, which saves a wake-up, the others by
 * the pool. */
static bool conn_may_send_here(void)
{
    static _Thread_local int64_t window_us;
    static _Thread_local int sends;
    int64_t now_us = clock_mono_us();
    if (now_us - window_us > DONE_SENDS_WINDOW_US) {
        window_us = now_us;
        sends = 0;
    }
    return ++sends <= DONE_SENDS;
}

void conn_answered(struct conn *conn)
{
    if (conn->state == CONN_DEAD)
        return;
    if (conn->out.pending_bytes > 0 && !conn->sending && !conn->flush_queued && conn->output_began_us == 0) {
        if (conn_may_send_here()) {
            conn_send(conn);
        } else {
            conn->flush_queued = true;
            pool_post(conn->home->pool, &conn_hold(conn)->flush_job);
        }
    }
    conn_place(conn);
}

static void conn_lost(struct conn *conn, bool kept)
{
    if (!kept)
        conn->doomed = true; /* a gap in the replies would be worse than the end */
    conn_account(conn);
}

void conn_put(struct conn *conn, const void *data, size_t size_bytes)
{
    if (conn->state != CONN_DEAD && !conn->peer_gone)
        conn_lost(conn, output_put(&conn->out, data, size_bytes));
}

void conn_put_repeated(struct conn *conn, const char *text, size_t text_bytes, size_t times)
{
    if (conn->state != CONN_DEAD && !conn->peer_gone)
        conn_lost(conn, output_repeat(&conn->out, text, text_bytes, times));
}

void conn_give(struct conn *conn, uint8_t *data, size_t size_bytes)
{
    if (conn->state != CONN_DEAD && !conn->peer_gone)
        conn_lost(conn, output_give(&conn->out, data, size_bytes));
    else
        free(data);
}

void conn_lend(struct conn *conn, const uint8_t *data, size_t size_bytes, void (*release)(void *keeper), void *keeper)
{
    if (conn->state != CONN_DEAD && !conn->peer_gone)
        conn_lost(conn, output_lend(&conn->out, data, size_bytes, release, keeper));
    else
        release(keeper);
}

void conn_send_through(struct conn *conn, const uint8_t *data, size_t size_bytes)
{
    size_t sent = 0;
    if (conn->out.pending_bytes == 0 && !conn->sending && !conn->peer_gone && conn->state != CONN_DEAD) {
        conn->sending = true;
        conn_unlock(conn);
        ssize_t went = send(conn->fd, data, size_bytes, MSG_DONTWAIT | MSG_NOSIGNAL);
        conn_count(&conn->home->counters.sends, 1);
        conn_lock(conn);
        conn->sending = false;
        sent = went > 0 ? (size_t)went : 0; /* an error shows again when the rest is sent */
        conn->sent_bytes += sent;
        conn_count(&conn->home->counters.sent_bytes, sent);
    }
    if (sent < size_bytes)
        conn_put(conn, data + sent, size_bytes - sent);
    conn_flush(conn);
}

size_t conn_output_bytes(const struct conn *conn)
{
    return conn->out.pending_bytes;
}

void conn_end(struct conn *conn)
{
    conn->ending = true;
}

bool conn_ending(const struct conn *conn)
{
    return conn->ending || conn->doomed || conn->state == CONN_DEAD || conn->state == CONN_CLOSING;
}

bool conn_is_dead(const struct conn *conn)
{
    return conn->state == CONN_DEAD;
}

void conn_reply_began(struct conn *conn)
{
    conn->reply_began_us = clock_mono_us();
    if (conn->state != CONN_DEAD)
        conn_watch(conn);
}

void conn_reply_ended(struct conn *conn)
{
    conn->reply_began_us = 0;
}
