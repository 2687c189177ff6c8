/*
 * Listing a replica's folder. Names that are not ours are left alone, with a
 * warning: somebody put them there.
 */
#include "log/folder.h"

#include "base/logger.h"
#include "log/log_impl.h"

#include <stdlib.h>
#include <string.h>

enum { OFFS_GROW = 16, FOLDER_FILES_MAX = 1 << 20 };

static bool offs_add(struct offs *o, int64_t off)
{
    if (o->count % OFFS_GROW == 0) {
        if (o->count >= FOLDER_FILES_MAX)
            return false;
        int64_t *grown = realloc(o->at, (o->count + OFFS_GROW) * sizeof *grown);
        if (grown == NULL)
            return false;
        o->at = grown;
    }
    o->at[o->count++] = off;
    return true;
}

/* 20 digits, a dot and the suffix. */
static bool parse_name(const char *name, const char *suffix, int64_t *off)
{
    uint64_t v = 0;
    for (int i = 0; i < SEGMENT_NAME_DIGITS; i++) {
        if (name[i] < '0' || name[i] > '9' || v > INT64_MAX / 10)
            return false;
        v = v * 10 + (uint64_t)(name[i] - '0');
    }
    *off = (int64_t)v;
    return v <= INT64_MAX && name[SEGMENT_NAME_DIGITS] == '.' && strcmp(name + SEGMENT_NAME_DIGITS + 1, suffix) == 0;
}

static void see_name(void *context, const char *name)
{
    struct folder *f = context;
    int64_t off;
    if (parse_name(name, "log", &off)) {
        f->no_memory |= !offs_add(&f->logs, off);
    } else if (parse_name(name, "index", &off)) {
        f->no_memory |= !offs_add(&f->indexes, off);
    } else if (strcmp(name, HARD_STATE_NAME) == 0) {
        f->hard_state = true;
    } else if (strcmp(name, SNAPSHOT_NAME) == 0) {
        f->snapshot = true;
    } else if (strcmp(name, HARD_STATE_TEMP_NAME) == 0 || strcmp(name, SNAPSHOT_TEMP_NAME) == 0 ||
               strcmp(name, SPARE_LOG_NAME) == 0 || strcmp(name, SPARE_INDEX_NAME) == 0 ||
               strcmp(name, RESET_LOG_NAME) == 0 || strcmp(name, RESET_SNAPSHOT_NAME) == 0) {
        f->leftovers = true;
    } else if (strstr(name, ".aside") == NULL) { /* a repair's copies bear that name */
        f->strange = true;
        SAY_WARNING("%s/%.64s does not belong to this program; it is left alone", f->dir, name);
    }
}

int offs_compare(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a;
    int64_t y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

void folder_fini(struct folder *f)
{
    free(f->logs.at);
    free(f->indexes.at);
}

static void sort(struct offs *o)
{
    if (o->count > 0)
        qsort(o->at, o->count, sizeof(int64_t), offs_compare);
}

enum kq_err folder_list(struct io *io, const char *dir, struct folder *f)
{
    *f = (struct folder){.dir = dir};
    enum kq_err err = err_from_errno(-io->ops->list(io, dir, see_name, f));
    sort(&f->logs);
    sort(&f->indexes);
    return f->no_memory ? KQ_NO_MEMORY : err;
}
