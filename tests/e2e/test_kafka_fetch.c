/*
 * Fetch, request by request: sessions (KIP-227), their order where bytes are few, and where the
 * leader is, told to who asks another broker (KIP-951).
 */
#include "config.h"
#include "e2e/cluster_case.h"
#include "e2e/kafka_steps.h"
#include "log/batch.h"
#include "proto/kafka/api_offsets.h"
#include "proto/kafka/error.h"

static struct daemon *start(const char *dir)
{
    return daemon_start(&(struct daemon_spec){.dir = dir, .broker_id = 1});
}

static void a_session_goes_on_over_connections(void)
{
    struct daemon *d = start(temp_folder("fetch"));
    struct kafka_caller *a = caller_open(daemon_kafka_port(d)), *b = caller_open(daemon_kafka_port(d));
    step_topic(a, "t", 3, 1, NULL, NULL);
    struct step_fetch fetch = {.topic = "t", .count = 3};
    const struct kafka_fetch_response *got = step_fetch(a, &fetch);
    CU_ASSERT_EQUAL(step_fetch_count(got), 3);
    fetch = (struct step_fetch){.topic = "t", .session_id = got->session_id, .session_epoch = 1};
    CU_ASSERT_NOT_EQUAL(fetch.session_id, 0);
    got = step_fetch(b, &fetch);
    CU_ASSERT_EQUAL(got->error_code, KAFKA_ERR_NONE);
    CU_ASSERT_EQUAL(got->session_id, fetch.session_id);
    CU_ASSERT_EQUAL(got->responses.count, 0);
    /* A long poll of the session tells of the one partition that has something. */
    fetch.session_epoch = 2;
    fetch.wait_ms = STEP_TIMEOUT_MS;
    fetch.min_bytes = 1;
    int32_t id = step_fetch_send(b, &fetch);
    CU_ASSERT_EQUAL(step_produce(a, &(struct step_batch){.topic = "t", .partition = 1}).error_code, 0);
    got = step_fetched(b, 0, id);
    CU_ASSERT_EQUAL_FATAL(step_fetch_count(got), 1);
    CU_ASSERT_EQUAL(step_fetch_at(got, 0)->partition_index, 1);
    CU_ASSERT(step_fetch_at(got, 0)->records.len > 0);
    CU_ASSERT_EQUAL(step_fetch_at(got, 0)->high_watermark, 1);
    /* It goes on behind it, and forgets another. */
    int64_t off = 1;
    fetch = (struct step_fetch){.topic = "t",
                                .session_id = fetch.session_id,
                                .session_epoch = 3,
                                .first = 1,
                                .count = 1,
                                .offs = &off,
                                .forgets = 1};
    CU_ASSERT_EQUAL(step_fetch_count(step_fetch(a, &fetch)), 0);
    CU_ASSERT_EQUAL(step_produce(a, &(struct step_batch){.topic = "t", .partition = 0}).error_code, 0);
    fetch = (struct step_fetch){.session_id = fetch.session_id, .session_epoch = 4};
    CU_ASSERT_EQUAL(step_fetch_count(step_fetch(a, &fetch)), 0);
    /* What is wrong is refused, and does no harm. */
    CU_ASSERT_EQUAL(step_fetch(a, &fetch)->error_code, KAFKA_ERR_INVALID_FETCH_SESSION_EPOCH);
    fetch.session_epoch = 5;
    fetch.version = 13;
    CU_ASSERT_EQUAL(step_fetch(a, &fetch)->error_code, KAFKA_ERR_FETCH_SESSION_TOPIC_ID_ERROR);
    fetch.version = 11;
    CU_ASSERT_EQUAL(step_fetch(a, &fetch)->error_code, KAFKA_ERR_NONE);
    fetch.session_epoch = -1;
    fetch.wait_ms = STEP_TIMEOUT_MS;
    fetch.min_bytes = 1;
    got = step_fetch(a, &fetch); /* closes it, and waits for nothing */
    CU_ASSERT_EQUAL(got->session_id, 0);
    fetch.session_epoch = 6;
    CU_ASSERT_EQUAL(step_fetch(a, &fetch)->error_code, KAFKA_ERR_FETCH_SESSION_ID_NOT_FOUND);
    caller_close(&a);
    caller_close(&b);
    daemon_end(&d);
}

