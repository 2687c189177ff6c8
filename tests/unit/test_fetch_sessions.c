/* Fetch sessions: which fetch goes on with which, what is told, who makes room for whom. */
#include "base/bytes.h"
#include "proto/kafka/error.h"
#include "server/kafka_fetch_sessions.h"
#include "support/unit.h"

#include <pthread.h>
#include <stdatomic.h>

enum { PARTS_MAX = 8, ROOMY_BYTES = 1024 * 1024, LATER_MS = FETCH_SESSION_EVICTION_MS + 1 };

/* A client with one topic, whose partitions' watermarks are as it says. */
struct fetcher {
    struct fetch_sessions *sessions;
    struct kafka_arena arena;
    struct kafka_fetch_request_partition parts[PARTS_MAX];
    struct kafka_fetch_request_topic topic;
    int32_t gone[PARTS_MAX];
    struct kafka_fetch_request_forgotten forgotten;
    bool by_id;
    int64_t now_ms;
    /* of the last fetch */
    struct fetch_turn turn;
    bool told[PARTS_MAX];
    int32_t id;
};

static int64_t watermark[PARTS_MAX];
static size_t records[PARTS_MAX];
static int16_t fault[PARTS_MAX];

static void forget_all(void)
{
    memset(watermark, 0, sizeof(watermark));
    memset(records, 0, sizeof(records));
    memset(fault, 0, sizeof(fault));
}

static struct fetcher fetcher_new(uint32_t slots, int64_t limit_bytes)
{
    forget_all();
    struct fetcher f = {.sessions = fetch_sessions_new(slots, limit_bytes), .now_ms = 1};
    kafka_arena_init(&f.arena, 1024 * 1024);
    return f;
}

static void fetcher_free(struct fetcher *f)
{
    kafka_arena_fini(&f->arena);
    fetch_sessions_free(&f->sessions);
}

static int16_t begin(struct fetcher *f, int32_t id, int32_t epoch, int32_t count, int32_t gone)
{
    struct kafka_fetch_request ask = {.session_id = id, .session_epoch = epoch};
    f->topic.topic = slice_text("topic");
    f->topic.partitions.at = f->parts;
    f->topic.partitions.count = count;
    ask.topics.at = &f->topic;
    ask.topics.count = count > 0;
    f->forgotten.topic = f->topic.topic;
    f->forgotten.partitions.at = f->gone;
    f->forgotten.partitions.count = gone;
    ask.forgotten_topics_data.at = &f->forgotten;
    ask.forgotten_topics_data.count = gone > 0;
    kafka_arena_reset(&f->arena);
    return fetch_turn_begin(f->sessions, &f->turn, &ask, f->by_id, f->now_ms, &f->arena);
}

static int16_t answer(struct fetcher *f)
{
    struct kafka_fetch_response_partition found[PARTS_MAX];
    const struct kafka_fetch_response_partition *at[PARTS_MAX];
    CU_ASSERT_FATAL(f->turn.count <= PARTS_MAX);
    memset(f->told, 0, sizeof(f->told));
    for (uint32_t i = 0; i < f->turn.count; i++) {
        int32_t p = f->turn.rows[i].asked.partition;
        found[i] = (struct kafka_fetch_response_partition){
            .partition_index = p, .error_code = fault[p], .high_watermark = watermark[p]};
        found[i].records.len = records[p];
        at[i] = &found[i];
    }
    int16_t code = fetch_turn_answer(f->sessions, &f->turn, at, f->told, f->now_ms, &f->id);
    fetch_turn_end(&f->turn);
    return code;
}

/* A whole fetch of so many partitions that wants a session. Its id. */
static int32_t open_one(struct fetcher *f, int32_t count)
{
    for (int32_t p = 0; p < count; p++)
        f->parts[p] = (struct kafka_fetch_request_partition){.partition = p, .fetch_offset = 10 * p};
    CU_ASSERT_EQUAL(begin(f, 0, 0, count, 0), KAFKA_ERR_NONE);
    CU_ASSERT_EQUAL(answer(f), KAFKA_ERR_NONE);
    for (int32_t p = 0; p < count; p++)
        CU_ASSERT_TRUE(f->told[p]);
    return f->id;
}

