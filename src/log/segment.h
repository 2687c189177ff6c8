/*
 * A segment: a log file of entries and its index file, named by their first
 * offset in 20 digits. Private to src/log.
 *
 * Who may touch what: `file`, the growing end and the seal belong to the log's
 * owner (or to its one job, while that is out); readers on any thread see what
 * lies below end_idx and the commit. What seals a segment is written before
 * end_idx is released, and never changes again. Opening for reading is lazy,
 * under `lock`, and published by `ready` and `map`; mappings never move and live
 * as long as the segment.
 */
#ifndef KQ_LOG_SEGMENT_H
#define KQ_LOG_SEGMENT_H

#include "log/entry.h"
#include "log/footer.h"
#include "log/index.h"
#include "log/log.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum {
    SEGMENT_HEAD_BYTES = 4096, /* the first entry begins here */
    SEGMENT_NAME_DIGITS = 20,
    SEGMENT_PATH_BYTES = 2048,
    SEGMENT_BIT_CHUNKS = 64,
    SEGMENT_CHUNK_BITS = 32768,
    SEGMENT_TAG = 0x5e95e95e,
    PAGE_BYTES = 4096,
    PLACE_DAMAGE_MAX = 64,
};

#define SEGMENT_END_OPEN UINT64_MAX

/* What all segments and views of one log share; refcounted, as they may outlive
 * the log. */
struct place {
    _Atomic uint32_t refs;
    struct io *io;
    struct log_counters *counters; /* may be NULL */
    struct entry_seed seed;
    struct uuid topic_id;
    uint32_t partition;
    uint64_t read_map_bytes; /* of an active segment's log file, to begin with */
    _Atomic uint64_t commit_idx;
    _Atomic int64_t high_watermark;
    _Atomic int64_t start_off;
    _Atomic uint64_t generation; /* grows, before any commit that follows, when segments were cut: older views are
                                  * of no use any more */
    _Atomic bool heads_bad;      /* some segment has head_bad */
    pthread_mutex_t damage_lock;
    _Atomic uint32_t damage_count;
    uint64_t damage[PLACE_DAMAGE_MAX]; /* idxs of entries met damaged, ascending */
    char *title;
    char dir[];
};

/* NULL: out of memory. The seed is to be set once the incarnation is known. */
struct place *place_new(struct io *io, const char *dir, const char *title, const struct uuid *topic_id,
                        uint32_t partition);
struct place *place_hold(struct place *p);
void place_drop(struct place *p);
#define PLACE_COUNT(place, counter, n)                                                                                 \
    ((place)->counters != NULL                                                                                         \
         ? (void)atomic_fetch_add_explicit(&(place)->counters->counter, (n), memory_order_relaxed)                     \
         : (void)0)
/* Any thread. Keeps in mind that the entry is damaged, or no longer. */
void place_note_damage(struct place *p, uint64_t idx);
void place_forget_damage(struct place *p, uint64_t first_idx, uint64_t last_idx);
/* Any thread. The lowest one noted at or above from_idx; 0: none. */
uint64_t place_damage(struct place *p, uint64_t from_idx);
/* One datasync or directory sync, counted. */
enum kq_err place_datasync(struct place *p, struct io_file *file);
enum kq_err place_sync_dir(struct place *p);
/* "dir/name" into path. */
void place_path(const struct place *p, const char *name, char path[SEGMENT_PATH_BYTES]);
/* "dir/%020lld.suffix" into path. */
void place_segment_path(const struct place *p, int64_t first_off, const char *suffix, char path[SEGMENT_PATH_BYTES]);

struct segment_map {
    struct segment_map *older;
    const uint8_t *data;
    size_t size_bytes;
};

struct segment {
    uint32_t tag;
    _Atomic uint32_t refs;
    struct place *place;
    int64_t first_off;
    uint64_t first_idx;
    uint64_t prev_term; /* of the entry before first_idx */
    uint32_t prev_crc;

