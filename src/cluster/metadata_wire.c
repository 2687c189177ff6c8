#include "cluster/metadata_wire.h"

#include "base/require.h"

enum { VERSION = 3, BARRIER = 0, FLAG_DRY = 1, FLAG_EXCLUSIVE = 2, FLAG_REPLACE = 4 };

/* ---- the question ------------------------------------------------------------------- */

static void put_text(const char *text, struct buf *out)
{
    if (text != NULL && strlen(text) >= METADATA_WIRE_TEXT_BYTES)
        out->bad = true;
    buf_u8(out, text != NULL);
    if (text != NULL && !out->bad)
        buf_text8(out, text);
}

static void put_broker(const struct metadata_broker *b, struct buf *out)
{
    buf_le32(out, b->id);
    buf_put(out, b->incarnation.bytes, UUID_BYTES);
    buf_text8(out, b->host);
    buf_le16(out, b->port);
    buf_le16(out, b->raft_port);
    buf_text8(out, b->kafka_host);
    buf_le16(out, b->kafka_port);
}

static void put_settings(const struct metadata_call *call, struct buf *out)
{
    REQUIRE(call->setting_count <= TOPIC_CONFIG_SETTINGS_MAX);
    REQUIRE(call->assigned_count <= METADATA_ASSIGNED_MAX);
    buf_le16(out, (uint16_t)call->setting_count);
    for (uint32_t i = 0; i < call->setting_count; i++) {
        buf_text8(out, topic_config_name(call->settings[i].key));
        buf_u8(out, (uint8_t)call->settings[i].op);
        buf_le64(out, (uint64_t)call->settings[i].value);
    }
    buf_le16(out, (uint16_t)call->assigned_count);
    for (uint32_t i = 0; i < call->assigned_count; i++)
        buf_le32(out, call->assigned[i]);
}

void metadata_wire_encode(const struct metadata_call *call, struct buf *out)
{
    REQUIRE(call->broker_count <= METADATA_REPLICAS_MAX);
    REQUIRE(call->replica_count <= METADATA_REPLICAS_MAX);
    buf_u8(out, VERSION);
    buf_u8(out, 0);
    buf_u8(out, (uint8_t)(call->verb + 1));
    put_broker(&call->broker, out);
    put_text(call->topic, out);
    buf_le32(out, call->partitions);
    buf_le32(out, call->replicas);
    buf_u8(out, call->internal);
    buf_le32(out, call->limits.topics);
    buf_le32(out, call->limits.topic_partitions);
    buf_le32(out, call->limits.broker_partitions);
    buf_put(out, call->topic_id.bytes, UUID_BYTES);
    buf_u8(out, (uint8_t)((call->dry ? FLAG_DRY : 0) | (call->exclusive ? FLAG_EXCLUSIVE : 0) |
                          (call->replace ? FLAG_REPLACE : 0)));
    buf_le32(out, call->count);
    put_settings(call, out);
    buf_u8(out, (uint8_t)call->order);
    buf_le32(out, call->partition);
    buf_u8(out, (uint8_t)call->broker_count);
    for (uint32_t i = 0; i < call->broker_count; i++)
        buf_le32(out, call->brokers[i]);
    buf_u8(out, (uint8_t)call->replica_count);
    for (uint32_t i = 0; i < call->replica_count; i++) {
        buf_le32(out, call->replica[i].broker);
        buf_put(out, call->replica[i].mix.bytes, UUID_BYTES);
    }
}

void metadata_wire_encode_barrier(struct buf *out)
{
    buf_u8(out, VERSION);
    buf_u8(out, 0);
    buf_u8(out, BARRIER);
}

static const char *take_text(char text[METADATA_WIRE_TEXT_BYTES], struct cursor *c)
{
    if (cursor_u8(c) == 0)
        return NULL;
    cursor_text8(c, text, METADATA_WIRE_TEXT_BYTES);
    return text;
}

static void take_broker(struct metadata_broker *b, struct cursor *c)
{
    b->id = cursor_le32(c);
    cursor_copy(c, b->incarnation.bytes, UUID_BYTES);
    cursor_text8(c, b->host, sizeof b->host);
    b->port = cursor_le16(c);
    b->raft_port = cursor_le16(c);
    cursor_text8(c, b->kafka_host, sizeof b->kafka_host);
    b->kafka_port = cursor_le16(c);
}

static void take_settings(struct metadata_call *call, struct metadata_wire_texts *texts, struct cursor *c)
{
    call->setting_count = cursor_le16(c);
    c->bad |= call->setting_count > TOPIC_CONFIG_SETTINGS_MAX;
    call->settings = texts->settings;
    for (uint32_t i = 0; i < call->setting_count && !c->bad; i++) {
        char name[METADATA_WIRE_TEXT_BYTES];
        cursor_text8(c, name, sizeof name);
        texts->settings[i].op = (enum topic_config_op)cursor_u8(c);
        texts->settings[i].value = (int64_t)cursor_le64(c);
        c->bad |= !topic_config_find(name, &texts->settings[i].key) || !topic_config_is_sensible(&texts->settings[i]);
    }
    call->assigned_count = cursor_le16(c);
    c->bad |= call->assigned_count > METADATA_ASSIGNED_MAX;
    call->assigned = call->assigned_count > 0 ? texts->assigned : NULL;
    for (uint32_t i = 0; i < call->assigned_count && !c->bad; i++)
        texts->assigned[i] = cursor_le32(c);
}

