/*
 * What CLUS STATUS said, as the client's cluster commands need it: read from the reply,
 * shown to a person, and compared with what it said before. Pure.
 */
#ifndef KQ_CLIENT_PLACEMENT_H
#define KQ_CLIENT_PLACEMENT_H

#include "base/bytes.h"
#include "base/err.h"

#include <yajl/yajl_tree.h>

enum { PLACEMENT_REPLICAS_MAX = 16 };

struct placement_broker {
    int64_t id;
    char host[256];
    int64_t port, raft_port;
    bool alive, draining, controller;
    int64_t replicas, leaders;
};

struct placement_replica {
    int64_t broker;
    bool wanted, voter, in_sync;
    int64_t lag; /* -1: not known */
};

struct placement_partition {
    char *topic;
    int64_t number;
    int64_t leader; /* 0: none */
    bool moving;
    bool lost; /* for good */
    uint32_t replica_count;
    struct placement_replica replicas[PLACEMENT_REPLICAS_MAX];
};

struct placement {
    struct placement_broker *brokers;
    size_t broker_count;
    struct placement_partition *partitions; /* as the broker sent them: by topic and number */
    size_t partition_count;
    int64_t total, leaderless, lacking, moving, lost;
};

/* The Data of a reply to CLUS STATUS. KQ_GARBAGE: it is none. Fini it in any case. */
enum kq_err placement_read(struct placement *placement, yajl_val data, struct fault *fault);
void placement_fini(struct placement *placement);

/* NULL: no such broker. */
const struct placement_broker *placement_find_broker(const struct placement *placement, int64_t id);
/* NULL: not among those listed. */
const struct placement_partition *placement_find(const struct placement *placement, const char *topic, int64_t number);
/* Entries that replicas lack, as far as known. */
int64_t placement_lag(const struct placement *placement);

/* For a person: brokers, a sentence about the partitions, and those that are listed. */
void placement_show(struct buf *out, const struct placement *placement);

struct placement_changes {
    uint32_t replicas; /* that a broker holds now and did not before */
    uint32_t leaders;
};
/* What changed, both with all partitions listed; a line for each partition that changed into
 * `out` (may be NULL), at most `most` lines and a last one that says how many more. */
struct placement_changes placement_compare(struct buf *out, const struct placement *before,
                                           const struct placement *after, uint32_t most);

#endif
