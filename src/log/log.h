/*
 * The log of one replica: segments (a log file of entries, an index file of
 * rows), hard state, snapshot, recovery, retention's mechanics. Formats stand at
 * the heads of entry.c, index.c, segment.c, hard_state.c and snapshot.c.
 *
 * The log decides nothing by itself and owns no thread. Its owner (the partition
 * actor) calls it on one thread at a time; what blocks for long (datasync,
 * preparing, rolling, deleting, writing snapshots) comes out as a `struct
 * log_job`, is run elsewhere by log_job_run(), and comes back to log_job_done().
 * At most one job of each lane is out at a time.
 *
 * It must never: cut what may be acknowledged, retry after a failed datasync,
 * report as flushed what is not on disk, touch a range that a reader may map.
 */
#ifndef KQ_LOG_LOG_H
#define KQ_LOG_LOG_H

#include "base/account.h"
#include "base/bytes.h"
#include "base/err.h"
#include "base/uuid.h"
#include "log/batch.h"
#include "log/io.h"

#include <stdatomic.h>
#include <stdint.h>
#include <sys/uio.h>

struct log;
struct log_view;
struct log_slice;

enum { LOG_VOTERS_MAX = 16 };

/* One voter or learner: a broker and the incarnation of its replica. */
struct log_voter {
    uint32_t broker_id;
    struct uuid incarnation;
};

struct log_hard_state {
    uint64_t version; /* of this state; grows with each write */
    uint64_t term;
    uint32_t vote_broker_id; /* 0: none in this term */
    struct uuid vote_incarnation;
    uint64_t commit_idx;     /* a hint: at least this is committed */
    struct uuid topic_id;    /* set at creation */
    struct uuid incarnation; /* of this replica; set at creation */
    uint32_t partition;
    /* The machine's boot in which this replica last wrote with interval flushing;
     * zero: it flushes always. Without a clean mark and in another boot, what was
     * acknowledged in the last interval may be gone. */
    struct uuid boot_id;
    uint32_t voter_count; /* the configuration the group was created with; 0: joins one, member of nothing yet */
    struct log_voter voters[LOG_VOTERS_MAX];
};

enum log_entry_type {
    LOG_ENTRY_RECORDS = 1,   /* body: record batches */
    LOG_ENTRY_NOOP = 2,      /* opens a term; body empty */
    LOG_ENTRY_CONFIG = 3,    /* body: configuration */
    LOG_ENTRY_LOG_START = 4, /* body: le64 new log start offset */
};

/* Counts that the bench and INFO print; bumped relaxed. */
struct log_counters {
    _Atomic uint64_t fsyncs;         /* datasyncs, directory syncs, syncs inside zero() */
    _Atomic uint64_t writes;         /* pwritev calls of entries */
    _Atomic uint64_t written_bytes;  /* by those */
    _Atomic uint64_t copied_bytes;   /* copies made on the way to the file */
    _Atomic uint64_t prepared_bytes; /* zeroed ahead, or reserved */
    _Atomic uint64_t zeroed_bytes;   /* of those */
    _Atomic uint64_t pieces;         /* written out before their fsync */
    _Atomic uint64_t recovery_read_bytes;
    _Atomic uint64_t scrubbed_bytes;
};

/* ---- opening --------------------------------------------------------------------- */

struct log_options {
    struct io *io;
    const char *dir;   /* the replica's folder; copied */
    const char *title; /* "topic-3", for messages; copied */
    struct uuid topic_id;
    uint32_t partition;
    uint64_t segment_bytes;
    uint32_t prepare_min_bytes;
    uint32_t prepare_max_bytes;
    struct account *prepare_budget; /* shared by a data directory; may be NULL */
    int64_t mark_delay_us;          /* how long after the last flush the mark is written */
    bool needs_state;               /* entries are deleted only when a state at or past them is stored: a machine's */
    struct log_counters *counters;  /* shared by all logs; may be NULL */
    /* As a peer has told them to log_read, all of log_report.tail: take the place of what is damaged there, if
     * they are what stood there by all that is left around them. Borrowed by log_open. */
    const struct log_slice *tail;
    uint32_t tail_count;
};

/* Entries that do not check out or cannot be read, as few as can be verified once others' bytes
 * for them are here. */
struct log_damage {
    uint64_t first_idx;
    uint64_t last_idx;
    bool sealed; /* false: in the active segment; log_force_roll first */
};

