/*
 * What lies in the data folder and is not hosted: replicas that metadata does not give
 * to this broker are put aside once, when metadata is known to be current after a start
 * (before, a topic may only not be known yet), and removed a day later; folders of
 * deleted topics are removed in pieces on the keeper. What is neither is left alone,
 * with a line in the log. The file REPLICAS is written anew at that time, where most of
 * what it names is of topics that are deleted.
 */
#include "cluster/cluster_state.h"

#include "base/clock.h"
#include "base/logger.h"
#include "base/require.h"

#include <stdio.h>

/* Folders removed before the keeper looks at other work. */
enum { FOLDERS_A_PIECE = 8 };

enum kq_err sweep_check(struct cluster *c, struct fault *fault)
{
    enum kq_err err = home_list(c->io, c->data_dir, &c->found, &c->found_count, fault);
    if (err != KQ_OK)
        return err;
    bool metadata = false;
    const char *orphan = NULL;
    for (size_t i = 0; i < c->found_count; i++) {
        const char *name = c->found[i];
        struct home_name parsed;
        home_parse(name, &parsed);
        if (parsed.kind == HOME_REPLICA && strcmp(parsed.topic, CLUSTER_METADATA_TOPIC) == 0)
            metadata = true;
        else if (parsed.kind == HOME_REPLICA)
            orphan = name;
        else if (parsed.kind == HOME_FOREIGN)
            SAY_WARNING("%s/%.100s: not the broker's; left alone", c->data_dir, name);
    }
    if (orphan != NULL && !metadata)
        err = fault_set(fault, KQ_CORRUPT,
                        "%s: there are partitions (%.60s) but no " CLUSTER_METADATA_TOPIC
                        "-0, which says what they are; restore it, or start in an empty folder. Nothing was changed",
                        c->data_dir, orphan);
    return err;
}

/* Whether this broker is to hold it, or something of the name still runs here. */
static bool is_known(struct cluster *c, const struct home_name *parsed, const struct image *image)
{
    if (strcmp(parsed->topic, CLUSTER_METADATA_TOPIC) == 0)
        return parsed->partition == 0;
    (void)pthread_mutex_lock(&c->lock);
    const struct hosted *h = map_get(&c->hosted_by_name, parsed->topic, strlen(parsed->topic));
    bool runs = h != NULL &&
                (h->ending || (parsed->partition < h->part_count && h->parts[parsed->partition]->partition != NULL));
    (void)pthread_mutex_unlock(&c->lock);
    const struct image_topic *topic = image_find(image, parsed->topic, strlen(parsed->topic));
    if (runs || topic == NULL || parsed->partition >= image_topic_partitions(topic))
        return runs;
    return replica_wish(c, image, topic, parsed->partition).local;
}

static void put_aside_stray(struct cluster *c, const char *name)
{
    char aside[CLUSTER_PATH_BYTES];
    if (home_put_aside(c->io, c->data_dir, name, "stray", clock_wall_ms(), aside) == KQ_OK)
        SAY_WARNING(
            "%s/%s: no topic of the cluster has this partition on this broker; put aside as %s, and removed at a "
            "start after a day",
            c->data_dir, name, aside);
}

/* A replica that should be here and is not will start empty if nobody else holds it,
 * which is right after a crash while its topic was made, and a loss otherwise. */
static void report_missing(const struct cluster *c, const struct image *image)
{
    struct map found;
    map_init(&found);
    bool complete = true;
    for (size_t i = 0; i < c->found_count; i++)
        complete &= map_put(&found, c->found[i], strlen(c->found[i]), c->found[i], NULL);
    for (size_t i = 0; complete && i < image_topic_count(image); i++) {
        const struct image_topic *topic = image_topic_at(image, i);
        for (uint32_t p = 0; p < image_topic_partitions(topic); p++) {
            char title[CLUSTER_TITLE_BYTES];
            int len = snprintf(title, sizeof title, "%s-%u", image_topic_name(topic), p);
            struct replica_wish wish = replica_wish(c, image, topic, p);
            if (wish.local && wish.alone && map_get(&found, title, (size_t)len) == NULL)
                SAY_WARNING("%s/%s: the partition's folder is not there; it starts empty. That is right if the broker "
                            "stopped while the topic was made; if it held messages, stop the broker and put it back",
                            c->data_dir, title);
        }
    }
    map_fini(&found);
}

