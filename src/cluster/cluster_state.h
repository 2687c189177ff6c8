/*
 * The body of struct cluster, for the files of this folder alone.
 *
 * Who may touch what: `lock` covers what stands below it; it is held for a few
 * instructions; of others' locks the timer's, a partition's face and the links' (tables of
 * who leads and who lives) are taken inside it: none of them calls out while held. `publish_lock`
 * makes image makers take turns (the metadata actor, a reload, a replaced folder);
 * it is held while an image is made, taken before `lock`, and no worker takes it.
 *
 * Who runs what: calls of users on any thread; metadata's `changed` and the
 * answers of its calls on the metadata actor's turn; `ready` on a partition's
 * thread; reconcile, `stopped` and whatever blocks on the disk on the keeper.
 */
#ifndef KQ_CLUSTER_CLUSTER_STATE_H
#define KQ_CLUSTER_CLUSTER_STATE_H

#include "base/account.h"
#include "base/map.h"
#include "cluster/calls.h"
#include "cluster/cluster.h"
#include "cluster/home.h"
#include "cluster/links.h"
#include "cluster/metadata.h"
#include "cluster/notes.h"
#include "cluster/peers.h"

#include <pthread.h>

#define CLUSTER_METADATA_TOPIC "__cluster_metadata"

enum {
    CLUSTER_TAG = 0x6b71636c,
    /* Segments of the machines' own partitions, which snapshots keep short. */
    CLUSTER_MACHINE_SEGMENT_BYTES = 4 * 1024 * 1024,
    CLUSTER_TITLE_BYTES = TOPIC_NAME_MAX_BYTES + 16,
};

/* ---- hosted topics (reconcile.c, replica.c) ------------------------------------------ */

enum part_state {
    PART_NONE,
    PART_OPENING,
    PART_SERVING,
    PART_FAILED,
    PART_LOST, /* its folder was there once and is not any more: to be replaced by a new replica */
    PART_STOPPED,
};

/* What becomes of the folder of a replica that is stopped. */
enum part_end { PART_STAYS, PART_ASIDE, PART_GOES };

/* A replica elsewhere that takes nothing, as the leader here was told (stalled.c). */
struct stalled {
    struct stalled *next;
    uint32_t broker;
    struct uuid incarnation; /* of the replica that was told of last */
    int64_t since_us;
    int64_t told_us;
    int64_t reported_us; /* 0: not yet */
};

struct part {
    struct hosted *hosted;
    uint32_t number;
    enum part_state state;
    enum part_end end;    /* told to stop: what for */
    bool stop_told;       /* of `partition` */
    bool local;           /* a replica is to be here */
    bool noted;           /* in REPLICAS, as it is now */
    bool reporting;       /* a question about it is under way (duties.c) */
    uint32_t sole_broker; /* nobody else holds it; 0: several do */
    int64_t failed_us;
    int64_t fresh_until_us;         /* keeper: made just now; whoever is first among its replicas is to lead at once */
    uint32_t first_broker;          /* keeper: that one */
    struct partition *partition;    /* with a reference; NULL: not started */
    struct group_machine *group;    /* of a coordinator */
    struct uuid incarnation;        /* of the replica, as it was started */
    struct partition_limits limits; /* keeper: as it was started or configured last */
    struct raft_seat target[METADATA_REPLICAS_MAX]; /* keeper: as told last */
    uint32_t target_count;
    struct fault *fault;     /* FAILED */
    struct stalled *stalled; /* others' replicas; lock */
    int64_t leaderless_us;   /* keeper (lost.c): since then; 0: it has a leader */
    uint64_t loss_version;   /* keeper: of the image with which it was looked why; 0: not yet */
    bool lost;               /* lock: and it can never have one again */
    bool lost_told;          /* keeper: LOST, and the operator knows */
};

/* A topic, from its first sight until its folders are gone or the cluster stops; also
 * one without replicas here. */
