/* What comes to a raft port that should not: strangers, garbage, sizes, silence, two
 * brokers with one id, recordings. Each is refused, and the links go on. */
#include "proto/peer/ask_frame.h"
#include "support/links_rig.h"
#include "support/unit.h"

#include <sys/socket.h>
#include <unistd.h>

static struct rig_node nodes[3];

static bool sees_2(void *context)
{
    struct rig_node *node = context;
    return links_is_alive(node->links, 2);
}

static bool misses_2(void *context)
{
    return !sees_2(context);
}

static bool sees_3(void *context)
{
    struct rig_node *node = context;
    return links_is_alive(node->links, 3);
}

static bool sees_1(void *context)
{
    struct rig_node *node = context;
    return links_is_alive(node->links, 1);
}

/* Nobody is taken for dead here because the machine is busy: silence is not what is tested. */
static void init(int i)
{
    rig_init(&nodes[i], (uint32_t)i + 1, 50);
    nodes[i].config.election_us = 15 * 1000 * 1000;
}

static void begin(void)
{
    for (int i = 0; i < 2; i++) {
        init(i);
        rig_start(&nodes[i]);
    }
    rig_link(nodes, 2);
    CU_ASSERT_TRUE(rig_wait(sees_2, &nodes[0]));
    CU_ASSERT_TRUE(rig_wait(sees_1, &nodes[1]));
}

/* The links are as they were. */
static void end(void)
{
    CU_ASSERT_TRUE(links_is_alive(nodes[0].links, 2));
    CU_ASSERT_TRUE(links_is_alive(nodes[1].links, 1));
    rig_stop(&nodes[0]);
    rig_stop(&nodes[1]);
}

static uint64_t refusals(const struct rig_node *node)
{
    return links_counters(node->links)->refusals;
}

static uint64_t refusals_before;
static uint64_t refusals_wanted;

static bool refused_all(void *context)
{
    return refusals(context) - refusals_before >= refusals_wanted;
}

static bool refused_more(void *context)
{
    return refusals(context) > refusals_before;
}

static void send_bytes(int fd, const void *bytes, size_t count)
{
    (void)!send(fd, bytes, count, MSG_NOSIGNAL);
}

/* A whole connection that sends these bytes and must be ended by the other side. */
static void is_turned_away(const void *bytes, size_t count)
{
    int fd = rig_connect(nodes[0].port);
    CU_ASSERT_TRUE_FATAL(fd >= 0);
    send_bytes(fd, bytes, count);
    CU_ASSERT_TRUE(rig_is_closed(fd));
    (void)close(fd);
}

static void garbage_is_turned_away(void)
{
    begin();
    refusals_before = refusals(&nodes[0]); /* of a broker that was not known yet */
    static const char http[] = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    is_turned_away(http, sizeof http - 1);
    uint8_t bytes[5000];
    uint32_t random = 1;
    for (int round = 0; round < 50; round++) {
        for (size_t i = 0; i < sizeof bytes; i++)
            bytes[i] = (uint8_t)((random = random * 1103515245 + 12345) >> 16);
        is_turned_away(bytes, sizeof bytes);
    }
    uint8_t huge[PEER_FRAME_HEAD_BYTES] = {0, 0, 0, 0x80, 1, 2, 3, 4, PEER_HELLO, 0, 0, 0}; /* 2 GiB */
    is_turned_away(huge, sizeof huge);
    huge[3] = 0;
    huge[2] = 2; /* 128 KiB: more than a hello may have */
    is_turned_away(huge, sizeof huge);
    refusals_wanted = 53;
    CU_ASSERT_TRUE(rig_wait(refused_all, &nodes[0]));
    end();
}

static void whoever_says_nothing_is_turned_away(void)
{
    begin();
    is_turned_away("", 0);
    is_turned_away("\x54\x00\x00", 3); /* begins a frame, and no more */
    end();
}

static void there_may_be_few_strangers_at_a_time(void)
{
    begin();
    int fds[LINK_STRANGERS_MAX + 20];
    int count = sizeof fds / sizeof fds[0];
    for (int i = 0; i < count; i++)
        fds[i] = rig_connect(nodes[0].port);
    CU_ASSERT_TRUE(rig_is_closed(fds[count - 1]));
    for (int i = 0; i < count; i++)
        (void)close(fds[i]);
    end();
}

