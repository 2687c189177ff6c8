/*
 * FindCoordinator, JoinGroup, SyncGroup, Heartbeat, LeaveGroup, and how calls go to
 * coordinators.
 *
 * A client asks the broker that leads its group's partition of __consumer_offsets; another
 * one sends it away (NOT_COORDINATOR). A join waits for its round in the coordinator. If the
 * client goes meanwhile the call is given up at once, and its memory kept until the
 * coordinator has let go of it: `told` says who was first.
 */
#include "server/kafka_groups.h"

#include "base/require.h"
#include "proto/kafka/api_groups.h"

#include <stdlib.h>

enum {
    FIRST_WITH_REBALANCE_MS = 1,
    FIRST_WITH_NEEDED_ID = 4,
    FIRST_WITH_SKIP = 9,
    FIRST_WITH_ROWS = 3,
    FIRST_WITH_KEYS = 4
};

/* ---- calls on their way ------------------------------------------------------------------------ */

int16_t group_answer_code(enum classic_answer answer)
{
    static const int16_t codes[] = {
        [CLASSIC_OK] = KAFKA_ERR_NONE,
        [CLASSIC_UNKNOWN_MEMBER] = KAFKA_ERR_UNKNOWN_MEMBER_ID,
        [CLASSIC_ILLEGAL_GENERATION] = KAFKA_ERR_ILLEGAL_GENERATION,
        [CLASSIC_REBALANCING] = KAFKA_ERR_REBALANCE_IN_PROGRESS,
        [CLASSIC_ID_REQUIRED] = KAFKA_ERR_MEMBER_ID_REQUIRED,
        [CLASSIC_FENCED_INSTANCE] = KAFKA_ERR_FENCED_INSTANCE_ID,
        [CLASSIC_INCONSISTENT] = KAFKA_ERR_INCONSISTENT_GROUP_PROTOCOL,
        [CLASSIC_FULL] = KAFKA_ERR_GROUP_MAX_SIZE_REACHED,
        [CLASSIC_TOO_LARGE] = KAFKA_ERR_OFFSET_METADATA_TOO_LARGE,
        [CLASSIC_UNKNOWN_GROUP] = KAFKA_ERR_GROUP_ID_NOT_FOUND,
        [CLASSIC_NOT_EMPTY] = KAFKA_ERR_NON_EMPTY_GROUP,
        [CLASSIC_SUBSCRIBED] = KAFKA_ERR_GROUP_SUBSCRIBED_TO_TOPIC,
        [CLASSIC_UNKNOWN_TOPIC] = KAFKA_ERR_UNKNOWN_TOPIC_OR_PARTITION,
        [CLASSIC_BAD_OFFSET] = KAFKA_ERR_OFFSET_OUT_OF_RANGE,
    };
    return codes[answer];
}

int16_t group_item_code(const struct group_item *item)
{
    if (item->refused != KAFKA_ERR_NONE)
        return item->refused;
    switch (item->call.base.call.fault.err) {
    case KQ_OK:
        return group_answer_code(item->call.answer);
    case KQ_NOT_LEADER:
    case KQ_STOPPING:
        return KAFKA_ERR_NOT_COORDINATOR;
    case KQ_COORDINATOR_LOADING:
    case KQ_AGAIN:
        return KAFKA_ERR_COORDINATOR_LOAD_IN_PROGRESS;
    default:
        return KAFKA_ERR_COORDINATOR_NOT_AVAILABLE; /* the client looks again, and asks again */
    }
}

static void work_fini(struct kafka_call *call)
{
    struct group_work *work = call->own;
    for (uint32_t i = 0; i < work->count; i++) {
        classic_call_fini(&work->items[i].call);
        partition_drop(&work->items[i].partition);
    }
    image_drop(&work->image);
    free(work);
}

struct group_work *group_work_new(struct kafka_call *call, uint32_t count, void (*fill)(struct group_item *item))
{
    struct group_work *work = calloc(1, sizeof(*work) + count * sizeof(work->items[0]));
    if (work == NULL) {
        call->hang_up = true;
        kafka_call_answered(call);
        return NULL;
    }
    work->call = call;
    work->fill = fill;
    work->count = count;
    work->image = cluster_image(call->broker->cluster);
    atomic_init(&work->left, 1);
    call->own = work;
    call->fini = work_fini;
    for (uint32_t i = 0; i < count; i++)
        work->items[i].work = work;
    return work;
}

