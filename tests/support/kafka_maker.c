/* See the header. Numbers are xorshift's. */
#include "support/kafka_maker.h"

#include "base/require.h"

enum { MAKER_ELEMENTS = 3, MAKER_LONG_BYTES = 300 };

static uint64_t next(struct kafka_maker *maker)
{
    maker->state ^= maker->state << 13;
    maker->state ^= maker->state >> 7;
    maker->state ^= maker->state << 17;
    return maker->state;
}

uint32_t kafka_maker_below(struct kafka_maker *maker, uint32_t end)
{
    return (uint32_t)((next(maker) >> 32) % end);
}

/* One in eight is longer than a one-byte varint can say. */
static struct slice make_slice(struct kafka_maker *maker, bool nullable)
{
    if (nullable && kafka_maker_below(maker, 4) == 0)
        return (struct slice){0};
    uint32_t len = kafka_maker_below(maker, 8) == 0 ? MAKER_LONG_BYTES : kafka_maker_below(maker, 9);
    uint8_t *bytes = kafka_arena_take(maker->arena, len);
    REQUIRE(bytes != NULL);
    for (uint32_t i = 0; i < len; i++)
        bytes[i] = (uint8_t)('a' + kafka_maker_below(maker, 26));
    return slice_of(bytes, len);
}

static void make_plain(struct kafka_maker *maker, enum kafka_type type, bool nullable, void *to)
{
    uint64_t number = next(maker);
    switch (type) {
    case KAFKA_TYPE_BOOL:
        *(bool *)to = (number & 1) != 0;
        return;
    case KAFKA_TYPE_INT8:
        *(int8_t *)to = (int8_t)number;
        return;
    case KAFKA_TYPE_INT16:
        *(int16_t *)to = (int16_t)number;
        return;
    case KAFKA_TYPE_UINT16:
        *(uint16_t *)to = (uint16_t)number;
        return;
    case KAFKA_TYPE_INT32:
        *(int32_t *)to = (int32_t)number;
        return;
    case KAFKA_TYPE_INT64:
        *(int64_t *)to = (int64_t)number;
        return;
    case KAFKA_TYPE_UUID:
        put_le64(to, number);
        put_le64((uint8_t *)to + 8, next(maker));
        return;
    case KAFKA_TYPE_STRING:
    case KAFKA_TYPE_BYTES:
    case KAFKA_TYPE_RECORDS:
        *(struct slice *)to = make_slice(maker, nullable);
        return;
    case KAFKA_TYPE_STRUCT:
    case KAFKA_TYPE_COUNT:
        break;
    }
    REQUIRE(type < KAFKA_TYPE_STRUCT);
}

static void make_array(struct kafka_maker *maker, const struct kafka_field *field, struct kafka_dialect dialect,
                       uint8_t *to)
{
    struct kafka_list list = {.at = NULL, .count = (int32_t)kafka_maker_below(maker, MAKER_ELEMENTS + 1)};
    if (kafka_field_nullable(field, dialect.version) && kafka_maker_below(maker, 4) == 0)
        list.count = -1;
    size_t stride = kafka_element_bytes(field);
    list.at = list.count < 0 ? NULL : kafka_arena_take(maker->arena, (size_t)list.count * stride);
    REQUIRE(list.count < 0 || list.at != NULL);
    memcpy(to, &list, sizeof list);
    for (int32_t i = 0; i < list.count; i++)
        if (field->type == KAFKA_TYPE_STRUCT)
            kafka_maker_fill(maker, field->of, dialect, (uint8_t *)list.at + (size_t)i * stride);
        else
            make_plain(maker, (enum kafka_type)field->type, false, (uint8_t *)list.at + (size_t)i * stride);
}

void kafka_maker_fill(struct kafka_maker *maker, const struct kafka_shape *shape, struct kafka_dialect dialect,
                      void *to)
{
    for (size_t i = 0; i < shape->field_count; i++) {
        const struct kafka_field *field = &shape->fields[i];
        uint8_t *value = (uint8_t *)to + field->at;
        if (!kafka_field_present(field, dialect.version) || (field->tag != 0 && kafka_maker_below(maker, 3) == 0))
            kafka_field_default(field, value);
        else if (field->array)
            make_array(maker, field, dialect, value);
        else if (field->type == KAFKA_TYPE_STRUCT)
            kafka_maker_fill(maker, field->of, dialect, value);
        else
            make_plain(maker, (enum kafka_type)field->type, kafka_field_nullable(field, dialect.version), value);
    }
}
