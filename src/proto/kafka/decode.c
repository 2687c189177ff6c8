/*
 * Decoding: a walk over a message's description with a cursor over its bytes.
 *
 * The cursor remembers failure, so a walk may go on a little after it; what loops or
 * allocates looks at it first. Depth is bounded by the description, counts by what is
 * left, memory by the arena.
 */
#include "base/require.h"
#include "proto/kafka/shape.h"

struct decoder {
    struct cursor in;
    struct kafka_arena *arena;
    struct kafka_dialect dialect;
};

enum { LENGTH_NULL = -1, LENGTH_BAD = -2 };

static void decode_struct(struct decoder *d, const struct kafka_shape *shape, uint8_t *to);

/* The next size_bytes bytes, or NULL. */
static inline const uint8_t *take(struct decoder *d, size_t size_bytes)
{
    if (cursor_left(&d->in) < size_bytes || d->in.bad) {
        d->in.bad = true;
        return NULL;
    }
    const uint8_t *bytes = d->in.at;
    d->in.at += size_bytes;
    return bytes;
}

static inline uint32_t take_uvarint(struct decoder *d)
{
    if (d->in.at < d->in.end && *d->in.at < 0x80 && !d->in.bad)
        return *d->in.at++;
    return cursor_uvarint(&d->in);
}

/* Of a string, bytes or an array: what is in front of it. */
static int64_t take_length(struct decoder *d, bool short_length, bool nullable)
{
    int64_t length;
    const uint8_t *bytes;
    if (d->dialect.flexible)
        length = (int64_t)take_uvarint(d) - 1;
    else if (short_length)
        length = (bytes = take(d, sizeof(int16_t))) != NULL ? (int16_t)get_be16(bytes) : LENGTH_BAD;
    else
        length = (bytes = take(d, sizeof(int32_t))) != NULL ? (int32_t)get_be32(bytes) : LENGTH_BAD;
    if (length < LENGTH_NULL || (length == LENGTH_NULL && !nullable))
        d->in.bad = true;
    return d->in.bad ? LENGTH_BAD : length;
}

static struct slice take_slice(struct decoder *d, enum kafka_type type, bool nullable)
{
    int64_t length = take_length(d, type == KAFKA_TYPE_STRING, nullable);
    if (type == KAFKA_TYPE_STRING && length > KAFKA_STRING_MAX_BYTES)
        d->in.bad = true;
    if (length < 0)
        return (struct slice){0};
    const uint8_t *bytes = take(d, (size_t)length);
    return bytes != NULL ? slice_of(bytes, (size_t)length) : (struct slice){0};
}

/* One value that is neither an array nor a struct. */
static inline void decode_plain(struct decoder *d, enum kafka_type type, bool nullable, void *to)
{
    const uint8_t *bytes;
    switch (type) {
    case KAFKA_TYPE_BOOL:
        *(bool *)to = (bytes = take(d, 1)) != NULL && *bytes != 0;
        return;
    case KAFKA_TYPE_INT8:
        *(int8_t *)to = (bytes = take(d, 1)) != NULL ? (int8_t)*bytes : 0;
        return;
    case KAFKA_TYPE_INT16:
        *(int16_t *)to = (bytes = take(d, 2)) != NULL ? (int16_t)get_be16(bytes) : 0;
        return;
    case KAFKA_TYPE_UINT16:
        *(uint16_t *)to = (bytes = take(d, 2)) != NULL ? get_be16(bytes) : 0;
        return;
    case KAFKA_TYPE_INT32:
        *(int32_t *)to = (bytes = take(d, 4)) != NULL ? (int32_t)get_be32(bytes) : 0;
        return;
    case KAFKA_TYPE_INT64:
        *(int64_t *)to = (bytes = take(d, 8)) != NULL ? (int64_t)get_be64(bytes) : 0;
        return;
    case KAFKA_TYPE_UUID:
        if ((bytes = take(d, UUID_BYTES)) != NULL)
            memcpy(to, bytes, UUID_BYTES);
        return;
    case KAFKA_TYPE_STRING:
    case KAFKA_TYPE_BYTES:
    case KAFKA_TYPE_RECORDS:
        *(struct slice *)to = take_slice(d, type, nullable);
        return;
    case KAFKA_TYPE_STRUCT:
    case KAFKA_TYPE_COUNT:
        break;
    }
    REQUIRE(type < KAFKA_TYPE_STRUCT);
}

