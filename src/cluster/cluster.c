/*
 * What others ask of the cluster: the image, who leads and who lives, status. Start and
 * stop are in start.c.
 */
#include "cluster/cluster_state.h"

#include "base/clock.h"
#include "base/logger.h"
#include "base/require.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- the image ---------------------------------------------------------------------- */

struct partition_limits cluster_default_limits(const struct cluster *c)
{
    const struct config *config = c->options.config;
    int64_t retention_us = atomic_load_explicit(&config->retention_us, memory_order_relaxed);
    return (struct partition_limits){
        .segment_bytes = config->segment_bytes,
        .retention_bytes = atomic_load_explicit(&config->retention_bytes, memory_order_relaxed),
        .retention_ms = retention_us < 0 ? -1 : retention_us / 1000,
        /* The key is about a message; a batch of one has a header besides. */
        .max_message_bytes = (int32_t)(config->message_max_bytes + BATCH_HEADER_BYTES + BATCH_RECORD_OVERHEAD_BYTES),
    };
}

void cluster_publish(struct cluster *c, struct image *(*make)(struct cluster *c, struct image *before, void *context),
                     void *context)
{
    (void)pthread_mutex_lock(&c->publish_lock);
    struct image *before = cluster_image(c);
    struct image *image = make(c, before, context);
    struct image *dropped = NULL;
    if (image != NULL) {
        (void)pthread_mutex_lock(&c->lock);
        dropped = c->image;
        c->image = image;
        (void)pthread_mutex_unlock(&c->lock);
    }
    (void)pthread_mutex_unlock(&c->publish_lock);
    image_drop(&before);
    if (image == NULL) {
        SAY_ERROR("out of memory: a change of the cluster's metadata takes effect with the next one");
        return;
    }
    image_drop(&dropped);
    reconcile_post(c);
    requests_wake(c);
    catch_up_wake(c);
}

/* A machine that begins anew (a leader that lost its place, a snapshot that came) passes
 * through the past once more. Others acted on what came after: it is not shown again. */
static struct image *make_committed(struct cluster *c, struct image *before, void *context)
{
    if (metadata_next_off(context) < image_next_off(before))
        return image_hold(before);
    struct partition_limits defaults = cluster_default_limits(c);
    return image_make(context, before, &defaults);
}

void cluster_metadata_changed(void *context, const struct metadata *metadata)
{
    struct cluster *c = context;
    REQUIRE(metadata == c->metadata);
    cluster_publish(c, make_committed, c->metadata);
}

static struct image *make_reloaded(struct cluster *c, struct image *before, void *context)
{
    struct partition_limits defaults = cluster_default_limits(c);
    (void)context;
    return image_with_defaults(before, &defaults);
}

void cluster_reload(struct cluster *cluster)
{
    TAG_CHECK(cluster, CLUSTER_TAG);
    cluster_publish(cluster, make_reloaded, NULL);
}

struct image *cluster_image(struct cluster *cluster)
{
    TAG_CHECK(cluster, CLUSTER_TAG);
    (void)pthread_mutex_lock(&cluster->lock);
    struct image *image = image_hold(cluster->image);
    (void)pthread_mutex_unlock(&cluster->lock);
    return image;
}

uint64_t cluster_next_session_id(struct cluster *cluster)
{
    TAG_CHECK(cluster, CLUSTER_TAG);
    return atomic_fetch_add_explicit(&cluster->next_session_id, 1, memory_order_relaxed);
}

/* ---- status ---------------------------------------------------------------------------- */

static void count_part(struct cluster_status *status, const struct part *part)
{
    struct partition_status of = {.state = PARTITION_OPENING};
    if (part->partition != NULL)
        partition_status(part->partition, &of);
    else if (part->state == PART_FAILED) {
        of.state = PARTITION_FAILED;
        of.fault = part->fault == NULL ? (struct fault){.err = KQ_NO_MEMORY} : *part->fault;
    }
    status->partition_count += !part->hosted->internal;
    status->opening_count += of.state == PARTITION_OPENING;
    if (of.state != PARTITION_FAILED)
        return;
    status->failed_count++;
    if (status->fault_count == CLUSTER_STATUS_FAULTS)
        return;
    (void)snprintf(status->faults[status->fault_count].partition, sizeof status->faults[0].partition, "%s-%u",
                   part->hosted->name, part->number);
    status->faults[status->fault_count++].fault = of.fault;
}

void cluster_status(struct cluster *cluster, struct cluster_status *status)
{
    struct image *image = cluster_image(cluster);
    memset(status, 0, sizeof *status);
    status->cluster_id = image_cluster_id(image);
    status->broker_id = cluster->identity.broker_id;
    status->controller_id = cluster_controller(cluster);
    for (size_t i = 0; i < image_broker_count(image); i++)
        status->broker_count += links_is_alive(cluster->links, image_broker_at(image, i)->id);
    for (size_t i = 0; i < image_topic_count(image); i++) {
        const struct image_topic *topic = image_topic_at(image, i);
        status->topic_count += !image_topic_internal(topic);
        (void)pthread_mutex_lock(&cluster->lock);
        const struct hosted *h = reconcile_find(cluster, image_topic_id(topic));
        for (uint32_t p = 0; h != NULL && p < h->part_count; p++)
            if (h->parts[p]->local)
                count_part(status, h->parts[p]);
        (void)pthread_mutex_unlock(&cluster->lock);
    }
    image_drop(&image);
}

/* ---- who leads, who lives ------------------------------------------------------------- */

