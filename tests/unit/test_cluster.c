/* The cluster of one broker on real threads and files: topics come, go and come
 * again, over restarts, strays and full disks. Run it under the thread sanitizer. */
#include "base/clock.h"
#include "base/require.h"
#include "cluster/cluster.h"
#include "cluster/raft_port.h"
#include "support/cluster_rig.h"
#include "support/folder.h"
#include "support/unit.h"

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- a disk that can be full ------------------------------------------------------- */

static _Atomic bool no_space_reported; /* what space() says */
static char full_path[64];             /* nothing can be made below paths that hold it; "" none */
static pthread_mutex_t full_lock = PTHREAD_MUTEX_INITIALIZER;

static void set_full_path(const char *text)
{
    (void)pthread_mutex_lock(&full_lock);
    (void)snprintf(full_path, sizeof full_path, "%s", text);
    (void)pthread_mutex_unlock(&full_lock);
}

static bool is_full(const char *path)
{
    (void)pthread_mutex_lock(&full_lock);
    bool full = full_path[0] != '\0' && strstr(path, full_path) != NULL;
    (void)pthread_mutex_unlock(&full_lock);
    return full;
}

static int test_open(struct io *io, const char *path, int flags, struct io_file **file)
{
    return (flags & IO_CREATE) != 0 && is_full(path) ? -ENOSPC : io_posix()->ops->open(io, path, flags, file);
}

static int test_space(struct io *io, const char *path, uint64_t *free_bytes)
{
    int result = io_posix()->ops->space(io, path, free_bytes);
    if (atomic_load(&no_space_reported))
        *free_bytes = 100000;
    return result;
}

static struct io_ops test_ops;
static struct io test_io = {.ops = &test_ops};

/* ---- a broker ------------------------------------------------------------------------ */

static struct config config;
static struct engine *engine;
static struct cluster *cluster;
static char dir[FOLDER_PATH_BYTES];
static _Atomic int events[2];

static void notify(void *context, const struct group_event *event)
{
    (void)context;
    atomic_fetch_add(&events[event->kind], 1);
}

static enum kq_err try_start(struct fault *fault)
{
    test_ops = *io_posix()->ops;
    test_ops.open = test_open;
    test_ops.space = test_space;
    struct engine_options options = rig_engine_options(dir, 1);
    options.io = &test_io;
    CU_ASSERT_EQUAL_FATAL(engine_start(&engine, &options, fault), KQ_OK);
    int fd;
    uint16_t raft_port;
    CU_ASSERT_EQUAL_FATAL(raft_port_listen("127.0.0.1", 0, &fd, &raft_port, fault), KQ_OK);
    struct cluster_options cluster_options = {.engine = engine,
                                              .listen_fd = fd,
                                              .config = &config,
                                              .data_dir = dir,
                                              .host = "127.0.0.1",
                                              .port = 8080,
                                              .raft_port = raft_port,
                                              .notify = notify};
    enum kq_err err = cluster_start(&cluster, &cluster_options, fault);
    if (err != KQ_OK)
        engine_stop(&engine);
    return err;
}

static void start(void)
{
    struct fault fault;
    enum kq_err err = try_start(&fault);
    if (err != KQ_OK)
        printf("%s: %s\n", err_name(err), fault_text(&fault));
    CU_ASSERT_EQUAL_FATAL(err, KQ_OK);
}

static void stop(void)
{
    cluster_stop(&cluster);
    engine_stop(&engine);
}

static void begin(void)
{
    config_defaults(&config);
    config.offsets_partitions = 3;
    atomic_store(&no_space_reported, false);
    set_full_path("");
    folder_make(dir);
    CU_ASSERT_EQUAL_FATAL(mkdir(dir, 0700), 0);
    start();
}

static void end(void)
{
    stop();
    folder_remove(dir);
}

/* ---- requests that are waited for ------------------------------------------------------ */

struct wait {
    pthread_mutex_t lock;
    pthread_cond_t happened;
    int count;
};
static struct wait answered = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0};

