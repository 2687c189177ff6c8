/*
 * Requests of administrators that change several things at once: each item is a question
 * to the cluster of its own, a bounded number of them at a time.
 *
 *    begin(batch, job)   on a worker, item by item, with job->request zeroed: fills it and
 *                        says true, and it is sent; or answers the item itself
 *    end(batch, job)     on a worker: job->request has its answer
 */
#ifndef KQ_SERVER_KAFKA_ADMIN_H
#define KQ_SERVER_KAFKA_ADMIN_H

#include "base/map.h"
#include "server/kafka_internal.h"

enum {
    ADMIN_AT_ONCE_MAX = 32,
    ADMIN_WAIT_MIN_MS = 1000, /* some clients say 0, and mean that they are in no hurry */
    ADMIN_WAIT_MAX_MS = 10 * 60 * 1000,

    CONFIG_SOURCE_TOPIC = 1,
    CONFIG_SOURCE_BROKER_FILE = 4,
    CONFIG_SOURCE_DEFAULT = 5,
};

struct admin_batch;

struct admin_job {
    struct cluster_request request;
    struct admin_batch *batch;
    void (*send)(struct cluster *cluster, struct cluster_request *request); /* by begin() */
    int32_t item;
    char name[TOPIC_NAME_MAX_BYTES + 1]; /* for request.topic */
    struct topic_config_setting settings[TOPIC_CONFIG_SETTINGS_MAX];
    uint32_t assigned[1024]; /* METADATA_ASSIGNED_MAX */
};

struct admin_batch {
    struct kafka_call *call;
    bool (*begin)(struct admin_batch *batch, struct admin_job *job);
    void (*end)(struct admin_batch *batch, struct admin_job *job);
    int32_t count; /* of items */
    int32_t next;
    struct map names; /* that were seen: an item that comes twice is refused */
    struct cluster_request catch_up;
    _Atomic uint32_t left; /* jobs on their way, and one while they are sent */
    uint32_t job_count;
    struct admin_job *jobs;
};

/* A worker, in a handler; ends the call. catch_up: first of all the broker makes sure that it
 * knows what is committed. */
void admin_run(struct kafka_call *call, int32_t count, bool catch_up,
               bool (*begin)(struct admin_batch *batch, struct admin_job *job),
               void (*end)(struct admin_batch *batch, struct admin_job *job));
/* False: this name was seen in this batch (or there is no memory to know). Not to be
 * changed while the batch lives. */
bool admin_is_first(struct admin_batch *batch, const void *name, size_t name_bytes);
/* What to say of a fault, as Kafka's controller would. */
int16_t admin_code(const struct fault *fault);
/* A client's timeout, bounded. */
int64_t admin_timeout_us(int32_t timeout_ms);

/* kafka_configs.c: what a topic with this configuration has, all keys, for CreateTopics. */
struct kafka_create_topics_response_topic;
void kafka_fill_created_configs(struct kafka_call *call, struct kafka_create_topics_response_topic *to,
                                const struct topic_config *config);

#endif
