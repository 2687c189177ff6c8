/*
 * Opening the segments of a folder after whatever happened. Private to src/log.
 */
#ifndef KQ_LOG_RECOVER_H
#define KQ_LOG_RECOVER_H

#include "log/folder.h"
#include "log/log_impl.h"
#include "log/walk.h"

/* Owner's thread; blocks. Fills the segments and the end of log. The last segment's
 * file is left open, unless it was closed cleanly. */
enum kq_err log_recover_segments(struct log *log, const struct folder *f, const struct log_mark *mark,
                                 struct log_report *report, struct fault *fault);

/* ---- tail.c -------------------------------------------------------------------------- */

/* Damage in the unsealed segment, what stands before it and what has to stand behind. */
struct tail_gap {
    uint64_t first_idx; /* 0: there is none that others could fill */
    uint64_t last_idx;
    uint64_t pos;
    uint64_t end_pos;
    int64_t off;
    int64_t end_off;
    uint64_t term; /* of the entry before */
    uint64_t end_term;
    uint32_t crc; /* body checksum of the entry before */
    uint32_t end_crc;
    bool has_head; /* the first entry's own head checks out: */
    struct entry_head head;
};

/* Of a walk that ended at or below what was flushed. False: others' entries would not do. */
bool tail_find_gap(const struct walk *w, uint64_t flushed, const struct log_mark *mark, struct tail_gap *gap);
/* Blocks. Writes them in place, durable on KQ_OK. KQ_INVALID: they are not those that stood there. */
enum kq_err tail_mend(struct segment *s, const struct tail_gap *found, const struct log_slice *entries, uint32_t count,
                      struct fault *fault);

#endif
