/*
 * What a broker says of the partitions it leads, and of those that nobody can lead any more
 * (ASK_STATUS).
 *
 *    question: u8 version = 3 | u8 all (else only those that are not as they should be) |
 *              u32 fingerprint of the brokers as the asker's metadata names them
 *    answer:   u8 version = 3 | u32 partitions | for each:
 *              16 topic id | u32 partition | u64 term | u8 flags (1: as its target) |
 *              u8 members | for each: u32 broker, 16 incarnation of its replica,
 *              u8 flags (1: voter, 2: in sync), u64 lag (entries behind the leader; all
 *              ones: not known)
 *              | u32 partitions that are led and well | for each:
 *              16 topic id | u32 partition | u64 term
 *              | u32 partitions whose majority is lost for good | for each: likewise, term 0
 *
 * Little-endian. PURE.
 */
#ifndef KQ_CLUSTER_SURVEY_WIRE_H
#define KQ_CLUSTER_SURVEY_WIRE_H

#include "base/bytes.h"
#include "base/err.h"
#include "partition/partition.h"

struct survey_member {
    uint32_t broker;
    struct uuid incarnation;
    bool voter;
    bool in_sync;
    int64_t lag; /* -1: not known */
};
struct survey_row {
    struct group_id group;
    uint64_t term;
    uint32_t leader; /* who says so; not on the wire */
    bool well;       /* all members are in sync and as wanted: none is told */
    bool lost;       /* for good: told by a replica that is left; none is told */
    bool as_target;
    uint32_t member_count;
    struct survey_member members[PARTITION_MEMBERS_MAX];
};

enum { SURVEY_QUESTION_BYTES = 6 };

/* Of the question. An answerer whose metadata names other brokers tells all: what is well by
 * one is not by the other. */
struct survey_question {
    bool all;
    uint32_t brokers;
};
void survey_wire_question(const struct survey_question *question, uint8_t body[SURVEY_QUESTION_BYTES]);
enum kq_err survey_wire_asked(const uint8_t *body, size_t body_bytes, struct survey_question *question);
/* An answer begins with its head; the count is filled in at the end, where what is well and what is
 * lost, each made apart with survey_wire_add_name, comes behind. */
void survey_wire_begin(struct buf *out);
void survey_wire_add(const struct survey_row *row, struct buf *out);
void survey_wire_add_name(const struct survey_row *row, struct buf *names);
void survey_wire_end(struct buf *out, uint32_t count, const struct buf *well, const struct buf *lost);
/* The rows in order, count times; then twice how many are named, and these: what is well, what is
 * lost. False: no more, and c->bad says whether all was well. */
bool survey_wire_open(struct cursor *c, uint32_t *count);
bool survey_wire_next(struct cursor *c, struct survey_row *row);
bool survey_wire_open_names(struct cursor *c, uint32_t *count);
bool survey_wire_next_name(struct cursor *c, struct survey_row *row);

#endif
