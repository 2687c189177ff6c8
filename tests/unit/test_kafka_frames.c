/*
 * Frames byte by byte, written by hand from the definitions of the protocol: headers,
 * sizes, and the messages that every client sends.
 */
#include "base/require.h"
#include "proto/kafka/api_fetch.h"
#include "proto/kafka/api_groups.h"
#include "proto/kafka/api_metadata.h"
#include "proto/kafka/api_produce.h"
#include "proto/kafka/api_versions.h"
#include "proto/kafka/error.h"
#include "proto/kafka/kafka.h"
#include "support/unit.h"

#include <stdio.h>

enum { ARENA_BYTES = 1024 * 1024, HEX_BYTES = 2048 };

/* A place for the bytes and what is decoded of them, until the next one. */
static uint8_t bytes[HEX_BYTES];
static struct kafka_arena arena;
static struct kafka_request request;

static struct slice from_hex(const char *hex)
{
    size_t len = 0;
    for (; *hex != '\0'; hex += *hex == ' ' ? 1 : 2) {
        if (*hex == ' ')
            continue;
        REQUIRE(hex[1] != '\0' && len < sizeof bytes);
        char pair[3] = {hex[0], hex[1], '\0'};
        bytes[len++] = (uint8_t)strtoul(pair, NULL, 16);
    }
    return slice_of(bytes, len);
}

/* The frame behind its size, opened and decoded. */
static void *open_hex(const char *hex)
{
    kafka_arena_fini(&arena);
    kafka_arena_init(&arena, ARENA_BYTES);
    void *body = NULL;
    CU_ASSERT_EQUAL_FATAL(kafka_request_open(from_hex(hex), &request), KQ_OK);
    CU_ASSERT_EQUAL_FATAL(kafka_request_body(&request, &arena, &body), KQ_OK);
    return body;
}

/* Whether `out` is one frame, and behind its size are these bytes. */
static bool same_frame(const struct buf *out, const char *hex)
{
    static uint8_t kept[HEX_BYTES]; /* what is compared may borrow from what was opened */
    memcpy(kept, bytes, sizeof kept);
    struct slice behind = slice_of(out->data + KAFKA_SIZE_BYTES, out->len - KAFKA_SIZE_BYTES);
    bool same = !out->bad && get_be32(out->data) == behind.len && slice_equal(behind, from_hex(hex));
    memcpy(bytes, kept, sizeof kept);
    for (size_t i = 0; !same && i < out->len; i++)
        printf("%02x%s", out->data[i], i + 1 < out->len ? " " : "\n");
    return same;
}

/* Whether the request, put together again, is the same. */
static bool same_request(const char *hex, const void *body)
{
    struct buf out;
    buf_init(&out, HEX_BYTES);
    kafka_request_put(&out, request.api, request.version, request.correlation_id, request.client_id, body);
    bool same = same_frame(&out, hex);
    buf_fini(&out);
    return same;
}

/* What a client makes of an answer, put together again, is the same. */
static bool opens_again(const struct buf *out, const struct kafka_request *asked)
{
    struct kafka_arena opened;
    struct buf again;
    int32_t correlation_id = 0;
    void *answer = NULL;
    kafka_arena_init(&opened, ARENA_BYTES);
    buf_init(&again, HEX_BYTES);
    struct slice frame = slice_of(out->data + KAFKA_SIZE_BYTES, out->len - KAFKA_SIZE_BYTES);
    bool same = kafka_answer_open(frame, asked->api, asked->version, &opened, &correlation_id, &answer) == KQ_OK &&
                correlation_id == asked->correlation_id;
    if (same)
        kafka_answer_put(&again, asked, answer, NULL);
    same = same && slice_equal(slice_of(again.data, again.len), slice_of(out->data, out->len));
    buf_fini(&again);
    kafka_arena_fini(&opened);
    return same;
}

static bool same_answer(int16_t key, int16_t version, const void *answer, const char *hex)
{
    struct buf out;
    struct kafka_request asked = {.api = kafka_api(key), .key = key, .version = version, .correlation_id = 7};
    buf_init(&out, HEX_BYTES);
    kafka_answer_put(&out, &asked, answer, NULL);
    bool same = same_frame(&out, hex) && opens_again(&out, &asked);
    buf_fini(&out);
    return same;
}

