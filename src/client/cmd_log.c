/*
 * `kafkaesque log check|dump|repair DIR`: the log of a stopped broker, or of one
 * of its partitions, or of a copy of either.
 *
 * The folder's lock is taken where there is one, so that nothing is read or
 * changed under a running broker. A folder that is no broker's and lies in none
 * (a copy of a partition) has no lock to take.
 */
#include "base/datadir.h"
#include "base/json.h"
#include "client/commands.h"
#include "client/progress.h"
#include "log/io.h"
#include "log/tool.h"
#include "proto/text/reply.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

const struct option_row log_dump_options[] = {
    {"from", 0, "OFFSET", "begin with the entry that holds this offset (default: the first)"},
    {"records", 'r', NULL, "a line for each record too, with its key and value"},
    {"limit", 'n', "N", "at most N lines (default: all)"},
    {NULL, 0, NULL, NULL},
};

static void print_line(void *context, const char *line)
{
    (void)context;
    struct buf safe; /* keys and values may hold what a terminal would obey */
    buf_init(&safe, 1 << 20);
    json_plain_line(&safe, line, strlen(line));
    (void)fwrite(safe.data, 1, safe.len, stdout);
    (void)putchar('\n');
    buf_fini(&safe);
}

/* With --json check and repair answer one object: what they have to say, as the
 * member Lines, and the counts. Open until print_json(). */
struct report {
    struct buf out;
    struct json j;
    struct tool_out to;
};

static void keep_line(void *context, const char *line)
{
    struct report *report = context;
    json_add_text(&report->j, line);
}

static void report_begin(struct report *report, const struct client *client)
{
    enum { REPORT_BYTES_MAX = 64 << 20 };
    buf_init(&report->out, REPORT_BYTES_MAX);
    json_begin(&report->j, &report->out);
    report->to =
        client->json ? (struct tool_out){.line = keep_line, .context = report} : (struct tool_out){.line = print_line};
    json_open(&report->j, '{');
    json_key(&report->j, "Lines");
    json_open(&report->j, '[');
}

/* ---- dump: an object a line with --json --------------------------------------------------- */

static void print_buf(struct buf *out)
{
    (void)printf("%.*s\n", (int)out->len, (const char *)out->data);
    buf_fini(out);
}

static void print_entry(void *context, const struct tool_entry *entry)
{
    struct buf out;
    struct json j;
    (void)context;
    buf_init(&out, 1 << 20);
    json_begin(&j, &out);
    json_open(&j, '{');
    json_put_text(&j, "Folder", entry->dir);
    json_put_number(&j, "Entry", (int64_t)entry->idx);
    json_put_number(&j, "Term", (int64_t)entry->term);
    json_put_text(&j, "Type", entry->type);
    json_put_bool(&j, "Lost", entry->lost);
    json_put_number(&j, "FirstOffset", entry->first_off);
    json_put_number(&j, "Count", entry->record_count);
    json_put_number(&j, "Bytes", entry->body_bytes);
    json_put_number(&j, "Position", (int64_t)entry->pos);
    json_close(&j, '}');
    print_buf(&out);
}

/* As CONS shows it. */
static void print_record(void *context, struct record *record)
{
    enum { RECORD_BYTES_MAX = 1 << 30 };
    struct buf out;
    (void)context;
    buf_init(&out, RECORD_BYTES_MAX);
    reply_record_object(&out, &(struct reply_record){.header = record_header_named(record, "Header"),
                                                     .key = record->key,
                                                     .body = record->value,
                                                     .offset = record->off,
                                                     .timestamp_ms = record->time_ms});
    print_buf(&out);
}

static void print_message(void *context, const char *line)
{
    struct buf out;
    struct json j;
    (void)context;
    buf_init(&out, 1 << 20);
    json_begin(&j, &out);
    json_open(&j, '{');
    json_put_text(&j, "Line", line);
    json_close(&j, '}');
    print_buf(&out);
}

/* ---- the lock ------------------------------------------------------------------------ */

static bool is_broker_folder(const char *path)
{
    char format[PATH_MAX];
    int len = snprintf(format, sizeof(format), "%s/FORMAT", path);
    return len > 0 && (size_t)len < sizeof(format) && access(format, F_OK) == 0;
}

/* *lock becomes NULL where there is nothing to lock. */
static enum kq_err lock(struct datadir **lock, const char *dir, bool to_write, struct fault *fault)
{
    char above[PATH_MAX];
    *lock = NULL;
    int len = snprintf(above, sizeof(above), "%s/..", dir);
    const char *broker = is_broker_folder(dir)                                               ? dir
                         : len > 0 && (size_t)len < sizeof(above) && is_broker_folder(above) ? above
                                                                                             : NULL;
    if (broker == NULL)
        return KQ_OK;
    enum kq_err err = datadir_open(lock, broker, DATADIR_ANY_BROKER, false, fault);
    if (err == KQ_READ_ONLY && !to_write) {
        (void)fprintf(stderr, "kafkaesque: the folder cannot be locked, as it cannot be written to; see to it that no "
                              "broker uses it\n");
        return KQ_OK;
    }
    if (err == KQ_LOCKED)
        return fault_set(fault, err,
                         "%s is in use by a running broker (the file LOCK names its process); stop it first, or work "
                         "on a copy",
                         dir);
    return err;
}

/* ---- what was found ---------------------------------------------------------------------- */

