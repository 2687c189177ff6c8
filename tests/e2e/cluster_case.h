/* What the programs about clusters share: a fleet, a topic on it, witnesses. */
#ifndef KQ_TESTS_E2E_CLUSTER_CASE_H
#define KQ_TESTS_E2E_CLUSTER_CASE_H

#include "e2e/e2e.h"
#include "e2e/fleet.h"
#include "e2e/scenario.h"
#include "e2e/witness.h"

enum {
    GO_ON_MS = 20000, /* until publishing goes on after a fault, on a busy machine */
    WHOLE_MS = 30000, /* until nothing is missing any more */
    SKIPPED = 77,     /* a program's exit code, to Automake */
};

/* Three brokers with these settings (NULL: none), and the topic `t`. */
static inline struct fleet *fleet_with_topic(int brokers, int partitions, const char *setting, bool networks)
{
    struct fleet_spec spec = {.brokers = brokers, .networks = networks, .settings = {setting}};
    struct fleet *f = fleet_form(&spec);
    struct client *c = fleet_client(f, 1);
    topic_make(c, "t", partitions, "");
    client_close(&c);
    return f;
}

/* The leader of a partition of `t`, once one is known at broker `asked` (0: any). */
static inline int leader_of(const struct fleet *f, int asked, int partition)
{
    int leader = fleet_leader(f, asked, "t", partition, GO_ON_MS);
    if (leader == 0)
        harness_fail("nobody leads the partition");
    return leader;
}

/* One that runs and is not `id`. */
static inline int another(const struct fleet *f, int id)
{
    for (int other = 1; other <= fleet_size(f); other++)
        if (other != id && fleet_runs(f, other))
            return other;
    harness_fail("no other broker runs");
}

/* Under load, the leader of each partition is struck, one after the other, and put right again:
 * publishing goes on, another leads meanwhile, and nothing is lost. */
static inline void leaders_in_turn(int partitions, int rate, void (*strike)(struct fleet *f, int id),
                                   void (*put_right)(struct fleet *f, int id))
{
    struct fleet *f = fleet_with_topic(3, partitions, NULL, false);
    struct witness_spec spec = {
        .fleet = f, .topic = "t", .partitions = partitions, .publishers = 2, .plain = 3, .rate = rate};
    struct witness *w = witness_begin(&spec);
    for (int round = 0; round < partitions; round++) {
        CU_ASSERT_FATAL(witness_advances(w, 200, GO_ON_MS));
        int leader = leader_of(f, 0, round);
        strike(f, leader);
        CU_ASSERT_FATAL(witness_advances(w, 400, GO_ON_MS));
        CU_ASSERT(leader_of(f, another(f, leader), round) != leader);
        put_right(f, leader);
        CU_ASSERT_FATAL(fleet_whole(f, 3, WHOLE_MS));
    }
    witness_end(&w);
    fleet_end(&f);
}

#endif
