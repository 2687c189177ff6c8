/*
 * The first frame each way over a connection: who speaks, and whom it wants.
 *
 *    le32 magic "KQp1"    the same in every version
 *    le16 version
 *    u8 kind, u8 zero
 *    16 cluster id        zero: none yet
 *    le32 broker id, 16 incarnation, le64 boot    of the speaker
 *    le32 broker id, 16 incarnation               whom it wants to reach; zero: anybody
 *    le64 session         random, for each connection
 *
 * A later version may add fields: what follows version then is not looked at.
 * PURE.
 */
#ifndef KQ_PROTO_PEER_HELLO_H
#define KQ_PROTO_PEER_HELLO_H

#include "base/bytes.h"
#include "base/err.h"
#include "base/uuid.h"

enum peer_kind {
    PEER_KIND_RAFT = 1,
    PEER_KIND_CATCH_UP = 2,
    PEER_KIND_ASK = 3,
    PEER_KIND_FORM = 4, /* between brokers of which one has no cluster yet */
    PEER_KIND_END,
};

enum { HELLO_BYTES = 80 };

struct hello {
    uint16_t version;
    enum peer_kind kind;
    struct uuid cluster_id;
    uint32_t broker_id;
    struct uuid incarnation;
    uint64_t boot;
    uint32_t to_broker_id;
    struct uuid to_incarnation;
    uint64_t session;
};

void hello_encode(const struct hello *hello, uint8_t out[HELLO_BYTES]);
/* KQ_GARBAGE: not a hello. KQ_BAD_VERSION: one of another version; only version is set. */
enum kq_err hello_decode(const uint8_t *body, size_t body_bytes, struct hello *hello);

/* Whether `self` (as it would greet) may talk with `other`, from what both say alone: the
 * same cluster unless the kind is FORM, two different brokers, and each the one that
 * the other wants to reach. *fault: what is wrong, and what to do, said by `self` of the
 * one at `place` ("10.0.0.7:7070"). KQ_INVALID: another cluster, or not who was wanted;
 * KQ_EXISTS: itself, or two brokers with one id; KQ_AGAIN: one of them has a new data
 * folder that the other does not know of yet. */
enum kq_err hello_judge(const struct hello *self, const struct hello *other, const char *place, struct fault *fault);

const char *peer_kind_name(enum peer_kind kind);

#endif
