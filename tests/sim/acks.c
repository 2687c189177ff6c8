/* See acks.h. The message is looked for by its bytes in whatever log files would be left. */
#include "sim/acks.h"

#include "base/require.h"
#include "sim/brokers.h"
#include "sim/clients.h"
#include "sim/complaints.h"
#include "sim/disk.h"
#include "sim/judge.h"
#include "sim/variant.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LOOK_IN = 3, REPLICAS_DEFAULT = 3, PATHS_MAX = 2048 };

static struct {
    char folder[16]; /* of the topic's replicas, up to the partition's number */
    const char *paths[PATHS_MAX];
    unsigned count;
} look;

static void take_path(void *context, const char *path)
{
    (void)context;
    size_t len = strlen(path);
    if (len < 4 || strcmp(path + len - 4, ".log") != 0 || strstr(path, look.folder) == NULL)
        return;
    REQUIRE(look.count < PATHS_MAX);
    look.paths[look.count++] = path;
}

/* Those with the largest offsets first: what was just acknowledged is near the end. */
static int newest_first(const void *a, const void *b)
{
    const char *const *x = a, *const *y = b;
    int names = strcmp(strrchr(*y, '/'), strrchr(*x, '/'));
    return names != 0 ? names : strcmp(*x, *y);
}

/* From the end, by its rarest byte: most of a log file is zeros, and what is asked for is new. */
static bool stands_in(const uint8_t *data, uint64_t bytes, const char *text, size_t len)
{
    for (size_t left = (size_t)bytes; left >= len;) {
        const uint8_t *at = memrchr(data, text[0], left - len + 1);
        if (at == NULL)
            return false;
        if (memcmp(at, text, len) == 0)
            return true;
        left = (size_t)(at - data) + len - 1;
    }
    return false;
}

static bool has_it(unsigned broker, unsigned topic, uint64_t value)
{
    struct io_mem *mem = disk_mem(broker_node(brokers_at(broker))->disk);
    char text[32];
    int len = snprintf(text, sizeof text, "v%" PRIu64 " ", value);
    (void)snprintf(look.folder, sizeof look.folder, "/t%u-", topic);
    look.count = 0;
    io_mem_each_durable(mem, take_path, NULL);
    qsort(look.paths, look.count, sizeof look.paths[0], newest_first);
    for (unsigned i = 0; i < look.count; i++) {
        uint64_t bytes = 0;
        const uint8_t *data = io_mem_durable(mem, look.paths[i], &bytes);
        if (data != NULL && stands_in(data, bytes, text, (size_t)len))
            return true;
    }
    return false;
}

/* How many disks have it, and how many must. False: not to be known now. */
static bool count_disks(unsigned topic, uint64_t value, unsigned *have, unsigned *must)
{
    unsigned replicas = clients_plan()->replicas;
    if (replicas == 0)
        replicas = brokers_count() < REPLICAS_DEFAULT ? brokers_count() : REPLICAS_DEFAULT;
    if (variant_forgets() || variant()->flush_interval)
        return false;
    for (unsigned i = 1; i <= brokers_count(); i++)
        if (io_mem_wiped(disk_mem(broker_node(brokers_at(i))->disk)) > 0)
            return false; /* a majority of what there was */
    *must = replicas / 2 + 1;
    *have = 0;
    for (unsigned i = 1; i <= brokers_count() && *have < *must; i++)
        *have += has_it(i, topic, value);
    return true;
}

void acks_judge(unsigned topic, uint64_t value)
{
    unsigned have, must;
    if (value % LOOK_IN != 0 && !complaints_are_excused())
        return;
    if (count_disks(topic, value, &have, &must) && have < must)
        judge_fails("v%" PRIu64 " of t%u is acknowledged, and durable on %u disks; %u are a majority", value, topic,
                    have, must);
}

void acks_judge_shown(unsigned topic, uint64_t value)
{
    unsigned have, must;
    if (count_disks(topic, value, &have, &must) && have < must)
        judge_fails("v%" PRIu64 " of t%u is shown to a reader before it is acknowledged, and durable on %u disks; "
                    "%u are a majority",
                    value, topic, have, must);
}
