/*
 * Clients that behave badly: endless and dripping lines, no reading, garbage,
 * other protocols, too many connections. Each gets a clear answer or is let go;
 * memory stays bounded; the others go on.
 */
#include "e2e/e2e.h"
#include "e2e/scenario.h"

#include <errno.h>
#include <poll.h>

enum { BODY = 100000, BODIES = 300 };

static struct daemon *shared;

static struct client *session(void)
{
    if (shared == NULL) {
        struct daemon_spec spec = {.dir = temp_folder("rude"), .nofile = raise_nofile()};
        shared = daemon_start(&spec);
    }
    return client_open(daemon_port(shared));
}

/* Closes without TIME_WAIT, so that thousands of ports are free again at once. */
static void client_abort(struct client **c)
{
    struct linger now = {1, 0};
    if (*c != NULL)
        (void)setsockopt(client_fd(*c), SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    client_close(c);
}

static int64_t memory_kib(void)
{
    return proc_anonymous_kib(daemon_pid(shared));
}

static void make_long_topic(void)
{
    static bool made;
    struct client *c = session();
    if (!made) {
        topic_make(c, "long", 1, "");
        publish_range(c, "long", "m", 0, BODIES, BODY); /* 30 MB: more than socket buffers */
    }
    made = true;
    client_close(&c);
}

/* ---- lines -------------------------------------------------------------------------- */

static void a_line_of_100_mib_gets_one_error_and_the_session_goes_on(void)
{
    enum { CHUNK = 1 << 20 };
    static char chunk[CHUNK];
    struct client *c = session();
    int64_t before = memory_kib();
    memset(chunk, 'x', sizeof(chunk));
    CU_ASSERT(client_send_text(c, "PUBS t {\"Body\":\""));
    for (int i = 0; i < 100; i++)
        CU_ASSERT(client_send(c, chunk, sizeof(chunk)));
    expect_memory_near(daemon_pid(shared), before);
    CU_ASSERT(client_send_text(c, "\"}\nPING\n"));
    REPLY_REFUSES(client_reply(c), "line");
    REPLY_IS(client_reply(c), "Done");
    client_close(&c);
}

static void a_dripping_line_ends_the_session_and_an_idle_one_stays(void)
{
    struct daemon_spec spec = {.dir = temp_folder("drip"), .settings = {"line.timeout=500ms"}};
    struct daemon *d = daemon_start(&spec);
    struct client *idle = client_open(daemon_port(d)), *drip = client_open(daemon_port(d));
    struct client *half = client_open(daemon_port(d));
    CU_ASSERT(client_send_text(half, "PING\nPIN"));
    REPLY_IS(client_reply(half), "Done");
    const char *reply = NULL;
    for (int i = 0; i < 100 && reply == NULL && client_send(drip, "x", 1); i++)
        reply = client_line(drip, 100);
    CU_ASSERT_PTR_NOT_NULL_FATAL(reply);
    REPLY_REFUSES(reply, "line");
    CU_ASSERT(client_ends(drip, REPLY_MS));
    REPLY_REFUSES(client_reply(half), "line");
    CU_ASSERT(client_ends(half, REPLY_MS));
    REPLY_IS(client_ask(idle, "PING"), "Done");
    client_close(&idle);
    client_close(&drip);
    client_close(&half);
    daemon_end(&d);
}

/* ---- not reading ---------------------------------------------------------------------- */

static void a_flood_without_reading_is_held_back_and_then_answered(void)
{
    static char pings[5 * 10000];
    size_t sent = 0;
    struct client *c = session();
    int64_t before = memory_kib(), replies = 0;
    for (size_t i = 0; i < sizeof(pings); i += 5)
        memcpy(pings + i, "PING\n", 5);
    for (struct pollfd ready = {.fd = client_fd(c), .events = POLLOUT}; sent < 60u << 20;) {
        size_t at = sent % sizeof(pings);
        ssize_t n = send(client_fd(c), pings + at, sizeof(pings) - at, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN && poll(&ready, 1, 300) == 0)
            break; /* held back */
        CU_ASSERT_FATAL(n >= 0 || errno == EAGAIN);
        sent += n > 0 ? (size_t)n : 0;
    }
    CU_ASSERT(sent < 60u << 20);
    expect_memory_near(daemon_pid(shared), before);
    while (replies < (int64_t)(sent / 5) && strcmp(client_reply(c), "Done") == 0)
        replies++;
    CU_ASSERT_EQUAL(replies, (int64_t)(sent / 5));
    client_close(&c);
}

struct socket_wait {
    pid_t pid;
    int64_t at_most;
};

static bool sockets_are_back(void *arg)
{
    struct socket_wait *w = arg;
    return proc_sockets(w->pid) <= w->at_most;
}

static void who_never_reads_is_let_go(void)
{
    char id[ID_BYTES], line[256];
    struct daemon_spec spec = {.dir = temp_folder("never"), .settings = {"reply.timeout=1s"}};
    struct daemon *d = daemon_start(&spec);
    struct client *c = client_open(daemon_port(d)), *never = client_try_open(daemon_port(d), 4096);
    CU_ASSERT_PTR_NOT_NULL_FATAL(never);
    topic_make(c, "long", 1, "");
    publish_range(c, "long", "m", 0, BODIES, BODY);
    subscribe(c, "long", "g", id);
    REPLY_IS(client_ask(never, "PING"), "Done");
    struct socket_wait w = {daemon_pid(d), proc_sockets(daemon_pid(d)) - 1};
    (void)snprintf(line, sizeof(line), "CONS long %s 0\n", id);
    CU_ASSERT(client_send_text(never, line));
    CU_ASSERT(wait_until(sockets_are_back, &w, REPLY_MS));
    publish_range(c, "long", "m", BODIES, BODIES + 10, 0);
    client_close(&c);
    client_abort(&never);
    daemon_end(&d);
}

static void a_hundred_slow_readers_slow_no_publisher(void)
{
    enum { READERS = 100, PUBLISHES = 300 };
    static struct client *slow[READERS];
    char id[ID_BYTES], line[256], byte;
    int64_t worst = 0;
    make_long_topic();
    struct client *c = session();
    topic_make(c, "beside", 1, "");
    int64_t before = memory_kib();
    for (int i = 0; i < READERS; i++) {
        slow[i] = client_try_open(daemon_port(shared), 4096);
        CU_ASSERT_PTR_NOT_NULL_FATAL(slow[i]);
        (void)snprintf(line, sizeof(line), "slow-%d", i);
        subscribe(slow[i], "long", line, id);
        (void)snprintf(line, sizeof(line), "CONS long %s 0\n", id);
        CU_ASSERT(client_send_text(slow[i], line));
    }
    for (int i = 0; i < PUBLISHES; i++) {
        int64_t begin = now_us();
        REPLY_IS(client_ask(c, "PUBS beside {\"Body\":\"m-%d\"}", i), "Done");
        REPLY_IS(client_ask(c, "PUBS long {\"Body\":\"m-%d\"}", BODIES + i), "Done");
        worst = now_us() - begin > worst ? now_us() - begin : worst;
        (void)recv(client_fd(slow[i % READERS]), &byte, 1, MSG_DONTWAIT); /* a byte now and then */
    }
    CU_ASSERT(worst < 5000000);
    expect_memory_near(daemon_pid(shared), before);
    for (int i = 0; i < READERS; i++)
        client_abort(&slow[i]);
    REPLY_IS(client_ask(c, "PING"), "Done");
    client_close(&c);
}

/* ---- not this protocol ------------------------------------------------------------------ */

static void other_protocols_are_told_what_this_port_is(void)
{
#define BYTES(text) (text), sizeof(text) - 1
    static const struct {
        const char *bytes;
        size_t size;
        const char *says;
    } strangers[] = {
        {BYTES("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"), "HTTP"},
        {BYTES("POST /topics HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}"), "HTTP"},
        {BYTES("\0\0\0\x1f\0\x12\0\x03\0\0\0\x01\0\x07rdkafka\0\x05"
               "abcd\x06"
               "1.9.2\0\0\0"),
         "Kafka"},
        {BYTES("\x16\x03\x01\0\xfa\x01\0\0\xf6\x03\x03"
               "0123456789"),
         "TLS"},
    };
#undef BYTES
    for (size_t i = 0; i < sizeof(strangers) / sizeof(strangers[0]); i++) {
        struct client *c = session();
        CU_ASSERT(client_send(c, strangers[i].bytes, strangers[i].size));
        const char *reply = client_reply(c);
        REPLY_REFUSES(reply, strangers[i].says);
        REPLY_HOLDS(reply, "HELP");
        client_close(&c);
    }
}

static void garbage_harms_nothing(void)
{
    enum { SESSIONS = 200, BYTES = 20000 };
    static char bytes[BYTES];
    unsigned seed = (unsigned)now_us();
    printf("(seed %u) ", seed);
    struct client *beside = session();
    int64_t before = memory_kib();
    for (int i = 0; i < SESSIONS; i++) {
        struct client *c = session();
        for (size_t k = 0; k < sizeof(bytes); k++)
            bytes[k] = (char)(rand_r(&seed) >> 7);
        (void)client_send(c, bytes, (size_t)rand_r(&seed) % sizeof(bytes));
        if (i % 2 == 0)
            (void)client_line(c, 0);
        client_abort(&c);
    }
    REPLY_IS(client_ask(beside, "PING"), "Done");
    expect_memory_near(daemon_pid(shared), before);
    CU_ASSERT(daemon_alive(shared));
    client_close(&beside);
}

/* ---- many connections ---------------------------------------------------------------------- */

/* As many of want as the limits permit, and says so. */
static int permitted(int want)
{
    int most = (int)raise_nofile() - 200;
    if (most < want)
        say_skipped("%d connections instead of %d: the limit of open files", most, want);
    return most < want ? most : want;
}

static struct client *crowd[10000];

static void thousands_of_half_lines_are_borne_and_let_go(void)
{
    int count = permitted(5000);
    struct client *c = session();
    topic_make(c, "crowded", 1, "");
    struct socket_wait w = {daemon_pid(shared), proc_sockets(daemon_pid(shared))};
    for (int i = 0; i < count; i++) {
        crowd[i] = session();
        CU_ASSERT(client_send_text(crowd[i], "PUBS crow"));
    }
    publish_range(c, "crowded", "m", 0, 100, 0);
    for (int i = 0; i < count; i++) {
        if (i % 2 == 0)
            (void)shutdown(client_fd(crowd[i]), SHUT_WR);
        else
            client_abort(&crowd[i]);
    }
    publish_range(c, "crowded", "m", 100, 200, 0);
    for (int i = 0; i < count; i++)
        client_abort(&crowd[i]);
    CU_ASSERT(wait_until(sockets_are_back, &w, REPLY_MS));
    client_close(&c);
}

static void ten_thousand_idle_connections_cost_little(void)
{
    int count = permitted(10000);
    struct client *c = session();
    topic_make(c, "idle", 1, "");
    int64_t threads = proc_threads(daemon_pid(shared)), before = memory_kib();
    for (int i = 0; i < count; i++)
        crowd[i] = session();
    for (int i = 0; i < count; i += 97)
        REPLY_IS(client_ask(crowd[i], "PING"), "Done");
    REPLY_IS(client_ask(crowd[count - 1], "PING"), "Done");
    double each = (double)(memory_kib() - before) / count;
    if (each > 6.0)
        fprintf(stderr, "\n  %.2f KiB a connection\n", each);
    CU_ASSERT(SANITIZED || each <= 6.0); /* the aim, 4, is the benchmark's to judge */
    CU_ASSERT(proc_threads(daemon_pid(shared)) <= threads + 16);
    publish_range(c, "idle", "m", 0, 200, 0);
    for (int i = 0; i < count; i++)
        client_abort(&crowd[i]);
    REPLY_IS(client_ask(c, "PING"), "Done");
    client_close(&c);
}

static bool is_alone(void *client)
{
    return info_number(client, "connections") == 1;
}

static void connection_limits_are_told_to_whoever_hits_one(void)
{
    static const char *const limits[] = {"connections.max=10", "connections.per.address.max=10"};
    for (size_t k = 0; k < 2; k++) {
        struct daemon_spec spec = {.dir = temp_folder("limit"), .settings = {limits[k]}};
        struct daemon *d = daemon_start(&spec);
        struct client *in[10] = {client_open(daemon_port(d))};
        int got_in = 1;
        /* the place of the client that asked whether the daemon is ready is free again */
        CU_ASSERT_FATAL(wait_until(is_alone, in[0], REPLY_MS));
        for (int i = 1; i < 10; i++) {
            in[i] = client_open(daemon_port(d));
            got_in += strcmp(client_ask(in[i], "PING"), "Done") == 0;
        }
        CU_ASSERT_EQUAL(got_in, 10);
        struct client *out = client_open(daemon_port(d));
        const char *reply = client_reply(out);
        REPLY_REFUSES(reply, "connections");
        CU_ASSERT(client_ends(out, REPLY_MS));
        client_close(&out);
        REPLY_IS(client_ask(in[0], "PING"), "Done");
        for (int i = 0; i < 10; i++)
            client_close(&in[i]);
        daemon_end(&d);
    }
}

static void it_stops_cleanly_after_all_this(void)
{
    struct client *c = session();
    client_close(&c);
    daemon_end(&shared);
}

static const struct unit_case cases[] = {
    {"a line of 100 MiB gets one error and the session goes on",
     a_line_of_100_mib_gets_one_error_and_the_session_goes_on},
    {"a dripping line ends the session, an idle one stays", a_dripping_line_ends_the_session_and_an_idle_one_stays},
    {"a flood without reading is held back and then answered", a_flood_without_reading_is_held_back_and_then_answered},
    {"who never reads is let go", who_never_reads_is_let_go},
    {"a hundred slow readers slow no publisher", a_hundred_slow_readers_slow_no_publisher},
    {"other protocols are told what this port is", other_protocols_are_told_what_this_port_is},
    {"garbage harms nothing", garbage_harms_nothing},
    {"thousands of half lines are borne and let go", thousands_of_half_lines_are_borne_and_let_go},
    {"ten thousand idle connections cost little", ten_thousand_idle_connections_cost_little},
    {"connection limits are told to whoever hits one", connection_limits_are_told_to_whoever_hits_one},
    {"it stops cleanly after all this", it_stops_cleanly_after_all_this},
};

E2E_MAIN("rude", cases)
