/*
 * Damage that others can mend: which entries of a sealed segment have to be fetched,
 * whether the bytes that came are those that stood here, and writing them again.
 *
 * Damage comes in blocks of a disk and takes what lies in them: a body, or heads of
 * several entries. What is known here without them is where the damage begins and
 * ends, the offsets and the terms (rows, footer), and checksums: an entry's body
 * checksum stands in its own head and in the head of the one after it (or the footer
 * has it). So a run of entries is verified as a whole: it begins behind an entry whose
 * head checks out (or with one, or with the segment), ends before one, fills exactly
 * the space between, follows what stands before it and is followed by what stands
 * behind. Heads inside that still check out must agree as well. Where both heads that
 * tell an entry's checksum are lost, it is the one that the peer had from its own disk
 * that the body must have: an entry of this idx and term is the same everywhere.
 *
 * The run is written in place, whole and at once, synced, and read back from the disk.
 * Until that is done, and if anything about it fails, the entries stay damaged, which
 * each reader finds by itself; so it may be cut off anywhere, and done again. It takes
 * no part in the log's failing: what was damaged before is damaged still.
 */
#include "log/log_impl.h"

#include "base/crc32c.h"
#include "base/require.h"

#include <stdlib.h>
#include <string.h>

enum { HEAL_BYTES_MAX = 256 * 1024 * 1024 };

void heal_forget(struct healing *heal)
{
    free(heal->bytes);
    *heal = (struct healing){0};
}

/* ---- what checks out here -------------------------------------------------------------- */

struct peek {
    const uint8_t *at;
    const struct entry_seed *seed;
    struct entry_head head;
    enum kq_err err;
};

static void peek_head(void *context)
{
    struct peek *p = context;
    p->err = entry_decode(p->at, ENTRY_HEAD_BYTES, p->seed, &p->head);
}

/* The head at idx, if it is there and says what the index does. After segment_ready. */
static bool good_head(struct segment *s, uint64_t idx, struct entry_head *head)
{
    struct index_row row = segment_row(s, idx);
    const struct segment_map *map;
    if (row.pos < SEGMENT_HEAD_BYTES || segment_map(s, (uint64_t)row.pos + ENTRY_HEAD_BYTES, &map, NULL) != KQ_OK)
        return false;
    struct peek p = {.at = map->data + row.pos, .seed = &s->place->seed};
    if (!io_guarded(map->data, map->size_bytes, peek_head, &p) || p.err != KQ_OK)
        return false;
    *head = p.head;
    return head->idx == idx && head->first_off == row.first_off && head->term == row.term;
}

static bool has_good_head(struct segment *s, uint64_t idx)
{
    struct entry_head head;
    return good_head(s, idx, &head);
}

static uint64_t last_of(const struct segment *s)
{
    return atomic_load_explicit(&s->end_idx, memory_order_relaxed) - 1;
}

static uint64_t term_in(const struct segment *s, uint64_t idx)
{
    uint32_t i = s->run_count - 1;
    while (i > 0 && s->runs[i].idx > idx)
        i--;
    return s->runs[i].term;
}

/* ---- what to fetch ------------------------------------------------------------------------ */

static bool is_damaged(struct segment *s, uint64_t idx)
{
    struct entry_head head;
    const uint8_t *body;
    struct fault fault;
    return segment_read(s, idx, true, &head, &body, &fault) != KQ_OK || (head.flags & ENTRY_LOST) != 0;
}

