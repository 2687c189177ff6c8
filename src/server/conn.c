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
 * clears the flag. EPOLLONESHOT arms input only in IDLE and writability only
 * while something waits; a worker's linger is a blocking recv(2) bounded by
 * SO_RCVTIMEO.
 */
#include "server/conn.h"

#include "base/clock.h"
#include "base/logger.h"
#include "base/require.h"

#include <errno.h>
#include <linux/sockios.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    CONN_TAG = 0x636f6e6e,
    SEND_PIECES = 16,
    SHARE_READS = 16, /* reads of one connection before others that wait get their turn */
    COPY_PARTIAL_BYTES =
        4096, /* a partial line up to this is copied before the next read, a longer one grows in place */
    READ_STEP_BYTES = 64 * 1024,
    DONE_SENDS = 4,             /* direct sends by completions of one thread ... */
    DONE_SENDS_WINDOW_US = 200, /* ... in this time; a turn of an actor is about that long */
};

enum conn_state { CONN_IDLE, CONN_PARKED, CONN_QUEUED, CONN_HELD, CONN_CLOSING, CONN_DEAD };

struct conn {
    uint32_t tag;
    _Atomic uint32_t refs;
    int fd;
    struct conn_home *home;
    void (*gone)(struct conn_home *home, const struct sockaddr_storage *peer);
    pthread_mutex_t lock;

    enum conn_state state;
    uint32_t armed; /* epoll events; 0: disarmed */
    bool eof;       /* no more is read */
    bool ending;    /* no more is understood */
    bool doomed;    /* closes now, output or not */
    bool peer_gone; /* nothing can be delivered */
    bool sending;
    bool mid_line;
    bool blocked; /* input waits for the session, not for bytes */
    bool flush_queued;
    bool starved;
    bool watched;
    bool cancelled; /* the acceptor's */

    uint8_t *in; /* what the session left; NULL when nothing */
    size_t in_off;
    size_t in_len; /* after in_off */
    size_t in_cap;
    struct output out;
    int64_t accounted_in_bytes; /* as of the last time the account was told */
    int64_t accounted_out_bytes;

    int64_t line_began_us;
    int64_t output_began_us; /* something waits since then */
    int64_t reply_began_us;  /* 0: no long reply under way */
    int64_t drain_since_us;
    int64_t closing_us;
    uint64_t sent_bytes;
    uint64_t drained_bytes; /* as of drain_since_us */

    struct pool_job serve_job;
    struct pool_job flush_job;
    struct conn *next, *prev; /* home->all */
    struct conn *next_watched, *prev_watched;
    struct conn *next_starved;
    struct sockaddr_storage peer;
    max_align_t session[];
};

static void conn_place(struct conn *conn);
static void conn_serve(struct pool_job *job, struct worker *worker);
static void conn_flush_job(struct pool_job *job, struct worker *worker);

static void count(_Atomic uint64_t *counter, uint64_t by)
{
    atomic_fetch_add_explicit(counter, by, memory_order_relaxed);
}

/* ---- memory ------------------------------------------------------------------------ */

void conn_memory_take(struct conn_home *home, int64_t bytes)
{
    (void)atomic_fetch_add_explicit(&home->memory.used_bytes, bytes, memory_order_relaxed);
}

bool conn_memory_over(const struct conn_home *home)
{
    return account_used(&home->memory) > home->memory.limit_bytes;
}

void conn_memory_give(struct conn_home *home, int64_t bytes)
{
    int64_t left = account_give(&home->memory, bytes);
    /* Adding nothing orders this with conn_starve's addition: either it sees what
     * was given, or this sees that somebody waits for it. */
    if (left <= home->memory.limit_bytes &&
        atomic_fetch_add_explicit(&home->starved_count, 0, memory_order_acq_rel) > 0)
        conn_wake_acceptor(home);
}

static void conn_account_change(struct conn *conn, int64_t *accounted, size_t held_bytes)
{
    int64_t more = (int64_t)held_bytes - *accounted;
    *accounted = (int64_t)held_bytes;
    if (more > 0)
        conn_memory_take(conn->home, more);
    else if (more < 0)
        conn_memory_give(conn->home, -more);
}

/* Lock held. */
static void conn_account(struct conn *conn)
{
    conn_account_change(conn, &conn->accounted_out_bytes, conn->out.held_bytes);
}

/* Whoever has the input: the worker, or under the lock when there is none. */
static void conn_account_input(struct conn *conn)
{
    conn_account_change(conn, &conn->accounted_in_bytes, conn->in_cap);
}

