#include "proto/peer/raft_frame.h"

#include "base/crc32c.h"

enum { BIT_GRANTED = 1, BIT_FORCED = 2, BIT_REFUSED = 4, BIT_CONFIG = 8, BITS_ALL = 15, ENTRY_TYPE_MAX = 4 };

/* ---- writing ------------------------------------------------------------------------ */

static void put_member(struct buf *out, const struct raft_member *m)
{
    buf_le32(out, m->broker_id);
    buf_put(out, m->incarnation.bytes, UUID_BYTES);
}

void raft_frame_put_head(struct buf *out, const struct raft_frame *frame)
{
    const struct raft_message *m = &frame->message;
    const struct raft_config *config = m->config;
    buf_put(out, frame->topic_id.bytes, UUID_BYTES);
    buf_le32(out, frame->partition);
    buf_u8(out, (uint8_t)m->type);
    buf_u8(out, (uint8_t)((m->granted ? BIT_GRANTED : 0) | (m->forced ? BIT_FORCED : 0) |
                          (m->refused ? BIT_REFUSED : 0) | (config != NULL ? BIT_CONFIG : 0)));
    buf_le16(out, 0);
    put_member(out, &m->from);
    put_member(out, &m->to);
    const uint64_t numbers[] = {m->term,      m->prev_idx, m->prev_term, m->last_idx, m->entry_term, m->commit_idx,
                                m->match_idx, m->hint_idx, m->hint_term, m->round,    m->boot,       m->to_boot};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        buf_le64(out, numbers[i]);
    buf_le64(out, config != NULL ? config->idx : 0);
    buf_le64(out, (uint64_t)frame->next_off);
    buf_le64(out, (uint64_t)frame->start_off);
    buf_le32(out, config != NULL ? config->count : 0);
    buf_le32(out, frame->entry_count);
    buf_le32(out, frame->state_bytes);
    buf_le32(out, 0);
    for (uint32_t i = 0; config != NULL && i < config->count; i++) {
        put_member(out, &config->seats[i].member);
        buf_le32(out, config->seats[i].kinds);
    }
}

void raft_frame_put_entry(struct buf *out, const struct raft_frame_entry *entry)
{
    buf_u8(out, entry->type);
    buf_zeros(out, 3);
    buf_le32(out, entry->record_count);
    buf_le64(out, (uint64_t)entry->first_off);
    buf_le64(out, (uint64_t)entry->max_time_ms);
    buf_le32(out, entry->body_bytes);
    buf_le32(out, entry->body_crc);
    buf_le64(out, entry->term);
    buf_le64(out, entry->idx);
}

/* ---- reading ------------------------------------------------------------------------ */

static void take_member(struct cursor *c, struct raft_member *m)
{
    m->broker_id = cursor_le32(c);
    cursor_copy(c, m->incarnation.bytes, UUID_BYTES);
}

/* False: one of them is beyond what any log comes to; sums of such would wrap. */
static bool take_numbers(struct cursor *c, struct raft_message *m)
{
    bool sane = true;
    uint64_t *const numbers[] = {&m->term,       &m->prev_idx,   &m->prev_term, &m->last_idx,
                                 &m->entry_term, &m->commit_idx, &m->match_idx, &m->hint_idx,
                                 &m->hint_term,  &m->round,      &m->boot,      &m->to_boot};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        *numbers[i] = cursor_le64(c);
        sane = sane && *numbers[i] < RAFT_FRAME_NUMBER_END;
    }
    return sane;
}

static void take_entry(struct cursor *c, struct raft_frame_entry *entry, bool *zeros)
{
    entry->type = cursor_u8(c);
    *zeros = cursor_u8(c) == 0;
    *zeros = cursor_le16(c) == 0 && *zeros;
    entry->record_count = cursor_le32(c);
    entry->first_off = (int64_t)cursor_le64(c);
    entry->max_time_ms = (int64_t)cursor_le64(c);
    entry->body_bytes = cursor_le32(c);
    entry->body_crc = cursor_le32(c);
    entry->term = cursor_le64(c);
    entry->idx = cursor_le64(c);
}

/* All entries follow prev_idx and each other, are of the message's term and fill the rest. */
static bool entries_fit(const struct raft_frame *frame, uint64_t bodies_bytes)
{
    const struct raft_message *m = &frame->message;
    struct cursor c = cursor_over(frame->entries, (size_t)frame->entry_count * RAFT_FRAME_ENTRY_BYTES);
    uint64_t sum = 0;
    for (uint32_t i = 0; i < frame->entry_count; i++) {
        struct raft_frame_entry entry;
        bool zeros;
        take_entry(&c, &entry, &zeros);
        if (!zeros || entry.type == 0 || entry.type > ENTRY_TYPE_MAX || entry.idx != m->prev_idx + 1 + i ||
            entry.term != m->entry_term || entry.first_off < 0)
            return false;
        sum += entry.body_bytes;
    }
    return sum == bodies_bytes;
}

