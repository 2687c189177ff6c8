/* The body of struct metadata, for metadata*.c alone. */
#ifndef KQ_CLUSTER_METADATA_STATE_H
#define KQ_CLUSTER_METADATA_STATE_H

#include "base/map.h"
#include "cluster/metadata.h"
#include "cluster/metadata_record.h"

struct metadata {
    uint32_t tag;
    struct metadata_options options;
    struct uuid cluster_id;
    struct metadata_broker **brokers; /* by id */
    size_t broker_count;
    struct metadata_topic **topics; /* by name */
    size_t topic_count;
    size_t topic_room;
    size_t internal_count;
    struct map by_name;
    struct map by_id;
    uint64_t next_producer_id;
    uint64_t version;      /* of the last change; goes on growing over a reset */
    uint64_t told_version; /* what `changed` was called for */
    struct buf key;        /* of the record being made */
    struct buf value;
};

enum { METADATA_TAG = 0x6b716d64, METADATA_RECORD_BYTES = 64 + METADATA_PARTITIONS_MAX * METADATA_REPLICAS_MAX * 4 };

/* ---- metadata_state.c -------------------------------------------------------------- */

void metadata_apply(struct metadata *m, const struct metadata_record *r);
void metadata_clear(struct metadata *m);
const struct metadata_topic *metadata_find_id(const struct metadata *m, const struct uuid *id);
const struct metadata_broker *metadata_find_broker(const struct metadata *m, uint32_t id);
/* Replicas that the broker is to hold. */
uint32_t metadata_count_replicas(const struct metadata *m, uint32_t broker_id);

/* ---- metadata_snapshot.c ------------------------------------------------------------- */

void metadata_snapshot(const void *machine, struct buf *out);
enum kq_err metadata_restore(void *machine, const void *bytes, size_t size_bytes, struct fault *fault);

#endif
