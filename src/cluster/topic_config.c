#include "cluster/topic_config.h"

#include "base/require.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { WORDS_MAX = 6, MILLION = 1000000 };

#define DAY_MS INT64_C(86400000)
#define CENTURY_MS (36500 * DAY_MS)
#define MOST_BYTES (INT64_C(1) << 50)
#define SEGMENT_MOST_BYTES (INT64_C(1) << 30)
#define NO_EFFECT "kept and reported; nothing follows from it here: "

struct row {
    enum topic_config_kind kind;
    int64_t standard; /* where nothing is set, and the broker has no say */
    int64_t smallest;
    int64_t largest;
    const char *unit;
    const char *words[WORDS_MAX];
    const char *why;
};

#define NUMBER(kind, standard, smallest, largest, unit, why)                                                           \
    {                                                                                                                  \
        TOPIC_CONFIG_##kind, standard, smallest, largest, unit, {NULL}, why                                            \
    }

static const char *const names[TOPIC_CONFIG_COUNT] = {
    [TOPIC_CONFIG_CLEANUP_POLICY] = "cleanup.policy",
    [TOPIC_CONFIG_COMPRESSION_GZIP_LEVEL] = "compression.gzip.level",
    [TOPIC_CONFIG_COMPRESSION_LZ4_LEVEL] = "compression.lz4.level",
    [TOPIC_CONFIG_COMPRESSION_TYPE] = "compression.type",
    [TOPIC_CONFIG_COMPRESSION_ZSTD_LEVEL] = "compression.zstd.level",
    [TOPIC_CONFIG_DELETE_RETENTION_MS] = "delete.retention.ms",
    [TOPIC_CONFIG_FILE_DELETE_DELAY_MS] = "file.delete.delay.ms",
    [TOPIC_CONFIG_FLUSH_MESSAGES] = "flush.messages",
    [TOPIC_CONFIG_FLUSH_MS] = "flush.ms",
    [TOPIC_CONFIG_FOLLOWER_THROTTLED] = "follower.replication.throttled.replicas",
    [TOPIC_CONFIG_INDEX_INTERVAL_BYTES] = "index.interval.bytes",
    [TOPIC_CONFIG_LEADER_THROTTLED] = "leader.replication.throttled.replicas",
    [TOPIC_CONFIG_LOCAL_RETENTION_BYTES] = "local.retention.bytes",
    [TOPIC_CONFIG_LOCAL_RETENTION_MS] = "local.retention.ms",
    [TOPIC_CONFIG_MAX_COMPACTION_LAG_MS] = "max.compaction.lag.ms",
    [TOPIC_CONFIG_MAX_MESSAGE_BYTES] = "max.message.bytes",
    [TOPIC_CONFIG_TIMESTAMP_AFTER_MAX_MS] = "message.timestamp.after.max.ms",
    [TOPIC_CONFIG_TIMESTAMP_BEFORE_MAX_MS] = "message.timestamp.before.max.ms",
    [TOPIC_CONFIG_TIMESTAMP_TYPE] = "message.timestamp.type",
    [TOPIC_CONFIG_MIN_DIRTY_RATIO] = "min.cleanable.dirty.ratio",
    [TOPIC_CONFIG_MIN_COMPACTION_LAG_MS] = "min.compaction.lag.ms",
    [TOPIC_CONFIG_MIN_INSYNC_REPLICAS] = "min.insync.replicas",
    [TOPIC_CONFIG_PREALLOCATE] = "preallocate",
    [TOPIC_CONFIG_REMOTE_COPY_DISABLE] = "remote.log.copy.disable",
    [TOPIC_CONFIG_REMOTE_DELETE_ON_DISABLE] = "remote.log.delete.on.disable",
    [TOPIC_CONFIG_REMOTE_ENABLE] = "remote.storage.enable",
    [TOPIC_CONFIG_RETENTION_BYTES] = "retention.bytes",
    [TOPIC_CONFIG_RETENTION_MS] = "retention.ms",
    [TOPIC_CONFIG_SEGMENT_BYTES] = "segment.bytes",
    [TOPIC_CONFIG_SEGMENT_INDEX_BYTES] = "segment.index.bytes",
    [TOPIC_CONFIG_SEGMENT_JITTER_MS] = "segment.jitter.ms",
    [TOPIC_CONFIG_SEGMENT_MS] = "segment.ms",
    [TOPIC_CONFIG_UNCLEAN_ELECTION] = "unclean.leader.election.enable",
};

