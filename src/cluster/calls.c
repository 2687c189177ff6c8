#include "cluster/calls.h"

#include "base/clock.h"
#include "base/require.h"
#include "cluster/cluster_state.h"
#include "cluster/metadata_wire.h"

#include <stdlib.h>

/* Between two tries, when nobody tells that there is a new controller. */
enum { RETRY_US = 50 * 1000 };
/* One try of a call that may be tried again: another controller may be there by then. */
enum { TRY_US = 2 * 1000 * 1000 };
/* A broker counts as dead for its removal when it has been silent for so long. */
enum { REMOVED_SILENT_US = 5 * 1000 * 1000 };

/* ---- judging ----------------------------------------------------------------------- */

/* Whether doing it twice is doing it once. Without its id another topic of the name may
 * have come meanwhile. */
static bool is_repeatable(const struct metadata_call *call)
{
    return call->verb != METADATA_DELETE_TOPIC || !uuid_is_zero(&call->topic_id);
}

enum calls_verdict calls_judge(const struct metadata_call *call, enum kq_err err, bool maybe_delivered,
                               bool *maybe_done)
{
    bool nothing_done = err == KQ_NOT_LEADER || (err == KQ_NO_LEADER && !maybe_delivered);
    bool unclear = err == KQ_OUTCOME_UNKNOWN || err == KQ_TIMEOUT || err == KQ_STOPPING || err == KQ_NO_LEADER ||
                   err == KQ_NO_MEMORY;
    if (nothing_done || err == KQ_FULL)
        return CALLS_RETRY;
    if (!unclear)
        return CALLS_ANSWER;
    *maybe_done |= maybe_delivered || err == KQ_OUTCOME_UNKNOWN;
    return !*maybe_done || is_repeatable(call) ? CALLS_RETRY : CALLS_ANSWER;
}

/* ---- where the controller is --------------------------------------------------------- */

/* Who lives, and what the cluster was founded with: the machine has no eyes of its own.
 * The caller frees *alive when the call is done. */
static void inform(struct cluster *c, struct metadata_call *call, uint32_t **alive)
{
    struct image *image = cluster_image(c);
    size_t count = image_broker_count(image);
    *alive = calloc(count + 1, sizeof **alive);
    call->alive = *alive;
    call->alive_count = 0;
    call->founding = &c->identity.founding;
    if (call->verb == METADATA_REGISTER_BROKER)
        call->cluster_id = c->identity.founding.cluster_id;
    for (size_t i = 0; *alive != NULL && i < count; i++) {
        uint32_t id = image_broker_at(image, i)->id;
        /* One that is to be forgotten may only be paused, or not be reached yet by a new controller. */
        bool removed = call->verb == METADATA_ORDER && call->order == CLUSTER_REMOVE_BROKER && call->broker.id == id;
        if (removed ? !links_is_silent(c->links, id, REMOVED_SILENT_US) : links_is_alive(c->links, id))
            (*alive)[call->alive_count++] = id;
    }
    if (call->alive_count == 0) /* nobody is registered yet */
        call->alive = NULL;
    image_drop(&image);
}

/* ---- one call ---------------------------------------------------------------------------- */

static void finish(struct controller_call *call)
{
    buf_fini(&call->body);
    free(call->alive);
    call->alive = NULL;
    call->done(call);
}

static void fail(struct controller_call *call, enum kq_err err)
{
    struct fault *fault = &call->call.call.fault;
    if (call->maybe_done)
        (void)fault_set(fault, KQ_OUTCOME_UNKNOWN, "the controller was asked, and its answer did not come in time");
    else if (err == KQ_STOPPING)
        *fault = (struct fault){.err = KQ_STOPPING};
    else
        (void)fault_set(fault, KQ_NO_LEADER,
                        "no broker could be reached that controls the cluster: that takes a majority of the brokers; "
                        "nothing was changed");
    finish(call);
}

/* Waits for the next try. False: the time is over, or the cluster stops. */
static bool postpone(struct controller_call *call)
{
    struct cluster *c = call->cluster;
    int64_t now_us = clock_mono_us();
    (void)pthread_mutex_lock(&c->lock);
    bool waits = !c->stopping && now_us < call->deadline_us;
    if (waits) {
        call->next = c->calls_waiting;
        c->calls_waiting = call;
        engine_set_deadline(c->options.engine, &c->calls_deadline, now_us + RETRY_US);
    }
    (void)pthread_mutex_unlock(&c->lock);
    return waits;
}

