/*
 * The broker-level group and what follows from it: topics, their local
 * partitions, the coordinators of groups, producer ids.
 *
 * It owns the partition `__cluster_metadata-0`, the image of its committed state,
 * and every local partition: these are created, configured, stopped and removed
 * from committed metadata only. It must never open a folder that belongs to
 * another topic id, nor delete one that metadata may still name.
 *
 * Locking: one mutex in cluster.c over the table of hosted partitions and the
 * waiting requests, held for a few instructions, never while calling out.
 */
#ifndef KQ_CLUSTER_CLUSTER_H
#define KQ_CLUSTER_CLUSTER_H

#include "base/config.h"
#include "base/err.h"
#include "cluster/image.h"
#include "cluster/links.h"
#include "cluster/topic_config.h"
#include "group/group.h"
#include "partition/engine.h"

struct cluster;
struct links;

#define CLUSTER_OFFSETS_TOPIC "__consumer_offsets"
enum { CLUSTER_PRODUCER_BLOCK = 1000, TOPIC_NAME_MAX_BYTES = 249 };

struct cluster_options {
    struct engine *engine;
    const struct config *config; /* borrowed while the cluster runs; LIVE fields are read anew */
    const char *data_dir;        /* the broker's folder, it exists; copied */
    const char *host;            /* where clients reach this broker; copied */
    uint16_t port;
    uint16_t raft_port;
    const char *kafka_host; /* where Kafka clients reach it, if not at host; copied; NULL: at host */
    uint16_t kafka_port;    /* 0: nowhere */
    int listen_fd;          /* of the raft port, bound and listening; the cluster's from now on */
    /* Main thread, while the start waits for other brokers: whether it is to give up. NULL: never. */
    bool (*interrupted)(void *context);
    /* An event for a session, of whichever broker; on an actor's turn, must not block. */
    void (*notify)(void *context, const struct group_event *event);
    /* Somebody else leads this partition now, or nobody; for who waits for a leader. Any
     * thread, also one of the links'; must not block. NULL: nobody waits. */
    void (*leader_changed)(void *context, const struct uuid *topic_id, uint32_t partition);
    void *context;
};

/* Main thread; blocks until metadata is open and the local partitions are started
 * (they open their logs on their own threads; requests to them wait). With `peers` in an
 * empty folder it waits for these brokers without a limit. An error: nothing runs, *fault
 * says what the operator can do; KQ_STOPPING: it was interrupted. */
enum kq_err cluster_start(struct cluster **cluster, const struct cluster_options *options, struct fault *fault);
/* Main thread, after whoever makes requests has stopped and before engine_stop();
 * waiting requests are answered KQ_STOPPING. Blocks until all partitions are closed. */
void cluster_stop(struct cluster **cluster);
/* Main thread, after the LIVE configuration changed: retention's defaults. */
void cluster_reload(struct cluster *cluster);

/* Any thread. The present image, with a reference for the caller. */
struct image *cluster_image(struct cluster *cluster);
/* Any thread. For group_session.id: never the same twice, not after a restart. */
uint64_t cluster_next_session_id(struct cluster *cluster);

/* ---- requests ------------------------------------------------------------------------ */

/* Embedded in the caller's struct; belongs to the cluster until done, which runs
 * exactly once, on any thread (also before the call returns), and must not block.
 * Text is borrowed until then. */
struct cluster_request {
    void (*done)(struct cluster_request *request);
    struct fault fault; /* the answer: err KQ_OK, or an error with its sentence */
    const char *topic;
    int64_t timeout_us;                          /* 0: publish.timeout */
    uint32_t partitions;                         /* create; grow: how many there are to be */
    uint32_t replicas;                           /* create; 0: the default; the answer: how many each partition has */
    bool exclusive;                              /* create: KQ_EXISTS also with as many partitions */
    bool dry;                                    /* create, grow, config: judge only, change nothing */
    bool replace;                                /* config: keys that are not named go back to their defaults */
    const struct topic_config_setting *settings; /* create, config; borrowed until the call returns */
    uint32_t setting_count;                      /* at most TOPIC_CONFIG_SETTINGS_MAX */
    const uint32_t *assigned;     /* create, grow: who is to hold the new partitions, one after the other */
    uint32_t assigned_count;      /* borrowed likewise; 0: the controller places them */
    struct uuid topic_id;         /* the answer of create; delete: if not zero, only the topic with this id */
    int64_t producer_id;          /* the answer of next_producer_id */
    struct cluster_request *next; /* the cluster's */
};