static const struct row rows[TOPIC_CONFIG_COUNT] = {
    [TOPIC_CONFIG_CLEANUP_POLICY] = {TOPIC_CONFIG_LIST,
                                     TOPIC_CONFIG_DELETE,
                                     0,
                                     0,
                                     "",
                                     {"delete", "compact"},
                                     "delete: old segments go by retention; compact alone: nothing goes. Logs are not "
                                     "compacted by this version."},
    [TOPIC_CONFIG_COMPRESSION_GZIP_LEVEL] =
        NUMBER(INT, -1, -1, 9, "a level", NO_EFFECT "batches are stored as their producers made them."),
    [TOPIC_CONFIG_COMPRESSION_LZ4_LEVEL] =
        NUMBER(INT, 9, 1, 17, "a level", NO_EFFECT "batches are stored as their producers made them."),
    [TOPIC_CONFIG_COMPRESSION_TYPE] = {TOPIC_CONFIG_CHOICE,
                                       5,
                                       0,
                                       0,
                                       "",
                                       {"uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"},
                                       "batches are always stored as their producers made them (producer); other "
                                       "values are kept and reported only."},
    [TOPIC_CONFIG_COMPRESSION_ZSTD_LEVEL] =
        NUMBER(INT, 3, -131072, 22, "a level", NO_EFFECT "batches are stored as their producers made them."),
    [TOPIC_CONFIG_DELETE_RETENTION_MS] =
        NUMBER(LONG, DAY_MS, 0, INT64_MAX, "milliseconds", NO_EFFECT "logs are not compacted."),
    [TOPIC_CONFIG_FILE_DELETE_DELAY_MS] =
        NUMBER(LONG, 60000, 0, INT64_MAX, "milliseconds", NO_EFFECT "files go when nobody reads them any more."),
    [TOPIC_CONFIG_FLUSH_MESSAGES] = NUMBER(LONG, INT64_MAX, 1, INT64_MAX, "messages",
                                           NO_EFFECT "when messages are flushed is the broker's setting `flush`."),
    [TOPIC_CONFIG_FLUSH_MS] = NUMBER(LONG, INT64_MAX, 0, INT64_MAX, "milliseconds",
                                     NO_EFFECT "when messages are flushed is the broker's setting `flush`."),
    [TOPIC_CONFIG_FOLLOWER_THROTTLED] =
        {TOPIC_CONFIG_LIST, 0, 0, 0, "", {"*"}, NO_EFFECT "catching up is throttled by the broker."},
    [TOPIC_CONFIG_INDEX_INTERVAL_BYTES] =
        NUMBER(INT, 4096, 0, INT32_MAX, "bytes", NO_EFFECT "every entry of the log is in the index."),
    [TOPIC_CONFIG_LEADER_THROTTLED] =
        {TOPIC_CONFIG_LIST, 0, 0, 0, "", {"*"}, NO_EFFECT "catching up is throttled by the broker."},
    [TOPIC_CONFIG_LOCAL_RETENTION_BYTES] =
        NUMBER(LONG, -2, -2, INT64_MAX, "bytes", NO_EFFECT "there is no tiered storage."),
    [TOPIC_CONFIG_LOCAL_RETENTION_MS] =
        NUMBER(LONG, -2, -2, INT64_MAX, "milliseconds", NO_EFFECT "there is no tiered storage."),
    [TOPIC_CONFIG_MAX_COMPACTION_LAG_MS] =
        NUMBER(LONG, INT64_MAX, 1, INT64_MAX, "milliseconds", NO_EFFECT "logs are not compacted."),
    [TOPIC_CONFIG_MAX_MESSAGE_BYTES] =
        NUMBER(INT, 1048588, 1024, 64 * 1024 * 1024, "bytes", "the largest record batch that is taken."),
    [TOPIC_CONFIG_TIMESTAMP_AFTER_MAX_MS] =
        NUMBER(LONG, 3600000, 0, INT64_MAX, "milliseconds",
               "a batch whose time is further ahead of the broker's is refused, with CreateTime."),
    [TOPIC_CONFIG_TIMESTAMP_BEFORE_MAX_MS] =
        NUMBER(LONG, INT64_MAX, 0, INT64_MAX, "milliseconds",
               "a batch whose time is further behind the broker's is refused, with CreateTime."),
    [TOPIC_CONFIG_TIMESTAMP_TYPE] = {TOPIC_CONFIG_CHOICE,
                                     0,
                                     0,
                                     0,
                                     "",
                                     {"CreateTime", "LogAppendTime"},
                                     "whose time a message has: its producer's, or the broker's that took it."},
    [TOPIC_CONFIG_MIN_DIRTY_RATIO] =
        NUMBER(RATIO, MILLION / 2, 0, MILLION, "a part of 1", NO_EFFECT "logs are not compacted."),
    [TOPIC_CONFIG_MIN_COMPACTION_LAG_MS] =
        NUMBER(LONG, 0, 0, INT64_MAX, "milliseconds", NO_EFFECT "logs are not compacted."),
    [TOPIC_CONFIG_MIN_INSYNC_REPLICAS] = NUMBER(INT, 1, 1, INT32_MAX, "replicas",
                                                "with acks=all a publish is refused while fewer replicas are in sync; "
                                                "a majority of them has it in any case."),
    [TOPIC_CONFIG_PREALLOCATE] =
        NUMBER(BOOL, 0, 0, 1, "", NO_EFFECT "segments are prepared ahead of need in any case."),
    [TOPIC_CONFIG_REMOTE_COPY_DISABLE] = NUMBER(BOOL, 0, 0, 1, "", NO_EFFECT "there is no tiered storage."),
    [TOPIC_CONFIG_REMOTE_DELETE_ON_DISABLE] = NUMBER(BOOL, 0, 0, 1, "", NO_EFFECT "there is no tiered storage."),
    [TOPIC_CONFIG_REMOTE_ENABLE] = NUMBER(BOOL, 0, 0, 0, "", "there is no tiered storage: it is always false."),
    [TOPIC_CONFIG_RETENTION_BYTES] =
        NUMBER(LONG, -1, -1, INT64_MAX, "bytes, -1 for no limit", "a partition's oldest segments go beyond it."),
    [TOPIC_CONFIG_RETENTION_MS] = NUMBER(LONG, 7 * DAY_MS, -1, INT64_MAX, "milliseconds, -1 for no limit",
                                         "a segment goes when its youngest message is older."),
    [TOPIC_CONFIG_SEGMENT_BYTES] =
        NUMBER(INT, SEGMENT_MOST_BYTES, 64 * 1024, INT32_MAX, "bytes",
               "a log file is followed by the next at this size; 1 GiB is the most that is used."),
    [TOPIC_CONFIG_SEGMENT_INDEX_BYTES] =
        NUMBER(INT, 10485760, 4, INT32_MAX, "bytes", NO_EFFECT "an index has room for all of its log file."),
    [TOPIC_CONFIG_SEGMENT_JITTER_MS] =
        NUMBER(LONG, 0, 0, INT64_MAX, "milliseconds", NO_EFFECT "segments end when they are due."),
    [TOPIC_CONFIG_SEGMENT_MS] =
        NUMBER(LONG, 7 * DAY_MS, 1, INT64_MAX, "milliseconds",
               "a log file is followed by the next when its first message is older; counted from "
               "a start of the broker on."),
    [TOPIC_CONFIG_UNCLEAN_ELECTION] = NUMBER(BOOL, 0, 0, 1, "", NO_EFFECT "a leader always has all that is committed."),
};

