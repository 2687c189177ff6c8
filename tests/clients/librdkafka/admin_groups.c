/* What an administrator sees of groups, and does to them and their offsets. */
#include "cases.h"

static const char group[] = "rdk-seen";

/* The state that the list gives the group; UNKNOWN: it is not listed. */
static rd_kafka_consumer_group_state_t listed(void)
{
    size_t count = 0;
    struct asked a = ask_begin();
    rd_kafka_ListConsumerGroups(a.client, a.options, a.queue);
    const rd_kafka_ConsumerGroupListing_t **all =
        rd_kafka_ListConsumerGroups_result_valid(rd_kafka_event_ListConsumerGroups_result(ask_end(&a, 0)), &count);
    for (size_t i = 0; i < count; i++)
        if (strcmp(rd_kafka_ConsumerGroupListing_group_id(all[i]), group) == 0)
            return rd_kafka_ConsumerGroupListing_state(all[i]);
    return RD_KAFKA_CONSUMER_GROUP_STATE_UNKNOWN;
}

static const rd_kafka_ConsumerGroupDescription_t *described(void)
{
    size_t count = 0;
    const char *name = group;
    struct asked a = ask_begin();
    rd_kafka_DescribeConsumerGroups(a.client, &name, 1, a.options, a.queue);
    const rd_kafka_ConsumerGroupDescription_t **all = rd_kafka_DescribeConsumerGroups_result_groups(
        rd_kafka_event_DescribeConsumerGroups_result(ask_end(&a, 0)), &count);
    want_int(1, (int64_t)count, "groups");
    if (rd_kafka_ConsumerGroupDescription_error(all[0]) != NULL)
        fail("describe: %s", rd_kafka_error_string(rd_kafka_ConsumerGroupDescription_error(all[0])));
    return all[0];
}

static int64_t offset_seen(const char *topic)
{
    size_t count = 0;
    struct asked a = ask_begin();
    rd_kafka_topic_partition_list_t *at = place(topic, 0, 0);
    rd_kafka_ListConsumerGroupOffsets_t *which = rd_kafka_ListConsumerGroupOffsets_new(group, at);
    rd_kafka_ListConsumerGroupOffsets(a.client, &which, 1, a.options, a.queue);
    const rd_kafka_group_result_t **all = rd_kafka_ListConsumerGroupOffsets_result_groups(
        rd_kafka_event_ListConsumerGroupOffsets_result(ask_end(&a, 0)), &count);
    want_int(1, (int64_t)count, "groups");
    const rd_kafka_topic_partition_list_t *offsets = rd_kafka_group_result_partitions(all[0]);
    want_int(1, offsets->cnt, "offsets");
    return offsets->elems[0].offset;
}

/* The error of the group's one partition, or of the group. */
static rd_kafka_resp_err_t error_of(const rd_kafka_group_result_t **all, size_t count)
{
    want_int(1, (int64_t)count, "groups");
    if (rd_kafka_group_result_error(all[0]) != NULL)
        return rd_kafka_error_code(rd_kafka_group_result_error(all[0]));
    const rd_kafka_topic_partition_list_t *partitions = rd_kafka_group_result_partitions(all[0]);
    return partitions != NULL ? partitions->elems[0].err : RD_KAFKA_RESP_ERR_NO_ERROR;
}

static rd_kafka_resp_err_t alter_offset(const char *topic, int64_t offset)
{
    size_t count = 0;
    struct asked a = ask_begin();
    rd_kafka_AlterConsumerGroupOffsets_t *change =
        rd_kafka_AlterConsumerGroupOffsets_new(group, place(topic, 0, offset));
    rd_kafka_AlterConsumerGroupOffsets(a.client, &change, 1, a.options, a.queue);
    const rd_kafka_group_result_t **all = rd_kafka_AlterConsumerGroupOffsets_result_groups(
        rd_kafka_event_AlterConsumerGroupOffsets_result(ask_end(&a, 0)), &count);
    return error_of(all, count);
}

static rd_kafka_resp_err_t delete_offset(const char *topic)
{
    size_t count = 0;
    struct asked a = ask_begin();
    rd_kafka_DeleteConsumerGroupOffsets_t *which =
        rd_kafka_DeleteConsumerGroupOffsets_new(group, place(topic, 0, RD_KAFKA_OFFSET_INVALID));
    rd_kafka_DeleteConsumerGroupOffsets(a.client, &which, 1, a.options, a.queue);
    const rd_kafka_group_result_t **all = rd_kafka_DeleteConsumerGroupOffsets_result_groups(
        rd_kafka_event_DeleteConsumerGroupOffsets_result(ask_end(&a, 0)), &count);
    return error_of(all, count);
}

