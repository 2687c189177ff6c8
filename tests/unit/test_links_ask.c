/* Asking over the links: answers in any order, deadlines, ends of connections, and what
 * is known then; bounds. */
#include "support/links_rig.h"
#include "support/unit.h"

#include <poll.h>
#include <stdio.h>

static struct rig_node nodes[2];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct asked *kept[1000]; /* by keeper() */
static int kept_count;

/* Answers at once with what it was asked, twice. */
static void echo(void *context, struct asked *asked)
{
    struct rig_node *node = context;
    (void)node;
    struct fault fault = {.err = KQ_OK};
    const struct iovec parts[] = {{.iov_base = asked->body, .iov_len = asked->body_bytes},
                                  {.iov_base = asked->body, .iov_len = asked->body_bytes}};
    ask_answer(asked, &fault, parts, 2);
}

static void refuse(void *context, struct asked *asked)
{
    (void)context;
    struct fault fault;
    (void)fault_set(&fault, KQ_NO_SPACE, "the disk of broker %u's friend is full", asked->broker_id);
    ask_answer(asked, &fault, NULL, 0);
}

/* Answered by release_kept(), the last one first. */
static void keeper(void *context, struct asked *asked)
{
    (void)context;
    (void)pthread_mutex_lock(&lock);
    kept[kept_count++] = asked;
    (void)pthread_mutex_unlock(&lock);
}

static void release_kept(void)
{
    (void)pthread_mutex_lock(&lock);
    while (kept_count > 0) {
        struct asked *asked = kept[--kept_count];
        struct fault fault = {.err = KQ_OK};
        struct iovec part = {.iov_base = asked->body, .iov_len = asked->body_bytes};
        ask_answer(asked, &fault, &part, 1);
    }
    (void)pthread_mutex_unlock(&lock);
}

static int kept_wanted;

static bool enough_kept(void *context)
{
    (void)context;
    (void)pthread_mutex_lock(&lock);
    bool enough = kept_count >= kept_wanted;
    (void)pthread_mutex_unlock(&lock);
    return enough;
}

static bool all_kept(int count)
{
    kept_wanted = count;
    return rig_wait(enough_kept, NULL);
}

/* ---- a question of the tests ----------------------------------------------------------------- */

struct question {
    struct ask ask;
    struct iovec part;
    _Atomic bool done;
    _Atomic int *count;
};

static void on_done(struct ask *ask)
{
    struct question *q = ask->owner;
    if (q->count != NULL)
        (*q->count)++;
    q->done = true;
}

static void begin_question(struct question *q, uint32_t to, enum ask_verb verb, const void *bytes, size_t count,
                           int64_t wait_us)
{
    *q = (struct question){.part = {.iov_base = (void *)(uintptr_t)bytes, .iov_len = count}};
    q->ask = (struct ask){.broker_id = to,
                          .verb = verb,
                          .parts = &q->part,
                          .part_count = 1,
                          .deadline_us = clock_mono_us() + wait_us,
                          .done = on_done,
                          .owner = q};
    links_ask(nodes[0].links, &q->ask);
}

static bool is_done(void *context)
{
    struct question *q = context;
    return q->done;
}

static void ask_and_wait(struct question *q, uint32_t to, enum ask_verb verb, const char *text)
{
    begin_question(q, to, verb, text, strlen(text), 10 * 1000 * 1000);
    CU_ASSERT_TRUE_FATAL(rig_wait(is_done, q));
}

static bool answer_is(const struct question *q, const char *text)
{
    return q->ask.fault.err == KQ_OK && slice_equal_text(slice_of(q->ask.answer.data, q->ask.answer.len), text);
}

static bool sees_2(void *context)
{
    struct rig_node *node = context;
    return links_is_alive(node->links, 2);
}

/* On a busy machine nobody is to be taken for dead: silence has a case of its own. */
static void begin(void)
{
    for (int i = 0; i < 2; i++) {
        rig_init(&nodes[i], (uint32_t)i + 1, 50);
        nodes[i].config.election_us = 15 * 1000 * 1000;
        rig_start(&nodes[i]);
        links_serve(nodes[i].links, ASK_READ, echo, &nodes[i]);
        links_serve(nodes[i].links, ASK_STATUS, refuse, NULL);
        links_serve(nodes[i].links, ASK_WATCH, keeper, NULL);
    }
    rig_link(nodes, 2);
    CU_ASSERT_TRUE(rig_wait(sees_2, &nodes[0]));
}

