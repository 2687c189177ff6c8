#include "api/unpack.h"

#include "config.h"

#include <string.h>

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

enum { STEP_BYTES = 64 * 1024 };

const char *unpack_name(int codec)
{
    static const char *const names[] = {"none", "gzip", "snappy", "lz4", "zstd"};
    return codec >= 0 && codec <= UNPACK_ZSTD ? names[codec] : NULL;
}

/* Room for the next step; NULL: out's limit, or no memory. */
static uint8_t *more(struct buf *out, size_t *room)
{
    size_t left = out->limit - out->len;
    *room = left < STEP_BYTES ? left : STEP_BYTES;
    return *room == 0 ? NULL : buf_reserve(out, *room);
}

static enum kq_err full(const struct buf *out)
{
    return out->bad ? KQ_NO_MEMORY : KQ_TOO_LARGE;
}

#if HAVE_ZLIB
enum { GZIP_WINDOW = 15 + 16 }; /* the largest window, in gzip's envelope */

static enum kq_err unpack_gzip(struct slice packed, struct buf *out)
{
    z_stream z = {.next_in = (Bytef *)(uintptr_t)packed.data, .avail_in = (uInt)packed.len};
    int said = inflateInit2(&z, GZIP_WINDOW);
    enum kq_err err = said == Z_OK ? KQ_OK : KQ_NO_MEMORY;
    while (err == KQ_OK && said != Z_STREAM_END) {
        size_t room;
        z.next_out = more(out, &room);
        if (z.next_out == NULL) {
            err = full(out);
            break;
        }
        z.avail_out = (uInt)room;
        said = inflate(&z, Z_NO_FLUSH);
        out->len += room - z.avail_out;
        if (said == Z_MEM_ERROR)
            err = KQ_NO_MEMORY;
        else if (said != Z_OK && said != Z_STREAM_END)
            err = KQ_CORRUPT; /* Z_BUF_ERROR: it ends too early */
    }
    (void)inflateEnd(&z);
    return err;
}
#endif

#if HAVE_SNAPPY
static enum kq_err unpack_block(struct slice packed, struct buf *out)
{
    size_t size_bytes;
    const char *data = (const char *)packed.data;
    if (snappy_uncompressed_length(data, packed.len, &size_bytes) != SNAPPY_OK)
        return KQ_CORRUPT;
    if (size_bytes > out->limit - out->len)
        return KQ_TOO_LARGE;
    uint8_t *to = buf_reserve(out, size_bytes + 1);
    if (to == NULL)
        return KQ_NO_MEMORY;
    if (snappy_uncompress(data, packed.len, (char *)to, &size_bytes) != SNAPPY_OK)
        return KQ_CORRUPT;
    out->len += size_bytes;
    return KQ_OK;
}

/* Java's library writes a magic, two versions, and blocks with their lengths. */
static enum kq_err unpack_snappy(struct slice packed, struct buf *out)
{
    static const uint8_t magic[8] = {0x82, 'S', 'N', 'A', 'P', 'P', 'Y', 0};
    enum { HEAD_BYTES = 16 };
    if (packed.len < HEAD_BYTES || memcmp(packed.data, magic, sizeof(magic)) != 0)
        return unpack_block(packed, out);
    struct cursor c = cursor_over(packed.data + HEAD_BYTES, packed.len - HEAD_BYTES);
    enum kq_err err = KQ_OK;
    while (err == KQ_OK && cursor_left(&c) > 0) {
        size_t size_bytes = cursor_be32(&c);
        const uint8_t *block = cursor_bytes(&c, size_bytes);
        err = c.bad ? KQ_CORRUPT : unpack_block(slice_of(block, size_bytes), out);
    }
    return err;
}
#endif

#if HAVE_LZ4
static enum kq_err unpack_lz4(struct slice packed, struct buf *out)
{
    LZ4F_dctx *context = NULL;
    if (LZ4F_isError(LZ4F_createDecompressionContext(&context, LZ4F_VERSION)))
        return KQ_NO_MEMORY;
    enum kq_err err = KQ_OK;
    size_t done = 0, hint = 1;
    while (err == KQ_OK && hint != 0) {
        size_t room, taken = packed.len - done;
        uint8_t *to = more(out, &room);
        if (to == NULL) {
            err = full(out);
            break;
        }
        hint = LZ4F_decompress(context, to, &room, packed.data + done, &taken, NULL);
        if (LZ4F_isError(hint) || (hint != 0 && taken == 0 && room == 0))
            err = KQ_CORRUPT; /* also: it ends too early */
        else
            out->len += room;
        done += taken;
    }
    (void)LZ4F_freeDecompressionContext(context);
    return err;
}
#endif

#if HAVE_ZSTD
static enum kq_err unpack_zstd(struct slice packed, struct buf *out)
{
    ZSTD_DCtx *context = ZSTD_createDCtx();
    if (context == NULL)
        return KQ_NO_MEMORY;
    ZSTD_inBuffer in = {.src = packed.data, .size = packed.len};
    enum kq_err err = KQ_OK;
    size_t hint = 1;
    while (err == KQ_OK && hint != 0) {
        size_t room, before = in.pos;
        ZSTD_outBuffer to = {.dst = more(out, &room)};
        if (to.dst == NULL) {
            err = full(out);
            break;
        }
        to.size = room;
        hint = ZSTD_decompressStream(context, &to, &in);
        if (ZSTD_isError(hint) || (hint != 0 && in.pos == before && to.pos == 0))
            err = KQ_CORRUPT;
        else
            out->len += to.pos;
    }
    (void)ZSTD_freeDCtx(context);
    return err;
}
#endif

enum kq_err unpack(int codec, struct slice packed, struct buf *out)
{
    buf_reset(out);
    (void)packed; /* of a program without any codec */
    switch (codec) {
#if HAVE_ZLIB
    case UNPACK_GZIP:
        return unpack_gzip(packed, out);
#endif
#if HAVE_SNAPPY
    case UNPACK_SNAPPY:
        return unpack_snappy(packed, out);
#endif
#if HAVE_LZ4
    case UNPACK_LZ4:
        return unpack_lz4(packed, out);
#endif
#if HAVE_ZSTD
    case UNPACK_ZSTD:
        return unpack_zstd(packed, out);
#endif
    default:
        return KQ_BAD_VERSION;
    }
}
