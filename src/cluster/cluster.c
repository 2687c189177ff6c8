/*
 * Start and stop of the cluster's part in a broker, the image, coordinators and
 * status.
 *
 * Start: identity, then `__cluster_metadata-0` (everything else follows from it),
 * then the registration of this broker, then strays (only now is it known what is
 * one), then a first reconcile that starts all local partitions. Stop goes the
 * other way: first no new work is taken and the keeper's work of ours runs out,
 * so that nothing is started any more; then the local partitions, which may still
 * want to tell coordinators; then the metadata, which answers what still waits for
 * it; and only when nobody can call us back are the rest answered and all freed.
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
}

static struct image *make_committed(struct cluster *c, struct image *before, void *context)
{
    struct partition_limits defaults = cluster_default_limits(c);
    return image_make(context, before, &defaults);
}

/* Metadata actor's turn. */
static void metadata_changed(void *context, const struct metadata *metadata)
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

static void count_partition(struct cluster_status *status, const struct image_topic *topic, uint32_t p)
{
    struct partition *partition = image_partition(topic, p);
    struct partition_status of = {.state = PARTITION_OPENING};
    if (partition != NULL)
        partition_status(partition, &of);
    status->opening_count += of.state == PARTITION_OPENING;
    if (of.state != PARTITION_FAILED)
        return;
    status->failed_count++;
    if (status->fault_count == CLUSTER_STATUS_FAULTS)
        return;
    (void)snprintf(status->faults[status->fault_count].partition, sizeof status->faults[0].partition, "%s-%u",
                   image_topic_name(topic), p);
    status->faults[status->fault_count++].fault = of.fault;
}

bool cluster_is_local(const struct cluster *c, const struct image_topic *topic, uint32_t p)
{
    uint32_t count;
    const uint32_t *replicas = image_replicas(topic, p, &count);
    for (uint32_t i = 0; i < count; i++)
        if (replicas[i] == c->identity.broker_id)
            return true;
    return false;
}

void cluster_status(struct cluster *cluster, struct cluster_status *status)
{
    struct image *image = cluster_image(cluster);
    memset(status, 0, sizeof *status);
    status->cluster_id = image_cluster_id(image);
    status->broker_id = cluster->identity.broker_id;
    status->controller_id = cluster->identity.broker_id; /* a metadata group of one */
    status->broker_count = (uint32_t)image_broker_count(image);
    for (size_t i = 0; i < image_topic_count(image); i++) {
        const struct image_topic *topic = image_topic_at(image, i);
        status->topic_count += !image_topic_internal(topic);
        for (uint32_t p = 0; p < image_topic_partitions(topic); p++)
            if (cluster_is_local(cluster, topic, p)) {
                status->partition_count += !image_topic_internal(topic);
                count_partition(status, topic, p);
            }
    }
    image_drop(&image);
}

/* ---- starting ---------------------------------------------------------------------------- */

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

/* The metadata partition's thread. */
static void metadata_ready(void *context, struct partition *partition, const struct fault *fault)
{
    struct cluster *c = context;
    (void)partition;
    (void)pthread_mutex_lock(&c->lock);
    c->metadata_ready = true;
    c->metadata_fault = *fault;
    (void)pthread_cond_broadcast(&c->moved);
    (void)pthread_mutex_unlock(&c->lock);
}

/* Keeper. */
static void metadata_stopped(void *context, struct partition *partition)
{
    struct cluster *c = context;
    (void)partition;
    (void)pthread_mutex_lock(&c->lock);
    c->metadata_stopped = true;
    (void)pthread_cond_broadcast(&c->moved);
    (void)pthread_mutex_unlock(&c->lock);
}

static void stop_metadata(struct cluster *c)
{
    if (c->metadata_partition == NULL)
        return;
    partition_stop(c->metadata_partition, KQ_STOPPING, metadata_stopped, c);
    (void)pthread_mutex_lock(&c->lock);
    while (!c->metadata_stopped)
        (void)pthread_cond_wait(&c->moved, &c->lock);
    (void)pthread_mutex_unlock(&c->lock);
    partition_drop(&c->metadata_partition);
}

