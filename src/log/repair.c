/*
 * Mending a stopped replica's files.
 *
 *   a body that does not check out      its head gets the flag "lost": readers find
 *                                       an empty entry there and go on behind it
 *   heads that do not check out, with   heads made anew in their place: idx and
 *   good entries behind them            offsets from the neighbours, all flagged
 *                                       lost; the last one bears the checksum that
 *                                       the good entry behind says it had, so that
 *                                       the chain holds
 *   damage up to the end of the log     cut off, and the flush mark set back
 *   a segment's head, a footer          made anew
 *   a snapshot                          moved aside, if all entries are there
 *
 * Each file is copied to NAME.aside, durably, before its first change. Everything
 * here loses acknowledged data that is lost already; with peers, fetching the
 * range from them is better, and the lines say so.
 */
#include "log/tool_impl.h"
#include "log/walk.h"

#include "base/crc32c.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { COPY_BYTES = 256 * 1024 };

static enum kq_err cannot(struct tool *t, enum kq_err err, const char *doing, const char *path)
{
    return fault_set(t->fault, err, "%s %s: %s", doing, path, err_text(err));
}

static enum kq_err copy_bytes(struct tool *t, struct io_file *from, struct io_file *to, uint64_t size_bytes)
{
    uint8_t *chunk = malloc(COPY_BYTES);
    enum kq_err err = chunk != NULL ? KQ_OK : KQ_NO_MEMORY;
    for (uint64_t pos = 0; err == KQ_OK && pos < size_bytes;) {
        size_t step = size_bytes - pos < COPY_BYTES ? (size_t)(size_bytes - pos) : (size_t)COPY_BYTES;
        err = io_read(t->io, from, chunk, step, pos, NULL);
        if (err == KQ_OK)
            err = io_write(t->io, to, chunk, step, pos);
        pos += step;
    }
    free(chunk);
    return err == KQ_OK ? err_from_errno(-t->io->ops->datasync(t->io, to)) : err;
}

/* The log file of g as NAME.aside, unless it was done before. */
static enum kq_err keep_copy(struct tool *t, struct tool_segment *g)
{
    char path[SEGMENT_PATH_BYTES];
    struct io_file *to;
    place_segment_path(t->place, g->s->first_off, "log.aside", path);
    enum kq_err err = io_open(t->io, path, IO_WRITE | IO_CREATE | IO_EXCLUSIVE, &to);
    if (err == KQ_EXISTS) {
        tool_say(t, "  %s is there from an earlier repair, and is left as it is", path);
        return KQ_OK;
    }
    if (err == KQ_OK) {
        err = copy_bytes(t, g->file, to, g->file_bytes);
        io_close(t->io, &to);
    }
    if (err == KQ_OK)
        err = place_sync_dir(t->place);
    if (err != KQ_OK)
        return cannot(t, err, "copying to", path);
    t->counts->copies++;
    tool_say(t, "  a copy is kept as %s", path);
    return KQ_OK;
}

static enum kq_err write_head(struct tool *t, struct tool_segment *g, uint64_t pos, const struct entry_head *head)
{
    uint8_t encoded[ENTRY_HEAD_BYTES];
    entry_encode(encoded, head, &t->place->seed);
    return io_write(t->io, g->file, encoded, sizeof encoded, pos);
}

static enum kq_err write_zeros(struct tool *t, struct tool_segment *g, uint64_t pos, uint64_t end)
{
    uint8_t *zeros = calloc(1, COPY_BYTES);
    enum kq_err err = zeros != NULL ? KQ_OK : KQ_NO_MEMORY;
    while (err == KQ_OK && pos < end) {
        size_t step = end - pos < COPY_BYTES ? (size_t)(end - pos) : (size_t)COPY_BYTES;
        err = io_write(t->io, g->file, zeros, step, pos);
        pos += step;
    }
    free(zeros);
    return err;
}

