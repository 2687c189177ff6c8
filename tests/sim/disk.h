/*
 * A computer's disk: the io table in memory of tests/support/io_mem.h, which knows
 * what a power cut leaves, with model time around each call. It takes part in
 * crashes: one can be asked for at a chosen call, before or after its effect.
 */
#ifndef KQ_TESTS_SIM_DISK_H
#define KQ_TESTS_SIM_DISK_H

#include "log/io.h"
#include "sim/chance.h"
#include "support/io_mem.h"

#include <stdbool.h>
#include <stdint.h>

struct disk;
struct node;

struct disk_style {
    int64_t sync_ns;   /* what a datasync takes, about */
    int64_t other_ns;  /* what any other call takes at most */
    uint64_t stall_in; /* one sync in so many stalls; 0: none */
    int64_t stall_ns;  /* for at most so long */
};

struct disk *disk_new(struct node *node, uint64_t seed);
struct io *disk_io(struct disk *disk);
struct io_mem *disk_mem(struct disk *disk);
struct disk_style *disk_style(struct disk *disk);
/* From now on calls do not come back, until they do again. syncs: only those that make durable. */
void disk_stall(struct disk *disk, bool stall, bool syncs);
/* Calls that change something, and those that make it durable, so far. */
uint64_t disk_syncs(const struct disk *disk);
/* Of these, what the broker's flushers made durable: entries and hard states, not what is prepared. */
uint64_t disk_flushes(const struct disk *disk);
/* Calls crash(context), from the fiber of the call and never to return, at the call
 * that changes something after `skip` more of them; by chance before or after it.
 * crash NULL: at none, nor after one that is under way. */
void disk_crash_at(struct disk *disk, uint64_t skip, void (*crash)(void *context), void *context);
/* Of those alone that are rare: what changes a folder, cuts a file, or writes a hard state. */
void disk_crash_at_rare(struct disk *disk, uint64_t skip, void (*crash)(void *context), void *context);
/* Calls is_durable(context, path) whenever a hard state, or a mark, became durable. */
void disk_on_hard_state(struct disk *disk, void (*is_durable)(void *context, const char *path), void *context);
/* The node has crashed or stopped: files are closed, what was not synced is lost
 * (power), or kept in the cache (the process alone was killed). */
void disk_after_crash(struct disk *disk, bool power);

#endif
