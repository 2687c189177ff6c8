/*
 * Order. Under the connection's lock there is a list of what is not answered yet:
 * folds of publishes, and error lines that wait behind them. Whoever completes a
 * part of a fold writes all replies that are due at the front of the list, so they
 * leave in order whichever thread comes first. A command that is no publish is
 * begun only when the list is empty and no errand is under way (`wants_quiet`);
 * then nothing can overtake it.
 *
 * A fold is put into the list before it is sent, as its answer may come before
 * publish_fold_send returns; it is freed by whoever is last to need it (`sending`,
 * `finished`). Each fold and each errand in other hands holds the connection.
 */
#include "server/text_internal.h"

#include "base/require.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- replies ------------------------------------------------------------------------------ */

void text_put(struct text_session *session, struct buf *reply)
{
    static const char no_memory[] = "Error, out of memory\n";
    if (reply->bad)
        conn_put(session->conn, no_memory, sizeof(no_memory) - 1);
    else
        conn_put(session->conn, reply->data, reply->len);
}

void text_put_fault(struct text_session *session, enum kq_err err, const struct fault *fault)
{
    struct buf reply;
    buf_init(&reply, TEXT_REPLY_MAX_BYTES);
    reply_fault(&reply, err, fault);
    text_put(session, &reply);
    buf_fini(&reply);
}

void text_put_events(struct text_session *session)
{
    if (session->events.len > 0)
        conn_put(session->conn, session->events.data, session->events.len);
    buf_fini(&session->events);
    buf_init(&session->events, TEXT_EVENTS_MAX_BYTES);
}

/* Lock held. Writes the replies of a fold as far as they are known; true: all. */
static bool fold_answer(struct text_session *session, struct text_fold *fold)
{
    uint32_t run = 0, at = fold->answered, count = fold->fold.message_count;
    for (; at < count; at++) {
        const struct publish_part *part = publish_fold_part(&fold->fold, at);
        if (!part->done)
            break;
        if (part->request.fault.err == KQ_OK) {
            run++;
            continue;
        }
        conn_put_repeated(session->conn, "Done\n", 5, run);
        run = 0;
        text_put_fault(session, part->request.fault.err, &part->request.fault);
    }
    conn_put_repeated(session->conn, "Done\n", 5, run);
    session->waiting -= at - fold->answered;
    fold->answered = at;
    return at == count;
}

/* Lock held. Writes what is due; gives back the folds that nobody needs any more. */
static struct text_fold *session_answer(struct text_session *session)
{
    struct text_fold *spent = NULL;
    while (session->first != NULL) {
        struct text_pending *first = session->first;
        if (first->is_fold && !fold_answer(session, CONTAINER_OF(first, struct text_fold, pending)))
            break;
        session->first = first->next;
        if (session->first == NULL)
            session->last = &session->first;
        if (first->is_fold) {
            struct text_fold *fold = CONTAINER_OF(first, struct text_fold, pending);
            fold->finished = true;
            publish_flight_remove(&session->flight, &fold->fold);
            if (fold->sending)
                continue;
            first->next = spent == NULL ? NULL : &spent->pending;
            spent = fold;
        } else {
            struct text_line *line = CONTAINER_OF(first, struct text_line, pending);
            conn_put(session->conn, line->text, line->len);
            session->waiting--;
            free(line);
        }
    }
    return spent;
}

void text_folds_free(struct text_fold *fold)
{
    while (fold != NULL) {
        struct text_fold *next =
            fold->pending.next == NULL ? NULL : CONTAINER_OF(fold->pending.next, struct text_fold, pending);
        struct conn *conn = fold->session->conn;
        conn_memory_give(conn_home_of(conn), fold->held_bytes);
        publish_fold_fini(&fold->fold);
        free(fold);
        conn_drop(conn);
        fold = next;
    }
}

/* ---- what publishes on their way ask of the session (api/publish.h) ------------------------ */

static struct text_session *session_of(struct publish_flight *flight)
{
    return CONTAINER_OF(flight, struct text_session, flight);
}

static void flight_lock(struct publish_flight *flight)
{
    struct conn *conn = conn_hold(session_of(flight)->conn);
    conn_lock(conn);
}

static void flight_decided(struct publish_part *part)
{
    if (part->counted)
        session_of(part->fold->flight)->crowded--;
}

static void flight_finish(struct publish_flight *flight)
{
    struct text_session *session = session_of(flight);
    struct conn *conn = session->conn;
    struct text_fold *spent = session_answer(session);
    conn_answered(conn);
    conn_unlock(conn);
    text_folds_free(spent);
    conn_drop(conn);
}

static void flight_hold(struct publish_flight *flight)
{
    (void)conn_hold(session_of(flight)->conn);
}

static void flight_drop(struct publish_flight *flight)
{
    conn_drop(session_of(flight)->conn);
}

