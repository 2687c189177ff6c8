/*
 * Start order: fronts (what the sessions of a protocol share), listening sockets, of clients and
 * of brokers (so that a taken port is said at once; who connects waits in the backlog), broker (engine,
 * metadata, and the partitions that it names), server.
 *
 * Stop order: server (no more is accepted, what was read is answered, workers
 * end), the fronts' timers, broker (partitions flush and close; what still waited
 * is answered, into sessions that are still there), then the memory of the server
 * and of the fronts.
 */
#include "daemon/service.h"

#include "api/broker.h"
#include "base/clock.h"
#include "base/logger.h"
#include "base/require.h"
#include "cluster/peers.h"
#include "cluster/raft_port.h"
#include "log/io.h"
#include "server/kafka_session.h"
#include "server/server.h"
#include "server/text_session.h"

#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SERVICE_TAG = 0x5e271ce0 };

struct service {
    uint32_t tag;
    const struct config *config;
    struct broker broker;
    struct text_front *front;
    struct kafka_front *kafka;
    struct server *server;
    uint16_t port;
    uint16_t kafka_port; /* 0: Kafka clients are not served */
    int raft_fd;         /* until the broker takes it */
    uint16_t raft_port;
    struct engine_deadline beat; /* asked for by service_turns; comes at once */
    _Atomic bool beat_came;
    bool beat_asked;
};

/* For clients and for brokers. */
static enum kq_err listen_first(struct service *s, struct fault *fault)
{
    const struct config *cfg = s->config;
    enum kq_err err = server_new(&s->server, cfg, fault);
    if (err != KQ_OK)
        return err;
    err = server_listen(s->server, text_protocol(), s->front, cfg->host, (uint16_t)cfg->port, &s->port, fault);
    if (err == KQ_OK && cfg->kafka_port >= 0)
        err = server_listen(s->server, kafka_protocol(), s->kafka, cfg->host, (uint16_t)cfg->kafka_port, &s->kafka_port,
                            fault);
    if (err == KQ_OK)
        err = raft_port_listen(cfg->host, (uint16_t)cfg->raft_port, &s->raft_fd, &s->raft_port, fault);
    if (err != KQ_OK)
        server_free(&s->server);
    return err;
}

/* Where others reach this broker: as told, or as it listens, or (listening everywhere) as
 * the list of peers calls it. */
static void find_address(const struct service *s, char host[CONFIG_TEXT_BYTES])
{
    const struct config *cfg = s->config;
    bool everywhere = strcmp(cfg->host, "0.0.0.0") == 0 || strcmp(cfg->host, "::") == 0;
    const char *found = cfg->advertised_host[0] != '\0' ? cfg->advertised_host : cfg->host;
    struct peer_list list;
    const struct peer_address *listed = NULL;
    if (cfg->advertised_host[0] == '\0' && everywhere && peers_parse(cfg->peers, &list, NULL) == KQ_OK)
        listed = peers_find(&list, (uint32_t)cfg->broker_id);
    if (listed != NULL)
        found = listed->host;
    else if (cfg->advertised_host[0] == '\0' && everywhere)
        found = "127.0.0.1";
    (void)snprintf(host, CONFIG_TEXT_BYTES, "%.255s", found);
}

/* The port that clients are told, if it is not the one that is listened on. */
static uint16_t told_port(int64_t advertised, uint16_t port)
{
    return advertised != 0 && port != 0 ? (uint16_t)advertised : port;
}

static enum kq_err start_broker(struct service *s, const char *version, bool (*interrupted)(void), struct fault *fault)
{
    char host[CONFIG_TEXT_BYTES];
    find_address(s, host);
    const struct broker_options options = {
        .config = s->config,
        .data_dir = s->config->data_dir,
        .version = version,
        .host = host,
        .port = told_port(s->config->advertised_port, s->port),
        .raft_port = s->raft_port,
        .raft_fd = s->raft_fd,
        .kafka_host = s->config->kafka_advertised_host,
        .kafka_port = told_port(s->config->kafka_advertised_port, s->kafka_port),
        .interrupted = interrupted,
    };
    return broker_start(&s->broker, &options, fault);
}

