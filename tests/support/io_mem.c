/*
 * See io_mem.h. Every inode has its bytes (what the page cache holds) and its
 * durable bytes in two regions of fixed size, so that a mapping is simply the
 * address of the first and stays valid however the file grows. Regions are reused,
 * with only the touched part cleared, so that a run costs microseconds.
 */
#include "support/io_mem_impl.h"

#include "base/require.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* ---- each call ---------------------------------------------------------------------------- */

static struct io_mem *self(struct io *io)
{
    return CONTAINER_OF(io, struct io_mem, io);
}

/* 0: go on; else the error to give. *last: the power goes during this call. */
static int enter(struct io_mem *m, enum io_mem_op op, bool *last)
{
    *last = false;
    if (m->cut)
        return -EIO;
    m->calls++;
    m->calls_of[__builtin_ctz((unsigned)op)]++;
    *last = m->calls == m->cut_at;
    if ((m->fail_ops & (unsigned)op) == 0)
        return 0;
    if (m->fail_skip > 0) {
        m->fail_skip--;
        return 0;
    }
    if (!m->fail_for_ever && m->fail_times == 0)
        return 0;
    if (m->fail_times > 0)
        m->fail_times--;
    m->failed++;
    return -m->fail_error;
}

static int leave(struct io_mem *m, bool last, int result)
{
    if (!last)
        return result;
    mem_lose_power(m);
    return -EIO;
}

static int mem_open(struct io *io, const char *path, int flags, struct io_file **file)
{
    struct io_mem *m = self(io);
    bool last;
    int err = enter(m, IO_MEM_OPEN, &last);
    if (err < 0)
        return leave(m, last, err);
    struct entry *e = names_find(&m->live, path);
    if (e != NULL && e->inode == NULL)
        return leave(m, last, -EISDIR);
    if (e == NULL && (flags & IO_CREATE) == 0)
        return leave(m, last, -ENOENT);
    if (e != NULL && (flags & IO_CREATE) != 0 && (flags & IO_EXCLUSIVE) != 0)
        return leave(m, last, -EEXIST);
    struct inode *n = e != NULL ? e->inode : NULL;
    if (n == NULL) {
        n = inode_new(m);
        mem_change(m, CHANGE_LINK, "", path, n);
    }
    if (last)
        return leave(m, last, 0);
    *file = malloc(sizeof **file);
    REQUIRE(*file != NULL);
    **file = (struct io_file){.inode = n, .writable = (flags & IO_WRITE) != 0};
    n->opens++;
    return 0;
}

static void mem_close(struct io *io, struct io_file *file)
{
    (void)io;
    file->inode->opens--;
    free(file);
}

static ssize_t mem_pread(struct io *io, struct io_file *file, void *data, size_t size_bytes, uint64_t pos)
{
    struct io_mem *m = self(io);
    bool last;
    int err = enter(m, IO_MEM_READ, &last);
    if (err < 0 || last)
        return leave(m, last, err);
    const struct inode *n = file->inode;
    if (pos >= n->size_bytes)
        return 0;
    size_t take = size_bytes < n->size_bytes - pos ? size_bytes : (size_t)(n->size_bytes - pos);
    if (m->shorten && take > 1)
        take = 1 + (size_t)(mem_roll(m) % take);
    memcpy(data, n->bytes + pos, take);
    return (ssize_t)take;
}

static ssize_t mem_pwritev(struct io *io, struct io_file *file, const struct iovec *parts, int part_count, uint64_t pos)
{
    struct io_mem *m = self(io);
    bool last;
    int err = enter(m, IO_MEM_WRITE, &last);
    struct inode *n = file->inode;
    REQUIRE(file->writable || m->cut);
    if (m->cut)
        return err;
    uint64_t total = 0;
    for (int i = 0; i < part_count; i++)
        total += parts[i].iov_len;
    uint64_t want = err < 0 ? total / 2 : total;
    if (m->shorten && want > 1)
        want = 1 + mem_roll(m) % want;
    uint64_t end = mem_room(m, n, pos + want);
    uint64_t done = end > pos ? end - pos : 0;
    uint64_t at = pos;
    for (int i = 0; i < part_count && at < pos + done; i++) {
        uint64_t step = parts[i].iov_len < pos + done - at ? parts[i].iov_len : pos + done - at;
        memcpy(n->bytes + at, parts[i].iov_base, step);
        at += step;
    }
    if (done > 0) {
        inode_touch(n, pos < n->size_bytes ? pos : n->size_bytes, pos + done);
        if (pos + done > n->size_bytes)
            n->size_bytes = pos + done;
    }
    if (err < 0 || last)
        return leave(m, last, err);
    return done > 0 || total == 0 ? (ssize_t)done : -ENOSPC;
}

