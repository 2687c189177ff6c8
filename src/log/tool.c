/*
 * Looking through stopped replicas' folders, and printing them.
 *
 * Unlike recovery, which stops at the first entry that does not check out, the
 * tool goes on behind it: it looks for the next head that does, and so knows
 * exactly which entries and offsets are damaged. It reads through mappings under
 * the bus error guard, trusts no length before its checksum, and writes nothing;
 * repair.c writes.
 */
#include "log/tool_impl.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LINE_BYTES = 1024, TEXT_SHOWN_BYTES = 120, NAMES_MAX = 1 << 20, RANGES_GROW = 8 };

void tool_say(struct tool *t, const char *format, ...)
{
    char line[LINE_BYTES];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(line, sizeof line, format, args);
    va_end(args);
    if (t->out != NULL && t->out->line != NULL)
        t->out->line(t->out->context, line);
}

static enum kq_err cannot(struct tool *t, enum kq_err err, const char *doing, const char *path)
{
    return fault_set(t->fault, err, "%s %s: %s", doing, path, err_text(err));
}

/* ---- printing ----------------------------------------------------------------------- */

static const char *type_name(enum log_entry_type type)
{
    switch (type) {
    case LOG_ENTRY_RECORDS:
        return "records";
    case LOG_ENTRY_NOOP:
        return "no-op";
    case LOG_ENTRY_CONFIG:
        return "configuration";
    case LOG_ENTRY_LOG_START:
        return "log start";
    }
    return "unknown type";
}

/* At most TEXT_SHOWN_BYTES, what is no printable ASCII as \xHH. */
static void shown(struct slice s, char *out, size_t out_bytes)
{
    size_t at = 0;
    if (slice_is_absent(s)) {
        (void)snprintf(out, out_bytes, "null");
        return;
    }
    size_t count = s.len < TEXT_SHOWN_BYTES ? s.len : TEXT_SHOWN_BYTES;
    out[at++] = '"';
    for (size_t i = 0; i < count && at + 8 < out_bytes; i++) {
        uint8_t c = s.data[i];
        if (isprint(c) && c != '"' && c != '\\')
            out[at++] = (char)c;
        else
            at += (size_t)snprintf(out + at, out_bytes - at, "\\x%02x", c);
    }
    out[at++] = '"';
    (void)snprintf(out + at, out_bytes - at, "%s", s.len > count ? "..." : "");
}

static void print_records(struct tool *t, const uint8_t *body, uint32_t body_bytes)
{
    struct cursor c = cursor_over(body, body_bytes);
    struct batch_info info;
    const uint8_t *batch;
    char key[TEXT_SHOWN_BYTES * 4 + 16];
    char value[TEXT_SHOWN_BYTES * 4 + 16];
    while (cursor_left(&c) > 0 && batch_next(&c, &info, &batch) == KQ_OK) {
        if ((info.attributes & BATCH_CODEC_MASK) != 0) {
            tool_say(t, "  offsets %lld to %lld: a compressed batch of %d bytes", (long long)info.base_off,
                     (long long)info.base_off + info.last_offset_delta, (int)info.size_bytes);
            continue;
        }
        struct record_walk w;
        struct record r;
        record_walk_init(&w, batch, &info);
        while (record_walk_next(&w, &r) == KQ_OK) {
            if (r.off < t->from_off)
                continue;
            if (t->out->record != NULL) {
                t->out->record(t->out->context, &r);
                continue;
            }
            shown(r.key, key, sizeof key);
            shown(r.value, value, sizeof value);
            tool_say(t, "  offset %lld time %lld key %s value %s", (long long)r.off, (long long)r.time_ms, key, value);
        }
    }
}

