/*
 * The footer follows the last entry of a sealed segment and ends with the file.
 * Little-endian. Sections, then a trailer:
 *
 *   section:  0  4  type     4  4  length of the content
 *             8  4  CRC-32C seeded with `shared`, over type, length and content
 *            12 ..  content
 *     type 1, state   opaque: producers, machine; as of the last idx. Always first.
 *     type 2, terms   runs of 16 bytes: term, first idx
 *     type 3, range    0  8  first idx        8  8  last idx
 *                     16  8  first offset    24  8  offset after the last record
 *                     32  8  largest timestamp, or -1
 *                     40  4  body checksum of the last entry
 *                     44  4  CRC-32C of the rows of the index file
 *   trailer, the last 32 bytes of the file:
 *      0  4  magic "KQf1"
 *      4  4  CRC-32C seeded with `shared`, over bytes 8-31, in every version
 *      8  4  version = 1
 *     12  4  bytes of all sections but the first
 *     16  8  where the entries end: the first section begins here
 *     24  8  bytes of the first section
 * Sections of unknown type are skipped. A start reads the trailer and all but the
 * state, which is taken from the newest segment alone.
 */
#include "log/footer.h"

#include "base/crc32c.h"

#include <stdlib.h>

enum {
    TRAILER_MAGIC = 0x3166514b, /* "KQf1" */
    TRAILER_VERSION = 1,
    TRAILER_BYTES = 32,
    SECTION_HEAD_BYTES = 12,
    SECTION_STATE = 1,
    SECTION_TERMS = 2,
    SECTION_RANGE = 3,
    RANGE_BYTES = 48,
    RUN_BYTES = 16,
    SECTIONS_BYTES_MAX = FOOTER_RUNS_MAX * RUN_BYTES + 4096,
};

static uint32_t section_crc(const struct entry_seed *seed, const uint8_t *head, const void *content, size_t size_bytes)
{
    return crc32c(crc32c(seed->shared, head, 8), content, size_bytes);
}

static void put_section(struct buf *out, const struct entry_seed *seed, uint32_t type, const void *content,
                        size_t size_bytes)
{
    uint8_t head[SECTION_HEAD_BYTES];
    put_le32(head, type);
    put_le32(head + 4, (uint32_t)size_bytes);
    put_le32(head + 8, section_crc(seed, head, content, size_bytes));
    buf_put(out, head, sizeof head);
    if (size_bytes > 0)
        buf_put(out, content, size_bytes);
}

void footer_encode(struct buf *out, const struct footer *f, const void *state, const struct entry_seed *seed)
{
    size_t start = out->len;
    put_section(out, seed, SECTION_STATE, state, f->state_bytes);
    size_t rest = out->len;
    struct buf runs;
    buf_init(&runs, (size_t)FOOTER_RUNS_MAX * RUN_BYTES);
    for (uint32_t i = 0; i < f->run_count; i++) {
        buf_le64(&runs, f->runs[i].term);
        buf_le64(&runs, f->runs[i].idx);
    }
    put_section(out, seed, SECTION_TERMS, runs.data, runs.len);
    out->bad = out->bad || runs.bad;
    buf_fini(&runs);
    uint8_t range[RANGE_BYTES];
    put_le64(range, f->first_idx);
    put_le64(range + 8, f->last_idx);
    put_le64(range + 16, (uint64_t)f->first_off);
    put_le64(range + 24, (uint64_t)f->end_off);
    put_le64(range + 32, (uint64_t)f->max_time_ms);
    put_le32(range + 40, f->last_crc);
    put_le32(range + 44, f->index_crc);
    put_section(out, seed, SECTION_RANGE, range, sizeof range);
    uint8_t trailer[TRAILER_BYTES];
    put_le32(trailer, TRAILER_MAGIC);
    put_le32(trailer + 8, TRAILER_VERSION);
    put_le32(trailer + 12, (uint32_t)(out->len - rest));
    put_le64(trailer + 16, f->end_pos);
    put_le64(trailer + 24, rest - start);
    put_le32(trailer + 4, crc32c(seed->shared, trailer + 8, TRAILER_BYTES - 8));
    buf_put(out, trailer, sizeof trailer);
}

static bool take_runs(struct footer *f, const uint8_t *content, uint32_t size_bytes)
{
    if (f->runs != NULL || size_bytes == 0 || size_bytes % RUN_BYTES != 0)
        return false;
    f->run_count = size_bytes / RUN_BYTES;
    f->runs = malloc(f->run_count * sizeof *f->runs);
    if (f->runs == NULL)
        return false;
    for (uint32_t i = 0; i < f->run_count; i++) {
        f->runs[i].term = get_le64(content + (size_t)i * RUN_BYTES);
        f->runs[i].idx = get_le64(content + (size_t)i * RUN_BYTES + 8);
        if (i > 0 && (f->runs[i].idx <= f->runs[i - 1].idx || f->runs[i].term < f->runs[i - 1].term))
            return false;
    }
    return true;
}

