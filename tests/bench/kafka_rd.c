/* librdkafka by dlopen(3): of its interface, which is stable, only what is called here. */
#include "bench/kafka_rd.h"

#include "e2e/harness.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    TEXT_BYTES = 512,
    FLUSH_MS = 30000,
    COPY_FLAG = 2,
    CONF_OK = 0,
    PRODUCER = 0,
    QUEUE_FULL = -184,
    POLL_EACH = 256
};

struct rd_message {
    int err;
    /* more that nobody looks at here */
};

static struct {
    void *library;
    const char *(*version_str)(void);
    void *(*conf_new)(void);
    int (*conf_set)(void *conf, const char *name, const char *value, char *why, size_t size);
    void (*conf_set_dr_msg_cb)(void *conf, void (*cb)(void *rk, const struct rd_message *message, void *opaque));
    void (*conf_set_opaque)(void *conf, void *opaque);
    void *(*create)(int type, void *conf, char *why, size_t size);
    void *(*topic_new)(void *rk, const char *topic, void *conf);
    int (*produce)(void *topic, int32_t partition, int flags, void *payload, size_t size, const void *key,
                   size_t key_size, void *opaque);
    int (*last_error)(void);
    int (*poll)(void *rk, int wait_ms);
    int (*flush)(void *rk, int wait_ms);
    void (*topic_destroy)(void *topic);
    void (*destroy)(void *rk);
} rd;

static const struct {
    const char *name;
    void *to;
} symbols[] = {
    {"rd_kafka_version_str", &rd.version_str},
    {"rd_kafka_conf_new", &rd.conf_new},
    {"rd_kafka_conf_set", &rd.conf_set},
    {"rd_kafka_conf_set_dr_msg_cb", &rd.conf_set_dr_msg_cb},
    {"rd_kafka_conf_set_opaque", &rd.conf_set_opaque},
    {"rd_kafka_new", &rd.create},
    {"rd_kafka_topic_new", &rd.topic_new},
    {"rd_kafka_produce", &rd.produce},
    {"rd_kafka_last_error", &rd.last_error},
    {"rd_kafka_poll", &rd.poll},
    {"rd_kafka_flush", &rd.flush},
    {"rd_kafka_topic_destroy", &rd.topic_destroy},
    {"rd_kafka_destroy", &rd.destroy},
};

const char *rd_version(void)
{
    static bool tried;
    if (!tried) {
        tried = true;
        rd.library = dlopen("librdkafka.so.1", RTLD_NOW | RTLD_LOCAL);
        for (size_t i = 0; rd.library != NULL && i < sizeof(symbols) / sizeof(symbols[0]); i++) {
            void *symbol = dlsym(rd.library, symbols[i].name);
            if (symbol == NULL)
                harness_fail("librdkafka lacks a function");
            memcpy(symbols[i].to, &symbol, sizeof(symbol));
        }
    }
    return rd.library != NULL ? rd.version_str() : NULL;
}

static void delivered(void *rk, const struct rd_message *message, void *opaque)
{
    (void)rk;
    struct raw_result *r = opaque;
    r->records += message->err == 0;
    r->broken = r->broken || message->err != 0;
}

static void *producer(const struct raw_load *load, struct raw_result *r)
{
    char at[TEXT_BYTES], why[TEXT_BYTES];
    (void)snprintf(at, sizeof(at), "127.0.0.1:%d", load->port);
    const char *const settings[][2] = {{"bootstrap.servers", at},
                                       {"acks", "all"},
                                       {"linger.ms", "5"},
                                       {"queue.buffering.max.messages", "500000"},
                                       {"queue.buffering.max.kbytes", "65536"}};
    void *conf = rd.conf_new();
    for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++)
        if (rd.conf_set(conf, settings[i][0], settings[i][1], why, sizeof(why)) != CONF_OK)
            harness_fail(why);
    rd.conf_set_opaque(conf, r);
    rd.conf_set_dr_msg_cb(conf, delivered);
    void *rk = rd.create(PRODUCER, conf, why, sizeof(why));
    if (rk == NULL)
        harness_fail(why);
    return rk;
}

struct raw_result rd_produce(const struct raw_load *load)
{
    struct raw_result r = {0};
    void *rk = producer(load, &r);
    void *topic = rd.topic_new(rk, load->topic, NULL);
    char *value = malloc(load->record_bytes + 1);
    if (topic == NULL || value == NULL)
        harness_fail("librdkafka has no topic");
    memset(value, 'x', load->record_bytes);
    /* One record beforehand: connecting is not what is measured. */
    (void)rd.produce(topic, 0, COPY_FLAG, value, load->record_bytes, NULL, 0, NULL);
    r.broken = rd.flush(rk, FLUSH_MS) != 0 || r.records != 1;
    r.records = 0;
    int64_t begin = now_us();
    for (uint64_t begun = 0; !r.broken && now_us() - begin < load->run_us;)
        for (int i = 0; i < POLL_EACH; i++) {
            if (rd.produce(topic, 0, COPY_FLAG, value, load->record_bytes, NULL, 0, NULL) == 0)
                begun++;
            else if (rd.last_error() == QUEUE_FULL)
                (void)rd.poll(rk, 1);
            if (begun % POLL_EACH == 0)
                (void)rd.poll(rk, 0);
        }
    r.broken = rd.flush(rk, FLUSH_MS) != 0 || r.broken;
    r.us = now_us() - begin;
    r.bytes = r.records * load->record_bytes;
    rd.topic_destroy(topic);
    rd.destroy(rk);
    free(value);
    return r;
}
