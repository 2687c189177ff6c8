/*
 * Brokers that are killed, one after the other and all at once, and brokers that are
 * restarted in turn: nothing that was acknowledged is lost or doubled, and publishing
 * goes on in a moment.
 */
#include "e2e/cluster_case.h"

enum { PARTITIONS = 3, RATE = 400 };

static void leaders_are_killed_in_turn_under_load(void)
{
    leaders_in_turn(PARTITIONS, RATE, fleet_kill, fleet_start);
}

static void all_are_killed_at_once(void)
{
    struct fleet *f = fleet_with_topic(3, PARTITIONS, NULL, false);
    struct witness_spec spec = {
        .fleet = f, .topic = "t", .partitions = PARTITIONS, .publishers = 2, .plain = 3, .rate = RATE};
    struct witness *w = witness_begin(&spec);
    for (int round = 0; round < 2; round++) {
        CU_ASSERT_FATAL(witness_advances(w, 300, GO_ON_MS));
        for (int id = 1; id <= 3; id++)
            fleet_kill(f, id);
        fleet_start_all(f);
        CU_ASSERT_FATAL(witness_advances(w, 300, GO_ON_MS));
    }
    CU_ASSERT(fleet_whole(f, 3, WHOLE_MS));
    witness_end(&w);
    fleet_end(&f);
}

/* A stop hands over what the broker leads, answers what it took, and closes: a publisher
 * that goes to the next broker never hears an error, and hardly waits. */
static void a_rolling_restart_shows_no_error(void)
{
    struct fleet *f = fleet_with_topic(3, PARTITIONS, NULL, false);
    struct witness_spec spec = {.fleet = f, .topic = "t", .partitions = PARTITIONS, .publishers = 3, .rate = RATE};
    struct witness *w = witness_begin(&spec);
    for (int id = 1; id <= 3; id++) {
        CU_ASSERT_FATAL(witness_advances(w, 200, GO_ON_MS));
        fleet_stop(f, id);
        CU_ASSERT_FATAL(witness_advances(w, 200, GO_ON_MS));
        fleet_start(f, id);
        CU_ASSERT_FATAL(fleet_whole(f, 3, WHOLE_MS));
    }
    struct witness_account account = witness_account(w);
    CU_ASSERT_EQUAL(account.errors, 0);
    CU_ASSERT(SANITIZED || account.longest_us < 1000000);
    witness_end(&w);
    fleet_end(&f);
}

static const struct unit_case cases[] = {
    {"leaders are killed in turn under load", leaders_are_killed_in_turn_under_load},
    {"all are killed at once", all_are_killed_at_once},
    {"a rolling restart shows no error", a_rolling_restart_shows_no_error},
};
E2E_MAIN("cluster: kill", cases)
