/* Who holds what by the cluster's metadata: moves, drains, deaths, growth, other incarnations. */
#include "support/metadata_case.h"

#include <stdio.h>

static void a_move_keeps_everybody_until_it_is_settled(void)
{
    struct machine_turn *turn = actor_new(5);
    struct metadata_call call;
    CU_ASSERT_EQUAL(create(turn, "t", 1, 3, &call), KQ_OK);
    move(turn, "t", "123", KQ_OK);
    settle_all(turn);
    move(turn, "t", "345", KQ_OK);
    CU_ASSERT_STRING_EQUAL(target_of(turn, "t", 0), "345");
    CU_ASSERT_STRING_EQUAL(present_of(turn, "t", 0), "123");
    move(turn, "t", "23", KQ_OK); /* thought better of: 4 and 5 may be members already */
    CU_ASSERT_STRING_EQUAL(target_of(turn, "t", 0), "23");
    CU_ASSERT_STRING_EQUAL(present_of(turn, "t", 0), "12345");
    struct metadata_call stale = {
        .verb = METADATA_SETTLED, .topic_id = call.topic_id, .replica = {{3, {{0}}}, {2, {{9}}}}, .replica_count = 2};
    CU_ASSERT_EQUAL(run(turn, &stale), KQ_OK);
    CU_ASSERT_EQUAL(turn->proposed_count, 0);
    struct metadata_call early = {.verb = METADATA_SETTLED, .topic_id = call.topic_id};
    const struct metadata_topic *t = metadata_find_topic(turn->metadata, "t");
    early.replica_count = metadata_target(t, 0, early.replica);
    early.count = t->changed[0]->changes - 1; /* the same was wanted before, and something else in between */
    CU_ASSERT_EQUAL(run(turn, &early), KQ_OK);
    CU_ASSERT_EQUAL(turn->proposed_count, 0);
    settle(turn, "t", 0);
    CU_ASSERT_STRING_EQUAL(present_of(turn, "t", 0), "23");
    move(turn, "t", "32", KQ_OK); /* another preferred leader: nothing is to be waited for */
    CU_ASSERT_STRING_EQUAL(present_of(turn, "t", 0), "32");
    actor_free(turn);
}

static void a_broker_that_gets_a_replica_again_gets_another_one(void)
{
    struct machine_turn *turn = actor_new(4);
    struct metadata_call call;
    CU_ASSERT_EQUAL(create(turn, "t", 1, 3, &call), KQ_OK);
    move(turn, "t", "123", KQ_OK);
    settle_all(turn);
    struct uuid first = mix_at(turn, "t", 1);
    move(turn, "t", "234", KQ_OK);
    settle_all(turn);
    move(turn, "t", "123", KQ_OK);
    struct uuid again = mix_at(turn, "t", 1);
    CU_ASSERT_FALSE(uuid_equal(&first, &again));
    settle_all(turn);
    struct metadata_call lost = {.verb = METADATA_REPLACE,
                                 .topic_id = call.topic_id,
                                 .replica = {{.broker = 1, .mix = again}},
                                 .replica_count = 1};
    CU_ASSERT_EQUAL(run(turn, &lost), KQ_OK);
    struct uuid third = mix_at(turn, "t", 1);
    CU_ASSERT_FALSE(uuid_equal(&third, &again));
    CU_ASSERT_EQUAL(run(turn, &lost), KQ_OK); /* said twice */
    CU_ASSERT_EQUAL(turn->proposed_count, 0);
    struct uuid broker = {{1, 2, 3}};
    struct uuid member = replica_incarnation(&broker, &third);
    struct uuid back = replica_incarnation(&broker, &member);
    CU_ASSERT_TRUE(uuid_equal(&back, &third));
    CU_ASSERT_FALSE(uuid_equal(&member, &broker));
    actor_free(turn);
}

