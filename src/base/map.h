/*
 * A hash map from byte strings to pointers. Keys are copied; values are
 * borrowed. Keys come from clients, so the hash is seeded at random once a
 * process. Not thread-safe: whoever owns the map owns its lock.
 */
#ifndef KQ_BASE_MAP_H
#define KQ_BASE_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct map_node;

struct map {
    struct map_node **slots;
    size_t slot_count; /* a power of two, or 0 */
    size_t count;
};

void map_init(struct map *m);
void map_fini(struct map *m); /* values are the caller's */
/* NULL: no such key. */
void *map_get(const struct map *m, const void *key, size_t key_bytes);
/* Sets key to value (not NULL); *old (may be NULL) gets what it replaced, or
 * NULL. False: out of memory, nothing changed. */
bool map_put(struct map *m, const void *key, size_t key_bytes, void *value, void **old);
/* The value that was there, or NULL. */
void *map_remove(struct map *m, const void *key, size_t key_bytes);

/* Walking, in no order; nothing may be put meanwhile, and only what was walked
 * to last may be removed. for (map_walk_init(&w, m); map_walk_next(&w);) */
struct map_walk {
    const struct map *map;
    size_t slot;
    struct map_node *next;
    const void *key;
    size_t key_bytes;
    void *value;
};
void map_walk_init(struct map_walk *w, const struct map *m);
bool map_walk_next(struct map_walk *w);

#endif
