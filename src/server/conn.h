/*
 * A client's connection: its socket, what was read of it and not yet understood,
 * what it has still to be sent, and who may touch it when. The protocol spoken on
 * it is a `struct conn_protocol`; this file knows no commands.
 *
 * It must never: hold memory for a connection that is idle (a partial line and
 * waiting output are all there is), block on a socket except while a worker
 * lingers, or run two workers on one connection.
 */
#ifndef KQ_SERVER_CONN_H
#define KQ_SERVER_CONN_H

#include "base/account.h"
#include "base/config.h"
#include "server/output.h"
#include "server/pool.h"

#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

struct acceptor;
struct conn;

enum {
    CONN_OUTPUT_HIGH_BYTES = 256 * 1024, /* with more than this waiting, no command is begun */
    CONN_PEER_TEXT_BYTES = 64,
    CONN_CLOSING_US = 2 * 1000 * 1000, /* how long a closed session's input is thrown away before the socket goes */
    CONN_DRAIN_WINDOW_US = 10 * 1000 * 1000, /* over which drain.min.rate is measured */
};

/* Bumped relaxed; for INFO and the bench. */
struct server_counters {
    _Atomic uint64_t accepted;
    _Atomic uint64_t refused; /* a limit on connections */
    _Atomic uint64_t ended;   /* by a deadline: line, reply, drain rate */
    _Atomic uint64_t reads;   /* system calls */
    _Atomic uint64_t read_bytes;
    _Atomic uint64_t sends; /* system calls */
    _Atomic uint64_t sent_bytes;
    _Atomic uint64_t commands;
    _Atomic uint64_t polls; /* epoll_wait and epoll_ctl */
    _Atomic int64_t connections;
};

/* What a call to input() made of the bytes it got. */
struct conn_taken {
    /* Set by the caller: the bytes are memory of their own. A session that understands all
     * of them as one command may keep them (`kept`), and free()s them some day. */
    bool may_keep;
    bool kept;
    size_t bytes;  /* understood or thrown away; the rest is given again */
    bool blocked;  /* the rest waits for the session to be ready(); else it waits for more bytes */
    bool mid_line; /* a command has begun and not ended, also if its bytes were thrown away */
    /* How long the begun command is, if it is known, else 0: read up to there, and no further,
     * into memory of its own. */
    size_t whole_bytes;
};

/* A protocol. `session` is zeroed memory of session_bytes that lives as long as
 * the connection. */
struct conn_protocol {
    const char *name;
    bool lines; /* who is refused is told why, in a line */
    size_t session_bytes;
    void (*open)(void *session, struct conn *conn);
    /* The worker that holds the connection; its lock is not held. Bytes up to
     * taken->bytes may be changed in place. */
    void (*input)(void *session, uint8_t *data, size_t size_bytes, struct worker *worker, struct conn_taken *taken);
    /* The worker that holds the connection; its lock is not held. work() says true: go on with what waits. */
    void (*work)(void *session, struct worker *worker);
    /* Lock held. May input() be called? */
    bool (*ready)(const void *session);
    /* Lock held. Nothing but the socket brings work: a worker may block on it for a moment. */
    bool (*may_linger)(const void *session);
    /* Lock held. Is there work() to do now? (output_bytes waits to be sent) */
    bool (*has_work)(const void *session, size_t output_bytes);
    /* Lock held. Nothing is unanswered. */
    bool (*settled)(const void *session);
    /* Lock held; NULL: never. A request waits for something else than the socket, maybe for long, and
     * the socket is not read meanwhile: should the client go away, hangup() ends that. */
    bool (*waits)(const void *session);
    /* Lock held. A command that waited too long for its end: what the client is told, if anything. */
    void (*late)(void *session);
    /* Lock held. The client sends no more, and a command has begun: likewise. */
    void (*cut)(void *session);
    /* The worker that holds the connection, or the acceptor; its lock is not held. The client sends
     * no more: what goes on until it does ends when it has caught up. */
    void (*hangup)(void *session);
    /* The acceptor; no lock held; once, when the connection is dead or the server
     * stops: cut short what would wait for ever. */
    void (*cancel)(void *session);
    /* Nobody else knows the session any more. */
    void (*fini)(void *session);
};

/* What the connections of one port share. */
struct conn_front {
    const struct conn_protocol *protocol;
    void *context; /* the protocol's: conn_context() */
};

/* What the connections of a server share. Set by the server before any
 * connection; the acceptor owns the lists. */
