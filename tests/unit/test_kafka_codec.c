/*
 * The walkers over every description: each API, request and answer, in each version.
 * Messages are made up from fixed seeds; bytes that are wrong are made by hand.
 */
#include "base/require.h"
#include "proto/kafka/api_metadata.h"
#include "proto/kafka/api_produce.h"
#include "proto/kafka/api_versions.h"
#include "proto/kafka/kafka.h"
#include "support/kafka_maker.h"
#include "support/unit.h"

#include <stdio.h>

enum { ROUNDS = 12, ARENA_BYTES = 4 * 1024 * 1024, FRAME_BYTES = 1024 * 1024 };

typedef void (*visit)(const struct kafka_api *api, int16_t version, const struct kafka_shape *shape);

static void each_message(visit run)
{
    for (int16_t key = 0; key < KAFKA_KEYS; key++) {
        const struct kafka_api *api = kafka_api(key);
        for (int16_t version = 0; api != NULL && version <= api->last; version++) {
            if (version < api->first)
                continue;
            run(api, version, api->request);
            run(api, version, api->response);
        }
    }
}

/* Says which message it was, once for each. */
static bool agreed(bool right, const struct kafka_shape *shape, int version, const char *what)
{
    if (!right)
        printf("  %s v%d: %s\n", shape->name, version, what);
    return right;
}

/* ---- descriptions ------------------------------------------------------------------ */

static bool row_is_sound(const struct kafka_shape *shape, const struct kafka_field *field, int last_tag)
{
    size_t bytes = field->array ? sizeof(struct kafka_list) : kafka_element_bytes(field);
    bool sound = field->bytes == bytes && (size_t)field->at + field->bytes <= shape->bytes;
    sound = sound && (field->type == KAFKA_TYPE_STRUCT) == (field->of != NULL);
    sound = sound && (field->gone == 0 || field->gone > field->from);
    sound = sound && (field->tag == 0 || field->tag > last_tag);
    sound = sound && (field->nullable == 0 || field->nullable - 1 >= field->from || field->from > 0);
    return sound && (field->of == NULL || field->of->field_count > 0);
}

static void check_rows(const struct kafka_shape *shape)
{
    int last_tag = 0;
    for (size_t i = 0; i < shape->field_count; i++) {
        const struct kafka_field *field = &shape->fields[i];
        CU_ASSERT_TRUE(agreed(row_is_sound(shape, field, last_tag), shape, 0, field->name));
        last_tag = field->tag != 0 ? field->tag : last_tag;
        for (size_t j = 0; j < i; j++)
            CU_ASSERT_TRUE(shape->fields[j].at + shape->fields[j].bytes <= field->at);
        if (field->of != NULL)
            check_rows(field->of);
    }
}

static void rows_fit_their_structs(void)
{
    for (int16_t key = 0; key < KAFKA_KEYS; key++) {
        const struct kafka_api *api = kafka_api(key);
        if (api == NULL)
            continue;
        check_rows(api->request);
        check_rows(api->response);
        CU_ASSERT_EQUAL(api->key, key);
        CU_ASSERT_TRUE(api->first <= api->last);
    }
    CU_ASSERT_PTR_NULL(kafka_api(-1));
    CU_ASSERT_PTR_NULL(kafka_api(KAFKA_KEYS));
    CU_ASSERT_PTR_NULL(kafka_api(4));
}

/* An element that took no bytes would let a count of any size pass. */
static void elements_take_bytes_in(const struct kafka_shape *shape, struct kafka_dialect dialect)
{
    for (size_t i = 0; i < shape->field_count; i++) {
        const struct kafka_field *field = &shape->fields[i];
        if (field->of == NULL || !kafka_field_present(field, dialect.version))
            continue;
        CU_ASSERT_TRUE(agreed(kafka_least_bytes(field->of, dialect) > 0, shape, dialect.version, field->name));
        elements_take_bytes_in(field->of, dialect);
    }
}

static void elements_take_bytes_of(const struct kafka_api *api, int16_t version, const struct kafka_shape *shape)
{
    elements_take_bytes_in(shape, kafka_dialect(api, version));
}

static void every_element_takes_bytes(void)
{
    each_message(elements_take_bytes_of);
}

/* ---- there and back ---------------------------------------------------------------- */

