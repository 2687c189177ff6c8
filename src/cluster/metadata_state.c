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

uint64_t metadata_next_off(const struct metadata *m)
{
    return m->next_off;
}

uint32_t metadata_present(const struct metadata_topic *t, uint32_t p,
                          struct metadata_replica replicas[METADATA_REPLICAS_MAX])
{
    REQUIRE(p < t->partition_count);
    const struct metadata_partition *held = t->changed == NULL ? NULL : t->changed[p];
    if (held != NULL) {
        memcpy(replicas, held->present, held->present_count * sizeof *replicas);
        return held->present_count;
    }
    for (uint32_t i = 0; i < t->replica_count; i++)
        replicas[i] = (struct metadata_replica){.broker = t->replicas[(size_t)p * t->replica_count + i]};
    return t->replica_count;
}

uint32_t metadata_target(const struct metadata_topic *t, uint32_t p,
                         struct metadata_replica replicas[METADATA_REPLICAS_MAX])
{
    REQUIRE(p < t->partition_count);
    const struct metadata_partition *held = t->changed == NULL ? NULL : t->changed[p];
    if (held == NULL || held->wanted_count == 0)
        return metadata_present(t, p, replicas);
    memcpy(replicas, held->wanted, held->wanted_count * sizeof *replicas);
    return held->wanted_count;
}

