/* What brokers say to each other: every structure there and back, and everything
 * that is not one refused. */
#include "base/crc32c.h"
#include "proto/peer/ask_frame.h"
#include "proto/peer/beat.h"
#include "proto/peer/frame.h"
#include "proto/peer/hello.h"
#include "proto/peer/raft_frame.h"
#include "support/unit.h"

static struct uuid id_of(uint8_t n)
{
    struct uuid id;
    for (int i = 0; i < UUID_BYTES; i++)
        id.bytes[i] = (uint8_t)(n + i);
    return id;
}

/* ---- frames ------------------------------------------------------------------------- */

static void a_frame_comes_back(void)
{
    const struct slice parts[] = {slice_text("one "), slice_text(""), slice_text("two")};
    uint8_t head[PEER_FRAME_HEAD_BYTES];
    peer_frame_head(head, 7, PEER_ASK, 5, parts, 3);
    struct peer_frame frame;
    CU_ASSERT_EQUAL(peer_frame_parse(head, 100, &frame), KQ_OK);
    CU_ASSERT_EQUAL(frame.type, PEER_ASK);
    CU_ASSERT_EQUAL(frame.flags, 5);
    CU_ASSERT_EQUAL(frame.body_bytes, 7);
    CU_ASSERT_TRUE(peer_frame_check(&frame, 7, (const uint8_t *)"one two"));
    CU_ASSERT_FALSE(peer_frame_check(&frame, 7, (const uint8_t *)"one twO"));
    uint8_t other[PEER_FRAME_HEAD_BYTES];
    peer_frame_head_of(other, 7, PEER_ASK, 5, 7, crc32c(0, "one two", 7));
    CU_ASSERT_EQUAL(memcmp(head, other, sizeof head), 0);
}

static void a_frame_of_another_connection_does_not_pass(void)
{
    uint8_t head[PEER_FRAME_HEAD_BYTES];
    uint32_t seed = peer_frame_seed(1, 2);
    peer_frame_head(head, seed, PEER_BEAT, 0, NULL, 0);
    struct peer_frame frame;
    CU_ASSERT_EQUAL(peer_frame_parse(head, 0, &frame), KQ_OK);
    CU_ASSERT_TRUE(peer_frame_check(&frame, seed, NULL));
    CU_ASSERT_FALSE(peer_frame_check(&frame, peer_frame_seed(2, 1), NULL));
    CU_ASSERT_FALSE(peer_frame_check(&frame, peer_frame_seed(1, 3), NULL));
}

/* A head that was changed is refused by itself, and a body by its checksum. */
static void bits_count(enum peer_frame_type type, uint32_t seed)
{
    const char *text = "body";
    struct slice part = slice_text(text);
    uint8_t whole[PEER_FRAME_HEAD_BYTES + 4];
    peer_frame_head(whole, seed, type, 0, &part, 1);
    memcpy(whole + PEER_FRAME_HEAD_BYTES, text, 4);
    for (size_t bit = 0; bit < 8 * sizeof whole; bit++) {
        whole[bit / 8] ^= (uint8_t)(1U << bit % 8);
        struct peer_frame frame;
        enum kq_err err = peer_frame_parse(whole, PEER_FRAME_MAX_BYTES, &frame);
        CU_ASSERT_EQUAL(err, bit / 8 < PEER_FRAME_HEAD_BYTES ? KQ_GARBAGE : KQ_OK);
        bool taken =
            err == KQ_OK && frame.body_bytes == 4 && peer_frame_check(&frame, seed, whole + PEER_FRAME_HEAD_BYTES);
        CU_ASSERT_FALSE(taken);
        whole[bit / 8] ^= (uint8_t)(1U << bit % 8);
    }
}

static void every_bit_of_a_frame_counts(void)
{
    for (uint32_t seed = 0; seed < 1000; seed += 111) {
        bits_count(PEER_HELLO, seed);
        bits_count(PEER_RAFT, seed);
        bits_count(PEER_BEAT, seed);
        bits_count(PEER_ANSWER, seed);
    }
}

