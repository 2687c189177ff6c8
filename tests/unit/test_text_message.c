/* The message parser: what it takes, what it refuses, and where it says so. */
#include "proto/text/message.h"

#include "base/bytes.h"
#include "base/json.h"
#include "support/unit.h"

#include <stdio.h>

static struct message_parser *parser;

static enum kq_err parse(const char *json, struct text_message *m, struct fault *fault)
{
    *m = (struct text_message){.body = {NULL, 0}};
    *fault = (struct fault){.err = KQ_OK};
    return message_parse(parser, (const uint8_t *)json, strlen(json), m, fault);
}

static bool is(struct slice s, const char *text)
{
    return text == NULL ? slice_is_absent(s) : !slice_is_absent(s) && slice_equal_text(s, text);
}

static void accepts(const char *json, const char *header, const char *key, const char *body)
{
    struct text_message m;
    struct fault fault;
    if (parse(json, &m, &fault) != KQ_OK || !is(m.header, header) || !is(m.key, key) || !is(m.body, body)) {
        printf("\n    %s: %s\n", json, fault.text);
        CU_FAIL("a good message was not taken as it is");
    }
}

static void refuses(const char *json, const char *text)
{
    struct text_message m;
    struct fault fault;
    if (parse(json, &m, &fault) != KQ_INVALID_RECORD || strstr(fault.text, text) == NULL) {
        printf("\n    %s: `%s`, not `%s`\n", json, fault.text, text);
        CU_FAIL("a bad message was not refused as it should be");
    }
    accepts("{\"Body\":\"next\"}", NULL, NULL, "next"); /* nothing is left behind */
}

static void takes_the_three_members(void)
{
    accepts("{\"Header\":\"header\",\"Key\":\"124\",\"Body\":\"Hello World!\"}", "header", "124", "Hello World!");
    accepts("{\"Body\":\"b\",\"Key\":\"k\"}", NULL, "k", "b");
    accepts("{}", NULL, NULL, NULL);
    accepts(" { \"Key\" : \"\" } ", NULL, "", NULL);
    accepts("\t{\r\"Key\"\n:\"k\" ,\"Header\":\"h\", \"Body\":\" \x7f{}:,\"}\n", "h", "k", " \x7f{}:,");
}

static void takes_escapes_and_other_scripts(void)
{
    accepts("{\"Body\":\"a\\\"b\\\\c\\/d\\n\\t\\u0041\"}", NULL, NULL, "a\"b\\c/d\n\tA");
    accepts("{\"Key\":\"\\ud83d\\ude00\",\"Body\":\"\\u20ac\",\"Header\":\"plain\"}", "plain", "\xf0\x9f\x98\x80",
            "\xe2\x82\xac");
    accepts("{\"Body\":\"gr\xc3\xbc\xc3\x9f\"}", NULL, NULL, "gr\xc3\xbc\xc3\x9f");
    accepts("{\"\\u0042ody\":\"named by escape\"}", NULL, NULL, "named by escape");
    accepts("{\"Body\":\"\\\\ud800\"}", NULL, NULL, "\\ud800");
    struct text_message m;
    struct fault fault;
    CU_ASSERT_EQUAL(parse("{\"Body\":\"a\\u0000b\"}", &m, &fault), KQ_OK);
    CU_ASSERT_TRUE(slice_equal(m.body, slice_of("a\0b", 3)));
}

static void borrows_what_has_no_escapes(void)
{
    const char *json = "{\"Key\":\"k\",\"Body\":\"body\"}";
    struct text_message m;
    struct fault fault;
    CU_ASSERT_EQUAL(parse(json, &m, &fault), KQ_OK);
    CU_ASSERT_PTR_EQUAL(m.body.data, json + 19);
    CU_ASSERT_PTR_EQUAL(m.key.data, json + 8);
}

static void refuses_what_is_no_object(void)
{
    refuses("plain", "message is not JSON: lexical error: invalid");
    refuses("\"plain\"", "it is not a JSON object");
    refuses("12", "byte 2");
    refuses("null", "it is not a JSON object");
    refuses("[{}]", "it is not a JSON object");
    refuses("", "it ends too early, at byte 0");
    refuses("   ", "it ends too early, at byte 3");
}

static void refuses_other_members_and_types_by_name(void)
{
    refuses("{\"Bdoy\":\"x\"}", "unknown member `Bdoy`; there are Header, Key and Body, before byte 7");
    refuses("{\"body\":\"x\"}", "unknown member `body`");
    refuses("{\"Body\":1}", "Body is a number, and must be a string");
    refuses("{\"Key\":null}", "Key is null");
    refuses("{\"Key\":true}", "Key is true or false");
    refuses("{\"Header\":{}}", "Header is an object");
    refuses("{\"Header\":[]}", "Header is an array");
    refuses("{\"Body\":\"a\",\"Body\":\"b\"}", "Body is there twice, before byte 18");
    refuses("{\"Body\":\"a\",\"\\u0042ody\":\"b\"}", "Body is there twice");
}

