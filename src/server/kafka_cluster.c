/*
 * What operators' tools ask of a cluster: DescribeLogDirs, ElectLeaders, DescribeQuorum,
 * DescribeProducers.
 */
#include "base/clock.h"
#include "base/require.h"
#include "cluster/links.h"
#include "proto/kafka/api_cluster.h"
#include "proto/kafka/api_producers.h"
#include "proto/kafka/api_topics.h"
#include "server/kafka_admin.h"
#include "server/kafka_asking.h"

#include <stdlib.h>

/* ---- DescribeLogDirs ------------------------------------------------------------------------- */

/* Partition p of the topic, if it has a replica here: *count of them are in the list. */
static void add_log(const struct image_topic *topic, uint32_t p,
                    struct kafka_describe_log_dirs_response_partition *list, int32_t *count)
{
    struct partition *partition = image_partition(topic, p);
    struct partition_status status;
    if (partition == NULL)
        return;
    partition_status(partition, &status);
    list[(*count)++] = (struct kafka_describe_log_dirs_response_partition){
        .partition_index = (int32_t)p, .partition_size = (int64_t)status.size_bytes};
}

static bool asks_for(const struct kafka_describe_log_dirs_request_topic *asked, uint32_t p)
{
    if (asked == NULL || asked->partitions.count <= 0)
        return true;
    for (int32_t i = 0; i < asked->partitions.count; i++)
        if (asked->partitions.at[i] == (int32_t)p)
            return true;
    return false;
}

/* asked NULL: all of it. */
static void add_logs(struct kafka_call *call, const struct image_topic *topic,
                     const struct kafka_describe_log_dirs_request_topic *asked,
                     struct kafka_describe_log_dirs_response_result *to)
{
    struct kafka_describe_log_dirs_response_topic *row = &to->topics.at[to->topics.count];
    uint32_t partitions = image_topic_partitions(topic);
    const char *name = image_topic_name(topic);
    if (!KAFKA_FILL(&call->arena, row->partitions, kafka_describe_log_dirs_response_partition, partitions))
        return;
    row->name = kafka_arena_copy(&call->arena, name, strlen(name));
    row->partitions.count = 0;
    for (uint32_t p = 0; p < partitions; p++)
        if (asks_for(asked, p))
            add_log(topic, p, row->partitions.at, &row->partitions.count);
    to->topics.count += row->partitions.count > 0;
}

/* There is one folder; a follower's lag is not known to it. */
void kafka_handle_describe_log_dirs(struct kafka_call *call, struct worker *worker)
{
    (void)worker;
    const struct kafka_describe_log_dirs_request *asked = call->body;
    struct kafka_describe_log_dirs_response *answer = call->answer;
    struct image *image = cluster_image(call->broker->cluster);
    size_t all = image_topic_count(image);
    bool wants_all = asked->topics.count < 0;
    if (KAFKA_FILL(&call->arena, answer->results, kafka_describe_log_dirs_response_result, 1)) {
        struct kafka_describe_log_dirs_response_result *to = &answer->results.at[0];
        const char *dir = cluster_data_dir(call->broker->cluster, &to->usable_bytes);
        to->log_dir = kafka_arena_copy(&call->arena, dir, strlen(dir));
        to->total_bytes = -1;
        if (KAFKA_FILL(&call->arena, to->topics, kafka_describe_log_dirs_response_topic,
                       wants_all ? all : (size_t)asked->topics.count)) {
            to->topics.count = 0;
            for (size_t i = 0; wants_all && i < all; i++)
                add_logs(call, image_topic_at(image, i), NULL, to);
            for (int32_t i = 0; i < asked->topics.count; i++) {
                struct slice name = asked->topics.at[i].topic;
                const struct image_topic *topic = image_find(image, (const char *)name.data, name.len);
                if (topic != NULL)
                    add_logs(call, topic, &asked->topics.at[i], to);
            }
        }
    }
    image_drop(&image);
    kafka_call_answered(call);
}

/* ---- ElectLeaders ------------------------------------------------------------------------------- */

enum { ELECT_PREFERRED = 0, ELECT_UNCLEAN = 1 };

