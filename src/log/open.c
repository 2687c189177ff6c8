/*
 * Making a replica, opening it (recover.c has the rules for its segments), and
 * closing it well.
 *
 * A folder is durable in its parent before it has a hard state; the hard state is
 * whole before it has its name. What a dead process left in memory alone is made
 * durable before anyone builds on it. The clean mark is the last thing that a
 * close writes, and only if all before it went well.
 */
#include "log/recover.h"

#include "base/logger.h"
#include "base/require.h"

#include <stdlib.h>
#include <string.h>

/* No broker has this id: a vote that is given, and to nobody. */
#define VOTE_OF_NOBODY UINT32_MAX

static enum kq_err cannot(struct fault *fault, enum kq_err err, const char *doing, const char *path)
{
    return fault_set(fault, err, "%s %s: %s", doing, path, err_text(err));
}

/* ---- making a replica ---------------------------------------------------------------- */

static enum kq_err sync_parent(struct place *p, struct fault *fault)
{
    char parent[SEGMENT_PATH_BYTES];
    size_t length = strlen(p->dir);
    while (length > 1 && p->dir[length - 1] == '/')
        length--;
    while (length > 0 && p->dir[length - 1] != '/')
        length--;
    memcpy(parent, p->dir, length);
    if (length == 0)
        parent[length++] = '.';
    parent[length] = '\0';
    PLACE_COUNT(p, fsyncs, 1);
    enum kq_err err = err_from_errno(-p->io->ops->sync_dir(p->io, parent));
    return err == KQ_OK ? KQ_OK : cannot(fault, err, "syncing", parent);
}

/* The folder, and all that was named in its parent before, is durable there before
 * it has a hard state: a folder with a hard state needs no such sync when it is
 * opened again. The parent is synced after the file, which has the file system
 * write both at once. */
static enum kq_err create_replica(struct log *log, const struct log_hard_state *create, bool have_folder,
                                  struct fault *fault)
{
    struct place *p = log->place;
    REQUIRE(create != NULL);
    enum kq_err err = have_folder ? KQ_OK : err_from_errno(-p->io->ops->mkdir(p->io, p->dir));
    if (err != KQ_OK)
        return cannot(fault, err, "making", p->dir);
    log->state = *create;
    log->state.version = 1;
    log->state.topic_id = p->topic_id;
    log->state.partition = p->partition;
    PLACE_COUNT(p, fsyncs, 1);
    err = hard_state_prepare(p->io, p->dir, &log->state, fault);
    if (err == KQ_OK)
        err = sync_parent(p, fault);
    if (err == KQ_OK)
        err = hard_state_name(p->io, p->dir, fault);
    if (err != KQ_OK)
        return err;
    err = place_sync_dir(p);
    return err == KQ_OK ? KQ_OK : cannot(fault, err, "syncing", p->dir);
}

static void remove_leftovers(struct place *p, const struct folder *f)
{
    char path[SEGMENT_PATH_BYTES];
    static const char *const names[] = {HARD_STATE_TEMP_NAME, SNAPSHOT_TEMP_NAME, SPARE_LOG_NAME,
                                        SPARE_INDEX_NAME,     RESET_LOG_NAME,     RESET_SNAPSHOT_NAME};
    for (size_t i = 0; f->leftovers && i < sizeof names / sizeof names[0]; i++) {
        place_path(p, names[i], path);
        (void)p->io->ops->unlink(p->io, path);
    }
    for (uint32_t i = 0; i < f->indexes.count; i++) { /* of a log file that a roll never named, or that is deleted */
        if (f->logs.count > 0 &&
            bsearch(&f->indexes.at[i], f->logs.at, f->logs.count, sizeof(int64_t), offs_compare) != NULL)
            continue;
        place_segment_path(p, f->indexes.at[i], "index", path);
        (void)p->io->ops->unlink(p->io, path);
    }
}

/* ---- the stored state ------------------------------------------------------------------------ */

