/* libFuzzer: any bytes as a Kafka client's request (first byte even) or a broker's answer
 * (odd; then key and version). Invariants: memory stays within the arena's limit; what is
 * taken is the same again once it was written and read; it can be shown. */
#include "base/require.h"
#include "fuzz/fuzz.h"
#include "proto/kafka/kafka.h"

#include <stdlib.h>

enum { ARENA_BYTES = 8 * 1024 * 1024, SHOWN_BYTES = 64 * 1024 };

static void check(const struct kafka_shape *shape, struct kafka_dialect dialect, struct slice bytes)
{
    struct kafka_arena arena;
    struct buf first, second;
    kafka_arena_init(&arena, ARENA_BYTES);
    buf_init(&first, SIZE_MAX);
    buf_init(&second, SIZE_MAX);
    struct cursor in = cursor_over(bytes.data, bytes.len);
    void *value = kafka_arena_take(&arena, shape->bytes);
    REQUIRE(value != NULL);
    enum kq_err err = kafka_decode(shape, dialect, &in, &arena, value);
    REQUIRE(arena.held_bytes <= ARENA_BYTES);
    if (err == KQ_OK) {
        REQUIRE(in.at >= bytes.data);
        REQUIRE(in.at <= bytes.data + bytes.len);
        REQUIRE((size_t)(in.at - bytes.data) >= kafka_least_bytes(shape, dialect));
        kafka_encode(shape, dialect, value, &first, NULL);
        REQUIRE(!first.bad);
        REQUIRE(first.len <= bytes.len);
        kafka_arena_reset(&arena);
        value = kafka_arena_take(&arena, shape->bytes);
        in = cursor_over(first.len > 0 ? first.data : (const uint8_t *)"", first.len);
        REQUIRE(kafka_decode(shape, dialect, &in, &arena, value) == KQ_OK);
        REQUIRE(cursor_left(&in) == 0);
        kafka_encode(shape, dialect, value, &second, NULL);
        REQUIRE(second.len == first.len);
        REQUIRE(first.len == 0 || memcmp(second.data, first.data, first.len) == 0);
        buf_reset(&second);
        kafka_dump(shape, dialect, value, &second, SHOWN_BYTES, (first.len & 1) != 0);
        REQUIRE(!second.bad);
    }
    buf_fini(&second);
    buf_fini(&first);
    kafka_arena_fini(&arena);
}

static void try_request(struct slice frame)
{
    struct kafka_request request;
    enum kq_err err = kafka_request_open(frame, &request);
    if (err == KQ_OK)
        check(request.api->request, kafka_dialect(request.api, request.version),
              slice_of(request.body.at, cursor_left(&request.body)));
    else
        REQUIRE(err == KQ_GARBAGE || err == KQ_NOT_FOUND || err == KQ_BAD_VERSION);
}

static void try_answer(struct slice bytes)
{
    const struct kafka_api *api = bytes.len >= 2 ? kafka_api(bytes.data[0]) : NULL;
    if (api == NULL || bytes.data[1] < api->first || bytes.data[1] > api->last)
        return;
    check(api->response, kafka_dialect(api, bytes.data[1]), slice_of(bytes.data + 2, bytes.len - 2));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes)
{
    if (size_bytes == 0)
        return 0;
    uint8_t *copy = malloc(size_bytes); /* so that a step before the first byte is seen, too */
    REQUIRE(copy != NULL);
    memcpy(copy, data + 1, size_bytes - 1);
    if (data[0] % 2 == 0)
        try_request(slice_of(copy, size_bytes - 1));
    else
        try_answer(slice_of(copy, size_bytes - 1));
    free(copy);
    return 0;
}
