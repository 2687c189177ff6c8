/*
 * Record batches v2: the one encoder and the one decoder, shared by both front
 * ends, the log, the tools and the fuzzers. The format stands in batch.h.
 *
 * Never trusts a length: each is held against what is left before it is used.
 * Never reads what lies outside of the bytes it was given.
 */
#include "log/batch.h"

#include "base/crc32c.h"
#include "base/require.h"

enum {
    AT_LENGTH = 8,
    AT_EPOCH = 12,
    AT_MAGIC = 16,
    AT_CRC = 17,
    AT_ATTRIBUTES = 21,
    AT_LAST_DELTA = 23,
    AT_BASE_TIME = 27,
    AT_MAX_TIME = 35,
    AT_PRODUCER_ID = 43,
    AT_PRODUCER_EPOCH = 51,
    AT_SEQUENCE = 53,
    AT_COUNT = 57,
    BYTES_BEFORE_LENGTH_ENDS = 12, /* the length counts what follows it */
    RECORD_BYTES_MIN = 7,          /* length, attributes, two deltas, two sizes, header count */
    HEADER_BYTES_MIN = 2,
};

/* ---- making one --------------------------------------------------------------- */

void batch_begin(struct batch_maker *m, struct buf *out, int64_t time_ms)
{
    *m = (struct batch_maker){.out = out, .start = out->len, .base_time_ms = time_ms, .max_time_ms = time_ms};
    buf_zeros(out, BATCH_HEADER_BYTES);
}

static size_t slice_size(struct slice s)
{
    return slice_is_absent(s) ? varint_size(-1) : varint_size((int64_t)s.len) + s.len;
}

static void put_slice(struct buf *out, struct slice s)
{
    buf_varint(out, slice_is_absent(s) ? -1 : (int64_t)s.len);
    buf_put(out, s.data, s.len);
}

void batch_add(struct batch_maker *m, int64_t time_ms, struct slice key, struct slice value, const char *header_name,
               struct slice header_value)
{
    int64_t time_delta = time_ms - m->base_time_ms;
    struct slice name = header_name != NULL ? slice_text(header_name) : slice_of(NULL, 0);
    size_t header_bytes = header_name != NULL ? slice_size(name) + slice_size(header_value) : 0;
    size_t size = 1 + varint_size(time_delta) + varint_size(m->record_count) + slice_size(key) + slice_size(value) +
                  varint_size(header_name != NULL) + header_bytes;
    buf_varint(m->out, (int64_t)size);
    buf_u8(m->out, 0);
    buf_varint(m->out, time_delta);
    buf_varint(m->out, m->record_count);
    put_slice(m->out, key);
    put_slice(m->out, value);
    buf_varint(m->out, header_name != NULL);
    if (header_name != NULL) {
        put_slice(m->out, name);
        put_slice(m->out, header_value);
    }
    if (time_ms > m->max_time_ms)
        m->max_time_ms = time_ms;
    m->record_count++;
}

void batch_end(struct batch_maker *m, int64_t producer_id, int16_t producer_epoch, int32_t base_sequence)
{
    REQUIRE(m->record_count > 0);
    if (m->out->bad)
        return;
    uint8_t *batch = m->out->data + m->start;
    size_t size = m->out->len - m->start;
    REQUIRE(size <= INT32_MAX);
    put_be64(batch, 0);
    put_be32(batch + AT_LENGTH, (uint32_t)(size - BYTES_BEFORE_LENGTH_ENDS));
    put_be32(batch + AT_EPOCH, 0);
    batch[AT_MAGIC] = BATCH_MAGIC;
    put_be16(batch + AT_ATTRIBUTES, m->attributes);
    put_be32(batch + AT_LAST_DELTA, (uint32_t)(m->record_count - 1));
    put_be64(batch + AT_BASE_TIME, (uint64_t)m->base_time_ms);
    put_be64(batch + AT_MAX_TIME, (uint64_t)m->max_time_ms);
    put_be64(batch + AT_PRODUCER_ID, (uint64_t)producer_id);
    put_be16(batch + AT_PRODUCER_EPOCH, (uint16_t)producer_epoch);
    put_be32(batch + AT_SEQUENCE, (uint32_t)base_sequence);
    put_be32(batch + AT_COUNT, (uint32_t)m->record_count);
    put_be32(batch + AT_CRC, crc32c(0, batch + BATCH_CRC_FROM, size - BATCH_CRC_FROM));
}

/* ---- reading one -------------------------------------------------------------- */

