/*
 * Order. Under the connection's lock there is a list of the calls that are not answered
 * yet. Whoever answers one writes all that is due at the front of the list, so that
 * answers leave in order whichever thread comes first. As Kafka has one request of a
 * connection in hand at a time, so has this, but for Produce, of which many may be on
 * their way: each goes to its partitions before the next is looked at.
 *
 * Memory. A frame is copied once, from the worker's buffer, or (when it is larger than
 * that) read where it stays. It lives with its call. The arena is the call's too.
 *
 * A call holds its connection, and is freed by whoever drops the last of its references:
 * one of the list, one of whoever has just begun it, one of whoever cancels it.
 */
#include "base/logger.h"
#include "base/require.h"
#include "server/kafka_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { KEEP_FRAME_MIN_BYTES = 4096 };

struct kafka_session {
    struct conn *conn;
    struct kafka_front *front;
    /* Under the connection's lock. */
    struct kafka_call *first;
    struct kafka_call **last;
    uint32_t waiting;           /* calls in that list */
    uint32_t crowded;           /* of them, at mailboxes that have enough */
    struct kafka_call *running; /* the one that is no Produce */
    bool wants_quiet;           /* the next request waits for all before it */
    bool cancelled;             /* nothing waits for long any more */
    /* The worker's. */
    bool refused;
};

struct conn *kafka_call_conn(struct kafka_call *call)
{
    return call->session->conn;
}

struct kafka_front *kafka_call_front(struct kafka_call *call)
{
    return call->session->front;
}

/* ---- life of a call --------------------------------------------------------------------- */

/* Records that nobody will be sent. */
static void pieces_release(struct kafka_call *call)
{
    for (struct kafka_pieces *pieces = call->pieces; pieces != NULL; pieces = pieces->next)
        for (uint32_t i = 0; i < pieces->count; i++)
            pieces->at[i].release(pieces->at[i].keeper);
    call->pieces = NULL;
}

static void call_free(struct kafka_call *call)
{
    struct conn *conn = call->session->conn;
    if (call->fini != NULL)
        call->fini(call);
    pieces_release(call);
    conn_memory_give(conn_home_of(conn), call->held_bytes);
    buf_fini(&call->reply);
    free(call->reply_splices.at);
    kafka_arena_fini(&call->arena);
    free(call->memory);
    free(call);
    conn_drop(conn);
}

/* Takes memory, where the frame lies. NULL: out of memory. */
static struct kafka_call *call_new(struct kafka_session *session, uint8_t *memory, uint8_t *frame, size_t frame_bytes)
{
    struct kafka_call *call = calloc(1, sizeof(*call));
    if (call == NULL) {
        free(memory);
        return NULL;
    }
    call->session = session;
    call->broker = session->front->broker;
    call->memory = memory;
    call->frame = frame;
    call->refs = 1; /* of who begins it */
    call->held_bytes = (int64_t)(sizeof(*call) + frame_bytes);
    kafka_arena_init(&call->arena, KAFKA_ARENA_MAX_BYTES);
    buf_init(&call->reply, KAFKA_ANSWER_MAX_BYTES);
    conn_memory_take(conn_home_of(session->conn), call->held_bytes);
    (void)conn_hold(session->conn);
    return call;
}

/* ---- answering ---------------------------------------------------------------------------- */

/* Lock held. The answer's bytes, and between them what is sent from where it lies. */
static void call_put(struct kafka_call *call)
{
    struct conn *conn = call->session->conn;
    const struct kafka_splices *splices = &call->reply_splices;
    size_t done = 0;
    if (call->hang_up || call->reply.bad) {
        pieces_release(call);
        conn_end(conn);
        return;
    }
    if (splices->count == 0 && call->reply.len > KEEP_FRAME_MIN_BYTES) {
        conn_give(conn, call->reply.data, call->reply.len);
        buf_init(&call->reply, KAFKA_ANSWER_MAX_BYTES);
        return;
    }
    for (size_t i = 0; i < splices->count; i++) {
        const struct kafka_splice *splice = &splices->at[i];
        const struct kafka_pieces *pieces = (const void *)splice->bytes.data;
        conn_put(conn, call->reply.data + done, splice->at - done);
        done = splice->at;
        for (uint32_t p = 0; p < pieces->count; p++)
            conn_lend(conn, pieces->at[p].bytes.data, pieces->at[p].bytes.len, pieces->at[p].release,
                      pieces->at[p].keeper);
    }
    call->pieces = NULL; /* the output has them all */
    conn_put(conn, call->reply.data + done, call->reply.len - done);
}