bool log_next_damage(struct log *log, uint64_t from_idx, struct log_damage *damage)
{
    TAG_CHECK(log, LOG_TAG);
    struct place *p = log->place;
    for (uint64_t idx = place_damage(p, from_idx); idx > 0; idx = place_damage(p, idx + 1)) {
        struct segment *s = idx >= log_first_idx(log) ? log_segment_of(log, idx) : NULL;
        if (s != NULL && segment_ready(s, NULL) != KQ_OK)
            continue; /* it cannot even be looked at now */
        /* Deleted or cut since, below the log start (nobody has it for sure, or needs it), or well again. */
        if (s == NULL || segment_is_forgotten(s, idx, log_start_off(log)) || !is_damaged(s, idx)) {
            place_forget_damage(p, idx, idx);
            continue;
        }
        *damage = (struct log_damage){.first_idx = idx, .last_idx = idx, .sealed = s != log_active(log)};
        while (damage->sealed && damage->first_idx > s->first_idx && !has_good_head(s, damage->first_idx) &&
               !has_good_head(s, damage->first_idx - 1))
            damage->first_idx--;
        while (damage->sealed && damage->last_idx < last_of(s) && !has_good_head(s, damage->last_idx) &&
               !has_good_head(s, damage->last_idx + 1))
            damage->last_idx++;
        return true;
    }
    return false;
}

/* ---- whether it fits ---------------------------------------------------------------------- */

/* What the next entry of the run has to follow, and then what the one after it. */
struct fit {
    struct segment *s;
    uint64_t pos;
    int64_t off;
    uint32_t crc;
};

/* The body checksum of the last entry before the segment. */
static bool crc_before(const struct log *log, struct segment *s, uint32_t *crc)
{
    for (uint32_t i = 1; i < log->segment_count; i++) {
        if (log->segments[i] != s)
            continue;
        *crc = log->segments[i - 1]->last_crc;
        return true;
    }
    const struct segment_map *map;
    uint8_t *block = malloc(SEGMENT_HEAD_BYTES);
    struct segment *head = segment_new(s->place, s->first_off, s->first_idx);
    bool known = block != NULL && head != NULL && segment_map(s, SEGMENT_HEAD_BYTES, &map, NULL) == KQ_OK;
    if (known) {
        struct io_file *file;
        char path[SEGMENT_PATH_BYTES];
        place_segment_path(s->place, s->first_off, "log", path);
        known = io_open(s->place->io, path, 0, &file) == KQ_OK;
        if (known) {
            known = io_read(s->place->io, file, block, SEGMENT_HEAD_BYTES, 0, NULL) == KQ_OK &&
                    segment_head_decode(head, block) == KQ_OK && head->first_idx == s->first_idx;
            io_close(s->place->io, &file);
        }
    }
    if (known)
        *crc = head->prev_crc;
    if (head != NULL)
        segment_drop(head);
    free(block);
    return known;
}

/* Where a run that begins with idx stands; false: it has to begin earlier. */
static bool fit_begin(const struct log *log, struct segment *s, uint64_t idx, struct fit *fit)
{
    struct entry_head head;
    *fit = (struct fit){.s = s};
    if (good_head(s, idx, &head)) {
        fit->pos = segment_row(s, idx).pos;
        fit->off = head.first_off;
        fit->crc = head.prev_crc;
        return true;
    }
    if (idx == s->first_idx) {
        fit->pos = SEGMENT_HEAD_BYTES;
        fit->off = s->first_off;
        return crc_before(log, s, &fit->crc);
    }
    if (!good_head(s, idx - 1, &head))
        return false;
    fit->pos = segment_row(s, idx - 1).pos + ENTRY_HEAD_BYTES + (uint64_t)head.body_bytes;
    fit->off = head.first_off + head.record_count;
    fit->crc = head.body_crc;
    return true;
}

/* Whether fit, which now stands behind idx, meets what checks out there. */
static bool fit_end(struct segment *s, uint64_t idx, const struct fit *fit)
{
    struct entry_head head;
    if (good_head(s, idx, &head)) /* fit_entry has compared the rest */
        return true;
    if (idx == last_of(s))
        return fit->pos == s->end_pos && fit->off == s->end_off && fit->crc == s->last_crc;
    return good_head(s, idx + 1, &head) && segment_row(s, idx + 1).pos == fit->pos && head.first_off == fit->off &&
           head.prev_crc == fit->crc;
}

