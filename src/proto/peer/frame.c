#include "proto/peer/frame.h"

#include "base/crc32c.h"
#include "base/require.h"

enum { AT_SIZE = 0, AT_CRC = 4, AT_TYPE = 8, AT_FLAGS = 9, AT_CHECK = 10, KIND_BYTES = 4 };

uint32_t peer_frame_seed(uint64_t dialer_session, uint64_t acceptor_session)
{
    uint8_t both[16];
    put_le64(both, dialer_session);
    put_le64(both + 8, acceptor_session);
    return crc32c(0, both, sizeof both);
}

uint16_t peer_frame_head_check(const uint8_t head[PEER_FRAME_HEAD_BYTES])
{
    uint32_t crc = crc32c(0, head, AT_CHECK);
    uint16_t check = (uint16_t)(crc ^ crc >> 16);
    return check == 0 ? UINT16_MAX : check;
}

static uint32_t frame_crc(uint32_t seed, enum peer_frame_type type, uint8_t flags, uint32_t body_bytes,
                          uint32_t body_crc)
{
    const uint8_t kind[KIND_BYTES] = {(uint8_t)type, flags, 0, 0};
    return crc32c_combine(crc32c(seed, kind, sizeof kind), body_crc, body_bytes);
}

void peer_frame_head_of(uint8_t head[PEER_FRAME_HEAD_BYTES], uint32_t seed, enum peer_frame_type type, uint8_t flags,
                        uint32_t body_bytes, uint32_t body_crc)
{
    REQUIRE(body_bytes <= PEER_FRAME_MAX_BYTES);
    put_le32(head + AT_SIZE, body_bytes + KIND_BYTES);
    put_le32(head + AT_CRC, frame_crc(seed, type, flags, body_bytes, body_crc));
    head[AT_TYPE] = (uint8_t)type;
    head[AT_FLAGS] = flags;
    put_le16(head + AT_CHECK, type == PEER_REFUSAL ? 0 : peer_frame_head_check(head));
}

void peer_frame_head(uint8_t head[PEER_FRAME_HEAD_BYTES], uint32_t seed, enum peer_frame_type type, uint8_t flags,
                     const struct slice *parts, size_t part_count)
{
    uint32_t crc = 0;
    size_t body_bytes = 0;
    for (size_t i = 0; i < part_count; i++) {
        crc = crc32c(crc, parts[i].data, parts[i].len);
        body_bytes += parts[i].len;
    }
    REQUIRE(body_bytes <= PEER_FRAME_MAX_BYTES);
    peer_frame_head_of(head, seed, type, flags, (uint32_t)body_bytes, crc);
}

/* Greetings may have none: what a broker of version 1 says is to be understood that far. */
static bool head_is_whole(const uint8_t head[PEER_FRAME_HEAD_BYTES], uint8_t type)
{
    uint16_t check = get_le16(head + AT_CHECK);
    if (check == 0 && (type == PEER_HELLO || type == PEER_REFUSAL))
        return true;
    return check == peer_frame_head_check(head);
}

enum kq_err peer_frame_parse(const uint8_t head[PEER_FRAME_HEAD_BYTES], uint32_t limit_bytes, struct peer_frame *frame)
{
    uint32_t size_bytes = get_le32(head + AT_SIZE);
    uint8_t type = head[AT_TYPE];
    if (type < PEER_HELLO || type >= PEER_FRAME_TYPE_END || !head_is_whole(head, type) || size_bytes < KIND_BYTES)
        return KQ_GARBAGE;
    if (size_bytes - KIND_BYTES > limit_bytes)
        return KQ_TOO_LARGE;
    *frame = (struct peer_frame){.type = (enum peer_frame_type)type,
                                 .flags = head[AT_FLAGS],
                                 .body_bytes = size_bytes - KIND_BYTES,
                                 .crc = get_le32(head + AT_CRC)};
    return KQ_OK;
}

bool peer_frame_check_crc(const struct peer_frame *frame, uint32_t seed, uint32_t body_crc)
{
    return frame->crc == frame_crc(seed, frame->type, frame->flags, frame->body_bytes, body_crc);
}

bool peer_frame_check(const struct peer_frame *frame, uint32_t seed, const uint8_t *body)
{
    return peer_frame_check_crc(frame, seed, crc32c(0, body, frame->body_bytes));
}
