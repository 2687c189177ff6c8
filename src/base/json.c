/*
 * The JSON escaper. The common case, ASCII without quotes and control
 * characters, is copied sixteen bytes at a time while it is being looked at; the
 * first byte that is anything else ends the run and is handled alone. So a body
 * is read once: validation, escaping and the copy are the same pass.
 *
 * It works in blocks, so that room for the worst case (six bytes for one) is
 * asked for a block and not for a message.
 */
#include "base/json.h"

#include "base/utf8.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

enum { BLOCK_BYTES = 256, WORST_ESCAPE_BYTES = 6 };
_Static_assert(JSON_SLACK_BYTES >= BLOCK_BYTES * WORST_ESCAPE_BYTES, "the header promises less than a block takes");

static const char hex[] = "0123456789abcdef";

static bool is_plain(uint8_t byte)
{
    return byte >= 0x20 && byte < 0x80 && byte != '"' && byte != '\\';
}

/* Copies the plain bytes that from begins with; `to` has room for size_bytes. */
static size_t copy_plain(uint8_t *to, const uint8_t *from, size_t size_bytes)
{
    size_t i = 0;
#ifdef __SSE2__
    const __m128i quote = _mm_set1_epi8('"');
    const __m128i backslash = _mm_set1_epi8('\\');
    const __m128i space = _mm_set1_epi8(0x20);
    for (; i + 16 <= size_bytes; i += 16) {
        __m128i chunk = _mm_loadu_si128((const __m128i *)(const void *)(from + i));
        /* As signed bytes both the controls and what is >= 0x80 are below 0x20. */
        __m128i special = _mm_or_si128(_mm_cmplt_epi8(chunk, space), _mm_cmpeq_epi8(chunk, quote));
        special = _mm_or_si128(special, _mm_cmpeq_epi8(chunk, backslash));
        _mm_storeu_si128((__m128i *)(void *)(to + i), chunk);
        int mask = _mm_movemask_epi8(special);
        if (mask != 0)
            return i + (size_t)__builtin_ctz((unsigned)mask);
    }
#endif
    for (; i < size_bytes && is_plain(from[i]); i++)
        to[i] = from[i];
    return i;
}

