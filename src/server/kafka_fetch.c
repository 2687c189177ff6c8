/*
 * Fetch: whole batches from the mapped segments to the socket, and the wait for more.
 *
 * A fetch that has too little waits at each of its partitions for the next record and at
 * the timer for its end; whichever comes first wakes it, it lets go of the other waits, and
 * when the last of these has come back a worker looks again. So it holds no thread, and
 * nothing of it is left behind when it is answered.
 *
 * `lock` guards what wakes it; it is held for a few instructions and never while calling out.
 */
#include "api/fetch.h"
#include "api/route.h"
#include "base/clock.h"
#include "base/require.h"
#include "proto/kafka/api_fetch.h"
#include "server/kafka_internal.h"

#include <stdlib.h>

enum { FIRST_WITH_IDS = 13, FETCH_WAIT_MAX_MS = 60 * 60 * 1000 };

struct fetching;

/* One partition that was asked for. */
struct fetch_part {
    struct fetching *fetching;
    const struct kafka_fetch_request_partition *asked;
    struct kafka_fetch_response_partition *answer;
    struct image_topic *topic;   /* NULL: not known; the image is held */
    struct partition *partition; /* a reference while it is waited at */
    struct wait_request wait;
    struct fetch_pieces pieces;
};

struct fetching {
    struct kafka_call *call;
    struct image *image;
    int64_t until_us;
    struct engine_deadline deadline;
    pthread_mutex_t lock;
    uint32_t pending; /* waits that have not come back, and who is just beginning or ending them */
    bool posting;     /* the waits are being posted */
    bool woken;
    bool over; /* no wait any more: the client is gone, or the server stops */
    uint32_t part_count;
    struct fetch_part parts[];
};

static void fetching_fini(struct kafka_call *call)
{
    struct fetching *fetching = call->own;
    for (uint32_t i = 0; i < fetching->part_count; i++) {
        fetch_pieces_fini(&fetching->parts[i].pieces);
        partition_drop(&fetching->parts[i].partition);
    }
    if (fetching->image != NULL)
        image_drop(&fetching->image);
    (void)pthread_mutex_destroy(&fetching->lock);
}

/* ---- reading ------------------------------------------------------------------------------- */

static void part_refuse(struct fetch_part *part, int16_t code)
{
    part->answer->error_code = code;
    part->answer->high_watermark = -1;
    part->answer->last_stable_offset = -1;
    part->answer->log_start_offset = -1;
}

/* The replica here that leads; NULL: the answer says why not. */
static struct partition *part_leader(struct kafka_call *call, struct fetch_part *part)
{
    struct route route;
    uint64_t term = 0;
    if (part->topic == NULL || image_topic_internal(part->topic)) {
        part_refuse(part, call->request.version >= FIRST_WITH_IDS ? KAFKA_ERR_UNKNOWN_TOPIC_ID
                                                                  : KAFKA_ERR_UNKNOWN_TOPIC_OR_PARTITION);
        return NULL;
    }
    if (part->asked->partition < 0 || (uint32_t)part->asked->partition >= image_topic_partitions(part->topic)) {
        part_refuse(part, KAFKA_ERR_UNKNOWN_TOPIC_OR_PARTITION);
        return NULL;
    }
    route_find(call->broker, part->topic, (uint32_t)part->asked->partition, &route);
    if (route.kind != ROUTE_LOCAL || route.local == NULL) {
        part_refuse(part, KAFKA_ERR_NOT_LEADER_OR_FOLLOWER);
        if (route.kind == ROUTE_REMOTE)
            part->answer->current_leader = (struct kafka_fetch_response_leader){.leader_id = (int32_t)route.broker_id,
                                                                                .leader_epoch = (int32_t)route.term};
        return NULL;
    }
    (void)partition_leader(route.local, &term);
    int16_t code = kafka_check_epoch(part->asked->current_leader_epoch, term);
    if (code == KAFKA_ERR_NONE)
        return route.local;
    part_refuse(part, code);
    return NULL;
}

