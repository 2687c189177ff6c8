/* libFuzzer: any bytes as messages, one a line, through one parser. Invariants:
 * what is taken is UTF-8, and written as JSON and parsed again it is the same. */
#include "base/json.h"
#include "base/require.h"
#include "base/utf8.h"
#include "fuzz/fuzz.h"
#include "proto/text/message.h"

#include <stdlib.h>

static void put_member(struct json *j, const char *name, struct slice value)
{
    REQUIRE(utf8_is_valid(value.data, value.len));
    if (!slice_is_absent(value))
        json_put_string(j, name, value);
}

static bool same(struct slice a, struct slice b)
{
    return slice_is_absent(a) == slice_is_absent(b) && slice_equal(a, b);
}

static void check_message(struct message_parser *parser, struct message_parser *second, const uint8_t *bytes,
                          size_t len)
{
    uint8_t *json = malloc(len == 0 ? 1 : len);
    REQUIRE(json != NULL);
    memcpy(json, bytes, len);
    struct text_message m = {.body = {NULL, 0}};
    struct fault fault = {.err = KQ_OK};
    if (message_parse(parser, json, len, &m, &fault) == KQ_OK) {
        struct buf out;
        buf_init(&out, 8 * len + JSON_SLACK_BYTES + 64);
        struct json j;
        json_begin(&j, &out);
        json_open(&j, '{');
        put_member(&j, "Header", m.header);
        put_member(&j, "Key", m.key);
        put_member(&j, "Body", m.body);
        json_close(&j, '}');
        REQUIRE(!out.bad);
        struct text_message again;
        REQUIRE(message_parse(second, out.data, out.len, &again, &fault) == KQ_OK);
        REQUIRE(same(m.header, again.header));
        REQUIRE(same(m.key, again.key));
        REQUIRE(same(m.body, again.body));
        buf_fini(&out);
    } else {
        REQUIRE(fault.text[0] != 0);
    }
    free(json);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes)
{
    struct message_parser *parser = message_parser_new();
    struct message_parser *second = message_parser_new();
    REQUIRE(parser != NULL && second != NULL);
    for (size_t at = 0; at <= size_bytes;) {
        const uint8_t *feed = size_bytes == at ? NULL : memchr(data + at, '\n', size_bytes - at);
        size_t end = feed == NULL ? size_bytes : (size_t)(feed - data);
        check_message(parser, second, data + at, end - at);
        at = end + 1;
    }
    message_parser_free(&parser);
    message_parser_free(&second);
    return 0;
}
