/* Each codec: what its library packs comes back; what is cut, altered or too large does not. */
#include "api/unpack.h"
#include "config.h"
#include "support/unit.h"

#if HAVE_ZLIB
#include <zlib.h>
#endif
#if HAVE_SNAPPY
#include <snappy-c.h>
#endif
#if HAVE_LZ4
#include <lz4frame.h>
#endif
#if HAVE_ZSTD
#include <zstd.h>
#endif

enum { PLAIN_BYTES = 300000 };

static uint8_t plain[PLAIN_BYTES];
static uint8_t packed[2 * PLAIN_BYTES + 1000];

static void make_plain(void)
{
    uint32_t random = 1;
    for (size_t i = 0; i < PLAIN_BYTES; i++) {
        random = random * 1664525 + 1013904223;
        plain[i] = i % 100 < 60 ? (uint8_t)(i / 100) : (uint8_t)(random >> 24);
    }
}

/* How many bytes; 0: the codec was left out. */
static size_t pack(int codec, size_t size_bytes)
{
#if HAVE_ZLIB
    if (codec == UNPACK_GZIP) {
        z_stream z = {.next_in = plain, .avail_in = (uInt)size_bytes, .next_out = packed, .avail_out = sizeof packed};
        CU_ASSERT_EQUAL(deflateInit2(&z, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
        CU_ASSERT_EQUAL(deflate(&z, Z_FINISH), Z_STREAM_END);
        (void)deflateEnd(&z);
        return sizeof packed - z.avail_out;
    }
#endif
#if HAVE_SNAPPY
    if (codec == UNPACK_SNAPPY) {
        size_t len = sizeof packed;
        CU_ASSERT_EQUAL(snappy_compress((const char *)plain, size_bytes, (char *)packed, &len), SNAPPY_OK);
        return len;
    }
#endif
#if HAVE_LZ4
    if (codec == UNPACK_LZ4)
        return LZ4F_compressFrame(packed, sizeof packed, plain, size_bytes, NULL);
#endif
#if HAVE_ZSTD
    if (codec == UNPACK_ZSTD)
        return ZSTD_compress(packed, sizeof packed, plain, size_bytes, 3);
#endif
    (void)codec;
    (void)size_bytes;
    return 0;
}

static enum kq_err unpack_exactly(int codec, size_t size_bytes, struct buf *out)
{
    uint8_t *exact = malloc(size_bytes + 1); /* so that a sanitizer sees a step too far */
    memcpy(exact, packed, size_bytes);
    enum kq_err err = unpack(codec, slice_of(exact, size_bytes), out);
    free(exact);
    return err;
}

static void what_was_packed_comes_back(void)
{
    static const size_t sizes[] = {0, 1, 100, 65536, PLAIN_BYTES};
    make_plain();
    for (int codec = UNPACK_GZIP; codec <= UNPACK_ZSTD; codec++)
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
            struct buf out;
            buf_init(&out, UNPACK_MAX_BYTES);
            size_t len = pack(codec, sizes[i]);
            enum kq_err err = unpack_exactly(codec, len, &out);
            if (len == 0) {
                CU_ASSERT_EQUAL(err, KQ_BAD_VERSION);
            } else {
                CU_ASSERT_EQUAL(err, KQ_OK);
                CU_ASSERT_TRUE(out.len == sizes[i] && (out.len == 0 || memcmp(out.data, plain, out.len) == 0));
            }
            buf_fini(&out);
        }
}

static void what_is_cut_or_too_large_does_not(void)
{
    make_plain();
    for (int codec = UNPACK_GZIP; codec <= UNPACK_ZSTD; codec++) {
        struct buf out;
        size_t len = pack(codec, PLAIN_BYTES);
        if (len == 0)
            continue;
        buf_init(&out, UNPACK_MAX_BYTES);
        for (size_t cut = 0; cut < len; cut += 1 + len / 50)
            CU_ASSERT_EQUAL(unpack_exactly(codec, cut, &out), KQ_CORRUPT);
        buf_fini(&out);
        buf_init(&out, PLAIN_BYTES - 1);
        CU_ASSERT_EQUAL(unpack_exactly(codec, len, &out), KQ_TOO_LARGE);
        CU_ASSERT_TRUE(out.len <= PLAIN_BYTES - 1);
        buf_fini(&out);
    }
}

static void what_is_altered_never_overruns(void)
{
    make_plain();
    for (int codec = UNPACK_GZIP; codec <= UNPACK_ZSTD; codec++) {
        size_t len = pack(codec, 2000);
        for (size_t at = 0; at < len; at += 1 + len / 300) {
            struct buf out;
            buf_init(&out, 1 << 20);
            packed[at] ^= 0x55;
            (void)unpack_exactly(codec, len, &out);
            packed[at] ^= 0x55;
            CU_ASSERT_TRUE(out.len <= 1 << 20);
            buf_fini(&out);
        }
    }
}

static void java_frames_of_snappy_are_read(void)
{
#if HAVE_SNAPPY
    static const uint8_t head[16] = {0x82, 'S', 'N', 'A', 'P', 'P', 'Y', 0, 0, 0, 0, 1, 0, 0, 0, 1};
    static uint8_t framed[PLAIN_BYTES];
    size_t at = sizeof head;
    make_plain();
    memcpy(framed, head, sizeof head);
    for (int block = 0; block < 3; block++) {
        size_t len = pack(UNPACK_SNAPPY, 1000);
        put_be32(framed + at, (uint32_t)len);
        memcpy(framed + at + 4, packed, len);
        at += 4 + len;
    }
    struct buf out;
    buf_init(&out, UNPACK_MAX_BYTES);
    CU_ASSERT_EQUAL(unpack(UNPACK_SNAPPY, slice_of(framed, at), &out), KQ_OK);
    CU_ASSERT_EQUAL(out.len, 3000);
    CU_ASSERT_EQUAL(unpack(UNPACK_SNAPPY, slice_of(framed, at - 1), &out), KQ_CORRUPT);
    buf_fini(&out);
#endif
}

static const struct unit_case cases[] = {
    {"what was packed comes back", what_was_packed_comes_back},
    {"what is cut or too large does not", what_is_cut_or_too_large_does_not},
    {"what is altered never overruns", what_is_altered_never_overruns},
    {"Java's frames of snappy are read", java_frames_of_snappy_are_read},
};
UNIT_MAIN("compressed batches", cases)
