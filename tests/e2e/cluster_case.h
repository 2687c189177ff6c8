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

#endif
