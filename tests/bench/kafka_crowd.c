/* Groups through the codec; requests that are sent often are encoded once. */
#include "bench/kafka_crowd.h"

#include "bench/kafka_wire.h"
#include "e2e/client.h"
#include "e2e/harness.h"
#include "proto/kafka/api_groups.h"
#include "proto/kafka/error.h"
#include "proto/kafka/kafka.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

enum {
    JOIN_VERSION = 3,
    SYNC_VERSION = 2,
    FIND_VERSION = 1,
    HEARTBEAT_VERSION = 2,
    ID_BYTES = 256,
    FETCH_BYTES = 1 << 20
};
enum { SESSION_MS = 120000, REBALANCE_MS = 120000, JOIN_MS = 120000, POLL_MS = 10 * 60 * 1000 };

struct member {
    struct client *c;
    char id[ID_BYTES];
    struct buf heartbeat;
};

struct crowd_group {
    const char *name;
    unsigned count;
    int32_t generation;
    unsigned leader;
    struct buf out;
    struct kafka_arena arena;
    uint8_t *frame;
    struct member members[];
};

/* ---- one request, one answer ------------------------------------------------------------------- */

static void exactly(struct client *c, uint8_t *to, size_t bytes, int wait_ms)
{
    for (size_t done = 0; done < bytes;) {
        struct pollfd wait = {.fd = client_fd(c), .events = POLLIN};
        ssize_t got = poll(&wait, 1, wait_ms) <= 0 ? 0 : recv(client_fd(c), to + done, bytes - done, 0);
        if (got == 0 || (got < 0 && errno != EINTR && errno != EAGAIN))
            harness_fail("a member of a group is not answered");
        done += got > 0 ? (size_t)got : 0;
    }
}

static const void *take_answer(struct crowd_group *g, struct member *m, enum kafka_key key, int16_t version)
{
    uint8_t head[KAFKA_SIZE_BYTES];
    void *answer = NULL;
    int32_t id;
    exactly(m->c, head, sizeof(head), JOIN_MS);
    uint32_t bytes = get_be32(head);
    free(g->frame);
    g->frame = bytes <= WIRE_FRAME_MAX_BYTES ? malloc(bytes) : NULL;
    if (g->frame == NULL)
        harness_fail("the answer to a member of a group is too large");
    exactly(m->c, g->frame, bytes, JOIN_MS);
    kafka_arena_reset(&g->arena);
    if (kafka_answer_open(slice_of(g->frame, bytes), kafka_api((int16_t)key), version, &g->arena, &id, &answer) !=
        KQ_OK)
        harness_fail("the answer to a member of a group cannot be read");
    return answer;
}

static void send_request(struct crowd_group *g, struct member *m, enum kafka_key key, int16_t version, const void *body)
{
    buf_reset(&g->out);
    kafka_request_put(&g->out, kafka_api((int16_t)key), version, 1, slice_text("bench"), body);
    if (g->out.bad || !client_send(m->c, g->out.data, g->out.len))
        harness_fail("a member of a group cannot send");
}

/* The first question about a group makes the topic that keeps them. */
struct asking {
    struct crowd_group *g;
    struct member *m;
};

static bool is_coordinated(void *arg)
{
    const struct asking *a = arg;
    struct kafka_find_coordinator_request ask = {.key = slice_text(a->g->name)};
    send_request(a->g, a->m, KAFKA_FIND_COORDINATOR, FIND_VERSION, &ask);
    const struct kafka_find_coordinator_response *answer =
        take_answer(a->g, a->m, KAFKA_FIND_COORDINATOR, FIND_VERSION);
    if (answer->error_code != 0)
        return false;
    struct kafka_heartbeat_request beat = {
        .group_id = slice_text(a->g->name), .generation_id = -1, .member_id = slice_text("nobody")};
    send_request(a->g, a->m, KAFKA_HEARTBEAT, HEARTBEAT_VERSION, &beat);
    const struct kafka_heartbeat_response *known = take_answer(a->g, a->m, KAFKA_HEARTBEAT, HEARTBEAT_VERSION);
    return known->error_code == KAFKA_ERR_UNKNOWN_MEMBER_ID;
}

/* ---- joining --------------------------------------------------------------------------------------- */

static void join(struct crowd_group *g)
{
    struct kafka_join_group_request_protocol protocol = {.name = slice_text("range"), .metadata = slice_text("")};
    struct kafka_join_group_request ask = {.group_id = slice_text(g->name),
                                           .session_timeout_ms = SESSION_MS,
                                           .rebalance_timeout_ms = REBALANCE_MS,
                                           .member_id = slice_text(""),
                                           .protocol_type = slice_text("consumer")};
    ask.protocols.at = &protocol;
    ask.protocols.count = 1;
    for (unsigned i = 0; i < g->count; i++)
        send_request(g, &g->members[i], KAFKA_JOIN_GROUP, JOIN_VERSION, &ask);
    for (unsigned i = 0; i < g->count; i++) {
        struct member *m = &g->members[i];
        const struct kafka_join_group_response *answer = take_answer(g, m, KAFKA_JOIN_GROUP, JOIN_VERSION);
        if (answer->error_code != 0 || answer->member_id.len >= ID_BYTES)
            harness_fail("a member cannot join its group");
        memcpy(m->id, answer->member_id.data, answer->member_id.len);
        g->generation = answer->generation_id;
        if (answer->members.count > 0)
            g->leader = i;
    }
}

