/*
 * Encoded (little-endian): u8 version = 1, u32 count, then for each producer,
 * the one that wrote longest ago first: i64 id, u16 epoch, i64 last write (ms),
 * u8 batches, and for each batch, oldest first: i32 first sequence, i32 last
 * sequence, i64 base offset, u64 idx.
 */
#include "partition/producers.h"

#include "base/require.h"
#include "partition/partition.h"

#include <stdlib.h>

enum { PRODUCERS_VERSION = 1, SEQUENCE_MAX = INT32_MAX };

struct producer_batch {
    int32_t first_sequence;
    int32_t last_sequence;
    int64_t base_off;
    uint64_t idx;
};

struct producer {
    struct producer *older;
    struct producer *newer;
    int64_t id;
    int64_t wrote_ms;
    int16_t epoch;
    uint8_t batch_count;
    struct producer_batch batches[PRODUCERS_BATCHES]; /* oldest first */
};

void producers_init(struct producers *producers)
{
    *producers = (struct producers){0};
    map_init(&producers->by_id);
}

void producers_fini(struct producers *producers)
{
    for (struct producer *p = producers->oldest, *next; p != NULL; p = next) {
        next = p->newer;
        free(p);
    }
    map_fini(&producers->by_id);
    producers_init(producers);
}

static void unlink_producer(struct producers *producers, struct producer *p)
{
    if (p->older != NULL)
        p->older->newer = p->newer;
    else
        producers->oldest = p->newer;
    if (p->newer != NULL)
        p->newer->older = p->older;
    else
        producers->newest = p->older;
    p->older = p->newer = NULL;
}

static void link_newest(struct producers *producers, struct producer *p)
{
    p->older = producers->newest;
    p->newer = NULL;
    if (p->older != NULL)
        p->older->newer = p;
    else
        producers->oldest = p;
    producers->newest = p;
}

static void forget(struct producers *producers, struct producer *p)
{
    unlink_producer(producers, p);
    REQUIRE(map_remove(&producers->by_id, &p->id, sizeof p->id) == p);
    free(p);
}

static struct producer *find(const struct producers *producers, int64_t id)
{
    return map_get(&producers->by_id, &id, sizeof id);
}

bool producers_know(const struct producers *producers, int64_t id)
{
    return find(producers, id) != NULL;
}

static int32_t sequence_after(int32_t sequence, int32_t steps)
{
    int64_t next = (int64_t)sequence + steps;
    return (int32_t)(next > SEQUENCE_MAX ? next - SEQUENCE_MAX - 1 : next);
}

static int32_t last_sequence(const struct batch_info *batch)
{
    return sequence_after(batch->base_sequence, batch->record_count - 1);
}

enum producers_verdict producers_judge(const struct producers *producers, const struct batch_info *batch,
                                       int64_t *base_off, uint64_t *idx)
{
    const struct producer *p = find(producers, batch->producer_id);
    if (p == NULL)
        return PRODUCERS_NEXT;
    if (batch->producer_epoch < p->epoch)
        return PRODUCERS_FENCED;
    if (batch->producer_epoch > p->epoch)
        return batch->base_sequence == 0 ? PRODUCERS_NEXT : PRODUCERS_GAP;
    for (int i = 0; i < p->batch_count; i++) {
        const struct producer_batch *seen = &p->batches[i];
        if (seen->first_sequence == batch->base_sequence && seen->last_sequence == last_sequence(batch)) {
            *base_off = seen->base_off;
            *idx = seen->idx;
            return PRODUCERS_DUPLICATE;
        }
    }
    REQUIRE(p->batch_count > 0);
    int32_t expected = sequence_after(p->batches[p->batch_count - 1].last_sequence, 1);
    return batch->base_sequence == expected ? PRODUCERS_NEXT : PRODUCERS_GAP;
}

struct partition_producer_row *producers_list(const struct producers *producers, uint32_t *count)
{
    struct partition_producer_row *rows =
        producers->by_id.count == 0 ? NULL : calloc(producers->by_id.count, sizeof *rows);
    *count = (uint32_t)producers->by_id.count;
    size_t i = 0;
    for (const struct producer *p = producers->oldest; p != NULL && rows != NULL; p = p->newer) {
        int32_t last = p->batch_count > 0 ? p->batches[p->batch_count - 1].last_sequence : -1;
        rows[i++] = (struct partition_producer_row){
            .id = p->id, .wrote_ms = p->wrote_ms, .last_sequence = last, .epoch = p->epoch};
    }
    return rows;
}