/* Whether the counts can be what the size says. */
static bool counts_fit(const struct batch_info *info)
{
    if (info->record_count < 0 || info->last_offset_delta < 0 || info->last_offset_delta == INT32_MAX)
        return false;
    if (info->record_count > info->last_offset_delta + 1)
        return false;
    if ((info->attributes & BATCH_CODEC_MASK) != 0)
        return true;
    return info->record_count <= (info->size_bytes - BATCH_HEADER_BYTES) / RECORD_BYTES_MIN;
}

enum kq_err batch_next(struct cursor *c, struct batch_info *info, const uint8_t **batch)
{
    const uint8_t *p = c->at;
    if (c->bad || cursor_left(c) < BATCH_HEADER_BYTES)
        return KQ_INVALID_RECORD;
    uint32_t length = get_be32(p + AT_LENGTH);
    if (length < BATCH_HEADER_BYTES - BYTES_BEFORE_LENGTH_ENDS || length > INT32_MAX - BYTES_BEFORE_LENGTH_ENDS ||
        length > cursor_left(c) - BYTES_BEFORE_LENGTH_ENDS || p[AT_MAGIC] != BATCH_MAGIC)
        return KQ_INVALID_RECORD;
    *info = (struct batch_info){
        .base_off = (int64_t)get_be64(p),
        .size_bytes = (int32_t)length + BYTES_BEFORE_LENGTH_ENDS,
        .leader_epoch = (int32_t)get_be32(p + AT_EPOCH),
        .crc = get_be32(p + AT_CRC),
        .attributes = get_be16(p + AT_ATTRIBUTES),
        .last_offset_delta = (int32_t)get_be32(p + AT_LAST_DELTA),
        .base_time_ms = (int64_t)get_be64(p + AT_BASE_TIME),
        .max_time_ms = (int64_t)get_be64(p + AT_MAX_TIME),
        .producer_id = (int64_t)get_be64(p + AT_PRODUCER_ID),
        .producer_epoch = (int16_t)get_be16(p + AT_PRODUCER_EPOCH),
        .base_sequence = (int32_t)get_be32(p + AT_SEQUENCE),
        .record_count = (int32_t)get_be32(p + AT_COUNT),
    };
    if (!counts_fit(info))
        return KQ_INVALID_RECORD;
    *batch = cursor_bytes(c, (size_t)info->size_bytes);
    return KQ_OK;
}

bool batch_crc_ok(const uint8_t *batch, const struct batch_info *info)
{
    return crc32c(0, batch + BATCH_CRC_FROM, (size_t)info->size_bytes - BATCH_CRC_FROM) == info->crc;
}

void batch_place(uint8_t *batch, int64_t base_off, int32_t leader_epoch)
{
    put_be64(batch, (uint64_t)base_off);
    put_be32(batch + AT_EPOCH, (uint32_t)leader_epoch);
}

void batch_stamp(uint8_t *batch, struct batch_info *info, int64_t time_ms)
{
    info->attributes |= BATCH_LOG_APPEND_TIME;
    info->max_time_ms = time_ms;
    put_be16(batch + AT_ATTRIBUTES, info->attributes);
    put_be64(batch + AT_MAX_TIME, (uint64_t)time_ms);
    info->crc = crc32c(0, batch + BATCH_CRC_FROM, (size_t)info->size_bytes - BATCH_CRC_FROM);
    put_be32(batch + AT_CRC, info->crc);
}

void record_walk_init(struct record_walk *w, const uint8_t *batch, const struct batch_info *info)
{
    *w = (struct record_walk){.info = *info};
    w->at = cursor_over(batch + BATCH_HEADER_BYTES, (size_t)info->size_bytes - BATCH_HEADER_BYTES);
    w->at.bad = (info->attributes & BATCH_CODEC_MASK) != 0;
}

/* Zig-zag; nearly all are of one byte or two. NULL: there is none; also of NULL. */
static inline const uint8_t *take_varint(const uint8_t *at, const uint8_t *end, int64_t *value)
{
    uint32_t v;
    if (at == NULL)
        return NULL;
    if (at < end && at[0] < 0x80) {
        v = *at++;
    } else if (end - at >= 2 && at[1] < 0x80) {
        v = (at[0] & 0x7fu) | (uint32_t)at[1] << 7;
        at += 2;
    } else {
        struct cursor c = cursor_over(at, (size_t)(end - at));
        *value = cursor_varint_long(&c);
        return c.bad ? NULL : c.at;
    }
    *value = (int64_t)(v >> 1) ^ -(int64_t)(v & 1);
    return at;
}

