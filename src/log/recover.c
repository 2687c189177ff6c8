/*
 * Opening a replica's folder after whatever happened, and closing it well.
 *
 * With b the first entry that does not check out in the unsealed tail, and R the
 * largest flushed idx that this replica ever wrote down (in its mark, in the local
 * part of each entry, also of those found behind b):
 *   b > R    a torn tail: nothing in it was spoken of; it is cut
 *   b <= R   acknowledged data is damaged: KQ_CORRUPT, nothing is changed on disk
 * What stands after the cut is made zero, durably, before anything is appended, so
 * that no old entry can ever follow a new one.
 *
 * Sealed segments are trusted by their footer; their entries are checked when they
 * are read. A sealed segment always has a durable footer before the next segment
 * has its name (prepare.c), so only the last segment can be without one; where
 * another is (damage), its entries are walked instead.
 *
 * A clean start reads the hard state and the page where the entries end, no more:
 * the mark of a clean close counts if the file has exactly the size that the close
 * gave it and holds nothing behind the mark. An append after a clean start grows
 * the file first (its tail has to be prepared anew), durably, so an old mark can
 * not pass for a new one.
 */
#include "log/log_impl.h"

#include "base/crc32c.h"
#include "base/logger.h"
#include "base/require.h"

#include <stdlib.h>
#include <string.h>

enum { OFFS_GROW = 16, FOLDER_FILES_MAX = 1 << 20, ZERO_CHUNK_BYTES = 64 * 1024 };

/* ---- what is in the folder --------------------------------------------------------- */

struct offs {
    int64_t *at;
    uint32_t count;
};

struct folder {
    struct offs logs;
    struct offs indexes;
    bool hard_state;
    bool leftovers; /* files under temporary names */
    bool snapshot;
    bool strange;
    bool no_memory;
    const char *dir;
};

static bool offs_add(struct offs *o, int64_t off)
{
    if (o->count % OFFS_GROW == 0) {
        if (o->count >= FOLDER_FILES_MAX)
            return false;
        int64_t *grown = realloc(o->at, (o->count + OFFS_GROW) * sizeof *grown);
        if (grown == NULL)
            return false;
        o->at = grown;
    }
    o->at[o->count++] = off;
    return true;
}

/* 20 digits, a dot and the suffix. */
static bool parse_name(const char *name, const char *suffix, int64_t *off)
{
    uint64_t v = 0;
    for (int i = 0; i < SEGMENT_NAME_DIGITS; i++) {
        if (name[i] < '0' || name[i] > '9' || v > INT64_MAX / 10)
            return false;
        v = v * 10 + (uint64_t)(name[i] - '0');
    }
    *off = (int64_t)v;
    return v <= INT64_MAX && name[SEGMENT_NAME_DIGITS] == '.' && strcmp(name + SEGMENT_NAME_DIGITS + 1, suffix) == 0;
}

static void see_name(void *context, const char *name)
{
    struct folder *f = context;
    int64_t off;
    if (parse_name(name, "log", &off)) {
        f->no_memory |= !offs_add(&f->logs, off);
    } else if (parse_name(name, "index", &off)) {
        f->no_memory |= !offs_add(&f->indexes, off);
    } else if (strcmp(name, HARD_STATE_NAME) == 0) {
        f->hard_state = true;
    } else if (strcmp(name, SNAPSHOT_NAME) == 0) {
        f->snapshot = true;
    } else if (strcmp(name, HARD_STATE_TEMP_NAME) == 0 || strcmp(name, SNAPSHOT_TEMP_NAME) == 0 ||
               strcmp(name, SPARE_LOG_NAME) == 0 || strcmp(name, SPARE_INDEX_NAME) == 0) {
        f->leftovers = true;
    } else if (strstr(name, ".aside") == NULL) { /* a repair's copies bear that name */
        f->strange = true;
        SAY_WARNING("%s/%.64s does not belong to this program; it is left alone", f->dir, name);
    }
}

