/* Three brokers' clusters in one process, over loopback: they form, lose members, take
 * them in again, and move what they hold. Run it under the thread sanitizer. */
#include "base/clock.h"
#include "base/logger.h"
#include "base/require.h"
#include "cluster/cluster.h"
#include "cluster/raft_port.h"
#include "support/folder.h"
#include "support/unit.h"

#include <dirent.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BROKERS = 5, LONG_US = 20 * 1000000, PATH_BYTES = FOLDER_PATH_BYTES + 300 };

struct node {
    uint32_t id;
    struct config config;
    char dir[FOLDER_PATH_BYTES + 16];
    uint16_t raft_port;
    struct engine *engine;
    struct cluster *cluster;
    pthread_t thread;
    enum kq_err err;
    struct fault fault;
    _Atomic bool give_up;
};

static struct node nodes[BROKERS + 1]; /* by id */
static char dir[FOLDER_PATH_BYTES];

static void a_moment(void);
static void tell_all(void);

/* ---- waiting --------------------------------------------------------------------------- */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t happened = PTHREAD_COND_INITIALIZER;

/* What holds is looked for again and again, at most for a long time. */
#define EVENTUALLY(condition)                                                                                          \
    do {                                                                                                               \
        int64_t until_us = clock_mono_us() + LONG_US;                                                                  \
        bool holds = condition;                                                                                        \
        while (!holds && clock_mono_us() < until_us) {                                                                 \
            a_moment();                                                                                                \
            holds = condition;                                                                                         \
        }                                                                                                              \
        if (!holds)                                                                                                    \
            tell_all();                                                                                                \
        CU_ASSERT_FATAL(holds);                                                                                        \
    } while (0)

static void a_moment(void)
{
    struct timespec until;
    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += 5000000;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    (void)pthread_mutex_lock(&lock);
    (void)pthread_cond_timedwait(&happened, &lock, &until);
    (void)pthread_mutex_unlock(&lock);
}

static void set_flag(bool *flag)
{
    (void)pthread_mutex_lock(&lock);
    *flag = true;
    (void)pthread_cond_broadcast(&happened);
    (void)pthread_mutex_unlock(&lock);
}

static void await(bool *flag)
{
    (void)pthread_mutex_lock(&lock);
    while (!*flag)
        (void)pthread_cond_wait(&happened, &lock);
    (void)pthread_mutex_unlock(&lock);
}

/* ---- brokers --------------------------------------------------------------------------------- */

static void notify(void *context, const struct group_event *event)
{
    (void)context;
    (void)event;
}

static bool gives_up(void *context)
{
    return ((struct node *)context)->give_up;
}

static void *start_node(void *argument)
{
    struct node *n = argument;
    struct engine_options engine = {.io = io_posix(),
                                    .data_dir = n->dir,
                                    .broker_id = n->id,
                                    .flusher_count = 2,
                                    .stack_bytes = 512 * 1024,
                                    .mailbox_bytes = 1 << 20,
                                    .entry_max_bytes = 1 << 20,
                                    .unflushed_entries = 2,
                                    .prepare_min_bytes = 4096,
                                    .prepare_max_bytes = 1 << 20,
                                    .prepare_budget_bytes = 64 << 20,
                                    .mark_delay_us = 1000,
                                    .flush_always = true};
    n->err = engine_start(&n->engine, &engine, &n->fault);
    if (n->err != KQ_OK)
        return NULL;
    int fd;
    uint16_t port;
    n->err = raft_port_listen("127.0.0.1", n->raft_port, &fd, &port, &n->fault);
    struct cluster_options options = {.engine = n->engine,
                                      .config = &n->config,
                                      .data_dir = n->dir,
                                      .host = "127.0.0.1",
                                      .port = (uint16_t)(8000 + n->id),
                                      .raft_port = port,
                                      .listen_fd = fd,
                                      .interrupted = gives_up,
                                      .notify = notify,
                                      .context = n};
    if (n->err == KQ_OK)
        n->err = cluster_start(&n->cluster, &options, &n->fault);
    if (n->err != KQ_OK)
        engine_stop(&n->engine);
    return NULL;
}

static void begin_start(uint32_t id)
{
    struct node *n = &nodes[id];
    n->give_up = false;
    (void)mkdir(n->dir, 0700);
    CU_ASSERT_EQUAL_FATAL(pthread_create(&n->thread, NULL, start_node, n), 0);
}