static void no_partition_of_a_session_starves(void)
{
    struct daemon *d = start(temp_folder("fetch"));
    struct kafka_caller *c = caller_open(daemon_kafka_port(d));
    step_topic(c, "t", 3, 1, NULL, NULL);
    struct step_fetch fetch = {.topic_id = step_topic_id(c, "t"), .version = 13, .count = 3, .max_bytes = 1};
    int64_t next[3] = {0, 0, 0};
    for (int32_t round = 0; round < 3; round++)
        for (int32_t p = 0; p < 3; p++)
            CU_ASSERT_EQUAL(
                step_produce(c, &(struct step_batch){.topic = "t", .partition = p, .value_bytes = 8000}).error_code, 0);
    for (int32_t n = 0; n < 9; n++) {
        const struct kafka_fetch_response *got = step_fetch(c, &fetch);
        int32_t given = -1;
        for (int32_t i = 0; i < step_fetch_count(got); i++)
            if (step_fetch_at(got, i)->records.len > 0) {
                CU_ASSERT_EQUAL(given, -1); /* the bytes are for one batch */
                given = step_fetch_at(got, i)->partition_index;
            }
        CU_ASSERT_FATAL(given >= 0);
        CU_ASSERT_EQUAL(next[given], n / 3); /* the others had theirs before */
        next[given]++;
        fetch.session_id = got->session_id;
        fetch.session_epoch = n + 1;
        fetch.first = given;
        fetch.count = 1;
        fetch.offs = &next[given];
    }
    caller_close(&c);
    daemon_end(&d);
}

static void topics_are_found_by_their_ids(void)
{
    enum { TOPICS = 60 };
    struct uuid ids[TOPICS];
    struct daemon *d = start(temp_folder("fetch"));
    struct kafka_caller *c = caller_open(daemon_kafka_port(d));
    for (int i = 0; i < TOPICS; i++) {
        char name[16];
        (void)snprintf(name, sizeof(name), "t%d", i);
        step_topic(c, name, 1, 1, NULL, NULL);
        ids[i] = step_topic_id(c, name);
        CU_ASSERT_EQUAL(step_produce(c, &(struct step_batch){.topic = name, .records = i + 1}).error_code, 0);
    }
    for (int i = 0; i < TOPICS; i++) {
        const struct step_fetch fetch = {.topic_id = ids[i], .version = 13, .count = 1};
        const struct kafka_fetch_response *got = step_fetch(c, &fetch);
        CU_ASSERT_TRUE(uuid_equal(&got->responses.at[0].topic_id, &ids[i]));
        CU_ASSERT_EQUAL(step_fetch_at(got, 0)->high_watermark, i + 1);
    }
    const struct step_fetch unknown = {.topic_id = uuid_random(), .version = 13, .count = 1};
    CU_ASSERT_EQUAL(step_fetch_at(step_fetch(c, &unknown), 0)->error_code, KAFKA_ERR_UNKNOWN_TOPIC_ID);
    caller_close(&c);
    daemon_end(&d);
}

#if HAVE_ZLIB
/* Offset and time that ListOffsets tells. */
static struct kafka_list_offsets_response_partition list(struct kafka_caller *c, int64_t time_ms)
{
    struct kafka_list_offsets_request_partition partition = {.current_leader_epoch = -1, .timestamp = time_ms};
    struct kafka_list_offsets_request_topic topic = {.name = slice_text("t")};
    topic.partitions.at = &partition;
    topic.partitions.count = 1;
    struct kafka_list_offsets_request ask = {.replica_id = -1};
    ask.topics.at = &topic;
    ask.topics.count = 1;
    const struct kafka_list_offsets_response *answer = caller_ask(c, KAFKA_LIST_OFFSETS, 7, &ask);
    return answer->topics.at[0].partitions.at[0];
}

static void is_found(struct kafka_caller *c, int64_t time_ms, int64_t off, int64_t found_ms)
{
    struct kafka_list_offsets_response_partition found = list(c, time_ms);
    CU_ASSERT_EQUAL(found.error_code, KAFKA_ERR_NONE);
    CU_ASSERT_EQUAL(found.offset, off);
    CU_ASSERT_EQUAL(found.timestamp, found_ms);
}

