/* The connection's body, and what its files share: conn.c (states, who is next,
 * life), conn_send.c (output), conn_serve.c (a worker's turn), conn_care.c (memory
 * and deadlines). Nobody else includes it. */
#ifndef KQ_SERVER_CONN_INTERNAL_H
#define KQ_SERVER_CONN_INTERNAL_H

#include "server/conn.h"

enum { CONN_TAG = 0x636f6e6e };

enum conn_state { CONN_IDLE, CONN_PARKED, CONN_QUEUED, CONN_HELD, CONN_CLOSING, CONN_DEAD };

struct conn {
    uint32_t tag;
    _Atomic uint32_t refs;
    int fd;
    struct conn_home *home;
    const struct conn_front *front;
    void (*gone)(struct conn_home *home, const struct sockaddr_storage *peer);
    pthread_mutex_t lock;

    enum conn_state state;
    uint32_t armed; /* epoll events; 0: disarmed */
    bool eof;       /* no more is read */
    bool hung_up;   /* seen while a request waited; what was sent before is yet to be read */
    bool ending;    /* no more is understood */
    bool doomed;    /* closes now, output or not */
    bool peer_gone; /* nothing can be delivered */
    bool sending;
    bool mid_line;
    bool blocked; /* input waits for the session, not for bytes */
    bool flush_queued;
    bool starved;    /* on the list of those who wait for memory */
    bool privileged; /* may read though there is no memory: see conn_care.c */
    bool watched;
    bool cancelled; /* the acceptor's */

    uint8_t *in; /* what the session left; NULL when nothing */
    size_t in_off;
    size_t in_len; /* after in_off */
    size_t in_cap;
    size_t whole_bytes; /* of the begun command; 0: not known */
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

/* conn.c. Lock held, both. Decides who serves the connection next; see conn.c. */
void conn_place(struct conn *conn);
void conn_bury(struct conn *conn);

/* conn_send.c. Lock held; conn_send lets it go and takes it again. */
void conn_arm(struct conn *conn);
void conn_send(struct conn *conn);
void conn_flush_job(struct pool_job *job, struct worker *worker);

/* conn_serve.c. */
void conn_serve(struct pool_job *job, struct worker *worker);

/* conn_care.c. Lock held. */
void conn_account(struct conn *conn);
void conn_account_input(struct conn *conn); /* or the worker that has the input */
bool conn_starve(struct conn *conn);
void conn_unprivilege(struct conn *conn);
void conn_watch(struct conn *conn);
void conn_unwatch(struct conn *conn);
bool conn_line_is_late(struct conn *conn, int64_t now_us);

static inline void conn_count(_Atomic uint64_t *counter, uint64_t by)
{
    atomic_fetch_add_explicit(counter, by, memory_order_relaxed);
}

#endif
