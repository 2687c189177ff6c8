/* See clients.h. */
#include "sim/clients.h"

#include "base/fnv.h"
#include "base/require.h"
#include "sim/brokers.h"
#include "sim/session.h"
#include "sim/trace.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LINE_BYTES = 12 * 1024, PIPELINE_MAX = 12, KEYS = 5, CLIENTS_MAX = 32 };

static struct {
    struct node *node;
    struct chance chance;
    struct clients_plan plan;
    struct history *history;
    bool stop;
    unsigned running;
    struct waiters ended;
    uint64_t values, acknowledged;
    int64_t timeout_ns;
} all;

/* One client; a fiber. */
struct client {
    unsigned number;
    struct chance chance;
    struct session session;
    char line[LINE_BYTES];
};

static uint32_t key_of(unsigned topic, unsigned partition)
{
    return topic * CLIENTS_PARTITIONS_MAX + partition;
}

static int64_t now(void)
{
    return machine_now_ns();
}

void clients_new(struct node *node, uint64_t seed)
{
    all.node = node;
    all.chance = chance_of(seed, 40);
    all.history = history_new();
    history_dense(all.history);
    struct clients_plan *p = &all.plan;
    p->topics = 1 + (unsigned)chance_below(&all.chance, 2);
    for (unsigned i = 0; i < p->topics; i++)
        p->partitions[i] = 1 + (unsigned)chance_below(&all.chance, 3);
    p->publishers = 1 + (unsigned)chance_below(&all.chance, 4);
    p->producers = (unsigned)chance_below(&all.chance, 3);
    p->members = (unsigned)chance_below(&all.chance, 4);
    p->publishes_max = 5000;
    all.timeout_ns = chance_between(&all.chance, 1, 10) * S_NS;
}

struct clients_plan *clients_plan(void)
{
    return &all.plan;
}

struct history *clients_history(void)
{
    return all.history;
}

uint64_t clients_published(void)
{
    return all.values;
}

uint64_t clients_acknowledged(void)
{
    return all.acknowledged;
}

/* ---- one client ------------------------------------------------------------------------- */

static struct client *client_new(unsigned number)
{
    struct client *c = calloc(1, sizeof *c);
    REQUIRE(c != NULL);
    c->number = number;
    c->chance = chance_of(machine_seed(), 1000 + number);
    c->session.fd = -1;
    return c;
}

static void client_free(struct client *c)
{
    session_fini(&c->session);
    free(c);
    all.running--;
    waiters_wake_all(&all.ended);
}

/* A connection to some broker; waits a moment when there is none. */
static bool connected(struct client *c)
{
    if (c->session.fd >= 0)
        return true;
    unsigned broker = 1 + (unsigned)chance_below(&c->chance, brokers_count());
    if (session_open(&c->session, broker, all.timeout_ns))
        return true;
    fiber_sleep(chance_between(&c->chance, 20, 300) * MS_NS);
    return false;
}

/* As the protocol promises: what is neither Done nor unknown has not happened. */
static enum history_outcome outcome_of(const char *reply)
{
    if (reply == NULL || strncmp(reply, "Error, outcome unknown", 22) == 0)
        return HISTORY_INFO;
    return strcmp(reply, "Done") == 0 ? HISTORY_OK : HISTORY_FAIL;
}

static const char *shown(const char *reply)
{
    return reply == NULL ? "no answer" : reply;
}

/* The Body: the value's number, and often something behind it. */
static size_t body(struct client *c, char *into, size_t bytes, uint64_t value)
{
    size_t len = (size_t)snprintf(into, bytes, "v%" PRIu64 " ", value);
    size_t more = (size_t)chance_magnitude(&c->chance, 1, 8000);
    if (more > bytes - len - 1)
        more = bytes - len - 1;
    memset(into + len, 'x', more);
    into[len + more] = '\0';
    return len + more;
}

/* ---- publishers --------------------------------------------------------------------------- */

