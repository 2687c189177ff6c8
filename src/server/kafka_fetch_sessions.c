/*
 * Two kinds of locks, never one inside the other: the cache's guards which sessions there are
 * and in which order they were used; a session's guards its partitions and its epoch. A session
 * that is taken out of the cache lives on while a fetch has it.
 *
 * A row remembers its partition of the session. Whatever may free a partition changes the
 * session's epoch under its lock, so that a fetch whose epoch is still the session's can rely
 * on its rows.
 *
 * A session's partitions are a list in the order in which they are read: one that has given
 * records goes to the end, so that none starves where a fetch's bytes do not suffice for all.
 */
#include "server/kafka_fetch_sessions.h"

#include "base/map.h"
#include "base/require.h"
#include "proto/kafka/error.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

enum {
    EPOCH_FIRST = 0,  /* a whole fetch that wants a session */
    EPOCH_FINAL = -1, /* a whole fetch that wants none */
    PART_KEY_BYTES = 4,
    PART_NAME_BYTES = 255,    /* no topic has a longer name */
    PART_OVERHEAD_BYTES = 96, /* of the map, and of malloc */
    SESSION_OVERHEAD_BYTES = 256,
    REFUSED_MS = 1000,
};

struct fetch_session_part {
    struct fetch_session_part *next, *prev;
    struct kafka_fetch_request_partition asked;
    int64_t high_watermark; /* as last told; -1: not, or it was an error */
    int64_t log_start_off;
    size_t key_bytes;
    uint8_t key[]; /* partition, topic's name or id */
};

struct fetch_session {
    int32_t id;
    bool by_id;
    int64_t created_ms;
    _Atomic uint32_t refs; /* of the cache, and of each fetch */
    /* Under the cache's lock. */
    struct fetch_session *newer, *older;
    int64_t used_ms;
    bool cached;
    uint32_t cached_parts;
    int64_t counted_bytes;
    /* Under its own. */
    pthread_mutex_t lock;
    int32_t epoch; /* of its next fetch; EPOCH_FINAL: it is of no use any more */
    struct map parts;
    struct fetch_session_part *first, *last;
    int64_t held_bytes;
};

struct fetch_sessions {
    uint32_t slots;
    int64_t limit_bytes;
    pthread_mutex_t lock;
    struct map by_id;
    struct fetch_session *oldest, *newest; /* by their last use */
    uint64_t evicted;
    int64_t bytes;
    /* Nobody made room for a session of so many partitions or fewer: not looked for again until then. */
    uint32_t refused_parts;
    int64_t refused_until_ms;
};

/* ---- a session's partitions ------------------------------------------------------------------ */

static size_t row_key_bytes(const struct fetch_row *row, bool by_id)
{
    return PART_KEY_BYTES + (by_id ? UUID_BYTES : row->topic.len);
}

static void row_key(const struct fetch_row *row, bool by_id, uint8_t *key)
{
    put_be32(key, (uint32_t)row->asked.partition);
    if (by_id)
        memcpy(key + PART_KEY_BYTES, row->topic_id.bytes, UUID_BYTES);
    else if (row->topic.len > 0)
        memcpy(key + PART_KEY_BYTES, row->topic.data, row->topic.len);
}

static int64_t part_bytes(const struct fetch_session_part *part)
{
    return (int64_t)(sizeof(*part) + 2 * part->key_bytes) + PART_OVERHEAD_BYTES;
}

static void list_append(struct fetch_session *session, struct fetch_session_part *part)
{
    part->next = NULL;
    part->prev = session->last;
    if (part->prev == NULL)
        session->first = part;
    else
        part->prev->next = part;
    session->last = part;
}

static void list_remove(struct fetch_session *session, struct fetch_session_part *part)
{
    if (part->prev == NULL)
        session->first = part->next;
    else
        part->prev->next = part->next;
    if (part->next == NULL)
        session->last = part->prev;
    else
        part->next->prev = part->prev;
}

/* The session's partition for the row, made if there was none. NULL: out of memory, or no topic is called so. */
static struct fetch_session_part *session_put(struct fetch_session *session, const struct fetch_row *row)
{
    size_t key_bytes = row_key_bytes(row, session->by_id);
    bool can_be = key_bytes <= PART_KEY_BYTES + PART_NAME_BYTES;
    struct fetch_session_part *part = can_be ? malloc(sizeof(*part) + key_bytes) : NULL;
    if (part == NULL)
        return NULL;
    *part = (struct fetch_session_part){.high_watermark = -1, .log_start_off = -1, .key_bytes = key_bytes};
    row_key(row, session->by_id, part->key);
    struct fetch_session_part *known = map_get(&session->parts, part->key, key_bytes);
    if (known == NULL && map_put(&session->parts, part->key, key_bytes, part, NULL)) {
        list_append(session, part);
        session->held_bytes += part_bytes(part);
        known = part;
    } else {
        free(part);
    }
    if (known != NULL)
        known->asked = row->asked;
    return known;
}

