/* The client's layers below its commands: options, addresses, replies, records as
 * they stream in, lines, tables, figures. */
#include "client/client.h"

#include "client/histogram.h"
#include "client/lines.h"
#include "client/progress.h"
#include "client/reader.h"
#include "client/records.h"
#include "client/show.h"
#include "support/unit.h"

#include <stdio.h>
#include <unistd.h>

static struct fault fault;

/* ---- options --------------------------------------------------------------------- */

static const struct option_row test_options[] = {{"key", 'k', "KEY", "a key"},
                                                 {"follow", 'f', NULL, "a flag"},
                                                 {"number", 0, "N", "a number"},
                                                 {NULL, 0, NULL, NULL}};
static const struct command_row test_command = {"test", "A [B]", 1, 2, "A test", NULL, test_options, NULL};

/* argv is not const by tradition only; nothing writes through it. */
static enum kq_err parse(struct arguments *a, int argc, const char **argv)
{
    char *words[8];
    memcpy(words, argv, (size_t)argc * sizeof(words[0]));
    return options_parse(&test_command, argc, words, a, &fault);
}
#define PARSE(a, ...)                                                                                                  \
    parse((a), (int)(sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *)), (const char *[]){__VA_ARGS__})

static void options_in_all_their_forms(void)
{
    struct arguments a;
    int64_t number = 5;
    CU_ASSERT_EQUAL(PARSE(&a, "one", "-k", "v", "--follow", "two", "--number=7", "--json"), KQ_OK);
    CU_ASSERT_EQUAL(a.positional_count, 2);
    CU_ASSERT_STRING_EQUAL(a.positional[1], "two");
    CU_ASSERT_STRING_EQUAL(options_get(&a, "key"), "v");
    CU_ASSERT_PTR_NOT_NULL(options_get(&a, "follow"));
    CU_ASSERT_PTR_NOT_NULL(options_get(&a, "json"));
    CU_ASSERT_PTR_NULL(options_get(&a, "host"));
    CU_ASSERT_EQUAL(options_number(&a, "number", 0, 9, &number, &fault), KQ_OK);
    CU_ASSERT_EQUAL(number, 7);
    CU_ASSERT_EQUAL(options_number(&a, "number", 0, 6, &number, &fault), KQ_INVALID);
    CU_ASSERT_STRING_EQUAL(fault.text, "--number is a number from 0 to 6, not `7`");
    CU_ASSERT_EQUAL(PARSE(&a, "-kv", "x"), KQ_OK);
    CU_ASSERT_STRING_EQUAL(options_get(&a, "key"), "v");
    CU_ASSERT_EQUAL(PARSE(&a, "--key", "-", "--", "--follow"), KQ_OK);
    CU_ASSERT_STRING_EQUAL(options_get(&a, "key"), "-");
    CU_ASSERT_STRING_EQUAL(a.positional[0], "--follow");
    CU_ASSERT_EQUAL(PARSE(&a, "--help"), KQ_OK);
    CU_ASSERT_EQUAL(PARSE(&a, "-k", "v"), KQ_INVALID);
    CU_ASSERT_EQUAL(PARSE(&a, "x", "-k"), KQ_INVALID);
    CU_ASSERT_STRING_EQUAL(fault.text, "option --key needs a value: --key KEY");
    CU_ASSERT_EQUAL(PARSE(&a, "x", "--follow=1"), KQ_INVALID);
    CU_ASSERT_EQUAL(PARSE(&a, "x", "--nonsense"), KQ_INVALID);
    CU_ASSERT_STRING_EQUAL(fault.text, "unknown option --nonsense");
    CU_ASSERT_EQUAL(PARSE(&a, "x", "y", "z"), KQ_INVALID);
    CU_ASSERT_STRING_EQUAL(fault.text, "`z` is one argument too many");
}

