/* What a record may hold, and how it lies in the log. */
#include "cases.h"

#include <stdio.h>

static void every_codec_lies_in_the_log(void)
{
    static const char *const codecs[] = {"none", "gzip", "snappy", "lz4", "zstd"};
    for (size_t i = 0; i < sizeof(codecs) / sizeof(codecs[0]); i++) {
        char name[NAME_BYTES], options[NAME_BYTES];
        (void)snprintf(name, sizeof(name), "codec-%s", codecs[i]);
        (void)snprintf(options, sizeof(options), "compression.codec=%s linger.ms=100", codecs[i]);
        const char *topic = topic_new(name, 1);
        send_numbers(topic, 1, 1000, options);
        want_numbers(topic, 1, 1000);
        want_text(codecs[i], command("KQ_CODECS", "%s 0", topic), topic);
    }
}

struct shape {
    const char *key, *value; /* NULL: null */
};
static const struct shape shapes[] = {{"k", "v"}, {NULL, "v"}, {"k", NULL}, {"k", ""}, {"", "v"}, {NULL, NULL}};

static void want_bytes(const char *wanted, const void *got, size_t got_len, const char *what)
{
    if (wanted == NULL)
        WANT(got == NULL);
    else if (got == NULL || got_len != strlen(wanted) || memcmp(got, wanted, got_len) != 0)
        fail("%s: wanted `%s`, got %zu bytes `%.*s`", what, wanted, got_len, (int)got_len,
             got != NULL ? (const char *)got : "");
}

static void want_header(const rd_kafka_headers_t *headers, size_t i, const char *name, const char *value)
{
    const char *got_name = NULL;
    const void *got = NULL;
    size_t got_len = 0;
    want_ok(rd_kafka_header_get_all(headers, i, &got_name, &got, &got_len), name);
    want_text(name, got_name, "header");
    want_bytes(value, got, got_len, name);
}

static void keys_nulls_and_headers(void)
{
    const char *topic = topic_new("null", 1);
    rd_kafka_t *producer = producer_of("");
    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
        const struct shape *s = &shapes[i];
        size_t key_len = s->key != NULL ? strlen(s->key) : 0, value_len = s->value != NULL ? strlen(s->value) : 0;
        want_ok(rd_kafka_producev(producer, RD_KAFKA_V_TOPIC(topic), RD_KAFKA_V_PARTITION(0),
                                  RD_KAFKA_V_KEY((void *)(uintptr_t)s->key, key_len),
                                  RD_KAFKA_V_VALUE((void *)(uintptr_t)s->value, value_len),
                                  RD_KAFKA_V_HEADER("a", "1", 1), RD_KAFKA_V_HEADER("b", "", 0),
                                  RD_KAFKA_V_HEADER("a", NULL, 0), RD_KAFKA_V_END),
                "produce");
    }
    producer_done(producer);
    rd_kafka_t *reader = reader_of(topic, RD_KAFKA_OFFSET_BEGINNING, "");
    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
        rd_kafka_headers_t *headers = NULL;
        rd_kafka_message_t *m = next_message(reader);
        WANT(m != NULL);
        want_bytes(shapes[i].key, m->key, m->key_len, "key");
        want_bytes(shapes[i].value, m->payload, m->len, "value");
        want_ok(rd_kafka_message_headers(m, &headers), "headers");
        want_int(3, (int64_t)rd_kafka_header_cnt(headers), "headers");
        want_header(headers, 0, "a", "1");
        want_header(headers, 1, "b", "");
        want_header(headers, 2, "a", NULL);
        rd_kafka_message_destroy(m);
    }
    rd_kafka_destroy(reader);
}

