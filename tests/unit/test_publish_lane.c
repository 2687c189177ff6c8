/*
 * The lane of publishes against a model: brokers that lead in turn, links that lose
 * what is on them, answers that get lost. The log of the model is the judge: what was
 * acknowledged is in it once and in order, what was called failed is not.
 */
#include "api/publish_lane.h"
#include "base/require.h"
#include "support/unit.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t random_state;

static uint32_t roll(uint32_t sides)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (uint32_t)(random_state >> 20) % sides;
}

/* ---- the model ------------------------------------------------------------------------------ */

enum { ITEMS = 60, WIRE = 256, BROKERS = 3 };

enum fate { FATE_OPEN, FATE_OK, FATE_FAILED, FATE_UNKNOWN };

struct publish {
    struct lane_item item;
    uint32_t number;
    enum fate fate;
    enum lane_outcome answered; /* of the last answer */
    uint32_t copies;            /* on the way, or at a broker */
};

struct wire {
    struct publish *publish;
    uint64_t in_term;
    int64_t due_us;
    bool appended;  /* waits for its commit */
    uint64_t term;  /* in which it was appended */
    bool abandoned; /* the sender has its answer: the link was lost */
};

static struct {
    struct publish publishes[ITEMS];
    uint32_t added;
    struct lane lane;
    bool has_lane;
    int64_t now_us;
    int64_t wait_us;
    uint32_t leader; /* 0: none */
    uint64_t term;
    struct wire wires[BROKERS + 1][WIRE]; /* FIFO each */
    uint32_t wire_count[BROKERS + 1];
    uint32_t log[4 * ITEMS];
    bool log_committed[4 * ITEMS];
    uint32_t log_count;
} w;

static bool in_log(uint32_t number)
{
    for (uint32_t i = 0; i < w.log_count; i++)
        if (w.log[i] == number)
            return true;
    return false;
}

static void wire_put(uint32_t broker, struct publish *p, uint64_t in_term)
{
    REQUIRE(broker >= 1 && broker <= BROKERS && w.wire_count[broker] < WIRE);
    struct wire *at = &w.wires[broker][w.wire_count[broker]++];
    *at = (struct wire){.publish = p, .in_term = in_term, .due_us = w.now_us + 100 + roll(2000)};
    p->copies++;
}

static void take(struct lane_out *out)
{
    for (struct lane_item *item = out->decided; item != NULL; item = item->out_next) {
        struct publish *p = CONTAINER_OF(item, struct publish, item);
        REQUIRE(p->fate == FATE_OPEN);
        if (item->verdict != LANE_AS_ANSWERED)
            p->fate = item->maybe ? FATE_UNKNOWN : FATE_FAILED;
        else if (p->answered == LANE_TAKEN)
            p->fate = FATE_OK;
        else
            p->fate = p->answered == LANE_UNKNOWN || item->maybe ? FATE_UNKNOWN : FATE_FAILED;
    }
    for (struct lane_item *item = out->send, *next; item != NULL; item = next) {
        next = item->out_next;
        wire_put(out->broker_id, CONTAINER_OF(item, struct publish, item), out->term);
    }
    lane_check(&w.lane);
}

static void turn(void)
{
    struct lane_out out;
    lane_out_init(&out);
    lane_turn(&w.lane, w.leader == 0 ? LANE_NOBODY : LANE_TO, w.leader, w.term, w.now_us, &out);
    take(&out);
    w.wait_us = out.wait_us;
}

static void answer(struct publish *p, enum lane_outcome outcome, uint64_t term)
{
    struct lane_out out;
    lane_out_init(&out);
    p->answered = outcome;
    lane_answer(&w.lane, &p->item, outcome, term, w.now_us, &out);
    take(&out);
    if (lane_is_ready(&w.lane))
        turn();
}

static void wire_drop(uint32_t broker, uint32_t at)
{
    w.wires[broker][at].publish->copies--;
    w.wire_count[broker]--;
    memmove(&w.wires[broker][at], &w.wires[broker][at + 1], (w.wire_count[broker] - at) * sizeof(struct wire));
}

static void answer_wire(uint32_t broker, uint32_t at, enum lane_outcome outcome)
{
    struct wire wire = w.wires[broker][at];
    wire_drop(broker, at);
    if (!wire.abandoned)
        answer(wire.publish, outcome, wire.term);
}

static bool next_in_sequence(const struct publish *p)
{
    for (uint32_t i = 0; i < p->number; i++)
        if (w.publishes[i].item.producer && w.publishes[i].fate != FATE_FAILED && !in_log(i))
            return false;
    return true;
}

