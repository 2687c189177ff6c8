/*
 * A log on a disk in memory, one at a time, for the programs that test what
 * survives: start it, append, lose power, flip bits, open it again.
 */
#ifndef KQ_TESTS_SUPPORT_LOG_MEM_RIG_H
#define KQ_TESTS_SUPPORT_LOG_MEM_RIG_H

#include "base/logger.h"
#include "support/io_mem.h"
#include "support/log_rig.h"
#include "support/unit.h"

static struct io_mem *mem;
static struct log_rig rig;

/* An empty one. */
static inline void start(void)
{
    if (mem == NULL)
        mem = io_mem_new(4 << 20);
    logger_set_level(LOGGER_ERROR);
    io_mem_wipe(mem);
    log_rig_init(&rig, io_mem_io(mem), "/t-0");
    CU_ASSERT_EQUAL_FATAL(log_rig_open(&rig), KQ_OK);
}

static inline void append_many(int entries, int count, size_t value_bytes)
{
    for (int i = 0; i < entries; i++)
        CU_ASSERT_EQUAL_FATAL(log_rig_append(&rig, count, value_bytes, 1000 + i), KQ_OK);
    log_rig_flush(&rig);
    CU_ASSERT_EQUAL(rig.failed, KQ_OK);
    CU_ASSERT_EQUAL(rig.flushed_idx, log_last_idx(rig.log));
    log_set_commit(rig.log, log_last_idx(rig.log));
}

/* Ends without a clean close; what was not synced is lost. */
static inline void crash(void)
{
    io_mem_cut_at(mem, io_mem_calls(mem) + 1, IO_MEM_ALL_LOST, 1);
    log_close(&rig.log, NULL, 0);
    io_mem_reboot(mem, IO_MEM_ALL_LOST, 1);
}

static inline enum kq_err reopen(void)
{
    enum kq_err err = log_rig_open(&rig);
    if (err == KQ_OK)
        log_set_commit(rig.log, log_last_idx(rig.log));
    return err;
}

/* What was changed in the live bytes. */
static inline void make_durable(const char *path)
{
    uint64_t size;
    uint8_t *bytes = io_mem_bytes(mem, path, &size);
    uint8_t *copy = malloc(size);
    memcpy(copy, bytes, size);
    io_mem_put(mem, path, copy, size);
    free(copy);
}

static inline void flip(const char *path, uint64_t pos)
{
    uint64_t size;
    uint8_t *bytes = io_mem_bytes(mem, path, &size);
    CU_ASSERT_FATAL(bytes != NULL && pos < size);
    bytes[pos] ^= 0x10;
    make_durable(path);
}

static inline uint64_t file_size(const char *path)
{
    uint64_t size = 0;
    CU_ASSERT_PTR_NOT_NULL(io_mem_bytes(mem, path, &size));
    return size;
}

static inline void done(void)
{
    log_close(&rig.log, NULL, 0);
}

#define FIRST_LOG "/t-0/00000000000000000000.log"
#define FIRST_INDEX "/t-0/00000000000000000000.index"

#endif
