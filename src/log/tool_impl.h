/*
 * What tool.c (looking and printing) and repair.c (mending) share. Private to
 * src/log.
 */
#ifndef KQ_LOG_TOOL_IMPL_H
#define KQ_LOG_TOOL_IMPL_H

#include "log/folder.h"
#include "log/log_impl.h"
#include "log/tool.h"

/* A place in a log file where entries should be that do not check out. */
struct tool_range {
    bool body_only; /* one entry whose head is good (the head is in `head`) */
    bool to_end;    /* nothing that checks out follows */
    struct entry_head head;
    uint64_t pos;
    uint64_t end_pos;
    uint64_t idx;
    uint64_t end_idx;
    int64_t off;
    int64_t end_off;
    uint64_t term;     /* of the entry before */
    uint32_t prev_crc; /* likewise */
    uint32_t next_crc; /* body checksum that the next good entry says the last one here had */
};

/* One log file, looked through. */
struct tool_segment {
    struct segment *s;
    struct io_file *file;
    uint64_t file_bytes;
    bool last;
    bool head_bad;
    bool has_footer;
    struct footer footer;
    struct tool_range *ranges;
    uint32_t range_count;
    /* the walk, and where it ended */
    uint64_t pos;
    uint64_t idx;
    int64_t off;
    uint64_t term;
    uint32_t crc;
    uint64_t torn_end; /* after the last byte behind the entries that is not zero */
    uint64_t flushed_idx;
};

struct tool {
    struct io *io;
    const struct tool_out *out;
    struct tool_counts *counts;
    struct fault *fault;
    struct place *place; /* of the replica at hand */
    struct log_hard_state state;
    struct log_mark mark;
    /* dump */
    bool dump;
    bool records;
    int64_t from_off;
    uint64_t limit;
    uint64_t printed;
    /* repair: called once a segment was looked through, before the next; NULL: only look */
    enum kq_err (*mend)(struct tool *t, struct tool_segment *g);
    enum kq_err (*mend_snapshot)(struct tool *t);
};

/* One line. */
void tool_say(struct tool *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* All replicas under dir. */
enum kq_err tool_run(struct tool *t, const char *dir);

#endif