static uint32_t publish_begin(struct client *c, char text[LINE_BYTES])
{
    unsigned topic = (unsigned)chance_below(&c->chance, all.plan.topics);
    unsigned key = (unsigned)chance_below(&c->chance, 2 * KEYS);
    uint64_t value = ++all.values;
    char message[8400], named[16] = "";
    uint32_t where = HISTORY_KEY_ANY;
    (void)body(c, message, sizeof message, value);
    if (key < KEYS) { /* else without one */
        int len = snprintf(named, sizeof named, "k%u", key);
        where = key_of(topic, fnv_partition(named, (size_t)len, all.plan.partitions[topic]));
    }
    (void)snprintf(text, LINE_BYTES, "PUBS t%u {\"Key\":\"%s\",\"Body\":\"%s\"}", topic, named, message);
    uint32_t op = history_begin(all.history, c->session.process, now());
    (void)history_send(all.history, op, where, value);
    trace_say(TRACE_CLIENT, "%u/%u publishes v%" PRIu64 " to t%u key %s", c->number, c->session.process, value, topic,
              named);
    return op;
}

static void publish_end(struct client *c, uint32_t op, const char *reply)
{
    enum history_outcome outcome = outcome_of(reply);
    history_end(all.history, op, outcome, now());
    all.acknowledged += outcome == HISTORY_OK;
    trace_say(TRACE_CLIENT, "%u/%u operation %u: %.120s", c->number, c->session.process, op, shown(reply));
}

static void publish_some(struct client *c)
{
    unsigned count = 1 + (unsigned)(chance_once_in(&c->chance, 2) ? chance_below(&c->chance, PIPELINE_MAX) : 0);
    uint32_t ops[PIPELINE_MAX];
    for (unsigned i = 0; i < count; i++) {
        ops[i] = publish_begin(c, c->line);
        (void)session_say(&c->session, c->line); /* if it is gone, nobody knows what arrived */
    }
    for (unsigned i = 0; i < count; i++)
        publish_end(c, ops[i], session_hear(&c->session));
}

static bool enough(void)
{
    return all.stop || all.values >= all.plan.publishes_max;
}

static void *publisher(void *argument)
{
    struct client *c = argument;
    int64_t pause_ns = chance_magnitude(&c->chance, 5, 300) * MS_NS;
    while (!enough()) {
        if (!connected(c))
            continue;
        publish_some(c);
        if (!chance_once_in(&c->chance, 4))
            fiber_sleep((int64_t)chance_below(&c->chance, (uint64_t)pause_ns));
        if (chance_once_in(&c->chance, 100))
            session_close(&c->session); /* as people do */
    }
    client_free(c);
    return NULL;
}

/* ---- producers that number their messages ---------------------------------------------------- */

static bool number_in(const char *text, const char *name, int64_t *number)
{
    const char *at = strstr(text, name);
    if (at == NULL)
        return false;
    *number = strtoll(at + strlen(name), NULL, 10);
    return true;
}

static bool take_producer_id(struct client *c, int64_t *id, int64_t *epoch)
{
    while (!all.stop) {
        const char *reply = connected(c) ? session_ask(&c->session, "PRID") : NULL;
        if (reply != NULL && number_in(reply, "\"Id\":", id) && number_in(reply, "\"Epoch\":", epoch))
            return true;
        fiber_sleep(50 * MS_NS);
    }
    return false;
}

/* Sends one message until it is known what became of it. */
static bool produce_one(struct client *c, int64_t id, int64_t epoch, unsigned topic, unsigned partition,
                        int64_t sequence)
{
    char message[8400];
    uint64_t value = ++all.values;
    (void)body(c, message, sizeof message, value);
    (void)snprintf(c->line, sizeof c->line, "PUBX t%u %u %" PRId64 " %" PRId64 " %" PRId64 " {\"Body\":\"%s\"}", topic,
                   partition, id, epoch, sequence, message);
    uint32_t op = history_begin(all.history, 1000000 + c->number, now());
    uint32_t send = history_send(all.history, op, key_of(topic, partition), value);
    history_numbered(all.history, send, (uint64_t)id + 1, (uint32_t)epoch, sequence);
    trace_say(TRACE_CLIENT, "%u produces v%" PRIu64 " to t%u/%u, sequence %" PRId64, c->number, value, topic, partition,
              sequence);
    bool tried = false;
    enum history_outcome outcome = HISTORY_INFO;
    while (outcome == HISTORY_INFO && !all.stop) {
        if (!connected(c))
            continue;
        const char *reply = session_ask(&c->session, c->line);
        outcome = outcome_of(reply);
        trace_say(TRACE_CLIENT, "%u operation %u: %.120s", c->number, op, shown(reply));
        if (outcome == HISTORY_FAIL && (tried || strstr(reply, "sequence") != NULL))
            outcome = HISTORY_INFO; /* this try did not; an earlier one may have: ask until it is Done */
        tried = true;
        if (outcome == HISTORY_INFO)
            fiber_sleep(chance_between(&c->chance, 5, 200) * MS_NS);
    }
    history_end(all.history, op, outcome, now());
    all.acknowledged += outcome == HISTORY_OK;
    return outcome == HISTORY_OK;
}