/* Writes the escape of a control character, quote or backslash; bytes written. */
static size_t put_escape(uint8_t *to, uint8_t byte)
{
    static const char short_form[] = {
        ['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', ['\f'] = 'f', ['\r'] = 'r', ['"'] = '"', ['\\'] = '\\'};
    to[0] = '\\';
    if (byte < sizeof(short_form) && short_form[byte] != 0) {
        to[1] = (uint8_t)short_form[byte];
        return 2;
    }
    to[1] = 'u';
    to[2] = '0';
    to[3] = '0';
    to[4] = (uint8_t)hex[byte >> 4];
    to[5] = (uint8_t)hex[byte & 15];
    return 6;
}

/* Escapes about BLOCK_BYTES from `from` (of which size_bytes are there); a
 * character that lies across the block's end is taken whole. Returns how many it took; 0: what stands there is no
 * UTF-8, or there is no room. */
static size_t put_block(struct buf *out, const uint8_t *from, size_t size_bytes)
{
    size_t block = size_bytes < BLOCK_BYTES ? size_bytes : BLOCK_BYTES;
    uint8_t *start = buf_reserve(out, block * WORST_ESCAPE_BYTES);
    if (start == NULL)
        return 0;
    uint8_t *to = start;
    size_t at = 0;
    while (at < block) {
        size_t plain = copy_plain(to, from + at, block - at);
        at += plain;
        to += plain;
        if (at == block)
            break;
        if (from[at] < 0x80) {
            to += put_escape(to, from[at]);
            at++;
            continue;
        }
        size_t taken = utf8_char(from + at, size_bytes - at);
        if (taken == 0)
            break; /* if anything came before it, the next call says so */
        memcpy(to, from + at, taken);
        at += taken;
        to += taken;
    }
    out->len += (size_t)(to - start);
    return at;
}

bool json_try_string(struct buf *out, const uint8_t *data, size_t size_bytes)
{
    size_t before = out->len;
    buf_u8(out, '"');
    for (size_t at = 0; at < size_bytes;) {
        size_t taken = put_block(out, data + at, size_bytes - at);
        if (taken == 0) {
            out->len = out->bad ? out->len : before;
            return out->bad; /* a full buf is told by the buf itself */
        }
        at += taken;
    }
    buf_u8(out, '"');
    return true;
}

static void put_replacement(struct buf *out)
{
    buf_put(out, "\xef\xbf\xbd", 3);
}

void json_string(struct buf *out, const char *text, size_t size_bytes)
{
    const uint8_t *data = (const uint8_t *)text;
    buf_u8(out, '"');
    for (size_t at = 0; at < size_bytes && !out->bad;) {
        size_t taken = put_block(out, data + at, size_bytes - at);
        if (taken == 0) {
            put_replacement(out);
            taken = 1;
        }
        at += taken;
    }
    buf_u8(out, '"');
}

void json_plain_line(struct buf *out, const char *text, size_t size_bytes)
{
    const uint8_t *data = (const uint8_t *)text;
    for (size_t at = 0; at < size_bytes && !out->bad;) {
        size_t taken = utf8_char(data + at, size_bytes - at);
        if (taken == 0) {
            put_replacement(out);
            taken = 1;
        } else if (data[at] < 0x20 || data[at] == 0x7f) {
            uint8_t escape[WORST_ESCAPE_BYTES];
            buf_put(out, escape, put_escape(escape, data[at]));
        } else {
            buf_put(out, data + at, taken);
        }
        at += taken;
    }
}

void json_number(struct buf *out, int64_t value)
{
    uint8_t digits[20];
    size_t at = sizeof(digits);
    uint64_t rest = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    do {
        digits[--at] = (uint8_t)('0' + rest % 10);
        rest /= 10;
    } while (rest != 0);
    if (value < 0)
        digits[--at] = '-';
    buf_put(out, digits + at, sizeof(digits) - at);
}

/* ---- the writer --------------------------------------------------------------- */

static void separate(struct json *j)
{
    if (j->comma)
        buf_u8(j->out, ',');
    j->comma = true;
}

void json_open(struct json *j, char bracket)
{
    separate(j);
    buf_u8(j->out, (uint8_t)bracket);
    j->comma = false;
}

void json_close(struct json *j, char bracket)
{
    buf_u8(j->out, (uint8_t)bracket);
    j->comma = true;
}

void json_key(struct json *j, const char *name)
{
    separate(j);
    json_string(j->out, name, strlen(name));
    buf_u8(j->out, ':');
    j->comma = false;
}

void json_add_string(struct json *j, struct slice value)
{
    if (slice_is_absent(value)) {
        json_add_null(j);
        return;
    }
    separate(j);
    json_string(j->out, (const char *)value.data, value.len);
}

void json_add_text(struct json *j, const char *value)
{
    json_add_string(j, value == NULL ? slice_of(NULL, 0) : slice_text(value));
}

void json_add_number(struct json *j, int64_t value)
{
    separate(j);
    json_number(j->out, value);
}

void json_add_bool(struct json *j, bool value)
{
    separate(j);
    buf_text(j->out, value ? "true" : "false");
}

void json_add_null(struct json *j)
{
    separate(j);
    buf_text(j->out, "null");
}

void json_put_string(struct json *j, const char *name, struct slice value)
{
    json_key(j, name);
    json_add_string(j, value);
}

void json_put_text(struct json *j, const char *name, const char *value)
{
    json_key(j, name);
    json_add_text(j, value);
}

void json_put_number(struct json *j, const char *name, int64_t value)
{
    json_key(j, name);
    json_add_number(j, value);
}

void json_put_bool(struct json *j, const char *name, bool value)
{
    json_key(j, name);
    json_add_bool(j, value);
}
