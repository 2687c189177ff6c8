/* Three brokers' clusters in one process, over loopback: they form, lose members, take
 * them in again, and move what they hold. Run it under the thread sanitizer. */
#include "base/clock.h"
#include "support/cluster_rig.h"

#include <pthread.h>
#include <stdio.h>

static uint32_t other_than(uint32_t id)
{
    return id % 3 + 1;
}

static void three_form_one_cluster_and_lose_one_after_the_other(void)
{
    rig_form(3);
    CU_ASSERT_EQUAL(rig_create(2, "t", 3, 0), KQ_OK);
    for (uint32_t id = 1; id <= 3; id++)
        for (uint32_t p = 0; p < 3; p++) {
            EVENTUALLY(rig_leader(id, "t", p) != 0);
            CU_ASSERT_EQUAL(rig_leader(id, "t", p), rig_leader(1, "t", p));
        }
    EVENTUALLY(rig_publish(1, "t", 0, 0) == 0);
    EVENTUALLY(rig_publish(2, "t", 0, 1) == 1);
    CU_ASSERT_EQUAL(rig_create(3, "big", 1, 4), KQ_BAD_REPLICAS);
    int64_t count = 2;
    for (uint32_t gone = 1; gone <= 3; gone++) {
        uint32_t witness = other_than(gone);
        rig_stop(gone);
        EVENTUALLY(rig_leader(witness, "t", 0) != gone && rig_leader(witness, "t", 0) != 0);
        EVENTUALLY(rig_publish(witness, "t", 0, count) == count);
        count++;
        char name[16];
        (void)snprintf(name, sizeof name, "without%u", gone);
        CU_ASSERT_EQUAL(rig_create(witness, name, 2, 0), KQ_OK);
        rig_start(gone);
        EVENTUALLY(rig_knows(gone, name));
        EVENTUALLY(rig_messages(gone, "t", 0) == count);
        EVENTUALLY(rig_is_well(gone));
    }
    rig_end();
}

static void a_wiped_broker_joins_and_is_filled(void)
{
    rig_form(3);
    CU_ASSERT_EQUAL(rig_create(1, "t", 2, 3), KQ_OK);
    EVENTUALLY(rig_publish(1, "t", 1, 0) == 0);
    uint32_t wiped = rig_controller(1);
    uint32_t witness = other_than(wiped);
    rig_stop(wiped);
    rig_wipe(wiped);
    rig_begin_start(wiped);
    EVENTUALLY(rig_is_well(witness)); /* which was its last word before, too, and must not be now */
    rig_end_start(wiped);
    EVENTUALLY(rig_messages(wiped, "t", 1) == 1); /* in sync before it has heard what is committed */
    EVENTUALLY(rig_is_well(witness));             /* by now not its last word of before: all members have changed */
    rig_stop(other_than(witness) == wiped ? other_than(wiped) : other_than(witness)); /* the new one's vote counts */
    uint32_t alive = rig_nodes[witness].cluster != NULL ? witness : wiped;
    EVENTUALLY(rig_publish(alive, "t", 1, 1) == 1);
    rig_end();
}

static void a_wiped_broker_with_another_one_down_founds_nothing(void)
{
    rig_form(3);
    struct image *image = cluster_image(rig_nodes[2].cluster);
    struct uuid id = image_cluster_id(image);
    image_drop(&image);
    rig_stop(1);
    rig_stop(3);
    rig_wipe(1);
    rig_begin_start(1); /* joins, as broker 2 says what there is; it is not registered, as nobody leads */
    EVENTUALLY(rig_count_folders(1, "IDENTITY") == 1);
    rig_start(3);
    rig_end_start(1);
    EVENTUALLY(rig_controller(1) != 0);
    CU_ASSERT_EQUAL(rig_catch_up(1), KQ_OK);
    image = cluster_image(rig_nodes[1].cluster);
    struct uuid other = image_cluster_id(image);
    CU_ASSERT_TRUE(uuid_equal(&other, &id));
    image_drop(&image);
    rig_end();
}