/* The next fetch of a session that names nothing anew: the partitions told, in their order. */
static const char *go_on(struct fetcher *f, int32_t id, int32_t epoch)
{
    static char text[PARTS_MAX + 1];
    size_t n = 0;
    CU_ASSERT_EQUAL_FATAL(begin(f, id, epoch, 0, 0), KAFKA_ERR_NONE);
    CU_ASSERT_EQUAL(answer(f), KAFKA_ERR_NONE);
    CU_ASSERT_EQUAL(f->id, id);
    for (uint32_t i = 0; i < f->turn.count; i++)
        if (f->told[i])
            text[n++] = (char)('0' + f->turn.rows[i].asked.partition);
    text[n] = '\0';
    return text;
}

static void only_what_changed_is_told(void)
{
    struct fetcher f = fetcher_new(10, ROOMY_BYTES);
    int32_t id = open_one(&f, 3);
    CU_ASSERT_NOT_EQUAL(id, 0);
    CU_ASSERT_STRING_EQUAL(go_on(&f, id, 1), "");
    CU_ASSERT_EQUAL(f.turn.count, 3);
    CU_ASSERT_EQUAL(f.turn.rows[2].asked.fetch_offset, 20);
    CU_ASSERT(slice_equal_text(f.turn.rows[2].topic, "topic"));
    watermark[1] = 5;
    CU_ASSERT_STRING_EQUAL(go_on(&f, id, 2), "1");
    CU_ASSERT_STRING_EQUAL(go_on(&f, id, 3), "");
    fault[2] = KAFKA_ERR_NOT_LEADER_OR_FOLLOWER;
    CU_ASSERT_STRING_EQUAL(go_on(&f, id, 4), "2");
    CU_ASSERT_STRING_EQUAL(go_on(&f, id, 5), "2");
    fault[2] = KAFKA_ERR_NONE; /* told once more when it is over */
    CU_ASSERT_STRING_EQUAL(go_on(&f, id, 6), "2");
    CU_ASSERT_STRING_EQUAL(go_on(&f, id, 7), "");
    records[0] = 100;
    CU_ASSERT_STRING_EQUAL(go_on(&f, id, 8), "0");
    fetcher_free(&f);
}

static void partitions_come_change_and_are_forgotten(void)
{
    struct fetcher f = fetcher_new(10, ROOMY_BYTES);
    int32_t id = open_one(&f, 2);
    f.parts[0] = (struct kafka_fetch_request_partition){.partition = 1, .fetch_offset = 77};
    f.parts[1] = (struct kafka_fetch_request_partition){.partition = 5, .fetch_offset = 55};
    f.gone[0] = 0;
    f.gone[1] = 4; /* which it does not have */
    CU_ASSERT_EQUAL(begin(&f, id, 1, 2, 2), KAFKA_ERR_NONE);
    CU_ASSERT_EQUAL_FATAL(f.turn.count, 2);
    CU_ASSERT_EQUAL(f.turn.rows[0].asked.partition, 1);
    CU_ASSERT_EQUAL(f.turn.rows[0].asked.fetch_offset, 77);
    CU_ASSERT_EQUAL(f.turn.rows[1].asked.partition, 5);
    CU_ASSERT_EQUAL(answer(&f), KAFKA_ERR_NONE);
    CU_ASSERT_FALSE(f.told[0]);
    CU_ASSERT_TRUE(f.told[1]);
    f.gone[0] = 1;
    f.gone[1] = 5; /* the last one: the session ends */
    CU_ASSERT_EQUAL(begin(&f, id, 2, 0, 2), KAFKA_ERR_NONE);
    CU_ASSERT_EQUAL(f.turn.count, 0);
    CU_ASSERT_EQUAL(answer(&f), KAFKA_ERR_NONE);
    CU_ASSERT_EQUAL(f.id, 0);
    CU_ASSERT_EQUAL(fetch_sessions_count(f.sessions).sessions, 0);
    CU_ASSERT_EQUAL(fetch_sessions_count(f.sessions).bytes, 0);
    fetcher_free(&f);
}

