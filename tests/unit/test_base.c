#include "base/bytes.h"
#include "base/crc32c.h"
#include "base/err.h"
#include "base/map.h"
#include "base/threads.h"
#include "base/uuid.h"
#include "support/unit.h"

#include <errno.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

static void crc32c_agrees_with_the_published_value(void)
{
    CU_ASSERT_EQUAL(crc32c(0, "123456789", 9), 0xe3069283u);
}

/* Long pieces are read in lanes side by side, which begin and end anywhere. */
static void crc32c_of_a_long_piece_is_that_of_its_bytes(void)
{
    enum { BYTES = 40000, STEP = 1237 };
    static uint8_t data[BYTES];
    for (size_t i = 0; i < BYTES; i++)
        data[i] = (uint8_t)(i * i >> 3 ^ i);
    uint32_t crc = 99;
    for (size_t n = 0; n < BYTES; n++) {
        if (n % STEP == 0)
            CU_ASSERT_EQUAL(crc32c(99, data, n), crc);
        crc = crc32c(crc, data + n, 1);
    }
    CU_ASSERT_EQUAL(crc32c(99, data, BYTES), crc);
}

static void crc32c_combines_to_the_checksum_of_the_whole(void)
{
    uint8_t data[1000];
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)(i * 7 + 3);
    uint32_t whole = crc32c(77, data, sizeof data);
    for (size_t cut = 0; cut <= sizeof data; cut += 37) {
        uint32_t a = crc32c(77, data, cut);
        uint32_t b = crc32c(0, data + cut, sizeof data - cut);
        CU_ASSERT_EQUAL(crc32c_combine(a, b, sizeof data - cut), whole);
    }
}

static void varints_come_back_as_they_went_and_know_their_size(void)
{
    static const int64_t values[] = {0, -1, 1, 63, 64, -64, -65, 300, INT32_MAX, INT32_MIN, INT64_MAX, INT64_MIN};
    struct buf b;
    buf_init(&b, 1000);
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        buf_reset(&b);
        buf_varint(&b, values[i]);
        CU_ASSERT_EQUAL(b.len, varint_size(values[i]));
        struct cursor c = cursor_over(b.data, b.len);
        CU_ASSERT_EQUAL(cursor_varint(&c), values[i]);
        CU_ASSERT_FALSE(c.bad);
        CU_ASSERT_EQUAL(cursor_left(&c), 0);
    }
    buf_fini(&b);
}

static void a_cursor_past_the_end_stays_bad(void)
{
    struct cursor c = cursor_over("\x01\x02", 2);
    CU_ASSERT_EQUAL(cursor_be32(&c), 0);
    CU_ASSERT_TRUE(c.bad);
    CU_ASSERT_EQUAL(cursor_u8(&c), 0);
    CU_ASSERT_TRUE(c.bad);
}

static void an_endless_varint_is_bad(void)
{
    static const uint8_t endless[] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    struct cursor c = cursor_over(endless, sizeof endless);
    (void)cursor_varint(&c);
    CU_ASSERT_TRUE(c.bad);
    c = cursor_over(endless, sizeof endless);
    (void)cursor_uvarint(&c);
    CU_ASSERT_TRUE(c.bad);
}

static void a_buffer_stops_at_its_limit(void)
{
    struct buf b;
    buf_init(&b, 10);
    buf_put(&b, "0123456789", 10);
    CU_ASSERT_FALSE(b.bad);
    buf_u8(&b, 1);
    CU_ASSERT_TRUE(b.bad);
    CU_ASSERT_EQUAL(b.len, 10);
    buf_fini(&b);
}

static void a_map_keeps_replaces_and_forgets(void)
{
    struct map m;
    map_init(&m);
    static int values[1000];
    char key[16];
    for (int i = 0; i < 1000; i++) {
        int n = snprintf(key, sizeof key, "key%d", i);
        CU_ASSERT_TRUE(map_put(&m, key, (size_t)n, &values[i], NULL));
    }
    CU_ASSERT_EQUAL(m.count, 1000);
    CU_ASSERT_PTR_EQUAL(map_get(&m, "key500", 6), &values[500]);
    void *old;
    CU_ASSERT_TRUE(map_put(&m, "key500", 6, &values[1], &old));
    CU_ASSERT_PTR_EQUAL(old, &values[500]);
    CU_ASSERT_PTR_EQUAL(map_remove(&m, "key500", 6), &values[1]);
    CU_ASSERT_PTR_NULL(map_get(&m, "key500", 6));
    size_t seen = 0;
    struct map_walk w;
    for (map_walk_init(&w, &m); map_walk_next(&w);)
        seen++;
    CU_ASSERT_EQUAL(seen, 999);
    map_fini(&m);
}

