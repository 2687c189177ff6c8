/*
 * The snapshot of a coordinator, little-endian:
 *
 *    u16 version = 2 | u32 records | records
 *    a record: u8 flags = 0 | u16 key length | key | u32 value length | value
 *              (in version 1 the length of the value is a u16)
 *
 * It is the shortest list of records (group_record.c) that makes the state: claims
 * and offsets before subscriptions does not matter, every order does the same. The
 * log checks its checksum. Order here: by group, topic, session and partition, so
 * that equal states have equal bytes.
 */
#include "base/require.h"
#include "group/classic_state.h"

#include <stdio.h>
#include <stdlib.h>

enum { FIRST_VERSION = 1, VERSION = 2 };

struct writer {
    struct buf *out;
    struct buf key;
    struct buf value;
    uint32_t count;
};

static void write_record(struct writer *w, const struct group_record *r)
{
    buf_reset(&w->key);
    buf_reset(&w->value);
    group_record_encode(r, &w->key, &w->value);
    if (w->key.bad || w->value.bad) {
        w->out->bad = true;
        return;
    }
    buf_u8(w->out, 0);
    buf_le16(w->out, (uint16_t)w->key.len);
    buf_put(w->out, w->key.data, w->key.len);
    buf_le32(w->out, (uint32_t)w->value.len);
    buf_put(w->out, w->value.data, w->value.len);
    w->count++;
}

static void name_topic(struct group_record *r, const struct group_topic *t)
{
    memcpy(r->group, t->group->name, sizeof r->group);
    memcpy(r->topic, t->name, sizeof r->topic);
    r->topic_id = t->id;
}

static int claims_by_session(const void *a, const void *b)
{
    const struct group_session *x = &(*(struct claim *const *)a)->session->key;
    const struct group_session *y = &(*(struct claim *const *)b)->session->key;
    if (x->broker_id != y->broker_id)
        return x->broker_id < y->broker_id ? -1 : 1;
    return (x->id > y->id) - (x->id < y->id);
}

static void write_claims(struct writer *w, const struct group_topic *t)
{
    const struct claim **sorted = calloc((size_t)t->claim_count + 1, sizeof *sorted);
    if (sorted == NULL) {
        w->out->bad = true;
        return;
    }
    size_t n = 0;
    for (const struct claim *c = t->claims; c != NULL; c = c->next)
        if (c->wanted > 0)
            sorted[n++] = c;
    qsort(sorted, n, sizeof(struct claim *), claims_by_session);
    struct group_record r = {.type = GROUP_RECORD_CLAIM, .partition_count = t->partition_count};
    name_topic(&r, t);
    for (size_t i = 0; i < n; i++) {
        r.session = sorted[i]->session->key;
        r.wanted = sorted[i]->wanted;
        write_record(w, &r);
    }
    free(sorted);
}

static void write_topic(struct writer *w, const struct group_topic *t)
{
    write_claims(w, t);
    for (uint32_t p = 0; p < t->slot_count; p++) {
        const struct subscription *s = t->slots[p].subscription;
        const struct offset *o = t->slots[p].offset;
        struct group_record r = {.partition = p};
        name_topic(&r, t);
        if (s != NULL) {
            r.type = GROUP_RECORD_SUBSCRIPTION;
            r.secret = s->secret;
            r.session = s->claim->session->key;
            write_record(w, &r);
        }
        if (o != NULL) {
            r.type = GROUP_RECORD_OFFSET;
            r.off = o->off;
            r.time_ms = o->time_ms;
            r.metadata = o->metadata;
            r.metadata_bytes = o->metadata_bytes;
            r.leader_epoch = o->leader_epoch;
            write_record(w, &r);
        }
    }
}

static int members_by_id(const void *a, const void *b)
{
    return strcmp((*(struct classic_member *const *)a)->id, (*(struct classic_member *const *)b)->id);
}

/* As they were recorded, whatever a round under way has changed since. */
static void write_members(struct writer *w, const struct group *group)
{
    if (group->classic == NULL)
        return;
    const struct classic_member **sorted = calloc((size_t)group->classic->all_count + 1, sizeof *sorted);
    if (sorted == NULL) {
        w->out->bad = true;
        return;
    }
    size_t n = 0;
    for (const struct classic_member *member = group->classic->first; member != NULL; member = member->next)
        if (member->recorded != NULL)
            sorted[n++] = member;
    qsort(sorted, n, sizeof(struct classic_member *), members_by_id);
    for (size_t i = 0; i < n; i++) {
        struct group_record r = {.type = GROUP_RECORD_MEMBER,
                                 .member = slice_text(sorted[i]->id),
                                 .body = slice_of(sorted[i]->recorded, sorted[i]->recorded_bytes)};
        memcpy(r.group, group->name, sizeof r.group);
        write_record(w, &r);
    }
    free(sorted);
}

