/*
 * The front end of the Kafka protocol, as a client sees it on its socket: how requests are cut
 * and ordered, what waits and what does not, what a producer that repeats itself is told, and
 * groups whose broker dies in the middle.
 */
#include "e2e/e2e.h"
#include "e2e/kafka_steps.h"
#include "e2e/scenario.h"
#include "proto/kafka/api_groups.h"
#include "proto/kafka/api_metadata.h"
#include "proto/kafka/api_producers.h"
#include "proto/kafka/api_versions.h"
#include "proto/kafka/error.h"

#include <stdlib.h>

enum { POLLS = 5000, POLLS_SPARE_FILES = 200, SESSION_MS = 60000 };

static struct daemon *start(const char *dir, int kafka_port)
{
    return daemon_start(&(struct daemon_spec){.dir = dir,
                                              .broker_id = 1,
                                              .kafka_port = kafka_port,
                                              .nofile = raise_nofile(),
                                              .settings = {"workers.max=4", "group.initial.rebalance.delay=0"}});
}

static int32_t versions_send(struct kafka_caller *c)
{
    const struct kafka_api_versions_request ask = {0};
    return caller_send(c, KAFKA_API_VERSIONS, 0, &ask);
}

static bool versions_taken(struct kafka_caller *c, int32_t id)
{
    const struct kafka_api_versions_response *answer = caller_take(c, KAFKA_API_VERSIONS, 0, id);
    return answer->error_code == KAFKA_ERR_NONE && answer->api_keys.count > 20;
}

/* ---- frames and order ---------------------------------------------------------------------------- */

static void requests_come_in_pieces_and_together(void)
{
    struct daemon *d = start(temp_folder("wire"), 0);
    struct kafka_caller *c = caller_open(daemon_kafka_port(d));
    const struct kafka_api_versions_request ask = {0};
    struct buf out;
    int32_t ids[3];
    buf_init(&out, 1 << 20);
    for (int i = 0; i < 3; i++)
        ids[i] = caller_frame(c, KAFKA_API_VERSIONS, 0, &ask, &out);
    for (size_t i = 0; i < out.len; i++)
        caller_give(c, out.data + i, 1);
    for (int i = 0; i < 3; i++)
        CU_ASSERT_TRUE(versions_taken(c, ids[i]));
    buf_reset(&out);
    for (int i = 0; i < 3; i++)
        ids[i] = caller_frame(c, KAFKA_API_VERSIONS, 0, &ask, &out);
    caller_give(c, out.data, out.len);
    for (int i = 0; i < 3; i++)
        CU_ASSERT_TRUE(versions_taken(c, ids[i]));
    buf_fini(&out);
    /* Frames larger than a worker's buffer, one behind the other. */
    step_topic(c, "t", 1, 1, NULL, NULL);
    const struct step_batch large = {.topic = "t", .value_bytes = 900 * 1024};
    ids[0] = step_send(c, 9, &large);
    ids[1] = step_send(c, 9, &large);
    CU_ASSERT_EQUAL(step_produced(c, 9, ids[0]).base_offset, 0);
    CU_ASSERT_EQUAL(step_produced(c, 9, ids[1]).base_offset, 1);
    caller_close(&c);
    daemon_end(&d);
}

