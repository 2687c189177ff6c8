/*
 * A call to a coordinator on another broker, as bytes (ASK_GROUP), and an event for
 * another broker's session (ASK_EVENT). Little-endian; text is one byte of length and
 * the bytes.
 *
 *    question   u8 version = 1 | u8 verb | u32 coordinator | session | text group | text topic |
 *               id | 16 bytes topic id | u32 partitions | u32 wanted | i64 offset |
 *               u16 bytes of metadata, 0xffff: none | metadata
 *    answer     u8 version = 1 | u8 kind | u32 generation | u32 partition | i64 committed |
 *               16 bytes topic id | text group |
 *               u32 ids, each: id |
 *               u32 groups, each: text name | u8 kind | u32 members, subscriptions, offsets, generation |
 *               u32 rows, each: text topic | 16 bytes topic id | u32 partition | u8 flags | session |
 *               i64 idle ms | i64 committed | i64 committed at ms
 *    event      u8 version = 1 | u8 kind | session | text topic | u32 partition | text id
 *
 *    session    u32 broker | u64 id
 *    id         u32 coordinator | u32 partition | 16 bytes secret
 *
 * Pure. Everything is checked, counts against what is there, before memory is taken.
 */
#ifndef KQ_GROUP_GROUP_WIRE_H
#define KQ_GROUP_GROUP_WIRE_H

#include "base/bytes.h"
#include "group/group.h"

enum {
    GROUP_WIRE_QUESTION_MAX_BYTES = GROUP_METADATA_MAX_BYTES + 1024,
    GROUP_WIRE_ANSWER_MAX_BYTES = 16 * 1024 * 1024,
    GROUP_WIRE_EVENT_MAX_BYTES = 1024,
};

/* Appends (failure stays in ->bad). GROUP_BROKER_GONE and GROUP_DROP_TOPICS are no questions between brokers. */
void group_wire_ask(const struct group_call *call, uint32_t coordinator, struct buf *out);
/* A question with the memory of its texts. */
struct group_asked {
    struct group_call call; /* inputs are set; points into this struct */
    uint32_t coordinator;
    char group[GROUP_NAME_MAX_BYTES + 1];
    char topic[GROUP_NAME_MAX_BYTES + 1];
    char metadata[GROUP_METADATA_MAX_BYTES + 1];
};
/* KQ_GARBAGE, KQ_BAD_VERSION. asked must not be moved afterwards. */
enum kq_err group_wire_asked(struct group_asked *asked, const void *body, size_t body_bytes);

/* Appends what the call answers with KQ_OK. */
void group_wire_answer(const struct group_call *call, struct buf *out);
/* Into the asker's call, which has no answer yet. KQ_GARBAGE, KQ_BAD_VERSION,
 * KQ_NO_MEMORY: nothing is in it. */
enum kq_err group_wire_answered(struct group_call *call, const void *body, size_t body_bytes);

void group_wire_event(const struct group_event *event, struct buf *out);
/* topic gets the name, which event->topic points to. KQ_GARBAGE, KQ_BAD_VERSION. */
enum kq_err group_wire_event_decode(struct group_event *event, char topic[GROUP_NAME_MAX_BYTES + 1], const void *body,
                                    size_t body_bytes);

#endif