static void print_entry(struct tool *t, const struct tool_segment *g, const struct entry_head *head,
                        const uint8_t *body)
{
    if ((t->limit > 0 && t->printed >= t->limit) || head->first_off + head->record_count <= t->from_off)
        return;
    if (head->record_count == 0 && head->first_off < t->from_off)
        return;
    t->printed++;
    struct tool_entry entry = {.dir = t->place->dir,
                               .type = type_name(head->type),
                               .idx = head->idx,
                               .term = head->term,
                               .first_off = head->first_off,
                               .record_count = head->record_count,
                               .body_bytes = head->body_bytes,
                               .pos = g->pos,
                               .lost = (head->flags & ENTRY_LOST) != 0};
    if (t->out->entry != NULL)
        t->out->entry(t->out->context, &entry);
    else
        tool_say(t, "entry %llu term %llu %s%s offset %lld count %u bytes %u position %llu",
                 (unsigned long long)entry.idx, (unsigned long long)entry.term, entry.type,
                 entry.lost ? " (lost, given up by a repair)" : "", (long long)entry.first_off,
                 (unsigned)entry.record_count, (unsigned)entry.body_bytes, (unsigned long long)entry.pos);
    if (t->records && head->type == LOG_ENTRY_RECORDS && !entry.lost)
        print_records(t, body, head->body_bytes);
}

/* ---- one log file ---------------------------------------------------------------------- */

struct probe {
    const struct tool *t;
    struct tool_segment *g;
    const uint8_t *data;
    uint64_t end;
    uint64_t pos;
    struct entry_head head;
    enum kq_err head_err;
    bool body_ok;
    bool found;
};

/* What stands at pos. */
static void probe_here(void *context)
{
    struct probe *p = context;
    const struct entry_seed *seed = &p->t->place->seed;
    p->body_ok = false;
    p->head_err = entry_decode(p->data + p->pos, p->end - p->pos, seed, &p->head);
    if (p->head_err == KQ_OK && p->head.body_bytes > p->end - p->pos - ENTRY_HEAD_BYTES)
        p->head_err = KQ_CORRUPT;
    if (p->head_err == KQ_OK)
        p->body_ok = entry_body_ok(seed, &p->head, p->data + p->pos + ENTRY_HEAD_BYTES);
}

/* The next head behind pos that can follow. */
static void probe_next(void *context)
{
    struct probe *p = context;
    struct entry_head head;
    p->found = false;
    uint64_t at = entry_find(p->data, p->pos + 1, p->end);
    for (; at < p->end; at = entry_find(p->data, at + 1, p->end)) {
        if (entry_decode(p->data + at, p->end - at, &p->t->place->seed, &head) != KQ_OK || head.idx <= p->g->idx ||
            head.first_off < p->g->off || head.body_bytes > p->end - at - ENTRY_HEAD_BYTES)
            continue;
        p->found = true;
        p->pos = at;
        p->head = head;
        return;
    }
}

/* The largest flushed idx that any good head in the file tells. */
static void probe_flushed(void *context)
{
    struct probe *p = context;
    struct entry_head head;
    uint64_t at = entry_find(p->data, p->pos, p->end);
    for (; at < p->end; at = entry_find(p->data, at + 1, p->end))
        if (entry_decode(p->data + at, p->end - at, &p->t->place->seed, &head) == KQ_OK &&
            head.flushed_idx > p->g->flushed_idx)
            p->g->flushed_idx = head.flushed_idx;
}

static void probe_zeros(void *context)
{
    struct probe *p = context;
    uint64_t end = p->end;
    while (end > p->pos && p->data[end - 1] == 0)
        end--;
    p->pos = end;
}

static bool add_range(struct tool_segment *g, const struct tool_range *range)
{
    if (g->range_count % RANGES_GROW == 0) {
        struct tool_range *grown = realloc(g->ranges, (g->range_count + RANGES_GROW) * sizeof *grown);
        if (grown == NULL)
            return false;
        g->ranges = grown;
    }
    g->ranges[g->range_count++] = *range;
    return true;
}

