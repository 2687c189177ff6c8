/*
 * The text session driven by bytes, cut at every place, against partitions that
 * answer when the test says so: what is folded, what waits, and that replies
 * leave in the order of the commands. The conn is a real one over a socket pair;
 * cluster and partitions are played by this file.
 */
#include "api/ask_wire.h"
#include "base/fnv.h"
#include "base/require.h"
#include "cluster/links.h"
#include "server/text_session.h"
#include "support/unit.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- the cluster as played here ------------------------------------------------------- */

enum { PARTITIONS = 3, REQUESTS_MAX = 4096 };

struct partition {
    uint32_t number;
    bool crowded;
    char bodies[64 * 1024]; /* of all records, each followed by a space */
    size_t bodies_len;
};

struct image {
    int unused;
};

struct image_topic {
    const char *name;
    uint32_t partitions;
    uint32_t next;
    struct partition_limits limits;
};

static struct image the_image;
static struct partition the_partitions[PARTITIONS];
static struct image_topic the_topics[] = {
    {.name = "one", .partitions = 1, .limits = {.max_message_bytes = 1 << 20}},
    {.name = "many", .partitions = PARTITIONS, .limits = {.max_message_bytes = 1 << 20}},
    {.name = "late", .partitions = 1, .limits = {.max_message_bytes = 1 << 20}},
    {.name = "tiny", .partitions = 1, .limits = {.max_message_bytes = 300}},
};
static struct {
    struct publish_request *publishes[REQUESTS_MAX];
    struct partition *at[REQUESTS_MAX];
    size_t count;
    size_t answered;
    struct cluster_request *creates[16];
    size_t create_count;
    struct cluster_request *catch_up;
    bool late_topic_known;
    struct ask *asks[64]; /* of other brokers */
    size_t ask_count;
    struct engine_deadline *deadline;
} asked;
static struct {
    uint32_t broker_id; /* 0: nobody */
    uint64_t term;
    bool majority;
} leader;

bool cluster_producer_id_given(struct cluster *cluster, const struct image *image, int64_t id)
{
    (void)cluster;
    (void)image;
    return id >= 0;
}

struct image *cluster_image(struct cluster *cluster)
{
    (void)cluster;
    return &the_image;
}

void image_drop(struct image **image)
{
    *image = NULL;
}

struct image_topic *image_find(const struct image *image, const char *name, size_t name_bytes)
{
    (void)image;
    for (size_t i = 0; i < sizeof(the_topics) / sizeof(the_topics[0]); i++)
        if (strlen(the_topics[i].name) == name_bytes && memcmp(the_topics[i].name, name, name_bytes) == 0)
            return strcmp(the_topics[i].name, "late") != 0 || asked.late_topic_known ? &the_topics[i] : NULL;
    return NULL;
}

struct image_topic *image_find_id(const struct image *image, const struct uuid *id)
{
    (void)image;
    return &the_topics[id->bytes[0]];
}

size_t image_topic_count(const struct image *image)
{
    (void)image;
    return 0;
}

struct image_topic *image_topic_at(const struct image *image, size_t i)
{
    (void)image;
    return &the_topics[i];
}

const char *image_topic_name(const struct image_topic *topic)
{
    return topic->name;
}

const struct uuid *image_topic_id(const struct image_topic *topic)
{
    static struct uuid ids[sizeof(the_topics) / sizeof(the_topics[0])];
    struct uuid *id = &ids[topic - the_topics];
    id->bytes[0] = (uint8_t)(topic - the_topics);
    return id;
}

uint32_t image_topic_partitions(const struct image_topic *topic)
{
    return topic->partitions;
}

bool image_topic_internal(const struct image_topic *topic)
{
    (void)topic;
    return false;
}

const struct partition_limits *image_topic_limits(const struct image_topic *topic)
{
    return &topic->limits;
}

struct partition *image_partition(const struct image_topic *topic, uint32_t p)
{
    (void)topic;
    return &the_partitions[p];
}

const uint32_t *image_replicas(const struct image_topic *topic, uint32_t p, uint32_t *count)
{
    static const uint32_t three[] = {1, 2, 3};
    (void)topic;
    (void)p;
    *count = 3;
    return three;
}

uint32_t image_topic_next_partition(struct image_topic *topic)
{
    return topic->next++ % topic->partitions;
}

struct partition *partition_hold(struct partition *partition)
{
    return partition;
}

void partition_drop(struct partition **partition)
{
    *partition = NULL;
}