static void answers_come_in_the_order_of_requests(void)
{
    enum { ROUNDS = 200 };
    struct daemon *d = start(temp_folder("wire"), 0);
    struct kafka_caller *c = caller_open(daemon_kafka_port(d));
    step_topic(c, "t", 2, 1, NULL, NULL);
    int32_t produces[ROUNDS], others[ROUNDS];
    const struct step_fetch fetch = {.topic = "t", .count = 1};
    for (int i = 0; i < ROUNDS; i++) {
        produces[i] = step_send(c, 9, &(struct step_batch){.topic = "t"});
        (void)step_send(c, 9, &(struct step_batch){.topic = "t", .silent = true, .partition = 1});
        others[i] = i % 2 == 0 ? versions_send(c) : step_fetch_send(c, &fetch);
    }
    for (int i = 0; i < ROUNDS; i++) { /* caller_take sees to that each is the right one */
        CU_ASSERT_EQUAL(step_produced(c, 9, produces[i]).base_offset, i);
        if (i % 2 == 0) {
            CU_ASSERT_TRUE(versions_taken(c, others[i]));
        } else { /* what was produced before it is there */
            CU_ASSERT_EQUAL(step_fetch_at(step_fetched(c, 0, others[i]), 0)->high_watermark, i + 1);
        }
    }
    const struct step_fetch silent = {.topic = "t", .first = 1, .count = 1};
    CU_ASSERT_EQUAL(step_fetch_at(step_fetch(c, &silent), 0)->high_watermark, ROUNDS);
    /* What cannot be taken and is not answered ends the connection. */
    (void)step_send(c, 9, &(struct step_batch){.topic = "none", .silent = true});
    CU_ASSERT_TRUE(client_ends(caller_client(c), REPLY_MS));
    caller_close(&c);
    daemon_end(&d);
}

static void a_long_poll_holds_back_what_is_behind_it(void)
{
    struct daemon *d = start(temp_folder("wire"), 0);
    struct kafka_caller *c = caller_open(daemon_kafka_port(d)), *other = caller_open(daemon_kafka_port(d));
    step_topic(c, "t", 1, 1, NULL, NULL);
    struct step_fetch poll = {.topic = "t", .count = 1, .wait_ms = STEP_TIMEOUT_MS, .min_bytes = 1};
    int32_t polled = step_fetch_send(c, &poll);
    int32_t produced = step_send(c, 9, &(struct step_batch){.topic = "t"}), behind = versions_send(c);
    CU_ASSERT_TRUE(versions_taken(other, versions_send(other))); /* others go on */
    CU_ASSERT_TRUE(client_quiet(caller_client(c), 100));
    CU_ASSERT_EQUAL(step_produce(other, &(struct step_batch){.topic = "t"}).base_offset, 0);
    CU_ASSERT_EQUAL(step_fetch_at(step_fetched(c, 0, polled), 0)->high_watermark, 1);
    CU_ASSERT_EQUAL(step_produced(c, 9, produced).base_offset, 1);
    CU_ASSERT_TRUE(versions_taken(c, behind));
    /* It ends by itself, too. */
    const int64_t end = 2;
    poll.offs = &end;
    poll.wait_ms = 200;
    polled = step_fetch_send(c, &poll);
    behind = versions_send(c);
    CU_ASSERT_EQUAL(step_fetch_at(step_fetched(c, 0, polled), 0)->records.len, 0);
    CU_ASSERT_TRUE(versions_taken(c, behind));
    caller_close(&c);
    caller_close(&other);
    daemon_end(&d);
}

/* Connections that wait cost a socket and a little memory: no worker, no thread. */
static void thousands_of_long_polls_hold_no_worker(void)
{
    int polls = POLLS;
    if (raise_nofile() < POLLS + POLLS_SPARE_FILES) {
        polls = (int)raise_nofile() - POLLS_SPARE_FILES;
        say_skipped("only %d connections: the limit of open files is too low", polls);
    }
    struct daemon *d = start(temp_folder("wire"), 0);
    struct kafka_caller *c = caller_open(daemon_kafka_port(d));
    struct kafka_caller **waiting = calloc((size_t)polls, sizeof(struct kafka_caller *));
    int32_t *ids = calloc((size_t)polls, sizeof(int32_t));
    CU_ASSERT_FATAL(waiting != NULL && ids != NULL);
    step_topic(c, "t", 1, 1, NULL, NULL);
    const struct step_fetch poll = {.topic = "t", .count = 1, .wait_ms = 10 * STEP_TIMEOUT_MS, .min_bytes = 1};
    for (int i = 0; i < polls; i++) {
        waiting[i] = caller_open(daemon_kafka_port(d));
        ids[i] = step_fetch_send(waiting[i], &poll);
    }
    struct client *text = client_open(daemon_port(d));
    CU_ASSERT(info_number(text, "Workers") <= 4);
    for (int i = 0; i < 100; i++)
        CU_ASSERT_TRUE(versions_taken(c, versions_send(c)));
    for (int i = polls / 2; i < polls; i++) /* some go while they wait */
        caller_close(&waiting[i]);
    CU_ASSERT_EQUAL(step_produce(c, &(struct step_batch){.topic = "t"}).base_offset, 0);
    for (int i = 0; i < polls / 2; i++) {
        CU_ASSERT_EQUAL(step_fetch_at(step_fetched(waiting[i], 0, ids[i]), 0)->high_watermark, 1);
        caller_close(&waiting[i]);
    }
    free(waiting);
    free(ids);
    client_close(&text);
    caller_close(&c);
    daemon_end(&d);
}

