/*
 * Calls to the controller, wherever it is: the broker that leads the metadata's group.
 *
 * A call goes to the local replica if that leads, else over a link; without a known
 * controller, or when it turns out to be another by now, it is tried again until its
 * deadline, unless an earlier try may have been carried out and a second would double
 * it. For that most verbs are made to be harmless when they come again.
 */
#ifndef KQ_CLUSTER_CALLS_H
#define KQ_CLUSTER_CALLS_H

#include "cluster/links.h"
#include "cluster/metadata.h"
#include "partition/partition.h"

struct cluster;

/* Zeroed, then call's inputs, done and deadline_us are set; the cluster's until done. */
struct controller_call {
    struct metadata_call call; /* its fault is the answer; KQ_OUTCOME_UNKNOWN: may or may not be carried out */
    /* Once; any thread, also before calls_begin() returns; must not block. */
    void (*done)(struct controller_call *call);
    int64_t deadline_us; /* CLOCK_MONOTONIC */
    /* calls.c's: */
    struct cluster *cluster;
    bool maybe_done; /* an earlier try may have been carried out */
    uint32_t *alive;
    struct ask ask;
    struct iovec part;
    struct buf body;
    struct controller_call *next;
};

/* Any thread. */
void calls_begin(struct cluster *cluster, struct controller_call *call);
/* Any thread. Another leads the metadata's group: who waits for that tries at once. */
void calls_leader_changed(struct cluster *cluster);
/* Timer. The next tries. */
void calls_fire(struct engine_deadline *deadline);
/* Main thread, at stop, when links and metadata have stopped: who still waits is answered KQ_STOPPING. */
void calls_stop(struct cluster *cluster);

/* Receiver thread: another broker's call (ASK_METADATA). */
void calls_serve(void *context, struct asked *asked);

/* What to do after a try failed with this error. PURE. */
enum calls_verdict { CALLS_ANSWER, CALLS_RETRY };
enum calls_verdict calls_judge(const struct metadata_call *call, enum kq_err err, bool maybe_delivered,
                               bool *maybe_done);

#endif
