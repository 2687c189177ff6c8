/*
 * Keys (little-endian; text is a length of one byte and the bytes):
 *
 *    type 1 CLUSTER       u8 1
 *    type 2 BROKER        u8 2 | broker u32
 *    type 3 TOPIC         u8 3 | topic id 16
 *    type 4 CONFIG        u8 4 | topic id 16 | text key ("retention.ms")
 *    type 5 PRODUCERS     u8 5
 *    type 6 BROKER_STATE  u8 6 | broker u32
 *    type 7 PARTITION     u8 7 | topic id 16 | partition u32
 *
 * Values, each beginning with a version, u8 1 (BROKER: 2; TOPIC: 2, or 3 once partitions were added):
 *
 *    CLUSTER       cluster id 16
 *    BROKER        incarnation 16 | text host | port u16 | raft port u16;
 *                  in version 2 then: text Kafka host (empty: as host) | Kafka port u16
 *    TOPIC         u8 flags (1: internal) | text name | u32 partitions | u8 replicas |
 *                  partitions * replicas broker ids u32, the preferred leader first;
 *                  in version 2 then: u8 desired replicas | u16 founders | for each, by id:
 *                  broker id u32, its incarnation at the founding 16; in version 3 then, of each:
 *                  u32 the partition from which on this holds
 *    CONFIG        i64 value
 *    PRODUCERS     u64 next producer id
 *    BROKER_STATE  u8 flags (1: draining, 2: removed) | if removed: incarnation 16
 *    PARTITION     u32 changes | u8 present | for each: broker id u32, mix 16 |
 *                  u8 wanted | for each the same
 */
#include "cluster/metadata_record.h"

#include "base/require.h"

enum {
    VERSION = 1,
    SECOND_VERSION = 2,
    THIRD_VERSION = 3,
    FLAG_INTERNAL = 1,
    FLAG_DRAINING = 1,
    FLAG_REMOVED = 2,
    FOUNDER_BYTES = 4 + UUID_BYTES
};

/* Some founders are not those of all partitions. */
static bool was_added_to(const struct metadata_record *r)
{
    bool added = false;
    for (uint32_t i = 0; i < r->founder_count && !added; i++)
        added = r->founders[i].from > 0;
    return added;
}

static void encode_topic(const struct metadata_record *r, bool with_from, struct buf *value)
{
    REQUIRE(r->replica_count <= METADATA_REPLICAS_MAX);
    buf_u8(value, r->internal ? FLAG_INTERNAL : 0);
    buf_text8(value, r->topic);
    buf_le32(value, r->partition_count);
    buf_u8(value, (uint8_t)r->replica_count);
    for (size_t i = 0; i < (size_t)r->partition_count * r->replica_count; i++)
        buf_le32(value, r->replicas[i]);
    buf_u8(value, (uint8_t)r->desired_count);
    buf_le16(value, (uint16_t)r->founder_count);
    for (uint32_t i = 0; i < r->founder_count; i++) {
        buf_le32(value, r->founders[i].broker);
        buf_put(value, r->founders[i].incarnation.bytes, UUID_BYTES);
        if (with_from)
            buf_le32(value, r->founders[i].from);
    }
}

static void encode_replicas(const struct metadata_replica *replicas, uint32_t count, struct buf *value)
{
    REQUIRE(count <= METADATA_REPLICAS_MAX);
    buf_u8(value, (uint8_t)count);
    for (uint32_t i = 0; i < count; i++) {
        buf_le32(value, replicas[i].broker);
        buf_put(value, replicas[i].mix.bytes, UUID_BYTES);
    }
}

static bool has_broker_key(enum metadata_record_type type)
{
    return type == METADATA_RECORD_BROKER || type == METADATA_RECORD_BROKER_STATE;
}

static bool has_topic_key(enum metadata_record_type type)
{
    return type == METADATA_RECORD_TOPIC || type == METADATA_RECORD_CONFIG || type == METADATA_RECORD_PARTITION;
}