struct held {
    struct client *text;
    int64_t least, most;
};

static bool holds(void *arg)
{
    const struct held *held = arg;
    int64_t bytes = info_number(held->text, "MemoryBytes");
    return bytes >= held->least && bytes <= held->most;
}

/* A short request can name a session of many partitions: what it makes of it is counted. */
static void what_a_long_poll_holds_is_counted(void)
{
    enum { PARTS = 60, LEAST_BYTES = PARTS * 200 };
    struct daemon *d = start(temp_folder("wire"), 0);
    struct kafka_caller *c = caller_open(daemon_kafka_port(d)), *other = caller_open(daemon_kafka_port(d));
    struct client *text = client_open(daemon_port(d));
    step_topic(c, "t", PARTS, 1, NULL, NULL);
    struct step_fetch poll = {.topic = "t", .count = PARTS};
    poll = (struct step_fetch){
        .session_id = step_fetch(c, &poll)->session_id, .session_epoch = 1, .wait_ms = STEP_TIMEOUT_MS, .min_bytes = 1};
    struct held held = {.text = text, .most = 1024};
    CU_ASSERT_TRUE(wait_until(holds, &held, REPLY_MS));
    CU_ASSERT_EQUAL(info_number(text, "KafkaFetchSessions"), 1);
    CU_ASSERT(info_number(text, "KafkaFetchSessionBytes") > PARTS * 100);
    int32_t polled = step_fetch_send(c, &poll);
    held = (struct held){.text = text, .least = LEAST_BYTES, .most = INT64_MAX};
    CU_ASSERT_TRUE(wait_until(holds, &held, REPLY_MS));
    CU_ASSERT_EQUAL(step_produce(other, &(struct step_batch){.topic = "t", .partition = 7}).error_code, 0);
    CU_ASSERT_EQUAL(step_fetch_count(step_fetched(c, 0, polled)), 1);
    held = (struct held){.text = text, .most = 1024};
    CU_ASSERT_TRUE(wait_until(holds, &held, REPLY_MS));
    client_close(&text);
    caller_close(&c);
    caller_close(&other);
    daemon_end(&d);
}

/* ---- producers that number what they send ---------------------------------------------------------- */

static int64_t new_producer(struct kafka_caller *c)
{
    const struct kafka_init_producer_id_request ask = {.producer_id = -1, .producer_epoch = -1};
    const struct kafka_init_producer_id_response *answer = caller_ask(c, KAFKA_INIT_PRODUCER_ID, 4, &ask);
    CU_ASSERT_EQUAL(answer->error_code, KAFKA_ERR_NONE);
    CU_ASSERT_EQUAL(answer->producer_epoch, 0);
    return answer->producer_id;
}

struct numbered {
    int16_t epoch;
    int32_t sequence;
    int32_t records;
    int16_t code;
    int64_t off; /* -1: refused */
};

static void numbers_are(struct kafka_caller *c, int64_t producer, const struct numbered *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct kafka_produce_response_partition got =
            step_produce(c, &(struct step_batch){.topic = "t",
                                                 .records = rows[i].records,
                                                 .numbered = true,
                                                 .producer_id = producer,
                                                 .producer_epoch = rows[i].epoch,
                                                 .sequence = rows[i].sequence});
        CU_ASSERT_EQUAL(got.error_code, rows[i].code);
        CU_ASSERT_EQUAL(got.base_offset, rows[i].off);
    }
}