static void addresses(void)
{
    static const struct {
        const char *text;
        const char *host;
        const char *port;
    } good[] = {
        {"example.org:9000", "example.org", "9000"},
        {"example.org", "example.org", "1"},
        {":9000", "h", "9000"},
        {"[::1]:9000", "::1", "9000"},
        {"::1", "::1", "1"},
        {"[::1]", "::1", "1"},
    };
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        struct wire_address a = {"h", "1"};
        CU_ASSERT_EQUAL(wire_address_parse(good[i].text, &a, &fault), KQ_OK);
        CU_ASSERT_STRING_EQUAL(a.host, good[i].host);
        CU_ASSERT_STRING_EQUAL(a.port, good[i].port);
    }
    static const char *const bad[] = {"h:0", "h:65536", "h:x", "h:", "[::1", "[::1]x"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct wire_address a = {"h", "1"};
        CU_ASSERT_EQUAL(wire_address_parse(bad[i], &a, &fault), KQ_INVALID);
    }
}

/* ---- replies ----------------------------------------------------------------------- */

static void replies_are_told_apart(void)
{
    CU_ASSERT_EQUAL(answer_kind(slice_text("Done")), ANSWER_DONE);
    CU_ASSERT_EQUAL(answer_kind(slice_text("Done\r")), ANSWER_DONE);
    CU_ASSERT_EQUAL(answer_kind(slice_text("{\"Ok\":true}")), ANSWER_DATA);
    CU_ASSERT_EQUAL(answer_kind(slice_text("{\"Event\":\"revoked\"}")), ANSWER_EVENT);
    CU_ASSERT_EQUAL(answer_kind(slice_text("Error, x")), ANSWER_ERROR);
    CU_ASSERT_EQUAL(answer_kind(slice_text("HTTP/1.1 400 Bad Request")), ANSWER_GARBAGE);
    CU_ASSERT_EQUAL(answer_kind(slice_text("")), ANSWER_GARBAGE);
    CU_ASSERT_EQUAL(answer_fault(slice_text("Error, topic does not exist: x\r"), &fault), KQ_UNKNOWN_TOPIC);
    CU_ASSERT_STRING_EQUAL(fault.text, "topic does not exist: x");
    CU_ASSERT_EQUAL(answer_fault(slice_text("Error, outcome unknown: timed out"), &fault), KQ_OUTCOME_UNKNOWN);
    CU_ASSERT_EQUAL(answer_fault(slice_text("Error, no leader within the timeout"), &fault), KQ_NO_LEADER);
    CU_ASSERT_EQUAL(
        answer_fault(slice_text("Error, no leader yet: partition 0 of topic t is being made; try again"), &fault),
        KQ_NO_LEADER);
    CU_ASSERT_EQUAL(answer_fault(slice_text("Error, message is not JSON"), &fault), KQ_INVALID);
    CU_ASSERT_EQUAL(answer_fault(slice_text("-ERR unknown command"), &fault), KQ_GARBAGE);
    CU_ASSERT_EQUAL(client_exit_code(KQ_OUTCOME_UNKNOWN), CLIENT_UNKNOWN);
    CU_ASSERT_EQUAL(client_exit_code(KQ_EOF), CLIENT_UNREACHABLE);
    CU_ASSERT_EQUAL(client_exit_code(KQ_UNKNOWN_TOPIC), CLIENT_REFUSED);
}

static void fields_are_quoted_where_they_must_be(void)
{
    static const char *const rows[][2] = {
        {"plain", "plain"}, {"", "\"\""}, {"a b", "\"a b\""}, {"a\"b", "\"a\"\"b\""}, {"{x", "\"{x\""}};
    struct buf out;
    buf_init(&out, 1000);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        buf_reset(&out);
        CU_ASSERT_TRUE(client_put_field(&out, rows[i][0]));
        CU_ASSERT_TRUE(slice_equal_text(slice_of(out.data, out.len), rows[i][1]));
    }
    CU_ASSERT_FALSE(client_put_field(&out, "a\nCRTP b"));
    buf_fini(&out);
}

/* ---- records ------------------------------------------------------------------------- */

static struct buf seen; /* the records taken, written as TAIL would */

