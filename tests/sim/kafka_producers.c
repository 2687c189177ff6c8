/*
 * Idempotent producers as Kafka's clients are: several batches of one partition on their way
 * at once, all of them sent again in order, with the same numbers, whenever one was not
 * taken or the connection broke, to whoever leads by then; until each is acknowledged.
 */
#include "base/require.h"
#include "log/batch.h"
#include "proto/kafka/api_produce.h"
#include "proto/kafka/api_producers.h"
#include "proto/kafka/error.h"
#include "sim/complaints.h"
#include "sim/judge.h"
#include "sim/kafka_route.h"
#include "sim/trace.h"

#include <inttypes.h>
#include <stdlib.h>

enum {
    PRODUCE_VERSION = 9,
    INIT_VERSION = 4,
    WINDOW = 5, /* max.in.flight.requests.per.connection: as many as the broker remembers */
    BATCH_RECORDS_MAX = 4,
    BATCH_MAX_BYTES = 64 * 1024,
    PROCESS_BASE = 4000000, /* of the history; see clients.c for the others */
};

struct outgoing {
    struct buf records;
    uint32_t op;
    int32_t sequence; /* of its first record */
    unsigned count;
    uint64_t values[BATCH_RECORDS_MAX];
    uint32_t sends[BATCH_RECORDS_MAX];
    bool done;
};

struct kafka_producer {
    struct client *c;
    struct talk talk;
    unsigned topic, partition;
    int64_t id;
    int16_t epoch;
    int32_t next_sequence;
    struct outgoing window[WINDOW]; /* the oldest first */
    unsigned count;
};

static bool init_id(struct kafka_producer *p)
{
    struct kafka_init_producer_id_request ask = {.producer_id = -1, .producer_epoch = -1};
    while (!clients_stopping()) {
        if (kafka_to_leader(p->c, &p->talk, p->topic, p->partition)) {
            const struct kafka_init_producer_id_response *answer =
                talk_ask(&p->talk, KAFKA_INIT_PRODUCER_ID, INIT_VERSION, &ask);
            if (answer != NULL && answer->error_code == KAFKA_ERR_NONE) {
                p->id = answer->producer_id;
                p->epoch = answer->producer_epoch;
                return true;
            }
        }
        fiber_sleep(50 * MS_NS);
    }
    return false;
}

/* A batch more at the end of the window. Its records have no times: brokers' clocks jump here. */
static void batch_new(struct kafka_producer *p)
{
    static char message[8400];
    struct batch_maker maker;
    struct outgoing *o = &p->window[p->count++];
    *o = (struct outgoing){.sequence = p->next_sequence};
    o->count = 1 + (unsigned)chance_below(&p->c->chance, BATCH_RECORDS_MAX);
    o->op = history_begin(clients_history(), PROCESS_BASE + p->c->number, client_now());
    buf_init(&o->records, BATCH_MAX_BYTES);
    batch_begin(&maker, &o->records, -1);
    for (unsigned i = 0; i < o->count; i++) {
        o->values[i] = client_sends(o->op, p->topic, client_key(p->topic, p->partition), &o->sends[i]);
        history_numbered(clients_history(), o->sends[i], (uint64_t)p->id + 1, (uint32_t)p->epoch, p->next_sequence++);
        size_t len = client_body(p->c, message, sizeof message, o->values[i]);
        batch_add(&maker, -1, (struct slice){0}, slice_of(message, len), NULL, (struct slice){0});
    }
    batch_end(&maker, p->id, p->epoch, o->sequence);
    REQUIRE(!o->records.bad);
    trace_say(TRACE_CLIENT, "%u produces v%" PRIu64 " and %u more to t%u/%u, sequence %d", p->c->number, o->values[0],
              o->count - 1, p->topic, p->partition, o->sequence);
}

/* False: the connection is gone. */
static bool say(struct kafka_producer *p, const struct outgoing *o)
{
    struct kafka_produce_request_partition part = {.index = (int32_t)p->partition};
    struct kafka_produce_request_topic topic = {.name = kafka_topic_name(p->topic)};
    struct kafka_produce_request ask = {.acks = -1, .timeout_ms = (int32_t)(client_timeout_ns() / MS_NS)};
    part.records = slice_of(o->records.data, o->records.len);
    topic.partition_data.at = &part;
    topic.partition_data.count = 1;
    ask.topic_data.at = &topic;
    ask.topic_data.count = 1;
    return talk_say(&p->talk, KAFKA_PRODUCE, PRODUCE_VERSION, &ask);
}