static void end(void)
{
    rig_stop(&nodes[0]);
    rig_stop(&nodes[1]);
}

/* ---- cases ------------------------------------------------------------------------------------- */

static void a_question_is_answered(void)
{
    begin();
    struct question q;
    for (uint32_t to = 1; to <= 2; to++) { /* itself, too */
        ask_and_wait(&q, to, ASK_READ, "echo ");
        CU_ASSERT_TRUE(answer_is(&q, "echo echo "));
        buf_fini(&q.ask.answer);
        ask_and_wait(&q, to, ASK_STATUS, "");
        CU_ASSERT_EQUAL(q.ask.fault.err, KQ_NO_SPACE);
        CU_ASSERT_PTR_NOT_NULL(strstr(q.ask.fault.text, "of broker 1's friend is full"));
        CU_ASSERT_FALSE(q.ask.maybe_delivered);
        buf_fini(&q.ask.answer);
        begin_question(&q, to, ASK_EVENT, "?", 1, 50 * 1000); /* nobody serves it */
        CU_ASSERT_TRUE(rig_wait(is_done, &q));
        CU_ASSERT_TRUE(q.ask.fault.err == KQ_INVALID || q.ask.fault.err == KQ_TIMEOUT);
    }
    CU_ASSERT_EQUAL(links_counters(nodes[0].links)->asks_out, 6);
    end();
}

static void answers_come_in_any_order(void)
{
    begin();
    enum { COUNT = 500 };
    static struct question questions[COUNT];
    static char texts[COUNT][32];
    for (int i = 0; i < COUNT; i++) {
        (void)snprintf(texts[i], sizeof texts[i], "question %d", i);
        begin_question(&questions[i], 2, ASK_WATCH, texts[i], strlen(texts[i]), 20 * 1000 * 1000);
    }
    CU_ASSERT_TRUE(all_kept(COUNT));
    struct question q;
    ask_and_wait(&q, 2, ASK_READ, "between "); /* those that wait are in nobody's way */
    CU_ASSERT_TRUE(answer_is(&q, "between between "));
    buf_fini(&q.ask.answer);
    CU_ASSERT_FALSE(questions[0].done);
    release_kept();
    for (int i = 0; i < COUNT; i++) {
        CU_ASSERT_TRUE(rig_wait(is_done, &questions[i]));
        CU_ASSERT_TRUE(answer_is(&questions[i], texts[i]));
        buf_fini(&questions[i].ask.answer);
    }
    end();
}

static void a_large_question_gets_a_large_answer(void)
{
    begin();
    size_t bytes = 30 * 1000 * 1000;
    uint8_t *large = malloc(bytes);
    for (size_t i = 0; i < bytes; i++)
        large[i] = (uint8_t)(i * 7);
    struct question q;
    begin_question(&q, 2, ASK_READ, large, bytes, 20 * 1000 * 1000);
    CU_ASSERT_TRUE(rig_wait(is_done, &q));
    CU_ASSERT_EQUAL(q.ask.fault.err, KQ_OK);
    CU_ASSERT_EQUAL_FATAL(q.ask.answer.len, 2 * bytes);
    CU_ASSERT_EQUAL(memcmp(q.ask.answer.data, large, bytes), 0);
    CU_ASSERT_EQUAL(memcmp(q.ask.answer.data + bytes, large, bytes), 0);
    buf_fini(&q.ask.answer);
    static struct iovec many[8];
    for (int i = 0; i < 8; i++)
        many[i] = (struct iovec){.iov_base = large, .iov_len = bytes};
    q = (struct question){.ask = {.broker_id = 2, .verb = ASK_READ, .parts = many, .part_count = 8, .done = on_done}};
    q.ask.owner = &q;
    q.ask.deadline_us = CLOCK_NEVER;
    links_ask(nodes[0].links, &q.ask);
    CU_ASSERT_TRUE(rig_wait(is_done, &q));
    CU_ASSERT_EQUAL(q.ask.fault.err, KQ_TOO_LARGE);
    free(large);
    end();
}

