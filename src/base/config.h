/*
 * The configuration: one table of keys, from which come the struct, parsing,
 * `--check-config`, etc/kafkaesqued.conf and the list in its man page.
 *
 * A file has `key = value` lines; `#` at the beginning of a line or after a
 * space begins a comment. Sizes carry a unit (B, KiB, MiB, GiB, TiB, or k, m,
 * g), durations too (us, ms, s, min, h, d): a bare number is refused, except 0
 * and, where the table's smallest value says so, -1 for "no limit".
 *
 * Built by the main thread before any other starts. After that it is immutable
 * but for the LIVE fields, which config_take_live changes while others read
 * them: they are atomic, so read one once for each decision.
 */
#ifndef KQ_BASE_CONFIG_H
#define KQ_BASE_CONFIG_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    CONFIG_TEXT_BYTES = 1024,        /* the longest text value, its NUL included */
    CONFIG_LINE_BYTES = 4096,        /* the longest line of a file */
    CONFIG_FILE_BYTES = 1024 * 1024, /* the longest file */
};

/* N(kind, change, field, key, default, smallest, largest, why)
 *   kind    COUNT: a number; SIZE: bytes; RATE: bytes a second; SPAN: a
 *           duration, kept in microseconds; CHOICE: the index of a word among
 *           those in `smallest`, parted by |.
 *   change  FIXED until a restart, or LIVE: a SIGHUP may change it.
 * T(field, key, default, why): text. */
