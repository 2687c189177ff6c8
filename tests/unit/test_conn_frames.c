/* Commands whose length is known from their beginning, as binary protocols have them: read
 * into memory of their own that the session may keep, and answers that go out from where
 * they are. The protocol here answers each frame (be32 length, bytes) with itself. */
#include "base/bytes.h"
#include "server/server.h"
#include "support/unit.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct frames {
    struct conn *conn;
};

static struct {
    _Atomic int taken, kept, lent;
} seen;

static void frames_open(void *session, struct conn *conn)
{
    ((struct frames *)session)->conn = conn;
}

static void give_back(void *keeper)
{
    free(keeper);
    atomic_fetch_sub(&seen.lent, 1);
}

static void frames_input(void *session, uint8_t *data, size_t size_bytes, struct worker *worker,
                         struct conn_taken *taken)
{
    (void)worker;
    struct conn *conn = ((struct frames *)session)->conn;
    for (;;) {
        size_t rest = size_bytes - taken->bytes;
        const uint8_t *frame = data + taken->bytes;
        taken->mid_line = rest > 0;
        taken->whole_bytes = rest < 4 ? 0 : 4 + (size_t)get_be32(frame);
        if (rest < 4 || rest < taken->whole_bytes)
            return;
        size_t whole = taken->whole_bytes;
        taken->kept = taken->may_keep && whole == size_bytes;
        taken->bytes += whole;
        atomic_fetch_add(&seen.taken, 1);
        conn_lock(conn);
        if (taken->kept) {
            atomic_fetch_add(&seen.kept, 1);
            atomic_fetch_add(&seen.lent, 1);
            conn_lend(conn, frame, whole, give_back, data);
        } else {
            conn_put(conn, frame, whole);
        }
        conn_unlock(conn);
        if (taken->kept) {
            taken->mid_line = false;
            return;
        }
    }
}

static bool yes(const void *session)
{
    (void)session;
    return true;
}

static bool no_work(const void *session, size_t output_bytes)
{
    (void)session;
    (void)output_bytes;
    return false;
}

static void nothing(void *session)
{
    (void)session;
}

static void work(void *session, struct worker *worker)
{
    (void)session;
    (void)worker;
}

static const struct conn_protocol frames_protocol = {
    .name = "frames",
    .session_bytes = sizeof(struct frames),
    .open = frames_open,
    .input = frames_input,
    .work = work,
    .ready = yes,
    .may_linger = yes,
    .has_work = no_work,
    .settled = yes,
    .late = nothing,
    .cut = nothing,
    .hangup = nothing,
    .cancel = nothing,
    .fini = nothing,
};

/* ---- the client ----------------------------------------------------------------------- */

struct rig {
    struct config config;
    struct server *server;
    uint16_t port;
    int fd;
};

static void rig_start(struct rig *rig)
{
    struct fault fault;
    memset(&seen, 0, sizeof(seen));
    config_defaults(&rig->config);
    CU_ASSERT_EQUAL_FATAL(server_new(&rig->server, &rig->config, &fault), KQ_OK);
    CU_ASSERT_EQUAL_FATAL(server_listen(rig->server, &frames_protocol, NULL, "127.0.0.1", 0, &rig->port, &fault),
                          KQ_OK);
    CU_ASSERT_EQUAL_FATAL(server_start(rig->server, &fault), KQ_OK);
    rig->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(rig->port)};
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CU_ASSERT_EQUAL_FATAL(connect(rig->fd, (struct sockaddr *)&at, sizeof(at)), 0);
    struct timeval patience = {.tv_sec = 20};
    (void)setsockopt(rig->fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
}

static void rig_stop(struct rig *rig)
{
    (void)close(rig->fd);
    server_stop(rig->server);
    CU_ASSERT_EQUAL(server_memory_bytes(rig->server), 0);
    CU_ASSERT_EQUAL(atomic_load(&seen.lent), 0);
    server_free(&rig->server);
}

static bool send_all(int fd, const uint8_t *data, size_t size_bytes)
{
    while (size_bytes > 0) {
        ssize_t sent = send(fd, data, size_bytes, MSG_NOSIGNAL);
        if (sent <= 0)
            return false;
        data += sent;
        size_bytes -= (size_t)sent;
    }
    return true;
}

static bool receive_all(int fd, uint8_t *data, size_t size_bytes)
{
    while (size_bytes > 0) {
        ssize_t got = recv(fd, data, size_bytes, 0);
        if (got <= 0)
            return false;
        data += got;
        size_bytes -= (size_t)got;
    }
    return true;
}

/* Sends count frames of that many bytes each, in pieces, and reads them back. */
static void echo(struct rig *rig, size_t body_bytes, int count, size_t piece_bytes)
{
    size_t whole = 4 + body_bytes, all = whole * (size_t)count;
    uint8_t *sent = malloc(all), *got = malloc(all);
    CU_ASSERT_FATAL(sent != NULL && got != NULL);
    for (size_t i = 0; i < all; i++)
        sent[i] = (uint8_t)(i * 31 + i / 251);
    for (int i = 0; i < count; i++)
        put_be32(sent + (size_t)i * whole, (uint32_t)body_bytes);
    for (size_t at = 0; at < all; at += piece_bytes) {
        size_t piece = all - at < piece_bytes ? all - at : piece_bytes;
        CU_ASSERT_FATAL(send_all(rig->fd, sent + at, piece));
        CU_ASSERT_FATAL(piece_bytes < all || receive_all(rig->fd, got, all));
    }
    CU_ASSERT_FATAL(piece_bytes >= all || receive_all(rig->fd, got, all));
    CU_ASSERT_EQUAL(memcmp(sent, got, all), 0);
    free(sent);
    free(got);
}

static void test_small(void)
{
    struct rig rig;
    rig_start(&rig);
    echo(&rig, 0, 1, 1);
    echo(&rig, 100, 200, SIZE_MAX);
    CU_ASSERT_EQUAL(atomic_load(&seen.taken), 201);
    rig_stop(&rig);
}

/* What is larger than a worker's buffer is the session's without a copy. */
static void test_large(void)
{
    struct rig rig;
    rig_start(&rig);
    for (int i = 0; i < 3; i++)
        echo(&rig, 400000, 1, SIZE_MAX);
    CU_ASSERT_EQUAL(atomic_load(&seen.kept), 3);
    echo(&rig, 3000000, 1, 100001);
    CU_ASSERT_EQUAL(atomic_load(&seen.kept), 4);
    echo(&rig, 10, 5, SIZE_MAX);
    CU_ASSERT_EQUAL(atomic_load(&seen.taken), 9);
    rig_stop(&rig);
}

/* A client that goes before it has read what was lent to it. */
static void test_gone(void)
{
    struct rig rig;
    rig_start(&rig);
    size_t whole = 8u << 20;
    uint8_t *frame = calloc(1, whole);
    CU_ASSERT_FATAL(frame != NULL);
    put_be32(frame, (uint32_t)(whole - 4));
    CU_ASSERT(send_all(rig.fd, frame, whole));
    uint8_t first[4];
    CU_ASSERT(receive_all(rig.fd, first, sizeof(first)));
    free(frame);
    rig_stop(&rig);
}

static const struct unit_case cases[] = {
    {"small frames, many in one piece", test_small},
    {"large frames are kept and lent", test_large},
    {"a client that goes leaves nothing behind", test_gone},
};
UNIT_MAIN("connections with frames", cases)
