/* What raw Kafka tests do all the time: topics, records in, records out. Main thread; answers
 * live until the caller's next. */
#ifndef KQ_TESTS_E2E_KAFKA_STEPS_H
#define KQ_TESTS_E2E_KAFKA_STEPS_H

#include "e2e/kafka_caller.h"
#include "proto/kafka/api_fetch.h"
#include "proto/kafka/api_produce.h"

enum { STEP_TIMEOUT_MS = 20000 };

/* A topic with one setting (key NULL: none). */
void step_topic(struct kafka_caller *c, const char *name, int32_t partitions, int16_t replicas, const char *key,
                const char *value);
struct uuid step_topic_id(struct kafka_caller *c, const char *name);

/* A batch of `records` records (1 if 0) of value_bytes bytes each ("value" if 0). */
struct step_batch {
    const char *topic;
    int32_t partition;
    int32_t records;
    size_t value_bytes;
    int64_t time_ms; /* of the first; each next is one later; 0: the wall clock */
    bool numbered;   /* by this producer: */
    int64_t producer_id;
    int16_t producer_epoch;
    int32_t sequence;
    int16_t acks;            /* 0 is -1; silent: 0 */
    bool silent;             /* acks 0 */
    bool gzip;               /* in gzip's envelope */
    const int64_t *times_ms; /* of each record; NULL: as above */
};
/* Sends it in this version; its id. */
int32_t step_send(struct kafka_caller *c, int16_t version, const struct step_batch *batch);
struct kafka_produce_response_partition step_produced(struct kafka_caller *c, int16_t version, int32_t id);
struct kafka_produce_response_partition step_produce(struct kafka_caller *c, const struct step_batch *batch);

/* A fetch of partitions of one topic: partition first + i from offs[i] on (NULL: from 0). */
struct step_fetch {
    const char *topic; /* or, from version 13 on */
    struct uuid topic_id;
    int16_t version; /* 11 if 0 */
    int32_t first;
    int32_t count;
    const int64_t *offs;
    int32_t forgets; /* 1 + a partition to be forgotten; 0: none */
    int32_t session_id;
    int32_t session_epoch;
    int32_t wait_ms;
    int32_t min_bytes;
    int32_t max_bytes;      /* 0: much */
    int32_t part_max_bytes; /* 0: much */
};
int32_t step_fetch_send(struct kafka_caller *c, const struct step_fetch *fetch);
const struct kafka_fetch_response *step_fetched(struct kafka_caller *c, int16_t version, int32_t id);
const struct kafka_fetch_response *step_fetch(struct kafka_caller *c, const struct step_fetch *fetch);
/* Its partitions, whatever their topics. */
int32_t step_fetch_count(const struct kafka_fetch_response *answer);
/* The i-th of them. */
const struct kafka_fetch_response_partition *step_fetch_at(const struct kafka_fetch_response *answer, int32_t i);

#endif
