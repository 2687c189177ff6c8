/* See talk.h. */
#include "sim/talk.h"

#include "base/require.h"
#include "sim/judge.h"
#include "sim/session.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { FRAME_MAX_BYTES = 64 * 1024 * 1024 };

bool talk_open(struct talk *t, unsigned broker, int64_t timeout_ns)
{
    REQUIRE(t->fd < 0);
    t->fd = session_dial(broker, BROKER_KAFKA_PORT, timeout_ns);
    t->broker = broker;
    t->asked = t->answered = 0;
    return t->fd >= 0;
}

void talk_close(struct talk *t)
{
    if (t->fd >= 0)
        (void)close(t->fd);
    t->fd = -1;
}

void talk_fini(struct talk *t)
{
    talk_close(t);
    kafka_arena_fini(&t->arena);
    free(t->frame);
    *t = (struct talk){.fd = -1};
}

bool talk_say(struct talk *t, enum kafka_key key, int16_t version, const void *body)
{
    struct buf out;
    if (t->fd < 0)
        return false;
    buf_init(&out, FRAME_MAX_BYTES);
    kafka_request_put(&out, kafka_api((int16_t)key), version, ++t->asked, slice_text("sim"), body);
    REQUIRE(!out.bad);
    ssize_t sent = send(t->fd, out.data, out.len, MSG_NOSIGNAL);
    bool said = sent == (ssize_t)out.len;
    buf_fini(&out);
    if (!said)
        talk_close(t);
    return said;
}

static bool take(struct talk *t, uint8_t *to, size_t size_bytes)
{
    for (size_t done = 0; done < size_bytes;) {
        ssize_t got = recv(t->fd, to + done, size_bytes - done, 0);
        if (got <= 0)
            return false;
        done += (size_t)got;
    }
    return true;
}

const void *talk_hear(struct talk *t, enum kafka_key key, int16_t version)
{
    uint8_t head[KAFKA_SIZE_BYTES];
    uint32_t size_bytes = 0;
    int32_t id = 0;
    void *answer = NULL;
    if (t->fd < 0)
        return NULL;
    if (!take(t, head, sizeof head)) {
        talk_close(t);
        return NULL;
    }
    if (kafka_frame_size(head, FRAME_MAX_BYTES, &size_bytes) != KQ_OK)
        judge_fails("a Kafka client is sent a frame of a size that cannot be");
    free(t->frame);
    t->frame = malloc(size_bytes);
    REQUIRE(t->frame != NULL);
    if (!take(t, t->frame, size_bytes)) {
        talk_close(t);
        return NULL;
    }
    const struct kafka_api *api = kafka_api((int16_t)key);
    kafka_arena_fini(&t->arena);
    kafka_arena_init(&t->arena, FRAME_MAX_BYTES);
    if (kafka_answer_open(slice_of(t->frame, size_bytes), api, version, &t->arena, &id, &answer) != KQ_OK)
        judge_fails("a Kafka client cannot read an answer to %s", api->name);
    if (id != ++t->answered)
        judge_fails("a Kafka client is answered request %d when %d is due", id, t->answered);
    return answer;
}

const void *talk_ask(struct talk *t, enum kafka_key key, int16_t version, const void *body)
{
    return talk_say(t, key, version, body) ? talk_hear(t, key, version) : NULL;
}