const char *topic_config_name(enum topic_config_key key)
{
    return key < TOPIC_CONFIG_COUNT ? names[key] : NULL;
}

enum topic_config_kind topic_config_kind(enum topic_config_key key)
{
    return rows[key].kind;
}

const char *topic_config_why(enum topic_config_key key)
{
    return rows[key].why;
}

bool topic_config_find(const char *name, enum topic_config_key *key)
{
    for (int i = 0; i < TOPIC_CONFIG_COUNT; i++)
        if (strcmp(names[i], name) == 0) {
            *key = (enum topic_config_key)i;
            return true;
        }
    return false;
}

/* ---- text to number ------------------------------------------------------------------------- */

static bool parse_whole(const char *text, int64_t *number)
{
    bool minus = *text == '-';
    const char *digits = text + minus;
    size_t len = strspn(digits, "0123456789");
    if (len == 0 || len > 19 || digits[len] != '\0')
        return false;
    uint64_t n = 0;
    for (size_t i = 0; i < len; i++)
        n = n * 10 + (uint64_t)(digits[i] - '0'); /* 19 digits fit */
    if (n > (uint64_t)INT64_MAX)
        return false;
    *number = minus ? -(int64_t)n : (int64_t)n;
    return true;
}

/* "0.5", "1", ".25": six places count. */
static bool parse_ratio(const char *text, int64_t *millionths)
{
    int64_t n = 0, unit = MILLION;
    size_t whole = strspn(text, "01");
    const char *at = text + whole;
    if (whole > 1 || (whole == 0 && *at != '.'))
        return false;
    n = whole == 1 && text[0] == '1' ? MILLION : 0;
    if (*at == '.')
        for (at++; *at >= '0' && *at <= '9'; at++) {
            unit /= 10;
            n += unit * (*at - '0');
        }
    *millionths = n;
    return *at == '\0' && n <= MILLION;
}