#define CONFIG_KEYS(N, T)                                                                                              \
    N(COUNT, FIXED, broker_id, "broker.id", "1", "1", "1000000",                                                       \
      "which broker of the cluster this is; its data folder is named after it")                                        \
    T(host, "host", "127.0.0.1", "the address to listen on; loopback by default, as there are no passwords")           \
    N(COUNT, FIXED, port, "port", "8080", "0", "65535", "where clients connect; 0 takes a free port and prints it")    \
    N(COUNT, FIXED, kafka_port, "kafka.port", "9092", "-1", "65535",                                                   \
      "where Kafka clients connect; 0 takes a free one and prints it; -1: they are not served")                        \
    N(COUNT, FIXED, raft_port, "raft.port", "7070", "0", "65535", "where other brokers connect")                       \
    T(peers, "peers", "",                                                                                              \
      "ID@HOST:PORT,... of all brokers that form the cluster, this one too; counts in an empty folder; empty: alone")  \
    T(advertised_host, "advertised.host", "", "where brokers and clients find this one; empty: host")                  \
    N(COUNT, FIXED, advertised_port, "advertised.port", "0", "0", "65535", "the port to it; 0: port")                  \
    T(kafka_advertised_host, "kafka.advertised.host", "",                                                              \
      "where Kafka clients find this broker; empty: advertised.host, or else where the client has found it")           \
    N(COUNT, FIXED, kafka_advertised_port, "kafka.advertised.port", "0", "0", "65535",                                 \
      "the port to it; 0: kafka.port")                                                                                 \
    N(SPAN, FIXED, beat_us, "beat.interval", "100ms", "10ms", "10s",                                                   \
      "how often brokers tell each other that they live")                                                              \
    N(SPAN, FIXED, election_us, "election.timeout", "500ms", "50ms", "1min",                                           \
      "a leader not heard of for this to twice this long is replaced; at least three beats")                           \
    N(RATE, LIVE, catch_up_rate_bytes, "catch.up.rate", "32MiB", "64KiB", "100GiB",                                    \
      "how fast this broker closes the gaps of replicas that are far behind while others publish; what is published "  \
      "meanwhile comes on top")                                                                                        \
    N(SIZE, FIXED, outbox_max_bytes, "outbox.max", "16MiB", "1MiB", "1GiB",                                            \
      "messages waiting for one peer; beyond it they are dropped and sent again later")                                \
    N(SPAN, FIXED, forward_timeout_us, "forward.timeout", "10s", "100ms", "10min",                                     \
      "how long another broker may take to answer for a command that was forwarded to it")                             \
    N(SPAN, LIVE, replica_stalled_timeout_us, "replica.stalled.timeout", "1min", "1s", "30d",                          \
      "a replica on a live broker that takes nothing for so long is given to another broker, if there is one")         \
    T(data_dir, "data.dir", "", "the broker's own folder; empty: systemd's StateDirectory, else $HOME/kafkaesque-ID")  \
    N(CHOICE, LIVE, log_level, "log.level", "info", "error|warning|notice|info|debug", "",                             \
      "what is worth a line; debug has lines for each connection")                                                     \
    T(log_file, "log.file", "", "empty: stderr, with priorities where journald reads it")                              \
    N(COUNT, FIXED, workers_min, "workers.min", "2", "1", "1024", "threads kept for requests when nothing happens")    \
    N(COUNT, FIXED, workers_max, "workers.max", "16", "1", "1024",                                                     \
      "the pool grows to this when all are busy; workers wait for no disk, so a few a core are enough")                \
    N(SPAN, FIXED, worker_linger_us, "worker.linger", "5ms", "0", "10s",                                               \
      "how long a worker stays with the connection it has just served, which saves a wake-up")                         \
    N(COUNT, LIVE, connections_max, "connections.max", "12000", "1", "1000000",                                        \
      "clients at a time; must fit into the limit of open files (LimitNOFILE, ulimit -n)")                             \
    N(COUNT, LIVE, connections_per_address_max, "connections.per.address.max", "0", "0", "1000000",                    \
      "so that one machine cannot take them all; loopback counts too; 0: no limit")                                    \
    N(SIZE, FIXED, line_max_bytes, "line.max", "1088KiB", "1KiB", "64MiB",                                             \
      "the longest command; a message and a little for its quoting")                                                   \
    N(SIZE, FIXED, request_max_bytes, "request.max", "16MiB", "64KiB", "1GiB",                                         \
      "the longest request of a Kafka client; a message and a little for its envelope")                                \
    N(SPAN, LIVE, line_timeout_us, "line.timeout", "30s", "100ms", "1d",                                               \
      "a line begun and not ended within it ends the session; idle between lines is free")                             \
    N(SPAN, LIVE, reply_timeout_us, "reply.timeout", "10min", "100ms", "7d",                                           \
      "a reply that cannot be delivered whole within it ends the session")                                             \
    N(RATE, LIVE, drain_min_rate_bytes, "drain.min.rate", "1KiB", "0", "1GiB",                                         \
      "what a reader must take while output waits, or the session ends; 0: any")                                       \
    N(COUNT, FIXED, pipeline_max, "pipeline.max", "10000", "1", "1000000",                                             \
      "unanswered commands a connection; at the limit its socket is not read")                                         \
    N(SIZE, FIXED, memory_max_bytes, "memory.max", "256MiB", "4MiB", "1TiB",                                           \
      "requests and replies held for all clients together; at the limit sockets are not read")                         \
    N(SIZE, FIXED, mailbox_max_bytes, "mailbox.max", "8MiB", "64KiB", "4GiB",                                          \
      "requests waiting for one partition; at the limit their connections wait")                                       \
    N(CHOICE, LIVE, auto_create_topics, "auto.create.topics.enable", "true", "false|true", "",                         \
      "a topic that a Kafka client names and that is not there is made")                                               \
    N(COUNT, LIVE, num_partitions, "num.partitions", "1", "1", "100000",                                               \
      "of topics that Kafka clients make without saying how many")                                                     \
    N(COUNT, FIXED, kafka_fetch_sessions, "kafka.fetch.sessions", "1000", "0", "1000000",                              \
      "Kafka consumers that need not name all their partitions in each fetch")                                         \
    N(COUNT, LIVE, default_replicas, "default.replication.factor", "0", "0", "16",                                     \
      "likewise; 0: three, or as many as there are brokers")                                                           \
    N(COUNT, LIVE, topics_max, "topics.max", "10000", "1", "1000000", "topics a cluster; CRTP is refused beyond it")   \
    N(COUNT, LIVE, topic_partitions_max, "topic.partitions.max", "1000", "1", "100000", "partitions of one topic")     \
    N(COUNT, LIVE, partitions_max, "partitions.max", "4000", "1", "100000",                                            \
      "replicas on this broker, each with a thread and two open files")                                                \
    N(SIZE, FIXED, message_max_bytes, "message.max.bytes", "1MiB", "1KiB", "64MiB",                                    \
      "the largest message; a topic may set its own as max.message.bytes")                                             \
    N(SIZE, FIXED, segment_bytes, "segment.bytes", "64MiB", "64KiB", "1GiB",                                           \
      "a log file is followed by the next at this size; what retention deletes at a time")                             \
    N(SIZE, LIVE, retention_bytes, "retention.bytes", "-1", "-1", "1TiB",                                              \
      "a partition's oldest segments go beyond it; -1: never for their size")                                          \
    N(SPAN, LIVE, retention_us, "retention.ms", "7d", "-1", "36500d",                                                  \
      "a segment goes when its youngest message is older; -1: never for its age")                                      \
    N(CHOICE, FIXED, flush, "flush", "always", "always|interval", "",                                                  \
      "always: acknowledged when on disk; interval: when in memory, a power loss may take the last of it")             \
    N(SPAN, FIXED, flush_interval_us, "flush.interval", "100ms", "1ms", "10min",                                       \
      "with flush = interval: the longest that a message waits for the disk")                                          \
    N(SIZE, FIXED, flush_interval_bytes, "flush.interval.bytes", "256KiB", "4KiB", "1GiB",                             \
      "with flush = interval: flush when this much waits")                                                             \
    N(COUNT, FIXED, flushers, "flushers", "4", "1", "64", "threads in fdatasync; a disk does a few at a time well")    \
    N(SIZE, FIXED, entry_max_bytes, "entry.max.bytes", "1MiB", "64KiB", "64MiB",                                       \
      "what one turn of a partition writes at most, unless one message is larger")                                     \
    N(COUNT, FIXED, entries_unflushed_max, "entries.unflushed.max", "2", "1", "16",                                    \
      "entries on their way to the disk; what comes meanwhile becomes the next, larger one")                           \
    N(SIZE, FIXED, prepare_min_bytes, "prepare.min", "64KiB", "4KiB", "64MiB",                                         \
      "how far ahead a slow partition's file is zeroed, so that appends stay cheap")                                   \
    N(SIZE, FIXED, prepare_max_bytes, "prepare.max", "8MiB", "64KiB", "256MiB", "the same of a fast one")              \
    N(SIZE, FIXED, prepare_budget_bytes, "prepare.budget", "256MiB", "1MiB", "1TiB",                                   \
      "prepared and not yet used, in the data folder; never more than 2 % of what is free")                            \
    N(SPAN, FIXED, mark_delay_us, "mark.delay", "100ms", "1ms", "10min",                                               \
      "when writing pauses this long, what is flushed is noted, so that a start tells a torn tail from damage")        \
    N(SPAN, FIXED, scrub_interval_us, "scrub.interval", "1d", "-1", "3650d",                                           \
      "how often sealed segments are read and checked; -1: never")                                                     \
    N(SPAN, LIVE, session_timeout_us, "session.timeout", "5min", "1s", "365d",                                         \
      "a subscription that was not used for it expires and frees its partition")                                       \
    N(SPAN, LIVE, join_delay_us, "group.initial.rebalance.delay", "3s", "0", "1h",                                     \
      "how long the first Kafka member of a group waits for others to join with it")                                   \
    N(SPAN, LIVE, group_min_session_us, "group.min.session.timeout", "6s", "1ms", "1d",                                \
      "a Kafka member may not ask to be missed sooner")                                                                \
    N(SPAN, LIVE, group_max_session_us, "group.max.session.timeout", "30min", "1ms", "1d", "nor to be missed later")   \
    N(SPAN, LIVE, publish_timeout_us, "publish.timeout", "30s", "100ms", "1h",                                         \
      "a publish not committed by then is answered with an error")                                                     \
    N(SPAN, LIVE, stop_timeout_us, "stop.timeout", "30s", "100ms", "1h",                                               \
      "how long a stop waits for clients to take their answers; then they are cut off")                                \
    N(SIZE, FIXED, stack_bytes, "stack.bytes", "128KiB", "64KiB", "8MiB",                                              \
      "of each thread; there is a thread a partition")                                                                 \
    N(COUNT, FIXED, offsets_partitions, "offsets.partitions", "8", "1", "1000",                                        \
      "of the internal topic that holds the groups; fixed when the cluster is born")                                   \
    N(SPAN, LIVE, offsets_retention_us, "offsets.retention", "7d", "-1", "36500d",                                     \
      "committed offsets of a group that nobody uses are forgotten after it; -1: never")