static void happen(void)
{
    (void)pthread_mutex_lock(&answered.lock);
    answered.count++;
    (void)pthread_cond_broadcast(&answered.happened);
    (void)pthread_mutex_unlock(&answered.lock);
}

static void await(int count)
{
    (void)pthread_mutex_lock(&answered.lock);
    while (answered.count < count)
        (void)pthread_cond_wait(&answered.happened, &answered.lock);
    answered.count -= count;
    (void)pthread_mutex_unlock(&answered.lock);
}

static void request_done(struct cluster_request *request)
{
    (void)request;
    happen();
}

static struct fault last_fault;

static enum kq_err create(const char *topic, uint32_t partitions)
{
    struct cluster_request r = {.done = request_done, .topic = topic, .partitions = partitions};
    cluster_create_topic(cluster, &r);
    await(1);
    last_fault = r.fault;
    return r.fault.err;
}

static enum kq_err drop(const char *topic)
{
    struct cluster_request r = {.done = request_done, .topic = topic};
    cluster_delete_topic(cluster, &r);
    await(1);
    return r.fault.err;
}

static enum kq_err set(const char *topic, const char *key, const char *value)
{
    struct topic_config_setting setting;
    struct fault fault;
    enum kq_err err =
        topic_config_setting(key, value == NULL ? TOPIC_CONFIG_UNSET : TOPIC_CONFIG_SET, value, &setting, &fault);
    if (err != KQ_OK)
        return err;
    struct cluster_request r = {.done = request_done, .topic = topic, .settings = &setting, .setting_count = 1};
    cluster_topic_config(cluster, &r);
    await(1);
    return r.fault.err;
}

static int64_t producer_id(void)
{
    struct cluster_request r = {.done = request_done};
    cluster_next_producer_id(cluster, &r);
    await(1);
    CU_ASSERT_EQUAL(r.fault.err, KQ_OK);
    return r.producer_id;
}

static void call_done(struct machine_call *call)
{
    (void)call;
    happen();
}

static enum kq_err call_group(const char *group, struct group_call *call)
{
    struct image *image = cluster_image(cluster);
    struct partition *coordinator = cluster_coordinator(image, group, strlen(group), NULL);
    CU_ASSERT_PTR_NOT_NULL_FATAL(coordinator);
    call->call.done = call_done;
    partition_call(coordinator, &call->call);
    await(1);
    image_drop(&image);
    return call->call.fault.err;
}

static struct uuid topic_id(const char *name)
{
    struct image *image = cluster_image(cluster);
    struct image_topic *topic = image_find(image, name, strlen(name));
    struct uuid id = {{0}};
    if (topic != NULL)
        id = *image_topic_id(topic);
    image_drop(&image);
    return id;
}

static bool exists(const char *name)
{
    struct uuid id = topic_id(name);
    return !uuid_is_zero(&id);
}

static struct partition_limits limits_of(const char *name)
{
    struct image *image = cluster_image(cluster);
    struct partition_limits limits = *image_topic_limits(image_find(image, name, strlen(name)));
    image_drop(&image);
    return limits;
}

static void publish_done(struct publish_request *request)
{
    (void)request;
    happen();
}

/* One message; its offset, or -1 and last_fault. */
static int64_t publish(const char *name, uint32_t p)
{
    struct image *image = cluster_image(cluster);
    struct partition *partition = image_partition(image_find(image, name, strlen(name)), p);
    CU_ASSERT_PTR_NOT_NULL_FATAL(partition);
    struct buf bytes;
    struct batch_maker maker;
    buf_init(&bytes, 10000);
    batch_begin(&maker, &bytes, 1000);
    batch_add(&maker, 1000, slice_of(NULL, 0), slice_text("hello"), NULL, slice_of(NULL, 0));
    batch_end(&maker, -1, -1, -1);
    struct publish_request r = {.done = publish_done,
                                .batches = bytes.data,
                                .batches_bytes = (uint32_t)bytes.len,
                                .record_count = 1,
                                .batch_count = 1,
                                .deadline_us = clock_mono_us() + 60 * 1000000};
    (void)partition_publish(partition, &r);
    await(1);
    buf_fini(&bytes);
    image_drop(&image);
    last_fault = r.fault;
    return r.fault.err == KQ_OK ? r.base_off : -1;
}