/* Heads for the entries that stood in r; KQ_LIMIT: there is no room for so many. */
static enum kq_err fill(struct tool *t, struct tool_segment *g, const struct tool_range *r)
{
    uint64_t count = r->end_idx - r->idx;
    uint64_t bytes = r->end_pos - r->pos;
    if (count == 0 || count > bytes / ENTRY_HEAD_BYTES || r->end_off - r->off > UINT32_MAX || r->term == 0)
        return KQ_LIMIT;
    uint64_t rest = bytes - count * ENTRY_HEAD_BYTES; /* what the last one calls its body */
    if (rest > ENTRY_BODY_BYTES_MAX)
        return KQ_LIMIT;
    enum kq_err err = KQ_OK;
    uint32_t crc = r->prev_crc;
    for (uint64_t i = 0; i < count && err == KQ_OK; i++) {
        bool last = i + 1 == count;
        struct entry_head head = {
            .flags = ENTRY_LOST,
            .type = LOG_ENTRY_RECORDS,
            .body_crc = last ? r->next_crc : entry_body_crc(&t->place->seed, r->term, r->idx + i, 0, 0),
            .body_bytes = last ? (uint32_t)rest : 0,
            .record_count = i == 0 ? (uint32_t)(r->end_off - r->off) : 0,
            .term = r->term,
            .idx = r->idx + i,
            .first_off = i == 0 ? r->off : r->end_off,
            .prev_crc = crc,
        };
        crc = head.body_crc;
        err = write_head(t, g, r->pos + i * ENTRY_HEAD_BYTES, &head);
    }
    return err;
}

/* Nothing good follows in the last segment: the log ends here now. */
static enum kq_err cut_off(struct tool *t, struct tool_segment *g, const struct tool_range *r)
{
    enum kq_err err = write_zeros(t, g, r->pos, g->file_bytes);
    if (err == KQ_OK)
        err = err_from_errno(-t->io->ops->datasync(t->io, g->file));
    if (err != KQ_OK)
        return err;
    struct log_mark mark = {.state_version = t->state.version,
                            .flushed_idx = r->idx - 1,
                            .flushed_term = r->term,
                            .next_off = r->off,
                            .segment_off = g->s->first_off,
                            .segment_idx = g->s->first_idx,
                            .end_pos = r->pos,
                            .last_crc = r->prev_crc};
    t->mark = mark;
    return hard_state_store_mark(t->io, t->place->dir, &t->state, &mark, t->fault);
}

static enum kq_err mend_range(struct tool *t, struct tool_segment *g, const struct tool_range *r)
{
    enum kq_err err;
    const char *how = "is left empty: readers go on behind it";
    if (r->body_only) {
        struct entry_head head = r->head;
        head.flags |= ENTRY_LOST;
        err = write_head(t, g, r->pos, &head);
    } else if (r->to_end && !g->has_footer) {
        how = "and all behind it is cut off";
        err = g->last ? cut_off(t, g, r) : KQ_LIMIT;
    } else {
        err = fill(t, g, r);
    }
    if (err == KQ_LIMIT) {
        t->counts->unrepaired++;
        tool_say(t,
                 "  NOT MENDED: entries %llu to %llu: their places cannot be told from what is left; restore "
                 "the file from a backup",
                 (unsigned long long)r->idx, (unsigned long long)r->end_idx - 1);
        return KQ_OK;
    }
    if (err != KQ_OK)
        return err;
    t->counts->repaired++;
    tool_say(t, "  LOST: entries %llu to %llu, offsets %lld to %lld (%lld records): the range %s",
             (unsigned long long)r->idx, (unsigned long long)r->end_idx - 1, (long long)r->off,
             (long long)r->end_off - 1, (long long)(r->end_off - r->off), how);
    return KQ_OK;
}

static enum kq_err mend_head(struct tool *t, struct tool_segment *g)
{
    if (g->s->first_idx == 0) {
        t->counts->unrepaired++;
        tool_say(t, "  NOT MENDED: the segment's place cannot be told; restore the file from a backup");
        return KQ_OK;
    }
    uint8_t *block = malloc(SEGMENT_HEAD_BYTES);
    if (block == NULL)
        return KQ_NO_MEMORY;
    segment_head_encode(g->s, block);
    enum kq_err err = io_write(t->io, g->file, block, SEGMENT_HEAD_BYTES, 0);
    free(block);
    t->counts->repaired++;
    tool_say(t, "  the head of the segment is made anew");
    return err;
}