/* Done when the topic is committed and its partitions serve; also when it existed
 * with as many partitions. KQ_BAD_TOPIC_NAME (also `__...`), KQ_BAD_PARTITIONS,
 * KQ_BAD_REPLICAS, KQ_EXISTS (with another number), KQ_LIMIT, KQ_NO_SPACE and
 * whatever a partition met when it was made (nothing stays behind then);
 * KQ_TIMEOUT after publish.timeout: it exists but does not serve yet. */
void cluster_create_topic(struct cluster *cluster, struct cluster_request *request);
/* Done when it is gone from metadata and from cluster_image(); its publishers get
 * KQ_UNKNOWN_TOPIC. KQ_UNKNOWN_TOPIC, KQ_BAD_TOPIC_NAME (internal). */
void cluster_delete_topic(struct cluster *cluster, struct cluster_request *request);
/* Done when the topic has that many partitions, and they serve. Keys go to other partitions
 * from then on. KQ_UNKNOWN_TOPIC, KQ_BAD_PARTITIONS (fewer than now, or too many),
 * KQ_BAD_REPLICAS, KQ_BAD_ASSIGNMENT, KQ_LIMIT, KQ_TIMEOUT as above. */
void cluster_grow_topic(struct cluster *cluster, struct cluster_request *request);
/* KQ_UNKNOWN_TOPIC. */
void cluster_topic_config(struct cluster *cluster, struct cluster_request *request);
/* Any thread. Who votes on the metadata: asked of the controller, or, where that cannot be
 * reached, of the replica here, which knows of itself alone what it has. Zeroed, then filled; the
 * cluster's until done, on any thread. */
struct cluster_quorum {
    void (*done)(struct cluster_quorum *quorum);
    int64_t deadline_us;
    /* the answer */
    struct partition_ask told; /* as PARTITION_ASK_MEMBERS: fault, leader, term, off, members */
    bool by_leader;
    /* the cluster's */
    struct cluster *cluster;
    struct ask ask;
};
void cluster_ask_quorum(struct cluster *cluster, struct cluster_quorum *quorum);
/* Any thread; asks the disk. The broker's folder, and how much is free there; -1: not known. */
const char *cluster_data_dir(const struct cluster *cluster, int64_t *free_bytes);
/* Any thread. What a topic that sets nothing has. */
struct partition_limits cluster_default_limits(const struct cluster *cluster);
/* producer_id: one that was never given before. */
void cluster_next_producer_id(struct cluster *cluster, struct cluster_request *request);
/* Any thread. Whether the id may have been given to somebody. One that was not
 * must not publish: its later owner's first messages would pass for duplicates. */
bool cluster_producer_id_given(struct cluster *cluster, const struct image *image, int64_t id);
/* As create, of CLUSTER_OFFSETS_TOPIC with offsets.partitions; cheap when it exists. */
void cluster_ensure_offsets_topic(struct cluster *cluster, struct cluster_request *request);

/* ---- other brokers (any thread) --------------------------------------------------------- */

uint32_t cluster_self(const struct cluster *cluster);
/* Held for Kafka members of the groups here (group.h: memory). */
int64_t cluster_groups_bytes(const struct cluster *cluster);
/* The broker that leads the metadata's group, as far as known; 0: not known. */
uint32_t cluster_controller(struct cluster *cluster);
struct links *cluster_links(struct cluster *cluster);
/* The broker that leads partition p, as far as known here; 0: not known. *term (may be
 * NULL): its term. */
uint32_t cluster_leader(struct cluster *cluster, const struct uuid *topic_id, uint32_t p, uint64_t *term);
/* False: a majority of the brokers that hold partition p is known to be gone. */
bool cluster_majority_alive(struct cluster *cluster, const struct image_topic *topic, uint32_t p);
/* True: a majority of its voters is lost for good, as the replica here has found out (within some
 * seconds): it can never have a leader again. */
bool cluster_is_lost(struct cluster *cluster, const struct uuid *topic_id, uint32_t p);
/* Done when the local image has all that was committed when this was asked: before a
 * negative answer ("topic does not exist") is given. KQ_NO_LEADER, KQ_TIMEOUT: not known, as
 * nobody controls the cluster; KQ_NOT_ENOUGH_REPLICAS: and nobody will, with so many of its
 * voters gone. The answer then says so. Only `done` and `fault` of the request are used. */
void cluster_catch_up(struct cluster *cluster, struct cluster_request *request);

/* ---- the operator's commands --------------------------------------------------------------- */

