/* Owner, flusher, keeper and readers at once, for the thread sanitizer: the owner
 * appends, cuts what is not committed and moves the start, jobs run on two other
 * threads, and readers walk what is committed and check each record, and that it is
 * the one that was committed, not one that was cut. */
#include "support/folder.h"
#include "support/log_rig.h"
#include "support/unit.h"

#include <pthread.h>

enum { APPENDS = 1500, READERS = 2 };

struct lane_thread {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct log_job *todo; /* handed to it */
    struct log_job *done; /* handed back */
    bool out;             /* the owner's: handed out and not yet taken back */
    bool stop;
};

struct shared {
    pthread_mutex_t lock;
    struct log_view *view;
    _Atomic bool stop;
    _Atomic uint64_t read_records;
    _Atomic uint64_t wrong;
    _Atomic int64_t time_of[APPENDS + 1]; /* of the record last appended at this offset; no two are the same */
};

static struct lane_thread lanes[LOG_LANE_COUNT];
static struct shared shared;
static struct log_rig rig;
static uint64_t uncommitted; /* so many flushed entries are left so */
static uint64_t committed_idx;

static void *run_lane(void *context)
{
    struct lane_thread *t = context;
    (void)pthread_mutex_lock(&t->lock);
    for (;;) {
        while (t->todo == NULL && !t->stop)
            (void)pthread_cond_wait(&t->changed, &t->lock);
        if (t->todo == NULL)
            break;
        struct log_job *job = t->todo;
        t->todo = NULL;
        (void)pthread_mutex_unlock(&t->lock);
        log_job_run(job);
        (void)pthread_mutex_lock(&t->lock);
        t->done = job;
        (void)pthread_cond_broadcast(&t->changed);
    }
    (void)pthread_mutex_unlock(&t->lock);
    return NULL;
}

static struct log_view *take_view(void)
{
    (void)pthread_mutex_lock(&shared.lock);
    struct log_view *view = log_view_hold(shared.view);
    (void)pthread_mutex_unlock(&shared.lock);
    return view;
}

static void check_slice(const struct log_slice *slice)
{
    struct cursor c = cursor_over(slice->body, slice->body_bytes);
    struct batch_info info;
    const uint8_t *batch;
    while (slice->type == LOG_ENTRY_RECORDS && cursor_left(&c) > 0) {
        struct record_walk w;
        struct record r;
        if (batch_next(&c, &info, &batch) != KQ_OK || !batch_crc_ok(batch, &info)) {
            (void)atomic_fetch_add(&shared.wrong, 1);
            return;
        }
        record_walk_init(&w, batch, &info);
        while (record_walk_next(&w, &r) == KQ_OK) {
            bool right = r.value.len == 0 || r.value.data[0] == (uint8_t)r.off;
            right = right && r.time_ms == atomic_load(&shared.time_of[r.off]);
            (void)atomic_fetch_add(&shared.wrong, !right);
            (void)atomic_fetch_add(&shared.read_records, 1);
        }
    }
}

static void *read_on(void *context)
{
    (void)context;
    while (!atomic_load(&shared.stop)) {
        struct log_view *view = take_view();
        struct log_iter it;
        struct log_slice slice;
        struct fault fault;
        int64_t off, found_ms;
        (void)log_view_find_time(view, 2000, &off, &found_ms, &fault);
        enum kq_err err = log_iter_seek(&it, view, log_view_start_off(view));
        while (err == KQ_OK && (err = log_iter_next(&it, &slice, &fault)) == KQ_OK)
            check_slice(&slice);
        if (err != KQ_EOF && err != KQ_AGAIN && err != KQ_OFFSET_OUT_OF_RANGE)
            (void)atomic_fetch_add(&shared.wrong, 1);
        log_view_drop(&view);
    }
    return NULL;
}

static void new_view(void)
{
    struct log_view *view = log_view_take(rig.log);
    (void)pthread_mutex_lock(&shared.lock);
    struct log_view *old = shared.view;
    shared.view = view;
    (void)pthread_mutex_unlock(&shared.lock);
    log_view_drop(&old);
}

/* Gives jobs out and takes results in; waits for a result if `wait`. */
static void pump(enum log_lane lane, bool wait)
{
    struct lane_thread *t = &lanes[lane];
    if (log_wants_roll_state(rig.log))
        log_roll_state(rig.log, "state", 6);
    struct log_job *next = log_next_job(rig.log, lane, clock_mono_us());
    (void)pthread_mutex_lock(&t->lock);
    if (next != NULL) {
        t->todo = next;
        t->out = true;
        (void)pthread_cond_broadcast(&t->changed);
    }
    while (wait && t->out && t->done == NULL)
        (void)pthread_cond_wait(&t->changed, &t->lock);
    struct log_job *done = t->done;
    t->done = NULL;
    (void)pthread_mutex_unlock(&t->lock);
    if (done == NULL)
        return;
    t->out = false;
    struct log_done result;
    log_job_done(rig.log, done, &result);
    CU_ASSERT_EQUAL(result.err, KQ_OK);
    if (result.view_changed)
        new_view();
    if (log_flushed_idx(rig.log) > committed_idx + uncommitted)
        committed_idx = log_flushed_idx(rig.log) - uncommitted;
    log_set_commit(rig.log, committed_idx);
}