static void work_less(struct group_work *work)
{
    if (atomic_fetch_sub_explicit(&work->left, 1, memory_order_acq_rel) != 1)
        return;
    struct kafka_call *call = work->call;
    if (!atomic_exchange_explicit(&work->told, true, memory_order_acq_rel)) {
        for (uint32_t i = 0; i < work->count; i++)
            work->fill(&work->items[i]);
        kafka_call_answered(call);
    }
    kafka_call_drop(call);
}

/* The actor's turn. */
static void item_done(struct machine_call *call)
{
    struct group_call *base = CONTAINER_OF(call, struct group_call, call);
    struct classic_call *classic = CONTAINER_OF(base, struct classic_call, base);
    work_less(CONTAINER_OF(classic, struct group_item, call)->work);
}

/* Any thread. The client is gone, or the broker stops: nobody waits for it. */
static void work_cancel(struct kafka_call *call)
{
    struct group_work *work = call->own;
    if (atomic_exchange_explicit(&work->told, true, memory_order_acq_rel))
        return;
    call->hang_up = true;
    kafka_call_answered(call);
}

void group_work_aim(struct group_item *item, struct slice group)
{
    struct broker *broker = item->work->call->broker;
    item->call.base.group = item->group;
    if (group.len == 0 || !kafka_c_text(group, item->group, sizeof(item->group))) {
        item->refused = KAFKA_ERR_INVALID_GROUP_ID;
        return;
    }
    struct partition *partition = cluster_coordinator(item->work->image, item->group, group.len, NULL);
    if (partition == NULL || partition_leader(partition, NULL) != cluster_self(broker->cluster))
        item->refused = KAFKA_ERR_NOT_COORDINATOR;
    else
        item->partition = partition_hold(partition);
}

void group_work_send(struct group_work *work)
{
    struct kafka_call *call = work->call;
    kafka_call_hold(call); /* until the last item has come back */
    uint32_t count = 0;
    for (uint32_t i = 0; i < work->count; i++)
        count += work->items[i].refused == KAFKA_ERR_NONE;
    atomic_fetch_add_explicit(&work->left, count, memory_order_relaxed);
    bool waits = kafka_call_waits(call, work_cancel);
    for (uint32_t i = 0; i < work->count; i++) {
        struct group_item *item = &work->items[i];
        if (item->refused != KAFKA_ERR_NONE)
            continue;
        item->call.base.call.done = item_done;
        partition_call(item->partition, &item->call.base.call);
    }
    if (!waits)
        work_cancel(call);
    work_less(work);
}

/* ---- FindCoordinator ------------------------------------------------------------------------------- */

enum { KEY_GROUP = 0, KEY_TRANSACTION = 1 };

/* A client that is told to try again calls initTransactions until its own patience ends. This error
 * ends it at once, and of those that do it is the only one with which both librdkafka and the
 * Java client show the text; with TRANSACTIONAL_ID_AUTHORIZATION_FAILED Java speaks of rights. */
enum { NO_TRANSACTIONS = KAFKA_ERR_CLUSTER_AUTHORIZATION_FAILED };
static const char no_transactions[] =
    "Kafkaesque has no transactions; without transactional.id a producer is idempotent "
    "all the same";

struct finding {
    struct kafka_call *call;
    struct cluster_request ensure;
};

static void finding_fini(struct kafka_call *call)
{
    free(call->own);
}

static int16_t find_one(struct kafka_call *call, const struct image *image, struct slice group,
                        struct kafka_address *address)
{
    const struct kafka_find_coordinator_request *asked = call->body;
    uint32_t number = 0;
    const struct image_topic *topic = image_find(image, CLUSTER_OFFSETS_TOPIC, sizeof(CLUSTER_OFFSETS_TOPIC) - 1);
    if (asked->key_type != KEY_GROUP)
        return asked->key_type == KEY_TRANSACTION ? NO_TRANSACTIONS : KAFKA_ERR_INVALID_REQUEST;
    if (group.len == 0 || group.len > GROUP_NAME_MAX_BYTES)
        return KAFKA_ERR_INVALID_GROUP_ID;
    (void)cluster_coordinator(image, (const char *)group.data, group.len, &number);
    uint32_t leader = topic == NULL ? 0 : cluster_leader(call->broker->cluster, image_topic_id(topic), number, NULL);
    return leader != 0 && kafka_address_of(call, image, leader, address) ? KAFKA_ERR_NONE
                                                                         : KAFKA_ERR_COORDINATOR_NOT_AVAILABLE;
}

