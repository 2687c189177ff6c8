/*
 * Reading a partition that other brokers lead: pulls, leaders that move between them,
 * replicas that are asked when nobody leads, waiting and its end. Other brokers are played
 * by this file; the log is a table of batches.
 */
#include "api/reader.h"
#include "api/route.h"
#include "base/require.h"
#include "cluster/links.h"
#include "support/unit.h"

#include <stdio.h>

struct image {
    int unused;
};
struct image_topic {
    int unused;
};
static struct image the_image;
static struct image_topic the_topic;
static const struct uuid the_id = {{1, 2, 3}};
static struct {
    uint32_t leader;
    bool majority;
    bool alive[4];
    bool deleted;
    struct ask *asks[16];
    size_t ask_count;
    struct engine_deadline *deadline;
    int done;
} world;

struct image *cluster_image(struct cluster *cluster)
{
    (void)cluster;
    return &the_image;
}

void image_drop(struct image **image)
{
    *image = NULL;
}

struct image_topic *image_find_id(const struct image *image, const struct uuid *id)
{
    (void)image;
    return !world.deleted && uuid_equal(id, &the_id) ? &the_topic : NULL;
}

const char *image_topic_name(const struct image_topic *topic)
{
    (void)topic;
    return "news";
}

const struct uuid *image_topic_id(const struct image_topic *topic)
{
    (void)topic;
    return &the_id;
}

const uint32_t *image_replicas(const struct image_topic *topic, uint32_t p, uint32_t *count)
{
    static const uint32_t brokers[] = {2, 3};
    (void)topic;
    (void)p;
    *count = 2;
    return brokers;
}

struct partition *image_partition(const struct image_topic *topic, uint32_t p)
{
    (void)topic;
    (void)p;
    return NULL; /* none is here */
}

uint32_t cluster_self(const struct cluster *cluster)
{
    (void)cluster;
    return 1;
}

uint32_t cluster_leader(struct cluster *cluster, const struct uuid *topic_id, uint32_t p, uint64_t *term)
{
    (void)cluster;
    (void)topic_id;
    (void)p;
    if (term != NULL)
        *term = 1;
    return world.leader;
}

bool cluster_is_lost(struct cluster *cluster, const struct uuid *topic_id, uint32_t p)
{
    (void)cluster;
    (void)topic_id;
    (void)p;
    return false;
}

bool cluster_majority_alive(struct cluster *cluster, const struct image_topic *topic, uint32_t p)
{
    (void)cluster;
    (void)topic;
    (void)p;
    return world.majority;
}

struct links *cluster_links(struct cluster *cluster)
{
    (void)cluster;
    return NULL;
}

bool links_is_alive(struct links *links, uint32_t broker_id)
{
    (void)links;
    return world.alive[broker_id];
}

void links_ask(struct links *links, struct ask *ask)
{
    (void)links;
    REQUIRE(world.ask_count < sizeof(world.asks) / sizeof(world.asks[0]));
    world.asks[world.ask_count++] = ask;
}

void engine_set_deadline(struct engine *engine, struct engine_deadline *deadline, int64_t due_us)
{
    (void)engine;
    (void)due_us;
    world.deadline = deadline;
}

void partition_drop(struct partition **partition)
{
    REQUIRE(*partition == NULL);
}

#define NEVER(type, name, ...)                                                                                         \
    type name(__VA_ARGS__)                                                                                             \
    {                                                                                                                  \
        abort();                                                                                                       \
    }
#pragma GCC diagnostic ignored "-Wunused-parameter"
NEVER(struct image_topic *, image_find, const struct image *a, const char *b, size_t c)
NEVER(bool, image_topic_internal, const struct image_topic *a)
NEVER(uint32_t, image_topic_partitions, const struct image_topic *a)
NEVER(struct partition *, partition_hold, struct partition *a)
NEVER(struct log_view *, partition_view, struct partition *a)
NEVER(void, partition_wait, struct partition *a, struct wait_request *b)
NEVER(void, partition_wait_cancel, struct partition *a, struct wait_request *b)
NEVER(void, partition_ask, struct partition *a, struct partition_ask *b)
NEVER(void, partition_status, struct partition *a, struct partition_status *b)
NEVER(uint32_t, partition_leader, const struct partition *a, uint64_t *b)
NEVER(const char *, partition_title, const struct partition *a)
NEVER(void, engine_cancel_deadline, struct engine *a, struct engine_deadline *b)

