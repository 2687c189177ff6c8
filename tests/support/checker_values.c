/*
 * The version order of every key, and what it shows by itself: two values at an
 * offset, a value twice, at the wrong place, from nowhere, or nowhere.
 */
#include "support/checker_impl.h"

#include <inttypes.h>
#include <stdlib.h>

/* ---- building ------------------------------------------------------------------ */

static int by_value(const void *a, const void *b)
{
    const struct value *x = a, *y = b;
    ORDER_BY(x->value, y->value);
    return 0;
}

static uint32_t value_number(const struct checker *c, uint64_t value)
{
    size_t low = 0, high = c->value_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (c->values[middle].value < value)
            low = middle + 1;
        else
            high = middle;
    }
    return (uint32_t)low;
}

static void build_values(struct checker *c)
{
    const struct history *h = c->h;
    size_t n = 0;
    c->values = checker_array(h->send_count + h->read_count, sizeof(*c->values));
    for (size_t i = 0; i < h->send_count; i++)
        c->values[n++].value = h->sends[i].value;
    for (size_t i = 0; i < h->read_count; i++)
        c->values[n++].value = h->reads[i].value;
    qsort(c->values, n, sizeof(*c->values), by_value);
    for (size_t i = 0; i < n; i++)
        if (c->value_count == 0 || c->values[c->value_count - 1].value != c->values[i].value)
            c->values[c->value_count++].value = c->values[i].value;
    for (size_t i = 0; i < c->value_count; i++) {
        struct value *v = &c->values[i];
        v->send = NO_SEND;
        v->read_op = NO_OP;
        v->first = v->last = NO_PLACE;
        v->read_end = HISTORY_TIME_NEVER;
    }
    c->send_value = checker_array(h->send_count, sizeof(*c->send_value));
    for (size_t i = 0; i < h->send_count; i++) {
        struct value *v = &c->values[c->send_value[i] = value_number(c, h->sends[i].value)];
        if (v->send == NO_SEND) {
            v->send = (uint32_t)i;
            continue;
        }
        struct check_finding f = {h->sends[i].key, 0, v->value, {h->sends[v->send].op, h->sends[i].op, NO_OP}, 0, ""};
        checker_find(c, CHECK_REUSED_VALUE, &f, "value %" PRIu64 " is recorded as sent twice", v->value);
    }
}

static void note_reads(struct checker *c)
{
    const struct history *h = c->h;
    c->read_value = checker_array(h->read_count, sizeof(*c->read_value));
    for (size_t i = 0; i < h->read_count; i++) {
        const struct history_op *op = op_of(c, h->reads[i].op);
        struct value *v = &c->values[c->read_value[i] = value_number(c, h->reads[i].value)];
        if (op->outcome != HISTORY_OK)
            continue;
        v->read_ok = true;
        v->read_final = v->read_final || op->begin >= h->final;
        if (op->end < v->read_end) {
            v->read_end = op->end;
            v->read_op = h->reads[i].op;
        }
    }
}

/* OK; or INFO and somebody read it. */
static bool must_commit(const struct checker *c, uint32_t send)
{
    enum history_outcome outcome = op_of(c, c->h->sends[send].op)->outcome;
    return outcome == HISTORY_OK || (outcome == HISTORY_INFO && c->values[c->send_value[send]].read_ok);
}

static bool told_place(const struct checker *c, uint32_t send)
{
    const struct history_sent *s = &c->h->sends[send];
    return s->offset != HISTORY_OFFSET_NONE && s->key != HISTORY_KEY_ANY && must_commit(c, send);
}

/* One thing known to lie somewhere. */
struct version {
    uint32_t key, op;
    int64_t offset;
    uint32_t value, read; /* read: its number, or UINT32_MAX */
};

static int by_place(const void *a, const void *b)
{
    const struct version *x = a, *y = b;
    ORDER_BY(x->key, y->key);
    ORDER_BY(x->offset, y->offset);
    ORDER_BY(x->value, y->value);
    ORDER_BY(x->op, y->op);
    ORDER_BY(x->read, y->read);
    return 0;
}