/* One more; its head as it is to stand here. */
static bool fit_entry(struct fit *fit, const struct log_slice *e, struct entry_head *head)
{
    struct segment *s = fit->s;
    const struct entry_seed *seed = &s->place->seed;
    struct index_row row = segment_row(s, e->idx);
    if (e->term != term_in(s, e->idx) || e->first_off != fit->off)
        return false;
    if (row.pos >= SEGMENT_HEAD_BYTES &&
        (row.pos != fit->pos || row.first_off != fit->off || row.config != (e->type == LOG_ENTRY_CONFIG)))
        return false;
    if (fit->pos + ENTRY_HEAD_BYTES + e->body_bytes > s->end_pos)
        return false;
    uint32_t plain = crc32c(0, e->body, e->body_bytes);
    uint32_t crc = entry_body_crc(seed, e->term, e->idx, plain, e->body_bytes);
    if (crc != e->body_crc)
        return false;
    *head = (struct entry_head){
        .type = e->type,
        .body_crc = crc,
        .body_bytes = e->body_bytes,
        .record_count = e->record_count,
        .term = e->term,
        .idx = e->idx,
        .first_off = e->first_off,
        .prev_crc = fit->crc,
    };
    struct entry_head here;
    if (good_head(s, e->idx, &here)) {
        if (here.type != head->type || here.body_crc != head->body_crc || here.body_bytes != head->body_bytes ||
            here.record_count != head->record_count || here.prev_crc != head->prev_crc)
            return false;
        head->flushed_idx = here.flushed_idx;
    }
    fit->pos += ENTRY_HEAD_BYTES + (uint64_t)e->body_bytes;
    fit->off += e->record_count;
    fit->crc = head->body_crc;
    return true;
}

static enum kq_err misfit(const struct log *log, uint64_t idx, const char *what, struct fault *fault)
{
    return fault_set(fault, KQ_INVALID, "%s: entry %llu that came to repair a damage %s", log->place->title,
                     (unsigned long long)idx, what);
}

enum kq_err log_repair(struct log *log, const struct log_slice *entries, uint32_t count, struct fault *fault)
{
    TAG_CHECK(log, LOG_TAG);
    REQUIRE(count > 0);
    if (log->failed)
        return fault_set(fault, log->fault.err, "%s", fault_text(&log->fault));
    bool out = log_job_is_out(log, LOG_LANE_KEEP) && log->jobs[LOG_LANE_KEEP]->kind == JOB_HEAL;
    if (out || log->heal.first_idx > 0 || log->cut.kind != LOG_CUT_NONE)
        return fault_set(fault, KQ_AGAIN, "%s: a repair or a cut is on its way", log->place->title);
    uint64_t first_idx = entries[0].idx;
    uint64_t last_idx = first_idx + count - 1;
    struct segment *s = first_idx >= log_first_idx(log) ? log_segment_of(log, first_idx) : NULL;
    if (s == NULL || s == log_active(log) || last_idx > last_of(s))
        return fault_set(fault, KQ_NOT_FOUND, "%s: entries %llu to %llu are not in one sealed segment",
                         log->place->title, (unsigned long long)first_idx, (unsigned long long)last_idx);
    enum kq_err err = segment_ready(s, fault);
    if (err != KQ_OK)
        return err;
    struct fit fit;
    if (!fit_begin(log, s, first_idx, &fit))
        return misfit(log, first_idx, "is not the first that is needed", fault);
    struct healing heal = {.first_idx = first_idx, .last_idx = last_idx, .pos = fit.pos};
    struct buf bytes;
    buf_init(&bytes, HEAL_BYTES_MAX);
    for (uint32_t i = 0; i < count; i++) {
        struct entry_head head;
        uint8_t encoded[ENTRY_HEAD_BYTES];
        if (entries[i].idx != first_idx + i || !fit_entry(&fit, &entries[i], &head)) {
            buf_fini(&bytes);
            return misfit(log, first_idx + i, "is not the one that stood here", fault);
        }
        entry_encode(encoded, &head, &s->place->seed);
        buf_put(&bytes, encoded, sizeof encoded);
        if (entries[i].body_bytes > 0)
            buf_put(&bytes, entries[i].body, entries[i].body_bytes);
    }
    if (!fit_end(s, last_idx, &fit)) {
        buf_fini(&bytes);
        return misfit(log, last_idx, "does not fit what follows it here, or more are needed", fault);
    }
    heal.bytes = buf_give(&bytes, &heal.size_bytes);
    if (heal.bytes == NULL)
        return fault_set(fault, KQ_NO_MEMORY, "%s: repairing entry %llu: out of memory", log->place->title,
                         (unsigned long long)first_idx);
    log->heal = heal;
    return KQ_OK;
}