enum kq_err service_start(struct service **service, const struct config *cfg, const char *version,
                          bool (*interrupted)(void), enum service_part *failed, struct fault *fault)
{
    *failed = SERVICE_MEMORY;
    struct service *s = calloc(1, sizeof *s);
    if (s == NULL)
        return fault_set(fault, KQ_NO_MEMORY, "no memory to start a broker");
    s->tag = SERVICE_TAG;
    s->config = cfg;
    io_guard_install();
    enum kq_err err = text_front_new(&s->front, &s->broker, fault);
    if (err == KQ_OK)
        err = kafka_front_new(&s->kafka, &s->broker, cfg, fault);
    if (err != KQ_OK)
        goto free_front;
    *failed = SERVICE_LISTENERS;
    err = listen_first(s, fault);
    if (err != KQ_OK)
        goto free_front;
    *failed = SERVICE_BROKER;
    err = start_broker(s, version, interrupted, fault);
    if (err != KQ_OK)
        goto free_server;
    *failed = SERVICE_LISTENERS;
    server_count_handoffs(s->server, &engine_counters(s->broker.engine)->handoffs);
    text_front_serve(s->front, s->server);
    err = server_start(s->server, fault);
    if (err != KQ_OK)
        goto stop_broker;
    *failed = SERVICE_NOTHING;
    *service = s;
    return KQ_OK;

stop_broker:
    text_front_stop(s->front);
    kafka_front_stop(s->kafka);
    broker_stop(&s->broker);
free_server:
    server_free(&s->server);
free_front:
    kafka_front_free(&s->kafka);
    text_front_free(&s->front);
    free(s);
    return err;
}

void service_stop(struct service **service)
{
    struct service *s = *service;
    TAG_CHECK(s, SERVICE_TAG);
    *service = NULL;
    engine_set_deadline(s->broker.engine, &s->beat, CLOCK_NEVER);
    server_stop(s->server);
    text_front_stop(s->front);
    kafka_front_stop(s->kafka);
    broker_stop(&s->broker);
    server_free(&s->server);
    kafka_front_free(&s->kafka);
    text_front_free(&s->front);
    s->tag = TAG_DEAD;
    free(s);
}

void service_reload(struct service *service)
{
    TAG_CHECK(service, SERVICE_TAG);
    cluster_reload(service->broker.cluster);
}

static void beat_comes(struct engine_deadline *deadline)
{
    struct service *s = CONTAINER_OF(deadline, struct service, beat);
    atomic_store_explicit(&s->beat_came, true, memory_order_relaxed);
}

bool service_turns(struct service *service)
{
    TAG_CHECK(service, SERVICE_TAG);
    if (service->beat_asked && !atomic_load_explicit(&service->beat_came, memory_order_relaxed)) {
        SAY_ERROR("the timer's thread has not turned since the watchdog's last round");
        return false;
    }
    service->beat_asked = true;
    atomic_store_explicit(&service->beat_came, false, memory_order_relaxed);
    service->beat.fire = beat_comes;
    engine_set_deadline(service->broker.engine, &service->beat, clock_mono_us());
    return true;
}

unsigned service_kafka_port(const struct service *service)
{
    TAG_CHECK(service, SERVICE_TAG);
    return service->kafka_port;
}

unsigned service_raft_port(const struct service *service)
{
    TAG_CHECK(service, SERVICE_TAG);
    return service->raft_port;
}

void service_address(const struct service *service, char address[SERVICE_ADDRESS_BYTES],
                     char host[SERVICE_ADDRESS_BYTES], unsigned *port)
{
    TAG_CHECK(service, SERVICE_TAG);
    const char *given = service->config->host;
    bool ip6 = strchr(given, ':') != NULL;
    *port = service->port;
    (void)snprintf(address, SERVICE_ADDRESS_BYTES, ip6 ? "[%s]:%u" : "%s:%u", given, *port);
    if (strcmp(given, "0.0.0.0") == 0)
        given = "127.0.0.1";
    if (strcmp(given, "::") == 0)
        given = "::1";
    (void)snprintf(host, SERVICE_ADDRESS_BYTES, "%s", given);
}
