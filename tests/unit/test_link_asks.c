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

static const struct unit_case cases[] = {
    {"a question is in one place", a_question_is_in_one_place},
    {"backoff grows to its most and is spread", backoff_grows_to_its_most_and_is_spread},
    {"catch-up stays below its rate", catch_up_stays_below_its_rate},
};
UNIT_MAIN("link asks and rates", cases)