static int16_t code_of_reading(enum kq_err err)
{
    if (err == KQ_AGAIN || err == KQ_STOPPING)
        return KAFKA_ERR_NOT_LEADER_OR_FOLLOWER; /* it opens, or goes: the client looks again */
    struct fault fault = {.err = err};
    return kafka_code(&fault);
}

/* True: it is waited for at its end. */
static bool part_read(struct kafka_call *call, struct fetch_part *part, size_t room_bytes, bool first)
{
    struct partition *partition = part_leader(call, part);
    struct fault fault;
    struct fetch fetch;
    if (partition == NULL)
        return false;
    enum kq_err err = fetch_open(&fetch, partition, part->asked->fetch_offset, &fault);
    if (err != KQ_OK) {
        part_refuse(part, part->asked->fetch_offset < 0 ? KAFKA_ERR_OFFSET_OUT_OF_RANGE : code_of_reading(err));
        return false;
    }
    if (part->asked->fetch_offset < 0) { /* -1 means the log start elsewhere */
        fetch_close(&fetch);
        part_refuse(part, KAFKA_ERR_OFFSET_OUT_OF_RANGE);
        return false;
    }
    size_t own_bytes = part->asked->partition_max_bytes < 0 ? 0 : (size_t)part->asked->partition_max_bytes;
    err = fetch_gather(&fetch, &part->pieces, own_bytes < room_bytes ? own_bytes : room_bytes, first, &fault);
    if ((err == KQ_OK || err == KQ_EOF) &&
        fetch_bounds(partition, &part->answer->log_start_offset, &part->answer->high_watermark)) {
        part->answer->last_stable_offset = part->answer->high_watermark;
        if (part->partition == NULL)
            part->partition = partition_hold(partition);
        part->wait.off = fetch.end_off;
        err = KQ_OK;
    } else {
        part_refuse(part, code_of_reading(err == KQ_OK || err == KQ_EOF ? KQ_AGAIN : err));
        err = KQ_IO;
    }
    fetch_close(&fetch);
    return err == KQ_OK;
}

/* Whether there is enough to be answered, or something that the client has to know. */
static bool fetching_read(struct fetching *fetching)
{
    struct kafka_call *call = fetching->call;
    const struct kafka_fetch_request *asked = call->body;
    size_t got_bytes = 0, max_bytes = asked->max_bytes < 0 ? 0 : (size_t)asked->max_bytes;
    bool faults = false;
    for (uint32_t i = 0; i < fetching->part_count; i++) {
        struct fetch_part *part = &fetching->parts[i];
        fetch_pieces_fini(&part->pieces);
        fetch_pieces_init(&part->pieces);
        partition_drop(&part->partition);
        part->answer->error_code = KAFKA_ERR_NONE;
        faults |= !part_read(call, part, max_bytes > got_bytes ? max_bytes - got_bytes : 0, got_bytes == 0);
        got_bytes += part->pieces.size_bytes;
    }
    return faults || got_bytes >= (size_t)(asked->min_bytes < 0 ? 0 : asked->min_bytes);
}

/* ---- answering ------------------------------------------------------------------------------- */

static void release_view(void *keeper)
{
    struct log_view *view = keeper;
    log_view_drop(&view);
}

static void release_nothing(void *keeper)
{
    (void)keeper;
}

/* Moves what was gathered into the answer. */
static void part_answer(struct kafka_call *call, struct fetch_part *part)
{
    static const uint8_t nothing[1];
    struct fetch_pieces *from = &part->pieces;
    part->answer->records = slice_of(nothing, 0);
    if (from->count == 0)
        return;
    struct kafka_pieces *pieces = kafka_arena_take(&call->arena, sizeof(*pieces));
    struct kafka_piece *piece = kafka_arena_take(&call->arena, (from->count + 1) * sizeof(*piece));
    if (pieces == NULL || piece == NULL)
        return; /* the arena has failed: the call is not answered */
    *pieces = (struct kafka_pieces){.at = piece, .count = from->count, .next = call->pieces};
    call->pieces = pieces;
    for (uint32_t i = 0; i < from->count; i++) {
        struct fetch_piece *one = &from->piece[i];
        const uint8_t *data = one->view == NULL ? from->copies.data + one->at : one->data;
        piece[i] = (struct kafka_piece){.bytes = slice_of(data, one->size_bytes),
                                        .release = one->view == NULL ? release_nothing : release_view,
                                        .keeper = one->view};
        one->view = NULL;
    }
    if (from->copies.len > 0) { /* the memory goes when its last piece has */
        for (uint32_t i = from->count; i-- > 0;)
            if (piece[i].release == release_nothing) {
                piece[i].release = free;
                piece[i].keeper = from->copies.data;
                break;
            }
        buf_init(&from->copies, from->copies.limit);
    }
    part->answer->records = slice_of(pieces, from->size_bytes);
    call->splices++;
}

