/*
 * Who belongs to the group: what links say of the others, whom metadata wants, and the
 * questions that are put to a replica.
 *
 * The way to a target: who is to come joins as a learner, all of them at once; when every
 * voter-to-be has caught up, one joint change makes the target the configuration. So the
 * group is never worse off than before while somebody new is slow, or never comes.
 */
#include "partition/actor_internal.h"

#include "base/logger.h"

#include <stdlib.h>

/* How long a leader takes its followers to be in sync before they have told. */
enum { IN_SYNC_YOUNG_US = 2 * 1000 * 1000 };

/* ---- news --------------------------------------------------------------------------- */

static const struct raft_seat *seat_of(const struct raft_seat *seats, uint32_t count, const struct raft_member *member)
{
    for (uint32_t i = 0; i < count; i++)
        if (raft_member_equal(&seats[i].member, member))
            return &seats[i];
    return NULL;
}

/* The place among those wanted is the place among candidates. */
static void set_rank(struct actor *actor)
{
    uint32_t rank = 0;
    for (uint32_t i = 0; i < actor->target_count; i++) {
        if (raft_member_equal(&actor->target[i].member, &actor->raft.self))
            break;
        rank += actor->target[i].kinds == RAFT_SEAT_VOTER ? 1 : 0;
    }
    struct raft_event event = {.type = RAFT_EV_RANK,
                               .now_us = actor->now.mono_us,
                               .rank = rank < RAFT_RANK_NEVER ? rank : RAFT_RANK_NEVER - 1};
    actor_raft_event(actor, &event);
}

static void take_target(struct actor *actor, const struct actor_peer_mail *mail)
{
    size_t bytes = mail->seat_count * sizeof(struct raft_seat);
    struct raft_seat *target = malloc(bytes + 1);
    if (target == NULL)
        return; /* it is set again with the next change of metadata */
    memcpy(target, mail->seats, bytes);
    free(actor->target);
    actor->target = target;
    actor->target_count = mail->seat_count;
    set_rank(actor);
}

void actor_take_peer(struct actor *actor, struct actor_peer_mail *mail)
{
    struct raft_event event = {
        .now_us = actor->now.mono_us, .term = mail->term, .on = mail->on, .member = mail->member};
    switch (mail->news) {
    case ACTOR_PEER_CLAIM:
        event.type = RAFT_EV_CLAIM;
        /* What is lifted is this leader's, no other's. */
        if (mail->on || mail->member.broker_id == 0 || raft_member_equal(&mail->member, &actor->raft.leader))
            actor_raft_event(actor, &event);
        break;
    case ACTOR_PEER_LINK:
        event.type = RAFT_EV_PEER_LINK;
        actor_raft_event(actor, &event);
        break;
    case ACTOR_PEER_LEADER_GONE:
        event.type = RAFT_EV_LEADER_GONE;
        if (raft_member_equal(&mail->member, &actor->raft.leader) && actor->raft.role != RAFT_LEADER)
            actor_raft_event(actor, &event);
        break;
    case ACTOR_PEER_SENT:
        actor_catch_up_left(actor, &mail->member, mail->on);
        break;
    case ACTOR_PEER_TARGET:
        take_target(actor, mail);
        break;
    }
    free(mail);
}

/* ---- towards the target ------------------------------------------------------------------ */

static bool is_wanted(const struct actor *actor)
{
    const struct raft_config *config = &actor->raft.config;
    if (config->count != actor->target_count)
        return false;
    for (uint32_t i = 0; i < config->count; i++) {
        const struct raft_seat *seat = seat_of(actor->target, actor->target_count, &config->seats[i].member);
        if (seat == NULL || seat->kinds != config->seats[i].kinds)
            return false;
    }
    return true;
}

static bool has_caught_up(const struct actor *actor, const struct raft_member *member)
{
    const struct raft *raft = &actor->raft;
    if (raft_member_equal(member, &raft->self))
        return true;
    for (uint32_t i = 0; i < raft->config.count; i++)
        if (raft_member_equal(&raft->peers[i].member, member))
            return raft->peers[i].match > 0 && raft->peers[i].match + CAUGHT_UP_ENTRIES >= raft->commit_idx;
    return false;
}

