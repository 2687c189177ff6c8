/*
 * Bytes -> commands. Consecutive publishes of one read are folded; any other command
 * waits until everything before it is answered. Lines are parsed in place; what is
 * left of the input is kept by the connection.
 *
 * A publish to a topic that this broker does not know may be ahead of its metadata:
 * an errand asks for what is committed and then publishes it, while the session
 * takes no more input, so that it keeps its place.
 */
#include "api/producer.h"
#include "api/route.h"
#include "base/clock.h"
#include "base/require.h"
#include "server/text_internal.h"

#include <stdlib.h>
#include <string.h>

enum { STRANGER_BYTES = 16 };

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
    bool unknown;      /* a topic or a producer id, of which this broker may have yet to hear */
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
    publish_fold_close(&fold->fold);
    conn_lock(conn);
    (void)conn_hold(conn);
    publish_flight_add(&session->flight, &fold->fold);
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
    text_folds_free(fold);
}

/* An error in its place: behind what was read before it. */
static void reading_fault(struct reading *r, enum kq_err err, const struct fault *fault)
{
    reading_send(r);
    struct buf reply;
    buf_init(&reply, TEXT_REPLY_MAX_BYTES);
    reply_fault(&reply, err, fault);
    conn_lock(r->session->conn);
    text_put_line(r->session, &reply);
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
    publish_fold_init(&r->fold->fold, &r->session->flight, clock_wall_ms(), clock_mono_us() + timeout_us);
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
    r->unknown = err == KQ_UNKNOWN_TOPIC;
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
        r->unknown = err != KQ_OK;
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
    r->unknown = false;
    if (err == KQ_OK && command.verb == TEXT_NONE)
        return; /* an empty line */
    if (err == KQ_OK && command.verb != TEXT_PUBS && command.verb != TEXT_PUBX)
        err = fault_set(&fault, KQ_GARBAGE, "the name of a command is written without quotes");
    if (err == KQ_OK)
        err = reading_add(r, &command, &fault);
    if (err != KQ_OK && r->unknown && text_publish_later(r->session, &command)) {
        reading_send(r);
        r->room--;
    } else if (err != KQ_OK) {
        reading_fault(r, err, &fault);
    }
}

void text_publish_again(struct text_errand *errand, struct worker *worker)
{
    struct text_session *session = errand->session;
    const struct fault *caught_up = &errand->catch_up.fault;
    struct reading r = {.session = session, .worker = worker, .parser = worker_parser(worker), .room = 1};
    struct fault fault = {0};
    enum kq_err err = KQ_NO_MEMORY;
    if (r.parser != NULL)
        err = reading_add(&r, &errand->command, &fault);
    if (err == KQ_UNKNOWN_TOPIC || (r.unknown && caught_up->err != KQ_OK))
        err = route_unknown(errand->topic, caught_up, &fault);
    if (err != KQ_OK)
        reading_fault(&r, err, &fault);
    reading_send(&r);
    if (r.image != NULL)
        image_drop(&r.image);
    conn_lock(session->conn);
    text_errand_end(errand);
    conn_unlock(session->conn);
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

void text_take_input(void *opaque, uint8_t *data, size_t size_bytes, struct worker *worker, struct conn_taken *taken)
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
