/* Chunks of 512 bytes to 64 KiB, larger as more waits; large replies come in
 * memory of their own and are not copied. */
#include "server/output.h"

#include "base/require.h"

#include <stdlib.h>
#include <string.h>

enum { CHUNK_MIN_BYTES = 512, CHUNK_MAX_BYTES = 64 * 1024 };

struct output_chunk {
    struct output_chunk *next;
    const uint8_t *data;           /* behind the chunk, or given, or lent */
    void (*release)(void *keeper); /* NULL: it is behind the chunk */
    void *keeper;
    size_t off; /* sent */
    size_t len;
    size_t cap; /* of memory held for it */
};

static void output_link(struct output *out, struct output_chunk *chunk)
{
    if (out->last == NULL)
        out->first = chunk;
    else
        out->last->next = chunk;
    out->last = chunk;
    out->held_bytes += chunk->cap;
}

static uint8_t *chunk_end(struct output_chunk *chunk)
{
    return (uint8_t *)(chunk + 1) + chunk->len;
}

/* At least one byte of room in the last chunk; how many, or 0: out of memory. */
static size_t output_room(struct output *out, size_t wanted_bytes)
{
    struct output_chunk *chunk = out->last;
    if (chunk != NULL && chunk->release == NULL && chunk->len < chunk->cap)
        return chunk->cap - chunk->len;
    size_t cap = CHUNK_MIN_BYTES;
    while (cap < CHUNK_MAX_BYTES && (cap < wanted_bytes || cap < out->pending_bytes))
        cap *= 2;
    chunk = malloc(sizeof(*chunk) + cap); /* filled through chunk + 1 */
    if (chunk == NULL)
        return 0;
    *chunk = (struct output_chunk){.data = (const uint8_t *)(chunk + 1), .cap = cap};
    output_link(out, chunk);
    return cap;
}

bool output_put(struct output *out, const void *data, size_t size_bytes)
{
    const uint8_t *from = data;
    while (size_bytes > 0) {
        size_t room = output_room(out, size_bytes);
        if (room == 0)
            return false;
        size_t part = size_bytes < room ? size_bytes : room;
        memcpy(chunk_end(out->last), from, part);
        out->last->len += part;
        out->pending_bytes += part;
        from += part;
        size_bytes -= part;
    }
    return true;
}

bool output_repeat(struct output *out, const char *text, size_t text_bytes, size_t count)
{
    while (count > 0) {
        size_t room = output_room(out, count * text_bytes);
        if (room == 0)
            return false;
        struct output_chunk *chunk = out->last;
        size_t fits = room / text_bytes;
        if (fits > count)
            fits = count;
        for (size_t i = 0; i < fits; i++)
            memcpy(chunk_end(chunk) + i * text_bytes, text, text_bytes);
        chunk->len += fits * text_bytes;
        out->pending_bytes += fits * text_bytes;
        count -= fits;
        if (fits > 0 || count == 0)
            continue;
        if (!output_put(out, text, text_bytes)) /* one that spans two chunks */
            return false;
        count--;
    }
    return true;
}

/* Memory of its own; cap_bytes of it count as held. */
static bool output_append(struct output *out, const uint8_t *data, size_t size_bytes, size_t cap_bytes,
                          void (*release)(void *keeper), void *keeper)
{
    struct output_chunk *chunk = size_bytes == 0 ? NULL : malloc(sizeof(*chunk));
    if (chunk == NULL) {
        release(keeper);
        return size_bytes == 0;
    }
    *chunk =
        (struct output_chunk){.data = data, .len = size_bytes, .cap = cap_bytes, .release = release, .keeper = keeper};
    output_link(out, chunk);
    out->pending_bytes += size_bytes;
    return true;
}

bool output_give(struct output *out, uint8_t *data, size_t size_bytes)
{
    return output_append(out, data, size_bytes, size_bytes, free, data);
}

bool output_lend(struct output *out, const uint8_t *data, size_t size_bytes, void (*release)(void *keeper),
                 void *keeper)
{
    return output_append(out, data, size_bytes, 0, release, keeper);
}

int output_front(const struct output *out, struct iovec *pieces, int count_max)
{
    int count = 0;
    for (struct output_chunk *chunk = out->first; chunk != NULL && count < count_max; chunk = chunk->next) {
        if (chunk->len == chunk->off)
            continue;
        pieces[count++] = (struct iovec){.iov_base = (uint8_t *)(uintptr_t)(chunk->data + chunk->off),
                                         .iov_len = chunk->len - chunk->off};
    }
    return count;
}

static void output_pop(struct output *out)
{
    struct output_chunk *chunk = out->first;
    out->first = chunk->next;
    if (out->first == NULL)
        out->last = NULL;
    out->held_bytes -= chunk->cap;
    if (chunk->release != NULL)
        chunk->release(chunk->keeper);
    free(chunk);
}

void output_sent(struct output *out, size_t size_bytes)
{
    REQUIRE(size_bytes <= out->pending_bytes);
    out->pending_bytes -= size_bytes;
    while (out->first != NULL) {
        struct output_chunk *chunk = out->first;
        size_t part = chunk->len - chunk->off;
        if (part > size_bytes) {
            chunk->off += size_bytes;
            return;
        }
        size_bytes -= part;
        output_pop(out);
    }
    REQUIRE(size_bytes == 0);
}

void output_clear(struct output *out)
{
    while (out->first != NULL)
        output_pop(out);
    out->pending_bytes = 0;
}