static int compare_offs(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a;
    int64_t y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

static void folder_fini(struct folder *f)
{
    free(f->logs.at);
    free(f->indexes.at);
}

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

/* The folder is durable in its parent before there is a hard state in it: a
 * folder with a hard state needs no such sync when it is opened again. */
static enum kq_err create_replica(struct log *log, const struct log_hard_state *create, bool have_folder,
                                  struct fault *fault)
{
    struct place *p = log->place;
    enum kq_err err = have_folder ? KQ_OK : err_from_errno(-p->io->ops->mkdir(p->io, p->dir));
    if (err != KQ_OK)
        return cannot(fault, err, "making", p->dir);
    err = sync_parent(p, fault);
    if (err != KQ_OK)
        return err;
    log->state = *create;
    log->state.version = 1;
    log->state.topic_id = p->topic_id;
    log->state.partition = p->partition;
    PLACE_COUNT(p, fsyncs, 1);
    err = hard_state_create(p->io, p->dir, &log->state, fault);
    if (err != KQ_OK)
        return err;
    err = place_sync_dir(p);
    return err == KQ_OK ? KQ_OK : cannot(fault, err, "syncing", p->dir);
}

static void remove_leftovers(struct place *p, const struct folder *f)
{
    char path[SEGMENT_PATH_BYTES];
    static const char *const names[] = {HARD_STATE_TEMP_NAME, SNAPSHOT_TEMP_NAME, SPARE_LOG_NAME, SPARE_INDEX_NAME};
    for (size_t i = 0; f->leftovers && i < sizeof names / sizeof names[0]; i++) {
        place_path(p, names[i], path);
        (void)p->io->ops->unlink(p->io, path);
    }
    for (uint32_t i = 0; i < f->indexes.count; i++) { /* of a log file that a roll never named, or that is deleted */
        if (f->logs.count > 0 &&
            bsearch(&f->indexes.at[i], f->logs.at, f->logs.count, sizeof(int64_t), compare_offs) != NULL)
            continue;
        place_segment_path(p, f->indexes.at[i], "index", path);
        (void)p->io->ops->unlink(p->io, path);
    }
}

/* ---- walking entries -------------------------------------------------------------------- */

struct walk {
    const struct segment *s;
    const struct entry_seed *seed;
    const uint8_t *data;
    uint64_t size_bytes;
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
};

static bool follows(const struct walk *w, const struct entry_head *head)
{
    return head->idx == w->next_idx && head->first_off == w->next_off && head->prev_crc == w->crc &&
           head->term >= w->term && head->term <= INT32_MAX &&
           head->body_bytes <= w->size_bytes - w->pos - ENTRY_HEAD_BYTES &&
           w->pos + ENTRY_HEAD_BYTES + head->body_bytes <= UINT32_MAX && head->record_count <= INT64_MAX - w->next_off;
}

static void walk_entries(void *context)
{
    struct walk *w = context;
    struct entry_head head;
    while (w->pos <= w->size_bytes) {
        enum kq_err err = entry_decode(w->data + w->pos, w->size_bytes - w->pos, w->seed, &head);
        w->newer = err == KQ_BAD_VERSION;
        const uint8_t *body = w->data + w->pos + ENTRY_HEAD_BYTES;
        if (err != KQ_OK || !follows(w, &head) || !entry_body_ok(w->seed, &head, body))
            return;
        int64_t time_ms = entry_max_time(&head, body);
        if (time_ms > w->max_time_ms)
            w->max_time_ms = time_ms;
        uint8_t *row = buf_reserve(&w->rows, INDEX_ROW_BYTES);
        if (row == NULL)
            return;
        struct index_row value = {head.first_off, w->max_time_ms, (uint32_t)w->pos, (uint32_t)head.term};
        index_row_put(row, 0, &value);
        w->rows.len += INDEX_ROW_BYTES;
        if (head.term != w->term || w->runs.len == 0) {
            struct term_run run = {head.term, head.idx};
            buf_put(&w->runs, &run, sizeof run);
        }
        if (head.flushed_idx > w->flushed_idx) {
            w->flushed_idx = head.flushed_idx;
            w->flushed_pos = w->pos;
        }
        w->pos += ENTRY_HEAD_BYTES + head.body_bytes;
        w->next_idx++;
        w->next_off += head.record_count;
        w->term = head.term;
        w->crc = head.body_crc;
    }
}

/* Behind the first entry that does not check out: heads that do, and the last
 * byte that is not zero. */
static void walk_behind(void *context)
{
    struct walk *w = context;
    uint64_t end = w->size_bytes;
    while (end > w->pos && w->data[end - 1] == 0)
        end--;
    w->nonzero_end = end;
    struct entry_head head;
    for (uint64_t pos = w->pos; pos + ENTRY_HEAD_BYTES <= w->size_bytes && pos < end; pos++) {
        if (entry_decode(w->data + pos, w->size_bytes - pos, w->seed, &head) != KQ_OK || head.idx < w->next_idx)
            continue;
        if (head.flushed_idx > w->flushed_idx) {
            w->flushed_idx = head.flushed_idx;
            w->flushed_pos = pos;
        }
    }
}

/* Walks the file of s from its head block. The caller frees w->rows and w->runs. */
static enum kq_err walk_segment(struct segment *s, struct io_file *file, uint64_t file_bytes, struct walk *w,
                                struct fault *fault)
{
    struct place *p = s->place;
    char path[SEGMENT_PATH_BYTES];
    place_segment_path(p, s->first_off, "log", path);
    memset(w, 0, sizeof *w);
    buf_init(&w->rows, (size_t)INDEX_ROW_BYTES * (file_bytes / ENTRY_HEAD_BYTES + 1));
    buf_init(&w->runs, (size_t)FOOTER_RUNS_MAX * sizeof(struct term_run));
    int64_t named_off = s->first_off;
    uint8_t *block = malloc(SEGMENT_HEAD_BYTES);
    if (block == NULL)
        return fault_set(fault, KQ_NO_MEMORY, "reading %s: out of memory", path);
    enum kq_err err = io_read(p->io, file, block, SEGMENT_HEAD_BYTES, 0, NULL);
    if (err == KQ_OK)
        err = segment_head_decode(s, block);
    else if (err == KQ_EOF)
        err = KQ_CORRUPT;
    free(block);
    if (err == KQ_OK && s->first_off != named_off)
        err = KQ_CORRUPT;
    s->first_off = named_off;
    if (err != KQ_OK)
        return fault_set(fault, err, "%s position 0: the segment's head: %s; `kafkaesque log repair` can rebuild it",
                         path, err_text(err));
    const struct segment_map *map;
    err = segment_map(s, file_bytes, &map, fault);
    if (err != KQ_OK)
        return err;
    w->s = s;
    w->seed = &p->seed;
    w->data = map->data;
    w->size_bytes = file_bytes;
    w->pos = SEGMENT_HEAD_BYTES;
    w->next_idx = s->first_idx;
    w->next_off = s->first_off;
    w->term = s->prev_term;
    w->crc = s->prev_crc;
    w->max_time_ms = -1;
    PLACE_COUNT(p, recovery_read_bytes, file_bytes);
    if (!io_guarded(map->data, map->size_bytes, walk_entries, w) ||
        !io_guarded(map->data, map->size_bytes, walk_behind, w))
        return fault_set(fault, KQ_IO, "%s from position %llu: the disk reported an error while reading", path,
                         (unsigned long long)w->pos);
    if (w->rows.bad || w->runs.bad)
        return fault_set(fault, KQ_NO_MEMORY, "reading %s: out of memory", path);
    if (w->newer)
        return fault_set(fault, KQ_BAD_VERSION, "%s position %llu: written by a newer version of this program", path,
                         (unsigned long long)w->pos);
    return KQ_OK;
}

static void walk_fini(struct walk *w)
{
    buf_fini(&w->rows);
    buf_fini(&w->runs);
}

/* ---- the last segment -------------------------------------------------------------------- */

static enum kq_err corrupt_tail(const struct log *log, const struct segment *s, const struct walk *w, uint64_t flushed,
                                struct fault *fault)
{
    return fault_set(fault, KQ_CORRUPT,
                     "%s: %s/%0*lld.log position %llu: entry %llu does not check out, but entries up to %llu were "
                     "flushed and may be acknowledged; nothing was changed. `kafkaesque log check` shows more, "
                     "`kafkaesque log repair` would keep a copy, cut here and say what is lost",
                     log->place->title, log->place->dir, (int)SEGMENT_NAME_DIGITS, (long long)s->first_off,
                     (unsigned long long)w->pos, (unsigned long long)w->next_idx, (unsigned long long)flushed);
}

/* Zeros from `from` to `to`, durable. */
static enum kq_err cut(struct place *p, struct io_file *file, uint64_t from, uint64_t to)
{
    uint8_t *zeros = calloc(1, ZERO_CHUNK_BYTES);
    if (zeros == NULL)
        return KQ_NO_MEMORY;
    enum kq_err err = KQ_OK;
    while (err == KQ_OK && from < to) {
        size_t step = to - from < ZERO_CHUNK_BYTES ? (size_t)(to - from) : (size_t)ZERO_CHUNK_BYTES;
        err = io_write(p->io, file, zeros, step, from);
        from += step;
    }
    free(zeros);
    return err;
}

/* The numbers of the log's end, from the walk of the active segment. */
static void take_end(struct log *log, const struct walk *w, uint64_t file_bytes)
{
    log->last_idx = w->next_idx - 1;
    log->last_term = w->term;
    log->last_crc = w->crc;
    log->next_off = w->next_off;
    log->max_time_ms = w->max_time_ms;
    log->write_pos = w->pos;
    log->prepared_pos = file_bytes - file_bytes % PAGE_BYTES;
    if (log->prepared_pos < page_up(w->pos))
        log->prepared_pos = page_up(w->pos);
    log->active = true;
}

static enum kq_err open_active_index(struct log *log, struct segment *s, const struct walk *w, struct fault *fault)
{
    struct place *p = log->place;
    char path[SEGMENT_PATH_BYTES];
    place_segment_path(p, s->first_off, "index", path);
    uint64_t count = w->rows.len / INDEX_ROW_BYTES;
    size_t fits = log_index_map_bytes(log->segment_bytes);
    s->index_map_bytes = (size_t)page_up((count + LOG_ROWS_AHEAD_MIN) * INDEX_ROW_BYTES);
    if (s->index_map_bytes < fits)
        s->index_map_bytes = fits;
    enum kq_err err = index_open_writable(p->io, path, count, s->index_map_bytes, &s->index);
    if (err != KQ_OK)
        return cannot(fault, err, "opening", path);
    if (count > 0)
        memcpy(s->index.rows, w->rows.data, w->rows.len);
    log->rows = page_up(count * INDEX_ROW_BYTES) / INDEX_ROW_BYTES;
    atomic_store_explicit(&s->ready, true, memory_order_release);
    return KQ_OK;
}

/* The first segment's head tells the term before it. */
static void read_prev_term(struct segment *s, struct io_file *file)
{
    int64_t off = s->first_off;
    uint64_t idx = s->first_idx;
    uint8_t *block = malloc(SEGMENT_HEAD_BYTES);
    if (block == NULL || io_read(s->place->io, file, block, SEGMENT_HEAD_BYTES, 0, NULL) != KQ_OK ||
        segment_head_decode(s, block) != KQ_OK || s->first_off != off || s->first_idx != idx)
        s->prev_term = 0; /* not known; the entries themselves may still be read */
    s->first_off = off;
    s->first_idx = idx;
    free(block);
}

static enum kq_err open_sealed(struct log *log, struct segment *s, struct footer *f, struct fault *fault)
{
    if (f->first_off != s->first_off ||
        (log->segment_count > 0 && (f->first_idx != log->last_idx + 1 || f->first_off != log->next_off))) {
        enum kq_err err = fault_set(fault, KQ_CORRUPT,
                                    "%s: %0*lld.log does not follow the segment before it (entry %llu was expected, "
                                    "it begins with %llu): a file is missing or misplaced",
                                    log->place->title, (int)SEGMENT_NAME_DIGITS, (long long)s->first_off,
                                    (unsigned long long)log->last_idx + 1, (unsigned long long)f->first_idx);
        free(f->runs);
        return err;
    }
    s->first_idx = f->first_idx;
    if (log->segment_count == 0 && s->first_idx > 1)
        read_prev_term(s, s->file);
    log->last_idx = f->last_idx;
    log->last_term = f->runs[f->run_count - 1].term;
    log->last_crc = f->last_crc;
    log->next_off = f->end_off;
    segment_seal(s, f);
    log->active = false;
    return KQ_OK;
}

/* Without a clean mark every entry of the last segment is walked. Its footer, if
 * it has one, counts only if all entries before it are there: a seal that the
 * power cut off may have left the footer and not the entries. */
static enum kq_err recover_tail(struct log *log, struct segment *s, uint64_t file_bytes, const struct log_mark *mark,
                                struct footer *footer, struct log_report *report, struct fault *fault)
{
    struct place *p = log->place;
    struct walk w;
    enum kq_err err = walk_segment(s, s->file, file_bytes, &w, fault);
    if (err == KQ_OK && s->first_idx != log->last_idx + 1 && log->segment_count > 0)
        err = fault_set(fault, KQ_CORRUPT, "%s: entries %llu to %llu are missing before %0*lld.log", log->place->title,
                        (unsigned long long)log->last_idx + 1, (unsigned long long)s->first_idx - 1,
                        (int)SEGMENT_NAME_DIGITS, (long long)s->first_off);
    uint64_t flushed = w.flushed_idx;
    if (log_mark_is_set(mark) && mark->flushed_idx > flushed)
        flushed = mark->flushed_idx;
    if (err == KQ_OK && flushed >= w.next_idx)
        err = corrupt_tail(log, s, &w, flushed, fault);
    report->scanned_bytes += file_bytes;
    if (err == KQ_OK && footer->runs != NULL && footer->end_pos == w.pos && footer->last_idx + 1 == w.next_idx) {
        walk_fini(&w);
        return open_sealed(log, s, footer, fault);
    }
    free(footer->runs);
    footer->runs = NULL;
    if (err == KQ_OK && w.nonzero_end > w.pos) {
        report->cut_bytes += w.nonzero_end - w.pos;
        err = cut(p, s->file, w.pos, w.nonzero_end);
        if (err != KQ_OK)
            (void)cannot(fault, err, "cutting the torn tail in", p->dir);
    }
    if (err == KQ_OK) {
        take_end(log, &w, file_bytes);
        err = open_active_index(log, s, &w, fault);
    }
    walk_fini(&w);
    return err;
}

/* Whether the mark of a clean close tells all about this last segment. */
static bool take_clean(struct log *log, struct segment *s, uint64_t file_bytes, const struct log_mark *mark)
{
    if (!mark->clean || mark->segment_off != s->first_off || file_bytes != page_up(mark->end_pos) ||
        mark->end_pos < SEGMENT_HEAD_BYTES || mark->flushed_idx + 1 < mark->segment_idx || mark->segment_idx == 0 ||
        mark->next_off < s->first_off ||
        (mark->end_pos - SEGMENT_HEAD_BYTES) / ENTRY_HEAD_BYTES < mark->flushed_idx + 1 - mark->segment_idx ||
        (log->segment_count > 0 && mark->segment_idx != log->last_idx + 1))
        return false;
    size_t behind = (size_t)(file_bytes - mark->end_pos);
    uint8_t *page = malloc(PAGE_BYTES);
    bool zero = page != NULL && io_read(log->place->io, s->file, page, behind, mark->end_pos, NULL) == KQ_OK;
    for (size_t i = 0; zero && i < behind; i++)
        zero = page[i] == 0;
    free(page);
    if (!zero)
        return false;
    PLACE_COUNT(log->place, recovery_read_bytes, behind);
    s->first_idx = mark->segment_idx;
    s->check_rows = mark->flushed_idx + 1 - mark->segment_idx;
    s->index_crc = mark->index_crc;
    s->end_pos = mark->end_pos;
    size_t fits = log_index_map_bytes(log->segment_bytes);
    s->index_map_bytes = (size_t)page_up((s->check_rows + LOG_ROWS_AHEAD_MIN) * INDEX_ROW_BYTES);
    if (s->index_map_bytes < fits)
        s->index_map_bytes = fits;
    s->prev_term = log->last_term;
    log->last_idx = mark->flushed_idx;
    log->last_term = mark->flushed_term;
    log->last_crc = mark->last_crc;
    log->next_off = mark->next_off;
    log->max_time_ms = mark->max_time_ms;
    log->write_pos = mark->end_pos;
    log->prepared_pos = page_up(mark->end_pos);
    log->rows = page_up(s->check_rows * INDEX_ROW_BYTES) / INDEX_ROW_BYTES;
    log->active = true;
    log->marked_idx = log->last_idx;
    io_close(log->place->io, &s->file); /* opened again by the first append's job */
    return true;
}

/* ---- sealed segments ----------------------------------------------------------------------- */

/* A segment before the last one whose footer does not check out. */
static enum kq_err walk_sealed(struct segment *s, uint64_t file_bytes, struct footer *f, struct log_report *report,
                               struct fault *fault)
{
    struct walk w;
    enum kq_err err = walk_segment(s, s->file, file_bytes, &w, fault);
    if (err == KQ_OK) {
        SAY_WARNING("%s/%0*lld.log: its footer does not check out; its entries were walked instead", s->place->dir,
                    (int)SEGMENT_NAME_DIGITS, (long long)s->first_off);
        report->scanned_bytes += file_bytes;
        *f = (struct footer){.first_idx = s->first_idx,
                             .last_idx = w.next_idx - 1,
                             .first_off = s->first_off,
                             .end_off = w.next_off,
                             .max_time_ms = w.max_time_ms,
                             .last_crc = w.crc,
                             .end_pos = w.pos,
                             .run_count = (uint32_t)(w.runs.len / sizeof(struct term_run))};
        f->index_crc = crc32c(0, w.rows.data, w.rows.len);
        size_t size;
        f->runs = (struct term_run *)(void *)buf_give(&w.runs, &size);
        if (f->runs == NULL)
            err = fault_set(fault, KQ_CORRUPT, "%s/%0*lld.log: neither its footer nor any entry checks out",
                            s->place->dir, (int)SEGMENT_NAME_DIGITS, (long long)s->first_off);
    }
    walk_fini(&w);
    return err;
}

/* One segment, in order; leaves its file open only if it is the last. */
static enum kq_err open_segment(struct log *log, struct segment *s, bool last, const struct log_mark *mark,
                                struct log_report *report, struct fault *fault)
{
    struct place *p = log->place;
    char path[SEGMENT_PATH_BYTES];
    place_segment_path(p, s->first_off, "log", path);
    enum kq_err err = io_open(p->io, path, last ? IO_WRITE : 0, &s->file);
    uint64_t file_bytes = 0;
    if (err == KQ_OK)
        err = err_from_errno(-p->io->ops->size(p->io, s->file, &file_bytes));
    if (err != KQ_OK)
        return cannot(fault, err, "opening", path);
    if (last && log_mark_is_set(mark) && take_clean(log, s, file_bytes, mark))
        return KQ_OK;
    struct footer f;
    err = footer_load(p->io, s->file, file_bytes, &p->seed, &f);
    if (last && (err == KQ_OK || err == KQ_NOT_FOUND))
        return recover_tail(log, s, file_bytes, mark, &f, report, fault);
    if (err == KQ_NOT_FOUND)
        err = walk_sealed(s, file_bytes, &f, report, fault);
    else if (err != KQ_OK)
        (void)cannot(fault, err, "reading", path);
    if (err == KQ_OK)
        err = open_sealed(log, s, &f, fault);
    if (!last)
        io_close(p->io, &s->file);
    return err;
}

static enum kq_err open_segments(struct log *log, const struct folder *f, const struct log_mark *mark,
                                 struct log_report *report, struct fault *fault)
{
    for (uint32_t i = 0; i < f->logs.count; i++) {
        struct segment *s = segment_new(log->place, f->logs.at[i], 0);
        if (s == NULL)
            return fault_set(fault, KQ_NO_MEMORY, "opening %s: out of memory", log->place->dir);
        enum kq_err err = open_segment(log, s, i + 1 == f->logs.count, mark, report, fault);
        if (err == KQ_OK && !log_add_segment(log, s))
            err = fault_set(fault, KQ_NO_MEMORY, "opening %s: out of memory", log->place->dir);
        if (err != KQ_OK) {
            log->active = false;
            segment_drop(s);
            return err;
        }
    }
    report->segments = f->logs.count;
    uint64_t flushed = log_mark_is_set(mark) ? mark->flushed_idx : 0;
    if (flushed > log->last_idx)
        return fault_set(
            fault, KQ_CORRUPT, "%s: entries up to %llu were flushed, but %s ends with entry %llu: a file is missing",
            log->place->title, (unsigned long long)flushed, log->place->dir, (unsigned long long)log->last_idx);
    return KQ_OK;
}

/* ---- the stored state ------------------------------------------------------------------------ */

static enum kq_err load_state(struct log *log, const struct folder *f, struct fault *fault)
{
    struct place *p = log->place;
    bool lost = false;
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
    size_t dir_bytes = strlen(o->dir) + 1;
    struct log *log = calloc(1, sizeof *log);
    struct place *p = calloc(1, sizeof *p + dir_bytes);
    char *title = strdup(o->title);
    if (log == NULL || p == NULL || title == NULL) {
        free(log);
        free(p);
        free(title);
        return NULL;
    }
    atomic_init(&p->refs, 1);
    p->io = o->io;
    p->counters = o->counters;
    p->topic_id = o->topic_id;
    p->partition = o->partition;
    p->read_map_bytes = page_up(o->segment_bytes + o->segment_bytes / 8 + SEGMENT_HEAD_BYTES);
    p->title = title;
    memcpy(p->dir, o->dir, dir_bytes);
    log->tag = LOG_TAG;
    log->place = p;
    log->segment_bytes = o->segment_bytes;
    log->prepare_min_bytes = (uint32_t)page_up(o->prepare_min_bytes);
    log->prepare_max_bytes = (uint32_t)page_up(o->prepare_max_bytes);
    log->step_bytes = log->prepare_min_bytes;
    log->budget = o->prepare_budget;
    log->mark_delay_us = o->mark_delay_us;
    log->mark_due_us = CLOCK_NEVER;
    log->max_time_ms = -1;
    (void)pthread_mutex_init(&log->tip_lock, NULL);
    return log;
}

/* What was only in memory when the process died is made durable before anyone
 * builds on it. */
static enum kq_err settle(struct log *log, bool clean, struct fault *fault)
{
    struct place *p = log->place;
    if (clean)
        return KQ_OK;
    enum kq_err err = KQ_OK;
    if (log->state.version > 1) {
        PLACE_COUNT(p, fsyncs, 1);
        err = hard_state_store(p->io, p->dir, &log->state, fault);
        if (err != KQ_OK)
            return err;
    }
    if (log->segment_count == 0)
        return KQ_OK;
    struct segment *s = log->segments[log->segment_count - 1];
    err = place_datasync(p, s->file);
    if (err == KQ_OK)
        err = place_sync_dir(p);
    log->dir_unsynced = false;
    return err == KQ_OK ? KQ_OK : cannot(fault, err, "syncing the end of", p->dir);
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

/* A folder with a hard state. */
static enum kq_err recover(struct log *log, const struct folder *f, struct log_report *report, struct fault *fault)
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
    err = open_segments(log, f, &mark, report, fault);
    if (err != KQ_OK)
        return err;
    if (one_bad && log->state.voter_count > 1 && log->last_term > log->state.term)
        return fault_set(fault, KQ_CORRUPT,
                         "%s/" HARD_STATE_NAME
                         ": its newest slot does not check out and the other is stale (term %llu, "
                         "the log has term %llu); this replica must not vote. See `kafkaesque log repair`",
                         p->dir, (unsigned long long)log->state.term, (unsigned long long)log->last_term);
    err = load_state(log, f, fault);
    if (err != KQ_OK)
        return err;
    bool clean = log->active && log->segments[log->segment_count - 1]->file == NULL;
    err = settle(log, clean || one_bad, fault);
    if (err == KQ_OK && one_bad) { /* the bad slot is written anew, so that there are two again */
        log->state.version++;
        err = hard_state_store(p->io, p->dir, &log->state, fault);
        if (err == KQ_OK)
            err = settle(log, clean, fault);
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
    log->flushed_idx = log->last_idx;
    log->flushed_term = log->last_term;
    log_view_forget(log);
    if (log->segment_count > 0 && log->segments[0]->first_off > log_start_off(log))
        atomic_store_explicit(&p->start_off, log->segments[0]->first_off, memory_order_relaxed);
    uint64_t commit_idx = log->state.commit_idx < log->last_idx ? log->state.commit_idx : log->last_idx;
    if (commit_idx + 1 >= log_first_idx(log)) {
        log_set_commit(log, commit_idx);
    } else {
        atomic_store_explicit(&p->commit_idx, log_first_idx(log) - 1, memory_order_relaxed);
        atomic_store_explicit(&p->high_watermark, log->segments[0]->first_off, memory_order_relaxed);
    }
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
    struct folder folder = {.dir = p->dir};
    enum kq_err err = err_from_errno(-p->io->ops->list(p->io, p->dir, see_name, &folder));
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
    if (err == KQ_OK && folder.logs.count > 0)
        qsort(folder.logs.at, folder.logs.count, sizeof(int64_t), compare_offs);
    if (err == KQ_OK && folder.hard_state) {
        err = recover(log, &folder, report, fault);
    } else if (err == KQ_OK) {
        report->created = true;
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
    if (err != KQ_OK || s == NULL || s->file == NULL) /* nothing was appended since a clean start */
        return err;
    log->state_dirty = false;
    uint64_t tail = log->last_idx - (log->stored_idx > log->kept_idx ? log->stored_idx : log->kept_idx);
    if (state_bytes > 0 && tail > 0 && log->write_pos > CLOSE_SNAPSHOT_BYTES)
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

void log_close(struct log **log_in, const void *state, size_t state_bytes)
{
    struct log *log = *log_in;
    *log_in = NULL;
    if (log == NULL)
        return;
    TAG_CHECK(log, LOG_TAG);
    for (int i = 0; i < LOG_LANE_COUNT; i++)
        REQUIRE(!log->jobs[i].out);
    struct fault fault = {.err = KQ_OK};
    if (!log->failed && close_clean(log, state, state_bytes, &fault) != KQ_OK)
        SAY_WARNING("%s was not closed cleanly, its next start reads more: %s", log->place->title, fault_text(&fault));
    log_free(log);
}