enum cluster_order_verb {
    CLUSTER_ADD_BROKER,    /* broker: takes its share of replicas and leaders from now on */
    CLUSTER_DRAIN_BROKER,  /* broker: its leaders and replicas move away; it gets no new ones */
    CLUSTER_REMOVE_BROKER, /* broker: drained, or dead and holding the last replica of nothing; forgotten */
    CLUSTER_MOVE,          /* topic, partition, brokers: these are to hold it, the preferred leader first */
    CLUSTER_REBALANCE,     /* replicas and leaders are spread evenly */
    CLUSTER_TRANSFER,      /* topic, partition, broker (0: any): leads from now on */
};
/* As cluster_request. Done when the order is committed (TRANSFER: when it leads); what
 * follows is seen in cluster_survey(). The fault says what cannot be and what could. */
struct cluster_order {
    void (*done)(struct cluster_order *order);
    struct fault fault;
    enum cluster_order_verb verb;
    uint32_t broker;
    const char *topic;
    uint32_t partition;
    uint32_t brokers[16];
    uint32_t broker_count;
    void *owner;
    void *own; /* the cluster's */
};
void cluster_order(struct cluster *cluster, struct cluster_order *order);

struct cluster_survey_broker {
    uint32_t id;
    char host[256];
    uint16_t port, raft_port;
    bool alive, draining, controller;
    uint32_t replicas, leaders; /* of all topics, internal ones too */
};
struct cluster_survey_replica {
    uint32_t broker;
    bool wanted; /* of the target; else on its way out */
    bool voter, in_sync;
    int64_t lag; /* entries behind the leader; -1: not known */
};
struct cluster_survey_partition {
    char topic[TOPIC_NAME_MAX_BYTES + 1];
    uint32_t partition;
    uint32_t leader; /* 0: none */
    bool moving;     /* the configuration in force is not the target yet */
    bool lost;       /* none, and for good: a majority of its replicas is gone */
    struct cluster_survey_replica replicas[16];
    uint32_t replica_count;
};
/* What every partition's leader knows, gathered from all brokers; those that do not answer
 * in time leave gaps (lag -1). all: every partition, else those without leader, missing
 * replicas, or moving. The answer's arrays are freed by cluster_survey_fini(). */
struct cluster_survey {
    void (*done)(struct cluster_survey *survey);
    bool all;
    int64_t deadline_us;
    struct fault fault;
    struct cluster_survey_broker *brokers;
    uint32_t broker_count;
    struct cluster_survey_partition *partitions;
    uint32_t partition_count;
    uint32_t total, leaderless, lacking, moving, lost; /* of all partitions */
    void *owner;
    void *own;
};
void cluster_survey(struct cluster *cluster, struct cluster_survey *survey);
void cluster_survey_fini(struct cluster_survey *survey);

/* ---- coordinators --------------------------------------------------------------------- */

/* Any thread. The partition that coordinates the group, or NULL: there is no
 * offsets topic yet (no group exists), or it is not started yet. Borrowed while
 * the image is held. *coordinator (may be NULL): its number. */
struct partition *cluster_coordinator(const struct image *image, const char *group, size_t group_bytes,
                                      uint32_t *coordinator);
/* Any thread. By number, for subscription_id.coordinator. NULL as above or no such. */
struct partition *cluster_coordinator_at(const struct image *image, uint32_t coordinator);
/* Any thread. How many there are; 0: no group was ever used. */
uint32_t cluster_coordinator_count(const struct image *image);

/* ---- names, status ---------------------------------------------------------------------- */

/* Any thread. A name that a user may use for a topic; *fault (may be NULL) says
 * what is wrong. KQ_BAD_TOPIC_NAME. */
enum kq_err cluster_check_topic_name(const char *name, size_t name_bytes, struct fault *fault);

enum { CLUSTER_STATUS_FAULTS = 8 };

struct cluster_status {
    struct uuid cluster_id;
    uint32_t broker_id;
    uint32_t controller_id; /* 0: none known */
    uint32_t broker_count;
    uint32_t topic_count;     /* internal ones not counted */
    uint32_t partition_count; /* hosted here, internal ones not counted */
    uint32_t opening_count;
    uint32_t failed_count;
    uint32_t fault_count; /* of those below */
    struct {
        char partition[TOPIC_NAME_MAX_BYTES + 16];
        struct fault fault;
    } faults[CLUSTER_STATUS_FAULTS];
};
/* Any thread. */
void cluster_status(struct cluster *cluster, struct cluster_status *status);

#endif
