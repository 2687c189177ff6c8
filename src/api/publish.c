/*
 * Filling a fold. Locking: none. A part belongs to the filling thread until it is
 * sent; `crowded` and `held` are the sender's until publish_fold_send returns.
 */
#include "api/publish.h"

#include "api/route.h"
#include "base/fnv.h"
#include "base/require.h"

#include <stdlib.h>
#include <string.h>

enum { PART_FIRST_BYTES = 512, EXPECTED_MAX_BYTES = 512 * 1024 };

void publish_fold_init(struct publish_fold *fold, struct publish_flight *flight, int64_t time_ms, int64_t deadline_us)
{
    *fold = (struct publish_fold){.time_ms = time_ms, .deadline_us = deadline_us, .flight = flight};
}

void publish_fold_fini(struct publish_fold *fold)
{
    for (uint32_t i = 0; i < fold->part_count; i++) {
        struct publish_part *part = fold->parts[i];
        buf_fini(&part->batches);
        partition_drop(&part->partition);
        free(part);
    }
    free(fold->parts);
    free(fold->part_of);
    *fold = (struct publish_fold){0};
}

static void request_done(struct publish_request *request)
{
    publish_part_answered(CONTAINER_OF(request, struct publish_part, request));
}

/* ---- parts ---------------------------------------------------------------------------- */

static bool fold_grow_parts(struct publish_fold *fold)
{
    if (fold->part_count < fold->part_cap)
        return true;
    uint32_t cap = fold->part_cap == 0 ? 4 : fold->part_cap * 2;
    struct publish_part **parts = realloc(fold->parts, cap * sizeof(struct publish_part *));
    if (parts == NULL)
        return false;
    fold->parts = parts;
    fold->part_cap = cap;
    return true;
}

/* A message's part is noted for each message once there is more than one part. */
static bool fold_grow_messages(struct publish_fold *fold, bool needed)
{
    if (!needed || (fold->part_of != NULL && fold->message_count < fold->message_cap))
        return true;
    uint32_t cap = fold->message_cap == 0 ? 64 : fold->message_cap;
    while (cap <= fold->message_count)
        cap *= 2;
    uint16_t *part_of = realloc(fold->part_of, cap * sizeof(*part_of));
    if (part_of == NULL)
        return false;
    if (fold->part_of == NULL)
        memset(part_of, 0, cap * sizeof(*part_of));
    fold->part_of = part_of;
    fold->message_cap = cap;
    return true;
}

static int32_t batch_limit(const struct image_topic *topic)
{
    return image_topic_limits(topic)->max_message_bytes;
}

/* NULL: out of memory, or too many parts. */
static struct publish_part *fold_new_part(struct publish_fold *fold, struct image_topic *topic, uint32_t p,
                                          size_t expected_bytes)
{
    if (!fold_grow_parts(fold))
        return NULL;
    struct publish_part *part = calloc(1, sizeof(*part));
    if (part == NULL)
        return NULL;
    part->fold = fold;
    struct partition *partition = image_partition(topic, p);
    part->partition = partition == NULL ? NULL : partition_hold(partition);
    part->topic = topic;
    part->topic_id = *image_topic_id(topic);
    part->number = p;
    uint32_t replica_count;
    (void)image_replicas(topic, p, &replica_count);
    part->alone = replica_count == 1;
    part->limit_bytes = batch_limit(topic);
    buf_init(&part->batches, INT32_MAX);
    size_t first_bytes = PART_FIRST_BYTES + expected_bytes / image_topic_partitions(topic);
    (void)buf_reserve(&part->batches, first_bytes < EXPECTED_MAX_BYTES ? first_bytes : EXPECTED_MAX_BYTES);
    batch_begin(&part->maker, &part->batches, fold->time_ms);
    if (image_topic_limits(topic)->log_append_time)
        part->maker.attributes = BATCH_LOG_APPEND_TIME; /* the time is the broker's in any case */
    fold->parts[fold->part_count++] = part;
    return part;
}

/* The index of the partition's part, or part_count. */
static uint32_t fold_find(const struct publish_fold *fold, const struct image_topic *topic, uint32_t p)
{
    uint32_t count = fold->part_count;
    for (uint32_t i = 0, at = fold->hint; i < count; i++, at++) {
        if (at >= count)
            at = 0;
        if (fold->parts[at]->number == p && fold->parts[at]->topic == topic)
            return at;
    }
    return count;
}

/* ---- adding ------------------------------------------------------------------------------ */

static size_t message_bytes(const struct publish_message *message)
{
    return message->key.len + message->value.len + message->header.len;
}

static enum kq_err too_large(const struct image_topic *topic, size_t size_bytes, struct fault *fault)
{
    return fault_set(fault, KQ_TOO_LARGE, "message too large: %zu bytes with what it is stored in; topic %s takes %d",
                     size_bytes, image_topic_name(topic), image_topic_limits(topic)->max_message_bytes);
}

static void part_add(struct publish_part *part, const struct publish_message *message, int64_t time_ms)
{
    struct slice key = message->key.len == 0 ? (struct slice){0} : message->key;
    const char *header_name = slice_is_absent(message->header) ? NULL : "Header";
    batch_add(&part->maker, time_ms, key, message->value, header_name, message->header);
}