struct hosted {
    struct cluster *cluster;
    struct uuid id;
    char name[TOPIC_NAME_MAX_BYTES + 1];
    bool internal;
    bool ending;         /* its partitions are told to stop */
    bool gone;           /* not in the metadata: its folders go too */
    uint32_t part_count; /* grows when the topic does */
    uint32_t failed_count;
    uint32_t stop_left;    /* ending: so many are not stopped yet */
    uint64_t seen_version; /* of the image that named it last */
    struct part *
        *parts; /* [part_count]; one stays where it is; the keeper puts a longer list in place, under the lock */
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
    bool seen;    /* in the image, what was created */
    int64_t due_us;
    uint32_t ready_count; /* READY: of the first partitions a leader was seen */
    struct controller_call control;
    char *topic; /* the call's, as both below */
    struct topic_config_setting *settings;
    uint32_t *assigned;
    struct fault fault; /* what to answer after ROLLBACK */
};

enum {
    CLUSTER_VOTERS_MAX = 5, /* of the metadata's group; all others learn */
};

/* ---- catching up with the controller (catch_up.c) ------------------------------------- */

/* With the lock held. Requests come together: each round asks for an offset once, for all
 * that waited when it began. */
struct catch_up {
    struct cluster_request *waiting; /* for the next round */
    struct cluster_request *asking;  /* for the present one */
    struct cluster_request *reading; /* until the image has everything below `off` */
    uint64_t off;                    /* the highest that any of them waits for */
    int64_t due_us;
    bool under_way; /* a round */
    struct ask ask; /* of the round */
    struct partition_ask barrier;
    struct iovec part;
    uint8_t body[8];
};

/* ---- what this broker owes to the cluster (duties.c) ------------------------------------- */

struct duties {
    struct link_address *peers; /* as told to the links last */
    size_t peer_count;
    struct raft_seat seats[METADATA_BROKERS_MAX]; /* of the metadata's group, as told last */
    uint32_t seat_count;
    struct controller_call registration;
    bool registering;
    struct cluster_request currency;
    bool asking_currency;
    struct controller_call growth;
    bool growing;
    int64_t alone_since_us;     /* no controller is known; 0: one is */
    int64_t poked_us;           /* the metadata's group, to lead itself */
    int64_t scanned_us;         /* all replicas, for those that failed while they ran */
    int64_t balanced_us;        /* leaders, as the controller */
    _Atomic int64_t came_us;    /* when a broker came to life last */
    uint64_t balanced_to;       /* partitions, in the order of the image; 0: all of them */
    _Atomic uint32_t transfers; /* under way */
    _Atomic bool transferred;   /* one succeeded since the last look */
    int64_t register_at_us;
};

/* ---- the cluster ------------------------------------------------------------------------ */

struct cluster {
    uint32_t tag;
    struct cluster_options options;
    char *data_dir;
    char *host;
    char *kafka_host; /* "": as host */
    struct io *io;
    struct identity identity;
    char **found; /* what lay in the data folder before the start; the main thread's, the keeper's once found_told */
    size_t found_count;
    struct metadata *metadata;
    _Atomic(struct partition *) metadata_partition; /* set by the main thread, once; dropped last */
    _Atomic(struct links *) links;                  /* the same */
    struct notes *notes;                            /* keeper, and the main thread at start */
    struct peer_list contacts;                      /* where to find the cluster while the metadata does not say */
    struct job reconcile_job;
    struct job sweep_job;
    struct job duties_job;
    struct engine_deadline duties_deadline;
    struct engine_deadline calls_deadline; /* of who waits for a controller */
    struct engine_deadline catch_up_deadline;
    struct engine_deadline deadline; /* of the step that is due first */
    _Atomic uint64_t next_session_id;
    _Atomic uint32_t calls_turn; /* whom to ask next while no controller is known */

    struct account groups_memory; /* group.h */

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
    struct controller_call producer_call; /* under way while producer_calling */
    int64_t producer_next;
    int64_t producer_end;
    bool stopping;
    bool reconcile_posted;
    bool sweep_posted;
    uint64_t reconciled_version; /* the image whose topics are all started */
    uint32_t work_count;         /* jobs on the keeper */
    uint32_t call_count;         /* calls under way that end with the links and the metadata */
    bool metadata_ready;
    struct fault metadata_fault;
    bool metadata_stopped;
    bool registered; /* as it is now */
    bool current;    /* the image had all that was committed at some time since the start */
    bool found_told;
    bool swept; /* strays are put aside */
    bool duties_posted;
    struct fault registration_fault;
    struct controller_call *calls_waiting;
    uint64_t floor_off; /* the metadata had everything up to here when it was opened */
    struct catch_up catch_up;
    struct duties duties; /* keeper, but for what says otherwise */
};

/* ---- cluster.c ----------------------------------------------------------------------------- */