/* What it knows of broker 1 is of a folder that is gone; and broker 1 leads by now. */
static void a_founder_that_was_away_follows_one_that_was_wiped(void)
{
    rig_form(5);
    EVENTUALLY(rig_controller(2) != 0);
    CU_ASSERT_EQUAL(rig_catch_up(5), KQ_OK);
    EVENTUALLY(rig_broker_count(5) == 5);
    rig_stop(5);
    rig_stop(1);
    rig_wipe(1);
    rig_start(1);
    EVENTUALLY(rig_controller(1) != 0);
    EVENTUALLY(rig_catch_up(1) == KQ_OK);
    CU_ASSERT_EQUAL(rig_create(2, "t", 1, 3), KQ_OK);
    EVENTUALLY(rig_is_well(2));
    for (int i = 0; i < 30 && rig_controller(1) != 1; i++) {
        uint32_t leader = rig_controller(1);
        if (leader != 0) {
            rig_stop(leader);
            EVENTUALLY(rig_controller(1) != leader && rig_controller(1) != 0);
            rig_start(leader);
        }
    }
    CU_ASSERT_EQUAL_FATAL(rig_controller(1), 1);
    rig_start(5);
    EVENTUALLY(rig_controller(5) == 1);
    EVENTUALLY(rig_knows(5, "t"));
    rig_end();
}

static void a_topic_deleted_and_made_again_while_one_is_away(void)
{
    rig_form(3);
    CU_ASSERT_EQUAL(rig_create(1, "t", 2, 3), KQ_OK);
    CU_ASSERT_EQUAL(rig_create(1, "u", 1, 3), KQ_OK);
    EVENTUALLY(rig_publish(1, "t", 0, 0) == 0);
    EVENTUALLY(rig_publish(1, "t", 0, 1) == 1);
    rig_stop(3);
    EVENTUALLY(rig_drop(1, "t") == KQ_OK);
    CU_ASSERT_EQUAL(rig_drop(1, "u"), KQ_OK);
    CU_ASSERT_EQUAL(rig_create(2, "t", 2, 3), KQ_OK);
    EVENTUALLY(rig_publish(1, "t", 0, 0) == 0);
    rig_start(3);
    EVENTUALLY(rig_messages(3, "t", 0) == 1);
    EVENTUALLY(!rig_knows(3, "u"));
    EVENTUALLY(rig_count_folders(3, "u-") == 0);
    EVENTUALLY(rig_is_well(1));
    rig_end();
}

static void without_a_majority_nobody_waits_to_learn_what_there_is(void)
{
    rig_form(3);
    CU_ASSERT_EQUAL(rig_catch_up(1), KQ_OK);
    rig_stop(2);
    rig_stop(3);
    EVENTUALLY(rig_catch_up(1) == KQ_NOT_ENOUGH_REPLICAS);
    int64_t from_us = clock_mono_us();
    CU_ASSERT_EQUAL(rig_catch_up(1), KQ_NOT_ENOUGH_REPLICAS);
    CU_ASSERT_TRUE(clock_mono_us() - from_us < 2000000); /* so long, at least, a controller is waited for */
    rig_start(2);
    EVENTUALLY(rig_catch_up(1) == KQ_OK);
    rig_end();
}

static void a_lost_replica_is_replaced_by_a_new_one(void)
{
    rig_form(3);
    CU_ASSERT_EQUAL(rig_create(1, "t", 1, 3), KQ_OK);
    EVENTUALLY(rig_publish(1, "t", 0, 0) == 0);
    EVENTUALLY(rig_messages(2, "t", 0) == 1); /* the other two are enough for a publish */
    rig_stop(2);
    rig_remove_replica(2, "t-0");
    rig_start(2);
    EVENTUALLY(rig_messages(2, "t", 0) == 1);
    EVENTUALLY(rig_is_well(1));
    EVENTUALLY(rig_publish(1, "t", 0, 1) == 1);
    rig_end();
}

static void spoil_hard_state(uint32_t id, const char *replica)
{
    char path[RIG_PATH_BYTES];
    (void)snprintf(path, sizeof path, "%s/%s/hard-state", rig_nodes[id].dir, replica);
    FILE *file = fopen(path, "r+");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    for (int i = 0; i < 8192; i++)
        (void)fputc('x', file);
    (void)fclose(file);
}

/* What the error says is done, and helps. */
static void a_broker_with_damaged_metadata_says_how_it_is_filled_again(void)
{
    rig_form(3);
    CU_ASSERT_EQUAL(rig_create(1, "t", 1, 3), KQ_OK);
    EVENTUALLY(rig_publish(1, "t", 0, 0) == 0);
    rig_stop(2);
    spoil_hard_state(2, "__cluster_metadata-0");
    struct rig_node *node = &rig_nodes[2];
    rig_begin_start(2);
    (void)pthread_join(node->thread, NULL);
    CU_ASSERT_EQUAL(node->err, KQ_CORRUPT);
    char advice[RIG_PATH_BYTES + 64];
    (void)snprintf(advice, sizeof advice, "move all of %s away and start again with --peers", node->dir);
    CU_ASSERT_PTR_NOT_NULL(strstr(fault_text(&node->fault), advice));
    rig_wipe(2);
    rig_start(2);
    EVENTUALLY(rig_messages(2, "t", 0) == 1);
    EVENTUALLY(rig_is_well(1));
    rig_end();
}

