/*
 * Replies for people. Nothing here knows which command's reply it shows, so that
 * a member which a newer broker adds is shown as well.
 */
#include "client/show.h"

#include <stdio.h>
#include <stdlib.h>

enum { COLUMNS_MAX = 32, CELL_MAX_BYTES = 400, INDENT = 2 };

yajl_val show_parse(struct buf *line, yajl_val *data, struct fault *fault)
{
    const char *path[] = {"Data", NULL};
    char why[200];
    buf_u8(line, 0);
    yajl_val root = line->bad ? NULL : yajl_tree_parse((const char *)line->data, why, sizeof(why));
    if (root == NULL) {
        (void)fault_set(fault, KQ_GARBAGE, "the reply is no JSON: %.40s", line->bad ? "" : (const char *)line->data);
        return NULL;
    }
    line->len--;
    *data = yajl_tree_get(root, path, yajl_t_any);
    if (*data == NULL)
        *data = root;
    return root;
}

/* ---- one value as text ------------------------------------------------------------------ */

static bool is_nested(yajl_val value)
{
    return YAJL_IS_OBJECT(value) ||
           (YAJL_IS_ARRAY(value) && value->u.array.len > 0 &&
            (YAJL_IS_OBJECT(value->u.array.values[0]) || YAJL_IS_ARRAY(value->u.array.values[0])));
}

static void put_flat(struct buf *out, yajl_val value)
{
    if (YAJL_IS_STRING(value)) {
        json_plain_line(out, value->u.string, strlen(value->u.string));
    } else if (YAJL_IS_NUMBER(value)) {
        buf_text(out, YAJL_GET_NUMBER(value));
    } else if (YAJL_IS_ARRAY(value)) {
        for (size_t i = 0; i < value->u.array.len; i++) {
            if (i > 0)
                buf_u8(out, ',');
            put_flat(out, value->u.array.values[i]);
        }
    } else if (YAJL_IS_OBJECT(value)) {
        for (size_t i = 0; i < value->u.object.len; i++) {
            buf_printf(out, "%s%s=", i > 0 ? " " : "", value->u.object.keys[i]);
            put_flat(out, value->u.object.values[i]);
        }
    } else {
        buf_text(out, YAJL_IS_TRUE(value) ? "yes" : YAJL_IS_FALSE(value) ? "no" : "-");
    }
}

/* Characters, for the width of columns. */
static size_t width_of(const struct buf *cell)
{
    size_t count = 0;
    for (size_t i = 0; i < cell->len; i++)
        count += (cell->data[i] & 0xc0) != 0x80;
    return count;
}

static void pad(struct buf *out, size_t count)
{
    while (count-- > 0)
        buf_u8(out, ' ');
}

/* ---- a list of objects ---------------------------------------------------------------------- */

struct table {
    const char *names[COLUMNS_MAX];
    size_t widths[COLUMNS_MAX];
    size_t count;
};

static yajl_val member(yajl_val object, const char *name)
{
    for (size_t i = 0; YAJL_IS_OBJECT(object) && i < object->u.object.len; i++)
        if (strcmp(object->u.object.keys[i], name) == 0)
            return object->u.object.values[i];
    return NULL;
}

static void put_cell(struct buf *cell, yajl_val value)
{
    buf_reset(cell);
    if (value != NULL)
        put_flat(cell, value);
    if (cell->len > CELL_MAX_BYTES)
        cell->len = CELL_MAX_BYTES;
}

/* All names that any row has, in order of appearance, and how wide each is. */
static void measure(struct table *t, yajl_val list, struct buf *cell)
{
    t->count = 0;
    for (size_t row = 0; row < list->u.array.len; row++) {
        yajl_val object = list->u.array.values[row];
        for (size_t i = 0; YAJL_IS_OBJECT(object) && i < object->u.object.len; i++) {
            size_t column = 0;
            while (column < t->count && strcmp(t->names[column], object->u.object.keys[i]) != 0)
                column++;
            if (column == COLUMNS_MAX)
                continue;
            if (column == t->count) {
                t->names[t->count] = object->u.object.keys[i];
                t->widths[t->count++] = strlen(object->u.object.keys[i]);
            }
            put_cell(cell, object->u.object.values[i]);
            if (width_of(cell) > t->widths[column])
                t->widths[column] = width_of(cell);
        }
    }
}