/* ---- sizes and headers -------------------------------------------------------------- */

static void a_size_is_judged_before_anything_is_read(void)
{
    uint32_t size = 0;
    CU_ASSERT_EQUAL(kafka_frame_size((const uint8_t[]){0, 0, 1, 0}, 1000, &size), KQ_OK);
    CU_ASSERT_EQUAL(size, 256);
    CU_ASSERT_EQUAL(kafka_frame_size((const uint8_t[]){0, 0, 3, 0xe8}, 1000, &size), KQ_OK);
    CU_ASSERT_EQUAL(kafka_frame_size((const uint8_t[]){0, 0, 3, 0xe9}, 1000, &size), KQ_TOO_LARGE);
    CU_ASSERT_EQUAL(kafka_frame_size((const uint8_t[]){0x7f, 0xff, 0xff, 0xff}, 1000, &size), KQ_TOO_LARGE);
    CU_ASSERT_EQUAL(kafka_frame_size((const uint8_t[]){0x80, 0, 0, 0}, 1000, &size), KQ_GARBAGE);
    CU_ASSERT_EQUAL(kafka_frame_size((const uint8_t[]){0xff, 0xff, 0xff, 0xff}, 1000, &size), KQ_GARBAGE);
    CU_ASSERT_EQUAL(kafka_frame_size((const uint8_t[]){0, 0, 0, 0}, 1000, &size), KQ_GARBAGE);
    CU_ASSERT_EQUAL(kafka_frame_size((const uint8_t[]){0, 0, 0, 7}, 1000, &size), KQ_GARBAGE);
    CU_ASSERT_EQUAL(kafka_frame_size((const uint8_t[]){0x47, 0x45, 0x54, 0x20}, 1000, &size), KQ_TOO_LARGE);
}

static void headers_of_requests(void)
{
    /* Heartbeat 3, then 4 with a tagged field in its header; the client id is never compact. */
    open_hex("000c 0003 00000009 0002 6162 0001 67 00000001 0001 6d ffff");
    CU_ASSERT_EQUAL(request.key, KAFKA_HEARTBEAT);
    CU_ASSERT_EQUAL(request.version, 3);
    CU_ASSERT_EQUAL(request.correlation_id, 9);
    CU_ASSERT_TRUE(slice_equal_text(request.client_id, "ab"));
    struct kafka_heartbeat_request *heartbeat =
        open_hex("000c 0004 00000009 0002 6162 01 07 02 beef 0267 00000001 026d 00 00");
    CU_ASSERT_TRUE(slice_equal_text(request.client_id, "ab"));
    CU_ASSERT_TRUE(slice_equal_text(heartbeat->member_id, "m"));
    open_hex("000c 0003 00000009 ffff 0001 67 00000001 0001 6d ffff");
    CU_ASSERT_TRUE(slice_is_absent(request.client_id));
    open_hex("000c 0003 00000009 0000 0001 67 00000001 0001 6d ffff");
    CU_ASSERT_FALSE(slice_is_absent(request.client_id));
    CU_ASSERT_EQUAL(request.client_id.len, 0);
}