bool partition_publish(struct partition *partition, struct publish_request *request)
{
    struct cursor c = cursor_over(request->batches, request->batches_bytes);
    uint32_t records = 0, batches = 0;
    while (cursor_left(&c) > 0) {
        struct batch_info info;
        const uint8_t *batch;
        CU_ASSERT_EQUAL_FATAL(batch_next(&c, &info, &batch), KQ_OK);
        CU_ASSERT(batch_crc_ok(batch, &info));
        struct record_walk walk;
        struct record record;
        for (record_walk_init(&walk, batch, &info); record_walk_next(&walk, &record) == KQ_OK; records++) {
            REQUIRE(partition->bodies_len + record.value.len + 2 < sizeof(partition->bodies));
            if (record.value.len > 0)
                memcpy(partition->bodies + partition->bodies_len, record.value.data, record.value.len);
            partition->bodies_len += record.value.len;
            partition->bodies[partition->bodies_len++] = ' ';
            partition->bodies[partition->bodies_len] = '\0';
        }
        batches++;
    }
    CU_ASSERT_EQUAL(records, request->record_count);
    CU_ASSERT_EQUAL(batches, request->batch_count);
    REQUIRE(asked.count < REQUESTS_MAX);
    asked.at[asked.count] = partition;
    asked.publishes[asked.count++] = request;
    return partition->crowded;
}

bool partition_publish_and_turn(struct partition *partition, struct publish_request *request)
{
    return partition_publish(partition, request);
}

void cluster_create_topic(struct cluster *cluster, struct cluster_request *request)
{
    (void)cluster;
    asked.creates[asked.create_count++] = request;
}

uint32_t cluster_self(const struct cluster *cluster)
{
    (void)cluster;
    return 1;
}

uint32_t partition_leader(const struct partition *partition, uint64_t *term)
{
    (void)partition;
    if (term != NULL)
        *term = leader.term;
    return leader.broker_id;
}

uint32_t cluster_leader(struct cluster *cluster, const struct uuid *topic_id, uint32_t p, uint64_t *term)
{
    (void)cluster;
    (void)topic_id;
    (void)p;
    if (term != NULL)
        *term = leader.term;
    return leader.broker_id;
}

bool cluster_majority_alive(struct cluster *cluster, const struct image_topic *topic, uint32_t p)
{
    (void)cluster;
    (void)topic;
    (void)p;
    return leader.majority;
}

struct links *cluster_links(struct cluster *cluster)
{
    (void)cluster;
    return NULL;
}

bool links_is_alive(struct links *links, uint32_t broker_id)
{
    (void)links;
    (void)broker_id;
    return true;
}

void links_ask(struct links *links, struct ask *ask)
{
    (void)links;
    REQUIRE(asked.ask_count < sizeof(asked.asks) / sizeof(asked.asks[0]));
    asked.asks[asked.ask_count++] = ask;
}

void engine_set_deadline(struct engine *engine, struct engine_deadline *deadline, int64_t due_us)
{
    (void)engine;
    (void)due_us;
    asked.deadline = deadline;
}

void cluster_catch_up(struct cluster *cluster, struct cluster_request *request)
{
    (void)cluster;
    asked.catch_up = request;
}

uint64_t cluster_next_session_id(struct cluster *cluster)
{
    (void)cluster;
    return 1;
}

/* What no case here comes to. */
#define NEVER(type, name, ...)                                                                                         \
    type name(__VA_ARGS__)                                                                                             \
    {                                                                                                                  \
        abort();                                                                                                       \
    }
#pragma GCC diagnostic ignored "-Wunused-parameter"
NEVER(void, cluster_delete_topic, struct cluster *a, struct cluster_request *b)
NEVER(void, cluster_topic_config, struct cluster *a, struct cluster_request *b)
NEVER(enum kq_err, topic_config_setting, const char *a, enum topic_config_op b, const char *c,
      struct topic_config_setting *d, struct fault *e)
