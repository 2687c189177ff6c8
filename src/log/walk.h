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
    bool has_here;        /* the head at pos checks out and follows: it is the body that does not */
    struct entry_head here;
    bool has_behind; /* the first head behind, of a later entry, that checks out */
    uint64_t behind_pos;
    struct entry_head behind;
    bool head_bad; /* the segment's head does not check out; s->first_idx and so on are as known */
};

/* What stands before a segment, as others than its head tell it. */
struct walk_before {
    uint64_t first_idx; /* of the segment; 0: nobody tells */
    int64_t first_off;
    uint64_t prev_term;
    uint32_t prev_crc;
};

/* Blocks. Walks the file of s (fills its first idx and what comes before it) until
 * the first entry that does not check out or end_idx, then looks behind it. w is to be given
 * to walk_fini in any case. A head that does not check out is done without where `before` tells what stood in
 * it, and an entry that follows that is there. KQ_CORRUPT: it cannot be done without. */
enum kq_err walk_segment(struct segment *s, struct io_file *file, uint64_t file_bytes, uint64_t end_idx,
                         const struct walk_before *before, struct walk *w, struct fault *fault);
void walk_fini(struct walk *w);

#endif
