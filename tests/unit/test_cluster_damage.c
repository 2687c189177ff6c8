/*
 * Damaged logs in a cluster of three in one process: a tail that the others mend, and what a
 * replica that is to give entries to another does when its own disk hangs.
 */
#include "base/clock.h"
#include "base/require.h"
#include "cluster/cluster_state.h"
#include "support/cluster_rig.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* ---- a disk that hangs ---------------------------------------------------------------- */

/* Opening a log file below this folder waits while the gate is closed. */
static struct {
    pthread_mutex_t lock;
    pthread_cond_t moved;
    char folder[RIG_PATH_BYTES];
    bool closed;
    int waiting;
    int (*open)(struct io *io, const char *path, int flags, struct io_file **file);
} gate = {.lock = PTHREAD_MUTEX_INITIALIZER, .moved = PTHREAD_COND_INITIALIZER};

static int gated_open(struct io *io, const char *path, int flags, struct io_file **file)
{
    (void)pthread_mutex_lock(&gate.lock);
    bool meant = strncmp(path, gate.folder, strlen(gate.folder)) == 0 && strstr(path, ".log") != NULL;
    gate.waiting += gate.closed && meant;
    (void)pthread_cond_broadcast(&gate.moved);
    while (gate.closed && meant)
        (void)pthread_cond_wait(&gate.moved, &gate.lock);
    (void)pthread_mutex_unlock(&gate.lock);
    return gate.open(io, path, flags, file);
}

static void hang_gate(void)
{
    static struct io_ops ops;
    struct io *io = io_posix();
    if (gate.open != NULL)
        return;
    ops = *io->ops;
    gate.open = ops.open;
    ops.open = gated_open;
    io->ops = &ops;
}

static void move_gate(bool closed)
{
    (void)pthread_mutex_lock(&gate.lock);
    gate.closed = closed;
    gate.waiting = 0;
    (void)pthread_cond_broadcast(&gate.moved);
    (void)pthread_mutex_unlock(&gate.lock);
}

static int waiting_at_gate(void)
{
    (void)pthread_mutex_lock(&gate.lock);
    int waiting = gate.waiting;
    (void)pthread_mutex_unlock(&gate.lock);
    return waiting;
}

/* ---- questions -------------------------------------------------------------------------- */

enum {
    QUESTION_BYTES = 1 + UUID_BYTES + 4 + 8 + 8,
    ASKED = 2,
    ASKER = 1,
    MESSAGES = 20,
    MESSAGE_BYTES = 10000,
    SEGMENT_BYTES = 64 * 1024,
    WITHIN_US = 10 * 1000 * 1000
};

struct question {
    struct ask ask;
    uint8_t body[QUESTION_BYTES];
    struct iovec part;
    _Atomic bool answered;
};

static void answered(struct ask *ask)
{
    struct question *q = CONTAINER_OF(ask, struct question, ask);
    buf_fini(&q->ask.answer);
    atomic_store(&q->answered, true);
}

static void put_to(struct question *q, enum ask_verb verb, size_t size_bytes)
{
    q->part = (struct iovec){.iov_base = q->body, .iov_len = size_bytes};
    q->ask = (struct ask){.broker_id = ASKED,
                          .verb = verb,
                          .parts = &q->part,
                          .part_count = 1,
                          .deadline_us = clock_mono_us() + WITHIN_US,
                          .done = answered};
    links_ask(rig_nodes[ASKER].cluster->links, &q->ask);
}

static struct uuid topic_id(const char *name)
{
    struct image *image = cluster_image(rig_nodes[ASKER].cluster);
    struct uuid id = *image_topic_id(rig_topic(image, name));
    image_drop(&image);
    return id;
}

/* Three brokers, and messages of a partition over several segments. */
static void form_with_segments(void)
{
    static char text[MESSAGE_BYTES];
    memset(text, 't', sizeof text);
    rig_prepare(3);
    for (uint32_t id = 1; id <= 3; id++)
        rig_nodes[id].config.segment_bytes = SEGMENT_BYTES;
    for (uint32_t id = 1; id <= 3; id++)
        rig_begin_start(id);
    for (uint32_t id = 1; id <= 3; id++)
        rig_end_start(id);
    CU_ASSERT_EQUAL(rig_create(1, "t", 1, 3), KQ_OK);
    for (int64_t i = 0; i < MESSAGES; i++)
        EVENTUALLY(rig_publish_of(1, "t", 0, i, slice_of(text, sizeof text)) == i);
    EVENTUALLY(rig_messages(ASKED, "t", 0) == MESSAGES);
}

