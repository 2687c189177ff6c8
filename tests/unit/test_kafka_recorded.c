/*
 * Messages that others wrote (tests/data/kafka, whose README says how they were
 * recorded): each is understood to its last byte, and written again it is the same. With
 * any one bit flipped, a client's frame does no harm.
 */
#include "base/require.h"
#include "proto/kafka/api_groups.h"
#include "proto/kafka/consumer_protocol.h"
#include "proto/kafka/kafka.h"
#include "support/unit.h"

#include <stdio.h>

enum { LINE_BYTES = 64 * 1024, ARENA_BYTES = 4 * 1024 * 1024, PATH_BYTES = 4096 };

/* One row of a file: "request KEY VERSION HEX" or "answer ..." is a body; "frame" is a
 * client's whole frame behind its size, header included (its key and version are said
 * twice). */
struct row {
    char kind[24];
    int key;
    int version;
    uint8_t bytes[LINE_BYTES / 2];
    size_t len;
};

static bool read_row(FILE *file, struct row *row)
{
    static char line[LINE_BYTES];
    do {
        if (fgets(line, sizeof line, file) == NULL)
            return false;
    } while (line[0] == '#' || line[0] == '\n');
    int hex_at = 0;
    int found = sscanf(line, "%23s %d %d %n", row->kind, &row->key, &row->version, &hex_at);
    CU_ASSERT_EQUAL_FATAL(found, 3);
    row->len = 0;
    for (const char *hex = line + hex_at; hex[0] != '\0' && hex[0] != '\n'; hex += 2) {
        char pair[3] = {hex[0], hex[1], '\0'};
        row->bytes[row->len++] = (uint8_t)strtoul(pair, NULL, 16);
    }
    return true;
}

static bool is_same(const struct row *row, const struct buf *out, size_t from_at)
{
    size_t len = out->len - from_at;
    bool same = !out->bad && len == row->len && (len == 0 || memcmp(out->data + from_at, row->bytes, len) == 0);
    if (!same)
        printf("  %s %d v%d (%zu bytes) is not the same again (%zu)\n", row->kind, row->key, row->version, row->len,
               len);
    return same;
}

static int consumers_seen; /* members that said what they want, or were told what they get */

/* Each recorded group reads one topic with a name as "t1", and its members lead it. */
static void look_into_groups(const struct kafka_request *request, const void *body, struct kafka_arena *arena)
{
    const struct kafka_join_group_request *join = body;
    for (int32_t i = 0; request->key == KAFKA_JOIN_GROUP && i < join->protocols.count; i++) {
        struct kafka_consumer_subscription wanted;
        enum kq_err err = kafka_subscription_decode(join->protocols.at[i].metadata, arena, &wanted);
        CU_ASSERT_EQUAL_FATAL(err, KQ_OK);
        CU_ASSERT_EQUAL_FATAL(wanted.topics.count, 1);
        CU_ASSERT_TRUE(wanted.topics.at[0].len == 2 && wanted.topics.at[0].data[0] == 't');
        consumers_seen++;
    }
    const struct kafka_sync_group_request *sync = body;
    for (int32_t i = 0; request->key == KAFKA_SYNC_GROUP && i < sync->assignments.count; i++) {
        struct kafka_consumer_assignment given;
        enum kq_err err = kafka_assignment_decode(sync->assignments.at[i].assignment, arena, &given);
        CU_ASSERT_EQUAL_FATAL(err, KQ_OK);
        CU_ASSERT_EQUAL_FATAL(given.assigned_partitions.count, 1);
        CU_ASSERT_TRUE(given.assigned_partitions.at[0].topic.data[0] == 't');
        CU_ASSERT_TRUE(given.assigned_partitions.at[0].partitions.count > 0);
        consumers_seen++;
    }
}

/* The size itself is not recorded. */
static void check_frame(const struct row *row, struct kafka_arena *arena, struct buf *out)
{
    struct kafka_request request;
    void *body = NULL;
    CU_ASSERT_EQUAL_FATAL(kafka_request_open(slice_of(row->bytes, row->len), &request), KQ_OK);
    CU_ASSERT_EQUAL(request.key, row->key);
    CU_ASSERT_EQUAL(request.version, row->version);
    CU_ASSERT_EQUAL_FATAL(kafka_request_body(&request, arena, &body), KQ_OK);
    look_into_groups(&request, body, arena);
    kafka_request_put(out, request.api, request.version, request.correlation_id, request.client_id, body);
    CU_ASSERT_EQUAL(get_be32(out->data), row->len);
    CU_ASSERT_TRUE(is_same(row, out, KAFKA_SIZE_BYTES));
}

