#include "cluster/image.h"

#include "base/bytes.h"
#include "base/require.h"
#include "cluster/holders.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

struct image_topic {
    uint32_t tag;
    _Atomic uint32_t references;
    struct uuid id;
    uint64_t version; /* the metadata's, of this topic */
    bool internal;
    uint32_t partition_count;
    uint32_t desired_count;
    struct holders *holders;
    struct topic_config config;
    struct partition_limits limits;
    _Atomic uint32_t round_robin;
    _Atomic bool settled;
    char name[TOPIC_NAME_MAX_BYTES + 1];
    _Atomic(struct partition *) partitions[]; /* with a reference each */
};

struct image {
    uint32_t tag;
    _Atomic uint32_t references;
    uint64_t version;
    struct uuid cluster_id;
    uint64_t next_off;
    int64_t producer_ids_end; /* no id from here on was ever given */
    struct image_broker *brokers;
    size_t broker_count;
    struct image_topic **topics; /* by name, with a reference each */
    size_t topic_count;
    uint32_t *by_id; /* 1 + places in topics, at hashes of their ids or behind; 0: free */
    size_t by_id_mask;
};

enum { IMAGE_TAG = 0x6b71696d, IMAGE_TOPIC_TAG = 0x6b716974 };

/* Taking a reference needs no order; giving one up must come after every use, and
 * the last giver must see them all. */
static bool drop_reference(_Atomic uint32_t *references)
{
    uint32_t before = atomic_fetch_sub_explicit(references, 1, memory_order_acq_rel);
    REQUIRE(before > 0);
    return before == 1;
}

/* ---- who holds what ------------------------------------------------------------------ */

struct image_holders image_holders(const struct image_topic *topic, uint32_t p)
{
    const struct holders *h = topic->holders;
    REQUIRE(p < topic->partition_count);
    return (struct image_holders){.brokers = h->brokers + h->first[p],
                                  .mixes = h->mixes + h->first[p],
                                  .wanted_count = h->wanted[p],
                                  .count = h->first[p + 1] - h->first[p],
                                  .moving = h->moving[p],
                                  .changes = h->changes[p]};
}

const uint32_t *image_replicas(const struct image_topic *topic, uint32_t p, uint32_t *count)
{
    struct image_holders holders = image_holders(topic, p);
    *count = holders.wanted_count;
    return holders.brokers;
}

uint32_t image_founders(const struct image_topic *topic, uint32_t p, struct raft_member *members, uint32_t room)
{
    const struct holders *h = topic->holders;
    REQUIRE(p < topic->partition_count);
    REQUIRE(h->founder_replicas <= room);
    memcpy(members, h->founders + (size_t)p * h->founder_replicas, h->founder_replicas * sizeof *members);
    return h->founder_replicas;
}

uint32_t image_topic_desired_replicas(const struct image_topic *topic)
{
    return topic->desired_count;
}

/* ---- topics --------------------------------------------------------------------------- */

struct image_topic *image_topic_hold(struct image_topic *topic)
{
    TAG_CHECK(topic, IMAGE_TOPIC_TAG);
    (void)atomic_fetch_add_explicit(&topic->references, 1, memory_order_relaxed);
    return topic;
}

void image_topic_drop(struct image_topic **topic)
{
    struct image_topic *t = *topic;
    *topic = NULL;
    if (t == NULL)
        return;
    TAG_CHECK(t, IMAGE_TOPIC_TAG);
    if (!drop_reference(&t->references))
        return;
    for (uint32_t p = 0; p < t->partition_count; p++) {
        struct partition *partition = atomic_load_explicit(&t->partitions[p], memory_order_relaxed);
        if (partition != NULL)
            partition_drop(&partition);
    }
    t->tag = TAG_DEAD;
    holders_drop(t->holders);
    free(t);
}

const char *image_topic_name(const struct image_topic *topic)
{
    return topic->name;
}

const struct uuid *image_topic_id(const struct image_topic *topic)
{
    return &topic->id;
}

uint32_t image_topic_partitions(const struct image_topic *topic)
{
    return topic->partition_count;
}

bool image_topic_internal(const struct image_topic *topic)
{
    return topic->internal;
}

const struct partition_limits *image_topic_limits(const struct image_topic *topic)
{
    return &topic->limits;
}

