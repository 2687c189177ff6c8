/*
 * Requests on their way: asking the metadata, then waiting until what was decided
 * is there (a new topic's partitions serve; a deleted topic left the image).
 *
 *    CALL -> answered                           refused, or nothing to wait for
 *    CALL -> READY -> answered                  a topic is made
 *    CALL -> READY -> ROLLBACK -> answered      one of its partitions could not be
 *                                               made: the topic is deleted again
 *    CALL -> GONE -> answered                   a topic is deleted
 *
 * A step belongs to the cluster's list; whoever takes its request out of it under
 * the lock answers it. While the metadata has its call the step stays, answered
 * or not.
 */
#include "cluster/cluster_state.h"

#include "base/clock.h"
#include "base/require.h"

#include <stdlib.h>

/* What an empty replica needs on disk, with room for its first messages, and what
 * is to be left over. */
enum { REPLICA_NEEDS_BYTES = 32 * 1024, SPACE_LEFT_BYTES = 1024 * 1024 };
/* The call to the controller ends before the step does, as it knows more. */
enum { CALL_SLACK_US = 250 * 1000 };

/* ---- the list (with the lock held) ---------------------------------------------------- */

static void arm(struct cluster *c)
{
    int64_t due_us = CLOCK_NEVER;
    for (const struct step *s = c->steps; s != NULL; s = s->next)
        if (s->request != NULL && s->due_us < due_us)
            due_us = s->due_us;
    engine_set_deadline(c->options.engine, &c->deadline, due_us);
}

static void free_step(struct step *step)
{
    free(step->topic);
    free(step->settings);
    free(step->assigned);
    free(step);
}

static void remove_step(struct cluster *c, struct step *step)
{
    *(step->prev != NULL ? &step->prev->next : &c->steps) = step->next;
    if (step->next != NULL)
        step->next->prev = step->prev;
    free_step(step);
}

/* The step's request is the caller's to answer; the step is gone, unless the
 * metadata still has its call. */
static struct cluster_request *take_request(struct step *step)
{
    struct cluster *c = step->cluster;
    struct cluster_request *request = step->request;
    step->request = NULL;
    if (!step->calling)
        remove_step(c, step);
    arm(c);
    return request;
}

/* ---- answering (without the lock) -------------------------------------------------------- */

static void answer(struct cluster_request *request, const struct fault *fault)
{
    REQUIRE(request != NULL);
    request->fault = *fault;
    request->done(request);
}

static void answer_err(struct cluster_request *request, enum kq_err err)
{
    struct fault fault = {.err = err};
    answer(request, &fault);
}

/* ---- what a waiting step waits for --------------------------------------------------------- */

enum verdict { VERDICT_WAIT, VERDICT_ANSWER, VERDICT_ROLLBACK };

static const struct fault *first_fault(const struct hosted *h)
{
    for (uint32_t p = 0; p < h->part_count; p++)
        if (h->parts[p]->state == PART_FAILED)
            return h->parts[p]->fault;
    return NULL;
}

/* Lock held. A partition without another holder than this broker could not be made. */
static bool has_failed(const struct hosted *h)
{
    for (uint32_t p = 0; h->failed_count > 0 && p < h->part_count; p++)
        if (h->parts[p]->state == PART_FAILED && h->parts[p]->sole_broker != 0)
            return true;
    return false;
}

/* Lock held. Whether each partition has a leader that is known here. */
static bool has_leaders(const struct cluster *c, const struct hosted *h, struct image_topic *topic, uint32_t *from)
{
    for (; *from < h->part_count; (*from)++) {
        const struct part *part = h->parts[*from];
        bool here = part->sole_broker == c->identity.broker_id;
        if (here && (part->state != PART_SERVING || image_partition(topic, *from) == NULL))
            return false;
        if (!here && cluster_part_leader(c, part, NULL) == 0)
            return false;
    }
    return true;
}

/* Lock held. Whether the topic's partitions serve and can be found. */
static enum verdict judge_ready(const struct cluster *c, struct step *step, struct fault *fault)
{
    struct image_topic *topic = image_find(c->image, step->control.call.topic, strlen(step->control.call.topic));
    if (topic == NULL || !uuid_equal(image_topic_id(topic), &step->control.call.topic_id)) {
        if (!step->seen)
            return VERDICT_WAIT;                          /* committed elsewhere, and on its way here */
        *fault = (struct fault){.err = KQ_UNKNOWN_TOPIC}; /* deleted meanwhile */
        return VERDICT_ANSWER;
    }
    step->seen = true;
    const struct hosted *h = reconcile_find(c, &step->control.call.topic_id);
    if (h == NULL || h->part_count < step->control.call.partitions)
        return VERDICT_WAIT;
    if (has_failed(h)) {
        const struct fault *found = first_fault(h);
        if (found != NULL)
            *fault = *found;
        else
            fault->err = KQ_NO_MEMORY;
        if (step->created)
            return VERDICT_ROLLBACK;
        fault->err = KQ_PARTITION_FAILED;
        return VERDICT_ANSWER;
    }
    return has_leaders(c, h, topic, &step->ready_count) ? VERDICT_ANSWER : VERDICT_WAIT;
}

