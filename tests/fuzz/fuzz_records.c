/* libFuzzer: any bytes as what a broker sends to a reader, in pieces whose size the
 * first byte says. The same bytes in one piece must come to the same. */
#include "base/json.h"
#include "base/require.h"
#include "client/records.h"
#include "fuzz/fuzz.h"

#include <stdlib.h>

static enum kq_err take(void *context, const struct reply_record *record)
{
    reply_tail_record(context, record);
    return KQ_OK;
}

/* Writes what came of it to out: records and how each line ended. */
static void read_all(const uint8_t *data, size_t size_bytes, size_t step, struct buf *out)
{
    struct records *records = records_new(take, out);
    REQUIRE(records != NULL);
    for (size_t at = 0; at < size_bytes;) {
        enum records_line line = RECORDS_DONE;
        struct fault fault = {.err = KQ_OK};
        size_t used = 0;
        size_t piece = size_bytes - at < step ? size_bytes - at : step;
        enum kq_err err = records_feed(records, data + at, piece, &used, &line, &fault);
        REQUIRE(used <= piece);
        REQUIRE(err == KQ_AGAIN || err == KQ_OK || fault.text[0] != 0);
        at += used;
        if (err == KQ_GARBAGE || err == KQ_TOO_LARGE)
            break; /* where it was noticed depends on the pieces; nothing more is read */
        if (err == KQ_OK)
            buf_printf(out, "line %d %s\n", (int)line, line == RECORDS_EVENT ? records_event(records)->name : "");
        else if (err != KQ_AGAIN)
            buf_printf(out, "error %s\n", fault.text);
    }
    records_free(&records);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes)
{
    if (size_bytes == 0)
        return 0;
    struct buf whole;
    struct buf pieces;
    buf_init(&whole, 64UL * 1024 * 1024);
    buf_init(&pieces, 64UL * 1024 * 1024);
    read_all(data + 1, size_bytes - 1, size_bytes, &whole);
    read_all(data + 1, size_bytes - 1, data[0] % 64U + 1U, &pieces);
    REQUIRE(whole.bad == pieces.bad);
    REQUIRE(whole.bad || whole.len == pieces.len);
    REQUIRE(whole.bad || whole.len == 0 || memcmp(whole.data, pieces.data, whole.len) == 0);
    buf_fini(&whole);
    buf_fini(&pieces);
    return 0;
}