static void end_start(uint32_t id)
{
    struct node *n = &nodes[id];
    (void)pthread_join(n->thread, NULL);
    if (n->err != KQ_OK)
        printf("broker %u: %s: %s\n", id, err_name(n->err), fault_text(&n->fault));
    CU_ASSERT_EQUAL_FATAL(n->err, KQ_OK);
}

static void start(uint32_t id)
{
    begin_start(id);
    end_start(id);
}

static void stop(uint32_t id)
{
    struct node *n = &nodes[id];
    if (n->cluster == NULL)
        return;
    cluster_stop(&n->cluster);
    engine_stop(&n->engine);
}

static void wipe(uint32_t id)
{
    folder_remove_only(nodes[id].dir);
}

/* Folders, ports and configurations of all; the first `listed` are each other's peers. */
static void prepare(uint32_t listed)
{
    logger_set_level(getenv("VERBOSE") != NULL ? LOGGER_INFO : LOGGER_ERROR);
    folder_make(dir);
    CU_ASSERT_EQUAL_FATAL(mkdir(dir, 0700), 0);
    char peers[CONFIG_TEXT_BYTES] = "";
    int fds[BROKERS + 1];
    for (uint32_t id = 1; id <= BROKERS; id++) {
        struct node *n = &nodes[id];
        struct fault fault;
        memset(n, 0, sizeof *n);
        n->id = id;
        config_defaults(&n->config);
        n->config.broker_id = id;
        n->config.offsets_partitions = 3;
        n->config.beat_us = 50 * 1000;
        n->config.election_us = 500 * 1000;
        (void)snprintf(n->dir, sizeof n->dir, "%s/%u", dir, id);
        CU_ASSERT_EQUAL_FATAL(raft_port_listen("127.0.0.1", 0, &fds[id], &n->raft_port, &fault), KQ_OK);
        size_t len = strlen(peers);
        if (id <= listed)
            (void)snprintf(peers + len, sizeof peers - len, "%s%u@127.0.0.1:%u", id == 1 ? "" : ",", id, n->raft_port);
    }
    for (uint32_t id = 1; id <= BROKERS; id++) {
        (void)close(fds[id]);
        if (id <= listed)
            (void)snprintf(nodes[id].config.peers, sizeof nodes[id].config.peers, "%s", peers);
    }
}

static void form(uint32_t count)
{
    prepare(count);
    for (uint32_t id = 1; id <= count; id++)
        begin_start(id);
    for (uint32_t id = 1; id <= count; id++)
        end_start(id);
}

static void end(void)
{
    for (uint32_t id = 1; id <= BROKERS; id++)
        stop(id);
    folder_remove(dir);
}

/* ---- what is asked of them ----------------------------------------------------------------------- */

struct request {
    struct cluster_request request;
    bool done;
};

static void request_done(struct cluster_request *request)
{
    set_flag(&CONTAINER_OF(request, struct request, request)->done);
}

static struct fault last_fault;

static enum kq_err create(uint32_t id, const char *topic, uint32_t partitions, uint32_t replicas)
{
    struct request r = {.request = {.done = request_done, .topic = topic, .partitions = partitions}};
    r.request.replicas = replicas;
    cluster_create_topic(nodes[id].cluster, &r.request);
    await(&r.done);
    last_fault = r.request.fault;
    if (last_fault.err != KQ_OK)
        printf("create %s: %s\n", topic, fault_text(&last_fault));
    return r.request.fault.err;
}

static enum kq_err drop(uint32_t id, const char *topic)
{
    struct request r = {.request = {.done = request_done, .topic = topic}};
    cluster_delete_topic(nodes[id].cluster, &r.request);
    await(&r.done);
    return r.request.fault.err;
}

static enum kq_err catch_up(uint32_t id)
{
    struct request r = {.request = {.done = request_done}};
    cluster_catch_up(nodes[id].cluster, &r.request);
    await(&r.done);
    return r.request.fault.err;
}

struct order {
    struct cluster_order order;
    bool done;
};

static void order_done(struct cluster_order *order)
{
    set_flag(&CONTAINER_OF(order, struct order, order)->done);
}

