/* A story of who was away for so long that what it lacks is kept by nobody: it begins anew from
 * what a leader gives it, in steps on its disk that must each bear to be the last. */
#include "sim/clients.h"
#include "sim/judge.h"
#include "sim/scenarios.h"
#include "sim/story.h"

#include <stdlib.h>

/* POURED: messages of 7 KB to each partition, more than two segments and what is kept. */
enum { ROUNDS = 5, POURED = 32, STEPS_MAX = 40 };

/* Whoever began anew must be able to lead and to follow, with what little it has. */
static bool goes_on_from_there(unsigned broker, struct chance *chance)
{
    unsigned other = story_another(broker, chance);
    switch (chance_below(chance, 4)) {
    case 0:
        return true; /* the next is away before this one is filled */
    case 1:
        if (!story_settles("one that was left behind is back"))
            return false;
        broker_shut(brokers_at(broker)); /* in order: its start believes what it finds */
        broker_boot(brokers_at(broker));
        break;
    case 2:
        if (!story_settles("one that was left behind is back"))
            return false;
        free(story_ask("CLUS TRANSFER t0 0 %u", broker));
        break;
    default:
        break;
    }
    story_load(chance_magnitude(chance, 1, 2000));
    broker_die(brokers_at(other), story_death(chance));
    story_load(chance_magnitude(chance, 1, 2000));
    broker_boot(brokers_at(other));
    return story_takes_messages("one that was left behind is back, and another died", 30);
}

bool story_one_is_left_behind(struct chance *chance)
{
    for (int i = 0; i < ROUNDS; i++) {
        unsigned away = 1 + (unsigned)chance_below(chance, brokers_count());
        if (chance_once_in(chance, 3))
            broker_shut(brokers_at(away));
        else
            broker_die(brokers_at(away), story_death(chance));
        if (!clients_pour(0, POURED, 60 * S_NS)) {
            judge_fails("one of three is away, and t0 takes no messages");
            return false;
        }
        broker_boot(brokers_at(away));
        if (chance_once_in(chance, 4))
            story_load(chance_magnitude(chance, 1, 3000));
        else
            story_dies_at_steps(away, STEPS_MAX, chance);
        if (!goes_on_from_there(away, chance))
            return false;
    }
    return story_settles("all are back");
}
