/*
 * What keeps connections within bounds: memory and deadlines.
 *
 * Memory. What clients have sent and not been answered, and what waits to be
 * sent, is counted in one account. Over its limit no socket is read: who would
 * read joins a list (`starved`) and goes on when memory was given back. If lines
 * that have begun hold all of it nothing would ever be given back, so one
 * connection at a time, the longest starved that holds some, may read on until
 * its line is whole and answered (`privileged`).
 *
 * Deadlines. A connection with a begun line, with output that waits, or about to
 * close is on a list (`watched`), through which the acceptor goes every
 * ACCEPTOR_TICK_MS; while the list is empty nothing ticks.
 */
#include "server/conn_internal.h"

#include "base/clock.h"
#include "base/logger.h"
#include "base/require.h"

#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- memory ------------------------------------------------------------------------ */

void conn_memory_take(struct conn_home *home, int64_t bytes)
{
    account_take(&home->memory, bytes);
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
void conn_account(struct conn *conn)
{
    conn_account_change(conn, &conn->accounted_out_bytes, conn->out.held_bytes);
}

/* Whoever has the input: the worker, or under the lock when there is none. */
void conn_account_input(struct conn *conn)
{
    conn_account_change(conn, &conn->accounted_in_bytes, conn->in_cap);
}

bool conn_starves(const struct conn *conn)
{
    return !conn->privileged && conn_memory_over(conn->home);
}

/* False: it may read after all. */
bool conn_starve(struct conn *conn)
{
    struct conn_home *home = conn->home;
    int fresh = 0;
    (void)pthread_mutex_lock(&home->lock);
    if (home->privileged == NULL && conn->in_len > 0) {
        home->privileged = conn;
        conn->privileged = true;
    } else if (!conn->starved) {
        conn->starved = true;
        fresh = 1;
        conn->next_starved = NULL;
        *home->last_starved = conn_hold(conn);
        home->last_starved = &conn->next_starved;
    }
    (void)pthread_mutex_unlock(&home->lock);
    atomic_fetch_add_explicit(&home->starved_count, fresh, memory_order_acq_rel);
    return conn_starves(conn);
}

void conn_unprivilege(struct conn *conn)
{
    if (!conn->privileged)
        return;
    struct conn_home *home = conn->home;
    conn->privileged = false;
    (void)pthread_mutex_lock(&home->lock);
    home->privileged = NULL;
    bool wake = home->starved != NULL;
    (void)pthread_mutex_unlock(&home->lock);
    if (wake)
        conn_wake_acceptor(home);
}

static struct conn *take_starved(struct conn_home *home, bool whatever)
{
    (void)pthread_mutex_lock(&home->lock);
    bool take = whatever || home->privileged == NULL || !conn_memory_over(home);
    struct conn *conn = take ? home->starved : NULL;
    if (conn != NULL) {
        home->starved = conn->next_starved;
        if (home->starved == NULL)
            home->last_starved = &home->starved;
        atomic_fetch_sub_explicit(&home->starved_count, 1, memory_order_relaxed);
    }
    (void)pthread_mutex_unlock(&home->lock);
    return conn;
}

void conn_feed_starved(struct conn_home *home)
{
    /* Each once: who must wait on joins the end of the list. */
    for (int left = atomic_load_explicit(&home->starved_count, memory_order_relaxed); left > 0; left--) {
        struct conn *conn = take_starved(home, false);
        if (conn == NULL)
            return;
        conn_lock(conn);
        conn->starved = false;
        conn_place(conn);
        conn_unlock(conn);
        conn_drop(conn);
    }
}

void conn_forget_starved(struct conn_home *home)
{
    for (struct conn *conn = take_starved(home, true); conn != NULL; conn = take_starved(home, true))
        conn_drop(conn);
}

void conn_wake_acceptor(struct conn_home *home)
{
    if (atomic_exchange_explicit(&home->woken, true, memory_order_acq_rel))
        return;
    uint64_t one = 1;
    ssize_t written = write(home->wake_fd, &one, sizeof(one));
    REQUIRE(written == (ssize_t)sizeof(one));
    conn_count(home->handoffs, 1);
}

/* ---- deadlines (the acceptor) ------------------------------------------------------------ */

/* Lock held. So that the acceptor looks at its deadlines now and then. */
void conn_watch(struct conn *conn)
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
void conn_unwatch(struct conn *conn)
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
bool conn_line_is_late(struct conn *conn, int64_t now_us)
{
    int64_t limit_us = atomic_load_explicit(&conn->home->config->line_timeout_us, memory_order_relaxed);
    if (!conn->mid_line || conn->ending || conn->eof || now_us - conn->line_began_us <= limit_us)
        return false;
    conn->mid_line = false;
    conn->ending = true;
    conn->front->protocol->late(conn->session);
    conn_count(&conn->home->counters.ended, 1);
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
        conn_count(&conn->home->counters.ended, 1);
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