static enum verdict judge(const struct cluster *c, struct step *step, struct fault *fault)
{
    *fault = (struct fault){.err = KQ_OK};
    if (step->request == NULL || step->calling)
        return VERDICT_WAIT;
    if (c->stopping) {
        fault->err = KQ_STOPPING;
        return VERDICT_ANSWER;
    }
    if (step->state == STEP_READY)
        return judge_ready(c, step, fault);
    const struct image_topic *topic = image_find(c->image, step->control.call.topic, strlen(step->control.call.topic));
    bool there = topic != NULL && uuid_equal(image_topic_id(topic), &step->control.call.topic_id);
    return there ? VERDICT_WAIT : VERDICT_ANSWER;
}

/* ---- asking the metadata --------------------------------------------------------------------- */

static void call_done(struct controller_call *control);

static void ask(struct step *step)
{
    step->control.done = call_done;
    calls_begin(step->cluster, &step->control);
}

static void roll_back(struct step *step)
{
    struct metadata_call call = {
        .verb = METADATA_DELETE_TOPIC, .topic = step->topic, .topic_id = step->control.call.topic_id, .internal = true};
    step->control = (struct controller_call){.call = call, .deadline_us = step->due_us};
    ask(step);
}

void requests_wake(struct cluster *c)
{
    for (;;) {
        struct fault fault;
        enum verdict verdict = VERDICT_WAIT;
        struct cluster_request *request = NULL;
        (void)pthread_mutex_lock(&c->lock);
        struct step *step = c->steps;
        while (step != NULL && (verdict = judge(c, step, &fault)) == VERDICT_WAIT)
            step = step->next;
        if (verdict == VERDICT_ANSWER)
            request = take_request(step);
        if (verdict == VERDICT_ROLLBACK) {
            step->state = STEP_ROLLBACK;
            step->calling = true;
            step->fault = fault;
        }
        (void)pthread_mutex_unlock(&c->lock);
        if (verdict == VERDICT_WAIT)
            return;
        if (verdict == VERDICT_ROLLBACK)
            roll_back(step);
        else
            answer(request, &fault);
    }
}

/* Lock held. The metadata has answered; what it means. *fault: what to answer. */
static enum verdict after_call(struct step *step, struct fault *fault)
{
    *fault = step->control.call.call.fault;
    if (step->state == STEP_ROLLBACK) {
        if (fault->err != KQ_OK && fault->err != KQ_UNKNOWN_TOPIC)
            (void)fault_set(&step->fault, KQ_OUTCOME_UNKNOWN,
                            "the topic could be made in part only (%.150s) and not "
                            "be deleted again (%.150s); try DELE when the cause is gone",
                            fault_text(&step->fault), fault_text(fault));
        *fault = step->fault;
        return VERDICT_ANSWER;
    }
    if (fault->err != KQ_OK)
        return VERDICT_ANSWER;
    step->request->replicas = step->control.call.replicas;
    if (step->control.call.dry)
        return VERDICT_ANSWER;
    switch (step->control.call.verb) {
    case METADATA_CREATE_TOPIC:
        step->created = !step->control.call.existed;
        step->request->topic_id = step->control.call.topic_id;
        step->state = STEP_READY;
        return VERDICT_WAIT;
    case METADATA_ADD_PARTITIONS:
        step->ready_count = step->control.call.count;
        step->state = STEP_READY;
        return VERDICT_WAIT;
    case METADATA_DELETE_TOPIC:
        step->state = STEP_GONE;
        return VERDICT_WAIT;
    default: /* nothing to wait for */
        return VERDICT_ANSWER;
    }
}

/* Any thread. */
static void call_done(struct controller_call *control)
{
    struct step *step = CONTAINER_OF(control, struct step, control);
    struct cluster *c = step->cluster;
    struct cluster_request *request = NULL;
    struct fault fault = {.err = KQ_OK};
    enum verdict verdict = VERDICT_WAIT;
    (void)pthread_mutex_lock(&c->lock);
    step->calling = false;
    if (step->request == NULL) {
        remove_step(c, step); /* it was answered when its time was over */
    } else {
        verdict = after_call(step, &fault);
        if (verdict == VERDICT_ANSWER)
            request = take_request(step);
    }
    (void)pthread_mutex_unlock(&c->lock);
    if (request != NULL)
        answer(request, &fault);
    else
        requests_wake(c);
}

