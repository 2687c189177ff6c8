/*
 * Writing JSON into a buf: a fast escaper that validates UTF-8 on its way, and a
 * small writer that knows where commas go. Reading is yajl's (proto/text,
 * client). Failure (memory, limit) stays in out->bad. Any thread; pure.
 */
#ifndef KQ_BASE_JSON_H
#define KQ_BASE_JSON_H

#include "base/bytes.h"
#include "base/slice.h"

/* Appends data as a JSON string with its quotes. Escaped are only `"`, `\` and
 * bytes below 0x20. False: data is no UTF-8; out->len is as it was. It may ask
 * the buf for up to JSON_SLACK_BYTES more than it needs, so a limit near what is
 * written should leave that much. */
enum { JSON_SLACK_BYTES = 2048 };
bool json_try_string(struct buf *out, const uint8_t *data, size_t size_bytes);

/* The same for text that must go out whatever it holds: what is no UTF-8 becomes
 * U+FFFD, a byte each. */
void json_string(struct buf *out, const char *text, size_t size_bytes);

/* Appends a number in decimal. */
void json_number(struct buf *out, int64_t value);

/* Appends text for a line of plain text (an error): control characters become
 * \n, \r, \t or \u00XX, what is no UTF-8 becomes U+FFFD; nothing else changes. */
void json_plain_line(struct buf *out, const char *text, size_t size_bytes);

/* ---- the writer: json_begin(&j, out); json_open(&j, '{'); ... ---------------- */

struct json {
    struct buf *out;
    bool comma; /* the next value or member follows another */
};

static inline void json_begin(struct json *j, struct buf *out)
{
    *j = (struct json){.out = out, .comma = false};
}

/* '{' or '['; closed by '}' or ']'. */
void json_open(struct json *j, char bracket);
void json_close(struct json *j, char bracket);
/* The name of the next member. */
void json_key(struct json *j, const char *name);
void json_add_string(struct json *j, struct slice value);
void json_add_text(struct json *j, const char *value); /* NULL: null */
void json_add_number(struct json *j, int64_t value);
void json_add_bool(struct json *j, bool value);
void json_add_null(struct json *j);
/* A member in one call. */
void json_put_string(struct json *j, const char *name, struct slice value);
void json_put_text(struct json *j, const char *name, const char *value);
void json_put_number(struct json *j, const char *name, int64_t value);
void json_put_bool(struct json *j, const char *name, bool value);

#endif