static void times_are_found_inside_of_compressed_batches(void)
{
    static const int64_t base_ms = 1700000000000;
    const int64_t times_ms[] = {base_ms, base_ms + 50, base_ms + 20, base_ms + 90, base_ms + 90, base_ms + 10};
    struct daemon *d = start(temp_folder("fetch"));
    struct kafka_caller *c = caller_open(daemon_kafka_port(d));
    step_topic(c, "t", 1, 1, NULL, NULL);
    is_found(c, -3, -1, -1); /* nothing is in it */
    struct step_batch batch = {.topic = "t", .time_ms = base_ms - 100, .records = 3};
    CU_ASSERT_EQUAL(step_produce(c, &batch).error_code, KAFKA_ERR_NONE);
    is_found(c, base_ms - 99, 1, base_ms - 99);
    batch = (struct step_batch){.topic = "t", .times_ms = times_ms, .records = 6, .gzip = true};
    CU_ASSERT_EQUAL(step_produce(c, &batch).base_offset, 3);
    batch = (struct step_batch){.topic = "t", .time_ms = base_ms + 70};
    CU_ASSERT_EQUAL(step_produce(c, &batch).base_offset, 9);
    is_found(c, base_ms, 3, base_ms);
    is_found(c, base_ms + 1, 4, base_ms + 50);
    is_found(c, base_ms + 51, 6, base_ms + 90);
    is_found(c, base_ms + 91, -1, -1);
    is_found(c, -3, 6, base_ms + 90); /* the first of the newest */
    is_found(c, -1, 10, -1);
    is_found(c, -2, 0, -1);
    caller_close(&c);
    daemon_end(&d);
}

#endif

static void what_telnet_writes_bears_the_type_of_its_time(void)
{
    struct daemon *d = start(temp_folder("fetch"));
    struct kafka_caller *c = caller_open(daemon_kafka_port(d));
    struct client *text = client_open(daemon_port(d));
    step_topic(c, "t", 1, 1, "message.timestamp.type", "LogAppendTime");
    step_topic(c, "u", 1, 1, NULL, NULL);
    for (int i = 0; i < 2; i++) {
        const char *topic = i == 0 ? "t" : "u";
        publish_range(text, topic, "message", 0, 3, 3);
        struct kafka_fetch_response_partition got =
            *step_fetch_at(step_fetch(c, &(struct step_fetch){.topic = topic, .count = 1}), 0);
        struct cursor records = cursor_over(got.records.data, got.records.len);
        struct batch_info info;
        const uint8_t *batch;
        CU_ASSERT_EQUAL_FATAL(batch_next(&records, &info, &batch), KQ_OK);
        CU_ASSERT_TRUE(batch_crc_ok(batch, &info));
        CU_ASSERT_EQUAL(info.attributes, i == 0 ? BATCH_LOG_APPEND_TIME : 0);
        CU_ASSERT(info.max_time_ms > 1700000000000);
    }
    client_close(&text);
    caller_close(&c);
    daemon_end(&d);
}

static void who_asks_another_broker_is_told_the_leader(void)
{
    struct fleet *f = fleet_form(&(struct fleet_spec){.brokers = 3});
    struct kafka_caller *c = caller_open(fleet_kafka_port(f, 1));
    step_topic(c, "t", 1, 3, NULL, NULL);
    CU_ASSERT_FATAL(fleet_whole(f, 3, WHOLE_MS));
    int leader = leader_of(f, 0, 0), other = another(f, leader);
    CU_ASSERT_EQUAL(leader_of(f, other, 0), leader);
    struct uuid topic_id = step_topic_id(c, "t");
    caller_close(&c);
    c = caller_open(fleet_kafka_port(f, other));
    const struct step_batch batch = {.topic = "t"};
    int32_t id = step_send(c, 10, &batch);
    const struct kafka_produce_response *made = caller_take(c, KAFKA_PRODUCE, 10, id);
    const struct kafka_produce_response_partition *refused = &made->responses.at[0].partition_responses.at[0];
    CU_ASSERT_EQUAL(refused->error_code, KAFKA_ERR_NOT_LEADER_OR_FOLLOWER);
    CU_ASSERT_EQUAL(refused->current_leader.leader_id, leader);
    CU_ASSERT(refused->current_leader.leader_epoch > 0);
    CU_ASSERT_EQUAL_FATAL(made->node_endpoints.count, 1);
    CU_ASSERT_EQUAL(made->node_endpoints.at[0].node_id, leader);
    CU_ASSERT_EQUAL(made->node_endpoints.at[0].port, fleet_kafka_port(f, leader));
    CU_ASSERT(slice_equal_text(made->node_endpoints.at[0].host, "127.0.0.1"));
    CU_ASSERT_EQUAL(step_produced(c, 9, step_send(c, 9, &batch)).error_code, KAFKA_ERR_NOT_LEADER_OR_FOLLOWER);
    const struct step_fetch fetch = {.topic_id = topic_id, .version = 16, .count = 1};
    const struct kafka_fetch_response *got = step_fetch(c, &fetch);
    CU_ASSERT_EQUAL(step_fetch_at(got, 0)->error_code, KAFKA_ERR_NOT_LEADER_OR_FOLLOWER);
    CU_ASSERT_EQUAL(step_fetch_at(got, 0)->current_leader.leader_id, leader);
    CU_ASSERT(step_fetch_at(got, 0)->current_leader.leader_epoch > 0);
    CU_ASSERT_EQUAL_FATAL(got->node_endpoints.count, 1);
    CU_ASSERT_EQUAL(got->node_endpoints.at[0].node_id, leader);
    CU_ASSERT_EQUAL(got->node_endpoints.at[0].port, fleet_kafka_port(f, leader));
    caller_close(&c);
    c = caller_open(fleet_kafka_port(f, leader));
    got = step_fetch(c, &fetch);
    CU_ASSERT_EQUAL(step_fetch_at(got, 0)->error_code, KAFKA_ERR_NONE);
    CU_ASSERT_EQUAL(step_fetch_at(got, 0)->current_leader.leader_id, -1);
    CU_ASSERT_EQUAL(got->node_endpoints.count, 0);
    caller_close(&c);
    fleet_end(&f);
}

