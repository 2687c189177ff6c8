/* The machine's side of the actor: its calls are decided, its records become one
 * entry, its answers and notes wait for the commit. */
#include "partition/actor_internal.h"

static const struct machine_ops *ops_of(const struct actor *actor)
{
    return actor->options.machine.ops;
}

static struct machine_call *call_of(struct mail *mail)
{
    return CONTAINER_OF(mail, struct machine_call, mail);
}

/* The idx whose commit makes public all that was proposed so far. */
static uint64_t decided_idx(const struct actor *actor)
{
    return actor->records_open ? log_last_idx(actor->log) + 1 : actor->machine_idx;
}

void machine_propose(struct machine_turn *turn, struct slice key, struct slice value)
{
    struct actor *actor = turn->actor;
    if (!actor->records_open) {
        buf_reset(&actor->records);
        batch_begin(&actor->records_maker, &actor->records, actor->now.wall_ms);
        actor->records_open = true;
        actor->records_first_off = log_next_off(actor->log);
    }
    struct record record = {.off = actor->records_first_off + actor->records_maker.record_count,
                            .time_ms = actor->now.wall_ms,
                            .key = key,
                            .value = value};
    batch_add(&actor->records_maker, actor->now.wall_ms, key, value, NULL, (struct slice){0});
    REQUIRE(!actor->records.bad);
    ops_of(actor)->apply(actor->options.machine.state, record.off, &record);
}

void machine_note(struct machine_turn *turn, struct machine_note *note)
{
    struct actor *actor = turn->actor;
    note->next = NULL;
    note->wait_idx = decided_idx(actor);
    *actor->notes_end = note;
    actor->notes_end = &note->next;
}

void machine_answer(struct machine_turn *turn, struct machine_call *call)
{
    struct actor *actor = turn->actor;
    call->wait_idx = decided_idx(actor);
    if (call->fault.err != KQ_OK && call->wait_idx <= actor->raft.commit_idx)
        actor_doubt(actor, &call->mail); /* no commit would confirm it */
    else
        mail_list_append(&actor->inflight, &call->mail);
}

void actor_deliver_notes(struct actor *actor, uint64_t up_to_idx, enum kq_err err)
{
    while (actor->notes != NULL && actor->notes->wait_idx <= up_to_idx) {
        struct machine_note *note = actor->notes;
        actor->notes = note->next;
        if (actor->notes == NULL)
            actor->notes_end = &actor->notes;
        note->deliver(note, err);
    }
}

/* Appends what was proposed. False: no room yet; it stays open and goes first. */
static bool append_records(struct actor *actor)
{
    bool no_space;
    if (!actor_room(actor, LOG_ENTRY_RECORDS, (uint32_t)actor->records.len, &no_space))
        return false;
    batch_end(&actor->records_maker, -1, -1, -1);
    REQUIRE(!actor->records.bad);
    batch_place(actor->records.data, actor->records_first_off, (int32_t)actor->raft.term);
    struct iovec part = {.iov_base = actor->records.data, .iov_len = actor->records.len};
    struct log_entry entry = {.type = LOG_ENTRY_RECORDS,
                              .term = actor->raft.term,
                              .idx = log_last_idx(actor->log) + 1,
                              .first_off = actor->records_first_off,
                              .record_count = (uint32_t)actor->records_maker.record_count,
                              .max_time_ms = actor->records_maker.max_time_ms,
                              .body = &part,
                              .body_count = 1,
                              .body_bytes = (uint32_t)actor->records.len};
    enum kq_err err = log_append(actor->log, &entry);
    if (err != KQ_OK) {
        struct fault fault;
        (void)fault_set(&fault, err, "%s: appending to the log failed: %s", actor->options.log.title, err_text(err));
        actor_fail(actor, err, &fault);
        return false;
    }
    actor->records_open = false;
    actor->machine_idx = entry.idx;
    actor_note_append(actor, &entry, NULL);
    if (actor->records.cap > 4 * (size_t)MACHINE_ROOM_BYTES)
        buf_fini(&actor->records); /* one large proposal must not hold its memory for ever */
    return true;
}

