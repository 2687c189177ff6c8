/*
 * Segments: their lazy opening, their mappings, and reading one entry.
 *
 * The log file begins with a block of 4 KiB (little-endian), durable before the
 * file has its name, then entries (entry.c), then, once sealed, a footer
 * (footer.c):
 *
 *      0   4  magic "KQs1"
 *      4   4  CRC-32C seeded with topic id and partition, over bytes 8-127, in every version
 *      8   4  version = 1
 *     12   4  partition
 *     16  16  topic id
 *     32   8  first offset
 *     40   8  first idx
 *     48   8  term of the entry before
 *     56   4  body checksum of the entry before
 *
 * Nothing is served that was not checked since the segment was opened: one bit an
 * entry, in chunks made when first needed. A damaged entry fails each time it is
 * read, and takes nothing else with it. Every touch of a mapping runs under
 * io_guarded, so that a bad block is an error of that entry.
 */
#include "log/segment.h"

#include "base/crc32c.h"
#include "base/logger.h"
#include "base/require.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HEAD_MAGIC = 0x3173514b, HEAD_VERSION = 1, HEAD_CRC_TO = 128 };

/* ---- place ---------------------------------------------------------------------- */

struct place *place_hold(struct place *p)
{
    (void)atomic_fetch_add_explicit(&p->refs, 1, memory_order_relaxed);
    return p;
}

struct place *place_new(struct io *io, const char *dir, const char *title, const struct uuid *topic_id,
                        uint32_t partition)
{
    size_t dir_bytes = strlen(dir) + 1;
    struct place *p = calloc(1, sizeof *p + dir_bytes);
    char *copy = strdup(title);
    if (p == NULL || copy == NULL) {
        free(p);
        free(copy);
        return NULL;
    }
    atomic_init(&p->refs, 1);
    (void)pthread_mutex_init(&p->damage_lock, NULL);
    p->io = io;
    p->topic_id = *topic_id;
    p->partition = partition;
    p->title = copy;
    memcpy(p->dir, dir, dir_bytes);
    return p;
}

void place_drop(struct place *p)
{
    if (atomic_fetch_sub_explicit(&p->refs, 1, memory_order_acq_rel) != 1)
        return;
    (void)pthread_mutex_destroy(&p->damage_lock);
    free(p->title);
    free(p);
}

void place_note_damage(struct place *p, uint64_t idx)
{
    (void)pthread_mutex_lock(&p->damage_lock);
    uint32_t count = atomic_load_explicit(&p->damage_count, memory_order_relaxed);
    uint32_t i = count;
    while (i > 0 && p->damage[i - 1] > idx)
        i--;
    if ((i == 0 || p->damage[i - 1] != idx) && count < PLACE_DAMAGE_MAX) {
        memmove(p->damage + i + 1, p->damage + i, (count - i) * sizeof p->damage[0]);
        p->damage[i] = idx;
        atomic_store_explicit(&p->damage_count, count + 1, memory_order_relaxed);
    }
    (void)pthread_mutex_unlock(&p->damage_lock);
}

void place_forget_damage(struct place *p, uint64_t first_idx, uint64_t last_idx)
{
    (void)pthread_mutex_lock(&p->damage_lock);
    uint32_t kept = 0;
    uint32_t count = atomic_load_explicit(&p->damage_count, memory_order_relaxed);
    for (uint32_t i = 0; i < count; i++)
        if (p->damage[i] < first_idx || p->damage[i] > last_idx)
            p->damage[kept++] = p->damage[i];
    atomic_store_explicit(&p->damage_count, kept, memory_order_relaxed);
    (void)pthread_mutex_unlock(&p->damage_lock);
}

