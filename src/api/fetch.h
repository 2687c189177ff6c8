/*
 * Reading what is committed, from an offset to an end that is fixed when the
 * reading begins, in pieces of the reader's choice. There are two sources: a replica
 * here, where nothing is copied and each record is shown where it lies in the mapped
 * segment; and batches pulled from another broker, which are shown where they lie in
 * its answer.
 *
 * A fetch belongs to one thread at a time. It holds the segments it reads, so it
 * is not kept open while waiting for new records. Where to read, and what to do when a
 * leader moves, is reader.h's.
 */
#ifndef KQ_API_FETCH_H
#define KQ_API_FETCH_H

#include "api/broker.h"
#include "log/batch.h"

struct fetch {
    struct partition *partition; /* a reference; NULL: not open, or remote */
    bool remote;
    struct buf pulled;     /* remote: whole batches; empty: more is to be pulled */
    const char *title;     /* remote: for messages; borrowed */
    struct log_view *view; /* NULL: let go of, taken anew when needed */
    struct log_iter iter;
    int64_t next_off;
    int64_t end_off;
    /* Where it stands, while the view is held. */
    struct log_slice entry;
    struct cursor batches;
    struct record_walk walk;
    bool in_entry;
    bool in_batch;
    bool in_unpacked; /* the batch was compressed: `walk` runs over `unpacked` */
    struct buf unpacked;
};

enum { FETCH_FROM_START = -1 };

/* From off (FETCH_FROM_START: the log start) to the high watermark of now.
 * KQ_OFFSET_OUT_OF_RANGE names both ends. KQ_AGAIN: the partition opens; wait for
 * it (partition_wait for offset -1 is told then) and try again. KQ_PARTITION_FAILED
 * and what else the partition says. After an error it is not open. */
enum kq_err fetch_open(struct fetch *fetch, struct partition *partition, int64_t off, struct fault *fault);

static inline bool fetch_is_open(const struct fetch *fetch)
{
    return fetch->partition != NULL || fetch->remote;
}
/* From off to end_off by what fetch_feed brings. title ("topic-3") is borrowed. */
void fetch_open_remote(struct fetch *fetch, const char *title, int64_t off, int64_t end_off);
/* Takes whole batches, from next_off on: head_bytes of answer are passed over. */
void fetch_feed(struct fetch *fetch, struct buf *answer, size_t head_bytes);
/* What was read of one source is read on from another. */
void fetch_make_remote(struct fetch *fetch, const char *title);

/* Shows records from next_off on to each(context, record), until it says false
 * (which takes that record too): KQ_OK; or the end is reached: KQ_EOF; or, remote, more
 * is to be fed: KQ_AGAIN. each must hold no lock and own no memory that an early return would leak: an I/O error
 * under the mapping leaves it in the middle. *fault says which file and position
 * is out of service, or that the records cannot be read. */
enum kq_err fetch_some(struct fetch *fetch, bool (*each)(void *context, struct record *record), void *context,
                       struct fault *fault);

/* Appends whole batches from next_off on to out: the first however large, then as many as
 * make at most max_bytes. Local only. KQ_OK, KQ_EOF and as fetch_some. */
enum kq_err fetch_batches(struct fetch *fetch, struct buf *out, size_t max_bytes, struct fault *fault);

/* Whole batches where they lie: in a mapped segment that `view` keeps (a reference with each
 * piece), or, of small ones, copied into `copies` (view NULL; `at` there). */
struct fetch_piece {
    struct log_view *view;
    const uint8_t *data;
    size_t at;
    size_t size_bytes;
};
struct fetch_pieces {
    struct fetch_piece *piece;
    uint32_t count;
    uint32_t room;
    size_t size_bytes; /* of all */
    struct buf copies;
};
enum { FETCH_COPY_BELOW_BYTES = 4 * 1024 };
void fetch_pieces_init(struct fetch_pieces *pieces);
void fetch_pieces_fini(struct fetch_pieces *pieces); /* drops what was not taken out (view set to NULL) */
/* Local only. Adds whole batches from next_off on: as many as make at most max_bytes, and,
 * if first_whole and there is none yet, one however large. KQ_OK, KQ_EOF and as fetch_some. */
enum kq_err fetch_gather(struct fetch *fetch, struct fetch_pieces *pieces, size_t max_bytes, bool first_whole,
                         struct fault *fault);

/* Local only. Moves the end to the high watermark of now; true: there is more to read. */
bool fetch_extend(struct fetch *fetch);
/* Lets go of the segments; fetch_some takes them again. */
void fetch_rest(struct fetch *fetch);
void fetch_close(struct fetch *fetch);

/* Any thread. Log start and high watermark; false: not known at present. */
bool fetch_bounds(struct partition *partition, int64_t *start_off, int64_t *end_off);

#endif