/* Folders in the data folder whose names hold text. */
static int count_folders(const char *text)
{
    DIR *d = opendir(dir);
    CU_ASSERT_PTR_NOT_NULL_FATAL(d);
    int count = 0;
    for (struct dirent *e; (e = readdir(d)) != NULL;)
        count += strstr(e->d_name, text) != NULL;
    (void)closedir(d);
    return count;
}

/* Until the keeper has removed them; each look costs a request's time. */
static bool wait_until_none(const char *text)
{
    int64_t deadline_us = clock_mono_us() + 20 * 1000000;
    while (count_folders(text) > 0 && clock_mono_us() < deadline_us)
        (void)set("nobody", "retention.ms", "1");
    return count_folders(text) == 0;
}

static void path_in(char path[FOLDER_PATH_BYTES + 64], const char *name)
{
    (void)snprintf(path, FOLDER_PATH_BYTES + 64, "%s/%s", dir, name);
}

static void move(const char *from, const char *to)
{
    char a[FOLDER_PATH_BYTES + 64];
    char b[FOLDER_PATH_BYTES + 64];
    path_in(a, from);
    path_in(b, to);
    CU_ASSERT_EQUAL_FATAL(rename(a, b), 0);
}

/* ---- topics --------------------------------------------------------------------------------- */

static void topics_survive_a_restart_with_their_ids_and_messages(void)
{
    begin();
    CU_ASSERT_EQUAL(create("b", 3), KQ_OK);
    CU_ASSERT_EQUAL(create("a", 1), KQ_OK);
    CU_ASSERT_EQUAL(create("b", 3), KQ_OK);
    CU_ASSERT_EQUAL(create("b", 4), KQ_EXISTS);
    CU_ASSERT_EQUAL(create("__b", 4), KQ_BAD_TOPIC_NAME);
    CU_ASSERT_EQUAL(create("", 4), KQ_BAD_TOPIC_NAME);
    CU_ASSERT_EQUAL(create("c", 0), KQ_BAD_PARTITIONS);
    CU_ASSERT_EQUAL(publish("b", 2), 0);
    CU_ASSERT_EQUAL(publish("b", 2), 1);
    struct uuid id = topic_id("b");
    struct image *image = cluster_image(cluster);
    struct uuid cluster_id = image_cluster_id(image);
    CU_ASSERT_FALSE(uuid_is_zero(&cluster_id));
    image_drop(&image);
    stop();
    start();
    image = cluster_image(cluster);
    CU_ASSERT_EQUAL_FATAL(image_topic_count(image), 2);
    CU_ASSERT_STRING_EQUAL(image_topic_name(image_topic_at(image, 0)), "a");
    CU_ASSERT_STRING_EQUAL(image_topic_name(image_topic_at(image, 1)), "b");
    CU_ASSERT_EQUAL(image_topic_partitions(image_topic_at(image, 1)), 3);
    struct uuid again = image_cluster_id(image);
    CU_ASSERT_TRUE(uuid_equal(&cluster_id, &again));
    CU_ASSERT_EQUAL(image_broker_count(image), 1);
    image_drop(&image);
    again = topic_id("b");
    CU_ASSERT_TRUE(uuid_equal(&id, &again));
    CU_ASSERT_EQUAL(publish("b", 2), 2);
    struct cluster_status status;
    cluster_status(cluster, &status);
    CU_ASSERT_EQUAL(status.topic_count, 2);
    CU_ASSERT_EQUAL(status.partition_count, 4);
    CU_ASSERT_EQUAL(status.failed_count, 0);
    end();
}

