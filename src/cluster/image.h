/*
 * The cluster's metadata as of one commit: immutable, reference-counted, for
 * lookups by workers. A change makes a new image that shares the topics that did
 * not change; whoever holds the old one goes on with it.
 *
 * Two things in a topic move after it was made, both atomic: the handles of its
 * local partitions (set once, when they are started) and the round robin counter.
 */
#ifndef KQ_CLUSTER_IMAGE_H
#define KQ_CLUSTER_IMAGE_H

#include "base/uuid.h"
#include "partition/partition.h"

struct image;
struct image_topic;
struct metadata;
struct topic_config;

/* Any thread, all of these. What they return is borrowed while the image is held. */
struct image *image_hold(struct image *image);
void image_drop(struct image **image);

struct uuid image_cluster_id(const struct image *image);
int64_t image_producer_ids_end(const struct image *image); /* no producer id from here on was given out */
uint64_t image_version(const struct image *image);         /* grows with each image */

/* NULL: no such topic. By name is a binary search, by id a look into a table. */
struct image_topic *image_find(const struct image *image, const char *name, size_t name_bytes);
struct image_topic *image_find_id(const struct image *image, const struct uuid *id);
/* By name, internal topics too. */
size_t image_topic_count(const struct image *image);
struct image_topic *image_topic_at(const struct image *image, size_t i);

const char *image_topic_name(const struct image_topic *topic);
const struct uuid *image_topic_id(const struct image_topic *topic);
uint32_t image_topic_partitions(const struct image_topic *topic);
bool image_topic_internal(const struct image_topic *topic);
/* What holds now, the broker's defaults filled in. */
const struct partition_limits *image_topic_limits(const struct image_topic *topic);
/* What the topic has set. */
const struct topic_config *image_topic_config(const struct image_topic *topic);
/* The local replica. NULL: p is out of range, or it is not started yet (it will
 * be in a moment: answer KQ_NO_LEADER, or try again). */
struct partition *image_partition(const struct image_topic *topic, uint32_t p);
/* Brokers that are to hold partition p, the preferred leader first; *count of them. */
const uint32_t *image_replicas(const struct image_topic *topic, uint32_t p, uint32_t *count);
/* The same, then those that may still be in the group's configuration and are to leave. */
struct image_holders {
    const uint32_t *brokers;
    const struct uuid *mixes; /* replica_incarnation() */
    uint32_t wanted_count;    /* the first ones: what image_replicas() says */
    uint32_t count;           /* of all */
    bool moving;              /* the group's leader is to report when it has become so */
    uint32_t changes;         /* of what is wanted, for that report */
};
struct image_holders image_holders(const struct image_topic *topic, uint32_t p);
/* How many replicas a partition of the topic is to have. */
uint32_t image_topic_desired_replicas(const struct image_topic *topic);
/* The members that the group of partition p was founded with; 0: a topic from before
 * clusters, whose one replica founds by itself. */
uint32_t image_founders(const struct image_topic *topic, uint32_t p, struct raft_member *members, uint32_t room);
/* 0, 1, ... partitions - 1, 0, ...: for publishes without a key. */
uint32_t image_topic_next_partition(struct image_topic *topic);

struct image_broker {
    uint32_t id;
    struct uuid incarnation;
    char host[256];
    uint16_t port;
    uint16_t raft_port;
    char kafka_host[256]; /* where Kafka clients find it; as host, if it says nothing else */
    uint16_t kafka_port;  /* 0: none known */
    bool draining;
};
size_t image_broker_count(const struct image *image);
const struct image_broker *image_broker_at(const struct image *image, size_t i);
const struct image_broker *image_find_broker(const struct image *image, uint32_t id); /* NULL: none */
/* Offset in the metadata's log up to which the image has everything. */
uint64_t image_next_off(const struct image *image);

/* ---- for cluster.c alone --------------------------------------------------------- */

/* An image of what is committed. `before` (may be NULL) lends the topics that are
 * the same; `defaults` fill what a topic does not set. NULL: out of memory. */
struct image *image_make(const struct metadata *metadata, const struct image *before,
                         const struct partition_limits *defaults);
/* The same with other defaults. NULL: out of memory. */
struct image *image_with_defaults(const struct image *before, const struct partition_limits *defaults);
/* The same, but partition p of that topic has no handle again. NULL: out of memory. */
struct image *image_without_partition(const struct image *before, const struct uuid *topic_id, uint32_t p);
bool image_same_limits(const struct partition_limits *a, const struct partition_limits *b);
/* Whether the topic's local partitions are all started with these limits. */
bool image_topic_settled(const struct image_topic *topic);
void image_topic_settle(struct image_topic *topic);
/* Sets the handle of partition p; takes a reference of its own. Once. */
void image_topic_set_partition(struct image_topic *topic, uint32_t p, struct partition *partition);
struct image_topic *image_topic_hold(struct image_topic *topic);
void image_topic_drop(struct image_topic **topic);

#endif
