/*
 * A connection to a broker: bytes out, bytes in, and one line for one line.
 *
 * The socket does not block; the calls that wait say so and take a deadline. One
 * thread a wire. Memory is bounded: the input window is fixed, the output is what
 * the caller queues.
 */
#ifndef KQ_CLIENT_WIRE_H
#define KQ_CLIENT_WIRE_H

#include "base/bytes.h"
#include "base/err.h"

struct wire;

enum {
    WIRE_HOST_BYTES = 256,
    WIRE_LINE_MAX_BYTES = 64 * 1024 * 1024, /* of a reply that is held whole */
};

struct wire_address {
    char host[WIRE_HOST_BYTES];
    char port[8];
};

/* "host:port", "[v6]:port", "host" or ":port"; what is not named stays. KQ_INVALID. */
enum kq_err wire_address_parse(const char *text, struct wire_address *address, struct fault *fault);

/* Waits at most until the deadline (clock_mono_us). The fault says where nobody
 * answered and what to look at. */
enum kq_err wire_connect(struct wire **wire, const struct wire_address *address, int64_t deadline_us,
                         struct fault *fault);
void wire_close(struct wire **wire);
int wire_fd(const struct wire *wire);

/* ---- out ------------------------------------------------------------------------- */

/* Append here what is to be sent. */
struct buf *wire_out(struct wire *wire);
/* Bytes queued and not sent. */
size_t wire_unsent(const struct wire *wire);
/* Sends what the socket takes now. KQ_OK also when something is left. KQ_EOF:
 * the connection is gone. */
enum kq_err wire_try_flush(struct wire *wire, struct fault *fault);

/* ---- in --------------------------------------------------------------------------- */

/* Receives what is there. KQ_AGAIN: nothing now. KQ_EOF: the connection is gone. */
enum kq_err wire_try_fill(struct wire *wire, struct fault *fault);
/* What was received and not eaten; borrowed until the next fill. */
const uint8_t *wire_in(const struct wire *wire, size_t *size_bytes);
void wire_eat(struct wire *wire, size_t size_bytes);

/* Waits until something was received (KQ_OK) and sends meanwhile. KQ_TIMEOUT,
 * KQ_EOF; KQ_AGAIN: a signal came. */
enum kq_err wire_wait(struct wire *wire, int64_t deadline_us, struct fault *fault);

/* Waits for a whole line, sends meanwhile; *line gets it without its LF.
 * KQ_TOO_LARGE beyond WIRE_LINE_MAX_BYTES, and as wire_wait. */
enum kq_err wire_line(struct wire *wire, struct buf *line, int64_t deadline_us, struct fault *fault);

#endif
