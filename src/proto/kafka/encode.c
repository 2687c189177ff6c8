/*
 * Encoding: the same walk, into a growing buffer.
 *
 * A tagged field's length stands in front of it and is known only behind it: one byte
 * is left for it, and in the rare case of a longer field its bytes are moved on.
 */
#include "base/require.h"
#include "proto/kafka/shape.h"

struct encoder {
    struct buf *out;
    struct kafka_splices *splices;
    struct kafka_dialect dialect;
};

static void encode_struct(struct encoder *e, const struct kafka_shape *shape, const uint8_t *from);

/* Room for size_bytes bytes, which count as written; NULL if there is none. */
static inline uint8_t *room(struct encoder *e, size_t size_bytes)
{
    struct buf *out = e->out;
    if (out->cap - out->len < size_bytes || out->bad) {
        if (buf_reserve(out, size_bytes) == NULL)
            return NULL;
    }
    uint8_t *bytes = out->data + out->len;
    out->len += size_bytes;
    return bytes;
}

static inline void put_uvarint(struct encoder *e, uint32_t v)
{
    uint8_t *bytes;
    if (v < 0x80 && (bytes = room(e, 1)) != NULL)
        *bytes = (uint8_t)v;
    else if (v >= 0x80)
        buf_uvarint(e->out, v);
}

/* length -1: null. */
static void put_length(struct encoder *e, bool short_length, int64_t length)
{
    uint8_t *bytes;
    if (length > (short_length ? KAFKA_STRING_MAX_BYTES : INT32_MAX))
        e->out->bad = true;
    else if (e->dialect.flexible)
        put_uvarint(e, (uint32_t)(length + 1));
    else if (short_length && (bytes = room(e, sizeof(int16_t))) != NULL)
        put_be16(bytes, (uint16_t)length);
    else if (!short_length && (bytes = room(e, sizeof(int32_t))) != NULL)
        put_be32(bytes, (uint32_t)length);
}

static void put_slice(struct encoder *e, enum kafka_type type, bool nullable, struct slice s)
{
    if (s.data == NULL) {
        put_length(e, type == KAFKA_TYPE_STRING, nullable ? -1 : 0);
        return;
    }
    put_length(e, type == KAFKA_TYPE_STRING, s.len > INT32_MAX ? INT64_MAX : (int64_t)s.len);
    if (s.len == 0 || e->out->bad)
        return;
    if (type == KAFKA_TYPE_RECORDS && e->splices != NULL) {
        REQUIRE(e->splices->count < e->splices->room);
        e->splices->at[e->splices->count++] = (struct kafka_splice){.at = e->out->len, .bytes = s};
        e->splices->total_bytes += s.len;
        return;
    }
    uint8_t *bytes = room(e, s.len);
    if (bytes != NULL)
        memcpy(bytes, s.data, s.len);
}

static inline void encode_plain(struct encoder *e, enum kafka_type type, bool nullable, const void *from)
{
    uint8_t *bytes;
    switch (type) {
    case KAFKA_TYPE_BOOL:
        if ((bytes = room(e, 1)) != NULL)
            *bytes = *(const bool *)from ? 1 : 0;
        return;
    case KAFKA_TYPE_INT8:
        if ((bytes = room(e, 1)) != NULL)
            *bytes = (uint8_t) * (const int8_t *)from;
        return;
    case KAFKA_TYPE_INT16:
        if ((bytes = room(e, 2)) != NULL)
            put_be16(bytes, (uint16_t) * (const int16_t *)from);
        return;
    case KAFKA_TYPE_UINT16:
        if ((bytes = room(e, 2)) != NULL)
            put_be16(bytes, *(const uint16_t *)from);
        return;
    case KAFKA_TYPE_INT32:
        if ((bytes = room(e, 4)) != NULL)
            put_be32(bytes, (uint32_t) * (const int32_t *)from);
        return;
    case KAFKA_TYPE_INT64:
        if ((bytes = room(e, 8)) != NULL)
            put_be64(bytes, (uint64_t) * (const int64_t *)from);
        return;
    case KAFKA_TYPE_UUID:
        if ((bytes = room(e, UUID_BYTES)) != NULL)
            memcpy(bytes, from, UUID_BYTES);
        return;
    case KAFKA_TYPE_STRING:
    case KAFKA_TYPE_BYTES:
    case KAFKA_TYPE_RECORDS:
        put_slice(e, type, nullable, *(const struct slice *)from);
        return;
    case KAFKA_TYPE_STRUCT:
    case KAFKA_TYPE_COUNT:
        break;
    }
    REQUIRE(type < KAFKA_TYPE_STRUCT);
}