/* Connects as a broker would. */
static enum kq_err greet(struct hello *self, struct fault *fault, struct peer_socket **socket)
{
    struct hello other;
    *socket = peer_socket_new();
    int64_t deadline_us = clock_mono_us() + 20 * 1000 * 1000;
    bool refused;
    self->version = PEER_VERSION;
    enum kq_err err = peer_socket_connect(*socket, "localhost", nodes[0].port, deadline_us, &refused, fault);
    return err != KQ_OK ? err : peer_socket_greet(*socket, self, &other, deadline_us, fault);
}

static struct hello hello_of(uint32_t id, enum peer_kind kind)
{
    return (struct hello){.kind = kind,
                          .cluster_id = rig_uuid(50),
                          .broker_id = id,
                          .incarnation = rig_uuid((uint8_t)(100 + id)),
                          .boot = 1,
                          .to_broker_id = 1};
}

static void is_refused(struct hello hello, enum kq_err err, const char *word)
{
    struct fault fault = {.err = KQ_OK};
    struct peer_socket *socket;
    CU_ASSERT_EQUAL(greet(&hello, &fault, &socket), err);
    if (strstr(fault.text, word) == NULL)
        CU_FAIL("the reason is not the one that was expected");
    peer_socket_free(&socket);
}

static void who_does_not_belong_is_told_why(void)
{
    begin();
    struct hello hello = hello_of(2, PEER_KIND_RAFT);
    hello.cluster_id = rig_uuid(51);
    is_refused(hello, KQ_INVALID, "another cluster");
    is_refused(hello_of(7, PEER_KIND_RAFT), KQ_AGAIN, "not known");
    is_refused(hello_of(7, PEER_KIND_CATCH_UP), KQ_AGAIN, "not known");
    is_refused(hello_of(1, PEER_KIND_ASK), KQ_EXISTS, "reached itself");
    hello = hello_of(2, PEER_KIND_RAFT);
    hello.to_broker_id = 3;
    is_refused(hello, KQ_INVALID, "looks for broker 3");
    hello = hello_of(2, PEER_KIND_RAFT);
    hello.incarnation = rig_uuid(9);
    is_refused(hello, KQ_EXISTS, "two brokers have the id 2");
    hello.kind = PEER_KIND_ASK;
    is_refused(hello, KQ_EXISTS, "two brokers have the id 2");
    hello = hello_of(2, PEER_KIND_RAFT);
    hello.boot = 0;
    is_refused(hello, KQ_EXISTS, "older process");
    end();
}

/* Of another version: the frame is right, its content is not of this one. */
static void version_is_refused(uint16_t version, const char *words)
{
    begin();
    struct hello hello = hello_of(2, PEER_KIND_RAFT);
    hello.version = version;
    uint8_t body[HELLO_BYTES];
    hello_encode(&hello, body);
    struct slice part = slice_of(body, sizeof body);
    uint8_t frame[PEER_FRAME_HEAD_BYTES + HELLO_BYTES];
    peer_frame_head(frame, 0, PEER_HELLO, 0, &part, 1);
    if (version == 1)
        put_le16(frame + 10, 0); /* its frames had nothing there */
    memcpy(frame + PEER_FRAME_HEAD_BYTES, body, sizeof body);
    struct peer_socket *socket = peer_socket_new();
    struct fault fault = {.err = KQ_OK};
    int64_t deadline_us = clock_mono_us() + 20 * 1000 * 1000;
    CU_ASSERT_EQUAL(peer_socket_connect(socket, "127.0.0.1", nodes[0].port, deadline_us, NULL, &fault), KQ_OK);
    struct iovec iov = {.iov_base = frame, .iov_len = sizeof frame};
    CU_ASSERT_EQUAL(peer_socket_write(socket, &iov, 1, deadline_us, &fault), KQ_OK);
    CU_ASSERT_EQUAL(peer_socket_hear(socket, &hello, deadline_us, &fault), KQ_BAD_VERSION);
    CU_ASSERT_PTR_NOT_NULL(strstr(fault.text, words));
    peer_socket_free(&socket);
    end();
}

static void another_version_is_told_apart(void)
{
    version_is_refused(PEER_VERSION + 1, "speaks version 3 of the brokers' protocol, this one version 2");
    version_is_refused(1, "speaks version 1 of the brokers' protocol, this one version 2");
}

