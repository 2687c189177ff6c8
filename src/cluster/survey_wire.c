#include "cluster/survey_wire.h"

#include "base/require.h"

enum { VERSION = 3, COUNT_AT = 1, AS_TARGET = 1, VOTER = 1, IN_SYNC = 2, HEAD_BYTES = UUID_BYTES + 4 + 8 };

void survey_wire_question(const struct survey_question *question, uint8_t body[SURVEY_QUESTION_BYTES])
{
    body[0] = VERSION;
    body[1] = question->all;
    put_le32(body + 2, question->brokers);
}

enum kq_err survey_wire_asked(const uint8_t *body, size_t body_bytes, struct survey_question *question)
{
    struct cursor c = cursor_over(body, body_bytes);
    uint8_t version = cursor_u8(&c);
    question->all = cursor_u8(&c) != 0;
    if (!c.bad && version != VERSION)
        return KQ_BAD_VERSION;
    question->brokers = cursor_le32(&c);
    return c.bad || cursor_left(&c) != 0 ? KQ_GARBAGE : KQ_OK;
}

void survey_wire_begin(struct buf *out)
{
    buf_u8(out, VERSION);
    buf_le32(out, 0);
}

static void put_head(const struct survey_row *row, struct buf *out)
{
    buf_put(out, row->group.topic_id.bytes, UUID_BYTES);
    buf_le32(out, row->group.partition);
    buf_le64(out, row->term);
}

void survey_wire_add(const struct survey_row *row, struct buf *out)
{
    REQUIRE(row->member_count <= PARTITION_MEMBERS_MAX);
    put_head(row, out);
    buf_u8(out, row->as_target ? AS_TARGET : 0);
    buf_u8(out, (uint8_t)row->member_count);
    for (uint32_t i = 0; i < row->member_count; i++) {
        const struct survey_member *m = &row->members[i];
        buf_le32(out, m->broker);
        buf_put(out, m->incarnation.bytes, UUID_BYTES);
        buf_u8(out, (uint8_t)((m->voter ? VOTER : 0) | (m->in_sync ? IN_SYNC : 0)));
        buf_le64(out, (uint64_t)m->lag);
    }
}

void survey_wire_add_name(const struct survey_row *row, struct buf *names)
{
    put_head(row, names);
}

static void put_names(struct buf *out, const struct buf *names)
{
    buf_le32(out, (uint32_t)(names->len / HEAD_BYTES));
    if (names->len > 0)
        buf_put(out, names->data, names->len);
    out->bad |= names->bad;
}

void survey_wire_end(struct buf *out, uint32_t count, const struct buf *well, const struct buf *lost)
{
    if (!out->bad)
        put_le32(out->data + COUNT_AT, count);
    put_names(out, well);
    put_names(out, lost);
}

bool survey_wire_open(struct cursor *c, uint32_t *count)
{
    uint8_t version = cursor_u8(c);
    *count = cursor_le32(c);
    c->bad |= version != VERSION;
    return !c->bad;
}

static void take_head(struct cursor *c, struct survey_row *row)
{
    memset(row, 0, sizeof *row);
    cursor_copy(c, row->group.topic_id.bytes, UUID_BYTES);
    row->group.partition = cursor_le32(c);
    row->term = cursor_le64(c);
}

bool survey_wire_next(struct cursor *c, struct survey_row *row)
{
    take_head(c, row);
    row->as_target = (cursor_u8(c) & AS_TARGET) != 0;
    row->member_count = cursor_u8(c);
    c->bad |= row->member_count > PARTITION_MEMBERS_MAX;
    for (uint32_t i = 0; i < row->member_count && !c->bad; i++) {
        struct survey_member *m = &row->members[i];
        m->broker = cursor_le32(c);
        cursor_copy(c, m->incarnation.bytes, UUID_BYTES);
        uint8_t flags = cursor_u8(c);
        m->voter = (flags & VOTER) != 0;
        m->in_sync = (flags & IN_SYNC) != 0;
        m->lag = (int64_t)cursor_le64(c);
    }
    return !c->bad;
}

bool survey_wire_open_names(struct cursor *c, uint32_t *count)
{
    *count = cursor_le32(c);
    return !c->bad;
}

bool survey_wire_next_name(struct cursor *c, struct survey_row *row)
{
    take_head(c, row);
    return !c->bad;
}
