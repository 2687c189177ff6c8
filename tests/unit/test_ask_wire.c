/* What brokers ask each other about messages and groups: there and back, cut at every
 * place, and with every byte changed. */
#include "api/ask_wire.h"
#include "base/require.h"
#include "group/group_wire.h"
#include "log/batch.h"
#include "support/unit.h"

#include <stdio.h>

static struct group_id a_group(void)
{
    struct group_id group = {.partition = 7};
    for (int i = 0; i < UUID_BYTES; i++)
        group.topic_id.bytes[i] = (uint8_t)(i + 1);
    return group;
}

static void add_batch(struct buf *body, int records)
{
    struct batch_maker maker;
    batch_begin(&maker, body, 1000);
    for (int i = 0; i < records; i++)
        batch_add(&maker, 1000 + i, slice_text("key"), slice_text("value"), "Header", slice_text("h"));
    batch_end(&maker, -1, -1, -1);
}

static void a_publish_goes_there_and_back(void)
{
    uint8_t head[ASK_WIRE_HEAD_MAX_BYTES];
    struct ask_publish ask = {.group = a_group(), .in_term = 9, .wait_ms = 30000, .record_count = 5, .batch_count = 2};
    struct buf body;
    buf_init(&body, 1 << 20);
    buf_put(&body, head, ask_publish_encode(&ask, head));
    size_t head_bytes = body.len;
    add_batch(&body, 3);
    add_batch(&body, 2);
    struct ask_publish got;
    CU_ASSERT_EQUAL_FATAL(ask_publish_decode(&got, body.data, body.len), KQ_OK);
    CU_ASSERT_EQUAL(got.in_term, 9);
    CU_ASSERT_EQUAL(got.wait_ms, 30000);
    CU_ASSERT_EQUAL(got.group.partition, 7);
    CU_ASSERT(uuid_equal(&got.group.topic_id, &ask.group.topic_id));
    CU_ASSERT_EQUAL(got.head_bytes, head_bytes);
    for (size_t cut = 0; cut < body.len; cut++) {
        uint8_t *exact = malloc(cut == 0 ? 1 : cut);
        memcpy(exact, body.data, cut);
        CU_ASSERT(ask_publish_decode(&got, exact, cut) != KQ_OK);
        free(exact);
    }
    ask.record_count = 6; /* says more than there is */
    (void)ask_publish_encode(&ask, body.data);
    CU_ASSERT_EQUAL(ask_publish_decode(&got, body.data, body.len), KQ_GARBAGE);
    body.data[0] = 2;
    CU_ASSERT_EQUAL(ask_publish_decode(&got, body.data, body.len), KQ_BAD_VERSION);
    buf_fini(&body);
}

static void the_other_questions_go_there_and_back(void)
{
    uint8_t head[ASK_WIRE_HEAD_MAX_BYTES];
    struct ask_published published = {.base_off = 12, .term = 3, .log_start_off = 4}, got_published;
    uint32_t bytes = ask_published_encode(&published, head);
    CU_ASSERT_EQUAL(ask_published_decode(&got_published, head, bytes), KQ_OK);
    CU_ASSERT_EQUAL(memcmp(&published, &got_published, sizeof(published)), 0);
    CU_ASSERT_EQUAL(ask_published_decode(&got_published, head, bytes - 1), KQ_GARBAGE);

    struct ask_read read = {.group = a_group(), .flags = ASK_READ_CLAMP, .off = -1, .end_off = 99, .max_bytes = 1000};
    struct ask_read got_read;
    bytes = ask_read_encode(&read, head);
    CU_ASSERT_EQUAL(ask_read_decode(&got_read, head, bytes), KQ_OK);
    CU_ASSERT_EQUAL(got_read.off, -1);
    CU_ASSERT_EQUAL(got_read.end_off, 99);
    CU_ASSERT_EQUAL(got_read.flags, ASK_READ_CLAMP);
    read.max_bytes = ASK_READ_MAX_BYTES + 1;
    CU_ASSERT_EQUAL(ask_read_decode(&got_read, head, ask_read_encode(&read, head)), KQ_GARBAGE);

    struct ask_reading reading = {.start_off = 3, .high_watermark = 90, .off = 5, .end_off = 80}, got_reading;
    bytes = ask_reading_encode(&reading, head);
    CU_ASSERT_EQUAL(ask_reading_decode(&got_reading, head, bytes), KQ_OK);
    CU_ASSERT_EQUAL(got_reading.high_watermark, 90);
    CU_ASSERT_EQUAL(got_reading.head_bytes, bytes);
    reading.high_watermark = 2; /* below the start */
    CU_ASSERT_EQUAL(ask_reading_decode(&got_reading, head, ask_reading_encode(&reading, head)), KQ_GARBAGE);

    struct ask_watch watch = {.group = a_group(), .off = 17, .wait_ms = 5000}, got_watch;
    bytes = ask_watch_encode(&watch, head);
    CU_ASSERT_EQUAL(ask_watch_decode(&got_watch, head, bytes), KQ_OK);
    CU_ASSERT_EQUAL(got_watch.off, 17);
    watch.wait_ms = ASK_WAIT_MAX_MS + 1;
    CU_ASSERT_EQUAL(ask_watch_decode(&got_watch, head, ask_watch_encode(&watch, head)), KQ_GARBAGE);
    struct ask_watched watched = {.start_off = 1, .high_watermark = 2}, got_watched;
    bytes = ask_watched_encode(&watched, head);
    CU_ASSERT_EQUAL(ask_watched_decode(&got_watched, head, bytes), KQ_OK);
    CU_ASSERT_EQUAL(got_watched.high_watermark, 2);
}

