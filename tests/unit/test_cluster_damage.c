/*
 * Damaged logs in a cluster of three in one process: what a replica that is to give entries to
 * another does when its own disk hangs.
 */
#include "base/clock.h"
#include "base/require.h"
#include "cluster/cluster_state.h"
#include "support/cluster_rig.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

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

static const struct unit_case cases[] = {
    {"who reads for others hears on when the disk hangs", who_reads_for_others_hears_on_when_the_disk_hangs},
};
UNIT_MAIN("cluster: damage", cases)