static void session_forget(struct fetch_session *session, const struct kafka_fetch_request_forgotten *topic,
                           int32_t partition)
{
    uint8_t key[PART_KEY_BYTES + PART_NAME_BYTES];
    const struct fetch_row row = {
        .topic = topic->topic, .topic_id = topic->topic_id, .asked = {.partition = partition}};
    if (row_key_bytes(&row, session->by_id) > sizeof(key))
        return;
    row_key(&row, session->by_id, key);
    struct fetch_session_part *part = map_remove(&session->parts, key, row_key_bytes(&row, session->by_id));
    if (part == NULL)
        return;
    list_remove(session, part);
    session->held_bytes -= part_bytes(part);
    free(part);
}

static struct fetch_session *session_new(bool by_id, int64_t now_ms)
{
    struct fetch_session *session = calloc(1, sizeof(*session));
    if (session == NULL)
        return NULL;
    session->by_id = by_id;
    session->created_ms = session->used_ms = now_ms;
    session->held_bytes = SESSION_OVERHEAD_BYTES;
    session->epoch = 1;
    atomic_init(&session->refs, 1);
    map_init(&session->parts);
    (void)pthread_mutex_init(&session->lock, NULL);
    return session;
}

static void session_drop(struct fetch_session *session)
{
    if (session == NULL || atomic_fetch_sub_explicit(&session->refs, 1, memory_order_acq_rel) > 1)
        return;
    for (struct fetch_session_part *part = session->first, *next; part != NULL; part = next) {
        next = part->next;
        free(part);
    }
    map_fini(&session->parts);
    (void)pthread_mutex_destroy(&session->lock);
    free(session);
}

/* ---- the cache ---------------------------------------------------------------------------------- */

struct fetch_sessions *fetch_sessions_new(uint32_t slots, int64_t limit_bytes)
{
    struct fetch_sessions *sessions = calloc(1, sizeof(*sessions));
    if (sessions == NULL)
        return NULL;
    sessions->slots = slots;
    sessions->limit_bytes = limit_bytes;
    map_init(&sessions->by_id);
    (void)pthread_mutex_init(&sessions->lock, NULL);
    return sessions;
}

/* Cache's lock held. */
static void use_unlink(struct fetch_sessions *sessions, struct fetch_session *session)
{
    if (session->older == NULL)
        sessions->oldest = session->newer;
    else
        session->older->newer = session->newer;
    if (session->newer == NULL)
        sessions->newest = session->older;
    else
        session->newer->older = session->older;
}

/* Cache's lock held. */
static void use_link(struct fetch_sessions *sessions, struct fetch_session *session)
{
    session->newer = NULL;
    session->older = sessions->newest;
    if (session->older == NULL)
        sessions->oldest = session;
    else
        session->older->newer = session;
    sessions->newest = session;
}

/* Cache's lock held. The cache's reference is the caller's, to be dropped without the lock. */
static struct fetch_session *cache_remove(struct fetch_sessions *sessions, int32_t id)
{
    struct fetch_session *session = map_remove(&sessions->by_id, &id, sizeof(id));
    if (session == NULL)
        return NULL;
    use_unlink(sessions, session);
    sessions->bytes -= session->counted_bytes;
    session->cached = false;
    return session;
}

static void cache_close(struct fetch_sessions *sessions, int32_t id)
{
    (void)pthread_mutex_lock(&sessions->lock);
    struct fetch_session *session = cache_remove(sessions, id);
    (void)pthread_mutex_unlock(&sessions->lock);
    session_drop(session);
}

void fetch_sessions_free(struct fetch_sessions **out)
{
    struct fetch_sessions *sessions = *out;
    if (sessions == NULL)
        return;
    while (sessions->oldest != NULL)
        cache_close(sessions, sessions->oldest->id);
    REQUIRE(sessions->bytes == 0);
    map_fini(&sessions->by_id);
    (void)pthread_mutex_destroy(&sessions->lock);
    free(sessions);
    *out = NULL;
}

