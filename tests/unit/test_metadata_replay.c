/* The metadata's log and snapshots make the same state again, whatever was in them. */
#include "support/metadata_case.h"

/* ---- replay --------------------------------------------------------------------------- */

static void take_snapshot(struct metadata *m, struct buf *out)
{
    buf_init(out, 1u << 30);
    metadata_machine(m).ops->snapshot(m, out);
    CU_ASSERT_FALSE_FATAL(out->bad);
}

static void replay(struct metadata *m, const struct buf *records, size_t from)
{
    struct cursor c = cursor_over(records->data + from, records->len - from);
    while (cursor_left(&c) > 0) {
        struct record record = {0};
        size_t key_bytes = cursor_le16(&c);
        record.key = slice_of(cursor_bytes(&c, key_bytes), key_bytes);
        size_t value_bytes = cursor_le32(&c);
        if (value_bytes != 0xffffffff)
            record.value = slice_of(cursor_bytes(&c, value_bytes), value_bytes);
        REQUIRE(!c.bad);
        metadata_machine(m).ops->apply(m, 0, &record);
    }
    metadata_check(m);
}

static void check_replay(struct machine_turn *turn, const struct buf *snapshot, size_t mark)
{
    struct buf at_end;
    take_snapshot(turn->metadata, &at_end);
    for (int with_snapshot = 0; with_snapshot < 2; with_snapshot++) {
        struct metadata *m = metadata_new(&(struct metadata_options){NULL, NULL});
        struct fault fault;
        if (with_snapshot)
            CU_ASSERT_EQUAL_FATAL(metadata_machine(m).ops->restore(m, snapshot->data, snapshot->len, &fault), KQ_OK);
        replay(m, &turn->records, with_snapshot ? mark : 0);
        struct buf again;
        take_snapshot(m, &again);
        CU_ASSERT_EQUAL_FATAL(again.len, at_end.len);
        CU_ASSERT_EQUAL_FATAL(memcmp(again.data, at_end.data, at_end.len), 0);
        buf_fini(&again);
        metadata_machine(m).ops->reset(m);
        metadata_check(m);
        replay(m, &turn->records, 0);
        metadata_free(&m);
    }
    buf_fini(&at_end);
}

static enum kq_err add(struct machine_turn *turn, uint32_t partitions, const uint32_t *assigned, uint32_t count)
{
    struct metadata_call call = {.verb = METADATA_ADD_PARTITIONS, .topic = "t", .partitions = partitions};
    call.limits = (struct metadata_limits){.topic_partitions = 9, .broker_partitions = 150};
    call.assigned = assigned;
    call.assigned_count = count;
    return run(turn, &call);
}

static void partitions_that_are_added_have_founders_of_their_own(void)
{
    struct machine_turn *turn = actor_new(2);
    struct metadata_call call;
    struct metadata_replica replicas[METADATA_REPLICAS_MAX];
    CU_ASSERT_EQUAL(create(turn, "t", 2, 2, &call), KQ_OK);
    call =
        (struct metadata_call){.order = CLUSTER_MOVE, .topic = "t", .partition = 1, .brokers = {1}, .broker_count = 1};
    CU_ASSERT_EQUAL(order(turn, &call), KQ_OK);
    struct metadata_call again = {.verb = METADATA_REGISTER_BROKER,
                                  .broker = {.id = 2, .host = "127.0.0.1", .raft_port = 7070, .incarnation = {{9}}}};
    CU_ASSERT_EQUAL(run(turn, &again), KQ_OK); /* with an empty folder, since the topic was made */
    CU_ASSERT_EQUAL(add(turn, 4, NULL, 0), KQ_OK);
    const struct metadata_topic *t = metadata_find_topic(turn->metadata, "t");
    CU_ASSERT_EQUAL(t->partition_count, 4);
    CU_ASSERT_EQUAL(metadata_target(t, 1, replicas), 1); /* what was ordered before holds on */
    CU_ASSERT_EQUAL(metadata_target(t, 3, replicas), 2);
    CU_ASSERT_EQUAL_FATAL(t->founder_count, 3);
    CU_ASSERT_EQUAL(t->founders[2].broker, 2);
    CU_ASSERT_EQUAL(t->founders[2].from, 2);
    CU_ASSERT_EQUAL(t->founders[2].incarnation.bytes[0], 9);
    CU_ASSERT_EQUAL(add(turn, 4, NULL, 0), KQ_OK);
    CU_ASSERT_EQUAL(turn->proposed_count, 0);
    CU_ASSERT_EQUAL(add(turn, 3, NULL, 0), KQ_BAD_PARTITIONS);
    CU_ASSERT_EQUAL(add(turn, 10, NULL, 0), KQ_BAD_PARTITIONS);
    CU_ASSERT_EQUAL(add(turn, 5, (const uint32_t[]){2, 2}, 2), KQ_BAD_ASSIGNMENT);
    CU_ASSERT_EQUAL(add(turn, 5, (const uint32_t[]){2, 7}, 2), KQ_BAD_ASSIGNMENT);
    CU_ASSERT_EQUAL(add(turn, 5, (const uint32_t[]){2}, 1), KQ_BAD_ASSIGNMENT);
    CU_ASSERT_EQUAL(add(turn, 5, (const uint32_t[]){2, 1}, 2), KQ_OK);
    t = metadata_find_topic(turn->metadata, "t");
    CU_ASSERT_EQUAL(metadata_target(t, 4, replicas), 2);
    CU_ASSERT_EQUAL(replicas[0].broker, 2);
    CU_ASSERT_EQUAL(t->founder_count, 3); /* nobody is another since */
    struct buf snapshot;
    take_snapshot(turn->metadata, &snapshot);
    check_replay(turn, &snapshot, turn->records.len);
    buf_fini(&snapshot);
    actor_free(turn);
}

