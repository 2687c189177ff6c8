/*
 * The io table: every access to a disk goes through it, so that a test can fail,
 * shorten or tear each call and cut the power between any two of them.
 *
 * The operations are shaped like system calls: a result below zero is -errno, a
 * read or a write may be short. The helpers below the table loop, and turn errno
 * into `enum kq_err`. io_posix() is the real one; tests/support/io_mem.h is the
 * twin in memory.
 */
#ifndef KQ_LOG_IO_H
#define KQ_LOG_IO_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

struct io;
struct io_file;

enum { IO_PARTS_MAX = 1024 }; /* iovecs in one call of pwritev (IOV_MAX) */

enum io_flags {
    IO_WRITE = 1,     /* else read only */
    IO_CREATE = 2,    /* make it if it is not there */
    IO_EXCLUSIVE = 4, /* with IO_CREATE: fail if it is there */
};

struct io_ops {
    int (*open)(struct io *io, const char *path, int flags, struct io_file **file);
    void (*close)(struct io *io, struct io_file *file);
    ssize_t (*pread)(struct io *io, struct io_file *file, void *data, size_t size_bytes, uint64_t pos);
    ssize_t (*pwritev)(struct io *io, struct io_file *file, const struct iovec *parts, int part_count, uint64_t pos);
    /* Writes zeros so that the next datasync of other data in the file does not
     * pay for them (direct I/O where the file system has it), then syncs the file
     * as datasync does, its size included. Both numbers are multiples of 4096. */
    int (*zero)(struct io *io, struct io_file *file, uint64_t pos, uint64_t size_bytes);
    /* Space for the range, so that stores through a mapping cannot meet a full
     * disk (posix_fallocate); grows the file. */
    int (*allocate)(struct io *io, struct io_file *file, uint64_t pos, uint64_t size_bytes);
    int (*datasync)(struct io *io, struct io_file *file);
    /* The device gets what was written in the range, and it is waited for: a datasync
     * after it finds little to do, so that others who sync meanwhile wait behind a piece
     * and not behind all. Nothing is durable by it; an error is told as datasync's is, once. */
    int (*write_out)(struct io *io, struct io_file *file, uint64_t pos, uint64_t size_bytes);
    /* The next reads come from the disk and not from the cache. After a datasync:
     * what a failed one of an earlier process left in the cache as clean, though it
     * never reached the disk, is not taken for true. */
    int (*forget)(struct io *io, struct io_file *file);
    int (*truncate)(struct io *io, struct io_file *file, uint64_t size_bytes);
    int (*size)(struct io *io, struct io_file *file, uint64_t *size_bytes);
    /* Maps [0, size_bytes) shared; size_bytes may lie past the end of the file. */
    int (*map)(struct io *io, struct io_file *file, size_t size_bytes, bool writable, void **address);
    void (*unmap)(struct io *io, void *address, size_t size_bytes);
    int (*rename)(struct io *io, const char *from, const char *to);
    int (*unlink)(struct io *io, const char *path);
    int (*mkdir)(struct io *io, const char *path);
    int (*rmdir)(struct io *io, const char *path);
    int (*sync_dir)(struct io *io, const char *path);
    /* Calls each(context, name) for each entry but . and .., in no order. */
    int (*list)(struct io *io, const char *path, void (*each)(void *context, const char *name), void *context);
    int (*space)(struct io *io, const char *path, uint64_t *free_bytes);
};

struct io {
    const struct io_ops *ops;
};

/* Any thread. The operating system's files. Static; never freed. */
struct io *io_posix(void);

/* Any thread, all of them. size_bytes is read or written whole, or an error. */
enum kq_err io_open(struct io *io, const char *path, int flags, struct io_file **file);
void io_close(struct io *io, struct io_file **file);
/* KQ_EOF: the file ends before; *got (may be NULL) says how many bytes came. */
enum kq_err io_read(struct io *io, struct io_file *file, void *data, size_t size_bytes, uint64_t pos, size_t *got);
enum kq_err io_write(struct io *io, struct io_file *file, const void *data, size_t size_bytes, uint64_t pos);
enum kq_err io_writev(struct io *io, struct io_file *file, struct iovec *parts, int part_count, uint64_t pos);

/*
 * Reads under a mapping. Runs body(context) with SIGBUS in [address, address +
 * size_bytes) turned into a false return. body must hold no lock, own no memory
 * and only copy or check. io_guard_install() is called once before any thread
 * starts.
 */
void io_guard_install(void);
bool io_guarded(const void *address, size_t size_bytes, void (*body)(void *context), void *context);

#endif
