/* Partitions on real threads and files: many publishers at once, readers beside
 * them, a stop in the middle, a start afterwards. Run it under the thread
 * sanitizer. */
#include "base/clock.h"
#include "base/require.h"
#include "partition/leadership.h"
#include "partition/partition.h"
#include "support/folder.h"
#include "support/unit.h"

#include <pthread.h>
#include <stdio.h>

enum { PUBLISHERS = 4, MESSAGES = 300 };

/* Something that happens once on another thread. */
struct event {
    pthread_mutex_t lock;
    pthread_cond_t happened;
    int count;
};

static void event_init(struct event *event)
{
    *event = (struct event){0};
    (void)pthread_mutex_init(&event->lock, NULL);
    (void)pthread_cond_init(&event->happened, NULL);
}

static void event_happen(struct event *event)
{
    (void)pthread_mutex_lock(&event->lock);
    event->count++;
    (void)pthread_cond_broadcast(&event->happened);
    (void)pthread_mutex_unlock(&event->lock);
}

static void event_wait(struct event *event, int count)
{
    (void)pthread_mutex_lock(&event->lock);
    while (event->count < count)
        (void)pthread_cond_wait(&event->happened, &event->lock);
    (void)pthread_mutex_unlock(&event->lock);
}

static struct engine *engine;
static struct partition *partition;
static char dir[FOLDER_PATH_BYTES];
static struct event ready;
static struct event stopped;
static struct fault ready_fault;

static void on_ready(void *context, struct partition *p, const struct fault *fault)
{
    (void)context;
    (void)p;
    ready_fault = *fault;
    event_happen(&ready);
}

static void on_stopped(void *context, struct partition *p)
{
    (void)context;
    (void)p;
    event_happen(&stopped);
}

static void start(void)
{
    struct engine_options options = {.io = io_posix(),
                                     .data_dir = dir,
                                     .broker_id = 1,
                                     .flusher_count = 2,
                                     .stack_bytes = 128 * 1024,
                                     .mailbox_bytes = 1 << 20,
                                     .entry_max_bytes = 1 << 20,
                                     .unflushed_entries = 2,
                                     .prepare_min_bytes = 64 * 1024,
                                     .prepare_max_bytes = 1 << 20,
                                     .prepare_budget_bytes = 64 << 20,
                                     .mark_delay_us = 1000,
                                     .flush_always = true,
                                     .scrub_interval_us = 0};
    struct fault fault;
    CU_ASSERT_EQUAL_FATAL(engine_start(&engine, &options, &fault), KQ_OK);
    struct partition_options partition_options = {
        .engine = engine,
        .dir = dir,
        .title = "test-0",
        .topic_id = {{1}},
        .incarnation = {{2}},
        .limits = {.segment_bytes = 64 * 1024, .retention_bytes = -1, .retention_ms = -1, .max_message_bytes = 1 << 20},
        .ready = on_ready,
    };
    event_init(&ready);
    event_init(&stopped);
    CU_ASSERT_EQUAL_FATAL(partition_start(&partition, &partition_options), KQ_OK);
}

static void stop(void)
{
    partition_stop(partition, KQ_STOPPING, on_stopped, NULL);
    event_wait(&stopped, 1);
    partition_drop(&partition);
    engine_stop(&engine);
}

struct publisher {
    pthread_t thread;
    struct publish_request request;
    struct event answered;
    int number;
    int acknowledged;
    int64_t last_off;
    bool in_order;
};

static void on_published(struct publish_request *request)
{
    event_happen(&CONTAINER_OF(request, struct publisher, request)->answered);
}

static bool publish_one(struct publisher *publisher, int message)
{
    struct buf bytes;
    struct batch_maker maker;
    size_t size_bytes;
    char text[64];
    (void)snprintf(text, sizeof text, "%d:%d", publisher->number, message);
    buf_init(&bytes, 1 << 20);
    batch_begin(&maker, &bytes, 1000);
    batch_add(&maker, 1000, (struct slice){0}, slice_text(text), NULL, (struct slice){0});
    batch_end(&maker, -1, -1, -1);
    publisher->request = (struct publish_request){
        .done = on_published, .record_count = 1, .batch_count = 1, .deadline_us = clock_mono_us() + 60 * 1000000};
    publisher->request.batches = buf_give(&bytes, &size_bytes);
    publisher->request.batches_bytes = (uint32_t)size_bytes;
    (void)partition_publish(partition, &publisher->request);
    event_wait(&publisher->answered, message + 1);
    free(publisher->request.batches);
    return publisher->request.fault.err == KQ_OK;
}