static void append_one(int i)
{
    struct buf b;
    struct batch_maker m;
    uint8_t value[600];
    int64_t off = log_next_off(rig.log);
    memset(value, (int)off & 0xff, sizeof value);
    buf_init(&b, 1 << 20);
    atomic_store(&shared.time_of[off], 1000 + i);
    batch_begin(&m, &b, 1000 + i);
    batch_add(&m, 1000 + i, slice_of(NULL, 0), slice_of(value, (size_t)(i * 7 % 600)), NULL, slice_of(NULL, 0));
    batch_end(&m, -1, -1, -1);
    batch_place(b.data, off, 1);
    struct iovec body = {b.data, b.len};
    struct log_entry e = {.type = LOG_ENTRY_RECORDS,
                          .term = 1,
                          .idx = log_last_idx(rig.log) + 1,
                          .first_off = off,
                          .record_count = 1,
                          .max_time_ms = 1000 + i,
                          .body = &body,
                          .body_count = 1,
                          .body_bytes = (uint32_t)b.len};
    while (log_append(rig.log, &e) == KQ_AGAIN) {
        pump(LOG_LANE_KEEP, false);
        pump(LOG_LANE_FLUSH, false);
    }
    CU_ASSERT_EQUAL(log_last_idx(rig.log), e.idx);
    buf_fini(&b);
}

/* What is not committed goes, all of it or a part. */
static void cut_some(int i)
{
    uint64_t from = log_last_idx(rig.log) - (uint64_t)i % 40;
    if (log_last_idx(rig.log) < 50)
        return;
    if (from <= committed_idx)
        from = committed_idx + 1;
    if (from <= log_last_idx(rig.log))
        CU_ASSERT_EQUAL(log_truncate(rig.log, from), KQ_OK);
}

static void all_threads_at_once(void)
{
    static char dir[FOLDER_PATH_BYTES];
    pthread_t readers[READERS];
    folder_make(dir);
    io_guard_install();
    log_rig_init(&rig, io_posix(), dir);
    CU_ASSERT_EQUAL_FATAL(log_rig_open(&rig), KQ_OK);
    (void)pthread_mutex_init(&shared.lock, NULL);
    new_view();
    for (int i = 0; i < LOG_LANE_COUNT; i++) {
        (void)pthread_mutex_init(&lanes[i].lock, NULL);
        (void)pthread_cond_init(&lanes[i].changed, NULL);
        CU_ASSERT_EQUAL_FATAL(pthread_create(&lanes[i].thread, NULL, run_lane, &lanes[i]), 0);
    }
    for (int i = 0; i < READERS; i++)
        CU_ASSERT_EQUAL_FATAL(pthread_create(&readers[i], NULL, read_on, NULL), 0);
    uint64_t cuts = 0;
    for (int i = 0; log_last_idx(rig.log) < APPENDS; i++) {
        uncommitted = (uint64_t)i % 60;
        if (i % 17 == 0 && i < 2 * APPENDS)
            cut_some(i);
        cuts = log_cuts(rig.log);
        append_one(i);
        pump(LOG_LANE_FLUSH, i % 50 == 0);
        pump(LOG_LANE_KEEP, false);
        if (i % 400 == 399 && log_view_high_watermark(shared.view) > 200)
            log_set_start(rig.log, log_view_high_watermark(shared.view) - 200);
    }
    CU_ASSERT_TRUE(cuts > 20);
    uncommitted = 0;
    for (int i = 0; i < 1000 && log_flushed_idx(rig.log) < log_last_idx(rig.log); i++)
        pump(LOG_LANE_FLUSH, true);
    CU_ASSERT_EQUAL(log_flushed_idx(rig.log), APPENDS);
    atomic_store(&shared.stop, true);
    for (int i = 0; i < READERS; i++)
        (void)pthread_join(readers[i], NULL);
    for (int i = 0; i < LOG_LANE_COUNT; i++) {
        (void)pthread_mutex_lock(&lanes[i].lock);
        lanes[i].stop = true;
        (void)pthread_cond_broadcast(&lanes[i].changed);
        (void)pthread_mutex_unlock(&lanes[i].lock);
        (void)pthread_join(lanes[i].thread, NULL);
        struct log_done result;
        if (lanes[i].done != NULL)
            log_job_done(rig.log, lanes[i].done, &result);
    }
    CU_ASSERT_EQUAL(atomic_load(&shared.wrong), 0);
    CU_ASSERT_TRUE(atomic_load(&shared.read_records) > 0);
    CU_ASSERT_TRUE(log_first_idx(rig.log) > 1);
    log_view_drop(&shared.view);
    log_close(&rig.log, NULL, 0);
    folder_remove(dir);
}

static const struct unit_case cases[] = {
    {"all threads at once", all_threads_at_once},
};
UNIT_MAIN("log threads", cases)
