/*
 * The step: what an event is, whose term it is of, and where it goes.
 */
#include "raft/raft_internal.h"

#define DEFAULT_ELECTION_US INT64_C(500000)
#define DEFAULT_BEAT_US INT64_C(100000)
#define DEFAULT_WINDOW_BYTES (4u << 20)
#define DEFAULT_MESSAGE_BYTES (1u << 20)
#define DEFAULT_UNCOMMITTED_BYTES (UINT64_C(32) << 20)

/* With five seats, all but the windows. */
_Static_assert(sizeof(struct raft) + 5 * (RAFT_MEMORY_BYTES(1) - sizeof(((struct raft_peer *)0)->window_idx) -
                                          sizeof(((struct raft_peer *)0)->window_size)) <=
                   2048,
               "a group's state is at most 2 KiB beside its windows");

bool raft_is_self(const struct raft *raft, const struct raft_member *member)
{
    return raft_member_equal(&raft->self, member);
}

static uint64_t or_default(uint64_t value, uint64_t fallback)
{
    return value != 0 ? value : fallback;
}

void raft_init(struct raft *raft, const struct raft_start *start)
{
    REQUIRE(start->commit_idx <= start->last_idx && start->base_idx <= start->last_idx);
    REQUIRE(!start->created || start->last_idx == 0);
    *raft = (struct raft){
        .self = start->self,
        .commits_unflushed = start->commits_unflushed,
        .amnesiac = start->amnesiac,
        .rank = start->rank,
        .boot = start->boot,
        .role = RAFT_FOLLOWER,
        .term = start->term > start->last_term ? start->term : start->last_term,
        .vote = start->term >= start->last_term ? start->vote : (struct raft_member){0},
        .first_term = start->created ? start->term : 0,
        .base_idx = start->base_idx,
        .base_term = start->base_term,
        .last_idx = start->last_idx,
        .last_term = start->last_term,
        .flushed_idx = start->last_idx,
        .commit_idx = start->commit_idx > start->base_idx ? start->commit_idx : start->base_idx,
        .cut_low_idx = UINT64_MAX,
        .now_us = start->now_us,
        .random = start->seed * UINT64_C(0x9e3779b97f4a7c15) + 1,
        .election_us = (int64_t)or_default((uint64_t)start->election_us, DEFAULT_ELECTION_US),
        .beat_us = (int64_t)or_default((uint64_t)start->beat_us, DEFAULT_BEAT_US),
        .window_bytes = (uint32_t)or_default(start->window_bytes, DEFAULT_WINDOW_BYTES),
        .message_bytes = (uint32_t)or_default(start->message_bytes, DEFAULT_MESSAGE_BYTES),
        .max_uncommitted_bytes = or_default(start->max_uncommitted_bytes, DEFAULT_UNCOMMITTED_BYTES),
    };
    if (raft->random == 0)
        raft->random = 1;
    raft_runs_init(raft, start);
    raft_config_init(raft, start);
    if (raft_is_sole_voter(raft)) {
        raft->commit_idx = raft->last_idx;
        raft->amnesiac = false;
    }
    REQUIRE(!start->created || raft_is_sole_voter(raft));
    raft_draw_timeout(raft);
    raft_check(raft);
}

void raft_save_hard_state(struct raft *raft, struct raft_out *out)
{
    if (!out->save_hard_state)
        raft->hard_seq++;
    out->save_hard_state = true;
    raft->hard_unsaved = true;
}

void raft_saving(struct raft *raft, uint64_t version)
{
    REQUIRE(version >= raft->hard_version); /* a state not yet written may be replaced */
    raft->hard_version = version;
    raft->hard_unsaved = false;
}

void raft_follow(struct raft *raft, uint64_t term, const struct raft_member *leader, struct raft_out *out)
{
    REQUIRE(term >= raft->term);
    if (raft->role == RAFT_LEADER && raft->transfer.broker_id != 0)
        raft_transfer_end(raft, out);
    if (term > raft->term) {
        raft->term = term;
        raft->vote = (struct raft_member){0};
        raft->farewell = (struct raft_member){0};
        raft_save_hard_state(raft, out);
    }
    if (raft->role != RAFT_FOLLOWER)
        out->role_changed = true;
    raft->role = RAFT_FOLLOWER;
    raft->noop_idx = 0;
    raft->claimed = false;
    raft->leader = leader != NULL ? *leader : (struct raft_member){0};
    raft->old_bytes = 0;
    raft->new_bytes = 0;
    for (uint32_t i = 0; i < raft->config.count; i++)
        raft->peers[i].owes = 0;
    raft_draw_timeout(raft);
}

static void on_hard_state(struct raft *raft, const struct raft_event *event, struct raft_out *out)
{
    if (event->version > raft->hard_durable)
        raft->hard_durable = event->version;
    if (raft->hard_unsaved || raft->hard_version == 0 || raft->hard_durable < raft->hard_version)
        return;
    raft->hard_durable_seq = raft->hard_seq;
    if (raft->role == RAFT_CANDIDATE && !raft->self_vote) {
        raft->self_vote = true;
        raft_count_votes(raft, out);
    }
}