static void headers_that_are_none(void)
{
    CU_ASSERT_EQUAL(kafka_request_open(from_hex("000c 0003 0000"), &request), KQ_GARBAGE);
    CU_ASSERT_EQUAL(kafka_request_open(from_hex("000c 0003 00000009"), &request), KQ_GARBAGE);
    CU_ASSERT_EQUAL(kafka_request_open(from_hex("000c 0003 00000009 fffe"), &request), KQ_GARBAGE);
    CU_ASSERT_EQUAL(kafka_request_open(from_hex("000c 0003 00000009 7fff 61"), &request), KQ_GARBAGE);
    CU_ASSERT_EQUAL(kafka_request_open(from_hex("000c 0004 00000009 ffff"), &request), KQ_GARBAGE);
    CU_ASSERT_EQUAL(kafka_request_open(from_hex("000c 0004 00000009 ffff ffffffff0f"), &request), KQ_GARBAGE);
    CU_ASSERT_EQUAL(kafka_request_open(from_hex("000c 0004 00000009 ffff 01 00 09"), &request), KQ_GARBAGE);
    CU_ASSERT_EQUAL(kafka_request_open(from_hex("0004 0000 00000009 ffff"), &request), KQ_NOT_FOUND);
    CU_ASSERT_EQUAL(request.key, 4);
    CU_ASSERT_EQUAL(kafka_request_open(from_hex("ffff 0000 00000009 ffff"), &request), KQ_NOT_FOUND);
    CU_ASSERT_EQUAL(kafka_request_open(from_hex("4745 5420 2f204854"), &request), KQ_NOT_FOUND);
    CU_ASSERT_EQUAL(kafka_request_open(from_hex("0001 0003 00000009 ffff"), &request), KQ_BAD_VERSION);
    CU_ASSERT_EQUAL(kafka_request_open(from_hex("0001 ffff 00000009 ffff"), &request), KQ_BAD_VERSION);
    CU_ASSERT_EQUAL(request.version, -1);
}

/* ---- ApiVersions ------------------------------------------------------------------------ */

static bool works_in_test(const struct kafka_api *api, void *context)
{
    (void)context;
    return api->key == KAFKA_PRODUCE || api->key == KAFKA_API_VERSIONS;
}

static void api_versions(void)
{
    const char *plain = "0012 0000 00000007 0001 61";
    CU_ASSERT_TRUE(same_request(plain, open_hex(plain)));
    const char *flexible = "0012 0003 00000007 0001 61 00 0362 63 04 312e32 00";
    struct kafka_api_versions_request *body = open_hex(flexible);
    CU_ASSERT_TRUE(slice_equal_text(body->client_software_name, "bc"));
    CU_ASSERT_TRUE(slice_equal_text(body->client_software_version, "1.2"));
    CU_ASSERT_TRUE(same_request(flexible, body));

    struct kafka_api_versions_response answer;
    CU_ASSERT_TRUE(kafka_versions_fill(&answer, &arena, KAFKA_ERR_NONE, works_in_test, NULL));
    CU_ASSERT_TRUE(same_answer(KAFKA_API_VERSIONS, 0, &answer, "00000007 0000 00000002 0000 0000 000b 0012 0000 0004"));
    CU_ASSERT_TRUE(
        same_answer(KAFKA_API_VERSIONS, 1, &answer, "00000007 0000 00000002 0000 0000 000b 0012 0000 0004 00000000"));
    /* No tagged fields in the header, though the body has them. */
    CU_ASSERT_TRUE(same_answer(KAFKA_API_VERSIONS, 3, &answer,
                               "00000007 0000 03 0000 0000 000b 00 0012 0000 0004 00 00000000 00"));
    answer.finalized_features_epoch = 5;
    CU_ASSERT_TRUE(
        same_answer(KAFKA_API_VERSIONS, 3, &answer,
                    "00000007 0000 03 0000 0000 000b 00 0012 0000 0004 00 00000000 01 01 08 0000000000000005"));
}

static void api_versions_of_a_version_nobody_knows_is_answered_in_version_0(void)
{
    CU_ASSERT_EQUAL(kafka_request_open(from_hex("0012 0063 00000007 0001 61 00 01 01 00"), &request), KQ_BAD_VERSION);
    CU_ASSERT_EQUAL(request.version, 0);
    CU_ASSERT_EQUAL(request.correlation_id, 7);
    struct kafka_api_versions_response answer;
    struct buf out;
    kafka_arena_fini(&arena);
    kafka_arena_init(&arena, ARENA_BYTES);
    CU_ASSERT_TRUE(kafka_versions_fill(&answer, &arena, KAFKA_ERR_UNSUPPORTED_VERSION, works_in_test, NULL));
    buf_init(&out, HEX_BYTES);
    kafka_answer_put(&out, &request, &answer, NULL);
    CU_ASSERT_TRUE(same_frame(&out, "00000007 0023 00000002 0000 0000 000b 0012 0000 0004"));
    buf_fini(&out);
}