static enum kq_err load_state(struct log *log, const struct folder *f, struct fault *fault)
{
    struct place *p = log->place;
    bool lost = log->cut_state;
    if (f->snapshot) {
        enum kq_err err = snapshot_load(p, &log->kept_idx, &log->stored, &log->stored_bytes, fault);
        if (err == KQ_BAD_VERSION || (err != KQ_OK && log_first_idx(log) > 1))
            return err;
        if (err != KQ_OK) {
            SAY_WARNING("%s; it is not needed: the entries are all there", fault_text(fault));
            log->kept_idx = 0;
        } else if (log->kept_idx > log->last_idx) {
            return fault_set(fault, KQ_CORRUPT, "%s: the snapshot stands at entry %llu, but the log ends with %llu",
                             p->title, (unsigned long long)log->kept_idx, (unsigned long long)log->last_idx);
        }
        log->stored_idx = log->kept_idx;
    }
    for (uint32_t i = log->segment_count; i > 0; i--) {
        struct segment *s = log->segments[i - 1];
        uint64_t end_idx = atomic_load_explicit(&s->end_idx, memory_order_relaxed);
        if (end_idx == SEGMENT_END_OPEN || s->state_bytes == 0)
            continue;
        if (end_idx - 1 <= log->stored_idx && log->stored_bytes > 0)
            break;
        char path[SEGMENT_PATH_BYTES];
        place_segment_path(p, s->first_off, "log", path);
        struct footer footer = {.end_pos = s->end_pos, .state_bytes = s->state_bytes};
        struct io_file *file;
        void *state = NULL;
        enum kq_err err = io_open(p->io, path, 0, &file);
        if (err == KQ_OK) {
            err = footer_load_state(p->io, file, &footer, &p->seed, &state);
            io_close(p->io, &file);
        }
        if (err != KQ_OK) { /* an older one and more entries make the same state */
            SAY_WARNING("the state stored in %s cannot be used: %s; an older one is taken", path, err_text(err));
            lost = true;
            continue;
        }
        free(log->stored);
        log->stored = state;
        log->stored_bytes = s->state_bytes;
        log->stored_idx = end_idx - 1;
        break;
    }
    if (lost && log->stored_idx + 1 < log_first_idx(log))
        return fault_set(fault, KQ_CORRUPT, "%s: no stored state checks out, and entries before %llu are deleted",
                         p->title, (unsigned long long)log_first_idx(log));
    return KQ_OK;
}

/* ---- open --------------------------------------------------------------------------------------- */

static struct log *log_new(const struct log_options *o)
{
    struct log *log = calloc(1, sizeof *log);
    struct place *p = place_new(o->io, o->dir, o->title, &o->topic_id, o->partition);
    if (log == NULL || p == NULL) {
        free(log);
        if (p != NULL)
            place_drop(p);
        return NULL;
    }
    p->counters = o->counters;
    p->read_map_bytes = page_up(o->segment_bytes + o->segment_bytes / 8 + SEGMENT_HEAD_BYTES);
    log->tag = LOG_TAG;
    log->place = p;
    log->segment_bytes = o->segment_bytes;
    log->prepare_min_bytes = (uint32_t)page_up(o->prepare_min_bytes);
    log->prepare_max_bytes = (uint32_t)page_up(o->prepare_max_bytes);
    log->step_bytes = log->prepare_min_bytes;
    log->budget = o->prepare_budget;
    log->mark_delay_us = o->mark_delay_us;
    log->needs_state = o->needs_state;
    log->tail = o->tail;
    log->tail_count = o->tail_count;
    log->mark_due_us = CLOCK_NEVER;
    log->max_time_ms = -1;
    (void)pthread_mutex_init(&log->tip_lock, NULL);
    return log;
}

/* What was only in memory when the process died is made durable before anyone
 * builds on it. */
static enum kq_err settle(struct log *log, bool clean, const struct log_mark *mark, struct fault *fault)
{
    struct place *p = log->place;
    if (clean)
        return KQ_OK;
    enum kq_err err = KQ_OK;
    if (log->state.version > 1 || log_mark_is_set(mark)) {
        PLACE_COUNT(p, fsyncs, 1);
        err = hard_state_store_again(p->io, p->dir, &log->state, log_mark_is_set(mark) ? mark : NULL, fault);
        if (err != KQ_OK)
            return err;
    }
    if (log->segment_count == 0)
        return KQ_OK;
    err = place_sync_dir(p);
    log->dir_unsynced = false;
    return err == KQ_OK ? KQ_OK : cannot(fault, err, "syncing", p->dir);
}