static void *publish_many(void *argument)
{
    struct publisher *publisher = argument;
    publisher->last_off = -1;
    publisher->in_order = true;
    for (int i = 0; i < MESSAGES && publish_one(publisher, i); i++) {
        publisher->in_order = publisher->in_order && publisher->request.base_off > publisher->last_off;
        publisher->last_off = publisher->request.base_off;
        publisher->acknowledged++;
    }
    return NULL;
}

/* Reads all that is committed; counts each publisher's messages and checks that
 * they come in order. */
static void count_messages(int counts[PUBLISHERS])
{
    struct log_view *view = partition_view(partition);
    struct log_iter it;
    struct log_slice slice;
    struct fault fault = {0};
    memset(counts, 0, PUBLISHERS * sizeof counts[0]);
    CU_ASSERT_PTR_NOT_NULL_FATAL(view);
    CU_ASSERT_EQUAL(log_iter_seek(&it, view, 0), KQ_OK);
    enum kq_err err;
    while ((err = log_iter_next(&it, &slice, &fault)) == KQ_OK) {
        struct cursor at = cursor_over(slice.body, slice.body_bytes);
        while (cursor_left(&at) > 0) {
            struct batch_info info;
            const uint8_t *batch;
            struct record_walk walk;
            struct record record;
            CU_ASSERT_EQUAL_FATAL(batch_next(&at, &info, &batch), KQ_OK);
            record_walk_init(&walk, batch, &info);
            while (record_walk_next(&walk, &record) == KQ_OK) {
                char text[64] = "";
                memcpy(text, record.value.data, record.value.len);
                char *colon;
                long publisher = strtol(text, &colon, 10);
                CU_ASSERT_EQUAL(strtol(colon + 1, NULL, 10), counts[publisher]);
                counts[publisher]++;
            }
        }
    }
    CU_ASSERT_EQUAL(err, KQ_EOF);
    log_view_drop(&view);
}

static struct publisher publishers[PUBLISHERS];

static void start_publishers(void)
{
    for (int i = 0; i < PUBLISHERS; i++) {
        publishers[i] = (struct publisher){.number = i};
        event_init(&publishers[i].answered);
        CU_ASSERT_EQUAL_FATAL(pthread_create(&publishers[i].thread, NULL, publish_many, &publishers[i]), 0);
    }
}

static void join_publishers(void)
{
    for (int i = 0; i < PUBLISHERS; i++) {
        (void)pthread_join(publishers[i].thread, NULL);
        CU_ASSERT_TRUE(publishers[i].in_order);
    }
}

static void many_publishers_at_once_lose_nothing(void)
{
    int counts[PUBLISHERS];
    folder_make(dir);
    start();
    start_publishers();
    join_publishers();
    count_messages(counts);
    for (int i = 0; i < PUBLISHERS; i++) {
        CU_ASSERT_EQUAL(publishers[i].acknowledged, MESSAGES);
        CU_ASSERT_EQUAL(counts[i], MESSAGES);
    }
    stop();
    start();
    event_wait(&ready, 1);
    CU_ASSERT_EQUAL(ready_fault.err, KQ_OK);
    count_messages(counts);
    for (int i = 0; i < PUBLISHERS; i++)
        CU_ASSERT_EQUAL(counts[i], MESSAGES);
    stop();
    folder_remove(dir);
}

static void a_stop_in_the_middle_keeps_what_was_acknowledged(void)
{
    int counts[PUBLISHERS];
    folder_make(dir);
    start();
    struct partition *held = partition_hold(partition);
    start_publishers();
    event_wait(&publishers[0].answered, 20);
    partition_stop(partition, KQ_STOPPING, on_stopped, NULL);
    event_wait(&stopped, 1);
    join_publishers();
    partition_drop(&partition);
    partition_drop(&held);
    engine_stop(&engine);
    start();
    event_wait(&ready, 1);
    count_messages(counts);
    for (int i = 0; i < PUBLISHERS; i++)
        CU_ASSERT_EQUAL(counts[i], publishers[i].acknowledged);
    stop();
    folder_remove(dir);
}