/* Frames of version 1 have no check of their head. */
static void of_version_1_a_greeting_is_understood_and_no_more(void)
{
    const enum peer_frame_type types[] = {PEER_HELLO, PEER_REFUSAL, PEER_BEAT, PEER_RAFT, PEER_ASK};
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        uint8_t head[PEER_FRAME_HEAD_BYTES];
        struct peer_frame frame;
        peer_frame_head(head, 0, types[i], 0, NULL, 0);
        CU_ASSERT_EQUAL(get_le16(head + 10) == 0, types[i] == PEER_REFUSAL);
        put_le16(head + 10, 0);
        CU_ASSERT_EQUAL(peer_frame_parse(head, 0, &frame), i < 2 ? KQ_OK : KQ_GARBAGE);
    }
}

static void claim(uint8_t head[PEER_FRAME_HEAD_BYTES], uint32_t size_bytes)
{
    put_le32(head, size_bytes);
    put_le16(head + 10, peer_frame_head_check(head));
}

static void a_size_is_judged_before_anything_else(void)
{
    uint8_t head[PEER_FRAME_HEAD_BYTES];
    struct peer_frame frame;
    peer_frame_head_of(head, 0, PEER_RAFT, 0, 1001, 0);
    CU_ASSERT_EQUAL(peer_frame_parse(head, 1000, &frame), KQ_TOO_LARGE);
    CU_ASSERT_EQUAL(peer_frame_parse(head, 1001, &frame), KQ_OK);
    claim(head, 0x80000000U);
    CU_ASSERT_EQUAL(peer_frame_parse(head, PEER_FRAME_MAX_BYTES, &frame), KQ_TOO_LARGE);
    claim(head, UINT32_MAX);
    CU_ASSERT_EQUAL(peer_frame_parse(head, PEER_FRAME_MAX_BYTES, &frame), KQ_TOO_LARGE);
    claim(head, 3); /* less than its own type */
    CU_ASSERT_EQUAL(peer_frame_parse(head, 1000, &frame), KQ_GARBAGE);
    memcpy(head, "GET / HTTP/1", sizeof head);
    CU_ASSERT_EQUAL(peer_frame_parse(head, PEER_FRAME_MAX_BYTES, &frame), KQ_GARBAGE);
}

/* ---- hello -------------------------------------------------------------------------- */

static struct hello hello_of(uint32_t broker_id, uint32_t to)
{
    return (struct hello){.version = PEER_VERSION,
                          .kind = PEER_KIND_RAFT,
                          .cluster_id = id_of(100),
                          .broker_id = broker_id,
                          .incarnation = id_of((uint8_t)broker_id),
                          .boot = 3,
                          .to_broker_id = to,
                          .to_incarnation = id_of((uint8_t)to),
                          .session = UINT64_C(0x123456789abcdef)};
}

static void a_hello_comes_back(void)
{
    struct hello hello = hello_of(1, 2);
    uint8_t bytes[HELLO_BYTES];
    hello_encode(&hello, bytes);
    struct hello back;
    CU_ASSERT_EQUAL(hello_decode(bytes, sizeof bytes, &back), KQ_OK);
    CU_ASSERT_EQUAL(back.kind, PEER_KIND_RAFT);
    CU_ASSERT_TRUE(uuid_equal(&back.cluster_id, &hello.cluster_id));
    CU_ASSERT_EQUAL(back.broker_id, 1);
    CU_ASSERT_TRUE(uuid_equal(&back.incarnation, &hello.incarnation));
    CU_ASSERT_EQUAL(back.boot, 3);
    CU_ASSERT_EQUAL(back.to_broker_id, 2);
    CU_ASSERT_TRUE(uuid_equal(&back.to_incarnation, &hello.to_incarnation));
    CU_ASSERT_EQUAL(back.session, hello.session);
    for (size_t n = 0; n < sizeof bytes; n++)
        CU_ASSERT_NOT_EQUAL(hello_decode(bytes, n, &back), KQ_OK);
    bytes[6] = PEER_KIND_END;
    CU_ASSERT_EQUAL(hello_decode(bytes, sizeof bytes, &back), KQ_GARBAGE);
}

static void a_hello_of_another_version_is_told_from_garbage(void)
{
    struct hello hello = hello_of(1, 2);
    hello.version = PEER_VERSION + 1;
    uint8_t bytes[HELLO_BYTES + 40] = {0};
    hello_encode(&hello, bytes);
    struct hello back;
    CU_ASSERT_EQUAL(hello_decode(bytes, sizeof bytes, &back), KQ_BAD_VERSION);
    CU_ASSERT_EQUAL(back.version, PEER_VERSION + 1);
    CU_ASSERT_EQUAL(hello_decode(bytes, 6, &back), KQ_BAD_VERSION);
    bytes[0] ^= 1;
    CU_ASSERT_EQUAL(hello_decode(bytes, sizeof bytes, &back), KQ_GARBAGE);
}