static void epochs_and_ids_have_to_be_right(void)
{
    struct fetcher f = fetcher_new(10, ROOMY_BYTES);
    int32_t id = open_one(&f, 2);
    CU_ASSERT_EQUAL(begin(&f, id ^ 1, 1, 0, 0), KAFKA_ERR_FETCH_SESSION_ID_NOT_FOUND);
    CU_ASSERT_EQUAL(begin(&f, id, 2, 0, 0), KAFKA_ERR_INVALID_FETCH_SESSION_EPOCH);
    CU_ASSERT_EQUAL(begin(&f, id, -7, 0, 0), KAFKA_ERR_INVALID_FETCH_SESSION_EPOCH);
    f.by_id = true;
    CU_ASSERT_EQUAL(begin(&f, id, 1, 0, 0), KAFKA_ERR_FETCH_SESSION_TOPIC_ID_ERROR);
    f.by_id = false;
    CU_ASSERT_STRING_EQUAL(go_on(&f, id, 1), ""); /* none of them has harmed it */
    /* A fetch that another of the same session has overtaken. */
    struct fetcher other = f;
    kafka_arena_init(&other.arena, 1024 * 1024);
    CU_ASSERT_EQUAL(begin(&f, id, 2, 0, 0), KAFKA_ERR_NONE);
    other.gone[0] = 0;
    CU_ASSERT_EQUAL(begin(&other, id, 3, 0, 1), KAFKA_ERR_NONE);
    CU_ASSERT_EQUAL(answer(&f), KAFKA_ERR_INVALID_FETCH_SESSION_EPOCH);
    CU_ASSERT_EQUAL(answer(&other), KAFKA_ERR_NONE);
    kafka_arena_fini(&other.arena);
    /* Closed, with one under way. */
    CU_ASSERT_EQUAL(begin(&f, id, 4, 0, 0), KAFKA_ERR_NONE);
    struct fetch_turn under_way = f.turn;
    f.parts[0].partition = 0;
    kafka_arena_init(&other.arena, 1024 * 1024);
    CU_ASSERT_EQUAL(begin(&other, id, -1, 1, 0), KAFKA_ERR_NONE);
    CU_ASSERT_EQUAL(answer(&other), KAFKA_ERR_NONE);
    CU_ASSERT_EQUAL(other.id, 0);
    kafka_arena_fini(&other.arena);
    f.turn = under_way;
    CU_ASSERT_EQUAL(answer(&f), KAFKA_ERR_NONE);
    CU_ASSERT_EQUAL(begin(&f, id, 5, 0, 0), KAFKA_ERR_FETCH_SESSION_ID_NOT_FOUND);
    CU_ASSERT_EQUAL(fetch_sessions_count(f.sessions).bytes, 0);
    fetcher_free(&f);
}

static void who_has_given_records_goes_to_the_end(void)
{
    struct fetcher f = fetcher_new(10, ROOMY_BYTES);
    int32_t id = open_one(&f, 4);
    records[0] = records[2] = 10;
    CU_ASSERT_STRING_EQUAL(go_on(&f, id, 1), "02");
    records[0] = 0;
    CU_ASSERT_STRING_EQUAL(go_on(&f, id, 2), "2");
    CU_ASSERT_EQUAL(f.turn.rows[0].asked.partition, 1);
    CU_ASSERT_EQUAL(f.turn.rows[1].asked.partition, 3);
    CU_ASSERT_EQUAL(f.turn.rows[2].asked.partition, 0);
    CU_ASSERT_EQUAL(f.turn.rows[3].asked.partition, 2);
    fetcher_free(&f);
}

