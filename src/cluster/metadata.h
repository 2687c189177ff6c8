/*
 * The cluster's metadata as a state machine (partition/machine.h) on the
 * broker-level group's partition: cluster id, brokers, topics with their ids,
 * configuration and the brokers that are to hold each partition, producer ids.
 *
 * PURE: no thread, clock, random source, disk or socket; new ids come in with the
 * calls. It is serial: what it shows to others is committed.
 */
#ifndef KQ_CLUSTER_METADATA_H
#define KQ_CLUSTER_METADATA_H

#include "base/uuid.h"
#include "cluster/cluster.h"
#include "cluster/topic_config.h"
#include "partition/machine.h"

struct metadata;

enum {
    METADATA_HOST_MAX_BYTES = 255,
    METADATA_PARTITIONS_MAX = 100000, /* of a topic */
    METADATA_REPLICAS_MAX = 16,       /* of a partition */
    METADATA_BROKERS_MAX = 1000,
    METADATA_DEFAULT_REPLICAS = 3, /* or as many as there are brokers */
};

/* ---- life ------------------------------------------------------------------------ */

struct metadata_options {
    /* On the actor's turn, when something new is committed; must not block. */
    void (*changed)(void *context, const struct metadata *metadata);
    void *context;
};

/* NULL: out of memory. */
struct metadata *metadata_new(const struct metadata_options *options);
void metadata_free(struct metadata **metadata);
/* What partition_start() takes. Borrows the metadata. */
struct machine metadata_machine(struct metadata *metadata);

/* ---- calls ------------------------------------------------------------------------- */

enum metadata_verb {
    METADATA_REGISTER_BROKER,
    METADATA_CREATE_TOPIC,
    METADATA_DELETE_TOPIC,
    METADATA_SET_CONFIG,
    METADATA_PRODUCER_BLOCK,
};

struct metadata_broker {
    uint32_t id;
    struct uuid incarnation;
    char host[METADATA_HOST_MAX_BYTES + 1];
    uint16_t port;
    uint16_t raft_port;
};

/* What the caller's configuration allows; checked when a topic is made. */
struct metadata_limits {
    uint32_t topics;            /* of users */
    uint32_t topic_partitions;  /* of one topic */
    uint32_t broker_partitions; /* replicas on one broker */
};

/*
 * Set verb and its inputs, zero the rest; inputs are borrowed until done.
 *
 *   REGISTER_BROKER  broker; cluster_id: the id of a cluster that has none yet.
 *                    Proposes nothing if all is known already.
 *   CREATE_TOPIC     topic, partitions, replicas (0: the default), internal, limits,
 *                    topic_id (a new one). Answer: topic_id; existed if there was one
 *                    with as many partitions (its id then). KQ_BAD_TOPIC_NAME,
 *                    KQ_BAD_PARTITIONS, KQ_BAD_REPLICAS, KQ_EXISTS, KQ_LIMIT.
 *   DELETE_TOPIC     topic; topic_id: if not zero, only the topic with that id.
 *                    internal: also an internal one. Answer: topic_id.
 *                    KQ_UNKNOWN_TOPIC, KQ_BAD_TOPIC_NAME (internal).
 *   SET_CONFIG       topic, key, value (NULL: back to the default).
 *                    KQ_UNKNOWN_TOPIC, KQ_INVALID.
 *   PRODUCER_BLOCK   count. Answer: producer_id, the first of count ids that nobody
 *                    else ever gets.
 */
struct metadata_call {
    struct machine_call call;
    enum metadata_verb verb;
    struct metadata_broker broker;
    struct uuid cluster_id;
    const char *topic;
    uint32_t partitions;
    uint32_t replicas;
    bool internal;
    struct metadata_limits limits;
    struct uuid topic_id;
    const char *key;
    const char *value;
    uint32_t count;
    /* the answer */
    bool existed;
    int64_t producer_id;
};

/* ---- reading (on the actor's turn: within `changed`, and in tests) ------------------- */

struct metadata_topic {
    struct uuid id;
    char name[TOPIC_NAME_MAX_BYTES + 1];
    bool internal;
    uint32_t partition_count;
    uint32_t replica_count;
    uint32_t *replicas; /* [partition * replica_count + i]: broker ids, the preferred leader first */
    struct topic_config config;
    uint64_t version; /* grows with each change of this topic */
};

int64_t metadata_producer_ids_end(const struct metadata *metadata); /* ids from here on are free */
struct uuid metadata_cluster_id(const struct metadata *metadata);   /* zero: none yet */
size_t metadata_topic_count(const struct metadata *metadata);
/* By name. */
const struct metadata_topic *metadata_topic_at(const struct metadata *metadata, size_t i);
const struct metadata_topic *metadata_find_topic(const struct metadata *metadata, const char *name);
size_t metadata_broker_count(const struct metadata *metadata);
/* By id. */
const struct metadata_broker *metadata_broker_at(const struct metadata *metadata, size_t i);

/* Tests, after every step: REQUIREs that the state is consistent. */
void metadata_check(const struct metadata *metadata);

#endif
