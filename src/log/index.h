/*
 * The index file of a segment: one row an entry, so that idx -> position is
 * arithmetic, and offset -> entry and time -> entry are binary searches. It is a
 * cache: whoever opens it checks it, and builds it anew from the log file when it
 * does not agree. Private to src/log.
 */
#ifndef KQ_LOG_INDEX_H
#define KQ_LOG_INDEX_H

#include "base/bytes.h"
#include "base/err.h"
#include "log/io.h"

#include <stdbool.h>
#include <stdint.h>

enum { INDEX_ROW_BYTES = 24, INDEX_GRAIN_BYTES = 4096 };

#define INDEX_ROW_CONFIG UINT32_C(0x80000000)

/* On disk, little-endian:  0 8 first offset   8 8 largest timestamp in the segment
 * up to this entry, or -1   16 4 position in the log file   20 4 term (31 bits),
 * and in the highest bit whether the entry is a configuration. A row of zeros
 * (position 0) stands for an entry that could not be found. */
struct index_row {
    int64_t first_off;
    int64_t max_time_ms;
    uint32_t pos;
    uint32_t term;
    bool config;
};

struct index {
    uint8_t *rows;       /* NULL: not open */
    size_t mapped_bytes; /* 0 with rows: on the heap */
};

static inline struct index_row index_row_get(const uint8_t *rows, uint64_t number)
{
    const uint8_t *at = rows + number * INDEX_ROW_BYTES;
    uint32_t term = get_le32(at + 20);
    return (struct index_row){
        .first_off = (int64_t)get_le64(at),
        .max_time_ms = (int64_t)get_le64(at + 8),
        .pos = get_le32(at + 16),
        .term = term & ~INDEX_ROW_CONFIG,
        .config = (term & INDEX_ROW_CONFIG) != 0,
    };
}

static inline void index_row_put(uint8_t *rows, uint64_t number, const struct index_row *row)
{
    uint8_t *at = rows + number * INDEX_ROW_BYTES;
    put_le64(at, (uint64_t)row->first_off);
    put_le64(at + 8, (uint64_t)row->max_time_ms);
    put_le32(at + 16, row->pos);
    put_le32(at + 20, row->term | (row->config ? INDEX_ROW_CONFIG : 0));
}

/* Any thread, all of them; they block. */

/* Opens or makes the file, with space for row_count rows, so that a store can
 * never meet a full disk, and maps map_bytes of it writable. */
enum kq_err index_open_writable(struct io *io, const char *path, uint64_t row_count, size_t map_bytes,
                                struct index *index);
/* Space for rows up to row_count (rounded up to whole pages: *rows_now). */
enum kq_err index_allocate(struct io *io, const char *path, uint64_t rows_before, uint64_t row_count,
                           uint64_t *rows_now);
/* Cuts the file to its rows. */
enum kq_err index_trim(struct io *io, const char *path, uint64_t row_count);
/* Maps a file read only. KQ_CORRUPT, KQ_NOT_FOUND, ...: not usable, build it anew. */
enum kq_err index_open_sealed(struct io *io, const char *path, uint64_t row_count, uint32_t crc, struct index *index);
/* CRC-32C of the first row_count rows; KQ_IO: they cannot be read. */
enum kq_err index_crc(const struct index *index, uint64_t row_count, uint32_t *crc);
void index_close(struct io *io, struct index *index);

#endif