static struct slice find_text(int16_t code)
{
    return code == NO_TRANSACTIONS ? slice_text(no_transactions) : (struct slice){0};
}

static void find_all(struct kafka_call *call)
{
    const struct kafka_find_coordinator_request *asked = call->body;
    struct kafka_find_coordinator_response *answer = call->answer;
    struct image *image = cluster_image(call->broker->cluster);
    struct kafka_address address = {0};
    if (call->request.version < FIRST_WITH_KEYS) {
        answer->error_code = find_one(call, image, asked->key, &address);
        answer->error_message = find_text(answer->error_code);
        bool found = answer->error_code == KAFKA_ERR_NONE;
        answer->node_id = found ? (int32_t)address.broker_id : -1;
        answer->host = kafka_arena_copy(&call->arena, address.host, found ? strlen(address.host) : 0);
        answer->port = found ? address.port : -1;
    } else if (KAFKA_FILL(&call->arena, answer->coordinators, kafka_find_coordinator_response_coordinator,
                          asked->coordinator_keys.count)) {
        for (int32_t i = 0; i < asked->coordinator_keys.count; i++) {
            struct kafka_find_coordinator_response_coordinator *to = &answer->coordinators.at[i];
            to->key = asked->coordinator_keys.at[i];
            to->error_code = find_one(call, image, to->key, &address);
            to->error_message = find_text(to->error_code);
            bool found = to->error_code == KAFKA_ERR_NONE;
            to->node_id = found ? (int32_t)address.broker_id : -1;
            to->host = kafka_arena_copy(&call->arena, address.host, found ? strlen(address.host) : 0);
            to->port = found ? address.port : -1;
        }
    }
    image_drop(&image);
    kafka_call_answered(call);
}

/* Any thread. */
static void ensured(struct cluster_request *request)
{
    find_all(CONTAINER_OF(request, struct finding, ensure)->call);
}

void kafka_handle_find_coordinator(struct kafka_call *call, struct worker *worker)
{
    (void)worker;
    const struct kafka_find_coordinator_request *asked = call->body;
    struct finding *finding = asked->key_type == KEY_GROUP ? calloc(1, sizeof(*finding)) : NULL;
    call->own = finding;
    call->fini = finding_fini;
    if (finding == NULL) {
        find_all(call); /* without memory: if the topic is there all the same */
        return;
    }
    finding->call = call;
    finding->ensure.done = ensured;
    cluster_ensure_offsets_topic(call->broker->cluster, &finding->ensure);
}

/* ---- JoinGroup ------------------------------------------------------------------------------------------- */

static void join_members(struct kafka_call *call, const struct classic_call *from)
{
    struct kafka_join_group_response *answer = call->answer;
    if (!KAFKA_FILL(&call->arena, answer->members, kafka_join_group_response_member, from->member_count))
        return;
    for (uint32_t i = 0; i < from->member_count; i++) {
        answer->members.at[i].member_id = from->members[i].id;
        answer->members.at[i].group_instance_id = from->members[i].instance;
        answer->members.at[i].metadata = kafka_present(from->members[i].metadata);
    }
}

static void join_fill(struct group_item *item)
{
    struct kafka_call *call = item->work->call;
    const struct kafka_join_group_request *asked = call->body;
    struct kafka_join_group_response *answer = call->answer;
    const struct classic_call *from = &item->call;
    answer->error_code = group_item_code(item);
    answer->generation_id = -1;
    answer->member_id = kafka_present(asked->member_id);
    answer->leader = answer->protocol_name = slice_of("", 0);
    if (answer->error_code == KAFKA_ERR_MEMBER_ID_REQUIRED)
        answer->member_id = kafka_present(from->member_id);
    if (answer->error_code != KAFKA_ERR_NONE)
        return;
    answer->generation_id = from->generation;
    answer->protocol_type = from->protocol_type;
    answer->protocol_name = kafka_present(from->protocol);
    answer->leader = kafka_present(from->leader);
    answer->member_id = from->member_id;
    answer->skip_assignment = from->skip;
    join_members(call, from);
}