static void a_random_life_replays_to_the_same_state(void)
{
    struct machine_turn *turn = actor_new(3);
    uint64_t state = 7;
    struct buf snapshot;
    take_snapshot(turn->metadata, &snapshot);
    size_t mark = turn->records.len;
    for (int step = 0; step < 3000; step++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        uint32_t r = (uint32_t)(state >> 33);
        const char *name = (const char *[]){"a", "b", "c", "dd", "ee", "ab"}[r % 6];
        struct metadata_call call;
        if (r / 6 % 4 == 0)
            (void)create(turn, name, 1 + r / 24 % 3, r / 72 % 3, &call);
        else if (r / 6 % 4 == 1) {
            call = (struct metadata_call){.verb = METADATA_DELETE_TOPIC, .topic = name};
            (void)run(turn, &call);
        } else if (r / 6 % 4 == 2)
            (void)set(turn, name, r / 24 % 2 == 0 ? "retention.ms" : "retention.bytes",
                      r / 48 % 3 == 0   ? NULL
                      : r / 48 % 3 == 1 ? "100"
                                        : "-1");
        else if (r / 24 % 3 == 0) {
            call = (struct metadata_call){.verb = METADATA_PRODUCER_BLOCK, .count = 1000};
            (void)run(turn, &call);
        } else if (r / 24 % 3 == 1) {
            call = (struct metadata_call){.order = (enum cluster_order_verb)(r / 72 % 3), /* add, drain, remove */
                                          .broker = {.id = 1 + r / 216 % 3}};
            (void)order(turn, &call);
            struct metadata_call joins = {.verb = METADATA_REGISTER_BROKER,
                                          .broker = {.id = call.broker.id, .host = "h", .incarnation = {{(uint8_t)r}}},
                                          .alive = &call.broker_count, /* nobody */
                                          .alive_count = 1};
            (void)run(turn, &joins);
        } else if (r / 72 % 4 == 1) {
            call =
                (struct metadata_call){.verb = METADATA_ADD_PARTITIONS, .topic = name, .partitions = 1 + r / 288 % 9};
            call.limits = (struct metadata_limits){.topic_partitions = 100, .broker_partitions = 150};
            (void)run(turn, &call);
        } else if (r / 72 % 2 == 0) {
            call = (struct metadata_call){.order = CLUSTER_REBALANCE};
            (void)order(turn, &call);
        } else
            settle_all(turn);
        if (step % 100 == 0)
            check_replay(turn, &snapshot, mark);
        if (step % 130 == 0) {
            buf_fini(&snapshot);
            take_snapshot(turn->metadata, &snapshot);
            mark = turn->records.len;
        }
    }
    buf_fini(&snapshot);
    actor_free(turn);
}

static void a_damaged_snapshot_is_refused(void)
{
    struct machine_turn *turn = actor_new(2);
    struct metadata_call call;
    CU_ASSERT_EQUAL(create(turn, "t", 3, 2, &call), KQ_OK);
    CU_ASSERT_EQUAL(set(turn, "t", "retention.ms", "5"), KQ_OK);
    struct buf snapshot;
    take_snapshot(turn->metadata, &snapshot);
    for (size_t n = 0; n < snapshot.len; n++) {
        struct metadata *m = metadata_new(&(struct metadata_options){NULL, NULL});
        struct fault fault;
        CU_ASSERT_EQUAL(metadata_machine(m).ops->restore(m, snapshot.data, n, &fault), KQ_CORRUPT);
        metadata_free(&m);
    }
    buf_fini(&snapshot);
    actor_free(turn);
}

static const struct unit_case cases[] = {
    {"partitions that are added have founders of their own", partitions_that_are_added_have_founders_of_their_own},
    {"a random life replays to the same state", a_random_life_replays_to_the_same_state},
    {"a damaged snapshot is refused", a_damaged_snapshot_is_refused},
};

UNIT_MAIN("metadata: replay", cases)
