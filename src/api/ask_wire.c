#include "api/ask_wire.h"

#include "base/require.h"
#include "log/batch.h"

/* ---- writing ------------------------------------------------------------------------- */

struct head {
    uint8_t *at;
    uint8_t *start;
};

static void add16(struct head *h, uint16_t v)
{
    put_le16(h->at, v);
    h->at += 2;
}

static void add32(struct head *h, uint32_t v)
{
    put_le32(h->at, v);
    h->at += 4;
}

static void add64(struct head *h, uint64_t v)
{
    put_le64(h->at, v);
    h->at += 8;
}

static struct head question(uint8_t *bytes, const struct group_id *group, uint16_t flags)
{
    struct head h = {.at = bytes, .start = bytes};
    add16(&h, ASK_WIRE_VERSION);
    add16(&h, flags);
    memcpy(h.at, group->topic_id.bytes, UUID_BYTES);
    h.at += UUID_BYTES;
    add32(&h, group->partition);
    return h;
}

static uint32_t head_end(const struct head *h)
{
    REQUIRE(h->at - h->start <= ASK_WIRE_HEAD_MAX_BYTES);
    return (uint32_t)(h->at - h->start);
}

uint32_t ask_publish_encode(const struct ask_publish *ask, uint8_t *bytes)
{
    struct head h = question(bytes, &ask->group, 0);
    add64(&h, ask->in_term);
    add32(&h, ask->wait_ms);
    add32(&h, ask->record_count);
    add32(&h, ask->batch_count);
    return head_end(&h);
}

uint32_t ask_published_encode(const struct ask_published *answer, uint8_t *bytes)
{
    struct head h = {.at = bytes, .start = bytes};
    add64(&h, (uint64_t)answer->base_off);
    add64(&h, answer->term);
    add64(&h, (uint64_t)answer->log_start_off);
    return head_end(&h);
}

uint32_t ask_read_encode(const struct ask_read *ask, uint8_t *bytes)
{
    struct head h = question(bytes, &ask->group, ask->flags);
    add64(&h, (uint64_t)ask->off);
    add64(&h, (uint64_t)ask->end_off);
    add32(&h, ask->max_bytes);
    return head_end(&h);
}

uint32_t ask_reading_encode(const struct ask_reading *answer, uint8_t *bytes)
{
    struct head h = {.at = bytes, .start = bytes};
    add64(&h, (uint64_t)answer->start_off);
    add64(&h, (uint64_t)answer->high_watermark);
    add64(&h, (uint64_t)answer->off);
    add64(&h, (uint64_t)answer->end_off);
    return head_end(&h);
}

uint32_t ask_watch_encode(const struct ask_watch *ask, uint8_t *bytes)
{
    struct head h = question(bytes, &ask->group, 0);
    add64(&h, (uint64_t)ask->off);
    add32(&h, ask->wait_ms);
    return head_end(&h);
}

uint32_t ask_watched_encode(const struct ask_watched *answer, uint8_t *bytes)
{
    struct head h = {.at = bytes, .start = bytes};
    add64(&h, (uint64_t)answer->start_off);
    add64(&h, (uint64_t)answer->high_watermark);
    return head_end(&h);
}

/* ---- reading -------------------------------------------------------------------------- */

static enum kq_err open_question(struct cursor *c, struct group_id *group, uint16_t *flags)
{
    uint16_t version = cursor_le16(c);
    *flags = cursor_le16(c);
    cursor_copy(c, group->topic_id.bytes, UUID_BYTES);
    group->partition = cursor_le32(c);
    if (c->bad)
        return KQ_GARBAGE;
    return version == ASK_WIRE_VERSION ? KQ_OK : KQ_BAD_VERSION;
}

/* Whether the batches are whole, as many as said, and hold as many records. */
static bool batches_agree(struct cursor c, uint32_t batch_count, uint32_t record_count)
{
    uint64_t batches = 0, records = 0;
    while (cursor_left(&c) > 0) {
        struct batch_info info;
        const uint8_t *batch;
        if (batch_next(&c, &info, &batch) != KQ_OK || info.record_count < 1)
            return false;
        batches++;
        records += (uint64_t)info.record_count;
    }
    return batches > 0 && batches == batch_count && records == record_count;
}

