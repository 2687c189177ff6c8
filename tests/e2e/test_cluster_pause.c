/*
 * Brokers that stand still and go on as if nothing had been (SIGSTOP, SIGCONT): what they
 * led is led by others meanwhile, and what they say when they wake is not believed.
 */
#include "e2e/cluster_case.h"

enum { PARTITIONS = 3, RATE = 400 };

static void leaders_stand_still_in_turn(void)
{
    leaders_in_turn(PARTITIONS, RATE, fleet_pause, fleet_resume);
}

/* Two of three stand still: what was under way may be acknowledged, and nothing more; when
 * they wake all goes on by itself. */
static void without_a_majority_nothing_is_acknowledged(void)
{
    struct fleet *f = fleet_with_topic(3, PARTITIONS, NULL, false);
    struct witness_spec spec = {
        .fleet = f, .topic = "t", .partitions = PARTITIONS, .publishers = 1, .plain = 2, .rate = RATE};
    struct witness *w = witness_begin(&spec);
    CU_ASSERT_FATAL(witness_advances(w, 200, GO_ON_MS));
    int leader = leader_of(f, 0, 0);
    for (int id = 1; id <= 3; id++)
        if (id != leader)
            fleet_pause(f, id);
    CU_ASSERT(witness_stands(w, 100, 3000));
    for (int id = 1; id <= 3; id++)
        if (id != leader)
            fleet_resume(f, id);
    CU_ASSERT_FATAL(witness_advances(w, 400, GO_ON_MS));
    CU_ASSERT(fleet_whole(f, 3, WHOLE_MS));
    witness_end(&w);
    fleet_end(&f);
}

static const struct unit_case cases[] = {
    {"leaders stand still in turn", leaders_stand_still_in_turn},
    {"without a majority nothing is acknowledged", without_a_majority_nothing_is_acknowledged},
};
E2E_MAIN("cluster: pause", cases)
