#include "sim/replicas.h"

#include "base/require.h"
#include "log/entry.h"
#include "log/hard_state.h"
#include "log/tool.h"
#include "sim/brokers.h"
#include "sim/disk.h"
#include "sim/trace.h"
#include "sim/variant.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_BYTES = 128, REPLICAS_MAX = 256 };

/* An entry: what is said of it, and its records, as one number. */
struct seen {
    uint64_t idx, term;
    int64_t first_off;
    uint64_t hash;
};

struct replica {
    unsigned broker;
    char name[NAME_BYTES]; /* of its folder */
    struct uuid topic_id;
    uint64_t commit_idx;
    uint64_t bytes; /* of its entries */
    struct seen *seen;
    size_t count, room;
    uint32_t damaged; /* places, up to this offset, that do not check out */
    int64_t damaged_end_off;
};

static struct {
    struct replica at[REPLICAS_MAX];
    size_t count;
    unsigned broker; /* whose disk is looked at */
    char why[400];
    uint64_t compared;
} all;

uint64_t replicas_compared(void)
{
    return all.compared;
}

/* ---- reading ------------------------------------------------------------------------ */

static uint64_t mix(uint64_t hash, const void *data, size_t bytes)
{
    const uint8_t *at = data;
    for (size_t i = 0; i < bytes; i++)
        hash = (hash ^ at[i]) * UINT64_C(0x100000001b3);
    return hash;
}

static uint64_t mix_slice(uint64_t hash, struct slice slice)
{
    hash = mix(hash, &slice.len, sizeof slice.len);
    return slice.data == NULL ? hash : mix(hash, slice.data, slice.len);
}

static void take_entry(void *context, const struct tool_entry *entry)
{
    struct replica *r = context;
    if (r->count == r->room) {
        r->room = r->room * 2 + 256;
        r->seen = realloc(r->seen, r->room * sizeof *r->seen);
        REQUIRE(r->seen != NULL);
    }
    struct seen *s = &r->seen[r->count++];
    r->bytes += ENTRY_HEAD_BYTES + entry->body_bytes;
    *s = (struct seen){.idx = entry->idx, .term = entry->term, .first_off = entry->first_off};
    s->hash = mix(UINT64_C(0xcbf29ce484222325), entry->type, strlen(entry->type));
    s->hash = mix(s->hash, &entry->record_count, sizeof entry->record_count);
    s->hash = mix(s->hash, &entry->body_bytes, sizeof entry->body_bytes);
}

static void take_record(void *context, struct record *record)
{
    struct replica *r = context;
    if (r->count == 0)
        return;
    struct seen *s = &r->seen[r->count - 1];
    s->hash = mix(s->hash, &record->off, sizeof record->off);
    s->hash = mix(s->hash, &record->time_ms, sizeof record->time_ms);
    s->hash = mix_slice(mix_slice(s->hash, record->key), record->value);
}

static void take_line(void *context, const char *line)
{
    struct replica *r = context;
    long long first_off, last_off;
    const char *offsets = strncmp(line, "DAMAGED", 7) == 0 ? strstr(line, "offsets ") : NULL;
    trace_say(TRACE_JUDGE, "%s", line);
    if (offsets == NULL || sscanf(offsets, "offsets %lld to %lld", &first_off, &last_off) != 2)
        return;
    r->damaged++;
    if (last_off >= r->damaged_end_off)
        r->damaged_end_off = last_off + 1;
}

static bool differs(const char *format, ...) __attribute__((format(printf, 1, 2)));
static bool differs(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(all.why, sizeof all.why, format, arguments);
    va_end(arguments);
    return false;
}

static bool read_replica(struct replica *r, const char *dir)
{
    struct io *io = io_mem_io(disk_mem(broker_node(brokers_at(r->broker))->disk));
    const struct tool_out out = {.line = take_line, .context = r, .entry = take_entry, .record = take_record};
    struct tool_counts counts = {0};
    struct fault fault = {.err = KQ_OK};
    if (tool_check(io, dir, &out, &counts, &fault) != KQ_OK)
        return differs("broker %u, %s: %s", r->broker, r->name, fault_text(&fault));
    /* A footer in which a bit flipped looks like a write that did not finish. */
    bool flipped = io_mem_flipped(disk_mem(broker_node(brokers_at(r->broker))->disk)) > 0;
    if (counts.damaged > (flipped ? r->damaged : 0) || (counts.torn_bytes > 0 && !flipped))
        return differs("broker %u, %s: %u damaged places, %" PRIu64 " torn bytes after a stop in order", r->broker,
                       r->name, counts.damaged, counts.torn_bytes);
    uint32_t damaged = r->damaged;
    int64_t damaged_end_off = r->damaged_end_off;
    if (tool_dump(io, dir, -1, true, 0, &out, &counts, &fault) != KQ_OK)
        return differs("broker %u, %s: %s", r->broker, r->name, fault_text(&fault));
    r->damaged = damaged; /* as the check saw it; the dump says so again */
    r->damaged_end_off = damaged_end_off;
    struct log_hard_state state;
    struct log_mark mark;
    bool one_bad;
    if (hard_state_load(io, dir, &state, &mark, &one_bad, &fault) != KQ_OK)
        return differs("broker %u, %s: %s", r->broker, r->name, fault_text(&fault));
    r->topic_id = state.topic_id;
    r->commit_idx = log_mark_is_set(&mark) && mark.commit_idx > state.commit_idx ? mark.commit_idx : state.commit_idx;
    return true;
}

