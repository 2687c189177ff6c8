#include "group/group_wire.h"

#include "base/require.h"

#include <stdlib.h>

enum {
    VERSION = 1,
    NO_METADATA = 0xffff,
    FLAG_OWNED = 1,
    FLAG_LIVE = 2,
    /* The least that one of them takes. */
    ID_BYTES = 4 + 4 + UUID_BYTES,
    GROUP_LEAST_BYTES = 1 + 1 + 4 * 4,
    ROW_LEAST_BYTES = 1 + UUID_BYTES + 4 + 1 + 12 + 3 * 8,
};

/* ---- parts -------------------------------------------------------------------------------- */

static void put_session(struct buf *b, const struct group_session *session)
{
    buf_le32(b, session->broker_id);
    buf_le64(b, session->id);
}

static struct group_session get_session(struct cursor *c)
{
    struct group_session session = {.broker_id = cursor_le32(c)};
    session.id = cursor_le64(c);
    return session;
}

static void put_id(struct buf *b, const struct subscription_id *id)
{
    buf_le32(b, id->coordinator);
    buf_le32(b, id->partition);
    buf_put(b, id->secret.bytes, UUID_BYTES);
}

static void get_id(struct cursor *c, struct subscription_id *id)
{
    id->coordinator = cursor_le32(c);
    id->partition = cursor_le32(c);
    cursor_copy(c, id->secret.bytes, UUID_BYTES);
}

static void put_text(struct buf *b, const char *text)
{
    buf_text8(b, text == NULL ? "" : text);
}

static enum kq_err open_body(struct cursor *c, const void *body, size_t body_bytes)
{
    *c = cursor_over(body, body_bytes);
    uint8_t version = cursor_u8(c);
    if (c->bad)
        return KQ_GARBAGE;
    return version == VERSION ? KQ_OK : KQ_BAD_VERSION;
}

static bool all_taken(const struct cursor *c)
{
    return !c->bad && cursor_left(c) == 0;
}

/* A count of what takes at least so many bytes each. */
static uint32_t get_count(struct cursor *c, size_t least_bytes)
{
    uint32_t count = cursor_le32(c);
    if (c->bad || count > cursor_left(c) / least_bytes) {
        c->bad = true;
        return 0;
    }
    return count;
}

/* ---- questions ------------------------------------------------------------------------------ */

void group_wire_ask(const struct group_call *call, uint32_t coordinator, struct buf *out)
{
    REQUIRE(call->verb < GROUP_BROKER_GONE);
    size_t metadata_bytes = call->metadata == NULL ? NO_METADATA : strlen(call->metadata);
    buf_u8(out, VERSION);
    buf_u8(out, (uint8_t)call->verb);
    buf_le32(out, coordinator);
    put_session(out, &call->session);
    put_text(out, call->group);
    put_text(out, call->topic);
    put_id(out, &call->id);
    buf_put(out, call->topic_id.bytes, UUID_BYTES);
    buf_le32(out, call->partition_count);
    buf_le32(out, call->wanted);
    buf_le64(out, (uint64_t)call->off);
    buf_le16(out, (uint16_t)metadata_bytes);
    if (call->metadata != NULL && metadata_bytes <= GROUP_METADATA_MAX_BYTES)
        buf_put(out, call->metadata, metadata_bytes);
    else if (call->metadata != NULL)
        out->bad = true;
}