/* ---- Metadata ---------------------------------------------------------------------------- */

static void metadata_requests(void)
{
    const char *named = "0003 0004 00000002 ffff 00000002 0001 61 0001 62 00";
    struct kafka_metadata_request *body = open_hex(named);
    CU_ASSERT_EQUAL_FATAL(body->topics.count, 2);
    CU_ASSERT_TRUE(slice_equal_text(body->topics.at[1].name, "b"));
    CU_ASSERT_FALSE(body->allow_auto_topic_creation);
    CU_ASSERT_TRUE(same_request(named, body));
    const char *all = "0003 0009 00000002 ffff 00 00 01 00 01 00";
    body = open_hex(all);
    CU_ASSERT_EQUAL(body->topics.count, -1);
    CU_ASSERT_TRUE(body->include_topic_authorized_operations);
    CU_ASSERT_TRUE(same_request(all, body));
    const char *by_id = "0003 000c 00000002 ffff 00 02 000102030405060708090a0b0c0d0e0f 00 00 01 00 00";
    body = open_hex(by_id);
    CU_ASSERT_TRUE(slice_is_absent(body->topics.at[0].name));
    CU_ASSERT_EQUAL(body->topics.at[0].topic_id.bytes[15], 15);
    CU_ASSERT_TRUE(same_request(by_id, body));
}

static void metadata_answers(void)
{
    int32_t replicas[] = {1, 2};
    struct kafka_metadata_response_broker broker = {.node_id = 1, .host = slice_text("h"), .port = 9092};
    struct kafka_metadata_response_partition partition = {
        .leader_id = 1, .leader_epoch = 4, .replica_nodes = {replicas, 2}, .isr_nodes = {replicas, 1}};
    struct kafka_metadata_response_topic topic = {.name = slice_text("t"),
                                                  .topic_id = {.bytes = {[0] = 0xaa}},
                                                  .partitions = {&partition, 1},
                                                  .topic_authorized_operations = INT32_MIN};
    struct kafka_metadata_response answer = {.brokers = {&broker, 1},
                                             .cluster_id = slice_text("c"),
                                             .controller_id = 1,
                                             .topics = {&topic, 1},
                                             .cluster_authorized_operations = INT32_MIN};
    CU_ASSERT_TRUE(same_answer(KAFKA_METADATA, 1, &answer,
                               "00000007 00000001 00000001 0001 68 00002384 ffff 00000001 00000001"
                               "0000 0001 74 00 00000001 0000 00000000 00000001"
                               "00000002 00000001 00000002 00000001 00000001"));
    CU_ASSERT_TRUE(same_answer(KAFKA_METADATA, 9, &answer,
                               "00000007 00 00000000 02 00000001 0268 00002384 00 00 0263 00000001 02"
                               "0000 0274 00 02 0000 00000000 00000001 00000004"
                               "03 00000001 00000002 02 00000001 01 00 80000000 00 80000000 00"));
    CU_ASSERT_TRUE(same_answer(KAFKA_METADATA, 12, &answer,
                               "00000007 00 00000000 02 00000001 0268 00002384 00 00 0263 00000001 02"
                               "0000 0274 aa000000000000000000000000000000 00 02 0000 00000000 00000001 00000004"
                               "03 00000001 00000002 02 00000001 01 00 80000000 00 00"));
}

/* ---- Produce and Fetch -------------------------------------------------------------------- */