static void a_damaged_hard_state_keeps_the_partition_down(void)
{
    folder_make(dir);
    start();
    event_wait(&ready, 1);
    stop();
    char path[FOLDER_PATH_BYTES + 16];
    (void)snprintf(path, sizeof path, "%s/hard-state", dir);
    FILE *file = fopen(path, "r+b");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    for (int slot = 0; slot < 2; slot++) { /* damage both */
        (void)fseek(file, slot * 4096 + 40, SEEK_SET);
        (void)fputs("damage", file);
    }
    (void)fclose(file);
    start();
    event_wait(&ready, 1);
    CU_ASSERT_NOT_EQUAL(ready_fault.err, KQ_OK);
    CU_ASSERT_PTR_NOT_NULL(strstr(ready_fault.text, "hard-state"));
    struct publisher late = {.number = 0};
    event_init(&late.answered);
    CU_ASSERT_FALSE(publish_one(&late, 0));
    CU_ASSERT_EQUAL(late.request.fault.err, KQ_PARTITION_FAILED);
    struct partition_status status;
    partition_status(partition, &status);
    CU_ASSERT_EQUAL(status.state, PARTITION_FAILED);
    stop();
    folder_remove(dir);
}

static struct event reads_begun, reads_may_end;

static void read_slowly(struct job *job)
{
    (void)job;
    event_happen(&reads_begun);
    event_wait(&reads_may_end, 1);
}

/* As from a disk that does not answer: segments are prepared and rolled all the while, and
 * the partition is stopped. */
static void slow_reads_for_others_hold_up_nothing(void)
{
    enum { READS = 8 };
    static struct job reads[READS];
    int counts[PUBLISHERS];
    folder_make(dir);
    start();
    event_init(&reads_begun);
    event_init(&reads_may_end);
    for (int i = 0; i < READS; i++) {
        reads[i].run = read_slowly;
        engine_post_read(engine, &reads[i]);
    }
    event_wait(&reads_begun, 1);
    start_publishers();
    join_publishers();
    count_messages(counts);
    for (int i = 0; i < PUBLISHERS; i++)
        CU_ASSERT_EQUAL(counts[i], MESSAGES);
    partition_stop(partition, KQ_STOPPING, on_stopped, NULL);
    event_wait(&stopped, 1);
    event_happen(&reads_may_end);
    partition_drop(&partition);
    engine_stop(&engine);
    CU_ASSERT_EQUAL(reads_begun.count, READS);
    folder_remove(dir);
}

/* ---- who leads ------------------------------------------------------------------------------ */

enum { CHANGES = 300000 };

static void *lead_in_turn(void *context)
{
    struct leadership *l = context;
    for (uint64_t term = 1; term <= CHANGES; term++)
        leadership_write(l, (uint32_t)(term % 1000), term);
    return NULL;
}

static void a_leader_is_told_with_its_own_term(void)
{
    struct leadership l = {0};
    pthread_t writer;
    CU_ASSERT_EQUAL_FATAL(pthread_create(&writer, NULL, lead_in_turn, &l), 0);
    uint64_t term = 0, before = 0, torn = 0, backwards = 0;
    while (term < CHANGES) {
        uint32_t leader_id = leadership_read(&l, &term);
        torn += leader_id != term % 1000;
        backwards += term < before;
        before = term;
    }
    (void)pthread_join(writer, NULL);
    CU_ASSERT_EQUAL(torn, 0);
    CU_ASSERT_EQUAL(backwards, 0);
}

static const struct unit_case cases[] = {
    {"a leader is told with its own term", a_leader_is_told_with_its_own_term},
    {"many publishers at once lose nothing", many_publishers_at_once_lose_nothing},
    {"a stop in the middle keeps what was acknowledged", a_stop_in_the_middle_keeps_what_was_acknowledged},
    {"slow reads for others hold up nothing", slow_reads_for_others_hold_up_nothing},
    {"a damaged hard state keeps the partition down and says so", a_damaged_hard_state_keeps_the_partition_down},
};
UNIT_MAIN("partition", cases)
