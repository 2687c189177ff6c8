/* The twin of the disk is what the power-cut tests stand on: it must lose what a
 * disk may lose, and nothing else. */
#include "support/io_mem.h"

#include "support/unit.h"

#include <errno.h>
#include <stdio.h>

static struct io_mem *mem;
static struct io *io;
static struct io_file *file;

static void start(void)
{
    if (mem == NULL)
        mem = io_mem_new(1 << 16);
    io_mem_wipe(mem);
    io = io_mem_io(mem);
    CU_ASSERT_EQUAL_FATAL(io_open(io, "/f", IO_WRITE | IO_CREATE, &file), KQ_OK);
    CU_ASSERT_EQUAL(io->ops->sync_dir(io, "/"), 0);
}

static void write_at(const char *text, uint64_t pos)
{
    CU_ASSERT_EQUAL(io_write(io, file, text, strlen(text), pos), KQ_OK);
}

static const char *content(void)
{
    static char text[64];
    uint64_t size = 0;
    const uint8_t *bytes = io_mem_bytes(mem, "/f", &size);
    (void)snprintf(text, sizeof text, "%.*s", bytes == NULL ? 0 : (int)size, (const char *)bytes);
    return text;
}

static void reboot(enum io_mem_mercy mercy, uint64_t seed)
{
    io_close(io, &file);
    io_mem_reboot(mem, mercy, seed);
}

static void synced_bytes_stay_and_others_may_not(void)
{
    start();
    write_at("synced", 0);
    CU_ASSERT_EQUAL(io->ops->datasync(io, file), 0);
    write_at("SYN", 0);
    CU_ASSERT_STRING_EQUAL(content(), "SYNced");
    reboot(IO_MEM_ALL_LOST, 1);
    CU_ASSERT_STRING_EQUAL(content(), "synced");

    start();
    write_at("kept", 0);
    reboot(IO_MEM_ALL_KEPT, 1);
    CU_ASSERT_STRING_EQUAL(content(), "kept");

    start();
    write_at("cached", 0);
    reboot(IO_MEM_STILL_CACHED, 1);
    CU_ASSERT_STRING_EQUAL(content(), "cached");
    io_mem_reboot(mem, IO_MEM_ALL_LOST, 1);
    CU_ASSERT_STRING_EQUAL(content(), "");
}

/* Over many seeds an unsynced sector is seen old, new and torn. */
static void chance_shows_old_new_and_torn_sectors(void)
{
    int old_count = 0;
    int new_count = 0;
    int torn_count = 0;
    char block[1024];
    for (uint64_t seed = 0; seed < 200; seed++) {
        start();
        memset(block, 'a', sizeof block);
        CU_ASSERT_EQUAL(io_write(io, file, block, sizeof block, 0), KQ_OK);
        CU_ASSERT_EQUAL(io->ops->datasync(io, file), 0);
        memset(block, 'b', 512);
        CU_ASSERT_EQUAL(io_write(io, file, block, 512, 0), KQ_OK);
        reboot(IO_MEM_BY_CHANCE, seed);
        uint64_t size;
        const uint8_t *now = io_mem_bytes(mem, "/f", &size);
        int changed = 0;
        for (int i = 0; i < 1024; i++)
            changed += now[i] == 'b';
        old_count += changed == 0;
        new_count += changed == 512;
        torn_count += changed > 0 && changed < 512;
        CU_ASSERT_EQUAL(memcmp(now + 512, block + 512, 512), 0);
    }
    CU_ASSERT_TRUE(old_count > 20);
    CU_ASSERT_TRUE(new_count > 20);
    CU_ASSERT_TRUE(torn_count > 20);
}

static void stores_through_a_mapping_are_unsynced_too(void)
{
    start();
    CU_ASSERT_EQUAL(io->ops->allocate(io, file, 0, 4096), 0);
    void *map;
    CU_ASSERT_EQUAL_FATAL(io->ops->map(io, file, 8192, true, &map), 0);
    memcpy(map, "one", 3);
    CU_ASSERT_EQUAL(io->ops->datasync(io, file), 0);
    memcpy(map, "two", 3);
    reboot(IO_MEM_ALL_LOST, 1);
    CU_ASSERT_STRING_EQUAL(content(), "one");
}