uint32_t cluster_self(const struct cluster *cluster)
{
    return cluster->identity.broker_id;
}

int64_t cluster_groups_bytes(const struct cluster *cluster)
{
    return account_used(&cluster->groups_memory);
}

struct links *cluster_links(struct cluster *cluster)
{
    return cluster->links;
}

bool cluster_is_alone(struct cluster *c)
{
    if (c->identity.joined || c->identity.founding.count > 1)
        return false;
    struct image *image = cluster_image(c);
    bool alone = image_broker_count(image) <= 1;
    image_drop(&image);
    return alone;
}

uint32_t cluster_controller(struct cluster *c)
{
    uint32_t leader = c->metadata_partition == NULL ? 0 : partition_leader(c->metadata_partition, NULL);
    struct group_id group = {.topic_id = c->identity.founding.metadata_id};
    if (leader == 0 && c->links != NULL)
        leader = links_leader(c->links, &group, NULL);
    if (leader == 0 && cluster_is_alone(c)) /* its group leads itself when somebody wants to append */
        leader = c->identity.broker_id;
    return leader;
}

uint32_t cluster_part_leader(const struct cluster *c, const struct part *part, uint64_t *term)
{
    uint32_t leader = part->partition == NULL ? 0 : partition_leader(part->partition, term);
    struct group_id group = {.topic_id = part->hosted->id, .partition = part->number};
    if (leader == 0)
        leader = links_leader(c->links, &group, term);
    if (leader == 0 && part->sole_broker != 0 && links_is_alive(c->links, part->sole_broker)) {
        leader = part->sole_broker;
        if (term != NULL)
            *term = 0;
    }
    return leader;
}

uint32_t cluster_leader(struct cluster *cluster, const struct uuid *topic_id, uint32_t p, uint64_t *term)
{
    TAG_CHECK(cluster, CLUSTER_TAG);
    uint32_t leader = 0;
    if (term != NULL)
        *term = 0;
    (void)pthread_mutex_lock(&cluster->lock);
    const struct hosted *h = reconcile_find(cluster, topic_id);
    if (h != NULL && p < h->part_count)
        leader = cluster_part_leader(cluster, h->parts[p], term);
    (void)pthread_mutex_unlock(&cluster->lock);
    return leader;
}

bool cluster_is_lost(struct cluster *cluster, const struct uuid *topic_id, uint32_t p)
{
    (void)pthread_mutex_lock(&cluster->lock);
    const struct hosted *h = reconcile_find(cluster, topic_id);
    bool lost = h != NULL && p < h->part_count && h->parts[p]->lost;
    (void)pthread_mutex_unlock(&cluster->lock);
    return lost;
}

bool cluster_majority_alive(struct cluster *cluster, const struct image_topic *topic, uint32_t p)
{
    uint32_t count;
    const uint32_t *brokers = image_replicas(topic, p, &count);
    return links_alive_count(cluster->links, brokers, count) * 2 > count;
}

struct partition *cluster_find_replica(struct cluster *c, const struct group_id *group)
{
    if (uuid_equal(&group->topic_id, &c->identity.founding.metadata_id))
        return c->metadata_partition == NULL ? NULL : partition_hold(c->metadata_partition);
    struct partition *found = NULL;
    (void)pthread_mutex_lock(&c->lock);
    const struct hosted *h = reconcile_find(c, &group->topic_id);
    if (h != NULL && group->partition < h->part_count && h->parts[group->partition]->partition != NULL)
        found = partition_hold(h->parts[group->partition]->partition);
    (void)pthread_mutex_unlock(&c->lock);
    return found;
}

bool cluster_is_stopping(struct cluster *c)
{
    (void)pthread_mutex_lock(&c->lock);
    bool stopping = c->stopping;
    (void)pthread_mutex_unlock(&c->lock);
    return stopping;
}

/* ---- work that start and stop wait for --------------------------------------------------- */

void cluster_work_begin(struct cluster *c)
{
    c->work_count++;
}

void cluster_work_end(struct cluster *c)
{
    (void)pthread_mutex_lock(&c->lock);
    REQUIRE(c->work_count > 0);
    c->work_count--;
    (void)pthread_cond_broadcast(&c->moved);
    (void)pthread_mutex_unlock(&c->lock);
}

bool cluster_call_begin(struct cluster *c)
{
    c->call_count += !c->stopping;
    return !c->stopping;
}

void cluster_call_end(struct cluster *c)
{
    (void)pthread_mutex_lock(&c->lock);
    REQUIRE(c->call_count > 0);
    c->call_count--;
    (void)pthread_cond_broadcast(&c->moved);
    (void)pthread_mutex_unlock(&c->lock);
}

void cluster_post_job(struct cluster *c, struct job *job, bool *posted)
{
    (void)pthread_mutex_lock(&c->lock);
    bool post = !c->stopping && !*posted;
    if (post) {
        *posted = true;
        cluster_work_begin(c);
    }
    (void)pthread_mutex_unlock(&c->lock);
    if (post)
        engine_post_work(c->options.engine, job);
}

/* ---- what tools ask --------------------------------------------------------------------- */

const char *cluster_data_dir(const struct cluster *cluster, int64_t *free_bytes)
{
    uint64_t bytes;
    TAG_CHECK(cluster, CLUSTER_TAG);
    bool known = cluster->io->ops->space(cluster->io, cluster->data_dir, &bytes) >= 0 && bytes <= INT64_MAX;
    *free_bytes = known ? (int64_t)bytes : -1;
    return cluster->data_dir;
}
