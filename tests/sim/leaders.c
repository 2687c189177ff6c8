#include "sim/leaders.h"

#include "sim/brokers.h"
#include "sim/clients.h"
#include "sim/judge.h"
#include "sim/trace.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A timeout is drawn from ELECTION_MS to twice that. */
enum { ELECTIONS = 5, ELECTION_MS = 2 * 500, LOOK_MS = 50, ASK_MS = 1000, GIVE_UP_S = 60, NAME_BYTES = 280 };

static int64_t took_ns;

int64_t leaders_took_ns(void)
{
    return took_ns;
}

/* The first partition in a reply that nobody leads. False: there is none. */
static bool find_leaderless(const char *reply, char name[NAME_BYTES])
{
    static const char topic[] = "{\"Topic\":\"", leader[] = "\"Leader\":";
    if (strstr(reply, "\"Controller\":true") == NULL) {
        (void)snprintf(name, NAME_BYTES, "the metadata");
        return true;
    }
    for (const char *at = reply; (at = strstr(at, topic)) != NULL;) {
        at += sizeof topic - 1;
        const char *partition = strstr(at, "\"Partition\":"), *led = strstr(at, leader);
        if (partition == NULL || led == NULL)
            return false;
        if (strtoul(led + sizeof leader - 1, NULL, 10) > 0)
            continue;
        (void)snprintf(name, NAME_BYTES, "%.*s/%lu", (int)strcspn(at, "\""), at,
                       strtoul(partition + strlen("\"Partition\":"), NULL, 10));
        return true;
    }
    return false;
}

/* What the broker that knows of most leaders does not know one of. False: nothing. */
static bool look(char name[NAME_BYTES])
{
    for (unsigned i = 1; i <= brokers_count(); i++) {
        char *reply = clients_ask(i, "CLUS STATUS ALL", ASK_MS * MS_NS);
        bool told = reply != NULL && strncmp(reply, "{\"Ok\":true", 10) == 0;
        bool lacks = !told || find_leaderless(reply, name);
        free(reply);
        if (!lacks)
            return false;
    }
    return true;
}

void leaders_judge(void)
{
    char name[NAME_BYTES] = "anything", late[NAME_BYTES] = "";
    int64_t began_ns = machine_now_ns(), limit_ns = ELECTIONS * ELECTION_MS * MS_NS;
    while (look(name)) {
        took_ns = machine_now_ns() - began_ns;
        if (took_ns > limit_ns && late[0] == '\0')
            (void)snprintf(late, sizeof late, "%s", name);
        if (took_ns > GIVE_UP_S * S_NS)
            break;
        fiber_sleep(LOOK_MS * MS_NS);
    }
    took_ns = machine_now_ns() - began_ns;
    trace_say(TRACE_JUDGE, "every group is led after %lld ms", (long long)(took_ns / MS_NS));
    if (late[0] != '\0')
        judge_fails(
            "%lld ms after the faults had ended nobody led %s, and %s %lld ms; five election timeouts are %lld ms",
            (long long)(limit_ns / MS_NS), late, took_ns > GIVE_UP_S * S_NS ? "nobody does after" : "it took",
            (long long)(took_ns / MS_NS), (long long)(limit_ns / MS_NS));
}
