/*
 * The words in which api_*.c describe a message. A row names the C struct, the field
 * and its type, then what is special about it:
 *
 *    {FIELD(kafka_x, acks, INT16)},                             in every version
 *    {FIELD(kafka_x, group, STRING), FROM(5), NULLABLE(7)},     from 5 on; null from 7 on
 *    {ARRAY(kafka_x, replicas, INT32), UNTIL(3)},               the last version is 3
 *    {STRUCTS(kafka_x, topics, kafka_y), FROM(1)},              an array of struct kafka_y
 *    {STRUCT(kafka_x, leader, kafka_z), FROM(10), TAG(0)},      a tagged field
 *
 * Only for api_*.c: the words are short and would be in the way elsewhere.
 */
#ifndef KQ_PROTO_KAFKA_ROWS_H
#define KQ_PROTO_KAFKA_ROWS_H

#include "proto/kafka/shape.h"

#define PLACE(owner, member)                                                                                           \
    .name = #member, .at = offsetof(struct owner, member), .bytes = sizeof(((struct owner *)0)->member)
#define FIELD(owner, member, kind) PLACE(owner, member), .type = KAFKA_TYPE_##kind
#define ARRAY(owner, member, kind) FIELD(owner, member, kind), .array = true
#define STRUCT(owner, member, kind) FIELD(owner, member, STRUCT), .of = &kind##_shape
#define STRUCTS(owner, member, kind) STRUCT(owner, member, kind), .array = true
#define FROM(version) .from = (version)
#define UNTIL(version) .gone = (version) + 1
#define NULLABLE(version) .nullable = (version) + 1
#define TAG(number) .tag = (number) + 1
#define DEFAULT(value) .absent = (value)
#define SHAPE(owner, rows)                                                                                             \
    const struct kafka_shape owner##_shape = {.name = #owner,                                                          \
                                              .fields = (rows),                                                        \
                                              .field_count = sizeof(rows) / sizeof((rows)[0]),                         \
                                              .bytes = sizeof(struct owner)}

#endif