/* Zeros [pos, to) in the cache; grows the file. */
static void put_zeros(struct inode *n, uint64_t pos, uint64_t to)
{
    memset(n->bytes + pos, 0, to - pos);
    inode_touch(n, pos < n->size_bytes ? pos : n->size_bytes, to);
    if (to > n->size_bytes)
        n->size_bytes = to;
}

static int mem_zero(struct io *io, struct io_file *file, uint64_t pos, uint64_t size_bytes)
{
    struct io_mem *m = self(io);
    bool last;
    int err = enter(m, IO_MEM_ZERO, &last);
    if (m->cut)
        return err;
    struct inode *n = file->inode;
    REQUIRE(pos % BLOCK_BYTES == 0 && size_bytes % BLOCK_BYTES == 0);
    uint64_t want = pos + (err < 0 ? size_bytes / 2 : size_bytes);
    uint64_t to = mem_room(m, n, want);
    if (to > pos)
        put_zeros(n, pos, to);
    if (err < 0 || last)
        return leave(m, last, err);
    if (to < want)
        return -ENOSPC;
    inode_make_durable(n);
    return 0;
}

static int mem_allocate(struct io *io, struct io_file *file, uint64_t pos, uint64_t size_bytes)
{
    struct io_mem *m = self(io);
    bool last;
    int err = enter(m, IO_MEM_ALLOCATE, &last);
    if (err == 0 && size_bytes == 0)
        err = -EINVAL; /* as fallocate(2) has it */
    if (m->cut || err < 0)
        return leave(m, last, err);
    struct inode *n = file->inode;
    uint64_t to = pos + size_bytes;
    if (size_bytes == 0) /* as fallocate has it */
        return leave(m, last, -EINVAL);
    if (mem_room(m, n, to) < to)
        return leave(m, last, -ENOSPC);
    if (to > n->size_bytes)
        put_zeros(n, n->size_bytes, to);
    return leave(m, last, 0);
}

static int mem_datasync(struct io *io, struct io_file *file)
{
    struct io_mem *m = self(io);
    bool last;
    int err = enter(m, IO_MEM_SYNC, &last);
    if (m->cut || last)
        return leave(m, last, err);
    if (err < 0) /* the pages are clean now, and what they hold was never written */
        file->inode->dirty_from = file->inode->dirty_to = 0;
    else
        inode_make_durable(file->inode);
    return err;
}

/* What it wrote may survive a power cut, as anything may; an error is a failed datasync's. */
static int mem_write_out(struct io *io, struct io_file *file, uint64_t pos, uint64_t size_bytes)
{
    struct io_mem *m = self(io);
    bool last;
    int err = enter(m, IO_MEM_WRITE_OUT, &last);
    (void)pos;
    (void)size_bytes;
    if (m->cut || last)
        return leave(m, last, err);
    if (err < 0)
        file->inode->dirty_from = file->inode->dirty_to = 0;
    return err;
}

static int mem_forget(struct io *io, struct io_file *file)
{
    struct io_mem *m = self(io);
    bool last;
    int err = enter(m, IO_MEM_FORGET, &last);
    if (m->cut || err < 0 || last)
        return leave(m, last, err);
    struct inode *n = file->inode;
    uint64_t from;
    uint64_t to;
    inode_dirty_range(n, &from, &to); /* stays; all else is read again */
    if (from == to)
        from = to = n->touched;
    memcpy(n->bytes, n->durable, from);
    memcpy(n->bytes + to, n->durable + to, n->touched - to);
    return 0;
}