/* One partition after the other: each takes a round trip or two. */
struct electing {
    struct kafka_call *call;
    struct cluster_order order;
    char name[TOPIC_NAME_MAX_BYTES + 1];
    int64_t deadline_us;
    int32_t topic; /* of the answer: the next to look at */
    int32_t partition;
};

static void electing_fini(struct kafka_call *call)
{
    free(call->own);
}

static void elect_refuse(struct kafka_elect_leaders_response_partition *to, int16_t code, struct slice why)
{
    to->error_code = code;
    to->error_message = why;
}

/* The preferred leader, if it is to be asked for; 0: the answer is there. */
static uint32_t elect_whom(struct kafka_call *call, struct slice name,
                           struct kafka_elect_leaders_response_partition *to)
{
    const struct kafka_elect_leaders_request *asked = call->body;
    struct cluster *cluster = call->broker->cluster;
    struct image *image = cluster_image(cluster);
    const struct image_topic *topic = image_find(image, (const char *)name.data, name.len);
    uint32_t whom = 0;
    if (topic == NULL || to->partition_id < 0 || (uint32_t)to->partition_id >= image_topic_partitions(topic)) {
        elect_refuse(to, KAFKA_ERR_UNKNOWN_TOPIC_OR_PARTITION, slice_text("there is no such partition"));
    } else {
        uint32_t count, p = (uint32_t)to->partition_id;
        uint32_t preferred = image_replicas(topic, p, &count)[0];
        uint32_t leader = cluster_leader(cluster, image_topic_id(topic), p, NULL);
        bool unclean = asked->election_type == ELECT_UNCLEAN;
        if (leader == preferred || (unclean && leader != 0))
            elect_refuse(to, KAFKA_ERR_ELECTION_NOT_NEEDED, slice_text("it has that leader, or one, already"));
        else if (unclean)
            elect_refuse(to, KAFKA_ERR_ELIGIBLE_LEADERS_NOT_AVAILABLE,
                         slice_text("a leader without all that is committed is never made; a majority of the "
                                    "partition's brokers has to come back"));
        else if (!links_is_alive(cluster_links(cluster), preferred))
            elect_refuse(to, KAFKA_ERR_PREFERRED_LEADER_NOT_AVAILABLE, slice_text("the preferred leader is not heard"));
        else
            whom = preferred;
    }
    image_drop(&image);
    return whom;
}

static void elect_go_on(struct kafka_call *call, struct worker *worker);

static void elected(struct cluster_order *order)
{
    struct electing *electing = CONTAINER_OF(order, struct electing, order);
    struct kafka_elect_leaders_response *answer = electing->call->answer;
    struct kafka_elect_leaders_response_partition *to =
        &answer->replica_election_results.at[electing->topic].partition_result.at[electing->partition];
    if (order->fault.err != KQ_OK)
        elect_refuse(to, KAFKA_ERR_PREFERRED_LEADER_NOT_AVAILABLE, kafka_text(electing->call, &order->fault));
    electing->partition++;
    kafka_call_wants_worker(electing->call, elect_go_on);
}

static void elect_go_on(struct kafka_call *call, struct worker *worker)
{
    (void)worker;
    struct electing *electing = call->own;
    struct kafka_elect_leaders_response *answer = call->answer;
    for (; electing->topic < answer->replica_election_results.count; electing->topic++, electing->partition = 0) {
        struct kafka_elect_leaders_response_result *result = &answer->replica_election_results.at[electing->topic];
        for (; electing->partition < result->partition_result.count; electing->partition++) {
            struct kafka_elect_leaders_response_partition *to = &result->partition_result.at[electing->partition];
            uint32_t whom = elect_whom(call, result->topic, to);
            if (whom == 0 || !kafka_c_text(result->topic, electing->name, sizeof(electing->name)))
                continue;
            if (clock_mono_us() >= electing->deadline_us) {
                elect_refuse(to, KAFKA_ERR_REQUEST_TIMED_OUT, slice_text("it was not asked within the timeout"));
                continue;
            }
            electing->order = (struct cluster_order){.done = elected,
                                                     .verb = CLUSTER_TRANSFER,
                                                     .broker = whom,
                                                     .topic = electing->name,
                                                     .partition = (uint32_t)to->partition_id};
            cluster_order(call->broker->cluster, &electing->order);
            return;
        }
    }
    kafka_call_answered(call);
}

