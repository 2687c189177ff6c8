/*
 * Start and stop of the cluster's part in a broker.
 *
 * Start: identity; in an empty folder a cluster is formed, joined, or founded alone; then
 * the links, since replicas need their peers; `__cluster_metadata-0`, from which
 * everything else follows; the registration of this broker, which a broker that knows
 * its metadata does not wait for (duties.c goes on with it); a first reconcile that
 * starts all local replicas.
 *
 * Stop goes the other way: first no new work is taken and the keeper's work of ours runs
 * out, so that nothing is started any more; then the users' partitions, the coordinators
 * that they may still want to tell things, and the metadata, each handing its leadership
 * over while the links are still there; then the links; and only when nobody can call us
 * back are the rest answered and all freed.
 */
#include "cluster/cluster_state.h"

#include "base/clock.h"
#include "base/logger.h"
#include "base/require.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum {
    LOOK_MS = 50, /* how often a wait asks whether it is to end */
    REGISTRATION_WAIT_US = 10 * 1000 * 1000,
    TWIN_WAIT_US = 8 * 1000 * 1000, /* another incarnation of this broker may be found dead in this time */
    GROUPS_PART_OF_MEMORY = 8,      /* of memory.max, and on top of it: Kafka members and what they wait with */
};

static bool is_interrupted(const struct cluster *c)
{
    return c->options.interrupted != NULL && c->options.interrupted(c->options.context);
}

/* ---- the founding ------------------------------------------------------------------------ */

static struct form_member self_member(const struct cluster *c)
{
    struct form_member m = {.broker_id = c->identity.broker_id,
                            .incarnation = c->identity.incarnation,
                            .port = c->options.port,
                            .raft_port = c->options.raft_port};
    (void)snprintf(m.host, sizeof m.host, "%s", c->host);
    return m;
}

/* A cluster of one. */
static enum kq_err found_alone(struct cluster *c, struct fault *fault)
{
    struct founding *f = &c->identity.founding;
    *f = (struct founding){.cluster_id = uuid_random(), .metadata_id = uuid_random(), .count = 1};
    f->members[0] = self_member(c);
    return identity_store(c->io, c->data_dir, &c->identity, fault);
}

static enum kq_err find_cluster(struct cluster *c, struct fault *fault)
{
    struct peer_list list;
    enum kq_err err = peers_parse(c->options.config->peers, &list, fault);
    if (err != KQ_OK)
        return err;
    c->contacts = list;
    if (!uuid_is_zero(&c->identity.founding.metadata_id))
        return KQ_OK;
    return list.count == 0 ? found_alone(c, fault) : forming_run(c, &list, fault);
}

/* ---- the metadata's replica ----------------------------------------------------------------- */

/* The metadata partition's thread. */
static void metadata_ready(void *context, struct partition *partition, const struct fault *fault)
{
    struct cluster *c = context;
    struct partition_status status;
    partition_status(partition, &status);
    (void)pthread_mutex_lock(&c->lock);
    c->metadata_ready = true;
    c->metadata_fault = *fault;
    c->floor_off = status.high_watermark > 0 ? (uint64_t)status.high_watermark : 0;
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
}

static void drop_metadata(struct cluster *c)
{
    struct partition *partition = c->metadata_partition;
    c->metadata_partition = NULL;
    if (partition != NULL)
        partition_drop(&partition);
}

static struct note metadata_note(const struct cluster *c)
{
    return (struct note){.topic_id = c->identity.founding.metadata_id, .incarnation = c->identity.incarnation};
}

/* A replica of the metadata that was here must not come back empty: it has voted. */
static enum kq_err check_metadata_folder(struct cluster *c, const char *path, struct fault *fault)
{
    struct note n = metadata_note(c);
    if (!notes_has(c->notes, &n) || home_exists(c->io, path))
        return KQ_OK;
    return fault_set(fault, KQ_CORRUPT,
                     "%.160s: the broker's replica of the metadata is gone, and it must not start without; restore it, "
                     "or move all of the broker's folder away and start again with --peers: it joins as new, and the "
                     "others fill it. Nothing was changed",
                     path);
}

