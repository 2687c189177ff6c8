#include "log/io.h"

#include "support/unit.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

static char dir[64];
static char path[128];

static void make_place(void)
{
    (void)snprintf(dir, sizeof dir, "/tmp/kq-test-io-XXXXXX");
    CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(dir));
    (void)snprintf(path, sizeof path, "%s/file", dir);
}

static void drop_place(void)
{
    (void)unlink(path);
    (void)rmdir(dir);
}

static void what_was_written_is_read_and_the_end_is_known(void)
{
    struct io *io = io_posix();
    struct io_file *f;
    make_place();
    CU_ASSERT_EQUAL(io_open(io, path, IO_WRITE, &f), KQ_NOT_FOUND);
    CU_ASSERT_EQUAL_FATAL(io_open(io, path, IO_WRITE | IO_CREATE | IO_EXCLUSIVE, &f), KQ_OK);
    char a[] = "hello ";
    char b[] = "world";
    struct iovec parts[] = {{a, 6}, {NULL, 0}, {b, 5}};
    CU_ASSERT_EQUAL(io_writev(io, f, parts, 3, 10), KQ_OK);
    char back[32];
    size_t got = 0;
    CU_ASSERT_EQUAL(io_read(io, f, back, 11, 10, &got), KQ_OK);
    CU_ASSERT_EQUAL(memcmp(back, "hello world", 11), 0);
    CU_ASSERT_EQUAL(io_read(io, f, back, 12, 10, &got), KQ_EOF);
    CU_ASSERT_EQUAL(got, 11);
    CU_ASSERT_EQUAL(io->ops->zero(io, f, 4096, 8192), 0);
    uint64_t size;
    CU_ASSERT_EQUAL(io->ops->size(io, f, &size), 0);
    CU_ASSERT_EQUAL(size, 12288);
    CU_ASSERT_EQUAL(io_read(io, f, back, 12, 10, &got), KQ_OK);
    CU_ASSERT_EQUAL(memcmp(back, "hello world", 12), 0);
    io_close(io, &f);
    CU_ASSERT_EQUAL(io_open(io, path, IO_WRITE | IO_CREATE | IO_EXCLUSIVE, &f), KQ_EXISTS);
    CU_ASSERT_EQUAL(io->ops->sync_dir(io, dir), 0);
    drop_place();
}

static void read_byte(void *context)
{
    char **at = context;
    volatile char c = **at;
    (void)c;
}

static void a_bus_error_is_an_error_of_that_read_alone(void)
{
    struct io *io = io_posix();
    struct io_file *f;
    make_place();
    io_guard_install();
    CU_ASSERT_EQUAL_FATAL(io_open(io, path, IO_WRITE | IO_CREATE, &f), KQ_OK);
    CU_ASSERT_EQUAL(io->ops->allocate(io, f, 0, 4096), 0);
    void *map;
    CU_ASSERT_EQUAL_FATAL(io->ops->map(io, f, 16384, false, &map), 0);
    char *good = map;
    char *bad = (char *)map + 8192;
    for (int i = 0; i < 3; i++) {
        CU_ASSERT_TRUE(io_guarded(map, 16384, read_byte, &good));
        CU_ASSERT_FALSE(io_guarded(map, 16384, read_byte, &bad));
    }
    io->ops->unmap(io, map, 16384);
    io_close(io, &f);
    drop_place();
}

static void count_name(void *context, const char *name)
{
    int *count = context;
    *count += strcmp(name, "file") == 0 ? 1 : 100;
}

static void a_folder_lists_what_is_in_it(void)
{
    struct io *io = io_posix();
    struct io_file *f;
    int count = 0;
    make_place();
    CU_ASSERT_EQUAL_FATAL(io_open(io, path, IO_WRITE | IO_CREATE, &f), KQ_OK);
    io_close(io, &f);
    CU_ASSERT_EQUAL(io->ops->list(io, dir, count_name, &count), 0);
    CU_ASSERT_EQUAL(count, 1);
    uint64_t free_bytes = 0;
    CU_ASSERT_EQUAL(io->ops->space(io, dir, &free_bytes), 0);
    CU_ASSERT_TRUE(free_bytes > 0);
    drop_place();
    CU_ASSERT_TRUE(io->ops->list(io, dir, count_name, &count) < 0);
}

static const struct unit_case cases[] = {
    {"what was written is read and the end is known", what_was_written_is_read_and_the_end_is_known},
    {"a bus error is an error of that read alone", a_bus_error_is_an_error_of_that_read_alone},
    {"a folder lists what is in it", a_folder_lists_what_is_in_it},
};
UNIT_MAIN("io", cases)
