/*
 * CONS and TAIL. A worker writes a piece, sends what goes, and lets go; when the
 * client has taken most of it, a worker writes the next. So a reader holds no
 * thread, and memory for one piece. What goes on between pieces is the fetch; a
 * TAIL that has caught up lets go of it and waits at the partition.
 *
 * The errand's stage is changed under the connection's lock; WORK is acted on
 * only by the worker that holds the connection.
 */
#include "server/text_internal.h"

#include "api/route.h"
#include "base/clock.h"
#include "base/require.h"

#include <stdlib.h>
#include <string.h>

enum { RENEWALS_A_TIMEOUT = 3 };

/* ---- a piece of the reply ------------------------------------------------------------------- */

struct piece {
    struct text_errand *errand;
    struct buf *out;
    size_t whole_bytes; /* up to the last whole record: what an I/O error leaves */
};

static bool piece_add(void *context, struct record *record)
{
    struct piece *piece = context;
    struct text_errand *errand = piece->errand;
    struct reply_record shown = {.header = record_header_named(record, "Header"),
                                 .key = record->key,
                                 .body = record->value,
                                 .offset = record->off,
                                 .timestamp_ms = record->time_ms};
    if (errand->verb == TEXT_TAIL)
        reply_tail_record(piece->out, &shown);
    else
        reply_records_add(piece->out, &shown, errand->first);
    if (piece->out->bad)
        return false;
    errand->first = false;
    piece->whole_bytes = piece->out->len;
    return piece->out->len < TEXT_PIECE_BYTES;
}

/* ---- ends --------------------------------------------------------------------------------------- */

/* Worker. An error instead of a reply, or at the end of one that has begun. */
static void read_fault(struct text_errand *errand, enum kq_err err, const struct fault *fault)
{
    struct text_session *session = errand->session;
    struct buf *out = &errand->piece;
    if (errand->verb == TEXT_CONS && errand->begun)
        reply_records_fail(out, fault_text(fault));
    else
        reply_fault(out, err, fault);
    conn_lock(session->conn);
    text_put(session, out);
    conn_reply_ended(session->conn);
    text_errand_end(errand);
    conn_unlock(session->conn);
}

/* Worker. */
static void read_end(struct text_errand *errand)
{
    struct text_session *session = errand->session;
    conn_lock(session->conn);
    if (errand->piece.len > 0)
        conn_send_through(session->conn, errand->piece.data, errand->piece.len);
    conn_reply_ended(session->conn);
    text_errand_end(errand);
    conn_unlock(session->conn);
}

/* Worker. What was pulled of another broker counts as memory held for clients. */
static void read_account(struct text_errand *errand)
{
    struct conn_home *home = conn_home_of(errand->session->conn);
    int64_t held_bytes = (int64_t)errand->reader.fetch.pulled.cap;
    if (held_bytes == errand->pulled_bytes)
        return;
    conn_memory_take(home, held_bytes);
    conn_memory_give(home, errand->pulled_bytes);
    errand->pulled_bytes = held_bytes;
}

/* ---- asking the reader ---------------------------------------------------------------------------- */

/* Any thread. */
static void reader_done(struct reader *reader)
{
    struct text_errand *errand = reader->owner;
    struct conn *conn = errand->session->conn;
    conn_lock(conn);
    errand->stage = ERRAND_WORK;
    conn_answered(conn);
    text_errand_drop(errand);
    conn_unlock(conn);
    conn_drop(conn);
}

/* Worker. Before a call of the reader: its done brings a worker back. */
static void read_asks(struct text_errand *errand)
{
    struct conn *conn = errand->session->conn;
    conn_lock(conn);
    errand->stage = ERRAND_READS;
    (void)conn_hold(conn);
    (void)text_errand_hold(errand);
    conn_unlock(conn);
}

