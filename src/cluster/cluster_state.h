/*
 * The body of struct cluster, for the files of this folder alone.
 *
 * Who may touch what: `lock` covers what stands below it; it is held for a few
 * instructions; of others' locks only the timer's is taken inside it. `publish_lock`
 * makes image makers take turns (the metadata actor, a reload, a replaced folder);
 * it is held while an image is made, taken before `lock`, and no worker takes it.
 *
 * Who runs what: calls of users on any thread; metadata's `changed` and the
 * answers of its calls on the metadata actor's turn; `ready` on a partition's
 * thread; reconcile, `stopped` and whatever blocks on the disk on the keeper.
 */
#ifndef KQ_CLUSTER_CLUSTER_STATE_H
#define KQ_CLUSTER_CLUSTER_STATE_H

#include "base/map.h"
#include "cluster/cluster.h"
#include "cluster/home.h"
#include "cluster/metadata.h"

#include <pthread.h>

#define CLUSTER_METADATA_TOPIC "__cluster_metadata"

enum {
    CLUSTER_TAG = 0x6b71636c,
    /* Segments of the machines' own partitions, which snapshots keep short. */
    CLUSTER_MACHINE_SEGMENT_BYTES = 4 * 1024 * 1024,
    CLUSTER_TITLE_BYTES = TOPIC_NAME_MAX_BYTES + 16,
};

/* ---- hosted topics (reconcile.c) --------------------------------------------------- */

enum part_state { PART_NONE, PART_OPENING, PART_SERVING, PART_FAILED, PART_STOPPED };

struct part {
    struct hosted *hosted;
    uint32_t number;
    enum part_state state;
    bool local;    /* a replica is to be here */
    bool replaced; /* its folder belonged to another topic and was put aside once */
    bool stop_told;
    struct partition *partition;    /* with a reference; NULL: not started */
    struct group_machine *group;    /* of a coordinator */
    struct partition_limits limits; /* keeper: as it was started or configured last */
    struct fault *fault;            /* FAILED */
};

/* A topic whose partitions are here, from its first start until its folders are
 * gone or the cluster stops. */
struct hosted {
    struct cluster *cluster;
    struct uuid id;
    char name[TOPIC_NAME_MAX_BYTES + 1];
    bool internal;
    bool ending; /* its partitions are told to stop */
    bool gone;   /* not in the metadata: its folders go too */
    uint32_t part_count;
    uint32_t local_count; /* of these have a replica here */
    uint32_t serving_count;
    uint32_t failed_count;
    uint32_t stop_left;    /* ending: so many are not stopped yet */
    uint64_t seen_version; /* of the image that named it last */
    struct part parts[];
};

/* ---- steps: requests on their way (requests.c) --------------------------------------- */

enum step_state {
    STEP_CALL,     /* the metadata is asked */
    STEP_READY,    /* a new topic's partitions open */
    STEP_ROLLBACK, /* they could not; the topic is being deleted again */
    STEP_GONE,     /* a deleted topic leaves the image */
};

struct step {
    struct cluster *cluster;
    struct cluster_request *request; /* NULL: answered already */
    struct step *next, *prev;
    enum step_state state;
    bool calling; /* `call` is the metadata's at present */
    bool created; /* by this request */
    int64_t due_us;
    struct metadata_call call;
    char *topic, *key, *value; /* the call's */
    struct fault fault;        /* what to answer after ROLLBACK */
};

/* ---- the cluster ------------------------------------------------------------------------ */

struct cluster {
    uint32_t tag;
    struct cluster_options options;
    char *data_dir;
    char *host;
    struct io *io;
    struct identity identity;
    char **found; /* main thread, during start: what lay in the data folder before */
    size_t found_count;
    struct metadata *metadata;
    struct partition *metadata_partition;
    struct job reconcile_job;
    struct job sweep_job;
    struct engine_deadline deadline; /* of the step that is due first */
    _Atomic uint64_t next_session_id;

    pthread_mutex_t publish_lock;

    pthread_mutex_t lock;
    pthread_cond_t moved; /* for start and stop, which wait on the main thread */
    struct image *image;
    struct map hosted_by_id;
    struct map hosted_by_name; /* who has the folders of this name */
    struct step *steps;
    struct cluster_request *producer_waiting; /* oldest first */
    struct cluster_request **producer_waiting_end;
    bool producer_calling;
    struct metadata_call producer_call; /* the metadata's while producer_calling */
    int64_t producer_next;
    int64_t producer_end;
    bool stopping;
    bool reconcile_posted;
    bool sweep_posted;
    uint64_t reconciled_version; /* the image whose topics are all started */
    uint32_t work_count;         /* jobs on the keeper, calls under way */
    bool metadata_ready;
    struct fault metadata_fault;
    bool metadata_stopped;
    bool registered;
};

/* ---- cluster.c ----------------------------------------------------------------------------- */

/* Any thread. Makes the image of what is committed now the present one. */
void cluster_publish(struct cluster *c, struct image *(*make)(struct cluster *c, struct image *before, void *context),
                     void *context);
struct partition_limits cluster_default_limits(const struct cluster *c);
/* Whether this broker is to hold partition p. */
bool cluster_is_local(const struct cluster *c, const struct image_topic *topic, uint32_t p);
/* Something that start or stop waits for. With the lock held. */
void cluster_work_begin(struct cluster *c);
void cluster_work_end(struct cluster *c);

/* ---- reconcile.c ------------------------------------------------------------------------------ */

/* Any thread. The local partitions are brought in line with the present image. */
void reconcile_post(struct cluster *c);
/* Keeper. The job behind it. */
void reconcile_run(struct job *job);
/* Main thread, at stop, when no reconcile runs. All partitions begin to stop. */
void reconcile_stop_all(struct cluster *c);
/* Lock held. */
struct hosted *reconcile_find(const struct cluster *c, const struct uuid *topic_id);

/* ---- coordinators.c -------------------------------------------------------------------------------- */

/* Keeper. NULL: out of memory. */
struct group_machine *coordinator_new(struct cluster *c, uint32_t number);
/* Any thread, without the lock. The coordinator forgets topics that are gone. */
void coordinator_drop_topics(struct cluster *c, struct partition *coordinator);
void coordinator_drop_topics_everywhere(struct cluster *c);

/* ---- sweep.c -------------------------------------------------------------------------------------- */

/* Main thread, at start, before anything runs. Looks what lies in the folder;
 * refuses one whose replicas have lost their metadata. */
enum kq_err sweep_check(struct cluster *c, struct fault *fault);
/* Main thread, at start, when the image is current. Replicas that it does not know
 * are put aside. */
void sweep_put_aside_strays(struct cluster *c, const struct image *image);
/* Any thread. Removes what was put aside and may go. */
void sweep_post(struct cluster *c);
/* Keeper. The job behind it. */
void sweep_run(struct job *job);

/* ---- requests.c --------------------------------------------------------------------------------- */

/* Any thread, without the lock. Steps whose wait is over are answered. */
void requests_wake(struct cluster *c);
/* Timer. */
void requests_fire(struct engine_deadline *deadline);
/* Main thread, at stop. Everything that waits is answered KQ_STOPPING. */
void requests_stop(struct cluster *c);

/* ---- producer_ids.c ------------------------------------------------------------------------------ */

/* Metadata actor's turn. */
void producer_ids_block_done(struct machine_call *base);
/* Main thread, at stop. */
void producer_ids_stop(struct cluster *c);

#endif