static size_t least_plain(enum kafka_type type, bool flexible)
{
    switch (type) {
    case KAFKA_TYPE_STRING:
        return flexible ? 1 : sizeof(int16_t);
    case KAFKA_TYPE_BYTES:
    case KAFKA_TYPE_RECORDS:
        return flexible ? 1 : sizeof(int32_t);
    case KAFKA_TYPE_BOOL:
    case KAFKA_TYPE_INT8:
    case KAFKA_TYPE_INT16:
    case KAFKA_TYPE_UINT16:
    case KAFKA_TYPE_INT32:
    case KAFKA_TYPE_INT64:
    case KAFKA_TYPE_UUID:
        return kafka_type_bytes(type); /* as many on the wire as in memory */
    case KAFKA_TYPE_STRUCT:
    case KAFKA_TYPE_COUNT:
        break;
    }
    REQUIRE(type < KAFKA_TYPE_STRUCT);
    return 0;
}

size_t kafka_least_bytes(const struct kafka_shape *shape, struct kafka_dialect dialect)
{
    size_t bytes = dialect.flexible ? 1 : 0; /* the number of tagged fields */
    for (size_t i = 0; i < shape->field_count; i++) {
        const struct kafka_field *field = &shape->fields[i];
        if (field->tag != 0 || !kafka_field_present(field, dialect.version))
            continue;
        if (field->array)
            bytes += dialect.flexible ? 1 : sizeof(int32_t);
        else if (field->type == KAFKA_TYPE_STRUCT)
            bytes += kafka_least_bytes(field->of, dialect);
        else
            bytes += least_plain((enum kafka_type)field->type, dialect.flexible);
    }
    return bytes;
}

static void decode_array(struct decoder *d, const struct kafka_field *field, uint8_t *to)
{
    bool structs = field->type == KAFKA_TYPE_STRUCT;
    struct kafka_list list = {.at = NULL, .count = 0};
    int64_t count = take_length(d, false, kafka_field_nullable(field, d->dialect.version));
    size_t least = structs ? kafka_least_bytes(field->of, d->dialect)
                           : least_plain((enum kafka_type)field->type, d->dialect.flexible);
    REQUIRE(least > 0);
    if (count > 0 && (uint64_t)count > cursor_left(&d->in) / least)
        d->in.bad = true;
    size_t stride = kafka_element_bytes(field);
    if (count > 0 && !d->in.bad) {
        list.at = kafka_arena_take(d->arena, (size_t)count * stride);
        if (list.at == NULL)
            d->in.bad = true;
    }
    list.count = d->in.bad ? 0 : (int32_t)count;
    memcpy(to, &list, sizeof list);
    uint8_t *element = list.at;
    for (int32_t i = 0; i < list.count && !d->in.bad; i++, element += stride)
        if (structs)
            decode_struct(d, field->of, element);
        else
            decode_plain(d, (enum kafka_type)field->type, false, element);
}

static inline void decode_field(struct decoder *d, const struct kafka_field *field, uint8_t *to)
{
    if (field->array)
        decode_array(d, field, to);
    else if (field->type == KAFKA_TYPE_STRUCT)
        decode_struct(d, field->of, to);
    else
        decode_plain(d, (enum kafka_type)field->type, kafka_field_nullable(field, d->dialect.version), to);
}

/* A known tagged field must fill its length; an unknown one is skipped by it. */
static void decode_tag(struct decoder *d, const struct kafka_shape *shape, uint8_t *to)
{
    uint32_t tag = take_uvarint(d);
    uint32_t size_bytes = take_uvarint(d);
    const uint8_t *value = take(d, size_bytes);
    for (size_t i = 0; value != NULL && i < shape->field_count; i++) {
        const struct kafka_field *field = &shape->fields[i];
        if (field->tag == 0 || (uint32_t)field->tag - 1 != tag || !kafka_field_present(field, d->dialect.version))
            continue;
        struct cursor behind = d->in;
        d->in = cursor_over(value, size_bytes);
        decode_field(d, field, to + field->at);
        behind.bad = d->in.bad || cursor_left(&d->in) > 0;
        d->in = behind;
        return;
    }
}

static void decode_struct(struct decoder *d, const struct kafka_shape *shape, uint8_t *to)
{
    const struct kafka_field *end = shape->fields + shape->field_count;
    for (const struct kafka_field *field = shape->fields; field < end; field++)
        if (field->tag != 0 || !kafka_field_present(field, d->dialect.version))
            kafka_field_default(field, to + field->at);
        else
            decode_field(d, field, to + field->at);
    if (!d->dialect.flexible)
        return;
    uint32_t tags = take_uvarint(d);
    if (tags > KAFKA_TAGS_MAX)
        d->in.bad = true;
    for (; tags > 0 && !d->in.bad; tags--)
        decode_tag(d, shape, to);
}

enum kq_err kafka_decode(const struct kafka_shape *shape, struct kafka_dialect dialect, struct cursor *in,
                         struct kafka_arena *arena, void *to)
{
    struct decoder d = {.in = *in, .arena = arena, .dialect = dialect};
    decode_struct(&d, shape, to);
    *in = d.in;
    if (arena->err != KQ_OK)
        return arena->err;
    return d.in.bad ? KQ_GARBAGE : KQ_OK;
}