struct begun {
    struct client *client;
    int64_t before, least;
    int64_t looks; /* each is a command, too */
};

static int64_t commands_begun(struct begun *begun)
{
    return info_number(begun->client, "commands") - begun->before - ++begun->looks;
}

static bool has_begun(void *arg)
{
    struct begun *begun = arg;
    return commands_begun(begun) >= begun->least;
}

/* Behind so many unanswered ones no more of a client is looked at. */
static void unanswered_produces_of_a_client_are_bounded(void)
{
    enum { MOST = 1000, SENT = 1500 };
    struct fleet *f = fleet_form(&(struct fleet_spec){.brokers = 3, .settings = {"election.timeout=8s"}});
    struct kafka_caller *c = caller_open(fleet_kafka_port(f, 1));
    step_topic(c, "t", 1, 3, NULL, NULL);
    CU_ASSERT_FATAL(fleet_whole(f, 3, 2 * WHOLE_MS));
    int leader = leader_of(f, 0, 0);
    caller_close(&c);
    c = caller_open(fleet_kafka_port(f, leader));
    struct client *text = fleet_client(f, leader);
    CU_ASSERT_EQUAL(step_produce(c, &(struct step_batch){.topic = "t"}).base_offset, 0);
    for (int id = 1; id <= 3; id++)
        if (id != leader)
            fleet_pause(f, id); /* nothing is committed, and the leader waits for them for a while */
    struct begun begun = {.client = text, .before = info_number(text, "commands"), .least = MOST};
    int32_t ids[SENT];
    for (int i = 0; i < SENT; i++)
        ids[i] = step_send(c, 9, &(struct step_batch){.topic = "t"});
    CU_ASSERT_TRUE(wait_until(has_begun, &begun, GO_ON_MS));
    CU_ASSERT_TRUE(client_quiet(caller_client(c), 100));
    CU_ASSERT(commands_begun(&begun) < MOST + 100);
    for (int id = 1; id <= 3; id++)
        if (id != leader)
            fleet_resume(f, id);
    for (int i = 0; i < SENT; i++)
        CU_ASSERT_EQUAL(step_produced(c, 9, ids[i]).base_offset, i + 1);
    client_close(&text);
    caller_close(&c);
    fleet_end(&f);
}

static const struct unit_case cases[] = {
    {"a session goes on over connections", a_session_goes_on_over_connections},
    {"topics are found by their ids", topics_are_found_by_their_ids},
    {"no partition of a session starves", no_partition_of_a_session_starves},
#if HAVE_ZLIB
    {"times are found inside of compressed batches", times_are_found_inside_of_compressed_batches},
#endif
    {"what telnet writes bears the type of its time", what_telnet_writes_bears_the_type_of_its_time},
    {"unanswered produces of a client are bounded", unanswered_produces_of_a_client_are_bounded},
    {"who asks another broker is told the leader", who_asks_another_broker_is_told_the_leader},
};

E2E_MAIN("kafka fetch", cases)
