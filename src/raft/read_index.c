/*
 * Reads that must not be stale (6.4). A ticket is a round; a round is answered when a
 * quorum has answered a beat that left after the ticket was given, so no newer leader
 * had committed anything when the read came. Reads of one turn share a round.
 */
#include "raft/raft_internal.h"

void raft_on_read(struct raft *raft, struct raft_out *out)
{
    if (raft->role != RAFT_LEADER || raft->noop_idx == 0 || raft->commit_idx < raft->noop_idx)
        return;
    if (raft->round_sent >= raft->round || raft->round_good >= raft->round)
        raft->round++;
    out->read_ticket = raft->round;
    out->read_idx = raft->commit_idx;
    for (uint32_t i = 0; i < raft->config.count; i++)
        if (!raft_is_self(raft, &raft->peers[i].member))
            raft->peers[i].owes |= OWES_BEAT;
    if (raft_is_sole_voter(raft))
        raft_reads_advance(raft, out);
}

void raft_reads_advance(struct raft *raft, struct raft_out *out)
{
    uint64_t round = raft_quorum_value(raft, QUORUM_ROUND);
    if (round <= raft->round_good)
        return;
    raft->round_good = round;
    out->reads_good = round;
}