static bool find_word(const struct row *row, const char *text, size_t len, int64_t *place)
{
    for (int i = 0; i < WORDS_MAX && row->words[i] != NULL; i++)
        if (strlen(row->words[i]) == len && memcmp(row->words[i], text, len) == 0) {
            *place = i;
            return true;
        }
    return false;
}

/* Words with commas between them; blanks around them do not matter. */
static bool parse_list(const struct row *row, const char *text, int64_t *bits)
{
    *bits = 0;
    while (*text != '\0') {
        size_t len = strcspn(text, ",");
        const char *word = text;
        size_t word_len = len;
        while (word_len > 0 && *word == ' ') {
            word++;
            word_len--;
        }
        while (word_len > 0 && word[word_len - 1] == ' ')
            word_len--;
        int64_t place;
        if (!find_word(row, word, word_len, &place))
            return false;
        *bits |= INT64_C(1) << place;
        text += len + (text[len] == ',');
    }
    return true;
}

static bool parse_value(const struct row *row, const char *value, int64_t *number)
{
    switch (row->kind) {
    case TOPIC_CONFIG_BOOL:
        *number = strcmp(value, "true") == 0;
        return (*number == 1 || strcmp(value, "false") == 0) && *number <= row->largest;
    case TOPIC_CONFIG_INT:
    case TOPIC_CONFIG_LONG:
        return parse_whole(value, number) && *number >= row->smallest && *number <= row->largest;
    case TOPIC_CONFIG_RATIO:
        return parse_ratio(value, number);
    case TOPIC_CONFIG_CHOICE:
        return find_word(row, value, strlen(value), number);
    case TOPIC_CONFIG_LIST:
        return parse_list(row, value, number);
    }
    REQUIRE(false);
    return false;
}

static enum kq_err say_wrong(enum topic_config_key key, const char *value, struct fault *fault)
{
    const struct row *row = &rows[key];
    char wanted[160] = "";
    size_t used = 0;
    switch (row->kind) {
    case TOPIC_CONFIG_BOOL:
        (void)snprintf(wanted, sizeof wanted, row->largest == 0 ? "false is the only value" : "true or false");
        break;
    case TOPIC_CONFIG_INT:
    case TOPIC_CONFIG_LONG:
        (void)snprintf(wanted, sizeof wanted, "a whole number from %" PRId64 " to %" PRId64 " is wanted (%s)",
                       row->smallest, row->largest, row->unit);
        break;
    case TOPIC_CONFIG_RATIO:
        (void)snprintf(wanted, sizeof wanted, "a number from 0 to 1 is wanted");
        break;
    case TOPIC_CONFIG_CHOICE:
    case TOPIC_CONFIG_LIST:
        for (int i = 0; i < WORDS_MAX && row->words[i] != NULL && used < sizeof wanted; i++)
            used += (size_t)snprintf(wanted + used, sizeof wanted - used, "%s%s", i == 0 ? "it may be " : ", ",
                                     row->words[i]);
        break;
    }
    return fault_set(fault, KQ_INVALID, "%s = %.30s: %s", names[key], value, wanted);
}

