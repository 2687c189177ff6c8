/* Stories of disks: emptied, slow, stalled, damaged; and of power that goes. */
#include "sim/clients.h"
#include "sim/complaints.h"
#include "sim/disk.h"
#include "sim/flips.h"
#include "sim/judge.h"
#include "sim/net.h"
#include "sim/scenarios.h"
#include "sim/story.h"
#include "sim/trace.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A little more than publish.timeout. */
enum { PUBLISH_S = 35, FULL_ROUNDS = 6 };

/* The first log of a data partition that a later one follows. */
struct sealed {
    char path[256], other[256];
};

static void see_log(void *context, const char *path)
{
    struct sealed *s = context;
    const char *name = strrchr(path, '/');
    size_t len = strlen(path);
    if (strstr(path, "/t0-0/") == NULL || len < 4 || strcmp(path + len - 4, ".log") != 0 || name[1] < '0' ||
        name[1] > '9' || len >= sizeof s->path)
        return;
    if (s->path[0] == '\0' || strcmp(path, s->path) < 0) {
        (void)snprintf(s->other, sizeof s->other, "%s", s->path);
        (void)snprintf(s->path, sizeof s->path, "%s", path);
    } else {
        (void)snprintf(s->other, sizeof s->other, "%s", path);
    }
}

/* False: no log is sealed yet. */
static bool flip_in_sealed(struct io_mem *mem, struct chance *chance)
{
    struct sealed s = {{0}, {0}};
    io_mem_each(mem, see_log, &s);
    if (s.other[0] == '\0')
        return false;
    uint64_t size_bytes, pos;
    uint8_t bit = (uint8_t)(1U << chance_below(chance, 8));
    (void)io_mem_bytes(mem, s.path, &size_bytes);
    pos = 4096 + chance_below(chance, size_bytes / 2);
    io_mem_flip(mem, s.path, pos, bit);
    trace_say(TRACE_FAULT, "a bit flips in %s at %llu", s.path, (unsigned long long)pos);
    return true;
}

/* Its disk is new, the command the same. It is filled again, and counts again: the
 * others die one at a time after that. */
bool story_a_wiped_disk_comes_back(struct chance *chance)
{
    unsigned wiped = story_wait_for_leader("t0", 0);
    if (chance_once_in(chance, 2))
        wiped = story_another(wiped, chance);
    story_load(2000);
    broker_die(brokers_at(wiped), DEATH_POWER);
    broker_wipe(brokers_at(wiped));
    fiber_sleep(chance_magnitude(chance, 1, 5000) * MS_NS);
    broker_boot(brokers_at(wiped));
    story_load(1000); /* a death without a word is known after an election timeout */
    if (!story_settles("a broker came back with an empty disk"))
        return false;
    for (unsigned i = 1; i <= brokers_count(); i++) {
        if (i == wiped)
            continue;
        broker_die(brokers_at(i), DEATH_POWER);
        if (!story_takes_messages("one of those that filled the wiped one died", 20))
            return false;
        broker_boot(brokers_at(i));
        story_load(1000);
        if (!story_settles("all brokers run again"))
            return false;
    }
    return true;
}

/* With another away the wiped one must neither found a cluster nor help to elect. */
bool story_a_wiped_one_restarts_while_another_is_down(struct chance *chance)
{
    unsigned wiped = story_wait_for_leader("t0", 0), away = story_another(wiped, chance);
    story_load(2000);
    broker_die(brokers_at(away), DEATH_KILL);
    broker_die(brokers_at(wiped), DEATH_POWER);
    broker_wipe(brokers_at(wiped));
    broker_boot(brokers_at(wiped));
    story_load(chance_between(chance, 5000, 15000));
    broker_boot(brokers_at(away));
    return story_settles("the one that was away is back") && story_takes_messages("all are back", 20);
}

bool story_a_leaders_disk_stalls(struct chance *chance)
{
    unsigned leader = story_wait_for_leader("t0", 0);
    struct disk_style *style = disk_style(broker_node(brokers_at(leader))->disk), was = *style;
    story_load(1000);
    style->sync_ns = chance_between(chance, 2, 20) * S_NS;
    trace_say(TRACE_FAULT, "the disk of broker %u takes %lld s a sync", leader, (long long)(style->sync_ns / S_NS));
    story_load(15000);
    *style = was;
    return story_takes_messages("a disk that stalled goes on", 20);
}