NEVER(void, cluster_next_producer_id, struct cluster *a, struct cluster_request *b)
NEVER(void, cluster_ensure_offsets_topic, struct cluster *a, struct cluster_request *b)
NEVER(struct links_counters *, links_counters, struct links *a)
NEVER(size_t, image_broker_count, const struct image *a)
NEVER(const struct image_broker *, image_broker_at, const struct image *a, size_t b)
NEVER(void, cluster_order, struct cluster *a, struct cluster_order *b)
NEVER(void, cluster_survey, struct cluster *a, struct cluster_survey *b)
NEVER(void, cluster_survey_fini, struct cluster_survey *a)
NEVER(void, partition_ask, struct partition *a, struct partition_ask *b)
NEVER(uint32_t, cluster_coordinator_count, const struct image *a)
NEVER(void, cluster_status, struct cluster *a, struct cluster_status *b)
NEVER(struct log_view *, partition_view, struct partition *a)
NEVER(void, partition_wait, struct partition *a, struct wait_request *b)
NEVER(void, partition_wait_cancel, struct partition *a, struct wait_request *b)
NEVER(void, partition_call, struct partition *a, struct machine_call *b)
NEVER(void, partition_status, struct partition *a, struct partition_status *b)
NEVER(const char *, partition_title, const struct partition *a)
NEVER(struct engine_counters *, engine_counters, struct engine *a)

void engine_cancel_deadline(struct engine *engine, struct engine_deadline *deadline)
{
}

/* ---- a session without an acceptor ---------------------------------------------------------- */

struct rig {
    struct config config;
    struct broker broker;
    struct text_front *front;
    struct conn_home home;
    struct conn_front text;
    _Atomic uint64_t handoffs;
    struct conn *conn;
    int peer;
    struct worker worker;
    char kept[256 * 1024]; /* what the session left */
    size_t kept_len;
    bool mid_line;
    char got[256 * 1024]; /* all replies so far */
    size_t got_len;
};

static void gone(struct conn_home *home, const struct sockaddr_storage *peer)
{
    atomic_fetch_sub(&home->counters.connections, 1);
}

static struct rig *rig_new(const char *const *settings)
{
    struct rig *rig = calloc(1, sizeof(*rig));
    memset(&asked, 0, sizeof(asked));
    leader.broker_id = 1;
    leader.term = 1;
    leader.majority = true;
    memset(the_partitions, 0, sizeof(the_partitions));
    for (size_t i = 0; i < sizeof(the_topics) / sizeof(the_topics[0]); i++)
        the_topics[i].next = 0;
    config_defaults(&rig->config);
    for (; settings != NULL && *settings != NULL; settings++)
        CU_ASSERT_EQUAL_FATAL(config_set(&rig->config, *settings, "test", NULL), KQ_OK);
    rig->broker.config = &rig->config;
    leader_waits_init(&rig->broker.waits, NULL);
    CU_ASSERT_EQUAL_FATAL(text_front_new(&rig->front, &rig->broker, NULL), KQ_OK);
    struct conn_home *home = &rig->home;
    home->config = &rig->config;
    rig->text = (struct conn_front){.protocol = text_protocol(), .context = rig->front};
    home->handoffs = &rig->handoffs;
    home->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    home->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    conn_home_init(home);
    struct pool_options pool = {.min = 1, .max = 2, .stack_bytes = 256 * 1024, .idle_us = 1000000};
    CU_ASSERT_EQUAL_FATAL(pool_start(&home->pool, &pool, NULL), KQ_OK);
    int pair[2];
    CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    struct sockaddr_storage nobody = {0};
    rig->peer = pair[1];
    rig->conn = conn_open(home, &rig->text, pair[0], &nobody, gone);
    rig->worker = (struct worker){.pool = home->pool, .buffer = malloc(WORKER_BUFFER_BYTES)};
    return rig;
}

static void rig_free(struct rig *rig)
{
    conn_abort(rig->conn);
    pool_stop(&rig->home.pool); /* lets go of what it holds */
    conn_drop_dead(&rig->home);
    CU_ASSERT_EQUAL(atomic_load(&rig->home.counters.connections), 0);
    CU_ASSERT_EQUAL(account_used(&rig->home.memory), 0);
    text_front_stop(rig->front);
    text_front_free(&rig->front);
    if (rig->worker.kept != NULL)
        rig->worker.kept_free(rig->worker.kept);
    free(rig->worker.buffer);
    conn_home_fini(&rig->home);
    (void)close(rig->home.epoll_fd);
    (void)close(rig->home.wake_fd);
    (void)close(rig->peer);
    free(rig);
}

static bool rig_ready(struct rig *rig)
{
    conn_lock(rig->conn);
    bool ready = rig->text.protocol->ready(conn_session(rig->conn)) && !conn_ending(rig->conn);
    conn_unlock(rig->conn);
    return ready;
}

/* Gives the session what is kept, as a worker would. The bytes are given in
 * memory of exactly their size, so that a sanitizer sees a step too far. */
