/* Base64 of RFC 4648 with padding, for bytes that are no UTF-8. Any thread. */
#ifndef KQ_BASE_BASE64_H
#define KQ_BASE_BASE64_H

#include "base/bytes.h"

/* Appends the encoding of data, without quotes or line breaks. */
void base64_put(struct buf *out, const uint8_t *data, size_t size_bytes);

/* Appends what text stands for. False: not canonical base64; out->len is as it was. */
bool base64_get(struct buf *out, const char *text, size_t size_bytes);

#endif