/* What opening found, for the operator's log. */
struct log_report {
    bool created;           /* the folder was empty */
    bool clean;             /* it was closed well, or was made now: nothing that was written is missing */
    uint64_t scanned_bytes; /* read of unsealed tails */
    uint64_t cut_bytes;     /* torn tail removed */
    uint32_t segments;
    uint32_t rebuilt_indexes;
    /* KQ_CORRUPT: what others' entries, given in log_options.tail of another try, can mend; first_idx 0: nothing */
    struct log_damage tail;
};

/* Owner's thread; blocks on the disk. Creates the replica if the folder has no
 * hard state (makes the folder, writes the hard state given in `create`, syncs
 * folder and parent), else recovers it. When it returns KQ_OK everything up to
 * log_last_idx() is durable.
 * KQ_CORRUPT: acknowledged data may be damaged; *fault names file, position and
 * what `kafkaesque log repair` would do; nothing was changed on disk but where damage was,
 * with options->tail.
 * KQ_BAD_VERSION, KQ_IO, KQ_NO_SPACE, KQ_READ_ONLY: as named, with file. */
enum kq_err log_open(struct log **log, const struct log_options *options, const struct log_hard_state *create,
                     struct log_report *report, struct fault *fault);

/* Owner's thread; blocks; no job may be out. Flushes, and if all went well writes
 * the clean mark and, when the unsealed tail is long and all of it committed, a
 * snapshot with this state (as in log_roll_state; may be NULL/0), so that the next
 * start scans nothing.
 * After a failure it only frees. *log becomes NULL. */
void log_close(struct log **log, const void *state, size_t state_bytes);

/* ---- what is in it (owner's thread) ------------------------------------------- */

const struct log_hard_state *log_hard_state(const struct log *log);
uint64_t log_first_idx(const struct log *log); /* first idx present, or last + 1 when empty */
uint64_t log_last_idx(const struct log *log);  /* 0: nothing was ever appended */
uint64_t log_last_term(const struct log *log);
uint64_t log_flushed_idx(const struct log *log);
int64_t log_next_off(const struct log *log);     /* offset of the next record */
int64_t log_start_off(const struct log *log);    /* as last set by log_set_start */
int64_t log_unsealed_off(const struct log *log); /* base offset of the segment that grows */
uint64_t log_size_bytes(const struct log *log);  /* of entries in all segments */
/* Term of the entry at idx; 0: not known (before the log, or past its end). */
uint64_t log_term_at(const struct log *log, uint64_t idx);
/* Last offset + 1 of the records up to idx (idx in [first - 1, last]). */
int64_t log_end_off_at(const struct log *log, uint64_t idx);
/* The newest opaque state stored with the log (snapshot, footer or clean mark)
 * and the idx it stands at (0 and size 0: none). Borrowed until the next append. */
const void *log_stored_state(const struct log *log, size_t *size_bytes, uint64_t *at_idx);
/* The newest of all stored states that stands at or below max_idx; blocks on the
 * disk. KQ_OK: *state (NULL: none, *at_idx 0) is the caller's, free(3). KQ_IO,
 * KQ_NO_MEMORY: with *fault. One that does not check out is passed over. */
enum kq_err log_stored_state_at(const struct log *log, uint64_t max_idx, void **state, size_t *size_bytes,
                                uint64_t *at_idx, struct fault *fault);

/* ---- what consensus asks (owner's thread; committed or not) ------------------------- */

/* Entries of one term, in a row. */
struct log_range {
    uint64_t first_idx;
    uint64_t last_idx;
    uint64_t term;
    uint64_t bytes; /* of the entries as they stand in the file, heads included */
};

/* What of the entries from first_idx on to send at once: at most to last_idx, of
 * one term, up to and with the first CONFIG entry, and of at most limit_bytes (the
 * first entry whatever its size). From the index alone. KQ_NOT_FOUND: first_idx is
 * not in the log. KQ_CORRUPT: the entry at first_idx is damaged. KQ_IO. */
enum kq_err log_plan(struct log *log, uint64_t first_idx, uint64_t last_idx, uint64_t limit_bytes,
                     struct log_range *range);

/* A term and the first entry that has it here. */
struct log_run {
    uint64_t term;
    uint64_t first_idx;
};

