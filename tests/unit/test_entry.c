#include "log/entry.h"

#include "base/crc32c.h"
#include "support/unit.h"

static const struct uuid topic = {{1, 2, 3}};
static const struct uuid incarnation = {{9}};
static const uint8_t body[] = "some batches";

static struct entry_head make(const struct entry_seed *seed, uint8_t out[ENTRY_HEAD_BYTES])
{
    struct entry_head head = {.flushed_idx = 41,
                              .type = LOG_ENTRY_RECORDS,
                              .body_bytes = sizeof body,
                              .record_count = 7,
                              .term = 3,
                              .idx = 43,
                              .first_off = 1000,
                              .prev_crc = 0xabcdef};
    head.body_crc = entry_body_crc(seed, head.term, head.idx, crc32c(0, body, sizeof body), sizeof body);
    entry_encode(out, &head, seed);
    return head;
}

static void a_head_comes_back_as_it_was_made(void)
{
    struct entry_seed seed = entry_seed_make(&topic, 4, &incarnation);
    uint8_t bytes[ENTRY_HEAD_BYTES];
    struct entry_head head = make(&seed, bytes);
    struct entry_head back;
    CU_ASSERT_EQUAL_FATAL(entry_decode(bytes, sizeof bytes, &seed, &back), KQ_OK);
    CU_ASSERT_EQUAL(back.flushed_idx, head.flushed_idx);
    CU_ASSERT_EQUAL(back.type, head.type);
    CU_ASSERT_EQUAL(back.body_crc, head.body_crc);
    CU_ASSERT_EQUAL(back.body_bytes, head.body_bytes);
    CU_ASSERT_EQUAL(back.record_count, head.record_count);
    CU_ASSERT_EQUAL(back.term, head.term);
    CU_ASSERT_EQUAL(back.idx, head.idx);
    CU_ASSERT_EQUAL(back.first_off, head.first_off);
    CU_ASSERT_EQUAL(back.prev_crc, head.prev_crc);
    CU_ASSERT_TRUE(entry_body_ok(&seed, &back, body));
}

/* The format is what the head of entry.c says, byte by byte. */
static void the_bytes_stand_where_the_format_says(void)
{
    struct entry_seed seed = entry_seed_make(&topic, 4, &incarnation);
    uint8_t b[ENTRY_HEAD_BYTES];
    struct entry_head head = make(&seed, b);
    CU_ASSERT_EQUAL(get_le64(b + 8), 41);
    CU_ASSERT_EQUAL(memcmp(b + 16, "KQe1", 4), 0);
    CU_ASSERT_EQUAL(b[20], 1);
    CU_ASSERT_EQUAL(get_le16(b + 22), 1);
    CU_ASSERT_EQUAL(get_le32(b + 28), head.body_crc);
    CU_ASSERT_EQUAL(get_le32(b + 32), sizeof body);
    CU_ASSERT_EQUAL(get_le32(b + 36), 7);
    CU_ASSERT_EQUAL(get_le64(b + 40), 3);
    CU_ASSERT_EQUAL(get_le64(b + 48), 43);
    CU_ASSERT_EQUAL(get_le64(b + 56), 1000);
    CU_ASSERT_EQUAL(get_le32(b + 64), 0xabcdef);
}

static void each_flipped_bit_is_noticed(void)
{
    struct entry_seed seed = entry_seed_make(&topic, 4, &incarnation);
    uint8_t bytes[ENTRY_HEAD_BYTES];
    (void)make(&seed, bytes);
    struct entry_head back;
    for (size_t bit = 0; bit < 8 * sizeof bytes; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        CU_ASSERT_NOT_EQUAL(entry_decode(bytes, sizeof bytes, &seed, &back), KQ_OK);
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    uint8_t other[sizeof body];
    CU_ASSERT_EQUAL(entry_decode(bytes, sizeof bytes, &seed, &back), KQ_OK);
    for (size_t bit = 0; bit < 8 * sizeof body; bit++) {
        memcpy(other, body, sizeof body);
        other[bit / 8] ^= (uint8_t)(1u << bit % 8);
        CU_ASSERT_FALSE(entry_body_ok(&seed, &back, other));
    }
}

static void an_entry_of_elsewhere_never_passes(void)
{
    struct entry_seed seed = entry_seed_make(&topic, 4, &incarnation);
    struct uuid other = {{1, 2, 4}};
    uint8_t bytes[ENTRY_HEAD_BYTES];
    struct entry_head back;
    struct entry_head head = make(&seed, bytes);
    struct entry_seed wrong = entry_seed_make(&topic, 5, &incarnation);
    CU_ASSERT_EQUAL(entry_decode(bytes, sizeof bytes, &wrong, &back), KQ_CORRUPT);
    CU_ASSERT_FALSE(entry_body_ok(&wrong, &head, body));
    wrong = entry_seed_make(&other, 4, &incarnation);
    CU_ASSERT_EQUAL(entry_decode(bytes, sizeof bytes, &wrong, &back), KQ_CORRUPT);
    wrong = entry_seed_make(&topic, 4, &other);
    CU_ASSERT_EQUAL(wrong.shared, seed.shared); /* replicas compare headers */
    CU_ASSERT_EQUAL(entry_decode(bytes, sizeof bytes, &wrong, &back), KQ_CORRUPT);
    head.idx++; /* the right body in the wrong place */
    CU_ASSERT_FALSE(entry_body_ok(&seed, &head, body));
}

static void zeros_are_the_end_and_never_an_entry(void)
{
    struct entry_seed seed = entry_seed_make(&topic, 4, &incarnation);
    uint8_t bytes[ENTRY_HEAD_BYTES] = {0};
    struct entry_head back;
    CU_ASSERT_EQUAL(entry_decode(bytes, sizeof bytes, &seed, &back), KQ_EOF);
    CU_ASSERT_EQUAL(entry_decode(bytes, sizeof bytes - 1, &seed, &back), KQ_EOF);
    bytes[70] = 1;
    CU_ASSERT_EQUAL(entry_decode(bytes, sizeof bytes, &seed, &back), KQ_CORRUPT);
}

static void a_head_is_found_wherever_it_stands(void)
{
    struct entry_seed seed = entry_seed_make(&topic, 4, &incarnation);
    uint8_t data[400];
    for (uint64_t at = 0; at + ENTRY_HEAD_BYTES <= sizeof data; at++) {
        memset(data, 0, sizeof data);
        (void)make(&seed, data + at);
        CU_ASSERT_EQUAL(entry_find(data, 0, sizeof data), at);
        CU_ASSERT_EQUAL(entry_find(data, at, at + ENTRY_HEAD_BYTES), at);
        CU_ASSERT_EQUAL(entry_find(data, at + 1, sizeof data), sizeof data);
        CU_ASSERT_EQUAL(entry_find(data, 0, at + ENTRY_HEAD_BYTES - 1), at + ENTRY_HEAD_BYTES - 1);
    }
}

static const struct unit_case cases[] = {
    {"a head comes back as it was made", a_head_comes_back_as_it_was_made},
    {"the bytes stand where the format says", the_bytes_stand_where_the_format_says},
    {"each flipped bit is noticed", each_flipped_bit_is_noticed},
    {"an entry of elsewhere never passes", an_entry_of_elsewhere_never_passes},
    {"zeros are the end and never an entry", zeros_are_the_end_and_never_an_entry},
    {"a head is found wherever it stands", a_head_is_found_wherever_it_stands},
};
UNIT_MAIN("entry", cases)
