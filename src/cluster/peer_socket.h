/*
 * A connection between brokers: frames over one blocking socket, each call with a
 * deadline. Used by the threads of the links, and by a broker that has no cluster yet.
 *
 * One thread at a time reads and one at a time writes; another may cut it. It never
 * allocates for a frame more than has come of it (beyond the first
 * PEER_SOCKET_FIRST_BYTES), and never waits without an end unless told to.
 */
#ifndef KQ_CLUSTER_PEER_SOCKET_H
#define KQ_CLUSTER_PEER_SOCKET_H

#include "base/clock.h"
#include "base/err.h"
#include "proto/peer/frame.h"
#include "proto/peer/hello.h"

#include <sys/uio.h>

enum {
    PEER_SOCKET_READ_BYTES = 64 * 1024,      /* read at a time */
    PEER_SOCKET_FIRST_BYTES = 1024 * 1024,   /* set aside for a frame before any of it has come */
    PEER_SOCKET_USER_TIMEOUT_MS = 10 * 1000, /* sent and not acknowledged by the other machine: it is gone */
    PEER_SOCKET_KEEPALIVE_S = 5,
    PEER_SOCKET_PATIENCE_S = 1,
    PEER_SOCKET_BODY_US = 10 * 1000 * 1000,
    PEER_SOCKET_LEAST_BYTES_US = 8, /* a microsecond */
    PEER_SOCKET_PLACE_BYTES = 256 + 8,
};

struct peer_socket;

/* Any thread. Not connected yet. NULL: out of memory. */
struct peer_socket *peer_socket_new(void);
/* When nobody uses it any more. Closes it. */
void peer_socket_free(struct peer_socket **socket);
/* Any thread. Whoever waits in it, or comes to, gets KQ_EOF. For good. */
void peer_socket_cut(struct peer_socket *socket);
/* Of one over which the other side sends nothing: it has ended, or something came. Never
 * blocks. */
bool peer_socket_is_closed(struct peer_socket *socket);
/* "host:port" that was connected to; "host" of who came: its port says nothing to a person. */
const char *peer_socket_place(const struct peer_socket *socket);

/* By name or number; all addresses of a name are tried. A name is looked up without a
 * deadline. KQ_TIMEOUT, KQ_NOT_FOUND (the name), KQ_IO; *refused (may be NULL): that host
 * says that nobody listens there. */
enum kq_err peer_socket_connect(struct peer_socket *socket, const char *host, uint16_t port, int64_t deadline_us,
                                bool *refused, struct fault *fault);
/* Takes an accepted descriptor. */
enum kq_err peer_socket_take(struct peer_socket *socket, int fd, struct fault *fault);

/* ---- the hello ------------------------------------------------------------------------ */

/* A dialer greets, and gets the other's hello; self->session is chosen here. The other
 * refuses, and *fault has its words: KQ_INVALID, KQ_EXISTS (two with one id, or itself),
 * KQ_BAD_VERSION, KQ_AGAIN (not known there yet). KQ_GARBAGE: no broker. Else as
 * peer_socket_receive(). *other is set with KQ_OK; whether it is the one that was wanted
 * says hello_judge(). */
enum kq_err peer_socket_greet(struct peer_socket *socket, struct hello *self, struct hello *other, int64_t deadline_us,
                              struct fault *fault);
/* An acceptor hears the hello, ... */
enum kq_err peer_socket_hear(struct peer_socket *socket, struct hello *other, int64_t deadline_us, struct fault *fault);
/* ... and answers with its own (self->session is chosen here), or with what is wrong. */
enum kq_err peer_socket_answer(struct peer_socket *socket, struct hello *self, const struct hello *other,
                               int64_t deadline_us, struct fault *fault);
void peer_socket_refuse(struct peer_socket *socket, const struct fault *fault, int64_t deadline_us);

/* ---- frames --------------------------------------------------------------------------- */

/* What frames' checksums are seeded with, after the hellos. */
uint32_t peer_socket_seed(const struct peer_socket *socket);
/* KQ_OK: all of it was handed to the system. KQ_TIMEOUT, KQ_EOF, KQ_IO: the connection is
 * of no use any more. */
enum kq_err peer_socket_send(struct peer_socket *socket, enum peer_frame_type type, const struct slice *parts,
                             size_t part_count, int64_t deadline_us, struct fault *fault);
/* What fits at once of whole frames, heads included: *parts and *part_count move on to what
 * does not. Never blocks. */
enum kq_err peer_socket_try_write(struct peer_socket *socket, struct iovec **parts, int *part_count,
                                  struct fault *fault);
/* All of it, waiting as often as it must; parts are changed. */
enum kq_err peer_socket_write(struct peer_socket *socket, struct iovec *parts, int part_count, int64_t deadline_us,
                              struct fault *fault);
/* The next frame and its body, which is the caller's (free(3); NULL if it is empty).
 * deadline_us CLOCK_NEVER: waits for ever. KQ_EOF: the other side closed between frames;
 * KQ_TIMEOUT, KQ_IO, KQ_NO_MEMORY; KQ_GARBAGE, KQ_TOO_LARGE: not a frame, a checksum that
 * does not match, larger than limit_bytes. */
enum kq_err peer_socket_receive(struct peer_socket *socket, uint32_t limit_bytes, int64_t deadline_us,
                                struct peer_frame *frame, uint8_t **body, struct fault *fault);
/* From now on a read blocks in the system, and may notice its deadline
 * PEER_SOCKET_PATIENCE_S too late: one call instead of three for what has to be waited for.
 * The deadline then is that of a frame's first byte; its body has PEER_SOCKET_BODY_US and
 * what its size takes at PEER_SOCKET_LEAST_BYTES_US, as without a deadline. */
void peer_socket_be_patient(struct peer_socket *socket);
/* The same without the checksum: the caller's to look at. */
enum kq_err peer_socket_receive_raw(struct peer_socket *socket, uint32_t limit_bytes, int64_t deadline_us,
                                    struct peer_frame *frame, uint8_t **body, struct fault *fault);

#endif
