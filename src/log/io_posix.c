/*
 * The operating system's files behind the io table.
 *
 * zero() writes through a second, direct open of the same file, so that the
 * zeros never become dirty pages that somebody else's datasync would have to
 * write; where direct I/O is not to be had it writes small pieces and syncs
 * each on its own.
 */
#include "log/io.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum {
    FILE_MODE = 0640,
    FOLDER_MODE = 0750,
    ZERO_BLOCK_BYTES = 1024 * 1024,
    HUGE_PAGE_BYTES = 2 * 1024 * 1024,
    PROC_PATH_BYTES = 32,
};

struct io_file {
    int fd;
};

/* Stays zero for ever; not const, so that it takes no room in the program. */
static _Alignas(4096) char small_zeros[ZERO_BLOCK_BYTES];
static const char *zeros = small_zeros;
static pthread_once_t zeros_once = PTHREAD_ONCE_INIT;

/* Where the system has a huge page of zeros (for all who only read such memory; it is nobody's) a block is
 * one piece for the disk instead of 256: a quarter of the processor's time, and of the time that the
 * file is locked for who appends. */
static void find_zeros(void)
{
    char *at = mmap(NULL, 2 * (size_t)HUGE_PAGE_BYTES, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED)
        return;
    char *aligned = at + (HUGE_PAGE_BYTES - (uintptr_t)at % HUGE_PAGE_BYTES) % HUGE_PAGE_BYTES;
    if (madvise(aligned, HUGE_PAGE_BYTES, MADV_HUGEPAGE) == 0)
        zeros = aligned; /* and stays mapped */
    else
        (void)munmap(at, 2 * (size_t)HUGE_PAGE_BYTES);
}

static int posix_open(struct io *io, const char *path, int flags, struct io_file **file)
{
    (void)io;
    int how = O_CLOEXEC | ((flags & IO_WRITE) != 0 ? O_RDWR : O_RDONLY);
    if ((flags & IO_CREATE) != 0)
        how |= O_CREAT;
    if ((flags & IO_EXCLUSIVE) != 0)
        how |= O_EXCL;
    struct io_file *f = malloc(sizeof *f);
    if (f == NULL)
        return -ENOMEM;
    do
        f->fd = open(path, how, FILE_MODE);
    while (f->fd < 0 && errno == EINTR);
    if (f->fd < 0) {
        int saved = errno;
        free(f);
        return -saved;
    }
    *file = f;
    return 0;
}

static void posix_close(struct io *io, struct io_file *file)
{
    (void)io;
    (void)close(file->fd);
    free(file);
}

static ssize_t posix_pread(struct io *io, struct io_file *file, void *data, size_t size_bytes, uint64_t pos)
{
    (void)io;
    ssize_t n = pread(file->fd, data, size_bytes, (off_t)pos);
    return n < 0 ? -errno : n;
}

static ssize_t posix_pwritev(struct io *io, struct io_file *file, const struct iovec *parts, int part_count,
                             uint64_t pos)
{
    (void)io;
    ssize_t n = part_count == 1 ? pwrite(file->fd, parts->iov_base, parts->iov_len, (off_t)pos)
                                : pwritev(file->fd, parts, part_count, (off_t)pos);
    return n < 0 ? -errno : n;
}

static int sync_fd(int fd)
{
    while (fdatasync(fd) != 0)
        if (errno != EINTR) /* a sync that finds no space has lost data: that is no full disk to wait for */
            return errno == ENOSPC || errno == EDQUOT ? -EIO : -errno;
    return 0;
}

/* Zeros in blocks of at most block_bytes; with each_synced, made durable one by one. */
static int write_zeros(int fd, uint64_t pos, uint64_t size_bytes, bool each_synced)
{
    (void)pthread_once(&zeros_once, find_zeros);
    while (size_bytes > 0) {
        size_t step = size_bytes < ZERO_BLOCK_BYTES ? (size_t)size_bytes : ZERO_BLOCK_BYTES;
        ssize_t n = pwrite(fd, zeros, step, (off_t)pos);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        pos += (uint64_t)n;
        size_bytes -= (uint64_t)n;
        int err = each_synced ? sync_fd(fd) : 0;
        if (err < 0)
            return err;
    }
    return 0;
}

/* An open of its own also for the fallback: the system tells an error of writing
 * back once to each open file, and must not tell it here instead of to whoever
 * syncs the entries. */
static int posix_zero(struct io *io, struct io_file *file, uint64_t pos, uint64_t size_bytes)
{
    (void)io;
    char path[PROC_PATH_BYTES];
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", file->fd);
    int err = -EINVAL;
    int fd = open(path, O_RDWR | O_DIRECT | O_CLOEXEC);
    if (fd >= 0) {
        err = write_zeros(fd, pos, size_bytes, false);
        if (err == 0)
            err = sync_fd(fd);
        (void)close(fd);
    }
    if (err != -EINVAL) /* some file systems accept the flag and then not the write */
        return err;
    fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT) /* no /proc here, as in a bare chroot */
        return write_zeros(file->fd, pos, size_bytes, true);
    if (fd < 0)
        return -errno;
    err = write_zeros(fd, pos, size_bytes, true);
    (void)close(fd);
    return err;
}

