#include "log/batch.h"

#include "base/crc32c.h"
#include "support/unit.h"

static struct slice text(const char *s)
{
    return s == NULL ? slice_of(NULL, 0) : slice_text(s);
}

static bool same(struct slice a, const char *b)
{
    return slice_equal_text(a, b);
}

/* Three records: with key and header; null key; null value. */
static void make(struct buf *out)
{
    struct batch_maker m;
    batch_begin(&m, out, 1000);
    batch_add(&m, 1000, text("k"), text("hello"), "Header", text("h"));
    batch_add(&m, 1007, text(NULL), text(""), NULL, text(NULL));
    batch_add(&m, 990, text("key"), text(NULL), "Header", text(NULL));
    batch_end(&m, 5, 1, 40);
}

static void a_batch_comes_back_as_it_was_made(void)
{
    struct buf out;
    buf_init(&out, 100000);
    buf_put(&out, "xyz", 3); /* batches may stand anywhere in a buffer */
    make(&out);
    CU_ASSERT_FALSE_FATAL(out.bad);
    batch_place(out.data + 3, 77, 9);
    struct cursor c = cursor_over(out.data + 3, out.len - 3);
    struct batch_info info;
    const uint8_t *batch;
    CU_ASSERT_EQUAL_FATAL(batch_next(&c, &info, &batch), KQ_OK);
    CU_ASSERT_EQUAL(cursor_left(&c), 0);
    CU_ASSERT_EQUAL(info.base_off, 77);
    CU_ASSERT_EQUAL(info.leader_epoch, 9);
    CU_ASSERT_EQUAL(info.record_count, 3);
    CU_ASSERT_EQUAL(info.last_offset_delta, 2);
    CU_ASSERT_EQUAL(info.base_time_ms, 1000);
    CU_ASSERT_EQUAL(info.max_time_ms, 1007);
    CU_ASSERT_EQUAL(info.producer_id, 5);
    CU_ASSERT_EQUAL(info.producer_epoch, 1);
    CU_ASSERT_EQUAL(info.base_sequence, 40);
    CU_ASSERT_TRUE(batch_crc_ok(batch, &info));

    struct record_walk w;
    struct record r;
    struct slice name;
    struct slice value;
    record_walk_init(&w, batch, &info);
    CU_ASSERT_EQUAL(record_walk_next(&w, &r), KQ_OK);
    CU_ASSERT_EQUAL(r.off, 77);
    CU_ASSERT_TRUE(same(r.key, "k"));
    CU_ASSERT_TRUE(same(r.value, "hello"));
    CU_ASSERT_TRUE(record_header(&r, &name, &value));
    CU_ASSERT_TRUE(same(name, "Header"));
    CU_ASSERT_TRUE(same(value, "h"));
    CU_ASSERT_FALSE(record_header(&r, &name, &value));
    CU_ASSERT_EQUAL(record_walk_next(&w, &r), KQ_OK);
    CU_ASSERT_TRUE(slice_is_absent(r.key));
    CU_ASSERT_TRUE(!slice_is_absent(r.value) && r.value.len == 0);
    CU_ASSERT_EQUAL(r.time_ms, 1007);
    CU_ASSERT_FALSE(record_header(&r, &name, &value));
    CU_ASSERT_EQUAL(record_walk_next(&w, &r), KQ_OK);
    CU_ASSERT_EQUAL(r.off, 79);
    CU_ASSERT_EQUAL(r.time_ms, 990);
    CU_ASSERT_TRUE(slice_is_absent(r.value));
    CU_ASSERT_TRUE(record_header(&r, &name, &value));
    CU_ASSERT_TRUE(slice_is_absent(value));
    CU_ASSERT_EQUAL(record_walk_next(&w, &r), KQ_EOF);
    buf_fini(&out);
}

/* Made by Kafka's own definition, field by field, so that both ends of our code
 * cannot be wrong in the same way. */
