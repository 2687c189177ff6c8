/*
 * Members of groups as Kafka's clients are (the classic protocol): they join, one of them
 * shares out the partitions, they read from leaders, commit at the coordinator, come and go.
 * What they read and commit goes into the history. Judged here: who is served as a member of
 * a generation is so only until a newer one has begun, and each partition is one member's.
 */
#include "base/require.h"
#include "log/batch.h"
#include "proto/kafka/api_commits.h"
#include "proto/kafka/api_fetch.h"
#include "proto/kafka/api_groups.h"
#include "proto/kafka/api_offsets.h"
#include "proto/kafka/error.h"
#include "sim/acks.h"
#include "sim/calm.h"
#include "sim/judge.h"
#include "sim/kafka_route.h"
#include "sim/trace.h"
#include "sim/variant.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    JOIN_VERSION = 5,
    SYNC_VERSION = 3,
    HEARTBEAT_VERSION = 3,
    LEAVE_VERSION = 3,
    COMMIT_VERSION = 7,
    OFFSETS_VERSION = 5,
    FETCH_VERSION = 11,
    LIST_VERSION = 4,
    EARLIEST = -2,
    SESSION_MS = 10000,
    REBALANCE_MS = 4000,
    FETCH_MAX_BYTES = 64 * 1024,
    FETCH_WAIT_MS = 200,
    ID_BYTES = 128,
    GROUP_BASE = 5000,     /* of the history: a group a topic */
    READER_BASE = 6000000, /* of the history: a process a reading */
};

struct kafka_member {
    struct client *c;
    struct talk coordinator, leader;
    unsigned topic;
    char group[16], id[ID_BYTES];
    int32_t generation;
    bool mine[CLIENTS_PARTITIONS_MAX];
    int64_t position[CLIENTS_PARTITIONS_MAX]; /* below 0: not known */
    uint32_t process;                         /* of the readings in this generation */
};

/* ---- generations: what all members saw of each -------------------------------------------- */

struct generation {
    unsigned topic;
    int32_t number;
    int64_t begun_ns;                             /* when the first of its members was told so */
    char owner[CLIENTS_PARTITIONS_MAX][ID_BYTES]; /* the member's id; "": nobody */
};

static struct {
    struct generation *at;
    uint32_t count, room;
    uint32_t processes;
} seen;

static struct generation *generation_of(unsigned topic, int32_t number)
{
    for (uint32_t i = 0; i < seen.count; i++)
        if (seen.at[i].topic == topic && seen.at[i].number == number)
            return &seen.at[i];
    if (seen.count == seen.room) {
        seen.room = seen.room * 2 + 32;
        seen.at = realloc(seen.at, seen.room * sizeof *seen.at);
        REQUIRE(seen.at != NULL);
    }
    seen.at[seen.count] = (struct generation){.topic = topic, .number = number, .begun_ns = client_now()};
    return &seen.at[seen.count++];
}

static void judge_given(const struct kafka_member *m)
{
    struct generation *g = generation_of(m->topic, m->generation);
    for (unsigned p = 0; p < CLIENTS_PARTITIONS_MAX; p++) {
        if (!m->mine[p])
            continue;
        if (g->owner[p][0] != '\0' && strcmp(g->owner[p], m->id) != 0 && !clients_lost())
            judge_fails("t%u/%u belongs to two members of generation %d of %s: %s, %s", m->topic, p, m->generation,
                        m->group, g->owner[p], m->id);
        memcpy(g->owner[p], m->id, sizeof m->id);
    }
}

/* It was served as a member, by a call that began then. */
static void judge_served(const struct kafka_member *m, int64_t began_ns)
{
    for (uint32_t i = 0; i < seen.count; i++)
        if (seen.at[i].topic == m->topic && seen.at[i].number > m->generation && seen.at[i].begun_ns < began_ns &&
            !clients_lost())
            judge_fails("a member of generation %d of %s commits, though generation %d has begun at %lld us",
                        m->generation, m->group, seen.at[i].number, (long long)(seen.at[i].begun_ns / 1000));
}

/* ---- joining ---------------------------------------------------------------------------------- */

