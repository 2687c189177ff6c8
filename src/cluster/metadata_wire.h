/*
 * A call to the metadata's machine, and its answer, as bytes between brokers.
 *
 * The question (little-endian; a text is a length u8 and the bytes, or u16 for values):
 *
 *    u8 version = 3, u8 hops (1: it was passed on, and is not again), u8 verb (enum
 *    metadata_verb + 1; 0: a barrier, with nothing behind it)
 *    broker: u32 id, 16 incarnation, text host, u16 port, u16 raft port
 *    u8 has topic, text; u32 partitions, u32 replicas, u8 internal
 *    limits: 3 u32 | 16 topic id | u8 flags (1: dry, 2: exclusive, 4: replace) | u32 count
 *    u16 settings, each text key, u8 op, i64 value | u16 assigned, u32 each
 *    u8 order, u32 partition | u8 brokers, u32 each | u8 replicas, each u32 broker, 16 mix
 *
 * The answer: u8 version = 3 | 16 topic id | u8 existed | i64 producer id | u32 count | u32 replicas; of a
 * barrier: u8 version = 3 | u64 offset. Errors travel beside it. PURE.
 */
#ifndef KQ_CLUSTER_METADATA_WIRE_H
#define KQ_CLUSTER_METADATA_WIRE_H

#include "cluster/metadata.h"

enum { METADATA_WIRE_TEXT_BYTES = 256, METADATA_WIRE_BYTES_MAX = 12 * 1024, METADATA_WIRE_HOPS_AT = 1 };

/* Where the texts and lists of a decoded call live. */
struct metadata_wire_texts {
    char topic[METADATA_WIRE_TEXT_BYTES];
    struct topic_config_setting settings[TOPIC_CONFIG_SETTINGS_MAX];
    uint32_t assigned[METADATA_ASSIGNED_MAX];
};

/* Appends; texts that are too long leave out->bad. */
void metadata_wire_encode(const struct metadata_call *call, struct buf *out);
void metadata_wire_encode_barrier(struct buf *out);
/* *barrier: it is one, and *call is not set. KQ_GARBAGE, KQ_BAD_VERSION. call points into texts. */
enum kq_err metadata_wire_decode(const uint8_t *body, size_t body_bytes, struct metadata_call *call,
                                 struct metadata_wire_texts *texts, bool *barrier);

void metadata_wire_encode_answer(const struct metadata_call *call, struct buf *out);
enum kq_err metadata_wire_decode_answer(const uint8_t *body, size_t body_bytes, struct metadata_call *call);
void metadata_wire_encode_offset(uint64_t off, struct buf *out);
enum kq_err metadata_wire_decode_offset(const uint8_t *body, size_t body_bytes, uint64_t *off);

#endif