#define CONFIG_MEMBER_FIXED(field) int64_t field;
#define CONFIG_MEMBER_LIVE(field) _Atomic int64_t field;
#define CONFIG_MEMBER(kind, change, field, key, value, smallest, largest, why) CONFIG_MEMBER_##change(field)
#define CONFIG_MEMBER_TEXT(field, key, value, why) char field[CONFIG_TEXT_BYTES];
struct config {
    CONFIG_KEYS(CONFIG_MEMBER, CONFIG_MEMBER_TEXT)
};
#undef CONFIG_MEMBER
#undef CONFIG_MEMBER_TEXT
#undef CONFIG_MEMBER_FIXED
#undef CONFIG_MEMBER_LIVE

/* The value of a SIZE or SPAN that has no limit. */
enum { CONFIG_UNLIMITED = -1 };
/* The values of `flush`. Those of `log_level` are config_log_level's. */
enum config_flush { CONFIG_FLUSH_ALWAYS = 0, CONFIG_FLUSH_INTERVAL = 1 };

enum config_kind { CONFIG_COUNT, CONFIG_SIZE, CONFIG_RATE, CONFIG_SPAN, CONFIG_CHOICE, CONFIG_TEXT };

/* A row of the table, for documents and messages. */
struct config_key {
    const char *name;
    const char *value;    /* the default, as one would type it */
    const char *smallest; /* of a CHOICE: the words; of TEXT: "" */
    const char *largest;
    const char *why;
    size_t field_off; /* in struct config */
    enum config_kind kind;
    bool live;
};

