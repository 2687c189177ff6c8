/* See acks.h. The message is looked for by its bytes in whatever log files would be left. */
#include "sim/acks.h"

#include "sim/brokers.h"
#include "sim/clients.h"
#include "sim/disk.h"
#include "sim/judge.h"
#include "sim/variant.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { LOOK_IN = 3, REPLICAS_DEFAULT = 3 };

struct look {
    const struct io_mem *mem;
    char folder[16]; /* of the topic's replicas, up to the partition's number */
    char text[32];
    bool found;
};

static void look_into(void *context, const char *path)
{
    struct look *l = context;
    size_t len = strlen(path);
    uint64_t bytes = 0;
    if (l->found || len < 4 || strcmp(path + len - 4, ".log") != 0 || strstr(path, l->folder) == NULL)
        return;
    const uint8_t *data = io_mem_durable(l->mem, path, &bytes);
    l->found = data != NULL && memmem(data, (size_t)bytes, l->text, strlen(l->text)) != NULL;
}

static bool has_it(unsigned broker, unsigned topic, uint64_t value)
{
    struct io_mem *mem = disk_mem(broker_node(brokers_at(broker))->disk);
    struct look look = {.mem = mem};
    (void)snprintf(look.folder, sizeof look.folder, "/t%u-", topic);
    (void)snprintf(look.text, sizeof look.text, "v%" PRIu64 " ", value);
    io_mem_each_durable(mem, look_into, &look);
    return look.found;
}

void acks_judge(unsigned topic, uint64_t value)
{
    unsigned replicas = clients_plan()->replicas, have = 0;
    if (replicas == 0)
        replicas = brokers_count() < REPLICAS_DEFAULT ? brokers_count() : REPLICAS_DEFAULT;
    if (value % LOOK_IN != 0 || variant_forgets() || variant()->flush_interval)
        return;
    for (unsigned i = 1; i <= brokers_count(); i++) {
        if (io_mem_wiped(disk_mem(broker_node(brokers_at(i))->disk)) > 0)
            return; /* a majority of what there was */
        have += has_it(i, topic, value);
    }
    if (have < replicas / 2 + 1)
        judge_fails("v%" PRIu64 " of t%u is acknowledged, and durable on %u of %u disks", value, topic, have, replicas);
}
