/* What the Kafka sessions of a broker share: which requests are spoken, where brokers are
 * found, how an error is told. */
#include "base/require.h"
#include "server/kafka_fetch_sessions.h"
#include "server/kafka_internal.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum { KAFKA_FRONT_TAG = 0x6b66726f, FETCHES_PART_OF_MEMORY = 8 };

kafka_handler *kafka_handler_of(int16_t key)
{
    static kafka_handler *const handlers[KAFKA_KEYS] = {
        [KAFKA_PRODUCE] = kafka_handle_produce,
        [KAFKA_FETCH] = kafka_handle_fetch,
        [KAFKA_LIST_OFFSETS] = kafka_handle_list_offsets,
        [KAFKA_OFFSET_COMMIT] = kafka_handle_offset_commit,
        [KAFKA_OFFSET_FETCH] = kafka_handle_offset_fetch,
        [KAFKA_FIND_COORDINATOR] = kafka_handle_find_coordinator,
        [KAFKA_JOIN_GROUP] = kafka_handle_join_group,
        [KAFKA_HEARTBEAT] = kafka_handle_heartbeat,
        [KAFKA_LEAVE_GROUP] = kafka_handle_leave_group,
        [KAFKA_SYNC_GROUP] = kafka_handle_sync_group,
        [KAFKA_DESCRIBE_GROUPS] = kafka_handle_describe_groups,
        [KAFKA_LIST_GROUPS] = kafka_handle_list_groups,
        [KAFKA_DELETE_GROUPS] = kafka_handle_delete_groups,
        [KAFKA_OFFSET_DELETE] = kafka_handle_offset_delete,
        [KAFKA_METADATA] = kafka_handle_metadata,
        [KAFKA_API_VERSIONS] = kafka_handle_api_versions,
        [KAFKA_DELETE_RECORDS] = kafka_handle_delete_records,
        [KAFKA_OFFSET_FOR_LEADER_EPOCH] = kafka_handle_offset_for_leader_epoch,
        [KAFKA_INIT_PRODUCER_ID] = kafka_handle_init_producer_id,
        [KAFKA_DESCRIBE_LOG_DIRS] = kafka_handle_describe_log_dirs,
        [KAFKA_ELECT_LEADERS] = kafka_handle_elect_leaders,
        [KAFKA_DESCRIBE_QUORUM] = kafka_handle_describe_quorum,
        [KAFKA_DESCRIBE_PRODUCERS] = kafka_handle_describe_producers,
        [KAFKA_CREATE_TOPICS] = kafka_handle_create_topics,
        [KAFKA_DELETE_TOPICS] = kafka_handle_delete_topics,
        [KAFKA_CREATE_PARTITIONS] = kafka_handle_create_partitions,
        [KAFKA_DESCRIBE_CONFIGS] = kafka_handle_describe_configs,
        [KAFKA_ALTER_CONFIGS] = kafka_handle_alter_configs,
        [KAFKA_INCREMENTAL_ALTER_CONFIGS] = kafka_handle_incremental_alter_configs,
        [KAFKA_DESCRIBE_CLUSTER] = kafka_handle_describe_cluster,
    };
    return key >= 0 && key < KAFKA_KEYS ? handlers[key] : NULL;
}

/* Any thread: members of INFO. */
static void front_describe(void *context, struct json *json)
{
    const struct kafka_front *front = context;
    struct fetch_sessions_count count = fetch_sessions_count(front->fetches);
    json_put_number(json, "KafkaFetchSessions", count.sessions);
    json_put_number(json, "KafkaFetchSessionBytes", count.bytes);
    json_put_number(json, "KafkaFetchSessionsEvicted", (int64_t)count.evicted);
    json_put_number(json, "KafkaGroupBytes", cluster_groups_bytes(front->broker->cluster));
}

enum kq_err kafka_front_new(struct kafka_front **out, struct broker *broker, const struct config *config,
                            struct fault *fault)
{
    struct kafka_front *front = calloc(1, sizeof(*front));
    if (front != NULL)
        front->fetches = fetch_sessions_new((uint32_t)config->kafka_fetch_sessions,
                                            config->memory_max_bytes / FETCHES_PART_OF_MEMORY);
    if (front == NULL || front->fetches == NULL) {
        free(front);
        return fault_set(fault, KQ_NO_MEMORY, "%s", err_text(KQ_NO_MEMORY));
    }
    front->tag = KAFKA_FRONT_TAG;
    front->broker = broker;
    broker->describe_kafka = front_describe;
    broker->describe_kafka_context = front;
    *out = front;
    return KQ_OK;
}

void kafka_front_stop(struct kafka_front *front)
{
    TAG_CHECK(front, KAFKA_FRONT_TAG);
}

void kafka_front_free(struct kafka_front **out)
{
    struct kafka_front *front = *out;
    if (front == NULL)
        return;
    TAG_CHECK(front, KAFKA_FRONT_TAG);
    front->tag = TAG_DEAD;
    fetch_sessions_free(&front->fetches);
    free(front);
    *out = NULL;
}

/* ---- addresses ---------------------------------------------------------------------------- */

