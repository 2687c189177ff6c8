/* libFuzzer: any bytes as what a broker may send: the first byte chooses, the rest is
 * the head of a frame, or a body. Invariants: what is taken lies within the bytes, and
 * encoded again it is the same. */
#include "base/crc32c.h"
#include "base/require.h"
#include "fuzz/fuzz.h"
#include "proto/peer/ask_frame.h"
#include "proto/peer/beat.h"
#include "proto/peer/frame.h"
#include "proto/peer/hello.h"
#include "proto/peer/raft_frame.h"

#include <stdlib.h>

static void same(const struct buf *out, const uint8_t *data, size_t size_bytes)
{
    REQUIRE(!out->bad);
    REQUIRE(out->len == size_bytes);
    REQUIRE(memcmp(out->data, data, size_bytes) == 0);
}

static void inside(struct slice part, const uint8_t *data, size_t size_bytes)
{
    REQUIRE(part.data >= data);
    REQUIRE(part.data + part.len <= data + size_bytes);
}

static void try_frame(const uint8_t *data, size_t size_bytes)
{
    struct peer_frame frame;
    if (size_bytes < PEER_FRAME_HEAD_BYTES || peer_frame_parse(data, PEER_FRAME_MAX_BYTES, &frame) != KQ_OK)
        return;
    REQUIRE(frame.body_bytes <= PEER_FRAME_MAX_BYTES);
    const uint8_t *body = data + PEER_FRAME_HEAD_BYTES;
    if (frame.body_bytes > size_bytes - PEER_FRAME_HEAD_BYTES || !peer_frame_check(&frame, 0, body))
        return;
    uint8_t head[PEER_FRAME_HEAD_BYTES];
    struct slice part = slice_of(body, frame.body_bytes);
    peer_frame_head(head, 0, frame.type, frame.flags, &part, 1);
    if (get_le16(data + 10) == 0) /* a greeting of version 1, or a refusal */
        put_le16(head + 10, 0);
    REQUIRE(memcmp(head, data, sizeof head) == 0);
}

static void try_hello(const uint8_t *data, size_t size_bytes)
{
    struct hello hello;
    if (hello_decode(data, size_bytes, &hello) != KQ_OK)
        return;
    uint8_t again[HELLO_BYTES];
    hello_encode(&hello, again);
    REQUIRE(size_bytes == sizeof again);
    REQUIRE(memcmp(again, data, sizeof again) == 0);
    struct hello self = hello;
    struct fault fault;
    self.kind = PEER_KIND_FORM;
    REQUIRE(hello_judge(&self, &hello, "here", &fault) == KQ_EXISTS);
    REQUIRE(fault.text[0] != '\0');
}

static void try_beat(const uint8_t *data, size_t size_bytes)
{
    struct beat beat;
    if (beat_decode(data, size_bytes, &beat) != KQ_OK)
        return;
    struct buf out;
    buf_init(&out, size_bytes);
    beat_put_head(&out, &beat);
    for (uint32_t i = 0; i < beat.change_count; i++) {
        struct beat_change change;
        beat_change(&beat, i, &change);
        REQUIRE(change.kind == BEAT_NONE || change.term != 0);
        beat_put_change(&out, &change);
    }
    same(&out, data, size_bytes);
    buf_fini(&out);
}

static void try_raft(const uint8_t *data, size_t size_bytes)
{
    struct raft_frame frame;
    if (raft_frame_decode(data, size_bytes, &frame) != KQ_OK)
        return;
    struct raft_seat seats[RAFT_SEATS_MAX];
    struct raft_config config = {.idx = frame.config_idx, .count = frame.seat_count, .seats = seats};
    for (uint32_t i = 0; i < frame.seat_count; i++)
        raft_frame_seat(&frame, i, &seats[i]);
    struct raft_frame again = frame;
    if (frame.has_config)
        again.message.config = &config;
    else
        REQUIRE(frame.seat_count == 0);
    struct buf out;
    buf_init(&out, size_bytes);
    raft_frame_put_head(&out, &again);
    uint64_t bodies_bytes = 0;
    for (uint32_t i = 0; i < frame.entry_count; i++) {
        struct raft_frame_entry entry;
        raft_frame_entry(&frame, i, &entry);
        REQUIRE(entry.idx == frame.message.prev_idx + 1 + i);
        bodies_bytes += entry.body_bytes;
        raft_frame_put_entry(&out, &entry);
    }
    inside(slice_of(frame.state, frame.state_bytes), data, size_bytes);
    inside(slice_of(frame.bodies, (size_t)bodies_bytes), data, size_bytes);
    buf_put(&out, frame.state, frame.state_bytes);
    REQUIRE(out.len == frame.meta_bytes);
    buf_put(&out, frame.bodies, (size_t)bodies_bytes);
    same(&out, data, size_bytes);
    uint32_t crc;
    if (raft_frame_crc(&frame, data, &crc))
        REQUIRE(crc == crc32c(0, data, size_bytes));
    buf_fini(&out);
}

static void try_ask(const uint8_t *data, size_t size_bytes)
{
    struct ask_frame ask;
    if (ask_frame_decode(data, size_bytes, &ask) != KQ_OK)
        return;
    REQUIRE(ask.wait_us >= 0);
    inside(ask.question, data, size_bytes);
    uint8_t head[ASK_FRAME_HEAD_BYTES];
    ask_frame_head(head, &ask);
    REQUIRE(memcmp(head, data, sizeof head) == 0);
}

static void try_answer(const uint8_t *data, size_t size_bytes)
{
    struct answer_frame answer;
    if (answer_frame_decode(data, size_bytes, &answer) != KQ_OK)
        return;
    REQUIRE(answer.fault.err < KQ_ERR_COUNT);
    inside(answer.answer, data, size_bytes);
    struct buf out;
    buf_init(&out, size_bytes + FAULT_TEXT_BYTES);
    answer_frame_put(&out, answer.number, &answer.fault);
    struct answer_frame again;
    REQUIRE(answer_frame_decode(out.data, out.len, &again) == KQ_OK);
    REQUIRE(again.number == answer.number);
    REQUIRE(again.fault.err == answer.fault.err);
    buf_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes)
{
    static void (*const tries[])(const uint8_t *data, size_t size_bytes) = {try_frame, try_hello, try_beat,
                                                                            try_raft,  try_ask,   try_answer};
    if (size_bytes == 0)
        return 0;
    uint8_t *copy = malloc(size_bytes); /* of exactly this size, so that a step beyond it is seen */
    REQUIRE(copy != NULL);
    memcpy(copy, data + 1, size_bytes - 1);
    tries[data[0] % (sizeof tries / sizeof tries[0])](copy, size_bytes - 1);
    free(copy);
    return 0;
}
