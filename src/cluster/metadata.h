/*
 * The cluster's metadata as a state machine (partition/machine.h) on the
 * broker-level group's partition: cluster id, brokers, topics with their ids,
 * configuration and the brokers that are to hold each partition, producer ids.
 *
 * Who holds a partition: `present` is all that may be in its group's configuration, and
 * `wanted`, where there is one, what it is to become; the group's leader brings that
 * about and then reports it (SETTLED), and present becomes what was wanted. Only
 * then do those that are not wanted any more let go of their replica.
 *
 * A replica's identity is its broker's incarnation mixed with bytes of its own: zero for
 * those that a topic was founded with; fresh ones whenever a broker gets a replica
 * that must not be taken for an earlier one (moved there again, lost, or damaged). So
 * a broker with a new incarnation makes all its replicas new ones, without a record each.
 *
 * PURE: no thread, clock, random source, disk or socket; new ids, and who lives, come in
 * with the calls. It is serial: what it shows to others is committed.
 */
#ifndef KQ_CLUSTER_METADATA_H
#define KQ_CLUSTER_METADATA_H

#include "base/uuid.h"
#include "cluster/cluster.h"
#include "cluster/topic_config.h"
#include "partition/machine.h"
#include "proto/peer/form.h"

struct metadata;

enum {
    METADATA_HOST_MAX_BYTES = 255,
    METADATA_PARTITIONS_MAX = 100000, /* of a topic */
    METADATA_REPLICAS_MAX = 16,       /* of a partition */
    METADATA_BROKERS_MAX = 1000,
    METADATA_FOUNDERS_MAX = 4 * METADATA_BROKERS_MAX, /* of a topic, over all times that it got partitions */
    METADATA_ASSIGNED_MAX = 1024,                     /* replicas that a user names for a topic's new partitions */
    METADATA_DEFAULT_REPLICAS = 3,                    /* or as many as there are brokers */
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
    METADATA_ORDER,
    METADATA_SETTLED,
    METADATA_REPLACE,
    METADATA_OWN,
    METADATA_GROW,
    METADATA_REHOUSE,
    METADATA_ADD_PARTITIONS,
    METADATA_VERB_COUNT,
};

struct metadata_broker {
    uint32_t id;
    struct uuid incarnation;
    char host[METADATA_HOST_MAX_BYTES + 1];
    uint16_t port;
    uint16_t raft_port;
    char kafka_host[METADATA_HOST_MAX_BYTES + 1]; /* empty: as host */
    uint16_t kafka_port;                          /* 0: none known */
    bool draining;                                /* gets nothing new; set by orders, not by registration */
};

struct metadata_replica {
    uint32_t broker;
    struct uuid mix;
};
/* Who the replica is: a broker of this incarnation with a replica of this mix. */
struct uuid replica_incarnation(const struct uuid *broker_incarnation, const struct uuid *mix);

/* What the caller's configuration allows; checked when a topic is made. */
struct metadata_limits {
    uint32_t topics;            /* of users */
    uint32_t topic_partitions;  /* of one topic */
    uint32_t broker_partitions; /* replicas on one broker */
};