static void produce_requests(void)
{
    const char *plain = "0000 0003 00000005 ffff ffff ffff 00001388 00000001 0001 74 00000001 00000002 00000003 beefed";
    struct kafka_produce_request *body = open_hex(plain);
    CU_ASSERT_TRUE(slice_is_absent(body->transactional_id));
    CU_ASSERT_EQUAL(body->acks, -1);
    CU_ASSERT_EQUAL(body->timeout_ms, 5000);
    CU_ASSERT_EQUAL(body->topic_data.at[0].partition_data.at[0].index, 2);
    CU_ASSERT_EQUAL(body->topic_data.at[0].partition_data.at[0].records.len, 3);
    CU_ASSERT_PTR_EQUAL(body->topic_data.at[0].partition_data.at[0].records.data, bytes + 40 - 3);
    CU_ASSERT_TRUE(same_request(plain, body));
    const char *flexible = "0000 0009 00000005 ffff 00 02 78 0001 00001388 02 0274 02 00000002 04 beefed 00 00 00";
    body = open_hex(flexible);
    CU_ASSERT_TRUE(slice_equal_text(body->transactional_id, "x"));
    CU_ASSERT_EQUAL(body->topic_data.at[0].partition_data.at[0].records.data[2], 0xed);
    CU_ASSERT_TRUE(same_request(flexible, body));
}

static void produce_answers(void)
{
    struct kafka_produce_response_partition *partition;
    struct kafka_produce_response answer;
    kafka_arena_fini(&arena);
    kafka_arena_init(&arena, ARENA_BYTES);
    kafka_defaults(&kafka_produce_response_shape, &answer);
    CU_ASSERT_TRUE(KAFKA_FILL(&arena, answer.responses, kafka_produce_response_topic, 1));
    answer.responses.at[0].name = slice_text("t");
    CU_ASSERT_TRUE(KAFKA_FILL(&arena, answer.responses.at[0].partition_responses, kafka_produce_response_partition, 1));
    partition = &answer.responses.at[0].partition_responses.at[0];
    partition->index = 2;
    partition->base_offset = 66;
    CU_ASSERT_TRUE(same_answer(KAFKA_PRODUCE, 3, &answer,
                               "00000007 00000001 0001 74 00000001 00000002 0000 0000000000000042"
                               "ffffffffffffffff 00000000"));
    CU_ASSERT_TRUE(same_answer(KAFKA_PRODUCE, 9, &answer,
                               "00000007 00 02 0274 02 00000002 0000 0000000000000042"
                               "ffffffffffffffff ffffffffffffffff 01 00 00 00 00000000 00"));
    partition->error_code = KAFKA_ERR_NOT_LEADER_OR_FOLLOWER;
    partition->current_leader.leader_id = 3;
    partition->current_leader.leader_epoch = 9;
    CU_ASSERT_TRUE(same_answer(KAFKA_PRODUCE, 10, &answer,
                               "00000007 00 02 0274 02 00000002 0006 0000000000000042"
                               "ffffffffffffffff ffffffffffffffff 01 00 01 00 09 00000003 00000009 00 00 00000000 00"));
}

static void fetch_requests(void)
{
    const char *plain = "0001 0004 00000005 ffff ffffffff 00000064 00000001 00100000 01"
                        "00000001 0001 74 00000001 00000002 0000000000000003 00001000";
    struct kafka_fetch_request *body = open_hex(plain);
    CU_ASSERT_EQUAL(body->max_wait_ms, 100);
    CU_ASSERT_EQUAL(body->isolation_level, 1);
    CU_ASSERT_EQUAL(body->session_epoch, -1);
    CU_ASSERT_EQUAL(body->topics.at[0].partitions.at[0].fetch_offset, 3);
    CU_ASSERT_EQUAL(body->topics.at[0].partitions.at[0].current_leader_epoch, -1);
    CU_ASSERT_TRUE(same_request(plain, body));
    const char *flexible = "0001 000c 00000005 ffff 00 ffffffff 00000064 00000001 00100000 00 00000011 00000002"
                           "02 0274 02 00000002 00000008 0000000000000003 ffffffff ffffffffffffffff 00001000 00 00"
                           "02 0275 03 00000000 00000001 00 01 01 00 02 0263";
    body = open_hex(flexible);
    CU_ASSERT_EQUAL(body->session_id, 17);
    CU_ASSERT_EQUAL(body->topics.at[0].partitions.at[0].current_leader_epoch, 8);
    CU_ASSERT_EQUAL(body->forgotten_topics_data.at[0].partitions.at[1], 1);
    CU_ASSERT_EQUAL(body->rack_id.len, 0);
    CU_ASSERT_FALSE(slice_is_absent(body->cluster_id));
    const char *by_id = "0001 0010 00000005 ffff 00 00000064 00000001 00100000 00 00000011 00000002"
                        "02 000102030405060708090a0b0c0d0e0f"
                        "02 00000002 00000008 0000000000000003 ffffffff ffffffffffffffff 00001000 00 00 01 01"
                        "01 01 0d 00000002 0000000000000001 00";
    body = open_hex(by_id);
    CU_ASSERT_EQUAL(body->topics.at[0].topic_id.bytes[1], 1);
    CU_ASSERT_EQUAL(body->replica_id, -1);
    CU_ASSERT_EQUAL(body->replica_state.replica_id, 2);
    CU_ASSERT_EQUAL(body->replica_state.replica_epoch, 1);
    CU_ASSERT_TRUE(same_request(by_id, body));
}

