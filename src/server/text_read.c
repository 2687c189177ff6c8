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

/* ---- waiting at a partition ------------------------------------------------------------------------ */

static void wait_done(struct wait_request *wait)
{
    struct text_errand *errand = CONTAINER_OF(wait, struct text_errand, wait);
    struct conn *conn = errand->session->conn;
    conn_lock(conn);
    if (wait->err != KQ_OK && wait->err != KQ_AGAIN) {
        struct partition_status status;
        partition_status(errand->partition, &status);
        bool told = status.state == PARTITION_FAILED;
        fault_set(&errand->ended, wait->err, "%s", told ? fault_text(&status.fault) : err_text(wait->err));
    }
    errand->stage = ERRAND_WORK;
    conn_answered(conn);
    text_errand_drop(errand);
    conn_unlock(conn);
    conn_drop(conn);
}

/* Worker. Until the high watermark passes off. False: something is to be done first. */
static bool read_wait(struct text_errand *errand, struct partition *partition, int64_t off)
{
    struct conn *conn = errand->session->conn;
    if (errand->partition != partition)
        partition_drop(&errand->partition);
    if (errand->partition == NULL)
        errand->partition = partition_hold(partition);
    errand->wait = (struct wait_request){.done = wait_done, .off = off};
    conn_lock(conn);
    if (errand->session->gone) /* cancelled before there was anything to wake */
        errand->interrupted = true;
    bool wait = !errand->interrupted && !errand->ends && errand->ended.err == KQ_OK;
    if (wait) {
        errand->stage = ERRAND_WAITS;
        errand->wait_cancelled = false;
        (void)conn_hold(conn);
        (void)text_errand_hold(errand);
        text_put_events(errand->session);
    }
    conn_unlock(conn);
    if (wait)
        partition_wait(errand->partition, &errand->wait);
    return wait;
}

bool text_wait_open(struct text_errand *errand, struct partition *partition)
{
    return read_wait(errand, partition, -1);
}

/* No lock held. Whoever waits goes on at once. */
static void read_wake(struct text_session *session, bool (*change)(struct text_errand *errand, const void *what),
                      const void *what)
{
    struct conn *conn = session->conn;
    conn_lock(conn);
    struct text_errand *errand = session->errand;
    bool wake = errand != NULL && errand->verb == TEXT_TAIL && change(errand, what) && errand->stage == ERRAND_WAITS &&
                !errand->wait_cancelled;
    if (wake) {
        errand->wait_cancelled = true;
        (void)text_errand_hold(errand);
    }
    conn_unlock(conn);
    if (!wake)
        return;
    partition_wait_cancel(errand->partition, &errand->wait);
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

/* Where to begin: as asked, else where the group is, else at the log's start. */
static int64_t read_from(const struct text_errand *errand, struct partition *partition)
{
    if (errand->has_off)
        return errand->off;
    int64_t committed_off = errand->ask.group.call.committed_off, start_off, end_off;
    if (committed_off < 0)
        return FETCH_FROM_START;
    if (fetch_bounds(partition, &start_off, &end_off) && committed_off < start_off)
        return FETCH_FROM_START; /* retention was faster than the group */
    return committed_off;
}

/* True: the fetch is open. Else it was answered, or it waits for the partition. */
static bool read_open(struct text_errand *errand)
{
    const struct group_call *call = &errand->ask.group.call;
    struct fault fault = {0};
    struct route route = {0};
    struct image *image = cluster_image(errand->session->front->broker->cluster);
    struct image_topic *topic;
    enum kq_err err = route_topic(image, errand->topic, strlen(errand->topic), &topic, &fault);
    if (err == KQ_OK && !uuid_equal(image_topic_id(topic), &call->topic_id))
        err = fault_set(&fault, KQ_UNKNOWN_SUBSCRIPTION, "%s", err_text(KQ_UNKNOWN_SUBSCRIPTION));
    if (err == KQ_OK)
        err = route_check(topic, call->partition, &fault);
    if (err == KQ_OK)
        route_find(errand->session->front->broker, topic, call->partition, &route);
    if (err == KQ_OK)
        err = fetch_open(&errand->fetch, route.local, read_from(errand, route.local), &fault);
    bool waits = err == KQ_AGAIN && text_wait_open(errand, route.local);
    image_drop(&image);
    if (err != KQ_OK && !waits)
        read_fault(errand, err, &fault);
    return err == KQ_OK;
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
    fetch_rest(&errand->fetch);
    buf_fini(&errand->piece);
    buf_init(&errand->piece, TEXT_REPLY_MAX_BYTES);
    (void)read_wait(errand, errand->fetch.partition, errand->fetch.next_off);
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
    if (errand->fetch.partition == NULL) {
        if (!read_open(errand))
            return;
        read_begin(errand);
    }
    if (errand->verb == TEXT_TAIL)
        (void)fetch_extend(&errand->fetch);
    struct piece piece = {.errand = errand, .out = &errand->piece, .whole_bytes = errand->piece.len};
    struct fault fault = {0};
    pool_block_begin(conn_home_of(conn)->pool); /* what is read may not be in memory */
    enum kq_err err = fetch_some(&errand->fetch, piece_add, &piece, &fault);
    pool_block_end(conn_home_of(conn)->pool);
    if (errand->piece.bad)
        err = fault_set(&fault, KQ_NO_MEMORY, "%s", err_text(KQ_NO_MEMORY));
    errand->piece.bad = false;
    errand->piece.len = piece.whole_bytes;
    if (err == KQ_OK) {
        read_send(errand);
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