/* The newest `max` runs of terms, oldest first; returns how many. The oldest one of
 * the log begins with log_first_idx(). */
uint32_t log_term_runs(const struct log *log, struct log_run *runs, uint32_t max);
/* The last index up to which all entries after idx, and none after last_idx, are of
 * this term; idx: not even the first. */
uint64_t log_same_term_until(const struct log *log, uint64_t idx, uint64_t term, uint64_t last_idx);

/* ---- appending (owner's thread) ------------------------------------------------ */

struct log_entry {
    enum log_entry_type type;
    uint64_t term;
    uint64_t idx;      /* must be log_last_idx() + 1 */
    int64_t first_off; /* must be log_next_off() */
    uint32_t record_count;
    int64_t max_time_ms; /* largest in the body; -1: none */
    struct iovec *body;  /* batches already placed (base offset, leader epoch) */
    int body_count;
    uint32_t body_bytes;
    /* CRC-32C of the whole body from 0, unseeded, if the caller has it from
     * combining batch checksums; the log seeds it. Else it is computed here. */
    bool has_body_crc;
    uint32_t body_crc;
    /* Committed long before and filled in: nobody waits for it, and much more may follow. Space
     * for more is reserved and not zeroed, and what is flushed leaves in pieces that let others
     * who flush pass, unless more comes than the disk takes in that way. */
    bool old;
};

/* Is there room for an entry with this body? KQ_OK: the next log_append of it can
 * fail by an I/O error only. KQ_AGAIN: it needs prepared space or a new segment;
 * take the next LOG_LANE_KEEP job and ask again when log_job_done says `space`.
 * KQ_NO_SPACE: the last attempt to prepare met a full disk (said once; asking
 * again prepares anew). Entries other than RECORDS may use a small reserve that
 * RECORDS may not, so that retention can free a full disk. */
enum kq_err log_make_room(struct log *log, enum log_entry_type type, uint32_t body_bytes);

/* Writes an entry for which log_make_room said KQ_OK (room for a larger body, or
 * for several together, will do). KQ_OK: written, not durable. Anything else: the
 * log has failed for good; stop the replica. */
enum kq_err log_append(struct log *log, const struct log_entry *entry);

/* The state (producers, machine) as of the last append, to go into the footer
 * when the segment is sealed: asked for each time before log_next_job, given once
 * when it says true. Copied. */
bool log_wants_roll_state(const struct log *log);
void log_roll_state(struct log *log, const void *state, size_t state_bytes);

/* Owner's thread. Persist this hard state (version is assigned, and returned);
 * goes out as a LOG_LANE_FLUSH job before any later flush. */
uint64_t log_set_hard_state(struct log *log, const struct log_hard_state *state);

/* Owner's thread. What is committed; readers see it at once. Marks carry it. */
void log_set_commit(struct log *log, uint64_t commit_idx);

/* Owner's thread, when a LOG_START entry is committed. Readers see it at once;
 * whole segments below it are deleted by LOG_LANE_KEEP jobs; with needs_state once a
 * snapshot or footer state at or past their end is durable. */
void log_set_start(struct log *log, int64_t start_off);

/* Owner's thread. Where retention would put the log start now: the base offset
 * of the oldest segment to keep, by total size (limit_bytes < 0: no limit) and by
 * age (keep_ms < 0: no limit; a segment goes when its newest record is older).
 * The unsealed segment counts as a whole; when even it is too old, *roll is set
 * (call log_force_roll). Never beyond the commit. *next_ms: when to ask again
 * for age (wall clock; INT64_MAX: never). */
int64_t log_retention_start(const struct log *log, int64_t limit_bytes, int64_t keep_ms, int64_t now_ms, bool *roll,
                            int64_t *next_ms);
/* The next append begins a new segment (if the present one has a record). */
void log_force_roll(struct log *log);

/* Owner's thread. Store a machine's snapshot: state at applied (committed) idx, durable
 * through a LOG_LANE_KEEP job; entries at or below idx may then go (the start
 * moves by log_set_start as ever). Copied. KQ_AGAIN: one is on its way, or a reset, or
 * idx is above the commit: what may yet be cut is not kept. */
enum kq_err log_store_snapshot(struct log *log, uint64_t idx, const void *state, size_t state_bytes);

/* ---- cutting (owner's thread) ---------------------------------------------------- */

