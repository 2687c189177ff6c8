/* The coordinator of groups: what its records and snapshots make again, and a long random life. */
#include "base/bytes.h"
#include "base/clock.h"
#include "base/require.h"
#include "base/slice.h"
#include "group/assign.h"
#include "support/turn_rig.h"
#include "support/unit.h"

#include <stdio.h>

/* Applies the records of [from, to) to m. */
static void replay(struct group_machine *m, const struct buf *records, size_t from, size_t to)
{
    struct machine machine = group_machine_ops(m);
    struct cursor c = cursor_over(records->data + from, to - from);
    while (cursor_left(&c) > 0) {
        struct record record = {0};
        size_t key_bytes = cursor_le16(&c);
        record.key = slice_of(cursor_bytes(&c, key_bytes), key_bytes);
        size_t value_bytes = cursor_le16(&c);
        if (value_bytes != 0xffff)
            record.value = slice_of(cursor_bytes(&c, value_bytes), value_bytes);
        REQUIRE(!c.bad);
        machine.ops->apply(m, 0, &record);
    }
    group_machine_check(m);
}

static void take_snapshot(struct group_machine *m, struct buf *out)
{
    buf_init(out, 1u << 30);
    group_machine_ops(m).ops->snapshot(m, out);
    CU_ASSERT_FALSE_FATAL(out->bad);
}

/* Everything from the beginning, and the snapshot taken at `mark` with the rest. */
static void check_replay(struct machine_turn *turn, const struct buf *snapshot, size_t mark)
{
    struct buf now;
    take_snapshot(turn->group, &now);
    for (int with_snapshot = 0; with_snapshot < 2; with_snapshot++) {
        struct group_machine *m = turn_new_group();
        struct fault fault;
        if (with_snapshot)
            CU_ASSERT_EQUAL_FATAL(group_machine_ops(m).ops->restore(m, snapshot->data, snapshot->len, &fault), KQ_OK);
        replay(m, &turn->records, with_snapshot ? mark : 0, turn->records.len);
        struct buf again;
        take_snapshot(m, &again);
        CU_ASSERT_EQUAL_FATAL(again.len, now.len);
        CU_ASSERT_EQUAL_FATAL(memcmp(again.data, now.data, now.len), 0);
        buf_fini(&again);
        group_machine_free(&m);
    }
    buf_fini(&now);
}

static void a_damaged_snapshot_is_refused(void)
{
    struct machine_turn *turn = turn_new();
    CU_ASSERT_EQUAL(turn_subscribe(turn, 1, 3, 2, NULL), KQ_OK);
    struct buf snapshot;
    take_snapshot(turn->group, &snapshot);
    struct fault fault;
    for (size_t n = 0; n < snapshot.len; n++) {
        struct group_machine *m = turn_new_group();
        CU_ASSERT_EQUAL(group_machine_ops(m).ops->restore(m, snapshot.data, n, &fault), KQ_CORRUPT);
        group_machine_free(&m);
    }
    snapshot.data[0] = 9;
    struct group_machine *m = turn_new_group();
    CU_ASSERT_EQUAL(group_machine_ops(m).ops->restore(m, snapshot.data, snapshot.len, &fault), KQ_BAD_VERSION);
    group_machine_free(&m);
    buf_fini(&snapshot);
    turn_free(turn);
}

/* ---- a long random life --------------------------------------------------------------------- */

enum { LIFE_STEPS = 20000, LIFE_SESSIONS = 7, LIFE_TOPICS = 3, LIFE_GROUPS = 3, RECENT = 40 };

struct life {
    struct machine_turn *turn;
    uint64_t sessions[LIFE_SESSIONS];
    uint64_t next_session;
    uint8_t topic_version[LIFE_TOPICS];
};

static const char *const life_topics[LIFE_TOPICS] = {"one", "three", "eight"};
static const uint32_t life_partitions[LIFE_TOPICS] = {1, 3, 8};
static const char *const life_groups[LIFE_GROUPS] = {"a", "b", "c"};

static struct uuid life_topic_id(const struct life *life, uint32_t topic)
{
    struct uuid id = {{(uint8_t)(topic + 1), life->topic_version[topic]}};
    return id;
}

static void life_subscribe(struct life *life)
{
    uint32_t topic = turn_below(LIFE_TOPICS);
    struct group_call call = {.verb = GROUP_SUBSCRIBE,
                              .session = turn_session(life->sessions[turn_below(LIFE_SESSIONS)]),
                              .group = life_groups[turn_below(LIFE_GROUPS)],
                              .topic = life_topics[topic],
                              .topic_id = life_topic_id(life, topic),
                              .partition_count = life_partitions[topic],
                              .wanted = 1 + turn_below(life_partitions[topic] + 1)};
    enum kq_err err = turn_run(life->turn, &call);
    CU_ASSERT_TRUE(err == KQ_OK ? call.id_count > 0 : err == KQ_ALL_ASSIGNED && call.id_count == 0);
    group_call_fini(&call);
}