static void a_deleted_topic_is_gone_and_comes_again_as_another(void)
{
    begin();
    CU_ASSERT_EQUAL(create("t", 2), KQ_OK);
    CU_ASSERT_EQUAL(publish("t", 1), 0);
    struct uuid id = topic_id("t");
    struct image *before = cluster_image(cluster); /* somebody who still looks at it */
    CU_ASSERT_EQUAL(drop("t"), KQ_OK);
    CU_ASSERT_FALSE(exists("t"));
    CU_ASSERT_EQUAL(drop("t"), KQ_UNKNOWN_TOPIC);
    CU_ASSERT_EQUAL(create("t", 3), KQ_OK);
    struct uuid again = topic_id("t");
    CU_ASSERT_FALSE(uuid_equal(&id, &again));
    CU_ASSERT_EQUAL(publish("t", 1), 0);
    CU_ASSERT_TRUE(wait_until_none(".deleted-"));
    CU_ASSERT_EQUAL(count_folders("t-"), 3);
    image_drop(&before);
    stop();
    start();
    CU_ASSERT_EQUAL(publish("t", 1), 1);
    CU_ASSERT_EQUAL(count_folders(".stray-"), 0);
    end();
}

static void settings_of_a_topic_go_over_the_brokers_and_follow_a_reload(void)
{
    begin();
    CU_ASSERT_EQUAL(create("t", 1), KQ_OK);
    CU_ASSERT_EQUAL(set("t", "retention.bytes", "5000000"), KQ_OK);
    CU_ASSERT_EQUAL(set("t", "retention.bytes", "much"), KQ_INVALID);
    CU_ASSERT_EQUAL(set("u", "retention.bytes", "5000000"), KQ_UNKNOWN_TOPIC);
    CU_ASSERT_EQUAL(limits_of("t").retention_bytes, 5000000);
    atomic_store(&config.retention_us, 3600 * (int64_t)1000000);
    atomic_store(&config.retention_bytes, 77);
    cluster_reload(cluster);
    CU_ASSERT_EQUAL(limits_of("t").retention_bytes, 5000000);
    CU_ASSERT_EQUAL(limits_of("t").retention_ms, 3600 * 1000);
    CU_ASSERT_EQUAL(publish("t", 0), 0);
    stop();
    start();
    CU_ASSERT_EQUAL(limits_of("t").retention_bytes, 5000000);
    CU_ASSERT_EQUAL(set("t", "retention.bytes", NULL), KQ_OK);
    CU_ASSERT_EQUAL(limits_of("t").retention_bytes, 77);
    end();
}

/* ---- what lies in the folder ---------------------------------------------------------------------- */

static void a_folder_that_no_topic_has_is_put_aside_and_others_are_left_alone(void)
{
    begin();
    CU_ASSERT_EQUAL(create("t", 1), KQ_OK);
    stop();
    move("t-0", "u-5"); /* as a copy from elsewhere would look */
    char path[FOLDER_PATH_BYTES + 64];
    path_in(path, "notes.txt");
    FILE *f = fopen(path, "w");
    CU_ASSERT_PTR_NOT_NULL_FATAL(f);
    (void)fclose(f);
    path_in(path, "photos");
    CU_ASSERT_EQUAL(mkdir(path, 0700), 0);
    path_in(path, "old-0.stray-1600000000000"); /* of years ago */
    CU_ASSERT_EQUAL(mkdir(path, 0700), 0);
    path_in(path, "old-0.stray-1600000000000/hard-state");
    f = fopen(path, "w");
    CU_ASSERT_PTR_NOT_NULL_FATAL(f);
    (void)fclose(f);
    start();
    CU_ASSERT_TRUE(wait_until_none("old-0"));
    CU_ASSERT_EQUAL(count_folders("u-5.stray-"), 1);
    CU_ASSERT_EQUAL(count_folders("notes.txt"), 1);
    CU_ASSERT_EQUAL(count_folders("photos"), 1);
    CU_ASSERT_EQUAL(publish("t", 0), 0);
    CU_ASSERT_EQUAL(create("u", 6), KQ_OK);
    end();
}

