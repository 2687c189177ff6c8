/*
 * What a client's batch is refused for, one flaw at a time: each row changes one thing in a
 * batch that is good.
 */
#include "api/produce.h"
#include "base/crc32c.h"
#include "support/unit.h"

enum { LENGTH_AT = 8, MAGIC_AT = 16, CRC_AT = 17, CRC_FROM = 21, HEAD_BYTES = 61, NOW_MS = 1000000, BIG_BYTES = 5000 };

static const struct partition_limits limits = {.max_message_bytes = 4096, .before_max_ms = 5000, .after_max_ms = 1000};

/* Three records, with a key, a null and a header. */
static void make(struct buf *out)
{
    struct batch_maker m;
    buf_init(out, 1 << 20);
    batch_begin(&m, out, NOW_MS);
    batch_add(&m, NOW_MS, slice_text("k"), slice_text("first"), NULL, (struct slice){0});
    batch_add(&m, NOW_MS, (struct slice){0}, (struct slice){0}, NULL, (struct slice){0});
    batch_add(&m, NOW_MS, slice_text("k"), slice_text("third"), "h", slice_text("v"));
    batch_end(&m, -1, -1, -1);
}

static void seal(struct buf *batch)
{
    put_be32(batch->data + CRC_AT, crc32c(0, batch->data + CRC_FROM, batch->len - CRC_FROM));
}

static enum produce_flaw judge(const struct buf *batch, bool zstd)
{
    struct batch_info info;
    struct fault fault;
    enum produce_flaw flaw = produce_check(slice_of(batch->data, batch->len), &limits, zstd, NOW_MS, &info, &fault);
    if (flaw != PRODUCE_GOOD)
        CU_ASSERT_TRUE(fault.text[0] != '\0');
    return flaw;
}

/* With one field of so many bytes set, and the checksum right again. */
static enum produce_flaw judge_field(size_t at, size_t size_bytes, uint64_t value)
{
    struct buf batch;
    make(&batch);
    for (size_t i = 0; i < size_bytes; i++)
        batch.data[at + i] = (uint8_t)(value >> (8 * (size_bytes - 1 - i)));
    if (at != CRC_AT)
        seal(&batch);
    enum produce_flaw flaw = judge(&batch, true);
    buf_fini(&batch);
    return flaw;
}

static void a_good_batch_is_taken(void)
{
    struct buf batch;
    make(&batch);
    CU_ASSERT_EQUAL(judge(&batch, true), PRODUCE_GOOD);
    buf_fini(&batch);
}

static void each_flaw_of_the_header_has_its_answer(void)
{
    static const struct {
        size_t at, size_bytes;
        uint64_t value;
        enum produce_flaw flaw;
    } rows[] = {
        {0, 8, 5, PRODUCE_BAD_RECORD},             /* base offset */
        {LENGTH_AT, 4, 10, PRODUCE_NOT_ONE_BATCH}, /* shorter than a header */
        {LENGTH_AT, 4, 0x7fffffff, PRODUCE_NOT_ONE_BATCH},
        {LENGTH_AT, 4, 0xffffffff, PRODUCE_NOT_ONE_BATCH},
        {MAGIC_AT, 1, 1, PRODUCE_OLD_FORMAT},
        {MAGIC_AT, 1, 3, PRODUCE_NOT_ONE_BATCH},
        {CRC_AT, 4, 1, PRODUCE_BAD_CHECKSUM},
        {21, 2, 0x20, PRODUCE_CONTROL},
        {21, 2, 0x10, PRODUCE_TRANSACTIONAL},
        {21, 2, 0x08, PRODUCE_BAD_TIME}, /* LogAppendTime is the broker's to set */
        {21, 2, 0x05, PRODUCE_NO_CODEC},
        {23, 4, 1, PRODUCE_NOT_ONE_BATCH}, /* fewer offsets than records */
        {23, 4, 3, PRODUCE_BAD_RECORD},    /* a hole behind the last */
        {27, 8, NOW_MS - 5001, PRODUCE_BAD_TIME},
        {35, 8, NOW_MS + 1001, PRODUCE_BAD_TIME},
        {43, 8, 7, PRODUCE_BAD_RECORD}, /* a producer without a sequence */
        {57, 4, 0, PRODUCE_BAD_RECORD},
        {57, 4, 2, PRODUCE_BAD_RECORD},
        {57, 4, 0xffffffff, PRODUCE_NOT_ONE_BATCH},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        enum produce_flaw flaw = judge_field(rows[i].at, rows[i].size_bytes, rows[i].value);
        if (flaw != rows[i].flaw)
            printf("\n    row %zu: %d instead of %d", i, (int)flaw, (int)rows[i].flaw);
        CU_ASSERT_EQUAL(flaw, rows[i].flaw);
    }
}

