/*
 * Damaged entries, fetched from whoever has them (ASK_ENTRIES).
 *
 *    question: u8 version = 1 | 16 topic id | u32 partition | u64 first idx | u64 last idx
 *    answer:   u8 version = 1 | u32 entries | for each: u8 type | u64 term | u64 idx |
 *              i64 first offset | u32 records | u32 body checksum at its place | u32 size | body
 *
 * An answer has the first entry and as many after it as fit into some megabytes; the rest
 * is asked of the same broker again, until all are there that have to be verified as one.
 * Little-endian. A replica tells of damage again from time to time (actor_mend.c); each
 * time one broker is asked: the leader, then each of the others in turn. What comes is
 * believed only as far as it agrees with what is left here (log_repair).
 */
#include "base/clock.h"
#include "base/logger.h"
#include "base/require.h"
#include "cluster/links_impl.h"

#include <stdlib.h>
#include <string.h>

enum {
    MEND_VERSION = 1,
    QUESTION_BYTES = 1 + UUID_BYTES + 4 + 8 + 8,
    ENTRY_HEAD_BYTES = 1 + 8 + 8 + 8 + 4 + 4 + 4,
    ANSWER_BYTES_MAX = 4 * 1024 * 1024, /* above it only the first entry, whatever its size */
    ANSWERS_MAX = 64,                   /* for one damage: log_repair() takes no more than so much */
    ENTRIES_MAX = 65536,                /* of a damage */
    COUNT_AT = 1,                       /* in an answer */
    ASK_TIMEOUT_US = 4 * 1000 * 1000,
};

/* ---- answering -------------------------------------------------------------------------- */

struct copy {
    uint8_t *to;
    const struct log_slice *slice;
};

static void copy_body(void *context)
{
    const struct copy *copy = context;
    memcpy(copy->to, copy->slice->body, copy->slice->body_bytes);
}

static enum kq_err put_entry(struct buf *out, const struct log_slice *slice)
{
    buf_u8(out, (uint8_t)slice->type);
    buf_le64(out, slice->term);
    buf_le64(out, slice->idx);
    buf_le64(out, (uint64_t)slice->first_off);
    buf_le32(out, slice->record_count);
    buf_le32(out, slice->body_crc);
    buf_le32(out, slice->body_bytes);
    if (slice->body_bytes == 0)
        return KQ_OK;
    struct copy copy = {.to = buf_reserve(out, slice->body_bytes), .slice = slice};
    if (copy.to == NULL)
        return KQ_NO_MEMORY;
    if (!io_guarded(slice->body, slice->body_bytes, copy_body, &copy))
        return KQ_IO;
    out->len += slice->body_bytes;
    return KQ_OK;
}

/* The first, and those after it that have room. */
static enum kq_err put_entries(struct buf *out, struct log_view *view, uint64_t first_idx, uint64_t last_idx,
                               struct fault *fault)
{
    struct log_iter it;
    if (last_idx < first_idx || last_idx - first_idx >= ENTRIES_MAX)
        return fault_set(fault, KQ_INVALID, "that many entries are not given at once");
    buf_u8(out, MEND_VERSION);
    buf_le32(out, 0);
    enum kq_err err = log_iter_seek_idx(&it, view, first_idx);
    uint64_t idx = first_idx;
    for (; err == KQ_OK && idx <= last_idx; idx++) {
        struct log_slice slice;
        err = log_iter_next(&it, &slice, fault);
        if (err == KQ_OK && idx > first_idx && out->len + slice.body_bytes > ANSWER_BYTES_MAX)
            break;
        if (err == KQ_OK)
            err = put_entry(out, &slice);
    }
    if (out->bad)
        return KQ_NO_MEMORY;
    put_le32(out->data + COUNT_AT, (uint32_t)(idx - first_idx));
    return err;
}

/* A question, until it is answered. */
struct giving {
    struct job job;
    struct asked *asked;
    struct partition *partition;
    uint64_t first_idx;
    uint64_t last_idx;
};