static enum kq_err damage(struct tool *t, struct tool_segment *g, const struct tool_range *r)
{
    t->counts->damaged++;
    t->counts->lost_entries += r->end_idx - r->idx;
    t->counts->lost_records += (uint64_t)(r->end_off - r->off);
    tool_say(t, "DAMAGED %s/%0*lld.log position %llu to %llu: entries %llu to %llu, offsets %lld to %lld%s",
             t->place->dir, (int)SEGMENT_NAME_DIGITS, (long long)g->s->first_off, (unsigned long long)r->pos,
             (unsigned long long)r->end_pos, (unsigned long long)r->idx, (unsigned long long)r->end_idx - 1,
             (long long)r->off, (long long)r->end_off - 1, r->body_only ? " (the body alone)" : "");
    return add_range(g, r) ? KQ_OK : fault_set(t->fault, KQ_NO_MEMORY, "out of memory");
}

static bool follows(const struct tool_segment *g, const struct entry_head *head)
{
    return head->idx == g->idx && head->first_off == g->off && head->prev_crc == g->crc && head->term >= g->term;
}

static void step_over(struct tool_segment *g, const struct entry_head *head)
{
    g->pos += ENTRY_HEAD_BYTES + head->body_bytes;
    g->idx = head->idx + 1;
    g->off = head->first_off + head->record_count;
    g->term = head->term;
    g->crc = head->body_crc;
}

/* What stands at the end of the walk was never said to be flushed: a start cuts it there. */
static bool may_be_torn(const struct tool_segment *g)
{
    return g->last && !g->has_footer && g->flushed_idx < g->idx;
}

/* What does not check out and nothing follows it: torn, or damage up to the last
 * entry that is known to have been flushed. */
static enum kq_err end_of_walk(struct tool *t, struct tool_segment *g, struct probe *p, uint64_t end_idx,
                               int64_t end_off)
{
    if (end_idx <= g->idx) {
        p->pos = g->pos;
        if (!io_guarded(p->data, p->end, probe_zeros, p))
            return cannot(t, KQ_IO, "reading", t->place->dir);
        g->torn_end = p->pos > g->pos ? p->pos : g->pos;
        t->counts->torn_bytes += g->torn_end - g->pos;
        if (g->torn_end > g->pos)
            tool_say(t,
                     "torn %s/%0*lld.log position %llu to %llu: entries from %llu on, above what is known to be "
                     "flushed (%llu): a write that did not finish; the next start cuts it",
                     t->place->dir, (int)SEGMENT_NAME_DIGITS, (long long)g->s->first_off, (unsigned long long)g->pos,
                     (unsigned long long)g->torn_end, (unsigned long long)g->idx, (unsigned long long)g->flushed_idx);
        return KQ_OK;
    }
    struct tool_range r = {.to_end = true,
                           .pos = g->pos,
                           .end_pos = p->end,
                           .idx = g->idx,
                           .end_idx = end_idx,
                           .off = g->off,
                           .end_off = end_off > g->off ? end_off : g->off,
                           .term = g->term,
                           .prev_crc = g->crc,
                           .next_crc = g->footer.last_crc};
    enum kq_err err = damage(t, g, &r);
    g->torn_end = p->end;
    if (g->has_footer) { /* the next segment goes on from there */
        g->idx = end_idx;
        g->off = end_off;
        g->crc = g->footer.last_crc;
    }
    return err;
}