/* Each partition to one of the members, in turn; an assignment is a byte a partition. */
static bool share_out(struct kafka_member *m, const struct kafka_join_group_response *joined,
                      struct kafka_sync_group_request *ask)
{
    unsigned partitions = clients_plan()->partitions[m->topic];
    int32_t members = joined->members.count;
    if (!slice_equal(joined->leader, joined->member_id) || members < 1)
        return true;
    ask->assignments.at = kafka_arena_take(&m->coordinator.arena, (size_t)members * sizeof *ask->assignments.at);
    uint8_t *all = kafka_arena_take(&m->coordinator.arena, (size_t)members * CLIENTS_PARTITIONS_MAX);
    if (ask->assignments.at == NULL || all == NULL)
        return false;
    ask->assignments.count = members;
    for (int32_t i = 0; i < members; i++) {
        uint8_t *given = all + (size_t)i * CLIENTS_PARTITIONS_MAX;
        size_t count = 0;
        for (unsigned p = (unsigned)i; p < partitions; p += (unsigned)members)
            given[count++] = (uint8_t)p;
        ask->assignments.at[i].member_id = joined->members.at[i].member_id;
        ask->assignments.at[i].assignment = slice_of(given, count);
    }
    return true;
}

static bool sync_up(struct kafka_member *m, const struct kafka_join_group_response *joined)
{
    struct kafka_sync_group_request ask = {.group_id = slice_text(m->group), .generation_id = joined->generation_id};
    ask.member_id = slice_text(m->id);
    m->generation = joined->generation_id;
    if (!share_out(m, joined, &ask))
        return false;
    bool said = talk_say(&m->coordinator, KAFKA_SYNC_GROUP, SYNC_VERSION, &ask);
    const struct kafka_sync_group_response *answer =
        said ? talk_hear(&m->coordinator, KAFKA_SYNC_GROUP, SYNC_VERSION) : NULL;
    trace_say(TRACE_CLIENT, "%u syncs with generation %d of %s: %d", m->c->number, m->generation, m->group,
              answer == NULL ? -1 : answer->error_code);
    if (answer == NULL || answer->error_code != KAFKA_ERR_NONE)
        return false;
    m->process = READER_BASE + ++seen.processes;
    for (unsigned p = 0; p < CLIENTS_PARTITIONS_MAX; p++) {
        m->mine[p] = false;
        m->position[p] = -1;
    }
    for (size_t i = 0; i < answer->assignment.len; i++) {
        REQUIRE(answer->assignment.data[i] < clients_plan()->partitions[m->topic]);
        m->mine[answer->assignment.data[i]] = true;
    }
    judge_given(m);
    return true;
}

static void keep_id(struct kafka_member *m, struct slice id)
{
    REQUIRE(id.len < sizeof m->id);
    memcpy(m->id, id.data, id.len);
    m->id[id.len] = '\0';
}

/* True: a member of a generation whose partitions are known. */
static bool join(struct kafka_member *m)
{
    struct kafka_join_group_request_protocol protocol = {.name = slice_text("turns"), .metadata = slice_text("x")};
    struct kafka_join_group_request ask = {.group_id = slice_text(m->group), .session_timeout_ms = SESSION_MS};
    ask.rebalance_timeout_ms = REBALANCE_MS;
    ask.protocol_type = slice_text("consumer");
    ask.protocols.at = &protocol;
    ask.protocols.count = 1;
    for (unsigned tries = 0; tries < 2; tries++) {
        ask.member_id = slice_text(m->id);
        const struct kafka_join_group_response *answer =
            talk_ask(&m->coordinator, KAFKA_JOIN_GROUP, JOIN_VERSION, &ask);
        trace_say(TRACE_CLIENT, "%u joins %s as %s: %d, generation %d", m->c->number, m->group, m->id,
                  answer == NULL ? -1 : answer->error_code, answer == NULL ? -1 : answer->generation_id);
        if (answer == NULL)
            return false;
        if (answer->error_code == KAFKA_ERR_NONE) {
            keep_id(m, answer->member_id);
            return sync_up(m, answer);
        }
        if (answer->error_code == KAFKA_ERR_UNKNOWN_MEMBER_ID)
            m->id[0] = '\0';
        else if (answer->error_code == KAFKA_ERR_MEMBER_ID_REQUIRED)
            keep_id(m, answer->member_id);
        else
            return false;
    }
    return false;
}

/* ---- offsets ------------------------------------------------------------------------------------- */

static void take_committed(struct kafka_member *m, unsigned p, int64_t committed, int64_t began_ns)
{
    m->position[p] = committed < 0 ? 0 : committed;
    if (!calm_since(m->coordinator.broker, began_ns) || variant_forgets() || clients_lost())
        return;
    uint32_t op = history_begin(clients_history(), m->process, began_ns);
    history_committed(clients_history(), op, GROUP_BASE + m->topic, client_key(m->topic, p),
                      committed < 0 ? HISTORY_OFFSET_NONE : committed);
    history_end(clients_history(), op, HISTORY_OK, client_now());
}

