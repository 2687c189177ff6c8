/* Blocks in a list; the newest is the one that is taken from. The rest of a block
 * that is too short for what is asked is left unused. */
#include "proto/kafka/arena.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct kafka_arena_block {
    struct kafka_arena_block *older;
    size_t size_bytes; /* of the whole block, this head included */
    _Alignas(KAFKA_ARENA_ALIGN_BYTES) uint8_t bytes[];
};

void kafka_arena_init(struct kafka_arena *arena, size_t limit_bytes)
{
    *arena = (struct kafka_arena){.limit_bytes = limit_bytes};
}

static void use_block(struct kafka_arena *arena, struct kafka_arena_block *block)
{
    arena->blocks = block;
    arena->at = block != NULL ? block->bytes : NULL;
    arena->end = block != NULL ? (uint8_t *)block + block->size_bytes : NULL;
}

/* Frees blocks until at most `keep` are left, the oldest. */
static void drop_blocks(struct kafka_arena *arena, bool keep_oldest)
{
    struct kafka_arena_block *block = arena->blocks;
    while (block != NULL && !(keep_oldest && block->older == NULL && block->size_bytes == KAFKA_ARENA_FIRST_BYTES)) {
        struct kafka_arena_block *older = block->older;
        arena->held_bytes -= block->size_bytes;
        free(block);
        block = older;
    }
    use_block(arena, block);
    arena->err = KQ_OK;
}

void kafka_arena_fini(struct kafka_arena *arena)
{
    drop_blocks(arena, false);
}

void kafka_arena_reset(struct kafka_arena *arena)
{
    drop_blocks(arena, true);
}

static enum kq_err add_block(struct kafka_arena *arena, size_t size_bytes)
{
    size_t allowed_bytes = arena->limit_bytes - arena->held_bytes;
    size_t least_bytes = size_bytes + sizeof(struct kafka_arena_block);
    if (size_bytes > arena->limit_bytes || least_bytes > allowed_bytes)
        return KQ_TOO_LARGE;
    size_t wanted_bytes = arena->blocks == NULL ? KAFKA_ARENA_FIRST_BYTES : arena->blocks->size_bytes * 2;
    if (wanted_bytes > KAFKA_ARENA_BLOCK_BYTES)
        wanted_bytes = KAFKA_ARENA_BLOCK_BYTES;
    if (wanted_bytes > allowed_bytes)
        wanted_bytes = allowed_bytes;
    if (wanted_bytes < least_bytes)
        wanted_bytes = least_bytes;
    struct kafka_arena_block *block = malloc(wanted_bytes);
    if (block == NULL)
        return KQ_NO_MEMORY;
    block->older = arena->blocks;
    block->size_bytes = wanted_bytes;
    arena->held_bytes += wanted_bytes;
    use_block(arena, block);
    return KQ_OK;
}

void *kafka_arena_take(struct kafka_arena *arena, size_t size_bytes)
{
    if (arena->err != KQ_OK)
        return NULL;
    if (arena->blocks == NULL || (size_t)(arena->end - arena->at) < size_bytes) {
        arena->err = add_block(arena, size_bytes);
        if (arena->err != KQ_OK)
            return NULL;
    }
    uint8_t *taken = arena->at;
    size_t left_bytes = (size_t)(arena->end - taken);
    size_t step_bytes = (size_bytes + KAFKA_ARENA_ALIGN_BYTES - 1) & ~(size_t)(KAFKA_ARENA_ALIGN_BYTES - 1);
    arena->at = step_bytes < left_bytes ? taken + step_bytes : arena->end;
    return taken;
}

struct slice kafka_arena_copy(struct kafka_arena *arena, const void *data, size_t size_bytes)
{
    uint8_t *copy = kafka_arena_take(arena, size_bytes);
    if (copy == NULL)
        return (struct slice){0};
    if (size_bytes > 0)
        memcpy(copy, data, size_bytes);
    return slice_of(copy, size_bytes);
}

struct slice kafka_arena_printf(struct kafka_arena *arena, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int len = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    char *text = len < 0 ? NULL : kafka_arena_take(arena, (size_t)len + 1);
    if (text == NULL)
        return (struct slice){0};
    va_start(arguments, format);
    (void)vsnprintf(text, (size_t)len + 1, format, arguments);
    va_end(arguments);
    return slice_of(text, (size_t)len);
}