/* Lock held. Writes what is due; gives back those that are to be freed, without the lock. */
static struct kafka_call *session_answer(struct kafka_session *session)
{
    struct kafka_call *spent = NULL;
    while (session->first != NULL && session->first->answered) {
        struct kafka_call *call = session->first;
        session->first = call->next;
        if (session->first == NULL)
            session->last = &session->first;
        session->waiting--;
        if (session->running == call)
            session->running = NULL;
        if (call->crowds)
            session->crowded--;
        if (!call->silent || call->hang_up)
            call_put(call);
        if (--call->refs > 0)
            continue;
        call->next = spent;
        spent = call;
    }
    if (session->first == NULL)
        session->wants_quiet = false;
    return spent;
}

static void calls_free(struct kafka_call *call)
{
    while (call != NULL) {
        struct kafka_call *next = call->next;
        call_free(call);
        call = next;
    }
}

/* Encodes the answer; no lock held. */
static void call_encode(struct kafka_call *call)
{
    if (call->silent || call->hang_up)
        return;
    if (call->splices > 0) {
        call->reply_splices.at = calloc(call->splices, sizeof(*call->reply_splices.at));
        call->reply_splices.room = call->splices;
    }
    if (call->arena.err != KQ_OK || (call->splices > 0 && call->reply_splices.at == NULL)) {
        SAY_WARNING("%s of a Kafka client could not be answered: %s; its connection is closed", call->request.api->name,
                    err_text(call->arena.err != KQ_OK ? call->arena.err : KQ_NO_MEMORY));
        call->hang_up = true;
        return;
    }
    kafka_answer_put(&call->reply, &call->request, call->answer, call->splices > 0 ? &call->reply_splices : NULL);
    if (call->reply.bad)
        SAY_WARNING("the answer to %s of a Kafka client is larger than %d bytes, or memory is out; its connection "
                    "is closed",
                    call->request.api->name, KAFKA_ANSWER_MAX_BYTES);
}

void kafka_call_answered(struct kafka_call *call)
{
    struct kafka_session *session = call->session;
    struct conn *conn = conn_hold(session->conn);
    call_encode(call);
    conn_lock(conn);
    REQUIRE(!call->answered);
    call->answered = true;
    struct kafka_call *spent = session_answer(session);
    conn_answered(conn);
    conn_unlock(conn);
    calls_free(spent);
    conn_drop(conn);
}

static void call_work(struct pool_job *job, struct worker *worker)
{
    struct kafka_call *call = CONTAINER_OF(job, struct kafka_call, job);
    call->work(call, worker);
}

void kafka_call_wants_worker(struct kafka_call *call, void (*work)(struct kafka_call *call, struct worker *worker))
{
    struct conn *conn = call->session->conn;
    call->work = work;
    call->job.run = call_work;
    conn_lock(conn);
    bool gone = conn_is_dead(conn); /* the pool works for as long as a connection lives */
    if (!gone)
        pool_post(conn_home_of(conn)->pool, &call->job);
    conn_unlock(conn);
    if (!gone)
        return;
    call->hang_up = true;
    kafka_call_answered(call);
}

/* ---- requests ------------------------------------------------------------------------------ */

/* The connection cannot go on: what it sends is no Kafka, or not what this broker speaks. */
static void session_refuse(struct kafka_session *session, const char *why)
{
    SAY_WARNING("the connection of a Kafka client is closed: %s", why);
    session->refused = true;
    conn_lock(session->conn);
    conn_end(session->conn);
    conn_unlock(session->conn);
}

/* Reads header and body; false: the connection ends. */
static bool call_read(struct kafka_call *call, size_t frame_bytes)
{
    struct kafka_request *request = &call->request;
    char why[160];
    enum kq_err err = kafka_request_open(slice_of(call->frame, frame_bytes), request);
    bool versions = request->api != NULL && request->api->key == KAFKA_API_VERSIONS;
    if (err == KQ_OK || (err == KQ_BAD_VERSION && versions)) {
        REQUIRE(request->api != NULL);
        call->answer = kafka_make(&call->arena, request->api->response, 1);
        bool asked = err == KQ_OK;
        err = call->answer == NULL ? call->arena.err : KQ_OK;
        if (asked && err == KQ_OK)
            err = kafka_request_body(request, &call->arena, &call->body);
    }
    if (err == KQ_OK && kafka_handler_of(request->key) != NULL)
        return true;
    if (err == KQ_OK || err == KQ_NOT_FOUND)
        (void)snprintf(why, sizeof(why), "it asks for API %d, which this broker does not speak", request->key);
    else if (err == KQ_BAD_VERSION && request->api != NULL)
        (void)snprintf(why, sizeof(why), "it asks for %s in version %d, which this broker does not speak",
                       request->api->name, request->version);
    else
        (void)snprintf(why, sizeof(why), "a request (%s, version %d) cannot be read: %s",
                       request->api == NULL ? "unknown" : request->api->name, request->version, err_text(err));
    session_refuse(call->session, why);
    return false;
}

