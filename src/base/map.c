#include "base/map.h"

#include "base/uuid.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct map_node {
    struct map_node *next;
    uint64_t hash;
    void *value;
    size_t key_bytes;
    char key[];
};

static uint64_t seed;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void make_seed(void)
{
    struct uuid id = uuid_random();
    memcpy(&seed, id.bytes, sizeof seed);
}

static uint64_t hash_key(const void *key, size_t key_bytes)
{
    (void)pthread_once(&once, make_seed);
    const uint8_t *p = key;
    uint64_t h = seed ^ key_bytes * 0x9e3779b97f4a7c15u;
    for (size_t i = 0; i < key_bytes; i++) {
        h = (h ^ p[i]) * 0xff51afd7ed558ccdu;
        h ^= h >> 29;
    }
    return h ^ h >> 32;
}

void map_init(struct map *m)
{
    *m = (struct map){0};
}

void map_fini(struct map *m)
{
    for (size_t i = 0; i < m->slot_count; i++)
        for (struct map_node *n = m->slots[i], *next; n != NULL; n = next) {
            next = n->next;
            free(n);
        }
    free(m->slots);
    map_init(m);
}

static struct map_node **find(const struct map *m, const void *key, size_t key_bytes, uint64_t hash)
{
    struct map_node **link = &m->slots[hash & (m->slot_count - 1)];
    while (*link != NULL &&
           ((*link)->hash != hash || (*link)->key_bytes != key_bytes || memcmp((*link)->key, key, key_bytes) != 0))
        link = &(*link)->next;
    return link;
}

void *map_get(const struct map *m, const void *key, size_t key_bytes)
{
    if (m->count == 0)
        return NULL;
    struct map_node *n = *find(m, key, key_bytes, hash_key(key, key_bytes));
    return n == NULL ? NULL : n->value;
}

static bool grow(struct map *m)
{
    size_t slot_count = m->slot_count == 0 ? 16 : m->slot_count * 2;
    struct map_node **slots = calloc(slot_count, sizeof(struct map_node *));
    if (slots == NULL)
        return false;
    for (size_t i = 0; i < m->slot_count; i++)
        for (struct map_node *n = m->slots[i], *next; n != NULL; n = next) {
            next = n->next;
            struct map_node **head = &slots[n->hash & (slot_count - 1)];
            n->next = *head;
            *head = n;
        }
    free(m->slots);
    m->slots = slots;
    m->slot_count = slot_count;
    return true;
}

bool map_put(struct map *m, const void *key, size_t key_bytes, void *value, void **old)
{
    if (old != NULL)
        *old = NULL;
    if (m->count >= m->slot_count && !grow(m) && m->slot_count == 0)
        return false;
    uint64_t hash = hash_key(key, key_bytes);
    struct map_node **link = find(m, key, key_bytes, hash);
    if (*link != NULL) {
        if (old != NULL)
            *old = (*link)->value;
        (*link)->value = value;
        return true;
    }
    struct map_node *n = malloc(sizeof *n + key_bytes);
    if (n == NULL)
        return false;
    *n = (struct map_node){.hash = hash, .value = value, .key_bytes = key_bytes};
    if (key_bytes > 0)
        memcpy(n->key, key, key_bytes);
    *link = n;
    m->count++;
    return true;
}

void *map_remove(struct map *m, const void *key, size_t key_bytes)
{
    if (m->count == 0)
        return NULL;
    struct map_node **link = find(m, key, key_bytes, hash_key(key, key_bytes));
    struct map_node *n = *link;
    if (n == NULL)
        return NULL;
    void *value = n->value;
    *link = n->next;
    free(n);
    m->count--;
    return value;
}

void map_walk_init(struct map_walk *w, const struct map *m)
{
    *w = (struct map_walk){.map = m};
}

bool map_walk_next(struct map_walk *w)
{
    while (w->next == NULL) {
        if (w->slot >= w->map->slot_count)
            return false;
        w->next = w->map->slots[w->slot++];
    }
    w->key = w->next->key;
    w->key_bytes = w->next->key_bytes;
    w->value = w->next->value;
    w->next = w->next->next;
    return true;
}
