/*
 * What consensus decides, done: events in, and what comes out of them in the order
 * that raft.h asks for. Here, too, what becomes of requests when the lead is lost.
 */
#include "partition/actor_internal.h"

#include "base/logger.h"

/* ---- who leads --------------------------------------------------------------------- */

bool actor_is_alone(const struct actor *actor)
{
    const struct raft_config *config = &actor->raft.config;
    return config->count == 1 && (config->seats[0].kinds & RAFT_SEAT_VOTER) != 0 &&
           raft_member_equal(&config->seats[0].member, &actor->raft.self);
}

bool actor_leads(const struct actor *actor)
{
    const struct raft *raft = &actor->raft;
    if (actor->failure.err != KQ_OK)
        return false;
    if (raft->role == RAFT_LEADER && raft->noop_idx != 0 && raft->commit_idx >= raft->noop_idx)
        return true;
    /* Nobody else ever led a group that never had another member. */
    return actor_is_alone(actor) && raft->config.idx == 0;
}

/* All that came before this reign is committed, and applied. */
bool actor_may_propose(const struct actor *actor)
{
    return raft_may_propose(&actor->raft) && actor->raft.commit_idx + 1 >= actor->raft.noop_idx;
}

void actor_stop_machine(struct actor *actor)
{
    if (!actor->machine_leads)
        return;
    actor->machine_leads = false;
    actor->options.machine.ops->leads(actor->options.machine.state, false, &actor->now);
}

/* ---- the lead is lost ----------------------------------------------------------------
 *
 * What is in flight then is not known to be committed, and may be all the same: it is
 * waited for a little. If this log comes to have another entry in its place, and that is
 * committed, it failed for certain; if its own entry is committed, it did not. What is
 * left after that is answered "outcome unknown". */

static void refuse_cut(struct actor *actor, bool over)
{
    struct mail_list kept = {0};
    struct fault fault;
    struct mail *mail;
    while ((mail = mail_list_take(&actor->cut)) != NULL) {
        if (actor_wait_idx(mail) <= actor->raft.commit_idx) {
            (void)fault_set(&fault, KQ_NOT_LEADER,
                            "another broker became the leader, and something else was committed in the place of this");
            if (mail->kind == MAIL_PUBLISH)
                CONTAINER_OF(mail, struct publish_request, mail)->term = actor->raft.term;
            actor_refuse(mail, KQ_NOT_LEADER, &fault);
        } else if (over) {
            (void)fault_set(&fault, KQ_OUTCOME_UNKNOWN, "written, but another broker became the leader");
            actor_refuse(mail, KQ_OUTCOME_UNKNOWN, &fault);
        } else {
            mail_list_append(&kept, mail);
        }
    }
    actor->cut = kept;
}

static void decide_lost(struct actor *actor)
{
    bool over = actor->now.mono_us >= actor->lost_until_us;
    if (actor->cut.first != NULL)
        refuse_cut(actor, over);
    if (!over || actor->raft.role == RAFT_LEADER || actor->inflight.first == NULL)
        return;
    struct fault fault;
    (void)fault_set(&fault, KQ_OUTCOME_UNKNOWN, "written, but this broker no longer leads the partition");
    actor_finish_committed(actor);
    actor_refuse_list(&actor->inflight, KQ_OUTCOME_UNKNOWN, &fault);
}

int64_t actor_lost_deadline_us(const struct actor *actor)
{
    bool waits = actor->cut.first != NULL || (actor->inflight.first != NULL && actor->raft.role != RAFT_LEADER);
    return waits && actor->lost_until_us > actor->now.mono_us ? actor->lost_until_us : CLOCK_NEVER;
}

/* Calls whose proposals found no room: they never come to be. */
static void drop_open_calls(struct actor *actor)
{
    struct mail_list kept = {0};
    struct mail *mail;
    while ((mail = mail_list_take(&actor->inflight)) != NULL) {
        if (actor_wait_idx(mail) <= actor->raft.last_idx || !actor->records_open)
            mail_list_append(&kept, mail);
        else
            actor_refuse(mail, KQ_NOT_LEADER, NULL);
    }
    actor->inflight = kept;
}