static enum kq_err judge(const struct hello *self, const struct hello *other, const char *word)
{
    struct fault fault = {.err = KQ_OK};
    enum kq_err err = hello_judge(self, other, "host:7070", &fault);
    if (err != KQ_OK) {
        CU_ASSERT_PTR_NOT_NULL(strstr(fault.text, word));
        CU_ASSERT_PTR_NOT_NULL(strstr(fault.text, "host:7070"));
    }
    return err;
}

static void strangers_are_refused_with_their_reason(void)
{
    struct hello self = hello_of(1, 2);
    struct hello other = hello_of(2, 1);
    CU_ASSERT_EQUAL(judge(&self, &other, ""), KQ_OK);
    other.cluster_id = id_of(101);
    CU_ASSERT_EQUAL(judge(&self, &other, "another cluster"), KQ_INVALID);
    self.kind = PEER_KIND_FORM;
    CU_ASSERT_EQUAL(judge(&self, &other, ""), KQ_OK);
    self = hello_of(1, 0);
    self.to_incarnation = (struct uuid){{0}};
    other = hello_of(1, 0);
    CU_ASSERT_EQUAL(judge(&self, &other, "itself"), KQ_EXISTS);
    other.incarnation = id_of(50);
    CU_ASSERT_EQUAL(judge(&self, &other, "two brokers have the id 1"), KQ_EXISTS);
    other = hello_of(2, 3);
    CU_ASSERT_EQUAL(judge(&self, &other, "looks for broker 3"), KQ_INVALID);
    other = hello_of(3, 1);
    self = hello_of(1, 2);
    CU_ASSERT_EQUAL(judge(&self, &other, "not broker 2"), KQ_INVALID);
    other = hello_of(2, 1);
    other.incarnation = id_of(60);
    CU_ASSERT_EQUAL(judge(&self, &other, "new data folder"), KQ_AGAIN);
    other = hello_of(2, 1);
    other.to_incarnation = id_of(60);
    CU_ASSERT_EQUAL(judge(&self, &other, "emptied"), KQ_AGAIN);
}

/* ---- raft ------------------------------------------------------------------------------ */

static const char *const bodies[] = {"first body", "", "the third"};

static struct raft_frame append_frame(void)
{
    return (struct raft_frame){.topic_id = id_of(1),
                               .partition = 9,
                               .message = {.type = RAFT_MSG_APPEND,
                                           .from = {1, id_of(2)},
                                           .to = {2, id_of(3)},
                                           .term = 1001,
                                           .prev_idx = 1002,
                                           .prev_term = 1003,
                                           .last_idx = 1005,
                                           .entry_term = 1006,
                                           .commit_idx = 1007,
                                           .match_idx = 1008,
                                           .hint_idx = 1009,
                                           .hint_term = 1010,
                                           .round = 1011,
                                           .boot = 1012,
                                           .to_boot = 1013,
                                           .granted = true,
                                           .forced = false,
                                           .refused = true},
                               .entry_count = 3};
}

/* A whole body in out. */
static void make_append(struct buf *out)
{
    struct raft_frame frame = append_frame();
    raft_frame_put_head(out, &frame);
    for (uint32_t i = 0; i < 3; i++) {
        struct raft_frame_entry entry = {.type = (uint8_t)(1 + i),
                                         .term = 1006,
                                         .idx = 1003 + i,
                                         .first_off = 50 + i,
                                         .record_count = 7 + i,
                                         .max_time_ms = -1 + (int64_t)i,
                                         .body_bytes = (uint32_t)strlen(bodies[i]),
                                         .body_crc = crc32c(0, bodies[i], strlen(bodies[i]))};
        raft_frame_put_entry(out, &entry);
    }
    for (int i = 0; i < 3; i++)
        buf_put(out, bodies[i], strlen(bodies[i]));
    CU_ASSERT_FALSE(out->bad);
}