#define NUMBERS(c, producer, rows) numbers_are((c), (producer), (rows), sizeof(rows) / sizeof((rows)[0]))

struct stranger {
    struct kafka_caller *caller;
    int64_t producer;
};

static bool stranger_is_taken(void *arg)
{
    const struct stranger *s = arg;
    struct kafka_produce_response_partition got =
        step_produce(s->caller, &(struct step_batch){.topic = "t",
                                                     .records = 1,
                                                     .numbered = true,
                                                     .producer_id = s->producer,
                                                     .producer_epoch = 3,
                                                     .sequence = 70});
    CU_ASSERT(got.error_code == KAFKA_ERR_NONE || got.error_code == KAFKA_ERR_NOT_LEADER_OR_FOLLOWER);
    return got.error_code == KAFKA_ERR_NONE;
}

static void what_is_sent_again_is_told_where_it_is(void)
{
    static const struct numbered before[] = {
        {0, 0, 2, 0, 0},   {0, 2, 1, 0, 2},   {0, 2, 1, 0, 2},                  /* again */
        {0, 4, 1, 45, -1},                                                      /* a gap */
        {0, 3, 3, 0, 3},   {0, 6, 1, 0, 6},   {0, 7, 1, 0, 7}, {0, 0, 2, 0, 0}, /* the oldest of five */
        {0, 8, 1, 0, 8},   {0, 0, 2, 45, -1},                                   /* as Kafka: it is not known any more */
        {0, 2, 1, 0, 2},   {0, 3, 2, 45, -1},                                   /* not the same batch */
        {1, 5, 1, 45, -1},                                                      /* a new epoch begins at 0 */
        {1, 0, 1, 0, 9},   {0, 9, 1, 47, -1}, {1, 0, 1, 0, 9},
    };
    static const struct numbered after[] = {
        {1, 0, 1, 0, 9}, {1, 1, 1, 0, 10}, {0, 9, 1, 47, -1}, {1, 3, 1, 45, -1}, {1, 2, 1, 0, 11},
    };
    /* What was sent first may have been refused while nobody led: what came behind it does not overtake it. */
    static const struct numbered behind[] = {{0, 1, 1, 6, -1}, {0, 0, 1, 0, 12}, {0, 1, 1, 0, 13}};
    /* An id that was never given: as in Kafka, but not in a term's first moments. */
    static const struct numbered stranger[] = {{3, 71, 2, 0, 15}, {3, 70, 1, 0, 14}};
    const char *dir = temp_folder("wire");
    struct daemon *d = start(dir, 0);
    struct kafka_caller *c = caller_open(daemon_kafka_port(d));
    step_topic(c, "t", 1, 1, NULL, NULL);
    int64_t producer = new_producer(c);
    CU_ASSERT(new_producer(c) > producer);
    NUMBERS(c, producer, before);
    caller_close(&c);
    daemon_kill(&d);
    d = start(dir, 0);
    c = caller_open(daemon_kafka_port(d));
    NUMBERS(c, producer, after);
    NUMBERS(c, new_producer(c), behind);
    struct stranger s = {.caller = c, .producer = INT64_C(1) << 40};
    CU_ASSERT_FALSE(stranger_is_taken(&s));
    CU_ASSERT_FATAL(wait_until(stranger_is_taken, &s, 4 * REPLY_MS));
    NUMBERS(c, s.producer, stranger);
    caller_close(&c);
    daemon_end(&d);
}

/* ---- a group whose broker dies ------------------------------------------------------------------------ */

struct member {
    struct kafka_caller *caller;
    char id[128];
    int32_t generation;
    bool leads;
    int32_t sent; /* a join that is not answered yet */
};

