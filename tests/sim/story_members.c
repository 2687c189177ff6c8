/* Stories of orders: who is to hold what, and topics that come and go. */
#include "sim/clients.h"
#include "sim/disk.h"
#include "sim/judge.h"
#include "sim/net.h"
#include "sim/scenarios.h"
#include "sim/story.h"
#include "sim/trace.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool story_a_leader_is_drained(struct chance *chance)
{
    unsigned leader = story_wait_for_leader("t0", 0);
    story_load(1000);
    free(story_ask("CLUS DRAIN %u", leader));
    story_load(chance_between(chance, 1000, 5000));
    if (chance_once_in(chance, 2)) { /* in the middle of it somebody else dies */
        unsigned other = story_another(leader, chance);
        broker_die(brokers_at(other), story_death(chance));
        story_load(3000);
        broker_boot(brokers_at(other));
    }
    if (!story_takes_messages("a broker is being drained", 20))
        return false;
    story_load(10000);
    free(story_ask("CLUS ADD %u", leader));
    return story_settles("a broker was drained and added again");
}

/* Replicas move to a broker that is cut off as soon as it was told. */
bool story_a_new_member_is_cut_off(struct chance *chance)
{
    unsigned added = 4 + (unsigned)chance_below(chance, brokers_count() - 3);
    if (!story_settles("it begins"))
        return false;
    free(story_ask("CLUS MOVE t0 0 1,2,%u", added));
    fiber_sleep(chance_magnitude(chance, 1, 3000) * MS_NS);
    story_isolate(added, false, false);
    if (!story_takes_messages("the new member of a partition was cut off", 20))
        return false;
    story_load(5000);
    net_heal();
    return story_settles("the new member is joined again");
}

bool story_a_topic_is_made_again_while_one_is_away(struct chance *chance)
{
    unsigned away = 1 + (unsigned)chance_below(chance, brokers_count());
    if (!story_settles("it begins"))
        return false;
    free(story_ask("CRTP again 2"));
    free(story_ask("PUBS again {\"Body\":\"of the first\"}"));
    broker_die(brokers_at(away), story_death(chance));
    story_load(2000);
    free(story_ask("DELE again"));
    fiber_sleep(chance_magnitude(chance, 1, 2000) * MS_NS);
    free(story_ask("CRTP again 2"));
    free(story_ask("PUBS again {\"Body\":\"of the second\"}"));
    story_load(1000);
    broker_boot(brokers_at(away));
    if (!story_settles("the one that was away is back"))
        return false;
    for (unsigned i = 1; i <= brokers_count(); i++)
        for (unsigned p = 0; p < 2; p++)
            if (story_count(i, "again", "of the first") > 0)
                judge_fails("broker %u shows a message of a topic that was deleted", i);
    return judge_verdict() == NULL;
}
