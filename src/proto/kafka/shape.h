/*
 * How a Kafka message is described: one table of fields a struct, and what walks it.
 *
 * api_*.c describe each API's request and response once, as data. From that one
 * description a message is decoded, encoded, dumped as text, and made up by tests.
 * Source of the facts: the message definitions of Apache Kafka
 * (clients/src/main/resources/common/message), whose names the fields bear.
 *
 * In C a message is a plain struct:
 *
 *    bool, int8 .. int64, uint16, uuid    as they are
 *    string, bytes, records               struct slice, borrowed; data NULL is null
 *    array                                KAFKA_ARRAY(type): at, count; count -1 is null
 *    struct                               the struct itself, never null
 *
 * A value that may not be null on the wire in a version (and is NULL in the struct)
 * is written empty. A field that a version does not have is not written; a decoder
 * sets it to its default.
 *
 * PURE: no socket, thread or clock; memory comes from the caller's arena and buffer.
 */
#ifndef KQ_PROTO_KAFKA_SHAPE_H
#define KQ_PROTO_KAFKA_SHAPE_H

#include "base/bytes.h"
#include "base/err.h"
#include "base/slice.h"
#include "base/uuid.h"
#include "proto/kafka/arena.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    KAFKA_STRING_MAX_BYTES = INT16_MAX, /* of any string, also where the length is a varint */
    KAFKA_TAGS_MAX = 256,               /* tagged fields in one struct, known and unknown */
};

enum kafka_type {
    KAFKA_TYPE_BOOL,
    KAFKA_TYPE_INT8,
    KAFKA_TYPE_INT16,
    KAFKA_TYPE_UINT16,
    KAFKA_TYPE_INT32,
    KAFKA_TYPE_INT64,
    KAFKA_TYPE_UUID,
    KAFKA_TYPE_STRING,
    KAFKA_TYPE_BYTES,
    KAFKA_TYPE_RECORDS,
    KAFKA_TYPE_STRUCT,
    KAFKA_TYPE_COUNT,
};

struct kafka_shape;

/* The small numbers that mean "none" are 0, so that a row names only what is special. */
struct kafka_field {
    const char *name;
    const struct kafka_shape *of; /* of a struct, or an array of structs */
    int64_t absent;               /* its value where a version lacks it; -1 of an array: null */
    uint16_t at;                  /* offset in the C struct */
    uint16_t bytes;               /* and size there */
    uint8_t type;                 /* enum kafka_type; of an array: its elements' */
    bool array;
    int8_t from;     /* first version that has it */
    int8_t gone;     /* first version that has it no more, or 0 */
    int8_t nullable; /* 1 + first version in which it may be null, or 0 */
    int8_t tag;      /* 1 + its tag, or 0: in its place in every version */
};

struct kafka_shape {
    const char *name;
    const struct kafka_field *fields;
    uint16_t field_count;
    uint16_t bytes; /* sizeof the C struct */
};

#define KAFKA_ARRAY(type)                                                                                              \
    struct {                                                                                                           \
        type *at;                                                                                                      \
        int32_t count;                                                                                                 \
    }

/* What every KAFKA_ARRAY looks like. Generic code copies it in and out with memcpy. */
struct kafka_list {
    void *at;
    int32_t count;
};

static inline bool kafka_field_present(const struct kafka_field *field, int version)
{
    return version >= field->from && (field->gone == 0 || version < field->gone);
}

static inline bool kafka_field_nullable(const struct kafka_field *field, int version)
{
    return field->nullable != 0 && version >= field->nullable - 1;
}

/* Size in C of one value of a type that is not KAFKA_TYPE_STRUCT. */
size_t kafka_type_bytes(enum kafka_type type);

/* Size in C of one element (of an array) or of the value itself. */
static inline size_t kafka_element_bytes(const struct kafka_field *field)
{
    return field->type == KAFKA_TYPE_STRUCT ? field->of->bytes : kafka_type_bytes((enum kafka_type)field->type);
}

/* How a version is written: flexible versions have varint lengths and tagged fields. */
struct kafka_dialect {
    int16_t version;
    bool flexible;
};

/* ---- values ---------------------------------------------------------------------- */

/* Sets every field of the struct at `to` to its default. */
void kafka_defaults(const struct kafka_shape *shape, void *to);
void kafka_field_default(const struct kafka_field *field, void *to);
/* Whether a value is its default: tagged fields that are, are not written. */
bool kafka_field_is_default(const struct kafka_field *field, const void *value);
/* An array of `count` structs with their defaults set, from the arena (which see for NULL). */
void *kafka_make(struct kafka_arena *arena, const struct kafka_shape *shape, size_t count);

/* `n` structs with their defaults for the array field `array`, of struct `type`:
 * KAFKA_FILL(arena, answer->topics, kafka_fetch_response_topic, n). n may be the count of a
 * request's array: of a null one (-1) there are none. False: no room, and the array is
 * empty. (The last argument fails to compile where the types differ.) */
#define KAFKA_FILL(arena, array, type, n)                                                                              \
    kafka_fill((arena), &type##_shape, (int64_t)(n), &(array),                                                         \
               sizeof(*(array).at) + 0 * sizeof((array).at == (struct type *)NULL))
bool kafka_fill(struct kafka_arena *arena, const struct kafka_shape *shape, int64_t count, void *array,
                size_t element_bytes);

/* ---- decoding -------------------------------------------------------------------- */

/* Fewest bytes that a struct of this shape takes on the wire. */
size_t kafka_least_bytes(const struct kafka_shape *shape, struct kafka_dialect dialect);

/* Decodes one struct of this shape from `in` into the C struct at `to`; `in` stands
 * behind it afterwards. Every field of *to is set. Slices borrow from what `in` runs
 * over; arrays lie in the arena. An array's count is checked against what is left
 * before anything is allocated for it.
 * KQ_GARBAGE: the bytes do not follow the description; KQ_TOO_LARGE: the arena's
 * limit; KQ_NO_MEMORY. What is in *to is then of no use. */
enum kq_err kafka_decode(const struct kafka_shape *shape, struct kafka_dialect dialect, struct cursor *in,
                         struct kafka_arena *arena, void *to);

/* ---- encoding -------------------------------------------------------------------- */

/* Bytes that belong into the output at this position, and were not copied there. */
struct kafka_splice {
    size_t at; /* position in the buffer's own bytes */
    struct slice bytes;
};

struct kafka_splices {
    struct kafka_splice *at;
    size_t room;
    size_t count;
    size_t total_bytes;
};

/* Appends the struct at `from`. splices NULL: records are copied as all else is. Else
 * each records field that is not empty leaves its length in `out` and a row in
 * *splices, which must have room for every one; its data is not looked at, only
 * compared with NULL, so that the caller may keep anything there (a list of pieces).
 * out->bad: out of memory, past the buffer's limit, or a string that is too long. */
void kafka_encode(const struct kafka_shape *shape, struct kafka_dialect dialect, const void *from, struct buf *out,
                  struct kafka_splices *splices);

/* ---- text, for people ------------------------------------------------------------ */

/* Appends "{acks: -1, topics: [{name: "t", ...}]}" with the fields that the version has.
 * Records are shown by their size, other bytes and strings by their first ones. Stops
 * with "..." once it has written most_bytes. indent: one line a field. */
void kafka_dump(const struct kafka_shape *shape, struct kafka_dialect dialect, const void *from, struct buf *out,
                size_t most_bytes, bool indent);

#endif
