/*
 * Cables that are cut, both ways and one way, in networks of their own. A client goes on
 * reaching a broker that is cut off from the others: what that one can no longer promise it
 * must not say.
 */
#include "e2e/cluster_case.h"

#include "e2e/network.h"

enum { PARTITIONS = 3, RATE = 300 };

static struct witness *load(const struct fleet *f)
{
    struct witness_spec spec = {
        .fleet = f, .topic = "t", .partitions = PARTITIONS, .publishers = 2, .plain = 3, .rate = RATE};
    return witness_begin(&spec);
}

static void a_leader_that_is_cut_off_is_replaced(void)
{
    struct fleet *f = fleet_with_topic(3, PARTITIONS, NULL, true);
    struct witness *w = load(f);
    for (int round = 0; round < PARTITIONS; round++) {
        CU_ASSERT_FATAL(witness_advances(w, 200, GO_ON_MS));
        int leader = leader_of(f, 0, round);
        fleet_cut(f, leader);
        CU_ASSERT_FATAL(witness_advances(w, 400, GO_ON_MS));
        CU_ASSERT(leader_of(f, another(f, leader), round) != leader);
        fleet_heal(f, leader);
        CU_ASSERT_FATAL(fleet_whole(f, 3, WHOLE_MS));
    }
    witness_end(&w);
    fleet_end(&f);
}

/* What it sends to one of them is lost, and the answers with it; the third hears both. */
static void a_leader_that_one_follower_does_not_hear_goes_on(void)
{
    struct fleet *f = fleet_with_topic(3, PARTITIONS, NULL, true);
    struct witness *w = load(f);
    CU_ASSERT_FATAL(witness_advances(w, 200, GO_ON_MS));
    int leader = leader_of(f, 0, 0);
    int deaf = leader % 3 + 1;
    fleet_cut_one_way(f, leader, deaf);
    CU_ASSERT_FATAL(witness_advances(w, 800, GO_ON_MS));
    fleet_heal_one_way(f, leader, deaf);
    CU_ASSERT_FATAL(fleet_whole(f, 3, WHOLE_MS));
    CU_ASSERT_FATAL(witness_advances(w, 200, GO_ON_MS));
    witness_end(&w);
    fleet_end(&f);
}

/* It hears all and nobody hears it: it must not lead for ever in its own eyes. */
static void a_leader_that_nobody_hears_is_replaced(void)
{
    struct fleet *f = fleet_with_topic(3, PARTITIONS, NULL, true);
    struct witness *w = load(f);
    CU_ASSERT_FATAL(witness_advances(w, 200, GO_ON_MS));
    int leader = leader_of(f, 0, 0);
    for (int id = 1; id <= 3; id++)
        if (id != leader)
            fleet_cut_one_way(f, leader, id);
    CU_ASSERT_FATAL(witness_advances(w, 400, GO_ON_MS));
    CU_ASSERT(leader_of(f, another(f, leader), 0) != leader);
    for (int id = 1; id <= 3; id++)
        if (id != leader)
            fleet_heal_one_way(f, leader, id);
    CU_ASSERT_FATAL(fleet_whole(f, 3, WHOLE_MS));
    CU_ASSERT_FATAL(witness_advances(w, 200, GO_ON_MS));
    witness_end(&w);
    fleet_end(&f);
}

static const struct unit_case cases[] = {
    {"a leader that is cut off is replaced", a_leader_that_is_cut_off_is_replaced},
    {"a leader that one follower does not hear goes on", a_leader_that_one_follower_does_not_hear_goes_on},
    {"a leader that nobody hears is replaced", a_leader_that_nobody_hears_is_replaced},
};

int main(int argc, char **argv)
{
    (void)signal(SIGPIPE, SIG_IGN);
    if (!network_possible())
        return SKIPPED; /* network namespaces need root */
    return unit_main("cluster: cut", cases, sizeof(cases) / sizeof(cases[0]), argc > 1 ? argv[1] : NULL);
}
