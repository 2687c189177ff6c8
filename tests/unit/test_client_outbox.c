/*
 * Exactly-once publishing against a model of a broker that loses connections,
 * answers that the outcome is unknown (having stored the message or not), and has
 * no leader for a while. Every message must be stored once, in order, in its
 * partition.
 */
#include "client/outbox.h"

#include "support/unit.h"

#include <stdio.h>

enum { PARTITIONS = 3, MESSAGES = 200, STORED_MAX = 400, QUEUE_MAX = 64 };

/* ---- the model ------------------------------------------------------------------- */

struct model_partition {
    uint64_t stored[STORED_MAX]; /* the messages' numbers */
    size_t count;
    int32_t next_sequence;
};

static struct model_partition model[PARTITIONS];
static enum outbox_verdict replies[QUEUE_MAX]; /* on the wire, in order */
static size_t reply_count;
static unsigned chance; /* one publish in so many fails */

static bool roll(void)
{
    return (unsigned)rand() % chance == 0;
}

static void store(struct model_partition *p, uint64_t number)
{
    CU_ASSERT_TRUE_FATAL(p->count < STORED_MAX);
    p->stored[p->count++] = number;
    p->next_sequence++;
}

/* What the broker does with a publish. */
static enum outbox_verdict serve(const struct outbox_item *item)
{
    struct model_partition *p = &model[item->partition];
    if (item->sequence < p->next_sequence) {
        /* A broker knows the last five of a producer and partition. */
        CU_ASSERT_TRUE_FATAL(item->sequence >= p->next_sequence - OUTBOX_WINDOW);
        return roll() ? OUTBOX_RETRY : OUTBOX_ACKNOWLEDGED;
    }
    if (item->sequence > p->next_sequence)
        return OUTBOX_REFUSE; /* a gap */
    if (roll()) {
        if (rand() % 2 == 0)
            store(p, item->number); /* the outcome is unknown, and it was stored */
        return OUTBOX_UNKNOWN;
    }
    store(p, item->number);
    return OUTBOX_ACKNOWLEDGED;
}

static void send_some(struct outbox *box)
{
    for (int most = rand() % 8; most > 0 && reply_count < QUEUE_MAX; most--) {
        const struct outbox_item *item = outbox_send(box);
        if (item == NULL)
            return;
        char head[64];
        int len = snprintf(head, sizeof(head), "PUBX t %u 7 0 %d {}\n", item->partition, item->sequence);
        CU_ASSERT_EQUAL_FATAL(item->line_bytes, (size_t)len);
        CU_ASSERT_TRUE_FATAL(memcmp(item->line, head, (size_t)len) == 0);
        replies[reply_count++] = serve(item);
        outbox_check(box);
    }
}

static size_t acknowledged;

static void read_some(struct outbox *box)
{
    size_t take = reply_count == 0 ? 0 : (size_t)rand() % (reply_count + 1);
    for (size_t i = 0; i < take; i++) {
        enum outbox_verdict verdict;
        struct outbox_item item;
        CU_ASSERT_TRUE_FATAL(outbox_reply(box, replies[i], &verdict, &item));
        CU_ASSERT_NOT_EQUAL_FATAL(verdict, OUTBOX_REFUSE);
        acknowledged += verdict == OUTBOX_ACKNOWLEDGED;
        outbox_check(box);
    }
    memmove(replies, replies + take, (reply_count - take) * sizeof(replies[0]));
    reply_count -= take;
}

static void run_once(unsigned seed, unsigned one_in)
{
    srand(seed);
    chance = one_in;
    memset(model, 0, sizeof(model));
    reply_count = 0;
    acknowledged = 0;
    struct outbox *box = outbox_new("t", PARTITIONS, 7, 0);
    CU_ASSERT_PTR_NOT_NULL_FATAL(box);
    uint64_t number = 0;
    int steps = 0;
    while (number < MESSAGES || outbox_pending(box) > 0) {
        CU_ASSERT_TRUE_FATAL(steps++ < 200000);
        for (int most = rand() % 6; most > 0 && number < MESSAGES; most--) {
            uint32_t partition = outbox_pick(box);
            if (partition == PARTITIONS)
                break;
            CU_ASSERT_EQUAL_FATAL(outbox_add(box, partition, ++number, 2, (const uint8_t *)"{}", 2), KQ_OK);
            outbox_check(box);
        }
        send_some(box);
        if (rand() % 40 == 0) { /* the connection is lost, and what was under way on it */
            reply_count = 0;
            outbox_disconnected(box);
            outbox_check(box);
        }
        read_some(box);
        if (outbox_failed(box) > 0 && rand() % 3 == 0)
            outbox_recover(box);
        outbox_check(box);
    }
    CU_ASSERT_EQUAL(acknowledged, MESSAGES);
    size_t stored = 0;
    for (int i = 0; i < PARTITIONS; i++) {
        for (size_t k = 1; k < model[i].count; k++)
            CU_ASSERT_TRUE_FATAL(model[i].stored[k] > model[i].stored[k - 1]);
        stored += model[i].count;
    }
    CU_ASSERT_EQUAL(stored, MESSAGES);
    outbox_free(&box);
}

