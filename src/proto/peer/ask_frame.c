#include "proto/peer/ask_frame.h"

void ask_frame_head(uint8_t out[ASK_FRAME_HEAD_BYTES], const struct ask_frame *ask)
{
    memset(out, 0, ASK_FRAME_HEAD_BYTES);
    put_le64(out, ask->number);
    put_le64(out + 8, (uint64_t)ask->wait_us);
    out[16] = ask->verb;
}

enum kq_err ask_frame_decode(const uint8_t *body, size_t body_bytes, struct ask_frame *ask)
{
    struct cursor c = cursor_over(body, body_bytes);
    ask->number = cursor_le64(&c);
    uint64_t wait_us = cursor_le64(&c);
    ask->verb = cursor_u8(&c);
    uint32_t zeros = cursor_u8(&c);
    zeros |= cursor_le16(&c);
    zeros |= cursor_le32(&c);
    if (c.bad || zeros != 0 || wait_us > INT64_MAX || ask->number == 0)
        return KQ_GARBAGE;
    ask->wait_us = (int64_t)wait_us;
    ask->question = slice_of(c.at, cursor_left(&c));
    return KQ_OK;
}

void answer_frame_put(struct buf *out, uint64_t number, const struct fault *fault)
{
    size_t text_bytes = fault->err == KQ_OK ? 0 : strnlen(fault->text, FAULT_TEXT_BYTES - 1);
    buf_le64(out, number);
    buf_le16(out, (uint16_t)fault->err);
    buf_le16(out, (uint16_t)text_bytes);
    buf_le32(out, 0);
    buf_put(out, fault->text, text_bytes);
}

enum kq_err answer_frame_decode(const uint8_t *body, size_t body_bytes, struct answer_frame *answer)
{
    struct cursor c = cursor_over(body, body_bytes);
    answer->number = cursor_le64(&c);
    uint16_t err = cursor_le16(&c);
    uint16_t text_bytes = cursor_le16(&c);
    uint32_t zeros = cursor_le32(&c);
    const uint8_t *text = cursor_bytes(&c, text_bytes);
    if (c.bad || zeros != 0 || answer->number == 0 || err >= KQ_ERR_COUNT || text_bytes >= FAULT_TEXT_BYTES ||
        memchr(text, '\0', text_bytes) != NULL)
        return KQ_GARBAGE;
    answer->fault.err = (enum kq_err)err;
    memcpy(answer->fault.text, text, text_bytes);
    answer->fault.text[text_bytes] = '\0';
    answer->answer = slice_of(c.at, cursor_left(&c));
    return KQ_OK;
}
