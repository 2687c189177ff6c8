/* See kafka_route.h. */
#include "sim/kafka_route.h"

#include "proto/kafka/api_groups.h"
#include "proto/kafka/api_metadata.h"

enum { METADATA_VERSION = 9, COORDINATOR_VERSION = 2 };

struct slice kafka_topic_name(unsigned topic)
{
    static const char *const names[CLIENTS_TOPICS_MAX] = {"t0", "t1", "t2", "t3"};
    return slice_text(names[topic]);
}

/* Any broker knows; below 1: nobody was told. */
static int32_t leader_of(struct talk *t, unsigned topic, unsigned partition)
{
    struct kafka_metadata_request_topic wanted = {.name = kafka_topic_name(topic)};
    struct kafka_metadata_request ask = {.allow_auto_topic_creation = false};
    ask.topics.at = &wanted;
    ask.topics.count = 1;
    const struct kafka_metadata_response *answer = talk_ask(t, KAFKA_METADATA, METADATA_VERSION, &ask);
    if (answer == NULL || answer->topics.count != 1)
        return 0;
    const struct kafka_metadata_response_topic *found = &answer->topics.at[0];
    for (int32_t i = 0; i < found->partitions.count; i++)
        if (found->partitions.at[i].partition_index == (int32_t)partition)
            return found->partitions.at[i].leader_id;
    return 0;
}

static int32_t coordinator_of(struct talk *t, const char *group)
{
    struct kafka_find_coordinator_request ask = {.key = slice_text(group)};
    const struct kafka_find_coordinator_response *answer =
        talk_ask(t, KAFKA_FIND_COORDINATOR, COORDINATOR_VERSION, &ask);
    return answer == NULL || answer->error_code != 0 ? 0 : answer->node_id;
}

/* False: a moment later it may be better. */
static bool go_to(struct client *c, struct talk *t, int32_t broker)
{
    bool there = broker >= 1 && (unsigned)broker <= brokers_count();
    if (there && (t->fd < 0 || t->broker != (unsigned)broker)) {
        talk_close(t);
        there = talk_open(t, (unsigned)broker, client_timeout_ns());
    }
    if (!there) {
        talk_close(t); /* perhaps another broker knows better */
        fiber_sleep(chance_between(&c->chance, 20, 300) * MS_NS);
    }
    return there;
}

static bool to_somebody(struct client *c, struct talk *t)
{
    return t->fd >= 0 || talk_open(t, 1 + (unsigned)chance_below(&c->chance, brokers_count()), client_timeout_ns());
}

bool kafka_to_leader(struct client *c, struct talk *t, unsigned topic, unsigned partition)
{
    return go_to(c, t, to_somebody(c, t) ? leader_of(t, topic, partition) : 0);
}

bool kafka_to_coordinator(struct client *c, struct talk *t, const char *group)
{
    return go_to(c, t, to_somebody(c, t) ? coordinator_of(t, group) : 0);
}
