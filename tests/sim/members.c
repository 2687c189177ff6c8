/*
 * Clients that read: members of groups, and the reader at the end. What they read and
 * commit goes into the history; that a partition of a group belongs to one
 * subscription at a time is judged here.
 */
#include "base/require.h"
#include "sim/acks.h"
#include "sim/calm.h"
#include "sim/clients_internal.h"
#include "sim/judge.h"
#include "sim/trace.h"
#include "sim/variant.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct claim {
    uint32_t holding; /* its place in the list of those that were given */
    char id[80];
    unsigned topic, partition;
    int64_t position; /* of the next message; below 0: not known */
    bool moved;       /* the next read goes on somewhere else than this process left off */
};

/* A partition that a group gave to somebody: from within the call of SUBS on. */
struct holding {
    unsigned group;
    uint32_t key;
    int64_t asked_ns, given_ns;
};

static struct {
    struct holding *at;
    uint32_t count, room;
} holdings;

static uint32_t hold(unsigned group, uint32_t key, int64_t asked_ns)
{
    if (holdings.count == holdings.room) {
        holdings.room = holdings.room * 2 + 64;
        holdings.at = realloc(holdings.at, holdings.room * sizeof *holdings.at);
        REQUIRE(holdings.at != NULL);
    }
    holdings.at[holdings.count] = (struct holding){group, key, asked_ns, client_now()};
    return holdings.count++;
}

/* A call that began at this time and was served shows that the subscription stood: so
 * nobody may have been given its partition since, and before the call. */
static void must_hold(const struct claim *claim, int64_t began_ns)
{
    const struct holding *mine = &holdings.at[claim->holding];
    if (clients_lost()) /* so may be who belongs to a group */
        return;
    for (uint32_t i = 0; i < holdings.count; i++) {
        const struct holding *other = &holdings.at[i];
        if (other->group == mine->group && other->key == mine->key && other->asked_ns > mine->given_ns &&
            other->given_ns < began_ns)
            judge_fails("t%u/%u of group %u belongs to two: %s was served at %lld us, though somebody else was given "
                        "the partition at %lld us",
                        claim->topic, claim->partition, mine->group, claim->id, (long long)(began_ns / 1000),
                        (long long)(other->given_ns / 1000));
    }
}

/* Takes the reply of CONS to pieces: into the history. False: it broke off. */
static bool take_records(const char *reply, uint32_t op, const struct claim *claim, int64_t *first, int64_t *next)
{
    uint32_t key = client_key(claim->topic, claim->partition);
    const char *at = reply;
    while ((at = strstr(at, "\"Body\":\"v")) != NULL) {
        at += strlen("\"Body\":\"v");
        uint64_t value = strtoull(at, NULL, 10);
        int64_t offset;
        if (!client_number_in(at, "\"Offset\":", &offset))
            return false;
        at += strspn(at, "0123456789");
        if (strncmp(at, " probe\"", 7) != 0 && (*at != ' ' || at[1 + strspn(at + 1, "x")] != '"'))
            judge_fails("t%u/%u shows at offset %" PRId64 " what nobody wrote: v%" PRIu64 "%.60s", claim->topic,
                        claim->partition, offset, value, at);
        if (client_waits_for(value))
            acks_judge_shown(claim->topic, value);
        history_read(clients_history(), op, key, offset, value);
        if (*first < 0)
            *first = offset;
        *next = offset + 1;
    }
    return strstr(reply, "],\"Error\":") == NULL;
}

/* A refusal of an offset that the log start has passed: a reader goes on from there. Where
 * the log starts is for the history only when it is sure to be the newest: several brokers
 * may be cut off from each other while there are faults. False: something else. */
static bool log_starts_later(const char *reply, struct claim *claim, int64_t from, uint32_t process, int64_t began_ns,
                             bool final)
{
    int64_t start;
    if (reply == NULL || strstr(reply, "is outside the log") == NULL ||
        !client_number_in(reply, "which goes from ", &start) || start <= from)
        return false;
    if (!variant_forgets())
        judge_fails("t%u/%u starts at %" PRId64 ", and nothing may be deleted", claim->topic, claim->partition, start);
    if (final || brokers_count() == 1) {
        uint32_t op = history_begin(clients_history(), process, began_ns);
        history_log_start(clients_history(), op, client_key(claim->topic, claim->partition), start);
        history_end(clients_history(), op, HISTORY_OK, client_now());
    }
    claim->position = start;
    claim->moved = true;
    return true;
}

/* One CONS; from below 0: where the group's committed offset is. False: the
 * subscription or the connection is gone. */