struct fetch_sessions_count fetch_sessions_count(struct fetch_sessions *sessions)
{
    (void)pthread_mutex_lock(&sessions->lock);
    struct fetch_sessions_count count = {
        .sessions = (uint32_t)sessions->by_id.count, .evicted = sessions->evicted, .bytes = sessions->bytes};
    (void)pthread_mutex_unlock(&sessions->lock);
    return count;
}

/* Cache's lock held. Who makes room for a session of so many partitions; NULL: nobody. */
static struct fetch_session *cache_victim(struct fetch_sessions *sessions, uint32_t parts, int64_t now_ms)
{
    struct fetch_session *victim = sessions->oldest;
    if (victim == NULL || now_ms - victim->used_ms > FETCH_SESSION_EVICTION_MS)
        return victim;
    victim = NULL;
    if (now_ms < sessions->refused_until_ms && parts <= sessions->refused_parts)
        return NULL;
    for (struct fetch_session *one = sessions->oldest; one != NULL; one = one->newer)
        if (now_ms - one->created_ms > FETCH_SESSION_EVICTION_MS && one->cached_parts < parts &&
            (victim == NULL || one->cached_parts < victim->cached_parts))
            victim = one;
    if (victim == NULL) {
        sessions->refused_parts = parts;
        sessions->refused_until_ms = now_ms + REFUSED_MS;
    }
    return victim;
}

/* Cache's lock held. Gives those that made room, by their `newer`, to be dropped without it. */
static bool cache_make_room(struct fetch_sessions *sessions, uint32_t parts, int64_t bytes, int64_t now_ms,
                            struct fetch_session **spent)
{
    if (sessions->slots == 0 || bytes > sessions->limit_bytes)
        return false;
    while (sessions->by_id.count >= sessions->slots || sessions->bytes + bytes > sessions->limit_bytes) {
        const struct fetch_session *victim = cache_victim(sessions, parts, now_ms);
        if (victim == NULL)
            return false;
        struct fetch_session *out = cache_remove(sessions, victim->id);
        out->newer = *spent;
        *spent = out;
        sessions->evicted++;
    }
    return true;
}

static void spent_drop(struct fetch_session *spent)
{
    while (spent != NULL) {
        struct fetch_session *next = spent->newer;
        session_drop(spent);
        spent = next;
    }
}

/* Cache's lock held. */
static int32_t cache_free_id(const struct fetch_sessions *sessions)
{
    for (;;) {
        struct uuid random = uuid_random();
        int32_t id = (int32_t)(get_be32(random.bytes) & INT32_MAX);
        if (id != 0 && map_get(&sessions->by_id, &id, sizeof(id)) == NULL)
            return id;
    }
}

/* Takes the session. Its id; 0: there is no room for it. */
static int32_t cache_add(struct fetch_sessions *sessions, struct fetch_session *session, int64_t now_ms)
{
    struct fetch_session *spent = NULL;
    uint32_t parts = (uint32_t)session->parts.count;
    int32_t id = 0;
    (void)pthread_mutex_lock(&sessions->lock);
    if (cache_make_room(sessions, parts, session->held_bytes, now_ms, &spent)) {
        id = session->id = cache_free_id(sessions);
        session->cached = map_put(&sessions->by_id, &id, sizeof(id), session, NULL);
    }
    if (session->cached) {
        session->cached_parts = parts;
        session->counted_bytes = session->held_bytes;
        sessions->bytes += session->counted_bytes;
        use_link(sessions, session);
    }
    bool in = session->cached;
    (void)pthread_mutex_unlock(&sessions->lock);
    spent_drop(spent);
    if (!in)
        session_drop(session);
    return in ? id : 0;
}

/* With a reference; NULL: there is none. */
static struct fetch_session *cache_take(struct fetch_sessions *sessions, int32_t id)
{
    (void)pthread_mutex_lock(&sessions->lock);
    struct fetch_session *session = map_get(&sessions->by_id, &id, sizeof(id));
    if (session != NULL)
        (void)atomic_fetch_add_explicit(&session->refs, 1, memory_order_relaxed);
    (void)pthread_mutex_unlock(&sessions->lock);
    return session;
}

/* It was used, and has now so much. False: that is too much, or it is in the cache no more. */
static bool cache_touch(struct fetch_sessions *sessions, struct fetch_session *session, uint32_t parts,
                        int64_t held_bytes, int64_t now_ms)
{
    (void)pthread_mutex_lock(&sessions->lock);
    int64_t more_bytes = held_bytes - session->counted_bytes;
    bool fits = session->cached && (more_bytes <= 0 || sessions->bytes + more_bytes <= sessions->limit_bytes);
    if (fits) {
        use_unlink(sessions, session);
        use_link(sessions, session);
        session->used_ms = now_ms;
        session->cached_parts = parts;
        session->counted_bytes = held_bytes;
        sessions->bytes += more_bytes;
    }
    (void)pthread_mutex_unlock(&sessions->lock);
    return fits;
}

