/*
 * Handing leadership over (3.10): proposals stop, the target is brought up to the
 * last entry and told to campaign at once, past pre-vote and lease. What is not done
 * within an election timeout is given up, and proposals go on.
 */
#include "raft/raft_internal.h"

void raft_on_transfer(struct raft *raft, const struct raft_event *event, struct raft_out *out)
{
    struct raft_peer *peer = raft_peer_find(raft, &event->member);
    if (raft->role != RAFT_LEADER || peer == NULL) {
        out->transfer_ended = true;
        return;
    }
    for (uint32_t i = 0; i < raft->config.count; i++) {
        const struct raft_seat *seat = &raft->config.seats[i];
        if (raft_member_equal(&seat->member, &event->member) && (seat->kinds & RAFT_SEAT_VOTER) == 0) {
            out->transfer_ended = true;
            return;
        }
    }
    raft_transfer_to(raft, event->member);
}

void raft_transfer_to(struct raft *raft, struct raft_member member)
{
    raft->transfer = member;
    raft->transfer_until_us = raft->now_us + raft->election_us;
    raft->transfer_told = false;
}

/* Done or not: one that was removed stops now. */
void raft_transfer_late(struct raft *raft, struct raft_out *out)
{
    raft_transfer_end(raft, out);
    if (!raft_is_voter(raft) && raft->config.idx <= raft->commit_idx)
        raft_follow(raft, raft->term, NULL, out);
}

void raft_transfer_end(struct raft *raft, struct raft_out *out)
{
    raft->transfer = (struct raft_member){0};
    raft->transfer_until_us = 0;
    out->transfer_ended = true;
}

void raft_on_timeout_now(struct raft *raft, const struct raft_message *message, struct raft_out *out)
{
    (void)message;
    if (raft->role == RAFT_LEADER || !raft_may_campaign(raft))
        return;
    raft_campaign(raft, false, true, out);
}

/* The voter that has most; nobody (broker_id 0) where there is no other. */
struct raft_member raft_best_peer(const struct raft *raft)
{
    struct raft_member member = {0};
    uint64_t best = 0;
    for (uint32_t i = 0; i < raft->config.count; i++) {
        const struct raft_peer *peer = &raft->peers[i];
        if (raft_is_self(raft, &peer->member) || (raft->config.seats[i].kinds & RAFT_SEAT_VOTER) == 0)
            continue;
        if (member.broker_id == 0 || peer->match > best) {
            best = peer->match;
            member = peer->member;
        }
    }
    return member;
}

bool raft_transfer_message(struct raft *raft, struct raft_message *message)
{
    if (raft->farewell.broker_id != 0) {
        raft_address(raft, message, RAFT_MSG_TIMEOUT_NOW, &raft->farewell);
        raft->farewell = (struct raft_member){0};
        return true;
    }
    if (raft->role != RAFT_LEADER || raft->transfer.broker_id == 0 || raft->transfer_told)
        return false;
    const struct raft_peer *peer = raft_peer_find(raft, &raft->transfer);
    if (peer == NULL || peer->match != raft->last_idx)
        return false;
    raft->transfer_told = true; /* until the next beat */
    raft_address(raft, message, RAFT_MSG_TIMEOUT_NOW, &raft->transfer);
    return true;
}