uint64_t place_damage(struct place *p, uint64_t from_idx)
{
    uint64_t idx = 0;
    if (atomic_load_explicit(&p->damage_count, memory_order_relaxed) == 0)
        return 0;
    (void)pthread_mutex_lock(&p->damage_lock);
    uint32_t count = atomic_load_explicit(&p->damage_count, memory_order_relaxed);
    for (uint32_t i = 0; i < count && idx == 0; i++)
        if (p->damage[i] >= from_idx)
            idx = p->damage[i];
    (void)pthread_mutex_unlock(&p->damage_lock);
    return idx;
}

enum kq_err place_datasync(struct place *p, struct io_file *file)
{
    PLACE_COUNT(p, fsyncs, 1);
    enum kq_err err = err_from_errno(-p->io->ops->datasync(p->io, file));
    /* Space that was promised late and not found: what was written is lost, and no
     * room made later brings it back. */
    return err == KQ_NO_SPACE ? KQ_IO : err;
}

enum kq_err place_sync_dir(struct place *p)
{
    PLACE_COUNT(p, fsyncs, 1);
    return err_from_errno(-p->io->ops->sync_dir(p->io, p->dir));
}

void place_path(const struct place *p, const char *name, char path[SEGMENT_PATH_BYTES])
{
    REQUIRE(snprintf(path, SEGMENT_PATH_BYTES, "%s/%s", p->dir, name) < SEGMENT_PATH_BYTES);
}

void place_segment_path(const struct place *p, int64_t first_off, const char *suffix, char path[SEGMENT_PATH_BYTES])
{
    REQUIRE(snprintf(path, SEGMENT_PATH_BYTES, "%s/%0*lld.%s", p->dir, (int)SEGMENT_NAME_DIGITS, (long long)first_off,
                     suffix) < SEGMENT_PATH_BYTES);
}

/* ---- life ----------------------------------------------------------------------- */

struct segment *segment_new(struct place *place, int64_t first_off, uint64_t first_idx)
{
    struct segment *s = calloc(1, sizeof *s);
    if (s == NULL)
        return NULL;
    s->tag = SEGMENT_TAG;
    atomic_init(&s->refs, 1);
    s->place = place_hold(place);
    s->first_off = first_off;
    s->first_idx = first_idx;
    s->max_time_ms = -1;
    atomic_init(&s->end_idx, SEGMENT_END_OPEN);
    (void)pthread_mutex_init(&s->lock, NULL);
    return s;
}

struct segment *segment_clone(const struct segment *s)
{
    struct segment *clone = segment_new(s->place, s->first_off, s->first_idx);
    struct term_run *runs = malloc(s->run_count * sizeof *runs);
    if (clone == NULL || runs == NULL) {
        free(runs);
        if (clone != NULL)
            segment_drop(clone);
        return NULL;
    }
    memcpy(runs, s->runs, s->run_count * sizeof *runs);
    clone->prev_term = s->prev_term;
    clone->prev_crc = s->prev_crc;
    atomic_init(&clone->head_bad, atomic_load_explicit(&s->head_bad, memory_order_relaxed));
    atomic_init(&clone->told, atomic_load_explicit(&s->told, memory_order_relaxed));
    struct footer f = {.first_idx = s->first_idx,
                       .last_idx = atomic_load_explicit(&s->end_idx, memory_order_relaxed) - 1,
                       .end_off = s->end_off,
                       .max_time_ms = s->max_time_ms,
                       .end_pos = s->end_pos,
                       .last_crc = s->last_crc,
                       .index_crc = s->index_crc,
                       .runs = runs,
                       .run_count = s->run_count,
                       .state_bytes = s->state_bytes,
                       .state_pos = s->state_pos};
    segment_seal(clone, &f);
    return clone;
}

struct segment *segment_hold(struct segment *s)
{
    TAG_CHECK(s, SEGMENT_TAG);
    (void)atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
    return s;
}

