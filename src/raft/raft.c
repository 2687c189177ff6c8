#include "raft/raft.h"

#include "base/require.h"

void raft_init(struct raft *raft, const struct raft_start *start)
{
    REQUIRE(start->voter_count == 1);
    REQUIRE(start->commit_idx <= start->last_idx);
    REQUIRE(!start->created || start->last_idx == 0);
    *raft = (struct raft){
        .self = start->self,
        .voter_count = start->voter_count,
        .commits_unflushed = start->commits_unflushed,
        .role = RAFT_FOLLOWER,
        .term = start->term > start->last_term ? start->term : start->last_term,
        .vote = start->vote,
        .first_term = start->created ? start->term : 0,
        .last_idx = start->last_idx,
        .last_term = start->last_term,
        .flushed_idx = start->last_idx,
        .commit_idx = start->last_idx,
    };
    raft_check(raft);
}

static void become_leader(struct raft *raft, struct raft_out *out)
{
    raft->role = RAFT_LEADER;
    raft->noop_idx = 0;
    out->role_changed = true;
    out->append_noop = true;
}

/* A new term with a vote for itself; for a sole voter that vote, once durable,
 * is the majority. The term of a group's creation was never led, and is durable. */
static void campaign(struct raft *raft, struct raft_out *out)
{
    if (raft->first_term != 0 && raft->first_term == raft->term) {
        raft->first_term = 0;
        become_leader(raft, out);
        return;
    }
    raft->term++;
    raft->vote = raft->self;
    raft->role = RAFT_CANDIDATE;
    out->role_changed = true;
    out->save_hard_state = true;
}

static void advance_commit(struct raft *raft, struct raft_out *out)
{
    if (raft->role != RAFT_LEADER || raft->noop_idx == 0)
        return;
    uint64_t counted = raft->commits_unflushed ? raft->last_idx : raft->flushed_idx;
    /* Only an entry of its own term decides (3.6.2); the no-op is the first. */
    if (counted < raft->noop_idx || counted <= raft->commit_idx)
        return;
    raft->commit_idx = counted;
    out->committed = true;
}

static void on_appended(struct raft *raft, const struct raft_event *event, struct raft_out *out)
{
    REQUIRE(raft->role == RAFT_LEADER);
    REQUIRE(event->term == raft->term);
    REQUIRE(event->idx == raft->last_idx + 1);
    raft->last_idx = event->idx;
    raft->last_term = event->term;
    if (raft->noop_idx == 0)
        raft->noop_idx = event->idx;
    advance_commit(raft, out);
}

static void on_flushed(struct raft *raft, const struct raft_event *event, struct raft_out *out)
{
    if (event->idx <= raft->flushed_idx || event->idx > raft->last_idx)
        return;
    if (event->term > raft->term)
        return;
    raft->flushed_idx = event->idx;
    advance_commit(raft, out);
}

static void on_hard_state(struct raft *raft, const struct raft_event *event, struct raft_out *out)
{
    if (event->version > raft->hard_durable)
        raft->hard_durable = event->version;
    if (raft->role == RAFT_CANDIDATE && raft->hard_version != 0 && raft->hard_durable >= raft->hard_version)
        become_leader(raft, out);
}

void raft_saving(struct raft *raft, uint64_t version)
{
    REQUIRE(version >= raft->hard_version); /* a state not yet written may be replaced */
    raft->hard_version = version;
}

void raft_step(struct raft *raft, const struct raft_event *event, struct raft_out *out)
{
    *out = (struct raft_out){0};
    if (raft->failed)
        return;
    switch (event->type) {
    case RAFT_EV_WANT_LEAD:
        if (raft->role == RAFT_FOLLOWER)
            campaign(raft, out);
        break;
    case RAFT_EV_APPENDED:
        on_appended(raft, event, out);
        break;
    case RAFT_EV_FLUSHED:
        on_flushed(raft, event, out);
        break;
    case RAFT_EV_HARD_STATE:
        on_hard_state(raft, event, out);
        break;
    case RAFT_EV_DISK_FAILED:
        raft->failed = true;
        raft->role = RAFT_FOLLOWER;
        out->role_changed = true;
        break;
    }
    raft_check(raft);
}

bool raft_may_propose(const struct raft *raft)
{
    return raft->role == RAFT_LEADER && raft->noop_idx != 0 && raft->commit_idx >= raft->noop_idx;
}

void raft_check(const struct raft *raft)
{
    REQUIRE(raft->commit_idx <= raft->last_idx);
    REQUIRE(raft->flushed_idx <= raft->last_idx);
    REQUIRE(raft->last_term <= raft->term);
    REQUIRE(raft->commits_unflushed || raft->commit_idx <= raft->flushed_idx);
    REQUIRE(raft->hard_durable == 0 || raft->hard_durable >= raft->hard_version || raft->role != RAFT_LEADER);
    REQUIRE(raft->role != RAFT_CANDIDATE || raft->vote.broker_id == raft->self.broker_id);
}
