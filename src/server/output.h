/*
 * What a connection has still to send: a queue of chunks. Empty, it holds no
 * memory. Whoever sends works on a snapshot of the front while others append
 * behind it, so the connection's lock is not held across send(2).
 */
#ifndef KQ_SERVER_OUTPUT_H
#define KQ_SERVER_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct output_chunk;

struct output {
    struct output_chunk *first;
    struct output_chunk *last;
    size_t pending_bytes;
    size_t held_bytes; /* memory of all chunks */
};

/* All: the owner's lock is held. False: out of memory, nothing was appended. */
bool output_put(struct output *out, const void *data, size_t size_bytes);
/* count times the same few bytes. */
bool output_repeat(struct output *out, const char *text, size_t text_bytes, size_t count);
/* Takes data (malloc'd) also when it fails. */
bool output_give(struct output *out, uint8_t *data, size_t size_bytes);
/* What stays where it is until it is sent or the output is cleared: then release(keeper)
 * runs, under the owner's lock. False: out of memory, and released. */
bool output_lend(struct output *out, const uint8_t *data, size_t size_bytes, void (*release)(void *keeper),
                 void *keeper);
/* The front, at most count_max pieces; they stay valid and in place until
 * output_sent. Returns how many. */
int output_front(const struct output *out, struct iovec *pieces, int count_max);
void output_sent(struct output *out, size_t size_bytes);
void output_clear(struct output *out);

#endif