static void who_reads_for_others_hears_on_when_the_disk_hangs(void)
{
    static struct question entries, quorum;
    hang_gate();
    form_with_segments();
    rig_stop(ASKED);
    rig_start(ASKED); /* nothing of what is sealed is open for reading */
    EVENTUALLY(rig_messages(ASKED, "t", 0) == MESSAGES);
    EVENTUALLY(rig_is_well(1));
    (void)snprintf(gate.folder, sizeof gate.folder, "%s/t-0/", rig_nodes[ASKED].dir);
    move_gate(true);
    struct uuid id = topic_id("t");
    entries.body[0] = 1;
    memcpy(entries.body + 1, id.bytes, UUID_BYTES);
    put_le64(entries.body + 21, 1);
    put_le64(entries.body + 29, 1);
    put_to(&entries, ASK_ENTRIES, QUESTION_BYTES);
    EVENTUALLY(waiting_at_gate() > 0);
    quorum.body[0] = 1;
    put_to(&quorum, ASK_QUORUM, 1);
    EVENTUALLY(atomic_load(&quorum.answered));
    CU_ASSERT_NOT_EQUAL(quorum.ask.fault.err, KQ_TIMEOUT);
    CU_ASSERT_FALSE(atomic_load(&entries.answered));
    move_gate(false);
    EVENTUALLY(atomic_load(&entries.answered));
    CU_ASSERT_EQUAL(entries.ask.fault.err, KQ_OK);
    rig_end();
}

/* ---- a damaged tail -------------------------------------------------------------------- */

/* The log file with the highest number of that replica. */
static void last_log(uint32_t id, const char *replica, char path[RIG_PATH_BYTES])
{
    for (int off = MESSAGES; off >= 0; off--) {
        (void)snprintf(path, RIG_PATH_BYTES, "%s/%s/%020d.log", rig_nodes[id].dir, replica, off);
        if (access(path, F_OK) == 0)
            return;
    }
    CU_FAIL_FATAL("there is no log file");
}

/* A byte changes in the file; and it has another size than it was closed with, so that it is not taken to be as it was
 * closed. */
static void spoil_closed(const char *path, long pos)
{
    FILE *file = fopen(path, "r+");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    (void)fseek(file, pos, SEEK_SET);
    int byte = fgetc(file);
    (void)fseek(file, pos, SEEK_SET);
    (void)fputc(byte ^ 0x10, file);
    (void)fseek(file, 0, SEEK_END);
    for (int i = 0; i < 4096; i++)
        (void)fputc(0, file);
    (void)fclose(file);
}

static bool serves_all(uint32_t id)
{
    struct image *image = cluster_image(rig_nodes[id].cluster);
    struct partition *partition = image_partition(rig_topic(image, "t"), 0);
    struct log_view *view = partition == NULL ? NULL : partition_view(partition);
    struct log_iter it;
    struct fault fault;
    enum kq_err err = view == NULL ? KQ_AGAIN : log_iter_seek(&it, view, 0);
    struct log_slice slice;
    while (err == KQ_OK)
        err = log_iter_next(&it, &slice, &fault);
    if (view != NULL)
        log_view_drop(&view);
    image_drop(&image);
    return err == KQ_EOF;
}

static void a_damaged_tail_is_mended_and_the_replica_stays(void)
{
    char path[RIG_PATH_BYTES];
    form_with_segments();
    for (int round = 0; round < 2; round++) {
        rig_stop(ASKED);
        last_log(ASKED, "t-0", path);
        spoil_closed(path, round == 0 ? 4096 + 5000 : 4096 + 30); /* a body, a head */
        rig_start(ASKED);
        EVENTUALLY(rig_messages(ASKED, "t", 0) == MESSAGES && serves_all(ASKED));
        EVENTUALLY(rig_is_well(1));
    }
    int64_t until_us = clock_mono_us() + 5 * 1000 * 1000; /* a new one would be asked for after three seconds */
    while (clock_mono_us() < until_us && rig_count_folders(ASKED, "t-0.stray-") == 0)
        rig_moment();
    CU_ASSERT_EQUAL(rig_count_folders(ASKED, "t-0.stray-"), 0);
    rig_end();
}

/* The broker-level group's own: it is asked of the others before the start gives up. */
static void a_damaged_tail_of_the_metadata_is_mended(void)
{
    char path[RIG_PATH_BYTES];
    form_with_segments();
    rig_stop(ASKED);
    last_log(ASKED, "__cluster_metadata-0", path);
    spoil_closed(path, 4096 + 30);
    rig_start(ASKED);
    EVENTUALLY(rig_messages(ASKED, "t", 0) == MESSAGES);
    EVENTUALLY(rig_is_well(1));
    rig_end();
}

static const struct unit_case cases[] = {
    {"a damaged tail is mended, and the replica stays", a_damaged_tail_is_mended_and_the_replica_stays},
    {"a damaged tail of the metadata is mended", a_damaged_tail_of_the_metadata_is_mended},
    {"who reads for others hears on when the disk hangs", who_reads_for_others_hears_on_when_the_disk_hangs},
};
UNIT_MAIN("cluster: damage", cases)