/* A folder with a hard state is a replica; one that was put aside is none any more. */
static void take_path(void *context, const char *path)
{
    (void)context;
    const char *file = strrchr(path, '/');
    const char *base = memchr(path + 1, '/', strlen(path + 1));
    if (file == NULL || base == NULL || base >= file || strcmp(file + 1, HARD_STATE_NAME) != 0)
        return;
    size_t len = (size_t)(file - base - 1);
    REQUIRE(all.count < REPLICAS_MAX && len < NAME_BYTES);
    struct replica *r = &all.at[all.count];
    *r = (struct replica){.broker = all.broker};
    memcpy(r->name, base + 1, len);
    if (strstr(r->name, ".deleted-") == NULL && strstr(r->name, ".stray-") == NULL)
        all.count++;
}

/* ---- comparing -------------------------------------------------------------------------- */

static bool same(const struct replica *a, const struct replica *b)
{
    uint64_t to = a->commit_idx < b->commit_idx ? a->commit_idx : b->commit_idx;
    size_t i = 0, j = 0;
    while (i < a->count && j < b->count && a->seen[i].idx <= to && b->seen[j].idx <= to) {
        const struct seen *x = &a->seen[i], *y = &b->seen[j];
        if (x->idx != y->idx) { /* one begins later */
            i += x->idx < y->idx;
            j += y->idx < x->idx;
            continue;
        }
        if (x->term != y->term || x->first_off != y->first_off || x->hash != y->hash)
            return differs("%s: brokers %u and %u differ at idx %" PRIu64 " (terms %" PRIu64 " and %" PRIu64
                           ", offsets %" PRId64 " and %" PRId64 "), which both have committed",
                           a->name, a->broker, b->broker, x->idx, x->term, y->term, x->first_off, y->first_off);
        all.compared++;
        i++;
        j++;
    }
    return true;
}

/* One entry after the other, from where it begins to what it knows to be committed; and
 * retention by size has left as much as it was told to. */
static bool is_whole(const struct replica *r)
{
    for (size_t i = 1; i < r->count; i++)
        if (r->seen[i].idx != r->seen[i - 1].idx + 1 && r->seen[i].first_off > r->damaged_end_off)
            return differs("broker %u, %s: idx %" PRIu64 " stands behind idx %" PRIu64, r->broker, r->name,
                           r->seen[i].idx, r->seen[i - 1].idx);
    uint64_t last = r->count > 0 ? r->seen[r->count - 1].idx : 0, first = r->count > 0 ? r->seen[0].idx : 1;
    if (r->count > 0 && last < r->commit_idx)
        return differs("broker %u, %s: it ends at idx %" PRIu64 ", and knows idx %" PRIu64 " to be committed",
                       r->broker, r->name, last, r->commit_idx);
    bool internal = strncmp(r->name, "__", 2) == 0;
    /* Where the power may fail for all before they flushed, newer entries are gone than those that made room. */
    if (internal || first <= 1 || r->damaged > 0 || variant()->retention_ms >= 0 || variant()->power_of_many)
        return true;
    if (variant()->retention_bytes < 0 || r->bytes < (uint64_t)variant()->retention_bytes)
        return differs("broker %u, %s: begins at idx %" PRIu64 " and has %" PRIu64
                       " bytes; retention must leave at least %" PRId64,
                       r->broker, r->name, first, r->bytes, variant()->retention_bytes);
    return true;
}

static bool are_of_one(const struct replica *a, const struct replica *b)
{
    return strcmp(a->name, b->name) == 0 && uuid_equal(&a->topic_id, &b->topic_id);
}

/* Damage that nobody could mend, as the others' logs begin behind it by now: whoever asked for
 * it was told that the log starts later. */
static bool may_be_damaged(const struct replica *r)
{
    for (size_t i = 0; i < all.count; i++)
        if (&all.at[i] != r && are_of_one(&all.at[i], r) && all.at[i].count > 0 &&
            all.at[i].seen[0].first_off >= r->damaged_end_off)
            return true;
    return differs("broker %u, %s: %u damaged places after a stop in order, and others have what was there", r->broker,
                   r->name, r->damaged);
}

static bool look_at_all(void)
{
    for (all.broker = 1; all.broker <= brokers_count(); all.broker++)
        io_mem_each(disk_mem(broker_node(brokers_at(all.broker))->disk), take_path, NULL);
    for (size_t i = 0; i < all.count; i++) {
        struct replica *r = &all.at[i];
        char dir[NAME_BYTES + 32];
        (void)snprintf(dir, sizeof dir, "/kafkaesque-%u/%s", r->broker, r->name);
        if (!read_replica(r, dir) || !is_whole(r))
            return false;
    }
    for (size_t i = 0; i < all.count; i++)
        for (size_t j = i + 1; j < all.count; j++)
            if (are_of_one(&all.at[i], &all.at[j]) && !same(&all.at[i], &all.at[j]))
                return false;
    for (size_t i = 0; i < all.count; i++)
        if (all.at[i].damaged > 0 && !may_be_damaged(&all.at[i]))
            return false;
    return true;
}

bool replicas_agree(const char **why)
{
    bool agree = look_at_all();
    for (size_t i = 0; i < all.count; i++)
        free(all.at[i].seen);
    all.count = 0;
    *why = all.why;
    return agree;
}
