/*
 * What is in the log, what of it is durable, and what is committed.
 *
 * Uncommitted bytes are kept as two sums, up to old_idx and after it. When the first
 * is committed the second takes its place: never too little, and exact once all is
 * committed, for two numbers a group.
 */
#include "raft/raft_internal.h"

uint64_t raft_counted_idx(const struct raft *raft)
{
    return raft->commits_unflushed ? raft->last_idx : raft->flushed_idx;
}

static void note_bytes(struct raft *raft, uint32_t bytes)
{
    if (raft->old_bytes == 0 && raft->new_bytes == 0) {
        raft->old_idx = raft->last_idx;
        raft->old_bytes = bytes;
    } else {
        raft->new_bytes += bytes;
    }
}

void raft_commit_to(struct raft *raft, uint64_t idx, struct raft_out *out)
{
    if (idx <= raft->commit_idx)
        return;
    REQUIRE(idx <= raft->last_idx);
    raft->commit_idx = idx;
    out->committed = true;
    if (idx >= raft->last_idx) {
        raft->old_bytes = 0;
        raft->new_bytes = 0;
    } else if (idx >= raft->old_idx) {
        raft->old_bytes = raft->new_bytes;
        raft->new_bytes = 0;
        raft->old_idx = raft->last_idx;
    }
}

/* Only an entry of its own term decides (3.6.2, figure 8); the no-op is the first. */
void raft_leader_commit(struct raft *raft, struct raft_out *out)
{
    if (raft->role != RAFT_LEADER || raft->noop_idx == 0)
        return;
    uint64_t idx = raft_quorum_value(raft, QUORUM_MATCH);
    if (idx < raft->noop_idx || idx <= raft->commit_idx)
        return;
    raft_commit_to(raft, idx, out);
    raft_config_committed(raft, out);
}

void raft_on_appended(struct raft *raft, const struct raft_event *event, struct raft_out *out)
{
    REQUIRE(raft->role == RAFT_LEADER);
    REQUIRE(event->term == raft->term);
    REQUIRE(event->idx == raft->last_idx + 1);
    REQUIRE(raft->noop_idx == 0 || event->config != NULL || raft_may_propose(raft));
    if (raft_is_idle(raft) && raft->beat_at_us <= raft->now_us) /* the entry says what a beat would */
        raft->beat_at_us = raft->now_us + raft->beat_us;
    raft_runs_append(raft, event->idx, event->term);
    raft->last_idx = event->idx;
    raft->last_term = event->term;
    note_bytes(raft, event->bytes);
    if (raft->noop_idx == 0)
        raft->noop_idx = event->idx;
    if (event->config != NULL) {
        REQUIRE(raft_config_valid(raft, event->config));
        REQUIRE(raft->config.idx <= raft->commit_idx && raft->commit_idx >= raft->noop_idx);
        raft_config_adopt(raft, event->config, event->idx);
        out->config_changed = true;
    }
    raft_leader_commit(raft, out);
}

void raft_on_flushed(struct raft *raft, const struct raft_event *event, struct raft_out *out)
{
    uint64_t idx = event->idx;
    if (event->cuts > raft->cuts || event->cuts < raft->flush_cuts)
        return;
    if (event->cuts < raft->cuts) {
        /* It began before a cut: it speaks of what no cut since has touched. */
        if (idx >= raft->cut_low_idx)
            idx = raft->cut_low_idx - 1;
    } else if (idx > raft->last_idx || (raft_term_at(raft, idx) != event->term && idx >= raft_runs_from(raft))) {
        return;
    } else {
        raft->flush_cuts = event->cuts;
        raft->cut_low_idx = UINT64_MAX;
    }
    if (idx <= raft->flushed_idx)
        return;
    raft->flushed_idx = idx;
    raft_leader_commit(raft, out);
}
