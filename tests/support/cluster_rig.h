/*
 * Brokers' clusters in one process, over loopback and real files: engines, links and
 * metadata, without clients' sessions. What holds at some time is looked for again and
 * again (EVENTUALLY). One program's main thread; brokers are named by their ids, 1 to
 * RIG_BROKERS.
 */
#ifndef KQ_TESTS_SUPPORT_CLUSTER_RIG_H
#define KQ_TESTS_SUPPORT_CLUSTER_RIG_H

#include "base/clock.h"
#include "cluster/cluster.h"
#include "support/folder.h"
#include "support/unit.h"

#include <pthread.h>

enum { RIG_BROKERS = 5, RIG_LONG_US = 20 * 1000000, RIG_PATH_BYTES = FOLDER_PATH_BYTES + 300 };

struct rig_node {
    uint32_t id;
    struct config config;
    char dir[FOLDER_PATH_BYTES + 16];
    uint16_t raft_port;
    struct engine *engine;
    struct cluster *cluster;
    pthread_t thread;
    enum kq_err err;
    struct fault fault;
    _Atomic bool give_up;
};

extern struct rig_node rig_nodes[RIG_BROKERS + 1]; /* by id */

/* What holds is looked for again and again, at most for a long time. */
#define EVENTUALLY(condition)                                                                                          \
    do {                                                                                                               \
        int64_t until_us = clock_mono_us() + RIG_LONG_US;                                                              \
        bool holds = condition;                                                                                        \
        while (!holds && clock_mono_us() < until_us) {                                                                 \
            rig_moment();                                                                                              \
            holds = condition;                                                                                         \
        }                                                                                                              \
        if (!holds)                                                                                                    \
            rig_tell_all();                                                                                            \
        CU_ASSERT_FATAL(holds);                                                                                        \
    } while (0)
void rig_moment(void);
/* What each of them thinks, when something does not come about. */
void rig_tell_all(void);

/* Of a broker with small files and buffers; dir is borrowed. */
static inline struct engine_options rig_engine_options(const char *dir, uint32_t id)
{
    return (struct engine_options){.io = io_posix(),
                                   .data_dir = dir,
                                   .broker_id = id,
                                   .flusher_count = 2,
                                   .stack_bytes = 512 * 1024,
                                   .mailbox_bytes = 1 << 20,
                                   .entry_max_bytes = 1 << 20,
                                   .unflushed_entries = 2,
                                   .prepare_min_bytes = 4096,
                                   .prepare_max_bytes = 1 << 20,
                                   .prepare_budget_bytes = 64 << 20,
                                   .mark_delay_us = 1000,
                                   .flush_always = true};
}

/* ---- brokers ----------------------------------------------------------------------------- */

/* Folders, ports and configurations of all; the first `listed` are each other's peers. */
void rig_prepare(uint32_t listed);
/* On a thread of its own; then until it has started. */
void rig_begin_start(uint32_t id);
void rig_end_start(uint32_t id);
void rig_start(uint32_t id); /* both */
void rig_stop(uint32_t id);  /* if it runs */
void rig_wipe(uint32_t id);
/* Prepares so many, and starts them together. */
void rig_form(uint32_t count);
/* Stops all and removes what they left. */
void rig_end(void);

/* ---- what is asked of broker id: each waits for the answer --------------------------------- */

extern struct fault rig_fault; /* the last answer's */
enum kq_err rig_create(uint32_t id, const char *topic, uint32_t partitions, uint32_t replicas);
enum kq_err rig_drop(uint32_t id, const char *topic);
enum kq_err rig_ensure_offsets(uint32_t id); /* the groups' topic */
enum kq_err rig_catch_up(uint32_t id);
enum kq_err rig_order(uint32_t id, struct cluster_order order);

struct rig_survey {
    struct cluster_survey survey; /* for cluster_survey_fini() */
    bool done;
};
struct rig_survey rig_survey(uint32_t id, bool all);
/* Nothing lacks, nothing moves, everything is led. */
bool rig_is_well(uint32_t id);
struct image_topic *rig_topic(struct image *image, const char *name);
bool rig_knows(uint32_t id, const char *name);
uint32_t rig_leader(uint32_t id, const char *name, uint32_t p);
uint32_t rig_controller(uint32_t id);
size_t rig_broker_count(uint32_t id);
/* One message, given to the leader as broker id knows it; its offset, or -1. It is wanted at
 * off and numbered by a producer of its own, so that it may be given again while it is not
 * known what came of it; off -1: wherever it comes to lie, and not numbered. */
int64_t rig_publish_of(uint32_t id, const char *name, uint32_t p, int64_t off, struct slice message);
int64_t rig_publish(uint32_t id, const char *name, uint32_t p, int64_t off);
/* How many messages broker id's replica of a partition shows; -1: it has none. */
int64_t rig_messages(uint32_t id, const char *name, uint32_t p);

/* ---- its data folder ------------------------------------------------------------------------ */

/* How many names in it begin with text. */
int rig_count_folders(uint32_t id, const char *text);
void rig_remove_replica(uint32_t id, const char *name);

#endif
