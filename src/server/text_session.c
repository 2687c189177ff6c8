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
 *
 * Lines are parsed in place; what is left of the input is kept by the connection.
 */
#include "server/text_internal.h"

#include "api/producer.h"
#include "api/route.h"
#include "base/clock.h"
#include "base/logger.h"
#include "base/require.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TEXT_FRONT_TAG = 0x74657874, STRANGER_BYTES = 16 };

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

/* No lock held. */
static void folds_free(struct text_fold *fold)
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

/* Any thread: a partition has decided. */
static void part_done(struct publish_part *part)
{
    struct text_fold *fold = CONTAINER_OF(part->fold, struct text_fold, fold);
    struct text_session *session = fold->session;
    struct conn *conn = conn_hold(session->conn);
    conn_lock(conn);
    part->done = true;
    if (part->counted)
        session->crowded--;
    struct text_fold *spent = session_answer(session);
    conn_answered(conn);
    conn_unlock(conn);
    folds_free(spent);
    conn_drop(conn);
}

/* Lock held. A line of its own, in its place among the replies. */
static void session_put_line(struct text_session *session, struct buf *reply)
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

/* ---- taking input ----------------------------------------------------------------------------- */

/* One call of input(). */
struct reading {
    struct text_session *session;
    struct worker *worker;
    struct image *image;       /* taken when first needed */
    struct image_topic *topic; /* of the last publish */
    struct text_fold *fold;    /* being filled */
    struct message_parser *parser;
    struct text_limits limits;
    int64_t room;      /* commands that may still wait */
    size_t left_bytes; /* of input behind the present line */
};

/* The worker's parser. */
static void parser_free(void *kept)
{
    struct message_parser *parser = kept;
    message_parser_free(&parser);
}

static struct message_parser *worker_parser(struct worker *worker)
{
    if (worker->kept == NULL) {
        worker->kept = message_parser_new();
        worker->kept_free = parser_free;
    }
    return worker->kept;
}

/* Sends the fold that is being filled. */
static void reading_send(struct reading *r)
{
    struct text_fold *fold = r->fold;
    struct text_session *session = r->session;
    r->fold = NULL;
    if (fold == NULL)
        return;
    struct conn *conn = session->conn;
    if (fold->fold.message_count == 0) {
        publish_fold_fini(&fold->fold);
        free(fold);
        return;
    }
    fold->held_bytes = (int64_t)publish_fold_bytes(&fold->fold);
    fold->sending = true;
    conn_memory_take(conn_home_of(conn), fold->held_bytes);
    conn_lock(conn);
    (void)conn_hold(conn);
    *session->last = &fold->pending;
    session->last = &fold->pending.next;
    session->waiting += fold->fold.message_count;
    conn_unlock(conn);
    uint32_t crowded = publish_fold_send(&fold->fold);
    conn_lock(conn);
    fold->sending = false;
    for (uint32_t i = 0; i < fold->fold.part_count && crowded > 0; i++) {
        struct publish_part *part = fold->fold.parts[i];
        if (part->crowded && !part->done) {
            part->counted = true;
            session->crowded++;
        }
    }
    bool finished = fold->finished;
    conn_unlock(conn);
    if (!finished)
        return;
    fold->pending.next = NULL;
    folds_free(fold);
}

/* An error in its place: behind what was read before it. */
static void reading_fault(struct reading *r, enum kq_err err, const struct fault *fault)
{
    reading_send(r);
    struct buf reply;
    buf_init(&reply, TEXT_REPLY_MAX_BYTES);
    reply_fault(&reply, err, fault);
    conn_lock(r->session->conn);
    session_put_line(r->session, &reply);
    conn_unlock(r->session->conn);
    buf_fini(&reply);
    r->room--;
}

static bool reading_fold(struct reading *r)
{
    if (r->fold != NULL)
        return true;
    r->fold = calloc(1, sizeof(*r->fold));
    if (r->fold == NULL)
        return false;
    r->fold->session = r->session;
    r->fold->pending.is_fold = true;
    const struct config *config = r->session->front->broker->config;
    int64_t timeout_us = atomic_load_explicit(&config->publish_timeout_us, memory_order_relaxed);
    publish_fold_init(&r->fold->fold, clock_wall_ms(), clock_mono_us() + timeout_us, part_done);
    return true;
}

