/* libFuzzer: any bytes as what another broker asks or answers: messages and groups.
 * The first byte chooses which. What is taken is written and read again the same. */
#include "api/ask_wire.h"
#include "base/require.h"
#include "fuzz/fuzz.h"
#include "group/group_wire.h"

#include <stdlib.h>

/* Exactly the bytes that were decoded must come out again: there is one way to say it. */
static void same_bytes(const struct buf *out, const uint8_t *body, size_t body_bytes)
{
    REQUIRE(!out->bad);
    REQUIRE(out->len == body_bytes);
    REQUIRE(memcmp(out->data, body, body_bytes) == 0);
}

static void same_head(const uint8_t *head, uint32_t head_bytes, const uint8_t *body, size_t body_bytes)
{
    REQUIRE(head_bytes <= body_bytes);
    REQUIRE(memcmp(head, body, head_bytes) == 0);
}

static void try_group(const uint8_t *body, size_t body_bytes)
{
    static struct group_asked asked;
    struct buf out;
    buf_init(&out, GROUP_WIRE_QUESTION_MAX_BYTES);
    if (group_wire_asked(&asked, body, body_bytes) == KQ_OK) {
        group_wire_ask(&asked.call, asked.coordinator, &out);
        /* A text that holds a NUL is refused, but metadata may hold one and ends there. */
        if (asked.call.metadata == NULL || out.len == body_bytes)
            same_bytes(&out, body, body_bytes);
    }
    buf_fini(&out);
}

static void try_group_answer(const uint8_t *body, size_t body_bytes)
{
    struct group_call call = {.verb = GROUP_DESCRIBE};
    struct buf out;
    buf_init(&out, GROUP_WIRE_ANSWER_MAX_BYTES);
    if (group_wire_answered(&call, body, body_bytes) == KQ_OK) {
        group_wire_answer(&call, &out);
        same_bytes(&out, body, body_bytes);
    } else {
        REQUIRE(call.ids == NULL && call.groups == NULL && call.rows == NULL);
    }
    group_call_fini(&call);
    buf_fini(&out);
}

static void try_event(const uint8_t *body, size_t body_bytes)
{
    struct group_event event;
    char topic[GROUP_NAME_MAX_BYTES + 1];
    struct buf out;
    buf_init(&out, GROUP_WIRE_EVENT_MAX_BYTES);
    if (group_wire_event_decode(&event, topic, body, body_bytes) == KQ_OK) {
        group_wire_event(&event, &out);
        same_bytes(&out, body, body_bytes);
    }
    buf_fini(&out);
}

static void try_messages(uint8_t which, const uint8_t *body, size_t body_bytes)
{
    uint8_t head[ASK_WIRE_HEAD_MAX_BYTES];
    struct ask_publish publish;
    struct ask_read read;
    struct ask_reading reading;
    struct ask_watch watch;
    struct ask_watched watched;
    if (which == 3 && ask_publish_decode(&publish, body, body_bytes) == KQ_OK) {
        REQUIRE(publish.record_count > 0 && publish.head_bytes < body_bytes);
        same_head(head, ask_publish_encode(&publish, head), body, body_bytes);
    }
    if (which == 4 && ask_read_decode(&read, body, body_bytes) == KQ_OK) {
        REQUIRE(read.max_bytes <= ASK_READ_MAX_BYTES);
        same_head(head, ask_read_encode(&read, head), body, body_bytes);
    }
    if (which == 5 && ask_reading_decode(&reading, body, body_bytes) == KQ_OK)
        same_head(head, ask_reading_encode(&reading, head), body, body_bytes);
    if (which == 6 && ask_watch_decode(&watch, body, body_bytes) == KQ_OK)
        same_head(head, ask_watch_encode(&watch, head), body, body_bytes);
    if (which == 7 && ask_watched_decode(&watched, body, body_bytes) == KQ_OK)
        same_head(head, ask_watched_encode(&watched, head), body, body_bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes)
{
    if (size_bytes == 0)
        return 0;
    /* Memory of exactly that size, so that a sanitizer sees a step too far. */
    size_t body_bytes = size_bytes - 1;
    uint8_t *body = malloc(body_bytes == 0 ? 1 : body_bytes);
    REQUIRE(body != NULL);
    memcpy(body, data + 1, body_bytes);
    uint8_t which = data[0] % 8;
    if (which == 0)
        try_group(body, body_bytes);
    else if (which == 1)
        try_group_answer(body, body_bytes);
    else if (which == 2)
        try_event(body, body_bytes);
    else
        try_messages(which, body, body_bytes);
    free(body);
    return 0;
}
