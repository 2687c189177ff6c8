#include "partition/actor_internal.h"

#include "base/logger.h"

/* ---- failing ------------------------------------------------------------------ */

void actor_fail(struct actor *actor, enum kq_err err, const struct fault *fault)
{
    if (actor->failure.err != KQ_OK)
        return;
    actor->failure = *fault;
    actor->failure.err = err == KQ_OK ? KQ_IO : err;
    struct raft_out out;
    struct raft_event event = {.type = RAFT_EV_DISK_FAILED, .now_us = actor->now.mono_us};
    raft_step(&actor->raft, &event, &out);
    SAY_ERROR("%s: stopped: %s", actor->options.log.title, fault_text(&actor->failure));
}

/* A segment that is written for longer than segment_ms is followed by the next. */
static void roll_by_age(struct actor *actor)
{
    int64_t off = log_unsealed_off(actor->log);
    int64_t limit_ms = actor->options.limits.segment_ms;
    if (actor->segment_since_ms == 0 || actor->segment_off != off) {
        actor->segment_off = off;
        actor->segment_since_ms = actor->now.wall_ms;
    } else if (limit_ms > 0 && actor->now.wall_ms - actor->segment_since_ms >= limit_ms) {
        log_force_roll(actor->log);
    }
}

bool actor_room(struct actor *actor, enum log_entry_type type, uint32_t body_bytes, bool *no_space)
{
    *no_space = false;
    if (actor->failure.err != KQ_OK || actor->room_wanted)
        return false;
    if (type == LOG_ENTRY_RECORDS)
        roll_by_age(actor);
    enum kq_err err = log_make_room(actor->log, type, body_bytes);
    switch (err) {
    case KQ_OK:
        if (actor->full_said)
            SAY_NOTICE("%s: there is room again: publishes are taken", actor->options.log.title);
        actor->full_said = false;
        return true;
    case KQ_AGAIN:
        actor->room_wanted = true;
        return false;
    case KQ_NO_SPACE:
        if (!actor->full_said)
            SAY_WARNING("%s: disk full: publishes are refused until there is room", actor->options.log.title);
        actor->full_said = true;
        *no_space = true;
        return false;
    default: {
        struct fault fault;
        (void)fault_set(&fault, err, "%s: the log cannot go on: %s", actor->options.log.title, err_text(err));
        actor_fail(actor, err, &fault);
        return false;
    }
    }
}

/* ---- control mail --------------------------------------------------------------------- */

enum { HEIR_BEATS = 2 };

/* A leader that others could replace hands over first; it is given two election
 * timeouts, the first of which raft takes to give the transfer up. It needs no more than
 * some beats to find that nobody else is left: then all are being stopped. */
static void take_stop(struct actor *actor, enum kq_err reason)
{
    actor->stop_reason = reason;
    actor->heir_due_us = actor->now.mono_us + HEIR_BEATS * actor->raft.beat_us;
    actor->stop_until_us = actor->now.mono_us + 2 * actor->raft.election_us;
    actor->parting = reason == KQ_STOPPING && actor->failure.err == KQ_OK && actor_part(actor);
    actor->stopping = !actor->parting;
}

