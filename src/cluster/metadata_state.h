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
    struct metadata_founder *removed; /* brokers that are not to come again as they were */
    size_t removed_count;
    struct metadata_topic **topics; /* by name */
    size_t topic_count;
    size_t topic_room;
    size_t internal_count;
    struct map by_name;
    struct map by_id;
    uint64_t next_producer_id;
    uint64_t next_off;     /* of the log: what comes before it is applied */
    uint64_t version;      /* of the last change; goes on growing over a reset */
    uint64_t told_version; /* what `changed` was called for */
    struct buf key;        /* of the record being made */
    struct buf value;
};

enum {
    METADATA_TAG = 0x6b716d64,
    METADATA_RECORD_BYTES = 1024 + METADATA_PARTITIONS_MAX * METADATA_REPLICAS_MAX * 4 + METADATA_FOUNDERS_MAX * 24
};

/* ---- metadata_state.c -------------------------------------------------------------- */

void metadata_apply(struct metadata *m, const struct metadata_record *r);
void metadata_clear(struct metadata *m);
const struct metadata_topic *metadata_find_id(const struct metadata *m, const struct uuid *id);
bool metadata_is_removed(const struct metadata *m, uint32_t id, const struct uuid *incarnation);
const struct metadata_broker *metadata_find_broker(const struct metadata *m, uint32_t id);

/* ---- metadata.c ----------------------------------------------------------------------- */

void metadata_propose(struct metadata *m, struct machine_turn *turn, const struct metadata_record *r);
/* The topic a user means, or NULL with the call's fault. */
const struct metadata_topic *metadata_find_for_user(const struct metadata *m, struct metadata_call *call);

/* ---- metadata_topics.c: topics, their settings and partitions ------------------------- */

void metadata_create_topic(struct metadata *m, struct metadata_call *call, struct machine_turn *turn);
void metadata_delete_topic(struct metadata *m, struct metadata_call *call, struct machine_turn *turn);
void metadata_set_config(struct metadata *m, struct metadata_call *call, struct machine_turn *turn);
void metadata_add_partitions(struct metadata *m, struct metadata_call *call, struct machine_turn *turn);

/* ---- metadata_place.c: who is to hold what ------------------------------------------- */

struct place_load {
    uint32_t id;
    uint32_t replicas;
    uint32_t leaders; /* preferred ones */
    bool alive;
    bool eligible; /* not draining */
    bool taken;    /* scratch: in the list at hand */
};

/* Of every broker, by id, over all targets. The caller frees it; NULL: out of memory (or no brokers). */
struct place_load *place_loads(const struct metadata *m, const uint32_t *alive, size_t alive_count);
struct place_load *place_find(struct place_load *loads, size_t count, uint32_t id);
/* Brokers that may be given replicas; with those that do not live, if `dead`. */
uint32_t place_eligible(const struct place_load *loads, size_t count, bool dead);
/* Holders of a new partition: leaders and replicas are spread, the living come first; `turn`
 * breaks ties, so that equal brokers take turns. Counts them in. replica_count is at most
 * place_eligible(dead). */
void place_partition(struct place_load *loads, size_t count, size_t turn, uint32_t replica_count, uint32_t *replicas);
/* Adds living, eligible brokers that are not in the list until it has `wanted`; counts them
 * in; the new length. */
uint32_t place_fill(struct place_load *loads, size_t count, uint32_t *list, uint32_t have, uint32_t wanted);

/* ---- metadata_order.c: who is to hold what from now on ---------------------------------- */

void metadata_order(struct metadata *m, struct metadata_call *call, struct machine_turn *turn);
void metadata_settled(struct metadata *m, struct metadata_call *call, struct machine_turn *turn);
void metadata_replace(struct metadata *m, struct metadata_call *call, struct machine_turn *turn);
void metadata_own(struct metadata *m, struct metadata_call *call, struct machine_turn *turn);
void metadata_rehouse(struct metadata *m, struct metadata_call *call, struct machine_turn *turn);
void metadata_grow(struct metadata *m, struct metadata_call *call, struct machine_turn *turn);

/* ---- metadata_snapshot.c ------------------------------------------------------------- */

void metadata_snapshot(const void *machine, struct buf *out);
enum kq_err metadata_restore(void *machine, const void *bytes, size_t size_bytes, struct fault *fault);

#endif
