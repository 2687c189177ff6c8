/*
 * One local replica: its folder made ready, started, pointed at its target, stopped.
 *
 *    NONE -> OPENING -> SERVING | FAILED -> (stopped) -> NONE
 *    NONE -> LOST -> NONE      its folder was here and is gone: the controller is asked for a
 *                              new replica (duties.c), and what it is called then is made
 *
 * What may be done with a folder:
 *  - none is there: it is made, noted in REPLICAS (all of a run at once), and only then
 *    started, so that from its first vote on it is known to have been here. A founder of
 *    the group starts with the founding configuration; anybody else joins.
 *  - it belongs to another topic, or to a replica of another name than the metadata's: it
 *    is put aside, and a new one is made; that is noted before.
 *  - it is noted and not there, or is empty where another replica of the partition is noted,
 *    too (it may be that one's, and this one may have voted): LOST, if there are others that
 *    can fill a new one. With nobody else it is made empty, which sweep.c has said.
 *
 * All on the keeper's thread, but for `ready`.
 */
#include "cluster/cluster_state.h"

#include "base/clock.h"
#include "base/logger.h"
#include "base/require.h"

#include <stdio.h>
#include <stdlib.h>

/* How long a new group is helped to its first leader. */
enum { FRESH_US = 3 * 1000 * 1000 };

static void lock(struct cluster *c)
{
    (void)pthread_mutex_lock(&c->lock);
}

static void unlock(struct cluster *c)
{
    (void)pthread_mutex_unlock(&c->lock);
}

void replica_title(const struct part *part, char title[CLUSTER_TITLE_BYTES])
{
    (void)snprintf(title, CLUSTER_TITLE_BYTES, "%s-%u", part->hosted->name, part->number);
}

struct replica_wish replica_wish(const struct cluster *c, const struct image *image, const struct image_topic *topic,
                                 uint32_t p)
{
    struct image_holders holders = image_holders(topic, p);
    struct replica_wish wish = {.alone = holders.count == 1};
    const struct image_broker *self = image_find_broker(image, c->identity.broker_id);
    bool registered = self != NULL && uuid_equal(&self->incarnation, &c->identity.incarnation);
    wish.sole_broker = wish.alone ? holders.brokers[0] : 0;
    wish.founder_count = image_founders(topic, p, wish.founders, METADATA_REPLICAS_MAX);
    wish.old = wish.founder_count == 0;
    for (uint32_t i = 0; registered && i < holders.count; i++)
        if (holders.brokers[i] == c->identity.broker_id) {
            wish.local = true;
            wish.mix = holders.mixes[i];
        }
    wish.incarnation = replica_incarnation(&c->identity.incarnation, &wish.mix);
    struct raft_member self_member = {.broker_id = c->identity.broker_id, .incarnation = wish.incarnation};
    for (uint32_t i = 0; i < wish.founder_count; i++)
        wish.founder |= raft_member_equal(&wish.founders[i], &self_member);
    return wish;
}

/* ---- opening ------------------------------------------------------------------------- */

static void mark_failed(struct part *part, const struct fault *fault)
{
    struct cluster *c = part->hosted->cluster;
    struct fault *copy = malloc(sizeof *copy);
    if (copy != NULL)
        *copy = *fault;
    lock(c);
    part->state = PART_FAILED;
    part->failed_us = clock_mono_us();
    free(part->fault);
    part->fault = copy;
    part->hosted->failed_count++;
    unlock(c);
    requests_wake(c);
    duties_post(c);
}

/* A partition's thread. */
static void part_ready(void *context, struct partition *partition, const struct fault *fault)
{
    struct part *part = context;
    struct cluster *c = part->hosted->cluster;
    if (fault->err != KQ_OK) {
        mark_failed(part, fault);
        return;
    }
    lock(c);
    part->state = PART_SERVING;
    bool coordinates = part->group != NULL && !c->stopping;
    unlock(c);
    if (coordinates)
        coordinator_drop_topics(c, partition);
    requests_wake(c);
}