/* ---- a fetch ------------------------------------------------------------------------------------- */

/* What the request itself names. */
static void rows_of_request(struct fetch_turn *turn, const struct kafka_fetch_request *asked, struct kafka_arena *arena)
{
    size_t count = 0;
    for (int32_t t = 0; t < asked->topics.count; t++)
        count += (size_t)asked->topics.at[t].partitions.count;
    turn->rows = kafka_arena_take(arena, count * sizeof(*turn->rows));
    for (int32_t t = 0; turn->rows != NULL && t < asked->topics.count; t++) {
        const struct kafka_fetch_request_topic *topic = &asked->topics.at[t];
        for (int32_t p = 0; p < topic->partitions.count; p++)
            turn->rows[turn->count++] = (struct fetch_row){
                .topic = topic->topic, .topic_id = topic->topic_id, .asked = topic->partitions.at[p]};
    }
}

/* Session's lock held. All that the session has; a name is copied once for all partitions in a row. */
static void rows_of_session(struct fetch_turn *turn, const struct fetch_session *session, struct kafka_arena *arena)
{
    struct slice before = {0};
    turn->rows = kafka_arena_take(arena, session->parts.count * sizeof(*turn->rows));
    for (struct fetch_session_part *part = session->first; turn->rows != NULL && part != NULL; part = part->next) {
        struct fetch_row *row = &turn->rows[turn->count++];
        *row = (struct fetch_row){.asked = part->asked, .part = part};
        struct slice topic = slice_of(part->key + PART_KEY_BYTES, part->key_bytes - PART_KEY_BYTES);
        if (session->by_id)
            memcpy(row->topic_id.bytes, topic.data, UUID_BYTES);
        else if (!slice_is_absent(before) && slice_equal(before, topic))
            row->topic = before;
        else
            row->topic = before = kafka_arena_copy(arena, topic.data, topic.len);
    }
}

/* Session's lock held. False: out of memory. */
static bool session_update(struct fetch_session *session, const struct kafka_fetch_request *asked)
{
    for (int32_t t = 0; t < asked->topics.count; t++) {
        const struct kafka_fetch_request_topic *topic = &asked->topics.at[t];
        for (int32_t p = 0; p < topic->partitions.count; p++) {
            const struct fetch_row row = {
                .topic = topic->topic, .topic_id = topic->topic_id, .asked = topic->partitions.at[p]};
            if (session_put(session, &row) == NULL)
                return false;
        }
    }
    for (int32_t t = 0; t < asked->forgotten_topics_data.count; t++)
        for (int32_t p = 0; p < asked->forgotten_topics_data.at[t].partitions.count; p++)
            session_forget(session, &asked->forgotten_topics_data.at[t],
                           asked->forgotten_topics_data.at[t].partitions.at[p]);
    return true;
}

static int32_t epoch_after(int32_t epoch)
{
    return epoch == INT32_MAX ? 1 : epoch + 1;
}

/* Session's lock held. */
static int16_t session_go_on(struct fetch_session *session, struct fetch_turn *turn,
                             const struct kafka_fetch_request *asked, struct kafka_arena *arena)
{
    if (session->epoch == EPOCH_FINAL)
        return KAFKA_ERR_FETCH_SESSION_ID_NOT_FOUND;
    if (session->epoch != asked->session_epoch)
        return KAFKA_ERR_INVALID_FETCH_SESSION_EPOCH;
    if (session->by_id != turn->by_id)
        return KAFKA_ERR_FETCH_SESSION_TOPIC_ID_ERROR;
    bool updated = session_update(session, asked);
    session->epoch = updated && session->parts.count > 0 ? epoch_after(session->epoch) : EPOCH_FINAL;
    turn->epoch = session->epoch;
    if (!updated)
        return KAFKA_ERR_FETCH_SESSION_ID_NOT_FOUND; /* the client begins a new one */
    rows_of_session(turn, session, arena);
    return KAFKA_ERR_NONE;
}