static void the_bytes_are_kafkas(void)
{
    static const uint8_t expected[] = {
        0,   0,   0,   0,   0,   0,   0,   0,                                 /* base offset */
        0,   0,   0,   58,                                                    /* length */
        0,   0,   0,   0,                                                     /* leader epoch */
        2,   0,   0,   0,   0,   0,   0,                                      /* magic, crc, attributes */
        0,   0,   0,   0,                                                     /* last offset delta */
        0,   0,   0,   0,   0,   0,   3,   232, 0,   0,   0, 0, 0, 0, 3, 232, /* times: 1000 */
        255, 255, 255, 255, 255, 255, 255, 255, 255, 255,                     /* no producer */
        255, 255, 255, 255, 0,   0,   0,   1,                                 /* no sequence, one record */
        16,  0,   0,   0,   1,   4,   'h', 'i', 0, /* length 8, attributes, deltas, null key, "hi", no headers */
    };
    struct buf out;
    buf_init(&out, 1000);
    struct batch_maker m;
    batch_begin(&m, &out, 1000);
    batch_add(&m, 1000, text(NULL), text("hi"), NULL, text(NULL));
    batch_end(&m, -1, -1, -1);
    CU_ASSERT_EQUAL_FATAL(out.len, sizeof expected);
    CU_ASSERT_EQUAL(get_be32(out.data + 17), crc32c(0, expected + 21, sizeof expected - 21));
    put_be32(out.data + 17, 0);
    CU_ASSERT_EQUAL(memcmp(out.data, expected, sizeof expected), 0);
    buf_fini(&out);
}

static void placing_does_not_touch_the_checksum(void)
{
    struct buf out;
    buf_init(&out, 1000);
    make(&out);
    batch_place(out.data, 123456789, 42);
    struct cursor c = cursor_over(out.data, out.len);
    struct batch_info info;
    const uint8_t *batch;
    CU_ASSERT_EQUAL_FATAL(batch_next(&c, &info, &batch), KQ_OK);
    CU_ASSERT_TRUE(batch_crc_ok(batch, &info));
    out.data[out.len - 1] ^= 1;
    CU_ASSERT_FALSE(batch_crc_ok(batch, &info));
    buf_fini(&out);
}

/* Each byte broken in turn, each length cut: an error or a walk that ends, never
 * a read outside (the sanitizer watches a block of just the right size). */
static void broken_bytes_never_lead_outside(void)
{
    struct buf out;
    buf_init(&out, 1000);
    make(&out);
    for (size_t len = 0; len <= out.len; len++) {
        for (size_t at = 0; at < len; at++) {
            uint8_t *copy = malloc(len);
            memcpy(copy, out.data, len);
            copy[at] ^= (uint8_t)(0x80 | at);
            struct cursor c = cursor_over(copy, len);
            struct batch_info info;
            const uint8_t *batch;
            if (batch_next(&c, &info, &batch) == KQ_OK) {
                (void)batch_crc_ok(batch, &info);
                struct record_walk w;
                struct record r;
                struct slice name;
                struct slice value;
                record_walk_init(&w, batch, &info);
                int steps = 0;
                while (record_walk_next(&w, &r) == KQ_OK && steps++ < 1000)
                    while (record_header(&r, &name, &value))
                        ;
                CU_ASSERT_TRUE(steps < 1000);
            }
            free(copy);
        }
    }
    struct cursor c = cursor_over(out.data, out.len - 1);
    struct batch_info info;
    const uint8_t *batch;
    CU_ASSERT_EQUAL(batch_next(&c, &info, &batch), KQ_INVALID_RECORD);
    buf_fini(&out);
}

static void a_full_buffer_is_remembered(void)
{
    struct buf out;
    buf_init(&out, 70);
    make(&out);
    CU_ASSERT_TRUE(out.bad);
    buf_fini(&out);
}

static void more_records_than_bytes_is_refused(void)
{
    struct buf out;
    buf_init(&out, 1000);
    make(&out);
    put_be32(out.data + 57, 1000000);
    put_be32(out.data + 23, 999999);
    struct cursor c = cursor_over(out.data, out.len);
    struct batch_info info;
    const uint8_t *batch;
    CU_ASSERT_EQUAL(batch_next(&c, &info, &batch), KQ_INVALID_RECORD);
    buf_fini(&out);
}

static const struct unit_case cases[] = {
    {"a batch comes back as it was made", a_batch_comes_back_as_it_was_made},
    {"the bytes are Kafka's", the_bytes_are_kafkas},
    {"placing does not touch the checksum", placing_does_not_touch_the_checksum},
    {"broken bytes never lead outside", broken_bytes_never_lead_outside},
    {"a full buffer is remembered", a_full_buffer_is_remembered},
    {"more records than bytes is refused", more_records_than_bytes_is_refused},
};
UNIT_MAIN("batch", cases)
