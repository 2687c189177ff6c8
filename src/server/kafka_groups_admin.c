/*
 * DescribeGroups, ListGroups, DeleteGroups, OffsetDelete: groups as administrators see them.
 *
 * A list has the groups that this broker coordinates; clients ask all brokers. A group of
 * the text protocol is listed with the protocol type "text", and has no members that a
 * Kafka client would understand.
 */
#include "base/require.h"
#include "proto/kafka/api_commits.h"
#include "proto/kafka/api_groups_admin.h"
#include "proto/kafka/consumer_protocol.h"
#include "server/kafka_groups.h"

#include <limits.h>
#include <stdlib.h>
#include <strings.h>

static const char *state_name(enum classic_state state)
{
    static const char *const names[] = {
        [CLASSIC_EMPTY] = "Empty",
        [CLASSIC_JOINING] = "PreparingRebalance",
        [CLASSIC_SYNCING] = "CompletingRebalance",
        [CLASSIC_STABLE] = "Stable",
    };
    return names[state];
}

/* ---- DescribeGroups --------------------------------------------------------------------------------- */

static void describe_fill(struct group_item *item)
{
    struct kafka_call *call = item->work->call;
    struct kafka_describe_groups_response_group *to = item->answer;
    const struct classic_call *from = &item->call;
    to->error_code = group_item_code(item);
    to->authorized_operations = INT32_MIN;
    to->group_state = slice_text("Dead");
    to->protocol_type = to->protocol_data = slice_of("", 0);
    if (to->error_code == KAFKA_ERR_GROUP_ID_NOT_FOUND)
        to->error_code = KAFKA_ERR_NONE; /* what is not there is dead */
    else if (to->error_code == KAFKA_ERR_NONE) {
        bool text = from->base.kind == GROUP_KIND_TEXT;
        to->group_state = slice_text(text ? "Stable" : state_name(from->state));
        to->protocol_type = text ? slice_text("text") : kafka_present(from->protocol_type);
        to->protocol_data = kafka_present(from->protocol);
    }
    if (!KAFKA_FILL(&call->arena, to->members, kafka_describe_groups_response_member, from->member_count))
        return;
    for (uint32_t i = 0; i < from->member_count; i++) {
        struct kafka_describe_groups_response_member *member = &to->members.at[i];
        member->member_id = from->members[i].id;
        member->group_instance_id = from->members[i].instance;
        member->client_id = from->members[i].client_id;
        member->client_host = from->members[i].host;
        member->member_metadata = kafka_present(from->members[i].metadata);
        member->member_assignment = kafka_present(from->members[i].assignment);
    }
}

void kafka_handle_describe_groups(struct kafka_call *call, struct worker *worker)
{
    (void)worker;
    const struct kafka_describe_groups_request *asked = call->body;
    struct kafka_describe_groups_response *answer = call->answer;
    int32_t count = asked->groups.count < 0 ? 0 : asked->groups.count;
    struct group_work *work = group_work_new(call, (uint32_t)count, describe_fill);
    if (work == NULL)
        return;
    if (!KAFKA_FILL(&call->arena, answer->groups, kafka_describe_groups_response_group, count))
        work->count = 0; /* the arena has failed, or there are none */
    for (uint32_t i = 0; i < work->count; i++) {
        struct group_item *item = &work->items[i];
        item->answer = &answer->groups.at[i];
        answer->groups.at[i].group_id = asked->groups.at[i];
        item->call.base.verb = GROUP_LOOK;
        group_work_aim(item, asked->groups.at[i]);
    }
    group_work_send(work);
}

/* ---- ListGroups ---------------------------------------------------------------------------------------- */

static const char *state_of_row(const struct group_row *row)
{
    return row->kind == GROUP_KIND_TEXT ? "Stable" : state_name((enum classic_state)row->state);
}

static bool is_asked(const struct kafka_list_groups_request *asked, const struct group_row *row)
{
    bool state = asked->states_filter.count <= 0, type = asked->types_filter.count <= 0;
    const char *name = state_of_row(row);
    for (int32_t i = 0; i < asked->states_filter.count; i++)
        state |= asked->states_filter.at[i].len == strlen(name) &&
                 strncasecmp((const char *)asked->states_filter.at[i].data, name, strlen(name)) == 0;
    for (int32_t i = 0; i < asked->types_filter.count; i++)
        type |= asked->types_filter.at[i].len == 7 &&
                strncasecmp((const char *)asked->types_filter.at[i].data, "classic", 7) == 0;
    return state && type;
}

static void list_row(struct kafka_call *call, const struct group_row *row, struct kafka_list_groups_response_group *to)
{
    const char *type = row->kind == GROUP_KIND_TEXT ? "text" : row->protocol_type;
    to->group_id = kafka_arena_copy(&call->arena, row->name, strlen(row->name));
    to->protocol_type = kafka_arena_copy(&call->arena, type, strlen(type));
    to->group_state = slice_text(state_of_row(row));
    to->group_type = slice_text("classic");
}

