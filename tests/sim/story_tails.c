/* A story of tails: what a leader has for itself, over segments or not yet on its disk, when
 * it hears of another and cuts its log; and what a killed process finds in the cache alone. */
#include "sim/disk.h"
#include "sim/judge.h"
#include "sim/ledger.h"
#include "sim/scenarios.h"
#include "sim/session.h"
#include "sim/story.h"

#include <stdio.h>
#include <string.h>

/* Of the bodies of a burst; the longest burst is more than a segment (brokers.c). */
enum { LARGE_BYTES = 6000, SMALL_BYTES = 60, BURST_MAX = 16, TAIL_ROUNDS = 6, STEPS_MAX = 12, AWAY_MS = 1200 };
static const char long_topic[] = "long";

/* Messages of some size to a broker (0: to none), one behind the other; nobody waits for what
 * becomes of them. */
static void burst(unsigned broker, int64_t count, int bytes)
{
    struct session to = {.fd = -1};
    char line[LARGE_BYTES + 64];
    int len = snprintf(line, sizeof line, "PUBS %s {\"Body\":\"", long_topic);
    memset(line + len, 'y', (size_t)bytes);
    (void)snprintf(line + len + bytes, sizeof line - (size_t)(len + bytes), "\"}");
    if (broker != 0 && broker_serves(brokers_at(broker)) && session_open(&to, broker, S_NS))
        while (count-- > 0 && session_say(&to, line))
            continue;
    story_load(100);
    session_fini(&to);
}

/* Its disk is slow, and stands still for a moment: the cache is ahead of it. Then its process
 * is killed, and finds in the cache what the disk does not have. */
static void finds_its_cache(unsigned broker, struct chance *chance)
{
    struct sim_broker *b = brokers_at(broker);
    struct disk *disk = broker_node(b)->disk;
    disk_stall(disk, true, true);
    for (int64_t i = chance_between(chance, 1, 4); i > 0; i--)
        burst(story_leader(0, long_topic, 0), 1, SMALL_BYTES);
    broker_die(b, DEATH_KILL);
    disk_stall(disk, false, false);
    broker_boot(b);
    story_load(chance_between(chance, 50, AWAY_MS));
}

/* A leader that reaches nobody has a tail of its own, often over several segments, which is
 * cut when it hears of another. */
static void has_a_tail_of_its_own(unsigned broker, struct chance *chance)
{
    story_isolate(broker, false, chance_once_in(chance, 2));
    burst(broker, chance_between(chance, 1, BURST_MAX), LARGE_BYTES);
    story_load(chance_between(chance, 200, 2 * AWAY_MS));
    story_isolate(broker, true, true);
    story_load(chance_between(chance, 50, 800));
}

/* The same, and its disk stands still: what was common to all is not on it yet when the tail is
 * to be cut. Of little, so that no segment is prepared meanwhile, which a cut waits for. */
static void has_a_tail_and_no_disk(unsigned broker, struct chance *chance)
{
    struct disk *disk = broker_node(brokers_at(broker))->disk;
    disk_stall(disk, true, true);
    for (int64_t i = chance_between(chance, 1, 4); i > 0; i--)
        burst(broker, chance_between(chance, 1, 2), SMALL_BYTES);
    story_isolate(broker, false, true);
    burst(broker, chance_between(chance, 1, 2), SMALL_BYTES);
    story_load(chance_between(chance, 800, 2 * AWAY_MS));
    disk_stall(disk, false, false);
    story_isolate(broker, true, true);
}

bool story_a_long_tail_is_cut(struct chance *chance)
{
    ledger_look_in(4);
    if (!story_order("CRTP %s 1 %u", long_topic, brokers_count()) || !story_settles("it begins"))
        return false;
    for (int i = 0; i < TAIL_ROUNDS; i++) {
        unsigned broker = story_wait_for_leader(long_topic, 0);
        if (broker == 0)
            return false;
        struct disk_style *style = disk_style(broker_node(brokers_at(broker))->disk), was = *style;
        if (chance_once_in(chance, 2)) {
            burst(broker, chance_between(chance, 1, BURST_MAX), LARGE_BYTES);
            has_a_tail_of_its_own(broker, chance);
            story_dies_at_steps(broker, STEPS_MAX, chance);
        } else {
            style->sync_ns = chance_between(chance, 5, 100) * MS_NS;
            if (chance_once_in(chance, 2))
                finds_its_cache(1 + (unsigned)chance_below(chance, brokers_count()), chance);
            else
                has_a_tail_and_no_disk(broker, chance);
            story_load(chance_between(chance, 1, 600));
            broker_die(brokers_at(broker), DEATH_POWER);
            *style = was;
            broker_boot(brokers_at(broker));
        }
        if (judge_verdict() != NULL)
            return false;
    }
    return story_takes_messages("long tails were cut", 30);
}