static void after_try(struct controller_call *call, bool maybe_delivered)
{
    struct cluster *c = call->cluster;
    enum kq_err err = call->call.call.fault.err;
    free(call->alive);
    call->alive = NULL;
    bool removed =
        (err == KQ_UNKNOWN_TOPIC && call->call.verb == METADATA_DELETE_TOPIC) ||
        (err == KQ_NOT_FOUND && call->call.verb == METADATA_ORDER && call->call.order == CLUSTER_REMOVE_BROKER);
    if (removed && call->maybe_done)
        call->call.call.fault = (struct fault){.err = KQ_OK}; /* by the earlier try */
    if (calls_judge(&call->call, call->call.call.fault.err, maybe_delivered, &call->maybe_done) == CALLS_ANSWER) {
        finish(call);
        return;
    }
    if (!postpone(call))
        fail(call, cluster_is_stopping(c) ? KQ_STOPPING : err);
}

/* Metadata actor's turn. */
static void local_done(struct machine_call *base)
{
    after_try(CONTAINER_OF(base, struct controller_call, call.call), false);
}

/* Any thread. */
static void remote_done(struct ask *ask)
{
    struct controller_call *call = ask->owner;
    call->call.call.fault = ask->fault;
    if (ask->fault.err == KQ_OK && metadata_wire_decode_answer(ask->answer.data, ask->answer.len, &call->call) != KQ_OK)
        (void)fault_set(&call->call.call.fault, KQ_OUTCOME_UNKNOWN, "the controller's answer cannot be read");
    buf_fini(&ask->answer);
    after_try(call, ask->maybe_delivered);
}

static void ask_remote(struct controller_call *call, uint32_t controller)
{
    struct cluster *c = call->cluster;
    buf_reset(&call->body);
    metadata_wire_encode(&call->call, &call->body);
    if (call->body.bad) {
        call->call.call.fault = (struct fault){.err = KQ_INVALID};
        finish(call);
        return;
    }
    call->part = (struct iovec){.iov_base = call->body.data, .iov_len = call->body.len};
    int64_t patience_us = c->options.config->forward_timeout_us;
    if (is_repeatable(&call->call) && patience_us > TRY_US)
        patience_us = TRY_US;
    int64_t timeout_us = clock_mono_us() + patience_us;
    call->ask = (struct ask){.broker_id = controller,
                             .verb = ASK_METADATA,
                             .parts = &call->part,
                             .part_count = 1,
                             .deadline_us = timeout_us < call->deadline_us ? timeout_us : call->deadline_us,
                             .done = remote_done,
                             .owner = call};
    links_ask(c->links, &call->ask);
}

/* While no controller is known here, others are asked in turn: one of them may know. */
static uint32_t somebody(struct cluster *c)
{
    struct image *image = cluster_image(c);
    uint32_t self = c->identity.broker_id;
    uint32_t turn = atomic_fetch_add(&c->calls_turn, 1);
    size_t known = image_broker_count(image);
    uint32_t found = 0;
    if (known > 1) {
        const struct image_broker *b = image_broker_at(image, turn % known);
        found = b->id != self && links_is_alive(c->links, b->id) ? b->id : 0;
    } else if (known == 0 && c->contacts.count > 0)
        found = c->contacts.peers[turn % c->contacts.count].broker_id;
    else if (known == 0)
        found = c->identity.founding.members[turn % c->identity.founding.count].broker_id;
    image_drop(&image);
    return found == self ? 0 : found;
}

static void try_call(struct controller_call *call)
{
    struct cluster *c = call->cluster;
    if (cluster_is_stopping(c)) {
        fail(call, KQ_STOPPING);
        return;
    }
    uint32_t controller = cluster_controller(c);
    if (controller == 0)
        controller = somebody(c);
    if (controller == c->identity.broker_id) {
        inform(c, &call->call, &call->alive);
        call->call.call.done = local_done;
        partition_call(c->metadata_partition, &call->call.call);
    } else if (controller != 0 && clock_mono_us() < call->deadline_us)
        ask_remote(call, controller);
    else if (!postpone(call))
        fail(call, cluster_is_stopping(c) ? KQ_STOPPING : KQ_NO_LEADER);
}

void calls_begin(struct cluster *cluster, struct controller_call *call)
{
    call->cluster = cluster;
    call->maybe_done = false;
    call->alive = NULL;
    buf_init(&call->body, METADATA_WIRE_BYTES_MAX);
    try_call(call);
}

/* ---- who waits for a controller ------------------------------------------------------------- */

static struct controller_call *take_waiting(struct cluster *c)
{
    (void)pthread_mutex_lock(&c->lock);
    struct controller_call *first = c->calls_waiting;
    c->calls_waiting = NULL;
    (void)pthread_mutex_unlock(&c->lock);
    return first;
}

void calls_fire(struct engine_deadline *deadline)
{
    struct cluster *c = CONTAINER_OF(deadline, struct cluster, calls_deadline);
    struct controller_call *call = take_waiting(c);
    for (struct controller_call *next; call != NULL; call = next) {
        next = call->next;
        try_call(call);
    }
}

