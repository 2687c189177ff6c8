/*
 * Local partitions follow the committed metadata.
 *
 * A run looks at the present image: topics that are not settled get their local
 * partitions started or configured, a few at a time, and hosted topics that the
 * image does not name any more are ended. Runs, stops and folder work are all on
 * the keeper's thread, so they never overlap; partition threads open their own
 * folders, all at once.
 *
 *    a partition:  NONE -> OPENING -> SERVING | FAILED -> STOPPED
 *
 * A folder that turns out to be another topic's is put aside and the partition
 * started anew, once. A new topic with the name of one that is ending waits until
 * the old folders are out of the way. Folders of a deleted topic are renamed, the
 * renames made durable, then removed (sweep.c): after a crash in between they are
 * strays, never taken for the new topic's, since topic ids differ.
 */
#include "cluster/cluster_state.h"

#include "base/clock.h"
#include "base/logger.h"
#include "base/require.h"

#include <stdio.h>
#include <stdlib.h>

/* Partitions started before the keeper looks at other work. */
enum { STARTS_A_RUN = 100 };

static void lock(struct cluster *c)
{
    (void)pthread_mutex_lock(&c->lock);
}

static void unlock(struct cluster *c)
{
    (void)pthread_mutex_unlock(&c->lock);
}

struct hosted *reconcile_find(const struct cluster *c, const struct uuid *topic_id)
{
    return map_get(&c->hosted_by_id, topic_id->bytes, UUID_BYTES);
}

static void title_of(const struct part *part, char title[CLUSTER_TITLE_BYTES])
{
    (void)snprintf(title, CLUSTER_TITLE_BYTES, "%s-%u", part->hosted->name, part->number);
}

/* ---- one partition: opening ----------------------------------------------------------- */

static void mark_failed(struct part *part, const struct fault *fault)
{
    struct cluster *c = part->hosted->cluster;
    struct fault *copy = malloc(sizeof *copy);
    if (copy != NULL)
        *copy = *fault;
    lock(c);
    part->state = PART_FAILED;
    part->fault = copy;
    part->hosted->failed_count++;
    unlock(c);
    requests_wake(c);
}

static void replace_folder(struct part *part);

struct examination {
    struct job job;
    struct part *part;
    struct fault fault;
};

/* Keeper. The partition could not be opened. */
static void examine(struct job *job)
{
    struct examination *e = CONTAINER_OF(job, struct examination, job);
    struct part *part = e->part;
    struct cluster *c = part->hosted->cluster;
    char path[CLUSTER_PATH_BYTES];
    char title[CLUSTER_TITLE_BYTES];
    title_of(part, title);
    bool foreign =
        !part->replaced && home_path(path, c->data_dir, title) && home_is_foreign(c->io, path, &part->hosted->id);
    lock(c);
    foreign = foreign && !part->stop_told;
    part->stop_told |= foreign;
    unlock(c);
    if (foreign)
        replace_folder(part);
    else
        mark_failed(part, &e->fault);
    cluster_work_end(c);
    free(e);
}

/* A partition's thread. */
static void part_ready(void *context, struct partition *partition, const struct fault *fault)
{
    struct part *part = context;
    struct cluster *c = part->hosted->cluster;
    if (fault->err == KQ_OK) {
        lock(c);
        part->state = PART_SERVING;
        part->hosted->serving_count++;
        bool coordinates = part->group != NULL && !c->stopping;
        unlock(c);
        if (coordinates)
            coordinator_drop_topics(c, partition);
        requests_wake(c);
        return;
    }
    struct examination *e = calloc(1, sizeof *e);
    if (e == NULL) {
        mark_failed(part, fault);
        return;
    }
    e->job.run = examine;
    e->part = part;
    e->fault = *fault;
    lock(c);
    cluster_work_begin(c);
    unlock(c);
    engine_post_work(c->options.engine, &e->job);
}

