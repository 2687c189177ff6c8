/*
 * Frames between brokers: what is sent over every connection to a raft port.
 *
 *    le32 size_bytes   of what follows the checksum: type, flags, head_check, body
 *    le32 crc32c       of type, flags, two zeros and body, seeded
 *    u8 type, u8 flags
 *    le16 head_check   of the ten bytes before
 *    body
 *
 * The head has a check of its own since its size is acted upon before the body is
 * there: a damaged one would keep a receiver deaf until that many bytes have come. A
 * head that does not match ends the connection at once. A refusal has 0 there, as
 * frames of version 1 have, so that every version can read why it was refused (its end
 * is the connection's); a hello with 0 is taken, so that a broker of version 1 is told
 * its version.
 *
 * The seed is 0 for the hellos and for a refusal, and made of both sides' session
 * numbers for all that follows: bytes that were recorded on another connection
 * do not pass on this one.
 *
 * A frame's size is looked at before anything is allocated: the limit is the
 * receiver's (PEER_FRAME_SMALL_BYTES before the hello has been exchanged).
 * PURE: bytes in, facts out; no socket.
 */
#ifndef KQ_PROTO_PEER_FRAME_H
#define KQ_PROTO_PEER_FRAME_H

#include "base/bytes.h"
#include "base/err.h"
#include "base/slice.h"

enum {
    PEER_VERSION = 2,
    PEER_FRAME_HEAD_BYTES = 12,
    PEER_FRAME_SMALL_BYTES = 64 * 1024,
    PEER_FRAME_MAX_BYTES = 160 * 1024 * 1024, /* after the hello: a body; the largest message, twice, and a state */
    PEER_WRITE_MAX_BYTES = 1024 * 1024,       /* of one writev, unless one frame is larger */
};

enum peer_frame_type {
    PEER_HELLO = 1,
    PEER_REFUSAL = 2, /* body: le16 enum kq_err, text for a person; the connection ends */
    PEER_BEAT = 3,
    PEER_RAFT = 4,
    PEER_ASK = 5,
    PEER_ANSWER = 6,
    PEER_FORM = 7, /* what a broker without a cluster is told */
    PEER_FRAME_TYPE_END,
};

struct peer_frame {
    enum peer_frame_type type;
    uint8_t flags;
    uint32_t body_bytes;
    uint32_t crc;
};

/* Of the frames behind two hellos with these session numbers. */
uint32_t peer_frame_seed(uint64_t dialer_session, uint64_t acceptor_session);

/* Head of a frame whose body's parts come right behind it. */
void peer_frame_head(uint8_t head[PEER_FRAME_HEAD_BYTES], uint32_t seed, enum peer_frame_type type, uint8_t flags,
                     const struct slice *parts, size_t part_count);
/* The same from crc32c(0, body), for bodies whose parts have checksums already. */
void peer_frame_head_of(uint8_t head[PEER_FRAME_HEAD_BYTES], uint32_t seed, enum peer_frame_type type, uint8_t flags,
                        uint32_t body_bytes, uint32_t body_crc);
/* What head_check has to be, of the bytes before it; never 0. */
uint16_t peer_frame_head_check(const uint8_t head[PEER_FRAME_HEAD_BYTES]);
/* What a head says. KQ_GARBAGE: no frame, or damaged; KQ_TOO_LARGE: above limit_bytes. */
enum kq_err peer_frame_parse(const uint8_t head[PEER_FRAME_HEAD_BYTES], uint32_t limit_bytes, struct peer_frame *frame);
/* Whether the body is the one that the head was made for. */
bool peer_frame_check(const struct peer_frame *frame, uint32_t seed, const uint8_t *body);
/* The same from crc32c(0, body). */
bool peer_frame_check_crc(const struct peer_frame *frame, uint32_t seed, uint32_t body_crc);

#endif
