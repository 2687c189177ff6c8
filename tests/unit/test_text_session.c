/*
 * The text session driven by bytes, cut at every place, against partitions that
 * answer when the test says so: what is folded, what waits, and that replies
 * leave in the order of the commands.
 */
#include "support/text_rig.h"

#include "api/ask_wire.h"
#include "base/fnv.h"
#include "base/require.h"
#include "support/unit.h"

#include <stdio.h>

static void a_script_cut_at_every_place_says_the_same(void)
{
    static const char script[] = "PUBS one {\"Body\":\"a\"}\r\n"
                                 "\n"
                                 "pubs one {\"Body\":\"b\"}\n"
                                 "PUBS one {\"Bodyy\":\"c\"}\n"
                                 "NOPE\n"
                                 "CRTP one\n"
                                 "PUBS one \"{\"\"Body\"\":\"\"d e\"\"}\"\n"
                                 "PING\n"
                                 "PUBS none {\"Body\":\"f\"}\n"
                                 "PUBS one {\"Body\":\"g\"}\n"
                                 "PI";
    char whole[4096] = "";
    for (size_t cut = 0; cut < sizeof(script); cut++) {
        struct rig *rig = rig_new(NULL);
        rig_feed(rig, script, cut);
        if (cut % 2 == 0)
            rig_answer_all(rig);
        rig_feed(rig, script + cut, sizeof(script) - 1 - cut);
        rig_answer_all(rig);
        const char *replies = rig_replies(rig);
        if (cut == 0)
            (void)snprintf(whole, sizeof(whole), "%s", replies);
        CU_ASSERT_STRING_EQUAL(replies, whole);
        CU_ASSERT_STRING_EQUAL(rig_partitions[0].bodies, "a b d e g ");
        CU_ASSERT(rig->mid_line);
        rig_free(rig);
    }
    CU_ASSERT_PTR_NOT_NULL(strstr(whole, "Done\nDone\nError, "));
    CU_ASSERT_PTR_NOT_NULL(strstr(whole, "\nError, unknown command NOPE; HELP lists the commands\n"
                                         "Done\nDone\nDone\nError, topic does not exist\nDone\n"));
}

static void publishes_of_one_read_are_one_request_a_partition(void)
{
    struct rig *rig = rig_new(NULL);
    char text[8192] = "";
    for (int i = 0; i < 90; i++)
        (void)snprintf(text + strlen(text), sizeof(text) - strlen(text), "PUBS many {\"Body\":\"%d\"}\n", i);
    rig_text(rig, text);
    CU_ASSERT_EQUAL(rig_asked.count, RIG_PARTITIONS);
    for (size_t i = 0; i < rig_asked.count; i++)
        CU_ASSERT_EQUAL(rig_asked.publishes[i]->record_count, 30);
    CU_ASSERT_NSTRING_EQUAL(rig_partitions[1].bodies, "1 4 7 10 ", 9);
    CU_ASSERT_STRING_EQUAL(rig_replies(rig), "");
    rig_answer_all(rig);
    CU_ASSERT_EQUAL(strlen(rig_replies(rig)), 90 * 5);
    rig_free(rig);
}

static void a_key_chooses_its_partition(void)
{
    struct rig *rig = rig_new(NULL);
    for (int i = 0; i < 20; i++) {
        char line[80], key[16];
        (void)snprintf(key, sizeof(key), "key-%d", i);
        (void)snprintf(line, sizeof(line), "PUBS many {\"Key\":\"%s\",\"Body\":\"x\"}\n", key);
        rig_text(rig, line);
        CU_ASSERT_EQUAL(rig_asked.at[rig_asked.count - 1]->number, 0);
        CU_ASSERT_PTR_EQUAL(rig_asked.at[rig_asked.count - 1],
                            &rig_partitions[fnv_partition(key, strlen(key), RIG_PARTITIONS)]);
    }
    rig_answer_all(rig);
    rig_free(rig);
}

