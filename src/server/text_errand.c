/*
 * Commands other than publishes. What can be answered from memory is answered at
 * once; the others leave an errand on the session: it asks (api/), and the answer
 * comes on some thread, often an actor's turn. Small answers are written right
 * there; what is long (`stage` WORK) is left to a worker.
 *
 * An errand belongs to its session until text_errand_end(). While somebody else
 * has to answer it holds a reference to the connection, dropped by errand_answered.
 */
#include "server/text_internal.h"

#include "api/offsets.h"
#include "api/producer.h"
#include "base/require.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- life ------------------------------------------------------------------------------- */

static void copy_name(char *to, size_t cap, struct slice from)
{
    size_t len = from.len < cap ? from.len : cap - 1;
    if (len > 0)
        memcpy(to, from.data, len);
    to[len] = '\0';
}

/* NULL: out of memory. */
static struct text_errand *errand_try_new(struct text_session *session, const struct text_command *command)
{
    struct text_errand *errand = calloc(1, sizeof(*errand));
    if (errand == NULL)
        return NULL;
    errand->refs = 1;
    errand->verb = command->verb;
    errand->session = session;
    errand->off = command->offset;
    errand->has_off = command->has_offset;
    copy_name(errand->topic, sizeof(errand->topic), command->topic);
    copy_name(errand->group, sizeof(errand->group), command->group);
    buf_init(&errand->piece, TEXT_REPLY_MAX_BYTES);
    conn_lock(session->conn);
    session->errand = errand;
    conn_unlock(session->conn);
    (void)conn_hold(session->conn); /* for the answer */
    return errand;
}

/* NULL: out of memory, and answered. */
struct text_errand *text_errand_new(struct text_session *session, const struct text_command *command)
{
    struct text_errand *errand = errand_try_new(session, command);
    if (errand == NULL) {
        conn_lock(session->conn);
        text_put_fault(session, KQ_NO_MEMORY, NULL);
        conn_unlock(session->conn);
    }
    return errand;
}

struct text_errand *text_errand_hold(struct text_errand *errand)
{
    errand->refs++;
    return errand;
}

void text_errand_drop(struct text_errand *errand)
{
    REQUIRE(errand->refs > 0);
    if (--errand->refs > 0)
        return;
    text_read_unlist(errand);
    if (errand->ask_fini != NULL)
        errand->ask_fini(errand);
    if (errand->reading)
        reader_fini(&errand->reader);
    if (errand->pulled_bytes > 0)
        conn_memory_give(conn_home_of(errand->session->conn), errand->pulled_bytes);
    partition_drop(&errand->partition);
    buf_fini(&errand->piece);
    free(errand);
}

void text_errand_end(struct text_errand *errand)
{
    struct text_session *session = errand->session;
    REQUIRE(session->errand == errand);
    session->errand = NULL;
    text_put_events(session);
    text_errand_drop(errand);
}

/* Any thread: the answer has come. `reply` is whole; or the errand wants a worker. */
void text_errand_answered(struct text_errand *errand, struct buf *reply)
{
    struct conn *conn = errand->session->conn;
    conn_lock(conn);
    if (reply != NULL) {
        text_put(errand->session, reply);
        text_errand_end(errand);
    } else {
        errand->stage = ERRAND_WORK;
    }
    conn_answered(conn);
    conn_unlock(conn);
    conn_drop(conn);
}

void text_errand_answered_fault(struct text_errand *errand, const struct fault *fault)
{
    struct buf reply;
    buf_init(&reply, TEXT_REPLY_MAX_BYTES);
    if (fault->err == KQ_OK)
        reply_done(&reply);
    else
        reply_fault(&reply, fault->err, fault);
    text_errand_answered(errand, &reply);
    buf_fini(&reply);
}

static void caught_up(struct cluster_request *request)
{
    text_errand_answered(CONTAINER_OF(request, struct text_errand, catch_up), NULL);
}

void text_errand_asks(struct text_errand *errand)
{
    struct conn *conn = errand->session->conn;
    conn_lock(conn);
    errand->stage = ERRAND_ASKED;
    (void)conn_hold(conn); /* for the answer */
    conn_unlock(conn);
}

bool text_errand_catch_up(struct text_errand *errand)
{
    struct text_session *session = errand->session;
    if (errand->caught_up)
        return false;
    errand->caught_up = true;
    text_errand_asks(errand);
    errand->catch_up = (struct cluster_request){.done = caught_up};
    cluster_catch_up(session->front->broker->cluster, &errand->catch_up);
    return true;
}

/* ---- topics, producer ids ------------------------------------------------------------------ */

