/* Start: listen, pool, acceptor. Stop: acceptor (which drains the connections
 * while the pool still works for them), pool; then, when the last completion has
 * come back, the memory. */
#include "server/server.h"

#include "base/logger.h"
#include "base/require.h"
#include "server/acceptor.h"
#include "server/pool.h"

#include <stdlib.h>

enum { SERVER_TAG = 0x73657276, WORKER_IDLE_US = 500 * 1000 };

struct server {
    uint32_t tag;
    struct conn_home home;
    struct acceptor *acceptor;
    struct conn_front fronts[SERVER_PORTS_MAX];
    size_t front_count;
    _Atomic uint64_t own_handoffs;
};

enum kq_err server_start(struct server *server, struct fault *fault)
{
    TAG_CHECK(server, SERVER_TAG);
    const struct config *config = server->home.config;
    struct pool_options pool = {
        .min = (unsigned)config->workers_min,
        .max = (unsigned)config->workers_max,
        .stack_bytes = (size_t)config->stack_bytes,
        .idle_us = WORKER_IDLE_US,
        .handoffs = server->home.handoffs,
    };
    enum kq_err err = pool_start(&server->home.pool, &pool, fault);
    if (err == KQ_OK)
        err = acceptor_start(server->acceptor, (size_t)config->stack_bytes, fault);
    if (err != KQ_OK)
        pool_stop(&server->home.pool);
    return err;
}

enum kq_err server_new(struct server **out, const struct config *config, struct fault *fault)
{
    struct server *server = calloc(1, sizeof(*server));
    if (server == NULL)
        return fault_set(fault, KQ_NO_MEMORY, "no memory for the server");
    server->tag = SERVER_TAG;
    struct conn_home *home = &server->home;
    home->config = config;
    home->handoffs = &server->own_handoffs;
    conn_home_init(home);
    enum kq_err err = acceptor_open(&server->acceptor, home, fault);
    if (err == KQ_OK) {
        *out = server;
        return KQ_OK;
    }
    conn_home_fini(home);
    free(server);
    return err;
}

enum kq_err server_listen(struct server *server, const struct conn_protocol *protocol, void *context, const char *host,
                          uint16_t port, uint16_t *got, struct fault *fault)
{
    TAG_CHECK(server, SERVER_TAG);
    REQUIRE(server->front_count < SERVER_PORTS_MAX);
    struct conn_front *front = &server->fronts[server->front_count++];
    *front = (struct conn_front){.protocol = protocol, .context = context};
    *got = port;
    return acceptor_listen(server->acceptor, front, host, got, fault);
}

void server_count_handoffs(struct server *server, _Atomic uint64_t *handoffs)
{
    TAG_CHECK(server, SERVER_TAG);
    REQUIRE(server->home.pool == NULL);
    server->home.handoffs = handoffs;
}

struct server_counters *server_counters(struct server *server)
{
    return &server->home.counters;
}

unsigned server_workers(struct server *server)
{
    return pool_workers(server->home.pool);
}

int64_t server_memory_bytes(const struct server *server)
{
    return account_used(&server->home.memory);
}

int64_t server_memory_limit_bytes(const struct server *server)
{
    return server->home.memory.limit_bytes;
}

void server_stop(struct server *server)
{
    TAG_CHECK(server, SERVER_TAG);
    acceptor_stop(server->acceptor, atomic_load(&server->home.config->stop_timeout_us));
    pool_stop(&server->home.pool);
}

void server_free(struct server **out)
{
    struct server *server = *out;
    if (server == NULL)
        return;
    TAG_CHECK(server, SERVER_TAG);
    REQUIRE(server->home.pool == NULL);
    REQUIRE(atomic_load(&server->home.counters.connections) == 0);
    acceptor_close(&server->acceptor);
    conn_home_fini(&server->home);
    server->tag = TAG_DEAD;
    free(server);
    *out = NULL;
}