enum kq_err raft_frame_decode(const uint8_t *body, size_t body_bytes, struct raft_frame *frame)
{
    struct cursor c = cursor_over(body, body_bytes);
    memset(frame, 0, sizeof *frame);
    struct raft_message *m = &frame->message;
    cursor_copy(&c, frame->topic_id.bytes, UUID_BYTES);
    frame->partition = cursor_le32(&c);
    uint8_t type = cursor_u8(&c);
    uint8_t bits = cursor_u8(&c);
    uint32_t zeros = cursor_le16(&c);
    take_member(&c, &m->from);
    take_member(&c, &m->to);
    bool sane = take_numbers(&c, m);
    frame->config_idx = cursor_le64(&c);
    frame->next_off = (int64_t)cursor_le64(&c);
    frame->start_off = (int64_t)cursor_le64(&c);
    frame->seat_count = cursor_le32(&c);
    frame->entry_count = cursor_le32(&c);
    frame->state_bytes = cursor_le32(&c);
    zeros |= cursor_le32(&c);
    if (c.bad || !sane || zeros != 0 || type < RAFT_MSG_PREVOTE || type > RAFT_MSG_FORGOT_REPLY ||
        (bits & ~BITS_ALL) != 0)
        return KQ_GARBAGE;
    m->type = (enum raft_message_type)type;
    m->granted = (bits & BIT_GRANTED) != 0;
    m->forced = (bits & BIT_FORCED) != 0;
    m->refused = (bits & BIT_REFUSED) != 0;
    frame->has_config = (bits & BIT_CONFIG) != 0;
    if (frame->seat_count > RAFT_SEATS_MAX || frame->entry_count > RAFT_FRAME_ENTRIES_MAX)
        return KQ_GARBAGE;
    if (frame->has_config ? frame->config_idx >= RAFT_FRAME_NUMBER_END : frame->config_idx != 0)
        return KQ_GARBAGE;
    if (frame->has_config != (frame->seat_count != 0) || (frame->has_config && m->type != RAFT_MSG_RESET))
        return KQ_GARBAGE;
    if (m->from.broker_id == 0 || m->to.broker_id == 0 || frame->next_off < 0 || frame->start_off < 0)
        return KQ_GARBAGE;
    if (m->type == RAFT_MSG_APPEND ? m->last_idx != m->prev_idx + frame->entry_count : frame->entry_count != 0)
        return KQ_GARBAGE;
    frame->seats = cursor_bytes(&c, (size_t)frame->seat_count * RAFT_FRAME_SEAT_BYTES);
    frame->entries = cursor_bytes(&c, (size_t)frame->entry_count * RAFT_FRAME_ENTRY_BYTES);
    frame->state = cursor_bytes(&c, frame->state_bytes);
    frame->bodies = c.at;
    frame->meta_bytes = (size_t)(c.at - body);
    if (c.bad || !entries_fit(frame, cursor_left(&c)))
        return KQ_GARBAGE;
    return KQ_OK;
}

void raft_frame_seat(const struct raft_frame *frame, uint32_t n, struct raft_seat *seat)
{
    struct cursor c = cursor_over(frame->seats + (size_t)n * RAFT_FRAME_SEAT_BYTES, RAFT_FRAME_SEAT_BYTES);
    take_member(&c, &seat->member);
    seat->kinds = cursor_le32(&c);
}

void raft_frame_entry(const struct raft_frame *frame, uint32_t n, struct raft_frame_entry *entry)
{
    struct cursor c = cursor_over(frame->entries + (size_t)n * RAFT_FRAME_ENTRY_BYTES, RAFT_FRAME_ENTRY_BYTES);
    bool zeros;
    take_entry(&c, entry, &zeros);
}

bool raft_frame_crc(const struct raft_frame *frame, const uint8_t *body, uint32_t *crc)
{
    *crc = crc32c(0, body, frame->meta_bytes);
    const uint8_t *at = frame->bodies;
    for (uint32_t i = 0; i < frame->entry_count; i++) {
        struct raft_frame_entry entry;
        raft_frame_entry(frame, i, &entry);
        if (crc32c(0, at, entry.body_bytes) != entry.body_crc)
            return false;
        *crc = crc32c_combine(*crc, entry.body_crc, entry.body_bytes);
        at += entry.body_bytes;
    }
    return true;
}
