/* UTF-8 as Unicode defines it: no overlong forms, no surrogates, nothing above
 * U+10FFFF. Any thread; pure. */
#ifndef KQ_BASE_UTF8_H
#define KQ_BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes (1 to 4) of the character that begins at data, or 0 when none does. */
size_t utf8_char(const uint8_t *data, size_t size_bytes);

/* How many bytes from the start are whole, valid characters: size_bytes if all
 * are, else the position of the first byte that is wrong. */
size_t utf8_valid_prefix(const uint8_t *data, size_t size_bytes);

static inline bool utf8_is_valid(const uint8_t *data, size_t size_bytes)
{
    return utf8_valid_prefix(data, size_bytes) == size_bytes;
}

#endif
