/* The consumer protocol inside of the group protocol. See the header. */
#include "proto/kafka/consumer_protocol.h"

#include "proto/kafka/rows.h"

static const struct kafka_field consumer_partitions_fields[] = {
    {FIELD(kafka_consumer_partitions, topic, STRING)},
    {ARRAY(kafka_consumer_partitions, partitions, INT32)},
};
SHAPE(kafka_consumer_partitions, consumer_partitions_fields);

static const struct kafka_field consumer_subscription_fields[] = {
    {ARRAY(kafka_consumer_subscription, topics, STRING)},
    {FIELD(kafka_consumer_subscription, user_data, BYTES), NULLABLE(0)},
    {STRUCTS(kafka_consumer_subscription, owned_partitions, kafka_consumer_partitions), FROM(1)},
    {FIELD(kafka_consumer_subscription, generation_id, INT32), FROM(2), DEFAULT(-1)},
    {FIELD(kafka_consumer_subscription, rack_id, STRING), FROM(3), NULLABLE(3)},
};
SHAPE(kafka_consumer_subscription, consumer_subscription_fields);

static const struct kafka_field consumer_assignment_fields[] = {
    {STRUCTS(kafka_consumer_assignment, assigned_partitions, kafka_consumer_partitions)},
    {FIELD(kafka_consumer_assignment, user_data, BYTES), NULLABLE(0)},
};
SHAPE(kafka_consumer_assignment, consumer_assignment_fields);

static enum kq_err decode(const struct kafka_shape *shape, struct slice bytes, struct kafka_arena *arena, void *to)
{
    if (slice_is_absent(bytes))
        return KQ_GARBAGE;
    struct cursor in = cursor_over(bytes.data, bytes.len);
    int16_t version = (int16_t)cursor_be16(&in);
    if (in.bad || version < 0)
        return KQ_GARBAGE;
    if (version > KAFKA_CONSUMER_VERSION)
        version = KAFKA_CONSUMER_VERSION;
    return kafka_decode(shape, (struct kafka_dialect){.version = version, .flexible = false}, &in, arena, to);
}

enum kq_err kafka_subscription_decode(struct slice metadata, struct kafka_arena *arena,
                                      struct kafka_consumer_subscription *subscription)
{
    return decode(&kafka_consumer_subscription_shape, metadata, arena, subscription);
}

enum kq_err kafka_assignment_decode(struct slice bytes, struct kafka_arena *arena,
                                    struct kafka_consumer_assignment *assignment)
{
    return decode(&kafka_consumer_assignment_shape, bytes, arena, assignment);
}
