/*
 * Bytes that follow no description: wrong counts and lengths, nulls, tagged fields, and
 * the limits on memory.
 */
#include "base/require.h"
#include "proto/kafka/api_fetch.h"
#include "proto/kafka/api_metadata.h"
#include "proto/kafka/api_versions.h"
#include "proto/kafka/kafka.h"
#include "support/unit.h"

enum { ARENA_BYTES = 4 * 1024 * 1024, FRAME_BYTES = 1024 * 1024, HEX_BYTES = 512 };

/* ---- bytes that are wrong ------------------------------------------------------------ */

struct outcome {
    enum kq_err err;
    size_t held_bytes;
};

static struct outcome decode_hex(int16_t key, int16_t version, const char *hex, void *to)
{
    static uint8_t bytes[HEX_BYTES]; /* borrowed from until the next call */
    size_t len = 0;
    for (const char *digit = hex; *digit != '\0'; digit++) {
        if (*digit == ' ')
            continue;
        char pair[3] = {digit[0], digit[1], '\0'};
        bytes[len++] = (uint8_t)strtoul(pair, NULL, 16);
        digit++;
    }
    static struct kafka_arena arena; /* what *to points to is looked at before the next */
    kafka_arena_fini(&arena);
    kafka_arena_init(&arena, ARENA_BYTES);
    struct cursor in = cursor_over(bytes, len);
    const struct kafka_api *api = kafka_api(key);
    struct outcome outcome = {.err = kafka_decode(api->request, kafka_dialect(api, version), &in, &arena, to)};
    outcome.held_bytes = arena.held_bytes;
    return outcome;
}

static void a_count_beyond_the_bytes_allocates_nothing(void)
{
    struct kafka_metadata_request request;
    struct outcome outcome = decode_hex(KAFKA_METADATA, 1, "7fffffff 0001 61", &request);
    CU_ASSERT_EQUAL(outcome.err, KQ_GARBAGE);
    CU_ASSERT_EQUAL(outcome.held_bytes, 0);
    /* The same as a varint: 0xffffffff, which means 2^32 - 2 topics. */
    outcome = decode_hex(KAFKA_METADATA, 9, "ffffffff0f 0261 00 01 00 00 00", &request);
    CU_ASSERT_EQUAL(outcome.err, KQ_GARBAGE);
    CU_ASSERT_EQUAL(outcome.held_bytes, 0);
    /* Three topics of two bytes at least do not fit into five bytes, nor into what one more leaves. */
    outcome = decode_hex(KAFKA_METADATA, 9, "04 01 00 01 00 02", &request);
    CU_ASSERT_EQUAL(outcome.err, KQ_GARBAGE);
    CU_ASSERT_EQUAL(outcome.held_bytes, 0);
}

static void lengths_below_null_are_garbage(void)
{
    struct kafka_metadata_request request;
    CU_ASSERT_EQUAL(decode_hex(KAFKA_METADATA, 1, "fffffffe", &request).err, KQ_GARBAGE);
    CU_ASSERT_EQUAL(decode_hex(KAFKA_METADATA, 1, "80000000", &request).err, KQ_GARBAGE);
    CU_ASSERT_EQUAL(decode_hex(KAFKA_METADATA, 1, "00000001 fffe", &request).err, KQ_GARBAGE);
    CU_ASSERT_EQUAL(decode_hex(KAFKA_METADATA, 1, "00000001 8000", &request).err, KQ_GARBAGE);
}

static void null_is_taken_only_where_the_version_allows_it(void)
{
    struct kafka_metadata_request request;
    CU_ASSERT_EQUAL(decode_hex(KAFKA_METADATA, 0, "ffffffff", &request).err, KQ_GARBAGE);
    CU_ASSERT_EQUAL(decode_hex(KAFKA_METADATA, 1, "ffffffff", &request).err, KQ_OK);
    CU_ASSERT_EQUAL(request.topics.count, -1);
    CU_ASSERT_PTR_NULL(request.topics.at);
    CU_ASSERT_TRUE(request.allow_auto_topic_creation);
    CU_ASSERT_EQUAL(decode_hex(KAFKA_METADATA, 1, "00000001 ffff", &request).err, KQ_GARBAGE);
    CU_ASSERT_EQUAL(decode_hex(KAFKA_METADATA, 9, "02 00 00 01 00 00 00", &request).err, KQ_GARBAGE);
    CU_ASSERT_EQUAL(decode_hex(KAFKA_METADATA, 12, "02 00000000000000000000000000000000 00 00 01 00 00", &request).err,
                    KQ_OK);
    CU_ASSERT_TRUE(slice_is_absent(request.topics.at[0].name));
}