static enum kq_err start_metadata(struct cluster *c, struct fault *fault)
{
    char path[CLUSTER_PATH_BYTES];
    if (!home_path(path, c->data_dir, CLUSTER_METADATA_TOPIC "-0"))
        return fault_set(fault, KQ_INVALID, "%s: the path is too long", c->data_dir);
    struct partition_limits limits = cluster_default_limits(c);
    limits.segment_bytes = CLUSTER_MACHINE_SEGMENT_BYTES;
    limits.retention_bytes = -1;
    limits.retention_ms = -1;
    struct partition_options options = {.engine = c->options.engine,
                                        .dir = path,
                                        .title = CLUSTER_METADATA_TOPIC "-0",
                                        .topic_id = c->identity.founding.metadata_id,
                                        .partition = 0,
                                        .incarnation = c->identity.incarnation,
                                        .limits = limits,
                                        .machine = metadata_machine(c->metadata),
                                        .ready = metadata_ready,
                                        .context = c};
    enum kq_err err = partition_start(&c->metadata_partition, &options);
    if (err != KQ_OK)
        return fault_set(fault, err, "the metadata's thread cannot be started: %s", err_text(err));
    (void)pthread_mutex_lock(&c->lock);
    while (!c->metadata_ready)
        (void)pthread_cond_wait(&c->moved, &c->lock);
    *fault = c->metadata_fault;
    (void)pthread_mutex_unlock(&c->lock);
    return fault->err;
}

struct registration {
    struct metadata_call call;
    struct cluster *cluster;
};

/* Metadata actor's turn. */
static void registered(struct machine_call *base)
{
    struct registration *r = CONTAINER_OF(base, struct registration, call.call);
    struct cluster *c = r->cluster;
    (void)pthread_mutex_lock(&c->lock);
    c->registered = true;
    (void)pthread_cond_broadcast(&c->moved);
    (void)pthread_mutex_unlock(&c->lock);
}

static bool is_registered(const struct image *image, const struct metadata_broker *self)
{
    struct uuid cluster_id = image_cluster_id(image);
    for (size_t i = 0; i < image_broker_count(image); i++) {
        const struct image_broker *b = image_broker_at(image, i);
        if (b->id == self->id)
            return uuid_equal(&b->incarnation, &self->incarnation) && strcmp(b->host, self->host) == 0 &&
                   b->port == self->port && b->raft_port == self->raft_port && !uuid_is_zero(&cluster_id);
    }
    return false;
}

/* A broker that is registered as it is writes nothing at its start. */
static enum kq_err register_self(struct cluster *c, struct fault *fault)
{
    struct registration r = {
        .cluster = c,
        .call = {.verb = METADATA_REGISTER_BROKER,

                 .cluster_id = c->identity.founding.cluster_id,
                 .call = {.done = registered},
                 .broker = {.id = c->identity.broker_id,
                            .incarnation = c->identity.incarnation,
                            .port = c->options.port,
                            .raft_port = c->options.raft_port}},
    };
    (void)snprintf(r.call.broker.host, sizeof r.call.broker.host, "%s", c->host);
    struct image *image = cluster_image(c);
    bool known = image_broker_count(image) > 0;
    bool done = is_registered(image, &r.call.broker);
    image_drop(&image);
    if (done)
        return KQ_OK;
    partition_call(c->metadata_partition, &r.call.call);
    (void)pthread_mutex_lock(&c->lock);
    while (!c->registered)
        (void)pthread_cond_wait(&c->moved, &c->lock);
    (void)pthread_mutex_unlock(&c->lock);
    if (r.call.call.fault.err == KQ_OK)
        return KQ_OK;
    if (known) { /* on a full disk, say: others find us where we were */
        SAY_WARNING("this broker's address could not be registered: %s", fault_text(&r.call.call.fault));
        return KQ_OK;
    }
    *fault = r.call.call.fault;
    return fault->err;
}

static void wait_until_reconciled(struct cluster *c)
{
    reconcile_post(c);
    (void)pthread_mutex_lock(&c->lock);
    while (c->reconciled_version < image_version(c->image))
        (void)pthread_cond_wait(&c->moved, &c->lock);
    (void)pthread_mutex_unlock(&c->lock);
}

static uint64_t first_session_id(void)
{
    struct uuid id = uuid_random();
    return get_le64(id.bytes) >> 2 | 1;
}

static void free_cluster(struct cluster *c)
{
    image_drop(&c->image);
    metadata_free(&c->metadata);
    map_fini(&c->hosted_by_id);
    map_fini(&c->hosted_by_name);
    home_list_free(&c->found);
    (void)pthread_cond_destroy(&c->moved);
    (void)pthread_mutex_destroy(&c->lock);
    (void)pthread_mutex_destroy(&c->publish_lock);
    free(c->data_dir);
    free(c->host);
    c->tag = TAG_DEAD;
    free(c);
}

