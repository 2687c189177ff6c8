/*
 * Walking the entries of one segment from its head on, each checked against its
 * checksums and against the one before. Private to src/log.
 */
#ifndef KQ_LOG_WALK_H
#define KQ_LOG_WALK_H

#include "base/bytes.h"
#include "log/segment.h"

struct walk {
    const struct segment *s;
    const struct entry_seed *seed;
    const uint8_t *data;
    uint64_t size_bytes;
    uint64_t end_idx; /* as given */
    /* what the next entry must follow */
    uint64_t pos;
    uint64_t next_idx;
    int64_t next_off;
    uint64_t term;
    uint32_t crc;
    /* found */
    struct buf rows;
    struct buf runs; /* of struct term_run */
    int64_t max_time_ms;
    uint64_t flushed_idx; /* the largest written down in any entry, R */
    uint64_t flushed_pos; /* where */
    uint64_t nonzero_end; /* after the last byte that is not zero, at or behind pos */
    bool newer;           /* stopped at an entry of a newer format */
};

/* Blocks. Walks the file of s (fills its first idx and what comes before it) until
 * the first entry that does not check out or end_idx, then looks behind it. w is to be given
 * to walk_fini in any case. KQ_CORRUPT: the segment's head does not check out. */
enum kq_err walk_segment(struct segment *s, struct io_file *file, uint64_t file_bytes, uint64_t end_idx, struct walk *w,
                         struct fault *fault);
void walk_fini(struct walk *w);

#endif
