#include "sim/flips.h"

#include "base/require.h"
#include "log/entry.h"
#include "log/hard_state.h"
#include "log/segment.h"
#include "sim/disk.h"
#include "sim/durable.h"
#include "sim/trace.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PATH_BYTES = 256, FILES_MAX = 1024, SECTOR_BYTES = 512, HARD_STATE_SEEN_BYTES = 64 };

struct files {
    char at[FILES_MAX][PATH_BYTES];
    unsigned count;
};

static struct files files;
static bool done_to[BROKERS_MAX];

bool flips_done_to(const struct sim_broker *broker)
{
    return done_to[broker_number(broker) - 1];
}

/* NNN.log and NNN.index of replicas that were not put aside. */
static void take_path(void *context, const char *path)
{
    (void)context;
    const char *name = strrchr(path, '/');
    if (name == NULL || strlen(path) >= PATH_BYTES || strstr(path, ".stray-") != NULL ||
        strstr(path, ".deleted-") != NULL || strspn(name + 1, "0123456789") != SEGMENT_NAME_DIGITS)
        return;
    if (files.count < FILES_MAX)
        (void)snprintf(files.at[files.count++], PATH_BYTES, "%s", path);
}

/* The last segment of its folder. */
static bool is_last(const char *path)
{
    size_t folder = (size_t)(strrchr(path, '/') - path) + 1;
    for (unsigned i = 0; i < files.count; i++)
        if (strncmp(files.at[i], path, folder) == 0 &&
            strncmp(files.at[i] + folder, path + folder, SEGMENT_NAME_DIGITS) > 0)
            return false;
    return true;
}

/* Of a topic that is written to also in the end. */
static bool is_clients(const char *path)
{
    return strstr(path, "/t0-") != NULL || strstr(path, "/t1-") != NULL;
}

/* Up to where the entries of an unsealed segment are known to their replica to be flushed;
 * an entry says so of those before it, and is itself left alone. 0: none. */
static uint64_t known_flushed_pos(struct io_mem *mem, const char *path, const uint8_t *data, uint64_t size_bytes)
{
    struct durable disk;
    struct log_hard_state state;
    struct log_mark mark;
    struct fault fault;
    bool one_bad;
    char dir[PATH_BYTES];
    (void)snprintf(dir, sizeof dir, "%.*s", (int)(strrchr(path, '/') - path), path);
    durable_init(&disk, mem);
    if (hard_state_load(&disk.io, dir, &state, &mark, &one_bad, &fault) != KQ_OK)
        return 0;
    struct entry_seed seed = entry_seed_make(&state.topic_id, state.partition, &state.incarnation);
    struct entry_head head;
    uint64_t pos = SEGMENT_HEAD_BYTES, flushed_idx = log_mark_is_set(&mark) ? mark.flushed_idx : 0, last_pos = 0;
    for (; pos < size_bytes && entry_decode(data + pos, size_bytes - pos, &seed, &head) == KQ_OK;
         pos += ENTRY_HEAD_BYTES + head.body_bytes) {
        flushed_idx = head.flushed_idx > flushed_idx ? head.flushed_idx : flushed_idx;
        last_pos = pos;
    }
    uint64_t safe_pos = 0;
    for (pos = SEGMENT_HEAD_BYTES; pos < last_pos && entry_decode(data + pos, size_bytes - pos, &seed, &head) == KQ_OK;
         pos += ENTRY_HEAD_BYTES + head.body_bytes) {
        if (head.idx > flushed_idx)
            break;
        safe_pos = pos + ENTRY_HEAD_BYTES + head.body_bytes;
    }
    return safe_pos;
}

