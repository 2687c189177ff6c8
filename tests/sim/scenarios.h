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

enum scenario_world {
    WORLD_DRAWN,     /* with or without retention, as the seed has it */
    WORLD_KEEPS_ALL, /* no retention: the story has topics of its own that it reads from the start */
    WORLD_DELETES,   /* as little is kept as may be: who is away for some seconds is left behind */
    WORLD_INTERVAL,  /* flush = interval */
};

struct scenario {
    const char *name;
    const char *what;
    unsigned brokers;
    unsigned replicas; /* of the clients' topics; 0: as the broker chooses */
    enum scenario_world world;
    /* False: judge_fails was called, or the story cannot be told. */
    bool (*play)(struct chance *chance);
    /* In place of starting all brokers, whose disks are empty; NULL: all are started. */
    void (*begin)(struct chance *chance);
};

/* The table; *count rows. */
const struct scenario *scenarios(unsigned *count);

/* ---- story_disks.c ---- */
bool story_all_lose_power(struct chance *chance);
bool story_a_wiped_disk_comes_back(struct chance *chance);
bool story_a_wiped_one_restarts_while_another_is_down(struct chance *chance);
bool story_a_leaders_disk_stalls(struct chance *chance);
bool story_a_disk_stalls_for_good(struct chance *chance);
bool story_a_bit_flips(struct chance *chance);
bool story_a_replica_is_quarantined(struct chance *chance);
bool story_two_replicas_and_one_is_lost(struct chance *chance);
bool story_disks_are_full(struct chance *chance);
/* ---- story_damage.c ---- */
bool story_heads_are_damaged(struct chance *chance);
bool story_a_tail_is_damaged(struct chance *chance);
/* ---- story_memory.c ---- */
bool story_a_folder_is_lost(struct chance *chance);
bool story_a_leader_sleeps(struct chance *chance);
bool story_one_forgets_what_it_promised(struct chance *chance);
/* ---- story_groups.c ---- */
bool story_a_coordinator_is_lost_with_commits(struct chance *chance);
/* ---- story_left.c ---- */
bool story_one_is_left_behind(struct chance *chance);
/* ---- story_persist.c ---- */
void story_power_goes_while_a_cluster_is_founded(struct chance *chance);
bool story_a_cluster_was_founded(struct chance *chance);
bool story_power_goes_between_steps(struct chance *chance);
bool story_calls_of_a_disk_fail(struct chance *chance);
/* ---- story_members.c ---- */
bool story_a_leader_is_drained(struct chance *chance);
bool story_a_new_member_is_cut_off(struct chance *chance);
bool story_a_topic_is_made_again_while_one_is_away(struct chance *chance);
bool story_a_leader_is_moved_away(struct chance *chance);
bool story_the_controller_is_removed(struct chance *chance);
bool story_leaders_change_all_the_while(struct chance *chance);
/* ---- story_terms.c ---- */
bool story_figure_8(struct chance *chance);
bool story_same_index_another_term(struct chance *chance);
/* ---- story_tails.c ---- */
bool story_a_long_tail_is_cut(struct chance *chance);
/* ---- story_clients.c ---- */
bool story_a_duplicate_comes_before_its_original_is_committed(struct chance *chance);
bool story_a_session_goes_on_while_its_leader_is_cut_off(struct chance *chance);
/* ---- story_links.c ---- */
bool story_a_leader_hears_nobody(struct chance *chance);
bool story_nobody_hears_the_leader(struct chance *chance);
bool story_five_are_partly_connected(struct chance *chance);

/* Every partition has its leader and all its replicas, as some broker tells it, within
 * this time. False: not; *last (may be NULL) is what was said last. */
bool cluster_settles(int64_t within_ns, const char **last);

#endif