static enum kq_err note_metadata(struct cluster *c, const char *path, struct fault *fault)
{
    struct note n = metadata_note(c);
    bool several = c->identity.joined || c->identity.founding.count > 1;
    if (!several || notes_has(c->notes, &n))
        return KQ_OK;
    (void)c->io->ops->mkdir(c->io, path); /* what hinders it is said when it is opened */
    (void)notes_add(c->notes, &n);
    return notes_flush(c->notes, fault);
}

/* What is wrong was said where it was found; here, what is to be done about it. */
static void say_what_to_do(const struct cluster *c, struct fault *fault)
{
    if (fault->err != KQ_CORRUPT && fault->err != KQ_NOT_FOUND)
        return;
    bool several = c->identity.joined || c->identity.founding.count > 1;
    if (several)
        (void)fault_set(fault, fault->err,
                        "this broker's metadata is damaged (the line before says where). While most of the other "
                        "brokers run, move all of %.120s away and start again with --peers: it joins as new, and they "
                        "fill it. Only what it held as the sole replica is lost then",
                        c->data_dir);
    else
        (void)fault_set(fault, fault->err,
                        "this broker's metadata, the list of its topics, is damaged (the line before says where), and "
                        "there is no other copy if it is alone: restore %.100s/" CLUSTER_METADATA_TOPIC "-0 from a "
                        "backup, or run `kafkaesque log repair` on it: topics that were made last may then be unknown",
                        c->data_dir);
}

static enum kq_err open_metadata(struct cluster *c, const struct partition_peers *peers, struct fault *fault)
{
    char path[CLUSTER_PATH_BYTES];
    if (!home_path(path, c->data_dir, CLUSTER_METADATA_TOPIC "-0"))
        return fault_set(fault, KQ_INVALID, "%s: the path is too long", c->data_dir);
    enum kq_err err = check_metadata_folder(c, path, fault);
    if (err == KQ_OK)
        err = note_metadata(c, path, fault);
    if (err != KQ_OK)
        return err;
    const struct founding *f = &c->identity.founding;
    struct raft_member founders[FORM_MEMBERS_MAX];
    for (uint32_t i = 0; i < f->count; i++)
        founders[i] =
            (struct raft_member){.broker_id = f->members[i].broker_id, .incarnation = f->members[i].incarnation};
    struct partition_limits limits = cluster_default_limits(c);
    limits.segment_bytes = CLUSTER_MACHINE_SEGMENT_BYTES;
    limits.retention_bytes = -1;
    limits.retention_ms = -1;
    struct partition_options options = {.engine = c->options.engine,
                                        .dir = path,
                                        .title = CLUSTER_METADATA_TOPIC "-0",
                                        .topic_id = f->metadata_id,
                                        .partition = 0,
                                        .incarnation = c->identity.incarnation,
                                        .founders = c->identity.joined ? NULL : founders,
                                        .founder_count = c->identity.joined ? 0 : f->count,
                                        .joins = c->identity.joined,
                                        .alone = !c->identity.joined && f->count <= 1, /* as far as is known here */
                                        .peers = peers,
                                        .limits = limits,
                                        .machine = metadata_machine(c->metadata),
                                        .ready = metadata_ready,
                                        .context = c};
    c->metadata_ready = false;
    struct partition *partition = NULL;
    err = partition_start(&partition, &options);
    if (err != KQ_OK)
        return fault_set(fault, err, "the metadata's thread cannot be started: %s", err_text(err));
    c->metadata_partition = partition;
    (void)pthread_mutex_lock(&c->lock);
    while (!c->metadata_ready)
        (void)pthread_cond_wait(&c->moved, &c->lock);
    *fault = c->metadata_fault;
    (void)pthread_mutex_unlock(&c->lock);
    say_what_to_do(c, fault);
    return fault->err;
}

/* An identity from before clusters: its cluster's id is in the metadata alone, and the
 * links want to know it. Looks, and leaves everything as it was. */