struct uuid replica_incarnation(const struct uuid *broker_incarnation, const struct uuid *mix)
{
    struct uuid id = *broker_incarnation;
    for (size_t i = 0; i < UUID_BYTES; i++)
        id.bytes[i] ^= mix->bytes[i];
    return id;
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

static void free_topic(struct metadata_topic *topic)
{
    for (uint32_t p = 0; topic->changed != NULL && p < topic->partition_count; p++)
        free(topic->changed[p]);
    free(topic->changed);
    free(topic->founders);
    free(topic->replicas);
    free(topic);
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
    free_topic(topic);
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

static uint32_t *copy_replicas(const struct metadata_record *r)
{
    size_t total = (size_t)r->partition_count * r->replica_count;
    uint32_t *replicas = malloc(total * sizeof *replicas);
    REQUIRE(replicas != NULL);
    for (size_t i = 0; i < total; i++)
        replicas[i] = get_le32(r->replica_bytes + 4 * i);
    return replicas;
}

static struct metadata_founder *copy_founders(const struct metadata_record *r)
{
    struct metadata_founder *founders = calloc((size_t)r->founder_count + 1, sizeof *founders);
    REQUIRE(founders != NULL);
    for (uint32_t i = 0; i < r->founder_count; i++) {
        const uint8_t *from = r->founder_bytes + (size_t)i * r->founder_width;
        founders[i].broker = get_le32(from);
        memcpy(founders[i].incarnation.bytes, from + 4, UUID_BYTES);
        if (r->founder_width > 4 + UUID_BYTES)
            founders[i].from = get_le32(from + 4 + UUID_BYTES);
    }
    return founders;
}

/* What is known of the partitions that are not held as they were founded, for a topic that
 * has `count` now. */
static struct metadata_partition **take_changed(struct metadata_topic *before, uint32_t count)
{
    struct metadata_partition **changed = before->changed;
    if (changed == NULL || count < before->partition_count)
        return NULL;
    before->changed = NULL;
    if (count == before->partition_count)
        return changed;
    changed = realloc(changed, count * sizeof(struct metadata_partition *));
    REQUIRE(changed != NULL);
    for (uint32_t p = before->partition_count; p < count; p++)
        changed[p] = NULL;
    return changed;
}

static void apply_topic(struct metadata *m, const struct metadata_record *r)
{
    struct metadata_topic *before = map_get(&m->by_id, r->topic_id.bytes, UUID_BYTES);
    struct topic_config config = {.set = {false}};
    struct metadata_partition **changed = NULL;
    if (before != NULL && !r->gone) { /* what has records of its own goes on */
        config = before->config;
        changed = take_changed(before, r->partition_count);
    }
    if (before != NULL)
        remove_topic(m, before);
    if (r->gone)
        return;
    struct metadata_topic *namesake = map_get(&m->by_name, r->topic, strlen(r->topic));
    if (namesake != NULL)
        remove_topic(m, namesake); /* a name is one topic's: the later record says whose */
    struct metadata_topic *topic = calloc(1, sizeof *topic);
    REQUIRE(topic != NULL);
    *topic = (struct metadata_topic){.id = r->topic_id,
                                     .internal = r->internal,
                                     .partition_count = r->partition_count,
                                     .replica_count = r->replica_count,
                                     .replicas = copy_replicas(r),
                                     .desired_count = r->desired_count,
                                     .founder_count = r->founder_count,
                                     .founders = copy_founders(r),
                                     .changed = changed,
                                     .config = config,
                                     .version = m->version};
    memcpy(topic->name, r->topic, sizeof topic->name);
    insert_topic(m, topic);
}

static void apply_partition(struct metadata *m, const struct metadata_record *r)
{
    struct metadata_topic *topic = map_get(&m->by_id, r->topic_id.bytes, UUID_BYTES);
    if (topic == NULL || r->partition >= topic->partition_count)
        return;
    if (topic->changed == NULL) {
        topic->changed = calloc(topic->partition_count, sizeof(struct metadata_partition *));
        REQUIRE(topic->changed != NULL);
    }
    struct metadata_partition **held = &topic->changed[r->partition];
    topic->version = m->version;
    if (r->gone) {
        free(*held);
        *held = NULL;
        return;
    }
    if (*held == NULL)
        *held = malloc(sizeof **held);
    REQUIRE(*held != NULL);
    **held = r->holders;
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

static bool holds(const struct metadata_topic *t, uint32_t broker_id)
{
    struct metadata_replica replicas[METADATA_REPLICAS_MAX];
    for (uint32_t p = 0; p < t->partition_count; p++) {
        uint32_t count = metadata_present(t, p, replicas);
        for (uint32_t i = 0; i < count; i++)
            if (replicas[i].broker == broker_id)
                return true;
        count = metadata_target(t, p, replicas);
        for (uint32_t i = 0; i < count; i++)
            if (replicas[i].broker == broker_id)
                return true;
    }
    return false;
}

/* Its replicas are others now: whoever follows the topics looks at them again. */
static void touch_topics_of(struct metadata *m, uint32_t broker_id)
{
    for (size_t i = 0; i < m->topic_count; i++)
        if (holds(m->topics[i], broker_id))
            m->topics[i]->version = m->version;
}

static size_t broker_place(const struct metadata *m, uint32_t id, bool *known)
{
    size_t at = 0;
    while (at < m->broker_count && m->brokers[at]->id < id)
        at++;
    *known = at < m->broker_count && m->brokers[at]->id == id;
    return at;
}

static void apply_broker(struct metadata *m, const struct metadata_record *r)
{
    bool known;
    size_t at = broker_place(m, r->broker.id, &known);
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
        m->brokers[at] = calloc(1, sizeof(struct metadata_broker));
        REQUIRE(m->brokers[at] != NULL);
        m->broker_count++;
    }
    bool other = !uuid_equal(&m->brokers[at]->incarnation, &r->broker.incarnation);
    bool draining = m->brokers[at]->draining;
    *m->brokers[at] = r->broker;
    m->brokers[at]->draining = draining;
    if (other)
        touch_topics_of(m, r->broker.id);
}

bool metadata_is_removed(const struct metadata *m, uint32_t id, const struct uuid *incarnation)
{
    for (size_t i = 0; i < m->removed_count; i++)
        if (m->removed[i].broker == id)
            return uuid_equal(&m->removed[i].incarnation, incarnation);
    return false;
}

/* One incarnation of a broker, the latest: those before it are replaced for good. */
static void forget_removed(struct metadata *m, uint32_t id)
{
    for (size_t i = 0; i < m->removed_count; i++)
        if (m->removed[i].broker == id) {
            memmove(&m->removed[i], &m->removed[i + 1], (m->removed_count - i - 1) * sizeof *m->removed);
            m->removed_count--;
            return;
        }
}

static void note_removed(struct metadata *m, const struct metadata_broker *broker)
{
    forget_removed(m, broker->id);
    m->removed = realloc(m->removed, (m->removed_count + 1) * sizeof *m->removed);
    REQUIRE(m->removed != NULL);
    size_t at = m->removed_count++;
    for (; at > 0 && m->removed[at - 1].broker > broker->id; at--)
        m->removed[at] = m->removed[at - 1];
    m->removed[at] = (struct metadata_founder){.broker = broker->id, .incarnation = broker->incarnation};
}

static void apply_broker_state(struct metadata *m, const struct metadata_record *r)
{
    if (r->removed) {
        note_removed(m, &r->broker);
        return;
    }
    bool known;
    size_t at = broker_place(m, r->broker.id, &known);
    if (known)
        m->brokers[at]->draining = !r->gone && r->draining;
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
    case METADATA_RECORD_BROKER_STATE:
        apply_broker_state(m, r);
        break;
    case METADATA_RECORD_PARTITION:
        apply_partition(m, r);
        break;
    case METADATA_RECORD_END:
        REQUIRE(false);
    }
}

void metadata_clear(struct metadata *m)
{
    while (m->topic_count > 0)
        remove_topic(m, m->topics[m->topic_count - 1]);
    for (size_t i = 0; i < m->broker_count; i++)
        free(m->brokers[i]);
    free(m->brokers);
    free(m->removed);
    free(m->topics);
    map_fini(&m->by_name);
    map_fini(&m->by_id);
    m->brokers = NULL;
    m->removed = NULL;
    m->removed_count = 0;
    m->broker_count = 0;
    m->topics = NULL;
    m->topic_room = 0;
    m->cluster_id = (struct uuid){{0}};
    m->next_producer_id = 0;
    m->next_off = 0;
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
        for (uint32_t p = 0; t->changed != NULL && p < t->partition_count; p++)
            REQUIRE(t->changed[p] == NULL || t->changed[p]->present_count > 0);
        internal += t->internal;
    }
    REQUIRE(internal == m->internal_count);
    for (size_t i = 1; i < m->broker_count; i++)
        REQUIRE(m->brokers[i - 1]->id < m->brokers[i]->id);
}