static void fetching_answer(struct fetching *fetching)
{
    struct kafka_call *call = fetching->call;
    for (uint32_t i = 0; i < fetching->part_count; i++)
        part_answer(call, &fetching->parts[i]);
    kafka_call_answered(call);
}

/* ---- waiting ------------------------------------------------------------------------------------ */

static void fetching_go_on(struct kafka_call *call, struct worker *worker);

static void fetching_less(struct fetching *fetching)
{
    (void)pthread_mutex_lock(&fetching->lock);
    bool last = --fetching->pending == 0;
    (void)pthread_mutex_unlock(&fetching->lock);
    if (last)
        kafka_call_wants_worker(fetching->call, fetching_go_on);
}

static void cancel_waits(struct fetching *fetching)
{
    for (uint32_t i = 0; i < fetching->part_count; i++)
        if (fetching->parts[i].partition != NULL)
            partition_wait_cancel(fetching->parts[i].partition, &fetching->parts[i].wait);
}

/* Any thread. Ends the wait, if there is one. */
static void fetching_wake(struct fetching *fetching)
{
    (void)pthread_mutex_lock(&fetching->lock);
    bool wakes = fetching->pending > 0 && !fetching->woken && !fetching->posting;
    fetching->woken |= fetching->pending > 0; /* who posts the waits takes them back */
    if (wakes)
        fetching->pending++;
    (void)pthread_mutex_unlock(&fetching->lock);
    if (!wakes)
        return;
    cancel_waits(fetching);
    fetching_less(fetching);
}

static void waited(struct wait_request *wait)
{
    struct fetching *fetching = CONTAINER_OF(wait, struct fetch_part, wait)->fetching;
    fetching_wake(fetching);
    fetching_less(fetching);
}

static void time_is_up(struct engine_deadline *deadline)
{
    fetching_wake(CONTAINER_OF(deadline, struct fetching, deadline));
}

static void fetching_cancel(struct kafka_call *call)
{
    struct fetching *fetching = call->own;
    (void)pthread_mutex_lock(&fetching->lock);
    fetching->over = true;
    (void)pthread_mutex_unlock(&fetching->lock);
    fetching_wake(fetching);
}

/* False: there is nothing to wait for any more. */
static bool fetching_wait(struct fetching *fetching)
{
    (void)pthread_mutex_lock(&fetching->lock);
    bool waits = !fetching->over && clock_mono_us() < fetching->until_us;
    if (waits) {
        fetching->woken = false;
        fetching->posting = true;
        fetching->pending = 1; /* this */
        for (uint32_t i = 0; i < fetching->part_count; i++)
            fetching->pending += fetching->parts[i].partition != NULL;
    }
    (void)pthread_mutex_unlock(&fetching->lock);
    if (!waits)
        return false;
    engine_set_deadline(fetching->call->broker->engine, &fetching->deadline, fetching->until_us);
    for (uint32_t i = 0; i < fetching->part_count; i++) {
        struct fetch_part *part = &fetching->parts[i];
        if (part->partition == NULL)
            continue;
        part->wait = (struct wait_request){.done = waited, .off = part->wait.off};
        partition_wait(part->partition, &part->wait);
    }
    (void)pthread_mutex_lock(&fetching->lock);
    fetching->posting = false;
    bool woken = fetching->woken;
    (void)pthread_mutex_unlock(&fetching->lock);
    if (woken)
        cancel_waits(fetching);
    fetching_less(fetching);
    return true;
}

