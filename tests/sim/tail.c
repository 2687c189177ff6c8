#include "sim/tail.h"

#include "sim/trace.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { THINGS_MAX = 12, THING_BYTES = 64 };

/* What the failure is about. */
static struct {
    char things[THINGS_MAX][THING_BYTES]; /* words to be found in a line */
    unsigned count;
    bool has_idx;
    uint64_t idx;
} about;

static void add_thing(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void add_thing(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    if (about.count < THINGS_MAX)
        (void)vsnprintf(about.things[about.count++], THING_BYTES, format, arguments);
    va_end(arguments);
}

/* ---- what the words name ------------------------------------------------------------- */

static void take_word(const char *word, size_t len)
{
    unsigned topic, partition;
    char text[THING_BYTES];
    if (len == 0 || len >= sizeof text)
        return;
    memcpy(text, word, len);
    text[len] = '\0';
    char *folder = strrchr(text, '/');
    if (strncmp(text, "/kafkaesque-", 12) == 0 && folder != NULL && folder[1] != '\0') {
        add_thing("/%.40s", folder + 1);
        add_thing(" %.40s:", folder + 1);
    } else if (text[0] == 't' &&
               (sscanf(text, "t%u/%u", &topic, &partition) == 2 || sscanf(text, "t%u-%u", &topic, &partition) == 2)) {
        add_thing("t%u/%u", topic, partition);
        add_thing("/t%u-%u", topic, partition);
        add_thing(" t%u-%u:", topic, partition);
    } else if (strncmp(text, "__", 2) == 0) {
        add_thing("%s", text);
    } else if (text[0] == 'v' && isdigit((unsigned char)text[1])) {
        add_thing(" %s ", text);
    }
}

static void take_words(const char *why)
{
    static const char between[] = " ,;:()\n";
    for (const char *at = why; *at != '\0';) {
        at += strspn(at, between);
        size_t len = strcspn(at, between);
        take_word(at, len);
        if (strncmp(at, "operation ", 10) == 0)
            add_thing("operation %lu:", strtoul(at + 10, NULL, 10));
        if (strncmp(at, "idx ", 4) == 0 && !about.has_idx) {
            about.has_idx = true;
            about.idx = strtoull(at + 4, NULL, 10);
        }
        at += len;
    }
}

/* The message that an oracle has just looked at. */
static void take_last_message(void)
{
    enum trace_kind kind;
    for (uint64_t back = 1; back <= 2; back++) { /* the verdict itself may be the last line */
        const char *line = trace_line(trace_lines() - back, &kind);
        const char *group = line == NULL || kind != TRACE_RAFT ? NULL : strstr(line, "group ");
        if (group != NULL) {
            add_thing("%.*s ", (int)(strlen("group ") + strcspn(group + strlen("group "), " ")), group);
            return;
        }
    }
}

/* ---- choosing ------------------------------------------------------------------------------ */

static bool number_behind(const char *line, const char *name, uint64_t *number)
{
    const char *at = strstr(line, name);
    if (at == NULL)
        return false;
    *number = strtoull(at + strlen(name), NULL, 10);
    return true;
}

/* Whether a message carries the index, acknowledges it, or decides who leads. */
static bool touches_idx(const char *line)
{
    uint64_t prev = 0, last = 0, match = 0;
    if (strstr(line, "vote") != NULL || strstr(line, "reset") != NULL || strstr(line, "timeout-now") != NULL)
        return true;
    (void)number_behind(line, "prev ", &prev);
    (void)number_behind(line, "last ", &last);
    (void)number_behind(line, "match ", &match);
    return (prev <= about.idx && about.idx <= last) || match == about.idx;
}

/* 0: no; 1: it is always of interest; 2: it is about what the failure names. */
static int weight(const char *line, enum trace_kind kind)
{
    for (unsigned i = 0; i < about.count; i++)
        if (strstr(line, about.things[i]) != NULL)
            return kind == TRACE_RAFT && about.has_idx && !touches_idx(line) ? 0 : 2;
    return kind == TRACE_FAULT || kind == TRACE_JUDGE ? 1 : 0;
}

void tail_show(const char *why, unsigned kinds, unsigned most)
{
    uint64_t from = trace_lines() > TRACE_KEPT ? trace_lines() - TRACE_KEPT : 0, first = UINT64_MAX, begin;
    unsigned chosen = 0, named = 0;
    enum trace_kind kind;
    take_words(why);
    take_last_message();
    for (begin = trace_lines(); begin > from && chosen < most; begin--)
        chosen += weight(trace_line(begin - 1, &kind), kind) > 0;
    for (uint64_t i = from; i < trace_lines(); i++)
        if (weight(trace_line(i, &kind), kind) == 2) {
            first = i < first ? i : first;
            named++;
        }
    if (named == 0) {
        trace_show(0, kinds, most);
        return;
    }
    if (first < begin) { /* where it all began */
        trace_put(first);
        fprintf(stderr, "      ... %u lines are about this\n", named);
    }
    for (uint64_t i = first > begin ? first : begin; i < trace_lines(); i++)
        if (weight(trace_line(i, &kind), kind) > 0)
            trace_put(i);
}
