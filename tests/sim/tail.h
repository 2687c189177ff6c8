/*
 * Of a failed run's trace the lines that explain the failure: what was done to the
 * cluster, and what touches the things that the failure's own words name (a partition, a
 * group, an index, a message, an operation). From the first of these on, at most `most`.
 */
#ifndef KQ_TESTS_SIM_TAIL_H
#define KQ_TESTS_SIM_TAIL_H

/* To stderr. why: the failure; words that mean something in it: t0/1, t0-1, /kafkaesque-2/t0-1,
 * idx 17, v85, operation 12. What the last message of a group was about counts, too, where
 * that message was the last thing that happened. Nothing of that kind: the last lines. */
void tail_show(const char *why, unsigned kinds, unsigned most);

#endif
