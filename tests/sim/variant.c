#include "sim/variant.h"

#include "partition/actor.h"
#include "sim/chance.h"
#include "sim/trace.h"

static struct variant drawn = {.retention_bytes = -1, .retention_ms = -1};

enum { SMALLEST_BYTES = 48 * 1024, LARGEST_BYTES = 512 * 1024, SHORTEST_MS = 500, LONGEST_MS = 20000 };
enum { STATE_EVERY_BYTES = 2 * 1024, MACHINE_SEGMENT_BYTES = 4 * 1024 };

void variant_draw(uint64_t seed, bool flush_interval, bool alone)
{
    struct chance chance = chance_of(seed, 90);
    /* Segments are of 64 KiB (brokers.c): with most of these several are deleted while the
     * faults go on, and whoever was away for some seconds lacks what nobody keeps. */
    if (chance_once_in(&chance, 3))
        drawn.retention_bytes = chance_magnitude(&chance, SMALLEST_BYTES, LARGEST_BYTES);
    if (chance_once_in(&chance, 8))
        drawn.retention_ms = chance_magnitude(&chance, SHORTEST_MS, LONGEST_MS);
    drawn.flush_interval = flush_interval;
    drawn.power_of_many = flush_interval && (alone || chance_once_in(&chance, 2));
    if (flush_interval)
        trace_say(TRACE_FAULT, "flush = interval; the power fails for %s",
                  drawn.power_of_many ? "any, at any time" : "one at a time");
    if (variant_forgets())
        trace_say(TRACE_FAULT, "retention: %lld bytes, %lld ms", (long long)drawn.retention_bytes,
                  (long long)drawn.retention_ms);
}

void variant_deletes(uint64_t seed)
{
    struct chance chance = chance_of(seed, 91);
    drawn.retention_bytes = chance_magnitude(&chance, SMALLEST_BYTES, 2 * SMALLEST_BYTES);
    trace_say(TRACE_FAULT, "retention: %lld bytes", (long long)drawn.retention_bytes);
}

void variant_flushes_late(void)
{
    drawn.flush_interval = true;
    trace_say(TRACE_FAULT, "flush = interval; the power fails for one at a time");
}

void variant_draw_machines(uint64_t seed)
{
    struct chance chance = chance_of(seed, 92);
    drawn.small_machines = !chance_once_in(&chance, 3);
}

void variant_size(struct actor_options *options)
{
    if (options->machine.ops == NULL || !drawn.small_machines)
        return;
    options->machine.snapshot_every_bytes = STATE_EVERY_BYTES;
    options->limits.segment_bytes = MACHINE_SEGMENT_BYTES;
    options->log.segment_bytes = MACHINE_SEGMENT_BYTES;
}

const struct variant *variant(void)
{
    return &drawn;
}

bool variant_forgets(void)
{
    return drawn.retention_bytes >= 0 || drawn.retention_ms >= 0;
}
