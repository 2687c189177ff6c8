/* Reply lines, and the JSON, UTF-8, base64 and hash under them. */
#include "proto/text/reply.h"

#include "base/base64.h"
#include "base/fnv.h"
#include "base/utf8.h"
#include "proto/text/message.h"
#include "support/unit.h"

#include <stdio.h>

static struct buf out;

static void is(const char *text)
{
    if (out.bad || out.len != strlen(text) || memcmp(out.data, text, out.len) != 0) {
        printf("\n    %.*s\n not %s\n", (int)out.len, (const char *)out.data, text);
        CU_FAIL("another text was expected");
    }
    buf_reset(&out);
}

static void done_and_errors_are_one_line(void)
{
    reply_done(&out);
    is("Done\n");
    reply_error(&out, "cannot open `a\nb\r\t\x01\x7f`: \xff gr\xc3\xbcn \"quoted\" back\\slash");
    is("Error, cannot open `a\\nb\\r\\t\\u0001\\u007f`: \xef\xbf\xbd gr\xc3\xbcn \"quoted\" back\\slash\n");
    struct fault fault = {.err = KQ_TOO_LARGE, .text = "message of 9 bytes is over the limit of 8"};
    reply_fault(&out, KQ_TOO_LARGE, &fault);
    is("Error, message of 9 bytes is over the limit of 8\n");
    reply_fault(&out, KQ_UNKNOWN_TOPIC, NULL);
    is("Error, topic does not exist\n");
    reply_fault(&out, KQ_OUTCOME_UNKNOWN, NULL);
    is("Error, outcome unknown: the publish may yet appear\n");
    struct fault late = {.err = KQ_OUTCOME_UNKNOWN, .text = "not committed within 5000 ms"};
    reply_fault(&out, KQ_OUTCOME_UNKNOWN, &late);
    is("Error, outcome unknown: not committed within 5000 ms\n");
    (void)fault_set(&late, KQ_OUTCOME_UNKNOWN, "outcome unknown: x");
    reply_fault(&out, KQ_OUTCOME_UNKNOWN, &late);
    is("Error, outcome unknown: x\n");
}

static void data_replies(void)
{
    reply_producer(&out, 7, 0);
    is("{\"Ok\":true,\"Data\":{\"Id\":7,\"Epoch\":0}}\n");
    struct json j;
    reply_data_begin(&j, &out);
    json_open(&j, '[');
    for (int i = 0; i < 2; i++) {
        json_open(&j, '{');
        json_put_text(&j, "Topic", i == 0 ? "a" : "b\"");
        json_put_number(&j, "Partitions", i == 0 ? 3 : INT64_MIN);
        json_put_bool(&j, "X", i == 0);
        json_put_text(&j, "Y", NULL);
        json_close(&j, '}');
    }
    json_add_number(&j, 0);
    json_open(&j, '[');
    json_close(&j, ']');
    json_add_bool(&j, false);
    json_add_null(&j);
    json_close(&j, ']');
    reply_data_end(&j);
    is("{\"Ok\":true,\"Data\":[{\"Topic\":\"a\",\"Partitions\":3,\"X\":true,\"Y\":null},{\"Topic\":\"b\\\"\","
       "\"Partitions\":-9223372036854775808,\"X\":false,\"Y\":null},0,[],false,null]}\n");
}

static void help_is_one_json_line(void)
{
    reply_help(&out, TEXT_PUBS);
    is("{\"Ok\":true,\"Data\":[{\"Command\":\"PUBS\",\"Form\":\"PUBS topic message\",\"Help\":\"publish a message, "
       "{\\\"Header\\\":\\\"..\\\",\\\"Key\\\":\\\"..\\\",\\\"Body\\\":\\\"..\\\"} with each member optional\"}]}\n");
    reply_help(&out, TEXT_NONE);
    CU_ASSERT_PTR_EQUAL(memchr(out.data, '\n', out.len), out.data + out.len - 1);
    size_t commands = 0;
    for (size_t i = 0; i + 11 <= out.len; i++)
        commands += memcmp(out.data + i, "\"Command\":\"", 11) == 0;
    CU_ASSERT_EQUAL(commands, TEXT_VERB_COUNT);
    buf_reset(&out);
}