const struct topic_config *image_topic_config(const struct image_topic *topic)
{
    return &topic->config;
}

struct partition *image_partition(const struct image_topic *topic, uint32_t p)
{
    TAG_CHECK(topic, IMAGE_TOPIC_TAG);
    /* Pairs with the release below: who sees the handle sees the partition made. */
    return p < topic->partition_count ? atomic_load_explicit(&topic->partitions[p], memory_order_acquire) : NULL;
}

void image_topic_set_partition(struct image_topic *topic, uint32_t p, struct partition *partition)
{
    TAG_CHECK(topic, IMAGE_TOPIC_TAG);
    REQUIRE(p < topic->partition_count);
    REQUIRE(atomic_load_explicit(&topic->partitions[p], memory_order_relaxed) == NULL);
    atomic_store_explicit(&topic->partitions[p], partition_hold(partition), memory_order_release);
}

uint32_t image_topic_next_partition(struct image_topic *topic)
{
    return atomic_fetch_add_explicit(&topic->round_robin, 1, memory_order_relaxed) % topic->partition_count;
}

bool image_topic_settled(const struct image_topic *topic)
{
    return atomic_load_explicit(&topic->settled, memory_order_relaxed);
}

void image_topic_settle(struct image_topic *topic)
{
    atomic_store_explicit(&topic->settled, true, memory_order_relaxed);
}

bool image_same_limits(const struct partition_limits *a, const struct partition_limits *b)
{
    return a->segment_bytes == b->segment_bytes && a->retention_bytes == b->retention_bytes &&
           a->retention_ms == b->retention_ms && a->max_message_bytes == b->max_message_bytes &&
           a->segment_ms == b->segment_ms && a->min_in_sync == b->min_in_sync &&
           a->log_append_time == b->log_append_time && a->before_max_ms == b->before_max_ms &&
           a->after_max_ms == b->after_max_ms;
}

/* Without handles. Takes the holders; NULL: out of memory. */
static struct image_topic *new_topic(const struct uuid *id, const char *name, uint32_t partition_count,
                                     struct holders *holders)
{
    struct image_topic *t = calloc(1, sizeof *t + partition_count * sizeof t->partitions[0]);
    if (t == NULL || holders == NULL) {
        free(t);
        holders_drop(holders);
        return NULL;
    }
    t->tag = IMAGE_TOPIC_TAG;
    atomic_init(&t->references, 1);
    t->id = *id;
    (void)snprintf(t->name, sizeof t->name, "%s", name);
    t->partition_count = partition_count;
    t->holders = holders;
    return t;
}

/* What moves in a topic goes on in the one that follows it; not the handle of
 * partition `except` (UINT32_MAX: none is left out). */
static void inherit(struct image_topic *t, const struct image_topic *before, uint32_t except)
{
    atomic_init(&t->round_robin, atomic_load_explicit(&before->round_robin, memory_order_relaxed));
    for (uint32_t p = 0; p < t->partition_count && p < before->partition_count; p++) {
        struct partition *partition = image_partition(before, p);
        if (partition != NULL && p != except)
            image_topic_set_partition(t, p, partition);
    }
}

static struct image_topic *make_topic(const struct metadata_topic *from, const struct partition_limits *limits,
                                      struct image_topic *before)
{
    if (before != NULL && before->version == from->version && image_same_limits(&before->limits, limits))
        return image_topic_hold(before);
    struct image_topic *t = new_topic(&from->id, from->name, from->partition_count, holders_make(from));
    if (t == NULL)
        return NULL;
    t->version = from->version;
    t->desired_count = from->desired_count;
    t->internal = from->internal;
    t->config = from->config;
    t->limits = *limits;
    if (before != NULL)
        inherit(t, before, UINT32_MAX);
    return t;
}

static struct image_topic *clone_topic(const struct image_topic *before, const struct partition_limits *limits,
                                       uint32_t except)
{
    struct image_topic *t =
        new_topic(&before->id, before->name, before->partition_count, holders_hold(before->holders));
    if (t == NULL)
        return NULL;
    t->version = before->version;
    t->desired_count = before->desired_count;
    t->internal = before->internal;
    t->config = before->config;
    t->limits = *limits;
    inherit(t, before, except);
    return t;
}

/* ---- images --------------------------------------------------------------------------------- */

