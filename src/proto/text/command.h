/*
 * One line of the text protocol -> one command.
 *
 * The table of verbs is here and only here: the parser, HELP's reply and the
 * manual page all come from it. Pure: no sockets, threads, clock or memory of
 * its own. It knows the shapes of fields (names, numbers), never whether a topic
 * or a subscription exists.
 */
#ifndef KQ_PROTO_TEXT_COMMAND_H
#define KQ_PROTO_TEXT_COMMAND_H

#include "base/err.h"
#include "base/slice.h"

/* name, the form behind the name, what it does in a line (a person reads it). */
#define TEXT_VERB_TABLE(X)                                                                                             \
    X(CRTP, "topic [partitions [replicas]] [key=value]...",                                                            \
      "create a topic; keys: retention.bytes, retention.ms (-1: keep for ever), segment.bytes, max.message.bytes")     \
    X(PUBS, "topic message",                                                                                           \
      "publish a message, {\"Header\":\"..\",\"Key\":\"..\",\"Body\":\"..\"} with each member optional")               \
    X(SUBS, "topic group [partitions]",                                                                                \
      "subscribe as a member of a consumer group; one subscription id for each partition assigned")                    \
    X(CONS, "topic id [offset]",                                                                                       \
      "read everything committed, from the offset, else from the group's committed offset, else from the log's start") \
    X(PRID, "", "a producer id for exactly-once publishing with PUBX")                                                 \
    X(PUBX, "topic partition id epoch sequence message",                                                               \
      "publish exactly once to a partition, however often it is sent; at most five in flight a partition")             \
    X(DISC, "", "close the session")                                                                                   \
    X(TAIL, "topic id [offset]",                                                                                       \
      "like CONS with one message a line, going on as messages arrive, until the next line is sent")                   \
    X(CMIT, "topic id offset", "commit the group's offset: the next one to be read")                                   \
    X(UNSB, "topic id", "give up a subscription; its partition is free")                                               \
    X(LIST, "", "the topics")                                                                                          \
    X(DESC, "topic", "a topic's partitions: leader, replicas, in-sync replicas, log start and end")                    \
    X(GRPS, "[group]", "the consumer groups, or one group's subscriptions, committed offsets and lag")                 \
    X(DELE, "topic", "delete a topic and all its messages")                                                            \
    X(INFO, "", "the broker and its cluster")                                                                          \
    X(CLUS,                                                                                                            \
      "STATUS [ALL] | ADD broker | DRAIN broker | REMOVE broker | MOVE topic partition broker,... | REBALANCE | "      \
      "TRANSFER topic partition [broker]",                                                                             \
      "what the cluster is, and orders to change it; seen from any broker, in force at all of them")                   \
    X(PING, "", "answer Done; renews the session's subscriptions")                                                     \
    X(HELP, "[command]", "these commands and their forms, or one of them")

#define TEXT_VERB_ENUM(name, form, help) TEXT_##name,
enum text_verb { TEXT_VERB_TABLE(TEXT_VERB_ENUM) TEXT_VERB_COUNT, TEXT_NONE = TEXT_VERB_COUNT };
#undef TEXT_VERB_ENUM

enum {
    TEXT_TOPIC_NAME_MAX_BYTES = 249,
    TEXT_GROUP_NAME_MAX_BYTES = 249,
    TEXT_ID_MAX_BYTES = 128, /* a subscription id as the client sent it */
    TEXT_BROKER_ID_MAX = 1000000,
    TEXT_REPLICAS_MAX = 16, /* brokers that CLUS MOVE may name */
};

/* What follows CLUS: word, form behind it. */
#define TEXT_CLUSTER_TABLE(X)                                                                                          \
    X(STATUS, "[ALL]")                                                                                                 \
    X(ADD, "broker")                                                                                                   \
    X(DRAIN, "broker")                                                                                                 \
    X(REMOVE, "broker")                                                                                                \
    X(MOVE, "topic partition broker,...")                                                                              \
    X(REBALANCE, "")                                                                                                   \
    X(TRANSFER, "topic partition [broker]")

#define TEXT_CLUSTER_ENUM(name, form) TEXT_CLUSTER_##name,
enum text_cluster { TEXT_CLUSTER_TABLE(TEXT_CLUSTER_ENUM) TEXT_CLUSTER_COUNT };
#undef TEXT_CLUSTER_ENUM