/* Those present, and who is missing as learners. Returns how many; *ready: nobody is
 * missing, and all who are to vote may. */
static uint32_t with_newcomers(const struct actor *actor, struct raft_seat *seats, bool *ready)
{
    const struct raft_config *config = &actor->raft.config;
    uint32_t count = 0;
    for (uint32_t i = 0; i < config->count; i++)
        seats[count++] = config->seats[i];
    *ready = true;
    for (uint32_t i = 0; i < actor->target_count; i++) {
        const struct raft_seat *wanted = &actor->target[i];
        const struct raft_seat *seat = seat_of(config->seats, config->count, &wanted->member);
        if (seat == NULL && count < RAFT_SEATS_MAX)
            seats[count++] = (struct raft_seat){.member = wanted->member, .kinds = RAFT_SEAT_LEARNER};
        if (seat == NULL)
            *ready = false;
        else if (wanted->kinds == RAFT_SEAT_VOTER && seat->kinds != RAFT_SEAT_VOTER)
            *ready = *ready && has_caught_up(actor, &wanted->member);
    }
    return count;
}

static void change_to(struct actor *actor, const struct raft_seat *seats, uint32_t count)
{
    struct raft_seat entry_seats[RAFT_SEATS_MAX];
    struct raft_config entry = {.seats = entry_seats};
    if (!actor_seat_room(actor, count + actor->raft.config.count) ||
        !raft_make_change(&actor->raft, seats, count, &entry))
        return;
    (void)actor_append_config(actor, &entry);
}

static void leave_joint(struct actor *actor)
{
    struct raft_seat seats[RAFT_SEATS_MAX];
    struct raft_config entry = {.seats = seats};
    raft_make_leave(&actor->raft, &entry);
    if (actor_append_config(actor, &entry))
        actor->leave_wanted = false;
}

void actor_drive_members(struct actor *actor)
{
    if (actor->raft.role != RAFT_LEADER || actor->failure.err != KQ_OK)
        return;
    if (actor->leave_wanted && raft_config_is_joint(&actor->raft.config)) {
        leave_joint(actor);
        return;
    }
    if (actor->target_count == 0 || !raft_may_change(&actor->raft) || actor->records_open || is_wanted(actor))
        return;
    struct raft_seat seats[RAFT_SEATS_MAX];
    bool ready;
    uint32_t count = with_newcomers(actor, seats, &ready);
    if (count > actor->raft.config.count)
        change_to(actor, seats, count);
    else if (ready)
        change_to(actor, actor->target, actor->target_count);
}

/* ---- handing over ---------------------------------------------------------------------------- */

/* The voter that has most, of those whose link lives if there are any. */
static struct raft_member best_successor(const struct raft *raft, uint32_t broker_id)
{
    const struct raft_peer *best = NULL;
    for (uint32_t i = 0; i < raft->config.count; i++) {
        const struct raft_peer *peer = &raft->peers[i];
        if ((raft->config.seats[i].kinds & RAFT_SEAT_VOTER) == 0 || raft_member_equal(&peer->member, &raft->self) ||
            (broker_id != 0 && peer->member.broker_id != broker_id))
            continue;
        if (best == NULL || (peer->linked && !best->linked) ||
            (peer->linked == best->linked && peer->match > best->match))
            best = peer;
    }
    return best != NULL ? best->member : (struct raft_member){0};
}

static bool begin_transfer(struct actor *actor, uint32_t broker_id)
{
    struct raft_event event = {
        .type = RAFT_EV_TRANSFER, .now_us = actor->now.mono_us, .member = best_successor(&actor->raft, broker_id)};
    if (event.member.broker_id == 0)
        return false;
    actor_raft_event(actor, &event);
    return actor->raft.transfer.broker_id != 0;
}

bool actor_part(struct actor *actor)
{
    return raft_may_propose(&actor->raft) && !actor_is_alone(actor) && begin_transfer(actor, 0);
}

/* ---- questions ---------------------------------------------------------------------------------- */