static enum kq_err give(uint32_t id, struct cluster_order order)
{
    struct order o = {.order = order};
    o.order.done = order_done;
    cluster_order(nodes[id].cluster, &o.order);
    await(&o.done);
    last_fault = o.order.fault;
    if (last_fault.err != KQ_OK && getenv("VERBOSE") != NULL)
        printf("order: %s: %s\n", err_name(last_fault.err), fault_text(&last_fault));
    return last_fault.err;
}

struct survey {
    struct cluster_survey survey;
    bool done;
};

static void survey_done(struct cluster_survey *survey)
{
    set_flag(&CONTAINER_OF(survey, struct survey, survey)->done);
}

static struct survey look_over(uint32_t id, bool all)
{
    struct survey s = {.survey = {.done = survey_done, .all = all, .deadline_us = clock_mono_us() + 2000000}};
    cluster_survey(nodes[id].cluster, &s.survey);
    await(&s.done);
    return s;
}

/* What each of them thinks, when something does not come about. */
static void tell_all(void)
{
    for (uint32_t id = 1; id <= BROKERS; id++) {
        if (nodes[id].cluster == NULL)
            continue;
        struct survey s = look_over(id, true);
        for (uint32_t i = 0; i < s.survey.broker_count; i++)
            printf("%u: broker %u alive %d draining %d controller %d replicas %u leaders %u\n", id,
                   s.survey.brokers[i].id, s.survey.brokers[i].alive, s.survey.brokers[i].draining,
                   s.survey.brokers[i].controller, s.survey.brokers[i].replicas, s.survey.brokers[i].leaders);
        for (uint32_t i = 0; i < s.survey.partition_count; i++) {
            const struct cluster_survey_partition *p = &s.survey.partitions[i];
            printf("%u: %s/%u leader %u moving %d", id, p->topic, p->partition, p->leader, p->moving);
            for (uint32_t k = 0; k < p->replica_count; k++)
                printf(", %u wanted %d voter %d in sync %d lag %lld", p->replicas[k].broker, p->replicas[k].wanted,
                       p->replicas[k].voter, p->replicas[k].in_sync, (long long)p->replicas[k].lag);
            printf("\n");
        }
        cluster_survey_fini(&s.survey);
    }
}

/* Nothing lacks, nothing moves, everything is led. */
static bool is_well(uint32_t id)
{
    struct survey s = look_over(id, false);
    bool well = s.survey.fault.err == KQ_OK && s.survey.leaderless + s.survey.lacking + s.survey.moving == 0 &&
                s.survey.total > 0;
    cluster_survey_fini(&s.survey);
    return well;
}

static struct image_topic *topic_in(struct image *image, const char *name)
{
    return image_find(image, name, strlen(name));
}

static bool knows(uint32_t id, const char *name)
{
    struct image *image = cluster_image(nodes[id].cluster);
    bool there = topic_in(image, name) != NULL;
    image_drop(&image);
    return there;
}

static uint32_t leader_of(uint32_t id, const char *name, uint32_t p)
{
    struct image *image = cluster_image(nodes[id].cluster);
    struct image_topic *topic = topic_in(image, name);
    uint32_t leader = topic == NULL ? 0 : cluster_leader(nodes[id].cluster, image_topic_id(topic), p, NULL);
    image_drop(&image);
    return leader;
}

struct publish {
    struct publish_request request;
    bool done;
};

static void publish_done(struct publish_request *request)
{
    set_flag(&CONTAINER_OF(request, struct publish, request)->done);
}

/* One message, given to the leader as broker id knows it; its offset, or -1. */
static int64_t try_publish_of(uint32_t id, const char *name, uint32_t p, struct slice message)
{
    uint32_t leader = leader_of(id, name, p);
    if (leader == 0 || nodes[leader].cluster == NULL)
        return -1;
    struct image *image = cluster_image(nodes[leader].cluster);
    struct image_topic *topic = topic_in(image, name);
    struct partition *partition = topic == NULL ? NULL : image_partition(topic, p);
    struct publish r = {.done = false};
    if (partition != NULL) {
        struct buf bytes;
        struct batch_maker maker;
        buf_init(&bytes, 10000 + message.len);
        int64_t now_ms = clock_wall_ms();
        batch_begin(&maker, &bytes, now_ms);
        batch_add(&maker, now_ms, slice_of(NULL, 0), message, NULL, slice_of(NULL, 0));
        batch_end(&maker, -1, -1, -1);
        r.request = (struct publish_request){.done = publish_done,
                                             .batches = bytes.data,
                                             .batches_bytes = (uint32_t)bytes.len,
                                             .record_count = 1,
                                             .batch_count = 1,
                                             .deadline_us = clock_mono_us() + 10 * 1000000};
        (void)partition_publish(partition, &r.request);
        await(&r.done);
        buf_fini(&bytes);
    }
    image_drop(&image);
    return partition == NULL || r.request.fault.err != KQ_OK ? -1 : r.request.base_off;
}