enum kq_err group_wire_asked(struct group_asked *asked, const void *body, size_t body_bytes)
{
    struct cursor c;
    struct group_call *call = &asked->call;
    memset(asked, 0, sizeof(*asked));
    enum kq_err err = open_body(&c, body, body_bytes);
    if (err != KQ_OK)
        return err;
    uint8_t verb = cursor_u8(&c);
    asked->coordinator = cursor_le32(&c);
    call->session = get_session(&c);
    cursor_text8(&c, asked->group, sizeof(asked->group));
    cursor_text8(&c, asked->topic, sizeof(asked->topic));
    get_id(&c, &call->id);
    cursor_copy(&c, call->topic_id.bytes, UUID_BYTES);
    call->partition_count = cursor_le32(&c);
    call->wanted = cursor_le32(&c);
    call->off = (int64_t)cursor_le64(&c);
    uint16_t metadata_bytes = cursor_le16(&c);
    bool has_metadata = metadata_bytes != NO_METADATA;
    if (has_metadata && metadata_bytes > GROUP_METADATA_MAX_BYTES)
        return KQ_GARBAGE;
    if (has_metadata)
        cursor_copy(&c, asked->metadata, metadata_bytes);
    if (!all_taken(&c) || verb >= GROUP_BROKER_GONE)
        return KQ_GARBAGE;
    call->verb = (enum group_verb)verb;
    call->group = asked->group;
    call->topic = asked->topic;
    call->metadata = has_metadata ? asked->metadata : NULL;
    return KQ_OK;
}

/* ---- answers ----------------------------------------------------------------------------------- */

static void put_group(struct buf *out, const struct group_row *row)
{
    put_text(out, row->name);
    buf_u8(out, (uint8_t)row->kind);
    buf_le32(out, row->member_count);
    buf_le32(out, row->subscription_count);
    buf_le32(out, row->offset_count);
    buf_le32(out, row->generation);
}

static bool get_kind(struct cursor *c, enum group_kind *kind)
{
    uint8_t number = cursor_u8(c);
    *kind = number <= GROUP_KIND_CLASSIC ? (enum group_kind)number : GROUP_KIND_NONE;
    return number <= GROUP_KIND_CLASSIC;
}

static void get_group(struct cursor *c, struct group_row *row)
{
    cursor_text8(c, row->name, sizeof(row->name));
    if (!get_kind(c, &row->kind))
        c->bad = true;
    row->member_count = cursor_le32(c);
    row->subscription_count = cursor_le32(c);
    row->offset_count = cursor_le32(c);
    row->generation = cursor_le32(c);
}

static void put_row(struct buf *out, const struct group_partition_row *row)
{
    put_text(out, row->topic);
    buf_put(out, row->topic_id.bytes, UUID_BYTES);
    buf_le32(out, row->partition);
    buf_u8(out, (uint8_t)((row->owned ? FLAG_OWNED : 0) | (row->live ? FLAG_LIVE : 0)));
    put_session(out, &row->owner);
    buf_le64(out, (uint64_t)row->idle_ms);
    buf_le64(out, (uint64_t)row->committed_off);
    buf_le64(out, (uint64_t)row->committed_time_ms);
}

static void get_row(struct cursor *c, struct group_partition_row *row)
{
    cursor_text8(c, row->topic, sizeof(row->topic));
    cursor_copy(c, row->topic_id.bytes, UUID_BYTES);
    row->partition = cursor_le32(c);
    uint8_t flags = cursor_u8(c);
    row->owned = (flags & FLAG_OWNED) != 0;
    row->live = (flags & FLAG_LIVE) != 0;
    row->owner = get_session(c);
    row->idle_ms = (int64_t)cursor_le64(c);
    row->committed_off = (int64_t)cursor_le64(c);
    row->committed_time_ms = (int64_t)cursor_le64(c);
    if ((flags & ~(FLAG_OWNED | FLAG_LIVE)) != 0)
        c->bad = true;
}

void group_wire_answer(const struct group_call *call, struct buf *out)
{
    buf_u8(out, VERSION);
    buf_u8(out, (uint8_t)call->kind);
    buf_le32(out, call->generation);
    buf_le32(out, call->partition);
    buf_le64(out, (uint64_t)call->committed_off);
    buf_put(out, call->topic_id.bytes, UUID_BYTES);
    put_text(out, call->group_name);
    buf_le32(out, call->id_count);
    for (uint32_t i = 0; i < call->id_count; i++)
        put_id(out, &call->ids[i]);
    buf_le32(out, call->group_count);
    for (uint32_t i = 0; i < call->group_count; i++)
        put_group(out, &call->groups[i]);
    buf_le32(out, call->row_count);
    for (uint32_t i = 0; i < call->row_count; i++)
        put_row(out, &call->rows[i]);
}

