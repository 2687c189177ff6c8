/*
 * The beat of a pair of brokers, the body of a PEER_BEAT frame:
 *
 *     0  8  number: 1 is the first of a connection
 *     8  8  session of the connection whose beats are acknowledged; 0: none
 *    16  8  the last of them that was applied
 *    24  4  changes
 *    28  1  bits: 1 the list begins anew, 2 the list goes on in the next beat
 *    29  3  zero
 *    32 48  for each change: topic id, partition le32, kind u8, 3 zero, term le64,
 *           incarnation of the speaker's replica
 *
 * A change says what the speaker's replica of a group does: it LEADS, in this term; it
 * FOLLOWS the listener, in this term; or NONE of both, any more. What was said last
 * stands until the next change of that group, the next list, or a silence. PURE.
 */
#ifndef KQ_PROTO_PEER_BEAT_H
#define KQ_PROTO_PEER_BEAT_H

#include "base/bytes.h"
#include "base/err.h"
#include "base/uuid.h"

enum {
    BEAT_HEAD_BYTES = 32,
    BEAT_CHANGE_BYTES = 48,
    BEAT_CHANGES_MAX = 4096, /* of one beat */
};

enum beat_kind { BEAT_NONE, BEAT_LEADS, BEAT_FOLLOWS, BEAT_KIND_END };

struct beat_change {
    struct uuid topic_id;
    uint32_t partition;
    enum beat_kind kind;
    uint64_t term;
    struct uuid incarnation;
};

struct beat {
    uint64_t number;
    uint64_t ack_session;
    uint64_t ack_number;
    uint32_t change_count;
    bool anew;
    bool more;
    const uint8_t *changes; /* decoded: borrowed */
};

/* Then beat_put_change() once for each of change_count. Failure is in out->bad. */
void beat_put_head(struct buf *out, const struct beat *beat);
void beat_put_change(struct buf *out, const struct beat_change *change);
/* KQ_GARBAGE: not a beat. All changes are looked at. */
enum kq_err beat_decode(const uint8_t *body, size_t body_bytes, struct beat *beat);
void beat_change(const struct beat *beat, uint32_t n, struct beat_change *change);

#endif
