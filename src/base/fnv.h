/* FNV-1a with 32 bits: how a keyed text publish finds its partition. Part of the
 * protocol (clients compute it too), so it never changes. */
#ifndef KQ_BASE_FNV_H
#define KQ_BASE_FNV_H

#include <stddef.h>
#include <stdint.h>

static inline uint32_t fnv1a_32(const void *data, size_t size_bytes)
{
    const uint8_t *p = data;
    uint32_t hash = 2166136261U;
    for (size_t i = 0; i < size_bytes; i++)
        hash = (hash ^ p[i]) * 16777619U;
    return hash;
}

/* The hash with its sign bit cleared, modulo partition_count (not 0). */
static inline uint32_t fnv_partition(const void *key, size_t key_bytes, uint32_t partition_count)
{
    return (fnv1a_32(key, key_bytes) & 0x7fffffffU) % partition_count;
}

#endif
