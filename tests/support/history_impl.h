/* What a history holds: for history.c, and for the checker, which reads it. */
#ifndef KQ_TESTS_SUPPORT_HISTORY_IMPL_H
#define KQ_TESTS_SUPPORT_HISTORY_IMPL_H

#include "support/history.h"

#include <stddef.h>

struct history_op {
    uint32_t process;
    enum history_outcome outcome;
    int64_t begin, end; /* end: HISTORY_TIME_NEVER until it ended, and of what is INFO */
};

struct history_sent {
    uint32_t op, key;
    uint64_t value;
    int64_t offset; /* as told; HISTORY_OFFSET_NONE */
    uint64_t producer;
    uint32_t epoch;
    int64_t sequence;
};

struct history_seen {
    uint32_t op, key;
    int64_t offset;
    uint64_t value;
};

enum history_mark_kind {
    MARK_ASSIGN,
    MARK_RANGE,
    MARK_LOG_END,
    MARK_LOG_START,
    MARK_COMMIT,
    MARK_COMMITTED,
};

struct history_mark {
    uint32_t op, key;
    enum history_mark_kind kind;
    uint32_t group;
    int64_t a, b; /* RANGE: from, to; else a alone */
};

struct history {
    struct history_op *ops;
    struct history_sent *sends;
    struct history_seen *reads;
    struct history_mark *marks;
    size_t op_count, op_room;
    size_t send_count, send_room;
    size_t read_count, read_room;
    size_t mark_count, mark_room;
    bool dense;
    int64_t final; /* HISTORY_TIME_NEVER: none */
};

#endif