static enum kq_err check_state(struct log *log, bool one_bad, struct fault *fault)
{
    struct place *p = log->place;
    if (!uuid_equal(&log->state.topic_id, &p->topic_id) || log->state.partition != p->partition) {
        char text[UUID_TEXT_BYTES];
        return fault_set(fault, KQ_INVALID, "%s holds a replica of topic id %s partition %u, not %s", p->dir,
                         uuid_format(&log->state.topic_id, text), (unsigned)log->state.partition, p->title);
    }
    if (one_bad)
        SAY_WARNING("%s/" HARD_STATE_NAME ": one slot does not check out; the other (version %llu) is used", p->dir,
                    (unsigned long long)log->state.version);
    p->seed = entry_seed_make(&p->topic_id, p->partition, &log->state.incarnation);
    return KQ_OK;
}

static enum kq_err list_again(struct place *p, struct folder *f, struct fault *fault)
{
    folder_fini(f);
    enum kq_err err = folder_list(p->io, p->dir, f);
    return err == KQ_OK ? KQ_OK : cannot(fault, err, "listing", p->dir);
}

/* A cut that was begun: its files first. What is done to them would be damage, did the
 * mark not say so on the disk, too. */
static enum kq_err resume_cut(struct log *log, struct folder *f, const struct log_mark *mark, struct fault *fault)
{
    struct place *p = log->place;
    PLACE_COUNT(p, fsyncs, 1);
    enum kq_err err = hard_state_store_again(p->io, p->dir, &log->state, mark, fault);
    if (err != KQ_OK)
        return err;
    if (mark->cut == LOG_CUT_RESET) {
        err = cut_finish_reset(p, mark->segment_off, fault);
        if (err == KQ_OK)
            err = list_again(p, f, fault);
        if (err == KQ_OK && (f->logs.count != 1 || f->logs.at[0] != mark->segment_off))
            err = fault_set(fault, KQ_CORRUPT, "%s began anew with %0*lld.log, which is missing or not alone", p->dir,
                            (int)SEGMENT_NAME_DIGITS, (long long)mark->segment_off);
        return err;
    }
    uint32_t keep = f->logs.count;
    while (keep > 0 && f->logs.at[keep - 1] > mark->segment_off)
        keep--;
    if (keep == 0 || f->logs.at[keep - 1] != mark->segment_off)
        return fault_set(fault, KQ_CORRUPT, "%s/%0*lld.log is missing; nothing was changed", p->dir,
                         (int)SEGMENT_NAME_DIGITS, (long long)mark->segment_off);
    err = cut_delete(p, f->logs.at + keep, f->logs.count - keep, fault);
    return err == KQ_OK ? list_again(p, f, fault) : err;
}

/* The newest slot is bad. A term is durable there before an entry of it counts as flushed: one
 * that does says that the other slot is stale. One that does not may have been written, and by
 * luck kept, while that slot was, and its vote never spoken of; should it be rot all the same,
 * nobody gets this replica's vote in that term. */
static enum kq_err judge_stale(struct log *log, struct fault *fault)
{
    const struct segment *active = log_active(log);
    uint64_t sure_idx = active != NULL ? active->first_idx - 1 : log->last_idx;
    if (log->told_flushed_idx > sure_idx)
        sure_idx = log->told_flushed_idx;
    uint64_t sure_term = sure_idx > 0 ? log_term_at(log, sure_idx) : 0;
    if (sure_term > log->state.term)
        return fault_set(fault, KQ_CORRUPT,
                         "%s/" HARD_STATE_NAME
                         ": its newest slot does not check out and the other is stale (term %llu, "
                         "the log has term %llu); this replica must not vote. See `kafkaesque log repair`",
                         log->place->dir, (unsigned long long)log->state.term, (unsigned long long)sure_term);
    if (log->last_term > log->state.term) {
        log->state.term = log->last_term;
        log->state.vote_broker_id = VOTE_OF_NOBODY;
        log->state.vote_incarnation = (struct uuid){{0}};
    }
    return KQ_OK;
}

