/*
 * Messages on their way out: made when the owner takes them, so that a turn of many
 * events gives one message a peer, and let go when what they promise is durable.
 */
#include "raft/raft_internal.h"

void raft_address(const struct raft *raft, struct raft_message *message, enum raft_message_type type,
                  const struct raft_member *to)
{
    *message = (struct raft_message){
        .type = type,
        .from = raft->self,
        .to = *to,
        .term = raft->term,
        .boot = raft->boot,
        .own_term = raft->term,
        .need_hard = raft->hard_seq,
        .need_cuts = raft->cuts,
    };
}

struct raft_message *raft_reply(struct raft *raft, struct raft_out *out, enum raft_message_type type,
                                const struct raft_member *to)
{
    REQUIRE(!out->has_reply);
    out->has_reply = true;
    raft_address(raft, &out->reply, type, to);
    out->reply.commit_idx = raft->commit_idx;
    return &out->reply;
}

static void make_vote_request(const struct raft *raft, const struct raft_peer *peer, struct raft_message *message)
{
    bool pre = raft->role == RAFT_PRE_CANDIDATE;
    raft_address(raft, message, pre ? RAFT_MSG_PREVOTE : RAFT_MSG_VOTE, &peer->member);
    message->term = raft->term + (pre ? 1 : 0);
    message->prev_idx = raft_counted_idx(raft);
    message->prev_term = raft_term_at(raft, message->prev_idx);
    message->forced = raft->forced;
}

/* A beat's commit never exceeds what this peer is known to have as the leader has it. */
static void make_beat(struct raft *raft, const struct raft_peer *peer, struct raft_message *message)
{
    raft_address(raft, message, RAFT_MSG_BEAT, &peer->member);
    message->commit_idx = peer->match < raft->commit_idx ? peer->match : raft->commit_idx;
    message->last_idx = raft->commit_idx;
    message->round = raft->round;
    message->to_boot = peer->boot;
    raft->round_sent = raft->round;
}

bool raft_take_message(struct raft *raft, struct raft_message *message)
{
    if (raft_transfer_message(raft, message))
        return true;
    if (raft->failed || (raft->role == RAFT_FOLLOWER && !raft->amnesiac))
        return false;
    for (uint32_t i = 0; i < raft->config.count; i++) {
        struct raft_peer *peer = &raft->peers[i];
        if (raft_is_self(raft, &peer->member) || peer->owes == 0)
            continue;
        peer->owes = 0;
        if (raft->amnesiac)
            raft_make_forgot(raft, peer, message);
        else if (raft->role == RAFT_LEADER)
            make_beat(raft, peer, message);
        else
            make_vote_request(raft, peer, message);
        return true;
    }
    for (uint32_t i = 0; raft->role == RAFT_LEADER && i < raft->config.count; i++) {
        struct raft_peer *peer = &raft->peers[i];
        if (!raft_is_self(raft, &peer->member) && raft_peer_append(raft, peer, message))
            return true;
    }
    return false;
}

/* What a candidate or leader says is dropped when it is one no longer, in the same term
 * too: its log may have been cut since. */
static bool is_of_role(const struct raft *raft, enum raft_message_type type)
{
    switch (type) {
    case RAFT_MSG_PREVOTE:
        return raft->role == RAFT_PRE_CANDIDATE;
    case RAFT_MSG_VOTE:
        return raft->role == RAFT_CANDIDATE;
    case RAFT_MSG_APPEND:
    case RAFT_MSG_BEAT:
    case RAFT_MSG_RESET:
        return raft->role == RAFT_LEADER;
    case RAFT_MSG_PREVOTE_REPLY:
    case RAFT_MSG_VOTE_REPLY:
    case RAFT_MSG_APPEND_REPLY:
    case RAFT_MSG_BEAT_REPLY:
    case RAFT_MSG_TIMEOUT_NOW:
    case RAFT_MSG_FORGOT:
    case RAFT_MSG_FORGOT_REPLY:
        break;
    }
    return true;
}

enum raft_leave raft_may_leave(const struct raft *raft, const struct raft_message *message)
{
    if (raft->failed)
        return message->type == RAFT_MSG_TIMEOUT_NOW ? RAFT_LEAVE : RAFT_DROP;
    if (message->own_term != raft->term || !is_of_role(raft, message->type))
        return RAFT_DROP;
    if (message->need_idx != 0 && message->need_cuts != raft->cuts)
        return RAFT_DROP;
    if (message->need_hard > raft->hard_durable_seq || message->need_idx > raft->flushed_idx)
        return RAFT_WAIT;
    return RAFT_LEAVE;
}
