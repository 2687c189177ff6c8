/*
 * One pass over a segment's log file through its mapping, under the bus error
 * guard. What it collects (rows, term runs) belongs to the walk, so that a jump
 * out of the guard leaves nothing behind; memory is never taken by a length that
 * the file tells.
 */
#include "log/walk.h"

#include <stdlib.h>
#include <string.h>

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
    while (w->pos <= w->size_bytes && w->next_idx < w->end_idx) {
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
        struct index_row value = {head.first_off, w->max_time_ms, (uint32_t)w->pos, (uint32_t)head.term,
                                  head.type == LOG_ENTRY_CONFIG};
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
    uint64_t pos = entry_find(w->data, w->pos, w->size_bytes);
    for (; pos < end; pos = entry_find(w->data, pos + 1, w->size_bytes)) {
        if (entry_decode(w->data + pos, w->size_bytes - pos, w->seed, &head) != KQ_OK || head.idx < w->next_idx)
            continue;
        if (pos == w->pos && follows(w, &head)) {
            w->has_here = true;
            w->here = head;
        } else if (!w->has_behind && head.idx > w->next_idx) {
            w->has_behind = true;
            w->behind_pos = pos;
            w->behind = head;
        }
        if (head.flushed_idx > w->flushed_idx) {
            w->flushed_idx = head.flushed_idx;
            w->flushed_pos = pos;
        }
    }
}

/* The head into s. KQ_CORRUPT: it does not check out. */
static enum kq_err read_head(struct segment *s, struct io_file *file)
{
    int64_t named_off = s->first_off;
    uint8_t *block = malloc(SEGMENT_HEAD_BYTES);
    if (block == NULL)
        return KQ_NO_MEMORY;
    enum kq_err err = io_read(s->place->io, file, block, SEGMENT_HEAD_BYTES, 0, NULL);
    if (err == KQ_OK)
        err = segment_head_decode(s, block);
    else if (err == KQ_EOF)
        err = KQ_CORRUPT;
    free(block);
    if (err == KQ_OK && s->first_off != named_off)
        err = KQ_CORRUPT;
    s->first_off = named_off;
    return err;
}

static enum kq_err bad_head(enum kq_err err, const char *path, struct fault *fault)
{
    return fault_set(fault, err, "%s position 0: the segment's head: %s; `kafkaesque log repair` can rebuild it", path,
                     err_text(err));
}

enum kq_err walk_segment(struct segment *s, struct io_file *file, uint64_t file_bytes, uint64_t end_idx,
                         const struct walk_before *before, struct walk *w, struct fault *fault)
{
    struct place *p = s->place;
    char path[SEGMENT_PATH_BYTES];
    place_segment_path(p, s->first_off, "log", path);
    memset(w, 0, sizeof *w);
    buf_init(&w->rows, (size_t)INDEX_ROW_BYTES * (file_bytes / ENTRY_HEAD_BYTES + 1));
    buf_init(&w->runs, (size_t)FOOTER_RUNS_MAX * sizeof(struct term_run));
    enum kq_err err = read_head(s, file);
    w->head_bad = err == KQ_CORRUPT && before != NULL && before->first_idx > 0 && before->first_off == s->first_off &&
                  file_bytes > SEGMENT_HEAD_BYTES;
    if (w->head_bad) {
        s->first_idx = before->first_idx;
        s->prev_term = before->prev_term;
        s->prev_crc = before->prev_crc;
    } else if (err != KQ_OK) {
        return bad_head(err, path, fault);
    }
    const struct segment_map *map;
    err = segment_map(s, file_bytes, &map, fault);
    if (err != KQ_OK)
        return err;
    w->s = s;
    w->seed = &p->seed;
    w->data = map->data;
    w->size_bytes = file_bytes;
    w->end_idx = end_idx;
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
    if (w->head_bad && w->next_idx == s->first_idx) /* nothing that was there says that this is the file it was */
        return bad_head(KQ_CORRUPT, path, fault);
    return KQ_OK;
}

void walk_fini(struct walk *w)
{
    buf_fini(&w->rows);
    buf_fini(&w->runs);
}
