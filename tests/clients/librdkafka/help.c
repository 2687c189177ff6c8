/* What the cases share: failing, the commands of run.sh, clients, and requests of administrators. */
#include "cases.h"

#include <stdarg.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

enum { COMMAND_BYTES = 2048, ANSWER_BYTES = 1 << 20, ERROR_BYTES = 512, NAMES = 8 };

void fail(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    printf("        ");
    (void)vprintf(format, args);
    printf("\n");
    (void)fflush(stdout);
    va_end(args);
    _exit(1);
}

void want_int(int64_t wanted, int64_t got, const char *what)
{
    if (wanted != got)
        fail("%s: wanted %lld, got %lld", what, (long long)wanted, (long long)got);
}

void want_text(const char *wanted, const char *got, const char *what)
{
    if (got == NULL || strcmp(wanted, got) != 0)
        fail("%s: wanted %.200s, got %.200s", what, wanted, got != NULL ? got : "nothing");
}

void want_ok(rd_kafka_resp_err_t err, const char *what)
{
    if (err != RD_KAFKA_RESP_ERR_NO_ERROR)
        fail("%s: %s (%s)", what, rd_kafka_err2name(err), rd_kafka_err2str(err));
}

int64_t now_ms(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* ---- brokers ---------------------------------------------------------------------------- */

static const char *given(const char *variable)
{
    const char *value = getenv(variable);
    if (value == NULL)
        fail("%s is not set; start it by tests/clients/run.sh", variable);
    return value;
}

int brokers(void)
{
    return (int)strtol(given("BROKERS"), NULL, 10);
}

const char *command(const char *variable, const char *format, ...)
{
    static char answer[ANSWER_BYTES];
    char arguments[COMMAND_BYTES], line[2 * COMMAND_BYTES];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(arguments, sizeof(arguments), format, args);
    va_end(args);
    (void)snprintf(line, sizeof(line), "%s %s", given(variable), arguments);
    FILE *f = popen(line, "re");
    if (f == NULL)
        fail("popen: %s", line);
    size_t used = fread(answer, 1, sizeof(answer) - 1, f);
    answer[used] = '\0';
    if (pclose(f) != 0)
        fail("%s: %s", line, answer);
    while (used > 0 && answer[used - 1] == '\n')
        answer[--used] = '\0';
    return answer;
}

const char *topic_new(const char *name, int partitions)
{
    static char names[NAMES][NAME_BYTES];
    static unsigned next;
    char *topic = names[next++ % NAMES];
    (void)snprintf(topic, NAME_BYTES, "rdk-%s", name);
    want_text("Done", command("KQ_TEXT", "'CRTP %s %d'", topic, partitions), topic);
    return topic;
}

/* ---- clients ------------------------------------------------------------------------------ */

rd_kafka_conf_t *conf_of(const char *options)
{
    char error[ERROR_BYTES], words[COMMAND_BYTES];
    char *save = NULL;
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    (void)snprintf(words, sizeof(words),
                   "bootstrap.servers=%s log_level=0 retry.backoff.ms=50 reconnect.backoff.max.ms=500 %s",
                   given("BOOTSTRAP"), options);
    for (char *word = strtok_r(words, " ", &save); word != NULL; word = strtok_r(NULL, " ", &save)) {
        char *value = strchr(word, '=');
        *value++ = '\0';
        if (rd_kafka_conf_set(conf, word, value, error, sizeof(error)) != RD_KAFKA_CONF_OK)
            fail("%s: %s", word, error);
    }
    return conf;
}

rd_kafka_t *client_of(rd_kafka_type_t type, rd_kafka_conf_t *conf)
{
    char error[ERROR_BYTES];
    rd_kafka_t *client = rd_kafka_new(type, conf, error, sizeof(error));
    if (client == NULL)
        fail("rd_kafka_new: %s", error);
    return client;
}

static void acknowledged(rd_kafka_t *producer, const rd_kafka_message_t *m, void *arg)
{
    (void)producer, (void)arg;
    want_ok(m->err, "delivery");
}

rd_kafka_t *producer_of(const char *options)
{
    rd_kafka_conf_t *conf = conf_of(options);
    rd_kafka_conf_set_dr_msg_cb(conf, acknowledged);
    return client_of(RD_KAFKA_PRODUCER, conf);
}

void producer_done(rd_kafka_t *producer)
{
    want_ok(rd_kafka_flush(producer, PATIENCE_MS), "flush");
    rd_kafka_destroy(producer);
}

rd_kafka_topic_partition_list_t *place(const char *topic, int partition, int64_t offset)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, topic, partition)->offset = offset;
    return list;
}

