/*
 * The snapshot of the metadata, little-endian:
 *
 *    u16 version = 2 | u32 records | u64 next offset of the log | records
 *    a record: u16 key length | key | u32 value length | value
 *
 * Version 1 had no offset. It is the shortest list of records (metadata_record.c) that makes the state, in
 * one order (cluster, brokers by id with their states, producers, topics by name with
 * their settings and partitions), so that equal states have equal bytes. The log checks its checksum.
 */
#include "base/require.h"
#include "cluster/metadata_state.h"

#include <stdlib.h>

enum { VERSION = 2, KEY_BYTES = 1024 };

struct writer {
    struct buf *out;
    struct buf key;
    struct buf value;
    uint32_t count;
};

static void write_record(struct writer *w, const struct metadata_record *r)
{
    buf_reset(&w->key);
    buf_reset(&w->value);
    metadata_record_encode(r, &w->key, &w->value);
    w->out->bad |= w->key.bad || w->value.bad;
    buf_le16(w->out, (uint16_t)w->key.len);
    buf_put(w->out, w->key.data, w->key.len);
    buf_le32(w->out, (uint32_t)w->value.len);
    buf_put(w->out, w->value.data, w->value.len);
    w->count++;
}

static void write_topic(struct writer *w, const struct metadata_topic *t)
{
    struct metadata_record r = {.type = METADATA_RECORD_TOPIC,
                                .topic_id = t->id,
                                .internal = t->internal,
                                .partition_count = t->partition_count,
                                .replica_count = t->replica_count,
                                .replicas = t->replicas,
                                .desired_count = t->desired_count,
                                .founder_count = t->founder_count,
                                .founders = t->founders};
    memcpy(r.topic, t->name, sizeof r.topic);
    write_record(w, &r);
    for (int i = 0; i < TOPIC_CONFIG_COUNT; i++)
        if (t->config.set[i])
            write_record(w, &(struct metadata_record){.type = METADATA_RECORD_CONFIG,
                                                      .topic_id = t->id,
                                                      .config_key = (enum topic_config_key)i,
                                                      .config_value = t->config.value[i]});
    for (uint32_t p = 0; t->changed != NULL && p < t->partition_count; p++)
        if (t->changed[p] != NULL)
            write_record(w, &(struct metadata_record){.type = METADATA_RECORD_PARTITION,
                                                      .topic_id = t->id,
                                                      .partition = p,
                                                      .holders = *t->changed[p]});
}

static void write_broker(struct writer *w, const struct metadata_broker *b)
{
    write_record(w, &(struct metadata_record){.type = METADATA_RECORD_BROKER, .broker = *b});
    if (b->draining)
        write_record(w, &(struct metadata_record){
                            .type = METADATA_RECORD_BROKER_STATE, .broker = {.id = b->id}, .draining = true});
}

void metadata_snapshot(const void *machine, struct buf *out)
{
    const struct metadata *m = machine;
    TAG_CHECK(m, METADATA_TAG);
    struct writer w = {.out = out};
    buf_init(&w.key, KEY_BYTES);
    buf_init(&w.value, METADATA_RECORD_BYTES);
    size_t start = out->len;
    buf_le16(out, VERSION);
    buf_le32(out, 0);
    buf_le64(out, m->next_off);
    if (!uuid_is_zero(&m->cluster_id))
        write_record(&w, &(struct metadata_record){.type = METADATA_RECORD_CLUSTER, .cluster_id = m->cluster_id});
    for (size_t i = 0; i < m->broker_count; i++)
        write_broker(&w, m->brokers[i]);
    for (size_t i = 0; i < m->removed_count; i++)
        write_record(&w, &(struct metadata_record){
                             .type = METADATA_RECORD_BROKER_STATE,
                             .broker = {.id = m->removed[i].broker, .incarnation = m->removed[i].incarnation},
                             .removed = true});
    if (m->next_producer_id > 0)
        write_record(
            &w, &(struct metadata_record){.type = METADATA_RECORD_PRODUCERS, .next_producer_id = m->next_producer_id});
    for (size_t i = 0; i < m->topic_count; i++)
        write_topic(&w, m->topics[i]);
    if (!out->bad)
        put_le32(out->data + start + 2, w.count);
    buf_fini(&w.key);
    buf_fini(&w.value);
}

enum kq_err metadata_restore(void *machine, const void *bytes, size_t size_bytes, struct fault *fault)
{
    struct metadata *m = machine;
    TAG_CHECK(m, METADATA_TAG);
    REQUIRE(m->topic_count == 0);
    struct cursor c = cursor_over(bytes, size_bytes);
    uint16_t version = cursor_le16(&c);
    uint32_t count = cursor_le32(&c);
    if (!c.bad && version != 1 && version != VERSION)
        return fault_set(fault, KQ_BAD_VERSION, "the metadata's snapshot has version %u; this program knows 1 to %d",
                         version, VERSION);
    m->next_off = version == 1 ? 0 : cursor_le64(&c);
    for (uint32_t i = 0; i < count && !c.bad; i++) {
        size_t key_bytes = cursor_le16(&c);
        const uint8_t *key = cursor_bytes(&c, key_bytes);
        size_t value_bytes = cursor_le32(&c);
        const uint8_t *value = cursor_bytes(&c, value_bytes);
        struct metadata_record r;
        if (c.bad || metadata_record_decode(&r, key, key_bytes, value, value_bytes) != KQ_OK)
            return fault_set(fault, KQ_CORRUPT, "the metadata's snapshot is damaged at its record %u of %u", i, count);
        metadata_apply(m, &r);
    }
    if (c.bad || cursor_left(&c) != 0)
        return fault_set(fault, KQ_CORRUPT, "the metadata's snapshot of %zu bytes does not end where it should",
                         size_bytes);
    return KQ_OK;
}
