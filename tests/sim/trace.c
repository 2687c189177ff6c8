#include "sim/trace.h"

#include "sim/machine.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { LINES = TRACE_KEPT, LINE_BYTES = 1000 };

static struct {
    uint64_t hash;
    uint64_t count;
    bool all;
    struct {
        enum trace_kind kind;
        char text[LINE_BYTES];
    } lines[LINES];
} trace;

ssize_t __real_write(int fd, const void *data, size_t size_bytes);

void trace_start(bool all)
{
    trace.hash = UINT64_C(0xcbf29ce484222325);
    trace.count = 0;
    trace.all = all;
}

void trace_mix(uint64_t value)
{
    trace.hash = (trace.hash ^ value) * UINT64_C(0x100000001b3);
    trace.hash ^= trace.hash >> 29;
}

uint64_t trace_hash(void)
{
    return trace.hash;
}

uint64_t trace_lines(void)
{
    return trace.count;
}

static void put(const char *text)
{
    size_t len = strnlen(text, LINE_BYTES);
    char line[LINE_BYTES + 1];
    memcpy(line, text, len);
    line[len] = '\n';
    ssize_t written = __real_write(STDERR_FILENO, line, len + 1);
    (void)written;
}

void trace_say(enum trace_kind kind, const char *format, ...)
{
    static const char *const names[] = {"fault ", "broker", "client", "judge ", "net   ", "raft  "};
    char *text = trace.lines[trace.count % LINES].text;
    trace.lines[trace.count % LINES].kind = kind;
    trace.count++;
    int64_t now_us = machine_now_ns() / 1000;
    int have = snprintf(text, LINE_BYTES, "%5lld.%06lld %s ", (long long)(now_us / 1000000),
                        (long long)(now_us % 1000000), names[kind]);
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text + have, LINE_BYTES - (size_t)have, format, arguments);
    va_end(arguments);
    for (const char *at = text; *at != '\0'; at++)
        trace_mix((uint64_t)(unsigned char)*at);
    if (trace.all)
        put(text);
}

const char *trace_line(uint64_t number, enum trace_kind *kind)
{
    if (number >= trace.count || number + LINES < trace.count)
        return NULL;
    *kind = trace.lines[number % LINES].kind;
    return trace.lines[number % LINES].text;
}

void trace_put(uint64_t number)
{
    enum trace_kind kind;
    const char *text = trace_line(number, &kind);
    if (text != NULL)
        put(text);
}

void trace_show(uint64_t since, unsigned kinds, unsigned most)
{
    uint64_t first = trace.count > LINES ? trace.count - LINES : 0;
    if (since > first)
        first = since;
    unsigned wanted = 0;
    uint64_t from = trace.count;
    while (from > first && wanted < most) {
        from--;
        if ((1U << trace.lines[from % LINES].kind & kinds) != 0)
            wanted++;
    }
    for (uint64_t i = from; i < trace.count; i++)
        if ((1U << trace.lines[i % LINES].kind & kinds) != 0)
            put(trace.lines[i % LINES].text);
}