static void records(void)
{
    struct reply_record r = {.header = slice_text("h"),
                             .key = slice_text("k"),
                             .body = slice_text("b\n"),
                             .offset = 0,
                             .timestamp_ms = 1700000000000};
    reply_records_begin(&out);
    reply_records_add(&out, &r, true);
    r = (struct reply_record){.offset = 1, .timestamp_ms = -1};
    reply_records_add(&out, &r, false);
    r = (struct reply_record){
        .header = slice_text("\xff"), .key = slice_text("\xfe\xff"), .body = slice_text("\xc3\x28!"), .offset = 2};
    reply_records_add(&out, &r, false);
    reply_records_end(&out);
    is("{\"Ok\":true,\"Data\":["
       "{\"Header\":\"h\",\"Body\":\"b\\n\",\"Key\":\"k\",\"Offset\":0,\"Timestamp\":1700000000000},"
       "{\"Header\":\"\",\"Body\":null,\"Key\":\"\",\"Offset\":1,\"Timestamp\":-1},"
       "{\"HeaderBase64\":\"/w==\",\"BodyBase64\":\"wygh\",\"KeyBase64\":\"/v8=\",\"Offset\":2,\"Timestamp\":0}"
       "]}\n");
    reply_records_begin(&out);
    reply_records_end(&out);
    is("{\"Ok\":true,\"Data\":[]}\n");
    reply_records_begin(&out);
    reply_records_fail(&out, "the disk reported\n\"an error\"");
    is("{\"Ok\":true,\"Data\":[],\"Error\":\"the disk reported\\n\\\"an error\\\"\"}\n");
    r = (struct reply_record){.body = slice_text(""), .offset = 5, .timestamp_ms = 6};
    reply_tail_record(&out, &r);
    is("{\"Header\":\"\",\"Body\":\"\",\"Key\":\"\",\"Offset\":5,\"Timestamp\":6}\n");
}

static void events(void)
{
    reply_event_revoked(&out, slice_text("t"), 1, slice_text("abc"));
    is("{\"Event\":\"revoked\",\"Topic\":\"t\",\"Partition\":1,\"Id\":\"abc\"}\n");
    reply_event_assigned(&out, slice_text("t"), 0, slice_text("abc"));
    is("{\"Event\":\"assigned\",\"Topic\":\"t\",\"Partition\":0,\"Id\":\"abc\"}\n");
}

static void a_full_buf_is_bad_and_no_more(void)
{
    struct buf small;
    buf_init(&small, 32);
    struct reply_record r = {.body = slice_text("a body that is longer than thirty-two bytes are")};
    reply_tail_record(&small, &r);
    CU_ASSERT_TRUE(small.bad);
    CU_ASSERT_TRUE(small.len <= 32);
    buf_fini(&small);
}

/* ---- JSON strings ------------------------------------------------------------------ */

/* The escaper, one byte at a time: what the fast one is compared with. */
static bool slow_json(struct buf *b, const uint8_t *data, size_t len)
{
    if (!utf8_is_valid(data, len))
        return false;
    buf_u8(b, '"');
    for (size_t i = 0; i < len; i++) {
        static const char plain[] = "\b\t\n\f\r\"\\";
        static const char letters[] = "btnfr\"\\";
        const char *found = data[i] == 0 ? NULL : strchr(plain, data[i]);
        if (found != NULL)
            buf_printf(b, "\\%c", letters[found - plain]);
        else if (data[i] < 0x20)
            buf_printf(b, "\\u%04x", data[i]);
        else
            buf_u8(b, data[i]);
    }
    buf_u8(b, '"');
    return true;
}

static void the_escaper_is_the_slow_one_only_faster(void)
{
    struct buf slow;
    buf_init(&slow, 1 << 20);
    unsigned seed = 7;
    printf("(seed %u) ", seed);
    srand(seed);
    for (int round = 0; round < 30000; round++) {
        uint8_t data[1200];
        size_t len = (size_t)rand() % (round % 10 == 0 ? 1200 : 60);
        int special = 1 + rand() % 40; /* one byte in so many is no plain ASCII */
        for (size_t i = 0; i < len; i++)
            data[i] = (uint8_t)(rand() % special != 0 ? 0x20 + rand() % 0x5f : rand() % 0x20);
        for (size_t i = 0; i + 4 <= len && round % 3 == 0; i += 1 + (size_t)rand() % 50)
            memcpy(data + i, "\xf0\x9f\x98\x80", 4);
        if (round % 7 == 0 && len > 0)
            data[(size_t)rand() % len] = (uint8_t)(0x80 + rand() % 0x80);
        buf_reset(&slow);
        buf_reset(&out);
        buf_u8(&out, 'x');
        bool good = slow_json(&slow, data, len);
        CU_ASSERT_EQUAL_FATAL(json_try_string(&out, data, len), good);
        CU_ASSERT_EQUAL_FATAL(out.len, good ? slow.len + 1 : 1);
        CU_ASSERT_TRUE_FATAL(!good || memcmp(out.data + 1, slow.data, slow.len) == 0);
        json_string(&out, (const char *)data, len); /* never refuses, and is always UTF-8 */
        CU_ASSERT_TRUE_FATAL(utf8_is_valid(out.data, out.len));
    }
    buf_reset(&out);
    buf_fini(&slow);
}

