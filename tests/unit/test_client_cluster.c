/* The client's side of a cluster: lists of brokers, and what CLUS STATUS says as a person
 * reads it. */
#include "client/brokers.h"
#include "client/placement.h"

#include "support/unit.h"

static struct fault fault;

/* ---- brokers --------------------------------------------------------------------------- */

static void a_list_of_brokers_is_gone_through_in_turn(void)
{
    struct brokers brokers;
    brokers_init(&brokers);
    CU_ASSERT_EQUAL(brokers.count, 1);
    CU_ASSERT_STRING_EQUAL(brokers_now(&brokers)->port, "8080");
    CU_ASSERT_EQUAL(brokers_parse(&brokers, "a:1,:2,[::1]:3", &fault), KQ_OK);
    CU_ASSERT_EQUAL_FATAL(brokers.count, 3);
    CU_ASSERT_STRING_EQUAL(brokers.list[0].host, "a");
    CU_ASSERT_STRING_EQUAL(brokers.list[1].host, "127.0.0.1");
    CU_ASSERT_STRING_EQUAL(brokers.list[1].port, "2");
    CU_ASSERT_STRING_EQUAL(brokers.list[2].host, "::1");
    brokers_move_on(&brokers);
    brokers_move_on(&brokers);
    CU_ASSERT_STRING_EQUAL(brokers_now(&brokers)->port, "3");
    brokers_move_on(&brokers);
    CU_ASSERT_STRING_EQUAL(brokers_now(&brokers)->port, "1");
}

static void a_bad_list_changes_nothing(void)
{
    static const char *const bad[] = {"", ",", "a:1,", "a:1,,b:2", "a:0", "a:1,b:x"};
    struct brokers brokers;
    brokers_init(&brokers);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        CU_ASSERT_EQUAL(brokers_parse(&brokers, bad[i], &fault), KQ_INVALID);
        CU_ASSERT_EQUAL(brokers.count, 1);
        CU_ASSERT_STRING_EQUAL(brokers.list[0].host, "127.0.0.1");
    }
    char many[BROKERS_MAX * 2 + 4];
    for (size_t i = 0; i < sizeof(many) - 1; i++)
        many[i] = i % 2 == 0 ? 'a' : ',';
    many[sizeof(many) - 1] = 0;
    CU_ASSERT_EQUAL(brokers_parse(&brokers, many, &fault), KQ_INVALID);
}

static void patience_ends_sooner_where_others_may_answer(void)
{
    struct brokers brokers;
    brokers_init(&brokers);
    CU_ASSERT_EQUAL(brokers_patience(&brokers, 100, 90000100), 90000100);
    CU_ASSERT_EQUAL(brokers_parse(&brokers, "a,b", &fault), KQ_OK);
    CU_ASSERT_EQUAL(brokers_patience(&brokers, 100, 90000100), 100 + BROKERS_PATIENCE_US);
    CU_ASSERT_EQUAL(brokers_patience(&brokers, 100, 200), 200);
}

/* ---- placement ---------------------------------------------------------------------------- */

#define BROKER(id, alive, draining, controller, replicas, leaders)                                                     \
    "{\"Broker\":" #id ",\"Host\":\"h\",\"Port\":808" #id ",\"RaftPort\":707" #id ",\"Alive\":" #alive                 \
    ",\"Draining\":" #draining ",\"Controller\":" #controller ",\"Replicas\":" #replicas ",\"Leaders\":" #leaders "}"
#define REPLICA(id, wanted, voter, in_sync, lag)                                                                       \
    "{\"Broker\":" #id ",\"Wanted\":" #wanted ",\"Voter\":" #voter ",\"InSync\":" #in_sync ",\"Lag\":" #lag "}"

static struct placement placement_of(const char *json)
{
    char why[100];
    struct placement placement;
    yajl_val root = yajl_tree_parse(json, why, sizeof(why));
    CU_ASSERT_PTR_NOT_NULL_FATAL(root);
    CU_ASSERT_EQUAL(placement_read(&placement, root, &fault), KQ_OK);
    yajl_tree_free(root);
    return placement;
}