void sweep_report_missing(struct cluster *c)
{
    struct image *image = cluster_image(c);
    report_missing(c, image);
    image_drop(&image);
    (void)pthread_mutex_lock(&c->lock);
    c->found_told = true; /* what was found is the keeper's now */
    (void)pthread_mutex_unlock(&c->lock);
    sweep_post(c);
}

/* Keeper. */
static void put_aside_strays(struct cluster *c)
{
    struct image *image = cluster_image(c);
    for (size_t i = 0; i < c->found_count; i++) {
        struct home_name parsed;
        home_parse(c->found[i], &parsed);
        if (parsed.kind == HOME_REPLICA && !is_known(c, &parsed, image))
            put_aside_stray(c, c->found[i]);
    }
    image_drop(&image);
    home_list_free(&c->found);
    c->found_count = 0;
    (void)pthread_mutex_lock(&c->lock);
    c->swept = true;
    (void)pthread_cond_broadcast(&c->moved);
    (void)pthread_mutex_unlock(&c->lock);
}

struct keeping {
    struct cluster *cluster;
    struct image *image;
};

/* Of a topic that is there all notes stay, also those of replicas that others have followed: a
 * start may begin with an image from before that, and must not make an old one anew. */
static bool is_wanted(void *context, const struct note *note)
{
    const struct keeping *k = context;
    return uuid_equal(&note->topic_id, &k->cluster->identity.founding.metadata_id) ||
           image_find_id(k->image, &note->topic_id) != NULL;
}

/* Keeper, as all that is done with the notes. Once after a start, as the strays. */
static void compact_notes(struct cluster *c)
{
    struct keeping k = {.cluster = c, .image = cluster_image(c)};
    struct fault fault;
    uint64_t dropped;
    if (notes_compact(c->notes, is_wanted, &k, &dropped, &fault) != KQ_OK)
        SAY_WARNING("%s", fault_text(&fault));
    else if (dropped > 0)
        SAY_INFO("%s/" NOTES_NAME ": written anew without %llu replicas of deleted topics", c->data_dir,
                 (unsigned long long)dropped);
    image_drop(&k.image);
}

static bool may_go(const char *name, int64_t now_ms)
{
    struct home_name parsed;
    home_parse(name, &parsed);
    return parsed.kind == HOME_DELETED || (parsed.kind == HOME_STRAY && parsed.time_ms < now_ms - HOME_STRAY_KEEP_MS);
}

/* True: there may be more to do. */
static bool remove_piece(struct cluster *c)
{
    char **names;
    size_t count;
    struct fault fault;
    if (home_list(c->io, c->data_dir, &names, &count, &fault) != KQ_OK) {
        SAY_WARNING("%s", fault_text(&fault));
        return false;
    }
    size_t tried = 0;
    size_t failed = 0;
    for (size_t i = 0; i < count && tried < FOLDERS_A_PIECE; i++) {
        char path[CLUSTER_PATH_BYTES];
        if (!may_go(names[i], clock_wall_ms()) || !home_path(path, c->data_dir, names[i]))
            continue;
        tried++;
        failed += home_remove_some(c->io, path, HOME_REMOVE_PIECE) == KQ_IO;
    }
    home_list_free(&names);
    return tried > failed;
}

void sweep_post(struct cluster *c)
{
    (void)pthread_mutex_lock(&c->lock);
    bool post = !c->stopping && !c->sweep_posted;
    if (post) {
        c->sweep_posted = true;
        cluster_work_begin(c);
    }
    (void)pthread_mutex_unlock(&c->lock);
    if (post)
        engine_post_work(c->options.engine, &c->sweep_job);
}

void sweep_run(struct job *job)
{
    struct cluster *c = CONTAINER_OF(job, struct cluster, sweep_job);
    (void)pthread_mutex_lock(&c->lock);
    c->sweep_posted = false;
    bool stopping = c->stopping;
    bool current = c->current && c->found_told;
    (void)pthread_mutex_unlock(&c->lock);
    if (current && !stopping && c->found != NULL) {
        put_aside_strays(c);
        compact_notes(c);
    }
    bool more = !stopping && remove_piece(c);
    if (more)
        sweep_post(c);
    cluster_work_end(c);
}
