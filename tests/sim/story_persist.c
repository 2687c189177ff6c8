/* A story of steps on the disk that must bear to be cut off after each of them: a log that
 * is cut, a segment that is sealed and another begun, a new beginning, a deletion. */
#include "sim/clients.h"
#include "sim/disk.h"
#include "sim/judge.h"
#include "sim/scenarios.h"
#include "sim/story.h"
#include "sim/trace.h"

#include <errno.h>

enum { ROUNDS = 14, STEPS_MAX = 12, PARTITION_ROUNDS_MS = 1200, FIRST_DEATHS = 12, FIRST_CALLS = 200 };

/* A leader goes on appending while the others elect another: when it is joined again, its log
 * is cut, and in the middle of that its power goes. */
bool story_power_goes_between_steps(struct chance *chance)
{
    for (int i = 0; i < ROUNDS; i++) {
        unsigned broker = 1 + (unsigned)chance_below(chance, brokers_count());
        if (!chance_once_in(chance, 4)) {
            broker = story_leader(0, "t0", 0);
            if (broker == 0)
                broker = 1 + (unsigned)chance_below(chance, brokers_count());
            story_isolate(broker, false, false);
            story_load(chance_between(chance, 200, PARTITION_ROUNDS_MS));
            story_isolate(broker, true, true);
        }
        story_dies_at_steps(broker, STEPS_MAX, chance);
        if (judge_verdict() != NULL)
            return false;
    }
    return story_takes_messages("power went between all kinds of steps", 30);
}

static void starts_with_a_bad_disk(struct sim_broker *b, struct chance *chance)
{
    static const unsigned ops[] = {IO_MEM_READ, IO_MEM_OPEN, IO_MEM_OPEN | IO_MEM_READ, IO_MEM_MAP | IO_MEM_SIZE,
                                   IO_MEM_LIST, IO_MEM_ANY};
    unsigned op = ops[chance_below(chance, sizeof ops / sizeof ops[0])];
    trace_say(TRACE_FAULT, "%s: some calls of its disk fail while it starts (%x)", broker_node(b)->name, op);
    broker_boot(b);
    io_mem_fail(disk_mem(broker_node(b)->disk), op, (uint64_t)chance_magnitude(chance, 1, 100) - 1, EIO,
                1 + chance_below(chance, 8));
}

/* This broker, which is down, or all, whose power goes: what cannot be read is not taken for what is not there,
 * nor given up while nobody else is known to have it. All of them are down in the end. */
static void start_with_bad_disks(struct sim_broker *b, bool all, struct chance *chance)
{
    for (unsigned n = 1; all && n <= brokers_count(); n++)
        broker_die(brokers_at(n), DEATH_POWER);
    for (unsigned n = 1; n <= brokers_count(); n++)
        if (all || brokers_at(n) == b)
            starts_with_a_bad_disk(brokers_at(n), chance);
    story_load(chance_between(chance, 50, all ? 8000 : PARTITION_ROUNDS_MS));
    for (unsigned n = 1; n <= brokers_count(); n++)
        if (all || brokers_at(n) == b) {
            io_mem_fail_not(disk_mem(broker_node(brokers_at(n))->disk));
            broker_die(brokers_at(n), story_death(chance));
        }
}

/* Calls of a disk fail while there is load, the broker's process ends, and the disk is good
 * again: what was not taken must not have been promised, nor stand in the way of a start. */
bool story_calls_of_a_disk_fail(struct chance *chance)
{
    static const unsigned ops[] = {IO_MEM_WRITE, IO_MEM_SYNC,     IO_MEM_WRITE | IO_MEM_SYNC,
                                   IO_MEM_ZERO,  IO_MEM_TRUNCATE, IO_MEM_RENAME | IO_MEM_SYNC_DIR};
    for (int i = 0; i < ROUNDS; i++) {
        unsigned broker = story_leader(0, "t0", 0);
        if (broker == 0 || chance_once_in(chance, 3))
            broker = 1 + (unsigned)chance_below(chance, brokers_count());
        struct sim_broker *b = brokers_at(broker);
        struct io_mem *mem = disk_mem(broker_node(b)->disk);
        unsigned op = ops[chance_below(chance, sizeof ops / sizeof ops[0])];
        story_load(chance_between(chance, 100, PARTITION_ROUNDS_MS));
        io_mem_fail(mem, op, chance_below(chance, 20), EIO, 1 + chance_below(chance, 3));
        trace_say(TRACE_FAULT, "%s: some calls of its disk fail (%x)", broker_node(b)->name, op);
        story_load(chance_between(chance, 100, PARTITION_ROUNDS_MS));
        io_mem_fail_not(mem);
        /* Its broker lives; whatever stopped there must not hold up the others. */
        if (chance_once_in(chance, 4) && !story_takes_messages("calls of a disk failed, and its broker lives", 20))
            return false;
        broker_die(b, story_death(chance));
        if (chance_once_in(chance, 2))
            start_with_bad_disks(b, chance_once_in(chance, 3), chance);
        story_boot_all();
        if (judge_verdict() != NULL)
            return false;
    }
    return story_takes_messages("calls of disks failed", 30);
}

/* ---- the first steps of all ------------------------------------------------------------------ */

/* Whatever was written of who a broker is, which cluster it belongs to and which replicas it
 * has, is there or is not, and is written again. */
void story_power_goes_while_a_cluster_is_founded(struct chance *chance)
{
    story_boot_all();
    for (int i = 0; i < FIRST_DEATHS; i++) {
        struct sim_broker *b = brokers_at(1 + (unsigned)chance_below(chance, brokers_count()));
        broker_die_at_call(b, (uint64_t)chance_magnitude(chance, 1, FIRST_CALLS), DEATH_POWER);
        story_load(chance_magnitude(chance, 1, 500));
        broker_die_at_no_call(b);
        if (chance_once_in(chance, 2))
            story_boot_all();
    }
    story_boot_all();
}

bool story_a_cluster_was_founded(struct chance *chance)
{
    for (int i = 0; i < 3; i++) {
        for (unsigned n = 1; n <= brokers_count(); n++)
            broker_die(brokers_at(n), DEATH_POWER);
        story_boot_all();
        if (!story_takes_messages("a cluster was founded, and all lost power", 30))
            return false;
        story_load(chance_between(chance, 100, 1000));
    }
    return story_settles("a cluster was founded");
}