static void every_message_is_stored_once_and_in_order(void)
{
    for (unsigned seed = 1; seed <= 300; seed++)
        run_once(seed, seed % 3 == 0 ? 3 : seed % 3 == 1 ? 10 : 100000);
}

/* ---- rules, one by one --------------------------------------------------------------- */

static void five_of_a_partition_are_under_way(void)
{
    struct outbox *box = outbox_new("t", 2, 1, 0);
    for (uint64_t i = 0; i < OUTBOX_WINDOW; i++)
        CU_ASSERT_EQUAL(outbox_add(box, 0, i, 2, (const uint8_t *)"{}", 2), KQ_OK);
    CU_ASSERT_FALSE(outbox_has_room(box, 0));
    CU_ASSERT_EQUAL(outbox_pick(box), 1);
    enum outbox_verdict verdict;
    CU_ASSERT_FALSE(outbox_reply(box, OUTBOX_ACKNOWLEDGED, &verdict, NULL)); /* nothing was sent */
    CU_ASSERT_EQUAL(outbox_send(box)->sequence, 0);
    CU_ASSERT_EQUAL(outbox_send(box)->sequence, 1);
    CU_ASSERT_TRUE(outbox_reply(box, OUTBOX_UNKNOWN, &verdict, NULL));
    CU_ASSERT_TRUE(outbox_reply(box, OUTBOX_ACKNOWLEDGED, &verdict, NULL));
    CU_ASSERT_EQUAL(outbox_uncertain(box), 1);
    CU_ASSERT_FALSE(outbox_has_room(box, 0)); /* the oldest is still open */
    CU_ASSERT_PTR_NULL(outbox_send(box));     /* and nothing passes it */
    outbox_recover(box);
    CU_ASSERT_EQUAL(outbox_send(box)->sequence, 0);
    CU_ASSERT_TRUE(outbox_reply(box, OUTBOX_ACKNOWLEDGED, &verdict, NULL));
    CU_ASSERT_TRUE(outbox_has_room(box, 0));
    outbox_free(&box);
}

static void a_gap_behind_a_failure_is_a_retry(void)
{
    struct outbox *box = outbox_new("t", 1, 1, 0);
    enum outbox_verdict verdict;
    struct outbox_item item;
    for (uint64_t i = 1; i <= 2; i++)
        CU_ASSERT_EQUAL(outbox_add(box, 0, i, 2, (const uint8_t *)"{}", 2), KQ_OK);
    (void)outbox_send(box);
    (void)outbox_send(box);
    CU_ASSERT_TRUE(outbox_reply(box, OUTBOX_RETRY, &verdict, &item));
    CU_ASSERT_EQUAL(verdict, OUTBOX_RETRY);
    CU_ASSERT_TRUE(outbox_reply(box, OUTBOX_REFUSE, &verdict, &item));
    CU_ASSERT_EQUAL(verdict, OUTBOX_RETRY);
    CU_ASSERT_EQUAL(item.number, 2);
    CU_ASSERT_EQUAL(outbox_failed(box), 2);
    CU_ASSERT_EQUAL(outbox_uncertain(box), 0);
    outbox_recover(box);
    CU_ASSERT_EQUAL(outbox_send(box)->sequence, 0);
    CU_ASSERT_TRUE(outbox_reply(box, OUTBOX_REFUSE, &verdict, &item)); /* now it is about the message */
    CU_ASSERT_EQUAL(verdict, OUTBOX_REFUSE);
    CU_ASSERT_EQUAL(item.number, 1);
    outbox_free(&box);
}

static void what_failed_waits_for_what_is_under_way(void)
{
    struct outbox *box = outbox_new("t", 1, 1, 0);
    enum outbox_verdict verdict;
    for (uint64_t i = 1; i <= 2; i++) {
        CU_ASSERT_EQUAL(outbox_add(box, 0, i, 2, (const uint8_t *)"{}", 2), KQ_OK);
        (void)outbox_send(box);
    }
    CU_ASSERT_TRUE(outbox_reply(box, OUTBOX_RETRY, &verdict, NULL));
    outbox_recover(box); /* too early: the second is not answered */
    CU_ASSERT_EQUAL(outbox_failed(box), 1);
    CU_ASSERT_PTR_NULL(outbox_send(box));
    CU_ASSERT_TRUE(outbox_reply(box, OUTBOX_REFUSE, &verdict, NULL));
    outbox_recover(box);
    CU_ASSERT_EQUAL(outbox_failed(box), 0);
    CU_ASSERT_EQUAL(outbox_send(box)->sequence, 0);
    CU_ASSERT_EQUAL(outbox_send(box)->sequence, 1);
    outbox_free(&box);
}

static const struct unit_case cases[] = {
    {"every message is stored once and in order", every_message_is_stored_once_and_in_order},
    {"five of a partition are under way", five_of_a_partition_are_under_way},
    {"what failed waits for what is under way", what_failed_waits_for_what_is_under_way},
    {"a gap behind a failure is a retry", a_gap_behind_a_failure_is_a_retry},
};
UNIT_MAIN("client outbox", cases)
