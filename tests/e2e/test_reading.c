/*
 * CONS and TAIL: a long reply in bounded memory whose end is fixed when it is
 * asked for, many readers at once, and following what arrives.
 */
#include "e2e/e2e.h"
#include "e2e/scenario.h"

#include <errno.h>
#include <poll.h>

enum { BIG_BODY = 512 << 10, BIG_COUNT = 136 }; /* 68 MiB */

static struct daemon *shared;

static struct client *session(void)
{
    if (shared == NULL)
        shared = daemon_fresh("reading");
    return client_open(daemon_port(shared));
}

static void make_big_topic(void)
{
    static bool made;
    if (made)
        return;
    struct client *c = session();
    topic_make(c, "big", 1, "");
    publish_range(c, "big", "b", 0, BIG_COUNT, BIG_BODY);
    client_close(&c);
    made = true;
}

/* Reads raw bytes up to a line end; their number, and how often text occurs. */
static int64_t drain_line(struct client *c, const char *text, int64_t *found)
{
    enum { CHUNK = 1 << 20, KEEP = 64 };
    static char chunk[KEEP + CHUNK + 1];
    size_t kept = 0, length = strlen(text);
    int64_t bytes = 0;
    for (*found = 0;;) {
        struct pollfd ready = {.fd = client_fd(c), .events = POLLIN};
        ssize_t n = poll(&ready, 1, REPLY_MS) == 1 ? recv(client_fd(c), chunk + kept, CHUNK, 0) : -1;
        if (n <= 0)
            return -1;
        bytes += n;
        size_t used = kept + (size_t)n;
        for (char *at = chunk; (at = memmem(at, used - (size_t)(at - chunk), text, length)) != NULL; at += length)
            (*found)++;
        if (chunk[used - 1] == '\n')
            return bytes;
        kept = used < length - 1 ? used : length - 1; /* an occurrence across the border */
        memmove(chunk, chunk + used - kept, kept);
    }
}

static void more_than_64_mib_stream_in_bounded_memory(void)
{
    char id[ID_BYTES], line[256];
    int64_t found, before, most = 0;
    make_big_topic();
    struct client *c = session();
    subscribe(c, "big", "stream", id);
    before = proc_anonymous_kib(daemon_pid(shared));
    (void)snprintf(line, sizeof(line), "CONS big %s 0\n", id);
    CU_ASSERT(client_send_text(c, line));
    struct pollfd ready = {.fd = client_fd(c), .events = POLLIN};
    CU_ASSERT_EQUAL(poll(&ready, 1, REPLY_MS), 1);
    (void)client_quiet(c, 300); /* it fills what buffers there are */
    most = proc_anonymous_kib(daemon_pid(shared));
    int64_t bytes = drain_line(c, "\"Offset\":", &found);
    CU_ASSERT_EQUAL(found, BIG_COUNT);
    CU_ASSERT(bytes > (int64_t)BIG_COUNT * BIG_BODY);
    if (most - before > 16 << 10)
        fprintf(stderr, "\n  anonymous memory grew by %lld KiB\n", (long long)(most - before));
    CU_ASSERT(SANITIZED || most - before <= 16 << 10);
    REPLY_IS(client_ask(c, "PING"), "Done");
    client_close(&c);
}

static void the_end_is_fixed_when_the_command_is_taken(void)
{
    char id[ID_BYTES], line[256];
    int64_t found;
    make_big_topic();
    struct client *reader = session(), *writer = session();
    subscribe(reader, "big", "fixed", id);
    int64_t end = partition_end(writer, "big", 0);
    (void)snprintf(line, sizeof(line), "CONS big %s 0\n", id);
    CU_ASSERT(client_send_text(reader, line));
    struct pollfd ready = {.fd = client_fd(reader), .events = POLLIN};
    CU_ASSERT_EQUAL(poll(&ready, 1, REPLY_MS), 1); /* it has begun */
    for (int i = 0; i < 20; i++)
        REPLY_IS(client_ask(writer, "PUBS big {\"Body\":\"too late\"}"), "Done");
    CU_ASSERT(drain_line(reader, "\"Offset\":", &found) > 0);
    CU_ASSERT_EQUAL(found, end);
    (void)snprintf(line, sizeof(line), "CONS big %s %lld", id, (long long)end);
    struct json j = json_open(client_ask(reader, "%s", line));
    CU_ASSERT_EQUAL(json_count(&j, "Data"), 20);
    json_close(&j);
    client_close(&reader);
    client_close(&writer);
}