static void take_control(struct actor *actor, struct mail *mail)
{
    switch (mail->kind) {
    case MAIL_JOB_DONE:
        actor_take_job(actor, CONTAINER_OF(mail, struct actor_job_mail, mail));
        break;
    case MAIL_TICK:
        actor_expire(actor);
        actor->impatient = true;
        break;
    case MAIL_STOP:
        take_stop(actor, CONTAINER_OF(mail, struct actor_stop_mail, mail)->reason);
        break;
    case MAIL_CONFIGURE:
        actor->options.limits = CONTAINER_OF(mail, struct actor_configure_mail, mail)->limits;
        free(mail);
        log_set_segment_bytes(actor->log, (uint64_t)actor->options.limits.segment_bytes);
        actor->retention_due_ms = 0;
        break;
    case MAIL_WAIT_CANCEL:
        actor_cancel_wait(actor, CONTAINER_OF(mail, struct wait_request, cancel));
        break;
    case MAIL_PARCEL:
        actor_take_parcel(actor, CONTAINER_OF(mail, struct parcel, mail));
        break;
    case MAIL_PEER:
        actor_take_peer(actor, CONTAINER_OF(mail, struct actor_peer_mail, mail));
        break;
    case MAIL_ASK:
        actor_take_ask(actor, CONTAINER_OF(mail, struct partition_ask, mail));
        break;
    case MAIL_MEND:
        actor_take_mend(actor, CONTAINER_OF(mail, struct partition_mend, mail));
        break;
    case MAIL_PUBLISH:
    case MAIL_WAIT:
    case MAIL_CALL:
        REQUIRE(false); /* data mail on the control lane */
    }
}

/* A replica that does not lead answers it from what is committed. */
static bool answers_here(const struct actor *actor, struct mail *mail)
{
    return CONTAINER_OF(mail, struct machine_call, mail)->anywhere && !actor->machine_leads &&
           actor->failure.err == KQ_OK && actor_machine_settled(actor);
}

static void take_data(struct actor *actor, struct mail_list *data)
{
    bool has_machine = actor->options.machine.ops != NULL;
    struct mail *mail;
    while ((mail = mail_list_take(data)) != NULL) {
        if (mail->kind == MAIL_WAIT)
            actor_take_wait(actor, CONTAINER_OF(mail, struct wait_request, mail));
        else if (mail->kind == MAIL_WAIT_CANCEL)
            actor_cancel_wait(actor, CONTAINER_OF(mail, struct wait_request, cancel));
        else if (mail->kind == MAIL_CALL && has_machine && answers_here(actor, mail))
            actor_answer_call_here(actor, CONTAINER_OF(mail, struct machine_call, mail));
        else if ((mail->kind == MAIL_CALL) == has_machine)
            mail_list_append(&actor->waiting, mail);
        else
            actor_refuse(mail, KQ_INVALID, NULL);
    }
}

/* ---- moving on ------------------------------------------------------------------------ */

static void count_entries(struct actor *actor)
{
    uint64_t counted = actor->options.flush_always ? log_flushed_idx(actor->log) : actor->raft.commit_idx;
    uint32_t gone = 0;
    while (gone < actor->entry_count && actor->entries[gone] <= counted)
        gone++;
    actor->entry_count -= gone;
    for (uint32_t i = 0; i < actor->entry_count; i++)
        actor->entries[i] = actor->entries[i + gone];
}

void actor_take_starts(struct actor *actor)
{
    for (int i = 0; i < 2; i++) {
        struct start_mark *start = &actor->starts[i];
        if (start->idx == 0 || start->idx > actor->raft.commit_idx)
            continue;
        if (start->off <= log_next_off(actor->log))
            log_set_start(actor->log, start->off);
        start->idx = 0;
        actor->retention_due_ms = 0;
    }
}

static void show_commit(struct actor *actor)
{
    actor->committed_news = false;
    log_set_commit(actor->log, actor->raft.commit_idx);
    actor_take_starts(actor);
    const struct machine_ops *ops = actor->options.machine.ops;
    if (ops != NULL) {
        actor_bring_machine_up(actor);
        actor_begin_to_lead(actor);
        if (ops->committed != NULL && actor_machine_settled(actor))
            ops->committed(actor->options.machine.state, &actor->now);
    }
    actor_deliver_notes(actor, actor->raft.commit_idx, KQ_OK);
    actor_wake_waits(actor, KQ_OK);
}

/* Commits that moved become visible, and free places for entries. */
void actor_settle(struct actor *actor)
{
    if (actor->committed_news)
        show_commit(actor);
    actor_deliver_notes(actor, actor->raft.commit_idx, KQ_OK);
    actor_finish_committed(actor);
    count_entries(actor);
}