static void who_forms_a_cluster_is_told_that_there_is_one(void)
{
    begin();
    struct hello hello = hello_of(8, PEER_KIND_FORM);
    hello.cluster_id = (struct uuid){{0}};
    struct fault fault = {.err = KQ_OK};
    struct hello other;
    struct peer_socket *socket = peer_socket_new();
    int64_t deadline_us = clock_mono_us() + 20 * 1000 * 1000;
    CU_ASSERT_EQUAL(peer_socket_connect(socket, "127.0.0.1", nodes[0].port, deadline_us, NULL, &fault), KQ_OK);
    CU_ASSERT_EQUAL(peer_socket_greet(socket, &hello, &other, deadline_us, &fault), KQ_OK);
    struct uuid cluster_id = rig_uuid(50);
    CU_ASSERT_TRUE(uuid_equal(&other.cluster_id, &cluster_id));
    CU_ASSERT_EQUAL(other.broker_id, 1);
    peer_socket_free(&socket);
    end();
}

/* Two brokers of one id, both told of broker 1: the second is not let in while the first lives. */
static void a_second_broker_with_the_id_of_a_live_one_stays_out(void)
{
    begin();
    refusals_before = refusals(&nodes[0]);
    rig_init(&nodes[2], 2, 50);
    nodes[2].options.self.incarnation = rig_uuid(200);
    rig_start(&nodes[2]);
    struct link_address one = rig_address(&nodes[0]);
    links_set_peers(nodes[2].links, &one, 1);
    CU_ASSERT_TRUE(rig_wait(refused_more, &nodes[0]));
    CU_ASSERT_FALSE(links_is_alive(nodes[2].links, 1));
    rig_stop(&nodes[2]);
    end();
}

/* A frame that belongs to the connection, but is not one that a peer may send. */
static void a_peer_that_breaks_the_protocol_is_cut(void)
{
    begin();
    const enum peer_frame_type wrong[] = {PEER_HELLO, PEER_ASK, PEER_ANSWER, PEER_FORM, PEER_RAFT, PEER_BEAT};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct hello hello = hello_of(2, PEER_KIND_CATCH_UP);
        struct fault fault = {.err = KQ_OK};
        struct peer_socket *socket;
        CU_ASSERT_EQUAL(greet(&hello, &fault, &socket), KQ_OK);
        struct slice part = slice_text("not what it should be");
        int64_t deadline_us = clock_mono_us() + 20 * 1000 * 1000;
        CU_ASSERT_EQUAL(peer_socket_send(socket, wrong[i], &part, 1, deadline_us, &fault), KQ_OK);
        struct peer_frame frame;
        uint8_t *body;
        enum kq_err err = peer_socket_receive(socket, 1000, deadline_us, &frame, &body, &fault);
        CU_ASSERT_TRUE(err == KQ_EOF || err == KQ_IO);
        peer_socket_free(&socket);
    }
    end();
}

static bool recorded_beats(void *context)
{
    struct rig_proxy *proxy = context;
    (void)pthread_mutex_lock(&proxy->lock);
    size_t bytes = proxy->record_bytes;
    (void)pthread_mutex_unlock(&proxy->lock);
    return bytes > PEER_FRAME_HEAD_BYTES + HELLO_BYTES + BEAT_HEAD_BYTES;
}

enum { APPENDS = 20 };

static bool has_received_all(void *context)
{
    struct partition *p = context;
    return RIG_LOCKED(p, p->received) == APPENDS;
}

/* What was recorded on one connection is played on others. */
static void a_recording_of_a_leader_vouches_for_nobody(void)
{
    for (int i = 0; i < 2; i++) {
        init(i);
        rig_start(&nodes[i]);
    }
    struct rig_proxy proxy;
    rig_proxy_start(&proxy, nodes[0].port);
    struct link_address one = rig_address(&nodes[0]);
    struct link_address two = rig_address(&nodes[1]);
    one.port = proxy.port;
    rig_news(&nodes[1], 0, 5, 2);
    rig_news(&nodes[0], 0, 5, 2);
    links_set_peers(nodes[0].links, &two, 1); /* first: else the connection that is recorded may be refused */
    links_set_peers(nodes[1].links, &one, 1);
    CU_ASSERT_TRUE(rig_wait(sees_2, &nodes[0]));
    CU_ASSERT_TRUE(rig_wait(sees_1, &nodes[1]));
    for (uint64_t i = 0; i < APPENDS; i++)
        rig_append(&nodes[1], 1, 1, i, 1, 100);
    CU_ASSERT_TRUE(rig_wait(has_received_all, &nodes[0].partitions[1]));
    CU_ASSERT_TRUE_FATAL(rig_wait(recorded_beats, &proxy));
    (void)pthread_mutex_lock(&proxy.lock);
    size_t bytes = proxy.record_bytes;
    uint8_t *record = malloc(bytes);
    memcpy(record, proxy.record, bytes);
    (void)pthread_mutex_unlock(&proxy.lock);
    rig_stop(&nodes[1]);
    rig_proxy_stop(&proxy);
    CU_ASSERT_TRUE_FATAL(rig_wait(misses_2, &nodes[0]));
    uint64_t received = RIG_LOCKED(&nodes[0].partitions[1], nodes[0].partitions[1].received);
    for (int round = 0; round < 5; round++) {
        int fd = rig_connect(nodes[0].port);
        send_bytes(fd, record, bytes);
        CU_ASSERT_TRUE(rig_is_closed(fd));
        (void)close(fd);
        CU_ASSERT_FALSE(links_is_alive(nodes[0].links, 2));
    }
    CU_ASSERT_FALSE(RIG_LOCKED(&nodes[0].partitions[0], nodes[0].partitions[0].claimed));
    CU_ASSERT_EQUAL(RIG_LOCKED(&nodes[0].partitions[1], nodes[0].partitions[1].received), received);
    free(record);
    rig_stop(&nodes[0]);
}

