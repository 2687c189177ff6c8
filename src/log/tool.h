/*
 * What the operator can do to a stopped replica's folder: look, print, repair.
 * The caller sees to it that no broker uses the folder. Calls block; any thread.
 *
 * `dir` is one replica's folder (topic-3) or a broker's, with such folders in it.
 */
#ifndef KQ_LOG_TOOL_H
#define KQ_LOG_TOOL_H

#include "base/err.h"
#include "log/batch.h"
#include "log/io.h"

#include <stdbool.h>
#include <stdint.h>

struct tool_entry {
    const char *dir; /* of its replica */
    const char *type;
    uint64_t idx;
    uint64_t term;
    int64_t first_off;
    uint32_t record_count;
    uint32_t body_bytes;
    uint64_t pos;
    bool lost; /* given up by a repair */
};

/* Each finding and each step is one line for a person, without a newline. What a
 * dump prints goes to entry and record, or is a line too where they are NULL. */
struct tool_out {
    void (*line)(void *context, const char *line);
    void *context;
    void (*entry)(void *context, const struct tool_entry *entry);
    void (*record)(void *context, struct record *record);
};

struct tool_counts {
    uint32_t replicas;
    uint32_t segments;
    uint64_t entries;      /* that check out */
    uint64_t records;      /* in those */
    uint64_t bytes;        /* of entries */
    uint64_t torn_bytes;   /* unfinished writes at the end; the next start cuts them, nothing acknowledged is lost */
    uint32_t rebuildable;  /* indexes and footers that do not agree; the next start or repair makes them anew */
    uint32_t damaged;      /* places where what may be acknowledged does not check out */
    uint64_t lost_entries; /* check: in those places; repair: given up */
    uint64_t lost_records;
    uint32_t copies;     /* repair: files kept aside, as NAME.aside */
    uint32_t repaired;   /* repair: places mended or cut out */
    uint32_t unrepaired; /* repair: places where nothing could be done; said why */
};

/* Reads everything, changes nothing. KQ_OK: looked through; *counts says what was
 * found. KQ_NOT_FOUND: no replica there. KQ_BAD_VERSION, KQ_IO, ...: *fault. */
enum kq_err tool_check(struct io *io, const char *dir, const struct tool_out *out, struct tool_counts *counts,
                       struct fault *fault);

/* Prints a line for each entry from from_off on, and with `records` one for each
 * record (key and value as text where they are); at most limit lines (0: all). */
enum kq_err tool_dump(struct io *io, const char *dir, int64_t from_off, bool records, uint64_t limit,
                      const struct tool_out *out, struct tool_counts *counts, struct fault *fault);

/* Checks, and mends what it can: each file is copied to NAME.aside before it is
 * changed. Damage in the middle is cut out (its offsets stay empty, readers go
 * on behind it), damage at the end is cut off; both are said exactly. */
enum kq_err tool_repair(struct io *io, const char *dir, const struct tool_out *out, struct tool_counts *counts,
                        struct fault *fault);

#endif