static void ask_committed(struct kafka_member *m, unsigned p)
{
    int32_t index = (int32_t)p;
    struct kafka_offset_fetch_request_topic topic = {.name = kafka_topic_name(m->topic)};
    struct kafka_offset_fetch_request ask = {.group_id = slice_text(m->group)};
    topic.partition_indexes.at = &index;
    topic.partition_indexes.count = 1;
    ask.topics.at = &topic;
    ask.topics.count = 1;
    int64_t began_ns = client_now();
    const struct kafka_offset_fetch_response *answer =
        talk_ask(&m->coordinator, KAFKA_OFFSET_FETCH, OFFSETS_VERSION, &ask);
    if (answer == NULL || answer->error_code != KAFKA_ERR_NONE || answer->topics.count != 1 ||
        answer->topics.at[0].partitions.count != 1 || answer->topics.at[0].partitions.at[0].error_code != 0)
        return;
    int64_t committed = answer->topics.at[0].partitions.at[0].committed_offset;
    trace_say(TRACE_CLIENT, "%u: t%u/%u of %s is committed at %" PRId64, m->c->number, m->topic, p, m->group,
              committed);
    take_committed(m, p, committed, began_ns);
}

/* False: it is no member any more, or nobody knows. */
static bool commit(struct kafka_member *m, unsigned p)
{
    struct kafka_offset_commit_request_partition part = {
        .partition_index = (int32_t)p, .committed_offset = m->position[p], .committed_leader_epoch = -1};
    struct kafka_offset_commit_request_topic topic = {.name = kafka_topic_name(m->topic)};
    struct kafka_offset_commit_request ask = {.group_id = slice_text(m->group), .member_id = slice_text(m->id)};
    ask.generation_id_or_member_epoch = m->generation;
    topic.partitions.at = &part;
    topic.partitions.count = 1;
    ask.topics.at = &topic;
    ask.topics.count = 1;
    int64_t began_ns = client_now();
    uint32_t op = history_begin(clients_history(), m->process, began_ns);
    history_commit(clients_history(), op, GROUP_BASE + m->topic, client_key(m->topic, p), m->position[p]);
    const struct kafka_offset_commit_response *answer =
        talk_ask(&m->coordinator, KAFKA_OFFSET_COMMIT, COMMIT_VERSION, &ask);
    bool heard = answer != NULL && answer->topics.count == 1 && answer->topics.at[0].partitions.count == 1;
    int16_t code = heard ? answer->topics.at[0].partitions.at[0].error_code : -1;
    bool refused = code == KAFKA_ERR_ILLEGAL_GENERATION || code == KAFKA_ERR_UNKNOWN_MEMBER_ID ||
                   code == KAFKA_ERR_REBALANCE_IN_PROGRESS || code == KAFKA_ERR_NOT_COORDINATOR;
    trace_say(TRACE_CLIENT, "%u commits t%u/%u at %" PRId64 ", generation %d: %d", m->c->number, m->topic, p,
              m->position[p], m->generation, code);
    history_end(clients_history(), op,
                code == KAFKA_ERR_NONE ? HISTORY_OK
                : refused              ? HISTORY_FAIL
                                       : HISTORY_INFO,
                client_now());
    if (code == KAFKA_ERR_NONE)
        judge_served(m, began_ns);
    return code == KAFKA_ERR_NONE;
}

/* ---- reading -------------------------------------------------------------------------------------- */

static void take_record(struct kafka_member *m, unsigned p, uint32_t op, const struct record *record)
{
    static char text[32];
    size_t len = record->value.len < sizeof text - 1 ? record->value.len : sizeof text - 1;
    memcpy(text, record->value.data, len);
    text[len] = '\0';
    uint64_t value = text[0] == 'v' ? strtoull(text + 1, NULL, 10) : 0;
    if (value == 0)
        judge_fails("t%u/%u shows at offset %" PRId64 " what nobody wrote: %.30s", m->topic, p, record->off, text);
    if (client_waits_for(value))
        acks_judge_shown(m->topic, value);
    history_read(clients_history(), op, client_key(m->topic, p), record->off, value);
}

