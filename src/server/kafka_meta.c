/*
 * ApiVersions, Metadata, DescribeCluster: what a client asks before anything else.
 *
 * A topic that this broker does not know may be ahead of its metadata: what is committed
 * is asked for once, before a topic is called unknown, or made because a client named it.
 */
#include "api/topics.h"
#include "base/require.h"
#include "cluster/links.h"
#include "proto/kafka/api_cluster.h"
#include "proto/kafka/api_metadata.h"
#include "proto/kafka/api_versions.h"
#include "server/kafka_internal.h"

#include <limits.h>
#include <stdlib.h>

/* ---- ApiVersions --------------------------------------------------------------------------- */

static bool is_spoken(const struct kafka_api *api, void *context)
{
    (void)context;
    return kafka_handler_of(api->key) != NULL;
}

void kafka_handle_api_versions(struct kafka_call *call, struct worker *worker)
{
    (void)worker;
    /* A version that is not ours has no body that could be read. */
    int16_t code = call->body == NULL ? KAFKA_ERR_UNSUPPORTED_VERSION : KAFKA_ERR_NONE;
    (void)kafka_versions_fill(call->answer, &call->arena, code, is_spoken, NULL);
    kafka_call_answered(call);
}

/* ---- brokers --------------------------------------------------------------------------------- */

/* As long as Kafka's own (broker.session.timeout.ms). A broker that the machine kept waiting for a second is not gone:
 * clients close their connections to one that is not listed, among them those on which a group's answers come. */
enum { LISTED_SILENT_US = 9 * 1000 * 1000 };

/* Those that live, or did just now, and that Kafka clients can reach; *count of them. NULL: no room. */
static struct kafka_address *addresses_now(struct kafka_call *call, const struct image *image, size_t *count)
{
    struct links *links = cluster_links(call->broker->cluster);
    size_t all = image_broker_count(image);
    struct kafka_address *list = kafka_arena_take(&call->arena, (all + 1) * sizeof(*list));
    *count = 0;
    for (size_t i = 0; i < all && list != NULL; i++) {
        uint32_t id = image_broker_at(image, i)->id;
        if (!links_is_silent(links, id, LISTED_SILENT_US) && kafka_address_of(call, image, id, &list[*count]))
            (*count)++;
    }
    return list;
}

/* The controller, if it is among those that are listed; else -1. */
static int32_t listed_controller(struct kafka_call *call, const struct kafka_address *list, size_t count)
{
    uint32_t controller = cluster_controller(call->broker->cluster);
    for (size_t i = 0; i < count; i++)
        if (list[i].broker_id == controller)
            return (int32_t)controller;
    return -1;
}

void kafka_handle_describe_cluster(struct kafka_call *call, struct worker *worker)
{
    (void)worker;
    const struct kafka_describe_cluster_request *asked = call->body;
    struct kafka_describe_cluster_response *answer = call->answer;
    struct image *image = cluster_image(call->broker->cluster);
    struct uuid cluster_id = image_cluster_id(image);
    size_t count;
    const struct kafka_address *list = addresses_now(call, image, &count);
    answer->endpoint_type = asked->endpoint_type;
    answer->cluster_id = kafka_uuid_text(call, &cluster_id);
    answer->controller_id = listed_controller(call, list, count);
    answer->cluster_authorized_operations = INT32_MIN;
    if (asked->endpoint_type != 1) { /* brokers; there are no controllers of their own */
        answer->error_code = KAFKA_ERR_UNSUPPORTED_ENDPOINT_TYPE;
        count = 0;
    }
    if (KAFKA_FILL(&call->arena, answer->brokers, kafka_describe_cluster_response_broker, count)) {
        for (size_t i = 0; i < count; i++) {
            answer->brokers.at[i].broker_id = (int32_t)list[i].broker_id;
            answer->brokers.at[i].host = slice_text(list[i].host);
            answer->brokers.at[i].port = list[i].port;
        }
    }
    image_drop(&image);
    kafka_call_answered(call);
}

/* ---- Metadata ---------------------------------------------------------------------------------- */

/* One request on its way. */
struct metadata_look {
    struct kafka_call *call;
    struct cluster_request catch_up;
    struct topic_request create;
    char name[TOPIC_NAME_MAX_BYTES + 1];
    bool caught_up;
    int32_t next; /* of the topics asked for: those before it were looked at, and made if need be */
    struct fault fault;
};

static void look_fini(struct kafka_call *call)
{
    free(call->own);
}

static void metadata_go_on(struct kafka_call *call, struct worker *worker);