static void ids_print_and_parse(void)
{
    struct uuid id = uuid_random();
    struct uuid again;
    char text[UUID_TEXT_BYTES];
    CU_ASSERT_TRUE(uuid_parse(uuid_format(&id, text), &again));
    CU_ASSERT_TRUE(uuid_equal(&id, &again));
    text[3] = 'g';
    CU_ASSERT_FALSE(uuid_parse(text, &again));
}

static void errors_have_names_texts_and_codes(void)
{
    CU_ASSERT_STRING_EQUAL(err_name(KQ_NO_SPACE), "KQ_NO_SPACE");
    CU_ASSERT_STRING_EQUAL(err_text(KQ_NO_SPACE), "disk full");
    CU_ASSERT_EQUAL(err_kafka_code(KQ_UNKNOWN_TOPIC), 3);
    CU_ASSERT_EQUAL(err_from_errno(ENOSPC), KQ_NO_SPACE);
    CU_ASSERT_EQUAL(err_from_errno(EIO), KQ_IO);
}

/* As the system tells it: nice at byte 16, the slice at 24. */
static int64_t slice_ns(int32_t *nice)
{
    uint8_t attributes[48] = {0};
    uint64_t slice;
    CU_ASSERT_EQUAL_FATAL(syscall(SYS_sched_getattr, 0, attributes, (unsigned)sizeof attributes, 0), 0);
    memcpy(nice, attributes + 16, sizeof *nice);
    memcpy(&slice, attributes + 24, sizeof slice);
    return (int64_t)slice;
}

static void *note_slice(void *argument)
{
    int32_t nice;
    *(int64_t *)argument = slice_ns(&nice);
    return NULL;
}

static void a_prompt_thread_has_short_slices_and_so_has_whom_it_starts(void)
{
    int32_t nice_before, nice_after;
    int64_t before = slice_ns(&nice_before), inherited = 0;
    pthread_t thread;
    struct fault fault;
    thread_be_prompt();
    int64_t prompt = slice_ns(&nice_after);
    CU_ASSERT_EQUAL(nice_after, nice_before);
    CU_ASSERT_EQUAL_FATAL(thread_start(&thread, "heir", 0, note_slice, &inherited, &fault), KQ_OK);
    (void)pthread_join(thread, NULL);
    CU_ASSERT_EQUAL(inherited, prompt);
    if (before != 0) /* a system that has slices of one's own */
        CU_ASSERT_TRUE(prompt < before);
    thread_be_patient();
    CU_ASSERT_EQUAL(slice_ns(&nice_after), before);
}

static const struct unit_case cases[] = {
    {"crc32c agrees with the published value", crc32c_agrees_with_the_published_value},
    {"crc32c of a long piece is that of its bytes", crc32c_of_a_long_piece_is_that_of_its_bytes},
    {"crc32c combines to the checksum of the whole", crc32c_combines_to_the_checksum_of_the_whole},
    {"varints come back as they went and know their size", varints_come_back_as_they_went_and_know_their_size},
    {"a cursor past the end stays bad", a_cursor_past_the_end_stays_bad},
    {"an endless varint is bad", an_endless_varint_is_bad},
    {"a buffer stops at its limit", a_buffer_stops_at_its_limit},
    {"a map keeps, replaces and forgets", a_map_keeps_replaces_and_forgets},
    {"ids print and parse", ids_print_and_parse},
    {"a prompt thread has short slices, and so has whom it starts",
     a_prompt_thread_has_short_slices_and_so_has_whom_it_starts},
    {"errors have names, texts and codes", errors_have_names_texts_and_codes},
};
UNIT_MAIN("base", cases)