/* What the machine proposed and nobody committed is taken back. */
static void take_back_proposals(struct actor *actor)
{
    bool ahead = actor->records_open || actor->state_ahead || actor->machine_idx > actor->raft.commit_idx;
    actor->records_open = false;
    actor_stop_machine(actor);
    if (!ahead)
        return;
    struct fault fault = {0};
    enum kq_err err = actor_restore_machine(actor, &fault);
    if (err != KQ_OK)
        actor_fail(actor, err, &fault);
    actor->state_ahead = false;
}

void actor_settle_loss(struct actor *actor)
{
    if (actor->failure.err != KQ_OK)
        return;
    if (actor->lost_lead)
        actor->lost_until_us = actor->now.mono_us + 2 * actor->raft.election_us;
    decide_lost(actor);
    if (!actor->lost_lead)
        return;
    actor->lost_lead = false;
    drop_open_calls(actor);
    actor_deliver_notes(actor, actor->raft.commit_idx, KQ_OK);
    actor_deliver_notes(actor, UINT64_MAX, KQ_NOT_LEADER);
    if (actor->options.machine.ops != NULL)
        take_back_proposals(actor);
    actor->start_wanted = false;
    actor->entry_count = 0;
    if (actor->raft.role != RAFT_LEADER)
        actor_tail_clear(actor);
}

/* ---- events ---------------------------------------------------------------------------- */

const struct uuid actor_forgot_boot = {
    {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}};

void actor_save_hard_state(struct actor *actor)
{
    struct log_hard_state state = *log_hard_state(actor->log);
    state.term = actor->raft.term;
    state.vote_broker_id = actor->raft.vote.broker_id;
    state.vote_incarnation = actor->raft.vote.incarnation;
    state.commit_idx = actor->raft.commit_idx;
    if (actor->raft.amnesiac)
        state.boot_id = actor_forgot_boot;
    else
        state.boot_id = actor->options.flush_always ? (struct uuid){{0}} : actor->options.boot_id;
    raft_saving(&actor->raft, log_set_hard_state(actor->log, &state));
}

static void say_violation(struct actor *actor, const struct raft_event *event)
{
    if (actor->violation_said || event->message == NULL)
        return;
    actor->violation_said = true;
    SAY_ERROR("%s: broker %u sent what does not agree with the log here; it is ignored. Check that both run the same "
              "version, and the disks of both",
              actor->options.log.title, (unsigned)event->message->from.broker_id);
}

static void note_role(struct actor *actor, const struct raft_out *out)
{
    bool leads = actor->raft.role == RAFT_LEADER;
    if (out->role_changed) {
        actor->noop_wanted = false;
        actor->leave_wanted = false;
    }
    if (actor->led && !leads)
        actor->lost_lead = true;
    actor->led = leads;
    actor->noop_wanted = actor->noop_wanted || out->append_noop;
    actor->leave_wanted = actor->leave_wanted || out->leave_joint;
}

/* With interval flushing: this replica has kept what the others lost with their power. */
static void give_up(struct actor *actor, const struct raft_event *event)
{
    struct fault fault;
    REQUIRE(event->message != NULL);
    enum kq_err err = fault_set(
        &fault, KQ_CORRUPT,
        "flush = interval, and the power failed for so many that they go on without messages that this replica "
        "still has, from about entry %llu on, as broker %u, the leader, tells; it is to be filled anew from them",
        (unsigned long long)event->message->prev_idx + 1, (unsigned)event->message->from.broker_id);
    actor_fail(actor, err, &fault);
}

