/*
 * What a broker says of the partitions it leads (ASK_STATUS).
 *
 *    question: u8 version = 1 | u8 all (else only those that are not as they should be)
 *    answer:   u8 version = 1 | u32 partitions | for each:
 *              16 topic id | u32 partition | u64 term | u8 flags (1: as its target) |
 *              u8 members | for each: u32 broker, u8 flags (1: voter, 2: in sync), u64 lag
 *              (entries behind the leader; all ones: not known)
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
    bool voter;
    bool in_sync;
    int64_t lag; /* -1: not known */
};
struct survey_row {
    struct group_id group;
    uint64_t term;
    bool as_target;
    uint32_t member_count;
    struct survey_member members[PARTITION_MEMBERS_MAX];
};

void survey_wire_question(bool all, uint8_t body[2]);
enum kq_err survey_wire_asked(const uint8_t *body, size_t body_bytes, bool *all);
/* An answer begins with its head; the count is filled in at the end. */
void survey_wire_begin(struct buf *out);
void survey_wire_add(const struct survey_row *row, struct buf *out);
void survey_wire_end(struct buf *out, uint32_t count);
/* The rows in order; false: no more, and c->bad says whether all was well. */
bool survey_wire_open(struct cursor *c, uint32_t *count);
bool survey_wire_next(struct cursor *c, struct survey_row *row);

#endif
