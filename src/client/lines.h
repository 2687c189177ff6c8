/* Lines from a file descriptor: bodies for `publish`. */
#ifndef KQ_CLIENT_LINES_H
#define KQ_CLIENT_LINES_H

#include "base/bytes.h"
#include "base/err.h"
#include "base/slice.h"

enum { LINES_MAX_BYTES = 64 * 1024 * 1024 };

struct lines {
    int fd; /* borrowed */
    struct buf held;
    size_t at;      /* where the next line begins */
    size_t scanned; /* no line feed before it */
    bool ended;     /* no more bytes will come */
    uint64_t count; /* lines given out */
    uint64_t bytes; /* bytes of them, with their line feeds */
};

void lines_init(struct lines *lines, int fd);
void lines_fini(struct lines *lines);

/* A line that is already here, without its LF; the last one needs none. Borrowed
 * until the next call. KQ_AGAIN: read more first. KQ_EOF: that was all.
 * KQ_TOO_LARGE. */
enum kq_err lines_next(struct lines *lines, struct slice *line);

/* One read(2), which may block. KQ_IO: errno says why. */
enum kq_err lines_read(struct lines *lines);

#endif
