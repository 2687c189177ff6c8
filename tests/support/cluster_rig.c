#include "support/cluster_rig.h"

#include "base/clock.h"
#include "base/logger.h"
#include "base/require.h"
#include "cluster/raft_port.h"

#include <dirent.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

struct rig_node rig_nodes[RIG_BROKERS + 1]; /* by id */
static char dir[FOLDER_PATH_BYTES];

/* ---- waiting --------------------------------------------------------------------------- */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t happened = PTHREAD_COND_INITIALIZER;

void rig_moment(void)
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
    return ((struct rig_node *)context)->give_up;
}

static void *start_node(void *argument)
{
    struct rig_node *n = argument;
    struct engine_options engine = rig_engine_options(n->dir, n->id);
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

void rig_begin_start(uint32_t id)
{
    struct rig_node *n = &rig_nodes[id];
    n->give_up = false;
    (void)mkdir(n->dir, 0700);
    CU_ASSERT_EQUAL_FATAL(pthread_create(&n->thread, NULL, start_node, n), 0);
}

void rig_end_start(uint32_t id)
{
    struct rig_node *n = &rig_nodes[id];
    (void)pthread_join(n->thread, NULL);
    if (n->err != KQ_OK)
        printf("broker %u: %s: %s\n", id, err_name(n->err), fault_text(&n->fault));
    CU_ASSERT_EQUAL_FATAL(n->err, KQ_OK);
}

void rig_start(uint32_t id)
{
    rig_begin_start(id);
    rig_end_start(id);
}

void rig_stop(uint32_t id)
{
    struct rig_node *n = &rig_nodes[id];
    if (n->cluster == NULL)
        return;
    cluster_stop(&n->cluster);
    engine_stop(&n->engine);
}

void rig_wipe(uint32_t id)
{
    folder_remove_only(rig_nodes[id].dir);
}

/* Folders, ports and configurations of all; the first `listed` are each other's peers. */
void rig_prepare(uint32_t listed)
{
    logger_set_level(getenv("VERBOSE") != NULL ? LOGGER_INFO : LOGGER_ERROR);
    folder_make(dir);
    CU_ASSERT_EQUAL_FATAL(mkdir(dir, 0700), 0);
    char peers[CONFIG_TEXT_BYTES] = "";
    int fds[RIG_BROKERS + 1];
    for (uint32_t id = 1; id <= RIG_BROKERS; id++) {
        struct rig_node *n = &rig_nodes[id];
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
    for (uint32_t id = 1; id <= RIG_BROKERS; id++) {
        (void)close(fds[id]);
        if (id <= listed)
            (void)snprintf(rig_nodes[id].config.peers, sizeof rig_nodes[id].config.peers, "%s", peers);
    }
}

void rig_form(uint32_t count)
{
    rig_prepare(count);
    for (uint32_t id = 1; id <= count; id++)
        rig_begin_start(id);
    for (uint32_t id = 1; id <= count; id++)
        rig_end_start(id);
}

void rig_end(void)
{
    for (uint32_t id = 1; id <= RIG_BROKERS; id++)
        rig_stop(id);
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

struct fault rig_fault;

enum kq_err rig_create(uint32_t id, const char *topic, uint32_t partitions, uint32_t replicas)
{
    struct request r = {.request = {.done = request_done, .topic = topic, .partitions = partitions}};
    r.request.replicas = replicas;
    cluster_create_topic(rig_nodes[id].cluster, &r.request);
    await(&r.done);
    rig_fault = r.request.fault;
    if (rig_fault.err != KQ_OK)
        printf("create %s: %s\n", topic, fault_text(&rig_fault));
    return r.request.fault.err;
}

enum kq_err rig_drop(uint32_t id, const char *topic)
{
    struct request r = {.request = {.done = request_done, .topic = topic}};
    cluster_delete_topic(rig_nodes[id].cluster, &r.request);
    await(&r.done);
    return r.request.fault.err;
}

enum kq_err rig_ensure_offsets(uint32_t id)
{
    struct request r = {.request = {.done = request_done}};
    cluster_ensure_offsets_topic(rig_nodes[id].cluster, &r.request);
    await(&r.done);
    return r.request.fault.err;
}

enum kq_err rig_catch_up(uint32_t id)
{
    struct request r = {.request = {.done = request_done}};
    cluster_catch_up(rig_nodes[id].cluster, &r.request);
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

enum kq_err rig_order(uint32_t id, struct cluster_order order)
{
    struct order o = {.order = order};
    o.order.done = order_done;
    cluster_order(rig_nodes[id].cluster, &o.order);
    await(&o.done);
    rig_fault = o.order.fault;
    if (rig_fault.err != KQ_OK && getenv("VERBOSE") != NULL)
        printf("order: %s: %s\n", err_name(rig_fault.err), fault_text(&rig_fault));
    return rig_fault.err;
}

static void survey_done(struct cluster_survey *survey)
{
    set_flag(&CONTAINER_OF(survey, struct rig_survey, survey)->done);
}

struct rig_survey rig_survey(uint32_t id, bool all)
{
    struct rig_survey s = {.survey = {.done = survey_done, .all = all, .deadline_us = clock_mono_us() + 2000000}};
    cluster_survey(rig_nodes[id].cluster, &s.survey);
    await(&s.done);
    return s;
}

/* What each of them thinks, when something does not come about. */
void rig_tell_all(void)
{
    for (uint32_t id = 1; id <= RIG_BROKERS; id++) {
        if (rig_nodes[id].cluster == NULL)
            continue;
        struct rig_survey s = rig_survey(id, true);
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
bool rig_is_well(uint32_t id)
{
    struct rig_survey s = rig_survey(id, false);
    bool well = s.survey.fault.err == KQ_OK && s.survey.leaderless + s.survey.lacking + s.survey.moving == 0 &&
                s.survey.total > 0;
    cluster_survey_fini(&s.survey);
    return well;
}

struct image_topic *rig_topic(struct image *image, const char *name)
{
    return image_find(image, name, strlen(name));
}

bool rig_knows(uint32_t id, const char *name)
{
    struct image *image = cluster_image(rig_nodes[id].cluster);
    bool there = rig_topic(image, name) != NULL;
    image_drop(&image);
    return there;
}

uint32_t rig_leader(uint32_t id, const char *name, uint32_t p)
{
    struct image *image = cluster_image(rig_nodes[id].cluster);
    struct image_topic *topic = rig_topic(image, name);
    uint32_t leader = topic == NULL ? 0 : cluster_leader(rig_nodes[id].cluster, image_topic_id(topic), p, NULL);
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

int64_t rig_publish_of(uint32_t id, const char *name, uint32_t p, int64_t off, struct slice message)
{
    uint32_t leader = rig_leader(id, name, p);
    if (leader == 0 || rig_nodes[leader].cluster == NULL)
        return -1;
    struct image *image = cluster_image(rig_nodes[leader].cluster);
    struct image_topic *topic = rig_topic(image, name);
    struct partition *partition = topic == NULL ? NULL : image_partition(topic, p);
    struct publish r = {.done = false};
    if (partition != NULL) {
        struct buf bytes;
        struct batch_maker maker;
        buf_init(&bytes, 10000 + message.len);
        int64_t now_ms = clock_wall_ms();
        batch_begin(&maker, &bytes, now_ms);
        batch_add(&maker, now_ms, slice_of(NULL, 0), message, NULL, slice_of(NULL, 0));
        batch_end(&maker, off, off < 0 ? -1 : 0, off < 0 ? -1 : 0);
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

int64_t rig_publish(uint32_t id, const char *name, uint32_t p, int64_t off)
{
    return rig_publish_of(id, name, p, off, slice_text("hello"));
}

/* How many messages broker id's replica of a partition shows; -1: it has none. */
int64_t rig_messages(uint32_t id, const char *name, uint32_t p)
{
    struct image *image = cluster_image(rig_nodes[id].cluster);
    struct image_topic *topic = rig_topic(image, name);
    struct partition *partition = topic == NULL ? NULL : image_partition(topic, p);
    struct partition_status status = {.high_watermark = -1};
    if (partition != NULL)
        partition_status(partition, &status);
    image_drop(&image);
    return status.state == PARTITION_SERVING ? status.high_watermark : -1;
}

int rig_count_folders(uint32_t id, const char *text)
{
    DIR *d = opendir(rig_nodes[id].dir);
    CU_ASSERT_PTR_NOT_NULL_FATAL(d);
    int count = 0;
    for (struct dirent *e; (e = readdir(d)) != NULL;)
        count += strncmp(e->d_name, text, strlen(text)) == 0;
    (void)closedir(d);
    return count;
}

void rig_remove_replica(uint32_t id, const char *name)
{
    char path[RIG_PATH_BYTES];
    (void)snprintf(path, sizeof path, "%s/%s", rig_nodes[id].dir, name);
    CU_ASSERT_EQUAL_FATAL(access(path, F_OK), 0);
    folder_remove_only(path);
}

uint32_t rig_controller(uint32_t id)
{
    struct cluster_status status;
    cluster_status(rig_nodes[id].cluster, &status);
    return status.controller_id;
}

size_t rig_broker_count(uint32_t id)
{
    struct image *image = cluster_image(rig_nodes[id].cluster);
    size_t count = image_broker_count(image);
    image_drop(&image);
    return count;
}