/* A folder with a hard state. */
static enum kq_err recover(struct log *log, struct folder *f, struct log_report *report, struct fault *fault)
{
    struct place *p = log->place;
    struct log_mark mark;
    bool one_bad;
    PLACE_COUNT(p, recovery_read_bytes, HARD_STATE_FILE_BYTES);
    enum kq_err err = hard_state_load(p->io, p->dir, &log->state, &mark, &one_bad, fault);
    if (err == KQ_OK)
        err = check_state(log, one_bad, fault);
    if (err != KQ_OK)
        return err;
    log->dir_unsynced = true;
    bool cut = log_mark_is_set(&mark) && mark.cut != LOG_CUT_NONE;
    if (cut)
        err = resume_cut(log, f, &mark, fault);
    if (err == KQ_OK)
        err = log_recover_segments(log, f, &mark, report, fault);
    if (err != KQ_OK)
        return err;
    mark.cut = LOG_CUT_NONE; /* done and durable: the mark says so below */
    mark.cut_idx = 0;
    if (one_bad && log->state.voter_count != 1)
        err = judge_stale(log, fault);
    if (err != KQ_OK)
        return err;
    err = load_state(log, f, fault);
    if (err != KQ_OK)
        return err;
    bool clean = log->active && log->segments[log->segment_count - 1]->file == NULL;
    report->clean = clean; /* an empty one may have lost its only segment */
    /* A term or a vote of after the clean close may be in the cache alone. */
    bool settled = clean && mark.state_version == log->state.version;
    err = settle(log, settled || one_bad, &mark, fault);
    if (err == KQ_OK && one_bad) { /* the bad slot is written anew, so that there are two again */
        log->state.version++;
        err = hard_state_store(p->io, p->dir, &log->state, fault);
        if (err == KQ_OK)
            err = settle(log, settled, &mark, fault);
    }
    if (err != KQ_OK)
        return err;
    remove_leftovers(p, f);
    if (log_mark_is_set(&mark) && mark.commit_idx > log->state.commit_idx)
        log->state.commit_idx = mark.commit_idx;
    if (log_mark_is_set(&mark))
        atomic_store_explicit(&p->start_off, mark.start_off, memory_order_relaxed);
    return KQ_OK;
}

/* Once all is known. */
static enum kq_err begin(struct log *log, struct fault *fault)
{
    struct place *p = log->place;
    log->tail = NULL; /* was borrowed */
    log->tail_count = 0;
    log->flushed_idx = log->last_idx;
    log->flushed_term = log->last_term;
    log_view_forget(log);
    if (log->segment_count > 0 && log->segments[0]->first_off > log_start_off(log))
        atomic_store_explicit(&p->start_off, log->segments[0]->first_off, memory_order_relaxed);
    uint64_t least = log_committed_at_least(log);
    if (log->state.commit_idx < least)
        log->state.commit_idx = least;
    if (log->segment_count > 0) {
        atomic_store_explicit(&p->commit_idx, log_first_idx(log) - 1, memory_order_relaxed);
        atomic_store_explicit(&p->high_watermark, log->segments[0]->first_off, memory_order_relaxed);
    }
    log_set_commit(log, log->state.commit_idx < log->last_idx ? log->state.commit_idx : log->last_idx);
    struct segment *s = log_active(log);
    if (s != NULL && s->file != NULL)
        return log_load_tail(log, fault);
    if (s == NULL && log->segment_count > 0) /* sealed: the next append makes another */
        io_close(p->io, &log->segments[log->segment_count - 1]->file);
    return KQ_OK;
}

enum kq_err log_open(struct log **log_out, const struct log_options *options, const struct log_hard_state *create,
                     struct log_report *report, struct fault *fault)
{
    *log_out = NULL;
    memset(report, 0, sizeof *report);
    if (strlen(options->dir) > LOG_DIR_BYTES_MAX)
        return fault_set(fault, KQ_INVALID, "the path of the data folder is longer than %d bytes",
                         (int)LOG_DIR_BYTES_MAX);
    struct log *log = log_new(options);
    if (log == NULL)
        return fault_set(fault, KQ_NO_MEMORY, "opening %s: out of memory", options->dir);
    struct place *p = log->place;
    struct folder folder;
    enum kq_err err = folder_list(p->io, p->dir, &folder);
    bool have_folder = err == KQ_OK;
    if (folder.no_memory)
        err = fault_set(fault, KQ_NO_MEMORY, "listing %s: out of memory", p->dir);
    else if (err != KQ_OK && err != KQ_NOT_FOUND)
        (void)cannot(fault, err, "listing", p->dir);
    else if (folder.hard_state)
        err = KQ_OK;
    else if (folder.logs.count > 0 || folder.snapshot)
        err = fault_set(fault, KQ_CORRUPT, "%s: there are segments but no " HARD_STATE_NAME " file", p->dir);
    else if (create == NULL)
        err = fault_set(fault, KQ_NOT_FOUND, "%s: there is no replica here", p->dir);
    else
        err = KQ_OK;
    if (err == KQ_OK && folder.hard_state) {
        err = recover(log, &folder, report, fault);
    } else if (err == KQ_OK) {
        report->created = report->clean = true;
        err = create_replica(log, create, have_folder, fault);
        p->seed = entry_seed_make(&p->topic_id, p->partition, &log->state.incarnation);
    }
    if (err == KQ_OK)
        err = begin(log, fault);
    folder_fini(&folder);
    if (err != KQ_OK) {
        log_free(log);
        return err;
    }
    *log_out = log;
    return KQ_OK;
}