static void the_last_replica_is_never_taken_away(void)
{
    struct machine_turn *turn = actor_new(3);
    struct metadata_call call;
    CU_ASSERT_EQUAL(create(turn, "t", 1, 1, &call), KQ_OK);
    move(turn, "t", "2", KQ_OK);
    settle_all(turn);
    move(turn, "t", "", KQ_BAD_REPLICAS);
    move(turn, "t", "22", KQ_INVALID);
    move(turn, "t", "9", KQ_NOT_FOUND);
    struct metadata_call alone = {.verb = METADATA_REPLACE,
                                  .topic_id = call.topic_id,
                                  .replica = {{.broker = 2, .mix = mix_at(turn, "t", 2)}},
                                  .replica_count = 1};
    CU_ASSERT_EQUAL(run(turn, &alone), KQ_OK);
    CU_ASSERT_EQUAL(turn->proposed_count, 0);
    static const uint32_t alive[] = {1, 3};
    struct metadata_call remove = {.order = CLUSTER_REMOVE_BROKER, .broker = {.id = 2}, .alive = alive};
    remove.alive_count = 2; /* 2 is dead, and has the only copy */
    CU_ASSERT_EQUAL(order(turn, &remove), KQ_BAD_REPLICAS);
    struct metadata_call drain = {.order = CLUSTER_DRAIN_BROKER, .broker = {.id = 2}};
    CU_ASSERT_EQUAL(order(turn, &drain), KQ_OK); /* 2 lives, and can fill another */
    CU_ASSERT_STRING_NOT_EQUAL(target_of(turn, "t", 0), "2");
    CU_ASSERT_STRING_EQUAL(present_of(turn, "t", 0), "2");
    actor_free(turn);
}

static void a_drained_broker_gets_nothing_new_until_it_is_added(void)
{
    struct machine_turn *turn = actor_new(4);
    struct metadata_call call;
    CU_ASSERT_EQUAL(create(turn, "t", 8, 3, &call), KQ_OK);
    struct metadata_call drain = {.order = CLUSTER_DRAIN_BROKER, .broker = {.id = 3}};
    CU_ASSERT_EQUAL(order(turn, &drain), KQ_OK);
    CU_ASSERT_EQUAL(drain.count, 6);
    CU_ASSERT_EQUAL(create(turn, "u", 8, 3, &call), KQ_OK);
    CU_ASSERT_EQUAL(create(turn, "v", 1, 4, &call), KQ_BAD_REPLICAS);
    struct place_load *loads = place_loads(turn->metadata, NULL, 0);
    CU_ASSERT_EQUAL(place_find(loads, 4, 3)->replicas, 0);
    CU_ASSERT_EQUAL(place_find(loads, 4, 1)->replicas, 16);
    free(loads);
    struct metadata_call remove = {.order = CLUSTER_REMOVE_BROKER, .broker = {.id = 3}};
    CU_ASSERT_EQUAL(order(turn, &remove), KQ_INVALID); /* it still holds what moves */
    settle_all(turn);
    struct metadata_call add = {.order = CLUSTER_ADD_BROKER, .broker = {.id = 3}};
    CU_ASSERT_EQUAL(order(turn, &add), KQ_OK);
    loads = place_loads(turn->metadata, NULL, 0);
    for (uint32_t i = 1; i <= 4; i++) {
        CU_ASSERT_TRUE(place_find(loads, 4, i)->replicas >= 11 && place_find(loads, 4, i)->replicas <= 13);
        CU_ASSERT_TRUE(place_find(loads, 4, i)->leaders >= 3 && place_find(loads, 4, i)->leaders <= 5);
    }
    free(loads);
    actor_free(turn);
}

static void a_dead_broker_is_removed_and_its_replicas_go_elsewhere(void)
{
    struct machine_turn *turn = actor_new(4);
    struct metadata_call call;
    CU_ASSERT_EQUAL(create(turn, "t", 4, 3, &call), KQ_OK);
    static const uint32_t alive[] = {1, 2, 3};
    struct metadata_call remove = {
        .order = CLUSTER_REMOVE_BROKER, .broker = {.id = 4}, .alive = alive, .alive_count = 3};
    CU_ASSERT_EQUAL(order(turn, &remove), KQ_OK);
    CU_ASSERT_EQUAL(metadata_broker_count(turn->metadata), 3);
    for (uint32_t p = 0; p < 4; p++) {
        CU_ASSERT_EQUAL(strlen(target_of(turn, "t", p)), 3);
        CU_ASSERT_PTR_NULL(strchr(target_of(turn, "t", p), '4'));
    }
    CU_ASSERT_EQUAL(order(turn, &remove), KQ_NOT_FOUND);
    struct metadata_call again = {.verb = METADATA_REGISTER_BROKER, .broker = {.id = 4, .host = "h"}};
    CU_ASSERT_EQUAL(run(turn, &again), KQ_INVALID); /* as it was */
    again.broker.incarnation = (struct uuid){{9}};
    CU_ASSERT_EQUAL(run(turn, &again), KQ_OK);
    actor_free(turn);
}