/* Removes the entries from from_idx on, which must be there and above the commit.
 * They are gone at once for all that is asked above; on the disk with a
 * LOG_LANE_FLUSH job, which begins once no job of the other lane is out (and no
 * such job goes out before it is done). Until then log_make_room says KQ_AGAIN;
 * log_job_done then says `space`, `view_changed`, and `flushed` with the new end and
 * `cuts`. Whatever a flush that began before finds durable is not news any more. A
 * crash meanwhile leaves the log as it was or as it is to be. Else than KQ_OK: the
 * log has failed for good; only its numbers are those of the cut. */
enum kq_err log_truncate(struct log *log, uint64_t from_idx);

/* Where a log begins anew. */
struct log_reset_to {
    uint64_t prev_idx; /* above the commit: the last entry that is not to come */
    uint64_t prev_term;
    int64_t next_off;  /* of the first record after it */
    int64_t start_off; /* at most next_off; as nothing stands before that, it is where the log starts */
    const void *state; /* as of prev_idx; copied; may be NULL/0 */
    size_t state_bytes;
};

/* Drops everything and begins anew behind prev_idx, which is committed (readers see
 * it when the job is done). As log_truncate else: at once for the owner; by a
 * LOG_LANE_FLUSH job on the disk, the new start durable before anything of the old
 * goes; `flushed` then tells prev_idx, prev_term. KQ_NO_MEMORY: nothing was done.
 * On a full disk log_done says KQ_NO_SPACE, and it is tried again after a while. */
enum kq_err log_reset(struct log *log, const struct log_reset_to *to);

/* Truncations and resets since the log was opened. */
uint64_t log_cuts(const struct log *log);

/* ---- damage, and what others have in its place (owner's thread) --------------------- */

/* The lowest damage at or above from_idx that a reader, a scrubber or log_read has met
 * (they say KQ_CORRUPT or KQ_IO meanwhile); checked again first, which may read the
 * disk. False: there is none. What is met while too much is known already is known
 * when it is met again. */
bool log_next_damage(struct log *log, uint64_t from_idx, struct log_damage *damage);

/* Writes entries again that a peer has given: consecutive, as log_read tells them
 * there, first_idx to last_idx of a damage. Verified now: the bodies against the
 * body_crc that the peer found with them, and all against what checks out around them
 * here: place, lengths, offsets, terms, and the checksums in heads that are left;
 * copied; written in place and read back from the disk by a LOG_LANE_KEEP job, after
 * which log_done tells `repaired_idx` and readers are served again. May be done twice.
 * KQ_INVALID: these are not the entries that stood here, or not all that are needed;
 * *fault says more. KQ_NOT_FOUND: not in a sealed segment. KQ_AGAIN: one is on its way,
 * or a cut. KQ_IO, KQ_NO_MEMORY. A cut forgets a repair that has not begun. */
enum kq_err log_repair(struct log *log, const struct log_slice *entries, uint32_t count, struct fault *fault);

/* New limit for segments to come. */
void log_set_segment_bytes(struct log *log, uint64_t segment_bytes);

/* ---- jobs --------------------------------------------------------------------------- */

enum log_lane { LOG_LANE_FLUSH, LOG_LANE_KEEP, LOG_LANE_COUNT };

struct log_job; /* lives in the log; valid until log_job_done */

/* Owner's thread, after each turn. The next job of this lane to hand out, or
 * NULL: none is due, or one is out already. FLUSH: hard state, datasync, mark.
 * KEEP: prepare, roll, snapshot, delete, unmap. now_us: CLOCK_MONOTONIC. */
struct log_job *log_next_job(struct log *log, enum log_lane lane, int64_t now_us);
/* Owner's thread. When log_next_job should be asked again though nothing
 * happened (the mark's delay); CLOCK_NEVER: not. */
int64_t log_next_deadline_us(const struct log *log);
/* A flusher or keeper thread; blocks. A flush covers everything appended before
 * it begins to run, not only before it was handed out. */
void log_job_run(struct log_job *job);