/* The request's texts are the requester's again once it is answered, which may be
 * before the metadata has answered: the step has its own. */
static bool copy_text(const char *from, char **to)
{
    *to = from == NULL ? NULL : strdup(from);
    return from == NULL || *to != NULL;
}

static bool copy_lists(struct step *step, const struct metadata_call *call)
{
    step->settings = calloc(call->setting_count + 1, sizeof *step->settings);
    step->assigned = calloc(call->assigned_count + 1, sizeof *step->assigned);
    if (step->settings == NULL || step->assigned == NULL)
        return false;
    for (uint32_t i = 0; i < call->setting_count; i++)
        step->settings[i] = call->settings[i];
    for (uint32_t i = 0; i < call->assigned_count; i++)
        step->assigned[i] = call->assigned[i];
    step->control.call.settings = step->settings;
    step->control.call.assigned = call->assigned_count > 0 ? step->assigned : NULL;
    return true;
}

/* NULL: out of memory. */
static struct step *new_step(struct cluster *c, struct cluster_request *request, const struct metadata_call *call)
{
    struct step *step = calloc(1, sizeof *step);
    if (step == NULL)
        return NULL;
    step->control.call = *call;
    if (!copy_text(call->topic, &step->topic) || !copy_lists(step, call)) {
        free_step(step);
        return NULL;
    }
    step->cluster = c;
    step->request = request;
    step->state = STEP_CALL;
    step->calling = true;
    step->control.call.topic = step->topic;
    int64_t timeout_us = request->timeout_us;
    if (timeout_us <= 0)
        timeout_us = atomic_load_explicit(&c->options.config->publish_timeout_us, memory_order_relaxed);
    step->control.deadline_us = clock_mono_us() + timeout_us;
    step->due_us = step->control.deadline_us + CALL_SLACK_US;
    return step;
}

/* False: the cluster is stopping. */
static bool insert_step(struct cluster *c, struct step *step)
{
    (void)pthread_mutex_lock(&c->lock);
    bool stopping = c->stopping;
    if (!stopping) {
        step->next = c->steps;
        if (step->next != NULL)
            step->next->prev = step;
        c->steps = step;
        arm(c);
    }
    (void)pthread_mutex_unlock(&c->lock);
    return !stopping;
}

static void begin(struct cluster *c, struct cluster_request *request, const struct metadata_call *call)
{
    TAG_CHECK(c, CLUSTER_TAG);
    request->fault = (struct fault){.err = KQ_OK};
    struct step *step = new_step(c, request, call);
    if (step == NULL)
        answer_err(request, KQ_NO_MEMORY);
    else if (insert_step(c, step))
        ask(step);
    else {
        free_step(step);
        answer_err(request, KQ_STOPPING);
    }
}

/* ---- time, stopping ------------------------------------------------------------------------------ */

/* Lock held. The first step whose time is over (or any), taken; *fault says why. */
static struct cluster_request *take_due(struct cluster *c, int64_t now_us, struct fault *fault)
{
    struct step *step = c->steps;
    while (step != NULL && (step->request == NULL || (step->due_us > now_us && !c->stopping)))
        step = step->next;
    if (step == NULL)
        return NULL;
    *fault = (struct fault){.err = KQ_STOPPING};
    if (!c->stopping && step->calling)
        (void)fault_set(fault, KQ_OUTCOME_UNKNOWN, "not known to be committed within its timeout");
    else if (!c->stopping)
        (void)fault_set(fault, KQ_TIMEOUT, "topic %.100s exists, but not all of its partitions serve yet; see INFO",
                        step->control.call.topic);
    return take_request(step);
}

static void answer_due(struct cluster *c)
{
    for (;;) {
        struct fault fault;
        (void)pthread_mutex_lock(&c->lock);
        struct cluster_request *request = take_due(c, clock_mono_us(), &fault);
        arm(c);
        (void)pthread_mutex_unlock(&c->lock);
        if (request == NULL)
            return;
        answer(request, &fault);
    }
}

void requests_fire(struct engine_deadline *deadline)
{
    answer_due(CONTAINER_OF(deadline, struct cluster, deadline));
}

void requests_stop(struct cluster *c)
{
    REQUIRE(c->stopping);
    answer_due(c);
    producer_ids_stop(c);
}

/* ---- topics ------------------------------------------------------------------------------------------ */

/* What the image says of the topic that is to be made. */
enum known { KNOWN_NOT, KNOWN, KNOWN_SERVING };