static int64_t try_publish(uint32_t id, const char *name, uint32_t p)
{
    return try_publish_of(id, name, p, slice_text("hello"));
}

/* How many messages broker id's replica of a partition shows; -1: it has none. */
static int64_t messages_at(uint32_t id, const char *name, uint32_t p)
{
    struct image *image = cluster_image(nodes[id].cluster);
    struct image_topic *topic = topic_in(image, name);
    struct partition *partition = topic == NULL ? NULL : image_partition(topic, p);
    struct partition_status status = {.high_watermark = -1};
    if (partition != NULL)
        partition_status(partition, &status);
    image_drop(&image);
    return status.state == PARTITION_SERVING ? status.high_watermark : -1;
}

static int count_folders(uint32_t id, const char *text)
{
    DIR *d = opendir(nodes[id].dir);
    CU_ASSERT_PTR_NOT_NULL_FATAL(d);
    int count = 0;
    for (struct dirent *e; (e = readdir(d)) != NULL;)
        count += strncmp(e->d_name, text, strlen(text)) == 0;
    (void)closedir(d);
    return count;
}

static void remove_replica(uint32_t id, const char *name)
{
    char path[PATH_BYTES];
    (void)snprintf(path, sizeof path, "%s/%s", nodes[id].dir, name);
    CU_ASSERT_EQUAL_FATAL(access(path, F_OK), 0);
    folder_remove_only(path);
}

static uint32_t controller(uint32_t id)
{
    struct cluster_status status;
    cluster_status(nodes[id].cluster, &status);
    return status.controller_id;
}

static size_t broker_count(uint32_t id)
{
    struct image *image = cluster_image(nodes[id].cluster);
    size_t count = image_broker_count(image);
    image_drop(&image);
    return count;
}

static uint32_t other_than(uint32_t id)
{
    return id % 3 + 1;
}

/* ---- cases ---------------------------------------------------------------------------------------- */

static void three_form_one_cluster_and_lose_one_after_the_other(void)
{
    form(3);
    CU_ASSERT_EQUAL(create(2, "t", 3, 0), KQ_OK);
    for (uint32_t id = 1; id <= 3; id++)
        for (uint32_t p = 0; p < 3; p++) {
            EVENTUALLY(leader_of(id, "t", p) != 0);
            CU_ASSERT_EQUAL(leader_of(id, "t", p), leader_of(1, "t", p));
        }
    EVENTUALLY(try_publish(1, "t", 0) == 0);
    CU_ASSERT_EQUAL(try_publish(2, "t", 0), 1);
    CU_ASSERT_EQUAL(create(3, "big", 1, 4), KQ_BAD_REPLICAS);
    int64_t count = 2;
    for (uint32_t gone = 1; gone <= 3; gone++) {
        uint32_t witness = other_than(gone);
        stop(gone);
        EVENTUALLY(leader_of(witness, "t", 0) != gone && leader_of(witness, "t", 0) != 0);
        EVENTUALLY(try_publish(witness, "t", 0) == count);
        count++;
        char name[16];
        (void)snprintf(name, sizeof name, "without%u", gone);
        CU_ASSERT_EQUAL(create(witness, name, 2, 0), KQ_OK);
        start(gone);
        EVENTUALLY(knows(gone, name));
        EVENTUALLY(messages_at(gone, "t", 0) == count);
        EVENTUALLY(is_well(gone));
    }
    end();
}