static int mem_truncate(struct io *io, struct io_file *file, uint64_t size_bytes)
{
    struct io_mem *m = self(io);
    bool last;
    int err = enter(m, IO_MEM_TRUNCATE, &last);
    if (m->cut || err < 0)
        return leave(m, last, err);
    struct inode *n = file->inode;
    if (size_bytes > m->file_max)
        return leave(m, last, -EFBIG);
    if (size_bytes < n->size_bytes) {
        memset(n->bytes + size_bytes, 0, n->touched > size_bytes ? n->touched - size_bytes : 0);
        inode_touch(n, size_bytes, n->size_bytes);
    } else if (size_bytes > n->size_bytes) {
        inode_touch(n, n->size_bytes, size_bytes);
    }
    n->size_bytes = size_bytes;
    return leave(m, last, 0);
}

static int mem_size(struct io *io, struct io_file *file, uint64_t *size_bytes)
{
    struct io_mem *m = self(io);
    bool last;
    int err = enter(m, IO_MEM_SIZE, &last);
    *size_bytes = file->inode->size_bytes;
    return leave(m, last, err);
}

static int mem_map(struct io *io, struct io_file *file, size_t size_bytes, bool writable, void **address)
{
    struct io_mem *m = self(io);
    bool last;
    int err = enter(m, IO_MEM_MAP, &last);
    if (m->cut || err < 0)
        return leave(m, last, err);
    if (size_bytes == 0) /* as mmap has it */
        return leave(m, last, -EINVAL);
    file->inode->mapped_writable = file->inode->mapped_writable || writable;
    *address = file->inode->bytes;
    return leave(m, last, 0);
}

static void mem_unmap(struct io *io, void *address, size_t size_bytes)
{
    (void)io;
    (void)address;
    (void)size_bytes;
}

static int mem_rename(struct io *io, const char *from, const char *to)
{
    struct io_mem *m = self(io);
    bool last;
    int err = enter(m, IO_MEM_RENAME, &last);
    if (m->cut || err < 0)
        return leave(m, last, err);
    struct entry *e = names_find(&m->live, from);
    if (e == NULL)
        return leave(m, last, -ENOENT);
    mem_change(m, CHANGE_RENAME, from, to, e->inode);
    return leave(m, last, 0);
}

static int mem_unlink(struct io *io, const char *path)
{
    struct io_mem *m = self(io);
    bool last;
    int err = enter(m, IO_MEM_UNLINK, &last);
    if (m->cut || err < 0)
        return leave(m, last, err);
    struct entry *e = names_find(&m->live, path);
    if (e == NULL)
        return leave(m, last, -ENOENT);
    mem_change(m, CHANGE_UNLINK, path, "", e->inode);
    return leave(m, last, 0);
}

static int mem_mkdir(struct io *io, const char *path)
{
    struct io_mem *m = self(io);
    bool last;
    int err = enter(m, IO_MEM_MKDIR, &last);
    if (m->cut || err < 0)
        return leave(m, last, err);
    if (names_find(&m->live, path) != NULL)
        return leave(m, last, -EEXIST);
    mem_change(m, CHANGE_LINK, "", path, NULL);
    return leave(m, last, 0);
}

static int mem_rmdir(struct io *io, const char *path)
{
    struct io_mem *m = self(io);
    bool last;
    int err = enter(m, IO_MEM_RMDIR, &last);
    if (m->cut || err < 0)
        return leave(m, last, err);
    if (names_find(&m->live, path) == NULL)
        return leave(m, last, -ENOENT);
    for (int i = 0; i < m->live.count; i++)
        if (names_is_in(m->live.at[i].path, path))
            return leave(m, last, -ENOTEMPTY);
    mem_change(m, CHANGE_UNLINK, path, "", NULL);
    return leave(m, last, 0);
}

