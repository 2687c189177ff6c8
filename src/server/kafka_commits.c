/* OffsetCommit, OffsetFetch, OffsetDelete: the offsets of a group, which telnet's CMIT writes too. */
#include "base/require.h"
#include "proto/kafka/api_commits.h"
#include "server/kafka_groups.h"

#include <stdlib.h>

enum { FIRST_WITH_GROUPS = 8, FIRST_WITH_ALL = 2 };

bool kafka_name_offset(const struct image *image, struct slice topic, int32_t p, struct classic_offset *to)
{
    const struct image_topic *found = image_find(image, (const char *)topic.data, topic.len);
    *to = (struct classic_offset){.topic = topic,
                                  .partition = p < 0 ? 0 : (uint32_t)p,
                                  .off = -1,
                                  .leader_epoch = -1,
                                  .metadata = slice_of("", 0)};
    bool known = found != NULL && !image_topic_internal(found) && p >= 0 && (uint32_t)p < image_topic_partitions(found);
    if (known)
        to->topic_id = *image_topic_id(found);
    else
        to->answer = CLASSIC_UNKNOWN_TOPIC;
    return known;
}

/* ---- OffsetCommit ----------------------------------------------------------------------------------- */

static void commit_fill(struct group_item *item)
{
    struct kafka_call *call = item->work->call;
    const struct kafka_offset_commit_request *asked = call->body;
    struct kafka_offset_commit_response *answer = call->answer;
    int16_t code = group_item_code(item);
    uint32_t at = 0;
    if (!KAFKA_FILL(&call->arena, answer->topics, kafka_offset_commit_response_topic, asked->topics.count))
        return;
    for (int32_t t = 0; t < asked->topics.count; t++) {
        struct kafka_offset_commit_response_topic *to = &answer->topics.at[t];
        to->name = asked->topics.at[t].name;
        if (!KAFKA_FILL(&call->arena, to->partitions, kafka_offset_commit_response_partition,
                        asked->topics.at[t].partitions.count))
            return;
        for (int32_t p = 0; p < to->partitions.count; p++, at++) {
            to->partitions.at[p].partition_index = asked->topics.at[t].partitions.at[p].partition_index;
            to->partitions.at[p].error_code =
                code != KAFKA_ERR_NONE ? code : group_answer_code(item->call.offsets[at].answer);
        }
    }
}

static bool commit_offsets(struct kafka_call *call, struct group_item *item)
{
    const struct kafka_offset_commit_request *asked = call->body;
    size_t count = 0;
    for (int32_t t = 0; t < asked->topics.count; t++)
        count += (size_t)(asked->topics.at[t].partitions.count < 0 ? 0 : asked->topics.at[t].partitions.count);
    struct classic_offset *offsets = kafka_arena_take(&call->arena, (count + 1) * sizeof(*offsets));
    if (offsets == NULL)
        return false;
    item->call.offsets = offsets;
    for (int32_t t = 0; t < asked->topics.count; t++)
        for (int32_t p = 0; p < asked->topics.at[t].partitions.count; p++) {
            const struct kafka_offset_commit_request_partition *from = &asked->topics.at[t].partitions.at[p];
            struct classic_offset *to = &offsets[item->call.offset_count++];
            bool known = kafka_name_offset(item->work->image, asked->topics.at[t].name, from->partition_index, to);
            to->off = from->committed_offset;
            to->leader_epoch = from->committed_leader_epoch;
            to->metadata = kafka_present(from->committed_metadata);
            if (known && to->off < GROUP_OFFSET_LEAST)
                to->answer = CLASSIC_BAD_OFFSET;
        }
    return true;
}

void kafka_handle_offset_commit(struct kafka_call *call, struct worker *worker)
{
    (void)worker;
    const struct kafka_offset_commit_request *asked = call->body;
    struct group_work *work = group_work_new(call, 1, commit_fill);
    if (work == NULL)
        return;
    struct group_item *item = &work->items[0];
    group_work_aim(item, asked->group_id);
    if (!commit_offsets(call, item) && item->refused == KAFKA_ERR_NONE)
        item->refused = KAFKA_ERR_INVALID_REQUEST;
    item->call.base.verb = GROUP_COMMIT_ALL;
    item->call.member_id = asked->member_id;
    item->call.instance = asked->group_instance_id;
    item->call.generation = asked->generation_id_or_member_epoch;
    group_work_send(work);
}

/* ---- OffsetFetch --------------------------------------------------------------------------------------- */

/* A request's topics, in either of its two forms: both have the same C struct. */
_Static_assert(sizeof(struct kafka_offset_fetch_request_topic) == sizeof(struct kafka_offset_fetch_request_group_topic),
               "the topics of OffsetFetch have one form");
_Static_assert(sizeof(struct kafka_offset_fetch_response_topic) ==
                   sizeof(struct kafka_offset_fetch_response_group_topic),
               "the topics of OffsetFetch have one form");
_Static_assert(sizeof(struct kafka_offset_fetch_response_partition) ==
                   sizeof(struct kafka_offset_fetch_response_group_partition),
               "the partitions of OffsetFetch have one form");

