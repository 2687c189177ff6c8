/*
 * Compressed record batches, for those who read records: the text protocol. Kafka clients get
 * batches as they were stored.
 *
 * Each codec is a library that configure may have been told to leave out.
 */
#ifndef KQ_API_UNPACK_H
#define KQ_API_UNPACK_H

#include "base/bytes.h"
#include "base/err.h"
#include "base/slice.h"

enum {
    UNPACK_NONE = 0,
    UNPACK_GZIP = 1,
    UNPACK_SNAPPY = 2, /* as a block, or in the frames of Java's snappy */
    UNPACK_LZ4 = 3,
    UNPACK_ZSTD = 4,
    UNPACK_MAX_BYTES = 128 * 1024 * 1024, /* of one batch's records: what a few bytes may become */
};

/* "gzip", ...; NULL: no such codec. */
const char *unpack_name(int codec);
/* Any thread. The records of a batch with this codec, into *out (emptied first; its limit holds).
 * KQ_BAD_VERSION: a codec that is not known, or was left out of this program. KQ_CORRUPT: the
 * bytes are not what the codec makes. KQ_TOO_LARGE: they would become more than out's limit.
 * KQ_NO_MEMORY. */
enum kq_err unpack(int codec, struct slice packed, struct buf *out);

#endif