static void refuse_call(struct actor *actor, struct machine_call *call, enum kq_err err)
{
    call->fault = (struct fault){.err = err};
    mail_list_append(&actor->finished, &call->mail);
}

static bool may_propose(const struct actor *actor, const struct machine_call *call)
{
    return ops_of(actor)->may_propose == NULL || ops_of(actor)->may_propose(call);
}

/* Whether the next call must wait for what was proposed before it. */
static bool must_wait(const struct actor *actor)
{
    bool snapshot_due = actor->raft.config.count > 1 && actor->options.machine.snapshot_every_bytes > 0 &&
                        actor->snapshot_bytes >= 2 * actor->options.machine.snapshot_every_bytes;
    return (ops_of(actor)->serial || snapshot_due) && decided_idx(actor) > actor->raft.commit_idx;
}

bool actor_machine_settled(const struct actor *actor)
{
    return !actor->records_open && !actor->state_ahead && actor->machine_idx <= actor->raft.commit_idx;
}

/* A machine that does not lead follows the commit. */
void actor_bring_machine_up(struct actor *actor)
{
    if (actor->machine_leads || !actor_machine_settled(actor))
        return;
    struct fault fault = {0};
    enum kq_err err = actor_apply_committed(actor, &fault);
    if (err != KQ_OK)
        actor_fail(actor, err, &fault);
}

/* The machine is told before its first call is decided. */
void actor_begin_to_lead(struct actor *actor)
{
    if (ops_of(actor) == NULL || actor->machine_leads || !actor_may_propose(actor))
        return;
    actor_bring_machine_up(actor);
    if (actor->failure.err != KQ_OK)
        return;
    actor->machine_leads = true;
    if (actor->machine_idx < actor->raft.commit_idx)
        actor->machine_idx = actor->raft.commit_idx; /* what lies between has no records */
    ops_of(actor)->leads(actor->options.machine.state, true, &actor->now);
}

static void decide_waiting(struct actor *actor, struct machine_turn *turn, bool no_space)
{
    while (actor->waiting.first != NULL && !must_wait(actor)) {
        if (actor->records_open && actor->records.len > MACHINE_TURN_BYTES)
            return;
        struct machine_call *call = call_of(mail_list_take(&actor->waiting));
        if (no_space && may_propose(actor, call)) {
            refuse_call(actor, call, KQ_NO_SPACE);
            continue;
        }
        call->fault = (struct fault){.err = KQ_OK};
        if (ops_of(actor)->call(actor->options.machine.state, call, turn, &actor->now))
            machine_answer(turn, call);
    }
}

bool actor_machine_due(const struct actor *actor)
{
    const struct machine_ops *ops = ops_of(actor);
    return ops != NULL && ops->deadline_us != NULL && actor->machine_leads &&
           ops->deadline_us(actor->options.machine.state) <= actor->now.mono_us;
}

void actor_answer_call_here(struct actor *actor, struct machine_call *call)
{
    struct machine_turn turn = {.actor = actor};
    call->fault = (struct fault){.err = KQ_OK};
    REQUIRE(ops_of(actor)->call(actor->options.machine.state, call, &turn, &actor->now));
    REQUIRE(!actor->records_open);
    mail_list_append(&actor->finished, &call->mail);
}

void actor_decide_calls(struct actor *actor)
{
    struct machine_turn turn = {.actor = actor};
    if (actor->entry_count >= actor->options.unflushed_entries)
        return;
    if (actor->records_open && !append_records(actor))
        return;
    bool due = actor_machine_due(actor);
    if ((actor->waiting.first == NULL || must_wait(actor)) && !due)
        return;
    if (actor->entry_count >= actor->options.unflushed_entries)
        return;
    bool no_space;
    if (!raft_has_room(&actor->raft, MACHINE_ROOM_BYTES))
        return;
    if (!actor_room(actor, LOG_ENTRY_RECORDS, MACHINE_ROOM_BYTES, &no_space) && !no_space)
        return;
    if (due && !no_space)
        ops_of(actor)->tick(actor->options.machine.state, &turn, &actor->now);
    decide_waiting(actor, &turn, no_space);
    if (actor->records_open)
        (void)append_records(actor);
}