void kafka_call_hold(struct kafka_call *call)
{
    conn_lock(call->session->conn);
    call->refs++;
    conn_unlock(call->session->conn);
}

void kafka_call_drop(struct kafka_call *call)
{
    struct conn *conn = conn_hold(call->session->conn);
    conn_lock(conn);
    bool last = --call->refs == 0;
    conn_unlock(conn);
    if (last)
        call_free(call);
    conn_drop(conn);
}

bool kafka_call_counts(struct kafka_call *call)
{
    struct conn_home *home = conn_home_of(call->session->conn);
    int64_t more_bytes = (int64_t)call->arena.held_bytes - call->arena_bytes;
    if (more_bytes != 0)
        conn_memory_take(home, more_bytes);
    call->arena_bytes += more_bytes;
    call->held_bytes += more_bytes;
    return !conn_memory_over(home);
}

static void session_run(struct kafka_session *session, struct worker *worker, uint8_t *memory, uint8_t *frame,
                        size_t frame_bytes)
{
    struct kafka_call *call = call_new(session, memory, frame, frame_bytes);
    if (call == NULL) {
        session_refuse(session, err_text(KQ_NO_MEMORY));
        return;
    }
    if (!call_read(call, frame_bytes)) {
        call_free(call);
        return;
    }
    (void)kafka_call_counts(call);
    call->is_produce = call->request.key == KAFKA_PRODUCE;
    conn_lock(session->conn);
    call->refs++; /* of the list */
    *session->last = call;
    session->last = &call->next;
    session->waiting++;
    if (!call->is_produce)
        session->running = call;
    conn_unlock(session->conn);
    atomic_fetch_add_explicit(&conn_home_of(session->conn)->counters.commands, 1, memory_order_relaxed);
    kafka_handler_of(call->request.key)(call, worker);
    kafka_call_drop(call);
}

/* Lock held. Whether a request of this kind may begin now. */
static bool session_may_begin(struct kafka_session *session, bool is_produce)
{
    if (session->first == NULL)
        return true;
    if (!is_produce)
        session->wants_quiet = true;
    return is_produce && session->running == NULL && session->crowded == 0 && session->waiting < KAFKA_PRODUCES_MAX;
}

/* The frame at data, all of it there. False: it has to wait. */
static bool session_frame(struct kafka_session *session, uint8_t *data, size_t frame_bytes, bool whole_input,
                          struct worker *worker, struct conn_taken *taken)
{
    bool is_produce = get_be16(data + KAFKA_SIZE_BYTES) == KAFKA_PRODUCE;
    conn_lock(session->conn);
    bool begins = session_may_begin(session, is_produce);
    conn_unlock(session->conn);
    if (!begins)
        return false;
    uint8_t *memory = data, *frame = data + KAFKA_SIZE_BYTES;
    taken->kept = taken->may_keep && whole_input && frame_bytes >= KEEP_FRAME_MIN_BYTES;
    if (!taken->kept) {
        memory = frame = malloc(frame_bytes);
        if (memory != NULL)
            memcpy(memory, data + KAFKA_SIZE_BYTES, frame_bytes);
    }
    if (memory == NULL)
        session_refuse(session, err_text(KQ_NO_MEMORY));
    else
        session_run(session, worker, memory, frame, frame_bytes);
    return true;
}