static void take_version(struct checker *c, const struct version *v, const struct version *before)
{
    bool fresh = before == NULL || before->key != v->key || before->offset != v->offset;
    if (fresh)
        c->places[c->place_count++] = (struct place){v->key, v->offset};
    else if (before->value != v->value) {
        uint64_t one = c->values[before->value].value, other = c->values[v->value].value;
        struct check_finding f = {v->key, v->offset, other, {before->op, v->op, NO_OP}, 0, ""};
        checker_find(c, CHECK_INCONSISTENT_OFFSETS, &f,
                     "key %" PRIu32 " offset %" PRId64 " is %" PRIu64 " and %" PRIu64, v->key, v->offset, one, other);
    }
    uint32_t place = (uint32_t)(c->place_count - 1);
    if (v->read != UINT32_MAX)
        c->read_place[v->read] = place;
    struct value *value = &c->values[v->value];
    value->many = value->many || (value->last != NO_PLACE && value->last != place);
    value->first = value->first == NO_PLACE ? place : value->first;
    value->last = place;
}

static void build_places(struct checker *c)
{
    const struct history *h = c->h;
    size_t n = 0;
    struct version *versions = checker_array(h->read_count + h->send_count, sizeof(*versions));
    for (uint32_t i = 0; i < h->read_count; i++)
        versions[n++] = (struct version){h->reads[i].key, h->reads[i].op, h->reads[i].offset, c->read_value[i], i};
    for (uint32_t i = 0; i < h->send_count; i++)
        if (told_place(c, i))
            versions[n++] =
                (struct version){h->sends[i].key, h->sends[i].op, h->sends[i].offset, c->send_value[i], UINT32_MAX};
    qsort(versions, n, sizeof(*versions), by_place);
    c->places = checker_array(n, sizeof(*c->places));
    c->read_place = checker_array(h->read_count, sizeof(*c->read_place));
    for (size_t i = 0; i < n; i++)
        take_version(c, &versions[i], i > 0 ? &versions[i - 1] : NULL);
    free(versions);
    c->place_from = checker_array((size_t)c->key_count + 1, sizeof(*c->place_from));
    size_t at = 0;
    for (uint32_t key = 0; key <= c->key_count; key++) {
        while (at < c->place_count && c->places[at].key < key)
            at++;
        c->place_from[key] = at;
    }
}

static void grow_key(struct checker *c, uint32_t key)
{
    if (key != HISTORY_KEY_ANY && key >= c->key_count)
        c->key_count = key + 1;
}

static void build_keys(struct checker *c)
{
    const struct history *h = c->h;
    for (size_t i = 0; i < h->send_count; i++)
        grow_key(c, h->sends[i].key);
    for (size_t i = 0; i < h->read_count; i++)
        grow_key(c, h->reads[i].key);
    for (size_t i = 0; i < h->mark_count; i++)
        grow_key(c, h->marks[i].key);
    c->start = checker_array(c->key_count, sizeof(*c->start));
    for (uint32_t key = 0; key < c->key_count; key++)
        c->start[key] = INT64_MIN;
    for (size_t i = 0; i < h->mark_count; i++) {
        const struct history_mark *m = &h->marks[i];
        if (m->kind != MARK_LOG_START || !is_ok(c, m->op))
            continue;
        c->start[m->key] = m->a > c->start[m->key] ? m->a : c->start[m->key];
        c->any_start = c->any_start || m->a > 0;
    }
}

void checker_build(struct checker *c)
{
    build_keys(c);
    build_values(c);
    note_reads(c);
    build_places(c);
}

void checker_free(struct checker *c)
{
    free(c->values);
    free(c->places);
    free(c->read_value);
    free(c->read_place);
    free(c->send_value);
    free(c->order);
    free(c->showings);
    free(c->place_from);
    free(c->start);
}

