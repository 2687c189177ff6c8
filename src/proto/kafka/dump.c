/* A message as text, for logs, tests and tools: the same walk once more. */
#include "base/require.h"
#include "proto/kafka/shape.h"

#include <inttypes.h>

enum { DUMP_BYTES_SHOWN = 32, DUMP_STRING_SHOWN_BYTES = 256, DUMP_INDENT = 2 };

struct dumper {
    struct buf *out;
    size_t end_at; /* nothing more is begun from this length on */
    struct kafka_dialect dialect;
    bool indent;
    int depth;
};

static void dump_struct(struct dumper *d, const struct kafka_shape *shape, const uint8_t *from);

static bool full(const struct dumper *d)
{
    return d->out->bad || d->out->len >= d->end_at;
}

static void dump_string(struct dumper *d, struct slice s)
{
    size_t shown = s.len < DUMP_STRING_SHOWN_BYTES ? s.len : DUMP_STRING_SHOWN_BYTES;
    buf_u8(d->out, '"');
    for (size_t i = 0; i < shown; i++)
        if (s.data[i] == '"' || s.data[i] == '\\')
            buf_printf(d->out, "\\%c", s.data[i]);
        else if (s.data[i] < 0x20 || s.data[i] == 0x7f)
            buf_printf(d->out, "\\x%02x", s.data[i]);
        else
            buf_u8(d->out, s.data[i]);
    buf_text(d->out, shown < s.len ? "\"..." : "\"");
}

static void dump_bytes(struct dumper *d, struct slice s)
{
    size_t shown = s.len < DUMP_BYTES_SHOWN ? s.len : DUMP_BYTES_SHOWN;
    buf_printf(d->out, "%zu bytes", s.len);
    for (size_t i = 0; i < shown; i++)
        buf_printf(d->out, i == 0 ? " %02x" : "%02x", s.data[i]);
    if (shown < s.len)
        buf_text(d->out, "...");
}

static void dump_uuid(struct dumper *d, const struct uuid *id)
{
    char text[UUID_TEXT_BYTES];
    buf_text(d->out, uuid_format(id, text));
}

static void dump_plain(struct dumper *d, enum kafka_type type, const void *from)
{
    const struct slice *s = from;
    switch (type) {
    case KAFKA_TYPE_BOOL:
        buf_text(d->out, *(const bool *)from ? "true" : "false");
        return;
    case KAFKA_TYPE_INT8:
        buf_printf(d->out, "%d", *(const int8_t *)from);
        return;
    case KAFKA_TYPE_INT16:
        buf_printf(d->out, "%d", *(const int16_t *)from);
        return;
    case KAFKA_TYPE_UINT16:
        buf_printf(d->out, "%u", *(const uint16_t *)from);
        return;
    case KAFKA_TYPE_INT32:
        buf_printf(d->out, "%" PRId32, *(const int32_t *)from);
        return;
    case KAFKA_TYPE_INT64:
        buf_printf(d->out, "%" PRId64, *(const int64_t *)from);
        return;
    case KAFKA_TYPE_UUID:
        dump_uuid(d, from);
        return;
    case KAFKA_TYPE_STRING:
        if (slice_is_absent(*s))
            buf_text(d->out, "null");
        else
            dump_string(d, *s);
        return;
    case KAFKA_TYPE_BYTES:
        if (slice_is_absent(*s))
            buf_text(d->out, "null");
        else
            dump_bytes(d, *s);
        return;
    case KAFKA_TYPE_RECORDS:
        if (slice_is_absent(*s))
            buf_text(d->out, "null");
        else
            buf_printf(d->out, "%zu bytes", s->len);
        return;
    case KAFKA_TYPE_STRUCT:
    case KAFKA_TYPE_COUNT:
        break;
    }
    REQUIRE(type < KAFKA_TYPE_STRUCT);
}

/* What stands between two things: nothing before the first. */
static void between(struct dumper *d, bool first)
{
    if (!first)
        buf_text(d->out, d->indent ? "," : ", ");
    if (d->indent)
        buf_printf(d->out, "\n%*s", d->depth * DUMP_INDENT, "");
}

static void dump_array(struct dumper *d, const struct kafka_field *field, const uint8_t *from)
{
    struct kafka_list list;
    memcpy(&list, from, sizeof list);
    if (list.count < 0) {
        buf_text(d->out, "null");
        return;
    }
    buf_u8(d->out, '[');
    d->depth++;
    const uint8_t *element = list.at;
    for (int32_t i = 0; i < list.count && !full(d); i++, element += kafka_element_bytes(field)) {
        if (field->type == KAFKA_TYPE_STRUCT) {
            between(d, i == 0);
            dump_struct(d, field->of, element);
        } else {
            buf_text(d->out, i == 0 ? "" : ", ");
            dump_plain(d, (enum kafka_type)field->type, element);
        }
    }
    d->depth--;
    buf_u8(d->out, ']');
}

static void dump_struct(struct dumper *d, const struct kafka_shape *shape, const uint8_t *from)
{
    bool first = true;
    buf_u8(d->out, '{');
    d->depth++;
    for (size_t i = 0; i < shape->field_count && !full(d); i++) {
        const struct kafka_field *field = &shape->fields[i];
        const uint8_t *value = from + field->at;
        if (!kafka_field_present(field, d->dialect.version) ||
            (field->tag != 0 && kafka_field_is_default(field, value)))
            continue;
        between(d, first);
        first = false;
        buf_printf(d->out, "%s: ", field->name);
        if (field->array)
            dump_array(d, field, value);
        else if (field->type == KAFKA_TYPE_STRUCT)
            dump_struct(d, field->of, value);
        else
            dump_plain(d, (enum kafka_type)field->type, value);
    }
    d->depth--;
    buf_u8(d->out, '}');
}

void kafka_dump(const struct kafka_shape *shape, struct kafka_dialect dialect, const void *from, struct buf *out,
                size_t most_bytes, bool indent)
{
    struct dumper d = {.out = out, .end_at = out->len + most_bytes, .dialect = dialect, .indent = indent};
    dump_struct(&d, shape, from);
    if (full(&d))
        buf_text(out, "...");
}
