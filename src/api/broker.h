/*
 * The broker as its front ends see it: configuration, engine and cluster, and
 * who is told when a subscription of one of its sessions changes.
 */
#ifndef KQ_API_BROKER_H
#define KQ_API_BROKER_H

#include "api/leader_wait.h"
#include "base/config.h"
#include "base/err.h"
#include "base/json.h"
#include "cluster/cluster.h"
#include "partition/engine.h"

struct broker {
    const struct config *config;
    struct engine *engine;
    struct cluster *cluster;
    int64_t started_us; /* CLOCK_MONOTONIC */
    struct leader_waits waits;
    _Atomic uint64_t leader_changes; /* of any partition; relaxed */
    _Atomic bool serves;             /* the cluster is there */
    _Atomic bool stopping;           /* nobody is waited for any more */
    const char *version;
    /* Set by the front end before the cluster starts; on an actor's turn, must not block. */
    void (*event)(void *context, const struct group_event *event);
    void *event_context;
    /* The server's part of INFO: members of the present object. May be NULL. */
    void (*describe_server)(void *context, struct json *json);
    void *describe_context;
    void (*describe_kafka)(void *context, struct json *json); /* likewise, of its Kafka front end */
    void *describe_kafka_context;
    bool (*interrupted)(void); /* while it starts */
};

struct broker_options {
    const struct config *config; /* borrowed; its LIVE fields may change */
    const char *data_dir;        /* the broker's folder, locked and checked by the caller */
    const char *version;
    const char *host; /* where clients and brokers reach this one; borrowed during the start */
    uint16_t port;    /* that clients reach */
    uint16_t raft_port;
    const char *kafka_host; /* where Kafka clients reach it, if not at host; borrowed during the start; NULL: at host */
    uint16_t kafka_port;    /* 0: nowhere */
    int raft_fd;            /* listening on raft_port; the broker's from now on */
    /* As cluster_options.interrupted. */
    bool (*interrupted)(void);
};

/* Main thread. Starts engine and cluster: returns when metadata is open and the
 * partitions are on their way. event and describe_server are set before. */
enum kq_err broker_start(struct broker *broker, const struct broker_options *options, struct fault *fault);
/* Main thread, after the server has stopped. Closes every partition cleanly. */
void broker_stop(struct broker *broker);

#endif
