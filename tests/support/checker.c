/* The judge: the order in which the rules are tried, and the report. */
#include "support/checker_impl.h"

#include "base/require.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

static const char *const names[CHECK_KINDS] = {
    [CHECK_INCONSISTENT_OFFSETS] = "inconsistent-offsets",
    [CHECK_DUPLICATE] = "duplicate",
    [CHECK_PHANTOM] = "phantom",
    [CHECK_GARBAGE] = "garbage",
    [CHECK_READ_BEFORE_SEND] = "read-before-send",
    [CHECK_MISPLACED] = "misplaced",
    [CHECK_LOST_WRITE] = "lost-write",
    [CHECK_UNSEEN] = "unseen",
    [CHECK_POLL_SKIP] = "poll-skip",
    [CHECK_NONMONOTONIC_POLL] = "nonmonotonic-poll",
    [CHECK_INT_POLL_SKIP] = "int-poll-skip",
    [CHECK_INT_NONMONOTONIC_POLL] = "int-nonmonotonic-poll",
    [CHECK_POLL_RANGE] = "poll-range",
    [CHECK_NONMONOTONIC_SEND] = "nonmonotonic-send",
    [CHECK_INT_NONMONOTONIC_SEND] = "int-nonmonotonic-send",
    [CHECK_REALTIME] = "realtime",
    [CHECK_STRONG_END] = "strong-end",
    [CHECK_SEQUENCE_ORDER] = "sequence-order",
    [CHECK_SEQUENCE_TWICE] = "sequence-twice",
    [CHECK_SEQUENCE_GAP] = "sequence-gap",
    [CHECK_LOG_START_REGRESS] = "log-start-regress",
    [CHECK_BELOW_LOG_START] = "below-log-start",
    [CHECK_GROUP_OFFSET_STALE] = "group-offset-stale",
    [CHECK_GROUP_OFFSET_UNKNOWN] = "group-offset-unknown",
    [CHECK_REUSED_VALUE] = "reused-value",
};

const char *check_name(enum check_kind kind)
{
    REQUIRE(kind < CHECK_KINDS);
    return names[kind];
}

void *checker_array(size_t count, size_t size)
{
    void *array = calloc(count > 0 ? count : 1, size);
    REQUIRE(array != NULL);
    return array;
}

void checker_find(struct checker *c, enum check_kind kind, const struct check_finding *what, const char *format, ...)
{
    struct check_report *r = c->report;
    r->anomalies++;
    uint64_t nth = r->counts[kind]++;
    if (nth >= CHECK_EXAMPLES)
        return;
    struct check_finding *f = &r->examples[kind][nth];
    *f = *what;
    f->op_count = 0;
    for (unsigned i = 0; i < CHECK_OPS; i++) {
        bool again = what->ops[i] == NO_OP;
        for (unsigned k = 0; k < f->op_count; k++)
            again = again || f->ops[k] == what->ops[i];
        if (!again)
            f->ops[f->op_count++] = what->ops[i];
    }
    va_list args;
    va_start(args, format);
    (void)vsnprintf(f->text, sizeof(f->text), format, args);
    va_end(args);
}

static void count_all(struct checker *c)
{
    struct check_report *r = c->report;
    r->ops = c->h->op_count;
    r->sends = c->h->send_count;
    r->reads = c->h->read_count;
    r->messages = c->place_count;
    for (size_t i = 0; i < c->h->send_count; i++) {
        enum history_outcome outcome = op_of(c, c->h->sends[i].op)->outcome;
        r->sends_ok += outcome == HISTORY_OK;
        r->sends_unknown += outcome == HISTORY_INFO;
    }
}

bool checker_judge(const struct history *h, struct check_report *report)
{
    struct checker c = {.h = h, .report = report};
    memset(report, 0, sizeof(*report));
    checker_build(&c);
    count_all(&c);
    checker_values(&c);
    checker_polls(&c);
    checker_ranges(&c);
    checker_sends(&c);
    checker_numbers(&c);
    checker_realtime(&c);
    checker_log_starts(&c);
    checker_groups(&c);
    checker_free(&c);
    return report->anomalies == 0;
}

void checker_print(const struct check_report *r, const struct history *h, FILE *to)
{
    fprintf(to,
            "%" PRIu64 " operations: %" PRIu64 " sends (%" PRIu64 " ok, %" PRIu64 " unknown), %" PRIu64
            " reads of %" PRIu64 " messages: %s\n",
            r->ops, r->sends, r->sends_ok, r->sends_unknown, r->reads, r->messages,
            r->anomalies == 0 ? "nothing wrong" : "ANOMALIES");
    for (unsigned kind = 0; kind < CHECK_KINDS; kind++) {
        if (r->counts[kind] == 0)
            continue;
        fprintf(to, "%s: %" PRIu64 "\n", names[kind], r->counts[kind]);
        for (unsigned i = 0; i < CHECK_EXAMPLES && i < r->counts[kind]; i++) {
            const struct check_finding *f = &r->examples[kind][i];
            fprintf(to, "  %s\n", f->text);
            for (unsigned k = 0; k < f->op_count; k++) {
                fprintf(to, "    ");
                history_print_op(h, f->ops[k], to);
            }
        }
    }
}