static enum kq_err adopt_old_identity(struct cluster *c, struct fault *fault)
{
    enum kq_err err = open_metadata(c, NULL, fault);
    struct image *image = cluster_image(c);
    struct uuid cluster_id = image_cluster_id(image);
    image_drop(&image);
    stop_metadata(c);
    drop_metadata(c);
    c->metadata_stopped = false;
    if (err != KQ_OK)
        return err;
    metadata_free(&c->metadata);
    c->metadata = metadata_new(&(struct metadata_options){.changed = cluster_metadata_changed, .context = c});
    if (c->metadata == NULL)
        return fault_set(fault, KQ_NO_MEMORY, "out of memory for the cluster's state");
    c->identity.founding.cluster_id = uuid_is_zero(&cluster_id) ? uuid_random() : cluster_id;
    c->identity.founding.members[0] = self_member(c);
    struct fault unwritten;
    if (identity_store(c->io, c->data_dir, &c->identity, &unwritten) != KQ_OK) /* found again at the next start */
        SAY_WARNING("%s", fault_text(&unwritten));
    return KQ_OK;
}

/* ---- links -------------------------------------------------------------------------------------- */

static struct partition *find_replica(void *context, const struct group_id *group)
{
    return cluster_find_replica(context, group);
}

static void peer_changed(void *context, uint32_t broker_id, bool alive)
{
    struct cluster *c = context;
    controller_peer_changed(c, alive);
    if (!alive)
        coordinator_broker_gone_everywhere(c, broker_id);
    calls_leader_changed(c);
    requests_wake(c);
    duties_post(c);
}

/* A coordinator that leads from now on forgets topics that went while it did not. */
static void coordinate(struct cluster *c, const struct group_id *group)
{
    struct partition *coordinator = NULL;
    (void)pthread_mutex_lock(&c->lock);
    const struct hosted *h = reconcile_find(c, &group->topic_id);
    if (h != NULL && group->partition < h->part_count && h->parts[group->partition]->group != NULL && !c->stopping &&
        h->parts[group->partition]->partition != NULL)
        coordinator = partition_hold(h->parts[group->partition]->partition);
    (void)pthread_mutex_unlock(&c->lock);
    if (coordinator == NULL)
        return;
    coordinator_drop_topics(c, coordinator);
    partition_drop(&coordinator);
}

static void leader_changed(void *context, const struct group_id *group, uint32_t broker_id, uint64_t term)
{
    struct cluster *c = context;
    (void)term;
    if (uuid_equal(&group->topic_id, &c->identity.founding.metadata_id)) {
        calls_leader_changed(c);
        catch_up_wake(c);
        duties_post(c);
        return;
    }
    if (broker_id == c->identity.broker_id)
        coordinate(c, group);
    requests_wake(c);
    if (c->options.leader_changed != NULL)
        c->options.leader_changed(c->options.context, &group->topic_id, group->partition);
}

static enum kq_err start_links(struct cluster *c, struct fault *fault)
{
    struct links_options options = {.engine = c->options.engine,
                                    .config = c->options.config,
                                    .self = {.broker_id = c->identity.broker_id,
                                             .incarnation = c->identity.incarnation,
                                             .cluster_id = c->identity.founding.cluster_id,
                                             .boot = c->identity.boot},
                                    .listen_fd = c->options.listen_fd,
                                    .context = c,
                                    .find = find_replica,
                                    .peer_changed = peer_changed,
                                    .leader_changed = leader_changed,
                                    .stalled = stalled_told,
                                    .form = forming_answer};
    struct links *links = NULL;
    enum kq_err err = links_start(&links, &options, fault);
    c->options.listen_fd = -1; /* the links' in any case */
    c->links = links;
    return err;
}

/* When the metadata is open: its group is asked, and its leader's calls are answered. */
static void serve(struct cluster *c)
{
    links_serve(c->links, ASK_METADATA, calls_serve, c);
    links_serve(c->links, ASK_TRANSFER, orders_serve_transfer, c);
    links_serve(c->links, ASK_STATUS, survey_serve, c);
    links_serve(c->links, ASK_QUORUM, quorum_serve, c);
}

/* ---- registration --------------------------------------------------------------------------------- */

/* Lock held. Waits for a change, but not for long. */
static void wait_a_moment(struct cluster *c)
{
    struct timespec until;
    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += LOOK_MS * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    (void)pthread_cond_timedwait(&c->moved, &c->lock, &until);
}

/* A broker that the metadata does not know yet has nothing to serve: it waits until it is
 * registered, but not for ever. A known one goes on at once. */