static void a_reader_that_leaves_half_way_hurts_nobody(void)
{
    char id[ID_BYTES], line[256];
    make_big_topic();
    struct client *other = session();
    for (int i = 0; i < 20; i++) {
        struct client *c = session();
        (void)snprintf(line, sizeof(line), "leaver-%d", i);
        subscribe(c, "big", line, id);
        (void)snprintf(line, sizeof(line), "CONS big %s 0\n", id);
        CU_ASSERT(client_send_text(c, line));
        struct pollfd ready = {.fd = client_fd(c), .events = POLLIN};
        CU_ASSERT_EQUAL(poll(&ready, 1, REPLY_MS), 1);
        client_close(&c);
        REPLY_IS(client_ask(other, "PING"), "Done");
    }
    client_close(&other);
}

static void every_offset_can_be_read_from(void)
{
    char id[ID_BYTES];
    struct client *c = session();
    topic_make(c, "every", 1, "");
    publish_range(c, "every", "m", 0, 300, 0);
    subscribe(c, "every", "g", id);
    for (int off = 0; off <= 300; off += 7)
        expect_range(c, "every", id, off, "m", off, 300);
    expect_range(c, "every", id, 300, "m", 300, 300);
    client_close(&c);
}

static void cons_without_an_offset_does_not_move_the_group(void)
{
    char id[ID_BYTES];
    struct client *c = session();
    topic_make(c, "still", 1, "");
    publish_range(c, "still", "m", 0, 10, 0);
    subscribe(c, "still", "g", id);
    expect_range(c, "still", id, -1, "m", 0, 10);
    expect_range(c, "still", id, -1, "m", 0, 10);
    REPLY_IS(client_ask(c, "CMIT still %s 10", id), "Done");
    expect_range(c, "still", id, -1, "m", 10, 10);
    REPLY_IS(client_ask(c, "CMIT still %s 2", id), "Done"); /* backwards is the reader's right */
    expect_range(c, "still", id, -1, "m", 2, 10);
    REPLY_REFUSES(client_ask(c, "CMIT still %s 11", id), "");
    client_close(&c);
}

static void what_is_acknowledged_can_be_read_at_once(void)
{
    char id[ID_BYTES];
    struct client *writer = session(), *reader = session();
    topic_make(writer, "fresh", 1, "");
    subscribe(reader, "fresh", "g", id);
    for (int i = 0; i < 200; i++) {
        REPLY_IS(client_ask(writer, "PUBS fresh {\"Body\":\"m-%d\"}", i), "Done");
        expect_range(reader, "fresh", id, i, "m", i, i + 1);
    }
    client_close(&writer);
    client_close(&reader);
}

/* ---- TAIL ------------------------------------------------------------------------- */

static void expect_tailed(struct client *c, const char *prefix, int from, int to)
{
    char expected[64];
    for (int i = from; i < to; i++) {
        const char *line = client_line(c, REPLY_MS);
        CU_ASSERT_PTR_NOT_NULL_FATAL(line);
        (void)snprintf(expected, sizeof(expected), "\"Body\":\"%s-%d\"", prefix, i);
        REPLY_HOLDS(line, expected);
    }
}