static enum known look_up(struct cluster *c, struct cluster_request *request, const struct metadata_call *call)
{
    enum known known = KNOWN_NOT;
    (void)pthread_mutex_lock(&c->lock);
    struct image_topic *topic = image_find(c->image, call->topic, strlen(call->topic));
    if (topic != NULL) {
        known = KNOWN;
        request->topic_id = *image_topic_id(topic);
        const struct hosted *h = reconcile_find(c, image_topic_id(topic));
        bool same = call->internal || image_topic_partitions(topic) == call->partitions;
        uint32_t from = 0;
        bool only_looks = !call->exclusive && !call->dry && call->setting_count == 0;
        if (same && only_looks && h != NULL && !has_failed(h) && has_leaders(c, h, topic, &from) && !c->stopping)
            known = KNOWN_SERVING;
    }
    (void)pthread_mutex_unlock(&c->lock);
    return known;
}

/* A definite answer before anything is written, where it can be had. */
static bool has_space(struct cluster *c, uint32_t partitions, struct fault *fault)
{
    uint64_t free_bytes;
    uint64_t needed = (uint64_t)partitions * REPLICA_NEEDS_BYTES + SPACE_LEFT_BYTES;
    if (c->io->ops->space(c->io, c->data_dir, &free_bytes) < 0 || free_bytes >= needed)
        return true;
    (void)fault_set(fault, KQ_NO_SPACE,
                    "disk full: %u partition%s need%s %llu KiB, %llu KiB are free; nothing was created", partitions,
                    partitions == 1 ? "" : "s", partitions == 1 ? "s" : "", (unsigned long long)needed / 1024,
                    (unsigned long long)free_bytes / 1024);
    return false;
}

static void create(struct cluster *c, struct cluster_request *request, struct metadata_call *call)
{
    TAG_CHECK(c, CLUSTER_TAG);
    struct fault fault = {.err = KQ_OK};
    enum known known = KNOWN_NOT;
    if (!call->internal)
        (void)cluster_check_topic_name(call->topic, strlen(call->topic), &fault);
    if (fault.err == KQ_OK)
        known = look_up(c, request, call);
    bool sensible = call->internal || (call->partitions > 0 && call->partitions <= call->limits.topic_partitions);
    if (fault.err == KQ_OK && known == KNOWN_NOT && sensible)
        (void)has_space(c, call->partitions, &fault);
    if (fault.err != KQ_OK || known == KNOWN_SERVING) {
        answer(request, &fault);
        return;
    }
    call->verb = METADATA_CREATE_TOPIC;
    call->topic_id = uuid_random();
    begin(c, request, call);
}

static uint32_t live_limit(const _Atomic int64_t *value)
{
    return (uint32_t)atomic_load_explicit(value, memory_order_relaxed);
}

static struct metadata_limits limits_of(const struct cluster *c)
{
    const struct config *config = c->options.config;
    return (struct metadata_limits){.topics = live_limit(&config->topics_max),
                                    .topic_partitions = live_limit(&config->topic_partitions_max),
                                    .broker_partitions = live_limit(&config->partitions_max)};
}

static struct metadata_call call_of(const struct cluster_request *request, enum metadata_verb verb)
{
    return (struct metadata_call){.verb = verb,
                                  .topic = request->topic,
                                  .partitions = request->partitions,
                                  .replicas = request->replicas,
                                  .exclusive = request->exclusive,
                                  .dry = request->dry,
                                  .replace = request->replace,
                                  .settings = request->settings,
                                  .setting_count = request->setting_count,
                                  .assigned = request->assigned,
                                  .assigned_count = request->assigned_count};
}

void cluster_create_topic(struct cluster *cluster, struct cluster_request *request)
{
    struct metadata_call call = call_of(request, METADATA_CREATE_TOPIC);
    call.limits = limits_of(cluster);
    create(cluster, request, &call);
}

void cluster_grow_topic(struct cluster *cluster, struct cluster_request *request)
{
    struct metadata_call call = call_of(request, METADATA_ADD_PARTITIONS);
    call.limits = limits_of(cluster);
    begin(cluster, request, &call);
}

void cluster_ensure_offsets_topic(struct cluster *cluster, struct cluster_request *request)
{
    struct metadata_call call = {.topic = CLUSTER_OFFSETS_TOPIC,
                                 .partitions = (uint32_t)cluster->options.config->offsets_partitions,
                                 .internal = true};
    create(cluster, request, &call);
}

void cluster_delete_topic(struct cluster *cluster, struct cluster_request *request)
{
    begin(
        cluster, request,
        &(struct metadata_call){.verb = METADATA_DELETE_TOPIC, .topic = request->topic, .topic_id = request->topic_id});
}

void cluster_topic_config(struct cluster *cluster, struct cluster_request *request)
{
    struct metadata_call call = call_of(request, METADATA_SET_CONFIG);
    begin(cluster, request, &call);
}
