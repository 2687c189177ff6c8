#include "cluster/topic_config.h"

#include "base/require.h"

#include <inttypes.h>
#include <string.h>

struct row {
    const char *name;
    int64_t smallest;
    int64_t largest;
    const char *unit;
};

static const struct row rows[TOPIC_CONFIG_COUNT] = {
    [TOPIC_CONFIG_RETENTION_BYTES] = {"retention.bytes", -1, INT64_C(1) << 50, "bytes, -1 for no limit"},
    [TOPIC_CONFIG_RETENTION_MS] = {"retention.ms", -1, INT64_C(36500) * 86400000, "milliseconds, -1 for no limit"},
    [TOPIC_CONFIG_SEGMENT_BYTES] = {"segment.bytes", 64 * 1024, INT64_C(1) << 30, "bytes"},
    [TOPIC_CONFIG_MAX_MESSAGE_BYTES] = {"max.message.bytes", 1024, 64 * 1024 * 1024, "bytes"},
};

const char *topic_config_name(enum topic_config_key key)
{
    return key < TOPIC_CONFIG_COUNT ? rows[key].name : NULL;
}

bool topic_config_find(const char *name, enum topic_config_key *key)
{
    for (int i = 0; i < TOPIC_CONFIG_COUNT; i++)
        if (strcmp(rows[i].name, name) == 0) {
            *key = (enum topic_config_key)i;
            return true;
        }
    return false;
}

/* A whole number of at most 18 digits. */
static bool parse_whole(const char *text, int64_t *number)
{
    bool minus = *text == '-';
    const char *digits = text + minus;
    size_t len = strspn(digits, "0123456789");
    if (len == 0 || len > 18 || digits[len] != '\0')
        return false;
    int64_t n = 0;
    for (size_t i = 0; i < len; i++)
        n = n * 10 + (digits[i] - '0');
    *number = minus ? -n : n;
    return true;
}

enum kq_err topic_config_parse(const char *name, const char *value, enum topic_config_key *key, int64_t *number,
                               struct fault *fault)
{
    if (!topic_config_find(name, key))
        return fault_set(
            fault, KQ_INVALID,
            "%.60s is not a setting of a topic; there are retention.bytes, retention.ms, segment.bytes and "
            "max.message.bytes",
            name);
    const struct row *row = &rows[*key];
    if (!parse_whole(value, number) || *number < row->smallest || *number > row->largest)
        return fault_set(fault, KQ_INVALID, "%s = %.30s: a whole number from %" PRId64 " to %" PRId64 " is wanted (%s)",
                         row->name, value, row->smallest, row->largest, row->unit);
    return KQ_OK;
}

struct partition_limits topic_config_limits(const struct topic_config *config, const struct partition_limits *defaults)
{
    struct partition_limits limits = *defaults;
    if (config->set[TOPIC_CONFIG_RETENTION_BYTES])
        limits.retention_bytes = config->value[TOPIC_CONFIG_RETENTION_BYTES];
    if (config->set[TOPIC_CONFIG_RETENTION_MS])
        limits.retention_ms = config->value[TOPIC_CONFIG_RETENTION_MS];
    if (config->set[TOPIC_CONFIG_SEGMENT_BYTES])
        limits.segment_bytes = config->value[TOPIC_CONFIG_SEGMENT_BYTES];
    if (config->set[TOPIC_CONFIG_MAX_MESSAGE_BYTES])
        limits.max_message_bytes = (int32_t)config->value[TOPIC_CONFIG_MAX_MESSAGE_BYTES];
    REQUIRE(limits.segment_bytes > 0);
    return limits;
}