static void member_join_send(struct member *m)
{
    struct kafka_join_group_request_protocol protocol = {.name = slice_text("range"), .metadata = slice_text("m")};
    struct kafka_join_group_request ask = {.group_id = slice_text("g"),
                                           .session_timeout_ms = SESSION_MS,
                                           .rebalance_timeout_ms = SESSION_MS,
                                           .member_id = slice_text(m->id),
                                           .protocol_type = slice_text("consumer")};
    ask.protocols.at = &protocol;
    ask.protocols.count = 1;
    m->sent = caller_send(m->caller, KAFKA_JOIN_GROUP, 5, &ask);
}

static int16_t member_joined(struct member *m)
{
    const struct kafka_join_group_response *answer = caller_take(m->caller, KAFKA_JOIN_GROUP, 5, m->sent);
    if (answer->error_code == KAFKA_ERR_NONE || answer->error_code == KAFKA_ERR_MEMBER_ID_REQUIRED)
        (void)snprintf(m->id, sizeof(m->id), "%.*s", (int)answer->member_id.len, (const char *)answer->member_id.data);
    m->generation = answer->generation_id;
    m->leads = slice_equal(answer->leader, answer->member_id);
    return answer->error_code;
}

/* Asks for an id; a coordinator may be known before it serves. */
static bool member_is_told_its_id(void *member)
{
    member_join_send(member);
    int16_t code = member_joined(member);
    CU_ASSERT(code == KAFKA_ERR_MEMBER_ID_REQUIRED || code == KAFKA_ERR_NOT_COORDINATOR ||
              code == KAFKA_ERR_COORDINATOR_NOT_AVAILABLE || code == KAFKA_ERR_COORDINATOR_LOAD_IN_PROGRESS);
    return code == KAFKA_ERR_MEMBER_ID_REQUIRED;
}

/* A new member: it has got its id, and its join is under way. */
static void member_open(struct member *m, int port)
{
    *m = (struct member){.caller = caller_open(port)};
    CU_ASSERT_FATAL(wait_until(member_is_told_its_id, m, REPLY_MS));
    member_join_send(m);
}

static int32_t member_sync_send(struct member *m, struct member *const *all, int32_t count)
{
    struct kafka_sync_group_request_assignment rows[4];
    struct kafka_sync_group_request ask = {
        .group_id = slice_text("g"), .generation_id = m->generation, .member_id = slice_text(m->id)};
    for (int32_t i = 0; i < count; i++)
        rows[i] = (struct kafka_sync_group_request_assignment){.member_id = slice_text(all[i]->id),
                                                               .assignment = slice_text(all[i]->id)};
    ask.assignments.at = rows;
    ask.assignments.count = m->leads ? count : 0;
    return caller_send(m->caller, KAFKA_SYNC_GROUP, 3, &ask);
}

/* All have joined and are answered: the leader hands out to each its own id. */
static void members_sync(struct member *const *all, int32_t count)
{
    int32_t ids[4];
    for (int32_t i = 0; i < count; i++)
        ids[i] = member_sync_send(all[i], all, count);
    for (int32_t i = 0; i < count; i++) {
        const struct kafka_sync_group_response *answer = caller_take(all[i]->caller, KAFKA_SYNC_GROUP, 3, ids[i]);
        CU_ASSERT_EQUAL(answer->error_code, KAFKA_ERR_NONE);
        CU_ASSERT_TRUE(slice_equal_text(answer->assignment, all[i]->id));
        CU_ASSERT_EQUAL(all[i]->generation, all[0]->generation);
    }
}

static int16_t member_beat(struct member *m)
{
    const struct kafka_heartbeat_request ask = {
        .group_id = slice_text("g"), .generation_id = m->generation, .member_id = slice_text(m->id)};
    return ((const struct kafka_heartbeat_response *)caller_ask(m->caller, KAFKA_HEARTBEAT, 3, &ask))->error_code;
}

static bool is_asked_to_join(void *member)
{
    return member_beat(member) == KAFKA_ERR_REBALANCE_IN_PROGRESS;
}

/* The coordinator is there again. */
static bool beats(void *member)
{
    return member_beat(member) == KAFKA_ERR_NONE;
}

