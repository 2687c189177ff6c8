/*
 * Directed scenarios: stories that once broke somebody, told to a simulated cluster
 * under load. Each is played in place of the faults by chance; clients, judges and the
 * end are the same.
 */
#ifndef KQ_TESTS_SIM_SCENARIOS_H
#define KQ_TESTS_SIM_SCENARIOS_H

#include "sim/chance.h"

#include <stdbool.h>
#include <stdint.h>

struct scenario {
    const char *name;
    const char *what;
    unsigned brokers;
    /* False: judge_fails was called, or the story cannot be told. */
    bool (*play)(struct chance *chance);
};

/* The table; *count rows. */
const struct scenario *scenarios(unsigned *count);

/* Every partition has its leader and all its replicas, as some broker tells it, within
 * this time. False: not; *last (may be NULL) is what was said last. */
bool cluster_settles(int64_t within_ns, const char **last);

#endif