static struct group_call a_call(void)
{
    return (struct group_call){.verb = GROUP_COMMIT,
                               .session = {.broker_id = 3, .id = 77},
                               .group = "readers",
                               .topic = "news",
                               .id = {.coordinator = 2, .partition = 5, .secret = {{9, 8, 7}}},
                               .topic_id = a_group().topic_id,
                               .partition_count = 12,
                               .wanted = 2,
                               .off = 1234567890123,
                               .metadata = "meta"};
}

static void a_group_call_goes_there_and_back(void)
{
    struct group_call call = a_call();
    struct group_asked *asked = malloc(sizeof(*asked));
    struct buf body;
    buf_init(&body, GROUP_WIRE_QUESTION_MAX_BYTES);
    group_wire_ask(&call, 4, &body);
    CU_ASSERT(!body.bad);
    CU_ASSERT_EQUAL_FATAL(group_wire_asked(asked, body.data, body.len), KQ_OK);
    CU_ASSERT_EQUAL(asked->coordinator, 4);
    CU_ASSERT_EQUAL(asked->call.verb, GROUP_COMMIT);
    CU_ASSERT_EQUAL(asked->call.session.id, 77);
    CU_ASSERT_STRING_EQUAL(asked->call.group, "readers");
    CU_ASSERT_STRING_EQUAL(asked->call.topic, "news");
    CU_ASSERT_STRING_EQUAL(asked->call.metadata, "meta");
    CU_ASSERT_EQUAL(asked->call.off, 1234567890123);
    CU_ASSERT_EQUAL(memcmp(&asked->call.id, &call.id, sizeof(call.id)), 0);
    for (size_t cut = 0; cut < body.len; cut++) {
        uint8_t *exact = malloc(cut == 0 ? 1 : cut);
        memcpy(exact, body.data, cut);
        CU_ASSERT(group_wire_asked(asked, exact, cut) != KQ_OK);
        free(exact);
    }
    buf_reset(&body);
    call.metadata = NULL;
    call.group = NULL;
    call.verb = GROUP_RESOLVE;
    group_wire_ask(&call, 4, &body);
    CU_ASSERT_EQUAL(group_wire_asked(asked, body.data, body.len), KQ_OK);
    CU_ASSERT_PTR_NULL(asked->call.metadata);
    CU_ASSERT_STRING_EQUAL(asked->call.group, "");
    body.data[1] = GROUP_BROKER_GONE; /* nobody else may ask that */
    CU_ASSERT_EQUAL(group_wire_asked(asked, body.data, body.len), KQ_GARBAGE);
    buf_fini(&body);
    free(asked);
}

