/*
 * A publish's message: one without escapes by hand, any other through one yajl handle.
 *
 * A string without escapes ends at the next quote, so a message that has none needs no lexer
 * that looks at each byte; nearly all are so. Whatever is unusual about it, or wrong, is left to
 * yajl, which also finds the words for it.
 *
 * yajl_allow_multiple_values lets the handle go on with the next message after a
 * good one; after anything else it is thrown away and a fresh one made, so no
 * message can leave something behind for the next.
 *
 * yajl hands a string without escapes as a pointer into our input, one with
 * escapes as a pointer into its own buffer, which the next string overwrites:
 * those are copied to `scratch`. Two things it does not do: it takes lone
 * surrogates (as `?`), and its own UTF-8 check is slow; so both are looked at
 * here first, over the whole message.
 */
#include "proto/text/message.h"

#include "base/bytes.h"
#include "base/utf8.h"

#include <stdio.h>
#include <stdlib.h>
#include <yajl/yajl_parse.h>

enum {
    KEEP_BYTES = 64 * 1024, /* scratch and handle are dropped after a message with more escaped bytes than this */
    NAME_SHOWN_BYTES = 48,
};

enum member { HEADER, KEY, BODY, MEMBER_COUNT };
static const char *const member_names[MEMBER_COUNT] = {"Header", "Key", "Body"};

struct message_parser {
    yajl_handle yajl; /* NULL: make one */
    struct buf scratch;
    const uint8_t *json; /* the message in hand */
    size_t json_bytes;
    struct slice value[MEMBER_COUNT];
    enum member next; /* whose value comes; MEMBER_COUNT: none */
    bool opened;
    bool closed;
    bool no_memory;
    struct fault *fault;
    bool fault_is_set;
};

/* ---- yajl's callbacks: 1 goes on, 0 stops ------------------------------------------ */

static int refuse(struct message_parser *p, const char *what)
{
    p->fault_is_set = true;
    size_t at = yajl_get_bytes_consumed(p->yajl);
    (void)fault_set(p->fault, KQ_INVALID_RECORD, "message is not valid: %s, before byte %zu", what, at);
    return 0;
}

/* A value that is no string. */
static int refuse_value(struct message_parser *p, const char *kind)
{
    char what[96];
    if (!p->opened)
        return refuse(p, "it is not a JSON object like {\"Key\":\"..\",\"Body\":\"..\"}");
    if (p->closed)
        return refuse(p, "something follows the object");
    (void)snprintf(what, sizeof(what), "%s is %s, and must be a string",
                   p->next < MEMBER_COUNT ? member_names[p->next] : "a member", kind);
    return refuse(p, what);
}

static int on_null(void *context)
{
    return refuse_value(context, "null");
}

static int on_boolean(void *context, int value)
{
    (void)value;
    return refuse_value(context, "true or false");
}

static int on_number(void *context, const char *text, size_t size_bytes)
{
    (void)text;
    (void)size_bytes;
    return refuse_value(context, "a number");
}

static int on_string(void *context, const unsigned char *data, size_t size_bytes)
{
    struct message_parser *p = context;
    if (!p->opened || p->closed || p->next == MEMBER_COUNT)
        return refuse_value(p, "a string");
    if (data >= p->json && data < p->json + p->json_bytes) {
        p->value[p->next] = slice_of(data, size_bytes);
    } else {
        /* Room for all of the message was made at its start: nothing moves. */
        size_t at = p->scratch.len;
        buf_put(&p->scratch, data, size_bytes);
        p->no_memory = p->scratch.bad;
        p->value[p->next] = slice_of(p->scratch.data + at, size_bytes);
    }
    p->next = MEMBER_COUNT;
    return p->no_memory ? 0 : 1;
}

static int on_open_object(void *context)
{
    struct message_parser *p = context;
    if (p->opened)
        return refuse_value(p, "an object");
    p->opened = true;
    return 1;
}

/* MEMBER_COUNT: none is named so. */
static enum member member_named(const void *name, size_t size_bytes)
{
    for (int i = 0; i < MEMBER_COUNT; i++)
        if (size_bytes == strlen(member_names[i]) && memcmp(name, member_names[i], size_bytes) == 0)
            return (enum member)i;
    return MEMBER_COUNT;
}

static int on_name(void *context, const unsigned char *name, size_t size_bytes)
{
    struct message_parser *p = context;
    char what[160];
    enum member named = member_named(name, size_bytes);
    if (named < MEMBER_COUNT) {
        p->next = named;
        if (slice_is_absent(p->value[named]))
            return 1;
        (void)snprintf(what, sizeof(what), "%s is there twice", member_names[named]);
        return refuse(p, what);
    }
    size_t shown = size_bytes;
    if (shown > NAME_SHOWN_BYTES)
        for (shown = NAME_SHOWN_BYTES; shown > 0 && (name[shown] & 0xc0) == 0x80;)
            shown--;
    (void)snprintf(what, sizeof(what), "unknown member `%.*s%s`; there are Header, Key and Body", (int)shown,
                   (const char *)name, shown < size_bytes ? "..." : "");
    return refuse(p, what);
}

