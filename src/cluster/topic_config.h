/*
 * What a topic may set for itself: every key that Kafka 4 knows of a topic, with its
 * type, default and range. Each value is one whole number in here (bytes, milliseconds,
 * a choice, the set of a list's words, millionths of a ratio); what is not set follows
 * the broker, or has the default of the key.
 *
 * Those that change something are told by topic_config_limits(), and cleanup.policy:
 * a topic whose policy is compact alone loses nothing to retention. The others are kept
 * and reported, and nothing follows from them here; their row says so.
 */
#ifndef KQ_CLUSTER_TOPIC_CONFIG_H
#define KQ_CLUSTER_TOPIC_CONFIG_H

#include "base/err.h"
#include "partition/partition.h"

/* The records have names, not these numbers: the order is free. */
enum topic_config_key {
    TOPIC_CONFIG_CLEANUP_POLICY,
    TOPIC_CONFIG_COMPRESSION_GZIP_LEVEL,
    TOPIC_CONFIG_COMPRESSION_LZ4_LEVEL,
    TOPIC_CONFIG_COMPRESSION_TYPE,
    TOPIC_CONFIG_COMPRESSION_ZSTD_LEVEL,
    TOPIC_CONFIG_DELETE_RETENTION_MS,
    TOPIC_CONFIG_FILE_DELETE_DELAY_MS,
    TOPIC_CONFIG_FLUSH_MESSAGES,
    TOPIC_CONFIG_FLUSH_MS,
    TOPIC_CONFIG_FOLLOWER_THROTTLED,
    TOPIC_CONFIG_INDEX_INTERVAL_BYTES,
    TOPIC_CONFIG_LEADER_THROTTLED,
    TOPIC_CONFIG_LOCAL_RETENTION_BYTES,
    TOPIC_CONFIG_LOCAL_RETENTION_MS,
    TOPIC_CONFIG_MAX_COMPACTION_LAG_MS,
    TOPIC_CONFIG_MAX_MESSAGE_BYTES,
    TOPIC_CONFIG_TIMESTAMP_AFTER_MAX_MS,
    TOPIC_CONFIG_TIMESTAMP_BEFORE_MAX_MS,
    TOPIC_CONFIG_TIMESTAMP_TYPE,
    TOPIC_CONFIG_MIN_DIRTY_RATIO,
    TOPIC_CONFIG_MIN_COMPACTION_LAG_MS,
    TOPIC_CONFIG_MIN_INSYNC_REPLICAS,
    TOPIC_CONFIG_PREALLOCATE,
    TOPIC_CONFIG_REMOTE_COPY_DISABLE,
    TOPIC_CONFIG_REMOTE_DELETE_ON_DISABLE,
    TOPIC_CONFIG_REMOTE_ENABLE,
    TOPIC_CONFIG_RETENTION_BYTES,
    TOPIC_CONFIG_RETENTION_MS,
    TOPIC_CONFIG_SEGMENT_BYTES,
    TOPIC_CONFIG_SEGMENT_INDEX_BYTES,
    TOPIC_CONFIG_SEGMENT_JITTER_MS,
    TOPIC_CONFIG_SEGMENT_MS,
    TOPIC_CONFIG_UNCLEAN_ELECTION,
    TOPIC_CONFIG_COUNT,
};

enum topic_config_kind {
    TOPIC_CONFIG_BOOL,
    TOPIC_CONFIG_INT,
    TOPIC_CONFIG_LONG,
    TOPIC_CONFIG_RATIO,  /* 0 to 1, in millionths */
    TOPIC_CONFIG_CHOICE, /* one of the words, by its place */
    TOPIC_CONFIG_LIST,   /* several of them, a bit each */
};

enum {
    TOPIC_CONFIG_TEXT_BYTES = 64, /* room for any value as text */
    TOPIC_CONFIG_DELETE = 1,      /* bits of cleanup.policy */
    TOPIC_CONFIG_COMPACT = 2,
};

struct topic_config {
    bool set[TOPIC_CONFIG_COUNT];
    int64_t value[TOPIC_CONFIG_COUNT];
};

/* A change of one key. */
enum topic_config_op {
    TOPIC_CONFIG_SET,
    TOPIC_CONFIG_UNSET,  /* back to the default; the value is not looked at */
    TOPIC_CONFIG_APPEND, /* of lists: words that are there already change nothing */
    TOPIC_CONFIG_SUBTRACT,
    TOPIC_CONFIG_OP_COUNT,
};

struct topic_config_setting {
    enum topic_config_key key;
    enum topic_config_op op;
    int64_t value;
};

enum { TOPIC_CONFIG_SETTINGS_MAX = 2 * TOPIC_CONFIG_COUNT }; /* at a time */

/* Any thread, all of these. NULL: no such key. */
const char *topic_config_name(enum topic_config_key key);
enum topic_config_kind topic_config_kind(enum topic_config_key key);
/* What it does, in a sentence. */
const char *topic_config_why(enum topic_config_key key);
/* False: no such key. */
bool topic_config_find(const char *name, enum topic_config_key *key);
/* KQ_INVALID: *fault says what is wrong and what would be right. */
enum kq_err topic_config_parse(const char *name, const char *value, enum topic_config_key *key, int64_t *number,
                               struct fault *fault);
/* A change from the texts of a user. KQ_INVALID as above, or the key is no list. */
enum kq_err topic_config_setting(const char *name, enum topic_config_op op, const char *value,
                                 struct topic_config_setting *setting, struct fault *fault);
/* Whether a setting that came as a number could have come as text. */
bool topic_config_is_sensible(const struct topic_config_setting *setting);
/* What a change makes of a topic's configuration. */
void topic_config_apply(struct topic_config *config, const struct topic_config_setting *setting);
/* The value that holds where nothing is set. *from_broker: it is one of the broker's own. */
int64_t topic_config_default(enum topic_config_key key, const struct partition_limits *defaults, bool *from_broker);
/* A value as users write it. */
void topic_config_text(enum topic_config_key key, int64_t value, char text[TOPIC_CONFIG_TEXT_BYTES]);
/* The limits that hold: what is set, over the defaults. */
struct partition_limits topic_config_limits(const struct topic_config *config, const struct partition_limits *defaults);

#endif
