/*
 * The records of `__consumer_offsets`: the only way in which groups change. The
 * formats stand at the head of group_record.c. Later records of a key replace
 * earlier ones and a null value removes what the key names, so that a cleaner may
 * keep the last record of each key alone.
 */
#ifndef KQ_GROUP_GROUP_RECORD_H
#define KQ_GROUP_GROUP_RECORD_H

#include "base/bytes.h"
#include "base/slice.h"
#include "group/group.h"

enum group_record_type {
    GROUP_RECORD_GROUP = 1,
    GROUP_RECORD_CLAIM = 2,
    GROUP_RECORD_SUBSCRIPTION = 3,
    GROUP_RECORD_OFFSET = 4,
    GROUP_RECORD_MEMBER = 5,
};

enum { GROUP_RECORD_MAX_BYTES = 640 * 1024 }; /* of a key or a value */

/* Topics have at most this many partitions; a record that says more is no record. */
enum { GROUP_PARTITIONS_MAX = 1000000 };

/* One record, decoded. Text is NUL-terminated; which members count depends on type. */
struct group_record {
    enum group_record_type type;
    bool gone; /* null value: what the key names is removed */
    char group[GROUP_NAME_MAX_BYTES + 1];
    struct uuid topic_id;
    uint32_t partition;
    struct group_session session; /* CLAIM: part of the key; SUBSCRIPTION: the owner */
    char topic[GROUP_NAME_MAX_BYTES + 1];
    /* GROUP */
    enum group_kind kind;
    uint32_t generation;
    int64_t empty_since_ms;                       /* 0: it has members */
    struct slice protocol_type, protocol, leader; /* GROUP_KIND_CLASSIC; borrowed */
    /* CLAIM */
    uint32_t wanted;
    uint32_t partition_count;
    /* SUBSCRIPTION */
    struct uuid secret;
    /* OFFSET */
    int64_t off;
    int64_t time_ms;
    const uint8_t *metadata; /* decoding: borrowed from the record */
    uint16_t metadata_bytes;
    int32_t leader_epoch; /* -1: not told */
    /* MEMBER */
    struct slice member; /* its id: part of the key */
    struct slice body;   /* the value, which classic_member.c makes and reads */
};

/* Appends the record's key and value to these buffers (failure stays in ->bad). A
 * record that is `gone` has no value: nothing is appended there. */
void group_record_encode(const struct group_record *r, struct buf *key, struct buf *value);
/* KQ_BAD_VERSION, KQ_CORRUPT: no record of ours. value NULL: gone. */
enum kq_err group_record_decode(struct group_record *r, const void *key, size_t key_bytes, const void *value,
                                size_t value_bytes);

#endif
