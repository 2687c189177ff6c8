/*
 * Who is rude to the port for brokers: garbage, a frame of 2 GiB, frames recorded on another
 * connection, a stranger; two brokers with one id; lists of peers that disagree. It is
 * answered clearly, and the cluster goes on as if nothing had been.
 */
#include "e2e/cluster_case.h"

#include "e2e/capture.h"
#include "proto/peer/frame.h"
#include "proto/peer/hello.h"

enum { RATE = 300, CONNECTIONS = 100, GARBAGE_BYTES = 100000, CLOSES_MS = 15000, RECORDED_BYTES = 65536, PARTS = 2 };

/* Sends the bytes to the broker's raft port; true: it closes within CLOSES_MS. */
static bool is_thrown_out(const struct fleet *f, int id, const void *bytes, size_t size)
{
    struct client *c = client_try_open(fleet_raft_port(f, id), 0);
    CU_ASSERT_PTR_NOT_NULL_FATAL(c);
    (void)client_send(c, bytes, size); /* it may be closed before all is sent */
    int64_t deadline_us = now_us() + (int64_t)CLOSES_MS * 1000;
    while (!client_closed(c) && now_us() < deadline_us)
        (void)client_line(c, 1000); /* a refusal, in bytes that are no line */
    bool closed = client_closed(c);
    client_close(&c);
    return closed;
}

/* A frame's head that claims a body of that size. */
static void claim(uint8_t head[PEER_FRAME_HEAD_BYTES], uint32_t body_bytes)
{
    peer_frame_head(head, 0, PEER_HELLO, 0, NULL, 0);
    put_le32(head, body_bytes + 4);
    put_le16(head + 10, peer_frame_head_check(head));
}

static void garbage_on_the_port_for_brokers_is_thrown_out(void)
{
    static uint8_t garbage[GARBAGE_BYTES];
    static const char http[] = "GET / HTTP/1.1\r\nHost: broker\r\n\r\n";
    uint8_t huge[PEER_FRAME_HEAD_BYTES + 100] = {0};
    struct client *silent[CONNECTIONS];
    struct fleet *f = fleet_with_topic(3, 3, NULL, false);
    struct witness_spec spec = {.fleet = f, .topic = "t", .partitions = 3, .publishers = 2, .plain = 2, .rate = RATE};
    struct witness *w = witness_begin(&spec);
    CU_ASSERT_FATAL(witness_advances(w, 100, GO_ON_MS));
    int64_t before_kib = proc_rss_kib(fleet_pid(f, 1));
    for (size_t i = 0; i < sizeof(garbage); i++)
        garbage[i] = (uint8_t)(i * 2654435761U >> 13);
    for (int i = 0; i < CONNECTIONS; i++) /* they say nothing at all, and keep nobody from coming in */
        silent[i] = client_try_open(fleet_raft_port(f, 1), 0);
    CU_ASSERT(is_thrown_out(f, 1, garbage, sizeof(garbage)));
    CU_ASSERT(is_thrown_out(f, 1, http, sizeof(http) - 1));
    claim(huge, 0x80000000U - 4);
    for (int i = 0; i < 8; i++)
        CU_ASSERT(is_thrown_out(f, 1, huge, sizeof(huge)));
    claim(huge, 0xfffffff0U);
    CU_ASSERT(is_thrown_out(f, 1, huge, sizeof(huge)));
    CU_ASSERT(SANITIZED || proc_rss_kib(fleet_pid(f, 1)) < before_kib + 64 * 1024);
    CU_ASSERT_FATAL(witness_advances(w, 300, GO_ON_MS));
    fleet_kill(f, 2); /* it comes back past all the silent ones */
    fleet_start(f, 2);
    CU_ASSERT(fleet_whole(f, 3, WHOLE_MS));
    for (int i = 0; i < CONNECTIONS; i++)
        client_close(&silent[i]);
    witness_end(&w);
    fleet_end(&f);
}

/* A hello that is well formed, from a cluster that is not this one. */
static void a_stranger_is_refused_with_a_line_in_the_log(void)
{
    uint8_t frame[PEER_FRAME_HEAD_BYTES + HELLO_BYTES];
    struct fleet *f = fleet_with_topic(3, 1, NULL, false);
    struct hello hello = {.version = PEER_VERSION, .kind = PEER_KIND_RAFT, .broker_id = 77, .boot = 1, .session = 5};
    memset(&hello.cluster_id, 0x11, sizeof(hello.cluster_id));
    memset(&hello.incarnation, 0x22, sizeof(hello.incarnation));
    hello_encode(&hello, frame + PEER_FRAME_HEAD_BYTES);
    struct slice body = slice_of(frame + PEER_FRAME_HEAD_BYTES, HELLO_BYTES);
    peer_frame_head(frame, 0, PEER_HELLO, 0, &body, 1);
    CU_ASSERT(is_thrown_out(f, 1, frame, sizeof(frame)));
    CU_ASSERT(daemon_said(fleet_daemon(f, 1), "another cluster", REPLY_MS));
    CU_ASSERT(fleet_whole(f, 3, WHOLE_MS));
    fleet_end(&f);
}

struct recording {
    struct capture *capture;
    uint8_t bytes[RECORDED_BYTES];
    size_t len;
};