static void kafka_input(void *opaque, uint8_t *data, size_t size_bytes, struct worker *worker, struct conn_taken *taken)
{
    struct kafka_session *session = opaque;
    uint32_t limit_bytes = (uint32_t)session->front->broker->config->request_max_bytes;
    while (taken->bytes < size_bytes) {
        uint8_t *at = data + taken->bytes;
        size_t rest_bytes = size_bytes - taken->bytes;
        uint32_t frame_bytes = 0;
        taken->mid_line = true;
        if (rest_bytes < KAFKA_SIZE_BYTES)
            return;
        if (kafka_frame_size(at, limit_bytes, &frame_bytes) != KQ_OK) {
            char why[160];
            (void)snprintf(why, sizeof(why), "a frame of %d bytes is announced; a request has at most %u (request.max)",
                           (int32_t)get_be32(at), limit_bytes);
            session_refuse(session, why);
            taken->bytes = size_bytes;
            taken->mid_line = false;
            return;
        }
        taken->whole_bytes = KAFKA_SIZE_BYTES + (size_t)frame_bytes;
        if (rest_bytes < taken->whole_bytes)
            return;
        taken->mid_line = false;
        if (!session_frame(session, at, frame_bytes, taken->whole_bytes == size_bytes, worker, taken)) {
            taken->blocked = true;
            return;
        }
        taken->bytes += KAFKA_SIZE_BYTES + (size_t)frame_bytes;
        if (session->refused)
            taken->bytes = size_bytes;
    }
    taken->mid_line = false;
}

bool kafka_call_waits(struct kafka_call *call, void (*cancel)(struct kafka_call *call))
{
    struct kafka_session *session = call->session;
    conn_lock(session->conn);
    REQUIRE(session->running == call);
    bool waits = !session->cancelled;
    if (waits)
        call->cancel = cancel;
    conn_unlock(session->conn);
    return waits;
}

void kafka_call_crowds(struct kafka_call *call)
{
    struct kafka_session *session = call->session;
    conn_lock(session->conn);
    if (!call->answered && !call->crowds) {
        call->crowds = true;
        session->crowded++;
    }
    conn_unlock(session->conn);
}

/* ---- the protocol's table --------------------------------------------------------------------- */

static void kafka_open(void *opaque, struct conn *conn)
{
    struct kafka_session *session = opaque;
    session->conn = conn;
    session->front = conn_context(conn);
    session->last = &session->first;
}

static void kafka_work(void *opaque, struct worker *worker)
{
    (void)opaque;
    (void)worker;
}

static bool kafka_ready(const void *opaque)
{
    const struct kafka_session *session = opaque;
    if (session->wants_quiet || session->running != NULL)
        return session->first == NULL;
    return session->crowded == 0 && session->waiting < KAFKA_PRODUCES_MAX;
}

static bool kafka_may_linger(const void *opaque)
{
    return ((const struct kafka_session *)opaque)->running == NULL;
}

/* Calls that want a worker have a job of their own. */
static bool kafka_has_work(const void *opaque, size_t output_bytes)
{
    (void)opaque;
    (void)output_bytes;
    return false;
}

static bool kafka_settled(const void *opaque)
{
    return ((const struct kafka_session *)opaque)->first == NULL;
}

static bool kafka_waits(const void *opaque)
{
    const struct kafka_call *running = ((const struct kafka_session *)opaque)->running;
    return running != NULL && running->cancel != NULL;
}

/* A client that is cut off in the middle of a frame has no answer to wait for. */
static void kafka_late(void *opaque)
{
    (void)opaque;
}

/* The worker or the acceptor. What waits for long ends. */
static void kafka_cancel(void *opaque)
{
    struct kafka_session *session = opaque;
    conn_lock(session->conn);
    session->cancelled = true;
    struct kafka_call *call = session->running;
    void (*cancel)(struct kafka_call *) = call == NULL ? NULL : call->cancel;
    if (cancel != NULL) {
        call->cancel = NULL;
        call->refs++;
    }
    conn_unlock(session->conn);
    if (cancel == NULL)
        return;
    cancel(call);
    kafka_call_drop(call);
}

static void kafka_fini(void *opaque)
{
    REQUIRE(((struct kafka_session *)opaque)->first == NULL);
}

const struct conn_protocol *kafka_protocol(void)
{
    static const struct conn_protocol protocol = {
        .name = "Kafka",
        .session_bytes = sizeof(struct kafka_session),
        .open = kafka_open,
        .input = kafka_input,
        .work = kafka_work,
        .ready = kafka_ready,
        .may_linger = kafka_may_linger,
        .has_work = kafka_has_work,
        .settled = kafka_settled,
        .waits = kafka_waits,
        .late = kafka_late,
        .cut = kafka_late,
        .hangup = kafka_cancel,
        .cancel = kafka_cancel,
        .fini = kafka_fini,
    };
    return &protocol;
}