static void with_acks_0_and_1(void)
{
    const char *topic = topic_new("acks", 1);
    send_numbers(topic, 1, 50, "acks=1");
    send_numbers(topic, 51, 99, "acks=0");
    send_numbers(topic, 100, 100, "acks=all"); /* on its partition's queue behind what nobody waited for */
    rd_kafka_t *reader = reader_of(topic, 0, "");
    bool had[101] = {false};
    for (int i = 1; i <= 100; i++) {
        rd_kafka_message_t *m = rd_kafka_consumer_poll(reader, PATIENCE_MS);
        WANT(m != NULL);
        if (m->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
            WANT(number_in(m) >= 1 && number_in(m) <= 100 && !had[number_in(m)]);
            had[number_in(m)] = true;
        } else {
            i--; /* the end, before what nobody waited for was there */
        }
        rd_kafka_message_destroy(m);
    }
    rd_kafka_destroy(reader);
}

static void values_of_900_kib(void)
{
    enum { LARGE = 900 * 1024, COUNT = 4 };
    const char *topic = topic_new("large", 1);
    rd_kafka_t *producer = producer_of("");
    char *large = malloc(LARGE);
    WANT(large != NULL);
    for (int i = 0; i < COUNT; i++) {
        memset(large, 'a' + i, LARGE);
        want_ok(rd_kafka_producev(producer, RD_KAFKA_V_TOPIC(topic), RD_KAFKA_V_VALUE(large, LARGE),
                                  RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_END),
                "produce");
    }
    producer_done(producer);
    /* A fetch may be far smaller than its first message. */
    rd_kafka_t *reader = reader_of(topic, 0, "fetch.message.max.bytes=10000");
    for (int i = 0; i < COUNT; i++) {
        rd_kafka_message_t *m = next_message(reader);
        WANT(m != NULL);
        want_int(LARGE, (int64_t)m->len, "bytes");
        memset(large, 'a' + i, LARGE);
        want_int(0, memcmp(large, m->payload, LARGE), "what lies in a large value");
        rd_kafka_message_destroy(m);
    }
    rd_kafka_destroy(reader);
    free(large);
}

static void telnet_and_librdkafka_read_each_other(void)
{
    const char *topic = topic_new("telnet", 1);
    (void)command("KQ_TEXT", "'PUBS %s {\"Key\":\"k1\",\"Header\":\"h1\",\"Body\":\"from telnet\"}'", topic);
    rd_kafka_t *producer = producer_of("compression.codec=snappy");
    want_ok(rd_kafka_producev(producer, RD_KAFKA_V_TOPIC(topic), RD_KAFKA_V_KEY("k2", 2), RD_KAFKA_V_VALUE("from C", 6),
                              RD_KAFKA_V_HEADER("Header", "h2", 2), RD_KAFKA_V_END),
            "produce");
    producer_done(producer);
    rd_kafka_t *reader = reader_of(topic, 0, "");
    for (int i = 0; i < 2; i++) {
        rd_kafka_headers_t *headers = NULL;
        rd_kafka_message_t *m = next_message(reader);
        WANT(m != NULL);
        want_bytes(i == 0 ? "k1" : "k2", m->key, m->key_len, "key");
        want_bytes(i == 0 ? "from telnet" : "from C", m->payload, m->len, "value");
        want_ok(rd_kafka_message_headers(m, &headers), "headers");
        want_header(headers, 0, "Header", i == 0 ? "h1" : "h2");
        rd_kafka_message_destroy(m);
    }
    rd_kafka_destroy(reader);
    char id[NAME_BYTES];
    const char *answer = command("KQ_TEXT", "'SUBS %s telnet'", topic);
    WANT(sscanf(answer, "{\"Ok\":true,\"Data\":[\"%127[^\"]", id) == 1);
    answer = command("KQ_TEXT", "'CONS %s %s 0'", topic, id);
    WANT(strstr(answer, "\"Header\":\"h2\",\"Body\":\"from C\",\"Key\":\"k2\",\"Offset\":1") != NULL);
}

const struct one_case record_cases[] = {
    {"every codec lies in the log", every_codec_lies_in_the_log, 0},
    {"keys, nulls, empty values and headers", keys_nulls_and_headers, 0},
    {"acks 0 and 1", with_acks_0_and_1, 1},
    {"values of 900 KiB, also above what a fetch may bring", values_of_900_kib, 0},
    {"telnet writes and it reads, and the other way round", telnet_and_librdkafka_read_each_other, 0},
    {NULL, NULL, 0},
};