static struct partition_limits limits_for(const struct hosted *h, const struct partition_limits *limits)
{
    struct partition_limits mine = *limits;
    if (h->internal) {
        mine.segment_bytes = CLUSTER_MACHINE_SEGMENT_BYTES;
        mine.retention_bytes = -1;
        mine.retention_ms = -1;
        mine.segment_ms = 0;
    }
    return mine;
}

/* ---- the folder ------------------------------------------------------------------------ */

static struct note note_of(const struct part *part)
{
    return (struct note){.topic_id = part->hosted->id, .partition = part->number, .incarnation = part->incarnation};
}

/* False: it was not noted, and is to be with the next flush. */
static bool note(struct part *part)
{
    struct note n = note_of(part);
    part->noted = notes_has(part->hosted->cluster->notes, &n);
    if (!part->noted)
        (void)notes_add(part->hosted->cluster->notes, &n); /* without memory the flush fails */
    return part->noted;
}

/* Durably, before anything of an earlier replica is touched: should this one not get so far as
 * to write what it votes, the empty folder is known not to be the earlier one's. */
static bool note_now(struct part *part)
{
    struct fault fault;
    if (note(part) || notes_flush(part->hosted->cluster->notes, &fault) == KQ_OK)
        return true;
    SAY_ERROR("%s: what replicas are here could not be noted: %s", part->hosted->name, fault_text(&fault));
    return false;
}

static bool put_aside(struct cluster *c, const char *title, const char *why)
{
    char aside[CLUSTER_PATH_BYTES];
    if (home_put_aside(c->io, c->data_dir, title, "stray", clock_wall_ms(), aside) != KQ_OK)
        return false;
    SAY_WARNING("%s: the folder %s and was put aside as a stray, %s", title, why, aside);
    return true;
}

enum folder { FOLDER_NONE, FOLDER_EMPTY, FOLDER_MINE, FOLDER_UNCLEAR };

static enum folder look_at_folder(struct part *part, const struct replica_wish *wish, const char *path,
                                  const char *title)
{
    struct cluster *c = part->hosted->cluster;
    struct log_hard_state state;
    enum kq_err err = home_hard_state(c->io, path, &state);
    if (err == KQ_NOT_FOUND)
        return home_exists(c->io, path) ? FOLDER_EMPTY : FOLDER_NONE;
    if (err != KQ_OK)
        return FOLDER_UNCLEAR;
    if (!uuid_equal(&state.topic_id, &part->hosted->id))
        return put_aside(c, title, "belonged to another topic") ? FOLDER_NONE : FOLDER_UNCLEAR;
    bool unowned = wish->old && uuid_is_zero(&wish->mix); /* it has a name that nobody was told yet */
    if (!unowned && !uuid_equal(&state.incarnation, &wish->incarnation))
        return note_now(part) && put_aside(c, title, "held an earlier replica of the partition") ? FOLDER_NONE
                                                                                                 : FOLDER_UNCLEAR;
    part->incarnation = state.incarnation;
    return FOLDER_MINE;
}

bool replica_prepare(struct part *part, const struct replica_wish *wish)
{
    struct cluster *c = part->hosted->cluster;
    char path[CLUSTER_PATH_BYTES];
    char title[CLUSTER_TITLE_BYTES];
    replica_title(part, title);
    part->incarnation = wish->incarnation;
    part->noted = false;
    if (!home_path(path, c->data_dir, title))
        return true; /* said when it is started */
    struct note n = note_of(part);
    bool was_noted = notes_has(c->notes, &n);
    enum folder folder = look_at_folder(part, wish, path, title);
    bool founded_alone = wish->old || wish->founder_count == 1;
    bool gone = folder == FOLDER_NONE && (was_noted || (founded_alone && wish->founder));
    /* It was put aside for another, or follows another and never voted: nobody can tell which. */
    gone |= folder == FOLDER_EMPTY && was_noted && notes_has_other(c->notes, &n);
    if (gone && !wish->alone) {
        lock(c);
        part->state = PART_LOST;
        part->failed_us = clock_mono_us();
        unlock(c);
        part->lost_told = false;
        duties_post(c);
        return false;
    }
    bool fresh = wish->founder && !wish->alone && (folder == FOLDER_NONE || folder == FOLDER_EMPTY);
    part->fresh_until_us = fresh ? clock_mono_us() + FRESH_US : 0;
    part->first_broker = fresh ? wish->founders[0].broker_id : 0;
    if (!wish->alone && folder != FOLDER_MINE) /* also where a disk only failed to say what is there */
        (void)c->io->ops->mkdir(c->io, path);  /* what hinders it is said when it is started */
    if (!wish->alone)
        (void)note(part);
    return true;
}