static enum kq_err walk(struct tool *t, struct tool_segment *g, const uint8_t *data, uint64_t end)
{
    struct probe p = {.t = t, .g = g, .data = data, .end = end, .pos = g->pos};
    g->flushed_idx = log_mark_is_set(&t->mark) ? t->mark.flushed_idx : 0;
    if (g->last && !g->has_footer && !io_guarded(data, end, probe_flushed, &p))
        return cannot(t, KQ_IO, "reading", t->place->dir);
    while (g->pos < end) {
        p.pos = g->pos;
        if (!io_guarded(data, end, probe_here, &p))
            return cannot(t, KQ_IO, "reading", t->place->dir);
        if (p.head_err == KQ_BAD_VERSION)
            return fault_set(t->fault, KQ_BAD_VERSION, "%s: written by a newer version of this program", t->place->dir);
        struct tool_range r = {.pos = g->pos, .idx = g->idx, .off = g->off, .term = g->term, .prev_crc = g->crc};
        if (p.head_err == KQ_OK && follows(g, &p.head)) {
            if (p.body_ok) {
                t->counts->entries++;
                t->counts->records += p.head.record_count;
                t->counts->bytes += ENTRY_HEAD_BYTES + p.head.body_bytes;
                if (t->dump)
                    print_entry(t, g, &p.head, data + g->pos + ENTRY_HEAD_BYTES);
                step_over(g, &p.head);
                continue;
            }
            if (may_be_torn(g)) /* whatever follows: a power cut leaves any part of what was not flushed */
                break;
            r.body_only = true;
            r.head = p.head;
            step_over(g, &p.head);
            r.end_pos = g->pos;
            r.end_idx = g->idx;
            r.end_off = g->off;
        } else {
            if (!io_guarded(data, end, probe_next, &p))
                return cannot(t, KQ_IO, "reading", t->place->dir);
            if (!p.found)
                break;
            if (may_be_torn(g))
                break;
            r.end_pos = p.pos;
            r.end_idx = p.head.idx;
            r.end_off = p.head.first_off;
            r.next_crc = p.head.prev_crc;
            if (r.term == 0)
                r.term = p.head.term;
            g->pos = p.pos;
            g->idx = p.head.idx;
            g->off = p.head.first_off;
            g->crc = p.head.prev_crc;
        }
        enum kq_err err = damage(t, g, &r);
        if (err != KQ_OK)
            return err;
    }
    uint64_t end_idx = g->has_footer ? g->footer.last_idx + 1 : 0;
    int64_t end_off = g->has_footer ? g->footer.end_off : 0;
    if (g->last && !g->has_footer) {
        end_idx = g->flushed_idx + 1;
        end_off = t->mark.next_off;
    }
    return end_of_walk(t, g, &p, end_idx, end_off);
}

/* The head block, or what can be told without it. */
static enum kq_err look_at_head(struct tool *t, struct tool_segment *g, const uint8_t *data)
{
    struct segment *s = g->s;
    int64_t named = s->first_off;
    enum kq_err err = g->file_bytes >= SEGMENT_HEAD_BYTES ? segment_head_decode(s, data) : KQ_CORRUPT;
    if (err == KQ_BAD_VERSION)
        return fault_set(t->fault, err, "%s: written by a newer version of this program", t->place->dir);
    g->head_bad = err != KQ_OK || s->first_off != named;
    s->first_off = named;
    if (!g->head_bad)
        return KQ_OK;
    t->counts->damaged++;
    tool_say(t, "DAMAGED %s/%0*lld.log position 0: the head of the segment does not check out", t->place->dir,
             (int)SEGMENT_NAME_DIGITS, (long long)named);
    struct entry_head head;
    if (g->file_bytes > SEGMENT_HEAD_BYTES &&
        entry_decode(data + SEGMENT_HEAD_BYTES, g->file_bytes - SEGMENT_HEAD_BYTES, &t->place->seed, &head) == KQ_OK) {
        s->first_idx = head.idx;
        s->prev_crc = head.prev_crc;
    } else if (g->has_footer) {
        s->first_idx = g->footer.first_idx;
        s->prev_crc = g->crc;
    } else {
        s->first_idx = g->idx;
        s->prev_crc = g->crc;
    }
    s->prev_term = g->term;
    return KQ_OK;
}

struct head_look {
    struct tool *t;
    struct tool_segment *g;
    const uint8_t *data;
    enum kq_err err;
};

static void look_guarded(void *context)
{
    struct head_look *l = context;
    l->err = look_at_head(l->t, l->g, l->data);
}