/* ---- the rig ------------------------------------------------------------------------------- */

static struct config config;
static struct broker broker;
static struct reader reader;
static char seen[4096]; /* offsets shown */

static void reader_told(struct reader *r)
{
    REQUIRE(r == &reader);
    world.done++;
}

static void begin(void)
{
    memset(&world, 0, sizeof(world));
    world.leader = 2;
    world.majority = true;
    world.alive[2] = world.alive[3] = true;
    config_defaults(&config);
    memset(&broker, 0, sizeof(broker));
    broker.config = &config;
    leader_waits_init(&broker.waits, NULL);
    reader = (struct reader){.broker = &broker, .topic_id = the_id, .number = 4, .done = reader_told};
    reader_init(&reader);
    seen[0] = '\0';
}

static void end(void)
{
    reader_fini(&reader);
    CU_ASSERT_PTR_NULL(broker.waits.first);
    leader_waits_fini(&broker.waits);
}

static void lead(uint32_t broker_id)
{
    world.leader = broker_id;
    leader_waits_changed(&broker.waits, &the_id, 4);
    if (world.deadline != NULL)
        world.deadline->fire(world.deadline);
}

static bool show(void *context, struct record *record)
{
    size_t len = strlen(seen);
    (void)context;
    (void)snprintf(seen + len, sizeof(seen) - len, "%lld ", (long long)record->off);
    return true;
}

static struct ask_read question_of(size_t i)
{
    struct ask_read question;
    CU_ASSERT_EQUAL_FATAL(world.asks[i]->verb, ASK_READ);
    CU_ASSERT_EQUAL_FATAL(ask_read_decode(&question, world.asks[i]->parts[0].iov_base, world.asks[i]->parts[0].iov_len),
                          KQ_OK);
    return question;
}

/* Answers with batches of `size` records from first_off on. */
static void answer(size_t i, int64_t end_off, int64_t first_off, int batches, int size)
{
    struct ask *ask = world.asks[i];
    struct ask_read question = question_of(i);
    struct ask_reading reading = {.start_off = 0,
                                  .high_watermark = end_off,
                                  .off = question.off < 0 ? 0 : question.off,
                                  .end_off = question.end_off < 0 ? end_off : question.end_off};
    uint8_t head[ASK_WIRE_HEAD_MAX_BYTES];
    buf_init(&ask->answer, 1 << 20);
    buf_put(&ask->answer, head, ask_reading_encode(&reading, head));
    for (int b = 0; b < batches; b++, first_off += size) {
        struct batch_maker maker;
        size_t start = ask->answer.len;
        batch_begin(&maker, &ask->answer, 1000);
        for (int k = 0; k < size; k++)
            batch_add(&maker, 1000, slice_text("k"), slice_text("v"), NULL, (struct slice){0});
        batch_end(&maker, -1, -1, -1);
        batch_place(ask->answer.data + start, first_off, 1);
    }
    world.asks[i] = NULL;
    ask->done(ask);
}

static void refuse(size_t i, enum kq_err err, bool maybe)
{
    struct ask *ask = world.asks[i];
    world.asks[i] = NULL;
    buf_init(&ask->answer, 16);
    ask->maybe_delivered = maybe;
    fault_set(&ask->fault, err, "%s", err_text(err));
    ask->done(ask);
}

static enum kq_err read_some(void)
{
    struct fault fault;
    return fetch_some(&reader.fetch, show, NULL, &fault);
}

/* ---- cases ------------------------------------------------------------------------------------- */