/* Worker. Until there is more. False: something is to be done first. */
static bool read_wait(struct text_errand *errand)
{
    struct conn *conn = errand->session->conn;
    conn_lock(conn);
    if (errand->session->gone) /* cancelled before there was anything to wake */
        errand->interrupted = true;
    bool wait = !errand->interrupted && !errand->ends && errand->ended.err == KQ_OK;
    if (wait) {
        errand->stage = ERRAND_WAITS;
        (void)conn_hold(conn);
        (void)text_errand_hold(errand);
        text_put_events(errand->session);
    }
    conn_unlock(conn);
    if (wait)
        reader_wait(&errand->reader);
    return wait;
}

/* No lock held. Whoever waits goes on at once. */
static void read_wake(struct text_session *session, bool (*change)(struct text_errand *errand, const void *what),
                      const void *what)
{
    struct conn *conn = session->conn;
    conn_lock(conn);
    struct text_errand *errand = session->errand;
    bool wake = errand != NULL && errand->verb == TEXT_TAIL && change(errand, what) && errand->stage == ERRAND_WAITS;
    if (wake)
        (void)text_errand_hold(errand);
    conn_unlock(conn);
    if (!wake)
        return;
    reader_cancel(&errand->reader);
    conn_lock(conn);
    text_errand_drop(errand);
    conn_unlock(conn);
}

static bool change_interrupt(struct text_errand *errand, const void *what)
{
    if (*(const bool *)what)
        errand->interrupted = true;
    errand->ends = true;
    return true;
}

void text_read_interrupt(struct text_session *session, bool at_once)
{
    read_wake(session, change_interrupt, &at_once);
}

static bool change_revoked(struct text_errand *errand, const void *what)
{
    const struct subscription_id *id = what;
    if (!uuid_equal(&errand->id.secret, &id->secret))
        return false;
    fault_set(&errand->ended, KQ_UNKNOWN_SUBSCRIPTION, "%s", err_text(KQ_UNKNOWN_SUBSCRIPTION));
    return true;
}

void text_read_revoked(struct text_session *session, const struct subscription_id *id)
{
    read_wake(session, change_revoked, id);
}

/* ---- keeping a TAIL's subscription alive ---------------------------------------------------------------- */

static void renew_later(struct text_front *front)
{
    int64_t timeout_us = atomic_load_explicit(&front->broker->config->session_timeout_us, memory_order_relaxed);
    engine_set_deadline(front->broker->engine, &front->renewal, clock_mono_us() + timeout_us / RENEWALS_A_TIMEOUT);
}

/* Connection's lock held. */
static void read_list(struct text_errand *errand)
{
    struct text_front *front = errand->session->front;
    if (errand->session->gone)
        return;
    (void)pthread_mutex_lock(&front->lock);
    errand->listed = true;
    errand->prev_tail = NULL;
    errand->next_tail = front->tails;
    if (errand->next_tail != NULL)
        errand->next_tail->prev_tail = errand;
    front->tails = errand;
    if (!front->renewing && !front->stopped) {
        front->renewing = true;
        renew_later(front);
    }
    (void)pthread_mutex_unlock(&front->lock);
}

void text_read_unlist(struct text_errand *errand)
{
    if (!errand->listed)
        return;
    struct text_front *front = errand->session->front;
    (void)pthread_mutex_lock(&front->lock);
    if (errand->prev_tail != NULL)
        errand->prev_tail->next_tail = errand->next_tail;
    else
        front->tails = errand->next_tail;
    if (errand->next_tail != NULL)
        errand->next_tail->prev_tail = errand->prev_tail;
    errand->listed = false;
    (void)pthread_mutex_unlock(&front->lock);
}

/* The timer's thread. */
void text_renew_fire(struct engine_deadline *deadline)
{
    struct text_front *front = CONTAINER_OF(deadline, struct text_front, renewal);
    (void)pthread_mutex_lock(&front->lock);
    if (!front->stopped && front->tails != NULL) {
        struct conn *conn = front->tails->session->conn;
        pool_post(conn_home_of(conn)->pool, &front->renew_job);
    } else {
        front->renewing = false;
    }
    (void)pthread_mutex_unlock(&front->lock);
}

/* One renewal under way. */
struct renewal {
    struct group_request request;
    struct conn *conn;
    struct renewal *next;
    char topic[TEXT_TOPIC_NAME_MAX_BYTES + 1];
};

