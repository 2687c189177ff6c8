/* Stories of brokers that know less than they think: a replica's folder that is gone, a
 * leader that slept through its own end. */
#include "sim/clients.h"
#include "sim/disk.h"
#include "sim/judge.h"
#include "sim/scenarios.h"
#include "sim/session.h"
#include "sim/story.h"
#include "sim/trace.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ASK_S = 4, LOST_ROUNDS = 2, SLEEPS = 4, FORGETS = 4, FLUSHED_S = 6, LED_AGAIN_S = 5 };

/* One broker lacks what the two others took meanwhile. Of those one loses its replica's
 * folder, and nothing else, and comes back without the other: what it promised is known to
 * the one that is down alone, so the two that are there must not elect anybody. */
bool story_a_folder_is_lost(struct chance *chance)
{
    for (int round = 0; round < LOST_ROUNDS; round++) {
        unsigned lacks = 1 + (unsigned)chance_below(chance, brokers_count());
        unsigned loser = lacks % brokers_count() + 1, keeper = loser % brokers_count() + 1;
        char folder[64];
        if (!story_settles("it begins"))
            return false;
        story_isolate(lacks, false, false);
        if (!story_takes_messages("one of three is cut off", 20))
            return false;
        story_load(1000);
        broker_die(brokers_at(keeper), story_death(chance));
        broker_die(brokers_at(loser), DEATH_POWER);
        (void)snprintf(folder, sizeof folder, "/kafkaesque-%u/t0-0", loser);
        io_mem_remove(disk_mem(broker_node(brokers_at(loser))->disk), folder);
        trace_say(TRACE_FAULT, "%s is gone", folder);
        story_isolate(lacks, true, true);
        broker_boot(brokers_at(loser));
        story_load(chance_between(chance, 3000, 8000));
        broker_boot(brokers_at(keeper));
        if (!story_settles("all are back, one without a folder") || !story_takes_messages("all are back", 20))
            return false;
    }
    return true;
}

/* Nobody has used it for a while, and its leader dies: the others must take a message. */
static bool goes_on_without_its_leader(const char *topic, struct chance *chance)
{
    unsigned leader = story_wait_for_leader(topic, 0);
    bool done = leader == 0;
    if (leader != 0)
        broker_die(brokers_at(leader), DEATH_KILL);
    story_shun(leader);
    for (int64_t until_ns = machine_now_ns() + LED_AGAIN_S * S_NS; !done && machine_now_ns() < until_ns;) {
        char *reply = story_ask("PUBS %s {\"Body\":\"after a rest\"}", topic);
        done = reply != NULL && strcmp(reply, "Done") == 0;
        free(reply);
        story_load(100);
    }
    story_shun(0);
    if (!done)
        judge_fails("the leader of %s died, all others had what it had, and none takes a message within %d s", topic,
                    LED_AGAIN_S);
    story_load(chance_between(chance, 1, 1000));
    story_boot_all();
    return done;
}

/* flush = interval: what a leader has acknowledged one follower forgets with its power, the other
 * never had, and the leader sleeps. The two that are there must not elect. Later they must, where
 * nothing was published since, too. */
bool story_one_forgets_what_it_promised(struct chance *chance)
{
    if (!story_order("CRTP rests 1 %u", brokers_count()))
        return false;
    for (int i = 0; i < FORGETS; i++) {
        if (!story_settles("it begins"))
            return false;
        bool rests = chance_once_in(chance, 2);
        unsigned leader = story_wait_for_leader(rests ? "rests" : "t0", 0), forgets = leader % brokers_count() + 1;
        unsigned lags = forgets % brokers_count() + 1;
        if (leader == 0)
            return false;
        if (chance_once_in(chance, 2)) {
            unsigned other = forgets;
            forgets = lags;
            lags = other;
        }
        struct node *node = broker_node(brokers_at(leader));
        story_isolate(lags, false, false);
        story_load(chance_between(chance, 200, 1500));
        node_pause(node, true);
        broker_die(brokers_at(forgets), DEATH_POWER);
        story_isolate(lags, true, true);
        broker_boot(brokers_at(forgets));
        story_load(chance_between(chance, 1000, 6000));
        node_pause(node, false);
        if (!story_takes_messages("one forgot, and its leader goes on", 20))
            return false;
        story_load(FLUSHED_S * 1000);
        if (rests && !goes_on_without_its_leader("rests", chance))
            return false;
    }
    return true;
}

/* "[\"ID\"" of a reply to SUBS; false: none. */
static bool take_id(const char *reply, char *id, size_t room)
{
    const char *at = reply == NULL ? NULL : strstr(reply, "[\"");
    const char *end = at == NULL ? NULL : strchr(at + 2, '"');
    if (end == NULL || (size_t)(end - at - 2) >= room)
        return false;
    memcpy(id, at + 2, (size_t)(end - at - 2));
    id[end - at - 2] = '\0';
    return true;
}

/* Publishes to the only partition of `quiet`; nobody else does. False: not now. */
static bool publish_quietly(unsigned number)
{
    char *reply = story_ask("PUBS quiet {\"Body\":\"message %u.\"}", number);
    bool done = reply != NULL && strcmp(reply, "Done") == 0;
    free(reply);
    return done;
}

/* Asks the leader, while it sleeps, for what others acknowledged meanwhile; what it
 * answers when it is awake must have that, or be a refusal. */
static bool asks_who_slept(unsigned leader, const char *id, unsigned number, struct chance *chance)
{
    struct session s = {.fd = -1};
    struct node *node = broker_node(brokers_at(leader));
    char line[160], text[32];
    (void)snprintf(line, sizeof line, "CONS quiet %s 0", id);
    (void)snprintf(text, sizeof text, "message %u.", number);
    if (!session_open(&s, leader, ASK_S * S_NS))
        return true;
    node_pause(node, true);
    trace_say(TRACE_FAULT, "%s is paused", node->name);
    story_shun(leader);
    bool published = false;
    for (int i = 0; i < 60 && !published; i++) {
        story_load(100);
        published = publish_quietly(number);
    }
    story_shun(0);
    bool said = published && session_say(&s, line);
    story_load(chance_magnitude(chance, 1, 200));
    node_pause(node, false);
    trace_say(TRACE_FAULT, "%s goes on", node->name);
    const char *reply = said ? session_hear(&s) : NULL;
    if (reply != NULL && strncmp(reply, "{\"Ok\":true", 10) == 0 && strstr(reply, text) == NULL)
        judge_fails("broker %u slept, and what was acknowledged before it was asked is not in what it shows", leader);
    session_fini(&s);
    return judge_verdict() == NULL;
}

bool story_a_leader_sleeps(struct chance *chance)
{
    char id[80];
    unsigned number = 0;
    if (!story_settles("it begins") || !story_order("CRTP quiet 1"))
        return false;
    for (int i = 0; i < SLEEPS; i++) {
        unsigned leader = story_wait_for_leader("quiet", 0);
        if (leader == 0)
            return false;
        (void)publish_quietly(++number);
        char *reply = story_ask("SUBS quiet reader%d 1", i);
        bool known = take_id(reply, id, sizeof id);
        free(reply);
        if (known && !asks_who_slept(leader, id, ++number, chance))
            return false;
        story_load(1500);
    }
    return true;
}
