#include "sim/scenarios.h"

#include "sim/brokers.h"
#include "sim/clients.h"
#include "sim/disk.h"
#include "sim/judge.h"
#include "sim/net.h"
#include "sim/trace.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ASK_S = 2, SETTLE_S = 240 };

/* ---- asking the cluster ---------------------------------------------------------------- */

static char *ask_somebody(const char *line)
{
    for (unsigned i = 1; i <= brokers_count(); i++) {
        if (!broker_serves(brokers_at(i)))
            continue;
        char *reply = clients_ask(i, line, ASK_S * S_NS);
        if (reply != NULL && strncmp(reply, "Error", 5) != 0)
            return reply;
        free(reply);
    }
    return NULL;
}

bool cluster_settles(int64_t within_ns, const char **last)
{
    static char said[900];
    int64_t until_ns = machine_now_ns() + within_ns;
    for (;;) {
        char *reply = ask_somebody("CLUS STATUS");
        bool settled = reply != NULL && strstr(reply, "\"Leaderless\":0,\"Lacking\":0,\"Moving\":0") != NULL;
        const char *totals = reply == NULL ? NULL : strstr(reply, "\"Totals\"");
        (void)snprintf(said, sizeof said, "%s", totals == NULL ? "nobody answers CLUS STATUS" : totals);
        free(reply);
        if (last != NULL)
            *last = said;
        if (settled || machine_now_ns() >= until_ns)
            return settled;
        fiber_sleep(100 * MS_NS);
    }
}

static bool settles(const char *when)
{
    const char *said;
    if (cluster_settles(SETTLE_S * S_NS, &said))
        return true;
    judge_fails("%s, and the cluster does not come to rest: %s", when, said);
    return false;
}

/* Who leads a partition, as told; 0: not known. */
static unsigned leader_of(unsigned topic, unsigned partition)
{
    char name[64];
    unsigned leader = 0;
    char *reply = ask_somebody("CLUS STATUS ALL");
    (void)snprintf(name, sizeof name, "{\"Topic\":\"t%u\",\"Partition\":%u,\"Leader\":", topic, partition);
    const char *at = reply == NULL ? NULL : strstr(reply, name);
    if (at != NULL)
        leader = (unsigned)strtoul(at + strlen(name), NULL, 10);
    free(reply);
    return leader >= 1 && leader <= brokers_count() ? leader : 0;
}

static unsigned wait_for_leader(unsigned topic, unsigned partition)
{
    for (int i = 0; i < 300; i++) {
        unsigned leader = leader_of(topic, partition);
        if (leader != 0)
            return leader;
        fiber_sleep(100 * MS_NS);
    }
    judge_fails("nobody leads t%u/%u", topic, partition);
    return 0;
}

static bool takes_messages(const char *when, int64_t within_ns)
{
    int64_t took_ns = clients_probe(within_ns);
    if (took_ns >= 0)
        return true;
    judge_fails("%s, and not every partition takes messages within %lld s", when, (long long)(within_ns / S_NS));
    return false;
}

static void load(int64_t s)
{
    fiber_sleep(s * S_NS);
}

static unsigned another(unsigned than, struct chance *chance)
{
    unsigned n = 1 + (unsigned)chance_below(chance, brokers_count() - 1);
    return n >= than ? n + 1 : n;
}

static void boot_all(void)
{
    for (unsigned i = 1; i <= brokers_count(); i++)
        if (!broker_is_up(brokers_at(i)))
            broker_boot(brokers_at(i));
}

static enum broker_death any_death_of(struct chance *chance)
{
    return chance_once_in(chance, 2) ? DEATH_POWER : DEATH_KILL;
}

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

/* ---- the stories ------------------------------------------------------------------------- */

/* Its disk is new, the command the same. It is filled again, and counts again: the
 * others die one at a time after that. */