/* Runs once for each coordinator; the last one writes the answer of all. */
static void list_fill(struct group_item *item)
{
    struct group_work *work = item->work;
    struct kafka_call *call = work->call;
    const struct kafka_list_groups_request *asked = call->body;
    struct kafka_list_groups_response *answer = call->answer;
    if (item != &work->items[work->count - 1])
        return;
    size_t count = 0;
    for (uint32_t i = 0; i < work->count; i++)
        for (uint32_t g = 0; g < work->items[i].call.base.group_count; g++)
            count += is_asked(asked, &work->items[i].call.base.groups[g]);
    if (!KAFKA_FILL(&call->arena, answer->groups, kafka_list_groups_response_group, count))
        return;
    struct kafka_list_groups_response_group *to = answer->groups.at;
    for (uint32_t i = 0; i < work->count; i++)
        for (uint32_t g = 0; g < work->items[i].call.base.group_count; g++)
            if (is_asked(asked, &work->items[i].call.base.groups[g]))
                list_row(call, &work->items[i].call.base.groups[g], to++);
}

void kafka_handle_list_groups(struct kafka_call *call, struct worker *worker)
{
    (void)worker;
    struct image *image = cluster_image(call->broker->cluster);
    uint32_t count = cluster_coordinator_count(image);
    image_drop(&image);
    struct group_work *work = group_work_new(call, count, list_fill);
    if (work == NULL)
        return;
    for (uint32_t i = 0; i < count; i++) {
        struct group_item *item = &work->items[i];
        struct partition *partition = cluster_coordinator_at(work->image, i);
        item->call.base.verb = GROUP_LIST;
        if (partition == NULL || partition_leader(partition, NULL) != cluster_self(call->broker->cluster))
            item->refused = KAFKA_ERR_NOT_COORDINATOR;
        else
            item->partition = partition_hold(partition);
    }
    group_work_send(work);
}

/* ---- DeleteGroups ------------------------------------------------------------------------------------------ */

static void delete_fill(struct group_item *item)
{
    ((struct kafka_delete_groups_response_result *)item->answer)->error_code = group_item_code(item);
}

void kafka_handle_delete_groups(struct kafka_call *call, struct worker *worker)
{
    (void)worker;
    const struct kafka_delete_groups_request *asked = call->body;
    struct kafka_delete_groups_response *answer = call->answer;
    int32_t count = asked->groups_names.count < 0 ? 0 : asked->groups_names.count;
    struct group_work *work = group_work_new(call, (uint32_t)count, delete_fill);
    if (work == NULL)
        return;
    if (!KAFKA_FILL(&call->arena, answer->results, kafka_delete_groups_response_result, count))
        work->count = 0;
    for (uint32_t i = 0; i < work->count; i++) {
        struct group_item *item = &work->items[i];
        item->answer = &answer->results.at[i];
        answer->results.at[i].group_id = asked->groups_names.at[i];
        item->call.base.verb = GROUP_FORGET;
        item->call.all = true;
        group_work_aim(item, asked->groups_names.at[i]);
    }
    group_work_send(work);
}

/* ---- OffsetDelete --------------------------------------------------------------------------------------------- */

static void forget_fill(struct group_item *item)
{
    struct kafka_call *call = item->work->call;
    const struct kafka_offset_delete_request *asked = call->body;
    struct kafka_offset_delete_response *answer = call->answer;
    uint32_t at = 0;
    answer->error_code = group_item_code(item);
    if (answer->error_code != KAFKA_ERR_NONE ||
        !KAFKA_FILL(&call->arena, answer->topics, kafka_offset_delete_response_topic, asked->topics.count))
        return;
    for (int32_t t = 0; t < asked->topics.count; t++) {
        struct kafka_offset_delete_response_topic *to = &answer->topics.at[t];
        to->name = asked->topics.at[t].name;
        if (!KAFKA_FILL(&call->arena, to->partitions, kafka_offset_delete_response_partition,
                        asked->topics.at[t].partitions.count))
            return;
        for (int32_t p = 0; p < to->partitions.count; p++, at++) {
            to->partitions.at[p].partition_index = asked->topics.at[t].partitions.at[p].partition_index;
            to->partitions.at[p].error_code = group_answer_code(item->call.offsets[at].answer);
        }
    }
}

void kafka_handle_offset_delete(struct kafka_call *call, struct worker *worker)
{
    (void)worker;
    const struct kafka_offset_delete_request *asked = call->body;
    struct group_work *work = group_work_new(call, 1, forget_fill);
    if (work == NULL)
        return;
    struct group_item *item = &work->items[0];
    size_t count = 0;
    for (int32_t t = 0; t < asked->topics.count; t++)
        count += (size_t)(asked->topics.at[t].partitions.count < 0 ? 0 : asked->topics.at[t].partitions.count);
    struct classic_offset *offsets = kafka_arena_take(&call->arena, (count + 1) * sizeof(*offsets));
    group_work_aim(item, asked->group_id);
    if (offsets == NULL && item->refused == KAFKA_ERR_NONE)
        item->refused = KAFKA_ERR_INVALID_REQUEST;
    item->call.base.verb = GROUP_FORGET;
    item->call.offsets = offsets;
    for (int32_t t = 0; t < asked->topics.count && offsets != NULL; t++)
        for (int32_t p = 0; p < asked->topics.at[t].partitions.count; p++)
            kafka_name_offset(work->image, asked->topics.at[t].name,
                              asked->topics.at[t].partitions.at[p].partition_index,
                              &offsets[item->call.offset_count++]);
    group_work_send(work);
}
