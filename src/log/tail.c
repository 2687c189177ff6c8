/*
 * Damage in the unsealed tail, below what was flushed: recovery (recover.c) neither cuts it nor
 * opens the log with it. Others may have what stood there; with their entries in its place the
 * replica is what it was, and nobody need fill it anew.
 *
 * That is only so where it is certain that nothing else is missing. So what is fetched has to end
 * where something of this replica's own says that it ends:
 *
 *   a head behind the damage that checks out      it has the index, the offset and the checksum
 *                                                 that what comes before it must end with
 *   the damaged entry's own head                  if its body alone is damaged, and then a head
 *                                                 that follows it, or zeros
 *   the mark, if nothing that was flushed is      index, place, offset and checksum of the last
 *   newer, and zeros follow                       entry that was flushed
 *
 * Without one of them the last entries may be gone together with all that tells of them, and this
 * replica may have acknowledged those: it stays closed, for a new one to take its place.
 *
 * What is written fills exactly the space between; each entry's body has the checksum that the
 * other had with it, and the last one the checksum that is known here, which says by the chain that
 * all before it are the same (log matching: what a peer gives is committed). It is written in place
 * and synced, dropped from the cache, and then walked again like everything else; so it may be cut
 * off anywhere, and done again.
 */
#include "log/recover.h"
#include "log/walk.h"

#include "base/crc32c.h"

#include <string.h>

enum { TAIL_BYTES_MAX = 256 * 1024 * 1024 };

static bool heads_match(const struct entry_head *a, const struct entry_head *b)
{
    return a->type == b->type && a->body_crc == b->body_crc && a->body_bytes == b->body_bytes &&
           a->record_count == b->record_count && a->prev_crc == b->prev_crc && a->first_off == b->first_off &&
           a->term == b->term;
}

/* The body alone is damaged, and what follows it is known. */
static bool ends_with_here(const struct walk *w, uint64_t flushed, struct tail_gap *gap)
{
    uint64_t end_pos = w->pos + ENTRY_HEAD_BYTES + w->here.body_bytes;
    bool followed = w->has_behind && w->behind_pos == end_pos && w->behind.idx == w->next_idx + 1 &&
                    w->behind.prev_crc == w->here.body_crc;
    if (!followed && !(w->nonzero_end <= end_pos && flushed == w->next_idx))
        return false;
    gap->last_idx = w->next_idx;
    gap->end_pos = end_pos;
    gap->end_off = w->here.first_off + w->here.record_count;
    gap->end_term = w->here.term;
    gap->end_crc = w->here.body_crc;
    return true;
}

static bool ends_behind(const struct walk *w, struct tail_gap *gap)
{
    gap->last_idx = w->behind.idx - 1;
    gap->end_pos = w->behind_pos;
    gap->end_off = w->behind.first_off;
    gap->end_term = w->behind.term;
    gap->end_crc = w->behind.prev_crc;
    return true;
}

static bool ends_with_mark(const struct walk *w, uint64_t flushed, const struct log_mark *mark, struct tail_gap *gap)
{
    if (!log_mark_is_set(mark) || mark->cut != LOG_CUT_NONE || mark->segment_off != w->s->first_off ||
        mark->flushed_idx != flushed || mark->end_pos <= w->pos || mark->end_pos > w->size_bytes ||
        w->nonzero_end > mark->end_pos)
        return false;
    gap->last_idx = flushed;
    gap->end_pos = mark->end_pos;
    gap->end_off = mark->next_off;
    gap->end_term = mark->flushed_term;
    gap->end_crc = mark->last_crc;
    return true;
}

bool tail_find_gap(const struct walk *w, uint64_t flushed, const struct log_mark *mark, struct tail_gap *gap)
{
    *gap = (struct tail_gap){.first_idx = w->next_idx,
                             .pos = w->pos,
                             .off = w->next_off,
                             .term = w->term,
                             .crc = w->crc,
                             .has_head = w->has_here,
                             .head = w->here};
    bool known = (w->has_here && ends_with_here(w, flushed, gap)) ||
                 (w->has_behind ? ends_behind(w, gap) : ends_with_mark(w, flushed, mark, gap));
    return known && gap->last_idx >= gap->first_idx && gap->end_off >= gap->off && gap->end_term >= gap->term &&
           gap->end_pos - gap->pos >= (gap->last_idx - gap->first_idx + 1) * ENTRY_HEAD_BYTES &&
           gap->end_pos - gap->pos <= TAIL_BYTES_MAX;
}