static void tagged_fields_nobody_knows_are_skipped_at_every_level(void)
{
    struct kafka_metadata_request request;
    /* One topic "t" with the tags 5 (3 bytes) and 6 (none); the request with tag 300. */
    struct outcome outcome = decode_hex(KAFKA_METADATA, 9,
                                        "02 0274 02 05 03 010203 06 00"
                                        "01 00 01 01 ac02 02 ffff",
                                        &request);
    CU_ASSERT_EQUAL_FATAL(outcome.err, KQ_OK);
    CU_ASSERT_TRUE(slice_equal_text(request.topics.at[0].name, "t"));
    CU_ASSERT_TRUE(request.allow_auto_topic_creation);
    CU_ASSERT_TRUE(request.include_topic_authorized_operations);
    /* A tag longer than what is left; more tags than a struct may have; too long a varint. */
    CU_ASSERT_EQUAL(decode_hex(KAFKA_METADATA, 9, "01 00 00 00 01 05 03 0102", &request).err, KQ_GARBAGE);
    CU_ASSERT_EQUAL(decode_hex(KAFKA_METADATA, 9, "01 00 00 00 ffffffff0f", &request).err, KQ_GARBAGE);
    CU_ASSERT_EQUAL(decode_hex(KAFKA_METADATA, 9, "01 00 00 00 01 05 ffffffff0f", &request).err, KQ_GARBAGE);
    CU_ASSERT_EQUAL(decode_hex(KAFKA_METADATA, 9, "01 00 00 00 ffffffffffff", &request).err, KQ_GARBAGE);
    CU_ASSERT_EQUAL(decode_hex(KAFKA_METADATA, 9, "8080808080808000", &request).err, KQ_GARBAGE);
}

static void a_struct_has_at_most_256_tagged_fields(void)
{
    struct kafka_arena arena;
    struct kafka_metadata_request request;
    struct buf out;
    struct kafka_dialect dialect = kafka_dialect(kafka_api(KAFKA_METADATA), 9);
    for (uint32_t tags = KAFKA_TAGS_MAX; tags <= KAFKA_TAGS_MAX + 1; tags++) {
        buf_init(&out, FRAME_BYTES);
        buf_put(&out, "\1\0\0\0", 4);
        buf_uvarint(&out, tags);
        for (uint32_t i = 0; i < tags; i++) {
            buf_uvarint(&out, 100 + i);
            buf_uvarint(&out, 0);
        }
        kafka_arena_init(&arena, ARENA_BYTES);
        struct cursor in = cursor_over(out.data, out.len);
        enum kq_err err = kafka_decode(&kafka_metadata_request_shape, dialect, &in, &arena, &request);
        CU_ASSERT_EQUAL(err, tags == KAFKA_TAGS_MAX ? KQ_OK : KQ_GARBAGE);
        kafka_arena_fini(&arena);
        buf_fini(&out);
    }
}

/* Fetch 12 with nothing in it, then one tagged field: its cluster id, "c". */
#define FETCH_12 "ffffffff 00000064 00000001 00100000 00 00000000 ffffffff 01 01 01 01 00 "

static void a_known_tagged_field_fills_its_length(void)
{
    struct kafka_fetch_request request;
    CU_ASSERT_EQUAL(decode_hex(KAFKA_FETCH, 12, FETCH_12 "02 0263", &request).err, KQ_OK);
    CU_ASSERT_TRUE(slice_equal_text(request.cluster_id, "c"));
    CU_ASSERT_EQUAL(decode_hex(KAFKA_FETCH, 12, FETCH_12 "03 026300", &request).err, KQ_GARBAGE);
    CU_ASSERT_EQUAL(decode_hex(KAFKA_FETCH, 12, FETCH_12 "01 0263", &request).err, KQ_GARBAGE);
    CU_ASSERT_EQUAL(decode_hex(KAFKA_FETCH, 12, FETCH_12 "02 0363", &request).err, KQ_GARBAGE);
    CU_ASSERT_EQUAL(decode_hex(KAFKA_FETCH, 12, FETCH_12 "00", &request).err, KQ_GARBAGE);
    /* A version that does not have it yet skips it: the replica's state, in 14. */
    CU_ASSERT_EQUAL(decode_hex(KAFKA_FETCH, 14,
                               "ffffffff 00000064 00000001 00100000 00 00000000 ffffffff 01 01 01 01 01 01 ff",
                               &request)
                        .err,
                    KQ_OK);
    CU_ASSERT_EQUAL(request.replica_state.replica_id, -1);
}