static void a_full_cache_gives_no_more(void)
{
    struct fetcher f = fetcher_new(2, ROOMY_BYTES);
    int32_t small = open_one(&f, 1), large = open_one(&f, 3);
    CU_ASSERT_EQUAL(open_one(&f, 4), 0); /* nobody is old enough */
    f.now_ms += LATER_MS;
    (void)go_on(&f, small, 1);
    (void)go_on(&f, large, 1);
    CU_ASSERT_EQUAL(open_one(&f, 1), 0); /* nobody has fewer partitions */
    int32_t two = open_one(&f, 2);
    CU_ASSERT_NOT_EQUAL(two, 0); /* in the place of the small one */
    CU_ASSERT_EQUAL(begin(&f, small, 2, 0, 0), KAFKA_ERR_FETCH_SESSION_ID_NOT_FOUND);
    CU_ASSERT_STRING_EQUAL(go_on(&f, large, 2), "");
    f.now_ms += LATER_MS;
    CU_ASSERT_STRING_EQUAL(go_on(&f, large, 3), "");
    CU_ASSERT_NOT_EQUAL(open_one(&f, 1), 0); /* in the place of who was not used for long */
    CU_ASSERT_EQUAL(begin(&f, two, 1, 0, 0), KAFKA_ERR_FETCH_SESSION_ID_NOT_FOUND);
    CU_ASSERT_EQUAL(fetch_sessions_count(f.sessions).evicted, 2);
    CU_ASSERT_EQUAL(fetch_sessions_count(f.sessions).sessions, 2);
    fetcher_free(&f);
    f = fetcher_new(0, ROOMY_BYTES);
    CU_ASSERT_EQUAL(open_one(&f, 1), 0);
    fetcher_free(&f);
}

static void memory_is_bounded(void)
{
    struct fetcher f = fetcher_new(1000, 4096);
    uint32_t given = 0;
    int32_t id = 0;
    for (int32_t more = 1; more != 0 && given < 100; given += more != 0)
        id = (more = open_one(&f, 2)) != 0 ? more : id;
    CU_ASSERT(given > 1 && given < 20);
    CU_ASSERT(fetch_sessions_count(f.sessions).bytes <= 4096);
    /* One that grows past it ends, and its client begins a new one. */
    for (int32_t p = 0; p < PARTS_MAX; p++)
        f.parts[p].partition = p;
    CU_ASSERT_EQUAL(begin(&f, id, 1, PARTS_MAX, 0), KAFKA_ERR_FETCH_SESSION_ID_NOT_FOUND);
    CU_ASSERT_EQUAL(fetch_sessions_count(f.sessions).sessions, given - 1);
    CU_ASSERT_EQUAL(begin(&f, id, 1, 0, 0), KAFKA_ERR_FETCH_SESSION_ID_NOT_FOUND);
    fetcher_free(&f);
}

/* ---- threads ------------------------------------------------------------------------------- */

enum { THREADS = 4, STEPS = 3000, SHARED = 6 };

static struct {
    struct fetch_sessions *sessions;
    _Atomic int32_t ids[SHARED];
    _Atomic int32_t epochs[SHARED];
    _Atomic int64_t now_ms;
    _Atomic uint64_t went_on;
} crowd;