static void a_folder_of_another_topic_is_never_opened(void)
{
    begin();
    CU_ASSERT_EQUAL(create("a", 1), KQ_OK);
    CU_ASSERT_EQUAL(create("b", 1), KQ_OK);
    CU_ASSERT_EQUAL(publish("a", 0), 0);
    stop();
    move("a-0", "x");
    move("b-0", "a-0");
    move("x", "b-0");
    start();
    int64_t deadline_us = clock_mono_us() + 20 * 1000000;
    while (count_folders(".stray-") < 2 && clock_mono_us() < deadline_us)
        (void)producer_id();
    CU_ASSERT_EQUAL(count_folders("a-0.stray-"), 1);
    CU_ASSERT_EQUAL(count_folders("b-0.stray-"), 1);
    /* CRTP of what exists waits until it serves. */
    CU_ASSERT_EQUAL(create("a", 1), KQ_OK);
    CU_ASSERT_EQUAL(create("b", 1), KQ_OK);
    CU_ASSERT_EQUAL(publish("a", 0), 0);
    CU_ASSERT_EQUAL(publish("b", 0), 0);
    stop();
    start();
    CU_ASSERT_EQUAL(publish("a", 0), 1);
    end();
}

static void a_folder_without_its_metadata_or_identity_is_refused(void)
{
    begin();
    CU_ASSERT_EQUAL(create("t", 1), KQ_OK);
    stop();
    struct fault fault;
    move("__cluster_metadata-0", "hidden");
    CU_ASSERT_EQUAL(try_start(&fault), KQ_CORRUPT);
    CU_ASSERT_PTR_NOT_NULL(strstr(fault.text, "t-0"));
    move("hidden", "__cluster_metadata-0");
    move("IDENTITY", "hidden");
    CU_ASSERT_EQUAL(try_start(&fault), KQ_CORRUPT);
    move("hidden", "IDENTITY");
    config.broker_id = 2;
    CU_ASSERT_EQUAL(try_start(&fault), KQ_INVALID);
    config.broker_id = 1;
    start();
    CU_ASSERT_TRUE(exists("t"));
    CU_ASSERT_EQUAL(publish("t", 0), 0);
    end();
}

/* ---- full disks ------------------------------------------------------------------------------------ */

static void on_a_full_disk_nothing_is_half_made(void)
{
    begin();
    CU_ASSERT_EQUAL(create("old", 1), KQ_OK);
    atomic_store(&no_space_reported, true);
    CU_ASSERT_EQUAL(create("t", 4), KQ_NO_SPACE);
    CU_ASSERT_FALSE(exists("t"));
    CU_ASSERT_EQUAL(create("old", 1), KQ_OK);
    CU_ASSERT_EQUAL(create("old", 2), KQ_EXISTS); /* what is wrong whatever the disk says comes first */
    CU_ASSERT_EQUAL(create("a b", 2), KQ_BAD_TOPIC_NAME);
    CU_ASSERT_EQUAL(create("t", 1000000), KQ_BAD_PARTITIONS);
    atomic_store(&no_space_reported, false);
    set_full_path("t-2/");
    CU_ASSERT_EQUAL(create("t", 4), KQ_NO_SPACE);
    CU_ASSERT_FALSE(exists("t"));
    CU_ASSERT_TRUE(wait_until_none("t-"));
    set_full_path("");
    CU_ASSERT_EQUAL(create("t", 4), KQ_OK);
    CU_ASSERT_EQUAL(publish("t", 2), 0);
    end();
}

static void a_partition_that_cannot_open_leaves_the_others_running(void)
{
    begin();
    CU_ASSERT_EQUAL(create("t", 2), KQ_OK);
    CU_ASSERT_EQUAL(publish("t", 0), 0);
    CU_ASSERT_EQUAL(publish("t", 1), 0);
    stop();
    char path[FOLDER_PATH_BYTES + 64];
    path_in(path, "t-1/hard-state");
    CU_ASSERT_EQUAL_FATAL(truncate(path, 0), 0);
    start();
    CU_ASSERT_EQUAL(publish("t", 1), -1);
    CU_ASSERT_EQUAL(last_fault.err, KQ_PARTITION_FAILED);
    CU_ASSERT_EQUAL(publish("t", 0), 1);
    struct cluster_status status;
    cluster_status(cluster, &status);
    CU_ASSERT_EQUAL(status.failed_count, 1);
    CU_ASSERT_EQUAL_FATAL(status.fault_count, 1);
    CU_ASSERT_STRING_EQUAL(status.faults[0].partition, "t-1");
    CU_ASSERT_EQUAL(create("t", 2), KQ_PARTITION_FAILED);
    CU_ASSERT_TRUE(exists("t"));
    end();
}

