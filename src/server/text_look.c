/* LIST, DESC, GRPS and INFO: what is known, as one JSON line. */
#include "server/text_internal.h"

#include "api/info.h"
#include "api/route.h"

#include <string.h>

void text_look_topics(struct broker *broker, struct buf *reply)
{
    struct image *image = cluster_image(broker->cluster);
    struct json json;
    reply_data_begin(&json, reply);
    json_open(&json, '[');
    for (size_t i = 0; i < image_topic_count(image); i++) {
        struct image_topic *topic = image_topic_at(image, i);
        if (image_topic_internal(topic))
            continue;
        json_open(&json, '{');
        json_put_text(&json, "Topic", image_topic_name(topic));
        json_put_number(&json, "Partitions", image_topic_partitions(topic));
        json_close(&json, '}');
    }
    json_close(&json, ']');
    reply_data_end(&json);
    image_drop(&image);
}

static const char *state_name(enum partition_state state)
{
    switch (state) {
    case PARTITION_OPENING:
        return "opening";
    case PARTITION_SERVING:
        return "serving";
    case PARTITION_FAILED:
        return "failed";
    case PARTITION_STOPPED:
        return "stopped";
    }
    return "unknown";
}

static void put_broker_ids(struct json *json, const char *name, const uint32_t *ids, uint32_t count)
{
    json_key(json, name);
    json_open(json, '[');
    for (uint32_t i = 0; i < count; i++)
        json_add_number(json, ids[i]);
    json_close(json, ']');
}

static void put_or_null(struct json *json, const char *name, int64_t value)
{
    json_key(json, name);
    if (value < 0)
        json_add_null(json);
    else
        json_add_number(json, value);
}

static void put_partition(struct json *json, const struct describe_row *row, uint32_t p)
{
    json_open(json, '{');
    json_put_number(json, "Partition", p);
    put_or_null(json, "Leader", row->leader == 0 ? -1 : (int64_t)row->leader);
    put_broker_ids(json, "Replicas", row->replicas, row->replica_count);
    put_broker_ids(json, "InSync", row->in_sync, row->in_sync_count);
    put_or_null(json, "Start", row->start_off);
    put_or_null(json, "End", row->end_off);
    if (row->here) {
        json_put_number(json, "Bytes", (int64_t)row->status.size_bytes);
        json_put_text(json, "State", state_name(row->status.state));
    }
    if (row->here && row->status.state == PARTITION_FAILED)
        json_put_text(json, "Reason", fault_text(&row->status.fault));
    json_close(json, '}');
}

struct partition *text_look_opening(struct broker *broker, const char *name)
{
    struct image *image = cluster_image(broker->cluster);
    struct image_topic *topic = image_find(image, name, strlen(name));
    struct partition *opening = NULL;
    for (uint32_t p = 0; topic != NULL && p < image_topic_partitions(topic) && opening == NULL; p++) {
        struct partition_status status = {0};
        struct partition *partition = image_partition(topic, p);
        if (partition == NULL)
            continue;
        partition_status(partition, &status);
        if (status.state == PARTITION_OPENING)
            opening = partition_hold(partition);
    }
    image_drop(&image);
    return opening;
}

void text_look_topic(const struct topic_description *description, struct buf *reply)
{
    const struct image_topic *topic = description->found;
    const struct partition_limits *limits = image_topic_limits(topic);
    char id[UUID_TEXT_BYTES];
    struct json json;
    reply_data_begin(&json, reply);
    json_open(&json, '{');
    json_put_text(&json, "Topic", image_topic_name(topic));
    json_put_text(&json, "Id", uuid_format(image_topic_id(topic), id));
    json_key(&json, "Config");
    json_open(&json, '{');
    json_put_number(&json, "retention.bytes", limits->retention_bytes);
    json_put_number(&json, "retention.ms", limits->retention_ms);
    json_put_number(&json, "segment.bytes", limits->segment_bytes);
    json_put_number(&json, "max.message.bytes", limits->max_message_bytes);
    json_close(&json, '}');
    json_key(&json, "Partitions");
    json_open(&json, '[');
    for (uint32_t p = 0; p < image_topic_partitions(topic); p++)
        put_partition(&json, &description->rows[p], p);
    json_close(&json, ']');
    json_close(&json, '}');
    reply_data_end(&json);
}

static const char *kind_name(enum group_kind kind)
{
    switch (kind) {
    case GROUP_KIND_NONE:
        return "empty";
    case GROUP_KIND_TEXT:
        return "text";
    case GROUP_KIND_CLASSIC:
        return "kafka";
    }
    return "unknown";
}

void text_look_groups(const struct groups_list *list, struct buf *reply)
{
    struct json json;
    reply_data_begin(&json, reply);
    json_open(&json, '[');
    for (uint32_t i = 0; i < list->count; i++) {
        const struct group_row *row = &list->rows[i];
        json_open(&json, '{');
        json_put_text(&json, "Group", row->name);
        json_put_text(&json, "Kind", kind_name(row->kind));
        json_put_number(&json, "Members", row->member_count);
        json_put_number(&json, "Subscriptions", row->subscription_count);
        json_put_number(&json, "Offsets", row->offset_count);
        json_close(&json, '}');
    }
    json_close(&json, ']');
    reply_data_end(&json);
}

void text_look_group(const struct group_description *description, struct buf *reply)
{
    const struct group_call *call = &description->request.call;
    struct json json;
    reply_data_begin(&json, reply);
    json_open(&json, '{');
    json_put_text(&json, "Group", call->group);
    json_put_text(&json, "Kind", kind_name(call->kind));
    json_put_number(&json, "Generation", call->generation);
    json_key(&json, "Partitions");
    json_open(&json, '[');
    for (uint32_t i = 0; i < call->row_count; i++) {
        const struct group_partition_row *row = &call->rows[i];
        int64_t end_off;
        int64_t lag = group_lag(description, i, &end_off);
        json_open(&json, '{');
        json_put_text(&json, "Topic", row->topic);
        json_put_number(&json, "Partition", row->partition);
        put_or_null(&json, "Committed", row->committed_off);
        put_or_null(&json, "End", end_off);
        put_or_null(&json, "Lag", lag);
        json_put_bool(&json, "Owned", row->owned);
        if (row->owned) {
            json_key(&json, "Owner");
            json_open(&json, '{');
            json_put_number(&json, "Broker", row->owner.broker_id);
            json_put_number(&json, "Session", (int64_t)row->owner.id);
            json_put_bool(&json, "Connected", row->live);
            json_put_number(&json, "IdleMs", row->idle_ms);
            json_close(&json, '}');
        }
        json_close(&json, '}');
    }
    json_close(&json, ']');
    json_close(&json, '}');
    reply_data_end(&json);
}

void text_look_info(struct text_front *front, const struct groups_list *groups, struct buf *reply)
{
    struct json json;
    reply_data_begin(&json, reply);
    info_write(front->broker, groups == NULL ? -1 : (int64_t)groups->count, &json);
    reply_data_end(&json);
}