static int topics_by_id(const void *a, const void *b)
{
    return memcmp((*(struct group_topic *const *)a)->id.bytes, (*(struct group_topic *const *)b)->id.bytes, UUID_BYTES);
}

static void write_group(struct writer *w, const struct group *group)
{
    if (group->has_record) {
        struct group_record r = {.type = GROUP_RECORD_GROUP,
                                 .kind = group->kind,
                                 .generation = group->generation,
                                 .empty_since_ms = group->empty_since_ms};
        memcpy(r.group, group->name, sizeof r.group);
        classic_name_record(group, &r);
        write_record(w, &r);
    }
    write_members(w, group);
    size_t count = 0;
    for (const struct group_topic *t = group->topics; t != NULL; t = t->next)
        count++;
    const struct group_topic **sorted = calloc(count + 1, sizeof *sorted);
    if (sorted == NULL) {
        w->out->bad = true;
        return;
    }
    size_t n = 0;
    for (const struct group_topic *t = group->topics; t != NULL; t = t->next)
        sorted[n++] = t;
    qsort(sorted, n, sizeof(struct group_topic *), topics_by_id);
    for (size_t i = 0; i < n; i++)
        write_topic(w, sorted[i]);
    free(sorted);
}

static int groups_by_name(const void *a, const void *b)
{
    return strcmp((*(struct group *const *)a)->name, (*(struct group *const *)b)->name);
}

void group_snapshot(const void *machine, struct buf *out)
{
    const struct group_machine *m = machine;
    TAG_CHECK(m, GROUP_TAG);
    struct writer w = {.out = out};
    buf_init(&w.key, GROUP_RECORD_MAX_BYTES);
    buf_init(&w.value, GROUP_RECORD_MAX_BYTES);
    size_t start = out->len;
    buf_le16(out, VERSION);
    buf_le32(out, 0);
    const struct group **sorted = calloc(m->groups.count + 1, sizeof *sorted);
    if (sorted == NULL)
        out->bad = true;
    else {
        size_t n = 0;
        struct map_walk walk;
        for (map_walk_init(&walk, &m->groups); map_walk_next(&walk);)
            sorted[n++] = walk.value;
        qsort(sorted, n, sizeof(struct group *), groups_by_name);
        for (size_t i = 0; i < n; i++)
            write_group(&w, sorted[i]);
    }
    if (!out->bad)
        put_le32(out->data + start + 2, w.count);
    free(sorted);
    buf_fini(&w.key);
    buf_fini(&w.value);
}

enum kq_err group_restore(void *machine, const void *bytes, size_t size_bytes, struct fault *fault)
{
    struct group_machine *m = machine;
    TAG_CHECK(m, GROUP_TAG);
    REQUIRE(m->groups.count == 0);
    struct cursor c = cursor_over(bytes, size_bytes);
    uint16_t version = cursor_le16(&c);
    uint32_t count = cursor_le32(&c);
    if (!c.bad && version != VERSION && version != FIRST_VERSION)
        return fault_set(fault, KQ_BAD_VERSION, "the groups' snapshot has version %u; this program knows %d", version,
                         VERSION);
    for (uint32_t i = 0; i < count && !c.bad; i++) {
        uint8_t flags = cursor_u8(&c);
        size_t key_bytes = cursor_le16(&c);
        const uint8_t *key = cursor_bytes(&c, key_bytes);
        size_t value_bytes = version == FIRST_VERSION ? cursor_le16(&c) : cursor_le32(&c);
        const uint8_t *value = cursor_bytes(&c, value_bytes);
        struct group_record r;
        if (c.bad || flags != 0 || group_record_decode(&r, key, key_bytes, value, value_bytes) != KQ_OK)
            return fault_set(fault, KQ_CORRUPT, "the groups' snapshot is damaged at its record %u of %u", i, count);
        group_apply(m, &r);
    }
    if (c.bad || cursor_left(&c) != 0)
        return fault_set(fault, KQ_CORRUPT, "the groups' snapshot of %zu bytes does not end where it should",
                         size_bytes);
    return KQ_OK;
}
