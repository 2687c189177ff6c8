/*
 * UTF-8 validation: sixteen ASCII bytes at a time, the rest character by
 * character after table 3-7 of the Unicode standard.
 */
#include "base/utf8.h"

#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

enum { HIGH_BIT = 0x80 };

static bool is_tail(uint8_t byte)
{
    return (byte & 0xc0) == 0x80;
}

size_t utf8_char(const uint8_t *p, size_t size_bytes)
{
    if (size_bytes == 0)
        return 0;
    if (p[0] < HIGH_BIT)
        return 1;
    if (p[0] < 0xc2) /* a tail, or an overlong form */
        return 0;
    if (p[0] < 0xe0)
        return size_bytes >= 2 && is_tail(p[1]) ? 2 : 0;
    if (p[0] < 0xf0) {
        if (size_bytes < 3 || !is_tail(p[1]) || !is_tail(p[2]))
            return 0;
        bool overlong = p[0] == 0xe0 && p[1] < 0xa0;
        bool surrogate = p[0] == 0xed && p[1] >= 0xa0;
        return overlong || surrogate ? 0 : 3;
    }
    if (p[0] > 0xf4 || size_bytes < 4 || !is_tail(p[1]) || !is_tail(p[2]) || !is_tail(p[3]))
        return 0;
    bool overlong = p[0] == 0xf0 && p[1] < 0x90;
    bool beyond = p[0] == 0xf4 && p[1] >= 0x90;
    return overlong || beyond ? 0 : 4;
}

/* Bytes of ASCII from the start. */
static size_t ascii_run(const uint8_t *p, size_t size_bytes)
{
    size_t i = 0;
#ifdef __SSE2__
    for (; i + 16 <= size_bytes; i += 16) {
        int mask = _mm_movemask_epi8(_mm_loadu_si128((const __m128i *)(const void *)(p + i)));
        if (mask != 0)
            return i + (size_t)__builtin_ctz((unsigned)mask);
    }
#endif
    for (; i + 8 <= size_bytes; i += 8) {
        uint64_t word;
        memcpy(&word, p + i, sizeof(word));
        if ((word & 0x8080808080808080U) != 0)
            break;
    }
    while (i < size_bytes && p[i] < HIGH_BIT)
        i++;
    return i;
}

size_t utf8_valid_prefix(const uint8_t *data, size_t size_bytes)
{
    if (size_bytes == 0) /* data may be NULL */
        return 0;
    size_t at = 0;
    for (;;) {
        at += ascii_run(data + at, size_bytes - at);
        /* Text in other scripts comes in runs: stay here until ASCII is back. */
        while (at < size_bytes && data[at] >= HIGH_BIT) {
            size_t taken = utf8_char(data + at, size_bytes - at);
            if (taken == 0)
                return at;
            at += taken;
        }
        if (at == size_bytes)
            return at;
    }
}