/* The topic of a publish; consecutive ones mostly have the same. */
static enum kq_err reading_topic(struct reading *r, struct slice name, struct fault *fault)
{
    if (r->topic != NULL && slice_equal_text(name, image_topic_name(r->topic)))
        return KQ_OK;
    if (r->image == NULL)
        r->image = cluster_image(r->session->front->broker->cluster);
    enum kq_err err = route_topic(r->image, (const char *)name.data, name.len, &r->topic, fault);
    if (err != KQ_OK)
        r->topic = NULL;
    return err;
}

static enum kq_err reading_add(struct reading *r, const struct text_command *command, struct fault *fault)
{
    enum kq_err err = reading_topic(r, command->topic, fault);
    if (err != KQ_OK)
        return err;
    struct text_message text;
    err = message_parse(r->parser, command->message.data, command->message.len, &text, fault);
    if (err != KQ_OK)
        return err;
    struct publish_message message = {.key = text.key, .value = text.body, .header = text.header};
    if (command->verb == TEXT_PUBX) {
        err = producer_id_check(r->session->front->broker, command->producer_id, fault);
        if (err != KQ_OK)
            return err;
        reading_send(r); /* a producer's batch is alone in its request */
        if (!reading_fold(r))
            return fault_set(fault, KQ_NO_MEMORY, "%s", err_text(KQ_NO_MEMORY));
        struct publish_producer producer = {.partition = (uint32_t)command->partition,
                                            .id = command->producer_id,
                                            .epoch = command->producer_epoch,
                                            .sequence = command->sequence};
        err = publish_fold_produce(&r->fold->fold, r->topic, &message, &producer, fault);
        r->room--;
        reading_send(r);
        return err;
    }
    err = KQ_FULL;
    for (int tries = 0; tries < 2 && err == KQ_FULL; tries++) {
        if (!reading_fold(r))
            return fault_set(fault, KQ_NO_MEMORY, "%s", err_text(KQ_NO_MEMORY));
        err = publish_fold_add(&r->fold->fold, r->topic, &message, r->left_bytes, fault);
        if (err == KQ_FULL)
            reading_send(r);
    }
    if (err == KQ_OK)
        r->room--;
    return err;
}

static void reading_publish(struct reading *r, uint8_t *line, size_t line_bytes)
{
    struct text_command command;
    struct fault fault = {0};
    enum kq_err err = text_command_parse(line, line_bytes, &r->limits, &command, &fault);
    if (err == KQ_OK && command.verb == TEXT_NONE)
        return; /* an empty line */
    if (err == KQ_OK && command.verb != TEXT_PUBS && command.verb != TEXT_PUBX)
        err = fault_set(&fault, KQ_GARBAGE, "the name of a command is written without quotes");
    if (err == KQ_OK)
        err = reading_add(r, &command, &fault);
    if (err != KQ_OK)
        reading_fault(r, err, &fault);
}

/* How many more commands may wait; none while a partition has enough. */
static int64_t reading_room(struct text_session *session)
{
    conn_lock(session->conn);
    int64_t room = session->front->broker->config->pipeline_max - session->waiting;
    if (session->crowded > 0 || conn_starves(session->conn))
        room = 0;
    conn_unlock(session->conn);
    return room;
}

/* The verb that a line begins with, without changing the line. */
static enum text_verb line_verb(const uint8_t *line, size_t line_bytes)
{
    size_t from = 0;
    while (from < line_bytes && line[from] == ' ')
        from++;
    size_t to = from;
    while (to < line_bytes && line[to] != ' ' && line[to] != '\r')
        to++;
    return text_verb_find(slice_of(line + from, to - from));
}

/* A command that is no publish. False: not now, something before it is unanswered. */
static bool reading_command(struct reading *r, uint8_t *line, size_t line_bytes)
{
    struct text_session *session = r->session;
    reading_send(r);
    conn_lock(session->conn);
    bool quiet = session->first == NULL && session->errand == NULL;
    session->wants_quiet = !quiet;
    conn_unlock(session->conn);
    if (!quiet)
        return false;
    struct text_command command;
    struct fault fault = {0};
    enum kq_err err = text_command_parse(line, line_bytes, &r->limits, &command, &fault);
    if (err != KQ_OK)
        reading_fault(r, err, &fault);
    else if (command.verb != TEXT_NONE)
        text_run(session, &command);
    return true;
}