static uint8_t newest_version(enum metadata_record_type type)
{
    if (type == METADATA_RECORD_TOPIC)
        return THIRD_VERSION;
    return type == METADATA_RECORD_BROKER ? SECOND_VERSION : VERSION;
}

void metadata_record_encode(const struct metadata_record *r, struct buf *key, struct buf *value)
{
    buf_u8(key, (uint8_t)r->type);
    if (has_broker_key(r->type))
        buf_le32(key, r->broker.id);
    if (has_topic_key(r->type))
        buf_put(key, r->topic_id.bytes, UUID_BYTES);
    if (r->type == METADATA_RECORD_PARTITION)
        buf_le32(key, r->partition);
    if (r->type == METADATA_RECORD_CONFIG)
        buf_text8(key, topic_config_name(r->config_key));
    if (r->gone)
        return;
    bool added = r->type == METADATA_RECORD_TOPIC && was_added_to(r);
    uint8_t version = newest_version(r->type);
    buf_u8(value, r->type == METADATA_RECORD_TOPIC && !added ? SECOND_VERSION : version);
    switch (r->type) {
    case METADATA_RECORD_CLUSTER:
        buf_put(value, r->cluster_id.bytes, UUID_BYTES);
        break;
    case METADATA_RECORD_BROKER:
        buf_put(value, r->broker.incarnation.bytes, UUID_BYTES);
        buf_text8(value, r->broker.host);
        buf_le16(value, r->broker.port);
        buf_le16(value, r->broker.raft_port);
        buf_text8(value, r->broker.kafka_host);
        buf_le16(value, r->broker.kafka_port);
        break;
    case METADATA_RECORD_TOPIC:
        encode_topic(r, added, value);
        break;
    case METADATA_RECORD_CONFIG:
        buf_le64(value, (uint64_t)r->config_value);
        break;
    case METADATA_RECORD_PRODUCERS:
        buf_le64(value, r->next_producer_id);
        break;
    case METADATA_RECORD_BROKER_STATE:
        buf_u8(value, (uint8_t)((r->draining ? FLAG_DRAINING : 0) | (r->removed ? FLAG_REMOVED : 0)));
        if (r->removed)
            buf_put(value, r->broker.incarnation.bytes, UUID_BYTES);
        break;
    case METADATA_RECORD_PARTITION:
        buf_le32(value, r->holders.changes);
        encode_replicas(r->holders.present, r->holders.present_count, value);
        encode_replicas(r->holders.wanted, r->holders.wanted_count, value);
        break;
    case METADATA_RECORD_END:
        REQUIRE(false);
    }
}

static void decode_topic(struct metadata_record *r, uint8_t version, struct cursor *c)
{
    uint8_t flags = cursor_u8(c);
    r->internal = (flags & FLAG_INTERNAL) != 0;
    cursor_text8(c, r->topic, sizeof r->topic);
    r->partition_count = cursor_le32(c);
    r->replica_count = cursor_u8(c);
    if ((flags & ~FLAG_INTERNAL) != 0 || r->topic[0] == '\0' || r->partition_count == 0 ||
        r->partition_count > METADATA_PARTITIONS_MAX || r->replica_count == 0 ||
        r->replica_count > METADATA_REPLICAS_MAX)
        c->bad = true;
    if (!c->bad)
        r->replica_bytes = cursor_bytes(c, (size_t)r->partition_count * r->replica_count * 4);
    r->desired_count = r->replica_count;
    if (version == VERSION)
        return;
    r->desired_count = cursor_u8(c);
    r->founder_count = cursor_le16(c);
    if (r->desired_count == 0 || r->desired_count > METADATA_REPLICAS_MAX || r->founder_count > METADATA_FOUNDERS_MAX)
        c->bad = true;
    r->founder_width = version == THIRD_VERSION ? FOUNDER_BYTES + 4 : FOUNDER_BYTES;
    if (!c->bad)
        r->founder_bytes = cursor_bytes(c, (size_t)r->founder_count * r->founder_width);
}

