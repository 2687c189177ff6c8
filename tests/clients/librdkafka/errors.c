/* What is refused, and how a client is told. */
#include "cases.h"

#include <stdio.h>

static rd_kafka_resp_err_t outcome;

static void keep_outcome(rd_kafka_t *producer, const rd_kafka_message_t *m, void *arg)
{
    (void)producer, (void)arg;
    outcome = m->err;
}

/* What became of a message of so many bytes. */
static rd_kafka_resp_err_t fate(const char *topic, size_t size, const char *options)
{
    rd_kafka_conf_t *conf = conf_of(options);
    rd_kafka_conf_set_dr_msg_cb(conf, keep_outcome);
    rd_kafka_t *producer = client_of(RD_KAFKA_PRODUCER, conf);
    char *value = calloc(1, size);
    WANT(value != NULL);
    outcome = RD_KAFKA_RESP_ERR_UNKNOWN;
    rd_kafka_resp_err_t err = rd_kafka_producev(producer, RD_KAFKA_V_TOPIC(topic), RD_KAFKA_V_VALUE(value, size),
                                                RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_END);
    if (err == RD_KAFKA_RESP_ERR_NO_ERROR) {
        want_ok(rd_kafka_flush(producer, PATIENCE_MS), "flush");
        err = outcome;
    }
    rd_kafka_destroy(producer);
    free(value);
    return err;
}

static void messages_too_large(void)
{
    const char *topic = topic_new("small", 1);
    want_int(RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, fate(topic, 3 << 20, "message.max.bytes=10000000"), "3 MiB");
    want_ok(fate(topic, 1000, ""), "1000 bytes");
}

static void an_unknown_topic(void)
{
    rd_kafka_resp_err_t err = fate("rdk-absent", 1, "topic.metadata.propagation.max.ms=500");
    WANT(err == RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC || err == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART);
    rd_kafka_t *reader = client_of(RD_KAFKA_CONSUMER, conf_of("group.id=rdk-absent"));
    (void)rd_kafka_poll_set_consumer(reader);
    rd_kafka_topic_partition_list_t *topics = place("rdk-absent", RD_KAFKA_PARTITION_UA, 0);
    want_ok(rd_kafka_subscribe(reader, topics), "subscribe");
    rd_kafka_message_t *m = rd_kafka_consumer_poll(reader, PATIENCE_MS);
    WANT(m != NULL);
    want_int(RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART, m->err, "consume");
}

static void a_topic_that_is_named_is_made(void)
{
    want_ok(fate("rdk-named", 5, ""), "produce");
    want_ok(fate("rdk-named", 5, ""), "produce again");
    rd_kafka_t *reader = reader_of("rdk-named", 0, "");
    for (int i = 0; i < 2; i++)
        WANT(next_message(reader) != NULL);
    WANT(next_message(reader) == NULL);
}

static void readers_beyond_the_end_are_told(void)
{
    const char *topic = topic_new("beyond", 1);
    send_numbers(topic, 1, 3, "");
    rd_kafka_t *reader = reader_of(topic, 1000, "auto.offset.reset=error");
    rd_kafka_message_t *m = rd_kafka_consumer_poll(reader, PATIENCE_MS);
    WANT(m != NULL);
    want_int(RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET, m->err, "a reader at 1000 of 3");
}

static void only_uncommitted_is_the_same_as_committed(void)
{
    const char *topic = topic_new("isolation", 1);
    send_numbers(topic, 1, 5, "");
    rd_kafka_t *reader = reader_of(topic, 0, "isolation.level=read_uncommitted");
    for (int i = 1; i <= 5; i++) {
        rd_kafka_message_t *m = next_message(reader);
        WANT(m != NULL);
        want_int(i, number_in(m), topic);
    }
    want_numbers(topic, 1, 5); /* read_committed is the default */
}

/* At once, and not for want of a coordinator. */
static void transactions_are_refused(void)
{
    rd_kafka_t *producer = producer_of("transactional.id=rdk-transactions");
    int64_t begun = now_ms();
    rd_kafka_error_t *error = rd_kafka_init_transactions(producer, PATIENCE_MS);
    WANT(error != NULL && rd_kafka_error_is_fatal(error));
    WANT(strstr(rd_kafka_error_string(error), "Kafkaesque has no transactions") != NULL);
    WANT(now_ms() - begun < PATIENCE_MS / 3);
}

const struct one_case error_cases[] = {
    {"messages too large", messages_too_large, 0},
    {"an unknown topic, with auto-creation off", an_unknown_topic, 3},
    {"a topic that is named is made", a_topic_that_is_named_is_made, 1},
    {"readers beyond the end are told", readers_beyond_the_end_are_told, 0},
    {"both isolation levels read what is there", only_uncommitted_is_the_same_as_committed, 0},
    {"transactions are refused at once", transactions_are_refused, 0},
    {NULL, NULL, 0},
};
