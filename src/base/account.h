/* Memory accounts: bytes that clients' data may hold, with a limit, shared by
 * many threads. Taking never blocks; whoever finds it over its limit parks its work. */
#ifndef KQ_BASE_ACCOUNT_H
#define KQ_BASE_ACCOUNT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct account {
    _Atomic int64_t used_bytes;
    int64_t limit_bytes;
};

static inline void account_init(struct account *a, int64_t limit_bytes)
{
    atomic_init(&a->used_bytes, 0);
    a->limit_bytes = limit_bytes;
}

/* Any thread. Takes without asking. */
static inline void account_take(struct account *a, int64_t bytes)
{
    (void)atomic_fetch_add_explicit(&a->used_bytes, bytes, memory_order_relaxed);
}

/* Any thread. Returns the bytes still held afterwards. */
static inline int64_t account_give(struct account *a, int64_t bytes)
{
    return atomic_fetch_sub_explicit(&a->used_bytes, bytes, memory_order_relaxed) - bytes;
}

static inline int64_t account_used(const struct account *a)
{
    return atomic_load_explicit(&a->used_bytes, memory_order_relaxed);
}

#endif