static enum kq_err take(void *context, const struct reply_record *record)
{
    (void)context;
    reply_tail_record(&seen, record);
    return KQ_OK;
}

/* Feeds a line in pieces of `step` bytes; what it came to. */
static enum kq_err feed(struct records *r, const char *text, size_t step, enum records_line *line)
{
    size_t len = strlen(text);
    for (size_t at = 0; at < len;) {
        size_t used = 0;
        size_t piece = len - at < step ? len - at : step;
        enum kq_err err = records_feed(r, (const uint8_t *)text + at, piece, &used, line, &fault);
        at += used;
        if (err != KQ_AGAIN) {
            CU_ASSERT_EQUAL(at, len);
            return err;
        }
        CU_ASSERT_EQUAL(used, piece);
    }
    return KQ_AGAIN;
}

#define ONE "{\"Header\":\"h\",\"Body\":\"b\\n\\u00e9\",\"Key\":\"k\",\"Offset\":0,\"Timestamp\":1700000000000}"
#define TWO "{\"Header\":\"\",\"Body\":null,\"Key\":\"\",\"Offset\":9223372036854775807,\"Timestamp\":-1}"

static void records_stream_in_pieces_of_any_size(void)
{
    static const char all[] = "{\"Ok\":true,\"Data\":[" ONE "," TWO
                              ",{\"HeaderBase64\":\"/w==\",\"BodyBase64\":\"wygh\",\"KeyBase64\":\"/v8=\",\"Offset\":2,"
                              "\"Timestamp\":0}]}\n";
    static const char expected[] = "{\"Header\":\"h\",\"Body\":\"b\\n\xc3\xa9\",\"Key\":\"k\",\"Offset\":0,"
                                   "\"Timestamp\":1700000000000}\n" TWO
                                   "\n{\"HeaderBase64\":\"/w==\",\"BodyBase64\":\"wygh\",\"KeyBase64\":\"/v8=\","
                                   "\"Offset\":2,\"Timestamp\":0}\n";
    struct records *r = records_new(take, NULL);
    for (size_t step = 1; step < sizeof(all); step++) {
        enum records_line line = RECORDS_DONE;
        buf_reset(&seen);
        CU_ASSERT_EQUAL(feed(r, all, step, &line), KQ_OK);
        CU_ASSERT_EQUAL(line, RECORDS_REPLY);
        CU_ASSERT_TRUE(slice_equal_text(slice_of(seen.data, seen.len), expected));
        CU_ASSERT_EQUAL(feed(r, ONE "\r\n", step, &line), KQ_OK);
        CU_ASSERT_EQUAL(line, RECORDS_ONE);
    }
    records_free(&r);
}

static void other_lines_of_a_reader(void)
{
    struct records *r = records_new(take, NULL);
    enum records_line line = RECORDS_DONE;
    for (size_t step = 1; step < 40; step += 13) {
        buf_reset(&seen);
        CU_ASSERT_EQUAL(feed(r, "{\"Ok\":true,\"Data\":[]}\n", step, &line), KQ_OK);
        CU_ASSERT_EQUAL(line, RECORDS_REPLY);
        CU_ASSERT_EQUAL(seen.len, 0);
        CU_ASSERT_EQUAL(feed(r, "Done\r\n", step, &line), KQ_OK);
        CU_ASSERT_EQUAL(line, RECORDS_DONE);
        CU_ASSERT_EQUAL(
            feed(r, "{\"Event\":\"revoked\",\"Topic\":\"t\",\"Partition\":3,\"Id\":\"1-3-ab\"}\n", step, &line), KQ_OK);
        CU_ASSERT_EQUAL(line, RECORDS_EVENT);
        CU_ASSERT_STRING_EQUAL(records_event(r)->name, "revoked");
        CU_ASSERT_STRING_EQUAL(records_event(r)->id, "1-3-ab");
        CU_ASSERT_EQUAL(records_event(r)->partition, 3);
        CU_ASSERT_EQUAL(feed(r, "Error, unknown, expired or revoked subscription\n", step, &line),
                        KQ_UNKNOWN_SUBSCRIPTION);
        CU_ASSERT_EQUAL(
            feed(r, "{\"Ok\":true,\"Data\":[" ONE "],\"Error\":\"the disk reported an error\"}\n", step, &line), KQ_IO);
        CU_ASSERT_STRING_EQUAL(fault.text, "the disk reported an error");
        CU_ASSERT_TRUE(seen.len > 0); /* what came before it was taken */
        CU_ASSERT_EQUAL(feed(r, "{\"Ok\":true}\n", step, &line), KQ_OK);
        CU_ASSERT_EQUAL(feed(r, "HTTP/1.1 400\n", step, &line), KQ_GARBAGE);
        CU_ASSERT_EQUAL(feed(r, "{\"Ok\":true\n", step, &line), KQ_GARBAGE);
    }
    size_t used = 0;
    CU_ASSERT_EQUAL(records_feed(r, (const uint8_t *)"{]", 2, &used, &line, &fault), KQ_GARBAGE);
    records_free(&r);
}