void segment_drop(struct segment *s)
{
    TAG_CHECK(s, SEGMENT_TAG);
    if (atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) != 1)
        return;
    struct io *io = s->place->io;
    struct segment_map *m = atomic_load_explicit(&s->map, memory_order_relaxed);
    while (m != NULL) {
        struct segment_map *older = m->older;
        union {
            const void *in;
            void *out;
        } same = {.in = m->data};
        io->ops->unmap(io, same.out, m->size_bytes);
        free(m);
        m = older;
    }
    index_close(io, &s->index);
    io_close(io, &s->file);
    for (int i = 0; i < SEGMENT_BIT_CHUNKS; i++)
        free(atomic_load_explicit(&s->checked[i], memory_order_relaxed));
    free(s->runs);
    (void)pthread_mutex_destroy(&s->lock);
    place_drop(s->place);
    s->tag = TAG_DEAD;
    free(s);
}

void segment_head_encode(const struct segment *s, uint8_t block[SEGMENT_HEAD_BYTES])
{
    memset(block, 0, SEGMENT_HEAD_BYTES);
    put_le32(block, HEAD_MAGIC);
    put_le32(block + 8, HEAD_VERSION);
    put_le32(block + 12, s->place->partition);
    memcpy(block + 16, s->place->topic_id.bytes, UUID_BYTES);
    put_le64(block + 32, (uint64_t)s->first_off);
    put_le64(block + 40, s->first_idx);
    put_le64(block + 48, s->prev_term);
    put_le32(block + 56, s->prev_crc);
    put_le32(block + 4, crc32c(s->place->seed.shared, block + 8, HEAD_CRC_TO - 8));
}

enum kq_err segment_head_decode(struct segment *s, const uint8_t block[SEGMENT_HEAD_BYTES])
{
    if (get_le32(block) != HEAD_MAGIC ||
        get_le32(block + 4) != crc32c(s->place->seed.shared, block + 8, HEAD_CRC_TO - 8))
        return KQ_CORRUPT;
    if (get_le32(block + 8) > HEAD_VERSION)
        return KQ_BAD_VERSION;
    s->first_off = (int64_t)get_le64(block + 32);
    s->first_idx = get_le64(block + 40);
    s->prev_term = get_le64(block + 48);
    s->prev_crc = get_le32(block + 56);
    return s->first_off >= 0 && s->first_idx > 0 ? KQ_OK : KQ_CORRUPT;
}

void segment_note_head(struct segment *s)
{
    atomic_store_explicit(&s->head_bad, true, memory_order_relaxed);
    atomic_store_explicit(&s->place->heads_bad, true, memory_order_release);
}

void segment_seal(struct segment *s, struct footer *f)
{
    REQUIRE(f->first_idx == s->first_idx);
    s->end_off = f->end_off;
    s->max_time_ms = f->max_time_ms;
    s->end_pos = f->end_pos;
    s->last_crc = f->last_crc;
    s->index_crc = f->index_crc;
    s->runs = f->runs;
    s->run_count = f->run_count;
    s->state_bytes = f->state_bytes;
    s->state_pos = f->state_pos;
    f->runs = NULL;
    atomic_store_explicit(&s->end_idx, f->last_idx + 1, memory_order_release);
}

/* ---- mapping -------------------------------------------------------------------- */

static enum kq_err cannot(struct segment *s, enum kq_err err, const char *doing, const char *path, struct fault *fault)
{
    (void)s;
    return fault_set(fault, err, "%s %s: %s", doing, path, err_text(err));
}

