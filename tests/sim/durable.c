#include "sim/durable.h"

#include "base/require.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct io_file {
    const uint8_t *data;
    uint64_t size_bytes;
};

static struct io_mem *mem_of(struct io *io)
{
    return CONTAINER_OF(io, struct durable, io)->mem;
}

static int durable_open(struct io *io, const char *path, int flags, struct io_file **file)
{
    uint64_t size_bytes;
    if (flags != 0)
        return -EROFS;
    const uint8_t *data = io_mem_durable(mem_of(io), path, &size_bytes);
    if (data == NULL)
        return -ENOENT;
    *file = malloc(sizeof **file);
    REQUIRE(*file != NULL);
    **file = (struct io_file){data, size_bytes};
    return 0;
}

static void durable_close(struct io *io, struct io_file *file)
{
    (void)io;
    free(file);
}

static ssize_t durable_pread(struct io *io, struct io_file *file, void *data, size_t size_bytes, uint64_t pos)
{
    (void)io;
    if (pos >= file->size_bytes)
        return 0;
    size_t take = size_bytes < file->size_bytes - pos ? size_bytes : (size_t)(file->size_bytes - pos);
    memcpy(data, file->data + pos, take);
    return (ssize_t)take;
}

static int durable_forget(struct io *io, struct io_file *file)
{
    (void)io;
    (void)file;
    return 0;
}

static int durable_size(struct io *io, struct io_file *file, uint64_t *size_bytes)
{
    (void)io;
    *size_bytes = file->size_bytes;
    return 0;
}

static int durable_map(struct io *io, struct io_file *file, size_t size_bytes, bool writable, void **address)
{
    (void)io;
    (void)size_bytes;
    if (writable)
        return -EROFS;
    *address = (void *)(uintptr_t)file->data;
    return 0;
}

static void durable_unmap(struct io *io, void *address, size_t size_bytes)
{
    (void)io;
    (void)address;
    (void)size_bytes;
}

struct listing {
    const char *folder;
    void (*each)(void *context, const char *name);
    void *context;
};

/* Files directly in the folder; folders in it are not asked for by those who read a replica. */
static void list_one(void *context, const char *path)
{
    const struct listing *l = context;
    size_t len = strlen(l->folder);
    if (strncmp(path, l->folder, len) == 0 && path[len] == '/' && strchr(path + len + 1, '/') == NULL)
        l->each(l->context, path + len + 1);
}

static int durable_list(struct io *io, const char *path, void (*each)(void *context, const char *name), void *context)
{
    struct listing l = {path, each, context};
    io_mem_each_durable(mem_of(io), list_one, &l);
    return 0;
}

void durable_init(struct durable *durable, struct io_mem *mem)
{
    static const struct io_ops ops = {
        .open = durable_open,
        .close = durable_close,
        .pread = durable_pread,
        .forget = durable_forget,
        .size = durable_size,
        .map = durable_map,
        .unmap = durable_unmap,
        .list = durable_list,
    };
    durable->io.ops = &ops;
    durable->mem = mem;
}