static void utf8_is_as_unicode_defines_it(void)
{
    static const struct {
        const char *text;
        size_t valid;
    } rows[] = {
        {"", 0},
        {"plain ascii, longer than sixteen bytes", 38},
        {"\xc2\x80", 2},
        {"\xdf\xbf", 2},
        {"\xe0\xa0\x80", 3},
        {"\xed\x9f\xbf", 3},
        {"\xee\x80\x80", 3},
        {"\xf0\x90\x80\x80", 4},
        {"\xf4\x8f\xbf\xbf", 4},
        {"\x80", 0},
        {"\xc0\x80", 0},
        {"\xc1\xbf", 0},
        {"\xe0\x9f\xbf", 0},
        {"\xed\xa0\x80", 0},
        {"\xf0\x8f\xbf\xbf", 0},
        {"\xf4\x90\x80\x80", 0},
        {"\xf5\x80\x80\x80", 0},
        {"\xff", 0},
        {"a\xc3", 1},
        {"a\xe2\x82", 1},
        {"a\xf0\x9f\x98", 1},
        {"a\xc3\x28", 1},
        {"sixteen bytes...\xc3\xa9\xff", 18},
        {"seventeen bytes..\xff", 17},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        CU_ASSERT_EQUAL(utf8_valid_prefix((const uint8_t *)rows[i].text, strlen(rows[i].text)), rows[i].valid);
}

static void base64_goes_and_comes_back(void)
{
    static const char *const rows[][2] = {{"", ""},
                                          {"f", "Zg=="},
                                          {"fo", "Zm8="},
                                          {"foo", "Zm9v"},
                                          {"foob", "Zm9vYg=="},
                                          {"fooba", "Zm9vYmE="},
                                          {"foobar", "Zm9vYmFy"}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        base64_put(&out, (const uint8_t *)rows[i][0], strlen(rows[i][0]));
        is(rows[i][1]);
        CU_ASSERT_TRUE(base64_get(&out, rows[i][1], strlen(rows[i][1])));
        is(rows[i][0]);
    }
    static const char *const bad[] = {"Z", "Zg", "Zg=", "Zh==", "Zg==Zg==", "Z===", "====", "Zm9v\n", "Zm!v", "Zm9="};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        CU_ASSERT_FALSE(base64_get(&out, bad[i], strlen(bad[i])));
        CU_ASSERT_EQUAL(out.len, 0);
    }
}

static void keys_find_their_partition(void)
{
    CU_ASSERT_EQUAL(fnv1a_32("", 0), 0x811c9dc5U);
    CU_ASSERT_EQUAL(fnv1a_32("a", 1), 0xe40c292cU);
    CU_ASSERT_EQUAL(fnv1a_32("foobar", 6), 0xbf9cf968U);
    CU_ASSERT_EQUAL(fnv_partition("a", 1, 10), 0x640c292cU % 10);
    CU_ASSERT_EQUAL(fnv_partition("foobar", 6, 7), 0x3f9cf968U % 7);
}

static const struct unit_case cases[] = {
    {"Done and errors are one line", done_and_errors_are_one_line},
    {"data replies have their commas", data_replies},
    {"HELP is one line of JSON", help_is_one_json_line},
    {"records show all their members", records},
    {"events", events},
    {"a full buf is bad and no more", a_full_buf_is_bad_and_no_more},
    {"the escaper is the slow one, only faster", the_escaper_is_the_slow_one_only_faster},
    {"UTF-8 is as Unicode defines it", utf8_is_as_unicode_defines_it},
    {"base64 goes and comes back", base64_goes_and_comes_back},
    {"keys find their partition", keys_find_their_partition},
};

int main(int argc, char **argv)
{
    buf_init(&out, 1 << 20);
    int code = unit_main("text reply", cases, sizeof(cases) / sizeof(cases[0]), argc > 1 ? argv[1] : NULL);
    buf_fini(&out);
    return code;
}