/* False: the line has to wait. */
static bool reading_line(struct reading *r, uint8_t *line, size_t line_bytes)
{
    struct conn *conn = r->session->conn;
    conn_lock(conn);
    bool busy = r->session->errand != NULL;
    conn_unlock(conn);
    if (busy) { /* a TAIL, or else there would be no input: a line ends it */
        text_read_interrupt(r->session, true);
        return false;
    }
    atomic_fetch_add_explicit(&conn_home_of(conn)->counters.commands, 1, memory_order_relaxed);
    enum text_verb verb = line_verb(line, line_bytes);
    if (verb != TEXT_PUBS && verb != TEXT_PUBX && verb != TEXT_NONE)
        return reading_command(r, line, line_bytes);
    if (r->room <= 0) {
        reading_send(r);
        r->room = reading_room(r->session);
    }
    if (r->room <= 0)
        return false;
    reading_publish(r, line, line_bytes); /* or an empty line, or one that is refused */
    return true;
}

/* The first bytes of a connection: another protocol? False: the session ends, or
 * more bytes are needed to tell. */
static bool session_greet(struct text_session *session, const uint8_t *data, size_t size_bytes,
                          struct conn_taken *taken)
{
    enum text_stranger who = text_stranger_detect(data, size_bytes);
    if (who == TEXT_STRANGER_UNSURE && size_bytes < STRANGER_BYTES && memchr(data, '\n', size_bytes) == NULL) {
        taken->mid_line = true;
        return false;
    }
    session->greeted = true;
    if (who == TEXT_STRANGER_NONE || who == TEXT_STRANGER_UNSURE)
        return true;
    struct fault fault;
    fault_set(&fault, KQ_GARBAGE, "%s", text_stranger_text(who));
    conn_lock(session->conn);
    text_put_fault(session, KQ_GARBAGE, &fault);
    conn_end(session->conn);
    conn_unlock(session->conn);
    taken->bytes = size_bytes;
    return false;
}

static void line_too_long(struct reading *r, size_t max_bytes)
{
    struct fault fault;
    fault_set(&fault, KQ_TOO_LARGE, "line too long: a command has at most %zu bytes (line.max); it was skipped",
              max_bytes);
    reading_fault(r, KQ_TOO_LARGE, &fault);
}

/* The begun line at the end of the input. */
static void reading_partial(struct reading *r, size_t partial_bytes, size_t max_bytes, struct conn_taken *taken)
{
    struct text_session *session = r->session;
    taken->mid_line = partial_bytes > 0 || session->skipping;
    session->scanned = partial_bytes;
    if (!session->skipping && partial_bytes <= max_bytes)
        return;
    if (!session->skipping)
        line_too_long(r, max_bytes);
    session->skipping = true;
    session->scanned = 0;
    taken->bytes += partial_bytes;
}

static void reading_lines(struct reading *r, uint8_t *data, size_t size_bytes, struct conn_taken *taken)
{
    struct text_session *session = r->session;
    size_t max_bytes = (size_t)session->front->broker->config->line_max_bytes;
    for (;;) {
        uint8_t *line = data + taken->bytes;
        size_t rest_bytes = size_bytes - taken->bytes;
        uint8_t *end = rest_bytes == 0 ? NULL : memchr(line + session->scanned, '\n', rest_bytes - session->scanned);
        if (end == NULL) {
            reading_partial(r, rest_bytes, max_bytes, taken);
            return;
        }
        size_t line_bytes = (size_t)(end - line);
        session->scanned = 0;
        r->left_bytes = rest_bytes - line_bytes - 1;
        if (session->skipping)
            session->skipping = false;
        else if (line_bytes > max_bytes)
            line_too_long(r, max_bytes);
        else if (!reading_line(r, line, line_bytes)) {
            taken->blocked = true;
            return;
        }
        taken->bytes += line_bytes + 1;
        if (session->ended) {
            taken->bytes = size_bytes;
            return;
        }
    }
}

static void text_input(void *opaque, uint8_t *data, size_t size_bytes, struct worker *worker, struct conn_taken *taken)
{
    struct text_session *session = opaque;
    if (!session->greeted && !session_greet(session, data, size_bytes, taken))
        return;
    const struct config *config = session->front->broker->config;
    struct reading r = {.session = session, .worker = worker, .parser = worker_parser(worker)};
    r.limits.partitions_max = (uint32_t)atomic_load_explicit(&config->topic_partitions_max, memory_order_relaxed);
    r.room = reading_room(session);
    if (r.parser != NULL) {
        reading_lines(&r, data, size_bytes, taken);
    } else {
        taken->bytes = size_bytes;
        conn_lock(session->conn);
        conn_end(session->conn);
        conn_unlock(session->conn);
    }
    reading_send(&r);
    if (r.image != NULL)
        image_drop(&r.image);
}

/* ---- the protocol's table --------------------------------------------------------------------------- */