struct log_done {
    enum kq_err err; /* not KQ_OK nor KQ_NO_SPACE: the log has failed for good */
    struct fault fault;
    bool flushed; /* flushed_term and flushed_idx are news */
    uint64_t flushed_term;
    uint64_t flushed_idx;
    uint64_t cuts;               /* log_cuts() when this flush began: for `flushed` */
    uint64_t hard_state_version; /* durable now; 0: no news */
    bool space;                  /* a waiting append may be tried again */
    bool view_changed;           /* segments came or went: take a new view */
    uint64_t repaired_idx;       /* the last entry of a repair that has run; 0: none has */
    enum kq_err repair_err;      /* of that: not KQ_OK: still damaged; not an error of the log */
};
/* Owner's thread, with the job that has run. */
void log_job_done(struct log *log, struct log_job *job, struct log_done *done);

/* ---- reading (any thread, through a view) ------------------------------------------- */

/* Owner's thread. The segments as they are now, with one reference for the caller. */
struct log_view *log_view_take(struct log *log);
/* Any thread. */
struct log_view *log_view_hold(struct log_view *view);
void log_view_drop(struct log_view **view); /* the last one lets go of its segments */

/* Any thread. Live numbers (they move on while a view is held). */
int64_t log_view_high_watermark(const struct log_view *view); /* offset after the last committed record */
int64_t log_view_start_off(const struct log_view *view);
/* Any thread. Whether there may be something for log_next_damage. */
bool log_view_has_damage(const struct log_view *view);

struct log_iter {
    struct log_view *view; /* borrowed */
    uint32_t segment;
    uint64_t idx;
    uint64_t end_idx; /* read up to here, committed or not; 0: to the commit */
};

/* An entry, borrowed from the mapping while the view is held. */
struct log_slice {
    enum log_entry_type type;
    uint64_t term;
    uint64_t idx;
    int64_t first_off;
    uint32_t record_count;
    int64_t max_time_ms; /* filled in by log_read alone; -1: none */
    uint32_t body_crc;   /* as in its head: of the body at its place, the same on every replica */
    const uint8_t *body;
    uint32_t body_bytes;
};

/* Owner's thread. The entry at idx, committed or not; its body is copied into *body
 * (emptied first), where the slice points. KQ_NOT_FOUND: not in the log. KQ_CORRUPT:
 * damaged, or given up by a repair. KQ_IO, KQ_NO_MEMORY. All but NOT_FOUND: with
 * *fault. */
enum kq_err log_read(struct log *log, uint64_t idx, struct log_slice *slice, struct buf *body, struct fault *fault);

/* Any thread. Stands before the first committed entry that holds off or a later
 * record. KQ_OFFSET_OUT_OF_RANGE: below the log start or past the high
 * watermark (at it is fine: the next read says KQ_EOF). KQ_AGAIN: the view is
 * older than what is asked; take a new one. */
enum kq_err log_iter_seek(struct log_iter *it, struct log_view *view, int64_t off);
enum kq_err log_iter_seek_idx(struct log_iter *it, struct log_view *view, uint64_t idx);
/* Owner's thread, with a view taken since the last change of segments. As
 * log_iter_seek_idx, and log_iter_next goes on to what is now log_last_idx(). */
enum kq_err log_iter_seek_uncommitted(struct log_iter *it, const struct log *log, struct log_view *view, uint64_t idx);
/* Any thread. The next committed entry of any type, checked against its checksum
 * unless that was done since the segment was opened. KQ_EOF: at the commit.
 * KQ_AGAIN: goes on in a segment that this view does not have; take a new view
 * and seek. KQ_CORRUPT, KQ_IO: this entry's range is out of service; *fault says
 * which file, position and offsets. */
enum kq_err log_iter_next(struct log_iter *it, struct log_slice *slice, struct fault *fault);
/* Any thread. The first offset whose record is at or after time_ms (by the index
 * and the batch headers) and its time; the high watermark and -1 if none. Of compressed batches:
 * the batch's first offset, and its largest time. */
enum kq_err log_view_find_time(struct log_view *view, int64_t time_ms, int64_t *off, int64_t *found_ms,
                               struct fault *fault);
/* Any thread. The largest time of any record up to the commit; -1: there is none. KQ_AGAIN as
 * log_iter_next. */
enum kq_err log_view_max_time(struct log_view *view, int64_t *max_ms, struct fault *fault);
/* Keeper thread. Checks the next bytes of sealed segments (at most limit_bytes)
 * from *cursor (0 to begin), up to the commit; *done when once round. Damage is reported in *fault
 * and takes that range out of service. */
enum kq_err log_view_scrub(struct log_view *view, uint64_t *cursor, uint64_t limit_bytes, bool *done,
                           struct fault *fault);

#endif