/* A byte changes in what is sealed on one disk: it is fetched again from the others. */
bool story_a_bit_flips(struct chance *chance)
{
    story_load(8000);
    unsigned ill = 1 + (unsigned)chance_below(chance, brokers_count());
    struct io_mem *mem = disk_mem(broker_node(brokers_at(ill))->disk);
    if (!flip_in_sealed(mem, chance))
        return true; /* nothing is sealed yet */
    if (chance_once_in(chance, 2)) {
        broker_die(brokers_at(ill), DEATH_POWER);
        broker_boot(brokers_at(ill));
    }
    story_load(25000); /* the scrubber comes by */
    return story_takes_messages("a bit flipped on one disk", 20);
}

/* What is not taken is refused, and not for longer than there is no room: a full disk damages
 * nothing, ends nothing, and asks for nobody to come. */
bool story_disks_are_full(struct chance *chance)
{
    for (int i = 0; i < FULL_ROUNDS; i++) {
        unsigned full = story_wait_for_leader("t0", 0);
        bool all = chance_once_in(chance, 3);
        if (full == 0)
            return false;
        for (unsigned n = 1; n <= brokers_count(); n++)
            if (all || n == full)
                story_fill_disk(n, (uint64_t)chance_magnitude(chance, 1, 128 * 1024));
        story_load(chance_between(chance, 500, 4000));
        if (chance_once_in(chance, 3)) {
            broker_die(brokers_at(full), story_death(chance));
            broker_boot(brokers_at(full));
            story_load(1000);
        }
        for (unsigned n = 1; n <= brokers_count(); n++)
            story_empty_disk(n);
        if (!broker_is_up(brokers_at(full))) /* it may not start without room, and says so */
            broker_boot(brokers_at(full));
        if (!story_takes_messages("disks were full and have room again", 20))
            return false;
    }
    return story_settles("disks were full and have room again");
}

/* Everybody's power, twice. */
bool story_all_lose_power(struct chance *chance)
{
    for (int i = 0; i < 3; i++) {
        story_load(2000);
        for (unsigned n = 1; n <= brokers_count(); n++)
            broker_die(brokers_at(n), DEATH_POWER);
        fiber_sleep(chance_magnitude(chance, 1, 3000) * MS_NS);
        story_boot_all();
        if (!story_takes_messages("all lost power and came back", 30))
            return false;
    }
    return true;
}

/* ---- a replica that stands still ---------------------------------------------------------- */

/* How many partitions of the clients' topics it is to hold. */
static unsigned holds(unsigned broker)
{
    unsigned held = 0;
    char topic[16];
    for (unsigned t = 0; t < clients_plan()->topics; t++)
        for (unsigned p = 0; p < clients_plan()->partitions[t]; p++) {
            (void)snprintf(topic, sizeof topic, "t%u", t);
            held += story_holds(topic, p, broker);
        }
    return held;
}

/* The disk answers no more; its broker goes on beating. What it led is led by others at once,
 * what it held is held by others after replica.stalled.timeout, and then one more may fail. */
bool story_a_disk_stalls_for_good(struct chance *chance)
{
    if (!story_settles("it begins"))
        return false;
    unsigned ill = story_wait_for_leader("t0", 0);
    bool syncs = chance_once_in(chance, 2);
    const char *when = syncs ? "a leader's disk syncs no more" : "a leader's disk answers no more";
    struct disk *disk = broker_node(brokers_at(ill))->disk;
    disk_stall(disk, true, syncs);
    story_shun(ill); /* it has no news */
    trace_say(TRACE_FAULT, "broker %u: %s", ill, when);
    story_load(4000);
    for (int64_t until_ns = machine_now_ns() + 60 * S_NS; holds(ill) > 0 && machine_now_ns() < until_ns;)
        if (!story_takes_messages(when, 8)) /* what stands still is seen only where there is something to take */
            return false;
    if (holds(ill) > 0) {
        judge_fails("%s, and after a minute %u partitions are still to be held there", when, holds(ill));
        return false;
    }
    if (!story_settles(when))
        return false;
    unsigned other = story_another(ill, chance);
    broker_die(brokers_at(other), story_death(chance));
    if (!story_takes_messages("another broker died beside it", 20))
        return false;
    broker_boot(brokers_at(other));
    broker_die(brokers_at(ill), DEATH_POWER);
    disk_stall(disk, false, false);
    story_shun(0);
    broker_boot(brokers_at(ill));
    return story_settles("its disk was mended");
}