/* ---- ids --------------------------------------------------------------------------------------------- */

static void producer_ids_are_never_given_twice(void)
{
    enum { TOGETHER = 2500 };
    begin();
    static struct cluster_request r[TOGETHER];
    static bool seen[10 * CLUSTER_PRODUCER_BLOCK];
    memset(seen, 0, sizeof seen);
    for (int i = 0; i < TOGETHER; i++) {
        r[i] = (struct cluster_request){.done = request_done};
        cluster_next_producer_id(cluster, &r[i]);
    }
    await(TOGETHER);
    for (int i = 0; i < TOGETHER; i++) {
        CU_ASSERT_EQUAL_FATAL(r[i].fault.err, KQ_OK);
        CU_ASSERT_FALSE_FATAL(seen[r[i].producer_id]);
        seen[r[i].producer_id] = true;
    }
    for (int restart = 0; restart < 2; restart++) {
        int64_t id = producer_id();
        CU_ASSERT_FALSE_FATAL(seen[id]);
        seen[id] = true;
        stop();
        start();
    }
    CU_ASSERT_NOT_EQUAL(cluster_next_session_id(cluster), cluster_next_session_id(cluster));
    end();
}

/* ---- groups -------------------------------------------------------------------------------------------- */

static enum kq_err subscribe(uint64_t session, uint32_t wanted, struct subscription_id *id)
{
    struct group_call call = {.verb = GROUP_SUBSCRIBE,
                              .session = {1, session},
                              .group = "g",
                              .topic = "t",
                              .topic_id = topic_id("t"),
                              .partition_count = 2,
                              .wanted = wanted};
    enum kq_err err = call_group("g", &call);
    if (call.id_count > 0)
        *id = call.ids[0];
    group_call_fini(&call);
    return err;
}

static enum kq_err with_id(enum group_verb verb, const struct subscription_id *id, int64_t off, int64_t *committed_off)
{
    struct group_call call = {.verb = verb, .session = {1, 5}, .topic = "t", .id = *id, .off = off};
    enum kq_err err = call_group("g", &call);
    if (committed_off != NULL)
        *committed_off = call.committed_off;
    return err;
}

static void groups_live_in_an_internal_topic_and_survive_a_restart(void)
{
    begin();
    struct image *image = cluster_image(cluster);
    CU_ASSERT_PTR_NULL(cluster_coordinator(image, "g", 1, NULL));
    image_drop(&image);
    CU_ASSERT_EQUAL(create("t", 2), KQ_OK);
    struct cluster_request r = {.done = request_done};
    for (int i = 0; i < 2; i++) {
        cluster_ensure_offsets_topic(cluster, &r);
        await(1);
        CU_ASSERT_EQUAL_FATAL(r.fault.err, KQ_OK);
    }
    CU_ASSERT_EQUAL(drop(CLUSTER_OFFSETS_TOPIC), KQ_BAD_TOPIC_NAME);
    struct subscription_id first;
    struct subscription_id second;
    CU_ASSERT_EQUAL(subscribe(1, 2, &first), KQ_OK);
    CU_ASSERT_EQUAL(subscribe(2, 1, &second), KQ_OK);
    CU_ASSERT_EQUAL(atomic_load(&events[GROUP_EVENT_REVOKED]), 1);
    CU_ASSERT_EQUAL(with_id(GROUP_COMMIT, &second, 41, NULL), KQ_OK);
    stop();
    start();
    int64_t committed_off;
    CU_ASSERT_EQUAL(with_id(GROUP_RESOLVE, &second, 0, &committed_off), KQ_OK);
    CU_ASSERT_EQUAL(committed_off, 41);
    CU_ASSERT_EQUAL(drop("t"), KQ_OK);
    CU_ASSERT_EQUAL(create("t", 2), KQ_OK);
    int64_t deadline_us = clock_mono_us() + 20 * 1000000;
    while (with_id(GROUP_RESOLVE, &second, 0, NULL) == KQ_OK && clock_mono_us() < deadline_us)
        ;
    CU_ASSERT_EQUAL(with_id(GROUP_RESOLVE, &second, 0, NULL), KQ_UNKNOWN_SUBSCRIPTION);
    end();
}