static void renewal_done(struct group_request *request)
{
    struct renewal *renewal = request->owner;
    if (request->call.call.fault.err == KQ_UNKNOWN_SUBSCRIPTION)
        text_read_revoked(conn_session(renewal->conn), &request->call.id);
    conn_drop(renewal->conn);
    group_request_fini(request);
    free(renewal);
}

/* Front's lock held. NULL: out of memory; the next round tries again. */
static struct renewal *renewal_new(struct text_errand *errand)
{
    struct renewal *renewal = calloc(1, sizeof(*renewal));
    if (renewal == NULL)
        return NULL;
    memcpy(renewal->topic, errand->topic, sizeof(renewal->topic));
    renewal->conn = conn_hold(errand->session->conn);
    renewal->request.done = renewal_done;
    renewal->request.owner = renewal;
    renewal->request.call.topic = renewal->topic;
    renewal->request.call.id = errand->id;
    return renewal;
}

void text_renew_job(struct pool_job *job, struct worker *worker)
{
    (void)worker;
    struct text_front *front = CONTAINER_OF(job, struct text_front, renew_job);
    struct renewal *all = NULL;
    (void)pthread_mutex_lock(&front->lock);
    for (struct text_errand *errand = front->tails; errand != NULL; errand = errand->next_tail) {
        struct renewal *renewal = renewal_new(errand);
        if (renewal == NULL)
            break;
        renewal->next = all;
        all = renewal;
    }
    front->renewing = front->tails != NULL && !front->stopped;
    if (front->renewing)
        renew_later(front);
    (void)pthread_mutex_unlock(&front->lock);
    while (all != NULL) {
        struct renewal *renewal = all;
        all = renewal->next;
        renewal->request.call.session = text_group_session(conn_session(renewal->conn));
        subscription_resolve(front->broker, &renewal->request);
    }
}

/* ---- a worker's turn ---------------------------------------------------------------------------------------- */

/* Begins to read, or answers, or asks what is committed. */
static void read_open(struct text_errand *errand)
{
    const struct group_call *call = &errand->ask.group.call;
    struct broker *broker = errand->session->front->broker;
    struct fault fault = {0};
    struct image *image = cluster_image(broker->cluster);
    struct image_topic *topic;
    enum kq_err err = route_topic(image, errand->topic, strlen(errand->topic), &topic, &fault);
    bool known = err == KQ_OK && uuid_equal(image_topic_id(topic), &call->topic_id);
    if (known)
        err = route_check(topic, call->partition, &fault);
    else if (err == KQ_OK)
        err = fault_set(&fault, KQ_UNKNOWN_SUBSCRIPTION, "%s", err_text(KQ_UNKNOWN_SUBSCRIPTION));
    image_drop(&image);
    if (!known && err != KQ_BAD_TOPIC_NAME && text_errand_catch_up(errand))
        return; /* what the coordinator knows may be newer than what is known here */
    if (err == KQ_UNKNOWN_TOPIC)
        err = route_unknown(errand->topic, &errand->catch_up.fault, &fault);
    if (err != KQ_OK) {
        read_fault(errand, err, &fault);
        return;
    }
    struct reader *reader = &errand->reader;
    reader->broker = broker;
    reader->topic_id = call->topic_id;
    reader->number = call->partition;
    reader->done = reader_done;
    reader->owner = errand;
    reader_init(reader);
    errand->reading = true;
    read_asks(errand);
    /* As asked, else where the group is (retention may have been faster), else at the log's start. */
    if (errand->has_off)
        reader_open(reader, errand->off, false);
    else
        reader_open(reader, call->committed_off < 0 ? FETCH_FROM_START : call->committed_off, true);
}

static void read_begin(struct text_errand *errand)
{
    struct conn *conn = errand->session->conn;
    errand->first = true;
    if (errand->verb == TEXT_CONS)
        reply_records_begin(&errand->piece);
    conn_lock(conn);
    if (errand->verb == TEXT_TAIL)
        read_list(errand);
    errand->begun = true; /* from here on events wait */
    if (errand->verb == TEXT_CONS)
        conn_reply_began(conn);
    conn_unlock(conn);
}

