/*
 * An entry in the log file. Little-endian; entries stand back to back.
 *
 *    local part: this replica's own, not replicated, not compared
 *      0  4  checksum: CRC-32C seeded with `local`, over bytes 4-15 and the header checksum
 *      4  4  zero
 *      8  8  this replica's flushed idx when it wrote the entry
 *    header: the same on every replica
 *     16  4  magic "KQe1"
 *     20  1  version = 1
 *     21  1  flags: 1 the body is lost (a repair gave it up; length and checksum are the original's)
 *     22  2  type (enum log_entry_type)
 *     24  4  header checksum: CRC-32C seeded with `shared`, over bytes 16-71 with this field zero
 *     28  4  body checksum: CRC-32C seeded with `shared`, term and idx, over the original body
 *     32  4  length of the body
 *     36  4  record count
 *     40  8  term
 *     48  8  idx
 *     56  8  first offset: of the first record, or of the next one if there is none
 *     64  4  body checksum of the entry before (0 for idx 1): the chain
 *     68  4  zero
 *     72  .. body
 *
 * The seed `shared` is the checksum of topic id and partition, so that a recycled
 * or misplaced block of another partition never passes; term and idx in the body's
 * seed do the same within the partition. `local` adds the replica's incarnation,
 * which no client knows: bytes that a client wrote into a body cannot pass for an
 * entry when recovery looks for heads behind a damaged place.
 *
 * Zeros are never a valid entry: the magic is not zero.
 */
#include "log/entry.h"

#include "base/bytes.h"
#include "base/crc32c.h"

enum {
    ENTRY_MAGIC = 0x3165514b, /* "KQe1" */
    ENTRY_VERSION = 1,
    AT_LOCAL_CRC = 0,
    AT_FLUSHED = 8,
    AT_MAGIC = 16,
    AT_VERSION = 20,
    AT_FLAGS = 21,
    AT_TYPE = 22,
    AT_HEADER_CRC = 24,
    AT_BODY_CRC = 28,
    AT_LENGTH = 32,
    AT_COUNT = 36,
    AT_TERM = 40,
    AT_IDX = 48,
    AT_FIRST_OFF = 56,
    AT_PREV_CRC = 64,
};

static uint32_t crc_le32(uint32_t crc, uint32_t v)
{
    uint8_t bytes[4];
    put_le32(bytes, v);
    return crc32c(crc, bytes, sizeof bytes);
}

struct entry_seed entry_seed_make(const struct uuid *topic_id, uint32_t partition, const struct uuid *incarnation)
{
    struct entry_seed seed;
    seed.shared = crc_le32(crc32c(0, topic_id->bytes, UUID_BYTES), partition);
    seed.local = crc32c(seed.shared, incarnation->bytes, UUID_BYTES);
    return seed;
}

uint32_t entry_body_crc(const struct entry_seed *seed, uint64_t term, uint64_t idx, uint32_t plain_crc,
                        uint32_t body_bytes)
{
    uint8_t place[16];
    put_le64(place, term);
    put_le64(place + 8, idx);
    return crc32c_combine(crc32c(seed->shared, place, sizeof place), plain_crc, body_bytes);
}

/* Of the header at data + AT_MAGIC, its own field taken as zero. */
static uint32_t header_crc(const uint8_t *data, const struct entry_seed *seed)
{
    uint32_t crc = crc32c(seed->shared, data + AT_MAGIC, AT_HEADER_CRC - AT_MAGIC);
    return crc32c(crc_le32(crc, 0), data + AT_BODY_CRC, ENTRY_HEAD_BYTES - AT_BODY_CRC);
}

static uint32_t local_crc(const uint8_t *data, const struct entry_seed *seed)
{
    uint32_t crc = crc32c(seed->local, data + 4, ENTRY_LOCAL_BYTES - 4);
    return crc32c(crc, data + AT_HEADER_CRC, 4);
}