static void a_deadline_ends_a_question(void)
{
    begin();
    struct question q;
    begin_question(&q, 2, ASK_WATCH, "late", 4, 100 * 1000);
    CU_ASSERT_TRUE(all_kept(1));
    CU_ASSERT_TRUE(rig_wait(is_done, &q));
    CU_ASSERT_EQUAL(q.ask.fault.err, KQ_TIMEOUT);
    CU_ASSERT_TRUE(q.ask.maybe_delivered);
    release_kept(); /* nobody waits for that answer any more */
    ask_and_wait(&q, 2, ASK_READ, "x");
    CU_ASSERT_TRUE(answer_is(&q, "xx"));
    buf_fini(&q.ask.answer);
    end();
}

static void the_end_of_the_other_ends_a_question(void)
{
    begin();
    struct question q;
    begin_question(&q, 2, ASK_WATCH, "?", 1, 20 * 1000 * 1000);
    CU_ASSERT_TRUE(all_kept(1));
    rig_stop(&nodes[1]);
    CU_ASSERT_TRUE(rig_wait(is_done, &q));
    CU_ASSERT_EQUAL(q.ask.fault.err, KQ_NO_LEADER);
    CU_ASSERT_TRUE(q.ask.maybe_delivered);
    release_kept(); /* goes nowhere */
    int64_t from_us = clock_mono_us();
    ask_and_wait(&q, 2, ASK_READ, "x");
    CU_ASSERT_EQUAL(q.ask.fault.err, KQ_NO_LEADER);
    CU_ASSERT_FALSE(q.ask.maybe_delivered);
    CU_ASSERT_TRUE(clock_mono_us() - from_us < 5 * 1000 * 1000); /* half of what it may wait */
    ask_and_wait(&q, 9, ASK_READ, "x");
    CU_ASSERT_EQUAL(q.ask.fault.err, KQ_NO_LEADER);
    CU_ASSERT_FALSE(q.ask.maybe_delivered);
    rig_stop(&nodes[0]);
}

static void stopping_ends_all_questions(void)
{
    begin();
    enum { COUNT = 50 };
    static struct question questions[COUNT];
    for (int i = 0; i < COUNT; i++)
        begin_question(&questions[i], 2, ASK_WATCH, "?", 1, CLOCK_NEVER / 2);
    CU_ASSERT_TRUE(all_kept(COUNT));
    int64_t from_us = clock_mono_us();
    links_stop(&nodes[0].links);
    CU_ASSERT_TRUE(clock_mono_us() - from_us < 10 * 1000 * 1000);
    for (int i = 0; i < COUNT; i++) {
        CU_ASSERT_TRUE(questions[i].done);
        CU_ASSERT_TRUE(questions[i].ask.fault.err == KQ_STOPPING || questions[i].ask.fault.err == KQ_NO_LEADER);
        CU_ASSERT_TRUE(questions[i].ask.maybe_delivered);
    }
    release_kept();
    rig_stop(&nodes[1]);
}

static bool is_answered_by_2(void *context)
{
    (void)context;
    struct question q;
    ask_and_wait(&q, 2, ASK_READ, "x");
    bool answered = answer_is(&q, "xx");
    buf_fini(&q.ask.answer);
    return answered;
}

static bool sees_2_not(void *context)
{
    return !sees_2(context);
}

