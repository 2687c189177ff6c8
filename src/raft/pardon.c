/*
 * When the power fails for a majority that flushes by interval, nobody that remembers
 * everything can be elected any more. Those that may have forgotten ask each other, once
 * an election timeout, with a number that an answer has to carry: what somebody said
 * earlier, or to an earlier boot, does not count. If those that have not forgotten are no
 * majority of some half of the configuration, waiting for them is of no use.
 */
#include "raft/raft_internal.h"

/* Whether those of this half that have not forgotten are a majority of it. */
static bool half_remembers(const struct raft *raft, uint32_t kind)
{
    uint32_t voters = 0;
    uint32_t forgot = 0;
    for (uint32_t i = 0; i < raft->config.count; i++) {
        if ((raft->config.seats[i].kinds & kind) == 0)
            continue;
        voters++;
        if (raft->peers[i].forgot || raft_is_self(raft, &raft->peers[i].member))
            forgot++;
    }
    return voters - forgot > voters / 2;
}

static bool enough_remember(const struct raft *raft)
{
    return half_remembers(raft, RAFT_SEAT_VOTER) &&
           (!raft_config_is_joint(&raft->config) || half_remembers(raft, RAFT_SEAT_OLD));
}

void raft_forgot_tick(struct raft *raft, struct raft_out *out)
{
    raft->round++;
    raft_draw_timeout(raft);
    for (uint32_t i = 0; i < raft->config.count; i++) {
        struct raft_peer *peer = &raft->peers[i];
        bool voter = (raft->config.seats[i].kinds & (RAFT_SEAT_VOTER | RAFT_SEAT_OLD)) != 0;
        peer->forgot = false;
        if (voter && !raft_is_self(raft, &peer->member))
            peer->owes |= OWES_FORGOT;
    }
    out->may_pardon = !enough_remember(raft); /* of two voters nobody need be asked */
}

void raft_make_forgot(const struct raft *raft, const struct raft_peer *peer, struct raft_message *message)
{
    raft_address(raft, message, RAFT_MSG_FORGOT, &peer->member);
    message->round = raft->round;
}

void raft_on_forgot(struct raft *raft, const struct raft_message *message, struct raft_out *out)
{
    if (!raft->amnesiac && !raft->pardoned)
        return;
    struct raft_message *reply = raft_reply(raft, out, RAFT_MSG_FORGOT_REPLY, &message->from);
    reply->round = message->round;
    reply->to_boot = message->boot;
}

void raft_on_forgot_reply(struct raft *raft, const struct raft_message *message, struct raft_out *out)
{
    struct raft_peer *peer = raft_peer_find(raft, &message->from);
    if (!raft->amnesiac || peer == NULL || message->to_boot != raft->boot || message->round != raft->round)
        return;
    peer->forgot = true;
    out->may_pardon = !enough_remember(raft);
}
