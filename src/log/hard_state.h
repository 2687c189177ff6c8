/*
 * The hard state of a replica and its flush mark: one file, three slots. The
 * format and the rule for a bad slot stand at the head of hard_state.c.
 *
 * Calls block. One thread at a time (the flush lane, or opening and closing).
 * The file is opened for each call, so that an idle replica holds none open.
 */
#ifndef KQ_LOG_HARD_STATE_H
#define KQ_LOG_HARD_STATE_H

#include "base/err.h"
#include "log/io.h"
#include "log/log.h"

#include <stdbool.h>
#include <stdint.h>

#define HARD_STATE_NAME "hard-state"
#define HARD_STATE_TEMP_NAME "hard-state.new"

enum { HARD_STATE_SLOT_BYTES = 4096, HARD_STATE_FILE_BYTES = 3 * HARD_STATE_SLOT_BYTES };

/* What is to be done to the segments before anything else: cut.c. */
enum log_cut { LOG_CUT_NONE, LOG_CUT_TRUNCATE, LOG_CUT_RESET };

/* What was on disk when writing paused, the log was closed or began to be cut. */
struct log_mark {
    bool clean; /* closed: nothing was appended after it */
    enum log_cut cut;
    uint64_t cut_idx; /* the first entry that is no longer to be there */
    uint64_t state_version;
    uint64_t flushed_term;
    uint64_t flushed_idx;
    uint64_t commit_idx;
    int64_t next_off;
    int64_t start_off;
    int64_t segment_off;  /* first offset of the last segment; -1: there is none */
    uint64_t segment_idx; /* its first idx */
    uint64_t end_pos;     /* where its entries end */
    uint32_t last_crc;    /* body checksum of the last entry */
    uint32_t index_crc;   /* of the rows of the last segment */
    int64_t max_time_ms;  /* in the last segment */
};

/* Makes the file whole and durable under a temporary name. */
enum kq_err hard_state_prepare(struct io *io, const char *dir, const struct log_hard_state *state, struct fault *fault);
/* Gives it its name (the folder is not synced). */
enum kq_err hard_state_name(struct io *io, const char *dir, struct fault *fault);

/* KQ_NOT_FOUND: no file. KQ_CORRUPT, KQ_BAD_VERSION, KQ_IO: with *fault.
 * mark->segment_off -2 and flushed_idx 0: there is no mark, or none that checks
 * out. *one_bad: the state came from one good slot beside a bad one. */
enum kq_err hard_state_load(struct io *io, const char *dir, struct log_hard_state *state, struct log_mark *mark,
                            bool *one_bad, struct fault *fault);

/* state->version says which slot; durable on KQ_OK. */
enum kq_err hard_state_store(struct io *io, const char *dir, const struct log_hard_state *state, struct fault *fault);
enum kq_err hard_state_store_mark(struct io *io, const char *dir, const struct log_hard_state *state,
                                  const struct log_mark *mark, struct fault *fault);

/* What was read may be what a dead process left in a cache: the same bytes again, and
 * durable on KQ_OK. mark may be NULL. */
enum kq_err hard_state_store_again(struct io *io, const char *dir, const struct log_hard_state *state,
                                   const struct log_mark *mark, struct fault *fault);

static inline bool log_mark_is_set(const struct log_mark *mark)
{
    return mark->segment_off != -2;
}

#endif
