/* A worker's turn on a connection: read once, let the session take what is whole,
 * keep the rest, perhaps linger; see conn.c. */
#include "server/conn_internal.h"

#include "base/clock.h"
#include "base/require.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum {
    SHARE_READS = 16, /* reads of one connection before others that wait get their turn */
    COPY_PARTIAL_BYTES =
        4096, /* a partial line up to this is copied before the next read, a longer one grows in place */
    READ_STEP_BYTES = 64 * 1024,
};

/* Lock held. Notes how far input() came. */
static void conn_note_taken(struct conn *conn, const struct conn_taken *taken)
{
    conn->blocked = taken->blocked;
    if (taken->mid_line && (!conn->mid_line || taken->bytes > 0))
        conn->line_began_us = clock_mono_us();
    conn->mid_line = taken->mid_line;
    conn->whole_bytes = taken->mid_line ? taken->whole_bytes : 0;
}

/* Keeps what was not taken of bytes that are not the connection's own. */
static bool conn_keep(struct conn *conn, const uint8_t *data, size_t size_bytes)
{
    if (size_bytes == 0)
        return true;
    REQUIRE(conn->in == NULL);
    conn->in = malloc(size_bytes);
    if (conn->in == NULL)
        return false;
    memcpy(conn->in, data, size_bytes);
    conn->in_off = 0;
    conn->in_len = conn->in_cap = size_bytes;
    return true;
}

static void conn_forget_input(struct conn *conn)
{
    free(conn->in);
    conn->in = NULL;
    conn->in_off = conn->in_len = conn->in_cap = 0;
}

/* Gives the session what the connection has kept. */
static void conn_feed_kept(struct conn *conn, struct worker *worker)
{
    struct conn_taken taken = {.may_keep = conn->in_off == 0};
    conn->front->protocol->input(conn->session, conn->in + conn->in_off, conn->in_len, worker, &taken);
    REQUIRE(taken.bytes <= conn->in_len);
    conn->in_off += taken.bytes;
    conn->in_len -= taken.bytes;
    REQUIRE(!taken.kept || (taken.may_keep && conn->in_len == 0));
    conn_lock(conn);
    if (taken.kept)
        conn->in = NULL;
    if (conn->in_len == 0)
        conn_forget_input(conn);
    conn_note_taken(conn, &taken);
    conn_account_input(conn);
}

/* Gives the session bytes in the worker's buffer, which begin with what was kept. */
static void conn_feed_buffer(struct conn *conn, struct worker *worker, size_t size_bytes)
{
    struct conn_taken taken = {0};
    conn->front->protocol->input(conn->session, worker->buffer, size_bytes, worker, &taken);
    REQUIRE(taken.bytes <= size_bytes);
    conn_lock(conn);
    if (!conn_keep(conn, worker->buffer + taken.bytes, size_bytes - taken.bytes))
        conn->doomed = true;
    conn_note_taken(conn, &taken);
    conn_account_input(conn);
}

enum receive { RECEIVE_SOME, RECEIVE_FULL, RECEIVE_NONE };

/* Makes room behind the command that has begun; how much. One whose length is known gets
 * no more than that, so that it ends where its memory does. */
static size_t conn_grow(struct conn *conn)
{
    if (conn->in_off > 0)
        memmove(conn->in, conn->in + conn->in_off, conn->in_len);
    conn->in_off = 0;
    size_t cap = conn->in_cap, whole = conn->whole_bytes;
    if (cap - conn->in_len < READ_STEP_BYTES / 2)
        cap = conn->in_len * 2 + READ_STEP_BYTES;
    if (whole > conn->in_len && cap > whole)
        cap = whole;
    uint8_t *other = cap == conn->in_cap ? conn->in : realloc(conn->in, cap);
    if (other != NULL) {
        conn->in = other;
        conn->in_cap = cap;
    }
    return conn->in_cap - conn->in_len;
}

/* One recv(2) and what follows from it. Called without the lock, returns with
 * it. The command that has begun stays in front of what comes: a short one is
 * copied into the worker's buffer, a long one grows in place. */