/* Under s->lock. */
static enum kq_err map_more(struct segment *s, uint64_t size_bytes, struct fault *fault)
{
    struct io *io = s->place->io;
    char path[SEGMENT_PATH_BYTES];
    place_segment_path(s->place, s->first_off, "log", path);
    struct segment_map *before = atomic_load_explicit(&s->map, memory_order_relaxed);
    uint64_t want = before != NULL ? 2 * (uint64_t)before->size_bytes : 0;
    if (want < size_bytes)
        want = size_bytes;
    struct io_file *file;
    enum kq_err err = io_open(io, path, 0, &file);
    if (err != KQ_OK)
        return cannot(s, err, "opening", path, fault);
    if (atomic_load_explicit(&s->end_idx, memory_order_acquire) != SEGMENT_END_OPEN) {
        uint64_t file_bytes;
        err = err_from_errno(-io->ops->size(io, file, &file_bytes));
        if (err == KQ_OK && file_bytes < size_bytes)
            err = KQ_CORRUPT; /* cut short by somebody: the mapping would end in the air */
        want = file_bytes;
    } else if (want < s->place->read_map_bytes) {
        want = s->place->read_map_bytes;
    }
    struct segment_map *m = malloc(sizeof *m);
    if (err == KQ_OK && m == NULL)
        err = KQ_NO_MEMORY;
    void *address = NULL;
    if (err == KQ_OK)
        err = err_from_errno(-io->ops->map(io, file, want, false, &address));
    io_close(io, &file);
    if (err != KQ_OK) {
        free(m);
        return cannot(s, err, "mapping", path, fault);
    }
    *m = (struct segment_map){.older = before, .data = address, .size_bytes = want};
    atomic_store_explicit(&s->map, m, memory_order_release);
    return KQ_OK;
}

enum kq_err segment_map(struct segment *s, uint64_t size_bytes, const struct segment_map **map, struct fault *fault)
{
    *map = atomic_load_explicit(&s->map, memory_order_acquire);
    if (*map != NULL && (*map)->size_bytes >= size_bytes)
        return KQ_OK;
    enum kq_err err = KQ_OK;
    (void)pthread_mutex_lock(&s->lock);
    *map = atomic_load_explicit(&s->map, memory_order_relaxed);
    if (*map == NULL || (*map)->size_bytes < size_bytes)
        err = map_more(s, size_bytes, fault);
    *map = atomic_load_explicit(&s->map, memory_order_relaxed);
    (void)pthread_mutex_unlock(&s->lock);
    return err;
}

/* ---- rows ----------------------------------------------------------------------- */

struct build {
    const struct entry_seed *seed;
    const uint8_t *data;
    uint64_t end_pos;
    uint64_t first_idx;
    uint64_t count;
    uint8_t *rows;
};

/* The next head at or after *pos that can follow: idx in [idx, end). */
static bool find_head(const struct build *b, uint64_t *pos, uint64_t idx, struct entry_head *head)
{
    for (*pos = entry_find(b->data, *pos, b->end_pos); *pos < b->end_pos;
         *pos = entry_find(b->data, *pos + 1, b->end_pos))
        if (entry_decode(b->data + *pos, b->end_pos - *pos, b->seed, head) == KQ_OK && head->idx >= idx &&
            head->idx < b->first_idx + b->count && *pos + ENTRY_HEAD_BYTES + head->body_bytes <= b->end_pos)
            return true;
    return false;
}

static void build_rows(void *context)
{
    struct build *b = context;
    int64_t max_time_ms = -1;
    uint64_t pos = SEGMENT_HEAD_BYTES;
    uint64_t next = b->first_idx;
    struct entry_head head;
    memset(b->rows, 0, b->count * INDEX_ROW_BYTES);
    while (next < b->first_idx + b->count && find_head(b, &pos, next, &head)) {
        /* Entries that could not be found keep zeros for position and the offset
         * of the next that could, so that the rows stay sorted. */
        struct index_row lost = {.first_off = head.first_off, .max_time_ms = max_time_ms};
        for (; next < head.idx; next++)
            index_row_put(b->rows, next - b->first_idx, &lost);
        int64_t time_ms = entry_max_time(&head, b->data + pos + ENTRY_HEAD_BYTES);
        if (time_ms > max_time_ms)
            max_time_ms = time_ms;
        struct index_row row = {head.first_off, max_time_ms, (uint32_t)pos, (uint32_t)head.term,
                                head.type == LOG_ENTRY_CONFIG};
        index_row_put(b->rows, head.idx - b->first_idx, &row);
        pos += ENTRY_HEAD_BYTES + head.body_bytes;
        next = head.idx + 1;
    }
    struct index_row lost = {.first_off = INT64_MAX, .max_time_ms = max_time_ms};
    for (; next < b->first_idx + b->count; next++)
        index_row_put(b->rows, next - b->first_idx, &lost);
}

