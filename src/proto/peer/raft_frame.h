/*
 * A raft message of one group as the body of a PEER_RAFT frame:
 *
 *      0  16  topic id
 *     16   4  partition
 *     20   1  type (enum raft_message_type)
 *     21   1  bits: 1 granted, 2 forced, 4 refused, 8 there is a configuration
 *     22   2  zero
 *     24  20  from: broker id, incarnation
 *     44  20  to
 *     64  96  term, prev_idx, prev_term, last_idx, entry_term, commit_idx, match_idx,
 *             hint_idx, hint_term, round, boot, to_boot
 *    160   8  idx of the configuration
 *    168   8  offset of the next record    where a RESET begins anew
 *    176   8  log start offset
 *    184   4  seats
 *    188   4  entries
 *    192   4  bytes of state
 *    196   4  zero
 *    200  24  for each seat: broker id, incarnation, kinds
 *         48  for each entry: type u8, 3 zero, record count le32, first offset, largest
 *             time, body's bytes le32, body's checksum le32, term, idx
 *             state
 *             the bodies, back to back
 *
 * Little-endian. Whoever sends puts head, seats and entry heads into one buffer, and
 * the bodies behind it from where they lie. PURE.
 */
#ifndef KQ_PROTO_PEER_RAFT_FRAME_H
#define KQ_PROTO_PEER_RAFT_FRAME_H

#include "base/bytes.h"
#include "base/err.h"
#include "raft/raft.h"

enum {
    RAFT_FRAME_HEAD_BYTES = 200,
    RAFT_FRAME_SEAT_BYTES = 24,
    RAFT_FRAME_ENTRY_BYTES = 48,
    RAFT_FRAME_ENTRIES_MAX = 4096, /* of one message */
};

/* Terms, indexes, rounds and boots stay below it. */
#define RAFT_FRAME_NUMBER_END (UINT64_C(1) << 62)

/* The head of an entry; what the log of the receiver needs of it. */
struct raft_frame_entry {
    uint8_t type; /* enum log_entry_type */
    uint64_t term;
    uint64_t idx;
    int64_t first_off;
    uint32_t record_count;
    int64_t max_time_ms;
    uint32_t body_bytes;
    uint32_t body_crc; /* crc32c(0, body) */
};

struct raft_frame {
    struct uuid topic_id;
    uint32_t partition;
    struct raft_message message; /* decoded: config is NULL, see seat_count */
    int64_t next_off;
    int64_t start_off;
    uint32_t entry_count;
    uint32_t state_bytes;
    /* decoded, borrowed from the body */
    bool has_config;
    uint64_t config_idx;
    uint32_t seat_count;
    const uint8_t *seats;
    const uint8_t *entries;
    const uint8_t *state;
    const uint8_t *bodies;
    size_t meta_bytes; /* of all that comes before the bodies */
};

/* Head and configuration; raft_frame_put_entry() then once for each of entry_count,
 * then comes the state. Failure is in out->bad. */
void raft_frame_put_head(struct buf *out, const struct raft_frame *frame);
void raft_frame_put_entry(struct buf *out, const struct raft_frame_entry *entry);

/* KQ_GARBAGE: sizes do not add up, a field cannot be, or the entries do not follow
 * each other from prev_idx on. The bodies' checksums are not looked at. */
enum kq_err raft_frame_decode(const uint8_t *body, size_t body_bytes, struct raft_frame *frame);
/* Of a decoded frame. */
void raft_frame_seat(const struct raft_frame *frame, uint32_t n, struct raft_seat *seat);
void raft_frame_entry(const struct raft_frame *frame, uint32_t n, struct raft_frame_entry *entry);
/* crc32c(0, body) in one pass. False: an entry's body does not match its own checksum. */
bool raft_frame_crc(const struct raft_frame *frame, const uint8_t *body, uint32_t *crc);

#endif
