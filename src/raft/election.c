/*
 * Elections: pre-vote, vote, the voters' lease, and when to try.
 *
 * A follower campaigns when no leader was heard for a random time between one and
 * two election timeouts, put off by its rank: half a timeout a place (a whole one while
 * none was heard since the start: nobody waits for a leader that died, and all may have
 * started at once), halved again with each election that came to nothing, so that an
 * absent favourite does not hold up the others (Redpanda's decaying priority).
 */
#include "raft/raft_internal.h"

static uint64_t next_random(struct raft *raft)
{
    uint64_t x = raft->random;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    raft->random = x;
    return x;
}

bool raft_may_campaign(const struct raft *raft)
{
    return !raft->failed && !raft->amnesiac && raft->role != RAFT_LEADER && raft_is_electable(raft) &&
           raft->flushed_idx >= raft->base_idx;
}

static int64_t draw_spread(struct raft *raft)
{
    return (int64_t)(next_random(raft) % (uint64_t)raft->election_us);
}

/* Of a rank, where the leader is known to be gone. */
static int64_t short_handicap(const struct raft *raft)
{
    return raft->rank == RAFT_RANK_NEVER ? 0 : raft->rank * raft->election_us / 20;
}

void raft_draw_timeout(struct raft *raft)
{
    int64_t spread = draw_spread(raft);
    int64_t place_us = raft->heard_us == 0 ? raft->election_us : raft->election_us / 2;
    int64_t handicap = raft->rank == RAFT_RANK_NEVER ? 0 : (raft->rank * place_us) >> raft->missed;
    raft->election_at_us = raft->now_us + raft->election_us + spread + handicap;
}

static void open_ballot(struct raft *raft)
{
    for (uint32_t i = 0; i < raft->config.count; i++) {
        bool voter = (raft->config.seats[i].kinds & (RAFT_SEAT_VOTER | RAFT_SEAT_OLD)) != 0;
        raft->peers[i].vote = BALLOT_NONE;
        raft->peers[i].owes = voter && !raft_is_self(raft, &raft->peers[i].member) ? OWES_VOTE : 0;
    }
    raft->leader = (struct raft_member){0};
    raft->claimed = false;
}

void raft_campaign(struct raft *raft, bool pre, bool forced, struct raft_out *out)
{
    REQUIRE(raft_may_campaign(raft));
    out->role_changed = true;
    raft->forced = forced;
    if (raft->first_term != 0 && raft->first_term == raft->term && raft_is_sole_voter(raft)) {
        raft->first_term = 0;
        raft_become_leader(raft, out);
        return;
    }
    open_ballot(raft);
    raft_draw_timeout(raft);
    if (pre) {
        raft->role = RAFT_PRE_CANDIDATE;
        raft->self_vote = true;
    } else {
        raft->role = RAFT_CANDIDATE;
        raft->term++;
        raft->vote = raft->self;
        raft->self_vote = false; /* until it is durable */
        raft_save_hard_state(raft, out);
    }
    raft_count_votes(raft, out);
}

void raft_count_votes(struct raft *raft, struct raft_out *out)
{
    switch (raft_quorum_votes(raft)) {
    case VERDICT_OPEN:
        break;
    case VERDICT_WON:
        if (raft->role == RAFT_CANDIDATE)
            raft_become_leader(raft, out);
        else if (raft_may_campaign(raft))
            raft_campaign(raft, false, false, out);
        else /* the log's start moved meanwhile past what is durable */
            raft_follow(raft, raft->term, NULL, out);
        break;
    case VERDICT_LOST:
        raft_follow(raft, raft->term, NULL, out);
        break;
    }
}

bool raft_lease_holds(const struct raft *raft)
{
    if (raft->role == RAFT_LEADER)
        return true; /* its own quorum check unseats it */
    if (raft->leader.broker_id == 0)
        return false;
    return raft->claimed || raft->now_us < raft->heard_us + raft->election_us;
}

/* By what is durable; a tail whose term is not known, or a reset still under way,
 * is compared by the end of the log, which asks more of the candidate, never less. */