rd_kafka_t *reader_of(const char *topic, int64_t offset, const char *options)
{
    char all[COMMAND_BYTES];
    (void)snprintf(all, sizeof(all),
                   "group.id=rdk-none enable.auto.commit=false enable.partition.eof=true fetch.wait.max.ms=20 %s",
                   options);
    rd_kafka_t *reader = client_of(RD_KAFKA_CONSUMER, conf_of(all));
    (void)rd_kafka_poll_set_consumer(reader);
    rd_kafka_topic_partition_list_t *list = place(topic, 0, offset);
    want_ok(rd_kafka_assign(reader, list), "assign");
    rd_kafka_topic_partition_list_destroy(list);
    return reader;
}

/* ---- numbers ---------------------------------------------------------------------------------- */

void send_number(rd_kafka_t *producer, const char *topic, int number)
{
    send_number_to(producer, topic, 0, number);
}

void send_number_to(rd_kafka_t *producer, const char *topic, int partition, int number)
{
    char text[NUMBER_BYTES + 1];
    int len = snprintf(text, sizeof(text), "%0*d", NUMBER_BYTES, number);
    want_ok(rd_kafka_producev(producer, RD_KAFKA_V_TOPIC(topic), RD_KAFKA_V_PARTITION(partition),
                              RD_KAFKA_V_VALUE(text, (size_t)len), RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
                              RD_KAFKA_V_END),
            "produce");
}

void send_numbers(const char *topic, int from, int to, const char *options)
{
    rd_kafka_t *producer = producer_of(options);
    for (int i = from; i <= to; i++)
        send_number(producer, topic, i);
    producer_done(producer);
}

rd_kafka_message_t *next_message(rd_kafka_t *consumer)
{
    int64_t until = now_ms() + PATIENCE_MS;
    while (now_ms() < until) {
        rd_kafka_message_t *m = rd_kafka_consumer_poll(consumer, 100);
        if (m == NULL)
            continue;
        if (m->err == RD_KAFKA_RESP_ERR_NO_ERROR)
            return m;
        rd_kafka_resp_err_t err = m->err;
        rd_kafka_message_destroy(m);
        if (err == RD_KAFKA_RESP_ERR__PARTITION_EOF)
            return NULL;
        want_ok(err, "a message");
    }
    fail("no message within %d s", PATIENCE_MS / 1000);
}

int number_in(const rd_kafka_message_t *m)
{
    char text[NUMBER_BYTES + 1] = "";
    if (m->len < sizeof(text))
        memcpy(text, m->payload, m->len);
    return (int)strtol(text, NULL, 10);
}

void want_numbers(const char *topic, int from, int to)
{
    rd_kafka_t *reader = reader_of(topic, RD_KAFKA_OFFSET_BEGINNING, "");
    for (int i = from; i <= to; i++) {
        rd_kafka_message_t *m = next_message(reader);
        if (m == NULL)
            fail("%s ends before %d", topic, i);
        want_int(i, number_in(m), topic);
        want_int(i - from, m->offset, "offset");
        rd_kafka_message_destroy(m);
    }
    WANT(next_message(reader) == NULL);
    rd_kafka_destroy(reader);
}

/* ---- administration ---------------------------------------------------------------------------- */

struct asked ask_begin(void)
{
    struct asked a = {.client = client_of(RD_KAFKA_PRODUCER, conf_of(""))};
    a.queue = rd_kafka_queue_new(a.client);
    a.options = rd_kafka_AdminOptions_new(a.client, RD_KAFKA_ADMIN_OP_ANY);
    return a;
}

rd_kafka_event_t *ask_end(const struct asked *a, rd_kafka_resp_err_t wanted)
{
    rd_kafka_event_t *answer = rd_kafka_queue_poll(a->queue, PATIENCE_MS);
    if (answer == NULL)
        fail("no answer within %d s", PATIENCE_MS / 1000);
    if (rd_kafka_event_error(answer) != wanted)
        fail("the answer: wanted %s, got %s (%s)", rd_kafka_err2name(wanted),
             rd_kafka_err2name(rd_kafka_event_error(answer)), rd_kafka_event_error_string(answer));
    return answer;
}