static void shows(const struct placement *placement, const char *want)
{
    struct buf out;
    buf_init(&out, 1 << 16);
    placement_show(&out, placement);
    buf_u8(&out, 0);
    CU_ASSERT_STRING_EQUAL((const char *)out.data, want);
    if (strcmp((const char *)out.data, want) != 0)
        fprintf(stderr, "\n%s", (const char *)out.data);
    buf_fini(&out);
}

static void a_healthy_cluster_is_brokers_and_a_sentence(void)
{
    struct placement placement = placement_of("{\"Brokers\":[" BROKER(1, true, false, true, 9, 3) "," BROKER(
        2, true, false, false, 9,
        3) "],"
           "\"Totals\":{\"Partitions\":9,\"Leaderless\":0,\"Lacking\":0,\"Moving\":0},\"Partitions\":[]}");
    shows(&placement, "Broker  Address  RaftPort  State  Controller  Replicas  Leaders\n"
                      "1       h:8081   7071      alive  yes         9         3\n"
                      "2       h:8082   7072      alive              9         3\n"
                      "\n"
                      "9 partitions: each has a leader and all its replicas\n");
    placement_fini(&placement);
}

static void what_is_missing_is_listed_by_partition(void)
{
    struct placement placement = placement_of("{\"Brokers\":[" BROKER(
        1, false, true, false, 2,
        0) "],"
           "\"Totals\":{\"Partitions\":2,\"Leaderless\":1,\"Lacking\":2,\"Moving\":1},\"Partitions\":["
           "{\"Topic\":\"t\",\"Partition\":0,\"Leader\":null,\"Moving\":false,\"Replicas\":[" REPLICA(
               1, true, true, false,
               null) "]},"
                     "{\"Topic\":\"orders\",\"Partition\":11,\"Leader\":2,\"Moving\":true,\"Replicas\":[" REPLICA(
                         2, true, true, true, 0) "," REPLICA(3, true, false, false, 17) "," REPLICA(1, false, true,
                                                                                                    false, 5) "]}]}");
    shows(&placement, "Broker  Address  RaftPort  State           Controller  Replicas  Leaders\n"
                      "1       h:8081   7071      dead, draining              2         0\n"
                      "\n"
                      "2 partitions: 1 without a leader, 2 lacking replicas, 1 moving\n"
                      "\n"
                      "Topic   Partition  Leader  Replicas  InSync  Behind        Coming  Leaving\n"
                      "t       0          -       1                 1 (?)                 \n"
                      "orders  11         2       2,3,1     2       3 (17),1 (5)  3       1\n");
    CU_ASSERT_EQUAL(placement_lag(&placement), 22);
    CU_ASSERT_PTR_NOT_NULL(placement_find(&placement, "orders", 11));
    CU_ASSERT_PTR_NULL(placement_find(&placement, "orders", 1));
    CU_ASSERT_PTR_NULL(placement_find_broker(&placement, 2));
    placement_fini(&placement);
}

static void what_is_lost_for_good_is_named_with_what_can_be_done(void)
{
    struct placement placement = placement_of(
        "{\"Brokers\":[],\"Totals\":{\"Partitions\":2,\"Leaderless\":1,\"Lacking\":1,\"Moving\":0,\"Lost\":1},"
        "\"Partitions\":[{\"Topic\":\"pair\",\"Partition\":4,\"Leader\":null,\"Moving\":false,\"Lost\":true,"
        "\"Replicas\":[]}]}");
    struct buf out;
    buf_init(&out, 1 << 16);
    placement_show(&out, &placement);
    buf_u8(&out, 0);
    CU_ASSERT_FALSE(out.bad);
    CU_ASSERT_PTR_NOT_NULL(strstr((const char *)out.data, "1 lacking replicas, 0 moving, 1 lost for good\n"));
    CU_ASSERT_PTR_NOT_NULL(strstr((const char *)out.data, "\nLost for good: pair/4\n"));
    CU_ASSERT_PTR_NOT_NULL(strstr((const char *)out.data, "delete the topic and make it anew"));
    buf_fini(&out);
    placement_fini(&placement);
}

