/* One process, or one idempotent producer, for itself: what it read and sent, in its own order. */
#include "support/checker_impl.h"

#include <inttypes.h>
#include <stdlib.h>

/* ---- reads -------------------------------------------------------------------------- */

static int by_op_key(const void *a, const void *b, void *history)
{
    const struct history *h = history;
    uint32_t i = *(const uint32_t *)a, k = *(const uint32_t *)b;
    const struct history_seen *x = &h->reads[i], *y = &h->reads[k];
    ORDER_BY(x->op, y->op);
    ORDER_BY(x->key, y->key);
    ORDER_BY(i, k);
    return 0;
}

static void build_showings(struct checker *c)
{
    const struct history *h = c->h;
    c->order = checker_array(h->read_count, sizeof(*c->order));
    c->showings = checker_array(h->read_count, sizeof(*c->showings));
    for (uint32_t i = 0; i < h->read_count; i++)
        c->order[i] = i;
    qsort_r(c->order, h->read_count, sizeof(*c->order), by_op_key, (void *)(uintptr_t)h);
    for (size_t i = 0; i < h->read_count; i++) {
        const struct history_seen *r = &h->reads[c->order[i]];
        struct showing *s = c->showing_count > 0 ? &c->showings[c->showing_count - 1] : NULL;
        if (s == NULL || s->op != r->op || s->key != r->key) {
            s = &c->showings[c->showing_count++];
            *s = (struct showing){r->op, r->key, i, i, r->offset, r->offset};
        }
        s->to = i + 1;
        s->min_off = r->offset < s->min_off ? r->offset : s->min_off;
        s->max_off = r->offset > s->max_off ? r->offset : s->max_off;
    }
}

/* From one read to the next of a key: 1 goes on, less went back, more left out
 * something that was not removed meanwhile. */
static int step_of(const struct checker *c, uint32_t before, uint32_t now)
{
    const struct history_seen *a = &c->h->reads[before], *b = &c->h->reads[now];
    if (b->offset <= a->offset)
        return 0;
    if (c->read_place[now] == c->read_place[before] + 1 && !(c->h->dense && b->offset > a->offset + 1))
        return 1;
    int64_t highest = c->h->dense ? b->offset - 1 : c->places[c->read_place[now] - 1].offset;
    return highest >= c->start[a->key] ? 2 : 1;
}

static void check_step(struct checker *c, uint32_t before, uint32_t now, enum check_kind skip, enum check_kind back)
{
    const struct history_seen *a = &c->h->reads[before], *b = &c->h->reads[now];
    int step = step_of(c, before, now);
    if (step == 1)
        return;
    struct check_finding f = {b->key, b->offset, b->value, {a->op, b->op, NO_OP}, 0, ""};
    checker_find(c, step == 0 ? back : skip, &f, "key %" PRIu32 ": offset %" PRId64 " follows %" PRId64, b->key,
                 b->offset, a->offset);
}

struct assign {
    uint32_t process, key, op;
};

static int by_assign(const void *a, const void *b)
{
    const struct assign *x = a, *y = b;
    ORDER_BY(x->process, y->process);
    ORDER_BY(x->key, y->key);
    ORDER_BY(x->op, y->op);
    return 0;
}

struct assigns {
    struct assign *list;
    size_t count;
};

static struct assigns find_assigns(const struct checker *c)
{
    struct assigns all = {checker_array(c->h->mark_count, sizeof(*all.list)), 0};
    for (size_t i = 0; i < c->h->mark_count; i++) {
        const struct history_mark *m = &c->h->marks[i];
        if (m->kind == MARK_ASSIGN || m->kind == MARK_RANGE)
            all.list[all.count++] = (struct assign){op_of(c, m->op)->process, m->key, m->op};
    }
    qsort(all.list, all.count, sizeof(*all.list), by_assign);
    return all;
}

/* True: the process took up that key (itself; any is another key) in operations [from, to]. */
static bool assigned(const struct assigns *all, uint32_t process, uint32_t key, uint32_t from, uint32_t to)
{
    const struct assign wanted = {process, key, from};
    size_t low = 0, high = all->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (by_assign(&all->list[middle], &wanted) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == all->count)
        return false;
    const struct assign *a = &all->list[low];
    return a->process == process && a->key == key && a->op <= to;
}