/* Behind all before it; gap moves on. False: it is not the one that stood there. */
static bool put_entry(struct tail_gap *gap, uint64_t idx, const struct log_slice *e, const struct entry_seed *seed,
                      struct buf *out)
{
    if (e->idx != idx || e->first_off != gap->off || e->term < gap->term || e->term > gap->end_term ||
        e->body_bytes > gap->end_pos - gap->pos || gap->end_pos - gap->pos - e->body_bytes < ENTRY_HEAD_BYTES)
        return false;
    uint32_t crc = entry_body_crc(seed, e->term, idx, crc32c(0, e->body, e->body_bytes), e->body_bytes);
    struct entry_head head = {.flushed_idx = idx - 1, /* by now */
                              .type = e->type,
                              .body_crc = crc,
                              .body_bytes = e->body_bytes,
                              .record_count = e->record_count,
                              .term = e->term,
                              .idx = idx,
                              .first_off = e->first_off,
                              .prev_crc = gap->crc};
    if (crc != e->body_crc || (idx == gap->first_idx && gap->has_head && !heads_match(&head, &gap->head)))
        return false;
    uint8_t encoded[ENTRY_HEAD_BYTES];
    entry_encode(encoded, &head, seed);
    buf_put(out, encoded, sizeof encoded);
    if (e->body_bytes > 0)
        buf_put(out, e->body, e->body_bytes);
    gap->pos += ENTRY_HEAD_BYTES + (uint64_t)e->body_bytes;
    gap->off += e->record_count;
    gap->term = e->term;
    gap->crc = crc;
    return true;
}

static enum kq_err misfit(const struct segment *s, uint64_t idx, struct fault *fault)
{
    return fault_set(fault, KQ_INVALID, "%s: entry %llu that came to mend the tail is not the one that stood there",
                     s->place->title, (unsigned long long)idx);
}

static enum kq_err write_gap(struct segment *s, const struct buf *bytes, uint64_t pos, struct fault *fault)
{
    struct place *p = s->place;
    enum kq_err err = io_write(p->io, s->file, bytes->data, bytes->len, pos);
    if (err == KQ_OK)
        err = place_datasync(p, s->file);
    (void)p->io->ops->forget(p->io, s->file);
    if (err != KQ_OK)
        return fault_set(fault, err, "%s/%0*lld.log position %llu: mending the tail: %s", p->dir,
                         (int)SEGMENT_NAME_DIGITS, (long long)s->first_off, (unsigned long long)pos, err_text(err));
    return KQ_OK;
}

enum kq_err tail_mend(struct segment *s, const struct tail_gap *found, const struct log_slice *entries, uint32_t count,
                      struct fault *fault)
{
    struct tail_gap gap = *found;
    if (count != gap.last_idx - gap.first_idx + 1)
        return misfit(s, gap.first_idx, fault);
    struct buf bytes;
    buf_init(&bytes, TAIL_BYTES_MAX);
    enum kq_err err = KQ_OK;
    for (uint32_t i = 0; i < count && err == KQ_OK; i++)
        if (!put_entry(&gap, found->first_idx + i, &entries[i], &s->place->seed, &bytes))
            err = misfit(s, found->first_idx + i, fault);
    if (err == KQ_OK && (gap.pos != gap.end_pos || gap.off != gap.end_off || gap.crc != gap.end_crc))
        err = misfit(s, gap.last_idx, fault);
    if (err == KQ_OK && bytes.bad)
        err = fault_set(fault, KQ_NO_MEMORY, "%s: mending the tail: out of memory", s->place->title);
    if (err == KQ_OK)
        err = write_gap(s, &bytes, found->pos, fault);
    buf_fini(&bytes);
    return err;
}