static void rig_go_on(struct rig *rig)
{
    while (rig->kept_len > 0 && rig_ready(rig)) {
        struct conn_taken taken = {0};
        uint8_t *exact = malloc(rig->kept_len);
        memcpy(exact, rig->kept, rig->kept_len);
        rig->text.protocol->input(conn_session(rig->conn), exact, rig->kept_len, &rig->worker, &taken);
        memmove(rig->kept, exact + taken.bytes, rig->kept_len - taken.bytes);
        rig->kept_len -= taken.bytes;
        rig->mid_line = taken.mid_line;
        free(exact);
        if (!taken.blocked)
            return;
    }
}

static void rig_feed(struct rig *rig, const char *bytes, size_t size_bytes)
{
    REQUIRE(rig->kept_len + size_bytes <= sizeof(rig->kept));
    memcpy(rig->kept + rig->kept_len, bytes, size_bytes);
    rig->kept_len += size_bytes;
    rig_go_on(rig);
}

static void rig_text(struct rig *rig, const char *text)
{
    rig_feed(rig, text, strlen(text));
}

/* All replies up to now. */
static const char *rig_replies(struct rig *rig)
{
    for (bool more = true; more;) {
        conn_lock(rig->conn);
        conn_flush(rig->conn);
        more = conn_output_bytes(rig->conn) > 0;
        conn_unlock(rig->conn);
        ssize_t n = recv(rig->peer, rig->got + rig->got_len, sizeof(rig->got) - 1 - rig->got_len, MSG_DONTWAIT);
        if (n > 0)
            rig->got_len += (size_t)n;
        more = more || n > 0;
    }
    rig->got[rig->got_len] = '\0';
    return rig->got;
}

static void answer(size_t i, enum kq_err err)
{
    struct publish_request *request = asked.publishes[i];
    CU_ASSERT_PTR_NOT_NULL_FATAL(request);
    asked.publishes[i] = NULL;
    fault_set(&request->fault, err, "%s", err == KQ_OK ? "" : err_text(err));
    request->done(request);
}

/* A worker of the pool then publishes, and the session goes on. */
static void answer_catch_up(struct rig *rig, enum kq_err err)
{
    struct cluster_request *request = asked.catch_up;
    asked.catch_up = NULL;
    request->fault.err = err;
    request->done(request);
    while (!rig_ready(rig))
        (void)sched_yield();
}

/* Answers everything, until nothing more is asked for. */
static void answer_all(struct rig *rig)
{
    for (; asked.answered < asked.count || asked.create_count > 0 || asked.catch_up != NULL; rig_go_on(rig)) {
        if (asked.catch_up != NULL)
            answer_catch_up(rig, KQ_OK);
        for (; asked.answered < asked.count; asked.answered++)
            if (asked.publishes[asked.answered] != NULL)
                answer(asked.answered, KQ_OK);
        for (; asked.create_count > 0; asked.create_count--) {
            asked.creates[0]->fault.err = KQ_OK;
            asked.creates[0]->done(asked.creates[0]);
        }
    }
}

/* ---- the cases --------------------------------------------------------------------------------- */

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
            answer_all(rig);
        rig_feed(rig, script + cut, sizeof(script) - 1 - cut);
        answer_all(rig);
        const char *replies = rig_replies(rig);
        if (cut == 0)
            (void)snprintf(whole, sizeof(whole), "%s", replies);
        CU_ASSERT_STRING_EQUAL(replies, whole);
        CU_ASSERT_STRING_EQUAL(the_partitions[0].bodies, "a b d e g ");
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
    CU_ASSERT_EQUAL(asked.count, PARTITIONS);
    for (size_t i = 0; i < asked.count; i++)
        CU_ASSERT_EQUAL(asked.publishes[i]->record_count, 30);
    CU_ASSERT_NSTRING_EQUAL(the_partitions[1].bodies, "1 4 7 10 ", 9);
    CU_ASSERT_STRING_EQUAL(rig_replies(rig), "");
    answer_all(rig);
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
        CU_ASSERT_EQUAL(asked.at[asked.count - 1]->number, 0);
        CU_ASSERT_PTR_EQUAL(asked.at[asked.count - 1], &the_partitions[fnv_partition(key, strlen(key), PARTITIONS)]);
    }
    answer_all(rig);
    rig_free(rig);
}