static uint32_t decode_replicas(struct metadata_replica *replicas, struct cursor *c)
{
    uint32_t count = cursor_u8(c);
    if (count > METADATA_REPLICAS_MAX)
        c->bad = true;
    for (uint32_t i = 0; i < count && !c->bad; i++) {
        replicas[i].broker = cursor_le32(c);
        cursor_copy(c, replicas[i].mix.bytes, UUID_BYTES);
    }
    return count;
}

static void decode_state(struct metadata_record *r, struct cursor *c)
{
    uint8_t flags = cursor_u8(c);
    r->draining = (flags & FLAG_DRAINING) != 0;
    r->removed = (flags & FLAG_REMOVED) != 0;
    if (r->removed)
        cursor_copy(c, r->broker.incarnation.bytes, UUID_BYTES);
}

static void decode_value(struct metadata_record *r, uint8_t version, struct cursor *c)
{
    switch (r->type) {
    case METADATA_RECORD_CLUSTER:
        cursor_copy(c, r->cluster_id.bytes, UUID_BYTES);
        break;
    case METADATA_RECORD_BROKER:
        cursor_copy(c, r->broker.incarnation.bytes, UUID_BYTES);
        cursor_text8(c, r->broker.host, sizeof r->broker.host);
        r->broker.port = cursor_le16(c);
        r->broker.raft_port = cursor_le16(c);
        if (version == VERSION)
            break;
        cursor_text8(c, r->broker.kafka_host, sizeof r->broker.kafka_host);
        r->broker.kafka_port = cursor_le16(c);
        break;
    case METADATA_RECORD_TOPIC:
        decode_topic(r, version, c);
        break;
    case METADATA_RECORD_CONFIG:
        r->config_value = (int64_t)cursor_le64(c);
        break;
    case METADATA_RECORD_PRODUCERS:
        r->next_producer_id = cursor_le64(c);
        break;
    case METADATA_RECORD_BROKER_STATE:
        decode_state(r, c);
        break;
    case METADATA_RECORD_PARTITION:
        r->holders.changes = cursor_le32(c);
        r->holders.present_count = decode_replicas(r->holders.present, c);
        r->holders.wanted_count = decode_replicas(r->holders.wanted, c);
        c->bad |= r->holders.present_count == 0;
        break;
    case METADATA_RECORD_END:
        REQUIRE(false);
    }
}

enum kq_err metadata_record_decode(struct metadata_record *r, const void *key, size_t key_bytes, const void *value,
                                   size_t value_bytes)
{
    memset(r, 0, sizeof *r);
    struct cursor c = cursor_over(key, key_bytes);
    uint8_t type = cursor_u8(&c);
    if (c.bad)
        return KQ_CORRUPT;
    if (type < METADATA_RECORD_CLUSTER || type >= METADATA_RECORD_END)
        return KQ_BAD_VERSION;
    r->type = (enum metadata_record_type)type;
    if (has_broker_key(r->type))
        r->broker.id = cursor_le32(&c);
    if (has_topic_key(r->type))
        cursor_copy(&c, r->topic_id.bytes, UUID_BYTES);
    if (r->type == METADATA_RECORD_PARTITION)
        r->partition = cursor_le32(&c);
    if (r->type == METADATA_RECORD_CONFIG) {
        char name[64];
        cursor_text8(&c, name, sizeof name);
        if (!c.bad && !topic_config_find(name, &r->config_key))
            return KQ_BAD_VERSION;
    }
    if (c.bad || cursor_left(&c) != 0)
        return KQ_CORRUPT;
    r->gone = value == NULL;
    if (r->gone)
        return KQ_OK;
    c = cursor_over(value, value_bytes);
    uint8_t version = cursor_u8(&c);
    if (!c.bad && (version < VERSION || version > newest_version(r->type)))
        return KQ_BAD_VERSION;
    decode_value(r, version, &c);
    return c.bad || cursor_left(&c) != 0 ? KQ_CORRUPT : KQ_OK;
}