static void a_damaged_replica_is_replaced_by_a_new_one(void)
{
    rig_form(3);
    CU_ASSERT_EQUAL(rig_create(1, "t", 1, 3), KQ_OK);
    EVENTUALLY(rig_publish(1, "t", 0, 0) == 0);
    EVENTUALLY(rig_messages(2, "t", 0) == 1);
    rig_stop(2);
    spoil_hard_state(2, "t-0");
    rig_start(2);
    EVENTUALLY(rig_messages(2, "t", 0) == 1);
    EVENTUALLY(rig_is_well(1));
    CU_ASSERT_EQUAL(rig_count_folders(2, "t-0.stray-"), 1);
    rig_end();
}

static bool reads_all(uint32_t id, const char *name, uint32_t p)
{
    struct image *image = cluster_image(rig_nodes[id].cluster);
    struct partition *partition = image_partition(rig_topic(image, name), p);
    struct log_view *view = partition == NULL ? NULL : partition_view(partition);
    struct log_iter it;
    enum kq_err err = view == NULL ? KQ_AGAIN : log_iter_seek(&it, view, 0);
    while (err == KQ_OK) {
        struct log_slice slice;
        struct fault fault;
        err = log_iter_next(&it, &slice, &fault);
    }
    if (view != NULL)
        log_view_drop(&view);
    image_drop(&image);
    return err == KQ_EOF;
}

/* More than fits into one answer, and nothing left in it that could be verified alone. */
static void large_damage_comes_back_in_pieces(void)
{
    enum { BIG_BYTES = 900 * 1024, SEALED = 8, DAMAGED_BYTES = SEALED * BIG_BYTES - 8192 };
    static char big[BIG_BYTES];
    memset(big, 'b', sizeof big);
    rig_prepare(3);
    for (uint32_t id = 1; id <= 3; id++)
        rig_nodes[id].config.segment_bytes = 8 << 20;
    for (uint32_t id = 1; id <= 3; id++)
        rig_begin_start(id);
    for (uint32_t id = 1; id <= 3; id++)
        rig_end_start(id);
    CU_ASSERT_EQUAL(rig_create(1, "t", 1, 3), KQ_OK);
    for (int64_t i = 0; i < SEALED + 2; i++)
        EVENTUALLY(rig_publish_of(1, "t", 0, i, slice_of(big, sizeof big)) == i);
    EVENTUALLY(rig_messages(2, "t", 0) == SEALED + 2);
    rig_stop(2);
    char path[RIG_PATH_BYTES];
    (void)snprintf(path, sizeof path, "%s/t-0/%020d.log", rig_nodes[2].dir, 0);
    FILE *file = fopen(path, "r+");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    (void)fseek(file, 4200, SEEK_SET); /* from the head of the first message on */
    for (int i = 0; i < DAMAGED_BYTES; i++)
        (void)fputc('x', file);
    (void)fclose(file);
    rig_start(2);
    EVENTUALLY(rig_messages(2, "t", 0) == SEALED + 2);
    CU_ASSERT_FALSE(reads_all(2, "t", 0));
    EVENTUALLY(rig_publish(1, "t", 0, -1) >= 0 && reads_all(2, "t", 0)); /* a replica looks at it when it works */
    CU_ASSERT_EQUAL(rig_count_folders(2, "t-0.stray-"), 0);
    rig_end();
}

static void a_broker_alone_grows_into_a_cluster(void)
{
    rig_prepare(3);
    rig_nodes[1].config.peers[0] = '\0';
    rig_start(1);
    CU_ASSERT_EQUAL(rig_ensure_offsets(1), KQ_OK);
    CU_ASSERT_EQUAL(rig_create(1, "t", 2, 0), KQ_OK);
    EVENTUALLY(rig_publish(1, "t", 0, 0) == 0);
    rig_begin_start(2);
    rig_begin_start(3);
    rig_end_start(2);
    rig_end_start(3);
    EVENTUALLY(rig_knows(2, "t") && rig_knows(3, "t"));
    CU_ASSERT_EQUAL(rig_create(3, "u", 3, 3), KQ_OK);
    struct cluster_order move = {
        .verb = CLUSTER_MOVE, .topic = "t", .partition = 0, .brokers = {2, 3, 1}, .broker_count = 3};
    EVENTUALLY(rig_order(2, move) == KQ_OK); /* the controller is to see them alive first */
    EVENTUALLY(rig_messages(2, "t", 0) == 1);
    EVENTUALLY(rig_is_well(2)); /* the broker's own topics have three replicas by now, too */
    EVENTUALLY(rig_leader(1, "t", 0) == 2);
    rig_stop(1);
    EVENTUALLY(rig_publish(3, "t", 0, 1) == 1);
    rig_end();
}

