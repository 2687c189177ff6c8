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

enum { FILLS_SEGMENTS = 24, POURED = 60, HANDOVERS = 80, READ_IN = 8, LATE_MS = 300 };

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

/* ---- removal of whoever leads --------------------------------------------------------------- */

/* After so much that who is a member stands in an older segment. */
static bool all_start_again(const char *when)
{
    if (!clients_pour(0, FILLS_SEGMENTS, 30 * S_NS)) {
        judge_fails("%s, and t0 takes no messages", when);
        return false;
    }
    for (unsigned i = 1; i <= brokers_count(); i++)
        broker_die(brokers_at(i), DEATH_KILL);
    story_boot_all();
    return story_takes_messages(when, 20) && story_settles(when);
}

/* The leader is not among those that are to hold it: it hands over and goes. */
bool story_a_leader_is_moved_away(struct chance *chance)
{
    if (!story_settles("it begins"))
        return false;
    for (int i = 0; i < 3; i++) {
        unsigned leader = story_wait_for_leader("t0", 0), to[3], n = brokers_count();
        if (leader == 0)
            return false;
        unsigned first = story_another(leader, chance);
        for (unsigned k = 0, b = first; k < 3; b = b % n + 1)
            if (b != leader)
                to[k++] = b;
        if (!story_order("CLUS MOVE t0 0 %u,%u,%u", to[0], to[1], to[2]))
            return false;
        story_load(chance_magnitude(chance, 1, 2000));
        if (!story_takes_messages("a leader is moved away", 10) || !story_settles("a leader was moved away"))
            return false;
        if (story_holds("t0", 0, leader) || story_leader(0, "t0", 0) == leader)
            judge_fails("t0/0 was moved away from broker %u, which has it still", leader);
        if (!all_start_again("a leader was moved away"))
            return false;
    }
    return judge_verdict() == NULL;
}

/* False: judge_fails was called. */
static bool lead_all(unsigned broker)
{
    for (unsigned t = 0; t < clients_plan()->topics; t++)
        for (unsigned p = 0; p < clients_plan()->partitions[t]; p++) {
            char topic[16];
            (void)snprintf(topic, sizeof topic, "t%u", t);
            if (story_holds(topic, p, broker) && !story_order("CLUS TRANSFER %s %u %u", topic, p, broker))
                return false;
        }
    return true;
}

/* The controller, which leads all that it holds, is drained and removed for good; its computer comes
 * again later as a new broker, with an empty disk. */
bool story_the_controller_is_removed(struct chance *chance)
{
    if (!story_settles("it begins"))
        return false;
    unsigned controller = story_controller();
    if (controller == 0 || !lead_all(controller) || !story_order("CLUS DRAIN %u", controller))
        return false;
    story_load(chance_magnitude(chance, 1, 3000));
    if (!story_takes_messages("the controller is being drained", 10) || !story_settles("the controller was drained"))
        return false;
    if (chance_once_in(chance, 2)) {
        broker_shut(brokers_at(controller));
        if (!story_order("CLUS REMOVE %u", controller))
            return false;
    } else {
        if (!story_order("CLUS REMOVE %u", controller))
            return false;
        story_load(chance_magnitude(chance, 1, 2000));
        broker_die(brokers_at(controller), story_death(chance));
    }
    if (!story_takes_messages("the controller was removed", 10) || !story_settles("the controller was removed"))
        return false;
    if (story_controller() == controller)
        judge_fails("broker %u was removed, and is the controller", controller);
    unsigned other = story_another(controller, chance);
    broker_die(brokers_at(other), story_death(chance));
    if (!story_takes_messages("one of the four that are left died", 20))
        return false;
    broker_boot(brokers_at(other));
    broker_wipe(brokers_at(controller));
    broker_boot(brokers_at(controller));
    return story_settles("its computer is back as a new broker");
}

/* ---- leaders that hand over --------------------------------------------------------------------- */

static void one_is_heard_late(struct chance *chance)
{
    unsigned late = 1 + (unsigned)chance_below(chance, brokers_count()), by = story_another(late, chance);
    net_link(broker_node(brokers_at(late)), broker_node(brokers_at(by)))->delay_ns =
        chance_magnitude(chance, 1, LATE_MS) * MS_NS;
    trace_say(TRACE_FAULT, "broker %u is heard late by broker %u", late, by);
}

/* What was taken under one leader is shown by each later one, whoever is asked: brokers that hold
 * nothing of it fetch it from whoever leads by then. */
bool story_leaders_change_all_the_while(struct chance *chance)
{
    if (!clients_pour(0, POURED, 30 * S_NS))
        judge_fails("a cluster at rest takes no messages");
    for (int i = 0; i < HANDOVERS && judge_verdict() == NULL; i++) {
        unsigned p = (unsigned)chance_below(chance, clients_plan()->partitions[0]);
        if (chance_once_in(chance, 4))
            net_heal();
        if (chance_once_in(chance, 2))
            one_is_heard_late(chance);
        free(story_ask("CLUS TRANSFER t0 %u %u", p, 1 + (unsigned)chance_below(chance, brokers_count())));
        fiber_sleep(chance_magnitude(chance, 1, 300) * MS_NS);
        if (i % READ_IN == 0 && !clients_read_topic(0, 30 * S_NS))
            judge_fails("t0 cannot be read while its leaders hand over");
    }
    net_heal();
    return judge_verdict() == NULL && story_takes_messages("leaders handed over all the while", 10);
}
