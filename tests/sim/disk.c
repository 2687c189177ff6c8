#include "sim/disk.h"

#include "base/require.h"
#include "sim/machine.h"

#include <stdlib.h>
#include <string.h>

enum { FILE_BYTES_MAX = 4 * 1024 * 1024, OPEN_MAX = 1024, STALL_LOOK_MS = 50 };

struct disk {
    struct io io;
    struct io_mem *mem;
    struct io *below;
    struct node *node;
    struct chance chance;
    struct disk_style style;
    uint64_t syncs, flushes;
    bool stalled, syncs_stalled;
    bool crash_asked;
    bool crash_rare; /* only calls that are rare count */
    uint64_t crash_skip;
    void (*crash)(void *context);
    void *crash_context;
    void (*hard_state_synced)(void *context, const char *path);
    void *synced_context;
    struct io_file *open[OPEN_MAX];
    char *open_rare[OPEN_MAX]; /* a hard state: its path; else NULL */
    int open_count;
};

static struct disk *self(struct io *io)
{
    return CONTAINER_OF(io, struct disk, io);
}

/* ---- time and crashes around a call ---------------------------------------------------- */

void disk_stall(struct disk *disk, bool stall, bool syncs)
{
    disk->stalled = stall && !syncs;
    disk->syncs_stalled = stall;
}

static void take_time(struct disk *d, int64_t most_ns)
{
    while (d->stalled)
        fiber_sleep(STALL_LOOK_MS * MS_NS);
    fiber_sleep(1 + (int64_t)chance_below(&d->chance, (uint64_t)most_ns));
}

/* A file of which each write is a step of its own: its path. NULL: it is none. */
static const char *rare_path(const struct disk *d, const struct io_file *file)
{
    for (int i = 0; i < d->open_count; i++)
        if (d->open[i] == file)
            return d->open_rare[i];
    return NULL;
}

static bool is_rare(const struct disk *d, const struct io_file *file)
{
    return rare_path(d, file) != NULL;
}

/* Before a call that changes something: whether it is the one that ends this node. */
static bool is_last(struct disk *d, bool rare)
{
    if (!d->crash_asked || (d->crash_rare && !rare))
        return false;
    if (d->crash_skip > 0) {
        d->crash_skip--;
        return false;
    }
    d->crash_asked = false;
    if (chance_once_in(&d->chance, 2))
        d->crash(d->crash_context);
    return true;
}

/* Unless it was taken back meanwhile. */
static void end_if(struct disk *d, bool last)
{
    if (last && d->crash != NULL)
        d->crash(d->crash_context);
}

/* A sync has its effect at its end or at its beginning: what is written meanwhile
 * may be covered or not, and what it promises is not there before its time. */
static int synced(struct disk *d, struct io_file *file, int (*sync)(struct io *io, struct io_file *file))
{
    int64_t span = d->style.sync_ns / 2 + (int64_t)chance_below(&d->chance, (uint64_t)d->style.sync_ns + 1);
    if (chance_once_in(&d->chance, d->style.stall_in))
        span = chance_magnitude(&d->chance, d->style.sync_ns, d->style.stall_ns);
    while (d->syncs_stalled)
        fiber_sleep(STALL_LOOK_MS * MS_NS);
    bool last = is_last(d, is_rare(d, file));
    bool late = chance_once_in(&d->chance, 2);
    d->syncs++;
    d->flushes += strcmp(fiber_name_of(machine_fiber()), "flusher") == 0;
    int result = 0;
    if (!late)
        result = sync(d->below, file);
    fiber_sleep(span);
    if (late)
        result = sync(d->below, file);
    if (d->hard_state_synced != NULL && result == 0 && is_rare(d, file))
        d->hard_state_synced(d->synced_context, rare_path(d, file));
    end_if(d, last);
    return result;
}

/* ---- the table ----------------------------------------------------------------------------- */

static int d_open(struct io *io, const char *path, int flags, struct io_file **file)
{
    struct disk *d = self(io);
    take_time(d, d->style.other_ns);
    bool last = (flags & IO_CREATE) != 0 && is_last(d, false);
    int result = d->below->ops->open(d->below, path, flags, file);
    if (result == 0) {
        REQUIRE(d->open_count < OPEN_MAX);
        d->open_rare[d->open_count] = strstr(path, "/hard-state") != NULL ? strdup(path) : NULL;
        d->open[d->open_count++] = *file;
    }
    end_if(d, last);
    return result;
}