static void a_wiped_broker_joins_and_is_filled(void)
{
    form(3);
    CU_ASSERT_EQUAL(create(1, "t", 2, 3), KQ_OK);
    EVENTUALLY(try_publish(1, "t", 1) == 0);
    uint32_t wiped = controller(1);
    uint32_t witness = other_than(wiped);
    stop(wiped);
    wipe(wiped);
    begin_start(wiped);
    EVENTUALLY(is_well(witness)); /* which was its last word before, too, and must not be now */
    end_start(wiped);
    CU_ASSERT_TRUE(messages_at(wiped, "t", 1) >= 0);
    EVENTUALLY(messages_at(wiped, "t", 1) == 1);
    stop(other_than(witness) == wiped ? other_than(wiped) : other_than(witness)); /* the new one's vote counts */
    uint32_t alive = nodes[witness].cluster != NULL ? witness : wiped;
    EVENTUALLY(try_publish(alive, "t", 1) == 1);
    end();
}

static void a_wiped_broker_with_another_one_down_founds_nothing(void)
{
    form(3);
    struct image *image = cluster_image(nodes[2].cluster);
    struct uuid id = image_cluster_id(image);
    image_drop(&image);
    stop(1);
    stop(3);
    wipe(1);
    start(1); /* joins, as broker 2 says what there is; it is not registered, as nobody leads */
    image = cluster_image(nodes[1].cluster);
    struct uuid other = image_cluster_id(image);
    CU_ASSERT_TRUE(uuid_is_zero(&other) || uuid_equal(&other, &id));
    image_drop(&image);
    start(3);
    EVENTUALLY(controller(1) != 0);
    CU_ASSERT_EQUAL(catch_up(1), KQ_OK);
    image = cluster_image(nodes[1].cluster);
    other = image_cluster_id(image);
    CU_ASSERT_TRUE(uuid_equal(&other, &id));
    image_drop(&image);
    end();
}

/* What it knows of broker 1 is of a folder that is gone; and broker 1 leads by now. */
static void a_founder_that_was_away_follows_one_that_was_wiped(void)
{
    form(5);
    EVENTUALLY(controller(2) != 0);
    CU_ASSERT_EQUAL(catch_up(5), KQ_OK);
    EVENTUALLY(broker_count(5) == 5);
    stop(5);
    stop(1);
    wipe(1);
    start(1);
    EVENTUALLY(controller(1) != 0);
    EVENTUALLY(catch_up(1) == KQ_OK);
    CU_ASSERT_EQUAL(create(2, "t", 1, 3), KQ_OK);
    EVENTUALLY(is_well(2));
    for (int i = 0; i < 30 && controller(1) != 1; i++) {
        uint32_t leader = controller(1);
        if (leader != 0) {
            stop(leader);
            EVENTUALLY(controller(1) != leader && controller(1) != 0);
            start(leader);
        }
    }
    CU_ASSERT_EQUAL_FATAL(controller(1), 1);
    start(5);
    EVENTUALLY(controller(5) == 1);
    EVENTUALLY(knows(5, "t"));
    end();
}

static void a_topic_deleted_and_made_again_while_one_is_away(void)
{
    form(3);
    CU_ASSERT_EQUAL(create(1, "t", 2, 3), KQ_OK);
    CU_ASSERT_EQUAL(create(1, "u", 1, 3), KQ_OK);
    EVENTUALLY(try_publish(1, "t", 0) == 0);
    EVENTUALLY(try_publish(1, "t", 0) == 1);
    stop(3);
    EVENTUALLY(drop(1, "t") == KQ_OK);
    CU_ASSERT_EQUAL(drop(1, "u"), KQ_OK);
    CU_ASSERT_EQUAL(create(2, "t", 2, 3), KQ_OK);
    EVENTUALLY(try_publish(1, "t", 0) == 0);
    start(3);
    EVENTUALLY(messages_at(3, "t", 0) == 1);
    EVENTUALLY(!knows(3, "u"));
    EVENTUALLY(count_folders(3, "u-") == 0);
    EVENTUALLY(is_well(1));
    end();
}

static void without_a_majority_nobody_waits_to_learn_what_there_is(void)
{
    form(3);
    CU_ASSERT_EQUAL(catch_up(1), KQ_OK);
    stop(2);
    stop(3);
    EVENTUALLY(catch_up(1) == KQ_NOT_ENOUGH_REPLICAS);
    int64_t from_us = clock_mono_us();
    CU_ASSERT_EQUAL(catch_up(1), KQ_NOT_ENOUGH_REPLICAS);
    CU_ASSERT_TRUE(clock_mono_us() - from_us < 1000000);
    start(2);
    EVENTUALLY(catch_up(1) == KQ_OK);
    end();
}

