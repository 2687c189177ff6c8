/* The body of a CONFIG entry; its format stands in packet.h. The same bytes name a
 * configuration in stored states and in a RESET on the wire. */
#include "base/bytes.h"
#include "base/require.h"
#include "partition/packet.h"

enum { CONFIG_BODY_VERSION = 1 };

void config_body_encode(const struct raft_config *config, struct buf *out)
{
    REQUIRE(config->count <= UINT16_MAX);
    buf_u8(out, CONFIG_BODY_VERSION);
    buf_u8(out, 0);
    buf_le16(out, (uint16_t)config->count);
    for (uint32_t i = 0; i < config->count; i++) {
        const struct raft_seat *seat = &config->seats[i];
        buf_le32(out, seat->member.broker_id);
        buf_put(out, seat->member.incarnation.bytes, UUID_BYTES);
        buf_le32(out, seat->kinds);
    }
}

enum kq_err config_body_decode(const uint8_t *body, size_t body_bytes, struct raft_config *config, uint32_t room)
{
    struct cursor in = cursor_over(body, body_bytes);
    uint8_t version = cursor_u8(&in);
    if (!in.bad && version != CONFIG_BODY_VERSION)
        return KQ_BAD_VERSION;
    (void)cursor_u8(&in);
    uint32_t count = cursor_le16(&in);
    if (in.bad || cursor_left(&in) != count * (size_t)(8 + UUID_BYTES))
        return KQ_CORRUPT;
    if (count > room)
        return KQ_LIMIT;
    for (uint32_t i = 0; i < count; i++) {
        struct raft_seat *seat = &config->seats[i];
        seat->member.broker_id = cursor_le32(&in);
        cursor_copy(&in, seat->member.incarnation.bytes, UUID_BYTES);
        seat->kinds = cursor_le32(&in);
    }
    config->count = count;
    return in.bad ? KQ_CORRUPT : KQ_OK;
}