static void answers_in_any_order_leave_in_order(void)
{
    static const size_t orders[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
    for (size_t k = 0; k < 6; k++) {
        struct rig *rig = rig_new(NULL);
        rig_text(rig, "PUBS many {\"Body\":\"0\"}\nPUBS many {\"Body\":\"1\"}\nPUBS many {\"Body\":\"2\"}\n"
                      "PUBS many {\"Body\":\"3\"}\nPUBS many {no\nPUBS many {\"Body\":\"4\"}\n");
        CU_ASSERT_EQUAL_FATAL(asked.count, 4); /* 0 and 3; 1; 2; then 4 behind the error */
        answer(3, KQ_OK);
        for (size_t i = 0; i < 3; i++)
            answer(orders[k][i], orders[k][i] == 1 ? KQ_NO_SPACE : KQ_OK);
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
    CU_ASSERT_EQUAL(asked.create_count, 0);
    CU_ASSERT(!rig_ready(rig));
    answer(0, KQ_OK);
    rig_go_on(rig);
    CU_ASSERT_EQUAL(asked.create_count, 1);
    CU_ASSERT_EQUAL(asked.count, 1); /* and what follows waits for it */
    asked.answered = 1;
    answer_all(rig);
    CU_ASSERT_EQUAL(asked.count, 2);
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
    CU_ASSERT_EQUAL(asked.count, 10);
    answer(0, KQ_OK);
    rig_go_on(rig);
    CU_ASSERT_EQUAL(asked.count, 11);
    asked.answered = 1;
    answer_all(rig);
    CU_ASSERT_EQUAL(strlen(rig_replies(rig)), 35 * 5);
    rig_free(rig);
}

static void a_crowded_partition_holds_its_clients_back(void)
{
    struct rig *rig = rig_new(NULL);
    the_partitions[0].crowded = true;
    rig_text(rig, "PUBS one {\"Body\":\"a\"}\n");
    CU_ASSERT(!rig_ready(rig));
    rig_text(rig, "PUBS one {\"Body\":\"b\"}\n");
    CU_ASSERT_EQUAL(asked.count, 1);
    the_partitions[0].crowded = false;
    answer(0, KQ_OK);
    CU_ASSERT(rig_ready(rig));
    rig_go_on(rig);
    asked.answered = 1;
    answer_all(rig);
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
    CU_ASSERT(asked.count > 3);
    for (size_t i = 0; i < asked.count; i++)
        CU_ASSERT(asked.publishes[i]->batches_bytes <= 300);
    answer_all(rig);
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
    CU_ASSERT_PTR_NOT_NULL_FATAL(asked.catch_up);
    CU_ASSERT(!rig_ready(rig));
    CU_ASSERT_EQUAL(asked.count, 1); /* what follows waits */
    asked.late_topic_known = true;
    answer_catch_up(rig, KQ_OK);
    rig_go_on(rig);
    CU_ASSERT_EQUAL(asked.count, 3);
    CU_ASSERT_STRING_EQUAL(the_partitions[0].bodies, "a b c ");
    answer_all(rig);
    CU_ASSERT_STRING_EQUAL(rig_replies(rig), "Done\nDone\nDone\n");
    asked.late_topic_known = false;
    rig_text(rig, "PUBS late {\"Body\":\"d\"}\nPUBS late {\"Body\":\"e\"}\n");
    answer_catch_up(rig, KQ_NO_LEADER);
    rig_go_on(rig);
    answer_catch_up(rig, KQ_OK);
    const char *replies = rig_replies(rig);
    CU_ASSERT_PTR_NOT_NULL(strstr(replies, "whether there is a topic late cannot be told now: "));
    CU_ASSERT_PTR_NOT_NULL(strstr(replies, "\nError, topic does not exist\n"));
    rig_free(rig);
}

/* ---- when another broker leads ------------------------------------------------------------------ */

static void lead(struct rig *rig, uint32_t broker_id, uint64_t term)
{
    static const struct uuid one; /* the topic's id */
    leader.broker_id = broker_id;
    leader.term = term;
    atomic_fetch_add(&rig->broker.leader_changes, 1);
    leader_waits_changed(&rig->broker.waits, &one, 0);
    if (asked.deadline != NULL)
        asked.deadline->fire(asked.deadline);
}

/* The messages of the ask, each followed by a space. */
static const char *ask_bodies(size_t i, struct ask_publish *question)
{
    static char bodies[1024];
    struct buf body;
    buf_init(&body, 1 << 20);
    for (int k = 0; k < asked.asks[i]->part_count; k++)
        buf_put(&body, asked.asks[i]->parts[k].iov_base, asked.asks[i]->parts[k].iov_len);
    CU_ASSERT_EQUAL_FATAL(asked.asks[i]->verb, ASK_PUBLISH);
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
    struct ask *ask = asked.asks[i];
    uint8_t head[ASK_WIRE_HEAD_MAX_BYTES];
    struct ask_published published = {.base_off = 7, .term = leader.term};
    CU_ASSERT_PTR_NOT_NULL_FATAL(ask);
    asked.asks[i] = NULL;
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
    CU_ASSERT_EQUAL(asked.count, 0);
    CU_ASSERT_EQUAL_FATAL(asked.ask_count, 1);
    CU_ASSERT_STRING_EQUAL(ask_bodies(0, &question), "a b ");
    CU_ASSERT_EQUAL(question.in_term, 5);
    CU_ASSERT_EQUAL(asked.asks[0]->broker_id, 2);
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
    CU_ASSERT_EQUAL_FATAL(asked.count, 2);
    leader.broker_id = 0; /* nobody leads */
    answer(0, KQ_NOT_LEADER);
    rig_text(rig, "PUBS one {\"Body\":\"c\"}\n");
    lead(rig, 2, 5);
    CU_ASSERT_EQUAL(asked.ask_count, 0); /* b is still to be decided */
    answer(1, KQ_NOT_LEADER);
    CU_ASSERT_EQUAL_FATAL(asked.ask_count, 1);
    CU_ASSERT_STRING_EQUAL(ask_bodies(0, &question), "a ");
    answer_ask(0, KQ_OK, false);
    CU_ASSERT_EQUAL_FATAL(asked.ask_count, 3);
    CU_ASSERT_STRING_EQUAL(ask_bodies(1, &question), "b ");
    CU_ASSERT_EQUAL(question.in_term, 5);
    CU_ASSERT_STRING_EQUAL(ask_bodies(2, &question), "c ");
    CU_ASSERT_EQUAL(question.in_term, 5);
    answer_ask(2, KQ_OK, false);
    answer_ask(1, KQ_OK, false);
    CU_ASSERT_STRING_EQUAL(rig_replies(rig), "Done\nDone\nDone\n");
    asked.count = asked.answered = 0;
    lead(rig, 1, 6);
    rig_text(rig, "PUBS one {\"Body\":\"d\"}\n"); /* nothing is wrong any more: at once */
    CU_ASSERT_EQUAL(asked.count, 1);
    answer_all(rig);
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
    CU_ASSERT_EQUAL_FATAL(asked.ask_count, 3);
    leader.broker_id = 0;
    answer_ask(0, KQ_NO_LEADER, true);
    answer_ask(1, KQ_NO_LEADER, true);
    answer_ask(2, KQ_NO_LEADER, false);
    CU_ASSERT_EQUAL(asked.ask_count, 3);
    lead(rig, 3, 6);
    CU_ASSERT_EQUAL_FATAL(asked.ask_count, 4); /* the producer's first, alone */
    CU_ASSERT_STRING_EQUAL(ask_bodies(3, &question), "b ");
    answer_ask(3, KQ_OK, false);
    CU_ASSERT_EQUAL_FATAL(asked.ask_count, 5);
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
    leader.broker_id = 0;
    leader.majority = false;
    rig_text(rig, "PUBS one {\"Body\":\"a\"}\n");
    CU_ASSERT_NSTRING_EQUAL(rig_replies(rig), "Error, not enough replicas", 26);
    leader.majority = true;
    rig_text(rig, "PUBS one {\"Body\":\"b\"}\n"); /* waits for a leader */
    CU_ASSERT_EQUAL(asked.count + asked.ask_count, 0);
    leader.majority = false;
    lead(rig, 0, 0);
    const char *second = strchr(rig_replies(rig), '\n');
    CU_ASSERT_NSTRING_EQUAL(second, "\nError, not enough replicas", 27);
    leader.majority = true;
    lead(rig, 1, 2);
    rig_text(rig, "PUBS one {\"Body\":\"c\"}\n");
    CU_ASSERT_EQUAL(asked.count, 1);
    answer_all(rig);
    rig_free(rig);
}

static void when_the_broker_stops_who_waits_is_told(void)
{
    struct rig *rig = rig_new(NULL);
    leader.broker_id = 0;
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
    answer(0, KQ_OK);
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