static void an_id_names_its_partition(void)
{
    int64_t partition = 0;
    CU_ASSERT_TRUE(reader_partition_of("3-17-0123456789abcdef0123456789abcdef", &partition));
    CU_ASSERT_EQUAL(partition, 17);
    CU_ASSERT_FALSE(reader_partition_of("abc", &partition));
    CU_ASSERT_FALSE(reader_partition_of("1-x-2", &partition));
    CU_ASSERT_FALSE(reader_partition_of("1--2", &partition));
}

/* ---- lines, tables, figures ------------------------------------------------------------ */

static void lines_come_out_of_a_pipe(void)
{
    int ends[2];
    struct lines lines;
    struct slice line;
    CU_ASSERT_EQUAL_FATAL(pipe(ends), 0);
    lines_init(&lines, ends[0]);
    CU_ASSERT_EQUAL(lines_next(&lines, &line), KQ_AGAIN);
    CU_ASSERT_EQUAL(write(ends[1], "one\n\ntw", 7), 7);
    CU_ASSERT_EQUAL(lines_read(&lines), KQ_OK);
    CU_ASSERT_EQUAL(lines_next(&lines, &line), KQ_OK);
    CU_ASSERT_TRUE(slice_equal_text(line, "one"));
    CU_ASSERT_EQUAL(lines_next(&lines, &line), KQ_OK);
    CU_ASSERT_TRUE(slice_equal_text(line, "") && !slice_is_absent(line));
    CU_ASSERT_EQUAL(lines_next(&lines, &line), KQ_AGAIN);
    CU_ASSERT_EQUAL(write(ends[1], "o\nthree", 7), 7);
    (void)close(ends[1]);
    CU_ASSERT_EQUAL(lines_read(&lines), KQ_OK);
    CU_ASSERT_EQUAL(lines_next(&lines, &line), KQ_OK);
    CU_ASSERT_TRUE(slice_equal_text(line, "two"));
    CU_ASSERT_EQUAL(lines_next(&lines, &line), KQ_AGAIN);
    CU_ASSERT_EQUAL(lines_read(&lines), KQ_OK);
    CU_ASSERT_EQUAL(lines_next(&lines, &line), KQ_OK);
    CU_ASSERT_TRUE(slice_equal_text(line, "three")); /* the last needs no line feed */
    CU_ASSERT_EQUAL(lines_next(&lines, &line), KQ_EOF);
    CU_ASSERT_EQUAL(lines.count, 4);
    (void)close(ends[0]);
    lines_fini(&lines);
}

static void shows(const char *json, const char *text)
{
    struct buf line;
    struct buf out;
    yajl_val data = NULL;
    buf_init(&line, 10000);
    buf_init(&out, 10000);
    buf_text(&line, json);
    yajl_val root = show_parse(&line, &data, &fault);
    CU_ASSERT_PTR_NOT_NULL_FATAL(root);
    show_value(&out, data);
    if (!slice_equal_text(slice_of(out.data, out.len), text)) {
        printf("\n%.*s", (int)out.len, (const char *)out.data);
        CU_FAIL("another table was expected");
    }
    yajl_tree_free(root);
    buf_fini(&line);
    buf_fini(&out);
}