static struct kafka_fetch_response_partition *fetch_answer(struct kafka_fetch_response *answer, size_t partitions)
{
    kafka_arena_fini(&arena);
    kafka_arena_init(&arena, ARENA_BYTES);
    kafka_defaults(&kafka_fetch_response_shape, answer);
    REQUIRE(KAFKA_FILL(&arena, answer->responses, kafka_fetch_response_topic, 1));
    answer->responses.at[0].topic = slice_text("t");
    answer->responses.at[0].topic_id.bytes[0] = 0xaa;
    REQUIRE(KAFKA_FILL(&arena, answer->responses.at[0].partitions, kafka_fetch_response_partition, partitions));
    struct kafka_fetch_response_partition *first = answer->responses.at[0].partitions.at;
    for (size_t i = 0; i < partitions; i++) {
        first[i].partition_index = (int32_t)i;
        first[i].high_watermark = 5;
        first[i].records = slice_text("");
    }
    return first;
}

static void fetch_answers(void)
{
    struct kafka_fetch_response answer;
    struct kafka_fetch_response_partition *partition = fetch_answer(&answer, 1);
    partition->records = slice_text("abc");
    CU_ASSERT_TRUE(same_answer(KAFKA_FETCH, 4, &answer,
                               "00000007 00000000 00000001 0001 74 00000001 00000000 0000"
                               "0000000000000005 ffffffffffffffff 00000000 00000003 616263"));
    CU_ASSERT_TRUE(same_answer(KAFKA_FETCH, 12, &answer,
                               "00000007 00 00000000 0000 00000000 02 0274 02 00000000 0000"
                               "0000000000000005 ffffffffffffffff ffffffffffffffff 01 ffffffff 04 616263 00 00 00"));
    answer.responses.at[0].partitions.at[0].aborted_transactions.count = -1;
    partition->current_leader.leader_id = 2;
    CU_ASSERT_TRUE(KAFKA_FILL(&arena, answer.node_endpoints, kafka_fetch_response_node, 1));
    answer.node_endpoints.at[0].host = slice_text("h");
    CU_ASSERT_TRUE(same_answer(KAFKA_FETCH, 16, &answer,
                               "00000007 00 00000000 0000 00000000 02 aa000000000000000000000000000000 02"
                               "00000000 0000 0000000000000005 ffffffffffffffff ffffffffffffffff 00 ffffffff"
                               "04 616263 01 01 09 00000002 ffffffff 00 00"
                               "01 00 0d 02 00000000 0268 00000000 00 00"));
}