static void tail_follows_and_ends_on_a_line(void)
{
    char id[ID_BYTES], line[256];
    struct client *writer = session(), *reader = session();
    topic_make(writer, "tail", 1, "");
    publish_range(writer, "tail", "m", 0, 5, 0);
    subscribe(reader, "tail", "g", id);
    (void)snprintf(line, sizeof(line), "TAIL tail %s 2\n", id);
    CU_ASSERT(client_send_text(reader, line));
    expect_tailed(reader, "m", 2, 5);
    CU_ASSERT(client_quiet(reader, 100));
    for (int i = 5; i < 30; i++) {
        publish_range(writer, "tail", "m", i, i + 1, 0);
        expect_tailed(reader, "m", i, i + 1);
    }
    publish_range(writer, "tail", "m", 30, 2000, 0);
    expect_tailed(reader, "m", 30, 2000);
    CU_ASSERT(client_send_text(reader, "PING\n"));
    REPLY_IS(client_reply(reader), "Done");
    publish_range(writer, "tail", "m", 2000, 2010, 0);
    CU_ASSERT(client_quiet(reader, 100));
    expect_range(reader, "tail", id, 1999, "m", 1999, 2010);
    client_close(&writer);
    client_close(&reader);
}

static void many_tails_wait_without_holding_a_thread(void)
{
    enum { TAILS = 200 };
    static struct client *tails[TAILS];
    char id[ID_BYTES], line[256];
    struct client *writer = session();
    topic_make(writer, "wait", 1, "");
    int64_t threads = proc_threads(daemon_pid(shared));
    for (int i = 0; i < TAILS; i++) {
        tails[i] = session();
        (void)snprintf(line, sizeof(line), "g-%d", i);
        subscribe(tails[i], "wait", line, id);
        (void)snprintf(line, sizeof(line), "TAIL wait %s\n", id);
        CU_ASSERT(client_send_text(tails[i], line));
    }
    publish_range(writer, "wait", "m", 0, 3, 0);
    for (int i = 0; i < TAILS; i++)
        expect_tailed(tails[i], "m", 0, 3);
    CU_ASSERT(proc_threads(daemon_pid(shared)) < threads + 32);
    for (int i = 0; i < TAILS; i++)
        client_close(&tails[i]);
    REPLY_IS(client_ask(writer, "PING"), "Done");
    client_close(&writer);
}

static void a_tail_ends_when_its_subscription_does(void)
{
    char id[ID_BYTES], line[256];
    struct client *c = session(), *other = session();
    topic_make(c, "ended", 1, "");
    subscribe(c, "ended", "g", id);
    (void)snprintf(line, sizeof(line), "TAIL ended %s\n", id);
    CU_ASSERT(client_send_text(c, line));
    publish_range(other, "ended", "m", 0, 1, 0);
    expect_tailed(c, "m", 0, 1);
    REPLY_IS(client_ask(other, "DELE ended"), "Done");
    REPLY_REFUSES(client_reply(c), ""); /* after the event that says so, or without it */
    client_close(&c);
    client_close(&other);
}

static void it_stops_cleanly(void)
{
    if (shared != NULL)
        daemon_end(&shared);
}

static const struct unit_case cases[] = {
    {"more than 64 MiB stream in bounded memory", more_than_64_mib_stream_in_bounded_memory},
    {"the end is fixed when the command is taken", the_end_is_fixed_when_the_command_is_taken},
    {"a reader that leaves half way hurts nobody", a_reader_that_leaves_half_way_hurts_nobody},
    {"every offset can be read from", every_offset_can_be_read_from},
    {"CONS without an offset does not move the group", cons_without_an_offset_does_not_move_the_group},
    {"what is acknowledged can be read at once", what_is_acknowledged_can_be_read_at_once},
    {"TAIL follows and ends on a line", tail_follows_and_ends_on_a_line},
    {"many TAILs wait without holding a thread", many_tails_wait_without_holding_a_thread},
    {"a TAIL ends when its subscription does", a_tail_ends_when_its_subscription_does},
    {"it stops cleanly", it_stops_cleanly},
};

E2E_MAIN("reading", cases)