/* A reader's thread: what is read may not be in memory, and its disk may hang. */
static void give_entries(struct job *job)
{
    struct giving *g = CONTAINER_OF(job, struct giving, job);
    struct fault fault = {.err = KQ_OK};
    struct buf out;
    buf_init(&out, UINT32_MAX);
    bool late = clock_mono_us() >= g->asked->deadline_us; /* nobody waits for it any more */
    struct log_view *view = late ? NULL : partition_view(g->partition);
    if (late)
        (void)fault_set(&fault, KQ_TIMEOUT, "other reads took too long");
    else if (view == NULL)
        (void)fault_set(&fault, KQ_NOT_FOUND, "the replica here does not serve");
    else
        fault.err = put_entries(&out, view, g->first_idx, g->last_idx, &fault);
    struct iovec part = {.iov_base = out.data, .iov_len = out.len};
    ask_answer(g->asked, &fault, &part, fault.err == KQ_OK ? 1 : 0);
    buf_fini(&out);
    if (view != NULL)
        log_view_drop(&view);
    partition_drop(&g->partition);
    free(g);
}

/* Receiver thread: it hears everything that this peer asks, so the disk is left to others. As many
 * wait as a connection may have unanswered. */
static void serve_entries(void *context, struct asked *asked)
{
    struct links *links = context;
    struct cursor in = cursor_over(asked->body, asked->body_bytes);
    struct group_id group = {.partition = 0};
    struct fault fault = {.err = KQ_OK};
    struct giving *g = calloc(1, sizeof *g);
    uint8_t version = cursor_u8(&in);
    cursor_copy(&in, group.topic_id.bytes, UUID_BYTES);
    group.partition = cursor_le32(&in);
    uint64_t first_idx = cursor_le64(&in);
    uint64_t last_idx = cursor_le64(&in);
    if (in.bad || version != MEND_VERSION)
        (void)fault_set(&fault, in.bad ? KQ_GARBAGE : KQ_BAD_VERSION, "a question for entries that is not understood");
    else if (g == NULL)
        (void)fault_set(&fault, KQ_NO_MEMORY, "out of memory");
    else if ((g->partition = links->options.find(links->options.context, &group)) == NULL)
        (void)fault_set(&fault, KQ_NOT_FOUND, "there is no replica of it here");
    if (g == NULL || fault.err != KQ_OK) {
        ask_answer(asked, &fault, NULL, 0);
        free(g);
        return;
    }
    g->job.run = give_entries;
    g->asked = asked;
    g->first_idx = first_idx;
    g->last_idx = last_idx;
    engine_post_read(links->options.engine, &g->job);
}

/* ---- asking ------------------------------------------------------------------------------- */

struct mending {
    struct ask ask;
    struct partition_mend mend;
    struct partition *partition;
    uint8_t question[QUESTION_BYTES];
    struct iovec part;
    struct log_slice *slices; /* of all answers so far */
    uint32_t slice_count;
    uint64_t next_idx; /* to be asked for, up to last_idx */
    uint64_t last_idx;
    struct buf answers[ANSWERS_MAX]; /* where the slices point */
    uint32_t answer_count;
};

static void mending_free(struct mending *m)
{
    for (uint32_t i = 0; i < m->answer_count; i++)
        buf_fini(&m->answers[i]);
    buf_fini(&m->ask.answer);
    free(m->slices);
    partition_drop(&m->partition);
    free(m);
}

/* An actor's turn. */
static void mend_done(struct partition_mend *mend)
{
    struct mending *m = CONTAINER_OF(mend, struct mending, mend);
    if (mend->fault.err != KQ_OK && mend->fault.err != KQ_STOPPING && mend->fault.err != KQ_AGAIN)
        SAY_WARNING("%s: broker %u gave other entries than those that are damaged here: %s",
                    partition_title(m->partition), (unsigned)m->ask.broker_id, fault_text(&mend->fault));
    mending_free(m);
}

static int64_t max_time_of(const struct log_slice *slice)
{
    int64_t max_ms = -1;
    struct cursor c = cursor_over(slice->body, slice->body_bytes);
    struct batch_info info;
    const uint8_t *batch;
    while (slice->type == LOG_ENTRY_RECORDS && cursor_left(&c) > 0 && batch_next(&c, &info, &batch) == KQ_OK)
        max_ms = info.max_time_ms > max_ms ? info.max_time_ms : max_ms;
    return max_ms;
}

static bool take_entry(struct mending *m, struct cursor *in, struct log_slice *slice)
{
    slice->type = (enum log_entry_type)cursor_u8(in);
    slice->term = cursor_le64(in);
    slice->idx = cursor_le64(in);
    slice->first_off = (int64_t)cursor_le64(in);
    slice->record_count = cursor_le32(in);
    slice->body_crc = cursor_le32(in);
    slice->body_bytes = cursor_le32(in);
    slice->body = cursor_bytes(in, slice->body_bytes);
    if (in->bad || slice->idx != m->next_idx || slice->idx > m->last_idx)
        return false;
    slice->max_time_ms = max_time_of(slice);
    m->next_idx++;
    return true;
}