/* Finds or makes the part, and checks the limits. */
static enum kq_err fold_part_for(struct publish_fold *fold, struct image_topic *topic, uint32_t p, size_t payload_bytes,
                                 size_t expected_bytes, uint32_t *index, struct fault *fault)
{
    enum kq_err err = route_check(topic, p, fault);
    if (err != KQ_OK)
        return err;
    size_t most_bytes = payload_bytes + BATCH_RECORD_OVERHEAD_BYTES;
    uint32_t at = fold_find(fold, topic, p);
    bool fresh = at == fold->part_count;
    if (!fresh && fold->parts[at]->batches.len + most_bytes > (size_t)fold->parts[at]->limit_bytes)
        return KQ_FULL;
    if (fresh && BATCH_HEADER_BYTES + payload_bytes > (size_t)batch_limit(topic))
        return too_large(topic, BATCH_HEADER_BYTES + payload_bytes, fault);
    if (fresh && fold->part_count == PUBLISH_PARTS_MAX)
        return KQ_FULL;
    bool noted = fold->part_count + (fresh ? 1 : 0) > 1;
    if (!fold_grow_messages(fold, noted))
        return fault_set(fault, KQ_NO_MEMORY, "%s", err_text(KQ_NO_MEMORY));
    if (fresh && fold_new_part(fold, topic, p, expected_bytes) == NULL)
        return fault_set(fault, KQ_NO_MEMORY, "%s", err_text(KQ_NO_MEMORY));
    *index = at;
    return KQ_OK;
}

/* A part without a record must not be sent. */
static void fold_forget_empty(struct publish_fold *fold)
{
    struct publish_part *part = fold->parts[fold->part_count - 1];
    if (part->maker.record_count > 0)
        return;
    buf_fini(&part->batches);
    partition_drop(&part->partition);
    free(part);
    fold->part_count--;
}

enum kq_err publish_fold_add(struct publish_fold *fold, struct image_topic *topic,
                             const struct publish_message *message, size_t expected_bytes, struct fault *fault)
{
    if (fold->message_count == PUBLISH_MESSAGES_MAX)
        return KQ_FULL;
    uint32_t partitions = image_topic_partitions(topic);
    bool keyed = message->key.len > 0;
    uint32_t p = keyed ? fnv_partition(message->key.data, message->key.len, partitions) : 0;
    if (!keyed && partitions > 1)
        p = image_topic_next_partition(topic);
    uint32_t index = 0;
    enum kq_err err = fold_part_for(fold, topic, p, message_bytes(message), expected_bytes, &index, fault);
    if (err != KQ_OK)
        return err;
    struct publish_part *part = fold->parts[index];
    size_t before = part->batches.len;
    struct batch_maker maker = part->maker;
    part_add(part, message, fold->time_ms);
    if (part->batches.bad) { /* out of memory: the batch is as it was before */
        part->batches.bad = false;
        part->batches.len = before;
        part->maker = maker;
        fold_forget_empty(fold);
        return fault_set(fault, KQ_NO_MEMORY, "%s", err_text(KQ_NO_MEMORY));
    }
    if (fold->part_of != NULL)
        fold->part_of[fold->message_count] = (uint16_t)index;
    fold->message_count++;
    fold->hint = index + 1;
    return KQ_OK;
}

static void part_finish(struct publish_part *part, int64_t deadline_us, const struct publish_producer *producer)
{
    if (producer == NULL)
        batch_end(&part->maker, -1, -1, -1);
    else
        batch_end(&part->maker, producer->id, producer->epoch, producer->sequence);
    part->request = (struct publish_request){
        .done = request_done,
        .batches = part->batches.data,
        .batches_bytes = (uint32_t)part->batches.len,
        .record_count = (uint32_t)part->maker.record_count,
        .batch_count = 1,
        .deadline_us = deadline_us,
    };
    part->item.deadline_us = deadline_us;
    part->item.producer = producer != NULL;
}

enum kq_err publish_fold_produce(struct publish_fold *fold, struct image_topic *topic,
                                 const struct publish_message *message, const struct publish_producer *producer,
                                 struct fault *fault)
{
    REQUIRE(fold->part_count == 0);
    uint32_t index = 0;
    enum kq_err err =
        fold_part_for(fold, topic, producer->partition, message_bytes(message), message_bytes(message), &index, fault);
    if (err != KQ_OK)
        return err;
    struct publish_part *part = fold->parts[index];
    part_add(part, message, fold->time_ms);
    if (!part->batches.bad)
        part_finish(part, fold->deadline_us, producer);
    if (part->batches.bad)
        return fault_set(fault, KQ_NO_MEMORY, "%s", err_text(KQ_NO_MEMORY));
    fold->message_count = 1;
    return KQ_OK;
}

size_t publish_fold_bytes(const struct publish_fold *fold)
{
    size_t bytes = sizeof(*fold) + fold->message_cap * sizeof(*fold->part_of);
    for (uint32_t i = 0; i < fold->part_count; i++)
        bytes += sizeof(struct publish_part) + fold->parts[i]->batches.cap;
    return bytes;
}

void publish_fold_close(struct publish_fold *fold)
{
    for (uint32_t i = 0; i < fold->part_count; i++)
        if (fold->parts[i]->request.batches == NULL)
            part_finish(fold->parts[i], fold->deadline_us, NULL);
}