static void text_open(void *opaque, struct conn *conn)
{
    struct text_session *session = opaque;
    session->conn = conn;
    session->front = conn_home_of(conn)->context;
    session->last = &session->first;
    buf_init(&session->events, TEXT_EVENTS_MAX_BYTES);
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
    session_put_line(session, &reply);
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
        .session_bytes = sizeof(struct text_session),
        .open = text_open,
        .input = text_input,
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

/* ---- the front ---------------------------------------------------------------------------------------- */

/* An actor's turn: a subscription of one of our sessions came or went. */
static void front_event(void *context, const struct group_event *event)
{
    struct text_front *front = context;
    (void)pthread_mutex_lock(&front->lock);
    struct text_session *session = map_get(&front->sessions, &event->session.id, sizeof(event->session.id));
    struct conn *conn = session == NULL ? NULL : conn_hold(session->conn);
    (void)pthread_mutex_unlock(&front->lock);
    if (conn == NULL)
        return;
    struct slice topic = slice_text(event->topic), id = slice_text(event->id);
    conn_lock(conn);
    size_t before = session->events.len;
    if (event->kind == GROUP_EVENT_REVOKED)
        reply_event_revoked(&session->events, topic, (int32_t)event->partition, id);
    else
        reply_event_assigned(&session->events, topic, (int32_t)event->partition, id);
    if (session->events.bad) { /* a client that does not read: a lost event would leave it wrong for ever */
        session->events.len = before;
        session->events.bad = false;
        conn_end(conn);
    }
    struct text_errand *errand = session->errand;
    bool within = errand != NULL && errand->begun && errand->stage != ERRAND_WAITS;
    if (!within)
        text_put_events(session);
    conn_answered(conn);
    conn_unlock(conn);
    struct subscription_id parsed;
    if (event->kind == GROUP_EVENT_REVOKED && subscription_id_parse(event->id, strlen(event->id), &parsed))
        text_read_revoked(session, &parsed);
    conn_drop(conn);
}

static void front_describe(void *context, struct json *json)
{
    struct text_front *front = context;
    if (front->server == NULL)
        return;
    struct server_counters *c = server_counters(front->server);
    json_put_number(json, "Connections", atomic_load_explicit(&c->connections, memory_order_relaxed));
    json_put_number(json, "Workers", server_workers(front->server));
    json_put_number(json, "MemoryBytes", server_memory_bytes(front->server));
    json_put_number(json, "MemoryMaxBytes", server_memory_limit_bytes(front->server));
    json_key(json, "ServerCounters");
    json_open(json, '{');
#define COUNTER(name) json_put_number(json, #name, (int64_t)atomic_load_explicit(&c->name, memory_order_relaxed))
    COUNTER(accepted);
    COUNTER(refused);
    COUNTER(ended);
    COUNTER(commands);
    COUNTER(reads);
    COUNTER(read_bytes);
    COUNTER(sends);
    COUNTER(sent_bytes);
    COUNTER(polls);
#undef COUNTER
    json_close(json, '}');
}

enum kq_err text_front_new(struct text_front **out, struct broker *broker, struct fault *fault)
{
    struct text_front *front = calloc(1, sizeof(*front));
    if (front == NULL)
        return fault_set(fault, KQ_NO_MEMORY, "%s", err_text(KQ_NO_MEMORY));
    front->tag = TEXT_FRONT_TAG;
    front->broker = broker;
    (void)pthread_mutex_init(&front->lock, NULL);
    map_init(&front->sessions);
    front->renewal.fire = text_renew_fire;
    front->renew_job.run = text_renew_job;
    broker->event = front_event;
    broker->event_context = front;
    broker->describe_server = front_describe;
    broker->describe_context = front;
    *out = front;
    return KQ_OK;
}

void text_front_serve(struct text_front *front, struct server *server)
{
    front->server = server;
}

void text_front_stop(struct text_front *front)
{
    (void)pthread_mutex_lock(&front->lock);
    front->stopped = true;
    (void)pthread_mutex_unlock(&front->lock);
    engine_cancel_deadline(front->broker->engine, &front->renewal);
}

void text_front_free(struct text_front **out)
{
    struct text_front *front = *out;
    if (front == NULL)
        return;
    TAG_CHECK(front, TEXT_FRONT_TAG);
    REQUIRE(front->sessions.count == 0);
    REQUIRE(front->tails == NULL);
    map_fini(&front->sessions);
    (void)pthread_mutex_destroy(&front->lock);
    front->tag = TAG_DEAD;
    free(front);
    *out = NULL;
}