static enum receive conn_receive(struct conn *conn, struct worker *worker, bool linger)
{
    bool grow = conn->in_len > COPY_PARTIAL_BYTES || conn->whole_bytes > WORKER_BUFFER_BYTES;
    size_t room = grow ? conn_grow(conn) : WORKER_BUFFER_BYTES - conn->in_len;
    uint8_t *into = (grow ? conn->in : worker->buffer) + conn->in_len;
    ssize_t got = room == 0 ? -1 : recv(conn->fd, into, room, linger ? 0 : MSG_DONTWAIT);
    int error = room == 0 ? ENOMEM : errno;
    if (linger)
        pool_linger_end(worker->pool);
    conn_count(&conn->home->counters.reads, 1);
    if (got <= 0) {
        if (got == 0)
            conn->front->protocol->hangup(conn->session);
        conn_lock(conn);
        if (got == 0) {
            conn->eof = true;
            if (conn->mid_line && !conn->ending)
                conn->front->protocol->cut(conn->session);
            conn->mid_line = false;
        } else if (error != EAGAIN && error != EWOULDBLOCK && error != EINTR)
            conn->doomed = conn->peer_gone = true;
        return RECEIVE_NONE;
    }
    conn_count(&conn->home->counters.read_bytes, (uint64_t)got);
    if (grow) {
        conn->in_len += (size_t)got;
        conn_feed_kept(conn, worker);
    } else {
        size_t kept = conn->in_len;
        memcpy(worker->buffer, conn->in == NULL ? worker->buffer : conn->in + conn->in_off, kept);
        conn_forget_input(conn);
        conn_feed_buffer(conn, worker, kept + (size_t)got);
    }
    return (size_t)got == room ? RECEIVE_FULL : RECEIVE_SOME;
}

/* Lock held. May a worker read the socket now? */
static bool conn_may_read(struct conn *conn)
{
    return !conn->eof && !conn->ending && !conn->doomed && conn->out.pending_bytes <= CONN_OUTPUT_HIGH_BYTES &&
           conn->front->protocol->ready(conn->session) && !conn_starves(conn);
}

/* Lock held. Not on a line that drips in, nor when something else than the
 * socket may bring work. */
static bool conn_may_linger(struct conn *conn)
{
    int64_t linger_us = conn->home->config->worker_linger_us;
    if (linger_us == 0 || !conn->front->protocol->may_linger(conn->session))
        return false;
    return !conn->mid_line || clock_mono_us() - conn->line_began_us < linger_us;
}

/* Lock held, let go and taken again. One thing that can be done for the
 * connection; false: there is nothing. */
static bool conn_step(struct conn *conn, struct worker *worker, enum receive *last)
{
    const struct conn_protocol *protocol = conn->front->protocol;
    conn_flush(conn);
    if (conn->doomed)
        return false;
    bool worked = protocol->has_work(conn->session, conn->out.pending_bytes);
    if (worked) {
        conn_unlock(conn);
        protocol->work(conn->session, worker);
        conn_lock(conn);
    }
    bool ready = !conn->ending && conn->out.pending_bytes <= CONN_OUTPUT_HIGH_BYTES && protocol->ready(conn->session) &&
                 !conn_starves(conn);
    if (ready && conn->in_len > 0 && conn->blocked) {
        conn_unlock(conn);
        conn_feed_kept(conn, worker);
        return true;
    }
    if (!conn_may_read(conn))
        return worked;
    bool linger = !worked && *last == RECEIVE_SOME && conn_may_linger(conn) && pool_linger_begin(worker->pool);
    if (*last == RECEIVE_SOME && !linger && !worked)
        return false; /* the socket was empty then; epoll tells when it is not */
    conn_unlock(conn);
    *last = conn_receive(conn, worker, linger);
    return worked || *last != RECEIVE_NONE || conn->eof;
}

void conn_serve(struct pool_job *job, struct worker *worker)
{
    struct conn *conn = CONTAINER_OF(job, struct conn, serve_job);
    enum receive last = RECEIVE_FULL;
    conn_lock(conn);
    REQUIRE(conn->state == CONN_QUEUED);
    conn->state = CONN_HELD;
    for (int steps = 1; worker->buffer != NULL; steps++) {
        if (!conn_step(conn, worker, &last))
            break;
        if (conn->mid_line && conn_line_is_late(conn, clock_mono_us()))
            break;
        if (steps >= SHARE_READS && pool_pressed(worker->pool))
            break;
    }
    conn_flush(conn);
    if (worker->buffer == NULL)
        conn->doomed = true; /* no memory to read into */
    conn->state = CONN_PARKED;
    conn_place(conn);
    conn_unlock(conn);
    conn_drop(conn);
}