/* Damage in what it must have: it may neither vote nor lead with that, nor mend it alone. What the
 * others have of its tail comes back; without its hard state it is made anew from the others. It
 * counts again: the others die one at a time after that. */
bool story_a_replica_is_quarantined(struct chance *chance)
{
    if (!story_settles("it begins"))
        return false;
    unsigned ill = story_wait_for_leader("t0", 0);
    if (chance_once_in(chance, 2))
        ill = story_another(ill, chance);
    story_load(chance_between(chance, 500, 2500));
    bool in_state = chance_once_in(chance, 2);
    for (int i = 0; i < 20; i++) {
        broker_die(brokers_at(ill), DEATH_POWER);
        if (in_state ? flips_do_in_hard_state(brokers_at(ill), "t0", chance)
                     : flips_do_in_tail(brokers_at(ill), "t0", chance))
            break;
        broker_boot(brokers_at(ill)); /* a segment was just sealed */
        story_load(500);
    }
    if (broker_is_up(brokers_at(ill)))
        return true; /* retention takes it all away at once */
    broker_boot(brokers_at(ill));
    story_load(8000); /* after three seconds it asks for a new one, and is filled */
    if (!story_settles("a replica was damaged"))
        return false;
    for (unsigned i = 1; i <= brokers_count(); i++) {
        if (i == ill)
            continue;
        broker_die(brokers_at(i), story_death(chance));
        if (!story_takes_messages("one of those that filled the damaged one died", 20))
            return false;
        broker_boot(brokers_at(i));
        if (!story_settles("all brokers run again"))
            return false;
    }
    return true;
}

/* ---- two replicas ---------------------------------------------------------------------------- */

/* Nobody may change a group of two without both: it stands still, and says so; what is there
 * is read. With the disk as it was, all goes on; with another, the topic has to go. */
static bool must_stand_still(unsigned left, const char *answer, const char *when)
{
    char *reply = clients_ask(left, "PUBS pair {\"Body\":\"while one is away\"}", PUBLISH_S * S_NS);
    if (reply == NULL || strstr(reply, answer) == NULL)
        judge_fails("%s: a publish is answered: %.200s", when, reply == NULL ? "nothing" : reply);
    free(reply);
    reply = clients_ask(left, "PUBS pair {\"Body\":\"once more\"}", S_NS); /* nor does it wait any more */
    if (reply == NULL || strstr(reply, answer) == NULL)
        judge_fails("%s: another publish is answered: %.200s", when, reply == NULL ? "nothing" : reply);
    free(reply);
    int count = story_count(left, "pair", "of both");
    if (count != 1 && judge_verdict() == NULL)
        judge_fails("%s: of two replicas, the one left shows an acknowledged message %d times", when, count);
    return judge_verdict() == NULL;
}

bool story_two_replicas_and_one_is_lost(struct chance *chance)
{
    if (!story_order("CRTP pair 1 2") || !story_settles("it begins") ||
        !story_order("PUBS pair {\"Body\":\"of both\"}"))
        return false;
    unsigned left = story_wait_for_leader("pair", 0), lost = story_another(left, chance);
    while (!story_holds("pair", 0, lost))
        lost = lost % brokers_count() + 1 == left ? left % brokers_count() + 1 : lost % brokers_count() + 1;
    broker_die(brokers_at(lost), story_death(chance));
    story_load(3000);
    if (!must_stand_still(left, "not enough replicas", "one of two is down"))
        return false;
    broker_boot(brokers_at(lost));
    if (!story_settles("it is back with what it had") || !story_order("PUBS pair {\"Body\":\"again\"}"))
        return false;
    complaints_expect_loss("pair");
    broker_die(brokers_at(lost), DEATH_POWER);
    broker_wipe(brokers_at(lost));
    broker_boot(brokers_at(lost));
    story_load(8000);
    if (!must_stand_still(left, "lost for good", "one of two came back with an empty disk") ||
        !story_takes_messages("one of two replicas is lost", 10))
        return false;
    if (complaints_of_loss() != 1) /* not while it was only away */
        judge_fails("one of two replicas is lost, and that is said %d times", (int)complaints_of_loss());
    return story_order("DELE pair") && story_settles("the topic is deleted");
}