static int on_close_object(void *context)
{
    struct message_parser *p = context;
    p->closed = true;
    return 1;
}

static int on_open_array(void *context)
{
    return refuse_value(context, "an array");
}

static const yajl_callbacks callbacks = {
    .yajl_null = on_null,
    .yajl_boolean = on_boolean,
    .yajl_number = on_number,
    .yajl_string = on_string,
    .yajl_start_map = on_open_object,
    .yajl_map_key = on_name,
    .yajl_end_map = on_close_object,
    .yajl_start_array = on_open_array,
};

/* ---- what yajl does not look at ------------------------------------------------------- */

static unsigned four_hex(const uint8_t *p)
{
    unsigned value = 0;
    for (int i = 0; i < 4; i++) {
        unsigned c = p[i];
        unsigned digit = c >= '0' && c <= '9'   ? c - '0'
                         : c >= 'a' && c <= 'f' ? c - 'a' + 10
                         : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                                : 0x10000;
        value = value << 4 | digit;
    }
    return value > 0xffff ? 0x10000 : value; /* not hexadecimal: yajl will say so */
}

/* The position of the first \u escape that is half of a pair; json_bytes: none. */
static size_t lone_surrogate(const uint8_t *json, size_t json_bytes)
{
    size_t at = 0;
    const uint8_t *slash;
    while (at < json_bytes && (slash = memchr(json + at, '\\', json_bytes - at)) != NULL) {
        at = (size_t)(slash - json);
        size_t left = json_bytes - at;
        unsigned code = left >= 6 && slash[1] == 'u' ? four_hex(slash + 2) : 0;
        if (code < 0xd800 || code > 0xdfff) {
            at += 2; /* also steps over an escaped backslash */
            continue;
        }
        unsigned low = left >= 12 && slash[6] == '\\' && slash[7] == 'u' ? four_hex(slash + 8) : 0;
        if (code >= 0xdc00 || low < 0xdc00 || low > 0xdfff)
            return at;
        at += 12;
    }
    return json_bytes;
}

/* ---- without escapes ------------------------------------------------------------------- */

struct plain {
    const uint8_t *at;
    const uint8_t *end;
};

static void skip_space(struct plain *p)
{
    while (p->at < p->end && (*p->at == ' ' || *p->at == '\t' || *p->at == '\n' || *p->at == '\r'))
        p->at++;
}

static bool take_mark(struct plain *p, uint8_t mark)
{
    skip_space(p);
    bool is = p->at < p->end && *p->at == mark;
    if (is)
        p->at++;
    return is;
}

/* Below 0x20, which no string may hold. Eight bytes at a time: a byte less 0x20 borrows into its
 * top bit, where that was clear. A borrow may also come from the byte below; then that one is to blame. */
static bool has_control(const uint8_t *data, size_t size_bytes)
{
    const uint64_t low = UINT64_C(0x2020202020202020), top = UINT64_C(0x8080808080808080);
    size_t at = 0;
    for (; at + 8 <= size_bytes; at += 8) {
        uint64_t word = get_le64(data + at);
        if (((word - low) & ~word & top) != 0)
            return true;
    }
    for (; at < size_bytes; at++)
        if (data[at] < 0x20)
            return true;
    return false;
}

static bool take_string(struct plain *p, struct slice *string)
{
    if (!take_mark(p, '"'))
        return false;
    const uint8_t *quote = memchr(p->at, '"', (size_t)(p->end - p->at));
    if (quote == NULL || has_control(p->at, (size_t)(quote - p->at)))
        return false;
    *string = slice_of(p->at, (size_t)(quote - p->at));
    p->at = quote + 1;
    return true;
}

/* False: it is not that simple, or not right. */
static bool parse_plain(const uint8_t *json, size_t json_bytes, struct text_message *message)
{
    struct plain p = {.at = json, .end = json + json_bytes};
    struct slice value[MEMBER_COUNT + 1] = {{0}};
    if (!take_mark(&p, '{'))
        return false;
    bool more = !take_mark(&p, '}');
    while (more) {
        struct slice name, text;
        if (!take_string(&p, &name) || !take_mark(&p, ':') || !take_string(&p, &text))
            return false;
        enum member named = member_named(name.data, name.len);
        if (named == MEMBER_COUNT || !slice_is_absent(value[named]))
            return false;
        value[named] = text;
        more = take_mark(&p, ',');
        if (!more && !take_mark(&p, '}'))
            return false;
    }
    skip_space(&p);
    *message = (struct text_message){.header = value[HEADER], .key = value[KEY], .body = value[BODY]};
    return p.at == p.end;
}