static bool a_wiped_disk_comes_back(struct chance *chance)
{
    unsigned wiped = wait_for_leader(0, 0);
    if (chance_once_in(chance, 2))
        wiped = another(wiped, chance);
    load(2);
    broker_die(brokers_at(wiped), DEATH_POWER);
    broker_wipe(brokers_at(wiped));
    fiber_sleep(chance_magnitude(chance, 1, 5000) * MS_NS);
    broker_boot(brokers_at(wiped));
    load(5); /* what the status says is as old as the last reports */
    if (!settles("a broker came back with an empty disk"))
        return false;
    for (unsigned i = 1; i <= brokers_count(); i++) {
        if (i == wiped)
            continue;
        broker_die(brokers_at(i), DEATH_POWER);
        if (!takes_messages("one of those that filled the wiped one died", 20 * S_NS))
            return false;
        broker_boot(brokers_at(i));
        load(5);
        if (!settles("all brokers run again"))
            return false;
    }
    return true;
}

/* With another away the wiped one must neither found a cluster nor help to elect. */
static bool a_wiped_one_restarts_while_another_is_down(struct chance *chance)
{
    unsigned wiped = wait_for_leader(0, 0), away = another(wiped, chance);
    load(2);
    broker_die(brokers_at(away), DEATH_KILL);
    broker_die(brokers_at(wiped), DEATH_POWER);
    broker_wipe(brokers_at(wiped));
    broker_boot(brokers_at(wiped));
    load(5 + (int64_t)chance_below(chance, 10));
    broker_boot(brokers_at(away));
    return settles("the one that was away is back") && takes_messages("all are back", 20 * S_NS);
}

static bool a_leaders_disk_stalls(struct chance *chance)
{
    unsigned leader = wait_for_leader(0, 0);
    struct disk_style *style = disk_style(broker_node(brokers_at(leader))->disk), was = *style;
    load(1);
    style->sync_ns = chance_between(chance, 2, 20) * S_NS;
    trace_say(TRACE_FAULT, "the disk of broker %u takes %lld s a sync", leader, (long long)(style->sync_ns / S_NS));
    load(15);
    *style = was;
    return takes_messages("a disk that stalled goes on", 20 * S_NS);
}

static bool a_leader_is_drained(struct chance *chance)
{
    unsigned leader = wait_for_leader(0, 0);
    char line[64];
    load(1);
    (void)snprintf(line, sizeof line, "CLUS DRAIN %u", leader);
    free(ask_somebody(line));
    load(chance_between(chance, 1, 5));
    if (chance_once_in(chance, 2)) { /* in the middle of it somebody else dies */
        unsigned other = another(leader, chance);
        broker_die(brokers_at(other), any_death_of(chance));
        load(3);
        broker_boot(brokers_at(other));
    }
    if (!takes_messages("a broker is being drained", 20 * S_NS))
        return false;
    load(10);
    (void)snprintf(line, sizeof line, "CLUS ADD %u", leader);
    free(ask_somebody(line));
    return settles("a broker was drained and added again");
}

/* Replicas move to a broker that is cut off as soon as it was told. */
static bool a_new_member_is_cut_off(struct chance *chance)
{
    unsigned added = 4 + (unsigned)chance_below(chance, brokers_count() - 3);
    char line[64];
    if (!settles("it begins"))
        return false;
    (void)snprintf(line, sizeof line, "CLUS MOVE t0 0 1,2,%u", added);
    free(ask_somebody(line));
    fiber_sleep(chance_magnitude(chance, 1, 3000) * MS_NS);
    for (unsigned i = 1; i <= brokers_count(); i++)
        if (i != added) {
            net_link(broker_node(brokers_at(i)), broker_node(brokers_at(added)))->cut = true;
            net_link(broker_node(brokers_at(added)), broker_node(brokers_at(i)))->cut = true;
        }
    trace_say(TRACE_FAULT, "broker %u is cut off", added);
    if (!takes_messages("the new member of a partition was cut off", 20 * S_NS))
        return false;
    load(5);
    net_heal();
    return settles("the new member is joined again");
}

