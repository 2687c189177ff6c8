/*
 * Who stands still, as the leader sees it once a second while there is something to do.
 *
 * This replica's own disk: a leader need not count itself, so what others have on disk is
 * committed without it; but it takes no more than a few entries that it has not flushed.
 * If no flush comes back for a while, or no room is made for what is to be appended, it
 * hands over to a replica whose disk works.
 *
 * A follower that lacks what is committed and has taken nothing more: that is told upward,
 * with how long, where it is known whether its broker lives (then another broker is to
 * hold the partition). What waits in a link for its turn is not the follower's fault.
 *
 * A replica that may have forgotten (interval flushing, a power failure) waits for a leader
 * that was elected without it. Where too few of the others live for that it waits for ever, as
 * one of them may remember what it has not: that is said, with whom it waits for.
 */
#include "partition/actor_internal.h"

#include "base/logger.h"

#include <stdio.h>

enum { LOOK_EVERY_US = 1000 * 1000, FORGOT_SAY_US = 30 * 1000 * 1000, FORGOT_AGAIN_US = 600 * 1000 * 1000 };

/* Two election timeouts at least, as a new leader may take as long to be there. */
static int64_t patience_us(const struct actor *actor)
{
    int64_t us = 2 * actor->raft.election_us;
    return us > LOOK_EVERY_US ? us : LOOK_EVERY_US;
}

/* A flush, or room for an append. */
static bool waits_for_disk(const struct actor *actor)
{
    return actor->raft.role == RAFT_LEADER && !actor_is_alone(actor) &&
           (actor->room_wanted || log_flushed_idx(actor->log) < log_last_idx(actor->log));
}

static void watch_own_disk(struct actor *actor)
{
    uint64_t flushed_idx = log_flushed_idx(actor->log);
    if (!waits_for_disk(actor) || flushed_idx != actor->own_flushed_idx || actor->own_flushed_us == 0) {
        actor->own_flushed_idx = flushed_idx;
        actor->own_flushed_us = waits_for_disk(actor) ? actor->now.mono_us : 0;
        return;
    }
    int64_t stood_us = actor->now.mono_us - actor->own_flushed_us;
    if (stood_us < patience_us(actor) || actor->raft.transfer.broker_id != 0 || !actor_part(actor))
        return;
    actor->own_flushed_us = actor->now.mono_us; /* if it comes to nothing: later again */
    SAY_WARNING("%s: the disk has not answered for %lld ms; handing leadership over to broker %u",
                actor->options.log.title, (long long)(stood_us / 1000), actor->raft.transfer.broker_id);
}

/* ---- followers ----------------------------------------------------------------------------- */

/* Its place in the list; a new one begins now. NULL: no memory, looked at again later. */
static struct watched *watched_of(struct actor *actor, const struct raft_peer *peer)
{
    for (uint32_t i = 0; i < actor->watched_count; i++)
        if (raft_member_equal(&actor->watched[i].member, &peer->member))
            return &actor->watched[i];
    struct watched *grown = realloc(actor->watched, (actor->watched_count + 1) * sizeof *grown);
    if (grown == NULL)
        return NULL;
    actor->watched = grown;
    struct watched *w = &grown[actor->watched_count++];
    *w = (struct watched){.member = peer->member, .match = peer->match, .since_us = actor->now.mono_us};
    return w;
}

static void watch_follower(struct actor *actor, const struct raft_peer *peer)
{
    struct watched *w = watched_of(actor, peer);
    if (w == NULL)
        return;
    bool lacks = peer->match < actor->raft.commit_idx;
    if (!lacks || !w->lacked || peer->match != w->match || actor_catch_up_waits(actor, &peer->member)) {
        w->match = peer->match;
        w->lacked = lacks;
        w->since_us = actor->now.mono_us;
        return;
    }
    if (actor->now.mono_us - w->since_us >= LOOK_EVERY_US)
        actor->options.env.stalled(actor->options.env.context, &peer->member, actor->now.mono_us - w->since_us);
}

/* ---- one that may have forgotten --------------------------------------------------------------- */

/* The voters but itself: "2, 3". */
static void list_others(const struct raft *raft, char *text, size_t room)
{
    size_t at = 0;
    text[0] = '\0';
    for (uint32_t i = 0; i < raft->config.count && at + 16 < room; i++) {
        bool votes = (raft->config.seats[i].kinds & (RAFT_SEAT_VOTER | RAFT_SEAT_OLD)) != 0;
        if (votes && !raft_member_equal(&raft->peers[i].member, &raft->self))
            at += (size_t)snprintf(text + at, room - at, "%s%u", at == 0 ? "" : ", ", raft->peers[i].member.broker_id);
    }
}

static void watch_memory(struct actor *actor)
{
    if (!actor->raft.amnesiac || actor->raft.leader.broker_id != 0) {
        actor->forgot_say_us = 0;
        return;
    }
    if (actor->forgot_say_us == 0)
        actor->forgot_say_us = actor->now.mono_us + FORGOT_SAY_US;
    if (actor->now.mono_us < actor->forgot_say_us)
        return;
    actor->forgot_say_us = actor->now.mono_us + FORGOT_AGAIN_US;
    char others[128];
    list_others(&actor->raft, others, sizeof others);
    SAY_WARNING("%s: this replica may lack what was acknowledged before the power failed, and waits for a leader among "
                "the brokers that may have it (%s): too few of them are there to elect one; start them",
                actor->options.log.title, others);
}

void actor_watch_forget(struct actor *actor)
{
    free(actor->watched);
    actor->watched = NULL;
    actor->watched_count = 0;
    actor->own_flushed_us = 0;
}

void actor_watch(struct actor *actor)
{
    const struct raft *raft = &actor->raft;
    if (raft->role != RAFT_LEADER) {
        if (actor->watched != NULL || actor->own_flushed_us != 0)
            actor_watch_forget(actor);
        watch_memory(actor);
        return;
    }
    watch_own_disk(actor);
    if (actor->now.mono_us < actor->watch_due_us || actor->options.env.stalled == NULL)
        return;
    actor->watch_due_us = actor->now.mono_us + LOOK_EVERY_US;
    if (actor->watched_count > 2 * RAFT_SEATS_MAX) /* those that were replaced again and again */
        actor_watch_forget(actor);
    for (uint32_t i = 0; i < raft->config.count; i++)
        if (!raft_member_equal(&raft->peers[i].member, &raft->self))
            watch_follower(actor, &raft->peers[i]);
}

/* Nothing else may bring a turn: all is committed, and no more is taken before the disk has answered. */
int64_t actor_watch_deadline_us(const struct actor *actor)
{
    bool full = actor->entry_count >= actor->options.unflushed_entries;
    return (full || actor->room_wanted) && waits_for_disk(actor) ? actor->now.mono_us + LOOK_EVERY_US : CLOCK_NEVER;
}