static void print_json(struct report *report, const struct tool_counts *c)
{
    struct json j = report->j;
    json_close(&j, ']');
    json_put_number(&j, "Replicas", c->replicas);
    json_put_number(&j, "Segments", c->segments);
    json_put_number(&j, "Entries", (int64_t)c->entries);
    json_put_number(&j, "Records", (int64_t)c->records);
    json_put_number(&j, "Bytes", (int64_t)c->bytes);
    json_put_number(&j, "TornBytes", (int64_t)c->torn_bytes);
    json_put_number(&j, "Rebuildable", c->rebuildable);
    json_put_number(&j, "Damaged", c->damaged);
    json_put_number(&j, "LostEntries", (int64_t)c->lost_entries);
    json_put_number(&j, "LostRecords", (int64_t)c->lost_records);
    json_put_number(&j, "Copies", c->copies);
    json_put_number(&j, "Repaired", c->repaired);
    json_put_number(&j, "Unrepaired", c->unrepaired);
    json_close(&j, '}');
    (void)printf("%.*s\n", (int)report->out.len, (const char *)report->out.data);
}

static const char *plural(uint64_t count)
{
    return count == 1 ? "" : "s";
}

static void print_counts(const struct tool_counts *c)
{
    char bytes[24];
    (void)printf("%" PRIu32 " partition%s, %" PRIu32 " segment%s, %" PRIu64 " entries, %" PRIu64 " record%s, %s\n",
                 c->replicas, plural(c->replicas), c->segments, plural(c->segments), c->entries, c->records,
                 plural(c->records), progress_bytes(bytes, (double)c->bytes));
    if (c->torn_bytes > 0)
        (void)printf("%" PRIu64 " bytes of unfinished writes at the end; the next start cuts them off, and nothing "
                     "acknowledged was in them\n",
                     c->torn_bytes);
    if (c->rebuildable > 0)
        (void)printf("%" PRIu32 " index%s or footer%s that do not agree with their log; the next start makes them "
                     "anew\n",
                     c->rebuildable, c->rebuildable == 1 ? "" : "es", plural(c->rebuildable));
}

/* What is not there or cannot be read is on this side; no broker refused it. */
static int fail(const struct client *client, enum kq_err err)
{
    int code = client_fail(client, err);
    return err == KQ_LOCKED || code != CLIENT_REFUSED ? code : CLIENT_LOCAL;
}

static int finish(struct client *client, enum kq_err err, struct report *report, const struct tool_counts *counts)
{
    int code = CLIENT_DONE;
    if (err != KQ_OK)
        code = fail(client, err);
    else if (report->out.bad)
        code =
            client_fail(client, fault_set(&client->fault, KQ_NO_MEMORY, "the report is too large; do without --json"));
    else if (client->json)
        print_json(report, counts);
    else
        print_counts(counts);
    buf_fini(&report->out);
    return code;
}

/* ---- the commands -------------------------------------------------------------------------- */

int command_log_check(struct client *client, const struct arguments *arguments)
{
    struct tool_counts counts = {.replicas = 0};
    struct report report;
    struct datadir *held = NULL;
    const char *dir = arguments->positional[0];
    report_begin(&report, client);
    enum kq_err err = lock(&held, dir, false, &client->fault);
    if (err == KQ_OK)
        err = tool_check(io_posix(), dir, &report.to, &counts, &client->fault);
    datadir_close(&held);
    int code = finish(client, err, &report, &counts);
    if (code == CLIENT_DONE && counts.damaged > 0) {
        if (!client->json)
            (void)printf("%" PRIu32 " place%s damaged, with %" PRIu64 " record%s; `kafkaesque log repair %s` cuts what "
                         "cannot be read\n",
                         counts.damaged, counts.damaged == 1 ? " is" : "s are", counts.lost_records,
                         plural(counts.lost_records), dir);
        return CLIENT_DAMAGE;
    }
    if (code == CLIENT_DONE && !client->json)
        (void)printf("no damage\n");
    return code;
}

int command_log_dump(struct client *client, const struct arguments *arguments)
{
    int64_t from_off = 0;
    int64_t limit = 0;
    if (options_number(arguments, "from", 0, INT64_MAX, &from_off, &client->fault) != KQ_OK ||
        options_number(arguments, "limit", 1, INT64_MAX, &limit, &client->fault) != KQ_OK)
        return client_usage(client, "log dump");
    static const struct tool_out lines = {.line = print_line};
    static const struct tool_out objects = {.line = print_message, .entry = print_entry, .record = print_record};
    struct tool_counts counts = {.replicas = 0};
    struct datadir *held = NULL;
    enum kq_err err = lock(&held, arguments->positional[0], false, &client->fault);
    if (err == KQ_OK)
        err = tool_dump(io_posix(), arguments->positional[0], from_off, options_get(arguments, "records") != NULL,
                        (uint64_t)limit, client->json ? &objects : &lines, &counts, &client->fault);
    datadir_close(&held);
    return err == KQ_OK ? CLIENT_DONE : fail(client, err);
}

int command_log_repair(struct client *client, const struct arguments *arguments)
{
    struct tool_counts counts = {.replicas = 0};
    struct report report;
    struct datadir *held = NULL;
    report_begin(&report, client);
    enum kq_err err = lock(&held, arguments->positional[0], true, &client->fault);
    if (err == KQ_OK)
        err = tool_repair(io_posix(), arguments->positional[0], &report.to, &counts, &client->fault);
    datadir_close(&held);
    int code = finish(client, err, &report, &counts);
    if (code != CLIENT_DONE)
        return code;
    if (!client->json)
        (void)printf("%" PRIu32 " place%s repaired, %" PRIu64 " record%s given up, %" PRIu32 " file%s kept aside as "
                     "NAME.aside\n",
                     counts.repaired, plural(counts.repaired), counts.lost_records, plural(counts.lost_records),
                     counts.copies, plural(counts.copies));
    return counts.unrepaired > 0 ? CLIENT_DAMAGE : CLIENT_DONE;
}