enum kq_err topic_config_parse(const char *name, const char *value, enum topic_config_key *key, int64_t *number,
                               struct fault *fault)
{
    if (!topic_config_find(name, key))
        return fault_set(fault, KQ_INVALID,
                         "%.60s is not a setting of a topic; there are retention.bytes, retention.ms, segment.bytes, "
                         "max.message.bytes and the others of Kafka 4",
                         name);
    return parse_value(&rows[*key], value, number) ? KQ_OK : say_wrong(*key, value, fault);
}

enum kq_err topic_config_setting(const char *name, enum topic_config_op op, const char *value,
                                 struct topic_config_setting *setting, struct fault *fault)
{
    *setting = (struct topic_config_setting){.op = op};
    if (op == TOPIC_CONFIG_UNSET && topic_config_find(name, &setting->key))
        return KQ_OK;
    enum kq_err err = topic_config_parse(name, value == NULL ? "" : value, &setting->key, &setting->value, fault);
    bool of_lists = op == TOPIC_CONFIG_APPEND || op == TOPIC_CONFIG_SUBTRACT;
    if (err == KQ_OK && of_lists && rows[setting->key].kind != TOPIC_CONFIG_LIST)
        return fault_set(fault, KQ_INVALID, "%s is no list: nothing can be appended to it or taken from it", name);
    return err;
}

static int word_count(const struct row *row)
{
    int count = 0;
    while (count < WORDS_MAX && row->words[count] != NULL)
        count++;
    return count;
}

static bool is_valid(const struct row *row, int64_t value)
{
    if (row->kind == TOPIC_CONFIG_CHOICE)
        return value >= 0 && value < word_count(row);
    if (row->kind == TOPIC_CONFIG_LIST)
        return value >= 0 && value < INT64_C(1) << word_count(row);
    return value >= row->smallest && value <= row->largest;
}

bool topic_config_is_sensible(const struct topic_config_setting *setting)
{
    if (setting->key >= TOPIC_CONFIG_COUNT || setting->op >= TOPIC_CONFIG_OP_COUNT)
        return false;
    const struct row *row = &rows[setting->key];
    bool of_lists = setting->op == TOPIC_CONFIG_APPEND || setting->op == TOPIC_CONFIG_SUBTRACT;
    return setting->op == TOPIC_CONFIG_UNSET ||
           (is_valid(row, setting->value) && (!of_lists || row->kind == TOPIC_CONFIG_LIST));
}

void topic_config_apply(struct topic_config *config, const struct topic_config_setting *setting)
{
    int64_t before = config->set[setting->key] ? config->value[setting->key] : rows[setting->key].standard;
    int64_t after = setting->value;
    if (setting->op == TOPIC_CONFIG_APPEND)
        after = before | setting->value;
    if (setting->op == TOPIC_CONFIG_SUBTRACT)
        after = before & ~setting->value;
    config->set[setting->key] = setting->op != TOPIC_CONFIG_UNSET;
    config->value[setting->key] = config->set[setting->key] ? after : 0;
}

/* ---- number to text ---------------------------------------------------------------------------- */

static void ratio_text(int64_t millionths, char text[TOPIC_CONFIG_TEXT_BYTES])
{
    int len =
        snprintf(text, TOPIC_CONFIG_TEXT_BYTES, "%d.%06d", (int)(millionths / MILLION), (int)(millionths % MILLION));
    while (len > 3 && text[len - 1] == '0')
        text[--len] = '\0';
}

static void list_text(const struct row *row, int64_t bits, char text[TOPIC_CONFIG_TEXT_BYTES])
{
    size_t used = 0;
    text[0] = '\0';
    for (int i = 0; i < WORDS_MAX && row->words[i] != NULL && used < TOPIC_CONFIG_TEXT_BYTES; i++)
        if ((bits >> i & 1) != 0)
            used += (size_t)snprintf(text + used, TOPIC_CONFIG_TEXT_BYTES - used, "%s%s", used == 0 ? "" : ",",
                                     row->words[i]);
}

