/* Questions on their way, and how long to wait: the small step-shaped pieces of the links. */
#include "cluster/link_asks.h"
#include "cluster/link_rate.h"
#include "support/unit.h"

static void a_question_is_in_one_place(void)
{
    static struct link_asks asks;
    link_asks_init(&asks);
    struct ask a = {.deadline_us = 100};
    struct ask b = {.deadline_us = 200};
    struct ask c = {.deadline_us = 300};
    CU_ASSERT_TRUE(link_asks_add(&asks, &a));
    CU_ASSERT_TRUE(link_asks_add(&asks, &b));
    CU_ASSERT_TRUE(link_asks_add(&asks, &c));
    CU_ASSERT_PTR_EQUAL(link_asks_take(&asks), &a);
    CU_ASSERT_PTR_EQUAL(link_asks_take(&asks), &b);
    CU_ASSERT_FALSE(link_asks_written(&asks, &b, true));
    /* a is late while it is being written: not before that ends */
    CU_ASSERT_PTR_NULL(link_asks_expire(&asks, 150));
    CU_ASSERT_PTR_NULL(link_asks_find(&asks, a.number));
    CU_ASSERT_TRUE(link_asks_written(&asks, &a, true));
    CU_ASSERT_EQUAL(a.fault.err, KQ_TIMEOUT);
    CU_ASSERT_TRUE(a.maybe_delivered);
    CU_ASSERT_PTR_EQUAL(link_asks_find(&asks, b.number), &b);
    struct ask *late = link_asks_expire(&asks, 300);
    CU_ASSERT_TRUE((late == &b && b.next == &c) || (late == &c && c.next == &b));
    CU_ASSERT_TRUE(b.maybe_delivered);
    CU_ASSERT_FALSE(c.maybe_delivered); /* it was never written */
    CU_ASSERT_EQUAL(asks.count, 0);
    CU_ASSERT_TRUE(link_asks_add(&asks, &c));
    CU_ASSERT_PTR_EQUAL(link_asks_take(&asks), &c);
    CU_ASSERT_PTR_EQUAL(link_asks_find(&asks, c.number), &c);
    CU_ASSERT_FALSE(link_asks_answered(&asks, &c)); /* the answer was faster than the write's return */
    CU_ASSERT_PTR_NULL(link_asks_fail(&asks, true, KQ_STOPPING, "stop"));
    CU_ASSERT_TRUE(link_asks_written(&asks, &c, false));
    CU_ASSERT_EQUAL(asks.count, 0);
}

static void backoff_grows_to_its_most_and_is_spread(void)
{
    struct link_backoff backoff = {0};
    int64_t most_us = 0;
    for (int i = 0; i < 20; i++) {
        int64_t limit_us = i < 7 ? (int64_t)LINK_BACKOFF_MIN_US << i : LINK_BACKOFF_MAX_US;
        int64_t wait_us = link_backoff_us(&backoff, (uint64_t)i * 7919 * 104729);
        CU_ASSERT_TRUE(wait_us > limit_us / 2 && wait_us <= limit_us);
        most_us = wait_us > most_us ? wait_us : most_us;
    }
    CU_ASSERT_TRUE(most_us <= LINK_BACKOFF_MAX_US);
}

static void catch_up_stays_below_its_rate(void)
{
    struct link_bucket bucket = {0};
    int64_t at_us = 1000 * 1000;
    int64_t taken = 0;
    enum { RATE = 10 * 1000 * 1000 };
    for (int64_t until_us = at_us + 10 * 1000 * 1000; at_us < until_us;) {
        int64_t wait_us = link_bucket_take(&bucket, RATE, 700 * 1000, at_us);
        if (wait_us == 0)
            taken += 700 * 1000;
        at_us += wait_us > 0 ? wait_us : 10;
    }
    CU_ASSERT_TRUE(taken > 98 * 1000 * 1000 && taken < 103 * 1000 * 1000);
}

enum { MB = 1000 * 1000, BOUND = 32 * MB, PACKET = MB, SECONDS = 10 };

/* How much of what a publisher adds each second a follower lacks after some seconds of catching up. */
static int64_t gap_after(int64_t published_bytes, int64_t gap_bytes, struct link_bucket *bucket, int64_t *sent_bytes)
{
    struct link_growth growth = {0};
    struct link_meter meter = {0};
    int64_t from_us = 1000 * 1000;
    int64_t at_us = from_us;
    for (; at_us < from_us + 4 * MB; at_us += 1000) /* it publishes for a while before */
        (void)link_meter_look(&meter, (uint64_t)(published_bytes * at_us / MB), at_us);
    from_us = at_us;
    *sent_bytes = 0;
    while (at_us < from_us + (int64_t)SECONDS * MB) {
        int64_t rate = link_meter_look(&meter, (uint64_t)(published_bytes * at_us / MB), at_us);
        int64_t wait_us = link_growth_take(&growth, rate, bucket, BOUND, PACKET, at_us);
        if (wait_us == 0)
            *sent_bytes += PACKET;
        CU_ASSERT_FATAL(wait_us >= 0 && wait_us <= LINK_BURST_US);
        at_us += wait_us > 0 ? wait_us : 200; /* to write it */
    }
    return gap_bytes + published_bytes * (at_us - from_us) / MB - *sent_bytes;
}

static void a_gap_is_closed_at_the_rate_however_fast_others_publish(void)
{
    static const int64_t published[] = {0, 300 * 1000, 10 * MB, 150 * MB, 600 * MB};
    for (size_t i = 0; i < sizeof published / sizeof published[0]; i++) {
        struct link_bucket bucket = {0};
        int64_t sent;
        int64_t closed = 1000 * (int64_t)MB - gap_after(published[i], 1000 * (int64_t)MB, &bucket, &sent);
        CU_ASSERT_TRUE(closed > SECONDS * (int64_t)BOUND * 9 / 10);
        CU_ASSERT_TRUE(closed < SECONDS * (int64_t)BOUND * 11 / 10 + published[i] / 2);
    }
}

static void a_rate_is_known_after_a_moment_and_forgotten(void)
{
    struct link_meter meter = {0};
    int64_t at_us = 1;
    uint64_t count = 0;
    for (int i = 0; i < 30; i++)
        (void)link_meter_look(&meter, count += 20 * MB, at_us += LINK_METER_US);
    CU_ASSERT_TRUE(meter.rate_bytes > 95 * MB && meter.rate_bytes <= 100 * MB);
    int64_t rate = link_meter_look(&meter, count + MB, at_us + 10); /* too soon to say */
    CU_ASSERT_EQUAL(rate, meter.rate_bytes);
    for (int i = 0; i < 30; i++)
        (void)link_meter_look(&meter, count, at_us += LINK_METER_US);
    CU_ASSERT_TRUE(meter.rate_bytes < MB);
}

static const struct unit_case cases[] = {
    {"a question is in one place", a_question_is_in_one_place},
    {"backoff grows to its most and is spread", backoff_grows_to_its_most_and_is_spread},
    {"catch-up stays below its rate", catch_up_stays_below_its_rate},
    {"a gap is closed at the rate however fast others publish",
     a_gap_is_closed_at_the_rate_however_fast_others_publish},
    {"a rate is known after a moment and forgotten", a_rate_is_known_after_a_moment_and_forgotten},
};
UNIT_MAIN("link asks and rates", cases)