static void check_body(const struct row *row, struct kafka_arena *arena, struct buf *out)
{
    const struct kafka_api *api = kafka_api((int16_t)row->key);
    CU_ASSERT_PTR_NOT_NULL_FATAL(api);
    const struct kafka_shape *shape = strcmp(row->kind, "request") == 0 ? api->request : api->response;
    struct kafka_dialect dialect = kafka_dialect(api, (int16_t)row->version);
    struct cursor in = cursor_over(row->bytes, row->len);
    void *body = kafka_arena_take(arena, shape->bytes);
    CU_ASSERT_EQUAL_FATAL(kafka_decode(shape, dialect, &in, arena, body), KQ_OK);
    CU_ASSERT_EQUAL(cursor_left(&in), 0);
    kafka_encode(shape, dialect, body, out, NULL);
    CU_ASSERT_TRUE(is_same(row, out, 0));
}

/* Defaults (or zeros) all over; one element in arrays down to a depth, null below it. */
static void fill_bare(const struct kafka_shape *shape, struct kafka_arena *arena, bool zero, int depth, uint8_t *to)
{
    kafka_defaults(shape, to);
    for (size_t i = 0; i < shape->field_count; i++) {
        const struct kafka_field *field = &shape->fields[i];
        uint8_t *value = to + field->at;
        struct kafka_list list = {.at = NULL, .count = -1};
        if (!field->array && field->type == KAFKA_TYPE_STRUCT)
            fill_bare(field->of, arena, zero, depth, value);
        else if (!field->array && zero)
            memset(value, 0, field->bytes);
        if (!field->array)
            continue;
        if (depth > 0) {
            list.count = 1;
            list.at = kafka_arena_take(arena, kafka_element_bytes(field));
            memset(list.at, 0, kafka_element_bytes(field));
            if (field->of != NULL)
                fill_bare(field->of, arena, zero, depth - 1, list.at);
        }
        memcpy(value, &list, sizeof list);
    }
}

/* "default-DEPTH-request", "zero-DEPTH-answer" */
static void check_bare(const struct row *row, struct kafka_arena *arena, struct buf *out)
{
    const struct kafka_api *api = kafka_api((int16_t)row->key);
    CU_ASSERT_PTR_NOT_NULL_FATAL(api);
    const char *depth = strchr(row->kind, '-') + 1;
    const struct kafka_shape *shape = strcmp(depth + 2, "request") == 0 ? api->request : api->response;
    uint8_t *body = kafka_arena_take(arena, shape->bytes);
    fill_bare(shape, arena, row->kind[0] == 'z', *depth - '0', body);
    kafka_encode(shape, kafka_dialect(api, (int16_t)row->version), body, out, NULL);
    CU_ASSERT_TRUE(is_same(row, out, 0));
}

/* With a bit flipped, header or body, a frame is refused or understood, within the limit. */
static void check_flipped(const struct row *row)
{
    uint8_t *flipped = malloc(row->len); /* of exactly this size, so that a step beyond it is seen */
    REQUIRE(flipped != NULL);
    memcpy(flipped, row->bytes, row->len);
    for (size_t bit = 0; bit < row->len * 8; bit++) {
        struct kafka_arena arena;
        struct kafka_request request;
        void *body = NULL;
        flipped[bit / 8] = (uint8_t)(flipped[bit / 8] ^ 1 << bit % 8);
        kafka_arena_init(&arena, ARENA_BYTES);
        enum kq_err err = kafka_request_open(slice_of(flipped, row->len), &request);
        if (err == KQ_OK) {
            err = kafka_request_body(&request, &arena, &body);
            CU_ASSERT_TRUE(err == KQ_OK || err == KQ_GARBAGE);
        } else {
            CU_ASSERT_TRUE(err == KQ_GARBAGE || err == KQ_BAD_VERSION || err == KQ_NOT_FOUND);
        }
        CU_ASSERT_TRUE(arena.held_bytes <= KAFKA_ARENA_FIRST_BYTES + KAFKA_DECODED_RATIO * row->len);
        kafka_arena_fini(&arena);
        flipped[bit / 8] = row->bytes[bit / 8];
    }
    free(flipped);
}