static bool holds_nothing(uint32_t witness, uint32_t id)
{
    struct rig_survey s = rig_survey(witness, true);
    bool nothing = s.survey.moving == 0;
    for (uint32_t i = 0; i < s.survey.broker_count; i++)
        nothing = nothing && (s.survey.brokers[i].id != id || s.survey.brokers[i].replicas == 0);
    cluster_survey_fini(&s.survey);
    return nothing;
}

static void a_broker_is_drained_and_removed(void)
{
    rig_form(4);
    CU_ASSERT_EQUAL(rig_create(1, "t", 4, 3), KQ_OK);
    CU_ASSERT_EQUAL(rig_create(1, "one", 1, 1), KQ_OK);
    EVENTUALLY(rig_publish(1, "t", 0, 0) == 0);
    EVENTUALLY(rig_publish(1, "one", 0, 0) == 0);
    CU_ASSERT_EQUAL(rig_order(1, (struct cluster_order){.verb = CLUSTER_REMOVE_BROKER, .broker = 4}), KQ_INVALID);
    CU_ASSERT_EQUAL(rig_order(1, (struct cluster_order){.verb = CLUSTER_DRAIN_BROKER, .broker = 9}), KQ_NOT_FOUND);
    CU_ASSERT_EQUAL(rig_order(2, (struct cluster_order){.verb = CLUSTER_DRAIN_BROKER, .broker = 4}), KQ_OK);
    EVENTUALLY(holds_nothing(1, 4));
    EVENTUALLY(rig_count_folders(4, "t-") == 0);
    CU_ASSERT_EQUAL(rig_order(3, (struct cluster_order){.verb = CLUSTER_REMOVE_BROKER, .broker = 4}), KQ_OK);
    EVENTUALLY(rig_is_well(1));
    CU_ASSERT_EQUAL(rig_catch_up(1), KQ_OK);
    CU_ASSERT_EQUAL(rig_broker_count(1), 3); /* it lives, and does not come again by itself */
    rig_stop(4);
    EVENTUALLY(rig_publish(1, "t", 0, 1) == 1);
    EVENTUALLY(rig_publish(1, "one", 0, 1) == 1);
    struct cluster_order last = {.verb = CLUSTER_MOVE, .topic = "t", .partition = 0};
    CU_ASSERT_EQUAL(rig_order(1, last), KQ_BAD_REPLICAS);
    uint32_t leader = rig_leader(1, "t", 1);
    struct cluster_order transfer = {
        .verb = CLUSTER_TRANSFER, .topic = "t", .partition = 1, .broker = other_than(leader)};
    CU_ASSERT_EQUAL(rig_order(1, transfer), KQ_OK);
    EVENTUALLY(rig_leader(1, "t", 1) == other_than(leader));
    rig_end();
}

static bool sees_alive(uint32_t id, uint32_t other)
{
    struct rig_survey s = rig_survey(id, false);
    bool alive = false;
    for (uint32_t i = 0; i < s.survey.broker_count; i++)
        alive |= s.survey.brokers[i].id == other && s.survey.brokers[i].alive;
    cluster_survey_fini(&s.survey);
    return alive;
}

/* Nor is one that was heard a moment ago: it may only be paused. */
static void a_broker_is_removed_when_it_has_been_dead_for_a_while(void)
{
    rig_form(4);
    const struct cluster_order remove = {.verb = CLUSTER_REMOVE_BROKER, .broker = 4};
    CU_ASSERT_EQUAL(rig_create(1, "t", 4, 3), KQ_OK);
    EVENTUALLY(rig_is_well(1));
    CU_ASSERT_EQUAL(rig_order(1, remove), KQ_INVALID);
    rig_stop(4);
    EVENTUALLY(rig_controller(1) != 0 && rig_controller(1) != 4);
    EVENTUALLY(!sees_alive(rig_controller(1), 4) && !sees_alive(1, 4));
    CU_ASSERT_EQUAL(rig_order(1, remove), KQ_INVALID);
    CU_ASSERT_PTR_NOT_NULL(strstr(rig_fault.text, "a moment ago"));
    EVENTUALLY(rig_order(1, remove) == KQ_OK);
    EVENTUALLY(rig_is_well(1));
    rig_end();
}