/* The partitions that are named. False: no room. */
static bool elect_fill_named(struct kafka_call *call)
{
    const struct kafka_elect_leaders_request *asked = call->body;
    struct kafka_elect_leaders_response *answer = call->answer;
    if (!KAFKA_FILL(&call->arena, answer->replica_election_results, kafka_elect_leaders_response_result,
                    asked->topic_partitions.count))
        return false;
    for (int32_t t = 0; t < asked->topic_partitions.count; t++) {
        const struct kafka_elect_leaders_request_topic *from = &asked->topic_partitions.at[t];
        struct kafka_elect_leaders_response_result *to = &answer->replica_election_results.at[t];
        to->topic = from->topic;
        if (!KAFKA_FILL(&call->arena, to->partition_result, kafka_elect_leaders_response_partition,
                        from->partitions.count))
            return false;
        for (int32_t p = 0; p < from->partitions.count; p++)
            to->partition_result.at[p].partition_id = from->partitions.at[p];
    }
    return true;
}

/* All that have another leader than the preferred one. False: no room. */
static bool elect_fill_all(struct kafka_call *call)
{
    struct kafka_elect_leaders_response *answer = call->answer;
    struct cluster *cluster = call->broker->cluster;
    struct image *image = cluster_image(cluster);
    size_t topics = image_topic_count(image);
    bool ok = KAFKA_FILL(&call->arena, answer->replica_election_results, kafka_elect_leaders_response_result, topics);
    answer->replica_election_results.count = 0;
    for (size_t t = 0; ok && t < topics; t++) {
        const struct image_topic *topic = image_topic_at(image, t);
        const char *name = image_topic_name(topic);
        uint32_t partitions = image_topic_partitions(topic);
        struct kafka_elect_leaders_response_result *to =
            &answer->replica_election_results.at[answer->replica_election_results.count];
        ok = KAFKA_FILL(&call->arena, to->partition_result, kafka_elect_leaders_response_partition, partitions);
        if (!ok)
            break;
        to->topic = kafka_arena_copy(&call->arena, name, strlen(name));
        to->partition_result.count = 0;
        for (uint32_t p = 0; p < partitions; p++) {
            uint32_t count;
            if (cluster_leader(cluster, image_topic_id(topic), p, NULL) != image_replicas(topic, p, &count)[0])
                to->partition_result.at[to->partition_result.count++].partition_id = (int32_t)p;
        }
        answer->replica_election_results.count += to->partition_result.count > 0;
    }
    image_drop(&image);
    return ok;
}

void kafka_handle_elect_leaders(struct kafka_call *call, struct worker *worker)
{
    const struct kafka_elect_leaders_request *asked = call->body;
    struct kafka_elect_leaders_response *answer = call->answer;
    struct electing *electing = calloc(1, sizeof(*electing));
    call->own = electing;
    call->fini = electing_fini;
    if (electing == NULL || asked->election_type < ELECT_PREFERRED || asked->election_type > ELECT_UNCLEAN) {
        answer->error_code = electing == NULL ? KAFKA_ERR_UNKNOWN_SERVER_ERROR : KAFKA_ERR_INVALID_REQUEST;
        kafka_call_answered(call);
        return;
    }
    electing->call = call;
    electing->deadline_us = clock_mono_us() + admin_timeout_us(asked->timeout_ms);
    bool ok = asked->topic_partitions.count < 0 ? elect_fill_all(call) : elect_fill_named(call);
    if (ok)
        elect_go_on(call, worker);
    else
        kafka_call_answered(call); /* the arena has failed: the connection ends */
}

/* ---- DescribeQuorum ---------------------------------------------------------------------------------- */

enum { QUORUM_WAIT_US = 5 * 1000 * 1000 };

struct quorum {
    struct kafka_call *call;
    struct cluster_quorum asked;
    struct kafka_describe_quorum_response_partition *to;
};

