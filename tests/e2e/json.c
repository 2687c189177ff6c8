/* Paths into a yajl tree. */
#include "e2e/json.h"

#include <stdlib.h>
#include <string.h>

struct json json_open(const char *text)
{
    char why[256];
    return (struct json){yajl_tree_parse(text, why, sizeof(why))};
}

void json_close(struct json *j)
{
    yajl_tree_free(j->root);
    j->root = NULL;
}

static yajl_val member(yajl_val object, const char *name, size_t name_bytes)
{
    for (size_t i = 0; i < object->u.object.len; i++)
        if (strlen(object->u.object.keys[i]) == name_bytes && memcmp(object->u.object.keys[i], name, name_bytes) == 0)
            return object->u.object.values[i];
    return NULL;
}

static yajl_val find(const struct json *j, const char *path)
{
    yajl_val v = j->root;
    while (v != NULL && *path != '\0') {
        size_t n = strcspn(path, ".");
        if (YAJL_IS_OBJECT(v))
            v = member(v, path, n);
        else if (YAJL_IS_ARRAY(v)) {
            size_t at = strtoul(path, NULL, 10);
            v = at < v->u.array.len ? v->u.array.values[at] : NULL;
        } else
            v = NULL;
        path += n + (path[n] == '.');
    }
    return v;
}

const char *json_text(const struct json *j, const char *path)
{
    yajl_val v = find(j, path);
    return v != NULL && YAJL_IS_STRING(v) ? v->u.string : "(none)";
}

int64_t json_number(const struct json *j, const char *path)
{
    yajl_val v = find(j, path);
    return v != NULL && YAJL_IS_INTEGER(v) ? v->u.number.i : JSON_NONE;
}

int64_t json_count(const struct json *j, const char *path)
{
    yajl_val v = find(j, path);
    return v != NULL && YAJL_IS_ARRAY(v) ? (int64_t)v->u.array.len : -1;
}

bool json_is_null(const struct json *j, const char *path)
{
    yajl_val v = find(j, path);
    return v != NULL && YAJL_IS_NULL(v);
}

bool json_has(const struct json *j, const char *path)
{
    return find(j, path) != NULL;
}

bool json_is_true(const struct json *j, const char *path)
{
    yajl_val v = find(j, path);
    return v != NULL && YAJL_IS_TRUE(v);
}