static void a_new_incarnation_may_ask_but_not_vote(void)
{
    begin();
    rig_stop(&nodes[1]);
    struct hello hello = hello_of(2, PEER_KIND_RAFT);
    hello.incarnation = rig_uuid(9);
    bool refused = false;
    for (int i = 0; i < 2000 && !refused; i++) { /* until the old one is not heard any more */
        struct fault fault = {.err = KQ_OK};
        struct peer_socket *socket;
        enum kq_err err = greet(&hello, &fault, &socket);
        CU_ASSERT_TRUE(err == KQ_AGAIN || err == KQ_EXISTS);
        refused = strstr(fault.text, "new data folder") != NULL;
        peer_socket_free(&socket);
    }
    CU_ASSERT_TRUE(refused);
    hello.kind = PEER_KIND_ASK;
    struct fault fault = {.err = KQ_OK};
    struct peer_socket *socket;
    CU_ASSERT_EQUAL(greet(&hello, &fault, &socket), KQ_OK);
    peer_socket_free(&socket);
    rig_stop(&nodes[0]);
}

static void a_third_broker_comes_when_it_is_known(void)
{
    begin();
    init(2);
    rig_start(&nodes[2]);
    struct link_address one = rig_address(&nodes[0]);
    refusals_before = refusals(&nodes[0]);
    links_set_peers(nodes[2].links, &one, 1);
    CU_ASSERT_TRUE(rig_wait(refused_more, &nodes[0]));
    rig_link(nodes, 3);
    CU_ASSERT_TRUE(rig_wait(sees_3, &nodes[0]));
    CU_ASSERT_TRUE(rig_wait(sees_1, &nodes[2]));
    rig_stop(&nodes[2]);
    end();
}

/* What was taken, in order; the first waits for the gate. */
static struct {
    pthread_mutex_t lock;
    pthread_cond_t opens;
    bool open;
    int begun;
    char order[8];
    int count;
} gate = {.lock = PTHREAD_MUTEX_INITIALIZER, .opens = PTHREAD_COND_INITIALIZER};

static void take_in_order(void *context, struct asked *asked)
{
    struct fault fault = {.err = KQ_OK};
    (void)context;
    (void)pthread_mutex_lock(&gate.lock);
    gate.begun++;
    while (!gate.open)
        (void)pthread_cond_wait(&gate.opens, &gate.lock);
    if (gate.count < (int)sizeof gate.order - 1 && asked->body_bytes == 1)
        gate.order[gate.count++] = (char)asked->body[0];
    (void)pthread_mutex_unlock(&gate.lock);
    ask_answer(asked, &fault, NULL, 0);
}

static bool has_begun(void *context)
{
    (void)context;
    (void)pthread_mutex_lock(&gate.lock);
    bool begun = gate.begun > 0;
    (void)pthread_mutex_unlock(&gate.lock);
    return begun;
}

static void send_question(struct peer_socket *socket, uint64_t number, const char *text)
{
    const struct ask_frame frame = {.number = number, .wait_us = 10 * 1000 * 1000, .verb = ASK_PUBLISH};
    uint8_t head[ASK_FRAME_HEAD_BYTES];
    struct fault fault = {.err = KQ_OK};
    ask_frame_head(head, &frame);
    const struct slice parts[] = {slice_of(head, sizeof head), slice_text(text)};
    CU_ASSERT_EQUAL(peer_socket_send(socket, PEER_ASK, parts, 2, clock_mono_us() + 10 * 1000 * 1000, &fault), KQ_OK);
}

