/*
 * What a cluster at rest may say, counted on the model's wires and disks when nobody has
 * used it for longer than sessions last:
 *
 *   - brokers: so many frames a second from each to each other, however many partitions
 *     there are; none of them of a group;
 *   - one publish: at most four messages a follower of its partition and their answers; one
 *     flush on each disk until it is acknowledged; its payload once to each follower, or
 *     twice to one that had no room for it at once, and a bound for what stands around it;
 *     and of some one with nothing to spare: a message and an answer for each follower.
 */
#ifndef KQ_TESTS_SIM_BUDGETS_H
#define KQ_TESTS_SIM_BUDGETS_H

/* All is healed, whole, and no client is there any more. Fails the run with the figures. */
void budgets_judge(void);

#endif
