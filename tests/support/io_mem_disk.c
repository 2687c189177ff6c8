/*
 * What lies on the disk of io_mem.h: names, inodes, and what of both a power cut leaves.
 */
#include "support/io_mem_impl.h"

#include "base/require.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

uint64_t mem_roll(struct io_mem *m)
{
    m->chance += UINT64_C(0x9e3779b97f4a7c15); /* splitmix64 */
    uint64_t z = m->chance;
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

/* ---- names ------------------------------------------------------------------------- */

struct entry *names_find(const struct names *n, const char *path)
{
    for (int i = 0; i < n->count; i++)
        if (strcmp(n->at[i].path, path) == 0)
            return (struct entry *)(uintptr_t)&n->at[i];
    return NULL;
}

void names_put(struct names *n, const char *path, struct inode *inode)
{
    struct entry *e = names_find(n, path);
    if (e == NULL) {
        REQUIRE(n->count < ENTRIES_MAX);
        e = &n->at[n->count++];
        REQUIRE(snprintf(e->path, sizeof e->path, "%s", path) < (int)sizeof e->path);
    }
    e->inode = inode;
}

static void drop(struct names *n, const char *path)
{
    struct entry *e = names_find(n, path);
    if (e != NULL)
        *e = n->at[--n->count];
}

/* A trailing slash is no part of a folder's name; "/" is always there. */
bool names_has_folder(const struct names *n, const char *path)
{
    size_t length = strlen(path);
    while (length > 0 && path[length - 1] == '/')
        length--;
    for (int i = 0; i < n->count && length > 0; i++)
        if (strncmp(n->at[i].path, path, length) == 0 && n->at[i].path[length] == '\0')
            return n->at[i].inode == NULL;
    return length == 0;
}

/* Whether path stands directly in folder. */
bool names_is_in(const char *path, const char *folder)
{
    size_t length = strlen(folder);
    while (length > 1 && folder[length - 1] == '/')
        length--;
    if (strncmp(path, folder, length) != 0)
        return false;
    const char *rest = path + length;
    if (length == 1 && folder[0] == '/')
        return rest[0] != '\0' && strchr(rest, '/') == NULL;
    return rest[0] == '/' && strchr(rest + 1, '/') == NULL;
}

/* What lies in a folder goes with it, however deep. */
static void move_path(char *path, const char *from, const char *to)
{
    char moved[PATH_MAX_BYTES];
    size_t length = strlen(from);
    if (strncmp(path, from, length) != 0 || path[length] != '/')
        return;
    REQUIRE(snprintf(moved, sizeof moved, "%s%s", to, path + length) < (int)sizeof moved);
    memcpy(path, moved, sizeof moved);
}

static void move_inside(struct names *n, const char *from, const char *to)
{
    for (int i = 0; i < n->count; i++)
        move_path(n->at[i].path, from, to);
}

void names_apply(struct names *n, const struct change *c)
{
    switch (c->kind) {
    case CHANGE_LINK:
        names_put(n, c->to, c->inode);
        break;
    case CHANGE_UNLINK:
        drop(n, c->from);
        break;
    case CHANGE_RENAME:
        drop(n, c->from);
        names_put(n, c->to, c->inode);
        if (c->inode == NULL)
            move_inside(n, c->from, c->to);
        break;
    }
}

void mem_change(struct io_mem *m, enum change_kind kind, const char *from, const char *to, struct inode *inode)
{
    if (m->change_count == m->change_cap) {
        m->change_cap += CHANGES_STEP;
        m->changes = realloc(m->changes, (size_t)m->change_cap * sizeof *m->changes);
        REQUIRE(m->changes != NULL);
    }
    struct change *c = &m->changes[m->change_count++];
    c->kind = kind;
    c->inode = inode;
    (void)snprintf(c->from, sizeof c->from, "%s", from);
    (void)snprintf(c->to, sizeof c->to, "%s", to);
    names_apply(&m->live, c);
    if (kind == CHANGE_RENAME && inode == NULL)
        for (int i = 0; i < m->change_count - 1; i++) { /* what is not yet synced in it is known by its new name */
            move_path(m->changes[i].from, from, to);
            move_path(m->changes[i].to, from, to);
        }
}

/* ---- inodes ------------------------------------------------------------------------- */

static uint8_t *region(size_t size_bytes)
{
    void *at = mmap(NULL, size_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    REQUIRE(at != MAP_FAILED);
    return at;
}

struct inode *inode_new(struct io_mem *m)
{
    struct inode *n = m->unused;
    if (n != NULL) {
        m->unused = n->next;
    } else {
        n = calloc(1, sizeof *n);
        REQUIRE(n != NULL);
        n->bytes = region(m->file_max);
        n->durable = region(m->file_max);
    }
    n->next = m->inodes;
    m->inodes = n;
    return n;
}

void inode_clear(struct inode *n)
{
    memset(n->bytes, 0, n->touched);
    memset(n->durable, 0, n->touched);
    n->size_bytes = n->durable_size = n->touched = n->dirty_from = n->dirty_to = 0;
    n->mapped_writable = false;
    n->opens = 0;
}

void inode_touch(struct inode *n, uint64_t from, uint64_t to)
{
    if (n->dirty_from == n->dirty_to) {
        n->dirty_from = from;
        n->dirty_to = to;
    } else {
        n->dirty_from = from < n->dirty_from ? from : n->dirty_from;
        n->dirty_to = to > n->dirty_to ? to : n->dirty_to;
    }
    if (to > n->touched)
        n->touched = to;
}

/* What may differ between bytes and durable. */
void inode_dirty_range(const struct inode *n, uint64_t *from, uint64_t *to)
{
    *from = n->mapped_writable ? 0 : n->dirty_from;
    *to = n->mapped_writable ? n->touched : n->dirty_to;
}

void inode_make_durable(struct inode *n)
{
    uint64_t from;
    uint64_t to;
    inode_dirty_range(n, &from, &to);
    if (to > from)
        memcpy(n->durable + from, n->bytes + from, to - from);
    n->durable_size = n->size_bytes;
    n->dirty_from = n->dirty_to = 0;
}

static bool is_named(const struct names *names, const struct inode *n)
{
    for (int i = 0; i < names->count; i++)
        if (names->at[i].inode == n)
            return true;
    return false;
}

/* What is removed and closed takes no space. */
uint64_t mem_used_blocks(const struct io_mem *m)
{
    uint64_t total = 0;
    for (const struct inode *n = m->inodes; n != NULL; n = n->next)
        if (n->opens > 0 || is_named(&m->live, n))
            total += (n->size_bytes + BLOCK_BYTES - 1) / BLOCK_BYTES;
    return total;
}

/* How far the file may reach, at most to. */
uint64_t mem_room(const struct io_mem *m, const struct inode *n, uint64_t to)
{
    if (to > m->file_max)
        to = m->file_max;
    if (m->capacity == 0 || to <= n->size_bytes)
        return to;
    uint64_t used = mem_used_blocks(m);
    uint64_t capacity = m->capacity / BLOCK_BYTES;
    uint64_t left = used < capacity ? capacity - used : 0;
    uint64_t most = ((n->size_bytes + BLOCK_BYTES - 1) / BLOCK_BYTES + left) * BLOCK_BYTES;
    return to < most ? to : most;
}

/* ---- the power -------------------------------------------------------------------------- */

static bool survives(struct io_mem *m)
{
    return m->mercy == IO_MEM_ALL_KEPT || (m->mercy == IO_MEM_BY_CHANCE && (mem_roll(m) & 1) != 0);
}

static void sector_survives(struct io_mem *m, struct inode *n, uint64_t at)
{
    uint8_t *now = n->bytes + at;
    uint8_t *then = n->durable + at;
    if (memcmp(now, then, SECTOR_BYTES) == 0)
        return;
    uint64_t chance = m->mercy == IO_MEM_BY_CHANCE ? mem_roll(m) : 0;
    if (m->mercy == IO_MEM_BY_CHANCE && chance % 4 == 0) { /* torn */
        size_t cut = (size_t)(chance >> 8) % SECTOR_BYTES;
        if ((chance & 0x80) != 0)
            memcpy(then, now, cut);
        else
            memcpy(then + cut, now + cut, SECTOR_BYTES - cut);
    } else if (m->mercy == IO_MEM_ALL_KEPT || (m->mercy == IO_MEM_BY_CHANCE && (chance & 0x40) != 0)) {
        memcpy(then, now, SECTOR_BYTES);
    }
}

/* The durable side becomes what is found after the cut. */
void mem_lose_power(struct io_mem *m)
{
    m->cut = true;
    if (m->mercy == IO_MEM_STILL_CACHED)
        return;
    for (struct inode *n = m->inodes; n != NULL; n = n->next) {
        uint64_t from;
        uint64_t to;
        inode_dirty_range(n, &from, &to);
        for (uint64_t at = from - from % SECTOR_BYTES; at < to; at += SECTOR_BYTES)
            sector_survives(m, n, at);
        if (n->size_bytes != n->durable_size && survives(m))
            n->durable_size = n->size_bytes;
        /* Behind the end there is nothing, whatever was written there. */
        if (n->touched > n->durable_size)
            memset(n->durable + n->durable_size, 0, n->touched - n->durable_size);
    }
    for (int i = 0; i < m->change_count; i++)
        if (survives(m))
            names_apply(&m->durable, &m->changes[i]);
    m->change_count = 0;
}

/* Entries of folders that are gone, gone with them. */
static void drop_orphans(struct names *n)
{
    for (bool again = true; again;) {
        again = false;
        for (int i = 0; i < n->count && !again; i++) {
            char folder[PATH_MAX_BYTES];
            (void)snprintf(folder, sizeof folder, "%s", n->at[i].path);
            char *slash = strrchr(folder, '/');
            if (slash == NULL || slash == folder)
                continue;
            *slash = '\0';
            if (names_find(n, folder) == NULL) {
                n->at[i] = n->at[--n->count];
                again = true;
            }
        }
    }
}

void io_mem_reboot(struct io_mem *m, enum io_mem_mercy mercy, uint64_t seed)
{
    if (!m->cut) {
        m->mercy = mercy;
        m->chance = seed;
        mem_lose_power(m);
    }
    m->cut = false;
    m->cut_at = 0;
    m->calls = 0;
    io_mem_fail_not(m);
    if (m->mercy == IO_MEM_STILL_CACHED)
        return;
    drop_orphans(&m->durable);
    m->live = m->durable;
    struct inode *all = m->inodes;
    m->inodes = NULL;
    while (all != NULL) {
        struct inode *n = all;
        all = n->next;
        REQUIRE(n->opens == 0);
        if (is_named(&m->live, n)) {
            memcpy(n->bytes, n->durable, n->touched);
            n->size_bytes = n->durable_size;
            n->dirty_from = n->dirty_to = 0;
            n->mapped_writable = false;
            n->next = m->inodes;
            m->inodes = n;
        } else {
            inode_clear(n);
            n->next = m->unused;
            m->unused = n;
        }
    }
}
