/*
 * What brokers say while a cluster forms: the body of a PEER_FORM frame, both ways.
 *
 *    u8 version = 1, u8 flags (1: has a cluster), u16 zero
 *    the speaker, a member
 *    u8 count, count broker ids u32, ascending: its --peers (none: count 0)
 *    if it has a cluster: cluster id 16 | metadata topic id 16 | u8 count, count founders,
 *    members, by broker id
 *
 *    a member: broker id u32 | incarnation 16 | text host | port u16 | raft port u16
 *
 * Little-endian; a text is a length of one byte and the bytes. PURE.
 */
#ifndef KQ_PROTO_PEER_FORM_H
#define KQ_PROTO_PEER_FORM_H

#include "base/bytes.h"
#include "base/err.h"
#include "base/uuid.h"

enum { FORM_MEMBERS_MAX = 16, FORM_HOST_MAX_BYTES = 255 };

struct form_member {
    uint32_t broker_id;
    struct uuid incarnation;
    char host[FORM_HOST_MAX_BYTES + 1]; /* where clients and brokers reach it */
    uint16_t port;
    uint16_t raft_port;
};

/* What a cluster was founded with; written once, never changed. */
struct founding {
    struct uuid cluster_id; /* zero: there is none */
    struct uuid metadata_id;
    uint32_t count;
    struct form_member members[FORM_MEMBERS_MAX]; /* by broker id */
};

struct form {
    struct form_member self;
    uint32_t listed_count;
    uint32_t listed[FORM_MEMBERS_MAX];
    bool founded;
    struct founding founding;
};

/* Appends; failure stays in out->bad. */
void form_encode(const struct form *form, struct buf *out);
/* KQ_GARBAGE, KQ_BAD_VERSION. */
enum kq_err form_decode(const uint8_t *body, size_t body_bytes, struct form *form);

/* The member with this broker id, or NULL. */
const struct form_member *founding_find(const struct founding *founding, uint32_t broker_id);

#endif