/* ---- close ---------------------------------------------------------------------------------------- */

enum { CLOSE_SNAPSHOT_BYTES = 1024 * 1024 };

/* Flushed, cut to its entries, and said so in the mark. */
static enum kq_err close_clean(struct log *log, const void *state, size_t state_bytes, struct fault *fault)
{
    struct place *p = log->place;
    struct segment *s = log_active(log);
    enum kq_err err = KQ_OK;
    if (log->have_spare)
        spare_remove(p);
    if (log->state_dirty)
        err = hard_state_store(p->io, p->dir, &log->state, fault);
    if (err != KQ_OK || s == NULL)
        return err;
    if (log->cut.kind != LOG_CUT_NONE)
        return fault_set(fault, KQ_NO_SPACE, "beginning anew in %s: no space", p->dir);
    if (log->tail_closed) { /* nothing was appended since a clean start: its mark counts again */
        if (s->file != NULL)
            (void)p->io->ops->truncate(p->io, s->file, page_up(log->write_pos));
        return KQ_OK;
    }
    log->state_dirty = false;
    bool committed = atomic_load_explicit(&p->commit_idx, memory_order_relaxed) == log->last_idx;
    uint64_t tail = log->last_idx - (log->stored_idx > log->kept_idx ? log->stored_idx : log->kept_idx);
    if (committed && state_bytes > 0 && tail > 0 && log->write_pos > CLOSE_SNAPSHOT_BYTES)
        err = snapshot_store(p, log->last_idx, state, state_bytes, fault);
    if (err == KQ_OK)
        err = err_from_errno(-p->io->ops->truncate(p->io, s->file, page_up(log->write_pos)));
    if (err == KQ_OK)
        err = place_datasync(p, s->file);
    log->flushed_idx = log->last_idx;
    log->flushed_term = log->last_term;
    struct log_mark mark;
    log_fill_mark(log, &mark);
    mark.clean = true;
    uint64_t rows = log->last_idx + 1 - s->first_idx;
    if (err == KQ_OK)
        err = index_crc(&s->index, rows, &mark.index_crc);
    char path[SEGMENT_PATH_BYTES];
    place_segment_path(p, s->first_off, "index", path);
    if (err == KQ_OK)
        err = index_trim(p->io, path, rows);
    if (err == KQ_OK)
        return hard_state_store_mark(p->io, p->dir, &log->state, &mark, fault);
    return fault->err != KQ_OK ? err : cannot(fault, err, "closing", path);
}

/* A cut that waits for its job is done now. */
static void close_cut(struct log *log)
{
    log->cut.retry_us = 0;
    struct log_job *job = log_next_job(log, LOG_LANE_FLUSH, log->now_us);
    if (job == NULL)
        return;
    struct log_done done;
    log_job_run(job);
    log_job_done(log, job, &done);
}

void log_close(struct log **log_in, const void *state, size_t state_bytes)
{
    struct log *log = *log_in;
    *log_in = NULL;
    if (log == NULL)
        return;
    TAG_CHECK(log, LOG_TAG);
    for (int i = 0; i < LOG_LANE_COUNT; i++)
        REQUIRE(!log_job_is_out(log, (enum log_lane)i));
    struct fault fault = {.err = KQ_OK};
    if (log->cut.kind != LOG_CUT_NONE)
        close_cut(log);
    if (!log->failed && close_clean(log, state, state_bytes, &fault) != KQ_OK)
        SAY_WARNING("%s was not closed cleanly, its next start reads more: %s", log->place->title, fault_text(&fault));
    log_free(log);
}
