/*
 * What lies in the data folder and is not hosted: replicas that metadata does not
 * know are put aside at start, once metadata is current, and removed a day later;
 * folders of deleted topics are removed in pieces on the keeper. What is neither
 * is left alone, with a line in the log.
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

static bool is_known(const struct home_name *parsed, const struct image *image)
{
    if (strcmp(parsed->topic, CLUSTER_METADATA_TOPIC) == 0)
        return parsed->partition == 0;
    const struct image_topic *topic = image_find(image, parsed->topic, strlen(parsed->topic));
    return topic != NULL && parsed->partition < image_topic_partitions(topic);
}

static void put_aside_stray(struct cluster *c, const char *name)
{
    char aside[CLUSTER_PATH_BYTES];
    if (home_put_aside(c->io, c->data_dir, name, "stray", clock_wall_ms(), aside) == KQ_OK)
        SAY_WARNING("%s/%s: no topic of the cluster has this partition; put aside as %s, and removed at a start after "
                    "a day",
                    c->data_dir, name, aside);
}

/* A replica that should be here and is not will start empty, which is right after
 * a crash while its topic was made, and a loss otherwise. */
static void report_missing(const struct cluster *c, const struct image *image, const struct map *found)
{
    for (size_t i = 0; i < image_topic_count(image); i++) {
        const struct image_topic *topic = image_topic_at(image, i);
        for (uint32_t p = 0; p < image_topic_partitions(topic); p++) {
            char title[CLUSTER_TITLE_BYTES];
            int len = snprintf(title, sizeof title, "%s-%u", image_topic_name(topic), p);
            if (cluster_is_local(c, topic, p) && map_get(found, title, (size_t)len) == NULL)
                SAY_WARNING("%s/%s: the partition's folder is not there; it starts empty. That is right if the broker "
                            "stopped while the topic was made; if it held messages, stop the broker and put it back",
                            c->data_dir, title);
        }
    }
}

void sweep_put_aside_strays(struct cluster *c, const struct image *image)
{
    struct map found;
    map_init(&found);
    bool removable = false;
    bool complete = true;
    for (size_t i = 0; i < c->found_count; i++) {
        char *name = c->found[i];
        struct home_name parsed;
        home_parse(name, &parsed);
        removable |= parsed.kind == HOME_STRAY || parsed.kind == HOME_DELETED;
        if (parsed.kind != HOME_REPLICA)
            continue;
        if (is_known(&parsed, image))
            complete &= map_put(&found, name, strlen(name), name, NULL);
        else
            put_aside_stray(c, name);
    }
    if (complete)
        report_missing(c, image, &found);
    map_fini(&found);
    home_list_free(&c->found);
    c->found_count = 0;
    if (removable)
        sweep_post(c);
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
    (void)pthread_mutex_unlock(&c->lock);
    bool more = !stopping && remove_piece(c);
    if (more)
        sweep_post(c);
    cluster_work_end(c);
}
