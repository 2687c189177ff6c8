/*
 * Errors: one table of names, Kafka codes and sentences.
 *
 * A function that can fail returns an `enum kq_err`. "Not now" is a named
 * result (KQ_AGAIN, KQ_FULL), never a special value of something else.
 * Whoever detects a fault and knows the facts (file, position, limit) fills a
 * `struct fault`; whoever passes it up adds nothing.
 */
#ifndef KQ_BASE_ERR_H
#define KQ_BASE_ERR_H

#include <stdbool.h>

/* name, Kafka protocol error code, the sentence a person reads. */
#define KQ_ERR_TABLE(X)                                                                                                \
    X(KQ_OK, 0, "ok")                                                                                                  \
    X(KQ_AGAIN, 7, "not now, try again")                                                                               \
    X(KQ_FULL, 7, "the queue is full")                                                                                 \
    X(KQ_EOF, -1, "end of data")                                                                                       \
    X(KQ_NO_MEMORY, -1, "out of memory")                                                                               \
    X(KQ_IO, 56, "the disk reported an error")                                                                         \
    X(KQ_NO_SPACE, 56, "disk full")                                                                                    \
    X(KQ_READ_ONLY, 56, "the data folder cannot be written")                                                           \
    X(KQ_CORRUPT, 2, "stored data does not match its checksum")                                                        \
    X(KQ_BAD_VERSION, 35, "the format version is not known to this program")                                           \
    X(KQ_LOCKED, -1, "another daemon uses this data folder")                                                           \
    X(KQ_EXISTS, 36, "it exists already")                                                                              \
    X(KQ_NOT_FOUND, -1, "not found")                                                                                   \
    X(KQ_INVALID, 42, "invalid request")                                                                               \
    X(KQ_INVALID_RECORD, 87, "invalid record")                                                                         \
    X(KQ_TOO_LARGE, 10, "message too large")                                                                           \
    X(KQ_LIMIT, -1, "a limit is reached")                                                                              \
    X(KQ_TIMEOUT, 7, "timed out")                                                                                      \
    X(KQ_NOT_LEADER, 6, "this broker does not lead the partition")                                                     \
    X(KQ_NO_LEADER, 5, "no leader")                                                                                    \
    X(KQ_NOT_ENOUGH_REPLICAS, 19, "not enough replicas")                                                               \
    X(KQ_OUTCOME_UNKNOWN, 20, "outcome unknown")                                                                       \
    X(KQ_STOPPING, 8, "the broker is stopping")                                                                        \
    X(KQ_PARTITION_FAILED, 56, "the partition is stopped")                                                             \
    X(KQ_UNKNOWN_TOPIC, 3, "topic does not exist")                                                                     \
    X(KQ_BAD_TOPIC_NAME, 17, "topic name is not valid")                                                                \
    X(KQ_BAD_PARTITIONS, 37, "please try again with correct Partition number")                                         \
    X(KQ_BAD_REPLICAS, 38, "replication factor is not valid")                                                          \
    X(KQ_OFFSET_OUT_OF_RANGE, 1, "offset out of range")                                                                \
    X(KQ_SEQUENCE_GAP, 45, "sequence gap")                                                                             \
    X(KQ_PRODUCER_FENCED, 47, "producer epoch is fenced")                                                              \
    X(KQ_UNKNOWN_GROUP, 69, "consumer group does not exist")                                                           \
    X(KQ_UNKNOWN_SUBSCRIPTION, 25, "unknown, expired or revoked subscription")                                         \
    X(KQ_ALL_ASSIGNED, -1, "failed to create subscription: all partitions are already assigned")                       \
    X(KQ_GROUP_KIND, 23, "the group has members of the other protocol")                                                \
    X(KQ_COORDINATOR_LOADING, 14, "the group's coordinator is not ready")                                              \
    X(KQ_GARBAGE, 42, "the bytes do not follow the protocol")                                                          \
    X(KQ_BAD_ASSIGNMENT, 39, "the partitions cannot be assigned so")

#define KQ_ERR_ENUM(name, code, text) name,
enum kq_err { KQ_ERR_TABLE(KQ_ERR_ENUM) KQ_ERR_COUNT };
#undef KQ_ERR_ENUM

enum { FAULT_TEXT_BYTES = 384 };

/* An error and the sentence that says what happened, to what, and what to do. */
struct fault {
    enum kq_err err;
    char text[FAULT_TEXT_BYTES];
};

/* Any thread. The constant's name ("KQ_NO_SPACE"), for logs. Never NULL. */
const char *err_name(enum kq_err err);

/* Any thread. The sentence from the table, without a final stop. Never NULL. */
const char *err_text(enum kq_err err);

/* Any thread. The error code of the Kafka protocol; -1 is UNKNOWN_SERVER_ERROR. */
int err_kafka_code(enum kq_err err);

/* Any thread. What an errno of the operating system means here (ENOSPC and
 * EDQUOT: KQ_NO_SPACE; EROFS, EACCES and EPERM: KQ_READ_ONLY; ENOENT:
 * KQ_NOT_FOUND; EEXIST: KQ_EXISTS; ENOMEM: KQ_NO_MEMORY; all else: KQ_IO). */
enum kq_err err_from_errno(int error_number);

/* Any thread. Fills *fault (which may be NULL) and returns err, so that a
 * failing function can end in `return fault_set(...)`. A text that is too long
 * is cut. */
enum kq_err fault_set(struct fault *fault, enum kq_err err, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Any thread. fault->text if it is set, else the table's sentence. */
const char *fault_text(const struct fault *fault);

#endif