static int mem_sync_dir(struct io *io, const char *path)
{
    struct io_mem *m = self(io);
    bool last;
    int err = enter(m, IO_MEM_SYNC_DIR, &last);
    if (m->cut || err < 0 || last)
        return leave(m, last, err);
    if (!names_has_folder(&m->live, path))
        return -ENOENT;
    int kept = 0;
    for (int i = 0; i < m->change_count; i++) {
        const struct change *c = &m->changes[i];
        if (names_is_in(c->kind == CHANGE_UNLINK ? c->from : c->to, path))
            names_apply(&m->durable, c);
        else
            m->changes[kept++] = *c;
    }
    m->change_count = kept;
    return 0;
}

static int mem_list(struct io *io, const char *path, void (*each)(void *context, const char *name), void *context)
{
    struct io_mem *m = self(io);
    bool last;
    int err = enter(m, IO_MEM_LIST, &last);
    if (m->cut || err < 0 || last)
        return leave(m, last, err);
    if (!names_has_folder(&m->live, path))
        return -ENOENT;
    for (int i = 0; i < m->live.count; i++)
        if (names_is_in(m->live.at[i].path, path))
            each(context, strrchr(m->live.at[i].path, '/') + 1);
    return 0;
}

static int mem_space(struct io *io, const char *path, uint64_t *free_bytes)
{
    struct io_mem *m = self(io);
    bool last;
    (void)path;
    int err = enter(m, IO_MEM_SPACE, &last);
    uint64_t used = mem_used_blocks(m) * BLOCK_BYTES;
    *free_bytes = m->capacity == 0 ? UINT64_C(1) << 40 : m->capacity > used ? m->capacity - used : 0;
    return leave(m, last, err);
}

static const struct io_ops mem_ops = {
    .open = mem_open,
    .close = mem_close,
    .pread = mem_pread,
    .pwritev = mem_pwritev,
    .zero = mem_zero,
    .allocate = mem_allocate,
    .datasync = mem_datasync,
    .write_out = mem_write_out,
    .forget = mem_forget,
    .truncate = mem_truncate,
    .size = mem_size,
    .map = mem_map,
    .unmap = mem_unmap,
    .rename = mem_rename,
    .unlink = mem_unlink,
    .mkdir = mem_mkdir,
    .rmdir = mem_rmdir,
    .sync_dir = mem_sync_dir,
    .list = mem_list,
    .space = mem_space,
};

/* ---- what tests call -------------------------------------------------------------------- */

struct io_mem *io_mem_new(size_t file_bytes_max)
{
    struct io_mem *m = calloc(1, sizeof *m);
    REQUIRE(m != NULL);
    m->io.ops = &mem_ops;
    m->file_max = (file_bytes_max + BLOCK_BYTES - 1) / BLOCK_BYTES * BLOCK_BYTES;
    return m;
}

static void free_inodes(struct io_mem *m, struct inode *n)
{
    while (n != NULL) {
        struct inode *next = n->next;
        (void)munmap(n->bytes, m->file_max);
        (void)munmap(n->durable, m->file_max);
        free(n);
        n = next;
    }
}

void io_mem_free(struct io_mem *m)
{
    if (m == NULL)
        return;
    free_inodes(m, m->inodes);
    free_inodes(m, m->unused);
    free(m->changes);
    free(m);
}

void io_mem_wipe(struct io_mem *m)
{
    m->wiped++;
    m->live.count = 0;
    m->durable.count = 0;
    m->change_count = 0;
    m->shorten = false;
    m->capacity = 0;
    m->cut = false;
    io_mem_reboot(m, IO_MEM_ALL_LOST, 0);
    io_mem_calls_reset(m);
}

struct io *io_mem_io(struct io_mem *m)
{
    return &m->io;
}

uint64_t io_mem_calls(const struct io_mem *m)
{
    return m->calls;
}

void io_mem_calls_reset(struct io_mem *m)
{
    m->calls = 0;
    memset(m->calls_of, 0, sizeof m->calls_of);
}

uint64_t io_mem_calls_of(const struct io_mem *m, enum io_mem_op op)
{
    return m->calls_of[__builtin_ctz((unsigned)op)];
}

void io_mem_cut_at(struct io_mem *m, uint64_t call, enum io_mem_mercy mercy, uint64_t seed)
{
    m->cut_at = call;
    m->mercy = mercy;
    m->chance = seed;
}

bool io_mem_is_cut(const struct io_mem *m)
{
    return m->cut;
}

