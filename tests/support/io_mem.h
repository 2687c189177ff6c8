/*
 * The io table's twin in memory: files as a page cache over durable sectors, so
 * that a test can fail any call and cut the power between any two.
 *
 * What a power cut leaves: bytes that datasync (or zero) covered, whole; of every
 * other sector of 512 bytes the old content, the new, or a mix of both, by seeded
 * chance, stores through writable mappings included; the old or the new size of a
 * file; and of the changes to a folder (made, renamed, removed) since its
 * sync_dir any subset. Renames are atomic. After a failed datasync the pages count
 * as clean, as on Linux: a second one succeeds and saves nothing, and forget()
 * shows what is really there.
 *
 * One thread at a time.
 */
#ifndef KQ_TESTS_SUPPORT_IO_MEM_H
#define KQ_TESTS_SUPPORT_IO_MEM_H

#include "log/io.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct io_mem;

enum io_mem_op {
    IO_MEM_OPEN = 1 << 0,
    IO_MEM_READ = 1 << 1,
    IO_MEM_WRITE = 1 << 2,
    IO_MEM_ZERO = 1 << 3,
    IO_MEM_ALLOCATE = 1 << 4,
    IO_MEM_SYNC = 1 << 5,
    IO_MEM_TRUNCATE = 1 << 6,
    IO_MEM_SIZE = 1 << 7,
    IO_MEM_MAP = 1 << 8,
    IO_MEM_RENAME = 1 << 9,
    IO_MEM_UNLINK = 1 << 10,
    IO_MEM_MKDIR = 1 << 11,
    IO_MEM_RMDIR = 1 << 12,
    IO_MEM_SYNC_DIR = 1 << 13,
    IO_MEM_LIST = 1 << 14,
    IO_MEM_SPACE = 1 << 15,
    IO_MEM_FORGET = 1 << 16,
    IO_MEM_WRITE_OUT = 1 << 17,
    IO_MEM_ANY = (1 << 18) - 1,
};

/* What survives of what was not synced. */
enum io_mem_mercy {
    IO_MEM_ALL_LOST,
    IO_MEM_ALL_KEPT,
    IO_MEM_BY_CHANCE,
    IO_MEM_STILL_CACHED, /* the process alone is killed: the cache lives, and may yet be lost */
};

/* file_bytes_max: the most that one file may hold. Has one folder, "/". */
struct io_mem *io_mem_new(size_t file_bytes_max);
void io_mem_free(struct io_mem *m);
/* As new: no files, no faults. All files must be closed. */
void io_mem_wipe(struct io_mem *m);
struct io *io_mem_io(struct io_mem *m);

/* Calls so far, all of the table but close and unmap. */
uint64_t io_mem_calls(const struct io_mem *m);
void io_mem_calls_reset(struct io_mem *m);
/* Calls of these operations so far. */
uint64_t io_mem_calls_of(const struct io_mem *m, enum io_mem_op op);

/* The power goes during call number `call` (from 1, counted since the last reset):
 * the call may or may not have had its effect, and every later one fails with
 * -EIO. 0: never. */
void io_mem_cut_at(struct io_mem *m, uint64_t call, enum io_mem_mercy mercy, uint64_t seed);
bool io_mem_is_cut(const struct io_mem *m);
/* What survived becomes what is there. All files must be closed. Also without a
 * cut: then it is as if the power went now. */
void io_mem_reboot(struct io_mem *m, enum io_mem_mercy mercy, uint64_t seed);

/* The call after `skip` more of these operations fails with -error; `times` of
 * them do (0: all from there on). A failing write writes half of its bytes first. */
void io_mem_fail(struct io_mem *m, unsigned ops, uint64_t skip, int error, uint64_t times);
void io_mem_fail_not(struct io_mem *m);
/* Writes and reads do only a part of what is asked, by chance. */
void io_mem_short(struct io_mem *m, bool on);
/* All files together may take so many bytes; 0: no limit. */
void io_mem_set_capacity(struct io_mem *m, uint64_t size_bytes);
uint64_t io_mem_capacity(const struct io_mem *m);

/* The live bytes of a file, borrowed; NULL: no such file. */
uint8_t *io_mem_bytes(struct io_mem *m, const char *path, uint64_t *size_bytes);
/* These bits change, in the cache and on the disk, as disks do it: nobody is told. */
void io_mem_flip(struct io_mem *m, const char *path, uint64_t pos, uint8_t bits);
/* The same under a cache that still has what stood there: seen after a power cut, and gone
 * if the place is written again before. */
void io_mem_flip_disk(struct io_mem *m, const char *path, uint64_t pos, uint8_t bits);
/* The folder and all in it is gone, as if it had never been; counts as wiped, and as flipped bits. All
 * files must be closed, and nothing may wait for a sync. */
void io_mem_remove(struct io_mem *m, const char *folder);
/* How often it failed a call by order, flipped bits, was wiped, in all its life. */
uint64_t io_mem_failed(const struct io_mem *m);
uint64_t io_mem_flipped(const struct io_mem *m);
uint64_t io_mem_wiped(const struct io_mem *m);
/* What of it a power cut would leave if nothing were lucky; borrowed. */
const uint8_t *io_mem_durable(const struct io_mem *m, const char *path, uint64_t *size_bytes);
/* The paths that would be left. */
void io_mem_each_durable(struct io_mem *m, void (*each)(void *context, const char *path), void *context);
/* A durable file (and nothing of what it was before). */
void io_mem_put(struct io_mem *m, const char *path, const void *data, size_t size_bytes);
bool io_mem_exists(const struct io_mem *m, const char *path);
/* Names of all files, each once, for copying or looking. */
void io_mem_each(struct io_mem *m, void (*each)(void *context, const char *path), void *context);

#endif
