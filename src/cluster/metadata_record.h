/*
 * The records of `__cluster_metadata`: the only way in which metadata changes. The
 * formats stand at the head of metadata_record.c. A later record of a key replaces
 * the earlier one, a null value removes it.
 */
#ifndef KQ_CLUSTER_METADATA_RECORD_H
#define KQ_CLUSTER_METADATA_RECORD_H

#include "base/bytes.h"
#include "cluster/metadata.h"

enum metadata_record_type {
    METADATA_RECORD_CLUSTER = 1,
    METADATA_RECORD_BROKER = 2,
    METADATA_RECORD_TOPIC = 3,
    METADATA_RECORD_CONFIG = 4,
    METADATA_RECORD_PRODUCERS = 5,
    METADATA_RECORD_BROKER_STATE = 6,
    METADATA_RECORD_PARTITION = 7,
    METADATA_RECORD_END,
};

struct metadata_record {
    enum metadata_record_type type;
    bool gone;
    struct uuid cluster_id;        /* CLUSTER */
    struct metadata_broker broker; /* BROKER; its id is the key */
    bool draining;                 /* BROKER_STATE; broker.id is the key */
    bool removed;                  /* BROKER_STATE: broker.incarnation is not to come again */
    struct uuid topic_id;          /* TOPIC, CONFIG, PARTITION: the key */
    char topic[TOPIC_NAME_MAX_BYTES + 1];
    bool internal;
    uint32_t partition_count;
    uint32_t replica_count;
    const uint32_t *replicas;     /* encoding: partition_count * replica_count ids */
    const uint8_t *replica_bytes; /* decoding: as many le32, borrowed */
    uint32_t desired_count;
    uint32_t founder_count;
    const struct metadata_founder *founders; /* encoding */
    const uint8_t *founder_bytes;            /* decoding: founder_width bytes each, borrowed */
    uint32_t founder_width;
    uint32_t partition; /* PARTITION: part of the key */
    struct metadata_partition holders;
    enum topic_config_key config_key; /* CONFIG: part of the key */
    int64_t config_value;
    uint64_t next_producer_id; /* PRODUCERS */
};

/* Appends key and value (failure stays in ->bad); nothing to value if `gone`. */
void metadata_record_encode(const struct metadata_record *r, struct buf *key, struct buf *value);
/* KQ_BAD_VERSION, KQ_CORRUPT: no record of ours. value NULL: gone. */
enum kq_err metadata_record_decode(struct metadata_record *r, const void *key, size_t key_bytes, const void *value,
                                   size_t value_bytes);

#endif