void replica_start(struct part *part, const struct replica_wish *wish, const struct partition_limits *limits)
{
    struct cluster *c = part->hosted->cluster;
    char path[CLUSTER_PATH_BYTES];
    char title[CLUSTER_TITLE_BYTES];
    replica_title(part, title);
    struct fault fault = {.err = KQ_OK};
    bool coordinates = strcmp(part->hosted->name, CLUSTER_OFFSETS_TOPIC) == 0;
    if (coordinates && part->group == NULL)
        part->group = coordinator_new(c, part->number);
    if (coordinates && part->group == NULL)
        (void)fault_set(&fault, KQ_NO_MEMORY, "%s: out of memory", title);
    else if (!home_path(path, c->data_dir, title))
        (void)fault_set(&fault, KQ_INVALID, "%s/%s: the path is too long", c->data_dir, title);
    part->limits = limits_for(part->hosted, limits);
    part->target_count = 0;
    struct partition_options options = {.engine = c->options.engine,
                                        .dir = path,
                                        .title = title,
                                        .topic_id = part->hosted->id,
                                        .partition = part->number,
                                        .incarnation = part->incarnation,
                                        .founders = wish->founder ? wish->founders : NULL,
                                        .founder_count = wish->founder ? wish->founder_count : 0,
                                        .joins = !wish->founder && !wish->alone,
                                        .alone = wish->alone,
                                        .peers = links_partition_peers(c->links),
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

void replica_refuse(struct part *part, const struct fault *fault)
{
    part->noted = false;
    mark_failed(part, fault);
}

/* What is known of the metadata after a start may be from before the replica was moved away. */
void replica_tell_lost(struct part *part)
{
    char title[CLUSTER_TITLE_BYTES];
    replica_title(part, title);
    if (!part->lost_told)
        SAY_ERROR("%s: the partition's folder is gone; a new replica will take its place and be filled by the others",
                  title);
    part->lost_told = true;
}

/* ---- while it runs ------------------------------------------------------------------------ */

/* False: somebody who is to hold it is not known here. */
static bool make_target(const struct image *image, const struct image_holders *holders,
                        struct raft_seat seats[METADATA_REPLICAS_MAX])
{
    for (uint32_t i = 0; i < holders->wanted_count; i++) {
        const struct image_broker *broker = image_find_broker(image, holders->brokers[i]);
        if (broker == NULL)
            return false;
        seats[i] =
            (struct raft_seat){.member = {.broker_id = broker->id,
                                          .incarnation = replica_incarnation(&broker->incarnation, &holders->mixes[i])},
                               .kinds = RAFT_SEAT_VOTER};
    }
    return true;
}

static bool same_seats(const struct raft_seat *a, const struct raft_seat *b, uint32_t count)
{
    bool same = true;
    for (uint32_t i = 0; i < count && same; i++)
        same = raft_member_equal(&a[i].member, &b[i].member) && a[i].kinds == b[i].kinds;
    return same;
}

bool replica_has_target(const struct part *part, const struct image *image, const struct image_topic *topic)
{
    struct image_holders holders = image_holders(topic, part->number);
    struct raft_seat seats[METADATA_REPLICAS_MAX];
    return make_target(image, &holders, seats) && holders.wanted_count == part->target_count &&
           same_seats(seats, part->target, part->target_count);
}

bool replica_is_unowned(const struct part *part, const struct replica_wish *wish)
{
    return wish->old && uuid_is_zero(&wish->mix) && !uuid_equal(&part->incarnation, &wish->incarnation);
}

void replica_follow(struct part *part, struct partition *partition, const struct replica_wish *wish,
                    const struct image *image, const struct image_topic *topic)
{
    struct partition_limits mine = limits_for(part->hosted, image_topic_limits(topic));
    if (!image_same_limits(&mine, &part->limits)) {
        part->limits = mine;
        partition_configure(partition, &mine);
    }
    if (replica_is_unowned(part, wish) || replica_has_target(part, image, topic))
        return;
    struct image_holders holders = image_holders(topic, part->number);
    if (!make_target(image, &holders, part->target))
        return;
    part->target_count = holders.wanted_count;
    partition_set_target(partition, part->target, part->target_count);
}

/* Clients that were told of one leader would have to find another when the preferred one takes over
 * a moment later. One that lives and cannot lead holds the others up for their election timeouts. */
void replica_hurry(struct part *part, int64_t now_us)
{
    static const struct raft_member nobody;
    struct cluster *c = part->hosted->cluster;
    if (now_us >= part->fresh_until_us || part->partition == NULL)
        return;
    if (partition_leader(part->partition, NULL) != 0)
        part->fresh_until_us = 0;
    else if (part->first_broker == c->identity.broker_id || !links_is_alive(c->links, part->first_broker))
        partition_leader_gone(part->partition, &nobody);
}

bool replica_must_be_noted(struct part *part, const struct replica_wish *wish)
{
    if (part->noted || wish->alone || replica_is_unowned(part, wish))
        return false;
    return !note(part);
}

/* ---- stopping ------------------------------------------------------------------------------ */

static struct image *forget_handle(struct cluster *c, struct image *before, void *context)
{
    const struct part *part = context;
    (void)c;
    return image_without_partition(before, &part->hosted->id, part->number);
}

static void forget_links(struct part *part)
{
    struct group_id group = {.topic_id = part->hosted->id, .partition = part->number};
    links_forget(part->hosted->cluster->links, &group);
}

static void deal_with_folder(struct part *part, enum part_end end)
{
    struct cluster *c = part->hosted->cluster;
    char title[CLUSTER_TITLE_BYTES];
    replica_title(part, title);
    if (end == PART_GOES)
        (void)home_put_aside(c->io, c->data_dir, title, "deleted", clock_wall_ms(), NULL);
    else if (end == PART_ASIDE)
        (void)put_aside(c, title, "held a replica that a new one follows");
}

/* Keeper; the partition is closed and its thread joined. */
void replica_stopped(void *context, struct partition *partition)
{
    struct part *part = context;
    struct hosted *h = part->hosted;
    struct cluster *c = h->cluster;
    forget_links(part);
    deal_with_folder(part, h->gone ? PART_GOES : part->end);
    group_machine_free(&part->group);
    lock(c);
    bool ending = h->ending;
    bool gone = part->end == PART_GOES;
    h->failed_count -= part->state == PART_FAILED;
    part->state = ending ? PART_STOPPED : PART_NONE;
    part->partition = NULL;
    part->stop_told = ending;
    part->end = PART_STAYS;
    part->noted = false;
    free(part->fault);
    part->fault = NULL;
    unlock(c);
    partition_drop(&partition);
    if (ending) {
        reconcile_one_stopped(h);
        return;
    }
    if (gone)
        sweep_post(c);
    cluster_publish(c, forget_handle, part); /* its reconcile starts it again, if it is to be here */
}

void replica_stop(struct part *part, enum part_end end)
{
    struct cluster *c = part->hosted->cluster;
    lock(c);
    REQUIRE(part->partition != NULL);
    REQUIRE(!part->stop_told);
    part->stop_told = true;
    part->end = end;
    struct partition *partition = part->partition;
    unlock(c);
    partition_stop(partition, KQ_NOT_LEADER, replica_stopped, part);
}

void replica_try_again(struct part *part)
{
    struct cluster *c = part->hosted->cluster;
    if (part->partition != NULL) {
        replica_stop(part, PART_STAYS);
        return;
    }
    lock(c);
    part->hosted->failed_count--;
    part->state = PART_NONE;
    free(part->fault);
    part->fault = NULL;
    unlock(c);
    cluster_publish(c, forget_handle, part);
}