static void fetching_go_on(struct kafka_call *call, struct worker *worker)
{
    (void)worker;
    struct fetching *fetching = call->own;
    engine_cancel_deadline(call->broker->engine, &fetching->deadline);
    if (fetching_read(fetching) || !fetching_wait(fetching))
        fetching_answer(fetching);
}

/* ---- requests ------------------------------------------------------------------------------------- */

static struct image_topic *find_topic(const struct kafka_call *call, const struct image *image,
                                      const struct kafka_fetch_request_topic *asked)
{
    return call->request.version >= FIRST_WITH_IDS
               ? image_find_id(image, &asked->topic_id)
               : image_find(image, (const char *)asked->topic.data, asked->topic.len);
}

/* False: no room. */
static bool fetching_fill(struct fetching *fetching)
{
    struct kafka_call *call = fetching->call;
    const struct kafka_fetch_request *asked = call->body;
    struct kafka_fetch_response *answer = call->answer;
    if (!KAFKA_FILL(&call->arena, answer->responses, kafka_fetch_response_topic, asked->topics.count))
        return false;
    for (int32_t t = 0; t < asked->topics.count; t++) {
        const struct kafka_fetch_request_topic *from = &asked->topics.at[t];
        struct kafka_fetch_response_topic *to = &answer->responses.at[t];
        to->topic = from->topic;
        to->topic_id = from->topic_id;
        if (!KAFKA_FILL(&call->arena, to->partitions, kafka_fetch_response_partition, from->partitions.count))
            return false;
        struct image_topic *topic = find_topic(call, fetching->image, from);
        for (int32_t p = 0; p < from->partitions.count; p++) {
            struct fetch_part *part = &fetching->parts[fetching->part_count++];
            part->fetching = fetching;
            part->asked = &from->partitions.at[p];
            part->answer = &to->partitions.at[p];
            part->answer->partition_index = part->asked->partition;
            part->answer->preferred_read_replica = -1;
            part->topic = topic;
            fetch_pieces_init(&part->pieces);
        }
    }
    return true;
}

static struct fetching *fetching_new(struct kafka_call *call)
{
    const struct kafka_fetch_request *asked = call->body;
    size_t count = 0;
    for (int32_t t = 0; t < asked->topics.count; t++)
        count += (size_t)asked->topics.at[t].partitions.count;
    /* In the arena, whose limit bounds how many partitions one request can name. */
    size_t size_bytes = sizeof(struct fetching) + count * sizeof(struct fetch_part);
    struct fetching *fetching = kafka_arena_take(&call->arena, size_bytes);
    if (fetching == NULL)
        return NULL;
    memset(fetching, 0, size_bytes);
    int64_t wait_ms = asked->max_wait_ms < 0 ? 0 : asked->max_wait_ms;
    fetching->call = call;
    fetching->deadline.fire = time_is_up;
    fetching->until_us = clock_mono_us() + (wait_ms < FETCH_WAIT_MAX_MS ? wait_ms : FETCH_WAIT_MAX_MS) * 1000;
    fetching->image = cluster_image(call->broker->cluster);
    (void)pthread_mutex_init(&fetching->lock, NULL);
    return fetching;
}

void kafka_handle_fetch(struct kafka_call *call, struct worker *worker)
{
    (void)worker;
    const struct kafka_fetch_request *asked = call->body;
    struct kafka_fetch_response *answer = call->answer;
    if (asked->session_id != 0) { /* the answers say 0: every fetch is whole (KIP-227) */
        answer->error_code = KAFKA_ERR_FETCH_SESSION_ID_NOT_FOUND;
        kafka_call_answered(call);
        return;
    }
    struct fetching *fetching = fetching_new(call);
    call->own = fetching;
    call->fini = fetching == NULL ? NULL : fetching_fini;
    if (fetching == NULL || !fetching_fill(fetching)) {
        kafka_call_answered(call); /* the arena has failed: the connection ends */
        return;
    }
    fetching->over = !kafka_call_waits(call, fetching_cancel);
    if (fetching_read(fetching) || !fetching_wait(fetching))
        fetching_answer(fetching);
}