static void take_lists(struct metadata_call *call, struct cursor *c)
{
    call->broker_count = cursor_u8(c);
    c->bad |= call->broker_count > METADATA_REPLICAS_MAX;
    for (uint32_t i = 0; i < call->broker_count && !c->bad; i++)
        call->brokers[i] = cursor_le32(c);
    call->replica_count = cursor_u8(c);
    c->bad |= call->replica_count > METADATA_REPLICAS_MAX;
    for (uint32_t i = 0; i < call->replica_count && !c->bad; i++) {
        call->replica[i].broker = cursor_le32(c);
        cursor_copy(c, call->replica[i].mix.bytes, UUID_BYTES);
    }
}

/* What the machine takes for granted. */
static bool is_sensible(const struct metadata_call *call)
{
    switch (call->verb) {
    case METADATA_REGISTER_BROKER:
        return call->broker.id != 0 && !uuid_is_zero(&call->broker.incarnation) && call->broker.host[0] != '\0';
    case METADATA_CREATE_TOPIC:
        return call->topic != NULL && !uuid_is_zero(&call->topic_id);
    case METADATA_DELETE_TOPIC:
    case METADATA_ADD_PARTITIONS:
        return call->topic != NULL;
    case METADATA_SET_CONFIG:
        return call->topic != NULL;
    case METADATA_PRODUCER_BLOCK:
        return call->count > 0;
    case METADATA_ORDER:
        return call->order < CLUSTER_TRANSFER && (call->order != CLUSTER_MOVE || call->topic != NULL);
    default:
        return true;
    }
}

enum kq_err metadata_wire_decode(const uint8_t *body, size_t body_bytes, struct metadata_call *call,
                                 struct metadata_wire_texts *texts, bool *barrier)
{
    struct cursor c = cursor_over(body, body_bytes);
    memset(call, 0, sizeof *call);
    uint8_t version = cursor_u8(&c);
    if (!c.bad && version != VERSION)
        return KQ_BAD_VERSION;
    (void)cursor_u8(&c);
    uint8_t verb = cursor_u8(&c);
    *barrier = verb == BARRIER;
    if (*barrier)
        return c.bad || cursor_left(&c) != 0 ? KQ_GARBAGE : KQ_OK;
    if (verb > METADATA_VERB_COUNT)
        return KQ_BAD_VERSION;
    call->verb = (enum metadata_verb)(verb - 1);
    take_broker(&call->broker, &c);
    call->topic = take_text(texts->topic, &c);
    call->partitions = cursor_le32(&c);
    call->replicas = cursor_le32(&c);
    call->internal = cursor_u8(&c) != 0;
    call->limits.topics = cursor_le32(&c);
    call->limits.topic_partitions = cursor_le32(&c);
    call->limits.broker_partitions = cursor_le32(&c);
    cursor_copy(&c, call->topic_id.bytes, UUID_BYTES);
    uint8_t flags = cursor_u8(&c);
    call->dry = (flags & FLAG_DRY) != 0;
    call->exclusive = (flags & FLAG_EXCLUSIVE) != 0;
    call->replace = (flags & FLAG_REPLACE) != 0;
    call->count = cursor_le32(&c);
    take_settings(call, texts, &c);
    uint8_t order = cursor_u8(&c);
    call->order = order <= CLUSTER_TRANSFER ? (enum cluster_order_verb)order : CLUSTER_TRANSFER;
    call->partition = cursor_le32(&c);
    take_lists(call, &c);
    return c.bad || cursor_left(&c) != 0 || !is_sensible(call) ? KQ_GARBAGE : KQ_OK;
}

/* ---- the answer ------------------------------------------------------------------------ */

void metadata_wire_encode_answer(const struct metadata_call *call, struct buf *out)
{
    buf_u8(out, VERSION);
    buf_put(out, call->topic_id.bytes, UUID_BYTES);
    buf_u8(out, call->existed);
    buf_le64(out, (uint64_t)call->producer_id);
    buf_le32(out, call->count);
    buf_le32(out, call->replicas);
}

enum kq_err metadata_wire_decode_answer(const uint8_t *body, size_t body_bytes, struct metadata_call *call)
{
    struct cursor c = cursor_over(body, body_bytes);
    uint8_t version = cursor_u8(&c);
    if (!c.bad && version != VERSION)
        return KQ_BAD_VERSION;
    struct uuid topic_id = {{0}};
    cursor_copy(&c, topic_id.bytes, UUID_BYTES);
    uint8_t existed = cursor_u8(&c);
    uint64_t producer_id = cursor_le64(&c);
    uint32_t count = cursor_le32(&c);
    uint32_t replicas = cursor_le32(&c);
    if (c.bad || cursor_left(&c) != 0)
        return KQ_GARBAGE;
    call->topic_id = topic_id;
    call->existed = existed != 0;
    call->producer_id = (int64_t)producer_id;
    call->count = count;
    call->replicas = replicas;
    return KQ_OK;
}

void metadata_wire_encode_offset(uint64_t off, struct buf *out)
{
    buf_u8(out, VERSION);
    buf_le64(out, off);
}

enum kq_err metadata_wire_decode_offset(const uint8_t *body, size_t body_bytes, uint64_t *off)
{
    struct cursor c = cursor_over(body, body_bytes);
    uint8_t version = cursor_u8(&c);
    *off = cursor_le64(&c);
    if (!c.bad && version != VERSION)
        return KQ_BAD_VERSION;
    return c.bad || cursor_left(&c) != 0 ? KQ_GARBAGE : KQ_OK;
}