/* The bytes of a made-up message, in a block of exactly their size. */
static uint8_t *make_bytes(const struct kafka_api *api, int16_t version, const struct kafka_shape *shape, uint64_t seed,
                           size_t *size_bytes)
{
    struct kafka_arena arena;
    struct buf out;
    kafka_arena_init(&arena, ARENA_BYTES);
    buf_init(&out, FRAME_BYTES);
    struct kafka_maker maker = {.state = seed * 2654435761U + 1, .arena = &arena};
    void *made = kafka_make(&arena, shape, 1);
    kafka_maker_fill(&maker, shape, kafka_dialect(api, version), made);
    kafka_encode(shape, kafka_dialect(api, version), made, &out, NULL);
    REQUIRE(!out.bad);
    uint8_t *bytes = malloc(out.len + 1);
    REQUIRE(bytes != NULL);
    if (out.len > 0)
        memcpy(bytes, out.data, out.len);
    *size_bytes = out.len;
    buf_fini(&out);
    kafka_arena_fini(&arena);
    return bytes;
}

static enum kq_err decode_bytes(const struct kafka_api *api, int16_t version, const struct kafka_shape *shape,
                                struct cursor *in, struct kafka_arena *arena, struct buf *again)
{
    void *decoded = kafka_arena_take(arena, shape->bytes);
    memset(decoded, 0xa5, shape->bytes); /* what is not set is seen */
    enum kq_err err = kafka_decode(shape, kafka_dialect(api, version), in, arena, decoded);
    if (err == KQ_OK && again != NULL)
        kafka_encode(shape, kafka_dialect(api, version), decoded, again, NULL);
    return err;
}

static void there_and_back(const struct kafka_api *api, int16_t version, const struct kafka_shape *shape)
{
    for (uint64_t seed = 1; seed <= ROUNDS; seed++) {
        size_t size_bytes;
        struct kafka_arena arena;
        struct buf again;
        uint8_t *bytes = make_bytes(api, version, shape, seed, &size_bytes);
        struct cursor in = cursor_over(bytes, size_bytes);
        kafka_arena_init(&arena, ARENA_BYTES);
        buf_init(&again, FRAME_BYTES);
        enum kq_err err = decode_bytes(api, version, shape, &in, &arena, &again);
        CU_ASSERT_TRUE(agreed(err == KQ_OK, shape, version, "does not decode"));
        CU_ASSERT_TRUE(agreed(cursor_left(&in) == 0, shape, version, "leaves bytes"));
        bool same = again.len == size_bytes && (size_bytes == 0 || memcmp(again.data, bytes, size_bytes) == 0);
        CU_ASSERT_TRUE(agreed(same, shape, version, "is not the same again"));
        CU_ASSERT_TRUE(kafka_least_bytes(shape, kafka_dialect(api, version)) <= size_bytes);
        buf_fini(&again);
        kafka_arena_fini(&arena);
        free(bytes);
    }
}

static void every_message_comes_back_as_it_was(void)
{
    each_message(there_and_back);
}

static void cut_everywhere(const struct kafka_api *api, int16_t version, const struct kafka_shape *shape)
{
    size_t size_bytes;
    uint8_t *bytes = make_bytes(api, version, shape, 7, &size_bytes);
    size_t step = size_bytes > 2000 ? 17 : 1;
    for (size_t len = 0; len < size_bytes; len += step) {
        struct kafka_arena arena;
        uint8_t *cut = malloc(len + 1); /* a sanitizer sees a step beyond it, but for one byte */
        REQUIRE(cut != NULL);
        memcpy(cut, bytes, len);
        struct cursor in = cursor_over(cut, len);
        kafka_arena_init(&arena, ARENA_BYTES);
        enum kq_err err = decode_bytes(api, version, shape, &in, &arena, NULL);
        CU_ASSERT_TRUE(agreed(err == KQ_GARBAGE, shape, version, "was cut and is taken"));
        kafka_arena_fini(&arena);
        free(cut);
    }
    free(bytes);
}

static void every_message_that_is_cut_is_garbage(void)
{
    each_message(cut_everywhere);
}

