/*
 * Byte cursors and buffers that remember failure: decode or encode everything,
 * test once, then act.
 *
 * Our own formats on disk are little-endian (le); Kafka's are big-endian (be)
 * with zig-zag varints. Both kinds stand here, so that each is written once.
 */
#ifndef KQ_BASE_BYTES_H
#define KQ_BASE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* ---- reading: a cursor over borrowed bytes -------------------------------- */

struct cursor {
    const uint8_t *at;
    const uint8_t *end;
    bool bad; /* something was read past the end, or did not parse; stays set */
};

static inline struct cursor cursor_over(const void *data, size_t size_bytes)
{
    const uint8_t *start = data;
    return (struct cursor){.at = start, .end = start + size_bytes, .bad = false};
}

static inline size_t cursor_left(const struct cursor *c)
{
    return (size_t)(c->end - c->at);
}

/* All return 0 (or NULL) and set c->bad when too little is left. */

/* Borrows size_bytes bytes. */
static inline const uint8_t *cursor_bytes(struct cursor *c, size_t size_bytes)
{
    if (c->bad || cursor_left(c) < size_bytes) {
        c->bad = true;
        return NULL;
    }
    const uint8_t *p = c->at;
    c->at += size_bytes;
    return p;
}

static inline uint8_t cursor_u8(struct cursor *c)
{
    const uint8_t *p = cursor_bytes(c, 1);
    return p == NULL ? 0 : p[0];
}

uint16_t cursor_le16(struct cursor *c);
uint32_t cursor_le32(struct cursor *c);
uint64_t cursor_le64(struct cursor *c);
uint16_t cursor_be16(struct cursor *c);
uint32_t cursor_be32(struct cursor *c);
uint64_t cursor_be64(struct cursor *c);
int64_t cursor_varint_long(struct cursor *c);
/* Zig-zag varint of at most 64 bits (10 bytes); a longer one is bad. Each record has six, nearly
 * all of one byte or two. */
static inline int64_t cursor_varint(struct cursor *c)
{
    size_t left = c->bad ? 0 : cursor_left(c);
    uint32_t v;
    if (left >= 1 && c->at[0] < 0x80) {
        v = *c->at++;
    } else if (left >= 2 && c->at[1] < 0x80) {
        v = (c->at[0] & 0x7fu) | (uint32_t)c->at[1] << 7;
        c->at += 2;
    } else {
        return cursor_varint_long(c);
    }
    return (int64_t)(v >> 1) ^ -(int64_t)(v & 1);
}
/* Unsigned varint of at most 32 bits (5 bytes), as in Kafka's compact types. */
uint32_t cursor_uvarint(struct cursor *c);
/* Copies size_bytes bytes; leaves to as it was when too little is left. */
void cursor_copy(struct cursor *c, void *to, size_t size_bytes);
/* What buf_text8 wrote, with a NUL; bad if it does not fit into room or holds one. */
void cursor_text8(struct cursor *c, char *text, size_t room);

/* ---- writing: a growing buffer --------------------------------------------- */

struct buf {
    uint8_t *data;
    size_t len;
    size_t cap;
    size_t limit; /* it never grows past this many bytes */
    bool bad;     /* out of memory or past the limit; what is in it is useless */
};

/* limit_bytes: the most it may ever hold. Allocates nothing yet. */
void buf_init(struct buf *b, size_t limit_bytes);
void buf_fini(struct buf *b);
/* Keeps the memory, forgets the content and the failure. */
void buf_reset(struct buf *b);
/* Room for size_bytes more at b->data + b->len, or NULL and b->bad. Does not
 * move len. */
uint8_t *buf_reserve(struct buf *b, size_t size_bytes);
void buf_put(struct buf *b, const void *data, size_t size_bytes);
void buf_zeros(struct buf *b, size_t size_bytes);
void buf_u8(struct buf *b, uint8_t v);
void buf_le16(struct buf *b, uint16_t v);
void buf_le32(struct buf *b, uint32_t v);
void buf_le64(struct buf *b, uint64_t v);
void buf_be16(struct buf *b, uint16_t v);
void buf_be32(struct buf *b, uint32_t v);
void buf_be64(struct buf *b, uint64_t v);
void buf_varint(struct buf *b, int64_t v);
void buf_uvarint(struct buf *b, uint32_t v);
void buf_text(struct buf *b, const char *text);
/* A byte of length and the text, which has at most 255 bytes. */
void buf_text8(struct buf *b, const char *text);
void buf_printf(struct buf *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Gives the bytes away (free(3) them) and leaves b empty. NULL if bad or empty. */
uint8_t *buf_give(struct buf *b, size_t *size_bytes);

/* Bytes that a zig-zag varint of v takes (1 to 10). */
size_t varint_size(int64_t v);

/* ---- fixed places ------------------------------------------------------------ */

static inline void put_le16(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
}

static inline void put_le32(uint8_t *p, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(v >> (8 * i));
}

static inline void put_le64(uint8_t *p, uint64_t v)
{
    for (int i = 0; i < 8; i++)
        p[i] = (uint8_t)(v >> (8 * i));
}

static inline uint16_t get_le16(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

static inline uint32_t get_le32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static inline uint64_t get_le64(const uint8_t *p)
{
    return (uint64_t)get_le32(p) | (uint64_t)get_le32(p + 4) << 32;
}

static inline void put_be16(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

static inline void put_be32(uint8_t *p, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(v >> (8 * (3 - i)));
}

static inline void put_be64(uint8_t *p, uint64_t v)
{
    for (int i = 0; i < 8; i++)
        p[i] = (uint8_t)(v >> (8 * (7 - i)));
}

static inline uint16_t get_be16(const uint8_t *p)
{
    return (uint16_t)(p[0] << 8 | p[1]);
}

static inline uint32_t get_be32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | (uint32_t)p[3];
}

static inline uint64_t get_be64(const uint8_t *p)
{
    return (uint64_t)get_be32(p) << 32 | (uint64_t)get_be32(p + 4);
}

#endif
