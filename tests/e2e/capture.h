/* Listening in on loopback: what a connection to a port was sent, from its first byte on.
 * Needs a right that root has. Main thread. */
#ifndef KQ_TESTS_E2E_CAPTURE_H
#define KQ_TESTS_E2E_CAPTURE_H

#include <stddef.h>
#include <stdint.h>

struct capture;

/* NULL: not permitted here. */
struct capture *capture_begin(int port);
/* What the first connection that was begun since, and was sent at least `least` bytes, was
 * sent so far; how many bytes of it are in `bytes`, 0: there is none. May be called again. */
size_t capture_take(struct capture *c, size_t least, uint8_t *bytes, size_t size);
void capture_end(struct capture **c);

#endif