/* A size from the bytes and as many bytes after it; -1 is null. */
static inline const uint8_t *take_slice(const uint8_t *at, const uint8_t *end, struct slice *s)
{
    int64_t size;
    at = take_varint(at, end, &size);
    if (at == NULL || size < -1 || size > end - at)
        return NULL;
    *s = size < 0 ? slice_of(NULL, 0) : slice_of(at, (size_t)size);
    return at + s->len;
}

/* a + b as two's complement, whatever the bytes said. */
static inline int64_t add_wrapping(int64_t a, int64_t b)
{
    return (int64_t)((uint64_t)a + (uint64_t)b);
}

void record_walk_over(struct record_walk *w, const uint8_t *records, size_t size_bytes, const struct batch_info *info)
{
    *w = (struct record_walk){.at = cursor_over(records, size_bytes), .info = *info};
}

/* Inline, so that a loop that looks at all records keeps them in registers. */
static inline __attribute__((always_inline)) enum kq_err walk_next(struct record_walk *w, struct record *r)
{
    if (w->at.bad)
        return KQ_INVALID_RECORD;
    if (w->done == w->info.record_count)
        return cursor_left(&w->at) == 0 ? KQ_EOF : KQ_INVALID_RECORD;
    int64_t size, time_delta, off_delta, header_count;
    const uint8_t *at = take_varint(w->at.at, w->at.end, &size);
    if (at == NULL || size < RECORD_BYTES_MIN - 1 || size > w->at.end - at) {
        w->at.bad = true;
        return KQ_INVALID_RECORD;
    }
    const uint8_t *end = at + size;
    w->at.at = end;
    at = take_varint(at + 1, end, &time_delta); /* behind the attributes */
    at = take_varint(at, end, &off_delta);
    at = take_slice(at, end, &r->key);
    at = take_slice(at, end, &r->value);
    at = take_varint(at, end, &header_count);
    if (at == NULL || off_delta < 0 || off_delta > w->info.last_offset_delta || header_count < 0 ||
        header_count > (end - at) / HEADER_BYTES_MIN || (header_count == 0 && at != end)) {
        w->at.bad = true;
        return KQ_INVALID_RECORD;
    }
    r->off = add_wrapping(w->info.base_off, off_delta);
    r->time_ms = (w->info.attributes & BATCH_LOG_APPEND_TIME) != 0 ? w->info.max_time_ms
                                                                   : add_wrapping(w->info.base_time_ms, time_delta);
    r->header_count = (int32_t)header_count;
    r->headers = cursor_over(at, (size_t)(end - at));
    w->done++;
    return KQ_OK;
}

enum kq_err record_walk_next(struct record_walk *w, struct record *r)
{
    return walk_next(w, r);
}

/* Its headers fill it to its end. By value: else each record would be written to memory for it. */
static bool headers_are_whole(struct record r)
{
    struct slice name = {0}, value = {0};
    while (record_header(&r, &name, &value))
        ;
    return r.header_count == 0 && !r.headers.bad && cursor_left(&r.headers) == 0;
}

enum kq_err batch_check_records(const uint8_t *batch, const struct batch_info *info, int32_t *bad)
{
    struct record_walk walk;
    struct record record;
    enum kq_err err;
    int64_t expected_off = info->base_off;
    record_walk_init(&walk, batch, info);
    while ((err = walk_next(&walk, &record)) == KQ_OK)
        if (record.off != expected_off++ || (record.header_count > 0 && !headers_are_whole(record)))
            break;
    *bad = walk.done - (err == KQ_OK);
    return err == KQ_EOF ? KQ_OK : KQ_INVALID_RECORD;
}

bool record_header(struct record *r, struct slice *name, struct slice *value)
{
    if (r->header_count <= 0 || r->headers.bad)
        return false;
    r->header_count--;
    const uint8_t *at = take_slice(r->headers.at, r->headers.end, name);
    at = take_slice(at, r->headers.end, value);
    r->headers.bad = at == NULL || slice_is_absent(*name); /* a value may be null, a name not */
    if (at != NULL)
        r->headers.at = at;
    return !r->headers.bad;
}

struct slice record_header_named(struct record *r, const char *name)
{
    struct slice found = {0}, value = {0};
    while (record_header(r, &found, &value))
        if (slice_equal_text(found, name))
            return value;
    return (struct slice){0};
}
