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
#include "server/kafka_fetch_sessions.h"
#include "server/kafka_internal.h"

#include <stdlib.h>

enum { FIRST_WITH_IDS = 13, FIRST_WITH_NODES = 16, FETCH_WAIT_MAX_MS = 60 * 60 * 1000 };

struct fetching;

/* One partition that was asked for. */
struct fetch_part {
    struct fetching *fetching;
    const struct fetch_row *row;
    const struct kafka_fetch_request_partition *asked;
    struct kafka_fetch_response_partition found;
    struct image_topic *topic;   /* NULL: not known; the image is held */
    struct partition *partition; /* a reference while it is waited at */
    struct wait_request wait;
    struct fetch_pieces pieces;
};

struct fetching {
    struct kafka_call *call;
    struct image *image;
    struct fetch_sessions *sessions;
    struct fetch_turn turn;
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
    engine_cancel_deadline(call->broker->engine, &fetching->deadline); /* a connection that died has not gone on */
    for (uint32_t i = 0; i < fetching->part_count; i++) {
        fetch_pieces_fini(&fetching->parts[i].pieces);
        partition_drop(&fetching->parts[i].partition);
    }
    fetch_turn_end(&fetching->turn);
    image_drop(&fetching->image);
    (void)pthread_mutex_destroy(&fetching->lock);
}

/* ---- reading ------------------------------------------------------------------------------- */

static void part_refuse(struct fetch_part *part, int16_t code)
{
    part->found.error_code = code;
    part->found.high_watermark = -1;
    part->found.last_stable_offset = -1;
    part->found.log_start_offset = -1;
}