/* Any thread. Makes the image of what is committed now the present one. */
void cluster_publish(struct cluster *c, struct image *(*make)(struct cluster *c, struct image *before, void *context),
                     void *context);
/* Metadata actor's turn: metadata_options.changed. */
void cluster_metadata_changed(void *context, const struct metadata *metadata);
/* The cluster has no other broker. */
bool cluster_is_alone(struct cluster *c);
/* With the lock held: the links' table of leaders is read under it. */
uint32_t cluster_part_leader(const struct cluster *c, const struct part *part, uint64_t *term);
/* The local replica of a group with a reference, or NULL. */
struct partition *cluster_find_replica(struct cluster *c, const struct group_id *group);
bool cluster_is_stopping(struct cluster *c);
/* Something that start or stop waits for. With the lock held. */
void cluster_work_begin(struct cluster *c);
void cluster_work_end(struct cluster *c);
/* A call on its way that the end of a stop waits for. False: the cluster stops. With the lock held. */
bool cluster_call_begin(struct cluster *c);
void cluster_call_end(struct cluster *c);
/* Posts the job to the keeper unless it is posted (*posted) or the cluster stops. */
void cluster_post_job(struct cluster *c, struct job *job, bool *posted);

/* ---- forming_run.c ------------------------------------------------------------------------ */

/* Main thread, at start. Blocks until c->identity has a founding, durably. KQ_STOPPING: interrupted. */
enum kq_err forming_run(struct cluster *c, const struct peer_list *list, struct fault *fault);
/* Receiver thread, for links_options.form: what this broker's cluster was founded with. */
bool forming_answer(void *context, const uint8_t *body, size_t body_bytes, struct buf *answer);

/* ---- reconcile.c ------------------------------------------------------------------------------ */

/* Any thread. The local partitions are brought in line with the present image. */
void reconcile_post(struct cluster *c);
/* Keeper. The job behind it. */
void reconcile_run(struct job *job);
/* Main thread, at stop, when no reconcile runs. All partitions begin to stop, or those of users' topics. */
void reconcile_stop_all(struct cluster *c, bool internal);
/* Lock held. */
struct hosted *reconcile_find(const struct cluster *c, const struct uuid *topic_id);
/* Keeper. One partition less of a topic that ends. */
void reconcile_one_stopped(struct hosted *h);

/* ---- replica.c (keeper) ---------------------------------------------------------------------- */

/* What the metadata wants of this broker for one partition. */
struct replica_wish {
    bool local;           /* a replica here */
    bool alone;           /* nobody else holds it */
    bool old;             /* of a topic from before clusters */
    bool founder;         /* the replica is one of the group's founders */
    uint32_t sole_broker; /* alone: who */
    struct uuid mix;
    struct uuid incarnation; /* of the replica */
    struct raft_member founders[METADATA_REPLICAS_MAX];
    uint32_t founder_count;
};
struct replica_wish replica_wish(const struct cluster *c, const struct image *image, const struct image_topic *topic,
                                 uint32_t p);
void replica_title(const struct part *part, char title[CLUSTER_TITLE_BYTES]);
/* Looks at the folder and makes it ready. True: REPLICAS is to be flushed, then it is to be
 * started (or refused, when the flush failed). */
bool replica_prepare(struct part *part, const struct replica_wish *wish);
void replica_start(struct part *part, const struct replica_wish *wish, const struct partition_limits *limits);
void replica_refuse(struct part *part, const struct fault *fault);
/* Its folder is gone, by metadata that is current: said once. */
void replica_tell_lost(struct part *part);
/* It failed and may be started once more: by the next reconcile. */
void replica_try_again(struct part *part);
/* It runs, and is not noted though it must be; it is with the next flush. */
bool replica_must_be_noted(struct part *part, const struct replica_wish *wish);
/* It runs under a name from before clusters, which the metadata is to be told. */
bool replica_is_unowned(const struct part *part, const struct replica_wish *wish);
/* A group that was made just now has no leader to wait for: the preferred one campaigns at once, and
 * again until somebody leads; the others while its broker is not heard. */
void replica_hurry(struct part *part, int64_t now_us);
/* Limits and target. */
void replica_follow(struct part *part, struct partition *partition, const struct replica_wish *wish,
                    const struct image *image, const struct image_topic *topic);