static void fill_ids(struct kafka_call *call, struct kafka_metadata_response_partition *p, const uint32_t *brokers,
                     uint32_t count)
{
    struct links *links = cluster_links(call->broker->cluster);
    int32_t *ids = kafka_arena_take(&call->arena, 3 * count * sizeof(*ids));
    if (ids == NULL)
        return;
    p->replica_nodes.at = ids;
    p->isr_nodes.at = ids + count;
    p->offline_replicas.at = ids + 2 * count;
    for (uint32_t i = 0; i < count; i++) {
        p->replica_nodes.at[p->replica_nodes.count++] = (int32_t)brokers[i];
        if (links_is_alive(links, brokers[i]))
            p->isr_nodes.at[p->isr_nodes.count++] = (int32_t)brokers[i];
        else
            p->offline_replicas.at[p->offline_replicas.count++] = (int32_t)brokers[i];
    }
}

static void fill_topic(struct kafka_call *call, const struct image_topic *topic,
                       struct kafka_metadata_response_topic *to)
{
    const char *name = image_topic_name(topic);
    uint32_t partitions = image_topic_partitions(topic);
    to->name = kafka_arena_copy(&call->arena, name, strlen(name));
    to->topic_id = *image_topic_id(topic);
    to->is_internal = image_topic_internal(topic);
    to->topic_authorized_operations = INT32_MIN;
    if (!KAFKA_FILL(&call->arena, to->partitions, kafka_metadata_response_partition, partitions))
        return;
    for (uint32_t i = 0; i < partitions; i++) {
        struct kafka_metadata_response_partition *p = &to->partitions.at[i];
        uint64_t term = 0;
        uint32_t count, leader = cluster_leader(call->broker->cluster, image_topic_id(topic), i, &term);
        const uint32_t *replicas = image_replicas(topic, i, &count);
        p->partition_index = (int32_t)i;
        p->leader_id = leader == 0 ? -1 : (int32_t)leader;
        p->leader_epoch = leader == 0 ? -1 : kafka_epoch_of(term);
        p->error_code = leader == 0 ? KAFKA_ERR_LEADER_NOT_AVAILABLE : KAFKA_ERR_NONE;
        fill_ids(call, p, replicas, count);
    }
}

static void fill_brokers(struct kafka_call *call, const struct image *image)
{
    struct kafka_metadata_response *answer = call->answer;
    struct uuid cluster_id = image_cluster_id(image);
    size_t count;
    const struct kafka_address *list = addresses_now(call, image, &count);
    answer->cluster_id = kafka_uuid_text(call, &cluster_id);
    answer->controller_id = listed_controller(call, list, count);
    answer->cluster_authorized_operations = INT32_MIN;
    if (!KAFKA_FILL(&call->arena, answer->brokers, kafka_metadata_response_broker, count))
        return;
    for (size_t i = 0; i < count; i++) {
        answer->brokers.at[i].node_id = (int32_t)list[i].broker_id;
        answer->brokers.at[i].host = slice_text(list[i].host);
        answer->brokers.at[i].port = list[i].port;
    }
}

static bool asks_for_all(const struct kafka_call *call)
{
    const struct kafka_metadata_request *asked = call->body;
    return asked->topics.count < 0 || (asked->topics.count == 0 && call->request.version == 0);
}

static void fill_all(struct kafka_call *call, const struct image *image)
{
    struct kafka_metadata_response *answer = call->answer;
    size_t count = image_topic_count(image);
    if (KAFKA_FILL(&call->arena, answer->topics, kafka_metadata_response_topic, count))
        for (size_t i = 0; i < count; i++)
            fill_topic(call, image_topic_at(image, i), &answer->topics.at[i]);
}

static bool by_id(const struct kafka_metadata_request_topic *asked)
{
    return !uuid_is_zero(&asked->topic_id);
}

static struct image_topic *find_asked(const struct image *image, const struct kafka_metadata_request_topic *asked)
{
    return by_id(asked) ? image_find_id(image, &asked->topic_id)
                        : image_find(image, (const char *)asked->name.data, asked->name.len);
}

static int16_t code_of_unknown(const struct metadata_look *look, const struct kafka_metadata_request_topic *asked)
{
    if (by_id(asked))
        return KAFKA_ERR_UNKNOWN_TOPIC_ID;
    if (cluster_check_topic_name((const char *)asked->name.data, asked->name.len, NULL) != KQ_OK)
        return KAFKA_ERR_INVALID_TOPIC_EXCEPTION;
    if (look != NULL && look->fault.err != KQ_OK)
        return kafka_code(&look->fault);
    return KAFKA_ERR_UNKNOWN_TOPIC_OR_PARTITION;
}