bool actor_start_pending(const struct actor *actor)
{
    return actor->start_wanted || actor->starts[0].idx != 0 || actor->starts[1].idx != 0;
}

static void look_at_retention(struct actor *actor)
{
    if (actor->asks.first != NULL && !actor_start_pending(actor) && actor_leads(actor))
        actor_want_asked_start(actor);
    if (actor->now.wall_ms < actor->retention_due_ms || actor_start_pending(actor) || !actor_leads(actor))
        return;
    /* A machine's segments are superseded by the newest state that is stored; two
     * segments' worth are kept beside. */
    bool machine = actor->options.machine.ops != NULL;
    int64_t limit_bytes = machine ? 2 * actor->options.limits.segment_bytes : actor->options.limits.retention_bytes;
    int64_t keep_ms = machine ? -1 : actor->options.limits.retention_ms;
    bool roll = false;
    int64_t next_ms = INT64_MAX;
    int64_t start_off = log_retention_start(actor->log, limit_bytes, keep_ms, actor->now.wall_ms, &roll, &next_ms);
    actor->retention_due_ms = next_ms;
    if (roll)
        log_force_roll(actor->log);
    if (start_off > log_start_off(actor->log) || roll) {
        actor->start_off = start_off > log_start_off(actor->log) ? start_off : log_start_off(actor->log);
        actor->start_wanted = true;
    }
}

/* A sole member leads when there is something to append; one that had others, and so
 * cannot know whether its term was theirs, at once. */
static bool needs_to_lead(const struct actor *actor)
{
    const struct raft *raft = &actor->raft;
    if (raft->role != RAFT_FOLLOWER || raft->leader.broker_id != 0 || !actor_is_alone(actor))
        return false;
    bool others_wanted = actor->target_count > 1 ||
                         (actor->target_count == 1 && !raft_member_equal(&actor->target[0].member, &raft->self));
    return actor->waiting.first != NULL || actor->start_wanted || actor->records_open || others_wanted ||
           raft->config.idx != 0;
}

/* Another leads, and is known: whoever asks had better ask there. Nobody does, and it takes others to
 * change that: who publishes knows better than a replica whether these are there. */
static void send_elsewhere(struct actor *actor)
{
    const struct raft *raft = &actor->raft;
    if (actor->waiting.first == NULL)
        return;
    bool other = raft->role != RAFT_LEADER && raft->leader.broker_id != 0;
    if (other || actor->parting)
        actor_refuse_waiting(actor, KQ_NOT_LEADER, NULL);
    else if (raft->role != RAFT_LEADER && !actor_is_alone(actor))
        actor_refuse_publishes(actor, KQ_NOT_LEADER);
}

static void append_what_waits(struct actor *actor)
{
    if (actor->noop_wanted)
        actor_append_noop(actor);
    if (!actor_may_propose(actor) || actor->failure.err != KQ_OK)
        return;
    if (actor->start_wanted && !actor->records_open)
        actor_append_start(actor);
    if (actor->failure.err != KQ_OK)
        return;
    if (actor->options.machine.ops != NULL) {
        actor_begin_to_lead(actor);
        if (actor->failure.err == KQ_OK)
            actor_decide_calls(actor);
    } else {
        actor_fold_publishes(actor);
    }
}

/* Stopping while a machine's proposals found no room: they never come to be. */
static void drop_records(struct actor *actor)
{
    struct mail_list kept = {0};
    struct mail *mail;
    while ((mail = mail_list_take(&actor->inflight)) != NULL) {
        if (actor_wait_idx(mail) <= log_last_idx(actor->log))
            mail_list_append(&kept, mail);
        else
            actor_refuse(mail, KQ_NO_SPACE, NULL);
    }
    actor->inflight = kept;
    actor->records_open = false;
    actor->state_ahead = true;
}

