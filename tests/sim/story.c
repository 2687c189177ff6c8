#include "sim/story.h"

#include "sim/clients.h"
#include "sim/disk.h"
#include "sim/judge.h"
#include "sim/net.h"
#include "sim/scenarios.h"
#include "sim/trace.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    ASK_S = 2,
    SETTLE_S = 240,
    LEADER_S = 30,
    READ_S = 15,
    LINE_BYTES = 256,
    TRIES_MS = 100,
    DEATHS_MAX = 4,
    TRIES = 20
};

/* ---- asking ------------------------------------------------------------------------------ */

static bool is_error(const char *reply)
{
    return reply == NULL || strncmp(reply, "Error", 5) == 0;
}

static unsigned shunned;

void story_shun(unsigned broker)
{
    shunned = broker;
}

static char *ask_somebody(const char *line)
{
    for (unsigned i = 1; i <= brokers_count(); i++) {
        if (!broker_serves(brokers_at(i)) || i == shunned)
            continue;
        char *reply = clients_ask(i, line, ASK_S * S_NS);
        if (!is_error(reply))
            return reply;
        free(reply);
    }
    return NULL;
}

char *story_ask(const char *format, ...)
{
    char line[LINE_BYTES];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    return ask_somebody(line);
}

bool story_order(const char *format, ...)
{
    char line[LINE_BYTES];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    for (int64_t until_ns = machine_now_ns() + LEADER_S * S_NS; machine_now_ns() < until_ns;) {
        char *reply = ask_somebody(line);
        free(reply);
        if (reply != NULL)
            return true;
        fiber_sleep(TRIES_MS * MS_NS);
    }
    judge_fails("nobody carries out: %s", line);
    return false;
}

char *story_ask_one(unsigned broker, const char *format, ...)
{
    char line[LINE_BYTES];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    return clients_ask(broker, line, ASK_S * S_NS);
}

/* Of CLUS STATUS ALL: what is said of a partition; NULL: nothing. */
static const char *about(const char *status, const char *topic, unsigned partition)
{
    char name[128];
    (void)snprintf(name, sizeof name, "{\"Topic\":\"%s\",\"Partition\":%u,\"Leader\":", topic, partition);
    const char *at = status == NULL ? NULL : strstr(status, name);
    return at == NULL ? NULL : at + strlen(name);
}

unsigned story_leader(unsigned asked, const char *topic, unsigned partition)
{
    char *status = asked == 0 ? ask_somebody("CLUS STATUS ALL") : story_ask_one(asked, "CLUS STATUS ALL");
    const char *at = about(status, topic, partition);
    unsigned leader = at == NULL ? 0 : (unsigned)strtoul(at, NULL, 10);
    free(status);
    return leader <= brokers_count() ? leader : 0;
}

unsigned story_wait_for_leader(const char *topic, unsigned partition)
{
    for (int64_t until_ns = machine_now_ns() + LEADER_S * S_NS; machine_now_ns() < until_ns;) {
        unsigned leader = story_leader(0, topic, partition);
        if (leader != 0)
            return leader;
        fiber_sleep(TRIES_MS * MS_NS);
    }
    judge_fails("nobody leads %s/%u", topic, partition);
    return 0;
}

unsigned story_controller(void)
{
    for (int64_t until_ns = machine_now_ns() + LEADER_S * S_NS; machine_now_ns() < until_ns;) {
        char *status = ask_somebody("CLUS STATUS");
        unsigned controller = 0;
        for (unsigned i = 1; status != NULL && i <= brokers_count(); i++) {
            char name[32];
            (void)snprintf(name, sizeof name, "{\"Broker\":%u,", i);
            const char *at = strstr(status, name), *end = at == NULL ? NULL : strchr(at, '}');
            const char *said = at == NULL ? NULL : strstr(at, "\"Controller\":true");
            if (said != NULL && said < end)
                controller = i;
        }
        free(status);
        if (controller != 0)
            return controller;
        fiber_sleep(TRIES_MS * MS_NS);
    }
    judge_fails("there is no controller");
    return 0;
}

bool story_holds(const char *topic, unsigned partition, unsigned broker)
{
    char name[32];
    char *status = ask_somebody("CLUS STATUS ALL");
    const char *at = about(status, topic, partition), *end = at == NULL ? NULL : strchr(at, ']');
    (void)snprintf(name, sizeof name, "{\"Broker\":%u,", broker);
    const char *said = at == NULL ? NULL : strstr(at, name);
    const char *wanted = said == NULL || said > end ? NULL : strstr(said, "\"Wanted\":");
    bool holds = wanted != NULL && strncmp(wanted, "\"Wanted\":true", 13) == 0;
    free(status);
    return holds;
}