    /* From the seal on. */
    _Atomic uint64_t end_idx; /* the first idx after it; SEGMENT_END_OPEN: active */
    int64_t end_off;
    int64_t max_time_ms;
    uint64_t end_pos; /* where the entries end */
    uint32_t last_crc;
    uint32_t index_crc;
    struct term_run *runs;
    uint32_t run_count;
    uint64_t state_bytes; /* in its footer */
    uint64_t state_pos;

    /* The owner's. */
    struct io_file *file;
    bool state_bad; /* what its footer has of a state cannot be read */

    /* Reading. */
    pthread_mutex_t lock;  /* opening only; never held while another waits for a disk of its own */
    _Atomic bool ready;    /* the index is open */
    _Atomic bool used;     /* read since the owner last looked */
    _Atomic bool told;     /* the operator knows of damage in it */
    _Atomic bool head_bad; /* met since the owner last looked (heal_head.c) */
    struct index index;
    uint64_t check_rows; /* an active segment after a clean start: rows that index_crc covers */
    size_t index_map_bytes;
    _Atomic(struct segment_map *) map;
    _Atomic(_Atomic uint64_t *) checked[SEGMENT_BIT_CHUNKS];
};

/* Owner's thread. What was checked of the entries from idx on is to be checked again. */
void segment_forget_checks(struct segment *s, uint64_t idx);

/* Any thread. NULL: out of memory. Holds place. */
struct segment *segment_new(struct place *place, int64_t first_off, uint64_t first_idx);
struct segment *segment_hold(struct segment *s);
void segment_drop(struct segment *s);

/* The block at the beginning of the log file (format: segment.c). */
void segment_head_encode(const struct segment *s, uint8_t block[SEGMENT_HEAD_BYTES]);
/* Fills first_off, first_idx, prev_term and prev_crc of s. KQ_CORRUPT, KQ_BAD_VERSION. */
enum kq_err segment_head_decode(struct segment *s, const uint8_t block[SEGMENT_HEAD_BYTES]);

/* Any thread. Keeps in mind that the head on the disk does not check out. */
void segment_note_head(struct segment *s);

/* Owner's thread. What the footer says, into the segment (takes f->runs). */
void segment_seal(struct segment *s, struct footer *f);

/* Owner's thread. A sealed segment anew, with nothing open; NULL: out of memory. */
struct segment *segment_clone(const struct segment *s);

/* Any thread; blocks. The index is open and checked (built anew if need be). */
enum kq_err segment_ready(struct segment *s, struct fault *fault);
/* Any thread; blocks. The log file is mapped for at least size_bytes. */
enum kq_err segment_map(struct segment *s, uint64_t size_bytes, const struct segment_map **map, struct fault *fault);
/* Rows [0, count) of s anew from its log file; what cannot be found is a row of
 * zeros. Any thread, on rows that nobody else sees yet. */
enum kq_err segment_build_rows(struct segment *s, uint8_t *rows, uint64_t count, uint64_t end_pos, struct fault *fault);

/* Any thread, after segment_ready, idx below what is published. */
static inline struct index_row segment_row(const struct segment *s, uint64_t idx)
{
    return index_row_get(s->index.rows, idx - s->first_idx);
}

/* Any thread, after segment_ready. The entry lies wholly below the log start: nobody reads it
 * any more, and others need not have it. */
static inline bool segment_is_forgotten(const struct segment *s, uint64_t idx, int64_t start_off)
{
    uint64_t end_idx = atomic_load_explicit(&s->end_idx, memory_order_acquire);
    return end_idx != SEGMENT_END_OPEN && idx + 1 < end_idx && segment_row(s, idx + 1).first_off <= start_off;
}

/* Any thread, after segment_ready. Whether what stands before the entries is as it was written. Nothing is
 * read by it while the segment is sealed. KQ_CORRUPT: with *fault, and noted. */
enum kq_err segment_check_head(struct segment *s, struct fault *fault);

/* Any thread, after segment_ready. The entry at idx, borrowed from the mapping;
 * its body is checked unless that was done since the segment was opened (or
 * always, with anew). KQ_CORRUPT, KQ_IO: with *fault. */
enum kq_err segment_read(struct segment *s, uint64_t idx, bool anew, struct entry_head *head, const uint8_t **body,
                         struct fault *fault);

#endif