/* Whole batches, the first of which may begin before the offset. Gives the offset behind the last. */
static int64_t take_batches(struct kafka_member *m, unsigned p, uint32_t op, struct slice records)
{
    struct cursor in = cursor_over(records.data, records.len);
    int64_t next = m->position[p];
    struct batch_info info;
    const uint8_t *batch;
    while (cursor_left(&in) > 0 && batch_next(&in, &info, &batch) == KQ_OK) {
        struct record_walk walk;
        struct record record;
        if (!batch_crc_ok(batch, &info))
            judge_fails("t%u/%u is shown with a batch at %" PRId64 " that does not match its checksum", m->topic, p,
                        info.base_off);
        record_walk_init(&walk, batch, &info);
        while (record_walk_next(&walk, &record) == KQ_OK)
            if (record.off >= m->position[p])
                take_record(m, p, op, &record);
        next = info.base_off + info.last_offset_delta + 1;
    }
    return next;
}

/* Where the log starts, when a position is no more in it. */
static void go_to_start(struct kafka_member *m, unsigned p)
{
    struct kafka_list_offsets_request_partition part = {.partition_index = (int32_t)p, .timestamp = EARLIEST};
    struct kafka_list_offsets_request_topic topic = {.name = kafka_topic_name(m->topic)};
    struct kafka_list_offsets_request ask = {.replica_id = -1};
    part.current_leader_epoch = -1;
    topic.partitions.at = &part;
    topic.partitions.count = 1;
    ask.topics.at = &topic;
    ask.topics.count = 1;
    const struct kafka_list_offsets_response *answer = talk_ask(&m->leader, KAFKA_LIST_OFFSETS, LIST_VERSION, &ask);
    if (answer == NULL || answer->topics.count != 1 || answer->topics.at[0].partitions.count != 1 ||
        answer->topics.at[0].partitions.at[0].error_code != KAFKA_ERR_NONE)
        return;
    int64_t start = answer->topics.at[0].partitions.at[0].offset;
    trace_say(TRACE_CLIENT, "%u: t%u/%u starts at %" PRId64, m->c->number, m->topic, p, start);
    if (start > m->position[p] && !variant_forgets())
        judge_fails("t%u/%u starts at %" PRId64 ", and nothing may be deleted", m->topic, p, start);
    if (start > m->position[p])
        m->position[p] = start;
}

static void take_fetched(struct kafka_member *m, unsigned p, const struct kafka_fetch_response_partition *found,
                         int64_t began_ns)
{
    uint32_t key = client_key(m->topic, p);
    if (found->error_code != KAFKA_ERR_NONE) {
        trace_say(TRACE_CLIENT, "%u fetches t%u/%u from %" PRId64 ": %d", m->c->number, m->topic, p, m->position[p],
                  found->error_code);
        if (found->error_code == KAFKA_ERR_OFFSET_OUT_OF_RANGE)
            go_to_start(m, p);
        return;
    }
    uint32_t op = history_begin(clients_history(), m->process, began_ns);
    int64_t next = take_batches(m, p, op, found->records);
    history_range(clients_history(), op, key, m->position[p], next);
    if (calm_since(m->leader.broker, began_ns))
        history_log_end(clients_history(), op, key, found->high_watermark);
    if (next > found->high_watermark)
        judge_fails("t%u/%u is shown up to %" PRId64 ", beyond its high watermark %" PRId64, m->topic, p, next,
                    found->high_watermark);
    history_end(clients_history(), op, HISTORY_OK, client_now());
    trace_say(TRACE_CLIENT, "%u fetches t%u/%u from %" PRId64 ": operation %u, up to %" PRId64, m->c->number, m->topic,
              p, m->position[p], op, next);
    m->position[p] = next;
}

static void fetch(struct kafka_member *m, unsigned p)
{
    struct kafka_fetch_request_partition part = {.partition = (int32_t)p, .fetch_offset = m->position[p]};
    struct kafka_fetch_request_topic topic = {.topic = kafka_topic_name(m->topic)};
    struct kafka_fetch_request ask = {.replica_id = -1, .max_wait_ms = FETCH_WAIT_MS, .min_bytes = 1};
    part.current_leader_epoch = -1;
    part.last_fetched_epoch = -1;
    part.partition_max_bytes = ask.max_bytes = FETCH_MAX_BYTES;
    ask.session_epoch = -1;
    topic.partitions.at = &part;
    topic.partitions.count = 1;
    ask.topics.at = &topic;
    ask.topics.count = 1;
    if (!kafka_to_leader(m->c, &m->leader, m->topic, p))
        return;
    int64_t began_ns = client_now();
    const struct kafka_fetch_response *answer = talk_ask(&m->leader, KAFKA_FETCH, FETCH_VERSION, &ask);
    if (answer == NULL || answer->error_code != KAFKA_ERR_NONE || answer->responses.count != 1 ||
        answer->responses.at[0].partitions.count != 1) {
        trace_say(TRACE_CLIENT, "%u fetches t%u/%u: no answer", m->c->number, m->topic, p);
        return;
    }
    take_fetched(m, p, &answer->responses.at[0].partitions.at[0], began_ns);
}

