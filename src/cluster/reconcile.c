/*
 * Local replicas follow the committed metadata (replica.c has what is done with one).
 *
 * A run looks at the present image: topics that are not settled get their local
 * replicas started, configured, replaced or dropped, a few at a time, and hosted topics
 * that the image does not name any more are ended. Runs, stops and folder work are all
 * on the keeper's thread, so they never overlap; partition threads open their own
 * folders, all at once.
 *
 * A new topic with the name of one that is ending waits until the old folders are out of
 * the way. Folders of a deleted topic are renamed, the
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

/* ---- hosted topics: ending --------------------------------------------------------------------- */

static void free_hosted(struct hosted *h)
{
    for (uint32_t p = 0; p < h->part_count; p++) {
        REQUIRE(h->parts[p]->partition == NULL);
        group_machine_free(&h->parts[p]->group);
        free(h->parts[p]->fault);
        stalled_forget(h->parts[p]);
        free(h->parts[p]);
    }
    free(h->parts);
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

/* Keeper, or as end_hosted. */
void reconcile_one_stopped(struct hosted *h)
{
    lock(h->cluster);
    bool last = --h->stop_left == 0;
    unlock(h->cluster);
    if (last)
        finish_hosted(h);
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
        h->stop_left += h->parts[p]->partition != NULL;
    unlock(c);
    for (uint32_t p = 0; p < h->part_count; p++) {
        struct part *part = h->parts[p];
        lock(c);
        bool tell = part->partition != NULL && !part->stop_told;
        part->stop_told |= tell;
        struct partition *partition = part->partition;
        unlock(c);
        if (tell)
            partition_stop(partition, gone ? KQ_UNKNOWN_TOPIC : KQ_STOPPING, replica_stopped, part);
    }
    if (gone && !h->internal)
        coordinator_drop_topics_everywhere(c);
    reconcile_one_stopped(h);
}

/* ---- a run ----------------------------------------------------------------------------------------- */

/* To so many partitions. False: out of memory, and it is as it was. */
static bool grow_hosted(struct hosted *h, uint32_t count)
{
    struct part **parts = calloc(count, sizeof(struct part *));
    uint32_t had = h->part_count;
    bool ok = parts != NULL;
    for (uint32_t p = 0; ok && p < count; p++) {
        parts[p] = p < had ? h->parts[p] : calloc(1, sizeof **parts);
        ok = parts[p] != NULL;
        if (!ok || p < had)
            continue;
        parts[p]->hosted = h;
        parts[p]->number = p;
    }
    for (uint32_t p = had; !ok && parts != NULL && p < count; p++)
        free(parts[p]);
    if (!ok) {
        free(parts);
        return false;
    }
    lock(h->cluster);
    struct part **before = h->parts;
    h->parts = parts;
    h->part_count = count;
    unlock(h->cluster);
    free(before);
    return true;
}

static struct hosted *new_hosted(struct cluster *c, const struct image_topic *topic)
{
    struct hosted *h = calloc(1, sizeof *h);
    if (h == NULL)
        return NULL;
    h->cluster = c;
    h->id = *image_topic_id(topic);
    (void)snprintf(h->name, sizeof h->name, "%s", image_topic_name(topic));
    h->internal = image_topic_internal(topic);
    if (grow_hosted(h, image_topic_partitions(topic)))
        return h;
    free(h);
    return NULL;
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
    uint32_t count = image_topic_partitions(topic);
    if (h != NULL && (h->ending || h->part_count >= count || grow_hosted(h, count)))
        return h;
    if (h != NULL)
        SAY_ERROR("%s: out of memory; its new partitions are not started", name);
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
    if (h != NULL)
        free_hosted(h);
    return NULL;
}

/* What one part needs. */
enum settle { SETTLE_NOTHING, SETTLE_START, SETTLE_FLUSH, SETTLE_WAIT };

static enum settle settle_part(struct cluster *c, struct part *part, const struct replica_wish *wish,
                               const struct image *image, struct image_topic *topic)
{
    lock(c);
    part->local = wish->local;
    part->sole_broker = wish->sole_broker;
    bool stops = part->stop_told;
    struct partition *partition = part->partition;
    enum part_state state = part->state;
    if (partition == NULL && !wish->local && state == PART_LOST)
        part->state = PART_NONE;
    unlock(c);
    if (stops)
        return SETTLE_WAIT; /* looked at again when it has stopped */
    if (partition == NULL) {
        bool other = !uuid_equal(&part->incarnation, &wish->incarnation);
        bool start = wish->local && (state == PART_NONE || (state == PART_LOST && (other || wish->alone)));
        return start ? SETTLE_START : SETTLE_NOTHING;
    }
    bool another = !uuid_equal(&part->incarnation, &wish->incarnation) && !replica_is_unowned(part, wish);
    if (!wish->local || another) {
        replica_stop(part, wish->local ? PART_ASIDE : PART_GOES);
        return SETTLE_WAIT;
    }
    if (replica_must_be_noted(part, wish))
        return SETTLE_FLUSH;
    replica_follow(part, partition, wish, image, topic);
    if (image_partition(topic, part->number) == NULL)
        image_topic_set_partition(topic, part->number, partition);
    return SETTLE_NOTHING;
}

/* Replicas that are started with one flush of REPLICAS. */
struct starts {
    struct part *parts[STARTS_A_RUN];
    uint32_t count;
    bool noted; /* some that run were noted too */
};

/* False: what was to be noted could not be (said). */
static bool carry_out(struct cluster *c, struct starts *starts, const struct image *image, struct image_topic *topic)
{
    struct fault fault = {.err = KQ_OK};
    enum kq_err err = starts->count > 0 || starts->noted ? notes_flush(c->notes, &fault) : KQ_OK;
    if (err != KQ_OK)
        SAY_ERROR("%s; replicas of %s that must be noted first wait for the next change, or a restart",
                  fault_text(&fault), image_topic_name(topic));
    for (uint32_t i = 0; i < starts->count; i++) {
        struct part *part = starts->parts[i];
        struct replica_wish wish = replica_wish(c, image, topic, part->number);
        if (err != KQ_OK && !wish.alone) {
            replica_refuse(part, &fault);
            continue;
        }
        replica_start(part, &wish, image_topic_limits(topic));
        if (part->partition == NULL)
            continue;
        image_topic_set_partition(topic, part->number, part->partition);
        replica_follow(part, part->partition, &wish, image, topic);
        replica_hurry(part, clock_mono_us());
    }
    return err == KQ_OK;
}

/* Brings the topic's parts in line; counts down *left. False: *left ran out. */
static bool settle_topic(struct cluster *c, struct hosted *h, const struct image *image, struct image_topic *topic,
                         uint32_t *left)
{
    struct starts starts = {.count = 0};
    uint32_t count = image_topic_partitions(topic);
    bool settled = h->part_count >= count; /* else there was no memory for new ones */
    for (uint32_t p = 0; p < h->part_count && p < count; p++) {
        struct part *part = h->parts[p];
        struct replica_wish wish = replica_wish(c, image, topic, p);
        enum settle settle = settle_part(c, part, &wish, image, topic);
        if (settle == SETTLE_START && *left == 0) {
            settled = false;
            break;
        }
        if (settle == SETTLE_START) {
            (*left)--;
            if (replica_prepare(part, &wish))
                starts.parts[starts.count++] = part;
        }
        starts.noted |= settle == SETTLE_FLUSH;
    }
    bool noted = carry_out(c, &starts, image, topic);
    if (starts.noted && noted)
        settled = false; /* they follow in the next run */
    if (settled)
        image_topic_settle(topic);
    return settled;
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
        if (!image_topic_settled(topic) && !settle_topic(c, h, image, topic, &left))
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
    bool post = !c->stopping && !c->reconcile_posted && c->links != NULL; /* replicas need their peers */
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
        duties_post(c);
    }
    cluster_work_end(c);
}

/* ---- stopping ---------------------------------------------------------------------------------------- */

/* Deleted just before: the stop finishes what no reconcile will. */
static bool is_deleted(const struct hosted *h, const struct image *image)
{
    const struct image_topic *topic = image_find(image, h->name, strlen(h->name));
    return !h->internal && (topic == NULL || !uuid_equal(image_topic_id(topic), &h->id));
}

void reconcile_stop_all(struct cluster *c, bool internal)
{
    for (;;) {
        struct hosted *h = NULL;
        struct map_walk w;
        lock(c);
        for (map_walk_init(&w, &c->hosted_by_id); map_walk_next(&w);)
            if (!((struct hosted *)w.value)->ending && (internal || !((struct hosted *)w.value)->internal))
                h = w.value;
        bool gone = h != NULL && is_deleted(h, c->image);
        unlock(c);
        if (h == NULL)
            return;
        end_hosted(h, gone);
    }
}