static void put_table(struct buf *out, yajl_val list, size_t indent)
{
    struct table t;
    struct buf cell;
    buf_init(&cell, WIRE_LINE_MAX_BYTES);
    measure(&t, list, &cell);
    pad(out, indent);
    for (size_t column = 0; column < t.count; column++) {
        buf_text(out, t.names[column]);
        if (column + 1 < t.count)
            pad(out, t.widths[column] - strlen(t.names[column]) + 2);
    }
    buf_u8(out, '\n');
    for (size_t row = 0; row < list->u.array.len; row++) {
        pad(out, indent);
        for (size_t column = 0; column < t.count; column++) {
            put_cell(&cell, member(list->u.array.values[row], t.names[column]));
            buf_put(out, cell.data, cell.len);
            if (column + 1 < t.count)
                pad(out, t.widths[column] - width_of(&cell) + 2);
        }
        buf_u8(out, '\n');
    }
    buf_fini(&cell);
}

/* ---- an object, or anything --------------------------------------------------------------------- */

static void put_value(struct buf *out, yajl_val value, size_t indent);

static void put_object(struct buf *out, yajl_val object, size_t indent)
{
    size_t widest = 0;
    for (size_t i = 0; i < object->u.object.len; i++)
        if (!is_nested(object->u.object.values[i]) && strlen(object->u.object.keys[i]) > widest)
            widest = strlen(object->u.object.keys[i]);
    for (size_t i = 0; i < object->u.object.len; i++) {
        const char *name = object->u.object.keys[i];
        yajl_val value = object->u.object.values[i];
        pad(out, indent);
        buf_printf(out, "%s:", name);
        if (is_nested(value)) {
            buf_u8(out, '\n');
            put_value(out, value, indent + INDENT);
            continue;
        }
        pad(out, widest - strlen(name) + 1);
        put_flat(out, value);
        buf_u8(out, '\n');
    }
}

static void put_value(struct buf *out, yajl_val value, size_t indent)
{
    if (YAJL_IS_OBJECT(value) && value->u.object.len > 0) {
        put_object(out, value, indent);
    } else if (YAJL_IS_ARRAY(value) && value->u.array.len > 0 && YAJL_IS_OBJECT(value->u.array.values[0])) {
        put_table(out, value, indent);
    } else if (YAJL_IS_ARRAY(value)) {
        for (size_t i = 0; i < value->u.array.len; i++) {
            pad(out, indent);
            put_flat(out, value->u.array.values[i]);
            buf_u8(out, '\n');
        }
    } else {
        pad(out, indent);
        put_flat(out, value);
        buf_u8(out, '\n');
    }
}

void show_value(struct buf *out, yajl_val value)
{
    put_value(out, value, 0);
}

/* The reply's Data as it came: between `"Data":` and the last brace. */
static struct slice raw_data(const struct buf *line)
{
    static const char head[] = "{\"Ok\":true,\"Data\":";
    size_t len = line->len;
    while (len > 0 && (line->data[len - 1] == '\r' || line->data[len - 1] == ' '))
        len--;
    size_t skip = sizeof(head) - 1;
    if (len > skip && memcmp(line->data, head, skip) == 0)
        return slice_of(line->data + skip, len - skip - 1);
    return slice_of(line->data, len);
}

int show_reply(struct client *client, const char *nothing)
{
    struct fault *fault = &client->fault;
    yajl_val data = NULL;
    yajl_val root = show_parse(&client->line, &data, fault);
    if (root == NULL)
        return client_fail(client, fault->err);
    if (client->json) {
        struct slice raw = raw_data(&client->line);
        (void)printf("%.*s\n", (int)raw.len, (const char *)raw.data);
    } else if (YAJL_IS_ARRAY(data) && data->u.array.len == 0) {
        (void)fprintf(stderr, "%s\n", nothing);
    } else {
        struct buf out;
        buf_init(&out, 4UL * WIRE_LINE_MAX_BYTES);
        show_value(&out, data);
        (void)fwrite(out.data, 1, out.len, stdout);
        buf_fini(&out);
    }
    yajl_tree_free(root);
    return CLIENT_DONE;
}
