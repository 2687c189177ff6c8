/* What the checker's files share: the version order, and how a finding is told. */
#ifndef KQ_TESTS_SUPPORT_CHECKER_IMPL_H
#define KQ_TESTS_SUPPORT_CHECKER_IMPL_H

#include "support/checker.h"
#include "support/history_impl.h"

#define NO_PLACE UINT32_MAX
#define NO_OP UINT32_MAX
#define NO_SEND UINT32_MAX

/* An offset of a key that something is known to lie at; sorted, so that its
 * number in the array is its rank. */
struct place {
    uint32_t key;
    int64_t offset;
};

struct value {
    uint64_t value;
    uint32_t send; /* or NO_SEND */
    uint32_t read_op;
    int64_t read_end;     /* of the first OK read of it; HISTORY_TIME_NEVER */
    uint32_t first, last; /* places; NO_PLACE */
    bool many;            /* places differ */
    bool read_ok, read_final;
};

/* All reads of one key in one operation: order[from..to) in the order shown. */
struct showing {
    uint32_t op, key;
    size_t from, to;
    int64_t min_off, max_off;
};

struct checker {
    const struct history *h;
    struct check_report *report;
    struct value *values; /* by value */
    struct place *places; /* by key, offset */
    uint32_t *read_value, *read_place, *send_value;
    uint32_t *order; /* numbers of reads, by operation, key, as shown */
    struct showing *showings;
    size_t *place_from; /* by key: its first place; one more at the end */
    int64_t *start;     /* by key: the largest log start shown; INT64_MIN */
    size_t value_count, place_count, showing_count;
    uint32_t key_count;
    bool any_start;
};

void *checker_array(size_t count, size_t size);
void checker_find(struct checker *c, enum check_kind kind, const struct check_finding *what, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* Where a send that did not fail lies: told by its reply, or the one place where
 * its value was seen. False: not known. */
bool checker_lies(const struct checker *c, uint32_t send, uint32_t *key, int64_t *offset);
/* The first place of the key at or after offset. */
size_t checker_place_at(const struct checker *c, uint32_t key, int64_t offset);
/* True: something is known to lie at each offset of [from, to). */
bool checker_covered(const struct checker *c, uint32_t key, int64_t from, int64_t to);

static inline const struct history_op *op_of(const struct checker *c, uint32_t op)
{
    return &c->h->ops[op];
}

static inline bool is_ok(const struct checker *c, uint32_t op)
{
    return c->h->ops[op].outcome == HISTORY_OK;
}

/* For comparing in qsort: returns unless equal. */
#define ORDER_BY(a, b)                                                                                                 \
    do {                                                                                                               \
        if ((a) != (b))                                                                                                \
            return (a) < (b) ? -1 : 1;                                                                                 \
    } while (0)

/* The version order; and what it shows by itself. */
void checker_build(struct checker *c);
void checker_free(struct checker *c);
void checker_values(struct checker *c);
/* Each process for itself, and each producer. */
void checker_polls(struct checker *c);
void checker_ranges(struct checker *c);
void checker_sends(struct checker *c);
void checker_numbers(struct checker *c);
/* Between processes, by the clock. */
void checker_realtime(struct checker *c);
void checker_log_starts(struct checker *c);
void checker_groups(struct checker *c);

#endif