static int16_t check_session(const struct kafka_call *call, int32_t session_ms)
{
    const struct config *config = call->broker->config;
    int64_t us = (int64_t)session_ms * 1000;
    bool fits = us >= atomic_load_explicit(&config->group_min_session_us, memory_order_relaxed) &&
                us <= atomic_load_explicit(&config->group_max_session_us, memory_order_relaxed);
    return fits ? KAFKA_ERR_NONE : KAFKA_ERR_INVALID_SESSION_TIMEOUT;
}

static bool ids_fit(struct slice member_id, struct slice instance)
{
    return member_id.len <= CLASSIC_TEXT_MAX_BYTES && instance.len <= CLASSIC_TEXT_MAX_BYTES &&
           (instance.len == 0 || memchr(instance.data, '\0', instance.len) == NULL) &&
           (member_id.len == 0 || memchr(member_id.data, '\0', member_id.len) == NULL);
}

static struct slice cut_text(struct slice text)
{
    size_t len = text.len < CLASSIC_TEXT_MAX_BYTES ? text.len : CLASSIC_TEXT_MAX_BYTES;
    return slice_of(text.data, text.data == NULL ? 0 : strnlen((const char *)text.data, len));
}

static void join_begin(struct kafka_call *call, struct group_item *item)
{
    const struct kafka_join_group_request *asked = call->body;
    struct classic_protocol *protocols =
        kafka_arena_take(&call->arena, (size_t)(asked->protocols.count + 1) * sizeof(*protocols));
    bool names_fit = protocols != NULL && asked->protocol_type.len <= CLASSIC_TEXT_MAX_BYTES;
    for (int32_t i = 0; i < asked->protocols.count && names_fit; i++) {
        protocols[i] = (struct classic_protocol){kafka_present(asked->protocols.at[i].name),
                                                 kafka_present(asked->protocols.at[i].metadata)};
        names_fit = protocols[i].name.len <= CLASSIC_TEXT_MAX_BYTES;
    }
    group_work_aim(item, asked->group_id);
    if (item->refused == KAFKA_ERR_NONE && (!names_fit || !ids_fit(asked->member_id, asked->group_instance_id)))
        item->refused = KAFKA_ERR_INVALID_REQUEST;
    if (item->refused == KAFKA_ERR_NONE)
        item->refused = check_session(call, asked->session_timeout_ms);
    struct classic_call *to = &item->call;
    to->base.verb = GROUP_JOIN;
    to->member_id = asked->member_id;
    to->instance = asked->group_instance_id;
    to->client_id = cut_text(call->request.client_id);
    to->host = kafka_peer_text(call);
    to->protocol_type = asked->protocol_type;
    to->protocols = protocols;
    to->protocol_count = (uint32_t)(asked->protocols.count < 0 ? 0 : asked->protocols.count);
    to->session_ms = asked->session_timeout_ms;
    to->rebalance_ms = call->request.version >= FIRST_WITH_REBALANCE_MS && asked->rebalance_timeout_ms >= 0
                           ? asked->rebalance_timeout_ms
                           : asked->session_timeout_ms;
    to->held_bytes = call->held_bytes;
    to->abandoned = &item->work->told;
    to->needs_id = call->request.version >= FIRST_WITH_NEEDED_ID;
    to->may_skip = call->request.version >= FIRST_WITH_SKIP;
}

void kafka_handle_join_group(struct kafka_call *call, struct worker *worker)
{
    (void)worker;
    struct group_work *work = group_work_new(call, 1, join_fill);
    if (work == NULL)
        return;
    join_begin(call, &work->items[0]);
    group_work_send(work);
}

/* ---- SyncGroup, Heartbeat, LeaveGroup ---------------------------------------------------------------------- */

static void sync_fill(struct group_item *item)
{
    struct kafka_sync_group_response *answer = item->work->call->answer;
    answer->error_code = group_item_code(item);
    answer->assignment = slice_of("", 0);
    if (answer->error_code != KAFKA_ERR_NONE)
        return;
    answer->assignment = kafka_present(item->call.assignment);
    answer->protocol_type = item->call.protocol_type;
    answer->protocol_name = item->call.protocol;
}