/* ---- writing it ------------------------------------------------------------------------------ */

struct log_job *heal_begin(struct log *log)
{
    struct segment *s = log->heal.first_idx >= log_first_idx(log) ? log_segment_of(log, log->heal.first_idx) : NULL;
    if (s == NULL || s == log_active(log)) {
        heal_forget(&log->heal);
        return NULL;
    }
    struct log_job *job = job_begin(log, LOG_LANE_KEEP, JOB_HEAL);
    job->segment = segment_hold(s);
    job->heal = log->heal;
    log->heal = (struct healing){0};
    return job;
}

/* From the disk, and not from the cache. */
static enum kq_err read_back(struct io *io, struct io_file *file, const struct healing *heal)
{
    uint8_t *found = malloc(heal->size_bytes);
    if (found == NULL)
        return KQ_NO_MEMORY;
    (void)io->ops->forget(io, file);
    enum kq_err err = io_read(io, file, found, heal->size_bytes, heal->pos, NULL);
    if (err == KQ_OK && memcmp(found, heal->bytes, heal->size_bytes) != 0)
        err = KQ_IO;
    free(found);
    return err;
}

void job_run_heal(struct log_job *job)
{
    struct place *p = job->place;
    char path[SEGMENT_PATH_BYTES];
    place_segment_path(p, job->segment->first_off, "log", path);
    struct io_file *file;
    enum kq_err err = io_open(p->io, path, IO_WRITE, &file);
    if (err == KQ_OK) {
        err = io_write(p->io, file, job->heal.bytes, job->heal.size_bytes, job->heal.pos);
        if (err == KQ_OK)
            err = place_datasync(p, file);
        if (err == KQ_OK)
            err = read_back(p->io, file, &job->heal);
        else /* what the cache has and the disk may not is not to be taken for mended */
            (void)p->io->ops->forget(p->io, file);
        io_close(p->io, &file);
    }
    job->heal_err = err;
}

/* The segment gives way to one with nothing open: rows that were lost are found again. */
void heal_done(struct log *log, struct log_job *job, struct log_done *done)
{
    if (job->kind == JOB_HEAL_HEAD) {
        heal_head_done(job);
        return;
    }
    done->repaired_idx = job->heal.last_idx;
    done->repair_err = job->heal_err;
    if (job->heal_err != KQ_OK)
        return;
    place_forget_damage(log->place, job->heal.first_idx, job->heal.last_idx);
    for (uint32_t i = 0; i < log->segment_count; i++) {
        if (log->segments[i] != job->segment)
            continue;
        struct segment *clone = segment_clone(job->segment);
        if (clone == NULL)
            break; /* its rows stay as they are; a start finds them */
        atomic_store_explicit(&clone->told, false, memory_order_relaxed);
        log->segments[i] = clone;
        segment_drop(job->segment);
        log_view_forget(log);
        (void)atomic_fetch_add_explicit(&log->place->generation, 1, memory_order_release);
        done->view_changed = true;
        break;
    }
}