enum kq_err ask_publish_decode(struct ask_publish *ask, const uint8_t *body, size_t body_bytes)
{
    struct cursor c = cursor_over(body, body_bytes);
    uint16_t flags;
    *ask = (struct ask_publish){0};
    enum kq_err err = open_question(&c, &ask->group, &flags);
    ask->in_term = cursor_le64(&c);
    ask->wait_ms = cursor_le32(&c);
    ask->record_count = cursor_le32(&c);
    ask->batch_count = cursor_le32(&c);
    if (err != KQ_OK)
        return err;
    if (c.bad || flags != 0 || ask->wait_ms > ASK_WAIT_MAX_MS || cursor_left(&c) > INT32_MAX)
        return KQ_GARBAGE;
    ask->head_bytes = (uint32_t)(c.at - body);
    return batches_agree(c, ask->batch_count, ask->record_count) ? KQ_OK : KQ_GARBAGE;
}

enum kq_err ask_published_decode(struct ask_published *answer, const uint8_t *body, size_t body_bytes)
{
    struct cursor c = cursor_over(body, body_bytes);
    answer->base_off = (int64_t)cursor_le64(&c);
    answer->term = cursor_le64(&c);
    answer->log_start_off = (int64_t)cursor_le64(&c);
    return c.bad ? KQ_GARBAGE : KQ_OK;
}

enum kq_err ask_read_decode(struct ask_read *ask, const uint8_t *body, size_t body_bytes)
{
    struct cursor c = cursor_over(body, body_bytes);
    enum kq_err err = open_question(&c, &ask->group, &ask->flags);
    ask->off = (int64_t)cursor_le64(&c);
    ask->end_off = (int64_t)cursor_le64(&c);
    ask->max_bytes = cursor_le32(&c);
    if (err != KQ_OK)
        return err;
    bool known = (ask->flags & ~(ASK_READ_CONFIRM | ASK_READ_CLAMP)) == 0;
    bool sane = ask->off >= -1 && ask->end_off >= -1 && ask->max_bytes <= ASK_READ_MAX_BYTES;
    return c.bad || !known || !sane ? KQ_GARBAGE : KQ_OK;
}

enum kq_err ask_reading_decode(struct ask_reading *answer, const uint8_t *body, size_t body_bytes)
{
    struct cursor c = cursor_over(body, body_bytes);
    answer->start_off = (int64_t)cursor_le64(&c);
    answer->high_watermark = (int64_t)cursor_le64(&c);
    answer->off = (int64_t)cursor_le64(&c);
    answer->end_off = (int64_t)cursor_le64(&c);
    answer->head_bytes = (uint32_t)(c.at - body);
    bool sane = answer->start_off >= 0 && answer->high_watermark >= answer->start_off && answer->off >= 0;
    return c.bad || !sane ? KQ_GARBAGE : KQ_OK;
}

enum kq_err ask_watch_decode(struct ask_watch *ask, const uint8_t *body, size_t body_bytes)
{
    struct cursor c = cursor_over(body, body_bytes);
    uint16_t flags;
    enum kq_err err = open_question(&c, &ask->group, &flags);
    ask->off = (int64_t)cursor_le64(&c);
    ask->wait_ms = cursor_le32(&c);
    if (err != KQ_OK)
        return err;
    return c.bad || flags != 0 || ask->off < -1 || ask->wait_ms > ASK_WAIT_MAX_MS ? KQ_GARBAGE : KQ_OK;
}

enum kq_err ask_watched_decode(struct ask_watched *answer, const uint8_t *body, size_t body_bytes)
{
    struct cursor c = cursor_over(body, body_bytes);
    answer->start_off = (int64_t)cursor_le64(&c);
    answer->high_watermark = (int64_t)cursor_le64(&c);
    return c.bad || answer->start_off < 0 || answer->high_watermark < answer->start_off ? KQ_GARBAGE : KQ_OK;
}