static void all_stop_and_start_again(void)
{
    rig_form(3);
    CU_ASSERT_EQUAL(rig_create(1, "t", 3, 3), KQ_OK);
    EVENTUALLY(rig_publish(1, "t", 2, 0) == 0);
    for (uint32_t id = 1; id <= 3; id++)
        rig_stop(id);
    for (uint32_t id = 1; id <= 3; id++)
        rig_begin_start(id);
    for (uint32_t id = 1; id <= 3; id++)
        rig_end_start(id);
    EVENTUALLY(rig_publish(1, "t", 2, 1) == 1);
    for (uint32_t id = 1; id <= 3; id++)
        EVENTUALLY(rig_messages(id, "t", 2) == 2);
    rig_end();
}

static void *stop_node(void *argument)
{
    rig_stop(((struct rig_node *)argument)->id);
    return NULL;
}

/* Nobody is left to hand leadership to, and nobody waits for that as for an election. */
static void all_stop_at_once_and_soon(void)
{
    rig_prepare(3);
    for (uint32_t id = 1; id <= 3; id++) {
        rig_nodes[id].config.election_us = 5 * 1000 * 1000;
        rig_begin_start(id);
    }
    for (uint32_t id = 1; id <= 3; id++)
        rig_end_start(id);
    CU_ASSERT_EQUAL(rig_create(1, "t", 3, 3), KQ_OK);
    for (uint32_t p = 0; p < 3; p++)
        EVENTUALLY(rig_publish(1, "t", p, 0) == 0);
    EVENTUALLY(rig_is_well(1));
    int64_t from_us = clock_mono_us();
    pthread_t threads[4];
    for (uint32_t id = 1; id <= 3; id++)
        CU_ASSERT_EQUAL_FATAL(pthread_create(&threads[id], NULL, stop_node, &rig_nodes[id]), 0);
    for (uint32_t id = 1; id <= 3; id++)
        (void)pthread_join(threads[id], NULL);
    CU_ASSERT_TRUE(clock_mono_us() - from_us < rig_nodes[1].config.election_us);
    rig_end();
}

static void a_start_that_waits_can_be_stopped(void)
{
    rig_prepare(3);
    rig_begin_start(2);
    rig_nodes[2].give_up = true;
    (void)pthread_join(rig_nodes[2].thread, NULL);
    CU_ASSERT_EQUAL(rig_nodes[2].err, KQ_STOPPING);
    rig_end();
}

static const struct unit_case cases[] = {
    {"three form one cluster, and lose one after the other", three_form_one_cluster_and_lose_one_after_the_other},
    {"a wiped broker joins and is filled", a_wiped_broker_joins_and_is_filled},
    {"a wiped broker with another one down founds nothing", a_wiped_broker_with_another_one_down_founds_nothing},
    {"a founder that was away follows one that was wiped", a_founder_that_was_away_follows_one_that_was_wiped},
    {"a topic is deleted and made again while one is away", a_topic_deleted_and_made_again_while_one_is_away},
    {"without a majority nobody waits to learn what there is", without_a_majority_nobody_waits_to_learn_what_there_is},
    {"a lost replica is replaced by a new one", a_lost_replica_is_replaced_by_a_new_one},
    {"a broker with damaged metadata says how it is filled again",
     a_broker_with_damaged_metadata_says_how_it_is_filled_again},
    {"a damaged replica is replaced by a new one", a_damaged_replica_is_replaced_by_a_new_one},
    {"large damage comes back in pieces", large_damage_comes_back_in_pieces},
    {"a broker alone grows into a cluster", a_broker_alone_grows_into_a_cluster},
    {"a broker is drained and removed", a_broker_is_drained_and_removed},
    {"a broker is removed when it has been dead for a while", a_broker_is_removed_when_it_has_been_dead_for_a_while},
    {"all stop and start again", all_stop_and_start_again},
    {"all stop at once, and soon", all_stop_at_once_and_soon},
    {"a start that waits can be stopped", a_start_that_waits_can_be_stopped},
};

UNIT_MAIN("cluster of three", cases)