struct image *image_hold(struct image *image)
{
    TAG_CHECK(image, IMAGE_TAG);
    (void)atomic_fetch_add_explicit(&image->references, 1, memory_order_relaxed);
    return image;
}

void image_drop(struct image **image)
{
    struct image *i = *image;
    *image = NULL;
    if (i == NULL)
        return;
    TAG_CHECK(i, IMAGE_TAG);
    if (!drop_reference(&i->references))
        return;
    for (size_t t = 0; t < i->topic_count; t++)
        image_topic_drop(&i->topics[t]);
    i->tag = TAG_DEAD;
    free(i->topics);
    free(i->by_id);
    free(i->brokers);
    free(i);
}

int64_t image_producer_ids_end(const struct image *image)
{
    return image->producer_ids_end;
}

struct uuid image_cluster_id(const struct image *image)
{
    return image->cluster_id;
}

uint64_t image_version(const struct image *image)
{
    return image->version;
}

/* As strcmp would order them, but name may hold anything. */
static int compare_name(const struct image_topic *topic, const char *name, size_t name_bytes)
{
    size_t len = strlen(topic->name);
    int order = memcmp(topic->name, name, len < name_bytes ? len : name_bytes);
    return order != 0 ? order : (len > name_bytes) - (len < name_bytes);
}

