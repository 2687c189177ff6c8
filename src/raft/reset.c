/*
 * Where the log begins: entries that retention or a snapshot took away, and the jump
 * of a follower that needs one of them. The jump is offered with a committed
 * configuration (the newest: entries that follow may name older ones again, which
 * then hold until the newest comes; that is how any log is replayed).
 */
#include "raft/raft_internal.h"

void raft_on_log_start(struct raft *raft, const struct raft_event *event)
{
    REQUIRE(event->idx <= raft->commit_idx);
    if (event->idx > raft->base_idx)
        raft_runs_start(raft, event->idx, event->term);
}

void raft_make_reset(struct raft *raft, struct raft_peer *peer, struct raft_message *message)
{
    raft_address(raft, message, RAFT_MSG_RESET, &peer->member);
    message->prev_idx = raft->base_idx;
    message->prev_term = raft->base_term;
    message->commit_idx = raft->commit_idx;
    message->config = raft->config.idx <= raft->commit_idx ? &raft->config : &raft->before;
    message->to_boot = peer->boot;
    peer->paused = true;
    peer->sent_us = raft->now_us;
}

/* A log that has the entry keeps what follows it: this replica may have acknowledged it.
 * Whether it has, the runs say, or, below them, the owner's log. */
static bool has_entry(const struct raft *raft, const struct raft_event *event)
{
    const struct raft_message *message = event->message;
    uint64_t term = raft_term_at(raft, message->prev_idx);
    if (term == 0 && message->prev_idx < raft_runs_from(raft))
        term = event->log_prev_term;
    return term == message->prev_term;
}

void raft_on_reset(struct raft *raft, const struct raft_event *event, struct raft_out *out)
{
    const struct raft_message *message = event->message;
    if (message->prev_idx <= raft->commit_idx) {
        raft_acknowledge(raft, &message->from, raft->commit_idx, out);
        return;
    }
    if (message->prev_term == 0 || message->config == NULL || !raft_config_valid(raft, message->config)) {
        out->violation = true;
        return;
    }
    if (has_entry(raft, event)) {
        raft_commit_to(raft, message->prev_idx, out);
        raft_acknowledge(raft, &message->from, message->prev_idx, out);
        return;
    }
    raft->run_count = 0;
    raft->base_idx = message->prev_idx;
    raft->base_term = message->prev_term;
    raft->last_idx = message->prev_idx;
    raft->last_term = message->prev_term;
    raft->flushed_idx = 0; /* until FLUSHED says that the new start is durable */
    raft->cuts++;
    raft->cut_low_idx = 1;
    raft_commit_to(raft, message->prev_idx, out);
    raft_config_replace(raft, message->config, message->prev_idx);
    out->reset = true;
    out->config_changed = true;
    raft_acknowledge(raft, &message->from, message->prev_idx, out);
}