static bool a_topic_is_made_again_while_one_is_away(struct chance *chance)
{
    unsigned away = 1 + (unsigned)chance_below(chance, brokers_count());
    if (!settles("it begins"))
        return false;
    free(ask_somebody("CRTP again 2"));
    free(ask_somebody("PUBS again {\"Body\":\"of the first\"}"));
    broker_die(brokers_at(away), any_death_of(chance));
    load(2);
    free(ask_somebody("DELE again"));
    fiber_sleep(chance_magnitude(chance, 1, 2000) * MS_NS);
    free(ask_somebody("CRTP again 2"));
    free(ask_somebody("PUBS again {\"Body\":\"of the second\"}"));
    load(1);
    broker_boot(brokers_at(away));
    if (!settles("the one that was away is back"))
        return false;
    for (unsigned i = 1; i <= brokers_count(); i++) {
        char *reply = clients_ask(i, "SUBS again judge 2", ASK_S * S_NS);
        const char *id = reply == NULL ? NULL : strstr(reply, "[\"");
        if (id != NULL) {
            char line[160];
            (void)snprintf(line, sizeof line, "CONS again %.*s 0", (int)strcspn(id + 2, "\""), id + 2);
            char *records = clients_ask(i, line, ASK_S * S_NS);
            if (records != NULL && strstr(records, "of the first") != NULL)
                judge_fails("broker %u shows a message of a topic that was deleted", i);
            free(records);
        }
        free(reply);
    }
    return judge_verdict() == NULL;
}

/* A byte changes in what is sealed on one disk: it is fetched again from the others. */
static bool a_bit_flips(struct chance *chance)
{
    load(8);
    unsigned ill = 1 + (unsigned)chance_below(chance, brokers_count());
    struct io_mem *mem = disk_mem(broker_node(brokers_at(ill))->disk);
    if (!flip_in_sealed(mem, chance))
        return true; /* nothing is sealed yet */
    if (chance_once_in(chance, 2)) {
        broker_die(brokers_at(ill), DEATH_POWER);
        broker_boot(brokers_at(ill));
    }
    load(25); /* the scrubber comes by */
    return takes_messages("a bit flipped on one disk", 20 * S_NS);
}

/* Everybody's power, twice. */
static bool all_lose_power(struct chance *chance)
{
    for (int i = 0; i < 3; i++) {
        load(2);
        for (unsigned n = 1; n <= brokers_count(); n++)
            broker_die(brokers_at(n), DEATH_POWER);
        fiber_sleep(chance_magnitude(chance, 1, 3000) * MS_NS);
        boot_all();
        if (!takes_messages("all lost power and came back", 30 * S_NS))
            return false;
    }
    return true;
}

const struct scenario *scenarios(unsigned *count)
{
    static const struct scenario table[] = {
        {"all-lose-power", "all brokers lose power at once, again and again", 3, all_lose_power},
        {"wiped-disk", "a broker comes back with an empty disk; then the others die in turn", 3,
         a_wiped_disk_comes_back},
        {"wiped-while-down", "a wiped broker restarts with the founding command while another is down", 3,
         a_wiped_one_restarts_while_another_is_down},
        {"slow-leader", "a leader's disk stalls", 3, a_leaders_disk_stalls},
        {"drain-leader", "a leader is drained, and added again", 5, a_leader_is_drained},
        {"cut-learner", "a partition's new member is cut off", 5, a_new_member_is_cut_off},
        {"topic-again", "a topic is deleted and made again while a broker is away", 3,
         a_topic_is_made_again_while_one_is_away},
        {"bit-flip", "a bit flips in a sealed segment", 3, a_bit_flips},
    };
    *count = sizeof table / sizeof table[0];
    return table;
}