/* ---- asking it ------------------------------------------------------------------- */

bool checker_lies(const struct checker *c, uint32_t send, uint32_t *key, int64_t *offset)
{
    const struct history_sent *s = &c->h->sends[send];
    if (op_of(c, s->op)->outcome == HISTORY_FAIL)
        return false;
    *key = s->key;
    *offset = s->offset;
    if (told_place(c, send))
        return true;
    const struct value *v = &c->values[c->send_value[send]];
    if (v->first == NO_PLACE || v->many)
        return false;
    *key = c->places[v->first].key;
    *offset = c->places[v->first].offset;
    return true;
}

size_t checker_place_at(const struct checker *c, uint32_t key, int64_t offset)
{
    size_t low = c->place_from[key], high = c->place_from[key + 1];
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (c->places[middle].offset < offset)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

bool checker_covered(const struct checker *c, uint32_t key, int64_t from, int64_t to)
{
    if (from >= to)
        return true;
    size_t known = checker_place_at(c, key, to) - checker_place_at(c, key, from);
    return known == (uint64_t)to - (uint64_t)from;
}

/* ---- what single values show --------------------------------------------------------- */

static void check_reads(struct checker *c)
{
    const struct history *h = c->h;
    for (size_t i = 0; i < h->read_count; i++) {
        const struct history_seen *r = &h->reads[i];
        const struct value *v = &c->values[c->read_value[i]];
        struct check_finding f = {r->key, r->offset, r->value, {r->op, NO_OP, NO_OP}, 0, ""};
        if (v->send == NO_SEND) {
            checker_find(c, CHECK_GARBAGE, &f, "key %" PRIu32 " offset %" PRId64 ": nobody sent %" PRIu64, r->key,
                         r->offset, r->value);
            continue;
        }
        const struct history_sent *s = &h->sends[v->send];
        const struct history_op *sent = op_of(c, s->op);
        f.ops[1] = s->op;
        if (sent->outcome == HISTORY_FAIL)
            checker_find(c, CHECK_PHANTOM, &f, "key %" PRIu32 " offset %" PRId64 ": the send of %" PRIu64 " failed",
                         r->key, r->offset, r->value);
        if (op_of(c, r->op)->end < sent->begin)
            checker_find(c, CHECK_READ_BEFORE_SEND, &f, "%" PRIu64 " was read before it was sent", r->value);
        if (s->key != HISTORY_KEY_ANY && s->key != r->key)
            checker_find(c, CHECK_MISPLACED, &f, "%" PRIu64 " was sent to key %" PRIu32 " and read from %" PRIu32,
                         r->value, s->key, r->key);
    }
}

static void check_duplicates(struct checker *c)
{
    for (size_t i = 0; i < c->value_count; i++) {
        const struct value *v = &c->values[i];
        if (!v->many)
            continue;
        const struct place *a = &c->places[v->first], *b = &c->places[v->last];
        uint32_t sender = v->send != NO_SEND ? c->h->sends[v->send].op : NO_OP;
        struct check_finding f = {b->key, b->offset, v->value, {sender, v->read_op, NO_OP}, 0, ""};
        checker_find(c, CHECK_DUPLICATE, &f, "%" PRIu64 " lies at %" PRIu32 "@%" PRId64 " and %" PRIu32 "@%" PRId64,
                     v->value, a->key, a->offset, b->key, b->offset);
    }
}

/* ---- what is missing --------------------------------------------------------------------- */

/* By key: the largest first place of a value that an OK read showed. */
static uint32_t *read_bounds(const struct checker *c)
{
    uint32_t *bound = checker_array(c->key_count, sizeof(*bound)); /* place + 1 */
    for (size_t i = 0; i < c->value_count; i++) {
        const struct value *v = &c->values[i];
        if (!v->read_ok)
            continue;
        uint32_t key = c->places[v->first].key;
        if (v->first + 1 > bound[key])
            bound[key] = v->first + 1;
    }
    return bound;
}

/* By key: the number + 1 of the promised end that was asked for last. */
static uint32_t *last_ends(const struct checker *c)
{
    const struct history *h = c->h;
    uint32_t *latest = checker_array(c->key_count, sizeof(*latest));
    for (uint32_t i = 0; i < h->mark_count; i++) {
        const struct history_mark *m = &h->marks[i];
        if (m->kind != MARK_LOG_END || !is_ok(c, m->op))
            continue;
        uint32_t *l = &latest[m->key];
        if (*l == 0 || op_of(c, m->op)->begin > op_of(c, h->marks[*l - 1].op)->begin)
            *l = i + 1;
    }
    return latest;
}

/* True: each offset that it could have is known to hold another value. */
static bool has_no_room(const struct checker *c, uint32_t send, const uint32_t *ends)
{
    const struct history_sent *s = &c->h->sends[send];
    int64_t time = op_of(c, s->op)->end;
    for (uint32_t key = 0; key < c->key_count; key++) {
        if (s->key != HISTORY_KEY_ANY && s->key != key)
            continue;
        const struct history_mark *end = ends[key] != 0 ? &c->h->marks[ends[key] - 1] : NULL;
        if (end == NULL || op_of(c, end->op)->begin <= time || !checker_covered(c, key, 0, end->a))
            return false;
    }
    return c->key_count > 0;
}

/* True: it may have been removed with the begin of the log. */
static bool may_be_gone(const struct checker *c, uint32_t send)
{
    uint32_t key;
    int64_t offset;
    if (checker_lies(c, send, &key, &offset))
        return offset < c->start[key];
    key = c->h->sends[send].key;
    return key == HISTORY_KEY_ANY ? c->any_start : c->start[key] > 0;
}

static bool is_lost(const struct checker *c, uint32_t send, const uint32_t *bound, const uint32_t *ends)
{
    const struct value *v = &c->values[c->send_value[send]];
    if (v->read_ok || op_of(c, c->h->sends[send].op)->outcome != HISTORY_OK)
        return false;
    if (v->last == NO_PLACE)
        return has_no_room(c, send, ends);
    return v->last + 1 <= bound[c->places[v->last].key];
}

static void check_missing(struct checker *c)
{
    const struct history *h = c->h;
    uint32_t *bound = read_bounds(c), *ends = last_ends(c);
    for (uint32_t i = 0; i < h->send_count; i++) {
        const struct history_sent *s = &h->sends[i];
        const struct value *v = &c->values[c->send_value[i]];
        if (v->send != i || !must_commit(c, i) || may_be_gone(c, i))
            continue;
        struct check_finding f = {s->key, s->offset, s->value, {s->op, v->read_op, NO_OP}, 0, ""};
        if (is_lost(c, i, bound, ends))
            checker_find(c, CHECK_LOST_WRITE, &f, "%" PRIu64 " was acknowledged and is not there", s->value);
        else if (!v->read_final && op_of(c, s->op)->begin < h->final && h->final != HISTORY_TIME_NEVER)
            checker_find(c, CHECK_UNSEEN, &f, "%" PRIu64 " was %s and was not read in the end", s->value,
                         is_ok(c, s->op) ? "acknowledged" : "read before");
    }
    free(ends);
    free(bound);
}

static void measure_lag(struct checker *c)
{
    for (size_t i = 0; i < c->value_count; i++) {
        const struct value *v = &c->values[i];
        if (!v->read_ok || v->send == NO_SEND || !is_ok(c, c->h->sends[v->send].op))
            continue;
        int64_t lag = v->read_end - op_of(c, c->h->sends[v->send].op)->end;
        c->report->lag_max = lag > c->report->lag_max ? lag : c->report->lag_max;
    }
}

void checker_values(struct checker *c)
{
    check_reads(c);
    check_duplicates(c);
    check_missing(c);
    measure_lag(c);
}