static void quorum_fini(struct kafka_call *call)
{
    free(call->own);
}

static void fill_replica(const struct partition_member_row *row, bool known,
                         struct kafka_describe_quorum_response_replica *to)
{
    int64_t now_ms = clock_wall_ms();
    to->replica_id = (int32_t)row->member.broker_id;
    to->replica_directory_id = row->member.incarnation;
    to->log_end_offset = known ? row->end_off : -1;
    to->last_fetch_timestamp = known && row->linked ? now_ms : -1;
    to->last_caught_up_timestamp = known && row->in_sync ? now_ms : -1;
}

/* Any thread. What others have is known to the leader alone. */
static void quorum_told(struct cluster_quorum *asked)
{
    struct quorum *q = CONTAINER_OF(asked, struct quorum, asked);
    const struct partition_ask *ask = &asked->told;
    struct kafka_call *call = q->call;
    struct kafka_describe_quorum_response_partition *to = q->to;
    uint32_t self = cluster_self(call->broker->cluster);
    if (ask->fault.err != KQ_OK) {
        to->error_code = kafka_code(&ask->fault);
        to->error_message = kafka_text(call, &ask->fault);
        kafka_call_answered(call);
        return;
    }
    to->leader_id = ask->leader.broker_id == 0 ? -1 : (int32_t)ask->leader.broker_id;
    to->leader_epoch = (int32_t)ask->term;
    to->high_watermark = ask->off;
    if (!KAFKA_FILL(&call->arena, to->current_voters, kafka_describe_quorum_response_replica, ask->member_count) ||
        !KAFKA_FILL(&call->arena, to->observers, kafka_describe_quorum_response_replica, ask->member_count)) {
        kafka_call_answered(call);
        return;
    }
    to->current_voters.count = to->observers.count = 0;
    for (uint32_t i = 0; i < ask->member_count; i++) {
        const struct partition_member_row *row = &ask->members[i];
        bool known = asked->by_leader || row->member.broker_id == self;
        bool votes = (row->kinds & RAFT_SEAT_VOTER) != 0;
        fill_replica(row, known,
                     votes ? &to->current_voters.at[to->current_voters.count++]
                           : &to->observers.at[to->observers.count++]);
    }
    kafka_call_answered(call);
}

/* Where brokers are found, from version 2 on. */
static void fill_nodes(struct kafka_call *call)
{
    struct kafka_describe_quorum_response *answer = call->answer;
    struct image *image = cluster_image(call->broker->cluster);
    size_t count = image_broker_count(image);
    if (KAFKA_FILL(&call->arena, answer->nodes, kafka_describe_quorum_response_node, count)) {
        answer->nodes.count = 0;
        for (size_t i = 0; i < count; i++) {
            struct kafka_describe_quorum_response_node *node = &answer->nodes.at[answer->nodes.count];
            struct kafka_address address;
            if (!kafka_address_of(call, image, image_broker_at(image, i)->id, &address) ||
                !KAFKA_FILL(&call->arena, node->listeners, kafka_describe_quorum_response_listener, 1))
                continue;
            node->node_id = (int32_t)address.broker_id;
            node->listeners.at[0].name = slice_text("PLAINTEXT");
            node->listeners.at[0].host = kafka_arena_copy(&call->arena, address.host, strlen(address.host));
            node->listeners.at[0].port = address.port;
            answer->nodes.count++;
        }
    }
    image_drop(&image);
}

/* The one partition that Kafka knows a quorum of: __cluster_metadata-0. NULL: no room. */
static struct kafka_describe_quorum_response_partition *quorum_fill(struct kafka_call *call)
{
    const struct kafka_describe_quorum_request *asked = call->body;
    struct kafka_describe_quorum_response *answer = call->answer;
    bool one = asked->topics.count == 1 && asked->topics.at[0].partitions.count == 1;
    if (!one || !slice_equal_text(asked->topics.at[0].topic_name, "__cluster_metadata") ||
        asked->topics.at[0].partitions.at[0].partition_index != 0) {
        answer->error_code = KAFKA_ERR_INVALID_REQUEST;
        answer->error_message = slice_text("the quorum of __cluster_metadata, partition 0, can be asked for");
        return NULL;
    }
    if (!KAFKA_FILL(&call->arena, answer->topics, kafka_describe_quorum_response_topic, 1) ||
        !KAFKA_FILL(&call->arena, answer->topics.at[0].partitions, kafka_describe_quorum_response_partition, 1))
        return NULL;
    answer->topics.at[0].topic_name = asked->topics.at[0].topic_name;
    fill_nodes(call);
    return &answer->topics.at[0].partitions.at[0];
}

