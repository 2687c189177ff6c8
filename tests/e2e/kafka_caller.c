#include "e2e/kafka_caller.h"

#include "e2e/client.h"
#include "e2e/harness.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { FRAME_MAX_BYTES = 64 * 1024 * 1024 };

struct kafka_caller {
    struct client *client;
    struct kafka_arena arena;
    uint8_t *frame;
    int32_t calls;
};

struct kafka_caller *caller_open(int port)
{
    struct kafka_caller *caller = calloc(1, sizeof(*caller));
    if (caller == NULL)
        harness_fail("out of memory");
    caller->client = client_open(port);
    kafka_arena_init(&caller->arena, FRAME_MAX_BYTES);
    return caller;
}

void caller_close(struct kafka_caller **caller)
{
    client_close(&(*caller)->client);
    kafka_arena_fini(&(*caller)->arena);
    free((*caller)->frame);
    free(*caller);
    *caller = NULL;
}

static void take(struct kafka_caller *caller, uint8_t *to, size_t size_bytes)
{
    int fd = client_fd(caller->client);
    for (size_t done = 0; done < size_bytes;) {
        struct pollfd wait = {.fd = fd, .events = POLLIN};
        if (poll(&wait, 1, REPLY_MS) <= 0)
            harness_fail("a Kafka request is not answered");
        ssize_t n = recv(fd, to + done, size_bytes - done, 0);
        if (n == 0 || (n < 0 && errno != EINTR && errno != EAGAIN))
            harness_fail("the broker has closed the connection of a Kafka client");
        done += n > 0 ? (size_t)n : 0;
    }
}

struct client *caller_client(struct kafka_caller *caller)
{
    return caller->client;
}

int32_t caller_frame(struct kafka_caller *caller, enum kafka_key key, int16_t version, const void *body,
                     struct buf *out)
{
    kafka_request_put(out, kafka_api((int16_t)key), version, ++caller->calls, slice_text("test"), body);
    if (out->bad)
        harness_fail("a Kafka request could not be made");
    return caller->calls;
}

/* Not client_send: that takes in what arrives meanwhile, which is ours to take. */
void caller_give(struct kafka_caller *caller, const uint8_t *from, size_t size_bytes)
{
    int fd = client_fd(caller->client);
    for (size_t done = 0; done < size_bytes;) {
        struct pollfd wait = {.fd = fd, .events = POLLOUT};
        if (poll(&wait, 1, REPLY_MS) <= 0)
            harness_fail("a Kafka request is not read");
        ssize_t n = send(fd, from + done, size_bytes - done, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno != EINTR && errno != EAGAIN)
            harness_fail("the broker has closed the connection of a Kafka client");
        done += n > 0 ? (size_t)n : 0;
    }
}

int32_t caller_send(struct kafka_caller *caller, enum kafka_key key, int16_t version, const void *body)
{
    struct buf out;
    buf_init(&out, FRAME_MAX_BYTES);
    int32_t id = caller_frame(caller, key, version, body, &out);
    caller_give(caller, out.data, out.len);
    buf_fini(&out);
    return id;
}

const void *caller_take(struct kafka_caller *caller, enum kafka_key key, int16_t version, int32_t id)
{
    uint8_t head[KAFKA_SIZE_BYTES];
    uint32_t size_bytes = 0;
    int32_t got_id = 0;
    void *answer = NULL;
    take(caller, head, sizeof(head));
    if (kafka_frame_size(head, FRAME_MAX_BYTES, &size_bytes) != KQ_OK)
        harness_fail("the frame of a Kafka answer has a size that cannot be");
    free(caller->frame);
    caller->frame = malloc(size_bytes);
    if (caller->frame == NULL)
        harness_fail("out of memory");
    take(caller, caller->frame, size_bytes);
    kafka_arena_reset(&caller->arena);
    if (kafka_answer_open(slice_of(caller->frame, size_bytes), kafka_api((int16_t)key), version, &caller->arena,
                          &got_id, &answer) != KQ_OK)
        harness_fail("a Kafka answer cannot be read");
    if (id != got_id)
        harness_fail("a Kafka answer is one to another request");
    return answer;
}

const void *caller_ask(struct kafka_caller *caller, enum kafka_key key, int16_t version, const void *body)
{
    return caller_take(caller, key, version, caller_send(caller, key, version, body));
}