/* A group of its own each time: nobody else holds the partition in it. */
int story_count(unsigned broker, const char *topic, const char *text)
{
    static unsigned groups;
    int count = -1;
    char *reply = story_ask_one(broker, "SUBS %s count%u 1", topic, ++groups);
    const char *id = is_error(reply) ? NULL : strstr(reply, "[\"");
    if (id != NULL) {
        char line[LINE_BYTES];
        (void)snprintf(line, sizeof line, "CONS %s %.*s 0", topic, (int)strcspn(id + 2, "\""), id + 2);
        char *records = clients_ask(broker, line, READ_S * S_NS); /* where nobody leads it waits for somebody first */
        if (!is_error(records) && strstr(records, "],\"Error\":") == NULL)
            count = 0;
        for (const char *at = records; count >= 0 && (at = strstr(at, text)) != NULL; at++)
            count++;
        free(records);
    }
    free(reply);
    return count;
}

/* ---- doing --------------------------------------------------------------------------------- */

void story_load(int64_t ms)
{
    fiber_sleep(ms * MS_NS);
}

unsigned story_another(unsigned than, struct chance *chance)
{
    unsigned n = 1 + (unsigned)chance_below(chance, brokers_count() - 1);
    return n >= than ? n + 1 : n;
}

void story_boot_all(void)
{
    for (unsigned i = 1; i <= brokers_count(); i++)
        if (!broker_is_up(brokers_at(i)))
            broker_boot(brokers_at(i));
}

enum broker_death story_death(struct chance *chance)
{
    return chance_once_in(chance, 2) ? DEATH_POWER : DEATH_KILL;
}

void story_dies_at_steps(unsigned broker, unsigned steps, struct chance *chance)
{
    struct sim_broker *b = brokers_at(broker);
    for (int deaths = 1 + (int)chance_below(chance, DEATHS_MAX); deaths > 0; deaths--) {
        broker_die_at_rare_call(b, chance_below(chance, steps), DEATH_POWER);
        for (int i = 0; i < TRIES && broker_is_up(b); i++)
            story_load(50);
        broker_die_at_no_call(b);
        if (!broker_is_up(b))
            broker_boot(b);
    }
    story_load(300);
    if (!broker_is_up(b))
        broker_boot(b);
}

void story_fill_disk(unsigned broker, uint64_t left_bytes)
{
    static const uint64_t huge = UINT64_C(1) << 40;
    struct io_mem *mem = disk_mem(broker_node(brokers_at(broker))->disk);
    struct io *io = io_mem_io(mem);
    uint64_t free_bytes = 0;
    io_mem_set_capacity(mem, huge);
    (void)io->ops->space(io, "/", &free_bytes);
    io_mem_set_capacity(mem, huge - free_bytes + left_bytes);
    trace_say(TRACE_FAULT, "broker %u has a full disk", broker);
}

void story_empty_disk(unsigned broker)
{
    io_mem_set_capacity(disk_mem(broker_node(brokers_at(broker))->disk), 0);
    trace_say(TRACE_FAULT, "broker %u has room again", broker);
}

void story_cut(unsigned from, unsigned to, bool cut)
{
    net_link(broker_node(brokers_at(from)), broker_node(brokers_at(to)))->cut = cut;
    trace_say(TRACE_FAULT, "broker %u %s broker %u", from, cut ? "does not reach" : "reaches again", to);
}

void story_part(unsigned a, unsigned b, bool cut)
{
    story_cut(a, b, cut);
    story_cut(b, a, cut);
}

void story_isolate(unsigned broker, bool sends, bool hears)
{
    for (unsigned i = 1; i <= brokers_count(); i++)
        if (i != broker) {
            story_cut(broker, i, !sends);
            story_cut(i, broker, !hears);
        }
}

/* ---- what must come true --------------------------------------------------------------------- */

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
        fiber_sleep(TRIES_MS * MS_NS);
    }
}

bool story_settles(const char *when)
{
    const char *said;
    if (cluster_settles(SETTLE_S * S_NS, &said))
        return true;
    judge_fails("%s, and the cluster does not come to rest: %s", when, said);
    return false;
}

bool story_takes_messages(const char *when, int64_t within_s)
{
    if (clients_probe(within_s * S_NS) >= 0)
        return true;
    judge_fails("%s, and not every partition takes messages within %lld s", when, (long long)within_s);
    return false;
}