void calls_leader_changed(struct cluster *c)
{
    (void)pthread_mutex_lock(&c->lock);
    if (c->calls_waiting != NULL && !c->stopping)
        engine_set_deadline(c->options.engine, &c->calls_deadline, clock_mono_us());
    (void)pthread_mutex_unlock(&c->lock);
}

void calls_stop(struct cluster *c)
{
    struct controller_call *call = take_waiting(c);
    for (struct controller_call *next; call != NULL; call = next) {
        next = call->next;
        fail(call, KQ_STOPPING);
    }
}

/* ---- other brokers' calls -------------------------------------------------------------------- */

struct served {
    struct metadata_call call; /* first in its machine_call's place */
    struct partition_ask barrier;
    struct cluster *cluster;
    struct asked *asked;
    struct metadata_wire_texts texts;
    uint32_t *alive;
};

static void answer_served(struct served *s, const struct fault *fault, struct buf *body)
{
    struct iovec part = {.iov_base = body->data, .iov_len = body->len};
    ask_answer(s->asked, fault, &part, fault->err == KQ_OK ? 1 : 0);
    buf_fini(body);
    free(s->alive);
    free(s);
}

/* Metadata actor's turn, both. */
static void served_done(struct machine_call *base)
{
    struct served *s = CONTAINER_OF(base, struct served, call.call);
    struct fault fault = s->call.call.fault;
    struct buf body;
    buf_init(&body, METADATA_WIRE_BYTES_MAX);
    metadata_wire_encode_answer(&s->call, &body);
    answer_served(s, &fault, &body);
}

static void barrier_done(struct partition_ask *ask)
{
    struct served *s = CONTAINER_OF(ask, struct served, barrier);
    struct fault fault = ask->fault;
    struct buf body;
    buf_init(&body, METADATA_WIRE_BYTES_MAX);
    metadata_wire_encode_offset((uint64_t)ask->off, &body);
    answer_served(s, &fault, &body);
}

/* ---- passing on, for who does not know the controller ------------------------------------------ */

struct passed {
    struct ask ask;
    struct asked *asked;
    struct iovec part;
    uint8_t body[METADATA_WIRE_BYTES_MAX];
};

static void passed_done(struct ask *ask)
{
    struct passed *p = ask->owner;
    struct iovec part = {.iov_base = ask->answer.data, .iov_len = ask->answer.len};
    if (ask->fault.err != KQ_OK && ask->maybe_delivered)
        ask->fault.err = KQ_OUTCOME_UNKNOWN;
    ask_answer(p->asked, &ask->fault, &part, ask->fault.err == KQ_OK ? 1 : 0);
    buf_fini(&ask->answer);
    free(p);
}

/* False: it cannot be. */
static bool pass_on(struct cluster *c, struct asked *asked)
{
    uint32_t controller = cluster_controller(c);
    bool may = controller != 0 && controller != asked->broker_id && asked->body_bytes > METADATA_WIRE_HOPS_AT &&
               asked->body_bytes <= METADATA_WIRE_BYTES_MAX && asked->body[METADATA_WIRE_HOPS_AT] == 0;
    struct passed *p = may ? calloc(1, sizeof *p) : NULL;
    if (p == NULL)
        return false;
    memcpy(p->body, asked->body, asked->body_bytes);
    p->body[METADATA_WIRE_HOPS_AT] = 1;
    p->asked = asked;
    p->part = (struct iovec){.iov_base = p->body, .iov_len = asked->body_bytes};
    p->ask = (struct ask){.broker_id = controller,
                          .verb = ASK_METADATA,
                          .parts = &p->part,
                          .part_count = 1,
                          .deadline_us = asked->deadline_us,
                          .done = passed_done,
                          .owner = p};
    links_ask(c->links, &p->ask);
    return true;
}

void calls_serve(void *context, struct asked *asked)
{
    struct cluster *c = context;
    if (cluster_controller(c) != c->identity.broker_id && pass_on(c, asked))
        return;
    struct served *s = calloc(1, sizeof *s);
    struct fault fault = {.err = s == NULL ? KQ_NO_MEMORY : KQ_OK};
    bool barrier = false;
    if (s != NULL)
        fault.err = metadata_wire_decode(asked->body, asked->body_bytes, &s->call, &s->texts, &barrier);
    if (fault.err == KQ_OK && cluster_controller(c) != c->identity.broker_id)
        fault.err = KQ_NOT_LEADER;
    if (fault.err != KQ_OK) {
        ask_answer(asked, &fault, NULL, 0);
        free(s);
        return;
    }
    s->cluster = c;
    s->asked = asked;
    if (barrier) {
        s->barrier = (struct partition_ask){
            .question = PARTITION_ASK_BARRIER, .deadline_us = asked->deadline_us, .done = barrier_done};
        partition_ask(c->metadata_partition, &s->barrier);
        return;
    }
    inform(c, &s->call, &s->alive);
    s->call.call.done = served_done;
    partition_call(c->metadata_partition, &s->call.call);
}
