/*
 * The walkers over every description: each API, request and answer, in each version.
 * Messages are made up from fixed seeds.
 */
#include "base/require.h"
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

static size_t least_bytes(const struct kafka_field *field, struct kafka_dialect dialect)
{
    if (field->of != NULL)
        return kafka_least_bytes(field->of, dialect);
    const struct kafka_field alone = {.type = field->type};
    const struct kafka_shape shape = {.fields = &alone, .field_count = 1};
    return kafka_least_bytes(&shape, dialect) - (dialect.flexible ? 1 : 0);
}

static void stays_in_ratio(const struct kafka_shape *shape, struct kafka_dialect dialect)
{
    for (size_t i = 0; i < shape->field_count; i++) {
        const struct kafka_field *field = &shape->fields[i];
        if (!kafka_field_present(field, dialect.version))
            continue;
        bool small = !field->array || kafka_element_bytes(field) <= KAFKA_DECODED_RATIO * least_bytes(field, dialect);
        CU_ASSERT_TRUE(agreed(small, shape, dialect.version, field->name));
        if (field->of != NULL)
            stays_in_ratio(field->of, dialect);
    }
}

static void requests_stay_in_ratio(const struct kafka_api *api, int16_t version, const struct kafka_shape *shape)
{
    if (shape == api->request)
        stays_in_ratio(shape, kafka_dialect(api, version));
}

static void a_decoded_request_is_not_much_larger_than_its_frame(void)
{
    each_message(requests_stay_in_ratio);
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
        bytes[at] = (uint8_t)(round % 4 == 0 ? 0xff : was ^ 1 << kafka_maker_below(&maker, 8));
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

static const struct unit_case cases[] = {
    {"rows fit their structs", rows_fit_their_structs},
    {"every element takes bytes", every_element_takes_bytes},
    {"a decoded request is not much larger than its frame", a_decoded_request_is_not_much_larger_than_its_frame},
    {"every message comes back as it was", every_message_comes_back_as_it_was},
    {"every message that is cut is garbage", every_message_that_is_cut_is_garbage},
    {"flipped bits are refused or understood", flipped_bits_are_refused_or_understood},
    {"every message can be shown", every_message_can_be_shown},
};

UNIT_MAIN("kafka codec", cases)
