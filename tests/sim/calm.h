/*
 * Which broker can be sure of what it says. One that hears no majority answers readers from
 * what it has (README, Limits): what it shows was committed, and may end before what
 * others were told is there; it still honours subscriptions that were given to somebody
 * else meanwhile. So the oracles that compare what one broker says with what another
 * acknowledged count for those alone that had a majority, of whichever replicas, all along.
 */
#ifndef KQ_TESTS_SIM_CALM_H
#define KQ_TESTS_SIM_CALM_H

#include <stdbool.h>
#include <stdint.h>

/* From now on. */
void calm_start(void);
/* It has run, and reached a majority of any partition's brokers and been reached by it, since this
 * time and for some while before, in which links were made anew. Alone: always. */
bool calm_since(unsigned broker, int64_t since_ns);

#endif