/* The first at a broker arrives, or the first appended one is committed. */
static void broker_step(uint32_t broker)
{
    for (uint32_t i = 0; i < w.wire_count[broker]; i++) {
        struct wire *wire = &w.wires[broker][i];
        if (wire->due_us > w.now_us)
            return;
        if (wire->appended) {
            for (uint32_t k = 0; k < w.log_count; k++)
                if (w.log[k] == wire->publish->number)
                    w.log_committed[k] = true;
            answer_wire(broker, i, LANE_TAKEN);
            return;
        }
        bool leads = broker == w.leader && (wire->in_term == 0 || wire->in_term == w.term);
        if (!leads) {
            answer_wire(broker, i, LANE_AGAIN);
        } else if (wire->publish->item.producer && in_log(wire->publish->number)) {
            wire->term = w.term;
            wire->appended = true; /* a duplicate waits for its original's commit */
        } else if (wire->publish->item.producer && !next_in_sequence(wire->publish)) {
            answer_wire(broker, i, LANE_GAP);
        } else {
            wire->term = w.term;
            wire->appended = true;
            REQUIRE(!in_log(wire->publish->number));
            w.log[w.log_count] = wire->publish->number;
            w.log_committed[w.log_count++] = false;
            wire->due_us = w.now_us + roll(1000);
        }
        return;
    }
}

/* Another leads, or nobody: what the old one has not committed is kept or cut. */
static void change_leader(void)
{
    uint32_t old = w.leader;
    w.leader = roll(4) == 0 ? 0 : 1 + roll(BROKERS);
    w.term++;
    uint32_t keep = w.log_count;
    while (keep > 0 && !w.log_committed[keep - 1] && roll(2) == 0)
        keep--;
    w.log_count = keep;
    for (uint32_t i = 0; i < keep; i++)
        w.log_committed[i] = true;
    for (uint32_t i = 0; old != 0 && i < w.wire_count[old];) {
        struct wire *wire = &w.wires[old][i];
        if (!wire->appended) {
            i++;
            continue;
        }
        bool producer = wire->publish->item.producer;
        answer_wire(old, i, producer ? LANE_AGAIN_MAYBE : LANE_UNKNOWN);
        i = 0;
    }
}

/* The link to a broker is lost: the sender is answered at once; what was on it may
 * arrive all the same, or not. */
static void lose_link(uint32_t broker)
{
    for (uint32_t i = 0; i < w.wire_count[broker]; i++) {
        struct wire *wire = &w.wires[broker][i];
        if (wire->abandoned)
            continue;
        struct publish *p = wire->publish;
        bool never_left = !wire->appended && roll(3) == 0;
        wire->abandoned = true;
        if (never_left || (!wire->appended && roll(2) == 0))
            wire_drop(broker, i);
        answer(p, never_left ? LANE_AGAIN : p->item.producer ? LANE_AGAIN_MAYBE : LANE_UNKNOWN, 0);
        i = UINT32_MAX; /* from the start: answers may have moved things */
    }
}

static void add(bool producer)
{
    struct publish *p = &w.publishes[w.added];
    *p = (struct publish){.number = w.added};
    p->item.producer = producer;
    p->item.deadline_us = w.now_us + 3 * 1000 * 1000;
    w.added++;
    lane_add(&w.lane, &p->item, false);
    if (lane_is_ready(&w.lane))
        turn();
}

static bool all_decided(void)
{
    for (uint32_t i = 0; i < w.added; i++)
        if (w.publishes[i].fate == FATE_OPEN)
            return false;
    return w.added == ITEMS;
}

static void judge(uint64_t seed, bool producer)
{
    uint32_t place[ITEMS], times[ITEMS] = {0};
    for (uint32_t i = 0; i < w.log_count; i++) {
        times[w.log[i]]++;
        place[w.log[i]] = i;
    }
    uint32_t before = UINT32_MAX;
    for (uint32_t i = 0; i < ITEMS; i++) {
        bool ok = times[i] <= 1;
        if (w.publishes[i].fate == FATE_OK)
            ok = ok && times[i] == 1;
        if (w.publishes[i].fate == FATE_FAILED)
            ok = ok && times[i] == 0;
        if (times[i] == 1) {
            ok = ok && (before == UINT32_MAX || place[i] > before);
            before = place[i];
        }
        if (!ok) {
            printf("seed %llu: message %u, fate %d, is %u times in the log\n", (unsigned long long)seed, i,
                   (int)w.publishes[i].fate, times[i]);
            CU_FAIL("the log and the answers disagree");
            return;
        }
        if (producer)
            CU_ASSERT(w.publishes[i].fate != FATE_OPEN);
    }
}