static void *producer(void *argument)
{
    struct client *c = argument;
    int64_t id = 0, epoch = 0;
    int64_t sequences[CLIENTS_TOPICS_MAX][CLIENTS_PARTITIONS_MAX] = {{0}};
    bool known = take_producer_id(c, &id, &epoch);
    while (known && !enough()) {
        unsigned topic = (unsigned)chance_below(&c->chance, all.plan.topics);
        unsigned partition = (unsigned)chance_below(&c->chance, all.plan.partitions[topic]);
        if (produce_one(c, id, epoch, topic, partition, sequences[topic][partition]))
            sequences[topic][partition]++;
        fiber_sleep(chance_magnitude(&c->chance, 1, 300) * MS_NS);
    }
    client_free(c);
    return NULL;
}

/* ---- readers ------------------------------------------------------------------------------------ */

struct claim {
    char id[80];
    unsigned topic, partition;
    int64_t position; /* of the next message; below 0: not known */
    bool moved;       /* the next read goes on somewhere else than this process left off */
};

/* Takes the reply of CONS to pieces: into the history. False: it broke off. */
static bool take_records(const char *reply, uint32_t op, const struct claim *claim, int64_t *first, int64_t *next)
{
    uint32_t key = key_of(claim->topic, claim->partition);
    const char *at = reply;
    while ((at = strstr(at, "\"Body\":\"v")) != NULL) {
        at += strlen("\"Body\":\"v");
        uint64_t value = strtoull(at, NULL, 10);
        int64_t offset;
        if (!number_in(at, "\"Offset\":", &offset))
            return false;
        history_read(all.history, op, key, offset, value);
        if (*first < 0)
            *first = offset;
        *next = offset + 1;
    }
    return strstr(reply, "],\"Error\":") == NULL;
}

/* One CONS; from below 0: where the group's committed offset is. False: the
 * subscription or the connection is gone. */
static bool consume(struct client *c, struct claim *claim, int64_t from, unsigned group, uint32_t process, bool final)
{
    if (from >= 0)
        (void)snprintf(c->line, sizeof c->line, "CONS t%u %s %" PRId64, claim->topic, claim->id, from);
    else
        (void)snprintf(c->line, sizeof c->line, "CONS t%u %s", claim->topic, claim->id);
    uint32_t key = key_of(claim->topic, claim->partition);
    uint32_t op = history_begin(all.history, process, now());
    const char *reply = session_ask(&c->session, c->line);
    if (reply == NULL || strncmp(reply, "{\"Ok\":true", 10) != 0) {
        history_end(all.history, op, reply == NULL ? HISTORY_INFO : HISTORY_FAIL, now());
        trace_say(TRACE_CLIENT, "%u/%u reads t%u/%u from %" PRId64 ": %.120s", c->number, process, claim->topic,
                  claim->partition, from, shown(reply));
        return false;
    }
    int64_t first = -1, next = from;
    bool moved = claim->moved || from != claim->position;
    bool whole = take_records(reply, op, claim, &first, &next);
    if (whole && from >= 0) {
        if (moved)
            history_range(all.history, op, key, from, next);
        history_log_end(all.history, op, key, next);
    } else if (moved) {
        history_assign(all.history, op, key);
    }
    if (from < 0 && first > 0)
        history_committed(all.history, op, group, key, first);
    history_end(all.history, op, whole ? HISTORY_OK : HISTORY_INFO, now());
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
    uint32_t op = history_begin(all.history, c->session.process, now());
    history_commit(all.history, op, group, key_of(claim->topic, claim->partition), claim->position);
    const char *reply = session_ask(&c->session, c->line);
    history_end(all.history, op, outcome_of(reply), now());
    trace_say(TRACE_CLIENT, "%u commits t%u/%u at %" PRId64 ": %.120s", c->number, claim->topic, claim->partition,
              claim->position, shown(reply));
}