static void d_close(struct io *io, struct io_file *file)
{
    struct disk *d = self(io);
    int i = 0;
    while (i < d->open_count && d->open[i] != file)
        i++;
    REQUIRE(i < d->open_count);
    free(d->open_rare[i]);
    d->open[i] = d->open[--d->open_count];
    d->open_rare[i] = d->open_rare[d->open_count];
    d->below->ops->close(d->below, file);
}

static ssize_t d_pread(struct io *io, struct io_file *file, void *data, size_t size_bytes, uint64_t pos)
{
    struct disk *d = self(io);
    take_time(d, d->style.other_ns);
    return d->below->ops->pread(d->below, file, data, size_bytes, pos);
}

static ssize_t d_pwritev(struct io *io, struct io_file *file, const struct iovec *parts, int part_count, uint64_t pos)
{
    struct disk *d = self(io);
    take_time(d, d->style.other_ns);
    bool last = is_last(d, is_rare(d, file));
    ssize_t result = d->below->ops->pwritev(d->below, file, parts, part_count, pos);
    end_if(d, last);
    return result;
}

static int d_zero(struct io *io, struct io_file *file, uint64_t pos, uint64_t size_bytes)
{
    struct disk *d = self(io);
    take_time(d, d->style.sync_ns);
    bool last = is_last(d, false);
    int result = d->below->ops->zero(d->below, file, pos, size_bytes);
    end_if(d, last);
    return result;
}

static int d_allocate(struct io *io, struct io_file *file, uint64_t pos, uint64_t size_bytes)
{
    struct disk *d = self(io);
    take_time(d, d->style.other_ns);
    bool last = is_last(d, false);
    int result = d->below->ops->allocate(d->below, file, pos, size_bytes);
    end_if(d, last);
    return result;
}

static int d_datasync(struct io *io, struct io_file *file)
{
    struct disk *d = self(io);
    return synced(d, file, d->below->ops->datasync);
}

static int d_write_out(struct io *io, struct io_file *file, uint64_t pos, uint64_t size_bytes)
{
    struct disk *d = self(io);
    take_time(d, d->style.sync_ns);
    bool last = is_last(d, false);
    int result = d->below->ops->write_out(d->below, file, pos, size_bytes);
    end_if(d, last);
    return result;
}

static int d_forget(struct io *io, struct io_file *file)
{
    struct disk *d = self(io);
    return d->below->ops->forget(d->below, file);
}

static int d_truncate(struct io *io, struct io_file *file, uint64_t size_bytes)
{
    struct disk *d = self(io);
    take_time(d, d->style.other_ns);
    bool last = is_last(d, true);
    int result = d->below->ops->truncate(d->below, file, size_bytes);
    end_if(d, last);
    return result;
}

static int d_size(struct io *io, struct io_file *file, uint64_t *size_bytes)
{
    struct disk *d = self(io);
    return d->below->ops->size(d->below, file, size_bytes);
}

static int d_map(struct io *io, struct io_file *file, size_t size_bytes, bool writable, void **address)
{
    struct disk *d = self(io);
    return d->below->ops->map(d->below, file, size_bytes, writable, address);
}

static void d_unmap(struct io *io, void *address, size_t size_bytes)
{
    struct disk *d = self(io);
    d->below->ops->unmap(d->below, address, size_bytes);
}

static int d_rename(struct io *io, const char *from, const char *to)
{
    struct disk *d = self(io);
    take_time(d, d->style.other_ns);
    bool last = is_last(d, true);
    int result = d->below->ops->rename(d->below, from, to);
    end_if(d, last);
    return result;
}

static int d_unlink(struct io *io, const char *path)
{
    struct disk *d = self(io);
    take_time(d, d->style.other_ns);
    bool last = is_last(d, true);
    int result = d->below->ops->unlink(d->below, path);
    end_if(d, last);
    return result;
}