static bool address_text(const struct sockaddr_storage *at_address, struct kafka_address *address)
{
    struct sockaddr_storage at = *at_address;
    const struct sockaddr_in *ip4 = (const void *)&at;
    const struct sockaddr_in6 *ip6 = (const void *)&at;
    if (at.ss_family == AF_INET) {
        address->port = ntohs(ip4->sin_port);
        return inet_ntop(AF_INET, &ip4->sin_addr, address->host, sizeof(address->host)) != NULL;
    }
    if (at.ss_family != AF_INET6)
        return false;
    address->port = ntohs(ip6->sin6_port);
    if (IN6_IS_ADDR_V4MAPPED(&ip6->sin6_addr))
        return inet_ntop(AF_INET, &ip6->sin6_addr.s6_addr[12], address->host, sizeof(address->host)) != NULL;
    return inet_ntop(AF_INET6, &ip6->sin6_addr, address->host, sizeof(address->host)) != NULL;
}

/* The address of our end of the client's connection: it has reached us there. */
static bool local_address(struct kafka_call *call, struct kafka_address *address)
{
    struct sockaddr_storage at;
    socklen_t at_bytes = sizeof(at);
    memset(&at, 0, sizeof(at));
    return getsockname(conn_fd(kafka_call_conn(call)), (struct sockaddr *)&at, &at_bytes) == 0 &&
           address_text(&at, address);
}

struct slice kafka_peer_text(struct kafka_call *call)
{
    struct kafka_address address = {0};
    struct sockaddr_storage at;
    socklen_t at_bytes = sizeof(at);
    memset(&at, 0, sizeof(at));
    if (getpeername(conn_fd(kafka_call_conn(call)), (struct sockaddr *)&at, &at_bytes) != 0 ||
        !address_text(&at, &address))
        return slice_text("/");
    return kafka_arena_printf(&call->arena, "/%s", address.host);
}

bool kafka_address_of(struct kafka_call *call, const struct image *image, uint32_t broker_id,
                      struct kafka_address *address)
{
    const struct config *config = call->broker->config;
    *address = (struct kafka_address){.broker_id = broker_id};
    bool self = broker_id == cluster_self(call->broker->cluster);
    bool told = config->kafka_advertised_host[0] != '\0' || config->advertised_host[0] != '\0';
    if (self && !told && local_address(call, address)) {
        if (config->kafka_advertised_port != 0)
            address->port = (uint16_t)config->kafka_advertised_port;
        return true;
    }
    const struct image_broker *known = image_find_broker(image, broker_id);
    if (known == NULL || known->kafka_port == 0)
        return false;
    (void)snprintf(address->host, sizeof(address->host), "%s", known->kafka_host);
    address->port = known->kafka_port;
    return true;
}

void kafka_add_node(struct kafka_call *call, const struct image *image, int32_t broker_id, struct kafka_node *nodes,
                    int32_t *count)
{
    struct kafka_address address;
    for (int32_t i = 0; i < *count; i++)
        if (nodes[i].node_id == broker_id)
            return;
    if (broker_id <= 0 || !kafka_address_of(call, image, (uint32_t)broker_id, &address))
        return;
    nodes[(*count)++] = (struct kafka_node){
        .node_id = broker_id,
        .host = kafka_arena_copy(&call->arena, address.host, strlen(address.host)),
        .port = address.port,
    };
}

/* ---- small things --------------------------------------------------------------------------- */

int16_t kafka_code(const struct fault *fault)
{
    if (fault->err == KQ_STOPPING)
        return KAFKA_ERR_NOT_LEADER_OR_FOLLOWER; /* somebody else will, and the client asks who */
    return (int16_t)err_kafka_code(fault->err);
}

int16_t kafka_check_epoch(int32_t known, uint64_t term)
{
    if (known < 0 || (uint64_t)known == term)
        return KAFKA_ERR_NONE;
    return (uint64_t)known < term ? KAFKA_ERR_FENCED_LEADER_EPOCH : KAFKA_ERR_UNKNOWN_LEADER_EPOCH;
}

int32_t kafka_epoch_of(uint64_t term)
{
    return term == 0 ? -1 : (int32_t)term;
}

struct slice kafka_text(struct kafka_call *call, const struct fault *fault)
{
    const char *text = fault_text(fault);
    return kafka_arena_copy(&call->arena, text, strlen(text));
}

bool kafka_c_text(struct slice text, char *to, size_t room)
{
    if (slice_is_absent(text) || text.len >= room || memchr(text.data, '\0', text.len) != NULL)
        return false;
    memcpy(to, text.data, text.len);
    to[text.len] = '\0';
    return true;
}

struct slice kafka_uuid_text(struct kafka_call *call, const struct uuid *id)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    char text[22];
    uint32_t bits = 0;
    size_t have = 0, at = 0;
    for (size_t i = 0; i < UUID_BYTES; i++) {
        bits = bits << 8 | id->bytes[i];
        for (have += 8; have >= 6; have -= 6)
            text[at++] = digits[bits >> (have - 6) & 63];
    }
    text[at] = digits[bits << (6 - have) & 63];
    return kafka_arena_copy(&call->arena, text, sizeof(text));
}
