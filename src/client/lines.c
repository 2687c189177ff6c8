/* A window over the input: lines are given out of it and it is moved up when more
 * is read. */
#include "client/lines.h"

#include <errno.h>
#include <unistd.h>

enum { READ_BYTES = 256 * 1024 };

void lines_init(struct lines *lines, int fd)
{
    *lines = (struct lines){.fd = fd};
    buf_init(&lines->held, LINES_MAX_BYTES + 2UL * READ_BYTES);
}

void lines_fini(struct lines *lines)
{
    buf_fini(&lines->held);
}

enum kq_err lines_next(struct lines *lines, struct slice *line)
{
    size_t left = lines->held.len - lines->scanned;
    uint8_t *from = left == 0 ? NULL : lines->held.data + lines->scanned;
    uint8_t *feed = left == 0 ? NULL : memchr(from, '\n', left);
    size_t end = feed == NULL ? lines->held.len : (size_t)(feed - lines->held.data);
    lines->scanned = end;
    if (end - lines->at > LINES_MAX_BYTES)
        return KQ_TOO_LARGE;
    if (feed == NULL && !lines->ended)
        return KQ_AGAIN;
    if (feed == NULL && end == lines->at)
        return KQ_EOF;
    *line = end == lines->at ? slice_of("", 0) : slice_of(lines->held.data + lines->at, end - lines->at);
    size_t next = feed == NULL ? end : end + 1;
    lines->bytes += next - lines->at;
    lines->count++;
    lines->at = next;
    lines->scanned = next;
    return KQ_OK;
}

enum kq_err lines_read(struct lines *lines)
{
    if (lines->at > 0) {
        memmove(lines->held.data, lines->held.data + lines->at, lines->held.len - lines->at);
        lines->held.len -= lines->at;
        lines->scanned -= lines->at;
        lines->at = 0;
    }
    uint8_t *room = buf_reserve(&lines->held, READ_BYTES);
    if (room == NULL)
        return KQ_NO_MEMORY;
    ssize_t got;
    do
        got = read(lines->fd, room, READ_BYTES);
    while (got < 0 && errno == EINTR);
    if (got < 0)
        return errno == EAGAIN ? KQ_AGAIN : KQ_IO;
    lines->ended = got == 0;
    lines->held.len += (size_t)got;
    return KQ_OK;
}