static enum kq_err wait_until_registered(struct cluster *c, struct fault *fault)
{
    duties_post(c);
    int64_t begin_us = clock_mono_us();
    bool alone = cluster_is_alone(c);
    enum kq_err err = KQ_OK;
    (void)pthread_mutex_lock(&c->lock);
    while (!c->registered && err == KQ_OK) {
        const struct image_broker *self = image_find_broker(c->image, c->identity.broker_id);
        bool known = self != NULL && uuid_equal(&self->incarnation, &c->identity.incarnation);
        int64_t waited_us = clock_mono_us() - begin_us;
        if (known && !alone)
            break;
        bool twin = c->registration_fault.err == KQ_EXISTS && waited_us > TWIN_WAIT_US;
        bool removed = c->registration_fault.err == KQ_INVALID;
        if (c->registration_fault.err != KQ_OK && (alone || twin || removed)) {
            *fault = c->registration_fault;
            err = known ? KQ_OK : fault->err; /* on a full disk, say: others find us where we were */
            break;
        }
        if (waited_us > REGISTRATION_WAIT_US) {
            SAY_WARNING("not registered with the cluster yet: no majority of its brokers can be reached; going on");
            break;
        }
        wait_a_moment(c);
        (void)pthread_mutex_unlock(&c->lock);
        if (is_interrupted(c))
            err = fault_set(fault, KQ_STOPPING, "stopped while it waited to be registered with the cluster");
        (void)pthread_mutex_lock(&c->lock);
    }
    (void)pthread_mutex_unlock(&c->lock);
    return err;
}

/* A cluster of one knows what is a stray before it starts anything. */
static void wait_until_swept(struct cluster *c)
{
    sweep_report_missing(c);
    duties_post(c);
    bool alone = cluster_is_alone(c);
    (void)pthread_mutex_lock(&c->lock);
    while (alone && c->registered && !c->swept)
        (void)pthread_cond_wait(&c->moved, &c->lock);
    (void)pthread_mutex_unlock(&c->lock);
}

static void wait_until_reconciled(struct cluster *c)
{
    reconcile_post(c);
    (void)pthread_mutex_lock(&c->lock);
    while (c->reconciled_version < image_version(c->image))
        (void)pthread_cond_wait(&c->moved, &c->lock);
    (void)pthread_mutex_unlock(&c->lock);
}

/* ---- start ------------------------------------------------------------------------------------------ */

static uint64_t first_session_id(void)
{
    struct uuid id = uuid_random();
    return get_le64(id.bytes) >> 2 | 1;
}

static void free_cluster(struct cluster *c)
{
    if (c->options.listen_fd >= 0)
        (void)close(c->options.listen_fd);
    image_drop(&c->image);
    metadata_free(&c->metadata);
    notes_close(&c->notes);
    map_fini(&c->hosted_by_id);
    map_fini(&c->hosted_by_name);
    home_list_free(&c->found);
    free(c->duties.peers);
    (void)pthread_cond_destroy(&c->moved);
    (void)pthread_mutex_destroy(&c->lock);
    (void)pthread_mutex_destroy(&c->publish_lock);
    free(c->data_dir);
    free(c->host);
    free(c->kafka_host);
    c->tag = TAG_DEAD;
    free(c);
}

static void prepare_jobs(struct cluster *c)
{
    c->reconcile_job.run = reconcile_run;
    c->sweep_job.run = sweep_run;
    c->duties_job.run = duties_run;
    c->deadline.fire = requests_fire;
    c->calls_deadline.fire = calls_fire;
    c->catch_up_deadline.fire = catch_up_fire;
    c->duties_deadline.fire = duties_fire;
}

/* NULL: out of memory. */
static struct cluster *new_cluster(const struct cluster_options *options)
{
    struct cluster *c = calloc(1, sizeof *c);
    if (c == NULL)
        return NULL;
    c->tag = CLUSTER_TAG;
    c->options = *options;
    account_init(&c->groups_memory, options->config->memory_max_bytes / GROUPS_PART_OF_MEMORY);
    c->io = engine_io(options->engine);
    c->data_dir = strdup(options->data_dir);
    c->host = strdup(options->host);
    c->kafka_host = strdup(options->kafka_host == NULL ? "" : options->kafka_host);
    c->options.data_dir = c->data_dir;
    c->options.host = c->host;
    c->options.kafka_host = c->kafka_host;
    (void)pthread_mutex_init(&c->publish_lock, NULL);
    (void)pthread_mutex_init(&c->lock, NULL);
    (void)pthread_cond_init(&c->moved, NULL);
    map_init(&c->hosted_by_id);
    map_init(&c->hosted_by_name);
    c->producer_waiting_end = &c->producer_waiting;
    prepare_jobs(c);
    atomic_init(&c->next_session_id, first_session_id());
    c->metadata = metadata_new(&(struct metadata_options){.changed = cluster_metadata_changed, .context = c});
    struct partition_limits defaults = cluster_default_limits(c);
    if (c->metadata != NULL)
        c->image = image_make(c->metadata, NULL, &defaults);
    if (c->data_dir == NULL || c->host == NULL || c->kafka_host == NULL || c->image == NULL) {
        free_cluster(c);
        return NULL;
    }
    return c;
}

