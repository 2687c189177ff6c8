/*
 * `kafkaesque bench`: a load generator. C connections, each with a sliding window
 * of W publishes; one thread and poll(2) around them. A latency is the time from
 * the moment a publish is queued for the socket to its reply.
 *
 * It measures the broker only as far as one core of client can drive it; the
 * project's own bench compares brokers, this one is for a look at an installation.
 */
#include "base/clock.h"
#include "client/commands.h"
#include "client/histogram.h"
#include "client/progress.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    CONNECTIONS_MAX = 10000,
    WINDOW_MAX = 10000,
    SIZE_MAX_BYTES = 16 * 1024 * 1024,
    UNSENT_MAX_BYTES = 1024 * 1024, /* a connection; beyond it the window waits for the socket */
};

const struct option_row bench_options[] = {
    {"messages", 'n', "N", "publish N messages in all (default 100000)"},
    {"size", 's', "BYTES", "of each body (default 100)"},
    {"window", 'w', "W", "publishes under way on each connection (default 100; 1: one after the other)"},
    {"connections", 'C', "C", "connections (default 1)"},
    {"topic", 't', "TOPIC", "publish to it (default `bench`); created if it does not exist, and left there"},
    {"partitions", 'p', "N", "of the topic, if it is created (default 1)"},
    {NULL, 0, NULL, NULL},
};

struct lane { /* a connection */
    struct wire *wire;
    int64_t *sent_us; /* a ring: when each publish under way was queued */
    size_t oldest;
    size_t under_way;
};

struct bench {
    struct client *client;
    const char *topic;
    int64_t messages;
    int64_t size_bytes;
    int64_t window;
    int64_t connections;
    int64_t partitions;
    struct lane *lanes;
    struct pollfd *waits;
    struct buf line;
    int64_t queued;
    int64_t answered;
    int64_t failed;
    struct histogram latencies;
    struct progress progress;
};

static enum kq_err queue_publishes(struct bench *b, struct lane *lane, int64_t now_us)
{
    while (b->queued < b->messages && lane->under_way < (size_t)b->window &&
           wire_unsent(lane->wire) < UNSENT_MAX_BYTES) {
        buf_put(wire_out(lane->wire), b->line.data, b->line.len);
        lane->sent_us[(lane->oldest + lane->under_way) % (size_t)b->window] = now_us;
        lane->under_way++;
        b->queued++;
    }
    return wire_try_flush(lane->wire, &b->client->fault);
}

static enum kq_err take_line(struct bench *b, struct lane *lane, struct slice line, int64_t now_us)
{
    enum answer_kind kind = answer_kind(line);
    if (kind == ANSWER_EVENT)
        return KQ_OK;
    if (lane->under_way == 0 || kind == ANSWER_GARBAGE || kind == ANSWER_DATA)
        return fault_set(&b->client->fault, KQ_GARBAGE, "the broker sent a reply that is none to a publish");
    histogram_add(&b->latencies, (uint64_t)(now_us - lane->sent_us[lane->oldest]));
    lane->oldest = (lane->oldest + 1) % (size_t)b->window;
    lane->under_way--;
    b->answered++;
    if (kind == ANSWER_ERROR && b->failed++ == 0)
        (void)answer_fault(line, &b->client->fault); /* the first is told at the end */
    return KQ_OK;
}

static enum kq_err take_replies(struct bench *b, struct lane *lane)
{
    for (;;) {
        enum kq_err err = wire_try_fill(lane->wire, &b->client->fault);
        if (err != KQ_OK)
            return err == KQ_AGAIN ? KQ_OK : err;
        int64_t now_us = clock_mono_us();
        size_t got = 0;
        const uint8_t *in = wire_in(lane->wire, &got);
        size_t at = 0;
        for (const uint8_t *feed; got > at && (feed = memchr(in + at, '\n', got - at)) != NULL;) {
            err = take_line(b, lane, slice_of(in + at, (size_t)(feed - in) - at), now_us);
            if (err != KQ_OK)
                return err;
            at = (size_t)(feed - in) + 1;
        }
        wire_eat(lane->wire, at);
        if (at == 0 && got >= 65536)
            return fault_set(&b->client->fault, KQ_GARBAGE, "the broker's reply has no end");
    }
}

static enum kq_err run(struct bench *b)
{
    int64_t quiet_since_us = clock_mono_us();
    while (b->answered < b->messages) {
        int64_t now_us = clock_mono_us();
        for (int64_t i = 0; i < b->connections; i++) {
            enum kq_err err = queue_publishes(b, &b->lanes[i], now_us);
            if (err != KQ_OK)
                return err;
            b->waits[i] =
                (struct pollfd){.fd = wire_fd(b->lanes[i].wire),
                                .events = (short)(POLLIN | (wire_unsent(b->lanes[i].wire) > 0 ? POLLOUT : 0))};
        }
        int ready = poll(b->waits, (nfds_t)b->connections, 1000);
        now_us = clock_mono_us();
        if (ready > 0)
            quiet_since_us = now_us;
        else if (now_us - quiet_since_us > b->client->timeout_us)
            return fault_set(&b->client->fault, KQ_TIMEOUT, "the broker does not answer");
        for (int64_t i = 0; i < b->connections; i++) {
            enum kq_err err = (b->waits[i].revents & ~POLLOUT) != 0 ? take_replies(b, &b->lanes[i]) : KQ_OK;
            if (err != KQ_OK)
                return err;
        }
        progress_update(&b->progress, now_us, (uint64_t)b->answered, (uint64_t)(b->answered * b->size_bytes),
                        (uint64_t)(b->messages * b->size_bytes));
    }
    return KQ_OK;
}

