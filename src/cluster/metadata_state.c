/*
 * How a record changes the metadata, the same on every broker; and reading it.
 *
 * Memory: a broker that could not take a record in would differ from the others,
 * so running out of it here stops the program.
 */
#include "cluster/metadata_state.h"
#include "base/require.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- reading ---------------------------------------------------------------------- */

int64_t metadata_producer_ids_end(const struct metadata *m)
{
    return (int64_t)m->next_producer_id;
}

struct uuid metadata_cluster_id(const struct metadata *m)
{
    return m->cluster_id;
}

size_t metadata_topic_count(const struct metadata *m)
{
    return m->topic_count;
}

const struct metadata_topic *metadata_topic_at(const struct metadata *m, size_t i)
{
    REQUIRE(i < m->topic_count);
    return m->topics[i];
}

const struct metadata_topic *metadata_find_topic(const struct metadata *m, const char *name)
{
    return map_get(&m->by_name, name, strlen(name));
}

const struct metadata_topic *metadata_find_id(const struct metadata *m, const struct uuid *id)
{
    return map_get(&m->by_id, id->bytes, UUID_BYTES);
}

size_t metadata_broker_count(const struct metadata *m)
{
    return m->broker_count;
}

const struct metadata_broker *metadata_broker_at(const struct metadata *m, size_t i)
{
    REQUIRE(i < m->broker_count);
    return m->brokers[i];
}

const struct metadata_broker *metadata_find_broker(const struct metadata *m, uint32_t id)
{
    for (size_t i = 0; i < m->broker_count; i++)
        if (m->brokers[i]->id == id)
            return m->brokers[i];
    return NULL;
}

uint32_t metadata_count_replicas(const struct metadata *m, uint32_t broker_id)
{
    uint32_t count = 0;
    for (size_t t = 0; t < m->topic_count; t++) {
        const struct metadata_topic *topic = m->topics[t];
        for (size_t i = 0; i < (size_t)topic->partition_count * topic->replica_count; i++)
            count += topic->replicas[i] == broker_id;
    }
    return count;
}

/* ---- topics -------------------------------------------------------------------------- */