static void it_pulls_from_the_leader_up_to_a_fixed_end(void)
{
    begin();
    reader_open(&reader, 4, false);
    CU_ASSERT_EQUAL_FATAL(world.ask_count, 1);
    CU_ASSERT_EQUAL(world.asks[0]->broker_id, 2);
    struct ask_read question = question_of(0);
    CU_ASSERT_EQUAL(question.off, 4);
    CU_ASSERT_EQUAL(question.flags, ASK_READ_CONFIRM);
    CU_ASSERT_EQUAL(question.end_off, -1);
    answer(0, 11, 3, 1, 3); /* a batch that begins before the offset: 3 4 5 */
    CU_ASSERT_EQUAL(world.done, 1);
    CU_ASSERT_EQUAL(reader.fault.err, KQ_OK);
    CU_ASSERT_EQUAL(read_some(), KQ_AGAIN);
    CU_ASSERT_STRING_EQUAL(seen, "4 5 ");
    reader_more(&reader);
    question = question_of(1);
    CU_ASSERT_EQUAL(question.off, 6);
    CU_ASSERT_EQUAL(question.end_off, 11);
    CU_ASSERT_EQUAL(question.flags, 0);
    answer(1, 20, 6, 3, 3); /* 6 .. 14: more than the end that was fixed */
    CU_ASSERT_EQUAL(read_some(), KQ_EOF);
    CU_ASSERT_STRING_EQUAL(seen, "4 5 6 7 8 9 10 ");
    end();
}

static void when_the_leader_moves_it_goes_on_at_the_next(void)
{
    begin();
    reader_open(&reader, -1, true);
    answer(0, 9, 0, 1, 3);
    CU_ASSERT_EQUAL(read_some(), KQ_AGAIN);
    reader_more(&reader);
    refuse(1, KQ_NO_LEADER, true); /* the link was lost */
    CU_ASSERT_EQUAL(world.done, 1);
    lead(3);
    CU_ASSERT_EQUAL_FATAL(world.ask_count, 3);
    CU_ASSERT_EQUAL(world.asks[2]->broker_id, 3);
    CU_ASSERT_EQUAL(question_of(2).off, 3);
    answer(2, 9, 3, 2, 3);
    CU_ASSERT_EQUAL(world.done, 2);
    CU_ASSERT_EQUAL(read_some(), KQ_EOF);
    CU_ASSERT_STRING_EQUAL(seen, "0 1 2 3 4 5 6 7 8 ");
    end();
}

static void without_a_majority_any_replica_is_read(void)
{
    begin();
    world.leader = 0;
    world.majority = false;
    world.alive[2] = false;
    reader_open(&reader, -1, true);
    CU_ASSERT_EQUAL_FATAL(world.ask_count, 1);
    CU_ASSERT_EQUAL(world.asks[0]->broker_id, 3);
    CU_ASSERT_EQUAL(question_of(0).flags, ASK_READ_CLAMP); /* nobody could confirm */
    answer(0, 2, 0, 1, 2);
    CU_ASSERT_EQUAL(read_some(), KQ_EOF);
    CU_ASSERT_STRING_EQUAL(seen, "0 1 ");
    end();
    begin();
    world.leader = 0;
    world.majority = world.alive[2] = world.alive[3] = false;
    reader_open(&reader, -1, true);
    CU_ASSERT_EQUAL(world.done, 1);
    CU_ASSERT_EQUAL(reader.fault.err, KQ_NOT_ENOUGH_REPLICAS);
    end();
}

static void an_offset_outside_of_the_log_is_said_at_once(void)
{
    begin();
    reader_open(&reader, 400, false);
    refuse(0, KQ_OFFSET_OUT_OF_RANGE, false);
    CU_ASSERT_EQUAL(world.done, 1);
    CU_ASSERT_EQUAL(reader.fault.err, KQ_OFFSET_OUT_OF_RANGE);
    end();
}