static void run(uint64_t seed, bool producer, uint32_t trouble)
{
    memset(&w, 0, sizeof(w));
    random_state = seed * 2654435761U + 88172645463325252ULL;
    lane_init(&w.lane);
    w.leader = 1;
    w.term = 1;
    w.wait_us = INT64_MAX;
    for (uint32_t steps = 0; !all_decided(); steps++) {
        REQUIRE(steps < 1000000);
        w.now_us += 100;
        if (w.added < ITEMS && roll(8) == 0)
            add(producer);
        if (steps < 20000 && roll(trouble) == 0)
            change_leader();
        if (steps < 20000 && roll(trouble) == 0)
            lose_link(1 + roll(BROKERS));
        if (w.leader == 0 && roll(200) == 0)
            change_leader();
        for (uint32_t broker = 1; broker <= BROKERS; broker++)
            broker_step(broker);
        if (w.now_us >= w.wait_us)
            turn();
    }
    for (int i = 0; i < 100000; i++) { /* what is still on its way arrives */
        w.now_us += 100;
        for (uint32_t broker = 1; broker <= BROKERS; broker++)
            broker_step(broker);
    }
    judge(seed, producer);
}

/* ---- cases ---------------------------------------------------------------------------------------- */

static void without_trouble_all_is_taken(void)
{
    for (uint64_t seed = 1; seed <= 50; seed++) {
        run(seed, false, 1U << 30);
        for (uint32_t i = 0; i < ITEMS; i++)
            CU_ASSERT_EQUAL(w.publishes[i].fate, FATE_OK);
    }
}

static void nothing_is_doubled_lost_or_out_of_order(void)
{
    for (uint64_t seed = 1; seed <= 2000; seed++)
        run(seed, false, 60 + (uint32_t)(seed % 7) * 60);
}

static void what_carries_a_producer_id_is_exactly_once(void)
{
    uint32_t ok = 0;
    for (uint64_t seed = 1; seed <= 2000; seed++) {
        run(seed, true, 60 + (uint32_t)(seed % 7) * 60);
        for (uint32_t i = 0; i < ITEMS; i++)
            ok += w.publishes[i].fate == FATE_OK;
    }
    CU_ASSERT(ok > 2000 * ITEMS * 9 / 10); /* retried until they were taken */
}

static struct lane_item items[4];
static struct lane lane;
static struct lane_out out;

static void fresh(uint32_t count, bool sent)
{
    memset(items, 0, sizeof(items));
    lane_init(&lane);
    for (uint32_t i = 0; i < count; i++) {
        items[i].deadline_us = 1000000;
        lane_add(&lane, &items[i], sent);
    }
    lane_out_init(&out);
}

static void the_first_goes_alone_and_the_others_follow_in_its_term(void)
{
    fresh(3, true);
    for (int i = 0; i < 3; i++)
        lane_answer(&lane, &items[i], LANE_AGAIN, 0, 10, &out);
    lane_turn(&lane, LANE_TO, 2, 7, 10, &out);
    CU_ASSERT_PTR_EQUAL(out.send, &items[0]);
    CU_ASSERT_PTR_NULL(items[0].out_next);
    CU_ASSERT_EQUAL(out.broker_id, 2);
    CU_ASSERT_EQUAL(out.term, 7);
    lane_out_init(&out);
    lane_turn(&lane, LANE_TO, 2, 7, 11, &out);
    CU_ASSERT_PTR_NULL(out.send); /* not before the first is decided */
    lane_answer(&lane, &items[0], LANE_TAKEN, 8, 12, &out);
    lane_out_init(&out);
    lane_turn(&lane, LANE_TO, 3, 9, 12, &out);
    CU_ASSERT_PTR_EQUAL(out.send, &items[1]);
    CU_ASSERT_PTR_EQUAL(items[1].out_next, &items[2]);
    CU_ASSERT_EQUAL(out.broker_id, 2); /* whoever leads by now: bound to the term of the first */
    CU_ASSERT_EQUAL(out.term, 8);
}

static void nothing_is_sent_before_all_on_its_way_is_decided(void)
{
    fresh(3, true);
    lane_answer(&lane, &items[0], LANE_AGAIN, 0, 10, &out);
    lane_turn(&lane, LANE_TO, 2, 7, 10, &out);
    CU_ASSERT_PTR_NULL(out.send);
    CU_ASSERT(!lane_is_ready(&lane));
    lane_answer(&lane, &items[2], LANE_AGAIN, 0, 11, &out);
    CU_ASSERT(!lane_is_ready(&lane));
    lane_answer(&lane, &items[1], LANE_TAKEN, 7, 12, &out); /* so the first could only come behind it */
    CU_ASSERT_PTR_EQUAL(out.decided, &items[0]);
    CU_ASSERT_EQUAL(items[0].verdict, LANE_OVERTAKEN);
    CU_ASSERT_PTR_EQUAL(items[0].out_next, &items[1]);
    CU_ASSERT_EQUAL(items[1].verdict, LANE_AS_ANSWERED);
    CU_ASSERT(lane_is_ready(&lane));
}