static void topic_done(struct topic_request *request)
{
    text_errand_answered_fault(request->owner, &request->fault);
}

static void run_topic(struct text_session *session, const struct text_command *command)
{
    struct text_errand *errand = text_errand_new(session, command);
    if (errand == NULL)
        return;
    struct topic_request *request = &errand->ask.topic;
    request->done = topic_done;
    request->owner = errand;
    request->name = errand->topic;
    request->partitions = command->partitions == 0 ? 1 : command->partitions;
    request->replicas = command->replicas;
    for (int i = 0; i < TEXT_SETTING_COUNT; i++) {
        if ((command->settings_given & (1U << i)) == 0)
            continue;
        char value[TOPIC_CONFIG_TEXT_BYTES];
        (void)snprintf(value, sizeof(value), "%" PRId64, command->setting[i]);
        if (topic_config_setting(text_setting_name((enum text_setting)i), TOPIC_CONFIG_SET, value,
                                 &request->settings[request->setting_count++], &request->fault) != KQ_OK) {
            topic_done(request);
            return;
        }
    }
    if (command->verb == TEXT_CRTP)
        topic_create(session->front->broker, request);
    else
        topic_delete(session->front->broker, request);
}

static void producer_done(struct cluster_request *request)
{
    struct text_errand *errand = CONTAINER_OF(request, struct text_errand, ask.producer);
    struct buf reply;
    buf_init(&reply, TEXT_REPLY_MAX_BYTES);
    if (request->fault.err == KQ_OK)
        reply_producer(&reply, request->producer_id, 0);
    else
        reply_fault(&reply, request->fault.err, &request->fault);
    text_errand_answered(errand, &reply);
    buf_fini(&reply);
}

static void run_producer(struct text_session *session, const struct text_command *command)
{
    struct text_errand *errand = text_errand_new(session, command);
    if (errand == NULL)
        return;
    errand->ask.producer.done = producer_done;
    producer_id_next(session->front->broker, &errand->ask.producer);
}

/* ---- a publish to a topic that is not known here ------------------------------------------------ */

bool text_publish_later(struct text_session *session, const struct text_command *command)
{
    struct text_errand *errand = errand_try_new(session, command);
    if (errand == NULL)
        return false;
    errand->command = *command;
    buf_put(&errand->piece, command->message.data, command->message.len);
    errand->command.message = slice_of(errand->piece.data, errand->piece.len);
    errand->command.topic = slice_text(errand->topic);
    errand->caught_up = true;
    errand->catch_up = (struct cluster_request){.done = caught_up};
    cluster_catch_up(session->front->broker->cluster, &errand->catch_up);
    return true;
}

/* ---- groups ----------------------------------------------------------------------------------- */

struct group_session text_group_session(struct text_session *session)
{
    struct text_front *front = session->front;
    conn_lock(session->conn);
    if (session->group.id == 0 && !session->gone) {
        uint64_t id = cluster_next_session_id(front->broker->cluster);
        (void)pthread_mutex_lock(&front->lock);
        bool known = map_put(&front->sessions, &id, sizeof(id), session, NULL);
        (void)pthread_mutex_unlock(&front->lock);
        if (known) /* without memory it is nobody's session, and is told of nothing */
            session->group = (struct group_session){.broker_id = (uint32_t)front->broker->config->broker_id, .id = id};
    }
    struct group_session group = session->group;
    conn_unlock(session->conn);
    return group;
}

static void group_fini(struct text_errand *errand)
{
    group_request_fini(&errand->ask.group);
}

static void group_done(struct group_request *request)
{
    text_errand_answered_fault(request->owner, &request->call.call.fault);
}

static void subscribe_done(struct group_request *request)
{
    const struct group_call *call = &request->call;
    if (call->call.fault.err != KQ_OK) {
        group_done(request);
        return;
    }
    struct buf reply;
    struct json json;
    buf_init(&reply, TEXT_REPLY_MAX_BYTES);
    reply_data_begin(&json, &reply);
    json_open(&json, '[');
    for (uint32_t i = 0; i < call->id_count; i++) {
        char id[SUBSCRIPTION_ID_TEXT_BYTES];
        json_add_text(&json, subscription_id_format(&call->ids[i], id));
    }
    json_close(&json, ']');
    reply_data_end(&json);
    text_errand_answered(request->owner, &reply);
    buf_fini(&reply);
}

/* CONS, TAIL: known; a worker reads. */
static void resolve_done(struct group_request *request)
{
    if (request->call.call.fault.err != KQ_OK)
        group_done(request);
    else
        text_errand_answered(request->owner, NULL);
}