static void what_moved_is_told_by_partition(void)
{
#define HEAD "{\"Brokers\":[],\"Totals\":{\"Partitions\":3},\"Partitions\":["
#define ONE(topic, number, leader, a, b)                                                                               \
    "{\"Topic\":\"" topic "\",\"Partition\":" #number ",\"Leader\":" #leader                                           \
    ",\"Replicas\":[" REPLICA(a, true, true, true, 0) "," REPLICA(b, true, true, true, 0) "]}"
    struct placement before = placement_of(
        HEAD ONE("a", 0, 1, 1, 2) "," ONE("b", 0, 1, 1, 2) "," ONE("c", 1, 2, 2, 3) "," ONE("d", 0, 2, 2, 3) "]}");
    struct placement after = placement_of(
        HEAD ONE("a", 0, 2, 1, 2) "," ONE("c", 1, 3, 4, 3) "," ONE("d", 0, 2, 2, 3) "," ONE("e", 0, 2, 2, 3) "]}");
    struct buf out;
    buf_init(&out, 4096);
    struct placement_changes changes = placement_compare(&out, &before, &after, 5);
    buf_u8(&out, 0);
    CU_ASSERT_EQUAL(changes.replicas, 1);
    CU_ASSERT_EQUAL(changes.leaders, 2);
    CU_ASSERT_STRING_EQUAL((const char *)out.data, "a/0: 1,2 led by 1 -> 1,2 led by 2\n"
                                                   "c/1: 2,3 led by 2 -> 4,3 led by 3\n");
    buf_reset(&out);
    (void)placement_compare(&out, &before, &after, 1);
    buf_u8(&out, 0);
    CU_ASSERT_STRING_EQUAL((const char *)out.data, "a/0: 1,2 led by 1 -> 1,2 led by 2\nand 1 more partitions\n");
    buf_fini(&out);
    placement_fini(&before);
    placement_fini(&after);
}

static void what_is_no_status_is_refused(void)
{
    static const char *const bad[] = {
        "{}", "[]", "{\"Brokers\":[],\"Partitions\":[]}",
        "{\"Brokers\":[],\"Totals\":{\"Partitions\":1},\"Partitions\":[{\"Topic\":1}]}",
        "{\"Brokers\":[],\"Totals\":{\"Partitions\":1},\"Partitions\":[{\"Topic\":\"t\",\"Partition\":0}]}"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char why[100];
        struct placement placement;
        yajl_val root = yajl_tree_parse(bad[i], why, sizeof(why));
        CU_ASSERT_PTR_NOT_NULL_FATAL(root);
        CU_ASSERT_EQUAL(placement_read(&placement, root, &fault), KQ_GARBAGE);
        placement_fini(&placement);
        yajl_tree_free(root);
    }
}

static const struct unit_case cases[] = {
    {"a list of brokers is gone through in turn", a_list_of_brokers_is_gone_through_in_turn},
    {"a bad list changes nothing", a_bad_list_changes_nothing},
    {"patience ends sooner where others may answer", patience_ends_sooner_where_others_may_answer},
    {"a healthy cluster is brokers and a sentence", a_healthy_cluster_is_brokers_and_a_sentence},
    {"what is missing is listed by partition", what_is_missing_is_listed_by_partition},
    {"what is lost for good is named with what can be done", what_is_lost_for_good_is_named_with_what_can_be_done},
    {"what moved is told by partition", what_moved_is_told_by_partition},
    {"what is no status is refused", what_is_no_status_is_refused},
};
UNIT_MAIN("client of a cluster", cases)
