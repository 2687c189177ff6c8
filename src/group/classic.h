/*
 * Consumer groups of Kafka's classic protocol, on the same coordinators as the text
 * protocol's groups: members join, the first of them computes who reads what, the
 * coordinator hands that out and notices who is gone.
 *
 * A round: somebody joins (or leaves, or is not heard any more) -> JOINING: everybody is
 * told to join again, and waits -> when all have, or their time is up, a new generation
 * with one protocol that all know; the leader learns of all members -> SYNCING: everybody
 * waits for the leader's assignment -> STABLE. What is STABLE is recorded before anybody
 * is told; a round under way is in the coordinator's memory alone, and a new coordinator
 * begins it anew. Sources: KIP-62, KIP-394 (ids first), KIP-345 (static members),
 * KIP-814 (leaders that come back).
 *
 * A group has members of one kind at a time: text subscriptions or these.
 */
#ifndef KQ_GROUP_CLASSIC_H
#define KQ_GROUP_CLASSIC_H

#include "base/slice.h"
#include "group/group.h"

enum {
    CLASSIC_TEXT_MAX_BYTES = 255,            /* member, instance and client ids, protocol names, host names */
    CLASSIC_MEMBERS_MAX = 10000,             /* of a group, those included that have only got an id */
    CLASSIC_PROTOCOLS_MAX = 64,              /* of a member */
    CLASSIC_METADATA_MAX_BYTES = 256 * 1024, /* of a member: all its protocols; its assignment */
};

/* What becomes of a call besides the faults that any machine call can have (KQ_NOT_LEADER ...). */
enum classic_answer {
    CLASSIC_OK,
    CLASSIC_UNKNOWN_MEMBER,
    CLASSIC_ILLEGAL_GENERATION,
    CLASSIC_REBALANCING,
    CLASSIC_ID_REQUIRED, /* member_id is one to join with */
    CLASSIC_FENCED_INSTANCE,
    CLASSIC_INCONSISTENT, /* protocols that not all members know, or the group is of the other kind */
    CLASSIC_FULL,
    CLASSIC_TOO_LARGE,
    CLASSIC_UNKNOWN_GROUP,
    CLASSIC_NOT_EMPTY,
    CLASSIC_SUBSCRIBED, /* a member reads that topic */
    CLASSIC_UNKNOWN_TOPIC,
    CLASSIC_BAD_OFFSET,
};

struct classic_protocol {
    struct slice name;
    struct slice metadata;
};

/* A member, in an answer. Lies in the call's memory. */
struct classic_member_row {
    struct slice id;
    struct slice instance; /* absent: none */
    struct slice client_id;
    struct slice host;
    struct slice metadata; /* of the protocol that was chosen */
    struct slice assignment;
};

/* An offset of a topic's partition: asked for, to be committed, or answered. */
struct classic_offset {
    struct uuid topic_id;
    struct slice topic;
    uint32_t partition;
    int64_t off; /* -1: none */
    int32_t leader_epoch;
    struct slice metadata;
    enum classic_answer answer;
};

enum classic_state { CLASSIC_EMPTY, CLASSIC_JOINING, CLASSIC_SYNCING, CLASSIC_STABLE };

/*
 * base.verb says what; set it, base.group and that verb's inputs, zero the rest. Inputs are
 * borrowed until done; what is answered lies in the call's memory until classic_call_fini().
 *
 *   GROUP_JOIN       member_id (empty: none yet), instance, client_id, host, protocol_type,
 *                    protocols, session_ms, rebalance_ms, needs_id (a new member only gets an
 *                    id), may_skip. Waits for the round. Answer: generation, member_id, leader,
 *                    protocol_type, protocol; members, for the leader; skip: it need not compute.
 *   GROUP_SYNC       member_id, instance, generation, protocol_type, protocol (absent: not checked);
 *                    rows (id, assignment) from the leader. Waits for the leader. Answer: assignment,
 *                    protocol_type, protocol.
 *   GROUP_HEARTBEAT  member_id, instance, generation.
 *   GROUP_LEAVE      rows (id, instance): each gets its answer in row_answers.
 *   GROUP_COMMIT_ALL member_id, instance, generation (-1: nobody's, of a group without members); offsets:
 *                    each gets its answer.
 *   GROUP_OFFSETS    offsets to be looked up; all: every one there is, in offsets.
 *   GROUP_FORGET     offsets to be forgotten: each gets its answer, CLASSIC_SUBSCRIBED where a member
 *                    reads its topic. all: the group itself.
 *   GROUP_LOOK       Answer: state, kind, protocol_type, protocol, members.
 */
struct classic_call {
    struct group_call base;
    struct slice member_id;
    struct slice instance; /* absent: a dynamic member */
    struct slice client_id;
    struct slice host;
    struct slice protocol_type;
    struct slice protocol;
    const struct classic_protocol *protocols;
    uint32_t protocol_count;
    int32_t session_ms;
    int32_t rebalance_ms;
    int32_t generation;
    int64_t held_bytes; /* what the caller keeps for the call while it waits (JOIN, SYNC) */
    /* JOIN: set by any thread when nobody waits for the answer any more; its member's time runs. NULL: never. */
    const _Atomic bool *abandoned;
    bool needs_id;
    bool may_skip;
    bool all;
    struct classic_member_row *rows;
    enum classic_answer *row_answers;
    uint32_t row_count;
    struct classic_offset *offsets;
    uint32_t offset_count;
    /* the answer */
    enum classic_answer answer;
    enum classic_state state;
    struct slice leader;
    struct slice assignment;
    bool skip;
    struct classic_member_row *members;
    uint32_t member_count;
    /* the machine's */
    struct classic_block *blocks; /* what the answer lies in */
    struct account *memory;       /* NULL: nothing was counted */
    int64_t counted_bytes;
    bool starved; /* something of the answer is not there */
};

/* Caller's thread, after done; also after an error. */
void classic_call_fini(struct classic_call *call);

#endif