static void fill_answer(struct group_call *call)
{
    *call = a_call();
    call->kind = GROUP_KIND_TEXT;
    call->generation = 6;
    call->partition = 5;
    call->committed_off = -1;
    (void)snprintf(call->group_name, sizeof(call->group_name), "readers");
    call->id_count = 3;
    call->ids = calloc(3, sizeof(*call->ids));
    call->group_count = 2;
    call->groups = calloc(2, sizeof(*call->groups));
    call->row_count = 2;
    call->rows = calloc(2, sizeof(*call->rows));
    for (uint32_t i = 0; i < 3; i++)
        call->ids[i] = (struct subscription_id){.coordinator = i, .partition = i + 1, .secret = {{(uint8_t)i}}};
    for (uint32_t i = 0; i < 2; i++) {
        (void)snprintf(call->groups[i].name, sizeof(call->groups[i].name), "group-%u", i);
        call->groups[i].kind = GROUP_KIND_CLASSIC;
        call->groups[i].member_count = i;
        (void)snprintf(call->rows[i].topic, sizeof(call->rows[i].topic), "topic-%u", i);
        call->rows[i].partition = i;
        call->rows[i].owned = i == 1;
        call->rows[i].owner.id = 5;
        call->rows[i].committed_off = i == 0 ? -1 : 44;
    }
}

static void a_coordinators_answer_goes_there_and_back(void)
{
    struct group_call call, got = {.verb = GROUP_DESCRIBE};
    struct buf body;
    fill_answer(&call);
    buf_init(&body, GROUP_WIRE_ANSWER_MAX_BYTES);
    group_wire_answer(&call, &body);
    CU_ASSERT(!body.bad);
    CU_ASSERT_EQUAL_FATAL(group_wire_answered(&got, body.data, body.len), KQ_OK);
    CU_ASSERT_EQUAL(got.committed_off, -1);
    CU_ASSERT_STRING_EQUAL(got.group_name, "readers");
    CU_ASSERT_EQUAL_FATAL(got.id_count, 3);
    CU_ASSERT_EQUAL(got.ids[2].partition, 3);
    CU_ASSERT_EQUAL_FATAL(got.group_count, 2);
    CU_ASSERT_STRING_EQUAL(got.groups[1].name, "group-1");
    CU_ASSERT_EQUAL_FATAL(got.row_count, 2);
    CU_ASSERT(got.rows[1].owned);
    CU_ASSERT_EQUAL(got.rows[1].committed_off, 44);
    group_call_fini(&got);
    for (size_t cut = 0; cut < body.len; cut++) {
        uint8_t *exact = malloc(cut == 0 ? 1 : cut);
        memcpy(exact, body.data, cut);
        CU_ASSERT(group_wire_answered(&got, exact, cut) != KQ_OK);
        CU_ASSERT_PTR_NULL(got.ids);
        free(exact);
    }
    for (size_t at = 0; at < body.len; at++) { /* a count of four thousand millions takes no memory */
        uint8_t kept[4];
        size_t bytes = body.len - at < 4 ? body.len - at : 4;
        memcpy(kept, body.data + at, bytes);
        memset(body.data + at, 0xff, bytes);
        (void)group_wire_answered(&got, body.data, body.len);
        group_call_fini(&got);
        memcpy(body.data + at, kept, bytes);
    }
    buf_fini(&body);
    group_call_fini(&call);
}

static void an_event_goes_there_and_back(void)
{
    struct group_event event = {
        .kind = GROUP_EVENT_REVOKED, .session = {.broker_id = 2, .id = 4}, .topic = "news", .partition = 3};
    struct group_event got;
    char topic[GROUP_NAME_MAX_BYTES + 1];
    struct buf body;
    struct subscription_id id = {.coordinator = 1, .partition = 3};
    (void)subscription_id_format(&id, event.id);
    buf_init(&body, GROUP_WIRE_EVENT_MAX_BYTES);
    group_wire_event(&event, &body);
    CU_ASSERT_EQUAL_FATAL(group_wire_event_decode(&got, topic, body.data, body.len), KQ_OK);
    CU_ASSERT_STRING_EQUAL(got.topic, "news");
    CU_ASSERT_STRING_EQUAL(got.id, event.id);
    CU_ASSERT_EQUAL(got.session.id, 4);
    for (size_t cut = 0; cut < body.len; cut++)
        CU_ASSERT(group_wire_event_decode(&got, topic, body.data, cut) != KQ_OK);
    body.data[1] = 2;
    CU_ASSERT_EQUAL(group_wire_event_decode(&got, topic, body.data, body.len), KQ_GARBAGE);
    buf_fini(&body);
}

static const struct unit_case cases[] = {
    {"a publish goes there and back", a_publish_goes_there_and_back},
    {"the other questions go there and back", the_other_questions_go_there_and_back},
    {"a group call goes there and back", a_group_call_goes_there_and_back},
    {"a coordinator's answer goes there and back", a_coordinators_answer_goes_there_and_back},
    {"an event goes there and back", an_event_goes_there_and_back},
};
UNIT_MAIN("ask wire", cases)
