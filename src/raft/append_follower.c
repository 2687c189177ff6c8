/*
 * The follower's side of replication: does prev match, where do the logs part, what
 * to cut, what to take, and what to promise.
 *
 * It never cuts without a proven conflict above its commit: an entry it has
 * acknowledged may be what a leader counted.
 */
#include "raft/raft_internal.h"

void raft_acknowledge(struct raft *raft, const struct raft_member *to, uint64_t match_idx, struct raft_out *out)
{
    struct raft_message *reply = raft_reply(raft, out, RAFT_MSG_APPEND_REPLY, to);
    reply->match_idx = match_idx;
    reply->need_idx = raft->commits_unflushed ? 0 : match_idx;
}

static void refuse(struct raft *raft, const struct raft_message *message, struct raft_out *out)
{
    bool known;
    uint64_t hint = raft_runs_search(raft, message->prev_idx, message->prev_term, &known);
    if (!known && hint > raft->commit_idx)
        hint = raft->commit_idx; /* nothing is known of the terms between: what is committed matches */
    if (hint < raft->commit_idx)
        hint = raft->commit_idx;
    struct raft_message *reply = raft_reply(raft, out, RAFT_MSG_APPEND_REPLY, &message->from);
    reply->refused = true;
    reply->prev_idx = message->prev_idx;
    reply->hint_idx = hint;
    reply->hint_term = raft_term_at(raft, hint);
}

/* Term 0 is never a match, but at the beginning of all logs. */
static bool prev_matches(const struct raft *raft, const struct raft_event *event)
{
    const struct raft_message *message = event->message;
    if (message->prev_idx > raft->last_idx)
        return false;
    uint64_t term = raft_term_at(raft, message->prev_idx);
    if (message->prev_idx == 0)
        return raft->base_idx == 0;
    if (term == 0 && message->prev_idx < raft_runs_from(raft))
        term = event->log_prev_term;
    return term != 0 && term == message->prev_term;
}

/* The last index after prev up to which this log has the message's entries already. */
static uint64_t same_up_to(const struct raft *raft, const struct raft_event *event)
{
    const struct raft_message *message = event->message;
    uint64_t idx = message->prev_idx;
    uint64_t end = message->last_idx < raft->last_idx ? message->last_idx : raft->last_idx;
    if (idx + 1 < raft_runs_from(raft) && idx < end) {
        uint64_t known_end = raft_runs_from(raft) - 1 < end ? raft_runs_from(raft) - 1 : end;
        idx = event->log_same_idx < known_end ? event->log_same_idx : known_end;
        if (idx < known_end)
            return idx;
    }
    while (idx < end && raft_term_at(raft, idx + 1) == message->entry_term) {
        idx = raft_runs_end(raft, idx + 1);
        idx = idx < end ? idx : end;
    }
    return idx;
}

static void cut(struct raft *raft, uint64_t first_idx, uint64_t before_term, struct raft_out *out)
{
    REQUIRE(first_idx > raft->commit_idx && first_idx > raft->base_idx);
    out->truncate = true;
    out->truncate_idx = first_idx;
    raft_runs_cut(raft, first_idx, before_term);
    raft->last_idx = first_idx - 1;
    raft->last_term = before_term;
    if (raft->flushed_idx > raft->last_idx)
        raft->flushed_idx = raft->last_idx;
    raft->cuts++;
    if (first_idx < raft->cut_low_idx)
        raft->cut_low_idx = first_idx;
    if (raft->config.idx >= first_idx) {
        raft_config_roll_back(raft);
        out->config_changed = true;
    }
}

/* What must not come from a peer that keeps the rules: it would cut what is committed
 * here, or undo two configurations. */
static bool breaks_rules(const struct raft *raft, const struct raft_event *event, uint64_t same_idx)
{
    const struct raft_message *message = event->message;
    if (message->prev_idx > 0 && message->prev_term == 0)
        return true;
    if (message->last_idx > message->prev_idx &&
        (message->entry_term < message->prev_term || message->entry_term > message->term || message->entry_term == 0))
        return true;
    const struct raft_config *config = event->config;
    if (config != NULL &&
        (config->idx <= message->prev_idx || config->idx > message->last_idx || !raft_config_valid(raft, config)))
        return true;
    if (same_idx >= message->last_idx || same_idx >= raft->last_idx)
        return false;
    return same_idx < raft->commit_idx || same_idx < raft->base_idx ||
           (raft->config.idx > same_idx && raft->before.idx > same_idx);
}