void kafka_handle_describe_quorum(struct kafka_call *call, struct worker *worker)
{
    (void)worker;
    struct quorum *q = calloc(1, sizeof(*q));
    struct kafka_describe_quorum_response_partition *to = q == NULL ? NULL : quorum_fill(call);
    call->own = q;
    call->fini = quorum_fini;
    if (to == NULL) {
        kafka_call_answered(call);
        return;
    }
    *q = (struct quorum){.call = call, .to = to};
    q->asked = (struct cluster_quorum){.deadline_us = clock_mono_us() + QUORUM_WAIT_US, .done = quorum_told};
    cluster_ask_quorum(call->broker->cluster, &q->asked);
}

/* ---- DescribeProducers --------------------------------------------------------------------------------- */

static void producers_fill(struct asking_one *one)
{
    struct kafka_describe_producers_response_partition *to = one->answer;
    struct kafka_call *call = one->asking->call;
    const struct partition_ask *ask = &one->ask;
    if (ask->fault.err != KQ_OK) {
        to->error_code = kafka_code(&ask->fault);
        to->error_message = kafka_text(call, &ask->fault);
        return;
    }
    if (!KAFKA_FILL(&call->arena, to->active_producers, kafka_describe_producers_response_producer,
                    ask->producer_count))
        return;
    for (uint32_t i = 0; i < ask->producer_count; i++)
        to->active_producers.at[i] = (struct kafka_describe_producers_response_producer){
            .producer_id = ask->producers[i].id,
            .producer_epoch = ask->producers[i].epoch,
            .last_sequence = ask->producers[i].last_sequence,
            .last_timestamp = ask->producers[i].wrote_ms,
            .coordinator_epoch = -1,
            .current_txn_start_offset = -1,
        };
}

void kafka_handle_describe_producers(struct kafka_call *call, struct worker *worker)
{
    (void)worker;
    const struct kafka_describe_producers_request *asked = call->body;
    struct kafka_describe_producers_response *answer = call->answer;
    size_t count = 0;
    for (int32_t t = 0; t < asked->topics.count; t++)
        count += (size_t)asked->topics.at[t].partition_indexes.count;
    struct asking *asking = asking_new(call, count, producers_fill);
    if (asking == NULL)
        return;
    struct image *image = cluster_image(call->broker->cluster);
    bool ok = KAFKA_FILL(&call->arena, answer->topics, kafka_describe_producers_response_topic, asked->topics.count);
    for (int32_t t = 0; ok && t < asked->topics.count; t++) {
        const struct kafka_describe_producers_request_topic *from = &asked->topics.at[t];
        struct kafka_describe_producers_response_topic *to = &answer->topics.at[t];
        to->name = from->name;
        ok = KAFKA_FILL(&call->arena, to->partitions, kafka_describe_producers_response_partition,
                        from->partition_indexes.count);
        for (int32_t p = 0; ok && p < from->partition_indexes.count; p++) {
            struct partition *partition = NULL;
            uint64_t term = 0;
            to->partitions.at[p].partition_index = from->partition_indexes.at[p];
            to->partitions.at[p].error_code =
                asking_find_leader(call, image, from->name, from->partition_indexes.at[p], -1, &partition, &term);
            struct partition_ask ask = {.question = PARTITION_ASK_PRODUCERS};
            if (to->partitions.at[p].error_code == KAFKA_ERR_NONE)
                asking_add(asking, partition, &ask, &to->partitions.at[p]);
        }
    }
    image_drop(&image);
    asking_send(asking);
}