static bool is_up_to_date(const struct raft *raft, const struct raft_message *message)
{
    uint64_t idx = raft_counted_idx(raft);
    uint64_t term = idx < raft->base_idx ? 0 : raft_term_at(raft, idx);
    if (idx < raft->base_idx || (idx > 0 && term == 0)) {
        idx = raft->last_idx;
        term = raft->last_term;
    }
    return message->prev_term > term || (message->prev_term == term && message->prev_idx >= idx);
}

void raft_on_vote_request(struct raft *raft, const struct raft_message *message, struct raft_out *out)
{
    bool pre = message->type == RAFT_MSG_PREVOTE;
    if (raft->amnesiac)
        return;
    bool mine = raft_member_equal(&raft->vote, &message->from);
    bool free_vote = raft->vote.broker_id == 0 && raft->leader.broker_id == 0;
    bool may = message->term >= raft->term && (mine || free_vote || (pre && message->term > raft->term));
    bool granted = may && is_up_to_date(raft, message);
    if (granted && !pre) {
        if (!mine) {
            raft->vote = message->from;
            raft_save_hard_state(raft, out);
        }
        raft_draw_timeout(raft);
    }
    struct raft_message *reply =
        raft_reply(raft, out, pre ? RAFT_MSG_PREVOTE_REPLY : RAFT_MSG_VOTE_REPLY, &message->from);
    reply->granted = granted;
    if (granted)
        reply->term = message->term;
}

void raft_on_vote_reply(struct raft *raft, const struct raft_message *message, struct raft_out *out)
{
    bool pre = message->type == RAFT_MSG_PREVOTE_REPLY;
    if (raft->role != (pre ? RAFT_PRE_CANDIDATE : RAFT_CANDIDATE))
        return;
    if (message->granted && message->term != raft->term + (pre ? 1 : 0))
        return;
    struct raft_peer *peer = raft_peer_find(raft, &message->from);
    if (peer == NULL || peer->vote != BALLOT_NONE)
        return;
    peer->vote = message->granted ? BALLOT_GRANTED : BALLOT_REFUSED;
    raft_count_votes(raft, out);
}

void raft_on_leader_gone(struct raft *raft)
{
    if (raft->role != RAFT_FOLLOWER && raft->role != RAFT_PRE_CANDIDATE)
        return;
    raft->leader = (struct raft_member){0};
    raft->claimed = false;
    int64_t spread = (int64_t)(next_random(raft) % (uint64_t)(raft->election_us / 6 + 1));
    int64_t at_us = raft->now_us + raft->election_us / 25 + spread + short_handicap(raft);
    if (at_us < raft->election_at_us)
        raft->election_at_us = at_us;
}

void raft_on_claim(struct raft *raft, const struct raft_event *event, struct raft_out *out)
{
    if (!event->on) {
        if (!raft->claimed || event->term != raft->term)
            return;
        /* Nobody vouches since an election timeout without beats: the lease is over, and of
         * the wait only the spread is left. A beat of it lets the other voters notice, too. */
        raft->claimed = false;
        raft->heard_us = raft->now_us - raft->election_us;
        raft->election_at_us = raft->now_us + raft->beat_us + draw_spread(raft) + short_handicap(raft);
        return;
    }
    if (event->term < raft->term || raft->role == RAFT_LEADER || event->member.broker_id == 0)
        return;
    if (event->term > raft->term || !raft_member_equal(&raft->leader, &event->member))
        raft_follow(raft, event->term, &event->member, out);
    raft->claimed = true;
    raft->heard_us = raft->now_us;
    raft->missed = 0;
}

void raft_election_tick(struct raft *raft, struct raft_out *out)
{
    if (raft->now_us < raft_deadline_us(raft))
        return;
    if (raft->amnesiac) {
        raft_forgot_tick(raft, out);
        return;
    }
    if (raft->missed < 8)
        raft->missed++;
    raft_campaign(raft, true, false, out);
}