void entry_encode(uint8_t out[ENTRY_HEAD_BYTES], const struct entry_head *head, const struct entry_seed *seed)
{
    memset(out, 0, ENTRY_HEAD_BYTES);
    put_le64(out + AT_FLUSHED, head->flushed_idx);
    put_le32(out + AT_MAGIC, ENTRY_MAGIC);
    out[AT_VERSION] = ENTRY_VERSION;
    out[AT_FLAGS] = head->flags;
    put_le16(out + AT_TYPE, (uint16_t)head->type);
    put_le32(out + AT_BODY_CRC, head->body_crc);
    put_le32(out + AT_LENGTH, head->body_bytes);
    put_le32(out + AT_COUNT, head->record_count);
    put_le64(out + AT_TERM, head->term);
    put_le64(out + AT_IDX, head->idx);
    put_le64(out + AT_FIRST_OFF, (uint64_t)head->first_off);
    put_le32(out + AT_PREV_CRC, head->prev_crc);
    put_le32(out + AT_HEADER_CRC, header_crc(out, seed));
    put_le32(out + AT_LOCAL_CRC, local_crc(out, seed));
}

static bool all_zero(const uint8_t *data, size_t size_bytes)
{
    for (size_t i = 0; i < size_bytes; i++)
        if (data[i] != 0)
            return false;
    return true;
}

enum kq_err entry_decode(const uint8_t *data, size_t left_bytes, const struct entry_seed *seed, struct entry_head *head)
{
    if (left_bytes < ENTRY_HEAD_BYTES)
        return KQ_EOF;
    if (get_le32(data + AT_MAGIC) != ENTRY_MAGIC)
        return all_zero(data, ENTRY_HEAD_BYTES) ? KQ_EOF : KQ_CORRUPT;
    if (get_le32(data + AT_HEADER_CRC) != header_crc(data, seed) ||
        get_le32(data + AT_LOCAL_CRC) != local_crc(data, seed))
        return KQ_CORRUPT;
    if (data[AT_VERSION] > ENTRY_VERSION)
        return KQ_BAD_VERSION;
    *head = (struct entry_head){
        .flushed_idx = get_le64(data + AT_FLUSHED),
        .flags = data[AT_FLAGS],
        .type = (enum log_entry_type)get_le16(data + AT_TYPE),
        .body_crc = get_le32(data + AT_BODY_CRC),
        .body_bytes = get_le32(data + AT_LENGTH),
        .record_count = get_le32(data + AT_COUNT),
        .term = get_le64(data + AT_TERM),
        .idx = get_le64(data + AT_IDX),
        .first_off = (int64_t)get_le64(data + AT_FIRST_OFF),
        .prev_crc = get_le32(data + AT_PREV_CRC),
    };
    if (head->body_bytes > ENTRY_BODY_BYTES_MAX || head->idx == 0 || head->first_off < 0)
        return KQ_CORRUPT;
    return KQ_OK;
}

uint64_t entry_find(const uint8_t *data, uint64_t from, uint64_t end)
{
    uint8_t magic[4];
    put_le32(magic, ENTRY_MAGIC);
    if (from > end || end - from < ENTRY_HEAD_BYTES)
        return end;
    const uint8_t *at =
        memmem(data + from + AT_MAGIC, end - from - ENTRY_HEAD_BYTES + sizeof magic, magic, sizeof magic);
    return at != NULL ? (uint64_t)(at - data) - AT_MAGIC : end;
}

bool entry_body_ok(const struct entry_seed *seed, const struct entry_head *head, const uint8_t *body)
{
    if ((head->flags & ENTRY_LOST) != 0)
        return true;
    uint8_t place[16];
    put_le64(place, head->term);
    put_le64(place + 8, head->idx);
    return crc32c(crc32c(seed->shared, place, sizeof place), body, head->body_bytes) == head->body_crc;
}

int64_t entry_max_time(const struct entry_head *head, const uint8_t *body)
{
    int64_t max = -1;
    if (head->type != LOG_ENTRY_RECORDS || (head->flags & ENTRY_LOST) != 0)
        return max;
    struct cursor c = cursor_over(body, head->body_bytes);
    struct batch_info info;
    const uint8_t *batch;
    while (cursor_left(&c) > 0 && batch_next(&c, &info, &batch) == KQ_OK)
        if (info.max_time_ms > max)
            max = info.max_time_ms;
    return max;
}