static void one_that_stands_still_is_given_to_another_broker(void)
{
    struct machine_turn *turn = actor_new(4);
    struct metadata_call call;
    CU_ASSERT_EQUAL(create(turn, "t", 1, 3, &call), KQ_OK);
    char before[METADATA_REPLICAS_MAX + 1];
    (void)snprintf(before, sizeof before, "%s", target_of(turn, "t", 0));
    static const uint32_t alive[] = {1, 2, 3, 4};
    struct metadata_call rehouse = {.verb = METADATA_REHOUSE,
                                    .topic_id = metadata_find_topic(turn->metadata, "t")->id,
                                    .replica_count = 1,
                                    .replica = {{.broker = (uint32_t)(before[1] - '0'), .mix = {{7}}}},
                                    .alive = alive,
                                    .alive_count = 4};
    CU_ASSERT_EQUAL(run(turn, &rehouse), KQ_OK);
    CU_ASSERT_EQUAL(rehouse.count, 0); /* of another name: it was replaced already */
    rehouse.replica[0].mix = (struct uuid){{0}};
    rehouse.alive_count = 3;
    bool four_is_spare = strchr(before, '4') == NULL;
    CU_ASSERT_EQUAL(run(turn, &rehouse), KQ_OK);
    CU_ASSERT_EQUAL(rehouse.count, four_is_spare ? 0 : 1); /* nobody else lives */
    rehouse.alive_count = 4;
    CU_ASSERT_EQUAL(run(turn, &rehouse), KQ_OK);
    CU_ASSERT_EQUAL(strlen(target_of(turn, "t", 0)), 3);
    CU_ASSERT_PTR_NULL(strchr(target_of(turn, "t", 0), before[1]));
    CU_ASSERT_EQUAL(run(turn, &rehouse), KQ_OK);
    CU_ASSERT_EQUAL(rehouse.count, 0); /* once */
    actor_free(turn);
}

static void topics_are_made_where_a_majority_lives(void)
{
    struct machine_turn *turn = actor_new(3);
    static const uint32_t alive[] = {1, 3};
    struct metadata_call call = {.verb = METADATA_CREATE_TOPIC,
                                 .topic = "t",
                                 .partitions = 2,
                                 .replicas = 3,
                                 .topic_id = {{1}},
                                 .alive = alive,
                                 .alive_count = 2,
                                 .limits = {.topics = 5, .topic_partitions = 100, .broker_partitions = 150}};
    CU_ASSERT_EQUAL(run(turn, &call), KQ_OK);
    CU_ASSERT_EQUAL(target_of(turn, "t", 0)[2], '2'); /* the dead one last */
    CU_ASSERT_EQUAL(run(turn, &call), KQ_OK);         /* asked again with the same id */
    CU_ASSERT_FALSE(call.existed);
    call.topic = "u";
    call.topic_id = (struct uuid){{2}};
    call.alive_count = 1;
    CU_ASSERT_EQUAL(run(turn, &call), KQ_NOT_ENOUGH_REPLICAS);
    call.replicas = 1;
    CU_ASSERT_EQUAL(run(turn, &call), KQ_OK);
    CU_ASSERT_STRING_EQUAL(target_of(turn, "u", 0), "1");
    actor_free(turn);
}