static int d_mkdir(struct io *io, const char *path)
{
    struct disk *d = self(io);
    take_time(d, d->style.other_ns);
    bool last = is_last(d, true);
    int result = d->below->ops->mkdir(d->below, path);
    end_if(d, last);
    return result;
}

static int d_rmdir(struct io *io, const char *path)
{
    struct disk *d = self(io);
    take_time(d, d->style.other_ns);
    bool last = is_last(d, true);
    int result = d->below->ops->rmdir(d->below, path);
    end_if(d, last);
    return result;
}

static int d_sync_dir(struct io *io, const char *path)
{
    struct disk *d = self(io);
    take_time(d, d->style.sync_ns);
    bool last = is_last(d, true);
    int result = d->below->ops->sync_dir(d->below, path);
    end_if(d, last);
    return result;
}

static int d_list(struct io *io, const char *path, void (*each)(void *context, const char *name), void *context)
{
    struct disk *d = self(io);
    take_time(d, d->style.other_ns);
    return d->below->ops->list(d->below, path, each, context);
}

static int d_space(struct io *io, const char *path, uint64_t *free_bytes)
{
    struct disk *d = self(io);
    return d->below->ops->space(d->below, path, free_bytes);
}

static const struct io_ops disk_ops = {
    .open = d_open,
    .close = d_close,
    .pread = d_pread,
    .pwritev = d_pwritev,
    .zero = d_zero,
    .allocate = d_allocate,
    .datasync = d_datasync,
    .write_out = d_write_out,
    .forget = d_forget,
    .truncate = d_truncate,
    .size = d_size,
    .map = d_map,
    .unmap = d_unmap,
    .rename = d_rename,
    .unlink = d_unlink,
    .mkdir = d_mkdir,
    .rmdir = d_rmdir,
    .sync_dir = d_sync_dir,
    .list = d_list,
    .space = d_space,
};

/* ---- what the harness calls ------------------------------------------------------------------ */

struct disk *disk_new(struct node *node, uint64_t seed)
{
    struct disk *d = calloc(1, sizeof *d);
    REQUIRE(d != NULL);
    d->io.ops = &disk_ops;
    d->mem = io_mem_new(FILE_BYTES_MAX);
    d->below = io_mem_io(d->mem);
    d->node = node;
    d->chance = chance_of(seed, 100 + node->id);
    d->style.sync_ns = chance_magnitude(&d->chance, 20000, 5 * MS_NS);
    d->style.other_ns = chance_magnitude(&d->chance, 1000, 100000);
    d->style.stall_in = chance_once_in(&d->chance, 2) ? 0 : 200;
    d->style.stall_ns = chance_magnitude(&d->chance, 10 * MS_NS, S_NS);
    return d;
}

struct io *disk_io(struct disk *disk)
{
    return &disk->io;
}

struct io_mem *disk_mem(struct disk *disk)
{
    return disk->mem;
}

struct disk_style *disk_style(struct disk *disk)
{
    return &disk->style;
}

uint64_t disk_flushes(const struct disk *disk)
{
    return disk->flushes;
}

uint64_t disk_syncs(const struct disk *disk)
{
    return disk->syncs;
}

void disk_crash_at(struct disk *disk, uint64_t skip, void (*crash)(void *context), void *context)
{
    disk->crash_asked = crash != NULL;
    disk->crash_rare = false;
    disk->crash_skip = skip;
    disk->crash = crash;
    disk->crash_context = context;
}

void disk_crash_at_rare(struct disk *disk, uint64_t skip, void (*crash)(void *context), void *context)
{
    disk_crash_at(disk, skip, crash, context);
    disk->crash_rare = true;
}

void disk_on_hard_state(struct disk *disk, void (*is_durable)(void *context, const char *path), void *context)
{
    disk->hard_state_synced = is_durable;
    disk->synced_context = context;
}

void disk_after_crash(struct disk *disk, bool power)
{
    while (disk->open_count > 0) {
        free(disk->open_rare[--disk->open_count]);
        disk->below->ops->close(disk->below, disk->open[disk->open_count]);
    }
    disk->crash_asked = false;
    if (power)
        io_mem_reboot(disk->mem, IO_MEM_BY_CHANCE, chance_roll(&disk->chance));
}