static int16_t turn_go_on(struct fetch_sessions *sessions, struct fetch_turn *turn,
                          const struct kafka_fetch_request *asked, int64_t now_ms, struct kafka_arena *arena)
{
    struct fetch_session *session = cache_take(sessions, asked->session_id);
    if (session == NULL)
        return KAFKA_ERR_FETCH_SESSION_ID_NOT_FOUND;
    (void)pthread_mutex_lock(&session->lock);
    int16_t code = session_go_on(session, turn, asked, arena);
    bool ends = session->epoch == EPOCH_FINAL;
    uint32_t parts = (uint32_t)session->parts.count;
    int64_t held_bytes = session->held_bytes;
    (void)pthread_mutex_unlock(&session->lock);
    if (code == KAFKA_ERR_NONE && !ends && cache_touch(sessions, session, parts, held_bytes, now_ms)) {
        turn->session = session;
        return KAFKA_ERR_NONE;
    }
    if (code == KAFKA_ERR_NONE && !ends)
        code = KAFKA_ERR_FETCH_SESSION_ID_NOT_FOUND; /* no room for it as it has become */
    if (ends || code == KAFKA_ERR_FETCH_SESSION_ID_NOT_FOUND)
        cache_close(sessions, asked->session_id);
    session_drop(session);
    return code;
}

int16_t fetch_turn_begin(struct fetch_sessions *sessions, struct fetch_turn *turn,
                         const struct kafka_fetch_request *asked, bool by_id, int64_t now_ms, struct kafka_arena *arena)
{
    *turn = (struct fetch_turn){.by_id = by_id};
    if (asked->session_epoch != EPOCH_FIRST && asked->session_epoch != EPOCH_FINAL)
        return turn_go_on(sessions, turn, asked, now_ms, arena);
    if (asked->session_id != 0)
        cache_close(sessions, asked->session_id);
    turn->opens = asked->session_epoch == EPOCH_FIRST;
    rows_of_request(turn, asked, arena);
    return KAFKA_ERR_NONE;
}

/* Whether the client is to be told, as Kafka judges it; what it is told is remembered. */
static bool part_changed(struct fetch_session_part *part, const struct kafka_fetch_response_partition *found)
{
    bool changed = found->records.len > 0 || found->error_code != KAFKA_ERR_NONE ||
                   found->high_watermark != part->high_watermark || found->log_start_offset != part->log_start_off;
    part->high_watermark = found->error_code == KAFKA_ERR_NONE ? found->high_watermark : -1;
    part->log_start_off = found->log_start_offset;
    return changed;
}

/* Session's lock held, or nobody else knows it. */
static bool part_found(struct fetch_session *session, struct fetch_session_part *part,
                       const struct kafka_fetch_response_partition *found)
{
    if (found->records.len > 0) {
        list_remove(session, part);
        list_append(session, part);
    }
    return part_changed(part, found);
}

static int32_t turn_open(struct fetch_sessions *sessions, const struct fetch_turn *turn,
                         const struct kafka_fetch_response_partition *const *found, int64_t now_ms)
{
    struct fetch_session *session = session_new(turn->by_id, now_ms);
    for (uint32_t i = 0; session != NULL && i < turn->count; i++) {
        turn->rows[i].part = session_put(session, &turn->rows[i]);
        if (turn->rows[i].part == NULL || session->held_bytes > sessions->limit_bytes) {
            session_drop(session);
            return 0;
        }
    }
    for (uint32_t i = 0; session != NULL && i < turn->count; i++)
        (void)part_found(session, turn->rows[i].part, found[i]);
    return session == NULL ? 0 : cache_add(sessions, session, now_ms);
}

int16_t fetch_turn_answer(struct fetch_sessions *sessions, struct fetch_turn *turn,
                          const struct kafka_fetch_response_partition *const *found, bool *told, int64_t now_ms,
                          int32_t *session_id)
{
    struct fetch_session *session = turn->session;
    *session_id = 0;
    for (uint32_t i = 0; i < turn->count && session == NULL; i++)
        told[i] = true;
    if (session == NULL) {
        if (turn->opens && sessions->slots > 0)
            *session_id = turn_open(sessions, turn, found, now_ms);
        return KAFKA_ERR_NONE;
    }
    *session_id = session->id;
    (void)pthread_mutex_lock(&session->lock);
    bool still = session->epoch == turn->epoch;
    for (uint32_t i = 0; i < turn->count && still; i++)
        told[i] = part_found(session, turn->rows[i].part, found[i]);
    (void)pthread_mutex_unlock(&session->lock);
    return still ? KAFKA_ERR_NONE : KAFKA_ERR_INVALID_FETCH_SESSION_EPOCH;
}

void fetch_turn_end(struct fetch_turn *turn)
{
    session_drop(turn->session);
    turn->session = NULL;
}
