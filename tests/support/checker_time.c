/*
 * Between processes, by the clock: whoever begins after another ended must find
 * what that one left. Every rule is one sweep in order of time, with the largest
 * number that was established before.
 */
#include "support/checker_impl.h"

#include <inttypes.h>
#include <stdlib.h>

/* Established: shown when an operation ended. Claimed: by one, from its begin. */
enum claim_kind { ESTABLISHED, CLAIM_SEND, CLAIM_END, CLAIM_START, CLAIM_READ };

struct event {
    uint32_t key;
    int64_t time;
    enum claim_kind kind;
    int64_t offset;
    uint32_t op;
};

struct events {
    struct event *list;
    size_t count, room;
};

/* At one instant claims come first: only what ended before a begin counts. */
static int by_time(const void *a, const void *b)
{
    const struct event *x = a, *y = b;
    ORDER_BY(x->key, y->key);
    ORDER_BY(x->time, y->time);
    ORDER_BY(y->kind, x->kind);
    ORDER_BY(x->op, y->op);
    ORDER_BY(x->offset, y->offset);
    return 0;
}

static void add_event(struct events *e, uint32_t key, int64_t time, enum claim_kind kind, int64_t offset, uint32_t op)
{
    if (e->count == e->room) {
        e->room = e->room == 0 ? 1024 : 2 * e->room;
        struct event *larger = checker_array(e->room, sizeof(*larger));
        for (size_t i = 0; i < e->count; i++)
            larger[i] = e->list[i];
        free(e->list);
        e->list = larger;
    }
    e->list[e->count++] = (struct event){key, time, kind, offset, op};
}

/* ---- places and ends ----------------------------------------------------------------- */

static void collect_places(struct checker *c, struct events *e)
{
    const struct history *h = c->h;
    for (uint32_t i = 0; i < h->send_count; i++) {
        uint32_t key, op = h->sends[i].op;
        int64_t offset;
        if (!checker_lies(c, i, &key, &offset))
            continue;
        add_event(e, key, op_of(c, op)->begin, CLAIM_SEND, offset, op);
        if (is_ok(c, op))
            add_event(e, key, op_of(c, op)->end, ESTABLISHED, offset, op);
    }
    for (size_t i = 0; i < c->showing_count; i++) {
        const struct showing *s = &c->showings[i];
        if (is_ok(c, s->op))
            add_event(e, s->key, op_of(c, s->op)->end, ESTABLISHED, s->max_off, s->op);
    }
    for (size_t i = 0; i < h->mark_count; i++) {
        const struct history_mark *m = &h->marks[i];
        if (m->kind != MARK_LOG_END || !is_ok(c, m->op))
            continue;
        add_event(e, m->key, op_of(c, m->op)->begin, CLAIM_END, m->a - 1, m->op);
        add_event(e, m->key, op_of(c, m->op)->end, ESTABLISHED, m->a - 1, m->op);
    }
}

void checker_realtime(struct checker *c)
{
    struct events e = {NULL, 0, 0};
    collect_places(c, &e);
    if (e.count > 0)
        qsort(e.list, e.count, sizeof(*e.list), by_time);
    const struct event *last = NULL; /* the largest offset established so far */
    for (size_t i = 0; i < e.count; i++) {
        const struct event *now = &e.list[i];
        if (last != NULL && last->key != now->key)
            last = NULL;
        if (now->kind == ESTABLISHED) {
            last = last == NULL || now->offset > last->offset ? now : last;
            continue;
        }
        struct check_finding f = {now->key, now->offset, 0, {now->op, last != NULL ? last->op : NO_OP, NO_OP}, 0, ""};
        if (last != NULL && now->kind == CLAIM_SEND && now->offset <= last->offset)
            checker_find(c, CHECK_REALTIME, &f,
                         "key %" PRIu32 ": sent after %" PRId64 " was there, and lies at %" PRId64, now->key,
                         last->offset, now->offset);
        if (last != NULL && now->kind == CLAIM_END && now->offset < last->offset)
            checker_find(c, CHECK_STRONG_END, &f,
                         "key %" PRIu32 ": the end is %" PRId64 ", though %" PRId64 " was there", now->key,
                         now->offset + 1, last->offset);
    }
    free(e.list);
}

/* ---- log starts ------------------------------------------------------------------------ */

void checker_log_starts(struct checker *c)
{
    struct events e = {NULL, 0, 0};
    for (size_t i = 0; i < c->h->mark_count; i++) {
        const struct history_mark *m = &c->h->marks[i];
        if (m->kind != MARK_LOG_START || !is_ok(c, m->op))
            continue;
        add_event(&e, m->key, op_of(c, m->op)->begin, CLAIM_START, m->a, m->op);
        add_event(&e, m->key, op_of(c, m->op)->end, ESTABLISHED, m->a, m->op);
    }
    for (size_t i = 0; e.count > 0 && i < c->showing_count; i++) {
        const struct showing *s = &c->showings[i];
        add_event(&e, s->key, op_of(c, s->op)->begin, CLAIM_READ, s->min_off, s->op);
    }
    if (e.count > 0)
        qsort(e.list, e.count, sizeof(*e.list), by_time);
    const struct event *last = NULL;
    for (size_t i = 0; i < e.count; i++) {
        const struct event *now = &e.list[i];
        if (last != NULL && last->key != now->key)
            last = NULL;
        if (now->kind == ESTABLISHED) {
            last = last == NULL || now->offset > last->offset ? now : last;
            continue;
        }
        if (last == NULL || now->offset >= last->offset)
            continue;
        struct check_finding f = {now->key, now->offset, 0, {last->op, now->op, NO_OP}, 0, ""};
        if (now->kind == CLAIM_START)
            checker_find(c, CHECK_LOG_START_REGRESS, &f,
                         "key %" PRIu32 ": the log start is %" PRId64 ", it was %" PRId64, now->key, now->offset,
                         last->offset);
        else
            checker_find(c, CHECK_BELOW_LOG_START, &f,
                         "key %" PRIu32 ": offset %" PRId64 " is shown, the log start was %" PRId64, now->key,
                         now->offset, last->offset);
    }
    free(e.list);
}