/* A footer for a segment that another follows. */
static enum kq_err mend_footer(struct tool *t, struct tool_segment *g)
{
    struct walk w;
    enum kq_err err = walk_segment(g->s, g->file, g->file_bytes, UINT64_MAX, NULL, &w, t->fault);
    if (err == KQ_OK && w.runs.len > 0) {
        struct footer f = {.first_idx = g->s->first_idx,
                           .last_idx = w.next_idx - 1,
                           .first_off = g->s->first_off,
                           .end_off = w.next_off,
                           .max_time_ms = w.max_time_ms,
                           .last_crc = w.crc,
                           .index_crc = crc32c(0, w.rows.data, w.rows.len),
                           .end_pos = w.pos,
                           .runs = (struct term_run *)(void *)w.runs.data,
                           .run_count = (uint32_t)(w.runs.len / sizeof(struct term_run))};
        struct buf out;
        buf_init(&out, (size_t)LOG_STATE_BYTES_MAX);
        footer_encode(&out, &f, NULL, &t->place->seed);
        err = out.bad ? KQ_NO_MEMORY : err_from_errno(-t->io->ops->truncate(t->io, g->file, w.pos + out.len));
        if (err == KQ_OK)
            err = io_write(t->io, g->file, out.data, out.len, w.pos);
        buf_fini(&out);
        if (err == KQ_OK)
            tool_say(t, "  the footer is made anew");
    }
    walk_fini(&w);
    return err;
}

static enum kq_err mend_segment(struct tool *t, struct tool_segment *g)
{
    bool footer = !g->has_footer && !g->last && g->file_bytes > 0;
    if (g->range_count == 0 && !g->head_bad && !footer)
        return KQ_OK;
    enum kq_err err = keep_copy(t, g);
    if (err == KQ_OK && g->head_bad)
        err = mend_head(t, g);
    for (uint32_t i = 0; err == KQ_OK && i < g->range_count; i++)
        err = mend_range(t, g, &g->ranges[i]);
    if (err == KQ_OK && footer)
        err = mend_footer(t, g);
    if (err == KQ_OK)
        err = err_from_errno(-t->io->ops->datasync(t->io, g->file));
    return err == KQ_OK || t->fault->err != KQ_OK ? err : cannot(t, err, "mending a segment in", t->place->dir);
}

static enum kq_err mend_snapshot(struct tool *t)
{
    char path[SEGMENT_PATH_BYTES];
    char aside[SEGMENT_PATH_BYTES];
    place_path(t->place, SNAPSHOT_NAME, path);
    place_path(t->place, SNAPSHOT_NAME ".aside", aside);
    memset(t->fault, 0, sizeof *t->fault);
    enum kq_err err = err_from_errno(-t->io->ops->rename(t->io, path, aside));
    if (err == KQ_OK)
        err = place_sync_dir(t->place);
    if (err != KQ_OK)
        return cannot(t, err, "moving aside", path);
    t->counts->repaired++;
    tool_say(t, "  it is moved to %s; the state is made anew from the entries, as far as they go back", aside);
    return KQ_OK;
}

enum kq_err tool_repair(struct io *io, const char *dir, const struct tool_out *out, struct tool_counts *counts,
                        struct fault *fault)
{
    struct tool t = {
        .io = io, .out = out, .counts = counts, .fault = fault, .mend = mend_segment, .mend_snapshot = mend_snapshot};
    memset(counts, 0, sizeof *counts);
    memset(fault, 0, sizeof *fault);
    enum kq_err err = tool_run(&t, dir);
    if (err != KQ_OK)
        return err;
    struct tool_counts again;
    const struct tool_out nowhere = {.line = NULL};
    err = tool_check(io, dir, &nowhere, &again, fault);
    if (err == KQ_OK && again.damaged > counts->unrepaired)
        counts->unrepaired = again.damaged;
    if (err == KQ_OK && counts->repaired > 0)
        tool_say(&t, "%s",
                 again.damaged == 0 ? "checked again: everything that is left checks out"
                                    : "checked again: damage is left, see above");
    return err;
}
