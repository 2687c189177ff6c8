/*
 * Fetch sessions (KIP-227): what a client fetches again and again is named once. A session
 * belongs to the broker, not to a connection: whoever knows its id and its next epoch goes on
 * with it, one fetch after the other.
 *
 * As Kafka does it (FetchSession.scala): the sessions are few (kafka.fetch.sessions); one that
 * was not used for two minutes makes room for a new one, and so does one older than two minutes
 * with fewer partitions. Who gets no session is answered with the id 0, and names all
 * partitions each time. Their memory is bounded too, by an eighth of memory.max.
 *
 * Any thread; locks are held for as long as it takes to go through one session's partitions,
 * and never while calling out.
 */
#ifndef KQ_SERVER_KAFKA_FETCH_SESSIONS_H
#define KQ_SERVER_KAFKA_FETCH_SESSIONS_H

#include "proto/kafka/api_fetch.h"

enum { FETCH_SESSION_EVICTION_MS = 2 * 60 * 1000 };

struct fetch_sessions;
struct fetch_session;
struct fetch_session_part;

/* A partition that is to be fetched. */
struct fetch_row {
    struct slice topic; /* or, by id, absent */
    struct uuid topic_id;
    struct kafka_fetch_request_partition asked;
    struct fetch_session_part *part; /* the session's; not to be looked at */
};

/* One fetch, from its beginning to its answer. */
struct fetch_turn {
    struct fetch_row *rows; /* in the order in which they are to be read */
    uint32_t count;
    bool by_id;
    bool opens;                    /* a session, if there is room */
    struct fetch_session *session; /* a reference; NULL: it has none */
    int32_t epoch;                 /* that the session has until its next fetch */
};

struct fetch_sessions_count {
    uint32_t sessions;
    uint64_t evicted;
    int64_t bytes;
};

/* NULL: out of memory. slots 0: no session is ever given. */
struct fetch_sessions *fetch_sessions_new(uint32_t slots, int64_t limit_bytes);
void fetch_sessions_free(struct fetch_sessions **sessions);
struct fetch_sessions_count fetch_sessions_count(struct fetch_sessions *sessions);

/* by_id: the request names topics by their ids. The rows lie in the arena (which may fail: see
 * there); their names there or in the request. An error code: nothing is to be fetched, and
 * the answer's session id is 0. *turn is to be ended in any case, once. */
int16_t fetch_turn_begin(struct fetch_sessions *sessions, struct fetch_turn *turn,
                         const struct kafka_fetch_request *asked, bool by_id, int64_t now_ms,
                         struct kafka_arena *arena);
/* What was found, a partition a row; told[i]: row i belongs into the answer. Gives the answer's
 * error code and its session's id. */
int16_t fetch_turn_answer(struct fetch_sessions *sessions, struct fetch_turn *turn,
                          const struct kafka_fetch_response_partition *const *found, bool *told, int64_t now_ms,
                          int32_t *session_id);
void fetch_turn_end(struct fetch_turn *turn);

#endif