/* ---- many, and at once ----------------------------------------------------------------------------------- */

static void many_partitions_start_together(void)
{
    enum { MANY = 300 };
    begin();
    int64_t t0 = clock_mono_us();
    CU_ASSERT_EQUAL(create("many", MANY), KQ_OK);
    int64_t t1 = clock_mono_us();
    stop();
    int64_t t2 = clock_mono_us();
    start();
    CU_ASSERT_EQUAL(create("many", MANY), KQ_OK); /* all serve again */
    int64_t t3 = clock_mono_us();
    printf("%d partitions: made in %lld ms, stopped in %lld ms, started in %lld ms ... ", MANY,
           (long long)(t1 - t0) / 1000, (long long)(t2 - t1) / 1000, (long long)(t3 - t2) / 1000);
    CU_ASSERT_EQUAL(publish("many", MANY - 1), 0);
    CU_ASSERT_EQUAL(drop("many"), KQ_OK);
    CU_ASSERT_TRUE(wait_until_none("many-"));
    end();
}

/* A thread that makes, deletes, changes and looks up topics others do the same to. */
struct worker {
    pthread_t thread;
    struct wait wait;
    uint64_t random;
    struct cluster_request request;
    int wrong;
};

static void worker_done(struct cluster_request *request)
{
    struct worker *w = CONTAINER_OF(request, struct worker, request);
    (void)pthread_mutex_lock(&w->wait.lock);
    w->wait.count++;
    (void)pthread_cond_signal(&w->wait.happened);
    (void)pthread_mutex_unlock(&w->wait.lock);
}

static void worker_await(struct worker *w)
{
    (void)pthread_mutex_lock(&w->wait.lock);
    while (w->wait.count == 0)
        (void)pthread_cond_wait(&w->wait.happened, &w->wait.lock);
    w->wait.count = 0;
    (void)pthread_mutex_unlock(&w->wait.lock);
}

static void worker_look(const char *name)
{
    struct image *image = cluster_image(cluster);
    struct image_topic *topic = image_find(image, name, strlen(name));
    if (topic != NULL) {
        struct partition *partition = image_partition(topic, image_topic_next_partition(topic));
        struct partition_status status;
        if (partition != NULL)
            partition_status(partition, &status);
    }
    image_drop(&image);
}

static void *worker_run(void *argument)
{
    enum { STEPS = 150 };
    static const char *const names[] = {"v", "w", "x", "y", "z"};
    struct worker *w = argument;
    for (int i = 0; i < STEPS; i++) {
        w->random = w->random * 6364136223846793005u + 1442695040888963407u;
        uint32_t r = (uint32_t)(w->random >> 33);
        const char *name = names[r % 5];
        static const struct topic_config_setting setting = {.key = TOPIC_CONFIG_RETENTION_MS, .value = 100000};
        w->request = (struct cluster_request){.done = worker_done, .topic = name, .partitions = 2};
        w->request.settings = &setting;
        w->request.setting_count = r / 5 % 4 == 1;
        if (r / 5 % 4 == 0)
            cluster_delete_topic(cluster, &w->request);
        else if (r / 5 % 4 == 1)
            cluster_topic_config(cluster, &w->request);
        else
            cluster_create_topic(cluster, &w->request);
        worker_look(name);
        worker_await(w);
        enum kq_err err = w->request.fault.err;
        w->wrong += err != KQ_OK && err != KQ_UNKNOWN_TOPIC;
    }
    return NULL;
}

