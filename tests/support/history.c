/* Four arrays that grow: operations, and what belongs to them by their number. */
#include "base/require.h"
#include "support/history_impl.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { ROOM_FIRST = 64 };

struct history *history_new(void)
{
    struct history *h = calloc(1, sizeof(*h));
    REQUIRE(h != NULL);
    h->final = HISTORY_TIME_NEVER;
    return h;
}

void history_free(struct history **h)
{
    if (*h == NULL)
        return;
    free((*h)->ops);
    free((*h)->sends);
    free((*h)->reads);
    free((*h)->marks);
    free(*h);
    *h = NULL;
}

/* The array with room for `more` beyond count. */
static void *grown(void *array, size_t count, size_t *room, size_t more, size_t size)
{
    if (count + more <= *room)
        return array;
    *room = *room == 0 ? ROOM_FIRST : 2 * *room;
    *room = *room < count + more ? count + more : *room;
    REQUIRE(*room < UINT32_MAX);
    void *larger = realloc(array, *room * size);
    REQUIRE(larger != NULL);
    return larger;
}

#define GROW(h, array, count, room, more)                                                                              \
    ((h)->array = grown((h)->array, (h)->count, &(h)->room, (more), sizeof(*(h)->array)))

static void check_key(uint32_t key)
{
    REQUIRE(key < HISTORY_KEYS_MAX || key == HISTORY_KEY_ANY);
}

void history_merge(struct history *h, const struct history *from)
{
    uint32_t shift = (uint32_t)h->op_count;
    GROW(h, ops, op_count, op_room, from->op_count);
    GROW(h, sends, send_count, send_room, from->send_count);
    GROW(h, reads, read_count, read_room, from->read_count);
    GROW(h, marks, mark_count, mark_room, from->mark_count);
    for (size_t i = 0; i < from->op_count; i++)
        h->ops[h->op_count++] = from->ops[i];
    for (size_t i = 0; i < from->send_count; i++) {
        h->sends[h->send_count] = from->sends[i];
        h->sends[h->send_count++].op += shift;
    }
    for (size_t i = 0; i < from->read_count; i++) {
        h->reads[h->read_count] = from->reads[i];
        h->reads[h->read_count++].op += shift;
    }
    for (size_t i = 0; i < from->mark_count; i++) {
        h->marks[h->mark_count] = from->marks[i];
        h->marks[h->mark_count++].op += shift;
    }
    h->dense = h->dense || from->dense;
    h->final = from->final < h->final ? from->final : h->final;
}

void history_dense(struct history *h)
{
    h->dense = true;
}

void history_final(struct history *h, int64_t time)
{
    h->final = time;
}

void history_doubt(struct history *h, int64_t from, int64_t to)
{
    for (size_t i = 0; i < h->send_count; i++) {
        struct history_op *op = &h->ops[h->sends[i].op];
        if (op->outcome != HISTORY_OK || op->end < from || op->end > to)
            continue;
        op->outcome = HISTORY_INFO;
        op->end = HISTORY_TIME_NEVER;
    }
}

void history_forget(struct history *h, int64_t before)
{
    size_t kept = 0;
    for (size_t i = 0; i < h->read_count; i++)
        if (h->ops[h->reads[i].op].begin >= before)
            h->reads[kept++] = h->reads[i];
    h->read_count = kept;
    kept = 0;
    for (size_t i = 0; i < h->mark_count; i++)
        if (h->ops[h->marks[i].op].begin >= before)
            h->marks[kept++] = h->marks[i];
    h->mark_count = kept;
}

uint32_t history_begin(struct history *h, uint32_t process, int64_t time)
{
    GROW(h, ops, op_count, op_room, 1);
    h->ops[h->op_count] = (struct history_op){process, HISTORY_INFO, time, HISTORY_TIME_NEVER};
    return (uint32_t)h->op_count++;
}

void history_end(struct history *h, uint32_t op, enum history_outcome outcome, int64_t time)
{
    REQUIRE(op < h->op_count);
    REQUIRE(time >= h->ops[op].begin);
    h->ops[op].outcome = outcome;
    h->ops[op].end = outcome == HISTORY_INFO ? HISTORY_TIME_NEVER : time;
}

uint32_t history_send(struct history *h, uint32_t op, uint32_t key, uint64_t value)
{
    REQUIRE(op < h->op_count);
    check_key(key);
    GROW(h, sends, send_count, send_room, 1);
    h->sends[h->send_count] = (struct history_sent){op, key, value, HISTORY_OFFSET_NONE, 0, 0, 0};
    return (uint32_t)h->send_count++;
}

void history_sent_at(struct history *h, uint32_t send, uint32_t key, int64_t offset)
{
    REQUIRE(send < h->send_count);
    check_key(key);
    h->sends[send].key = key;
    h->sends[send].offset = offset;
}