static rd_kafka_resp_err_t delete_group(void)
{
    size_t count = 0;
    struct asked a = ask_begin();
    rd_kafka_DeleteGroup_t *which = rd_kafka_DeleteGroup_new(group);
    rd_kafka_DeleteGroups(a.client, &which, 1, a.options, a.queue);
    const rd_kafka_group_result_t **all =
        rd_kafka_DeleteGroups_result_groups(rd_kafka_event_DeleteGroups_result(ask_end(&a, 0)), &count);
    return error_of(all, count);
}

/* A member that has read and committed the number 1. */
static rd_kafka_t *member_of(const char *topic)
{
    rd_kafka_t *member =
        client_of(RD_KAFKA_CONSUMER, conf_of("group.id=rdk-seen client.id=the-member enable.auto.commit=false "
                                             "auto.offset.reset=earliest session.timeout.ms=6000"));
    (void)rd_kafka_poll_set_consumer(member);
    rd_kafka_topic_partition_list_t *topics = place(topic, RD_KAFKA_PARTITION_UA, 0);
    want_ok(rd_kafka_subscribe(member, topics), "subscribe");
    rd_kafka_topic_partition_list_destroy(topics);
    rd_kafka_message_t *m = next_message(member);
    want_ok(rd_kafka_commit_message(member, m, 0), "commit");
    rd_kafka_message_destroy(m);
    return member;
}

static void groups_are_seen_and_deleted(void)
{
    const char *topic = topic_new("seen", 1);
    want_int(RD_KAFKA_CONSUMER_GROUP_STATE_UNKNOWN, listed(), "before it is");
    want_int(RD_KAFKA_CONSUMER_GROUP_STATE_DEAD, rd_kafka_ConsumerGroupDescription_state(described()), "before it is");
    want_int(RD_KAFKA_RESP_ERR_GROUP_ID_NOT_FOUND, delete_group(), "delete what is not there");
    send_numbers(topic, 1, 20, "");
    rd_kafka_t *member = member_of(topic);
    want_int(RD_KAFKA_CONSUMER_GROUP_STATE_STABLE, listed(), "the state listed");
    const rd_kafka_ConsumerGroupDescription_t *d = described();
    want_int(RD_KAFKA_CONSUMER_GROUP_STATE_STABLE, rd_kafka_ConsumerGroupDescription_state(d), "the state described");
    want_text("range", rd_kafka_ConsumerGroupDescription_partition_assignor(d), "assignor");
    want_int(1, (int64_t)rd_kafka_ConsumerGroupDescription_member_count(d), "members");
    const rd_kafka_MemberDescription_t *m = rd_kafka_ConsumerGroupDescription_member(d, 0);
    want_text("the-member", rd_kafka_MemberDescription_client_id(m), "client id");
    const rd_kafka_topic_partition_list_t *has =
        rd_kafka_MemberAssignment_partitions(rd_kafka_MemberDescription_assignment(m));
    want_int(1, has->cnt, "partitions");
    want_text(topic, has->elems[0].topic, "topic");
    want_int(1, offset_seen(topic), "committed");
    want_int(RD_KAFKA_RESP_ERR_NON_EMPTY_GROUP, delete_group(), "delete while it has a member");
    want_ok(rd_kafka_consumer_close(member), "close");
    rd_kafka_destroy(member);
    want_int(RD_KAFKA_CONSUMER_GROUP_STATE_EMPTY, rd_kafka_ConsumerGroupDescription_state(described()), "left");
    want_ok(alter_offset(topic, 17), "alter an offset");
    want_int(17, offset_seen(topic), "altered");
    want_ok(delete_offset(topic), "delete an offset");
    want_int(RD_KAFKA_OFFSET_INVALID, offset_seen(topic), "deleted");
    want_ok(alter_offset(topic, 3), "alter an offset");
    want_ok(delete_group(), "delete");
    want_int(RD_KAFKA_CONSUMER_GROUP_STATE_UNKNOWN, listed(), "after it was");
}

static void an_offset_in_use_is_not_deleted(void)
{
    const char *topic = topic_new("in-use", 1);
    send_numbers(topic, 1, 3, "");
    rd_kafka_t *member = member_of(topic);
    want_int(RD_KAFKA_RESP_ERR_GROUP_SUBSCRIBED_TO_TOPIC, delete_offset(topic), "delete an offset in use");
    want_int(1, offset_seen(topic), "committed");
    want_ok(rd_kafka_consumer_close(member), "close");
    rd_kafka_destroy(member);
    want_ok(delete_offset(topic), "delete an offset");
}

const struct one_case admin_group_cases[] = {
    {"groups are seen and deleted, their offsets too", groups_are_seen_and_deleted, 0},
    {"an offset in use is not deleted", an_offset_in_use_is_not_deleted, 0},
    {NULL, NULL, 0},
};