static struct group_request *group_request_of(struct text_errand *errand, void (*done)(struct group_request *request))
{
    struct group_request *request = &errand->ask.group;
    errand->ask_fini = group_fini;
    request->done = done;
    request->owner = errand;
    request->call.session = text_group_session(errand->session);
    request->call.topic = errand->topic;
    request->call.group = errand->group;
    request->call.id = errand->id;
    request->call.off = errand->off;
    return request;
}

/* What names a subscription: CONS, TAIL, CMIT, UNSB. */
static void run_with_id(struct text_session *session, const struct text_command *command)
{
    struct broker *broker = session->front->broker;
    struct text_errand *errand = text_errand_new(session, command);
    if (errand == NULL)
        return;
    if (!subscription_id_parse((const char *)command->id.data, command->id.len, &errand->id)) {
        struct fault fault = {.err = KQ_UNKNOWN_SUBSCRIPTION};
        text_errand_answered_fault(errand, &fault);
    } else if (command->verb == TEXT_CMIT) {
        offset_commit(broker, group_request_of(errand, group_done));
    } else if (command->verb == TEXT_UNSB) {
        subscription_end(broker, group_request_of(errand, group_done));
    } else {
        subscription_resolve(broker, group_request_of(errand, resolve_done));
    }
}

static void run_subscribe(struct text_session *session, const struct text_command *command)
{
    struct text_errand *errand = text_errand_new(session, command);
    if (errand == NULL)
        return;
    struct group_request *request = group_request_of(errand, subscribe_done);
    request->call.wanted = command->partitions;
    if (request->call.session.id != 0) {
        subscribe(session->front->broker, request);
        return;
    }
    /* Nobody could be told of what becomes of the subscription. */
    conn_lock(session->conn);
    enum kq_err err = session->gone ? KQ_STOPPING : KQ_NO_MEMORY;
    conn_unlock(session->conn);
    fault_set(&request->call.call.fault, err, "%s", err_text(err));
    group_done(request);
}

static void run_ping(struct text_session *session, const struct text_command *command)
{
    conn_lock(session->conn);
    bool renews = session->group.id != 0;
    if (!renews)
        conn_put(session->conn, "Done\n", 5);
    conn_unlock(session->conn);
    struct text_errand *errand = renews ? text_errand_new(session, command) : NULL;
    if (errand != NULL)
        subscription_renew(session->front->broker, group_request_of(errand, group_done));
}

/* ---- a worker's part ------------------------------------------------------------------------------ */

void text_errand_work(struct text_errand *errand, struct worker *worker)
{
    switch (errand->verb) {
    case TEXT_CONS:
    case TEXT_TAIL:
        text_read_work(errand);
        return;
    case TEXT_PUBS:
    case TEXT_PUBX:
        text_publish_again(errand, worker);
        return;
    default:
        text_look_work(errand);
        return;
    }
}

/* ---- all commands ------------------------------------------------------------------------------------ */

static void run_at_once(struct text_session *session, const struct text_command *command)
{
    struct buf reply;
    buf_init(&reply, TEXT_REPLY_MAX_BYTES);
    if (command->verb == TEXT_LIST)
        text_look_topics(session->front->broker, &reply);
    else
        reply_help(&reply, command->about);
    conn_lock(session->conn);
    text_put(session, &reply);
    conn_unlock(session->conn);
    buf_fini(&reply);
}

void text_run(struct text_session *session, const struct text_command *command)
{
    switch (command->verb) {
    case TEXT_CRTP:
    case TEXT_DELE:
        run_topic(session, command);
        break;
    case TEXT_SUBS:
        run_subscribe(session, command);
        break;
    case TEXT_CONS:
    case TEXT_TAIL:
    case TEXT_CMIT:
    case TEXT_UNSB:
        run_with_id(session, command);
        break;
    case TEXT_PRID:
        run_producer(session, command);
        break;
    case TEXT_DISC:
        session->ended = true;
        conn_lock(session->conn);
        conn_end(session->conn);
        conn_unlock(session->conn);
        break;
    case TEXT_GRPS:
    case TEXT_INFO:
    case TEXT_CLUS:
        text_run_look(session, command);
        break;
    case TEXT_PING:
        run_ping(session, command);
        break;
    case TEXT_DESC:
        text_run_look(session, command);
        break;
    case TEXT_LIST:
    case TEXT_HELP:
        run_at_once(session, command);
        break;
    case TEXT_PUBS:
    case TEXT_PUBX:
    case TEXT_NONE:
        REQUIRE(false);
        break;
    }
}