static void an_append_comes_back_field_by_field(void)
{
    struct buf out;
    buf_init(&out, 10000);
    make_append(&out);
    struct raft_frame frame;
    CU_ASSERT_EQUAL_FATAL(raft_frame_decode(out.data, out.len, &frame), KQ_OK);
    struct raft_frame sent = append_frame();
    struct uuid topic_id = id_of(1);
    CU_ASSERT_TRUE(uuid_equal(&frame.topic_id, &topic_id));
    CU_ASSERT_EQUAL(frame.partition, 9);
    const struct raft_message *a = &frame.message;
    const struct raft_message *b = &sent.message;
    CU_ASSERT_EQUAL(a->type, RAFT_MSG_APPEND);
    CU_ASSERT_TRUE(raft_member_equal(&a->from, &b->from));
    CU_ASSERT_TRUE(raft_member_equal(&a->to, &b->to));
    CU_ASSERT_EQUAL(a->term, b->term);
    CU_ASSERT_EQUAL(a->prev_idx, b->prev_idx);
    CU_ASSERT_EQUAL(a->prev_term, b->prev_term);
    CU_ASSERT_EQUAL(a->last_idx, b->last_idx);
    CU_ASSERT_EQUAL(a->entry_term, b->entry_term);
    CU_ASSERT_EQUAL(a->commit_idx, b->commit_idx);
    CU_ASSERT_EQUAL(a->match_idx, b->match_idx);
    CU_ASSERT_EQUAL(a->hint_idx, b->hint_idx);
    CU_ASSERT_EQUAL(a->hint_term, b->hint_term);
    CU_ASSERT_EQUAL(a->round, b->round);
    CU_ASSERT_EQUAL(a->boot, b->boot);
    CU_ASSERT_EQUAL(a->to_boot, b->to_boot);
    CU_ASSERT_TRUE(a->granted);
    CU_ASSERT_FALSE(a->forced);
    CU_ASSERT_TRUE(a->refused);
    CU_ASSERT_PTR_NULL(a->config);
    CU_ASSERT_FALSE(frame.has_config);
    CU_ASSERT_EQUAL(frame.entry_count, 3);
    const uint8_t *body = frame.bodies;
    for (uint32_t i = 0; i < 3; i++) {
        struct raft_frame_entry entry;
        raft_frame_entry(&frame, i, &entry);
        CU_ASSERT_EQUAL(entry.type, 1 + i);
        CU_ASSERT_EQUAL(entry.term, 1006);
        CU_ASSERT_EQUAL(entry.idx, 1003 + i);
        CU_ASSERT_EQUAL(entry.first_off, 50 + i);
        CU_ASSERT_EQUAL(entry.record_count, 7 + i);
        CU_ASSERT_EQUAL(entry.max_time_ms, -1 + (int64_t)i);
        CU_ASSERT_EQUAL(entry.body_bytes, strlen(bodies[i]));
        CU_ASSERT_EQUAL(memcmp(body, bodies[i], entry.body_bytes), 0);
        body += entry.body_bytes;
    }
    uint32_t crc;
    CU_ASSERT_TRUE(raft_frame_crc(&frame, out.data, &crc));
    CU_ASSERT_EQUAL(crc, crc32c(0, out.data, out.len));
    buf_fini(&out);
}

static void a_reset_brings_its_configuration_and_state(void)
{
    struct raft_seat seats[] = {{{1, id_of(2)}, RAFT_SEAT_VOTER}, {{2, id_of(3)}, RAFT_SEAT_LEARNER | RAFT_SEAT_OLD}};
    struct raft_config config = {.idx = 77, .count = 2, .seats = seats};
    struct raft_frame frame = {.topic_id = id_of(1),
                               .message = {.type = RAFT_MSG_RESET,
                                           .from = {1, id_of(2)},
                                           .to = {2, id_of(3)},
                                           .prev_idx = 80,
                                           .config = &config},
                               .next_off = 500,
                               .start_off = 400,
                               .state_bytes = 5};
    struct buf out;
    buf_init(&out, 10000);
    raft_frame_put_head(&out, &frame);
    buf_put(&out, "state", 5);
    struct raft_frame back;
    CU_ASSERT_EQUAL_FATAL(raft_frame_decode(out.data, out.len, &back), KQ_OK);
    CU_ASSERT_TRUE(back.has_config);
    CU_ASSERT_EQUAL(back.config_idx, 77);
    CU_ASSERT_EQUAL(back.next_off, 500);
    CU_ASSERT_EQUAL(back.start_off, 400);
    CU_ASSERT_EQUAL(back.state_bytes, 5);
    CU_ASSERT_EQUAL(memcmp(back.state, "state", 5), 0);
    CU_ASSERT_EQUAL_FATAL(back.seat_count, 2);
    for (uint32_t i = 0; i < 2; i++) {
        struct raft_seat seat;
        raft_frame_seat(&back, i, &seat);
        CU_ASSERT_TRUE(raft_member_equal(&seat.member, &seats[i].member));
        CU_ASSERT_EQUAL(seat.kinds, seats[i].kinds);
    }
    uint32_t crc;
    CU_ASSERT_TRUE(raft_frame_crc(&back, out.data, &crc));
    CU_ASSERT_EQUAL(crc, crc32c(0, out.data, out.len));
    buf_fini(&out);
}