static bool consume(struct client *c, struct claim *claim, int64_t from, unsigned group, uint32_t process, bool final)
{
    if (from >= 0)
        (void)snprintf(c->line, sizeof c->line, "CONS t%u %s %" PRId64, claim->topic, claim->id, from);
    else
        (void)snprintf(c->line, sizeof c->line, "CONS t%u %s", claim->topic, claim->id);
    uint32_t key = client_key(claim->topic, claim->partition);
    int64_t began_ns = client_now();
    uint32_t op = history_begin(clients_history(), process, began_ns);
    const char *reply = session_ask(&c->session, c->line);
    if (reply == NULL || strncmp(reply, "{\"Ok\":true", 10) != 0) {
        history_end(clients_history(), op, reply == NULL ? HISTORY_INFO : HISTORY_FAIL, client_now());
        trace_say(TRACE_CLIENT, "%u/%u reads t%u/%u from %" PRId64 ": %.120s", c->number, process, claim->topic,
                  claim->partition, from, client_shown(reply));
        return log_starts_later(reply, claim, from, process, began_ns, final);
    }
    bool sure = calm_since(c->session.broker, began_ns);
    if (sure)
        must_hold(claim, began_ns);
    int64_t first = -1, next = from;
    bool moved = claim->moved || from != claim->position;
    bool whole = take_records(reply, op, claim, &first, &next);
    if (whole && from >= 0) {
        if (moved)
            history_range(clients_history(), op, key, from, next);
        if (sure)
            history_log_end(clients_history(), op, key, next);
    } else if (moved) {
        history_assign(clients_history(), op, key);
    }
    /* What was committed may be below the log start. */
    if (from < 0 && first >= 0 && (final || sure) && !variant_forgets() && !clients_lost())
        history_committed(clients_history(), op, group, key, first > 0 ? first : HISTORY_OFFSET_NONE);
    history_end(clients_history(), op, whole ? HISTORY_OK : HISTORY_INFO, client_now());
    trace_say(TRACE_CLIENT, "%u/%u reads t%u/%u from %" PRId64 ": operation %u, up to %" PRId64 "%s", c->number,
              process, claim->topic, claim->partition, from, op, next, final ? ", at the end" : "");
    claim->position = next >= 0 ? next : claim->position;
    claim->moved = !whole;
    return true;
}

static void commit(struct client *c, struct claim *claim, unsigned group)
{
    if (claim->position < 0)
        return;
    (void)snprintf(c->line, sizeof c->line, "CMIT t%u %s %" PRId64, claim->topic, claim->id, claim->position);
    int64_t began_ns = client_now();
    uint32_t op = history_begin(clients_history(), c->session.process, began_ns);
    history_commit(clients_history(), op, group, client_key(claim->topic, claim->partition), claim->position);
    const char *reply = session_ask(&c->session, c->line);
    history_end(clients_history(), op, client_outcome(reply), client_now());
    if (client_outcome(reply) == HISTORY_OK)
        must_hold(claim, began_ns);
    trace_say(TRACE_CLIENT, "%u commits t%u/%u at %" PRId64 ": %.120s", c->number, claim->topic, claim->partition,
              claim->position, client_shown(reply));
}

/* Asks for up to `wanted` partitions of the topic. How many it got. */
static unsigned subscribe(struct client *c, unsigned topic, const char *group, unsigned number, unsigned wanted,
                          struct claim *claims)
{
    int64_t asked_ns = client_now();
    (void)snprintf(c->line, sizeof c->line, "SUBS t%u %s %u", topic, group, wanted);
    const char *reply = session_ask(&c->session, c->line);
    trace_say(TRACE_CLIENT, "%u subscribes t%u as %s: %.160s", c->number, topic, group, client_shown(reply));
    const char *at = reply == NULL ? NULL : strstr(reply, "\"Data\":[");
    unsigned got = 0;
    if (at != NULL)
        at += strlen("\"Data\":");
    while (at != NULL && got < wanted && (*at == '[' || *at == ',') && at[1] == '"') {
        const char *end = strchr(at += 2, '"');
        REQUIRE(end != NULL && end - at < (ptrdiff_t)sizeof claims->id);
        struct claim *claim = &claims[got++];
        *claim = (struct claim){.topic = topic, .position = -1, .moved = true};
        memcpy(claim->id, at, (size_t)(end - at));
        const char *partition = strchr(claim->id, '-');
        REQUIRE(partition != NULL);
        claim->partition = (unsigned)strtoul(partition + 1, NULL, 10);
        REQUIRE(claim->partition < clients_plan()->partitions[topic]);
        claim->holding = hold(number, client_key(topic, claim->partition), asked_ns);
        at = end + 1;
    }
    return got;
}

