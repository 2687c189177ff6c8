/*
 * The helpers above the io table: they loop over short reads and writes and
 * over EINTR, and turn errno into `enum kq_err`.
 */
#include "log/io.h"

#include "base/require.h"

#include <errno.h>
#include <stdbool.h>

enum kq_err io_open(struct io *io, const char *path, int flags, struct io_file **file)
{
    *file = NULL;
    return err_from_errno(-io->ops->open(io, path, flags, file));
}

void io_close(struct io *io, struct io_file **file)
{
    if (*file != NULL)
        io->ops->close(io, *file);
    *file = NULL;
}

enum kq_err io_read(struct io *io, struct io_file *file, void *data, size_t size_bytes, uint64_t pos, size_t *got)
{
    size_t done = 0;
    enum kq_err err = KQ_OK;
    while (done < size_bytes) {
        ssize_t n = io->ops->pread(io, file, (char *)data + done, size_bytes - done, pos + done);
        if (n == -EINTR)
            continue;
        if (n <= 0) {
            err = n == 0 ? KQ_EOF : err_from_errno((int)-n);
            break;
        }
        done += (size_t)n;
    }
    if (got != NULL)
        *got = done;
    return err;
}

enum kq_err io_write(struct io *io, struct io_file *file, const void *data, size_t size_bytes, uint64_t pos)
{
    union {
        const void *in;
        void *out;
    } same = {.in = data}; /* iovec has no const */
    struct iovec part = {.iov_base = same.out, .iov_len = size_bytes};
    return io_writev(io, file, &part, 1, pos);
}

enum kq_err io_writev(struct io *io, struct io_file *file, struct iovec *parts, int part_count, uint64_t pos)
{
    while (part_count > 0) {
        if (parts->iov_len == 0) {
            parts++;
            part_count--;
            continue;
        }
        ssize_t n = io->ops->pwritev(io, file, parts, part_count < IO_PARTS_MAX ? part_count : IO_PARTS_MAX, pos);
        if (n == -EINTR)
            continue;
        if (n <= 0)
            return n == 0 ? KQ_IO : err_from_errno((int)-n);
        pos += (uint64_t)n;
        size_t left = (size_t)n;
        for (; part_count > 0 && left >= parts->iov_len; parts++, part_count--)
            left -= parts->iov_len;
        REQUIRE(left == 0 || part_count > 0);
        if (left > 0) {
            parts->iov_base = (char *)parts->iov_base + left;
            parts->iov_len -= left;
        }
    }
    return KQ_OK;
}