static void on_disk_failed(struct raft *raft, struct raft_out *out)
{
    if (raft->role == RAFT_LEADER)
        raft->farewell = raft_best_peer(raft);
    raft->failed = true;
    raft_follow(raft, raft->term, NULL, out);
    out->role_changed = true;
}

static bool is_from_leader(const struct raft_message *message)
{
    return message->type == RAFT_MSG_APPEND || message->type == RAFT_MSG_BEAT || message->type == RAFT_MSG_RESET;
}

/* Frees a leader, or a candidate, that is behind: it learns the newer term. */
static void answer_stale(struct raft *raft, const struct raft_message *message, struct raft_out *out)
{
    if (is_from_leader(message)) {
        struct raft_message *reply = raft_reply(raft, out, RAFT_MSG_APPEND_REPLY, &message->from);
        reply->refused = true;
        reply->prev_idx = message->prev_idx;
    } else if (message->type == RAFT_MSG_VOTE || message->type == RAFT_MSG_PREVOTE) {
        raft_on_vote_request(raft, message, out);
    }
}

/* Takes over a newer term where the message brings one; false: nothing more to do. */
static bool settle_term(struct raft *raft, const struct raft_message *message, struct raft_out *out)
{
    bool asks = message->type == RAFT_MSG_VOTE || message->type == RAFT_MSG_PREVOTE;
    if (message->term < raft->term) {
        answer_stale(raft, message, out);
        return false;
    }
    if (asks && !message->forced && raft_lease_holds(raft))
        return false;
    if (message->term > raft->term) {
        if (message->type == RAFT_MSG_PREVOTE || (message->type == RAFT_MSG_PREVOTE_REPLY && message->granted))
            return true;
        raft_follow(raft, message->term, is_from_leader(message) ? &message->from : NULL, out);
    }
    if (!is_from_leader(message))
        return true;
    if (raft->role == RAFT_LEADER ||
        (raft->leader.broker_id != 0 && !raft_member_equal(&raft->leader, &message->from))) {
        out->violation = true; /* two leaders in one term */
        return false;
    }
    if (raft->role != RAFT_FOLLOWER || raft->leader.broker_id == 0)
        raft_follow(raft, message->term, &message->from, out);
    raft->heard_us = raft->now_us;
    raft->missed = 0;
    raft_draw_timeout(raft);
    return true;
}

static void on_message(struct raft *raft, const struct raft_event *event, struct raft_out *out)
{
    const struct raft_message *message = event->message;
    if (!raft_is_self(raft, &message->to) || raft_is_self(raft, &message->from) || message->from.broker_id == 0) {
        out->misdirected = true;
        return;
    }
    if (message->type == RAFT_MSG_FORGOT) {
        raft_on_forgot(raft, message, out);
        return;
    }
    if (message->type == RAFT_MSG_FORGOT_REPLY) {
        raft_on_forgot_reply(raft, message, out);
        return;
    }
    if (!settle_term(raft, message, out))
        return;
    switch (message->type) {
    case RAFT_MSG_PREVOTE:
    case RAFT_MSG_VOTE:
        raft_on_vote_request(raft, message, out);
        break;
    case RAFT_MSG_PREVOTE_REPLY:
    case RAFT_MSG_VOTE_REPLY:
        raft_on_vote_reply(raft, message, out);
        break;
    case RAFT_MSG_APPEND:
        raft_on_append(raft, event, out);
        break;
    case RAFT_MSG_APPEND_REPLY:
        raft_on_append_reply(raft, message, out);
        break;
    case RAFT_MSG_BEAT:
        raft_on_beat(raft, message, out);
        break;
    case RAFT_MSG_BEAT_REPLY:
        raft_on_beat_reply(raft, message, out);
        break;
    case RAFT_MSG_RESET:
        raft_on_reset(raft, event, out);
        break;
    case RAFT_MSG_TIMEOUT_NOW:
        raft_on_timeout_now(raft, message, out);
        break;
    case RAFT_MSG_FORGOT:
    case RAFT_MSG_FORGOT_REPLY:
        break; /* above: they are of no term */
    }
}

static void on_peer_link(struct raft *raft, const struct raft_event *event)
{
    struct raft_peer *peer = raft_peer_find(raft, &event->member);
    if (peer == NULL)
        return;
    peer->linked = event->on;
    peer->heard_us = raft->now_us;
}

static void on_tick(struct raft *raft, struct raft_out *out)
{
    if (raft->role == RAFT_LEADER)
        raft_leader_tick(raft, out);
    else
        raft_election_tick(raft, out);
}

