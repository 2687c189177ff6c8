/*
 * Who leads a partition, and in which term, as one reading: written by whoever has the
 * partition's turn, read by any thread without a lock. Two pairs; the version says which is
 * valid, and the writer fills the other one before it moves on. A reader whose pair stayed valid
 * until it had read it has both of one moment; it never waits for a writer that was interrupted.
 */
#ifndef KQ_PARTITION_LEADERSHIP_H
#define KQ_PARTITION_LEADERSHIP_H

#include <stdatomic.h>
#include <stdint.h>

struct leadership {
    _Atomic uint64_t version; /* valid: pairs[version % 2] */
    struct {
        _Atomic uint64_t term;
        _Atomic uint32_t leader_id;
    } pairs[2];
};

/* Any thread. The broker that leads (0: not known). */
static inline uint32_t leadership_read(const struct leadership *l, uint64_t *term)
{
    for (;;) {
        uint64_t version = atomic_load_explicit(&l->version, memory_order_acquire);
        uint32_t leader_id = atomic_load_explicit(&l->pairs[version % 2].leader_id, memory_order_acquire);
        *term = atomic_load_explicit(&l->pairs[version % 2].term, memory_order_acquire);
        /* After both: whoever saw something newer in the pair sees the version that made it free, too. */
        if (atomic_load_explicit(&l->version, memory_order_relaxed) == version)
            return leader_id;
    }
}

/* One writer at a time. */
static inline void leadership_write(struct leadership *l, uint32_t leader_id, uint64_t term)
{
    uint64_t version = atomic_load_explicit(&l->version, memory_order_relaxed);
    if (atomic_load_explicit(&l->pairs[version % 2].leader_id, memory_order_relaxed) == leader_id &&
        atomic_load_explicit(&l->pairs[version % 2].term, memory_order_relaxed) == term)
        return;
    version++;
    atomic_store_explicit(&l->pairs[version % 2].leader_id, leader_id, memory_order_release);
    atomic_store_explicit(&l->pairs[version % 2].term, term, memory_order_release);
    atomic_store_explicit(&l->version, version, memory_order_release);
}

#endif