/* Keeps the answer; false: it is none. */
static bool take_answer(struct mending *m)
{
    struct cursor in = cursor_over(m->ask.answer.data, m->ask.answer.len);
    uint8_t version = cursor_u8(&in);
    uint32_t count = cursor_le32(&in);
    if (in.bad || version != MEND_VERSION || count == 0 || count > cursor_left(&in) / ENTRY_HEAD_BYTES ||
        m->answer_count == ANSWERS_MAX || count > ENTRIES_MAX - m->slice_count)
        return false;
    struct log_slice *slices = realloc(m->slices, (m->slice_count + count) * sizeof *slices);
    if (slices == NULL)
        return false;
    m->slices = slices;
    for (uint32_t i = 0; i < count; i++)
        if (!take_entry(m, &in, &m->slices[m->slice_count++]))
            return false;
    m->answers[m->answer_count++] = m->ask.answer;
    m->ask.answer = (struct buf){0};
    return cursor_left(&in) == 0;
}

static void ask_done(struct ask *ask);

/* For what is still missing. */
static void ask_on(struct mending *m, struct links *links, uint32_t broker_id)
{
    put_le64(m->question + 21, m->next_idx);
    put_le64(m->question + 29, m->last_idx);
    m->part = (struct iovec){.iov_base = m->question, .iov_len = QUESTION_BYTES};
    m->ask = (struct ask){.broker_id = broker_id,
                          .verb = ASK_ENTRIES,
                          .parts = &m->part,
                          .part_count = 1,
                          .deadline_us = clock_mono_us() + ASK_TIMEOUT_US,
                          .done = ask_done,
                          .owner = links};
    links_ask(links, &m->ask);
}

/* Any thread. */
static void ask_done(struct ask *ask)
{
    struct mending *m = CONTAINER_OF(ask, struct mending, ask);
    if (ask->fault.err != KQ_OK || !take_answer(m)) {
        mending_free(m); /* another broker is asked when the damage is told of again */
        return;
    }
    if (m->next_idx <= m->last_idx) {
        ask_on(m, ask->owner, ask->broker_id);
        return;
    }
    m->mend.entries = m->slices;
    m->mend.count = m->slice_count;
    m->mend.done = mend_done;
    partition_mend(m->partition, &m->mend);
}

/* The leader first; then one peer after the other. 0: there is none. */
static uint32_t whom_to_ask(struct links *links, const struct partition *partition)
{
    uint32_t turn = atomic_fetch_add_explicit(&links->mend_turn, 1, memory_order_relaxed);
    const struct group_id group = partition_group(partition);
    uint32_t leader_id = partition_leader(partition, NULL);
    if (leader_id == 0) /* one that is not open knows of none */
        leader_id = links_leader(links, &group, NULL);
    if (turn % 2 == 0 && leader_id != 0 && leader_id != links->options.self.broker_id)
        return leader_id;
    uint32_t count = 0;
    uint32_t chosen = 0;
    (void)pthread_mutex_lock(&links->lock);
    for (const struct link *link = links->list; link != NULL; link = link->next)
        count++;
    uint32_t at = count > 0 ? turn / 2 % count : 0;
    for (const struct link *link = links->list; link != NULL; link = link->next)
        if (at-- == 0) {
            chosen = link->address.broker_id;
            break;
        }
    (void)pthread_mutex_unlock(&links->lock);
    return chosen;
}

void links_damaged(void *context, struct partition *partition, uint64_t first_idx, uint64_t last_idx)
{
    struct links *links = context;
    uint32_t broker_id = whom_to_ask(links, partition);
    struct mending *m = broker_id != 0 ? calloc(1, sizeof *m) : NULL;
    if (m == NULL)
        return;
    const struct group_id group = partition_group(partition);
    m->partition = partition_hold(partition);
    m->question[0] = MEND_VERSION;
    memcpy(m->question + 1, group.topic_id.bytes, UUID_BYTES);
    put_le32(m->question + 17, group.partition);
    m->next_idx = first_idx;
    m->last_idx = last_idx;
    ask_on(m, links, broker_id);
}

void links_serve_mending(struct links *links)
{
    links_serve(links, ASK_ENTRIES, serve_entries, links);
}