static bool moved(const struct assigns *all, uint32_t process, uint32_t key, uint32_t from, uint32_t to)
{
    return assigned(all, process, key, from, to) || assigned(all, process, HISTORY_KEY_ANY, from, to);
}

/* An OK operation's reads of a key, for the order among a process's operations. */
struct stretch {
    uint32_t process, key, op, first, last; /* first, last: reads */
};

static int by_process_key(const void *a, const void *b)
{
    const struct stretch *x = a, *y = b;
    ORDER_BY(x->process, y->process);
    ORDER_BY(x->key, y->key);
    ORDER_BY(x->op, y->op);
    return 0;
}

/* An operation that takes the key up may begin anew in the middle. One with a range
 * may not, and is judged by check_range. */
static void check_inside(struct checker *c, const struct showing *s, const struct assigns *all)
{
    bool excused = moved(all, op_of(c, s->op)->process, s->key, s->op, s->op);
    for (size_t i = s->from + 1; i < s->to && !excused; i++)
        check_step(c, c->order[i - 1], c->order[i], CHECK_INT_POLL_SKIP, CHECK_INT_NONMONOTONIC_POLL);
}

void checker_polls(struct checker *c)
{
    build_showings(c);
    struct assigns all = find_assigns(c);
    struct stretch *list = checker_array(c->showing_count, sizeof(*list));
    size_t count = 0;
    for (size_t i = 0; i < c->showing_count; i++) {
        const struct showing *s = &c->showings[i];
        check_inside(c, s, &all);
        if (is_ok(c, s->op))
            list[count++] =
                (struct stretch){op_of(c, s->op)->process, s->key, s->op, c->order[s->from], c->order[s->to - 1]};
    }
    qsort(list, count, sizeof(*list), by_process_key);
    for (size_t i = 1; i < count; i++) {
        const struct stretch *a = &list[i - 1], *b = &list[i];
        if (a->process == b->process && a->key == b->key && !moved(&all, b->process, b->key, a->op + 1, b->op))
            check_step(c, a->last, b->first, CHECK_POLL_SKIP, CHECK_NONMONOTONIC_POLL);
    }
    free(list);
    free(all.list);
}

/* ---- ranges ---------------------------------------------------------------------------- */

static const struct showing *showing_of(const struct checker *c, uint32_t op, uint32_t key)
{
    size_t low = 0, high = c->showing_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        const struct showing *s = &c->showings[middle];
        if (s->op < op || (s->op == op && s->key < key))
            low = middle + 1;
        else
            high = middle;
    }
    const struct showing *s = low < c->showing_count ? &c->showings[low] : NULL;
    return s != NULL && s->op == op && s->key == key ? s : NULL;
}

static void check_range(struct checker *c, const struct history_mark *m)
{
    const struct showing *s = showing_of(c, m->op, m->key);
    int64_t from = m->a > c->start[m->key] ? m->a : c->start[m->key];
    struct check_finding f = {m->key, m->a, 0, {m->op, NO_OP, NO_OP}, 0, ""};
    uint64_t shown = 0, there = 0;
    for (size_t i = s != NULL ? s->from : 1; s != NULL && i < s->to; i++) {
        if (i > s->from)
            check_step(c, c->order[i - 1], c->order[i], CHECK_INT_POLL_SKIP, CHECK_INT_NONMONOTONIC_POLL);
        int64_t offset = c->h->reads[c->order[i]].offset;
        shown += offset >= from && offset < m->b;
    }
    if (s != NULL && (s->min_off < m->a || s->max_off >= m->b))
        checker_find(c, CHECK_POLL_RANGE, &f,
                     "key %" PRIu32 ": [%" PRId64 ", %" PRId64 ") was asked for, [%" PRId64 ", %" PRId64 "] shown",
                     m->key, m->a, m->b, s->min_off, s->max_off);
    if (from < m->b)
        there = c->h->dense ? (uint64_t)m->b - (uint64_t)from
                            : checker_place_at(c, m->key, m->b) - checker_place_at(c, m->key, from);
    if (shown < there)
        checker_find(c, CHECK_POLL_RANGE, &f,
                     "key %" PRIu32 ": [%" PRId64 ", %" PRId64 ") holds %" PRIu64 " messages, %" PRIu64 " were shown",
                     m->key, from, m->b, there, shown);
}