enum kq_err segment_build_rows(struct segment *s, uint8_t *rows, uint64_t count, uint64_t end_pos, struct fault *fault)
{
    const struct segment_map *map = atomic_load_explicit(&s->map, memory_order_acquire);
    REQUIRE(map != NULL && map->size_bytes >= end_pos);
    struct build b = {&s->place->seed, map->data, end_pos, s->first_idx, count, rows};
    if (io_guarded(map->data, map->size_bytes, build_rows, &b))
        return KQ_OK;
    return fault_set(fault, KQ_IO, "%s/%0*lld.log cannot be read: the disk reported an error", s->place->dir,
                     (int)SEGMENT_NAME_DIGITS, (long long)s->first_off);
}

/* Under s->lock; the log file is mapped. A sealed segment whose rows do not agree:
 * built on the heap, and written back if that works. */
static enum kq_err rebuild_sealed(struct segment *s, uint64_t count, const char *path, struct fault *fault)
{
    struct io *io = s->place->io;
    size_t size = count * INDEX_ROW_BYTES;
    uint8_t *rows = malloc(size);
    if (rows == NULL)
        return fault_set(fault, KQ_NO_MEMORY, "building %s: out of memory", path);
    enum kq_err err = segment_build_rows(s, rows, count, s->end_pos, fault);
    if (err != KQ_OK) {
        free(rows);
        return err;
    }
    s->index = (struct index){.rows = rows};
    struct io_file *file;
    if (io_open(io, path, IO_WRITE | IO_CREATE, &file) == KQ_OK) {
        if (io_write(io, file, rows, size, 0) == KQ_OK)
            (void)io->ops->truncate(io, file, size);
        io_close(io, &file);
    }
    return KQ_OK;
}

/* Under s->lock. */
static enum kq_err open_rows(struct segment *s, struct fault *fault)
{
    struct io *io = s->place->io;
    char path[SEGMENT_PATH_BYTES];
    place_segment_path(s->place, s->first_off, "index", path);
    uint64_t end_idx = atomic_load_explicit(&s->end_idx, memory_order_acquire);
    bool sealed = end_idx != SEGMENT_END_OPEN;
    uint64_t count = sealed ? end_idx - s->first_idx : s->check_rows;
    if (sealed && index_open_sealed(io, path, count, s->index_crc, &s->index) == KQ_OK)
        return KQ_OK;
    enum kq_err err = KQ_OK;
    if (!sealed) {
        err = index_open_writable(io, path, count, s->index_map_bytes, &s->index);
        if (err != KQ_OK)
            return cannot(s, err, "opening", path, fault);
        uint32_t crc;
        if (index_crc(&s->index, count, &crc) == KQ_OK && crc == s->index_crc)
            return KQ_OK;
    }
    const struct segment_map *map = atomic_load_explicit(&s->map, memory_order_relaxed);
    if (map == NULL || map->size_bytes < s->end_pos)
        err = map_more(s, s->end_pos, fault);
    if (err == KQ_OK)
        err = sealed ? rebuild_sealed(s, count, path, fault)
                     : segment_build_rows(s, s->index.rows, count, s->end_pos, fault);
    if (err != KQ_OK)
        index_close(io, &s->index);
    return err;
}

