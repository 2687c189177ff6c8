/*
 * Opening, growing and checking index files (the rows stand in index.h).
 *
 * The file of the active segment is mapped writable once, at the largest size it
 * can reach, and is allocated ahead by the keep job; the owner stores rows through
 * the mapping. No descriptor stays open. Never an error of the log: what does not
 * agree with its checksum is refused here and built anew by segment.c.
 */
#include "log/index.h"

#include "base/crc32c.h"

#include <stdlib.h>

/* Whole pages for so many rows; never none, which no file system allocates. */
static uint64_t grains(uint64_t row_count)
{
    uint64_t bytes = (row_count > 0 ? row_count : 1) * INDEX_ROW_BYTES + INDEX_GRAIN_BYTES - 1;
    return bytes - bytes % INDEX_GRAIN_BYTES;
}

enum kq_err index_open_writable(struct io *io, const char *path, uint64_t row_count, size_t map_bytes,
                                struct index *index)
{
    struct io_file *file;
    enum kq_err err = io_open(io, path, IO_WRITE | IO_CREATE, &file);
    if (err != KQ_OK)
        return err;
    if (row_count > 0)
        err = err_from_errno(-io->ops->allocate(io, file, 0, grains(row_count)));
    void *rows = NULL;
    if (err == KQ_OK)
        err = err_from_errno(-io->ops->map(io, file, map_bytes, true, &rows));
    if (err == KQ_OK)
        *index = (struct index){.rows = rows, .mapped_bytes = map_bytes};
    io_close(io, &file);
    return err;
}

enum kq_err index_allocate(struct io *io, const char *path, uint64_t rows_before, uint64_t row_count,
                           uint64_t *rows_now)
{
    uint64_t from = rows_before > 0 ? grains(rows_before) : 0;
    uint64_t to = grains(row_count);
    *rows_now = rows_before;
    if (to <= from)
        return KQ_OK;
    struct io_file *file;
    enum kq_err err = io_open(io, path, IO_WRITE | IO_CREATE, &file);
    if (err != KQ_OK)
        return err;
    err = err_from_errno(-io->ops->allocate(io, file, from, to - from));
    io_close(io, &file);
    if (err == KQ_OK)
        *rows_now = to / INDEX_ROW_BYTES;
    return err;
}

enum kq_err index_trim(struct io *io, const char *path, uint64_t row_count)
{
    struct io_file *file;
    enum kq_err err = io_open(io, path, IO_WRITE, &file);
    if (err != KQ_OK)
        return err;
    err = err_from_errno(-io->ops->truncate(io, file, row_count * INDEX_ROW_BYTES));
    io_close(io, &file);
    return err;
}

enum kq_err index_open_sealed(struct io *io, const char *path, uint64_t row_count, uint32_t crc, struct index *index)
{
    struct io_file *file;
    enum kq_err err = io_open(io, path, 0, &file);
    if (err != KQ_OK)
        return err;
    uint64_t size;
    err = err_from_errno(-io->ops->size(io, file, &size));
    if (err == KQ_OK && size < row_count * INDEX_ROW_BYTES)
        err = KQ_CORRUPT;
    void *rows = NULL;
    size_t map_bytes = row_count * INDEX_ROW_BYTES;
    if (err == KQ_OK)
        err = err_from_errno(-io->ops->map(io, file, map_bytes, false, &rows));
    io_close(io, &file);
    if (err != KQ_OK)
        return err;
    *index = (struct index){.rows = rows, .mapped_bytes = map_bytes};
    uint32_t found;
    err = index_crc(index, row_count, &found);
    if (err == KQ_OK && found != crc)
        err = KQ_CORRUPT;
    if (err != KQ_OK)
        index_close(io, index);
    return err;
}

struct crc_job {
    const uint8_t *rows;
    size_t size_bytes;
    uint32_t crc;
};

static void crc_rows(void *context)
{
    struct crc_job *job = context;
    job->crc = crc32c(0, job->rows, job->size_bytes);
}

enum kq_err index_crc(const struct index *index, uint64_t row_count, uint32_t *crc)
{
    struct crc_job job = {.rows = index->rows, .size_bytes = row_count * INDEX_ROW_BYTES};
    if (!io_guarded(index->rows, job.size_bytes, crc_rows, &job))
        return KQ_IO;
    *crc = job.crc;
    return KQ_OK;
}

void index_close(struct io *io, struct index *index)
{
    if (index->rows != NULL && index->mapped_bytes > 0)
        io->ops->unmap(io, index->rows, index->mapped_bytes);
    else
        free(index->rows);
    *index = (struct index){0};
}
