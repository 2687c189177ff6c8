/*
 * Keys (little-endian; text is one byte of length and the bytes):
 *
 *    type 1 GROUP         u8 1 | text group
 *    type 2 CLAIM         u8 2 | text group | topic id 16 | broker u32 | session u64
 *    type 3 SUBSCRIPTION  u8 3 | text group | topic id 16 | partition u32
 *    type 4 OFFSET        u8 4 | text group | topic id 16 | partition u32
 *
 * Values, each beginning with a version, u8 1:
 *
 *    GROUP         u8 kind | u32 generation | i64 empty since (ms; 0: it has members)
 *    CLAIM         u32 partitions wanted | u32 partitions of the topic | text topic
 *    SUBSCRIPTION  secret 16 | owner: broker u32, session u64 | text topic
 *    OFFSET        i64 offset | i64 time (ms) | text topic | u16 length, metadata
 *
 * A SUBSCRIPTION is keyed by its partition, so two owners of one partition cannot
 * even be written down. A later version may append to a value; what this program
 * does not know at a value's end is an error, as the version says what is there.
 */
#include "group/group_record.h"

#include "base/require.h"

enum { VERSION = 1 };

void group_put_text(struct buf *b, const char *text)
{
    size_t len = strlen(text);
    REQUIRE(len <= UINT8_MAX);
    buf_u8(b, (uint8_t)len);
    buf_put(b, text, len);
}

void group_get_text(struct cursor *c, char *text, size_t room)
{
    size_t len = cursor_u8(c);
    const uint8_t *bytes = cursor_bytes(c, len);
    text[0] = '\0';
    if (bytes == NULL)
        return;
    if (len >= room || memchr(bytes, '\0', len) != NULL) {
        c->bad = true;
        return;
    }
    memcpy(text, bytes, len);
    text[len] = '\0';
}

void group_put_uuid(struct buf *b, const struct uuid *id)
{
    buf_put(b, id->bytes, UUID_BYTES);
}

void group_get_uuid(struct cursor *c, struct uuid *id)
{
    const uint8_t *bytes = cursor_bytes(c, UUID_BYTES);
    if (bytes != NULL)
        memcpy(id->bytes, bytes, UUID_BYTES);
}

void group_put_session(struct buf *b, const struct group_session *session)
{
    buf_le32(b, session->broker_id);
    buf_le64(b, session->id);
}

void group_get_session(struct cursor *c, struct group_session *session)
{
    session->broker_id = cursor_le32(c);
    session->id = cursor_le64(c);
}

static void encode_value(const struct group_record *r, struct buf *value)
{
    buf_u8(value, VERSION);
    switch (r->type) {
    case GROUP_RECORD_GROUP:
        buf_u8(value, (uint8_t)r->kind);
        buf_le32(value, r->generation);
        buf_le64(value, (uint64_t)r->empty_since_ms);
        break;
    case GROUP_RECORD_CLAIM:
        buf_le32(value, r->wanted);
        buf_le32(value, r->partition_count);
        group_put_text(value, r->topic);
        break;
    case GROUP_RECORD_SUBSCRIPTION:
        group_put_uuid(value, &r->secret);
        group_put_session(value, &r->session);
        group_put_text(value, r->topic);
        break;
    case GROUP_RECORD_OFFSET:
        buf_le64(value, (uint64_t)r->off);
        buf_le64(value, (uint64_t)r->time_ms);
        group_put_text(value, r->topic);
        buf_le16(value, r->metadata_bytes);
        buf_put(value, r->metadata, r->metadata_bytes);
        break;
    }
}

void group_record_encode(const struct group_record *r, struct buf *key, struct buf *value)
{
    buf_u8(key, (uint8_t)r->type);
    group_put_text(key, r->group);
    if (r->type != GROUP_RECORD_GROUP)
        group_put_uuid(key, &r->topic_id);
    if (r->type == GROUP_RECORD_CLAIM)
        group_put_session(key, &r->session);
    else if (r->type != GROUP_RECORD_GROUP)
        buf_le32(key, r->partition);
    if (!r->gone)
        encode_value(r, value);
}

static void decode_value(struct group_record *r, struct cursor *c)
{
    switch (r->type) {
    case GROUP_RECORD_GROUP: {
        uint8_t kind = cursor_u8(c);
        if (kind > GROUP_KIND_CLASSIC)
            c->bad = true;
        r->kind = (enum group_kind)kind;
        r->generation = cursor_le32(c);
        r->empty_since_ms = (int64_t)cursor_le64(c);
        break;
    }
    case GROUP_RECORD_CLAIM:
        r->wanted = cursor_le32(c);
        r->partition_count = cursor_le32(c);
        group_get_text(c, r->topic, sizeof r->topic);
        if (r->wanted == 0 || r->wanted > GROUP_PARTITIONS_MAX || r->partition_count > GROUP_PARTITIONS_MAX)
            c->bad = true;
        break;
    case GROUP_RECORD_SUBSCRIPTION:
        group_get_uuid(c, &r->secret);
        group_get_session(c, &r->session);
        group_get_text(c, r->topic, sizeof r->topic);
        break;
    case GROUP_RECORD_OFFSET:
        r->off = (int64_t)cursor_le64(c);
        r->time_ms = (int64_t)cursor_le64(c);
        group_get_text(c, r->topic, sizeof r->topic);
        r->metadata_bytes = cursor_le16(c);
        r->metadata = cursor_bytes(c, r->metadata_bytes);
        if (r->off < 0 || r->metadata_bytes > GROUP_METADATA_MAX_BYTES)
            c->bad = true;
        break;
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
    if (type < GROUP_RECORD_GROUP || type > GROUP_RECORD_OFFSET)
        return KQ_BAD_VERSION;
    r->type = (enum group_record_type)type;
    group_get_text(&c, r->group, sizeof r->group);
    if (r->type != GROUP_RECORD_GROUP)
        group_get_uuid(&c, &r->topic_id);
    if (r->type == GROUP_RECORD_CLAIM)
        group_get_session(&c, &r->session);
    else if (r->type != GROUP_RECORD_GROUP)
        r->partition = cursor_le32(&c);
    if (c.bad || cursor_left(&c) != 0 || r->group[0] == '\0' || r->partition >= GROUP_PARTITIONS_MAX)
        return KQ_CORRUPT;
    r->gone = value == NULL;
    if (r->gone)
        return KQ_OK;
    c = cursor_over(value, value_bytes);
    uint8_t version = cursor_u8(&c);
    if (!c.bad && version != VERSION)
        return KQ_BAD_VERSION;
    decode_value(r, &c);
    return c.bad || cursor_left(&c) != 0 ? KQ_CORRUPT : KQ_OK;
}