void history_numbered(struct history *h, uint32_t send, uint64_t producer, uint32_t epoch, int64_t sequence)
{
    REQUIRE(send < h->send_count);
    REQUIRE(producer != 0);
    h->sends[send].producer = producer;
    h->sends[send].epoch = epoch;
    h->sends[send].sequence = sequence;
}

void history_read(struct history *h, uint32_t op, uint32_t key, int64_t offset, uint64_t value)
{
    REQUIRE(op < h->op_count);
    REQUIRE(key < HISTORY_KEYS_MAX);
    GROW(h, reads, read_count, read_room, 1);
    h->reads[h->read_count++] = (struct history_seen){op, key, offset, value};
}

static void add_mark(struct history *h, struct history_mark mark)
{
    REQUIRE(mark.op < h->op_count);
    check_key(mark.key);
    REQUIRE(mark.key != HISTORY_KEY_ANY || mark.kind == MARK_ASSIGN);
    GROW(h, marks, mark_count, mark_room, 1);
    h->marks[h->mark_count++] = mark;
}

void history_assign(struct history *h, uint32_t op, uint32_t key)
{
    add_mark(h, (struct history_mark){op, key, MARK_ASSIGN, 0, 0, 0});
}

void history_range(struct history *h, uint32_t op, uint32_t key, int64_t from, int64_t to)
{
    add_mark(h, (struct history_mark){op, key, MARK_RANGE, 0, from, to});
}

void history_log_end(struct history *h, uint32_t op, uint32_t key, int64_t end)
{
    add_mark(h, (struct history_mark){op, key, MARK_LOG_END, 0, end, 0});
}

void history_log_start(struct history *h, uint32_t op, uint32_t key, int64_t start)
{
    add_mark(h, (struct history_mark){op, key, MARK_LOG_START, 0, start, 0});
}

void history_commit(struct history *h, uint32_t op, uint32_t group, uint32_t key, int64_t offset)
{
    add_mark(h, (struct history_mark){op, key, MARK_COMMIT, group, offset, 0});
}

void history_committed(struct history *h, uint32_t op, uint32_t group, uint32_t key, int64_t offset)
{
    add_mark(h, (struct history_mark){op, key, MARK_COMMITTED, group, offset, 0});
}

uint32_t history_op_count(const struct history *h)
{
    return (uint32_t)h->op_count;
}

/* ---- for people --------------------------------------------------------------- */

static void print_key(uint32_t key, FILE *to)
{
    if (key == HISTORY_KEY_ANY)
        fprintf(to, " any");
    else
        fprintf(to, " %" PRIu32, key);
}

static void print_mark(const struct history_mark *m, FILE *to)
{
    static const char *const names[] = {"assign", "all of", "log end", "log start", "commit", "committed"};
    fprintf(to, ", %s", names[m->kind]);
    print_key(m->key, to);
    if (m->kind == MARK_RANGE)
        fprintf(to, " [%" PRId64 ", %" PRId64 ")", m->a, m->b);
    else if (m->kind != MARK_ASSIGN)
        fprintf(to, " @%" PRId64, m->a);
    if (m->kind == MARK_COMMIT || m->kind == MARK_COMMITTED)
        fprintf(to, " of group %" PRIu32, m->group);
}

void history_print_op(const struct history *h, uint32_t op, FILE *to)
{
    enum { READS_SHOWN = 6 };
    static const char *const outcomes[] = {"ok", "fail", "info"};
    const struct history_op *o = &h->ops[op];
    fprintf(to, "op %" PRIu32 ", process %" PRIu32 ", %s, %" PRId64 " to ", op, o->process, outcomes[o->outcome],
            o->begin);
    if (o->end == HISTORY_TIME_NEVER)
        fprintf(to, "no end");
    else
        fprintf(to, "%" PRId64, o->end);
    for (size_t i = 0; i < h->send_count; i++)
        if (h->sends[i].op == op) {
            fprintf(to, ", sends %" PRIu64 " to", h->sends[i].value);
            print_key(h->sends[i].key, to);
            if (h->sends[i].offset != HISTORY_OFFSET_NONE)
                fprintf(to, " @%" PRId64, h->sends[i].offset);
            if (h->sends[i].producer != 0)
                fprintf(to, " as %" PRIu64 "/%" PRIu32 "/%" PRId64, h->sends[i].producer, h->sends[i].epoch,
                        h->sends[i].sequence);
        }
    for (size_t i = 0; i < h->mark_count; i++)
        if (h->marks[i].op == op)
            print_mark(&h->marks[i], to);
    size_t shown = 0;
    for (size_t i = 0; i < h->read_count; i++)
        if (h->reads[i].op == op && ++shown <= READS_SHOWN)
            fprintf(to, ", reads %" PRIu32 "@%" PRId64 " = %" PRIu64, h->reads[i].key, h->reads[i].offset,
                    h->reads[i].value);
    if (shown > READS_SHOWN)
        fprintf(to, " and %zu more", shown - READS_SHOWN);
    fprintf(to, "\n");
}