static void records_can_be_left_out_and_spliced_in(void)
{
    for (int16_t version = 4; version <= 16; version++) {
        struct kafka_fetch_response answer;
        struct kafka_fetch_response_partition *partitions = fetch_answer(&answer, 3);
        partitions[0].records = slice_text("first");
        partitions[2].records = slice_text("the third one's");
        struct kafka_request asked = {.api = kafka_api(KAFKA_FETCH), .key = KAFKA_FETCH, .version = version};
        struct kafka_splice splice[3] = {{0}};
        struct kafka_splices splices = {.at = splice, .room = 3};
        struct buf whole, apart;
        buf_init(&whole, HEX_BYTES);
        buf_init(&apart, HEX_BYTES);
        kafka_answer_put(&whole, &asked, &answer, NULL);
        kafka_answer_put(&apart, &asked, &answer, &splices);
        CU_ASSERT_EQUAL_FATAL(splices.count, 2);
        CU_ASSERT_EQUAL(splices.total_bytes, 20);
        CU_ASSERT_EQUAL(apart.len + splices.total_bytes, whole.len);
        uint8_t joined[HEX_BYTES];
        size_t len = 0, from = 0;
        for (size_t i = 0; i <= splices.count; i++) {
            size_t to = i < splices.count ? splice[i].at : apart.len;
            memcpy(joined + len, apart.data + from, to - from);
            len += to - from;
            from = to;
            if (i == splices.count)
                break;
            memcpy(joined + len, splice[i].bytes.data, splice[i].bytes.len);
            len += splice[i].bytes.len;
        }
        CU_ASSERT_TRUE(len == whole.len && memcmp(joined, whole.data, len) == 0);
        /* A second answer in the same buffer counts only its own. */
        splices.count = 0;
        size_t second_at = apart.len;
        kafka_answer_put(&apart, &asked, &answer, &splices);
        CU_ASSERT_EQUAL(get_be32(apart.data + second_at), get_be32(whole.data));
        CU_ASSERT_TRUE(splice[0].at > second_at);
        buf_fini(&apart);
        buf_fini(&whole);
    }
}

/* ---- groups ------------------------------------------------------------------------------- */

static void join_group_requests(void)
{
    const char *plain = "000b 0005 00000005 ffff 0001 67 00002710 00007530 0000 ffff 0008 636f6e73756d6572"
                        "00000001 0005 72616e6765 00000002 0001";
    struct kafka_join_group_request *body = open_hex(plain);
    CU_ASSERT_EQUAL(body->rebalance_timeout_ms, 30000);
    CU_ASSERT_EQUAL(body->member_id.len, 0);
    CU_ASSERT_TRUE(slice_is_absent(body->group_instance_id));
    CU_ASSERT_TRUE(slice_equal_text(body->protocols.at[0].name, "range"));
    CU_ASSERT_EQUAL(body->protocols.at[0].metadata.len, 2);
    CU_ASSERT_TRUE(same_request(plain, body));
    const char *flexible = "000b 0009 00000005 ffff 00 0267 00002710 00007530 01 0269 09 636f6e73756d6572"
                           "02 06 72616e6765 03 0001 00 0372 72 00";
    body = open_hex(flexible);
    CU_ASSERT_TRUE(slice_equal_text(body->group_instance_id, "i"));
    CU_ASSERT_TRUE(slice_equal_text(body->reason, "rr"));
    CU_ASSERT_TRUE(same_request(flexible, body));
}

static void join_group_answers(void)
{
    struct kafka_join_group_response_member member = {.member_id = slice_text("m"), .metadata = slice_text("z")};
    struct kafka_join_group_response answer = {.generation_id = 1,
                                               .protocol_type = slice_text("c"),
                                               .protocol_name = slice_text("r"),
                                               .leader = slice_text("m"),
                                               .member_id = slice_text("m"),
                                               .members = {&member, 1}};
    CU_ASSERT_TRUE(same_answer(KAFKA_JOIN_GROUP, 5, &answer,
                               "00000007 00000000 0000 00000001 0001 72 0001 6d 0001 6d"
                               "00000001 0001 6d ffff 00000001 7a"));
    CU_ASSERT_TRUE(same_answer(KAFKA_JOIN_GROUP, 9, &answer,
                               "00000007 00 00000000 0000 00000001 0263 0272 026d 00 026d"
                               "02 026d 00 027a 00 00"));
}

/* ---- the rest -------------------------------------------------------------------------------- */