/* What no producer may be told that does all as it should, whatever the faults. */
static void judge_code(const struct kafka_producer *p, const struct outgoing *o, int16_t code)
{
    static const int16_t lies[] = {KAFKA_ERR_CORRUPT_MESSAGE,       KAFKA_ERR_MESSAGE_TOO_LARGE,
                                   KAFKA_ERR_INVALID_RECORD,        KAFKA_ERR_INVALID_TIMESTAMP,
                                   KAFKA_ERR_INVALID_REQUIRED_ACKS, KAFKA_ERR_DUPLICATE_SEQUENCE_NUMBER,
                                   KAFKA_ERR_INVALID_PRODUCER_EPOCH};
    bool lie = false, behind_a_hole = false;
    for (const struct outgoing *before = p->window; before < o; before++)
        behind_a_hole |= !before->done;
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++)
        lie |= code == lies[i];
    /* A gap is what the broker sees behind a batch that it did not take, and never before. */
    lie |= code == KAFKA_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER && !behind_a_hole;
    if (lie && !complaints_are_excused() && !clients_lost())
        judge_fails("a Kafka producer that does all as it should is told %d: t%u/%u v%" PRIu64, code, p->topic,
                    p->partition, o->values[0]);
}

static void acknowledged(struct kafka_producer *p, struct outgoing *o, int64_t base_off)
{
    uint32_t key = client_key(p->topic, p->partition);
    if (o->done)
        return; /* it was sent twice */
    o->done = true;
    for (unsigned i = 0; i < o->count; i++) {
        history_sent_at(clients_history(), o->sends[i], key, base_off + i);
        client_sent(p->topic, o->values[i], HISTORY_OK);
    }
    history_end(clients_history(), o->op, HISTORY_OK, client_now());
}

/* The next answer on this connection, to the batch at its place. False: all that is not
 * acknowledged is to be sent again. */
static bool hear(struct kafka_producer *p, struct outgoing *o)
{
    const struct kafka_produce_response *answer = talk_hear(&p->talk, KAFKA_PRODUCE, PRODUCE_VERSION);
    if (answer == NULL || answer->responses.count != 1 || answer->responses.at[0].partition_responses.count != 1) {
        trace_say(TRACE_CLIENT, "%u operation %u: no answer", p->c->number, o->op);
        return false;
    }
    const struct kafka_produce_response_partition *said = &answer->responses.at[0].partition_responses.at[0];
    trace_say(TRACE_CLIENT, "%u operation %u: %d, offset %" PRId64, p->c->number, o->op, said->error_code,
              said->base_offset);
    if (said->error_code == KAFKA_ERR_NONE)
        acknowledged(p, o, said->base_offset);
    else
        judge_code(p, o, said->error_code);
    return said->error_code == KAFKA_ERR_NONE;
}

/* Those at the front that are done leave the window. */
static void slide(struct kafka_producer *p)
{
    unsigned done = 0;
    while (done < p->count && p->window[done].done)
        buf_fini(&p->window[done++].records);
    for (unsigned i = done; i < p->count; i++)
        p->window[i - done] = p->window[i];
    p->count -= done;
}

/* Sends all that is in the window, old and new, and hears what becomes of it. A batch is only
 * taken off the window's front, so that each answer finds its own. */
static void round_of(struct kafka_producer *p)
{
    unsigned said = 0, heard = 0;
    bool good = true;
    while (said < p->count && say(p, &p->window[said]))
        said++;
    while (p->count < WINDOW && said == p->count && !client_enough() && chance_once_in(&p->c->chance, 2)) {
        batch_new(p);
        if (say(p, &p->window[said]))
            said++;
    }
    for (; heard < said && p->talk.fd >= 0; heard++)
        good &= hear(p, &p->window[heard]);
    slide(p);
    if (!good || p->talk.fd < 0)
        fiber_sleep(chance_between(&p->c->chance, 5, 200) * MS_NS);
}

static void produce(struct kafka_producer *p)
{
    while (!client_enough() || (p->count > 0 && !clients_stopping())) {
        if (p->count == 0)
            fiber_sleep(chance_magnitude(&p->c->chance, 1, 500) * MS_NS);
        if (!kafka_to_leader(p->c, &p->talk, p->topic, p->partition))
            continue;
        if (p->count == 0 && !client_enough())
            batch_new(p);
        round_of(p);
    }
    for (unsigned i = 0; i < p->count; i++) {
        struct outgoing *o = &p->window[i];
        for (unsigned k = 0; k < o->count && !o->done; k++)
            client_sent(p->topic, o->values[k], HISTORY_INFO);
        if (!o->done)
            history_end(clients_history(), o->op, HISTORY_INFO, client_now());
        buf_fini(&o->records);
    }
}

void *kafka_producer_main(void *argument)
{
    struct client *c = argument;
    struct kafka_producer *p = calloc(1, sizeof *p);
    REQUIRE(p != NULL);
    p->c = c;
    p->talk.fd = -1;
    p->topic = (unsigned)chance_below(&c->chance, clients_plan()->topics);
    p->partition = (unsigned)chance_below(&c->chance, clients_plan()->partitions[p->topic]);
    if (init_id(p))
        produce(p);
    talk_fini(&p->talk);
    free(p);
    client_free(c);
    return NULL;
}
