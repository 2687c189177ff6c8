/*
 * What consumers put into JoinGroup's metadata and SyncGroup's assignment, when the
 * group's protocol type is "consumer": which topics a member wants, which partitions it
 * gets. A be16 version, then the fields. A broker passes both through untouched; it looks
 * inside only to say which topics a group reads and who reads which partition.
 *
 * PURE, as shape.h.
 */
#ifndef KQ_PROTO_KAFKA_CONSUMER_PROTOCOL_H
#define KQ_PROTO_KAFKA_CONSUMER_PROTOCOL_H

#include "proto/kafka/shape.h"

enum { KAFKA_CONSUMER_VERSION = 3 }; /* the highest that is described; later ones begin with the same fields */

struct kafka_consumer_partitions {
    struct slice topic;
    KAFKA_ARRAY(int32_t) partitions;
};

struct kafka_consumer_subscription {
    KAFKA_ARRAY(struct slice) topics;
    struct slice user_data;
    KAFKA_ARRAY(struct kafka_consumer_partitions) owned_partitions; /* v1 on */
    int32_t generation_id;                                          /* v2 on */
    struct slice rack_id;                                           /* v3 on */
};

struct kafka_consumer_assignment {
    KAFKA_ARRAY(struct kafka_consumer_partitions) assigned_partitions;
    struct slice user_data;
};

extern const struct kafka_shape kafka_consumer_partitions_shape;
extern const struct kafka_shape kafka_consumer_subscription_shape;
extern const struct kafka_shape kafka_consumer_assignment_shape;

/* Decode, borrowing from the bytes. KQ_GARBAGE (not a consumer's), KQ_TOO_LARGE, KQ_NO_MEMORY. */
enum kq_err kafka_subscription_decode(struct slice metadata, struct kafka_arena *arena,
                                      struct kafka_consumer_subscription *subscription);
enum kq_err kafka_assignment_decode(struct slice bytes, struct kafka_arena *arena,
                                    struct kafka_consumer_assignment *assignment);

#endif
