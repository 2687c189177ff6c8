#include "base/bytes.h"

#include "base/require.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void cursor_copy(struct cursor *c, void *to, size_t size_bytes)
{
    const uint8_t *p = cursor_bytes(c, size_bytes);
    if (p != NULL)
        memcpy(to, p, size_bytes);
}

void cursor_text8(struct cursor *c, char *text, size_t room)
{
    size_t len = cursor_u8(c);
    const uint8_t *bytes = cursor_bytes(c, len);
    text[0] = '\0';
    if (bytes == NULL)
        return;
    if (len >= room || memchr(bytes, '\0', len) != NULL) {
        c->bad = true;
        return;
    }
    memcpy(text, bytes, len);
    text[len] = '\0';
}

#define CURSOR_FIXED(name, type, size, get)                                                                            \
    type name(struct cursor *c)                                                                                        \
    {                                                                                                                  \
        const uint8_t *p = cursor_bytes(c, size);                                                                      \
        return p == NULL ? 0 : get(p);                                                                                 \
    }
CURSOR_FIXED(cursor_le16, uint16_t, 2, get_le16)
CURSOR_FIXED(cursor_le32, uint32_t, 4, get_le32)
CURSOR_FIXED(cursor_le64, uint64_t, 8, get_le64)
CURSOR_FIXED(cursor_be16, uint16_t, 2, get_be16)
CURSOR_FIXED(cursor_be32, uint32_t, 4, get_be32)
CURSOR_FIXED(cursor_be64, uint64_t, 8, get_be64)
#undef CURSOR_FIXED

static uint64_t read_varint(struct cursor *c, int max_bytes, uint64_t max_value)
{
    uint64_t v = 0;
    for (int i = 0; i < max_bytes; i++) {
        uint8_t byte = cursor_u8(c);
        if (c->bad)
            return 0;
        if (i == 9 && byte > 1)
            break;
        v |= (uint64_t)(byte & 0x7f) << (7 * i);
        if ((byte & 0x80) == 0) {
            if (v > max_value)
                break;
            return v;
        }
    }
    c->bad = true;
    return 0;
}

int64_t cursor_varint_long(struct cursor *c)
{
    uint64_t v = read_varint(c, 10, UINT64_MAX);
    return (int64_t)(v >> 1) ^ -(int64_t)(v & 1);
}

uint32_t cursor_uvarint(struct cursor *c)
{
    return (uint32_t)read_varint(c, 5, UINT32_MAX);
}

void buf_init(struct buf *b, size_t limit_bytes)
{
    *b = (struct buf){.limit = limit_bytes};
}

void buf_fini(struct buf *b)
{
    free(b->data);
    *b = (struct buf){.limit = b->limit};
}

void buf_reset(struct buf *b)
{
    b->len = 0;
    b->bad = false;
}

uint8_t *buf_reserve(struct buf *b, size_t size_bytes)
{
    if (b->bad)
        return NULL;
    if (b->cap - b->len >= size_bytes)
        return b->data + b->len;
    if (size_bytes > b->limit || b->len > b->limit - size_bytes) {
        b->bad = true;
        return NULL;
    }
    size_t need = b->len + size_bytes;
    size_t cap = b->cap < 64 ? 64 : b->cap;
    while (cap < need)
        cap = cap > b->limit / 2 ? b->limit : cap * 2;
    if (cap > b->limit)
        cap = b->limit;
    uint8_t *data = realloc(b->data, cap);
    if (data == NULL) {
        b->bad = true;
        return NULL;
    }
    b->data = data;
    b->cap = cap;
    return b->data + b->len;
}

void buf_put(struct buf *b, const void *data, size_t size_bytes)
{
    if (size_bytes == 0) /* data may be NULL, and so may b->data */
        return;
    uint8_t *p = buf_reserve(b, size_bytes);
    if (p != NULL) {
        memcpy(p, data, size_bytes);
        b->len += size_bytes;
    }
}

void buf_zeros(struct buf *b, size_t size_bytes)
{
    uint8_t *p = buf_reserve(b, size_bytes);
    if (p != NULL && size_bytes > 0) {
        memset(p, 0, size_bytes);
        b->len += size_bytes;
    }
}

#define BUF_FIXED(name, type, size, put)                                                                               \
    void name(struct buf *b, type v)                                                                                   \
    {                                                                                                                  \
        uint8_t *p = buf_reserve(b, size);                                                                             \
        if (p != NULL) {                                                                                               \
            put(p, v);                                                                                                 \
            b->len += size;                                                                                            \
        }                                                                                                              \
    }
static inline void put_u8(uint8_t *p, uint8_t v)
{
    *p = v;
}
BUF_FIXED(buf_u8, uint8_t, 1, put_u8)
BUF_FIXED(buf_le16, uint16_t, 2, put_le16)
BUF_FIXED(buf_le32, uint32_t, 4, put_le32)
BUF_FIXED(buf_le64, uint64_t, 8, put_le64)
BUF_FIXED(buf_be16, uint16_t, 2, put_be16)
BUF_FIXED(buf_be32, uint32_t, 4, put_be32)
BUF_FIXED(buf_be64, uint64_t, 8, put_be64)
#undef BUF_FIXED

static void write_varint(struct buf *b, uint64_t v)
{
    uint8_t *p = buf_reserve(b, 10);
    if (p == NULL)
        return;
    size_t n = 0;
    while (v >= 0x80) {
        p[n++] = (uint8_t)(v | 0x80);
        v >>= 7;
    }
    p[n++] = (uint8_t)v;
    b->len += n;
}

void buf_varint(struct buf *b, int64_t v)
{
    write_varint(b, (uint64_t)v << 1 ^ (v < 0 ? UINT64_MAX : 0));
}

void buf_uvarint(struct buf *b, uint32_t v)
{
    write_varint(b, v);
}

void buf_text(struct buf *b, const char *text)
{
    buf_put(b, text, strlen(text));
}

void buf_text8(struct buf *b, const char *text)
{
    size_t len = strlen(text);
    REQUIRE(len <= UINT8_MAX);
    buf_u8(b, (uint8_t)len);
    buf_put(b, text, len);
}

void buf_printf(struct buf *b, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    REQUIRE(n >= 0);
    uint8_t *p = buf_reserve(b, (size_t)n + 1);
    if (p == NULL)
        return;
    va_start(args, format);
    (void)vsnprintf((char *)p, (size_t)n + 1, format, args);
    va_end(args);
    b->len += (size_t)n;
}

uint8_t *buf_give(struct buf *b, size_t *size_bytes)
{
    if (b->bad || b->len == 0) {
        buf_fini(b);
        *size_bytes = 0;
        return NULL;
    }
    uint8_t *data = b->data;
    *size_bytes = b->len;
    *b = (struct buf){.limit = b->limit};
    return data;
}

size_t varint_size(int64_t v)
{
    uint64_t zigzag = (uint64_t)v << 1 ^ (v < 0 ? UINT64_MAX : 0);
    size_t n = 1;
    while (zigzag >= 0x80) {
        zigzag >>= 7;
        n++;
    }
    return n;
}
