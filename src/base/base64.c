/* Base64 (RFC 4648, section 4): padded, no line breaks, nothing else accepted. */
#include "base/base64.h"

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void base64_put(struct buf *out, const uint8_t *data, size_t size_bytes)
{
    if (size_bytes == 0)
        return;
    size_t encoded_bytes = (size_bytes + 2) / 3 * 4;
    uint8_t *to = buf_reserve(out, encoded_bytes);
    if (to == NULL)
        return;
    size_t i = 0;
    for (; i + 3 <= size_bytes; i += 3) {
        uint32_t group = (uint32_t)data[i] << 16 | (uint32_t)data[i + 1] << 8 | data[i + 2];
        *to++ = (uint8_t)digits[group >> 18];
        *to++ = (uint8_t)digits[group >> 12 & 63];
        *to++ = (uint8_t)digits[group >> 6 & 63];
        *to++ = (uint8_t)digits[group & 63];
    }
    if (i < size_bytes) {
        bool two = i + 2 == size_bytes;
        uint32_t group = (uint32_t)data[i] << 16 | (two ? (uint32_t)data[i + 1] << 8 : 0);
        *to++ = (uint8_t)digits[group >> 18];
        *to++ = (uint8_t)digits[group >> 12 & 63];
        *to++ = two ? (uint8_t)digits[group >> 6 & 63] : '=';
        *to++ = '=';
    }
    out->len += encoded_bytes;
}

static int digit_value(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* One group of four; padding only where `last`. Bytes it stands for, or 0. */
static size_t group_get(const char *text, bool last, uint8_t bytes[3])
{
    size_t pads = !last ? 0 : text[2] == '=' && text[3] == '=' ? 2 : text[3] == '=' ? 1 : 0;
    uint32_t group = 0;
    for (size_t i = 0; i < 4; i++) {
        int value = i < 4 - pads ? digit_value(text[i]) : 0;
        if (value < 0)
            return 0;
        group = group << 6 | (uint32_t)value;
    }
    if ((group & ((1U << (8 * pads)) - 1)) != 0) /* bits that nobody would have written */
        return 0;
    for (size_t i = 0; i < 3; i++)
        bytes[i] = (uint8_t)(group >> (16 - 8 * i));
    return 3 - pads;
}

bool base64_get(struct buf *out, const char *text, size_t size_bytes)
{
    size_t before = out->len;
    for (size_t i = 0; i + 4 <= size_bytes; i += 4) {
        uint8_t bytes[3];
        size_t got = group_get(text + i, i + 4 == size_bytes, bytes);
        if (got == 0) {
            out->len = before;
            return false;
        }
        buf_put(out, bytes, got);
    }
    if (size_bytes % 4 != 0)
        out->len = before;
    return size_bytes % 4 == 0;
}