static struct partition_limits limits_for(const struct hosted *h, const struct partition_limits *limits)
{
    struct partition_limits mine = *limits;
    if (h->internal) {
        mine.segment_bytes = CLUSTER_MACHINE_SEGMENT_BYTES;
        mine.retention_bytes = -1;
        mine.retention_ms = -1;
    }
    return mine;
}

/* Keeper. */
static void configure_part(struct part *part, struct partition *partition, const struct partition_limits *limits)
{
    struct partition_limits mine = limits_for(part->hosted, limits);
    if (image_same_limits(&mine, &part->limits))
        return;
    part->limits = mine;
    partition_configure(partition, &mine);
}

/* Keeper. */
static void start_part(struct part *part, const struct partition_limits *limits)
{
    struct cluster *c = part->hosted->cluster;
    char path[CLUSTER_PATH_BYTES];
    char title[CLUSTER_TITLE_BYTES];
    title_of(part, title);
    struct fault fault = {.err = KQ_OK};
    bool coordinates = strcmp(part->hosted->name, CLUSTER_OFFSETS_TOPIC) == 0;
    if (coordinates && part->group == NULL)
        part->group = coordinator_new(c, part->number);
    if (coordinates && part->group == NULL)
        (void)fault_set(&fault, KQ_NO_MEMORY, "%s: out of memory", title);
    else if (!home_path(path, c->data_dir, title))
        (void)fault_set(&fault, KQ_INVALID, "%s/%s: the path is too long", c->data_dir, title);
    part->limits = limits_for(part->hosted, limits);
    struct partition_options options = {.engine = c->options.engine,
                                        .dir = path,
                                        .title = title,
                                        .topic_id = part->hosted->id,
                                        .partition = part->number,
                                        .incarnation = uuid_random(),
                                        .limits = part->limits,
                                        .ready = part_ready,
                                        .context = part};
    if (part->group != NULL)
        options.machine = group_machine_ops(part->group);
    lock(c);
    part->state = PART_OPENING;
    unlock(c);
    struct partition *partition = NULL;
    if (fault.err == KQ_OK) {
        enum kq_err err = partition_start(&partition, &options);
        if (err != KQ_OK)
            (void)fault_set(&fault, err, "%s: its thread cannot be started: %s; see the limits of threads and memory",
                            title, err_text(err));
    }
    lock(c);
    part->partition = partition;
    unlock(c);
    if (fault.err != KQ_OK)
        mark_failed(part, &fault);
}

/* ---- one partition: a folder of another topic in its place --------------------------------- */

static struct image *forget_handle(struct cluster *c, struct image *before, void *context)
{
    const struct part *part = context;
    (void)c;
    return image_without_partition(before, &part->hosted->id, part->number);
}

static void part_stopped(void *context, struct partition *partition);

/* Keeper; the partition that could not open is closed. */
static void put_aside_and_start(void *context, struct partition *partition)
{
    struct part *part = context;
    struct cluster *c = part->hosted->cluster;
    char title[CLUSTER_TITLE_BYTES];
    title_of(part, title);
    enum kq_err err = home_put_aside(c->io, c->data_dir, title, "stray", clock_wall_ms(), NULL);
    lock(c);
    bool ending = part->hosted->ending;
    if (!ending) {
        part->stop_told = false;
        part->partition = NULL;
        part->state = PART_NONE;
    }
    unlock(c);
    if (ending) {
        part_stopped(part, partition);
        return;
    }
    if (err == KQ_OK)
        SAY_WARNING("%s: the folder belonged to another topic and was put aside as a stray; the partition starts empty",
                    title);
    partition_drop(&partition);
    cluster_publish(c, forget_handle, part); /* its reconcile starts the partition again */
}

static void replace_folder(struct part *part)
{
    part->replaced = true;
    partition_stop(part->partition, KQ_NOT_LEADER, put_aside_and_start, part);
}

/* ---- hosted topics: ending --------------------------------------------------------------------- */

static void free_hosted(struct hosted *h)
{
    for (uint32_t p = 0; p < h->part_count; p++) {
        REQUIRE(h->parts[p].partition == NULL);
        group_machine_free(&h->parts[p].group);
        free(h->parts[p].fault);
    }
    free(h);
}