/* Until folders are as topics are: who deletes one is answered before its folders are put aside. */
static bool wait_until_settled(void)
{
    int64_t deadline_us = clock_mono_us() + 20 * 1000000;
    bool settled = false;
    while (!settled && clock_mono_us() < deadline_us) {
        struct image *image = cluster_image(cluster);
        settled = count_folders(".deleted-") == 0 &&
                  count_folders("-0") - 1 == (int)image_topic_count(image); /* one is the metadata's */
        image_drop(&image);
        (void)set("nobody", "retention.ms", "1");
    }
    return settled;
}

static void topics_come_and_go_from_many_threads(void)
{
    enum { WORKERS = 4 };
    begin();
    static struct worker workers[WORKERS];
    for (int i = 0; i < WORKERS; i++) {
        workers[i] = (struct worker){.wait = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0},
                                     .random = (uint64_t)i + 1};
        CU_ASSERT_EQUAL_FATAL(pthread_create(&workers[i].thread, NULL, worker_run, &workers[i]), 0);
    }
    for (int i = 0; i < WORKERS; i++) {
        (void)pthread_join(workers[i].thread, NULL);
        CU_ASSERT_EQUAL(workers[i].wrong, 0);
    }
    CU_ASSERT_TRUE(wait_until_settled());
    stop();
    start();
    CU_ASSERT_TRUE(wait_until_settled());
    CU_ASSERT_EQUAL(count_folders(".stray-"), 0);
    end();
}

static void every_request_is_answered_when_the_cluster_stops(void)
{
    enum { TOGETHER = 40 };
    begin();
    static struct cluster_request r[2 * TOGETHER];
    static char names[TOGETHER][16];
    for (int i = 0; i < TOGETHER; i++) {
        (void)snprintf(names[i], sizeof names[i], "t%d", i);
        r[2 * i] = (struct cluster_request){.done = request_done, .topic = names[i], .partitions = 2};
        r[2 * i + 1] = (struct cluster_request){.done = request_done};
        cluster_create_topic(cluster, &r[2 * i]);
        cluster_next_producer_id(cluster, &r[2 * i + 1]);
    }
    stop();
    await(2 * TOGETHER);
    for (int i = 0; i < 2 * TOGETHER; i++)
        CU_ASSERT_TRUE(r[i].fault.err == KQ_OK || r[i].fault.err == KQ_STOPPING ||
                       r[i].fault.err == KQ_OUTCOME_UNKNOWN);
    start();
    end();
}

static const struct unit_case cases[] = {
    {"topics survive a restart with their ids and messages", topics_survive_a_restart_with_their_ids_and_messages},
    {"a deleted topic is gone, and comes again as another", a_deleted_topic_is_gone_and_comes_again_as_another},
    {"settings of a topic go over the broker's and follow a reload",
     settings_of_a_topic_go_over_the_brokers_and_follow_a_reload},
    {"a folder that no topic has is put aside, and others are left alone",
     a_folder_that_no_topic_has_is_put_aside_and_others_are_left_alone},
    {"a folder of another topic is never opened", a_folder_of_another_topic_is_never_opened},
    {"a folder without its metadata or identity is refused", a_folder_without_its_metadata_or_identity_is_refused},
    {"on a full disk nothing is half made", on_a_full_disk_nothing_is_half_made},
    {"a partition that cannot open leaves the others running", a_partition_that_cannot_open_leaves_the_others_running},
    {"producer ids are never given twice", producer_ids_are_never_given_twice},
    {"groups live in an internal topic and survive a restart", groups_live_in_an_internal_topic_and_survive_a_restart},
    {"many partitions start together", many_partitions_start_together},
    {"topics come and go from many threads", topics_come_and_go_from_many_threads},
    {"every request is answered when the cluster stops", every_request_is_answered_when_the_cluster_stops},
};

UNIT_MAIN("cluster", cases)
