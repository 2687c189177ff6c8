/* A line on the terminal that says how far something is. Nothing is written when
 * stderr is no terminal. */
#ifndef KQ_CLIENT_PROGRESS_H
#define KQ_CLIENT_PROGRESS_H

#include "base/bytes.h"

struct progress {
    bool shown;       /* stderr is a terminal */
    int64_t begin_us; /* when it began */
    int64_t next_us;  /* when it may be drawn again */
};

void progress_init(struct progress *progress, int64_t now_us);

/* count messages and done_bytes of total_bytes (0: not known). Draws ten times a
 * second at most. */
void progress_update(struct progress *progress, int64_t now_us, uint64_t count, uint64_t done_bytes,
                     uint64_t total_bytes);
/* Wipes the line. */
void progress_end(struct progress *progress);

/* What progress_update draws, without the terminal's part; for columns of width. */
void progress_format(struct buf *out, double seconds, uint64_t count, uint64_t done_bytes, uint64_t total_bytes,
                     size_t width);

/* "1.2 MB". text has room for 24 bytes; returns text. */
char *progress_bytes(char text[24], double bytes);

#endif
