/*
 * What a topic may set for itself, by the keys that users and Kafka clients know:
 * retention.bytes, retention.ms, segment.bytes, max.message.bytes. Values are
 * plain whole numbers (bytes, milliseconds); what is not set follows the broker.
 */
#ifndef KQ_CLUSTER_TOPIC_CONFIG_H
#define KQ_CLUSTER_TOPIC_CONFIG_H

#include "base/err.h"
#include "partition/partition.h"

enum topic_config_key {
    TOPIC_CONFIG_RETENTION_BYTES,
    TOPIC_CONFIG_RETENTION_MS,
    TOPIC_CONFIG_SEGMENT_BYTES,
    TOPIC_CONFIG_MAX_MESSAGE_BYTES,
    TOPIC_CONFIG_COUNT,
};

struct topic_config {
    bool set[TOPIC_CONFIG_COUNT];
    int64_t value[TOPIC_CONFIG_COUNT];
};

/* Any thread, all of these. NULL: no such key. */
const char *topic_config_name(enum topic_config_key key);
/* False: no such key. */
bool topic_config_find(const char *name, enum topic_config_key *key);
/* KQ_INVALID: *fault says what is wrong and what would be right. */
enum kq_err topic_config_parse(const char *name, const char *value, enum topic_config_key *key, int64_t *number,
                               struct fault *fault);
/* The limits that hold: what is set, over the defaults. */
struct partition_limits topic_config_limits(const struct topic_config *config, const struct partition_limits *defaults);

#endif