static void error_codes_have_names(void)
{
    CU_ASSERT_STRING_EQUAL(kafka_error_name(KAFKA_ERR_NONE), "NONE");
    CU_ASSERT_STRING_EQUAL(kafka_error_name(-1), "UNKNOWN_SERVER_ERROR");
    CU_ASSERT_STRING_EQUAL(kafka_error_name(6), "NOT_LEADER_OR_FOLLOWER");
    CU_ASSERT_STRING_EQUAL(kafka_error_name(79), "MEMBER_ID_REQUIRED");
    CU_ASSERT_STRING_EQUAL(kafka_error_name(133), "SHARE_SESSION_LIMIT_REACHED");
    CU_ASSERT_STRING_EQUAL(kafka_error_name(134), "UNKNOWN");
    CU_ASSERT_STRING_EQUAL(kafka_error_name(-2), "UNKNOWN");
    CU_ASSERT_EQUAL(KAFKA_ERR_END, 134);
    CU_ASSERT_TRUE(kafka_error_retriable(KAFKA_ERR_NOT_LEADER_OR_FOLLOWER));
    CU_ASSERT_FALSE(kafka_error_retriable(KAFKA_ERR_MESSAGE_TOO_LARGE));
    CU_ASSERT_FALSE(kafka_error_retriable(134));
}

static void a_message_as_text(void)
{
    struct buf out;
    struct kafka_fetch_request *body = open_hex("0001 0004 00000005 ffff ffffffff 00000064 00000001 00100000 01"
                                                "00000001 0001 74 00000001 00000002 0000000000000003 00001000");
    struct kafka_dialect dialect = kafka_dialect(request.api, request.version);
    buf_init(&out, HEX_BYTES);
    kafka_dump(request.api->request, dialect, body, &out, HEX_BYTES, false);
    buf_u8(&out, '\0');
    CU_ASSERT_STRING_EQUAL((const char *)out.data,
                           "{replica_id: -1, max_wait_ms: 100, min_bytes: 1, max_bytes: 1048576, isolation_level: 1, "
                           "topics: [{topic: \"t\", partitions: [{partition: 2, fetch_offset: 3, "
                           "partition_max_bytes: 4096}]}]}");
    buf_reset(&out);
    kafka_dump(request.api->request, dialect, body, &out, 20, true);
    buf_u8(&out, '\0');
    CU_ASSERT_STRING_EQUAL((const char *)out.data, "{\n  replica_id: -1,\n  max_wait_ms: 100}...");
    buf_reset(&out);
    /* A tagged field is shown when it is there. */
    struct kafka_fetch_request fetch;
    kafka_defaults(&kafka_fetch_request_shape, &fetch);
    dialect = kafka_dialect(request.api, 16);
    kafka_dump(request.api->request, dialect, &fetch, &out, HEX_BYTES, false);
    buf_u8(&out, '\0');
    CU_ASSERT_PTR_NULL(strstr((const char *)out.data, "replica_state"));
    fetch.replica_state.replica_id = 1;
    buf_reset(&out);
    kafka_dump(request.api->request, dialect, &fetch, &out, HEX_BYTES, false);
    buf_u8(&out, '\0');
    CU_ASSERT_PTR_NOT_NULL(strstr((const char *)out.data, "replica_state: {replica_id: 1, replica_epoch: -1}"));
    buf_fini(&out);
    kafka_arena_fini(&arena);
}

static const struct unit_case cases[] = {
    {"a size is judged before anything is read", a_size_is_judged_before_anything_is_read},
    {"headers of requests", headers_of_requests},
    {"headers that are none", headers_that_are_none},
    {"ApiVersions 0, 1 and 3", api_versions},
    {"ApiVersions of a version nobody knows is answered in version 0",
     api_versions_of_a_version_nobody_knows_is_answered_in_version_0},
    {"Metadata 4, 9 and 12, asked", metadata_requests},
    {"Metadata 1, 9 and 12, answered", metadata_answers},
    {"Produce 3 and 9, asked", produce_requests},
    {"Produce 3, 9 and 10, answered", produce_answers},
    {"Fetch 4, 12 and 16, asked", fetch_requests},
    {"Fetch 4, 12 and 16, answered", fetch_answers},
    {"records can be left out and spliced in", records_can_be_left_out_and_spliced_in},
    {"JoinGroup 5 and 9, asked", join_group_requests},
    {"JoinGroup 5 and 9, answered", join_group_answers},
    {"error codes have names", error_codes_have_names},
    {"a message as text", a_message_as_text},
};

UNIT_MAIN("kafka frames", cases)