static struct producer *add(struct producers *producers, int64_t id, int64_t now_ms)
{
    while (producers->oldest != NULL &&
           (producers->by_id.count >= PRODUCERS_MAX || now_ms - producers->oldest->wrote_ms > PRODUCERS_EXPIRE_MS))
        forget(producers, producers->oldest);
    struct producer *p = calloc(1, sizeof *p);
    if (p == NULL)
        return NULL;
    p->id = id;
    if (!map_put(&producers->by_id, &p->id, sizeof p->id, p, NULL)) {
        free(p);
        return NULL;
    }
    link_newest(producers, p);
    return p;
}

static void push_batch(struct producer *p, const struct producer_batch *batch)
{
    if (p->batch_count == PRODUCERS_BATCHES) {
        for (int i = 1; i < PRODUCERS_BATCHES; i++)
            p->batches[i - 1] = p->batches[i];
        p->batch_count--;
    }
    p->batches[p->batch_count++] = *batch;
}

enum kq_err producers_note(struct producers *producers, const struct batch_info *batch, int64_t base_off, uint64_t idx,
                           int64_t now_ms)
{
    struct producer *p = find(producers, batch->producer_id);
    if (p == NULL) {
        p = add(producers, batch->producer_id, now_ms);
        if (p == NULL)
            return KQ_NO_MEMORY;
        p->epoch = batch->producer_epoch;
    } else {
        unlink_producer(producers, p);
        link_newest(producers, p);
    }
    if (batch->producer_epoch != p->epoch) {
        p->epoch = batch->producer_epoch;
        p->batch_count = 0;
    }
    struct producer_batch seen = {.first_sequence = batch->base_sequence,
                                  .last_sequence = last_sequence(batch),
                                  .base_off = base_off,
                                  .idx = idx};
    push_batch(p, &seen);
    p->wrote_ms = now_ms;
    return KQ_OK;
}

static uint8_t batches_up_to(const struct producer *p, uint64_t idx)
{
    uint8_t count = 0;
    while (count < p->batch_count && p->batches[count].idx <= idx)
        count++;
    return count;
}

void producers_encode(const struct producers *producers, uint64_t idx, struct buf *out)
{
    uint32_t known = 0;
    for (const struct producer *p = producers->oldest; p != NULL; p = p->newer)
        known += batches_up_to(p, idx) > 0 ? 1 : 0;
    buf_u8(out, PRODUCERS_VERSION);
    buf_le32(out, known);
    for (const struct producer *p = producers->oldest; p != NULL; p = p->newer) {
        uint8_t batch_count = batches_up_to(p, idx);
        if (batch_count == 0)
            continue;
        buf_le64(out, (uint64_t)p->id);
        buf_le16(out, (uint16_t)p->epoch);
        buf_le64(out, (uint64_t)p->wrote_ms);
        buf_u8(out, batch_count);
        for (int i = 0; i < batch_count; i++) {
            buf_le32(out, (uint32_t)p->batches[i].first_sequence);
            buf_le32(out, (uint32_t)p->batches[i].last_sequence);
            buf_le64(out, (uint64_t)p->batches[i].base_off);
            buf_le64(out, p->batches[i].idx);
        }
    }
}

static enum kq_err decode_one(struct producers *producers, struct cursor *in)
{
    int64_t id = (int64_t)cursor_le64(in);
    int16_t epoch = (int16_t)cursor_le16(in);
    int64_t wrote_ms = (int64_t)cursor_le64(in);
    uint8_t batch_count = cursor_u8(in);
    if (in->bad || batch_count == 0 || batch_count > PRODUCERS_BATCHES || find(producers, id) != NULL)
        return KQ_CORRUPT;
    struct producer *p = add(producers, id, wrote_ms);
    if (p == NULL)
        return KQ_NO_MEMORY;
    p->epoch = epoch;
    p->wrote_ms = wrote_ms;
    for (int i = 0; i < batch_count; i++) {
        struct producer_batch batch;
        batch.first_sequence = (int32_t)cursor_le32(in);
        batch.last_sequence = (int32_t)cursor_le32(in);
        batch.base_off = (int64_t)cursor_le64(in);
        batch.idx = cursor_le64(in);
        push_batch(p, &batch);
    }
    return in->bad ? KQ_CORRUPT : KQ_OK;
}

enum kq_err producers_decode(struct producers *producers, struct cursor *in)
{
    REQUIRE(producers->by_id.count == 0);
    uint8_t version = cursor_u8(in);
    if (!in->bad && version != PRODUCERS_VERSION)
        return KQ_BAD_VERSION;
    uint32_t count = cursor_le32(in);
    if (in->bad || count > PRODUCERS_MAX)
        return KQ_CORRUPT;
    for (uint32_t i = 0; i < count; i++) {
        enum kq_err err = decode_one(producers, in);
        if (err != KQ_OK)
            return err;
    }
    return KQ_OK;
}
