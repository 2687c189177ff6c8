/* See clients.h. */
#include "sim/clients_internal.h"

#include "base/fnv.h"
#include "base/require.h"
#include "sim/acks.h"
#include "sim/brokers.h"
#include "sim/complaints.h"
#include "sim/judge.h"
#include "sim/places.h"
#include "sim/trace.h"
#include "sim/variant.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    PIPELINE_MAX = 12,
    KEYS = 5,
    CLIENTS_MAX = 32,
    COMMITTED_S = 40,
    AGAIN_IN = 4,
    POUR_BYTES = 7000,
    READS_FROM = 100
};

/* A value's send. */
struct sent {
    uint32_t send;
    unsigned topic;
    bool answered; /* its publisher knows what became of it, or waits no more */
};

static struct {
    struct node *node;
    struct chance chance;
    struct clients_plan plan;
    struct history *history;
    bool stop;
    unsigned running;
    struct waiters ended;
    uint64_t values, acknowledged;
    bool lost;
    struct sent *sent; /* by value */
    size_t sent_room;
    int64_t timeout_ns;
} all;

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
    if (variant()->power_of_many)
        p->producers = 0; /* whose numbers would have a gap where one is lost */
    all.timeout_ns = chance_between(&all.chance, 1, 10) * S_NS;
}

struct clients_plan *clients_plan(void)
{
    return &all.plan;
}