static void a_lost_replica_is_replaced_by_a_new_one(void)
{
    form(3);
    CU_ASSERT_EQUAL(create(1, "t", 1, 3), KQ_OK);
    EVENTUALLY(try_publish(1, "t", 0) == 0);
    stop(2);
    remove_replica(2, "t-0");
    start(2);
    EVENTUALLY(messages_at(2, "t", 0) == 1);
    EVENTUALLY(is_well(1));
    CU_ASSERT_EQUAL(try_publish(1, "t", 0), 1);
    end();
}

static void a_damaged_replica_is_replaced_by_a_new_one(void)
{
    form(3);
    CU_ASSERT_EQUAL(create(1, "t", 1, 3), KQ_OK);
    EVENTUALLY(try_publish(1, "t", 0) == 0);
    stop(2);
    char path[PATH_BYTES];
    (void)snprintf(path, sizeof path, "%s/t-0/hard-state", nodes[2].dir);
    FILE *file = fopen(path, "r+");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    for (int i = 0; i < 8192; i++)
        (void)fputc('x', file);
    (void)fclose(file);
    start(2);
    EVENTUALLY(messages_at(2, "t", 0) == 1);
    EVENTUALLY(is_well(1));
    CU_ASSERT_EQUAL(count_folders(2, "t-0.stray-"), 1);
    end();
}

static bool reads_all(uint32_t id, const char *name, uint32_t p)
{
    struct image *image = cluster_image(nodes[id].cluster);
    struct partition *partition = image_partition(topic_in(image, name), p);
    struct log_view *view = partition == NULL ? NULL : partition_view(partition);
    struct log_iter it;
    enum kq_err err = view == NULL ? KQ_AGAIN : log_iter_seek(&it, view, 0);
    while (err == KQ_OK) {
        struct log_slice slice;
        struct fault fault;
        err = log_iter_next(&it, &slice, &fault);
    }
    if (view != NULL)
        log_view_drop(&view);
    image_drop(&image);
    return err == KQ_EOF;
}

/* More than fits into one answer, and nothing left in it that could be verified alone. */
static void large_damage_comes_back_in_pieces(void)
{
    enum { BIG_BYTES = 900 * 1024, SEALED = 8, DAMAGED_BYTES = SEALED * BIG_BYTES - 8192 };
    static char big[BIG_BYTES];
    memset(big, 'b', sizeof big);
    prepare(3);
    for (uint32_t id = 1; id <= 3; id++)
        nodes[id].config.segment_bytes = 8 << 20;
    for (uint32_t id = 1; id <= 3; id++)
        begin_start(id);
    for (uint32_t id = 1; id <= 3; id++)
        end_start(id);
    CU_ASSERT_EQUAL(create(1, "t", 1, 3), KQ_OK);
    for (int64_t i = 0; i < SEALED + 2; i++)
        EVENTUALLY(try_publish_of(1, "t", 0, slice_of(big, sizeof big)) == i);
    EVENTUALLY(messages_at(2, "t", 0) == SEALED + 2);
    stop(2);
    char path[PATH_BYTES];
    (void)snprintf(path, sizeof path, "%s/t-0/%020d.log", nodes[2].dir, 0);
    FILE *file = fopen(path, "r+");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    (void)fseek(file, 4200, SEEK_SET); /* from the head of the first message on */
    for (int i = 0; i < DAMAGED_BYTES; i++)
        (void)fputc('x', file);
    (void)fclose(file);
    start(2);
    EVENTUALLY(messages_at(2, "t", 0) == SEALED + 2);
    CU_ASSERT_FALSE(reads_all(2, "t", 0));
    EVENTUALLY(try_publish(1, "t", 0) >= 0 && reads_all(2, "t", 0)); /* a replica looks at it when it works */
    CU_ASSERT_EQUAL(count_folders(2, "t-0.stray-"), 0);
    end();
}