static const struct publish_flight_ops flight_ops = {
    .lock = flight_lock,
    .decided = flight_decided,
    .finish = flight_finish,
    .hold = flight_hold,
    .drop = flight_drop,
};

void text_put_line(struct text_session *session, struct buf *reply)
{
    if (session->first == NULL || reply->bad) {
        text_put(session, reply);
        return;
    }
    struct text_line *line = malloc(sizeof(*line) + reply->len);
    if (line == NULL) {
        conn_end(session->conn);
        return;
    }
    *line = (struct text_line){.len = reply->len};
    memcpy(line->text, reply->data, reply->len);
    *session->last = &line->pending;
    session->last = &line->pending.next;
    session->waiting++;
}

/* ---- the protocol's table --------------------------------------------------------------------------- */

static void text_open(void *opaque, struct conn *conn)
{
    struct text_session *session = opaque;
    session->conn = conn;
    session->front = conn_context(conn);
    session->last = &session->first;
    buf_init(&session->events, TEXT_EVENTS_MAX_BYTES);
    publish_flight_init(&session->flight, session->front->broker, &flight_ops);
}

static void text_work(void *opaque, struct worker *worker)
{
    struct text_session *session = opaque;
    text_errand_work(session->errand, worker);
}

static bool text_ready(const void *opaque)
{
    const struct text_session *session = opaque;
    if (session->errand != NULL)
        return session->errand->verb == TEXT_TAIL && !session->errand->interrupted;
    if (session->wants_quiet)
        return session->first == NULL;
    return session->crowded == 0 && session->waiting < session->front->broker->config->pipeline_max;
}

static bool text_may_linger(const void *opaque)
{
    return ((const struct text_session *)opaque)->errand == NULL;
}

static bool text_has_work(const void *opaque, size_t output_bytes)
{
    const struct text_session *session = opaque;
    return session->errand != NULL && session->errand->stage == ERRAND_WORK && output_bytes <= TEXT_OUTPUT_LOW_BYTES;
}

static bool text_settled(const void *opaque)
{
    const struct text_session *session = opaque;
    return session->first == NULL && session->errand == NULL;
}

/* A line that is not taken, as it has no end. */
static void refuse_line(struct text_session *session, const struct fault *fault)
{
    struct buf reply;
    buf_init(&reply, TEXT_REPLY_MAX_BYTES);
    reply_fault(&reply, fault->err, fault);
    text_put_line(session, &reply);
    buf_fini(&reply);
}

static void text_late(void *opaque)
{
    struct text_session *session = opaque;
    const struct config *config = session->front->broker->config;
    long long limit_ms = atomic_load_explicit(&config->line_timeout_us, memory_order_relaxed) / 1000;
    struct fault fault;
    fault_set(&fault, KQ_TIMEOUT, "the line did not end within %lld ms (line.timeout)", limit_ms);
    refuse_line(session, &fault);
}

/* What is cut off may have been meant to go on: it is never taken as a command. */
static void text_cut(void *opaque)
{
    const struct text_session *session = opaque;
    struct fault fault;
    if (session->skipping) /* it is answered already: too long */
        return;
    fault_set(&fault, KQ_INVALID, "the last line has no end and was not taken; a command is ended by a line feed");
    refuse_line(opaque, &fault);
}

static void text_hangup(void *opaque)
{
    text_read_interrupt(opaque, false);
}

static void text_cancel(void *opaque)
{
    struct text_session *session = opaque;
    struct text_front *front = session->front;
    conn_lock(session->conn);
    session->gone = true;
    struct group_session group = session->group;
    (void)pthread_mutex_lock(&front->lock);
    if (group.id != 0)
        (void)map_remove(&front->sessions, &group.id, sizeof(group.id));
    (void)pthread_mutex_unlock(&front->lock);
    if (session->errand != NULL)
        text_read_unlist(session->errand);
    conn_unlock(session->conn);
    text_read_interrupt(session, true);
    if (group.id != 0)
        session_closed(front->broker, &group);
}

static void text_fini(void *opaque)
{
    struct text_session *session = opaque;
    REQUIRE(session->first == NULL);
    if (session->errand != NULL)
        text_errand_drop(session->errand);
    buf_fini(&session->events);
}

const struct conn_protocol *text_protocol(void)
{
    static const struct conn_protocol protocol = {
        .name = "text",
        .lines = true,
        .session_bytes = sizeof(struct text_session),
        .open = text_open,
        .input = text_take_input,
        .work = text_work,
        .ready = text_ready,
        .may_linger = text_may_linger,
        .has_work = text_has_work,
        .settled = text_settled,
        .late = text_late,
        .cut = text_cut,
        .hangup = text_hangup,
        .cancel = text_cancel,
        .fini = text_fini,
    };
    return &protocol;
}
