/*
 * Keys (little-endian; text is one byte of length and the bytes):
 *
 *    type 1 GROUP         u8 1 | text group
 *    type 2 CLAIM         u8 2 | text group | topic id 16 | broker u32 | session u64
 *    type 3 SUBSCRIPTION  u8 3 | text group | topic id 16 | partition u32
 *    type 4 OFFSET        u8 4 | text group | topic id 16 | partition u32
 *    type 5 MEMBER        u8 5 | text group | text member id
 *
 * Values, each beginning with a version, u8 1 (GROUP, OFFSET: 2):
 *
 *    GROUP         u8 kind | u32 generation | i64 empty since (ms; 0: it has members);
 *                  in version 2 then: text protocol type | text protocol | text leader's member id
 *    CLAIM         u32 partitions wanted | u32 partitions of the topic | text topic
 *    SUBSCRIPTION  secret 16 | owner: broker u32, session u64 | text topic
 *    OFFSET        i64 offset | i64 time (ms) | text topic | u16 length, metadata;
 *                  in version 2 then: i32 leader epoch
 *    MEMBER        u8 flags (1: an instance id) | text instance id | text client id | text host |
 *                  i32 session timeout, i32 rebalance timeout (ms) |
 *                  u32 length, metadata | u32 length, assignment
 *
 * A SUBSCRIPTION is keyed by its partition, so two owners of one partition cannot
 * even be written down. A later version may append to a value; what this program
 * does not know at a value's end is an error, as the version says what is there.
 */
#include "group/group_record.h"

enum { VERSION = 1, SECOND_VERSION = 2 };

static uint8_t newest_version(enum group_record_type type)
{
    return type == GROUP_RECORD_GROUP || type == GROUP_RECORD_OFFSET ? SECOND_VERSION : VERSION;
}

static void put_text(struct buf *b, struct slice text)
{
    if (text.len > UINT8_MAX)
        b->bad = true;
    buf_u8(b, (uint8_t)text.len);
    buf_put(b, text.data, text.len);
}

static struct slice get_text(struct cursor *c)
{
    size_t len = cursor_u8(c);
    return slice_of(cursor_bytes(c, len), len);
}

static void put_session(struct buf *b, const struct group_session *session)
{
    buf_le32(b, session->broker_id);
    buf_le64(b, session->id);
}

static void get_session(struct cursor *c, struct group_session *session)
{
    session->broker_id = cursor_le32(c);
    session->id = cursor_le64(c);
}

static void encode_value(const struct group_record *r, struct buf *value)
{
    buf_u8(value, newest_version(r->type));
    switch (r->type) {
    case GROUP_RECORD_GROUP:
        buf_u8(value, (uint8_t)r->kind);
        buf_le32(value, r->generation);
        buf_le64(value, (uint64_t)r->empty_since_ms);
        put_text(value, r->protocol_type);
        put_text(value, r->protocol);
        put_text(value, r->leader);
        break;
    case GROUP_RECORD_CLAIM:
        buf_le32(value, r->wanted);
        buf_le32(value, r->partition_count);
        buf_text8(value, r->topic);
        break;
    case GROUP_RECORD_SUBSCRIPTION:
        buf_put(value, r->secret.bytes, UUID_BYTES);
        put_session(value, &r->session);
        buf_text8(value, r->topic);
        break;
    case GROUP_RECORD_OFFSET:
        buf_le64(value, (uint64_t)r->off);
        buf_le64(value, (uint64_t)r->time_ms);
        buf_text8(value, r->topic);
        buf_le16(value, r->metadata_bytes);
        buf_put(value, r->metadata, r->metadata_bytes);
        buf_le32(value, (uint32_t)r->leader_epoch);
        break;
    case GROUP_RECORD_MEMBER:
        buf_put(value, r->body.data, r->body.len);
        break;
    }
}

static bool has_topic(enum group_record_type type)
{
    return type != GROUP_RECORD_GROUP && type != GROUP_RECORD_MEMBER;
}

void group_record_encode(const struct group_record *r, struct buf *key, struct buf *value)
{
    buf_u8(key, (uint8_t)r->type);
    buf_text8(key, r->group);
    if (has_topic(r->type))
        buf_put(key, r->topic_id.bytes, UUID_BYTES);
    if (r->type == GROUP_RECORD_CLAIM)
        put_session(key, &r->session);
    else if (has_topic(r->type))
        buf_le32(key, r->partition);
    if (r->type == GROUP_RECORD_MEMBER)
        put_text(key, r->member);
    if (!r->gone)
        encode_value(r, value);
}

static void decode_value(struct group_record *r, uint8_t version, struct cursor *c)
{
    switch (r->type) {
    case GROUP_RECORD_GROUP: {
        uint8_t kind = cursor_u8(c);
        if (kind > GROUP_KIND_CLASSIC)
            c->bad = true;
        r->kind = (enum group_kind)kind;
        r->generation = cursor_le32(c);
        r->empty_since_ms = (int64_t)cursor_le64(c);
        if (version == VERSION)
            break;
        r->protocol_type = get_text(c);
        r->protocol = get_text(c);
        r->leader = get_text(c);
        break;
    }
    case GROUP_RECORD_CLAIM:
        r->wanted = cursor_le32(c);
        r->partition_count = cursor_le32(c);
        cursor_text8(c, r->topic, sizeof r->topic);
        if (r->wanted == 0 || r->wanted > GROUP_PARTITIONS_MAX || r->partition_count > GROUP_PARTITIONS_MAX)
            c->bad = true;
        break;
    case GROUP_RECORD_SUBSCRIPTION:
        cursor_copy(c, r->secret.bytes, UUID_BYTES);
        get_session(c, &r->session);
        cursor_text8(c, r->topic, sizeof r->topic);
        break;
    case GROUP_RECORD_OFFSET:
        r->off = (int64_t)cursor_le64(c);
        r->time_ms = (int64_t)cursor_le64(c);
        cursor_text8(c, r->topic, sizeof r->topic);
        r->metadata_bytes = cursor_le16(c);
        r->metadata = cursor_bytes(c, r->metadata_bytes);
        r->leader_epoch = version == VERSION ? -1 : (int32_t)cursor_le32(c);
        if (r->off < GROUP_OFFSET_LEAST || r->metadata_bytes > GROUP_METADATA_MAX_BYTES)
            c->bad = true;
        break;
    case GROUP_RECORD_MEMBER: {
        size_t left = cursor_left(c);
        r->body = slice_of(cursor_bytes(c, left), left);
        break;
    }
    }
}

enum kq_err group_record_decode(struct group_record *r, const void *key, size_t key_bytes, const void *value,
                                size_t value_bytes)
{
    memset(r, 0, sizeof *r);
    struct cursor c = cursor_over(key, key_bytes);
    uint8_t type = cursor_u8(&c);
    if (c.bad)
        return KQ_CORRUPT;
    if (type < GROUP_RECORD_GROUP || type > GROUP_RECORD_MEMBER)
        return KQ_BAD_VERSION;
    r->type = (enum group_record_type)type;
    cursor_text8(&c, r->group, sizeof r->group);
    if (has_topic(r->type))
        cursor_copy(&c, r->topic_id.bytes, UUID_BYTES);
    if (r->type == GROUP_RECORD_CLAIM)
        get_session(&c, &r->session);
    else if (has_topic(r->type))
        r->partition = cursor_le32(&c);
    if (r->type == GROUP_RECORD_MEMBER)
        r->member = get_text(&c);
    if (c.bad || cursor_left(&c) != 0 || r->group[0] == '\0' || r->partition >= GROUP_PARTITIONS_MAX)
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