static int posix_allocate(struct io *io, struct io_file *file, uint64_t pos, uint64_t size_bytes)
{
    (void)io;
    while (fallocate(file->fd, 0, (off_t)pos, (off_t)size_bytes) != 0) {
        if (errno == EOPNOTSUPP)
            return write_zeros(file->fd, pos, size_bytes, false);
        if (errno != EINTR)
            return -errno;
    }
    return 0;
}

static int posix_datasync(struct io *io, struct io_file *file)
{
    (void)io;
    return sync_fd(file->fd);
}

/* Where the system has no such call there is nothing to gain. */
static int posix_write_out(struct io *io, struct io_file *file, uint64_t pos, uint64_t size_bytes)
{
    (void)io;
    const unsigned flags = SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER;
    while (sync_file_range(file->fd, (off_t)pos, (off_t)size_bytes, flags) != 0) {
        if (errno == ENOSYS || errno == EINVAL || errno == ESPIPE)
            return 0;
        if (errno != EINTR)
            return errno == ENOSPC || errno == EDQUOT ? -EIO : -errno;
    }
    return 0;
}

static int posix_forget(struct io *io, struct io_file *file)
{
    (void)io;
    return -posix_fadvise(file->fd, 0, 0, POSIX_FADV_DONTNEED);
}

static int posix_truncate(struct io *io, struct io_file *file, uint64_t size_bytes)
{
    (void)io;
    while (ftruncate(file->fd, (off_t)size_bytes) != 0)
        if (errno != EINTR)
            return -errno;
    return 0;
}

static int posix_size(struct io *io, struct io_file *file, uint64_t *size_bytes)
{
    (void)io;
    struct stat st;
    if (fstat(file->fd, &st) != 0)
        return -errno;
    *size_bytes = (uint64_t)st.st_size;
    return 0;
}

static int posix_map(struct io *io, struct io_file *file, size_t size_bytes, bool writable, void **address)
{
    (void)io;
    void *at = mmap(NULL, size_bytes, PROT_READ | (writable ? PROT_WRITE : 0), MAP_SHARED, file->fd, 0);
    if (at == MAP_FAILED)
        return -errno;
    *address = at;
    return 0;
}

static void posix_unmap(struct io *io, void *address, size_t size_bytes)
{
    (void)io;
    (void)munmap(address, size_bytes);
}

static int posix_rename(struct io *io, const char *from, const char *to)
{
    (void)io;
    return rename(from, to) != 0 ? -errno : 0;
}

static int posix_unlink(struct io *io, const char *path)
{
    (void)io;
    return unlink(path) != 0 ? -errno : 0;
}

static int posix_mkdir(struct io *io, const char *path)
{
    (void)io;
    return mkdir(path, FOLDER_MODE) != 0 ? -errno : 0;
}

static int posix_rmdir(struct io *io, const char *path)
{
    (void)io;
    return rmdir(path) != 0 ? -errno : 0;
}

static int posix_sync_dir(struct io *io, const char *path)
{
    (void)io;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    int err = fsync(fd) != 0 ? -errno : 0;
    (void)close(fd);
    return err;
}

static int posix_list(struct io *io, const char *path, void (*each)(void *context, const char *name), void *context)
{
    (void)io;
    DIR *dir = opendir(path);
    if (dir == NULL)
        return -errno;
    errno = 0;
    for (struct dirent *d; (d = readdir(dir)) != NULL; errno = 0)
        if (strcmp(d->d_name, ".") != 0 && strcmp(d->d_name, "..") != 0)
            each(context, d->d_name);
    int err = -errno;
    (void)closedir(dir);
    return err;
}

static int posix_space(struct io *io, const char *path, uint64_t *free_bytes)
{
    (void)io;
    struct statvfs st;
    if (statvfs(path, &st) != 0)
        return -errno;
    *free_bytes = (uint64_t)st.f_bavail * st.f_frsize;
    return 0;
}

static const struct io_ops posix_ops = {
    .open = posix_open,
    .close = posix_close,
    .pread = posix_pread,
    .pwritev = posix_pwritev,
    .zero = posix_zero,
    .allocate = posix_allocate,
    .datasync = posix_datasync,
    .write_out = posix_write_out,
    .forget = posix_forget,
    .truncate = posix_truncate,
    .size = posix_size,
    .map = posix_map,
    .unmap = posix_unmap,
    .rename = posix_rename,
    .unlink = posix_unlink,
    .mkdir = posix_mkdir,
    .rmdir = posix_rmdir,
    .sync_dir = posix_sync_dir,
    .list = posix_list,
    .space = posix_space,
};

static struct io posix_io = {.ops = &posix_ops};

struct io *io_posix(void)
{
    return &posix_io;
}
