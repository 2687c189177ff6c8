#include "proto/peer/form.h"

#include "base/require.h"

enum { VERSION = 1, FLAG_FOUNDED = 1 };

static void encode_member(const struct form_member *m, struct buf *out)
{
    buf_le32(out, m->broker_id);
    buf_put(out, m->incarnation.bytes, UUID_BYTES);
    buf_text8(out, m->host);
    buf_le16(out, m->port);
    buf_le16(out, m->raft_port);
}

void form_encode(const struct form *form, struct buf *out)
{
    REQUIRE(form->listed_count <= FORM_MEMBERS_MAX);
    REQUIRE(form->founding.count <= FORM_MEMBERS_MAX);
    buf_u8(out, VERSION);
    buf_u8(out, form->founded ? FLAG_FOUNDED : 0);
    buf_le16(out, 0);
    encode_member(&form->self, out);
    buf_u8(out, (uint8_t)form->listed_count);
    for (uint32_t i = 0; i < form->listed_count; i++)
        buf_le32(out, form->listed[i]);
    if (!form->founded)
        return;
    buf_put(out, form->founding.cluster_id.bytes, UUID_BYTES);
    buf_put(out, form->founding.metadata_id.bytes, UUID_BYTES);
    buf_u8(out, (uint8_t)form->founding.count);
    for (uint32_t i = 0; i < form->founding.count; i++)
        encode_member(&form->founding.members[i], out);
}

static void decode_member(struct form_member *m, struct cursor *c)
{
    m->broker_id = cursor_le32(c);
    cursor_copy(c, m->incarnation.bytes, UUID_BYTES);
    cursor_text8(c, m->host, sizeof m->host);
    m->port = cursor_le16(c);
    m->raft_port = cursor_le16(c);
    if (m->broker_id == 0 || uuid_is_zero(&m->incarnation) || m->host[0] == '\0')
        c->bad = true;
}

static void decode_founding(struct founding *f, struct cursor *c)
{
    cursor_copy(c, f->cluster_id.bytes, UUID_BYTES);
    cursor_copy(c, f->metadata_id.bytes, UUID_BYTES);
    f->count = cursor_u8(c);
    if (f->count == 0 || f->count > FORM_MEMBERS_MAX || uuid_is_zero(&f->cluster_id) || uuid_is_zero(&f->metadata_id))
        c->bad = true;
    for (uint32_t i = 0; i < f->count && !c->bad; i++) {
        decode_member(&f->members[i], c);
        if (i > 0 && f->members[i].broker_id <= f->members[i - 1].broker_id)
            c->bad = true;
    }
}

enum kq_err form_decode(const uint8_t *body, size_t body_bytes, struct form *form)
{
    memset(form, 0, sizeof *form);
    struct cursor c = cursor_over(body, body_bytes);
    uint8_t version = cursor_u8(&c);
    if (!c.bad && version != VERSION)
        return KQ_BAD_VERSION;
    uint8_t flags = cursor_u8(&c);
    uint16_t zero = cursor_le16(&c);
    decode_member(&form->self, &c);
    form->listed_count = cursor_u8(&c);
    if ((flags & ~FLAG_FOUNDED) != 0 || zero != 0 || form->listed_count > FORM_MEMBERS_MAX)
        return KQ_GARBAGE;
    for (uint32_t i = 0; i < form->listed_count; i++) {
        form->listed[i] = cursor_le32(&c);
        if (i > 0 && form->listed[i] <= form->listed[i - 1])
            c.bad = true;
    }
    form->founded = (flags & FLAG_FOUNDED) != 0;
    if (form->founded && !c.bad)
        decode_founding(&form->founding, &c);
    return c.bad || cursor_left(&c) != 0 ? KQ_GARBAGE : KQ_OK;
}

const struct form_member *founding_find(const struct founding *founding, uint32_t broker_id)
{
    for (uint32_t i = 0; i < founding->count; i++)
        if (founding->members[i].broker_id == broker_id)
            return &founding->members[i];
    return NULL;
}