static void the_brokers_own_topics_grow(void)
{
    struct machine_turn *turn = actor_new(1);
    struct metadata_call call = {.verb = METADATA_CREATE_TOPIC,
                                 .topic = CLUSTER_OFFSETS_TOPIC,
                                 .partitions = 6,
                                 .internal = true,
                                 .topic_id = {{99}}};
    CU_ASSERT_EQUAL(run(turn, &call), KQ_OK);
    for (uint32_t id = 2; id <= 4; id++) {
        struct metadata_call joins = {.verb = METADATA_REGISTER_BROKER,
                                      .broker = {.id = id, .host = "h", .incarnation = {{(uint8_t)id}}}};
        CU_ASSERT_EQUAL(run(turn, &joins), KQ_OK);
        struct metadata_call grow = {.verb = METADATA_GROW};
        CU_ASSERT_EQUAL(run(turn, &grow), KQ_OK);
        CU_ASSERT_EQUAL(turn->proposed_count > 0, id < 4);
        CU_ASSERT_EQUAL(strlen(target_of(turn, CLUSTER_OFFSETS_TOPIC, 3)), id < 3 ? id : 3);
    }
    struct place_load *loads = place_loads(turn->metadata, NULL, 0);
    for (uint32_t id = 1; id <= 3; id++)
        CU_ASSERT_EQUAL(place_find(loads, 4, id)->leaders, 2);
    free(loads);
    actor_free(turn);
}

static void another_incarnation_replaces_a_dead_one_only(void)
{
    struct machine_turn *turn = actor_new(3);
    struct metadata_call call;
    CU_ASSERT_EQUAL(create(turn, "t", 1, 3, &call), KQ_OK);
    uint64_t version = metadata_find_topic(turn->metadata, "t")->version;
    static const uint32_t alive[] = {1, 2};
    struct metadata_call twin = {.verb = METADATA_REGISTER_BROKER,
                                 .broker = {.id = 2, .host = "h", .incarnation = {{5}}},
                                 .alive = alive,
                                 .alive_count = 2};
    CU_ASSERT_EQUAL(run(turn, &twin), KQ_EXISTS);
    twin.broker.id = 3;
    CU_ASSERT_EQUAL(run(turn, &twin), KQ_OK);
    CU_ASSERT_TRUE(metadata_find_topic(turn->metadata, "t")->version > version);
    actor_free(turn);
}

static void the_first_registration_makes_all_founders_known(void)
{
    struct machine_turn *turn = actor_new(0);
    struct founding founding = {.cluster_id = {{1}}, .metadata_id = {{2}}, .count = 3};
    for (uint32_t i = 0; i < 3; i++)
        founding.members[i] =
            (struct form_member){.broker_id = i + 1, .incarnation = {{(uint8_t)(i + 1)}}, .host = "h", .port = 1};
    struct metadata_call call = {.verb = METADATA_REGISTER_BROKER,
                                 .cluster_id = {{1}},
                                 .founding = &founding,
                                 .broker = {.id = 2, .host = "elsewhere", .incarnation = {{2}}}};
    CU_ASSERT_EQUAL(run(turn, &call), KQ_OK);
    CU_ASSERT_EQUAL(metadata_broker_count(turn->metadata), 3);
    CU_ASSERT_STRING_EQUAL(metadata_broker_at(turn->metadata, 1)->host, "elsewhere");
    CU_ASSERT_STRING_EQUAL(metadata_broker_at(turn->metadata, 2)->host, "h");
    actor_free(turn);
}

static const struct unit_case cases[] = {
    {"a move keeps everybody until it is settled", a_move_keeps_everybody_until_it_is_settled},
    {"a broker that gets a replica again gets another one", a_broker_that_gets_a_replica_again_gets_another_one},
    {"the last replica is never taken away", the_last_replica_is_never_taken_away},
    {"a drained broker gets nothing new until it is added", a_drained_broker_gets_nothing_new_until_it_is_added},
    {"a dead broker is removed, and its replicas go elsewhere", a_dead_broker_is_removed_and_its_replicas_go_elsewhere},
    {"topics are made where a majority lives", topics_are_made_where_a_majority_lives},
    {"the broker's own topics grow", the_brokers_own_topics_grow},
    {"one that stands still is given to another broker", one_that_stands_still_is_given_to_another_broker},
    {"another incarnation replaces a dead one only", another_incarnation_replaces_a_dead_one_only},
    {"the first registration makes all founders known", the_first_registration_makes_all_founders_known},
};

UNIT_MAIN("metadata: holders", cases)