/* NULL and *short_of_memory, or NULL for none. */
static void *new_rows(uint32_t count, size_t row_bytes, bool *short_of_memory)
{
    void *rows = count == 0 ? NULL : calloc(count, row_bytes);
    if (count > 0 && rows == NULL)
        *short_of_memory = true;
    return rows;
}

static bool get_lists(struct cursor *c, struct group_call *call)
{
    bool short_of_memory = false;
    uint32_t count = get_count(c, ID_BYTES);
    call->ids = new_rows(count, sizeof(*call->ids), &short_of_memory);
    for (call->id_count = 0; call->ids != NULL && call->id_count < count; call->id_count++)
        get_id(c, &call->ids[call->id_count]);
    count = short_of_memory ? 0 : get_count(c, GROUP_LEAST_BYTES);
    call->groups = new_rows(count, sizeof(*call->groups), &short_of_memory);
    for (call->group_count = 0; call->groups != NULL && call->group_count < count; call->group_count++)
        get_group(c, &call->groups[call->group_count]);
    count = short_of_memory ? 0 : get_count(c, ROW_LEAST_BYTES);
    call->rows = new_rows(count, sizeof(*call->rows), &short_of_memory);
    for (call->row_count = 0; call->rows != NULL && call->row_count < count; call->row_count++)
        get_row(c, &call->rows[call->row_count]);
    return !short_of_memory;
}

enum kq_err group_wire_answered(struct group_call *call, const void *body, size_t body_bytes)
{
    struct cursor c;
    REQUIRE(call->ids == NULL && call->groups == NULL && call->rows == NULL);
    enum kq_err err = open_body(&c, body, body_bytes);
    if (err != KQ_OK)
        return err;
    bool known = get_kind(&c, &call->kind);
    call->generation = cursor_le32(&c);
    call->partition = cursor_le32(&c);
    call->committed_off = (int64_t)cursor_le64(&c);
    cursor_copy(&c, call->topic_id.bytes, UUID_BYTES);
    cursor_text8(&c, call->group_name, sizeof(call->group_name));
    bool remembered = get_lists(&c, call);
    if (remembered && known && all_taken(&c))
        return KQ_OK;
    group_call_fini(call);
    return remembered ? KQ_GARBAGE : KQ_NO_MEMORY;
}

/* ---- events ----------------------------------------------------------------------------------------- */

void group_wire_event(const struct group_event *event, struct buf *out)
{
    buf_u8(out, VERSION);
    buf_u8(out, (uint8_t)event->kind);
    put_session(out, &event->session);
    put_text(out, event->topic);
    buf_le32(out, event->partition);
    put_text(out, event->id);
}

enum kq_err group_wire_event_decode(struct group_event *event, char topic[GROUP_NAME_MAX_BYTES + 1], const void *body,
                                    size_t body_bytes)
{
    struct cursor c;
    memset(event, 0, sizeof(*event));
    enum kq_err err = open_body(&c, body, body_bytes);
    if (err != KQ_OK)
        return err;
    uint8_t kind = cursor_u8(&c);
    event->session = get_session(&c);
    cursor_text8(&c, topic, GROUP_NAME_MAX_BYTES + 1);
    event->partition = cursor_le32(&c);
    cursor_text8(&c, event->id, sizeof(event->id));
    if (!all_taken(&c) || kind > GROUP_EVENT_ASSIGNED)
        return KQ_GARBAGE;
    event->kind = (enum group_event_kind)kind;
    event->topic = topic;
    return KQ_OK;
}
