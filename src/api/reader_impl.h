/* What reader.c (steps and calls), reader_here.c and reader_remote.c share. Nobody else
 * includes it. Each of these functions ends in the reader's done, or in an answer that does:
 * the reader is not the caller's afterwards. */
#ifndef KQ_API_READER_IMPL_H
#define KQ_API_READER_IMPL_H

#include "api/reader.h"
#include "cluster/links.h"

#include <stdatomic.h>

/* A question to another broker, or to the replica here; on its own, since a watch that was
 * cancelled outlives its reader. */
struct reader_ask {
    struct ask ask;
    struct partition_ask barrier;
    struct iovec part;
    uint8_t head[ASK_WIRE_HEAD_MAX_BYTES];
    int64_t deadline_us;
    void (*done)(struct ask *ask);
    _Atomic(struct reader *) reader; /* NULL: cancelled */
};

/* ---- reader.c ---------------------------------------------------------------------- */

void reader_step(struct reader *reader);
void reader_set_place(struct reader *reader, enum reader_place place);
void reader_finish(struct reader *reader);
void reader_finish_ok(struct reader *reader);
void reader_finish_err(struct reader *reader, enum kq_err err);
void reader_finish_cancelled(struct reader *reader);
/* Not now: another step a little later, or the end with this fault. */
void reader_try_later(struct reader *reader, const struct fault *fault);
void reader_wait_for_leader(struct reader *reader);

/* ---- reader_here.c ------------------------------------------------------------------- */

/* Until the high watermark passes off; then done. */
void reader_wait_here(struct reader *reader, struct partition *partition, int64_t off,
                      void (*done)(struct wait_request *wait));
/* reader_wait_here's done of READER_WAITS. */
void reader_more_here(struct wait_request *wait);
void reader_open_here(struct reader *reader, struct partition *partition);
void reader_confirm_here(struct reader *reader, struct partition *partition);
void reader_bounds_here(struct reader *reader, struct partition *partition);
/* NULL: out of memory, and the reader is done. */
struct reader_ask *reader_new_ask(struct reader *reader);

/* ---- reader_remote.c ----------------------------------------------------------------- */

void reader_pull(struct reader *reader, uint32_t broker_id);
void reader_watch(struct reader *reader, uint32_t broker_id);

#endif