/* Lock held. False: there is memory after all. */
static bool conn_starve(struct conn *conn)
{
    struct conn_home *home = conn->home;
    bool fresh = !conn->starved;
    if (fresh) {
        conn->starved = true;
        (void)pthread_mutex_lock(&home->lock);
        conn->next_starved = home->starved;
        home->starved = conn_hold(conn);
        (void)pthread_mutex_unlock(&home->lock);
    }
    atomic_fetch_add_explicit(&home->starved_count, fresh ? 1 : 0, memory_order_acq_rel);
    return conn_memory_over(home);
}

struct conn *conn_take_starved(struct conn_home *home)
{
    (void)pthread_mutex_lock(&home->lock);
    struct conn *conn = home->starved;
    if (conn != NULL) {
        home->starved = conn->next_starved;
        atomic_fetch_sub_explicit(&home->starved_count, 1, memory_order_relaxed);
    }
    (void)pthread_mutex_unlock(&home->lock);
    return conn;
}

void conn_unstarve(struct conn *conn)
{
    conn_lock(conn);
    conn->starved = false;
    conn_place(conn);
    conn_unlock(conn);
}

void conn_wake_acceptor(struct conn_home *home)
{
    if (atomic_exchange_explicit(&home->woken, true, memory_order_acq_rel))
        return;
    uint64_t one = 1;
    ssize_t written = write(home->wake_fd, &one, sizeof(one));
    REQUIRE(written == (ssize_t)sizeof(one));
    count(home->handoffs, 1);
}

/* ---- life -------------------------------------------------------------------------- */

struct conn *conn_open(struct conn_home *home, int fd, const struct sockaddr_storage *peer,
                       void (*gone)(struct conn_home *home, const struct sockaddr_storage *peer))
{
    struct conn *conn = calloc(1, sizeof(*conn) + home->protocol->session_bytes);
    if (conn == NULL) {
        (void)close(fd);
        return NULL;
    }
    conn->tag = CONN_TAG;
    atomic_init(&conn->refs, 1);
    conn->fd = fd;
    conn->home = home;
    conn->gone = gone;
    conn->peer = *peer;
    conn->state = CONN_PARKED;
    conn->serve_job.run = conn_serve;
    conn->flush_job.run = conn_flush_job;
    (void)pthread_mutex_init(&conn->lock, NULL);
    home->protocol->open(conn->session, conn);
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
    home->protocol->fini(conn->session);
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
    conn->home->protocol->cancel(conn->session);
}

/* Lock held. So that the acceptor looks at its deadlines now and then. */
static void conn_watch(struct conn *conn)
{
    if (conn->watched)
        return;
    struct conn_home *home = conn->home;
    conn->watched = true;
    (void)pthread_mutex_lock(&home->lock);
    bool first = home->watched == NULL;
    conn->prev_watched = NULL;
    conn->next_watched = home->watched;
    if (conn->next_watched != NULL)
        conn->next_watched->prev_watched = conn;
    home->watched = conn;
    (void)pthread_mutex_unlock(&home->lock);
    if (first)
        conn_wake_acceptor(home);
}

/* Lock held. */
static void conn_unwatch(struct conn *conn)
{
    struct conn_home *home = conn->home;
    (void)pthread_mutex_lock(&home->lock);
    if (conn->prev_watched != NULL)
        conn->prev_watched->next_watched = conn->next_watched;
    else
        home->watched = conn->next_watched;
    if (conn->next_watched != NULL)
        conn->next_watched->prev_watched = conn->prev_watched;
    conn->next_watched = conn->prev_watched = NULL;
    conn->watched = false;
    (void)pthread_mutex_unlock(&home->lock);
}

/* Lock held; nobody holds the connection and it is not queued. The registry's
 * reference is dropped by the acceptor when it has looked at all the events it
 * has fetched: one of them may name this connection. */
static void conn_bury(struct conn *conn)
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

/* ---- sending ------------------------------------------------------------------------- */