enum kq_err segment_ready(struct segment *s, struct fault *fault)
{
    if (atomic_load_explicit(&s->ready, memory_order_acquire))
        return KQ_OK;
    enum kq_err err = KQ_OK;
    (void)pthread_mutex_lock(&s->lock);
    if (!atomic_load_explicit(&s->ready, memory_order_relaxed)) {
        err = open_rows(s, fault);
        if (err == KQ_OK)
            atomic_store_explicit(&s->ready, true, memory_order_release);
    }
    (void)pthread_mutex_unlock(&s->lock);
    return err;
}

/* ---- reading one entry ----------------------------------------------------------- */

/* The word of the bit for this row, or NULL: no room or no memory, check each time. */
static _Atomic uint64_t *checked_word(struct segment *s, uint64_t number)
{
    uint64_t chunk = number / SEGMENT_CHUNK_BITS;
    if (chunk >= SEGMENT_BIT_CHUNKS)
        return NULL;
    _Atomic uint64_t *words = atomic_load_explicit(&s->checked[chunk], memory_order_acquire);
    if (words == NULL) {
        _Atomic uint64_t *fresh = calloc(SEGMENT_CHUNK_BITS / 64, sizeof *fresh);
        if (fresh == NULL)
            return NULL;
        if (atomic_compare_exchange_strong_explicit(&s->checked[chunk], &words, fresh, memory_order_acq_rel,
                                                    memory_order_acquire))
            words = fresh;
        else
            free(fresh);
    }
    return &words[number % SEGMENT_CHUNK_BITS / 64];
}

void segment_forget_checks(struct segment *s, uint64_t idx)
{
    uint64_t number = idx - s->first_idx;
    for (uint64_t chunk = number / SEGMENT_CHUNK_BITS; chunk < SEGMENT_BIT_CHUNKS; chunk++) {
        _Atomic uint64_t *words = atomic_load_explicit(&s->checked[chunk], memory_order_acquire);
        uint64_t first = chunk * SEGMENT_CHUNK_BITS;
        for (uint64_t i = 0; words != NULL && i < SEGMENT_CHUNK_BITS / 64; i++) {
            uint64_t base = first + i * 64;
            uint64_t keep = base >= number        ? 0
                            : number - base >= 64 ? UINT64_MAX
                                                  : (UINT64_C(1) << (number - base)) - 1;
            if (keep != UINT64_MAX)
                (void)atomic_fetch_and_explicit(&words[i], keep, memory_order_relaxed);
        }
    }
}

struct look {
    const struct entry_seed *seed;
    const uint8_t *at;
    size_t left;
    struct entry_head head;
    enum kq_err err;
};

static void look_head(void *context)
{
    struct look *l = context;
    l->err = entry_decode(l->at, l->left, l->seed, &l->head);
}

static void look_body(void *context)
{
    struct look *l = context;
    if (!entry_body_ok(l->seed, &l->head, l->at + ENTRY_HEAD_BYTES))
        l->err = KQ_CORRUPT;
}

/* Said to the operator once a segment by whoever reads it first; the scrubber tells each place by itself. */
static enum kq_err damaged(struct segment *s, uint64_t idx, const struct index_row *row, bool tell, enum kq_err err,
                           struct fault *fault)
{
    (void)fault_set(fault, err,
                    "%s/%0*lld.log position %lu: entry %llu from offset %lld on %s; the rest is served. "
                    "`kafkaesque log check` shows the damage, `kafkaesque log repair` cuts it out",
                    s->place->dir, (int)SEGMENT_NAME_DIGITS, (long long)s->first_off, (unsigned long)row->pos,
                    (unsigned long long)idx, (long long)row->first_off,
                    err == KQ_IO ? "cannot be read: the disk reported an error" : "does not match its checksum");
    place_note_damage(s->place, idx);
    if (tell && !atomic_exchange_explicit(&s->told, true, memory_order_relaxed))
        SAY_ERROR("%s: %s", s->place->title, fault_text(fault));
    return err;
}

struct look_at_top {
    const uint8_t *at;
    uint8_t block[HEAD_CRC_TO];
};

