/*
 * The leader's side: what each peer has, what it is sent next, and whether a quorum
 * still listens.
 *
 *   PROBE      where the logs agree is not known: one message, then wait for its
 *              answer or for that of a beat.  -> REPLICATE on a match
 *   REPLICATE  next runs ahead of match, as far as the window allows.
 *              -> PROBE on a refusal
 *   RESET      the peer needs what is no longer here: offered a jump to the log
 *              start, again after an election timeout.  -> PROBE when it has jumped
 */
#include "raft/raft_internal.h"

static void to_probe(struct raft_peer *peer)
{
    peer->state = PROGRESS_PROBE;
    peer->paused = false;
    peer->window_count = 0;
    peer->window_used_bytes = 0;
    peer->next = peer->match + 1;
}

void raft_peer_fresh(const struct raft *raft, struct raft_peer *peer, const struct raft_member *member)
{
    *peer = (struct raft_peer){.member = *member, .next = raft->last_idx + 1, .heard_us = raft->now_us};
}

void raft_become_leader(struct raft *raft, struct raft_out *out)
{
    raft->role = RAFT_LEADER;
    raft->leader = raft->self;
    raft->noop_idx = 0;
    raft->leaving = false;
    raft->claimed = false;
    raft->missed = 0;
    raft->pardoned = false;
    raft->transfer = (struct raft_member){0};
    raft->old_bytes = 0;
    raft->new_bytes = 0;
    raft->round++;
    raft->round_good = raft->round;
    raft->beat_at_us = raft->now_us + raft->beat_us;
    for (uint32_t i = 0; i < raft->config.count; i++) {
        struct raft_member member = raft->peers[i].member;
        raft_peer_fresh(raft, &raft->peers[i], &member);
        raft->peers[i].owes = OWES_BEAT;
    }
    out->role_changed = true;
    out->append_noop = true;
}

static void free_window(struct raft_peer *peer, uint64_t match_idx)
{
    while (peer->window_count > 0 && peer->window_idx[peer->window_first] <= match_idx) {
        peer->window_used_bytes -= peer->window_size[peer->window_first];
        peer->window_first = (uint8_t)((peer->window_first + 1) % RAFT_WINDOW_MESSAGES);
        peer->window_count--;
    }
}

/* An earlier boot's answers say nothing any more; a new boot may have lost what it had. */
static bool heard_from(struct raft *raft, struct raft_peer *peer, const struct raft_message *message)
{
    if (message->boot < peer->boot)
        return false;
    if (message->boot > peer->boot && peer->boot != 0) {
        peer->match = 0;
        peer->next = raft->last_idx + 1;
        peer->commit = 0;
        peer->round = 0;
        peer->state = PROGRESS_PROBE;
        peer->paused = false;
        peer->window_count = 0;
        peer->window_used_bytes = 0;
    }
    peer->boot = message->boot;
    peer->heard_us = raft->now_us;
    if (message->commit_idx > peer->commit)
        peer->commit = message->commit_idx;
    return true;
}

static void on_refusal(struct raft *raft, struct raft_peer *peer, const struct raft_message *message)
{
    if (message->prev_idx <= peer->match || peer->state == PROGRESS_RESET)
        return; /* of an older message */
    if (peer->state == PROGRESS_REPLICATE) {
        to_probe(peer);
        return;
    }
    if (message->prev_idx != peer->next - 1)
        return;
    uint64_t hint = message->hint_idx < message->prev_idx ? message->hint_idx : message->prev_idx - 1;
    if (message->hint_term != 0 && hint >= raft_runs_from(raft)) {
        bool known;
        uint64_t found = raft_runs_search(raft, hint, message->hint_term, &known);
        if (known)
            hint = found;
    }
    peer->next = hint + 1 > peer->match + 1 ? hint + 1 : peer->match + 1;
    peer->paused = false;
}

static void on_match(struct raft *raft, struct raft_peer *peer, uint64_t match_idx, struct raft_out *out)
{
    if (match_idx > raft->last_idx) {
        out->violation = true;
        return;
    }
    bool grew = match_idx > peer->match;
    if (grew)
        peer->match = match_idx;
    if (peer->next <= peer->match)
        peer->next = peer->match + 1;
    free_window(peer, peer->match);
    if (peer->state == PROGRESS_PROBE || (peer->state == PROGRESS_RESET && peer->match >= raft->base_idx)) {
        to_probe(peer);
        peer->state = PROGRESS_REPLICATE;
    }
    if (grew)
        raft_leader_commit(raft, out);
}

void raft_on_append_reply(struct raft *raft, const struct raft_message *message, struct raft_out *out)
{
    struct raft_peer *peer = raft_peer_find(raft, &message->from);
    if (raft->role != RAFT_LEADER || peer == NULL || !heard_from(raft, peer, message))
        return;
    if (message->refused)
        on_refusal(raft, peer, message);
    else
        on_match(raft, peer, message->match_idx, out);
}

void raft_on_beat_reply(struct raft *raft, const struct raft_message *message, struct raft_out *out)
{
    struct raft_peer *peer = raft_peer_find(raft, &message->from);
    if (raft->role != RAFT_LEADER || peer == NULL || !heard_from(raft, peer, message))
        return;
    if (message->round > peer->round && message->round <= raft->round_sent)
        peer->round = message->round;
    if (peer->state == PROGRESS_PROBE)
        peer->paused = false;
    if (peer->stuck && peer->match < raft->last_idx)
        peer->nudge = true;
    peer->stuck = false;
    raft_reads_advance(raft, out);
}