/* Asks for up to `wanted` partitions of the topic. How many it got. */
static unsigned subscribe(struct client *c, unsigned topic, const char *group, unsigned wanted, struct claim *claims)
{
    (void)snprintf(c->line, sizeof c->line, "SUBS t%u %s %u", topic, group, wanted);
    const char *reply = session_ask(&c->session, c->line);
    trace_say(TRACE_CLIENT, "%u subscribes t%u as %s: %.160s", c->number, topic, group, shown(reply));
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
        REQUIRE(claim->partition < all.plan.partitions[topic]);
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
    unsigned wanted = 1 + (unsigned)chance_below(&c->chance, all.plan.partitions[topic]);
    unsigned count = subscribe(c, topic, name, wanted, claims);
    unsigned rounds = 1 + (unsigned)chance_below(&c->chance, 30);
    while (count > 0 && rounds-- > 0 && !all.stop && c->session.fd >= 0) {
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

static void *member(void *argument)
{
    struct client *c = argument;
    while (!all.stop) {
        if (connected(c))
            be_member(c, (unsigned)chance_below(&c->chance, all.plan.topics));
        fiber_sleep(chance_between(&c->chance, 20, 800) * MS_NS);
        if (chance_once_in(&c->chance, 3))
            session_close(&c->session);
    }
    client_free(c);
    return NULL;
}

/* ---- all of them ------------------------------------------------------------------------------------ */

bool clients_make_topics(int64_t within_ns)
{
    struct client *c = client_new(0);
    int64_t until_ns = now() + within_ns;
    all.running++;
    unsigned made = 0;
    while (made < all.plan.topics && now() < until_ns) {
        if (!connected(c))
            continue;
        char line[64];
        int len = snprintf(line, sizeof line, "CRTP t%u %u", made, all.plan.partitions[made]);
        if (all.plan.replicas > 0)
            (void)snprintf(line + len, sizeof line - (size_t)len, " %u", all.plan.replicas);
        const char *reply = session_ask(&c->session, line);
        trace_say(TRACE_CLIENT, "%s: %.120s", line, shown(reply));
        if (reply != NULL && strcmp(reply, "Done") == 0)
            made++;
        else
            fiber_sleep(100 * MS_NS);
    }
    bool done = made == all.plan.topics;
    client_free(c);
    return done;
}

void clients_start(void)
{
    unsigned number = 1;
    char name[16];
    const struct {
        unsigned count;
        void *(*run)(void *argument);
    } kinds[] = {{all.plan.publishers, publisher}, {all.plan.producers, producer}, {all.plan.members, member}};
    for (size_t kind = 0; kind < sizeof kinds / sizeof kinds[0]; kind++)
        for (unsigned i = 0; i < kinds[kind].count; i++) {
            REQUIRE(number < CLIENTS_MAX);
            (void)snprintf(name, sizeof name, "client %u", number);
            all.running++;
            fiber_detach(fiber_start(all.node, name, 0, kinds[kind].run, client_new(number++)));
        }
}

void clients_stop(void)
{
    all.stop = true;
    while (all.running > 0)
        (void)fiber_wait(&all.ended, MACHINE_NEVER);
}

/* All partitions of a topic, under a group of its own name. */
static bool read_topic(struct client *c, unsigned topic, unsigned round, int64_t until_ns)
{
    struct claim claims[CLIENTS_PARTITIONS_MAX];
    unsigned partitions = all.plan.partitions[topic], count = 0;
    char name[24];
    bool done[CLIENTS_PARTITIONS_MAX] = {false};
    while (now() < until_ns) {
        if (!connected(c)) {
            count = 0;
            continue;
        }
        (void)snprintf(name, sizeof name, "final%u-%u-%u", topic, round, c->session.process);
        count = subscribe(c, topic, name, partitions, claims);
        unsigned whole = 0;
        for (unsigned i = 0; i < count; i++) {
            unsigned p = claims[i].partition;
            /* A process of its own a read: what it reads again is no step back. */
            if (!done[p] && c->session.fd >= 0)
                done[p] = consume(c, &claims[i], 0, 1000 + topic, 2000000 + c->session.process * 16 + p, true) &&
                          !claims[i].moved;
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

bool clients_read_all(int64_t within_ns, const char **why)
{
    static char missed[80];
    static unsigned rounds;
    struct client *c = client_new(0);
    int64_t until_ns = now() + within_ns;
    all.running++;
    bool good = true;
    rounds++;
    for (unsigned topic = 0; topic < all.plan.topics && good; topic++)
        if (!read_topic(c, topic, rounds, until_ns)) {
            (void)snprintf(missed, sizeof missed, "topic t%u could not be read whole", topic);
            *why = missed;
            good = false;
        }
    client_free(c);
    return good;
}