static void a_broker_alone_grows_into_a_cluster(void)
{
    prepare(3);
    nodes[1].config.peers[0] = '\0';
    start(1);
    struct request r = {.request = {.done = request_done}};
    cluster_ensure_offsets_topic(nodes[1].cluster, &r.request);
    await(&r.done);
    CU_ASSERT_EQUAL(r.request.fault.err, KQ_OK);
    CU_ASSERT_EQUAL(create(1, "t", 2, 0), KQ_OK);
    CU_ASSERT_EQUAL(try_publish(1, "t", 0), 0);
    begin_start(2);
    begin_start(3);
    end_start(2);
    end_start(3);
    EVENTUALLY(knows(2, "t") && knows(3, "t"));
    CU_ASSERT_EQUAL(create(3, "u", 3, 3), KQ_OK);
    struct cluster_order move = {
        .verb = CLUSTER_MOVE, .topic = "t", .partition = 0, .brokers = {2, 3, 1}, .broker_count = 3};
    EVENTUALLY(give(2, move) == KQ_OK); /* the controller is to see them alive first */
    EVENTUALLY(messages_at(2, "t", 0) == 1);
    EVENTUALLY(is_well(2)); /* the broker's own topics have three replicas by now, too */
    EVENTUALLY(leader_of(1, "t", 0) == 2);
    stop(1);
    EVENTUALLY(try_publish(3, "t", 0) == 1);
    end();
}

static bool holds_nothing(uint32_t witness, uint32_t id)
{
    struct survey s = look_over(witness, true);
    bool nothing = s.survey.moving == 0;
    for (uint32_t i = 0; i < s.survey.broker_count; i++)
        nothing = nothing && (s.survey.brokers[i].id != id || s.survey.brokers[i].replicas == 0);
    cluster_survey_fini(&s.survey);
    return nothing;
}

static void a_broker_is_drained_and_removed(void)
{
    form(4);
    CU_ASSERT_EQUAL(create(1, "t", 4, 3), KQ_OK);
    CU_ASSERT_EQUAL(create(1, "one", 1, 1), KQ_OK);
    EVENTUALLY(try_publish(1, "t", 0) == 0);
    EVENTUALLY(try_publish(1, "one", 0) == 0);
    CU_ASSERT_EQUAL(give(1, (struct cluster_order){.verb = CLUSTER_REMOVE_BROKER, .broker = 4}), KQ_INVALID);
    CU_ASSERT_EQUAL(give(1, (struct cluster_order){.verb = CLUSTER_DRAIN_BROKER, .broker = 9}), KQ_NOT_FOUND);
    CU_ASSERT_EQUAL(give(2, (struct cluster_order){.verb = CLUSTER_DRAIN_BROKER, .broker = 4}), KQ_OK);
    EVENTUALLY(holds_nothing(1, 4));
    EVENTUALLY(count_folders(4, "t-") == 0);
    CU_ASSERT_EQUAL(give(3, (struct cluster_order){.verb = CLUSTER_REMOVE_BROKER, .broker = 4}), KQ_OK);
    EVENTUALLY(is_well(1));
    CU_ASSERT_EQUAL(catch_up(1), KQ_OK);
    CU_ASSERT_EQUAL(broker_count(1), 3); /* it lives, and does not come again by itself */
    stop(4);
    CU_ASSERT_EQUAL(try_publish(1, "t", 0), 1);
    EVENTUALLY(try_publish(1, "one", 0) == 1);
    struct cluster_order last = {.verb = CLUSTER_MOVE, .topic = "t", .partition = 0};
    CU_ASSERT_EQUAL(give(1, last), KQ_BAD_REPLICAS);
    uint32_t leader = leader_of(1, "t", 1);
    struct cluster_order transfer = {
        .verb = CLUSTER_TRANSFER, .topic = "t", .partition = 1, .broker = other_than(leader)};
    CU_ASSERT_EQUAL(give(1, transfer), KQ_OK);
    EVENTUALLY(leader_of(1, "t", 1) == other_than(leader));
    end();
}

static bool sees_alive(uint32_t id, uint32_t other)
{
    struct survey s = look_over(id, false);
    bool alive = false;
    for (uint32_t i = 0; i < s.survey.broker_count; i++)
        alive |= s.survey.brokers[i].id == other && s.survey.brokers[i].alive;
    cluster_survey_fini(&s.survey);
    return alive;
}