/* ---- begin and end ------------------------------------------------------------------------ */

static enum kq_err take_options(struct bench *b, const struct arguments *arguments)
{
    struct fault *fault = &b->client->fault;
    const char *topic = options_get(arguments, "topic");
    b->topic = topic != NULL ? topic : "bench";
    enum kq_err err = options_number(arguments, "messages", 1, INT64_MAX / SIZE_MAX_BYTES, &b->messages, fault);
    if (err == KQ_OK)
        err = options_number(arguments, "size", 0, SIZE_MAX_BYTES, &b->size_bytes, fault);
    if (err == KQ_OK)
        err = options_number(arguments, "window", 1, WINDOW_MAX, &b->window, fault);
    if (err == KQ_OK)
        err = options_number(arguments, "connections", 1, CONNECTIONS_MAX, &b->connections, fault);
    if (err == KQ_OK)
        err = options_number(arguments, "partitions", 1, 100000, &b->partitions, fault);
    return err;
}

static void make_line(struct bench *b)
{
    buf_text(&b->line, "PUBS ");
    (void)client_put_field(&b->line, b->topic);
    buf_text(&b->line, " {\"Body\":\"");
    for (int64_t i = 0; i < b->size_bytes; i++)
        buf_u8(&b->line, (uint8_t)('a' + i % 26));
    buf_text(&b->line, "\"}\n");
}

static enum kq_err prepare(struct bench *b)
{
    uint32_t found = 0;
    char partitions[24];
    struct fault *fault = &b->client->fault;
    enum kq_err err = client_partition_count(b->client, b->topic, &found);
    if (err == KQ_UNKNOWN_TOPIC) {
        (void)snprintf(partitions, sizeof(partitions), "%lld", (long long)b->partitions);
        err = CLIENT_CALL(b->client, "CRTP", b->topic, partitions);
    }
    if (err != KQ_OK)
        return err;
    make_line(b);
    b->lanes = calloc((size_t)b->connections, sizeof(*b->lanes));
    b->waits = calloc((size_t)b->connections, sizeof(*b->waits));
    if (b->lanes == NULL || b->waits == NULL || b->line.bad)
        return fault_set(fault, KQ_NO_MEMORY, "out of memory");
    for (int64_t i = 0; i < b->connections && err == KQ_OK; i++) {
        b->lanes[i].sent_us = calloc((size_t)b->window, sizeof(int64_t));
        err = b->lanes[i].sent_us == NULL ? fault_set(fault, KQ_NO_MEMORY, "out of memory")
                                          : brokers_connect(&b->client->brokers, &b->lanes[i].wire,
                                                            clock_mono_us() + b->client->timeout_us, fault);
    }
    return err;
}

static void report(const struct bench *b, double seconds)
{
    double rate = seconds > 0 ? (double)b->answered / seconds : 0;
    double mb = rate * (double)b->size_bytes / 1e6;
    const struct histogram *h = &b->latencies;
    unsigned long long p50 = histogram_percentile(h, 0.5);
    unsigned long long p99 = histogram_percentile(h, 0.99);
    unsigned long long most = histogram_percentile(h, 1);
    if (b->client->json)
        (void)printf("{\"Messages\":%lld,\"Failed\":%lld,\"Size\":%lld,\"Window\":%lld,\"Connections\":%lld,"
                     "\"Seconds\":%.3f,\"MessagesPerSecond\":%.0f,\"MBPerSecond\":%.2f,\"P50us\":%llu,\"P99us\":%llu,"
                     "\"MaxUs\":%llu}\n",
                     (long long)b->answered, (long long)b->failed, (long long)b->size_bytes, (long long)b->window,
                     (long long)b->connections, seconds, rate, mb, p50, p99, most);
    else
        (void)printf("%lld messages of %lld B, %lld under way on each of %lld connection%s, in %.2f s\n"
                     "%.0f messages/s, %.2f MB/s; latency p50 %llu us, p99 %llu us, most %llu us\n",
                     (long long)b->answered, (long long)b->size_bytes, (long long)b->window, (long long)b->connections,
                     b->connections == 1 ? "" : "s", seconds, rate, mb, p50, p99, most);
}

int command_bench(struct client *client, const struct arguments *arguments)
{
    struct bench b = {
        .client = client, .messages = 100000, .size_bytes = 100, .window = 100, .connections = 1, .partitions = 1};
    if (take_options(&b, arguments) != KQ_OK)
        return client_usage(client, "bench");
    buf_init(&b.line, SIZE_MAX_BYTES + 1024UL);
    enum kq_err err = prepare(&b);
    int64_t begin_us = clock_mono_us();
    progress_init(&b.progress, begin_us);
    if (err == KQ_OK)
        err = run(&b);
    progress_end(&b.progress);
    if (err == KQ_OK)
        report(&b, (double)(clock_mono_us() - begin_us) / 1e6);
    if (err == KQ_OK && b.failed > 0) {
        (void)fprintf(stderr, "kafkaesque: %lld of them were refused; the first with:\n", (long long)b.failed);
        err = client->fault.err;
    }
    for (int64_t i = 0; b.lanes != NULL && i < b.connections; i++) {
        wire_close(&b.lanes[i].wire);
        free(b.lanes[i].sent_us);
    }
    free(b.lanes);
    free(b.waits);
    buf_fini(&b.line);
    return err == KQ_OK ? CLIENT_DONE : client_fail(client, err);
}
