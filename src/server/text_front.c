/* What the text sessions of a broker share: who is told of an event, and the server's
 * part of INFO. */
#include "base/require.h"
#include "server/text_internal.h"

#include <stdlib.h>
#include <string.h>

enum { TEXT_FRONT_TAG = 0x74657874 };

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