static void answers_in_any_order_leave_in_order(void)
{
    static const size_t orders[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
    for (size_t k = 0; k < 6; k++) {
        struct rig *rig = rig_new(NULL);
        rig_text(rig, "PUBS many {\"Body\":\"0\"}\nPUBS many {\"Body\":\"1\"}\nPUBS many {\"Body\":\"2\"}\n"
                      "PUBS many {\"Body\":\"3\"}\nPUBS many {no\nPUBS many {\"Body\":\"4\"}\n");
        CU_ASSERT_EQUAL_FATAL(rig_asked.count, 4); /* 0 and 3; 1; 2; then 4 behind the error */
        rig_answer(3, KQ_OK);
        for (size_t i = 0; i < 3; i++)
            rig_answer(orders[k][i], orders[k][i] == 1 ? KQ_NO_SPACE : KQ_OK);
        const char *replies = rig_replies(rig);
        CU_ASSERT_NSTRING_EQUAL(replies, "Done\nError, disk full\nDone\nDone\nError, ", 38);
        CU_ASSERT_STRING_EQUAL(replies + strlen(replies) - 6, "\nDone\n");
        rig_free(rig);
    }
}

static void a_command_waits_for_the_publishes_before_it(void)
{
    struct rig *rig = rig_new(NULL);
    rig_text(rig, "PUBS one {\"Body\":\"a\"}\nCRTP new\nPUBS one {\"Body\":\"b\"}\n");
    CU_ASSERT_EQUAL(rig_asked.create_count, 0);
    CU_ASSERT(!rig_ready(rig));
    rig_answer(0, KQ_OK);
    rig_go_on(rig);
    CU_ASSERT_EQUAL(rig_asked.create_count, 1);
    CU_ASSERT_EQUAL(rig_asked.count, 1); /* and what follows waits for it */
    rig_asked.answered = 1;
    rig_answer_all(rig);
    CU_ASSERT_EQUAL(rig_asked.count, 2);
    CU_ASSERT_STRING_EQUAL(rig_replies(rig), "Done\nDone\nDone\n");
    rig_free(rig);
}

static void no_more_than_pipeline_max_wait(void)
{
    const char *settings[] = {"pipeline.max=10", NULL};
    struct rig *rig = rig_new(settings);
    for (int i = 0; i < 35; i++)
        rig_text(rig, "PUBS one {\"Body\":\"x\"}\n");
    CU_ASSERT(!rig_ready(rig));
    CU_ASSERT_EQUAL(rig_asked.count, 10);
    rig_answer(0, KQ_OK);
    rig_go_on(rig);
    CU_ASSERT_EQUAL(rig_asked.count, 11);
    rig_asked.answered = 1;
    rig_answer_all(rig);
    CU_ASSERT_EQUAL(strlen(rig_replies(rig)), 35 * 5);
    rig_free(rig);
}

static void a_crowded_partition_holds_its_clients_back(void)
{
    struct rig *rig = rig_new(NULL);
    rig_partitions[0].crowded = true;
    rig_text(rig, "PUBS one {\"Body\":\"a\"}\n");
    CU_ASSERT(!rig_ready(rig));
    rig_text(rig, "PUBS one {\"Body\":\"b\"}\n");
    CU_ASSERT_EQUAL(rig_asked.count, 1);
    rig_partitions[0].crowded = false;
    rig_answer(0, KQ_OK);
    CU_ASSERT(rig_ready(rig));
    rig_go_on(rig);
    rig_asked.answered = 1;
    rig_answer_all(rig);
    CU_ASSERT_STRING_EQUAL(rig_replies(rig), "Done\nDone\n");
    rig_free(rig);
}

static void a_fold_is_cut_at_the_largest_batch(void)
{
    struct rig *rig = rig_new(NULL);
    char text[4096] = "", large[600];
    for (int i = 0; i < 20; i++)
        (void)strncat(text, "PUBS tiny {\"Body\":\"0123456789012345678901234567890123456789\"}\n",
                      sizeof(text) - strlen(text) - 1);
    rig_text(rig, text);
    CU_ASSERT(rig_asked.count > 3);
    for (size_t i = 0; i < rig_asked.count; i++)
        CU_ASSERT(rig_asked.publishes[i]->batches_bytes <= 300);
    rig_answer_all(rig);
    CU_ASSERT_EQUAL(strlen(rig_replies(rig)), 20 * 5);
    (void)snprintf(large, sizeof(large), "PUBS tiny {\"Body\":\"%0400d\"}\n", 0);
    rig_text(rig, large);
    CU_ASSERT_PTR_NOT_NULL(strstr(rig_replies(rig), "Error, message too large"));
    rig_free(rig);
}

static void a_line_too_long_gets_one_error_wherever_it_is_cut(void)
{
    const char *settings[] = {"line.max=1KiB", NULL};
    char text[4000];
    memset(text, 'x', sizeof(text));
    memcpy(text + 3000, "\nNOPE\n", 6);
    for (size_t cut = 900; cut < 3006; cut += 7) {
        struct rig *rig = rig_new(settings);
        rig_feed(rig, text, cut);
        rig_feed(rig, text + cut, 3006 - cut);
        const char *replies = rig_replies(rig);
        CU_ASSERT_NSTRING_EQUAL(replies, "Error, line too long", 20);
        CU_ASSERT_PTR_NOT_NULL(strstr(replies, "skipped\nError, unknown command NOPE"));
        CU_ASSERT_EQUAL(rig->kept_len, 0);
        rig_free(rig);
    }
}

static void a_topic_that_is_not_known_here_is_asked_for(void)
{
    struct rig *rig = rig_new(NULL);
    rig_text(rig, "PUBS one {\"Body\":\"a\"}\nPUBS late \"{\"\"Body\"\":\"\"b\"\"}\"\nPUBS one {\"Body\":\"c\"}\n");
    CU_ASSERT_PTR_NOT_NULL_FATAL(rig_asked.catch_up);
    CU_ASSERT(!rig_ready(rig));
    CU_ASSERT_EQUAL(rig_asked.count, 1); /* what follows waits */
    rig_asked.late_topic_known = true;
    rig_answer_catch_up(rig, KQ_OK);
    rig_go_on(rig);
    CU_ASSERT_EQUAL(rig_asked.count, 3);
    CU_ASSERT_STRING_EQUAL(rig_partitions[0].bodies, "a b c ");
    rig_answer_all(rig);
    CU_ASSERT_STRING_EQUAL(rig_replies(rig), "Done\nDone\nDone\n");
    rig_asked.late_topic_known = false;
    rig_text(rig, "PUBS late {\"Body\":\"d\"}\nPUBS late {\"Body\":\"e\"}\n");
    rig_answer_catch_up(rig, KQ_NO_LEADER);
    rig_go_on(rig);
    rig_answer_catch_up(rig, KQ_OK);
    const char *replies = rig_replies(rig);
    CU_ASSERT_PTR_NOT_NULL(strstr(replies, "whether there is a topic late cannot be told now: "));
    CU_ASSERT_PTR_NOT_NULL(strstr(replies, "\nError, topic does not exist\n"));
    rig_free(rig);
}

/* ---- when another broker leads ------------------------------------------------------------------ */

static void lead(struct rig *rig, uint32_t broker_id, uint64_t term)
{
    static const struct uuid one; /* the topic's id */
    rig_leader.broker_id = broker_id;
    rig_leader.term = term;
    atomic_fetch_add(&rig->broker.leader_changes, 1);
    leader_waits_changed(&rig->broker.waits, &one, 0);
    if (rig_asked.deadline != NULL)
        rig_asked.deadline->fire(rig_asked.deadline);
}

/* The messages of the ask, each followed by a space. */
static const char *ask_bodies(size_t i, struct ask_publish *question)
{
    static char bodies[1024];
    struct buf body;
    buf_init(&body, 1 << 20);
    for (int k = 0; k < rig_asked.asks[i]->part_count; k++)
        buf_put(&body, rig_asked.asks[i]->parts[k].iov_base, rig_asked.asks[i]->parts[k].iov_len);
    CU_ASSERT_EQUAL_FATAL(rig_asked.asks[i]->verb, ASK_PUBLISH);
    CU_ASSERT_EQUAL_FATAL(ask_publish_decode(question, body.data, body.len), KQ_OK);
    struct cursor c = cursor_over(body.data + question->head_bytes, body.len - question->head_bytes);
    bodies[0] = '\0';
    while (cursor_left(&c) > 0) {
        struct batch_info info;
        const uint8_t *batch;
        struct record_walk walk;
        struct record record;
        CU_ASSERT_EQUAL_FATAL(batch_next(&c, &info, &batch), KQ_OK);
        for (record_walk_init(&walk, batch, &info); record_walk_next(&walk, &record) == KQ_OK;) {
            size_t len = strlen(bodies);
            (void)snprintf(bodies + len, sizeof(bodies) - len, "%.*s ", (int)record.value.len,
                           (const char *)record.value.data);
        }
    }
    buf_fini(&body);
    return bodies;
}

static void answer_ask(size_t i, enum kq_err err, bool maybe_delivered)
{
    struct ask *ask = rig_asked.asks[i];
    uint8_t head[ASK_WIRE_HEAD_MAX_BYTES];
    struct ask_published published = {.base_off = 7, .term = rig_leader.term};
    CU_ASSERT_PTR_NOT_NULL_FATAL(ask);
    rig_asked.asks[i] = NULL;
    ask->fault.err = err;
    ask->maybe_delivered = maybe_delivered;
    buf_init(&ask->answer, 1024);
    if (err == KQ_OK)
        buf_put(&ask->answer, head, ask_published_encode(&published, head));
    ask->done(ask);
}

static void publishes_go_to_the_broker_that_leads(void)
{
    struct rig *rig = rig_new(NULL);
    struct ask_publish question;
    lead(rig, 2, 5);
    rig_text(rig, "PUBS one {\"Body\":\"a\"}\nPUBS one {\"Body\":\"b\"}\n");
    CU_ASSERT_EQUAL(rig_asked.count, 0);
    CU_ASSERT_EQUAL_FATAL(rig_asked.ask_count, 1);
    CU_ASSERT_STRING_EQUAL(ask_bodies(0, &question), "a b ");
    CU_ASSERT_EQUAL(question.in_term, 5);
    CU_ASSERT_EQUAL(rig_asked.asks[0]->broker_id, 2);
    answer_ask(0, KQ_OK, false);
    CU_ASSERT_STRING_EQUAL(rig_replies(rig), "Done\nDone\n");
    rig_text(rig, "PUBS one {\"Body\":\"c\"}\n");
    answer_ask(1, KQ_NO_SPACE, false);
    CU_ASSERT_STRING_EQUAL(rig_replies(rig), "Done\nDone\nError, disk full\n");
    rig_free(rig);
}

static void what_a_former_leader_refuses_goes_to_the_next_in_order(void)
{
    struct rig *rig = rig_new(NULL);
    struct ask_publish question;
    rig_text(rig, "PUBS one {\"Body\":\"a\"}\n");
    rig_text(rig, "PUBS one {\"Body\":\"b\"}\n");
    CU_ASSERT_EQUAL_FATAL(rig_asked.count, 2);
    rig_leader.broker_id = 0; /* nobody leads */
    rig_answer(0, KQ_NOT_LEADER);
    rig_text(rig, "PUBS one {\"Body\":\"c\"}\n");
    lead(rig, 2, 5);
    CU_ASSERT_EQUAL(rig_asked.ask_count, 0); /* b is still to be decided */
    rig_answer(1, KQ_NOT_LEADER);
    CU_ASSERT_EQUAL_FATAL(rig_asked.ask_count, 1);
    CU_ASSERT_STRING_EQUAL(ask_bodies(0, &question), "a ");
    answer_ask(0, KQ_OK, false);
    CU_ASSERT_EQUAL_FATAL(rig_asked.ask_count, 3);
    CU_ASSERT_STRING_EQUAL(ask_bodies(1, &question), "b ");
    CU_ASSERT_EQUAL(question.in_term, 5);
    CU_ASSERT_STRING_EQUAL(ask_bodies(2, &question), "c ");
    CU_ASSERT_EQUAL(question.in_term, 5);
    answer_ask(2, KQ_OK, false);
    answer_ask(1, KQ_OK, false);
    CU_ASSERT_STRING_EQUAL(rig_replies(rig), "Done\nDone\nDone\n");
    rig_asked.count = rig_asked.answered = 0;
    lead(rig, 1, 6);
    rig_text(rig, "PUBS one {\"Body\":\"d\"}\n"); /* nothing is wrong any more: at once */
    CU_ASSERT_EQUAL(rig_asked.count, 1);
    rig_answer_all(rig);
    rig_free(rig);
}

static void a_broker_that_is_lost_leaves_the_outcome_unknown(void)
{
    struct rig *rig = rig_new(NULL);
    struct ask_publish question;
    lead(rig, 2, 5);
    rig_text(rig, "PUBS one {\"Body\":\"a\"}\n");
    rig_text(rig, "PUBX one 0 1 0 0 {\"Body\":\"b\"}\n");
    rig_text(rig, "PUBS one {\"Body\":\"c\"}\n");
    CU_ASSERT_EQUAL_FATAL(rig_asked.ask_count, 3);
    rig_leader.broker_id = 0;
    answer_ask(0, KQ_NO_LEADER, true);
    answer_ask(1, KQ_NO_LEADER, true);
    answer_ask(2, KQ_NO_LEADER, false);
    CU_ASSERT_EQUAL(rig_asked.ask_count, 3);
    lead(rig, 3, 6);
    CU_ASSERT_EQUAL_FATAL(rig_asked.ask_count, 4); /* the producer's first, alone */
    CU_ASSERT_STRING_EQUAL(ask_bodies(3, &question), "b ");
    answer_ask(3, KQ_OK, false);
    CU_ASSERT_EQUAL_FATAL(rig_asked.ask_count, 5);
    CU_ASSERT_STRING_EQUAL(ask_bodies(4, &question), "c ");
    answer_ask(4, KQ_OK, false);
    const char *replies = rig_replies(rig);
    CU_ASSERT_NSTRING_EQUAL(replies, "Error, outcome unknown: ", 24);
    CU_ASSERT_STRING_EQUAL(strchr(replies, '\n'), "\nDone\nDone\n");
    rig_free(rig);
}

static void without_a_majority_publishes_are_refused_at_once(void)
{
    struct rig *rig = rig_new(NULL);
    rig_leader.broker_id = 0;
    rig_leader.majority = false;
    rig_text(rig, "PUBS one {\"Body\":\"a\"}\n");
    CU_ASSERT_NSTRING_EQUAL(rig_replies(rig), "Error, not enough replicas", 26);
    rig_leader.majority = true;
    rig_text(rig, "PUBS one {\"Body\":\"b\"}\n"); /* waits for a leader */
    CU_ASSERT_EQUAL(rig_asked.count + rig_asked.ask_count, 0);
    rig_leader.majority = false;
    lead(rig, 0, 0);
    const char *second = strchr(rig_replies(rig), '\n');
    CU_ASSERT_NSTRING_EQUAL(second, "\nError, not enough replicas", 27);
    rig_leader.majority = true; /* of brokers; not of the replicas that they had */
    rig_leader.lost = true;
    rig_text(rig, "PUBS one {\"Body\":\"b\"}\n");
    const char *lost = strstr(rig_replies(rig), "\nError, not enough replicas: of partition 0");
    CU_ASSERT_PTR_NOT_NULL_FATAL(lost);
    CU_ASSERT_PTR_NOT_NULL(strstr(lost, "lost for good"));
    lead(rig, 1, 2); /* as after its old disk is back */
    rig_text(rig, "PUBS one {\"Body\":\"c\"}\n");
    CU_ASSERT_EQUAL(rig_asked.count, 1);
    rig_leader.lost = false;
    rig_answer_all(rig);
    rig_free(rig);
}

static void when_the_broker_stops_who_waits_is_told(void)
{
    struct rig *rig = rig_new(NULL);
    rig_leader.broker_id = 0;
    rig_text(rig, "PUBS one {\"Body\":\"a\"}\nPUBS many {\"Body\":\"b\"}\n");
    CU_ASSERT_STRING_EQUAL(rig_replies(rig), "");
    atomic_store(&rig->broker.stopping, true);
    leader_waits_stop(&rig->broker.waits);
    CU_ASSERT_STRING_EQUAL(rig_replies(rig), "Error, the broker is stopping\nError, the broker is stopping\n");
    rig_free(rig);
}

static void a_late_line_is_told_behind_what_is_unanswered(void)
{
    struct rig *rig = rig_new(NULL);
    rig_text(rig, "PUBS one {\"Body\":\"a\"}\nPUBS on");
    conn_lock(rig->conn);
    rig->text.protocol->late(conn_session(rig->conn));
    conn_unlock(rig->conn);
    CU_ASSERT_STRING_EQUAL(rig_replies(rig), "");
    rig_answer(0, KQ_OK);
    CU_ASSERT_NSTRING_EQUAL(rig_replies(rig), "Done\nError, the line did not end", 32);
    rig_free(rig);
}

static void other_protocols_are_told_and_let_go(void)
{
    static const char http[] = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    for (size_t cut = 0; cut < 12; cut++) {
        struct rig *rig = rig_new(NULL);
        rig_feed(rig, http, cut);
        rig_feed(rig, http + cut, sizeof(http) - 1 - cut);
        CU_ASSERT_PTR_NOT_NULL(strstr(rig_replies(rig), "HTTP"));
        CU_ASSERT(!rig_ready(rig));
        rig_free(rig);
    }
}

static const struct unit_case cases[] = {
    {"a script cut at every place says the same", a_script_cut_at_every_place_says_the_same},
    {"publishes of one read are one request a partition", publishes_of_one_read_are_one_request_a_partition},
    {"a key chooses its partition", a_key_chooses_its_partition},
    {"answers in any order leave in order", answers_in_any_order_leave_in_order},
    {"a command waits for the publishes before it", a_command_waits_for_the_publishes_before_it},
    {"no more than pipeline.max wait", no_more_than_pipeline_max_wait},
    {"a crowded partition holds its clients back", a_crowded_partition_holds_its_clients_back},
    {"a fold is cut at the largest batch", a_fold_is_cut_at_the_largest_batch},
    {"a line too long gets one error wherever it is cut", a_line_too_long_gets_one_error_wherever_it_is_cut},
    {"a topic that is not known here is asked for", a_topic_that_is_not_known_here_is_asked_for},
    {"publishes go to the broker that leads", publishes_go_to_the_broker_that_leads},
    {"what a former leader refuses goes to the next, in order", what_a_former_leader_refuses_goes_to_the_next_in_order},
    {"a broker that is lost leaves the outcome unknown", a_broker_that_is_lost_leaves_the_outcome_unknown},
    {"without a majority publishes are refused at once", without_a_majority_publishes_are_refused_at_once},
    {"when the broker stops, who waits is told", when_the_broker_stops_who_waits_is_told},
    {"a late line is told behind what is unanswered", a_late_line_is_told_behind_what_is_unanswered},
    {"other protocols are told and let go", other_protocols_are_told_and_let_go},
};
UNIT_MAIN("text session", cases)