void io_mem_fail(struct io_mem *m, unsigned ops, uint64_t skip, int error, uint64_t times)
{
    m->fail_ops = ops;
    m->fail_skip = skip;
    m->fail_error = error;
    m->fail_times = times;
    m->fail_for_ever = times == 0;
}

void io_mem_fail_not(struct io_mem *m)
{
    m->fail_ops = 0;
}

void io_mem_short(struct io_mem *m, bool on)
{
    m->shorten = on;
}

void io_mem_set_capacity(struct io_mem *m, uint64_t size_bytes)
{
    m->capacity = size_bytes;
}

uint64_t io_mem_capacity(const struct io_mem *m)
{
    return m->capacity;
}

uint8_t *io_mem_bytes(struct io_mem *m, const char *path, uint64_t *size_bytes)
{
    struct entry *e = names_find(&m->live, path);
    if (e == NULL || e->inode == NULL)
        return NULL;
    *size_bytes = e->inode->size_bytes;
    return e->inode->bytes;
}

void io_mem_flip(struct io_mem *m, const char *path, uint64_t pos, uint8_t bits)
{
    struct entry *e = names_find(&m->live, path);
    REQUIRE(e != NULL && e->inode != NULL && pos < e->inode->size_bytes);
    e->inode->bytes[pos] ^= bits;
    e->inode->durable[pos] ^= bits;
    m->flipped++;
}

static void remove_under(struct names *n, const char *folder)
{
    size_t len = strlen(folder);
    for (int i = n->count; i > 0; i--)
        if (strncmp(n->at[i - 1].path, folder, len) == 0 &&
            (n->at[i - 1].path[len] == '/' || n->at[i - 1].path[len] == '\0'))
            n->at[i - 1] = n->at[--n->count];
}

void io_mem_remove(struct io_mem *m, const char *folder)
{
    remove_under(&m->live, folder);
    remove_under(&m->durable, folder);
    m->flipped++;
    m->wiped++;
}

uint64_t io_mem_failed(const struct io_mem *m)
{
    return m->failed;
}

uint64_t io_mem_flipped(const struct io_mem *m)
{
    return m->flipped;
}

uint64_t io_mem_wiped(const struct io_mem *m)
{
    return m->wiped;
}

void io_mem_flip_disk(struct io_mem *m, const char *path, uint64_t pos, uint8_t bits)
{
    struct entry *e = names_find(&m->durable, path);
    REQUIRE(e != NULL && e->inode != NULL && pos < e->inode->durable_size);
    e->inode->durable[pos] ^= bits;
    m->flipped++;
}

const uint8_t *io_mem_durable(const struct io_mem *m, const char *path, uint64_t *size_bytes)
{
    const struct entry *e = names_find(&m->durable, path);
    if (e == NULL || e->inode == NULL)
        return NULL;
    *size_bytes = e->inode->durable_size;
    return e->inode->durable;
}

void io_mem_each_durable(struct io_mem *m, void (*each)(void *context, const char *path), void *context)
{
    for (int i = 0; i < m->durable.count; i++)
        if (m->durable.at[i].inode != NULL)
            each(context, m->durable.at[i].path);
}

void io_mem_put(struct io_mem *m, const char *path, const void *data, size_t size_bytes)
{
    REQUIRE(size_bytes <= m->file_max);
    struct entry *e = names_find(&m->live, path);
    struct inode *n = e != NULL ? e->inode : inode_new(m);
    inode_clear(n);
    if (size_bytes > 0)
        memcpy(n->bytes, data, size_bytes);
    n->size_bytes = size_bytes;
    inode_touch(n, 0, size_bytes);
    inode_make_durable(n);
    names_put(&m->live, path, n);
    names_put(&m->durable, path, n);
}

bool io_mem_exists(const struct io_mem *m, const char *path)
{
    return names_find(&m->live, path) != NULL;
}

void io_mem_each(struct io_mem *m, void (*each)(void *context, const char *path), void *context)
{
    for (int i = 0; i < m->live.count; i++)
        if (m->live.at[i].inode != NULL)
            each(context, m->live.at[i].path);
}