static enum kq_err start_parts(struct cluster *c, struct fault *fault)
{
    enum kq_err err = identity_load(c->io, c->data_dir, (uint32_t)c->options.config->broker_id, &c->identity, fault);
    if (err == KQ_OK)
        err = sweep_check(c, fault);
    if (err == KQ_OK)
        err = notes_open(&c->notes, c->io, c->data_dir, fault);
    if (err == KQ_OK)
        err = find_cluster(c, fault);
    if (err == KQ_OK && uuid_is_zero(&c->identity.founding.cluster_id))
        err = adopt_old_identity(c, fault);
    if (err == KQ_OK)
        err = start_links(c, fault);
    if (err == KQ_OK)
        duties_post(c); /* who the peers are */
    if (err == KQ_OK)
        err = open_metadata(c, links_partition_peers(c->links), fault);
    if (err == KQ_OK) {
        serve(c);
        err = wait_until_registered(c, fault);
    }
    return err;
}

enum kq_err cluster_start(struct cluster **cluster, const struct cluster_options *options, struct fault *fault)
{
    struct cluster *c = new_cluster(options);
    if (c == NULL)
        return fault_set(fault, KQ_NO_MEMORY, "out of memory for the cluster's state");
    enum kq_err err = start_parts(c, fault);
    if (err != KQ_OK) {
        cluster_stop(&c);
        return err;
    }
    wait_until_swept(c);
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

static void wait_for_calls(struct cluster *c)
{
    (void)pthread_mutex_lock(&c->lock);
    while (c->call_count > 0)
        (void)pthread_cond_wait(&c->moved, &c->lock);
    (void)pthread_mutex_unlock(&c->lock);
}

static bool any_hosted(const struct cluster *c, bool internal)
{
    struct map_walk w;
    for (map_walk_init(&w, &c->hosted_by_id); map_walk_next(&w);)
        if (internal || !((struct hosted *)w.value)->internal)
            return true;
    return false;
}

static void stop_replicas(struct cluster *c, bool internal)
{
    reconcile_stop_all(c, internal);
    (void)pthread_mutex_lock(&c->lock);
    while (any_hosted(c, internal))
        (void)pthread_cond_wait(&c->moved, &c->lock);
    (void)pthread_mutex_unlock(&c->lock);
}

void cluster_stop(struct cluster **cluster)
{
    struct cluster *c = *cluster; /* whoever answers other brokers goes through it until the links have ended */
    if (c == NULL)
        return;
    TAG_CHECK(c, CLUSTER_TAG);
    (void)pthread_mutex_lock(&c->lock);
    c->stopping = true;
    (void)pthread_mutex_unlock(&c->lock);
    wait_for_work(c);
    stop_replicas(c, false);
    stop_replicas(c, true);
    stop_metadata(c);
    engine_cancel_deadline(c->options.engine, &c->calls_deadline); /* nobody sets them again: it stops */
    engine_cancel_deadline(c->options.engine, &c->catch_up_deadline);
    engine_cancel_deadline(c->options.engine, &c->duties_deadline);
    struct links *links = c->links;
    if (links != NULL)
        links_stop(&links);
    c->links = NULL;
    calls_stop(c);
    catch_up_stop(c);
    requests_stop(c);
    wait_for_calls(c);
    wait_for_work(c);
    engine_cancel_deadline(c->options.engine, &c->deadline);
    drop_metadata(c);
    REQUIRE(c->steps == NULL);
    free_cluster(c);
    *cluster = NULL;
}