/* Lock held. */
static void conn_arm(struct conn *conn)
{
    if (conn->state == CONN_DEAD)
        return;
    uint32_t wanted = conn->state == CONN_IDLE || conn->state == CONN_CLOSING ? EPOLLIN : 0;
    if (conn->out.pending_bytes > 0 && !conn->sending && !conn->flush_queued)
        wanted |= EPOLLOUT;
    if ((wanted & ~conn->armed) == 0)
        return; /* an event too many does no harm */
    struct epoll_event event = {.events = wanted | EPOLLONESHOT, .data.ptr = conn};
    count(&conn->home->counters.polls, 1);
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
        count(&conn->home->counters.sent_bytes, (uint64_t)sent);
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
static void conn_send(struct conn *conn)
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
        count(&conn->home->counters.sends, 1);
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

static void conn_flush_job(struct pool_job *job, struct worker *worker)
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

void conn_send_through(struct conn *conn, const uint8_t *data, size_t size_bytes)
{
    size_t sent = 0;
    if (conn->out.pending_bytes == 0 && !conn->sending && !conn->peer_gone && conn->state != CONN_DEAD) {
        conn->sending = true;
        conn_unlock(conn);
        ssize_t went = send(conn->fd, data, size_bytes, MSG_DONTWAIT | MSG_NOSIGNAL);
        count(&conn->home->counters.sends, 1);
        conn_lock(conn);
        conn->sending = false;
        sent = went > 0 ? (size_t)went : 0; /* an error shows again when the rest is sent */
        conn->sent_bytes += sent;
        count(&conn->home->counters.sent_bytes, sent);
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
static void conn_place(struct conn *conn)
{
    if (conn->state != CONN_IDLE && conn->state != CONN_PARKED)
        return;
    const struct conn_protocol *protocol = conn->home->protocol;
    size_t output_bytes = conn->out.pending_bytes;
    if (conn->doomed) {
        conn_bury(conn);
        return;
    }
    bool ready = protocol->ready(conn->session) && output_bytes <= CONN_OUTPUT_HIGH_BYTES && !conn->ending;
    bool starves = ready && conn_memory_over(conn->home) && conn_starve(conn);
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
        conn_flush(conn);
        conn_place(conn);
    }
    conn_unlock(conn);
}

/* ---- deadlines (the acceptor) ------------------------------------------------------------ */

/* Lock held. True: the client takes less than drain.min.rate. */
static bool conn_drains_slowly(struct conn *conn, int64_t now_us)
{
    int64_t rate = atomic_load_explicit(&conn->home->config->drain_min_rate_bytes, memory_order_relaxed);
    if (rate <= 0 || now_us - conn->drain_since_us < CONN_DRAIN_WINDOW_US)
        return false;
    int unsent = 0;
    if (ioctl(conn->fd, SIOCOUTQ, &unsent) != 0 || unsent < 0)
        unsent = 0;
    uint64_t drained = conn->sent_bytes > (uint64_t)unsent ? conn->sent_bytes - (uint64_t)unsent : 0;
    uint64_t wanted = (uint64_t)(rate * ((now_us - conn->drain_since_us) / 1000) / 1000);
    /* The first window only notes where the client stands. */
    bool slowly = conn->drained_bytes != 0 && drained < conn->drained_bytes + wanted;
    conn->drained_bytes = drained == 0 ? 1 : drained;
    conn->drain_since_us = now_us;
    return slowly;
}

/* Lock held. What is overdue, for the log; NULL: nothing. */
static const char *conn_overdue(struct conn *conn, int64_t now_us)
{
    const struct config *config = conn->home->config;
    int64_t reply_us = atomic_load_explicit(&config->reply_timeout_us, memory_order_relaxed);
    if (conn->output_began_us != 0 && now_us - conn->output_began_us > reply_us)
        return "a reply was not taken within reply.timeout";
    if (conn->reply_began_us != 0 && now_us - conn->reply_began_us > reply_us)
        return "a reply was not taken whole within reply.timeout";
    if (conn->output_began_us != 0 && conn_drains_slowly(conn, now_us))
        return "replies were taken more slowly than drain.min.rate";
    return NULL;
}

/* Lock held. The line that has begun has not ended in time: say so and end. */
static bool conn_line_is_late(struct conn *conn, int64_t now_us)
{
    int64_t limit_us = atomic_load_explicit(&conn->home->config->line_timeout_us, memory_order_relaxed);
    if (!conn->mid_line || conn->ending || conn->eof || now_us - conn->line_began_us <= limit_us)
        return false;
    conn->mid_line = false;
    conn->ending = true;
    conn->home->protocol->late(conn->session);
    count(&conn->home->counters.ended, 1);
    SAY_DEBUG("a session was ended: a line did not end within line.timeout");
    return true;
}

bool conn_check_deadlines(struct conn *conn, int64_t now_us)
{
    conn_lock(conn);
    if (conn->state == CONN_CLOSING && now_us - conn->closing_us > CONN_CLOSING_US)
        conn_bury(conn);
    const char *why = conn->state == CONN_DEAD || conn->state == CONN_CLOSING ? NULL : conn_overdue(conn, now_us);
    if (why != NULL) {
        SAY_DEBUG("a session was ended: %s", why);
        count(&conn->home->counters.ended, 1);
        conn->doomed = conn->peer_gone = true;
        (void)shutdown(conn->fd, SHUT_RDWR); /* a worker that lingers on it wakes up */
        conn_place(conn);
    } else if (conn_line_is_late(conn, now_us)) {
        conn_flush(conn);
        conn_place(conn);
    }
    bool more = conn->state != CONN_DEAD && (conn->state == CONN_CLOSING || conn->mid_line ||
                                             conn->out.pending_bytes > 0 || conn->reply_began_us != 0);
    if (!more && conn->watched)
        conn_unwatch(conn);
    conn_unlock(conn);
    return more;
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

/* ---- a worker's turn ------------------------------------------------------------------------ */

/* Lock held. Notes how far input() came. */
static void conn_note_taken(struct conn *conn, const struct conn_taken *taken)
{
    conn->blocked = taken->blocked;
    if (taken->mid_line && (!conn->mid_line || taken->bytes > 0))
        conn->line_began_us = clock_mono_us();
    conn->mid_line = taken->mid_line;
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
    struct conn_taken taken = {0};
    conn->home->protocol->input(conn->session, conn->in + conn->in_off, conn->in_len, worker, &taken);
    REQUIRE(taken.bytes <= conn->in_len);
    conn->in_off += taken.bytes;
    conn->in_len -= taken.bytes;
    conn_lock(conn);
    if (conn->in_len == 0)
        conn_forget_input(conn);
    conn_note_taken(conn, &taken);
    conn_account_input(conn);
}

/* Gives the session bytes in the worker's buffer, which begin with what was kept. */
static void conn_feed_buffer(struct conn *conn, struct worker *worker, size_t size_bytes)
{
    struct conn_taken taken = {0};
    conn->home->protocol->input(conn->session, worker->buffer, size_bytes, worker, &taken);
    REQUIRE(taken.bytes <= size_bytes);
    conn_lock(conn);
    if (!conn_keep(conn, worker->buffer + taken.bytes, size_bytes - taken.bytes))
        conn->doomed = true;
    conn_note_taken(conn, &taken);
    conn_account_input(conn);
}

enum receive { RECEIVE_SOME, RECEIVE_FULL, RECEIVE_NONE };

/* One recv(2) and what follows from it. Called without the lock, returns with
 * it. The line that has begun stays in front of what comes: a short one is
 * copied into the worker's buffer, a long one grows in place. */
static enum receive conn_receive(struct conn *conn, struct worker *worker, bool linger)
{
    bool grow = conn->in_len > COPY_PARTIAL_BYTES;
    uint8_t *into = worker->buffer + conn->in_len;
    size_t room = WORKER_BUFFER_BYTES - conn->in_len;
    if (grow) {
        if (conn->in_off > 0)
            memmove(conn->in, conn->in + conn->in_off, conn->in_len);
        conn->in_off = 0;
        size_t cap = conn->in_cap;
        if (cap - conn->in_len < READ_STEP_BYTES / 2)
            cap = conn->in_len * 2 + READ_STEP_BYTES;
        uint8_t *larger = cap == conn->in_cap ? conn->in : realloc(conn->in, cap);
        if (larger != NULL) {
            conn->in = larger;
            conn->in_cap = cap;
        }
        into = conn->in + conn->in_len;
        room = conn->in_cap - conn->in_len;
    }
    ssize_t got = room == 0 ? -1 : recv(conn->fd, into, room, linger ? 0 : MSG_DONTWAIT);
    int error = room == 0 ? ENOMEM : errno;
    if (linger)
        pool_linger_end(worker->pool);
    count(&conn->home->counters.reads, 1);
    if (got <= 0) {
        if (got == 0)
            conn->home->protocol->hangup(conn->session);
        conn_lock(conn);
        if (got == 0)
            conn->eof = true;
        else if (error != EAGAIN && error != EWOULDBLOCK && error != EINTR)
            conn->doomed = conn->peer_gone = true;
        return RECEIVE_NONE;
    }
    count(&conn->home->counters.read_bytes, (uint64_t)got);
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
           conn->home->protocol->ready(conn->session) && !conn_memory_over(conn->home);
}

/* Lock held. Not on a line that drips in, nor when something else than the
 * socket may bring work. */
static bool conn_may_linger(struct conn *conn)
{
    int64_t linger_us = conn->home->config->worker_linger_us;
    if (linger_us == 0 || !conn->home->protocol->may_linger(conn->session))
        return false;
    return !conn->mid_line || clock_mono_us() - conn->line_began_us < linger_us;
}

/* Lock held, let go and taken again. One thing that can be done for the
 * connection; false: there is nothing. */
static bool conn_step(struct conn *conn, struct worker *worker, enum receive *last)
{
    const struct conn_protocol *protocol = conn->home->protocol;
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
                 !conn_memory_over(conn->home);
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

static void conn_serve(struct pool_job *job, struct worker *worker)
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