static bool is_recorded(void *arg)
{
    struct recording *r = arg;
    r->len = capture_take(r->capture, 1000, r->bytes, sizeof(r->bytes));
    return r->len > 0;
}

static void what_was_recorded_on_another_connection_does_not_pass(void)
{
    static struct recording r;
    struct fleet *f = fleet_with_topic(3, 3, NULL, false);
    struct witness_spec spec = {.fleet = f, .topic = "t", .partitions = 3, .publishers = 2, .plain = 2, .rate = RATE};
    r.capture = capture_begin(fleet_raft_port(f, 1));
    if (r.capture == NULL) {
        say_skipped("nobody may listen in on loopback here");
        fleet_end(&f);
        return;
    }
    struct witness *w = witness_begin(&spec);
    fleet_kill(f, 3);
    CU_ASSERT_FATAL(witness_advances(w, 100, GO_ON_MS));
    fleet_start(f, 3);
    CU_ASSERT_FATAL(wait_until(is_recorded, &r, WHOLE_MS));
    CU_ASSERT_FATAL(fleet_whole(f, 3, WHOLE_MS));
    for (int i = 0; i < 3; i++)
        CU_ASSERT(is_thrown_out(f, 1, r.bytes, r.len));
    CU_ASSERT_FATAL(witness_advances(w, 300, GO_ON_MS));
    CU_ASSERT(fleet_whole(f, 3, WHOLE_MS));
    capture_end(&r.capture);
    witness_end(&w);
    fleet_end(&f);
}

/* ---- brokers that are set up wrongly -------------------------------------------------- */

/* A second broker 2 is started, on an empty folder, while the first one runs. */
static void two_brokers_with_one_id_are_told_so(void)
{
    char peers[200];
    struct fleet *f = fleet_with_topic(3, 3, NULL, false);
    struct witness_spec with = {.fleet = f, .topic = "t", .partitions = 3, .publishers = 2, .plain = 2, .rate = RATE};
    struct witness *w = witness_begin(&with);
    CU_ASSERT_FATAL(witness_advances(w, 100, GO_ON_MS));
    int raft_port = free_port();
    (void)snprintf(peers, sizeof(peers), "1@127.0.0.1:%d,2@127.0.0.1:%d,3@127.0.0.1:%d", fleet_raft_port(f, 1),
                   raft_port, fleet_raft_port(f, 3));
    struct daemon_spec spec = {
        .dir = temp_folder("twin"), .broker_id = 2, .port = free_port(), .raft_port = raft_port, .peers = peers};
    struct daemon *twin = daemon_begin(&spec);
    CU_ASSERT(daemon_said(twin, "two brokers have the id 2", WHOLE_MS));
    CU_ASSERT_FATAL(witness_advances(w, 300, GO_ON_MS));
    daemon_kill(&twin);
    CU_ASSERT(fleet_whole(f, 3, WHOLE_MS));
    CU_ASSERT_EQUAL(witness_account(w).errors, 0);
    witness_end(&w);
    fleet_end(&f);
}

/* Two brokers with lists that differ form nothing, and say why; with one list they do. */
static void lists_that_disagree_are_told_so(void)
{
    char lists[PARTS][200];
    int ports[PARTS + 1], raft_ports[PARTS + 1];
    struct daemon *d[PARTS];
    struct daemon_spec spec[PARTS];
    for (int i = 0; i <= PARTS; i++) {
        ports[i] = free_port();
        raft_ports[i] = free_port();
    }
    (void)snprintf(lists[0], sizeof(lists[0]), "1@127.0.0.1:%d,2@127.0.0.1:%d", raft_ports[0], raft_ports[1]);
    (void)snprintf(lists[1], sizeof(lists[1]), "1@127.0.0.1:%d,2@127.0.0.1:%d,3@127.0.0.1:%d", raft_ports[0],
                   raft_ports[1], raft_ports[2]);
    for (int i = 0; i < PARTS; i++) {
        spec[i] = (struct daemon_spec){.dir = temp_folder("disagree"),
                                       .broker_id = (unsigned)i + 1,
                                       .port = ports[i],
                                       .raft_port = raft_ports[i],
                                       .peers = lists[i]};
        d[i] = daemon_begin(&spec[i]);
    }
    CU_ASSERT(daemon_said(d[0], "another list of --peers", WHOLE_MS));
    CU_ASSERT(daemon_said(d[1], "another list of --peers", WHOLE_MS));
    daemon_kill(&d[1]);
    spec[1].peers = lists[0];
    d[1] = daemon_begin(&spec[1]);
    for (int i = 0; i < PARTS; i++)
        daemon_ready(d[i]);
    struct client *c = client_open(ports[0]);
    topic_make(c, "t", 1, "");
    client_close(&c);
    for (int i = 0; i < PARTS; i++)
        daemon_kill(&d[i]);
}

static const struct unit_case cases[] = {
    {"garbage on the port for brokers is thrown out", garbage_on_the_port_for_brokers_is_thrown_out},
    {"a stranger is refused with a line in the log", a_stranger_is_refused_with_a_line_in_the_log},
    {"what was recorded on another connection does not pass", what_was_recorded_on_another_connection_does_not_pass},
    {"two brokers with one id are told so", two_brokers_with_one_id_are_told_so},
    {"lists that disagree are told so", lists_that_disagree_are_told_so},
};
E2E_MAIN("cluster: rude", cases)