static void look_at_index(struct tool *t, struct tool_segment *g)
{
    char path[SEGMENT_PATH_BYTES];
    struct index index = {0};
    if (!g->has_footer)
        return;
    place_segment_path(t->place, g->s->first_off, "index", path);
    uint64_t count = g->footer.last_idx + 1 - g->footer.first_idx;
    enum kq_err err = index_open_sealed(t->io, path, count, g->footer.index_crc, &index);
    index_close(t->io, &index);
    if (err == KQ_OK)
        return;
    t->counts->rebuildable++;
    tool_say(t, "index %s does not agree (%s); it is built anew when it is read", path, err_text(err));
}

static enum kq_err look_at_segment(struct tool *t, struct tool_segment *g)
{
    char path[SEGMENT_PATH_BYTES];
    place_segment_path(t->place, g->s->first_off, "log", path);
    uint64_t expected = g->idx;
    enum kq_err err = io_open(t->io, path, t->mend != NULL ? IO_WRITE : 0, &g->file);
    if (err == KQ_OK)
        err = err_from_errno(-t->io->ops->size(t->io, g->file, &g->file_bytes));
    if (err == KQ_OK)
        err = footer_load(t->io, g->file, g->file_bytes, &t->place->seed, &g->footer);
    g->has_footer = err == KQ_OK;
    if (err != KQ_OK && err != KQ_NOT_FOUND)
        return cannot(t, err, "reading", path);
    if (g->file_bytes == 0) {
        t->counts->damaged++;
        tool_say(t, "DAMAGED %s: it is empty", path);
        g->head_bad = true;
        return KQ_OK;
    }
    const struct segment_map *map;
    err = segment_map(g->s, g->file_bytes, &map, t->fault);
    if (err != KQ_OK)
        return err;
    struct head_look look = {t, g, map->data, KQ_OK};
    if (!io_guarded(map->data, g->file_bytes, look_guarded, &look))
        return cannot(t, KQ_IO, "reading", path);
    if (look.err != KQ_OK)
        return look.err;
    if (g->s->first_idx != expected && expected != 0) {
        t->counts->damaged++;
        t->counts->unrepaired++;
        tool_say(t, "MISSING %s: entries %llu to %llu before %0*lld.log are in no file", t->place->dir,
                 (unsigned long long)expected, (unsigned long long)g->s->first_idx - 1, (int)SEGMENT_NAME_DIGITS,
                 (long long)g->s->first_off);
    }
    g->pos = SEGMENT_HEAD_BYTES;
    g->idx = g->s->first_idx;
    g->off = g->s->first_off;
    g->term = g->s->prev_term;
    g->crc = g->s->prev_crc;
    if (!g->has_footer && !g->last) {
        t->counts->rebuildable++;
        tool_say(t, "footer of %s does not check out; its entries are walked at each start", path);
    }
    err = walk(t, g, map->data, g->has_footer ? g->footer.end_pos : g->file_bytes);
    if (err == KQ_OK)
        look_at_index(t, g);
    return err;
}

static void segment_done(struct tool *t, struct tool_segment *g)
{
    io_close(t->io, &g->file);
    if (g->s != NULL)
        segment_drop(g->s);
    free(g->ranges);
    free(g->footer.runs);
}

/* ---- one replica -------------------------------------------------------------------------- */

static enum kq_err look_at_segments(struct tool *t, const struct folder *f)
{
    struct tool_segment before = {0};
    for (uint32_t i = 0; i < f->logs.count; i++) {
        struct tool_segment g = {.idx = before.idx, .term = before.term, .crc = before.crc};
        g.last = i + 1 == f->logs.count;
        g.s = segment_new(t->place, f->logs.at[i], 0);
        if (g.s == NULL)
            return fault_set(t->fault, KQ_NO_MEMORY, "out of memory");
        enum kq_err err = look_at_segment(t, &g);
        t->counts->segments++;
        if (err == KQ_OK && t->mend != NULL)
            err = t->mend(t, &g);
        before = g;
        segment_done(t, &g);
        if (err != KQ_OK)
            return err;
    }
    if (f->logs.count == 0 && log_mark_is_set(&t->mark) && t->mark.flushed_idx > 0) {
        t->counts->damaged++;
        t->counts->unrepaired++;
        tool_say(t, "MISSING %s: entries up to %llu were flushed, but there is no log file", t->place->dir,
                 (unsigned long long)t->mark.flushed_idx);
    }
    return KQ_OK;
}