/* Keeper. Nothing of the topic runs any more. */
static void finish_hosted(struct hosted *h)
{
    struct cluster *c = h->cluster;
    bool gone = h->gone;
    if (gone) {
        int result = c->io->ops->sync_dir(c->io, c->data_dir);
        if (result < 0)
            SAY_WARNING("%s: cannot be synced: %s", c->data_dir, err_text(err_from_errno(-result)));
    }
    lock(c);
    REQUIRE(map_remove(&c->hosted_by_id, h->id.bytes, UUID_BYTES) == h);
    REQUIRE(map_remove(&c->hosted_by_name, h->name, strlen(h->name)) == h);
    (void)pthread_cond_broadcast(&c->moved);
    unlock(c);
    free_hosted(h);
    if (gone) {
        sweep_post(c);
        reconcile_post(c); /* a new topic of this name may wait */
    }
}

static void one_less_to_stop(struct hosted *h)
{
    lock(h->cluster);
    bool last = --h->stop_left == 0;
    unlock(h->cluster);
    if (last)
        finish_hosted(h);
}

/* Keeper; the partition is closed and its thread joined. */
static void part_stopped(void *context, struct partition *partition)
{
    struct part *part = context;
    struct hosted *h = part->hosted;
    struct cluster *c = h->cluster;
    if (h->gone) {
        char title[CLUSTER_TITLE_BYTES];
        title_of(part, title);
        (void)home_put_aside(c->io, c->data_dir, title, "deleted", clock_wall_ms(), NULL);
    }
    lock(c);
    part->state = PART_STOPPED;
    part->partition = NULL;
    unlock(c);
    partition_drop(&partition);
    one_less_to_stop(h);
}

/* Keeper, or the main thread when no keeper work of ours is left. */
static void end_hosted(struct hosted *h, bool gone)
{
    struct cluster *c = h->cluster;
    lock(c);
    h->ending = true;
    h->gone = gone;
    h->stop_left = 1; /* ours, until all are told */
    for (uint32_t p = 0; p < h->part_count; p++)
        h->stop_left += h->parts[p].partition != NULL;
    unlock(c);
    for (uint32_t p = 0; p < h->part_count; p++) {
        struct part *part = &h->parts[p];
        lock(c);
        bool tell = part->partition != NULL && !part->stop_told;
        part->stop_told |= tell;
        struct partition *partition = part->partition;
        unlock(c);
        if (tell)
            partition_stop(partition, gone ? KQ_UNKNOWN_TOPIC : KQ_STOPPING, part_stopped, part);
    }
    if (gone && !h->internal)
        coordinator_drop_topics_everywhere(c);
    one_less_to_stop(h);
}

/* ---- a run ----------------------------------------------------------------------------------------- */

static struct hosted *new_hosted(struct cluster *c, const struct image_topic *topic)
{
    uint32_t count = image_topic_partitions(topic);
    struct hosted *h = calloc(1, sizeof *h + count * sizeof h->parts[0]);
    if (h == NULL)
        return NULL;
    h->cluster = c;
    h->id = *image_topic_id(topic);
    (void)snprintf(h->name, sizeof h->name, "%s", image_topic_name(topic));
    h->internal = image_topic_internal(topic);
    h->part_count = count;
    for (uint32_t p = 0; p < count; p++) {
        h->parts[p].hosted = h;
        h->parts[p].number = p;
        h->parts[p].local = cluster_is_local(c, topic, p);
        h->local_count += h->parts[p].local;
    }
    return h;
}

/* The topic's place here, made if need be. NULL: its name is still in use by one
 * that is ending, or no memory (said). */
