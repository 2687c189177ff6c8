/* See sound.h. */
#include "sim/sound.h"

#include "log/hard_state.h"
#include "log/tool.h"
#include "sim/disk.h"
#include "sim/durable.h"
#include "sim/flips.h"
#include "sim/judge.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DIR_BYTES = 160, SEEN_MAX = 256, IDENTITY_BYTES = 80 };

struct look {
    struct sim_broker *broker;
    struct durable disk;
    const char *when;
    bool new_only; /* a mark that was looked at before says nothing new */
};

/* The marks looked at last. */
static struct {
    char dir[DIR_BYTES];
    uint64_t flushed_idx, flushed_term;
} seen[SEEN_MAX];

static bool is_new(const char *dir, const struct log_mark *mark)
{
    unsigned i = 0;
    while (i < SEEN_MAX - 1 && seen[i].dir[0] != '\0' && strcmp(seen[i].dir, dir) != 0)
        i++;
    bool same = strcmp(seen[i].dir, dir) == 0 && seen[i].flushed_idx == mark->flushed_idx &&
                seen[i].flushed_term == mark->flushed_term;
    (void)snprintf(seen[i].dir, sizeof seen[i].dir, "%s", dir);
    seen[i].flushed_idx = mark->flushed_idx;
    seen[i].flushed_term = mark->flushed_term;
    return !same;
}

struct ends {
    uint64_t end_idx; /* where the entries end that follow each other without a gap; 0: there is none */
    uint64_t snapshot_idx;
};

static void see_entry(void *context, const struct tool_entry *entry)
{
    struct ends *ends = context;
    if (ends->end_idx == 0 || entry->idx == ends->end_idx + 1)
        ends->end_idx = entry->idx;
}

static void see_line(void *context, const char *line)
{
    static const char snapshot[] = "snapshot of entry ";
    struct ends *ends = context;
    if (strncmp(line, snapshot, sizeof snapshot - 1) == 0)
        ends->snapshot_idx = strtoull(line + sizeof snapshot - 1, NULL, 10);
}

static void look_at_replica(const struct look *look, struct io *io, const char *dir)
{
    struct log_hard_state state;
    struct log_mark mark;
    bool one_bad;
    struct ends ends = {0};
    const struct tool_out out = {.line = see_line, .context = &ends, .entry = see_entry};
    struct tool_counts counts = {0};
    struct fault fault;
    if (hard_state_load(io, dir, &state, &mark, &one_bad, &fault) != KQ_OK)
        return;
    bool marked = log_mark_is_set(&mark), news = marked && is_new(dir, &mark);
    if ((marked && mark.cut != LOG_CUT_NONE) || (look->new_only && !news) ||
        tool_dump(io, dir, -1, false, 0, &out, &counts, &fault) != KQ_OK)
        return;
    if (ends.end_idx != 0 && ends.end_idx < ends.snapshot_idx)
        judge_fails("broker %u %s: the state stored in %s is of idx %" PRIu64
                    ", and its disk has the log up to %" PRIu64,
                    broker_number(look->broker), look->when, dir, ends.snapshot_idx, ends.end_idx);
    if (marked && ends.end_idx != 0 && ends.end_idx < mark.flushed_idx)
        judge_fails("broker %u %s: the mark of %s says that up to idx %" PRIu64
                    " all was flushed, and its disk has it up to %" PRIu64,
                    broker_number(look->broker), look->when, dir, mark.flushed_idx, ends.end_idx);
}

static void look_at_path(void *context, const char *path)
{
    struct look *look = context;
    const char *file = strrchr(path, '/');
    char dir[DIR_BYTES];
    if (file == NULL || strcmp(file + 1, HARD_STATE_NAME) != 0 || judge_verdict() != NULL ||
        strstr(path, ".deleted-") != NULL || strstr(path, ".stray-") != NULL)
        return;
    (void)snprintf(dir, sizeof dir, "%.*s", (int)(file - path), path);
    look_at_replica(look, &look->disk.io, dir);
}

/* Who the broker is, as its disk says: the line after the first of the file IDENTITY. It stays while the disk does. */
static void look_at_identity(const struct look *look)
{
    static struct {
        char line[IDENTITY_BYTES];
        uint64_t wiped;
    } known[BROKERS_MAX];
    unsigned number = broker_number(look->broker);
    char path[DIR_BYTES], line[IDENTITY_BYTES] = "";
    uint64_t bytes = 0, wiped = io_mem_wiped(look->disk.mem);
    (void)snprintf(path, sizeof path, "/kafkaesque-%u/IDENTITY", number);
    const uint8_t *text = io_mem_durable(look->disk.mem, path, &bytes);
    const uint8_t *at = text == NULL ? NULL : memchr(text, '\n', bytes);
    if (at == NULL)
        return;
    for (size_t i = 0; i + 1 < sizeof line && ++at < text + bytes && *at != '\n'; i++)
        line[i] = (char)*at;
    if (known[number - 1].line[0] != '\0' && known[number - 1].wiped == wiped &&
        strcmp(known[number - 1].line, line) != 0)
        judge_fails("broker %u was \"%s\", and is \"%s\" now, on the same disk", number, known[number - 1].line, line);
    (void)snprintf(known[number - 1].line, IDENTITY_BYTES, "%s", line);
    known[number - 1].wiped = wiped;
}

static bool was_spoilt(const struct sim_broker *broker)
{
    return flips_done_to(broker) || io_mem_flipped(disk_mem(broker_node(broker)->disk)) > 0;
}

void sound_judge_replica(struct sim_broker *broker, const char *hard_state_path, const char *when)
{
    struct look look = {.broker = broker, .when = when, .new_only = true};
    if (was_spoilt(broker))
        return;
    durable_init(&look.disk, disk_mem(broker_node(broker)->disk));
    look_at_path(&look, hard_state_path);
}

void sound_judge(struct sim_broker *broker, const char *when)
{
    struct look look = {.broker = broker, .when = when};
    if (was_spoilt(broker))
        return;
    durable_init(&look.disk, disk_mem(broker_node(broker)->disk));
    look_at_identity(&look);
    io_mem_each_durable(look.disk.mem, look_at_path, &look);
}
