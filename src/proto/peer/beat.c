#include "proto/peer/beat.h"

enum { BIT_ANEW = 1, BIT_MORE = 2, BITS_ALL = 3 };

void beat_put_head(struct buf *out, const struct beat *beat)
{
    buf_le64(out, beat->number);
    buf_le64(out, beat->ack_session);
    buf_le64(out, beat->ack_number);
    buf_le32(out, beat->change_count);
    buf_u8(out, (uint8_t)((beat->anew ? BIT_ANEW : 0) | (beat->more ? BIT_MORE : 0)));
    buf_zeros(out, 3);
}

void beat_put_change(struct buf *out, const struct beat_change *change)
{
    buf_put(out, change->topic_id.bytes, UUID_BYTES);
    buf_le32(out, change->partition);
    buf_u8(out, (uint8_t)change->kind);
    buf_zeros(out, 3);
    buf_le64(out, change->term);
    buf_put(out, change->incarnation.bytes, UUID_BYTES);
}

static bool take_change(struct cursor *c, struct beat_change *change)
{
    *change = (struct beat_change){.kind = BEAT_NONE};
    cursor_copy(c, change->topic_id.bytes, UUID_BYTES);
    change->partition = cursor_le32(c);
    uint8_t kind = cursor_u8(c);
    bool zeros = cursor_u8(c) == 0;
    zeros = cursor_le16(c) == 0 && zeros;
    change->term = cursor_le64(c);
    cursor_copy(c, change->incarnation.bytes, UUID_BYTES);
    change->kind = kind < BEAT_KIND_END ? (enum beat_kind)kind : BEAT_NONE;
    return !c->bad && zeros && kind < BEAT_KIND_END && (kind == BEAT_NONE || change->term != 0);
}

enum kq_err beat_decode(const uint8_t *body, size_t body_bytes, struct beat *beat)
{
    struct cursor c = cursor_over(body, body_bytes);
    beat->number = cursor_le64(&c);
    beat->ack_session = cursor_le64(&c);
    beat->ack_number = cursor_le64(&c);
    beat->change_count = cursor_le32(&c);
    uint8_t bits = cursor_u8(&c);
    bool zeros = cursor_u8(&c) == 0;
    zeros = cursor_le16(&c) == 0 && zeros;
    if (c.bad || !zeros || (bits & ~BITS_ALL) != 0 || beat->number == 0 || beat->change_count > BEAT_CHANGES_MAX ||
        cursor_left(&c) != (size_t)beat->change_count * BEAT_CHANGE_BYTES)
        return KQ_GARBAGE;
    beat->anew = (bits & BIT_ANEW) != 0;
    beat->more = (bits & BIT_MORE) != 0;
    beat->changes = c.at;
    for (uint32_t i = 0; i < beat->change_count; i++) {
        struct beat_change change;
        if (!take_change(&c, &change))
            return KQ_GARBAGE;
    }
    return KQ_OK;
}

void beat_change(const struct beat *beat, uint32_t n, struct beat_change *change)
{
    struct cursor c = cursor_over(beat->changes + (size_t)n * BEAT_CHANGE_BYTES, BEAT_CHANGE_BYTES);
    (void)take_change(&c, change);
}