static void copy_top(void *context)
{
    struct look_at_top *l = context;
    memcpy(l->block, l->at, sizeof l->block);
}

enum kq_err segment_check_head(struct segment *s, struct fault *fault)
{
    const struct segment_map *map;
    enum kq_err err = segment_map(s, SEGMENT_HEAD_BYTES, &map, fault);
    if (err != KQ_OK)
        return err;
    struct look_at_top l = {.at = map->data};
    bool good = io_guarded(map->data, map->size_bytes, copy_top, &l) && get_le32(l.block) == HEAD_MAGIC &&
                get_le32(l.block + 4) == crc32c(s->place->seed.shared, l.block + 8, HEAD_CRC_TO - 8) &&
                (int64_t)get_le64(l.block + 32) == s->first_off && get_le64(l.block + 40) == s->first_idx;
    if (good)
        return KQ_OK;
    segment_note_head(s);
    return fault_set(fault, KQ_CORRUPT,
                     "%s/%0*lld.log position 0: the segment's head does not match its checksum; its entries are served "
                     "as before",
                     s->place->dir, (int)SEGMENT_NAME_DIGITS, (long long)s->first_off);
}

enum kq_err segment_read(struct segment *s, uint64_t idx, bool anew, struct entry_head *head, const uint8_t **body,
                         struct fault *fault)
{
    if (!atomic_load_explicit(&s->used, memory_order_relaxed)) /* no store each time: readers share the line */
        atomic_store_explicit(&s->used, true, memory_order_relaxed);
    struct index_row row = segment_row(s, idx);
    if (row.pos < SEGMENT_HEAD_BYTES)
        return damaged(s, idx, &row, !anew, KQ_CORRUPT, fault);
    const struct segment_map *map;
    enum kq_err err = segment_map(s, (uint64_t)row.pos + ENTRY_HEAD_BYTES, &map, fault);
    if (err != KQ_OK)
        return err;
    struct look l = {.seed = &s->place->seed, .at = map->data + row.pos, .left = map->size_bytes - row.pos};
    if (!io_guarded(map->data, map->size_bytes, look_head, &l))
        return damaged(s, idx, &row, !anew, KQ_IO, fault);
    if (l.err == KQ_BAD_VERSION)
        return fault_set(fault, l.err, "%s: an entry of a newer format; start the newer program", s->place->dir);
    if (l.err != KQ_OK || l.head.idx != idx || l.head.first_off != row.first_off || l.head.term != row.term)
        return damaged(s, idx, &row, !anew, KQ_CORRUPT, fault);
    err = segment_map(s, (uint64_t)row.pos + ENTRY_HEAD_BYTES + l.head.body_bytes, &map, fault);
    if (err != KQ_OK)
        return err == KQ_CORRUPT ? damaged(s, idx, &row, !anew, err, fault) : err;
    l.at = map->data + row.pos;
    _Atomic uint64_t *word = checked_word(s, idx - s->first_idx);
    uint64_t bit = UINT64_C(1) << ((idx - s->first_idx) % 64);
    if (anew || word == NULL || (atomic_load_explicit(word, memory_order_relaxed) & bit) == 0) {
        if (!io_guarded(map->data, map->size_bytes, look_body, &l))
            l.err = KQ_IO;
        if (l.err != KQ_OK) {
            if (word != NULL)
                (void)atomic_fetch_and_explicit(word, ~bit, memory_order_relaxed);
            return damaged(s, idx, &row, !anew, l.err, fault);
        }
        if (word != NULL)
            (void)atomic_fetch_or_explicit(word, bit, memory_order_relaxed);
    }
    *head = l.head;
    if ((head->flags & ENTRY_LOST) != 0) {
        head->body_bytes = 0;
        place_note_damage(s->place, idx); /* others may have it */
    }
    *body = l.at + ENTRY_HEAD_BYTES;
    return KQ_OK;
}