/* Either it is refused, or what was understood can be written and read again. */
static void flip_bits(const struct kafka_api *api, int16_t version, const struct kafka_shape *shape)
{
    size_t size_bytes;
    uint8_t *bytes = make_bytes(api, version, shape, 3, &size_bytes);
    struct kafka_maker maker = {.state = 99};
    for (int round = 0; round < 64 && size_bytes > 0; round++) {
        size_t at = kafka_maker_below(&maker, (uint32_t)size_bytes);
        uint8_t was = bytes[at];
        bytes[at] = round % 4 == 0 ? 0xff : (uint8_t)(was ^ 1 << kafka_maker_below(&maker, 8));
        struct kafka_arena arena;
        struct buf again, third;
        struct cursor in = cursor_over(bytes, size_bytes);
        kafka_arena_init(&arena, ARENA_BYTES);
        buf_init(&again, FRAME_BYTES);
        buf_init(&third, FRAME_BYTES);
        if (decode_bytes(api, version, shape, &in, &arena, &again) == KQ_OK) {
            struct cursor second = cursor_over(again.data, again.len);
            enum kq_err err = decode_bytes(api, version, shape, &second, &arena, &third);
            CU_ASSERT_TRUE(agreed(err == KQ_OK && cursor_left(&second) == 0, shape, version, "not readable again"));
            CU_ASSERT_TRUE(third.len == again.len &&
                           (third.len == 0 || memcmp(third.data, again.data, third.len) == 0));
        }
        CU_ASSERT_TRUE(arena.held_bytes <= ARENA_BYTES);
        buf_fini(&third);
        buf_fini(&again);
        kafka_arena_fini(&arena);
        bytes[at] = was;
    }
    free(bytes);
}

static void flipped_bits_are_refused_or_understood(void)
{
    each_message(flip_bits);
}

static void show(const struct kafka_api *api, int16_t version, const struct kafka_shape *shape)
{
    struct kafka_arena arena;
    struct buf out;
    kafka_arena_init(&arena, ARENA_BYTES);
    buf_init(&out, FRAME_BYTES);
    struct kafka_maker maker = {.state = 5, .arena = &arena};
    void *made = kafka_make(&arena, shape, 1);
    kafka_maker_fill(&maker, shape, kafka_dialect(api, version), made);
    kafka_dump(shape, kafka_dialect(api, version), made, &out, SIZE_MAX / 2, false);
    CU_ASSERT_FALSE(out.bad);
    CU_ASSERT_TRUE(out.len >= 2 && out.data[0] == '{' && out.data[out.len - 1] == '}');
    buf_reset(&out);
    kafka_dump(shape, kafka_dialect(api, version), made, &out, 40, true);
    CU_ASSERT_TRUE(!out.bad && out.len < 40 + 2048);
    buf_fini(&out);
    kafka_arena_fini(&arena);
}

static void every_message_can_be_shown(void)
{
    each_message(show);
}

/* ---- bytes that are wrong ------------------------------------------------------------ */

struct outcome {
    enum kq_err err;
    size_t held_bytes;
};

static struct outcome decode_hex(int16_t key, int16_t version, const char *hex, void *to)
{
    uint8_t bytes[512];
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
    out.data[1]++; /* the length's lowest bits, from 0x80 to 0x81: one byte more than allowed */
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
    {"rows fit their structs", rows_fit_their_structs},
    {"every element takes bytes", every_element_takes_bytes},
    {"every message comes back as it was", every_message_comes_back_as_it_was},
    {"every message that is cut is garbage", every_message_that_is_cut_is_garbage},
    {"flipped bits are refused or understood", flipped_bits_are_refused_or_understood},
    {"every message can be shown", every_message_can_be_shown},
    {"a count beyond the bytes allocates nothing", a_count_beyond_the_bytes_allocates_nothing},
    {"lengths below null are garbage", lengths_below_null_are_garbage},
    {"null is taken only where the version allows it", null_is_taken_only_where_the_version_allows_it},
    {"tagged fields nobody knows are skipped at every level", tagged_fields_nobody_knows_are_skipped_at_every_level},
    {"a string has at most 32767 bytes", a_string_has_at_most_32767_bytes},
    {"decoding stops at the arena's limit", decoding_stops_at_the_arenas_limit},
    {"an arena keeps its first block and its limit", an_arena_keeps_its_first_block_and_its_limit},
};

UNIT_MAIN("kafka codec", cases)