void raft_step(struct raft *raft, const struct raft_event *event, struct raft_out *out)
{
    *out = (struct raft_out){0};
    if (raft->failed)
        return;
    if (event->now_us > raft->now_us)
        raft->now_us = event->now_us;
    switch (event->type) {
    case RAFT_EV_WANT_LEAD:
        if (raft->role == RAFT_FOLLOWER && raft_is_sole_voter(raft) && raft_may_campaign(raft))
            raft_campaign(raft, false, false, out);
        break;
    case RAFT_EV_APPENDED:
        raft_on_appended(raft, event, out);
        break;
    case RAFT_EV_FLUSHED:
        raft_on_flushed(raft, event, out);
        break;
    case RAFT_EV_HARD_STATE:
        on_hard_state(raft, event, out);
        break;
    case RAFT_EV_DISK_FAILED:
        on_disk_failed(raft, out);
        break;
    case RAFT_EV_MESSAGE:
        on_message(raft, event, out);
        break;
    case RAFT_EV_TICK:
        on_tick(raft, out);
        break;
    case RAFT_EV_TRANSFER:
        raft_on_transfer(raft, event, out);
        break;
    case RAFT_EV_READ:
        raft_on_read(raft, out);
        break;
    case RAFT_EV_LOG_START:
        raft_on_log_start(raft, event);
        break;
    case RAFT_EV_LEADER_GONE:
        raft_on_leader_gone(raft);
        break;
    case RAFT_EV_CLAIM:
        raft_on_claim(raft, event, out);
        break;
    case RAFT_EV_PEER_LINK:
        on_peer_link(raft, event);
        break;
    case RAFT_EV_RANK:
        raft->rank = event->rank < RAFT_RANK_NEVER ? (uint8_t)event->rank : RAFT_RANK_NEVER;
        raft_draw_timeout(raft);
        break;
    case RAFT_EV_PARDON:
        raft->pardoned = raft->pardoned || raft->amnesiac;
        raft->amnesiac = false;
        break;
    case RAFT_EV_SUPPLY:
        raft_on_supply(raft, event);
        break;
    }
    raft_check(raft);
}

static int64_t leader_deadline(const struct raft *raft)
{
    bool idle = raft_is_idle(raft);
    for (uint32_t i = 0; i < raft->config.count; i++) {
        const struct raft_peer *peer = &raft->peers[i];
        if (!raft_is_self(raft, &peer->member) && !(idle && peer->linked)) {
            bool sooner = raft->transfer.broker_id != 0 && raft->transfer_until_us < raft->beat_at_us;
            return sooner ? raft->transfer_until_us : raft->beat_at_us;
        }
    }
    return RAFT_NEVER_US;
}

int64_t raft_deadline_us(const struct raft *raft)
{
    if (raft->failed)
        return RAFT_NEVER_US;
    if (raft->role == RAFT_LEADER)
        return leader_deadline(raft);
    if (raft->amnesiac)
        return raft->claimed || !raft_is_electable(raft) ? RAFT_NEVER_US : raft->election_at_us;
    if (raft->claimed || raft->rank == RAFT_RANK_NEVER || !raft_may_campaign(raft) ||
        (raft->config.count == 1 && raft_is_sole_voter(raft) && raft->leader.broker_id == 0))
        return RAFT_NEVER_US;
    return raft->election_at_us;
}

bool raft_may_propose(const struct raft *raft)
{
    if (raft->role != RAFT_LEADER || raft->noop_idx == 0 || raft->transfer.broker_id != 0)
        return false;
    return raft->commit_idx >= raft->noop_idx || (raft->config.count == 1 && raft_is_sole_voter(raft));
}

bool raft_has_room(const struct raft *raft, uint32_t bytes)
{
    uint64_t held = raft->old_bytes + raft->new_bytes;
    return raft_may_propose(raft) && (held == 0 || held + bytes <= raft->max_uncommitted_bytes);
}

void raft_check(const struct raft *raft)
{
    REQUIRE(raft->base_idx <= raft->commit_idx);
    REQUIRE(raft->commit_idx <= raft->last_idx);
    REQUIRE(raft->flushed_idx <= raft->last_idx);
    REQUIRE(raft->last_term <= raft->term);
    REQUIRE(raft->config.count >= 1 && raft->config.idx <= raft->last_idx);
    REQUIRE(raft->before.idx <= raft->config.idx);
    REQUIRE(raft->run_count <= raft->runs_max);
    REQUIRE(raft->run_count == 0 || raft->runs[raft->run_count - 1].term == raft->last_term);
    REQUIRE(raft->run_count > 0 || raft->last_idx == raft->base_idx);
    for (uint32_t i = 1; i < raft->run_count; i++) {
        REQUIRE(raft->runs[i - 1].term < raft->runs[i].term);
        REQUIRE(raft->runs[i - 1].first_idx < raft->runs[i].first_idx);
    }
    if (raft->role == RAFT_CANDIDATE || raft->role == RAFT_LEADER)
        REQUIRE(raft_member_equal(&raft->vote, &raft->self));
    if (raft->role != RAFT_LEADER)
        return;
    REQUIRE(raft->hard_durable_seq == raft->hard_seq);
    REQUIRE(raft->noop_idx == 0 || (raft->noop_idx <= raft->last_idx && raft->last_term == raft->term));
    for (uint32_t i = 0; i < raft->config.count; i++) {
        const struct raft_peer *peer = &raft->peers[i];
        REQUIRE(raft_member_equal(&peer->member, &raft->config.seats[i].member));
        REQUIRE(peer->match < peer->next && peer->match <= raft->last_idx);
        REQUIRE(peer->window_count <= RAFT_WINDOW_MESSAGES);
    }
}