static void encode_array(struct encoder *e, const struct kafka_field *field, const uint8_t *from)
{
    struct kafka_list list;
    memcpy(&list, from, sizeof list);
    bool nullable = kafka_field_nullable(field, e->dialect.version);
    put_length(e, false, list.count >= 0 ? list.count : nullable ? -1 : 0);
    const uint8_t *element = list.at;
    size_t stride = kafka_element_bytes(field);
    for (int32_t i = 0; i < list.count && !e->out->bad; i++, element += stride)
        if (field->type == KAFKA_TYPE_STRUCT)
            encode_struct(e, field->of, element);
        else
            encode_plain(e, (enum kafka_type)field->type, false, element);
}

static inline void encode_field(struct encoder *e, const struct kafka_field *field, const uint8_t *from)
{
    if (field->array)
        encode_array(e, field, from);
    else if (field->type == KAFKA_TYPE_STRUCT)
        encode_struct(e, field->of, from);
    else
        encode_plain(e, (enum kafka_type)field->type, kafka_field_nullable(field, e->dialect.version), from);
}

static void encode_tag(struct encoder *e, const struct kafka_field *field, const uint8_t *from)
{
    put_uvarint(e, (uint32_t)field->tag - 1);
    size_t length_at = e->out->len;
    uint8_t *length = room(e, 1);
    encode_field(e, field, from);
    if (length == NULL || e->out->bad)
        return;
    size_t size_bytes = e->out->len - length_at - 1;
    size_t more_bytes = 0;
    for (size_t rest = size_bytes >> 7; rest > 0; rest >>= 7)
        more_bytes++;
    if (room(e, more_bytes) == NULL)
        return;
    uint8_t *at = e->out->data + length_at;
    memmove(at + 1 + more_bytes, at + 1, size_bytes);
    for (; more_bytes > 0; more_bytes--, size_bytes >>= 7)
        *at++ = (uint8_t)(size_bytes | 0x80);
    *at = (uint8_t)size_bytes;
}

static bool tag_is_written(const struct encoder *e, const struct kafka_field *field, const uint8_t *from)
{
    return field->tag != 0 && kafka_field_present(field, e->dialect.version) &&
           !kafka_field_is_default(field, from + field->at);
}

static void encode_struct(struct encoder *e, const struct kafka_shape *shape, const uint8_t *from)
{
    const struct kafka_field *end = shape->fields + shape->field_count;
    uint32_t tags = 0;
    for (const struct kafka_field *field = shape->fields; field < end; field++)
        if (field->tag != 0)
            tags += tag_is_written(e, field, from) ? 1 : 0;
        else if (kafka_field_present(field, e->dialect.version))
            encode_field(e, field, from + field->at);
    if (!e->dialect.flexible)
        return;
    put_uvarint(e, tags);
    /* Rows stand in the order of their tags, which is the order on the wire. */
    for (const struct kafka_field *field = shape->fields; tags > 0 && field < end; field++)
        if (tag_is_written(e, field, from))
            encode_tag(e, field, from + field->at);
}

void kafka_encode(const struct kafka_shape *shape, struct kafka_dialect dialect, const void *from, struct buf *out,
                  struct kafka_splices *splices)
{
    struct encoder e = {.out = out, .splices = splices, .dialect = dialect};
    encode_struct(&e, shape, from);
}