static void refuses_broken_json_with_its_position(void)
{
    refuses("{\"Body\":\"a\"", "it ends too early, at byte 11");
    refuses("{\"Body\":\"a", "it ends too early, at byte 10");
    refuses("{\"Body\" \"a\"}", "near byte 11");
    refuses("{\"Body\":\"a\"} x", "lexical error");
    refuses("{\"Body\":\"a\"}{\"Body\":\"b\"}", "something follows the object");
    refuses("{\"Body\":\"a\"} \"x\"", "something follows the object");
    refuses("{\"Body\":\"a\",}", "message is not JSON");
    refuses("{\"Body\":\"a\"}}", "message is not JSON");
    refuses("{\"Body\":\"a\nb\"}", "message is not JSON");
    refuses("{\"Body\":\"0123456\x1f 0123456\"}", "message is not JSON");
    refuses("{\"Body\":\"\xc3\xbc 01234\x01\xc3\xbc 01234\"}", "message is not JSON");
    refuses("{\"Body\":\"0123456789abcdef\x01\"}", "message is not JSON");
    refuses("{,\"Body\":\"a\"}", "message is not JSON");
    refuses("{\"Body\":\"a\" \"Key\":\"b\"}", "message is not JSON");
    refuses("{\"Body\":\"\\x\"}", "message is not JSON");
    refuses("{\"Body\":\"\\u12g4\"}", "message is not JSON");
    refuses("{\"Body\":\"\\ud800\"}", "half of a surrogate pair in \\u escapes, at byte 9");
    refuses("{\"Body\":\"\\ud800\\u0041\"}", "half of a surrogate pair in \\u escapes, at byte 9");
    refuses("{\"Body\":\"x\\udc00\"}", "half of a surrogate pair in \\u escapes, at byte 10");
    refuses("{\"Body\":\"\xc3(\"}", "message is not UTF-8, at byte 9");
    refuses("{\"Body\":\"\xed\xa0\x80\"}", "message is not UTF-8, at byte 9");
    refuses("{\"Body\":\"a\"} /* no comments */", "message is not JSON");
}

/* Up to `pieces_most` pieces of what is awkward in JSON; bytes written. */
static size_t random_text(char *text, size_t size_bytes, unsigned pieces_most)
{
    static const char *const pieces[] = {
        "a",       "\"", "\\", "\n", "\x01", "\x7f", "\xc3\xa9", "{}", " ", "\xe2\x82\xac", "\xf0\x9f\x98\x80",
        "\\u0041", ""};
    size_t len = 0;
    for (unsigned count = (unsigned)rand() % pieces_most; count > 0 && size_bytes - len >= 8; count--) {
        const char *piece = pieces[(size_t)rand() % (sizeof(pieces) / sizeof(pieces[0]))];
        size_t piece_bytes = strlen(piece) == 0 ? 1 : strlen(piece); /* "" stands for a NUL */
        memcpy(text + len, piece, piece_bytes);
        len += piece_bytes;
    }
    return len;
}

/* Any message that is written parses back to itself. */
static void random_messages_come_back(void)
{
    struct buf json;
    buf_init(&json, 1 << 20);
    unsigned seed = 20240601;
    printf("(seed %u) ", seed);
    srand(seed);
    for (int round = 0; round < 20000; round++) {
        char text[3][800];
        size_t len[3];
        for (int m = 0; m < 3; m++)
            len[m] = random_text(text[m], sizeof(text[m]), round % 50 == 0 ? 200 : 12);
        buf_reset(&json);
        struct json j;
        json_begin(&j, &json);
        json_open(&j, '{');
        json_put_string(&j, "Header", slice_of(text[0], len[0]));
        json_put_string(&j, "Key", slice_of(text[1], len[1]));
        json_put_string(&j, "Body", slice_of(text[2], len[2]));
        json_close(&j, '}');
        struct text_message m;
        struct fault fault = {.err = KQ_OK};
        CU_ASSERT_EQUAL_FATAL(message_parse(parser, json.data, json.len, &m, &fault), KQ_OK);
        CU_ASSERT_TRUE_FATAL(slice_equal(m.header, slice_of(text[0], len[0])));
        CU_ASSERT_TRUE_FATAL(slice_equal(m.key, slice_of(text[1], len[1])));
        CU_ASSERT_TRUE_FATAL(slice_equal(m.body, slice_of(text[2], len[2])));
    }
    buf_fini(&json);
}

/* More escaped bytes than the parser keeps: it grows, answers, and shrinks. */
static void takes_a_large_message_of_escapes(void)
{
    enum { PAIRS = 200000 };
    char *json = malloc(PAIRS * 2 + 16);
    CU_ASSERT_PTR_NOT_NULL_FATAL(json);
    memcpy(json, "{\"Body\":\"", 9);
    for (size_t i = 0; i < PAIRS; i++)
        memcpy(json + 9 + 2 * i, "\\n", 2);
    memcpy(json + 9 + 2 * PAIRS, "\"}", 3);
    struct text_message m;
    struct fault fault;
    CU_ASSERT_EQUAL(parse(json, &m, &fault), KQ_OK);
    CU_ASSERT_EQUAL(m.body.len, PAIRS);
    free(json);
    accepts("{\"Body\":\"\\n\"}", NULL, NULL, "\n");
}

static const struct unit_case cases[] = {
    {"a message's three members are taken, each optional", takes_the_three_members},
    {"escapes and other scripts are taken", takes_escapes_and_other_scripts},
    {"what has no escapes is borrowed from the input", borrows_what_has_no_escapes},
    {"what is no object is refused", refuses_what_is_no_object},
    {"other members and types are refused by name", refuses_other_members_and_types_by_name},
    {"broken JSON is refused with its position", refuses_broken_json_with_its_position},
    {"random messages come back as they were written", random_messages_come_back},
    {"a large message of escapes is taken", takes_a_large_message_of_escapes},
};

int main(int argc, char **argv)
{
    parser = message_parser_new();
    int code = unit_main("text message", cases, sizeof(cases) / sizeof(cases[0]), argc > 1 ? argv[1] : NULL);
    message_parser_free(&parser);
    return code;
}
