/* What one core does with text: lines parsed, messages parsed, records written.
 * Prints figures; passes or fails nothing. */
#include "base/clock.h"
#include "base/require.h"
#include "proto/text/command.h"
#include "proto/text/message.h"
#include "proto/text/reply.h"

#include <stdio.h>
#include <stdlib.h>

enum { RUN_US = 400000, LINE_MAX_BYTES = 8192 };

static struct message_parser *parser;
static char line[LINE_MAX_BYTES];
static size_t line_bytes;
static struct buf out;
static uint8_t text[1 << 20];

static void make_line(size_t body_bytes, bool quoted)
{
    const char *q = quoted ? "\"\"" : "\"";
    line_bytes = (size_t)snprintf(line, sizeof(line), "PUBS topic %s{%sKey%s:%sk%s,%sBody%s:%s", quoted ? "\"" : "", q,
                                  q, q, q, q, q, q);
    memset(line + line_bytes, 'x', body_bytes);
    line_bytes += body_bytes;
    line_bytes += (size_t)snprintf(line + line_bytes, sizeof(line) - line_bytes, "%s}%s", q, quoted ? "\"" : "");
}

static size_t parse_line(void)
{
    static const struct text_limits limits = {.partitions_max = 1000};
    char copy[LINE_MAX_BYTES]; /* it may be changed in place */
    struct text_command c;
    struct text_message m;
    struct fault fault;
    memcpy(copy, line, line_bytes);
    REQUIRE(text_command_parse((uint8_t *)copy, line_bytes, &limits, &c, &fault) == KQ_OK);
    REQUIRE(message_parse(parser, c.message.data, c.message.len, &m, &fault) == KQ_OK);
    REQUIRE(m.body.len > 0);
    return line_bytes;
}

static size_t record_body_bytes;
static size_t write_record(void)
{
    struct reply_record r = {.header = slice_text(""),
                             .key = slice_text("k"),
                             .body = slice_of(text, record_body_bytes),
                             .offset = 123456,
                             .timestamp_ms = 1700000000000};
    if (out.len > 256 * 1024)
        buf_reset(&out);
    reply_records_add(&out, &r, false);
    return record_body_bytes;
}

static size_t escape(void)
{
    buf_reset(&out);
    REQUIRE(json_try_string(&out, text, sizeof(text)));
    return sizeof(text);
}

static void run(const char *name, size_t (*work)(void))
{
    int64_t start = clock_mono_us();
    int64_t now = start;
    double count = 0;
    double bytes = 0;
    while (now - start < RUN_US) {
        for (int i = 0; i < 16; i++)
            bytes += (double)work();
        count += 16;
        now = clock_mono_us();
    }
    double seconds = (double)(now - start) / 1e6;
    printf("%-44s %12.0f a second %10.1f MB/s\n", name, count / seconds, bytes / seconds / 1e6);
}

int main(void)
{
    parser = message_parser_new();
    REQUIRE(parser != NULL);
    buf_init(&out, 8 << 20);
    memset(text, 'x', sizeof(text));
    make_line(20, false);
    run("PUBS line and message, 20 B body", parse_line);
    make_line(100, false);
    run("PUBS line and message, 100 B body", parse_line);
    make_line(100, true);
    run("the same, quoted", parse_line);
    make_line(1024, false);
    run("PUBS line and message, 1 KiB body", parse_line);
    record_body_bytes = 100;
    run("record as JSON, 100 B body (payload)", write_record);
    record_body_bytes = 1024;
    run("record as JSON, 1 KiB body (payload)", write_record);
    run("JSON string, plain ASCII, 1 MiB", escape);
    for (size_t i = 0; i + 2 <= sizeof(text); i += 20)
        memcpy(text + i, "\xc3\xbc", 2);
    run("JSON string, a character of two bytes in 20", escape);
    for (size_t i = 10; i < sizeof(text); i += 20)
        text[i] = '"';
    run("JSON string, and a quote in 20", escape);
    message_parser_free(&parser);
    buf_fini(&out);
    return 0;
}