/* The offsets that are asked for; false: no room. */
static bool fetch_offsets(struct kafka_call *call, struct group_item *item,
                          const struct kafka_offset_fetch_request_group_topic *topics, int32_t topic_count)
{
    size_t count = 0;
    for (int32_t t = 0; t < topic_count; t++)
        count += (size_t)(topics[t].partition_indexes.count < 0 ? 0 : topics[t].partition_indexes.count);
    struct classic_offset *offsets = kafka_arena_take(&call->arena, (count + 1) * sizeof(*offsets));
    if (offsets == NULL)
        return false;
    item->call.offsets = offsets;
    for (int32_t t = 0; t < topic_count; t++)
        for (int32_t p = 0; p < topics[t].partition_indexes.count; p++)
            (void)kafka_name_offset(item->work->image, topics[t].name, topics[t].partition_indexes.at[p],
                                    &offsets[item->call.offset_count++]);
    return true;
}

static void tell_partition(const struct classic_offset *from, struct kafka_offset_fetch_response_group_partition *to)
{
    to->partition_index = (int32_t)from->partition;
    to->committed_offset = from->off;
    to->committed_leader_epoch = from->leader_epoch;
    to->metadata = kafka_present(from->metadata);
}

/* Rows of one topic follow each other. */
static struct kafka_offset_fetch_response_group_topic *tell_topics(struct kafka_call *call,
                                                                   const struct classic_call *from, int32_t *count)
{
    int32_t topics = 0;
    for (uint32_t i = 0; i < from->offset_count; i++)
        topics += i == 0 || !slice_equal(from->offsets[i].topic, from->offsets[i - 1].topic);
    struct kafka_offset_fetch_response_group_topic *list =
        kafka_make(&call->arena, &kafka_offset_fetch_response_group_topic_shape, (size_t)topics);
    *count = list == NULL ? 0 : topics;
    uint32_t at = 0;
    for (int32_t t = 0; t < *count; t++) {
        uint32_t end = at;
        while (end < from->offset_count && slice_equal(from->offsets[end].topic, from->offsets[at].topic))
            end++;
        list[t].name = from->offsets[at].topic;
        if (!KAFKA_FILL(&call->arena, list[t].partitions, kafka_offset_fetch_response_group_partition, end - at))
            break;
        for (uint32_t i = at; i < end; i++)
            tell_partition(&from->offsets[i], &list[t].partitions.at[i - at]);
        at = end;
    }
    return list;
}

static void fetch_fill(struct group_item *item)
{
    struct kafka_call *call = item->work->call;
    struct kafka_offset_fetch_response *answer = call->answer;
    int16_t code = group_item_code(item);
    int32_t count = 0;
    struct kafka_offset_fetch_response_group_topic *topics =
        code == KAFKA_ERR_NONE ? tell_topics(call, &item->call, &count) : NULL;
    if (call->request.version >= FIRST_WITH_GROUPS) {
        struct kafka_offset_fetch_response_group *to = item->answer;
        to->error_code = code;
        to->topics.at = topics;
        to->topics.count = count;
        return;
    }
    answer->error_code = code;
    answer->topics.at = (struct kafka_offset_fetch_response_topic *)(void *)topics;
    answer->topics.count = count;
}

static void fetch_begin(struct kafka_call *call, struct group_item *item, struct slice group,
                        const struct kafka_offset_fetch_request_group_topic *topics, int32_t topic_count)
{
    group_work_aim(item, group);
    item->call.base.verb = GROUP_OFFSETS;
    item->call.all = topic_count < 0 && call->request.version >= FIRST_WITH_ALL;
    if (!item->call.all && !fetch_offsets(call, item, topics, topic_count) && item->refused == KAFKA_ERR_NONE)
        item->refused = KAFKA_ERR_INVALID_REQUEST;
}

void kafka_handle_offset_fetch(struct kafka_call *call, struct worker *worker)
{
    (void)worker;
    const struct kafka_offset_fetch_request *asked = call->body;
    struct kafka_offset_fetch_response *answer = call->answer;
    bool many = call->request.version >= FIRST_WITH_GROUPS;
    int32_t count = !many ? 1 : asked->groups.count < 0 ? 0 : asked->groups.count;
    struct group_work *work = group_work_new(call, (uint32_t)count, fetch_fill);
    if (work == NULL)
        return;
    if (!many) {
        fetch_begin(call, &work->items[0], asked->group_id,
                    (const struct kafka_offset_fetch_request_group_topic *)(const void *)asked->topics.at,
                    asked->topics.count);
    } else if (KAFKA_FILL(&call->arena, answer->groups, kafka_offset_fetch_response_group, count)) {
        for (int32_t i = 0; i < count; i++) {
            answer->groups.at[i].group_id = asked->groups.at[i].group_id;
            work->items[i].answer = &answer->groups.at[i];
            fetch_begin(call, &work->items[i], asked->groups.at[i].group_id, asked->groups.at[i].topics.at,
                        asked->groups.at[i].topics.count);
        }
    } else {
        for (int32_t i = 0; i < count; i++)
            work->items[i].refused = KAFKA_ERR_INVALID_REQUEST; /* the arena has failed: it is not answered */
        work->count = 0;
    }
    group_work_send(work);
}