/* ---- sending ------------------------------------------------------------------------ */

static bool window_is_full(const struct raft *raft, const struct raft_peer *peer)
{
    return peer->window_count == RAFT_WINDOW_MESSAGES || peer->window_used_bytes >= raft->window_bytes;
}

static bool has_something(const struct raft *raft, struct raft_peer *peer)
{
    switch ((enum raft_progress)peer->state) {
    case PROGRESS_PROBE:
        return !peer->paused && peer->match < raft->last_idx;
    case PROGRESS_REPLICATE:
        return peer->nudge || (peer->next <= raft->last_idx && !window_is_full(raft, peer));
    case PROGRESS_RESET:
        return !peer->paused;
    }
    return false;
}

/* The next append or reset for this peer; false: nothing is due. */
bool raft_peer_append(struct raft *raft, struct raft_peer *peer, struct raft_message *message)
{
    if (peer->stalled || !has_something(raft, peer))
        return false;
    if (peer->next <= raft->base_idx)
        peer->state = PROGRESS_RESET;
    if (peer->state == PROGRESS_RESET) {
        raft_make_reset(raft, peer, message);
        return true;
    }
    raft_address(raft, message, RAFT_MSG_APPEND, &peer->member);
    message->prev_idx = peer->next - 1;
    message->prev_term = raft_term_at(raft, message->prev_idx);
    message->last_idx = message->prev_idx;
    message->commit_idx = raft->commit_idx;
    message->to_boot = peer->boot;
    if (peer->next <= raft->last_idx && !(peer->state == PROGRESS_REPLICATE && window_is_full(raft, peer))) {
        bool known = peer->next >= raft_runs_from(raft);
        message->entry_term = known ? raft_term_at(raft, peer->next) : 0;
        message->last_idx = known ? raft_runs_end(raft, peer->next) : raft_runs_from(raft) - 1;
        message->limit_bytes = raft->message_bytes;
    }
    peer->nudge = false;
    if (peer->state == PROGRESS_PROBE)
        peer->paused = true;
    return true;
}

void raft_sent(struct raft *raft, const struct raft_message *message, uint64_t last_idx, uint32_t bytes)
{
    struct raft_peer *peer = raft_peer_find(raft, &message->to);
    if (raft->role != RAFT_LEADER || peer == NULL || message->own_term != raft->term)
        return;
    REQUIRE(last_idx >= message->prev_idx && last_idx <= message->last_idx);
    if (last_idx == message->prev_idx) {
        peer->stalled = true;
        return;
    }
    if (peer->state != PROGRESS_REPLICATE)
        return;
    REQUIRE(peer->next == message->prev_idx + 1 && peer->window_count < RAFT_WINDOW_MESSAGES);
    uint32_t at = (uint32_t)(peer->window_first + peer->window_count) % RAFT_WINDOW_MESSAGES;
    peer->window_idx[at] = last_idx;
    peer->window_size[at] = bytes;
    peer->window_count++;
    peer->window_used_bytes += bytes;
    peer->next = last_idx + 1;
}

void raft_on_supply(struct raft *raft, const struct raft_event *event)
{
    struct raft_peer *peer = raft_peer_find(raft, &event->member);
    if (raft->role != RAFT_LEADER || peer == NULL || !peer->stalled)
        return;
    peer->stalled = false;
    if (peer->state == PROGRESS_PROBE)
        peer->paused = false; /* the probe that asked for it was never sent */
}

/* ---- beats and the quorum ------------------------------------------------------------ */

bool raft_is_idle(const struct raft *raft)
{
    if (raft->role != RAFT_LEADER || !raft_may_propose(raft) || raft->commit_idx != raft->last_idx ||
        raft->round_good < raft->round)
        return false;
    for (uint32_t i = 0; i < raft->config.count; i++) {
        const struct raft_peer *peer = &raft->peers[i];
        if (!raft_is_self(raft, &peer->member) && (peer->match != raft->last_idx || peer->commit != raft->commit_idx))
            return false;
    }
    return true;
}

void raft_leader_tick(struct raft *raft, struct raft_out *out)
{
    if (raft->transfer.broker_id != 0 && raft->now_us >= raft->transfer_until_us)
        raft_transfer_late(raft, out);
    if (raft->role != RAFT_LEADER || raft->now_us < raft->beat_at_us)
        return;
    raft->beat_at_us = raft->now_us + raft->beat_us;
    int64_t heard_us = (int64_t)raft_quorum_value(raft, QUORUM_HEARD);
    if (raft->now_us - heard_us >= raft->election_us) {
        raft_follow(raft, raft->term, NULL, out);
        return;
    }
    raft->transfer_told = false;
    bool idle = raft_is_idle(raft);
    for (uint32_t i = 0; i < raft->config.count; i++) {
        struct raft_peer *peer = &raft->peers[i];
        if (raft_is_self(raft, &peer->member) || (idle && peer->linked))
            continue;
        peer->owes |= OWES_BEAT;
        peer->stalled = false;
        peer->stuck = peer->match < raft->last_idx && peer->match == peer->beat_match;
        peer->beat_match = peer->match;
        if (peer->state == PROGRESS_RESET && raft->now_us - peer->sent_us >= raft->election_us)
            peer->paused = false;
    }
}