static void stop(struct actor *actor)
{
    actor_refuse_list(&actor->waiting, actor->stop_reason, NULL);
    actor_refuse_asks(actor, actor->stop_reason, NULL);
    actor_drop_doubts(actor, actor->stop_reason);
    actor_wake_waits(actor, actor->stop_reason);
    if (actor->records_open)
        drop_records(actor);
    if (actor->now.mono_us < actor->stop_until_us || actor_is_alone(actor))
        return;
    struct fault fault;
    (void)fault_set(&fault, KQ_OUTCOME_UNKNOWN, "written, but not known to be on a majority when the broker stopped");
    actor_refuse_list(&actor->inflight, KQ_OUTCOME_UNKNOWN, &fault);
    actor_refuse_list(&actor->cut, KQ_OUTCOME_UNKNOWN, &fault);
}

/* A commit may be ahead of this disk: the state waits until the entries that it stands for
 * are durable here, as a start has to find them. */
static void store_snapshot(struct actor *actor)
{
    if (actor->snapshot.len > 0) {
        if (actor->snapshot_idx > log_flushed_idx(actor->log))
            return;
        if (actor->snapshot_idx < log_first_idx(actor->log) ||
            log_store_snapshot(actor->log, actor->snapshot_idx, actor->snapshot.data, actor->snapshot.len) != KQ_AGAIN)
            buf_fini(&actor->snapshot);
        return;
    }
    uint64_t every_bytes = actor->options.machine.snapshot_every_bytes;
    if (actor->options.machine.ops == NULL || every_bytes == 0 || actor->snapshot_bytes < every_bytes ||
        actor_is_alone(actor) || actor->raft.commit_idx == 0 || !actor_machine_settled(actor))
        return;
    buf_init(&actor->snapshot, SIZE_MAX / 2);
    actor_encode_commit(actor, &actor->snapshot);
    actor->snapshot_idx = actor->raft.commit_idx;
    if (actor->snapshot.bad)
        buf_fini(&actor->snapshot);
    else
        actor->snapshot_bytes = 0;
}

static void lead(struct actor *actor)
{
    look_at_retention(actor);
    if (needs_to_lead(actor)) {
        struct raft_event event = {.type = RAFT_EV_WANT_LEAD, .now_us = actor->now.mono_us};
        actor_raft_event(actor, &event);
    }
    append_what_waits(actor);
    actor_settle(actor);
    if (actor_may_propose(actor) && actor->waiting.first != NULL &&
        actor->entry_count < actor->options.unflushed_entries)
        append_what_waits(actor);
    actor_drive_members(actor);
    actor_settle(actor);
}

/* Time that raft waited for has come. After the mail: what it waits for may be in it. */
static void tick_raft(struct actor *actor)
{
    if (raft_deadline_us(&actor->raft) > actor->now.mono_us)
        return;
    struct raft_event event = {.type = RAFT_EV_TICK, .now_us = actor->now.mono_us};
    actor_raft_event(actor, &event);
}

/* Somebody else who may lead is heard, and follows. */
static bool has_heir(const struct raft *raft)
{
    for (uint32_t i = 0; i < raft->config.count; i++) {
        const struct raft_peer *peer = &raft->peers[i];
        if ((raft->config.seats[i].kinds & RAFT_SEAT_VOTER) != 0 && !raft_member_equal(&peer->member, &raft->self) &&
            peer->linked)
            return true;
    }
    return false;
}

static bool over_with_parting(const struct actor *actor)
{
    const struct raft *raft = &actor->raft;
    bool handed_over = raft->leader.broker_id != 0 && raft->role != RAFT_LEADER;
    bool in_vain = actor->now.mono_us >= actor->heir_due_us && (raft->role != RAFT_LEADER || !has_heir(raft));
    return handed_over || in_vain || actor->now.mono_us >= actor->stop_until_us;
}