static int check_file(const char *name)
{
    static struct row row;
    char path[PATH_BYTES];
    const char *srcdir = getenv("srcdir");
    int count = 0;
    (void)snprintf(path, sizeof path, "%s/tests/data/kafka/%s", srcdir != NULL ? srcdir : ".", name);
    FILE *file = fopen(path, "r");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    while (read_row(file, &row)) {
        struct kafka_arena arena;
        struct buf out;
        kafka_arena_init(&arena, ARENA_BYTES);
        buf_init(&out, LINE_BYTES);
        if (strcmp(row.kind, "frame") == 0) {
            check_frame(&row, &arena, &out);
            check_flipped(&row);
        } else if (strchr(row.kind, '-') != NULL) {
            check_bare(&row, &arena, &out);
        } else {
            check_body(&row, &arena, &out);
        }
        buf_fini(&out);
        kafka_arena_fini(&arena);
        count++;
    }
    (void)fclose(file);
    return count;
}

/* Every API, both ways, in every version that is described here. */
static void what_franz_go_writes(void)
{
    int wanted = 0;
    for (int16_t key = 0; key < KAFKA_KEYS; key++)
        if (kafka_api(key) != NULL)
            wanted += 2 * (kafka_api(key)->last - kafka_api(key)->first + 1);
    CU_ASSERT_EQUAL(check_file("franz-go.txt"), wanted);
}

static void what_franz_go_takes_for_granted(void)
{
    CU_ASSERT_TRUE(check_file("franz-go-bare.txt") > 900);
}

static void what_clients_send(void)
{
    consumers_seen = 0;
    CU_ASSERT_TRUE(check_file("clients.txt") > 60);
    CU_ASSERT_TRUE(consumers_seen >= 8);
}

static void what_a_consumer_wants_in_later_versions(void)
{
    struct kafka_arena arena;
    struct kafka_consumer_subscription wanted;
    struct kafka_consumer_assignment given;
    kafka_arena_init(&arena, ARENA_BYTES);
    /* Version 9: one topic, no user data, one partition owned, generation 5, rack "r", and something new. */
    static const uint8_t later[] = {0,   9, 0, 0, 0, 1, 0, 1, 't', 255, 255, 255, 255, 0, 0, 0,   1,    0,   1,
                                    'u', 0, 0, 0, 1, 0, 0, 0, 7,   0,   0,   0,   5,   0, 1, 'r', 0xbe, 0xef};
    CU_ASSERT_EQUAL_FATAL(kafka_subscription_decode(slice_of(later, sizeof later), &arena, &wanted), KQ_OK);
    CU_ASSERT_EQUAL(wanted.owned_partitions.at[0].partitions.at[0], 7);
    CU_ASSERT_EQUAL(wanted.generation_id, 5);
    CU_ASSERT_TRUE(slice_equal_text(wanted.rack_id, "r"));
    CU_ASSERT_EQUAL_FATAL(kafka_subscription_decode(slice_of("\0\0\0\0\0\0\0\0\0\0", 10), &arena, &wanted), KQ_OK);
    CU_ASSERT_EQUAL(wanted.generation_id, -1);
    CU_ASSERT_EQUAL(kafka_subscription_decode(slice_of(later, 30), &arena, &wanted), KQ_GARBAGE);
    CU_ASSERT_EQUAL(kafka_subscription_decode(slice_of(later, 1), &arena, &wanted), KQ_GARBAGE);
    CU_ASSERT_EQUAL(kafka_subscription_decode((struct slice){0}, &arena, &wanted), KQ_GARBAGE);
    CU_ASSERT_EQUAL(kafka_assignment_decode(slice_of("\xff\xff\0\0\0\0\xff\xff\xff\xff", 10), &arena, &given),
                    KQ_GARBAGE);
    kafka_arena_fini(&arena);
}

static const struct unit_case cases[] = {
    {"what clients send", what_clients_send},
    {"what a consumer wants in later versions", what_a_consumer_wants_in_later_versions},
    {"what franz-go writes", what_franz_go_writes},
    {"what franz-go takes for granted", what_franz_go_takes_for_granted},
};

UNIT_MAIN("kafka recorded", cases)
