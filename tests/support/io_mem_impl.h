/*
 * Inside of io_mem.h: what the disk of the model is made of. io_mem.c has the calls of the
 * io table and what tests order; io_mem_disk.c names, inodes, and what a power cut leaves.
 */
#ifndef KQ_TESTS_SUPPORT_IO_MEM_IMPL_H
#define KQ_TESTS_SUPPORT_IO_MEM_IMPL_H

#include "support/io_mem.h"

enum {
    SECTOR_BYTES = 512,
    PATH_MAX_BYTES = 256,
    ENTRIES_MAX = 1024,
    CHANGES_STEP = 1024,
    BLOCK_BYTES = 4096,
    OP_KINDS = 18
};

struct inode {
    struct inode *next;
    uint8_t *bytes;
    uint8_t *durable;
    uint64_t size_bytes;
    uint64_t durable_size;
    uint64_t touched; /* bytes and durable are zero from here on */
    uint64_t dirty_from;
    uint64_t dirty_to;
    bool mapped_writable; /* dirty is not known: all of it may be */
    int opens;
};

struct entry {
    char path[PATH_MAX_BYTES];
    struct inode *inode; /* NULL: a folder */
};

struct names {
    struct entry at[ENTRIES_MAX];
    int count;
};

enum change_kind { CHANGE_LINK, CHANGE_UNLINK, CHANGE_RENAME };

struct change {
    enum change_kind kind;
    char from[PATH_MAX_BYTES];
    char to[PATH_MAX_BYTES];
    struct inode *inode;
};

struct io_file {
    struct inode *inode;
    bool writable;
};

struct io_mem {
    struct io io;
    size_t file_max;
    struct inode *inodes;
    struct inode *unused;
    struct names live;
    struct names durable;
    struct change *changes;
    int change_count;
    int change_cap;

    uint64_t calls;
    uint64_t calls_of[OP_KINDS];
    uint64_t cut_at;
    bool cut;
    enum io_mem_mercy mercy;
    uint64_t chance;
    unsigned fail_ops;
    uint64_t fail_skip;
    uint64_t fail_times;
    bool fail_for_ever;
    int fail_error;
    uint64_t failed; /* calls, by order */
    uint64_t flipped;
    uint64_t wiped;
    bool shorten;
    uint64_t capacity;
};

uint64_t mem_roll(struct io_mem *m);
struct entry *names_find(const struct names *n, const char *path);
void names_put(struct names *n, const char *path, struct inode *inode);
/* A trailing slash is no part of a folder's name; "/" is always there. */
bool names_has_folder(const struct names *n, const char *path);
/* Whether path stands directly in folder. */
bool names_is_in(const char *path, const char *folder);
void names_apply(struct names *n, const struct change *c);
void mem_change(struct io_mem *m, enum change_kind kind, const char *from, const char *to, struct inode *inode);
void inode_touch(struct inode *n, uint64_t from, uint64_t to);
/* What may differ between bytes and durable. */
void inode_dirty_range(const struct inode *n, uint64_t *from, uint64_t *to);
void inode_make_durable(struct inode *n);
/* What is removed and closed takes no space. */
uint64_t mem_used_blocks(const struct io_mem *m);
/* How far the file may reach, at most to. */
uint64_t mem_room(const struct io_mem *m, const struct inode *n, uint64_t to);
/* The durable side becomes what is found after the cut. */
void mem_lose_power(struct io_mem *m);
struct inode *inode_new(struct io_mem *m);
void inode_clear(struct inode *n);

#endif