static void fill_asked(struct kafka_call *call, const struct image *image)
{
    const struct kafka_metadata_request *asked = call->body;
    struct kafka_metadata_response *answer = call->answer;
    if (!KAFKA_FILL(&call->arena, answer->topics, kafka_metadata_response_topic, asked->topics.count))
        return;
    for (int32_t i = 0; i < asked->topics.count; i++) {
        struct kafka_metadata_response_topic *to = &answer->topics.at[i];
        const struct image_topic *topic = find_asked(image, &asked->topics.at[i]);
        if (topic != NULL) {
            fill_topic(call, topic, to);
            continue;
        }
        to->name = asked->topics.at[i].name;
        to->topic_id = asked->topics.at[i].topic_id;
        to->topic_authorized_operations = INT32_MIN;
        to->error_code = code_of_unknown(call->own, &asked->topics.at[i]);
    }
}

static void metadata_answer(struct kafka_call *call)
{
    struct image *image = cluster_image(call->broker->cluster);
    fill_brokers(call, image);
    if (asks_for_all(call))
        fill_all(call, image);
    else
        fill_asked(call, image);
    image_drop(&image);
    kafka_call_answered(call);
}

/* The next topic that was asked for by a name that could be a topic's, and is not known. */
static bool next_unknown(const struct kafka_call *call, int32_t *next)
{
    const struct kafka_metadata_request *asked = call->body;
    if (asks_for_all(call))
        return false;
    struct image *image = cluster_image(call->broker->cluster);
    for (; *next < asked->topics.count; ++*next)
        if (find_asked(image, &asked->topics.at[*next]) == NULL &&
            code_of_unknown(NULL, &asked->topics.at[*next]) != KAFKA_ERR_INVALID_TOPIC_EXCEPTION)
            break;
    image_drop(&image);
    return *next < asked->topics.count;
}

static void caught_up(struct cluster_request *request)
{
    struct metadata_look *look = CONTAINER_OF(request, struct metadata_look, catch_up);
    look->caught_up = true;
    if (request->fault.err != KQ_OK) { /* what is not known cannot be called unknown; try again */
        look->fault = (struct fault){.err = KQ_NO_LEADER};
        look->next = INT32_MAX;
    }
    kafka_call_wants_worker(look->call, metadata_go_on);
}

static void created(struct topic_request *request)
{
    struct metadata_look *look = CONTAINER_OF(request, struct metadata_look, create);
    bool refused = request->fault.err != KQ_OK && request->fault.err != KQ_EXISTS;
    if (refused)
        look->fault = request->fault;
    look->next = refused ? INT32_MAX : look->next + 1;
    kafka_call_wants_worker(look->call, metadata_go_on);
}

/* Whether the topic is to be made because it was named. */
static bool may_create(const struct kafka_call *call, const struct kafka_metadata_request_topic *asked)
{
    const struct kafka_metadata_request *body = call->body;
    bool on = atomic_load_explicit(&call->broker->config->auto_create_topics, memory_order_relaxed) != 0;
    return on && !by_id(asked) && (body->allow_auto_topic_creation || call->request.version < 4);
}

static void create_named(struct kafka_call *call, struct metadata_look *look)
{
    const struct kafka_metadata_request *asked = call->body;
    const struct config *config = call->broker->config;
    if (!kafka_c_text(asked->topics.at[look->next].name, look->name, sizeof(look->name))) {
        metadata_answer(call);
        return;
    }
    look->create = (struct topic_request){
        .done = created,
        .name = look->name,
        .partitions = (uint32_t)atomic_load_explicit(&config->num_partitions, memory_order_relaxed),
        .replicas = (uint32_t)atomic_load_explicit(&config->default_replicas, memory_order_relaxed),
    };
    topic_create(call->broker, &look->create);
}

static void metadata_go_on(struct kafka_call *call, struct worker *worker)
{
    (void)worker;
    struct metadata_look *look = call->own;
    const struct kafka_metadata_request *asked = call->body;
    while (next_unknown(call, &look->next)) {
        if (may_create(call, &asked->topics.at[look->next])) {
            create_named(call, look);
            return;
        }
        look->next++;
    }
    metadata_answer(call);
}

void kafka_handle_metadata(struct kafka_call *call, struct worker *worker)
{
    (void)worker;
    int32_t next = 0;
    struct metadata_look *look = next_unknown(call, &next) ? calloc(1, sizeof(*look)) : NULL;
    if (look == NULL) {
        metadata_answer(call);
        return;
    }
    call->own = look;
    call->fini = look_fini;
    look->call = call;
    look->catch_up.done = caught_up;
    cluster_catch_up(call->broker->cluster, &look->catch_up);
}
