#include "cluster/home.h"

#include "base/logger.h"
#include "base/require.h"
#include "log/hard_state.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PARTITION_DIGITS_MAX = 6, TIME_DIGITS_MIN = 13, TIME_DIGITS_MAX = 18 };

/* ---- names ------------------------------------------------------------------------ */

/* The number behind the last '-' of name; *stem_bytes is what stands before it. */
static bool split_number(const char *name, size_t digits_min, size_t digits_max, size_t *stem_bytes, int64_t *number)
{
    const char *dash = strrchr(name, '-');
    if (dash == NULL || dash == name)
        return false;
    size_t digits = strspn(dash + 1, "0123456789");
    if (digits < digits_min || digits > digits_max || dash[1 + digits] != '\0')
        return false;
    *number = 0;
    for (size_t i = 0; i < digits; i++)
        *number = *number * 10 + (dash[1 + i] - '0');
    *stem_bytes = (size_t)(dash - name);
    return true;
}

static bool parse_replica(const char *name, struct home_name *parsed)
{
    size_t stem_bytes;
    int64_t number;
    if (!split_number(name, 1, PARTITION_DIGITS_MAX, &stem_bytes, &number) || stem_bytes > TOPIC_NAME_MAX_BYTES)
        return false;
    const char *digits = name + stem_bytes + 1;
    bool internal = strncmp(name, "__", 2) == 0;
    if ((digits[0] == '0' && digits[1] != '\0') ||
        cluster_check_topic_name(internal ? name + 2 : name, internal ? stem_bytes - 2 : stem_bytes, NULL) != KQ_OK)
        return false;
    memcpy(parsed->topic, name, stem_bytes);
    parsed->topic[stem_bytes] = '\0';
    parsed->partition = (uint32_t)number;
    return true;
}

static bool ends_with(const char *text, size_t text_bytes, const char *end)
{
    size_t len = strlen(end);
    return text_bytes > len && memcmp(text + text_bytes - len, end, len) == 0;
}

void home_parse(const char *name, struct home_name *parsed)
{
    static const char *const own[] = {"LOCK",     "FORMAT",       "IDENTITY",  "IDENTITY.new",
                                      "REPLICAS", "REPLICAS.new", "lost+found"};
    *parsed = (struct home_name){.kind = HOME_FOREIGN};
    for (size_t i = 0; i < sizeof own / sizeof own[0]; i++)
        if (strcmp(name, own[i]) == 0)
            parsed->kind = HOME_OWN;
    size_t stem_bytes;
    if (split_number(name, TIME_DIGITS_MIN, TIME_DIGITS_MAX, &stem_bytes, &parsed->time_ms)) {
        if (ends_with(name, stem_bytes, ".stray"))
            parsed->kind = HOME_STRAY;
        else if (ends_with(name, stem_bytes, ".deleted"))
            parsed->kind = HOME_DELETED;
    } else if (parse_replica(name, parsed))
        parsed->kind = HOME_REPLICA;
}

bool home_path(char path[CLUSTER_PATH_BYTES], const char *data_dir, const char *name)
{
    int n = snprintf(path, CLUSTER_PATH_BYTES, "%s/%s", data_dir, name);
    return n > 0 && n < CLUSTER_PATH_BYTES;
}

/* ---- listing ------------------------------------------------------------------------- */

struct listing {
    char **names;
    size_t count;
    size_t room;
    bool failed;
};

static void collect(void *context, const char *name)
{
    struct listing *l = context;
    if (l->count + 1 >= l->room) {
        size_t room = l->room == 0 ? 64 : l->room * 2;
        char **names = realloc(l->names, room * sizeof *names);
        if (names == NULL) {
            l->failed = true;
            return;
        }
        l->names = names;
        l->room = room;
    }
    l->names[l->count] = strdup(name);
    l->failed |= l->names[l->count] == NULL;
    l->count += l->names[l->count] != NULL;
    l->names[l->count] = NULL;
}

enum kq_err home_list(struct io *io, const char *data_dir, char ***names, size_t *count, struct fault *fault)
{
    struct listing l = {.room = 1, .names = calloc(1, sizeof *l.names)};
    int result = l.names == NULL ? -ENOMEM : io->ops->list(io, data_dir, collect, &l);
    if (result < 0 || l.failed) {
        home_list_free(&l.names);
        enum kq_err err = result < 0 ? err_from_errno(-result) : KQ_NO_MEMORY;
        return fault_set(fault, err, "%s: the folder cannot be listed: %s", data_dir, err_text(err));
    }
    *names = l.names;
    *count = l.count;
    return KQ_OK;
}

void home_list_free(char ***names)
{
    for (char **name = *names; name != NULL && *name != NULL; name++)
        free(*name);
    free(*names);
    *names = NULL;
}

/* ---- moving and removing ----------------------------------------------------------------- */

enum kq_err home_hard_state(struct io *io, const char *path, struct log_hard_state *state)
{
    struct log_mark mark;
    bool one_bad;
    return hard_state_load(io, path, state, &mark, &one_bad, NULL);
}

static void ignore_name(void *context, const char *name)
{
    (void)context;
    (void)name;
}

bool home_exists(struct io *io, const char *path)
{
    return io->ops->list(io, path, ignore_name, NULL) != -ENOENT;
}

enum kq_err home_put_aside(struct io *io, const char *data_dir, const char *name, const char *suffix, int64_t now_ms,
                           char aside[CLUSTER_PATH_BYTES])
{
    char from[CLUSTER_PATH_BYTES];
    char to[CLUSTER_PATH_BYTES];
    char new_name[HOME_NAME_BYTES];
    (void)snprintf(new_name, sizeof new_name, "%s.%s-%013" PRId64, name, suffix, now_ms);
    if (!home_path(from, data_dir, name) || !home_path(to, data_dir, new_name))
        return KQ_INVALID;
    int result = io->ops->rename(io, from, to);
    if (result < 0) {
        if (result != -ENOENT)
            SAY_ERROR("%s: cannot be renamed to %s: %s", from, new_name, strerror(-result));
        return err_from_errno(-result);
    }
    if (aside != NULL)
        memcpy(aside, to, sizeof to);
    return KQ_OK;
}

/* Names are taken first and unlinked after, so that the listing is not disturbed. */
enum kq_err home_remove_some(struct io *io, const char *path, size_t limit)
{
    char **names = NULL;
    size_t count = 0;
    struct fault fault;
    enum kq_err err = home_list(io, path, &names, &count, &fault);
    if (err == KQ_NOT_FOUND)
        return KQ_OK;
    if (err != KQ_OK) {
        SAY_WARNING("%s", fault_text(&fault));
        return KQ_IO;
    }
    int result = 0;
    for (size_t i = 0; i < count && i < limit && result == 0; i++) {
        char file[CLUSTER_PATH_BYTES];
        result = home_path(file, path, names[i]) ? io->ops->unlink(io, file) : -ENAMETOOLONG;
    }
    home_list_free(&names);
    if (result == 0 && count > limit)
        return KQ_AGAIN;
    if (result == 0)
        result = io->ops->rmdir(io, path);
    if (result < 0)
        SAY_WARNING("%s: cannot be removed, and nobody needs it any more: %s", path, strerror(-result));
    return result < 0 ? KQ_IO : KQ_OK;
}