static enum kq_err look_at_snapshot(struct tool *t, const struct folder *f)
{
    uint64_t idx;
    void *state;
    size_t state_bytes;
    if (!f->snapshot)
        return KQ_OK;
    enum kq_err err = snapshot_load(t->place, &idx, &state, &state_bytes, t->fault);
    free(state);
    if (err == KQ_CORRUPT) {
        t->counts->damaged++;
        tool_say(t, "DAMAGED %s", fault_text(t->fault));
        return t->mend_snapshot != NULL ? t->mend_snapshot(t) : KQ_OK;
    }
    if (err == KQ_OK && t->dump)
        tool_say(t, "snapshot of entry %llu: %zu bytes", (unsigned long long)idx, state_bytes);
    return err;
}

static enum kq_err look_at_replica(struct tool *t, const char *dir)
{
    struct folder f;
    bool one_bad;
    memset(&t->state, 0, sizeof t->state);
    t->mark = (struct log_mark){.segment_off = -2};
    enum kq_err err = folder_list(t->io, dir, &f);
    if (err != KQ_OK) {
        (void)cannot(t, err, "listing", dir);
        folder_fini(&f);
        return err;
    }
    t->counts->replicas++;
    err = hard_state_load(t->io, dir, &t->state, &t->mark, &one_bad, t->fault);
    if (err == KQ_CORRUPT || err == KQ_NOT_FOUND) { /* without it the entries cannot even be checked */
        t->counts->damaged++;
        t->counts->unrepaired++;
        tool_say(t, "DAMAGED %s", err == KQ_CORRUPT ? fault_text(t->fault) : dir);
        tool_say(t, "  without its hard state the replica cannot vote, nor its entries be checked: restore the folder "
                    "from a backup, or move it away and let the broker make the partition anew");
        folder_fini(&f);
        return KQ_OK;
    }
    if (err == KQ_OK)
        t->place = place_new(t->io, dir, dir, &t->state.topic_id, t->state.partition);
    if (err == KQ_OK && t->place == NULL)
        err = fault_set(t->fault, KQ_NO_MEMORY, "out of memory");
    if (t->place != NULL) {
        char id[UUID_TEXT_BYTES];
        t->place->seed = entry_seed_make(&t->state.topic_id, t->state.partition, &t->state.incarnation);
        tool_say(t, "%s: topic id %s partition %u, hard state version %llu term %llu, flushed mark %llu%s%s", dir,
                 uuid_format(&t->state.topic_id, id), (unsigned)t->state.partition,
                 (unsigned long long)t->state.version, (unsigned long long)t->state.term,
                 (unsigned long long)t->mark.flushed_idx, t->mark.clean ? ", closed cleanly" : "",
                 one_bad ? ", ONE SLOT OF THE HARD STATE DOES NOT CHECK OUT" : "");
    }
    bool cut = err == KQ_OK && log_mark_is_set(&t->mark) && t->mark.cut != LOG_CUT_NONE;
    if (cut) /* what is to go would be taken for damage */
        tool_say(t, "  entries from %llu on are being %s: the broker finishes that when it starts; look again then",
                 (unsigned long long)t->mark.cut_idx,
                 t->mark.cut == LOG_CUT_RESET ? "begun anew" : "cut, as another leader has others");
    if (err == KQ_OK && !cut)
        err = look_at_segments(t, &f);
    if (err == KQ_OK && !cut)
        err = look_at_snapshot(t, &f);
    if (t->place != NULL)
        place_drop(t->place);
    t->place = NULL;
    folder_fini(&f);
    return err;
}

