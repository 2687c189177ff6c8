/*
 * The acceptor: one thread with one epoll over the listening sockets and the
 * connections that no worker holds. It accepts, refuses beyond the limits, hands
 * ready connections to the pool, and ends those whose deadlines have come. It
 * sleeps without a timeout while no connection has a deadline.
 */
#ifndef KQ_SERVER_ACCEPTOR_H
#define KQ_SERVER_ACCEPTOR_H

#include "base/err.h"
#include "server/conn.h"

struct acceptor;

enum { ACCEPTOR_LISTENERS_MAX = 8, ACCEPTOR_TICK_MS = 100 };

/* The main thread. Sets home's descriptors. */
enum kq_err acceptor_open(struct acceptor **acceptor, struct conn_home *home, struct fault *fault);
/* The main thread, before acceptor_start. Listens on every address that host names (at most
 * ACCEPTOR_LISTENERS_MAX in all) for clients of front, which is borrowed; *port 0 takes a
 * free one and tells it. Accepts nothing yet. */
enum kq_err acceptor_listen(struct acceptor *acceptor, const struct conn_front *front, const char *host, uint16_t *port,
                            struct fault *fault);
/* The main thread; home->pool is set. Returns when the thread runs. */
enum kq_err acceptor_start(struct acceptor *acceptor, size_t stack_bytes, struct fault *fault);
/* The main thread. Accepts no more, lets the connections finish until
 * timeout_us have passed, ends those that have not, joins the thread. */
void acceptor_stop(struct acceptor *acceptor, int64_t timeout_us);
/* The main thread, when no connection is left. */
void acceptor_close(struct acceptor **acceptor);

#endif