/* Nor is one that was heard a moment ago: it may only be paused. */
static void a_broker_is_removed_when_it_has_been_dead_for_a_while(void)
{
    form(4);
    const struct cluster_order remove = {.verb = CLUSTER_REMOVE_BROKER, .broker = 4};
    CU_ASSERT_EQUAL(create(1, "t", 4, 3), KQ_OK);
    EVENTUALLY(is_well(1));
    CU_ASSERT_EQUAL(give(1, remove), KQ_INVALID);
    stop(4);
    EVENTUALLY(controller(1) != 0 && controller(1) != 4);
    EVENTUALLY(!sees_alive(controller(1), 4) && !sees_alive(1, 4));
    CU_ASSERT_EQUAL(give(1, remove), KQ_INVALID);
    CU_ASSERT_PTR_NOT_NULL(strstr(last_fault.text, "a moment ago"));
    EVENTUALLY(give(1, remove) == KQ_OK);
    EVENTUALLY(is_well(1));
    end();
}

static void all_stop_and_start_again(void)
{
    form(3);
    CU_ASSERT_EQUAL(create(1, "t", 3, 3), KQ_OK);
    EVENTUALLY(try_publish(1, "t", 2) == 0);
    for (uint32_t id = 1; id <= 3; id++)
        stop(id);
    for (uint32_t id = 1; id <= 3; id++)
        begin_start(id);
    for (uint32_t id = 1; id <= 3; id++)
        end_start(id);
    EVENTUALLY(try_publish(1, "t", 2) == 1);
    for (uint32_t id = 1; id <= 3; id++)
        EVENTUALLY(messages_at(id, "t", 2) == 2);
    end();
}

static void *stop_node(void *argument)
{
    stop(((struct node *)argument)->id);
    return NULL;
}

/* Nobody is left to hand leadership to, and nobody waits for that as for an election. */
static void all_stop_at_once_and_soon(void)
{
    prepare(3);
    for (uint32_t id = 1; id <= 3; id++) {
        nodes[id].config.election_us = 5 * 1000 * 1000;
        begin_start(id);
    }
    for (uint32_t id = 1; id <= 3; id++)
        end_start(id);
    CU_ASSERT_EQUAL(create(1, "t", 3, 3), KQ_OK);
    for (uint32_t p = 0; p < 3; p++)
        EVENTUALLY(try_publish(1, "t", p) == 0);
    EVENTUALLY(is_well(1));
    int64_t from_us = clock_mono_us();
    pthread_t threads[4];
    for (uint32_t id = 1; id <= 3; id++)
        CU_ASSERT_EQUAL_FATAL(pthread_create(&threads[id], NULL, stop_node, &nodes[id]), 0);
    for (uint32_t id = 1; id <= 3; id++)
        (void)pthread_join(threads[id], NULL);
    CU_ASSERT_TRUE(clock_mono_us() - from_us < 3 * 1000 * 1000);
    end();
}

static void a_start_that_waits_can_be_stopped(void)
{
    prepare(3);
    begin_start(2);
    nodes[2].give_up = true;
    (void)pthread_join(nodes[2].thread, NULL);
    CU_ASSERT_EQUAL(nodes[2].err, KQ_STOPPING);
    end();
}

static const struct unit_case cases[] = {
    {"three form one cluster, and lose one after the other", three_form_one_cluster_and_lose_one_after_the_other},
    {"a wiped broker joins and is filled", a_wiped_broker_joins_and_is_filled},
    {"a wiped broker with another one down founds nothing", a_wiped_broker_with_another_one_down_founds_nothing},
    {"a founder that was away follows one that was wiped", a_founder_that_was_away_follows_one_that_was_wiped},
    {"a topic is deleted and made again while one is away", a_topic_deleted_and_made_again_while_one_is_away},
    {"without a majority nobody waits to learn what there is", without_a_majority_nobody_waits_to_learn_what_there_is},
    {"a lost replica is replaced by a new one", a_lost_replica_is_replaced_by_a_new_one},
    {"a damaged replica is replaced by a new one", a_damaged_replica_is_replaced_by_a_new_one},
    {"large damage comes back in pieces", large_damage_comes_back_in_pieces},
    {"a broker alone grows into a cluster", a_broker_alone_grows_into_a_cluster},
    {"a broker is drained and removed", a_broker_is_drained_and_removed},
    {"a broker is removed when it has been dead for a while", a_broker_is_removed_when_it_has_been_dead_for_a_while},
    {"all stop and start again", all_stop_and_start_again},
    {"all stop at once, and soon", all_stop_at_once_and_soon},
    {"a start that waits can be stopped", a_start_that_waits_can_be_stopped},
};

UNIT_MAIN("cluster of three", cases)