static struct hosted *host(struct cluster *c, const struct image_topic *topic)
{
    const char *name = image_topic_name(topic);
    lock(c);
    struct hosted *h = reconcile_find(c, image_topic_id(topic));
    bool taken = h == NULL && map_get(&c->hosted_by_name, name, strlen(name)) != NULL;
    unlock(c);
    if (h != NULL || taken)
        return h;
    h = new_hosted(c, topic);
    bool ok = h != NULL;
    lock(c);
    ok = ok && map_put(&c->hosted_by_id, h->id.bytes, UUID_BYTES, h, NULL);
    if (ok && !map_put(&c->hosted_by_name, name, strlen(name), h, NULL)) {
        (void)map_remove(&c->hosted_by_id, h->id.bytes, UUID_BYTES);
        ok = false;
    }
    unlock(c);
    if (ok)
        return h;
    SAY_ERROR("%s: out of memory; its partitions are not started", name);
    free(h);
    return NULL;
}

/* Starts what is not started; counts down *left. False: *left ran out. */
static bool settle_topic(struct cluster *c, struct hosted *h, struct image_topic *topic, uint32_t *left)
{
    const struct partition_limits *limits = image_topic_limits(topic);
    for (uint32_t p = 0; p < h->part_count; p++) {
        struct part *part = &h->parts[p];
        if (!part->local)
            continue;
        lock(c);
        bool start = part->state == PART_NONE;
        struct partition *partition = part->stop_told ? NULL : part->partition;
        unlock(c);
        if (start && (*left)-- == 0) {
            *left = 0;
            return false;
        }
        if (start) {
            start_part(part, limits);
            partition = part->partition;
        } else if (partition != NULL)
            configure_part(part, partition, limits);
        if (partition != NULL && image_partition(topic, p) == NULL)
            image_topic_set_partition(topic, p, partition);
    }
    image_topic_settle(topic);
    return true;
}

/* False: there is more to do. */
static bool follow(struct cluster *c, const struct image *image)
{
    uint32_t left = STARTS_A_RUN;
    for (size_t i = 0; i < image_topic_count(image); i++) {
        struct image_topic *topic = image_topic_at(image, i);
        struct hosted *h = host(c, topic);
        if (h == NULL)
            continue;
        h->seen_version = image_version(image);
        if (!image_topic_settled(topic) && !settle_topic(c, h, topic, &left))
            return false;
    }
    return true;
}

/* A hosted topic that the image does not name, or NULL. */
static struct hosted *find_unnamed(struct cluster *c, const struct image *image)
{
    struct hosted *found = NULL;
    struct map_walk w;
    lock(c);
    for (map_walk_init(&w, &c->hosted_by_id); found == NULL && map_walk_next(&w);) {
        struct hosted *h = w.value;
        if (!h->ending && h->seen_version != image_version(image))
            found = h;
    }
    unlock(c);
    return found;
}

void reconcile_post(struct cluster *c)
{
    lock(c);
    bool post = !c->stopping && !c->reconcile_posted;
    if (post) {
        c->reconcile_posted = true;
        cluster_work_begin(c);
    }
    unlock(c);
    if (post)
        engine_post_work(c->options.engine, &c->reconcile_job);
}

void reconcile_run(struct job *job)
{
    struct cluster *c = CONTAINER_OF(job, struct cluster, reconcile_job);
    lock(c);
    c->reconcile_posted = false;
    struct image *image = c->stopping ? NULL : image_hold(c->image);
    unlock(c);
    if (image != NULL) {
        bool done = follow(c, image);
        struct hosted *h;
        while (done && (h = find_unnamed(c, image)) != NULL)
            end_hosted(h, true);
        if (done) {
            lock(c);
            c->reconciled_version = image_version(image);
            (void)pthread_cond_broadcast(&c->moved);
            unlock(c);
        } else
            reconcile_post(c);
        image_drop(&image);
        requests_wake(c);
    }
    cluster_work_end(c);
}

/* ---- stopping ---------------------------------------------------------------------------------------- */

void reconcile_stop_all(struct cluster *c)
{
    for (;;) {
        struct hosted *h = NULL;
        struct map_walk w;
        lock(c);
        for (map_walk_init(&w, &c->hosted_by_id); map_walk_next(&w);)
            if (!((struct hosted *)w.value)->ending)
                h = w.value;
        unlock(c);
        if (h == NULL)
            return;
        end_hosted(h, false);
    }
}