/* Any thread. The table; *count rows. */
const struct config_key *config_keys(size_t *count);

/* The defaults of the table. */
void config_defaults(struct config *cfg);

/* Sets what the file sets. KQ_INVALID, KQ_NOT_FOUND, KQ_IO...: *fault names the
 * file and the line; cfg is then half changed and of no use. */
enum kq_err config_load_file(struct config *cfg, const char *path, struct fault *fault);

/* The same over bytes from anywhere; name stands for the file in messages. */
enum kq_err config_load_text(struct config *cfg, const char *name, const char *bytes, size_t len, struct fault *fault);

/* One "key=value"; origin ("--set") stands for the file in messages. */
enum kq_err config_set(struct config *cfg, const char *assignment, const char *origin, struct fault *fault);

/* What no single key can break: workers.min above workers.max, and the like. */
enum kq_err config_check(const struct config *cfg, struct fault *fault);

/* Main thread, others may read. Copies the LIVE fields of from into cfg; calls
 * said(arg, key, live) for each key that differs, also the FIXED ones, which it
 * leaves as they are. said may be NULL. */
void config_take_live(struct config *cfg, const struct config *from,
                      void (*said)(void *arg, const struct config_key *key, bool live), void *arg);

/* log.level as the logger's level (enum logger_level). */
int config_log_level(const struct config *cfg);

#endif