/* One fetch of `count` partitions, which has found something new everywhere. */
static int16_t fetch_once(struct kafka_arena *arena, int32_t *id, int32_t epoch, int32_t count, int32_t gone)
{
    struct kafka_fetch_request_partition parts[PARTS_MAX] = {{0}};
    struct kafka_fetch_response_partition found = {.high_watermark = atomic_load(&crowd.now_ms)};
    const struct kafka_fetch_response_partition *at[PARTS_MAX];
    bool told[PARTS_MAX];
    struct kafka_fetch_request_topic topic = {.topic = slice_text("topic")};
    struct kafka_fetch_request_forgotten forgotten = {.topic = slice_text("topic")};
    struct kafka_fetch_request ask = {.session_id = *id, .session_epoch = epoch};
    struct fetch_turn turn;
    for (int32_t i = 0; i < PARTS_MAX; i++) {
        parts[i].partition = i;
        at[i] = &found;
    }
    topic.partitions.at = parts;
    topic.partitions.count = count;
    ask.topics.at = &topic;
    ask.topics.count = count > 0;
    forgotten.partitions.at = &gone;
    forgotten.partitions.count = 1;
    ask.forgotten_topics_data.at = &forgotten;
    ask.forgotten_topics_data.count = epoch > 0;
    kafka_arena_reset(arena);
    int64_t now_ms = atomic_fetch_add(&crowd.now_ms, 2000);
    int16_t code = fetch_turn_begin(crowd.sessions, &turn, &ask, false, now_ms, arena);
    *id = 0;
    if (code == KAFKA_ERR_NONE && turn.count <= PARTS_MAX)
        code = fetch_turn_answer(crowd.sessions, &turn, at, told, now_ms, id);
    fetch_turn_end(&turn);
    return code;
}

/* Sessions of all are opened, gone on with and closed by all. */
static void *one_of_the_crowd(void *argument)
{
    uint32_t random = (uint32_t)(uintptr_t)argument;
    struct kafka_arena arena;
    kafka_arena_init(&arena, 1024 * 1024);
    for (int i = 0; i < STEPS; i++) {
        random = random * 1664525 + 1013904223;
        uint32_t which = (random >> 16) % SHARED;
        int32_t id = atomic_load(&crowd.ids[which]), epoch = atomic_load(&crowd.epochs[which]);
        int32_t count = (int32_t)(random >> 8) % PARTS_MAX;
        if (id == 0 || random >> 28 == 0) {
            if (fetch_once(&arena, &id, 0, count, 0) == KAFKA_ERR_NONE) {
                atomic_store(&crowd.epochs[which], 1);
                atomic_store(&crowd.ids[which], id);
            }
        } else if (fetch_once(&arena, &id, epoch, count, count) == KAFKA_ERR_NONE && id != 0) {
            atomic_store(&crowd.epochs[which], epoch + 1);
            atomic_fetch_add(&crowd.went_on, 1);
        } else if (random >> 27 == 3) {
            atomic_store(&crowd.ids[which], 0);
        }
    }
    kafka_arena_fini(&arena);
    return NULL;
}

static void many_threads_use_them_together(void)
{
    pthread_t threads[THREADS];
    crowd.sessions = fetch_sessions_new(SHARED - 2, ROOMY_BYTES);
    for (uintptr_t i = 0; i < THREADS; i++)
        CU_ASSERT_EQUAL_FATAL(pthread_create(&threads[i], NULL, one_of_the_crowd, (void *)(i + 1)), 0);
    for (int i = 0; i < THREADS; i++)
        (void)pthread_join(threads[i], NULL);
    CU_ASSERT(atomic_load(&crowd.went_on) > 100);
    CU_ASSERT(fetch_sessions_count(crowd.sessions).evicted > 0);
    CU_ASSERT(fetch_sessions_count(crowd.sessions).sessions <= SHARED - 2);
    fetch_sessions_free(&crowd.sessions); /* which looks that no byte is left */
}

static const struct unit_case cases[] = {
    {"a session tells only what changed", only_what_changed_is_told},
    {"partitions come, change and are forgotten", partitions_come_change_and_are_forgotten},
    {"epochs and ids have to be right", epochs_and_ids_have_to_be_right},
    {"who has given records goes to the end", who_has_given_records_goes_to_the_end},
    {"a full cache gives no more, but for who is worth more", a_full_cache_gives_no_more},
    {"the memory of sessions is bounded", memory_is_bounded},
    {"many threads use them together", many_threads_use_them_together},
};

UNIT_MAIN("fetch sessions", cases)