/* ---- a member's life ------------------------------------------------------------------------------ */

/* False: join again. */
static bool heartbeat(struct kafka_member *m)
{
    struct kafka_heartbeat_request ask = {.group_id = slice_text(m->group), .generation_id = m->generation};
    ask.member_id = slice_text(m->id);
    const struct kafka_heartbeat_response *answer = talk_ask(&m->coordinator, KAFKA_HEARTBEAT, HEARTBEAT_VERSION, &ask);
    if (answer != NULL && answer->error_code == KAFKA_ERR_UNKNOWN_MEMBER_ID)
        m->id[0] = '\0';
    return answer != NULL && answer->error_code == KAFKA_ERR_NONE;
}

static void leave(struct kafka_member *m)
{
    struct kafka_leave_group_request_member self = {.member_id = slice_text(m->id)};
    struct kafka_leave_group_request ask = {.group_id = slice_text(m->group)};
    ask.members.at = &self;
    ask.members.count = 1;
    (void)talk_ask(&m->coordinator, KAFKA_LEAVE_GROUP, LEAVE_VERSION, &ask);
    m->id[0] = '\0';
}

/* As one that slept, or was told nothing: it commits what it read before anything else. */
static void commit_late(struct kafka_member *m)
{
    for (unsigned p = 0; p < CLIENTS_PARTITIONS_MAX; p++)
        if (m->mine[p] && m->position[p] >= 0)
            (void)commit(m, p);
}

/* A commit of the generation before, that was long on its way. */
static void commit_of_old(struct kafka_member *m)
{
    m->generation--;
    for (unsigned p = 0; p < CLIENTS_PARTITIONS_MAX && m->mine[p]; p++) {
        m->position[p] = 0;
        (void)commit(m, p);
        m->position[p] = -1;
    }
    m->generation++;
}

/* Reads and commits while it belongs to the generation, or for as long as it likes. */
static void take_part(struct kafka_member *m)
{
    unsigned rounds = 1 + (unsigned)chance_below(&m->c->chance, 40);
    if (m->generation > 1 && chance_once_in(&m->c->chance, 2))
        commit_of_old(m);
    while (rounds-- > 0 && !clients_stopping() && heartbeat(m)) {
        for (unsigned p = 0; p < CLIENTS_PARTITIONS_MAX; p++) {
            if (!m->mine[p])
                continue;
            if (m->position[p] < 0)
                ask_committed(m, p);
            if (m->position[p] < 0)
                continue;
            fetch(m, p);
            if (chance_once_in(&m->c->chance, 2) && !commit(m, p))
                return;
        }
        fiber_sleep(chance_magnitude(&m->c->chance, 1, 500) * MS_NS);
        if (chance_once_in(&m->c->chance, 30)) {
            fiber_sleep(chance_between(&m->c->chance, REBALANCE_MS, 2 * SESSION_MS) * MS_NS);
            commit_late(m);
        }
    }
    if (m->coordinator.fd >= 0 && chance_once_in(&m->c->chance, 2))
        leave(m);
    else if (chance_once_in(&m->c->chance, 2))
        m->id[0] = '\0'; /* as one that died, and comes back */
}

void *kafka_member_main(void *argument)
{
    struct client *c = argument;
    struct kafka_member *m = calloc(1, sizeof *m);
    REQUIRE(m != NULL);
    *m = (struct kafka_member){.c = c, .coordinator = {.fd = -1}, .leader = {.fd = -1}};
    m->topic = (unsigned)chance_below(&c->chance, clients_plan()->topics);
    (void)snprintf(m->group, sizeof m->group, "kafka%u", m->topic);
    while (!clients_stopping()) {
        bool there = kafka_to_coordinator(c, &m->coordinator, m->group);
        if (there && join(m))
            take_part(m);
        else if (there && m->id[0] != '\0' && chance_once_in(&c->chance, 2))
            commit_late(m);
        fiber_sleep(chance_between(&c->chance, 20, 800) * MS_NS);
        if (chance_once_in(&c->chance, 3))
            talk_close(&m->coordinator);
    }
    talk_fini(&m->coordinator);
    talk_fini(&m->leader);
    free(m);
    client_free(c);
    return NULL;
}