/* The first place in the order of names that is not before name. */
static size_t place_of(const struct metadata *m, const char *name)
{
    size_t low = 0;
    size_t high = m->topic_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (strcmp(m->topics[middle]->name, name) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void remove_topic(struct metadata *m, struct metadata_topic *topic)
{
    size_t at = place_of(m, topic->name);
    while (m->topics[at] != topic)
        at++;
    memmove(&m->topics[at], &m->topics[at + 1], (m->topic_count - at - 1) * sizeof(struct metadata_topic *));
    m->topic_count--;
    m->internal_count -= topic->internal;
    REQUIRE(map_remove(&m->by_id, topic->id.bytes, UUID_BYTES) == topic);
    REQUIRE(map_remove(&m->by_name, topic->name, strlen(topic->name)) == topic);
    free(topic->replicas);
    free(topic);
}

static void insert_topic(struct metadata *m, struct metadata_topic *topic)
{
    if (m->topic_count == m->topic_room) {
        m->topic_room = m->topic_room == 0 ? 16 : m->topic_room * 2;
        m->topics = realloc(m->topics, m->topic_room * sizeof(struct metadata_topic *));
        REQUIRE(m->topics != NULL);
    }
    size_t at = place_of(m, topic->name);
    memmove(&m->topics[at + 1], &m->topics[at], (m->topic_count - at) * sizeof(struct metadata_topic *));
    m->topics[at] = topic;
    m->topic_count++;
    m->internal_count += topic->internal;
    void *old;
    REQUIRE(map_put(&m->by_id, topic->id.bytes, UUID_BYTES, topic, &old));
    REQUIRE(old == NULL);
    REQUIRE(map_put(&m->by_name, topic->name, strlen(topic->name), topic, &old));
    REQUIRE(old == NULL);
}

static void apply_topic(struct metadata *m, const struct metadata_record *r)
{
    struct metadata_topic *before = map_get(&m->by_id, r->topic_id.bytes, UUID_BYTES);
    struct topic_config config = before == NULL ? (struct topic_config){.set = {false}} : before->config;
    if (before != NULL)
        remove_topic(m, before);
    if (r->gone)
        return;
    struct metadata_topic *namesake = map_get(&m->by_name, r->topic, strlen(r->topic));
    if (namesake != NULL)
        remove_topic(m, namesake); /* a name is one topic's: the later record says whose */
    struct metadata_topic *topic = calloc(1, sizeof *topic);
    size_t replica_total = (size_t)r->partition_count * r->replica_count;
    uint32_t *replicas = malloc(replica_total * sizeof *replicas);
    REQUIRE(topic != NULL);
    REQUIRE(replicas != NULL);
    for (size_t i = 0; i < replica_total; i++)
        replicas[i] = get_le32(r->replica_bytes + 4 * i);
    *topic = (struct metadata_topic){.id = r->topic_id,
                                     .internal = r->internal,
                                     .partition_count = r->partition_count,
                                     .replica_count = r->replica_count,
                                     .replicas = replicas,
                                     .config = config,
                                     .version = m->version};
    memcpy(topic->name, r->topic, sizeof topic->name);
    insert_topic(m, topic);
}

static void apply_config(struct metadata *m, const struct metadata_record *r)
{
    struct metadata_topic *topic = map_get(&m->by_id, r->topic_id.bytes, UUID_BYTES);
    if (topic == NULL)
        return;
    topic->config.set[r->config_key] = !r->gone;
    topic->config.value[r->config_key] = r->gone ? 0 : r->config_value;
    topic->version = m->version;
}

/* ---- brokers, the rest -------------------------------------------------------------------- */

static void apply_broker(struct metadata *m, const struct metadata_record *r)
{
    size_t at = 0;
    while (at < m->broker_count && m->brokers[at]->id < r->broker.id)
        at++;
    bool known = at < m->broker_count && m->brokers[at]->id == r->broker.id;
    if (r->gone) {
        if (!known)
            return;
        free(m->brokers[at]);
        m->broker_count--;
        memmove(&m->brokers[at], &m->brokers[at + 1], (m->broker_count - at) * sizeof(struct metadata_broker *));
        return;
    }
    if (!known) {
        m->brokers = realloc(m->brokers, (m->broker_count + 1) * sizeof(struct metadata_broker *));
        REQUIRE(m->brokers != NULL);
        memmove(&m->brokers[at + 1], &m->brokers[at], (m->broker_count - at) * sizeof(struct metadata_broker *));
        m->brokers[at] = malloc(sizeof(struct metadata_broker));
        REQUIRE(m->brokers[at] != NULL);
        m->broker_count++;
    }
    *m->brokers[at] = r->broker;
}

void metadata_apply(struct metadata *m, const struct metadata_record *r)
{
    m->version++;
    switch (r->type) {
    case METADATA_RECORD_CLUSTER:
        m->cluster_id = r->cluster_id;
        break;
    case METADATA_RECORD_BROKER:
        apply_broker(m, r);
        break;
    case METADATA_RECORD_TOPIC:
        apply_topic(m, r);
        break;
    case METADATA_RECORD_CONFIG:
        apply_config(m, r);
        break;
    case METADATA_RECORD_PRODUCERS:
        m->next_producer_id = r->next_producer_id;
        break;
    }
}

void metadata_clear(struct metadata *m)
{
    while (m->topic_count > 0)
        remove_topic(m, m->topics[m->topic_count - 1]);
    for (size_t i = 0; i < m->broker_count; i++)
        free(m->brokers[i]);
    free(m->brokers);
    free(m->topics);
    map_fini(&m->by_name);
    map_fini(&m->by_id);
    m->brokers = NULL;
    m->broker_count = 0;
    m->topics = NULL;
    m->topic_room = 0;
    m->cluster_id = (struct uuid){{0}};
    m->next_producer_id = 0;
    m->version++;
}

void metadata_check(const struct metadata *m)
{
    TAG_CHECK(m, METADATA_TAG);
    REQUIRE(m->by_id.count == m->topic_count);
    REQUIRE(m->by_name.count == m->topic_count);
    size_t internal = 0;
    for (size_t i = 0; i < m->topic_count; i++) {
        const struct metadata_topic *t = m->topics[i];
        REQUIRE(i == 0 || strcmp(m->topics[i - 1]->name, t->name) < 0);
        REQUIRE(metadata_find_topic(m, t->name) == t);
        REQUIRE(metadata_find_id(m, &t->id) == t);
        REQUIRE(t->partition_count > 0);
        REQUIRE(t->version <= m->version);
        internal += t->internal;
    }
    REQUIRE(internal == m->internal_count);
    for (size_t i = 1; i < m->broker_count; i++)
        REQUIRE(m->brokers[i - 1]->id < m->brokers[i]->id);
}
