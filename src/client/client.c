/* The client's plain calls: a command out, a reply in. */
#include "client/client.h"

#include "base/clock.h"
#include "client/show.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

enum { DEFAULT_TIMEOUT_US = 30 * 1000 * 1000, AGAIN_MS = 100 };

void client_init(struct client *client)
{
    *client = (struct client){.timeout_us = DEFAULT_TIMEOUT_US};
    brokers_init(&client->brokers);
    buf_init(&client->line, WIRE_LINE_MAX_BYTES + 1);
}

void client_fini(struct client *client)
{
    wire_close(&client->wire);
    buf_fini(&client->line);
}

enum kq_err client_connect(struct client *client)
{
    if (client->wire != NULL)
        return KQ_OK;
    return brokers_connect(&client->brokers, &client->wire, clock_mono_us() + client->timeout_us, &client->fault);
}

/* ---- replies -------------------------------------------------------------------------- */

static bool begins(struct slice line, const char *text)
{
    size_t len = strlen(text);
    return line.len >= len && memcmp(line.data, text, len) == 0;
}

static struct slice without_cr(struct slice line)
{
    return line.len > 0 && line.data[line.len - 1] == '\r' ? slice_of(line.data, line.len - 1) : line;
}

enum answer_kind answer_kind(struct slice line)
{
    if (slice_equal_text(without_cr(line), "Done"))
        return ANSWER_DONE;
    if (begins(line, "{\"Event\":"))
        return ANSWER_EVENT;
    if (begins(line, "{"))
        return ANSWER_DATA;
    return begins(line, "Error, ") ? ANSWER_ERROR : ANSWER_GARBAGE;
}

enum kq_err answer_fault(struct slice line, struct fault *fault)
{
    static const char prefix[] = "Error, ";
    line = without_cr(line);
    if (answer_kind(line) != ANSWER_ERROR)
        return fault_set(fault, KQ_GARBAGE, "the reply is none of Kafkaesque's; is this another server's port?");
    size_t skip = sizeof(prefix) - 1;
    (void)fault_set(fault, KQ_INVALID, "%.*s", (int)(line.len - skip), (const char *)line.data + skip);
    if (fault->text[0] == 0)
        return fault_set(fault, KQ_INVALID, "the broker refused and gave no reason");
    /* The longest sentence wins: some are part of others. */
    size_t longest = 0;
    for (int code = KQ_OK + 1; code < KQ_ERR_COUNT; code++) {
        const char *sentence = err_text((enum kq_err)code);
        if (strlen(sentence) > longest && strstr(fault->text, sentence) != NULL) {
            longest = strlen(sentence);
            fault->err = (enum kq_err)code;
        }
    }
    if (begins(line, "Error, outcome unknown"))
        fault->err = KQ_OUTCOME_UNKNOWN;
    return fault->err;
}

/* ---- calls ------------------------------------------------------------------------------ */

bool client_put_field(struct buf *out, const char *field)
{
    if (strpbrk(field, "\n\r") != NULL)
        return false;
    bool plain = field[0] != 0 && field[0] != '{' && strpbrk(field, " \"") == NULL;
    if (!plain)
        buf_u8(out, '"');
    for (const char *at = field; *at != 0; at++) {
        if (*at == '"')
            buf_u8(out, '"');
        buf_u8(out, (uint8_t)*at);
    }
    if (!plain)
        buf_u8(out, '"');
    return true;
}

/* The command goes out over the connection that there is, and its reply is waited for. */
static enum kq_err exchange(struct client *client, const char *const *fields, int64_t deadline_us)
{
    struct buf *out = wire_out(client->wire);
    size_t before = out->len;
    for (size_t i = 0; fields[i] != NULL; i++) {
        if (i > 0)
            buf_u8(out, ' ');
        if (!client_put_field(out, fields[i])) {
            out->len = before;
            return fault_set(&client->fault, KQ_INVALID, "an argument holds a line feed, which no command can carry");
        }
    }
    buf_u8(out, '\n');
    for (;;) {
        enum kq_err err = wire_line(client->wire, &client->line, deadline_us, &client->fault);
        if (err != KQ_OK)
            return err;
        struct slice line = slice_of(client->line.data, client->line.len);
        enum answer_kind kind = answer_kind(line);
        if (kind == ANSWER_DONE || kind == ANSWER_DATA)
            return KQ_OK;
        if (kind != ANSWER_EVENT)
            return answer_fault(line, &client->fault);
        client_event(client);
    }
}

enum kq_err client_call(struct client *client, const char *const *fields)
{
    enum kq_err err = client_connect(client);
    return err != KQ_OK ? err : exchange(client, fields, clock_mono_us() + client->timeout_us);
}

bool client_may_pass(enum kq_err err)
{
    switch (err) {
    case KQ_AGAIN:
    case KQ_FULL:
    case KQ_NOT_LEADER:
    case KQ_NO_LEADER:
    case KQ_NOT_ENOUGH_REPLICAS:
    case KQ_STOPPING:
    case KQ_COORDINATOR_LOADING:
        return true;
    default:
        return false;
    }
}

