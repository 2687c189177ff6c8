#include "partition/producers.h"
#include "support/unit.h"

static struct batch_info batch_of(int64_t id, int16_t epoch, int32_t sequence, int32_t count)
{
    return (struct batch_info){
        .producer_id = id, .producer_epoch = epoch, .base_sequence = sequence, .record_count = count};
}

static enum producers_verdict judge(const struct producers *p, int64_t id, int16_t epoch, int32_t sequence,
                                    int32_t count, int64_t *base_off)
{
    struct batch_info batch = batch_of(id, epoch, sequence, count);
    uint64_t idx;
    return producers_judge(p, &batch, base_off, &idx);
}

static void note(struct producers *p, int64_t id, int16_t epoch, int32_t sequence, int32_t count, int64_t base_off)
{
    struct batch_info batch = batch_of(id, epoch, sequence, count);
    CU_ASSERT_EQUAL(producers_note(p, &batch, base_off, (uint64_t)base_off + 1, 1000), KQ_OK);
}

static void a_duplicate_is_told_the_offset_of_its_original(void)
{
    struct producers p;
    int64_t off = -1;
    producers_init(&p);
    note(&p, 7, 0, 0, 1, 100);
    note(&p, 7, 0, 1, 3, 101);
    CU_ASSERT_EQUAL(judge(&p, 7, 0, 0, 1, &off), PRODUCERS_DUPLICATE);
    CU_ASSERT_EQUAL(off, 100);
    CU_ASSERT_EQUAL(judge(&p, 7, 0, 1, 3, &off), PRODUCERS_DUPLICATE);
    CU_ASSERT_EQUAL(off, 101);
    CU_ASSERT_EQUAL(judge(&p, 7, 0, 4, 1, &off), PRODUCERS_NEXT);
    CU_ASSERT_EQUAL(judge(&p, 7, 0, 5, 1, &off), PRODUCERS_GAP);
    CU_ASSERT_EQUAL(judge(&p, 7, 0, 1, 2, &off), PRODUCERS_GAP);
    producers_fini(&p);
}

static void only_the_last_five_are_remembered(void)
{
    struct producers p;
    int64_t off = -1;
    producers_init(&p);
    for (int i = 0; i < 6; i++)
        note(&p, 7, 0, i, 1, 100 + i);
    CU_ASSERT_EQUAL(judge(&p, 7, 0, 0, 1, &off), PRODUCERS_GAP);
    CU_ASSERT_EQUAL(judge(&p, 7, 0, 1, 1, &off), PRODUCERS_DUPLICATE);
    CU_ASSERT_EQUAL(off, 101);
    producers_fini(&p);
}

static void a_new_epoch_starts_at_zero_and_fences_the_old(void)
{
    struct producers p;
    int64_t off = -1;
    producers_init(&p);
    note(&p, 7, 3, 0, 1, 100);
    CU_ASSERT_EQUAL(judge(&p, 7, 2, 1, 1, &off), PRODUCERS_FENCED);
    CU_ASSERT_EQUAL(judge(&p, 7, 4, 1, 1, &off), PRODUCERS_GAP);
    CU_ASSERT_EQUAL(judge(&p, 7, 4, 0, 1, &off), PRODUCERS_NEXT);
    note(&p, 7, 4, 0, 1, 101);
    CU_ASSERT_EQUAL(judge(&p, 7, 3, 1, 1, &off), PRODUCERS_FENCED);
    producers_fini(&p);
}

static void sequences_wrap_to_zero(void)
{
    struct producers p;
    int64_t off = -1;
    producers_init(&p);
    note(&p, 7, 0, INT32_MAX - 1, 2, 100);
    CU_ASSERT_EQUAL(judge(&p, 7, 0, 0, 1, &off), PRODUCERS_NEXT);
    note(&p, 7, 0, INT32_MAX, 2, 102);
    CU_ASSERT_EQUAL(judge(&p, 7, 0, 1, 1, &off), PRODUCERS_NEXT);
    producers_fini(&p);
}

static void an_unknown_producer_may_begin_anywhere(void)
{
    struct producers p;
    int64_t off = -1;
    producers_init(&p);
    CU_ASSERT_EQUAL(judge(&p, 9, 0, 41, 1, &off), PRODUCERS_NEXT);
    producers_fini(&p);
}

static void the_oldest_go_when_there_are_too_many(void)
{
    struct producers p;
    int64_t off = -1;
    producers_init(&p);
    for (int i = 0; i <= PRODUCERS_MAX; i++)
        note(&p, i, 0, 0, 1, i);
    CU_ASSERT_EQUAL(p.by_id.count, PRODUCERS_MAX);
    CU_ASSERT_EQUAL(judge(&p, 0, 0, 5, 1, &off), PRODUCERS_NEXT);
    CU_ASSERT_EQUAL(judge(&p, 1, 0, 0, 1, &off), PRODUCERS_DUPLICATE);
    producers_fini(&p);
}

static void the_state_comes_back_as_it_went_and_damage_is_refused(void)
{
    struct producers p, again;
    struct buf bytes;
    int64_t off = -1;
    producers_init(&p);
    buf_init(&bytes, 1 << 20);
    for (int i = 0; i < 50; i++)
        note(&p, i % 7, 1, i / 7, 1, i);
    producers_encode(&p, UINT64_MAX, &bytes);
    struct cursor in = cursor_over(bytes.data, bytes.len);
    producers_init(&again);
    CU_ASSERT_EQUAL(producers_decode(&again, &in), KQ_OK);
    CU_ASSERT_EQUAL(cursor_left(&in), 0);
    CU_ASSERT_EQUAL(judge(&again, 0, 1, 7, 1, &off), PRODUCERS_DUPLICATE);
    CU_ASSERT_EQUAL(off, 49);
    producers_fini(&again);
    for (size_t cut = 0; cut < bytes.len; cut++) {
        in = cursor_over(bytes.data, cut);
        producers_init(&again);
        CU_ASSERT_NOT_EQUAL(producers_decode(&again, &in), KQ_OK);
        producers_fini(&again);
    }
    buf_fini(&bytes);
    producers_fini(&p);
}

static const struct unit_case cases[] = {
    {"a duplicate is told the offset of its original", a_duplicate_is_told_the_offset_of_its_original},
    {"only the last five are remembered", only_the_last_five_are_remembered},
    {"a new epoch starts at zero and fences the old", a_new_epoch_starts_at_zero_and_fences_the_old},
    {"sequences wrap to zero", sequences_wrap_to_zero},
    {"an unknown producer may begin anywhere", an_unknown_producer_may_begin_anywhere},
    {"the oldest go when there are too many", the_oldest_go_when_there_are_too_many},
    {"the state comes back as it went, and damage is refused", the_state_comes_back_as_it_went_and_damage_is_refused},
};
UNIT_MAIN("producers", cases)
