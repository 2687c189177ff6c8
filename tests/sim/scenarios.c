#include "sim/scenarios.h"

const struct scenario *scenarios(unsigned *count)
{
    static const struct scenario table[] = {
        {"all-lose-power", "all brokers lose power at once, again and again", 3, 0, false, story_all_lose_power},
        {"wiped-disk", "a broker comes back with an empty disk; then the others die in turn", 3, 0, false,
         story_a_wiped_disk_comes_back},
        {"wiped-while-down", "a wiped broker restarts with the founding command while another is down", 3, 0, false,
         story_a_wiped_one_restarts_while_another_is_down},
        {"slow-leader", "a leader's disk stalls", 3, 0, false, story_a_leaders_disk_stalls},
        {"stalled-disk", "a leader's disk answers no more; others take over all it had", 5, 0, false,
         story_a_disk_stalls_for_good},
        {"quarantined", "a replica is damaged where it cannot mend itself; then the others die in turn", 3, 0, false,
         story_a_replica_is_quarantined},
        {"lost-half", "of two replicas one is away, then lost for good", 3, 0, true,
         story_two_replicas_and_one_is_lost},
        {"bit-flip", "a bit flips in a sealed segment", 3, 0, false, story_a_bit_flips},
        {"between-steps", "power goes between the steps of cuts, rolls and recoveries", 3, 0, false,
         story_power_goes_between_steps},
        {"failing-calls", "calls of disks fail under load, and brokers start again", 3, 0, false,
         story_calls_of_a_disk_fail},
        {"lost-folder", "a replica's folder is gone while who knows what it promised is down", 3, 0, false,
         story_a_folder_is_lost},
        {"asleep", "a leader sleeps, and is asked what it cannot know", 3, 0, true, story_a_leader_sleeps},
        {"drain-leader", "a leader is drained, and added again", 5, 0, false, story_a_leader_is_drained},
        {"move-leader", "a leader is moved away, again and again", 5, 0, false, story_a_leader_is_moved_away},
        {"remove-controller", "the controller, which leads all it holds, is drained and removed", 5, 0, false,
         story_the_controller_is_removed},
        {"cut-learner", "a partition's new member is cut off", 5, 0, false, story_a_new_member_is_cut_off},
        {"topic-again", "a topic is deleted and made again while a broker is away", 3, 0, true,
         story_a_topic_is_made_again_while_one_is_away},
        {"deaf-leader", "a leader sends and hears nobody", 3, 0, false, story_a_leader_hears_nobody},
        {"mute-leader", "a leader hears and nobody hears it", 3, 0, false, story_nobody_hears_the_leader},
        {"duplicate", "a publish is sent again before its original is committed", 3, 0, true,
         story_a_duplicate_comes_before_its_original_is_committed},
        {"session-order", "the leader is cut off while sessions publish in bursts", 3, 0, true,
         story_a_session_goes_on_while_its_leader_is_cut_off},
        {"figure-8", "an old entry on a majority, and a newer one that replaces it", 5, 0, true, story_figure_8},
        {"same-index", "a flush comes back when another entry stands in the place", 5, 0, true,
         story_same_index_another_term},
        {"partly-connected", "of five brokers one link is cut; then all but those of one", 5, 5, false,
         story_five_are_partly_connected},
    };
    *count = sizeof table / sizeof table[0];
    return table;
}