static bool another_leads(const struct actor *actor)
{
    const struct raft *raft = &actor->raft;
    return raft->leader.broker_id != 0 && !raft_member_equal(&raft->leader, &raft->self);
}

static void finish_ask(struct actor *actor, struct partition_ask *ask, enum kq_err err, const struct fault *fault)
{
    ask->term = actor->raft.term;
    ask->leader = actor_leads(actor) ? actor->raft.self : actor->raft.leader;
    ask->last_idx = actor->raft.last_idx;
    ask->commit_idx = actor->raft.commit_idx;
    actor_refuse(&ask->mail, err, fault);
}

/* A follower that takes entries as they come is a few of them behind at any moment; no more than
 * are on their way to it is no lack. */
static bool keeps_pace(const struct raft *raft, const struct raft_peer *peer)
{
    return peer->match >= raft->commit_idx || (peer->window_count > 0 && peer->linked && !peer->stuck &&
                                               raft->commit_idx - peer->match <= RAFT_WINDOW_MESSAGES);
}

bool actor_has_in_sync(struct actor *actor, int32_t count)
{
    const struct raft *raft = &actor->raft;
    int32_t in_sync = 0;
    if (actor->in_sync_term != raft->term) {
        actor->in_sync_term = raft->term;
        actor->in_sync_since_us = actor->now.mono_us;
    }
    bool young = actor->now.mono_us - actor->in_sync_since_us < IN_SYNC_YOUNG_US;
    for (uint32_t i = 0; i < raft->config.count; i++) {
        const struct raft_peer *peer = &raft->peers[i];
        bool self = raft_member_equal(&peer->member, &raft->self);
        in_sync += self || young || (peer->linked && keeps_pace(raft, peer));
    }
    return in_sync >= count;
}

/* -1: not in the log (any more). */
static int64_t end_off_of(const struct actor *actor, uint64_t idx)
{
    bool known = idx > 0 && idx <= actor->raft.last_idx && log_term_at(actor->log, idx) != 0;
    return known ? log_end_off_at(actor->log, idx) : -1;
}

static void list_producers(struct actor *actor, struct partition_ask *ask)
{
    ask->producers = producers_list(&actor->producers, &ask->producer_count);
    bool missing = ask->producers == NULL && ask->producer_count > 0;
    if (missing)
        ask->producer_count = 0;
    finish_ask(actor, ask, missing ? KQ_NO_MEMORY : KQ_OK, NULL);
}

static void list_members(const struct actor *actor, struct partition_ask *ask)
{
    const struct raft *raft = &actor->raft;
    bool leads = actor_leads(actor);
    for (uint32_t i = 0; i < raft->config.count && ask->member_count < PARTITION_MEMBERS_MAX; i++) {
        const struct raft_peer *peer = &raft->peers[i];
        bool self = raft_member_equal(&peer->member, &raft->self);
        uint64_t match_idx = self ? raft->last_idx : leads ? peer->match : 0;
        ask->members[ask->member_count++] =
            (struct partition_member_row){.member = peer->member,
                                          .kinds = raft->config.seats[i].kinds,
                                          .match_idx = match_idx,
                                          .end_off = end_off_of(actor, match_idx),
                                          .linked = self || peer->linked,
                                          .in_sync = self || (leads && keeps_pace(raft, peer))};
    }
    ask->off = log_end_off_at(actor->log, raft->commit_idx);
    ask->target_reached = actor->target_count == 0 || (is_wanted(actor) && raft->config.idx <= raft->commit_idx);
}

/* The ticket stands in last_idx and the index to be read in commit_idx until it is answered;
 * ticket 0: none to be had yet. */
static void take_ticket(struct actor *actor, struct partition_ask *ask)
{
    struct raft_event event = {.type = RAFT_EV_READ, .now_us = actor->now.mono_us};
    struct raft_out out;
    raft_step(&actor->raft, &event, &out);
    ask->last_idx = out.read_ticket;
    ask->commit_idx = out.read_idx;
    if (out.reads_good > actor->reads_good)
        actor->reads_good = out.reads_good;
}