/* With interval flushing. */
static void pardon(struct actor *actor)
{
    SAY_WARNING("%s: flush = interval, and the power failed for so many replicas that none that remembers everything "
                "can be elected: messages acknowledged in the last %lld ms before may be gone",
                actor->options.log.title, (long long)(actor->options.flush_interval_us / 1000));
    struct raft_event event = {.type = RAFT_EV_PARDON, .now_us = actor->now.mono_us};
    actor_raft_event(actor, &event);
}

void actor_step(struct actor *actor, const struct raft_event *event, const struct parcel *parcel, bool *again,
                struct raft_message *reply)
{
    struct raft_out out;
    bool amnesiac = actor->raft.amnesiac;
    raft_step(&actor->raft, event, &out);
    bool healed = amnesiac && !actor->raft.amnesiac;
    if (out.violation)
        say_violation(actor, event);
    if (out.outlived)
        give_up(actor, event);
    if (out.save_hard_state || healed)
        actor_save_hard_state(actor);
    if (out.truncate)
        actor_truncate(actor, out.truncate_idx);
    if (out.accept)
        actor_accept(actor, parcel, out.accept_first, out.accept_last);
    if (out.reset)
        actor_reset(actor, parcel);
    note_role(actor, &out);
    if (out.committed)
        actor->committed_news = true;
    if (out.role_changed)
        actor_forget_tickets(actor);
    if (out.reads_good != 0)
        actor->reads_good = out.reads_good;
    actor->transfer_ended = actor->transfer_ended || out.transfer_ended;
    *again = out.again;
    if (out.may_pardon)
        pardon(actor);
    if (!out.has_reply)
        return;
    if (reply != NULL)
        *reply = out.reply;
    else
        actor_reply(actor, &out.reply);
}

void actor_raft_event(struct actor *actor, const struct raft_event *event)
{
    bool again;
    actor_step(actor, event, NULL, &again, NULL);
}

/* ---- entries that came in ------------------------------------------------------------------ */

void actor_note_entry(struct actor *actor, enum log_entry_type type, uint64_t idx, const void *body,
                      uint32_t body_bytes)
{
    if (type == LOG_ENTRY_LOG_START && body != NULL && body_bytes == 8) {
        actor->starts[0] = actor->starts[1];
        actor->starts[1] = (struct start_mark){.idx = idx, .off = (int64_t)get_le64(body)};
    }
    const struct partition_limits *limits = &actor->options.limits;
    if (type == LOG_ENTRY_RECORDS) {
        if (actor->retention_due_ms == INT64_MAX && limits->retention_ms >= 0)
            actor->retention_due_ms = actor->now.wall_ms + limits->retention_ms + 1;
        if (limits->retention_bytes >= 0 && log_size_bytes(actor->log) >= (uint64_t)limits->retention_bytes)
            actor->retention_due_ms = 0;
    }
    if (actor->unflushed_since_us == 0)
        actor->unflushed_since_us = actor->now.mono_us;
    actor->unflushed_bytes += body_bytes;
    actor->snapshot_bytes += body_bytes;
    (void)atomic_fetch_add_explicit(&actor->options.counters->entries, 1, memory_order_relaxed);
}

void actor_note_append(struct actor *actor, const struct log_entry *entry, const struct raft_config *config)
{
    if (entry->type == LOG_ENTRY_RECORDS) {
        REQUIRE(actor->entry_count < ENTRIES_IN_FLIGHT_MAX);
        actor->entries[actor->entry_count++] = entry->idx;
    }
    actor_note_entry(actor, entry->type, entry->idx, entry->body_count > 0 ? entry->body[0].iov_base : NULL,
                     entry->body_bytes);
    if (actor->raft.config.count > 1 || config != NULL)
        actor_tail_add(actor, entry);
    struct raft_event event = {.type = RAFT_EV_APPENDED,
                               .now_us = actor->now.mono_us,
                               .term = actor->raft.term,
                               .idx = entry->idx,
                               .bytes = entry->body_bytes,
                               .config = config};
    actor_raft_event(actor, &event);
}