enum kq_err client_insist(struct client *client, const char *const *fields)
{
    int64_t deadline_us = clock_mono_us() + client->timeout_us;
    for (;;) {
        enum kq_err err = client_connect(client);
        bool reached = err == KQ_OK;
        if (reached)
            err = exchange(client, fields, brokers_patience(&client->brokers, clock_mono_us(), deadline_us));
        if (err != KQ_EOF && err != KQ_TIMEOUT && !client_may_pass(err))
            return err;
        /* A single broker that cannot be reached is said at once; several may be on their way up. */
        if ((!reached && client->brokers.count == 1) || clock_mono_us() >= deadline_us)
            return err;
        if (err == KQ_EOF || err == KQ_TIMEOUT || err == KQ_STOPPING) {
            wire_close(&client->wire);
            brokers_move_on(&client->brokers);
        }
        (void)poll(NULL, 0, AGAIN_MS);
    }
}

void client_event(struct client *client)
{
    yajl_val data = NULL;
    struct fault ignored;
    yajl_val root = client->on_event == NULL ? NULL : show_parse(&client->line, &data, &ignored);
    if (root == NULL)
        return;
    client->on_event(client->event_context, root);
    yajl_tree_free(root);
}

int client_exit_code(enum kq_err err)
{
    switch (err) {
    case KQ_OK:
        return CLIENT_DONE;
    case KQ_EOF:
    case KQ_TIMEOUT:
    case KQ_GARBAGE:
        return CLIENT_UNREACHABLE;
    case KQ_OUTCOME_UNKNOWN:
        return CLIENT_UNKNOWN;
    case KQ_NO_MEMORY:
    case KQ_IO:
        return CLIENT_LOCAL;
    default:
        return CLIENT_REFUSED;
    }
}

/* A broker's text may hold anything: it is shown with its controls escaped. */
static void print_fault(const struct fault *fault)
{
    struct buf text;
    buf_init(&text, 16 * FAULT_TEXT_BYTES);
    const char *sentence = fault_text(fault);
    json_plain_line(&text, sentence, strlen(sentence));
    (void)fprintf(stderr, "kafkaesque: %.*s\n", (int)text.len, (const char *)text.data);
    buf_fini(&text);
}

int client_fail(const struct client *client, enum kq_err err)
{
    print_fault(&client->fault);
    return client_exit_code(err);
}

int client_usage(const struct client *client, const char *command)
{
    print_fault(&client->fault);
    (void)fprintf(stderr, "`kafkaesque %s --help` says how it is used\n", command);
    return CLIENT_USAGE;
}

enum kq_err client_partition_count(struct client *client, const char *topic, uint32_t *count)
{
    enum kq_err err = CLIENT_INSIST(client, "LIST");
    if (err != KQ_OK)
        return err;
    yajl_val data = NULL;
    yajl_val root = show_parse(&client->line, &data, &client->fault);
    if (root == NULL)
        return client->fault.err;
    *count = 0;
    for (size_t i = 0; YAJL_IS_ARRAY(data) && i < data->u.array.len; i++) {
        const char *name_path[] = {"Topic", NULL};
        const char *count_path[] = {"Partitions", NULL};
        const char *name = YAJL_GET_STRING(yajl_tree_get(data->u.array.values[i], name_path, yajl_t_string));
        yajl_val number = yajl_tree_get(data->u.array.values[i], count_path, yajl_t_number);
        if (name != NULL && strcmp(name, topic) == 0 && YAJL_IS_INTEGER(number) &&
            YAJL_GET_INTEGER(number) <= INT32_MAX && YAJL_GET_INTEGER(number) > 0)
            *count = (uint32_t)YAJL_GET_INTEGER(number);
    }
    yajl_tree_free(root);
    if (*count == 0)
        return fault_set(&client->fault, KQ_UNKNOWN_TOPIC,
                         "topic does not exist: %s; `kafkaesque topic create %s` makes it", topic, topic);
    return KQ_OK;
}

static int64_t integer_of(yajl_val object, const char *name, const char *other)
{
    const char *path[] = {name, NULL};
    yajl_val value = yajl_tree_get(object, path, yajl_t_number);
    if (value == NULL && other != NULL)
        return integer_of(object, other, NULL);
    return YAJL_IS_INTEGER(value) ? YAJL_GET_INTEGER(value) : -1;
}

int64_t client_partition_bound(yajl_val data, int64_t partition, bool start)
{
    const char *list_path[] = {"Partitions", NULL};
    yajl_val list = YAJL_IS_ARRAY(data) ? data : yajl_tree_get(data, list_path, yajl_t_array);
    for (size_t i = 0; list != NULL && i < list->u.array.len; i++) {
        yajl_val row = list->u.array.values[i];
        if (integer_of(row, "Partition", "Id") == partition)
            return start ? integer_of(row, "Start", "LogStart") : integer_of(row, "End", "LogEnd");
    }
    return -1;
}