static void names_last_only_with_their_folder(void)
{
    start();
    struct io_file *other;
    CU_ASSERT_EQUAL(io_open(io, "/g", IO_WRITE | IO_CREATE, &other), KQ_OK);
    CU_ASSERT_EQUAL(io->ops->datasync(io, other), 0);
    io_close(io, &other);
    reboot(IO_MEM_ALL_LOST, 1);
    CU_ASSERT_FALSE(io_mem_exists(mem, "/g"));

    start();
    CU_ASSERT_EQUAL(io->ops->rename(io, "/f", "/h"), 0);
    CU_ASSERT_TRUE(io_mem_exists(mem, "/h"));
    reboot(IO_MEM_ALL_LOST, 1);
    CU_ASSERT_TRUE(io_mem_exists(mem, "/f"));
    CU_ASSERT_FALSE(io_mem_exists(mem, "/h"));

    start();
    CU_ASSERT_EQUAL(io->ops->mkdir(io, "/d"), 0);
    CU_ASSERT_EQUAL(io_open(io, "/d/x", IO_WRITE | IO_CREATE, &other), KQ_OK);
    io_close(io, &other);
    CU_ASSERT_EQUAL(io->ops->sync_dir(io, "/d"), 0); /* but not its own name */
    reboot(IO_MEM_ALL_LOST, 1);
    CU_ASSERT_FALSE(io_mem_exists(mem, "/d/x"));

    start();
    CU_ASSERT_EQUAL(io->ops->unlink(io, "/f"), 0);
    CU_ASSERT_EQUAL(io->ops->sync_dir(io, "/"), 0);
    reboot(IO_MEM_ALL_LOST, 1);
    CU_ASSERT_FALSE(io_mem_exists(mem, "/f"));
}

static void the_power_goes_at_the_call_that_was_named(void)
{
    start();
    io_mem_calls_reset(mem);
    io_mem_cut_at(mem, 3, IO_MEM_ALL_LOST, 1);
    write_at("one", 0);
    CU_ASSERT_EQUAL(io->ops->datasync(io, file), 0);
    CU_ASSERT_FALSE(io_mem_is_cut(mem));
    CU_ASSERT_EQUAL(io_write(io, file, "two", 3, 0), KQ_IO);
    CU_ASSERT_TRUE(io_mem_is_cut(mem));
    CU_ASSERT_EQUAL(io->ops->datasync(io, file), -EIO);
    reboot(IO_MEM_ALL_LOST, 1);
    CU_ASSERT_STRING_EQUAL(content(), "one");
}

static void a_failed_sync_lies_the_second_time(void)
{
    start();
    write_at("base", 0);
    CU_ASSERT_EQUAL(io->ops->datasync(io, file), 0);
    write_at("lost", 0);
    io_mem_fail(mem, IO_MEM_SYNC, 0, EIO, 1);
    CU_ASSERT_EQUAL(io->ops->datasync(io, file), -EIO);
    CU_ASSERT_EQUAL(io->ops->datasync(io, file), 0);
    CU_ASSERT_STRING_EQUAL(content(), "lost");
    CU_ASSERT_EQUAL(io->ops->forget(io, file), 0);
    CU_ASSERT_STRING_EQUAL(content(), "base");
    reboot(IO_MEM_ALL_KEPT, 1);
    CU_ASSERT_STRING_EQUAL(content(), "base");
}

static void a_full_disk_takes_what_fits(void)
{
    start();
    io_mem_set_capacity(mem, 4096);
    char block[6000];
    memset(block, 'x', sizeof block);
    struct iovec part = {block, sizeof block};
    CU_ASSERT_EQUAL(io->ops->pwritev(io, file, &part, 1, 0), 4096);
    CU_ASSERT_EQUAL(io->ops->pwritev(io, file, &part, 1, 4096), -ENOSPC);
    CU_ASSERT_EQUAL(io->ops->allocate(io, file, 4096, 4096), -ENOSPC);
    uint64_t free_bytes = 1;
    CU_ASSERT_EQUAL(io->ops->space(io, "/", &free_bytes), 0);
    CU_ASSERT_EQUAL(free_bytes, 0);
    io_close(io, &file);
}

static const struct unit_case cases[] = {
    {"synced bytes stay and others may not", synced_bytes_stay_and_others_may_not},
    {"chance shows old, new and torn sectors", chance_shows_old_new_and_torn_sectors},
    {"stores through a mapping are unsynced too", stores_through_a_mapping_are_unsynced_too},
    {"names last only with their folder", names_last_only_with_their_folder},
    {"the power goes at the call that was named", the_power_goes_at_the_call_that_was_named},
    {"a failed sync lies the second time", a_failed_sync_lies_the_second_time},
    {"a full disk takes what fits", a_full_disk_takes_what_fits},
};
UNIT_MAIN("io mem", cases)