/* ---- the parser ------------------------------------------------------------------------- */

static void drop_handle(struct message_parser *p)
{
    if (p->yajl != NULL)
        yajl_free(p->yajl);
    p->yajl = NULL;
}

struct message_parser *message_parser_new(void)
{
    struct message_parser *p = calloc(1, sizeof(*p));
    if (p != NULL)
        buf_init(&p->scratch, SIZE_MAX / 4);
    return p;
}

void message_parser_free(struct message_parser **parser)
{
    if (*parser == NULL)
        return;
    drop_handle(*parser);
    buf_fini(&(*parser)->scratch);
    free(*parser);
    *parser = NULL;
}

/* Forgets the last message. False: out of memory. */
static bool prepare(struct message_parser *p, const uint8_t *json, size_t json_bytes, bool escapes)
{
    if (p->scratch.cap > KEEP_BYTES) {
        buf_fini(&p->scratch);
        buf_init(&p->scratch, SIZE_MAX / 4);
        drop_handle(p); /* its own buffer has grown as much */
    }
    buf_reset(&p->scratch);
    if (escapes && buf_reserve(&p->scratch, json_bytes) == NULL)
        return false;
    for (int i = 0; i < MEMBER_COUNT; i++)
        p->value[i] = slice_of(NULL, 0);
    p->json = json;
    p->json_bytes = json_bytes;
    p->next = MEMBER_COUNT;
    p->opened = p->closed = p->no_memory = p->fault_is_set = false;
    if (p->yajl == NULL) {
        p->yajl = yajl_alloc(&callbacks, NULL, p);
        if (p->yajl == NULL || yajl_config(p->yajl, yajl_allow_multiple_values, 1) == 0 ||
            yajl_config(p->yajl, yajl_dont_validate_strings, 1) == 0)
            return false;
    }
    return true;
}

/* yajl's own sentence ("lexical error: invalid char in json text.\n"), in ours. */
static void tell_syntax(struct message_parser *p, struct fault *fault)
{
    size_t at = yajl_get_bytes_consumed(p->yajl);
    unsigned char *text = yajl_get_error(p->yajl, 0, p->json, p->json_bytes);
    size_t len = text == NULL ? 0 : strcspn((const char *)text, ".\n");
    (void)fault_set(fault, KQ_INVALID_RECORD, "message is not JSON: %.*s, near byte %zu", text == NULL ? 12 : (int)len,
                    text == NULL ? "syntax error" : (const char *)text, at);
    if (text != NULL)
        yajl_free_error(p->yajl, text);
}

static enum kq_err look_ahead(const uint8_t *json, size_t json_bytes, bool escapes, struct fault *fault)
{
    size_t valid = utf8_valid_prefix(json, json_bytes);
    if (valid < json_bytes)
        return fault_set(fault, KQ_INVALID_RECORD, "message is not UTF-8, at byte %zu", valid);
    size_t lone = escapes ? lone_surrogate(json, json_bytes) : json_bytes;
    if (lone < json_bytes)
        return fault_set(fault, KQ_INVALID_RECORD,
                         "message is not JSON: half of a surrogate pair in \\u escapes, at byte %zu", lone);
    return KQ_OK;
}

enum kq_err message_parse(struct message_parser *p, const uint8_t *json, size_t json_bytes,
                          struct text_message *message, struct fault *fault)
{
    bool escapes = json_bytes > 0 && memchr(json, '\\', json_bytes) != NULL;
    enum kq_err err = look_ahead(json, json_bytes, escapes, fault);
    if (err != KQ_OK)
        return err;
    if (!escapes && parse_plain(json, json_bytes, message))
        return KQ_OK;
    if (!prepare(p, json, json_bytes, escapes)) {
        drop_handle(p);
        return fault_set(fault, KQ_NO_MEMORY, "out of memory for a message of %zu bytes", json_bytes);
    }
    p->fault = fault;
    yajl_status status = yajl_parse(p->yajl, json, json_bytes);
    if (status == yajl_status_ok && p->closed) {
        *message = (struct text_message){.header = p->value[HEADER], .key = p->value[KEY], .body = p->value[BODY]};
        return KQ_OK;
    }
    err = KQ_INVALID_RECORD;
    if (p->no_memory)
        err = fault_set(fault, KQ_NO_MEMORY, "out of memory for a message of %zu bytes", json_bytes);
    else if (status == yajl_status_error)
        tell_syntax(p, fault);
    else if (!p->fault_is_set)
        (void)fault_set(fault, err, "message is not JSON: it ends too early, at byte %zu", json_bytes);
    drop_handle(p);
    return err;
}