static void long_tagged_fields_have_long_lengths(void)
{
    static const size_t lengths[] = {125, 126, 127, 128, 16380, 16381, 16382, 20000, KAFKA_STRING_MAX_BYTES};
    static char text[KAFKA_STRING_MAX_BYTES];
    struct kafka_dialect dialect = kafka_dialect(kafka_api(KAFKA_FETCH), 12);
    memset(text, 'x', sizeof text);
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        struct kafka_arena arena;
        struct kafka_fetch_request request, again;
        struct buf out;
        kafka_defaults(&kafka_fetch_request_shape, &request);
        request.cluster_id = slice_of(text, lengths[i]);
        buf_init(&out, FRAME_BYTES);
        kafka_encode(&kafka_fetch_request_shape, dialect, &request, &out, NULL);
        kafka_arena_init(&arena, ARENA_BYTES);
        struct cursor in = cursor_over(out.data, out.len);
        CU_ASSERT_EQUAL(kafka_decode(&kafka_fetch_request_shape, dialect, &in, &arena, &again), KQ_OK);
        CU_ASSERT_EQUAL(cursor_left(&in), 0);
        CU_ASSERT_TRUE(slice_equal(request.cluster_id, again.cluster_id));
        kafka_arena_fini(&arena);
        buf_fini(&out);
    }
}

static void null_is_written_empty_where_the_version_has_no_null(void)
{
    struct kafka_metadata_request request = {.topics = {.at = NULL, .count = -1}};
    struct buf out;
    buf_init(&out, FRAME_BYTES);
    kafka_encode(&kafka_metadata_request_shape, kafka_dialect(kafka_api(KAFKA_METADATA), 0), &request, &out, NULL);
    CU_ASSERT_TRUE(out.len == 4 && memcmp(out.data, "\0\0\0\0", 4) == 0);
    buf_reset(&out);
    kafka_encode(&kafka_metadata_request_shape, kafka_dialect(kafka_api(KAFKA_METADATA), 1), &request, &out, NULL);
    CU_ASSERT_TRUE(out.len == 4 && memcmp(out.data, "\xff\xff\xff\xff", 4) == 0);
    buf_fini(&out);
}

static void a_string_has_at_most_32767_bytes(void)
{
    enum { LONG = KAFKA_STRING_MAX_BYTES + 1 };
    struct kafka_arena arena;
    struct buf out;
    static const char text[LONG] = "long";
    struct kafka_metadata_request_topic topic;
    kafka_defaults(&kafka_metadata_request_topic_shape, &topic);
    topic.name = slice_of(text, LONG);
    struct kafka_metadata_request request = {.topics = {.at = &topic, .count = 1}};
    struct kafka_dialect dialect = kafka_dialect(kafka_api(KAFKA_METADATA), 9);
    buf_init(&out, FRAME_BYTES);
    kafka_encode(&kafka_metadata_request_shape, dialect, &request, &out, NULL);
    CU_ASSERT_TRUE(out.bad);
    topic.name.len = LONG - 1;
    buf_reset(&out);
    kafka_encode(&kafka_metadata_request_shape, dialect, &request, &out, NULL);
    CU_ASSERT_FALSE_FATAL(out.bad);
    kafka_arena_init(&arena, ARENA_BYTES);
    struct cursor in = cursor_over(out.data, out.len);
    CU_ASSERT_EQUAL(kafka_decode(&kafka_metadata_request_shape, dialect, &in, &arena, &request), KQ_OK);
    buf_zeros(&out, 1);
    out.data[1]++; /* the length's lowest bits: one byte more than allowed, and it is there */
    in = cursor_over(out.data, out.len);
    CU_ASSERT_EQUAL(kafka_decode(&kafka_metadata_request_shape, dialect, &in, &arena, &request), KQ_GARBAGE);
    kafka_arena_fini(&arena);
    buf_fini(&out);
}

/* ---- memory -------------------------------------------------------------------------- */

static void decoding_stops_at_the_arenas_limit(void)
{
    enum { TOPICS = 20000, LIMIT_BYTES = 64 * 1024 };
    struct kafka_arena arena;
    struct buf out;
    const struct kafka_api *api = kafka_api(KAFKA_METADATA);
    buf_init(&out, FRAME_BYTES);
    buf_be32(&out, TOPICS);
    buf_zeros(&out, TOPICS * sizeof(int16_t));
    kafka_arena_init(&arena, LIMIT_BYTES);
    struct kafka_metadata_request request;
    struct cursor in = cursor_over(out.data, out.len);
    CU_ASSERT_EQUAL(kafka_decode(api->request, kafka_dialect(api, 1), &in, &arena, &request), KQ_TOO_LARGE);
    CU_ASSERT_TRUE(arena.held_bytes <= LIMIT_BYTES);
    CU_ASSERT_PTR_NULL(kafka_arena_take(&arena, 1));
    kafka_arena_reset(&arena);
    CU_ASSERT_PTR_NOT_NULL(kafka_arena_take(&arena, 1));
    kafka_arena_fini(&arena);
    buf_fini(&out);
}