/* Nothing that lies behind the header may be altered unnoticed, whatever the checksum says. */
static void records_that_cannot_be_are_refused(void)
{
    struct buf batch;
    make(&batch);
    uint8_t *first = batch.data + HEAD_BYTES;
    static const struct {
        size_t at;
        uint8_t value;
    } rows[] = {
        {0, 0x7e},  /* the record is longer than the batch */
        {0, 0x00},  /* and shorter than a record */
        {3, 0x02},  /* offset 1 where 0 is due */
        {4, 0x7e},  /* a key longer than its record */
        {4, 0x03},  /* a key of -2 bytes */
        {12, 0x02}, /* a header that is not there */
        {12, 0x01}, /* -1 headers */
    };
    CU_ASSERT_EQUAL(first[3], 0);
    CU_ASSERT_EQUAL(first[12], 0);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        uint8_t before = first[rows[i].at];
        first[rows[i].at] = rows[i].value;
        seal(&batch);
        if (judge(&batch, true) != PRODUCE_BAD_RECORD)
            printf("\n    row %zu was taken", i);
        CU_ASSERT_EQUAL(judge(&batch, true), PRODUCE_BAD_RECORD);
        first[rows[i].at] = before;
    }
    batch.data[batch.len - 3] = 0x7e; /* the name of the last record's header, the length of it */
    seal(&batch);
    CU_ASSERT_EQUAL(judge(&batch, true), PRODUCE_GOOD); /* a name is any byte ... */
    batch.data[batch.len - 2] = 0x7e;                   /* ... but its value has a length */
    seal(&batch);
    CU_ASSERT_EQUAL(judge(&batch, true), PRODUCE_BAD_RECORD);
    batch.data[batch.len - 4] = 0x01; /* no name, which Kafka refuses, */
    batch.data[batch.len - 3] = 0x04; /* and all that is left is its value */
    seal(&batch);
    CU_ASSERT_EQUAL(judge(&batch, true), PRODUCE_BAD_RECORD);
    buf_fini(&batch);
}

/* What is compressed is not looked into. */
static void codecs_are_those_of_the_request(void)
{
    struct buf batch;
    make(&batch);
    put_be16(batch.data + 21, 4);
    seal(&batch);
    CU_ASSERT_EQUAL(judge(&batch, true), PRODUCE_GOOD);
    CU_ASSERT_EQUAL(judge(&batch, false), PRODUCE_NO_CODEC);
    buf_fini(&batch);
}

static void nothing_two_batches_and_a_cut_one_are_not_one(void)
{
    struct buf batch;
    make(&batch);
    size_t len = batch.len;
    for (size_t left = 0; left < len; left++) {
        struct batch_info info;
        struct fault fault;
        CU_ASSERT_EQUAL(produce_check(slice_of(batch.data, left), &limits, true, NOW_MS, &info, &fault),
                        PRODUCE_NOT_ONE_BATCH);
    }
    uint8_t again[256];
    CU_ASSERT_FATAL(len <= sizeof(again));
    memcpy(again, batch.data, len);
    buf_put(&batch, again, len);
    CU_ASSERT_EQUAL(judge(&batch, true), PRODUCE_NOT_ONE_BATCH);
    buf_fini(&batch);
}

static void the_limit_is_the_topics(void)
{
    static uint8_t big[BIG_BYTES];
    struct batch_maker m;
    struct buf batch;
    buf_init(&batch, 1 << 20);
    batch_begin(&m, &batch, NOW_MS);
    batch_add(&m, NOW_MS, (struct slice){0}, slice_of(big, sizeof(big)), NULL, (struct slice){0});
    batch_end(&m, -1, -1, -1);
    CU_ASSERT_EQUAL(judge(&batch, true), PRODUCE_TOO_LARGE);
    buf_fini(&batch);
}

static const struct unit_case cases[] = {
    {"a good batch is taken", a_good_batch_is_taken},
    {"each flaw of the header has its answer", each_flaw_of_the_header_has_its_answer},
    {"records that cannot be are refused", records_that_cannot_be_are_refused},
    {"codecs are those of the request", codecs_are_those_of_the_request},
    {"nothing, two batches and a cut one are not one", nothing_two_batches_and_a_cut_one_are_not_one},
    {"the limit is the topic's", the_limit_is_the_topics},
};

UNIT_MAIN("produce", cases)