/* While it waited, retention may have deleted all up to there: what is left begins behind it. */
static void finish_barrier(struct actor *actor, struct partition_ask *ask, uint64_t read_idx)
{
    bool gone = read_idx + 1 < log_first_idx(actor->log);
    ask->off = gone ? log_start_off(actor->log) : log_end_off_at(actor->log, read_idx);
    finish_ask(actor, ask, KQ_OK, NULL);
}

enum { EPOCH_RUNS_MAX = 4096 };

/* As Kafka's LeaderEpochFileCache.endOffsetFor: of a term before all that are here, it says where
 * the oldest begins. */
static enum kq_err find_epoch(const struct actor *actor, struct partition_ask *ask)
{
    struct log_run *runs = malloc(EPOCH_RUNS_MAX * sizeof *runs);
    if (runs == NULL)
        return KQ_NO_MEMORY;
    uint32_t count = log_term_runs(actor->log, runs, EPOCH_RUNS_MAX), older = 0;
    uint64_t commit_idx = actor->raft.commit_idx;
    while (older < count && runs[older].term <= ask->epoch)
        older++;
    uint64_t end_idx = older < count ? runs[older].first_idx - 1 : commit_idx;
    ask->off = log_end_off_at(actor->log, end_idx < commit_idx ? end_idx : commit_idx);
    if (ask->off >= 0 && ask->off < log_start_off(actor->log))
        ask->off = log_start_off(actor->log);
    if (ask->epoch > actor->raft.term)
        ask->epoch = 0;
    else if (older > 0)
        ask->epoch = runs[older - 1].term;
    free(runs);
    return ask->off < 0 ? KQ_IO : KQ_OK;
}

/* True: it waits for its entry. */
static bool begin_start(struct actor *actor, struct partition_ask *ask)
{
    int64_t end_off = log_end_off_at(actor->log, actor->raft.commit_idx);
    struct fault fault;
    if (ask->off == -1)
        ask->off = end_off;
    if (ask->off < 0 || ask->off > end_off) {
        (void)fault_set(&fault, KQ_OFFSET_OUT_OF_RANGE, "%s ends at offset %lld: it cannot start at %lld",
                        actor->options.log.title, (long long)end_off, (long long)ask->off);
        finish_ask(actor, ask, KQ_OFFSET_OUT_OF_RANGE, &fault);
        return false;
    }
    return true;
}

void actor_want_asked_start(struct actor *actor)
{
    for (struct mail *mail = actor->asks.first; mail != NULL; mail = mail->next) {
        const struct partition_ask *ask = CONTAINER_OF(mail, struct partition_ask, mail);
        if (ask->question != PARTITION_ASK_START || ask->off <= log_start_off(actor->log))
            continue;
        if (!actor->start_wanted || ask->off > actor->start_off)
            actor->start_off = ask->off;
        actor->start_wanted = true;
    }
}

static bool look_at_start(struct actor *actor, struct partition_ask *ask)
{
    bool there = log_start_off(actor->log) >= ask->off;
    if (there)
        ask->off = log_start_off(actor->log);
    if (there || !actor_leads(actor))
        finish_ask(actor, ask, there ? KQ_OK : KQ_NOT_LEADER, NULL);
    return there || !actor_leads(actor);
}

void actor_take_ask(struct actor *actor, struct partition_ask *ask)
{
    struct fault fault;
    if (actor->failure.err != KQ_OK) {
        finish_ask(actor, ask, KQ_PARTITION_FAILED, &actor->failure);
    } else if (actor->stopping) {
        finish_ask(actor, ask, actor->stop_reason, NULL);
    } else if (ask->question == PARTITION_ASK_MEMBERS) {
        list_members(actor, ask);
        finish_ask(actor, ask, KQ_OK, NULL);
    } else if (actor->raft.role != RAFT_LEADER && !(ask->question != PARTITION_ASK_TRANSFER && actor_leads(actor))) {
        finish_ask(actor, ask, KQ_NOT_LEADER, NULL);
    } else if (ask->question == PARTITION_ASK_PRODUCERS) {
        list_producers(actor, ask);
    } else if (ask->question == PARTITION_ASK_EPOCH) {
        finish_ask(actor, ask, find_epoch(actor, ask), NULL);
    } else if (ask->question == PARTITION_ASK_START) {
        if (begin_start(actor, ask))
            mail_list_append(&actor->asks, &ask->mail);
    } else if (ask->question == PARTITION_ASK_TRANSFER && ask->to == actor->raft.self.broker_id) {
        finish_ask(actor, ask, KQ_OK, NULL);
    } else if (ask->question == PARTITION_ASK_TRANSFER && !begin_transfer(actor, ask->to)) {
        (void)fault_set(&fault, KQ_INVALID, "no other voter of %s could take over", actor->options.log.title);
        finish_ask(actor, ask, KQ_INVALID, &fault);
    } else {
        ask->last_idx = 0;
        mail_list_append(&actor->asks, &ask->mail);
        if (ask->question == PARTITION_ASK_BARRIER && actor->raft.role == RAFT_LEADER)
            take_ticket(actor, ask);
    }
}