/* Stopped, or cut off without a word: its connections are there, and nothing comes. */
static void nobody_waits_for_one_that_is_not_heard(void)
{
    for (int i = 0; i < 2; i++) {
        rig_init(&nodes[i], (uint32_t)i + 1, 50);
        rig_start(&nodes[i]);
        links_serve(nodes[i].links, ASK_READ, echo, &nodes[i]);
        links_serve(nodes[i].links, ASK_WATCH, keeper, NULL);
    }
    struct rig_proxy to_2;
    struct rig_proxy to_1;
    rig_proxy_start(&to_2, nodes[1].port);
    rig_proxy_start(&to_1, nodes[0].port);
    struct link_address two = rig_address(&nodes[1]);
    struct link_address one = rig_address(&nodes[0]);
    two.port = to_2.port;
    one.port = to_1.port;
    links_set_peers(nodes[0].links, &two, 1);
    links_set_peers(nodes[1].links, &one, 1);
    CU_ASSERT_TRUE(rig_wait(sees_2, &nodes[0]));
    static struct question waiting;
    begin_question(&waiting, 2, ASK_WATCH, "?", 1, CLOCK_NEVER / 2);
    CU_ASSERT_TRUE(all_kept(1));
    to_2.frozen = true;
    to_1.frozen = true;
    CU_ASSERT_TRUE(rig_wait(is_done, &waiting));
    CU_ASSERT_EQUAL(waiting.ask.fault.err, KQ_NO_LEADER);
    CU_ASSERT_TRUE(waiting.ask.maybe_delivered);
    CU_ASSERT_TRUE(rig_wait(sees_2_not, &nodes[0]));
    struct question q;
    begin_question(&q, 2, ASK_READ, "x", 1, CLOCK_NEVER / 2);
    CU_ASSERT_TRUE(q.done);
    CU_ASSERT_FALSE(q.ask.maybe_delivered);
    to_2.frozen = false;
    to_1.frozen = false;
    CU_ASSERT_TRUE(rig_wait(sees_2, &nodes[0]));
    release_kept();
    CU_ASSERT_TRUE(rig_wait(is_answered_by_2, NULL)); /* on a busy machine it may be missed once more */
    end();
    rig_proxy_stop(&to_2);
    rig_proxy_stop(&to_1);
}

/* Many threads ask while the connection is cut again and again: each question ends once. */
static _Atomic int questions_done;
enum { ASKERS = 4, ASKER_COUNT = 1000 };

static void *asker_run(void *argument)
{
    _Atomic int *done = &questions_done;
    (void)argument;
    for (int i = 0; i < ASKER_COUNT; i++) {
        struct question q;
        q.part = (struct iovec){.iov_base = (void *)(uintptr_t) "abc", .iov_len = 3};
        q.done = false;
        q.count = done;
        q.ask = (struct ask){.broker_id = 2,
                             .verb = ASK_READ,
                             .parts = &q.part,
                             .part_count = 1,
                             .deadline_us = clock_mono_us() + 10 * 1000 * 1000,
                             .done = on_done,
                             .owner = &q};
        links_ask(nodes[0].links, &q.ask);
        while (!q.done)
            (void)poll(NULL, 0, 0);
        if (q.ask.fault.err == KQ_OK && !answer_is(&q, "abcabc"))
            abort();
        buf_fini(&q.ask.answer);
    }
    return NULL;
}

static void each_question_ends_once(void)
{
    for (int i = 0; i < 2; i++) {
        rig_init(&nodes[i], (uint32_t)i + 1, 50);
        rig_start(&nodes[i]);
        links_serve(nodes[i].links, ASK_READ, echo, &nodes[i]);
    }
    struct rig_proxy proxy;
    rig_proxy_start(&proxy, nodes[1].port);
    struct link_address two = rig_address(&nodes[1]);
    two.port = proxy.port;
    struct link_address one = rig_address(&nodes[0]);
    links_set_peers(nodes[0].links, &two, 1);
    links_set_peers(nodes[1].links, &one, 1);
    CU_ASSERT_TRUE(rig_wait(sees_2, &nodes[0]));
    pthread_t threads[ASKERS];
    questions_done = 0;
    for (int i = 0; i < ASKERS; i++)
        CU_ASSERT_EQUAL_FATAL(pthread_create(&threads[i], NULL, asker_run, NULL), 0);
    for (int last = 0; questions_done < ASKERS * ASKER_COUNT;) {
        if (questions_done - last > 150) {
            proxy.cut = true;
            last = questions_done;
        }
        (void)poll(NULL, 0, 1);
    }
    for (int i = 0; i < ASKERS; i++)
        (void)pthread_join(threads[i], NULL);
    CU_ASSERT_EQUAL(questions_done, ASKERS * ASKER_COUNT);
    end();
    rig_proxy_stop(&proxy);
}

static const struct unit_case cases[] = {
    {"a question is answered", a_question_is_answered},
    {"answers come in any order", answers_come_in_any_order},
    {"a large question gets a large answer", a_large_question_gets_a_large_answer},
    {"a deadline ends a question", a_deadline_ends_a_question},
    {"the end of the other ends a question", the_end_of_the_other_ends_a_question},
    {"stopping ends all questions", stopping_ends_all_questions},
    {"nobody waits for one that is not heard", nobody_waits_for_one_that_is_not_heard},
    {"each question ends once", each_question_ends_once},
};
UNIT_MAIN("links, asking", cases)