/* A member for as long as its connection lasts, or it likes. */
static void be_member(struct client *c, unsigned topic)
{
    struct claim claims[CLIENTS_PARTITIONS_MAX];
    unsigned group = topic; /* one group a topic: its members share the partitions */
    char name[16];
    (void)snprintf(name, sizeof name, "g%u", group);
    unsigned wanted = 1 + (unsigned)chance_below(&c->chance, clients_plan()->partitions[topic]);
    unsigned count = subscribe(c, topic, name, group, wanted, claims);
    unsigned rounds = 1 + (unsigned)chance_below(&c->chance, 30);
    while (count > 0 && rounds-- > 0 && !clients_stopping() && c->session.fd >= 0) {
        struct claim *claim = &claims[chance_below(&c->chance, count)];
        int64_t from = claim->position < 0 || chance_once_in(&c->chance, 5) ? -1 : claim->position;
        if (!consume(c, claim, from, group, c->session.process, false)) {
            *claim = claims[--count];
            continue;
        }
        if (chance_once_in(&c->chance, 2))
            commit(c, claim, group);
        fiber_sleep(chance_magnitude(&c->chance, 1, 500) * MS_NS);
    }
    while (count-- > 0 && c->session.fd >= 0 && chance_once_in(&c->chance, 2)) {
        (void)snprintf(c->line, sizeof c->line, "UNSB t%u %s", topic, claims[count].id);
        (void)session_ask(&c->session, c->line);
    }
}

void *member_main(void *argument)
{
    struct client *c = argument;
    while (!clients_stopping()) {
        if (client_connected(c))
            be_member(c, (unsigned)chance_below(&c->chance, clients_plan()->topics));
        fiber_sleep(chance_between(&c->chance, 20, 800) * MS_NS);
        if (chance_once_in(&c->chance, 3))
            session_close(&c->session);
    }
    client_free(c);
    return NULL;
}

/* All of a partition, from wherever its log starts by now. False: not this time. */
static bool read_whole(struct client *c, struct claim *claim, unsigned group, uint32_t process)
{
    int64_t from = 0;
    while (c->session.fd >= 0 && consume(c, claim, from, group, process, true)) {
        if (!claim->moved)
            return true;
        if (claim->position <= from)
            return false;
        from = claim->position;
    }
    return false;
}

/* All partitions of a topic, under a group of its own name. */
bool member_read_topic(struct client *c, unsigned topic, unsigned round, int64_t until_ns)
{
    struct claim claims[CLIENTS_PARTITIONS_MAX];
    unsigned partitions = clients_plan()->partitions[topic], count = 0;
    char name[24];
    bool done[CLIENTS_PARTITIONS_MAX] = {false};
    while (client_now() < until_ns) {
        if (!client_connected(c)) {
            count = 0;
            continue;
        }
        (void)snprintf(name, sizeof name, "final%u-%u-%u", topic, round, c->session.process);
        count = subscribe(c, topic, name, c->session.process + 1000, partitions, claims);
        unsigned whole = 0;
        for (unsigned i = 0; i < count; i++) {
            unsigned p = claims[i].partition;
            /* A process of its own a read: what it reads again is no step back. */
            if (!done[p])
                done[p] = read_whole(c, &claims[i], 1000 + topic, 2000000 + c->session.process * 16 + p);
        }
        for (unsigned p = 0; p < partitions; p++)
            whole += done[p];
        if (whole == partitions)
            return true;
        session_close(&c->session);
        fiber_sleep(200 * MS_NS);
    }
    return false;
}

/* Where the group's members left off, of all partitions that it gives back in time. */
void member_read_committed(struct client *c, unsigned topic, int64_t until_ns)
{
    struct claim claims[CLIENTS_PARTITIONS_MAX];
    unsigned partitions = clients_plan()->partitions[topic], seen = 0;
    char name[16];
    bool done[CLIENTS_PARTITIONS_MAX] = {false};
    (void)snprintf(name, sizeof name, "g%u", topic);
    while (seen < partitions && client_now() < until_ns) {
        unsigned count = client_connected(c) ? subscribe(c, topic, name, topic, partitions, claims) : 0;
        for (unsigned i = 0; i < count && c->session.fd >= 0; i++) {
            unsigned p = claims[i].partition;
            if (!done[p] && consume(c, &claims[i], -1, topic, 3000000 + c->session.process * 16 + p, true)) {
                done[p] = true;
                seen++;
            }
        }
        fiber_sleep(2 * S_NS);
    }
    session_close(&c->session);
}