static void a_raft_message_that_does_not_add_up_is_refused(void)
{
    struct buf out;
    buf_init(&out, 10000);
    make_append(&out);
    struct raft_frame frame;
    for (size_t n = 0; n < out.len; n++)
        CU_ASSERT_EQUAL(raft_frame_decode(out.data, n, &frame), KQ_GARBAGE);
    const struct {
        size_t at;
        uint8_t value;
    } wrong[] = {
        {20, 0},          {20, 11},         {20, RAFT_MSG_BEAT},
        {21, 16},         {21, 8},          {22, 1},
        {196, 1},         {183, 0x80},      {184, 1},
        {187, 0xff},      {188, 2},         {188, 4},
        {191, 1},         {192, 1},         {195, 0xff},
        {200, 0},         {200, 5},         {201, 1},
        {224, 11},        {227, 1},         {232, 0},
        {248 + 40, 0xff}, {248 + 47, 0xff}, {215, 0x80},
        {88, 0},          {95, 0x40},       {71, 0x80},
        {160, 1},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        uint8_t was = out.data[wrong[i].at];
        out.data[wrong[i].at] = wrong[i].value;
        CU_ASSERT_EQUAL(raft_frame_decode(out.data, out.len, &frame), KQ_GARBAGE);
        out.data[wrong[i].at] = was;
    }
    CU_ASSERT_EQUAL(raft_frame_decode(out.data, out.len, &frame), KQ_OK);
    out.data[out.len - 1] ^= 1;
    uint32_t crc;
    CU_ASSERT_EQUAL(raft_frame_decode(out.data, out.len, &frame), KQ_OK);
    CU_ASSERT_FALSE(raft_frame_crc(&frame, out.data, &crc));
    buf_fini(&out);
}

/* ---- beats ------------------------------------------------------------------------------- */

static void a_beat_comes_back(void)
{
    struct beat beat = {
        .number = 8, .ack_session = 9, .ack_number = 10, .change_count = 3, .anew = true, .more = false};
    struct buf out;
    buf_init(&out, 10000);
    beat_put_head(&out, &beat);
    for (uint32_t i = 0; i < 3; i++) {
        struct beat_change change = {.topic_id = id_of((uint8_t)i),
                                     .partition = i,
                                     .kind = (enum beat_kind)i,
                                     .term = 5 * i,
                                     .incarnation = id_of(40)};
        beat_put_change(&out, &change);
    }
    struct beat back;
    CU_ASSERT_EQUAL_FATAL(beat_decode(out.data, out.len, &back), KQ_OK);
    CU_ASSERT_EQUAL(back.number, 8);
    CU_ASSERT_EQUAL(back.ack_session, 9);
    CU_ASSERT_EQUAL(back.ack_number, 10);
    CU_ASSERT_EQUAL(back.change_count, 3);
    CU_ASSERT_TRUE(back.anew);
    CU_ASSERT_FALSE(back.more);
    for (uint32_t i = 0; i < 3; i++) {
        struct beat_change change;
        beat_change(&back, i, &change);
        struct uuid topic_id = id_of((uint8_t)i);
        struct uuid incarnation = id_of(40);
        CU_ASSERT_TRUE(uuid_equal(&change.topic_id, &topic_id));
        CU_ASSERT_EQUAL(change.partition, i);
        CU_ASSERT_EQUAL(change.kind, i);
        CU_ASSERT_EQUAL(change.term, 5 * i);
        CU_ASSERT_TRUE(uuid_equal(&change.incarnation, &incarnation));
    }
    for (size_t n = 0; n < out.len; n++)
        CU_ASSERT_EQUAL(beat_decode(out.data, n, &back), KQ_GARBAGE);
    const size_t wrong[] = {24, 27, 28, 29, 31, BEAT_HEAD_BYTES + 20, BEAT_HEAD_BYTES + 21, BEAT_HEAD_BYTES + 23};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        out.data[wrong[i]] ^= 0x84;
        CU_ASSERT_EQUAL(beat_decode(out.data, out.len, &back), KQ_GARBAGE);
        out.data[wrong[i]] ^= 0x84;
    }
    memset(out.data, 0, 8); /* number 0 */
    CU_ASSERT_EQUAL(beat_decode(out.data, out.len, &back), KQ_GARBAGE);
    buf_fini(&out);
}