/* ---- committed offsets --------------------------------------------------------------------- */

/* Each (group, key) is a register: a read must give what some commit wrote that
 * was not surely overwritten before the read began. */
struct commit {
    uint32_t group, key;
    int64_t offset, begin, end;
    int64_t best; /* up to here, of its group, key (and offset): the latest end, or begin */
    uint32_t op, best_op;
};

/* By offset and begin, best is the latest end; by end, the latest begin. */
static int by_offset(const void *a, const void *b)
{
    const struct commit *x = a, *y = b;
    ORDER_BY(x->group, y->group);
    ORDER_BY(x->key, y->key);
    ORDER_BY(x->offset, y->offset);
    ORDER_BY(x->begin, y->begin);
    return 0;
}

static int by_end(const void *a, const void *b)
{
    const struct commit *x = a, *y = b;
    ORDER_BY(x->group, y->group);
    ORDER_BY(x->key, y->key);
    ORDER_BY(x->end, y->end);
    return 0;
}

static size_t collect_commits(const struct checker *c, struct commit *list, bool by_offsets)
{
    size_t count = 0;
    for (size_t i = 0; i < c->h->mark_count; i++) {
        const struct history_mark *m = &c->h->marks[i];
        const struct history_op *op = op_of(c, m->op);
        bool counts = by_offsets ? op->outcome != HISTORY_FAIL : op->outcome == HISTORY_OK;
        if (m->kind == MARK_COMMIT && counts)
            list[count++] = (struct commit){m->group, m->key, m->a, op->begin, op->end, 0, m->op, m->op};
    }
    qsort(list, count, sizeof(*list), by_offsets ? by_offset : by_end);
    for (size_t i = 0; i < count; i++) {
        struct commit *now = &list[i], *before = i > 0 ? &list[i - 1] : NULL;
        now->best = by_offsets ? now->end : now->begin;
        if (before == NULL || before->group != now->group || before->key != now->key ||
            (by_offsets && before->offset != now->offset) || before->best <= now->best)
            continue;
        now->best = before->best;
        now->best_op = before->best_op;
    }
    return count;
}

/* The last that is below wanted in that order and of its group and key; or NULL. */
static const struct commit *last_below(const struct commit *list, size_t count, const struct commit *wanted,
                                       int (*order)(const void *, const void *))
{
    size_t low = 0, high = count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (order(&list[middle], wanted) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    const struct commit *found = low > 0 ? &list[low - 1] : NULL;
    return found != NULL && found->group == wanted->group && found->key == wanted->key ? found : NULL;
}

struct commits {
    struct commit *by_offset, *by_end;
    size_t offset_count, end_count;
};

static void check_committed(struct checker *c, const struct history_mark *m, const struct commits *all)
{
    const struct history_op *op = op_of(c, m->op);
    struct commit wanted = {m->group, m->key, m->a, op->end, op->begin, 0, 0, 0};
    const struct commit *source = last_below(all->by_offset, all->offset_count, &wanted, by_offset);
    const struct commit *newest = last_below(all->by_end, all->end_count, &wanted, by_end);
    bool none = m->a == HISTORY_OFFSET_NONE;
    if (source != NULL && source->offset != m->a)
        source = NULL;
    struct check_finding f = {m->key, m->a, 0, {m->op, NO_OP, NO_OP}, 0, ""};
    if (source == NULL && !none)
        checker_find(c, CHECK_GROUP_OFFSET_UNKNOWN, &f, "group %" PRIu32 ", key %" PRIu32 ": nobody committed %" PRId64,
                     m->group, m->key, m->a);
    else if (newest != NULL && (none || source->best < newest->best)) {
        f.ops[1] = newest->best_op;
        f.ops[2] = none ? NO_OP : source->best_op;
        checker_find(c, CHECK_GROUP_OFFSET_STALE, &f,
                     "group %" PRIu32 ", key %" PRIu32 ": a newer offset was committed before", m->group, m->key);
    }
}

void checker_groups(struct checker *c)
{
    struct commits all = {0};
    all.by_offset = checker_array(c->h->mark_count, sizeof(*all.by_offset));
    all.by_end = checker_array(c->h->mark_count, sizeof(*all.by_end));
    all.offset_count = collect_commits(c, all.by_offset, true);
    all.end_count = collect_commits(c, all.by_end, false);
    for (size_t i = 0; i < c->h->mark_count; i++)
        if (c->h->marks[i].kind == MARK_COMMITTED && is_ok(c, c->h->marks[i].op))
            check_committed(c, &c->h->marks[i], &all);
    free(all.by_offset);
    free(all.by_end);
}
