/*
 * Where messages lie, as the entries say that leaders send: value -> partition and
 * offset. A reply names no offset, and what retention took nobody can read any more;
 * with this the judge of the histories knows all the same whether an acknowledged
 * message may be gone.
 */
#ifndef KQ_TESTS_SIM_PLACES_H
#define KQ_TESTS_SIM_PLACES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct places;

/* The values of an entry's body; NULL: it has none. Never freed. */
struct places *places_of(const uint8_t *body, size_t bytes);
/* The entry is committed, in this partition of some topic. */
void places_committed(const struct places *places, uint32_t partition);
/* False: no entry with it was seen to be committed, or more than one. */
bool places_find(uint64_t value, uint32_t *partition, int64_t *offset);

#endif
