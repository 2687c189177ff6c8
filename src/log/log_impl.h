/*
 * The body of struct log, and what its files (log.c, recover.c, prepare.c, job.c,
 * retention.c, view.c) call of each other. Nobody else includes this.
 *
 * Who may touch what:
 *   the owner's thread   everything but what is named below
 *   a job while it runs  its own struct log_job, which carries copies and
 *                        references of all it needs; the folder; and, for a
 *                        flush, `tip` under tip_lock. Never another field.
 *   readers              views, segments, and the atomics of struct place
 * tip_lock is held for a few instructions only, by the owner once an append and
 * by a flush as it begins: it makes one pair of (file, last entry appended).
 */
#ifndef KQ_LOG_LOG_IMPL_H
#define KQ_LOG_LOG_IMPL_H

#include "base/account.h"
#include "base/clock.h"
#include "log/footer.h"
#include "log/hard_state.h"
#include "log/segment.h"
#include "log/snapshot.h"

#include <pthread.h>

#define SPARE_LOG_NAME "spare.log"
#define SPARE_INDEX_NAME "spare.index"
#define RESET_LOG_NAME "reset.log"
#define RESET_SNAPSHOT_NAME "reset.snapshot"

enum {
    LOG_CONTROL_RESERVE_BYTES = 4096, /* of prepared space, for entries other than RECORDS */
    LOG_ROWS_AHEAD_MIN = INDEX_GRAIN_BYTES / INDEX_ROW_BYTES,
    LOG_DIR_BYTES_MAX = SEGMENT_PATH_BYTES - 64,
    LOG_RELEASE_US = 60 * 1000000, /* a sealed segment that is not read for so long is unmapped */
    LOG_QUIET_US = 1000000,        /* after a full disk, what nobody waits for is not tried for so long */
    LOG_TAG = 0x10610610,
};

enum job_kind {
    JOB_FLUSH,
    JOB_MARK,
    JOB_CUT,
    JOB_ROLL,
    JOB_PREPARE,
    JOB_SPARE,
    JOB_SNAPSHOT,
    JOB_DELETE,
    JOB_RELEASE,
    JOB_HEAL,
    JOB_HEAL_HEAD,
};

/* Entries to be written again: heal.c. */
struct healing {
    uint64_t first_idx; /* 0: none waits */
    uint64_t last_idx;
    uint64_t pos;
    uint8_t *bytes; /* owned */
    size_t size_bytes;
};

struct log_job {
    struct log *log; /* for tip alone */
    enum log_lane lane;
    enum job_kind kind;
    bool out;
    struct place *place;
    struct account *budget;
    enum kq_err err;
    struct fault fault;

    uint64_t cuts; /* of the log when the job was handed out */

    /* FLUSH, MARK, CUT */
    bool has_state;
    bool state_saved; /* out */
    struct log_hard_state state;
    struct log_mark mark;
    uint64_t flushed_idx; /* in: before; out: now */
    uint64_t flushed_term;
    bool sync_dir_first;
    bool gently; /* FLUSH: written out in pieces, from from_pos on */
    uint64_t from_pos;

    /* ROLL, PREPARE, SPARE, SNAPSHOT, DELETE */
    struct segment *segment; /* held: to seal, to prepare, to delete */
    struct segment *next;    /* ROLL: the new one, the job's until done */
    struct io_file *file;    /* PREPARE: opened here if the segment has none */
    struct footer footer;    /* ROLL */
    void *blob;              /* a state: owned */
    size_t blob_bytes;
    uint64_t blob_idx;
    bool have_spare;       /* in and out */
    bool state_bad;        /* out, DELETE: the state that was to be kept cannot be read; nothing was done */
    bool trimmed;          /* ROLL failed after it had cut the prepared tail */
    uint64_t prepared_pos; /* in and out */
    uint64_t want_bytes;   /* to prepare */
    bool reserve;          /* not zeroed */
    uint64_t need_bytes;   /* what a waiting append needs of it; 0: nobody waits */
    uint64_t taken_bytes;  /* out: from the budget */
    uint64_t spare_bytes;  /* in and out: prepared behind the head of the spare */
    uint64_t rows;         /* in: allocated; out: now */
    uint64_t want_rows;
    size_t index_map_bytes;