/* Whether it was told the target that the image has. */
bool replica_has_target(const struct part *part, const struct image *image, const struct image_topic *topic);
void replica_stop(struct part *part, enum part_end end);
void replica_stopped(void *context, struct partition *partition);

/* ---- controller.c (keeper) ------------------------------------------------------------------- */

/* What the cluster's controller does by itself: the broker's own topics grow, preferred
 * leaders come back. When it is to be looked at again. */
int64_t controller_turn(struct cluster *c, const struct image *image, int64_t now_us);
/* Links thread. A broker came or went. */
void controller_peer_changed(struct cluster *c, bool alive);

/* ---- duties.c -------------------------------------------------------------------------------- */

/* Who are to be the members of the metadata's group: five vote, the others learn; those that
 * are drained vote only if nobody else could. The number of seats. */
uint32_t duties_metadata_seats(const struct image *image, struct raft_seat *seats, uint32_t room);
/* Any thread. The keeper looks what this broker owes to the cluster. */
void duties_post(struct cluster *c);
void duties_run(struct job *job);
/* Timer. */
void duties_fire(struct engine_deadline *deadline);

/* ---- stalled.c --------------------------------------------------------------------------------- */

/* links_options.stalled. */
void stalled_told(void *context, const struct group_id *group, const struct raft_member *member, int64_t stood_us);
/* Keeper. Whether a replica of a partition that is led here has stood still for too long: *replica
 * is what the metadata calls it. */
bool stalled_due(struct cluster *c, struct part *part, const struct image *image, const struct image_holders *holders,
                 int64_t now_us, struct metadata_replica *replica);
/* Lock held, or nobody else knows the part. */
void stalled_forget(struct part *part);

/* ---- lost.c ------------------------------------------------------------------------------------ */

/* Keeper. Finds out, and says in the log, if a replica here has had no leader for long and can have none
 * any more. */
void lost_look_at(struct cluster *c, struct part *part, const struct image *image, int64_t now_us);

/* ---- catch_up.c -------------------------------------------------------------------------------- */

/* Any thread. The image or the controller is another. */
void catch_up_wake(struct cluster *c);
void catch_up_fire(struct engine_deadline *deadline);
/* Main thread, at stop. */
void catch_up_stop(struct cluster *c);

/* ---- orders.c, quorum.c, survey.c ------------------------------------------------------------------------- */

/* Receiver thread: ASK_TRANSFER, ASK_QUORUM, ASK_STATUS. */
void orders_serve_transfer(void *context, struct asked *asked);
void quorum_serve(void *context, struct asked *asked);
void survey_serve(void *context, struct asked *asked);
/* Any thread. Asks the leader of the partition, if one is known, to hand over to `to` (0: the
 * best), after `to` said that it hears a majority of those that hold it; done(transfer). */
struct transfer {
    void (*done)(struct transfer *transfer);
    void *owner;
    struct fault fault;
    struct uuid topic_id;
    uint32_t partition;
    uint32_t to;
    int64_t deadline_us;
    /* orders.c's: */
    struct cluster *cluster;
    struct ask ask;
    struct partition_ask local;
    struct partition *held;
    uint8_t body[32];
    struct iovec part;
};
void transfer_begin(struct cluster *c, struct transfer *transfer);

/* ---- coordinators.c -------------------------------------------------------------------------------- */

/* Keeper. NULL: out of memory. */
struct group_machine *coordinator_new(struct cluster *c, uint32_t number);
/* Any thread, without the lock. The coordinator forgets topics that are gone. */
void coordinator_drop_topics(struct cluster *c, struct partition *coordinator);
void coordinator_drop_topics_everywhere(struct cluster *c);
/* Any thread, without the lock. The sessions of a broker that is not heard any more are
 * given nothing. */
void coordinator_broker_gone_everywhere(struct cluster *c, uint32_t broker_id);

/* ---- sweep.c -------------------------------------------------------------------------------------- */

/* Main thread, at start, before anything runs. Looks what lies in the folder;
 * refuses one whose replicas have lost their metadata. */
enum kq_err sweep_check(struct cluster *c, struct fault *fault);
/* Main thread, at start, before the first reconcile. Says which replicas will start empty. */
void sweep_report_missing(struct cluster *c);
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

/* Any thread. */
void producer_ids_block_done(struct controller_call *control);
/* Main thread, at stop. */
void producer_ids_stop(struct cluster *c);

#endif