static void advance(struct actor *actor)
{
    if (actor->failure.err == KQ_OK && actor->parcels.first != NULL)
        actor_take_parcels(actor);
    if (actor->failure.err == KQ_OK)
        tick_raft(actor);
    actor_settle_loss(actor);
    if (actor->failure.err == KQ_OK)
        actor_settle(actor);
    if (actor->parting && (actor->failure.err != KQ_OK || over_with_parting(actor))) {
        actor->parting = false;
        actor->stopping = true;
        actor->stop_until_us = actor->now.mono_us + actor->raft.election_us;
    }
    if (actor->stopping && actor->failure.err == KQ_OK)
        stop(actor);
    if (actor->failure.err == KQ_OK && !actor->stopping) {
        send_elsewhere(actor);
        actor_look_at_damage(actor);
        lead(actor);
        actor_watch(actor);
        store_snapshot(actor);
    }
    actor_settle_loss(actor);
    if (actor->asks.first != NULL) {
        if (actor->committed_news && actor->failure.err == KQ_OK)
            actor_settle(actor);
        actor_look_at_asks(actor);
    }
    actor_look_at_doubts(actor);
    if (actor->failure.err != KQ_OK)
        actor_answer_failure(actor);
}

/* ---- a turn ------------------------------------------------------------------------------ */

void actor_show_view(struct actor *actor)
{
    actor->view_dirty = false;
    struct log_view *view = log_view_take(actor->log);
    if (view != NULL)
        actor->options.env.show_view(actor->options.env.context, view);
}

void actor_turn(struct actor *actor, struct mail_list *control, struct mail_list *data, const struct machine_now *now)
{
    TAG_CHECK(actor, ACTOR_TAG);
    actor->now = *now;
    actor->impatient = false;
    (void)atomic_fetch_add_explicit(&actor->options.counters->turns, 1, memory_order_relaxed);
    struct mail *mail;
    while ((mail = mail_list_take(control)) != NULL)
        take_control(actor, mail);
    take_data(actor, data);
    advance(actor);
    if (log_first_idx(actor->log) > actor->raft.base_idx + 1)
        actor_note_log_start(actor);
    actor_send_messages(actor);
    if (actor->view_dirty)
        actor_show_view(actor);
    actor_submit_jobs(actor);
    actor_tell(actor);
    actor_answer_finished(actor);
    actor_check(actor);
}

bool actor_wants_data(const struct actor *actor)
{
    if (actor->failure.err != KQ_OK || actor->stopping || actor->impatient)
        return true;
    return actor->waiting.first == NULL && !actor->room_wanted && actor->entry_count < actor->options.unflushed_entries;
}

bool actor_stopped(const struct actor *actor)
{
    if (!actor->stopping || actor->jobs_out > 0)
        return false;
    return actor->failure.err != KQ_OK || !actor_has_inflight(actor);
}

void actor_status(const struct actor *actor, struct partition_status *status)
{
    bool leads = actor_leads(actor);
    *status = (struct partition_status){
        .state = actor->failure.err != KQ_OK ? PARTITION_FAILED : PARTITION_SERVING,
        .fault = actor->failure,
        .term = actor->raft.term,
        .leads = leads,
        .leader_id = leads ? actor->raft.self.broker_id : actor->raft.leader.broker_id,
        .log_start_off = log_start_off(actor->log),
        .high_watermark = log_end_off_at(actor->log, actor->raft.commit_idx),
        .size_bytes = log_size_bytes(actor->log),
    };
}

void actor_check(const struct actor *actor)
{
    raft_check(&actor->raft);
    if (actor->failure.err != KQ_OK)
        return;
    REQUIRE(actor->raft.last_idx == log_last_idx(actor->log));
    REQUIRE(actor->raft.last_term == log_last_term(actor->log));
    REQUIRE(actor->raft.cuts == log_cuts(actor->log));
    REQUIRE(actor->raft.commit_idx <= log_last_idx(actor->log));
    REQUIRE(actor->entry_count <= actor->options.unflushed_entries);
    REQUIRE(actor->finished.first == NULL);
    REQUIRE(actor->inflight.first == NULL || actor_wait_idx(actor->inflight.first) > actor->raft.commit_idx);
}
