/*
 * The footer of a sealed segment. The format stands at the head of footer.c.
 */
#ifndef KQ_LOG_FOOTER_H
#define KQ_LOG_FOOTER_H

#include "base/bytes.h"
#include "base/err.h"
#include "log/entry.h"
#include "log/io.h"

#include <stdint.h>

enum {
    FOOTER_RUNS_MAX = 1 << 20,
    LOG_STATE_BYTES_MAX = 256 * 1024 * 1024, /* of an opaque state, in a footer or a snapshot */
};

/* From idx on (to the next run) the entries have this term. */
struct term_run {
    uint64_t term;
    uint64_t idx;
};

struct footer {
    uint64_t first_idx;
    uint64_t last_idx;
    int64_t first_off;
    int64_t end_off; /* after the last record */
    int64_t max_time_ms;
    uint32_t last_crc;     /* body checksum of the last entry */
    uint32_t index_crc;    /* of the rows */
    uint64_t end_pos;      /* of the entries; the footer begins here */
    struct term_run *runs; /* owned; free(3) */
    uint32_t run_count;
    uint64_t state_pos; /* of the opaque state's bytes in the file */
    uint64_t state_bytes;
};

/* Any thread, all of them. Appends the encoded footer to out. */
void footer_encode(struct buf *out, const struct footer *f, const void *state, const struct entry_seed *seed);

/* Reads it from the end of a file of file_bytes (not the state). KQ_NOT_FOUND:
 * there is none that checks out. KQ_BAD_VERSION, KQ_IO, KQ_NO_MEMORY. */
enum kq_err footer_load(struct io *io, struct io_file *file, uint64_t file_bytes, const struct entry_seed *seed,
                        struct footer *f);

/* The state of f: *state is the caller's (free(3)), NULL when there is none.
 * KQ_CORRUPT: does not check out. */
enum kq_err footer_load_state(struct io *io, struct io_file *file, const struct footer *f,
                              const struct entry_seed *seed, void **state);

#endif