static void what_the_leader_cannot_read_comes_from_another(void)
{
    begin();
    reader_open(&reader, 0, false);
    refuse(0, KQ_CORRUPT, false);
    lead(2);
    CU_ASSERT_EQUAL_FATAL(world.ask_count, 2);
    uint32_t first = world.asks[1]->broker_id;
    if (first == 2) { /* once more the damaged one, then the other */
        refuse(1, KQ_CORRUPT, false);
        lead(2);
    }
    size_t last = world.ask_count - 1;
    CU_ASSERT_EQUAL(world.asks[last]->broker_id, 3);
    answer(last, 1, 0, 1, 1);
    CU_ASSERT_EQUAL(read_some(), KQ_EOF);
    CU_ASSERT_STRING_EQUAL(seen, "0 ");
    end();
}

static void watched(size_t i, int64_t high_watermark)
{
    struct ask *ask = world.asks[i];
    struct ask_watched answered = {.high_watermark = high_watermark};
    uint8_t head[ASK_WIRE_HEAD_MAX_BYTES];
    buf_init(&ask->answer, 64);
    buf_put(&ask->answer, head, ask_watched_encode(&answered, head));
    world.asks[i] = NULL;
    ask->done(ask);
}

static void it_waits_at_the_leader_until_there_is_more(void)
{
    begin();
    reader_open(&reader, 0, false);
    answer(0, 1, 0, 1, 1);
    CU_ASSERT_EQUAL(read_some(), KQ_EOF);
    reader_wait(&reader);
    CU_ASSERT_EQUAL_FATAL(world.ask_count, 2);
    CU_ASSERT_EQUAL(world.asks[1]->verb, ASK_WATCH);
    watched(1, 2);
    CU_ASSERT_EQUAL(world.done, 2);
    CU_ASSERT_EQUAL(read_some(), KQ_AGAIN);
    reader_more(&reader);
    answer(2, 2, 1, 1, 1);
    CU_ASSERT_EQUAL(read_some(), KQ_EOF);
    reader_wait(&reader);
    refuse(3, KQ_NOT_LEADER, false);
    lead(3);
    CU_ASSERT_EQUAL_FATAL(world.ask_count, 5);
    CU_ASSERT_EQUAL(world.asks[4]->broker_id, 3);
    CU_ASSERT_STRING_EQUAL(seen, "0 1 ");
    reader_cancel(&reader);
    CU_ASSERT_EQUAL(world.done, 4);
    CU_ASSERT_EQUAL(reader.fault.err, KQ_OK);
    watched(4, 9); /* comes too late: nobody is told */
    CU_ASSERT_EQUAL(world.done, 4);
    end();
}

static void a_wait_for_a_leader_is_cancelled_too(void)
{
    begin();
    reader_open(&reader, 0, false);
    answer(0, 1, 0, 1, 1);
    world.leader = 0;
    reader_wait(&reader);
    CU_ASSERT_EQUAL(world.done, 1);
    reader_cancel(&reader);
    CU_ASSERT_EQUAL(world.done, 2);
    CU_ASSERT_EQUAL(reader.fault.err, KQ_OK);
    end();
}

static void a_deleted_topic_ends_it(void)
{
    begin();
    reader_open(&reader, 0, false);
    answer(0, 5, 0, 1, 1);
    CU_ASSERT_EQUAL(read_some(), KQ_AGAIN);
    world.deleted = true;
    reader_more(&reader);
    CU_ASSERT_EQUAL(world.done, 2);
    CU_ASSERT_EQUAL(reader.fault.err, KQ_UNKNOWN_TOPIC);
    end();
}

static const struct unit_case cases[] = {
    {"it pulls from the leader up to a fixed end", it_pulls_from_the_leader_up_to_a_fixed_end},
    {"when the leader moves it goes on at the next", when_the_leader_moves_it_goes_on_at_the_next},
    {"without a majority any replica is read", without_a_majority_any_replica_is_read},
    {"an offset outside of the log is said at once", an_offset_outside_of_the_log_is_said_at_once},
    {"what the leader cannot read comes from another", what_the_leader_cannot_read_comes_from_another},
    {"it waits at the leader until there is more", it_waits_at_the_leader_until_there_is_more},
    {"a wait for a leader is cancelled too", a_wait_for_a_leader_is_cancelled_too},
    {"a deleted topic ends it", a_deleted_topic_ends_it},
};
UNIT_MAIN("reader", cases)
