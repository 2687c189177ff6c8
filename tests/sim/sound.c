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
#include <string.h>

enum { DIR_BYTES = 160, SEEN_MAX = 256 };

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

/* Where the entries end that follow each other without a gap; 0: there is none. */
static void see_entry(void *context, const struct tool_entry *entry)
{
    uint64_t *end_idx = context;
    if (*end_idx == 0 || entry->idx == *end_idx + 1)
        *end_idx = entry->idx;
}

static void look_at_replica(const struct look *look, struct io *io, const char *dir)
{
    struct log_hard_state state;
    struct log_mark mark;
    bool one_bad;
    uint64_t end_idx = 0;
    const struct tool_out out = {.context = &end_idx, .entry = see_entry};
    struct tool_counts counts = {0};
    struct fault fault;
    if (hard_state_load(io, dir, &state, &mark, &one_bad, &fault) != KQ_OK || !log_mark_is_set(&mark) ||
        mark.cut != LOG_CUT_NONE || (!is_new(dir, &mark) && look->new_only) ||
        tool_dump(io, dir, -1, false, 0, &out, &counts, &fault) != KQ_OK)
        return;
    if (end_idx != 0 && end_idx < mark.flushed_idx)
        judge_fails("broker %u %s: the mark of %s says that up to idx %" PRIu64
                    " all was flushed, and its disk has it up to %" PRIu64,
                    broker_number(look->broker), look->when, dir, mark.flushed_idx, end_idx);
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
    io_mem_each_durable(look.disk.mem, look_at_path, &look);
}