/* The settings that CRTP takes; a row's name is the key. */
#define TEXT_SETTING_TABLE(X)                                                                                          \
    X(RETENTION_BYTES, "retention.bytes", -1)                                                                          \
    X(RETENTION_MS, "retention.ms", -1)                                                                                \
    X(SEGMENT_BYTES, "segment.bytes", 1)                                                                               \
    X(MAX_MESSAGE_BYTES, "max.message.bytes", 1)

#define TEXT_SETTING_ENUM(name, key, least) TEXT_SETTING_##name,
enum text_setting { TEXT_SETTING_TABLE(TEXT_SETTING_ENUM) TEXT_SETTING_COUNT };
#undef TEXT_SETTING_ENUM

/* What is legal here; from the daemon's configuration. */
struct text_limits {
    uint32_t partitions_max; /* of a topic */
};

/*
 * A parsed line. Slices point into the line; data NULL is absent. Numbers are
 * valid only where the verb's form names them. Per verb:
 *   CRTP  topic; partitions and replicas (0: absent); settings
 *   PUBS  topic, message (the JSON as typed, unquoted)
 *   PUBX  topic, partition, producer_id, producer_epoch, sequence, message
 *   SUBS  topic, group; partitions (1 if absent)
 *   CONS  topic, id; has_offset, offset          TAIL the same
 *   CMIT  topic, id, offset (has_offset is set)  UNSB topic, id
 *   DESC, DELE  topic        GRPS group or absent
 *   CLUS  cluster, and by it: STATUS all; ADD, DRAIN, REMOVE broker; MOVE topic,
 *         partition, brokers (each once, the preferred leader first); TRANSFER topic,
 *         partition, broker (0: any)
 *   HELP  about (TEXT_NONE: all)
 */
struct text_command {
    enum text_verb verb; /* TEXT_NONE: an empty line, which gets no reply */
    struct slice topic;
    struct slice group;
    struct slice id;
    struct slice message;
    uint32_t partitions;
    uint32_t replicas;
    int32_t partition;
    int64_t offset;
    bool has_offset;
    int64_t producer_id;
    int16_t producer_epoch;
    int32_t sequence;
    enum text_verb about;
    enum text_cluster cluster;
    bool all;
    uint32_t broker;
    uint32_t brokers[TEXT_REPLICAS_MAX];
    uint32_t broker_count;
    uint32_t settings_given; /* bit 1 << enum text_setting */
    int64_t setting[TEXT_SETTING_COUNT];
};

/*
 * Any thread. Parses a line without its LF (a CR at its end is dropped).
 * Fields with doubled quotes are unquoted in place, so the line's bytes may
 * change, and the slices live as long as the line does.
 * KQ_OK: *command is set. Else fault->text is the reply's text behind
 * `Error, `; *command is useless but for its verb (TEXT_NONE if not known).
 */
enum kq_err text_command_parse(uint8_t *line, size_t line_bytes, const struct text_limits *limits,
                               struct text_command *command, struct fault *fault);

/* Any thread. "PUBS"; never NULL. */
const char *text_verb_name(enum text_verb verb);
/* "topic message"; "" where there is nothing behind the name. */
const char *text_verb_form(enum text_verb verb);
const char *text_verb_help(enum text_verb verb);
/* Case-insensitive. TEXT_NONE: no such command. */
enum text_verb text_verb_find(struct slice name);
/* "DRAIN", and what follows it, "broker". */
const char *text_cluster_word(enum text_cluster cluster);
const char *text_cluster_form(enum text_cluster cluster);
/* "retention.bytes". */
const char *text_setting_name(enum text_setting setting);

/* Any thread. [A-Za-z0-9._-]{1,249}, and neither "." nor "..". */
bool text_topic_name_is_valid(struct slice name);
/* Any thread. Begins with "__": the broker's own. */
bool text_topic_name_is_internal(struct slice name);

/* ---- strangers ---------------------------------------------------------------- */

enum text_stranger {
    TEXT_STRANGER_NONE,   /* could be ours: parse it */
    TEXT_STRANGER_UNSURE, /* ask again with more bytes (at most 16 are needed) */
    TEXT_STRANGER_KAFKA,
    TEXT_STRANGER_HTTP,
    TEXT_STRANGER_TLS,
};

/* Any thread. Who speaks, from the first bytes of a connection. When no more
 * come, UNSURE is to be treated as NONE. */
enum text_stranger text_stranger_detect(const uint8_t *first, size_t size_bytes);
/* The text behind `Error, ` that says what this port is. Never NULL. */
const char *text_stranger_text(enum text_stranger stranger);

#endif