void kafka_handle_sync_group(struct kafka_call *call, struct worker *worker)
{
    (void)worker;
    const struct kafka_sync_group_request *asked = call->body;
    struct group_work *work = group_work_new(call, 1, sync_fill);
    if (work == NULL)
        return;
    struct group_item *item = &work->items[0];
    size_t count = (size_t)(asked->assignments.count < 0 ? 0 : asked->assignments.count);
    struct classic_member_row *rows = kafka_arena_take(&call->arena, (count + 1) * sizeof(*rows));
    group_work_aim(item, asked->group_id);
    if (item->refused == KAFKA_ERR_NONE && (rows == NULL || !ids_fit(asked->member_id, asked->group_instance_id)))
        item->refused = KAFKA_ERR_INVALID_REQUEST;
    for (size_t i = 0; i < count && rows != NULL; i++)
        rows[i] = (struct classic_member_row){.id = kafka_present(asked->assignments.at[i].member_id),
                                              .assignment = kafka_present(asked->assignments.at[i].assignment)};
    item->call.base.verb = GROUP_SYNC;
    item->call.held_bytes = call->held_bytes;
    item->call.member_id = asked->member_id;
    item->call.instance = asked->group_instance_id;
    item->call.generation = asked->generation_id;
    item->call.protocol_type = asked->protocol_type;
    item->call.protocol = asked->protocol_name;
    item->call.rows = rows;
    item->call.row_count = rows == NULL ? 0 : (uint32_t)count;
    group_work_send(work);
}

static void heartbeat_fill(struct group_item *item)
{
    ((struct kafka_heartbeat_response *)item->work->call->answer)->error_code = group_item_code(item);
}

void kafka_handle_heartbeat(struct kafka_call *call, struct worker *worker)
{
    (void)worker;
    const struct kafka_heartbeat_request *asked = call->body;
    struct group_work *work = group_work_new(call, 1, heartbeat_fill);
    if (work == NULL)
        return;
    struct group_item *item = &work->items[0];
    group_work_aim(item, asked->group_id);
    item->call.base.verb = GROUP_HEARTBEAT;
    item->call.member_id = asked->member_id;
    item->call.instance = asked->group_instance_id;
    item->call.generation = asked->generation_id;
    group_work_send(work);
}

static void leave_fill(struct group_item *item)
{
    struct kafka_call *call = item->work->call;
    struct kafka_leave_group_response *answer = call->answer;
    const struct classic_call *from = &item->call;
    answer->error_code = group_item_code(item);
    bool each = answer->error_code == KAFKA_ERR_NONE && from->row_answers != NULL;
    if (call->request.version < FIRST_WITH_ROWS) {
        if (each)
            answer->error_code = group_answer_code(from->row_answers[0]);
        return;
    }
    if (!each || !KAFKA_FILL(&call->arena, answer->members, kafka_leave_group_response_member, from->row_count))
        return;
    for (uint32_t i = 0; i < from->row_count; i++) {
        answer->members.at[i].member_id = from->rows[i].id;
        answer->members.at[i].group_instance_id = from->rows[i].instance;
        answer->members.at[i].error_code = group_answer_code(from->row_answers[i]);
    }
}

void kafka_handle_leave_group(struct kafka_call *call, struct worker *worker)
{
    (void)worker;
    const struct kafka_leave_group_request *asked = call->body;
    struct group_work *work = group_work_new(call, 1, leave_fill);
    if (work == NULL)
        return;
    struct group_item *item = &work->items[0];
    bool one = call->request.version < FIRST_WITH_ROWS;
    size_t count = one ? 1 : (size_t)(asked->members.count < 0 ? 0 : asked->members.count);
    struct classic_member_row *rows = kafka_arena_take(&call->arena, (count + 1) * sizeof(*rows));
    group_work_aim(item, asked->group_id);
    if (item->refused == KAFKA_ERR_NONE && rows == NULL)
        item->refused = KAFKA_ERR_INVALID_REQUEST;
    for (size_t i = 0; i < count && rows != NULL; i++)
        rows[i] = one ? (struct classic_member_row){.id = kafka_present(asked->member_id)}
                      : (struct classic_member_row){.id = kafka_present(asked->members.at[i].member_id),
                                                    .instance = asked->members.at[i].group_instance_id};
    item->call.base.verb = GROUP_LEAVE;
    item->call.rows = rows;
    item->call.row_count = rows == NULL ? 0 : (uint32_t)count;
    group_work_send(work);
}