static void sync(struct crowd_group *g)
{
    struct kafka_sync_group_request_assignment *all = calloc(g->count, sizeof(*all));
    if (all == NULL)
        harness_fail("out of memory");
    for (unsigned i = 0; i < g->count; i++) {
        all[i].member_id = slice_text(g->members[i].id);
        all[i].assignment = slice_text("nothing");
    }
    struct kafka_sync_group_request ask = {.group_id = slice_text(g->name), .generation_id = g->generation};
    for (unsigned i = 0; i < g->count; i++) {
        ask.member_id = slice_text(g->members[i].id);
        ask.assignments.at = all;
        ask.assignments.count = i == g->leader ? (int32_t)g->count : 0;
        send_request(g, &g->members[i], KAFKA_SYNC_GROUP, SYNC_VERSION, &ask);
    }
    for (unsigned i = 0; i < g->count; i++) {
        const struct kafka_sync_group_response *answer = take_answer(g, &g->members[i], KAFKA_SYNC_GROUP, SYNC_VERSION);
        if (answer->error_code != 0 || !slice_equal_text(answer->assignment, "nothing"))
            harness_fail("a member gets no assignment");
    }
    free(all);
}

struct crowd_group *crowd_join(int port, const char *group, unsigned count)
{
    struct crowd_group *g = calloc(1, sizeof(*g) + count * sizeof(g->members[0]));
    if (g == NULL)
        harness_fail("out of memory");
    g->name = group;
    g->count = count;
    buf_init(&g->out, WIRE_FRAME_MAX_BYTES);
    kafka_arena_init(&g->arena, WIRE_FRAME_MAX_BYTES);
    for (unsigned i = 0; i < count; i++)
        g->members[i].c = client_open(port);
    struct asking first = {.g = g, .m = &g->members[0]};
    if (!wait_until(is_coordinated, &first, JOIN_MS))
        harness_fail("a group has no coordinator");
    join(g);
    sync(g);
    for (unsigned i = 0; i < count; i++) {
        struct member *m = &g->members[i];
        struct kafka_heartbeat_request ask = {
            .group_id = slice_text(group), .generation_id = g->generation, .member_id = slice_text(m->id)};
        buf_init(&m->heartbeat, WIRE_FRAME_MAX_BYTES);
        kafka_request_put(&m->heartbeat, kafka_api(KAFKA_HEARTBEAT), HEARTBEAT_VERSION, 1, slice_text("bench"), &ask);
        if (m->heartbeat.bad)
            harness_fail("out of memory");
    }
    return g;
}

void crowd_leave(struct crowd_group **out)
{
    struct crowd_group *g = *out;
    for (unsigned i = 0; i < g->count; i++) {
        client_close(&g->members[i].c);
        buf_fini(&g->members[i].heartbeat);
    }
    buf_fini(&g->out);
    kafka_arena_fini(&g->arena);
    free(g->frame);
    free(g);
    *out = NULL;
}

/* ---- heartbeats ------------------------------------------------------------------------------------ */

static void beat(struct member *m)
{
    if (!client_send(m->c, m->heartbeat.data, m->heartbeat.len))
        harness_fail("a member of a group cannot send");
}

static void take_beat(struct member *m)
{
    uint8_t answer[4 + 4 + 4 + 2]; /* size, correlation id, throttle time, error */
    exactly(m->c, answer, sizeof(answer), REPLY_MS);
    if (get_be16(answer + 12) != 0)
        harness_fail("a heartbeat is answered with an error");
}

double crowd_heartbeat_us(struct crowd_group *g, unsigned member)
{
    int64_t begin = now_us();
    beat(&g->members[member]);
    take_beat(&g->members[member]);
    return (double)(now_us() - begin);
}

double crowd_heartbeats_us(struct crowd_group *g)
{
    int64_t begin = now_us();
    for (unsigned i = 0; i < g->count; i++)
        beat(&g->members[i]);
    for (unsigned i = 0; i < g->count; i++)
        take_beat(&g->members[i]);
    return (double)(now_us() - begin);
}

/* ---- long polls ------------------------------------------------------------------------------------- */

struct crowd_polls {
    unsigned count;
    struct client *clients[];
};

struct crowd_polls *crowd_poll(int port, const char *topic, unsigned partitions, unsigned count)
{
    struct crowd_polls *p = calloc(1, sizeof(*p) + count * sizeof(struct client *));
    struct buf frame;
    buf_init(&frame, WIRE_FRAME_MAX_BYTES);
    if (p == NULL)
        harness_fail("out of memory");
    p->count = count;
    for (unsigned i = 0; i < count; i++) {
        p->clients[i] = client_open(port);
        wire_put_fetch(&frame, topic, (int32_t)(i % partitions), 0, POLL_MS, FETCH_BYTES);
        if (!client_send(p->clients[i], frame.data, frame.len))
            harness_fail("a long poll cannot be sent");
    }
    buf_fini(&frame);
    return p;
}

unsigned crowd_answered(const struct crowd_polls *p)
{
    unsigned answered = 0;
    char byte;
    for (unsigned i = 0; i < p->count; i++) {
        ssize_t got = recv(client_fd(p->clients[i]), &byte, 1, MSG_DONTWAIT | MSG_PEEK);
        answered += got >= 0 || (errno != EAGAIN && errno != EWOULDBLOCK);
    }
    return answered;
}

void crowd_poll_end(struct crowd_polls **p)
{
    for (unsigned i = 0; i < (*p)->count; i++)
        client_close(&(*p)->clients[i]);
    free(*p);
    *p = NULL;
}
