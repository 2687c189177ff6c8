#include "server/kafka_admin.h"

#include "base/require.h"

#include <stdlib.h>

static void batch_fini(struct kafka_call *call)
{
    struct admin_batch *batch = call->own;
    map_fini(&batch->names);
    free(batch->jobs);
    free(batch);
}

int16_t admin_code(const struct fault *fault)
{
    switch (fault->err) {
    case KQ_INVALID:
        return KAFKA_ERR_INVALID_CONFIG;
    case KQ_LIMIT:
        return KAFKA_ERR_POLICY_VIOLATION;
    case KQ_NOT_ENOUGH_REPLICAS:
        return KAFKA_ERR_INVALID_REPLICATION_FACTOR;
    case KQ_NO_LEADER: /* of the metadata: clients look for the controller again */
    case KQ_STOPPING:
        return KAFKA_ERR_NOT_CONTROLLER;
    case KQ_OUTCOME_UNKNOWN:
        return KAFKA_ERR_REQUEST_TIMED_OUT;
    default:
        return kafka_code(fault);
    }
}

int64_t admin_timeout_us(int32_t timeout_ms)
{
    int64_t wait_ms = timeout_ms;
    if (wait_ms < ADMIN_WAIT_MIN_MS)
        wait_ms = ADMIN_WAIT_MIN_MS;
    return (wait_ms < ADMIN_WAIT_MAX_MS ? wait_ms : ADMIN_WAIT_MAX_MS) * 1000;
}

bool admin_is_first(struct admin_batch *batch, const void *name, size_t name_bytes)
{
    return map_get(&batch->names, name, name_bytes) == NULL && map_put(&batch->names, name, name_bytes, batch, NULL);
}

/* ---- rounds --------------------------------------------------------------------------------- */

static void admin_round(struct kafka_call *call, struct worker *worker);

/* Any thread. The last of a round: a worker goes on. */
static void batch_less(struct admin_batch *batch)
{
    if (atomic_fetch_sub_explicit(&batch->left, 1, memory_order_acq_rel) == 1)
        kafka_call_wants_worker(batch->call, admin_round);
}

static void job_done(struct cluster_request *request)
{
    batch_less(CONTAINER_OF(request, struct admin_job, request)->batch);
}

/* Fills the jobs that a round sends; those of a round that has come back are ended first. */
static void batch_fill(struct admin_batch *batch)
{
    for (uint32_t i = 0; i < batch->job_count; i++)
        batch->end(batch, &batch->jobs[i]);
    batch->job_count = 0;
    while (batch->next < batch->count && batch->job_count < ADMIN_AT_ONCE_MAX) {
        struct admin_job *job = &batch->jobs[batch->job_count];
        job->batch = batch;
        job->item = batch->next++;
        job->request = (struct cluster_request){.done = job_done};
        batch->job_count += batch->begin(batch, job);
    }
}

static void admin_round(struct kafka_call *call, struct worker *worker)
{
    (void)worker;
    struct admin_batch *batch = call->own;
    batch_fill(batch);
    uint32_t count = batch->job_count;
    if (count == 0) {
        kafka_call_answered(call);
        return;
    }
    atomic_store_explicit(&batch->left, count + 1, memory_order_relaxed);
    for (uint32_t i = 0; i < count; i++)
        batch->jobs[i].send(call->broker->cluster, &batch->jobs[i].request);
    batch_less(batch);
}

static void caught_up(struct cluster_request *request)
{
    kafka_call_wants_worker(CONTAINER_OF(request, struct admin_batch, catch_up)->call, admin_round);
}

void admin_run(struct kafka_call *call, int32_t count, bool catch_up,
               bool (*begin)(struct admin_batch *batch, struct admin_job *job),
               void (*end)(struct admin_batch *batch, struct admin_job *job))
{
    int32_t at_once = count < ADMIN_AT_ONCE_MAX ? count : ADMIN_AT_ONCE_MAX;
    struct admin_batch *batch = calloc(1, sizeof(*batch));
    struct admin_job *jobs = calloc((size_t)(at_once > 0 ? at_once : 0) + 1, sizeof(*jobs));
    if (batch == NULL || jobs == NULL) {
        free(batch);
        free(jobs);
        call->hang_up = true;
        kafka_call_answered(call);
        return;
    }
    *batch = (struct admin_batch){.call = call, .begin = begin, .end = end, .count = count, .jobs = jobs};
    map_init(&batch->names);
    call->own = batch;
    call->fini = batch_fini;
    if (!catch_up) {
        admin_round(call, NULL);
        return;
    }
    batch->catch_up = (struct cluster_request){.done = caught_up};
    cluster_catch_up(call->broker->cluster, &batch->catch_up);
}