/*
 * Set verb and its inputs, zero the rest; inputs are borrowed until done.
 *
 *   REGISTER_BROKER  broker; cluster_id: the id of a cluster that has none yet, whose
 *                    founders (founding) are then registered with it. Proposes nothing if
 *                    all is known already. KQ_EXISTS: another incarnation with this id lives.
 *                    KQ_INVALID: this incarnation was removed.
 *   CREATE_TOPIC     topic, partitions, replicas (0: the default), internal, limits,
 *                    topic_id (a new one), alive. Answer: topic_id; existed if there was one
 *                    with as many partitions (its id then); exclusive: KQ_EXISTS then.
 *                    settings: are set in the same breath, also where it existed. assigned:
 *                    who is to hold the partitions, `replicas` each. Asked again with the same
 *                    topic_id it is done once. KQ_BAD_TOPIC_NAME, KQ_BAD_PARTITIONS,
 *                    KQ_BAD_REPLICAS, KQ_NOT_ENOUGH_REPLICAS, KQ_EXISTS, KQ_LIMIT,
 *                    KQ_BAD_ASSIGNMENT. Answer: replicas, how many each partition has.
 *   DELETE_TOPIC     topic; topic_id: if not zero, only the topic with that id.
 *                    internal: also an internal one. Answer: topic_id.
 *                    KQ_UNKNOWN_TOPIC, KQ_BAD_TOPIC_NAME (internal).
 *   SET_CONFIG       topic, settings; replace: all keys that are not named go back to the
 *                    default. KQ_UNKNOWN_TOPIC.
 *   ADD_PARTITIONS   topic, partitions (how many it is to have), assigned (of the new ones),
 *                    limits, alive. Answer: count, how many it had; topic_id. Asked again with as
 *                    many, and their topic_id, nothing happens. KQ_UNKNOWN_TOPIC,
 *                    KQ_BAD_PARTITIONS, KQ_BAD_REPLICAS, KQ_NOT_ENOUGH_REPLICAS, KQ_LIMIT,
 *                    KQ_BAD_ASSIGNMENT.
 *   PRODUCER_BLOCK   count. Answer: producer_id, the first of count ids that nobody
 *                    else ever gets.
 *   ORDER            order (not TRANSFER), broker.id, topic, partition, brokers, alive.
 *                    Answer: count, the partitions that are to change. KQ_NOT_FOUND,
 *                    KQ_UNKNOWN_TOPIC, KQ_INVALID, KQ_BAD_REPLICAS.
 *   SETTLED          topic_id, partition, replicas, count (of changes, when that was wanted): the
 *                    committed configuration is this one. Not what is wanted (any more), or
 *                    wanted anew since: nothing happens.
 *   REPLACE          topic_id, partition, replicas[0]: this one is lost or damaged, and is
 *                    to be a new one. Not one of the partition (any more): nothing happens.
 *   OWN              topic_id, partition, replicas[0]: what the sole replica of a topic from
 *                    before clusters is called in its folder.
 *   GROW             alive: the broker's own topics, to as many replicas as there can be up to
 *                    the default. Answer: count.
 *   REHOUSE          topic_id, partition, replicas[0], alive: this one stands still though its broker
 *                    lives; another broker is to hold the partition in its place. Answer: count,
 *                    0: nobody else could, or it is not one of the partition (any more).
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
    bool dry;       /* judge only: nothing is changed */
    bool exclusive; /* CREATE_TOPIC */
    bool replace;   /* SET_CONFIG */
    uint32_t setting_count;
    const struct topic_config_setting *settings;
    uint32_t assigned_count;
    const uint32_t *assigned; /* partition after partition, the preferred leader first; NULL: they are placed */
    uint32_t count;
    const struct founding *founding;
    enum cluster_order_verb order;
    uint32_t partition;
    uint32_t broker_count;
    uint32_t brokers[METADATA_REPLICAS_MAX];
    uint32_t replica_count;
    struct metadata_replica replica[METADATA_REPLICAS_MAX];
    const uint32_t *alive; /* filled in where the controller is; NULL: all are */
    size_t alive_count;
    /* the answer */
    bool existed;
    int64_t producer_id;
};

/* ---- reading (on the actor's turn: within `changed`, and in tests) ------------------- */

/* A partition that is not held as it was founded any more. */
struct metadata_partition {
    uint32_t changes; /* of what is wanted; also makes the mix of a replica that must differ from all before */
    uint32_t present_count;
    uint32_t wanted_count; /* 0: present is what is wanted */
    struct metadata_replica present[METADATA_REPLICAS_MAX];
    struct metadata_replica wanted[METADATA_REPLICAS_MAX]; /* the preferred leader first */
};

struct metadata_founder {
    uint32_t broker;
    struct uuid incarnation;
    uint32_t from; /* of partitions from this one on, until a later row of the broker says otherwise */
};

struct metadata_topic {
    struct uuid id;
    char name[TOPIC_NAME_MAX_BYTES + 1];
    bool internal;
    uint32_t partition_count;
    uint32_t replica_count; /* at the founding */
    uint32_t *replicas; /* [partition * replica_count + i]: broker ids, the preferred leader first; at the founding */
    uint32_t desired_count; /* how many replicas each partition is to have */
    uint32_t
        founder_count; /* brokers in `replicas`, in the order in which they came; 0: a topic from before clusters */
    struct metadata_founder *founders;
    struct metadata_partition **changed; /* [partition], each may be NULL; NULL: none is changed */
    struct topic_config config;
    uint64_t version; /* grows with each change of this topic */
};

/* All that may be in the group's configuration; how many. */
uint32_t metadata_present(const struct metadata_topic *topic, uint32_t p,
                          struct metadata_replica replicas[METADATA_REPLICAS_MAX]);
/* What it is to be. */
uint32_t metadata_target(const struct metadata_topic *topic, uint32_t p,
                         struct metadata_replica replicas[METADATA_REPLICAS_MAX]);

uint64_t metadata_next_off(const struct metadata *metadata);        /* of the log: what comes before it is in */
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