static void tables(void)
{
    shows("{\"Ok\":true,\"Data\":[{\"Topic\":\"a\",\"Partitions\":3},{\"Topic\":\"gr\xc3\xbcn\",\"Partitions\":10}]}",
          "Topic  Partitions\n"
          "a      3\n"
          "gr\xc3\xbcn   10\n");
    shows("{\"Ok\":true,\"Data\":{\"Topic\":\"t\",\"Id\":null,\"Partitions\":[{\"Partition\":0,\"Replicas\":[1,2],"
          "\"Up\":true}]}}",
          "Topic: t\n"
          "Id:    -\n"
          "Partitions:\n"
          "  Partition  Replicas  Up\n"
          "  0          1,2       yes\n");
    shows("{\"Ok\":true,\"Data\":[\"a\\u001b[31m\",\"b\"]}", "a\\u001b[31m\nb\n");
}

static void percentiles(void)
{
    static struct histogram h;
    for (uint64_t v = 0; v < 5000000; v = v < 200 ? v + 1 : v + v / 7) {
        unsigned bucket = histogram_bucket(v);
        CU_ASSERT_TRUE(bucket < HISTOGRAM_BUCKETS);
        CU_ASSERT_TRUE(histogram_upper(bucket) >= v);
        CU_ASSERT_TRUE(histogram_upper(bucket) - v <= v / 32);
        CU_ASSERT_TRUE(bucket == 0 || histogram_upper(bucket - 1) < v);
    }
    CU_ASSERT_TRUE(histogram_bucket(UINT64_MAX) < HISTOGRAM_BUCKETS);
    for (uint64_t v = 1; v <= 1000; v++)
        histogram_add(&h, v);
    CU_ASSERT_TRUE(histogram_percentile(&h, 0.5) >= 500 && histogram_percentile(&h, 0.5) <= 516);
    CU_ASSERT_TRUE(histogram_percentile(&h, 0.99) >= 990);
    CU_ASSERT_EQUAL(histogram_percentile(&h, 1), 1000);
}

static void the_bar(void)
{
    struct buf out;
    buf_init(&out, 1000);
    progress_format(&out, 2, 1000, 500000, 1000000, 79);
    CU_ASSERT_EQUAL(out.len, 79);
    buf_u8(&out, 0);
    CU_ASSERT_PTR_NOT_NULL(strstr((char *)out.data, "###..."));
    CU_ASSERT_PTR_NOT_NULL(strstr((char *)out.data, "]  50%  1000 messages, 500 kB, 500/s, 2 s left"));
    buf_reset(&out);
    progress_format(&out, 2, 10, 50, 0, 79);
    CU_ASSERT_TRUE(slice_equal_text(slice_of(out.data, out.len), "10 messages, 50 B, 5/s"));
    buf_fini(&out);
}

static const struct unit_case cases[] = {
    {"options in all their forms", options_in_all_their_forms},
    {"addresses", addresses},
    {"replies are told apart", replies_are_told_apart},
    {"fields are quoted where they must be", fields_are_quoted_where_they_must_be},
    {"records stream in, in pieces of any size", records_stream_in_pieces_of_any_size},
    {"other lines of a reader", other_lines_of_a_reader},
    {"an id names its partition", an_id_names_its_partition},
    {"lines come out of a pipe", lines_come_out_of_a_pipe},
    {"tables", tables},
    {"percentiles", percentiles},
    {"the progress bar", the_bar},
};

int main(int argc, char **argv)
{
    buf_init(&seen, 1 << 20);
    int code = unit_main("client", cases, sizeof(cases) / sizeof(cases[0]), argc > 1 ? argv[1] : NULL);
    buf_fini(&seen);
    return code;
}