/* Two questions over one connection, of which the first is being taken; then a third over
 * another: the second must not come behind it. */
static void what_lies_in_a_replaced_connection_is_not_taken(void)
{
    begin();
    links_serve(nodes[0].links, ASK_PUBLISH, take_in_order, NULL);
    struct hello hello = hello_of(7, PEER_KIND_ASK);
    struct fault fault = {.err = KQ_OK};
    struct peer_socket *first, *second;
    CU_ASSERT_EQUAL_FATAL(greet(&hello, &fault, &first), KQ_OK);
    send_question(first, 1, "1");
    send_question(first, 2, "2");
    CU_ASSERT_TRUE(rig_wait(has_begun, NULL));
    CU_ASSERT_EQUAL_FATAL(greet(&hello, &fault, &second), KQ_OK);
    send_question(second, 1, "3");
    (void)pthread_mutex_lock(&gate.lock);
    gate.open = true;
    (void)pthread_cond_broadcast(&gate.opens);
    (void)pthread_mutex_unlock(&gate.lock);
    struct peer_frame frame;
    uint8_t *body = NULL;
    int64_t deadline_us = clock_mono_us() + 20 * 1000 * 1000;
    CU_ASSERT_EQUAL(peer_socket_receive(second, 1000, deadline_us, &frame, &body, &fault), KQ_OK);
    free(body);
    peer_socket_free(&first);
    peer_socket_free(&second);
    end();
    CU_ASSERT_STRING_EQUAL(gate.order, "13");
}

/* A size that was changed on the way: the connection ends before anything more of the frame comes. */
static void a_damaged_head_ends_a_connection_at_once(void)
{
    begin();
    for (unsigned bit = 0; bit < 8 * PEER_FRAME_HEAD_BYTES; bit++) {
        struct hello hello = hello_of(2, PEER_KIND_CATCH_UP);
        struct fault fault = {.err = KQ_OK};
        struct peer_socket *socket;
        CU_ASSERT_EQUAL(greet(&hello, &fault, &socket), KQ_OK);
        uint8_t head[PEER_FRAME_HEAD_BYTES];
        peer_frame_head_of(head, peer_socket_seed(socket), PEER_RAFT, 0, 1000, 0);
        head[bit / 8] ^= (uint8_t)(1U << bit % 8);
        struct iovec iov = {.iov_base = head, .iov_len = sizeof head};
        int64_t from_us = clock_mono_us();
        CU_ASSERT_EQUAL(peer_socket_write(socket, &iov, 1, from_us + PEER_SOCKET_BODY_US, &fault), KQ_OK);
        struct peer_frame frame;
        uint8_t *body;
        enum kq_err err = peer_socket_receive(socket, 1000, from_us + 2 * PEER_SOCKET_BODY_US, &frame, &body, &fault);
        CU_ASSERT_TRUE(err == KQ_EOF || err == KQ_IO);
        CU_ASSERT_TRUE_FATAL(clock_mono_us() - from_us < PEER_SOCKET_BODY_US / 2);
        peer_socket_free(&socket);
    }
    end();
}

static const struct unit_case cases[] = {
    {"garbage is turned away", garbage_is_turned_away},
    {"whoever says nothing is turned away", whoever_says_nothing_is_turned_away},
    {"there may be few strangers at a time", there_may_be_few_strangers_at_a_time},
    {"who does not belong is told why", who_does_not_belong_is_told_why},
    {"another version is told apart", another_version_is_told_apart},
    {"who forms a cluster is told that there is one", who_forms_a_cluster_is_told_that_there_is_one},
    {"a second broker with the id of a live one stays out", a_second_broker_with_the_id_of_a_live_one_stays_out},
    {"a peer that breaks the protocol is cut", a_peer_that_breaks_the_protocol_is_cut},
    {"a damaged head ends a connection at once", a_damaged_head_ends_a_connection_at_once},
    {"a recording of a leader vouches for nobody", a_recording_of_a_leader_vouches_for_nobody},
    {"a new incarnation may ask, but not vote", a_new_incarnation_may_ask_but_not_vote},
    {"what lies in a replaced connection is not taken", what_lies_in_a_replaced_connection_is_not_taken},
    {"a third broker comes when it is known", a_third_broker_comes_when_it_is_known},
};
UNIT_MAIN("links, rude", cases)