void clients_speak_kafka(void)
{
    struct chance chance = chance_of(machine_seed(), 41);
    all.plan.kafka_producers = variant()->power_of_many ? 0 : 1 + (unsigned)chance_below(&chance, 3);
    all.plan.kafka_members = (unsigned)chance_below(&chance, 4);
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

void client_free(struct client *c)
{
    session_fini(&c->session);
    free(c);
    all.running--;
    waiters_wake_all(&all.ended);
}

bool client_connected(struct client *c)
{
    if (c->session.fd >= 0)
        return true;
    unsigned broker = 1 + (unsigned)chance_below(&c->chance, brokers_count());
    if (session_open(&c->session, broker, all.timeout_ns))
        return true;
    fiber_sleep(chance_between(&c->chance, 20, 300) * MS_NS);
    return false;
}

enum history_outcome client_outcome(const char *reply)
{
    if (reply == NULL || strncmp(reply, "Error, outcome unknown", 22) == 0)
        return HISTORY_INFO;
    return strcmp(reply, "Done") == 0 ? HISTORY_OK : HISTORY_FAIL;
}

/* Refusals that are lies, whatever the faults: the topics are there as long as the run. */
static void judge_refusal(const char *reply)
{
    static const char *const lies[] = {"does not exist", "does not match",  "cannot be read",
                                       "is damaged",     "not well formed", "valid value"};
    for (size_t i = 0; reply != NULL && strncmp(reply, "Error", 5) == 0 && i < sizeof lies / sizeof lies[0]; i++)
        if (strstr(reply, lies[i]) != NULL && !complaints_are_excused())
            judge_fails("a client is told: %.200s", reply);
}

size_t client_body(struct client *c, char *into, size_t bytes, uint64_t value)
{
    size_t len = (size_t)snprintf(into, bytes, "v%" PRIu64 " ", value);
    size_t more = (size_t)chance_magnitude(&c->chance, 1, 8000);
    if (more > bytes - len - 1)
        more = bytes - len - 1;
    memset(into + len, 'x', more);
    into[len + more] = '\0';
    return len + more;
}

/* The history's send of a value. */
static uint32_t sends(uint32_t op, unsigned topic, uint32_t key, uint64_t value)
{
    if (value >= all.sent_room) {
        all.sent_room = (size_t)value * 2 + 1024;
        all.sent = realloc(all.sent, all.sent_room * sizeof *all.sent);
        REQUIRE(all.sent != NULL);
    }
    uint32_t send = history_send(all.history, op, key, value);
    all.sent[value] = (struct sent){send, topic, false};
    return send;
}

uint64_t client_sends(uint32_t op, unsigned topic, uint32_t key, uint32_t *send)
{
    uint64_t value = ++all.values;
    *send = sends(op, topic, key, value);
    return value;
}

void client_sent(unsigned topic, uint64_t value, enum history_outcome outcome)
{
    all.sent[value].answered = true;
    if (outcome == HISTORY_OK)
        acks_judge(topic, value);
    all.acknowledged += outcome == HISTORY_OK;
}

int64_t client_timeout_ns(void)
{
    return all.timeout_ns;
}

bool client_waits_for(uint64_t value)
{
    return value >= 1 && value <= all.values && !all.sent[value].answered;
}

void clients_may_have_lost(int64_t from_ns, int64_t to_ns)
{
    trace_say(TRACE_JUDGE, "what was acknowledged since %.3f s may be lost", (double)from_ns / 1e9);
    history_doubt(all.history, from_ns, to_ns);
    all.lost = true;
}

bool clients_lost(void)
{
    return all.lost;
}

void clients_tell_places(void)
{
    for (uint64_t value = 1; value <= all.values; value++) {
        uint32_t partition;
        int64_t offset;
        if (places_find(value, &partition, &offset))
            history_sent_at(all.history, all.sent[value].send, client_key(all.sent[value].topic, partition), offset);
    }
}

/* ---- publishers --------------------------------------------------------------------------- */

static uint32_t publish_begin(struct client *c, char text[CLIENT_LINE_BYTES], uint64_t *number)
{
    unsigned topic = (unsigned)chance_below(&c->chance, all.plan.topics);
    unsigned key = (unsigned)chance_below(&c->chance, 2 * KEYS);
    uint64_t value = *number = ++all.values;
    char message[8400], named[16] = "";
    uint32_t where = HISTORY_KEY_ANY;
    (void)client_body(c, message, sizeof message, value);
    if (key < KEYS) { /* else without one */
        int len = snprintf(named, sizeof named, "k%u", key);
        where = client_key(topic, fnv_partition(named, (size_t)len, all.plan.partitions[topic]));
    }
    (void)snprintf(text, CLIENT_LINE_BYTES, "PUBS t%u {\"Key\":\"%s\",\"Body\":\"%s\"}", topic, named, message);
    uint32_t op = history_begin(all.history, c->session.process, client_now());
    (void)sends(op, topic, where, value);
    trace_say(TRACE_CLIENT, "%u/%u publishes v%" PRIu64 " to t%u key %s", c->number, c->session.process, value, topic,
              named);
    return op;
}

static void publish_end(struct client *c, uint32_t op, unsigned topic, uint64_t value, const char *reply)
{
    enum history_outcome outcome = client_outcome(reply);
    judge_refusal(reply);
    all.sent[value].answered = true;
    if (outcome == HISTORY_OK)
        acks_judge(topic, value);
    history_end(all.history, op, outcome, client_now());
    all.acknowledged += outcome == HISTORY_OK;
    trace_say(TRACE_CLIENT, "%u/%u operation %u: %.120s", c->number, c->session.process, op, client_shown(reply));
}

static void publish_some(struct client *c)
{
    unsigned count = 1 + (unsigned)(chance_once_in(&c->chance, 2) ? chance_below(&c->chance, PIPELINE_MAX) : 0);
    uint32_t ops[PIPELINE_MAX];
    uint64_t values[PIPELINE_MAX];
    for (unsigned i = 0; i < count; i++) {
        ops[i] = publish_begin(c, c->line, &values[i]);
        (void)session_say(&c->session, c->line); /* if it is gone, nobody knows what arrived */
    }
    for (unsigned i = 0; i < count; i++)
        publish_end(c, ops[i], all.sent[values[i]].topic, values[i], session_hear(&c->session));
}

bool client_enough(void)
{
    return all.stop || all.values >= all.plan.publishes_max;
}

static void *publisher(void *argument)
{
    struct client *c = argument;
    int64_t pause_ns = chance_magnitude(&c->chance, 5, 300) * MS_NS;
    while (!client_enough()) {
        if (!client_connected(c))
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

bool client_number_in(const char *text, const char *name, int64_t *number)
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
        const char *reply = client_connected(c) ? session_ask(&c->session, "PRID") : NULL;
        if (reply != NULL && client_number_in(reply, "\"Id\":", id) && client_number_in(reply, "\"Epoch\":", epoch))
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
    (void)client_body(c, message, sizeof message, value);
    (void)snprintf(c->line, sizeof c->line, "PUBX t%u %u %" PRId64 " %" PRId64 " %" PRId64 " {\"Body\":\"%s\"}", topic,
                   partition, id, epoch, sequence, message);
    uint32_t op = history_begin(all.history, 1000000 + c->number, client_now());
    uint32_t send = sends(op, topic, client_key(topic, partition), value);
    history_numbered(all.history, send, (uint64_t)id + 1, (uint32_t)epoch, sequence);
    trace_say(TRACE_CLIENT, "%u produces v%" PRIu64 " to t%u/%u, sequence %" PRId64, c->number, value, topic, partition,
              sequence);
    bool tried = false;
    enum history_outcome outcome = HISTORY_INFO;
    while (outcome == HISTORY_INFO && !all.stop) {
        if (!client_connected(c))
            continue;
        const char *reply = session_ask(&c->session, c->line);
        outcome = client_outcome(reply);
        judge_refusal(reply);
        trace_say(TRACE_CLIENT, "%u operation %u: %.120s", c->number, op, client_shown(reply));
        if (outcome == HISTORY_FAIL && (strstr(reply, "sequence") != NULL || strstr(reply, "epoch") != NULL))
            judge_fails("a producer that sends one number after the other, and no other, is told: %.200s", reply);
        if (outcome == HISTORY_FAIL && tried)
            outcome = HISTORY_INFO; /* this try did not; an earlier one may have: ask until it is Done */
        tried = true;
        if (outcome == HISTORY_INFO)
            fiber_sleep(chance_between(&c->chance, 5, 200) * MS_NS);
    }
    all.sent[value].answered = true;
    if (outcome == HISTORY_OK)
        acks_judge(topic, value);
    history_end(all.history, op, outcome, client_now());
    all.acknowledged += outcome == HISTORY_OK;
    return outcome == HISTORY_OK;
}

/* The line that was Done, once more, as one does who had no answer: whoever leads by now
 * knows it, or refuses for the time being; it is stored once. */
static void say_it_again(struct client *c)
{
    fiber_sleep(chance_magnitude(&c->chance, 1, 3000) * MS_NS);
    if (all.stop || !client_connected(c))
        return;
    const char *reply = session_ask(&c->session, c->line);
    judge_refusal(reply);
    trace_say(TRACE_CLIENT, "%u says it again: %.120s", c->number, client_shown(reply));
    if (client_outcome(reply) == HISTORY_FAIL && (strstr(reply, "sequence") != NULL || strstr(reply, "epoch") != NULL))
        judge_fails("a producer that says its last message again is told: %.200s", reply);
}

static void *producer(void *argument)
{
    struct client *c = argument;
    int64_t id = 0, epoch = 0;
    int64_t sequences[CLIENTS_TOPICS_MAX][CLIENTS_PARTITIONS_MAX] = {{0}};
    bool known = take_producer_id(c, &id, &epoch);
    while (known && !client_enough()) {
        unsigned topic = (unsigned)chance_below(&c->chance, all.plan.topics);
        unsigned partition = (unsigned)chance_below(&c->chance, all.plan.partitions[topic]);
        if (produce_one(c, id, epoch, topic, partition, sequences[topic][partition])) {
            sequences[topic][partition]++;
            if (chance_once_in(&c->chance, AGAIN_IN))
                say_it_again(c);
        }
        fiber_sleep(chance_magnitude(&c->chance, 1, 300) * MS_NS);
    }
    client_free(c);
    return NULL;
}

/* ---- all of them ------------------------------------------------------------------------------------ */

bool clients_make_topics(int64_t within_ns)
{
    struct client *c = client_new(0);
    int64_t until_ns = client_now() + within_ns;
    all.running++;
    unsigned made = 0;
    while (made < all.plan.topics && client_now() < until_ns) {
        if (!client_connected(c))
            continue;
        char line[64];
        int len = snprintf(line, sizeof line, "CRTP t%u %u", made, all.plan.partitions[made]);
        if (all.plan.replicas > 0)
            (void)snprintf(line + len, sizeof line - (size_t)len, " %u", all.plan.replicas);
        const char *reply = session_ask(&c->session, line);
        trace_say(TRACE_CLIENT, "%s: %.120s", line, client_shown(reply));
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
    } kinds[] = {{all.plan.publishers, publisher},
                 {all.plan.producers, producer},
                 {all.plan.members, member_main},
                 {all.plan.kafka_producers, kafka_producer_main},
                 {all.plan.kafka_members, kafka_member_main}};
    for (size_t kind = 0; kind < sizeof kinds / sizeof kinds[0]; kind++)
        for (unsigned i = 0; i < kinds[kind].count; i++) {
            REQUIRE(number < CLIENTS_MAX);
            (void)snprintf(name, sizeof name, "client %u", number);
            all.running++;
            fiber_detach(fiber_start(all.node, name, 0, kinds[kind].run, client_new(number++)));
        }
}

bool clients_stopping(void)
{
    return all.stop;
}

void clients_stop(void)
{
    all.stop = true;
    while (all.running > 0)
        (void)fiber_wait(&all.ended, MACHINE_NEVER);
}

char *clients_ask(unsigned broker, const char *line, int64_t timeout_ns)
{
    struct session s = {.fd = -1};
    const char *reply = session_open(&s, broker, timeout_ns) ? session_ask(&s, line) : NULL;
    trace_say(TRACE_CLIENT, "broker %u is asked: %s: %.700s", broker, line, client_shown(reply));
    char *copy = reply == NULL ? NULL : strdup(reply);
    session_fini(&s);
    return copy;
}

/* A key that goes to this partition. */
static void key_for(unsigned partition, unsigned partitions, char key[16])
{
    for (unsigned i = 0;; i++) {
        int len = snprintf(key, 16, "p%u", i);
        if (fnv_partition(key, (size_t)len, partitions) == partition)
            return;
    }
}

/* With so many bytes behind its number (0: it says that it is a probe). False: this try did not do it. */
static bool probe_once(struct client *c, unsigned topic, unsigned partition, size_t bytes)
{
    char key[16], more[POUR_BYTES + 1] = "probe";
    key_for(partition, all.plan.partitions[topic], key);
    if (!client_connected(c))
        return false;
    size_t len = bytes < POUR_BYTES ? bytes : POUR_BYTES;
    if (len > 0) {
        memset(more, 'x', len);
        more[len] = '\0';
    }
    uint64_t value = ++all.values;
    (void)snprintf(c->line, sizeof c->line, "PUBS t%u {\"Key\":\"%s\",\"Body\":\"v%" PRIu64 " %s\"}", topic, key, value,
                   more);
    uint32_t op = history_begin(all.history, c->session.process, client_now());
    (void)sends(op, topic, client_key(topic, partition), value);
    const char *reply = session_ask(&c->session, c->line);
    publish_end(c, op, topic, value, reply);
    if (reply != NULL && strcmp(reply, "Done") == 0)
        return true;
    session_close(&c->session); /* perhaps another broker knows better */
    fiber_sleep(20 * MS_NS);
    return false;
}

int64_t clients_probe(int64_t within_ns)
{
    struct client *c = client_new(0);
    int64_t began_ns = client_now();
    int64_t timeout_ns = all.timeout_ns;
    bool good = true;
    all.running++;
    all.timeout_ns = S_NS;
    for (unsigned topic = 0; topic < all.plan.topics; topic++)
        for (unsigned p = 0; p < all.plan.partitions[topic] && good; p++)
            while (good && !probe_once(c, topic, p, 0))
                good = client_now() < began_ns + within_ns;
    all.timeout_ns = timeout_ns;
    client_free(c);
    return good ? client_now() - began_ns : -1;
}

bool clients_pour(unsigned topic, unsigned count, int64_t within_ns)
{
    static unsigned pours;
    struct client *c = client_new(CLIENTS_MAX + ++pours);
    int64_t until_ns = client_now() + within_ns;
    bool good = true;
    all.running++;
    for (unsigned i = 0; i < count * all.plan.partitions[topic] && good; i++)
        while (good && !probe_once(c, topic, i % all.plan.partitions[topic], POUR_BYTES))
            good = client_now() < until_ns;
    client_free(c);
    return good;
}

bool clients_read_topic(unsigned topic, int64_t within_ns)
{
    static unsigned reads;
    struct client *c = client_new(2 * CLIENTS_MAX + ++reads);
    all.running++;
    bool good = member_read_topic(c, topic, READS_FROM + reads, client_now() + within_ns);
    client_free(c);
    return good;
}

bool clients_read_all(int64_t within_ns, const char **why)
{
    static char missed[80];
    static unsigned rounds;
    struct client *c = client_new(0);
    all.running++;
    bool good = true;
    rounds++;
    for (unsigned topic = 0; topic < all.plan.topics && all.plan.members > 0; topic++)
        member_read_committed(c, topic, client_now() + COMMITTED_S * S_NS);
    for (unsigned topic = 0; topic < all.plan.topics && good; topic++)
        if (!member_read_topic(c, topic, rounds, client_now() + within_ns)) {
            (void)snprintf(missed, sizeof missed, "topic t%u could not be read whole", topic);
            *why = missed;
            good = false;
        }
    client_free(c);
    return good;
}