static void what_flows_needs_no_lane(void)
{
    fresh(2, true);
    lane_answer(&lane, &items[0], LANE_AGAIN, 0, 10, &out);
    lane_answer(&lane, &items[1], LANE_AGAIN, 0, 10, &out);
    lane_turn(&lane, LANE_TO, 2, 7, 10, &out);
    lane_answer(&lane, &items[0], LANE_TAKEN, 7, 11, &out);
    lane_out_init(&out);
    lane_turn(&lane, LANE_TO, 2, 7, 11, &out);
    CU_ASSERT_PTR_EQUAL(out.send, &items[1]);
    CU_ASSERT(!out.settled); /* not before it is sent */
    lane_out_init(&out);
    lane_turn(&lane, LANE_TO, 2, 7, 11, &out);
    CU_ASSERT(out.settled);
    CU_ASSERT_PTR_EQUAL(lane_release(&lane), &items[1]);
    CU_ASSERT_PTR_NULL(lane_release(&lane));
    lane_check(&lane);
}

static void a_leader_that_refuses_is_asked_again_later_another_at_once(void)
{
    fresh(1, true);
    lane_answer(&lane, &items[0], LANE_AGAIN, 0, 100, &out);
    lane_turn(&lane, LANE_TO, 1, 5, 100, &out);
    CU_ASSERT_PTR_EQUAL(out.send, &items[0]);
    lane_answer(&lane, &items[0], LANE_AGAIN, 0, 200, &out);
    lane_out_init(&out);
    lane_turn(&lane, LANE_TO, 1, 5, 200, &out);
    CU_ASSERT_PTR_NULL(out.send);
    CU_ASSERT(out.wait_us > 200 && out.wait_us < 200 + LANE_RETRY_MAX_US);
    int64_t wait_us = out.wait_us;
    lane_out_init(&out);
    lane_turn(&lane, LANE_TO, 1, 5, wait_us, &out);
    CU_ASSERT_PTR_EQUAL(out.send, &items[0]);
    CU_ASSERT_EQUAL(out.term, 0); /* it may be about to open its next term */
    lane_answer(&lane, &items[0], LANE_AGAIN, 0, 201, &out);
    lane_out_init(&out);
    lane_turn(&lane, LANE_TO, 2, 6, 201, &out);
    CU_ASSERT_PTR_EQUAL(out.send, &items[0]);
}

static void without_a_leader_it_waits_until_its_deadline(void)
{
    fresh(2, true);
    items[1].maybe = false;
    items[1].producer = true;
    lane_answer(&lane, &items[0], LANE_AGAIN, 0, 100, &out);
    lane_answer(&lane, &items[1], LANE_AGAIN_MAYBE, 0, 100, &out);
    lane_turn(&lane, LANE_NOBODY, 0, 0, 100, &out);
    CU_ASSERT_PTR_NULL(out.decided);
    CU_ASSERT(out.wait_us <= 1000000);
    lane_out_init(&out);
    lane_turn(&lane, LANE_NOBODY, 0, 0, 1000000, &out);
    CU_ASSERT_PTR_EQUAL(out.decided, &items[0]);
    CU_ASSERT_EQUAL(items[0].verdict, LANE_EXPIRED);
    CU_ASSERT(!items[0].maybe);
    CU_ASSERT(items[1].maybe); /* and that one's outcome is unknown */
    CU_ASSERT(out.empty);
}

static void no_majority_refuses_all_that_is_held_at_once(void)
{
    fresh(3, false);
    lane_turn(&lane, LANE_NOBODY_EVER, 0, 0, 100, &out);
    CU_ASSERT(out.empty);
    for (int i = 0; i < 3; i++)
        CU_ASSERT_EQUAL(items[i].verdict, LANE_GONE);
}

static const struct unit_case cases[] = {
    {"without trouble all is taken", without_trouble_all_is_taken},
    {"nothing is doubled, lost or out of order", nothing_is_doubled_lost_or_out_of_order},
    {"what carries a producer id is exactly once", what_carries_a_producer_id_is_exactly_once},
    {"the first goes alone, and the others follow in its term", the_first_goes_alone_and_the_others_follow_in_its_term},
    {"nothing is sent before all on its way is decided", nothing_is_sent_before_all_on_its_way_is_decided},
    {"what flows needs no lane", what_flows_needs_no_lane},
    {"a leader that refuses is asked again later, another at once",
     a_leader_that_refuses_is_asked_again_later_another_at_once},
    {"without a leader it waits until its deadline", without_a_leader_it_waits_until_its_deadline},
    {"no majority refuses all that is held at once", no_majority_refuses_all_that_is_held_at_once},
};
UNIT_MAIN("publish lane", cases)
