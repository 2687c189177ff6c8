/*
 * The server: acceptor, pool and connections as one thing that starts and stops.
 */
#ifndef KQ_SERVER_SERVER_H
#define KQ_SERVER_SERVER_H

#include "base/config.h"
#include "base/err.h"
#include "server/conn.h"

struct server;

enum { SERVER_PORTS_MAX = 2 };

/* The main thread. config is borrowed; its LIVE fields may change. */
enum kq_err server_new(struct server **server, const struct config *config, struct fault *fault);
/* The main thread, before server_start, at most SERVER_PORTS_MAX times. Listens on host and
 * port (0: a free one) for clients of this protocol, who wait in the backlog; context is the
 * protocol's (conn_context()). *got is the port. The fault says which address cannot be had,
 * and why; the server is then to be freed. */
enum kq_err server_listen(struct server *server, const struct conn_protocol *protocol, void *context, const char *host,
                          uint16_t port, uint16_t *got, struct fault *fault);
/* The main thread, before server_start. Wake-ups are counted there, which outlives the server. */
void server_count_handoffs(struct server *server, _Atomic uint64_t *handoffs);
/* The main thread. Serves. After an error: server_free. */
enum kq_err server_start(struct server *server, struct fault *fault);
struct server_counters *server_counters(struct server *server);
unsigned server_workers(struct server *server);
int64_t server_memory_bytes(const struct server *server);
int64_t server_memory_limit_bytes(const struct server *server);

/* The main thread. Accepts no more; what was read is finished and answered, as
 * far as stop.timeout allows; joins acceptor and workers. What it still waits
 * for (partitions, cluster) must run until then. */
void server_stop(struct server *server);
/* The main thread, when nobody can answer any more: the partitions have stopped. */
void server_free(struct server **server);

#endif