/* NULL: out of memory. */
static struct cluster *new_cluster(const struct cluster_options *options)
{
    struct cluster *c = calloc(1, sizeof *c);
    if (c == NULL)
        return NULL;
    c->tag = CLUSTER_TAG;
    c->options = *options;
    c->io = engine_io(options->engine);
    c->data_dir = strdup(options->data_dir);
    c->host = strdup(options->host);
    c->options.data_dir = c->data_dir;
    c->options.host = c->host;
    (void)pthread_mutex_init(&c->publish_lock, NULL);
    (void)pthread_mutex_init(&c->lock, NULL);
    (void)pthread_cond_init(&c->moved, NULL);
    map_init(&c->hosted_by_id);
    map_init(&c->hosted_by_name);
    c->producer_waiting_end = &c->producer_waiting;
    c->reconcile_job.run = reconcile_run;
    c->sweep_job.run = sweep_run;
    c->deadline.fire = requests_fire;
    atomic_init(&c->next_session_id, first_session_id());
    c->metadata = metadata_new(&(struct metadata_options){.changed = metadata_changed, .context = c});
    struct partition_limits defaults = cluster_default_limits(c);
    if (c->metadata != NULL)
        c->image = image_make(c->metadata, NULL, &defaults);
    if (c->data_dir == NULL || c->host == NULL || c->image == NULL) {
        free_cluster(c);
        return NULL;
    }
    return c;
}

/* A cluster of one. */
static enum kq_err found_alone(struct cluster *c, struct fault *fault)
{
    struct founding *f = &c->identity.founding;
    *f = (struct founding){.cluster_id = uuid_random(), .metadata_id = uuid_random(), .count = 1};
    f->members[0] = (struct form_member){.broker_id = c->identity.broker_id,
                                         .incarnation = c->identity.incarnation,
                                         .port = c->options.port,
                                         .raft_port = c->options.raft_port};
    (void)snprintf(f->members[0].host, sizeof f->members[0].host, "%s", c->host);
    return identity_store(c->io, c->data_dir, &c->identity, fault);
}

enum kq_err cluster_start(struct cluster **cluster, const struct cluster_options *options, struct fault *fault)
{
    struct cluster *c = new_cluster(options);
    if (c == NULL)
        return fault_set(fault, KQ_NO_MEMORY, "out of memory for the cluster's state");
    uint32_t broker_id = (uint32_t)options->config->broker_id;
    enum kq_err err = identity_load(c->io, c->data_dir, broker_id, &c->identity, fault);
    if (err == KQ_OK && uuid_is_zero(&c->identity.founding.metadata_id))
        err = found_alone(c, fault);
    if (err == KQ_OK)
        err = sweep_check(c, fault);
    if (err == KQ_OK)
        err = start_metadata(c, fault);
    if (err == KQ_OK)
        err = register_self(c, fault);
    if (err != KQ_OK) {
        cluster_stop(&c);
        return err;
    }
    struct image *image = cluster_image(c);
    sweep_put_aside_strays(c, image);
    image_drop(&image);
    wait_until_reconciled(c);
    *cluster = c;
    return KQ_OK;
}

/* ---- stopping ------------------------------------------------------------------------------ */

static void wait_for_work(struct cluster *c)
{
    (void)pthread_mutex_lock(&c->lock);
    while (c->work_count > 0)
        (void)pthread_cond_wait(&c->moved, &c->lock);
    (void)pthread_mutex_unlock(&c->lock);
}

void cluster_stop(struct cluster **cluster)
{
    struct cluster *c = *cluster;
    *cluster = NULL;
    if (c == NULL)
        return;
    TAG_CHECK(c, CLUSTER_TAG);
    (void)pthread_mutex_lock(&c->lock);
    c->stopping = true;
    (void)pthread_mutex_unlock(&c->lock);
    wait_for_work(c);
    reconcile_stop_all(c);
    (void)pthread_mutex_lock(&c->lock);
    while (c->hosted_by_id.count > 0)
        (void)pthread_cond_wait(&c->moved, &c->lock);
    (void)pthread_mutex_unlock(&c->lock);
    stop_metadata(c);
    wait_for_work(c);
    requests_stop(c);
    engine_cancel_deadline(c->options.engine, &c->deadline);
    REQUIRE(c->steps == NULL);
    free_cluster(c);
}
