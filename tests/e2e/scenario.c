/* Steps that many scenarios share. */
#include "e2e/scenario.h"

#include "e2e/e2e.h"

enum { IN_FLIGHT = 500, LINE_BYTES = 256 };

struct daemon *daemon_fresh(const char *name)
{
    struct daemon_spec spec = {.dir = temp_folder(name)};
    return daemon_start(&spec);
}

void daemon_end(struct daemon **d)
{
    int code = daemon_stop(d);
    CU_ASSERT_EQUAL(code, 0);
}

void topic_make(struct client *c, const char *topic, int partitions, const char *settings)
{
    const char *reply = client_ask(c, "CRTP %s %d%s", topic, partitions, settings);
    if (strcmp(reply, "Done") != 0) {
        fprintf(stderr, "\n  CRTP %s: %s\n", topic, reply);
        CU_FAIL_FATAL("a topic could not be made");
    }
}

int subscribe_many(struct client *c, const char *topic, const char *group, int want, char ids[][ID_BYTES])
{
    struct json j = json_open(client_ask(c, "SUBS %s %s %d", topic, group, want));
    int64_t count = json_count(&j, "Data");
    for (int i = 0; i < count && i < want; i++) {
        char path[32];
        (void)snprintf(path, sizeof(path), "Data.%d", i);
        (void)snprintf(ids[i], ID_BYTES, "%s", json_text(&j, path));
    }
    json_close(&j);
    return count > 0 ? (int)count : 0;
}

void subscribe(struct client *c, const char *topic, const char *group, char id[ID_BYTES])
{
    const char *reply = client_ask(c, "SUBS %s %s", topic, group);
    struct json j = json_open(reply);
    bool given = json_count(&j, "Data") == 1;
    (void)snprintf(id, ID_BYTES, "%s", json_text(&j, "Data.0"));
    json_close(&j);
    if (!given) {
        fprintf(stderr, "\n  SUBS %s %s: %s\n", topic, group, reply);
        CU_FAIL_FATAL("no subscription");
    }
}

static void expect_done(struct client *c, const char *topic)
{
    const char *reply = client_reply(c);
    if (strcmp(reply, "Done") != 0) {
        fprintf(stderr, "\n  PUBS %s: %s\n", topic, reply);
        CU_FAIL_FATAL("a publish was not acknowledged");
    }
}

void publish_range(struct client *c, const char *topic, const char *prefix, int from, int to, size_t pad)
{
    int owed = 0;
    char *line = malloc(LINE_BYTES + pad);
    CU_ASSERT_PTR_NOT_NULL_FATAL(line);
    for (int i = from; i < to; i++) {
        int n = snprintf(line, LINE_BYTES, "PUBS %s {\"Body\":\"%s-%d", topic, prefix, i);
        memset(line + n, '.', pad);
        memcpy(line + n + pad, "\"}\n", 4);
        if (!client_send(c, line, (size_t)n + pad + 3))
            CU_FAIL_FATAL("a publish could not be sent");
        if (++owed == IN_FLIGHT)
            for (; owed > IN_FLIGHT / 2; owed--)
                expect_done(c, topic);
    }
    for (; owed > 0; owed--)
        expect_done(c, topic);
    free(line);
}

/* Behind the next occurrence of a text that begins with a quote; NULL: none. Not
 * strstr: a sanitizer's measures all that follows, for every message anew. */
static const char *behind(const char *at, const char *text)
{
    size_t n = strlen(text);
    for (at = strchr(at, '"'); at != NULL; at = strchr(at + 1, '"'))
        if (strncmp(at, text, n) == 0)
            return at + n;
    return NULL;
}

bool next_message(const char **at, char *body, size_t size, int64_t *offset)
{
    const char *found = behind(*at, "\"Body\":\"");
    const char *end = found != NULL ? strchr(found, '"') : NULL;
    const char *number = end != NULL ? behind(end, "\"Offset\":") : NULL;
    if (number == NULL)
        return false;
    size_t n = (size_t)(end - found) < size - 1 ? (size_t)(end - found) : size - 1;
    memcpy(body, found, n);
    body[n] = '\0';
    *offset = strtoll(number, NULL, 10);
    *at = number;
    return true;
}

void expect_range(struct client *c, const char *topic, const char *id, int64_t offset, const char *prefix, int from,
                  int to)
{
    char body[128], expected[128];
    int64_t off = 0, last = -1;
    int i = from;
    const char *reply = offset < 0 ? client_ask(c, "CONS %s %s", topic, id)
                                   : client_ask(c, "CONS %s %s %lld", topic, id, (long long)offset);
    if (strncmp(reply, "{\"Ok\":true,\"Data\":[", 19) != 0) {
        fprintf(stderr, "\n  CONS %s: %.300s\n", topic, reply);
        CU_FAIL_FATAL("CONS was refused");
    }
    for (const char *at = reply; next_message(&at, body, sizeof(body), &off); i++) {
        (void)snprintf(expected, sizeof(expected), "%s-%d", prefix, i);
        size_t n = strlen(expected);
        if (strncmp(body, expected, n) != 0 || (body[n] != '\0' && body[n] != '.')) {
            fprintf(stderr, "\n  at offset %lld: got %s, expected %s\n", (long long)off, body, expected);
            CU_FAIL_FATAL("another message than expected");
        }
        CU_ASSERT(last < 0 || off == last + 1);
        last = off;
    }
    if (i != to)
        fprintf(stderr, "\n  CONS %s: ends before %s-%d, expected %d; ... %s\n", topic, prefix, i, to,
                strlen(reply) > 120 ? reply + strlen(reply) - 120 : reply);
    CU_ASSERT_EQUAL(i, to);
}

static int64_t partition_number(struct client *c, const char *topic, int partition, const char *name)
{
    char path[64];
    struct json j = json_open(client_ask(c, "DESC %s", topic));
    (void)snprintf(path, sizeof(path), "Data.Partitions.%d.%s", partition, name);
    int64_t number = json_number(&j, path);
    json_close(&j);
    return number;
}

int64_t partition_start(struct client *c, const char *topic, int partition)
{
    return partition_number(c, topic, partition, "Start");
}

int64_t partition_end(struct client *c, const char *topic, int partition)
{
    return partition_number(c, topic, partition, "End");
}

int64_t partition_bytes(struct client *c, const char *topic, int partition)
{
    return partition_number(c, topic, partition, "Bytes");
}

int64_t info_number(struct client *c, const char *name)
{
    char quoted[64];
    (void)snprintf(quoted, sizeof(quoted), "\"%s\":", name);
    const char *at = strcasestr(client_ask(c, "INFO"), quoted);
    return at != NULL ? strtoll(at + strlen(quoted), NULL, 10) : -1;
}
