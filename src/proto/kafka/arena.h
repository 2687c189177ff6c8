/*
 * Memory of one request: what its decoded arrays and its answer's structs lie in.
 * Taken piece by piece, given back all at once, never above a limit.
 */
#ifndef KQ_PROTO_KAFKA_ARENA_H
#define KQ_PROTO_KAFKA_ARENA_H

#include "base/err.h"
#include "base/slice.h"

#include <stddef.h>
#include <stdint.h>

enum {
    KAFKA_ARENA_ALIGN_BYTES = 16,
    KAFKA_ARENA_FIRST_BYTES = 4 * 1024,        /* the first block; each next one is twice as large, up to */
    KAFKA_ARENA_BLOCK_BYTES = 1 * 1024 * 1024, /* this, unless more is asked for at once */
};

struct kafka_arena_block;

/* One thread at a time. The fields are the arena's own, but for err. */
struct kafka_arena {
    struct kafka_arena_block *blocks; /* the newest first */
    uint8_t *at;
    uint8_t *end;
    size_t held_bytes;
    size_t limit_bytes;
    enum kq_err err; /* why something could not be had: KQ_TOO_LARGE (the limit) or KQ_NO_MEMORY; stays set */
};

/* limit_bytes: the most that it may ever hold. Allocates nothing yet. */
void kafka_arena_init(struct kafka_arena *arena, size_t limit_bytes);
void kafka_arena_fini(struct kafka_arena *arena);
/* Forgets all that was taken, and the failure. Keeps the first block for the next request. */
void kafka_arena_reset(struct kafka_arena *arena);
/* size_bytes bytes (0 is fine) that are the caller's until the next reset, aligned for
 * anything, not cleared. NULL: arena->err says why. */
void *kafka_arena_take(struct kafka_arena *arena, size_t size_bytes);
/* A copy of these bytes; absent if there is no room. */
struct slice kafka_arena_copy(struct kafka_arena *arena, const void *data, size_t size_bytes);
/* A formatted text; absent if there is no room. */
struct slice kafka_arena_printf(struct kafka_arena *arena, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