void checker_ranges(struct checker *c)
{
    for (size_t i = 0; i < c->h->mark_count; i++)
        if (c->h->marks[i].kind == MARK_RANGE && is_ok(c, c->h->marks[i].op))
            check_range(c, &c->h->marks[i]);
}

/* ---- sends --------------------------------------------------------------------------------- */

/* A send whose place is known. */
struct laid {
    uint64_t who; /* the process, or the producer */
    uint32_t key, epoch;
    int64_t sequence;
    uint32_t send;
    int64_t offset;
};

static int by_who(const void *a, const void *b)
{
    const struct laid *x = a, *y = b;
    ORDER_BY(x->who, y->who);
    ORDER_BY(x->key, y->key);
    ORDER_BY(x->epoch, y->epoch);
    ORDER_BY(x->sequence, y->sequence);
    ORDER_BY(x->send, y->send);
    return 0;
}

static void check_laid(struct checker *c, const struct laid *a, const struct laid *b)
{
    uint32_t first = c->h->sends[a->send].op, second = c->h->sends[b->send].op;
    struct check_finding f = {b->key, b->offset, c->h->sends[b->send].value, {first, second, NO_OP}, 0, ""};
    if (b->offset <= a->offset)
        checker_find(c, first == second ? CHECK_INT_NONMONOTONIC_SEND : CHECK_NONMONOTONIC_SEND, &f,
                     "key %" PRIu32 ": the later send lies at %" PRId64 ", the earlier at %" PRId64, b->key, b->offset,
                     a->offset);
}

void checker_sends(struct checker *c)
{
    const struct history *h = c->h;
    struct laid *list = checker_array(h->send_count, sizeof(*list));
    size_t count = 0;
    for (uint32_t i = 0; i < h->send_count; i++) {
        struct laid l = {op_of(c, h->sends[i].op)->process, 0, 0, 0, i, 0};
        if (is_ok(c, h->sends[i].op) && checker_lies(c, i, &l.key, &l.offset))
            list[count++] = l;
    }
    qsort(list, count, sizeof(*list), by_who);
    for (size_t i = 1; i < count; i++)
        if (list[i].who == list[i - 1].who && list[i].key == list[i - 1].key)
            check_laid(c, &list[i - 1], &list[i]);
    free(list);
}

/* ---- numbered sends --------------------------------------------------------------------------- */

static void check_numbers(struct checker *c, const struct laid *a, const struct laid *b)
{
    uint32_t first = c->h->sends[a->send].op, second = c->h->sends[b->send].op;
    struct check_finding f = {b->key, b->offset, c->h->sends[b->send].value, {first, second, NO_OP}, 0, ""};
    bool one_epoch = a->epoch == b->epoch;
    if (one_epoch && a->sequence == b->sequence)
        checker_find(c, CHECK_SEQUENCE_TWICE, &f,
                     "producer %" PRIu64 ": number %" PRId64 " lies at %" PRId64 " and %" PRId64, b->who, b->sequence,
                     a->offset, b->offset);
    else if (b->offset <= a->offset)
        checker_find(c, CHECK_SEQUENCE_ORDER, &f,
                     "producer %" PRIu64 ": number %" PRId64 " lies at %" PRId64 ", %" PRId64 " at %" PRId64, b->who,
                     b->sequence, b->offset, a->sequence, a->offset);
    else if (one_epoch && b->sequence > a->sequence + 1 && checker_covered(c, b->key, a->offset + 1, b->offset))
        checker_find(c, CHECK_SEQUENCE_GAP, &f, "producer %" PRIu64 ": nothing between number %" PRId64 " and %" PRId64,
                     b->who, a->sequence, b->sequence);
}

/* A gap: the number lies nowhere that is known, and what lies between is known. */
void checker_numbers(struct checker *c)
{
    const struct history *h = c->h;
    struct laid *list = checker_array(h->send_count, sizeof(*list));
    size_t count = 0;
    for (uint32_t i = 0; i < h->send_count; i++) {
        struct laid l = {h->sends[i].producer, 0, h->sends[i].epoch, h->sends[i].sequence, i, 0};
        if (l.who != 0 && checker_lies(c, i, &l.key, &l.offset))
            list[count++] = l;
    }
    qsort(list, count, sizeof(*list), by_who);
    for (size_t i = 1; i < count; i++)
        if (list[i].who == list[i - 1].who && list[i].key == list[i - 1].key)
            check_numbers(c, &list[i - 1], &list[i]);
    free(list);
}
