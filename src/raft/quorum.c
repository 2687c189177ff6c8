/*
 * Majorities. A configuration has one half, or two while it is joint; what counts
 * must count in each by itself (4.3), and only its voters count.
 */
#include "raft/raft_internal.h"

static uint64_t value_of(const struct raft *raft, const struct raft_peer *peer, enum raft_quorum_of what)
{
    bool self = raft_is_self(raft, &peer->member);
    switch (what) {
    case QUORUM_MATCH:
        return self ? raft_counted_idx(raft) : peer->match;
    case QUORUM_ROUND:
        return self ? raft->round : peer->round;
    case QUORUM_HEARD:
        return (uint64_t)(self || peer->linked ? raft->now_us : peer->heard_us);
    }
    return 0;
}

static uint64_t half_value(const struct raft *raft, uint32_t kind, enum raft_quorum_of what)
{
    uint64_t values[RAFT_VOTERS_MAX];
    uint32_t count = 0;
    for (uint32_t i = 0; i < raft->config.count; i++) {
        if ((raft->config.seats[i].kinds & kind) == 0)
            continue;
        uint64_t value = value_of(raft, &raft->peers[i], what);
        REQUIRE(count < RAFT_VOTERS_MAX);
        uint32_t at = count++;
        for (; at > 0 && values[at - 1] < value; at--)
            values[at] = values[at - 1];
        values[at] = value;
    }
    REQUIRE(count > 0);
    return values[count / 2];
}

uint64_t raft_quorum_value(const struct raft *raft, enum raft_quorum_of what)
{
    uint64_t value = half_value(raft, RAFT_SEAT_VOTER, what);
    if (!raft_config_is_joint(&raft->config))
        return value;
    uint64_t old = half_value(raft, RAFT_SEAT_OLD, what);
    return old < value ? old : value;
}

static enum raft_verdict half_votes(const struct raft *raft, uint32_t kind)
{
    uint32_t voters = 0;
    uint32_t granted = 0;
    uint32_t refused = 0;
    for (uint32_t i = 0; i < raft->config.count; i++) {
        if ((raft->config.seats[i].kinds & kind) == 0)
            continue;
        voters++;
        if (raft_is_self(raft, &raft->peers[i].member))
            granted += raft->self_vote ? 1 : 0;
        else if (raft->peers[i].vote == BALLOT_GRANTED)
            granted++;
        else if (raft->peers[i].vote == BALLOT_REFUSED)
            refused++;
    }
    if (granted > voters / 2)
        return VERDICT_WON;
    return voters - refused > voters / 2 ? VERDICT_OPEN : VERDICT_LOST;
}

enum raft_verdict raft_quorum_votes(const struct raft *raft)
{
    enum raft_verdict verdict = half_votes(raft, RAFT_SEAT_VOTER);
    if (!raft_config_is_joint(&raft->config))
        return verdict;
    enum raft_verdict old = half_votes(raft, RAFT_SEAT_OLD);
    if (verdict == VERDICT_LOST || old == VERDICT_LOST)
        return VERDICT_LOST;
    return verdict == VERDICT_WON && old == VERDICT_WON ? VERDICT_WON : VERDICT_OPEN;
}