/* ---- asking -------------------------------------------------------------------------------- */

static void a_question_comes_back(void)
{
    struct ask_frame ask = {.number = 11, .wait_us = 12, .verb = 13};
    uint8_t bytes[ASK_FRAME_HEAD_BYTES + 3];
    ask_frame_head(bytes, &ask);
    memcpy(bytes + ASK_FRAME_HEAD_BYTES, "why", 3);
    struct ask_frame back;
    CU_ASSERT_EQUAL(ask_frame_decode(bytes, sizeof bytes, &back), KQ_OK);
    CU_ASSERT_EQUAL(back.number, 11);
    CU_ASSERT_EQUAL(back.wait_us, 12);
    CU_ASSERT_EQUAL(back.verb, 13);
    CU_ASSERT_TRUE(slice_equal_text(back.question, "why"));
    for (size_t n = 0; n < ASK_FRAME_HEAD_BYTES; n++)
        CU_ASSERT_EQUAL(ask_frame_decode(bytes, n, &back), KQ_GARBAGE);
    bytes[15] = 0x80; /* waits for less than nothing */
    CU_ASSERT_EQUAL(ask_frame_decode(bytes, sizeof bytes, &back), KQ_GARBAGE);
}

static void an_answer_comes_back(void)
{
    struct fault fault = {.err = KQ_NO_SPACE, .text = "the disk of broker 2 is full"};
    struct buf out;
    buf_init(&out, 1000);
    answer_frame_put(&out, 14, &fault);
    size_t head_bytes = out.len;
    buf_put(&out, "because", 7);
    struct answer_frame back;
    CU_ASSERT_EQUAL(answer_frame_decode(out.data, out.len, &back), KQ_OK);
    CU_ASSERT_EQUAL(back.number, 14);
    CU_ASSERT_EQUAL(back.fault.err, KQ_NO_SPACE);
    CU_ASSERT_STRING_EQUAL(back.fault.text, fault.text);
    CU_ASSERT_TRUE(slice_equal_text(back.answer, "because"));
    for (size_t n = 0; n < head_bytes; n++)
        CU_ASSERT_EQUAL(answer_frame_decode(out.data, n, &back), KQ_GARBAGE);
    out.data[8] = KQ_ERR_COUNT;
    CU_ASSERT_EQUAL(answer_frame_decode(out.data, out.len, &back), KQ_GARBAGE);
    buf_reset(&out);
    fault = (struct fault){.err = KQ_OK, .text = "not sent"};
    answer_frame_put(&out, 15, &fault);
    CU_ASSERT_EQUAL(answer_frame_decode(out.data, out.len, &back), KQ_OK);
    CU_ASSERT_EQUAL(back.fault.err, KQ_OK);
    CU_ASSERT_STRING_EQUAL(back.fault.text, "");
    CU_ASSERT_EQUAL(back.answer.len, 0);
    buf_fini(&out);
}

static const struct unit_case cases[] = {
    {"a frame comes back", a_frame_comes_back},
    {"a frame of another connection does not pass", a_frame_of_another_connection_does_not_pass},
    {"every bit of a frame counts", every_bit_of_a_frame_counts},
    {"of version 1 a greeting is understood, and no more", of_version_1_a_greeting_is_understood_and_no_more},
    {"a size is judged before anything else", a_size_is_judged_before_anything_else},
    {"a hello comes back", a_hello_comes_back},
    {"a hello of another version is told from garbage", a_hello_of_another_version_is_told_from_garbage},
    {"strangers are refused with their reason", strangers_are_refused_with_their_reason},
    {"an append comes back field by field", an_append_comes_back_field_by_field},
    {"a reset brings its configuration and state", a_reset_brings_its_configuration_and_state},
    {"a raft message that does not add up is refused", a_raft_message_that_does_not_add_up_is_refused},
    {"a beat comes back", a_beat_comes_back},
    {"a question comes back", a_question_comes_back},
    {"an answer comes back", an_answer_comes_back},
};
UNIT_MAIN("peer frames", cases)
