/*
 * Who holds the partitions of a topic, laid out for lookups: shared by the images that
 * have the topic alike, and never changed. For image.c alone.
 */
#ifndef KQ_CLUSTER_HOLDERS_H
#define KQ_CLUSTER_HOLDERS_H

#include "cluster/metadata.h"
#include "raft/raft.h"

#include <stdatomic.h>

struct holders {
    _Atomic uint32_t references;
    uint32_t founder_replicas; /* of a partition at the founding; 0: from before clusters */
    uint32_t partition_count;
    struct raft_member *founders; /* [partition * founder_replicas + i] */
    uint32_t *first;              /* [partition + 1]: where its brokers begin */
    uint8_t *wanted;              /* [partition]: how many of them are wanted */
    bool *moving;
    uint32_t *changes; /* [partition]: metadata_partition.changes */
    uint32_t *brokers; /* of a partition: the wanted ones, then those that are to leave */
    struct uuid *mixes;
};

/* With one reference. NULL: out of memory. */
struct holders *holders_make(const struct metadata_topic *from);
/* Any thread, both. drop: h may be NULL. */
struct holders *holders_hold(struct holders *h);
void holders_drop(struct holders *h);

#endif