/* ---- a broker's folder ---------------------------------------------------------------------- */

struct names {
    char **at;
    uint32_t count;
    bool no_memory;
    bool replica; /* a hard state or a log file lies right here */
};

static bool is_segment_name(const char *name)
{
    return strspn(name, "0123456789") == SEGMENT_NAME_DIGITS && strcmp(name + SEGMENT_NAME_DIGITS, ".log") == 0;
}

static void see_name(void *context, const char *name)
{
    struct names *n = context;
    n->replica = n->replica || strcmp(name, HARD_STATE_NAME) == 0 || is_segment_name(name);
    if ((n->count & (n->count - 1)) == 0) {
        char **grown = n->count < NAMES_MAX ? realloc(n->at, (n->count == 0 ? 1 : 2 * n->count) * sizeof *grown) : NULL;
        n->no_memory = n->no_memory || grown == NULL;
        if (grown == NULL)
            return;
        n->at = grown;
    }
    n->at[n->count] = strdup(name);
    n->no_memory = n->no_memory || n->at[n->count] == NULL;
    n->count += n->at[n->count] != NULL;
}

static void names_fini(struct names *n)
{
    for (uint32_t i = 0; i < n->count; i++)
        free(n->at[i]);
    free(n->at);
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static enum kq_err list(struct tool *t, const char *dir, struct names *n)
{
    memset(n, 0, sizeof *n);
    enum kq_err err = err_from_errno(-t->io->ops->list(t->io, dir, see_name, n));
    return n->no_memory ? KQ_NO_MEMORY : err;
}

enum kq_err tool_run(struct tool *t, const char *dir)
{
    io_guard_install();
    if (strlen(dir) > LOG_DIR_BYTES_MAX / 2)
        return fault_set(t->fault, KQ_INVALID, "the path is too long");
    struct names names;
    enum kq_err err = list(t, dir, &names);
    if (err != KQ_OK) {
        (void)cannot(t, err, "listing", dir);
    } else if (names.replica) {
        err = look_at_replica(t, dir);
    } else {
        qsort(names.at, names.count, sizeof *names.at, compare_names);
        for (uint32_t i = 0; i < names.count && err == KQ_OK; i++) {
            char path[SEGMENT_PATH_BYTES];
            struct names inner;
            (void)snprintf(path, sizeof path, "%s/%s", strcmp(dir, "/") == 0 ? "" : dir, names.at[i]);
            if (list(t, path, &inner) == KQ_OK && inner.replica)
                err = look_at_replica(t, path);
            names_fini(&inner);
        }
        if (err == KQ_OK && t->counts->replicas == 0)
            err = fault_set(t->fault, KQ_NOT_FOUND, "%s: there is no replica in it", dir);
    }
    names_fini(&names);
    return err;
}

enum kq_err tool_check(struct io *io, const char *dir, const struct tool_out *out, struct tool_counts *counts,
                       struct fault *fault)
{
    struct tool t = {.io = io, .out = out, .counts = counts, .fault = fault};
    memset(counts, 0, sizeof *counts);
    enum kq_err err = tool_run(&t, dir);
    counts->unrepaired = 0;
    return err;
}

enum kq_err tool_dump(struct io *io, const char *dir, int64_t from_off, bool records, uint64_t limit,
                      const struct tool_out *out, struct tool_counts *counts, struct fault *fault)
{
    struct tool t = {.io = io,
                     .out = out,
                     .counts = counts,
                     .fault = fault,
                     .dump = true,
                     .records = records,
                     .from_off = from_off,
                     .limit = limit};
    memset(counts, 0, sizeof *counts);
    enum kq_err err = tool_run(&t, dir);
    counts->unrepaired = 0;
    return err;
}