/* Interval flushing after a power cut: what a leader had committed (leaders_idx), once it
 * committed in its own term, holds everything that was ever acknowledged. */
static void maybe_heal(struct raft *raft, const struct raft_message *message, uint64_t leaders_idx, uint64_t match_idx)
{
    if ((raft->amnesiac || raft->pardoned) && message->to_boot == raft->boot && match_idx >= leaders_idx &&
        raft_term_at(raft, leaders_idx) == message->term)
        raft->amnesiac = raft->pardoned = false;
}

static void take_entries(struct raft *raft, const struct raft_event *event, uint64_t same_idx, struct raft_out *out)
{
    const struct raft_message *message = event->message;
    if (same_idx >= message->last_idx)
        return;
    if (same_idx < raft->last_idx)
        cut(raft, same_idx + 1, same_idx == message->prev_idx ? message->prev_term : message->entry_term, out);
    out->accept = true;
    out->accept_first = same_idx + 1;
    out->accept_last = message->last_idx;
    raft->last_idx = message->last_idx;
    raft->last_term = message->entry_term;
    raft_runs_append(raft, out->accept_first, message->entry_term);
    if (event->config != NULL && event->config->idx > same_idx) {
        raft_config_adopt(raft, event->config, event->config->idx);
        out->config_changed = true;
    }
}

/* Interval flushing: when the power failed for a majority, it may have elected a leader
 * that lacks what this log knows to be committed. This log is then the one that is
 * wrong; it cannot be cut, as what is committed was shown, and has to be replaced. */
static bool may_outlive(const struct raft *raft, const struct raft_message *message)
{
    return raft->commits_unflushed && message->prev_idx <= raft->commit_idx && message->prev_idx > raft->base_idx;
}

void raft_on_append(struct raft *raft, const struct raft_event *event, struct raft_out *out)
{
    const struct raft_message *message = event->message;
    if (message->last_idx < message->prev_idx) {
        out->violation = true;
        return;
    }
    bool outlives = may_outlive(raft, message);
    if (message->prev_idx < raft->commit_idx && !outlives) {
        /* Below the commit all logs are the same. */
        raft_acknowledge(raft, &message->from, raft->commit_idx, out);
        return;
    }
    if (message->prev_idx > raft->commit_idx && !prev_matches(raft, event)) {
        refuse(raft, message, out);
        return;
    }
    if (outlives && !prev_matches(raft, event)) {
        out->outlived = true;
        return;
    }
    uint64_t same_idx = same_up_to(raft, event);
    if (outlives && same_idx < message->last_idx && same_idx < raft->commit_idx) {
        out->outlived = true;
        return;
    }
    if (breaks_rules(raft, event, same_idx)) {
        out->violation = true;
        return;
    }
    if (event->cut_alone && same_idx < message->last_idx && same_idx < raft->last_idx) {
        cut(raft, same_idx + 1, same_idx == message->prev_idx ? message->prev_term : message->entry_term, out);
        out->again = true;
        return;
    }
    take_entries(raft, event, same_idx, out);
    uint64_t match_idx = message->last_idx;
    raft_commit_to(raft, message->commit_idx < match_idx ? message->commit_idx : match_idx, out);
    maybe_heal(raft, message, message->commit_idx, match_idx);
    raft_acknowledge(raft, &message->from, match_idx, out);
}

void raft_on_beat(struct raft *raft, const struct raft_message *message, struct raft_out *out)
{
    /* Capped to what this boot of this replica acknowledged; more says that the leader
     * counts on entries that are not here. */
    if (message->to_boot == raft->boot && message->commit_idx > raft->last_idx) {
        out->violation = true;
    } else if (message->to_boot == raft->boot) {
        raft_commit_to(raft, message->commit_idx, out);
        maybe_heal(raft, message, message->last_idx, message->commit_idx);
    }
    raft_reply(raft, out, RAFT_MSG_BEAT_REPLY, &message->from)->round = message->round;
}