static bool take_range(struct footer *f, const uint8_t *content, uint32_t size_bytes)
{
    if (size_bytes != RANGE_BYTES)
        return false;
    f->first_idx = get_le64(content);
    f->last_idx = get_le64(content + 8);
    f->first_off = (int64_t)get_le64(content + 16);
    f->end_off = (int64_t)get_le64(content + 24);
    f->max_time_ms = (int64_t)get_le64(content + 32);
    f->last_crc = get_le32(content + 40);
    f->index_crc = get_le32(content + 44);
    return f->first_idx > 0 && f->first_off >= 0 && f->end_off >= f->first_off && f->last_idx >= f->first_idx;
}

static bool parse_sections(struct footer *f, const uint8_t *data, size_t size_bytes, const struct entry_seed *seed)
{
    struct cursor c = cursor_over(data, size_bytes);
    bool have_range = false;
    while (cursor_left(&c) > 0) {
        const uint8_t *head = cursor_bytes(&c, SECTION_HEAD_BYTES);
        if (head == NULL)
            return false;
        uint32_t length = get_le32(head + 4);
        const uint8_t *content = cursor_bytes(&c, length);
        if (c.bad || section_crc(seed, head, content, length) != get_le32(head + 8))
            return false;
        uint32_t type = get_le32(head);
        if (type == SECTION_TERMS && !take_runs(f, content, length))
            return false;
        if (type == SECTION_RANGE && !(have_range = take_range(f, content, length)))
            return false;
    }
    return have_range && f->runs != NULL && f->runs[0].idx == f->first_idx;
}

enum kq_err footer_load(struct io *io, struct io_file *file, uint64_t file_bytes, const struct entry_seed *seed,
                        struct footer *f)
{
    memset(f, 0, sizeof *f);
    uint8_t trailer[TRAILER_BYTES];
    if (file_bytes < TRAILER_BYTES)
        return KQ_NOT_FOUND;
    enum kq_err err = io_read(io, file, trailer, sizeof trailer, file_bytes - TRAILER_BYTES, NULL);
    if (err != KQ_OK)
        return err == KQ_EOF ? KQ_NOT_FOUND : err;
    if (get_le32(trailer) != TRAILER_MAGIC ||
        get_le32(trailer + 4) != crc32c(seed->shared, trailer + 8, TRAILER_BYTES - 8))
        return KQ_NOT_FOUND;
    if (get_le32(trailer + 8) > TRAILER_VERSION)
        return KQ_BAD_VERSION;
    uint32_t rest = get_le32(trailer + 12);
    uint64_t first = get_le64(trailer + 24);
    f->end_pos = get_le64(trailer + 16);
    if (rest > SECTIONS_BYTES_MAX || first < SECTION_HEAD_BYTES || first > LOG_STATE_BYTES_MAX + SECTION_HEAD_BYTES ||
        f->end_pos > file_bytes || file_bytes - f->end_pos != first + rest + TRAILER_BYTES)
        return KQ_NOT_FOUND;
    f->state_pos = f->end_pos + SECTION_HEAD_BYTES;
    f->state_bytes = first - SECTION_HEAD_BYTES;
    uint8_t *data = malloc(rest + 1u);
    if (data == NULL)
        return KQ_NO_MEMORY;
    err = io_read(io, file, data, rest, f->end_pos + first, NULL);
    if (err == KQ_OK &&
        (!parse_sections(f, data, rest, seed) || f->last_idx - f->first_idx >= f->end_pos / ENTRY_HEAD_BYTES))
        err = KQ_NOT_FOUND;
    free(data);
    if (err != KQ_OK) {
        free(f->runs);
        f->runs = NULL;
        f->run_count = 0;
    }
    return err;
}

enum kq_err footer_load_state(struct io *io, struct io_file *file, const struct footer *f,
                              const struct entry_seed *seed, void **state)
{
    *state = NULL;
    if (f->state_bytes == 0)
        return KQ_OK;
    uint8_t *data = malloc(SECTION_HEAD_BYTES + f->state_bytes);
    if (data == NULL)
        return KQ_NO_MEMORY;
    enum kq_err err = io_read(io, file, data, SECTION_HEAD_BYTES + f->state_bytes, f->end_pos, NULL);
    if (err == KQ_OK && (get_le32(data) != SECTION_STATE || get_le32(data + 4) != f->state_bytes ||
                         get_le32(data + 8) != section_crc(seed, data, data + SECTION_HEAD_BYTES, f->state_bytes)))
        err = KQ_CORRUPT;
    if (err == KQ_OK) {
        memmove(data, data + SECTION_HEAD_BYTES, f->state_bytes);
        *state = data;
        return KQ_OK;
    }
    free(data);
    return err == KQ_EOF ? KQ_CORRUPT : err;
}
