/* A story of steps on the disk that must bear to be cut off after each of them: a log that
 * is cut, a segment that is sealed and another begun, a new beginning, a deletion. */
#include "sim/clients.h"
#include "sim/disk.h"
#include "sim/judge.h"
#include "sim/scenarios.h"
#include "sim/story.h"
#include "sim/trace.h"

enum { ROUNDS = 14, STEPS_MAX = 12, DEATHS_MAX = 4, TRIES = 20, PARTITION_ROUNDS_MS = 1200 };

/* It dies at one of its next steps, and again while it recovers from that. */
static void dies_and_comes_back(unsigned broker, struct chance *chance)
{
    struct sim_broker *b = brokers_at(broker);
    for (int deaths = 1 + (int)chance_below(chance, DEATHS_MAX); deaths > 0; deaths--) {
        broker_die_at_rare_call(b, chance_below(chance, STEPS_MAX), DEATH_POWER);
        for (int i = 0; i < TRIES && broker_is_up(b); i++)
            story_load(50);
        disk_crash_at(broker_node(b)->disk, 0, NULL, NULL);
        if (!broker_is_up(b))
            broker_boot(b);
    }
    story_load(300);
    if (!broker_is_up(b))
        broker_boot(b);
}

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
        dies_and_comes_back(broker, chance);
        if (judge_verdict() != NULL)
            return false;
    }
    return story_takes_messages("power went between all kinds of steps", 30);
}
