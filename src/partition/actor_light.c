/*
 * A turn for nothing but a follower's acknowledgement, which touches no disk and waits for
 * nothing: for a thread that must not (a link's receiver). The commit moves, publishes are answered.
 *
 * Whatever else may be due is not looked at: where there is any such thing the turn is not light
 * (actor_is_light), and what a whole turn looks at by the way, the next one does.
 */
#include "partition/actor_internal.h"

static bool nothing_waits(const struct actor *actor)
{
    return actor->waiting.first == NULL && actor->cut.first == NULL && actor->waits == NULL && actor->held == NULL &&
           actor->parcels.first == NULL && actor->asks.first == NULL && actor->doubted.first == NULL &&
           !actor_start_pending(actor) && !actor->noop_wanted && !actor->leave_wanted && !actor->room_wanted;
}

/* No change of members under way: all vote, and that is committed. */
static bool is_settled(const struct raft *raft)
{
    for (uint32_t i = 0; i < raft->config.count; i++)
        if (raft->config.seats[i].kinds != RAFT_SEAT_VOTER)
            return false;
    return raft->config.idx <= raft->commit_idx && raft->transfer.broker_id == 0;
}

/* It acknowledges, and needs nothing more for the moment. */
static bool is_plain_ack(const struct raft *raft, const struct raft_message *message)
{
    if (message->type != RAFT_MSG_APPEND_REPLY || message->refused || message->term != raft->term ||
        message->match_idx > raft->last_idx || !raft_member_equal(&message->to, &raft->self))
        return false;
    for (uint32_t i = 0; i < raft->config.count; i++) {
        const struct raft_peer *peer = &raft->peers[i];
        if (raft_member_equal(&peer->member, &message->from))
            return message->boot == peer->boot &&
                   (message->match_idx == raft->last_idx || (peer->window_count > 0 && peer->next > raft->last_idx));
    }
    return false;
}

bool actor_is_light(const struct actor *actor, const struct parcel *parcel)
{
    return actor->failure.err == KQ_OK && actor->options.machine.ops == NULL && actor->raft.role == RAFT_LEADER &&
           !actor->stopping && !actor->parting && actor_may_propose(actor) && nothing_waits(actor) &&
           is_settled(&actor->raft) && is_plain_ack(&actor->raft, &parcel->message);
}

void actor_light_turn(struct actor *actor, struct parcel *parcel, const struct machine_now *now)
{
    TAG_CHECK(actor, ACTOR_TAG);
    REQUIRE(actor->raft.role == RAFT_LEADER);
    actor->now = *now;
    actor->impatient = false;
    (void)atomic_fetch_add_explicit(&actor->options.counters->turns, 1, memory_order_relaxed);
    actor_take_parcel(actor, parcel);
    REQUIRE(actor->raft.role == RAFT_LEADER);
    actor_settle(actor);
    actor_tail_trim(actor);
    actor_answer_finished(actor);
    actor_check(actor);
}