/* With one of the last ids that anybody was told, working or not. */
static void life_use(struct life *life, enum group_verb verb)
{
    if (turn_told_count == 0)
        return;
    size_t recent = turn_told_count < RECENT ? turn_told_count : RECENT;
    struct turn_told *t = &turn_told[turn_told_count - 1 - turn_below((uint32_t)recent)];
    bool worked = turn_id_works(life->turn, t->id);
    struct group_call call;
    enum kq_err err = turn_with_id(life->turn, verb, life->sessions[turn_below(LIFE_SESSIONS)], t->topic, t->id,
                                   (int64_t)turn_below(1000), &call);
    CU_ASSERT_EQUAL(err, worked ? KQ_OK : KQ_UNKNOWN_SUBSCRIPTION);
    if (verb == GROUP_UNSUBSCRIBE && err == KQ_OK)
        t->over = true;
}

static void life_close(struct life *life)
{
    uint32_t i = turn_below(LIFE_SESSIONS);
    struct group_call call = {.verb = GROUP_SESSION_CLOSED, .session = turn_session(life->sessions[i])};
    CU_ASSERT_EQUAL(turn_run(life->turn, &call), KQ_OK);
    life->sessions[i] = ++life->next_session;
}

static void life_delete_topic(struct life *life)
{
    uint32_t topic = turn_below(LIFE_TOPICS);
    struct uuid id = life_topic_id(life, topic);
    struct group_call call = {.verb = GROUP_DROP_TOPICS, .exists = turn_is_not, .exists_context = &id};
    CU_ASSERT_EQUAL(turn_run(life->turn, &call), KQ_OK);
    life->topic_version[topic]++;
}

/* The log goes on elsewhere: from a snapshot or from its beginning. */
static void life_move(struct life *life)
{
    struct machine_turn *turn = life->turn;
    struct buf snapshot;
    take_snapshot(turn->group, &snapshot);
    struct fault fault;
    turn->machine.ops->leads(turn->group, false, &turn->now);
    turn->machine.ops->reset(turn->group);
    if (turn_below(2) == 0)
        CU_ASSERT_EQUAL_FATAL(turn->machine.ops->restore(turn->group, snapshot.data, snapshot.len, &fault), KQ_OK)
    else
        replay(turn->group, &turn->records, 0, turn->records.len);
    turn->machine.ops->leads(turn->group, true, &turn->now);
    group_machine_check(turn->group);
    buf_fini(&snapshot);
}

static void check_group_topic(const struct life *life, const struct group_topic *t)
{
    uint32_t partition;
    bool is_free = assign_free_partition(t, t->partition_count, &partition);
    CU_ASSERT_TRUE(!is_free || assign_next_claimant(t) == NULL);
    for (const struct claim *c = t->claims; c != NULL; c = c->next)
        for (const struct subscription *s = c->held; s != NULL; s = s->next_held) {
            struct subscription_id id = {3, s->partition, s->secret};
            char text[SUBSCRIPTION_ID_TEXT_BYTES];
            const struct turn_told *known = turn_find_told(subscription_id_format(&id, text));
            CU_ASSERT_PTR_NOT_NULL_FATAL(known);
            CU_ASSERT_EQUAL(known->session.id, c->session->key.id);
            CU_ASSERT_FALSE(known->over);
            CU_ASSERT_TRUE(s->used_us + TURN_TIMEOUT_US > life->turn->now.mono_us);
        }
}

static void a_long_random_life_keeps_every_rule(void)
{
    struct life life = {.turn = turn_new(), .next_session = LIFE_SESSIONS};
    for (uint64_t i = 0; i < LIFE_SESSIONS; i++)
        life.sessions[i] = i + 1;
    struct buf snapshot;
    take_snapshot(life.turn->group, &snapshot);
    size_t mark = 0;
    for (int step = 0; step < LIFE_STEPS; step++) {
        uint32_t what = turn_below(1000);
        if (what < 350)
            life_subscribe(&life);
        else if (what < 480)
            life_use(&life, GROUP_UNSUBSCRIBE);
        else if (what < 650)
            life_use(&life, GROUP_RESOLVE);
        else if (what < 750)
            life_use(&life, GROUP_COMMIT);
        else if (what < 850)
            life_close(&life);
        else if (what < 985)
            turn_pass(life.turn, (int64_t)turn_below(turn_below(20) == 0 ? 1200000000 : 60000000));
        else if (what < 993)
            life_delete_topic(&life);
        else
            life_move(&life);
        struct map_walk w;
        for (map_walk_init(&w, &life.turn->group->groups); map_walk_next(&w);)
            for (const struct group_topic *t = ((struct group *)w.value)->topics; t != NULL; t = t->next)
                check_group_topic(&life, t);
        if (step % 500 == 0)
            check_replay(life.turn, &snapshot, mark);
        if (step % 700 == 0) {
            buf_fini(&snapshot);
            take_snapshot(life.turn->group, &snapshot);
            mark = life.turn->records.len;
        }
    }
    for (size_t i = 0; i < turn_told_count; i++)
        CU_ASSERT_FALSE(turn_told[i].over && turn_id_works(life.turn, turn_told[i].id));
    CU_ASSERT_TRUE(turn_revoked_events > 100);
    CU_ASSERT_TRUE(turn_assigned_events > 100);
    turn_pass(life.turn, TURN_TIMEOUT_US + 2 * (int64_t)TURN_RETENTION_US);
    CU_ASSERT_EQUAL(life.turn->group->groups.count, 0);
    buf_fini(&snapshot);
    turn_free(life.turn);
}

static const struct unit_case cases[] = {
    {"a damaged snapshot is refused", a_damaged_snapshot_is_refused},
    {"a long random life keeps every rule", a_long_random_life_keeps_every_rule},
};
UNIT_MAIN("group, its life", cases)