/* True: answered. Runs when readers can see the commit: who was told an end finds it. */
static bool look_at_barrier(struct actor *actor, struct partition_ask *ask)
{
    if (actor->raft.role != RAFT_LEADER && actor_leads(actor)) { /* alone, and nothing was appended yet */
        finish_barrier(actor, ask, actor->raft.commit_idx);
        return true;
    }
    if (actor->raft.role != RAFT_LEADER) {
        finish_ask(actor, ask, KQ_NOT_LEADER, NULL);
        return true;
    }
    if (ask->last_idx == 0)
        take_ticket(actor, ask);
    if (ask->last_idx == 0 || ask->last_idx > actor->reads_good)
        return false;
    finish_barrier(actor, ask, ask->commit_idx);
    return true;
}

static bool look_at_transfer(struct actor *actor, struct partition_ask *ask)
{
    if (another_leads(actor)) {
        finish_ask(actor, ask, KQ_OK, NULL);
        return true;
    }
    if (!actor->transfer_ended || actor->raft.role != RAFT_LEADER)
        return false;
    struct fault fault;
    (void)fault_set(&fault, KQ_TIMEOUT, "%s: the other broker did not take over in time", actor->options.log.title);
    finish_ask(actor, ask, KQ_TIMEOUT, &fault);
    return true;
}

void actor_look_at_asks(struct actor *actor)
{
    struct mail_list asks = actor->asks;
    struct mail *mail;
    actor->asks = (struct mail_list){0};
    while ((mail = mail_list_take(&asks)) != NULL) {
        struct partition_ask *ask = CONTAINER_OF(mail, struct partition_ask, mail);
        bool answered = ask->question == PARTITION_ASK_BARRIER ? look_at_barrier(actor, ask)
                        : ask->question == PARTITION_ASK_START ? look_at_start(actor, ask)
                                                               : look_at_transfer(actor, ask);
        if (!answered && ask->deadline_us <= actor->now.mono_us) {
            finish_ask(actor, ask, KQ_TIMEOUT, NULL);
            answered = true;
        }
        if (!answered)
            mail_list_append(&actor->asks, mail);
    }
    actor->transfer_ended = false;
}

void actor_forget_tickets(struct actor *actor)
{
    actor->reads_good = 0;
    actor_drop_doubts(actor, KQ_NOT_LEADER);
    for (struct mail *mail = actor->asks.first; mail != NULL; mail = mail->next)
        CONTAINER_OF(mail, struct partition_ask, mail)->last_idx = 0;
}

void actor_refuse_asks(struct actor *actor, enum kq_err err, const struct fault *fault)
{
    struct mail *mail;
    while ((mail = mail_list_take(&actor->asks)) != NULL)
        finish_ask(actor, CONTAINER_OF(mail, struct partition_ask, mail), err, fault);
}

int64_t actor_asks_deadline_us(const struct actor *actor)
{
    int64_t due_us = CLOCK_NEVER;
    for (const struct mail *mail = actor->asks.first; mail != NULL; mail = mail->next) {
        int64_t deadline_us = ((const struct partition_ask *)(const void *)mail)->deadline_us;
        due_us = deadline_us < due_us ? deadline_us : due_us;
    }
    return due_us;
}