static void part_name_leader(struct fetch_part *part, uint32_t broker_id, uint64_t term)
{
    part->found.current_leader =
        (struct kafka_fetch_response_leader){.leader_id = (int32_t)broker_id, .leader_epoch = kafka_epoch_of(term)};
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
            part_name_leader(part, route.broker_id, route.term);
        return NULL;
    }
    uint32_t leader = partition_leader(route.local, &term), self = cluster_self(call->broker->cluster);
    if (leader != 0 && leader != self) { /* since it was looked for */
        part_refuse(part, KAFKA_ERR_NOT_LEADER_OR_FOLLOWER);
        part_name_leader(part, leader, term);
        return NULL;
    }
    int16_t code = kafka_check_epoch(part->asked->current_leader_epoch, term);
    if (code == KAFKA_ERR_NONE)
        return route.local;
    part_refuse(part, code);
    if (code == KAFKA_ERR_FENCED_LEADER_EPOCH && leader == self)
        part_name_leader(part, leader, term);
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
        fetch_bounds(partition, &part->found.log_start_offset, &part->found.high_watermark)) {
        part->found.last_stable_offset = part->found.high_watermark;
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
        part->found.error_code = KAFKA_ERR_NONE;
        part->found.current_leader = (struct kafka_fetch_response_leader){.leader_id = -1, .leader_epoch = -1};
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
static void part_answer(struct kafka_call *call, struct fetch_part *part, struct kafka_fetch_response_partition *to)
{
    static const uint8_t nothing[1];
    struct fetch_pieces *from = &part->pieces;
    *to = part->found;
    to->records = slice_of(nothing, 0);
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
    to->records = slice_of(pieces, from->size_bytes);
    call->splices++;
}

static bool same_topic(const struct fetch_row *a, const struct fetch_row *b)
{
    REQUIRE(a != NULL && b != NULL);
    return slice_equal(a->topic, b->topic) && uuid_equal(&a->topic_id, &b->topic_id);
}

/* The parts that are told, in their order; those of one topic that follow each other stand together. */
static void answer_fill(struct fetching *fetching, const bool *told, size_t count)
{
    struct kafka_call *call = fetching->call;
    struct kafka_fetch_response *answer = call->answer;
    const struct fetch_row *before = NULL;
    int64_t topics = 0;
    for (size_t i = 0; i < count; i++) {
        if (!told[i])
            continue;
        topics += before == NULL || !same_topic(before, fetching->parts[i].row);
        before = fetching->parts[i].row;
    }
    if (!KAFKA_FILL(&call->arena, answer->responses, kafka_fetch_response_topic, topics))
        return;
    struct kafka_fetch_response_topic *to = answer->responses.at;
    for (size_t i = 0; i < count; to++) {
        for (; i < count && !told[i];)
            i++;
        if (i == count)
            break;
        size_t end = i, parts = 0;
        const struct fetch_row *row = fetching->parts[i].row;
        for (; end < count && (!told[end] || same_topic(row, fetching->parts[end].row)); end++)
            parts += told[end];
        to->topic = row->topic;
        to->topic_id = row->topic_id;
        if (!KAFKA_FILL(&call->arena, to->partitions, kafka_fetch_response_partition, parts))
            return;
        for (parts = 0; i < end; i++)
            if (told[i])
                part_answer(call, &fetching->parts[i], &to->partitions.at[parts++]);
    }
}

_Static_assert(sizeof(struct kafka_node) == sizeof(struct kafka_fetch_response_node) &&
                   offsetof(struct kafka_node, port) == offsetof(struct kafka_fetch_response_node, port),
               "nodes have one form");

/* Where the leaders are found that the answer names. */
static void answer_nodes(struct fetching *fetching)
{
    struct kafka_call *call = fetching->call;
    struct kafka_fetch_response *answer = call->answer;
    bool any = false;
    for (uint32_t i = 0; i < fetching->part_count; i++)
        any |= fetching->parts[i].found.current_leader.leader_id > 0;
    if (!any || call->request.version < FIRST_WITH_NODES ||
        !KAFKA_FILL(&call->arena, answer->node_endpoints, kafka_fetch_response_node,
                    image_broker_count(fetching->image)))
        return;
    answer->node_endpoints.count = 0;
    for (uint32_t i = 0; i < fetching->part_count; i++)
        kafka_add_node(call, fetching->image, fetching->parts[i].found.current_leader.leader_id,
                       (struct kafka_node *)(void *)answer->node_endpoints.at, &answer->node_endpoints.count);
}

static void fetching_answer(struct fetching *fetching)
{
    struct kafka_call *call = fetching->call;
    struct kafka_fetch_response *answer = call->answer;
    size_t count = fetching->part_count;
    bool *told = kafka_arena_take(&call->arena, count * sizeof(*told));
    const struct kafka_fetch_response_partition **found = kafka_arena_take(&call->arena, count * sizeof(const void *));
    if (told != NULL && found != NULL) {
        for (uint32_t i = 0; i < count; i++) {
            fetching->parts[i].found.records.len = fetching->parts[i].pieces.size_bytes;
            found[i] = &fetching->parts[i].found;
        }
        answer->error_code = fetch_turn_answer(fetching->sessions, &fetching->turn, found, told, clock_mono_us() / 1000,
                                               &answer->session_id);
        if (answer->error_code == KAFKA_ERR_NONE)
            answer_fill(fetching, told, count);
        answer_nodes(fetching);
    }
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

static void fetching_end_waits(struct fetching *fetching)
{
    (void)pthread_mutex_lock(&fetching->lock);
    fetching->over = true;
    (void)pthread_mutex_unlock(&fetching->lock);
}

static void fetching_cancel(struct kafka_call *call)
{
    struct fetching *fetching = call->own;
    fetching_end_waits(fetching);
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

static struct image_topic *find_topic(const struct image *image, const struct fetch_row *row, bool by_id)
{
    return by_id ? image_find_id(image, &row->topic_id)
                 : image_find(image, (const char *)row->topic.data, row->topic.len);
}

static void fetching_fill(struct fetching *fetching)
{
    for (uint32_t i = 0; i < fetching->turn.count; i++) {
        struct fetch_part *part = &fetching->parts[i];
        part->fetching = fetching;
        part->row = &fetching->turn.rows[i];
        part->asked = &part->row->asked;
        kafka_defaults(&kafka_fetch_response_partition_shape, &part->found);
        part->found.partition_index = part->asked->partition;
        part->topic = i > 0 && same_topic(part->row, part[-1].row)
                          ? part[-1].topic
                          : find_topic(fetching->image, part->row, fetching->turn.by_id);
        fetch_pieces_init(&part->pieces);
    }
    fetching->part_count = fetching->turn.count;
}

/* Takes the turn. NULL: no room, and it is the caller's. */
static struct fetching *fetching_new(struct kafka_call *call, struct fetch_sessions *sessions,
                                     const struct fetch_turn *turn)
{
    const struct kafka_fetch_request *asked = call->body;
    /* In the arena, whose limit bounds how many partitions one request can name. */
    size_t size_bytes = sizeof(struct fetching) + turn->count * sizeof(struct fetch_part);
    struct fetching *fetching = call->arena.err == KQ_OK ? kafka_arena_take(&call->arena, size_bytes) : NULL;
    if (fetching == NULL)
        return NULL;
    memset(fetching, 0, size_bytes);
    int64_t wait_ms = asked->max_wait_ms < 0 ? 0 : asked->max_wait_ms;
    fetching->call = call;
    fetching->sessions = sessions;
    fetching->turn = *turn;
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
    struct fetch_sessions *sessions = kafka_call_front(call)->fetches;
    struct fetch_turn turn;
    answer->error_code = fetch_turn_begin(sessions, &turn, asked, call->request.version >= FIRST_WITH_IDS,
                                          clock_mono_us() / 1000, &call->arena);
    struct fetching *fetching = NULL;
    if (answer->error_code == KAFKA_ERR_NONE)
        fetching = fetching_new(call, sessions, &turn);
    if (fetching == NULL) { /* refused; or the arena has failed: the connection ends */
        fetch_turn_end(&turn);
        kafka_call_answered(call);
        return;
    }
    call->own = fetching;
    call->fini = fetching_fini;
    fetching_fill(fetching);
    if (!kafka_call_waits(call, fetching_cancel) || !kafka_call_counts(call))
        fetching_end_waits(fetching);
    if (fetching_read(fetching) || fetching->part_count == 0 || !fetching_wait(fetching))
        fetching_answer(fetching);
}