    /* CUT. TRUNCATE: `segment` is the last to stay, whole or cut; `next` the same opened
     * anew if it was sealed. RESET: `next` is the new one, `blob` its state. */
    enum log_cut cut;
    bool whole;
    bool undecided;      /* out, RESET: no space, and nothing has changed */
    uint32_t keep_count; /* segments that stay */
    uint64_t cut_idx;
    uint64_t cut_pos;      /* out: where the entries end now */
    uint64_t written_pos;  /* in the active segment nothing but zeros stands from here on */
    uint64_t cut_term;     /* of the entry before cut_idx */
    uint32_t cut_crc;      /* out: its body checksum */
    int64_t cut_time_ms;   /* out: the largest timestamp before it in the segment */
    uint8_t *page;         /* out: the new tail page */
    int64_t *doomed;       /* first offsets of segments to be deleted */
    uint32_t doomed_count; /* ascending */
    struct log_reset_to to;

    struct healing heal; /* HEAL, HEAL_HEAD: in `segment` */
    enum kq_err heal_err;
};

/* What the owner has cut, and the disk has not yet. */
struct pending_cut {
    enum log_cut kind;
    bool begun;             /* a job is out with it */
    uint64_t from_idx;      /* TRUNCATE */
    int64_t retry_us;       /* RESET: not before; a full disk */
    struct log_reset_to to; /* RESET; its state is owned */
    void *state;
};

struct log {
    uint32_t tag;
    struct place *place;
    uint64_t segment_bytes;
    uint32_t prepare_min_bytes;
    uint32_t prepare_max_bytes;
    struct account *budget;
    int64_t mark_delay_us;
    bool needs_state;

    struct log_hard_state state;
    bool state_dirty;
    bool dir_unsynced; /* opened, not created: its names may not be durable yet */

    struct segment **segments; /* ascending, each held; the last may be active */
    uint32_t segment_count;
    uint32_t segment_cap;
    uint64_t sealed_bytes; /* of entries in all but the active one */
    bool active;           /* the last segment takes entries */

    uint64_t last_idx;
    uint64_t last_term;
    uint32_t last_crc;
    int64_t next_off;
    uint64_t flushed_idx;
    uint64_t flushed_term;
    uint64_t told_flushed_idx; /* at a start: what the mark and the entries say of the last segment; 0: nothing */
    uint64_t cuts;
    struct pending_cut cut; /* while there is one, last_idx, last_term, next_off and what is flushed tell of the log
                             * after it; the segments and the end of the active one, of the log before it */

    /* The active segment's end. */
    uint64_t write_pos;
    uint64_t prepared_pos;
    uint64_t dirty_pos; /* a roll that was undone may have left bytes up to here */
    uint64_t rows;      /* allocated in its index */
    bool tail_closed;   /* since a clean start its file has not grown: as long as the clean mark fits, nothing may
                         * be appended */
    int64_t max_time_ms;
    bool old;              /* the last entry was filled in */
    uint64_t sent_pos;     /* up to here of the active segment the last flush covered */
    int64_t flush_us;      /* when it was handed out, */
    int64_t flush_over_us; /* and when it was first known to be over */
    bool flush_ended;      /* since the last look at the time */
    uint8_t *tail_page;    /* what stands in the page of write_pos, before it */
    uint64_t budget_held;

    bool want_roll;
    bool force_roll;
    bool has_roll_state;
    void *roll_state;
    size_t roll_state_bytes;
    uint64_t need_bytes; /* a waiting append needs so much */
    bool no_space;
    bool have_spare;
    uint64_t spare_bytes;
    uint32_t step_bytes;
    int64_t step_us; /* when it was last asked for */
    int64_t quiet_until_us;
    int64_t release_us; /* when to look next for segments that nobody reads */
    int64_t now_us;     /* as of the last log_next_job */

    void *stored; /* newest stored state, until the first append */
    size_t stored_bytes;
    uint64_t stored_idx;          /* of the newest stored state */
    const struct log_slice *tail; /* at a start, as in log_options */
    uint32_t tail_count;
    bool cut_state;    /* at a start: the footer that was cut had a state of which not all is there */
    uint64_t kept_idx; /* a snapshot holds the state at this idx (0: none) */
    void *snapshot;    /* waiting to be stored */
    size_t snapshot_bytes;
    uint64_t snapshot_idx;
    bool snapshot_waits;

