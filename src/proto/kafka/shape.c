/* Defaults: what a field is where a version does not have it. */
#include "proto/kafka/shape.h"

#include "base/require.h"

size_t kafka_type_bytes(enum kafka_type type)
{
    static const uint8_t bytes[KAFKA_TYPE_COUNT] = {
        [KAFKA_TYPE_BOOL] = sizeof(bool),          [KAFKA_TYPE_INT8] = sizeof(int8_t),
        [KAFKA_TYPE_INT16] = sizeof(int16_t),      [KAFKA_TYPE_UINT16] = sizeof(uint16_t),
        [KAFKA_TYPE_INT32] = sizeof(int32_t),      [KAFKA_TYPE_INT64] = sizeof(int64_t),
        [KAFKA_TYPE_UUID] = sizeof(struct uuid),   [KAFKA_TYPE_STRING] = sizeof(struct slice),
        [KAFKA_TYPE_BYTES] = sizeof(struct slice), [KAFKA_TYPE_RECORDS] = sizeof(struct slice),
    };
    REQUIRE(type < KAFKA_TYPE_STRUCT);
    return bytes[type];
}

void kafka_field_default(const struct kafka_field *field, void *to)
{
    if (field->array) {
        struct kafka_list none = {.at = NULL, .count = field->absent < 0 ? -1 : 0};
        memcpy(to, &none, sizeof none);
        return;
    }
    switch ((enum kafka_type)field->type) {
    case KAFKA_TYPE_BOOL:
        *(bool *)to = field->absent != 0;
        return;
    case KAFKA_TYPE_INT8:
        *(int8_t *)to = (int8_t)field->absent;
        return;
    case KAFKA_TYPE_INT16:
        *(int16_t *)to = (int16_t)field->absent;
        return;
    case KAFKA_TYPE_UINT16:
        *(uint16_t *)to = (uint16_t)field->absent;
        return;
    case KAFKA_TYPE_INT32:
        *(int32_t *)to = (int32_t)field->absent;
        return;
    case KAFKA_TYPE_INT64:
        *(int64_t *)to = field->absent;
        return;
    case KAFKA_TYPE_UUID:
        *(struct uuid *)to = (struct uuid){.bytes = {0}};
        return;
    case KAFKA_TYPE_STRING:
    case KAFKA_TYPE_BYTES:
    case KAFKA_TYPE_RECORDS:
        *(struct slice *)to = (struct slice){0};
        return;
    case KAFKA_TYPE_STRUCT:
        kafka_defaults(field->of, to);
        return;
    case KAFKA_TYPE_COUNT:
        break;
    }
    REQUIRE(field->type < KAFKA_TYPE_COUNT);
}

void kafka_defaults(const struct kafka_shape *shape, void *to)
{
    for (size_t i = 0; i < shape->field_count; i++)
        kafka_field_default(&shape->fields[i], (uint8_t *)to + shape->fields[i].at);
}

static bool struct_is_default(const struct kafka_shape *shape, const void *value)
{
    for (size_t i = 0; i < shape->field_count; i++)
        if (!kafka_field_is_default(&shape->fields[i], (const uint8_t *)value + shape->fields[i].at))
            return false;
    return true;
}

bool kafka_field_is_default(const struct kafka_field *field, const void *value)
{
    if (field->array) {
        struct kafka_list list;
        memcpy(&list, value, sizeof list);
        return field->absent < 0 ? list.count < 0 : list.count <= 0;
    }
    switch ((enum kafka_type)field->type) {
    case KAFKA_TYPE_BOOL:
        return *(const bool *)value == (field->absent != 0);
    case KAFKA_TYPE_INT8:
        return *(const int8_t *)value == field->absent;
    case KAFKA_TYPE_INT16:
        return *(const int16_t *)value == field->absent;
    case KAFKA_TYPE_UINT16:
        return *(const uint16_t *)value == field->absent;
    case KAFKA_TYPE_INT32:
        return *(const int32_t *)value == field->absent;
    case KAFKA_TYPE_INT64:
        return *(const int64_t *)value == field->absent;
    case KAFKA_TYPE_UUID:
        return uuid_is_zero(value);
    case KAFKA_TYPE_STRING:
    case KAFKA_TYPE_BYTES:
    case KAFKA_TYPE_RECORDS:
        return field->nullable != 0 ? slice_is_absent(*(const struct slice *)value)
                                    : ((const struct slice *)value)->len == 0;
    case KAFKA_TYPE_STRUCT:
        return struct_is_default(field->of, value);
    case KAFKA_TYPE_COUNT:
        break;
    }
    REQUIRE(field->type < KAFKA_TYPE_COUNT);
    return false;
}

void *kafka_make(struct kafka_arena *arena, const struct kafka_shape *shape, size_t count)
{
    REQUIRE(count <= INT32_MAX);
    uint8_t *made = kafka_arena_take(arena, count * shape->bytes);
    for (size_t i = 0; made != NULL && i < count; i++)
        kafka_defaults(shape, made + i * shape->bytes);
    return made;
}

bool kafka_fill(struct kafka_arena *arena, const struct kafka_shape *shape, int64_t count, void *array,
                size_t element_bytes)
{
    REQUIRE(element_bytes == shape->bytes);
    if (count < 0)
        count = 0;
    struct kafka_list list = {.at = kafka_make(arena, shape, (size_t)count)};
    list.count = list.at != NULL ? (int32_t)count : 0;
    memcpy(array, &list, sizeof list);
    return list.at != NULL;
}
