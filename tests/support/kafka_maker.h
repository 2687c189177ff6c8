/*
 * Makes up Kafka messages from their descriptions: every field that a version has gets
 * a value (now and then null, empty, or its default), every other its default. The same
 * seed makes the same message.
 */
#ifndef KQ_TESTS_SUPPORT_KAFKA_MAKER_H
#define KQ_TESTS_SUPPORT_KAFKA_MAKER_H

#include "proto/kafka/shape.h"

struct kafka_maker {
    uint64_t state; /* the seed, not 0 */
    struct kafka_arena *arena;
};

/* Fills the struct at `to`; what it points to lies in the arena. */
void kafka_maker_fill(struct kafka_maker *maker, const struct kafka_shape *shape, struct kafka_dialect dialect,
                      void *to);

/* A number below `end`. */
uint32_t kafka_maker_below(struct kafka_maker *maker, uint32_t end);

#endif