static void spoil(struct sim_broker *broker, const char *path, uint64_t from, uint64_t size_bytes,
                  struct chance *chance)
{
    struct io_mem *mem = disk_mem(broker_node(broker)->disk);
    uint64_t pos = from + chance_below(chance, size_bytes - from), count = 1;
    if (chance_once_in(chance, 4)) {
        pos -= pos % SECTOR_BYTES;
        count = size_bytes - pos < SECTOR_BYTES ? size_bytes - pos : SECTOR_BYTES;
    }
    for (uint64_t i = 0; i < count; i++)
        io_mem_flip_disk(mem, path, pos + i,
                         (uint8_t)(count == 1 ? 1U << chance_below(chance, 8) : chance_roll(chance)));
    done_to[broker_number(broker) - 1] = true;
    trace_say(TRACE_FAULT, "%s: %s in %s at %llu", broker_node(broker)->name,
              count == 1 ? "a bit flips" : "a sector is spoilt", path, (unsigned long long)pos);
}

bool flips_do(struct sim_broker *broker, struct chance *chance)
{
    struct io_mem *mem = disk_mem(broker_node(broker)->disk);
    files.count = 0;
    io_mem_each_durable(mem, take_path, NULL);
    if (files.count == 0)
        return false;
    const char *path = files.at[chance_below(chance, files.count)];
    uint64_t size_bytes = 0;
    const uint8_t *data = io_mem_durable(mem, path, &size_bytes);
    bool index = strstr(path, ".index") != NULL;
    REQUIRE(data != NULL);
    bool sealed = !index && !is_last(path);
    if (!index && !sealed)
        size_bytes = is_clients(path) ? known_flushed_pos(mem, path, data, size_bytes) : 0;
    uint64_t from = index ? 0 : SEGMENT_HEAD_BYTES; /* the head of a segment, once it is sealed, nobody needs */
    if (size_bytes <= from)
        return false;
    spoil(broker, path, from, size_bytes, chance);
    return true;
}

bool flips_do_in_tail(struct sim_broker *broker, const char *topic, struct chance *chance)
{
    struct io_mem *mem = disk_mem(broker_node(broker)->disk);
    char folder[PATH_BYTES];
    (void)snprintf(folder, sizeof folder, "/%s-0/", topic);
    files.count = 0;
    io_mem_each_durable(mem, take_path, NULL);
    for (unsigned i = 0; i < files.count; i++) {
        const char *path = files.at[i];
        uint64_t size_bytes = 0;
        if (strstr(path, folder) == NULL || strstr(path, ".log") == NULL || !is_last(path))
            continue;
        const uint8_t *data = io_mem_durable(mem, path, &size_bytes);
        size_bytes = known_flushed_pos(mem, path, data, size_bytes);
        if (size_bytes <= SEGMENT_HEAD_BYTES)
            return false;
        spoil(broker, path, SEGMENT_HEAD_BYTES, size_bytes, chance);
        return true;
    }
    return false;
}

/* The hard state of a replica that was not put aside. */
static void take_state_path(void *context, const char *path)
{
    (void)context;
    const char *name = strrchr(path, '/');
    if (name != NULL && strcmp(name + 1, HARD_STATE_NAME) == 0 && strlen(path) < PATH_BYTES &&
        strstr(path, ".stray-") == NULL && strstr(path, ".deleted-") == NULL && files.count < FILES_MAX)
        (void)snprintf(files.at[files.count++], PATH_BYTES, "%s", path);
}

bool flips_do_in_hard_state(struct sim_broker *broker, const char *topic, struct chance *chance)
{
    struct io_mem *mem = disk_mem(broker_node(broker)->disk);
    char folder[PATH_BYTES];
    (void)snprintf(folder, sizeof folder, "/%s-0/", topic);
    files.count = 0;
    io_mem_each_durable(mem, take_state_path, NULL);
    for (unsigned i = 0; i < files.count; i++) {
        const char *path = files.at[i];
        if (strstr(path, folder) == NULL)
            continue;
        for (uint64_t slot = 0; slot < 2; slot++)
            io_mem_flip(mem, path, slot * HARD_STATE_SLOT_BYTES + chance_below(chance, HARD_STATE_SEEN_BYTES),
                        (uint8_t)(1U << chance_below(chance, 8)));
        done_to[broker_number(broker) - 1] = true;
        trace_say(TRACE_FAULT, "%s: a bit flips in each slot of %s", broker_node(broker)->name, path);
        return true;
    }
    return false;
}
