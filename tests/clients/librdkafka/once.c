/*
 * Idempotent producers, and readers beside them: every number once and in order, whatever
 * happens to the brokers.
 */
#include "cases.h"

#include <stdio.h>

/* Produces `count` numbers, of which the first `before` are acknowledged before the leader dies. */
static void across_a_killed_leader(const char *name, const char *options, bool restart_early)
{
    enum { BEFORE = 500, COUNT = 5000 };
    const char *topic = topic_new(name, 1);
    rd_kafka_t *producer = producer_of(options);
    for (int i = 1; i <= BEFORE; i++)
        send_number(producer, topic, i);
    want_ok(rd_kafka_flush(producer, PATIENCE_MS), "flush");
    for (int i = BEFORE + 1; i <= COUNT; i++) {
        send_number(producer, topic, i);
        (void)rd_kafka_poll(producer, i % 10 == 0 ? 1 : 0); /* some way, not one burst */
        if (i == 2 * BEFORE)
            (void)command("KQ_FAULT", "kill-leader %s 0", topic);
        if (i == 4 * BEFORE && restart_early)
            (void)command("KQ_FAULT", "restart");
    }
    producer_done(producer);
    want_numbers(topic, 1, COUNT);
    if (!restart_early)
        (void)command("KQ_FAULT", "restart");
}

static void across_a_killed_leader_of_three(void)
{
    across_a_killed_leader("once", "enable.idempotence=true message.timeout.ms=60000 batch.num.messages=40", false);
}

static void across_a_restart_with_zstd(void)
{
    across_a_killed_leader(
        "once-again", "enable.idempotence=true message.timeout.ms=60000 batch.num.messages=40 compression.codec=zstd",
        true);
}

/* ---- a reader beside the producer ------------------------------------------------------- */

enum { PLACES = 6, SENT = 3000 };

struct beside {
    rd_kafka_t *reader;
    int next[PLACES]; /* the number that the partition must bring next */
    int read;
};

/* Takes what is there: number n is in partition n % PLACES. */
static void read_some(struct beside *b, int wait_ms)
{
    for (rd_kafka_message_t *m; (m = rd_kafka_consumer_poll(b->reader, wait_ms)) != NULL; wait_ms = 0) {
        if (m->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
            want_int(b->next[m->partition], number_in(m), "the next number of a partition");
            b->next[m->partition] += PLACES;
            b->read++;
        }
        rd_kafka_message_destroy(m);
    }
}

static struct beside begin_beside(const char *topic)
{
    struct beside b = {.read = 0};
    b.reader = client_of(RD_KAFKA_CONSUMER, conf_of("group.id=rdk-none enable.auto.commit=false fetch.wait.max.ms=20"));
    (void)rd_kafka_poll_set_consumer(b.reader);
    rd_kafka_topic_partition_list_t *all = rd_kafka_topic_partition_list_new(PLACES);
    for (int p = 0; p < PLACES; p++) {
        rd_kafka_topic_partition_list_add(all, topic, p)->offset = 0;
        b.next[p] = p;
    }
    want_ok(rd_kafka_assign(b.reader, all), "assign");
    rd_kafka_topic_partition_list_destroy(all);
    return b;
}

static void a_reader_goes_on_across_killed_leaders(void)
{
    const char *topic = topic_new("beside", PLACES);
    rd_kafka_t *producer = producer_of("enable.idempotence=true message.timeout.ms=60000 batch.num.messages=10");
    struct beside b = begin_beside(topic);
    for (int i = 0; i < SENT; i++) {
        send_number_to(producer, topic, i % PLACES, i);
        if (i % 20 == 0) {
            (void)rd_kafka_poll(producer, 0);
            read_some(&b, 5);
        }
        if (i == SENT / 4 || i == 3 * SENT / 4)
            (void)command("KQ_FAULT", "kill-leader %s %d", topic, i == SENT / 4 ? 0 : 1);
        if (i == SENT / 2)
            (void)command("KQ_FAULT", "restart");
    }
    producer_done(producer);
    for (int64_t until = now_ms() + PATIENCE_MS; b.read < SENT; read_some(&b, 100))
        if (now_ms() > until)
            fail("only %d of %d were read", b.read, SENT);
    (void)command("KQ_FAULT", "restart");
}

const struct one_case once_cases[] = {
    {"an idempotent producer outlives its leader", across_a_killed_leader_of_three, 3},
    {"an idempotent producer outlives a death and a restart", across_a_restart_with_zstd, 0},
    {"a reader goes on across killed leaders", a_reader_goes_on_across_killed_leaders, 3},
    {NULL, NULL, 0},
};