/* Sends the piece; what does not go is kept by the connection. */
static void read_send(struct text_errand *errand)
{
    struct conn *conn = errand->session->conn;
    conn_lock(conn);
    if (errand->verb == TEXT_TAIL)
        text_put_events(errand->session);
    conn_send_through(conn, errand->piece.data, errand->piece.len);
    bool drained = conn_output_bytes(conn) == 0;
    conn_unlock(conn);
    if (drained)
        buf_reset(&errand->piece);
    else
        buf_fini(&errand->piece);
    if (!drained)
        buf_init(&errand->piece, TEXT_REPLY_MAX_BYTES);
}

/* The TAIL has no more to show now. */
static void tail_caught_up(struct text_errand *errand)
{
    if (errand->piece.len > 0)
        read_send(errand);
    fetch_rest(&errand->reader.fetch);
    buf_fini(&errand->piece);
    buf_init(&errand->piece, TEXT_REPLY_MAX_BYTES);
    (void)read_wait(errand);
}

/* The piece as far as it is: then more of it is asked for. */
static void read_more(struct text_errand *errand)
{
    if (errand->piece.len > 0)
        read_send(errand);
    read_asks(errand);
    reader_more(&errand->reader);
}

/* What is out of service here may be had of another replica. */
static bool read_elsewhere(struct text_errand *errand)
{
    if (errand->piece.len > 0)
        read_send(errand);
    read_asks(errand);
    if (reader_elsewhere(&errand->reader))
        return true;
    struct conn *conn = errand->session->conn;
    conn_lock(conn);
    errand->stage = ERRAND_WORK;
    text_errand_drop(errand);
    conn_unlock(conn);
    conn_drop(conn);
    return false;
}

void text_read_work(struct text_errand *errand)
{
    struct conn *conn = errand->session->conn;
    conn_lock(conn);
    bool interrupted = errand->interrupted, ends = errand->ends;
    struct fault ended = errand->ended;
    conn_unlock(conn);
    if (ended.err != KQ_OK) {
        read_fault(errand, ended.err, &ended);
        return;
    }
    if (interrupted) {
        read_end(errand);
        return;
    }
    struct reader *reader = &errand->reader;
    if (!errand->reading) {
        read_open(errand);
        return;
    }
    if (reader->fault.err != KQ_OK) {
        read_fault(errand, reader->fault.err, &reader->fault);
        return;
    }
    if (!errand->begun)
        read_begin(errand);
    if (errand->verb == TEXT_TAIL && !reader->fetch.remote)
        (void)fetch_extend(&reader->fetch);
    struct piece piece = {.errand = errand, .out = &errand->piece, .whole_bytes = errand->piece.len};
    struct fault fault = {0};
    read_account(errand);
    pool_block_begin(conn_home_of(conn)->pool); /* what is read may not be in memory */
    enum kq_err err = fetch_some(&reader->fetch, piece_add, &piece, &fault);
    pool_block_end(conn_home_of(conn)->pool);
    read_account(errand);
    if (errand->piece.bad)
        err = fault_set(&fault, KQ_NO_MEMORY, "%s", err_text(KQ_NO_MEMORY));
    errand->piece.bad = false;
    errand->piece.len = piece.whole_bytes;
    bool elsewhere = err == KQ_STOPPING || err == KQ_PARTITION_FAILED || err == KQ_CORRUPT || err == KQ_IO;
    if (err == KQ_OK) {
        read_send(errand);
    } else if (err == KQ_AGAIN && reader->fetch.remote) {
        read_more(errand);
    } else if (elsewhere && read_elsewhere(errand)) {
        return;
    } else if (err != KQ_EOF) {
        read_fault(errand, err, &fault);
    } else if (errand->verb == TEXT_CONS) {
        reply_records_end(&errand->piece);
        read_end(errand);
    } else if (ends) {
        read_end(errand);
    } else {
        tail_caught_up(errand);
    }
}