struct conn_home {
    const struct config *config;
    struct pool *pool;
    struct acceptor *acceptor; /* opaque here */
    int epoll_fd;
    int wake_fd; /* the acceptor's eventfd */
    _Atomic uint64_t *handoffs;
    struct account memory;
    struct server_counters counters;
    _Atomic bool stopping;

    /* Locking: taken inside a connection's lock, never the other way. */
    pthread_mutex_t lock;
    struct conn *all;
    struct conn *watched; /* have a deadline */
    struct conn *starved; /* wait for memory, the longest first */
    struct conn **last_starved;
    struct conn *privileged; /* not a reference */
    struct conn *dead;       /* closed; wait for the acceptor to drop them */
    _Atomic int starved_count;
    _Atomic bool accept_paused;
    _Atomic bool woken; /* the acceptor has been told and has not looked yet */
};

/* ---- for the acceptor --------------------------------------------------------- */

/* Takes fd and registers it; front is borrowed; NULL: out of memory (fd is closed). gone() runs when
 * the last reference is dropped, on any thread. */
struct conn *conn_open(struct conn_home *home, const struct conn_front *front, int fd,
                       const struct sockaddr_storage *peer,
                       void (*gone)(struct conn_home *home, const struct sockaddr_storage *peer));
/* epoll reported these events. */
void conn_event(struct conn *conn, uint32_t events);
/* Checks deadlines. False: it has none any more (it was taken off the list). */
bool conn_check_deadlines(struct conn *conn, int64_t now_us);
/* Lets those who wait for memory go on as far as there is some. */
void conn_feed_starved(struct conn_home *home);
/* When all connections are dead. */
void conn_forget_starved(struct conn_home *home);
/* Before the first connection. */
void conn_home_init(struct conn_home *home);
void conn_home_fini(struct conn_home *home);
/* The server stops: no more is read; it closes when its answers are delivered. */
void conn_stop_reading(struct conn *conn);
/* Ends it now, whatever waits. */
void conn_abort(struct conn *conn);
/* Any thread. */
void conn_wake_acceptor(struct conn_home *home);
struct conn *conn_next(const struct conn *conn);         /* of home->all, home->lock held */
struct conn *conn_next_watched(const struct conn *conn); /* of home->watched, home->lock held */
/* Between two epoll_waits. */
void conn_drop_dead(struct conn_home *home);

/* ---- for sessions ----------------------------------------------------------------- */

struct conn *conn_hold(struct conn *conn);
void conn_drop(struct conn *conn);
void conn_lock(struct conn *conn);
void conn_unlock(struct conn *conn);
struct conn_home *conn_home_of(struct conn *conn);
void *conn_context(struct conn *conn);
int conn_fd(const struct conn *conn);
void *conn_session(struct conn *conn);

/* Lock held. Append to the output. What cannot be kept ends the connection. */
void conn_put(struct conn *conn, const void *data, size_t size_bytes);
void conn_put_repeated(struct conn *conn, const char *text, size_t text_bytes, size_t count);
void conn_give(struct conn *conn, uint8_t *data, size_t size_bytes); /* takes data */
/* Goes out from where it is: see output_lend. */
void conn_lend(struct conn *conn, const uint8_t *data, size_t size_bytes, void (*release)(void *keeper), void *keeper);
/* The same from memory that the caller keeps, let go and taken again: sends what
 * goes at once and copies only the rest. Nobody else may append meanwhile. */
void conn_send_through(struct conn *conn, const uint8_t *data, size_t size_bytes);
size_t conn_output_bytes(const struct conn *conn);
/* Lock held, let go and taken again. Sends what goes without waiting; the rest
 * waits for writability. */
void conn_flush(struct conn *conn);
/* Lock held, let go and taken again; from a completion: sends a few answers a
 * turn at once and leaves others to the pool. Then decides who serves the
 * connection next, as the session may be ready again. */
void conn_answered(struct conn *conn);
/* Lock held. No more input is taken; closes when the output is delivered. */
void conn_end(struct conn *conn);
bool conn_ending(const struct conn *conn);
/* Lock held. It is out of the acceptor's hands: nothing is delivered any more. */
bool conn_is_dead(const struct conn *conn);
/* Lock held. A command that may take long to deliver begins or ends: reply.timeout. */
void conn_reply_began(struct conn *conn);
void conn_reply_ended(struct conn *conn);

/* Any thread. Memory held for the client's requests (see account.h). */
void conn_memory_take(struct conn_home *home, int64_t bytes);
void conn_memory_give(struct conn_home *home, int64_t bytes);
bool conn_memory_over(const struct conn_home *home);
/* Lock held. It may not take more requests from its client now. */
bool conn_starves(const struct conn *conn);

#endif
