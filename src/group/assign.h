/*
 * Who gets which partition of a topic. Choices only: nothing is changed here.
 */
#ifndef KQ_GROUP_ASSIGN_H
#define KQ_GROUP_ASSIGN_H

#include "group/group_state.h"

/* A member gives one up for another only if it holds at least this many more than
 * the other does without it: after that neither holds two more than the other, so
 * nothing goes back and forth. */
enum { ASSIGN_GIVE_UP_DIFFERENCE = 2 };

/* The lowest free partition of [0, partition_count). False: none. topic may be NULL
 * (nothing is held). */
bool assign_free_partition(const struct group_topic *topic, uint32_t partition_count, uint32_t *partition);

/* The subscription to revoke in favour of somebody who holds held_count; the
 * member that holds most gives it, of several one whose session is gone, then
 * the one not seen for longest. NULL: nobody holds enough more. `except`: the one
 * who asks. */
struct subscription *assign_give_up(const struct group_topic *topic, const struct claim *except, uint32_t held_count);

/* Who gets a freed partition: of the members with a live session that asked for
 * more, the one that holds least, and the oldest of those. NULL: nobody. */
struct claim *assign_next_claimant(const struct group_topic *topic);

#endif