static void members_reopen(struct member *const *all, int32_t count, int port)
{
    for (int32_t i = 0; i < count; i++) {
        caller_close(&all[i]->caller);
        all[i]->caller = caller_open(port);
    }
}

static bool group_can_be(void *caller)
{
    struct kafka_find_coordinator_request ask = {.key = slice_text("g")};
    const struct kafka_find_coordinator_response *answer = caller_ask(caller, KAFKA_FIND_COORDINATOR, 2, &ask);
    return answer->error_code == KAFKA_ERR_NONE;
}

static void a_group_outlives_its_broker_in_the_middle_of_a_round(void)
{
    const char *dir = temp_folder("wire");
    int port = free_port();
    struct daemon *d = start(dir, port);
    struct member a, b, c, *const all[] = {&a, &b, &c};
    struct kafka_caller *caller = caller_open(port);
    step_topic(caller, "t", 3, 1, NULL, NULL);
    CU_ASSERT_FATAL(wait_until(group_can_be, caller, REPLY_MS));
    caller_close(&caller);
    member_open(&a, port);
    CU_ASSERT_EQUAL(member_joined(&a), KAFKA_ERR_NONE);
    members_sync(all, 1);
    member_open(&b, port);
    CU_ASSERT_TRUE(wait_until(is_asked_to_join, &a, REPLY_MS));
    member_join_send(&a);
    CU_ASSERT_EQUAL(member_joined(&a), KAFKA_ERR_NONE);
    CU_ASSERT_EQUAL(member_joined(&b), KAFKA_ERR_NONE);
    members_sync(all, 2);
    /* What is stable is there again, with everybody in it. */
    daemon_kill(&d);
    d = start(dir, port);
    members_reopen(all, 2, port);
    CU_ASSERT_TRUE(wait_until(beats, &a, REPLY_MS));
    CU_ASSERT_EQUAL(member_beat(&b), KAFKA_ERR_NONE);
    int32_t before = a.generation;
    /* A round has begun: one has joined, one waits to be let in, one has not noticed. */
    member_open(&c, port);
    CU_ASSERT_TRUE(wait_until(is_asked_to_join, &a, REPLY_MS));
    member_join_send(&a);
    CU_ASSERT_TRUE(client_quiet(caller_client(a.caller), 50));
    daemon_kill(&d);
    d = start(dir, port);
    members_reopen(all, 3, port);
    CU_ASSERT_TRUE(wait_until(beats, &b, REPLY_MS)); /* in the generation of before */
    c.id[0] = '\0';                                  /* its id was never used */
    member_join_send(&c);
    CU_ASSERT_EQUAL(member_joined(&c), KAFKA_ERR_MEMBER_ID_REQUIRED);
    member_join_send(&c);
    CU_ASSERT_TRUE(wait_until(is_asked_to_join, &b, REPLY_MS));
    member_join_send(&a);
    member_join_send(&b);
    for (int i = 0; i < 3; i++)
        CU_ASSERT_EQUAL(member_joined(all[i]), KAFKA_ERR_NONE);
    CU_ASSERT(a.generation > before);
    members_sync(all, 3);
    for (int i = 0; i < 3; i++) {
        CU_ASSERT_EQUAL(member_beat(all[i]), KAFKA_ERR_NONE);
        caller_close(&all[i]->caller);
    }
    daemon_end(&d);
}

static const struct unit_case cases[] = {
    {"requests come in pieces and together", requests_come_in_pieces_and_together},
    {"answers come in the order of requests", answers_come_in_the_order_of_requests},
    {"a long poll holds back what is behind it", a_long_poll_holds_back_what_is_behind_it},
    {"thousands of long polls hold no worker", thousands_of_long_polls_hold_no_worker},
    {"what a long poll holds is counted", what_a_long_poll_holds_is_counted},
    {"what is sent again is told where it is", what_is_sent_again_is_told_where_it_is},
    {"a group outlives its broker in the middle of a round", a_group_outlives_its_broker_in_the_middle_of_a_round},
};

E2E_MAIN("kafka wire", cases)
