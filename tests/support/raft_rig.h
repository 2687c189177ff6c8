/*
 * One replica of the consensus core (broker 1) with its peers' messages written by hand.
 */
#ifndef KQ_TESTS_SUPPORT_RAFT_RIG_H
#define KQ_TESTS_SUPPORT_RAFT_RIG_H

#include "raft/raft.h"
#include "support/unit.h"

#define MS INT64_C(1000)
enum { SEATS = 8 };

struct rig {
    struct raft raft;
    _Alignas(16) uint8_t memory[RAFT_MEMORY_BYTES(SEATS)];
    struct raft_seat seats[SEATS];
    struct raft_start start;
    int64_t now_us;
    uint64_t version;
    uint64_t cuts;
};

static struct rig rig;

static inline struct raft_member member(uint32_t broker_id)
{
    struct raft_member it = {.broker_id = broker_id};
    it.incarnation.bytes[0] = (uint8_t)broker_id;
    return it;
}

static inline struct raft_out feed(struct raft_event event)
{
    struct raft_out out;
    event.now_us = rig.now_us;
    raft_step(&rig.raft, &event, &out);
    if (out.save_hard_state)
        raft_saving(&rig.raft, ++rig.version);
    if (out.truncate || out.reset)
        rig.cuts++;
    return out;
}

static inline void saved(void)
{
    (void)feed((struct raft_event){.type = RAFT_EV_HARD_STATE, .version = rig.version});
}

static inline struct raft_out flushed(uint64_t idx)
{
    return feed((struct raft_event){
        .type = RAFT_EV_FLUSHED, .idx = idx, .term = raft_term_at(&rig.raft, idx), .cuts = rig.cuts});
}

/* A voter among `voters`, with a log of `last_idx` entries of this term. */
static inline void prepare(uint32_t voters, uint64_t term, uint64_t last_idx)
{
    rig = (struct rig){.now_us = 1};
    for (uint32_t i = 0; i < voters; i++)
        rig.seats[i] = (struct raft_seat){.member = member(i + 1), .kinds = RAFT_SEAT_VOTER};
    rig.start = (struct raft_start){.self = member(1),
                                    .memory = rig.memory,
                                    .memory_bytes = sizeof rig.memory,
                                    .config = {.count = voters, .seats = rig.seats},
                                    .term = term,
                                    .last_idx = last_idx,
                                    .last_term = last_idx > 0 ? term : 0,
                                    .seed = 7,
                                    .now_us = 1,
                                    .election_us = 500 * MS,
                                    .beat_us = 100 * MS};
}

static inline void begin(uint32_t voters, uint64_t term, uint64_t last_idx)
{
    prepare(voters, term, last_idx);
    static struct raft_run run;
    run = (struct raft_run){.term = term, .first_idx = 1};
    if (last_idx > 0) {
        rig.start.runs = &run;
        rig.start.run_count = 1;
    }
    raft_init(&rig.raft, &rig.start);
}

static inline struct raft_message from(uint32_t broker_id, enum raft_message_type type, uint64_t term)
{
    return (struct raft_message){.type = type, .from = member(broker_id), .to = member(1), .term = term};
}

static inline struct raft_out receive(struct raft_message message)
{
    return feed((struct raft_event){.type = RAFT_EV_MESSAGE, .message = &message});
}

static inline struct raft_out get_append(uint64_t term, uint64_t prev_idx, uint64_t prev_term, uint64_t last_idx,
                                         uint64_t entry_term, uint64_t commit_idx)
{
    struct raft_message message = from(2, RAFT_MSG_APPEND, term);
    message.prev_idx = prev_idx;
    message.prev_term = prev_term;
    message.last_idx = last_idx;
    message.entry_term = entry_term;
    message.commit_idx = commit_idx;
    return receive(message);
}

static inline struct raft_out get_match(uint32_t broker_id, uint64_t match_idx)
{
    struct raft_message message = from(broker_id, RAFT_MSG_APPEND_REPLY, rig.raft.term);
    message.match_idx = match_idx;
    return receive(message);
}

/* Takes messages until one of this type to this peer comes; appends are filled whole. */
static inline bool take(enum raft_message_type type, uint32_t to, struct raft_message *message)
{
    while (raft_take_message(&rig.raft, message)) {
        if (message->type == RAFT_MSG_APPEND && message->last_idx > message->prev_idx)
            raft_sent(&rig.raft, message, message->last_idx, 100);
        if (message->type == type && message->to.broker_id == to)
            return true;
    }
    return false;
}

static inline void take_all(void)
{
    struct raft_message message;
    (void)take(RAFT_MSG_TIMEOUT_NOW, 99, &message);
}

static inline struct raft_out append(uint32_t bytes)
{
    return feed((struct raft_event){
        .type = RAFT_EV_APPENDED, .idx = rig.raft.last_idx + 1, .term = rig.raft.term, .bytes = bytes});
}

static inline void campaign(void)
{
    rig.now_us = raft_deadline_us(&rig.raft);
    (void)feed((struct raft_event){.type = RAFT_EV_TICK});
    CU_ASSERT_EQUAL(rig.raft.role, RAFT_PRE_CANDIDATE);
}

static inline void grant(uint32_t broker_id, enum raft_message_type type, uint64_t term)
{
    struct raft_message message = from(broker_id, type, term);
    message.granted = true;
    (void)receive(message);
}

/* Elected by its peers 2.. up to a majority; the no-op appended, not durable. */
static inline void lead(uint32_t majority)
{
    campaign();
    for (uint32_t i = 2; i <= majority; i++)
        grant(i, RAFT_MSG_PREVOTE_REPLY, rig.raft.term + 1);
    CU_ASSERT_EQUAL(rig.raft.role, RAFT_CANDIDATE);
    saved();
    for (uint32_t i = 2; i <= majority; i++)
        grant(i, RAFT_MSG_VOTE_REPLY, rig.raft.term);
    CU_ASSERT_EQUAL(rig.raft.role, RAFT_LEADER);
    (void)append(0);
}

static inline void lead_and_serve(uint32_t voters)
{
    begin(voters, 1, 0);
    lead(voters / 2 + 1);
    (void)flushed(1);
    for (uint32_t i = 2; i <= voters; i++)
        (void)get_match(i, 1);
    CU_ASSERT_TRUE(raft_may_propose(&rig.raft));
    take_all();
}

#endif