static void an_answer_to_a_null_array_has_none(void)
{
    struct kafka_arena arena;
    struct kafka_metadata_response answer = {.topics = {.at = NULL, .count = 9}};
    const struct kafka_metadata_request asked = {.topics = {.at = NULL, .count = -1}};
    kafka_arena_init(&arena, ARENA_BYTES);
    CU_ASSERT_TRUE(KAFKA_FILL(&arena, answer.topics, kafka_metadata_response_topic, asked.topics.count));
    CU_ASSERT_EQUAL(answer.topics.count, 0);
    kafka_arena_fini(&arena);
}

static void an_arena_holds_exactly_its_limit(void)
{
    enum { LIMIT_BYTES = 10000 };
    struct kafka_arena arena;
    size_t most_bytes = 0;
    for (size_t size = LIMIT_BYTES - 200; size <= LIMIT_BYTES + 200; size++) {
        kafka_arena_init(&arena, LIMIT_BYTES);
        most_bytes = kafka_arena_take(&arena, size) != NULL ? size : most_bytes;
        CU_ASSERT_TRUE(arena.held_bytes <= LIMIT_BYTES);
        CU_ASSERT_TRUE(arena.held_bytes == 0 || arena.held_bytes >= size);
        kafka_arena_fini(&arena);
    }
    CU_ASSERT_TRUE(most_bytes < LIMIT_BYTES && most_bytes > LIMIT_BYTES - 64);
}

static void an_arena_keeps_its_first_block_and_its_limit(void)
{
    enum { LIMIT_BYTES = 100 * 1000 };
    struct kafka_arena arena;
    kafka_arena_init(&arena, LIMIT_BYTES);
    CU_ASSERT_PTR_NOT_NULL(kafka_arena_take(&arena, 0));
    uint8_t *last = NULL;
    size_t taken_bytes = 0;
    for (size_t size = 1;; size = size * 3 % 4999) {
        uint8_t *piece = kafka_arena_take(&arena, size);
        if (piece == NULL)
            break;
        CU_ASSERT_EQUAL((uintptr_t)piece % KAFKA_ARENA_ALIGN_BYTES, 0);
        CU_ASSERT_TRUE(piece != last);
        memset(piece, 0x5a, size);
        taken_bytes += size;
        last = piece;
    }
    CU_ASSERT_EQUAL(arena.err, KQ_TOO_LARGE);
    CU_ASSERT_TRUE(taken_bytes > LIMIT_BYTES / 2 && arena.held_bytes <= LIMIT_BYTES);
    kafka_arena_reset(&arena);
    CU_ASSERT_EQUAL(arena.held_bytes, KAFKA_ARENA_FIRST_BYTES);
    CU_ASSERT_EQUAL(arena.err, KQ_OK);
    CU_ASSERT_PTR_NULL(kafka_arena_take(&arena, SIZE_MAX));
    CU_ASSERT_PTR_NULL(kafka_arena_take(&arena, 1));
    kafka_arena_reset(&arena);
    struct slice text = kafka_arena_printf(&arena, "%s-%d", "broker", 7);
    CU_ASSERT_TRUE(slice_equal_text(text, "broker-7"));
    CU_ASSERT_TRUE(slice_equal(kafka_arena_copy(&arena, text.data, text.len), text));
    kafka_arena_fini(&arena);
    CU_ASSERT_EQUAL(arena.held_bytes, 0);
}

static const struct unit_case cases[] = {
    {"a count beyond the bytes allocates nothing", a_count_beyond_the_bytes_allocates_nothing},
    {"lengths below null are garbage", lengths_below_null_are_garbage},
    {"null is taken only where the version allows it", null_is_taken_only_where_the_version_allows_it},
    {"null is written empty where the version has no null", null_is_written_empty_where_the_version_has_no_null},
    {"tagged fields nobody knows are skipped at every level", tagged_fields_nobody_knows_are_skipped_at_every_level},
    {"a struct has at most 256 tagged fields", a_struct_has_at_most_256_tagged_fields},
    {"a known tagged field fills its length", a_known_tagged_field_fills_its_length},
    {"long tagged fields have long lengths", long_tagged_fields_have_long_lengths},
    {"a string has at most 32767 bytes", a_string_has_at_most_32767_bytes},
    {"decoding stops at the arena's limit", decoding_stops_at_the_arenas_limit},
    {"an answer to a null array has none", an_answer_to_a_null_array_has_none},
    {"an arena holds exactly its limit", an_arena_holds_exactly_its_limit},
    {"an arena keeps its first block and its limit", an_arena_keeps_its_first_block_and_its_limit},
};

UNIT_MAIN("kafka garbage", cases)