void topic_config_text(enum topic_config_key key, int64_t value, char text[TOPIC_CONFIG_TEXT_BYTES])
{
    const struct row *row = &rows[key];
    switch (row->kind) {
    case TOPIC_CONFIG_BOOL:
        (void)snprintf(text, TOPIC_CONFIG_TEXT_BYTES, "%s", value != 0 ? "true" : "false");
        return;
    case TOPIC_CONFIG_INT:
    case TOPIC_CONFIG_LONG:
        (void)snprintf(text, TOPIC_CONFIG_TEXT_BYTES, "%" PRId64, value);
        return;
    case TOPIC_CONFIG_RATIO:
        ratio_text(value, text);
        return;
    case TOPIC_CONFIG_CHOICE:
        if (is_valid(row, value)) /* else a later version has set it */
            (void)snprintf(text, TOPIC_CONFIG_TEXT_BYTES, "%s", row->words[value]);
        else
            (void)snprintf(text, TOPIC_CONFIG_TEXT_BYTES, "%" PRId64, value);
        return;
    case TOPIC_CONFIG_LIST:
        list_text(row, value, text);
        return;
    }
    REQUIRE(false);
}

/* ---- what holds ------------------------------------------------------------------------------------ */

int64_t topic_config_default(enum topic_config_key key, const struct partition_limits *defaults, bool *from_broker)
{
    *from_broker = true;
    switch (key) {
    case TOPIC_CONFIG_RETENTION_BYTES:
        return defaults->retention_bytes;
    case TOPIC_CONFIG_RETENTION_MS:
        return defaults->retention_ms;
    case TOPIC_CONFIG_SEGMENT_BYTES:
        return defaults->segment_bytes;
    case TOPIC_CONFIG_MAX_MESSAGE_BYTES:
        return defaults->max_message_bytes;
    default:
        *from_broker = false;
        return rows[key].standard;
    }
}

static int64_t value_of(const struct topic_config *config, enum topic_config_key key,
                        const struct partition_limits *defaults)
{
    bool from_broker;
    return config->set[key] ? config->value[key] : topic_config_default(key, defaults, &from_broker);
}

/* What is above any that can be reached is no limit. */
static int64_t unless_beyond(int64_t value, int64_t most)
{
    return value > most ? -1 : value;
}

struct partition_limits topic_config_limits(const struct topic_config *config, const struct partition_limits *defaults)
{
    struct partition_limits limits = *defaults;
    bool deletes = (value_of(config, TOPIC_CONFIG_CLEANUP_POLICY, defaults) & TOPIC_CONFIG_DELETE) != 0;
    int64_t min_in_sync = value_of(config, TOPIC_CONFIG_MIN_INSYNC_REPLICAS, defaults);
    int64_t segment_bytes = value_of(config, TOPIC_CONFIG_SEGMENT_BYTES, defaults);
    limits.retention_bytes =
        deletes ? unless_beyond(value_of(config, TOPIC_CONFIG_RETENTION_BYTES, defaults), MOST_BYTES) : -1;
    limits.retention_ms =
        deletes ? unless_beyond(value_of(config, TOPIC_CONFIG_RETENTION_MS, defaults), CENTURY_MS) : -1;
    limits.segment_bytes = segment_bytes < SEGMENT_MOST_BYTES ? segment_bytes : SEGMENT_MOST_BYTES;
    limits.segment_ms = value_of(config, TOPIC_CONFIG_SEGMENT_MS, defaults);
    limits.max_message_bytes = (int32_t)value_of(config, TOPIC_CONFIG_MAX_MESSAGE_BYTES, defaults);
    limits.min_in_sync = min_in_sync < INT32_MAX ? (int32_t)min_in_sync : INT32_MAX;
    limits.log_append_time = value_of(config, TOPIC_CONFIG_TIMESTAMP_TYPE, defaults) == 1;
    limits.before_max_ms = value_of(config, TOPIC_CONFIG_TIMESTAMP_BEFORE_MAX_MS, defaults);
    limits.after_max_ms = value_of(config, TOPIC_CONFIG_TIMESTAMP_AFTER_MAX_MS, defaults);
    REQUIRE(limits.segment_bytes > 0);
    return limits;
}
