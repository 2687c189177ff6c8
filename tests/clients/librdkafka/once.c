/* Idempotent producers: every number once and in order, whatever happens to the brokers. */
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

const struct one_case once_cases[] = {
    {"an idempotent producer outlives its leader", across_a_killed_leader_of_three, 3},
    {"an idempotent producer outlives a death and a restart", across_a_restart_with_zstd, 0},
    {NULL, NULL, 0},
};
