/*
 * Judges a history: names everything in it that a log broker must never do, with
 * the operations that show it. After Jepsen's kafka workload, made precise.
 *
 * It believes nobody. The order of versions of a key is what the reads and the
 * acknowledged sends say together: offset -> value. A message must have been
 * committed if its send was OK, or was INFO and some OK read showed it. Where a
 * reply names no offset, the offset is the one place where the value was read.
 * Operations that overlap in time may have happened in either order, so none of
 * the rules below can be broken by a correct broker, however the calls ran; but
 * the recorder must be right about the outcome of each operation.
 *
 * n log n in operations, sends and reads; no threads, no clock, no files.
 */
#ifndef KQ_TESTS_SUPPORT_CHECKER_H
#define KQ_TESTS_SUPPORT_CHECKER_H

#include "support/history.h"

enum check_kind {
    CHECK_INCONSISTENT_OFFSETS,  /* two values at one offset: replicas differed */
    CHECK_DUPLICATE,             /* one value at two offsets */
    CHECK_PHANTOM,               /* read, though its send failed for sure */
    CHECK_GARBAGE,               /* read, and nobody sent it */
    CHECK_READ_BEFORE_SEND,      /* a read that ended before the send began showed it */
    CHECK_MISPLACED,             /* read from another key than it was sent to */
    CHECK_LOST_WRITE,            /* committed; others beyond its place were read, it never */
    CHECK_UNSEEN,                /* committed, and not read since the final phase began: lost or stuck */
    CHECK_POLL_SKIP,             /* between two reads of a process messages were left out */
    CHECK_NONMONOTONIC_POLL,     /* the next read of a process went back */
    CHECK_INT_POLL_SKIP,         /* the same, inside one read */
    CHECK_INT_NONMONOTONIC_POLL, /* the same, inside one read */
    CHECK_POLL_RANGE,            /* not all of the range that it claims, or more than that */
    CHECK_NONMONOTONIC_SEND,     /* a process's later send lies before its earlier one */
    CHECK_INT_NONMONOTONIC_SEND, /* the same, inside one operation */
    CHECK_REALTIME,              /* lies before what was there when its send began */
    CHECK_STRONG_END,            /* an end that leaves out what was there before it was asked for */
    CHECK_SEQUENCE_ORDER,        /* a producer's messages lie in another order than their numbers */
    CHECK_SEQUENCE_TWICE,        /* two messages of one number were both taken */
    CHECK_SEQUENCE_GAP,          /* a number is missing between two that were taken */
    CHECK_LOG_START_REGRESS,     /* the log start went back */
    CHECK_BELOW_LOG_START,       /* shown, though the log start was beyond it before the call */
    CHECK_GROUP_OFFSET_STALE,    /* a committed offset that was overwritten before the call */
    CHECK_GROUP_OFFSET_UNKNOWN,  /* a committed offset that nobody committed */
    CHECK_REUSED_VALUE,          /* the recorder's fault: one value sent twice */
    CHECK_KINDS
};

enum { CHECK_EXAMPLES = 4, CHECK_OPS = 3 };

/* One case of it. */
struct check_finding {
    uint32_t key;
    int64_t offset;
    uint64_t value;
    uint32_t ops[CHECK_OPS]; /* those that show it */
    unsigned op_count;
    char text[120];
};

struct check_report {
    uint64_t counts[CHECK_KINDS];
    struct check_finding examples[CHECK_KINDS][CHECK_EXAMPLES];    /* the first few of each */
    uint64_t anomalies;                                            /* sum of counts */
    uint64_t ops, sends, sends_ok, sends_unknown, reads, messages; /* messages: places seen */
    int64_t lag_max; /* longest time from a send's OK to the first OK read that shows it */
};

/* True: nothing found. Fills the report in either case. */
bool checker_judge(const struct history *h, struct check_report *report);

/* "lost-write". */
const char *check_name(enum check_kind kind);
/* The counts, the examples and their operations. */
void checker_print(const struct check_report *report, const struct history *h, FILE *to);

#endif