    struct healing heal; /* waits for its job */

    uint64_t marked_idx;
    int64_t mark_due_us; /* CLOCK_NEVER: none */
    int64_t mark_time_us;

    struct log_view *view; /* the present one, or NULL */
    bool failed;
    struct fault fault;

    pthread_mutex_t tip_lock;
    struct {
        struct segment *segment;
        uint64_t idx;
        uint64_t term;
        uint64_t end_pos;
    } tip;

    struct log_job *jobs[LOG_LANE_COUNT]; /* made when first needed: an idle empty log has none */
};

struct log_view {
    uint32_t tag;
    _Atomic uint32_t refs;
    struct place *place;
    uint64_t generation;
    uint32_t count;
    struct segment *segments[];
};

static inline uint64_t page_up(uint64_t pos)
{
    return (pos + PAGE_BYTES - 1) & ~(uint64_t)(PAGE_BYTES - 1);
}

/* NULL: none takes entries. */
static inline struct segment *log_active(const struct log *log)
{
    return log->active ? log->segments[log->segment_count - 1] : NULL;
}

static inline bool log_job_is_out(const struct log *log, enum log_lane lane)
{
    return log->jobs[lane] != NULL && log->jobs[lane]->out;
}

static inline bool log_is_resetting(const struct log *log)
{
    return log->cut.kind == LOG_CUT_RESET;
}

/* log.c */
bool log_add_segment(struct log *log, struct segment *s); /* takes s; false: out of memory, s is the caller's */
void log_free(struct log *log);
void log_fail(struct log *log, const struct fault *fault);
struct segment *log_segment_of(const struct log *log, uint64_t idx); /* NULL: none */
void log_fill_mark(const struct log *log, struct log_mark *mark);
/* The largest index file of a segment, as its mapping is made. */
size_t log_index_map_bytes(uint64_t segment_bytes);
/* The tail page from the file, after opening. */
enum kq_err log_load_tail(struct log *log, struct fault *fault);

/* prepare.c: bodies of jobs */
/* What a flush is to cover, and how: for the job that was just begun. */
void flush_plan(struct log *log, struct log_job *job, int64_t now_us);
void job_run_flush(struct log_job *job);
void job_run_roll(struct log_job *job);
void job_run_prepare(struct log_job *job);
void job_run_spare(struct log_job *job);
void spare_remove(struct place *place);

/* job.c */
struct log_job *job_begin(struct log *log, enum log_lane lane, enum job_kind kind);
/* The hard state that goes with the job, from the log. */
void job_take_state(struct log *log, struct log_job *job);
/* Body: makes it durable, if there is one. False: job->err. */
bool job_save_state(struct log_job *job);

/* cut.c */
struct log_job *cut_begin(struct log *log); /* NULL: out of memory, or it waits for space */
void cut_done(struct log *log, struct log_job *job, struct log_done *done);

/* cut_run.c */
void job_run_cut(struct log_job *job);
/* Also for recovery, each safe to be cut off and done again. Blocks. */
enum kq_err cut_delete(struct place *p, const int64_t *offs, uint32_t count, struct fault *fault);
enum kq_err cut_finish_reset(struct place *p, int64_t first_off, struct fault *fault);

/* heal.c */
void heal_forget(struct healing *heal);
struct log_job *heal_begin(struct log *log); /* NULL: its segment is gone */
void job_run_heal(struct log_job *job);
void heal_done(struct log *log, struct log_job *job, struct log_done *done);

/* heal_head.c */
struct log_job *heal_head_begin(struct log *log); /* NULL: none waits */
void heal_head_done(const struct log_job *job);

/* retention.c */
bool log_deletable(const struct log *log);              /* the oldest segment may go */
bool log_state_goes_with_first(const struct log *log);  /* its footer has the newest stored state */
uint64_t log_committed_at_least(const struct log *log); /* by what has been deleted and stored */
void job_run_delete(struct log_job *job);

/* view.c */
void log_view_forget(struct log *log); /* segments came or went: the next view is made anew, sizes are added up */

#endif
