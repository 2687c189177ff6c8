#include "support/text_rig.h"

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
static struct image_topic the_topics[] = {
    {.name = "one", .partitions = 1, .limits = {.max_message_bytes = 1 << 20}},
    {.name = "many", .partitions = RIG_PARTITIONS, .limits = {.max_message_bytes = 1 << 20}},
    {.name = "late", .partitions = 1, .limits = {.max_message_bytes = 1 << 20}},
    {.name = "tiny", .partitions = 1, .limits = {.max_message_bytes = 300}},
};

struct partition rig_partitions[RIG_PARTITIONS];
struct rig_asked rig_asked;
struct rig_leader rig_leader;

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
            return strcmp(the_topics[i].name, "late") != 0 || rig_asked.late_topic_known ? &the_topics[i] : NULL;
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
    return &rig_partitions[p];
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
    REQUIRE(rig_asked.count < RIG_REQUESTS_MAX);
    rig_asked.at[rig_asked.count] = partition;
    rig_asked.publishes[rig_asked.count++] = request;
    return partition->crowded;
}

bool partition_publish_and_turn(struct partition *partition, struct publish_request *request)
{
    return partition_publish(partition, request);
}

void cluster_create_topic(struct cluster *cluster, struct cluster_request *request)
{
    (void)cluster;
    rig_asked.creates[rig_asked.create_count++] = request;
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
        *term = rig_leader.term;
    return rig_leader.broker_id;
}

uint32_t cluster_leader(struct cluster *cluster, const struct uuid *topic_id, uint32_t p, uint64_t *term)
{
    (void)cluster;
    (void)topic_id;
    (void)p;
    if (term != NULL)
        *term = rig_leader.term;
    return rig_leader.broker_id;
}

bool cluster_is_lost(struct cluster *cluster, const struct uuid *topic_id, uint32_t p)
{
    (void)cluster;
    (void)topic_id;
    (void)p;
    return rig_leader.lost;
}

bool cluster_majority_alive(struct cluster *cluster, const struct image_topic *topic, uint32_t p)
{
    (void)cluster;
    (void)topic;
    (void)p;
    return rig_leader.majority;
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
    REQUIRE(rig_asked.ask_count < sizeof(rig_asked.asks) / sizeof(rig_asked.asks[0]));
    rig_asked.asks[rig_asked.ask_count++] = ask;
}

void engine_set_deadline(struct engine *engine, struct engine_deadline *deadline, int64_t due_us)
{
    (void)engine;
    (void)due_us;
    rig_asked.deadline = deadline;
}

void cluster_catch_up(struct cluster *cluster, struct cluster_request *request)
{
    (void)cluster;
    rig_asked.catch_up = request;
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

static void gone(struct conn_home *home, const struct sockaddr_storage *peer)
{
    atomic_fetch_sub(&home->counters.connections, 1);
}

struct rig *rig_new(const char *const *settings)
{
    struct rig *rig = calloc(1, sizeof(*rig));
    memset(&rig_asked, 0, sizeof(rig_asked));
    rig_leader.broker_id = 1;
    rig_leader.term = 1;
    rig_leader.majority = true;
    memset(rig_partitions, 0, sizeof(rig_partitions));
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

void rig_free(struct rig *rig)
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

bool rig_ready(struct rig *rig)
{
    conn_lock(rig->conn);
    bool ready = rig->text.protocol->ready(conn_session(rig->conn)) && !conn_ending(rig->conn);
    conn_unlock(rig->conn);
    return ready;
}

/* Gives the session what is kept, as a worker would. The bytes are given in
 * memory of exactly their size, so that a sanitizer sees a step too far. */
void rig_go_on(struct rig *rig)
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

void rig_feed(struct rig *rig, const char *bytes, size_t size_bytes)
{
    REQUIRE(rig->kept_len + size_bytes <= sizeof(rig->kept));
    memcpy(rig->kept + rig->kept_len, bytes, size_bytes);
    rig->kept_len += size_bytes;
    rig_go_on(rig);
}

void rig_text(struct rig *rig, const char *text)
{
    rig_feed(rig, text, strlen(text));
}

/* All replies up to now. */
const char *rig_replies(struct rig *rig)
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

void rig_answer(size_t i, enum kq_err err)
{
    struct publish_request *request = rig_asked.publishes[i];
    CU_ASSERT_PTR_NOT_NULL_FATAL(request);
    rig_asked.publishes[i] = NULL;
    fault_set(&request->fault, err, "%s", err == KQ_OK ? "" : err_text(err));
    request->done(request);
}

/* A worker of the pool then publishes, and the session goes on. */
void rig_answer_catch_up(struct rig *rig, enum kq_err err)
{
    struct cluster_request *request = rig_asked.catch_up;
    rig_asked.catch_up = NULL;
    request->fault.err = err;
    request->done(request);
    while (!rig_ready(rig))
        (void)sched_yield();
}

/* Answers everything, until nothing more is asked for. */
void rig_answer_all(struct rig *rig)
{
    for (; rig_asked.answered < rig_asked.count || rig_asked.create_count > 0 || rig_asked.catch_up != NULL;
         rig_go_on(rig)) {
        if (rig_asked.catch_up != NULL)
            rig_answer_catch_up(rig, KQ_OK);
        for (; rig_asked.answered < rig_asked.count; rig_asked.answered++)
            if (rig_asked.publishes[rig_asked.answered] != NULL)
                rig_answer(rig_asked.answered, KQ_OK);
        for (; rig_asked.create_count > 0; rig_asked.create_count--) {
            rig_asked.creates[0]->fault.err = KQ_OK;
            rig_asked.creates[0]->done(rig_asked.creates[0]);
        }
    }
}