struct image_topic *image_find(const struct image *image, const char *name, size_t name_bytes)
{
    TAG_CHECK(image, IMAGE_TAG);
    size_t low = 0;
    size_t high = image->topic_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        struct image_topic *t = image->topics[middle];
        int order = compare_name(t, name, name_bytes);
        if (order == 0)
            return t;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

/* Ids are random: some of their bytes are as good as a hash. */
static size_t hash_of_id(const struct uuid *id)
{
    return get_le32(id->bytes);
}

struct image_topic *image_find_id(const struct image *image, const struct uuid *id)
{
    for (size_t at = hash_of_id(id);; at++) {
        uint32_t place = image->by_id[at & image->by_id_mask];
        if (place == 0)
            return NULL;
        if (uuid_equal(&image->topics[place - 1]->id, id))
            return image->topics[place - 1];
    }
}

/* The last step of making an image, which is dropped where there is no memory. */
static void index_ids(struct image **image)
{
    struct image *i = *image;
    if (i == NULL)
        return;
    size_t slots = 16;
    while (slots < 2 * i->topic_count) /* at most half of them are taken */
        slots *= 2;
    i->by_id = calloc(slots, sizeof *i->by_id);
    i->by_id_mask = slots - 1;
    if (i->by_id == NULL) {
        image_drop(image);
        return;
    }
    for (size_t t = 0; t < i->topic_count; t++) {
        const struct image_topic *topic = i->topics[t];
        REQUIRE(topic != NULL);
        size_t at = hash_of_id(&topic->id);
        while (i->by_id[at & i->by_id_mask] != 0)
            at++;
        i->by_id[at & i->by_id_mask] = (uint32_t)t + 1;
    }
}

size_t image_topic_count(const struct image *image)
{
    return image->topic_count;
}

struct image_topic *image_topic_at(const struct image *image, size_t i)
{
    REQUIRE(i < image->topic_count);
    return image->topics[i];
}

size_t image_broker_count(const struct image *image)
{
    return image->broker_count;
}

const struct image_broker *image_broker_at(const struct image *image, size_t i)
{
    REQUIRE(i < image->broker_count);
    return &image->brokers[i];
}

const struct image_broker *image_find_broker(const struct image *image, uint32_t id)
{
    for (size_t i = 0; i < image->broker_count; i++)
        if (image->brokers[i].id == id)
            return &image->brokers[i];
    return NULL;
}

uint64_t image_next_off(const struct image *image)
{
    return image->next_off;
}

static bool copy_brokers(struct image *image, const struct metadata *metadata)
{
    size_t count = metadata_broker_count(metadata);
    image->brokers = calloc(count + 1, sizeof *image->brokers);
    if (image->brokers == NULL)
        return false;
    for (; image->broker_count < count; image->broker_count++) {
        const struct metadata_broker *from = metadata_broker_at(metadata, image->broker_count);
        struct image_broker *to = &image->brokers[image->broker_count];
        *to = (struct image_broker){.id = from->id,
                                    .incarnation = from->incarnation,
                                    .port = from->port,
                                    .raft_port = from->raft_port,
                                    .kafka_port = from->kafka_port,
                                    .draining = from->draining};
        (void)snprintf(to->host, sizeof to->host, "%s", from->host);
        (void)snprintf(to->kafka_host, sizeof to->kafka_host, "%s",
                       from->kafka_host[0] != '\0' ? from->kafka_host : from->host);
    }
    return true;
}

/* The topic of this name in `before`, going on from *at: both are in name order. */
static struct image_topic *namesake(const struct image *before, size_t *at, const struct metadata_topic *topic)
{
    if (before == NULL)
        return NULL;
    while (*at < before->topic_count && strcmp(before->topics[*at]->name, topic->name) < 0)
        (*at)++;
    if (*at == before->topic_count || !uuid_equal(&before->topics[*at]->id, &topic->id))
        return NULL;
    return before->topics[*at];
}

struct image *image_make(const struct metadata *metadata, const struct image *before,
                         const struct partition_limits *defaults)
{
    struct image *image = calloc(1, sizeof *image);
    if (image == NULL)
        return NULL;
    image->tag = IMAGE_TAG;
    atomic_init(&image->references, 1);
    image->version = before == NULL ? 1 : before->version + 1;
    image->cluster_id = metadata_cluster_id(metadata);
    image->next_off = metadata_next_off(metadata);
    image->producer_ids_end = metadata_producer_ids_end(metadata);
    size_t count = metadata_topic_count(metadata);
    image->topics = calloc(count + 1, sizeof(struct image_topic *));
    if (image->topics == NULL || !copy_brokers(image, metadata)) {
        image_drop(&image);
        return NULL;
    }
    size_t at = 0;
    for (; image->topic_count < count; image->topic_count++) {
        const struct metadata_topic *from = metadata_topic_at(metadata, image->topic_count);
        struct partition_limits limits = topic_config_limits(&from->config, defaults);
        struct image_topic *topic = make_topic(from, &limits, namesake(before, &at, from));
        if (topic == NULL) {
            image_drop(&image);
            return NULL;
        }
        image->topics[image->topic_count] = topic;
    }
    index_ids(&image);
    return image;
}

/* An image like `before`, without topics, with room for as many. */
static struct image *copy_without_topics(const struct image *before)
{
    struct image *image = calloc(1, sizeof *image);
    if (image == NULL)
        return NULL;
    image->tag = IMAGE_TAG;
    atomic_init(&image->references, 1);
    image->version = before->version + 1;
    image->cluster_id = before->cluster_id;
    image->next_off = before->next_off;
    image->producer_ids_end = before->producer_ids_end;
    image->topics = calloc(before->topic_count + 1, sizeof(struct image_topic *));
    image->brokers = calloc(before->broker_count + 1, sizeof *image->brokers);
    if (image->topics == NULL || image->brokers == NULL) {
        image_drop(&image);
        return NULL;
    }
    memcpy(image->brokers, before->brokers, before->broker_count * sizeof *image->brokers);
    image->broker_count = before->broker_count;
    return image;
}

struct image *image_with_defaults(const struct image *before, const struct partition_limits *defaults)
{
    struct image *image = copy_without_topics(before);
    for (size_t i = 0; image != NULL && i < before->topic_count; i++) {
        struct image_topic *old = before->topics[i];
        struct partition_limits limits = topic_config_limits(&old->config, defaults);
        struct image_topic *topic =
            image_same_limits(&old->limits, &limits) ? image_topic_hold(old) : clone_topic(old, &limits, UINT32_MAX);
        if (topic == NULL)
            image_drop(&image);
        else
            image->topics[image->topic_count++] = topic;
    }
    index_ids(&image);
    return image;
}

struct image *image_without_partition(const struct image *before, const struct uuid *topic_id, uint32_t p)
{
    struct image *image = copy_without_topics(before);
    for (size_t i = 0; image != NULL && i < before->topic_count; i++) {
        struct image_topic *old = before->topics[i];
        struct image_topic *topic =
            uuid_equal(&old->id, topic_id) ? clone_topic(old, &old->limits, p) : image_topic_hold(old);
        if (topic == NULL)
            image_drop(&image);
        else
            image->topics[image->topic_count++] = topic;
    }
    index_ids(&image);
    return image;
}
